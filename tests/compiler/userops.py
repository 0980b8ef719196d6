"""Operations as a user declares them, in a file outside the package: with helpers, closures, classes and constants."""

from dataclasses import dataclass
from math import factorial, pi

import numpy as np

import tinygrad_bc as tg

SCALE = 2.5
TABLE = np.array([1.0, 2.0, 3.0])
RANGE = (-1.0, 1.0)


@dataclass
class Limits:
    """Ends of an interval."""

    low: float = -1.0
    high: float = 1.0

    @property
    def width(self) -> float:
        """How long it is."""
        return self.high - self.low


def limited(x, low: float, high: float):
    """Keep within an interval, slowly."""
    while x.max() > high:
        x = np.minimum(x, high)
    return np.maximum(x, low)


def to_the(power: int):
    def forward(x):
        """Branch on the numbers of an array, which nothing can foresee.

        And more that nobody needs to read twice.
        """
        limits = Limits(*RANGE)
        if x.max() > 1:
            return limited(x, limits.low, limits.high) ** power * SCALE * limits.width
        elif np.min(x) < -5:  # noqa: RET505 (as people write it)
            raise tg.errors.ShapeError(f"too low: {x.min()}")
        return np.sin(x * pi) + TABLE.sum()

    return forward


def declared(name, forward):
    return tg.primitive(name=name, formula=name + "({0})", vjps=[lambda g, y, x, **params: g], samples=lambda rng: [])(
        forward
    )


curious = declared("curious", to_the(3))
bell = declared("bell", lambda x: np.exp(-x * x) * SCALE)


def series(x, *, order: int = 2):
    """Sum a power series."""
    total = np.zeros_like(x)
    for k in range(order + 1):
        total += TABLE[k % 3] * x**k / factorial(k)
    return total


series = declared("series", series)


def positive(x):
    """Take the root of what has one."""
    if np.any(x < 0):
        raise tg.errors.DTypeError("a root needs numbers that are not negative: take abs(x)")
    return np.sqrt(x)


positive = declared("positive", positive)


def inverse(A):
    """Invert, or nearly."""
    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        return np.linalg.pinv(A)


inverse = declared("inverse", inverse)


def in_place(x):
    total = np.ones_like(x)
    np.multiply(x, 3, out=total)
    again = np.add(total, x, out=total)
    total[0] = -again[1]
    np.negative.at(total, [2])
    return total


in_place = declared("in_place", in_place)


def squashed(bell, *, exponents, sharp: bool = False):
    """Have a parameter of the same name as another operation that is called."""
    weights = [1.0 / n for n in exponents]
    result = curious(bell)
    for weight, n in zip(weights, exponents):
        result = result + weight * bell**n
    return np.tanh(result) if sharp else result / sum(weights)


squashed = declared("squashed", squashed)
