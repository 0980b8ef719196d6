"""Operations that rearrange elements, and the two that undo each other: broadcast_to and sum_to."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.diagnosis import shapes_disagree
from tinygrad_bc.errors import DTypeError, ShapeError
from tinygrad_bc.ops._arguments import (
    Shape,
    as_tuple,
    axes_in_words,
    axes_mistake,
    counted_axes,
    counted_axis,
    counterparts,
    integer,
    shaped,
    skip,
)
from tinygrad_bc.primitive import EachInput, ErrorSample, Sample, composite, primitive
from tinygrad_bc.record import Value

# --- another shape -------------------------------------------------------------------------------


def _reshape_hint(shape_of_x: Shape, *, shape: Shape) -> str:
    size = math.prod(shape_of_x)
    if shape.count(-1) > 1:
        return f"only one axis may be given as -1 to be worked out, and {shape} has {shape.count(-1)}"
    if -1 not in shape:
        return f"{size} elements cannot become {math.prod(shape)}. One axis may be given as -1 to be worked out"
    if size == 0 and 0 in shape:
        return f"with no elements, every length in the place of -1 would do in {shape}: give it yourself"
    return f"{size} elements do not divide into {shape}"


@primitive(
    name="reshape",
    formula="reshape({x}, {shape})",
    vjps=[lambda g, y, x, shape: _reshape(g, shape=x.shape)],
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
        ErrorSample(np.ones(6), shape=(-1, -1), error=ShapeError, match="only one axis may be given as -1"),
        ErrorSample(np.ones((0, 5)), shape=(0, -1), error=ShapeError, match="every length in the place of -1"),
    ],
    diagnose=_reshape_hint,
)
def _reshape(x: Any, *, shape: Shape) -> Any:
    return np.reshape(x, shape)


@composite(error_samples=lambda: [ErrorSample(np.ones(6), (-2, 3), error=ShapeError, match="a length cannot be -2")])
def reshape(x: Any, *sizes: int | Sequence[int], shape: Any = None) -> Any:
    """Return the elements in another shape: ``reshape(x, (3, -1))`` or ``reshape(x, 3, -1)``."""
    lengths = as_tuple(sizes, shape)
    if min(lengths, default=0) < -1:
        raise ShapeError(f"a length cannot be {min(lengths)}; the only negative number with a meaning is -1")
    return _reshape(x, shape=lengths)


view = reshape


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), start_dim=3, error=ShapeError, match="axis 3 is out of bounds"),
        ErrorSample(np.ones((2, 3)), start_dim=1, end_dim=0, error=ShapeError, match="start_dim comes after end_dim"),
    ]
)
def flatten(x: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Make the axes from `start_dim` to `end_dim`, all by default, one axis. A number becomes an array of one."""
    x = shaped(x)
    shape = x.shape or (1,)
    start, end = counted_axis(start_dim, len(shape)), counted_axis(end_dim, len(shape))
    if start > end:
        raise ShapeError(f"start_dim comes after end_dim: they are the axes {start} and {end}")
    return _reshape(x, shape=(*shape[:start], math.prod(shape[start : end + 1]), *shape[end + 1 :]))


def _or_flat(x: Any, axis: Any) -> tuple[Any, Any]:
    """Return an array and one of its axes: that of all elements in one if no axis is given."""
    return (flatten(x), 0) if axis is None else (shaped(x), axis)


@composite()
def ravel(x: Any) -> Any:
    """Return the elements in one axis."""
    return flatten(x)


@composite(
    error_samples=lambda: [ErrorSample(np.ones((2, 1)), axis=2, error=ShapeError, match="axis 2 is out of bounds")]
)
def squeeze(x: Any, axis: Any = None) -> Any:
    """Leave out axes of length 1: all of them, or those among the given ones. Other axes stay as they are.

    That is PyTorch's meaning. ``np.squeeze(t, axis)`` has NumPy's: an axis of another length is an error.
    """
    x = shaped(x)
    chosen = range(x.ndim) if axis is None else counted_axes(axis, x.ndim)
    return _reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in chosen))


@composite(
    numpy=[np.expand_dims],
    error_samples=lambda: [ErrorSample(np.ones(3), axis=2, error=ShapeError, match="axis 2 is out of bounds")],
)
def unsqueeze(x: Any, axis: Any) -> Any:
    """Insert axes of length 1, one or several, at the given places in the result."""
    x = shaped(x)
    ndim = x.ndim + len(as_tuple((axis,)))
    inserted = counted_axes(axis, ndim)
    lengths = iter(x.shape)
    return _reshape(x, shape=tuple(1 if i in inserted else next(lengths) for i in range(ndim)))


expand_dims = unsqueeze


# --- another order of axes -----------------------------------------------------------------------


def _inverse(dims: Shape) -> Shape:
    return tuple(int(i) for i in np.argsort([dim % len(dims) for dim in dims]))


def _permute_hint(shape_of_x: Shape, *, dims: Shape) -> str:
    if len(dims) != len(shape_of_x):
        return f"{dims} names {axes_in_words(len(dims))} of an array of {len(shape_of_x)}: name each of them once"
    return axes_mistake(dims, len(shape_of_x))


