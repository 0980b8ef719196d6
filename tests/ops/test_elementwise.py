"""Elementwise operations: NumPy, the math module and closed forms beside them; conventions; errors."""

import itertools
import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError
from tinygrad_bc.primitive import REGISTRY


def leaf(x, name=None, dtype=float):
    return tg.tensor(x, dtype=dtype, requires_grad=True, name=name)


def gradients(function, *arrays):
    """Gradients of the sum of the results, one for each array."""
    xs = [leaf(x) for x in arrays]
    y = function(*xs)
    return [g.data for g in tg.grad(y, xs, np.ones(y.shape))]


def gradient(function, x):
    return gradients(function, x)[0]


def second_derivative(function, x):
    x = leaf(x)
    y = function(x)
    (first,) = tg.grad(y, x, np.ones(y.shape), create_graph=True)
    if not first.requires_grad:
        return np.zeros(x.shape)
    (second,) = tg.grad(first, x, np.ones(y.shape), allow_unused=True)
    return np.zeros(x.shape) if second is None else second.data


# --- functions of one number ---------------------------------------------------------------------

LINE = np.array([-30.0, -2.5, -1.0, -0.3, 1e-9, 0.2, 0.9, 3.0, 30.0])
POSITIVE = np.array([1e-12, 0.3, 1.0, 2.5, 1e12])
INSIDE_ONE = np.array([-0.999999, -0.5, -1e-9, 0.0, 0.3, 0.999999])
ANALYTIC = [
    ("exp", np.exp, LINE),
    ("expm1", np.expm1, LINE),
    ("log", np.log, POSITIVE),
    ("log1p", np.log1p, POSITIVE),
    ("log2", np.log2, POSITIVE),
    ("log10", np.log10, POSITIVE),
    ("sqrt", np.sqrt, POSITIVE),
    ("rsqrt", lambda x: 1 / np.sqrt(x), POSITIVE),
    ("square", np.square, LINE),
    ("reciprocal", lambda x: 1 / x, LINE),
    ("sin", np.sin, LINE),
    ("cos", np.cos, LINE),
    ("tan", np.tan, LINE[1:-1]),
    ("asin", np.arcsin, INSIDE_ONE),
    ("acos", np.arccos, INSIDE_ONE),
    ("atan", np.arctan, LINE),
    ("sinh", np.sinh, LINE),
    ("cosh", np.cosh, LINE),
    ("tanh", np.tanh, LINE[1:-1]),
    ("asinh", np.arcsinh, LINE),
    ("acosh", np.arccosh, np.array([1.000001, 1.5, 30.0])),
    ("atanh", np.arctanh, INSIDE_ONE),
]


@pytest.mark.parametrize(("name", "function", "x"), ANALYTIC, ids=[name for name, _, _ in ANALYTIC])
def test_value_is_numpys_and_derivative_that_of_the_complex_step(name, function, x):
    op = getattr(tg, name)
    np.testing.assert_array_equal(op(leaf(x)).data, function(x))
    step = 1e-30 * np.maximum(1e-9, np.abs(x))
    np.testing.assert_allclose(gradient(op, x), function(x + 1j * step).imag / step, rtol=2e-14)


@pytest.mark.parametrize("name", [name for name, _, _ in ANALYTIC if name not in ("square",)] + ["erf", "logsigmoid"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, bool, np.int64])
def test_integers_and_booleans_become_float64(name, dtype):
    x = np.array([1, 1]) if name != "atanh" else np.array([0, 0])
    result = getattr(tg, name)(tg.tensor(x.astype(dtype)))
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result.data, getattr(tg, name)(x.astype(float)))


@pytest.mark.parametrize("name", ["exp", "log", "erf", "sigmoid", "sqrt", "reciprocal", "relu", "square", "round"])
def test_numbers_and_lists_are_understood(name):
    function = getattr(tg, name)
    assert function(2) == function(np.array(2.0))
    np.testing.assert_array_equal(function([1.0, 2.0]), function(np.array([1.0, 2.0])))


def test_outside_the_domain_numpy_warns():
    for function, x in [(tg.log, -1.0), (tg.sqrt, -1.0), (tg.asin, 2.0), (tg.acosh, 0.5)]:
        with pytest.warns(RuntimeWarning, match="invalid value"):
            assert np.isnan(function(leaf(x)).item())
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert tg.log(leaf(0.0)).item() == -np.inf


