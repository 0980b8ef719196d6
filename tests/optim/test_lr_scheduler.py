"""Schedules: closed forms, first and last step, step by step the same bits, continued from anywhere."""

import json
import math
import sys

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim
from tinygrad_bc.errors import ArgumentError, MissingDependencyError
from tinygrad_bc.optim import lr_scheduler as schedules

BASE = [0.5, 0.02]


def optimizer_of_two_groups(kind=optim.SGD, **options):
    xs = [tg.tensor([1.0], requires_grad=True) for _ in range(2)]
    groups = [{"params": [x], "lr": lr} for x, lr in zip(xs, BASE, strict=True)]
    return kind(groups, **(options or ({"momentum": 0.9} if kind is optim.SGD else {})))


def chained(optimizer):
    return schedules.ChainedScheduler(
        [schedules.LinearLR(optimizer, 0.1, total_iters=10), schedules.ExponentialLR(optimizer, 0.9)]
    )


def sequential(optimizer):
    parts = [schedules.LinearLR(optimizer, 0.1, total_iters=10), schedules.CosineAnnealingLR(optimizer, 20, 0.001)]
    return schedules.SequentialLR(optimizer, parts, milestones=[10])


def nested(optimizer):
    return schedules.SequentialLR(
        optimizer, [chained(optimizer), schedules.OneCycleLR(optimizer, 1.0, 50)], milestones=[5]
    )


