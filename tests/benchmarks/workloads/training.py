"""Training steps of networks made of layers: what ours, PyTorch and JAX share between the workloads.

`tinygrad_bc.nn` and `torch.nn` have the same names, so that one function of either describes a network to both. Every
step gets another batch, as in training: who keeps what follows from the batch alone must not be able to use it again.
"""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from measure import Contenders, Step

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from workloads import ours

Arrays = list[np.ndarray]
BETAS, EPS = (0.9, 0.999), 1e-8


class Task(NamedTuple):
    """A network, its first parameters in the order of ``parameters()``, batches, a criterion and an optimiser."""

    network: Callable[[Any], Any]
    parameters: Arrays
    x: np.ndarray  # (batch, sample, ...)
    y: np.ndarray
    criterion: str
    optimizer: str = "SGD"
    lr: float = 0.01

    def batches(self, convert: Callable[[np.ndarray], Any] = np.asarray) -> Iterator[tuple[Any, Any]]:
        """Return the batches without end, converted once."""
        return itertools.cycle([(convert(x), convert(y)) for x, y in zip(self.x, self.y)])


OUR_NN = types.SimpleNamespace(**{name: getattr(nn, name) for name in dir(nn) if not name.startswith("_")})
for _name in ("Linear", "Conv2d"):
    setattr(OUR_NN, _name, partial(getattr(nn, _name), generator=0, dtype=np.float32))
OUR_NN.LayerNorm = partial(nn.LayerNorm, dtype=np.float32)


def recorded(task: Task) -> Callable[[tg.Tensor, tg.Tensor], tg.Tensor]:
    """Return the step in tinygrad_bc, for a batch."""
    model = task.network(OUR_NN)
    for p, values in zip(model.parameters(), task.parameters, strict=True):
        p.data = values.copy()
    criterion = getattr(nn, task.criterion)()
    optimizer = getattr(optim, task.optimizer)(model.parameters(), lr=task.lr)

    def step(x, y):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step


def pytorch(task: Task) -> Step:
    """Return the step in PyTorch's eager mode, with its fastest optimiser."""
    import torch

    model, criterion = _in_pytorch(task)
    batches = task.batches(torch.tensor)
    optimizer = getattr(torch.optim, task.optimizer)(model.parameters(), lr=task.lr, fused=True)

    def step():
        x, y = next(batches)
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def pytorch_compiled(task: Task) -> Step:
    """Return the whole step, update included, compiled by PyTorch."""
    import torch

    model, criterion = _in_pytorch(task)
    batches = task.batches(torch.tensor)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    state = {name: (torch.zeros_like(p), torch.zeros_like(p)) for name, p in parameters.items()}
    count = torch.zeros(())

    def loss(parameters, x, y):
        return criterion(torch.func.functional_call(model, parameters, (x,)), y)

    @torch.compile
    def step(x, y):
        gradients, value = torch.func.grad_and_value(loss)(parameters, x, y)
        count.add_(1)
        for name, p in parameters.items():
            if task.optimizer == "SGD":
                p.sub_(task.lr * gradients[name])
            else:
                p.sub_(task.lr * _adam(gradients[name], *state[name], count))
        return value

    def run():
        with torch.no_grad():
            return step(*next(batches)).item()

    return run


def _in_pytorch(task: Task) -> tuple[Any, Any]:
    """Return the model and the criterion as PyTorch has them."""
    import torch

    torch.set_num_threads(1)
    model = task.network(torch.nn)
    with torch.no_grad():
        for p, values in zip(model.parameters(), task.parameters, strict=True):
            p.copy_(torch.tensor(values))
    return model, getattr(torch.nn, task.criterion)()


def _adam(g: Any, m: Any, v: Any, count: Any) -> Any:
    """Return Adam's direction; its two averages are updated in place."""
    m.mul_(BETAS[0]).add_(g, alpha=1 - BETAS[0])
    v.mul_(BETAS[1]).addcmul_(g, g, value=1 - BETAS[1])
    return m / (1 - BETAS[0] ** count) / ((v / (1 - BETAS[1] ** count)).sqrt() + EPS)


def jax(task: Task, network: Callable[[Any, list[Any], Any], Any]) -> Step:
    """Return the step in JAX; `network` is a function of ``jax``, the parameters and x."""
    import jax
    import jax.numpy as jnp

    batches = task.batches(jnp.asarray)

    def loss(parameters, x, y):
        out = network(jax, parameters, x)
        if task.criterion == "MSELoss":
            return ((out - y) ** 2).mean()
        return -jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1).mean()

    def direction(g, m, v, count):
        if task.optimizer == "SGD":
            return g, m, v
        m = BETAS[0] * m + (1 - BETAS[0]) * g
        v = BETAS[1] * v + (1 - BETAS[1]) * g * g
        return m / (1 - BETAS[0] ** count) / (jnp.sqrt(v / (1 - BETAS[1] ** count)) + EPS), m, v

    @partial(jax.jit, donate_argnums=0)
    def step(state, x, y):
        parameters, averages, count = state
        value, gradients = jax.value_and_grad(loss)(parameters, x, y)
        moved = [direction(g, m, v, count) for g, (m, v) in zip(gradients, averages)]
        parameters = [p - task.lr * d for p, (d, _, _) in zip(parameters, moved)]
        return value, (parameters, [(m, v) for _, m, v in moved], count + 1)

    parameters = [jnp.asarray(p) for p in task.parameters]
    averages = [(jnp.zeros_like(p), jnp.zeros_like(p)) if task.optimizer == "Adam" else (0.0, 0.0) for p in parameters]
    state = (parameters, averages, jnp.ones((), jnp.float32))

    def run():
        nonlocal state
        value, state = step(state, *next(batches))
        return float(value)

    return run


def contenders(task: Task, in_jax: Callable[[Any, list[Any], Any], Any]) -> Contenders:
    """Return the contenders that a task gives; PyTorch's eager mode is the one to compare with."""
    return {
        f"PyTorch, nn + fused {task.optimizer}": lambda: pytorch(task),
        "tinygrad_bc, nn + optim": lambda: ours.eager(recorded(task), task.batches(tg.tensor)),
        **ours.in_programs(lambda: recorded(task), lambda: task.batches(tg.tensor)),
        "PyTorch, torch.compile": lambda: pytorch_compiled(task),
        "JAX, jit": lambda: jax(task, in_jax),
    }
