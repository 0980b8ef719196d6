"""One neuron: a weighted sum, a sigmoid, and a loss that falls because the weights follow its slope.

    python examples/03_one_neuron.py

Read after `02_chain_rule.py`; `04_classifier.py` has a whole layer of such neurons. One learns
- what a neuron computes: of two features of a cell sample, the probability that it is malignant;
- what gradient descent does: each weight takes a small step against the slope of the loss;
- what the weights mean: a line between the two classes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import data, draw

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
FEATURES = ["cell_size_uniformity", "bare_nuclei"]
LEARNING_RATE, STEPS = 2.0, 1500
BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito: distinct for colour-blind readers

Array = npt.NDArray[np.float64]


class Neuron(NamedTuple):
    """A trained neuron: two weights, a bias, and the loss at every step."""

    w: Array
    b: float
    losses: list[float]

    def probability(self, X: Array) -> Array:
        """Return the output, of shape (n,), for samples of shape (n, 2): of plain arrays nothing is recorded."""
        return tg.sigmoid(X @ self.w + self.b)


def load() -> tuple[Array, Array, Array, Array]:
    """Return two features, scaled to 0 … 1, and the class, of the tutorial's training and validation rows."""
    train, validation = data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV)))
    X, X_val = (part[FEATURES].to_numpy() for part in (train, validation))
    y, y_val = (part["malignant"].to_numpy(dtype=float) for part in (train, validation))
    return X, y, X_val, y_val


def train(X: Array, y: Array, lr: float = LEARNING_RATE, steps: int = STEPS) -> Neuron:
    """Let the weights, 0 at first, follow the slope of the mean cross-entropy downhill."""
    w = tg.tensor(np.zeros(2), requires_grad=True, name="w")
    b = tg.tensor(0.0, requires_grad=True, name="b")
    losses = []
    for _ in range(steps):
        p = tg.sigmoid(X @ w + b)
        loss = -(y * tg.log(p) + (1 - y) * tg.log(1 - p)).mean()
        losses.append(loss.item())
        slope_w, slope_b = tg.grad(loss, [w, b])
        with tg.no_grad():
            w -= lr * slope_w
            b -= lr * slope_b
    return Neuron(w.detach().numpy(), b.item(), losses)


def draw_decision(neuron: Neuron, X: Array, y: Array, generator: np.random.Generator) -> Figure:
    """Draw the samples over the neuron's probability, and the line where it is one half."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot(title="What one neuron makes of two features")
    axes.set(xlabel=FEATURES[0].replace("_", " ") + ", scaled", ylabel=FEATURES[1].replace("_", " ") + ", scaled")
    grid = np.linspace(-0.07, 1.07, 150)
    points = np.stack(np.meshgrid(grid, grid), axis=-1)
    probability = neuron.probability(points.reshape(-1, 2)).reshape(150, 150)
    colours = LinearSegmentedColormap.from_list("benign to malignant", [BLUE, "white", ORANGE])
    shades = axes.pcolormesh(grid, grid, probability, cmap=colours, vmin=0, vmax=1, alpha=0.5, rasterized=True)
    axes.contour(grid, grid, probability, [0.5], colors="black", linewidths=2.5)
    for label, value, colour, marker in (("benign", 0, BLUE, "o"), ("malignant", 1, ORANGE, "^")):
        chosen = X[y == value]
        shifted = chosen + generator.uniform(-0.04, 0.04, chosen.shape)
        axes.plot(*shifted.T, marker, color=colour, markeredgecolor="white", markersize=6, label=label)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, title="samples, shifted a little: many coincide")
    figure.colorbar(shades, label="probability of malignant")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train the neuron, say what it learned, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/03_one_neuron"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, y, X_val, y_val = load()
    neuron = train(X, y)
    print(f"One neuron on {len(X)} samples: σ(w₁·{FEATURES[0]} + w₂·{FEATURES[1]} + b), all 0 at first.")
    for step in (0, 10, 100, STEPS - 1):
        print(f"step {step:>5}: loss {neuron.losses[step]:.4f}")
    assert np.isclose(neuron.losses[0], np.log(2))  # it says one half of everything, and -log(1/2) = log 2
    assert (np.diff(neuron.losses) < 0).all()
    print(f"The first loss is log 2: it says one half of every sample. After each of the {STEPS} steps it was lower.")

    (w1, w2), b = neuron.w, neuron.b
    print(f"\nweights {w1:.2f} and {w2:.2f}, bias {b:.2f}: the line where it says one half is", end="\n  ")
    print(f"{FEATURES[1]} = {-b / w2:.2f} − {w1 / w2:.2f} · {FEATURES[0]}")
    for part, features, targets in (("training", X, y), ("validation", X_val, y_val)):
        right = (neuron.probability(features) > 0.5) == targets
        always_benign = (targets == 0).mean()
        print(f"{part:<10}  {right.mean():.1%} right ({always_benign:.1%} if everything were called benign)")

    pictures = {
        "decision.png": draw_decision(neuron, X, y, np.random.default_rng(0)),
        "loss.png": draw.loss_curve(np.arange(STEPS), neuron.losses, "The loss falls at every step"),
    }
    print("\nwritten:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
