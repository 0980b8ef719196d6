"""Activation functions as modules: each calls the operation of the same name, whose docstring has the formula."""

from __future__ import annotations

from typing import Any

from tinygrad_bc import ops
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.nn.module import Module

__all__ = [
    "ELU",
    "GELU",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "LogSoftmax",
    "ReLU",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
]


class Identity(Module):
    """The input itself: a place that holds nothing yet. It takes any arguments, as PyTorch's does."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def forward(self, x: Any) -> Any:
        """Return `x`, of any shape."""
        return x


class ReLU(Module):
    """Rectified linear unit, ``max(x, 0)``, of any shape; the derivative at 0 is 0.

    Source: V. Nair, G. E. Hinton, "Rectified linear units improve restricted Boltzmann machines", 2010.
    """

    def forward(self, x: Any) -> Any:
        """Return ``max(x, 0)``."""
        return ops.relu(x)


class LeakyReLU(Module):
    """`x` where it is positive, elsewhere ``negative_slope * x``; of any shape.

    Source: A. L. Maas, A. Y. Hannun, A. Y. Ng, "Rectifier nonlinearities improve neural network acoustic models",
    2013, sec. 2.
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        """Return ``x if x > 0 else negative_slope * x``."""
        return ops.leaky_relu(x, negative_slope=self.negative_slope)

    def extra_repr(self) -> str:
        """Return the slope."""
        return f"negative_slope={self.negative_slope}"


class ELU(Module):
    """Exponential linear unit: `x` where it is positive, elsewhere ``alpha * (exp(x) - 1)``; of any shape.

    Source: D.-A. Clevert, T. Unterthiner, S. Hochreiter, "Fast and accurate deep network learning by exponential
    linear units", 2016, eq. 15.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        """Return ``x if x > 0 else alpha * (exp(x) - 1)``."""
        return ops.elu(x, alpha=self.alpha)

    def extra_repr(self) -> str:
        """Return alpha."""
        return f"alpha={self.alpha}"


class GELU(Module):
    """Gaussian error linear unit, ``x Φ(x)``, or near it with ``approximate="tanh"``; of any shape.

    Source: D. Hendrycks, K. Gimpel, "Gaussian error linear units (GELUs)", 2016, sec. 2.

    Raises
    ------
    ArgumentError
        If `approximate` is neither ``"none"`` nor ``"tanh"``.
    """

    def __init__(self, approximate: str = "none") -> None:
        if approximate not in ("none", "tanh"):
            raise ArgumentError(f"GELU: approximate is 'none' or 'tanh', not {approximate!r}")
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        """Return ``x Φ(x)``, with the distribution function Φ of the standard normal distribution."""
        return ops.gelu(x, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Return the kind of approximation."""
        return f"approximate={self.approximate!r}"


class SiLU(Module):
    """Sigmoid linear unit, ``x σ(x)``, also called swish; of any shape.

    Source: S. Elfwing, E. Uchibe, K. Doya, "Sigmoid-weighted linear units for neural network function approximation
    in reinforcement learning", 2018.
    """

    def forward(self, x: Any) -> Any:
        """Return ``x σ(x)``."""
        return ops.silu(x)


class Sigmoid(Module):
    """Logistic function, ``σ(x) = 1 / (1 + exp(-x))``, of any shape.

    Source: D. E. Rumelhart, G. E. Hinton, R. J. Williams, "Learning representations by back-propagating errors",
    1986, eq. 2.
    """

    def forward(self, x: Any) -> Any:
        """Return ``σ(x)``."""
        return ops.sigmoid(x)


class LogSigmoid(Module):
    """Logarithm of the logistic function, ``log σ(x)``, finite for any finite x of any shape.

    The logistic function is that of `Sigmoid`, with the same source.
    """

    def forward(self, x: Any) -> Any:
        """Return ``log σ(x)``."""
        return ops.logsigmoid(x)


class Tanh(Module):
    """Hyperbolic tangent, of any shape.

    Source: Y. LeCun, L. Bottou, G. B. Orr, K.-R. Müller, "Efficient backprop", 1998, sec. 4.4.
    """

    def forward(self, x: Any) -> Any:
        """Return ``tanh(x)``."""
        return ops.tanh(x)


class Softplus(Module):
    """Smooth version of `ReLU`, ``log(1 + exp(beta x)) / beta``, and `x` itself where ``beta x > threshold``.

    Source: C. Dugas and others, "Incorporating second-order functional knowledge for better option pricing", 2001,
    eq. 5.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = beta
        self.threshold = threshold

    def forward(self, x: Any) -> Any:
        """Return ``log(1 + exp(beta x)) / beta``."""
        return ops.softplus(x, beta=self.beta, threshold=self.threshold)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softmax(Module):
    """Probabilities of scores, ``exp(x) / Σ exp(x)`` along the axis `dim`.

    Source: J. S. Bridle, "Probabilistic interpretation of feedforward classification network outputs", 1990.

    Parameters
    ----------
    dim : int
        The axis; -1 is the last. PyTorch lets it be left out and guesses.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        """Return probabilities of the shape of `x`."""
        return ops.softmax(x, axis=self.dim)

    def extra_repr(self) -> str:
        """Return the axis."""
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """Logarithm of `Softmax`, without the overflow and the loss of digits: ``x - log Σ exp(x)`` along `dim`."""

    def forward(self, x: Any) -> Any:
        """Return log-probabilities of the shape of `x`."""
        return ops.log_softmax(x, axis=self.dim)
