"""The page: one HTML file that steps through the forward and the backward pass of the user's own computation."""

from __future__ import annotations

import html
import linecache
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_bc.derivation.backward import BackwardPass, Contribution
from tinygrad_bc.derivation.derivation import Derivation, derive
from tinygrad_bc.derivation.notation import Expression
from tinygrad_bc.derivation.printing import mathml, text
from tinygrad_bc.errors import MissingDependencyError, RenderError
from tinygrad_bc.files import check_destination, html_page, write_atomically
from tinygrad_bc.page.arrays import ArrayStore
from tinygrad_bc.page.flow import activations, gradient_sizes
from tinygrad_bc.page.placement import place, text_width
from tinygrad_bc.page.trace import Trace, Tracer
from tinygrad_bc.record import Graph, Value

__all__ = ["Explanation", "explain"]

WEB = Path(__file__).parent / "web"
# One script, in the order in which the files need each other.
SCRIPTS = ("data.js", "heatmap.js", "arithmetic.js", "graph.js", "steps.js", "derivation.js", "flow.js", "main.js")
FORMAT = 1
AROUND = 2  # lines of source shown before and after the one that recorded an operation
LONGEST_LABEL = 34
FOLDED_ABOVE = 300
NAME_SIZE, FORMULA_SIZE, LINE_HEIGHT, MARGIN = 13.0, 11.5, 16.0, 9.0


def explain(output: Value, wrt: Any = None, names: Mapping[str, Any] | None = None) -> Explanation:
    """Return a page that steps through the computation of a number and through its backward pass.

    Parameters
    ----------
    output : Tensor
        What is differentiated, of one element: a loss.
    wrt : Tensor or sequence of Tensor, optional
        With respect to what. By default all leaves that require a gradient.
    names : mapping, optional
        Names for values that have none of their own. By default the variables that the calling code can see.

    Returns
    -------
    Explanation
        A notebook shows it; `Explanation.save` writes it to a file.

    Raises
    ------
    GradientError
        If the output has more than one element or requires no gradient, or does not depend on one of `wrt`.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> W = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Loss = (W * W).sum()
    >>> explain(Loss)
    <page of 2 forward and 3 backward steps from Loss>
    """
    return Explanation(derive(output, wrt, names))


