"""`tg.check.gradients`: a wrong VJP is laid on its operation, and explained; what is right passes."""

import time

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.check import between, end_to_end
from tinygrad_bc.check.between import pull_back
from tinygrad_bc.errors import DTypeError, GradientError
from tinygrad_bc.primitive import REGISTRY, primitive
from tinygrad_bc.record import Graph


def leaf(data, name=None, dtype=None):
    return tg.tensor(data, requires_grad=True, name=name, dtype=dtype)


def normal(*shape, seed=0, name=None):
    return leaf(np.random.default_rng([seed, *shape]).normal(size=shape), name)


# --- in the network --------------------------------------------------------------------------------


def test_a_right_network_passes_and_says_what_was_checked(network):
    report = tg.check.gradients(network, network.parameters)
    assert report
    text = str(report)
    assert text.startswith("the gradients are right")
    assert "ok    W1 (15, 9): largest difference" in text
    assert "seed 0" in text
    assert "not proved: other points than this one" in text
    assert "second derivatives" in text


def test_the_missing_factor_of_the_sigmoid_is_named(network, plant):
    plant("sigmoid", lambda g, y, x: g * y)
    report = tg.check.gradients(network, network.parameters)
    assert not report
    (fault,) = report.faults
    assert (fault.op, fault.argument) == ("sigmoid", "x")
    assert "conftest.py" in fault.place
    assert fault.place.endswith("Yh = tg.sigmoid(Z2)")
    assert fault.formula == "Yh = σ(Z2)"
    assert fault.cause == "the factor (1 - y) is missing: multiplied by it, it is right"
    # the element where g·y differs most from g·y·(1 - y)
    (d,) = [d for d in report.derivatives if d.node.op.name == "sigmoid"]
    assert fault.at == np.unravel_index(np.argmax(np.abs(d.given * (1 - d.value.data) - d.given)), (1, 40))
    assert fault.numeric == pytest.approx(fault.analytic * (1 - d.value.data[fault.at]))
    text = str(report)
    assert text.startswith("gradient WRONG: the VJP of `sigmoid` for its input x\n")
    assert f"worst element Z2[0, {fault.at[1]}]" in text
    assert "WRONG W1 (15, 9)" in text
    assert len(text) < 1500
    assert max(map(len, text.splitlines())) <= 160


@pytest.mark.parametrize(
    ("op", "vjps", "argument", "cause"),
    [
        ("sigmoid", [lambda g, y, x: -g * y * (1 - y)], "x", "the sign is wrong"),
        ("sigmoid", [lambda g, y, x: y * (1 - y)], "x", "upstream gradient g is ignored"),
        ("sigmoid", [lambda g, y, x: g * g * y * (1 - y)], "x", "multiplied in twice"),
        ("sigmoid", [lambda g, y, x: g * y * (1 - y) * 1.25], "x", "multiplied by 4/5 it is right"),
        ("sigmoid", [lambda g, y, x: g], "x", "the factor y * (1 - y) is missing"),
        ("sigmoid", [lambda g, y, x: g * x * y * (1 - y)], "x", "the factor x is one too many"),
        ("sigmoid", [lambda g, y, x: g * x * (1 - x)], "x", "it takes the input x where the result y is meant"),
        ("sigmoid", [lambda g, y, x: 0 * g], "x", "the gradient is lost here"),
        ("sigmoid", [lambda g, y, x: np.nan * g], "x", "it is NaN at 40 of the 40"),
        ("sigmoid", [lambda g, y, x: (g * y * (1 - y))[:, ::-1]], "x", "runs backwards along axis 1"),
        ("sigmoid", [lambda g, y, x: (g * y * (1 - y)).T], "x", "transpose"),
        ("sigmoid", [lambda g, y, x: g * y], "x", "(1 - y)"),
        ("relu", [lambda g, y, x: g], "x", "[x > 0] is missing"),
        ("relu", [lambda g, y, x: g * (x < 0)], "x", "the right derivative is g * [x > 0]"),
        ("log", [lambda g, y, x: g], "x", "the factor x is one too many"),
        ("log", [lambda g, y, x: g / x + g], "x", "the factor (1 + x) is one too many"),
        ("matmul", [REGISTRY["matmul"].vjps[0], lambda g, y, a, b: a.T @ np.ones_like(g)], "b", "g is ignored"),
        ("matmul", [REGISTRY["matmul"].vjps[0], lambda g, y, a, b: a @ g], "b", "takes a where its transpose is meant"),
        ("add", [lambda g, y, a, b: g, lambda g, y, a, b: -g], "b", "the sign is wrong"),
    ],
)
def test_the_usual_mistakes_are_explained(network, plant, op, vjps, argument, cause):
    plant(op, *vjps)
    report = tg.check.gradients(network, network.parameters)
    assert not report
    fault = report.faults[0]
    assert (fault.op, fault.argument) == (op, argument)
    assert cause in fault.cause
    assert len(str(report)) < 1800


