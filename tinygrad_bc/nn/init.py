"""Initial values of parameters, with PyTorch's names and formulas. They are written in place.

Where random numbers are drawn, they come from the `generator` passed in. They are drawn as float64 and then rounded,
so that one seed gives the same model in every element type.
"""

from __future__ import annotations

import math

import numpy as np

from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.tensor import Tensor

__all__ = [
    "calculate_gain",
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "orthogonal_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Generator = np.random.Generator | int


# --- gains and fans ------------------------------------------------------------------------------


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return by how much an activation's weights are to be larger than those of a linear layer.

    1 for ``linear``, ``conv1d``, ``conv2d`` and ``sigmoid``; 5/3 for ``tanh``; √2 for ``relu``; √(2 / (1 + slope²))
    for ``leaky_relu``, whose slope is `param` (0.01 by default); 3/4 for ``selu``. The values are PyTorch's; those of
    relu and leaky_relu are from K. He and others, "Delving deep into rectifiers", 2015, eq. 10 and 15.

    Raises
    ------
    ArgumentError
        If the activation is none of these.
    """
    gains = {
        **dict.fromkeys(("linear", "conv1d", "conv2d", "sigmoid"), 1.0),
        "tanh": 5 / 3,
        "relu": math.sqrt(2),
        "leaky_relu": math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2)),
        "selu": 3 / 4,
    }
    if nonlinearity not in gains:
        raise ArgumentError(f"nonlinearity={nonlinearity!r}, but expected one of {', '.join(gains)}")
    return gains[nonlinearity]


def _fans(tensor: Tensor) -> tuple[int, int]:
    """Return how many numbers each output is made of, and how many outputs each input goes into."""
    if tensor.ndim < 2:
        raise ShapeError(
            f"{tensor.name or 'the tensor'} has shape {tensor.shape}, and fan_in and fan_out are those of weights "
            "(out, in) or filters (out, in, ...). For a bias, use zeros_ or uniform_"
        )
    if not tensor.numel():
        raise ShapeError(f"{tensor.name or 'the tensor'} has shape {tensor.shape}: there is nothing to initialise")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def _fan(tensor: Tensor, mode: str) -> int:
    if mode not in ("fan_in", "fan_out"):
        raise ArgumentError(f"mode={mode!r}, but expected 'fan_in' or 'fan_out'")
    return _fans(tensor)[mode == "fan_out"]


def _at_least_0(name: str, number: float) -> None:
    if not number >= 0:
        raise ArgumentError(f"{name}={number!r}, but expected a number of at least 0")


# --- constants -----------------------------------------------------------------------------------


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every element to `val`; return the tensor."""
    tensor.data = np.full(tensor.shape, val, tensor.dtype)
    return tensor


def zeros_(tensor: Tensor) -> Tensor:
    """Set every element to 0; return the tensor."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Set every element to 1; return the tensor."""
    return constant_(tensor, 1.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a matrix the identity, as far as it reaches; return it.

    Raises
    ------
    ShapeError
        If it is no matrix.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_: expected a matrix, and {tensor.name or 'the tensor'} has shape {tensor.shape}")
    tensor.data = np.eye(tensor.shape[0], tensor.shape[1])
    return tensor


# --- random numbers ------------------------------------------------------------------------------


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, generator: Generator) -> Tensor:
    """Draw every element uniformly from `a` to `b`; return the tensor.

    Raises
    ------
    ArgumentError
        If `a` is above `b`.
    """
    if not a <= b:
        raise ArgumentError(f"uniform_: a={a} and b={b}, but expected a ≤ b")
    tensor.data = as_generator(generator, "uniform_").uniform(a, b, tensor.shape)
    return tensor


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, generator: Generator) -> Tensor:
    """Draw every element from the normal distribution; return the tensor.

    Raises
    ------
    ArgumentError
        If `std` is negative.
    """
    _at_least_0("std", std)
    tensor.data = as_generator(generator, "normal_").normal(mean, std, tensor.shape)
    return tensor


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, *, generator: Generator
) -> Tensor:
    """Draw every element from the normal distribution, and again as long as it is not between `a` and `b`.

    The bounds are numbers as such, not multiples of `std`, as in PyTorch. The tensor is returned. What comes out is
    the distribution of density ``φ((x − mean) / std) / (std Z)`` on [a, b], Z being the probability of the interval:
    N. L. Johnson, S. Kotz, N. Balakrishnan, "Continuous univariate distributions", vol. 1, 1994, sec. 13.10.1.

    Raises
    ------
    ArgumentError
        If `std` is not positive, or there is less than a probability of 1% between the bounds.
    """
    if not std > 0:
        raise ArgumentError(f"trunc_normal_: std={std!r}, but expected a positive number")
    below_b, below_a = (0.5 * math.erfc((mean - bound) / (std * math.sqrt(2))) for bound in (b, a))
    if not below_b - below_a >= 0.01:
        raise ArgumentError(
            f"trunc_normal_: between a={a} and b={b} there is hardly any of a normal distribution of mean {mean} and "
            f"standard deviation {std}: choose bounds around the mean"
        )
    rng = as_generator(generator, "trunc_normal_")
    values = rng.normal(mean, std, tensor.shape)
    while (outside := (values < a) | (values > b)).any():
        values[outside] = rng.normal(mean, std, np.count_nonzero(outside))
    tensor.data = values
    return tensor


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """Draw uniformly from ± gain · √(6 / (fan_in + fan_out)); return the tensor.

    Source: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010,
    eq. 16. Keeps the variance of activations and of gradients about the same from layer to layer.

    Raises
    ------
    ShapeError
        If the tensor has less than two axes.
    ArgumentError
        If `gain` is negative.
    """
    _at_least_0("gain", gain)
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator=generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """Draw from a normal distribution of variance gain² · 2 / (fan_in + fan_out); otherwise as `xavier_uniform_`."""
    _at_least_0("gain", gain)
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator=generator)