def test_derivatives_keep_their_digits_where_the_obvious_formula_loses_them():
    np.testing.assert_allclose(gradient(tg.expm1, -50.0), math.exp(-50), rtol=1e-15)  # expm1(-50) + 1 is 0
    x = 1 - 2.0**-50
    np.testing.assert_allclose(gradient(tg.asin, x), 1 / math.sqrt(2.0**-50 * (2 - 2.0**-50)), rtol=1e-15)
    np.testing.assert_allclose(gradient(tg.atanh, x), 1 / (2.0**-50 * (2 - 2.0**-50)), rtol=1e-15)
    np.testing.assert_allclose(gradient(tg.acosh, 1 + 2.0**-50), 2.0**25 / math.sqrt(2 + 2.0**-50), rtol=1e-15)


# --- error function ------------------------------------------------------------------------------

AXIS = np.concatenate([np.linspace(-6, 6, 4001), np.linspace(-26, 26, 1001), 0.46875 + np.linspace(-1e-9, 1e-9, 11)])


@pytest.mark.parametrize(("op", "exact"), [(tg.erf, math.erf), (tg.erfc, math.erfc)])
def test_error_function_is_exact_to_a_few_units_in_the_last_place(op, exact):
    expected = np.array([exact(x) for x in AXIS])
    assert np.all(np.abs(op(AXIS) - expected) <= 8 * np.spacing(np.abs(expected)))


@pytest.mark.parametrize(("op", "exact"), [(tg.erf, math.erf), (tg.erfc, math.erfc)])
def test_error_function_of_single_precision_is_the_nearest_number_or_the_one_beside_it(op, exact):
    x = np.concatenate([AXIS, np.linspace(-11, 11, 4001)]).astype(np.float32)
    expected = np.array([exact(float(number)) for number in x])
    got = op(x)
    assert got.dtype == np.float32
    assert np.all(np.abs(got - expected) <= np.spacing(np.abs(expected).astype(np.float32)))


