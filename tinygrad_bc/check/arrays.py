"""Small helpers on arrays that the checkers share."""

from __future__ import annotations

import numpy as np

from tinygrad_bc.record import Array, Value

__all__ = ["broadcasts_to", "element", "numbers", "sample", "signed", "unbroadcast"]

Shape = tuple[int, ...]

MOST_ELEMENTS = 60


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


def sample(
    x: Array, rng: np.random.Generator, most: int = MOST_ELEMENTS, directions: int = 0
) -> tuple[Array, list[Array]]:
    """Return the flat indices of the elements to check, and directions in which all move by steps of their size.

    All elements, and then no directions; or `most` drawn at random, and as many directions as asked for.
    """
    if x.size <= most:
        return np.arange(x.size), []
    where = np.sort(rng.choice(x.size, most, replace=False))
    sizes = np.maximum(np.abs(x), 0.1)
    return where, [signed(x.shape, rng) * sizes for _ in range(directions)]


def signed(shape: Shape, rng: np.random.Generator) -> Array:
    """Return random numbers of both signs, none of them near 0, so that none hides what it multiplies."""
    return np.asarray(rng.uniform(0.5, 1.5, size=shape) * rng.choice([-1.0, 1.0], size=shape))


def element(name: str, flat: int, shape: Shape) -> tuple[str, tuple[int, ...]]:
    """Return ``name[0, 3]``, of a single number the name alone; and the index."""
    index = tuple(map(int, np.unravel_index(flat, shape)))
    return f"{name}[{', '.join(map(str, index))}]" if index else name, index
