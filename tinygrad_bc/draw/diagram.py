"""What a picture consists of before it is written down: boxes, and the arrows between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from tinygrad_bc.record import Array, Graph, Node, Value
from tinygrad_bc.scope import Scope

__all__ = ["Arrow", "Box", "Diagram", "Kind", "Said", "View", "scope_path", "scopes_of"]

Kind = Literal[
    "parameter", "constant", "computed", "output",  # the forward pass
    "seed", "cotangent", "gradient",  # the backward pass
    "folded", "failed", "cut",
]  # fmt: skip


@dataclass(slots=True, eq=False)
class Box:
    """One box: a value, or what stands for several of them.

    Attributes
    ----------
    id : str
        Its name in DOT, SVG and JSON. ``v3`` is the value of number 3 in the graph, ``g3`` its cotangent, ``s2`` a
        folded scope, ``c0`` a folded chain of operations, ``cut0`` a place where the picture was cut.
    kind : str
    label : str
    value : Value or None
        The value of the *forward* graph, also in a picture of the backward pass.
    scope : Scope or None
        The scope that it is drawn in.
    leaf : bool
        Whether nothing leads to it, or nothing away from it: it moves with what it is linked to.
    members : list of Box
        The boxes of values that are folded into this one.
    """

    id: str
    kind: Kind
    label: str
    value: Value | None = None
    scope: Scope | None = None
    leaf: bool = False
    members: list[Box] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Arrow:
    """One arrow: `flows` are the forward values whose numbers, or cotangents, go along it."""

    start: Box
    end: Box
    flows: list[Value]
    use: Any = None
    """In the backward pass, the contribution that it stands for."""
    bridge: bool = False
    """Whether it passes over values that are not shown."""


@dataclass(slots=True)
class Diagram:
    """Boxes, each after those that its arrows come from; what was left out is said in `notes`."""

    boxes: list[Box]
    arrows: list[Arrow]
    scope_ids: dict[Scope, str]
    notes: list[str] = field(default_factory=list)

    def replaced(self, folds: Iterable[Box]) -> Diagram:
        """Return the diagram with the members of each of `folds` replaced by that one box."""
        folds = list(folds)
        inside = {member: fold for fold in folds for member in fold.members}
        through = {box: inside[box.members[0]] for box in self.boxes if box.members and box.members[0] in inside}
        inside |= through  # boxes that were folded before
        last = {inside[box]: box for box in self.boxes if box in inside}
        boxes = []
        for box in self.boxes:
            fold = inside.get(box)
            if fold is None or last[fold] is box:
                boxes.append(fold or box)
        return Diagram(boxes, self._joined(inside), self.scope_ids, self.notes)

    def _joined(self, inside: dict[Box, Box]) -> list[Arrow]:
        arrows: list[Arrow] = []
        joined: dict[tuple[Box, Box], Arrow] = {}
        for arrow in self.arrows:
            start, end = inside.get(arrow.start, arrow.start), inside.get(arrow.end, arrow.end)
            if start is arrow.start and end is arrow.end:
                arrows.append(arrow)
            elif (start, end) in joined:
                joined[start, end].flows.extend(arrow.flows)
            elif start is not end:
                joined[start, end] = Arrow(start, end, list(arrow.flows), bridge=arrow.bridge)
                arrows.append(joined[start, end])
        return arrows


class Said(NamedTuple):
    """What a box says of a value.

    Attributes
    ----------
    formula : str
        What stands behind the equals sign.
    array : ndarray or None
        Its numbers.
    gradient : ndarray or str
        The gradient beside them, why there is none, or '' where none belongs.
    remark : str
        A line of its own.
    """

    formula: str
    array: Array | None = None
    gradient: Array | str = ""
    remark: str = ""


class View:
    """What a picture shows of a record: the base of the forward and the backward view.

    Attributes
    ----------
    name : str
    graph : Graph
        The forward pass.
    """

    name: str
    graph: Graph

    def diagram(self) -> Diagram:
        """Return all boxes and arrows."""
        raise NotImplementedError

    def say(self, box: Box) -> Said:
        """Return what stands in a box."""
        raise NotImplementedError

    def along(self, arrow: Arrow) -> list[str]:
        """Return the lines beside an arrow."""
        raise NotImplementedError

    def title(self, value: Value) -> str:
        """Return the name of what the box of a value shows."""
        return self.graph.label(value)

    def node(self, box: Box) -> Node | None:
        """Return the recipe of the value to which the box, or its cotangent, belongs."""
        return self.graph.node(box.value) if box.value is not None else None


def scope_path(scope: Scope | None) -> tuple[Scope, ...]:
    """Return the scopes from the outermost to `scope`."""
    return scope.path if scope else ()


def scopes_of(graph: Graph) -> tuple[dict[Value, Scope | None], dict[Scope, str]]:
    """Return the scope that each value is drawn in, and an id for every scope.

    A computed value is drawn where it was recorded. A leaf is drawn with the values that use it, in the innermost
    scope that holds them all; but data that has a name comes from outside, and stays there.
    """
    found: dict[Value, Scope | None] = {}
    ids: dict[Scope, str] = {}
    for value in graph:
        node = graph.node(value)
        if node is None:
            continue
        found[value] = node.scope
        if node.scope not in ids:
            for scope in scope_path(node.scope):
                ids.setdefault(scope, f"s{len(ids)}")
        for x in node.values:
            if graph.node(x) is None:
                from_outside = not x._requires_grad and not graph.label(x).startswith("%")
                found[x] = None if from_outside else _common(found.get(x, node.scope), node.scope)
    return found, ids


def _common(one: Scope | None, other: Scope | None) -> Scope | None:
    if one is other:
        return one
    shared = None
    for a, b in zip(scope_path(one), scope_path(other)):
        if a is not b:
            break
        shared = a
    return shared
