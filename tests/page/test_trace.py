"""Where the elements of gradients come from: found for every operation there is, without a browser."""

import json

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.derivation.backward import BackwardPass
from tinygrad_bc.page import trace as module
from tinygrad_bc.page.arrays import ArrayStore
from tinygrad_bc.page.explanation import explain, page_data
from tinygrad_bc.page.flow import activations, gradient_sizes
from tinygrad_bc.page.trace import Tracer, rebuilt
from tinygrad_bc.primitive import REGISTRY


def traces_of(loss):
    backward = BackwardPass(loss)
    tracer = Tracer()
    for value, uses in backward.contributions.items():
        for use in uses:
            g = backward.cotangents[use.user]._array
            yield value, use, g, tracer.trace(use, g)


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if op.differentiable], ids=lambda op: op.name)
def test_every_operation_is_traced(op):
    rng = np.random.default_rng(0)
    traced = 0
    for sample in op.samples(rng):
        arrays = [x if isinstance(x, np.ndarray | float) else None for x in sample.inputs]
        inputs = [
            tg.tensor(x, requires_grad=True) if x is not None and np.asarray(x).dtype.kind == "f" else given
            for x, given in zip(arrays, sample.inputs)
        ]
        y = op(*inputs, **sample.params)
        if not isinstance(y, tg.Tensor) or not y.requires_grad or y.dtype != np.float64 or not y.data.size:
            continue
        with np.errstate(all="ignore"):  # at some samples, derivatives are infinite
            traces = list(traces_of((y * rng.normal(size=y.shape)).sum()))
        for _, use, g, trace in traces:
            product = use.unreduced._array
            if trace.kind == "none":
                nothing_but_rounding = product.size and np.abs(product).max() < 1e-14
                too_large = product.size * g.size > module.LARGEST
                assert not product.size or too_large or nothing_but_rounding, trace.reason
                continue
            terms = [g, product] if trace.factor is None else [np.outer(g, trace.factor), product]
            largest = max(np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in terms)
            np.testing.assert_allclose(rebuilt(trace, use, g), product, rtol=1e-11, atol=1e-11 * largest)
            traced += use.user is y
    assert traced or op.name in NO_SAMPLES_OF_FLOATS


NO_SAMPLES_OF_FLOATS = {"astype"}  # whose samples are conversions to other dtypes


def test_kinds_are_as_simple_as_they_can_be():
    x = tg.tensor(np.linspace(0.1, 1, 6).reshape(2, 3), requires_grad=True, name="x")
    w = tg.tensor(np.ones((3, 2)), requires_grad=True)
    expected = {
        "tanh": "elementwise",
        "matmul": "matmul",
        "sum": "spread",
        "matrix_transpose": "spread",
        "softmax": "sparse",
    }
    loss = (tg.softmax(tg.tanh(x) @ w, axis=1).T * np.arange(4.0).reshape(2, 2)).sum()
    found = {use.user.node.op.name: trace.kind for _, use, _, trace in traces_of(loss)}
    assert expected.items() <= found.items()


def test_a_rule_that_is_not_linear_is_not_explained():
    @tg.primitive(vjps=[lambda g, y, x: g * g * x], formula="odd({x})", samples=lambda rng: [], name="page_odd")
    def odd(x):
        return x * 1.0

    x = tg.tensor([2.0, 3.0], requires_grad=True)
    kinds = {use.user.node.op.name: trace for _, use, _, trace in traces_of((odd(x) * [0.5, 2.0]).sum())}
    assert kinds["page_odd"].kind == "none"
    assert "no terms were found" in kinds["page_odd"].reason


def test_limits_are_kept(monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 20)
    x = tg.tensor(np.ones(5), requires_grad=True)
    kinds = {use.user.node.op.name: trace for _, use, _, trace in traces_of(tg.cumsum(x, axis=0).sum())}
    assert "not traced for arrays of this size" in kinds["cumsum"].reason


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.array([0.0, 1.0, 255.0]), "u1"),
        (np.array([0.0, -0.0]), "f4"),
        (np.float32([0.1, 0.2]), "f4"),
        (np.array([0.1, np.nan, np.inf]), "f8"),
        (np.array([True, False]), "u1"),
    ],
)
def test_arrays_are_held_in_the_fewest_bytes_without_loss(array, code):
    store = ArrayStore()
    assert store.add(array) == store.add(array.copy()) == 0
    assert store.entries[0]["code"] == code


def test_large_arrays_are_thinned_and_long_integers_said_to_be_rounded():
    store = ArrayStore()
    store.add(np.random.default_rng(0).normal(size=(700, 600)))
    store.add(np.array([2**60 + 1, 3]))
    assert store.entries[0]["steps"] == [4, 3]
    assert store.entries[0]["held"] == [175, 200]
    assert store.entries[1]["rounded"]


def flow(loss):
    backward = BackwardPass(loss)
    traces = {value: [] for value in backward.contributions}
    for value, _, _, trace in traces_of(loss):
        traces[value].append(trace)
    return gradient_sizes(backward), activations(backward, traces)


@pytest.mark.parametrize("samples_first", [True, False])
def test_dead_and_saturated_units_are_found_whichever_way_the_samples_lie(samples_first):
    rng = np.random.default_rng(0)
    X, W = rng.uniform(0.5, 1, size=(7, 3)), rng.uniform(0.5, 1, size=(3, 4))
    W[:, 2] = -1.0  # dead under relu
    weights = tg.tensor(W if samples_first else W.T.copy(), requires_grad=True, name="W")
    hidden = tg.relu(X @ weights if samples_first else weights @ X.T)
    _, rows = flow((tg.tanh(hidden * 100.0)).sum())
    relu, tanh = rows
    assert (relu["units"], relu["dead"], relu["which"]) == (4, 1, [2])
    assert tanh["saturated"] == pytest.approx(0.75)  # all but those of the dead unit, where tanh(0) is steep


def test_a_users_activation_counts_and_exp_does_not():
    @tg.primitive(
        vjps=[lambda g, y, x: g * (abs(x) < 1)], formula="hard({x})", samples=lambda rng: [], name="page_hard"
    )
    def hard(x):
        return np.clip(x, -1, 1)

    x = tg.tensor(np.array([-3.0, 0.0, 0.5, 2.0]), requires_grad=True)
    _, rows = flow(tg.exp(hard(x)).sum())
    assert [row["flat"] for row in rows] == [0.5]


def test_gradients_that_vanish_or_are_broken_are_flagged():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    sizes, _ = flow((x * 0.0).sum() + (x * 1e-200).sum())
    assert sizes[0]["rms"] == 1.0
    assert all(row["broken"] == 0 for row in sizes)
    assert sizes[-1]["rms"] == pytest.approx(1e-200)


def test_the_data_is_plain_json_and_the_same_every_time():
    def page():
        W = tg.tensor([[1.0, 2.0]], requires_grad=True, name="W")
        return json.dumps(page_data(explain((W * W).sum()).derivation), allow_nan=False)

    assert page() == page()
