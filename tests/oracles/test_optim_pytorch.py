"""Optimisers and schedules step by step against PyTorch's."""

import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import optim

torch = pytest.importorskip(
    "torch", reason="PyTorch's optimisers are the other implementation that ours are compared with"
)

STEPS = 320
BATCHES = 8

# --- problems: arrays to begin with, and a loss of a batch written once for both libraries ------------------------

_rng = np.random.default_rng(20240607)
A, B = _rng.normal(size=(BATCHES, 12, 6)), _rng.normal(size=(BATCHES, 12, 1))
LABELS = (_rng.random(size=(BATCHES, 12, 1)) < 0.4).astype(float)


def quadratic(parameters, constant, batch):
    (w, c) = parameters
    return ((constant(A[batch]) @ w + c - constant(B[batch])) ** 2).mean()


def logistic_regression(parameters, constant, batch):
    (w, c) = parameters
    z = constant(A[batch]) @ w + c
    return ((1 + z.exp()).log() - constant(LABELS[batch]) * z).mean()


def network(parameters, constant, batch):
    W1, b1, W2, b2 = parameters
    return ((((constant(A[batch]) @ W1 + b1).tanh() @ W2 + b2) - constant(B[batch])) ** 2).mean()


LINEAR_START = [_rng.normal(size=(6, 1)), _rng.normal(size=())]
PROBLEMS = {
    "quadratic": (quadratic, LINEAR_START),
    "logistic": (logistic_regression, LINEAR_START),
    "network": (
        network,
        [_rng.normal(size=(6, 5)), _rng.normal(size=5), _rng.normal(size=(5, 1)), _rng.normal(size=1)],
    ),
}

OPTIMIZERS = [
    ("SGD", {"lr": 0.02}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.8, "dampening": 0.4}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.02, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 1e-4, "momentum": 0.5, "weight_decay": 0.1, "maximize": True}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.2, "lr_decay": 0.01, "weight_decay": 0.05}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.5, "eps": 1e-3}),
    ("Adagrad", {"lr": 1e-3, "maximize": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 3e-3, "alpha": 0.9, "eps": 1e-4, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 3e-3, "momentum": 0.7}),
    ("RMSprop", {"lr": 3e-3, "centered": True}),
    ("RMSprop", {"lr": 3e-3, "centered": True, "momentum": 0.7, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 1e-3, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-5}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "amsgrad": True}),
    ("Adam", {"lr": 0.05, "amsgrad": True, "weight_decay": 0.1, "betas": (0.0, 0.9)}),
    ("Adam", {"lr": 1e-3, "maximize": True}),
    ("AdamW", {"lr": 0.05}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.3, "amsgrad": True}),
    ("AdamW", {"lr": 1e-3, "maximize": True}),
]


def named(case):
    return f"{case[0]}-{'-'.join(f'{name}={value}' for name, value in case[1].items())}"


def groups(parameters, several, lr):
    """One group, or a first half of the parameters, and the others with a learning rate of their own."""
    if not several:
        return parameters
    half = len(parameters) // 2
    return [{"params": parameters[:half]}, {"params": parameters[half:], "lr": 0.3 * lr, "weight_decay": 0.02}]


def pair(problem, case, dtype=np.float64, several=False):
    """Return a parameters-and-optimiser-and-step of ours, and PyTorch's."""
    loss, start = PROBLEMS[problem]
    name, options = case
    start = [x.astype(dtype) for x in start]
    ours = [tg.tensor(x, requires_grad=True) for x in start]
    theirs = [torch.tensor(x, requires_grad=True) for x in start]
    our_optimizer = getattr(optim, name)(groups(ours, several, options.get("lr", 0.01)), **options)
    their_optimizer = getattr(torch.optim, name)(groups(theirs, several, options.get("lr", 0.01)), **options)

    def our_loss(batch):
        our_optimizer.zero_grad()
        value = loss(ours, lambda x: x.astype(dtype), batch)
        value.backward()
        return value

    def their_loss(batch):
        their_optimizer.zero_grad()
        value = loss(theirs, lambda x: torch.from_numpy(x.astype(dtype)), batch)
        value.backward()
        return value

    return (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss)


