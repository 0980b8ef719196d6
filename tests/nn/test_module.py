import copy
import pickle

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError, GradientError


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
    assert named["first.W"].name == "first.W"
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
    assert [name for name, _ in model.named_parameters()] == ["W", "layers.0", "heads.a.0", "layers.1.W"]


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


def small():
    return nn.Sequential(nn.Linear(3, 2, generator=0), nn.BatchNorm1d(2, 0.1), nn.ReLU(), nn.Dropout(0.5, generator=1))


class Wrapped(nn.Module):
    def __init__(self, inner):
        self.encoder = inner
        self.scale = tg.tensor(2.0)
        self._head = nn.Linear(2, 1, generator=2)
        self.extras = {"twice": [nn.ReLU(), inner]}

    def forward(self, x):
        return self._head(self.encoder(x))


def test_training_and_use_reach_every_module_inside():
    model = Wrapped(small())
    assert all(module.training for module in model.modules())
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    assert model.train() is model
    assert all(module.training for module in model.modules())
    assert nn.Module.training


def test_modules_are_listed_once_before_those_inside():
    model = Wrapped(small())
    assert [name for name, _ in model.named_modules()] == [
        "", "encoder", "encoder.0", "encoder.1", "encoder.2", "encoder.3", "_head", "extras.twice.0",
    ]  # fmt: skip
    assert [type(child).__name__ for child in model.children()] == ["Sequential", "Linear", "ReLU", "Sequential"]
    assert [name for name, _ in model.named_generators()] == ["encoder.3.generator"]


def test_apply_goes_from_the_inside_out_in_order():
    seen = []
    model = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Tanh()), nn.Sigmoid())
    assert model.apply(lambda module: seen.append(type(module).__name__)) is model
    assert seen == ["ReLU", "Tanh", "Sequential", "Sigmoid", "Sequential"]


def test_what_is_frozen_stays_a_parameter():
    model = nn.Sequential(nn.Linear(3, 2, generator=0), nn.Linear(2, 1, generator=0))
    names = [name for name, _ in model.named_parameters()]
    model[0].weight.requires_grad = False
    assert [name for name, _ in model.named_parameters()] == names == list(model.state_dict())
    model(np.ones((4, 3))).sum().backward()
    assert model[0].weight.grad is None
    assert model[1].weight.grad is not None
    assert model.requires_grad_(False) is model
    assert not any(p.requires_grad for p in model.parameters())
    assert repr(model).endswith("# 11 parameters, 11 frozen")
    model.requires_grad_()
    assert all(p.requires_grad for p in model.parameters())
    model[0].weight = tg.tensor(np.ones((2, 3)))  # a constant in the place of a parameter is none
    assert [name for name, _ in model.named_parameters()] == names[1:]


def test_parameters_in_lists_can_be_frozen_too():
    model = nn.Module()
    model.layers = [tg.tensor([1.0], requires_grad=True)]
    model.layers.append(tg.tensor([2.0], requires_grad=True))
    model.requires_grad_(False)
    assert [name for name, _ in model.named_parameters()] == ["layers.0", "layers.1"]
    model.requires_grad_()
    assert model.layers[1].requires_grad


def test_a_state_is_a_copy_and_can_be_loaded():
    model, other = small(), small()
    state = model.state_dict()
    assert list(state) == [
        "0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "1.num_batches_tracked",
    ]  # fmt: skip
    model(np.random.default_rng(0).normal(size=(5, 3)))
    with tg.no_grad():
        model[0].weight += 1.0
    assert state["1.num_batches_tracked"] == 0
    assert not np.array_equal(state["0.weight"], model[0].weight.data)
    running_mean = other[1].running_mean
    assert other.load_state_dict(model.state_dict()) == ([], [])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[name], array, strict=True)
    assert other[1].running_mean is running_mean


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda s: s.pop("0.bias"), r"0\.bias: missing in the state"),
        (lambda s: s.update(extra=np.ones(2)), r"extra: unexpected"),
        (lambda s: s.update({"1.bias": np.ones(3)}), r"1\.bias: shape \(3,\) in the state, \(2,\) in the model"),
        (lambda s: s.update({"1.bias": np.ones(2, int)}), r"int64 in the state, float64 in the model: .*astype"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, text):
    model = small()
    before = model.state_dict()
    state = {name: array + 1 for name, array in before.items()}
    change(state)
    with pytest.raises(ArgumentError, match=text):
        model.load_state_dict(state)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_nothing_is_rounded_in_passing():
    narrow, wide = (nn.Linear(3, 2, generator=0, dtype=dtype) for dtype in (np.float32, np.float64))
    with pytest.raises(ArgumentError, match=r"float64 in the state, float32 in the model: .*astype\('float32'\)"):
        narrow.load_state_dict(wide.state_dict())
    wide.load_state_dict(narrow.state_dict())
    assert wide.weight.dtype == np.float64


