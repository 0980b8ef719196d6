"""Programs as C: loops over tiles, compiled once, called through cffi."""

from tinygrad_bc.compiler.c_target.target import build as build
from tinygrad_bc.compiler.c_target.target import written as written
