"""The first operation that makes a NaN or an infinity is named, forward and backward, with the way around it."""

import math
import threading

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import AnomalyError


def leaf(data, name=None):
    return tg.tensor(data, dtype=float, requires_grad=True, name=name)


def anomaly(compute):
    with pytest.raises(AnomalyError) as caught, tg.detect_anomaly():
        compute()
    return str(caught.value)


def test_the_operation_that_made_it_is_named_and_not_those_that_passed_it_on():
    x = leaf([[1.0, 2.0], [0.0, 3.0]], "x")

    def compute():
        y = tg.log(x)  # here
        return ((y * 2).sum() + 1) ** 2

    message = anomaly(compute)
    assert "`log` made the first infinity" in message
    assert "element [1, 0] of its result (2, 2) is -inf" in message
    assert "x (2, 2), there 0.0" in message
    assert "y = tg.log(x)  # here" in message
    assert f"{__file__}:" in message


@pytest.mark.parametrize(
    ("compute", "maker", "way_around"),
    [
        (lambda x: tg.log(tg.sigmoid(x)), "log", "tg.logsigmoid"),
        (lambda x: tg.log(tg.sigmoid(x)), "log", "tg.binary_cross_entropy_with_logits"),
        (lambda x: tg.log(1 - tg.sigmoid(-x)), "log", "tg.logsigmoid(-x)"),
        (lambda x: tg.log(tg.softmax(x * np.array([1.0, -1.0]), 0)), "log", "tg.log_softmax"),
        (lambda x: tg.exp(-x), "exp", "tg.logsumexp"),
        (lambda x: x / (x * 0.0), "divide", "The divisor is 0"),
        (lambda x: tg.sqrt(x), "sqrt", "below 0"),
        (lambda x: x**0.5, "power", "fractional power"),
        (lambda x: (x + 800.0) / tg.norm(x + 800.0), "divide", "no direction"),
    ],
)
def test_the_stable_way_to_write_it(compute, maker, way_around):
    message = anomaly(lambda: compute(leaf([-800.0, -800.0], "x")))
    assert f"`{maker}` made the first" in message
    assert way_around in message


def test_the_ways_around_are_finite():
    x = leaf([-800.0, 800.0])
    with tg.detect_anomaly():
        for loss in (
            tg.logsigmoid(x).sum(),
            tg.log_softmax(x, 0).sum(),
            tg.logsumexp(x, 0),
            tg.binary_cross_entropy_with_logits(x, np.array([1.0, 0.0])),
            tg.norm(x * 0.0),
            tg.where(x > 0, tg.log(tg.where(x > 0, x, 1.0)), 0.0).sum(),
            tg.xlogy(x * 0.0, x * 0.0).sum(),
        ):
            assert math.isfinite(loss.item())
            (gradient,) = tg.grad(loss, x)
            assert np.isfinite(gradient.data).all()


def test_a_dead_branch_of_where():
    x = leaf([0.0, 4.0], "x")

    def compute():
        root = tg.sqrt(x)
        tg.where(x > 0, root, 0.0).sum().backward()  # chosen here

    message = anomaly(compute)
    assert "the derivative of `sqrt` made the first NaN of the backward pass" in message
    assert "the gradient of x (2,) is nan at [0]" in message
    assert "goes into a `where`" in message
    assert "# chosen here" in message
    assert "root = tg.sqrt(x)" in message
    assert x.grad is None


@pytest.mark.parametrize(
    ("compute", "maker", "way_around"),
    [
        (lambda x: tg.sqrt((x * x).sum()), "sqrt", "tg.norm(x"),
        (lambda x: tg.sqrt(x).sum(), "sqrt", "eps"),
        (lambda x: (x**0.5).sum(), "power", "slope at 0"),
    ],
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_infinite_slopes(compute, maker, way_around, create_graph):
    x = leaf([0.0, 0.0], "x")
    message = anomaly(lambda: tg.grad(compute(x), x, create_graph=create_graph))
    assert f"the derivative of `{maker}` made the first" in message
    assert way_around in message
    assert f"{__file__}:" in message


def test_nan_that_came_with_the_data_is_not_laid_on_an_operation():
    x = leaf([1.0, math.nan, 2.0], "x")
    message = anomaly(lambda: (x * 2).sum())
    assert "x (3,) holds NaN before any operation, at [1]" in message
    assert "it came in with the data" in message


def test_nan_made_before_the_block_is_traced_to_its_maker():
    x = leaf([-1.0], "x")
    with np.errstate(all="ignore"):
        early = tg.sqrt(x) + 1.0
    message = anomaly(lambda: early * 2)
    assert "`sqrt` made the first NaN" in message
    assert "early = tg.sqrt(x) + 1.0" in message


def test_infinities_written_by_hand_are_left_alone():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    with tg.detect_anomaly():
        y = tg.softmax(tg.where(np.eye(2) > 0, x, -math.inf), 1)
        y.sum().backward()
    np.testing.assert_array_equal(y.data, np.eye(2))


def test_nothing_is_watched_after_the_block_nor_in_other_threads():
    x = leaf([-1.0])
    with pytest.raises(AnomalyError), tg.detect_anomaly():
        tg.log(x)
    found = []
    with np.errstate(all="ignore"):
        assert math.isnan(tg.log(x).item())

    def elsewhere():
        with np.errstate(all="ignore"):
            found.append(tg.log(x).item())

    with tg.detect_anomaly():
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
    assert math.isnan(found[0])


def test_as_a_decorator():
    @tg.detect_anomaly()
    def step(x):
        return tg.log(x)

    for _ in range(2):
        with pytest.raises(AnomalyError):
            step(leaf([0.0]))
