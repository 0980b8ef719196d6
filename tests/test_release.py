"""What a backward pass lets go of, and how it comes back."""

import tracemalloc

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import is_released, recorded_order


def network(rows=100):
    rng = np.random.default_rng(0)
    X = tg.tensor(rng.normal(size=(50, rows)), name="X")
    W = tg.tensor(rng.normal(size=(40, 50)), requires_grad=True, name="W")
    V = tg.tensor(rng.normal(size=(1, 40)), requires_grad=True, name="V")
    return X, W, V


def released(loss):
    return {value.node.op.name for value in recorded_order([loss]) if is_released(value)}


def test_large_arrays_that_nobody_holds_are_let_go_of_and_computed_again():
    X, W, V = network()
    loss = (V @ tg.relu(W @ X)).square().mean()
    loss.backward()
    assert released(loss) == {"matmul", "relu"}
    (relu,) = [value for value in recorded_order([loss]) if value.node.op.name == "relu"]
    np.testing.assert_array_equal(relu.data, np.maximum(W.detach().data @ X.data, 0))
    assert "relu" not in released(loss)
    assert tg.graph(loss).evaluate()[0] == loss.item()


def test_what_somebody_holds_stays():
    X, W, V = network()
    hidden = tg.relu(W @ X)
    loss = (V @ hidden).square().mean()
    loss.backward()
    assert not is_released(hidden)
    before = hidden.data.copy()
    with tg.no_grad():
        W -= 0.1 * W.grad
    np.testing.assert_array_equal(hidden.data, before)


def test_the_graph_is_kept_where_that_is_asked_for():
    X, W, V = network()
    loss = (V @ tg.relu(W @ X)).square().mean()
    loss.backward(retain_graph=True)
    assert released(loss) == set()
    first = W.grad.data.copy()
    loss.backward()
    np.testing.assert_array_equal(W.grad.data, 2 * first)


def test_nothing_is_computed_again_from_parameters_that_have_changed():
    X, W, V = network()
    loss = (V @ tg.relu(W @ X)).square().mean()
    loss.backward()
    with tg.no_grad():
        W -= 0.1 * W.grad
    first = recorded_order([loss])[0]
    with pytest.raises(GradientError, match=r"`matmul`, which nobody held, was let go of(.|\n)*W has changed since"):
        _ = first.data


def test_losses_that_are_kept_keep_no_arrays():
    X, W, V = network(rows=1000)
    tracemalloc.start()
    kept = []
    for _ in range(5):
        loss = (V @ tg.relu(W @ X)).square().mean()
        loss.backward()
        kept.append(loss)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(kept) == 5
    assert size < 40 * 1000 * 8  # less than one of the ten hidden arrays