class Explanation:
    """A page about one backward pass. Made by `explain`.

    Attributes
    ----------
    derivation : Derivation
    backward : BackwardPass
    """

    def __init__(self, derivation: Derivation) -> None:
        self.derivation = derivation
        self.backward = derivation.backward

    @property
    def html(self) -> str:
        """The page: one HTML text that needs no network, no server and no other file.

        Raises
        ------
        MissingDependencyError, RenderError
            If the graph cannot be laid out: there is no Graphviz, or it fails.
        """
        title = f"{self.backward.title}: forward and backward, step by step"
        return html_page(WEB, "page.html", "page.css", SCRIPTS, title, page_data(self.derivation))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file that ends in ``.html``, and return its path.

        Raises
        ------
        RenderError
            If the suffix is another one, the folder does not exist, or Graphviz fails.
        MissingDependencyError
            If there is no Graphviz.
        """
        path, _ = check_destination(path, ("html",))
        write_atomically(path, self.html.encode())
        return path

    def __repr__(self) -> str:
        forward = sum(self.backward.graph.node(value) is not None for value in self.backward.graph)
        backward = len(self.backward.cotangents)
        return f"<page of {forward} forward and {backward} backward steps from {self.backward.title}>"

    def _repr_html_(self) -> str:
        document = html.escape(self.html, quote=True)
        size = 'width="100%" height="760" style="border:0"'
        return f'<iframe title="{html.escape(repr(self))}" sandbox="allow-scripts" {size} srcdoc="{document}"></iframe>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        try:
            return {"text/html": self._repr_html_(), "text/plain": repr(self)}
        except (MissingDependencyError, RenderError) as error:
            return {"text/plain": f"{self!r}\n\nNo page: {error}"}


# What the page knows --------------------------------------------------------------------------------------------------


def page_data(derivation: Derivation) -> dict[str, Any]:
    """Return everything that the page shows, as it is written into it.

    Values, scopes and arrays are referred to by their positions in the lists ``values``, ``scopes`` and ``arrays``; a
    value's is that in ``derivation.backward.graph.values``.
    """
    backward, graph = derivation.backward, derivation.backward.graph
    numbers = {value: number for number, value in enumerate(graph.values)}
    store, sources = ArrayStore(), _Sources()
    inside, scopes = _scopes(graph, numbers)
    traces = _traces(backward)
    values = [_value(backward, value, numbers, store, sources) for value in graph]
    called = _called(backward)
    for value, cotangent in backward.cotangents.items():
        gradient = _gradient(derivation, value, traces[value], numbers, store)
        values[numbers[value]]["gradient"] = gradient | {"called": called[cotangent]}
    for entry, scope in zip(values, inside):
        entry["scope"] = scope
    return {
        "format": FORMAT,
        "title": backward.title,
        "values": values,
        "steps": _steps(backward, numbers),
        "scopes": scopes,
        "layout": _layout(values, scopes),
        "folded": len(values) > FOLDED_ABOVE,
        "derivation": {
            "where": [_formula(line.equation) for line in derivation.slopes],
            "composed": [_formula(line.equation) for line in derivation.composed],
            "notes": list(derivation.notes),
        },
        "flow": {"sizes": gradient_sizes(backward), "activations": activations(backward, traces)},
        "files": sources.files,
        "held": store.elements,
        "arrays": store.entries,
    }


def _value(
    backward: BackwardPass, value: Value, numbers: dict[Value, int], store: ArrayStore, sources: _Sources
) -> dict[str, Any]:
    graph, node = backward.graph, backward.graph.node(value)
    label = graph.label(value)
    entry: dict[str, Any] = {
        "label": label,
        "named": not label.startswith("%"),
        "kind": "computed" if node else "parameter" if value._requires_grad else "constant",
        "array": store.add(value._array),
    }
    if value is backward.output:
        entry["kind"] = "output"
    if node is None:
        return entry
    return entry | {
        "op": node.op.name,
        "formula": graph.formula(value),
        "inputs": [numbers[x] if isinstance(x, Value) else repr(x) for x in node.inputs],
        "source": sources.add(node.filename, node.lineno),
    }


def _gradient(
    derivation: Derivation, value: Value, traces: list[Trace], numbers: dict[Value, int], store: ArrayStore
) -> dict[str, Any]:
    backward = derivation.backward
    uses = zip(backward.contributions[value], traces)
    return {
        "name": backward.name(value),
        "array": store.add(backward.cotangents[value]._array),
        **_formula(derivation.line(value)),
        "uses": [_use(use, trace, numbers, store) for use, trace in uses],
    }


def _called(backward: BackwardPass) -> dict[Value, str]:
    """Return what each cotangent is called where it is used; it may be that of several values, handed on as it is."""
    values = sorted(backward.cotangents, key=lambda value: backward.graph.label(value).startswith("%"))
    return {backward.cotangents[value]: backward.name(value) for value in reversed(values)}


def _formula(equation: Expression) -> dict[str, str]:
    # The policy of the page allows no style in an attribute.
    typeset = re.sub(r'<(mi|mtd) style="[a-z-]+: ([a-z]+)">', r'<\1 class="\2">', mathml(equation))
    return {"text": text(equation), "mathml": typeset}


def _use(use: Contribution, trace: Trace, numbers: dict[Value, int], store: ArrayStore) -> dict[str, Any]:
    arrays = {"factor": trace.factor, "index": trace.index, "starts": trace.starts}
    return {
        "user": numbers[use.user],
        "position": use.position,
        "product": store.add(use.unreduced._array),
        "contribution": store.add(use.cotangent._array),
        "trace": {"kind": trace.kind, "reason": trace.reason}
        | {name: store.add(array) for name, array in arrays.items() if array is not None},
    }


def _traces(backward: BackwardPass) -> dict[Value, list[Trace]]:
    tracer = Tracer()
    return {
        value: [tracer.trace(use, backward.cotangents[use.user]._array) for use in uses]
        for value, uses in backward.contributions.items()
    }


def _steps(backward: BackwardPass, numbers: dict[Value, int]) -> list[list[Any]]:
    forward = [["forward", numbers[value]] for value in backward.graph if backward.graph.node(value) is not None]
    return forward + [["backward", numbers[value]] for value in backward.cotangents]


# Source, scopes and places --------------------------------------------------------------------------------------------


class _Sources:
    """The lines of the user's code that recorded something, with those around them."""

    def __init__(self) -> None:
        self.files: list[dict[str, Any]] = []
        self._numbers: dict[str, int] = {}

    def add(self, filename: str, number: int) -> list[int]:
        """Return file and line as numbers, and keep the text of the lines."""
        if filename not in self._numbers:
            self._numbers[filename] = len(self.files)
            self.files.append({"name": _short(filename), "lines": {}})
        file = self._numbers[filename]
        for near in range(max(1, number - AROUND), number + AROUND + 1):
            text = linecache.getline(filename, near).rstrip()
            if text or near == number:
                self.files[file]["lines"][str(near)] = text
        return [file, number]


