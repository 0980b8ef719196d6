"""Trainings of very different models, step by step beside the same without compiling, for the NumPy target."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.compiler.pipeline import build
from tinygrad_bc.nn import functional as F

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)


def numbers(k, *shape):
    return np.random.default_rng(k).normal(size=shape)


def whole_numbers(k, below, *shape):
    return np.random.default_rng(k).integers(0, below, size=shape)


def parameter(k, *shape, dtype=np.float64, name=None):
    return tg.tensor((0.5 * numbers(k, *shape)).astype(dtype), requires_grad=True, name=name)


def trained(loss_of, optimizer, *schedules, **things):
    """Return a world in which each step descends a loss."""

    def step(*batch):
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        for schedule in schedules:
            schedule.step()
        return loss

    return twins.world(step=step, optimizer=optimizer, schedules=schedules, **things)


def descending(loss_of, parameters, rate=0.05):
    """Return a world in which each step descends a loss, written by hand."""

    def step(*batch):
        loss = loss_of(*batch)
        gradients = tg.grad(loss, parameters)
        with tg.no_grad():
            for x, g in zip(parameters, gradients):
                x -= rate * g
        return loss

    return twins.world(step=step, parameters=parameters)


MODELS = {}


def model(batch):
    """Add a model: what makes its world, and a function of the number of a step that makes its batch."""

    def add(make):
        MODELS[make.__name__] = make, batch
        return make

    return add


@model(lambda k: (numbers(k, 6, 2, 10, 10), whole_numbers(k, 3, 6)))
def convolutions():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False, generator=0),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2, dilation=2, padding=2, groups=2, generator=1),
        nn.SiLU(),
        nn.Dropout(0.3, generator=2),
        nn.Flatten(),
        nn.Linear(54, 3, generator=3),
    )
    return trained(lambda x, y: F.cross_entropy(net(x), y), optim.SGD(net.parameters(), lr=0.05), net=net)


class Block(nn.Module):
    """Attention to what came before, and a small network."""

    def __init__(self, d, heads, seed):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(d), nn.LayerNorm(d)
        self.all, self.out = nn.Linear(d, 3 * d, generator=seed), nn.Linear(d, d, generator=seed + 1)
        self.wide, self.narrow = nn.Linear(d, 2 * d, generator=seed + 2), nn.Linear(2 * d, d, generator=seed + 3)

    def forward(self, x, mask):
        batch, length, d = x.shape
        split = (batch, length, self.heads, d // self.heads)
        q, k, v = (y.reshape(*split).permute(0, 2, 1, 3) for y in self.all(self.before(x)).chunk(3, dim=-1))
        scores = (q @ k.swapaxes(-1, -2) / np.sqrt(split[-1])).masked_fill(mask, -np.inf)
        x = x + self.out((scores.softmax(dim=-1) @ v).permute(0, 2, 1, 3).reshape(batch, length, d))
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


@model(lambda k: (whole_numbers(k, 7, 3, 5), np.where(numbers(k, 3, 5) < -1, -100, whole_numbers(k + 50, 7, 3, 5))))
def transformer():
    tokens, places = nn.Embedding(7, 8, generator=0), nn.Embedding(5, 8, generator=1)
    block, mask = Block(8, 2, 10), np.triu(np.ones((5, 5), bool), 1)
    parameters = [*tokens.parameters(), *places.parameters(), *block.parameters()]
    # The gradient of the keys' bias is 0 but for rounding, which a smaller eps would make steps of.
    optimizer = optim.AdamW(parameters, lr=0.003, eps=1e-4, weight_decay=0.1)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=100)

    def step(t, y):
        optimizer.zero_grad()
        logits = block(tokens(t) + places(np.arange(5)), mask) @ tokens.weight.T
        loss = F.cross_entropy(logits.reshape(-1, 7), y.reshape(-1), ignore_index=-100, label_smoothing=0.05)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        return {"loss": loss, "logits": logits}

    return twins.world(step=step, parts=[tokens, places, block], optimizer=optimizer, schedule=schedule)


@model(lambda k: (numbers(k, 4, 5, 3), whole_numbers(k, 3, 4)))
def long_short_term_memory():
    Wx, Wh, b, V = (
        parameter(0, 3, 16, name="Wx"),
        parameter(1, 4, 16, name="Wh"),
        parameter(2, 16, name="b"),
        parameter(3, 4, 3, name="V"),
    )

    def loss(x, y):
        h = c = tg.tensor(np.zeros((4, 4)))
        for t in range(x.shape[1]):
            i, f, g, o = (x[:, t] @ Wx + h @ Wh + b).chunk(4, dim=1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
        return F.cross_entropy(h @ V, y)

    parameters = [Wx, Wh, b, V]
    return trained(loss, optim.Adam(parameters, lr=0.01), parameters=parameters)


@model(lambda k: (numbers(k, 8, 2), numbers(k + 50, 8, 3), np.abs(numbers(k + 90, 8, 1))))
def adversaries_with_a_penalty_on_slopes():
    made = nn.Sequential(nn.Linear(3, 6, generator=0), nn.LeakyReLU(0.2), nn.Linear(6, 2, generator=1))
    judge = nn.Sequential(nn.Linear(2, 6, generator=2), nn.Tanh(), nn.Linear(6, 1, generator=3))
    first, second = optim.Adam(judge.parameters(), lr=0.01), optim.RMSprop(made.parameters(), lr=0.01)

    def step(real, noise, share):
        first.zero_grad()
        fake = made(noise)
        between = (share * real + (1 - share) * fake).detach().requires_grad_(True)
        (slope,) = tg.grad(judge(between).sum(), [between], create_graph=True)
        judged = judge(fake.detach()).mean() - judge(real).mean() + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()
        judged.backward()
        first.step()
        second.zero_grad()
        loss = -judge(fake).mean()
        loss.backward()
        second.step()
        return judged, loss

    return twins.world(step=step, made=made, judge=judge, optimizers=[first, second])


@model(lambda k: (tg.tensor(np.abs(numbers(k, 6, 1))), tg.tensor(np.abs(numbers(k + 50, 6, 1)))))
def differential_equation():
    net = nn.Sequential(nn.Linear(2, 6, generator=0), nn.Tanh(), nn.Linear(6, 1, generator=1))

    def loss(x, t):
        x, t = x.detach().requires_grad_(), t.detach().requires_grad_()
        u = net(tg.cat([x, t], dim=1))
        u_x, u_t = tg.grad(u.sum(), [x, t], create_graph=True)
        (u_xx,) = tg.grad(u_x.sum(), [x], create_graph=True)
        return ((u_t + u * u_x - 0.1 * u_xx) ** 2).mean() + ((net(tg.cat([x, 0 * t], dim=1)) - x.sin()) ** 2).mean()

    return trained(loss, optim.Adam(net.parameters(), lr=0.01), net=net)


@model(lambda k: (tg.tensor(numbers(k, 8, 3)),))
def attacked_by_its_own_gradient():
    net = nn.Sequential(nn.Linear(3, 5, generator=0), nn.Softplus(), nn.Linear(5, 1, generator=1))
    optimizer = optim.SGD(net.parameters(), lr=0.05)

    def step(x):
        moved = (1.0 * x).detach().requires_grad_()
        net(moved).square().mean().backward()
        optimizer.zero_grad()
        loss = net(moved.detach() + 0.1 * moved.grad.sign()).square().mean()
        loss.backward()
        optimizer.step()
        return loss, moved.grad.abs()

    return twins.world(step=step, net=net, optimizer=optimizer)


@model(lambda k: (numbers(k, 2, 6, 1), numbers(k + 50, 2, 6, 1)))
def learning_to_learn():
    parameters = [parameter(0, 1, 4, name="W1"), parameter(1, 4, name="b1"), parameter(2, 4, 1, name="W2")]

    def apart(x, y, W1, b1, W2):
        return ((tg.tanh(x @ W1 + b1) @ W2 - y) ** 2).mean()

    def loss(xs, ys):
        total = 0.0
        for i in range(2):
            fast = parameters
            for _ in range(2):
                gradients = tg.grad(apart(xs[i, :3], ys[i, :3], *fast), fast, create_graph=True)
                fast = [x - 0.1 * g for x, g in zip(fast, gradients)]
            total = total + apart(xs[i, 3:], ys[i, 3:], *fast)
        return total

    return trained(loss, optim.Adam(parameters, lr=0.01), parameters=parameters)


@model(lambda k: (tg.tensor(numbers(k, 7, 2)), numbers(k + 50, 7)))
def gaussian_process():
    parameters = [tg.tensor(x, requires_grad=True, name=name) for x, name in ((0.1, "length"), (-1.0, "noise"))]

    def loss(x, y):
        squares = ((x[:, None] - x[None]) ** 2).sum(dim=-1)
        K = tg.exp(-0.5 * squares / tg.exp(2 * parameters[0])) + tg.exp(2 * parameters[1]) * np.eye(7)
        return 0.5 * (y * tg.solve(K, y)).sum() + tg.log(tg.diagonal(tg.cholesky(K))).sum() + 0.1 * tg.slogdet(K)[1]

    return trained(loss, optim.Adam(parameters, lr=0.02), parameters=parameters)


@model(lambda k: (numbers(k, 8, 6), numbers(k + 50, 8, 6)))
def contrasts():
    net = nn.Sequential(nn.Linear(6, 8, generator=0), nn.ReLU(), nn.Linear(8, 4, generator=1))
    scale = tg.tensor(1.5, requires_grad=True, name="scale")

    def loss(a, b):
        u, v = net(a), net(b)
        u, v = u / u.norm(dim=1, keepdim=True), v / tg.sqrt((v * v).sum(dim=1, keepdim=True) + 1e-12)
        likeness = (u @ v.T) * scale.exp()
        return (likeness.logsumexp(dim=1) + likeness.logsumexp(dim=0) - 2 * likeness.diagonal()).mean()

    return trained(loss, optim.AdamW([*net.parameters(), scale], lr=0.01), net=net, scale=scale)


@model(lambda k: (numbers(k, 6, 9), np.random.default_rng(k).permutation(9)))
def sorted_and_scattered():
    A, b = parameter(0, 9, 9, name="A"), parameter(1, 9, name="b")

    def loss(x, order):
        z = x @ A + b
        ranked, _ = z.sort(dim=1)
        best, places = z.topk(3, dim=1)
        spread = tg.scatter_add(tg.tensor(np.zeros((6, 9))), 1, places, 2 * z.gather(1, places))
        chosen = tg.where(z > 0.5, z, tg.tanh(z))
        return (tg.cumsum(ranked, 1) ** 2).mean() + 0.01 * (best * best).sum() + (spread[:, order] * chosen).mean()

    return descending(loss, [A, b])


@model(lambda k: (numbers(k, 9, 4).astype(np.float32), numbers(k + 50, 9, 1)))
def two_precisions():
    A, B = parameter(0, 4, 5, dtype=np.float32, name="A"), parameter(1, 5, 1, name="B")
    none = tg.tensor(np.zeros((0, 3)), requires_grad=True, name="none")
    single = tg.tensor(0.5, requires_grad=True, name="single")

    def loss(x, y):
        return ((tg.gelu(x @ A) @ B * single + none.sum() - y) ** 2).mean()

    return trained(loss, optim.Adam([A, B, none, single], lr=0.01), parameters=[A, B, none, single])


@model(lambda k: (pd.DataFrame(numbers(k, 8, 4), columns=list("abcd")), numbers(k + 50, 2, 8).T))
def tables_and_transposed_arrays():
    layer, other = nn.Linear(4, 2, generator=0), tg.tensor(numbers(1, 2, 4).T, requires_grad=True, name="other")

    def loss(table, y):
        x = table if isinstance(table, tg.Tensor) else tg.tensor(table)
        return F.huber_loss(layer(x) + tg.tanh(x @ other) + x.reshape(4, 8).T[:, :2], y, delta=0.5)

    return trained(loss, optim.Adagrad([*layer.parameters(), other], lr=0.05), layer=layer, other=other)


WAYS = ["numpy, plain", "numpy"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", MODELS)
def test_a_compiled_training_goes_as_it_does_without(name, way):
    make, batch = MODELS[name]
    calls = [lambda k=k: batch(100 + k) for k in range(5)]
    twins.assert_twins_agree(make, way, calls=calls)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["convolutions", "transformer", "differential_equation", "two_precisions"])
def test_so_it_does_with_several_steps_in_a_call(name, way):
    make, batch = MODELS[name]
    calls = [lambda k=k: batch(100 + k) for k in range(2)]
    twins.assert_twins_agree(make, way, calls=calls, steps=7)


# --- what was found on the way ----------------------------------------------------------------------------


def source_of(function, *arguments, simplify=True):
    step = tg.compile(function, simplify=simplify)
    step(*arguments)
    return build(step.program, "numpy", simplify).source


@pytest.mark.parametrize("axis", [-1, 0, 1, (0, 1), (1, 2), (0, 2), (0, 2, 3), (1, 3), -2])
@pytest.mark.parametrize("keepdims", [False, True])
def test_sums_over_some_of_several_axes_are_products(axis, keepdims):
    x = numbers(0, 3, 4, 5, 2)
    step = tg.compile(lambda x: (x * x).sum(axis=axis, keepdims=keepdims))
    for k in range(3):
        expected = (numbers(k, 3, 4, 5, 2) ** 2).sum(axis=axis, keepdims=keepdims)
        np.testing.assert_allclose(step(numbers(k, 3, 4, 5, 2)).data, expected, rtol=1e-13)
    assert ".reduce(" not in source_of(lambda x: (x * x).sum(axis=axis, keepdims=keepdims), x)


def test_a_sum_of_very_many_numbers_is_added_up_by_pairs():
    assert ".reduce(" in source_of(lambda x: (2 * x).sum(), np.ones(100_000))
    assert ".reduce(" not in source_of(lambda x: (2 * x).sum(axis=-1), np.ones((50_000, 2, 2)))


def test_what_is_used_several_times_is_not_multiplied_out():
    def step(a, b, g):
        v = a + b
        return tg.tanh(v), v * g, v * v

    text = source_of(step, *(numbers(k, 4, 4) for k in range(3)))
    assert text.count("np.add(") == 1
    assert text.count("np.multiply(") + text.count("np.square(") == 2


def test_arrays_that_functions_allocate_meet_others_in_the_same_order():
    A = numbers(1, 6, 6)

    def loss(x, function):
        z = x @ A
        return (A.T @ (function(z) * z).T).sum()

    x = numbers(0, 30, 6)
    assert "empty((6, 30)).T" in source_of(loss, x, tg.tanh)
    assert "empty((6, 30)).T" not in source_of(loss, x, lambda z: tg.cumsum(z, 1))


@pytest.mark.parametrize("sizes", [[2, 3, 4], [9], [1] * 9, [4, 5]])
@pytest.mark.parametrize("used", [(0, 1), (0, 2), (1, 0), (2, 1, 0)])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_the_gradient_of_what_was_cut_in_parts_is_joined(sizes, used, dim):
    def make():
        W = parameter(0, 9, 9, 9, name="W")

        def loss(x):
            z = tg.tanh(W * x)
            parts = z.split(sizes, dim=dim)
            return sum((tg.tanh, tg.exp, tg.sin)[i](parts[i % len(parts)]).sum() for i in used) + (z * z * z).sum()

        return descending(loss, [W])

    step = twins.assert_twins_agree(make, "numpy", calls=[lambda k=k: (numbers(k, 9, 9),) for k in range(2)])
    text = build(step.program, "numpy").source
    assert "pad" not in text or len({i % len(sizes) for i in used}) == 1


def test_padding_by_nothing_and_flipping_no_axis_are_left_out():
    text = source_of(lambda x: tg.grad(tg.diagonal(x.requires_grad_()).exp().sum(), [x]), numbers(0, 3, 3))
    assert "pad" not in text
    text = source_of(lambda x: tg.grad(x.requires_grad_()[1:].exp().sum(), [x]), numbers(0, 3, 3))
    assert "flip" not in text


def test_parts_are_joined_in_a_sum_with_other_terms():
    def make():
        A, rate = parameter(0, 4, 4, name="A"), tg.tensor(0.3, requires_grad=True, name="rate")

        def loss(x, y):
            z = tg.tanh(x @ A)
            w = tg.solve(z[:8].T @ z[:8] + tg.exp(rate) * np.eye(4), z[:8].T @ y[:8])
            return ((z[8:] @ w - y[8:]) ** 2).mean()

        return descending(loss, [A, rate])

    calls = [lambda k=k: (numbers(k, 12, 4), numbers(k + 50, 12, 1)) for k in range(3)]
    twins.assert_twins_agree(make, "numpy", calls=calls)


def test_an_operation_of_ones_own_may_contain_a_product():
    @tg.primitive(formula="twisted({x})", vjps=[lambda g, y, x: g], samples=lambda rng: [])
    def twisted(x):
        """Multiply by the transpose of itself."""
        return x @ x.T

    for simplify in (False, True):
        step = tg.compile(lambda x: twisted(x) + 1, simplify=simplify)
        for k in range(3):
            x = numbers(k, 3, 4)
            np.testing.assert_allclose(step(x).data, x @ x.T + 1, rtol=1e-14)


def test_a_computed_leaf_requires_a_gradient_and_the_pass_ends_there():
    W = parameter(0, 3, name="W")

    @tg.compile(simplify=False)
    def step(x):
        y = (W * x).detach().requires_grad_()
        (y * y * W).sum().backward()
        return y.grad

    for k in range(3):
        x, W.grad = numbers(k, 3), None
        np.testing.assert_array_equal(step(x).data, W.data * (2 * (W.data * x)))
        np.testing.assert_allclose(W.grad.data, (W.data * x) ** 2, rtol=1e-15)


def test_what_was_computed_from_parameters_cannot_be_told_to_require_none():
    W = parameter(0, 3, name="W")
    with pytest.raises(tg.errors.GradientError, match="was computed by `multiply`"):
        tg.compile(lambda x: (W * x).requires_grad_(False))(numbers(0, 3))


@pytest.mark.parametrize("way", WAYS)
def test_a_number_that_stands_inside_an_expression_may_be_reshaped_there(way):
    def make():
        A = parameter(0, 5, 5, name="A")
        return trained(lambda x: tg.linalg.norm(A) + (A * x).sum(), optim.SGD([A], lr=0.01), A=A)

    twins.assert_twins_agree(make, way, calls=[lambda k=k: (numbers(k, 5, 5),) for k in range(3)])
