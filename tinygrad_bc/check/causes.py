"""What is wrong with a derivative: hypotheses, each tried on the numbers.

A hypothesis is a correction. It is reported if the corrected derivative is right, to within the tolerance, at every
element for which the right value is known; those that need the fewest numbers chosen to fit come first.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import broadcasts_to, unbroadcast
from tinygrad_bc.record import Array

__all__ = ["Evidence", "constants_of", "explanation"]

Hypotheses = Iterator[tuple[str, Array]]


class Evidence(NamedTuple):
    """A wrong derivative, and what is known of the right one.

    Attributes
    ----------
    given : ndarray or None
        The wrong derivative, of any shape; None if an error was raised in its place.
    shape : tuple of int
        The shape it must have. If it can be broadcast to that of `given`, the latter is summed back.
    where, right, doubt : ndarray of one axis
        The flat indices for which right values are known, these values, and their errors.
    g : ndarray or None
        The cotangent that the derivative was computed from, if it was from one.
    ingredients : mapping of str to ndarray
        What may be a factor in the derivative, by the names to write it with.
    constants : mapping of str to float
        Numbers that may be a factor.
    again : mapping of str to callable
        The derivative computed otherwise; the name says what was done.
    """

    given: Array | None
    shape: tuple[int, ...]
    where: Array
    right: Array
    doubt: Array
    g: Array | None
    ingredients: Mapping[str, Array]
    constants: Mapping[str, float]
    again: Mapping[str, Callable[[], Any]]

    def cotangent(self, shape: tuple[int, ...]) -> Array | None:
        """Return `g` with axes put in so that it broadcasts to `shape`; None if it cannot."""
        return None if self.g is None else _aligned(self.g, shape)

    def at_known(self, candidate: Array) -> Array | None:
        """Return the elements of a derivative for which the right values are known; None if its shape is wrong."""
        if candidate.shape != self.shape:
            if not broadcasts_to(self.shape, candidate.shape):
                return None
            candidate = unbroadcast(candidate, self.shape)
        return candidate.ravel()[self.where]

    def explained_by(self, candidate: Array) -> bool:
        """Whether `candidate` is right."""
        values = self.at_known(candidate)
        if values is None:
            return False
        misses = np.abs(values - self.right)
        close = misses <= 1e-6 * np.abs(self.right) + 1e-8 * np.abs(self.right).max(initial=0.0) + 2 * self.doubt
        before = None if self.given is None else self.at_known(self.given)
        # What is nearly right already must be explained, and not drown in the tolerance.
        better = before is None or not misses.max() > 0.01 * np.abs(before - self.right).max()
        return bool(close.all() and better)


def explanation(evidence: Evidence) -> str:
    """Return what explains the wrong derivative, without a full stop; '' if nothing that was tried does."""
    known = np.isfinite(evidence.right)
    evidence = evidence._replace(where=evidence.where[known], right=evidence.right[known], doubt=evidence.doubt[known])
    if not len(evidence.where):
        return ""
    given = np.array(np.nan) if evidence.given is None else evidence.given
    with np.errstate(all="ignore"):
        if evidence.given is None:
            return _first(evidence, given, [_called_otherwise])
        return (
            _plain(evidence, given)
            or _first(evidence, given, _CORRECTIONS)
            or _region(evidence, given)
            or _first(evidence, given, [_less_sums, _from_cotangent, _terms])
        )


def _first(evidence: Evidence, given: Array, kinds: Iterable[Callable[[Evidence, Array], Hypotheses]]) -> str:
    hypotheses = itertools.chain.from_iterable(kind(evidence, given) for kind in kinds)
    return next((text for text, candidate in hypotheses if evidence.explained_by(candidate)), "")


def _aligned(array: Array, shape: tuple[int, ...]) -> Array | None:
    """Return `array` with axes of length 1 put in so that it broadcasts to `shape`, or None if it cannot."""
    for places in itertools.combinations(range(len(shape)), max(0, len(shape) - array.ndim)):
        candidate = np.expand_dims(array, places)
        if broadcasts_to(candidate.shape, shape):
            return candidate
    return None


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {axes}"


def _plain(evidence: Evidence, given: Array) -> str:
    """Say what needs no correction to be seen."""
    values = evidence.at_known(given)
    if values is not None and np.isnan(values).any():
        return f"it is NaN at {np.isnan(values).sum()} of the {len(values)} elements checked"
    if not given.any():
        return "it is 0 everywhere: the gradient is lost here"
    return "" if evidence.right.any() else "the right derivative is 0 everywhere"


def _sign_and_cotangent(evidence: Evidence, given: Array) -> Hypotheses:
    yield "the sign is wrong: its negative is right", -given
    g = evidence.cotangent(given.shape)
    if g is not None:
        yield "the upstream gradient g is ignored: multiplied by g it is right", given * g
        yield "it is divided by the upstream gradient g, or multiplied too often: times g² it is right", given * g**2
        yield "the upstream gradient g is multiplied in twice: divided by g it is right", given / g


def _called_otherwise(evidence: Evidence, _: Array) -> Hypotheses:
    for text, compute in evidence.again.items():
        with contextlib.suppress(Exception):  # where the derivative cannot be computed that way
            yield text, np.asarray(compute())


def _rearranged(evidence: Evidence, given: Array) -> Hypotheses:
    shape = evidence.shape
    extra = given.ndim - len(shape)
    for axes in itertools.combinations(range(given.ndim), extra) if extra > 0 else ():
        lengths = ", ".join(str(given.shape[axis]) for axis in axes)
        which = f"{_axes(axes)} (length{'s' * (len(axes) > 1)} {lengths})"
        yield f"it is not summed over {which}: summed, it is right", given.sum(axis=axes)
        yield f"it is not averaged over {which}: averaged, it is right", given.mean(axis=axes)
    for axis, n in enumerate(given.shape if extra == 0 else ()):
        if n > 1:
            yield f"it is not summed over axis {axis} (length {n}): summed, it is right", given.sum(axis, keepdims=True)
    if given.ndim <= 4:
        for order in itertools.permutations(range(given.ndim)):
            text = "it is transposed: its transpose is right"
            if given.ndim > 2:
                text = f"its axes are in the wrong order: permuted to {order} it is right"
            yield text, given.transpose(order)
    for count in range(1, given.ndim + 1):
        for axes in itertools.combinations(range(given.ndim), count):
            yield f"it runs backwards along {_axes(axes)}: flipped, it is right", np.flip(given, axes)
    spread = _aligned(given, shape)
    if spread is not None and spread.shape != shape:
        yield f"it is not spread over the shape {shape}: broadcast, it is right", np.broadcast_to(spread, shape)
    if given.size == np.prod(shape, dtype=int):
        yield f"only its shape is wrong: reshaped to {shape} it is right", given.reshape(shape)


def _expressions(evidence: Evidence, given: Array) -> Iterator[tuple[str, Array]]:
    """Iterate over what derivatives are made of, the simplest first, fitted to the shape of the derivative."""
    fitted = {
        name: u
        for name, array in evidence.ingredients.items()
        if (u := _aligned(np.asarray(array, dtype=float), given.shape)) is not None
    }
    for write, function in _FUNCTIONS:
        for name, u in fitted.items():
            yield write.format(name), function(u)
    for (a, u), (b, v) in itertools.combinations(fitted.items(), 2):
        yield f"({a} - {b})", u - v
        yield f"({a} + {b})", u + v
        yield f"{a} * {b}", u * v
        yield f"{a} / {b}", u / v
        yield f"{b} / {a}", v / u
        yield f"(1 - {a}) / (1 - {b})", (1 - u) / (1 - v)
        yield f"(1 - {b}) / (1 - {a})", (1 - v) / (1 - u)


_FUNCTIONS: list[tuple[str, Callable[[Array], Any]]] = [
    ("{}", lambda u: u),
    ("(1 - {})", lambda u: 1 - u),
    ("{0} * (1 - {0})", lambda u: u * (1 - u)),
    ("{}²", lambda u: u * u),
    ("(1 - {}²)", lambda u: 1 - u * u),
    ("(1 + {})", lambda u: 1 + u),
    ("(1 + {}²)", lambda u: 1 + u * u),
    ("√{}", np.sqrt),
    ("√(1 - {}²)", lambda u: np.sqrt(1 - u * u)),
    ("√(1 + {}²)", lambda u: np.sqrt(1 + u * u)),
    ("{}³", lambda u: u**3),
    ("[{} > 0]", lambda u: (u > 0) * 1.0),
    ("[{} < 0]", lambda u: (u < 0) * 1.0),
    ("|{}|", np.abs),
    ("sign({})", np.sign),
    ("exp({})", np.exp),
    ("exp(-{})", lambda u: np.exp(-u)),
    ("log({})", np.log),
    ("cos({})", np.cos),
    ("sin({})", np.sin),
    ("σ({})", lambda u: 1 / (1 + np.exp(-u))),
    ("tanh({})", np.tanh),
]


def _factors(evidence: Evidence, given: Array) -> Hypotheses:
    for text, factor in _expressions(evidence, given):
        yield f"the factor {text} is missing: multiplied by it, it is right", given * factor
        yield f"the factor {text} is one too many: divided by it, it is right", given / factor


def _fit(values: Array, right: Array) -> float:
    """Return the number k for which k · values is nearest to `right`."""
    usable = np.isfinite(values)
    k = float((values[usable] * right[usable]).sum() / (values[usable] ** 2).sum())
    return k if np.isfinite(k) else 0.0


def _named_constant(evidence: Evidence, given: Array) -> Hypotheses:
    values = evidence.at_known(given)
    if values is None:
        return
    k = _fit(values, evidence.right)
    for name, n in evidence.constants.items():
        for sign, text in ((1, ""), (-1, " and of the wrong sign")):
            if np.isclose(k * n, sign, rtol=1e-6, atol=0):
                yield f"it is {n:g} times too large{text}, which is {name}: is it to be divided by that?", k * given
            if np.isclose(k, sign * n, rtol=1e-6, atol=0):
                why = "is it divided by that once too often?"
                yield f"it is {n:g} times too small{text}, which is {name}: {why}", k * given


def _any_constant(evidence: Evidence, given: Array) -> Hypotheses:
    values = evidence.at_known(given)
    if values is not None:
        k = _fit(values, evidence.right)
        yield f"it is off by a constant factor: multiplied by {_number(k)} it is right", k * given


def _number(k: float) -> str:
    """Return a number as a fraction of small integers, where it is one."""
    for bottom in range(1, 13):
        top = k * bottom
        if 0 < abs(round(top)) <= 100 and np.isclose(top, round(top), rtol=1e-6, atol=0):
            return str(round(top)) if bottom == 1 else f"{round(top)}/{bottom}"
    return f"{k:.9g}"


def _scaled_factors(evidence: Evidence, given: Array) -> Hypotheses:
    for text, candidate in _factors(evidence, given):
        values = evidence.at_known(candidate)
        k = 0.0 if values is None else _fit(values, evidence.right)
        if _is_simple(number := _number(k)):
            yield text.replace(" it, it", f" it and by {number}, it"), k * candidate


def _reduced_cotangent(evidence: Evidence, given: Array) -> Hypotheses:
    """Try sums of g, and of g times an input, for a derivative that is smaller than g."""
    g, shape = evidence.g, evidence.shape
    if g is None or given.shape != shape or g.size <= given.size:
        return
    factors = {name: np.asarray(u) for name, u in evidence.ingredients.items() if np.shape(u) == g.shape}
    products = {"g": g} | {f"g * {name}": g * u for name, u in factors.items()}
    for count in range(1, g.ndim + 1):
        for axes in itertools.combinations(range(g.ndim), count):
            for name, product in products.items():
                candidate = product.sum(axis=axes, keepdims=g.ndim == len(shape))
                if candidate.shape == shape:
                    yield f"the right derivative is {name} summed over {_axes(axes)}", candidate


_CORRECTIONS = [
    _sign_and_cotangent,
    _named_constant,
    _reduced_cotangent,
    _called_otherwise,
    _rearranged,
    _factors,
    _any_constant,
    _scaled_factors,
]


def _less_sums(evidence: Evidence, given: Array) -> Hypotheses:
    """Try what softmax and normalisations subtract: sums over the axis along which their numbers belong together."""
    y = np.asarray(evidence.ingredients.get("y", 0.0))
    for axis in range(given.ndim):
        over = f"over axis {axis}"
        mean = given.mean(axis, keepdims=True)
        terms = {f"(the mean of d {over})": mean}
        if y.shape == given.shape:
            along = y * (given * y).mean(axis, keepdims=True)
            terms[f"y * (the sum of d {over})"] = y * given.sum(axis, keepdims=True)
            terms[f"y * (the mean of d * y {over})"] = along
            terms[f"(the mean of d {over}) - y * (the mean of d * y {over})"] = mean + along
        for written, term in terms.items():
            yield f"a term is missing: with d for what it returns, d - {written} is right", given - term


def _from_cotangent(evidence: Evidence, given: Array) -> Hypotheses:
    g = evidence.cotangent(given.shape)
    if g is None:
        return
    for text, factor in _expressions(evidence, given):
        yield f"the right derivative is g * {text}", g * factor
    y = np.asarray(evidence.ingredients.get("y", 0.0))
    for axis in range(g.ndim) if y.shape == g.shape else ():
        right = y * (g - (g * y).sum(axis, keepdims=True))
        yield f"the right derivative is y * (g - the sum of g * y over axis {axis})", right
        right = g - np.exp(y) * g.sum(axis, keepdims=True)
        yield f"the right derivative is g - exp(y) * (the sum of g over axis {axis})", right


def _terms(evidence: Evidence, given: Array) -> Hypotheses:
    values, g = evidence.at_known(given), evidence.cotangent(given.shape)
    if values is None:
        return
    for written, factor in [("1", np.ones_like(given)), *_expressions(evidence, given)]:
        terms = {} if g is None else {f"g * {written}".removesuffix(" * 1"): g * factor}
        for name, term in (terms | {written: factor}).items():
            at_known = evidence.at_known(term)
            k = 0.0 if at_known is None else _fit(at_known, evidence.right - values)
            if times := _written(k, evidence.constants):
                text = f"the term {name}{times} is missing".replace(" times 1 is", " is")
                yield text.replace(" times -1 is missing", " is one too many"), given + k * term


def _is_simple(number: str) -> bool:
    return "." not in number and "e" not in number


def _written(k: float, constants: Mapping[str, float]) -> str:
    """Return how a simple factor is written behind a term; '' if it is not simple."""
    if _is_simple(number := _number(k)):
        return f" times {number}"
    for n in constants.values():
        if np.isclose(abs(k) * n, 1, rtol=1e-6, atol=0):
            return f" times {'-' if k < 0 else ''}1/{n:g}"
    return ""


def _region(evidence: Evidence, given: Array) -> str:
    """Say where the derivative is wrong, if it is right elsewhere and there is a rule to it."""
    values = evidence.at_known(given)
    if values is None:
        return ""
    misses = np.abs(values - evidence.right)
    wrong = misses > 1e-5 * np.abs(evidence.right).max() + 2 * evidence.doubt
    if not wrong.any() or wrong.all():
        return ""
    if np.array_equal(evidence.right == 0, wrong):
        return "it is wrong where it should be 0, and right elsewhere: is a mask missing?"
    for name, array in evidence.ingredients.items():
        u = _aligned(np.asarray(array, dtype=float), evidence.shape)
        if u is None:
            continue
        u = np.broadcast_to(u, evidence.shape).ravel()[evidence.where]
        for sign, mask in ((">", u > 0), ("<", u < 0), ("=", u == 0)):
            if np.array_equal(mask, wrong):
                return f"it is wrong where {name} {sign} 0, and right elsewhere"
    index = np.stack(np.unravel_index(evidence.where, evidence.shape))
    for axis, length in enumerate(evidence.shape):
        for place in {0, length - 1} if length > 1 else ():
            if np.array_equal(index[axis] == place, wrong):
                return f"it is wrong at index {place} of axis {axis}, and right elsewhere"
        for array in evidence.ingredients.values():
            if array.dtype.kind in "iu":
                values, counts = np.unique(array % length, return_counts=True)
                if np.array_equal(np.isin(index[axis], values[counts > 1]), wrong):
                    return "it is wrong where an index occurs more than once: are the contributions not added up?"
    return ""


def constants_of(x: Array, y: Array, name: str) -> dict[str, float]:
    """Return the numbers that a derivative is most often off by: lengths, sizes, and how many went into each result."""
    found: dict[str, float] = {f"the length of axis {axis} of {name}": n for axis, n in enumerate(x.shape)}
    found[f"the number of elements of {name}"] = x.size
    found["the number of elements of the result"] = y.size
    if y.size:
        found[f"the number of elements of {name} for each of the result"] = x.size / y.size
    if x.size:
        found[f"the number of elements of the result for each of {name}"] = y.size / x.size
    return {text: n for text, n in found.items() if n > 2}
