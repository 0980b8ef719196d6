"""RMSprop: Adagrad that forgets."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_bc.optim.optimizer import ANY, Group, Optimizer, State
from tinygrad_bc.record import Array

__all__ = ["RMSprop"]


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of the squared gradient.

    After g ← g + weight_decay·θ::

        v ← α·v + (1 − α)·g²
        a ← α·a + (1 − α)·g              (centered; else a = 0)
        b ← μ·b + g/(√(v − a²) + ε)      (momentum μ)
        θ ← θ − lr·b

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        The parameters, or groups of them; see `Optimizer`.
    lr : float
        The learning rate.
    alpha : float
        α: how much of the running means is kept in a step.
    eps : float
        ε, which keeps the quotient finite.
    weight_decay : float
        The factor of an L2 penalty ½·weight_decay·|θ|².
    momentum : float
        What is kept of the step before.
    centered : bool
        Whether to divide by the running standard deviation.
    maximize : bool
        Whether to go up instead of down.

    Raises
    ------
    ArgumentError, GradientError
        See `Optimizer`.

    References
    ----------
    Tieleman, Hinton (2012), Lecture 6.5: divide the gradient by a running average of its recent magnitude. Centered:
    Graves (2013), Generating sequences with recurrent neural networks, eqs. 38-41, where ε is inside the root.
    """

    _ranges: ClassVar = {"lr": ANY, "alpha": (0.0, 1.0), **dict.fromkeys(("eps", "weight_decay", "momentum"), ANY)}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def _memory(self, group: Group) -> dict[str, float]:
        names = ["square_avg"]
        names += ["grad_avg"] if group["centered"] else []
        names += ["momentum_buffer"] if group["momentum"] else []
        return dict.fromkeys(names, 0.0)

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        alpha, v = group["alpha"], state["square_avg"]
        v *= alpha
        spare = g * (1 - alpha)
        spare *= g
        v += spare
        if group["centered"]:
            a = state["grad_avg"]
            np.subtract(g, a, out=spare)
            spare *= 1 - alpha
            a += spare
            np.multiply(a, a, out=spare)
            np.subtract(v, spare, out=spare)
            np.maximum(spare, 0, out=spare)  # where g is constant, rounding may leave less
            np.sqrt(spare, out=spare)
        else:
            np.sqrt(v, out=spare)
        spare += group["eps"]
        change = np.divide(g, spare, out=spare)
        if group["momentum"]:
            b = state["momentum_buffer"]
            b *= group["momentum"]
            b += change
            np.multiply(b, group["lr"], out=change)
        else:
            change *= group["lr"]
        x -= change
