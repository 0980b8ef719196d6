"""What the charts of a model's quality show."""

import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.metrics import auc, average_precision_score, brier_score_loss, roc_auc_score

from tinygrad_bc.data import threshold_costs
from tinygrad_bc.draw import save_figure
from tinygrad_bc.draw.metrics import (
    calibration_curves,
    precision_recall_curves,
    roc_curves,
    threshold_sweep,
    training_curves,
)
from tinygrad_bc.errors import ArgumentError, DataError, MissingDependencyError, ShapeError

BY_CURVE = [roc_curves, precision_recall_curves, calibration_curves]


def outcome(n, seed):
    rng = np.random.default_rng(seed)
    y = (rng.uniform(size=n) < 0.4).astype(int)
    return y, 1 / (1 + np.exp(-2 * (2 * y - 1) - 1.5 * rng.normal(size=n)))


OUTCOMES = {"training": outcome(300, 0), "validation": outcome(100, 1)}
EPOCHS = np.arange(1, 41)
TRAINING = 0.1 + 0.6 * np.exp(-EPOCHS / 9)
VALIDATION = 0.13 + 0.6 * np.exp(-EPOCHS / 8) + 0.002 * EPOCHS


@pytest.fixture(scope="module")
def figures():
    return [
        training_curves(TRAINING, VALIDATION),
        threshold_sweep(*OUTCOMES["validation"], false_negative=5),
        *(chart(OUTCOMES) for chart in BY_CURVE),
    ]


def legend(figure):
    legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for each in legends for text in each.get_texts()]


def lines_by_label(axes):
    return {line.get_label(): line for line in axes.lines}


# --- all of them ------------------------------------------------------------------------------------------------------


def test_texts_do_not_overlap_and_stay_inside_the_picture(figures, check_legible):
    for figure in figures:
        check_legible(figure)


def test_pictures_are_written_and_not_empty(figures, tmp_path):
    for number, figure in enumerate(figures):
        picture = matplotlib.image.imread(save_figure(figure, tmp_path / f"{number}.png"))
        assert picture.shape[1] >= 1000
        assert picture[..., :3].min() < 0.2 < 0.9 < picture[..., :3].max()


def test_without_a_package_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    for chart in (roc_curves, precision_recall_curves):
        with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[data\]"'):
            chart(OUTCOMES)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for call in (lambda: training_curves([1], [1]), lambda: calibration_curves(OUTCOMES)):
        with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[draw\]"'):
            call()


def test_importing_the_charts_imports_no_package():
    code = "import sys, tinygrad_bc.draw.metrics; print({'pandas', 'sklearn', 'matplotlib'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "set()"


@pytest.mark.parametrize("chart", BY_CURVE)
def test_wrong_outcomes_are_explained(chart):
    y, p = OUTCOMES["validation"]
    with pytest.raises(DataError, match=r"^test: y holds the class 0 alone"):
        chart({"test": (y * 0, p)})
    with pytest.raises(ShapeError, match=r"p\.ravel"):
        chart({"test": (y, p[:, None])})
    with pytest.raises(ArgumentError, match="0 curves were given; expected 1 to 5"):
        chart({})
    with pytest.raises(ArgumentError, match="6 curves"):
        chart(dict.fromkeys("abcdef", (y, p)))


# --- each of them -----------------------------------------------------------------------------------------------------


def test_training_curves():
    figure = training_curves(TRAINING, VALIDATION, title="Losses", ylabel="cross-entropy")
    (axes,) = figure.axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Losses", "epoch", "cross-entropy")
    training, validation, best = axes.lines
    np.testing.assert_array_equal(training.get_xydata(), np.stack([EPOCHS, TRAINING], 1))
    np.testing.assert_array_equal(validation.get_xydata(), np.stack([EPOCHS, VALIDATION], 1))
    epoch = VALIDATION.argmin() + 1
    assert list(best.get_xdata()) == [epoch, epoch]
    assert legend(figure) == ["training", "validation", f"best: {VALIDATION.min():.4g} in epoch {epoch}"]


def test_training_curves_with_gaps():
    figure = training_curves([3.0, 2.0, 1.0], [np.nan, 2.5, np.nan], epochs=[10, 20, 30])
    _, validation, best = figure.axes[0].lines
    np.testing.assert_array_equal(validation.get_xydata(), [[20, 2.5]])
    assert validation.get_marker() == "o"
    assert list(best.get_xdata()) == [20, 20]
    assert legend(training_curves([1.0], [np.nan])) == ["training", "validation"]
    with pytest.raises(DataError, match=r"training \(1,\), validation \(2,\)"):
        training_curves([1.0], [1.0, 2.0])
    with pytest.raises(DataError, match="no rows"):
        training_curves([], [])


