"""What a captured function is called with, returns, changes and reads: over several calls the same as without."""

import importlib.util
import math
from collections import namedtuple
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc import optim

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)

Point = namedtuple("Point", "x y")


@pytest.fixture(params=list(twins.WAYS))
def way(request):
    return request.param


def rng(seed=0):
    return np.random.default_rng(seed)


def tensor(*shape, seed=0, requires_grad=True, name=None):
    return tg.tensor(rng(seed).normal(size=shape), requires_grad=requires_grad, name=name)


def world_of(step, **things):
    return lambda: twins.world(step=step, **things)


# --- gradients and updates --------------------------------------------------------------------------------


def test_updates_by_hand(way):
    def make():
        W, b = tensor(3, 2, seed=1), tensor(2, seed=2)

        def step(x, y):
            nonlocal W, b
            loss = (x @ W + b - y).square().mean()
            dloss_W, dloss_b = tg.grad(loss, [W, b])
            with tg.no_grad():
                W -= 0.1 * dloss_W
                b *= 0.9
                b /= 1 + dloss_b.square()
            return loss

        return twins.world(W=W, b=b, step=step)

    calls = [lambda k=k: (tensor(5, 3, seed=k), tensor(5, 2, seed=k + 9)) for k in range(5)]
    twins.assert_twins_agree(make, way, calls, programs=1)


def test_two_backward_passes_with_an_update_between(way):
    def make():
        W = tensor(3)

        def step():
            for _ in range(2):
                W.grad = None
                loss = W.square().sum() + W.prod()
                loss.backward()
                with tg.no_grad():
                    change = 0.1 * W.grad
                    W.__isub__(change)
            return loss, W.grad

        return twins.world(W=W, step=step)

    twins.assert_twins_agree(make, way, programs=1)


def test_parameters_that_swap(way):
    def make():
        V, W = tensor(3, seed=1), tensor(3, seed=2)

        def step():
            old = V.clone(), W.clone()
            with tg.no_grad():
                V.__imul__(0).__iadd__(old[1])
                W.__imul__(0).__iadd__(old[0])
            return old

        return twins.world(V=V, W=W, step=step)

    twins.assert_twins_agree(make, way, programs=1)


def test_derivatives_of_derivatives(way):
    def make():
        W = tensor(3)

        def step(x):
            W.grad = None
            loss = (W * x).sum() ** 3
            (g,) = tg.grad(loss, [W], create_graph=True)
            (loss + g.square().sum()).backward()
            with tg.no_grad():
                W.__isub__(0.001 * W.grad)
            return loss

        return twins.world(W=W, step=step)

    twins.assert_twins_agree(make, way, [lambda k=k: (tensor(3, seed=k),) for k in range(4)], programs=1)


def test_value_and_grad_vjp_and_jacobian(way):
    def make():
        W = tensor(3, seed=1)

        def step(x):
            value, gradient = tg.value_and_grad(lambda w: (w * x).square().sum())(W)
            products = tg.hvp(lambda w: (w**3 * x).sum(), W, x), tg.jvp(lambda w: w.sin() * x, W, x)
            return value, gradient, tg.jacobian(lambda w: w.exp() * x, W), tg.vjp(tg.exp, W, x), products

        return twins.world(W=W, step=step)

    between = {1: lambda w: w.W.__setattr__("data", np.ones(3)), 2: lambda w: w.W.data.__imul__(2)}
    calls = [lambda k=k: (tensor(3, seed=k),) for k in range(4)]
    twins.assert_twins_agree(make, way, calls, between, programs=1, exact=False)


def test_parameters_as_arguments(way):
    def step(W, x):
        W.grad = None
        loss = (W * x).square().sum()
        loss.backward()
        with tg.no_grad():
            W -= 0.1 * W.grad
        return loss, W

    calls = [lambda k=k: (tensor(3, seed=k), tensor(3, seed=9, requires_grad=False)) for k in range(4)]
    twins.assert_twins_agree(world_of(step), way, calls, programs=1)


