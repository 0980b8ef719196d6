"""A part of a picture: the values that a predicate picks, or the surroundings of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tinygrad_bc.draw.diagram import Arrow, Box, Diagram
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.record import Value

__all__ = ["around", "where"]


def where(diagram: Diagram, shown: Callable[[Value], bool]) -> Diagram:
    """Return the boxes whose values `shown` is true of; dashed arrows pass over the others."""
    visible = [box for box in diagram.boxes if box.value is None or shown(box.value)]
    if not visible:
        raise ArgumentError("graph: `where` is true of no value, so there is nothing to draw")
    bit = {box: 1 << i for i, box in enumerate(visible)}
    entering: dict[Box, list[Arrow]] = {}
    pending: dict[Box, int] = {}  # how many arrows still read what is known of a box
    for arrow in diagram.arrows:
        entering.setdefault(arrow.end, []).append(arrow)
        pending[arrow.start] = pending.get(arrow.start, 0) + 1
    # Sets of visible boxes as bits of one number: a hidden chain of 100,000 costs a hundred thousand `or`s.
    behind: dict[Box, int] = {}
    arrows = []
    for box in diagram.boxes:
        through = 0
        for arrow in entering.get(box, ()):
            if box in bit and arrow.start in bit:
                arrows.append(arrow)
            else:
                through |= bit.get(arrow.start) or behind.get(arrow.start, 0)
            pending[arrow.start] -= 1
            if not pending[arrow.start]:
                behind.pop(arrow.start, None)
        if box in bit:
            arrows += [Arrow(start, box, _flow(start), bridge=True) for start in _chosen(visible, through)]
        else:
            behind[box] = through
    hidden = len(diagram.boxes) - len(visible)
    note = [f"{hidden:,} values are not shown; dashed arrows pass over them"] if hidden else []
    return Diagram(visible, arrows, diagram.scope_ids, diagram.notes + note)


def _chosen(boxes: list[Box], bits: int) -> list[Box]:
    chosen = []
    while bits:
        lowest = bits & -bits
        chosen.append(boxes[lowest.bit_length() - 1])
        bits ^= lowest
    return chosen


def _flow(box: Box) -> list[Value]:
    return [box.value] if box.value is not None else []


def around(diagram: Diagram, centres: Sequence[Value], radius: int) -> Diagram:
    """Return the boxes at most `radius` arrows away from those of `centres`; "…" stands where the picture is cut."""
    neighbours: dict[Box, list[Box]] = {box: [] for box in diagram.boxes}
    for arrow in diagram.arrows:
        neighbours[arrow.start].append(arrow.end)
        neighbours[arrow.end].append(arrow.start)
    edge = _boxes_of(diagram, centres)
    near = set(edge)
    for _ in range(radius):
        edge = list(dict.fromkeys(other for box in edge for other in neighbours[box] if other not in near))
        near.update(edge)
    return _with_stubs(diagram, near)


def _boxes_of(diagram: Diagram, centres: Sequence[Value]) -> list[Box]:
    boxes = {box.value: box for box in diagram.boxes if box.value is not None}
    for value in centres:
        if value not in boxes:
            name = value.name or f"a value of shape {value.shape}"
            raise ArgumentError(f"graph: around={name} is not in the picture: it takes no part in this computation")
    return [boxes[value] for value in centres]


def _with_stubs(diagram: Diagram, near: set[Box]) -> Diagram:
    stubs: dict[tuple[Box, bool], Box] = {}
    arrows = []
    for arrow in diagram.arrows:
        enters, leaves = arrow.end in near, arrow.start in near
        if enters and leaves:
            arrows.append(arrow)
        elif enters or leaves:
            box = arrow.end if enters else arrow.start
            if (box, enters) not in stubs:
                stub = stubs[box, enters] = Box(f"cut{len(stubs)}", "cut", "…", scope=box.scope, leaf=True)
                arrows.append(Arrow(stub, box, []) if enters else Arrow(box, stub, []))
    before = [stub for (_, enters), stub in stubs.items() if enters]
    after = [stub for (_, enters), stub in stubs.items() if not enters]
    boxes = before + [box for box in diagram.boxes if box in near] + after
    cut = len(diagram.boxes) - len(near)
    note = [f"{cut:,} values further away are left out (…)"] if cut else []
    return Diagram(boxes, arrows, diagram.scope_ids, diagram.notes + note)
