"""The chain rule of a recorded computation, as formulas and as source code."""

from tinygrad_bc.derivation.derivation import Derivation, Line, derive

__all__ = ["Derivation", "Line", "derive"]
