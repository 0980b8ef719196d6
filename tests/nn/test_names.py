"""What parameters and parts of a model are called, where a reader sees it."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import ShapeError


class Autoencoder(nn.Module):
    def __init__(self):
        rng = np.random.default_rng(0)
        self.encoder = nn.Sequential(nn.Linear(4, 2, generator=rng), nn.Tanh())
        self.decoder = nn.Linear(2, 4, generator=rng)
        self.blocks = [nn.Linear(4, 4, generator=rng) for _ in range(2)]

    def forward(self, x):
        x = self.decoder(self.encoder(x))
        for block in self.blocks:
            x = block(x)
        return x


NAMES = ["encoder.0.weight", "encoder.0.bias", "decoder.weight", "decoder.bias"]
NAMES += ["blocks.0.weight", "blocks.0.bias", "blocks.1.weight", "blocks.1.bias"]


def test_names_are_paths_from_the_outermost_module():
    model = Autoencoder()
    assert [p.name for p in model.parameters()] == NAMES == [name for name, _ in model.named_parameters()]
    outer = nn.Sequential({"net": model, "sum": nn.Identity()})
    assert [p.name for p in outer.parameters()] == [f"net.{name}" for name in NAMES]


def test_a_name_that_the_user_gave_stays():
    class Own(nn.Module):
        def __init__(self):
            self.W = tg.tensor([1.0], requires_grad=True, name="W1")

    assert [p.name for p in nn.Sequential(Own()).parameters()] == ["W1"]


def test_tied_parameters_keep_their_first_name():
    model = nn.Module()
    model.encoder, model.decoder = nn.Linear(3, 3, generator=0), nn.Linear(3, 3, generator=1)
    model.decoder.weight = model.encoder.weight
    outer = nn.Sequential(model)
    assert outer[0].decoder.weight.name == "0.encoder.weight"
    assert list(outer.state_dict()) == [f"0.{a}.{b}" for a in ("encoder", "decoder") for b in ("weight", "bias")]


def test_graphs_and_derivations_show_the_names():
    loss = nn.MSELoss()(Autoencoder()(np.ones((3, 4))), np.zeros((3, 4)))
    lines = str(tg.graph(loss)).splitlines()
    assert [line.split(" = ")[0] for line in lines if " = parameter " in line] == NAMES
    text = str(tg.derive(loss))
    assert all(f"dloss_{name}" in text for name in NAMES)


def test_scopes_are_attributes_or_classes():
    loss = nn.MSELoss()(Autoencoder()(np.ones((3, 4))), np.zeros((3, 4)))
    scopes = {repr(value.node.scope) for value in tg.record.recorded_order([loss])}
    inside = {f"Autoencoder/{part}" for part in ("encoder/Linear", "encoder/Tanh", "decoder", "Linear")}
    assert scopes == {*inside, "MSELoss"}
    assert "Linear × 2" in tg.graph(loss, depth=1).dot


def test_a_wrong_number_of_features_names_the_layer():
    model = Autoencoder()
    with pytest.raises(ShapeError, match=r"weight=encoder\.0\.weight \(2, 4\).*5 features .*wants 4 in_features"):
        model(np.ones((3, 5)))


class Own(nn.Module):
    def __init__(self):
        self.inner = nn.Sequential(nn.Linear(3, 2, generator=0), nn.ReLU())

    def forward(self, x):
        hidden = self.inner(x)  # in the model
        return tg.softmax(hidden, dim=1)  # and behind it


def test_operations_inside_layers_come_from_the_users_line_that_called_them():
    X = np.ones((4, 3))
    direct = nn.Sequential(nn.Linear(3, 3, generator=0), Own())(X)  # of layers
    places = {str(value.node.scope): value.node.source for value in tg.record.recorded_order([direct])}
    assert places.pop("Sequential/Linear").endswith("# of layers")
    assert places.pop("Sequential/Own").endswith("# and behind it")
    assert {source.partition("# ")[2] for source in places.values()} == {"in the model"}
    with tg.scope("mine"):
        loss = nn.functional.mse_loss(direct, np.zeros((4, 2)))  # no layer
    assert loss.node.source.endswith("# no layer")
