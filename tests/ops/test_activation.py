"""Activation functions: closed forms, saturation, conventions at the kinks, errors."""

import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError


def derivatives(function, x):
    """Value, first and second derivative."""
    x = tg.tensor(x, requires_grad=True)
    y = function(x)
    (first,) = tg.grad(y, x, np.ones(x.shape), create_graph=True)
    second = tg.grad(first, x, np.ones(x.shape), allow_unused=True)[0] if first.requires_grad else None
    return y.data, first.data, np.zeros(x.shape, x.dtype) if second is None else second.data


def σ(x):
    return 1 / (1 + math.exp(-x))


def Φ(x):
    return 0.5 * math.erfc(-x / math.sqrt(2))


def φ(x):
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


X = [-9.0, -2.5, -0.7, -1e-6, 1e-6, 0.4, 1.3, 8.0]
CLOSED_FORMS = {
    "relu": (tg.relu, lambda x: max(x, 0), lambda x: float(x > 0), lambda x: 0),
    "leaky_relu": (tg.leaky_relu, lambda x: max(x, 0.01 * x), lambda x: 1 if x > 0 else 0.01, lambda x: 0),
    "elu": (
        lambda x: tg.elu(x, alpha=0.5),
        lambda x: x if x > 0 else 0.5 * math.expm1(x),
        lambda x: 1 if x > 0 else 0.5 * math.exp(x),
        lambda x: 0 if x > 0 else 0.5 * math.exp(x),
    ),
    "logsigmoid": (
        tg.logsigmoid,
        lambda x: -math.log1p(math.exp(-x)),
        lambda x: σ(-x),
        lambda x: -σ(x) * σ(-x),
    ),
    "softplus": (tg.softplus, lambda x: math.log1p(math.exp(x)), σ, lambda x: σ(x) * σ(-x)),
    "softplus of beta": (
        lambda x: tg.softplus(x, beta=0.5),
        lambda x: 2 * math.log1p(math.exp(x / 2)),
        lambda x: σ(x / 2),
        lambda x: σ(x / 2) * σ(-x / 2) / 2,
    ),
    "silu": (
        tg.silu,
        lambda x: x * σ(x),
        lambda x: σ(x) * (1 + x * σ(-x)),
        lambda x: σ(x) * σ(-x) * (2 + x * (1 - 2 * σ(x))),
    ),
    "gelu": (tg.gelu, lambda x: x * Φ(x), lambda x: Φ(x) + x * φ(x), lambda x: (2 - x * x) * φ(x)),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_closed_forms(name):
    function, *expected = CLOSED_FORMS[name]
    for actual, formula in zip(derivatives(function, X), expected, strict=True):
        np.testing.assert_allclose(actual, [formula(x) for x in X], rtol=1e-12, atol=1e-15)


ZERO, ONE, SLOPE = [0, 0, 0, 0], [0, 0, 1, 1], [-100, -8, 800, 1e4]
SATURATED = {
    "relu": (tg.relu, [0, 0, 800, 1e4], ONE),
    "leaky_relu": (tg.leaky_relu, SLOPE, [0.01, 0.01, 1, 1]),
    "elu": (tg.elu, [-1, -1, 800, 1e4], ONE),
    "logsigmoid": (tg.logsigmoid, [-1e4, -800, 0, 0], [1, 1, 0, 0]),
    "softplus": (tg.softplus, [0, 0, 800, 1e4], ONE),
    "softplus without threshold": (lambda x: tg.softplus(x, threshold=math.inf), [0, 0, 800, 1e4], ONE),
    "silu": (tg.silu, [0, 0, 800, 1e4], ONE),
    "gelu": (tg.gelu, [0, 0, 800, 1e4], ONE),
    "gelu tanh": (lambda x: tg.gelu(x, approximate="tanh"), [0, 0, 800, 1e4], ONE),
    "sigmoid": (tg.sigmoid, ONE, ZERO),
    "tanh": (tg.tanh, [-1, -1, 1, 1], ZERO),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", SATURATED)
def test_far_from_zero_everything_is_finite_and_right(name, dtype):
    """NumPy's warnings are errors here: nothing overflows on the way either."""
    function, value, first = SATURATED[name]
    far = np.array([-1e4, -800.0, 800.0, 1e4], dtype)
    for actual, expected in zip(derivatives(function, far), (value, first, ZERO), strict=True):
        assert actual.dtype == dtype
        np.testing.assert_array_equal(actual, np.asarray(expected, dtype))


def test_small_values_keep_their_digits():
    np.testing.assert_allclose(tg.logsigmoid(40.0), -math.exp(-40), rtol=1e-15)
    np.testing.assert_allclose(tg.softplus(-40.0), math.exp(-40), rtol=1e-15)
    np.testing.assert_allclose(tg.gelu(-12.0), -12 * Φ(-12), rtol=1e-13)
    np.testing.assert_allclose(tg.elu(-1e-12), math.expm1(-1e-12), rtol=1e-15)


def test_derivatives_at_the_kink():
    for function, slope in [
        (tg.relu, 0.0),
        (tg.leaky_relu, 0.01),
        (lambda x: tg.leaky_relu(x, 0.2), 0.2),
        (tg.elu, 1.0),
        (lambda x: tg.elu(x, 0.5), 0.5),
    ]:
        assert derivatives(function, [0.0])[1] == slope


def test_softplus_is_linear_above_its_threshold():
    value, first, second = derivatives(lambda x: tg.softplus(x, beta=2.0, threshold=3.0), [1.4, 1.6])
    np.testing.assert_allclose(value, [math.log1p(math.exp(2.8)) / 2, 1.6], rtol=1e-15)
    np.testing.assert_allclose(first, [σ(2.8), 1.0], rtol=1e-15)
    np.testing.assert_allclose(second, [2 * σ(2.8) * σ(-2.8), 0.0], rtol=1e-14)


def test_the_tanh_form_of_gelu_is_near_the_exact_one_and_not_the_same():
    x = np.linspace(-4, 4, 81)
    difference = np.abs(tg.gelu(x, approximate="tanh") - tg.gelu(x))
    assert 1e-5 < difference.max() < 1e-3
    expected = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x]
    np.testing.assert_allclose(tg.gelu(x, approximate="tanh"), expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("approximate", ["erf", None, "TANH"])
def test_gelu_refuses_other_approximations(approximate):
    with pytest.raises(ArgumentError, match=rf"gelu\(.*'none' or 'tanh', not {approximate!r}") as error:
        tg.gelu(tg.tensor([1.0], name="Z1"), approximate=approximate)
    assert "Z1 (1,)" in str(error.value)
    assert __file__ in str(error.value)


@pytest.mark.parametrize("name", ["elu", "logsigmoid", "softplus", "silu", "gelu", "leaky_relu"])
def test_integers_become_float64(name):
    for dtype in (np.int8, np.int64):
        result = getattr(tg, name)(tg.tensor(np.array([-1, 0, 2], dtype)))
        assert result.dtype == np.float64
        np.testing.assert_array_equal(result.data, getattr(tg, name)(np.array([-1.0, 0.0, 2.0])))


def test_relu_keeps_integers():
    assert tg.relu(np.array([-1, 2])).dtype == np.int64


def test_at_the_joint_itself():
    x = tg.tensor([0.0], requires_grad=True)
    (first,) = tg.grad(tg.elu(x, alpha=0.5), x, create_graph=True)
    np.testing.assert_array_equal(first.data, [0.5])  # the side below, as in PyTorch
    np.testing.assert_array_equal(tg.grad(first, x)[0].data, [0.0])
    at = tg.tensor([20.0], requires_grad=True)
    assert tg.grad(tg.softplus(at), at)[0].item() == tg.sigmoid(20.0) < 1.0  # the threshold belongs to the curve
