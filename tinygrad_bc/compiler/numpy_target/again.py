"""The frame of passes that change single operations of a program: all others are recorded again on the new inputs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.numpy_source.statements import recipe
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.ops.index import Key
from tinygrad_bc.record import Graph, Value

__all__ = ["Rule", "again", "computed", "inputs_of", "is_op", "labelled", "recorded_again", "sliced", "uses"]

Rule = Callable[[Value, Callable[[Any], Any]], Value | None]


def again(program: Program, rule: Rule, labels: Mapping[Value, str] = MappingProxyType({})) -> Program:
    """Return a program in which some values are computed in another way.

    Parameters
    ----------
    program : Program
    rule : callable
        ``rule(value, now)`` returns what takes the place of a computed value, or None if it stays; ``now(x)`` is what
        has taken the place of an earlier one. It is called for each value after those it was computed from.
    labels : mapping of Value to str, optional
        Names for values that `rule` makes.
    """
    new: dict[Value, Value] = {}
    with record_everything(), np.errstate(all="ignore"):
        for value in computed(program.graph):
            found = rule(value, lambda x: new.get(x, x) if isinstance(x, Value) else x)
            new[value] = recorded_again(program.graph, value, new) if found is None else found
    return labelled(program.replaced(new), labels)


def labelled(program: Program, labels: Mapping[Value, str]) -> Program:
    """Return a program with names for values that have none yet."""
    graph = program.graph
    known = {x: graph.label(x) for x in graph if not graph.label(x).startswith("%")}
    return Program(
        program.name,
        program.arguments,
        program.memory,
        program.results,
        program.updates,
        program.steady,
        {x: label for x, label in labels.items() if x in graph} | known,
    )


def recorded_again(graph: Graph, value: Value, new: Mapping[Value, Value]) -> Value:
    """Return what an operation makes of its inputs as they are now."""
    node = recipe(graph, value)
    inputs = [new.get(x, x) if isinstance(x, Value) else x for x in node.inputs]
    if all(a is b for a, b in zip(inputs, node.inputs)):
        return value
    found: Value = node.op(*inputs, **node.params)
    if found.node is not None:
        found.node.take_place_of(node)
    return found


def computed(graph: Graph) -> list[Value]:
    """Return the values of a graph that are no leaves."""
    return [x for x in graph if graph.node(x) is not None]


def uses(graph: Graph) -> Counter[Value]:
    """Return how often each value is an input of an operation, or an output."""
    found = Counter(x for value in computed(graph) for x in recipe(graph, value).values)
    found.update(graph.outputs)
    return found


def is_op(graph: Graph, value: Any, *names: str) -> bool:
    """Return whether a value was made by one of these operations."""
    node = graph.node(value) if isinstance(value, Value) and value in graph else None
    return node is not None and node.op.name in names


def inputs_of(graph: Graph, value: Value) -> tuple[Any, ...]:
    """Return what the operation that made a value was applied to."""
    return recipe(graph, value).inputs


def sliced(axis: int, start: int, stop: int, length: int) -> Key:
    """Return the key of `getitem` for a part of one axis."""
    return Key([slice(None)] * axis + [slice(start or None, stop if stop < length else None)])
