"""Activation functions; `relu`, `sigmoid` and `tanh` are among the elementwise functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.ops._arguments import floats
from tinygrad_bc.ops.elementwise import erfc, exp, sigmoid, tanh, where
from tinygrad_bc.primitive import ErrorSample, Sample, primitive
from tinygrad_bc.samples import unary


@primitive(
    formula="leaky_relu({x})",
    vjps=[lambda g, y, x, negative_slope: where(x > 0, g, g * negative_slope)],
    samples=lambda rng: [
        *unary(away_from_zero=True)(rng),
        Sample(np.array([-2.0, 0.5]), negative_slope=0.2),
        Sample(np.array([-2.0, 0.5]), negative_slope=-0.2),
    ],
)
def leaky_relu(x: Any, *, negative_slope: float = 0.01) -> Any:
    """Return `x` where it is positive, elsewhere `negative_slope` times `x`; at 0 the derivative is that slope."""
    if 0 < negative_slope <= 1:
        return np.maximum(x, np.multiply(x, negative_slope))  # a fifth of the time of np.where
    return np.where(np.greater(x, 0), x, np.multiply(x, negative_slope))


@primitive(
    formula="elu({x})",
    vjps=[lambda g, y, x, alpha: where(x > 0, g, g * (alpha * exp(where(x < 0, x, 0.0))))],
    samples=lambda rng: [*unary(away_from_zero=True)(rng), Sample(np.array([-2.0, 0.5]), alpha=0.7)],
)
def elu(x: Any, *, alpha: float = 1.0) -> Any:
    """Exponential linear unit: `x` where it is positive, elsewhere ``alpha * (exp(x) - 1)``; at 0 the slope is `alpha`.

    Source: D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by exponential
    linear units", 2016.
    """
    return np.where(np.greater(x, 0), x, alpha * np.expm1(np.minimum(floats(x), 0.0)))


@primitive(formula="log σ({x})", vjps=[lambda g, y, x: g * sigmoid(-x)], samples=unary())
def logsigmoid(x: Any) -> Any:
    """Logarithm of the logistic function, ``log(sigmoid(x))``, finite for any finite x."""
    x = floats(x)
    return np.minimum(x, 0.0) - np.log1p(np.exp(-np.abs(x)))  # a sixth of the time of np.logaddexp


def _softplus_vjp(g: Any, y: Any, x: Any, beta: float, threshold: float) -> Any:
    scaled = beta * x
    return where(scaled > threshold, g, g * sigmoid(scaled))


@primitive(
    formula="softplus({x})",
    vjps=[_softplus_vjp],
    samples=lambda rng: [*unary()(rng), Sample(np.array([-3.0, 0.5, 1.5]), beta=2.0, threshold=2.0)],
)
def softplus(x: Any, *, beta: float = 1.0, threshold: float = 20.0) -> Any:
    """Smooth version of `relu`, ``log(1 + exp(beta * x)) / beta``.

    Where ``beta * x`` is above `threshold` the result is `x` itself, as in PyTorch. Overflow is no reason to have one
    here: with a threshold of ``inf`` the formula holds everywhere.
    """
    scaled = beta * floats(x)
    smooth = np.maximum(scaled, 0.0) + np.log1p(np.exp(-np.abs(scaled)))  # a sixth of the time of np.logaddexp
    return np.where(scaled > threshold, x, smooth / beta)


def _silu_vjp(g: Any, y: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * (s + y * (1 - s))


@primitive(formula="silu({x})", vjps=[_silu_vjp], samples=unary())
def silu(x: Any) -> Any:
    """Sigmoid linear unit, ``x * sigmoid(x)``, also called swish."""
    return x * sigmoid(x)


_CUBIC = 0.044715
_SCALE = math.sqrt(2 / math.pi)


def _gelu_vjp(g: Any, y: Any, x: Any, approximate: str) -> Any:
    if approximate == "none":
        # Φ(x) + x·φ(x), with the distribution function and the density of the standard normal distribution
        return g * (0.5 * erfc(x * -math.sqrt(0.5)) + x * (exp(-0.5 * x * x) * (0.5 * _SCALE)))
    t = tanh(_SCALE * (x + _CUBIC * x * x * x))
    return g * (0.5 * (1 + t) + 0.5 * x * (1 - t * t) * (_SCALE * (1 + 3 * _CUBIC * x * x)))


@primitive(
    formula="gelu({x})",
    vjps=[_gelu_vjp],
    samples=lambda rng: [
        *unary()(rng),
        Sample(rng.normal(size=(2, 3)), approximate="tanh"),
        Sample(np.array([-6.0, -1.0, 0.0, 4.0])),
    ],
    error_samples=lambda: [ErrorSample(np.ones(3), approximate="tan", error=ArgumentError, match="'none' or 'tanh'")],
)
def gelu(x: Any, *, approximate: str = "none") -> Any:
    """Gaussian error linear unit, ``x * Φ(x)`` with the distribution function Φ of the standard normal distribution.

    Parameters
    ----------
    x : array_like
    approximate : {"none", "tanh"}
        "none" for the function itself; "tanh" for ``0.5 x (1 + tanh(√(2/π) (x + 0.044715 x³)))``, which is near it.

    Raises
    ------
    ArgumentError
        For any other `approximate`.

    Notes
    -----
    Source: D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", 2016. ``1 + erf(x / √2)`` is computed as
    ``erfc(-x / √2)``, which loses no digits for negative x.
    """
    if approximate == "none":
        return 0.5 * x * erfc(x * -math.sqrt(0.5))
    if approximate == "tanh":
        return 0.5 * x * (1 + np.tanh(_SCALE * (x + _CUBIC * x * x * x)))
    raise ArgumentError(f"approximate is 'none' or 'tanh', not {approximate!r}")
