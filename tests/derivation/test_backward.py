"""The recorded backward pass against the engine's own."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.errors import GradientError


def leaf(*shape, seed=0, dtype=np.float64):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True)


def network(dtype=np.float64):
    W1, b1, W2 = leaf(4, 3, dtype=dtype), leaf(4, 1, seed=1, dtype=dtype), leaf(1, 4, seed=2, dtype=dtype)
    X = np.random.default_rng(3).normal(size=(3, 6)).astype(dtype)
    H = tg.tanh(W1 @ X + b1)
    Yh = tg.sigmoid(W2 @ (H * H + H))  # H is used three times
    Loss = -(tg.log(Yh)).mean()
    return Loss, (W1, b1, W2), (H, Yh)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_cotangents_are_those_of_the_engine_bit_for_bit(dtype):
    Loss, leaves, inner = network(dtype)
    found = BackwardPass(Loss)
    assert set(found.wrt) == set(leaves)
    for value, expected in zip((*leaves, *inner), tg.grad(Loss, [*leaves, *inner])):
        np.testing.assert_array_equal(found.cotangents[value].data, expected.data)
        assert found.cotangents[value].dtype == dtype


def test_contributions_add_up_and_say_where_they_come_from():
    Loss, _, (H, _) = network()
    found = BackwardPass(Loss)
    parts = found.contributions[H]
    assert [(part.user.node.op.name, part.position) for part in parts] == [
        ("add", 1),
        ("multiply", 0),
        ("multiply", 1),
    ]
    np.testing.assert_array_equal(sum(part.cotangent.data for part in parts), found.cotangents[H].data)
    (b1,) = [value for value in found.wrt if value.shape == (4, 1)]
    (part,) = found.contributions[b1]
    assert (part.unreduced.shape, part.cotangent.shape) == ((4, 6), (4, 1))


def test_names():
    Loss, *_ = network()
    found = BackwardPass(Loss)
    names = [found.name(value) for value in found.cotangents]
    assert names[0] == "dLoss_Loss"
    assert {"dLoss_W1", "dLoss_b1", "dLoss_W2", "dLoss_H", "dLoss_Yh"} <= set(names)


def test_only_what_leads_to_wrt_is_walked():
    Loss, (W1, b1, W2), (H, _) = network()
    found = BackwardPass(Loss, wrt=W2)
    assert {W1, b1, H}.isdisjoint(found.cotangents)
    np.testing.assert_array_equal(found.cotangents[W2].data, tg.grad(Loss, W2)[0].data)


def test_the_record_can_be_differentiated_again():
    x = tg.tensor(2.0, requires_grad=True)
    (first,) = tg.grad(x**3, x, create_graph=True)
    assert BackwardPass(first).cotangents[x].item() == 12.0


def test_what_cannot_be_differentiated_is_refused():
    x, y = leaf(3), leaf(3, seed=1)
    with pytest.raises(GradientError, match="single number"):
        BackwardPass(x * 2)
    total = x.sum()
    with pytest.raises(GradientError, match="total does not depend on one of wrt"):
        BackwardPass(total, wrt=y)


def test_a_long_chain():
    x = tg.tensor(0.1, requires_grad=True)
    y = x
    for _ in range(20_000):
        y = y + 0.1
    assert BackwardPass(y).cotangents[x].item() == 1.0
