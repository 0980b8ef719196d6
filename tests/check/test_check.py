"""The checkers: they pass what is right, and notice what is wrong."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.check.differences import central_differences, one_sided_differences
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError
from tinygrad_bc.primitive import REGISTRY, primitive


def leaf(data, name=None, dtype=None):
    return tg.tensor(data, requires_grad=True, name=name, dtype=dtype)


def declared(vjp, forward=lambda x: 1 / (1 + np.exp(-x))):
    op = primitive(vjps=[vjp], formula="f({x})", samples=lambda rng: [], name="test_op")(forward)
    del REGISTRY["test_op"]
    return op


def test_central_differences_of_a_cubic():
    x = np.array([[1.0, -2.0], [0.0, 3.0]])
    numeric = central_differences(lambda a: float((a**3).sum()), x, 1e-5)
    np.testing.assert_allclose(numeric, 3 * x**2, rtol=1e-8, atol=1e-9)


def test_one_sided_differences_at_a_kink():
    below, above = one_sided_differences(
        lambda a: float(np.maximum(a, 0).sum() + (a**2).sum()), np.zeros(3), (1,), 1e-5
    )
    assert below == pytest.approx(0.0, abs=1e-9)
    assert above == pytest.approx(1.0, abs=1e-9)


# --- gradcheck -------------------------------------------------------------------------------------


def test_a_right_gradient_passes_and_says_so():
    x, y = leaf([[0.5, 2.0]], "x"), leaf([1.0, 2.0])
    report = tg.gradcheck(lambda x, y: (tg.log(x) * y, x.sum()), [x, y])
    assert report
    assert "the gradients are right" in str(report)
    assert "ok    x (1, 2)" in str(report)
    assert "input 1 (2,)" in str(report)


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
def test_a_wrong_vjp_is_caught(vjp):
    sigmoid = declared(vjp)
    x = leaf([0.5, 2.0, -1.0], "x")
    report = tg.gradcheck(lambda x: sigmoid(x) * 3, x)
    assert not report
    assert "1 of 1 gradients are WRONG" in str(report)
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


def test_inputs_are_left_alone():
    x = leaf([1.0, 2.0], "x")
    tg.gradcheck(lambda x: x * x, x)
    np.testing.assert_array_equal(x.data, [1.0, 2.0])
    assert x.grad is None


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(GradientError, match="nothing to check"):
        tg.gradcheck(lambda x: x, tg.tensor([1.0]))
    with pytest.raises(DTypeError, match="x is float32"):
        tg.gradcheck(lambda x: x * x, leaf([1.0], "x", np.float32))
    rng = np.random.default_rng(0)
    with pytest.raises(GradientError, match="different results"):
        tg.gradcheck(lambda x: x * rng.normal(), leaf([1.0]))


# --- formulas --------------------------------------------------------------------------------------


def example():
    W, X = leaf([[0.5, -1.0], [2.0, 0.3]], "W"), tg.tensor([[1.0, 2.0, -1.0], [0.5, 1.5, 1.0]])
    Z = W @ X
    A = tg.sigmoid(Z)
    loss = (A * A).sum()
    dA = 2 * A.data
    dZ = dA * A.data * (1 - A.data)
    return loss, {"W": W, "Z": Z, "A": A}, {"dLoss_A": dA, "dLoss_Z": dZ, "dLoss_W": dZ @ X.data.T}


def test_right_formulas_agree_three_ways():
    loss, tensors, by_hand = example()
    report = tg.check.formulas(loss, by_hand, tensors)
    assert report
    assert [row.name for row in report.rows] == list(by_hand)
    assert report.worst_formula < 1e-15 * 10
    assert 0 < report.worst_finite_difference < 1e-8


def test_a_wrong_formula_is_noticed():
    loss, tensors, by_hand = example()
    by_hand["dLoss_Z"] = by_hand["dLoss_Z"] * (1 + 1e-9)
    report = tg.check.formulas(loss, by_hand, tensors)
    assert not report
    assert report.worst_formula == pytest.approx(1e-9, rel=1e-3)
    assert max(report.rows, key=lambda row: row.formula).name == "dLoss_Z"


def test_a_wrong_engine_is_noticed_by_finite_differences():
    x = leaf([0.5, 2.0], "x")
    loss = declared(lambda g, y, x: g * y)(x).sum()
    report = tg.check.formulas(loss, {"dLoss_x": tg.grad(loss, x)[0].data}, {"x": x})
    assert not report
    assert report.worst_formula == 0.0
    assert report.worst_finite_difference > 0.1


def test_kinks_are_counted_and_compared_on_one_side():
    Z = leaf([-1.0, 0.0, 2.0], "Z")
    loss = (tg.relu(Z) * [1.0, 5.0, 2.0]).sum()
    report = tg.check.formulas(loss, {"dLoss_Z": np.array([0.0, 0.0, 2.0])}, {"Z": Z})
    assert report
    assert report.rows[0].kinks == 1


def test_formulas_that_do_not_fit_are_refused():
    loss, tensors, by_hand = example()
    with pytest.raises(GradientError, match="no tensor named 'W9'; there are W, Z, A"):
        tg.check.formulas(loss, {"dLoss_W9": by_hand["dLoss_W"]}, tensors)
    with pytest.raises(ShapeError, match=r"dLoss_W has shape \(3, 2\)"):
        tg.check.formulas(loss, {"dLoss_W": np.ones((3, 2))}, tensors)


def test_an_element_at_the_edge_of_the_domain_is_compared_on_the_inside():
    x = leaf([1e-9, 0.5], "x")
    loss = (tg.log(x) * [0.0, 1.0] - tg.log(1 - x)).sum()
    report = tg.check.formulas(loss, {"dLoss_x": [1 / (1 - 1e-9), 2 + 1 / 0.5]}, {"x": x})
    assert report
    assert report.rows[0].kinks == 0


def test_a_difference_that_is_no_number_is_not_taken_for_agreement():
    x = leaf([0.5], "x")
    loss = declared(lambda g, y, x: g * np.nan)(x).sum()
    assert not tg.check.formulas(loss, {"dLoss_x": np.array([0.1])}, {"x": x})
