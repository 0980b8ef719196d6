"""The ways to write the tutorial's step without compiling it, and what recording costs over the NumPy calls alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from measure import Contenders, Step, Workload

import tinygrad_bc as tg
from workloads import ours, tutorial
from workloads.tutorial import LR, parameters, samples

Cost = Callable[[Any, Any], Any]


def same_calls() -> Step:
    """The NumPy calls of the step with the cost from logarithms, and nothing else."""
    X, Y = samples()
    W1, b1, W2, b2 = parameters()

    def step():
        T1 = np.dot(W1, X)
        Z1 = T1 + b1
        A1 = np.maximum(Z1, np.zeros(Z1.shape))
        T2 = np.dot(W2, A1)
        Z2 = T2 + b2
        with np.errstate(over="ignore"):
            Yh = 1 / (1 + np.exp(-Z2))
        log_Yh, Not_Y, Not_Yh = np.log(Yh), 1 - Y, 1 - Yh
        log_Not_Yh = np.log(Not_Yh)
        First, Second = Y * log_Yh, Not_Y * log_Not_Yh
        Sum = First + Second
        Loss = -(np.add.reduce(Sum, axis=None) / Sum.size)
        g = np.empty(Sum.shape)
        g[...] = -1.0 / Sum.size
        g_Not_Yh = g * Not_Y / Not_Yh
        g_Yh = -g_Not_Yh + g * Y / Yh
        g_Z2 = g_Yh * (Yh * (1 - Yh))
        g_b2 = np.add.reduce(g_Z2, axis=(0, 1), keepdims=True)
        g_W2, g_A1 = np.dot(g_Z2, A1.mT), np.dot(W2.mT, g_Z2)
        g_Z1 = g_A1 * (Z1 > 0)
        g_b1 = np.add.reduce(g_Z1, axis=(1,), keepdims=True)
        g_W1 = np.dot(g_Z1, X.mT)
        for p, slope in ((W1, g_W1), (b1, g_b1), (W2, g_W2), (b2, g_b2)):
            np.subtract(p, LR * slope, p)
        return Loss.item()

    return step


# --- ours ------------------------------------------------------------------------------------------


def from_logarithms(Z2: Any, Y: Any) -> Any:
    Yh = tg.sigmoid(Z2)
    return -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()


def of_probabilities(Z2: Any, Y: Any) -> Any:
    return tg.binary_cross_entropy(tg.sigmoid(Z2), Y)


def plain_operations(cost: Cost) -> Callable[[], tg.Tensor]:
    """Return the step with `backward`, where that of the tutorial's workload has `grad`."""
    X, Y = map(tg.tensor, samples())
    parts = W1, b1, W2, b2 = [tg.tensor(p, requires_grad=True) for p in parameters()]

    def step():
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        Loss = cost(Z2, Y)
        Loss.backward()
        with tg.no_grad():
            for p in parts:
                p -= LR * p.grad
                p.grad = None
        return Loss

    return step


# --- PyTorch ---------------------------------------------------------------------------------------


def pytorch() -> Step:
    """The same expression."""
    import torch

    torch.set_num_threads(1)
    X, Y = map(torch.tensor, samples())
    parts = W1, b1, W2, b2 = [torch.tensor(p, requires_grad=True) for p in parameters()]

    def step():
        Z1 = W1 @ X + b1
        A1 = torch.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = torch.sigmoid(Z2)
        Loss = -(Y * torch.log(Yh) + (1 - Y) * torch.log(1 - Yh)).mean()
        Loss.backward()
        with torch.no_grad():
            for p in parts:
                p -= LR * p.grad
                p.grad = None
        return Loss.item()

    return step


def pytorch_best() -> Step:
    """The fastest form found: fused operations, and one call that updates all parameters."""
    import torch

    torch.set_num_threads(1)
    X, Y = map(torch.tensor, samples())
    parts = W1, b1, W2, b2 = [torch.tensor(p, requires_grad=True) for p in parameters()]

    def step():
        A1 = torch.relu(torch.addmm(b1, W1, X))
        Loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.addmm(b2, W2, A1), Y)
        gradients = torch.autograd.grad(Loss, parts)
        with torch.no_grad():
            torch._foreach_add_(parts, gradients, alpha=-LR)
        return Loss.item()

    return step


def contenders() -> Contenders:
    def recorded(make: Callable[..., Any], *args: Any) -> Callable[[], Step]:
        return lambda: ours.eager(make(*args), ours.no_arguments())

    return {
        "hand-written NumPy, the tutorial's": tutorial.by_hand,
        "tinygrad_bc, cost from logarithms": recorded(plain_operations, from_logarithms),
        "  the same with tg.grad": recorded(tutorial.plain_operations),
        "  its NumPy calls, unrecorded": same_calls,
        "tinygrad_bc, cross-entropy": recorded(plain_operations, of_probabilities),
        "tinygrad_bc, cross-entropy of logits": recorded(plain_operations, tg.binary_cross_entropy_with_logits),
        "tinygrad_bc, nn.BCELoss": recorded(tutorial.layers),
        "tinygrad_bc, nn.BCEWithLogitsLoss": recorded(tutorial.layers, True),
        "PyTorch, cost from logarithms": pytorch,
        "PyTorch, best found": pytorch_best,
        "PyTorch, nn.BCELoss": tutorial.pytorch_layers,
    }


WORKLOAD = Workload(
    "The tutorial's step, recorded anew every time",
    contenders,
    checked=501,
    rtol=1e-7,
    known={0: 0.673967, 500: 0.388928},
)