@pytest.mark.parametrize("name", ["erf", "erfc"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("shape", [(8192,), (8193,), (3, 100, 90)])
def test_the_parts_of_a_large_array_are_put_together_again(name, dtype, shape):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype).T
    got, expected = (f(x) for f in (REGISTRY[name], REGISTRY[name].forward))
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("x", [0.0, 1e-300, 5e-324, 0.3, 1.0, 4.0, 10.0, 1e4, 1e200, np.inf])
def test_error_function_is_odd_and_erfc_its_complement(x):
    assert tg.erf(-x) == -tg.erf(x)
    np.testing.assert_allclose(tg.erf(x) + tg.erfc(x), 1.0, rtol=4e-16)
    np.testing.assert_allclose(tg.erfc(-x), 1 + tg.erf(x), rtol=4e-16)


def test_error_function_of_special_inputs():
    np.testing.assert_array_equal(tg.erf(np.array([np.nan, np.inf, -np.inf])), [np.nan, 1.0, -1.0])
    np.testing.assert_array_equal(tg.erfc(np.array([np.nan, np.inf, -np.inf])), [np.nan, 0.0, 2.0])
    for x in (np.float32(0.3), np.ones((0, 3), np.float32), np.ones((2, 1), np.float32)):
        assert tg.erf(x).dtype == np.float32
        assert tg.erf(x).shape == x.shape
    assert math.copysign(1.0, tg.erf(-0.0)) == -1.0


def test_derivatives_of_the_error_function():
    x = np.array([-800.0, -3.0, -0.4, 0.0, 0.5, 5.0, 1e4])
    bell = 2 / math.sqrt(math.pi) * np.exp(-(x**2))
    np.testing.assert_allclose(gradient(tg.erf, x), bell, rtol=1e-15)
    np.testing.assert_allclose(gradient(tg.erfc, x), -bell, rtol=1e-15)
    np.testing.assert_allclose(second_derivative(tg.erf, x), -2 * x * bell, rtol=1e-15)


# --- arithmetic ----------------------------------------------------------------------------------


def test_alpha_scales_the_second_operand_and_its_gradient():
    a, b = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    for function, expected, slopes in [
        (tg.add, a + 3 * b, (1, 3)),
        (tg.sub, a - 3 * b, (1, -3)),
        (tg.rsub, b - 3 * a, (-3, 1)),
    ]:
        np.testing.assert_array_equal(function(leaf(a), leaf(b), alpha=3).data, expected)
        for g, slope in zip(gradients(lambda a, b, f=function: f(a, b, alpha=3), a, b), slopes, strict=True):
            np.testing.assert_array_equal(g, [slope, slope])


QUOTIENTS = np.array([7.0, -7.0, 7.5, -7.5, 0.0]), np.array([2.0, 2.0, -2.5, -2.5, 3.0])


def test_rounding_modes_of_division():
    a, b = QUOTIENTS
    np.testing.assert_array_equal(tg.div(a, b), a / b)
    np.testing.assert_array_equal(tg.div(a, b, rounding_mode="floor"), [math.floor(x / y) for x, y in zip(a, b)])
    np.testing.assert_array_equal(tg.div(a, b, rounding_mode="trunc"), [math.trunc(x / y) for x, y in zip(a, b)])
    for mode in ("floor", "trunc"):
        x, y = leaf(a), leaf(b)
        for g in tg.grad(tg.div(x, y, rounding_mode=mode).sum(), [x, y]):
            np.testing.assert_array_equal(g.data, np.zeros(a.shape))


def test_rounded_quotients_of_large_integers_are_exact():
    a, b = np.array([-(2**62) - 1, 2**62 + 1]), np.array([3, 3])
    for mode, rounding in [("floor", lambda x, y: x // y), ("trunc", lambda x, y: -(-x // y) if x < 0 else x // y)]:
        quotient = tg.div(a, b, rounding_mode=mode)
        assert quotient.dtype == np.int64
        assert quotient.tolist() == [rounding(x, y) for x, y in zip(a.tolist(), b.tolist())]


def test_remainders_complete_their_quotients():
    a, b = QUOTIENTS
    np.testing.assert_array_equal(tg.floor_divide(a, b) * b + tg.remainder(a, b), a)
    np.testing.assert_array_equal(tg.div(a, b, rounding_mode="trunc") * b + tg.fmod(a, b), a)
    np.testing.assert_array_equal(tg.remainder(-7.0, 2.0), 1.0)
    np.testing.assert_array_equal(tg.fmod(-7.0, 2.0), -1.0)
    np.testing.assert_array_equal(gradients(tg.remainder, a, b)[1], -np.floor(a / b))
    np.testing.assert_array_equal(gradients(tg.fmod, a, b)[1], -np.trunc(a / b))


def test_division_refuses_other_rounding_modes():
    with pytest.raises(ArgumentError, match=r"divide\(price \(\), b \(\), rounding_mode='up'\): .* not 'up'") as error:
        tg.div(leaf(1.0, "price"), leaf(2.0), rounding_mode="up")
    assert __file__ in str(error.value)


@pytest.mark.parametrize("call", [lambda m: -m, lambda m: m - m, lambda m: m & 1.5, lambda m: tg.negative(m.data)])
def test_arithmetic_that_numpy_refuses_for_masks_is_our_error(call):
    with pytest.raises(DTypeError, match=r"test_elementwise\.py"):
        call(tg.tensor([True, False]))


def test_forgotten_parentheses_around_a_comparison():
    x = leaf([0.5, 2.0], "x")
    with pytest.raises(DTypeError, match=r"bitwise_and: 0 ∧ x \(2,\): .*\(x > 0\) & \(x < 1\)"):
        _ = x > 0 & x
    with pytest.raises(DTypeError, match=r"bitwise_not: ¬x \(2,\): "):
        _ = ~x
    np.testing.assert_array_equal(((x > 0) & ~(x > 1)).data, [True, False])


# --- powers --------------------------------------------------------------------------------------


def test_power_at_zero():
    zero = np.zeros(1)
    for exponent, slope, curvature in [(0, 0, 0), (1, 1, 0), (2, 0, 2), (3, 0, 0), (2.5, 0, 0)]:
        for b in (exponent, np.full(1, float(exponent))):
            assert gradient(lambda a, b=b: a**b, zero) == slope
            assert second_derivative(lambda a, b=b: a**b, zero) == curvature
    np.testing.assert_array_equal(gradients(tg.power, np.zeros(3), np.array([0.0, 1.0, 2.5]))[1], [0.0, 0.0, 0.0])


def test_negative_base_and_exponent_that_is_a_whole_number():
    a = np.array([-2.0, -0.5, -3.0, -1.0])
    b = np.array([3.0, 2.0, -1.0, 0.0])
    np.testing.assert_allclose((leaf(a) ** b).data, [-8.0, 0.25, -1 / 3, 1.0], rtol=1e-15)
    np.testing.assert_allclose(gradient(lambda a: a**b, a), [12.0, -1.0, -1 / 9, 0.0], rtol=1e-15)
    np.testing.assert_allclose(second_derivative(lambda a: a**b, a), [-12.0, 2.0, -2 / 27, 0.0], rtol=1e-15)


def test_base_zero_to_a_negative_power_is_infinite_with_a_warning():
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert tg.power(leaf(0.0), -1.0).item() == np.inf


def test_power_of_plain_numbers_is_a_real_number():
    assert tg.power(2, 3) == 8
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(tg.power(-8.0, 1 / 3))  # in Python a complex number


@pytest.mark.parametrize("a", [np.array([1, 2]), np.array(2), 2])
def test_integers_to_a_negative_power_want_a_float(a):
    with pytest.raises(DTypeError, match=r"x \*\* -1\.0") as error:
        tg.power(tg.tensor(a, name="n"), -1)
    assert str(error.value).startswith("power: n ")
    np.testing.assert_array_equal(tg.power(tg.tensor(a), -1.0).data, 1 / np.asarray(a))


# --- exponentials and logarithms -----------------------------------------------------------------


def test_sigmoid_and_tanh_saturate():
    x = np.array([-1e4, -800.0, 800.0, 1e4])
    for function, limits in [(tg.sigmoid, [0, 0, 1, 1]), (tg.tanh, [-1, -1, 1, 1])]:
        np.testing.assert_array_equal(function(leaf(x)).data, limits)
        np.testing.assert_array_equal(gradient(function, x), np.zeros(4))
        np.testing.assert_array_equal(second_derivative(function, x), np.zeros(4))
    np.testing.assert_allclose(tg.sigmoid(-700.0), math.exp(-700), rtol=1e-15)


def test_logaddexp_saturates():
    a, b = np.array([800.0, -800.0, 1e4, 1e4]), np.array([-800.0, 800.0, 1e4, -1e4])
    np.testing.assert_allclose(tg.logaddexp(a, b), [800.0, 800.0, 1e4 + math.log(2), 1e4], rtol=1e-15)
    first, second = gradients(tg.logaddexp, a, b)
    np.testing.assert_array_equal(first, [1.0, 0.0, 0.5, 1.0])
    np.testing.assert_array_equal(second, [0.0, 1.0, 0.5, 0.0])
    np.testing.assert_array_equal(second_derivative(lambda a: tg.logaddexp(a, b), a), [0.0, 0.0, 0.25, 0.0])


def test_xlogy_is_zero_where_the_first_is_zero():
    a, b = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 3.0, -1.0, 5.0])
    np.testing.assert_array_equal(tg.xlogy(a, b), [0.0, 0.0, 0.0, 2 * math.log(5)])
    first, second = gradients(tg.xlogy, a, b)
    np.testing.assert_allclose(first, [0.0, math.log(3), 0.0, math.log(5)], rtol=1e-15)
    np.testing.assert_allclose(second, [0.0, 0.0, 0.0, 2 / 5], rtol=1e-15)
    x = leaf(np.zeros(1))
    (slope,) = tg.grad(tg.xlogy(x, np.full(1, 4.0)), x, np.ones(1), create_graph=True)
    assert slope.item() == math.log(4)
    assert np.isnan(tg.xlogy(0.0, np.nan))


def test_the_mixed_second_derivative_of_xlogy_at_zero():
    a, b = leaf([0.0]), leaf([4.0])
    (slope,) = tg.grad(tg.xlogy(a, b), a, np.ones(1), create_graph=True)
    (mixed,) = tg.grad(slope, b, np.ones(1))
    assert mixed.item() == 0.25


def test_entropy_of_a_sure_thing():
    p = np.array([1.0, 0.0])
    assert tg.xlogy(leaf(p), leaf(p)).sum().item() == 0.0


# --- angles --------------------------------------------------------------------------------------


def test_atan2_in_all_quadrants_and_at_the_origin():
    angle = np.array([0.3, 2.0, -1.0, -2.5])
    ordinate, abscissa = 2 * np.sin(angle), 2 * np.cos(angle)
    np.testing.assert_allclose(tg.atan2(ordinate, abscissa), angle, rtol=1e-15)
    first, second = gradients(tg.atan2, ordinate, abscissa)
    np.testing.assert_allclose(first, np.cos(angle) / 2, rtol=1e-14)
    np.testing.assert_allclose(second, -np.sin(angle) / 2, rtol=1e-14)
    assert gradients(tg.atan2, 0.0, 0.0) == [0.0, 0.0]
    assert second_derivative(lambda b: tg.atan2(0.0, b), 0.0) == 0.0


# --- rounding and choosing -----------------------------------------------------------------------


def test_rounding():
    x = np.array([-2.5, -0.5, 0.5, 1.5, 123.456])
    np.testing.assert_array_equal(tg.round(x), [-2.0, 0.0, 0.0, 2.0, 123.0])  # halves to even
    np.testing.assert_array_equal(tg.round(x, decimals=1)[-1], 123.5)
    np.testing.assert_array_equal(tg.round(tg.tensor(x), decimals=-2).data[-1], 100.0)
    np.testing.assert_array_equal(np.round(tg.tensor(x), 1).data, np.round(x, 1))
    np.testing.assert_array_equal(tg.floor(x), [-3, -1, 0, 1, 123])
    np.testing.assert_array_equal(tg.ceil(x), [-2, 0, 1, 2, 124])
    np.testing.assert_array_equal(tg.trunc(x), [-2, 0, 0, 1, 123])
    at = leaf(x)
    np.testing.assert_array_equal(tg.grad(tg.round(at).sum(), at)[0].data, 0 * x)


def test_where_gives_nothing_to_what_was_not_chosen():
    condition = np.array([True, False])
    a, b = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    y = tg.where(condition, a, b)
    for g, expected in zip(tg.grad(y, [a, b], np.array([np.inf, np.inf])), ([np.inf, 0.0], [0.0, np.inf]), strict=True):
        np.testing.assert_array_equal(g.data, expected)


def test_the_advice_for_a_dead_branch_works():
    def careful(x):
        positive = x > 0
        return tg.where(positive, tg.log(tg.where(positive, x, 1.0)), 0.0)

    x = np.array([0.0, -1.0, 2.0])
    np.testing.assert_array_equal(careful(leaf(x)).data, [0.0, 0.0, math.log(2)])
    np.testing.assert_array_equal(gradient(careful, x), [0.0, 0.0, 0.5])
    np.testing.assert_array_equal(second_derivative(careful, x), [0.0, 0.0, -0.25])


@pytest.mark.parametrize("call", [tg.where, np.where, lambda c: tg.where(c, input=c), lambda c: tg.where(c, other=c)])
def test_where_needs_both_values(call):
    with pytest.raises(ArgumentError, match=r"where\(condition=mask \(2,\).*both of the values .*np\.nonzero") as error:
        call(tg.tensor([True, False], name="mask"))
    assert __file__ in str(error.value)


def test_where_by_the_names_of_pytorch():
    y = tg.where(condition=tg.tensor([True, False]), input=leaf([1.0, 2.0]), other=0.0)
    np.testing.assert_array_equal(y.data, [1.0, 0.0])


CLIPPED = np.array([-1.0, 0.0, 0.5, 1.0, 2.0])


@pytest.mark.parametrize("bound", [float, np.float64, np.array, tg.tensor], ids=["float", "float64", "array", "tensor"])
def test_clip_has_slope_one_inside_and_on_its_ends(bound):
    x = leaf(CLIPPED)
    y = tg.clip(x, bound(0.0), bound(1.0))
    np.testing.assert_array_equal(y.data, [0.0, 0.0, 0.5, 1.0, 1.0])
    np.testing.assert_array_equal(tg.grad(y.sum(), x)[0].data, [0.0, 1.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(tg.clamp(x, max=bound(0.5)).data, np.minimum(CLIPPED, 0.5))
    np.testing.assert_array_equal(tg.clamp(x, min=bound(0.5)).data, np.maximum(CLIPPED, 0.5))


def test_clip_sends_the_gradient_of_what_it_limits_to_the_bound():
    low, high = np.array(0.0), np.full(5, 1.0)
    x, lower, upper = gradients(tg.clip, CLIPPED, low, high)
    np.testing.assert_array_equal(x, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(lower, 1)
    np.testing.assert_array_equal(upper, [0, 0, 0, 0, 1])


def test_bounds_the_wrong_way_round_give_the_upper_one():
    np.testing.assert_array_equal(tg.clip(CLIPPED, 3.0, 2.0), np.full(5, 2.0))
    x, lower, upper = gradients(tg.clip, CLIPPED, np.full(5, 3.0), np.full(5, 2.0))
    assert (x.sum(), lower.sum(), upper.sum()) == (0, 0, 5)


def test_clip_keeps_the_dtype():
    assert tg.clip(np.array([1, 5, 9]), max=7).dtype == np.int64
    assert tg.clip(np.array([1, 5, 9], np.uint8), 2).dtype == np.uint8
    for bounds in [(0.1, None), (None, np.float64(0.2)), (0, 1)]:
        assert tg.clip(tg.tensor([0.5], dtype=np.float32), *bounds).dtype == np.float32


def test_clip_without_bounds_is_refused():
    with pytest.raises(ArgumentError, match=r"clip\(W \(2,\)\): at least one of min and max"):
        tg.clip(leaf([1.0, 2.0], "W"))


def test_nan_to_num_replaces_and_stops_the_gradient():
    x = np.array([np.nan, np.inf, -np.inf, 2.0])
    largest = np.finfo(float).max
    np.testing.assert_array_equal(tg.nan_to_num(leaf(x)).data, [0.0, largest, -largest, 2.0])
    np.testing.assert_array_equal(tg.nan_to_num(x, nan=1.0, posinf=5.0, neginf=-5.0), [1.0, 5.0, -5.0, 2.0])
    np.testing.assert_array_equal(tg.nan_to_num(x, None, 5.0)[:2], [0.0, 5.0])
    np.testing.assert_array_equal(gradient(tg.nan_to_num, x), [0.0, 0.0, 0.0, 1.0])
    np.testing.assert_array_equal(np.nan_to_num(tg.tensor(x), nan=3.0).data[0], 3.0)
    with pytest.raises(ArgumentError, match="copy=False"):
        np.nan_to_num(tg.tensor(x), copy=False)


# --- comparisons, conversions, names -------------------------------------------------------------


def test_masks_of_numbers():
    x = tg.tensor([0.0, 1.0, np.nan, -np.inf])
    np.testing.assert_array_equal(tg.isnan(x).data, [False, False, True, False])
    np.testing.assert_array_equal(tg.isinf(x).data, [False, False, False, True])
    np.testing.assert_array_equal(tg.isfinite(x).data, [True, True, False, False])
    np.testing.assert_array_equal(tg.logical_not(x).data, [True, False, False, False])
    np.testing.assert_array_equal(tg.logical_xor(x, 1.0).data, [True, False, False, False])


def test_conversions():
    x = leaf([1.5, -1.5])
    assert tg.astype(x, np.float32).dtype == np.float32
    assert tg.astype(x, int).data.tolist() == [1, -1]
    np.testing.assert_array_equal(gradient(lambda x: tg.cast(x, "float32") * 3, [1.5, -1.5]), [3.0, 3.0])
    for dtype, shown in [("flaot", "'flaot'"), (complex, "complex128"), (object, "object"), (str, "<U")]:
        with pytest.raises(DTypeError, match=shown):
            tg.astype(x, dtype)


# fmt: off
NUMPYS = [
    "add", "subtract", "multiply", "divide", "true_divide", "floor_divide", "remainder", "fmod", "negative",
    "power", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or",
    "logical_not", "logical_xor", "isnan", "isinf", "isfinite", "exp", "expm1", "log", "log1p", "log2", "log10",
    "sqrt", "square", "reciprocal", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "arcsinh", "arccosh", "arctanh", "arctan2", "sign", "absolute", "abs", "floor", "ceil", "trunc", "round",
    "clip", "where", "maximum", "minimum", "logaddexp",
]
# fmt: on


@pytest.mark.parametrize("name", NUMPYS)
def test_numpys_function_on_a_tensor_is_ours(name):
    function = getattr(np, name)
    arrays = {"where": 3, "clip": 3}.get(name, function.nin if isinstance(function, np.ufunc) else 1)
    x = 1.5 if name in ("arccosh",) else 0.5
    ours, through_numpy = getattr(tg, name)(*[tg.tensor([x])] * arrays), function(*[tg.tensor([x])] * arrays)
    expected = function(*[np.array([x])] * arrays)
    for result in (ours, through_numpy):
        assert isinstance(result, tg.Tensor)
        np.testing.assert_array_equal(result.data, expected, strict=True)


@pytest.mark.parametrize(
    ("pytorchs", "numpys"),
    [
        ("sub", "subtract"),
        ("mul", "multiply"),
        ("div", "divide"),
        ("neg", "negative"),
        ("pow", "power"),
        ("eq", "equal"),
        ("ne", "not_equal"),
        ("lt", "less"),
        ("le", "less_equal"),
        ("gt", "greater"),
        ("ge", "greater_equal"),
        ("asin", "arcsin"),
        ("acos", "arccos"),
        ("atan", "arctan"),
        ("asinh", "arcsinh"),
        ("acosh", "arccosh"),
        ("atanh", "arctanh"),
        ("atan2", "arctan2"),
        ("clamp", "clip"),
        ("abs", "absolute"),
    ],
)
def test_both_names_mean_one_function(pytorchs, numpys):
    assert getattr(tg, pytorchs) is getattr(tg, numpys)


# --- conventions where a derivative is a choice, seen with cotangents that are not 1 ----------------


@pytest.mark.parametrize("op", [tg.maximum, tg.minimum])
def test_ties_share_whatever_comes_down(op):
    a, b = leaf([2.0, 2.0]), leaf([2.0, 2.0])
    for g in tg.grad(op(a, b), [a, b], np.array([3.0, -8.0])):
        np.testing.assert_array_equal(g.data, [1.5, -4.0])


def test_atan2_on_the_axes():
    ordinate, abscissa = np.array([0.0, 0.0, 2.0, -2.0]), np.array([2.0, -2.0, 0.0, 0.0])
    first, second = gradients(tg.atan2, ordinate, abscissa)
    np.testing.assert_array_equal(first, [0.5, -0.5, 0.0, 0.0])
    np.testing.assert_array_equal(second, [0.0, 0.0, -0.5, 0.5])
    for place, mixed in [((0.0, 2.0), -0.25), ((2.0, 0.0), 0.25), ((0.0, -2.0), -0.25)]:
        (first_twice, across), (back, second_twice) = tg.hessian(tg.atan2, place)
        assert (across.item(), back.item()) == (mixed, mixed)
        assert (first_twice.item(), second_twice.item()) == (0.0, 0.0)
    for row in tg.hessian(tg.atan2, (0.0, 0.0)):
        assert [entry.item() for entry in row] == [0.0, 0.0]


def test_powers_of_zero_by_an_array_of_exponents():
    a, b = leaf([0.0, 0.0, 0.0, 0.0]), tg.tensor([0.0, 1.0, 2.0, 3.0])
    (first,) = tg.grad((a**b).sum(), a, create_graph=True)
    np.testing.assert_array_equal(first.data, [0.0, 1.0, 0.0, 0.0])
    (second,) = tg.grad(first.sum(), a, create_graph=True)
    np.testing.assert_array_equal(second.data, [0.0, 0.0, 2.0, 0.0])


@pytest.mark.parametrize(("a", "b"), [(2.0, 0.0), (2.0, 1.0), (3.0, 2.0)])
def test_powers_differentiated_by_base_and_exponent(a, b):
    base, exponent = leaf(a), leaf(b)
    (slope,) = tg.grad(base**exponent, base, create_graph=True)
    (mixed,) = tg.grad(slope, exponent)
    assert slope.item() == b * a ** (b - 1)
    np.testing.assert_allclose(mixed.item(), a ** (b - 1) * (1 + b * np.log(a)))


def test_the_power_at_the_origin_has_no_mixed_derivative():
    base, exponent = leaf(0.0), leaf(0.0)
    (slope,) = tg.grad(base**exponent, base, create_graph=True)
    assert (slope.item(), tg.grad(slope, exponent)[0].item()) == (0.0, 0.0)


def test_xlogy_where_a_factor_is_zero_or_one():
    a, b = leaf([1.0, 0.0, 2.0, 0.0]), leaf([3.0, 0.5, 0.7, 0.0])
    first, second = tg.grad(tg.xlogy(a, b).sum(), [a, b], create_graph=True)
    np.testing.assert_allclose(first.data, [np.log(3.0), np.log(0.5), np.log(0.7), 0.0])
    np.testing.assert_allclose(second.data, [1 / 3.0, 0.0, 2 / 0.7, 0.0])
    by_a, by_b = tg.grad(first.sum() + second.sum(), [a, b])
    np.testing.assert_allclose(by_a.data, [1 / 3, 2.0, 1 / 0.7, 0.0])
    np.testing.assert_allclose(by_b.data, [1 / 3 - 1 / 9, 2.0, 1 / 0.7 - 2 / 0.49, 0.0])
    negative = leaf([1.0])
    with pytest.warns(RuntimeWarning):  # a logarithm that there is not is NaN, and not quietly 0
        assert np.isnan(tg.grad(tg.xlogy(negative, -1.0).sum(), negative)[0].item())


def test_clip_between_bounds_that_meet():
    x, low, high = leaf([0.0, 1.0, 2.0]), leaf([1.0, 1.0, 1.0]), leaf([1.0, 1.0, 1.0])
    found = [g.data.tolist() for g in tg.grad(tg.clip(x, low, high).sum(), [x, low, high])]
    assert found == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]


@pytest.mark.parametrize(("number", "lower"), [(5.0, np.nan), (np.nan, 2.0)])
def test_clip_to_nan(number, lower):
    x, low, high = leaf(number), leaf(lower), leaf(1.0)
    y = tg.clip(x, low, high)
    assert np.isnan(y.item())
    assert [g.item() for g in tg.grad(y, [x, low, high])] == [0.0, 0.0, 1.0]


# --- quicker, and the same to the last bit -------------------------------------------------------


def bits(x):
    return np.asarray(x).tobytes()


FAST = sorted(name for name, op in REGISTRY.items() if op.compute is not op.forward)


@pytest.mark.parametrize("name", FAST)
def test_what_runs_computes_what_is_meant(name):
    op = REGISTRY[name]
    samples = list(op.samples(np.random.default_rng(0)))
    assert samples
    for sample in samples:
        got, expected = (f(*sample.inputs, **sample.params) for f in (op.compute, op.forward))
        assert (got.shape, got.dtype, bits(got)) == (expected.shape, expected.dtype, bits(expected))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("name", [name for name in FAST if name not in ("where", "matmul", "linear", "erf", "erfc")])
def test_operators_compute_what_the_ufuncs_do(name, dtype):
    op = REGISTRY[name]
    numbers = [0.0, -0.0, 1.5, -3.0, 1e-30, 7.0] + [math.inf, -math.inf, math.nan] * (dtype is not np.int64)
    vector = np.array(numbers).astype(dtype)
    for inputs in itertools.product([vector, *vector], repeat=len(op.arrays)):
        got, expected = op.compute(*inputs), op.forward(*inputs)
        assert got.dtype == expected.dtype
        assert bits(got) == bits(expected)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("other", [0.0, -0.0, 1.0])
@pytest.mark.parametrize("rows", [7, 70])  # few and many elements are chosen between in two ways
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_choice_between_an_array_and_a_number_is_that_of_numpy(dtype, other, order, rows):
    rng = np.random.default_rng(0)
    x = np.asarray(rng.normal(size=(rows, 5)).astype(dtype), order=order)
    x[0] = [0.0, -0.0, np.inf, -np.inf, np.nan]
    where = REGISTRY["where"]
    everywhere = np.ones((rows, 5), bool)
    for mask in (rng.normal(size=(rows, 5)) > 0, everywhere, ~everywhere, x[:1] > 0, np.array(True)):
        got, expected = where(mask, x, other), where.forward(mask, x, other)
        assert got.dtype == expected.dtype
        assert bits(got) == bits(expected)
        assert got.base is None  # a view would count as another tensor's memory
