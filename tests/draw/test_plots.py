"""What the charts show."""

import itertools
import os
import subprocess
import sys

import matplotlib.image
import numpy as np
import pandas as pd
import pytest

from tinygrad_bc.data import FEATURES
from tinygrad_bc.draw import confusion_matrices, feature_bars, feature_histograms, loss_curve, save_figure
from tinygrad_bc.errors import MissingDependencyError, RenderError, ShapeError

MATRICES = {"training": [[311, 6], [4, 179]], "validation": [[125, 2], [1, 54]]}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    malignant = np.tile([0, 0, 1], 30)
    grades = np.where(malignant[:, None], rng.integers(1, 11, (90, 9)), rng.integers(1, 4, (90, 9)))
    grades[0], grades[2] = 1, 10  # every feature has its lowest and its highest grade
    return pd.DataFrame(grades.astype(float), columns=FEATURES).assign(malignant=malignant)


@pytest.fixture
def figures(table):
    scaled = table.assign(**(table[FEATURES] - 1) / 9)
    steps = np.arange(3000)
    return [
        loss_curve(steps, 0.1 + 0.6 * np.exp(-steps / 400)),
        confusion_matrices(MATRICES),
        feature_bars(scaled),
        feature_histograms(scaled),
        feature_histograms(table),
    ]


def texts(artist):
    return [text.get_text() for text in artist.get_texts()]


def panels(figure):
    return [axes for axes in figure.axes if axes.axison]


# --- all of them -----------------------------------------------------------------------------------


def test_texts_do_not_overlap_and_stay_inside_the_picture(figures, check_legible):
    for figure in figures:
        check_legible(figure)


def test_pictures_are_written_and_not_empty(figures, tmp_path):
    for number, figure in enumerate(figures):
        path = save_figure(figure, tmp_path / f"{number}.png")
        picture = matplotlib.image.imread(path)
        assert picture.shape[1] >= 1400
        assert picture[..., :3].min() < 0.2 < 0.9 < picture[..., :3].max()


@pytest.mark.parametrize(("suffix", "magic"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF-")])
def test_the_suffix_chooses_the_format(tmp_path, suffix, magic):
    path = save_figure(loss_curve([0, 1], [0.7, 0.6]), str(tmp_path / f"loss.{suffix}"))
    assert path == tmp_path / f"loss.{suffix}"
    assert path.read_bytes().startswith(magic)


def test_a_figure_is_refused_where_it_cannot_be_written(tmp_path):
    figure = loss_curve([0], [0.7])
    with pytest.raises(RenderError, match=r"ends in one of \.svg, \.png, \.pdf$"):
        save_figure(figure, tmp_path / "loss.dot")
    with pytest.raises(RenderError, match="there is no folder"):
        save_figure(figure, tmp_path / "pictures" / "loss.png")


@pytest.mark.parametrize("failing", ["savefig", "replace"])
def test_a_failure_leaves_the_old_file(monkeypatch, tmp_path, failing):
    figure = loss_curve([0], [0.7])
    (tmp_path / "loss.png").write_text("old")

    def fail(*args, **options):
        raise OSError("disk full")

    monkeypatch.setattr(*{"savefig": (figure, "savefig"), "replace": (os, "replace")}[failing], fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_without_matplotlib_the_error_names_the_extra(monkeypatch, table):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot in (
        lambda: loss_curve([0], [1]),
        lambda: confusion_matrices(MATRICES),
        lambda: feature_bars(table),
        lambda: feature_histograms(table),
    ):
        with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[draw\]"'):
            plot()


def test_pyplot_is_not_involved(tmp_path):
    code = (
        "import sys; from tinygrad_bc.draw import loss_curve, save_figure;"
        f"save_figure(loss_curve([0, 1], [2, 1]), {str(tmp_path / 'loss.png')!r});"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "False"]


# --- each of them ----------------------------------------------------------------------------------


def test_loss_curve():
    (axes,) = loss_curve([0, 10, 20], [0.7, 0.5, 0.4], title="Cross-entropy").axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("Cross-entropy", "iteration", "loss")
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[0, 0.7], [10, 0.5], [20, 0.4]])


def test_a_short_loss_curve_has_dots():
    for length, marker in ((1, "o"), (30, "o"), (31, "None")):
        (line,) = loss_curve(range(length), np.ones(length)).axes[0].lines
        assert line.get_marker() == marker


def test_confusion_matrices():
    figure = confusion_matrices(MATRICES)
    assert [axes.get_title() for axes in figure.axes] == ["training", "validation"]
    for axes, matrix in zip(figure.axes, MATRICES.values(), strict=True):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "actual")
        assert [label.get_text() for label in axes.get_xticklabels()] == ["benign", "malignant"]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["benign", "malignant"]
        cells = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
        assert cells == {(column, row): str(matrix[row][column]) for row in (0, 1) for column in (0, 1)}
        assert axes.yaxis_inverted()  # row 0 is on top


