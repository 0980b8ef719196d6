"""Sample inputs that many operations share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bc.primitive import Sample

Samples: TypeAlias = "Callable[[np.random.Generator], Iterable[Sample]]"  # (naming it imports numpy.random: 10 ms)

UNARY_SHAPES: list[tuple[int, ...]] = [(3, 4), (5,), (), (0, 3)]
BINARY_SHAPES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((3, 4), (3, 4)),
    ((3, 4), (4,)),
    ((3, 1), (1, 4)),
    ((2, 1, 4), (3, 1)),
    ((), (3, 4)),
    ((), ()),
    ((0, 3), (3,)),
]


def draw(
    rng: np.random.Generator, shape: tuple[int, ...], *, positive: bool = False, away_from_zero: bool = False
) -> Any:
    """Return normal numbers of `shape`; or positive ones; or none nearer to 0 than 0.2."""
    x = rng.normal(size=shape)
    if positive:
        x = np.exp(x / 2)
    if away_from_zero:
        x = x + np.copysign(0.2, x)
    return np.asarray(x)


def unary(through: Callable[[Any], Any] = np.asarray, **kind: bool) -> Samples:
    """Return samples for an operation of one array; `kind` as in `draw`, `through` maps into where it is defined."""
    return lambda rng: [Sample(np.asarray(through(draw(rng, shape, **kind)))) for shape in UNARY_SHAPES]


def binary(**kind: bool) -> Samples:
    """Return samples for a broadcasting operation of two arrays; `kind` as in `draw`."""
    return lambda rng: [
        *(Sample(draw(rng, first, **kind), draw(rng, second, **kind)) for first, second in BINARY_SHAPES),
        Sample(draw(rng, (3, 4), **kind), 2.5),
        Sample(1.5, draw(rng, (3, 4), **kind)),
    ]
