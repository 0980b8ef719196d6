"""Passes of the NumPy target on their own: biases in products, parameters in vectors, sums as products."""

import importlib.util
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.numpy_target.affine import LARGEST, fold_biases
from tinygrad_bc.compiler.numpy_target.flat import pack_parameters
from tinygrad_bc.compiler.numpy_target.sums import sums_as_products
from tinygrad_bc.compiler.pipeline import stages
from tinygrad_bc.compiler.program import Program


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = loaded("programs")


def operations(program):
    nodes = (program.graph.node(x) for x in program.graph)
    return Counter(node.op.name for node in nodes if node is not None)


def assert_same(before, after):
    """Assert that two programs compute the same, at other data than the recorded too."""
    assert all(x is y for x, y in zip(before.inputs, after.inputs, strict=True))
    assert all(x is y for x, y in zip(before.updates, after.updates, strict=True))
    rng = np.random.default_rng(5)
    for scale in (None, 0.3):
        given = {}
        for x in before.inputs:
            if x in before.graph and scale and x.dtype.kind == "f":
                given[x] = scale * rng.normal(size=x.shape).astype(x.dtype)
        expected = before.graph.evaluate(given)
        found = after.graph.evaluate({x: a for x, a in given.items() if x in after.graph})
        rtol = 1e-12 if expected[0].dtype == np.float64 else 1e-4
        for a, b in zip(found, expected, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(initial=0))


def lowered(program):
    return stages(program)["lowered"]


@pytest.mark.parametrize("shape", [(3,), (1, 3)])
def test_biases_of_rows(shape):
    def loss(X, Y, W, b):
        return tg.square(tg.tanh(X @ W + b) - Y).sum()

    rng = np.random.default_rng(0)
    data = {"X": rng.normal(size=(40, 5)), "Y": rng.normal(size=(40, 3))}
    program = lowered(programs.descent(loss, data, {"W": rng.normal(size=(5, 3)), "b": rng.normal(size=shape)}))
    folded = fold_biases(program)
    assert_same(program, folded)
    assert operations(folded)["matmul"] == 2
    assert operations(folded)["sum"] == 1  # the loss
    assert operations(folded)["concatenate"] == 2


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_biases_of_the_classifier(dtype):
    program = lowered(programs.classifier(samples=40, dtype=dtype))
    folded = fold_biases(program)
    assert_same(program, folded)
    before, after = operations(program), operations(folded)
    assert after["matmul"] == before["matmul"]
    assert after["add"] == before["add"] - 2
    assert after["sum"] == before["sum"] - 2
    assert {"W1_b1", "A1_1", "dLoss_W1_b1"} <= {folded.graph.label(x) for x in folded.graph}


def test_biases_of_linear_layers():
    program = lowered(programs.perceptron((20, 12, 8, 5), 16))
    folded = fold_biases(program)
    assert_same(program, folded)
    assert operations(folded)["matmul"] == operations(program)["matmul"]
    assert operations(folded)["concatenate"] == operations(program)["concatenate"] + 6


