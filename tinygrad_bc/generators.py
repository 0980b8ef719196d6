"""Random numbers come from generators that are passed in: there is no hidden one."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError

__all__ = ["as_generator"]


def as_generator(generator: Any, purpose: str) -> np.random.Generator:
    """Return the generator that is passed, or a new one from the seed that is passed.

    Raises
    ------
    ArgumentError
        If it is neither a generator nor a whole number that is not negative; `purpose` says who asks. There is no
        default: a run nobody can repeat should not come about by leaving something out.
    """
    if isinstance(generator, np.random.Generator):
        return generator
    if isinstance(generator, int | np.integer) and not isinstance(generator, bool) and generator >= 0:
        return np.random.default_rng(int(generator))
    raise ArgumentError(
        f"{purpose} draws random numbers and needs a generator, got {reprlib.repr(generator)}: pass "
        "generator=np.random.default_rng(0), or a seed, generator=0"
    )
