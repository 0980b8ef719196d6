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


# --- stories -------------------------------------------------------------------------------------


def standardised(x):
    return (x - x.mean()) / x.std()


def cosine(x, y):
    return (x * y).sum() / (tg.sqrt((x * x).sum()) * y.norm())


FORWARD_STORIES = [
    # numbers, what is computed, who made the first one, what went in there, the way around
    ([1000.0, 1.0], lambda x: tg.exp(x) / tg.exp(x).sum(), "exp", "there 1000.0", "tg.softmax"),
    ([800.0], lambda x: tg.log(1 + tg.exp(x)), "exp", "beyond 709 in float64", "tg.softplus for log(1 + exp(x))"),
    ([709.5, 709.5], lambda x: tg.exp(x).sum(), "sum", "from 1.3", "tg.logsumexp"),
    ([2.0, 2.0], standardised, "divide", "there 0.0", "std + 1e-8"),
    ([2.0, 2.0], lambda x: x / tg.sqrt(((x - x.mean()) ** 2).mean()), "divide", "there 2.0", "std + 1e-8"),
    ([0.0, 0.0], lambda x: x / tg.sqrt((x * x).sum()), "divide", "there 0.0", "tg.norm(x) + 1e-12"),
    ([0.0, 0.0], lambda x: cosine(x, x + 1), "divide", "there 0.0", "The divisor is 0 there"),
    ([1.0, -1.0], lambda x: x / x.sum(), "divide", "there 0.0", "The divisor is 0 there"),
    ([0.0, 1.0], lambda x: x * tg.log(x), "log", "there 0.0", "tg.xlogy"),
    ([0.5, -1.0], tg.log1p, "log1p", "there -1.0", "above −1"),
    ([0.5, 1.0], lambda p: -(0.0 * tg.log(p) + 1.0 * tg.log(1 - p)).mean(), "log", "0.0", "tg.binary_cross_entropy(p"),
    ([1.5, 0.0], tg.acos, "acos", "there 1.5", "tg.clamp(x, -1, 1)"),
    ([1.5, 0.0], tg.asin, "asin", "there 1.5", "tg.clamp(x, -1, 1)"),
    ([0.5, 2.0], tg.acosh, "acosh", "there 0.5", "tg.clamp(x, min=1)"),
    ([1.0, 0.0], tg.atanh, "atanh", "there 1.0", "1 - 1e-7"),
    ([0.0, 4.0], tg.rsqrt, "rsqrt", "there 0.0", "tg.rsqrt(x + eps)"),
    ([0.0, 4.0], tg.reciprocal, "reciprocal", "there 0.0", "tg.where(x == 0, 1.0, x)"),
    ([0.0, 4.0], lambda x: x**-2, "power", "there 0.0", "0 has no negative power"),
    ([1e200, 1.0], lambda x: tg.sqrt((x**2).sum()), "power", "there 1e+200", "The largest float64 is 1.8e+308"),
    ([1e10] * 40, lambda x: tg.cumprod(x, 0), "cumprod", "there 10000000000.0", "smaller learning rate"),
    ([0.0, 1.0], lambda x: tg.xlogy(1.0, x), "xlogy", "there 0.0", "keep y above 0"),
    ([1.0, 1.0, 1.0, 1.0], lambda x: tg.log(tg.det(x.reshape(2, 2))), "log", "0.0", "tg.slogdet"),
    ([1.0, 1.0, 1.0, 1.0], lambda x: tg.slogdet(x.reshape(2, 2)), "logabsdet", "(2, 2)", "np.eye(n)"),
    ([math.inf, 1.0], lambda x: x - x, "subtract", "there inf", "∞ − ∞"),
    ([math.inf, 1.0], lambda x: x * tg.tensor([0.0, 1.0]), "multiply", "there inf", "0 · ∞"),
    ([-math.inf, -math.inf], lambda x: tg.softmax(x, 0), "softmax", "there -inf", "large finite number"),
    ([0.0, 4.0], lambda x: tg.where(x > 0, tg.log(x), 0.0), "log", "there 0.0", "tg.where(c, log(tg.where(c, x, 1.0))"),
    ([0.0, 4.0], lambda x: tg.where(x > 0, 1 / x, 0.0), "divide", "there 0.0", "tg.where(c, x, 1.0), in the place of"),
]


@pytest.mark.parametrize(("numbers", "compute", "maker", "there", "way_around"), FORWARD_STORIES)
def test_what_goes_wrong_forward(numbers, compute, maker, there, way_around):
    message = anomaly(lambda: compute(leaf(numbers, "x")))
    assert message.startswith(f"`{maker}` made the first "), message
    assert there in message
    assert way_around in message
    assert message.count(f"{__file__}:") == 1


