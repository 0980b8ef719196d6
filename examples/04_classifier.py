"""The tutorial's classifier from ready-made layers, trained by `train.fit`, and by the loop that fit is.

    python examples/04_classifier.py

Read after `03_one_neuron.py`; `wisconsin.py` is the same network from tensor ops, with everything checked. One learns
- how layers are put together to a model, and what a model knows of itself: names, shapes, number of parameters;
- that `train.fit` does what five lines do, to the last bit;
- that both come out at the figures of the backward pass that was derived by hand.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import hand_derived
import numpy as np
import numpy.typing as npt
from sklearn.metrics import accuracy_score, confusion_matrix

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
LEARNING_RATE, ITERATIONS = 0.01, 2001

Array = npt.NDArray[Any]


def load() -> tuple[Array, Array, Array, Array]:
    """Return the tutorial's training and validation rows: features (n, 9), scaled, and classes (n, 1)."""
    scaled = data.scale_min_max(data.load_wisconsin(CSV))
    (X, y), (X_val, y_val) = map(data.as_columns, data.tutorial_split(scaled))
    return X.T, y.T, X_val.T, y_val.T  # a sample per row, as layers take them


def network() -> nn.Sequential:
    """Return 9 features → 15 hidden units → one probability, with the tutorial's initial weights."""
    model = nn.Sequential(
        {
            "hidden": nn.Linear(9, 15, generator=0),
            "relu": nn.ReLU(),
            "output": nn.Linear(15, 1, generator=0),
            "sigmoid": nn.Sigmoid(),
        }
    )
    W1, b1, W2, b2 = hand_derived.initial_parameters().values()
    initial = {"hidden.weight": W1, "hidden.bias": b1[:, 0], "output.weight": W2, "output.bias": b2[:, 0]}
    model.load_state_dict(initial)
    return model


def train_with_fit(X: Array, y: Array) -> tuple[nn.Sequential, Array]:
    """Return the trained model and the loss before every step. All rows are one batch, so an epoch is one step."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    history = train.fit(model, [(X, y)], nn.BCELoss(), optimizer, epochs=ITERATIONS)
    return model, history["loss"]


def train_by_hand(X: Array, y: Array) -> tuple[nn.Sequential, Array]:
    """Do the same in a loop of one's own."""
    model = network()
    criterion, optimizer = nn.BCELoss(), optim.SGD(model.parameters(), lr=LEARNING_RATE)
    losses = []
    for _ in range(ITERATIONS):
        optimizer.zero_grad()
        loss = criterion(model(X), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, np.array(losses)


def derived_by_hand(X: Array, y: Array) -> Array:
    """Return the losses of the tutorial's own formulas, in NumPy, on which nothing here depends."""
    parameters = hand_derived.initial_parameters()
    return np.array([hand_derived.step(X.T, y.T, parameters, LEARNING_RATE).item() for _ in range(ITERATIONS)])


def main(argv: list[str] | None = None) -> int:
    """Train twice, compare, score, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/04_classifier"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, y, X_val, y_val = load()
    print(f"The model:\n{network()}\n")
    model, losses = train_with_fit(X, y)
    looped, losses_of_loop = train_by_hand(X, y)
    for i in range(0, ITERATIONS, 500):
        print(f"iteration {i:>5}: loss {losses[i]:.6f}")

    weights, weights_of_loop = model.state_dict(), looped.state_dict()
    assert all(np.array_equal(weights[name], weights_of_loop[name]) for name in weights)
    assert np.array_equal(losses, losses_of_loop)
    print(f"\nfit and the loop written by hand: the same {ITERATIONS} losses and the same weights, bit for bit.")
    difference = np.abs(losses - derived_by_hand(X, y)).max()
    assert difference < 1e-12
    print(f"The derivatives on paper, in NumPy: the same losses, up to {difference:.0e}.\n")

    with tg.no_grad():
        found = {name: (model(x).numpy() > 0.5, t) for name, x, t in (("training", X, y), ("validation", X_val, y_val))}
    for part, (predictions, targets) in found.items():
        right = accuracy_score(targets, predictions)
        print(f"{part:<10}  {right:.1%} right, {(predictions != targets).sum()} of {len(targets)} wrong")

    matrices = {part: confusion_matrix(targets, predictions) for part, (predictions, targets) in found.items()}
    loss = nn.BCELoss()(model(tg.tensor(X, name="X")), tg.tensor(y, name="y"))
    loss.backward()
    written = [
        draw.save_figure(draw.loss_curve(np.arange(ITERATIONS), losses), out / "loss.png"),
        draw.save_figure(draw.confusion_matrices(matrices), out / "confusion.png"),
        tg.graph(loss, direction="LR").render(out / "model.png"),
    ]
    print("\nwritten:", *written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
