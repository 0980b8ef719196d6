"""The whole function's gradient, end to end, input by input."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import directions, sample, signed
from tinygrad_bc.check.differences import Lines, Slopes, central_differences, slopes
from tinygrad_bc.check.judgement import Judgement, Tolerance, judge
from tinygrad_bc.record import Array

__all__ = ["Total", "check_total", "cotangents", "quick_slopes"]

MOST_ELEMENTS = 60
DIRECTIONS = 3
SMALL_JACOBIAN = 400


class Total(NamedTuple):
    """The gradient with respect to one input, checked.

    Attributes
    ----------
    name, shape
        Of the input.
    where : ndarray
        The flat indices of the elements that were checked.
    judgement : Judgement
        In arrays of shape (number of cotangents, number of elements and then directions).
    jacobian : bool
        Whether the cotangents were random ones and then every unit vector: the full Jacobian.
    rounding : float
        For an input of lower precision than float64: how far the gradient is from the one computed in float64, relative
        to the largest element, in units of the precision; else 0.
    """

    name: str
    shape: tuple[int, ...]
    where: Array
    judgement: Judgement
    jacobian: bool
    rounding: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.judgement.wrong.any()

    @property
    def directions(self) -> int:
        """How many random directions were checked."""
        return self.judgement.analytic.shape[1] - len(self.where)

    @property
    def worst(self) -> tuple[int, ...]:
        """The index of the element that is off most; () if only a direction is, or there is none."""
        column = self._worst[1]
        if column >= len(self.where):
            return ()
        return tuple(map(int, np.unravel_index(self.where[column], self.shape)))

    @property
    def analytic(self) -> float:
        """The derivative at the worst element."""
        return float(self.judgement.analytic[self._worst]) if self.judgement.analytic.size else 0.0

    @property
    def numeric(self) -> float:
        """The finite difference at the worst element."""
        return float(self.judgement.numeric[self._worst]) if self.judgement.numeric.size else 0.0

    @property
    def _worst(self) -> tuple[int, ...]:
        j = self.judgement
        if not j.analytic.size:
            return (0, 0)
        misses = self._misses()
        return j.worst() if j.wrong.any() else tuple(map(int, np.unravel_index(np.argmax(misses), misses.shape)))

    def _misses(self) -> Array:
        """Return the differences; -1 where they say nothing."""
        j = self.judgement
        with np.errstate(invalid="ignore"):
            return np.where(j.kinked | j.singular.any(axis=0), -1.0, np.abs(j.analytic - j.numeric))

    def __str__(self) -> str:
        place = f"{self.name}[{', '.join(map(str, self.worst))}]" if self.worst else self.name
        if self._worst[1] >= len(self.where) > 0:
            place = "in a random direction"
        if self.ok:
            j = self.judgement
            kinks = int((j.kinked | j.singular)[:, : len(self.where)].any(axis=0).sum())
            beside = f", kinks {kinks}" if kinks else ""
            largest = max(0.0, self._misses().max(initial=0.0))
            return f"ok    {self.name} {self.shape}: largest difference {largest:.1e}{beside}"
        return (
            f"WRONG {self.name} {self.shape}: {place}: analytic {self.analytic:+.9g}, finite differences "
            f"{self.numeric:+.9g}"
        )


def cotangents(sizes: list[int], jacobian: bool, count: int, rng: np.random.Generator) -> Array:
    """Return random cotangents of all outputs together, one a row, and below them every unit vector if asked for."""
    size = sum(sizes)
    random = signed((count, size), rng)
    return np.concatenate([random, np.eye(size)]) if jacobian else random


def check_total(
    name: str,
    function: Callable[[Array], Array],
    x: Array,
    weights: Array,
    analytic: Array,
    *,
    rng: np.random.Generator,
    tolerance: Tolerance,
    thorough: bool,
    jacobian: bool,
) -> Total:
    """Check the gradient with respect to `x`.

    Parameters
    ----------
    name
        Of the input.
    function
        From an array of the shape of `x` to all outputs, in one array of one axis.
    x
        The input.
    weights : ndarray, shape (p, number of outputs)
        The cotangents.
    analytic : ndarray, shape (p, *x.shape)
        The gradient for each of them.
    rng, tolerance
        What is drawn at random, and how much difference is accepted.
    thorough : bool
        Whether everything is extrapolated; or else only that which does not agree with plain central differences.
    jacobian : bool
        Whether the cotangents hold every unit vector.
    """
    where = sample(x.size, MOST_ELEMENTS, rng)
    tried = directions(x, DIRECTIONS, rng) if len(where) < x.size else []
    flat = analytic.reshape(len(weights), -1)
    columns = [flat[:, where], *((flat @ direction.reshape(-1, 1)) for direction in tried)]
    expected = np.concatenate(columns, axis=1)
    lines = Lines(function, x, weights, [*map(int, where), *tried])
    found = slopes(lines) if thorough else quick_slopes(lines, expected, tolerance)
    judgement = judge(expected, found, tolerance)
    # A direction in which there is a kink, or the edge of the domain, says nothing: many elements move at once.
    unclear = (found.kind != 0) & (np.arange(expected.shape[1]) >= len(where))
    unclear |= judgement.singular.any(axis=0)  # for other cotangents, the derivative there is 0 · ∞
    return Total(name, x.shape, where, judgement._replace(wrong=judgement.wrong & ~unclear), jacobian)


def quick_slopes(lines: Lines, expected: Array, tolerance: Tolerance) -> Slopes:
    """Return plain central differences, and extrapolated ones where these do not agree with what is expected."""
    plain = central_differences(lines)
    with np.errstate(invalid="ignore"):
        near = (np.abs(plain - expected) <= tolerance.allowed(expected, plain)).all(axis=0)
    nothing = np.zeros(plain.shape)
    found = Slopes(plain, nothing, plain.copy(), plain.copy(), nothing.astype(int), np.full(plain.shape, np.nan))
    doubtful = [int(k) for k in np.flatnonzero(~near)]
    if not doubtful:
        return found
    better = slopes(Lines(lines.function, lines.x, lines.weights, [lines.moves[k] for k in doubtful]))
    for whole, part in zip(found, better):
        whole[:, doubtful] = part
    return found
