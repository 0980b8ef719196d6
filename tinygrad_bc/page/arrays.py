"""Arrays inside a page: exact, each distinct one once, in the fewest bytes that hold it without loss."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import numpy as np

from tinygrad_bc.page.trace import LARGEST
from tinygrad_bc.record import Array

__all__ = ["ArrayStore"]

MOST_ELEMENTS = 6_000_000  # of all arrays of a page; from there on only small ones are held in full
SMALL = 2_000
PICTURE = 40_000  # elements of the picture of an array that is not held in full
EXACT_INTEGERS = 2**53


class ArrayStore:
    """Collects arrays and numbers them.

    Attributes
    ----------
    entries : list of dict
        For each array ``shape``, ``dtype``, ``low`` and ``high`` of its finite elements, the counts ``nan`` and
        ``inf``, and either ``fill``, the one number it consists of, or ``code`` (``u1``, ``f4`` or ``f8``, little
        endian) and ``data`` in base64. Of a large array only every ``steps[axis]``-th element is held.
    elements : int
        How many elements are held.
    """

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []
        self.elements = 0
        self._known: dict[Any, int] = {}

    def add(self, array: Array) -> int:
        """Return the number of an array, which is stored if no equal one is."""
        array = np.asarray(array)
        key = (array.shape, array.dtype.str, hashlib.blake2b(np.ascontiguousarray(array).tobytes()).digest())
        if key not in self._known:
            self._known[key] = len(self.entries)
            self.entries.append(self._entry(array))
        return self._known[key]

    def _entry(self, array: Array) -> dict[str, Any]:
        entry: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype), **_range(array)}
        if array.dtype.kind in "iu" and array.size and max(-int(array.min()), int(array.max())) > EXACT_INTEGERS:
            entry["rounded"] = True
        numbers = array.astype(np.float64)
        if array.size > LARGEST or (array.size > SMALL and self.elements + array.size > MOST_ELEMENTS):
            entry["steps"] = _steps(array.shape)
            numbers = numbers[tuple(slice(None, None, step) for step in entry["steps"])]
            entry["held"] = list(numbers.shape)
        self.elements += numbers.size
        return entry | _encoded(numbers)


def _range(array: Array) -> dict[str, Any]:
    finite = array[np.isfinite(array)]
    return {
        "low": float(finite.min()) if finite.size else None,
        "high": float(finite.max()) if finite.size else None,
        "nan": int(np.isnan(array).sum()),
        "inf": int(np.isinf(array).sum()),
    }


def _steps(shape: tuple[int, ...]) -> list[int]:
    """Return strides that leave at most PICTURE elements, taken from the longest axes first."""
    steps = [1] * len(shape)
    lengths = list(shape)
    while np.prod(lengths) > PICTURE:
        axis = lengths.index(max(lengths))
        steps[axis] += 1
        lengths[axis] = -(-shape[axis] // steps[axis])
    return steps


def _encoded(numbers: Array) -> dict[str, Any]:
    if numbers.size > 1 and np.isfinite(numbers.flat[0]) and _same(numbers, np.full_like(numbers, numbers.flat[0])):
        return {"fill": float(numbers.flat[0])}
    with np.errstate(all="ignore"):  # what does not survive the conversion is found by comparing
        code = next(code for code in ("u1", "f4", "f8") if _same(numbers, numbers.astype(code).astype(np.float64)))
    data = base64.b64encode(np.ascontiguousarray(numbers.astype(f"<{code}")).tobytes()).decode()
    return {"code": code, "data": data}


def _same(a: Array, b: Array) -> bool:
    return a.tobytes() == b.tobytes()  # which tells −0 from 0
