"""The NumPy file of a derivation: it runs alone, trains, and gives the engine's gradients."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.derivation import derive
from tinygrad_bc.errors import SourceError
from tinygrad_bc.primitive import REGISTRY

GOLDEN = Path(__file__).parent / "classifier.py.txt"


def leaf(*shape, seed=0, name=None, dtype=np.float64):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype), requires_grad=True, name=name)


def classifier(samples=5, dtype=np.float64):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2, samples)).astype(dtype)
    Y = (X[:1] * X[1:] > 0).astype(dtype)
    W1, b1, W2, b2 = (
        leaf(3, 2, dtype=dtype),
        leaf(3, 1, seed=1, dtype=dtype),
        leaf(1, 3, seed=2, dtype=dtype),
        leaf(1, 1, seed=3, dtype=dtype),
    )

    def loss():
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = tg.sigmoid(Z2)
        return (-(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()).named("Loss")

    return loss, X, Y, [W1, b1, W2, b2]


def loaded(source):
    assert "tinygrad_bc" not in source
    names = {}
    exec(compile(source, "<derived>", "exec"), names)
    return names


def test_the_classifier_reads_as_written_by_hand():
    source = derive(classifier()[0]()).source()
    assert source == GOLDEN.read_text(encoding="utf-8")


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-10), (np.float32, 1e-3)])
def test_training_with_it_is_training_with_the_engine(dtype, rtol):
    loss, X, Y, parameters = classifier(dtype=dtype)
    value_and_grad = loaded(derive(loss()).source())["value_and_grad"]
    arrays = {p: x.data.copy() for p, x in zip(["W1", "b1", "W2", "b2"], parameters)}
    for _ in range(200):
        value, gradients = value_and_grad(X, Y, **arrays)
        assert value.dtype == dtype
        arrays = {name: x - 0.1 * gradients[name] for name, x in arrays.items()}
        Loss = loss()
        for p, g in zip(parameters, tg.grad(Loss, parameters)):
            with tg.no_grad():
                p -= 0.1 * g
        np.testing.assert_allclose(value, Loss.data, rtol=rtol)
    for p, x in zip(parameters, arrays.values()):
        np.testing.assert_allclose(x, p.data, rtol=rtol, atol=rtol)


def test_it_takes_another_number_of_samples():
    value_and_grad = loaded(derive(classifier(5)[0]()).source())["value_and_grad"]
    loss, X, Y, parameters = classifier(11)
    value, gradients = value_and_grad(X, Y, *(p.data for p in parameters))
    Loss = loss()
    np.testing.assert_allclose(value, Loss.data, rtol=1e-14)
    for g, expected in zip(gradients.values(), tg.grad(Loss, parameters)):
        np.testing.assert_allclose(g, expected.data, rtol=1e-12, atol=1e-16)


def test_it_runs_alone(tmp_path):
    derive(classifier()[0]()).save(tmp_path / "loss.py")
    use = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import numpy as np, loss\n"
        "X, Y = np.ones((2, 4)), np.array([[0., 1., 1., 0.]])\n"
        "parameters = [np.ones(shape) for shape in ((3, 2), (3, 1), (1, 3), (1, 1))]\n"
        "value, gradients = loss.value_and_grad(X, Y, *parameters)\n"
        "assert not any(name.startswith('tinygrad_bc') for name in sys.modules)\n"
        "print(value, gradients['W1'].shape)"
    )
    shown = subprocess.run([sys.executable, "-W", "error", "-c", use], capture_output=True, text=True, check=False)
    assert shown.stdout.endswith("(3, 2)\n"), shown.stderr


def test_a_constant_that_happens_to_be_the_same_everywhere_stays_an_argument():
    rng = np.random.default_rng(0)
    w, targets, scale = leaf(3, name="w"), tg.tensor(np.ones(4)), tg.tensor(2.0)
    X = rng.normal(size=(4, 3))
    Loss = ((X @ w - targets) ** 2 * scale).mean()
    derivation = derive(Loss)
    assert all(name in " ".join(map(str, derivation.composed)) for name in ("targets", "scale"))
    value_and_grad = loaded(derivation.source())["value_and_grad"]
    other = rng.normal(size=4)
    _, gradients = value_and_grad(targets=other, X=X, scale=np.array(3.0), w=w.data)
    expected = 2 * 3.0 * X.T @ (X @ w.data - other) / 4
    np.testing.assert_allclose(gradients["w"], expected, rtol=1e-13)


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if op.differentiable], ids=lambda op: op.name)
def test_every_operation(op, weighted):
    written = 0
    for sample in op.samples(np.random.default_rng(0)):
        output = weighted(op, sample)
        if output is None:
            continue
        derivation = derive(output)
        names = loaded(derivation.source())
        code = names["value_and_grad"].__code__
        arguments = code.co_varnames[: code.co_argcount]
        graph = derivation.backward.graph
        data = {graph.label(x).replace("%", "v"): x.data for x in graph if graph.node(x) is None}
        with np.errstate(all="ignore"):
            value, gradients = names["value_and_grad"](*(data[name] for name in arguments))
        np.testing.assert_allclose(value, output.data, rtol=1e-12)
        for value, expected in zip(derivation.backward.wrt, tg.grad(output, derivation.backward.wrt)):
            scale = np.abs(expected.data).max(initial=0)
            found = gradients[graph.label(value)]
            np.testing.assert_allclose(found, expected.data, rtol=1e-9, atol=1e-11 * scale)
        written += 1
    assert written


def test_a_deep_network():
    x = leaf(3, name="x")
    y = x
    for _ in range(1_000):
        y = tg.tanh(y * 0.9 + 0.1) + x
    total = y.sum()
    names = loaded(derive(total).source())
    _, gradients = names["value_and_grad"](x.data)
    np.testing.assert_allclose(gradients["x"], tg.grad(total, x)[0].data, rtol=1e-9)


def test_an_operation_without_source_is_refused():
    space = {"np": np, "tg": tg}
    exec(
        "@tg.primitive(formula='odd({x})', vjps=[lambda g, y, x: 3 * g * x * x], samples=lambda rng: [])\n"
        "def odd(x):\n    return x * x * x\n",
        space,
    )
    try:
        x = leaf(3, name="x")
        derivation = derive(space["odd"](x).sum())
        assert "odd" in str(derivation)  # the formulas need no source
        with pytest.raises(SourceError, match="odd"):
            derivation.source()
    finally:
        del REGISTRY["odd"]
