"""Operations that rearrange elements, and the two that undo each other: broadcast_to and sum_to."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_bc.errors import ShapeError
from tinygrad_bc.primitive import COUNTERPARTS, EachInput, ErrorSample, Sample, primitive

Shape = tuple[int, ...]


def _reshape_hint(shape_of_x: Shape, *, shape: Shape) -> str:
    size = math.prod(shape_of_x)
    if -1 not in shape:
        return f"{size} elements cannot become {math.prod(shape)}. One axis may be given as -1 to be worked out"
    return f"{size} elements do not divide into {shape}"


@primitive(
    name="reshape",
    formula="reshape({x}, {shape})",
    vjps=[lambda g, y, x, shape: reshape(g, x.shape)],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), shape=(2, 6)),
        Sample(rng.normal(size=6), shape=(2, -1)),
        Sample(rng.normal(size=(1, 1)), shape=()),
        Sample(rng.normal(size=()), shape=(1,)),
        Sample(rng.normal(size=(0, 3)), shape=(3, 0)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(6), shape=(4, 2), error=ShapeError, match="6 elements cannot become 8"),
        ErrorSample(np.ones(6), shape=(4, -1), error=ShapeError, match="6 elements do not divide"),
    ],
    diagnose=_reshape_hint,
)
def _reshape(x: Any, *, shape: Shape) -> Any:
    return np.reshape(x, shape)


def reshape(x: Any, *shape: int | Sequence[int]) -> Any:
    """Return the elements in another shape: ``reshape(x, (3, -1))`` or ``reshape(x, 3, -1)``."""
    return _reshape(x, shape=_as_tuple(shape))


def _as_tuple(axes: Sequence[Any]) -> Shape:
    """Return ``(3, 4)`` for both ways of writing it, ``f(3, 4)`` and ``f((3, 4))``."""
    if len(axes) == 1 and not hasattr(axes[0], "__index__"):
        axes = axes[0]
    return tuple(map(operator.index, axes))


def _inverse(dims: Shape) -> Shape:
    return tuple(int(i) for i in np.argsort([dim % len(dims) for dim in dims]))


@primitive(
    name="permute",
    formula="permute({x}, {dims})",
    vjps=[lambda g, y, x, dims: permute(g, _inverse(dims))],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3, 4)), dims=(2, 0, 1)),
        Sample(rng.normal(size=(2, 3, 4)), dims=(-1, 0, 1)),
        Sample(rng.normal(size=(3, 4)), dims=(1, 0)),
        Sample(rng.normal(size=()), dims=()),
        Sample(rng.normal(size=(0, 3)), dims=(1, 0)),
    ],
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), dims=(0, 1, 2), error=ShapeError, match="axes")],
)
def _permute(x: Any, *, dims: Shape) -> Any:
    return np.transpose(x, dims)


def permute(x: Any, *dims: int | Sequence[int]) -> Any:
    """Return the axes in another order: ``permute(x, (2, 0, 1))`` or ``permute(x, 2, 0, 1)``."""
    return _permute(x, dims=_as_tuple(dims))


def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Swap two axes. For all axes in another order use `permute`; to reverse them, ``x.T``."""
    order = list(range(x.ndim))
    try:
        order[dim0], order[dim1] = order[dim1], order[dim0]
    except IndexError:
        raise ShapeError(f"transpose: there are no axes {dim0} and {dim1} in a shape of {len(order)} axes") from None
    return permute(x, order)


def _transposed(g: Any, y: Any, x: Any) -> Any:
    return matrix_transpose(g)


# A matrix is transposed so often, in every product's derivative, that it has an operation of its own.
@primitive(
    formula="{x}ᵀ",
    vjps=[_transposed],
    samples=lambda rng: [Sample(rng.normal(size=(3, 4))), Sample(rng.normal(size=(2, 3, 4))), Sample(np.ones((0, 2)))],
    error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="at least two axes")],
    diagnose=lambda x: "the last two axes are swapped, so at least two axes are needed",
    numpy=[np.matrix_transpose],
)
def matrix_transpose(x: Any) -> Any:
    """Swap the last two axes."""
    return x.mT


