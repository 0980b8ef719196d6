"""Operations along axes: sums, products, means and norms, extremes, running sums and products, softmax."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.ops.elementwise import abs, astype, equal, exp, maximum, minimum, not_equal, sign, where
from tinygrad_bc.ops.shape import _broadcast_to, concatenate, permute, reshape
from tinygrad_bc.primitive import COUNTERPARTS, Composite, ErrorSample, Primitive, Sample, composite, primitive
from tinygrad_bc.record import Value, as_array

Shape = tuple[int, ...]
Axis = int | Shape | None

# --- axes ----------------------------------------------------------------------------------------


def _axes(axis: Any) -> Axis:
    """Return axes as NumPy takes them: None, an integer, or a tuple; a list is as good as a tuple."""
    if isinstance(axis, tuple | list):
        axes = tuple(map(_axis, axis))
        return axes[0] if len(axes) == 1 else axes  # NumPy knows axis 0 of an array without axes, but not (0,)
    return None if axis is None else _axis(axis)


def _axis(axis: Any) -> int:
    """Return one axis."""
    if axis is None:
        raise ShapeError("axis=None: say along which axis (PyTorch's dim); the last one is axis=-1")
    try:
        return operator.index(axis)
    except TypeError:
        raise ShapeError(f"{axis!r} is not an axis: an integer is expected here") from None


def _axis_mistake(shape: Shape, *, axis: Any, **others: Any) -> str:
    """Say what is wrong with an axis for an array of `shape`; '' if nothing is."""
    if axis is None:
        return ""
    rank = len(shape) or 1  # an array without axes may be reduced along 0 and -1, as in NumPy and PyTorch
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    for i in axes:
        if not -rank <= i < rank:
            axes_of_x = f"the axes {', '.join(map(str, range(rank)))}" if shape else "no axes"
            return f"axis {i} is out of bounds: shape {shape} has {axes_of_x}"
    places = [i % rank for i in axes]
    twice = next((i for i in places if places.count(i) > 1), None)
    return "" if twice is None else f"axis {twice} appears more than once in axis={axis}"


def _kept(shape: Shape, axis: Any) -> Shape:
    """Return `shape` with the reduced axes as 1, as ``keepdims=True`` would leave it."""
    if axis is None or not shape:
        return (1,) * len(shape)
    axes = axis if isinstance(axis, tuple | list) else (axis,)
    reduced = {i % len(shape) for i in axes}
    return tuple(1 if i in reduced else n for i, n in enumerate(shape))


def _count(shape: Shape, axis: Any) -> int:
    """Return how many elements go into each element of the result."""
    if axis is None:
        return math.prod(shape)
    return math.prod(n for n, kept in zip(shape, _kept((2,) * len(shape), axis), strict=True) if kept == 1)


def _checked_count(x: Any, axis: Any) -> int:
    """Return how many elements go into each element of the result, if there are such axes."""
    shape = np.shape(x)
    if mistake := _axis_mistake(shape, axis=axis):
        raise ShapeError(mistake)
    return _count(shape, axis)


def _unreduced(y: Any, x: Any, axis: Any) -> Any:
    """Return a reduced array with the reduced axes of `x` as 1, so that it broadcasts against `x`."""
    return y if axis is None else reshape(y, _kept(x.shape, axis))


def _spread(g: Any, x: Any, axis: Any) -> Any:
    """Return a reduced array over the shape that it was reduced from."""
    return _broadcast_to(_unreduced(g, x, axis), shape=x.shape)


def _reduce(ufunc: np.ufunc, x: Any, axis: Any, keepdims: Any, **options: Any) -> Any:
    """Reduce by a NumPy ufunc."""
    return ufunc.reduce(x, axis=_axes(axis), keepdims=keepdims, **options)


# --- element types -------------------------------------------------------------------------------


def _floating(x: Any, dtype: Any = None) -> Any:
    """Return `x`, a tensor or anything array_like, with `dtype` or at least some floating-point type."""
    x = _converted(x, dtype)
    return x if x.dtype.kind == "f" else astype(x, np.float64)


def _converted(x: Any, dtype: Any) -> Any:
    """Return `x`, a tensor or anything array_like, with `dtype` if one is given."""
    if not isinstance(x, Value):
        x = as_array(x)
    return x if dtype is None else astype(x, dtype)


def _refuse_truncation(x: Any, dtype: Any) -> None:
    """Refuse to cut off the fractions of numbers that may require a gradient."""
    if np.dtype(dtype).kind != "f" and np.asarray(x).dtype.kind == "f":
        raise DTypeError(
            f"dtype={np.dtype(dtype)} would cut off the fractions of {np.asarray(x).dtype} numbers, and with them the "
            f"gradient: if that is meant, convert them first, x.astype({str(np.dtype(dtype))!r})"
        )


# --- samples -------------------------------------------------------------------------------------


def _samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4) / 7.0  # no two elements near each other: max has no ties
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True),
        Sample(x, axis=(0, 2)),
        Sample(x, axis=[0, -1], keepdims=True),
        Sample(x, keepdims=True),
        Sample(x, axis=()),
        Sample(x[0, 0]),
        Sample(x[0, 0], axis=np.int64(0)),
        Sample(np.array(1.5)),
        Sample(np.array(1.5), axis=-1, keepdims=True),
        Sample(np.ones((0, 3)), axis=1),
    ]


def _summable(rng: np.random.Generator) -> list[Sample]:
    return [*_samples(rng), Sample(np.ones((3, 0)), axis=1), Sample(np.ones((3, 0)))]


def _along_one_axis(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    return [
        Sample(x[0], axis=0),
        Sample(x, axis=1),
        Sample(x, axis=-1),
        Sample(x[0, 0], axis=0),
        Sample(x[:, :, :1], axis=2),
        Sample(np.ones((0, 3)), axis=0),
        Sample(np.ones((0, 3)), axis=1),
    ]


def _errors() -> list[ErrorSample]:
    return [
        ErrorSample(
            np.ones((2, 3)), axis=2, error=ShapeError, match=r"axis 2 is out of bounds: shape .* the axes 0, 1"
        ),
        ErrorSample(np.ones((2, 3)), axis=(0, -3), error=ShapeError, match="axis -3 is out of bounds"),
        ErrorSample(np.ones((2, 3)), axis=[0, -2], error=ShapeError, match="axis 0 appears more than once"),
        ErrorSample(np.ones((2, 3)), axis="rows", error=ShapeError, match="'rows' is not an axis"),
    ]


def _single_axis_errors() -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((2, 3)), axis=2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones((2, 3)), axis=(0, 1), error=ShapeError, match=r"\(0, 1\) is not an axis: an integer"),
    ]


# --- sums and means ------------------------------------------------------------------------------


@primitive(
    formula="sum({x})",
    vjps=[lambda g, y, x, axis, keepdims, dtype: _spread(g, x, axis)],
    samples=_summable,
    error_samples=_errors,
    diagnose=_axis_mistake,
)
def sum(x: Any, *, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Any:
    """Sum over the given axes, all by default.

    Parameters
    ----------
    x : array_like
        What to sum. Integers remain integers; booleans are counted.
    axis : int, tuple or list of int, optional
        The axes that are summed over. No axes, ``()``, leave everything as it is, as in NumPy.
    keepdims : bool
        Whether these axes remain, with length 1.
    dtype : optional
        What to convert to before summing.

    Raises
    ------
    ShapeError
        If there is no such axis, or one is named twice.
    DTypeError
        If `dtype` would make integers of floating-point numbers.
    """
    if dtype is not None:
        _refuse_truncation(x, dtype)
    try:
        return np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=dtype)
    except (TypeError, ValueError):  # axes as NumPy does not take them: not looked for before, this is used most often
        return _reduce(np.add, x, axis, keepdims, dtype=dtype)


@primitive(
    formula="mean({x})",
    vjps=[lambda g, y, x, axis, keepdims, dtype: _spread(g / _count(x.shape, axis), x, axis)],
    samples=_samples,
    error_samples=lambda: [
        *_errors(),
        ErrorSample(np.ones((3, 0)), axis=1, error=ShapeError, match="mean of no elements"),
    ],
    diagnose=_axis_mistake,
)
def mean(x: Any, *, axis: Any = None, keepdims: Any = False, dtype: Any = None) -> Any:
    """Arithmetic mean over the given axes, all by default; of integers in float64.

    Parameters
    ----------
    x, axis, keepdims, dtype
        As in `sum`; `dtype` is a floating-point type.

    Raises
    ------
    ShapeError
        Besides the reasons of `sum`: if there is nothing to take the mean of. NumPy and PyTorch return NaN.
    """
    x = np.asarray(x)
    if dtype is not None and np.dtype(dtype).kind != "f":
        raise DTypeError(f"dtype={np.dtype(dtype)}: a mean is not an integer. Leave it out, or name a float type")
    if x.dtype == np.float16 and x.size:
        return np.mean(x, axis=_axes(axis), keepdims=keepdims, dtype=dtype)  # which adds up in float32
    # A third of the time of np.mean, which gets here too, by way of several Python functions.
    try:
        total = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=dtype)
    except (TypeError, ValueError):
        total = _reduce(np.add, x, axis, keepdims, dtype=dtype)
    count = _count(x.shape, axis)
    if count == 0 and total.size:
        raise ShapeError("the mean of no elements is 0 / 0: an axis to be averaged has length 0")
    return total / (count or 1)


def _var_vjp(g: Any, y: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    scale = 2 / (_count(x.shape, axis) - correction)
    return _unreduced(g, x, axis) * (scale * (x - mean(x, axis=axis, keepdims=True)))


def _std_vjp(g: Any, y: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    # Where all elements are equal there is no derivative; 0 stands for it, as in PyTorch.
    deviation = x - mean(x, axis=axis, keepdims=True)
    relative = deviation / _unreduced(where(y == 0, np.inf, y), x, axis)
    return _unreduced(g, x, axis) * (relative / (_count(x.shape, axis) - correction))


def _spreads(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True, correction=0),
        Sample(x, axis=(0, 2), correction=1.3),
        Sample(x, axis=[0, 1], keepdims=True, correction=-2),
        Sample(x[0, 0], axis=0),
        Sample(np.ones((0, 3)), axis=1),
    ]


def _no_freedom() -> list[ErrorSample]:
    return [
        *_errors(),
        ErrorSample(np.ones((3, 1)), axis=1, error=ShapeError, match=r"1 element.* correction=1 .*pass correction=0"),
        ErrorSample(np.ones(2), correction=2.5, error=ShapeError, match="2 elements"),
        ErrorSample(np.ones(0), correction=0, error=ShapeError, match="0 elements"),
    ]


def _check_freedom(x: Any, axis: Any, correction: float) -> None:
    """Refuse a division by zero, which NumPy and PyTorch answer with a warning and NaN."""
    count = _checked_count(x, axis)
    if count - correction <= 0:
        raise ShapeError(
            f"the spread of {count} element{'s' if count != 1 else ''} with correction={correction} would be "
            "a sum of squares divided by nothing: more elements than the correction are needed"
            + (". For the spread of just these, not an estimate from a sample, pass correction=0" if count else "")
        )


@primitive(
    name="var",
    formula="var({x})",
    vjps=[_var_vjp],
    samples=_spreads,
    error_samples=_no_freedom,
    diagnose=_axis_mistake,
)
def _var(x: Any, *, axis: Any = None, correction: float = 1, keepdims: Any = False) -> Any:
    _check_freedom(x, axis := _axes(axis), correction)
    return np.var(x, axis=axis, ddof=correction, keepdims=keepdims)


@primitive(
    name="std",
    formula="std({x})",
    vjps=[_std_vjp],
    samples=_spreads,
    error_samples=_no_freedom,
    diagnose=_axis_mistake,
)
def _std(x: Any, *, axis: Any = None, correction: float = 1, keepdims: Any = False) -> Any:
    _check_freedom(x, axis := _axes(axis), correction)
    return np.std(x, axis=axis, ddof=correction, keepdims=keepdims)


def _arguments_of_spread(axis: Any, unbiased: Any, keepdims: Any, correction: Any) -> dict[str, Any]:
    if isinstance(axis, bool):  # PyTorch's var(x, unbiased)
        axis, unbiased = None, axis
    if unbiased is not None and correction is not None:
        raise ArgumentError("unbiased= and correction= say the same thing: unbiased=False is correction=0. Give one")
    if correction is None:
        correction = 0 if unbiased is False else 1
    return {"axis": axis, "correction": correction, "keepdims": keepdims}


@composite(formula="sum((x − mean(x))²) / (n − correction)")
def var(x: Any, axis: Any = None, unbiased: Any = None, keepdims: Any = False, *, correction: Any = None) -> Any:
    """Variance over the given axes, all by default: ``sum((x − mean)²) / (n − correction)``.

    Parameters
    ----------
    x : array_like
        The values, n of them for each element of the result.
    axis : int, tuple or list of int, optional
        The axes over which they are taken.
    unbiased : bool, optional
        PyTorch's earlier way of choosing the correction: True is 1, False is 0.
    keepdims : bool
        Whether these axes remain, with length 1.
    correction : float, optional
        What is subtracted from n. PyTorch's default, used here, is 1: an estimate from a sample. ``np.var(x)`` has 0.

    Raises
    ------
    ShapeError
        If n is not above the correction, for example for a single element: there NumPy and PyTorch
        warn and return NaN, or infinity.
    """
    return _var(x, **_arguments_of_spread(axis, unbiased, keepdims, correction))


@composite(formula="√var(x)")
def std(x: Any, axis: Any = None, unbiased: Any = None, keepdims: Any = False, *, correction: Any = None) -> Any:
    """Standard deviation over the given axes, all by default: the square root of `var`, with its parameters.

    Where it is 0 it has no derivative; the gradient there is 0.
    """
    return _std(x, **_arguments_of_spread(axis, unbiased, keepdims, correction))


# --- truth ---------------------------------------------------------------------------------------


def _truths(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3)) > 0
    return [Sample(x), Sample(x, axis=1), Sample(x * 1.0, axis=(0, 1), keepdims=True), Sample(np.ones((3, 0)), axis=1)]


@primitive(formula="all({x})", vjps=None, samples=_truths, error_samples=_errors, diagnose=_axis_mistake)
def all(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Whether all elements over the given axes are true, that is, not zero."""
    return _reduce(np.logical_and, x, axis, keepdims)


