"""Schedules of the learning rate. Each is a function of the step: `lr_at` computes it, and `step` only counts.

So a schedule can be plotted before training, and continued from any step. Names, arguments and values are PyTorch's.
`ReduceLROnPlateau` is the exception: what it does depends on the losses it is told.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

from tinygrad_bc.errors import ArgumentError, MissingDependencyError
from tinygrad_bc.optim.optimizer import Optimizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "InverseTimeLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


class LRScheduler:
    """The base class of schedules: a subclass says what the learning rate is at a step (`_lr`).

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set. Those it has are the base rates, kept in its groups as ``"initial_lr"``.

    Attributes
    ----------
    last_epoch : int
        How many times `step` was called. It counts epochs or batches, whatever `step` is called after.
    base_lrs : list of float
        The learning rates of the groups that the schedule starts from.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        _require(isinstance(optimizer, Optimizer), self, "expects an optimiser of tg.optim", optimizer)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._write(0)

    def lr_at(self, step: float) -> list[float]:
        """Return the learning rate of each group at a step, without going there.

        Parameters
        ----------
        step : int
            0 is before the first call of `step`. Fractions lie in between.

        Raises
        ------
        ArgumentError
            If `step` is negative, or past the end of a schedule that has one.
        """
        _require(step >= 0, self, "steps are counted from 0", step)
        return [self._lr(step, base, group) for group, base in enumerate(self.base_lrs)]

    def _lr(self, step: float, base: float, group: int) -> float:
        raise NotImplementedError

    def _write(self, step: int) -> None:
        """Put into the optimiser's groups what they have at `step`."""
        for group, lr in zip(self.optimizer.param_groups, self.lr_at(step), strict=True):
            group["lr"] = lr

    def step(self) -> None:
        """Go on by one step: call it after ``optimizer.step()``."""
        self._write(self.last_epoch + 1)
        self.last_epoch += 1

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group at the present step."""
        return self.lr_at(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the base rates. The rest is given again when the schedule is made again."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the step that `state_dict` was called at, and set the optimiser's learning rates accordingly."""
        base_lrs, step = [float(lr) for lr in state_dict["base_lrs"]], int(state_dict["last_epoch"])
        _require(len(base_lrs) == len(self.base_lrs), self, f"{len(self.base_lrs)} groups, saved were", len(base_lrs))
        _require(step >= 0, self, "steps are counted from 0", step)
        self.base_lrs, self.last_epoch = base_lrs, step
        self._write(step)

    def plot(self, steps: int) -> Figure:
        """Return a chart of the learning rates at the first `steps` steps, a line for each group."""
        _require(steps >= 1, self, "plot needs at least one step", steps)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependencyError('charts need matplotlib: pip install "tinygrad_bc[draw]"') from error
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.add_subplot(title=type(self).__name__, xlabel="step", ylabel="learning rate")
        for number, lrs in enumerate(zip(*map(self.lr_at, range(steps)), strict=True)):
            axes.plot(range(steps), lrs, linewidth=2, label=f"group {number}")
        axes.grid(alpha=0.3)
        if len(self.base_lrs) > 1:
            axes.legend()
        return figure


def _require(fulfilled: bool, schedule: object, expected: str, got: object) -> None:
    if not fulfilled:
        raise ArgumentError(f"{type(schedule).__name__}: {expected}, got {got!r}")


def _linear(start: float, end: float, share: float) -> float:
    """Return what lies between `start`, at share 0, and `end`, at share 1; both are met exactly."""
    return start * (1 - share) + end * share


def _cosine(start: float, end: float, share: float) -> float:
    """Return what lies between `start` and `end` on half a period of a cosine."""
    return _linear(end, start, (1 + math.cos(math.pi * share)) / 2)


