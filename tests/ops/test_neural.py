"""Linear maps, normalisation and lookup against closed forms."""

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, ShapeError

rng = np.random.default_rng(0)
X = rng.normal(size=(6, 3))


def test_linear_and_its_gradients():
    x, w, b = (tg.tensor(rng.normal(size=s), requires_grad=True) for s in [(6, 3), (4, 3), (4,)])
    g = rng.normal(size=(6, 4))
    y = tg.linear(x, w, b)
    np.testing.assert_allclose(y.data, x.data @ w.data.T + b.data, rtol=1e-15)
    y.backward(g)
    np.testing.assert_allclose(x.grad.data, g @ w.data, rtol=1e-14)
    np.testing.assert_allclose(w.grad.data, g.T @ x.data, rtol=1e-14)
    np.testing.assert_allclose(b.grad.data, g.sum(axis=0), rtol=1e-14)


def test_linear_takes_a_table():
    table = pd.DataFrame(X, columns=["a", "b", "c"])
    w = tg.tensor(np.ones((2, 3)), requires_grad=True)
    np.testing.assert_allclose(tg.linear(table, w).data, X @ np.ones((3, 2)))


def test_a_bias_that_would_be_broadcast_over_the_samples_is_refused():
    with pytest.raises(ShapeError, match=r"bias must be of shape \(6,\), a number for each output, and it is \(6, 1\)"):
        tg.linear(X, np.ones((6, 3)), np.ones((6, 1)))


# --- normalisation -------------------------------------------------------------------------------


def test_layer_norm_has_mean_0_and_variance_1():
    y = tg.layer_norm(X, 3, eps=0.0)
    np.testing.assert_allclose(y.mean(axis=1), 0, atol=1e-14)
    np.testing.assert_allclose(y.var(axis=1), 1, rtol=1e-13)
    w, b = np.array([1.0, 2.0, 3.0]), np.array([-1.0, 0.0, 1.0])
    np.testing.assert_allclose(tg.layer_norm(X, [3], w, b, eps=0.0), y * w + b, rtol=1e-14)


def test_gradient_of_standardised_numbers_has_no_part_along_ones_and_along_the_result():
    """Adding a constant changes nothing, and neither does a factor."""
    x = tg.tensor(X, requires_grad=True)
    y = tg.layer_norm(x, 3, eps=0.0)
    y.backward(rng.normal(size=(6, 3)))
    np.testing.assert_allclose(x.grad.data.sum(axis=1), 0, atol=1e-13)
    np.testing.assert_allclose((x.grad.data * y.data).sum(axis=1), 0, atol=1e-13)


def test_standardisation_far_from_zero_loses_no_digits_it_need_not():
    x = np.array([[1e8, 1e8 + 1, 1e8 + 2]])
    np.testing.assert_allclose(tg.layer_norm(x, 3, eps=0.0), [[-np.sqrt(1.5), 0, np.sqrt(1.5)]], rtol=1e-14)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_batch_norm_in_training_updates_the_statistics_in_place(kind):
    make = np.array if kind == "array" else tg.tensor
    running_mean, running_var = make([1.0, 2.0, 3.0]), make([1.0, 1.0, 4.0])
    y = tg.batch_norm(X, running_mean, running_var, training=True, momentum=0.25)
    np.testing.assert_allclose(y, (X - X.mean(axis=0)) / np.sqrt(X.var(axis=0) + 1e-5), rtol=1e-13)
    np.testing.assert_allclose(np.asarray(running_mean), 0.75 * np.array([1, 2, 3]) + 0.25 * X.mean(axis=0))
    np.testing.assert_allclose(np.asarray(running_var), 0.75 * np.array([1, 1, 4]) + 0.25 * X.var(axis=0, ddof=1))


