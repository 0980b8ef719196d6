"""Whole pictures as DOT text. To accept a change that was looked at: ``UPDATE_GOLDEN=1 pytest tests/draw``."""

import linecache
import os
from pathlib import Path

import pytest

import tinygrad_bc as tg

GOLDEN = Path(__file__).with_name("golden")

CODE = """
import numpy as np
import tinygrad_bc as tg

def forward():
    W = tg.tensor([[1.0, -0.5]], requires_grad=True)
    X = np.array([[2.0, 3.0, 0.0, 1.0], [3.0, 4.0, -2.0, np.nan]])
    Loss = (W @ X)[:, :3].sum()
    Loss.backward(retain_graph=True)
    return Loss, locals()

def network():
    h = X = tg.tensor([[1.0, 2.0], [3.0, 4.0]])
    with tg.scope("encoder"):
        for _ in range(3):
            with tg.scope("block"):
                W = tg.tensor([[0.5, -1.0], [0.25, 0.0]], requires_grad=True)
                h = h + tg.relu(W @ h)
    with tg.scope("head"):
        b = tg.tensor([[1.0], [0.0]], requires_grad=True)
        Y = h * h + b
    Loss = Y.mean()
    return Loss, {}

def partial():
    X = tg.tensor([[1.0, 2.0, 3.0]])
    W = tg.tensor([[1.0, 0.0]], requires_grad=True)
    A = tg.exp(W)
    try:
        A @ X
    except tg.errors.ShapeError as error:
        return error, {}
"""


@pytest.fixture(scope="module")
def example():
    """The code above, as if it stood in a file of its own: its lines are in the pictures."""
    linecache.cache["example.py"] = (len(CODE), None, CODE.splitlines(keepends=True), "example.py")
    session = {"__name__": "example"}
    exec(compile(CODE, "example.py", "exec"), session)
    yield session
    del linecache.cache["example.py"]


@pytest.mark.parametrize(
    ("name", "function", "options"),
    [
        ("forward", "forward", {}),
        ("dark", "forward", {"theme": "dark", "direction": "LR"}),
        ("backward", "network", {"backward": True}),
        ("open", "network", {}),
        ("folded", "network", {"depth": 1}),
        ("where", "network", {"where": lambda value: value.node is None or value.shape == ()}),
        ("partial", "partial", {}),
    ],
)
@pytest.mark.parametrize("suffix", ["dot", "json"])
def test_a_picture_is_what_it_was(example, name, function, options, suffix):
    outputs, names = example[function]()
    text = getattr(tg.graph(outputs, names, **options), suffix)
    golden = GOLDEN / f"{name}.{suffix}"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")