# Each: how it is made, its closed form as a function of step and base, a step, and what the base is multiplied by
# at step 0 and at that step, exactly.
SCHEDULES = {
    "constant": (
        lambda o: schedules.ConstantLR(o, 0.25, total_iters=4),
        lambda t, base: base * (0.25 if t < 4 else 1),
        (0.25, 4, 1.0),
    ),
    "linear": (
        lambda o: schedules.LinearLR(o, 0.25, 0.75, total_iters=8),
        lambda t, base: base * (0.25 + 0.5 * min(t, 8) / 8),
        (0.25, 8, 0.75),
    ),
    "exponential": (lambda o: schedules.ExponentialLR(o, 0.5), lambda t, base: base * 0.5**t, (1.0, 10, 2.0**-10)),
    "step": (lambda o: schedules.StepLR(o, 5, 0.5), lambda t, base: base / 2 ** (t // 5), (1.0, 14, 0.25)),
    "multi-step": (
        lambda o: schedules.MultiStepLR(o, [9, 3, 9], 0.5),
        lambda t, base: base * (1 if t < 3 else 0.5 if t < 9 else 0.125),
        (1.0, 9, 0.125),
    ),
    "inverse time": (lambda o: schedules.InverseTimeLR(o, 0.25), lambda t, base: base / (1 + t / 4), (1.0, 12, 0.25)),
    "polynomial": (
        lambda o: schedules.PolynomialLR(o, 16, 2.0),
        lambda t, base: base * (1 - min(t, 16) / 16) ** 2,
        (1.0, 16, 0.0),
    ),
    "lambda": (
        lambda o: schedules.LambdaLR(o, [lambda t: 1 / (1 + t), lambda t: 1 / (1 + t)]),
        lambda t, base: base / (1 + t),
        (1.0, 3, 0.25),
    ),
    "cosine": (
        lambda o: schedules.CosineAnnealingLR(o, 20),
        lambda t, base: base * (1 + math.cos(math.pi * t / 20)) / 2,
        (1.0, 20, 0.0),
    ),
    "warm restarts": (
        lambda o: schedules.CosineAnnealingWarmRestarts(o, 7),
        lambda t, base: base * (1 + math.cos(math.pi * (t % 7) / 7)) / 2,
        (1.0, 7, 1.0),
    ),
    "chained": (
        chained,
        lambda t, base: base * (0.1 + 0.9 * min(t, 10) / 10) * 0.9**t,
        (0.1, 10, 0.9**10),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_closed_form_first_and_last_step(name):
    make, formula, (first, last_step, last) = SCHEDULES[name]
    schedule = make(optimizer_of_two_groups())
    assert schedule.lr_at(0) == [first * base for base in BASE]
    assert schedule.lr_at(last_step) == [last * base for base in BASE]
    for t in range(60):
        assert schedule.lr_at(t) == pytest.approx([formula(t, base) for base in BASE], rel=1e-13, abs=1e-17)


ALL = {
    **{name: make for name, (make, _, _) in SCHEDULES.items()},
    "cosine with a floor": lambda o: schedules.CosineAnnealingLR(o, 30, 0.01),
    "growing restarts": lambda o: schedules.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
    "1cycle": lambda o: schedules.OneCycleLR(o, [1.0, 0.1], total_steps=60),
    "1cycle in three phases": lambda o: schedules.OneCycleLR(o, 1.0, 60, three_phase=True, anneal_strategy="linear"),
    "sequential": sequential,
    "nested": nested,
}


def settings(optimizer):
    return [{name: x for name, x in group.items() if name != "params"} for group in optimizer.param_groups]


@pytest.mark.parametrize("name", ALL)
def test_step_by_step_is_the_function_bit_for_bit(name):
    optimizer = optimizer_of_two_groups()
    schedule = ALL[name](optimizer)
    for t in range(50):
        lrs = [group["lr"] for group in optimizer.param_groups]
        assert lrs == schedule.lr_at(t) == schedule.get_last_lr()
        assert all(type(lr) is float for lr in lrs)
        assert schedule.last_epoch == t
        schedule.step()


@pytest.mark.parametrize("name", ALL)
def test_lr_at_changes_nothing(name):
    optimizer = optimizer_of_two_groups()
    schedule = ALL[name](optimizer)
    before = settings(optimizer)
    schedule.lr_at(31)
    assert settings(optimizer) == before
    assert schedule.last_epoch == 0


@pytest.mark.parametrize("name", ALL)
def test_saved_loaded_and_continued_is_bit_identical(name):
    optimizer = optimizer_of_two_groups()
    schedule = ALL[name](optimizer)
    for _ in range(13):
        schedule.step()
    saved = json.loads(json.dumps(schedule.state_dict()))
    other = optimizer_of_two_groups()
    continued = ALL[name](other)
    continued.load_state_dict(saved)
    for _ in range(20):
        assert settings(other) == settings(optimizer)
        schedule.step()
        continued.step()


def test_sgdr_restarts_where_the_paper_does():
    """Loshchilov, Hutter (2017), section 3: cycles of T_0, T_0·T_mult, T_0·T_mult² ... steps."""
    schedule = schedules.CosineAnnealingWarmRestarts(optimizer_of_two_groups(), 10, 2, eta_min=0.01)
    restarts = [t for t in range(200) if schedule.lr_at(t) == BASE]
    assert restarts == [0, 10, 30, 70, 150]
    for start, length in [(0, 10), (10, 20), (30, 40)]:
        middle = [(base + 0.01) / 2 for base in BASE]
        assert schedule.lr_at(start + length / 2) == pytest.approx(middle, rel=1e-14)
        last = [0.01 + (base - 0.01) * (1 - math.cos(math.pi / length)) / 2 for base in BASE]
        assert schedule.lr_at(start + length - 1) == pytest.approx(last, rel=1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_1cycle_from_its_first_step_to_its_last(strategy):
    optimizer = optimizer_of_two_groups()
    schedule = schedules.OneCycleLR(
        optimizer, [1.0, 0.5], 100, pct_start=0.25, anneal_strategy=strategy, div_factor=10, final_div_factor=100
    )
    assert schedule.lr_at(0) == [0.1, 0.05]
    assert schedule.lr_at(24) == [1.0, 0.5]
    assert schedule.lr_at(99) == [0.001, 0.0005]
    assert schedule.lr_at(12) == pytest.approx([0.55, 0.275])
    assert [schedule.momentum_at(t) for t in (0, 24, 99)] == [0.95, 0.85, 0.95]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.95, 0.95]
    lrs = [schedule.lr_at(t)[0] for t in range(100)]
    assert np.all(np.diff(lrs[:25]) > 0)
    assert np.all(np.diff(lrs[24:]) < 0)


def test_1cycle_in_three_phases():
    schedule = schedules.OneCycleLR(optimizer_of_two_groups(), 1.0, 100, pct_start=0.4, three_phase=True)
    assert [schedule.lr_at(t)[0] for t in (0, 39, 78, 99)] == [0.04, 1.0, 0.04, 0.04 / 1e4]
    assert [schedule.momentum_at(t) for t in (0, 39, 78, 90, 99)] == [0.95, 0.85, 0.95, 0.95, 0.95]


@pytest.mark.parametrize(("steps", "share"), [(1, 0.3), (2, 0.5), (5, 0.0), (5, 1.0)])
def test_the_shortest_cycles(steps, share):
    schedule = schedules.OneCycleLR(optimizer_of_two_groups(), 1.0, steps, pct_start=share)
    assert all(0 < lr <= 1 for t in range(steps) for lr in schedule.lr_at(t))


def test_1cycle_moves_beta1_of_adam():
    optimizer = optimizer_of_two_groups(optim.Adam)
    schedule = schedules.OneCycleLR(optimizer, 0.1, epochs=2, steps_per_epoch=5)
    for _ in range(2):
        schedule.step()
    assert [group["betas"] for group in optimizer.param_groups] == [(0.85, 0.999)] * 2


def test_1cycle_ends():
    schedule = schedules.OneCycleLR(optimizer_of_two_groups(), 1.0, 3)
    for _ in range(3):
        schedule.step()
    with pytest.raises(ArgumentError, match="takes 3 steps"):
        schedule.step()
    assert schedule.last_epoch == 3


def test_warm_up_then_cosine():
    schedule = sequential(optimizer_of_two_groups())
    assert schedule.lr_at(0) == [0.05, 0.002]
    assert schedule.lr_at(10) == BASE
    assert schedule.lr_at(30) == [0.001, 0.001]


def test_the_momentum_of_a_1cycle_inside_a_sequence():
    optimizer = optimizer_of_two_groups()
    cycle = schedules.OneCycleLR(optimizer, 1.0, 50)
    schedule = schedules.SequentialLR(optimizer, [schedules.StepLR(optimizer, 9), cycle], milestones=[5])
    for _ in range(12):
        schedule.step()
    assert [group["momentum"] for group in optimizer.param_groups] == [cycle.momentum_at(7)] * 2
    assert cycle.momentum_at(7) < 0.95


def test_a_second_schedule_starts_from_the_same_base():
    optimizer = optimizer_of_two_groups()
    schedules.ConstantLR(optimizer, 0.1)
    assert schedules.ExponentialLR(optimizer, 0.5).base_lrs == BASE


def test_a_schedule_survives_in_the_optimisers_state():
    optimizer = optimizer_of_two_groups()
    schedule = schedules.ExponentialLR(optimizer, 0.5)
    schedule.step()
    other = optimizer_of_two_groups()
    other.load_state_dict(optimizer.state_dict())
    assert [group["lr"] for group in other.param_groups] == [0.25, 0.01]
    assert schedules.ExponentialLR(other, 0.5).base_lrs == BASE


REFUSED = [
    (lambda o: schedules.StepLR(o, 0), "step_size"),
    (lambda o: schedules.ExponentialLR(o, -0.5), "gamma"),
    (lambda o: schedules.ConstantLR(o, 1.5), "between 0 and 1"),
    (lambda o: schedules.LinearLR(o, 0.0), "start_factor"),
    (lambda o: schedules.LinearLR(o, 0.5, 1.5), "end_factor"),
    (lambda o: schedules.MultiStepLR(o, [-1]), "milestones"),
    (lambda o: schedules.InverseTimeLR(o, -1), "decay"),
    (lambda o: schedules.PolynomialLR(o, 0), "total_iters"),
    (lambda o: schedules.LambdaLR(o, [math.exp]), "each, got 1"),
    (lambda o: schedules.CosineAnnealingLR(o, 0), "T_max"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2.5), "T_0"),
    (lambda o: schedules.CosineAnnealingWarmRestarts(o, 2, 0), "T_mult"),
    (lambda o: schedules.OneCycleLR(o, 1.0), "total_steps"),
    (lambda o: schedules.OneCycleLR(o, -1.0, 10), "max_lr"),
    (lambda o: schedules.OneCycleLR(o, [1.0], 10), "2 groups"),
    (lambda o: schedules.OneCycleLR(o, 1.0, 10, pct_start=3), "pct_start"),
    (lambda o: schedules.OneCycleLR(o, 1.0, 10, anneal_strategy="cosine"), "anneal_strategy"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)], [3]), "one milestone less"),
    (lambda o: schedules.SequentialLR(o, [schedules.StepLR(o, 1)] * 3, [3, 2]), "ascending"),
    (lambda o: schedules.ChainedScheduler([]), "at least one"),
    (lambda o: schedules.ChainedScheduler([schedules.ReduceLROnPlateau(o)], o), "functions of the step"),
    (lambda o: schedules.ChainedScheduler([schedules.StepLR(o, 1), schedules.OneCycleLR(o, 1.0, 9)]), "the first"),
    (lambda o: schedules.ChainedScheduler([schedules.StepLR(optimizer_of_two_groups(), 1)], o), "same optimiser"),
    (lambda o: schedules.ReduceLROnPlateau(o, "lowest"), "mode"),
    (lambda o: schedules.ReduceLROnPlateau(o, factor=1.0), "factor"),
    (lambda o: schedules.ReduceLROnPlateau(o, min_lr=[0.1]), "min_lr"),
]


