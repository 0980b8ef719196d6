"""Charts of data and results, made with matplotlib. Each function returns a figure; `save_figure` writes it."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.errors import MissingDependencyError, ShapeError
from tinygrad_bc.files import check_destination, write_atomically

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

__all__ = ["confusion_matrices", "feature_bars", "feature_histograms", "loss_curve", "save_figure"]

FORMATS = ("svg", "png", "pdf")
DPI = 240
GRADES = 10  # the features of the Wisconsin data are graded from 1 to 10

# Okabe and Ito's blue and orange, and Tol's "muted" scheme with black: for colour-blind readers too.
BLUE, ORANGE = "#0072B2", "#E69F00"
MANY_COLOURS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", "#000000"),
)


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Write a figure to a file that ends in ``.svg``, ``.png`` or ``.pdf``, and return its path.

    Raises
    ------
    RenderError
        If the suffix is another one, or the folder does not exist.
    """
    path, file_format = check_destination(path, FORMATS)
    content = io.BytesIO()
    figure.savefig(content, format=file_format, dpi=DPI)
    write_atomically(path, content.getvalue())
    return path


def loss_curve(iterations: ArrayLike, costs: ArrayLike, title: str = "Loss during training") -> Figure:
    """Return a chart of the loss over the iterations of a training run."""
    figure = _figure(6, 3.6)
    axes = figure.add_subplot(title=title, xlabel="iteration", ylabel="loss")
    few = np.size(costs) <= 30  # then each of them is shown, and a single one is visible at all
    axes.plot(iterations, costs, color=BLUE, linewidth=2.5, marker="o" if few else None)
    axes.grid(alpha=0.3)
    return figure


def confusion_matrices(matrices: Mapping[str, ArrayLike], labels: Sequence[str] = ("benign", "malignant")) -> Figure:
    """Return confusion matrices side by side, a panel each.

    Parameters
    ----------
    matrices : mapping of str to array
        The counts under the panel's title: a row for each actual class, a column for each predicted one.
    labels : sequence of str, optional
        The names of the classes.
    """
    figure = _figure(3.2 * len(matrices), 3.3)
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (title, matrix) in zip(panels, matrices.items(), strict=True):
        counts = np.asarray(matrix)
        if counts.shape != (len(labels), len(labels)):
            raise ShapeError(f"{title}: expected a row and a column for each of {labels}, got shape {counts.shape}")
        _confusion_panel(axes, counts, labels)
        axes.set_title(title)
    return figure


def _confusion_panel(axes: Axes, counts: np.ndarray[Any, Any], labels: Sequence[str]) -> None:
    image = axes.imshow(counts, cmap="Blues", vmin=0, vmax=counts.max())
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels, rotation=90, va="center")
    axes.set(xlabel="predicted", ylabel="actual")
    axes.tick_params(length=0)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if _luminance(image.to_rgba(count)) < 0.18 else "black"  # there both contrast equally well
        axes.text(column, row, str(count), ha="center", va="center", fontsize=18, color=colour)


def _luminance(colour: Any) -> float:
    red, green, blue, _ = np.power(colour, 2.2)
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)


def feature_bars(table: pd.DataFrame, rows: int = 13) -> Figure:
    """Return a bar chart of the first rows of a table: a group of bars per row, a colour per column."""
    shown = _without_id(table).iloc[:rows]
    figure = _figure(9.6, 4)
    axes = figure.add_subplot(xlabel="sample", ylabel="value")
    places = np.arange(len(shown))
    width = 0.86 / max(shown.shape[1], 1)
    for number, column in enumerate(shown):
        offset = (number - (shown.shape[1] - 1) / 2) * width
        colour = MANY_COLOURS[number % len(MANY_COLOURS)]
        axes.bar(places + offset, shown[column], width, color=colour, label=_spoken(column))
    axes.set_xticks(places, [str(label) for label in shown.index])
    axes.axhline(0, color="black", linewidth=0.8)
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    axes.margins(x=0.01)
    figure.legend(loc="outside right center", frameon=False)
    return figure


def feature_histograms(table: pd.DataFrame) -> Figure:
    """Return a histogram per feature, benign and malignant samples overlaid.

    Parameters
    ----------
    table : DataFrame
        A column per feature, graded 1 to 10 or scaled from that, and a column ``malignant`` of 0 and 1.
    """
    features = _without_id(table).drop(columns="malignant")
    malignant = table["malignant"].to_numpy(dtype=bool)
    rows = -(-features.shape[1] // 3)
    figure = _figure(8, 1.75 * rows + 0.6)
    panels = figure.subplots(rows, 3, sharey=True, squeeze=False).flat
    for column, axes in zip(features, panels, strict=False):
        _histogram_panel(axes, features[column].to_numpy(dtype=float), malignant)
        axes.set_title(_spoken(column))
    for axes in panels:  # those left over
        axes.set_axis_off()
    figure.supxlabel("value of the feature")
    figure.supylabel("share of the class")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _histogram_panel(axes: Axes, values: np.ndarray[Any, Any], malignant: np.ndarray[Any, Any]) -> None:
    known = np.isfinite(values)
    low, high = (values[known].min(), values[known].max()) if known.any() else (0.0, 1.0)
    step = (high - low) / (GRADES - 1) or 1.0
    edges = low - step / 2 + step * np.arange(GRADES + 1)  # a bar stands on its grade, not between two
    for label, colour, chosen in (("benign", BLUE, known & ~malignant), ("malignant", ORANGE, known & malignant)):
        shares = np.histogram(values[chosen], edges)[0] / max(chosen.sum(), 1)
        axes.stairs(shares, edges, fill=True, color=colour, alpha=0.45)
        axes.stairs(shares, edges, color=colour, linewidth=2, label=label)
    grades = low + step * np.arange(0, GRADES, 3)
    axes.set_xticks(grades, [f"{grade:.3g}" for grade in grades])
    axes.set_ylim(0, 1)


def _without_id(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table without the sample ids of `load_wisconsin`, which are no feature."""
    return table.drop(columns="id", errors="ignore")


def _spoken(column: object) -> str:
    return str(column).replace("_", " ")


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches: neither pyplot nor any other state outside of it is involved.

    Small for its resolution, so that the text is large on a slide.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise MissingDependencyError('charts need matplotlib: pip install "tinygrad_bc[draw]"') from error
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
