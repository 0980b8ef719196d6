"""The tutorial's training step: X (9, 500) float64, 15 hidden units with relu, sigmoid, cross-entropy, descent."""

from __future__ import annotations

import functools
import sys
import warnings
from pathlib import Path

import numpy as np
from measure import Contenders, Loop, Step, Workload

import tinygrad_bc as tg
from tinygrad_bc import data, nn, optim
from workloads import ours

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "examples"))
import hand_derived  # noqa: E402

LR = 0.01
LOOP = 167  # three times this are the 501 steps that are checked


@functools.cache
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Return the tutorial's training features (9, 500) and targets (1, 500)."""
    table = data.scale_min_max(data.load_wisconsin(ROOT / "data" / "wisconsin-cancer-dataset.csv"))
    return data.as_columns(data.tutorial_split(table)[0])


def parameters() -> list[np.ndarray]:
    """Return W1, b1, W2, b2 as the tutorial starts with them."""
    return list(hand_derived.initial_parameters().values())


# --- by hand ---------------------------------------------------------------------------------------


def by_hand() -> Step:
    X, Y = samples()
    arrays = hand_derived.initial_parameters()
    return lambda: hand_derived.step(X, Y, arrays, LR).item()


def by_hand_in_place() -> Step:
    """Every array in a buffer of its own, σ and cross-entropy differentiated together."""
    X, Y = samples()
    W1, b1, W2, b2 = parameters()
    n, Not_Y, XT = X.shape[1], 1 - Y, np.ascontiguousarray(X.T)
    Z1, A1, dZ1 = (np.empty((15, n)) for _ in range(3))
    Z2, Yh, Log, Log_Not, dZ2 = (np.empty((1, n)) for _ in range(5))
    slopes = [np.empty_like(p) for p in (W1, b1, W2, b2)]
    dW1, db1, dW2, db2 = slopes

    def step():
        np.dot(W1, X, out=Z1)
        np.add(Z1, b1, out=Z1)
        np.maximum(Z1, 0, out=A1)
        np.dot(W2, A1, out=Z2)
        np.add(Z2, b2, out=Z2)
        np.negative(Z2, out=Yh)
        np.exp(Yh, out=Yh)
        np.add(Yh, 1, out=Yh)
        np.reciprocal(Yh, out=Yh)
        np.log(Yh, out=Log)
        np.subtract(1, Yh, out=Log_Not)
        np.log(Log_Not, out=Log_Not)
        loss = -(np.dot(Y[0], Log[0]) + np.dot(Not_Y[0], Log_Not[0])) / n
        np.subtract(Yh, Y, out=dZ2)
        np.multiply(dZ2, 1 / n, out=dZ2)
        np.dot(dZ2, A1.T, out=dW2)
        np.add.reduce(dZ2, axis=1, keepdims=True, out=db2)
        np.multiply(W2.T, dZ2, out=dZ1)
        np.greater(Z1, 0, out=A1)
        np.multiply(dZ1, A1, out=dZ1)
        np.dot(dZ1, XT, out=dW1)
        np.add.reduce(dZ1, axis=1, keepdims=True, out=db1)
        for p, slope in zip((W1, b1, W2, b2), slopes):
            np.multiply(slope, LR, out=slope)
            np.subtract(p, slope, out=p)
        return loss

    return step


def by_hand_limit() -> Step:
    """What NumPy can do: biases inside the products, all parameters in one array, as few calls as possible."""
    X, Y = samples()
    n = X.shape[1]
    X1 = np.vstack([X, np.ones(n)])
    X1T, Y = np.ascontiguousarray(X1.T), Y[0]
    A1, Mask, dZ1 = np.ones((16, n)), np.empty((15, n)), np.empty((15, n))
    Yh, Chosen = np.empty(n), np.empty(n)
    flat, slope = np.empty(166), np.empty(166)
    W1, W2, dW1, dW2 = flat[:150].reshape(15, 10), flat[150:], slope[:150].reshape(15, 10), slope[150:]
    W1[:, :9], W1[:, 9:], W2[:15], W2[15:] = parameters()
    Hidden, column, sign, is_zero = A1[:15], W2[:15, None], 2 * Y - 1, 1 - Y

    def step():
        np.dot(W1, X1, out=Hidden)
        np.maximum(Hidden, 0, out=Hidden)
        np.dot(W2, A1, out=Yh)
        np.negative(Yh, out=Yh)
        np.exp(Yh, out=Yh)
        np.add(Yh, 1, out=Yh)
        np.reciprocal(Yh, out=Yh)
        np.multiply(Yh, sign, out=Chosen)  # the probability of the class that is right
        np.add(Chosen, is_zero, out=Chosen)
        np.log(Chosen, out=Chosen)
        loss = -np.add.reduce(Chosen) / n
        np.subtract(Yh, Y, out=Yh)
        np.dot(A1, Yh, out=dW2)
        np.greater(Hidden, 0, out=Mask)
        np.multiply(column, Yh, out=dZ1)
        np.multiply(dZ1, Mask, out=dZ1)
        np.dot(dZ1, X1T, out=dW1)
        np.multiply(slope, LR / n, out=slope)
        np.subtract(flat, slope, out=flat)
        return loss

    return step


