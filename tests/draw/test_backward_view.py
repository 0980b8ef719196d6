"""The picture of the backward pass."""

import json

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.draw.backward_view import local_formula
from tinygrad_bc.errors import ArgumentError, GradientError


def network():
    rng = np.random.default_rng(0)
    W1, b1 = tg.tensor(rng.normal(size=(4, 3)), requires_grad=True), tg.tensor(np.zeros((4, 1)), requires_grad=True)
    W2 = tg.tensor(rng.normal(size=(1, 4)), requires_grad=True)
    X = tg.tensor(rng.normal(size=(3, 6)))
    Z1 = W1 @ X + b1
    A1 = tg.relu(Z1)
    Yh = tg.sigmoid(W2 @ A1)
    Loss = (Yh * Yh - 2 * Yh).sum()
    return Loss.named("Loss")


def picture(*args, **options):
    return json.loads(tg.graph(*args, backward=True, **options).json)


def test_one_box_for_each_cotangent_with_the_number_of_its_value():
    Loss = network()
    backward = BackwardPass(Loss)
    numbers = {value: number for number, value in enumerate(backward.graph)}
    nodes = {node["id"]: node for node in picture(Loss)["nodes"]}
    assert set(nodes) == {f"g{numbers[value]}" for value in backward.cotangents}
    for value, cotangent in backward.cotangents.items():
        node = nodes[f"g{numbers[value]}"]
        assert node["label"] == backward.name(value)
        assert tuple(node["shape"]) == cotangent.shape == value.shape
    kinds = {node["label"]: node["kind"] for node in nodes.values()}
    assert kinds["dLoss_Loss"] == "seed"
    assert kinds["dLoss_Z1"] == "cotangent"
    assert [kinds[f"dLoss_{name}"] for name in ("W1", "b1", "W2")] == ["gradient"] * 3


def test_an_arrow_for_each_use_and_a_sum_where_there_are_several():
    Loss = network()
    backward = BackwardPass(Loss)
    found = picture(Loss)
    assert len(found["edges"]) == sum(map(len, backward.contributions.values()))
    (Yh,) = [node for node in found["nodes"] if node["label"] == "dLoss_Yh"]
    assert Yh["formula"] == "sum of 3"
    assert sum(edge["to"] == Yh["id"] for edge in found["edges"]) == 3


def test_labels_say_what_is_multiplied_and_over_what_is_summed():
    found = picture(network())
    labels = {node["id"]: node["label"] for node in found["nodes"]}
    along = {(labels[edge["from"]], labels[edge["to"]]): edge["label"] for edge in found["edges"]}
    assert along["dLoss_Z1", "dLoss_b1"] == "dLoss_Z1; summed over axis 1"
    assert next(text for (_, end), text in along.items() if end == "dLoss_W1").endswith("Xᵀ")
    assert "Yh ∘ (1 − Yh)" in next(text for (start, _), text in along.items() if start == "dLoss_Yh")


def test_what_stands_beside_an_arrow_evaluates_to_what_is_added():
    x = tg.tensor([0.5, -1.5, 2.0], requires_grad=True)
    y = tg.tensor([[1.0], [3.0]], requires_grad=True)
    p = x * y
    q = p - x
    s = q * p
    r = s + y
    Loss = r.sum()
    backward = BackwardPass(Loss)
    names = {value: backward.graph.label(value) for value in backward.graph}
    known = {name: value.data for value, name in names.items()}
    known |= {backward.name(value): c.data for value, c in backward.cotangents.items()}
    checked = 0
    for uses in backward.contributions.values():
        for use in uses:
            text = local_formula(backward, use, names)
            if not text.startswith("broadcast"):
                python = text.translate(str.maketrans("∘−·", "*-*"))
                np.testing.assert_allclose(eval(python, dict(known)), use.unreduced.data)
                checked += 1
    assert checked == 8


def test_sums_over_all_axes_and_over_new_ones():
    s, v = tg.tensor(2.0, requires_grad=True), tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    M = tg.tensor(np.ones((4, 3)))
    found = picture((M * s + v).sum())
    labels = {node["id"]: node["label"] for node in found["nodes"]}
    ends = {labels[edge["to"]].partition("_")[2]: edge["label"].partition("; ")[2] for edge in found["edges"]}
    assert ends["s"] == "summed over all elements"
    assert ends["v"] == "summed over axis 0"


def test_only_what_leads_to_wrt():
    Loss = network()
    (W2,) = [value for value in tg.graph(Loss) if value.shape == (1, 4)]
    labels = [node["label"] for node in picture(Loss, wrt=W2)["nodes"]]
    assert "dLoss_W2" in labels
    assert not {"dLoss_W1", "dLoss_b1", "dLoss_Z1"} & set(labels)


def test_scopes_are_those_of_the_forward_pass():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    with tg.scope("inner"):
        h = x * x
    found = picture((h * 2).sum())
    assert {node["label"]: node["path"] for node in found["nodes"]}["dLoss_h"] == "inner"
    assert [scope["name"] for scope in found["scopes"]] == ["inner"]


def test_what_has_no_backward_pass():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(GradientError, match="single number"):
        tg.graph(x * 2, backward=True)
    with pytest.raises(ArgumentError, match="pass the loss alone"):
        tg.graph([x.sum(), x.mean()], backward=True)
    with pytest.raises(ArgumentError, match="add backward=True"):
        tg.graph(x.sum(), wrt=x)
