"""Layers, losses and utilities against PyTorch's modules of the same names, to 1e-10."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn

torch = pytest.importorskip("torch", reason="PyTorch is the other implementation that ours is compared with")

THEIRS = torch.nn
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def pair(make):
    """Return our model, with the values of theirs taken over, and theirs, in float64."""
    ours = make(nn, {"generator": 0})
    theirs = make(THEIRS, {}).double()
    with torch.no_grad():
        for p in theirs.parameters():  # the weights of a normalisation are all 1 at first
            p += 0.3 * torch.rand(p.shape, dtype=torch.float64)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def compare(ours, theirs, *inputs):
    """Compare a forward and a backward pass, the cotangent being random, and all gradients and buffers."""
    mine = [tg.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    others = [torch.tensor(x, requires_grad=x.dtype.kind == "f") for x in inputs]
    y, expected = ours(*mine), theirs(*others)
    np.testing.assert_allclose(y.data, expected.detach().numpy(), **CLOSE)
    cotangent = np.random.default_rng(7).normal(size=y.shape)
    ours.zero_grad()
    theirs.zero_grad()
    y.backward(cotangent)
    expected.backward(torch.tensor(cotangent))
    gradients = {name: p.grad for name, p in ours.named_parameters()}
    for name, p in theirs.named_parameters():
        np.testing.assert_allclose(gradients.pop(name).data, p.grad.numpy(), err_msg=name, **CLOSE)
    assert not gradients
    for x, other in zip(mine, others):
        if x.requires_grad and other.grad is not None:
            np.testing.assert_allclose(x.grad.data, other.grad.numpy(), **CLOSE)
    for name, buffer in theirs.named_buffers():
        np.testing.assert_allclose(dict(ours.named_buffers())[name], buffer.numpy(), err_msg=name, **CLOSE)


LAYERS = {
    "linear": (lambda n, g: n.Linear(4, 3, **g), (5, 4)),
    "linear without bias": (lambda n, g: n.Linear(4, 3, bias=False, **g), (2, 5, 4)),
    "conv1d": (lambda n, g: n.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2, **g), (2, 4, 9)),
    "conv2d": (lambda n, g: n.Conv2d(2, 3, (3, 2), padding=(1, 0), **g), (2, 2, 6, 5)),
    "conv2d same": (lambda n, g: n.Conv2d(2, 3, 3, padding="same", bias=False, **g), (2, 2, 6, 5)),
    "max_pool1d": (lambda n, g: n.MaxPool1d(3, 2, 1, ceil_mode=True), (2, 3, 8)),
    "max_pool2d": (lambda n, g: n.MaxPool2d(2), (2, 3, 6, 5)),
    "avg_pool1d": (lambda n, g: n.AvgPool1d(3, 2, 1, count_include_pad=False), (2, 3, 8)),
    "avg_pool2d": (lambda n, g: n.AvgPool2d(2, 1, divisor_override=3), (2, 3, 6, 5)),
    "flatten": (lambda n, g: n.Flatten(), (2, 3, 4)),
    "flatten some": (lambda n, g: n.Flatten(0, 1), (2, 3, 4)),
    "layer_norm": (lambda n, g: n.LayerNorm(4), (5, 4)),
    "layer_norm of two axes": (lambda n, g: n.LayerNorm((3, 4), eps=0.1, bias=False), (2, 3, 4)),
    "layer_norm plain": (lambda n, g: n.LayerNorm(4, elementwise_affine=False), (5, 4)),
    "identity": (lambda n, g: n.Identity(), (3,)),
    "relu": (lambda n, g: n.ReLU(), (5, 4)),
    "leaky_relu": (lambda n, g: n.LeakyReLU(0.2), (5, 4)),
    "elu": (lambda n, g: n.ELU(0.7), (5, 4)),
    "gelu": (lambda n, g: n.GELU(), (5, 4)),
    "gelu tanh": (lambda n, g: n.GELU("tanh"), (5, 4)),
    "silu": (lambda n, g: n.SiLU(), (5, 4)),
    "sigmoid": (lambda n, g: n.Sigmoid(), (5, 4)),
    "logsigmoid": (lambda n, g: n.LogSigmoid(), (5, 4)),
    "tanh": (lambda n, g: n.Tanh(), (5, 4)),
    "softplus": (lambda n, g: n.Softplus(2.0, 1.0), (5, 4)),
    "softmax": (lambda n, g: n.Softmax(dim=0), (5, 4)),
    "log_softmax": (lambda n, g: n.LogSoftmax(dim=-1), (5, 4)),
    "dropout in use": (lambda n, g: n.Dropout(0.4, **g).eval(), (5, 4)),
    "dropout of nothing": (lambda n, g: n.Dropout(0.0, **g), (5, 4)),
    "dropout of everything": (lambda n, g: n.Dropout(1.0, **g), (5, 4)),
    "nested": (
        lambda n, g: n.Sequential(
            n.Conv2d(1, 2, 3, **g),
            n.BatchNorm2d(2),
            n.ReLU(),
            n.Sequential(n.MaxPool2d(2), n.Flatten(), n.Linear(8, 3, **g)),
            n.LayerNorm(3),
        ),
        (4, 1, 6, 6),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_are_pytorchs(name):
    make, shape = LAYERS[name]
    ours, theirs = pair(make)
    compare(ours, theirs, np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding_is_pytorchs(padding_idx):
    ours, theirs = pair(lambda n, g: n.Embedding(5, 3, padding_idx, **g))
    compare(ours, theirs, np.array([[0, 2, 4], [2, 2, 1]]))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda n, g: n.BatchNorm1d(3), (6, 3)),
        (lambda n, g: n.BatchNorm1d(3, momentum=None), (6, 3)),
        (lambda n, g: n.BatchNorm1d(3, momentum=0.7, affine=False, eps=0.01), (4, 3, 5)),
        (lambda n, g: n.BatchNorm1d(3, track_running_stats=False), (6, 3)),
        (lambda n, g: n.BatchNorm2d(3), (4, 3, 2, 5)),
    ],
    ids=["1d", "cumulative", "1d with length", "untracked", "2d"],
)
def test_running_statistics_are_pytorchs_over_20_steps_in_training_and_use(make, shape):
    ours, theirs = pair(make)
    rng = np.random.default_rng(0)
    for step in range(20):
        compare(ours.train(), theirs.train(), rng.normal(step, 1 + step, size=shape))
        compare(ours.eval(), theirs.eval(), rng.normal(size=shape))


def targets(kind, shape):
    rng = np.random.default_rng(1)
    if kind == "classes":
        return rng.integers(0, shape[1], size=(shape[0], *shape[2:]))
    return rng.uniform(size=shape)


W = np.array([0.5, 1.0, 2.0])
LOSSES = {
    "mse": (lambda n, a: n.MSELoss(), "numbers"),
    "mse sum": (lambda n, a: n.MSELoss(reduction="sum"), "numbers"),
    "mse none": (lambda n, a: n.MSELoss(reduction="none"), "numbers"),
    "l1": (lambda n, a: n.L1Loss(), "numbers"),
    "smooth_l1": (lambda n, a: n.SmoothL1Loss(beta=0.3), "numbers"),
    "huber": (lambda n, a: n.HuberLoss(delta=0.3), "numbers"),
    "bce": (lambda n, a: n.BCELoss(a(W), reduction="sum"), "probabilities"),
    "bce with logits": (lambda n, a: n.BCEWithLogitsLoss(a(W), pos_weight=a(W[::-1].copy())), "numbers"),
    "nll": (lambda n, a: n.NLLLoss(a(W), ignore_index=1), "classes"),
    "cross entropy": (lambda n, a: n.CrossEntropyLoss(), "classes"),
    "cross entropy smoothed": (lambda n, a: n.CrossEntropyLoss(a(W), ignore_index=1, label_smoothing=0.2), "classes"),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_pytorchs(name):
    make, kind = LOSSES[name]
    ours, theirs = make(nn, np.array), make(THEIRS, torch.tensor)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    rng = np.random.default_rng(0)
    x = rng.uniform(0.1, 0.9, size=(8, 3)) if kind == "probabilities" else rng.normal(size=(8, 3))
    x, y = tg.tensor(x, requires_grad=True), targets(kind, (8, 3))
    other = torch.tensor(x.data, requires_grad=True)
    mine, expected = ours(x, y), theirs(other, torch.tensor(y))
    np.testing.assert_allclose(mine.data, expected.detach().numpy(), **CLOSE)
    mine.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(x.grad.data, other.grad.numpy(), **CLOSE)


def test_a_state_goes_to_pytorch_and_comes_back():
    make = LAYERS["nested"][0]
    ours, theirs = make(nn, {"generator": 3}), make(THEIRS, {}).double()
    ours(np.random.default_rng(0).normal(size=(4, 1, 6, 6)))  # so that the running statistics are some
    theirs.load_state_dict({name: torch.tensor(array) for name, array in ours.state_dict().items()})
    fresh = make(nn, {"generator": 4})
    fresh.load_state_dict({name: t.numpy() for name, t in theirs.state_dict().items()})
    for name, array in ours.state_dict().items():
        np.testing.assert_array_equal(fresh.state_dict()[name], array, err_msg=name, strict=True)


def test_parameters_come_in_pytorchs_order():
    def model(n, parameter, g):
        class Model(n.Module):
            def __init__(self):
                super().__init__()
                self.inner = n.Linear(2, 3, **g)
                self.scale = parameter
                self.tied = n.Linear(2, 3, **g)
                self.tied.weight = self.inner.weight

        return Model()

    ours = model(nn, tg.tensor([1.0], requires_grad=True), {"generator": 0})
    theirs = model(THEIRS, THEIRS.Parameter(torch.ones(1)), {})
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, np.inf])
@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_by_norm_is_pytorchs(norm_type, max_norm):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    ours = [tg.tensor(x, requires_grad=True) for x in arrays]
    theirs = [torch.tensor(x, requires_grad=True) for x in arrays]
    for p, q, x in zip(ours, theirs, arrays):
        p.grad, q.grad = x**2, torch.tensor(x**2)
    total = nn.utils.clip_grad_norm_(ours, max_norm, norm_type)
    np.testing.assert_allclose(total, torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type).item(), **CLOSE)
    for p, q in zip(ours, theirs):
        np.testing.assert_allclose(p.grad.data, q.grad.numpy(), **CLOSE)


def test_vectors_of_parameters_are_pytorchs():
    ours, theirs = pair(lambda n, g: n.Sequential(n.Linear(3, 2, **g), n.Linear(2, 1, **g)))
    vector = nn.utils.parameters_to_vector(ours.parameters())
    np.testing.assert_array_equal(
        vector.data, torch.nn.utils.parameters_to_vector(theirs.parameters()).detach().numpy()
    )


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (4, 2, 3), (6, 2, 3, 4)])
def test_fans_and_gains_are_pytorchs(shape):
    from torch.nn.init import _calculate_fan_in_and_fan_out

    from tinygrad_bc.nn.init import _fans

    assert _fans(tg.tensor(np.ones(shape))) == _calculate_fan_in_and_fan_out(torch.ones(shape))
    for name, param in [("linear", None), ("conv1d", None), ("conv2d", None), ("sigmoid", None), ("tanh", None)]:
        assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
    for name, param in [("relu", None), ("leaky_relu", None), ("leaky_relu", 0.3), ("leaky_relu", 0), ("selu", None)]:
        assert nn.init.calculate_gain(name, param) == torch.nn.init.calculate_gain(name, param)