@primitive(
    name="permute",
    formula="permute({x}, {dims})",
    vjps=[lambda g, y, x, dims: _permute(g, dims=_inverse(dims))],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3, 4)), dims=(2, 0, 1)),
        Sample(rng.normal(size=(2, 3, 4)), dims=(-1, 0, 1)),
        Sample(rng.normal(size=(3, 4)), dims=(1, 0)),
        Sample(rng.normal(size=()), dims=()),
        Sample(rng.normal(size=(0, 3)), dims=(1, 0)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), dims=(0, 1, 2), error=ShapeError, match="names 3 axes of an array of 2")
    ],
    diagnose=_permute_hint,
)
def _permute(x: Any, *, dims: Shape) -> Any:
    return np.transpose(x, dims)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), (0, 0), error=ShapeError, match="names axis . twice"),
        ErrorSample(np.ones((2, 3)), (0, 2), error=ShapeError, match="axis 2 is out of bounds"),
    ]
)
def permute(x: Any, *axes: int | Sequence[int], dims: Any = None) -> Any:
    """Return the axes in another order: ``permute(x, (2, 0, 1))`` or ``permute(x, 2, 0, 1)``."""
    return _permute(x, dims=as_tuple(axes, dims))


@composite(
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), 0, 2, error=ShapeError, match="axis 2 is out of bounds")]
)
def transpose(x: Any, dim0: int, dim1: int) -> Any:
    """Swap two axes. For all axes in another order use `permute`; to reverse them, ``x.T``."""
    return _swapped(x, dim0, dim1)


@composite(
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), 0, -3, error=ShapeError, match="axis -3 is out of bounds")]
)
def swapaxes(x: Any, axis0: int, axis1: int) -> Any:
    """Swap two axes: `transpose` by NumPy's name."""
    return _swapped(x, axis0, axis1)


swapdims = transpose


def _swapped(x: Any, first: int, second: int) -> Any:
    x = shaped(x)
    i, j = counted_axis(first, x.ndim), counted_axis(second, x.ndim)
    order = list(range(x.ndim))
    if order:
        order[i], order[j] = j, i
    return _permute(x, dims=tuple(order))


@composite(
    numpy=[np.moveaxis],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), (0, 1), 0, error=ShapeError, match="2 axes to move, but 1 as destination"),
        ErrorSample(np.ones((2, 3)), (0, 0), (0, 1), error=ShapeError, match="names axis . twice"),
        ErrorSample(np.ones((2, 3)), 0, 2, error=ShapeError, match="axis 2 is out of bounds"),
    ],
)
def moveaxis(x: Any, source: Any, destination: Any) -> Any:
    """Move axes, one or several, to other places; the others stay in their order."""
    x = shaped(x)
    moved, places = counted_axes(source, x.ndim), counted_axes(destination, x.ndim)
    if len(moved) != len(places):
        raise ShapeError(f"{axes_in_words(len(moved))} to move, but {len(places)} as destination: give one for each")
    at = dict(zip(places, moved))
    others = (axis for axis in range(x.ndim) if axis not in moved)
    return _permute(x, dims=tuple(at[i] if i in at else next(others) for i in range(x.ndim)))


movedim = moveaxis


# A matrix is transposed so often, in every product's derivative, that it has an operation of its own.
@primitive(
    formula="{x}ᵀ",
    vjps=[lambda g, y, x: matrix_transpose(g)],
    samples=lambda rng: [Sample(rng.normal(size=(3, 4))), Sample(rng.normal(size=(2, 3, 4))), Sample(np.ones((0, 2)))],
    error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="at least two axes")],
    diagnose=lambda x: "the last two axes are swapped, so at least two axes are needed",
    numpy=[np.matrix_transpose],
)
def matrix_transpose(x: Any) -> Any:
    """Swap the last two axes."""
    return x.mT


@primitive(
    name="flip",
    formula="flip({x}, {dims})",
    vjps=[lambda g, y, x, dims: _flip(g, dims=dims)],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3, 4)), dims=(0, 2)),
        Sample(rng.normal(size=(3, 4)), dims=(-1,)),
        Sample(rng.normal(size=3), dims=()),
        Sample(rng.normal(size=()), dims=()),
        Sample(rng.normal(size=(0, 3)), dims=(0,)),
    ],
)
def _flip(x: Any, *, dims: Shape) -> Any:
    return np.flip(x, dims)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), dims=(0, -2), error=ShapeError, match="names axis . twice"),
        ErrorSample(np.ones((2, 3)), dims=2, error=ShapeError, match="axis 2 is out of bounds"),
    ]
)
def flip(x: Any, *axes: int | Sequence[int], dims: Any = None) -> Any:
    """Reverse the order of elements along the given axes: ``flip(x, (0, 1))`` or ``flip(x, 0, 1)``."""
    if not axes and dims is None:
        raise ShapeError("name the axes to reverse, for example 0; np.flip(x) reverses all")
    x = shaped(x)
    reversed_axes = counted_axes(as_tuple(axes, dims), x.ndim)
    return _flip(x, dims=reversed_axes if x.ndim else ())


def _flipped(x: Any, axis: int) -> Any:
    x = shaped(x)
    if x.ndim <= axis:
        raise ShapeError(f"an array of {axes_in_words(x.ndim)} has no axis {axis} to reverse")
    return _flip(x, dims=(axis,))


