"""Index arithmetic: which element of an array stands behind an element of a value that is only looked at differently.

An index is written with the axes that loops run over, as sums of multiples of them. So the transpose, the slice or the
reshaped form of an array needs no array of its own: what reads it reads the array behind it, at another index.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_bc.ops.convolution import Grid
from tinygrad_bc.ops.index import HERE
from tinygrad_bc.record import Node, Value

__all__ = [
    "VIEWS",
    "ZERO",
    "Affine",
    "Axis",
    "Index",
    "Lookup",
    "axes_of",
    "behind",
    "broadcast",
    "indexed",
    "linear",
    "operand_indices",
    "windowed",
]

VIEWS = frozenset(["reshape", "permute", "matrix_transpose", "broadcast_to", "getitem", "flip", "windows"])
"""The operations that move elements, or repeat them, and compute nothing."""


class Axis:
    """What a loop runs over: the positions along an axis that several values share.

    Attributes
    ----------
    length : int
    """

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length

    def __repr__(self) -> str:
        return f"Axis({self.length})"


class Lookup:
    """A position that is read from an array of integers, for an axis of so many elements; negative counts from the end.

    Attributes
    ----------
    array : Value
    index : Index
        Where in the array.
    length : int
    tree : Any
        The expression for it, once it is known.
    """

    __slots__ = ("array", "index", "length", "tree")

    def __init__(self, array: Value, index: Index, length: int, tree: Any = None) -> None:
        self.array, self.index, self.length, self.tree = array, index, length, tree


class Affine:
    """A constant plus multiples of axes, and of positions looked up.

    Attributes
    ----------
    terms : dict of Axis or Lookup to int
    constant : int
    """

    __slots__ = ("constant", "terms")

    def __init__(self, terms: dict[Any, int] | None = None, constant: int = 0) -> None:
        self.terms = {x: factor for x, factor in (terms or {}).items() if factor}
        self.constant = constant

    @classmethod
    def along(cls, axis: Axis | Lookup | None) -> Affine:
        """Return the position along an axis; 0 where there is none, along a length of 1."""
        return ZERO if axis is None else cls({axis: 1})

    def __add__(self, other: Affine | int) -> Affine:
        if isinstance(other, int):
            return Affine(self.terms, self.constant + other)
        terms = {x: self.terms.get(x, 0) + other.terms.get(x, 0) for x in (*self.terms, *other.terms)}
        return Affine(terms, self.constant + other.constant)

    def __mul__(self, factor: int) -> Affine:
        return Affine({x: factor * n for x, n in self.terms.items()}, factor * self.constant)

    @property
    def axis(self) -> Axis | None:
        """The axis, if this is the position along one and nothing else."""
        if self.constant or len(self.terms) != 1:
            return None
        ((axis, factor),) = self.terms.items()
        return axis if factor == 1 and isinstance(axis, Axis) else None

    @property
    def lookups(self) -> list[Lookup]:
        """What is looked up."""
        return [x for x in self.terms if isinstance(x, Lookup)]


Index = tuple[Affine, ...]

ZERO = Affine()


def axes_of(index: Iterable[Affine]) -> list[Axis]:
    """Return the axes in an index, each once, those along which positions are looked up too."""
    found: dict[Axis, None] = {}
    for i in index:
        for x in i.terms:
            found.update(dict.fromkeys([x] if isinstance(x, Axis) else axes_of(x.index)))
    return list(found)


def linear(index: Iterable[Affine], shape: Iterable[int]) -> Affine:
    """Return the position in memory of an element of an array stored row by row."""
    result = ZERO
    for i, n in zip(index, shape):
        result = result * n + i
    return result


def broadcast(index: Index, shape: Sequence[int]) -> Index:
    """Return the index into an operand of that shape, given the index into what it is broadcast to."""
    own = index[len(index) - len(shape) :]
    return tuple(ZERO if n == 1 else i for i, n in zip(own, shape))


def _product(index: Index, a: Value, b: Value) -> tuple[Index, Index]:
    """Return the indices into the factors of a matrix product, without that of the contracted axis."""
    rows, columns = len(a.shape) > 1, len(b.shape) > 1
    batch = index[: len(index) - rows - columns]
    row = index[len(batch) : len(batch) + rows]
    column = index[len(index) - columns :] if columns else ()
    return (*broadcast(batch, a.shape[:-2]), *row), (*broadcast(batch, b.shape[:-2]), *column)


def operand_indices(node: Node, index: Index, contracted: Affine = ZERO) -> list[Index]:
    """Return the index into each input of an elementwise operation or of a matrix product.

    Parameters
    ----------
    node : Node
    index : Index
        Into the result.
    contracted : Affine, optional
        The position along the axis that a product is summed over.
    """
    if node.op.name != "matmul":
        return [broadcast(index, x.shape) if isinstance(x, Value) else () for x in node.inputs]
    a, b = node.inputs
    left, right = _product(index, a, b)
    right = (*right[:-1], contracted, *right[-1:]) if len(b.shape) > 1 else (contracted,)
    return [(*left, contracted), right]


def behind(value: Value, node: Node, index: Index) -> Index | None:
    """Return the index into the input of a view of the element at `index`; None if it is not a sum of multiples."""
    x = node.inputs[0]
    if node.op.name == "reshape":
        return _unshaped(x.shape, value.shape, index)
    if node.op.name == "permute":
        dims = [d % len(index) for d in node.params["dims"]]
        return tuple(index[dims.index(d)] for d in range(len(index)))
    if node.op.name == "matrix_transpose":
        return (*index[:-2], index[-1], index[-2])
    if node.op.name == "broadcast_to":
        return broadcast(index, x.shape)
    if node.op.name == "flip":
        dims = [d % len(index) for d in node.params["dims"]]
        return tuple(i * -1 + (n - 1) if d in dims else i for d, (i, n) in enumerate(zip(index, x.shape)))
    if node.op.name == "windows":
        return windowed(node.params["grid"], index)
    return indexed(x.shape, node.inputs[1:], node.params["key"], index)


def windowed(grid: Grid, index: Index) -> Index:
    """Return the index into the array that windows, which lie inside of it, were taken from."""
    n = grid.axes
    lead, across, within = index[: -2 * n], index[-2 * n : -n], index[-n:]
    places = (p * step + k * gap for p, step, k, gap in zip(across, grid.stride, within, grid.dilation))
    return (*lead, *places)


def _unshaped(before: Sequence[int], after: Sequence[int], index: Index) -> Index | None:
    """Return the index before a reshape: that of an axis which was split is the position within its parts."""
    if 0 in before:
        return (ZERO,) * len(before)
    old = [d for d, n in enumerate(before) if n != 1]
    new = [d for d, n in enumerate(after) if n != 1]
    result = [ZERO] * len(before)
    for d in old:
        parts: list[int] = []
        while math.prod(after[p] for p in parts) < before[d]:
            parts.append(new.pop(0))
        if math.prod(after[p] for p in parts) != before[d]:
            return None
        result[d] = linear([index[p] for p in parts], [after[p] for p in parts])
    return tuple(result)


def indexed(shape: Sequence[int], arrays: Sequence[Value], key: Sequence[Any], index: Index) -> Index:
    """Return the index into an array of that shape which ``array[key]`` was taken from.

    As in NumPy, arrays in the key and numbers beside them are read together; the axes of what they select stand where
    the first of them was, or, if something stands between them, in front.
    """
    taken = sum(part is not None and part is not Ellipsis for part in key)
    missing = [slice(None)] * (len(shape) - taken)
    place = next((i for i, part in enumerate(key) if part is Ellipsis), len(key))
    parts = [*key[:place], *missing, *key[place + 1 :]]
    remaining = iter(arrays)
    parts = [next(remaining) if part is HERE else part for part in parts]
    selecting = [i for i, part in enumerate(parts) if arrays and part is not None and not isinstance(part, slice)]
    ndim = max((len(array.shape) for array in arrays), default=0)
    together = not selecting or selecting[-1] - selecting[0] == len(selecting) - 1
    own = sum(part is None or isinstance(part, slice) for part in (parts[: selecting[0]] if selecting else []))
    start = own if together else 0
    selected, others = index[start : start + ndim], iter([*index[:start], *index[start + ndim :]])
    result: list[Affine] = []
    for part in parts:
        n = shape[len(result)] if len(result) < len(shape) else 1
        if part is None:
            next(others)
        elif isinstance(part, slice):
            first, _, stride = part.indices(n)
            result.append(next(others) * stride + first)
        elif isinstance(part, Value):
            result.append(Affine.along(Lookup(part, broadcast(selected, part.shape), n)))
        else:
            result.append(Affine(constant=int(part) % n if n else 0))
    return tuple(result)
