"""A long training: data that stay on disk, checkpoints to go on from, and the average of the weights.

    python examples/19_long_runs.py

Read `18_honest_protocol.py` first. One learns
- that a loader can draw batches from a file that never fits into memory as a whole;
- that a training that is interrupted goes on from its last checkpoint, and ends with the same bits;
- that with a constant learning rate the weights wander around the minimum, and their average does not.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train

ROWS, INPUTS, EPOCHS, NOISE = 4000, 8, 6, 1.0
BLUE, ORANGE = "#0072B2", "#E69F00"  # Okabe and Ito's

Array = npt.NDArray[Any]


def write_data(path: Path) -> Array:
    """Write a table to a file, a block of rows at a time; return it mapped, not read: inputs, and last the target."""
    table = np.lib.format.open_memmap(path, "w+", np.float64, (ROWS, INPUTS + 1))
    rng = np.random.default_rng(0)
    for block in np.array_split(np.arange(ROWS), 8):
        X = rng.normal(size=(len(block), INPUTS))
        table[block, :INPUTS] = X
        table[block, INPUTS] = truth(X) + NOISE * rng.normal(size=len(block))
    table.flush()
    mapped: Array = np.load(path, mmap_mode="r")
    return mapped


def truth(X: Array) -> Array:
    """Return what the network is to find out."""
    values: Array = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]
    return values


class Averaging(train.Callback):
    """Keep a running average of the weights, and the error of both at every epoch."""

    def __init__(self, model: nn.Module, X: Array) -> None:
        self.model, self.X = model, X
        self.average = optim.ema(model.parameters(), decay=0.99)
        self.errors: list[list[float]] = []

    def on_batch_end(self, run: train.Run) -> None:
        """Average after every step, and now and then measure."""
        self.average.update()
        if run.batch % 10 == 0:
            with self.average.applied():
                averaged = self.error()
            self.errors.append([self.error(), averaged])

    def error(self) -> float:
        """Return the mean squared error on rows without noise."""
        with tg.no_grad():
            found = self.model(self.X).data[:, 0]
        return float(np.mean((found - truth(self.X)) ** 2))

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed training has to know."""
        return {"average": self.average.state_dict(), "errors": self.errors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.average.load_state_dict(state["average"])
        self.errors = [list(pair) for pair in state["errors"]]


class Interruption(train.Callback):
    """Pull the plug after so many batches."""

    def __init__(self, after: int) -> None:
        self.left = after

    def on_batch_end(self, run: train.Run) -> None:  # noqa: ARG002
        """Count."""
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def run(table: Array, directory: Path, *others: train.Callback, resume: bool = False) -> tuple[nn.Module, Averaging]:
    """Train for all epochs, or as far as it goes."""
    layers = np.random.default_rng(1)
    model = nn.Sequential(
        nn.Linear(INPUTS, 48, generator=layers), nn.Tanh(), nn.Linear(48, 48, generator=layers), nn.Tanh(),
        nn.Linear(48, 1, generator=layers),
    )  # fmt: skip
    nn.init.orthogonal_(model[2].weight, generator=layers)
    nn.init.trunc_normal_(model[4].weight, std=0.1, a=-0.2, b=0.2, generator=layers)
    batches = data.DataLoader(table[:, :INPUTS], table[:, INPUTS:], batch_size=20, shuffle=True, generator=2)
    averaging = Averaging(model, np.random.default_rng(3).normal(size=(1000, INPUTS)))
    checkpoint = train.Checkpoint(directory, every_batches=25, resume=resume)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    callbacks = [averaging, checkpoint, *others]
    train.fit(model, batches, nn.MSELoss(), optimizer, epochs=EPOCHS, callbacks=callbacks)
    return model, averaging


def picture(errors: Array) -> Figure:
    """Return the chart of the two errors."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot(title="The weights, and their average", xlabel="step", ylabel="mean squared error")
    steps = 10 * np.arange(1, len(errors) + 1)
    axes.plot(steps, errors[:, 0], color=ORANGE, linewidth=1, label="weights at each step")
    axes.plot(steps, errors[:, 1], color=BLUE, linewidth=2.5, label="running average (EMA)")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def main(argv: list[str] | None = None) -> int:
    """Write the data, train through an interruption and without one, compare."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("out/19_long_runs"), help="folder for what is written")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for folder in ("at_once", "interrupted"):  # of an earlier run of this script
        shutil.rmtree(out / folder, ignore_errors=True)
    table = write_data(out / "table.npy")
    print(f"{out / 'table.npy'}: {table.shape[0]} rows on disk, {table.nbytes / 1e3:.0f} KB, drawn 20 at a time")

    model, averaging = run(table, out / "at_once")
    stop = 2 * ROWS // 20 + 77  # somewhere in the third epoch
    try:
        run(table, out / "interrupted", Interruption(stop))
    except KeyboardInterrupt:
        print(f"interrupted after {stop} steps; started again from the last checkpoint")
    again, _ = run(table, out / "interrupted", resume=True)
    same = all(np.array_equal(a.data, b.data) for a, b in zip(model.parameters(), again.parameters()))
    print(f"the weights at the end are {'the same to the last bit' if same else 'NOT the same'}")

    errors = np.array(averaging.errors)
    late = errors[len(errors) // 2 :].mean(axis=0)
    print(f"error in the second half of the training: weights {late[0]:.4f}, their average {late[1]:.4f}")
    draw.save_figure(picture(errors), out / "average.png")
    print(f"\nwritten: {out / 'average.png'}, {out / 'table.npy'}, and checkpoints in {out / 'at_once'} and "
          f"{out / 'interrupted'}")  # fmt: skip
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
