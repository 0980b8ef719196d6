"""The linear layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.generators import as_generator
from tinygrad_bc.nn._parameters import bias_or_none, check_count, new_parameter
from tinygrad_bc.nn.init import kaiming_uniform_
from tinygrad_bc.nn.module import Module

__all__ = ["Linear"]


class Linear(Module):
    """Weighted sums: ``y = x Wᵀ + b``.

    Parameters
    ----------
    in_features, out_features : int
        How many numbers go in and come out, for each sample.
    bias : bool
        Whether there is a `b`.
    generator : numpy.random.Generator or int
        Where the initial values are drawn from; a whole number is the seed of a new one.
    dtype : optional
        The element type of the parameters.

    Attributes
    ----------
    weight : (out_features, in_features)
        Drawn uniformly from ±1/√in_features (`init.kaiming_uniform_` with a = √5: K. He and others, "Delving deep
        into rectifiers", 2015, eq. 14, and the default of PyTorch).
    bias : (out_features,) or None
        Drawn uniformly from ±1/√in_features.

    Raises
    ------
    ArgumentError
        If a number of features is not a whole number of at least 1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        generator: np.random.Generator | int,
        dtype: Any = np.float64,
    ) -> None:
        self.in_features = check_count("Linear", "in_features", in_features)
        self.out_features = check_count("Linear", "out_features", out_features)
        rng = as_generator(generator, "Linear")
        self.weight = kaiming_uniform_(new_parameter((out_features, in_features), dtype), a=5**0.5, generator=rng)
        self.bias = bias_or_none(bias, out_features, in_features, dtype, rng)

    def forward(self, x: Any) -> Any:
        """Return the (..., out_features) weighted sums of each row of `x`, (..., in_features)."""
        return ops.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
