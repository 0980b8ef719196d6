"""Reductions: conventions, values and derivatives where they are easy to get wrong, and what is refused."""

import itertools
import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.ops.reduce import ValuesAndIndices, _recurrence
from tinygrad_bc.primitive import REGISTRY

INF = math.inf


def leaf(x):
    return tg.tensor(x, dtype=float, requires_grad=True, name="x")


def gradient(function, x, order=1):
    """The gradient of the sum of `function`, or of the sum of its gradient, and so on."""
    x = x if isinstance(x, tg.Tensor) else leaf(x)
    y = function(x)
    for _ in range(order):
        if not y.requires_grad:  # constant
            return np.zeros(x.shape)
        (y,) = tg.grad(tg.sum(y), x, create_graph=True)
    return y.data


# --- sums and means ------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [None, 0, -1, (0, 2), [1, -1], [0], (), np.int64(1)])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("name", ["sum", "mean", "prod", "amax", "amin", "var", "std", "all", "any"])
def test_values_of_numpy_for_every_form_of_axis(name, axis, keepdims):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    ours = getattr(tg, name)
    options = {"correction": 0} if name in ("var", "std") else {}
    expected = getattr(np, name)(x, axis=tuple(axis) if isinstance(axis, list) else axis, keepdims=keepdims)
    for result in (
        ours(x, axis=axis, keepdims=keepdims, **options),
        ours(tg.tensor(x), axis, keepdims=keepdims, **options).data,
        ours(input=tg.tensor(x), dim=axis, keepdim=keepdims, **options).data,
    ):
        np.testing.assert_allclose(result, expected, rtol=1e-13)
        assert np.shape(result) == np.shape(expected)


def test_numbers_and_lists_are_arrays_too():
    assert tg.sum([1.0, 2.0]) == 3
    assert tg.sum(2.5) == 2.5
    assert tg.mean([1, 2]) == 1.5
    assert tg.mean(2.5) == 2.5
    assert tg.prod([2, 3]) == 6
    assert tg.max([1, 3, 2]) == 3
    assert tg.std([1.0, 3.0], correction=0) == 1
    assert tg.norm([3, 4]) == 5
    np.testing.assert_array_equal(tg.cumsum([1, 2], 0), [1, 3])
    np.testing.assert_allclose(tg.softmax([0, 0], -1), [0.5, 0.5])


def test_types_of_results():
    integers, booleans = np.array([1, 2, 4]), np.array([True, False, True])
    assert tg.sum(integers).dtype == tg.prod(integers).dtype == tg.cumsum(integers, 0).dtype == np.int64
    assert tg.sum(booleans) == 2
    for op in (tg.mean, tg.var, tg.norm, lambda x: tg.softmax(x, 0), lambda x: tg.logsumexp(x, 0)):
        assert op(integers).dtype == op(booleans).dtype == op(tg.tensor(integers)).dtype == np.float64
        assert op(np.float32([1, 2, 4])).dtype == np.float32
    assert tg.argmax(integers).dtype == tg.max(integers, 0).indices.dtype == np.int64
    assert tg.all(integers).dtype == np.bool_


def test_dtype_converts_first():
    x = tg.tensor(np.full(3, 0.1, np.float32), requires_grad=True)
    for op in (tg.sum, tg.mean, tg.prod, lambda x, dtype: tg.softmax(x, 0, dtype=dtype)):
        y = op(x, dtype=np.float64)
        assert y.dtype == np.float64
        np.testing.assert_array_equal(y.data, op(x.data.astype(np.float64), dtype=None))
        assert tg.grad(y, x, np.ones(y.shape))[0].dtype == np.float32
    assert tg.sum(np.array([True, True]), dtype=np.int8).dtype == np.int8
    assert tg.cumsum(leaf([1.5, 1.5]), 0, dtype=int).tolist() == [1, 2]


def test_a_dtype_that_would_cut_off_a_gradient_is_refused():
    with pytest.raises(DTypeError, match=r"sum.*x \(2,\).* cut off the fractions .*x\.astype\('int64'\)"):
        tg.sum(leaf([1.5, 1.5]), dtype=np.int64)
    with pytest.raises(DTypeError, match=r"mean.* a mean is not an integer"):
        tg.mean(np.array([1, 2]), dtype=int)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_the_mean_of_nothing_is_refused_and_not_nan(dtype):
    with pytest.raises(ShapeError, match=r"mean.*x \(2, 0\).* mean of no elements"):
        tg.mean(tg.tensor(np.ones((2, 0)), dtype=dtype, name="x"), axis=-1)
    assert tg.mean(np.ones((2, 0), dtype), axis=0).shape == (0,)


