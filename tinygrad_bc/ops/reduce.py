"""Operations along axes: sums, means, spreads, products, extremes, running sums and products, softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.errors import ArgumentError, DTypeError, ShapeError
from tinygrad_bc.ops._arguments import Shape, counted_axes, counted_axis, counterparts, floats, skip
from tinygrad_bc.ops.elementwise import _converted, equal, exp, maximum, minimum, where
from tinygrad_bc.ops.shape import _broadcast_to, _inverse, _or_flat, concatenate, permute, reshape
from tinygrad_bc.primitive import ErrorSample, Primitive, Sample, composite, primitive
from tinygrad_bc.record import Value
from tinygrad_bc.samples import untied, wrong_axes, wrong_axis

# --- axes ----------------------------------------------------------------------------------------


def _over(axis: Any, ndim: int) -> Shape:
    """Return the axes to reduce, all by default, counted from the front; of a number none, for it has none."""
    return tuple(range(ndim)) if axis is None else counted_axes(axis, ndim)[:ndim]


def _kept(x: Any, axis: Any) -> Shape:
    """Return the shape of `x` with the reduced axes as 1, as ``keepdims=True`` would leave it."""
    reduced = _over(axis, x.ndim)
    return tuple(1 if i in reduced else n for i, n in enumerate(x.shape))


def _count(x: Any, axis: Any) -> int:
    """Return how many elements go into each element of the result."""
    shape = x.shape
    return math.prod(shape if axis is None else [shape[i] for i in _over(axis, len(shape))])


def _unreduced(y: Any, x: Any, axis: Any) -> Any:
    """Return a reduced array with the reduced axes of `x` as 1, so that it broadcasts against `x`."""
    return y if axis is None else reshape(y, _kept(x, axis))


def _broadcast_back(g: Any, x: Any, axis: Any) -> Any:
    """Return a reduced array over the shape that it was reduced from."""
    return _broadcast_to(_unreduced(g, x, axis), shape=x.shape)


def _reduce(ufunc: np.ufunc, x: Any, axis: Any, keepdims: Any, **options: Any) -> Any:
    """Reduce by a NumPy ufunc."""
    return ufunc.reduce(x, axis=_over(axis, np.ndim(x)), keepdims=keepdims, **options)


# --- element types -------------------------------------------------------------------------------


def _refuse_truncation(x: Any, dtype: Any) -> None:
    """Refuse to cut off the fractions of numbers that may require a gradient."""
    if np.dtype(dtype).kind != "f" and np.asarray(x).dtype.kind == "f":
        raise DTypeError(
            f"dtype={np.dtype(dtype)} would cut off the fractions of {np.asarray(x).dtype} numbers, and with them the "
            f"gradient: if that is meant, convert them first, x.astype({str(np.dtype(dtype))!r})"
        )


# --- samples -------------------------------------------------------------------------------------


def _reductions(rng: np.random.Generator) -> list[Sample]:
    x = untied(rng, 2, 3, 4)
    return [
        Sample(x),
        Sample(x, axis=0),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True),
        Sample(x[:, :2, 0], axis=1),
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
    return [*_reductions(rng), Sample(np.ones((3, 0)), axis=1), Sample(np.ones((3, 0)))]


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


# --- sums and means ------------------------------------------------------------------------------


@primitive(
    formula="sum({x})",
    vjps=[lambda g, y, x, axis, keepdims, dtype: _broadcast_back(g, x, axis)],
    samples=_summable,
    error_samples=wrong_axes,
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
    vjps=[lambda g, y, x, axis, keepdims, dtype: _broadcast_back(g / _count(x, axis), x, axis)],
    samples=_reductions,
    error_samples=lambda: [
        *wrong_axes(),
        ErrorSample(np.ones((3, 0)), axis=1, error=ShapeError, match="mean of no elements"),
    ],
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
    if x.dtype.char == "e" and x.size:
        return np.mean(x, axis=_over(axis, x.ndim), keepdims=keepdims, dtype=dtype)  # which adds up in float32
    # A third of the time of np.mean, which gets here too, by way of several Python functions.
    try:
        total = np.add.reduce(x, axis=axis, keepdims=keepdims, dtype=dtype)
    except (TypeError, ValueError):
        total = _reduce(np.add, x, axis, keepdims, dtype=dtype)
    count = _count(x, axis)
    if count == 0 and total.size:
        raise ShapeError("the mean of no elements is 0 / 0: an axis to be averaged has length 0")
    return total / (count or 1)


def _var_vjp(g: Any, y: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    scale = 2 / (_count(x, axis) - correction)
    return _unreduced(g, x, axis) * (scale * (x - mean(x, axis=axis, keepdims=True)))


def _std_vjp(g: Any, y: Any, x: Any, axis: Any, correction: float, keepdims: bool) -> Any:
    # Where all elements are equal there is no derivative; 0 stands for it, as in PyTorch.
    deviation = x - mean(x, axis=axis, keepdims=True)
    relative = deviation / _unreduced(where(y == 0, np.inf, y), x, axis)
    return _unreduced(g, x, axis) * (relative / (_count(x, axis) - correction))


def _spreads(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(2, 3, 4))
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True, correction=0),
        Sample(x, axis=(0, 2), correction=1.3),
        Sample(x, axis=[0, 1], keepdims=True, correction=-2),
        Sample(x[0, 0], axis=0),
        Sample(np.array(1.5), axis=-1, correction=0),
        Sample(np.ones((0, 3)), axis=1),
    ]


def _no_freedom() -> list[ErrorSample]:
    return [
        *wrong_axes(),
        ErrorSample(np.ones((3, 1)), axis=1, error=ShapeError, match=r"1 element.* correction=1 .*pass correction=0"),
        ErrorSample(np.ones(2), correction=2.5, error=ShapeError, match="2 elements"),
        ErrorSample(np.ones(0), correction=0, error=ShapeError, match="0 elements"),
    ]


def _check_freedom(count: int, correction: float) -> None:
    """Refuse a division by zero, which NumPy and PyTorch answer with a warning and NaN."""
    if count - correction <= 0:
        raise ShapeError(
            f"the spread of {count} element{'s' if count != 1 else ''} with correction={correction} would be "
            "a sum of squares divided by nothing: more elements than the correction are needed"
            + (". For the spread of just these, not an estimate from a sample, pass correction=0" if count else "")
        )


@primitive(name="var", formula="var({x})", vjps=[_var_vjp], samples=_spreads, error_samples=_no_freedom)
def _var(x: Any, *, axis: Any = None, correction: float = 1, keepdims: Any = False) -> Any:
    x = np.asarray(x)
    _check_freedom(_count(x, axis), correction)
    return np.var(x, axis=_over(axis, x.ndim), ddof=correction, keepdims=keepdims)


@primitive(name="std", formula="std({x})", vjps=[_std_vjp], samples=_spreads, error_samples=_no_freedom)
def _std(x: Any, *, axis: Any = None, correction: float = 1, keepdims: Any = False) -> Any:
    x = np.asarray(x)
    _check_freedom(_count(x, axis), correction)
    return np.std(x, axis=_over(axis, x.ndim), ddof=correction, keepdims=keepdims)


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


@primitive(formula="all({x})", vjps=None, samples=_truths, error_samples=wrong_axes)
def all(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Whether all elements over the given axes are true, that is, not zero."""
    return _reduce(np.logical_and, x, axis, keepdims)