def kaiming_uniform_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, generator: Generator
) -> Tensor:
    """Draw uniformly from ± √3 · gain / √fan; return the tensor.

    Source: K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", 2015, eq. 10 and 14: the variance of
    activations (``mode="fan_in"``) or of gradients (``"fan_out"``) stays the same through layers of rectifiers.

    Parameters
    ----------
    tensor : (out, in, ...)
    a : float
        The slope of a leaky relu where it is negative.
    mode : {"fan_in", "fan_out"}
    nonlinearity : str
        What follows; see `calculate_gain`.
    generator : numpy.random.Generator or int

    Raises
    ------
    ShapeError
        If the tensor has less than two axes.
    ArgumentError
        If there is no such mode or nonlinearity.
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator=generator)


def kaiming_normal_(
    tensor: Tensor, a: float = 0.0, mode: str = "fan_in", nonlinearity: str = "leaky_relu", *, generator: Generator
) -> Tensor:
    """Draw from a normal distribution of standard deviation gain / √fan; otherwise as `kaiming_uniform_`."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator=generator)


def _kaiming_std(tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    return calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, generator: Generator) -> Tensor:
    """Make rows or columns, whichever are fewer, orthogonal to each other and of length `gain`; return the tensor.

    All axes but the first count as one. Every such matrix is equally likely: Q of the QR decomposition of normal
    random numbers, with the signs that make the diagonal of R positive (F. Mezzadri, "How to generate random matrices
    from the classical compact groups", 2007, sec. 5). As initial values: A. M. Saxe, J. L. McClelland, S. Ganguli,
    "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014.

    Raises
    ------
    ShapeError
        If the tensor has less than two axes.
    """
    _fans(tensor)  # which refuses less than two axes
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    numbers = as_generator(generator, "orthogonal_").normal(size=(max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(numbers)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    tensor.data = gain * (q if rows >= columns else q.T).reshape(tensor.shape)
    return tensor