def numba() -> Step:
    """The step in one pass over the samples."""
    import numba

    X, Y = samples()
    XT = np.ascontiguousarray(X.T)
    W1, b1, W2, b2 = (np.ascontiguousarray(p) for p in parameters())

    @numba.njit
    def step(X, Y, W1, b1, W2, b2, lr):
        n, features = X.shape
        hidden = len(b1)
        dW1, db1, dW2, db2 = np.zeros_like(W1), np.zeros_like(b1), np.zeros_like(W2), 0.0
        A1, loss = np.empty(hidden), 0.0
        for i in range(n):
            z = b2[0, 0]
            for j in range(hidden):
                a = b1[j, 0]
                for k in range(features):
                    a += W1[j, k] * X[i, k]
                A1[j] = max(a, 0.0)
                z += W2[0, j] * A1[j]
            yh = 1 / (1 + np.exp(-z))
            loss -= np.log(yh) if Y[0, i] else np.log(1 - yh)
            d = (yh - Y[0, i]) / n
            db2 += d
            for j in range(hidden):
                dW2[0, j] += d * A1[j]
                if A1[j] > 0:
                    dh = d * W2[0, j]
                    db1[j, 0] += dh
                    for k in range(features):
                        dW1[j, k] += dh * X[i, k]
        W1 -= lr * dW1
        b1 -= lr * db1
        W2 -= lr * dW2
        b2 -= lr * db2
        return loss / n

    return lambda: step(XT, Y, W1, b1, W2, b2, LR)


# --- ours ------------------------------------------------------------------------------------------


def plain_operations():
    X, Y = map(tg.tensor, samples())
    W1, b1, W2, b2 = (tg.tensor(p, requires_grad=True) for p in parameters())

    def step():
        nonlocal W1, b1, W2, b2
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = tg.sigmoid(Z2)
        Loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
        dLoss_W1, dLoss_b1, dLoss_W2, dLoss_b2 = tg.grad(Loss, [W1, b1, W2, b2])
        with tg.no_grad():
            W1 -= LR * dLoss_W1
            b1 -= LR * dLoss_b1
            W2 -= LR * dLoss_W2
            b2 -= LR * dLoss_b2
        return Loss

    return step


def layers(of_logits: bool = False):
    X, Y = (tg.tensor(x.T.copy()) for x in samples())
    criterion, last = (nn.BCEWithLogitsLoss(), []) if of_logits else (nn.BCELoss(), [nn.Sigmoid()])
    model = nn.Sequential(nn.Linear(9, 15, generator=0), nn.ReLU(), nn.Linear(15, 1, generator=0), *last)
    for p, values in zip(model.parameters(), parameters(), strict=True):
        p.data = values.reshape(p.shape)
    optimizer = optim.SGD(model.parameters(), lr=LR)

    def step():
        optimizer.zero_grad()
        loss = criterion(model(X), Y)
        loss.backward()
        optimizer.step()
        return loss

    return step


# --- peers -----------------------------------------------------------------------------------------


def pytorch() -> Step:
    import torch

    torch.set_num_threads(1)
    X, Y = map(torch.tensor, samples())
    W1, b1, W2, b2 = (torch.tensor(p, requires_grad=True) for p in parameters())

    def step():
        Z1 = W1 @ X + b1
        A1 = torch.relu(Z1)
        Z2 = W2 @ A1 + b2
        Loss = torch.nn.functional.binary_cross_entropy_with_logits(Z2, Y)
        gradients = torch.autograd.grad(Loss, (W1, b1, W2, b2))
        with torch.no_grad():
            torch._foreach_add_((W1, b1, W2, b2), gradients, alpha=-LR)
        return Loss.item()

    return step