def test_gradients_of_arguments_are_added_to_theirs(way):
    def given_one(k):
        W = tensor(3, seed=k)
        W.grad = None if k % 2 else np.full(3, float(k))
        return W

    calls = [lambda k=k: (given_one(k),) for k in range(5)]
    twins.assert_twins_agree(world_of(lambda W: W.square().sum().backward()), way, calls, programs=2)


def test_gradients_that_share_numbers_are_two_arrays(way):
    with twins.compiled_for(way):
        V, W = tensor(3, seed=1), tensor(3, seed=2)

        @tg.compile(**twins.WAYS[way])
        def step():
            V.grad = W.grad = None
            (V + W).sum().backward()

        for _ in range(2):
            step()
            with tg.no_grad():
                V.grad *= 2
            np.testing.assert_array_equal(W.grad.data, np.ones(3))


def test_blocks_without_gradient(way):
    def make():
        W = tensor(3)

        def step(x):
            with tg.no_grad():
                scale = (W * x).abs().max()
                with tg.enable_grad():
                    loss = (W * x / scale).square().sum()
            (g,) = tg.grad(loss, [W])
            return scale, g, tg.is_grad_enabled()

        return twins.world(W=W, step=step)

    twins.assert_twins_agree(make, way, [lambda k=k: (tensor(3, seed=k),) for k in range(3)], programs=1)


def test_called_inside_no_grad_and_outside(way):
    with twins.compiled_for(way):
        W = tensor(3)
        enabled = tg.compile(lambda: ((W * 2).sum(), tg.is_grad_enabled()))
        assert enabled()[1]
        with tg.no_grad():
            assert not enabled()[1]
        assert [enabled()[1], len(enabled.programs)] == [True, 2]


# --- arguments --------------------------------------------------------------------------------------------


def test_arguments_of_all_kinds(way):
    def step(frame, nested, row, *more, factor=1.0, flag=False, word="a"):
        y = frame @ nested["W"] if isinstance(frame, tg.Tensor) else tg.tensor(frame.to_numpy()) @ nested["W"]
        y = y * row[0].sum() + sum(more)
        return y * factor if flag and word == "a" else y

    def call(k):
        frame = pd.DataFrame(np.asfortranarray(rng(k).normal(size=(4, 2))), columns=["a", "b"])
        nested = {"W": tensor(2, 3, seed=k), "other": (1, "x", None)}
        return frame, nested, [rng(k).normal(size=3)[::-1], 2], float(k), 2.0

    twins.assert_twins_agree(world_of(step), way, [lambda k=k: call(k) for k in range(4)], programs=1, exact=False)


def test_a_tensor_in_two_places_and_two_tensors(way):
    a, b = tensor(3, seed=1, requires_grad=False), tensor(3, seed=2, requires_grad=False)
    calls = [lambda: (a, a), lambda: (a, b), lambda: (b, a), lambda: (b, b)]
    twins.assert_twins_agree(world_of(lambda x, y: 2 * x + y), way, calls, programs=2)


def test_keyword_arguments_in_another_order(way):
    with twins.compiled_for(way):
        quotient = tg.compile(lambda first, second: first / second, **twins.WAYS[way])
        a, b = tensor(3, seed=1), tensor(3, seed=2)
        expected = a.data / b.data
        for result in (quotient(a, b), quotient(first=a, second=b), quotient(second=b, first=a), quotient(a, second=b)):
            np.testing.assert_allclose(result.data, expected, rtol=1e-12)


