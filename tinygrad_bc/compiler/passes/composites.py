"""Composite operations written with core ones: functions, reductions and arrangements of elements.

Each rule takes what the operation takes, and returns what it computes, or None where it has nothing to offer. The
formulas are those of the operations' forward computations, or the same but for rounding, at infinities too.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.ops import (
    absolute,
    astype,
    broadcast_to,
    concatenate,
    divide,
    equal,
    exp,
    expm1,
    fmod,
    isfinite,
    isinf,
    isnan,
    log,
    log1p,
    matrix_transpose,
    maximum,
    minimum,
    permute,
    reshape,
    sigmoid,
    sqrt,
    square,
    trunc,
    where,
)
from tinygrad_bc.ops._arguments import Shape, counted_axis, skip
from tinygrad_bc.ops.reduce import _count, _over
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Value

__all__ = ["RULES", "Rule"]

Rule = Callable[..., Any]

CAST, MAX, MIN = (REGISTRY[name] for name in ("cast", "max", "min"))

# --- functions of elements -----------------------------------------------------------------------


def _floats(x: Any) -> Any:
    """Return integers and booleans as float64, like `ops._arguments.floats`."""
    if not isinstance(x, Value):
        return float(x)
    return astype(x, np.float64) if x.dtype.kind in "iub" else x


def _is_float(*xs: Any) -> bool:
    return np.result_type(*(x._data if isinstance(x, Value) else x for x in xs)).kind == "f"


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + exp(-_floats(x)))


def _log_of_one_plus_exp(x: Any) -> Any:
    # The larger part is taken out of the logarithm, so that nothing overflows.
    return maximum(x, 0) + log1p(exp(-absolute(x)))


def _logsigmoid(x: Any) -> Any:
    x = _floats(x)
    return minimum(x, 0) - log1p(exp(-absolute(x)))


def _softplus(x: Any, beta: float, threshold: float) -> Any:
    x = _floats(x)
    scaled = x if beta == 1 else beta * x
    smooth = _log_of_one_plus_exp(scaled)
    smooth = smooth if beta == 1 else smooth / beta
    return smooth if threshold == math.inf else where(scaled > threshold, x, smooth)


def _logaddexp(a: Any, b: Any) -> Any:
    a, b = _floats(a), _floats(b)
    larger = maximum(a, b)
    # Two infinities of one sign are not subtracted from each other; beside +∞ the smaller one does not count.
    below = minimum(minimum(a, b) - where(isinf(larger), 0.0, larger), 0.0)
    return larger + log1p(exp(below))


def _elu(x: Any, alpha: float) -> Any:
    negative = expm1(minimum(_floats(x), 0.0))
    return where(x > 0, x, negative if alpha == 1 else alpha * negative)


def _xlogy(a: Any, b: Any) -> Any:
    a, b = _floats(a), _floats(b)
    dead = equal(a, 0) & ~isnan(b)
    return a * log(where(dead, 1.0, b))


def _clip(x: Any, low: Any, high: Any) -> Any:
    if not _is_limit(low, x, lowest=True):
        x = maximum(x, low)
    return x if _is_limit(high, x, lowest=False) else minimum(x, high)


def _is_limit(bound: Any, x: Any, lowest: bool) -> bool:
    """Return whether no element of `x` is beyond a bound, whatever it is."""
    if isinstance(bound, Value) or not isinstance(x, Value):
        return False
    if x.dtype.kind in "iu":
        return isinstance(bound, int) and bound == (np.iinfo(x.dtype).min if lowest else np.iinfo(x.dtype).max)
    return bound == (-math.inf if lowest else math.inf)


def _nan_to_num(x: Any, nan: float | None, posinf: float | None, neginf: float | None) -> Any:
    if x.dtype.kind != "f":
        return x
    largest = float(np.finfo(x.dtype).max)
    y = where(equal(x, math.inf), largest if posinf is None else posinf, x)
    y = where(equal(x, -math.inf), -largest if neginf is None else neginf, y)
    return where(isnan(x), 0.0 if nan is None else nan, y)


def _trunc_divide(a: Any, b: Any) -> Any:
    return trunc(divide(a, b)) if _is_float(a, b) else (a - fmod(a, b)) // b


def _binary_cross_entropy(x: Any, target: Any) -> Any:
    return -(target * maximum(log(x), -100) + (1 - target) * maximum(log1p(-x), -100))


def _binary_cross_entropy_with_logits(x: Any, target: Any) -> Any:
    return maximum(x, 0) - target * x + log1p(exp(-absolute(x)))


# --- reductions ----------------------------------------------------------------------------------


def _axes(axis: Any, ndim: int) -> Any:
    """Return axes to be reduced as short as they can be written: None for all of them, a number for one."""
    axes = _over(axis, ndim)
    if len(axes) == ndim:
        return None
    return axes[0] if len(axes) == 1 else axes


def _sum(x: Any, axis: Any, keepdims: Any, dtype: Any) -> Any:
    return None if dtype is None else ops.sum(astype(x, dtype), axis=axis, keepdims=keepdims)


def _sum_to(x: Any, shape: Shape) -> Any:
    lead = x.ndim - len(shape)
    axes = [*range(lead), *(i for i, n in enumerate(shape, lead) if n != x.shape[i])]
    return reshape(ops.sum(x, axis=_axes(axes, x.ndim), keepdims=lead == 0), shape)


def _mean(x: Any, axis: Any, keepdims: Any, dtype: Any = None) -> Any:
    if x.dtype == np.float16:
        return None  # which NumPy adds up in float32
    total = ops.sum(x if dtype is None else astype(x, dtype), axis=_axes(axis, x.ndim), keepdims=keepdims)
    return total / _count(x, axis)


def _var(x: Any, axis: Any, correction: float, keepdims: Any) -> Any:
    if x.dtype == np.float16:
        return None
    x = _floats(x)
    squares = ops.sum(square(x - _mean(x, axis, True)), axis=_axes(axis, x.ndim), keepdims=keepdims)
    return squares / (_count(x, axis) - correction)


def _std(x: Any, axis: Any, correction: float, keepdims: Any) -> Any:
    variance = _var(x, axis, correction, keepdims)
    return None if variance is None else sqrt(variance)


def _standardize(x: Any, axis: Any, eps: float) -> Any:
    if x.dtype == np.float16 or not x.dtype.type(eps) > 0:
        return None  # without eps the operation refuses a variance of 0
    centred = x - _mean(x, axis, True)
    return centred / sqrt(_mean(square(centred), axis, True) + eps)


def _extreme(op: Any) -> Rule:
    """Return the rule for an extreme: how ties share a gradient is no matter any more."""

    def rule(x: Any, axis: Any, keepdims: Any, ties: str) -> Any:
        return None if ties == op.defaults["ties"] else op(x, axis=axis, keepdims=keepdims)

    return rule


def _largest(x: Any, axis: Any) -> Any:
    return MAX(x, axis=axis, keepdims=True)


def _logsumexp(x: Any, axis: Any, keepdims: Any) -> Any:
    x = _floats(x)
    axis = _axes(axis, x.ndim)
    largest = _largest(x, axis)
    largest = where(isfinite(largest), largest, 0.0)
    logs = log(ops.sum(exp(x - largest), axis=axis, keepdims=keepdims))
    return logs + reshape(largest, logs.shape)


def _softmax(x: Any, axis: Any) -> Any:
    x = _floats(x)
    axis = _axes(axis, x.ndim)
    weights = exp(x - _largest(x, axis))
    return weights / ops.sum(weights, axis=axis, keepdims=True)


def _log_softmax(x: Any, axis: Any) -> Any:
    x = _floats(x)
    axis = _axes(axis, x.ndim)
    below = x - _largest(x, axis)
    return below - log(ops.sum(exp(below), axis=axis, keepdims=True))


def _vector_norm(x: Any, ord: float, axis: Any, keepdims: Any) -> Any:  # noqa: A002
    axis = _axes(axis, x.ndim)
    sizes = absolute(x)
    if ord == 1:
        return ops.sum(sizes, axis=axis, keepdims=keepdims)
    # Divided by the element that counts most, no power overflows or vanishes.
    leader = (MIN if ord < 0 else MAX)(sizes, axis=axis, keepdims=True)
    scale = where((leader > 0) & isfinite(leader), leader, 1.0)
    relative = sizes / scale
    total = ops.sum(square(relative) if ord == 2 else relative**ord, axis=axis, keepdims=keepdims)
    root = sqrt(total) if ord == 2 else total ** (1 / ord)
    return root * reshape(scale, root.shape)


# --- arrangements --------------------------------------------------------------------------------


def _permute(x: Any, dims: Shape) -> Any:
    order = [dim % x.ndim for dim in dims]
    if order == list(range(x.ndim)):
        return x
    return matrix_transpose(x) if order == [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2] else None


def _tile(x: Any, repeats: Shape) -> Any:
    ndim = max(x.ndim, len(repeats))
    lengths = (1,) * (ndim - x.ndim) + x.shape
    copies = (1,) * (ndim - len(repeats)) + repeats
    apart = reshape(x, [m for n in lengths for m in (1, n)])
    filled = broadcast_to(apart, [m for pair in zip(copies, lengths) for m in pair])
    return reshape(filled, [k * n for k, n in zip(copies, lengths)])


def _roll(x: Any, shifts: Shape, dims: Shape | None) -> Any:
    if dims is None:
        return reshape(_roll(reshape(x, -1), shifts, (0,)), x.shape)
    for shift, dim in zip(shifts, dims):
        axis = counted_axis(dim, x.ndim)
        cut = -shift % x.shape[axis]
        if cut:
            front, back = ((*skip(axis), part) for part in (slice(None, cut), slice(cut, None)))
            x = concatenate([x[back], x[front]], axis)
    return x


def _triangle(mask: Callable[[int, int, int], Any]) -> Rule:
    """Return the rule for a triangle; `mask` says of rows, columns and diagonal what belongs to it."""

    def rule(x: Any, diagonal: int) -> Any:
        rows, columns = x.shape[-2:]
        inside = mask(rows, columns, diagonal)
        return where(inside, x, x.dtype.type(0).item())  # and no product with the mask: 0 times NaN is NaN

    return rule


def _diagonal(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    axes = [dim % x.ndim for dim in (dim1, dim2)]
    x = permute(x, [i for i in range(x.ndim) if i not in axes] + axes)
    rows, columns = x.shape[-2:]
    # In a matrix whose rows stand one behind the other, what is on a diagonal is (columns + 1) apart.
    start = max(-offset, 0) * columns + max(offset, 0)
    count = min(rows - max(-offset, 0), columns - max(offset, 0))
    flat = reshape(x, (*x.shape[:-2], rows * columns))
    return flat[..., start : start + (count - 1) * (columns + 1) + 1 : columns + 1]


def _trace(x: Any, offset: int, axis1: int, axis2: int) -> Any:
    return ops.sum(_diagonal(x, offset, axis1, axis2), axis=_axes(-1, x.ndim - 1))


def _put_diagonal(x: Any, offset: int, dim1: int, dim2: int, shape: Shape) -> Any:
    axes = [dim % len(shape) for dim in (dim1, dim2)]
    rows, columns = shape[axes[0]], shape[axes[1]]
    along = np.arange(x.shape[-1])
    inside = np.zeros((rows, columns), bool)
    inside[along + max(-offset, 0), along + max(offset, 0)] = True
    before = max(-offset, 0)
    column = REGISTRY["pad"](x, pad=(before, rows - before - len(along)))
    y = where(inside, reshape(column, (*column.shape, 1)), x.dtype.type(0).item())
    order = [i for i in range(len(shape)) if i not in axes] + axes
    return permute(y, np.argsort(order))


RULES: dict[str, Rule] = {
    "sigmoid": _sigmoid,
    "logsigmoid": _logsigmoid,
    "softplus": _softplus,
    "silu": lambda x: x * sigmoid(x),
    "gelu": REGISTRY["gelu"].forward,  # made of operations as it stands
    "elu": _elu,
    "relu": lambda x: maximum(x, 0),
    "clip": _clip,
    "rsqrt": lambda x: 1.0 / sqrt(x),
    "logaddexp": _logaddexp,
    "xlogy": _xlogy,
    "nan_to_num": _nan_to_num,
    "trunc_divide": _trunc_divide,
    "truncate": lambda x, dtype: CAST(x, dtype=dtype),
    "without_gradient": lambda x: x,
    "binary_cross_entropy": _binary_cross_entropy,
    "binary_cross_entropy_with_logits": _binary_cross_entropy_with_logits,
    "linear": lambda x, weight, bias: ops.matmul(x, matrix_transpose(weight)) + bias,
    "sum": _sum,
    "sum_to": _sum_to,
    "mean": _mean,
    "var": _var,
    "std": _std,
    "standardize": _standardize,
    "max": _extreme(MAX),
    "min": _extreme(MIN),
    "logsumexp": _logsumexp,
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "vector_norm": _vector_norm,
    "permute": _permute,
    "tile": _tile,
    "roll": _roll,
    "tril": _triangle(lambda rows, columns, k: np.tri(rows, columns, k, dtype=bool)),
    "triu": _triangle(lambda rows, columns, k: ~np.tri(rows, columns, k - 1, dtype=bool)),
    "diagonal": _diagonal,
    "trace": _trace,
    "put_diagonal": _put_diagonal,
}