def overwritten(g, y, x, *indices, key):
    result = np.zeros(x.shape)
    result[indices[0]] = g
    return result


def test_mean_without_its_divisor(network, plant):
    plant("mean", lambda g, y, x, **params: g * np.ones(x.shape))
    report = tg.check.gradients(network, network.parameters)
    assert report.faults[0].op == "mean"
    assert "40 times too large" in report.faults[0].cause
    assert "the length of axis 1 of x" in report.faults[0].cause


@pytest.mark.parametrize(
    ("op", "vjps", "fn", "shapes", "cause"),
    [
        ("tanh", [lambda g, y, x: g], tg.tanh, [(3, 4)], "the factor (1 - y²) is missing"),
        ("exp", [lambda g, y, x: g * y * y], tg.exp, [(3, 4)], "the factor y is one too many"),
        ("sqrt", [lambda g, y, x: g / y], lambda x: tg.sqrt(x * x + 1), [(5,)], "multiplied by 1/2 it is right"),
        (
            "multiply",
            [lambda g, y, a, b: g * a, lambda g, y, a, b: g * b],
            lambda a, b: tg.multiply(a, b),
            [(3, 4), (3, 4)],
            "VJP of another input",
        ),
        (
            "multiply",
            [lambda g, y, a, b: g, lambda g, y, a, b: g * a],
            lambda a, b: tg.multiply(a, b),
            [(3, 4), (4,)],
            "the factor b is missing",
        ),
        (
            "divide",
            [lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y],
            lambda a, b: tg.divide(a, b * b + 1),
            [(3, 4), (4,)],
            "the factor b is one too many",
        ),
        ("power", [lambda g, y, a, b: g * a ** (b - 1), None], lambda x: x**3, [(5,)], "the factor b is missing"),
        (
            "matmul",
            [lambda g, y, a, b: g @ b, lambda g, y, a, b: a.mT @ g],
            lambda a, b: a @ b,
            [(4, 4), (4, 4)],
            "it takes b where its transpose is meant",
        ),
        (
            "matmul",
            [lambda g, y, a, b: (g @ b.mT).mT, lambda g, y, a, b: a.mT @ g],
            lambda a, b: a @ b,
            [(3, 3), (3, 3)],
            "its transpose is right",
        ),
        (
            "sum",
            [lambda g, y, x, axis, **params: np.expand_dims(g, 1 - axis) * np.ones(x.shape)],
            lambda x: x.sum(axis=0),
            [(4, 4)],
            "transpose",
        ),
        (
            "broadcast_to",
            [lambda g, y, x, shape: g],
            lambda x: tg.broadcast_to(x, (5, 3)),
            [(3,)],
            "not summed over axis 0 (length 5)",
        ),
        (
            "broadcast_to",
            [lambda g, y, x, shape: g.mean(axis=0)],
            lambda x: tg.broadcast_to(x, (5, 3)),
            [(3,)],
            "5 times too small, which is the number of elements of the result for each of x",
        ),
        (
            "permute",
            [lambda g, y, x, dims: g.transpose(dims)],
            lambda x: x.permute(1, 2, 0),
            [(3, 3, 3)],
            "its axes are in the wrong order",
        ),
        (
            "tanh",
            [lambda g, y, x: np.where(x > 0, g * (1 - y * y), 0.5 * g)],
            tg.tanh,
            [(6,)],
            "wrong where x < 0, and right elsewhere",
        ),
        (
            "softmax",
            [lambda g, y, x, axis: g * y],
            lambda x: tg.softmax(x, axis=1),
            [(3, 4)],
            "with d for what it returns, d - y * (the sum of d over axis 1) is right",
        ),
        (
            "softmax",
            [lambda g, y, x, axis: y * (g - (g * y).sum(0))],
            lambda x: tg.softmax(x, axis=1),
            [(3, 4)],
            "the right derivative is y * (g - the sum of g * y over axis 1)",
        ),
        (
            "log_softmax",
            [lambda g, y, x, axis: g - np.exp(y)],
            lambda x: tg.log_softmax(x, axis=1),
            [(3, 4)],
            "the right derivative is g - exp(y) * (the sum of g over axis 1)",
        ),
        (
            "standardize",
            [lambda g, y, x, axis, eps, **params: (g - g.mean(1, keepdims=True)) / np.sqrt(x.var(1) + eps)[:, None]],
            lambda x: tg.layer_norm(x, (4,)),
            [(3, 4)],
            "d - y * (the mean of d * y over axis 1) is right",
        ),
        (
            "multiply",
            [REGISTRY["multiply"].vjps[0], lambda g, y, a, b: (g * a).sum(axis=1)],
            lambda a, b: tg.multiply(a, b),
            [(4, 4), (4,)],
            "the right derivative is g * a summed over axis 0",
        ),
        (
            "sum",
            [lambda g, y, x, **params: g * np.ones(x.shape) * (np.arange(4) > 0)],
            lambda x: x.sum(),
            [(4,)],
            "it is wrong at index 0 of axis 0, and right elsewhere",
        ),
        (
            "maximum",
            [lambda g, y, a, b: g, lambda g, y, a, b: g * (b > a)],
            lambda a, b: tg.maximum(a, b),
            [(40,), (40,)],
            "it is wrong where it should be 0, and right elsewhere",
        ),
        (
            "flip",
            [lambda g, y, x, **params: g],
            lambda x: tg.flip(x, (0, 1)),
            [(3, 4)],
            "it runs backwards along axes (0, 1)",
        ),
        (
            "getitem",
            [overwritten],
            lambda x: x[np.array([0, 2, 2, 1])],
            [(4, 3)],
            "it is wrong where an index occurs more than once",
        ),
    ],
)
def test_mistakes_of_single_operations_are_explained(plant, op, vjps, fn, shapes, cause):
    plant(op, *vjps)
    report = tg.check.gradients(fn, [normal(*shape, seed=i) for i, shape in enumerate(shapes)])
    assert not report
    assert report.faults[0].op == op
    assert cause in report.faults[0].cause