@pytest.mark.parametrize(
    "compute",
    [
        lambda x, c: x * c + c / x - c**2,
        lambda x, c: c**x + x**c,
        lambda x, c: tg.clip(x, -c, c),
        lambda x, c: tg.maximum(x, c) + tg.where(x > c, x, c),
        lambda x, c: x * np.sqrt(c) + np.log(abs(c)),
        lambda x, c: x * (c // 2) + c % 2 + (7 // c) * (7 % c),
        lambda x, c: x * max(c, 0.5) + sum([c, c]),
        lambda x, c: x * (np.arange(3.0) * c),
        lambda x, c: (c, -c, c * 2 + 1, x),
    ],
)
def test_numbers_are_others_at_every_call(compute, way):
    numbers = [1.5, 0.25, 1.5, 3.0, 0.75]
    calls = [lambda c=c: (tg.tensor(rng(1).uniform(0.1, 2, size=3)), c) for c in numbers]
    twins.assert_twins_agree(world_of(compute), way, calls)


def test_a_decision_by_a_number_is_made_at_every_call(way):
    def step(x, c):
        if c > 1:
            return x * c
        return x - 1 if c == 0.5 else -x

    calls = [lambda c=c: (tensor(3), c) for c in (2.0, 0.5, 3.0, 0.1, 0.5, 4.0, float("nan"))]
    twins.assert_twins_agree(world_of(step), way, calls, programs=3)


def test_a_number_does_not_widen_single_precision(way):
    calls = [lambda c=c: (tg.tensor(rng(1).normal(size=3).astype(np.float32)), c) for c in (0.1, 0.2, 0.3)]
    twins.assert_twins_agree(world_of(lambda x, c: x * c + c), way, calls, programs=1)


def test_new_shapes_types_and_structures_are_captured_again(way):
    calls = [
        lambda: (tensor(3),),
        lambda: (tensor(2, 3),),
        lambda: (tg.tensor([1, 2]),),
        lambda: (tg.tensor(np.ones(3, np.float32)),),
        lambda: (tensor(3, requires_grad=False),),
        lambda: (tensor(3, seed=5),),
        lambda: (tensor(0),),
        lambda: (tensor(),),
    ]
    twins.assert_twins_agree(world_of(lambda x: (2 * x).sum()), way, calls, programs=7)


def test_arrays_in_any_layout(way):
    with twins.compiled_for(way):
        total = tg.compile(lambda x: (x * x).sum(axis=0), **twins.WAYS[way])
        X = rng().normal(size=(4, 6))
        for array in (X[:, ::2], X[:, 3:], X[:, 2::-1], np.asfortranarray(X[:, :3]), X[:, :3].copy()):
            np.testing.assert_allclose(total(array).data, (array * array).sum(axis=0), rtol=1e-12)
        X += 1  # which is no longer what it was, though it is the same array
        np.testing.assert_allclose(total(X[:, 3:]).data, (X[:, 3:] ** 2).sum(axis=0), rtol=1e-12)


# --- results ----------------------------------------------------------------------------------------------


def test_results_of_all_kinds(way):
    def make():
        W = tensor(3, name="W")

        def step(x, c):
            y = W * x
            return {"y": y, "none": None, "nested": [Point(y, x), (W, c)], "again": y, "text": "a", "number": 3}

        return twins.world(W=W, step=step)

    calls = [lambda k=k: (tensor(3, seed=k), k / 2) for k in range(4)]
    twins.assert_twins_agree(make, way, calls, programs=1)


@pytest.mark.parametrize("step", [lambda: None, lambda: 3, lambda: (), lambda: {"a": [1]}])
def test_functions_that_compute_nothing(step, way):
    twins.assert_twins_agree(world_of(step), way, calls=3)


def test_an_input_and_a_parameter_are_returned_themselves(way):
    with twins.compiled_for(way):
        W = tensor(3)
        both = tg.compile(lambda x: (x, W), **twins.WAYS[way])
        for k in range(3):
            x = tensor(3, seed=k)
            first, second = both(x)
            assert first is x
            assert second is W


def test_results_belong_to_the_caller(way):
    with twins.compiled_for(way):
        W = tensor(3)
        step = tg.compile(lambda x: (W * x, W * x, x.reshape(3, 1), tg.tensor([1.0, 2.0])), **twins.WAYS[way])
        x = tensor(3, seed=1)
        kept = [step(x) for _ in range(3)]
        expected = [y.data.copy() for y in kept[0]]
        for y in kept[1]:
            y.data[...] = 7.0
        for row in (kept[0], kept[2], step(x)):
            for y, right in zip(row, expected):
                np.testing.assert_array_equal(y.data, right)


def test_tensors_made_inside_are_new_at_every_call(way):
    def make():
        W = tensor(3)

        def step():
            total = tg.tensor(np.zeros(3))
            with tg.no_grad():
                total += W
            return total

        return twins.world(W=W, step=step)

    twins.assert_twins_agree(make, way, programs=1)


def test_an_argument_updated_in_place_and_returned(way):
    def step(x):
        with tg.no_grad():
            x -= 1
        return x

    twins.assert_twins_agree(world_of(step), way, [lambda k=k: (tensor(3, seed=k),) for k in range(3)], programs=1)
    with twins.compiled_for(way):
        compiled = tg.compile(step, **twins.WAYS[way])
        for _ in range(3):
            np.testing.assert_array_equal(compiled(np.ones(3)).data, np.zeros(3))


# --- what is read from outside ----------------------------------------------------------------------------


class Settings:
    def __init__(self):
        self.rate, self.W, self.name = 0.5, tensor(3, seed=4), "a"


def make_reader():
    number, shape, table, words = 2.0, (3, 1), {"a": 1.0}, [1, 2]
    X, index, W, own = rng(1).normal(size=(4, 3)), np.array([0, 1]), tensor(3, seed=2), Settings()

    def step():
        y = (X @ W)[index].sum() * number + (W * own.rate).reshape(shape).sum() * table["a"] + (own.W * W).sum()
        return (y + (X.T @ X).sum() if own.name == "a" else -y) * words[0]

    def assign(**values):
        nonlocal number, shape, table, words, X, W
        number, shape, table = values.get("number", number), values.get("shape", shape), values.get("table", table)
        words, X, W = values.get("words", words), values.get("X", X), values.get("W", W)

    return twins.world(
        step=step, assign=assign, X=X, index=index, W=W, own=vars(own), table=table, words=words, settings=lambda: own
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.assign(number=3.0),
        lambda w: w.assign(number=2),
        lambda w: w.assign(number=np.float32(2.5)),
        lambda w: w.assign(number=np.array([1.0, 2.0])),
        lambda w: w.assign(number=tensor(2, seed=6)),
        lambda w: w.assign(shape=(1, 3)),
        lambda w: w.assign(table={"a": 4.0}),
        lambda w: w.table.update(a=5.0),
        lambda w: w.words.__setitem__(0, 7),
        lambda w: w.assign(words=[np.ones(2)]),
        lambda w: w.assign(W=tensor(3, seed=7)),
        lambda w: w.W.data.__setitem__(0, 3.0),
        lambda w: w.W.__setattr__("data", np.ones(3)),
        lambda w: w.index.__setitem__(0, 3),
        lambda w: w.assign(X=np.ones((4, 3))),
        lambda w: w.W.requires_grad_(False),
        lambda w: setattr(w.settings(), "rate", 0.25),
        lambda w: setattr(w.settings(), "name", "b"),
        lambda w: setattr(w.settings(), "W", tensor(3, seed=8)),
        lambda w: w.settings().W.data.__imul__(2),
    ],
)
def test_changes_from_outside_are_seen(change, way):
    twins.assert_twins_agree(make_reader, way, calls=6, between={2: change, 4: lambda w: w.assign(number=5.0)})


