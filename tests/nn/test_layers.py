"""What layers do beside computing: refuse what does not fit, keep element types, and draw masks."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, ShapeError

X = np.ones((4, 3))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: nn.Linear(0, 3, generator=0), "Linear: in_features=0, but expected a whole number of at least 1"),
        (lambda: nn.Linear(3, 2.0, generator=0), r"out_features=2\.0"),
        (lambda: nn.Linear(3, 2, generator=None), r"Linear draws random numbers and needs a generator, got None"),
        (lambda: nn.Conv2d(4, 6, 3, groups=4, generator=0), "Conv2d: .*must both divide into groups=4"),
        (lambda: nn.Conv2d(4, 6, (3, 3, 3), generator=0), "a number or 2 of them"),
        (lambda: nn.Conv1d(4, 6, 0, generator=0), "Conv1d: kernel_size=0"),
        (lambda: nn.BatchNorm2d(-1), "BatchNorm2d: num_features=-1"),
        (lambda: nn.LayerNorm((3, 0)), "normalized_shape=0"),
        (lambda: nn.Embedding(3, 2, 3, generator=0), "padding_idx=3 is not the number of a row: there are 3"),
        (lambda: nn.Dropout(1.5, generator=0), r"Dropout: p=1\.5, but expected a number from 0 to 1"),
        (lambda: nn.Dropout(float("nan"), generator=0), "p=nan"),
        (lambda: nn.GELU("tan"), "'none' or 'tanh'"),
        (lambda: nn.MSELoss(reduction="average"), "MSELoss: reduction='average'"),
    ],
)
def test_impossible_settings_are_refused(make, text):
    with pytest.raises(ArgumentError, match=text):
        make()


def test_a_parameter_is_no_integer():
    with pytest.raises(DTypeError, match="only floating-point"):
        nn.Linear(3, 2, generator=0, dtype=int)


@pytest.mark.parametrize(
    ("layer", "x", "error", "text"),
    [
        (nn.Linear(5, 2, generator=0), X, ShapeError, r"input has 3 features.*wants 5 in_features"),
        (nn.Linear(4, 2, generator=0), X, ShapeError, r"did you mean x\.T"),
        (nn.Conv1d(2, 2, 3, generator=0), np.ones((1, 3, 5)), ShapeError, "input has 3 channels"),
        (nn.Conv2d(2, 2, 3, generator=0), X, ShapeError, r"input must be \(N, C, H, W\)"),
        (nn.BatchNorm1d(5), X, ShapeError, r"BatchNorm1d\(5.*\(N, C\) or .*C = 5 channels, and it is \(4, 3\)"),
        (nn.BatchNorm1d(3), X[:1], ShapeError, "only one number for each channel"),
        (nn.BatchNorm2d(3), X, ShapeError, r"\(N, C, H, W\) with C = 3"),
        (nn.LayerNorm(4), X, ShapeError, r"normalized_shape=\(4,\)"),
        (nn.Embedding(3, 2, generator=0), np.array([3]), IndexingError, "holds 3 at"),
        (nn.Flatten(3), X, ShapeError, "axis 3"),
        (nn.MaxPool2d(5), np.ones((1, 1, 4, 4)), ShapeError, "more than the input has"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_and_change_nothing(layer, x, error, text):
    before = layer.state_dict()
    with pytest.raises(error, match=text):
        layer(x)
    for name, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(3, 2, generator=0, dtype=np.float32),
        nn.BatchNorm1d(3, dtype=np.float32),
        nn.LayerNorm(3, dtype=np.float32),
        nn.Dropout(0.3, generator=0),
        nn.Sequential(nn.ReLU(), nn.LeakyReLU(), nn.ELU(), nn.GELU(), nn.SiLU(), nn.Softplus(), nn.Softmax(1)),
    ],
    ids=lambda layer: type(layer).__name__,
)
@pytest.mark.parametrize("training", [True, False])
def test_float32_stays_float32(layer, training):
    x = tg.tensor(np.random.default_rng(0).normal(size=(4, 3)), dtype=np.float32, requires_grad=True)
    y = layer.train(training)(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32
    assert all(b.dtype in (np.float32, np.int64) for b in layer.buffers())


def test_layers_differentiate_twice():
    model = nn.Sequential(nn.Linear(3, 4, generator=0), nn.BatchNorm1d(4), nn.Tanh(), nn.LayerNorm(4))
    x = tg.tensor(np.random.default_rng(0).normal(size=(5, 3)), requires_grad=True)
    assert tg.check.gradients(lambda x, *_: (model(x) ** 3).sum(), [x, *model.parameters()], second_order=True)


# --- dropout -------------------------------------------------------------------------------------


def test_dropout_keeps_the_mean():
    p, n = 0.3, 100_000
    y = nn.Dropout(p, generator=0)(np.ones(n))
    assert set(np.unique(y.data)) == {0.0, 1 / (1 - p)}
    # each element has the variance p / (1 - p)
    assert abs(y.data.mean() - 1) < 4.5 * np.sqrt(p / (1 - p) / n)


def test_the_backward_pass_uses_the_mask_that_was_drawn():
    x = tg.tensor(np.random.default_rng(0).normal(size=(20, 5)), requires_grad=True)
    y = nn.Dropout(0.5, generator=0)(x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.where(y.data == 0, 0.0, 2.0))
    np.testing.assert_array_equal(y.data, x.data * x.grad.data)


def test_running_the_record_again_uses_the_mask_that_was_drawn():
    x = tg.tensor(np.random.default_rng(0).normal(size=(20, 5)), requires_grad=True, name="x")
    y = nn.Dropout(0.5, generator=0)(x)
    graph = tg.graph(y)
    assert any(line.startswith("mask = constant") for line in str(graph).splitlines())
    np.testing.assert_array_equal(graph.evaluate()[0], y.data)
    np.testing.assert_array_equal(graph.evaluate({x: -x.data})[0], -y.data)


def test_the_same_generator_gives_the_same_masks_one_after_the_other():
    first, second = nn.Dropout(0.5, generator=3), nn.Dropout(0.5, generator=np.random.default_rng(3))
    x = np.ones((10, 10))
    masks = [first(x).data for _ in range(3)]
    for mask in masks:
        np.testing.assert_array_equal(second(x).data, mask)
    assert not np.array_equal(masks[0], masks[1])


def test_dropout_in_use_draws_nothing():
    layer = nn.Dropout(0.5, generator=0).eval()
    state = layer.generator.bit_generator.state
    x = tg.tensor(np.ones(5), requires_grad=True)
    assert layer(x) is x
    assert layer.generator.bit_generator.state == state
