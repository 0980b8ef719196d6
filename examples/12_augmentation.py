"""Augmentation: a digit that is moved or turned a little is still that digit, and the network can be told so.

    python examples/12_augmentation.py

Read `11_thresholds.py` first, and `07_regularisation.py`, which does the same to tables. Here are a few images of
handwritten digits, 8×8 pixels each, from scikit-learn. Every time the loader hands one out, it is changed at random, so
the network never sees quite the same picture twice. What matters is the choice. A change must leave the meaning as it
is: upside down, a 6 is a 9. And it helps with images that vary in this way: so each network is asked twice, about
images like those it was given, each digit in the middle and upright, and about the same images moved and turned.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train
from tinygrad_bc.data import augmentation

PER_CLASS, DRAWS = 8, 3
HIDDEN, EPOCHS, BATCH, RATE = 128, 150, 40, 8e-3
MOVE, TURN = augmentation.RandomShift(1), augmentation.RandomRotation(15)
CHOICES: dict[str, list[data.Augmentation]] = {
    "none": [],
    "shift": [MOVE],
    "rotate": [TURN],
    "crop": [augmentation.RandomCrop(8, padding=2)],
    "shift and rotate": [MOVE, TURN],
    "any angle": [augmentation.RandomRotation(180)],
}
TESTS = ("as they are", "moved and turned")

Array = npt.NDArray[Any]


class Network(nn.Module):
    """One hidden layer for images: (image, 8, 8) to a score for each digit, (image, 10)."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.hidden = nn.Linear(64, HIDDEN, generator=generator)
        self.scores = nn.Linear(HIDDEN, 10, generator=generator)

    def forward(self, images: Array) -> tg.Tensor:
        """Score the images."""
        return self.scores(tg.relu(self.hidden(images.reshape(len(images), 64))))


def changed(images: Array, changes: Sequence[data.Augmentation], generator: np.random.Generator) -> Array:
    """Return images after the changes."""
    batch: data.Batch = (images,)
    for change in changes:
        batch = change(batch, generator)
    return batch[0]


def trained(images: Array, labels: Array, changes: Sequence[data.Augmentation], seed: int) -> Network:
    """Train on images that the loader changes as it hands them out."""
    model = Network(np.random.default_rng(seed))
    loader = data.DataLoader(images, labels, batch_size=BATCH, shuffle=True, generator=seed, augment=changes)
    optimizer = optim.Adam(model.parameters())
    cycle = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, epochs=EPOCHS, steps_per_epoch=len(loader))
    train.fit(
        model, loader, nn.CrossEntropyLoss(), optimizer, epochs=EPOCHS, callbacks=[train.Schedule(cycle, per="batch")]
    )
    return model


def experiment(images: Array, labels: Array) -> pd.DataFrame:
    """Train with every choice on the same few images, for several draws of them; return all accuracies."""
    tests = dict(zip(TESTS, (images, changed(images, [MOVE, TURN], np.random.default_rng(100))), strict=True))
    results = []
    for draw_number in range(DRAWS):
        generator = np.random.default_rng(draw_number)
        digits = [np.flatnonzero(labels == digit) for digit in range(10)]
        rows = np.concatenate([generator.choice(found, PER_CLASS, replace=False) for found in digits])
        others = np.setdiff1d(np.arange(len(images)), rows)
        for name, changes in CHOICES.items():
            model = trained(images[rows], labels[rows], changes, draw_number)
            with tg.no_grad():
                right = {test: model(seen).data.argmax(-1) == labels for test, seen in tests.items()}
            results.append({"augmentation": name} | {test: hits[others].mean() for test, hits in right.items()})
    return pd.DataFrame(results)


def gallery(images: Array, labels: Array) -> Figure:
    """Draw some digits, and two random results of each choice."""
    rows = [int(np.flatnonzero(labels == digit)[0]) for digit in (2, 5, 6, 9)]
    generator = np.random.default_rng(4)
    figure = Figure(figsize=(9.5, 4.2), layout="constrained")
    groups: Any = figure.subfigures(1, len(CHOICES), width_ratios=[1.2] + [2] * (len(CHOICES) - 1))
    for group, (name, changes) in zip(groups, CHOICES.items(), strict=True):
        panels = group.subplots(len(rows), 2 if changes else 1, squeeze=False)
        for (line, _), axes in np.ndenumerate(panels):
            image = changed(images[rows[line]][None], changes, generator)[0]
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
        group.suptitle(name if changes else "as it is", fontsize=10)
    return figure


def bars(results: pd.DataFrame) -> Figure:
    """Draw the accuracy on images not trained on: each draw a dot, their mean a bar."""
    figure = Figure(figsize=(8, 3.9), layout="constrained")
    axes = figure.subplots()
    for place, name in enumerate(CHOICES):
        runs = results[results["augmentation"] == name]
        for test, colour, offset in zip(TESTS, (draw.plots.BLUE, draw.plots.ORANGE), (-0.19, 0.19), strict=True):
            label = f"other images {test}" if place == 0 else None
            axes.barh(place + offset, runs[test].mean(), 0.36, color=colour, label=label)
            axes.plot(runs[test], [place + offset] * len(runs), "o", color="black", markersize=3)
            axes.text(0.01, place + offset, f"{runs[test].mean():.0%}", va="center", color="white", fontweight="bold")
    axes.set_yticks(range(len(CHOICES)), list(CHOICES))
    axes.invert_yaxis()
    axes.set(
        xlim=(0, 1), xlabel="share of images recognised", title=f"Trained on {10 * PER_CLASS} images, {DRAWS} draws"
    )
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train with and without augmentation and compare; return 0 if it helped where it should."""
    parser = argparse.ArgumentParser(description="Recognise digits, from few images, with and without augmentation.")
    parser.add_argument("--out", type=Path, default=Path("out/12_augmentation"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    images, labels = digits.images / 16, digits.target
    results = experiment(images, labels)
    means = results.groupby("augmentation", sort=False).mean()
    unseen = len(images) - 10 * PER_CLASS
    print(f"Trained on {10 * PER_CLASS} images, tested on the other {unseen}; means of {DRAWS} draws\n")
    print(means.to_string(float_format="{:.1%}".format))
    as_is, moved = ({name: float(means[test][name]) for name in CHOICES} for test in TESTS)
    best, worst = max(moved, key=lambda name: moved[name]), min(as_is, key=lambda name: as_is[name])
    print(
        f"\nWithout augmentation, {as_is['none']:.0%} of the digits in the middle are recognised, and "
        f"{moved['none']:.0%} once they are moved and turned.\n"
        f"Trained with '{best}', it is {as_is[best]:.0%} and {moved[best]:.0%}: what the images to come will vary in "
        "has to be shown.\nA change that they do not go through, "
        f"'{worst}', gives {as_is[worst]:.0%} and {moved[worst]:.0%}."
    )
    written = [
        draw.save_figure(gallery(images, labels), out / "augmented.png"),
        draw.save_figure(bars(results), out / "accuracy.png"),
    ]
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 0 if moved[best] > moved["none"] + 0.2 else 1


if __name__ == "__main__":
    sys.exit(main())
