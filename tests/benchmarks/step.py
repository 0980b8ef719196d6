"""One step of the tutorial's training: ours, as users would write it, against the tutorial's hand-written NumPy.

python tests/benchmarks/step.py [--rounds 15] [--steps 300]

One process, one thread, rounds of the contenders in turn; medians, and the ratio round by round. All start from
the same parameters and must reach the same cost. PyTorch takes part where it is installed.
"""

import argparse
import importlib.util
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import hand_derived
import numpy as np

import tinygrad_bc as tg
from tinygrad_bc import data, nn, optim

CSV = Path(__file__).parents[2] / "data" / "wisconsin-cancer-dataset.csv"
LR = 0.01


def by_hand(X, Y):
    parameters = hand_derived.initial_parameters()
    return lambda: hand_derived.step(X, Y, parameters, LR).item()


# --- tinygrad_bc ---------------------------------------------------------------------------------


def from_logarithms(Z2, Y):
    Yh = tg.sigmoid(Z2)
    return -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()


def of_probabilities(Z2, Y):
    return tg.binary_cross_entropy(tg.sigmoid(Z2), Y)


def of_logits(Z2, Y):
    return tg.binary_cross_entropy_with_logits(Z2, Y)


def recorded(X, Y, cost, backward=True):
    """Plain operations on tensors, with one of the costs above."""
    X, Y = tg.tensor(X), tg.tensor(Y)
    W1, b1, W2, b2 = (tg.tensor(p, requires_grad=True) for p in hand_derived.initial_parameters().values())

    def loss():
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        return cost(Z2, Y)

    def with_grad():
        nonlocal W1, b1, W2, b2
        Loss = loss()
        dLoss_W1, dLoss_b1, dLoss_W2, dLoss_b2 = tg.grad(Loss, [W1, b1, W2, b2])
        with tg.no_grad():
            W1 -= LR * dLoss_W1
            b1 -= LR * dLoss_b1
            W2 -= LR * dLoss_W2
            b2 -= LR * dLoss_b2
        return Loss.item()

    def with_backward():
        Loss = loss()
        Loss.backward()
        with tg.no_grad():
            for p in (W1, b1, W2, b2):
                p -= LR * p.grad
                p.grad = None
        return Loss.item()

    return with_backward if backward else with_grad


def layers(X, Y, *tail, cost):
    """Modules and an optimiser; a sample is a row."""
    X, Y = tg.tensor(X.T), tg.tensor(Y.T)
    model = nn.Sequential(nn.Linear(9, 15, generator=0), nn.ReLU(), nn.Linear(15, 1, generator=0), *tail)
    start(model.parameters(), lambda p, new: setattr(p, "data", new))
    optimizer = optim.SGD(model.parameters(), lr=LR)

    def step():
        optimizer.zero_grad()
        loss = cost(model(X), Y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def start(parameters, assign):
    """Give layers the initial parameters; there a bias is a vector, not a column."""
    for p, new in zip(parameters, hand_derived.initial_parameters().values(), strict=True):
        assign(p, new.reshape(tuple(p.shape)))


def same_calls(X, Y):
    """The NumPy calls of the step with the cost from logarithms, and nothing else: what recording costs on top."""
    W1, b1, W2, b2 = hand_derived.initial_parameters().values()

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


# --- PyTorch -------------------------------------------------------------------------------------


def pytorch(X, Y):
    """The same expression in PyTorch's eager mode."""
    import torch

    X, Y = torch.tensor(X), torch.tensor(Y)
    W1, b1, W2, b2 = (torch.tensor(p, requires_grad=True) for p in hand_derived.initial_parameters().values())

    def step():
        Z1 = W1 @ X + b1
        A1 = torch.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = torch.sigmoid(Z2)
        Loss = -(Y * torch.log(Yh) + (1 - Y) * torch.log(1 - Yh)).mean()
        Loss.backward()
        with torch.no_grad():
            for p in (W1, b1, W2, b2):
                p -= LR * p.grad
                p.grad = None
        return Loss.item()

    return step


def pytorch_best(X, Y):
    """The fastest form found for PyTorch's eager mode: fused operations, and one call that updates all parameters."""
    import torch

    X, Y = torch.tensor(X), torch.tensor(Y)
    parameters = [torch.tensor(p, requires_grad=True) for p in hand_derived.initial_parameters().values()]
    W1, b1, W2, b2 = parameters

    def step():
        A1 = torch.relu(torch.addmm(b1, W1, X))
        Loss = torch.nn.functional.binary_cross_entropy_with_logits(torch.addmm(b2, W2, A1), Y)
        gradients = torch.autograd.grad(Loss, parameters)
        with torch.no_grad():
            torch._foreach_add_(parameters, gradients, alpha=-LR)
        return Loss.item()

    return step


def pytorch_layers(X, Y):
    import torch

    X, Y = torch.tensor(X.T.copy()), torch.tensor(Y.T.copy())
    model = torch.nn.Sequential(torch.nn.Linear(9, 15), torch.nn.ReLU(), torch.nn.Linear(15, 1)).double()
    with torch.no_grad():
        start(model.parameters(), lambda p, new: p.copy_(torch.tensor(new)))
    cost = torch.nn.BCEWithLogitsLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=LR)

    def step():
        optimizer.zero_grad()
        loss = cost(model(X), Y)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


# --- measuring -----------------------------------------------------------------------------------


def microseconds(step, steps):
    start = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - start) / steps * 1e6


def contenders(X, Y):
    steps = {
        "tutorial, hand-written NumPy": by_hand(X, Y),
        "tensors, cost from logarithms": recorded(X, Y, from_logarithms),
        "  the same with tg.grad": recorded(X, Y, from_logarithms, backward=False),
        "  its NumPy calls, unrecorded": same_calls(X, Y),
        "tensors, binary_cross_entropy": recorded(X, Y, of_probabilities),
        "tensors, ..._with_logits": recorded(X, Y, of_logits),
        "nn, BCELoss, optim.SGD": layers(X, Y, nn.Sigmoid(), cost=nn.BCELoss()),
        "nn, BCEWithLogitsLoss, optim.SGD": layers(X, Y, cost=nn.BCEWithLogitsLoss()),
    }
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
        steps["PyTorch, cost from logarithms"] = pytorch(X, Y)
        steps["PyTorch, best eager form"] = pytorch_best(X, Y)
        steps["PyTorch nn, optim.SGD"] = pytorch_layers(X, Y)
    return steps


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--steps", type=int, default=300)
    args = parser.parse_args()
    train, _ = data.tutorial_split(data.scale_min_max(data.load_wisconsin(CSV)))
    steps = contenders(*data.as_columns(train))
    for name, step in steps.items():
        costs = [step() for _ in range(501)]
        assert (round(costs[0], 6), round(costs[500], 6)) == (0.673967, 0.388928), name
    times = np.array([[microseconds(step, args.steps) for step in steps.values()] for _ in range(args.rounds)])
    ratios = times[:, :1] / times
    print(f"{args.rounds} interleaved rounds of {args.steps} steps, NumPy {np.__version__}")
    print(f"{'':<34}{'µs/step':>9}{'speed (median, quartiles)':>30}")
    for name, time_, ratio in zip(steps, np.median(times, axis=0), ratios.T):
        low, middle, high = np.percentile(ratio, [25, 50, 75])
        print(f"{name:<34}{time_:>9.1f}{middle:>14.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
