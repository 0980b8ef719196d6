"""A small convolutional network: images (8, 1, 28, 28), 8 filters of 3×3, relu, a linear layer, cross-entropy."""

from __future__ import annotations

import numpy as np
from measure import Contenders, Step, Workload

from workloads import training
from workloads.training import Task

BATCH, SIDE, FILTERS, CLASSES = 8, 28, 8, 10
FEATURES = FILTERS * SIDE * SIDE


def task() -> Task:
    """Return the training of the network."""
    rng = np.random.default_rng(0)
    parameters = [
        rng.normal(size=(FILTERS, 1, 3, 3)) / 3,
        np.zeros(FILTERS),
        rng.normal(size=(CLASSES, FEATURES)) / np.sqrt(FEATURES),
        np.zeros(CLASSES),
    ]

    def network(nn):
        return nn.Sequential(nn.Conv2d(1, FILTERS, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(FEATURES, CLASSES))

    images = rng.normal(size=(2, BATCH, 1, SIDE, SIDE)).astype(np.float32)
    labels = rng.integers(0, CLASSES, size=(2, BATCH))
    return Task(network, [p.astype(np.float32) for p in parameters], images, labels, "CrossEntropyLoss")


def in_jax(jax, parameters, x):
    K, b, W, c = parameters
    maps = jax.lax.conv_general_dilated(x, K, (1, 1), "SAME") + b[:, None, None]
    return jax.nn.relu(maps).reshape(len(x), -1) @ W.T + c


def by_hand(task: Task) -> Step:
    """NumPy: the windows of the images are columns of a matrix, that the filters are multiplied with."""
    K, b, W, c = (p.copy() for p in task.parameters)
    flat, rows, batches = K.reshape(FILTERS, 9), np.arange(BATCH), task.batches()
    padded = np.zeros((BATCH, SIDE + 2, SIDE + 2), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))  # (n, 3, 3, row, column)

    def step():
        x, y = next(batches)
        padded[:, 1:-1, 1:-1] = x[:, 0]
        columns = windows.reshape(BATCH, 9, -1)
        maps = np.maximum(flat @ columns + b[:, None], 0)  # (n, filter, place)
        hidden = maps.reshape(BATCH, -1)
        scores = hidden @ W.T + c
        scores -= scores.max(1, keepdims=True)
        odds = np.exp(scores)
        total = odds.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - scores[rows, y]).mean())
        g = odds / total
        g[rows, y] -= 1
        g /= BATCH
        g_maps = (g @ W).reshape(maps.shape) * (maps > 0)
        for p, slope in (
            (flat, np.matmul(g_maps, columns.mT).sum(0)),
            (b, g_maps.sum((0, 2))),
            (W, g.T @ hidden),
            (c, g.sum(0)),
        ):
            p -= task.lr * slope
        return loss

    return step


def contenders() -> Contenders:
    return {**training.contenders(task(), in_jax), "hand-written NumPy": lambda: by_hand(task())}


WORKLOAD = Workload("Convolution: (8, 1, 28, 28), 8 filters of 3×3, linear layer, float32, SGD", contenders)
