"""Operations that take elements from places, or put them there, written with core ones.

As in `composites`, a rule returns what an operation computes, or None. What it needs to know besides, it is told by
`Facts`: the places are often constants, as those of the rows in a cross-entropy are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from tinygrad_bc.ops import astype, concatenate, equal, flip, getitem, negative, pad, reshape, where
from tinygrad_bc.ops._arguments import Shape
from tinygrad_bc.ops.index import HERE, Key, _complete, _grid, _pad_sources
from tinygrad_bc.ops.loss import _class_axis, _picked
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Array, Node, Value

__all__ = ["RULES", "Facts"]

GETITEM = REGISTRY["getitem"]


class Facts(Protocol):
    """What is known about the values of a program."""

    def constant(self, x: Value) -> Array | None:
        """Return the numbers of a constant; None for other values."""

    def node(self, x: Value) -> Node | None:
        """Return the recipe of a value; None for inputs, which may be other numbers."""

    def counts_from_0(self, x: Value) -> bool:
        """Return whether an array of indices holds no negative ones, whatever the data."""


# --- taking --------------------------------------------------------------------------------------


def _getitem(facts: Facts, x: Any, *indices: Any, key: Key) -> Any:
    """Take by integers what a constant mask selects."""
    if not any(index.dtype == bool and facts.constant(index) is not None and index.ndim for index in indices):
        return None
    parts: list[Any] = []
    arrays: list[Any] = []
    remaining = iter(indices)
    for part in key:
        if part is not HERE:
            parts.append(part)
            continue
        index = next(remaining)
        mask = facts.constant(index)
        chosen = [index] if index.dtype != bool or mask is None or not mask.ndim else np.nonzero(mask)
        parts += [HERE] * len(chosen)
        arrays += chosen
    return GETITEM(x, *arrays, key=Key(parts))


def _gather(facts: Facts, x: Any, index: Any, axis: int) -> Any:
    # Other indices are refused where they are negative, which x[index] would take for counted from the end.
    if facts.constant(index) is None and not _sorts(facts.node(index), x, axis):
        return None
    return x[_grid(index.shape, index, axis)]


def _sorts(node: Node | None, x: Any, axis: int) -> bool:
    """Return whether indices are those that sort an array as long as `x`."""
    if node is None or node.op.name != "argsort":
        return False
    return next(node.values).shape == x.shape and node.params["axis"] % x.ndim == axis % x.ndim


def _nll(facts: Facts, x: Any, target: Any) -> Any:
    chosen = negative(getitem(x, _picked(target, _class_axis(x))))
    if target.dtype.kind == "u" or facts.constant(target) is not None:
        return chosen
    # A negative number is no class, and not one counted from the end: the operation refuses it.
    return where(target < 0, np.nan, chosen)


def _pad(facts: Facts, x: Any, pad: Shape, mode: str, value: Any) -> Any:  # noqa: ARG001
    if not any(pad):
        return x
    return None if mode == "constant" else x[(..., *_pad_sources(x.shape, pad, mode))]


# --- putting -------------------------------------------------------------------------------------


def _put(facts: Facts, x: Any, *indices: Any, key: Key, shape: Shape) -> Any:
    if not indices:
        return _put_into_slices(x, key, shape)
    arrays = [facts.constant(index) for index in indices]
    if all(array is not None for array in arrays):
        return _put_at(x, np.arange(np.prod(shape, dtype=int)).reshape(shape)[_complete(key, tuple(arrays))], shape)
    return _put_one_in_each_row(facts, x, indices, key, shape)


def _put_into_slices(x: Any, key: Key, shape: Shape) -> Any:
    """Put between zeros what a slice takes."""
    steps = _steps(key, shape)
    y = reshape(x, [n for _, _, n in steps])
    backwards = [axis for axis, (_, step, _) in enumerate(steps) if step < 0]
    y = flip(y, backwards) if backwards else y
    wide = [abs(step) for _, step, _ in steps]
    if any(step > 1 for step in wide):  # zeros behind each element
        apart = reshape(y, [m for n in y.shape for m in (n, 1)])
        apart = pad(apart, [m for step in reversed(wide) for m in (0, step - 1, 0, 0)])
        y = reshape(apart, [n * step for n, step in zip(y.shape, wide)])
    widths = [(first, length - first - n) for (first, _, _), length, n in zip(steps, shape, y.shape)]
    return pad(y, [m for pair in reversed(widths) for m in pair]) if any(map(any, widths)) else y


def _steps(key: Key, shape: Shape) -> list[tuple[int, int, int]]:
    """Return, for each axis, the lowest place that a basic index takes, its step, and how many places it takes."""
    parts = [part for part in key if part is not None]
    if not any(part is Ellipsis for part in parts):
        parts.append(Ellipsis)
    at = next(i for i, part in enumerate(parts) if part is Ellipsis)
    parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    steps = []
    for part, length in zip(parts, shape):
        places = range(length)[part] if isinstance(part, slice) else range(part % length, part % length + 1)
        steps.append((min(places), places.step, len(places)))
    return steps


def _put_at(x: Any, places: Array, shape: Shape) -> Any:
    """Put elements at known places, counted through the whole array, if no two go to the same one."""
    size = int(np.prod(shape, dtype=int))
    if places.shape != x.shape or len(np.unique(places)) != places.size:
        return None
    sources = np.full(size, places.size)
    sources[places.ravel()] = np.arange(places.size)
    numbers = reshape(x, -1)
    if places.size < size:
        numbers = concatenate([numbers, np.zeros(1, x.dtype)])
    return getitem(numbers, sources.reshape(shape))


def _put_one_in_each_row(facts: Facts, x: Any, indices: tuple[Any, ...], key: Key, shape: Shape) -> Any:
    """Put elements along one axis where an index says, one for each place along all others, by a comparison."""
    chosen = [i for i, index in enumerate(indices) if facts.constant(index) is None]
    if len(chosen) != 1 or list(key) != [HERE] * len(shape) or indices[chosen[0]].dtype.kind not in "iu":
        return None
    axis = chosen[0]
    index, column = indices[axis], (*shape[:axis], 1, *shape[axis + 1 :])
    if x.shape not in (column, (*shape[:axis], *shape[axis + 1 :])) or index._data.size != x._data.size:
        return None
    for i, other in enumerate(indices):
        if i != axis and not np.array_equal(np.broadcast_to(other._array, x.shape), _counted(i, column, x.shape)):
            return None
    if not facts.counts_from_0(index):
        index = where(index < 0, index + shape[axis], index)
    index = reshape(index, column)
    places = np.arange(shape[axis], dtype=index.dtype).reshape(-1, *(1,) * (len(shape) - axis - 1))
    hit = equal(index, places)
    numbers = facts.constant(x)
    if numbers is not None and x.dtype.kind == "f" and (numbers == 1).all():
        return astype(hit, x.dtype)
    return where(hit, reshape(x, column), x.dtype.type(0).item())


def _counted(axis: int, column: Shape, shape: Shape) -> Array:
    """Return, for each place in an array, its number along an axis."""
    return np.indices(column)[axis].reshape(shape)


def _scatter_add(facts: Facts, x: Any, index: Any, src: Any, axis: int) -> Any:
    array = facts.constant(index)
    if array is None:
        return None
    places = np.arange(x._data.size).reshape(x.shape)[_grid(array.shape, array, axis)]
    there = _put_at(src, places, x.shape)
    return None if there is None else x + there


RULES: dict[str, Callable[..., Any]] = {
    "getitem": _getitem,
    "gather": _gather,
    "nll": _nll,
    "pad": _pad,
    "put": _put,
    "scatter_add": _scatter_add,
}