def x_sin_x(vjp):
    """An operation whose derivative, sin x + x cos x, is none that is tried as a whole."""
    op = primitive(vjps=[vjp], formula="x_sin_x({x})", samples=lambda rng: [], name="x_sin_x")(lambda x: x * np.sin(x))
    del REGISTRY["x_sin_x"]
    return op


@pytest.mark.parametrize(
    ("vjp", "cause"),
    [
        (lambda g, y, x: g * (np.sin(x) + x * np.cos(x)), None),
        (lambda g, y, x: g * x * np.cos(x), "the term g * sin(x) is missing"),
        (lambda g, y, x: g * (np.sin(x) + x * np.cos(x) + 1), "the term g is one too many"),
        (lambda g, y, x: g * (np.sin(x) + x * np.cos(x)) + x, "the term x is one too many"),
        (lambda g, y, x: g * np.arctan(x), ""),
    ],
)
def test_terms_are_missed_and_nothing_is_explained_away(vjp, cause):
    report = tg.check.gradients(x_sin_x(vjp), normal(5, 4))
    assert bool(report) == (cause is None)
    if not report:
        assert report.faults[0].cause == cause
        assert (cause or "none of the usual mistakes explains the numbers") in str(report)


def test_a_single_wrong_element_of_many_is_found(plant):
    """Far fewer elements are looked at than there are."""

    def vjp(g, y, x, **params):
        result = g * np.ones(x.shape)
        result[17, 33] *= 1.01
        return result

    plant("sum", vjp)
    x = normal(60, 50, name="x")
    report = tg.check.gradients(lambda x: x.sum(), x)
    assert report.faults[0].at == (17, 33)
    assert report.faults[0].checked < 100


def test_a_wrong_shape_is_blamed_with_the_shapes(plant):
    plant("tanh", lambda g, y, x: g.sum(axis=0))
    report = tg.check.gradients(lambda x: tg.tanh(x) * 2, normal(3, 4))
    assert report.faults[0].problem == "it returns shape (4,), but x has shape (3, 4)"
    assert "returns shape (4,)" in str(report)


def test_a_vjp_that_raises_is_blamed(plant):
    plant("tanh", lambda g, y, x: g @ y)
    report = tg.check.gradients(lambda x: tg.tanh(x) * 2, normal(3, 4))
    assert report.faults[0].op == "tanh"
    assert "it raises ValueError" in report.faults[0].problem


