"""What stands between the layers: sigmoid, tanh, relu and leaky relu, and what each does to gradients.

    python examples/06_activations.py

Read after `05_initialisation.py`; `07_regularisation.py` goes on with what a network learns too well. One learns
- that the slope of every activation is a factor of the chain rule, and sigmoid's is at most 1/4: gradients vanish;
- that a relu may die, 0 for every sample and without a gradient, and that a leaky relu cannot;
- that sigmoid and tanh saturate; and to read all of this from `nn.report`.
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

LAYERS, UNITS, EPOCHS = 8, 64, 20
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.1),
}
COLOURS = dict(zip(ACTIVATIONS, ("#D55E00", "#E69F00", "#0072B2", "#56B4E9")))  # Okabe and Ito
STYLES = dict(zip(ACTIVATIONS, ("v-", "^-", "o-", "s--")))

Array = npt.NDArray[Any]


def load(rows: int = 600) -> tuple[Array, Array]:
    """Return scikit-learn's digits, 8×8 pixels each, with mean 0 and variance 1 over all of them; and their classes."""
    X, y = load_digits(return_X_y=True)
    return (X[:rows] - X.mean()) / X.std(), y[:rows]


def network(activation: str, scale: float = 1.0) -> nn.Sequential:
    """Return eight layers with this activation, their weights of Xavier's or Kaiming's size times `scale`."""
    rng = np.random.default_rng(0)
    model = nn.Sequential()
    for _ in range(LAYERS):
        model.append(nn.Linear(UNITS, UNITS, generator=rng)).append(ACTIVATIONS[activation]())
    model.append(nn.Linear(UNITS, 10, generator=rng))
    gain = nn.init.calculate_gain(activation, 0.1 if activation == "leaky_relu" else None)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.xavier_normal_(parameter, gain * scale, generator=rng)
    return model


def report(model: nn.Module, X: Array, y: Array) -> pd.DataFrame:
    """Return the table of layers and activations, for the loss on these samples."""
    return nn.report(model, X, loss=lambda logits: nn.functional.cross_entropy(logits, y))


def hidden_gradients(table: pd.DataFrame) -> Array:
    """Return the gradient's size in each hidden layer, from the first on."""
    return table.loc[table["kind"] == "Linear", "grad_rms"].to_numpy()[:LAYERS]


def units_without_gradient(model: nn.Sequential, X: Array, y: Array) -> Array:
    """Return how many units of each hidden layer have weights whose gradients are all exactly 0."""
    weights = [module.weight for module in model if isinstance(module, nn.Linear)][:LAYERS]
    gradients = tg.grad(nn.functional.cross_entropy(model(X), y), weights)
    return np.array([(gradient.data == 0).all(axis=1).sum() for gradient in gradients])


def train_with(optimizer: optim.Optimizer, model: nn.Module, X: Array, y: Array) -> Array:
    """Return the loss at every epoch of ten batches."""
    batches = [(X[i::10], y[i::10]) for i in range(10)]
    return train.fit(model, batches, nn.CrossEntropyLoss(), optimizer, epochs=EPOCHS)["loss"]


def draw_functions() -> Figure:
    """Draw each activation, and its slope from the record."""
    figure = Figure(figsize=(9.6, 2.9), layout="constrained")
    points = np.linspace(-5, 5, 402)  # without 0, where relu has a corner
    for axes, (name, activation) in zip(figure.subplots(1, 4, sharey=True), ACTIVATIONS.items()):
        x = tg.tensor(points, requires_grad=True)
        y = activation()(x)
        (slope,) = tg.grad(y.sum(), x)
        axes.plot(points, y.data, color=COLOURS[name], linewidth=2.5, label="value")
        axes.plot(points, slope.data, "--", color="black", linewidth=1.5, label="slope")
        axes.set(title=f"{name.replace('_', ' ')}: slope ≤ {slope.data.max():.2g}", ylim=(-1.3, 2.3))
        axes.grid(alpha=0.3)
        axes.legend(loc="upper left", frameon=False)
    return figure


def draw_training(gradients: dict[str, Array], losses: dict[str, Array], dead: dict[str, Array]) -> Figure:
    """Draw the gradients before training, by layer, the loss during it, and the units that a rough training kills."""
    figure = Figure(figsize=(12.5, 4.4), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    layers = np.arange(1, LAYERS + 1)
    for name in ACTIVATIONS:
        style: dict[str, Any] = {"color": COLOURS[name], "linewidth": 2, "label": name.replace("_", " ")}
        left.semilogy(layers, gradients[name], STYLES[name], **style)
        middle.semilogy(losses[name], STYLES[name], markevery=4, **style)
    for offset, (name, counts) in zip((-0.2, 0.2), dead.items()):
        right.bar_label(right.bar(layers + offset, counts, 0.4, color=COLOURS[name]))
    left.set(title="gradients before training", xlabel="layer", ylabel="root mean square")
    middle.set(title="training", xlabel="epoch", ylabel="loss")
    right.set(
        title="after too large steps", xlabel="layer", xticks=layers, ylabel=f"units without a gradient, of {UNITS}"
    )
    for axes in (left, middle):
        axes.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Report on the four networks, train them, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/06_activations"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, y = load()
    print(f"A network of {LAYERS} sigmoid layers before training, as nn.report sees it:\n")
    print(report(network("sigmoid"), X, y).drop(columns=["parameters", "dead"]), end="\n\n")
    gradients, losses = {}, {}
    for name in ACTIVATIONS:
        model = network(name)
        gradients[name] = hidden_gradients(report(model, X, y))
        losses[name] = train_with(optim.SGD(model.parameters(), lr=0.02, momentum=0.9), model, X, y)
        print(
            f"{name:<10}  gradient of layer 1 ÷ layer {LAYERS}: {gradients[name][0] / gradients[name][-1]:<8.1g}",
            end="",
        )
        print(f"  loss {losses[name][0]:.2f} → {losses[name][-1]:.4f}")
    assert losses["sigmoid"][-1] > 0.99 * np.log(10) > max(losses[name][-1] for name in ("tanh", "relu", "leaky_relu"))
    print(f"The sigmoid network has learned nothing: log 10 = {np.log(10):.2f} is the loss of guessing.\n")

    saturated = {scale: report(network("tanh", scale), X, y)["saturated"].mean() for scale in (1, 8)}
    print(f"tanh: {saturated[1]:.0%} saturated; {saturated[8]:.0%} if the weights are 8 times as large.")
    dead = {}
    for name in ("relu", "leaky_relu"):
        model = network(name)
        train_with(optim.Adam(model.parameters(), lr=0.015), model, X, y)
        dead[name] = units_without_gradient(model, X, y)
        print(f"{name}: after steps that are too large, {dead[name].sum()} of {LAYERS * UNITS} units have no gradient.")

    assert dead["relu"].any()
    assert not dead["leaky_relu"].any()
    pictures = {"functions.png": draw_functions(), "training.png": draw_training(gradients, losses, dead)}
    print("\nwritten:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