@composite(
    numpy=[np.fliplr], error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="1 axis has no axis 1")]
)
def fliplr(x: Any) -> Any:
    """Reverse the order of columns, that is, of axis 1."""
    return _flipped(x, 1)


@composite(
    numpy=[np.flipud],
    error_samples=lambda: [ErrorSample(np.array(1.0), error=ShapeError, match="0 axes has no axis 0")],
)
def flipud(x: Any) -> Any:
    """Reverse the order of rows, that is, of axis 0."""
    return _flipped(x, 0)


@primitive(
    name="roll",
    formula="roll({x}, {shifts})",
    vjps=[lambda g, y, x, shifts, dims: _roll(g, shifts=tuple(-shift for shift in shifts), dims=dims)],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), shifts=(1,), dims=(0,)),
        Sample(rng.normal(size=(3, 4)), shifts=(-2, 5), dims=(0, -1)),
        Sample(rng.normal(size=(3, 4)), shifts=(1, 1), dims=(1, 1)),
        Sample(rng.normal(size=(3, 4)), shifts=(5,)),
        Sample(rng.normal(size=()), shifts=(1,)),
        Sample(rng.normal(size=(0, 3)), shifts=(1,), dims=(0,)),
    ],
)
def _roll(x: Any, *, shifts: Shape, dims: Shape | None = None) -> Any:
    return np.roll(x, shifts if dims is not None else shifts[0], dims)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(5), (), error=ShapeError, match=r"0 shifts but no dims"),
        ErrorSample(np.ones((5, 5)), (2, 1), 0, error=ShapeError, match=r"2 shifts but 1 dims"),
        ErrorSample(np.ones(5), 0, 2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.array(1.0), 0, 0, error=ShapeError, match="a number has no axis"),
    ]
)
def roll(x: Any, shifts: Any, dims: Any = None) -> Any:
    """Shift elements along axes; what leaves at one end enters at the other.

    Parameters
    ----------
    x : array_like
    shifts : int or sequence of int
        By how many places, one number for each of `dims`.
    dims : int or sequence of int, optional
        Along which axes; one named twice is shifted by the sum. By default along one axis of all elements.

    Raises
    ------
    ShapeError
        If an axis does not exist, or there are not as many shifts as axes.
    """
    x, steps = shaped(x), as_tuple((shifts,))
    if dims is None:
        if len(steps) != 1:
            raise ShapeError(f"{len(steps)} shifts but no dims: without dims, give one shift for all elements")
        return _roll(x, shifts=steps)
    along = as_tuple((dims,))
    if len(along) != len(steps):
        raise ShapeError(f"{len(steps)} shifts but {len(along)} dims: give one shift for each axis")
    if x.ndim == 0:
        raise ShapeError("a number has no axis to roll along: leave out dims")
    return _roll(x, shifts=steps, dims=tuple(counted_axis(axis, x.ndim) for axis in along))


# --- repeating, and its derivative: summing --------------------------------------------------------


def _broadcast_hint(shape_of_x: Shape, *, shape: Shape) -> str:
    if len(shape_of_x) > len(shape):
        return f"{axes_in_words(len(shape_of_x))} cannot be broadcast to {len(shape)}: {shape} must name them all"
    for axis in range(-1, -len(shape_of_x) - 1, -1):
        if shape_of_x[axis] not in (1, shape[axis]):
            return (
                f"only an axis of length 1 can be broadcast; axis {axis} has length {shape_of_x[axis]} and cannot "
                f"become {shape[axis]}. Did you mean to repeat the whole, with tile, or to insert an axis, with "
                "unsqueeze?"
            )
    return ""


@primitive(
    name="broadcast_to",
    formula="broadcast({x}, {shape})",
    vjps=[lambda g, y, x, shape: sum_to(g, shape=x.shape)],
    samples=lambda rng: [
        Sample(rng.normal(size=4), shape=(3, 4)),
        Sample(rng.normal(size=(3, 1)), shape=(2, 3, 4)),
        Sample(rng.normal(size=(2, 2)), shape=(3, 2, 2)),
        Sample(rng.normal(size=()), shape=(2,)),
        Sample(rng.normal(size=(1, 3)), shape=(0, 3)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(3), shape=(4,), error=ShapeError, match="axis -1 has length 3 and cannot become 4"),
        ErrorSample(np.ones((2, 3)), shape=(3,), error=ShapeError, match="2 axes cannot be broadcast to 1"),
    ],
    diagnose=_broadcast_hint,
)
def _broadcast_to(x: Any, *, shape: Shape) -> Any:
    # A filled array and not np.broadcast_to's view: that is built in Python, at the cost of filling
    # some ten thousand elements, and it is read-only, which a gradient must not be.
    if x.ndim > len(shape):
        raise ValueError(f"could not broadcast an array of {x.ndim} axes to {len(shape)}")
    result = np.empty(shape, x.dtype)
    result[...] = x
    return result


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(3), (-1, 3), error=ShapeError, match="-1 keeps the length of an axis, but axis 0 is new"),
        ErrorSample(np.ones(3), (-2,), error=ShapeError, match="a length cannot be -2"),
    ]
)
def broadcast_to(x: Any, *sizes: int | Sequence[int], shape: Any = None) -> Any:
    """Repeat `x` along axes of length 1, and along new axes in front, to fill a shape.

    Parameters
    ----------
    x : array_like
    *sizes : int, or one sequence of int
        The shape: ``broadcast_to(x, (3, 4))`` or ``broadcast_to(x, 3, 4)``. As in PyTorch's `expand`, -1 leaves
        an axis as it is.

    Raises
    ------
    ShapeError
        If an axis that is not of length 1 would get another length.
    """
    x, lengths = shaped(x), list(as_tuple(sizes, shape))
    new = len(lengths) - x.ndim
    for axis, length in enumerate(lengths):
        if length >= 0:
            continue
        if length != -1:
            raise ShapeError(f"a length cannot be {length}; the only negative number with a meaning is -1")
        if axis < new:
            raise ShapeError(f"-1 keeps the length of an axis, but axis {axis} is new: give its length")
        lengths[axis] = x.shape[axis - new]
    return _broadcast_to(x, shape=tuple(lengths))


