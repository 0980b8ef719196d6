"""A small convolutional network that reads digits, and what its filters have learned to look for.

    python examples/15_convolution.py

Read `14_skip_connections.py` first, and `12_augmentation.py`, where a network of one hidden layer had to be shown every
digit in every place. A convolution has that built in: the same few weights look at every place of the image (Y. LeCun
and others, "Gradient-based learning applied to document recognition", 1998). With batch normalisation (S. Ioffe and C.
Szegedy, 2015) and one cycle of the learning rate (`10_schedules.py`) it is trained in seconds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train

FILTERS, EPOCHS, BATCH, RATE = 8, 12, 32, 0.02

Array = npt.NDArray[Any]


def network(generator: np.random.Generator) -> nn.Sequential:
    """Return a network from images (n, 1, 8, 8) to scores (n, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, FILTERS, 3, padding=1, generator=generator),  # 8×8
        nn.BatchNorm2d(FILTERS),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 4×4
        nn.Conv2d(FILTERS, 2 * FILTERS, 3, padding=1, generator=generator),
        nn.BatchNorm2d(2 * FILTERS),
        nn.ReLU(),
        nn.MaxPool2d(2),  # 2×2
        nn.Flatten(),
        nn.Linear(2 * FILTERS * 4, 10, generator=generator),
    )


def right(scores: Array, labels: Array) -> float:
    """Return the share of images whose highest score is that of their digit."""
    return float((scores.argmax(1) == labels).mean())


def filters_and_maps(model: nn.Sequential, images: Array) -> Figure:
    """Draw the first layer's filters, and what each of them, after relu, finds in some images."""
    weights = model[0].weight.data[:, 0]
    with tg.no_grad():
        maps = model[:3](images).data
    figure = Figure(figsize=(10, 1.2 * (1 + len(images)) + 0.3), layout="constrained")
    panels = figure.subplots(1 + len(images), 1 + FILTERS)
    top = np.abs(weights).max()
    for axes, weight in zip(panels[0, 1:], weights, strict=True):
        shown = axes.imshow(weight, cmap="PuOr_r", vmin=-top, vmax=top)
    for line, image, found in zip(panels[1:], images, maps, strict=True):
        line[0].imshow(image[0], cmap="gray_r")
        for axes, one in zip(line[1:], found, strict=True):
            axes.imshow(one, cmap="viridis", vmin=0, vmax=maps.max())
    for axes in panels.flat:
        axes.set(xticks=[], yticks=[])
    panels[0, 0].set_axis_off()
    panels[0, 0].text(0.95, 0.5, "3×3 filters\nof the first\nlayer", ha="right", va="center", fontsize=9)
    figure.colorbar(shown, ax=panels[0, :], label="weight")
    figure.suptitle("What each filter looks for, and where it finds it: bright is a strong response")
    return figure


def hardest(scores: Array, images: Array, labels: Array, count: int = 7) -> Figure:
    """Draw the images to whose true digit the network gives the least probability."""
    odds = np.exp(scores - scores.max(1, keepdims=True))
    probabilities = odds / odds.sum(1, keepdims=True)
    rows = np.argsort(probabilities[np.arange(len(labels)), labels])[:count]
    figure = Figure(figsize=(9, 1.95), layout="constrained")
    for axes, row in zip(figure.subplots(1, count), rows, strict=True):
        axes.imshow(images[row, 0], cmap="gray_r")
        axes.set(xticks=[], yticks=[])
        read = probabilities[row].argmax()
        axes.set_title(f"a {labels[row]}\nread as {read} ({probabilities[row, read]:.0%})", fontsize=9)
    figure.suptitle("The held-out digits that are hardest for it")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train, test on held-out digits, look inside; return 0 if more than 95 % are read correctly."""
    parser = argparse.ArgumentParser(description="Read digits with a small convolutional network.")
    parser.add_argument("--out", type=Path, default=Path("out/15_convolution"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    images, labels = digits.images[:, None] / 16, digits.target
    (X, y), (X_val, y_val), (X_test, y_test) = data.split(images, labels, stratify=labels, generator=0)

    generator = np.random.default_rng(1)
    model = network(generator)
    print(model)
    loader = data.DataLoader(X, y, batch_size=BATCH, shuffle=True, generator=generator)
    optimizer = optim.Adam(model.parameters())
    cycle = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=RATE, epochs=EPOCHS, steps_per_epoch=len(loader))
    history = train.fit(
        model,
        loader,
        nn.CrossEntropyLoss(),
        optimizer,
        epochs=EPOCHS,
        validation=(X_val, y_val),
        metrics={"accuracy": right},
        callbacks=[train.Schedule(cycle, per="batch")],
    )
    print(f"\n{history.table[['loss', 'validation_loss', 'validation_accuracy']].round(4).to_string()}")
    with tg.no_grad():
        scores = model(X_test).data
    accuracy = right(scores, y_test)
    print(f"\nof {len(y_test)} held-out digits, {accuracy:.1%} are read correctly")
    shown = [int(np.flatnonzero(y_test == digit)[0]) for digit in (0, 1, 4, 7)]
    written = [
        draw.save_figure(filters_and_maps(model, X_test[shown]), out / "filters.png"),
        draw.save_figure(hardest(scores, X_test, y_test), out / "hardest.png"),
    ]
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 0 if accuracy > 0.95 else 1


if __name__ == "__main__":
    sys.exit(main())