BACKWARD_STORIES = [
    ([0.0, 0.0], lambda x: (x**2).sum() ** 0.5, "power", "tg.norm(x, dim=...)"),
    ([2.0, 2.0], lambda x: tg.sqrt(((x - x.mean()) ** 2).mean()), "sqrt", "tg.std(x, dim=..., correction=0)"),
    ([0.0, 1.0], lambda x: (x.abs() ** 0.5).sum(), "power", "tg.sqrt(x + eps)"),
    ([0.0, 1.0], lambda x: (x.abs() ** 0.3).sum(), "power", "(x + eps) ** p"),
    ([1.0, 0.5], lambda x: tg.acos(x).sum(), "acos", "1 - 1e-7"),
    ([-1.0, 0.5], lambda x: tg.asin(x).sum(), "asin", "1 - 1e-7"),
    ([0.0, 3.0], lambda x: (tg.tensor([0.0, 1.0]) * tg.sqrt(x)).sum(), "sqrt", "tg.sqrt(x + eps)"),
]


@pytest.mark.parametrize(("numbers", "compute", "maker", "way_around"), BACKWARD_STORIES)
def test_what_goes_wrong_backward(numbers, compute, maker, way_around):
    x = leaf(numbers, "x")
    message = anomaly(lambda: compute(x).backward())
    assert message.startswith(f"the derivative of `{maker}` made the first "), message
    assert way_around in message
    assert message.count(f"{__file__}:") == 1
    assert x.grad is None


def test_float32_overflows_earlier():
    x = tg.tensor([100.0], dtype=np.float32, requires_grad=True)
    assert "exp overflows beyond 88 in float32" in anomaly(lambda: tg.exp(x))
    message = anomaly(lambda: (x * 1e30) * 1e30)
    assert "The largest float32 is 3.4e+38" in message
    assert "or use float64" in message


def test_a_training_that_diverges():
    W = leaf([3.0], "W")

    def train():
        for _ in range(1000):
            loss = ((W * 5.0 - 1.0) ** 2).sum()  # the loss
            (dLoss_W,) = tg.grad(loss, W)
            with tg.no_grad():
                W.data = W.data - dLoss_W.data

    message = anomaly(train)
    assert "`power` made the first infinity" in message
    assert "try a smaller learning rate" in message
    assert "# the loss" in message


def test_a_classifier_that_is_too_sure():
    W, X, Y = leaf([[300.0], [200.0]], "W"), np.ones((5, 2)), np.ones((5, 1))

    def loss():
        Yh = tg.sigmoid(X @ W)
        return -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()  # by hand

    message = anomaly(loss)
    assert "`log` made the first infinity: element [0, 0] of its result (5, 1)" in message
    assert "tg.binary_cross_entropy_with_logits(x, y)" in message
    assert "# by hand" in message


def test_data_are_called_by_the_name_of_their_variable():
    W, table = leaf([1.0, 2.0], "W"), np.array([[1.0, 2.0], [math.nan, 3.0]])
    message = anomaly(lambda: table @ W)
    assert "table (2, 2) holds NaN before any operation, at [1, 0]" in message
    assert "reaches `matmul`" in message


def test_the_other_ways_around_are_finite():
    x, same = leaf([-1.0, 0.0, 1.0]), leaf([2.0, 2.0, 2.0])
    with tg.detect_anomaly():
        for z, loss in (
            (x, tg.acos(tg.clamp(x, -1 + 1e-7, 1 - 1e-7)).sum()),
            (x, tg.atanh(tg.clamp(x, -1 + 1e-7, 1 - 1e-7)).sum()),
            (x, tg.rsqrt(x * x + 1e-12).sum()),
            (x, (1 / tg.where(x == 0, 1.0, x)).sum()),
            (x, (x * 0 / (tg.norm(x * 0) + 1e-12)).sum()),
            (x, tg.softplus(x * 1000).sum()),
            (x, tg.softmax(tg.where(x < 5, -1e9, x), 0).sum()),
            (same, tg.std(same, correction=0)),
            (same, ((same - same.mean()) / (same.std() + 1e-8)).sum()),
            (same, tg.layer_norm(same, 3).sum()),
        ):
            assert math.isfinite(loss.item())
            (gradient,) = tg.grad(loss, z)
            assert np.isfinite(gradient.data).all()
