import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.nn.utils import clip_grad_norm_, clip_grad_value_, parameters_to_vector, vector_to_parameters


def parameters(*gradients):
    made = [tg.tensor(np.ones(len(g)), requires_grad=True, name=f"p{i}") for i, g in enumerate(gradients)]
    for p, g in zip(made, gradients):
        p.grad = np.array(g)
    return made


def test_gradients_are_scaled_together():
    a, b = parameters([3.0], [0.0, 4.0])
    assert clip_grad_norm_([a, b], 1.0) == 5.0
    np.testing.assert_allclose([*a.grad.data, *b.grad.data], np.array([3.0, 0.0, 4.0]) / (5 + 1e-6), rtol=1e-15)


def test_short_gradients_stay_as_they_are_and_none_is_skipped():
    (a,) = parameters([0.3])
    without = tg.tensor([1.0], requires_grad=True)
    before = a.grad
    assert clip_grad_norm_(iter([a, without]), 1.0) == 0.3
    assert a.grad is before
    assert without._grad is None
    assert clip_grad_norm_([without], 1.0) == 0.0


def test_large_gradients_do_not_overflow():
    (a,) = parameters([3e200, 4e200])
    assert clip_grad_norm_(a, 1.0) == pytest.approx(5e200, rel=1e-15)
    np.testing.assert_allclose(a.grad.data, [0.6, 0.8], rtol=1e-15)


def test_gradients_that_are_not_finite_are_refused_and_named():
    a, b = parameters([1.0], [np.nan, 2.0])
    with pytest.raises(GradientError, match="in that of p1"):
        clip_grad_norm_([a, b], 0.1)
    assert a.grad.tolist() == [1.0]


def test_values_are_limited():
    (a,) = parameters([-3.0, 0.5, 2.0])
    clip_grad_value_(a, 1.0)
    assert a.grad.tolist() == [-1.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda p: clip_grad_norm_(p, -1.0), ArgumentError),
        (lambda p: clip_grad_norm_(p, float("nan")), ArgumentError),
        (lambda p: clip_grad_norm_(p, 1.0, 0.0), ArgumentError),
        (lambda p: clip_grad_value_(p, -1.0), ArgumentError),
        (lambda p: clip_grad_norm_([], 1.0), DTypeError),
        (lambda p: vector_to_parameters(np.ones(3), p), ShapeError),
    ],
)
def test_mistakes_change_nothing(call, error):
    (a,) = parameters([5.0, 1.0])
    with pytest.raises(error):
        call([a])
    assert a.grad.tolist() == [5.0, 1.0]
    assert a.tolist() == [1.0, 1.0]


def test_parameters_to_a_vector_and_back():
    model, other = nn.Linear(3, 2, generator=0), nn.Linear(3, 2, generator=1)
    vector = parameters_to_vector(model.parameters())
    np.testing.assert_array_equal(vector.data, [*model.weight.data.ravel(), *model.bias.data])
    (gradient,) = tg.grad((vector**2).sum(), model.bias)
    np.testing.assert_allclose(gradient.data, 2 * model.bias.data)
    vector_to_parameters(vector, other.parameters())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array)
