"""Folding: scopes, their repetitions, and chains of operations become one box each."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from tinygrad_bc.draw.diagram import Box, Diagram
from tinygrad_bc.scope import Scope

__all__ = ["MOST_BOXES", "folded"]

MOST_BOXES = 250
MOST_ARROWS = 1000
MOST_LEVELS = 10  # of scopes in a picture that is folded because it is too large
REPEATED = re.compile(r"\(\d+\)$")  # how Graph tells apart the values that one variable held
NUMBERED = re.compile(r"[ ._-]?\d+$")


def folded(diagram: Diagram, depth: int | None, names: Sequence[str], automatic: bool) -> Diagram:
    """Return the diagram with scopes folded as asked for and, if it is `automatic`, until it can be read.

    Parameters
    ----------
    diagram
    depth
        How many levels of scopes stay open, and of equal ones that follow each other only the first; None for all.
    names
        Patterns of the names, or paths, of scopes to fold.
    automatic
        Whether to fold more where there are more than `MOST_BOXES`: first scopes that repeat the one before them; then
        all scopes, the innermost before the outer ones; then chains of operations whose results have no name
        of their own; then whatever there is.
    """
    deepest = max(_levels(diagram).values(), default=0)
    level = deepest if depth is None else min(depth, deepest)
    chosen = {scope for scope in diagram.scope_ids if names and _matches(scope.path, names)}
    if depth is not None:
        chosen |= _repeats(diagram, level)
    best = _scopes_folded(diagram, level, chosen)
    if not (automatic and _too_large(best)):
        return best
    level = min(level, MOST_LEVELS)
    chosen |= _repeats(diagram, level)
    best = _scopes_folded(diagram, level, chosen)
    while _too_large(best) and level > 0:
        level -= 1
        best = _scopes_folded(diagram, level, chosen)
    if _too_large(best):
        best = _chains_folded(best)
    if _too_large(best):
        best = _slices_folded(diagram)
    note = f"{len(diagram.boxes):,} boxes are folded into {len(best.boxes):,}; fold=False draws them all"
    best.notes = [*best.notes, note]
    return best


def _too_large(diagram: Diagram) -> bool:
    return len(diagram.boxes) > MOST_BOXES or len(diagram.arrows) > MOST_ARROWS


def _matches(path: tuple[Scope, ...], patterns: Sequence[str]) -> bool:
    names = (path[-1].name, "/".join(scope.name for scope in path))
    return any(fnmatchcase(name, pattern) for name in names for pattern in patterns)


# --- scopes --------------------------------------------------------------------------------------


def _levels(diagram: Diagram) -> dict[Scope, int]:
    """Return how deep each scope lies, 1 for the outermost."""
    levels: dict[Scope, int] = {}
    for scope in diagram.scope_ids:  # which lists outer ones first
        levels[scope] = levels[scope.parent] + 1 if scope.parent else 1
    return levels


def _scopes_folded(diagram: Diagram, level: int, chosen: set[Scope]) -> Diagram:
    folds = _scope_boxes(diagram, level, chosen)
    if not folds:
        return diagram
    diagram = diagram.replaced(folds.values())
    return diagram.replaced(_repetition(run) for run in _runs(diagram))


def _scope_boxes(diagram: Diagram, level: int, chosen: set[Scope]) -> dict[Scope, Box]:
    """Return a box for each outermost scope that lies deeper than `level`, or is `chosen`."""
    folds: dict[Scope, Box] = {}
    outermost: dict[Scope | None, Scope] = {}
    for scope, depth in _levels(diagram).items():
        if scope.parent in outermost:
            outermost[scope] = outermost[scope.parent]
        elif depth > level or scope in chosen:
            outermost[scope] = scope
    for box in diagram.boxes:
        if box.scope in outermost:
            scope = outermost[box.scope]
            if scope not in folds:
                folds[scope] = Box(diagram.scope_ids[scope], "folded", scope.name, scope=scope.parent)
            folds[scope].members.append(box)
    return folds


def _repeats(diagram: Diagram, levels: int) -> set[Scope]:
    """Return the scopes that only repeat the one before them: where that is open, they need not be."""
    found: set[Scope] = set()
    for level in range(min(levels, MOST_LEVELS)):
        folds = _scope_boxes(diagram, level, found)
        scopes = {box: scope for scope, box in folds.items()}
        for run in _runs(diagram.replaced(folds.values())):
            found.update(scopes[box] for box in run[1:])
    return found


def _runs(diagram: Diagram) -> list[list[Box]]:
    """Return folded scopes that follow each other, each reading the one before, and hold the same operations."""
    follows = {(arrow.start, arrow.end) for arrow in diagram.arrows}
    signatures = {box: _signature(box) for box in diagram.boxes if box.members}
    runs: list[list[Box]] = []
    for box in diagram.boxes:
        if box.leaf:
            continue
        last = runs[-1][-1] if runs else None
        if last and box.members and signatures.get(last) == signatures[box] and (last, box) in follows:
            runs[-1].append(box)
        else:
            runs.append([box])
    return [run for run in runs if len(run) > 1]


def _signature(box: Box) -> tuple[object, ...]:
    """Return what two repetitions have in common: name, place, operations and shapes in their order."""
    inside = (
        (member.value.node.op.name if member.value.node else "", member.value.shape)
        for member in box.members
        if member.value is not None and not member.leaf
    )
    return (NUMBERED.sub("", box.label), box.scope, *inside)


def _repetition(run: list[Box]) -> Box:
    first, last = run[0], run[-1]
    name = first.label if first.label == last.label else f"{first.label} … {last.label}"
    members = [member for box in run for member in box.members]
    return Box(first.id, "folded", f"{name} × {len(run):,}", scope=first.scope, members=members)


# --- operations ----------------------------------------------------------------------------------


def _chains_folded(diagram: Diagram) -> Diagram:
    """Fold operations that were recorded one after the other in the same scope, and what they alone use."""
    anonymous = _anonymous(diagram)
    runs: list[list[Box]] = [[]]
    for box in diagram.boxes:
        if box.leaf:
            continue
        if box.kind not in ("computed", "cotangent") or box not in anonymous:
            runs.append([])
        elif runs[-1] and runs[-1][-1].scope is not box.scope:
            runs.append([box])
        else:
            runs[-1].append(box)
    folds = [
        Box(f"c{i}", "folded", "", scope=run[0].scope, members=run)
        for i, run in enumerate(run for run in runs if len(run) > 1)
    ]
    _take_in_leaves(diagram, folds, anonymous)
    for fold in folds:
        fold.label = f"… {sum(not box.leaf for box in fold.members):,} operations"
    return diagram.replaced(folds)


def _anonymous(diagram: Diagram) -> set[Box]:
    """Return the boxes without a name of their own: numbered, or of a variable that held several values."""
    bases = {box: REPEATED.sub("", box.label) for box in diagram.boxes}
    uses = Counter(bases.values())
    return {
        box
        for box, base in bases.items()
        if box.value is not None and not box.value.name and (uses[base] > 1 or base.rpartition("_")[2].startswith("%"))
    }


def _take_in_leaves(diagram: Diagram, folds: list[Box], anonymous: set[Box]) -> None:
    inside = {member: fold for fold in folds for member in fold.members}
    users: dict[Box, set[Box | None]] = {}
    for arrow in diagram.arrows:
        for box, other in ((arrow.start, arrow.end), (arrow.end, arrow.start)):
            if box.leaf and box in anonymous:
                users.setdefault(box, set()).add(inside.get(other))
    for box, found in users.items():
        (fold,) = found if len(found) == 1 else (None,)
        if fold is not None:
            fold.members.append(box)


def _slices_folded(diagram: Diagram) -> Diagram:
    """Fold everything into slices of the order in which it was computed."""
    best, most = diagram, 2 * MOST_BOXES
    while _too_large(best) and most > 1:
        most //= 2
        folds = []
        for i, members in enumerate(_slices(diagram.boxes, math.ceil(len(diagram.boxes) / most))):
            computed = sum(not box.leaf for box in members)
            label = f"… {computed:,} operations" if computed else f"… {len(members):,} leaves"
            folds.append(Box(f"c{i}", "folded", label, members=members))
        best = diagram.replaced(folds)
    return best


def _slices(boxes: list[Box], size: int) -> Iterator[list[Box]]:
    return (boxes[i : i + size] for i in range(0, len(boxes), size))