expand = broadcast_to


@composite()
def expand_as(x: Any, other: Any) -> Any:
    """Repeat `x` to fill the shape of another array."""
    return _broadcast_to(shaped(x), shape=shaped(other).shape)


@composite()
def broadcast_tensors(*tensors: Any) -> tuple[Any, ...]:
    """Repeat each array to fill the shape that they broadcast to."""
    arrays = [shaped(x) for x in tensors]
    shapes = [x.shape for x in arrays]
    if reason := shapes_disagree(shapes):
        raise ShapeError(reason)
    return tuple(_broadcast_to(x, shape=np.broadcast_shapes(*shapes)) for x in arrays)


@functools.lru_cache(maxsize=1024)
def _broadcast_axes(long: Shape, short: Shape) -> Shape:
    """Return the axes that broadcasting to `long` adds to `short`, or repeats; it refuses what does not broadcast."""
    lead = len(long) - len(short)
    if lead < 0 or any(n not in (1, m) for n, m in zip(short, long[lead:])):
        raise ValueError
    return (*range(lead), *(i for i, n in enumerate(short, lead) if n != long[i]))


def _sum_to_hint(shape_of_x: Shape, *, shape: Shape) -> str:
    return f"{shape} does not broadcast to {shape_of_x}, so there is nothing to sum back"


@primitive(
    formula="sum_to({x}, {shape})",
    vjps=[lambda g, y, x, shape: _broadcast_to(g, shape=x.shape)],
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
    axes = _broadcast_axes(x.shape, shape)
    total = np.add.reduce(x, axis=axes, keepdims=x.ndim == len(shape))
    return total if total.shape == shape else total.reshape(shape)


def _tile_vjp(g: Any, y: Any, x: Any, repeats: Shape) -> Any:
    """Give every copy an axis of its own, and sum over these."""
    copies = (1,) * (y.ndim - len(repeats)) + repeats
    lengths = (1,) * (y.ndim - x.ndim) + x.shape
    apart = _reshape(g, shape=tuple(n for pair in zip(copies, lengths) for n in pair))
    total = sum_to(apart, shape=tuple(n for length in lengths for n in (1, length)))
    return _reshape(total, shape=x.shape)


@primitive(
    name="tile",
    formula="tile({x}, {repeats})",
    vjps=[_tile_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), repeats=(2, 1)),
        Sample(rng.normal(size=(2, 3)), repeats=(3,)),
        Sample(rng.normal(size=3), repeats=(2, 1, 2)),
        Sample(rng.normal(size=3), repeats=(0,)),
        Sample(rng.normal(size=()), repeats=(2,)),
        Sample(rng.normal(size=()), repeats=()),
        Sample(rng.normal(size=(0, 3)), repeats=(2, 2)),
    ],
)
def _tile(x: Any, *, repeats: Shape) -> Any:
    return np.tile(x, repeats)


def _refuse_negative(repeats: Shape) -> None:
    if min(repeats, default=0) < 0:
        raise ShapeError(f"nothing can be repeated {min(repeats)} times: {repeats} must not be negative")


@composite(error_samples=lambda: [ErrorSample(np.ones(3), (2, -1), error=ShapeError, match="repeated -1 times")])
def tile(x: Any, *repeats: int | Sequence[int], dims: Any = None) -> Any:
    """Put copies of the whole next to each other, so many along each axis: ``tile(x, (2, 3))`` or ``tile(x, 2, 3)``.

    With fewer numbers than axes they are for the last axes; with more, axes are added in front.
    """
    counts = as_tuple(repeats, dims)
    _refuse_negative(counts)
    return _tile(x, repeats=counts)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), 2, error=ShapeError, match=r"1 given for 2 axes.*repeat_interleave"),
        ErrorSample(np.ones(3), -1, error=ShapeError, match="repeated -1 times"),
    ]
)
def repeat(x: Any, *sizes: int | Sequence[int], repeats: Any = None) -> Any:
    """Put copies of the whole next to each other: `tile` with a number for every axis.

    That is PyTorch's meaning of ``x.repeat(2, 3)``. ``np.repeat(t, 2)`` has NumPy's, see `repeat_interleave`.
    """
    x, counts = shaped(x), as_tuple(sizes, repeats)
    if len(counts) < x.ndim:
        raise ShapeError(
            f"{len(counts)} given for {axes_in_words(x.ndim)}: give a number for each, or use tile. To "
            "repeat the elements one by one, as np.repeat does, use repeat_interleave"
        )
    _refuse_negative(counts)
    return _tile(x, repeats=counts)


