"""Operations that sum or choose over axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.errors import GradientError, ShapeError
from tinygrad_bc.ops.elementwise import where
from tinygrad_bc.ops.shape import _broadcast_to, reshape
from tinygrad_bc.primitive import COUNTERPARTS, ErrorSample, Primitive, Sample, primitive

Axis = int | tuple[int, ...] | None


def _samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4) / 7.0  # no two elements near each other: max has no ties
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True),
        Sample(x, axis=(0, 2)),
        Sample(x, axis=(0, -1), keepdims=True),
        Sample(x, keepdims=True),
        Sample(x[0, 0]),
        Sample(np.array(1.5)),
    ]


def _summable(rng: np.random.Generator) -> list[Sample]:
    return [*_samples(rng), Sample(np.ones((0, 3)), axis=1)]


def _errors() -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), axis=2, error=ShapeError, match="axis 2 is out of bounds")]


def _kept(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """Return `shape` with the reduced axes as 1, as ``keepdims=True`` would leave it."""
    if axis is None or not shape:
        return (1,) * len(shape)
    axes = axis if isinstance(axis, tuple) else (axis,)
    reduced = {i % len(shape) for i in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def _spread(g: Any, x: Any, axis: Axis) -> Any:
    """Return a reduced array over the shape that it was reduced from."""
    if axis is not None:
        g = reshape(g, _kept(x.shape, axis))
    return _broadcast_to(g, shape=x.shape)


@primitive(
    formula="sum({x})",
    vjps=[lambda g, y, x, axis, keepdims: _spread(g, x, axis)],
    samples=_summable,
    error_samples=_errors,
)
def sum(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Sum over the given axes, all by default."""
    return np.add.reduce(x, axis=axis, keepdims=keepdims)


def _count(shape: tuple[int, ...], axis: Axis) -> int:
    """Return how many elements go into each element of the result."""
    if axis is None:
        return math.prod(shape)
    return math.prod(n for n, kept in zip(shape, _kept((2,) * len(shape), axis), strict=True) if kept == 1)


@primitive(
    formula="mean({x})",
    vjps=[lambda g, y, x, axis, keepdims: _spread(g / _count(x.shape, axis), x, axis)],
    samples=_summable,
    error_samples=_errors,
)
def mean(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Arithmetic mean over the given axes, all by default."""
    if x.dtype == np.float16:
        return np.mean(x, axis=axis, keepdims=keepdims)  # which adds up in float32
    # A third of the time of np.mean, which gets here too, by way of several Python functions.
    return np.add.reduce(x, axis=axis, keepdims=keepdims) / _count(x.shape, axis)


def _extreme_vjp(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """Give the cotangent to the elements equal to the extreme, in equal shares."""
    chosen = (x == _spread(y, x, axis)) | (x != x)  # a NaN is the extreme of what it is among
    share = g / sum(chosen, axis=axis, keepdims=keepdims)
    return where(chosen, _spread(share, x, axis), 0.0)


def _empty(shape_of_x: tuple[int, ...], *, axis: Axis, keepdims: bool) -> str:
    return "there is nothing to choose from: an axis has length 0" if 0 in shape_of_x else ""


def _extreme_errors() -> list[ErrorSample]:
    return [*_errors(), ErrorSample(np.ones((0, 3)), error=ShapeError, match="nothing to choose from")]


@primitive(
    formula="max({x})",
    vjps=[_extreme_vjp],
    samples=_samples,
    error_samples=_extreme_errors,
    diagnose=_empty,
)
def max(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Largest element over the given axes. Where several are largest, they share the gradient equally."""
    return np.maximum.reduce(x, axis=axis, keepdims=keepdims)


@primitive(
    formula="min({x})",
    vjps=[_extreme_vjp],
    samples=_samples,
    error_samples=_extreme_errors,
    diagnose=_empty,
)
def min(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Smallest element over the given axes. Where several are smallest, they share the gradient equally."""
    return np.minimum.reduce(x, axis=axis, keepdims=keepdims)


def _with_dtype(op: Primitive) -> Callable[..., Any]:
    """Return `op` with the arguments of np.sum and np.mean, in their order."""

    def call(a: Any, axis: Axis = None, dtype: None = None, out: None = None, keepdims: bool = False) -> Any:
        _refuse_unrecorded(op, dtype=dtype, out=out)
        return op(a, axis=axis, keepdims=keepdims)

    return call


def _without_dtype(op: Primitive) -> Callable[..., Any]:
    """Return `op` with the arguments of np.max and np.min, in their order."""

    def call(a: Any, axis: Axis = None, out: None = None, keepdims: bool = False) -> Any:
        _refuse_unrecorded(op, out=out)
        return op(a, axis=axis, keepdims=keepdims)

    return call


def _refuse_unrecorded(op: Primitive, **given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise GradientError(f"np.{op.name}({name}=...) of a tensor is not recorded; use tensor.astype for a dtype")


COUNTERPARTS.update(
    {
        np.sum: _with_dtype(sum),
        np.mean: _with_dtype(mean),
        np.max: _without_dtype(max),
        np.amax: _without_dtype(max),
        np.min: _without_dtype(min),
        np.amin: _without_dtype(min),
    }
)
