"""Adam: steps of a size that does not depend on the gradients' scale."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.optim.optimizer import ANY, Group, Optimizer, State
from tinygrad_bc.record import Array
from tinygrad_bc.tracing import called

__all__ = ["Adam", "AdamW"]


class Adam(Optimizer):
    """Adaptive moments: a running mean of the gradient, divided by the root of a running mean of its square.

    After g ← g + weight_decay·θ, in step t::

        m ← β₁·m + (1 − β₁)·g
        v ← β₂·v + (1 − β₂)·g²
        θ ← θ − lr · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + ε)

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        The parameters, or groups of them; see `Optimizer`.
    lr : float
        The learning rate.
    betas : (float, float)
        β₁ and β₂: how much of the running means is kept in a step.
    eps : float
        ε, which keeps the quotient finite.
    weight_decay : float
        The factor of an L2 penalty ½·weight_decay·|θ|².
    amsgrad : bool
        Whether to divide by the largest v so far.
    maximize : bool
        Whether to go up instead of down.

    Raises
    ------
    ArgumentError, GradientError
        See `Optimizer`.

    References
    ----------
    Kingma, Ba (2015), Adam: a method for stochastic optimization, algorithm 1. Reddi, Kale, Kumar (2018), On the
    convergence of Adam and beyond, algorithm 2 (AMSGrad); as in PyTorch, the largest v is taken before it is
    corrected by 1 − β₂ᵗ.
    """

    _ranges: ClassVar = {"lr": ANY, "eps": ANY, "weight_decay": ANY}

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
            },
        )

    def _check_options(self, group: Group) -> None:
        super()._check_options(group)
        betas = group["betas"]
        if np.shape(betas) != (2,) or not all(0 <= beta < 1 for beta in betas):
            raise ArgumentError(
                f"{type(self).__name__}: betas must be two numbers, each at least 0 and less than 1; got {betas!r}"
            )
        group["betas"] = (float(betas[0]), float(betas[1]))

    def _memory(self, group: Group) -> dict[str, float]:
        memory = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**memory, "max_exp_avg_sq": 0.0} if group["amsgrad"] else memory

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        spare = g - m
        spare *= 1 - beta1
        m += spare
        v *= beta2
        np.multiply(g, 1 - beta2, out=spare)
        spare *= g
        v += spare
        if group["amsgrad"]:
            v = np.maximum(state["max_exp_avg_sq"], v, out=state["max_exp_avg_sq"])
        # Both corrections as factors of the step and of ε, which are numbers, and not of m and v.
        root = (1 - beta2 ** state["step"]) ** 0.5
        np.sqrt(v, out=spare)
        spare += called(group["eps"] * root, "corrected_eps")
        np.divide(m, spare, out=spare)
        spare *= called(group["lr"] * root / (1 - beta1 ** state["step"]), "corrected_lr")
        x -= spare


class AdamW(Adam):
    """Adam with decoupled weight decay: the parameters shrink, θ ← θ − lr·weight_decay·θ, apart from the step.

    An L2 penalty inside Adam's quotient shrinks a parameter the less the larger its gradients are; this does not.

    Parameters
    ----------
    params, lr, betas, eps, amsgrad, maximize
        As of `Adam`.
    weight_decay : float
        By how much, times `lr`, each step shrinks the parameters.

    References
    ----------
    Loshchilov, Hutter (2019), Decoupled weight decay regularization, algorithm 2; as in PyTorch, the decay is
    multiplied by the learning rate.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)

    def _with_weight_decay(self, x: Array, g: Array, group: Group) -> Array:
        x *= called(1 - group["lr"] * group["weight_decay"], "decay")
        return g
