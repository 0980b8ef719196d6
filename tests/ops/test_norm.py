"""Norms of vectors and of matrices against NumPy's, and where they have no derivative."""

import math

import numpy as np
import pytest

import tinygrad_bc as tg
import tinygrad_bc.linalg as linalg
from tinygrad_bc.errors import ArgumentError, GradientError

INF = math.inf
RNG = np.random.default_rng(11)


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


# --- vectors -------------------------------------------------------------------------------------

ORDERS = [-INF, -2, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4, 5.5, INF]


@pytest.mark.parametrize("p", ORDERS)
def test_norms_are_those_of_numpy(p):
    x = np.random.default_rng(8).normal(size=(3, 4))
    np.testing.assert_allclose(tg.vector_norm(x, p), np.linalg.norm(x.ravel(), p), rtol=1e-13)
    np.testing.assert_allclose(tg.norm(leaf(x), p, 1).data, np.linalg.norm(x, p, axis=1), rtol=1e-13)
    assert np.linalg.vector_norm(leaf(x), ord=p, keepdims=True).shape == (1, 1)
    assert tg.vector_norm(np.float32(x), np.float64(p)).dtype == np.float32


@pytest.mark.parametrize("p", ORDERS)
@pytest.mark.parametrize("order", [1, 2])
def test_the_zero_vector_has_gradient_zero(p, order):
    y = tg.vector_norm(leaf([0.0, 0.0]), p)
    assert y.item() == 0
    if y.requires_grad:
        np.testing.assert_array_equal(gradient(lambda x: tg.vector_norm(x, p), [0.0, 0.0], order), [0, 0])


@pytest.mark.parametrize("p", [0.5, 1, 1.5, 2, 3, 4])
def test_a_zero_beside_another_element(p):
    x = [0.0, -2.0]
    np.testing.assert_allclose(gradient(lambda x: tg.vector_norm(x, p), x), [0, -1], rtol=1e-15)


def test_second_derivative_of_the_length_at_a_zero_element():
    # (I − u uᵀ) / |x|
    row = gradient(lambda x: tg.grad(tg.norm(x), x, create_graph=True)[0][0], [0.0, 3.0, 4.0])
    np.testing.assert_allclose(row, [1 / 5, 0, 0], rtol=1e-15)


@pytest.mark.parametrize("p", [-3, -1, 0.5, 1.5, 2, 3, 7])
@pytest.mark.parametrize("scale", [2.0**1000, 2.0**-1060])
def test_huge_and_tiny_entries(p, scale):
    x = np.array([3.0, 4.0, 2.0])
    norm, rounding = tg.vector_norm(x, p), 1e-13 if scale > 1 else 2.0**-1074 / scale  # of subnormal numbers
    np.testing.assert_allclose(tg.vector_norm(x * scale, p), norm * scale, rtol=rounding)
    expected = np.sign(x) * (x / norm) ** (p - 1)
    np.testing.assert_allclose(gradient(lambda x: tg.vector_norm(x, p), x * scale), expected, rtol=10 * rounding)


def test_infinite_norms_share_ties():
    np.testing.assert_array_equal(gradient(lambda x: tg.norm(x, INF), [3.0, -3.0, 1.0]), [0.5, -0.5, 0])
    np.testing.assert_array_equal(gradient(lambda x: tg.norm(x, -INF), [3.0, -1.0, 1.0]), [0, -0.5, 0.5])


def test_names_of_norms():
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert tg.norm(x) == tg.norm(x, "fro") == tg.norm(x, "fro", (0, 1)) == tg.norm(x, 2) == np.linalg.norm(x)
    np.testing.assert_allclose(tg.norm(x, "nuc"), np.linalg.norm(x, "nuc"), rtol=1e-14)
    with pytest.raises(ArgumentError, match=r"vector_norm\(x \(2, 2\), 'fro'\).*is a number"):
        tg.vector_norm(x, "fro")


# --- matrices ------------------------------------------------------------------------------------

MATRIX_ORDERS = ["fro", "nuc", np.inf, -np.inf, 1, -1, 2, -2]


@pytest.mark.parametrize("order", MATRIX_ORDERS)
@pytest.mark.parametrize("keepdims", [False, True])
def test_norms_of_matrices_are_those_of_numpy(order, keepdims):
    A = RNG.normal(size=(2, 3, 4))
    for axis in [(1, 2), (2, 0), (-3, -2)]:
        expected = np.linalg.norm(A, order, axis, keepdims)
        np.testing.assert_allclose(linalg.norm(leaf(A), order, axis, keepdims).data, expected, rtol=1e-12)
        np.testing.assert_allclose(linalg.matrix_norm(A, order, dim=axis, keepdim=keepdims), expected, rtol=1e-12)
        np.testing.assert_allclose(np.linalg.norm(leaf(A), order, axis, keepdims=keepdims).data, expected, rtol=1e-12)
    expected = np.linalg.matrix_norm(A, keepdims=keepdims, ord=order)
    np.testing.assert_allclose(np.linalg.matrix_norm(leaf(A), ord=order, keepdims=keepdims).data, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("shape", "arguments"),
    [((2, 3, 4), {}), ((5,), {"ord": 3}), ((5,), {}), ((2, 3), {"ord": 1}), ((2, 3), {"ord": 1, "axis": 1})],
)
def test_the_number_of_axes_decides_between_vectors_and_matrices(shape, arguments):
    x = RNG.normal(size=shape)
    np.testing.assert_allclose(linalg.norm(leaf(x), **arguments).data, np.linalg.norm(x, **arguments), rtol=1e-13)


def test_gradients_of_norms_by_singular_values():
    A = RNG.normal(size=(4, 3))
    U, _, Vh = np.linalg.svd(A, full_matrices=False)
    np.testing.assert_allclose(gradient(lambda A: linalg.norm(A, "nuc"), A), U @ Vh, atol=1e-13)
    np.testing.assert_allclose(gradient(lambda A: linalg.norm(A, 2), A), np.outer(U[:, 0], Vh[0]), atol=1e-13)
    np.testing.assert_allclose(gradient(lambda A: linalg.norm(A, -2), A), np.outer(U[:, -1], Vh[-1]), atol=1e-13)
    np.testing.assert_allclose(gradient(linalg.norm, A), A / np.sqrt((A**2).sum()), rtol=1e-12)


@pytest.mark.parametrize("order", MATRIX_ORDERS)
def test_norms_of_the_zero_matrix_have_finite_gradients(order):
    assert np.isfinite(gradient(lambda A: linalg.matrix_norm(A, order), np.zeros((3, 2)))).all()


def test_second_derivative_of_the_nuclear_norm_needs_different_singular_values():
    A = leaf(np.eye(3))
    (first,) = tg.grad(linalg.norm(A, "nuc"), A, create_graph=True)
    np.testing.assert_allclose(first.data, np.eye(3), atol=1e-15)
    with pytest.raises(GradientError, match="singular values are equal"):
        tg.grad((first * first).sum(), A)
