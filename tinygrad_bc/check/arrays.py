"""Small helpers on arrays that the checkers share."""

from __future__ import annotations

import itertools

import numpy as np

from tinygrad_bc.record import Array, Value

__all__ = ["aligned", "broadcasts_to", "directions", "numbers", "sample", "unbroadcast"]

Shape = tuple[int, ...]


def numbers(value: Value) -> Array:
    """Return the values of a tensor, to be read only: asking for ``.data`` would mark them as handed out."""
    return np.asarray(value._data)


def broadcasts_to(shape: Shape, larger: Shape) -> bool:
    """Whether an array of `shape` can be broadcast to `larger`."""
    tail = larger[len(larger) - len(shape) :]
    return len(shape) <= len(larger) and all(n in (1, m) for n, m in zip(shape, tail))


def unbroadcast(array: Array, shape: Shape) -> Array:
    """Sum `array` over the axes along which `shape` would be broadcast to reach its shape.

    The engine has such a function of its own, which is among what is checked here.
    """
    lead = array.ndim - len(shape)
    total = array.sum(axis=tuple(range(lead)))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and total.shape[i] != 1)
    return np.asarray(total.sum(axis=stretched, keepdims=True))


def aligned(array: Array, shape: Shape) -> Array | None:
    """Return `array` with axes of length 1 put in so that it broadcasts to `shape`, or None if it cannot."""
    for places in itertools.combinations(range(len(shape)), max(0, len(shape) - array.ndim)):
        candidate = np.expand_dims(array, places)
        if broadcasts_to(candidate.shape, shape):
            return candidate
    return None


def sample(size: int, most: int, rng: np.random.Generator) -> Array:
    """Return the flat indices to check: all of them, or `most` drawn at random."""
    return np.arange(size) if size <= most else np.sort(rng.choice(size, most, replace=False))


def directions(x: Array, count: int, rng: np.random.Generator) -> list[Array]:
    """Return random directions in which every element of `x` moves, by steps in proportion to its size."""
    sizes = np.maximum(np.abs(x), 0.1)
    return [signed(x.shape, rng) * sizes for _ in range(count)]


def signed(shape: Shape, rng: np.random.Generator) -> Array:
    """Return random numbers of both signs, none of them near 0, so that none hides what it multiplies."""
    return np.asarray(rng.uniform(0.5, 1.5, size=shape) * rng.choice([-1.0, 1.0], size=shape))