def test_a_derivative_declared_to_be_zero_is_checked_too(monkeypatch):
    monkeypatch.setattr(REGISTRY["tanh"], "vjps", None)
    report = tg.check.gradients(lambda x: tg.tanh(x) + x, normal(3))
    assert report.faults[0].op == "tanh"
    assert "the gradient is lost here" in report.faults[0].cause


def test_all_wrong_operations_are_listed_and_the_one_nearest_to_the_loss_leads(network, plant):
    plant("sigmoid", lambda g, y, x: g * y)
    plant("relu", lambda g, y, x: g)
    report = tg.check.gradients(network, network.parameters)
    assert [fault.op for fault in report.faults] == ["sigmoid", "relu"]
    assert "and 1 more" in str(report).splitlines()[0]


def test_the_same_fault_at_many_places_is_reported_once(plant):
    plant("tanh", lambda g, y, x: g)

    def fn(x):
        for _ in range(20):
            x = tg.tanh(x) + 0.5
        return x

    report = tg.check.gradients(fn, normal(3))
    assert len(report.faults) == 1
    assert report.faults[0].places == 20
    assert "and the same at 19 more places" in str(report)


def test_inputs_are_called_by_their_names_or_those_of_the_parameters_or_of_the_caller():
    first, second, third = normal(2), leaf([1.0, 2.0], "own"), normal(2)
    report = tg.check.gradients(lambda a, b, *more: a * b * more[0], [first, second, third])
    assert [row.name for row in report.rows] == ["a", "own", "third"]


# --- what is wrong between operations ----------------------------------------------------------------


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: tg.tanh(x) * x.detach(),
        lambda x: tg.tanh(x) * tg.tensor(x.data),
        lambda x: tg.tanh(x) * float(x.data.sum()),
        lambda x: tg.tanh(x) * np.exp(x.data),
    ],
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_lost_graph_is_found(fn, dtype):
    report = tg.check.gradients(fn, leaf(np.array([0.5, 1.5]), "x", dtype))
    assert not report
    assert not report.faults
    assert "the graph was lost" in report.failure
    assert "`multiply` was given a constant (input 1" in report.failure
    assert "test_gradients.py" in report.failure


def test_a_function_without_any_graph_is_wrong():
    report = tg.check.gradients(lambda x: tg.tensor(np.exp(x.data)), leaf([0.5, 1.5], "x"))
    assert not report
    assert "output 0 has no history" in report.failure


def test_a_mask_taken_from_the_data_is_no_lost_graph():
    assert tg.check.gradients(lambda x: x * (x.data > 0), leaf([0.5, -1.5]))


@pytest.mark.parametrize("kept", [0, -1])
def test_gradients_that_are_not_accumulated_are_noticed(monkeypatch, kept):
    def forgetful(outputs, inputs, seeds, **options):
        found = pull_back(Graph(outputs, inputs), dict(zip(outputs, seeds)), combine=lambda parts: parts[kept])
        return [tg.tensor(found[x]) for x in inputs]

    for module in (end_to_end, between):
        monkeypatch.setattr(module, "grad", forgetful)
    report = tg.check.gradients(lambda x: (tg.tanh(x) * x).sum(), leaf([0.5, 1.5], "x"))
    assert not report
    assert not report.faults
    assert "gradients are not accumulated" in report.failure
    assert "x (2,) (2 uses)" in report.failure


def test_another_mistake_of_the_engine_is_laid_on_the_engine(monkeypatch):
    def doubled(outputs, inputs, seeds, **options):
        return [tg.tensor(2 * g.data) for g in tg.grad(outputs, inputs, seeds)]

    for module in (end_to_end, between):
        monkeypatch.setattr(module, "grad", doubled)
    report = tg.check.gradients(lambda x: tg.tanh(x), leaf([0.5, 1.5], "x"))
    assert "the backward pass does not put the VJPs together" in report.failure


# --- no false alarms ---------------------------------------------------------------------------------

