"""What a derivative is: the slope of x² at 3 and at −2, by hand, by small steps, and by the record.

    python examples/01_derivative.py

Start here; `02_chain_rule.py` goes on with functions of functions. One learns
- that a derivative is a number, the slope of the tangent, which says how fast and in which direction f changes;
- that measuring it with a small step has two errors, one that shrinks with the step and one that grows;
- that a recorded computation gives the derivative itself, with neither of the two.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import draw

BLUE, ORANGE = "#0072B2", "#E69F00"  # of Okabe and Ito: distinct for colour-blind readers
POINTS = (3.0, -2.0)
STEPS = 10.0 ** -np.arange(16)  # 1, 0.1, 0.01, …

Array = npt.NDArray[Any]


def f(x: Any) -> Any:
    """Return x²: of a number, of an array, or, recorded, of a tensor."""
    return x**2


def slope_by_hand(x: Any) -> Any:
    """Return 2x: (x + h)² − x² = 2xh + h², divided by h is 2x + h, and h goes to 0."""
    return 2 * x


def slope_forward(x: float, h: Array) -> Array:
    """Return how much f rises over a step to the right, divided by the step."""
    return (f(x + h) - f(x)) / h


def slope_central(x: float, h: Array) -> Array:
    """Return the same over a step to each side."""
    return (f(x + h) - f(x - h)) / (2 * h)


def slope_recorded(x: float) -> float:
    """Record x² on a tensor and walk the record backwards."""
    at = tg.tensor(x, requires_grad=True)
    f(at).backward()
    assert at.grad is not None
    return at.grad.item()


def draw_tangents() -> Figure:
    """Draw the parabola, and at each point the line whose slope the record gives."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.add_subplot(title="The derivative is the slope of the tangent", xlabel="x", ylabel="x²")
    x = np.linspace(-4, 4.5, 200)
    axes.plot(x, f(x), color="black", linewidth=2.5)
    for point, colour, side in zip(POINTS, (BLUE, ORANGE), ((-12, 8, "right"), (14, 4, "left"))):
        slope = slope_recorded(point)
        near = point + np.array([-1.7, 1.7])
        axes.plot(near, f(point) + slope * (near - point), color=colour, linewidth=2.5)
        axes.plot(point, f(point), "o", color=colour, markersize=9)
        label = f"at x = {point:g}\nslope {slope:g}".replace("-", "−")
        axes.annotate(label, (point, f(point)), side[:2], textcoords="offset points", ha=side[2], fontsize=12)
    axes.grid(alpha=0.3)
    return figure


def draw_errors(x: float) -> Figure:
    """Draw the error of the measured slopes over the step."""
    figure = Figure(figsize=(6, 4.2), layout="constrained")
    axes = figure.add_subplot(title=f"Slope of x² at {x:g}, measured with a step", xlabel="step h", ylabel="error")
    for measure, colour, marker, label in (
        (slope_forward, BLUE, "o", "one-sided: (f(x+h) − f(x)) / h"),
        (slope_central, ORANGE, "s", "central: (f(x+h) − f(x−h)) / 2h"),
    ):
        errors = np.abs(measure(x, STEPS) - slope_by_hand(x))
        shown = errors > 0  # a logarithm has no place for an error of 0
        axes.loglog(STEPS[shown], errors[shown], marker=marker, color=colour, linewidth=2, label=label)
    axes.loglog(STEPS, STEPS, "--", color="grey", label="h: what (2x + h) has too much")
    axes.loglog(STEPS, 2e-16 * f(x) / STEPS, ":", color="grey", linewidth=2, label="rounding of f, divided by h")
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Compare the slopes, say what the errors do, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/01_derivative"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    for x in POINTS:
        print(f"x = {x:g}: the slope of x² is {slope_by_hand(x):g} by hand and {slope_recorded(x):g} by the record")
        assert slope_recorded(x) == slope_by_hand(x)
    x = POINTS[0]
    measured = {"one-sided": slope_forward(x, STEPS), "central": slope_central(x, STEPS)}
    print(f"\nMeasured at {x:g} with a step h:\n       h  one-sided            central")
    for h, one_sided, central in zip(STEPS, *measured.values()):
        print(f"{h:8.0e}  {one_sided:<19.15g}  {central:<19.15g}")
    best = {name: int(np.argmin(np.abs(slopes - slope_by_hand(x)))) for name, slopes in measured.items()}
    least = abs(measured["one-sided"][best["one-sided"]] - slope_by_hand(x))
    assert 0 < best["one-sided"] < len(STEPS) - 1
    assert best["central"] == 0
    print(
        f"\nA smaller step helps until h = {STEPS[best['one-sided']]:.0e} (error {least:.0e}); from there on it is\n"
        "the rounding of f(x+h) that is divided by h. The central step is best at once, as x² has no curvature\n"
        "that changes; on other functions it has an error of h². The record has no step, and no such error."
    )
    pictures = {"tangents.png": draw_tangents(), "errors.png": draw_errors(x)}
    print("written:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
