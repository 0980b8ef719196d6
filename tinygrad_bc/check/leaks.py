"""Where a function computes behind the graph's back: what it recorded as constant, and what is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.record import Graph, Node, Value, as_values
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["leaks"]

RELATIVE_MOVE = 1e-3


def leaks(fn: Callable[..., Any], tensors: Sequence[Tensor]) -> list[str]:
    """Return where constants enter the graph of `fn` that change when its inputs do, one sentence each.

    The function is run twice, the second time on inputs moved by a thousandth, and the records are compared.
    """
    first = [_copy(x, 0.0) for x in tensors]
    second = [_copy(x, RELATIVE_MOVE if x.requires_grad else 0.0) for x in tensors]
    inputs = {*first, *second}
    before, after = (as_values(fn(*xs), "what fn returns") for xs in (first, second))
    one, other = Graph(before, first), Graph(after, second)
    found = [
        f"output {i} has no history: it was computed with NumPy, from .data or .detach(), or inside no_grad()"
        for i, (y, moved) in enumerate(zip(before, after))
        if y.node is None and y not in inputs and not _same(y, moved)
    ]
    nodes, moved_nodes = _nodes(one), _nodes(other)
    if [node.op for node in nodes] != [node.op for node in moved_nodes]:
        return found  # fn took another way through its code: there is nothing to compare
    for node, moved_node in zip(nodes, moved_nodes):
        for position, (x, y) in enumerate(zip(node.inputs, moved_node.inputs)):
            if not (isinstance(x, Value) and (x.node is not None or x in inputs)) and not _same(x, y):
                found.append(_sentence(node, f"input {position}" if len(node.inputs) > 1 else "its input", x))
        found += [
            _sentence(node, f"its parameter {name}", x)
            for name, x in node.params.items()
            if not _same(x, moved_node.params.get(name))
        ]
    return found


def _sentence(node: Node, which: str, x: Any) -> str:
    shape = f" of shape {x.shape}" if isinstance(x, Value) else ""
    return (
        f"`{node.op.name}` was given a constant ({which}{shape}) that depends on the inputs of fn: the graph was lost "
        "on the way there, by .detach(), .data, tg.tensor(...), float(...), NumPy or no_grad()\n"
        f"    {node.place}"
    )


def _copy(x: Tensor, move: float) -> Tensor:
    data = numbers(x) * (1 + move) + np.where(numbers(x) == 0, move, 0.0).astype(x.dtype) if move else numbers(x)
    return tensor(data, dtype=x.dtype, requires_grad=x.requires_grad, name=x.name)


def _nodes(graph: Graph) -> list[Node]:
    return [node for value in graph if (node := graph.node(value)) is not None]


def _same(x: Any, y: Any) -> bool:
    """Whether a constant is the same in both records. Masks and counts may differ, which only jump."""
    x, y = (numbers(a) if isinstance(a, Value) else a for a in (x, y))
    if isinstance(x, np.ndarray | float) and isinstance(y, np.ndarray | float) and np.asarray(x).dtype.kind == "f":
        return np.array_equal(x, y, equal_nan=True)
    return True