def test_updates_from_outside_are_seen(way):
    def make():
        W, x = tensor(3, seed=1), tensor(4, 3, seed=2, requires_grad=False)

        def step():
            (g,) = tg.grad((x * x @ W).square().sum(), [W])
            with tg.no_grad():
                W.__isub__(0.01 * g)
            return g

        return twins.world(W=W, x=x, step=step)

    def update(name, amount):
        def change(w):
            with tg.no_grad():
                getattr(w, name).__isub__(amount)

        return change

    def write(w):
        w.x.data[0] = 9.0

    between = {1: update("W", 1.0), 2: update("x", 0.5), 3: write, 5: lambda w: w.x.data.__imul__(2.0), 6: write}
    twins.assert_twins_agree(make, way, calls=8, between=between, programs=1)


def test_an_argument_written_into_between_calls(way):
    with twins.compiled_for(way):
        W, x = tensor(3), tensor(4, 3, seed=1, requires_grad=False)

        def product(x):
            return (x * x) @ W

        step = tg.compile(product, **twins.WAYS[way])
        step(x), step(x)
        view = x.detach()
        for change in (lambda: x.data.__iadd__(1), lambda: view.data.__setitem__(0, 3.0), lambda: x.data.fill(2.0)):
            change()
            np.testing.assert_allclose(step(x).data, product(x).data, rtol=1e-12)


