import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import GradientError


class Inner(nn.Module):
    def __init__(self, shared=None):
        self.W = tg.tensor([1.0, 2.0], requires_grad=True)
        self.scale = tg.tensor(3.0)
        self.shared = shared

    def forward(self, x):
        return (self.W * x * self.scale).sum()


class Outer(nn.Module):
    def __init__(self):
        self.b = tg.tensor(0.5, requires_grad=True, name="bias")
        self.first = Inner(self.b)
        self.second = Inner()

    def forward(self, x):
        return self.first(x) + self.second(x) + self.b


def test_parameters_are_found_named_and_listed_once():
    model = Outer()
    named = dict(model.named_parameters())
    assert list(named) == ["b", "first.W", "second.W"]
    assert named["b"].name == "bias"
    assert named["first.W"].name == "W"
    assert len(list(model.parameters())) == 3


def test_calling_a_model_and_forgetting_its_gradients():
    model = Outer()
    model(np.array([1.0, 1.0])).backward()
    np.testing.assert_array_equal(model.first.W.grad.data, [3.0, 3.0])
    assert model.b.grad.item() == 1.0
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_a_computed_tensor_is_not_a_parameter():
    model = Inner()
    model.last = model([1.0, 1.0])
    assert [name for name, _ in model.named_parameters()] == ["W"]


def test_parameters_in_lists_and_dictionaries_are_found_and_a_module_may_hold_itself():
    model = Inner()
    model.layers = [tg.tensor([1.0], requires_grad=True), Inner()]
    model.heads = {"a": (tg.tensor([2.0], requires_grad=True),)}
    model.itself = model
    assert [name for name, _ in model.named_parameters()] == ["W", "layers.0", "layers.1.W", "heads.a.0"]


def test_a_parameter_is_not_replaced_by_what_was_computed_from_it():
    model = Inner()
    with pytest.raises(GradientError, match=r"model\.W -= lr \* gradient"):
        model.W = model.W - 0.1
    with tg.no_grad():
        model.W -= 0.1
    np.testing.assert_allclose(model.W.data, [0.9, 1.9])


def test_a_model_without_forward_says_so():
    class Empty(nn.Module):
        pass

    with pytest.raises(TypeError, match="Empty defines no forward"):
        Empty()(1.0)