def distance(ours, theirs):
    """Return the largest difference, relative to the parameter's size where that is above 1."""
    return max(
        np.max(np.abs(x.data - y.detach().numpy()) / np.maximum(1, np.abs(x.data)))
        for x, y in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize(
    ("problem", "several"), [("quadratic", False), ("logistic", True), ("network", False), ("network", True)]
)
@pytest.mark.parametrize("case", OPTIMIZERS, ids=named)
def test_every_step_is_pytorchs(case, problem, several):
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair(problem, case, several=several)
    start = [x.data.copy() for x in ours]
    for step in range(STEPS):
        our_loss(step % BATCHES)
        their_loss(step % BATCHES)
        our_optimizer.step()
        their_optimizer.step()
        assert distance(ours, theirs) < 1e-10, f"at step {step}"
    assert any(np.abs(x.data - x0).max() > 1e-3 for x, x0 in zip(ours, start, strict=True)), "nothing has moved"


@pytest.mark.parametrize("case", OPTIMIZERS, ids=named)
def test_float32_stays_float32_and_near_pytorchs(case):
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair("network", case, np.float32)
    for step in range(100):
        our_loss(step % BATCHES)
        their_loss(step % BATCHES)
        our_optimizer.step()
        their_optimizer.step()
    assert all(x.dtype == np.float32 for x in ours)
    arrays = [x for state in our_optimizer.state.values() for x in state.values() if isinstance(x, np.ndarray)]
    assert all(x.dtype == np.float32 for x in arrays)
    assert distance(ours, theirs) < 5e-4


@pytest.mark.parametrize("case", OPTIMIZERS, ids=named)
def test_the_state_is_called_as_in_pytorch(case):
    (_, our_optimizer, our_loss), (_, their_optimizer, their_loss) = pair("network", case)
    for step in range(3):
        our_loss(step)
        their_loss(step)
        our_optimizer.step()
        their_optimizer.step()
    ours, theirs = our_optimizer.state_dict(), their_optimizer.state_dict()
    assert ours.keys() == theirs.keys()
    assert ours["param_groups"][0]["params"] == theirs["param_groups"][0]["params"]
    assert all(
        ours["param_groups"][0][name] == pytest.approx(theirs["param_groups"][0][name])
        for name in our_optimizer.defaults
    )
    for number, state in theirs["state"].items():
        for name, value in state.items():
            if value is not None:
                np.testing.assert_allclose(ours["state"][number][name], value.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("case", [("SGD", {"lr": 0.02, "momentum": 0.9}), ("Adam", {"lr": 0.02})], ids=named)
def test_parameters_without_a_gradient_are_skipped_as_in_pytorch(case):
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair("network", case)
    for step in range(20):
        our_loss(step % BATCHES)
        their_loss(step % BATCHES)
        if step % 3:
            ours[1].grad = theirs[1].grad = None
        our_optimizer.step()
        their_optimizer.step()
    assert distance(ours, theirs) < 1e-12


# --- L-BFGS --------------------------------------------------------------------------------------------------------


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def closure(loss, x, optimizer):
    def evaluate():
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    return evaluate


LBFGS_OPTIONS = [
    {"line_search_fn": "strong_wolfe"},
    {"line_search_fn": "strong_wolfe", "history_size": 3, "max_iter": 7},
    {"line_search_fn": "strong_wolfe", "max_eval": 3},
    {"line_search_fn": "strong_wolfe", "lr": 0.3, "history_size": 1},
    {"lr": 0.1, "max_iter": 5},
]


@pytest.mark.parametrize("options", LBFGS_OPTIONS, ids=str)
@pytest.mark.parametrize("size", [2, 5])
def test_lbfgs_goes_pytorchs_way_over_rosenbrocks_valley(size, options):
    """As near to PyTorch's as PyTorch's own is when it starts one rounding error further away.

    On a curved valley every iteration magnifies differences, with a short history by 1e9 in fifty iterations.
    """
    start = np.linspace(-1.2, 1.0, size)
    x, y, z = tg.tensor(start, requires_grad=True), torch.tensor(start), torch.tensor(start * (1 + 1e-15))
    ours = optim.LBFGS([x], **options)
    theirs, beside = (torch.optim.LBFGS([w.requires_grad_()], **options) for w in (y, z))
    near = 0.0
    for step in range(6):
        ours.step(closure(rosenbrock, x, ours))
        theirs.step(closure(rosenbrock, y, theirs))
        beside.step(closure(rosenbrock, z, beside))
        near = max(near, float((y - z).detach().abs().max()))
        np.testing.assert_allclose(x.data, y.detach().numpy(), rtol=0, atol=max(1e-12, 10 * near))
        assert step > 0 or near < 1e-11, "nothing is compared"
        for count in ("n_iter", "func_evals"):
            assert ours.state[x][count] == theirs.state[y][count] or near > 1e-7


@pytest.mark.parametrize("options", [{"line_search_fn": "strong_wolfe"}, {"lr": 0.5}], ids=str)
@pytest.mark.parametrize("problem", ["quadratic", "logistic"])
def test_lbfgs_goes_pytorchs_way_to_1e_10(problem, options):
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair(problem, ("LBFGS", options))
    for _ in range(4):
        our_optimizer.step(lambda: our_loss(0))
        their_optimizer.step(lambda: their_loss(0))
        assert distance(ours, theirs) < 1e-10


# --- schedules -----------------------------------------------------------------------------------------------------

SCHEDULES = [
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.25, "total_iters": 40}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.01, "end_factor": 0.8, "total_iters": 100}),
    ("ExponentialLR", {"gamma": 0.98}),
    ("StepLR", {"step_size": 30}),
    ("StepLR", {"step_size": 7, "gamma": 0.9}),
    ("MultiStepLR", {"milestones": [10, 10, 50, 200], "gamma": 0.5}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 250, "power": 2.5}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.95**step}),
    ("LambdaLR", {"lr_lambda": [lambda step: 1 / (1 + step), lambda step: math.exp(-step / 100)]}),
    ("CosineAnnealingLR", {"T_max": 320}),
    ("CosineAnnealingLR", {"T_max": 50, "eta_min": 0.001}),
    ("CosineAnnealingWarmRestarts", {"T_0": 40}),
    ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": 2, "eta_min": 1e-4}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 3}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS}),
    ("OneCycleLR", {"max_lr": [0.3, 0.1], "epochs": 32, "steps_per_epoch": 10, "pct_start": 0.17}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "anneal_strategy": "linear", "div_factor": 5.0}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "three_phase": True, "final_div_factor": 100.0}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "base_momentum": 0.5, "max_momentum": 0.9}),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "cycle_momentum": False}),
]


