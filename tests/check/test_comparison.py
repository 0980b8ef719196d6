"""`tg.check.formulas`: three answers, and the first wrong factor along the chain."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import DTypeError, GradientError
from tinygrad_bc.primitive import REGISTRY


def leaf(data, name=None):
    return tg.tensor(data, requires_grad=True, name=name)


def example():
    W, X = leaf([[0.5, -1.0], [2.0, 0.3]], "W"), tg.tensor([[1.0, 2.0, -1.0], [0.5, 1.5, 1.0]], name="X")
    Z = (W @ X).named("Z")
    A = tg.sigmoid(Z).named("A")
    loss = (A * A).sum()
    dA = 2 * A.data
    dZ = dA * A.data * (1 - A.data)
    return loss, {"dLoss_A": dA, "dLoss_Z": dZ, "dLoss_W": dZ @ X.data.T}


def callables():
    return {
        "dLoss_A": lambda A: 2 * A,
        "dLoss_Z": lambda dLoss_A, A: dLoss_A * A * (1 - A),
        "dLoss_W": lambda dLoss_Z, X: dLoss_Z @ X.T,
    }


@pytest.mark.parametrize("made", [lambda: example()[1], callables])
def test_right_formulas_agree_three_ways(made):
    loss, by_hand = example()[0], made()
    report = tg.check.formulas(loss, by_hand)
    assert report, str(report)
    assert [row.name for row in report.rows] == list(by_hand)
    assert report.worst_formula < 1e-14
    assert 0 < report.worst_finite_difference < 1e-8
    assert report.first_wrong == ""


def test_a_formula_that_is_a_little_wrong_is_noticed():
    loss, by_hand = example()
    by_hand["dLoss_Z"] = by_hand["dLoss_Z"] * (1 + 1e-9)
    report = tg.check.formulas(loss, by_hand)
    assert not report
    assert report.worst_formula == pytest.approx(1e-9, rel=1e-3)
    assert report.first_wrong == "dLoss_Z"
    assert "off by a constant factor" in report.cause


@pytest.mark.parametrize(
    ("wrong", "formula", "cause", "follows"),
    [
        ("dLoss_A", lambda A: A, "multiplied by 2 it is right", ["dLoss_Z", "dLoss_W"]),
        ("dLoss_Z", lambda dLoss_A, A: dLoss_A * A, "the factor (1 - A) is missing", ["dLoss_W"]),
        ("dLoss_Z", lambda dLoss_A, A: -dLoss_A * A * (1 - A), "the sign is wrong", ["dLoss_W"]),
        ("dLoss_Z", lambda A: A * (1 - A), "the factor dLoss_A is missing", ["dLoss_W"]),
        ("dLoss_Z", lambda A: np.zeros_like(A), "0 everywhere", ["dLoss_W"]),
        ("dLoss_W", lambda dLoss_Z, X: X @ dLoss_Z.T, "its transpose is right", []),
        ("dLoss_W", lambda dLoss_Z, X: dLoss_Z @ X.T / 3, "3 times too small", []),
    ],
)
@pytest.mark.parametrize("as_arrays", [False, True])
def test_the_first_wrong_factor_is_named_and_explained(wrong, formula, cause, follows, as_arrays):
    loss, _ = example()
    by_hand = callables() | {wrong: formula}
    if as_arrays:
        A, X = (value.data for value in (loss.node.inputs[0].node.inputs[0], tg.tensor(example_X)))
        dA = by_hand["dLoss_A"](A)
        dZ = by_hand["dLoss_Z"](
            **{k: v for k, v in {"dLoss_A": dA, "A": A}.items() if k in names_of(by_hand["dLoss_Z"])}
        )
        by_hand = {"dLoss_A": dA, "dLoss_Z": dZ, "dLoss_W": by_hand["dLoss_W"](dZ, X)}
    report = tg.check.formulas(loss, by_hand)
    assert not report
    assert report.first_wrong == wrong
    assert cause in report.cause
    assert [row.name for row in report.rows if row.verdict == "follows"] == follows
    text = str(report)
    assert f"first wrong factor along the chain: {wrong}" in text
    assert len(text) < 1500


example_X = [[1.0, 2.0, -1.0], [0.5, 1.5, 1.0]]


def names_of(function):
    return function.__code__.co_varnames[: function.__code__.co_argcount]


def test_two_errors_that_cancel_are_seen_though_the_result_is_right():
    """As in a tutorial that leaves the 1/n of the mean out until the parameters."""
    loss, _ = example()
    by_hand = callables() | {
        "dLoss_A": lambda A: 6 * A,
        "dLoss_W": lambda dLoss_Z, X: dLoss_Z @ X.T / 3,
    }
    report = tg.check.formulas(loss, by_hand)
    assert not report
    assert [row.verdict for row in report.rows] == ["WRONG", "follows", ""]
    assert report.first_wrong == "dLoss_A"
    assert "3 times too large" in report.cause


def test_all_that_is_wrong_by_itself_is_named():
    loss, _ = example()
    by_hand = callables() | {"dLoss_A": lambda A: -2 * A, "dLoss_W": lambda dLoss_Z, X: -dLoss_Z @ X.T}
    by_hand["dLoss_Z"] = lambda dLoss_A, A: dLoss_A * A
    report = tg.check.formulas(loss, by_hand)
    assert report.first_wrong == "dLoss_A"
    assert set(report.also_wrong) == {"dLoss_Z", "dLoss_W"}
    assert "sign" in report.also_wrong["dLoss_W"]
    assert "(1 - A)" in report.also_wrong["dLoss_Z"]
    assert "also wrong    dLoss_Z" in str(report)


def test_a_missing_term_is_found():
    Yh, Y = leaf([[0.2, 0.7, 0.6, 0.9]], "Yh"), tg.tensor([[0.1, 0.8, 0.5, 0.3]], name="Y")
    loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
    report = tg.check.formulas(loss, {"dLoss_Yh": lambda Y, Yh: -(Y / Yh) / 4})
    assert report.cause == "the term (1 - Y) / (1 - Yh) times 1/4 is missing"


def test_a_wrong_shape_is_a_wrong_formula():
    loss, by_hand = example()
    report = tg.check.formulas(loss, by_hand | {"dLoss_W": np.ones((3, 2))})
    assert not report
    assert report.rows[-1].formula == np.inf
    assert "the formula gives shape (3, 2), and the tensor has shape (2, 2)" in str(report)
    b = leaf(np.zeros((2, 1)), "b")
    loss = ((b + np.arange(6.0).reshape(2, 3)) ** 2).sum()
    report = tg.check.formulas(loss, {"dLoss_b": 2 * np.arange(6.0).reshape(2, 3)})
    assert "it is not summed over axis 1 (length 3)" in report.cause


def test_tensors_are_found_by_name_in_the_mapping_and_among_the_callers_variables():
    W_1, z = leaf([[0.5, -1.0]]), leaf([2.0, 3.0])
    loss = ((W_1 * z) ** 2).sum()
    own = 2 * W_1.data * z.data**2
    assert tg.check.formulas(loss, {"dLoss_W_1": own})  # the longest part: W_1, and not 1
    assert tg.check.formulas(loss, {"W_1": own})
    assert tg.check.formulas(loss, {"dLoss_weights": own}, {"weights": W_1})
    with pytest.raises(GradientError, match="no tensor named 'W9'; there are W_1"):
        tg.check.formulas(loss, {"dLoss_W9": own}, {"W_1": W_1})
    with pytest.raises(GradientError, match="dLoss_other: the loss was not computed from that tensor"):
        tg.check.formulas(loss, {"dLoss_other": own}, {"other": leaf([1.0])})


def test_formulas_that_cannot_be_called_are_explained():
    loss, _ = example()
    with pytest.raises(GradientError, match="parameter 'nonsense' is neither a tensor nor a derivative"):
        tg.check.formulas(loss, {"dLoss_A": lambda nonsense: nonsense})
    with pytest.raises(GradientError, match="dLoss_A needs dLoss_Z needs dLoss_A: they go round in a circle"):
        tg.check.formulas(loss, {"dLoss_A": lambda dLoss_Z: dLoss_Z, "dLoss_Z": lambda dLoss_A: dLoss_A})
    with pytest.raises(
        GradientError, match=r"dLoss_W: the formula cannot be computed from dLoss_Z \(2, 3\), X \(2, 3\)"
    ):
        tg.check.formulas(loss, callables() | {"dLoss_W": lambda dLoss_Z, X: dLoss_Z @ X})
    with pytest.raises(DTypeError, match="the loss is float32"):
        tg.check.formulas(tg.tensor(1.0, dtype=np.float32, requires_grad=True) * 2, {})


def test_a_wrong_engine_is_noticed_by_finite_differences(monkeypatch):
    monkeypatch.setattr(REGISTRY["sigmoid"], "vjps", (lambda g, y, x: g * y,))
    x = leaf([0.5, 2.0], "x")
    loss = tg.sigmoid(x).sum()
    report = tg.check.formulas(loss, {"dLoss_x": tg.grad(loss, x)[0].data})
    assert not report
    assert report.worst_formula == 0.0
    assert report.worst_finite_difference > 0.1
    assert "see tg.check.gradients" in str(report)


def test_kinks_are_counted_and_compared_on_one_side():
    Z = leaf([-1.0, 0.0, 2.0], "Z")
    loss = (tg.relu(Z) * [1.0, 5.0, 2.0]).sum()
    report = tg.check.formulas(loss, {"dLoss_Z": np.array([0.0, 0.0, 2.0])})
    assert report
    assert report.rows[0].kinks == 1


def test_an_element_at_the_edge_of_the_domain_is_compared_on_the_inside():
    x = leaf([1e-9, 0.5], "x")
    loss = (tg.log(x) * [0.0, 1.0] - tg.log(1 - x)).sum()
    report = tg.check.formulas(loss, {"dLoss_x": [1 / (1 - 1e-9), 2 + 1 / 0.5]})
    assert report, str(report)
    assert report.rows[0].kinks == 0


def test_a_difference_that_is_no_number_is_not_taken_for_agreement(monkeypatch):
    monkeypatch.setattr(REGISTRY["sigmoid"], "vjps", (lambda g, y, x: g * np.nan,))
    x = leaf([0.5], "x")
    assert not tg.check.formulas(tg.sigmoid(x).sum(), {"dLoss_x": np.array([0.1])})


@pytest.mark.parametrize(
    ("derivatives", "match"),
    [
        ({}, "at least one"),
        ([np.ones(2)], "expected derivatives by name"),
        ({"dLoss_x": None}, "dLoss_x: expected numbers, got None"),
        ({"dLoss_x": "2 * x"}, "dLoss_x: expected numbers"),
        ({"dLoss_x": lambda x: None}, "dLoss_x: expected numbers"),
    ],
)
def test_formulas_that_are_none_are_refused_by_name(derivatives, match):
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with pytest.raises(DTypeError, match=match):
        tg.check.formulas((x * x).sum(), derivatives)
    with pytest.raises(DTypeError, match="recorded tensor, got float"):
        tg.check.formulas(3.0, {"dLoss_x": np.ones(2)})


def test_a_tensor_is_as_good_as_an_array():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    assert tg.check.formulas((x * x).sum(), {"dLoss_x": 2 * x})
