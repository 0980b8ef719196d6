"""Derivatives from function values alone, which know nothing of the chain rule, and the judgement of others by them.

Difference quotients with ever shorter steps are extrapolated to step 0; the table that this makes gives an error
estimate too (C. Ridders, "Accurate computation of F'(x) and F'(x)F''(x)", Advances in Engineering Software 4, 1982;
Press et al., "Numerical Recipes", 3rd ed., sec. 5.7). The quotients to the two sides are extrapolated beside the
central one: where they disagree, there is a kink.

Where the function takes complex numbers, the complex step gives the derivative to the last digits (W. Squire and
G. Trapp, "Using complex variables to estimate derivatives of real functions", SIAM Review 40, 1998; J. Martins,
P. Sturdza and J. Alonso, "The complex-step derivative approximation", ACM TOMS 29, 2003).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.record import Array

__all__ = [
    "Judgement",
    "Kind",
    "Lines",
    "SeparableLines",
    "Slopes",
    "Tolerance",
    "central_differences",
    "complex_step",
    "judge",
    "quick_slopes",
    "slopes",
]

EPS = float(np.finfo(float).eps)
ROUNDING = 4 * EPS  # of a function's value, relative to it
FIRST_STEP = 2.0**-3  # powers of 2, so that steps are exact
LEVELS = 30  # the shortest step is 2e-9 times the first
COLUMNS = 7
TINY = 1e-3  # numbers smaller than this are tried again with steps in proportion to themselves
IMAGINARY = 1e-30


class Kind(IntEnum):
    """What the function looks like along one line through the point."""

    SMOOTH = 0
    KINK = 1  # the slopes on the two sides differ
    EDGE = 2  # the function has values on one side only
    SINGULAR = 3  # the slope grows without bound: a vertical tangent or a jump
    UNDEFINED = 4  # the function has no finite values beside the point


class Step(NamedTuple):
    """By how much p weighted sums of a function's values change on each of m lines, and the rounding error in that.

    Both of shape (p, m); and the lengths of the steps really made, shape (m,).
    """

    change: Array
    noise: Array
    length: Array


class Lines:
    """Lines that are followed one at a time: one element of `x` moves, or all of them in a direction.

    Parameters
    ----------
    function
        From an array of the shape of `x` to an array.
    x : ndarray of float64
    weights : ndarray, shape (p, size of the function's result)
        Each row makes one number of the result.
    moves : sequence of int or ndarray
        For each line, the flat index of the element that moves, or a direction of the shape of `x`.
    """

    def __init__(
        self, function: Callable[[Array], Array], x: Array, weights: Array, moves: Sequence[int | Array]
    ) -> None:
        self.function, self.x, self.weights, self.moves = function, x, weights, moves
        self.base = np.asarray(function(x)).ravel()
        self._reached: dict[int, Any] = {}
        self.sizes = np.array([1.0 if isinstance(move, np.ndarray) else abs(x.flat[move]) for move in moves])

    def __call__(self, t: Array) -> Step:
        """Move along every line k by ``t[k]``, shape (m,), not at all where that is NaN."""
        changes = np.full((len(self.weights), len(t)), np.nan, t.dtype)
        noise = np.full(changes.shape, np.nan)
        lengths = np.array(t)
        for k in map(int, np.flatnonzero(np.isfinite(t))):
            moved, lengths[k] = self._moved(self.moves[k], t[k])
            y = _values(self.function, moved, self.base)
            # Differences before sums: what does not move must not add its rounding errors.
            change = y - self.base
            changes[:, k] = self.weights @ change
            # Whatever longer steps have moved may move by less than can be seen.
            self._reached[k] = reached = self._reached.get(k, False) | (change != 0)
            noise[:, k] = np.abs(self.weights) @ np.where(reached, ROUNDING * np.abs(y), 0.0)
        return Step(changes, noise, lengths)

    def _moved(self, move: int | Array, t: Any) -> tuple[Array, Any]:
        if isinstance(move, np.ndarray):
            return self.x + t * move, t
        moved = self.x.astype(t.dtype)
        moved.flat[move] += t
        return moved, moved.flat[move] - self.x.flat[move]  # not quite `t`, in floating point


def _values(function: Callable[[Array], Array], moved: Array, base: Array) -> Array:
    """Return the function's values in the shape of `base`; NaN where it refuses, as beyond its domain some do."""
    try:
        return np.asarray(function(moved)).reshape(base.shape)
    except (ValueError, ArithmeticError):
        return np.full(base.shape, np.nan)


class SeparableLines:
    """The elements of `x`, all followed at once: each element of the function's result depends on one of them.

    Parameters
    ----------
    function
        From an array of the shape of `x` to another of that shape, element by element.
    x : ndarray of float64
    weights : ndarray
        Of the shape of `x`: what each element of the result is multiplied by.
    """

    def __init__(self, function: Callable[[Array], Array], x: Array, weights: Array) -> None:
        self.function, self.x, self.weights = function, x, weights
        self.base = np.asarray(function(x))
        self._reached: Any = False
        self.sizes = np.abs(x).ravel()

    def __call__(self, t: Array) -> Step:
        """Move along all lines, each by its own step."""
        moved = self.x + t.reshape(self.x.shape)
        y = _values(self.function, moved, self.base)
        change = y - self.base
        self._reached = self._reached | (change != 0)
        noise = np.where(self._reached, ROUNDING * np.abs(self.weights * y), 0.0)
        lengths = moved - self.x if np.isrealobj(t) else t
        return Step((self.weights * change).reshape(1, -1), noise.reshape(1, -1), lengths.ravel())


class Slopes(NamedTuple):
    """Derivatives along lines; every array is of shape (p, m).

    The derivative, at a kink the mean of both sides, and an estimate of its error; the slopes on the two sides, NaN
    where the function has no values there; a `Kind` for each; and how far away the nearest kink is that was noticed on
    the way, as a step along the line, NaN if none was.
    """

    value: Array
    error: Array
    below: Array
    above: Array
    kind: Array
    distance: Array


def central_differences(lines: Lines | SeparableLines) -> Array:
    """Return ``(f(x + h) - f(x - h)) / 2h`` with one step, whose error is of the order h²."""
    h = EPS ** (1 / 3) * np.maximum(1.0, lines.sizes)
    with np.errstate(all="ignore"):
        up, down = lines(h), lines(-h)
        return np.asarray((up.change - down.change) / (up.length - down.length))


def slopes(lines: Lines | SeparableLines) -> Slopes:
    """Return the derivatives along all lines by Ridders' method, and what the function looks like there.

    Steps begin at an eighth, of numbers x above 1 at √x / 8, which is between what suits log and what suits sin. They
    are halved until both sides agree and the error is small, or to the end: the table then picks the entry with the
    smallest error. So a kink near the point, or the edge of the domain, costs steps and not the result. For numbers
    near 0 all is done again with steps in proportion to them, if that was not enough.
    """
    sizes = lines.sizes
    with np.errstate(all="ignore"):  # out of the domain of the function there are NaN, and steps get shorter
        found = _ridders(lines, FIRST_STEP * _power_of_two(np.maximum(1.0, np.sqrt(sizes))), np.ones(len(sizes), bool))
        near_zero = (sizes > 0) & (sizes < TINY)
        again = near_zero & ((found.kind != Kind.SMOOTH) | ~_precise(found.error, found.value)).any(axis=0)
        if again.any():
            closer = _ridders(lines, FIRST_STEP * _power_of_two(np.where(again, sizes, 1.0)), again)
            better = again & ((closer.kind < found.kind) | (closer.error < found.error))
            seen = np.where(found.kind == Kind.KINK, sizes, found.distance)  # a kink that is not at the point itself
            closer = closer._replace(distance=np.fmin(closer.distance, seen))
            found = Slopes(*(np.where(better, new, old) for new, old in zip(closer, found)))
    return found


def complex_step(lines: Lines | SeparableLines, found: Slopes) -> Slopes:
    """Return `found` with the complex step's derivatives in place of those that it agrees with.

    A function that is not analytic (``abs``), or takes no complex numbers, does not agree, and nothing changes.
    """
    h = np.full(len(lines.sizes), 1j * IMAGINARY)
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("error")
            exact = lines(h).change.imag / IMAGINARY
    except Exception:  # whatever a function raises that was not written for complex numbers
        return found
    error = 1e-14 * np.maximum(np.abs(exact), np.abs(exact).max(initial=0.0))
    with np.errstate(invalid="ignore"):
        agrees = (found.kind == Kind.SMOOTH) & (np.abs(exact - found.value) <= found.error + error)
    use = agrees & (error < found.error)
    return found._replace(value=np.where(use, exact, found.value), error=np.where(use, error, found.error))


def _power_of_two(x: Array) -> Array:
    return np.exp2(np.round(np.log2(np.maximum(x, np.finfo(float).tiny))))


def _precise(error: Array, value: Array, precision: float = 1e-9) -> Array:
    """Whether errors are small against the values, or against the largest of them."""
    size = np.abs(np.where(np.isfinite(value), value, 0.0))
    return np.asarray(error <= precision * np.maximum(size, 1e-4 * size.max(axis=-1, keepdims=True, initial=0.0)))


class _Table:
    """Difference quotients, extrapolated to step 0; the entry of the smallest error so far.

    An entry of column j is free of the first j terms of the quotient's error, whose powers of the step are
    multiples of `power`. Its own error is taken to be the larger of its differences from the two entries it was made
    of, as in Ridders (1982), and the rounding error of the quotient on top. Two quotients may agree by chance, sin's
    from 1/16 down to 0 and to -1/16; so entries of column 1 must agree with each other too.
    """

    SAFETY = 2.0

    def __init__(self, power: int) -> None:
        self.power = power
        self.row: list[Array] = []
        self.before: list[Array] = []  # the quotient of the level before that of `row`
        self.value: Any = np.nan
        self.error: Any = np.inf

    def add(self, quotient: Array, noise: Array) -> Array:
        """Add the quotients of the next shorter step, and return where that made the best entry better."""
        self._forget_coincidences(quotient, noise)
        row = [quotient]
        improved = np.zeros(quotient.shape, bool)
        for j, old in enumerate(self.row[:COLUMNS], 1):
            last = row[-1]
            new = last + (last - old) / (2.0 ** (self.power * j) - 1)
            spread: Any = np.maximum(np.abs(new - last), np.abs(new - old))
            if j == 1:
                spread = np.maximum(spread, np.abs(new - self.row[1])) if len(self.row) > 1 else np.inf
            error = self.SAFETY * (spread + noise)
            better = error < self.error
            self.value = np.where(better, new, self.value)
            self.error = np.where(better, error, self.error)
            improved |= better
            row.append(new)
        self.row, self.before = row, self.row[:1]
        return improved

    def _forget_coincidences(self, quotient: Array, noise: Array) -> None:
        """Drop best entries that long steps agreed on by chance: where quotients settled elsewhere since."""
        if self.before:
            size = np.abs(quotient)
            spread = np.maximum(np.abs(quotient - self.row[0]), np.abs(quotient - self.before[0]))
            elsewhere = np.abs(quotient - self.value) > 0.5 * size + self.error + 8 * noise
            self.error = np.where(elsewhere & (spread <= 0.1 * size + 4 * noise), np.inf, self.error)


def _ridders(lines: Lines | SeparableLines, first: Array, wanted: Array) -> Slopes:
    central, below, above = _Table(2), _Table(1), _Table(1)
    active, idle = wanted.copy(), np.zeros(len(first), int)
    sides: list[tuple[Array, Array]] = []  # the plain quotients of every level
    for level in range(LEVELS):
        t = np.where(active, first * 2.0**-level, np.nan)
        up, down = lines(t), lines(-t)
        right, left = up.change / up.length, down.change / down.length
        noise = np.fmax(up.noise, down.noise) / t
        improved = central.add((up.change - down.change) / (up.length - down.length), noise)
        improved |= above.add(right, 2 * noise) | below.add(left, 2 * noise)
        sides.append((left, right))
        if level == 0:
            continue
        agree = _agree(below, above)
        idle = np.where(improved.any(axis=0), 0, idle + 1)
        settled = agree & _precise(central.error, central.value) & _precise(below.error, below.value, 1e-6)
        exhausted = agree & _precise(below.error, below.value, 1e-3)  # it is smooth, and rounding stops the progress
        active &= ~(settled.all(axis=0) | (exhausted.all(axis=0) & (idle > 6)))
        if not active.any():
            break
    return _classified(central, below, above, sides, first)


def _agree(below: _Table, above: _Table) -> Array:
    gap = np.abs(above.value - below.value)
    size = np.maximum(np.abs(above.value), np.abs(below.value))
    return np.asarray(gap <= below.error + above.error + 1e-7 * size)


def _classified(
    central: _Table, below: _Table, above: _Table, sides: list[tuple[Array, Array]], first: Array
) -> Slopes:
    left, right = (np.array(side) for side in zip(*sides))
    has_left, has_right = np.isfinite(below.error), np.isfinite(above.error)
    both, one = has_left & has_right, has_left ^ has_right
    vertical = _grows(left) | _grows(right)
    kind = np.select(
        [~has_left & ~has_right, vertical, one, both & ~_agree(below, above)],
        [Kind.UNDEFINED, Kind.SINGULAR, Kind.EDGE, Kind.KINK],
        Kind.SMOOTH,
    )
    side = np.where(has_left, below.value, above.value)
    side_error = np.where(has_left, below.error, above.error)
    mean, mean_error = (below.value + above.value) / 2, below.error + above.error
    # Beside a kink, long central steps settle on the mean of its two slopes, which no side has at the point.
    astray = np.abs(central.value - mean) > central.error + mean_error + 1e-7 * np.abs(mean)
    two_sided = (kind == Kind.KINK) | (both & astray)
    return Slopes(
        value=np.select([kind == Kind.EDGE, two_sided], [side, mean], central.value),
        error=np.select([kind == Kind.EDGE, two_sided], [side_error, mean_error], central.error),
        below=np.where(has_left, below.value, np.nan),
        above=np.where(has_right, above.value, np.nan),
        kind=kind,
        distance=np.where(kind == Kind.KINK, 0.0, _distance_of_kink(left, right, first)),
    )


def _grows(quotients: Array) -> Array:
    """Whether the quotients of one side, shape (levels, p, m), grow with every shorter step, to the last of many."""
    if len(quotients) < LEVELS:  # or the steps would not have gone on to the end
        return np.zeros(quotients.shape[1:], bool)
    ratios = np.abs(quotients[-12:] / quotients[-13:-1])
    return np.asarray((ratios > 1.1).all(axis=0))


def _distance_of_kink(left: Array, right: Array, first: Array) -> Array:
    """Return how far the kink is away that longer steps went across and shorter ones did not; NaN if there is none.

    Beyond a kink at distance d the slopes to the two sides differ by J (1 - d/h), which two steps tell. Where the
    function is smooth the difference shrinks at most eightfold when the step is halved.
    """
    gap = np.abs(right - left)
    size = np.maximum(np.abs(left), np.abs(right))
    distance = np.full(gap.shape[1:], np.nan)
    for level in range(1, len(gap) - 1):
        h = first * 2.0**-level
        crossed = (gap[level] > 0.05 * size[level]) & (gap[level] > 16 * gap[level + 1])
        jump = 2 * gap[level - 1] - gap[level]
        estimate = np.clip(h * (1 - gap[level] / jump), h / 2, h)
        distance = np.where(crossed & np.isnan(distance), np.where(np.isfinite(estimate), estimate, h), distance)
    return distance


# --- judging derivatives by them -----------------------------------------------------------------------


class Tolerance(NamedTuple):
    """A difference of up to ``atol + rtol * |derivative|`` is accepted, and the finite differences' own error.

    Left out, `rtol` is 1e-6 and `atol` 1e-9 times the largest derivative.
    """

    rtol: float | None = None
    atol: float | None = None

    def allowed(self, analytic: Array, numeric: Array) -> Array:
        """Return the differences that are accepted."""
        given, found = (np.where(np.isfinite(x), np.abs(x), 0.0) for x in (analytic, numeric))
        rtol = 1e-6 if self.rtol is None else self.rtol
        atol = 1e-9 * found.max(initial=0.0) + 1e-14 if self.atol is None else self.atol
        return np.asarray(atol + rtol * np.maximum(given, found))


class Judgement(NamedTuple):
    """The verdict on every derivative, in arrays of one shape.

    Attributes
    ----------
    analytic, numeric, error
        What was to be checked; what finite differences say, and their error.
    wrong, kinked, singular, undecided
        Masks: the derivative is wrong; it was accepted as lying between the two slopes of a kink; the slope is infinite
        or there is none; differences are too inexact here to say.
    distance
        How far away a kink is that was noticed; NaN if none was.
    """

    analytic: Array
    numeric: Array
    error: Array
    wrong: Array
    kinked: Array
    singular: Array
    undecided: Array
    distance: Array

    def worst(self) -> tuple[int, ...]:
        """Return the index of the derivative that is off most."""
        excess = np.where(self.wrong, np.abs(self.analytic - self.numeric), -1.0)
        return tuple(map(int, np.unravel_index(np.argmax(np.where(np.isnan(excess), np.inf, excess)), excess.shape)))


def judge(analytic: Array, found: Slopes, tolerance: Tolerance) -> Judgement:
    """Compare derivatives with finite differences.

    At a kink every slope between those of the two sides is accepted. Where there is no finite slope, everything is but
    NaN.
    """
    numeric = found.value
    allowed = tolerance.allowed(analytic, numeric)
    kink = found.kind == Kind.KINK
    singular = (found.kind == Kind.SINGULAR) | (found.kind == Kind.UNDEFINED)
    with np.errstate(invalid="ignore"):
        low = np.where(kink, np.minimum(found.below, found.above), numeric)
        high = np.where(kink, np.maximum(found.below, found.above), numeric)
        margin = allowed + np.where(np.isfinite(found.error), found.error, 0.0)
        right = np.where(singular, ~np.isnan(analytic), (analytic >= low - margin) & (analytic <= high + margin))
    vague = found.error > np.maximum(1e-3 * np.abs(numeric), 10 * allowed)
    undecided = right & ~singular & ~kink & vague
    return Judgement(analytic, numeric, found.error, ~right, right & kink, singular, undecided, found.distance)


def quick_slopes(lines: Lines, expected: Array, tolerance: Tolerance) -> Slopes:
    """Return plain central differences, and extrapolated ones where these do not agree with what is expected."""
    plain = central_differences(lines)
    with np.errstate(invalid="ignore"):
        near = (np.abs(plain - expected) <= tolerance.allowed(expected, plain)).all(axis=0)
    nothing = np.zeros(plain.shape)
    found = Slopes(plain, nothing, plain.copy(), plain.copy(), nothing.astype(int), np.full(plain.shape, np.nan))
    doubtful = np.flatnonzero(~near)
    if len(doubtful):
        better = slopes(Lines(lines.function, lines.x, lines.weights, [lines.moves[k] for k in map(int, doubtful)]))
        for whole, part in zip(found, better):
            whole[:, doubtful] = part
    return found
