"""Losses against their definitions, where they saturate, and the traps around them."""

import math

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, ShapeError

ELEMENTWISE = [tg.mse_loss, tg.l1_loss, tg.huber_loss, tg.smooth_l1_loss]
BINARY = [tg.binary_cross_entropy, tg.binary_cross_entropy_with_logits]


def leaf(x):
    return tg.tensor(x, requires_grad=True)


def gradient(loss, x):
    (g,) = tg.grad(loss, x, create_graph=True)
    return g


# --- regression ----------------------------------------------------------------------------------


def test_regression_losses_by_hand():
    x, y = [0.0, 1.0, 5.0], [0.5, 1.0, 1.0]
    assert tg.mse_loss(x, y) == pytest.approx((0.25 + 0 + 16) / 3)
    assert tg.l1_loss(x, y, reduction="sum") == 4.5
    np.testing.assert_allclose(tg.huber_loss(x, y, reduction="none", delta=2.0), [0.125, 0, 2 * (4 - 1)])
    np.testing.assert_allclose(tg.smooth_l1_loss(x, y, reduction="none", beta=2.0), [0.0625, 0, 4 - 1])
    assert tg.smooth_l1_loss(x, y, beta=0) == tg.l1_loss(x, y)


def test_weights_of_regression_losses():
    x, y, w = [0.0, 1.0], [2.0, 2.0], [3.0, 1.0]
    assert tg.mse_loss(x, y, weight=w) == (3 * 4 + 1 * 1) / (3 + 1)
    assert tg.l1_loss(x, y, weight=w) == (3 * 2 + 1 * 1) / (3 + 1)
    assert tg.huber_loss(x, y, weight=w) == pytest.approx((3 * 1.5 + 1 * 0.5) / 2)  # PyTorch's, unlike the others


def test_gradients_of_regression_losses():
    y = np.array([0.0, 0.0, 0.0, 0.0])
    x = leaf([-3.0, -0.5, 0.0, 2.0])
    np.testing.assert_array_equal(gradient(tg.mse_loss(x, y, reduction="sum"), x).data, [-6, -1, 0, 4])
    np.testing.assert_array_equal(gradient(tg.l1_loss(x, y, reduction="sum"), x).data, [-1, -1, 0, 1])
    np.testing.assert_array_equal(gradient(tg.huber_loss(x, y, reduction="sum"), x).data, [-1, -0.5, 0, 1])


def test_huber_loss_of_huge_errors_does_not_overflow():
    assert tg.huber_loss([1e300], [-1e300], delta=2.0) == 4e300


def test_targets_of_small_unsigned_integers_do_not_wrap_around():
    assert tg.mse_loss(np.array([3], np.uint8), np.array([5], np.uint8)) == 4.0


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *BINARY])
def test_integer_targets_do_not_widen_float32(loss):
    assert loss(leaf(np.full(2, 0.5, np.float32)), np.array([0, 1])).dtype == np.float32


# --- two classes ---------------------------------------------------------------------------------


def test_binary_cross_entropy_and_all_its_derivatives_by_the_definition():
    p, y = leaf([0.2, 0.7, 0.9]), leaf([0.0, 1.0, 0.3])
    loss = tg.binary_cross_entropy(p, y, reduction="none")
    a, b = p.data, y.data
    np.testing.assert_allclose(loss.data, -(b * np.log(a) + (1 - b) * np.log(1 - a)), rtol=1e-14)
    first = gradient(loss.sum(), p)
    np.testing.assert_allclose(first.data, (1 - b) / (1 - a) - b / a, rtol=1e-13)
    np.testing.assert_allclose(gradient(first.sum(), p).data, (1 - b) / (1 - a) ** 2 + b / a**2, rtol=1e-12)
    np.testing.assert_allclose(gradient(loss.sum(), y).data, np.log(1 - a) - np.log(a), rtol=1e-13)
    np.testing.assert_allclose(gradient(first.sum(), y).data, -1 / (1 - a) - 1 / a, rtol=1e-13)


def test_certain_probabilities_are_finite_and_their_gradients_point_the_right_way():
    p = leaf([0.0, 1.0, 0.0, 1.0])
    loss = tg.binary_cross_entropy(p, [0.0, 1.0, 1.0, 0.0], reduction="none")
    np.testing.assert_array_equal(loss.data, [0, 0, 100, 100])
    np.testing.assert_array_equal(gradient(loss.sum(), p).data, [0, 0, -1e12, 1e12])


def test_logits_and_their_probabilities_have_the_same_loss():
    z = np.linspace(-5, 5, 11)
    y = np.linspace(0, 1, 11)
    expected = tg.binary_cross_entropy(1 / (1 + np.exp(-z)), y, reduction="none")
    np.testing.assert_allclose(tg.binary_cross_entropy_with_logits(z, y, reduction="none"), expected, rtol=1e-13)


