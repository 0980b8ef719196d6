"""One operation's own derivative at the recorded values, whatever the rest of the graph does."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import broadcasts_to, directions, numbers, sample, signed, unbroadcast
from tinygrad_bc.check.differences import Lines, Moves, SeparableLines, Slopes, complex_step, slopes
from tinygrad_bc.check.judgement import Judgement, Tolerance, judge
from tinygrad_bc.primitive import Primitive
from tinygrad_bc.record import Array, Graph, Node, Value

__all__ = ["Derivative", "derivatives"]

MOST_ELEMENTS = 60
DIRECTIONS = 2


class Derivative(NamedTuple):
    """One VJP of one node, checked: that of the output `value` for the input at `position`.

    Attributes
    ----------
    vjp : callable or None
        The VJP; None stands for the claim that the derivative is 0.
    arguments : list
        The inputs of the node, arrays or numbers.
    g : ndarray
        The cotangent of the output that was tried.
    given : ndarray or None
        What the VJP returned; None if it raised an error.
    analytic : ndarray or None
        The same, summed back to the shape of the input; None if its shape is wrong.
    problem : str
        What keeps `given` from being a derivative at all; '' if nothing does.
    where : ndarray
        Flat indices of the elements that were checked.
    judgement : Judgement
        The verdict on these, in arrays of shape (1, their number).
    directions : int
        How many random directions were checked beside them, in which all elements move.
    """

    value: Value
    position: int
    vjp: Callable[..., Any] | None
    arguments: list[Any]
    g: Array
    given: Array | None
    analytic: Array | None
    problem: str
    where: Array
    judgement: Judgement
    directions: int

    @property
    def node(self) -> Node:
        """The recipe that the VJP belongs to."""
        node: Any = self.value.node
        return node

    @property
    def x(self) -> Array:
        """The input that the derivative is with respect to."""
        return np.asarray(self.arguments[self.position])

    @property
    def right(self) -> bool:
        """Whether no element was found wrong."""
        return not self.problem and not self.judgement.wrong.any()

    @property
    def argument(self) -> str:
        """What the operation calls this input."""
        return argument(self.node.op, self.position)


def argument(op: Primitive, position: int) -> str:
    """Return what `op` calls its input at `position`."""
    return op.arrays[position] if position < len(op.arrays) else f"input{position}"


def derivatives(graph: Graph, rng: np.random.Generator, tolerance: Tolerance) -> Iterator[Derivative]:
    """Check every VJP that the backward pass through `graph` uses, from the outputs back to the inputs."""
    moving = set(graph.inputs)
    for value in graph:
        node = graph.node(value)
        if node is not None and any(x in moving for x in node.values):
            moving.add(value)
    for value in reversed(graph.values):
        node = graph.node(value)
        if node is None or value.dtype.kind != "f" or not numbers(value).size:
            continue
        for position, vjp in enumerate(_vjps(node)):
            x = node.inputs[position]
            if isinstance(x, Value) and x in moving and x.dtype.kind == "f" and numbers(x).size:
                yield _checked(value, position, vjp, rng, tolerance)


def _vjps(node: Node) -> Iterator[Callable[..., Any] | None]:
    """Iterate over the VJPs of the inputs of `node`; None where it says that the derivative is 0."""
    if node.op.vjps is None:
        return itertools.repeat(None, len(node.inputs))
    return (vjp for vjp, _ in zip(node.op.vjps, node.inputs))


def _checked(value: Value, position: int, vjp: Any, rng: np.random.Generator, tolerance: Tolerance) -> Derivative:
    node: Any = value.node
    arguments = [numbers(x) if isinstance(x, Value) else x for x in node.inputs]
    x = arguments[position]
    g = signed(value.shape, rng)
    given, analytic, problem = _called(node, vjp, g, numbers(value), arguments, position)

    def function(moved: Array) -> Any:
        return node.op.forward(*arguments[:position], moved, *arguments[position + 1 :], **node.params)

    lines = _separable(function, x, g)
    if lines is not None:
        found = complex_step(lines, slopes(lines))
        spread = np.broadcast_to(x, g.shape)
        found = found if spread.shape == x.shape else _summed(found, g.shape, x.shape)
        where = np.arange(x.size)
        judgement = judge(_picked(analytic, where), found, tolerance)
        return Derivative(value, position, vjp, arguments, g, given, analytic, problem, where, judgement, 0)

    where = sample(x.size, MOST_ELEMENTS, rng)
    weights = g.reshape(1, -1)
    tried = directions(x, DIRECTIONS, rng) if len(where) < x.size else []
    if analytic is not None:
        where = np.union1d(where, _suspects(function, x, weights, analytic, tried, tolerance)).astype(int)
    elements = Lines(function, x, weights, list(where))
    found = complex_step(elements, slopes(elements))
    judgement = judge(_picked(analytic, where), found, tolerance)
    return Derivative(value, position, vjp, arguments, g, given, analytic, problem, where, judgement, len(tried))


def _called(
    node: Node, vjp: Any, g: Array, y: Array, arguments: list[Any], position: int
) -> tuple[Array | None, Array | None, str]:
    """Call a VJP as the backward pass does: what it returned, that in the shape of the input, and what is wrong."""
    shape = np.shape(arguments[position])
    if vjp is None:
        return np.zeros(shape), np.zeros(shape), ""
    try:
        with np.errstate(all="ignore"):
            given = np.asarray(vjp(g, y, *arguments, **node.params))
    except Exception as error:
        return None, None, f"it raises {type(error).__name__}: {error}"
    if given.shape == shape:
        return given, given, ""
    if node.op.broadcasts and broadcasts_to(shape, given.shape):
        return given, unbroadcast(given, shape), ""
    return given, None, f"it returns shape {given.shape}, but {argument(node.op, position)} has shape {shape}"


def _picked(analytic: Array | None, where: Array) -> Array:
    return np.full((1, len(where)), np.nan) if analytic is None else analytic.reshape(1, -1)[:, where]


# --- element by element, all at once -----------------------------------------------------------------


def _separable(function: Callable[[Array], Any], x: Array, g: Array) -> Moves | None:
    """Return lines along all elements at once, if each element of the result depends on one element of `x`."""
    if not broadcasts_to(x.shape, g.shape):
        return None
    spread = np.array(np.broadcast_to(x, g.shape))
    with np.errstate(all="ignore"):
        try:
            separable = _is_separable(function, spread)
        except Exception:  # the function does not take an input of the shape of its result
            return None
    return SeparableLines(function, spread, g) if separable else None


def _is_separable(function: Callable[[Array], Any], x: Array) -> bool:
    """Whether every element of the result depends on the element of `x` in the same place alone.

    Any two elements differ in some bit of their number. So it is enough to move, for each bit, those that have it and
    then those that do not: nothing but them may change, and they as if all had moved.
    """
    rng = np.random.default_rng(0)
    factors = 1 + 0.01 * signed(x.shape, rng)
    moved = np.where(x == 0, factors - 1, x * factors)
    before, after = np.asarray(function(x)), np.asarray(function(moved))
    if before.shape != x.shape:
        return False
    places = np.arange(x.size).reshape(x.shape)
    for bit in range(max(1, (x.size - 1).bit_length())):
        mask = (places >> bit) & 1 == 1
        for chosen in (mask, ~mask):
            expected = np.where(chosen, after, before)
            if not np.array_equal(function(np.where(chosen, moved, x)), expected, equal_nan=True):
                return False
    return True


def _summed(found: Slopes, spread: tuple[int, ...], shape: tuple[int, ...]) -> Slopes:
    """Return the slopes of an input that was broadcast, from those of all its copies."""

    def total(array: Array) -> Array:
        return unbroadcast(array.reshape(spread), shape).reshape(1, -1)

    def extreme(array: Array, initial: float) -> Array:
        copies = np.where(np.isnan(array), initial, array).reshape(spread)
        lead = tuple(range(len(spread) - len(shape)))
        stretched = tuple(i for i, n in enumerate(spread) if i not in lead and shape[i - len(lead)] == 1 != n)
        return np.asarray(copies.max(axis=lead + stretched, keepdims=True)).reshape(1, -1)

    low, high = np.minimum(found.below, found.above), np.maximum(found.below, found.above)
    kind = extreme(found.kind, 0).astype(int)
    nearest = -extreme(-found.distance, -np.inf)
    one_sided = np.isnan(low) | (found.kind == 0)
    return Slopes(
        value=total(found.value),
        error=total(found.error),
        below=total(np.where(one_sided, found.value, low)),
        above=total(np.where(one_sided, found.value, high)),
        kind=kind,
        distance=np.where(np.isinf(nearest), np.nan, nearest),
    )


# --- in all directions at once -----------------------------------------------------------------------


def _suspects(
    function: Callable[[Array], Any],
    x: Array,
    weights: Array,
    analytic: Array,
    tried: list[Array],
    tolerance: Tolerance,
) -> list[int]:
    """Return an element that is wrong, where a direction in which all move shows that there is one."""

    def wrong(direction: Array) -> bool:
        found = slopes(Lines(function, x, weights, [direction]))
        judgement = judge(np.array([[(analytic * direction).sum()]]), found, tolerance)
        return bool(judgement.wrong.any() and not np.isnan(judgement.numeric).any())

    suspects = []
    for direction in tried:
        if not wrong(direction):
            continue
        candidates = np.arange(x.size)
        while len(candidates) > 1:  # halve what moves, keeping a half in which something is wrong
            half = candidates[: len(candidates) // 2]
            part = np.zeros(x.shape)
            part.flat[half] = direction.flat[half]
            candidates = half if wrong(part) else candidates[len(candidates) // 2 :]
        suspects.append(int(candidates[0]))
    return suspects
