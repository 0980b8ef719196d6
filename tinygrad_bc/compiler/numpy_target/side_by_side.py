"""Sums of arrays padded with zeros, whose numbers do not overlap, as these arrays side by side.

That is what the gradient of an array is that was cut in parts: by `chunk`, in a recurrent network or for attention.
"""

from __future__ import annotations

import functools
import operator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.numpy_source.statements import recipe
from tinygrad_bc.compiler.numpy_target.again import again, computed, inputs_of, is_op, uses
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, constant
from tinygrad_bc.record import Graph, Value

__all__ = ["padded_side_by_side"]

ADD, CONCATENATE = REGISTRY["add"], REGISTRY["concatenate"]


class Part(NamedTuple):
    """Where an array stands between zeros in a padded one: from one place on to another, along an axis."""

    padded: Value
    start: int
    stop: int
    axis: int
    array: Value


def padded_side_by_side(program: Program) -> Program:
    """Return the program with sums of padded arrays as concatenations."""
    graph, used = program.graph, uses(program.graph)
    sums = {x for x in computed(graph) if is_op(graph, x, "add")}
    inside = {x for value in sums for x in inputs_of(graph, value) if x in sums and _joins(x, value) and used[x] == 1}

    def rule(value: Value, now: Any) -> Value | None:
        if value not in sums or value in inside:
            return None
        terms, pending = [], [value]
        while pending:
            x = pending.pop()
            if x is value or x in inside:
                pending += reversed(inputs_of(graph, x))
            else:
                terms.append(x)
        parts = [_part(graph, x, value) for x in terms if used[x] == 1]
        chosen = _apart([part for part in parts if part is not None])
        if len(chosen) < 2 or len(terms) != len(set(terms)):
            return None
        joined = CONCATENATE(
            *_filled([part._replace(array=now(part.array)) for part in chosen], value.shape), axis=chosen[0].axis
        )
        others = [now(x) for x in terms if x not in {part.padded for part in chosen}]
        made: Value = functools.reduce(ADD, others, joined)
        return made

    return again(program, rule)


def _joins(x: Value, value: Value) -> bool:
    return x.shape == value.shape and x.dtype == value.dtype


def _part(graph: Graph, x: Any, value: Value) -> Part | None:
    """Return what an array is that was padded with zeros along one axis alone; None for others."""
    if not is_op(graph, x, "pad") or not _joins(x, value):
        return None
    params = recipe(graph, x).params
    (array,) = inputs_of(graph, x)
    if params["mode"] != "constant" or params["value"] or array.dtype != x.dtype or not array._data.size:
        return None
    widths = {x._data.ndim - 1 - i: params["pad"][2 * i : 2 * i + 2] for i in range(len(params["pad"]) // 2)}
    padded = [(axis, width) for axis, width in widths.items() if any(width)]
    if len(padded) != 1 or min(padded[0][1]) < 0:
        return None
    ((axis, (before, _)),) = padded
    return Part(x, before, before + array.shape[axis], axis, array)


def _apart(parts: list[Part]) -> list[Part]:
    """Return, in their order, those parts along one axis that do not overlap any before them."""
    chosen: list[Part] = []
    for part in sorted(parts, key=operator.attrgetter("start")):
        if not chosen or (part.axis == chosen[0].axis and part.start >= chosen[-1].stop):
            chosen.append(part)
    return chosen


def _filled(parts: list[Part], shape: tuple[int, ...]) -> list[Value]:
    """Return the parts in their order, with zeros where there is none."""
    axis, found, end = parts[0].axis, [], 0
    for part in [*parts, None]:
        start = shape[axis] if part is None else part.start
        if start > end:
            lengths = tuple(start - end if i == axis else n for i, n in enumerate(shape))
            found.append(constant(np.zeros(lengths, parts[0].array.dtype)))
        if part is not None:
            found.append(part.array)
            end = part.stop
    return found
