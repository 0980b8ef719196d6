"""Building models: parameters gathered under one name, and the functions that layers are made of."""

from tinygrad_bc.nn import functional
from tinygrad_bc.nn.module import Module

__all__ = ["Module", "functional"]
