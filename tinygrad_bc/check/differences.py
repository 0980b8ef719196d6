"""Derivatives by finite differences, which know nothing of the chain rule."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_bc.record import Array

__all__ = ["central_differences", "one_sided_differences"]


def _shifted(x: Array, index: tuple[int, ...], step: float) -> Array:
    moved = x.copy()
    moved[index] += step
    return moved


def central_differences(function: Callable[[Array], float], x: Array, step: float) -> Array:
    """Return the derivative of a number with respect to every element of `x`.

    ``(f(x + h) - f(x - h)) / 2h``, whose error is of the order h² where `function` has three
    derivatives. At a kink it is the mean of the slopes on the two sides.

    Parameters
    ----------
    function
        From an array of the shape of `x` to a number.
    x : ndarray of float64
    step : float
        h, for elements of size up to 1; for larger ones in proportion.
    """
    result = np.empty(x.shape)
    for index in np.ndindex(x.shape):
        h = step * max(1.0, abs(float(x[index])))
        result[index] = (function(_shifted(x, index, h)) - function(_shifted(x, index, -h))) / (2 * h)
    return result


def one_sided_differences(
    function: Callable[[Array], float], x: Array, index: tuple[int, ...], step: float
) -> tuple[float, float]:
    """Return the slopes just below and just above one element of `x`.

    ``±(4 f(x ± h) - f(x ± 2h) - 3 f(x)) / 2h``, whose error is of the order h² on a side where
    `function` is smooth, whatever it does on the other. It is computed with ever shorter steps, down to
    a thousandth of `step`, and taken where it changes least: long steps may cross another kink or leave the
    domain of the function, short ones drown in rounding. NaN if a side is not in the domain at all.
    """
    here = function(x)

    def slope(h: float) -> float:
        return (4 * function(_shifted(x, index, h)) - function(_shifted(x, index, 2 * h)) - 3 * here) / (2 * h)

    steps = step * max(1.0, abs(float(x[index]))) * np.geomspace(1, 1e-3, 7)
    return _most_stable([slope(-h) for h in steps]), _most_stable([slope(h) for h in steps])


def _most_stable(estimates: list[float]) -> float:
    """Return the estimate that differs least from the one before it."""
    changes = np.abs(np.diff(estimates))
    return float(estimates[np.nanargmin(changes) + 1]) if np.isfinite(changes).any() else np.nan
