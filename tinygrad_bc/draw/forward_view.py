"""The forward pass as boxes: one per value, and one for the operation that failed if there is one."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_bc.draw.diagram import Arrow, Box, Diagram, Kind, Said, View, scopes_of
from tinygrad_bc.errors import ArgumentError, FailedOperation
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["Failure", "ForwardView"]


class ForwardView(View):
    """How the values of a graph were computed from each other.

    Parameters
    ----------
    graph : Graph
    failure : Failure, optional
        The operation at which the computation ended; `graph` is then the history of what that was given.
    captured : bool
        Whether it is the graph of a program, where gradients are values like others.
    """

    name = "forward"

    def __init__(self, graph: Graph, failure: Failure | None = None, captured: bool = False) -> None:
        self.graph = graph
        self.failure = failure
        self.captured = captured

    def diagram(self) -> Diagram:
        """Return a box for every value, in the order of the graph."""
        scopes, ids = scopes_of(self.graph)
        outputs = set() if self.failure else set(self.graph.outputs)
        boxes = {}
        for number, value in enumerate(self.graph):
            leaf = self.graph.node(value) is None
            kind = self._kind(value, leaf, outputs)
            boxes[value] = Box(f"v{number}", kind, self.title(value), value, scopes.get(value), leaf)
        arrows = [
            Arrow(boxes[x], box, [x]) for value, box in boxes.items() for x in (() if box.leaf else _inputs(value))
        ]
        diagram = Diagram(list(boxes.values()), arrows, ids)
        if self.failure:
            box = Box("failed", "failed", self.failure.operation.name)
            diagram.boxes.append(box)
            diagram.arrows += [Arrow(boxes[x], box, [x]) for x in self.failure.values]
        return diagram

    def _kind(self, value: Value, leaf: bool, outputs: set[Value]) -> Kind:
        if leaf:
            return "parameter" if value._requires_grad else "constant"
        return "output" if value in outputs else "computed"

    def say(self, box: Box) -> Said:
        """Return what stands in a box: of a value, formula, numbers and its gradient as it is now."""
        if self.failure and box.kind == "failed":
            return Said(self.failure.formula(self.graph), remark=self.failure.message)
        if box.value is None:
            return Said("")
        return Said(self.graph.formula(box.value), box.value._array, self._gradient(box.value))

    def _gradient(self, value: Value) -> Array | str:
        if not value._requires_grad or self.failure or self.captured:
            return ""
        if value._grad is not None:
            array: Array = value._grad._array
            return array
        return "none" if self.graph.node(value) is None or value.retains_grad else "not kept"


def _inputs(value: Value) -> Iterator[Value]:
    node: Any = value.node
    inputs: Iterator[Value] = node.values
    return inputs


class Failure:
    """An operation that failed, with what it was given as values: what a picture of it starts from.

    Attributes
    ----------
    operation : FailedOperation
    message : str
        The first line of the error.
    inputs : list
        The inputs of the operation; plain arrays have become values.
    values : list of Value
        The values among them.
    names : dict of str to Value
        What the user's code calls them.

    Raises
    ------
    ArgumentError
        If the error does not say which operation failed, or that was given no array.
    """

    def __init__(self, error: BaseException) -> None:
        operation = getattr(error, "failed", None)
        if operation is None:
            raise ArgumentError(
                f"graph: this {type(error).__name__} does not say which operation failed. Errors that operations "
                "raise do; pass one of those, or the tensors that had been computed"
            )
        self.operation: FailedOperation = operation
        self.message = str(error).partition("\n")[0]
        self.inputs = [[*map(_as_value, x)] if isinstance(x, list | tuple) else _as_value(x) for x in operation.inputs]
        parts = [x if isinstance(x, list) else [x] for x in self.inputs]
        self.values = list(dict.fromkeys(x for part in parts for x in part if isinstance(x, Value)))
        self.names = {
            title: x for title, x in zip(operation.titles, self.inputs) if isinstance(x, Value) and title.isidentifier()
        }
        if not self.values:
            raise ArgumentError(f"graph: `{operation.name}` failed before it was given an array: nothing to draw")

    def formula(self, graph: Graph) -> str:
        """Return the operation written with the labels of `graph`."""
        inputs = [_written(x, graph) for x in self.inputs]
        op = self.operation.op
        return op.write(inputs, self.operation.params) if op else f"{self.operation.name}({', '.join(inputs)})"


def _as_value(x: Any) -> Any:
    is_data = isinstance(x, np.ndarray) and x.dtype.kind in "fiub"
    return Value(x, node=None) if is_data else x


def _written(x: Any, graph: Graph) -> str:
    if isinstance(x, list):
        return f"[{', '.join(_written(part, graph) for part in x)}]"
    return graph.label(x) if isinstance(x, Value) else reprlib.repr(x)