def test_logits_far_out_have_exact_losses_and_gradients():
    z = leaf([-800.0, 800.0, 800.0, -800.0, 40.0, -40.0])
    y = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    loss = tg.binary_cross_entropy_with_logits(z, y, reduction="none")
    np.testing.assert_allclose(loss.data, [0, 0, 800, 800, math.exp(-40), math.exp(-40)], rtol=1e-15)
    first = gradient(loss.sum(), z)
    np.testing.assert_allclose(first.data, [0, 0, 1, -1, -math.exp(-40), math.exp(-40)], rtol=1e-15)
    assert np.isfinite(gradient(first.sum(), z).data).all()


def test_derivatives_of_the_loss_of_logits():
    z, y = leaf([-2.0, 0.5, 3.0]), leaf([0.0, 1.0, 0.3])
    p = 1 / (1 + np.exp(-z.data))
    loss = tg.binary_cross_entropy_with_logits(z, y, reduction="sum")
    first = gradient(loss, z)
    np.testing.assert_allclose(first.data, p - y.data, rtol=1e-13)
    np.testing.assert_allclose(gradient(first.sum(), z).data, p * (1 - p), rtol=1e-13)
    np.testing.assert_allclose(gradient(loss, y).data, -z.data, rtol=1e-15)


def test_pos_weight_multiplies_the_loss_of_class_1():
    z, y, w = np.array([-1.0, 2.0]), np.array([1.0, 0.25]), leaf([3.0, 0.5])
    p = 1 / (1 + np.exp(-z))
    loss = tg.binary_cross_entropy_with_logits(z, y, pos_weight=w, reduction="sum")
    assert loss.item() == pytest.approx(np.sum(-(w.data * y * np.log(p) + (1 - y) * np.log(1 - p))))
    np.testing.assert_allclose(gradient(loss, w).data, -y * np.log(p), rtol=1e-14)


@pytest.mark.parametrize("loss", BINARY)
def test_a_binary_loss_is_two_nodes(loss):
    p = leaf([0.2, 0.7])
    y = loss(p, [0.0, 1.0])
    assert y.node.op.name == "mean"
    assert y.node.inputs[0].node.op.name == loss.name
    assert y.node.inputs[0].node.inputs[0] is p


# --- many classes --------------------------------------------------------------------------------

Z = np.random.default_rng(0).normal(size=(4, 3))
T = np.array([0, 2, 2, 1])


def log_probabilities(z):
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def test_cross_entropy_and_its_gradient_by_the_definition():
    z = leaf(Z)
    loss = tg.cross_entropy(z, T)
    assert loss.item() == pytest.approx(-log_probabilities(Z)[range(4), T].mean(), rel=1e-14)
    np.testing.assert_allclose(gradient(loss, z).data, (np.exp(log_probabilities(Z)) - np.eye(3)[T]) / 4, rtol=1e-13)


def test_classes_are_as_good_as_probabilities_of_one():
    for smoothing in (0.0, 0.2):
        by_class = tg.cross_entropy(Z, T, label_smoothing=smoothing)
        assert by_class == pytest.approx(tg.cross_entropy(Z, np.eye(3)[T], label_smoothing=smoothing), rel=1e-14)


def test_class_weights_and_ignored_classes():
    losses = -log_probabilities(Z)[range(4), T]
    w = np.array([1.0, 2.0, 5.0])
    assert tg.cross_entropy(Z, T, w) == pytest.approx((losses * w[T]).sum() / w[T].sum(), rel=1e-14)
    kept = T != 2
    assert tg.cross_entropy(Z, T, ignore_index=2) == pytest.approx(losses[kept].mean(), rel=1e-14)
    both = tg.cross_entropy(Z, T, w, ignore_index=2)
    assert both == pytest.approx((losses * w[T])[kept].sum() / w[T][kept].sum(), rel=1e-14)
    z = leaf(Z)
    np.testing.assert_array_equal(gradient(tg.cross_entropy(z, T, ignore_index=2), z).data[T == 2], 0)
    np.testing.assert_array_equal(tg.cross_entropy(Z, T, ignore_index=2, reduction="none")[T == 2], 0)


def test_axes_behind_the_classes():
    z, t = np.random.default_rng(1).normal(size=(2, 3, 5)), np.array([[0, 1, 2, 2, 1], [1, 1, 0, 2, 0]])
    rows = tg.cross_entropy(np.moveaxis(z, 1, -1).reshape(10, 3), t.reshape(10), reduction="none")
    np.testing.assert_allclose(tg.cross_entropy(z, t, reduction="none"), rows.reshape(2, 5), rtol=1e-14)
    assert tg.cross_entropy(z[0, :, 0], 0) == pytest.approx(rows[0], rel=1e-14)


