"""A second backward pass, short enough to be seen to be right, which the engine's is compared with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.check.arrays import numbers, unbroadcast
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["added_up", "pull_back", "uses"]


def added_up(contributions: list[Array]) -> Array:
    """Return the sum: what a cotangent is, of the contributions from all uses of a value."""
    return np.asarray(sum(contributions))


def pull_back(
    graph: Graph,
    cotangents: Mapping[Value, Array],
    *,
    replaced: Mapping[Value, Array] | None = None,
    combine: Callable[[list[Array]], Array] = added_up,
) -> dict[Value, Array]:
    """Return the cotangents of all values of `graph`, given those of its outputs.

    Parameters
    ----------
    graph
        In double precision.
    cotangents
        Of the outputs.
    replaced : optional
        Cotangents to go on with in the place of those computed on the way.
    combine
        What makes one cotangent of several contributions. Others than the sum are tried to explain a wrong engine.
    """
    contributions: dict[Value, list[Array]] = {value: [g] for value, g in cotangents.items()}
    found: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for value in reversed(graph.values):
            if value not in contributions:
                continue
            g = found[value] = combine(contributions[value])
            if replaced and value in replaced:
                g = replaced[value]
            node = graph.node(value)
            if node is None or node.op.vjps is None:
                continue
            arguments = [numbers(x) if isinstance(x, Value) else x for x in node.inputs]
            for x, vjp in zip(node.inputs, node.op.vjps):
                if isinstance(x, Value) and x._requires_grad and vjp is not None:
                    c: Any = vjp(g, numbers(value), *arguments, **node.params)
                    contributions.setdefault(x, []).append(unbroadcast(np.asarray(c), x.shape))
    return found


def uses(graph: Graph) -> dict[Value, int]:
    """Return how often each value is an input."""
    counts: dict[Value, int] = {}
    for value in graph:
        node = graph.node(value)
        for x in node.values if node is not None else ():
            counts[x] = counts.get(x, 0) + 1
    return counts
