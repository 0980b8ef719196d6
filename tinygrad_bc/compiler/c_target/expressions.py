"""The text of expressions in C: elements of arrays where they are kept, and what is computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.c_target.index import Affine, Axis, Index, Lookup
from tinygrad_bc.compiler.c_target.operations import ATOM, C_TYPES, Text, number, product, written
from tinygrad_bc.compiler.c_target.plan import Plan
from tinygrad_bc.compiler.c_target.schedule import Schedule
from tinygrad_bc.compiler.c_target.statements import Apply, Load, Operand
from tinygrad_bc.compiler.c_target.storage import Storage
from tinygrad_bc.record import Value

__all__ = ["Expressions", "times"]


class Expressions:
    """The writer of expressions inside the loops of one function.

    Parameters
    ----------
    plan : Plan
    schedule : Schedule
    storage : mapping of Value to Storage
        Where each value is that is not a constant of one element.

    Attributes
    ----------
    used : dict of Storage to None
        The whole arrays that are read or written.
    counters : dict of Axis to str
        The variables of the loops that are open.
    """

    def __init__(self, plan: Plan, schedule: Schedule, storage: Mapping[Value, Storage]) -> None:
        self.plan, self.schedule, self.storage = plan, schedule, storage
        self.used: dict[Storage, None] = {}
        self.counters: dict[Axis, str] = {}

    def operand(self, operand: Operand) -> str:
        """Return where BLAS finds a matrix: a pointer, and how far apart its rows are."""
        storage = self.storage[operand.load.value]
        self.used[storage] = None
        return f"{self.pointer(storage, operand.start)}, {operand.stride}"

    def pointer(self, storage: Storage, start: Affine) -> str:
        """Return a pointer to an element, given its position in memory."""
        first = storage.name + "[0]" * max(len(storage.value.shape) - 1, 0)
        offset = self.position(start, whole=True)
        return first if offset == "0" else f"{first} + {offset}"

    def text(self, tree: Any, dtype: np.dtype[Any] | None = None) -> Text:
        """Return an expression as text; `dtype` is that of a plain number."""
        if isinstance(tree, Load):
            return self.read(tree)
        if not isinstance(tree, Apply):
            return number(tree, dtype or np.dtype(np.float64))
        operands = [self.text(x) if isinstance(x, Load | Apply) else x for x in tree.operands]
        if tree.node is None:
            return product(tree.value.dtype, operands[0], operands[1])
        return written(tree.value, tree.node, operands)

    def read(self, load: Load) -> Text:
        """Return the reading of an element."""
        value = load.value
        if self.plan.is_constant(value) and value._data.size == 1:
            return number(value._array.reshape(-1)[0].item(), value.dtype)
        return Text(self.element(self.storage[value], load), ATOM, value.dtype)

    def element(self, storage: Storage, load: Load) -> str:
        """Return the text for an element where it is kept."""
        if storage.kind == "scalar":
            return storage.name
        if storage.kind == "local":
            return storage.name + "".join(f"[{self.position(load.index[d], whole=False)}]" for _, d in storage.dims)
        self.used[storage] = None
        if load.flat and len(load.value.shape) > 1:  # which is only read
            pointer = f"((const {C_TYPES[load.value.dtype]} *){storage.name})"
            return f"{pointer}[{self.position(load.position, whole=True)}]"
        index: Index = load.index or (Affine(),)
        return storage.name + "".join(f"[{self.position(i, whole=True)}]" for i in index)

    def position(self, i: Affine, whole: bool) -> str:
        """Return a position along a dimension of a whole array, or of one that holds a tile."""
        parts = []
        for x, factor in i.terms.items():
            text = self._counter(x, whole) if isinstance(x, Axis) else self._looked_up(x)
            if factor != 1:
                text = f"{factor} * {f'({text})' if ' ' in text else text}"
            parts.append(text)
        if i.constant or not parts:
            parts.append(str(i.constant))
        return " + ".join(parts).replace("+ -", "- ")

    def _counter(self, axis: Axis, whole: bool) -> str:
        if axis is self.schedule.samples and self.counters.get(axis) == "start + s" and not whole:
            return "s"
        return self.counters[axis]

    def _looked_up(self, lookup: Lookup) -> str:
        return f"place({self.text(lookup.tree).text}, {lookup.length})"


def times(count: int, dtype: np.dtype[Any]) -> str:
    """Return the number of bytes that so many elements take, as it is written in C."""
    if dtype not in C_TYPES:
        return str(count * dtype.itemsize)
    size = f"sizeof({C_TYPES[dtype]})"
    return size if count == 1 else f"{count} * {size}"
