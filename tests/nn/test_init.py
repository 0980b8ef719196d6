"""Initial values against the analytic mean, variance and bounds of the distributions that they are drawn from."""

import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.nn import init

SHAPE = (300, 100, 2)  # fan_in 200, fan_out 600
N = math.prod(SHAPE)
SIGMAS = 4.5  # of the sampling error: wrong in seven of a million right draws, and these are seeded


def drawn(function, *args, shape=SHAPE, **kwargs):
    weights = tg.tensor(np.zeros(shape), requires_grad=True)
    assert function(weights, *args, generator=np.random.default_rng(0), **kwargs) is weights
    return weights.data


def check_moments(x, mean, variance, kurtosis):
    assert abs(x.mean() - mean) < SIGMAS * math.sqrt(variance / x.size)
    # The variance of a sample variance is σ⁴ (κ − 1) / n, with the kurtosis κ.
    assert abs(x.var() - variance) < SIGMAS * variance * math.sqrt((kurtosis - 1) / x.size)


@pytest.mark.parametrize(
    ("function", "kwargs", "bound"),
    [
        (init.uniform_, {"a": -0.5, "b": 0.5}, 0.5),
        (init.xavier_uniform_, {}, math.sqrt(6 / 800)),
        (init.xavier_uniform_, {"gain": 2.0}, 2 * math.sqrt(6 / 800)),
        (init.kaiming_uniform_, {}, math.sqrt(6 / 200)),
        (init.kaiming_uniform_, {"a": math.sqrt(5)}, 1 / math.sqrt(200)),
        (init.kaiming_uniform_, {"mode": "fan_out", "nonlinearity": "tanh"}, math.sqrt(3 / 600) * 5 / 3),
    ],
)
def test_uniform_distributions(function, kwargs, bound):
    x = drawn(function, **kwargs)
    assert np.abs(x).max() <= bound
    assert np.abs(x).max() > bound * (1 - 20 / N)
    check_moments(x, 0.0, bound**2 / 3, 9 / 5)


@pytest.mark.parametrize(
    ("function", "kwargs", "mean", "std"),
    [
        (init.normal_, {"mean": 3.0, "std": 0.2}, 3.0, 0.2),
        (init.xavier_normal_, {}, 0.0, math.sqrt(2 / 800)),
        (init.kaiming_normal_, {"nonlinearity": "relu"}, 0.0, math.sqrt(2 / 200)),
        (init.kaiming_normal_, {"a": 0.5, "mode": "fan_out"}, 0.0, math.sqrt(2 / 1.25 / 600)),
    ],
)
def test_normal_distributions(function, kwargs, mean, std):
    x = drawn(function, **kwargs)
    check_moments(x, mean, std**2, 3.0)
    assert abs(np.mean(np.abs(x - mean) < std) - math.erf(math.sqrt(0.5))) < SIGMAS * 0.5 / math.sqrt(N)


@pytest.mark.parametrize(("mean", "std", "a", "b"), [(0.0, 1.0, -2.0, 2.0), (0.5, 2.0, 0.0, 1.0), (0.0, 1.0, 1.0, 3.0)])
def test_truncated_normal_distribution(mean, std, a, b):
    x = drawn(init.trunc_normal_, mean, std, a, b)
    assert a <= x.min()
    assert x.max() <= b
    low, high = (a - mean) / std, (b - mean) / std
    density = [math.exp(-t * t / 2) / math.sqrt(2 * math.pi) for t in (low, high)]
    mass = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    shift = (density[0] - density[1]) / mass
    variance = std**2 * (1 + (low * density[0] - high * density[1]) / mass - shift**2)
    check_moments(x, mean + std * shift, variance, 3.0)


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3)])
@pytest.mark.parametrize("gain", [1.0, 2.5])
def test_orthogonal_rows_or_columns(shape, gain):
    q = drawn(init.orthogonal_, gain, shape=shape).reshape(shape[0], -1)
    product = q @ q.T if q.shape[0] <= q.shape[1] else q.T @ q
    np.testing.assert_allclose(product, gain**2 * np.eye(len(product)), atol=1e-12)


