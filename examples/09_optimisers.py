"""Eight ways to turn gradients into steps; learning rates by layer; and gradients that are cut to size.

    python examples/09_optimisers.py

Read after `08_batches.py`; `10_schedules.py` lets the learning rate change with time. One learns
- how plain descent zigzags in a narrow valley, and what momentum, Adam and a quasi-Newton method make of it;
- that the order of the optimisers depends on the problem: the same eight train a network;
- what groups of parameters are for, and when to clip gradients.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import tinygrad_bc as tg
from tinygrad_bc import draw, nn, optim, train

START, MINIMUM, EVALUATIONS = (-1.3, 1.2), (1.0, 1.0), 150
EPOCHS = 25

Array = npt.NDArray[Any]


class Way(NamedTuple):
    """An optimiser, its options, and the learning rates that suit it in the valley and in the network."""

    kind: Callable[..., optim.Optimizer]
    valley: float
    network: float
    options: dict[str, Any]


ONE_SEARCH = {"line_search_fn": "strong_wolfe", "max_iter": 1, "max_eval": 25}  # a step is one search along a line
WAYS = {
    "SGD": Way(optim.SGD, 0.01, 0.1, {}),
    "momentum": Way(optim.SGD, 0.01, 0.03, {"momentum": 0.9}),
    "Nesterov": Way(optim.SGD, 0.01, 0.03, {"momentum": 0.9, "nesterov": True}),
    "Adagrad": Way(optim.Adagrad, 0.5, 0.03, {}),
    "RMSprop": Way(optim.RMSprop, 0.05, 0.003, {}),
    "Adam": Way(optim.Adam, 0.1, 0.01, {}),
    "AdamW": Way(optim.AdamW, 0.1, 0.01, {"weight_decay": 0.05}),
    "L-BFGS": Way(optim.LBFGS, 1.0, 1.0, ONE_SEARCH),
}
COLOURS = ("black", "#0072B2", "#56B4E9", "#009E73", "#999999", "#D55E00", "#E69F00", "#CC79A7")  # Okabe and Ito


def valley(x: Any, y: Any) -> Any:
    """Return Rosenbrock's function (1960), with a 10 for his 100: a curved valley, lowest at (1, 1)."""
    return (1 - x) ** 2 + 10 * (y - x**2) ** 2


def walk(way: Way) -> Array:
    """Return the points an optimiser comes to, from START on, until it has asked for the gradient so many times."""
    at = tg.tensor(START, requires_grad=True)
    optimizer = way.kind([at], lr=way.valley, **way.options)
    heights, points = [], [at.data.copy()]

    def closure() -> tg.Tensor:  # L-BFGS calls it several times a step
        optimizer.zero_grad()
        height = valley(at[0], at[1])
        height.backward()
        heights.append(height.item())
        return height

    while len(heights) < EVALUATIONS:
        optimizer.step(closure)
        points.append(at.data.copy())
    return np.array(points)


def train_by(way: Way) -> Array:
    """Return the loss on scikit-learn's digits at every epoch."""
    X, y = load_digits(return_X_y=True)
    X, y = (X[:600] - X.mean()) / X.std(), y[:600]
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(64, 32, generator=rng), nn.ReLU(), nn.Linear(32, 10, generator=rng))
    optimizer = way.kind(model.parameters(), lr=way.network, **way.options)
    batches = [(X, y)] if way.kind is optim.LBFGS else [(X[i::10], y[i::10]) for i in range(10)]
    return train.fit(model, batches, nn.CrossEntropyLoss(), optimizer, epochs=EPOCHS)["loss"]


def descend(height: Callable[[], tg.Tensor], optimizer: optim.Optimizer, steps: int, max_norm: float = np.inf) -> None:
    """Take steps down, with gradients cut to a norm of `max_norm`."""
    for _ in range(steps):
        optimizer.zero_grad()
        height().backward()
        nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], max_norm)
        optimizer.step()


def with_rates(lr_x: float, lr_y: float, steps: int) -> Array:
    """Return where descent on ½(x² + 100 y²) from (1, 1) comes to, with a learning rate for x and one for y."""
    x, y = (tg.tensor(1.0, requires_grad=True) for _ in range(2))
    optimizer = optim.SGD([{"params": [x], "lr": lr_x}, {"params": [y], "lr": lr_y}])
    descend(lambda: (x**2 + 100 * y**2) / 2, optimizer, steps)
    return np.array([x.item(), y.item()])


