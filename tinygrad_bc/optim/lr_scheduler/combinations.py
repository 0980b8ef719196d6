"""Schedules made of schedules."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from tinygrad_bc.optim.lr_scheduler.one_cycle import OneCycleLR
from tinygrad_bc.optim.lr_scheduler.schedule import LRScheduler, require
from tinygrad_bc.optim.optimizer import Optimizer

__all__ = ["ChainedScheduler", "SequentialLR"]


class _Combination(LRScheduler):
    """A schedule made of others of the same optimiser."""

    def __init__(self, optimizer: Optimizer, schedulers: Sequence[LRScheduler]) -> None:
        require(len(schedulers) > 0, self, "at least one schedule is needed", schedulers)
        for schedule in schedulers:
            require(isinstance(schedule, LRScheduler), self, "only functions of the step are combined", schedule)
            require(schedule.optimizer is optimizer, self, "schedules must be of the same optimiser", schedule)
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
        require(len(schedulers) > 0, self, "at least one schedule is needed", schedulers)
        ignoring = [schedule for schedule in schedulers[1:] if isinstance(schedule, OneCycleLR)]
        require(not ignoring, self, "OneCycleLR ignores what comes before it, and can only be the first", schedulers)
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
        require(
            len(milestones) == len(schedulers) - 1,
            self,
            f"{len(schedulers)} schedules have one milestone less",
            milestones,
        )
        require(all(a < b for a, b in pairwise([0, *milestones])), self, "milestones must be ascending", milestones)
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
