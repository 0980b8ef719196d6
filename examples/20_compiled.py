"""From a recorded step to a program: what `tg.compile` makes of a training step, and how long that takes.

    python examples/20_compiled.py

Read `19_long_runs.py` first. One learns
- that the record of one step, with the optimiser's part, is a program: to be read, and made simpler;
- that it is written as NumPy and as C, does what the step does, and how much faster that is here;
- what cannot be captured, and what to write in its place.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import wisconsin
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

import tinygrad_bc as tg
from tinygrad_bc import data, draw, optim
from tinygrad_bc.errors import CaptureError, CompilerWarning

STEPS, ROUNDS, STEPS_IN_A_ROUND = 300, 31, 50
EAGER, UNSIMPLIFIED = "eager", "numpy, not simplified"
COLOURS = {EAGER: "#999999", "numpy": "#0072B2", "c": "#D55E00"}  # Okabe and Ito's

Array = npt.NDArray[Any]


class Way(NamedTuple):
    """A network, and what trains it by so many steps and returns the last loss."""

    network: wisconsin.Classifier
    train: Callable[[int], float]


def load() -> tuple[tg.Tensor, tg.Tensor]:
    """Return the tutorial's training data: features (9, 500) and targets (1, 500)."""
    X, Y = data.as_columns(data.tutorial_split(data.scale_min_max(data.load_wisconsin(wisconsin.CSV)))[0])
    return tg.tensor(X, name="X"), tg.tensor(Y, name="Y")


def start(X: tg.Tensor, Y: tg.Tensor) -> tuple[wisconsin.Classifier, Callable[[], tg.Tensor]]:
    """Return the tutorial's network, untrained, and a function that trains it by one step."""
    network = wisconsin.Classifier()
    optimizer = optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)

    def step() -> tg.Tensor:
        Loss = network(X, Y).Loss
        Loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()  # last: gradients that are left in .grad are results, too
        return Loss

    return network, step


def training(X: tg.Tensor, Y: tg.Tensor, inside: bool = False, **options: Any) -> Way:
    """Return a way to train a network of its own: compiled, if there are options, with the loop inside or outside."""
    network, step = start(X, Y)
    call: Any = tg.compile(step, **options) if options else step

    def train(steps: int) -> float:
        for _ in range(steps):
            loss = call().item()
        return loss

    return Way(network, (lambda steps: call.loop(steps).item()) if inside else train)


def compare(ways: dict[str, Way]) -> None:
    """Train every network, and print how far the compiled ones come out from the eager one: losses, weights."""
    losses = {name: way.train(STEPS) for name, way in ways.items()}
    weights = {
        name: np.concatenate([x.ravel() for x in way.network.state_dict().values()]) for name, way in ways.items()
    }
    print(
        f"\nAfter {STEPS} eager steps the loss is {losses[EAGER]:.6f}. Compiled, losses and weights differ by at most:"
    )
    for name in list(ways)[1:]:
        apart = abs(losses[name] - losses[EAGER]), np.abs(weights[name] - weights[EAGER]).max()
        print(f"  {name:<21}  {apart[0]:.0e}  {apart[1]:.0e}")
    assert np.array_equal(weights[UNSIMPLIFIED], weights[EAGER])
    print("Not simplified, a program makes the calls of NumPy that the step made, and ends with the same bits.")


def measure(ways: dict[str, Way]) -> dict[str, Array]:
    """Return and print the quartiles of a step's microseconds; in every round each way has its turn."""
    rounds: dict[str, list[float]] = {name: [] for name in ways}
    with threadpool_limits(1):
        for _ in range(ROUNDS):
            for name, way in ways.items():
                started = time.perf_counter()
                way.train(STEPS_IN_A_ROUND)
                rounds[name].append((time.perf_counter() - started) / STEPS_IN_A_ROUND * 1e6)
    times = {name: np.quantile(figures, [0.25, 0.5, 0.75]) for name, figures in rounds.items()}
    print(
        f"\nThe time of a step, once that is captured and compiled: medians (quartiles) of {ROUNDS} rounds, in turns,"
    )
    print("on one thread of this machine; and how many times as fast as eager that is:")
    for name, (low, median, high) in times.items():
        print(f"  {name:<21} {median:>6.1f} µs ({low:.1f} to {high:.1f})  {times[EAGER][1] / median:.1f} ×")
    return times


def clip_by_if(gradient: tg.Tensor) -> tg.Tensor:
    """Return a gradient, made shorter if it is longer than 1."""
    norm = (gradient**2).sum() ** 0.5
    return gradient / norm if norm.item() > 1 else gradient


def clip_by_maximum(gradient: tg.Tensor) -> tg.Tensor:
    """Do the same without a decision."""
    norm = (gradient**2).sum() ** 0.5
    return gradient / tg.maximum(norm, 1)


def picture(times: dict[str, Array]) -> Figure:
    """Draw the median of each way, with the quartiles."""
    low, median, high = np.array(list(times.values())).T
    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot(title=f"A training step: median and quartiles of {ROUNDS} rounds", xlabel="µs")
    colours = [COLOURS[name.split(",")[0]] for name in times]
    bars = axes.barh(list(times), median, xerr=[median - low, high - median], color=colours, capsize=4)
    axes.bar_label(bars, [f"{speed:.1f} ×" for speed in median[0] / median], padding=8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return figure


def why_not_c() -> str:
    """Return why no C can be compiled here; '' if it can. Without that, a warning says so, and NumPy runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", CompilerWarning)
        try:
            tg.compile(lambda x: x + 1, target="c")(tg.tensor(1.0))
        except CompilerWarning as warning:
            return str(warning).partition("\n")[0]
    return ""


def main(argv: list[str] | None = None) -> int:
    """Capture a step, show it, write it, compare, measure; and capture what cannot be captured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/20_compiled"), help="folder for what is written")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, Y = load()
    compiled = tg.compile(start(X, Y)[1])
    compiled()  # runs the step, and records it
    passes = compiled.program.passes()
    print(f"As it was captured, up to what changes for the next step (←):\n\n{passes['captured']}")
    print(f"\nSimplified; dLoss_Z2 is (Yh − Y) / n, as on paper:\n\n{passes['simplified']}")

    ways = {EAGER: training(X, Y), UNSIMPLIFIED: training(X, Y, target="numpy", simplify=False)}
    written = [tg.graph(passes["simplified"]).render(out / "program.svg")]
    for target, file in {"numpy": "step.py", "c": "step.c"}.items():
        (out / file).write_text(compiled.program.source(target), encoding="utf-8")
        written.append(out / file)
        if target == "c" and (reason := why_not_c()):
            print(f"\nThe target 'c' is left out: {reason}")
            continue
        ways[target] = training(X, Y, target=target)
        ways[f"{target}, loop inside"] = training(X, Y, inside=True, target=target)

    compare(ways)
    times = measure(ways)

    gradient = tg.tensor([3.0, 4.0], name="gradient")
    try:
        tg.compile(clip_by_if)(gradient)
    except CaptureError as error:
        print(f"\nA decision by a number cannot be captured; the other case would be lost:\n\n{error}")
    print(f"\nWith `maximum` there is none: {tg.compile(clip_by_maximum)(gradient)}. To print or keep a number, return")
    print("the tensor, as `step` does, and call item() outside.")

    written.append(draw.save_figure(picture(times), out / "times.png"))
    print("\nwritten:", *written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
