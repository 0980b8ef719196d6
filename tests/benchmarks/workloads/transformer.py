"""A small transformer block: 8 sequences of 32, width 64, 4 heads, layer norm before each part, GELU, float32."""

from __future__ import annotations

import numpy as np
from measure import Contenders, Workload

from workloads import training
from workloads.training import Task

BATCH, LENGTH, WIDTH, HEADS = 8, 32, 64, 4


def network(nn):
    """Return the block, from `tinygrad_bc.nn` or ``torch.nn``."""
    functional = nn.functional

    def plain(Q, K, V):
        return functional.softmax(Q @ K.mT * (WIDTH // HEADS) ** -0.5, -1) @ V

    attend = getattr(functional, "scaled_dot_product_attention", plain)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.qkv, self.out = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.norm2 = nn.LayerNorm(WIDTH)
            self.network = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x):
            QKV = self.qkv(self.norm1(x)).reshape(BATCH, LENGTH, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
            mixed = attend(QKV[0], QKV[1], QKV[2]).permute(0, 2, 1, 3).reshape(BATCH, LENGTH, WIDTH)
            x = x + self.out(mixed)
            return x + self.network(self.norm2(x))

    return Block()


def task() -> Task:
    """Return the training of the block."""
    rng = np.random.default_rng(0)

    def linear(n, m):
        return [rng.normal(size=(m, n)) / np.sqrt(n), np.zeros(m)]

    norm = [np.ones(WIDTH), np.zeros(WIDTH)]
    parameters = [*norm, *linear(WIDTH, 3 * WIDTH), *linear(WIDTH, WIDTH), *norm]
    parameters += [*linear(WIDTH, 4 * WIDTH), *linear(4 * WIDTH, WIDTH)]
    x, y = rng.normal(size=(2, 2, BATCH, LENGTH, WIDTH)).astype(np.float32)
    return Task(network, [p.astype(np.float32) for p in parameters], x, y, "MSELoss")


def in_jax(jax, parameters, x):
    w1, b1, Wqkv, bqkv, Wout, bout, w2, b2, W1, c1, W2, c2 = parameters

    def norm(x, w, b):
        return jax.nn.standardize(x, epsilon=1e-5) * w + b

    QKV = (norm(x, w1, b1) @ Wqkv.T + bqkv).reshape(BATCH, LENGTH, 3, HEADS, -1).transpose(2, 0, 3, 1, 4)
    Q, K, V = QKV
    A = jax.nn.softmax(Q @ K.mT * (WIDTH // HEADS) ** -0.5)
    x = x + (A @ V).transpose(0, 2, 1, 3).reshape(BATCH, LENGTH, WIDTH) @ Wout.T + bout
    return x + jax.nn.gelu(norm(x, w2, b2) @ W1.T + c1, approximate=False) @ W2.T + c2


def contenders() -> Contenders:
    return training.contenders(task(), in_jax)


WORKLOAD = Workload("Transformer block: (8, 32, 64), 4 heads, layer norm, GELU, float32, SGD", contenders)