def optimizers(name="SGD", **options):
    """Return an optimiser of ours, and PyTorch's, of two groups, with gradients in place."""
    ours = [tg.tensor([1.0], requires_grad=True) for _ in range(2)]
    theirs = [torch.tensor([1.0], requires_grad=True) for _ in range(2)]
    for x, y in zip(ours, theirs, strict=True):
        x.grad, y.grad = [0.01], torch.tensor([0.01])
    return (
        getattr(optim, name)([{"params": ours[:1]}, {"params": ours[1:], "lr": 0.03}], lr=0.1, **options),
        getattr(torch.optim, name)([{"params": theirs[:1]}, {"params": theirs[1:], "lr": 0.03}], lr=0.1, **options),
    )


def rates(optimizer):
    return [group["lr"] for group in optimizer.param_groups]


def momenta(optimizer):
    return [group["betas"][0] if "betas" in group else group["momentum"] for group in optimizer.param_groups]


def compare(ours, theirs, schedule, their_schedule, steps=STEPS):
    for step in range(steps):
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-11, abs=1e-16), f"at step {step}"
        assert momenta(ours) == pytest.approx(momenta(theirs), rel=1e-11), f"at step {step}"
        assert rates(ours) == schedule.lr_at(step) == schedule.get_last_lr()  # bit for bit
        theirs.step()
        schedule.step()
        their_schedule.step()


@pytest.mark.parametrize("name", ["SGD", "Adam"])
@pytest.mark.parametrize("case", SCHEDULES, ids=lambda case: f"{case[0]}-{'-'.join(case[1])}")
def test_every_schedule_is_pytorchs(case, name):
    ours, theirs = optimizers(name, **({"momentum": 0.9} if name == "SGD" else {}))
    kind, options = case
    schedule = getattr(optim.lr_scheduler, kind)(ours, **options)
    their_schedule = getattr(torch.optim.lr_scheduler, kind)(theirs, **options)
    compare(ours, theirs, schedule, their_schedule)


