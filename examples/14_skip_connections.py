"""Why deep networks have skip connections: the same twenty layers, with and without.

    python examples/14_skip_connections.py

Read `13_landscape.py` first, and `05_initialisation.py` for the initial weights, which are right for relu in both
networks here. A layer x → relu(W x + b) must carry on everything that the layers before it found. A residual block x →
x + relu(W x + b) / √depth carries it on by itself and has only something to add (K. He and others, "Deep residual
learning for image recognition", 2016, eq. 1; the factor keeps the sum of many blocks from growing). Then the landscapes
of both are drawn with one scale (H. Li and others, "Visualizing the loss landscape of neural nets", 2018, figure 1).
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
DEPTH, WIDTH = 20, 16
STEPS, RATE, MOMENTUM, DRAWS = 150, 0.02, 0.9, 20
LOW = 0.2

Array = npt.NDArray[Any]


class Layer(nn.Module):
    """Linear and relu, with or without a connection that skips them."""

    def __init__(self, skip: bool, generator: np.random.Generator) -> None:
        self.linear, self.skip = nn.Linear(WIDTH, WIDTH, generator=generator), skip
        nn.init.kaiming_normal_(self.linear.weight, nonlinearity="relu", generator=generator)
        if self.linear.bias is not None:
            nn.init.zeros_(self.linear.bias)

    def forward(self, x: tg.Tensor) -> tg.Tensor:
        """Run the layer on x, (sample, WIDTH)."""
        y = tg.relu(self.linear(x))
        return x + y / DEPTH**0.5 if self.skip else y


class DeepNet(nn.Module):
    """Nine features, DEPTH layers, one score; the same initial weights with and without skip connections."""

    def __init__(self, skip: bool, generator: np.random.Generator) -> None:
        self.first = nn.Linear(9, WIDTH, generator=generator)
        self.layers = [Layer(skip, generator) for _ in range(DEPTH)]
        self.last = nn.Linear(WIDTH, 1, generator=generator)

    def forward(self, x: Any) -> tg.Tensor:
        """Return a score for each row of x, (sample, 9)."""
        x = tg.relu(self.first(x))
        for layer in self.layers:
            x = layer(x)
        return self.last(x)


def loss_of(model: DeepNet, X: Array, Y: Array) -> tg.Tensor:
    """Return the loss on all rows."""
    return tg.binary_cross_entropy_with_logits(model(X), Y)


def first_gradients(skip: bool, X: Array, Y: Array) -> Array:
    """Return the norm of every layer's first gradient, for several initial weights, (DRAWS, DEPTH)."""
    models = [DeepNet(skip, np.random.default_rng(seed)) for seed in range(DRAWS)]
    gradients = [tg.grad(loss_of(model, X, Y), [layer.linear.weight for layer in model.layers]) for model in models]
    return np.array([[np.linalg.norm(g.data) for g in of_layers] for of_layers in gradients])


def train(skip: bool, X: Array, Y: Array) -> tuple[DeepNet, Array]:
    """Train on all rows at once; return the network, and the loss before each step and after the last."""
    model = DeepNet(skip, np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, X, Y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, np.array([*losses, loss_of(model, X, Y).item()])


def hilly(losses: Array) -> int:
    """Return on how many lines of a grid, along both axes, the loss rises and then falls again: in a bowl, on none."""
    rises = [np.diff(line) > 0 for line in (*losses, *losses.T)]
    return sum(bool((up[:-1] & ~up[1:]).any()) for up in rises)


def chart(norms: dict[str, Array], losses: dict[str, Array]) -> Figure:
    """Draw gradient norms by layer, and the losses."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    layers = np.arange(1, DEPTH + 1)
    for name, colour, dashes in zip(norms, (draw.plots.ORANGE, draw.plots.BLUE), ("--", "-"), strict=True):
        left.fill_between(layers, norms[name].min(0), norms[name].max(0), color=colour, alpha=0.25, linewidth=0)
        left.semilogy(layers, np.median(norms[name], 0), dashes, color=colour, linewidth=2.5, label=name)
        right.semilogy(losses[name], dashes, color=colour, linewidth=2.5, label=name)
    left.set(title=f"First gradient: median and range of {DRAWS}", xlabel="layer", ylabel="norm")
    left.set_xticks(range(0, DEPTH + 1, 5))
    right.set(title="Training", xlabel="step", ylabel="loss")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Train both, compare gradients, losses and landscapes; return 0 if the skip connections helped."""
    parser = argparse.ArgumentParser(description="A deep network with and without skip connections.")
    parser.add_argument("--out", type=Path, default=Path("out/14_skip_connections"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    (X, Y), _ = map(data.as_columns, data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV))))
    X, Y = X.T, Y.T
    print(f"{DEPTH} layers of {WIDTH} units, {len(X)} samples, {STEPS} steps, learning rate {RATE}")

    norms, losses, landscapes = {}, {}, {}
    for name, skip in (("plain", False), ("with skip connections", True)):
        norms[name] = first_gradients(skip, X, Y)
        model, losses[name] = train(skip, X, Y)
        landscape = draw.Landscape(partial(loss_of, model, X, Y), model.parameters(), generator=1)
        grid = landscape.evaluate(1.0, steps=33)
        landscapes[f"{DEPTH} layers, {name}"] = landscape
        settled = 1 + np.flatnonzero(losses[name] >= LOW).max(initial=-1)
        first = norms[name].mean(1)
        print(
            f"\n{name}\n"
            f"  first gradients, {DRAWS} initialisations: mean norm of a layer {first.min():.1e} to {first.max():.1e}\n"
            f"  loss {losses[name][0]:.3f} → {losses[name][-1]:.3f}, highest on the way {losses[name].max():.2f}; "
            + (f"below {LOW} for good from step {settled}\n" if settled <= STEPS else f"not below {LOW} at the end\n")
            + f"  landscape around the end: hills on {hilly(grid)} of {sum(grid.shape)} lines"
        )
    written = [
        draw.save_figure(chart(norms, losses), out / "training.png"),
        draw.save_figure(draw.compare_landscapes(landscapes), out / "landscapes.png"),
        tg.graph(loss_of(model, X, Y), depth=1).render(out / "graph.svg"),  # the blocks folded
    ]
    print(f"\nwritten: {', '.join(map(str, written))}")
    plain, skipping = losses.values()
    return 0 if skipping[-1] < plain[-1] else 1


if __name__ == "__main__":
    sys.exit(main())
