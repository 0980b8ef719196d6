"""Building models: parameters gathered under one name."""

from tinygrad_bc.nn.module import Module

__all__ = ["Module"]
