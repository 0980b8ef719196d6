"""Programs as modules of NumPy with preallocated arrays."""

from tinygrad_bc.compiler.numpy_target.target import build as build
