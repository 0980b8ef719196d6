"""What layers are made of: linear maps, normalisation, lookup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from tinygrad_bc.ops._arguments import Shape, first_of, numbers_of, of_shape, shaped
from tinygrad_bc.ops.elementwise import _floating, sqrt, where
from tinygrad_bc.ops.index import getitem
from tinygrad_bc.ops.linalg import matmul
from tinygrad_bc.ops.reduce import _var, mean
from tinygrad_bc.ops.shape import matrix_transpose, reshape
from tinygrad_bc.primitive import ErrorSample, Primitive, Sample, composite, primitive
from tinygrad_bc.record import Value, tracer

# --- linear maps ---------------------------------------------------------------------------------


def _inner_hint(x: Shape, weight: Shape) -> str:
    if len(weight) == 2 and weight[0] == x[-1]:
        return ". weight is (out_features, in_features): did you mean weight.T?"
    if len(x) == 2 and x[0] == weight[-1]:
        return ". input has a row for each sample: did you mean input.T?"
    return ""


def _fast_linear(x: Any, weight: Any, bias: Any) -> Any:
    y = x.dot(weight.T)
    if y.dtype is not bias.dtype:
        return y + bias
    y += bias
    return y


@primitive(
    name="linear",
    formula="{x} @ {weight}ᵀ + {bias}",
    # For Y = X Wᵀ + b:  dX = dY W  and  dW = dYᵀ X  (Giles, sec. 2.2.2); b is broadcast to the rows.
    vjps=[
        lambda g, y, x, weight, bias: matmul(g, weight),
        lambda g, y, x, weight, bias: matmul(g.mT, x),
        lambda g, y, x, weight, bias: g,
    ],
    samples=lambda rng: [
        Sample(rng.normal(size=(n, inner)), rng.normal(size=(outer, inner)), rng.normal(size=outer))
        for n, inner, outer in [(5, 3, 4), (1, 3, 4), (5, 3, 1), (0, 3, 4), (5, 0, 4)]
    ],
    broadcasts=True,
    fast=_fast_linear,
)
def _linear(x: Any, weight: Any, bias: Any) -> Any:
    """Multiply each row by the rows of a matrix, and add a bias."""
    return np.dot(x, weight.T) + bias


@composite(
    formula="input @ weightᵀ + bias",
    samples=lambda rng: [
        Sample(rng.normal(size=x), rng.normal(size=weight), rng.normal(size=weight[:-1]))
        for x, weight in [((5, 3), (4, 3)), ((3,), (4, 3)), ((2, 5, 3), (4, 3)), ((0, 3), (4, 3)), ((5, 3), (3,))]
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((5, 3)), np.ones((3, 4)), error=ShapeError, match=r"did you mean \w+\.T"),
        ErrorSample(np.ones((3, 5)), np.ones((4, 3)), error=ShapeError, match=r"did you mean \w+\.T"),
        ErrorSample(np.ones((5, 3)), np.ones((2, 4, 3)), error=ShapeError, match="out_features, in_features"),
        ErrorSample(np.ones(()), np.ones((4, 3)), error=ShapeError, match="at least one axis"),
        ErrorSample(
            np.ones((4, 3)), np.ones((4, 3)), np.ones((4, 1)), error=ShapeError, match=r"bias must be .*\(4,\)"
        ),
    ],
)
def linear(input: Any, weight: Any, bias: Any = None) -> Any:
    """Apply a linear map to each row, and add a bias.

    Parameters
    ----------
    input : (..., in_features)
        A row for each sample.
    weight : (out_features, in_features) or (in_features,)
        A row for each output; a vector for a single output, which then has no axis.
    bias : (out_features,) or (), optional
        What is added to each output.

    Returns
    -------
    (..., out_features) or (...)
        ``input @ weight.T + bias``.

    Raises
    ------
    ShapeError
        If the shapes do not fit together.
    """
    x, weight = shaped(input), shaped(weight)
    if weight.ndim not in (1, 2):
        raise ShapeError(f"weight must be (out_features, in_features), or (in_features,), and it is {weight.shape}")
    if x.ndim == 0:
        raise ShapeError("input must be (..., in_features), so it needs at least one axis")
    if x.shape[-1] != weight.shape[-1]:
        raise ShapeError(
            f"input has {x.shape[-1]} features (axis {x.ndim - 1}), but weight wants {weight.shape[-1]} in_features "
            f"(axis {weight.ndim - 1})" + _inner_hint(x.shape, weight.shape)
        )
    bias = of_shape("bias", bias, weight.shape[:-1], "a number for each output")
    if bias is not None and x.ndim == weight.ndim == 2:
        return _linear(x, weight, bias)
    y = matmul(x, matrix_transpose(weight) if weight.ndim == 2 else weight)
    return y if bias is None else y + bias


# --- normalisation -------------------------------------------------------------------------------


def _standardize_vjp(g: Any, y: Any, x: Any, axis: Shape, eps: float) -> Any:
    # Ioffe and Szegedy, "Batch normalization", 2015, sec. 3, the three paths of the chain rule put together.
    along_y = mean(g * y, axis=axis, keepdims=True)
    spread = sqrt(_var(x, axis=axis, correction=0, keepdims=True) + eps)
    return (g - mean(g, axis=axis, keepdims=True) - y * along_y) / spread


@primitive(
    name="standardize",
    formula="({x} − mean) / √(var + {eps})",
    vjps=[_standardize_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(5, 3)), axis=(0,), eps=1e-5),
        Sample(rng.normal(size=(2, 3, 4)), axis=(0, 2), eps=0.1),
        Sample(rng.normal(size=(2, 3, 4)), axis=(1, 2), eps=0.0),
        Sample(np.ones((0, 3)), axis=(1,), eps=1e-5),
    ],
    error_samples=lambda: [ErrorSample(np.ones((3, 2)), axis=(0,), eps=0.0, error=ArgumentError, match="eps=0.0")],
)
def _standardize(x: Any, *, axis: Shape, eps: float) -> Any:
    """Shift and scale to a mean of 0 and a (biased) variance of 1 over the given axes, `eps` apart."""
    centred = x - mean.forward(x, axis=axis, keepdims=True)
    variance = mean.forward(centred * centred, axis=axis, keepdims=True)
    _check_variance(variance, eps)
    return centred / np.sqrt(variance + eps)


def _check_variance(variance: Any, eps: float) -> None:
    """Refuse to divide by zero, or to take the root of a negative number."""
    if np.any(variance + eps <= 0):
        raise ArgumentError(
            f"a variance is {np.min(variance):.4g}, and with eps={eps} there is nothing to divide by: "
            "choose a larger eps, such as 1e-5"
        )


def _scaled_and_shifted(y: Any, weight: Any, bias: Any) -> Any:
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@composite(
    formula="(input − mean) / √(var + eps) ∘ weight + bias",
    samples=lambda rng: [
        Sample(rng.normal(size=(5, 3)), (3,), rng.normal(size=3), rng.normal(size=3)),
        Sample(rng.normal(size=(2, 3, 4)), normalized_shape=(3, 4), weight=rng.normal(size=(3, 4)), eps=0.1),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((5, 3)), (5,), error=ShapeError, match=r"normalized_shape=\(5,\).*\(3,\)"),
        ErrorSample(np.ones((5, 3)), (), error=ShapeError, match="last axes"),
        ErrorSample(np.ones((5, 3)), 3, np.ones(5), error=ShapeError, match=r"weight must be of shape \(3,\)"),
    ],
)
def layer_norm(input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    """Shift and scale each sample to a mean of 0 and a variance of 1, then scale and shift as learned.

    Parameters
    ----------
    input : (..., *normalized_shape)
        The samples.
    normalized_shape : int or sequence of int
        The lengths of the last axes, over which mean and (biased) variance are taken.
    weight, bias : (*normalized_shape,), optional
        What is multiplied with, and added to, the result.
    eps : float
        What is added to the variance.

    Raises
    ------
    ShapeError
        If the shapes do not fit together.
    ArgumentError
        If a variance plus `eps` is not positive.
    """
    x = _floating(input)
    shape = tuple(normalized_shape) if isinstance(normalized_shape, Sequence | np.ndarray) else (normalized_shape,)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ShapeError(
            f"normalized_shape={shape} must be the lengths of the last axes of input: {x.shape[-1:]} for the last alone"
        )
    weight = of_shape("weight", weight, shape, "which is normalized_shape")
    bias = of_shape("bias", bias, shape, "which is normalized_shape")
    return _scaled_and_shifted(_standardize(x, axis=tuple(range(-len(shape), 0)), eps=float(eps)), weight, bias)


def _updated(name: str, running: Any, new: Any, momentum: float) -> None:
    """Move a running statistic towards a new one, in place."""
    if not isinstance(running, Value | np.ndarray) or running.dtype.kind != "f":
        raise DTypeError(
            f"{name} is updated in place when training=True, so it must be a tensor or an array of floating-point "
            "numbers"
        )
    tracing = tracer.get()
    if tracing is not None:
        tracing.move(running, lambda x: (1 - momentum) * x + momentum * new, name)  # type: ignore[operator]
        return
    total = (1 - momentum) * numbers_of(running) + momentum * new
    if isinstance(running, Value):
        running.data = total
    else:
        running[...] = total


def _statistic(op: Primitive, x: Any, **params: Any) -> Any:
    """Return what an operation says of the numbers in `x`, recorded only while a function is captured."""
    return op.forward(numbers_of(x), **params) if tracer.get() is None else _without_gradient(op(x, **params))


def _check_batch(x: Any, running_mean: Any, running_var: Any, training: bool) -> None:
    if x.ndim < 2 and 0 not in x.shape:
        raise ShapeError(f"input must be (N, C, ...), with the channels on axis 1, and it is {x.shape}")
    if not training and (running_mean is None or running_var is None):
        raise ArgumentError("running_mean and running_var are what training=False normalises with: pass both")
    if training and math.prod(x.shape) == x.shape[-1 if x.ndim == 1 else 1] != 0:
        raise ShapeError(
            "training=True takes mean and variance over the samples, and there is only one number for each channel: "
            "pass a larger batch, or training=False"
        )


@composite(
    formula="(input − mean) / √(var + eps) ∘ weight + bias",
    samples=lambda rng: [
        Sample(rng.normal(size=(5, 3)), None, None, rng.normal(size=3), rng.normal(size=3), training=True),
        Sample(rng.normal(size=(2, 3, 4)), None, None, rng.normal(size=3), training=True, eps=0.1),
        Sample(rng.normal(size=(2, 3, 4)), np.zeros(3), np.ones(3), rng.normal(size=3), rng.normal(size=3)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(3), None, None, training=True, error=ShapeError, match=r"input must be \(N, C"),
        ErrorSample(np.ones((1, 3)), None, None, training=True, error=ShapeError, match="only one number for each"),
        ErrorSample(np.ones((5, 3)), None, None, error=ArgumentError, match="pass both"),
        ErrorSample(np.ones((5, 3)), np.ones(5), np.ones(5), error=ShapeError, match=r"running_mean must be .*\(3,\)"),
        ErrorSample(np.ones((5, 3)), np.ones(3), -np.ones(3), error=ArgumentError, match="a variance is -1"),
    ],
)
def batch_norm(
    input: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """Shift and scale each channel to a mean of 0 and a variance of 1, then scale and shift as learned.

    Parameters
    ----------
    input : (N, C, ...)
        Samples, channels, and axes of space if there are any.
    running_mean, running_var : (C,) or None
        Statistics of earlier batches. With ``training=True`` they are updated **in place**, the second with the
        unbiased variance of the batch; with ``training=False`` they are what the input is normalised with.
    weight, bias : (C,), optional
        What is multiplied with, and added to, the result.
    training : bool
        Whether to normalise with mean and (biased) variance of this batch.
    momentum : float
        The share of this batch in the updated statistics.
    eps : float
        What is added to the variance.

    Raises
    ------
    ShapeError
        If the shapes do not fit together, or there is one number for each channel and ``training=True``.
    ArgumentError
        If statistics are needed and not given, or a variance plus `eps` is not positive.
    DTypeError
        If statistics cannot be updated in place.
    """
    x = _floating(input)
    _check_batch(x, running_mean, running_var, training)
    channels = x.shape[-1 if x.ndim == 1 else 1]
    for name, given in (("running_mean", running_mean), ("running_var", running_var)):
        of_shape(name, given, (channels,), "a number for each channel")
    column = (channels, *(1,) * (x.ndim - 2))
    scale, shift = (
        given if given is None else reshape(given, column)
        for given in (
            of_shape("weight", weight, (channels,), "a number for each channel"),
            of_shape("bias", bias, (channels,), "a number for each channel"),
        )
    )
    if not training:
        _check_variance(numbers_of(shaped(running_var)), eps)
        y = (x - reshape(running_mean, column)) / sqrt(reshape(running_var, column) + eps)
        return _scaled_and_shifted(y, scale, shift)
    if 0 in x.shape:
        return _scaled_and_shifted(x, scale, shift)  # an empty batch says nothing about mean and variance
    others = (0, *range(2, x.ndim))
    y = _standardize(x, axis=others, eps=float(eps))
    if running_mean is not None:
        _updated("running_mean", running_mean, _statistic(mean, x, axis=others), momentum)
    if running_var is not None:
        _updated("running_var", running_var, _statistic(_var, x, axis=others, correction=1), momentum)
    return _scaled_and_shifted(y, scale, shift)


# --- lookup --------------------------------------------------------------------------------------


@primitive(
    name="without_gradient", formula="constant({x})", vjps=None, samples=lambda rng: [Sample(rng.normal(size=(2, 3)))]
)
def _without_gradient(x: Any) -> Any:
    """Return `x` unchanged. It counts as a constant."""
    return x[...]


def _row(name: str, index: int, rows: int) -> int:
    if not -rows <= index < rows:
        raise IndexingError(f"{name}={index} is not the number of a row: weight has {rows}")
    return index % rows


def _check_indices(indices: Any, rows: int) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            f"input must hold the numbers of rows, which are integers, and it is {indices.dtype}: "
            "convert it with .astype(int), or check the order of the arguments, embedding(input, weight)"
        )
    numbers = numbers_of(indices)
    wrong = (numbers < 0) | (numbers >= rows)
    if np.any(wrong):
        raise IndexingError(
            f"input holds {first_of(wrong, numbers)}, and weight has {rows} rows, numbered 0 to {rows - 1}"
        )


@composite(
    formula="weight[input]",
    error_samples=lambda: [
        ErrorSample(np.array([0, 4]), np.ones((4, 3)), error=IndexingError, match=r"holds 4 at \[1\].* 0 to 3"),
        ErrorSample(np.array([[0, -1]]), np.ones((4, 3)), error=IndexingError, match=r"holds -1 at \[0, 1\]"),
        ErrorSample(np.array([0.0]), np.ones((4, 3)), error=DTypeError, match="integers, and it is float64"),
        ErrorSample(np.array([0]), np.ones(4), error=ShapeError, match=r"weight must be \(rows, features\)"),
        ErrorSample(np.array([0]), np.ones((4, 3)), padding_idx=4, error=IndexingError, match="padding_idx=4"),
        ErrorSample(np.array([0]), np.ones((4, 3)), max_norm=1.0, error=ArgumentError, match="max_norm"),
    ],
)
def embedding(
    input: Any,
    weight: Any,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    """Look up rows by their numbers. A row that is looked up several times gets the sum of the gradients.

    Parameters
    ----------
    input : (...) of integers
        Numbers of rows, from 0.
    weight : (rows, features)
        The table.
    padding_idx : int, optional
        The number of a row that gets no gradient; negative: counted from the end.
    max_norm, norm_type, scale_grad_by_freq, sparse
        PyTorch's other options, which are refused: they change the table in passing, or the gradient into something
        that is none.

    Returns
    -------
    (..., features)
        The rows.

    Raises
    ------
    IndexingError
        If there is no such row.
    DTypeError
        If `input` does not hold integers.
    ShapeError
        If `weight` is not a table.
    ArgumentError
        If an option is given that is not offered.
    """
    if max_norm is not None or scale_grad_by_freq or sparse:
        raise ArgumentError(
            "max_norm, scale_grad_by_freq and sparse are not offered. For max_norm, rescale the rows of weight inside "
            "no_grad() before the lookup"
        )
    indices, weight = shaped(input), shaped(weight)
    if weight.ndim != 2:
        raise ShapeError(
            f"weight must be (rows, features), and it is {weight.shape}. Are they swapped? The order is (input, weight)"
        )
    _check_indices(indices, weight.shape[0])
    rows = getitem(weight, indices)
    if padding_idx is None:
        return rows
    is_padding = reshape(indices == _row("padding_idx", padding_idx, weight.shape[0]), (*indices.shape, 1))
    return where(is_padding, _without_gradient(rows), rows)
