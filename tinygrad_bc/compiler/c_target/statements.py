"""What the statements of a C program are made of: expressions, and where their elements are read and written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tinygrad_bc.compiler.c_target.index import Affine, Axis, Index, axes_of, linear
from tinygrad_bc.record import Node, Value

__all__ = ["Apply", "Load", "Operand", "Statement", "operand"]


class Load:
    """The reading of an element: of an array, or of a scalar that stands for it inside a loop.

    Attributes
    ----------
    value : Value
        A leaf, or a value with statements.
    index : Index
        Into the value; a single position in memory if `flat`.
    flat : bool
    """

    __slots__ = ("flat", "index", "value")

    def __init__(self, value: Value, index: Index, flat: bool = False) -> None:
        self.value, self.index, self.flat = value, index, flat

    def is_across(self, axis: Axis) -> bool:
        """Return whether neighbours along an axis are apart in memory, and all that is read runs along axes."""
        along = [i.axis for i in self.index]
        plain = not self.flat and all(a is not None or n == 1 for a, n in zip(along, self.value.shape))
        return plain and len(set(along)) == len(along) > 1 and self.position.terms.get(axis, 1) != 1

    @property
    def position(self) -> Affine:
        """The position in memory, of an array stored row by row."""
        return self.index[0] if self.flat else linear(self.index, self.value.shape)


class Apply:
    """An elementwise operation on expressions and plain numbers.

    Attributes
    ----------
    value : Value
        What the operation computed in the record: its element type is that of the expression.
    node : Node or None
        None for the product of two elements of matrices.
    operands : list
    """

    __slots__ = ("node", "operands", "value")

    def __init__(self, value: Value, node: Node | None, operands: list[Any]) -> None:
        self.value, self.node, self.operands = value, node, operands


class Operand:
    """A matrix as BLAS takes it.

    Attributes
    ----------
    load : Load
    start : Affine
        Where it begins in memory.
    rows, columns : int
    stride : int
        How far apart its rows are in memory, or its columns, if it is stored transposed.
    is_transposed : bool
    """

    __slots__ = ("columns", "is_transposed", "load", "rows", "start", "stride")

    def __init__(self, load: Load, start: Affine, rows: int, columns: int, stride: int, is_transposed: bool) -> None:
        self.load, self.start, self.rows, self.columns = load, start, rows, columns
        self.stride, self.is_transposed = stride, is_transposed

    @property
    def flag(self) -> str:
        """How BLAS is told whether it is stored transposed."""
        return "'T'" if self.is_transposed else "'N'"


class Statement:
    """The computation of the elements of a value, or of some of them.

    Attributes
    ----------
    value : Value
    store : Index
        Which element is computed, in terms of the axes of the loops.
    tree : Load, Apply or number
        The expression; for a reduction, of what is combined.
    combine : str
        The name of the reduction, '' if there is none.
    reduced : tuple of Axis
        What is reduced over, from the outside in.
    product : sequence of Operand
        The factors of a product that BLAS computes; empty for others.
    after : Statement or None
        The one that has to be finished before: it writes the same elements.
    adds : bool
        Whether it adds to the element: another may be added there too.
    added_to : Load or None
        Of a product that BLAS computes: what it is added to, `scale` times.
    scale : Load or number
    is_negative : bool
        Whether it is subtracted.
    """

    def __init__(
        self,
        value: Value,
        store: Index,
        tree: Any,
        combine: str = "",
        reduced: Iterable[Axis] = (),
        product: Sequence[Operand] = (),
        after: Statement | None = None,
        adds: bool = False,
        added_to: Load | None = None,
        scale: Any = 1,
        is_negative: bool = False,
    ) -> None:
        self.value, self.store, self.tree, self.combine = value, store, tree, combine
        self.reduced, self.product, self.after = tuple(reduced), product, after
        self.adds = adds
        self.added_to, self.scale, self.is_negative = added_to, scale, is_negative
        whole = [operand.load for operand in product]
        self.loads = [*whole, *(x for x in (added_to, scale) if isinstance(x, Load)), *_loads(tree)]

    @property
    def axes(self) -> list[Axis]:
        """The axes of its loops: those of the elements computed, then those reduced over."""
        return list(dict.fromkeys([*axes_of(self.store), *self.reduced]))

    @property
    def is_product(self) -> bool:
        """Whether it sums up products of matrix elements."""
        return self.combine == "matmul"


def _loads(tree: Any) -> Iterator[Load]:
    if isinstance(tree, Load):
        yield tree
    elif isinstance(tree, Apply):
        for operand in tree.operands:
            yield from _loads(operand)


def operand(load: Load, row: Affine, column: Affine) -> Operand | None:
    """Return a factor as BLAS takes it; None if its elements do not follow each other along rows or columns."""
    position = load.position
    if position.lookups:
        return None
    row_axis, column_axis = row.axis, column.axis
    down = position.terms.get(row_axis, 0) if row_axis else 0
    right = position.terms.get(column_axis, 0) if column_axis else 0
    start = Affine(
        {x: n for x, n in position.terms.items() if x is not row_axis and x is not column_axis}, position.constant
    )
    rows, columns = (axis.length if axis else 1 for axis in (row_axis, column_axis))
    if (right == 1 or columns == 1) and (down >= columns or rows == 1):
        return Operand(load, start, rows, columns, max(down, columns), is_transposed=False)
    if (down == 1 or rows == 1) and (right >= rows or columns == 1):
        return Operand(load, start, rows, columns, max(right, rows), is_transposed=True)
    return None
