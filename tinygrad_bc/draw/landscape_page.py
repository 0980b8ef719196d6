"""The page of a loss landscape: one HTML file to turn, to point at, and to play the optimisation in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.draw.landscape_figures import COLOURS, RAMP, TALL, Scale, axis_title, best_azimuth, evaluated, thinned
from tinygrad_bc.files import html_page
from tinygrad_bc.record import Array

if TYPE_CHECKING:
    from tinygrad_bc.draw.landscape import Landscape, Trajectory

__all__ = ["page"]

WEB = Path(__file__).parent / "web"
MOST_POINTS = 1000  # of a way
MOST_CELLS = 120  # along an axis: what a browser turns without stuttering
DIGITS = 7


def page(landscape: Landscape, title: str) -> str:
    """Return the HTML text. It asks for nothing else: its policy would not let it."""
    return html_page(WEB, "landscape.html", "landscape.css", ["landscape.js"], title, _data(landscape))


def _data(landscape: Landscape) -> dict[str, Any]:
    alphas, betas, losses = evaluated(landscape)
    rows, columns = (thinned(len(axis), MOST_CELLS) for axis in (alphas, betas))
    scale = Scale.of(losses)
    return {
        "alphas": _numbers(alphas[rows]),
        "betas": _numbers(betas[columns]),
        "losses": [_numbers(losses[i, columns]) for i in rows],
        "scale": {"low": scale.low, "high": scale.high, "log": scale.log},
        "levels": _numbers(scale.levels),
        "ticks": _numbers(scale.ticks),
        "titles": [axis_title(landscape, i) for i in range(2)],
        "azimuth": best_azimuth(landscape),
        "names": landscape.directions.titles,
        "tall": TALL,
        "ramp": RAMP,
        "facts": _facts(landscape, scale),
        "ways": [_way(way, COLOURS[i % len(COLOURS)]) for i, way in enumerate(landscape.trajectories)],
    }


def _way(way: Trajectory, colour: str) -> dict[str, Any]:
    chosen = thinned(len(way.steps), MOST_POINTS)
    return {
        "name": way.name,
        "colour": colour,
        "steps": way.steps[chosen].tolist(),
        "x": _numbers(way.points[chosen, 0]),
        "y": _numbers(way.points[chosen, 1]),
        "losses": _numbers(way.losses[chosen]),
        "distances": _numbers(way.distances[chosen]),
    }


def _facts(landscape: Landscape, scale: Scale) -> list[tuple[str, str]]:
    facts = [
        ("parameters", f"{landscape.size:,}"),
        ("loss at the centre, +", f"{landscape.loss:.4g}"),
        ("losses shown", f"{scale.low:.3g} … {scale.high:.3g}"),
        ("heights", "logarithmic" if scale.log else "linear"),
    ]
    if landscape.directions.shares:
        facts.append(("variance in this plane", f"{sum(landscape.directions.shares[:2]):.0%}"))
    if landscape.eigenvalues is not None:
        largest = ", ".join(f"{value:.3g}" for value in landscape.eigenvalues)
        facts.append(("Hessian eigenvalues, largest" if len(landscape.eigenvalues) > 1 else "sharpness λ₁", largest))
        if landscape.eigenvalues[0] > 0:
            facts.append(("rate below which GD is stable, 2/λ₁", f"{2 / landscape.eigenvalues[0]:.3g}"))
    return facts


def _numbers(array: Array) -> list[float | None]:
    """Return numbers in as many digits as a page needs; None where there is none."""
    return [float(f"{x:.{DIGITS}g}") if np.isfinite(x) else None for x in array.tolist()]