def warm_up_then_cosine(library, optimizer):
    s = library.lr_scheduler
    parts = [
        s.LinearLR(optimizer, 0.1, total_iters=20),
        s.CosineAnnealingLR(optimizer, 200),
        s.ExponentialLR(optimizer, 0.9),
    ]
    return s.SequentialLR(optimizer, parts, milestones=[20, 220])


def warm_restarts_after_constant(library, optimizer):
    s = library.lr_scheduler
    parts = [s.ConstantLR(optimizer, 0.5, total_iters=10), s.CosineAnnealingWarmRestarts(optimizer, 30, 2)]
    return s.SequentialLR(optimizer, parts, milestones=[30])


def warm_up_times_decay(library, optimizer):
    s = library.lr_scheduler
    parts = [
        s.LinearLR(optimizer, 0.1, total_iters=20),
        s.ExponentialLR(optimizer, 0.99),
        s.StepLR(optimizer, 100, 0.5),
    ]
    return s.ChainedScheduler(parts)


@pytest.mark.parametrize("make", [warm_up_then_cosine, warm_restarts_after_constant, warm_up_times_decay])
def test_combinations_are_pytorchs(make):
    ours, theirs = optimizers(momentum=0.9)
    compare(ours, theirs, make(optim, ours), make(torch.optim, theirs))


PLATEAUS = [
    {},
    {"patience": 3, "factor": 0.5},
    {"patience": 2, "cooldown": 4, "factor": 0.7},
    {"mode": "max", "patience": 2, "factor": 0.8},
    {"threshold_mode": "abs", "threshold": 0.05, "patience": 1, "factor": 0.9},
    {"mode": "max", "threshold_mode": "abs", "threshold": 0.02, "patience": 1, "factor": 0.9},
    {"patience": 1, "factor": 0.3, "min_lr": [1e-3, 1e-2]},
    {"patience": 1, "factor": 0.5, "eps": 1e-3},
]


@pytest.mark.parametrize("options", PLATEAUS, ids=str)
def test_plateaus_are_pytorchs(options):
    ours, theirs = optimizers()
    schedule = optim.lr_scheduler.ReduceLROnPlateau(ours, **options)
    their_schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **options)
    rng = np.random.default_rng(1)
    for step in range(300):
        loss = 2 * math.exp(-step / 80) + 0.05 * rng.normal()
        schedule.step(loss)
        their_schedule.step(loss)
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-14)
    assert rates(ours) != [0.1, 0.03], "the learning rate was never reduced"


def test_a_scheduled_run_is_pytorchs():
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair(
        "network", ("SGD", {"lr": 0.1, "momentum": 0.9})
    )
    schedule = optim.lr_scheduler.OneCycleLR(our_optimizer, 0.05, total_steps=STEPS)
    their_schedule = torch.optim.lr_scheduler.OneCycleLR(their_optimizer, 0.05, total_steps=STEPS)
    for step in range(STEPS):
        our_loss(step % BATCHES)
        their_loss(step % BATCHES)
        our_optimizer.step()
        their_optimizer.step()
        schedule.step()
        their_schedule.step()
        assert distance(ours, theirs) < 1e-10


# --- averages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", [None, 0.9], ids=["swa", "ema"])
def test_averages_are_pytorchs(decay):
    averages = torch.optim.swa_utils
    (ours, our_optimizer, our_loss), (theirs, their_optimizer, their_loss) = pair("network", ("SGD", {"lr": 0.05}))
    model = torch.nn.ParameterList([torch.nn.Parameter(y) for y in theirs])
    their_optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    theirs[:] = list(model)
    rule = {} if decay is None else {"multi_avg_fn": averages.get_ema_multi_avg_fn(decay)}
    their_average = averages.AveragedModel(model, **rule)
    average = optim.swa(ours) if decay is None else optim.ema(ours, decay)
    for step in range(50):
        our_loss(step % BATCHES)
        their_optimizer.zero_grad()
        their_loss(step % BATCHES)
        our_optimizer.step()
        their_optimizer.step()
        average.update()
        their_average.update_parameters(model)
    for a, b, x in zip(average.averages, their_average.module, ours, strict=True):
        np.testing.assert_allclose(a, b.detach().numpy(), rtol=0, atol=1e-13)
        assert np.abs(a - x.data).max() > 1e-4
