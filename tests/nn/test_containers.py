import numpy as np
import pytest

from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError


def test_modules_in_turn():
    first, second = nn.Linear(3, 2, generator=0), nn.Linear(2, 1, generator=0)
    model = nn.Sequential(first, nn.Tanh(), second)
    x = np.random.default_rng(0).normal(size=(4, 3))
    np.testing.assert_array_equal(model(x).data, second(first(x).tanh()).data)
    assert model[0] is first
    assert model[-1] is second
    assert len(model) == 3
    np.testing.assert_array_equal(model[:2](x).data, first(x).tanh().data)
    assert model.append(nn.Sigmoid()) is model
    np.testing.assert_array_equal(model(x).data, second(first(x).tanh()).sigmoid().data)


def test_modules_with_names():
    model = nn.Sequential({"hidden": nn.Linear(3, 2, generator=0), "act": nn.ReLU()})
    assert list(model.state_dict()) == ["hidden.weight", "hidden.bias"]
    assert model.hidden is model[0]


def test_nothing_in_a_row_is_the_identity():
    x = np.ones(3)
    assert nn.Sequential()(x) is x


def test_a_list_of_modules():
    blocks = nn.ModuleList(nn.Linear(2, 2, generator=i) for i in range(3))
    assert [name for name, _ in blocks.named_parameters()] == [f"{i}.{p}" for i in range(3) for p in ("weight", "bias")]
    assert [type(block) for block in blocks[1:]] == [nn.Linear] * 2
    with pytest.raises(IndexError):
        blocks[3]


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ([nn.ReLU], r"number 0 is no module but .*did you mean ReLU\(\.\.\.\)"),
        ([nn.ReLU(), np.tanh], "number 1 is no module.*A function is made part"),
        ([[nn.ReLU()]], "number 0 is no module"),
    ],
)
def test_what_is_no_module_is_refused(parts, text):
    with pytest.raises(ArgumentError, match=text):
        nn.Sequential(*parts)