def test_means_of_half_precision_do_not_overflow():
    assert tg.mean(np.full(3000, 60000, np.float16)) == 60000
    assert tg.mean(np.full((2, 3000), 60000, np.float16), axis=[0, 1]) == 60000


@pytest.mark.parametrize("correction", [0, 1, 2, 1.3, -5])
def test_variance_and_its_gradient_in_closed_form(correction):
    x = np.random.default_rng(1).normal(size=(4, 5))
    deviation = x - x.mean(axis=1, keepdims=True)
    variance = (deviation**2).sum(axis=1) / (5 - correction)
    np.testing.assert_allclose(tg.var(x, 1, correction=correction), variance, rtol=1e-14)
    np.testing.assert_allclose(tg.std(x, 1, correction=correction), np.sqrt(variance), rtol=1e-14)
    dx = gradient(lambda x: tg.var(x, 1, correction=correction), x)
    np.testing.assert_allclose(dx, 2 * deviation / (5 - correction), rtol=1e-13, atol=1e-15)


def test_ways_of_naming_the_correction():
    x = np.array([[1.0, 2.0, 4.0], [0.0, 5.0, 1.0]])
    biased, unbiased = np.var(x), np.var(x, ddof=1)
    assert tg.var(x) == tg.var(x, True) == tg.var(x, unbiased=True) == tg.var(x, correction=None) == unbiased
    assert tg.var(x, False) == tg.var(x, unbiased=False) == tg.var(x, correction=0) == biased
    assert tg.var(x, 1, False, True).shape == tg.std(x, 1, True, True).shape == (2, 1)
    np.testing.assert_array_equal(tg.var(x, 1, False), np.var(x, axis=1))
    with pytest.raises(ArgumentError, match=r"unbiased=False is correction=0\. Give one"):
        tg.std(x, unbiased=False, correction=0)
    t = leaf(x)
    assert np.var(t).item() == biased
    assert np.std(t, 1, ddof=1).data == pytest.approx(np.std(x, 1, ddof=1))
    assert np.var(t, axis=0).requires_grad


def test_spread_of_a_single_element_is_refused_and_not_nan():
    with pytest.raises(ShapeError, match=r"x \(3, 1\).* 1 element with correction=1 .* pass correction=0"):
        tg.std(leaf(np.ones((3, 1))), 1)
    np.testing.assert_array_equal(tg.std(leaf(np.ones((3, 1))), 1, correction=0).data, np.zeros(3))


@pytest.mark.parametrize("order", [1, 2, 3])
def test_standard_deviation_of_equal_elements_has_gradient_zero(order):
    np.testing.assert_array_equal(gradient(lambda x: tg.std(x, 1), [[2.0, 2.0], [5.0, 5.0]], order), np.zeros((2, 2)))


# --- extremes ------------------------------------------------------------------------------------


def test_ties_share_or_the_first_takes_all():
    x = [[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]
    shared = [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]]
    first = [[0, 1, 0], [1, 0, 0]]
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, axis=1), x), shared)
    np.testing.assert_array_equal(gradient(lambda x: tg.amax(x, dim=1), x), shared)
    np.testing.assert_array_equal(gradient(lambda x: np.max(x, 1), x), shared)
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, 1).values, x), first)
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, dim=1, keepdim=True)[0], x), first)
    np.testing.assert_array_equal(gradient(tg.max, x), [[0, 0.5, 0.5], [0, 0, 0]])
    np.testing.assert_array_equal(gradient(lambda x: tg.min(-x, -1).values, x), -np.array(first))


def test_values_and_indices():
    x = np.random.default_rng(2).normal(size=(2, 5, 3))
    for axis, keepdim in itertools.product((0, 1, -1), (False, True)):
        for pair, extreme, position in [
            (tg.max(tg.tensor(x), axis, keepdim), np.max, np.argmax),
            (tg.min(tg.tensor(x), dim=axis, keepdim=keepdim), np.min, np.argmin),
        ]:
            assert isinstance(pair, ValuesAndIndices)
            np.testing.assert_array_equal(pair.values.data, extreme(x, axis=axis, keepdims=keepdim))
            np.testing.assert_array_equal(pair.indices.data, position(x, axis=axis, keepdims=keepdim))
    assert tg.max(leaf(3.0), 0).values.shape == tg.max(leaf(3.0), 0).indices.shape == ()


def test_the_gradient_of_values_goes_to_the_indices():
    x = np.random.default_rng(3).integers(0, 3, size=(4, 6, 5)).astype(float)  # full of ties
    values, indices = tg.max(leaf(x), 1)
    expected = np.zeros(x.shape)
    np.put_along_axis(expected, indices.data[:, None], 1.0, 1)
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, 1).values, x), expected)
    assert values.shape == (4, 5)


