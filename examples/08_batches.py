"""How many samples a step looks at: all of them, some, or one.

    python examples/08_batches.py

Read after `07_regularisation.py`; `09_optimisers.py` comes next. One learns
- that the gradient of a few samples is an estimate of the gradient of all, with an error like 1/√(batch size);
- what that is worth: many rough steps for the price of one exact step;
- what it costs: time per sample, and a loss that does not come to rest.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
ROWS, LEARNING_RATE, TARGET = 500, 0.1, 0.12
WAYS = {  # batch size, epochs, how it is drawn
    "full batch": (ROWS, 1500, {"color": "black", "linestyle": "-"}),
    "mini-batches of 32": (32, 120, {"color": "#0072B2", "linestyle": "--"}),  # Okabe and Ito's
    "single samples": (1, 10, {"color": "#E69F00", "linestyle": "-"}),
}
SIZES = 4 ** np.arange(6)

Array = npt.NDArray[Any]
criterion = nn.BCEWithLogitsLoss()


def load() -> tuple[Array, Array]:
    """Return the tutorial's training rows: features (500, 9), scaled, and classes (500, 1)."""
    X, y = data.as_columns(data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV)))[0])
    return X.T, y.T


def network() -> nn.Sequential:
    """Return 9 features → 15 hidden units → the logit of one probability."""
    rng = np.random.default_rng(0)
    return nn.Sequential(nn.Linear(9, 15, generator=rng), nn.ReLU(), nn.Linear(15, 1, generator=rng))


def descend(X: Array, y: Array, batch_size: int, epochs: int) -> pd.DataFrame:
    """Return the loss over all rows, and the steps, samples and seconds that it took to get there."""
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=LEARNING_RATE)
    loader = data.DataLoader(X, y, batch_size=batch_size, shuffle=True, generator=1)
    looks = {round(step) for step in 1.12 ** np.arange(100)}  # ever more rarely
    rows, steps, samples, seconds = [], 0, 0, 0.0
    for _ in range(epochs):
        for features, targets in loader:
            started = time.perf_counter()
            optimizer.zero_grad()
            criterion(model(features), targets).backward()
            optimizer.step()
            seconds += time.perf_counter() - started
            steps, samples = steps + 1, samples + len(features)
            if steps in looks:
                with tg.no_grad():
                    rows.append((criterion(model(X), y).item(), steps, samples, seconds))
    return pd.DataFrame(rows, columns=["loss", "steps", "samples", "seconds"])


def gradient(model: nn.Module, X: Array, y: Array) -> Array:
    """Return the gradient of the mean loss over these rows, all parameters in one array."""
    return np.concatenate([g.data.ravel() for g in tg.grad(criterion(model(X), y), list(model.parameters()))])


def errors_of_batches(X: Array, y: Array, generator: np.random.Generator, draws: int = 200) -> Array:
    """Return, for each batch size, how far the gradient of such a batch is from that of all rows, as a share of it."""
    model = network()
    exact = gradient(model, X, y)
    errors = []
    for size in SIZES:
        batches = generator.integers(len(X), size=(draws, size))
        squares = [((gradient(model, X[rows], y[rows]) - exact) ** 2).sum() for rows in batches]
        errors.append(np.sqrt(np.mean(squares)) / np.linalg.norm(exact))
    return np.array(errors)


def draw_descents(tables: dict[str, pd.DataFrame]) -> Figure:
    """Draw the loss over what it took."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(f"The loss over all rows, learning rate {LEARNING_RATE}")
    panels = figure.subplots(1, 3, sharey=True)
    for axes, column in zip(panels, ("steps", "samples", "seconds")):
        for name, table in tables.items():
            axes.loglog(table[column], table["loss"], linewidth=2, label=name, **WAYS[name][2])
        axes.axhline(TARGET, color="grey", linestyle=":")
        axes.set(xlabel={"samples": "samples seen"}.get(column, column))
        axes.grid(alpha=0.3)
    panels[0].set(ylabel="loss", yticks=(0.05, 0.1, 0.2, 0.5), yticklabels=("0.05", "0.1", "0.2", "0.5"))
    panels[0].minorticks_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def draw_errors(errors: Array) -> Figure:
    """Draw the error of a batch's gradient over its size."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot(title="How far the gradient of a batch is from that of all rows")
    axes.loglog(SIZES, errors, "o-", color="#0072B2", linewidth=2, label="measured")
    axes.loglog(SIZES, errors[0] / np.sqrt(SIZES), "--", color="grey", label="1/√(batch size)")
    axes.set(xlabel="batch size", ylabel="share of the gradient", xticks=SIZES, xticklabels=SIZES)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return figure


def main(argv: list[str] | None = None) -> int:
    """Descend in three ways, measure the gradients of batches, and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/08_batches"), help="folder for the pictures")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)

    X, y = load()
    errors = errors_of_batches(X, y, np.random.default_rng(2))
    print("The gradient of a batch, drawn at random, is off by this share of the gradient of all rows:")
    print("\n".join(f"{size:>5} samples  {error:.2f}" for size, error in zip(SIZES, errors)))
    power = np.polyfit(np.log(SIZES), np.log(errors), 1)[0]
    print(f"It falls like the batch size to the power of {power:.2f}; of independent errors one expects −0.5.\n")

    tables = {name: descend(X, y, batch_size, epochs) for name, (batch_size, epochs, _) in WAYS.items()}
    rows = {}
    for name, table in tables.items():
        there = table[table["loss"] <= TARGET].iloc[0]
        rows[name] = {column: there[column] for column in ("steps", "samples", "seconds")}
        rows[name]["µs a sample"] = 1e6 * table["seconds"].iloc[-1] / table["samples"].iloc[-1]
        rows[name]["looks where it had risen"] = (table["loss"].diff() > 0).sum()
    summary = pd.DataFrame(rows).T
    print(f"What it takes to a loss of {TARGET}:\n{summary.to_string(float_format='{:.5g}'.format)}")
    assert summary["samples"].is_monotonic_decreasing
    least, most = summary["steps"].min(), summary["steps"].max()
    assert most < 1.5 * least
    assert summary["looks where it had risen"].idxmax() == "single samples"
    print(
        f"\nThe number of steps is similar, from {least:.0f} to {most:.0f}: a rough direction serves nearly as well.\n"
        f"But a full batch looks at {ROWS} samples for each. A single sample is the dearest, as a step has a price of\n"
        "its own, and the loss keeps jumping. Mini-batches are between."
    )
    pictures = {"descents.png": draw_descents(tables), "errors.png": draw_errors(errors)}
    print("\nwritten:", *(draw.save_figure(figure, out / name) for name, figure in pictures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
