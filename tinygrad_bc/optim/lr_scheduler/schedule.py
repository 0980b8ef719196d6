"""The base class of schedules."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tinygrad_bc.errors import ArgumentError, MissingDependencyError
from tinygrad_bc.optim.optimizer import Group, Optimizer
from tinygrad_bc.record import refuse_while_capturing, tracer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LRScheduler", "groups_of", "require"]


class LRScheduler:
    """The base class of schedules: a subclass says what becomes of a base rate at a step (`_rate`).

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
        groups = groups_of(optimizer, self)
        self.optimizer = optimizer
        for group in groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in groups]
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
        require(step >= 0, self, "steps are counted from 0", step)
        return [self._lr(step, base, group) for group, base in enumerate(self.base_lrs)]

    def _lr(self, step: float, base: float, group: int) -> float:  # noqa: ARG002
        """Return the learning rate of a group. To be overridden where it depends on more than its base."""
        return self._rate(step, base)

    def _rate(self, step: float, base: float) -> float:
        raise NotImplementedError

    def _write(self, step: int) -> None:
        """Put into the optimiser's groups what they have at `step`."""
        for group, lr in zip(self.optimizer.param_groups, self.lr_at(step), strict=True):
            group["lr"] = lr

    def step(self) -> None:
        """Go on by one step: call it after ``optimizer.step()``."""
        if (tracing := tracer.get()) is not None:
            groups = self.optimizer.param_groups
            tracing.undo.append(functools.partial(_write_back, groups, [dict(group) for group in groups]))
            tracing.act(lambda: self._go(1), lambda: self._go(-1))
            return
        self._go(1)

    def _go(self, steps: int) -> None:
        self._write(self.last_epoch + steps)
        self.last_epoch += steps

    def get_last_lr(self) -> list[float]:
        """Return the learning rate of each group at the present step."""
        refuse_while_capturing("get_last_lr()", "Call it outside of the captured function")
        return self.lr_at(self.last_epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the step and the base rates. The rest is given again when the schedule is made again."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the step that `state_dict` was called at, and set the optimiser's learning rates accordingly."""
        base_lrs, step = [float(lr) for lr in state_dict["base_lrs"]], int(state_dict["last_epoch"])
        require(len(base_lrs) == len(self.base_lrs), self, f"{len(self.base_lrs)} groups, saved were", len(base_lrs))
        require(step >= 0, self, "steps are counted from 0", step)
        self.base_lrs, self.last_epoch = base_lrs, step
        self._write(step)

    def plot(self, steps: int) -> Figure:
        """Return a chart of the learning rates at the first `steps` steps, a line for each group."""
        require(steps >= 1, self, "plot needs at least one step", steps)
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


def _write_back(groups: list[Group], before: list[Group]) -> None:
    for group, options in zip(groups, before):
        group.update(options)


def groups_of(optimizer: Optimizer, schedule: object) -> list[Group]:
    """Return the groups of what should be an optimiser; refused if it is none."""
    require(isinstance(optimizer, Optimizer), schedule, "expects an optimiser of tg.optim", optimizer)
    return optimizer.param_groups


def require(fulfilled: bool, schedule: object, expected: str, got: object) -> None:
    """Raise an ArgumentError that says what a schedule expected, and what it got, unless that is fulfilled."""
    if not fulfilled:
        raise ArgumentError(f"{type(schedule).__name__}: {expected}, got {got!r}")
