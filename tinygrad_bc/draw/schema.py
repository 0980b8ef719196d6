"""A diagram as JSON, for programs that draw or compare graphs themselves."""

from __future__ import annotations

import json
from typing import Any

from tinygrad_bc.draw.boxes import Flows, contents
from tinygrad_bc.draw.diagram import Box, Diagram, View
from tinygrad_bc.draw.dot import flows_of
from tinygrad_bc.draw.words import describe_numbers
from tinygrad_bc.record import Array

__all__ = ["VERSION", "json_text"]

VERSION = 1


def json_text(diagram: Diagram, view: View, direction: str) -> str:
    """Return the diagram as `Drawing.json` describes it."""
    flows = flows_of(diagram)
    scopes = [
        {"id": name, "name": scope.name, "parent": diagram.scope_ids[scope.parent] if scope.parent else None}
        for scope, name in diagram.scope_ids.items()
    ]
    edges = [
        {
            "from": arrow.start.id,
            "to": arrow.end.id,
            "label": "; ".join(view.along(arrow)) if arrow.use else "",
            "bridge": arrow.bridge,
        }
        for arrow in diagram.arrows
    ]
    document = {
        "schema": "tinygrad_bc.graph",
        "version": VERSION,
        "view": view.name,
        "direction": direction,
        "notes": diagram.notes,
        "scopes": scopes,
        "nodes": [_node(diagram, view, box, flows[box]) for box in diagram.boxes],
        "edges": edges,
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def _node(diagram: Diagram, view: View, box: Box, flows: Flows) -> dict[str, Any]:
    node = view.node(box)
    said = view.say(box)
    array = said.array
    return {
        "id": box.id,
        "label": box.label,
        "kind": box.kind,
        "op": node.op.name if node else None,
        "formula": said.formula,
        "shape": None if array is None else list(array.shape),
        "dtype": None if array is None else str(array.dtype),
        "numbers": None if array is None else describe_numbers(array),
        "gradient": _gradient(said.gradient),
        "scope": diagram.scope_ids[box.scope] if box.scope else None,
        "path": "/".join(scope.name for scope in box.scope.path) if box.scope else "",
        "source": {"file": node.filename, "line": node.lineno, "text": node.source} if node else None,
        "holds": [member.id for member in box.members],
        "remarks": [*filter(None, [said.remark]), *contents(view, box, flows)],
    }


def _gradient(gradient: Array | str) -> str | None:
    return (gradient or None) if isinstance(gradient, str) else describe_numbers(gradient)
