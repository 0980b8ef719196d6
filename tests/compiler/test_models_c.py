"""Whole trainings with the C target, step by step beside the eager ones: models as people write them."""

import importlib.util
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.compiler.c_target import native
from tinygrad_bc.errors import CompilerError, IndexingError

pytest.importorskip("cffi")
try:
    native.find_compiler(None, None)
except CompilerError:
    pytest.skip("these tests need a C compiler", allow_module_level=True)

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)

F = nn.functional

WAYS = {"simplified": {}, "as captured": {"simplify": False}, "three steps a call": {"steps": 3}}


def numbers(seed):
    return np.random.default_rng(seed)


def parameter(seed, *shape, dtype=np.float64, name=None):
    return tg.tensor(numbers(seed).normal(size=shape).astype(dtype) / 3, requires_grad=True, name=name)


def assert_close(found, expected, where):
    """Fail unless two frozen things hold the same numbers: to nine digits, or to three in float32."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict | list):
        items = expected.items() if isinstance(expected, dict) else enumerate(expected)
        assert len(found) == len(expected), where
        for key, x in items:
            assert_close(found[key], x, f"{where}.{key}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        rtol = {"d": 1e-9, "f": 1e-3}.get(expected.dtype.char, 0)
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=1e-6)  # what cancels leaves the last digits
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale, err_msg=where)
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-9), where
    else:
        assert found == expected, where


def training(loss, parameters, optimizer, **things):
    """Return a world with the usual step."""

    def step(*batch):
        optimizer.zero_grad()
        total = loss(*batch)
        total.backward()
        optimizer.step()
        return total

    return SimpleNamespace(step=step, parameters=list(parameters), optimizer=optimizer, **things)


# --- the models: each returns what it is made of, with `step`, and `batch`, which makes the arguments of a call ------


def images():
    """Convolution with stride, gaps and groups, both poolings, normalisation, dropout."""
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, generator=0),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3, stride=2, padding=2, dilation=2, groups=2, generator=1),
        nn.GELU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3, generator=5),
        nn.Linear(8, 4, generator=3),
    )
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    return training(
        lambda x, y: F.cross_entropy(model(x), y, label_smoothing=0.1),
        model.parameters(),
        optimizer,
        model=model,
        batch=lambda k: (numbers(k).normal(size=(6, 2, 10, 10)), numbers(k).integers(0, 4, 6)),
    )


def signals_in_float32():
    """Windows that overlap, of a pooling with padding, over one axis; a convolution with a group for each channel."""
    model = nn.Sequential(
        nn.Conv1d(3, 8, 5, stride=2, padding=2, generator=0, dtype=np.float32),
        nn.SiLU(),
        nn.MaxPool1d(3, stride=2, padding=1),
        nn.Conv1d(8, 8, 3, padding=1, groups=8, generator=1, dtype=np.float32),
        nn.ELU(),
        nn.AvgPool1d(3, stride=2),
        nn.Flatten(),
        nn.Linear(24, 2, generator=3, dtype=np.float32),
    )
    optimizer = optim.AdamW(model.parameters(), lr=0.01)
    return training(
        lambda x, y: F.huber_loss(model(x), y),
        model.parameters(),
        optimizer,
        batch=lambda k: tuple(numbers(k).normal(size=s).astype(np.float32) for s in [(4, 3, 32), (4, 2)]),
    )


def language():
    """A block of a transformer: embeddings, masked attention, a schedule, clipped gradients, padding in the targets."""
    tokens, places = nn.Embedding(11, 8, generator=0), nn.Embedding(6, 8, generator=1)
    project, norm = nn.Linear(8, 24, generator=2), nn.LayerNorm(8)
    parameters = [p for module in (tokens, places, project, norm) for p in module.parameters()]
    optimizer = optim.AdamW(parameters, lr=0.01)
    schedule = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.05, total_steps=60)
    future = np.triu(np.ones((6, 6), bool), 1)

    def step(ids, following):
        optimizer.zero_grad()
        x = tokens(ids) + places(np.arange(6))
        q, k, v = project(norm(x)).reshape(3, 6, 3, 2, 4).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(-2, -1) / 2).masked_fill(future, -np.inf)
        x = x + tg.gelu((scores.softmax(dim=-1) @ v).permute(0, 2, 1, 3).reshape(3, 6, 8))
        logits = x @ tokens.weight.T
        loss = F.cross_entropy(logits.reshape(-1, 11), following.reshape(-1), ignore_index=-100, label_smoothing=0.1)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
        schedule.step()
        return {"loss": loss, "best": logits.argmax(dim=-1)}

    def batch(k):
        ids = numbers(k).integers(0, 11, (3, 6))
        return ids, np.concatenate([ids[:, 1:], np.full((3, 1), -100)], axis=1)

    return SimpleNamespace(step=step, parameters=parameters, optimizer=optimizer, schedule=schedule, batch=batch)


def memory_cells():
    """An LSTM, unrolled."""
    W, b, V = parameter(0, 17, 48, name="W"), parameter(1, 48, name="b"), parameter(2, 12, 1, name="V")

    def loss(x, y):
        h = c = tg.tensor(np.zeros((len(y), 12)))
        for t in range(4):
            i, f, g, o = tg.chunk(tg.cat([x[:, t], h], 1) @ W + b, 4, 1)
            c = tg.sigmoid(f) * c + tg.sigmoid(i) * tg.tanh(g)
            h = tg.sigmoid(o) * tg.tanh(c)
        return F.binary_cross_entropy_with_logits(h @ V, y)

    return training(
        loss,
        [W, b, V],
        optim.RMSprop([W, b, V], lr=0.01),
        batch=lambda k: (numbers(k).normal(size=(8, 4, 5)), numbers(k).integers(0, 2, (8, 1)).astype(float)),
    )


def adversaries():
    """Two optimisers, and a penalty on a gradient with respect to data."""
    maker = nn.Sequential(nn.Linear(3, 8, generator=0), nn.ReLU(), nn.Linear(8, 2, generator=1))
    critic = nn.Sequential(nn.Linear(2, 8, generator=2), nn.Tanh(), nn.Linear(8, 1, generator=3))
    first, second = optim.Adam(critic.parameters(), lr=0.01), optim.Adam(maker.parameters(), lr=0.01)

    def step(real, noise):
        first.zero_grad()
        fake = maker(noise)
        between = (0.5 * (real + fake)).detach().requires_grad_()
        (slope,) = tg.grad(critic(between).sum(), [between], create_graph=True)
        penalty = ((slope.norm(dim=1) - 1) ** 2).mean()
        judged = critic(fake.detach()).mean() - critic(real).mean() + 10 * penalty
        judged.backward()
        first.step()
        second.zero_grad()
        made = -critic(fake).mean()
        made.backward()
        second.step()
        return judged, made

    parameters = [*maker.parameters(), *critic.parameters()]
    return SimpleNamespace(
        step=step,
        parameters=parameters,
        optimizers=[first, second],
        batch=lambda k: (numbers(k).normal(size=(9, 2)), numbers(k + 50).normal(size=(9, 3))),
    )


def experts():
    """A mixture of experts by `where` and einsum, updated by hand."""
    G, E, V = parameter(0, 6, 3, name="G"), parameter(1, 3, 6, 8, name="E"), parameter(2, 3, 8, 2, name="V")

    def step(x, y):
        gate = (x @ G).softmax(dim=1)
        chosen = tg.where(gate == gate.amax(dim=1, keepdim=True), gate, 0.0)
        hidden = tg.einsum("ni,eij->nej", x, E).relu()
        loss = F.smooth_l1_loss(tg.einsum("nej,ejk,ne->nk", hidden, V, chosen), y) + (gate.mean(dim=0) ** 2).sum()
        gradients = tg.grad(loss, [G, E, V])
        with tg.no_grad():
            for p, g in zip([G, E, V], gradients):
                p -= 0.1 * (g + 0.01 * p)
        return loss

    return SimpleNamespace(
        step=step,
        parameters=[G, E, V],
        batch=lambda k: (numbers(k).normal(size=(20, 6)), numbers(k).normal(size=(20, 2))),
    )


def ratings():
    """Matrix factorisation: rows looked up, a parameter without axes, one without elements."""
    U, V, mean = parameter(0, 30, 4, name="U"), parameter(1, 20, 4, name="V"), parameter(2, name="mean")
    empty = tg.tensor(np.zeros((0, 3)), requires_grad=True, name="empty")

    def loss(user, item, rating):
        predicted = (U[user] * V[item]).sum(dim=1) + mean
        return ((predicted - rating) ** 2).mean() + 1e-2 * (U**2).sum() + (empty**2).sum()

    parameters = [U, V, mean, empty]
    return training(
        loss,
        parameters,
        optim.Adagrad(parameters, lr=0.1),
        batch=lambda k: (numbers(k).integers(-30, 30, 50), numbers(k).integers(0, 20, 50), numbers(k).normal(size=50)),
    )


def gaussian_process():
    """What NumPy computes between: a Cholesky decomposition, a solution, and their derivatives."""
    scale, variance, noise = (tg.tensor(x, requires_grad=True) for x in (0.1, 0.0, -1.0))
    parameters = [scale, variance, noise]

    def loss(x, y):
        distance = tg.sum((x[:, None, :] - x[None, :, :]) ** 2, axis=-1)
        K = tg.exp(variance - 0.5 * distance / tg.exp(2 * scale)) + (tg.exp(noise) + 1e-6) * np.eye(12)
        return 0.5 * (y * tg.linalg.solve(K, y)).sum() + tg.log(tg.diagonal(tg.linalg.cholesky(K))).sum()

    return training(
        loss,
        parameters,
        optim.Adam(parameters, lr=0.05),
        batch=lambda k: tuple(tg.tensor(numbers(k).normal(size=s)) for s in [(12, 2), (12,)]),
    )


def physics():
    """Gradients of gradients: a network that is to solve a differential equation."""
    W, b, V = parameter(0, 1, 8, name="W"), parameter(1, 8, name="b"), parameter(2, 8, 1, name="V")

    def loss(points):
        x = points.detach().requires_grad_()
        u = tg.tanh(x @ W + b) @ V
        (slope,) = tg.grad(u.sum(), [x], create_graph=True)
        (bend,) = tg.grad(slope.sum(), [x], create_graph=True)
        return ((bend + u) ** 2).mean() + (u[0] ** 2).sum() + ((slope[0] - 1) ** 2).sum()

    return training(
        loss,
        [W, b, V],
        optim.Adam([W, b, V], lr=0.01),
        batch=lambda k: (tg.tensor(np.sort(numbers(k).random((16, 1)), axis=0)),),
    )


def learning_to_learn():
    """Steps of descent inside, which the outer gradient goes through."""
    W, V = parameter(0, 1, 6, name="W"), parameter(1, 6, 1, name="V")

    def error(x, y, a, b):
        return ((tg.tanh(x @ a) @ b - y) ** 2).mean()

    def loss(x, y, other_x, other_y):
        total = 0.0
        for task in range(2):
            a, b = W, V
            for _ in range(2):
                da, db = tg.grad(error(x[task], y[task], a, b), [a, b], create_graph=True)
                a, b = a - 0.1 * da, b - 0.1 * db
            total = total + error(other_x[task], other_y[task], a, b)
        return total

    return training(
        loss,
        [W, V],
        optim.SGD([W, V], lr=0.01),
        batch=lambda k: tuple(numbers(10 * k + i).normal(size=(2, 8, 1)) for i in range(4)),
    )


def ranks():
    """What is sorted, gathered, scattered and summed up along the way; float32 beside float64."""
    W = parameter(0, 6, 10, dtype=np.float32, name="W")

    def step(x, index):
        scores = (x.astype(np.float32) @ W).astype(np.float64)
        best, places = scores.topk(3, dim=1)
        ordered, _ = scores.sort(dim=1)
        scattered = tg.scatter_add(tg.tensor(np.zeros((12, 10))), 1, index, tg.gather(scores, 1, index))
        loss = best.mean() + 0.01 * (tg.cumsum(ordered, 1) ** 2).mean() + (scattered**2).mean()
        (dloss_W,) = tg.grad(loss, [W])
        with tg.no_grad():
            W.__isub__(0.1 * dloss_W)
        return places, scattered.astype(np.float32)

    return SimpleNamespace(
        step=step,
        parameters=[W],
        batch=lambda k: (numbers(k).normal(size=(12, 6)), numbers(k).integers(0, 10, (12, 4))),
    )


MODELS = [
    *(images, signals_in_float32, language, memory_cells, adversaries, experts, ratings, gaussian_process, physics),
    *(learning_to_learn, ranks),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_training_is_the_eager_one(model, way):
    eager, fast = model(), model()
    step = tg.compile(fast.step, target="c", **WAYS[way])
    for k in range(5):
        for _ in range(WAYS[way].get("steps", 1)):
            expected = eager.step(*eager.batch(k))
        found = step(*fast.batch(k))
        seen = [
            twins.frozen({name: x for name, x in vars(each).items() if name not in ("step", "batch")})
            | {"result": twins.frozen(twins.without_history(result))}
            for each, result in ((fast, found), (eager, expected))
        ]
        assert_close(*seen, f"call {k}")
    assert len(step.programs) <= 2  # momentum begins in a first step of its own


# --- convolution and pooling, in C --------------------------------------------------------------------

POOLINGS = {
    "touching": {"kernel_size": 2},
    "overlapping": {"kernel_size": 3, "stride": 2, "padding": 1},
    "apart": {"kernel_size": 2, "stride": 3},
    "with gaps": {"kernel_size": 2, "stride": 1, "dilation": 2},
    "sticking out": {"kernel_size": (2, 3), "stride": 2, "ceil_mode": True},
    "large": {"kernel_size": 5, "stride": 1, "padding": 2},
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_give_the_cotangent_to_the_first_largest(pooling, dtype):
    def run(x, weight):
        y = tg.max_pool2d(x, **POOLINGS[pooling])
        (g,) = tg.grad((y.nan_to_num(0, 0, 0) * 3 + 1).sum() + (y * weight).sum(), [x])
        return y, g

    x = numbers(0).integers(0, 3, (2, 3, 7, 8)).astype(dtype)  # many are equal
    x[0, 0], x[0, 1, 2:5, 3], x[1, 0, :, 1] = -np.inf, np.nan, np.inf
    step = tg.compile(run, target="c")
    for scale in (1, 1, -1):
        given = tg.tensor(x * scale, requires_grad=True)
        weight = tg.tensor(numbers(1).normal(size=tg.max_pool2d(given, **POOLINGS[pooling]).shape).astype(dtype))
        with np.errstate(invalid="ignore"):
            expected, found = run(given, weight), step(given, weight)
        for a, b in zip(found, expected):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-5 if dtype == np.float32 else 1e-12)


def test_convolutions_and_poolings_are_all_in_c():
    world = images()
    step = tg.compile(world.step, target="c")
    step(*world.batch(0))
    source = step.program.source("c")
    assert "int step(" in source, "a step in several functions has NumPy's calls between them"
    assert source.count("gemm(") == source.count("max_pool") == 0  # small products are loops


def test_large_convolutions_are_products_of_columns_that_are_copied_once():
    W = parameter(0, 16, 8, 3, 3, name="W")

    def step(x):
        (dloss_W,) = tg.grad((tg.conv2d(x, W, padding=1) ** 2).sum(), [W])
        return dloss_W

    step = tg.compile(step, target="c")
    x = numbers(0).normal(size=(4, 8, 16, 16))
    expected = step(x)
    np.testing.assert_allclose(step(x).data, expected.data, rtol=1e-12)
    body = step.program.source("c").partition("int step(")[2]
    assert body.count("dgemm(") in (0, 2)  # there is none where there is no BLAS library
    assert body.count("permuted[i][j][k][p][l][q] = ") == 1


# --- what was wrong once ------------------------------------------------------------------------------


def test_whether_a_number_is_positive_is_not_asked_of_a_relu_that_comes_later():
    def step(x):
        logarithm = tg.where(x > 0, tg.log(tg.where(x > 0, x, 1.0)), 0.0)
        return logarithm, tg.maximum(x, 0.0)

    compiled = tg.compile(step, target="c", simplify=False)
    for k in range(3):
        x = tg.tensor(numbers(k).normal(size=(5, 4)))
        for found, expected in zip(compiled(x), step(x)):
            np.testing.assert_allclose(found.data, expected.data, rtol=1e-12)


def test_a_large_product_whose_sides_are_one_axis_elsewhere():
    W, b = parameter(0, 70, 70, name="W"), parameter(1, 70, name="b")

    def step(x):
        h = x
        for _ in range(2):
            h = tg.tanh(h @ W + b)
        return tg.grad(((h @ W.T @ W.T - x) ** 2).mean(), [W, b])

    compiled = tg.compile(step, target="c")
    for k in range(3):
        x = numbers(k).normal(size=(70, 70))
        for found, expected in zip(compiled(x), step(x)):
            np.testing.assert_allclose(found.data, expected.data, rtol=1e-9, atol=1e-15)


def test_an_index_out_of_bounds_is_told_by_the_name_of_what_it_came_from():
    logits = parameter(0, 4, 3, name="logits")

    def step(target):
        return F.cross_entropy(logits, target)

    step = tg.compile(step, target="c")
    step(np.array([0, 1, 2, 0]))
    with pytest.raises(IndexingError, match=r"target: index 3 is out of bounds for 3 elements: use -3 to 2"):
        step(np.array([0, 1, 3, 0]))


@pytest.mark.parametrize("way", ["simplified", "as captured"])
def test_an_index_with_a_new_axis_that_others_need_as_an_array(way):
    W = parameter(0, 4, 3, name="W")

    def step(x, y):
        logarithms = (x @ W).log_softmax(dim=1).gather(1, y[:, None]).squeeze(1)
        return tg.grad(-((1 - logarithms.exp()) ** 2 * logarithms).mean(), [W])

    fast = tg.compile(step, target="c", **WAYS[way])
    for k in range(3):
        x, y = numbers(k).normal(size=(8, 4)), tg.tensor(numbers(k).integers(0, 3, 8))
        np.testing.assert_allclose(fast(x, y)[0].data, step(x, y)[0].data, rtol=1e-12)


def test_a_long_text_is_compiled_quickly(monkeypatch):
    given = []
    monkeypatch.setattr(native, "_library", lambda compiler, source, flags: given.append(flags) or "/nowhere")
    for lines in (10, native._LONG_TEXT):
        with pytest.raises(CompilerError, match="could not be stored or loaded"):
            native.load("\n" * lines, "")
    assert given == [(), native._QUICKLY]