def on_a_steep_slope(steps: int, max_norm: float = np.inf) -> float:
    """Return where descent on x⁴ from 3 comes to, with a learning rate of 0.1."""
    x = tg.tensor(3.0, requires_grad=True)
    descend(lambda: x**4, optim.SGD([x], lr=0.1), steps, max_norm)
    return x.item()


def draw_walks(walks: dict[str, Array]) -> Figure:
    """Draw each optimiser's way through the valley."""
    figure = Figure(figsize=(10, 5.4), layout="constrained")
    figure.suptitle(f"A narrow valley from ○ to its lowest point ×, {EVALUATIONS} gradients each")
    x, y = np.meshgrid(np.linspace(-1.8, 1.8, 160), np.linspace(-0.7, 2.2, 120))
    for axes, (name, points) in zip(figure.subplots(2, 4, sharex=True, sharey=True).flat, walks.items()):
        heights, levels = valley(x, y) + 1e-9, np.geomspace(0.05, 60, 12)
        axes.contourf(x, y, heights, levels, cmap="Greys", norm=LogNorm(0.05, 600), extend="both")
        axes.plot(*points.T, ".-", color="#D55E00", linewidth=1, markersize=4)
        axes.plot(*START, "o", color="black", markersize=9, markerfacecolor="none", markeredgewidth=2)
        axes.plot(*MINIMUM, "x", color="black", markersize=9, markeredgewidth=2)
        axes.set(title=f"{name}: {valley(*points[-1]):.0e}", xlim=(-1.8, 1.8), ylim=(-0.7, 2.2), xticks=[], yticks=[])
    return figure


def draw_losses(losses: dict[str, Array]) -> Figure:
    """Draw the loss of the network over the epochs."""
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.add_subplot(title="The same eight train a network", xlabel="epoch", ylabel="loss")
    for (name, values), colour, marker in zip(losses.items(), COLOURS, "o^vsDPX*"):
        axes.semilogy(values, marker=marker, markevery=4, color=colour, linewidth=1.8, label=name)
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Walk, train, group, clip, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/09_optimisers"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    walks = {name: walk(way) for name, way in WAYS.items()}
    losses = {name: train_by(way) for name, way in WAYS.items()}
    print(f"            valley, after {EVALUATIONS} gradients   network, loss after {EPOCHS} epochs")
    for name in WAYS:
        print(f"{name:<10}  {valley(*walks[name][-1]):>27.1e}  {losses[name][-1]:>31.4f}")
    heights = {name: valley(*points[-1]) for name, points in walks.items()}
    trained = {name: values[-1] for name, values in losses.items()}
    assert heights["momentum"] < heights["Adam"] < heights["SGD"]
    assert trained["Adam"] < trained["momentum"] < trained["SGD"]
    print(
        "\nMomentum and Adam are both ahead of plain SGD; in the valley momentum comes lower of the two, in the\n"
        f"network Adam. Lowest of all are {min(heights, key=heights.__getitem__)} in the valley and "
        f"{min(trained, key=trained.__getitem__)} in the network."
    )

    one, two = with_rates(0.019, 0.019, steps=50), with_rates(1.0, 0.01, steps=1)  # from 0.02 on y would diverge
    assert np.abs(two).max() < 1e-12 < np.abs(one).max()
    print(
        "\nLearning rates by group: ½(x² + 100 y²) is 100 times as curved along y. One rate for both has to suit\n"
        f"y: after 50 steps x has come from 1 to {one[0]:.2f}. With a rate for each, one step leads to (0, 0)."
    )
    wild, tame = on_a_steep_slope(4), on_a_steep_slope(200, max_norm=1.0)
    assert abs(wild) > 1e6 > 1 > abs(tame)
    print(
        f"\nClipping: on x⁴ from 3, four plain steps lead to x = {wild:.0e}. With gradients cut to a norm of 1,\n"
        f"the steps stay small where the slope is steep: x = {tame:.2f} after 200."
    )
    pictures = {"valley.png": draw_walks(walks), "training.png": draw_losses(losses)}
    print("\nwritten:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