def test_counts_contrast_with_their_cells():
    (axes,) = confusion_matrices({"all": [[100, 0], [90, 50]]}).axes
    assert {text.get_text(): text.get_color() for text in axes.texts} == {
        "100": "white",
        "90": "white",
        "50": "black",
        "0": "black",
    }


def test_a_confusion_matrix_without_any_counts():
    (axes,) = confusion_matrices({"none": np.zeros((2, 2), int)}).axes
    assert {text.get_color() for text in axes.texts} == {"black"}


def test_confusion_matrices_of_another_shape():
    assert len(confusion_matrices({"three": np.eye(3)}, labels=("a", "b", "c")).axes[0].texts) == 9
    with pytest.raises(ShapeError, match=r"validation: .*\(3, 3\)"):
        confusion_matrices({"training": np.eye(2), "validation": np.eye(3)})


def test_feature_bars(table):
    figure = feature_bars(table.assign(id=1000025), rows=5)
    (axes,) = figure.axes
    columns = [*FEATURES, "malignant"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("sample", "value")
    assert texts(figure.legends[0]) == [name.replace("_", " ") for name in columns]
    assert [label.get_text() for label in axes.get_xticklabels()] == list("01234")
    for bars, column in zip(axes.containers, columns, strict=True):
        np.testing.assert_array_equal([bar.get_height() for bar in bars], table[column][:5])
    assert len({bars[0].get_facecolor() for bars in axes.containers}) == 10


def test_bars_of_a_sample_stand_side_by_side(table):
    (axes,) = feature_bars(table).axes
    assert len(axes.containers[0]) == 13
    edges = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bars in axes.containers for bar in bars)
    for (_, right), (left, _) in itertools.pairwise(edges):
        assert left >= right - 1e-9


def test_feature_histograms(table):
    figure = feature_histograms(table.assign(id=1000025))
    assert [axes.get_title() for axes in figure.axes] == [name.replace("_", " ") for name in FEATURES]
    assert figure.get_supxlabel() == "value of the feature"
    assert figure.get_supylabel() == "share of the class"
    assert texts(figure.legends[0]) == ["benign", "malignant"]
    for axes, name in zip(figure.axes, FEATURES, strict=True):
        _, benign, _, malignant = axes.patches
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "7", "10"]
        for outline, chosen in ((benign, 0), (malignant, 1)):
            shares, edges, _ = outline.get_data()
            np.testing.assert_allclose(edges, np.arange(0.5, 11))
            grades = table[name][table["malignant"] == chosen]
            np.testing.assert_allclose(shares, [(grades == grade).mean() for grade in range(1, 11)])


def test_histograms_of_odd_features():
    table = pd.DataFrame({"constant": [3.0, 3.0], "missing": [np.nan] * 2, "part": [1.0, np.nan], "malignant": [0, 0]})
    table["fourth"] = [1.0, 2.0]
    figure = feature_histograms(table)
    assert len(panels(figure)) == 4  # the two places left over in the second row are blank
    totals = [axes.patches[1].get_data().values.sum() for axes in panels(figure)]
    assert totals == [1, 0, 1, 1]
    for axes in panels(figure):
        assert (np.diff(axes.patches[1].get_data().edges) > 0).all()