@composite(
    numpy=[np.repeat],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), repeats=2),
        Sample(rng.normal(size=(2, 3)), repeats=[2, 0, 1], axis=1),
        Sample(rng.normal(size=()), repeats=3),
        Sample(rng.normal(size=(0, 3)), repeats=2, axis=0),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), [1, 2], 1, error=ShapeError, match="2 numbers for an axis of length 3"),
        ErrorSample(np.ones(3), -1, error=ShapeError, match="repeated -1 times"),
        ErrorSample(np.ones(3), 1.5, error=DTypeError, match="must be integers"),
    ],
)
def repeat_interleave(x: Any, repeats: Any, axis: Any = None) -> Any:
    """Repeat every element so many times, each next to itself, like NumPy's `repeat`.

    Parameters
    ----------
    x : array_like
    repeats : int, or sequence of int
        How many times; the same for all, or one number for each place along `axis`.
    axis : int, optional
        Along which axis. By default along one axis of all elements.
    """
    x, axis = _or_flat(x, axis)
    place = counted_axis(axis, x.ndim)
    if x.ndim == 0:
        x = _reshape(x, shape=(1,))
    counts = as_tuple((repeats.tolist() if hasattr(repeats, "tolist") else repeats,))
    if len(counts) not in (1, x.shape[place]):
        raise ShapeError(f"{len(counts)} numbers for an axis of length {x.shape[place]}: give one, or one for each")
    _refuse_negative(counts)
    return x[(*skip(place), np.repeat(np.arange(x.shape[place]), counts))]


# --- joining and cutting -------------------------------------------------------------------------


def _sequence(tensors: Any) -> list[Any]:
    if isinstance(tensors, Value | np.ndarray) or not isinstance(tensors, Iterable):
        raise DTypeError("expected a sequence of arrays or tensors to join, for example [a, b], and not a single one")
    arrays = [shaped(x) for x in tensors]
    if not arrays:
        raise ShapeError("there is nothing to join, the sequence is empty")
    return arrays


def _concatenate_vjp(i: int, g: Any, y: Any, *xs: Any, axis: int) -> Any:
    start = sum(x.shape[axis] for x in xs[:i])
    return g[(*skip(axis % y.ndim), slice(start, start + xs[i].shape[axis]))]


def _concatenate_hint(first: Shape, *others: Shape, axis: int) -> str:
    for number, shape in enumerate([first, *others], 1):
        if not shape:
            return f"operand {number} is a number, without an axis to be joined along: use stack, or unsqueeze it"
        if len(shape) != len(first):
            return (
                f"operand {number} has {axes_in_words(len(shape))}, operand 1 has {len(first)}: they must have "
                "the same number of axes"
                + (f". Did you mean `.unsqueeze({axis})`?" if abs(len(shape) - len(first)) == 1 else "")
            )
    if mistake := axes_mistake((axis,), len(first)):
        return mistake
    along = axis % len(first)
    for number, shape in enumerate(others, 2):
        differing = [i for i, (m, n) in enumerate(zip(first, shape)) if m != n and i != along]
        if differing:
            i = differing[0]
            return (
                f"along axis {i} operand {number} has length {shape[i]}, operand 1 has {first[i]}; lengths may differ "
                f"only along axis {along}, along which they are joined"
                + (f". Did you mean axis={i}?" if len(differing) == 1 and shape[along] == first[along] else "")
            )
    return ""


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
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=ShapeError, match="axis 1 operand 2 has length 4.*axis=1?"),
        ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match=r"same number of axes.*`.unsqueeze\(0\)`"),
        ErrorSample(np.array(1.0), np.array(2.0), error=ShapeError, match="operand 1 is a number.*stack"),
        ErrorSample(np.ones(2), np.ones(3), axis=1, error=ShapeError, match="axis 1 is out of bounds"),
    ],
    diagnose=_concatenate_hint,
)
def _concatenate(*xs: Any, axis: int = 0) -> Any:
    return np.concatenate(xs, axis=axis)


