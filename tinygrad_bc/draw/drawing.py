"""The picture of a graph: one box per value, with its formula, its numbers and its gradient."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tinygrad_bc.draw.engine import draw
from tinygrad_bc.draw.files import check_destination, write_atomically
from tinygrad_bc.draw.words import describe_numbers, describe_shape
from tinygrad_bc.errors import MissingDependencyError, RenderError
from tinygrad_bc.record import Graph, Value

__all__ = ["Drawing", "graph"]

FORMATS = ("svg", "png", "pdf", "dot")
LONGEST = 60

# The kind of a value is told by the shape of its box and again by the colour. Tints of the palette of Okabe and
# Ito stay apart for colour-blind readers and leave black text readable; the shapes are for print in grey.
KINDS = {
    "parameter": {"shape": "box3d", "style": "filled", "fillcolor": "#9fd3f2", "margin": "0.14,0.09"},
    "constant": {"shape": "note", "style": "filled", "fillcolor": "#ececec"},
    "computed": {"shape": "box", "style": "rounded,filled", "fillcolor": "#ffffff"},
    "output": {"shape": "box", "style": "filled", "fillcolor": "#fae0a3", "peripheries": "2"},
}
FAINT = "#505050"
PAGE = {"rankdir": "TB", "ranksep": "0.3", "nodesep": "0.25", "pad": "0.2"}
# With the defaults, a value used by each of two hundred operations takes Graphviz many minutes.
LARGE = 100
LARGE_PAGE = PAGE | {"nslimit": "1", "splines": "line"}
BOX = {"fontname": "Helvetica,Arial,sans-serif", "fontsize": "12", "margin": "0.12,0.06", "width": "0", "height": "0"}
ARROW = {"color": "#444444", "arrowsize": "0.7", "penwidth": "1.2"}
KEY = {"color": "#b0b0b0", "style": "dotted", "margin": "6"}

# Graphviz puts the id of the box where it reads a backslash and an N: a space without width keeps them apart.
ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\\": "\\&#8203;"})


def graph(outputs: Value | Sequence[Value], names: Mapping[str, Any] | None = None) -> Drawing:
    """Return the picture of how `outputs` were computed.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensor
        The results whose history is drawn.
    names : mapping, optional
        Names for values that have none of their own, for example ``locals()``.

    Returns
    -------
    Drawing
        A notebook shows it as a picture, `Drawing.render` writes it to a file, and ``print`` lists the formulas.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> W = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Loss = (W * W).sum()
    >>> print(graph(Loss, names=locals()))
    W = parameter   2 float64
    %1 = W ∘ W      2 float64
    Loss = sum(%1)  scalar float64
    """
    return Drawing(outputs, names=names)


class Drawing(Graph):
    """A graph that can be drawn. Made by `graph`.

    Each box is a value: its name and formula, its shape, its numbers (range and mean where there are more
    than six) and, where it requires one, its gradient as it is now.
    """

    @property
    def dot(self) -> str:
        """The picture in the DOT language of Graphviz; the same graph gives the same text."""
        import graphviz

        numbers = {value: f"v{number}" for number, value in enumerate(self.values)}
        outputs = set(self.outputs)
        kinds = {value: self._kind(value, outputs) for value in self.values}
        dot = graphviz.Digraph(graph_attr=PAGE if len(self) <= LARGE else LARGE_PAGE, node_attr=BOX, edge_attr=ARROW)
        for value, number in numbers.items():
            dot.node(number, self._text(value), **KINDS[kinds[value]])
        for value, number in numbers.items():
            node = self.node(value)
            dot.edges((numbers[used], number) for used in (node.values if node else ()))
        with dot.subgraph(name="cluster_key", graph_attr=KEY) as key:
            for kind in KINDS:
                if kind in kinds.values():
                    key.node(kind, kind, fontsize="11", **KINDS[kind])
        return str(dot.source)

    def render(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file and return its path.

        Parameters
        ----------
        path
            Where to, ending in ``.svg``, ``.png``, ``.pdf`` or, for the text that Graphviz reads, ``.dot``.

        Raises
        ------
        RenderError
            If the suffix is another one, the folder does not exist, or Graphviz fails.
        MissingDependencyError
            If there is no Graphviz.
        """
        path, file_format = check_destination(path, FORMATS)
        write_atomically(path, self.dot.encode() if file_format == "dot" else draw(self.dot, file_format))
        return path

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        try:
            return {"image/svg+xml": draw(self.dot, "svg").decode(), "text/plain": str(self)}
        except (MissingDependencyError, RenderError) as error:
            return {"text/plain": f"{self}\n\nNo picture: {error}"}

    def _kind(self, value: Value, outputs: set[Value]) -> str:
        if self.node(value) is None:
            return "parameter" if value._requires_grad else "constant"
        return "output" if value in outputs else "computed"

    def _text(self, value: Value) -> str:
        formula = self.formula(value)
        title = f"<b>{_escape(self.label(value))}</b>" + (f" = {_escape(formula)}" if formula else "")
        dtype = "" if value.dtype == np.float64 else f" {value.dtype}"
        lines = [
            f'<font point-size="14">{title}</font>',
            f"{describe_shape(value.shape)}{dtype}: {describe_numbers(value._array)}",
        ]
        if value._requires_grad:
            lines.append(self._gradient(value))
        return f"<{'<br/>'.join(lines)}>"

    def _gradient(self, value: Value) -> str:
        if value._grad is not None:
            return f"grad: {describe_numbers(value._grad._array)}"
        expected = self.node(value) is None or value.retains_grad
        return f'<font color="{FAINT}"><i>grad: {"none" if expected else "not kept"}</i></font>'


def _escape(text: str) -> str:
    """Return text as it may stand in an HTML-like label: printable, not too long, and without markup."""
    text = "".join(character if character.isprintable() else " " for character in text)
    return (text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…").translate(ESCAPES)