@primitive(formula="any({x})", vjps=None, samples=_truths, error_samples=_errors, diagnose=_axis_mistake)
def any(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Whether at least one element over the given axes is true, that is, not zero."""
    return _reduce(np.logical_or, x, axis, keepdims)


# --- extremes ------------------------------------------------------------------------------------


def _nothing(shape_of_x: Shape, *, axis: Any, **others: Any) -> str:
    empty = "there is nothing to choose from: an axis has length 0" if 0 in shape_of_x else ""
    return _axis_mistake(shape_of_x, axis=axis) or empty


def _with_nothing(errors: Callable[[], list[ErrorSample]]) -> Callable[[], list[ErrorSample]]:
    return lambda: [
        *errors(),
        ErrorSample(np.ones((0, 3)), error=ShapeError, match="nothing to choose from"),
        ErrorSample(np.ones((0, 3)), axis=0, error=ShapeError, match="nothing to choose from"),
    ]


def _positions(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(24).reshape(2, 3, 4) / 7.0
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True),
        Sample(x, keepdims=True),
        Sample(np.array(1.5), axis=0),
        Sample(np.ones((0, 3)), axis=1),
    ]


@primitive(
    formula="argmax({x})",
    vjps=None,
    samples=_positions,
    error_samples=_with_nothing(_single_axis_errors),
    diagnose=_nothing,
)
def argmax(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Position of the largest element along an axis, the first one of several; or in the flattened array."""
    return np.argmax(x, axis=None if axis is None else _axis(axis), keepdims=keepdims)


@primitive(
    formula="argmin({x})",
    vjps=None,
    samples=_positions,
    error_samples=_with_nothing(_single_axis_errors),
    diagnose=_nothing,
)
def argmin(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Position of the smallest element along an axis, the first one of several; or in the flattened array."""
    return np.argmin(x, axis=None if axis is None else _axis(axis), keepdims=keepdims)


def _extreme_vjp(position: Primitive, g: Any, y: Any, x: Any, axis: Any, ties: str) -> Any:
    if ties == "first":
        n = x.shape[axis] if x.ndim else 1
        behind = x.ndim - 1 - axis % (x.ndim or 1)
        places = np.arange(n).reshape((n,) + (1,) * behind if x.ndim else ())
        return where(equal(position(x, axis=axis, keepdims=True), places), _unreduced(g, x, axis), 0.0)
    chosen = (x == _unreduced(y, x, axis)) | (x != x)  # a NaN is the extreme of what it is among
    share = _unreduced(g, x, axis) / sum(chosen, axis=axis, keepdims=True)
    return where(chosen, share, 0.0)


def _extremes(rng: np.random.Generator) -> list[Sample]:
    x = _samples(rng)[0].inputs[0]
    return [
        *_samples(rng),
        Sample(x, axis=1, ties="first"),
        Sample(x, axis=-1, keepdims=True, ties="first"),
        Sample(np.array(1.5), axis=0, ties="first"),
    ]


@primitive(
    name="max",
    formula="max({x})",
    vjps=[lambda g, y, x, axis, keepdims, ties: _extreme_vjp(argmax, g, y, x, axis, ties)],
    samples=_extremes,
    error_samples=_with_nothing(_errors),
    diagnose=_nothing,
)
def _max(x: Any, *, axis: Any = None, keepdims: Any = False, ties: str = "shared") -> Any:
    return _reduce(np.maximum, x, axis, keepdims)


@primitive(
    name="min",
    formula="min({x})",
    vjps=[lambda g, y, x, axis, keepdims, ties: _extreme_vjp(argmin, g, y, x, axis, ties)],
    samples=_extremes,
    error_samples=_with_nothing(_errors),
    diagnose=_nothing,
)
def _min(x: Any, *, axis: Any = None, keepdims: Any = False, ties: str = "shared") -> Any:
    return _reduce(np.minimum, x, axis, keepdims)


class ValuesAndIndices(NamedTuple):
    """Elements that were chosen along an axis, and where they stood."""

    values: Any
    indices: Any


def _pair_mistakes() -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((2, 3)), 2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones((2, 3)), (0, 1), error=ShapeError, match=r"axis=\(0, 1\)"),
        ErrorSample(np.ones((2, 3)), dim=0, axis=0, error=ArgumentError, match="Give one"),
        ErrorSample(np.ones((2, 3)), np.ones(3), axis=0, error=ArgumentError, match="two arrays"),
        ErrorSample(np.ones((2, 3)), np.ones(2), error=ShapeError, match="axis -1 has 2 against 3"),
        ErrorSample(np.ones((0, 3)), dim=0, error=ShapeError, match="nothing to choose from"),
    ]


@composite(formula="max(x)", error_samples=_pair_mistakes)
def max(
    x: Any, dim: Any = None, keepdim: Any = False, *, other: Any = None, axis: Any = None, keepdims: Any = False
) -> Any:
    """Largest element of an array, along an axis, or of two arrays: PyTorch's and NumPy's forms in one.

    - ``max(x)``: the largest of all; ties share the gradient equally.
    - ``max(x, dim, keepdim=False)``: values and indices along one axis, as a named tuple. The gradient of the
      values goes to the elements at these indices; of equal elements that is the first.
    - ``max(x, axis=..., keepdims=False)``: the values alone, over one or several axes; ties share the gradient
      equally. `amax` does the same.
    - ``max(x, other)``: the larger of two arrays, element by element, as `maximum`.

    Raises
    ------
    ShapeError
        If there is no such axis, or nothing to choose from: an axis to be reduced has length 0.
    ArgumentError
        If arguments of two of these forms are mixed.
    """
    return _chosen(_max, argmax, maximum, x, dim, keepdim, other, axis, keepdims)


@composite(formula="min(x)", error_samples=_pair_mistakes)
def min(
    x: Any, dim: Any = None, keepdim: Any = False, *, other: Any = None, axis: Any = None, keepdims: Any = False
) -> Any:
    """Smallest element of an array, along an axis, or of two arrays: with the forms of `max`."""
    return _chosen(_min, argmin, minimum, x, dim, keepdim, other, axis, keepdims)


def _chosen(
    extreme: Primitive,
    position: Primitive,
    pairwise: Primitive,
    x: Any,
    dim: Any,
    keepdim: Any,
    other: Any,
    axis: Any,
    keepdims: Any,
) -> Any:
    """Sort out the forms of `max` and `min`."""
    if isinstance(dim, Value | np.ndarray):
        dim, other = None, dim
    if other is not None:
        if dim is not None or axis is not None or keepdim or keepdims:
            raise ArgumentError("of two arrays, the extreme is taken element by element, and there is no axis to name")
        if isinstance(x, int | float):
            raise ArgumentError(f"the first argument is an array. A number also goes with {pairwise.name}({x}, array)")
        return pairwise(x, other)
    if dim is None:
        return extreme(x, axis=axis, keepdims=keepdim or keepdims)
    if axis is not None:
        raise ArgumentError("dim= is for values and indices along one axis, axis= for the values alone. Give one")
    if isinstance(dim, tuple | list):
        raise ShapeError(
            f"dim={dim}: there are indices along one axis only. For values over several write axis={tuple(dim)}; "
            f"to compare with a list of numbers, {pairwise.name}"
        )
    where_from = {"axis": _axis(dim), "keepdims": keepdim or keepdims}
    return ValuesAndIndices(extreme(x, ties="first", **where_from), position(x, **where_from))


@composite(formula="max(x)")
def amax(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Largest element over one or several axes, all by default. Ties share the gradient equally."""
    return _max(x, axis=axis, keepdims=keepdims)


@composite(formula="min(x)")
def amin(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Smallest element over one or several axes, all by default. Ties share the gradient equally."""
    return _min(x, axis=axis, keepdims=keepdims)


# --- running sums and products, and the product --------------------------------------------------


def _cumsum_vjp(g: Any, y: Any, x: Any, axis: int, reverse: bool) -> Any:
    return _cumsum(g, axis=axis, reverse=not reverse)


@primitive(
    name="cumsum",
    formula="cumsum({x})",
    vjps=[_cumsum_vjp],
    samples=lambda rng: [*_along_one_axis(rng), Sample(rng.normal(size=(3, 2)), axis=0, reverse=True)],
    error_samples=_single_axis_errors,
    diagnose=_axis_mistake,
)
def _cumsum(x: Any, *, axis: Any, reverse: bool = False) -> Any:
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis), axis)
    return np.cumsum(x, _axis(axis))


def _shifted(z: Any, first: float, axis: int) -> Any:
    """Return `z` moved one place along an axis, with `first` at the beginning and without the last element."""
    axis %= z.ndim
    before = (slice(None),) * axis
    start = (*z.shape[:axis], 1 if z.shape[axis] else 0, *z.shape[axis + 1 :])
    return concatenate([np.full(start, first, z.dtype), z[(*before, slice(None, -1))]], axis)


def _recurrence_a_vjp(g: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    adjoint = _recurrence_b_vjp(g, y, a, b, axis, reverse)
    before, after = (adjoint, y) if reverse else (y, adjoint)
    return _shifted(before, 0.0, axis) * after


def _recurrence_b_vjp(g: Any, y: Any, a: Any, b: Any, axis: int, reverse: bool) -> Any:
    return _recurrence(a, g, axis=axis, reverse=not reverse)


# The derivative of a running product is such a recurrence, and the derivative of the recurrence is the
# recurrence run the other way round: every order follows, and nothing is divided by an element that may be 0.
@primitive(
    name="recurrence",
    formula="recurrence({a}, {b})",
    vjps=[_recurrence_a_vjp, _recurrence_b_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), axis=1),
        Sample(rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), axis=0, reverse=True),
        Sample(np.ones((0, 2)), np.ones((0, 2)), axis=0),
    ],
)
def _recurrence(a: Any, b: Any, *, axis: int, reverse: bool = False) -> Any:
    """Solve ``h[k] = b[k] + a[k]·h[k−1]``; in reverse its transpose, ``h[k−1] = b[k−1] + a[k]·h[k]``."""
    a, h = np.moveaxis(a, axis, 0), np.array(np.moveaxis(b, axis, 0))
    for k in range(len(h) - 1, 0, -1) if reverse else range(1, len(h)):
        to, source = (k - 1, k) if reverse else (k, k - 1)
        h[to] += a[k] * h[source]
    return np.moveaxis(h, 0, axis)


def _cumprod_vjp(g: Any, y: Any, x: Any, axis: int) -> Any:
    # dx[j] = Σ over k ≥ j of g[k] · (product of x up to k without x[j])
    #       = (product before j) · r[j]  with  r[j] = g[j] + x[j+1]·r[j+1]
    return _shifted(y, 1.0, axis) * _recurrence(x, g, axis=axis, reverse=True)


def _with_zeros(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(3, 4))
    x[0, 1] = x[1, 0] = x[1, 2] = 0  # one zero, two zeros, none
    return [Sample(x, axis=1), Sample(x, axis=0)]


@primitive(
    name="cumprod",
    formula="cumprod({x})",
    vjps=[_cumprod_vjp],
    samples=lambda rng: [*_along_one_axis(rng), *_with_zeros(rng)],
    error_samples=_single_axis_errors,
    diagnose=_axis_mistake,
)
def _cumprod(x: Any, *, axis: Any) -> Any:
    return np.cumprod(x, _axis(axis))


def _running(op: Primitive, x: Any, axis: Any, dtype: Any) -> Any:
    """Run `op` along an axis, also on a number without axes."""
    x = _converted(x, dtype)
    return op(x, axis=axis) if x.ndim else reshape(op(reshape(x, (1,)), axis=axis), ())


def _needs_axis() -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), axis=None, error=ShapeError, match="say along which axis")]


@composite(formula="cumsum(x)", error_samples=_needs_axis)
def cumsum(x: Any, axis: Any, *, dtype: Any = None) -> Any:
    """Running sum along an axis: element k of the result is the sum of all up to and including element k."""
    return _running(_cumsum, x, axis, dtype)


@composite(formula="cumprod(x)", error_samples=_needs_axis)
def cumprod(x: Any, axis: Any, *, dtype: Any = None) -> Any:
    """Running product along an axis. Its derivatives are right with zeros among the factors too."""
    return _running(_cumprod, x, axis, dtype)


def _product_before(x: Any) -> Any:
    """Return, for every element along the last axis, the product of those before it."""
    return _shifted(_cumprod(x, axis=-1), 1.0, -1)


def _prod_vjp(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    # The product of all other elements, as what is before times what is after: y / x would be 0 / 0 at zeros.
    kept_shape = _kept((2,) * x.ndim, axis)
    kept = [i for i, n in enumerate(kept_shape) if n == 2]
    order = kept + [i for i, n in enumerate(kept_shape) if n == 1]
    moved = permute(x, order)
    rows = reshape(moved, (*(x.shape[i] for i in kept), _count(x.shape, axis)))
    others = _product_before(rows) * _product_before(rows[..., ::-1])[..., ::-1]
    others = permute(reshape(others, moved.shape), [order.index(i) for i in range(x.ndim)])
    return _unreduced(g, x, axis) * others


@primitive(
    name="prod",
    formula="prod({x})",
    vjps=[_prod_vjp],
    samples=lambda rng: [*_summable(rng), *_with_zeros(rng), Sample(_with_zeros(rng)[0].inputs[0])],
    error_samples=_errors,
    diagnose=_axis_mistake,
)
def _prod(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    return _reduce(np.multiply, x, axis, keepdims)


@composite(formula="prod(x)")
def prod(x: Any, axis: Any = None, keepdims: Any = False, *, dtype: Any = None) -> Any:
    """Product over the given axes, all by default. Its derivatives are right with zeros among the factors too."""
    return _prod(_converted(x, dtype), axis=axis, keepdims=keepdims)


# --- exponentials that do not overflow -----------------------------------------------------------


def _logsumexp_vjp(g: Any, y: Any, x: Any, axis: Any, keepdims: bool) -> Any:
    y = where(y == -np.inf, 0.0, y)  # nothing but zeros was summed: exp(x) is their share, and not exp(−∞ + ∞)
    return _unreduced(g, x, axis) * exp(x - _unreduced(y, x, axis))


@primitive(
    formula="logsumexp({x})",
    vjps=[_logsumexp_vjp],
    samples=lambda rng: [Sample(*s.inputs, **{"axis": None, **s.params}) for s in _samples(rng)],
    error_samples=_errors,
    diagnose=_axis_mistake,
)
def logsumexp(x: Any, *, axis: Any, keepdims: Any = False) -> Any:
    """``log(sum(exp(x)))`` over the given axes, without overflow; −∞ where there is nothing to sum.

    Where all summands are −∞ the gradient is 0.
    """
    x, axis = _floating(x), _axes(axis)
    largest = np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    largest = np.where(np.isfinite(largest), largest, 0)
    # log(0) is −∞, which is meant; and exp overflows only beside an infinity.
    with np.errstate(divide="ignore", over="ignore"):
        logs = np.log(np.add.reduce(np.exp(x - largest), axis=axis, keepdims=keepdims))
    return logs + largest.reshape(np.shape(logs))


def _softmax_vjp(g: Any, y: Any, x: Any, axis: int) -> Any:
    weighted = g * y
    return weighted - y * sum(weighted, axis=axis, keepdims=True)


def _large(rng: np.random.Generator) -> list[Sample]:
    return [*_along_one_axis(rng), Sample(np.array(0.5), axis=0), Sample(np.array([1e4, 1e4 + 1, -1e4]), axis=0)]


@primitive(
    name="softmax",
    formula="softmax({x})",
    vjps=[_softmax_vjp],
    samples=_large,
    error_samples=_single_axis_errors,
    diagnose=_axis_mistake,
)
def _softmax(x: Any, *, axis: Any) -> Any:
    x, axis = _floating(x), _axis(axis)
    weights = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf))
    return weights / np.add.reduce(weights, axis=axis, keepdims=True)


def _log_softmax_vjp(g: Any, y: Any, x: Any, axis: int) -> Any:
    return g - exp(y) * sum(g, axis=axis, keepdims=True)


@primitive(
    name="log_softmax",
    formula="log_softmax({x})",
    vjps=[_log_softmax_vjp],
    samples=_large,
    error_samples=_single_axis_errors,
    diagnose=_axis_mistake,
)
def _log_softmax(x: Any, *, axis: Any) -> Any:
    x, axis = _floating(x), _axis(axis)
    below = x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf)
    with np.errstate(divide="ignore"):  # a sum of no elements, which is subtracted from none
        return below - np.log(np.add.reduce(np.exp(below), axis=axis, keepdims=True))


@composite(formula="exp(x) / sum(exp(x))", error_samples=_needs_axis)
def softmax(x: Any, axis: Any, *, dtype: Any = None) -> Any:
    """Positive numbers that sum to 1 along an axis, ``exp(x) / sum(exp(x))``; no x is too large for it."""
    return _softmax(_converted(x, dtype), axis=axis)


@composite(formula="x − logsumexp(x)", error_samples=_needs_axis)
def log_softmax(x: Any, axis: Any, *, dtype: Any = None) -> Any:
    """Logarithm of `softmax`, exact also where that is so small that it rounds to 0."""
    return _log_softmax(_converted(x, dtype), axis=axis)


# --- norms ---------------------------------------------------------------------------------------


def _vector_norm_vjp(g: Any, y: Any, x: Any, ord: float, axis: Any, keepdims: bool) -> Any:
    # dy/dx = sign(u)·|u|^(ord − 1)  with  u = x / y, in which nothing overflows. Where y is 0, u becomes 0
    # and with it the derivative, of every order: at the zero vector there is none.
    u = x / _unreduced(where(y == 0, np.inf, y), x, axis)
    even = ord > 0 and ord % 2 == 0  # then it is a polynomial, with derivatives at 0 too
    slope = u ** (ord - 1) if even else sign(u) * where(u == 0, 1.0, abs(u)) ** (ord - 1)
    return _unreduced(g, x, axis) * slope


def _norms(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 2))
    x += np.copysign(0.2, x)
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=(0, 2), keepdims=True),
        Sample(x, axis=[0, 1], ord=3.0),
        *(Sample(x[0], axis=-1, ord=ord) for ord in (0.5, 1.0, 1.5, 4.0, 5.5, -1.0, -2.5)),
        Sample(np.array(-1.5)),
        Sample(np.ones((2, 0)), axis=1),
        Sample(np.ones((0, 2)), axis=1, ord=3.0),
        Sample(np.array([0.0, 2.0, 0.0, -1.0])),
        Sample(np.array([0.0, 2.0, 0.0, -1.0]), ord=3.5),
    ]


@primitive(
    name="vector_norm",
    formula="‖{x}‖",
    vjps=[_vector_norm_vjp],
    samples=_norms,
    error_samples=_errors,
    diagnose=_axis_mistake,
)
def _vector_norm(x: Any, *, ord: float = 2.0, axis: Any = None, keepdims: Any = False) -> Any:
    axis = _axes(axis)
    sizes = np.abs(x)
    # Divided by a power of two near the element that counts most, no power overflows or vanishes; nothing is rounded.
    leading, start = (np.minimum, np.inf) if ord < 0 else (np.maximum, 0.0)
    leader = leading.reduce(sizes, axis=axis, keepdims=True, initial=start)
    scale = np.ldexp(np.ones_like(leader), np.frexp(leader)[1] - 1)
    with np.errstate(divide="ignore"):  # a zero to a negative power: the norm is 0
        total = np.add.reduce((sizes / scale) ** ord, axis=axis, keepdims=keepdims)
    return total ** (1 / ord) * scale.reshape(np.shape(total))


def _norm_samples(rng: np.random.Generator) -> list[Sample]:
    x = rng.permutation(12).reshape(3, 4) / 5 + 0.1
    return [
        Sample(x, ord, **more)
        for ord in (0, 1, np.inf, -np.inf, 2, 2.5)
        for more in ({}, {"axis": 1}, {"axis": (0, 1), "keepdims": True})
    ]


def _norm_mistakes() -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((2, 0)), np.inf, axis=1, error=ShapeError, match="no norm of order inf of no elements"),
        ErrorSample(np.ones((2, 0)), -1, axis=[1], error=ShapeError, match="no norm of order -1.0 of no elements"),
        ErrorSample(np.ones((2, 0)), -1, axis=2, error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones((2, 3)), "nuc", error=ArgumentError, match="'nuc'"),
    ]


@composite(
    formula="sum(|x|^ord)^(1/ord)",
    samples=_norm_samples,
    error_samples=_norm_mistakes,
    numpy=[np.linalg.vector_norm],
)
def vector_norm(x: Any, ord: Any = 2, axis: Any = None, keepdims: Any = False, *, dtype: Any = None) -> Any:
    """Norm of vectors: ``sum(|x|^ord)^(1/ord)`` over the given axes, all by default.

    Parameters
    ----------
    x : array_like
        The vectors. Several axes, or all, count as one vector.
    ord : float
        The order: any number. Order 0 counts the elements that are not zero, ∞ is the largest absolute value,
        −∞ the smallest.
    axis : int, tuple or list of int, optional
        The axes along which the vectors lie.
    keepdims : bool
        Whether these axes remain, with length 1.
    dtype : optional
        What to convert to before.

    Raises
    ------
    ShapeError
        If there is no such axis, or no element where the order is infinite or negative.

    Notes
    -----
    At the zero vector, where no norm has a derivative, the gradient is 0. Entries as large as 1e300 or as small
    as 1e-300 neither overflow nor vanish.
    """
    if not isinstance(ord, int | float | np.number):
        raise ArgumentError(f"ord={ord!r}: the order of a vector's norm is a number. linalg.norm has those of matrices")
    ord, x, axis = float(ord), _floating(x, dtype), _axes(axis)
    if (ord < 0 or ord == math.inf) and _checked_count(x, axis) == 0:
        raise ShapeError(f"there is no norm of order {ord} of no elements: an axis has length 0")
    if ord == 0:
        return astype(sum(not_equal(x, 0.0), axis=axis, keepdims=keepdims), x.dtype)
    if math.isinf(ord):
        return (_max if ord > 0 else _min)(abs(x), axis=axis, keepdims=keepdims)
    return _vector_norm(x, ord=ord, axis=axis, keepdims=keepdims)


@composite(
    formula="sum(|x|^p)^(1/p)",
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), "frobenius", error=ArgumentError, match="'frobenius'"),
        ErrorSample(
            np.ones((2, 3, 4)), axis=(0, 1, 2), error=ShapeError, match="'fro' is the norm of a vector or matr"
        ),
    ],
)
def norm(x: Any, p: Any = "fro", axis: Any = None, keepdims: Any = False, *, dtype: Any = None) -> Any:
    """Norm as by ``torch.norm``: over the given axes, all by default, of order `p`, by default 2.

    ``p="fro"``, the Frobenius norm of a matrix, is another name for 2; ``p="nuc"`` is the sum of the singular values.
    For numbers, which count everything as vectors, see `vector_norm`.
    """
    if p == "fro":
        if isinstance(axis, tuple | list) and len(axis) > 2:
            raise ShapeError(f"'fro' is the norm of a vector or matrix, not along {len(axis)} axes. For those, p=2")
        p = 2
    if isinstance(p, str):
        from tinygrad_bc.ops.linalg import matrix_norm  # which is made of what is declared here

        return matrix_norm(x, p, (-2, -1) if axis is None else axis, keepdims, dtype=dtype)
    return vector_norm(x, p, axis, keepdims, dtype=dtype)


# --- NumPy's functions, with NumPy's arguments ---------------------------------------------------


def _as_in_numpy(numpys: str, ours: Callable[..., Any], order: str) -> Callable[..., Any]:
    """Return our function with the arguments of NumPy's of that name, which stand in this order, and no others."""
    names = order.split()

    def call(a: Any, *args: Any, **kwargs: Any) -> Any:
        given = {**dict(zip(names, args)), **kwargs}
        if given.get("out") is None:
            given.pop("out", None)
        for name in given:
            if name == "out" or name not in names:
                raise GradientError(f"np.{numpys}({name}=...) of a tensor is not recorded: leave {name} out")
        return ours(a, **given)

    return call


def _or_flattened(function: Composite) -> Callable[..., Any]:
    def call(a: Any, axis: Any = None, dtype: Any = None) -> Any:
        return function(reshape(a, -1), 0, dtype=dtype) if axis is None else function(a, axis, dtype=dtype)

    return call


def _with_ddof(function: Composite) -> Callable[..., Any]:
    def call(a: Any, axis: Any = None, dtype: Any = None, ddof: Any = 0, keepdims: Any = False) -> Any:
        return function(_converted(a, dtype), axis, keepdims=keepdims, correction=ddof)

    return call


_IN_NUMPY: list[tuple[Any, Callable[..., Any], str]] = [
    (np.sum, sum, "axis dtype out keepdims"),
    (np.mean, mean, "axis dtype out keepdims"),
    (np.prod, prod, "axis dtype out keepdims"),
    (np.var, _with_ddof(var), "axis dtype out ddof keepdims"),
    (np.std, _with_ddof(std), "axis dtype out ddof keepdims"),
    (np.max, amax, "axis out keepdims"),
    (np.amax, amax, "axis out keepdims"),
    (np.min, amin, "axis out keepdims"),
    (np.amin, amin, "axis out keepdims"),
    (np.argmax, argmax, "axis out keepdims"),
    (np.argmin, argmin, "axis out keepdims"),
    (np.all, all, "axis out keepdims"),
    (np.any, any, "axis out keepdims"),
    (np.cumsum, _or_flattened(cumsum), "axis dtype out"),
    (np.cumprod, _or_flattened(cumprod), "axis dtype out"),
]
COUNTERPARTS.update({numpys: _as_in_numpy(numpys.__name__, ours, order) for numpys, ours, order in _IN_NUMPY})
