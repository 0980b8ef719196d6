"""The chain rule of a recorded computation, as formulas and as source code."""
