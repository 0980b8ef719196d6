"""Results as a table on the terminal, in Markdown, and as a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from measure import Result, Workload, speeds

OURS, OTHERS = "#2563eb", "#9ca3af"
HEADER = ("", "time", "quartiles", "speed", "set-up", "")


def is_ours(name: str) -> bool:
    """Return whether a contender is tinygrad_bc."""
    return name.startswith("tinygrad_bc")


def rows(workload: Workload, results: Sequence[Result]) -> list[tuple[str, ...]]:
    """Return the lines of the table: name, median and quartiles of the time, speed, set-up, remark."""
    speed = speeds(results)
    lines = []
    for name, seconds, setup, note in results:
        if not len(seconds):
            lines.append((name, "", "", "", "", f"left out: {_short(note)}"))
            continue
        low, middle, high = np.percentile(seconds, [25, 50, 75])
        quartiles, ratio = f"{duration(low)} to {duration(high)}", f"{speed[name][1]:.2f}"
        lines.append((name, duration(middle), quartiles, ratio, duration(setup), note))
    return lines


def text(workload: Workload, results: Sequence[Result]) -> str:
    """Return the table for the terminal."""
    lines = [HEADER, *rows(workload, results)]
    widths = [max(len(line[i]) for line in lines if line[1]) for i in range(5)]
    widths[0] = max(len(line[0]) for line in lines)
    shown = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:5], widths[1:]))]
        shown.append("  ".join([*(cells if line[1] else cells[:1]), line[5]]).rstrip())
    return "\n".join([f"{workload.title}; time per {workload.unit}", *shown])


def markdown(workload: Workload, results: Sequence[Result]) -> str:
    """Return the table in Markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (HEADER, *rows(workload, results))]
    return "\n".join(
        [f"**{workload.title}**; time per {workload.unit}\n", lines[0], "|---|--:|--:|--:|--:|---|", *lines[1:]]
    )


def picture(measured: Mapping[str, tuple[Workload, Sequence[Result]]], path: Path) -> None:
    """Draw the speeds as bars, from 1 to the right what is faster, a panel for each workload."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    found = {name: speeds(results) for name, (_, results) in measured.items()}
    heights = [len(speed) + 2 for speed in found.values()]
    figure = Figure(figsize=(8.5, 0.27 * sum(heights)), layout="constrained")
    for axes, (name, speed) in zip(
        figure.subplots(len(found), 1, height_ratios=heights, squeeze=False).flat, found.items()
    ):
        ordered = sorted(speed.items(), key=lambda item: item[1][1])
        low, middle, high = np.array([item[1] for item in ordered]).T
        colours = [OURS if is_ours(label) else OTHERS for label, _ in ordered]
        axes.set_xscale("log")
        axes.barh([label for label, _ in ordered], middle - 1, left=1, color=colours)
        axes.hlines(range(len(ordered)), low, high, color="black", linewidth=1)
        for place, (value, least, most) in enumerate(zip(middle, low, high)):
            end, gap, side = (max(1, most), 4, "left") if value >= 1 else (min(1, least), -4, "right")
            style = {"textcoords": "offset points", "va": "center", "ha": side, "fontsize": 8}
            axes.annotate(f"{value:.2f}", (end, place), (gap, 0), **style)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_xlim(min(0.5, low.min()) / 2, max(2, high.max()) * 2)
        axes.set_title(measured[name][0].title, fontsize=10, loc="left")
        axes.set_xlabel(f"speed, logarithmic; {next(iter(speed))} = 1", fontsize=8)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.tick_params(labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)


def duration(seconds: float) -> str:
    """Return a time with three digits, in the unit that suits it."""
    power = min(max(0, math.ceil(-math.log10(seconds) / 3)), 3)
    return f"{seconds * 1000**power:#.3g}".rstrip(".") + f" {('s', 'ms', 'µs', 'ns')[power]}"


def _short(reason: str, most: int = 100) -> str:
    """Return the beginning of a reason."""
    return reason if len(reason) <= most else reason[: most - 1] + "…"
