"""What every declaration has in common: that it refuses what it says it refuses, and describes itself."""

import inspect

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ShapeError
from tinygrad_bc.primitive import COMPOSITES, COUNTERPARTS, REGISTRY


def case(op):
    return pytest.param(op, id=f"{type(op).__name__} {op.name}")


def tensors(inputs):
    return [tg.tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]


# Primitives do in test_ops.py, and so do those composites that have samples.
@pytest.mark.parametrize("op", [case(op) for op in COMPOSITES.values()])
def test_functions_made_of_operations_refuse_their_error_samples(op):
    for sample in op.error_samples():
        with pytest.raises(sample.error, match=sample.match) as caught:
            op(*tensors(sample.inputs), **sample.params)
        assert __file__ in str(caught.value)


@pytest.mark.parametrize("op", [case(op) for op in REGISTRY.values() if op.broadcasts and len(op.arrays) > 1])
def test_every_broadcasting_operation_refuses_some_shapes(op):
    inputs = [np.ones((3, 4 + i % 2), int) for i, _ in enumerate(op.arrays)]
    with pytest.raises(ShapeError):
        op(*inputs)


@pytest.mark.parametrize("name", tg.ops.__all__)
def test_every_operation_is_described_in_our_words_with_a_signature(name):
    op = getattr(tg, name)
    assert op.__doc__.split("\n")[0].endswith((".", ":"))
    assert inspect.signature(op).parameters


NOT_UFUNCS = [function for function in COUNTERPARTS if not isinstance(function, np.ufunc)]  # which have a protocol


@pytest.mark.parametrize("function", NOT_UFUNCS, ids=lambda function: function.__name__)
def test_every_numpy_function_refuses_to_write_into_an_array(function):
    with pytest.raises((tg.errors.TinygradError, TypeError), match=function.__name__ + "|out"):
        function(tg.tensor(np.ones((2, 2)), requires_grad=True), out=np.ones((2, 2)))
