"""Where a C program keeps the values between its statements: in arrays, or in scalars inside a loop."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tinygrad_bc.compiler.c_target.functions import FUNCTIONS
from tinygrad_bc.compiler.c_target.index import Index
from tinygrad_bc.compiler.c_target.plan import Plan
from tinygrad_bc.compiler.c_target.schedule import TILE_MEMORY, TILES, Loop, Nest, Schedule
from tinygrad_bc.compiler.c_target.statements import Load, Statement
from tinygrad_bc.compiler.names import NOUNS, without_leading_numbers
from tinygrad_bc.record import Value

__all__ = ["Names", "Storage", "is_inside", "store_values"]

MOST_LOCAL = 65_536
"""How many bytes an array may take on the stack."""

_RESERVED = """
    auto break case char const continue default do double else enum extern float for goto if inline int long register
    restrict return short signed sizeof static struct switch typedef union unsigned void volatile while bool true false
    int8_t int16_t int32_t int64_t uint8_t uint32_t uint64_t size_t memory step prepare loop start count main
    m n s i j k l p q r u v w advance steps memcpy memset sqrt fabs floor ceil trunc rint fmod pow sin cos tan asin acos
    atan sinh cosh tanh asinh acosh atanh atan2 exp log exp2 log2 log10 erf erfc llabs isnan isinf isfinite NAN INFINITY
    j0 j1 jn y0 y1 yn gamma lgamma tgamma hypot cbrt fma fmax fmin fdim round nearbyint logb ilogb signbit abs
    dgemm sgemm dgemv sgemv set_blas
"""


class Names:
    """Names for values in C, each given once: their labels as far as they can be."""

    def __init__(self) -> None:
        self._taken = {*_RESERVED.split(), *FUNCTIONS, *keyword.kwlist}

    def new(self, label: str, otherwise: str) -> str:
        """Return a name like a label, or, for a value that has none, like `otherwise`."""
        wanted = otherwise if label.startswith("%") else without_leading_numbers(label)
        wanted = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "x"
        wanted = f"x{wanted}" if wanted[0].isdigit() else wanted
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}{'_' if wanted[-1].isdigit() else ''}{number}"
        self._taken.add(name)
        return name


class Storage:
    """Where a value is.

    Attributes
    ----------
    value : Value
    name : str
    kind : str
        ``"whole"``: an array of all its elements. ``"local"``: an array inside loops. ``"scalar"``: one inside loops.
    home : tuple of Nest
        The loops that it is inside.
    dims : list of (Loop, int)
        Of a local array: the loop that runs along each of its dimensions, and which dimension of the value that is.
    """

    def __init__(
        self,
        value: Value,
        name: str,
        kind: str = "whole",
        home: tuple[Nest, ...] = (),
        dims: Sequence[tuple[Loop, int]] = (),
    ) -> None:
        self.value, self.name, self.kind, self.home, self.dims = value, name, kind, home, list(dims)


def store_values(plan: Plan, schedules: Sequence[Schedule], names: Names) -> dict[Value, Storage]:
    """Decide where the computed values of a program are, and how many samples are in a tile.

    Parameters
    ----------
    plan : Plan
    schedules : sequence of Schedule
        One for each function.
    names : Names
    """
    found: dict[Value, Storage] = {}
    makers: dict[Value, list[Statement]] = {}
    used_in: dict[Value, list[tuple[Schedule, tuple[Nest, ...]]]] = {}
    for schedule in schedules:
        for statement in schedule.statements:
            makers.setdefault(statement.value, []).append(statement)
            path = _before_reduction(statement, schedule)
            used_in.setdefault(statement.value, []).append((schedule, path))
            for load in statement.loads:
                used_in.setdefault(load.value, []).append((schedule, schedule.path[statement]))
    for value, statements in makers.items():
        node = plan.node(value)
        noun = NOUNS.get(node.op.name, node.op.name) if node is not None else "copy"
        storage = Storage(value, names.new(plan.label(value), noun))
        found[value] = storage
        if value in plan.whole or len(statements) > 1 or len({schedule for schedule, _ in used_in[value]}) > 1:
            continue
        schedule = used_in[value][0][0]
        _inside(storage, statements[0], schedule, _common(path for _, path in used_in[value]))
        tiled = _in_tile(schedule.path[statements[0]]) or any(_in_tile(path) for _, path in used_in[value])
        if storage.kind == "whole" and not value.shape and not tiled:
            storage.kind = "scalar"
    for schedule in schedules:
        schedule.tile = _samples_per_tile(schedule, found.values())
    return found


def _in_tile(path: tuple[Nest, ...]) -> bool:
    return bool(path) and path[0].loop.kind == "tile"


def _before_reduction(statement: Statement, schedule: Schedule) -> tuple[Nest, ...]:
    """Return the loops that a statement's result is inside: those before the first that it is reduced over."""
    path = schedule.path[statement]
    for depth, nest in enumerate(path):
        if nest.loop.axis in statement.reduced:
            return path[:depth]
    return path


