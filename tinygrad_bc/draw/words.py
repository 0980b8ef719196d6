"""Arrays in a few words, short enough for a box in a picture."""

from __future__ import annotations

import textwrap
from typing import Any

import numpy as np

from tinygrad_bc.record import Array

__all__ = [
    "MOST_NUMBERS",
    "describe_constant",
    "describe_numbers",
    "describe_range",
    "describe_shape",
    "escape",
    "on_lines",
    "printable",
]

MOST_NUMBERS = 6
LONGEST = 60

# Graphviz puts the id of the box where it reads a backslash and an N: a space without width keeps them apart.
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\\": "\\&#8203;"})


def printable(text: str) -> str:
    """Return text with a space for each character that cannot be shown."""
    return "".join(character if character.isprintable() else " " for character in text)


def escape(text: str) -> str:
    """Return text as it may stand in an HTML-like label: printable, not too long, and without markup."""
    text = printable(text)
    return (text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…").translate(ESCAPES)


def on_lines(text: str) -> list[str]:
    """Return text in lines that fit a box; [] for an empty one."""
    return textwrap.wrap(printable(text), LONGEST)


def describe_shape(shape: tuple[int, ...]) -> str:
    """Return ``15×9`` for a matrix, and words where that notation has none."""
    if len(shape) < 2:
        return f"length {shape[0]}" if shape else "scalar"
    return "×".join(map(str, shape))


def describe_numbers(array: Array) -> str:
    """Return the numbers of a small array, range and mean of a larger one."""
    if array.size == 0:
        return "no elements"
    if array.size == 1:
        return _nested(array.item())  # the shape is said already, so no brackets around a single number
    return _nested(array.tolist()) if array.size <= MOST_NUMBERS else _summary(array)


def describe_range(array: Array) -> str:
    """Return the range of an array that is shown in colours, and how many of its elements are no finite numbers."""
    return ", ".join(part for part in describe_numbers(array).split(", ") if not part.startswith("mean"))


def describe_constant(array: Array) -> str:
    """Return an array without a name as it stands in a formula: its number, or its shape."""
    return _number(array.item()) if array.size == 1 else f"constant[{describe_shape(array.shape)}]"


def _nested(numbers: Any) -> str:
    if isinstance(numbers, list):
        return f"[{', '.join(map(_nested, numbers))}]"
    return _number(numbers, digits=4)


def _summary(array: Array) -> str:
    finite = array[np.isfinite(array)]
    parts = []
    if finite.size:
        low, high = finite.min(), finite.max()
        if low == high and finite.size == array.size:
            return f"all {_number(low.item())}"
        with np.errstate(over="ignore", invalid="ignore"):  # the mean of huge numbers is still worth a picture
            mean = finite.mean(dtype=float)
        parts = [f"{_number(low.item())} … {_number(high.item())}", f"mean {_number(mean.item())}"]
    counts = {"nan": np.isnan(array).sum(), "inf": np.isinf(array).sum()}
    return ", ".join(parts + [f"{count} {what}" for what, count in counts.items() if count])


def _number(x: Any, digits: int = 3) -> str:
    # Adding zero turns -0.0 into 0.0: the sign of a zero says nothing to a reader.
    text = str(x) if isinstance(x, int) else f"{x + 0.0:.{digits}g}"
    return text.replace("-", "−")