def pytorch_layers() -> Step:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    X, Y = (torch.tensor(x.T.copy()) for x in samples())
    model = nn.Sequential(nn.Linear(9, 15), nn.ReLU(), nn.Linear(15, 1), nn.Sigmoid()).double()
    with torch.no_grad():
        for p, values in zip(model.parameters(), parameters(), strict=True):
            p.copy_(torch.tensor(values).reshape(p.shape))
    criterion, optimizer = nn.BCELoss(), torch.optim.SGD(model.parameters(), lr=LR)

    def step():
        optimizer.zero_grad()
        loss = criterion(model(X), Y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def pytorch_compiled() -> Step:
    import torch

    torch.set_num_threads(1)
    X, Y = map(torch.tensor, samples())
    arrays = tuple(map(torch.tensor, parameters()))

    def loss(arrays):
        W1, b1, W2, b2 = arrays
        return torch.nn.functional.binary_cross_entropy_with_logits(W2 @ torch.relu(W1 @ X + b1) + b2, Y)

    @torch.compile
    def step():
        gradients, Loss = torch.func.grad_and_value(loss)(arrays)
        for p, g in zip(arrays, gradients):
            p.sub_(LR * g)
        return Loss

    def run():
        with torch.no_grad():
            return step().item()

    return run


def jax(steps: int = 1) -> Step:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    X, Y = map(jnp.asarray, samples())
    arrays = [jnp.asarray(p) for p in parameters()]

    def loss(arrays):
        W1, b1, W2, b2 = arrays
        Z2 = W2 @ jax.nn.relu(W1 @ X + b1) + b2
        Yh = jax.nn.sigmoid(Z2)
        return -(Y * jnp.log(Yh) + (1 - Y) * jnp.log(1 - Yh)).mean()

    def one(_, state):
        Loss, slopes = jax.value_and_grad(loss)(state[1])
        return Loss, [p - LR * slope for p, slope in zip(state[1], slopes)]

    @functools.partial(jax.jit, donate_argnums=0)
    def step(arrays):
        return jax.lax.fori_loop(0, steps, one, (jnp.zeros(()), arrays)) if steps > 1 else one(0, (None, arrays))

    def run():
        nonlocal arrays
        Loss, arrays = step(arrays)
        return float(Loss)

    return Loop(run, steps) if steps > 1 else run


def mygrad() -> Step:
    import mygrad as mg

    mg.turn_memory_guarding_off()  # its own advice where speed counts
    X, Y = samples()
    arrays = [mg.tensor(p) for p in parameters()]

    def step():
        W1, b1, W2, b2 = arrays
        Yh = mg.nnet.sigmoid(W2 @ mg.nnet.relu(W1 @ X + b1) + b2)
        Loss = -(Y * mg.log(Yh) + (1 - Y) * mg.log(1 - Yh)).mean()
        Loss.backward()
        for p in arrays:
            p.data -= LR * p.grad
        return Loss.item()

    return step


def hips() -> Step:
    import autograd
    import autograd.numpy as anp

    X, Y = samples()
    arrays = parameters()

    def loss(arrays):
        W1, b1, W2, b2 = arrays
        Z1 = anp.dot(W1, X) + b1
        Yh = 1 / (1 + anp.exp(-(anp.dot(W2, Z1 * (Z1 > 0)) + b2)))  # its `maximum` has a slope of 1/2 at 0
        return -anp.mean(Y * anp.log(Yh) + (1 - Y) * anp.log(1 - Yh))

    gradient = autograd.value_and_grad(loss)

    def step():
        nonlocal arrays
        Loss, slopes = gradient(arrays)
        arrays = [p - LR * slope for p, slope in zip(arrays, slopes)]
        return Loss

    return step


def scikit_learn() -> Step:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    X, Y = samples()
    XT, y = np.ascontiguousarray(X.T), Y[0].astype(int)
    W1, b1, W2, b2 = parameters()
    layers = iter([(W1.T.copy(), b1[:, 0]), (W2.T.copy(), b2[:, 0])])

    class Classifier(MLPClassifier):
        def _init_coef(self, fan_in, fan_out, dtype):
            return next(layers)

    descent = {"solver": "sgd", "alpha": 0, "momentum": 0, "shuffle": False, "batch_size": X.shape[1]}
    go_on = {"max_iter": LOOP, "warm_start": True, "tol": 0, "n_iter_no_change": LOOP}
    model = Classifier((15,), learning_rate_init=LR, **descent, **go_on)

    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(XT, y)
        return model.loss_

    return Loop(run, LOOP)


def contenders() -> Contenders:
    return {
        "hand-written NumPy, the tutorial's": by_hand,
        "hand-written NumPy, out=": by_hand_in_place,
        "hand-written NumPy, its limit": by_hand_limit,
        "tinygrad_bc, plain operations": lambda: ours.eager(plain_operations(), ours.no_arguments()),
        "tinygrad_bc, nn + optim": lambda: ours.eager(layers(), ours.no_arguments()),
        **ours.in_programs(plain_operations, loop=LOOP),
        "PyTorch, eager": pytorch,
        "PyTorch, nn + optim": pytorch_layers,
        "PyTorch, torch.compile": pytorch_compiled,
        "JAX, jit": jax,
        "JAX, jit, loop inside": lambda: jax(LOOP),
        "Numba, by hand": numba,
        "scikit-learn, loop inside": scikit_learn,
        "MyGrad": mygrad,
        "autograd (HIPS)": hips,
    }


WORKLOAD = Workload(
    "The tutorial's step: 9-15-1, 500 samples, float64",
    contenders,
    checked=3 * LOOP,
    rtol=1e-7,
    known={0: 0.673967, 500: 0.388928},
)