def test_huge_scores_have_exact_losses_and_gradients():
    z = leaf([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    loss = tg.cross_entropy(z, [0, 1], reduction="sum")
    assert loss.item() == 2e4
    np.testing.assert_array_equal(gradient(loss, z).data, [[0, 0, 0], [1, -1, 0]])


def test_an_impossible_class_that_is_not_the_target_does_no_harm():
    z = leaf([[0.0, -np.inf, 0.0]])
    loss = tg.cross_entropy(z, [0])
    assert loss.item() == pytest.approx(math.log(2), rel=1e-15)
    np.testing.assert_allclose(gradient(loss, z).data, [[-0.5, 0, 0.5]], rtol=1e-15)


def test_ignored_float32_stays_float32():
    z = leaf(Z.astype(np.float32))
    assert tg.cross_entropy(z, T, ignore_index=2).dtype == np.float32
    assert tg.cross_entropy(z, T, np.ones(3, np.float32), ignore_index=2, label_smoothing=0.1).dtype == np.float32


def test_replay_with_a_class_that_is_then_ignored_is_refused_and_not_wrong():
    from tinygrad_bc.record import Graph

    z, t = leaf(Z), tg.tensor(T, name="t")
    graph = Graph(tg.cross_entropy(z, t, ignore_index=-1))
    with pytest.raises(IndexingError, match="holds class -1"):
        graph.evaluate({t: np.array([0, -1, 2, 1])})


# --- traps ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *BINARY])
def test_a_row_against_a_column_is_refused(loss):
    yh = tg.tensor(np.full(500, 0.5), requires_grad=True, name="Yh")
    y = tg.tensor(np.ones((500, 1)), name="Y")
    with pytest.raises(ShapeError) as caught:
        loss(yh, y)
    message = str(caught.value)
    assert message.startswith(f"{loss.name}(input=Yh (500,), target=Y (500, 1)): ")
    assert "Did you mean Y.reshape(500)" in message
    assert "500×500 = 250000 pairs" in message
    assert "tg.broadcast_to(Yh, (500, 500)) and tg.broadcast_to(Y, (500, 500))" in message
    assert "loss(yh, y)" in message
    assert loss(yh, y.reshape(500)).shape == ()
    assert loss(yh.broadcast_to(500, 500), y.broadcast_to(500, 500), reduction="none").shape == (500, 500)


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *BINARY])
def test_targets_may_be_lists_arrays_and_columns_of_a_table(loss):
    yh = leaf([0.25, 0.5])
    table = pd.DataFrame({"y": [0, 1]})
    results = [loss(yh, y).item() for y in ([0, 1], np.array([0.0, 1.0]), table["y"], tg.tensor([0, 1]))]
    assert results == results[:1] * 4
    with pytest.raises(ShapeError, match=r"table\.to_numpy\(\)\.reshape\(2\)"):
        loss(yh, table)


@pytest.mark.parametrize("loss", [*ELEMENTWISE, *BINARY])
def test_targets_that_require_a_gradient_get_one(loss):
    x, y = leaf([0.2, 0.9]), leaf([0.7, 0.5])
    assert tg.gradcheck(loss, [x, y])


def test_swapped_arguments_of_a_classifier_are_recognised():
    with pytest.raises(DTypeError, match=r"The order is \(input, target\): are they swapped\?"):
        tg.cross_entropy(T, Z)
    with pytest.raises(DTypeError, match="are they swapped"):
        tg.binary_cross_entropy(np.array([0, 1]), np.array([0.5, 0.5]))


def test_classes_counted_from_one():
    with pytest.raises(
        IndexingError, match=r"holds class 3 at \[1\], but input has 3 classes, 0 to 2\..* target - 1\?"
    ):
        tg.cross_entropy(Z, pd.Series(T + 1))


def test_scores_given_for_probabilities():
    with pytest.raises(ArgumentError, match=r"input holds -2\.0 at \[1\].*use binary_cross_entropy_with_logits"):
        tg.binary_cross_entropy(leaf([0.5, -2.0]), [0.0, 1.0])


def test_the_mean_of_nothing_is_refused():
    with pytest.raises(ShapeError):
        tg.mse_loss(np.ones(0), np.ones(0))
    with pytest.raises(ArgumentError, match="every target is ignored"):
        tg.cross_entropy(Z, np.full(4, -100))
    assert tg.cross_entropy(Z, np.full(4, -100), reduction="sum") == 0