def _common(paths: Iterable[tuple[Nest, ...]]) -> tuple[Nest, ...]:
    """Return the loops that are around all of several places."""
    first, *others = paths
    depth = len(first)
    for path in others:
        same = (a is b for a, b in zip(first[:depth], path))
        depth = next((i for i, equal in enumerate(same) if not equal), min(depth, len(path)))
    return first[:depth]


def _inside(storage: Storage, statement: Statement, schedule: Schedule, home: tuple[Nest, ...]) -> None:
    """Keep a value inside loops, if it is not too large."""
    if not home:
        return
    fixed = {nest.loop for nest in home}
    dims = []
    for loop in schedule.order[statement]:
        dim = next((d for d, i in enumerate(statement.store) if i.axis is loop.axis), None)
        if dim is not None and loop not in fixed:
            if loop.kind == "tile":
                return
            dims.append((loop, dim))
    lengths = [max(TILES) if loop.kind == "lanes" else loop.axis.length for loop, _ in dims]
    if math.prod(lengths) * storage.value.dtype.itemsize <= MOST_LOCAL:
        storage.kind, storage.home, storage.dims = "local" if dims else "scalar", home, dims


def _samples_per_tile(schedule: Schedule, storages: Iterable[Storage]) -> int:
    """Return so many that what is kept for a tile stays in the cache."""
    nests = set(schedule.items)
    each = 0
    for storage in storages:
        if (
            storage.kind == "local"
            and storage.home[0] in nests
            and any(loop.kind == "lanes" for loop, _ in storage.dims)
        ):
            lengths = [loop.axis.length for loop, _ in storage.dims if loop.kind != "lanes"]
            each += math.prod(lengths) * storage.value.dtype.itemsize
    return next((n for n in TILES if n * each <= TILE_MEMORY), TILES[-1])


def is_inside(schedule: Schedule, plan: Plan, statement: Statement, leaf: Value) -> bool:
    """Return whether a statement may write its result into the array of a leaf that the program reads.

    That is so if every element is read for the last time before it is written: in loops that come before, or at the
    same position in the loops that both are in.
    """
    if any(i.axis is None and n != 1 for i, n in zip(statement.store, leaf.shape)) or plan.is_read_by_calls(leaf):
        return False
    for other in schedule.statements:
        for load in other.loads:
            if load.value is leaf and not _is_before(schedule, other, load, statement):
                return False
    return True


def _is_before(schedule: Schedule, reader: Statement, load: Load, writer: Statement) -> bool:
    """Return whether what is read has been read when the writer writes it."""
    if reader is writer:
        return _same(load, writer.store)
    for depth, (a, b) in enumerate(zip(schedule.place[reader], schedule.place[writer])):
        if a != b:
            return a < b
        axis = schedule.path[writer][depth].loop.axis
        if not _meet_at(load, writer.store, axis):
            return False
    return False


def _same(load: Load, store: Index) -> bool:
    return not load.flat and all(a.axis is b.axis and a.constant == b.constant for a, b in zip(load.index, store))


def _meet_at(load: Load, store: Index, axis: Any) -> bool:
    return not load.flat and any(a.axis is axis and b.axis is axis for a, b in zip(load.index, store))
