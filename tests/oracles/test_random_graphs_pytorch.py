"""The random graphs of ``test_random_graphs.py``, with gradients from PyTorch's autograd."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

torch = pytest.importorskip("torch", reason="PyTorch's autograd is the other implementation that ours is compared with")

_spec = importlib.util.spec_from_file_location("random_graphs", Path(__file__).parents[1] / "test_random_graphs.py")
random_graphs = sys.modules["random_graphs"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_graphs)

# Here (N,) meets (N, 1) on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.*computed for every pair:tinygrad_bc.errors.GradientWarning")


def tensor_of(array):
    return torch.from_numpy(np.array(array))


def indexed(x, key):
    """PyTorch has no negative steps."""
    if isinstance(key, slice) and key.step is not None and key.step < 0:
        return x.flip(0)[:: -key.step]
    if isinstance(key, tuple):
        steps = [part for part in key if isinstance(part, slice) and part.step is not None and part.step < 0]
        if steps:
            assert key[0] is steps[0]
            assert len(steps) == 1
            return indexed(x, key[0])[(slice(None), *key[1:])]
        return x[tuple(torch.from_numpy(part.copy()) if isinstance(part, np.ndarray) else part for part in key)]
    return x[torch.from_numpy(key.copy()) if isinstance(key, np.ndarray) else key]


def axes_of(x, axis):
    return tuple(range(x.ndim)) if axis is None else axis


def over_axes(function):
    return lambda x, axis, keepdims: function(x, axes_of(x, axis), keepdims) if x.ndim else x


def variance(x, axis, keepdims):
    return torch.var(x, axes_of(x, axis), correction=0, keepdim=keepdims) if x.ndim else x * 0


def scattered(x, index, length):
    return torch.zeros((length, *x.shape[1:]), dtype=x.dtype).scatter_add(0, torch.from_numpy(index), x)


PYTORCH = {
    "tanh": torch.tanh,
    "sin": torch.sin,
    "sigmoid": torch.sigmoid,
    "atan": torch.atan,
    "log of square": lambda x: torch.log(x * x + 1),
    "root of square": lambda x: torch.sqrt(x * x + 1),
    "softplus": torch.nn.functional.softplus,
    "relu": torch.relu,
    "abs": torch.abs,
    "number": lambda x, number: number * x + number,
    "constant": lambda x, array: x * tensor_of(array),
    "constant first": lambda x, array: tensor_of(array).to(x.dtype) - x,  # PyTorch refuses to subtract from booleans
    "add": torch.add,
    "subtract": torch.sub,
    "multiply": torch.mul,
    "divide": lambda a, b: a / (b * b + 1),
    "maximum": torch.maximum,
    "logaddexp": torch.logaddexp,
    "where": lambda a, b, mask: torch.where(tensor_of(mask), a, b),
    "matmul": torch.matmul,
    "gram": lambda x: x @ x.T,
    "einsum": lambda a, b: torch.einsum("ij,kj->ki", a, b),
    "sum": over_axes(torch.sum),
    "mean": over_axes(torch.mean),
    "max": over_axes(torch.amax),
    "logsumexp": over_axes(torch.logsumexp),
    "var": variance,
    "prod": torch.prod,
    "softmax": torch.softmax,
    "cumsum": torch.cumsum,
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, axes: x.permute(axes),
    "flip": lambda x, axis: x.flip(axis),
    "roll": lambda x, shift, axis: x.roll(shift, axis),
    "broadcast": lambda x, shape: x.expand(shape),
    "unsqueeze": lambda x, axis: x.unsqueeze(axis),
    "getitem": lambda x, key: indexed(x, key),
    "take along axis": lambda x, index, axis: torch.take_along_dim(x, torch.from_numpy(index), axis),
    "scatter": scattered,
    "concatenate": lambda *xs, axis: torch.cat(xs, axis),
    "stack": lambda *xs, axis: torch.stack(xs, axis),
    "chunk": lambda x, count, part, axis: torch.chunk(x, count, axis)[part],
    "tile": lambda x, repeats: x.tile(repeats),
    "tril": torch.tril,
}


def pytorchs(graph):
    """The loss and the gradients by PyTorch; zeros where it says that there is none."""
    leaves = [torch.tensor(x, requires_grad=True) for x in graph.leaves]
    weighted = graph._replace(weights={i: tensor_of(w) for i, w in graph.weights.items()})
    loss = random_graphs.loss_of(weighted, random_graphs.evaluated(graph, leaves, PYTORCH), lambda x: x.sum())
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    return loss.item(), [np.zeros(x.shape) if g is None else g.numpy() for x, g in zip(leaves, gradients, strict=True)]


def assert_pytorch_agrees(graph):
    _, expected = pytorchs(graph)
    ours = random_graphs.our_gradients(graph)
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12 * random_graphs.scale_of(expected))


@random_graphs.on_traps
def test_traps(graph):
    assert_pytorch_agrees(graph)


@random_graphs.repeatable(500)
@given(random_graphs.graphs())
def test_gradients_agree_with_pytorch(graph):
    assert_pytorch_agrees(graph)


@random_graphs.repeatable(200)
@given(random_graphs.graphs())
def test_values_agree_with_pytorch_and_with_forward_mode(graph):
    loss, _ = pytorchs(graph)
    directions = [np.zeros(x.shape) for x in graph.leaves]
    assert random_graphs.forward_mode(graph, graph.leaves, directions)[0] == pytest.approx(loss, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("mistake", random_graphs.WRONG)
def test_a_wrong_rule_is_noticed(mistake):
    name, position, rule, trap = random_graphs.WRONG[mistake]
    graph = random_graphs.TRAPS[trap]
    assert_pytorch_agrees(graph)
    with random_graphs.wrong_rule(name, position, rule), pytest.raises(AssertionError):
        assert_pytorch_agrees(graph)
