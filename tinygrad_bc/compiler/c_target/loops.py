"""The text of a C program's loops."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.compiler.c_target.expressions import Expressions, times
from tinygrad_bc.compiler.c_target.index import Affine, Lookup, axes_of, linear
from tinygrad_bc.compiler.c_target.operations import ATOM, C_TYPES, PRODUCT, UNARY, WRITERS, Text, converted, number
from tinygrad_bc.compiler.c_target.plan import Plan
from tinygrad_bc.compiler.c_target.schedule import Loop, Nest, Schedule
from tinygrad_bc.compiler.c_target.statements import Apply, Load, Statement
from tinygrad_bc.compiler.c_target.storage import Names, Storage
from tinygrad_bc.record import Value

__all__ = ["INDENT", "Body"]

COUNTERS = (*"ijklpqruvw", *(f"i{k}" for k in range(100)))
INDENT = "    "

_STARTS: dict[str, Any] = {
    "sum": 0,
    "matmul": 0,
    "prod": 1,
    "all": True,
    "any": False,
    "max": -math.inf,
    "min": math.inf,
}
_OPERATORS = {"sum": "+", "matmul": "+", "prod": "*", "all": "&&", "any": "||"}
"""How partial results are put together, where OpenMP knows it too."""


_COMPOUND = {"add": "+=", "subtract": "-="}
"""How an element is written over that is the first operand of what it becomes."""


class Body(Expressions):
    """The statements of one C function, line by line.

    Parameters
    ----------
    plan, schedule, storage
        As in `Expressions`.
    names : Names

    Attributes
    ----------
    tiles : list of (str, list of str, dict)
        The functions that compute one tile of samples: name, lines, and what they use.
    """

    def __init__(self, plan: Plan, schedule: Schedule, storage: Mapping[Value, Storage], names: Names) -> None:
        super().__init__(plan, schedule, storage)
        self.tiles: list[tuple[str, list[str], dict[Storage, None]]] = []
        self._names_in_c = names
        self._names: dict[Statement, str] = {}
        self._trailing = {statement: self._first_trailing(statement) for statement in schedule.statements}
        self._homes: dict[Nest, list[Storage]] = {}
        for statement in schedule.statements:
            found = storage[statement.value]
            if found.kind == "local" and found not in (homed := self._homes.setdefault(found.home[-1], [])):
                homed.append(found)

    def _first_trailing(self, statement: Statement) -> int:
        """Return the depth from which on all loops of a reduction are reduced over: inside, a scalar is enough.

        It does not outlive a tile, which is a function.
        """
        order = self.schedule.order[statement]
        depth = len(order)
        while depth and order[depth - 1].axis in statement.reduced and order[depth - 1].kind != "tile":
            depth -= 1
        return depth

    def lines(self, items: Sequence[Nest | Statement], depth: int) -> Iterator[str]:
        """Yield the lines of what is inside `depth` loops."""
        for item in items:
            if isinstance(item, Nest):
                yield from self._starts_before(item, depth)
                yield from self._nest(item, depth)
                yield from self._ends_after(item, depth)
            elif item.product:
                yield from self._blas(item)
            else:
                yield from self._statement(item)

    def check(self, number: int, lookup: Lookup) -> Iterator[str]:
        """Yield the refusal of indices that point outside of what they index."""
        n = lookup.length
        axes = axes_of(lookup.index)
        self.counters.update(zip(axes, COUNTERS))
        index = self.text(lookup.tree).text
        for level, (counter, axis) in enumerate(zip(COUNTERS, axes)):
            yield f"{INDENT * level}for (long {counter} = 0; {counter} < {axis.length}; {counter}++)"
        yield f"{INDENT * len(axes)}if (place({index}, {n}) < 0 || place({index}, {n}) >= {n})"
        yield f"{INDENT * (len(axes) + 1)}return {number}; /* outside of {n} elements */"

    # --- loops

    def _within(self, nest: Nest) -> Iterator[Statement]:
        waiting: list[Nest | Statement] = [nest]
        while waiting:
            item = waiting.pop(0)
            if isinstance(item, Statement):
                yield item
            else:
                waiting[:0] = item.body

    def _nest(self, nest: Nest, depth: int) -> Iterator[str]:
        axis, kind = nest.loop
        if kind == "tile":
            yield from self._tile(nest, depth)
            return
        head = "for (int s = 0; s < n; s++)"
        if kind != "lanes":
            taken = {self.counters[outer.axis] for outer in self._around(nest)}
            counter = self.counters[axis] = next(c for c in COUNTERS if c not in taken)
            head = f"for (long {counter} = 0; {counter} < {axis.length}; {counter}++)"
        pragma = self._pragma(nest, depth)
        inner = [*self._declarations(nest), *self.lines(nest.body, depth + 1)]
        if pragma:
            yield pragma
        yield head + (" {" if len(inner) > 1 else "")
        yield from (INDENT + line for line in inner)
        if len(inner) > 1:
            yield "}"

    def _tile(self, nest: Nest, depth: int) -> Iterator[str]:
        """Yield the loop over the tiles; what is done for one is a function, in which their size is a constant."""
        outside, self.used = self.used, {}
        self.counters[nest.loop.axis] = "start + s"
        name, length, tile = self._names_in_c.new("tile", ""), nest.loop.axis.length, self.schedule.tile
        inner = [*self._declarations(nest), *self.lines(nest.body, depth + 1)]
        self.tiles.append((name, inner, self.used))
        self.used = outside
        whole = length - length % tile
        if whole == tile:
            yield f"{name}(m, 0, {tile});"
        elif whole:
            yield f"for (long start = 0; start < {whole}; start += {tile})"
            yield f"{INDENT}{name}(m, start, {tile});"
        if length % tile:
            yield f"{name}(m, {whole}, {length % tile});"

    def _around(self, nest: Nest) -> Iterator[Loop]:
        """Yield the loops around one, but for those over samples, whose counters have names of their own."""
        for outer in self.schedule.path[next(self._within(nest))]:
            if outer is nest:
                return
            if not outer.loop.kind:
                yield outer.loop

    def _declarations(self, nest: Nest) -> Iterator[str]:
        for storage in self._homes.get(nest, ()):
            lengths = [self.schedule.tile if loop.kind == "lanes" else loop.axis.length for loop, _ in storage.dims]
            yield f"{C_TYPES[storage.value.dtype]} {storage.name}{''.join(f'[{n}]' for n in lengths)};"

    def _pragma(self, nest: Nest, depth: int) -> str:
        """Return what lets a compiler add up in several lanes at once, where scalars are summed in a loop."""
        lanes = [outer.loop.kind == "lanes" for outer in self.schedule.path[next(self._within(nest))][: depth + 1]]
        if not lanes[-1] and (any(lanes) or any(isinstance(item, Nest) for item in nest.body)):
            return ""
        reductions: dict[str, list[str]] = {}
        for statement in self._within(nest):
            if statement.adds:
                return ""
            if statement.combine and self._trailing[statement] <= depth:
                if statement.combine not in _OPERATORS:
                    return ""
                reductions.setdefault(_OPERATORS[statement.combine], []).append(self._accumulator(statement))
        parts = [f"reduction({operator}:{', '.join(names)})" for operator, names in reductions.items()]
        return f"#pragma omp simd {' '.join(parts)}" if parts else ""

    # --- reductions

    def _accumulator(self, statement: Statement) -> str:
        """Return the name of the scalar that a reduction adds up in."""
        if statement not in self._names:
            found = self.storage[statement.value]
            same_type = self._sum_type(statement) == statement.value.dtype
            plain = found.kind == "scalar" and same_type and not self._is_continued(statement)
            self._names[statement] = found.name if plain else self._names_in_c.new(f"{found.name}_here", "")
        return self._names[statement]

    def _is_continued(self, statement: Statement) -> bool:
        """Return whether a reduction goes on over loops further out than its scalar."""
        outer = self.schedule.order[statement][: self._trailing[statement]]
        return any(loop.axis in statement.reduced for loop in outer)

    def _first_reduced(self, statement: Statement) -> int:
        return next(d for d, loop in enumerate(self.schedule.order[statement]) if loop.axis in statement.reduced)

    def _sum_type(self, statement: Statement) -> np.dtype[Any]:
        """Return the element type in which a reduction adds up: a long sum of float32 numbers needs more digits."""
        dtype = statement.value.dtype
        return np.dtype(np.float64) if statement.combine == "sum" and dtype == np.float32 else dtype

    def _starts_before(self, nest: Nest, depth: int) -> Iterator[str]:
        """Yield the starts of what is summed up in a loop."""
        for statement in self._within(nest):
            if not statement.combine or nest.loop.axis not in statement.reduced:
                continue
            if statement.combine in ("argmax", "argmin"):
                if depth == self._trailing[statement]:
                    name = self._accumulator(statement)
                    yield f"int64_t {name} = -1;"
                    yield f"{C_TYPES[statement.tree.value.dtype]} {name}_value = 0;"
                continue
            if depth == self._first_reduced(statement) < self._trailing[statement]:
                yield from self._cleared(statement, depth)
            if depth == self._trailing[statement]:
                dtype = self._sum_type(statement)
                start = number(_start(statement.combine, dtype), dtype).text
                yield f"{C_TYPES[dtype]} {self._accumulator(statement)} = {start};"

    def _cleared(self, statement: Statement, depth: int) -> Iterator[str]:
        """Yield the lines that set the elements which a reduction adds to."""
        storage = self.storage[statement.value]
        start = number(_start(statement.combine, statement.value.dtype), statement.value.dtype).text
        fixed = self.schedule.order[statement][:depth]
        free = [loop for loop in self.schedule.order[statement][depth:] if loop.axis not in statement.reduced]
        if storage.kind == "scalar":
            yield f"{C_TYPES[statement.value.dtype]} {storage.name} = {start};"
            return
        if storage.kind == "whole" and not fixed and start.strip("0.f") == "":
            self.used[storage] = None
            yield f"memset({storage.name}, 0, {times(statement.value._data.size, statement.value.dtype)});"
            return
        before = dict(self.counters)
        heads = []
        free_counters = (c for c in COUNTERS if c not in {before.get(loop.axis) for loop in fixed})
        for loop in free:
            if loop.kind == "lanes":
                heads.append("for (int s = 0; s < n; s++)")
            else:
                counter = self.counters[loop.axis] = next(free_counters)
                heads.append(f"for (long {counter} = 0; {counter} < {loop.axis.length}; {counter}++)")
        target = self.element(storage, Load(statement.value, statement.store))
        yield from (INDENT * i + head for i, head in enumerate(heads))
        yield f"{INDENT * len(heads)}{target} = {start};"
        self.counters = before

    def _ends_after(self, nest: Nest, depth: int) -> Iterator[str]:
        """Yield what becomes of the scalars that were summed up in a loop."""
        for statement in self._within(nest):
            if statement.combine and depth == self._trailing[statement] and nest.loop.axis in statement.reduced:
                name = self._accumulator(statement)
                storage = self.storage[statement.value]
                if name != storage.name:
                    x = Text(name, ATOM, self._sum_type(statement))
                    yield from self._combined(statement, x, self._is_continued(statement))

    def _combined(self, statement: Statement, x: Text, continued: bool) -> Iterator[str]:
        if not continued:
            yield from self._stored(statement, self.storage[statement.value], converted(x, statement.value.dtype))
        else:
            target = self.element(self.storage[statement.value], Load(statement.value, statement.store))
            yield _accumulate(statement.combine, Text(target, ATOM, statement.value.dtype), x)

    # --- statements

    def _statement(self, statement: Statement) -> Iterator[str]:
        storage = self.storage[statement.value]
        x = self.text(statement.tree, statement.value.dtype)
        if statement.combine in ("argmax", "argmin"):
            yield from self._first_extreme(statement, x)
        elif statement.combine and not statement.reduced:
            yield from self._stored(statement, storage, converted(x, statement.value.dtype))
        elif statement.combine and self._trailing[statement] < len(self.schedule.order[statement]):
            name = Text(self._accumulator(statement), ATOM, self._sum_type(statement))
            yield _accumulate(statement.combine, name, x)
        elif statement.combine:
            yield from self._combined(statement, x, continued=True)
        elif statement.adds:
            target = self.element(storage, Load(statement.value, statement.store))
            yield f"{target} += {converted(x, statement.value.dtype).text};"
        else:
            yield from self._stored(statement, storage, converted(x, statement.value.dtype))

    def _stored(self, statement: Statement, storage: Storage, x: Text) -> Iterator[str]:
        if storage.kind == "scalar":
            yield f"const {C_TYPES[statement.value.dtype]} {storage.name} = {x.text};"
            return
        target = self.element(storage, Load(statement.value, statement.store))
        tree = statement.tree
        if isinstance(tree, Apply) and tree.node is not None and tree.node.op.name in _COMPOUND:
            a, b = tree.operands
            if isinstance(a, Load) and self.read(a).text == target and tree.value.dtype == x.dtype:
                b = self.text(b) if isinstance(b, Load | Apply) else number(b, x.dtype)
                yield f"{target} {_COMPOUND[tree.node.op.name]} {converted(b, x.dtype).text};"
                return
        yield f"{target} = {x.text};"

    def _first_extreme(self, statement: Statement, x: Text) -> Iterator[str]:
        if not statement.reduced:
            yield from self._stored(statement, self.storage[statement.value], number(0, statement.value.dtype))
            return
        name = self._accumulator(statement)
        relation = ">" if statement.combine == "argmax" else "<"
        best, here = f"{name}_value", self._names_in_c.new(f"{name}_element", "")
        better = f"{here} {relation} {best}"
        if x.dtype.kind == "f":
            better += f" || ({here} != {here} && {best} == {best})"  # NaN comes before all others
        place = linear((Affine.along(axis) for axis in statement.reduced), (axis.length for axis in statement.reduced))
        yield f"const {C_TYPES[x.dtype]} {here} = {x.text};"
        yield f"if ({name} < 0 || {better}) {{"
        yield f"{INDENT}{best} = {here};"
        yield f"{INDENT}{name} = {self.position(place, whole=True)};"
        yield "}"

    def _blas(self, statement: Statement) -> Iterator[str]:
        """Yield the call of BLAS for a product, in loops over what comes before the matrices."""
        a, b = statement.product
        dtype, shape = statement.value.dtype, statement.value.shape
        storage = self.storage[statement.value]
        self.used[storage] = None
        m, k, n = a.rows, a.columns, b.columns
        batch = [i.axis for i in statement.store[:-2] if i.axis is not None]
        for level, (counter, axis) in enumerate(zip(COUNTERS, batch)):
            self.counters[axis] = counter
            yield f"{INDENT * level}for (long {counter} = 0; {counter} < {axis.length}; {counter}++)"
        target = self.pointer(storage, linear(statement.store[:-2], shape[:-2]) * (m * n))
        if statement.added_to is not None and self.storage[statement.added_to.value] is not storage:
            old = self.storage[statement.added_to.value]
            self.used[old] = None
            yield f"memcpy({target}, {self.pointer(old, Affine())}, {times(m * n, dtype)});"
        scale = converted(self.text(statement.scale, dtype), dtype).within(UNARY)
        yield (
            f"{INDENT * len(batch)}{'sgemm' if dtype == np.float32 else 'dgemm'}({a.flag}, {b.flag}, {m}, {n}, {k}, "
            f"{'-' if statement.is_negative else ''}{scale}, {self.operand(a)}, {self.operand(b)}, "
            f"{number(int(statement.added_to is not None), dtype).text}, {target}, {n});"
        )


def _start(combine: str, dtype: np.dtype[Any]) -> Any:
    start = _STARTS[combine]
    if dtype.kind == "f" or combine not in ("max", "min"):
        return start
    if dtype.kind == "b":
        return combine == "min"
    return np.iinfo(dtype).min if combine == "max" else np.iinfo(dtype).max


def _accumulate(combine: str, target: Text, x: Text) -> str:
    """Return the statement that adds an element to a sum, or to what else is reduced."""
    x = converted(x, target.dtype)
    if combine in ("sum", "matmul"):
        return f"{target.text} += {x.text};"
    if combine == "prod":
        return f"{target.text} *= {x.within(PRODUCT)};"
    if combine in ("all", "any"):
        return f"{target.text} = {target.text} {_OPERATORS[combine]} {x.within(UNARY)};"
    writer = WRITERS["maximum" if combine == "max" else "minimum"]
    return f"{target.text} = {converted(writer(target, x), target.dtype).text};"
