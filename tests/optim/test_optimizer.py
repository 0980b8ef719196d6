"""What every optimiser does: the formulas, written once more element by element; checks; state; the engine's view."""

import json
import math
import warnings

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.optim import optimizer as implementation

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("RMSprop", {"lr": 0.1, "centered": True, "momentum": 0.5}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
]


def named(case):
    return f"{case[0]}-{'-'.join(case[1])}"


def parameter(data=(1.0, -2.0, 0.5), name="W", dtype=float):
    return tg.tensor(np.array(data, dtype), requires_grad=True, name=name)


def gradients(shape, steps, seed=0):
    return np.random.default_rng(seed).normal(size=(steps, *shape))


def run(optimizer, x, all_gradients):
    for g in all_gradients:
        x.grad = g
        optimizer.step()
    return x.data.copy()


# --- the formulas of the papers, for one number, in plain Python -----------------------------------------------


def sgd(x, gs, lr, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False):
    b = None
    for g in gs:
        g += weight_decay * x
        b = g if b is None else momentum * b + (1 - dampening) * g
        x -= lr * (g + momentum * b if nesterov else b)
    return x


def adagrad(x, gs, lr, lr_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
    squares = [initial_accumulator_value]
    for t, g in enumerate(gs):
        squares.append(g * g)
        x -= lr / (1 + t * lr_decay) * g / (math.sqrt(math.fsum(squares)) + eps)
    return x


def weighted(history, decay):
    """The running mean, written out: Σ (1 − decay)·decayⁿ·gₜ₋ₙ."""
    return math.fsum((1 - decay) * decay**n * g for n, g in enumerate(reversed(history)))


def rmsprop(x, gs, lr, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    b = 0.0
    for t in range(1, len(gs) + 1):
        variance = weighted([g * g for g in gs[:t]], alpha) - (weighted(gs[:t], alpha) ** 2 if centered else 0)
        b = momentum * b + gs[t - 1] / (math.sqrt(variance) + eps)
        x -= lr * b
    return x


def adam(x, gs, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, decoupled=False):
    seen, largest = [], 0.0
    for t, g in enumerate(gs, 1):
        if decoupled:
            x -= lr * weight_decay * x
        seen.append(g if decoupled else g + weight_decay * x)
        v = weighted([g * g for g in seen], betas[1])
        largest = max(largest, v) if amsgrad else v
        m_hat, v_hat = weighted(seen, betas[0]) / (1 - betas[0] ** t), largest / (1 - betas[1] ** t)
        x -= lr * m_hat / (math.sqrt(v_hat) + eps)
    return x


def adamw(x, gs, **options):
    return adam(x, gs, decoupled=True, **options)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_the_papers_formula_element_by_element(case):
    name, options = case
    formula = globals()[name.lower()]
    x = parameter()
    start, gs = x.data.copy(), gradients((3,), 60)
    result = run(getattr(optim, name)([x], **options), x, gs)
    expected = [formula(float(start[i]), [float(g) for g in gs[:, i]], **options) for i in range(3)]
    np.testing.assert_allclose(result, expected, rtol=1e-11)


def test_gradient_descent_on_a_parabola_is_a_power():
    x = parameter([3.0])
    optimizer = optim.SGD([x], lr=0.1)
    for step in range(50):
        assert x.item() == pytest.approx(3 * 0.8**step, rel=1e-12)
        optimizer.zero_grad()
        (x * x).sum().backward()
        optimizer.step()


def test_adams_first_step_is_the_learning_rate_whatever_the_gradient():
    x = parameter([0.0, 0.0, 0.0])
    run(optim.Adam([x], lr=0.25, eps=0.0), x, [[1e-6, -3.0, 1e9]])
    np.testing.assert_allclose(x.data, [-0.25, 0.25, -0.25], rtol=1e-12)


def test_groups_have_options_of_their_own():
    slow, fast = parameter([1.0]), parameter([1.0])
    optimizer = optim.SGD([{"params": [slow], "lr": 0.01, "name": "slow"}, {"params": iter([fast])}], lr=0.5)
    for x in (slow, fast):
        x.grad = [1.0]
    optimizer.step()
    assert (slow.item(), fast.item()) == (0.99, 0.5)
    assert "slow" in repr(optimizer)
    optimizer.add_param_group({"params": [late := parameter([1.0])], "lr": 2.0})
    late.grad = [1.0]
    optimizer.step()
    assert late.item() == -1.0


# --- shapes, types, sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
def test_every_shape_is_updated_in_its_own_memory(case, shape):
    name, options = case
    x = parameter(np.ones(shape))
    memory = x.data
    run(getattr(optim, name)([x], **options), x, 1 + np.abs(gradients(shape, 3)))
    assert x.data is memory
    assert memory.shape == shape
    assert np.all(memory < 1)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_float32_is_never_widened(case):
    name, options = case
    options = {key: np.float64(x) if isinstance(x, float) else x for key, x in options.items()}
    x = parameter(dtype=np.float32)
    optimizer = getattr(optim, name)([x], **options)
    optimizer.param_groups[0]["lr"] = np.float64(0.1)  # as a schedule of one's own may leave it
    run(optimizer, x, gradients((3,), 3))
    assert x.dtype == np.float32
    assert all(a.dtype == np.float32 for a in optimizer.state[x].values() if isinstance(a, np.ndarray))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_a_large_parameter_is_the_same_in_blocks(case, monkeypatch):
    name, options = case
    results = []
    for block in (1 << 20, 7):
        monkeypatch.setattr(implementation, "BLOCK", block)
        x = parameter(np.linspace(-1, 1, 30).reshape(5, 6))
        results.append(run(getattr(optim, name)([x], **options), x, gradients((5, 6), 5)))
    assert np.array_equal(*results)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_parameters_and_gradients_in_another_memory_order(case, monkeypatch):
    monkeypatch.setattr(implementation, "BLOCK", 7)
    name, options = case
    x, y = parameter(np.ones((5, 6))), parameter(np.ones((5, 6)))
    y.data = np.asfortranarray(np.ones((5, 6)))
    assert not y.data.flags.c_contiguous
    gs = gradients((5, 6), 5)
    expected = run(getattr(optim, name)([x], **options), x, gs)
    result = run(getattr(optim, name)([y], **options), y, [np.asfortranarray(g) for g in gs])
    np.testing.assert_allclose(result, expected, rtol=1e-15)


@pytest.mark.parametrize("case", CASES, ids=named)
def test_gradients_are_left_as_they_are(case):
    name, options = case
    x = parameter()
    g = gradients((3,), 1)[0]
    x.grad = g
    kept = x.grad
    getattr(optim, name)([x], **options).step()
    assert np.array_equal(kept.data, gradients((3,), 1)[0])


def test_centered_rmsprop_stays_finite_where_the_gradient_is_constant():
    x = parameter(np.linspace(-1, 1, 50))
    run(optim.RMSprop([x], alpha=0.5, centered=True), x, np.tile(np.linspace(0.1, 0.7, 50), (500, 1)))
    assert np.isfinite(x.data).all()


# --- the engine's view ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*CASES, ("LBFGS", {})], ids=named)
def test_a_graph_from_before_a_step_is_refused(case):
    name, options = case
    x = parameter()
    optimizer = getattr(optim, name)([x], **options)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    stale = (x * x).sum()
    optimizer.step(closure)
    with pytest.raises(GradientError, match="W"):
        stale.backward()


def test_zero_grad_forgets():
    x, y = parameter(), parameter()
    x.grad = y.grad = [1.0, 1.0, 1.0]
    optim.SGD([{"params": [x]}, {"params": [y]}]).zero_grad()
    assert x._grad is y._grad is None


def test_step_calls_the_closure_while_recording():
    x = parameter([2.0])
    optimizer = optim.SGD([x], lr=0.5)

    def closure():
        optimizer.zero_grad()
        loss = (x * x).sum()
        loss.backward()
        return loss

    with tg.no_grad():
        loss = optimizer.step(closure)
    assert loss.item() == 4.0
    assert x.item() == 0.0


# --- what is refused -----------------------------------------------------------------------------------------------

BAD_OPTIONS = [
    ("SGD", {"lr": -0.1}, "lr must be at least 0"),
    ("SGD", {"lr": math.nan}, "lr must be"),
    ("SGD", {"lr": math.inf}, "finite"),
    ("SGD", {"lr": "fast"}, "lr must be a number, got 'fast'"),
    ("SGD", {"momentum": -1}, "momentum"),
    ("SGD", {"weight_decay": -1}, "weight_decay"),
    ("SGD", {"nesterov": True}, "needs a momentum"),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "no dampening"),
    ("Adam", {"betas": (1.0, 0.9)}, "betas"),
    ("Adam", {"betas": (0.9, -0.1)}, "betas"),
    ("Adam", {"betas": 0.9}, "betas"),
    ("AdamW", {"eps": -1e-8}, "AdamW: eps"),
    ("RMSprop", {"alpha": 1.0}, "less than 1"),
    ("Adagrad", {"initial_accumulator_value": -0.1}, "initial_accumulator_value"),
    ("LBFGS", {"max_iter": 0}, "max_iter"),
    ("LBFGS", {"line_search_fn": "wolfe"}, "strong_wolfe"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD_OPTIONS, ids=str)
def test_options_out_of_range(name, options, message):
    with pytest.raises(ArgumentError, match=message):
        getattr(optim, name)([parameter()], **options)
    if name != "LBFGS":
        with pytest.raises(ArgumentError, match=message):
            getattr(optim, name)([{"params": [parameter()], **options}])


def test_parameters_that_cannot_be_optimised():
    W = parameter()
    cases = [
        ([], ArgumentError, "no parameters"),
        (iter(()), ArgumentError, "generator"),
        ([{"params": []}], ArgumentError, "no parameters"),
        (W, ArgumentError, r"SGD\(\[W\]"),
        (3, ArgumentError, "iterable"),
        ([W, W], ArgumentError, "W is there twice"),
        ([{"params": [W]}, {"params": [W]}], ArgumentError, "W is there twice"),
        ([{"params": [W], "learning_rate": 1}], ArgumentError, "unknown: learning_rate"),
        ([{"lr": 1.0}], ArgumentError, 'no "params"'),
        ([np.ones(3)], DTypeError, "parameter 0 is a ndarray"),
        ([("W", W)], DTypeError, "tuple"),
        ([tg.tensor([1.0], name="x")], GradientError, "x requires no gradient"),
        ([(W * 2).named("y")], GradientError, "y was computed"),
        ([W.detach().requires_grad_()], GradientError, "view"),
    ]
    for params, error, message in cases:
        with pytest.raises(error, match=message):
            optim.SGD(params, lr=0.1)


def test_a_refused_group_is_not_added():
    optimizer = optim.SGD([W := parameter()], lr=0.1)
    with pytest.raises(ArgumentError):
        optimizer.add_param_group({"params": [parameter()], "lr": -1})
    with pytest.raises(ArgumentError, match="twice"):
        optimizer.add_param_group({"params": [W]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("case", CASES, ids=named)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_gradient_that_is_not_finite_is_refused_before_anything_changes(case, bad):
    name, options = case
    good, worse = parameter(name="good"), parameter(name="worse")
    optimizer = getattr(optim, name)([good, worse], **options)
    for x in (good, worse):
        x.grad = [1.0, 2.0, 3.0]
    optimizer.step()
    before = json.dumps(optimizer.state_dict(), default=np.ndarray.tolist)
    data = good.data.copy()
    worse.grad = [1.0, bad, 3.0]
    with pytest.raises(GradientError, match="gradient of worse is NaN or infinite in 1 of its 3 elements"):
        optimizer.step()
    assert np.array_equal(good.data, data)
    assert json.dumps(optimizer.state_dict(), default=np.ndarray.tolist) == before


def test_large_gradients_are_finite():
    x = parameter([1.0], dtype=np.float32)
    run(optim.SGD([x], lr=1e-30), x, [[1e30]])
    assert x.item() == pytest.approx(0.0, abs=1e-6)


def test_a_step_without_any_gradient():
    optimizer = optim.SGD([parameter()])
    with pytest.raises(GradientError, match=r"backward\(\) before"):
        optimizer.step()


def test_a_learning_rate_set_by_hand_is_checked():
    x = parameter()
    optimizer = optim.SGD([x])
    x.grad = [1.0, 1.0, 1.0]
    for lr in (-1.0, math.nan, math.inf):
        optimizer.param_groups[0]["lr"] = lr
        with pytest.raises(ArgumentError, match="learning rate of group 0"):
            optimizer.step()
    assert x.tolist() == [1.0, -2.0, 0.5]


# --- state ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("case", CASES, ids=named)
def test_saved_loaded_and_continued_is_bit_identical(case, dtype):
    name, options = case

    def make(*data):
        xs = [parameter(x, dtype=dtype) for x in data]
        return xs, getattr(optim, name)([{"params": xs[:1]}, {"params": xs[1:], "lr": 0.03}], **options)

    def steps(xs, optimizer, numbers):
        for number in numbers:
            for i, x in enumerate(xs):
                x.grad = gradients(x.shape, 1, seed=10 * number + i)[0]
            optimizer.step()

    xs, optimizer = make([1.0, 2.0], [[3.0], [4.0]])
    steps(xs, optimizer, range(20))
    saved = optimizer.state_dict()
    data = [x.data.copy() for x in xs]
    steps(xs, optimizer, range(20, 40))
    others, other = make(*data)
    other.load_state_dict(saved)
    steps(others, other, range(20, 40))
    assert all(np.array_equal(x.data, y.data) for x, y in zip(xs, others, strict=True))
    again = other.state_dict()
    assert again["param_groups"] == optimizer.state_dict()["param_groups"]
    assert [group["params"] for group in again["param_groups"]] == [[0], [1]]


def test_a_state_dict_is_a_copy():
    x = parameter()
    optimizer = optim.Adam([x])
    run(optimizer, x, gradients((3,), 1))
    saved = optimizer.state_dict()
    kept = saved["state"][0]["exp_avg"].copy()
    run(optimizer, x, gradients((3,), 1))
    assert np.array_equal(saved["state"][0]["exp_avg"], kept)
    optimizer.load_state_dict(saved)
    run(optimizer, x, gradients((3,), 1))
    assert np.array_equal(saved["state"][0]["exp_avg"], kept)


def test_a_state_in_another_memory_order_is_not_lost(monkeypatch):
    monkeypatch.setattr(implementation, "BLOCK", 7)
    x = parameter(np.ones((5, 6)))
    optimizer = optim.SGD([x], momentum=0.9)
    run(optimizer, x, [np.ones((5, 6))])
    saved = optimizer.state_dict()
    saved["state"][0]["momentum_buffer"] = np.asfortranarray(saved["state"][0]["momentum_buffer"])
    optimizer.load_state_dict(saved)
    run(optimizer, x, [np.ones((5, 6))])
    assert np.all(optimizer.state[x]["momentum_buffer"] == 1.9)


def test_betas_that_json_made_a_list_of():
    x = parameter()
    optimizer = optim.Adam([x])
    optimizer.load_state_dict(json.loads(json.dumps(optimizer.state_dict())))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_state_that_does_not_fit_is_refused_before_anything_changes():
    def saved_by(data, dtype=float, kind=optim.Adam):
        x = parameter(data, dtype=dtype)
        optimizer = kind([x], lr=0.5)
        run(optimizer, x, [np.ones(x.shape)])
        return optimizer.state_dict()

    optimizer = optim.Adam([parameter()], lr=0.1)
    two = optim.Adam([parameter(), parameter()]).state_dict()
    uncounted = saved_by([1.0, 1.0, 1.0])
    del uncounted["state"][0]["step"]
    negative = saved_by([1.0, 1.0, 1.0])
    negative["param_groups"][0]["lr"] = -1.0
    for state, error, message in [
        (two, ArgumentError, r"\[2\] parameters"),
        (saved_by([1.0, 1.0]), ShapeError, r"W is of shape \(3,\), its saved exp_avg of \(2,\)"),
        (saved_by([1.0, 1.0, 1.0], np.float32), DTypeError, "float32"),
        (saved_by([1.0, 1.0, 1.0], kind=optim.SGD), ArgumentError, "lacks amsgrad, betas, eps"),
        (uncounted, ArgumentError, "W lacks its number of steps"),
        (negative, ArgumentError, "lr must be"),
    ]:
        with pytest.raises(error, match=message):
            optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert not optimizer.state


def test_no_step_warns():
    x = parameter(dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(optim.Adam([x]), x, [np.zeros(3), np.full(3, 1e-30), np.full(3, 1e15)])
    assert np.isfinite(x.data).all()
