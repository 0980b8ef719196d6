"""The learning-rate range test: which learning rates a model can be trained with."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tinygrad_bc.errors import ArgumentError, GradientError, MissingDependencyError
from tinygrad_bc.train import checks
from tinygrad_bc.train.loop import step
from tinygrad_bc.train.run import Run
from tinygrad_bc.train.state import a_copy, batches_of, preserved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tinygrad_bc.nn import Module

__all__ = ["RangeTest", "lr_find"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What `lr_find` saw.

    Attributes
    ----------
    lrs : ndarray of shape (n,)
        The learning rates that were tried, rising.
    losses : ndarray of shape (n,)
        The loss of the batch at each, before the step with it.
    smoothed : ndarray of shape (n,)
        The moving average of the losses.
    """

    lrs: Floats
    losses: Floats
    smoothed: Floats

    @property
    def suggestion(self) -> float | None:
        """The learning rate at which the smoothed loss falls most steeply over log(lr); None if it never falls."""
        lowest = int(np.argmin(self.smoothed)) + 1
        if lowest < 2:
            return None
        slopes = np.gradient(self.smoothed, np.log(self.lrs))[:lowest]
        return float(self.lrs[np.argmin(slopes)]) if slopes.min() < 0 else None

    def plot(self) -> Figure:
        """Return a chart of the losses over the learning rate, with the suggestion.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError('charts need matplotlib: pip install "tinygrad_bc[draw]"') from error
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot(title="Learning-rate range test", xlabel="learning rate", ylabel="loss", xscale="log")
        axes.plot(self.lrs, self.losses, color="0.75", linewidth=1, label="of each batch")
        axes.plot(self.lrs, self.smoothed, linewidth=2, label="smoothed")
        if self.suggestion is not None:
            axes.axvline(self.suggestion, color="C3", linestyle="--", label=f"steepest at {self.suggestion:.2g}")
        low, high = self.smoothed.min(), max(self.smoothed[0], self.smoothed.max())
        axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.grid(alpha=0.3)
        axes.legend()
        return figure


def lr_find(
    model: Module,
    data: Iterable[Sequence[Any]] | tuple[Any, ...],
    loss: Callable[..., Any],
    optimizer: Any,
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    smoothing: float = 0.9,
    divergence: float = 4.0,
) -> RangeTest:
    """Train for some steps with a learning rate that grows from step to step, and see where the loss falls.

    Step k of n is taken with ``lr = start · (end / start)^(k / (n − 1))``. It stops early when the smoothed loss is
    above the lowest so far by more than `divergence` − 1 times that, or is no number. Then weights, buffers, gradients,
    optimiser, loader and random generators are put back, to the last bit.

    Smith (2015), "Cyclical Learning Rates for Training Neural Networks", section 3.3, raises it linearly; the
    exponential sweep, the moving average ``a ← β·a + (1 − β)·loss`` with ``smoothed = a / (1 − β^k)`` and the stop are
    Gugger's (2018), "How Do You Find A Good Learning Rate".

    Parameters
    ----------
    model, data, loss, optimizer
        As `tinygrad_bc.train.fit` takes them. Of several groups of parameters, the one with the largest learning rate
        gets `lr`, and the others as much less as they have now.
    start, end : float
        The learning rates to begin and to end with, 0 < start < end.
    steps : int
        How many, at least 2.
    smoothing : float
        β, from 0 (none) to below 1.
    divergence : float
        See above; above 1.

    Raises
    ------
    ArgumentError
        If a parameter has a value that is not possible.
    DataError, ShapeError, GradientError
        As `fit` raises them.
    """
    if not (0 < start < end and np.isfinite(end) and steps >= 2 and 0 <= smoothing < 1 and divergence > 1):
        raise ArgumentError(
            "lr_find: 0 < start < end, steps of 2 or more, smoothing from 0 to below 1, divergence above 1; got "
            f"start={start}, end={end}, steps={steps}, smoothing={smoothing}, divergence={divergence}"
        )
    run = Run(model=model, data=data, loss=loss, optimizer=optimizer, epochs=1)
    checks.before_training(run)
    lrs = np.geomspace(start, end, steps)
    with preserved(model, loss, optimizer, [data]):
        model.train()
        losses = list(_sweep(run, lrs, smoothing, divergence))
    found = np.array(losses)
    return RangeTest(lrs[: len(found)], found[:, 0], found[:, 1])


def _sweep(run: Run, lrs: Floats, smoothing: float, divergence: float) -> Iterator[tuple[float, float]]:
    """Take the steps, and yield the loss before each, as it is and smoothed, until it diverges."""
    shares = _shares(run.optimizer)
    data = a_copy(run.data)
    batches = itertools.chain.from_iterable(batches_of(data) for _ in itertools.count())
    average, lowest = 0.0, np.inf
    for k, (lr, batch) in enumerate(zip(lrs, batches), start=1):
        for group, share in zip(run.optimizer.param_groups, shares):
            group["lr"] = float(lr) * share
        try:
            with np.errstate(all="ignore"):  # that numbers overflow in the end is what it is looked for
                value = step(run, batch)
        except GradientError:  # not finite: at the first step it would not have got through the checks
            return
        average = smoothing * average + (1 - smoothing) * value
        smoothed = average / (1 - smoothing**k)
        yield value, smoothed
        lowest = min(lowest, smoothed)
        if smoothed - lowest > (divergence - 1) * abs(lowest):
            return


def _shares(optimizer: Any) -> list[float]:
    """Return how large the learning rate of each group is, compared with the largest."""
    lrs = [group["lr"] for group in optimizer.param_groups]
    return [lr / max(lrs) if max(lrs) > 0 else 1.0 for lr in lrs]