class ConstantLR(LRScheduler):
    """base·factor before step `total_iters`, then base.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    factor : float
        At first; between 0 and 1.
    total_iters : int
        The step from which on it is 1.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        _require(0 <= factor <= 1, self, "factor must be between 0 and 1", factor)
        _require(total_iters >= 0, self, "total_iters must not be negative", total_iters)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return base * self.factor if step < self.total_iters else base


class LinearLR(LRScheduler):
    """base times a factor that goes on a straight line from one number to another: with the defaults, a warm-up.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    start_factor : float
        The factor at step 0; above 0, at most 1.
    end_factor : float
        The factor from step `total_iters` on; between 0 and 1.
    total_iters : int
        How many steps the line has.

    References
    ----------
    Goyal et al. (2017), Accurate, large minibatch SGD: training ImageNet in 1 hour, section 2.2.
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1 / 3, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        _require(0 < start_factor <= 1, self, "start_factor must be above 0 and at most 1", start_factor)
        _require(0 <= end_factor <= 1, self, "end_factor must be between 0 and 1", end_factor)
        _require(total_iters >= 1, self, "total_iters must be positive", total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return base * _linear(self.start_factor, self.end_factor, min(step / self.total_iters, 1.0))


class ExponentialLR(LRScheduler):
    """base·gammaˢᵗᵉᵖ.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    gamma : float
        The factor of each step; positive.
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        _require(gamma > 0, self, "gamma must be positive", gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return float(base * self.gamma**step)


class StepLR(LRScheduler):
    """base·gammaⁿ, n being how often `step_size` steps have passed.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    step_size : int
        How many steps the learning rate stays the same for.
    gamma : float
        What it is multiplied by then; positive.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        _require(step_size >= 1, self, "step_size must be at least 1", step_size)
        _require(gamma > 0, self, "gamma must be positive", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return float(base * self.gamma ** (step // self.step_size))


class MultiStepLR(LRScheduler):
    """base·gammaⁿ, n being how many of the `milestones` are reached.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    milestones : sequence of int
        The steps from which on the learning rate is lower; one that is there twice counts twice.
    gamma : float
        What it is multiplied by at each; positive.
    """

    def __init__(self, optimizer: Optimizer, milestones: Sequence[int], gamma: float = 0.1) -> None:
        _require(all(m >= 0 for m in milestones), self, "milestones must not be negative", milestones)
        _require(gamma > 0, self, "gamma must be positive", gamma)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return float(base * self.gamma ** bisect_right(self.milestones, step))


class InverseTimeLR(LRScheduler):
    """base/(1 + decay·step): annealing by 1/t. Not in PyTorch.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    decay : float
        One divided by the number of steps after which the learning rate is half of base; not negative.

    References
    ----------
    Darken, Moody (1990), Note on learning rate schedules for stochastic optimization: "search then converge". As
    Robbins, Monro (1951), A stochastic approximation method, ask for, Σ lr is infinite and Σ lr² is not.
    """

    def __init__(self, optimizer: Optimizer, decay: float) -> None:
        _require(0 <= decay < math.inf, self, "decay must be finite and not negative", decay)
        self.decay = decay
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return base / (1 + self.decay * step)


class PolynomialLR(LRScheduler):
    """base·(1 − step/total_iters)ᵖᵒʷᵉʳ, and 0 from step `total_iters` on.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    total_iters : int
        The step from which on the learning rate is 0.
    power : float
        1 is a straight line; positive.
    """

    def __init__(self, optimizer: Optimizer, total_iters: int = 5, power: float = 1.0) -> None:
        _require(total_iters >= 1, self, "total_iters must be positive", total_iters)
        _require(power > 0, self, "power must be positive", power)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return float(base * (1 - min(step / self.total_iters, 1.0)) ** self.power)


class LambdaLR(LRScheduler):
    """base·lr_lambda(step).

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    lr_lambda : callable or sequence of callable
        The factor at a step, of all groups or of each. It should depend on the step alone.
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[Any], float] | Sequence[Callable[[Any], float]]
    ) -> None:
        groups = len(optimizer.param_groups)
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        _require(
            len(self.lr_lambdas) == groups, self, f"one function for all {groups} groups or each", len(self.lr_lambdas)
        )
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:
        return float(base * self.lr_lambdas[group](step))


class CosineAnnealingLR(LRScheduler):
    """Half a period of a cosine from base, at step 0, down to `eta_min`, at step `T_max`; and up again.

    eta_min + ½·(base − eta_min)·(1 + cos(π·step/T_max)).

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    T_max : int
        At which step the learning rate is lowest.
    eta_min : float
        The lowest learning rate.

    References
    ----------
    Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm restarts, eq. 5, without the restarts.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        _require(T_max >= 1, self, "T_max must be at least 1", T_max)
        _require(eta_min >= 0, self, "eta_min must not be negative", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        return _cosine(base, self.eta_min, step / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """SGDR: from base to nearly `eta_min` on half a period of a cosine, and back to base at once, again and again.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to set.
    T_0 : int
        How many steps the first cycle takes.
    T_mult : int
        How many times as many steps each further cycle takes as the one before it.
    eta_min : float
        What the learning rate falls to; that step itself is the first of the next cycle.

    References
    ----------
    Loshchilov, Hutter (2017), SGDR: stochastic gradient descent with warm restarts, eq. 5.
    """

    def __init__(self, optimizer: Optimizer, T_0: int, T_mult: int = 1, eta_min: float = 0.0) -> None:
        _require(isinstance(T_0, int) and T_0 >= 1, self, "T_0 must be a positive whole number", T_0)
        _require(isinstance(T_mult, int) and T_mult >= 1, self, "T_mult must be a positive whole number", T_mult)
        _require(eta_min >= 0, self, "eta_min must not be negative", eta_min)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.T_mult
        return _cosine(base, self.eta_min, step / length)


class OneCycleLR(LRScheduler):
    """1cycle: up from max_lr/div_factor to `max_lr`, and down to max_lr/div_factor/final_div_factor.

    The momentum (β₁ in Adam) goes the opposite way, from `max_momentum` to `base_momentum` and back. To be stepped
    after every batch.

    Parameters
    ----------
    optimizer : Optimizer
        Its own learning rate is not used.
    max_lr : float or sequence of float
        The highest learning rate, of all groups or of each.
    total_steps : int, optional
        How many steps the cycle takes; or give `epochs` and `steps_per_epoch`.
    epochs, steps_per_epoch : int, optional
        Their product is the number of steps.
    pct_start : float
        The share of the steps that go up.
    anneal_strategy : {'cos', 'linear'}
        The form of the way up and down.
    cycle_momentum : bool
        Whether to set the momentum too.
    base_momentum, max_momentum : float
        The lowest and the highest momentum.
    div_factor, final_div_factor : float
        How much lower the learning rate starts, and how much lower than that it ends.
    three_phase : bool
        Whether to go down to where it started first, as steeply as up, and to the end in a third phase.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or the optimiser has no momentum to cycle; from `step`, past the end: the
        optimiser's last step is taken at ``total_steps - 1``, and only one more `step` after it is accepted.

    References
    ----------
    Smith (2018), A disciplined approach to neural network hyper-parameters: part 1, sections 4.1 and 4.3. Smith, Topin
    (2018), Super-convergence: very fast training of neural networks using large learning rates.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | Sequence[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: Literal["cos", "linear"] = "cos",
        cycle_momentum: bool = True,
        base_momentum: float = 0.85,
        max_momentum: float = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
    ) -> None:
        if total_steps is None:
            _require(bool(epochs and steps_per_epoch), self, "total_steps, or epochs and steps_per_epoch, needed", None)
            total_steps = int(epochs or 0) * int(steps_per_epoch or 0)
        groups = optimizer.param_groups
        max_lrs = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        _require(total_steps >= 1, self, "total_steps must be positive", total_steps)
        _require(len(max_lrs) == len(groups), self, f"one max_lr for all {len(groups)} groups or each", max_lr)
        _require(all(0 < lr < math.inf for lr in max_lrs), self, "max_lr must be positive", max_lr)
        _require(0 <= pct_start <= 1, self, "pct_start must be between 0 and 1", pct_start)
        _require(anneal_strategy in ("cos", "linear"), self, "anneal_strategy is 'cos' or 'linear'", anneal_strategy)
        _require(div_factor > 0 and final_div_factor > 0, self, "factors must be positive", div_factor)
        self._momentum = "betas" if "betas" in groups[0] else "momentum"
        if cycle_momentum:
            _require(self._momentum in groups[0], self, "cycle_momentum=True needs a momentum or betas", optimizer)
            _require(0 <= base_momentum <= max_momentum < 1, self, "momenta: 0 ≤ base ≤ max < 1", max_momentum)
        self.max_lrs, self.div_factor, self.final_div_factor = max_lrs, div_factor, final_div_factor
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.total_steps, self.cycle_momentum, self.three_phase = total_steps, cycle_momentum, three_phase
        self._between = _cosine if anneal_strategy == "cos" else _linear
        # At which steps the phases end, and the first begins.
        turns = [pct_start * total_steps - 1, total_steps - 1]
        self._turns = [0.0, *(turns if not three_phase else [turns[0], 2 * turns[0], turns[1]])]
        super().__init__(optimizer)

    def _at(self, step: float, corners: Sequence[float]) -> float:
        """Return what `corners` are the values of, at the steps where phases begin and end, at any step."""
        _require(step <= self.total_steps, self, f"the cycle takes {self.total_steps} steps", step)
        phases = list(zip(pairwise(self._turns), pairwise(corners), strict=True))
        (begin, end), (start, stop) = next((p for p in phases if step <= p[0][1]), phases[-1])
        return self._between(start, stop, (step - begin) / (end - begin) if end != begin else 1.0)

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        top = self.max_lrs[group]
        start = top / self.div_factor
        end = start / self.final_div_factor
        return self._at(step, [start, top, start, end] if self.three_phase else [start, top, end])

    def momentum_at(self, step: float) -> float:
        """Return the momentum at a step, without going there."""
        low, high = self.base_momentum, self.max_momentum
        return self._at(step, [high, low, high, high] if self.three_phase else [high, low, high])

    def _write(self, step: int) -> None:
        super()._write(step)
        if not self.cycle_momentum:
            return
        momentum = self.momentum_at(step)
        for group in self.optimizer.param_groups:
            group[self._momentum] = (momentum, group["betas"][1]) if self._momentum == "betas" else momentum


class _Combination(LRScheduler):
    """A schedule made of others of the same optimiser."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        _require(len(schedulers) > 0, self, "at least one schedule is needed", schedulers)
        for schedule in schedulers:
            _require(isinstance(schedule, LRScheduler), self, "only functions of the step are combined", schedule)
            _require(schedule.optimizer is optimizer, self, "schedules must be of the same optimiser", schedule)
        self.schedulers = list(schedulers)
        super().__init__(optimizer)


class ChainedScheduler(_Combination):
    """Schedules on top of one another: each takes what the one before it gives as its base.

    Most multiply their base by a factor of their own, so that the factors are multiplied.

    Parameters
    ----------
    schedulers : sequence of LRScheduler
        The schedules, of one optimiser. `OneCycleLR`, which does not look at its base, can only be the first.
    optimizer : Optimizer, optional
        That optimiser.
    """

    def __init__(self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None) -> None:
        _require(len(schedulers) > 0, self, "at least one schedule is needed", schedulers)
        ignoring = [schedule for schedule in schedulers[1:] if isinstance(schedule, OneCycleLR)]
        _require(not ignoring, self, "OneCycleLR ignores what comes before it, and can only be the first", schedulers)
        super().__init__(schedulers[0].optimizer if optimizer is None else optimizer, schedulers)

    def _lr(self, step: float, base: float, group: int) -> float:
        for schedule in self.schedulers:
            base = schedule._lr(step, base, group)
        return base

    def _write(self, step: int) -> None:
        for schedule in self.schedulers:  # what else they set: momentum
            schedule._write(step)
        super()._write(step)


class SequentialLR(_Combination):
    """Schedules one after the other: each begins, with its own step 0, at a milestone.

    Parameters
    ----------
    optimizer : Optimizer
        That of all the schedules.
    schedulers : sequence of LRScheduler
        The schedules.
    milestones : sequence of int
        At which steps the second, the third ... begin.
    """

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler], milestones: Sequence[int]) -> None:
        _require(
            len(milestones) == len(schedulers) - 1,
            self,
            f"{len(schedulers)} schedules have one milestone less",
            milestones,
        )
        _require(all(a < b for a, b in pairwise([0, *milestones])), self, "milestones must be ascending", milestones)
        self.milestones = list(milestones)
        super().__init__(optimizer, schedulers)

    def _active(self, step: float) -> tuple[LRScheduler, Any]:
        """Return the schedule of a step, and which of its steps that is."""
        number = bisect_right(self.milestones, step)
        return self.schedulers[number], step - [0, *self.milestones][number]

    def _lr(self, step: float, base: float, group: int) -> float:
        schedule, own_step = self._active(step)
        return schedule._lr(own_step, base, group)

    def _write(self, step: int) -> None:
        schedule, own_step = self._active(step)
        schedule._write(own_step)
        super()._write(step)


class ReduceLROnPlateau:
    """Multiply the learning rate by `factor` when a loss has not become better for more than `patience` calls.

    What it does depends on the losses, so there is no ``lr_at`` and no ``plot``.

    Parameters
    ----------
    optimizer : Optimizer
        Whose learning rates to reduce.
    mode : {'min', 'max'}
        Whether lower or higher is better.
    factor : float
        By what to multiply; less than 1.
    patience : int
        How many calls without improvement are accepted.
    threshold : float
        By how much the best so far must be surpassed to count.
    threshold_mode : {'rel', 'abs'}
        Whether `threshold` is a share of the best so far, or a difference from it.
    cooldown : int
        How many calls after a reduction are not counted.
    min_lr : float or sequence of float
        Below what not to go, for all groups or each.
    eps : float
        A reduction by no more than this is left out.

    Raises
    ------
    ArgumentError
        If an argument is out of range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        _require(isinstance(optimizer, Optimizer), self, "expects an optimiser of tg.optim", optimizer)
        groups = len(optimizer.param_groups)
        min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        _require(mode in ("min", "max"), self, "mode is 'min' or 'max'", mode)
        _require(threshold_mode in ("rel", "abs"), self, "threshold_mode is 'rel' or 'abs'", threshold_mode)
        _require(0 <= factor < 1, self, "factor must be at least 0 and less than 1", factor)
        _require(patience >= 0 and cooldown >= 0, self, "patience and cooldown count calls", (patience, cooldown))
        _require(len(min_lrs) == groups, self, f"one min_lr for all {groups} groups or each", min_lr)
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown = threshold, threshold_mode, cooldown
        self.min_lrs, self.eps = min_lrs, eps
        self.best: float | None = None
        self.last_epoch = self.num_bad_epochs = self.cooldown_counter = 0

    def step(self, metrics: Any) -> None:
        """Take note of a loss, and reduce the learning rate if it is time to.

        Raises
        ------
        ArgumentError
            If it is NaN.
        """
        loss = float(metrics)
        _require(not math.isnan(loss), self, "expects a number to compare", loss)
        self.last_epoch += 1
        if self._is_better(loss):
            self.best, self.num_bad_epochs = loss, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0

    def _is_better(self, loss: float) -> bool:
        if self.best is None:
            return True
        margin = self.threshold * (self.best if self.threshold_mode == "rel" else 1.0)
        return loss < self.best - margin if self.mode == "min" else loss > self.best + margin

    def _reduce(self) -> None:
        for group, lowest in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
            lr = max(group["lr"] * self.factor, lowest)
            if group["lr"] - lr > self.eps:
                group["lr"] = lr

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self) -> dict[str, Any]:
        """Return what it has seen; the learning rates are saved with the optimiser."""
        return {name: getattr(self, name) for name in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch")}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        for name in self.state_dict():
            setattr(self, name, state_dict[name])