def test_all_that_does_not_fit_is_listed():
    with pytest.raises(ArgumentError) as error:
        small().load_state_dict({"0.weight": np.ones((3, 2)), "2.weight": np.ones(1)})
    assert "Sequential, and nothing was loaded" in str(error.value)
    for name in ("0.bias: missing", "2.weight: unexpected", "0.weight: shape (3, 2)"):
        assert name in str(error.value)


def test_a_part_of_a_state_is_loaded_if_that_is_said():
    model = small()
    keys = model.load_state_dict({"0.bias": np.array([5.0, 6.0], np.float32), "other": 1.0}, strict=False)
    assert keys.unexpected_keys == ["other"]
    assert "0.weight" in keys.missing_keys
    assert model[0].bias.tolist() == [5.0, 6.0]
    with pytest.raises(ArgumentError, match=r"0\.bias: shape"):
        model.load_state_dict({"0.bias": np.ones(3)}, strict=False)


def test_buffers_are_state_but_no_parameters():
    model = Inner()
    model.register_buffer("steps", [1, 2])
    assert [name for name, _ in model.named_parameters()] == ["W"]
    assert [(name, b.tolist()) for name, b in model.named_buffers()] == [("steps", [1, 2])]
    model.register_buffer("steps", [3, 4])
    assert [b.tolist() for b in model.buffers()] == [[3, 4]]
    model.register_buffer("count", 0)
    model.count = model.count + 1
    np.testing.assert_array_equal(model.state_dict()["count"], np.array(1), strict=True)
    model.count = None
    assert list(model.state_dict()) == ["W", "steps"]
    with pytest.raises(ArgumentError, match="has an attribute 'W' already"):
        model.register_buffer("W", [1.0])
    with pytest.raises(ArgumentError, match="name of an attribute"):
        model.register_buffer("a.b", [1.0])


def test_a_copy_of_a_model_is_a_model_of_its_own():
    model = small()
    other = copy.deepcopy(model)
    assert [p.name for p in other.parameters()] == ["0.weight", "0.bias", "1.weight", "1.bias"]
    with tg.no_grad():
        other[0].weight += 1.0
    other(np.random.default_rng(0).normal(size=(5, 3)))
    assert not np.array_equal(model[0].weight.data, other[0].weight.data)
    assert model[1].num_batches_tracked == 0
    assert pickle.loads(pickle.dumps(model)).state_dict().keys() == model.state_dict().keys()


def test_repr_shows_settings_shapes_and_counts():
    assert (
        repr(Wrapped(small()))
        == """\
Wrapped(
  (encoder): Sequential(
    (0): Linear(in_features=3, out_features=2, bias=True)  # weight 2×3, bias 2: 8 parameters
    (1): BatchNorm1d(2, eps=0.1, momentum=0.1, affine=True, track_running_stats=True)  # weight 2, bias 2: 4 parameters
    (2): ReLU()
    (3): Dropout(p=0.5)
  )  # 12 parameters
  (_head): Linear(in_features=2, out_features=1, bias=True)  # weight 1×2, bias 1: 3 parameters
  (extras.twice.0): ReLU()
  (extras.twice.1): Sequential(
    (0): Linear(in_features=3, out_features=2, bias=True)  # weight 2×3, bias 2: 8 parameters
    (1): BatchNorm1d(2, eps=0.1, momentum=0.1, affine=True, track_running_stats=True)  # weight 2, bias 2: 4 parameters
    (2): ReLU()
    (3): Dropout(p=0.5)
  )  # 12 parameters
)  # 15 parameters"""
    )


def test_repr_of_a_module_that_holds_itself():
    model = Inner()
    model.itself = model
    assert "(itself): (this module again)" in repr(model)
