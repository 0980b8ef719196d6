"""A chain of tiny operations, forward and backward: h ← relu(h·w + x), over and over, on four numbers.

Then a small step of descent for w and x: who keeps results must not be able to use them again.

What an operation costs apart from its arithmetic; with 100,000 operations, what a deep graph costs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Contenders, Step, Workload

import tinygrad_bc as tg
from workloads import ours

PER_TURN = 3  # operations
LR = 1e-4
W, X = np.full(4, 0.9), np.full(4, 0.3)
UNROLLED = 3_000
"""A compiler that writes down every operation is not asked for more: nobody would wait for it."""


def recorder(package: str) -> Callable[[int], Any]:
    """Return a function that records so many turns with a package, and returns the result of the whole."""
    if package == "PyTorch":
        import torch

        torch.set_num_threads(1)
        w, x, relu = torch.tensor(W, requires_grad=True), torch.tensor(X, requires_grad=True), torch.relu
    else:
        w, x, relu = tg.tensor(W, requires_grad=True), tg.tensor(X, requires_grad=True), tg.relu

    def record(turns):
        h = x
        for _ in range(turns):
            h = relu(h * w + x)
        return h.sum()

    return record


def tinygrad_bc(turns: int):
    w, x = tg.tensor(W, requires_grad=True), tg.tensor(X, requires_grad=True)

    def step():
        nonlocal w, x
        h = x
        for _ in range(turns):
            h = tg.relu(h * w + x)
        dh_w, dh_x = tg.grad(h.sum(), [w, x])
        with tg.no_grad():
            w -= LR * dh_w
            x -= LR * dh_x
        return (dh_w + dh_x).mean()

    return step


def numpy(turns: int) -> Step:
    """The NumPy calls alone, in both directions; the values of the forward direction in a list."""
    w, x = W.copy(), X.copy()

    def step():
        nonlocal w, x
        h, kept = x, []
        for _ in range(turns):
            z = h * w + x
            kept.append((h, z))
            h = np.maximum(z, 0)
        g = np.ones(4)
        dh_w, dh_x = np.zeros(4), np.zeros(4)
        for h, z in reversed(kept):
            g = g * (z > 0)
            dh_x += g
            dh_w += g * h
            g = g * w
        dh_x += g
        w -= LR * dh_w
        x -= LR * dh_x
        return (dh_w + dh_x).mean()

    return step


def pytorch(turns: int, compiled: bool = False) -> Step:
    import torch

    torch.set_num_threads(1)
    w, x = torch.tensor(W, requires_grad=True), torch.tensor(X, requires_grad=True)

    def result(w, x):
        h = x
        for _ in range(turns):
            h = torch.relu(h * w + x)
        return h.sum()

    forward = torch.compile(result) if compiled else result

    def step():
        dh_w, dh_x = torch.autograd.grad(forward(w, x), (w, x))
        with torch.no_grad():
            w.sub_(LR * dh_w)
            x.sub_(LR * dh_x)
        return (dh_w + dh_x).mean().item()

    return step


def jax(turns: int, jit: bool) -> Step:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    w, x = jnp.asarray(W), jnp.asarray(X)

    def result(w, x):
        h = x
        for _ in range(turns):
            h = jax.nn.relu(h * w + x)
        return h.sum()

    def descend(w, x):
        dh_w, dh_x = jax.grad(result, (0, 1))(w, x)
        return (dh_w + dh_x).mean(), w - LR * dh_w, x - LR * dh_x

    run = jax.jit(descend) if jit else descend

    def step():
        nonlocal w, x
        mean, w, x = run(w, x)
        return float(mean)

    return step


def mygrad(turns: int) -> Step:
    import mygrad as mg

    mg.turn_memory_guarding_off()
    w, x = mg.tensor(W), mg.tensor(X)

    def step():
        h = x
        for _ in range(turns):
            h = mg.nnet.relu(h * w + x)
        h.sum().backward()
        w.data -= LR * w.grad
        x.data -= LR * x.grad
        return (w.grad + x.grad).mean().item()

    return step


def hips(turns: int) -> Step:
    import autograd
    import autograd.numpy as anp

    def result(arrays):
        w, x = arrays
        h = x
        for _ in range(turns):
            h = anp.maximum(h * w + x, 0)
        return anp.sum(h)

    gradient = autograd.grad(result)
    w, x = W.copy(), X.copy()

    def step():
        nonlocal w, x
        dh_w, dh_x = gradient((w, x))
        w, x = w - LR * dh_w, x - LR * dh_x
        return (dh_w + dh_x).mean()

    return step


def micrograd(turns: int) -> Step:
    from micrograd.engine import Value

    w, x = Value(W[0]), Value(X[0])

    def step():
        w.grad = x.grad = 0
        h = x
        for _ in range(turns):
            h = (h * w + x).relu()
        h.backward()
        w.data -= LR * w.grad
        x.data -= LR * x.grad
        return w.grad + x.grad

    return step


def contenders(operations: int) -> Contenders:
    """Return the contenders for a chain of about so many operations."""
    turns = operations // PER_TURN
    found: Contenders = {
        "PyTorch, eager": lambda: pytorch(turns),
        "NumPy calls alone": lambda: numpy(turns),
        "tinygrad_bc, plain operations": lambda: ours.eager(tinygrad_bc(turns), ours.no_arguments()),
        "MyGrad": lambda: mygrad(turns),
        "autograd (HIPS)": lambda: hips(turns),
        "micrograd (one number, not four)": lambda: micrograd(turns),
    }
    if operations <= UNROLLED:
        found |= ours.in_programs(lambda: tinygrad_bc(turns))
        found["PyTorch, torch.compile"] = lambda: pytorch(turns, compiled=True)
        found["JAX, jit"] = lambda: jax(turns, jit=True)
        found["JAX, eager"] = lambda: jax(turns, jit=False)
    return found


def workload(operations: int) -> Workload:
    """Return the workload: a chain of about so many operations."""
    title = f"A chain of {operations:,} tiny operations, forward and backward"
    return Workload(
        title,
        lambda: contenders(operations),
        checked=2,
        rtol=1e-9,
        per=operations // PER_TURN * PER_TURN,
        unit="operation",
    )
