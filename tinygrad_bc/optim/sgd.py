"""Gradient descent, with and without momentum."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.optim.optimizer import ANY, Group, Optimizer, State
from tinygrad_bc.record import Array

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent: a step against the gradient g of the parameter θ.

    With momentum μ, dampening τ and learning rate lr, after g ← g + weight_decay·θ::

        b ← μ·b + (1 − τ)·g      (b ← g in the first step)
        θ ← θ − lr·b             (nesterov: θ ← θ − lr·(g + μ·b))

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        The parameters, or groups of them; see `Optimizer`.
    lr : float
        The learning rate.
    momentum : float
        What is kept of the step before.
    dampening : float
        How much less a new gradient counts.
    weight_decay : float
        The factor of an L2 penalty ½·weight_decay·|θ|².
    nesterov : bool
        Whether to take the gradient as if one were a step ahead already. Needs a momentum, and no dampening.
    maximize : bool
        Whether to go up instead of down.

    Raises
    ------
    ArgumentError, GradientError
        See `Optimizer`; and if `nesterov` comes without momentum, or with dampening.

    References
    ----------
    Robbins, Monro (1951), A stochastic approximation method. Polyak (1964), Some methods of speeding up the
    convergence of iteration methods, eq. 9. Nesterov (1983), A method of solving a convex programming problem with
    convergence rate O(1/k²). Sutskever, Martens, Dahl, Hinton (2013), On the importance of initialization and momentum
    in deep learning, eqs. 1-4; there lr is inside b, which differs where lr changes.
    """

    _ranges: ClassVar = {"lr": ANY, "momentum": ANY, "dampening": (-np.inf, np.inf), "weight_decay": ANY}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _check_options(self, group: Group) -> None:
        super()._check_options(group)
        if group["nesterov"] and (group["momentum"] == 0 or group["dampening"] != 0):
            raise ArgumentError(
                "SGD: nesterov=True needs a momentum, and no dampening; got "
                f"momentum={group['momentum']}, dampening={group['dampening']}"
            )

    def _memory(self, group: Group) -> dict[str, float]:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        momentum = group["momentum"]
        if momentum == 0:
            x -= group["lr"] * g
            return
        share = 1.0 if state["step"] == 1 else 1 - group["dampening"]
        b = state["momentum_buffer"]
        b *= momentum
        b += g if share == 1 else share * g
        change = b * (group["lr"] * momentum if group["nesterov"] else group["lr"])
        x -= change
        if group["nesterov"]:
            x -= np.multiply(g, group["lr"], out=change)