def test_fresh_tensors_at_every_call_are_not_taken_for_old_ones(way):
    with twins.compiled_for(way):
        W = tensor(3)
        step = tg.compile(lambda x: (x * x).sum() * W.sum(), **twins.WAYS[way])
        for k in range(20):  # each takes the place in memory that one before it had
            expected = 3.0 * k * k * W.data.sum()
            assert math.isclose(step(tg.tensor(np.full(3, float(k)))).item(), expected, rel_tol=1e-12)


# --- any little training function -------------------------------------------------------------------------

UNARY = [
    tg.tanh,
    tg.sigmoid,
    tg.relu,
    lambda x: x.square(),
    lambda x: x.T.T,
    lambda x: x[:, ::-1],
    lambda x: x - x.mean(),
]
BINARY = [tg.add, tg.subtract, tg.multiply, tg.maximum, lambda x, y: x / (1 + y.square())]
UPDATES = ["SGD", "Adam", "by hand"]


@st.composite
def recipes(draw):
    """Return steps (a function's number, and where its inputs stand) that begin with the data and two parameters."""
    steps, known = [], 3
    for _ in range(draw(st.integers(1, 6))):
        inputs = [draw(st.integers(0, known - 1)) for _ in range(2)]
        steps.append((draw(st.integers(0, len(UNARY) + len(BINARY) - 1)), *inputs))
        known += 1
    return steps, draw(st.sampled_from(UPDATES)), draw(st.booleans())


def computed(steps, values):
    values = list(values)
    for number, i, j in steps:
        one = number < len(UNARY)
        values.append(UNARY[number](values[i]) if one else BINARY[number - len(UNARY)](values[i], values[j]))
    return values[-1]


@given(recipe=recipes(), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_random_training_functions(recipe, seed, way):
    steps, update, keep = recipe

    def make():
        V, W = tensor(3, 3, seed=seed), tensor(3, seed=seed + 1)
        optimizer = None if update == "by hand" else getattr(optim, update)([V, W], lr=0.01)

        def step(x, rate):
            loss = (computed(steps, [x, V, W.reshape(1, 3) * tg.tensor(np.ones((3, 1)))]) + (V * W).sum()).mean() * rate
            if optimizer is None:
                dloss_V, dloss_W = tg.grad(loss, [V, W])
                with tg.no_grad():
                    V.__isub__(0.01 * dloss_V)
                    W.__isub__(rate * dloss_W)
            else:
                if not keep:
                    optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            return loss

        return twins.world(V=V, W=W, optimizer=optimizer, step=step)

    calls = [lambda k=k: (tensor(3, 3, seed=k, requires_grad=False), 0.1 / (k + 1)) for k in range(5)]
    # Adam divides by gradients: where these are rounding errors, what is rounded otherwise is another step.
    if way != "numpy" or update != "Adam":
        twins.assert_twins_agree(make, way, calls)
