"""The recorded computation once more, in double precision, where finite differences mean something."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.record import Graph, Value
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["Double", "is_double"]


def is_double(value: Value) -> bool:
    """Whether `value` is in double precision, or not of floating-point numbers at all."""
    return value.dtype.kind != "f" or value.dtype.itemsize >= 8


class Double:
    """A graph in double precision, which knows what its values were called and where they were recorded.

    Where the graph is in double precision already, it is taken as it is.

    Attributes
    ----------
    graph : Graph
        In double precision.
    original : dict
        The value in the recorded graph that a value of `graph` stands for.
    """

    def __init__(self, graph: Graph) -> None:
        if all(map(is_double, graph.values)):
            twins = {value: value for value in graph.values}
            self.graph = graph
        else:
            twins = _recomputed(graph)
            inputs = [twins[x] for x in graph.inputs if x in twins]
            self.graph = Graph([twins[y] for y in graph.outputs], inputs)
        self.twins = twins
        self.original = {twin: value for value, twin in twins.items()}


def _recomputed(graph: Graph) -> dict[Value, Value]:
    twins: dict[Value, Value] = {}
    for value in graph.values:
        node = graph.node(value)
        if node is None:
            twins[value] = _leaf(value)
        else:
            inputs = [twins[x] if isinstance(x, Value) else x for x in node.inputs]
            twins[value] = node.op(*inputs, **{name: _widened(x) for name, x in node.params.items()})
    return twins


def _leaf(value: Value) -> Tensor:
    dtype = np.float64 if value.dtype.kind == "f" else None
    return tensor(numbers(value), dtype=dtype, requires_grad=value._requires_grad, name=value.name)


def _widened(x: Any) -> Any:
    """Return a parameter of an operation; in the place of a shorter floating-point type, float64."""
    return np.dtype(np.float64) if isinstance(x, np.dtype) and x.kind == "f" else x