@primitive(formula="any({x})", vjps=None, samples=_truths, error_samples=wrong_axes)
def any(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Whether at least one element over the given axes is true, that is, not zero."""
    return _reduce(np.logical_or, x, axis, keepdims)


# --- extremes ------------------------------------------------------------------------------------


def _nothing(shape_of_x: Shape, **metadata: Any) -> str:
    return "there is nothing to choose from: an axis has length 0" if 0 in shape_of_x else ""


def _with_nothing(errors: Callable[[], list[ErrorSample]]) -> Callable[[], list[ErrorSample]]:
    return lambda: [
        *errors(),
        ErrorSample(np.ones((0, 3)), error=ShapeError, match="nothing to choose from"),
        ErrorSample(np.ones((0, 3)), axis=0, error=ShapeError, match="nothing to choose from"),
    ]


def _positions(rng: np.random.Generator) -> list[Sample]:
    x = untied(rng, 2, 3, 4)
    return [
        Sample(x),
        Sample(x, axis=1),
        Sample(x, axis=-1, keepdims=True),
        Sample(x, keepdims=True),
        Sample(np.array(1.5), axis=0),
        Sample(np.ones((0, 3)), axis=1),
    ]


@primitive(
    formula="argmax({x})", vjps=None, samples=_positions, error_samples=_with_nothing(wrong_axis), diagnose=_nothing
)
def argmax(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Position of the largest element along an axis, the first one of several; or in the flattened array."""
    return np.argmax(x, axis=None if axis is None else counted_axis(axis, np.ndim(x)), keepdims=keepdims)


@primitive(
    formula="argmin({x})", vjps=None, samples=_positions, error_samples=_with_nothing(wrong_axis), diagnose=_nothing
)
def argmin(x: Any, *, axis: Any = None, keepdims: Any = False) -> Any:
    """Position of the smallest element along an axis, the first one of several; or in the flattened array."""
    return np.argmin(x, axis=None if axis is None else counted_axis(axis, np.ndim(x)), keepdims=keepdims)


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
    x = untied(rng, 2, 3, 4)
    return [
        *_reductions(rng),
        Sample(x, axis=1, ties="first"),
        Sample(x, axis=-1, keepdims=True, ties="first"),
        Sample(np.array(1.5), axis=0, ties="first"),
        Sample(untied(rng, 4), axis=0, ties="first"),
        Sample(untied(rng, 3, 3), axis=0, ties="first"),
    ]


@primitive(
    name="max",
    formula="max({x})",
    vjps=[lambda g, y, x, axis, keepdims, ties: _extreme_vjp(argmax, g, y, x, axis, ties)],
    samples=_extremes,
    error_samples=_with_nothing(wrong_axes),
    diagnose=_nothing,
)
def _max(x: Any, *, axis: Any = None, keepdims: Any = False, ties: str = "shared") -> Any:
    return _reduce(np.maximum, x, axis, keepdims)


@primitive(
    name="min",
    formula="min({x})",
    vjps=[lambda g, y, x, axis, keepdims, ties: _extreme_vjp(argmin, g, y, x, axis, ties)],
    samples=_extremes,
    error_samples=_with_nothing(wrong_axes),
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
        ErrorSample(np.ones((2, 3)), np.ones(2), error=ShapeError, match="axis -1 has . against ."),
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
    return _chosen((_max, argmax, maximum), x, dim, other, axis, keepdim or keepdims)


@composite(formula="min(x)", error_samples=_pair_mistakes)
def min(
    x: Any, dim: Any = None, keepdim: Any = False, *, other: Any = None, axis: Any = None, keepdims: Any = False
) -> Any:
    """Smallest element of an array, along an axis, or of two arrays: with the forms of `max`."""
    return _chosen((_min, argmin, minimum), x, dim, other, axis, keepdim or keepdims)


def _chosen(ops: tuple[Primitive, Primitive, Primitive], x: Any, dim: Any, other: Any, axis: Any, keep: Any) -> Any:
    """Sort out the forms of `max` and `min`."""
    extreme, position, pairwise = ops
    if isinstance(dim, Value | np.ndarray):
        dim, other = None, dim
    if other is not None:
        if dim is not None or axis is not None or keep:
            raise ArgumentError("of two arrays, the extreme is taken element by element, and there is no axis to name")
        if isinstance(x, int | float):
            raise ArgumentError(f"the first argument is an array. A number also goes with {pairwise.name}({x}, array)")
        return pairwise(x, other)
    if dim is None:
        return extreme(x, axis=axis, keepdims=keep)
    if axis is not None:
        raise ArgumentError("dim= is for values and indices along one axis, axis= for the values alone. Give one")
    if isinstance(dim, tuple | list):
        raise ShapeError(
            f"dim={dim}: there are indices along one axis only. For values over several write axis={tuple(dim)}; "
            f"to compare with a list of numbers, {pairwise.name}"
        )
    dim = counted_axis(dim, np.ndim(x))
    return ValuesAndIndices(extreme(x, axis=dim, keepdims=keep, ties="first"), position(x, axis=dim, keepdims=keep))


@composite(formula="max(x)")
def amax(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Largest element over one or several axes, all by default. Ties share the gradient equally."""
    return _max(x, axis=axis, keepdims=keepdims)


@composite(formula="min(x)")
def amin(x: Any, axis: Any = None, keepdims: Any = False) -> Any:
    """Smallest element over one or several axes, all by default. Ties share the gradient equally."""
    return _min(x, axis=axis, keepdims=keepdims)


# --- running sums and products, and the product --------------------------------------------------


@primitive(
    name="cumsum",
    formula="cumsum({x})",
    vjps=[lambda g, y, x, axis, reverse: _cumsum(g, axis=axis, reverse=not reverse)],
    samples=lambda rng: [*_along_one_axis(rng), Sample(rng.normal(size=(3, 2)), axis=0, reverse=True)],
    error_samples=wrong_axis,
)
def _cumsum(x: Any, *, axis: Any, reverse: bool = False) -> Any:
    axis = counted_axis(axis, x.ndim)
    if reverse:
        return np.flip(np.cumsum(np.flip(x, axis), axis), axis)
    return np.cumsum(x, axis)


def _shifted(z: Any, first: float, axis: int) -> Any:
    """Return `z` moved one place along an axis, with `first` at the beginning and without the last element."""
    axis %= z.ndim
    start = (*z.shape[:axis], 1 if z.shape[axis] else 0, *z.shape[axis + 1 :])
    return concatenate([np.full(start, first, z.dtype), z[(*skip(axis), slice(None, -1))]], axis)


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
    error_samples=wrong_axis,
)
def _cumprod(x: Any, *, axis: Any) -> Any:
    return np.cumprod(x, counted_axis(axis, x.ndim))


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
    reduced = _over(axis, x.ndim)
    kept = tuple(i for i in range(x.ndim) if i not in reduced)
    moved = permute(x, kept + reduced)
    rows = reshape(moved, (*(x.shape[i] for i in kept), _count(x, axis)))
    others = _product_before(rows) * _product_before(rows[..., ::-1])[..., ::-1]
    others = permute(reshape(others, moved.shape), _inverse(kept + reduced))
    return _unreduced(g, x, axis) * others


@primitive(
    name="prod",
    formula="prod({x})",
    vjps=[_prod_vjp],
    samples=lambda rng: [*_summable(rng), *_with_zeros(rng), Sample(_with_zeros(rng)[0].inputs[0])],
    error_samples=wrong_axes,
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
    samples=lambda rng: [Sample(*s.inputs, **{"axis": None, **s.params}) for s in _reductions(rng)],
    error_samples=wrong_axes,
)
def logsumexp(x: Any, *, axis: Any, keepdims: Any = False) -> Any:
    """``log(sum(exp(x)))`` over the given axes, without overflow; −∞ where there is nothing to sum.

    Where all summands are −∞ the gradient is 0.
    """
    x = np.asarray(floats(x))
    axis = _over(axis, x.ndim)
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


@primitive(name="softmax", formula="softmax({x})", vjps=[_softmax_vjp], samples=_large, error_samples=wrong_axis)
def _softmax(x: Any, *, axis: Any) -> Any:
    x = np.asarray(floats(x))
    axis = counted_axis(axis, x.ndim)
    weights = np.exp(x - np.maximum.reduce(x, axis=axis, keepdims=True, initial=-np.inf))
    return weights / np.add.reduce(weights, axis=axis, keepdims=True)


@primitive(
    name="log_softmax",
    formula="log_softmax({x})",
    vjps=[lambda g, y, x, axis: g - exp(y) * sum(g, axis=axis, keepdims=True)],
    samples=_large,
    error_samples=wrong_axis,
)
def _log_softmax(x: Any, *, axis: Any) -> Any:
    x = np.asarray(floats(x))
    axis = counted_axis(axis, x.ndim)
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


# --- NumPy's functions, with NumPy's arguments ---------------------------------------------------


counterparts(
    {
        np.sum: lambda a, axis=None, dtype=None, out=None, keepdims=False: sum(
            a, axis=axis, keepdims=keepdims, dtype=dtype
        ),
        np.mean: lambda a, axis=None, dtype=None, out=None, keepdims=False: mean(
            a, axis=axis, keepdims=keepdims, dtype=dtype
        ),
        np.prod: lambda a, axis=None, dtype=None, out=None, keepdims=False: prod(a, axis, keepdims, dtype=dtype),
        np.var: lambda a, axis=None, dtype=None, out=None, ddof=0, keepdims=False: var(
            _converted(a, dtype), axis, keepdims=keepdims, correction=ddof
        ),
        np.std: lambda a, axis=None, dtype=None, out=None, ddof=0, keepdims=False: std(
            _converted(a, dtype), axis, keepdims=keepdims, correction=ddof
        ),
        np.max: lambda a, axis=None, out=None, keepdims=False: amax(a, axis, keepdims),
        np.amax: lambda a, axis=None, out=None, keepdims=False: amax(a, axis, keepdims),
        np.min: lambda a, axis=None, out=None, keepdims=False: amin(a, axis, keepdims),
        np.amin: lambda a, axis=None, out=None, keepdims=False: amin(a, axis, keepdims),
        np.argmax: lambda a, axis=None, out=None, *, keepdims=False: argmax(a, axis=axis, keepdims=keepdims),
        np.argmin: lambda a, axis=None, out=None, *, keepdims=False: argmin(a, axis=axis, keepdims=keepdims),
        np.all: lambda a, axis=None, out=None, keepdims=False: all(a, axis=axis, keepdims=keepdims),
        np.any: lambda a, axis=None, out=None, keepdims=False: any(a, axis=axis, keepdims=keepdims),
        np.cumsum: lambda a, axis=None, dtype=None, out=None: cumsum(*_or_flat(a, axis), dtype=dtype),
        np.cumprod: lambda a, axis=None, dtype=None, out=None: cumprod(*_or_flat(a, axis), dtype=dtype),
    }
)