UNARY = [tg.tanh, tg.sigmoid, tg.exp, lambda x: x * x, lambda x: tg.sqrt(x * x + 1), lambda x: tg.log(x * x + 0.5)]
BINARY = [tg.add, tg.subtract, tg.multiply, lambda a, b: a / (b * b + 1), tg.matmul]


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(st.lists(st.integers(0, 100), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_random_smooth_functions_pass(choices, seed):
    def fn(a, b):
        values = [a, b]
        for choice in choices:
            if choice % 2:
                values.append(UNARY[choice % len(UNARY)](values[choice % len(values)]) * 0.5)
            else:
                op = BINARY[choice % len(BINARY)]
                values.append(op(values[choice % len(values)], values[-1]) * 0.5)
        return values[-1], sum(values).mean()

    a, b = (normal(3, 3, seed=seed + i) for i in range(2))
    report = tg.check.gradients(fn, [a, b], seed=seed)
    assert report, str(report)


def test_kinks_do_not_fail_and_are_reported():
    report = tg.check.gradients(lambda x: tg.relu(x) + abs(x), leaf([0.0, 1e-7, 1.0, -2.0], "x"))
    assert report
    text = str(report)
    assert "relu (1 element)" in text
    assert "at a kink" in text
    assert "1.0e-07 away" in text


@pytest.mark.parametrize(
    "fn",
    [
        lambda x: x.max(),
        lambda x: tg.maximum(x, 1.0),
        lambda x: tg.minimum(x, x.detach() * 0 + 1),
        lambda x: tg.clip(x, 1, 3),
    ],
)
def test_ties_are_kinks(fn):
    report = tg.check.gradients(fn, leaf([1.0, 1.0, 0.5, 1.0]))
    assert report, str(report)
    assert "at a kink" in str(report)


def test_a_slope_outside_those_of_a_kink_is_wrong(plant):
    plant("relu", lambda g, y, x: np.where(x >= 0, np.where(x == 0, 3 * g, g), 0.0))
    report = tg.check.gradients(tg.relu, leaf([0.0, 1.0, -2.0]))
    assert report.faults[0].at == (0,)


def test_conventions_at_kinks_that_do_not_add_up_are_no_mistake():
    report = tg.check.gradients(lambda x: tg.relu(x) - tg.relu(-x), leaf([0.0, 1.0, -2.0]))
    assert report
    assert "conventions" in str(report)


def test_infinite_slopes_are_reported():
    report = tg.check.gradients(tg.sqrt, leaf([0.0, 1.0, 4.0]))
    assert report
    assert "sqrt (1 element) where the slope is infinite" in str(report)


def test_points_near_the_edge_of_a_domain_pass():
    report = tg.check.gradients(lambda x: tg.log(x) + tg.log(1 - x), leaf([1e-9, 1e-5, 0.5, 1 - 1e-6]))
    assert report, str(report)


# --- precision -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_low_precision_is_judged_in_float64_and_rounding_stated(dtype):
    x = leaf(np.random.default_rng(0).normal(size=(5, 3)), "x", dtype)
    report = tg.check.gradients(lambda x: tg.tanh(x * 3).mean(), x)
    assert report
    (row,) = report.rows
    assert 0 < row.rounding < 20
    assert abs(row.analytic - row.numeric) < 1e-9  # no trace of the eps of float32
    assert "rounding of the gradient" in str(report)


def test_a_wrong_formula_is_seen_in_float32_where_plain_differences_would_drown_it(plant):
    plant("tanh", lambda g, y, x: g * (1 - y * y) * 1.0001)
    report = tg.check.gradients(tg.tanh, leaf([0.5, 1.5], "x", np.float32))
    assert report.faults[0].op == "tanh"
    assert "constant factor" in report.faults[0].cause


def test_a_gradient_that_loses_its_digits_in_float32_is_imprecise_and_not_wrong(plant):
    plant("tanh", lambda g, y, x: ((1e6 + g) - 1e6) * (1 - y * y))
    report = tg.check.gradients(tg.tanh, leaf([0.5, 1.5], "x", np.float32), rtol=1e-4)
    assert not report
    assert not report.faults
    assert "IMPRECISE" in str(report)


def test_the_tolerance_is_the_users():
    def off(factor):
        return [lambda g, y, x: g * (1 - y * y) * factor]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(REGISTRY["tanh"], "vjps", off(1 + 1e-4))
        assert not tg.check.gradients(tg.tanh, leaf([0.5]))
        assert tg.check.gradients(tg.tanh, leaf([0.5]), rtol=1e-3)
        assert not tg.gradcheck(tg.tanh, leaf([0.5]))


# --- second order ----------------------------------------------------------------------------------


def test_second_order_passes():
    report = tg.check.gradients(lambda x, w: tg.tanh(x @ w), [normal(3, 2), normal(2, 2)], second_order=True)
    assert report
    assert "second order: the gradients are right" in str(report)
    assert "second derivatives" not in str(report).splitlines()[-1]


def test_a_vjp_that_hides_its_dependence_is_wrong_in_second_order_only(plant):
    plant("tanh", lambda g, y, x: g * (1 - getattr(y, "data", y) ** 2) if isinstance(y, tg.Tensor) else g * (1 - y * y))
    fn, x = lambda x: tg.tanh(x).sum(), normal(3, name="x")
    assert tg.check.gradients(fn, x)
    report = tg.check.gradients(fn, x, second_order=True)
    assert not report
    assert "the gradient of the gradient is WRONG" in str(report)
    assert "the graph was lost" in report.second.failure


def test_a_vjp_that_takes_arrays_only_cannot_be_differentiated_again(plant):
    plant("tanh", lambda g, y, x: g * (1 - np.hypot(y, 0) ** 2))
    report = tg.check.gradients(lambda x: tg.tanh(x).sum(), normal(3), second_order=True)
    assert not report
    assert "cannot be differentiated again: GradientError" in report.second


# --- cost ------------------------------------------------------------------------------------------


def test_a_large_network_is_sampled_and_checked_in_seconds(network):
    network = type(network)(n=500)
    start = time.process_time()
    report = tg.check.gradients(network, network.parameters)
    assert time.process_time() - start < 10
    assert report
    assert "end to end: elements 91 of 166, random directions 3" in str(report)
    for derivative in report.derivatives:
        assert len(derivative.where) == derivative.x.size or derivative.directions > 0


def test_the_seed_decides_what_is_drawn():
    x = normal(30, 30)
    one, same, other = (tg.check.gradients(lambda x: x.sum(), x, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.rows[0].where, same.rows[0].where)
    assert (one.rows[0].where != other.rows[0].where).any()
    assert "seed 2" in str(other)


# --- misuse ----------------------------------------------------------------------------------------


def test_what_cannot_be_checked_is_refused():
    rng = np.random.default_rng(0)
    x = leaf([1.0, 2.0], "x")
    for check in (tg.check.gradients, tg.gradcheck):
        with pytest.raises(GradientError, match="nothing to check: create it with"):
            check(lambda x: x, tg.tensor([1, 2]))
        with pytest.raises(GradientError, match="different results for the same inputs"):
            check(lambda x: x * rng.normal(), x)
        with pytest.raises(GradientError, match="not computed from the inputs"):
            check(lambda _: (x * x).sum(), x)
        with pytest.raises(DTypeError, match="what fn returns: expected a tensor"):
            check(lambda x: x.data, x)
        with pytest.raises(DTypeError, match="inputs: expected a tensor"):
            check(lambda x: x, np.ones(3))
        with pytest.raises(GradientError, match="fn gives inf at these inputs"), np.errstate(over="ignore"):
            check(lambda x: tg.exp(x * 1000), x)


def test_inputs_are_left_alone():
    x, c = leaf([1.0, 2.0], "x"), tg.tensor([1, 2], name="c")
    report = tg.check.gradients(lambda x, c: x * c, [x, c], second_order=True)
    assert report
    assert "c (int64, requires no gradient)" in str(report)
    np.testing.assert_array_equal(x.data, [1.0, 2.0])
    assert x.grad is None


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1,)])
def test_sizes_0_and_1(shape):
    assert tg.check.gradients(lambda x: x * x, leaf(np.full(shape, 1.5)), second_order=True)
    assert tg.gradcheck(lambda x: x * x, leaf(np.full(shape, 1.5)))


def test_an_output_returned_twice_counts_twice():
    def fn(x):
        y = tg.tanh(x)
        return y, y

    assert tg.check.gradients(fn, leaf([0.5, 1.5]))


def test_a_result_in_the_place_of_a_function_is_refused():
    x = tg.tensor([1.0], requires_grad=True)
    for check in (tg.check.gradients, tg.gradcheck):
        with pytest.raises(DTypeError, match="expected a function of the inputs, got its result, Tensor"):
            check(x * x, x)


@pytest.mark.parametrize("returned", [None, "abc", 3.0, [1.0, 1.0], tg.exp])
def test_a_rule_that_returns_no_array_is_blamed(plant, returned):
    plant("tanh", lambda g, y, x: returned)
    report = tg.check.gradients(lambda x: (tg.tanh(x) * 2).sum(), tg.tensor([1.0, 2.0], requires_grad=True))
    assert not report
    assert report.faults[0].op == "tanh"
    assert f"it returns {type(returned).__name__}; it must return an array" in str(report)
