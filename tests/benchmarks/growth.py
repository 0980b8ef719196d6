"""How the time of a training step grows with batch, width, depth, and number of operations, over three decades each.

    python tests/benchmarks/growth.py [what ...] [--picture FILE] [--rounds 5] [--points 7] [--patience 10]

All contenders, interleaved and checked as in `compare.py`. One whose set-up (compiling, most likely) would take longer
than the patience, in seconds, gives up there: the last two sizes tell how long the next will take. The slope is the
power with which the time grows, over the upper half of its sizes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
import table
from measure import Contenders, Workload
from workloads import chain, mlp


def perceptron(*sizes: int, batch: int) -> Contenders:
    return mlp.contenders(mlp.task("SGD", sizes, batch))


SWEEPS: dict[str, tuple[str, int, Callable[[int], Contenders]]] = {
    "batch": ("samples, 64-64-10", 10, lambda n: perceptron(64, 64, 10, batch=n)),
    "width": ("units in each of two layers, batch 32", 2, lambda n: perceptron(n, n, n, 10, batch=32)),
    "depth": ("layers of 16 units, batch 16", 1, lambda n: perceptron(*[16] * n, 10, batch=16)),
    "operations": ("tiny operations in a chain", 100, chain.contenders),
}
"""What grows: what it counts, its least value, and the contenders for each value."""

Curves = dict[str, dict[int, float]]


def sweep(name: str, points: int, rounds: int, patience: float) -> Curves:
    """Return the median time of a step for each contender and each size."""
    _, least, contenders = SWEEPS[name]
    sizes = [round(least * 10 ** (3 * i / (points - 1))) for i in range(points)]
    curves: Curves = {}
    gone: set[str] = set()
    before: dict[str, float] = {}
    for size in sizes:
        taking_part = {key: make for key, make in contenders(size).items() if key not in gone}
        for key, seconds, setup, _ in measure.measure(Workload(name, lambda: taking_part, checked=2), rounds, 0.01):  # noqa: B023
            if len(seconds):
                curves.setdefault(key, {})[size] = float(np.median(seconds))
            if not len(seconds) or setup * max(1, setup / before.get(key, setup)) > patience:
                gone.add(key)
            before[key] = setup
    return curves


def slope(curve: dict[int, float]) -> float:
    """Return the exponent of the growth, fitted to the upper half of the sizes."""
    sizes, times = np.log([*curve]), np.log([*curve.values()])
    half = len(sizes) // 2
    return float(np.polyfit(sizes[half:], times[half:], 1)[0])


def text(name: str, curves: Curves) -> str:
    """Return the times as a table: a line for each contender, a column for each size."""
    sizes = sorted({size for curve in curves.values() for size in curve})
    lines = [["", *(f"{size:,}" for size in sizes), "slope"]]
    for key, curve in curves.items():
        times = [table.duration(curve[size]) if size in curve else "-" for size in sizes]
        lines.append([key, *times, f"{slope(curve):.2f}" if len(curve) > 3 else "-"])
    widths = [max(map(len, column)) for column in zip(*lines)]
    shown = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines]
    return "\n".join([f"{name}: {SWEEPS[name][0]}", *map("  ".join, shown)])


def picture(found: dict[str, Curves], path: Path) -> None:
    """Draw the times, both axes logarithmic, a panel for each thing that grows."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = sorted({key for curves in found.values() for key in curves}, key=lambda key: not table.is_ours(key))
    others = iter(colormaps["Dark2"].colors + colormaps["Set2"].colors)
    ours = iter(["#1e3a8a", "#06b6d4", "#2563eb", "#7cb0ff"])
    colours = {key: next(ours if table.is_ours(key) else others) for key in names}
    columns = min(2, len(found))
    lines = -(-len(found) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines + 0.8), layout="constrained")
    handles = {}
    for axes, (name, curves) in zip(figure.subplots(lines, columns, squeeze=False).flat, found.items()):
        for key, curve in curves.items():
            style = {"linewidth": 2.2, "zorder": 3} if table.is_ours(key) else {"linewidth": 1.2}
            (handles[key],) = axes.loglog([*curve], [*curve.values()], ".-", color=colours[key], **style)
        axes.set_title(name, loc="left", fontsize=10)
        axes.set_xlabel(SWEEPS[name][0], fontsize=9)
        axes.set_ylabel("seconds a step", fontsize=9)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    shown = {key: handles[key] for key in names}
    figure.legend(shown.values(), shown, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure how the time of a training step grows.")
    parser.add_argument("what", nargs="*", help=f"of {', '.join(SWEEPS)}; all if none")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the curves there")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--points", type=int, default=7, help="sizes, from the least to 1,000 times that")
    parser.add_argument("--patience", type=float, default=10, metavar="SECONDS")
    args = parser.parse_args(argv)
    if unknown := set(args.what) - set(SWEEPS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(SWEEPS)}")
    found = {}
    for name in args.what or SWEEPS:
        found[name] = sweep(name, args.points, args.rounds, args.patience)
        print(f"{text(name, found[name])}\n", flush=True)
    if args.picture:
        picture(found, args.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
