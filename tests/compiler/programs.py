"""Programs to try the passes and the targets on, recorded operation by operation."""

from itertools import pairwise

import numpy as np

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.record import Graph


def descent(loss, inputs, parameters, lr=0.01, name="step"):
    """Return the program of one step of gradient descent.

    `loss` takes the arrays in `inputs` and then those in `parameters`, both dictionaries, as tensors.
    """
    data = {key: tg.tensor(x).named(key) for key, x in inputs.items()}
    wanted = {key: tg.tensor(x, requires_grad=True).named(key) for key, x in parameters.items()}
    with record_everything(), np.errstate(all="ignore"):
        Loss = loss(*data.values(), *wanted.values()).named("Loss")
        gradients = tg.grad(Loss, list(wanted.values()), create_graph=True)
        updates = {W: W - lr * g for W, g in zip(wanted.values(), gradients)}
    labels = {x: x.name for x in (Loss, *data.values(), *wanted.values())}
    labels |= {g: f"dLoss_{W.name}" for W, g in zip(wanted.values(), gradients)}
    labels |= {new: f"new_{W.name}" for W, new in updates.items()}
    recorded = Graph([Loss, *updates.values()])
    labels = {x: x.name for x in recorded if x.name} | labels
    return Program(name, list(data.values()), list(wanted.values()), [Loss], updates, data.values(), labels)


def classifier(samples=500, hidden=15, features=9, dtype=np.float64):
    """Return the tutorial's step, on numbers of its kind."""
    rng = np.random.default_rng(1)
    X, Y = rng.uniform(size=(features, samples)), rng.integers(0, 2, size=(1, samples))
    parameters = {
        "W1": rng.normal(size=(hidden, features)) / 3,
        "b1": np.zeros((hidden, 1)),
        "W2": rng.normal(size=(1, hidden)) / 4,
        "b2": np.zeros((1, 1)),
    }

    def loss(X, Y, W1, b1, W2, b2):
        Z1 = (W1 @ X + b1).named("Z1")
        A1 = tg.relu(Z1).named("A1")
        Z2 = (W2 @ A1 + b2).named("Z2")
        Yh = tg.sigmoid(Z2).named("Yh")
        return -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()

    cast = {key: x.astype(dtype) for key, x in parameters.items()}
    return descent(loss, {"X": X.astype(dtype), "Y": Y.astype(dtype)}, cast)


def perceptron(sizes=(784, 512, 256, 10), batch=128, dtype=np.float32):
    """Return a step of a multi-layer perceptron for classification, batch first as ``nn.Linear`` has it."""
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(batch, sizes[0])), rng.integers(0, sizes[-1], size=batch)
    parameters = {}
    for i, (n, m) in enumerate(pairwise(sizes), 1):
        parameters[f"W{i}"] = (rng.uniform(-1, 1, size=(m, n)) / n**0.5).astype(dtype)
        parameters[f"b{i}"] = np.zeros(m, dtype)

    def loss(X, Y, *parameters):
        for i in range(0, len(parameters), 2):
            X = tg.relu(X) if i else X
            X = tg.ops.linear(X, parameters[i], parameters[i + 1])
        return tg.ops.cross_entropy(X, Y)

    return descent(loss, {"X": X.astype(dtype), "Y": Y}, parameters)


def evaluated(program):
    """Return the results and the new values of what is updated, computed by the operations' own forward functions."""
    return program.graph.evaluate()