def test_large_products_and_data_that_are_given_anew_are_left_alone():
    program = lowered(programs.classifier(samples=LARGEST // 10))
    assert operations(fold_biases(program))["concatenate"] == 2  # of the second layer: one row of Z2
    small = lowered(programs.classifier(samples=30))
    anew = Program("f", small.arguments, small.memory, small.results, small.updates)
    assert operations(fold_biases(anew))["concatenate"] == 2  # A1 is computed inside


def test_a_bias_that_is_used_for_two_layers_is_folded_into_one():
    def loss(X, W, V, b):
        return tg.tanh(V @ tg.tanh(W @ X + b) + b).sum()

    rng = np.random.default_rng(0)
    parameters = {"W": rng.normal(size=(4, 4)), "V": rng.normal(size=(4, 4)), "b": rng.normal(size=(4, 1))}
    program = lowered(programs.descent(loss, {"X": rng.normal(size=(4, 30))}, parameters))
    assert_same(program, fold_biases(program))
    assert_same(program, pack_parameters(fold_biases(program)))


@pytest.mark.parametrize("fold", [False, True])
def test_updates_of_all_parameters_at_once(fold):
    program = lowered(programs.classifier(samples=40))
    program = fold_biases(program) if fold else program
    packed = pack_parameters(program)
    assert_same(program, packed)
    shapes = [x.shape for x in packed.graph if packed.graph.node(x) is not None and x.dtype.kind == "f"]
    assert shapes.count((166,)) >= 4  # parameters, gradients, their product with lr, new parameters
    assert operations(packed)["subtract"] == operations(program)["subtract"] - 3


def momentum(program):
    """Return a program with a memory of gradients for each parameter."""
    updates, memory = {}, []
    with record_everything():
        for W, new in program.updates.items():
            (g,) = (x for x in new.node.inputs[1].node.inputs if isinstance(x, tg.Tensor))
            v = tg.tensor(np.zeros(W.shape, W.dtype), name=f"v_{W.name}")
            updates[v] = 0.9 * v + g
            updates[W] = W - 0.1 * updates[v]
            memory.append(v)
    labels = {x: program.graph.label(x) for x in program.inputs} | {v: v.name for v in memory}
    return Program(
        "step", program.arguments, [*program.memory, *memory], program.results, updates, program.steady, labels
    )


def test_what_an_optimiser_remembers_is_laid_out_alike():
    program = lowered(momentum(programs.classifier(samples=40)))
    packed = pack_parameters(fold_biases(program))
    assert_same(program, packed)
    assert operations(packed)["subtract"] == operations(program)["subtract"] - 3
    assert {"parameters", "v"} <= {packed.graph.label(x) for x in packed.graph}


def test_updates_one_of_which_needs_another_are_left_alone():
    a, b, x = (tg.tensor(np.random.default_rng(i).normal(size=4), name="abx"[i]) for i in range(3))
    with record_everything():
        new_a = a - 0.1 * x
        new_b = b - 0.1 * (x * tg.exp(new_a))
    program = Program("f", [x], [a, b], [], {a: new_a, b: new_b})
    packed = pack_parameters(program)
    assert_same(program, packed)
    assert operations(packed)["concatenate"] == 0


def test_updates_with_different_numbers_are_left_apart():
    a, b, c = (tg.tensor(np.ones(4), name="abc"[i]) for i in range(3))
    with record_everything():
        updates = {a: a - 0.1 * tg.exp(a), b: b - 0.2 * tg.exp(b), c: c - 0.2 * tg.exp(c)}
    program = Program("f", [], [a, b, c], [], updates)
    packed = pack_parameters(program)
    assert_same(program, packed)
    assert operations(packed)["subtract"] == 2


@pytest.mark.parametrize("axis", [None, 0, 1, -1, (0, 1), (0,), ()])
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (1, 5), (5, 1), (4,), (2, 3, 4)])
def test_sums_as_products(shape, keepdims, axis):
    if axis not in (None, 0, (0,), ()) and len(shape) == 1:
        pytest.skip("there is no such axis")
    a, b = (tg.tensor(np.random.default_rng(i).normal(size=shape)) for i in (0, 1))
    for compute in (lambda: a * b, lambda: a * b - b * a, lambda: a + b, lambda: tg.square(a)):
        with record_everything():
            y = tg.sum(compute(), axis=axis, keepdims=keepdims)
        program = Program("f", [a, b], [], [y])
        assert_same(program, sums_as_products(program))
    if axis is None:
        assert operations(sums_as_products(program))["sum"] == 0


def test_a_product_that_is_needed_itself_is_computed_once():
    a, b = (tg.tensor(np.random.default_rng(i).normal(size=(3, 4))) for i in (0, 1))
    with record_everything():
        product = a * b
        y = tg.sum(product)
    program = Program("f", [a, b], [], [y, product])
    after = sums_as_products(program)
    assert_same(program, after)
    assert operations(after)["multiply"] == 1


def test_sums_of_integers_and_of_very_many_numbers_stay_sums():
    a, b = tg.tensor(np.arange(12).reshape(3, 4)), tg.tensor(np.ones(2**17))
    with record_everything():
        outputs = [tg.sum(a), tg.sum(b)]
    program = Program("f", [a, b], [], outputs)
    assert operations(sums_as_products(program))["sum"] == 2