def _short(filename: str) -> str:
    """Return a file's path as seen from here, without what lies outside: a page is passed on to others."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else path.name


def _scopes(graph: Graph, numbers: dict[Value, int]) -> tuple[list[int | None], list[dict[str, Any]]]:
    """Return the innermost scope of each value, and the scopes; a leaf belongs to where all its uses are."""
    paths: list[tuple[Any, ...] | None] = [None] * len(numbers)
    for value in graph:
        node = graph.node(value)
        if node is None:
            continue
        path = paths[numbers[value]] = node.scope.path if node.scope else ()
        for leaf in node.values:
            if graph.node(leaf) is None:
                known = paths[numbers[leaf]]
                paths[numbers[leaf]] = path if known is None else _common(known, path)
    scopes = {scope: None for path in paths for scope in path or ()}
    places = {scope: place for place, scope in enumerate(scopes)}
    listed = [{"name": scope.name, "parent": places[scope.parent] if scope.parent else None} for scope in scopes]
    return [places[path[-1]] if path else None for path in paths], listed


def _common(a: tuple[Any, ...], b: tuple[Any, ...]) -> tuple[Any, ...]:
    return a[: next((i for i, (x, y) in enumerate(zip(a, b)) if x is not y), min(len(a), len(b)))]


def _layout(values: list[dict[str, Any]], scopes: list[dict[str, Any]]) -> dict[str, Any]:
    for value in values:
        value["box"] = _box(value)
    pairs = [(x, k) for k, value in enumerate(values) for x in value.get("inputs", ()) if isinstance(x, int)]
    edges = list(dict.fromkeys(pairs))
    sizes = [_box_size(value["box"]) for value in values]
    inside = [value["scope"] for value in values]
    layout = place(sizes, edges, [s["parent"] for s in scopes], [s["name"] for s in scopes], inside)
    return layout | {"ends": edges}


def _box(value: dict[str, Any]) -> list[str]:
    """Return what stands in a box: a name, or else the formula, and the formula where both are."""
    texts = [value["label"]] if value["named"] or "formula" not in value else []
    return [_shortened(text) for text in [*texts, *([value["formula"]] if "formula" in value else [])]]


def _shortened(text: str) -> str:
    text = "".join(character if character.isprintable() else " " for character in text)
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _box_size(texts: list[str]) -> tuple[float, float]:
    width = max(text_width(text, NAME_SIZE if k == 0 else FORMULA_SIZE) for k, text in enumerate(texts))
    return max(44.0, width + 2 * MARGIN), LINE_HEIGHT * (len(texts) + 1) + MARGIN  # one line more: the shape
