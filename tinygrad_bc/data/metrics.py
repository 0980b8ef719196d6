"""How good a model is, and how sure that is: bootstrap intervals, and what the mistakes cost at each threshold."""

from __future__ import annotations

from collections.abc import Callable
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from tinygrad_bc.data.validation import as_array, check_finite, check_labels, check_lengths, number_groups
from tinygrad_bc.errors import ArgumentError, DataError, ShapeError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.record import Array

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Interval", "binary_outcomes", "bootstrap_interval", "threshold_costs"]


class Interval(NamedTuple):
    """A metric's value on all rows, and the ends of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def bootstrap_interval(
    metric: Callable[[Array, Array], Any],
    y: Any,
    p: Any,
    generator: np.random.Generator | int,
    level: float = 0.95,
    *,
    method: Literal["bca", "percentile"] = "bca",
    resamples: int = 2000,
    groups: Any = None,
) -> Interval:
    """Return a confidence interval of a metric: how much it would vary, had other samples been drawn.

    The metric is computed on `resamples` draws of n rows with replacement; the ends are quantiles of its values θ*.
    ``percentile`` takes those at (1 ∓ level)/2 (Efron, "Bootstrap methods", 1979; Efron and Tibshirani, "An
    introduction to the bootstrap", 1993, eq. 13.4). ``bca`` corrects them for bias z₀ and skewness a (Efron, "Better
    bootstrap confidence intervals", 1987; Efron and Tibshirani, eq. 14.10): α = Φ(z₀ + (z₀ + z) / (1 − a (z₀ + z))),
    with z₀ = Φ⁻¹(share of θ* below θ), equal ones counted half, a = Σd³ / 6 (Σd²)^1.5 and d = mean(θ₍·₎) − θ₍ᵢ₎ of the
    values with one row left out.

    Parameters
    ----------
    metric : callable
        ``metric(y, p)`` of arrays with equally many rows, a number: `sklearn.metrics.roc_auc_score`, for example.
    y, p : array_like of n rows
        Targets, and what the model made of them.
    generator : numpy.random.Generator or int
        Where the draws come from.
    level : float
        The share of such intervals that hold the true value, above 0 and below 1.
    method : {'bca', 'percentile'}
    resamples : int
    groups : array_like of shape (n,), optional
        Whole groups are drawn, and left out, instead of rows: rows of one patient say less than as many rows of several
        (Field and Welsh, "Bootstrapping clustered data", 2007).

    Raises
    ------
    ArgumentError
        If level, method or resamples are none.
    DataError
        If numbers of rows differ, there is only one row or group, or the metric is NaN or infinite on a draw.
    """
    if not 0 < level < 1:
        raise ArgumentError(f"level={level!r}: expected a share above 0 and below 1, e.g. 0.95")
    if method not in ("bca", "percentile"):
        raise ArgumentError(f"method={method!r}: expected 'bca' or 'percentile'")
    if resamples < 1 / (1 - level):
        raise ArgumentError(f"resamples={resamples!r}: too few for the tails of {level:.0%}; expected 1000 or more")
    y, p = as_array(y, "y"), as_array(p, "p")
    n = check_lengths(y, p, names=("y", "p"))
    units = _units(n, groups)
    generator = as_generator(generator, "bootstrap_interval")

    def on(chosen: Array) -> float:
        rows = np.concatenate([units[i] for i in chosen]) if groups is not None else chosen
        return _number(metric(y[rows], p[rows]))

    count = len(units)
    everything = np.arange(count)
    value = on(everything)
    draws = np.array([on(generator.integers(0, count, count)) for _ in range(resamples)])
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "bca":
        left_out = np.array([on(np.delete(everything, i)) for i in everything])
        tails = _corrected(tails, value, draws, left_out)
    low, high = np.quantile(draws, tails)
    return Interval(value, float(low), float(high))


def _units(n: int, groups: Any) -> list[Array]:
    """Return the numbers of the rows that are drawn together."""
    if groups is None:
        units = list(np.arange(n)[:, None])
    else:
        owners = number_groups(groups, n, "groups")
        units = np.split(np.argsort(owners, kind="stable"), np.cumsum(np.bincount(owners))[:-1])
    if len(units) < 2:
        raise DataError("a single row, or group, does not tell how much the metric varies; expected at least 2")
    return units


def _number(value: Any) -> float:
    if np.ndim(value) or not np.isfinite(value):
        raise DataError(
            f"the metric returned {value}; expected a finite number on every draw of rows. Perhaps a draw may hold "
            "a single class, where an area under the curve is not defined: more rows of it are needed"
        )
    return float(value)


def _corrected(tails: Array, value: float, draws: Array, left_out: Array) -> Array:
    """Return the tails of the BCa interval."""
    normal = NormalDist()
    below = float(np.mean(draws < value) + np.mean(draws <= value)) / 2
    if not 0 < below < 1:
        raise DataError(
            f"the metric is {value} on all rows, and on every draw it is {'below' if below else 'above'} that, so its "
            "bias cannot be corrected; pass method='percentile', and mistrust a metric that depends on repeated rows"
        )
    bias = normal.inv_cdf(below)
    d = left_out.mean() - left_out
    spread = float((d**2).sum()) ** 1.5
    skewness = float((d**3).sum()) / (6 * spread) if spread else 0.0  # 0: no row matters, as in a perfect accuracy
    shifted = [bias + normal.inv_cdf(float(tail)) for tail in tails]
    return np.array([normal.cdf(bias + z / (1 - skewness * z)) for z in shifted])


def threshold_costs(y: Any, p: Any, *, false_negative: float, false_positive: float = 1.0) -> pd.DataFrame:
    """Return what the mistakes cost at every threshold that makes a difference.

    A sample is called positive where p > threshold. For probabilities that are true, the cheapest threshold is
    false_positive / (false_positive + false_negative) (Elkan, "The foundations of cost-sensitive learning", 2001,
    eq. 2).

    Parameters
    ----------
    y : array_like of shape (n,)
        0 or 1.
    p : array_like of shape (n,)
        Probabilities of 1.
    false_negative, false_positive : float
        The costs of a missed positive and of a false alarm; for a malignant sample called benign the first is larger.

    Returns
    -------
    DataFrame
        A row for each threshold, rising from 0 to 1: ``threshold``, ``false_negatives``, ``false_positives``, ``cost``.
        Choose by the validation rows, and report the test rows.

    Raises
    ------
    ArgumentError
        If a cost is negative or not finite.
    DataError, ShapeError
        If y or p are not as above.
    """
    import pandas as pd

    if not (0 <= false_negative < np.inf and 0 <= false_positive < np.inf):
        raise ArgumentError(f"costs {false_negative!r} and {false_positive!r}: expected finite ones, not negative")
    y, p = binary_outcomes(y, p)
    thresholds = np.unique([0.0, *p, 1.0])
    missed = np.searchsorted(np.sort(p[y == 1]), thresholds, side="right")
    alarms = (y == 0).sum() - np.searchsorted(np.sort(p[y == 0]), thresholds, side="right")
    cost = false_negative * missed + false_positive * alarms
    columns = {"threshold": thresholds, "false_negatives": missed, "false_positives": alarms, "cost": cost}
    return pd.DataFrame(columns)


def binary_outcomes(y: Any, p: Any) -> tuple[Array, Array]:
    """Return targets of two classes, and their probabilities, as arrays of shape (n,), after checking them.

    Raises
    ------
    ShapeError
        If an array has more than one axis.
    DataError
        If numbers of rows differ, y holds anything but 0 and 1, or not both, or p leaves the interval from 0 to 1.
    """
    check_lengths(y, p, names=("y", "p"))
    check_labels(y, 2, "y")
    check_finite(p, "p")
    targets, probabilities = as_array(y, "y"), as_array(p, "p")
    for name, array in (("y", targets), ("p", probabilities)):
        if array.ndim != 1:
            raise ShapeError(f"{name} has the shape {array.shape}; expected (n,), so pass {name}.ravel()")
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise DataError(
            f"p runs from {probabilities.min():.4g} to {probabilities.max():.4g}; expected probabilities, from 0 to 1: "
            "put scores through a sigmoid first"
        )
    if targets.min() == targets.max():
        raise DataError(f"y holds the class {targets[0]} alone; expected samples of both, 0 and 1")
    return targets.astype(int), probabilities
