"""What values are called in the files that are written: after their labels, or after the operation that made them."""

from __future__ import annotations

import re

__all__ = ["NOUNS", "without_leading_numbers"]

NOUNS = {
    "matmul": "product",
    "add": "total",
    "subtract": "difference",
    "multiply": "multiple",
    "divide": "quotient",
    "where": "chosen",
    "maximum": "larger",
    "minimum": "smaller",
    "max": "largest",
    "min": "smallest",
    "exp": "exponential",
    "log": "logarithm",
    "sqrt": "root",
    "square": "squared",
    "cast": "converted",
    "matrix_transpose": "transposed",
    "permute": "permuted",
    "reshape": "reshaped",
    "broadcast_to": "repeated",
    "getitem": "selected",
    "concatenate": "joined",
    "stack": "stacked",
    "pad": "padded",
    "negative": "negated",
    "abs": "magnitude",
    "conv": "convolved",
    "max_pool": "pooled",
    "put": "collected",
}
"""What a value without a name is called after its operation, where that is not named by a noun."""


def without_leading_numbers(label: str) -> str:
    """Return a label in which no layer is a number alone: ``layer0.weight`` for ``0.weight``, also after ``dloss_``."""
    return re.sub(r"(?:(?<=_)|^)(?=\d+\.)", "layer", label)
