"""Schedules that are one formula each."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from tinygrad_bc.optim.lr_scheduler.schedule import LRScheduler, groups_of, require
from tinygrad_bc.optim.optimizer import Optimizer

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "ExponentialLR",
    "InverseTimeLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "PolynomialLR",
    "StepLR",
    "cosine",
    "linear",
]


def linear(start: float, end: float, share: float) -> float:
    """Return what lies between `start`, at share 0, and `end`, at share 1; both are met exactly."""
    return start * (1 - share) + end * share


def cosine(start: float, end: float, share: float) -> float:
    """Return what lies between `start` and `end` on half a period of a cosine."""
    return linear(end, start, (1 + math.cos(math.pi * share)) / 2)


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
        require(0 <= factor <= 1, self, "factor must be between 0 and 1", factor)
        require(total_iters >= 0, self, "total_iters must not be negative", total_iters)
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        require(0 < start_factor <= 1, self, "start_factor must be above 0 and at most 1", start_factor)
        require(0 <= end_factor <= 1, self, "end_factor must be between 0 and 1", end_factor)
        require(total_iters >= 1, self, "total_iters must be positive", total_iters)
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
        return base * linear(self.start_factor, self.end_factor, min(step / self.total_iters, 1.0))


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
        require(gamma > 0, self, "gamma must be positive", gamma)
        self.gamma = gamma
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        require(step_size >= 1, self, "step_size must be at least 1", step_size)
        require(gamma > 0, self, "gamma must be positive", gamma)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        require(all(m >= 0 for m in milestones), self, "milestones must not be negative", milestones)
        require(gamma > 0, self, "gamma must be positive", gamma)
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        require(0 <= decay < math.inf, self, "decay must be finite and not negative", decay)
        self.decay = decay
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        require(total_iters >= 1, self, "total_iters must be positive", total_iters)
        require(power > 0, self, "power must be positive", power)
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
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
        groups = len(groups_of(optimizer, self))
        self.lr_lambdas = [lr_lambda] * groups if callable(lr_lambda) else list(lr_lambda)
        require(
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
        require(T_max >= 1, self, "T_max must be at least 1", T_max)
        require(eta_min >= 0, self, "eta_min must not be negative", eta_min)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
        return cosine(base, self.eta_min, step / self.T_max)


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
        require(isinstance(T_0, int) and T_0 >= 1, self, "T_0 must be a positive whole number", T_0)
        require(isinstance(T_mult, int) and T_mult >= 1, self, "T_mult must be a positive whole number", T_mult)
        require(eta_min >= 0, self, "eta_min must not be negative", eta_min)
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer)

    def _rate(self, step: float, base: float) -> float:
        length = self.T_0
        if self.T_mult == 1:
            step %= length
        while step >= length:
            step -= length
            length *= self.T_mult
        return cosine(base, self.eta_min, step / length)
