"""The report on a model, checked on models whose units are made dead or saturated by hand."""

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ArgumentError

X = np.random.default_rng(0).normal(size=(50, 4))


def test_dead_units_are_counted():
    model = nn.Sequential(nn.Linear(4, 10, generator=0), nn.ReLU(), nn.Linear(10, 1, generator=0))
    with tg.no_grad():
        model[0].bias -= 100.0 * (np.arange(10) < 3)
    table = nn.report(model, X)
    assert list(table.index) == ["0", "1", "2"]
    assert list(table.kind) == ["Linear", "relu", "Linear"]
    assert list(table.parameters) == [50, 0, 11]
    assert table.loc["1", "dead"] == 0.3
    assert table.loc["1", "remark"] == "3 of 10 units dead"
    with tg.no_grad():
        model[0].bias += 100.0 * (np.arange(10) == 0)
    assert nn.report(model, X).loc["1", "dead"] == 0.2


def test_dead_channels_of_a_convolution_are_counted():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, generator=0), nn.BatchNorm2d(4), nn.ReLU())
    with tg.no_grad():
        model[1].bias -= 100.0 * (np.arange(4) == 2)
    images = np.random.default_rng(0).normal(size=(5, 1, 6, 6))
    assert nn.report(model, images).loc["2", "remark"] == "1 of 4 units dead"


def test_units_of_a_network_of_columns_are_its_rows():
    class Tutorial(nn.Module):
        def __init__(self):
            self.W1 = tg.tensor(np.random.default_rng(0).normal(size=(3, 4)), requires_grad=True)
            self.b1 = tg.tensor([[-100.0], [0.0], [0.0]], requires_grad=True)

        def forward(self, X):
            A1 = tg.relu(self.W1 @ X + self.b1)
            return A1.mean()

    table = nn.report(Tutorial(), X.T)
    assert list(table.index) == ["(itself)", "A1"]
    assert table.loc["A1", "remark"] == "1 of 3 units dead"


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.Tanh])
def test_saturated_elements_are_counted(activation):
    model = nn.Sequential(nn.Linear(4, 10, generator=0), activation(), nn.Linear(10, 1, generator=0))
    with tg.no_grad():
        model[0].bias += 50.0 * (np.arange(10) < 6)
    table = nn.report(model, X)
    assert table.loc["1", "saturated"] == 0.6
    assert table.loc["1", "remark"] == "60% saturated"
    assert np.isnan(table.loc["1", "dead"])


def test_sizes_of_gradients_are_those_of_the_backward_pass():
    model = nn.Sequential(nn.Linear(4, 5, generator=0), nn.Tanh(), nn.Linear(5, 1, generator=0))
    Y = np.ones((50, 1))
    table = nn.report(model, X, loss=lambda y: nn.MSELoss()(y, Y))
    assert all(p.grad is None for p in model.parameters())
    nn.MSELoss()(model(X), Y).backward()
    for name in ("0", "2"):
        layer = model[int(name)]
        g = np.concatenate([layer.weight.grad.data.ravel(), layer.bias.grad.data])
        assert table.loc[name, "grad_rms"] == pytest.approx(np.sqrt(np.mean(g**2)), rel=1e-12)
        assert table.loc[name, "grad_max"] == np.abs(g).max()


def test_a_gradient_that_vanishes_is_remarked_on():
    rng = np.random.default_rng(0)
    layers = [part for _ in range(8) for part in (nn.Linear(4, 4, generator=rng), nn.Sigmoid())]
    remarks = nn.report(nn.Sequential(*layers), X).remark
    assert remarks["0"].startswith("vanishing: ")
    assert remarks["14"] == ""


def test_layers_without_a_gradient_are_remarked_on():
    class Net(nn.Module):
        def __init__(self):
            self.used, self.unused = nn.Linear(4, 1, generator=0), nn.Linear(4, 1, generator=0)
            self.frozen = nn.Linear(1, 1, generator=0).requires_grad_(False)

        def forward(self, x):
            return self.frozen(self.used(x))

    remarks = nn.report(Net(), X).remark
    assert remarks["unused"] == "no gradient: not used for the result"
    assert remarks["frozen"] == "frozen"
    assert remarks["used"] == ""


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Linear(4, 3, generator=0), nn.BatchNorm1d(3), nn.Dropout(0.5, generator=1), nn.ReLU())
    state, drawn = model.state_dict(), model[2].generator.bit_generator.state
    first, second = nn.report(model, X), nn.report(model, X)
    pd.testing.assert_frame_equal(first, second)
    assert model[2].generator.bit_generator.state == drawn
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, state[name])
    assert {repr(v.node.scope) for v in tg.record.recorded_order([model(X)])} >= {"Sequential/Linear"}
    with pytest.raises(tg.errors.ShapeError):
        nn.report(model, X[:, :3])
    assert model[0]._scope_name == ""


def test_it_prints_whole_and_without_blanks_filled():
    model = nn.Sequential(nn.Linear(4, 10, generator=0), nn.ReLU(), nn.Linear(10, 1, generator=0))
    with tg.no_grad():
        model[0].bias -= 100.0
        model[2].bias *= 0.0
    lines = str(nn.report(model, X)).splitlines()
    assert lines[0].split() == ["kind", "shape", "parameters", "grad_rms", "grad_max", "dead", "saturated", "remark"]
    assert lines[1].split() == ["0", "Linear", "10×4,", "10", "50", "0.00e+00", "0.00e+00", "gradient", "is", "0"]
    assert lines[2].split()[:4] == ["1", "relu", "50×10", "0"]
    assert "nan" not in "".join(lines).lower()
    assert "100%" in lines[2]


def test_a_model_is_expected():
    with pytest.raises(ArgumentError, match=r"expected a model, an nn\.Module, got function"):
        nn.report(lambda x: x, X)
