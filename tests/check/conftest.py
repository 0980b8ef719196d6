"""The network of the tests: small enough to be checked in a moment, like the ones that people write."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.primitive import REGISTRY


@pytest.fixture
def plant(monkeypatch):
    """Replace the VJPs of an operation until the end of the test."""

    def planted(op, *vjps):
        monkeypatch.setattr(REGISTRY[op], "vjps", vjps)

    return planted


class Network:
    """9 features, 15 hidden units with relu, one output with sigmoid, mean cross-entropy over n samples."""

    def __init__(self, n=40):
        rng = np.random.default_rng(5)
        self.X = tg.tensor(rng.uniform(size=(9, n)), name="X")
        self.Y = tg.tensor((rng.uniform(size=(1, n)) > 0.4) * 1.0, name="Y")
        shapes = {"W1": (15, 9), "b1": (15, 1), "W2": (1, 15), "b2": (1, 1)}
        self.parameters = [
            tg.tensor(rng.normal(size=shape) / 2, requires_grad=True, name=name) for name, shape in shapes.items()
        ]

    def __call__(self, W1, b1, W2, b2):
        X, Y = self.X, self.Y
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = tg.sigmoid(Z2)
        return -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()


@pytest.fixture
def network():
    return Network()