def test_threshold_sweep():
    y, p = OUTCOMES["validation"]
    figure = threshold_sweep(y, p, false_negative=5, false_positive=2)
    table = threshold_costs(y, p, false_negative=5, false_positive=2)
    above, below = figure.axes
    assert above.get_title() == "A missed positive costs 5, a false alarm 2"
    missed, alarms = above.lines
    np.testing.assert_array_equal(missed.get_xydata(), table[["threshold", "false_negatives"]])
    np.testing.assert_array_equal(alarms.get_xydata(), table[["threshold", "false_positives"]])
    cost, ideal = below.lines
    np.testing.assert_array_equal(cost.get_xydata(), table[["threshold", "cost"]])
    assert cost.get_drawstyle() == "steps-post"
    assert ideal.get_xdata()[0] == 2 / 7
    (span,) = below.patches
    inside = table["threshold"].between(span.get_x(), span.get_x() + span.get_width(), inclusive="left")
    assert (table["cost"][inside] == table["cost"].min()).all()
    assert any("if p were exact: 0.286" in text for text in legend(figure))


def test_the_widest_of_the_cheapest_ranges_is_marked():
    y, p = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.3, 0.9])  # one mistake in [0.1, 0.2) and in [0.3, 0.9)
    (span,) = threshold_sweep(y, p, false_negative=1).axes[1].patches
    np.testing.assert_allclose([span.get_x(), span.get_x() + span.get_width()], [0.3, 0.9])


def test_a_sweep_without_costs_has_no_ideal():
    assert len(threshold_sweep(*OUTCOMES["validation"], false_negative=0, false_positive=0).axes[1].lines) == 1


def test_roc_curves():
    figure = roc_curves(OUTCOMES)
    lines = lines_by_label(figure.axes[0])
    for name, (y, p) in OUTCOMES.items():
        area = roc_auc_score(y, p)
        pairs = p[y == 1][:, None] - p[y == 0]
        np.testing.assert_allclose(area, (pairs > 0).mean())
        assert f"{name}, area {area:.4f}" in legend(figure)
        np.testing.assert_allclose(auc(*lines[f"{name}, area {area:.4f}"].get_data()), area)


def test_precision_recall_curves():
    figure = precision_recall_curves(OUTCOMES)
    lines = lines_by_label(figure.axes[0])
    for name, (y, p) in OUTCOMES.items():
        ordered = y[np.argsort(-p)]
        area = (np.cumsum(ordered) / np.arange(1, len(y) + 1))[ordered == 1].mean()
        np.testing.assert_allclose(average_precision_score(y, p), area)
        line = lines[f"{name}, area {area:.4f}"]
        recall, precision = line.get_data()
        assert line.get_drawstyle() == "steps-post"
        np.testing.assert_allclose(-np.sum(np.diff(recall) * precision[:-1]), area)  # what is under the steps drawn


@pytest.mark.parametrize("bins", [1, 4, 10])
def test_calibration_curves(bins):
    figure = calibration_curves(OUTCOMES, bins=bins)
    above, below = figure.axes
    lines = lines_by_label(above)
    for (name, (y, p)), bars, steps in zip(OUTCOMES.items(), above.collections, below.patches, strict=True):
        line = lines[f"{name}, Brier score {brier_score_loss(y, p):.4f}"]
        share, called = calibration_curve(y, p, n_bins=bins)
        np.testing.assert_allclose(line.get_data(), [called, share])
        counts = steps.get_data().values
        assert counts.sum() == len(y)
        for point, n, bar in zip(share, counts[counts > 0], bars.get_segments(), strict=True):
            interval = binomtest(round(point * n), round(n)).proportion_ci(method="wilson")
            np.testing.assert_allclose(bar[:, 1], interval, atol=1e-15)


def test_a_probability_between_two_bins_is_counted_where_it_is_drawn():
    y, p = np.array([0, 1, 0, 1, 1]), np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    above, below = calibration_curves({"edges": (y, p)}, bins=4).axes
    share, called = calibration_curve(y, p, n_bins=4)
    np.testing.assert_allclose(above.lines[0].get_data(), [called, share])
    np.testing.assert_array_equal(below.patches[0].get_data().values, [2, 1, 1, 1])


def test_calibration_needs_bins():
    with pytest.raises(ArgumentError, match="bins=0"):
        calibration_curves(OUTCOMES, bins=0)
