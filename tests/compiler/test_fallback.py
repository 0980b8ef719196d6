"""Where there is no C compiler, a warning says so and NumPy runs; whatever else fails leaves everything as it was."""

from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim
from tinygrad_bc.compiler import compiled
from tinygrad_bc.compiler.c_target import native
from tinygrad_bc.errors import CompilerWarning

LINES = Path(__file__).read_text(encoding="utf-8").splitlines()


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """A system without a compiler, and nothing compiled before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    native.find_compiler.cache_clear()
    yield
    native.find_compiler.cache_clear()


def training():
    W = tg.tensor([1.0, 2.0, 3.0], requires_grad=True, name="W")
    optimizer = optim.SGD([W], lr=0.1, momentum=0.9)

    def step(x):
        optimizer.zero_grad()
        loss = ((W * x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    return W, optimizer, step


@pytest.mark.usefixtures("no_compiler")
def test_numpy_takes_the_place_of_c():
    (W, _, step), (V, _, other) = training(), training()
    run = tg.compile(other, target="c")
    x = np.array([0.5, -1.0, 2.0])
    with pytest.warns(CompilerWarning, match=r"no C compiler that works was found.*no-such-compiler(.|\n)*as NumPy"):
        run(x)
    step(tg.tensor(x))
    assert "int step(" in run.program.source("c")  # which can be read all the same
    run.loop(3, x)
    for _ in range(3):
        step(tg.tensor(x))
    np.testing.assert_allclose(V.detach().numpy(), W.detach().numpy(), rtol=1e-12)


@pytest.mark.usefixtures("no_compiler")
@pytest.mark.parametrize("call", [lambda run, x: run(x), lambda run, x: run.loop(2, x)])
def test_the_warning_points_at_the_line_of_the_call(call):
    with pytest.warns(CompilerWarning, match="<lambda> runs as NumPy instead") as warned:
        call(tg.compile(lambda x: x + 1, target="c"), np.ones(2))
    assert [(warning.filename, "lambda run, x" in LINES[warning.lineno - 1]) for warning in warned] == [
        (__file__, True)
    ]


def test_a_target_that_fails_leaves_everything_as_it_was(monkeypatch):
    W, optimizer, step = training()

    def failing(*_):
        raise MemoryError("no room for a program")

    monkeypatch.setattr(compiled, "build", failing)
    with pytest.raises(MemoryError, match="no room"):
        tg.compile(step)(np.ones(3))
    assert W.tolist() == [1.0, 2.0, 3.0]
    assert W.grad is None
    assert all(state["step"] == 0 for state in optimizer.state.values())
