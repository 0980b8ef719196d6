"""From a diagram to the text that Graphviz reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tinygrad_bc.draw.boxes import Flows, box_label, hovered, is_mapped
from tinygrad_bc.draw.diagram import Arrow, Box, Diagram, View, scope_path
from tinygrad_bc.draw.heatmap import scale
from tinygrad_bc.draw.themes import SHAPES, Theme
from tinygrad_bc.draw.words import escape, on_lines, printable
from tinygrad_bc.scope import Scope

if TYPE_CHECKING:
    from graphviz import Digraph
else:
    Digraph = Any

__all__ = ["dot_text", "flows_of"]

FONT = "Helvetica,Arial,sans-serif"
PAGE = {"ranksep": "0.3", "nodesep": "0.25", "pad": "0.2", "fontname": FONT, "fontsize": "11"}
# With the defaults, a value used by each of two hundred operations takes Graphviz many minutes.
LARGE = 100
LARGE_PAGE = PAGE | {"nslimit": "1", "splines": "line"}
BOX = {"fontname": FONT, "fontsize": "12", "margin": "0.12,0.06", "width": "0", "height": "0"}
ARROW = {"fontname": FONT, "fontsize": "11", "arrowsize": "0.7", "penwidth": "1.2"}


def dot_text(diagram: Diagram, view: View, direction: str, theme: Theme) -> str:
    """Return a picture in the DOT language; the same diagram gives the same text."""
    import graphviz

    large = len(diagram.boxes) > LARGE
    page = (LARGE_PAGE if large else PAGE) | {"rankdir": direction, "bgcolor": theme.page, "fontcolor": theme.text}
    colours = {"color": theme.line, "fontcolor": theme.text}
    dot = graphviz.Digraph(graph_attr=page, node_attr=BOX | colours, edge_attr=ARROW | colours)
    if diagram.notes:
        dot.attr("graph", label=f"<{'<br/>'.join(escape(x) for note in diagram.notes for x in on_lines(note))}>")
    flows = flows_of(diagram)
    for box in _inside_scopes(dot, diagram, theme):
        label = box_label(view, box, theme, flows[box], maps=not large)
        hint = graphviz.escape(printable(hovered(view, box)))
        dot.node(box.id, label, id=box.id, tooltip=hint, **{"class": box.kind}, **_style(box, theme))
    for arrow in diagram.arrows:
        _write_arrow(dot, view, arrow, theme)
    if not large:
        for start, end in _below(diagram):
            dot.edge(start.id, end.id, style="invis")
    _write_key(dot, view, diagram, theme)
    return str(dot.source)


def flows_of(diagram: Diagram) -> dict[Box, Flows]:
    """Return the values that go into each box and those that come out of it."""
    flows: dict[Box, Flows] = {box: ([], []) for box in diagram.boxes}
    for arrow in diagram.arrows:
        flows[arrow.start][1].extend(arrow.flows)
        flows[arrow.end][0].extend(arrow.flows)
    return flows


def _inside_scopes(dot: Digraph, diagram: Diagram, theme: Theme) -> Iterator[Box]:
    """Iterate over the boxes while writing, around each, the clusters of the scopes that it is in.

    Graphviz lets a cluster be opened again. So no tree is built, and scopes may be nested to any depth.
    """
    opened: tuple[Scope, ...] = ()
    styled: set[Scope] = set()
    for box in [*diagram.boxes, None]:
        path = scope_path(box.scope) if box else ()
        shared = sum(1 for _ in _while_same(opened, path))
        dot.body += ["\t}\n"] * (len(opened) - shared)
        for scope in path[shared:]:
            dot.body.append(f"\tsubgraph cluster_{diagram.scope_ids[scope]} {{\n")
            if scope not in styled:
                styled.add(scope)
                dot.attr(**_frame(scope, diagram.scope_ids[scope], theme))
        opened = path
        if box:
            yield box


def _while_same(one: tuple[Scope, ...], other: tuple[Scope, ...]) -> Iterator[Scope]:
    for a, b in zip(one, other):
        if a is not b:
            return
        yield a


def _frame(scope: Scope, identity: str, theme: Theme) -> dict[str, str]:
    return {
        "label": f"<<b>{escape(scope.name)}</b>>",
        "id": identity,
        "class": "scope",
        "labeljust": "l",
        "style": "rounded,filled",
        "color": theme.frame,
        "fillcolor": theme.scope,
        "margin": "10",
    }


def _style(box: Box, theme: Theme) -> dict[str, str]:
    style = dict(SHAPES[box.kind])
    if box.kind in theme.fills:
        style["fillcolor"] = theme.fills[box.kind]
    if box.kind == "failed":
        style["color"] = theme.failure
    return style


def _below(diagram: Diagram) -> Iterator[tuple[Box, Box]]:
    """Iterate over pairs of boxes of which the first is to stand above the second, though no arrow says so.

    A leaf needs only to stand above its first use. Inside a scope it would reach up beside the scope before, and
    Graphviz put the two side by side: so it comes below what enters the scope; and a gradient above what leaves it.
    """
    entering: dict[Scope, dict[Box, None]] = {}
    leaving: dict[Scope, dict[Box, None]] = {}
    for arrow in diagram.arrows:
        if not (arrow.start.leaf or arrow.end.leaf):
            before, after = scope_path(arrow.start.scope), scope_path(arrow.end.scope)
            shared = sum(1 for _ in _while_same(before, after))
            for scope in after[shared:]:
                entering.setdefault(scope, {})[arrow.start] = None
            for scope in before[shared:]:
                leaving.setdefault(scope, {})[arrow.end] = None
    sources = {arrow.start for arrow in diagram.arrows}
    for box in diagram.boxes:
        if box.leaf and box.scope:
            if box in sources:
                yield from ((other, box) for other in entering.get(box.scope, ()))
            else:
                yield from ((box, other) for other in leaving.get(box.scope, ()))


def _write_arrow(dot: Digraph, view: View, arrow: Arrow, theme: Theme) -> None:
    attributes = {"style": "dashed"} if arrow.bridge else {}
    if "cut" in (arrow.start.kind, arrow.end.kind):
        attributes = {"style": "dotted"}
    if arrow.end.kind == "failed":
        attributes = {"color": theme.failure}
    if arrow.use:
        first, *others = map(escape, view.along(arrow))
        small = "".join(f'<br/><font point-size="10" color="{theme.faint}"><i>{x}</i></font>' for x in others)
        attributes["label"] = f"<&#160;{first}&#160;{small}>"
    dot.edge(arrow.start.id, arrow.end.id, **attributes)


def _write_key(dot: Digraph, view: View, diagram: Diagram, theme: Theme) -> None:
    """Explain the kinds of boxes that occur, and the colours of heat maps if there are any."""
    kinds = {box.kind: None for box in sorted(diagram.boxes, key=lambda box: list(SHAPES).index(box.kind))}
    frame = {"color": theme.frame, "style": "dotted", "margin": "6", "id": "key", "label": ""}
    with dot.subgraph(name="cluster_key", graph_attr=frame) as key:
        for kind in kinds:
            if kind != "cut":
                box = Box(kind, kind, kind)
                key.node(f"key-{kind}", kind, id=f"key-{kind}", tooltip=kind, fontsize="10", **_style(box, theme))
        if len(diagram.boxes) <= LARGE and any(is_mapped(*view.say(box)[1:3]) for box in diagram.boxes):
            cells = f"<td>−</td><td>{scale(theme)}</td><td>+</td>"
            label = f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="2"><tr>{cells}</tr></table>>'
            key.node("key-scale", label, id="key-scale", tooltip="scale", shape="plaintext", fontsize="10", margin="0")
