"""The loops of a C program: which statements run in the same ones, and where the values between them are kept.

Statements whose elements meet run in one loop, and a value that only this loop needs is a scalar in it. Where many
samples go through small products of matrices, they go in tiles: all loops over a tile's samples are innermost, so that
they become vector instructions, and what is computed for a tile stays in the cache until it has been used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from tinygrad_bc.compiler.c_target.index import Affine, Axis, axes_of
from tinygrad_bc.compiler.c_target.statements import Load, Statement
from tinygrad_bc.record import Value

__all__ = ["Loop", "Nest", "Schedule", "sample_axis"]

FEWEST_SAMPLES = 32
"""How long an axis is at least that is cut into tiles."""

SHORT = 16
"""Up to which length compilers unroll a loop: then it can be inside the one that becomes vector instructions."""

TILES = (128, 64, 32, 16)
TILE_MEMORY = 40_000
"""How many bytes a tile's values should take: most first-level caches hold them."""


class Loop(NamedTuple):
    """A loop along an axis.

    Attributes
    ----------
    axis : Axis
    kind : str
        ``"tile"`` from tile to tile, ``"lanes"`` within a tile, ``""`` along the whole axis.
    """

    axis: Axis
    kind: str = ""


class Nest:
    """A loop and what is inside it: further loops, and statements.

    Attributes
    ----------
    loop : Loop
    body : list of Nest and Statement
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.body: list[Nest | Statement] = []


def sample_axis(statements: Sequence[Statement]) -> Axis | None:
    """Return the axis to cut into tiles: the longest one of small matrix products; None if there are none."""
    work: dict[Axis, int] = defaultdict(int)
    for statement in statements:
        if statement.combine == "gemm":
            return None
        if statement.is_product and len(statement.axes) > 1:
            longest = max(statement.axes, key=lambda axis: axis.length)
            if longest.length >= FEWEST_SAMPLES:
                size = 1
                for axis in statement.axes:
                    size *= axis.length
                work[longest] += size
    return max(work, key=lambda axis: work[axis]) if work else None


class Schedule:
    """The loops for statements.

    Parameters
    ----------
    statements : sequence of Statement
        Each after those it reads from.
    samples : Axis or None
        The axis that is cut into tiles.

    Attributes
    ----------
    items : list of Nest and Statement
    path : dict of Statement to tuple of Nest
        The loops that a statement is in, from the outside in.
    tile : int
        How many samples are in a tile.
    """

    def __init__(self, statements: Sequence[Statement], samples: Axis | None) -> None:
        self.statements = list(statements)
        self.samples = samples
        self.tile = 0
        self._makers: dict[Value, list[Statement]] = defaultdict(list)
        for statement in statements:
            self._makers[statement.value].append(statement)
        rank = _ranks(statements)
        self.order = {statement: self._loops(statement, rank) for statement in statements}
        self.path: dict[Statement, tuple[Nest, ...]] = {}
        self.place: dict[Statement, tuple[int, ...]] = {}
        self.items = self._fused(self.statements, ())

    # --- the order of a statement's loops

    def _loops(self, statement: Statement, rank: dict[Axis, float]) -> list[Loop]:
        axes = sorted(statement.axes, key=lambda axis: rank[axis])
        if statement.product:
            return []
        first_counts = statement.combine in ("argmax", "argmin")
        if self.samples in axes and not (first_counts and self.samples in statement.reduced):
            return self._tiled(statement, [axis for axis in statement.axes if axis is not self.samples])
        if not axes:
            return []
        inner = max(axes, key=lambda axis: (_contiguous(statement, axis), rank[axis]))
        outer = [axis for axis in axes if axis is not inner]
        if statement.is_product and inner not in statement.reduced and _short(statement.reduced):
            axes = [*(axis for axis in outer if axis not in statement.reduced), inner, *statement.reduced]
        elif first_counts:
            axes = [*(axis for axis in axes if axis not in statement.reduced), *statement.reduced]
        else:
            axes = [*outer, inner]
        return [Loop(axis) for axis in axes]

    def _tiled(self, statement: Statement, others: list[Axis]) -> list[Loop]:
        assert self.samples is not None
        tile, lanes = Loop(self.samples, "tile"), Loop(self.samples, "lanes")
        kept = [Loop(axis) for axis in others if axis not in statement.reduced]
        reduced = [Loop(axis) for axis in statement.reduced if axis is not self.samples]
        inside = statement.combine in ("argmax", "argmin") or (
            statement.is_product and kept and _short(statement.reduced) and self.samples not in statement.reduced
        )
        if inside:
            return [tile, *kept, lanes, *reduced]
        return [tile, *(Loop(axis) for axis in others), lanes]

    # --- fusion

    def _fused(self, statements: Sequence[Statement], path: tuple[Nest, ...]) -> list[Nest | Statement]:
        """Arrange statements that are all inside the loops of `path`."""
        depth = len(path)
        items: list[Nest | Statement] = []
        inside: dict[Nest, list[Statement]] = {}
        at: dict[Statement, int] = {}
        for statement in statements:
            first = 0
            for maker, load in self._needs(statement):
                if maker in at:
                    shared = items[at[maker]]
                    can_share = isinstance(shared, Nest) and load is not None and _meet(maker, load, shared.loop)
                    first = max(first, at[maker] + (not can_share))
            order = self.order[statement]
            if depth == len(order):
                at[statement] = len(items)
                items.append(statement)
                self.path[statement] = path
                continue
            found = next(
                (i for i in range(first, len(items)) if isinstance(items[i], Nest) and items[i].loop == order[depth]),  # type: ignore[union-attr]
                len(items),
            )
            if found == len(items):
                items.append(Nest(order[depth]))
            nest = items[found]
            assert isinstance(nest, Nest)
            inside.setdefault(nest, []).append(statement)
            at[statement] = found
        for statement, i in at.items():
            self.place[statement] = (*self.place.get(statement, ()), i)
        for nest, within in inside.items():
            nest.body = self._fused(within, (*path, nest))
        return items

    def _needs(self, statement: Statement) -> Iterable[tuple[Statement, Load | None]]:
        """Yield the statements that have to be before one, with what is read of each."""
        for load in statement.loads:
            for maker in self._makers.get(load.value, ()):
                yield maker, load
        if statement.after is not None:
            yield statement.after, None


def _short(axes: Iterable[Axis]) -> bool:
    length = 1
    for axis in axes:
        length *= axis.length
    return length <= SHORT


def _meet(maker: Statement, load: Load, loop: Loop) -> bool:
    """Return whether what is read was computed in the same turn of a loop."""
    if load.flat or loop.axis in maker.reduced:
        return False
    return any(i.axis is loop.axis and load.index[d].axis is loop.axis for d, i in enumerate(maker.store))


def _contiguous(statement: Statement, axis: Axis) -> int:
    """Return how well an axis suits the innermost loop: in how many arrays its elements follow each other."""
    reads = [(load.position, 1) for load in statement.loads]
    stored = Load(statement.value, statement.store).position
    score = 0
    for position, weight in [*reads, (stored, 1)]:
        factor = _factor(position, axis)
        score += weight if factor == 1 else -2 * weight if factor else 0
    return score


def _factor(position: Affine, axis: Axis) -> int:
    if any(axis in axes_of(lookup.index) for lookup in position.lookups):
        return 2
    return position.terms.get(axis, 0)


def _ranks(statements: Iterable[Statement]) -> dict[Axis, float]:
    """Return for each axis how far inside it is on average, in the arrays that have it: from 0 to 1."""
    found: dict[Axis, list[float]] = defaultdict(list)
    for statement in statements:
        for index in [statement.store, *(load.index for load in statement.loads if not load.flat)]:
            axes = axes_of(index)
            for place, axis in enumerate(axes):
                found[axis].append(place / (len(axes) - 1) if len(axes) > 1 else 1.0)
        for axis in statement.axes:
            found[axis].append(1.0) if axis not in found else None
    return {axis: sum(places) / len(places) for axis, places in found.items()}
