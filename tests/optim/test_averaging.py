"""Averages of parameters: their formulas, in the parameters' place and back, saved and continued."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError


def parameters(dtype=float):
    return [
        tg.tensor(np.zeros((2, 3), dtype), requires_grad=True, name="W"),
        tg.tensor(np.zeros((), dtype), requires_grad=True),
    ]


def walk(xs, averages, steps, seed=0):
    """Set the parameters to random numbers, `steps` times; return those of the first."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        for x in xs:
            x.data = rng.normal(size=x.shape)
        seen.append(xs[0].data.copy())
        averages.update()
    return np.array(seen)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_swa_is_the_mean(dtype):
    xs = parameters(dtype)
    averages = optim.swa(xs)
    seen = walk(xs, averages, 30)
    assert averages.averages[0].dtype == dtype
    np.testing.assert_allclose(averages.averages[0], seen.mean(0), rtol=1e-12 if dtype is np.float64 else 1e-4)
    assert averages.n_averaged == 30


def test_ema_is_a_weighted_sum():
    xs = parameters()
    averages = optim.ema(xs, 0.9)
    seen = walk(xs, averages, 30)
    weights = 0.1 * 0.9 ** np.arange(29, -1, -1)
    weights[0] = 0.9**29  # the first is copied
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_allclose(averages.averages[0], np.tensordot(weights, seen, 1), rtol=1e-12)


def test_the_averages_take_the_parameters_place_for_a_while():
    xs = parameters()
    averages = optim.swa(xs)
    walk(xs, averages, 3)
    own = [x.data.copy() for x in xs]
    memory = xs[0].data
    stale = (xs[0] * xs[0]).sum()
    with averages.applied():
        assert all(np.array_equal(x.data, a) for x, a in zip(xs, averages.averages, strict=True))
        assert not np.array_equal(xs[0].data, own[0])
        with pytest.raises(ArgumentError, match="restore"):
            averages.update()
        with pytest.raises(ArgumentError, match="restore"):
            averages.apply()
    assert all(np.array_equal(x.data, o) for x, o in zip(xs, own, strict=True))
    assert xs[0].data is memory
    with pytest.raises(GradientError, match="W"):
        stale.backward()
    with pytest.raises(ArgumentError, match="nothing to restore"):
        averages.restore()


def test_an_error_inside_the_block_restores_too():
    xs = parameters()
    averages = optim.swa(xs)
    walk(xs, averages, 3)
    own = xs[0].data.copy()
    with pytest.raises(ZeroDivisionError), averages.applied():
        _ = 1 / 0
    assert np.array_equal(xs[0].data, own)


def test_saved_loaded_and_continued_is_bit_identical():
    xs = parameters()
    averages = optim.ema(xs, 0.8)
    walk(xs, averages, 5)
    saved = averages.state_dict()
    walk(xs, averages, 5, seed=1)
    others = parameters()
    other = optim.ema(others, 0.8)
    other.load_state_dict(saved)
    walk(others, other, 5, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(averages.averages, other.averages, strict=True))
    assert other.n_averaged == 10


def test_what_cannot_be_is_refused():
    xs = parameters()
    with pytest.raises(ArgumentError, match="decay"):
        optim.ema(xs, 1.0)
    with pytest.raises(ArgumentError, match="no parameters"):
        optim.swa([])
    with pytest.raises(ArgumentError, match="twice"):
        optim.swa([xs[0], xs[0]])
    averages = optim.swa(xs)
    with pytest.raises(ArgumentError, match=r"call update\(\)"):
        averages.apply()
    for saved, error in [
        ([np.zeros(3), np.zeros(())], ShapeError),
        ([np.zeros((2, 3), np.float32), np.zeros(())], DTypeError),
        ([np.zeros((2, 3))], ArgumentError),
    ]:
        with pytest.raises(error):
            averages.load_state_dict({"averages": saved, "n_averaged": 4})
    assert averages.n_averaged == 0