@pytest.mark.parametrize(("make", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_cannot_be_is_refused_before_anything_changes(make, message):
    optimizer = optimizer_of_two_groups()
    with pytest.raises(ArgumentError, match=message):
        make(optimizer)
    parts_were_made_before = message in ("one milestone less", "ascending", "the first")
    assert settings(optimizer) == settings(optimizer_of_two_groups()) or parts_were_made_before


def test_no_momentum_to_cycle():
    x = tg.tensor([1.0], requires_grad=True)
    with pytest.raises(ArgumentError, match="cycle_momentum"):
        schedules.OneCycleLR(optim.Adagrad([x]), 1.0, 10)
    schedules.OneCycleLR(optim.Adagrad([x]), 1.0, 10, cycle_momentum=False)


def test_steps_before_the_first_are_refused():
    schedule = schedules.StepLR(optimizer_of_two_groups(), 3)
    with pytest.raises(ArgumentError, match="counted from 0"):
        schedule.lr_at(-1)
    with pytest.raises(ArgumentError, match="2 groups"):
        schedule.load_state_dict({"base_lrs": [1.0], "last_epoch": 0})
    for make in (schedules.StepLR, schedules.LambdaLR, schedules.OneCycleLR, schedules.ReduceLROnPlateau):
        with pytest.raises(ArgumentError, match="expects an optimiser"):
            make("sgd", 3)


# --- the plateau ---------------------------------------------------------------------------------------------------


def test_a_plateau_is_waited_out():
    optimizer = optimizer_of_two_groups()
    schedule = schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=2, cooldown=1, min_lr=0.008)
    seen = []
    for loss in [3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 1.0]:
        schedule.step(loss)
        seen.append(schedule.get_last_lr())
    # The best, 2.0, is met twice more with patience; the third time is too often. Then one step to cool down.
    assert [lr for lr, _ in seen] == [0.5] * 4 + [0.25] * 4 + [0.125] * 2
    assert seen[-1][1] == 0.008
    with pytest.raises(ArgumentError, match="nan"):
        schedule.step(math.nan)


def test_a_plateau_continues_where_it_was_saved():
    rng = np.random.default_rng(0)
    losses = [float(x) for x in 1 + 0.1 * rng.normal(size=60)]
    optimizer = optimizer_of_two_groups()
    schedule = schedules.ReduceLROnPlateau(optimizer, factor=0.5, patience=3)
    for loss in losses[:25]:
        schedule.step(loss)
    other = optimizer_of_two_groups()
    other.load_state_dict(optimizer.state_dict())
    continued = schedules.ReduceLROnPlateau(other, factor=0.5, patience=3)
    continued.load_state_dict(json.loads(json.dumps(schedule.state_dict())))
    for loss in losses[25:]:
        schedule.step(loss)
        continued.step(loss)
        assert schedule.get_last_lr() == continued.get_last_lr()
    assert schedule.state_dict() == continued.state_dict()


# --- the chart -----------------------------------------------------------------------------------------------------


def test_the_chart_shows_each_groups_rates():
    pytest.importorskip("matplotlib", reason="charts need matplotlib")
    schedule = schedules.OneCycleLR(optimizer_of_two_groups(), [1.0, 0.1], 60)
    (axes,) = schedule.plot(60).axes
    lines = [line.get_ydata() for line in axes.get_lines()]
    assert np.array_equal(np.transpose(lines), [schedule.lr_at(t) for t in range(60)])
    assert axes.get_title() == "OneCycleLR"
    assert schedule.last_epoch == 0


def test_the_chart_needs_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_bc\[draw\]"):
        schedules.StepLR(optimizer_of_two_groups(), 3).plot(5)