def _summed_back(g: Any, y: Any, x: Any, shape: Shape) -> Any:
    return sum_to(g, shape=x.shape)


@primitive(
    name="broadcast_to",
    formula="broadcast({x}, {shape})",
    vjps=[_summed_back],
    samples=lambda rng: [
        Sample(rng.normal(size=4), shape=(3, 4)),
        Sample(rng.normal(size=(3, 1)), shape=(2, 3, 4)),
        Sample(rng.normal(size=()), shape=(2,)),
        Sample(rng.normal(size=(1, 3)), shape=(0, 3)),
    ],
    error_samples=lambda: [ErrorSample(np.ones(3), shape=(4,), error=ShapeError, match="broadcast")],
)
def _broadcast_to(x: Any, *, shape: Shape) -> Any:
    # A filled array and not np.broadcast_to's view: that is built in Python, at the cost of filling
    # some ten thousand elements, and it is read-only, which a gradient must not be.
    if np.ndim(x) > len(shape):
        raise ValueError(f"could not broadcast an array of {np.ndim(x)} axes to {len(shape)}")
    result = np.empty(shape, x.dtype)
    result[...] = x
    return result


def broadcast_to(x: Any, *shape: int | Sequence[int]) -> Any:
    """Repeat `x` to fill `shape`."""
    return _broadcast_to(x, shape=_as_tuple(shape))


def _sum_to_hint(shape_of_x: Shape, *, shape: Shape) -> str:
    return f"{shape} does not broadcast to {shape_of_x}, so there is nothing to sum back"


@primitive(
    formula="sum_to({x}, {shape})",
    vjps=[lambda g, y, x, shape: broadcast_to(g, x.shape)],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), shape=(4,)),
        Sample(rng.normal(size=(2, 3, 4)), shape=(3, 1)),
        Sample(rng.normal(size=(2, 3)), shape=()),
        Sample(rng.normal(size=(0, 3)), shape=(1, 3)),
        Sample(rng.normal(size=(2, 3)), shape=(2, 3)),
    ],
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), shape=(2,), error=ShapeError, match="does not broadcast to")],
    diagnose=_sum_to_hint,
)
def sum_to(x: Any, *, shape: Shape) -> Any:
    """Sum over the axes along which `shape` would be broadcast to reach the shape of `x`."""
    lead = x.ndim - len(shape)
    if lead < 0:
        raise ValueError
    axes = list(range(lead))
    for i, n in enumerate(shape, lead):
        if n != x.shape[i]:
            if n != 1:
                raise ValueError
            axes.append(i)
    total = np.add.reduce(x, axis=tuple(axes), keepdims=True)
    return total if lead == 0 else total.reshape(shape)


def _concatenate_vjp(i: int, g: Any, y: Any, *xs: Any, axis: int) -> Any:
    start = sum(x.shape[axis] for x in xs[:i])
    return g[(slice(None),) * (axis % y.ndim) + (slice(start, start + xs[i].shape[axis]),)]


@primitive(
    name="concatenate",
    formula="concatenate({all})",
    vjps=EachInput(_concatenate_vjp),
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(1, 3))),
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2, 1)), rng.normal(size=(2, 0)), axis=-1),
        Sample(rng.normal(size=4)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=ShapeError, match="dimension 1"),
        ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match="same number of dimensions"),
    ],
)
def _concatenate(*xs: Any, axis: int = 0) -> Any:
    return np.concatenate(xs, axis=axis)


def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Join a sequence of arrays along an existing axis."""
    if not tensors:
        raise ShapeError("concatenate: there is nothing to join, the sequence is empty")
    return _concatenate(*tensors, axis=axis)


def _numpy_transpose(x: Any, axes: Sequence[int] | None = None) -> Any:
    return permute(x, range(x.ndim)[::-1] if axes is None else axes)


COUNTERPARTS.update(
    {
        np.reshape: reshape,
        np.transpose: _numpy_transpose,
        np.broadcast_to: broadcast_to,
        np.concatenate: concatenate,
        np.shape: lambda x: x.shape,
        np.ndim: lambda x: x.ndim,
    }
)
