"""One operation's own derivative at the recorded values, whatever the rest of the graph does; and why it is wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import MOST_ELEMENTS, broadcasts_to, numbers, sample, signed, unbroadcast
from tinygrad_bc.check.causes import Evidence, constants_of, explanation
from tinygrad_bc.check.differences import (
    Judgement,
    Lines,
    SeparableLines,
    Slopes,
    Tolerance,
    complex_step,
    judge,
    slopes,
)
from tinygrad_bc.primitive import Primitive
from tinygrad_bc.record import Array, Graph, Node, Value

__all__ = ["Derivative", "argument", "cause", "derivatives"]

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
    def y(self) -> Array:
        """The output."""
        return numbers(self.value)

    @property
    def right(self) -> bool:
        """Whether no element was found wrong."""
        return not self.problem and not self.judgement.wrong.any()

    @property
    def argument(self) -> str:
        """What the operation calls this input."""
        return argument(self.node.op, self.position)

    def called(self, vjp: Any, g: Array, y: Array, changed: Mapping[int, Any]) -> Any:
        """Return what a VJP of this node gives, with some of its arguments changed."""
        arguments = [changed.get(k, x) for k, x in enumerate(self.arguments)]
        return vjp(g, y, *arguments, **self.node.params)


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

    separable = _separable(function, x, g)
    where, tried = sample(x, rng, x.size if separable else MOST_ELEMENTS, DIRECTIONS)
    if tried and analytic is not None:
        where = np.union1d(where, _suspects(function, x, g, analytic, tried, tolerance)).astype(int)
    lines = separable or Lines(function, x, g.reshape(1, -1), list(where))
    found = complex_step(lines, slopes(lines))
    if separable and g.shape != x.shape:
        found = _summed(found, g.shape, x.shape)
    picked = np.full((1, len(where)), np.nan) if analytic is None else analytic.reshape(1, -1)[:, where]
    judgement = judge(picked, found, tolerance)
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
            returned = vjp(g, y, *arguments, **node.params)
    except Exception as error:
        return None, None, f"it raises {type(error).__name__}: {error}"
    if not isinstance(returned, np.ndarray | np.generic):
        return None, None, f"it returns {type(returned).__name__}; it must return an array"
    given = np.asarray(returned)
    if given.shape == shape:
        return given, given, ""
    if node.op.broadcasts and broadcasts_to(shape, given.shape):
        return given, unbroadcast(given, shape), ""
    return given, None, f"it returns shape {given.shape}, but {argument(node.op, position)} has shape {shape}"


# --- element by element, all at once -----------------------------------------------------------------


def _separable(function: Callable[[Array], Any], x: Array, g: Array) -> SeparableLines | None:
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
    function: Callable[[Array], Any], x: Array, g: Array, analytic: Array, tried: list[Array], tolerance: Tolerance
) -> list[int]:
    """Return an element that is wrong, where a direction in which all move shows that there is one."""

    def wrong(direction: Array) -> bool:
        found = slopes(Lines(function, x, g.reshape(1, -1), [direction]))
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


# --- why it is wrong -----------------------------------------------------------------------------------


def cause(d: Derivative) -> str:
    """Return what explains a wrong derivative; '' if nothing that was tried does."""
    known = ~(d.judgement.singular | d.judgement.kinked | d.judgement.undecided)[0]
    parameters = {
        f"the parameter {name}": float(x)
        for name, x in d.node.params.items()
        if isinstance(x, float | int) and not isinstance(x, bool) and abs(x) not in (0, 1)
    }
    evidence = Evidence(
        given=d.given,
        shape=d.x.shape,
        where=d.where[known],
        right=d.judgement.numeric[0, known],
        doubt=d.judgement.error[0, known],
        g=d.g,
        ingredients={argument(d.node.op, i): np.asarray(x) for i, x in enumerate(d.arguments)} | {"y": d.y},
        constants=parameters | constants_of(d.x, d.g, d.argument),
        again=_again(d),
    )
    return explanation(evidence) or ("the upstream gradient g is ignored" if _ignores_cotangent(d) else "")


def _again(d: Derivative) -> dict[str, Callable[[], Any]]:
    """Return the VJP called otherwise, by what that says if it turns out right."""
    tried: dict[str, Callable[[], Any]] = {}
    if d.vjp is None:
        return tried
    i, g, y, xs = d.position, d.g, d.y, d.arguments
    turned = {k: np.asarray(x).mT for k, x in enumerate(xs) if np.ndim(x) > 1}
    call = partial(partial, d.called)
    for k, (x, vjp) in enumerate(zip(xs, _vjps(d.node))):
        name = argument(d.node.op, k)
        if k != i and vjp is not None:
            tried[f"it is the VJP of another input: the one of {name} is right here"] = call(vjp, g, y, {})
        if k in turned:
            text = f"it takes {name} where its transpose is meant: with that it is right"
            tried[text] = call(d.vjp, g, y, {k: turned[k]})
        if k != i:
            text = f"it mixes up {d.argument} and {name}: with them exchanged it is right"
            tried[text] = call(d.vjp, g, y, {i: x, k: xs[i]})
        if np.shape(x) == y.shape:
            tried[f"it takes the input {name} where the result y is meant"] = call(d.vjp, g, y, {k: y})
            tried[f"it takes the result y where the input {name} is meant"] = call(d.vjp, g, x, {})
    if g.ndim > 1:
        tried["it takes g where its transpose is meant: with that it is right"] = call(d.vjp, g.mT, y, {})
        for k, x in turned.items():
            text = f"it takes g and {argument(d.node.op, k)} where their transposes are meant"
            tried[text] = call(d.vjp, g.mT, y, {k: x})
    return tried


def _ignores_cotangent(d: Derivative) -> bool:
    """Whether twice the cotangent makes no difference."""
    if d.vjp is None or d.given is None:
        return False
    return np.array_equal(d.called(d.vjp, 2 * d.g, d.y, {}), d.given)
