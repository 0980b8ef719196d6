"""Under- and overfitting on few noisy samples, and what helps: L1, L2, dropout, early stopping, augmentation.

    python examples/07_regularisation.py

Read after `06_activations.py`; `08_batches.py` comes next. One learns
- that a model can be too small for what is to be learned, and another learns its samples by heart, noise and all;
- to see that in two curves: the loss on the training samples, and on samples kept aside;
- what each remedy does to the curves and to the boundary between the classes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from sklearn.datasets import make_moons

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train

EPOCHS, LEARNING_RATE, EVERY = 400, 0.01, 5
BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito: distinct for colour-blind readers

Array = npt.NDArray[Any]
Samples = tuple[Array, Array]


class Recipe(NamedTuple):
    """What is done differently: in the network, the loss, the optimiser, the samples, or when to stop."""

    network: Callable[[], nn.Sequential]
    penalty: float = 0.0
    weight_decay: float = 0.0
    augment: tuple[data.Augmentation, ...] = ()
    callbacks: tuple[train.Callback, ...] = ()


def network(dropout: float = 0.0) -> nn.Sequential:
    """Return a network that is far larger than the few samples need."""
    rng = np.random.default_rng(0)
    return nn.Sequential(
        nn.Linear(2, 32, generator=rng), nn.ReLU(), nn.Dropout(dropout, generator=rng),
        nn.Linear(32, 32, generator=rng), nn.ReLU(), nn.Dropout(dropout, generator=rng),
        nn.Linear(32, 1, generator=rng),
    )  # fmt: skip


RECIPES = {
    "too small: one neuron": Recipe(lambda: nn.Sequential(nn.Linear(2, 1, generator=0))),
    "too large, nothing done": Recipe(network),
    "L1, 0.002": Recipe(network, penalty=0.002),
    "L2, 0.02": Recipe(network, weight_decay=0.02),
    "dropout, one half": Recipe(lambda: network(dropout=0.5)),
    "early stopping": Recipe(network, callbacks=(train.EarlyStopping(patience=60),)),
    "noise, 0.3": Recipe(network, augment=(data.GaussianNoise(0.3),)),
    "mixup": Recipe(network, augment=(data.MixUp(1.0),)),
}


class Curves(train.Callback):
    """The loss alone, without penalty, noise or dropout, on the training and on the validation samples."""

    def __init__(self, *parts: Samples) -> None:
        self.parts = parts
        self.rows: list[list[float]] = []

    def on_epoch_end(self, run: train.Run) -> None:
        """Measure both."""
        if run.epoch % EVERY == 0:
            criterion = nn.BCEWithLogitsLoss()
            self.rows.append([train.evaluate(run.model, [part], criterion)["loss"] for part in self.parts])


def samples(n: int, seed: int) -> Samples:
    """Return n points of two interleaving half circles, with noise, and their classes (n, 1)."""
    X, y = make_moons(n, noise=0.35, random_state=seed)
    return X, y[:, None].astype(float)


def train_by(recipe: Recipe, training: Samples, validation: Samples) -> tuple[nn.Sequential, Array]:
    """Return the trained model and its curves, of shape (measurements, 2)."""
    model = recipe.network()
    weights = [parameter for name, parameter in model.named_parameters() if name.endswith("weight")]

    def loss(logits: tg.Tensor, targets: Array) -> tg.Tensor:
        plain = nn.functional.binary_cross_entropy_with_logits(logits, targets)
        return plain + train.l1_penalty(weights, recipe.penalty) if recipe.penalty else plain

    batches = data.DataLoader(*training, batch_size=len(training[0]), generator=1, augment=recipe.augment)
    optimizer = optim.Adam(model.parameters(), lr=LEARNING_RATE, weight_decay=recipe.weight_decay)
    curves = Curves(training, validation)
    callbacks = [curves, *recipe.callbacks]
    train.fit(model, batches, loss, optimizer, epochs=EPOCHS, validation=[validation], callbacks=callbacks)
    return model, np.array(curves.rows)


def draw_curves(curves: dict[str, Array]) -> Figure:
    """Draw both losses of every recipe over the epochs, and where the one on the validation samples is lowest."""
    figure = Figure(figsize=(10, 5.2), layout="constrained")
    figure.suptitle("The loss on the training samples, and on samples kept aside")
    panels = figure.subplots(2, 4, sharex=True, sharey=True)
    for axes, (name, rows) in zip(panels.flat, curves.items()):
        epochs = EVERY * np.arange(1, len(rows) + 1)
        axes.plot(epochs, rows[:, 0], color=BLUE, linewidth=2, label="training")
        axes.plot(epochs, rows[:, 1], "--", color=ORANGE, linewidth=2, label="validation")
        axes.axvline(epochs[rows[:, 1].argmin()], color="grey", linestyle=":", label="lowest validation loss")
        axes.set(title=name, ylim=(0, 1), xlim=(0, EPOCHS))
        axes.grid(alpha=0.3)
    for axes in panels[1]:
        axes.set_xlabel("epoch")
    figure.supylabel("cross-entropy")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_boundaries(models: dict[str, nn.Sequential], training: Samples) -> Figure:
    """Draw what every model says of the plane, and the samples that it learned from."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    figure.suptitle("What each says of the plane; the line is where it is undecided")
    colours = LinearSegmentedColormap.from_list("one class to the other", [BLUE, "white", ORANGE])
    across, up = np.linspace(-2, 3, 120), np.linspace(-1.6, 2.1, 90)
    plane = np.stack(np.meshgrid(across, up), axis=-1).reshape(-1, 2)
    for axes, (name, model) in zip(figure.subplots(2, 4, sharex=True, sharey=True).flat, models.items()):
        with tg.no_grad():
            said = tg.sigmoid(model(plane)).numpy().reshape(len(up), len(across))
        axes.pcolormesh(across, up, said, cmap=colours, vmin=0, vmax=1, alpha=0.6, rasterized=True)
        axes.contour(across, up, said, [0.5], colors="black")
        for value, colour, marker in ((0, BLUE, "o"), (1, ORANGE, "^")):
            axes.plot(*training[0][training[1][:, 0] == value].T, marker, color=colour, markeredgecolor="black")
        axes.set(title=name, xticks=[], yticks=[])
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train by every recipe, compare on samples that none has seen, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/07_regularisation"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    training, validation, test = samples(60, 0), samples(200, 1), samples(2000, 2)
    models, curves, rows = {}, {}, {}
    for name, recipe in RECIPES.items():
        models[name], curves[name] = train_by(recipe, training, validation)
        losses = [train.evaluate(models[name], [part], nn.BCEWithLogitsLoss())["loss"] for part in (training, test)]
        with tg.no_grad():
            right = ((models[name](test[0]).numpy() > 0) == test[1]).mean()
        weights = np.concatenate([parameter.data.ravel() for parameter in models[name].parameters()])
        rows[name] = [*losses, right, (abs(weights) < 1e-3).mean()]
    table = pd.DataFrame.from_dict(rows, "index", columns=["training loss", "test loss", "test right", "weights at 0"])
    shares = dict.fromkeys(("test right", "weights at 0"), "{:.0%}".format)
    print(f"{len(training[0])} training samples, {len(test[0])} for the test:\n")
    print(table.to_string(formatters=shares, float_format="{:.3f}".format))

    small, large, *remedies = RECIPES
    assert table["training loss"].idxmin() == large == table["test loss"].idxmax()
    assert table["training loss"].idxmax() == small
    assert table["weights at 0"].idxmax() == remedies[0]
    print(
        "\nOne neuron has the highest training loss of all: it is too simple. The large network has the lowest, and\n"
        "the highest test loss: it has learned the noise, and is sure of it. All remedies raise the one and lower the\n"
        f"other; the lowest test loss is that of {table['test loss'].idxmin()}. L1 leaves "
        f"{table['weights at 0'].max():.0%} of the weights at 0."
    )
    pictures = {"curves.png": draw_curves(curves), "boundaries.png": draw_boundaries(models, training)}
    print("\nwritten:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
