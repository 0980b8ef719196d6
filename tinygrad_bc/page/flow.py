"""How the gradient flows: its size at every tensor, units that are dead, and activations that are saturated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.page.trace import Trace
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["activations", "gradient_sizes"]

STEEP = 4.0  # the derivative of an activation stays below this
SATURATED = 0.01  # of the largest derivative that the function has
MOST_UNITS = 20  # dead units that are listed by number


def gradient_sizes(backward: BackwardPass) -> list[dict[str, Any]]:
    """Return root mean square, largest magnitude and the share of zeros of each gradient, in the order of the pass."""
    numbers = {value: number for number, value in enumerate(backward.graph.values)}
    return [{"value": numbers[x], **_size(g._array)} for x, g in backward.cotangents.items()]


def _size(array: Array) -> dict[str, Any]:
    finite = np.abs(array[np.isfinite(array)].astype(np.float64))
    largest = float(finite.max(initial=0.0))
    scaled = finite / largest if largest else finite  # squares of tiny numbers are not to vanish
    return {
        "rms": largest * float(np.sqrt(np.mean(scaled**2))) if finite.size else 0.0,
        "max": largest,
        "zeros": float(np.mean(array == 0)) if array.size else 0.0,
        "broken": int(array.size - finite.size),
    }


def activations(backward: BackwardPass, traces: dict[Value, list[Trace]]) -> list[dict[str, Any]]:
    """Return which units of each activation are dead, and the share of elements where it is saturated.

    An activation is an operation on one array, element by element, whose derivative is bounded on the whole line but
    not the same everywhere: relu, sigmoid, tanh and whatever a user declares, but not exp, log or a square.

    Parameters
    ----------
    backward
        The pass.
    traces
        Of each value in it, the traces of its contributions.
    """
    numbers = {value: number for number, value in enumerate(backward.graph.values)}
    rows = []
    for x, uses in backward.contributions.items():
        for use, trace in zip(uses, traces[x]):
            node: Any = use.user.node
            steepest = _steepest(node) if trace.kind == "elementwise" and len(node.inputs) == 1 else None
            if steepest is not None and trace.factor is not None:
                rows.append({"value": numbers[use.user], **_state(backward.graph, x, np.abs(trace.factor), steepest)})
    return sorted(rows, key=lambda row: row["value"])


def _steepest(node: Any) -> float | None:
    """Return the largest derivative of an activation; None for operations that are none."""
    points = np.linspace(-10, 10, 401)
    vjp = next(iter(node.op.vjps))
    try:
        with np.errstate(all="ignore"):
            y = np.asarray(node.op.forward(points, **node.params))
            slopes = np.abs(np.asarray(vjp(np.ones_like(points), y, points, **node.params), dtype=np.float64))
    except (ValueError, IndexError, TypeError):  # a reshape, for example: its parameters fit its own shape alone
        return None
    if slopes.shape != points.shape or not np.isfinite(slopes).all() or np.ptp(slopes) == 0 or slopes.max() > STEEP:
        return None
    return float(slopes.max())


def _state(graph: Graph, x: Value, slopes: Array, steepest: float) -> dict[str, Any]:
    axes = _sample_axes(graph, x)
    dead = np.flatnonzero((slopes == 0).all(axis=axes)) if slopes.size and axes else np.array([], int)
    return {
        "flat": float(np.mean(slopes == 0)) if slopes.size else 0.0,
        "saturated": float(np.mean(slopes < SATURATED * steepest)) if slopes.size else 0.0,
        "units": int(np.prod([n for axis, n in enumerate(x.shape) if axis not in axes])) if axes else 0,
        "dead": len(dead),
        "which": dead[:MOST_UNITS].tolist(),
    }


def _sample_axes(graph: Graph, x: Value) -> tuple[int, ...]:
    """Return the axes of `x` along which samples lie, not units: those along which its parameters repeat.

    A bias that was broadcast says which; else the side on which the weights stood in the matrix product; else the
    last axis is taken to be that of the units.
    """
    for value in itertools.islice(_behind(graph, x), 20):
        node: Any = graph.node(value)
        for i, p in enumerate(node.inputs):
            if not isinstance(p, Value) or not p._requires_grad or graph.node(p) is not None:
                continue
            if node.op.name == "matmul" and len(p.shape) == len(x.shape) == 2:
                return (1,) if i == 0 else (0,)
            if node.op.broadcasts and p.shape != x.shape:
                lengths = (1,) * (len(x.shape) - len(p.shape)) + p.shape
                return tuple(axis for axis, n in enumerate(lengths) if n == 1)
    return tuple(range(len(x.shape) - 1))


def _behind(graph: Graph, x: Value) -> Iterator[Value]:
    """Yield `x` and the computed values of its shape that it was computed from, the nearest first."""
    found, seen = [x], {x}
    for value in found:  # which grows on the way
        node = graph.node(value)
        if node is None:
            continue
        yield value
        nearer = [v for v in node.values if v.shape == x.shape and v not in seen]
        seen.update(nearer)
        found += nearer
