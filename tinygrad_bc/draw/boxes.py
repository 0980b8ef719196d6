"""What stands in a box: name and formula, shape and numbers, or what is folded into it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from tinygrad_bc.draw.diagram import Box, View
from tinygrad_bc.draw.heatmap import heat_map
from tinygrad_bc.draw.themes import Theme
from tinygrad_bc.draw.words import (
    MOST_NUMBERS,
    describe_numbers,
    describe_range,
    describe_shape,
    escape,
    on_lines,
)
from tinygrad_bc.record import Array, Value

__all__ = ["Flows", "box_label", "contents", "hovered", "is_mapped"]

MOST_KINDS = 3
MOST_NAMES = 2

Flows = tuple[list[Value], list[Value]]


def box_label(view: View, box: Box, theme: Theme, flows: Flows, maps: bool) -> str:
    """Return the HTML-like label of a box.

    Parameters
    ----------
    view, box, theme
    flows
        The values that go into the box and those that come out of it.
    maps : bool
        Whether there is room for heat maps.
    """
    said = view.say(box)
    title = f"<b>{escape(box.label)}</b>" + (f" = {escape(said.formula)}" if said.formula else "")
    head = f'<font point-size="14">{title}</font>'
    array, gradient = said.array, said.gradient
    if array is None:
        return _stacked([head, *map(escape, [*on_lines(said.remark), *contents(view, box, flows)])])
    dtype = "" if array.dtype == np.float64 else f" {array.dtype}"
    shape = f"{describe_shape(array.shape)}{dtype}"
    if maps and is_mapped(array, gradient):
        return _with_maps(head, shape, array, gradient, theme)
    return _stacked([head, f"{shape}: {describe_numbers(array)}", *_gradient(gradient, theme)])


def is_mapped(*arrays: Array | str | None) -> bool:
    """Return whether one of `arrays` is shown as a heat map: not if it is small, or all of one colour."""
    return any(isinstance(x, np.ndarray) and x.size > MOST_NUMBERS and _varies(x) for x in arrays)


def _varies(array: Array) -> bool:
    finite = np.isfinite(array)
    return bool(finite.any() and not (array == array[finite][0]).all())


def _gradient(gradient: Array | str, theme: Theme) -> list[str]:
    if isinstance(gradient, str):
        return [f'<font color="{theme.faint}"><i>grad: {gradient}</i></font>'] if gradient else []
    return [f"grad: {describe_numbers(gradient)}"]


def _stacked(lines: Iterable[str]) -> str:
    return _table(f"<td>{line}</td>" for line in lines)


def _table(rows: Iterable[str]) -> str:
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<<table border="0" cellborder="0" cellspacing="0" cellpadding="1">{body}</table>>'


def _with_maps(head: str, shape: str, array: Array, gradient: Array | str, theme: Theme) -> str:
    """Return a table of the value's heat map and, beside it, that of its gradient."""
    columns = [("", array)] + ([("grad: ", gradient)] if isinstance(gradient, np.ndarray) else [])
    maps = [heat_map(x, theme) if is_mapped(x) else "" for _, x in columns]
    words = [f'<font point-size="11">{title}{describe_range(x)}</font>' for title, x in columns]
    wide = f'<td colspan="{len(columns)}">'
    rows = [f"{wide}{head}</td>", f"{wide}{shape}</td>"]
    rows += ["".join(f'<td cellpadding="3">{cell}</td>' for cell in line) for line in (maps, words)]
    if isinstance(gradient, str) and gradient:
        rows.append(f"{wide}{_gradient(gradient, theme)[0]}</td>")
    return _table(rows)


def contents(view: View, box: Box, flows: Flows) -> list[str]:
    """Say what a folded box holds: operations, parameters, the shapes that go in and come out."""
    if not box.members:
        return []
    values = [member.value for member in box.members if member.value is not None]
    operations = Counter(node.op.name for value in values if (node := view.graph.node(value)))
    parameters = [value for value in values if view.graph.node(value) is None and value._requires_grad]
    commonest = [name if n == 1 else f"{name} × {n:,}" for name, n in operations.most_common(MOST_KINDS)]
    if len(operations) > MOST_KINDS:
        commonest.append(_counted(len(operations) - MOST_KINDS, "more kind"))
    lines = on_lines(", ".join(commonest))
    if parameters:
        total = sum(value._array.size for value in parameters)
        lines.append(f"{_counted(len(parameters), 'parameter')} ({_counted(total, 'number')})")
    shapes = " → ".join(filter(None, (_shapes(view, values) for values in flows)))
    outputs = [member.label for member in box.members if member.kind in ("output", "seed")]
    return [*lines, *([shapes] if shapes else []), *(f"holds {label}" for label in outputs[:2])]


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _shapes(view: View, values: list[Value]) -> str:
    """Return names and shapes of a few values; of more, the shapes that occur."""
    values = list(dict.fromkeys(values))
    if len(values) <= MOST_NAMES:
        return ", ".join(f"{view.title(value)} ({describe_shape(value.shape)})" for value in values)
    shapes = list(dict.fromkeys(describe_shape(value.shape) for value in values))
    return f"{len(values):,} values: " + ", ".join(shapes[:3]) + (", …" if len(shapes) > 3 else "")


def hovered(view: View, box: Box) -> str:
    """Return the source line of a box, or what else a reader wants to know who points at it."""
    node = view.node(box)
    if node is None:
        return box.label
    file = node.filename.replace("\\", "/").rpartition("/")[2]
    return f"{file}:{node.lineno}: {node.source}"
