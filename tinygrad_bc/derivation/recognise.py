"""What numbers in a record stand for: the count that a mean divides by, a constant that was made of another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Graph, Value, recorded_order

__all__ = ["Count", "name_counts", "with_relations"]


class Count(NamedTuple):
    """How many elements a mean was taken of, as a value with a name.

    Attributes
    ----------
    value : Value
        The number, of no axes.
    name : str
    of : Value
        What the mean was taken of.
    """

    value: Value
    name: str
    of: Value


def name_counts(passed: BackwardPass) -> list[Count]:
    """Put a named value, ``n``, in the place of the number that the derivative of a mean divides by."""
    counts: dict[tuple[int, Any], Count] = {}
    known = {*passed.graph, *passed.cotangents.values()}
    taken = {passed.graph.label(value) for value in passed.graph}
    free = (name for name in ("n", *(f"n{i}" for i in range(2, 10_000))) if name not in taken)
    for contributions in passed.contributions.values():
        for user, _, _, unreduced in contributions:
            (x, *_), y = passed.recipe(user).inputs, user
            if passed.recipe(user).op.name != "mean" or x._data.size == y._data.size:
                continue
            size, key = x._data.size // y._data.size, (x._data.size // y._data.size, x.dtype)
            if key not in counts:
                counts[key] = Count(constant(np.asarray(size, x.dtype)), next(free), x)
                counts[key].value.name = counts[key].name
            _replace_number(unreduced, size, counts[key].value, known - {unreduced})
    return list(counts.values())


def _replace_number(result: Value, number: int, by: Value, stop: set[Value]) -> None:
    """Replace a number in the operations between a result and the values it was computed from."""
    for value in recorded_order([result], stop=stop):
        node: Any = value.node  # recorded by the pass itself, a moment ago
        node.inputs = tuple(by if type(x) is int and x == number else x for x in node.inputs)


RELATIONS: list[Callable[[Any], Any]] = [lambda x: 1 - x, lambda x: -x]


def with_relations(output: Value, names: Mapping[str, Any] | None) -> dict[Value, Value]:
    """Return what stands for `output` and its history if unnamed constants are computed from what they were made of.

    ``1 − Y``, of a constant Y, is not recorded, and of plain arrays it cannot be. So the numbers of each
    unnamed constant are compared, bit for bit, with 1 − Y and −Y for each named constant Y of its shape that holds
    more than one number. What depends on such a constant is recorded anew; values that do not are left out.
    """
    graph = Graph(output, names=names)
    new = _relations(graph, names or {})
    found = set(new.values())
    if new:
        with record_everything():
            for value in graph:
                node = graph.node(value)
                if node is None or new.keys().isdisjoint(node.values):
                    continue
                inputs = [new.get(x, x) if isinstance(x, Value) else x for x in node.inputs]
                new[value] = again = node.op(*inputs, **node.params)
                again.name = value.name
                for recorded in (again, *(x for x in inputs if x in found)):
                    recorded.node.take_place_of(node)
    return new


def _relations(graph: Graph, names: Mapping[str, Any]) -> dict[Value, Value]:
    leaves = [value for value in graph if graph.node(value) is None and not value._requires_grad]
    known = [value for value in leaves if not graph.label(value).startswith("%")]
    shown = {id(value._data) for value in known}
    for name, thing in names.items():
        array = thing._data if isinstance(thing, Value) else thing
        if isinstance(array, np.ndarray) and id(array) not in shown:
            known.append(constant(array))
            known[-1].name = name
    found = {}
    for value in leaves:
        if graph.label(value).startswith("%") and value._data.size > 1:
            relation = next((r for x in known if (r := _related(value, x)) is not None), None)
            if relation is not None:
                found[value] = relation
    return found


def _related(value: Value, x: Value) -> Value | None:
    array = x._array
    if array.shape != value.shape or array.dtype.kind not in "fi" or (array == array.flat[0]).all():
        return None
    for relation in RELATIONS:
        made = relation(array)
        if made.dtype == value.dtype and np.array_equal(made, value._array):
            with record_everything():
                return relation(x)
    return None
