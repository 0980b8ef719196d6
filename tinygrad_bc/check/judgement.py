"""What is right and what is wrong, element by element, given the errors of the finite differences themselves."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tinygrad_bc.check.differences import Kind, Slopes
from tinygrad_bc.record import Array

__all__ = ["Judgement", "Tolerance", "judge"]


class Tolerance(NamedTuple):
    """A difference of up to ``atol + rtol * |derivative|`` is accepted, and the finite differences' own error.

    Left out, `rtol` is 1e-6 and `atol` 1e-9 times the largest derivative.
    """

    rtol: float | None = None
    atol: float | None = None

    def allowed(self, analytic: Array, numeric: Array) -> Array:
        """Return the differences that are accepted."""
        rtol = 1e-6 if self.rtol is None else self.rtol
        atol = 1e-9 * _largest(numeric) + 1e-14 if self.atol is None else self.atol
        return np.asarray(atol + rtol * np.maximum(_finite(analytic), _finite(numeric)))


class Judgement(NamedTuple):
    """The verdict on every derivative, in arrays of one shape.

    Attributes
    ----------
    analytic, numeric, error
        What was to be checked; what finite differences say, and their error.
    below, above
        The slopes on the two sides.
    wrong, kinked, singular, undecided
        Masks: the derivative is wrong; it was accepted as lying between the two slopes of a kink; the slope is infinite
        or there is none; differences are too inexact here to say.
    distance
        How far away a kink is that was noticed; NaN if none was.
    """

    analytic: Array
    numeric: Array
    error: Array
    below: Array
    above: Array
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
    return Judgement(
        analytic=analytic,
        numeric=numeric,
        error=found.error,
        below=found.below,
        above=found.above,
        wrong=~right,
        kinked=right & kink,
        singular=singular,
        undecided=right & ~singular & ~kink & vague,
        distance=found.distance,
    )


def _finite(x: Array) -> Array:
    return np.where(np.isfinite(x), np.abs(x), 0.0)


def _largest(x: Array) -> float:
    return float(_finite(x).max(initial=0.0))
