"""Optimisers, schedules, averages and clipping inside compiled functions: the same numbers as without."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.errors import ArgumentError, CaptureError, GradientError
from tinygrad_bc.optim import lr_scheduler

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parents[1] / "compiler" / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)

X = np.random.default_rng(7).normal(size=(6, 3))

OPTIMISERS = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("SGD", {"momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.3}),
    ("RMSprop", {}),
    ("RMSprop", {"centered": True, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"amsgrad": True, "weight_decay": 0.1, "betas": (0.8, 0.9)}),
    ("AdamW", {}),
    ("AdamW", {"amsgrad": True, "weight_decay": 0.3, "maximize": True}),
]

SCHEDULES = {
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, 0.5, 2),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.2, 1.0, 3),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4], 0.5),
    "InverseTimeLR": lambda o: lr_scheduler.InverseTimeLR(o, 0.5),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, 8, 2.0),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda step: 1 / (1 + step)),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 2, 2),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 12),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.LinearLR(o, 0.5, 1.0, 3), lr_scheduler.ExponentialLR(o, 0.8)]
    ),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.1, 2), lr_scheduler.ExponentialLR(o, 0.9)], [2]
    ),
}


@pytest.fixture(params=list(twins.WAYS))
def way(request):
    return request.param


def tensor(*shape, seed, dtype=np.float64):
    data = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    return tg.tensor(data, requires_grad=True, name=f"W{seed}")


def training(make_optimizer, schedule=None, dtype=np.float64, before=lambda w: None, after=lambda w: None):
    """Return what makes a world in which a step of training is taken."""

    def make():
        W, V = tensor(3, 4, seed=1, dtype=dtype), tensor(4, seed=2, dtype=dtype)
        optimizer = make_optimizer([W, V])
        w = twins.world(W=W, V=V, optimizer=optimizer, schedule=schedule and schedule(optimizer))
        x = tg.tensor(X.astype(dtype))

        def step():
            optimizer.zero_grad()
            loss = (tg.tanh(x @ W) @ V).square().mean()
            loss.backward()
            before(w)
            optimizer.step()
            if w.schedule:
                w.schedule.step()
            after(w)
            return loss

        w.step = step
        return w

    return make


def a_name(x):
    return x if isinstance(x, str) else "-".join(x)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "options"), OPTIMISERS, ids=a_name)
def test_every_optimiser_takes_the_same_steps(name, options, dtype, way):
    make = training(lambda params: getattr(optim, name)(params, lr=0.05, **options), dtype=dtype)
    step = twins.assert_twins_agree(make, way, calls=6)
    assert len(step.programs) == (2 if options.get("momentum") and name == "SGD" else 1)  # SGD's first step is its own


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_sets_the_same_rates_in_one_program(name, way):
    make = training(lambda params: optim.RMSprop(params, lr=0.05, momentum=0.5), SCHEDULES[name])
    twins.assert_twins_agree(make, way, calls=7, programs=1)


@pytest.mark.parametrize("name", ["OneCycleLR", "StepLR"])
@pytest.mark.parametrize("optimiser", ["SGD", "Adam"])
def test_a_schedule_inside_a_loop(name, optimiser, way):
    options = {"momentum": 0.9} if optimiser == "SGD" else {}
    make = training(lambda params: getattr(optim, optimiser)(params, lr=0.05, **options), SCHEDULES[name])
    twins.assert_twins_agree(make, way, calls=3, steps=4, programs=2 if optimiser == "SGD" else 1)


def test_groups_have_rates_of_their_own(way):
    def groups(params):
        return optim.Adam([{"params": params[:1], "lr": 0.1}, {"params": params[1:], "weight_decay": 0.5}], lr=0.01)

    twins.assert_twins_agree(training(groups, SCHEDULES["ExponentialLR"]), way, programs=1)


def test_parameters_that_are_behind_keep_their_own_count(way):
    def some_steps_with_one(w):
        w.V.grad = np.ones(4)
        w.optimizer.step()

    make = training(lambda params: optim.Adam(params, lr=0.1))
    twins.assert_twins_agree(make, way, between={0: some_steps_with_one}, programs=1)


def test_options_changed_from_outside(way):
    def change(**options):
        return lambda w: w.optimizer.param_groups[0].update(options)

    between = {2: change(lr=0.5), 3: change(weight_decay=0.2), 5: change(weight_decay=0.0), 6: change(lr=0.001)}
    make = training(lambda params: optim.Adam(params, lr=0.1))
    twins.assert_twins_agree(make, way, calls=8, between=between, programs=2)


def test_state_loaded_from_outside(way):
    def save(w):
        w.saved = w.optimizer.state_dict()

    def load(w):
        w.saved["param_groups"][0]["lr"] = 0.02
        w.optimizer.load_state_dict(w.saved)

    make = training(lambda params: optim.Adam(params, lr=0.1))
    twins.assert_twins_agree(make, way, calls=8, between={0: save, 3: load, 4: save, 6: load})


def test_state_replaced_or_forgotten_from_outside(way):
    def replace(w):
        w.optimizer.state[w.W]["exp_avg"] = np.ones((3, 4))

    def write(w):
        w.optimizer.state[w.W]["exp_avg_sq"][0] = 3.0

    def replace_all(w):
        w.optimizer.state[w.W] = {"step": 7, "exp_avg": np.zeros((3, 4)), "exp_avg_sq": np.ones((3, 4))}

    between = {2: replace, 3: write, 4: lambda w: w.optimizer.state.clear(), 6: replace_all}
    make = training(lambda params: optim.Adam(params, lr=0.1))
    twins.assert_twins_agree(make, way, calls=8, between=between)


def test_a_group_added_later_is_updated(way):
    def make():
        W, V = tensor(3, seed=1), tensor(3, seed=2)
        optimizer = optim.SGD([W], lr=0.1)

        def step():
            optimizer.zero_grad()
            (W * V).sum().backward()
            optimizer.step()

        return twins.world(W=W, V=V, optimizer=optimizer, step=step)

    later = {3: lambda w: w.optimizer.add_param_group({"params": [w.V], "lr": 0.5})}
    twins.assert_twins_agree(make, way, calls=6, between=later)


def test_two_optimisers_and_two_updates_in_one_step(way):
    def make():
        W, V = tensor(3, seed=1), tensor(3, seed=2)
        one, two = optim.SGD([W], lr=0.1, momentum=0.9), optim.Adam([V], lr=0.1)

        def step():
            one.zero_grad()
            (W * V).sum().square().backward()
            one.step()
            two.zero_grad()
            (W * V).exp().sum().backward()
            two.step()
            one.step()  # the gradient of W by now: the sum of both

        return twins.world(W=W, V=V, one=one, two=two, step=step)

    twins.assert_twins_agree(make, way)


@pytest.mark.parametrize("where", ["start", "end", "model"])
def test_gradients_cleared_at_the_start_or_the_end(where, way):
    def make():
        model = nn.Linear(3, 1, generator=np.random.default_rng(1))
        optimizer = optim.SGD(model.parameters(), lr=0.1)

        def step(x):
            if where == "start":
                optimizer.zero_grad()
            model(x).square().sum().backward()
            optimizer.step()
            if where == "end":
                optimizer.zero_grad()
            if where == "model":
                model.zero_grad()

        return twins.world(model=model, optimizer=optimizer, step=step)

    twins.assert_twins_agree(make, way, [lambda: (tg.tensor(X),)] * 4)


def test_gradients_accumulated_over_calls(way):
    def make():
        W = tensor(3, seed=1)
        optimizer = optim.SGD([W], lr=0.1)

        def step(x, last):
            (W * x).sum().square().backward()
            if last:
                optimizer.step()
                optimizer.zero_grad()

        return twins.world(W=W, optimizer=optimizer, step=step)

    twins.assert_twins_agree(make, way, [lambda k=k: (tg.tensor(X[k % 6]), k % 3 == 2) for k in range(9)])


def test_gradients_accumulated_in_a_loop(way):
    def make():
        W = tensor(3, seed=1)

        def step():
            W.square().sum().backward()
            with tg.no_grad():
                update = 0.01 * W.grad
                W.__isub__(update)

        return twins.world(W=W, step=step)

    between = {1: lambda w: setattr(w.W, "grad", None)}
    twins.assert_twins_agree(make, way, calls=3, between=between, steps=4)


@pytest.mark.parametrize("scope", ["inside", "outside"])
def test_clipping(scope, way):
    def make():
        W, V = tensor(3, seed=1), tensor(2, seed=2)
        optimizer = optim.SGD([W, V], lr=0.1)
        w = twins.world(W=W, V=V, optimizer=optimizer)

        def backward():
            optimizer.zero_grad()
            (W.square().sum() * 0.05 + (V**3).sum()).backward()

        def step():
            if scope == "inside":
                backward()
            nn.utils.clip_grad_norm_([W, V], 1.0)
            nn.utils.clip_grad_value_([V], 0.8)
            optimizer.step()

        w.step, w.backward = step, backward
        return w

    between = {} if scope == "inside" else dict.fromkeys(range(6), lambda w: w.backward())
    twins.assert_twins_agree(make, way, calls=6, between=between)


@pytest.mark.parametrize("average", [optim.swa, lambda params: optim.ema(params, 0.9)], ids=["swa", "ema"])
@pytest.mark.parametrize("steps", [1, 3])
def test_averages(average, steps, way):
    def make():
        W = tensor(3, seed=1)
        averages = average([W])

        def step():
            (g,) = tg.grad(W.square().sum(), [W])
            with tg.no_grad():
                W.__isub__(0.1 * g)
            averages.update()

        return twins.world(W=W, averages=averages, saved=averages.state_dict(), step=step)

    again = {3: lambda w: w.averages.load_state_dict(w.saved)}
    twins.assert_twins_agree(make, way, calls=5, between=again, steps=steps)


def test_averages_that_take_the_place_of_parameters_are_refused():
    W = tensor(3, seed=1)
    averages = optim.ema([W], 0.9)
    averages.update()

    def evaluate():
        with averages.applied():
            return W.sum()

    before = W.data.copy()
    with pytest.raises(CaptureError, match="averages into parameters"):
        tg.compile(evaluate)()
    np.testing.assert_array_equal(W.data, before)


@pytest.mark.parametrize("what", ["LBFGS", "ReduceLROnPlateau", "get_last_lr"])
def test_what_depends_on_the_loss_or_leaves_the_record_is_refused(what):
    W = tensor(3, seed=1)
    optimizer = optim.LBFGS([W]) if what == "LBFGS" else optim.SGD([W], lr=0.1)
    plateau = lr_scheduler.ReduceLROnPlateau(optimizer)
    schedule = lr_scheduler.StepLR(optimizer, 2)

    def closure():
        optimizer.zero_grad()
        loss = W.square().sum()
        loss.backward()
        return loss

    def step():
        loss = closure()
        if what == "LBFGS":
            optimizer.step(closure)
        elif what == "get_last_lr":
            return schedule.get_last_lr()
        else:
            optimizer.step()
            plateau.step(loss)
        return loss

    before = twins.frozen([W, optimizer, plateau])
    with pytest.raises(CaptureError, match=rf"{re.escape(what)}(.|\n)*test_captured\.py"):
        tg.compile(step)()
    twins.assert_same(twins.frozen([W, optimizer, plateau]), before, exact=True)


def test_a_step_without_gradients_is_refused_as_it_is_without_compiling():
    optimizer = optim.SGD([tensor(3, seed=1)], lr=0.1)
    with pytest.raises(GradientError, match="no parameter has a gradient"):
        tg.compile(lambda: optimizer.step())()


def test_a_bad_rate_set_by_hand_is_refused_and_nothing_is_done(way):
    with twins.compiled_for(way):
        w = training(lambda params: optim.Adam(params, lr=0.1))()
        step = tg.compile(w.step, **twins.WAYS[way])
        step(), step()
        before = twins.frozen([w.W, w.optimizer.state_dict()["state"]])
        w.optimizer.param_groups[0]["lr"] = float("nan")
        with pytest.raises(ArgumentError, match="learning rate"):
            step()
        twins.assert_same(twins.frozen([w.W, w.optimizer.state_dict()["state"]]), before, exact=True)


def test_a_schedule_that_is_over_raises_and_nothing_is_done(way):
    with twins.compiled_for(way):
        w = training(
            lambda params: optim.SGD(params, lr=0.1), lambda o: lr_scheduler.OneCycleLR(o, 0.1, 4, cycle_momentum=False)
        )()
        step = tg.compile(w.step, **twins.WAYS[way])
        for _ in range(4):
            step()
        before = twins.frozen([w.W, w.optimizer, w.schedule])
        with pytest.raises(ArgumentError, match="cycle"):
            step()
        twins.assert_same(twins.frozen([w.W, w.optimizer, w.schedule]), before, exact=True)
        assert w.schedule.last_epoch == 4


def test_a_failure_after_the_steps_leaves_everything_as_it_was():
    def fail(w):
        raise ZeroDivisionError

    w = training(lambda params: optim.Adam(params, lr=0.1), SCHEDULES["StepLR"], after=fail)()
    w.optimizer.param_groups[0]["lr"] = 0.7
    w.W.grad = np.ones((3, 4))
    before = twins.frozen([w.W, w.V, w.optimizer, w.schedule])
    with pytest.raises(ZeroDivisionError):
        tg.compile(w.step)()
    twins.assert_same(twins.frozen([w.W, w.V, w.optimizer, w.schedule]), before, exact=True)
