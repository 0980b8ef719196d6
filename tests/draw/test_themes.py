"""Heat maps, and colours that everybody can read."""

import itertools
import re

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.draw.heatmap import cells, heat_map
from tinygrad_bc.draw.themes import SHAPES, THEMES


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one, other):
    """The contrast ratio of WCAG 2.2."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_text_can_be_read(theme):
    for surface in (theme.page, theme.scope, *theme.fills.values()):
        assert contrast(theme.text, surface) >= 4.5
        assert contrast(theme.faint, surface) >= 4.5
    for surface in (theme.page, theme.scope):
        assert contrast(theme.line, surface) >= 3
        assert contrast(theme.failure, surface) >= 3


@pytest.mark.parametrize("theme", THEMES.values(), ids=THEMES)
def test_the_ends_of_a_heat_map_differ_for_the_colour_blind(theme):
    """Simulated after Viénot, Brettel and Mollon (1999), in linear RGB."""
    protanopia = [[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]
    deuteranopia = [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]
    for matrix in (np.eye(3), protanopia, deuteranopia):
        seen = {}
        for name in ("negative", "zero", "positive", "broken"):
            channels = np.array([int(getattr(theme, name)[i : i + 2], 16) / 255 for i in (1, 3, 5)])
            seen[name] = np.clip(matrix @ channels**2.2, 0, 1) ** (1 / 2.2)
        colours = list(seen.values())
        distances = [np.linalg.norm(a - b) for i, a in enumerate(colours) for b in colours[:i]]
        assert min(distances) > 0.3


def test_every_kind_has_a_shape_of_its_own_within_a_view():
    forward = ("parameter", "constant", "computed", "output", "folded", "failed", "cut")
    backward = ("seed", "cotangent", "gradient", "folded", "cut")
    for kinds in (forward, backward):
        shapes = [tuple(SHAPES[kind].items()) for kind in kinds]
        assert len(set(shapes)) == len(kinds)
    assert set(SHAPES) == {*forward, *backward}
    for theme in THEMES.values():
        assert set(theme.fills) == set(SHAPES) - {"cut"}


# --- heat maps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((7,), (1, 7)),
        ((3, 5), (3, 5)),
        ((16, 24), (16, 24)),
        ((17, 25), (16, 24)),
        ((2, 3, 4), (6, 4)),
        ((500,), (1, 24)),
    ],
)
def test_size_of_a_heat_map(shape, expected):
    assert cells(np.ones(shape)).shape == expected


def test_cells_are_the_means_of_blocks():
    array = np.random.default_rng(0).normal(size=(40, 50))
    rows, columns = [i * 40 // 16 for i in range(17)], [j * 50 // 24 for j in range(25)]
    means = np.array(
        [[array[r0:r1, c0:c1].mean() for c0, c1 in itertools.pairwise(columns)] for r0, r1 in itertools.pairwise(rows)]
    )
    np.testing.assert_allclose(cells(array), means / abs(means).max())


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int64, np.uint8, bool])
def test_any_dtype_without_a_warning(dtype):
    largest = np.finfo(dtype).max if np.dtype(dtype).kind == "f" else True if dtype is bool else np.iinfo(dtype).max
    array = np.array([0, 1, largest, largest, 0, 0, 0, 1] * 8, dtype)
    found = cells(array)
    assert np.isfinite(found).all()
    assert found.max() == 1


def test_what_is_not_finite_has_a_colour_of_its_own():
    theme = THEMES["light"]
    array = np.array([[1.0, -1.0, 0.0, np.nan], [np.inf, -np.inf, 0.5, -0.5]])
    colours = re.findall(r'bgcolor="(#\w+)"', heat_map(array, theme))
    assert [colours[i] for i in (0, 1, 2)] == [theme.positive, theme.negative, theme.zero]
    assert [colour == theme.broken for colour in colours] == [False, False, False, True, True, True, False, False]
    assert "−1 … 1, 1 nan, 2 inf" in tg.graph(tg.tensor(array)).dot
    large = np.ones((100, 100))
    large[50, 50] = np.nan
    assert heat_map(large, theme).count(theme.broken) == 1


def test_value_and_gradient_stand_side_by_side():
    x = tg.tensor(np.arange(8.0), requires_grad=True)
    (x * x).sum().backward()
    dot = tg.graph(x).dot
    assert dot.count('fixedsize="true" border') == 3  # and the key's
    assert "0 … 7" in dot
    assert "grad: 0 … 14" in dot


def test_one_number_throughout_needs_no_colours():
    for array in (np.zeros(9), np.ones((3, 4)), np.full(9, np.nan), np.zeros((0, 9))):
        assert "fixedsize" not in tg.graph(tg.tensor(array)).dot


def test_pictures_of_many_boxes_have_no_heat_maps():
    y = tg.tensor(np.arange(8.0), requires_grad=True)
    for _ in range(120):
        y = tg.tanh(y)
    dot = tg.graph(y).dot
    assert "fixedsize" not in dot
    assert "length 8: 0 … 7, mean 3.5" in dot
