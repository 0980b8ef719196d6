"""The values of a graph as formulas, one for each assignment."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compile.simplify import filled_with
from tinygrad_bc.compile.statements import recipe, statements
from tinygrad_bc.derive.notation import Expression, apply, name, number, summed
from tinygrad_bc.derive.printing import text
from tinygrad_bc.record import Graph, Node, Value

__all__ = ["Formulas"]


class Formulas:
    """The formulas of a graph, in terms of the labels of its values.

    A value without a name stands inside the formula that uses it, if that is the only one; or else it gets a
    letter and a formula of its own.

    Parameters
    ----------
    graph : Graph
    shown : mapping of Value to Expression, optional
        What some of the values are written as, in the place of their labels.

    Attributes
    ----------
    lines : dict of Value to Expression
        The formula of each value that is assigned, in the order of the record.
    """

    def __init__(self, graph: Graph, shown: Mapping[Value, Expression] | None = None) -> None:
        self.graph = graph
        self._shown = dict(shown or {})
        self.lines: dict[Value, Expression] = {}
        letters = _letters({graph.label(value) for value in graph})
        for statement in statements(graph):
            for value in (*statement.inlined, statement.target):
                formula = self._formula(value)
                if value is not statement.target:
                    self._shown[value] = formula
                    continue
                self.lines[value] = formula
                if value not in self._shown:
                    title = graph.label(value)
                    self._shown[value] = self._name(next(letters) if title.startswith("%") else title, value)

    def name(self, value: Value) -> Expression:
        """Return what a value is called; one that has no line is written out."""
        return self._operand(value)

    def _formula(self, value: Value) -> Expression:
        node = recipe(self.graph, value)
        if node.op.name == "sum_to":
            found = self._sum_to(node, value)
            if found is not None:
                return found
        inputs = [self._operand(x) for x in node.inputs]
        params = {
            key: x.with_arrays(map(text, inputs[1:])) if hasattr(x, "with_arrays") else x
            for key, x in node.params.items()
        }
        return apply(node.op, inputs, params)

    def _sum_to(self, node: Node, value: Value) -> Expression | None:
        """Return the sum over broadcast axes with its indices: over new axes in front, or over axes of length 1."""
        (x,) = node.values
        added = len(x.shape) - len(value.shape)
        stretched = tuple(i for i, n in enumerate(value.shape, added) if n == 1 and x.shape[i] != 1)
        if added and stretched:
            return None
        return summed(self._operand(x), stretched or tuple(range(added)), len(x.shape), keepdims=bool(stretched))

    def _operand(self, x: Any) -> Expression:
        if not isinstance(x, Value):
            return _number(x)
        if x not in self._shown:
            title = self.graph.label(x)
            self._shown[x] = (_constant(x) if title.startswith("%") else None) or self._name(title, x)
        return self._shown[x]

    def _name(self, title: str, value: Value) -> Expression:
        return name(title, scalar=value._data.ndim == 0)


def _constant(x: Value) -> Expression | None:
    """Return an unnamed constant that follows a rule: filled with one number, an identity matrix, a count."""
    the_same = filled_with(x)
    if the_same is not None:
        return _number(the_same)
    if x.node is not None or x._requires_grad or x._data.size < 2:
        return None
    if x._data.ndim == 2 and x.shape[0] == x.shape[1] and np.array_equal(x._data, np.eye(len(x._data))):
        return name("I")
    if x.dtype.kind == "i" and np.array_equal(x._data.ravel(), np.arange(x._data.size)):
        return Expression("text", symbol=f"arange({x._data.size})")
    return None


def _number(x: float) -> Expression:
    """Return a number as in a formula, where 0.0 is 0."""
    return number(int(x) if isinstance(x, float) and x.is_integer() and abs(x) < 1e15 else x)


def _letters(taken: Iterable[str]) -> Iterator[str]:
    """Yield names for values that need one: u1, u2 and so on."""
    taken = set(taken)
    return (title for title in (f"u{i}" for i in range(1, 10**9)) if title not in taken)
