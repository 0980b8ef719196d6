"""The values of a graph as formulas, one for each assignment."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source.statements import recipe, statements
from tinygrad_bc.compiler.passes.simplify import filled_with
from tinygrad_bc.derivation.notation import Expression, apply, name, number, summed, with_names
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Graph, Node, Value

__all__ = ["Formulas"]

TRANSPOSE = REGISTRY["matrix_transpose"]


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
                unnamed = value not in self._shown and graph.label(value).startswith("%")
                if value is not statement.target or (unnamed and formula.kind in ("name", "derivative", "number")):
                    self._shown[value] = formula  # inside another, or no more than another name
                    continue
                self.lines[value] = formula
                if value not in self._shown:
                    title = graph.label(value)
                    self._shown[value] = self._name(next(letters) if title.startswith("%") else title, value)

    def name(self, value: Value) -> Expression:
        """Return what a value is called; one that has no line is written out."""
        return self._operand(value)

    def _formula(self, value: Value) -> Expression:
        formula = self._applied(value)
        return dataclasses.replace(formula, scalar=formula.scalar or value._data.ndim == 0)

    def _applied(self, value: Value) -> Expression:
        node = recipe(self.graph, value)
        if node.op.name == "sum_to":
            found = self._sum_to(node, value)
            if found is not None:
                return found
        if node.op.name in ("reshape", "matrix_transpose") and (vector := self._vector(value)) is not None:
            return vector
        inputs = [self._operand(x) for x in node.inputs]
        if node.op.name == "matmul" and next(node.values)._data.ndim == 1:
            inputs[0] = apply(TRANSPOSE, inputs[:1], {})
        return apply(node.op, inputs, with_names(node.params, inputs))

    def _vector(self, value: Value) -> Expression | None:
        """Return a vector made a column or a row as itself or its transpose: in formulas a vector is a column."""
        (x,) = recipe(self.graph, value).values
        shapes = (_flat(x.shape), _flat(value.shape))
        if shapes[0] != shapes[1] or len(shapes[0]) > 1:
            return None
        if _is_row(x.shape) == _is_row(value.shape):
            return self._operand(x)
        before = self.graph.node(x)
        if before is not None and before.op.name in ("reshape", "matrix_transpose") and x not in self.lines:
            (y,) = before.values
            if _flat(y.shape) == shapes[0] and _is_row(y.shape) == _is_row(value.shape):  # turned, and turned back
                return self._operand(y)
        return apply(TRANSPOSE, [self._operand(x)], {})

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


def _flat(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)


def _is_row(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] == 1 and shape[1] != 1


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
