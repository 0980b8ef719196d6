"""A multi-layer perceptron for classification: 784-512-256-10, batch 128, float32, bound by its matrix products."""

from __future__ import annotations

import itertools

import numpy as np
from measure import Contenders, Step, Workload

from workloads import training
from workloads.training import BETAS, EPS, Task

SIZES, BATCH = (784, 512, 256, 10), 128


def task(optimizer: str, sizes: tuple[int, ...] = SIZES, batch: int = BATCH) -> Task:
    """Return the training of a perceptron with layers of these sizes."""
    rng = np.random.default_rng(0)
    parameters = []
    for n, m in itertools.pairwise(sizes):
        parameters.append((rng.uniform(-1, 1, size=(m, n)) * np.sqrt(3 / n)).astype(np.float32))
        parameters.append(np.zeros(m, np.float32))

    def network(nn):
        layers = []
        for n, m in itertools.pairwise(sizes):
            layers += [nn.Linear(n, m), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    x = rng.normal(size=(2, batch, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], size=(2, batch))
    return Task(network, parameters, x, y, "CrossEntropyLoss", optimizer, {"SGD": 0.01, "Adam": 0.001}[optimizer])


def in_jax(jax, parameters, x):
    for i in range(0, len(parameters), 2):
        x = (jax.nn.relu(x) if i else x) @ parameters[i].T + parameters[i + 1]
    return x


def by_hand(task: Task) -> Step:
    """NumPy with every array in a buffer of its own."""
    arrays = [p.copy() for p in task.parameters]
    weights, biases = arrays[::2], arrays[1::2]
    slopes = [np.empty_like(p) for p in arrays]
    averages = [(np.zeros_like(p), np.zeros_like(p)) for p in arrays]
    spare = [(np.empty_like(p), np.empty_like(p)) for p in arrays]
    n, layers, rows, batches = task.y.shape[1], len(weights), np.arange(task.y.shape[1]), task.batches()
    outs = [np.empty((n, len(b)), np.float32) for b in biases]
    backs = [np.empty_like(out) for out in outs[:-1]]
    count = 0

    def forward(h, y):
        for i, (W, b, out) in enumerate(zip(weights, biases, outs)):
            np.matmul(h, W.T, out=out)
            np.add(out, b, out=out)
            if i < layers - 1:
                np.maximum(out, 0, out=out)
            h = out
        h -= h.max(1, keepdims=True)
        right = h[rows, y]
        np.exp(h, out=h)
        total = h.sum(1, keepdims=True)
        h /= total
        return float((np.log(total[:, 0]) - right).mean())

    def backward(x, y):
        g = outs[-1]  # softmax(scores), to be made the gradient of the scores
        g[rows, y] -= 1
        g /= n
        for i in reversed(range(layers)):
            np.matmul(g.T, outs[i - 1] if i else x, out=slopes[2 * i])
            np.add.reduce(g, axis=0, out=slopes[2 * i + 1])
            if i:
                np.matmul(g, weights[i], out=backs[i - 1])
                g = np.multiply(backs[i - 1], outs[i - 1] > 0, out=backs[i - 1])

    def descend():
        for p, g in zip(arrays, slopes):
            g *= task.lr
            p -= g

    def adam():
        nonlocal count
        count += 1
        size, root = task.lr / (1 - BETAS[0] ** count), np.sqrt(1 - BETAS[1] ** count)
        for p, g, (m, v), (a, b) in zip(arrays, slopes, averages, spare):
            np.subtract(g, m, out=a)
            a *= 1 - BETAS[0]
            m += a
            np.multiply(g, g, out=a)
            a -= v
            a *= 1 - BETAS[1]
            v += a
            np.sqrt(v, out=a)
            a += EPS * root
            np.divide(m, a, out=b)
            b *= size * root
            p -= b

    update = {"SGD": descend, "Adam": adam}[task.optimizer]

    def step():
        x, y = next(batches)
        loss = forward(x, y)
        backward(x, y)
        update()
        return loss

    return step


def contenders(task: Task) -> Contenders:
    return {**training.contenders(task, in_jax), "hand-written NumPy, out=": lambda: by_hand(task)}


def workload(optimizer: str) -> Workload:
    """Return the workload with one of the optimisers: SGD or Adam."""
    title = f"MLP {'-'.join(map(str, SIZES))}, batch {BATCH}, float32, {optimizer}"
    return Workload(title, lambda: contenders(task(optimizer)))
