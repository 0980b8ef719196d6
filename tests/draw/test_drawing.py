"""What the picture of a graph says, before it is drawn."""

import re
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.draw import Drawing, graph
from tinygrad_bc.draw.words import describe_numbers, describe_shape
from tinygrad_bc.record import Graph


def box(drawing, value):
    """Return the line of the DOT text that describes a value."""
    number = [x is value for x in drawing.values].index(True)
    return re.search(rf"^\tv{number} \[.*$", drawing.dot, re.MULTILINE)[0]


def classifier():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(9, 50)), rng.integers(0, 2, (1, 50))
    W1 = tg.tensor(rng.normal(size=(15, 9)), requires_grad=True)
    W2 = tg.tensor(rng.normal(size=(1, 15)), requires_grad=True)
    A1 = tg.relu(W1 @ X)
    Yh = tg.sigmoid(W2 @ A1)
    Loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
    Loss.backward()
    return graph(Loss, names=locals())


def test_the_same_computation_gives_the_same_text():
    first, second = classifier(), classifier()
    assert first.values[0] is not second.values[0]
    assert first.dot == second.dot


def test_a_drawing_is_a_graph():
    drawing = classifier()
    assert isinstance(drawing, Drawing)
    assert isinstance(drawing, Graph)
    assert str(drawing).startswith("W1 = parameter")
    assert drawing.evaluate()[0] == drawing.outputs[0].data


def test_names_come_from_locals_also_for_plain_arrays():
    text = classifier().dot
    for name in ("W1", "X", "Y", "A1", "Loss"):
        assert f"<b>{name}</b>" in text
    assert "= W1 @ X<" in text
    assert "<b>A1</b> = relu(%2)" in text


# --- gradients -------------------------------------------------------------------------------------


def test_a_gradient_never_computed_differs_from_a_gradient_of_zero():
    never, zero = (tg.tensor([1.0, 2.0], requires_grad=True, name=name) for name in ("never", "zero"))
    (zero * 0.0).sum().backward()
    drawing = graph((never * zero).sum())
    assert "<i>grad: none</i>" in box(drawing, never)
    assert "grad: [0, 0]" in box(drawing, zero)
    assert "<i>" not in box(drawing, zero)
    assert "none" not in box(drawing, zero)


def test_the_gradient_of_an_intermediate_value_shows_if_it_was_retained():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    kept, dropped = x * 2, x * 3
    kept.retain_grad()
    y = (kept * dropped).sum()
    assert "grad: none" in box(graph(y), kept)
    y.backward()
    assert "grad: [3, 6]" in box(graph(y), kept)
    assert "grad: not kept" in box(graph(y), dropped)


def test_values_without_gradient_have_no_gradient_line():
    x, data = tg.tensor([1.0], requires_grad=True), tg.tensor([3.0])
    masked = tg.where(x > 0.5, x, data)
    drawing = graph(masked)
    plain = [value for value in drawing.values if not value.requires_grad]
    assert len(plain) == 2  # the data and the comparison
    assert all("grad" not in box(drawing, value) for value in plain)


# --- kinds -----------------------------------------------------------------------------------------


def test_kinds_of_values_differ_in_shape_and_in_colour():
    W, X = tg.tensor([1.0], requires_grad=True), tg.tensor([2.0])
    product = W * X
    Loss = product.sum()
    drawing = graph(Loss)
    boxes = [box(drawing, value) for value in (W, X, product, Loss)]
    styles = [re.findall(r"(?:shape|style|peripheries)=\S+", text) for text in boxes]
    colours = [re.search(r"fillcolor=(\S+)", text)[1] for text in boxes]
    assert len({tuple(style) for style in styles}) == 4
    assert len(set(colours)) == 4


def test_every_output_is_marked():
    x = tg.tensor([1.0], requires_grad=True)
    first = x * 2
    second = first + 1
    drawing = graph([first, second])
    assert "peripheries=2" in box(drawing, first)
    assert "peripheries=2" in box(drawing, second)


