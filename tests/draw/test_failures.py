"""A forward pass that failed half-way is drawn up to the operation that failed."""

import json

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, TinygradError
from tinygrad_bc.primitive import REGISTRY


def error_of(function):
    with pytest.raises(TinygradError) as caught:
        function()
    return caught.value


def picture(error):
    found = json.loads(tg.graph(error).json)
    labels = {node["id"]: node["label"] for node in found["nodes"]}
    into = [labels[edge["from"]] for edge in found["edges"] if edge["to"] == "failed"]
    return found, found["nodes"][-1], into


def test_it_ends_at_the_operation_with_what_it_was_given():
    X, W1 = np.ones((9, 5)), tg.tensor(np.ones((15, 9)), requires_grad=True)
    W2 = tg.tensor(np.ones((4, 1)), requires_grad=True)
    A1 = tg.relu(W1 @ X)
    error = error_of(lambda: W2 @ A1)
    found, failed, into = picture(error)
    assert failed["id"] == failed["kind"] == "failed"
    assert failed["formula"] == "W2 @ A1"
    assert failed["remarks"] == [str(error).partition("\n")[0]]
    assert into == ["W2", "A1"]
    assert {node["label"]: node["shape"] for node in found["nodes"]}["W1"] == [15, 9]


def test_plain_arrays_are_shown_too():
    X, W = np.ones((9, 5)), tg.tensor(np.ones((15, 8)), requires_grad=True)
    _, failed, into = picture(error_of(lambda: W @ X))
    assert into == ["W", "X"]
    assert failed["formula"] == "W @ X"


def test_a_function_made_of_operations():
    logits, target = tg.tensor(np.ones((4, 3)), requires_grad=True), np.array([0, 1, 2])
    _, failed, into = picture(error_of(lambda: tg.cross_entropy(logits, target)))
    assert failed["label"] == "cross_entropy"
    assert into == ["logits", "target"]


def test_a_list_of_inputs():
    a, b = tg.tensor(np.ones((2, 3)), requires_grad=True), tg.tensor(np.ones((2, 4)), requires_grad=True)
    _, _, into = picture(error_of(lambda: tg.stack([a, b])))
    assert into == ["a", "b"]


def test_an_anomaly():
    x = tg.tensor([1.0, 0.0], requires_grad=True)
    with tg.detect_anomaly():
        error = error_of(lambda: tg.log(x * 1.0))
    _, failed, into = picture(error)
    assert failed["label"] == "log"
    assert len(into) == 1


@pytest.mark.parametrize("name", REGISTRY)
def test_every_error_sample_can_be_drawn(name):
    for sample in REGISTRY[name].error_samples():
        inputs = [tg.tensor(x) if isinstance(x, np.ndarray) else x for x in sample.inputs]
        with pytest.raises(sample.error) as caught:
            REGISTRY[name](*inputs, **sample.params)
        if getattr(caught.value, "failed", None) and any(isinstance(x, tg.Tensor) for x in inputs):
            assert picture(caught.value)[1]["kind"] == "failed"


def test_errors_that_say_nothing():
    with pytest.raises(ArgumentError, match="this ValueError does not say which operation failed"):
        tg.graph(ValueError("no"))
    with pytest.raises(ArgumentError, match="does not say"):
        tg.graph(TinygradError("no"))
    error = error_of(lambda: tg.sum(np.ones(3), axis=5))
    error.failed = error.failed._replace(inputs=(3,))
    with pytest.raises(ArgumentError, match="`sum` failed before it was given an array"):
        tg.graph(error)
