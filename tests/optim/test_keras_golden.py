"""The numbers that Keras' own tests expect, which were published with it.

Keras has other defaults, so every option is given; its ε is added elsewhere, which the tests say where it matters.
"""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim

KERAS = json.loads(Path(__file__).with_name("keras_golden.json").read_text())
HALF_A_DIGIT = 0.5e-4 * 1.01  # four decimals; the 1 % is for numbers that end with a 5

OPTIONS = {
    "Adagrad": {"lr": 0.2, "initial_accumulator_value": 0.3, "eps": 1e-6},
    "Adam": {"lr": 1e-3, "eps": 1e-7, "amsgrad": True},
    "AdamW": {"lr": 1.0, "weight_decay": 0.5, "eps": 2.0},
    "RMSprop": {"lr": 1e-3, "alpha": 0.9, "eps": 1e-7, "centered": True},
    "SGD": {"lr": 0.01},
}
OF_SINGLE_STEP = {
    "Adagrad": {"lr": 0.5, "initial_accumulator_value": 0.1, "eps": 1e-7},
    "Adam": {"lr": 0.5, "eps": 1e-7},
    "AdamW": {"lr": 0.5, "eps": 1e-7, "weight_decay": 0.004},
    "RMSprop": {"lr": 0.5, "alpha": 0.9, "eps": 1e-7},
    "SGD": {"lr": 0.5},
}


def uncorrect_epsilon(optimizer, epsilon, t):
    """Keras adds ε to √v, not yet corrected by √(1 − β₂ᵗ); PyTorch, like the paper, to the corrected root."""
    if isinstance(optimizer, optim.Adam):
        optimizer.param_groups[0]["eps"] = epsilon / math.sqrt(1 - 0.999**t)


@pytest.mark.parametrize("name", OPTIONS)
def test_five_steps(name):
    x = tg.tensor(np.ones(10), requires_grad=True)
    optimizer = getattr(optim, name)([x], **OPTIONS[name])
    for t, expected in enumerate(KERAS["golden"][name], 1):
        x.grad = np.full(10, 0.01) if t == 1 else np.arange(1, 11) / 10
        uncorrect_epsilon(optimizer, OPTIONS[name].get("eps"), t)
        optimizer.step()
        if len(expected) == 10:
            np.testing.assert_allclose(x.data, expected, rtol=0, atol=HALF_A_DIGIT)
        else:  # Keras gives one number for ten elements that differ in the fourth decimal, and allows for that
            np.testing.assert_allclose(x.data, np.full(10, expected[0]), rtol=5e-4, atol=5e-4)
            assert np.median(x.data) == pytest.approx(expected[0], rel=0, abs=HALF_A_DIGIT)


@pytest.mark.parametrize("name", OF_SINGLE_STEP)
def test_a_single_step(name):
    x = tg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    optimizer = getattr(optim, name)([x], **OF_SINGLE_STEP[name])
    x.grad = [1.0, 6.0, 7.0, 2.0]
    uncorrect_epsilon(optimizer, 1e-7, 1)
    optimizer.step()
    np.testing.assert_allclose(x.data, KERAS["single_step"][name], rtol=0, atol=HALF_A_DIGIT)


def test_decoupled_weight_decay():
    x = tg.tensor(2.0, requires_grad=True)
    optimizer = optim.AdamW([x], lr=1.0, weight_decay=0.004)
    for _ in range(3):
        x.grad = 0.0
        optimizer.step()
    assert x.item() == pytest.approx(KERAS["weight_decay"], abs=1e-6)
