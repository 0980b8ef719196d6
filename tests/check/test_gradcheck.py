"""`tg.gradcheck`, the plain yes or no."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.primitive import REGISTRY, primitive


def leaf(data, name=None, dtype=None):
    return tg.tensor(data, requires_grad=True, name=name, dtype=dtype)


def declared(vjp, forward=lambda x: 1 / (1 + np.exp(-x))):
    op = primitive(vjps=[vjp], formula="f({x})", samples=lambda rng: [], name="test_op")(forward)
    del REGISTRY["test_op"]
    return op


def test_a_right_gradient_passes_and_says_so():
    x, y = leaf([[0.5, 2.0]], "x"), leaf([1.0, 2.0])
    report = tg.gradcheck(lambda x, y: (tg.log(x) * y, x.sum()), [x, y])
    assert report
    assert "the gradients are right" in str(report)
    assert "ok    x (1, 2)" in str(report)
    assert "ok    y (2,)" in str(report)
    assert "each operation by itself (tg.check.gradients does)" in str(report)


@pytest.mark.parametrize(
    "vjp",
    [
        lambda g, y, x: g * y,  # (1 - y) left out
        lambda g, y, x: -g * y * (1 - y),
        lambda g, y, x: g * y * (1 - y) * 1.0001,
        lambda g, y, x: y * (1 - y),  # upstream gradient ignored
        lambda g, y, x: g * np.nan,
        lambda g, y, x: (g * (y * (1 - y)))[::-1],
    ],
)
def test_a_wrong_vjp_is_caught_and_the_operation_named(vjp):
    sigmoid = declared(vjp)
    x = leaf([0.5, 2.0, -1.0], "x")
    report = tg.gradcheck(lambda x: sigmoid(x) * 3, x)
    assert not report
    assert "gradient WRONG: the VJP of `test_op` for its input x" in str(report)
    assert "WRONG x (3,)" in str(report)


def test_the_worst_element_is_named():
    def vjp(g, y, x):
        return g * np.where(np.arange(4) == 2, 5.0, 2.0)

    report = tg.gradcheck(declared(vjp, lambda x: 2 * x), leaf([1.0, 2.0, 3.0, 4.0], "x"))
    (row,) = report.rows
    assert row.worst == (2,)
    assert row.numeric == pytest.approx(row.analytic * 2 / 5)
    assert "x[2]" in str(report)


def test_only_what_requires_a_gradient_is_checked():
    x, c = leaf([1.0, 2.0], "x"), tg.tensor([1, 2])
    report = tg.gradcheck(lambda x, c: x * c, [x, c])
    assert [row.name for row in report.rows] == ["x"]
    assert report


def test_low_precision_is_no_obstacle():
    x = leaf([1.0, 2.0], "x", np.float32)
    assert tg.gradcheck(lambda x: x * x, x)
    assert not tg.gradcheck(lambda x: declared(lambda g, y, x: g * y)(x), x)


def test_a_kink_is_no_mistake():
    assert tg.gradcheck(tg.relu, leaf([0.0, 1.0, -1.0]))


def test_a_function_may_ask_for_a_gradient_itself():
    def slope(x):
        return tg.grad((x**3).sum(), x, create_graph=True)[0]

    assert tg.gradcheck(slope, leaf([0.5, 2.0]))
