"""Arrays in a few words, short enough for a box in a picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc.record import Array

__all__ = ["describe_numbers", "describe_shape"]

MOST_NUMBERS = 6


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