@composite()
def concatenate(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Join arrays along an existing axis.

    Parameters
    ----------
    tensors : sequence of array_like
        Of the same shape, but for the length along `axis`. As in PyTorch, an array of shape ``(0,)`` fits any.
    axis : int
        Along which axis.

    Raises
    ------
    ShapeError
        If there is nothing to join, or the shapes do not fit together.
    """
    arrays = _sequence(tensors)
    if any(x.ndim != 1 for x in arrays):
        arrays = [x for x in arrays if x.shape != (0,)]
    return _concatenate(*arrays, axis=integer(axis))


cat = concat = concatenate


def _stack_vjp(i: int, g: Any, y: Any, *xs: Any, axis: int) -> Any:
    return g[(*skip(axis % y.ndim), i)]


def _stack_hint(first: Shape, *others: Shape, axis: int) -> str:
    for number, shape in enumerate(others, 2):
        if shape != first:
            return (
                f"operand {number} has shape {shape}, operand 1 has {first}; to stack arrays along a new axis, all "
                "shapes must be equal. To join along an axis that exists, use concatenate"
            )
    return axes_mistake((axis,), len(first) + 1)


@primitive(
    name="stack",
    formula="stack({all})",
    vjps=EachInput(_stack_vjp),
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2, 3))),
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), axis=-1),
        Sample(rng.normal(size=()), rng.normal(size=())),
        Sample(rng.normal(size=(0, 3)), rng.normal(size=(0, 3)), axis=1),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(2), np.ones(3), error=ShapeError, match=r"operand 2 has shape \(3,\).*use concatenate"),
        ErrorSample(np.ones(2), np.ones(2), axis=2, error=ShapeError, match="axis 2 is out of bounds"),
    ],
    diagnose=_stack_hint,
)
def _stack(*xs: Any, axis: int = 0) -> Any:
    return np.stack(xs, axis=axis)


@composite()
def stack(tensors: Sequence[Any], axis: int = 0) -> Any:
    """Join arrays of the same shape along a new axis."""
    return _stack(*_sequence(tensors), axis=integer(axis))


@composite()
def hstack(tensors: Sequence[Any]) -> Any:
    """Join arrays side by side: along axis 1, vectors and numbers along axis 0."""
    arrays = [flatten(x) if x.ndim == 0 else x for x in _sequence(tensors)]
    return _concatenate(*arrays, axis=0 if arrays[0].ndim == 1 else 1)


@composite()
def vstack(tensors: Sequence[Any]) -> Any:
    """Join arrays one below the other: along axis 0, where vectors and numbers are rows."""
    rows = [x if x.ndim > 1 else _reshape(x, shape=(1, *(x.shape or (1,)))) for x in _sequence(tensors)]
    return _concatenate(*rows)


def _along(x: Any, axis: Any) -> tuple[Any, int, int]:
    """Return what is to be cut as an array, along which axis, counted from the front, and the length of that."""
    x = shaped(x)
    if x.ndim == 0:
        raise ShapeError("a number has no axis to be cut along")
    place = counted_axis(axis, x.ndim)
    return x, place, x.shape[place]


def _parts(x: Any, cuts: Sequence[int], axis: int) -> tuple[Any, ...]:
    """Cut at the given places."""
    return tuple(x[(*skip(axis), slice(start, stop))] for start, stop in zip([0, *cuts], [*cuts, None]))


def _pieces(x: Any, sizes: Sequence[int], axis: int) -> tuple[Any, ...]:
    """Cut into pieces of the given lengths."""
    if min(sizes, default=0) < 0:
        raise ShapeError(f"a piece cannot have length {min(sizes)}")
    if sum(sizes) != x.shape[axis]:
        raise ShapeError(f"the sizes {tuple(sizes)} add up to {sum(sizes)}, but axis {axis} has length {x.shape[axis]}")
    return _parts(x, list(itertools.accumulate(sizes))[:-1], axis)


def _even_pieces(x: Any, size: int, axis: int) -> tuple[Any, ...]:
    """Cut into pieces of one length, but for the last."""
    length = x.shape[axis]
    if size < 0 or (size == 0 and length):
        raise ShapeError(f"axis {axis} of length {length} cannot be cut into pieces of length {size}")
    return _parts(x, range(size, length, size) if size else (), axis)


def _count_of_pieces(count: Any) -> int:
    count = integer(count)
    if count < 1:
        raise ShapeError(f"the number of pieces must be at least 1, got {count}")
    return count


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(5), [2, 2], error=ShapeError, match=r"\(2, 2\) add up to 4, but axis 0 has length 5"),
        ErrorSample(np.ones(5), 0, error=ShapeError, match="pieces of length 0"),
        ErrorSample(np.ones(5), 2, axis=1, error=ShapeError, match="axis 1 is out of bounds"),
        ErrorSample(np.array(1.0), 1, error=ShapeError, match="a number has no axis"),
    ]
)
def split(x: Any, split_size_or_sections: Any, axis: int = 0) -> tuple[Any, ...]:
    """Cut into pieces along an axis.

    Parameters
    ----------
    x : array_like
    split_size_or_sections : int or sequence of int
        The length of every piece but the last, which has what remains; or the length of each.
        (``np.split(t, n)`` has NumPy's meaning: `n` is the number of pieces, a list is where to cut.)
    axis : int
        Along which axis.

    Returns
    -------
    tuple of arrays or tensors

    Raises
    ------
    ShapeError
        If the lengths do not add up to that of the axis, or the axis does not exist.
    """
    x, place, _ = _along(x, axis)
    if isinstance(split_size_or_sections, tuple | list | np.ndarray):
        return _pieces(x, as_tuple((split_size_or_sections,)), place)
    return _even_pieces(x, integer(split_size_or_sections), place)


@composite(
    error_samples=lambda: [ErrorSample(np.ones(5), [6, -1], error=ShapeError, match="a piece cannot have length -1")]
)
def split_with_sizes(x: Any, split_sizes: Sequence[int], axis: int = 0) -> tuple[Any, ...]:
    """Cut into pieces of the given lengths along an axis."""
    x, place, _ = _along(x, axis)
    return _pieces(x, as_tuple((split_sizes,)), place)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(5), 0, error=ShapeError, match="number of pieces must be at least 1, got 0")
    ]
)
def chunk(x: Any, chunks: int, axis: int = 0) -> tuple[Any, ...]:
    """Cut into at most so many pieces along an axis, as long as each other but for the last.

    As in PyTorch there may be fewer: 6 elements in 4 chunks are 3 pieces of 2. `tensor_split` gives always as many.
    """
    (x, place, length), count = _along(x, axis), _count_of_pieces(chunks)
    return _even_pieces(x, -(-length // count), place) if length else _pieces(x, (0,) * count, place)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(5), 0, error=ShapeError, match="number of pieces must be at least 1, got 0")
    ]
)
def tensor_split(x: Any, indices_or_sections: Any, axis: int = 0) -> tuple[Any, ...]:
    """Cut into so many pieces along an axis, or at the given places, like NumPy's `array_split`.

    The lengths of so many pieces differ by at most 1, the longer ones come first.
    """
    x, place, length = _along(x, axis)
    if isinstance(indices_or_sections, tuple | list | np.ndarray):
        return _parts(x, as_tuple((indices_or_sections,)), place)
    count = _count_of_pieces(indices_or_sections)
    short, longer = divmod(length, count)
    return _pieces(x, [short + 1] * longer + [short] * (count - longer), place)


@composite(error_samples=lambda: [ErrorSample(np.array(1.0), error=ShapeError, match="a number has no axis")])
def unbind(x: Any, axis: int = 0) -> tuple[Any, ...]:
    """Return the parts of `x` along an axis, without that axis."""
    x, place, length = _along(x, axis)
    return tuple(x[(*skip(place), i)] for i in range(length))


# --- diagonals and triangles ---------------------------------------------------------------------


def _two_axes(dim1: Any, dim2: Any, ndim: int) -> Shape:
    if ndim < 2:
        raise ShapeError(f"a diagonal runs across two axes; the array has {axes_in_words(ndim)}")
    return counted_axes((dim1, dim2), ndim)


@primitive(
    name="diagonal",
    formula="diagonal({x})",
    vjps=[lambda g, y, x, offset, dim1, dim2: _put_diagonal(g, offset=offset, dim1=dim1, dim2=dim2, shape=x.shape)],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4))),
        Sample(rng.normal(size=(3, 4)), offset=2),
        Sample(rng.normal(size=(4, 3)), offset=-1),
        Sample(rng.normal(size=(2, 3, 4)), offset=1, dim1=-1, dim2=0),
        Sample(rng.normal(size=(3, 3, 3))),
        Sample(rng.normal(size=(2, 2)), offset=2),
        Sample(rng.normal(size=(0, 3))),
    ],
)
def _diagonal(x: Any, *, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return np.array(np.diagonal(x, offset, dim1, dim2))  # NumPy's view is read-only


@primitive(
    name="put_diagonal",
    formula="put {x} on the diagonal of zeros{shape}",
    vjps=[lambda g, y, x, offset, dim1, dim2, shape: _diagonal(g, offset=offset, dim1=dim1, dim2=dim2)],
    samples=lambda rng: [
        Sample(rng.normal(size=3), shape=(3, 4)),
        Sample(rng.normal(size=2), offset=-1, shape=(3, 3)),
        Sample(rng.normal(size=(3, 2)), offset=1, dim1=-1, dim2=0, shape=(3, 3, 4)),
        Sample(rng.normal(size=0), shape=(0, 3)),
    ],
)
def _put_diagonal(x: Any, *, offset: int = 0, dim1: int = 0, dim2: int = 1, shape: Shape) -> Any:
    result = np.zeros(shape, x.dtype)
    along = np.arange(x.shape[-1])
    np.moveaxis(result, (dim1, dim2), (-2, -1))[..., along + max(-offset, 0), along + max(offset, 0)] = x
    return result


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), dim1=1, dim2=-1, error=ShapeError, match="names axis . twice"),
        ErrorSample(np.ones((2, 3)), dim2=2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones(3), error=ShapeError, match="across two axes; the array has 1 axis"),
    ]
)
def diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """Take the elements where the places along two axes differ by `offset`; they become the last axis."""
    x = shaped(x)
    first, second = _two_axes(dim1, dim2, x.ndim)
    return _diagonal(x, offset=integer(offset), dim1=first, dim2=second)


@composite(
    error_samples=lambda: [
        ErrorSample(np.array(1.0), error=ShapeError, match="a number has no axis"),
        ErrorSample(np.ones(3), dim1=0, dim2=-2, error=ShapeError, match="names axis . twice"),
    ]
)
def diag_embed(x: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """Put the last axis on the diagonal of square matrices of zeros, whose axes will be `dim1` and `dim2`."""
    x = shaped(x)
    if x.ndim == 0:
        raise ShapeError("a number has no axis to be put on a diagonal")
    return _embedded(x, integer(offset), *_two_axes(dim1, dim2, x.ndim + 1))


def _embedded(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    lengths = iter(x.shape)
    side = x.shape[-1] + abs(offset)
    shape = tuple(side if i in (dim1, dim2) else next(lengths) for i in range(x.ndim + 1))
    return _put_diagonal(x, offset=offset, dim1=dim1, dim2=dim2, shape=shape)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((1, 1, 1)), error=ShapeError, match="a vector or a matrix is expected, got 3 axes"),
        ErrorSample(np.array(1.0), error=ShapeError, match="a vector or a matrix is expected, got 0 axes"),
    ]
)
def diag(x: Any, diagonal: int = 0) -> Any:
    """Make a matrix with a given diagonal and zeros elsewhere, or take the diagonal of a matrix."""
    x, offset = shaped(x), integer(diagonal)
    if x.ndim not in (1, 2):
        raise ShapeError(f"a vector or a matrix is expected, got {axes_in_words(x.ndim)}: see diag_embed and diagonal")
    return _embedded(x, offset, 0, 1) if x.ndim == 1 else _diagonal(x, offset=offset)


def _triangles(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rng.normal(size=(3, 4))),
        Sample(rng.normal(size=(3, 4)), diagonal=1),
        Sample(rng.normal(size=(2, 4, 3)), diagonal=-1),
        Sample(rng.normal(size=(2, 2)), diagonal=-5),
        Sample(rng.normal(size=(0, 3))),
    ]


def _not_matrices() -> list[ErrorSample]:
    return [ErrorSample(np.ones(4), error=ShapeError, match="those of a matrix; the array has 1 axis")]


def _refuse_vectors(x: Any) -> None:
    if np.ndim(x) < 2:
        raise ShapeError(f"the last two axes are those of a matrix; the array has {axes_in_words(np.ndim(x))}")


@primitive(
    formula="tril({x})",
    vjps=[lambda g, y, x, diagonal: tril(g, diagonal=diagonal)],
    samples=_triangles,
    error_samples=_not_matrices,
)
def tril(x: Any, *, diagonal: int = 0) -> Any:
    """Lower triangle of matrices: up to the `diagonal`-th diagonal, counted upwards; zeros elsewhere."""
    _refuse_vectors(x)
    return np.tril(x, integer(diagonal))


@primitive(
    formula="triu({x})",
    vjps=[lambda g, y, x, diagonal: triu(g, diagonal=diagonal)],
    samples=_triangles,
    error_samples=_not_matrices,
)
def triu(x: Any, *, diagonal: int = 0) -> Any:
    """Upper triangle of matrices: from the `diagonal`-th diagonal on, counted upwards; zeros elsewhere."""
    _refuse_vectors(x)
    return np.triu(x, integer(diagonal))


# --- NumPy's functions where arguments or meaning differ --------------------------------------------


def _numpy_squeeze(a: Any, axis: Any = None) -> Any:
    longer = [] if axis is None else [i for i in counted_axes(axis, a.ndim) if a.shape[i] != 1]
    if longer:
        raise ShapeError(f"axis {longer[0]} has length {a.shape[longer[0]]} and not 1; t.squeeze(axis) would leave it")
    return squeeze(a, axis)


def _numpy_roll(a: Any, shift: Any, axis: Any = None) -> Any:
    if axis is None:
        return roll(a, sum(as_tuple((shift,))))
    shifts, axes = np.broadcast_arrays(shift, axis)
    return roll(a, shifts.ravel(), axes.ravel())


def _numpy_concatenate(arrays: Any, axis: int | None = 0) -> Any:
    return concatenate(list(map(flatten, arrays)), 0) if axis is None else concatenate(list(arrays), axis)


def _numpy_split(ary: Any, indices_or_sections: Any, axis: int = 0) -> list[Any]:
    pieces = list(tensor_split(ary, indices_or_sections, axis))
    if not isinstance(indices_or_sections, tuple | list | np.ndarray) and len({p.shape for p in pieces}) > 1:
        raise ShapeError(f"{ary.shape[axis]} elements do not divide equally; np.array_split allows it")
    return pieces


counterparts(
    {
        np.shape: lambda a: a.shape,
        np.ndim: lambda a: a.ndim,
        np.reshape: lambda a, shape: reshape(a, shape),
        np.ravel: lambda a: ravel(a),
        np.transpose: lambda a, axes=None: permute(a, range(a.ndim)[::-1] if axes is None else axes),
        np.swapaxes: lambda a, axis1, axis2: swapaxes(a, axis1, axis2),
        np.squeeze: _numpy_squeeze,
        np.broadcast_to: lambda array, shape: broadcast_to(array, shape),
        np.broadcast_arrays: lambda *args: broadcast_tensors(*args),
        np.tile: lambda A, reps: tile(A, reps),
        np.flip: lambda m, axis=None: flip(m, range(m.ndim) if axis is None else axis),
        np.roll: _numpy_roll,
        np.concatenate: _numpy_concatenate,
        np.stack: lambda arrays, axis=0: stack(list(arrays), axis),
        np.hstack: lambda tup: hstack(list(tup)),
        np.vstack: lambda tup: vstack(list(tup)),
        np.split: _numpy_split,
        np.array_split: lambda ary, indices_or_sections, axis=0: list(tensor_split(ary, indices_or_sections, axis)),
        np.diag: lambda v, k=0: diag(v, k),
        np.diagonal: lambda a, offset=0, axis1=0, axis2=1: diagonal(a, offset, axis1, axis2),
        np.tril: lambda m, k=0: tril(m, diagonal=k),
        np.triu: lambda m, k=0: triu(m, diagonal=k),
    }
)
