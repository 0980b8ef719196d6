"""Every operation, written as NumPy source on each of its samples, gives what it gave when it was recorded."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.compiler.numpy_source.writer import Writer
from tinygrad_bc.primitive import CAPTURE, REGISTRY, mode
from tinygrad_bc.record import Graph


def emitted(op, sample, change=lambda x: x):
    """Return the source of a module with one function, the graph that it is made from, and what the function takes."""
    inputs = [tg.tensor(change(x)) if isinstance(x, np.ndarray) else x for x in sample.inputs]
    token = mode.set(CAPTURE)
    try:
        y = op(*inputs, **sample.params)
    finally:
        mode.reset(token)
    graph = Graph(y)
    arguments = [value for value in graph if graph.node(value) is None]
    writer = Writer()
    source = writer.module(writer.function(graph, "compute", arguments, [y]), docstring=f"The operation {op.name}.")
    return source, graph, arguments


def run(source, *arguments):
    namespace = {}
    exec(compile(source, "<generated>", "exec"), namespace)
    return namespace["compute"](*arguments)


def assert_same(result, expected, op, source):
    assert np.asarray(result).dtype == expected.dtype, source
    assert np.shape(result) == expected.shape, source
    if op.name == "matmul":  # written as @, recorded as np.dot for matrices: they may differ in the last digit
        digits = 1e-13 if expected.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(result, expected, rtol=digits, atol=digits / 100)
    else:
        np.testing.assert_array_equal(result, expected, err_msg=source)


def samples_of(op):
    return op.samples(np.random.default_rng(7))


every_operation = pytest.mark.parametrize("op", list(REGISTRY.values()), ids=list(REGISTRY))


@every_operation
def test_source_gives_what_was_recorded(op):
    for sample in samples_of(op):
        source, graph, arguments = emitted(op, sample)
        assert "tinygrad_bc" not in source
        assert max(map(len, source.splitlines())) <= 120, source
        assert_same(run(source, *(x.data for x in arguments)), graph.outputs[0].data, op, source)


@every_operation
def test_source_holds_for_other_numbers(op):
    for sample in samples_of(op):
        source, graph, arguments = emitted(op, sample)
        others = {x: x.data * 0.97 if x.dtype.kind == "f" else x.data for x in arguments}
        (expected,) = graph.evaluate(others)
        assert_same(run(source, *others.values()), expected, op, source)


@every_operation
def test_source_in_float32(op):
    for sample in samples_of(op):
        source, graph, arguments = emitted(op, sample, lambda x: x.astype(np.float32) if x.dtype.kind == "f" else x)
        assert_same(run(source, *(x.data for x in arguments)), graph.outputs[0].data, op, source)