def test_a_nan_is_the_extreme():
    x = [1.0, np.nan, 3.0]
    assert np.isnan(tg.max(leaf(x), 0).values.item())
    assert tg.max(leaf(x), 0).indices.item() == 1
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, 0).values, x), [0, 1, 0])
    np.testing.assert_array_equal(gradient(tg.amin, x), [0, 1, 0])


def test_of_two_arrays():
    a, b = leaf([1.0, 5.0, 2.0]), np.array([3.0, 4.0, 2.0])
    np.testing.assert_array_equal(tg.max(a, b).data, [3, 5, 2])
    np.testing.assert_array_equal(tg.min(a, other=b).data, [1, 4, 2])
    np.testing.assert_array_equal(gradient(lambda a: tg.max(a, b), a), [0, 1, 0.5])
    with pytest.raises(ArgumentError, match=r"max.*maximum\(2, array\)"):
        tg.max(2, a)


def test_pictures_say_which_extreme_was_taken():
    x = leaf([[1.0, 2.0]])
    op, node = REGISTRY["max"], tg.max(x, 1).values.node
    assert tg.max(x).node.op is tg.amax(x).node.op is node.op is op
    assert op.write(["x"], tg.max(x).node.params) == "max(x)"
    assert op.write(["x"], node.params) == "max(x, axis=1, ties=first)"


# --- products and running sums -------------------------------------------------------------------


def products_of_others(x):
    return np.array([np.prod(np.delete(x, i)) for i in range(len(x))])


