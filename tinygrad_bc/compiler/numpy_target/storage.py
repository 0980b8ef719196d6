"""Stretches of memory, and what stands where in them.

Whether arrays overlap, are contiguous or can be reshaped without a copy is not worked out here but asked of NumPy: a
`Place` has an array of its layout, in which nothing ever stands.
"""

from __future__ import annotations

import ast
import math
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.numpy_target.instructions import parse, run
from tinygrad_bc.record import Array, Value

__all__ = ["Place", "Storage", "new_place"]


class Storage:
    """A stretch of memory.

    Attributes
    ----------
    owner : Value or None
        The leaf whose numbers it holds; None for a buffer.
    array : ndarray
        A vector of all of it.
    free : float
        The instruction from which on nobody needs what stands in it.
    """

    def __init__(self, size: int, dtype: Any, owner: Value | None = None, free: float = math.inf) -> None:
        self.owner = owner
        self.array = np.empty(size, dtype)
        self.free = free


class Place(NamedTuple):
    """Where a value stands: an array of that layout, and how it is got from another one by NumPy code.

    Attributes
    ----------
    storage : Storage
    array : ndarray
    base : Place or None
    code : ast.expr or None
        An expression of ``x0``, which is `base`.
    """

    storage: Storage
    array: Array
    base: Place | None = None
    code: ast.expr | None = None

    def part(self, axis: int, start: int, stop: int) -> Place:
        """Return the place of a slice along one axis."""
        written = f"{start or ''}:{'' if stop == self.array.shape[axis] else stop}"
        return self.view(parse(f"x0[{', '.join([':'] * axis + [written])}]"))

    def looks_at(self, other: Place) -> bool:
        """Return whether this is a view of another place, and no copy."""
        return bool(np.may_share_memory(self.array, other.array)) or not self.array.size

    @property
    def key(self) -> Any:
        """What two places have in common that are the same."""
        array = self.array
        steps = tuple(step if n > 1 else 0 for n, step in zip(array.shape, array.strides))
        return id(self.storage), array.__array_interface__["data"][0], array.shape, steps, array.dtype

    def view(self, code: ast.expr) -> Place:
        """Return the place of a view, given by an expression of ``x0``."""
        return Place(self.storage, run(code, x0=self.array), self, code)

    def overlaps(self, other: Place) -> bool:
        """Return whether there is an element that stands in both."""
        return self.storage is other.storage and np.shares_memory(self.array, other.array)


def new_place(value: Value, order: tuple[int, ...] | None, storage: Storage) -> Place:
    """Return the place of a value at the beginning of a storage."""
    order = order or tuple(range(value._data.ndim))
    lengths = [value.shape[axis] for axis in order]
    text = "x0" if value._data.size == storage.array.size else f"x0[:{value._data.size}]"
    if lengths != [value._data.size]:
        text += f".reshape({', '.join(map(str, lengths)) or '()'})"
    if order == tuple(range(value._data.ndim))[::-1] and value._data.ndim > 1:
        text += ".T"
    elif order != tuple(range(value._data.ndim)):
        text += f".transpose({', '.join(str(order.index(axis)) for axis in range(value._data.ndim))})"
    whole = Place(storage, storage.array)
    return whole.view(parse(text))
