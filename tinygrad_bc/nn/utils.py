"""What is done with all parameters at once: gradients clipped, parameters as one vector."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from tinygrad_bc.autograd import no_grad
from tinygrad_bc.errors import ArgumentError, GradientError, ShapeError
from tinygrad_bc.linalg import vector_norm
from tinygrad_bc.ops import cast, clip, concatenate, where
from tinygrad_bc.record import as_array, as_values, tracer
from tinygrad_bc.tensor import Tensor

__all__ = ["clip_grad_norm_", "clip_grad_value_", "parameters_to_vector", "vector_to_parameters"]


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = True,
) -> float:
    """Scale all gradients by one factor if, taken together, they are longer than `max_norm`.

    The factor is ``max_norm / (norm + 1e-6)`` if that is below 1, as in PyTorch. Source: R. Pascanu, T. Mikolov,
    Y. Bengio, "On the difficulty of training recurrent neural networks", 2013, algorithm 1.

    Parameters
    ----------
    parameters : Tensor or iterable of Tensor
        Those without a gradient do not count.
    max_norm : float
        The largest length, at least 0.
    norm_type : float
        Which length: 2 is Euclid's, ``inf`` the largest magnitude.
    error_if_nonfinite : bool
        Whether gradients with a NaN or an infinity are refused. If False, they would be scaled too, to NaN.

    Returns
    -------
    float
        The norm before. In a function that is being captured a tensor, and nothing is refused.

    Raises
    ------
    ArgumentError
        If `max_norm` is negative, or `norm_type` not positive.
    GradientError
        If the norm is not finite; no gradient is changed then.
    """
    if not max_norm >= 0:
        raise ArgumentError(f"clip_grad_norm_: max_norm={max_norm!r}, but expected a number of at least 0")
    if not norm_type > 0:
        raise ArgumentError(f"clip_grad_norm_: norm_type={norm_type!r}, but expected a positive number, or inf")
    owners = _with_gradients(parameters)
    if not owners:
        return 0.0
    with no_grad():
        norm = vector_norm(concatenate([p._grad.reshape(-1) for p in owners]), norm_type)
        factor = max_norm / (norm + 1e-6)
        if tracer.get() is not None:  # whether it does anything is decided at every call
            for p in owners:
                p.grad = where(factor < 1, cast(p._grad * factor, p.dtype), p._grad)
            return norm
        length: float = norm.item()
        if error_if_nonfinite and not math.isfinite(length):
            broken = ", ".join(
                p.name or f"one of shape {p.shape}" for p in owners if not np.isfinite(p._grad._array).all()
            )
            raise GradientError(
                f"clip_grad_norm_: the norm of the gradients is {length}; there is a NaN or an infinity in that of "
                f"{broken}. `with tg.detect_anomaly():` around forward and backward pass shows where it came from"
            )
        if factor.item() < 1:
            for p in owners:
                p.grad = cast(p._grad * factor, p.dtype)
    return length


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Limit every element of the gradients to ±clip_value.

    Source: T. Mikolov, "Statistical language models based on neural networks", 2012, sec. 3.3.

    Raises
    ------
    ArgumentError
        If `clip_value` is negative.
    """
    if not clip_value >= 0:
        raise ArgumentError(f"clip_grad_value_: clip_value={clip_value!r}, but expected a number of at least 0")
    for p in _with_gradients(parameters):
        if tracer.get() is None:
            p.grad = np.clip(p._grad._array, -clip_value, clip_value)
        else:
            with no_grad():
                p.grad = clip(p._grad, -clip_value, clip_value)


def _with_gradients(parameters: Any) -> list[Tensor]:
    owners = as_values(parameters, "parameters")
    if (tracing := tracer.get()) is not None:
        return [p for p in owners if tracing.gradient_of(p) is not None]
    return [p for p in owners if p._grad is not None]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all parameters as one vector, row by row and one after the other; gradients go through it."""
    return concatenate([p.reshape(-1) for p in as_values(parameters, "parameters")])


def vector_to_parameters(vec: Any, parameters: Iterable[Tensor]) -> None:
    """Write the numbers of a vector into the parameters, in the order of `parameters_to_vector`.

    Raises
    ------
    ShapeError
        If it is no vector, or not of as many numbers; nothing is written then.
    """
    owners = as_values(parameters, "parameters")
    numbers = as_array(vec._array if isinstance(vec, Tensor) else vec)
    total = sum(p.numel() for p in owners)
    if numbers.shape != (total,):
        raise ShapeError(f"vector_to_parameters: expected {total} numbers, and the vector has shape {numbers.shape}")
    for p, part in zip(owners, np.split(numbers, np.cumsum([p.numel() for p in owners])[:-1])):
        p.data = part.reshape(p.shape)
