"""The schedule that depends on the losses, and so is no function of the step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tinygrad_bc.optim.lr_scheduler.schedule import groups_of, require
from tinygrad_bc.optim.optimizer import Optimizer
from tinygrad_bc.record import refuse_while_capturing

__all__ = ["ReduceLROnPlateau"]


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
        groups = len(groups_of(optimizer, self))
        min_lrs = list(min_lr) if isinstance(min_lr, Sequence) else [min_lr] * groups
        require(mode in ("min", "max"), self, "mode is 'min' or 'max'", mode)
        require(threshold_mode in ("rel", "abs"), self, "threshold_mode is 'rel' or 'abs'", threshold_mode)
        require(0 <= factor < 1, self, "factor must be at least 0 and less than 1", factor)
        require(patience >= 0 and cooldown >= 0, self, "patience and cooldown count calls", (patience, cooldown))
        require(len(min_lrs) == groups, self, f"one min_lr for all {groups} groups or each", min_lr)
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
        refuse_while_capturing(
            "ReduceLROnPlateau.step()",
            "It decides by the loss: call it outside, with what the captured function returns",
        )
        loss = float(metrics)
        require(not math.isnan(loss), self, "expects a number to compare", loss)
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
