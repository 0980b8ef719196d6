"""Sample inputs that many operations share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import numpy as np

from tinygrad_bc.errors import DTypeError, ShapeError
from tinygrad_bc.primitive import ErrorSample, Sample

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


def untied(rng: np.random.Generator, *shape: int) -> Any:
    """Return numbers of which no two are near each other, so that no small step makes another one the largest."""
    return rng.permutation(math.prod(shape)).reshape(shape) / 7.0


def with_singular_values_apart(rng: np.random.Generator, *shape: int) -> Any:
    """Return matrices whose singular values are far from each other and from 0."""
    *batch, m, n = shape
    scale = np.eye(m, n) * np.arange(1.0, n + 1)
    return np.linalg.qr(rng.normal(size=(*batch, m, m))).Q @ scale @ np.linalg.qr(rng.normal(size=(*batch, n, n))).Q


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


def disagreeing() -> list[ErrorSample]:
    """Return shapes that a broadcasting operation of two arrays must refuse."""
    return [ErrorSample(np.ones((3, 4), int), np.ones((3, 5), int), error=ShapeError, match="axis -1 has . against .")]


def wrong_axes() -> list[ErrorSample]:
    """Return axes that an operation over one or several axes must refuse."""
    return [
        ErrorSample(np.ones((2, 3)), axis=2, error=ShapeError, match="axis 2 is out of bounds: the array has 2 axes"),
        ErrorSample(np.ones((2, 3)), axis=(0, -3), error=ShapeError, match="axis -3 is out of bounds"),
        ErrorSample(np.ones((2, 3)), axis=[0, -2], error=ShapeError, match="names axis 0 twice"),
        ErrorSample(np.ones((2, 3)), axis="rows", error=DTypeError, match="must be integers, got 'rows'"),
    ]


def wrong_axis() -> list[ErrorSample]:
    """Return axes that an operation along one axis must refuse."""
    return [
        ErrorSample(np.ones((2, 3)), axis=2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones((2, 3)), axis=(0, 1), error=ShapeError, match="one axis is expected here, not several"),
    ]
