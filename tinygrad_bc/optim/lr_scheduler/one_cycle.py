"""The 1cycle policy: learning rate up and down once, momentum the other way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from tinygrad_bc.optim.lr_scheduler.decays import cosine, linear
from tinygrad_bc.optim.lr_scheduler.schedule import LRScheduler, groups_of, require
from tinygrad_bc.optim.optimizer import Optimizer

__all__ = ["OneCycleLR"]


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
        groups = groups_of(optimizer, self)
        if total_steps is None:
            require(bool(epochs and steps_per_epoch), self, "total_steps, or epochs and steps_per_epoch, needed", None)
            total_steps = int(epochs or 0) * int(steps_per_epoch or 0)
        max_lrs = list(max_lr) if isinstance(max_lr, Sequence) else [max_lr] * len(groups)
        require(total_steps >= 1, self, "total_steps must be positive", total_steps)
        require(len(max_lrs) == len(groups), self, f"one max_lr for all {len(groups)} groups or each", max_lr)
        require(all(0 < lr < math.inf for lr in max_lrs), self, "max_lr must be positive", max_lr)
        require(0 <= pct_start <= 1, self, "pct_start must be between 0 and 1", pct_start)
        require(anneal_strategy in ("cos", "linear"), self, "anneal_strategy is 'cos' or 'linear'", anneal_strategy)
        require(div_factor > 0 and final_div_factor > 0, self, "factors must be positive", div_factor)
        self._momentum = "betas" if "betas" in groups[0] else "momentum"
        if cycle_momentum:
            require(self._momentum in groups[0], self, "cycle_momentum=True needs a momentum or betas", optimizer)
            require(0 <= base_momentum <= max_momentum < 1, self, "momenta: 0 ≤ base ≤ max < 1", max_momentum)
            optimizer._scheduled.add(self._momentum)
        self.max_lrs, self.div_factor, self.final_div_factor = max_lrs, div_factor, final_div_factor
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        self.total_steps, self.cycle_momentum, self.three_phase = total_steps, cycle_momentum, three_phase
        self._between = cosine if anneal_strategy == "cos" else linear
        # At which steps the phases end, and the first begins.
        turns = [pct_start * total_steps - 1, total_steps - 1]
        self._turns = [0.0, *(turns if not three_phase else [turns[0], 2 * turns[0], turns[1]])]
        super().__init__(optimizer)

    def _at(self, step: float, corners: Sequence[float]) -> float:
        """Return what `corners` are the values of, at the steps where phases begin and end, at any step."""
        require(step <= self.total_steps, self, f"the cycle takes {self.total_steps} steps", step)
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
