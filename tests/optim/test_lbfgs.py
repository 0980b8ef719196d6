"""L-BFGS: it converges, on a quadratic as theory says; saved and continued; nothing is left half done."""

import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim
from tinygrad_bc.errors import ArgumentError, GradientError, ShapeError


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def closure_of(loss, optimizer, *parameters):
    def closure():
        optimizer.zero_grad()
        value = loss(*parameters)
        value.backward()
        return value

    return closure


def started(start, **options):
    x = tg.tensor(start, requires_grad=True, name="x")
    optimizer = optim.LBFGS([x], **options)
    return x, optimizer, closure_of(rosenbrock, optimizer, x)


def test_it_finds_the_end_of_rosenbrocks_valley():
    x, optimizer, closure = started([-1.2, 1.0], line_search_fn="strong_wolfe", tolerance_change=1e-15)
    losses = [optimizer.step(closure).item() for _ in range(5)]
    assert losses[0] == pytest.approx(24.2)  # the loss where the step began
    np.testing.assert_allclose(x.data, [1, 1], atol=1e-6)
    assert losses[-1] < 1e-12


def test_a_quadratic_in_n_dimensions_takes_about_n_iterations():
    """With exact line searches it would be n (Nocedal, Wright, theorem 6.4); these are nearly exact."""
    rng = np.random.default_rng(3)
    Q, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    A = Q @ np.diag([1.0, 2.0, 5.0, 10.0, 20.0, 50.0]) @ Q.T
    b = rng.normal(size=6)
    x = tg.tensor(np.zeros(6), requires_grad=True)
    optimizer = optim.LBFGS([x], max_iter=30, tolerance_grad=1e-9, tolerance_change=0, line_search_fn="strong_wolfe")
    optimizer.step(closure_of(lambda x: 0.5 * (x @ A @ x) - b @ x, optimizer, x))
    np.testing.assert_allclose(x.data, np.linalg.solve(A, b), atol=1e-8)
    assert optimizer.state[x]["n_iter"] <= 25


def test_the_line_search_ends_where_both_of_wolfes_conditions_hold():
    """Nocedal, Wright (2006), eq. 3.7, on a function with many minima, from many points and with many first steps."""

    def f(x):
        return (0.1 * x * x + (3 * x).sin()).sum()

    evaluations = []
    for start in np.linspace(-10, 10, 41):
        for lr in (0.1, 1.0, 10.0):
            x = tg.tensor([start], requires_grad=True)
            optimizer = optim.LBFGS([x], lr=lr, max_iter=1, max_eval=25, line_search_fn="strong_wolfe")
            loss = optimizer.step(closure_of(f, optimizer, x)).item()
            slope = 0.2 * start + 3 * math.cos(3 * start)
            step = x.item() - start
            assert f(x).item() <= loss + 1e-4 * slope * step
            assert abs(0.2 * x.item() + 3 * math.cos(3 * x.item())) <= 0.9 * abs(slope)
            evaluations.append(optimizer.state[x]["func_evals"])
    assert max(evaluations) > 4, "no search was ever needed"


def test_several_parameters_of_several_shapes_are_one_vector():
    target = np.arange(6.0).reshape(2, 3)
    W, b = tg.tensor(np.zeros((2, 3)), requires_grad=True), tg.tensor(0.0, requires_grad=True)
    W.data = np.asfortranarray(W.data)
    optimizer = optim.LBFGS([W, b], line_search_fn="strong_wolfe")
    optimizer.step(closure_of(lambda W, b: ((W - target) ** 2).sum() + (b - 7) ** 2, optimizer, W, b))
    np.testing.assert_allclose(W.data, target, atol=1e-7)
    assert b.item() == pytest.approx(7)


def test_a_parameter_without_a_gradient_stays():
    x, y = (tg.tensor([3.0], requires_grad=True) for _ in range(2))
    optimizer = optim.LBFGS([x, y])
    optimizer.step(closure_of(lambda x, _: (x * x).sum(), optimizer, x, y))
    assert abs(x.item()) < 1e-6
    assert y.item() == 3.0


def test_float32_is_never_widened():
    x, optimizer, closure = started(np.array([-1.2, 1.0], np.float32), line_search_fn="strong_wolfe", lr=np.float64(1))
    for _ in range(3):
        optimizer.step(closure)
    assert x.dtype == np.float32
    assert all(a.dtype == np.float32 for a in optimizer.state[x].values() if isinstance(a, np.ndarray))
    np.testing.assert_allclose(x.data, [1, 1], atol=1e-2)


@pytest.mark.parametrize(
    "options", [{"line_search_fn": "strong_wolfe", "max_iter": 4}, {"lr": 0.01, "max_iter": 4}], ids=str
)
def test_saved_loaded_and_continued_is_bit_identical(options):
    x, optimizer, closure = started([-1.2, 1.0, 0.3], history_size=3, **options)
    for _ in range(3):
        optimizer.step(closure)
    saved, data = optimizer.state_dict(), x.data.copy()
    for _ in range(3):
        optimizer.step(closure)
    y, other, other_closure = started(data, history_size=3, **options)
    other.load_state_dict(saved)
    for _ in range(3):
        other.step(other_closure)
    assert np.array_equal(x.data, y.data)
    assert not np.array_equal(x.data, data)
    _, third, _ = started([0.0, 0.0])
    with pytest.raises(ShapeError, match="2 elements"):
        third.load_state_dict(saved)
    assert not third.state


def test_the_history_is_limited():
    x, optimizer, closure = started([-1.2, 1.0], line_search_fn="strong_wolfe", history_size=2)
    optimizer.step(closure)
    assert optimizer.state[x]["n_iter"] > 5
    assert [len(optimizer.state[x][name]) for name in ("old_dirs", "old_stps", "ro")] == [2, 2, 2]


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
def test_whatever_ends_a_step_the_parameters_are_as_before(line_search):
    x, optimizer, closure = started([-1.2, 1.0], line_search_fn=line_search)
    calls = []

    def failing():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return closure()

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(failing)
    assert x.tolist() == [-1.2, 1.0]
    assert not optimizer.state


def test_a_loss_that_is_not_finite_is_refused():
    x = tg.tensor([1.0], requires_grad=True, name="x")
    optimizer = optim.LBFGS([x])

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum() * (1.0 if x.item() == 1.0 else math.nan)
        loss.backward()
        return loss

    with pytest.raises(GradientError, match="gradient of x is NaN"):
        optimizer.step(closure)
    assert x.item() == 1.0

    def hidden():
        closure()
        x.grad = [1.0]
        return math.inf

    with pytest.raises(GradientError, match="the loss is inf"):
        optimizer.step(hidden)


def test_a_learning_rate_of_zero_moves_nothing():
    x, optimizer, closure = started([-1.2, 1.0], line_search_fn="strong_wolfe", lr=0.0)
    optimizer.step(closure)
    assert x.tolist() == [-1.2, 1.0]


def test_what_it_needs_is_said():
    _, optimizer, _ = started([0.0, 1.0])
    with pytest.raises(ArgumentError, match="closure"):
        optimizer.step()
    with pytest.raises(ArgumentError, match="one group"):
        optimizer.add_param_group({"params": [tg.tensor([1.0], requires_grad=True)]})