def test_the_key_explains_the_kinds_that_occur_and_no_others():
    key = graph(tg.tensor([1.0], requires_grad=True)).dot.partition("cluster_key")[2]
    assert "[label=parameter" in key
    assert not any(kind in key for kind in ("constant", "computed", "output"))


# --- what stands in a box --------------------------------------------------------------------------


def test_plain_numbers_are_in_the_formula_and_not_boxes():
    x = tg.tensor([4.0], requires_grad=True, name="x")
    drawing = graph(3 * x)
    assert "= 3 ∘ x" in drawing.dot
    assert drawing.dot.count(" -> ") == 1


def test_a_value_used_twice_has_two_arrows():
    x = tg.tensor([4.0], requires_grad=True)
    assert graph(x * x).dot.count("\tv0 -> v1") == 2


def test_the_dtype_is_said_where_it_is_not_float64():
    single, double = tg.tensor(np.ones(2, np.float32)), tg.tensor(np.ones(2))
    assert "<td>length 2 float32: [1, 1]</td>" in graph(single).dot
    assert "<td>length 2: [1, 1]</td>" in graph(double).dot


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('<b>&"|{}', "&lt;b&gt;&amp;&quot;|{}"),
        ("two\nlines", "two lines"),
        ("\x00\ud800", "  "),
        (r"a\N", r"a\&#8203;N"),
        ("x" * 61, "x" * 59 + "…"),
        ("x" * 60, "x" * 60),
    ],
)
def test_names_are_escaped_and_kept_short(name, written):
    x = tg.tensor([4.0], requires_grad=True, name=name)
    assert f"<b>{written}</b></font>" in graph(x).dot
    assert f" = exp({written[:50]}" in graph(tg.exp(x)).dot


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.array(0.69314718), "0.6931"),
        (np.array(-3), "−3"),
        (np.array([[2.5]]), "2.5"),
        (np.array(-0.0), "0"),
        (np.array([1e-9, 2.0]), "[1e−09, 2]"),
        (np.array([[1, 2, 3], [4, 5, 6]]), "[[1, 2, 3], [4, 5, 6]]"),
        (np.array([True, False]), "[True, False]"),
        (np.array([np.nan, np.inf, -np.inf]), "[nan, inf, −inf]"),
        (np.zeros((0, 3)), "no elements"),
        (np.arange(7), "0 … 6, mean 3"),
        (np.linspace(-1, 2, 7), "−1 … 2, mean 0.5"),
        (np.zeros(7), "all 0"),
        (np.array([True] * 3 + [False] * 5), "False … True, mean 0.375"),
        (np.array([1.0] * 3 + [np.nan] * 4), "1 … 1, mean 1, 4 nan"),
        (np.array([1.0, 3.0, np.nan, np.inf, -np.inf, 2.0, 2.0]), "1 … 3, mean 2, 1 nan, 2 inf"),
        (np.full(7, np.nan), "7 nan"),
        (np.array([1e308] * 7 + [1.1e308]), "1e+308 … 1.1e+308, mean inf"),
        (np.full(7, 65504, np.float16), "all 6.55e+04"),
        (np.array([3e38] * 7 + [1e38], np.float32), "1e+38 … 3e+38, mean 2.75e+38"),
        (np.ones(2, np.longdouble), "[1, 1]"),
    ],
)
def test_numbers_in_words(array, words):
    assert describe_numbers(array) == words


def test_shapes_in_words():
    assert [describe_shape(s) for s in [(), (5,), (15, 9), (2, 0, 3)]] == ["scalar", "length 5", "15×9", "2×0×3"]


# --- size and cost ---------------------------------------------------------------------------------


def test_a_long_chain_needs_no_recursion():
    y = tg.tensor(1.0, requires_grad=True)
    for _ in range(3000):
        y = tg.tanh(y)
    assert graph(y, fold=False).dot.count(" -> ") == 3000


def test_importing_loads_none_of_the_packages_that_draw():
    code = (
        "import sys, tinygrad_bc.draw;"
        "print([m for m in ('graphviz', 'pygraphviz', 'matplotlib', 'pandas') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
