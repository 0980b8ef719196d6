"""What is derived in the tests of every operation."""

import numpy as np
import pytest

import tinygrad_bc as tg


@pytest.fixture
def weighted():
    """Return a function that makes one number of an operation on a sample; None where there is no derivative."""

    def weighted(op, sample):
        inputs = [
            tg.tensor(x.copy(), requires_grad=True, name=f"x{i}")
            if isinstance(x, np.ndarray) and x.dtype.kind == "f"
            else x
            for i, x in enumerate(sample.inputs)
        ]
        y = op(*inputs, **sample.params)
        if not isinstance(y, tg.Tensor) or not y.requires_grad or not y.data.size:
            return None
        return (y * np.random.default_rng(1).normal(size=y.shape)).sum()

    return weighted
