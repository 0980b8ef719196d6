"""The chain rule: the slopes along a path multiply, and the paths to a value add up.

    python examples/02_chain_rule.py

Read after `01_derivative.py`; `03_one_neuron.py` puts slopes to use. One learns
- how the derivative of a composed function comes from the slopes of its parts;
- what is recorded when tensors are computed with, and how backward walks through that record;
- how to have the chain rule of one's own computation shown: as a picture, as formulas, and as a page to step through.
"""

from __future__ import annotations

import argparse
import sys
from math import cos, exp, isclose, sin
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import draw

BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito: distinct for colour-blind readers
X = 1.5


def function(at: float) -> tuple[tg.Tensor, tg.Tensor]:
    """Return x and y = sin(x²) · exp(−x), recorded step by step: x is used twice, on two paths to y."""
    x = tg.tensor(at, requires_grad=True, name="x")
    square = x**2
    wave = tg.sin(square)
    fall = tg.exp(-x)
    y = wave * fall
    for between in (square, wave, fall, y):
        between.retain_grad()  # to be seen in the picture; otherwise only x keeps its gradient
    return x, y


def by_hand(x: float) -> tuple[float, float]:
    """Return the product of the slopes along each of the two paths from x to y."""
    through_wave = exp(-x) * cos(x**2) * (2 * x)  # of wave · fall by wave, of sin, of x²
    through_fall = sin(x**2) * exp(-x) * (-1)  # of wave · fall by fall, of exp, of −x
    return through_wave, through_fall


def draw_function() -> Figure:
    """Draw y and its derivative, which is 0 where y turns."""
    points = np.linspace(0, 3, 400)
    x = tg.tensor(points, requires_grad=True)
    y = tg.sin(x**2) * tg.exp(-x)
    (slope,) = tg.grad(y.sum(), x)  # each point has its own term in the sum, so all slopes come at once
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.add_subplot(title="y = sin(x²) · exp(−x) and its slope", xlabel="x")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot(points, y.data, color=BLUE, linewidth=2.5, label="y")
    axes.plot(points, slope.data, "--", color=ORANGE, linewidth=2.5, label="dy/dx, from the record")
    turns = points[:-1][np.diff(np.sign(slope.data)) != 0]
    for turn in turns:
        axes.axvline(turn, color="grey", linestyle=":", linewidth=1.5)
    axes.plot([], [], ":", color="grey", label="where y turns, the slope is 0")
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Multiply the slopes by hand, let the record do it, and show both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/02_chain_rule"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    x, y = function(X)
    through_wave, through_fall = by_hand(X)
    print(
        f"y = sin(x²) · exp(−x) at x = {X:g} is {y.item():.6f}. Two paths lead from x to y. Along each of them the\n"
        f"slopes multiply: {through_wave:.6f} through sin(x²), {through_fall:.6f} through exp(−x).\n"
        f"Together, by hand:  dy/dx = {through_wave + through_fall:.6f}"
    )
    y.backward()
    assert x.grad is not None
    assert isclose(x.grad.item(), through_wave + through_fall, rel_tol=1e-12)
    print(f"From the record:    x.grad = {x.grad.item():.6f}\n\nWhat was recorded:\n{tg.graph(y)}\n")
    written = [
        tg.graph(y).render(out / "graph.png"),
        tg.graph(y, backward=True).render(out / "backward.png"),
        draw.save_figure(draw_function(), out / "function.png"),
    ]
    print(f"The chain rule, derived from that record:\n\n{tg.derive(y)}\n")
    written.append(tg.explain(y).save(out / "explain.html"))
    print("written:", *written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