def test_batch_norm_later_uses_the_statistics_and_leaves_them_alone():
    running_mean, running_var = tg.tensor([1.0, 2.0, 3.0]), tg.tensor([1.0, 1.0, 4.0])
    images = rng.normal(size=(2, 3, 4, 5))
    y = tg.batch_norm(images, running_mean, running_var, eps=0.0)
    np.testing.assert_allclose(y.data[:, 2], (images[:, 2] - 3) / 2)
    np.testing.assert_array_equal(running_mean.data, [1, 2, 3])


def test_several_batches_before_one_backward_pass():
    """The statistics change in between, but nothing that was recorded depends on them."""
    x = tg.tensor(X, requires_grad=True)
    running_mean, running_var = tg.tensor(np.zeros(3)), tg.tensor(np.ones(3))
    losses = [(tg.batch_norm(x, running_mean, running_var, training=True) ** 3).sum() for _ in range(2)]
    (losses[0] + losses[1]).backward()
    (one,) = tg.grad(losses[0], x)
    np.testing.assert_allclose(x.grad.data, 2 * one.data, rtol=1e-14)


def test_statistics_that_change_after_they_were_used_change_no_gradient():
    x = tg.tensor(X, requires_grad=True)
    running_mean, running_var = tg.tensor(np.zeros(3)), tg.tensor(np.full(3, 4.0))
    y = tg.batch_norm(x, running_mean, running_var, eps=0.0)
    tg.batch_norm(x, running_mean, running_var, training=True)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, 0.5)


def test_an_empty_batch_leaves_the_statistics_alone():
    running_mean, running_var = np.zeros(3), np.ones(3)
    assert tg.batch_norm(np.ones((0, 3)), running_mean, running_var, training=True).shape == (0, 3)
    np.testing.assert_array_equal(running_mean, 0)


def test_statistics_that_cannot_be_updated_are_refused():
    with pytest.raises(DTypeError, match="running_mean is updated in place"):
        tg.batch_norm(X, [0.0, 0.0, 0.0], np.ones(3), training=True)
    with pytest.raises(DTypeError, match="running_var is updated in place"):
        tg.batch_norm(X, None, np.ones(3, int), training=True)


def test_constant_channels_without_eps_are_refused_and_with_it_are_zero():
    constant = np.full((4, 2), 7.0)
    np.testing.assert_array_equal(tg.batch_norm(constant, None, None, training=True), 0)
    with pytest.raises(ArgumentError, match=r"batch_norm|standardize"):
        tg.batch_norm(constant, None, None, training=True, eps=0)


# --- lookup --------------------------------------------------------------------------------------


def test_rows_looked_up_several_times_add_up_their_gradients():
    table = tg.tensor(rng.normal(size=(4, 2)), requires_grad=True)
    y = tg.embedding([[0, 2], [2, 2]], table)
    assert y.shape == (2, 2, 2)
    y.sum().backward()
    np.testing.assert_array_equal(table.grad.data, [[1, 1], [0, 0], [3, 3], [0, 0]])


@pytest.mark.parametrize("padding_idx", [2, -2])
def test_the_row_of_the_padding_gets_no_gradient(padding_idx):
    table = tg.tensor(rng.normal(size=(4, 2)), requires_grad=True)
    y = tg.embedding(np.array([0, 2, 2, 3]), table, padding_idx=padding_idx)
    np.testing.assert_array_equal(y.data, table.data[[0, 2, 2, 3]])
    y.sum().backward()
    np.testing.assert_array_equal(table.grad.data, [[1, 1], [0, 0], [0, 0], [1, 1]])


def test_a_word_that_is_not_in_the_table():
    with pytest.raises(IndexingError, match=r"holds 4 at \[1, 0\], and weight has 4 rows, numbered 0 to 3"):
        tg.embedding(np.array([[0, 1], [4, 5]]), np.ones((4, 2)))


def test_functional_is_a_second_door_to_the_same_functions():
    functional = tg.nn.functional
    assert {"linear", "conv2d", "cross_entropy", "relu"} <= set(functional.__all__)
    assert all(getattr(functional, name) is getattr(tg, name) for name in functional.__all__)