@pytest.mark.parametrize("x", [[2.0, -3.0, 5.0], [2.0, 0.0, 5.0], [0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [4.0], [0.0]])
def test_gradients_of_a_product_with_zeros(x):
    x = np.array(x)
    np.testing.assert_allclose(gradient(tg.prod, x), products_of_others(x), rtol=1e-15)
    # The second derivative with respect to i and j is the product of all but these two.
    for i in range(len(x)):
        row = gradient(lambda x, i=i: tg.grad(tg.prod(x), x, create_graph=True)[0][i], x)
        expected = [0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(len(x))]
        np.testing.assert_allclose(row, expected, rtol=1e-15)


def test_third_derivative_of_a_product_with_zeros():
    # xyz summed over all third derivatives, one after the other: d³(xyz)/dxdydz = 1 in 6 orders, 2 for each variable
    np.testing.assert_array_equal(gradient(tg.prod, [0.0, 0.0, 3.0], order=3), [2, 2, 2])


def test_product_over_several_axes():
    x = np.random.default_rng(4).normal(size=(2, 3, 4))
    x[0, 1, 2] = 0
    others = np.stack([products_of_others(x[:, i].ravel()).reshape(2, 4) for i in range(3)], axis=1)
    np.testing.assert_allclose(gradient(lambda x: tg.prod(x, (0, -1)), x), others, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("x", [[2.0, -3.0, 5.0, 0.5], [2.0, 0.0, 5.0, -1.0], [0.0, 2.0, 0.0, 3.0]])
def test_gradient_of_running_products_with_zeros(x):
    x = np.array(x)
    weights = np.array([0.3, -1.0, 2.0, 0.7])
    expected = np.zeros(4)
    for k in range(4):
        expected[: k + 1] += weights[k] * products_of_others(x[: k + 1])
    np.testing.assert_allclose(gradient(lambda x: tg.cumprod(x, 0) * weights, x), expected, rtol=1e-14)


def test_running_sums():
    x = np.random.default_rng(6).normal(size=(3, 4))
    np.testing.assert_array_equal(tg.cumsum(x, dim=1), np.cumsum(x, 1))
    np.testing.assert_array_equal(gradient(lambda x: tg.cumsum(x, 1), x), np.tile([4.0, 3, 2, 1], (3, 1)))
    t = leaf(x)
    np.testing.assert_array_equal(np.cumsum(t).data, np.cumsum(x))
    np.testing.assert_array_equal(np.cumprod(t, 0).data, np.cumprod(x, 0))
    assert tg.cumsum(leaf(2.0), -1).shape == tg.cumprod(leaf(2.0), 0).shape == ()
    with pytest.raises(ShapeError, match=r"cumprod.*axis 1 is out of bounds"):
        tg.cumprod(leaf(2.0), 1)


def test_recurrence_and_its_transpose():
    a, b = np.random.default_rng(7).normal(size=(2, 5))
    h, reverse = _recurrence(a, b, axis=0), _recurrence(a, b, axis=0, reverse=True)
    matrix = np.linalg.inv(np.eye(5) - np.diag(a[1:], -1))  # h = b + (a below the diagonal) h
    np.testing.assert_allclose(h, matrix @ b, rtol=1e-13)
    np.testing.assert_allclose(reverse, matrix.T @ b, rtol=1e-13)


# --- exponentials --------------------------------------------------------------------------------


def test_saturated_softmax_is_finite_and_right():
    for x in ([1e4, -1e4, 0.0], [-1e4, -1e4, -1e4 + math.log(2)], [1e300, 0.0, 0.0]):
        shifted = np.exp(np.array(x) - np.max(x))
        p = shifted / shifted.sum()
        np.testing.assert_allclose(tg.softmax(leaf(x), 0).data, p, rtol=1e-11)
        np.testing.assert_allclose(tg.logsumexp(leaf(x), 0).item(), max(x) + math.log(shifted.sum()), rtol=1e-15)
        np.testing.assert_allclose(gradient(lambda x: tg.logsumexp(x, 0), x), p, rtol=1e-11)
        np.testing.assert_allclose(gradient(lambda x: tg.log_softmax(x, 0)[0], x), [1, 0, 0] - p, atol=1e-11)
        np.testing.assert_allclose(gradient(lambda x: tg.softmax(x, 0)[0], x), p[0] * ([1, 0, 0] - p), atol=1e-11)
    assert tg.log_softmax(leaf([1e4, 0.0]), 0).tolist() == [0, -1e4]


def test_logsumexp_of_infinities():
    x = [[-INF, -INF], [-INF, 2.0], [0.0, 0.0]]
    np.testing.assert_allclose(tg.logsumexp(leaf(x), 1).data, [-INF, 2, math.log(2)])
    np.testing.assert_array_equal(gradient(lambda x: tg.logsumexp(x, 1), x), [[0, 0], [0, 1], [0.5, 0.5]])
    assert tg.logsumexp(np.array([INF, 1e4]), 0) == INF
    np.testing.assert_array_equal(tg.logsumexp(np.ones((2, 0)), 1), [-INF, -INF])


def test_hessian_of_logsumexp_is_the_covariance_of_softmax():
    x = np.array([0.3, -1.0, 2.0])
    p = tg.softmax(x, 0)
    for i in range(3):
        row = gradient(lambda x, i=i: tg.grad(tg.logsumexp(x, 0), x, create_graph=True)[0][i], x)
        np.testing.assert_allclose(row, p[i] * ((np.arange(3) == i) - p), rtol=1e-13)


def test_softmax_wants_to_know_the_axis():
    with pytest.raises(ShapeError, match=r"softmax\(x \(2,\)\): axis=None: say along which axis"):
        tg.softmax(leaf([1.0, 2.0]), None)


# --- NumPy's functions ---------------------------------------------------------------------------


def test_numpys_functions_take_numpys_arguments():
    x = np.random.default_rng(9).normal(size=(3, 4))
    t = leaf(x)
    for name in ("sum", "mean", "prod", "var", "std", "max", "min", "amax", "amin", "cumsum", "cumprod"):
        function = getattr(np, name)
        for arguments in [(), (0,), (-1,)]:
            result = function(t, *arguments)
            assert result.requires_grad
            np.testing.assert_allclose(result.data, function(x, *arguments), rtol=1e-14)
    for name in ("argmax", "argmin", "all", "any"):
        np.testing.assert_array_equal(getattr(np, name)(t, 1).data, getattr(np, name)(x, 1))
    assert np.sum(t, 0, None, None, True).shape == (1, 4)
    assert np.sum(t, dtype=np.float32).dtype == np.float32
    with pytest.raises(GradientError, match=r"only np\.sum\(a, axis, dtype, keepdims\) is recorded"):
        np.sum(t, 0, None, np.zeros(4))
    with pytest.raises(GradientError, match=r"only np\.max\(a, axis, keepdims\) is recorded, and not np\.max\(where="):
        np.max(t, where=x > 0)


def test_errors_about_axes_name_the_tensor_and_the_line():
    x = leaf(np.ones((2, 3)))
    with pytest.raises(ShapeError) as caught:
        tg.logsumexp(x, [0, -2])
    assert "logsumexp(x (2, 3), axis=(0, -2)): (0, -2) names axis 0 twice" in str(caught.value)
    assert "tg.logsumexp(x, [0, -2])" in str(caught.value)
    with pytest.raises(ShapeError, match="axis 1 is out of bounds: the array has 0 axes"):
        tg.sum(leaf(1.0), axis=1)
    with pytest.raises(ShapeError, match=r"max.*axis 5 is out of bounds: the array has 2 axes, so use -2 to 1"):
        tg.max(x, 5)
    with pytest.raises(DTypeError, match=r"axes, .* must be integers, got 1\.0"):
        tg.sum(x, axis=1.0)
