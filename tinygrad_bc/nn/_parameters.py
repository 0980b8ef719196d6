"""How layers make their parameters and check their arguments."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.nn.init import uniform_
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["bias_or_none", "check_count", "check_share", "new_parameter"]


def new_parameter(shape: Sequence[int], dtype: Any, value: float = 0.0) -> Tensor:
    """Return a parameter that holds one number everywhere."""
    return tensor(np.full(tuple(shape), value, dtype), requires_grad=True)


def bias_or_none(wanted: bool, outputs: int, fan_in: int, dtype: Any, rng: np.random.Generator) -> Tensor | None:
    """Return a bias drawn uniformly from ±1/√fan_in, or None."""
    bound = fan_in**-0.5
    return uniform_(new_parameter((outputs,), dtype), -bound, bound, generator=rng) if wanted else None


def check_count(layer: str, name: str, given: Any) -> int:
    """Return a whole number of at least 1."""
    try:
        number = operator.index(given)
    except TypeError:
        number = 0
    if number < 1 or isinstance(given, bool):
        raise ArgumentError(f"{layer}: {name}={given!r}, but expected a whole number of at least 1")
    return number


def check_share(layer: str, name: str, given: Any) -> float:
    """Return a number from 0 to 1."""
    if not isinstance(given, int | float) or not 0 <= given <= 1:
        raise ArgumentError(f"{layer}: {name}={given!r}, but expected a number from 0 to 1")
    return float(given)