def test_every_orthogonal_matrix_is_equally_likely():
    rng = np.random.default_rng(0)
    diagonals = [init.orthogonal_(tg.tensor(np.zeros((2, 2))), generator=rng).data[0, 0] for _ in range(4000)]
    # Its first column is a point on the circle, so the entry has mean 0 and variance ½; with the signs of a plain QR
    # decomposition it would never be positive.
    check_moments(np.array(diagonals), 0.0, 0.5, 1.5)


def test_constants_and_the_identity():
    weights = tg.tensor(np.zeros((2, 3), np.float32), requires_grad=True)
    assert init.ones_(weights).tolist() == [[1.0] * 3] * 2
    assert init.constant_(weights, -2.5).tolist() == [[-2.5] * 3] * 2
    assert init.eye_(weights).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    assert init.zeros_(weights).tolist() == [[0.0] * 3] * 2
    assert weights.dtype == np.float32


def test_one_seed_is_one_model_in_every_element_type():
    wide, narrow = (nn.Linear(4, 3, generator=7, dtype=dtype) for dtype in (np.float64, np.float32))
    again = nn.Linear(4, 3, generator=np.random.default_rng(7))
    assert narrow.weight.dtype == narrow.bias.dtype == narrow(np.ones((2, 4), np.float32)).dtype == np.float32
    for name, array in wide.state_dict().items():
        np.testing.assert_array_equal(again.state_dict()[name], array)
        np.testing.assert_array_equal(narrow.state_dict()[name], array.astype(np.float32))


def test_one_generator_gives_each_layer_other_numbers():
    rng = np.random.default_rng(0)
    assert not np.array_equal(nn.Linear(4, 3, generator=rng).weight.data, nn.Linear(4, 3, generator=rng).weight.data)


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda rng: nn.Linear(200, 300, generator=rng), 200),
        (lambda rng: nn.Conv1d(40, 300, 5, generator=rng), 200),
        (lambda rng: nn.Conv2d(40, 300, (5, 2), groups=2, generator=rng), 200),
    ],
)
def test_layers_begin_as_pytorchs_do(layer, fan_in):
    made = layer(np.random.default_rng(0))
    bound = 1 / math.sqrt(fan_in)
    for x in (made.weight.data, made.bias.data):
        assert np.abs(x).max() <= bound
        check_moments(x, 0.0, bound**2 / 3, 9 / 5)


def test_a_graph_from_before_the_initialisation_is_refused():
    layer = nn.Linear(2, 1, generator=0)
    loss = (layer([[1.0, 2.0]]) ** 2).sum()
    init.ones_(layer.weight)
    with pytest.raises(tg.errors.GradientError, match=r"weight.*was changed"):
        loss.backward()


MISTAKES = {
    "vector": (lambda w: init.xavier_uniform_(w[0].detach(), generator=0), ShapeError, "For a bias, use zeros_"),
    "generator": (
        lambda w: init.normal_(w, generator="0"),
        ArgumentError,
        r"pass generator=np.random.default_rng\(0\)",
    ),
    "legacy": (
        lambda w: init.normal_(w, generator=np.random),
        ArgumentError,
        "normal_ draws random numbers and needs a generator, got <module",
    ),
    "negative seed": (lambda w: init.normal_(w, generator=-1), ArgumentError, "got -1: pass"),
    "mode": (lambda w: init.kaiming_normal_(w, mode="in", generator=0), ArgumentError, "'fan_in' or 'fan_out'"),
    "activation": (lambda w: init.calculate_gain("rely"), ArgumentError, "expected one of linear, .*relu"),
    "std": (lambda w: init.normal_(w, std=-1.0, generator=0), ArgumentError, "std=-1.0"),
    "nan": (lambda w: init.xavier_normal_(w, gain=math.nan, generator=0), ArgumentError, "gain=nan"),
    "bounds": (lambda w: init.uniform_(w, 1.0, 0.0, generator=0), ArgumentError, "a ≤ b"),
    "truncated": (lambda w: init.trunc_normal_(w, a=8.0, b=9.0, generator=0), ArgumentError, "around the mean"),
    "identity": (lambda w: init.eye_(tg.tensor(np.ones(3))), ShapeError, "expected a matrix"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_change_nothing(name):
    call, error, text = MISTAKES[name]
    weights = tg.tensor(np.full((3, 2), 9.0))
    with pytest.raises(error, match=text):
        call(weights)
    assert (weights.data == 9.0).all()
