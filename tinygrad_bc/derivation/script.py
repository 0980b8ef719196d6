"""The forward and the backward pass as a file of NumPy that runs alone, and is run before it is handed out."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source import layout
from tinygrad_bc.compiler.numpy_source.writer import Length, Writer, identifier, leaves
from tinygrad_bc.compiler.passes.simplify import simplify
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.derivation.recognise import Count
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["Script"]

LONGEST = 100
"""How many characters a line of a docstring has at most."""


class Script:
    """A module with the functions ``forward``, ``backward`` and ``value_and_grad``.

    Parameters
    ----------
    passed : BackwardPass
    counts : sequence of Count
        The numbers that means divide by. The script computes them from its arguments, where it can.
    heading : str
        What the script computes.

    Attributes
    ----------
    source : str
        The module. It imports NumPy and nothing else.
    """

    def __init__(self, passed: BackwardPass, counts: Sequence[Count], heading: str) -> None:
        self._passed, self._counts = passed, counts
        graph = passed.graph
        self._named = [v for v in graph if graph.node(v) is not None and not graph.label(v).startswith("%")]
        self._results = list(dict.fromkeys([*self._named, passed.output]))
        self._arguments = sorted(leaves(graph), key=lambda x: x._requires_grad)  # data first, then parameters
        self._writer = Writer()
        functions = [self._forward(), self._backward(), self._value_and_grad()]
        self.source = self._writer.module(*functions, docstring=self._docstring(heading))

    def _forward(self) -> str:
        title = _short(f"Return {self._listed(self._results)}.", "Return every value that has a name.")
        return self._writer.function(self._passed.graph, "forward", self._arguments, self._results, title)

    def _backward(self) -> str:
        passed = self._passed
        cotangents = [passed.cotangents[value] for value in passed.wrt]
        known = [*self._named, *self._arguments]
        new = simplify(cotangents, known, keep=passed.branching(self._named))
        gradients = [new.get(cotangent, cotangent) for cotangent in cotangents]
        graph = Graph(list(dict.fromkeys(gradients)), known, labels=self._labels(known, new))
        lengths = {count.value: found for count in self._counts if (found := self._length(count, graph)) is not None}
        used = {*graph, *(length.of for length in lengths.values())}
        self._needed = [value for value in [*self._arguments, *self._named] if value in used]
        title = f"Return the derivatives of {passed.title} with respect to {self._listed(passed.wrt)}."
        title = _short(title, f"Return the derivatives of {passed.title}.")
        return self._writer.function(graph, "backward", self._needed, gradients, title, lengths)

    def _labels(self, known: Iterable[Value], new: dict[Value, Value]) -> dict[Value, str]:
        """Return what the values of the backward pass are called: as in the derivation."""
        passed = self._passed
        labels = {value: passed.graph.label(value) for value in known}
        for value in [*passed.wrt, *self._named]:
            found = new.get(passed.cotangents.get(value, value))
            if found is not None and found.node is not None and value is not passed.output:
                labels.setdefault(found, passed.name(value))
        return labels | {count.value: count.name for count in self._counts}

    def _length(self, count: Count, graph: Graph) -> Length | None:
        """Return which length of which argument is the number of elements that a mean is taken of."""
        if count.value not in graph:
            return None
        size = int(count.value._array)
        users = [node for value in graph if (node := graph.node(value)) is not None and count.value in set(node.values)]
        alone = any(all(x._data.ndim == 0 for x in node.values) for node in users)  # then a plain number would be
        dtype = count.value.dtype if alone else None  # divided by plain numbers, and no array come of it
        known = {*self._arguments, *self._named}
        arrays = [x for x in reversed(Graph(count.of).values) if x._data.ndim and x in known]
        # Of arrays that happen to be as long: one that is needed anyway, then the one that the mean was made of last.
        arrays.sort(key=lambda x: x not in graph)
        whole = [Length(x, None, dtype) for x in arrays if x.shape == count.of.shape and x._data.size == size]
        axes = [Length(x, i, dtype) for x in arrays for i, n in enumerate(x.shape) if n == size and n in count.of.shape]
        return next(iter([*whole, *axes]), None)

    def _value_and_grad(self) -> str:
        names, output = self._writer.names, self._passed.output
        arguments = [names[value] for value in self._arguments]
        titles = [identifier(self._passed.name(value)) for value in self._passed.wrt]
        gradients = [f"{self._passed.graph.label(value)!r}: {x}" for value, x in zip(self._passed.wrt, titles)]
        value = names.get(output, "value")
        body: list[Any] = ast.parse(
            f"{', '.join(names.get(x, value) for x in self._results)} = forward({', '.join(arguments)})\n"
            f"{', '.join(titles)} = backward({', '.join(names[x] for x in self._needed)})\n"
            f"return {value}, {{{', '.join(gradients)}}}"
        ).body
        title = f"Return {self._passed.title} and its derivatives, by the names of what they are taken with respect to."
        head = layout.definition("value_and_grad", arguments, title)
        *calls, end = body
        lines = [line for x in calls for line in layout.lines(x, layout.INDENT)]
        return "\n".join([*head, *lines, *layout.return_lines(end)]) + "\n"

    def _listed(self, values: Iterable[Value]) -> str:
        names = [self._passed.title if x is self._passed.output else self._passed.graph.label(x) for x in values]
        return ", ".join(names)

    def _docstring(self, heading: str) -> str:
        names, title, first = self._writer.names, self._passed.title, self._passed.wrt[0]
        arguments = ", ".join(names[x] for x in self._arguments)
        call = _short(
            f"    {title}, gradients = value_and_grad({arguments})", f"    {title}, gradients = value_and_grad(...)"
        )
        # A shape is kept on one line.
        shapes = ", ".join(f"{names[x]} {x.shape}".replace(" ", "\xa0") for x in self._arguments)
        shapes = textwrap.fill(f"The shapes it was recorded with: {shapes}.", LONGEST).replace("\xa0", " ")
        return (
            f"{_short(heading, f'{title} and its derivatives')}, in NumPy alone.\n\n"
            "Derived from a recorded computation and compared with its gradients.\n\n"
            f"{call}\n"
            f'    {names.get(first, "x")} -= lr * gradients["{self._passed.graph.label(first)}"]'
            "  # a step of gradient descent\n\n"
            f"{shapes}"
        )

    def run(self) -> tuple[Array, list[Array]]:
        """Run the source, away from everything else, on the recorded data; return the value and the derivatives."""
        names: dict[str, Any] = {}
        exec(compile(self.source, "<derived>", "exec"), names)
        with np.errstate(all="ignore"):
            value, gradients = names["value_and_grad"](*(x._array.copy() for x in self._arguments))
        return value, list(gradients.values())


def _short(text: str, otherwise: str) -> str:
    """Return a line of a docstring, or another one where it is too long."""
    return text if len(text) <= LONGEST else otherwise
