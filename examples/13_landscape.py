"""The loss landscape of the classifier, and four ways through it.

    python examples/13_landscape.py

Read `12_augmentation.py` first, and `10_schedules.py`. The loss is a surface over 166 parameters; nobody can draw that,
but a plane through it can be drawn (H. Li and others, "Visualizing the loss landscape of neural nets", 2018). Here the
plane is the one that holds as much as possible of four training runs, their two principal components. All start at the
same place and see the same batches; they differ in how they step: plain descent, a rate that is annealed, a rate that
is too large, and momentum. `landscape.html` can be turned and played.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train
from tinygrad_bc.optim import lr_scheduler

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
BATCH, EPOCHS, EVERY = 50, 20, 2

Array = npt.NDArray[Any]


class Way(NamedTuple):
    """How to step: the rate, the momentum, and what each step multiplies the rate by."""

    rate: float
    momentum: float = 0.0
    annealing: float = 1.0


WAYS = {
    "plain SGD": Way(0.2),
    "annealed rate": Way(2.0, annealing=0.98),
    "large rate": Way(5.0),
    "SGD with momentum": Way(0.2, momentum=0.9),
}


class Recorder(train.Callback):
    """Keep the parameters as they are at the start and after every few steps."""

    def __init__(self) -> None:
        self.snapshots: list[dict[str, Array]] = []
        self.steps: list[int] = []

    def on_train_begin(self, run: train.Run) -> None:
        """Keep the start."""
        self.keep(run, 0)

    def on_batch_end(self, run: train.Run) -> None:
        """Keep every few steps."""
        step = run.epoch * len(run.data) + run.batch
        if step % EVERY == 0:
            self.keep(run, step)

    def keep(self, run: train.Run, step: int) -> None:
        """Keep the parameters now."""
        self.steps.append(step)
        self.snapshots.append(run.model.state_dict())


def loss_of(model: nn.Sequential, X: Array, Y: Array) -> tg.Tensor:
    """Return the loss on all training rows."""
    return tg.binary_cross_entropy_with_logits(model(X), Y)


def travel(way: Way, X: Array, Y: Array) -> tuple[nn.Sequential, Recorder]:
    """Train one way; return the network and the places it came by."""
    generator = np.random.default_rng(3)
    model = nn.Sequential(nn.Linear(9, 15, generator=generator), nn.ReLU(), nn.Linear(15, 1, generator=generator))
    loader = data.DataLoader(X, Y, batch_size=BATCH, shuffle=True, generator=generator)
    optimizer = optim.SGD(model.parameters(), lr=way.rate, momentum=way.momentum)
    schedule = train.Schedule(lr_scheduler.ExponentialLR(optimizer, gamma=way.annealing), per="batch")
    recorder = Recorder()
    train.fit(model, loader, nn.BCEWithLogitsLoss(), optimizer, epochs=EPOCHS, callbacks=[recorder, schedule])
    return model, recorder


def main(argv: list[str] | None = None) -> int:
    """Train four ways, draw them on one landscape; return 0 if the large rate is too large for the minimum."""
    parser = argparse.ArgumentParser(description="Four ways through the loss landscape of the classifier.")
    parser.add_argument("--out", type=Path, default=Path("out/13_landscape"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    (X, Y), _ = map(data.as_columns, data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV))))
    X, Y = X.T, Y.T
    runs = {name: travel(way, X, Y) for name, way in WAYS.items()}

    model, _ = runs["SGD with momentum"]  # the landscape is centred where this one ended
    directions = draw.Directions.pca(*(recorder.snapshots for _, recorder in runs.values()))
    landscape = draw.Landscape(partial(loss_of, model, X, Y), model.parameters(), directions)
    for name, (_, recorder) in runs.items():
        landscape.add_trajectory(name, recorder.snapshots, recorder.steps)
    landscape.evaluate()
    sharpness = float(landscape.sharpness(generator=0)[0])

    too_large = WAYS["large rate"].rate > 2 / sharpness
    shares = directions.shares or ()
    print(
        f"{sum(p.numel() for p in model.parameters())} parameters, seen from a plane that holds {sum(shares):.0%} of "
        f"the variance of four runs of {EPOCHS * -(-len(X) // BATCH)} steps\n"
    )
    for trajectory in landscape.trajectories:
        losses = trajectory.losses
        print(
            f"{trajectory.name:<18} loss {losses[0]:.3f} → {losses[-1]:.4f}, "
            f"uphill in {(np.diff(losses) > 0).mean():4.0%} of the stretches, "
            f"{trajectory.distances[-1]:.1f} off the plane at the end"
        )
    print(
        f"\nThe sharpest curvature at the centre, the largest eigenvalue of the Hessian, is {sharpness:.2f}:"
        f"\ndescent on all rows would be stable there up to a rate of 2/{sharpness:.2f} = {2 / sharpness:.2f}. "
        f"The large rate, {WAYS['large rate'].rate:g}, is {'above' if too_large else 'below'} that."
    )
    written = [
        draw.save_figure(landscape.contours(), out / "contours.png"),
        draw.save_figure(landscape.surface(), out / "surface.png"),
        landscape.animate(out / "landscape.gif", frames=60),
        landscape.save(out / "landscape.html", title="Four ways through the landscape of the classifier"),
    ]
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 0 if too_large else 1


if __name__ == "__main__":
    sys.exit(main())
