"""Adagrad: a learning rate per element, the smaller the more the element has moved."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_bc.optim.optimizer import ANY, Group, Optimizer, State
from tinygrad_bc.record import Array
from tinygrad_bc.tracing import called

__all__ = ["Adagrad"]


class Adagrad(Optimizer):
    """Steps divided by the root of the sum of all squared gradients so far.

    After g ← g + weight_decay·θ, in step t::

        s ← s + g²
        θ ← θ − lr/(1 + (t − 1)·lr_decay) · g/(√s + ε)

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        The parameters, or groups of them; see `Optimizer`.
    lr : float
        The learning rate.
    lr_decay : float
        How fast the learning rate falls besides.
    weight_decay : float
        The factor of an L2 penalty ½·weight_decay·|θ|².
    initial_accumulator_value : float
        s before the first step.
    eps : float
        ε, which keeps the quotient finite.
    maximize : bool
        Whether to go up instead of down.

    Raises
    ------
    ArgumentError, GradientError
        See `Optimizer`.

    References
    ----------
    Duchi, Hazan, Singer (2011), Adaptive subgradient methods for online learning and stochastic optimization, fig. 1
    with the diagonal matrix.
    """

    _ranges: ClassVar = dict.fromkeys(("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"), ANY)

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "maximize": maximize,
            },
        )

    def _memory(self, group: Group) -> dict[str, float]:
        return {"sum": group["initial_accumulator_value"]}

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        s = state["sum"]
        spare = g * g
        s += spare
        np.sqrt(s, out=spare)
        spare += group["eps"]
        np.divide(g, spare, out=spare)
        spare *= called(group["lr"] / (1 + (state["step"] - 1) * group["lr_decay"]), "decayed_lr")
        x -= spare
