"""Charts of a model's quality. Each function returns a figure; `save_figure` writes it."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.data.metrics import binary_outcomes, threshold_costs
from tinygrad_bc.data.validation import as_array, check_lengths
from tinygrad_bc.draw.plots import BLUE, ORANGE, _figure
from tinygrad_bc.errors import ArgumentError, DataError, MissingDependencyError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["calibration_curves", "precision_recall_curves", "roc_curves", "threshold_sweep", "training_curves"]

# Okabe and Ito's, told apart by colour-blind readers too; and by the dashes, in print.
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
GREY = "0.45"

Outcomes = Mapping[str, tuple[Any, Any]]


def training_curves(
    training: ArrayLike,
    validation: ArrayLike,
    epochs: ArrayLike | None = None,
    *,
    title: str = "Training and validation",
    ylabel: str = "loss",
) -> Figure:
    """Return a chart of the loss on training and on validation rows, with the epoch where validation was best.

    Where validation rises while training goes on falling, the network overfits (Prechelt, "Early stopping — but
    when?", 1998).

    Parameters
    ----------
    training, validation : array_like of shape (epochs,)
        The losses after each epoch; NaN where none was measured.
    epochs : array_like of shape (epochs,), optional
        Their numbers, by default from 1.

    Raises
    ------
    DataError
        If numbers of epochs differ, or there are none.
    """
    losses = {"training": as_array(training, "training"), "validation": as_array(validation, "validation")}
    n = check_lengths(*losses.values(), names=tuple(losses))
    steps = np.arange(1, n + 1) if epochs is None else as_array(epochs, "epochs")
    check_lengths(steps, losses["training"], names=("epochs", "training"))
    figure = _figure(6, 3.6)
    axes = figure.add_subplot(title=title, xlabel="epoch", ylabel=ylabel)
    for (name, values), colour, dashes in zip(losses.items(), COLOURS, DASHES):
        known = np.isfinite(values)
        marker = "o" if known.sum() <= 30 else None
        axes.plot(steps[known], values[known], dashes, color=colour, linewidth=2.5, marker=marker, label=name)
    if np.isfinite(losses["validation"]).any():
        best = np.nanargmin(losses["validation"])
        label = f"best: {losses['validation'][best]:.4g} in epoch {steps[best]:g}"
        axes.axvline(steps[best], color=GREY, linestyle=":", linewidth=1.8, label=label)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def threshold_sweep(y: ArrayLike, p: ArrayLike, *, false_negative: float, false_positive: float = 1.0) -> Figure:
    """Return a chart of mistakes, and of what they cost, over the threshold: `tinygrad_bc.data.threshold_costs`.

    Parameters
    ----------
    y : array_like of shape (n,)
        0 or 1.
    p : array_like of shape (n,)
        Probabilities of 1.
    false_negative, false_positive : float
        The costs of a missed positive and of a false alarm.
    """
    table = threshold_costs(y, p, false_negative=false_negative, false_positive=false_positive)
    thresholds, costs = table["threshold"].to_numpy(), table["cost"].to_numpy()
    figure = _figure(6, 5.6)
    above, below = figure.subplots(2, 1, sharex=True)
    kinds = (("false_negatives", "missed positives", ORANGE, "--"), ("false_positives", "false alarms", BLUE, "-"))
    for column, label, colour, dashes in kinds:
        above.step(thresholds, table[column], dashes, where="post", color=colour, linewidth=2.2, label=label)
    above.set(ylabel="mistakes", title=f"A missed positive costs {false_negative:g}, a false alarm {false_positive:g}")
    below.step(thresholds, costs, where="post", color="black", linewidth=2.2)
    low, high = _cheapest(thresholds, costs)
    below.axvspan(low, high, color=GREY, alpha=0.35, label=f"cheapest, {costs.min():g}: from {low:.3g} to {high:.3g}")
    if false_negative + false_positive > 0:
        ideal = false_positive / (false_positive + false_negative)
        below.axvline(ideal, color=BLUE, linestyle=":", linewidth=1.8, label=f"if p were exact: {ideal:.3g}")
    below.set(xlabel="called positive where p >", ylabel="cost", xlim=(0, 1))
    _show_from_0(above, thresholds, table[["false_negatives", "false_positives"]].max(axis=1).to_numpy())
    _show_from_0(below, thresholds, costs)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def _show_from_0(axes: Axes, thresholds: np.ndarray[Any, Any], heights: np.ndarray[Any, Any]) -> None:
    """Make the axis as high as is needed from 0.05 to 0.95: at the ends all samples are called the same."""
    first, last = np.searchsorted(thresholds, [0.05, 0.95], side="right")
    axes.set_ylim(0, 1.1 * heights[first - 1 : last].max() or 1.0)
    axes.grid(alpha=0.3)


def _cheapest(thresholds: np.ndarray[Any, Any], costs: np.ndarray[Any, Any]) -> tuple[float, float]:
    """Return the widest range of thresholds, up to the next one, with the lowest cost."""
    edges = np.flatnonzero(np.diff([False, *(costs == costs.min()), False]))
    stops = np.append(thresholds, thresholds[-1])
    ranges = [(float(thresholds[start]), float(stops[stop])) for start, stop in edges.reshape(-1, 2)]
    return max(ranges, key=lambda ends: ends[1] - ends[0])


def roc_curves(outcomes: Outcomes) -> Figure:
    """Return ROC curves, with the areas under them (Fawcett, "An introduction to ROC analysis", 2006).

    Parameters
    ----------
    outcomes : mapping of str to (y, p)
        Targets, 0 or 1, and probabilities of 1, both of shape (n,), under the curve's name.

    Raises
    ------
    DataError, ShapeError
        If the outcomes are not as above; `tinygrad_bc.data.binary_outcomes`.
    MissingDependencyError
        If matplotlib or scikit-learn is not installed.
    """
    metrics = _sklearn_metrics()
    figure = _figure(4.6, 4.6)
    axes = figure.add_subplot(title="ROC", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    for (name, (y, p)), style in zip(_checked(outcomes).items(), _styles()):
        false_rate, true_rate, _ = metrics.roc_curve(y, p)
        label = f"{name}, area {metrics.roc_auc_score(y, p):.4f}"
        axes.plot(false_rate, true_rate, linewidth=2.2, label=label, **style)
    axes.plot([0, 1], [0, 1], ":", color=GREY, label="guessing, area 0.5")
    _unit_square(axes)
    return figure


def precision_recall_curves(outcomes: Outcomes) -> Figure:
    """Return precision-recall curves, with the average precision, the area under the steps.

    Where positives are rare they show what ROC curves hide (Davis and Goadrich, "The relationship between
    precision-recall and ROC curves", 2006; linear interpolation between the points would be wrong, sec. 4).

    Parameters
    ----------
    outcomes : mapping of str to (y, p)
        As of `roc_curves`, which raises the same errors.
    """
    metrics = _sklearn_metrics()
    figure = _figure(4.6, 4.6)
    axes = figure.add_subplot(title="Precision and recall", xlabel="recall", ylabel="precision", aspect="equal")
    for (name, (y, p)), style in zip(_checked(outcomes).items(), _styles()):
        precision, recall, _ = metrics.precision_recall_curve(y, p)
        label = f"{name}, area {metrics.average_precision_score(y, p):.4f}"
        axes.step(recall, precision, where="post", linewidth=2.2, label=label, **style)
        axes.axhline(y.mean(), color=style["color"], linestyle=":", linewidth=1, alpha=0.7)
    axes.plot([], [], ":", color=GREY, label="guessing")
    _unit_square(axes)
    return figure


def calibration_curves(outcomes: Outcomes, bins: int = 10) -> Figure:
    """Return reliability curves: of the samples called 70% malignant, are 70%? Below, how many are called what.

    (DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983; Niculescu-Mizil and Caruana,
    "Predicting good probabilities with supervised learning", 2005.) The legend has the Brier score, the mean of
    (p − y)² (Brier, "Verification of forecasts expressed in terms of probability", 1950). The pale bars are 95%
    intervals of the shares (Wilson, "Probable inference, the law of succession, and statistical inference", 1927):
    a point far from the diagonal says little where its bar is long.

    Parameters
    ----------
    outcomes : mapping of str to (y, p)
        As of `roc_curves`, which raises the same errors.
    bins : int
        How many equal parts of the interval from 0 to 1 samples are gathered in.

    Raises
    ------
    ArgumentError
        If `bins` is not positive.
    """
    if bins < 1:
        raise ArgumentError(f"bins={bins!r}: expected a positive number of them")
    figure = _figure(4.6, 6.6)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.linspace(0, 1, bins + 1)
    for (name, (y, p)), style in zip(_checked(outcomes).items(), _styles()):
        bin_of = np.searchsorted(edges[1:-1], p)
        counts = np.bincount(bin_of, minlength=bins)
        used = counts > 0
        called, share = (np.bincount(bin_of, x, bins)[used] / counts[used] for x in (p, y))
        label = f"{name}, Brier score {np.mean((p - y) ** 2):.4f}"
        above.plot(called, share, marker="o", linewidth=1.5, label=label, **style)
        above.vlines(called, *_wilson(share, counts[used]), color=style["color"], linewidth=4, alpha=0.25)
        below.stairs(counts, edges, linewidth=2, color=style["color"], linestyle=style["linestyle"])
    above.plot([0, 1], [0, 1], ":", color=GREY, label="perfect")
    above.set(title="Calibration", ylabel="share of positives", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.set(xlabel="predicted probability", ylabel="samples")
    figure.legend(*above.get_legend_handles_labels(), loc="outside lower center", frameon=False)
    for axes in (above, below):
        axes.grid(alpha=0.3)
    return figure


def _wilson(share: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Return the ends of the 95% interval of a share of so many samples."""
    z = NormalDist().inv_cdf(0.975)
    middle = share + z**2 / (2 * counts)
    half = z * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return (middle - half) / (1 + z**2 / counts), (middle + half) / (1 + z**2 / counts)


def _checked(outcomes: Outcomes) -> dict[str, tuple[Any, Any]]:
    if not 0 < len(outcomes) <= len(COLOURS):
        raise ArgumentError(f"{len(outcomes)} curves were given; expected 1 to {len(COLOURS)}, to be told apart")
    checked = {}
    for name, (y, p) in outcomes.items():
        try:
            checked[name] = binary_outcomes(y, p)
        except DataError as error:
            raise DataError(f"{name}: {error}") from None
    return checked


def _styles() -> list[dict[str, Any]]:
    return [{"color": colour, "linestyle": dashes} for colour, dashes in zip(COLOURS, DASHES)]


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")


def _sklearn_metrics() -> Any:
    try:
        from sklearn import metrics
    except ImportError as error:
        raise MissingDependencyError('this chart needs scikit-learn: pip install "tinygrad_bc[data]"') from error
    return metrics
