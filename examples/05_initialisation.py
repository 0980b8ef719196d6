"""The first weights of a deep network: zeros, too small, too large, Xavier's and Kaiming's.

    python examples/05_initialisation.py

Read after `04_classifier.py`; `06_activations.py` keeps the weights and changes what is between them. One learns
- why weights must not start at 0: then no layer passes on a signal, nor a gradient;
- that a layer multiplies the size of what passes through it, so that ten layers take that factor to the tenth power;
- how Xavier Glorot (2010) and Kaiming He (2015) chose the size, and why relu needs the factor 2 of the latter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import tinygrad_bc as tg
from tinygrad_bc import draw, nn, optim, train

LAYERS, UNITS, EPOCHS = 10, 64, 25
SMALL, LARGE = 0.02, 0.5
RULES: dict[str, Callable[[tg.Tensor, np.random.Generator], Any]] = {
    "zeros": lambda weight, _: nn.init.zeros_(weight),
    f"too small: normal, {SMALL}": lambda weight, rng: nn.init.normal_(weight, std=SMALL, generator=rng),
    f"too large: normal, {LARGE}": lambda weight, rng: nn.init.normal_(weight, std=LARGE, generator=rng),
    "Xavier 2010": lambda weight, rng: nn.init.xavier_normal_(weight, generator=rng),
    "Kaiming 2015": lambda weight, rng: nn.init.kaiming_normal_(weight, nonlinearity="relu", generator=rng),
}
ZEROS, TOO_SMALL, TOO_LARGE, XAVIER, KAIMING = RULES
COLOURS = dict(zip(RULES, ("black", "#56B4E9", "#D55E00", "#E69F00", "#0072B2")))  # Okabe and Ito
MARKERS = dict(zip(RULES, "xvs^o"))

Array = npt.NDArray[Any]


def load(rows: int = 600) -> tuple[Array, Array]:
    """Return scikit-learn's digits, 8×8 pixels each, with mean 0 and variance 1 over all of them; and their classes."""
    X, y = load_digits(return_X_y=True)
    return (X[:rows] - X.mean()) / X.std(), y[:rows]


def network(rule: str) -> nn.Sequential:
    """Return ten layers of 64 units with relu and one for the classes; all biases are 0."""
    rng = np.random.default_rng(0)
    model = nn.Sequential()
    for _ in range(LAYERS):
        model.append(nn.Linear(UNITS, UNITS, generator=rng)).append(nn.ReLU())
    model.append(nn.Linear(UNITS, 10, generator=rng))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            RULES[rule](parameter, rng)
    return model


def sizes(model: nn.Sequential, X: Array, y: Array) -> pd.DataFrame:
    """Return, for each of the ten layers, the root mean square of its activations and of their gradients."""
    x, outputs = X, []
    for module in model:
        x = module(x)
        if isinstance(module, nn.ReLU):
            outputs.append(x)
    gradients = tg.grad(nn.functional.cross_entropy(x, y), outputs)
    table = {"activations": [rms(output) for output in outputs], "gradients": [rms(gradient) for gradient in gradients]}
    return pd.DataFrame(table, index=pd.RangeIndex(1, LAYERS + 1, name="layer"))


def rms(x: tg.Tensor) -> float:
    """Return the root mean square of all elements."""
    return float(np.sqrt((x.data**2).mean()))


def train_from(rule: str, X: Array, y: Array) -> Array:
    """Return the loss at every epoch of the same training, started from these weights."""
    model = network(rule)
    batches = [(X[i::10], y[i::10]) for i in range(10)]
    history = train.fit(model, batches, nn.CrossEntropyLoss(), optim.Adam(model.parameters(), lr=1e-3), epochs=EPOCHS)
    return history["loss"]


def draw_all(tables: dict[str, pd.DataFrame], losses: dict[str, Array]) -> Figure:
    """Draw activations and gradients by layer before the first step, and the loss over the epochs after it."""
    figure = Figure(figsize=(12.5, 4.6), layout="constrained")
    figure.suptitle("The same ten relu layers and the same training from other first weights")
    forward, backward, training = figure.subplots(1, 3)
    for rule in RULES:
        style: dict[str, Any] = {"color": COLOURS[rule], "marker": MARKERS[rule], "linewidth": 2, "label": rule}
        training.semilogy(losses[rule], markevery=4, **style)
        if rule != ZEROS:  # they have no place on a logarithmic scale
            forward.semilogy(tables[rule]["activations"], **style)
            backward.semilogy(tables[rule]["gradients"], **style)
    forward.set(title="forward: activations", xlabel="layer", ylabel="root mean square (zeros: 0)")
    backward.set(title="backward: gradients of the activations", xlabel="layer")
    training.set(title="training", xlabel="epoch", ylabel="loss")
    training.axhline(np.log(10), color="grey", linestyle=":", linewidth=2, label="guessing: log 10")
    for axes in (forward, backward, training):
        axes.grid(alpha=0.3)
    figure.legend(*training.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Measure the layers under every rule, train from each, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/05_initialisation"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, y = load()
    tables = {rule: sizes(network(rule), X, y) for rule in RULES}
    losses = {rule: train_from(rule, X, y) for rule in RULES}
    first, last = ({rule: table.loc[layer] for rule, table in tables.items()} for layer in (1, LAYERS))
    print(
        f"{LAYERS} relu layers of {UNITS} units. Going forward, the activations change by a factor of a, from the first"
    )
    print(f"layer to the last; going back, the gradients by a factor of b; and after {EPOCHS} epochs the loss is l.\n")
    print(f"{'':<24}      a        b        l")
    for rule in (TOO_SMALL, TOO_LARGE, XAVIER, KAIMING):
        forward = last[rule]["activations"] / first[rule]["activations"]
        backward = first[rule]["gradients"] / last[rule]["gradients"]
        print(f"{rule:<24}  {forward:.1e}  {backward:.1e}  {losses[rule][-1]:>7.4f}")

    assert tables[ZEROS].eq(0).all(axis=None)
    shares = np.bincount(y) / len(y)
    least = -(shares * np.log(shares)).sum()
    assert losses[ZEROS].min() > 0.99 * least
    print(
        f"\nFrom zeros nothing passes, in either direction: only the last bias learns, how frequent each class is,\n"
        f"and the loss cannot fall under {least:.2f}, the entropy of that. It ends at {losses[ZEROS][-1]:.2f}."
    )
    spread = {rule: table.max() / table.min() for rule, table in tables.items() if rule in (XAVIER, KAIMING)}
    assert (spread[KAIMING] < spread[XAVIER]).all()
    print(
        f"Kaiming's weights keep the activations of all layers within a factor of {spread[KAIMING]['activations']:.1f} "
        f"and the gradients of {spread[KAIMING]['gradients']:.1f}.\nXavier's were made for tanh and lack relu's factor "
        f"√2 a layer, {2 ** ((LAYERS - 1) / 2):.0f} in all: {spread[XAVIER]['activations']:.0f} and "
        f"{spread[XAVIER]['gradients']:.0f}."
    )
    print("\nwritten:", draw.save_figure(draw_all(tables, losses), out / "initialisation.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
