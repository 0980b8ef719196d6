"""The grouping of a graph's values into assignments: which get a line of their own, and which stand inside another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from tinygrad_bc.record import Graph, Node, Value

__all__ = ["MOST_OPERATIONS", "Statement", "recipe", "statements"]

MOST_OPERATIONS = 10
"""How many operations one assignment holds at most."""

DEEPEST = 6
"""How deeply they are nested at most."""


class Statement(NamedTuple):
    """An assignment: to one value, computed by an expression in which other values are written out.

    Attributes
    ----------
    target : Value
        The value that is assigned.
    inlined : tuple of Value
        The values that have no name and stand inside its expression, each after those inside its own.
    """

    target: Value
    inlined: tuple[Value, ...]


def recipe(graph: Graph, value: Value) -> Node:
    """Return the node of a value that was computed within `graph`."""
    node = graph.node(value)
    assert node is not None
    return node


def _is_transposed(graph: Graph, value: Value) -> bool:
    """Return whether a value is the transposition of one that has a name: as short as a name, and no work."""
    node = recipe(graph, value)
    return node.op.name == "matrix_transpose" and not graph.label(next(node.values)).startswith("%")


def statements(graph: Graph, cut: Iterable[Value] = ()) -> list[Statement]:
    """Group the computed values of `graph` into assignments, in the order of the record.

    A value has an assignment of its own if the user named it, if it is an output, if it is used more than once, or
    if the expression it would be part of grew too long or too deep. Any other is inlined into its only user.

    Parameters
    ----------
    graph : Graph
    cut : iterable of Value, optional
        Values that are to have their own assignment whatever they are.

    Returns
    -------
    list of Statement
    """
    computed = [value for value in graph if graph.node(value) is not None]
    uses = Counter(x for value in computed for x in recipe(graph, value).values)
    named = {*graph.outputs, *cut}
    named.update(value for value in computed if uses[value] > 1 and not _is_transposed(graph, value))
    named.update(value for value in computed if not graph.label(value).startswith("%"))
    inside: dict[Value, tuple[Value, ...]] = {}
    depth: dict[Value, int] = {}
    for value in computed:
        parts = [x for x in recipe(graph, value).values if x in inside and x not in named]
        parts.sort(key=lambda x: (depth[x], len(inside[x])))
        while parts and (depth[parts[-1]] >= DEEPEST or sum(len(inside[x]) + 1 for x in parts) >= MOST_OPERATIONS):
            named.add(parts.pop())
        inside[value] = tuple(y for x in parts for y in (*inside[x], x))
        depth[value] = 1 + max((depth[x] for x in parts), default=0)
    return [Statement(value, inside[value]) for value in computed if value in named]
