"""Schedules: how the learning rate changes during training, and how to find one to begin with.

    python examples/10_schedules.py

Read `09_optimisers.py` first. A large learning rate goes far, a small one settles; a schedule wants both. First the
range test (`train.lr_find`) suggests a rate for the classifier, and leaves the classifier as it was. Then every
schedule gets the same networks and the same batches, once with that rate as its peak and once with a much larger one;
what differs is the way up to the peak and down from it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from tinygrad_bc import data, draw, nn, optim, train
from tinygrad_bc.optim import lr_scheduler

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
CONSTANT = "none (constant)"
BATCH, EPOCHS, STEPS = 25, 15, 300  # 500 rows: 20 batches an epoch
SEEDS, FASTER = 3, 8

Array = npt.NDArray[Any]


def warm_up(optimizer: optim.Optimizer) -> lr_scheduler.LRScheduler:
    """Rise in a straight line for the first tenth, then fall along a cosine."""
    rise = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=STEPS // 10)
    fall = lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS - STEPS // 10)
    return lr_scheduler.SequentialLR(optimizer, [rise, fall], milestones=[STEPS // 10])


SCHEDULES: dict[str, Callable[[optim.Optimizer], Any]] = {
    CONSTANT: lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "exponential": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.01 ** (1 / STEPS)),
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=STEPS // 3, gamma=0.1),
    "1/t": lambda optimizer: lr_scheduler.InverseTimeLR(optimizer, decay=20 / STEPS),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=STEPS),
    "SGDR, warm restarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, STEPS // 7 + 1, 2),
    "warm-up, cosine": warm_up,
    "1cycle": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, optimizer.param_groups[0]["lr"], STEPS),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.3, patience=1, threshold=0.01),
}


class Rates(train.Callback):
    """Write down the learning rate of every step."""

    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_batch_end(self, run: train.Run) -> None:
        """Take note."""
        self.rates += run.lr


class Outcome(NamedTuple):
    """The learning rates of all steps, and the loss on all training rows at the end."""

    rates: Array
    loss: float


def network(seed: int) -> nn.Sequential:
    """Return the classifier: 9 features, 15 hidden units, one score."""
    generator = np.random.default_rng(seed)
    return nn.Sequential(nn.Linear(9, 15, generator=generator), nn.ReLU(), nn.Linear(15, 1, generator=generator))


def run(name: str, peak: float, X: Array, Y: Array, seed: int) -> Outcome:
    """Train with one of the schedules."""
    model, loss, rates = network(seed), nn.BCEWithLogitsLoss(), Rates()
    loader = data.DataLoader(X, Y, batch_size=BATCH, shuffle=True, generator=seed)
    optimizer = optim.SGD(model.parameters(), lr=peak, momentum=0.9)
    schedule = SCHEDULES[name](optimizer)
    if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):  # the only one that looks at the losses
        callback = train.Schedule(schedule, monitor="loss")
    else:
        callback = train.Schedule(schedule, per="batch")
    train.fit(model, loader, loss, optimizer, epochs=EPOCHS, callbacks=[rates, callback])
    return Outcome(np.array(rates.rates), train.evaluate(model, [(X, Y)], loss)["loss"])


def find_rate(X: Array, Y: Array) -> train.RangeTest:
    """Run the range test on a fresh classifier."""
    model = network(0)
    loader = data.DataLoader(X, Y, batch_size=BATCH, shuffle=True, generator=0)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return train.lr_find(model, loader, nn.BCEWithLogitsLoss(), optimizer, start=1e-4, end=30.0)


def gallery(outcomes: dict[str, Outcome]) -> Figure:
    """Draw the learning rate of every schedule over the steps."""
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    panels = figure.subplots(3, 3, sharex=True, sharey=True)
    for axes, (name, outcome) in zip(panels.flat, outcomes.items(), strict=True):
        axes.fill_between(range(STEPS), outcome.rates, color=draw.plots.BLUE, alpha=0.2, linewidth=0)
        axes.plot(outcome.rates, color=draw.plots.BLUE, linewidth=2)
        axes.set(title=name, ylim=(0, None), xlim=(0, STEPS))
        axes.grid(alpha=0.3)
    figure.supxlabel("step")
    figure.supylabel("learning rate")
    return figure


def comparison(losses: dict[str, Array], peaks: Sequence[float]) -> Figure:
    """Draw the losses at the end, (peak, seed) for each schedule: every seed a small mark, their mean a large one."""
    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for number, (colour, marker) in enumerate(((draw.plots.ORANGE, "s"), (draw.plots.BLUE, "o"))):
        for place, runs in enumerate(losses.values()):
            label = f"peak {peaks[number]:.2g}" if place == 0 else None
            axes.plot(runs[number], [place] * SEEDS, marker, color=colour, alpha=0.45, markersize=5)
            axes.plot(runs[number].mean(), place, marker, color=colour, markersize=9, label=label)
    axes.set_yticks(range(len(losses)), list(losses))
    axes.invert_yaxis()
    axes.set(xlabel="loss on the training rows at the end", title=f"After {STEPS} steps: {SEEDS} seeds, and their mean")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Find a rate, train with every schedule, compare; return 0 if a schedule beats every constant rate."""
    parser = argparse.ArgumentParser(description="Learning-rate schedules on the Wisconsin classifier.")
    parser.add_argument("--out", type=Path, default=Path("out/10_schedules"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    (X, Y), _ = map(data.as_columns, data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV))))
    X, Y = X.T, Y.T
    found = find_rate(X, Y)
    if found.suggestion is None:
        print("the loss never fell in the range test")
        return 1
    peaks = (found.suggestion, FASTER * found.suggestion)
    print(
        f"The range test raises the rate from {found.lrs[0]:g} until the loss explodes, at {found.lrs[-1]:.2g}.\n"
        f"The loss falls most steeply at {peaks[0]:.2g}. And if the peak is that, or {FASTER} times as much?\n"
    )
    runs = {name: [[run(name, peak, X, Y, s) for s in range(SEEDS)] for peak in peaks] for name in SCHEDULES}
    losses = {name: np.array([[outcome.loss for outcome in seeds] for seeds in both]) for name, both in runs.items()}
    means = {name: values.mean(1) for name, values in losses.items()}
    print(f"{'loss at the end':<20}" + "".join(f"   peak {peak:<6.2g}" for peak in peaks))
    for name, (small, large) in means.items():
        print(f"{name:<20}   {small:<11.5f}   {large:.5f}")
    constant, *others = means.values()
    better = (np.array(others) < constant).sum(0)
    best = min(means, key=lambda name: means[name][1])
    print(
        f"\nOf {len(others)} schedules, {better[0]} beat the constant rate at the small peak, "
        f"and {better[1]} at the large one.\nThe best there is '{best}', {means[best][1]:.4f}; the best constant rate "
        f"gets to {constant.min():.4f}.\nAt the large peak, the {SEEDS} seeds differ by "
        f"{np.ptp(losses[best][1]):.4f} with '{best}', by {np.ptp(losses[CONSTANT][1]):.4f} with the constant rate."
    )
    written = [
        draw.save_figure(gallery({name: both[1][0] for name, both in runs.items()}), out / "schedules.png"),
        draw.save_figure(found.plot(), out / "lr_find.png"),
        draw.save_figure(comparison(losses, peaks), out / "comparison.png"),
    ]
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 0 if means[best][1] < constant.min() else 1


if __name__ == "__main__":
    sys.exit(main())
