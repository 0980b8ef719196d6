"""Norms of vectors and of matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.ops._arguments import axes_in_words, counted_axes
from tinygrad_bc.ops.elementwise import _floating, abs, astype, not_equal, sign, where
from tinygrad_bc.ops.linalg import svdvals
from tinygrad_bc.ops.reduce import _count, _kept, _max, _min, _over, _unreduced, amax, amin, sum
from tinygrad_bc.ops.shape import moveaxis, reshape
from tinygrad_bc.primitive import ErrorSample, Sample, composite, primitive
from tinygrad_bc.samples import untied, with_singular_values_apart, wrong_axes

# --- vectors -------------------------------------------------------------------------------------


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
        Sample(x[:, :2, 0], axis=-1, ord=0.5),
        Sample(np.array(-1.5)),
        Sample(np.array(-1.5), axis=-1),
        Sample(np.ones((2, 0)), axis=1),
        Sample(np.ones((0, 2)), axis=1, ord=3.0),
        Sample(np.array([0.0, 2.0, 0.0, -1.0])),
        Sample(np.array([0.0, 2.0, 0.0, -1.0]), ord=3.5),
    ]


@primitive(name="vector_norm", formula="‖{x}‖", vjps=[_vector_norm_vjp], samples=_norms, error_samples=wrong_axes)
def _vector_norm(x: Any, *, ord: float = 2.0, axis: Any = None, keepdims: Any = False) -> Any:
    axis = _over(axis, np.ndim(x))
    sizes = np.abs(x)
    # Divided by a power of two near the element that counts most, no power overflows or vanishes; nothing is rounded.
    leading, start = (np.minimum, np.inf) if ord < 0 else (np.maximum, 0.0)
    leader = leading.reduce(sizes, axis=axis, keepdims=True, initial=start)
    scale = np.ldexp(np.ones_like(leader), np.frexp(leader)[1] - 1)
    with np.errstate(divide="ignore"):  # a zero to a negative power: the norm is 0
        total = np.add.reduce((sizes / scale) ** ord, axis=axis, keepdims=keepdims)
    return total ** (1 / ord) * scale.reshape(np.shape(total))


def _norm_samples(rng: np.random.Generator) -> list[Sample]:
    x = untied(rng, 3, 4) + 0.1
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
    formula="sum(|x|^ord)^(1/ord)", samples=_norm_samples, error_samples=_norm_mistakes, numpy=[np.linalg.vector_norm]
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
    ord, x = float(ord), _floating(x, dtype)
    if (ord < 0 or ord == math.inf) and _count(x, axis) == 0:
        raise ShapeError(f"there is no norm of order {ord} of no elements: an axis has length 0")
    if ord == 0:
        return astype(sum(not_equal(x, 0.0), axis=axis, keepdims=keepdims), x.dtype)
    if math.isinf(ord):
        return (_max if ord > 0 else _min)(abs(x), axis=axis, keepdims=keepdims)
    return _vector_norm(x, ord=ord, axis=axis, keepdims=keepdims)


# --- matrices ------------------------------------------------------------------------------------

_ORDERS = ("fro", "nuc", math.inf, -math.inf, 1, -1, 2, -2)


def _norm_errors() -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((2, 3)), ord=3, error=ArgumentError, match="'fro', 'nuc', inf"),
        ErrorSample(np.ones((2, 3)), axis=(1, 1), error=ShapeError, match="names axis 1 twice"),
        ErrorSample(np.ones((2, 3)), axis=(0, 2), error=ShapeError, match="axis 2 is out of bounds"),
    ]


@composite(
    samples=lambda rng: [
        *(Sample(with_singular_values_apart(rng, 3, 4), ord=ord) for ord in _ORDERS),
        *(Sample(with_singular_values_apart(rng, 2, 3, 4), ord=ord, axis=(2, 0), keepdims=True) for ord in _ORDERS),
    ],
    error_samples=lambda: [
        *_norm_errors(),
        ErrorSample(np.ones(3), error=ShapeError, match="a matrix is needed"),
        ErrorSample(np.ones((2, 3)), axis=0, error=ShapeError, match="two axes"),
    ],
    numpy=[np.linalg.matrix_norm],
)
def matrix_norm(A: Any, ord: Any = "fro", axis: Any = (-2, -1), keepdims: bool = False, *, dtype: Any = None) -> Any:
    """Norm of a matrix, or of each in a batch.

    Parameters
    ----------
    A : array_like
        Of at least two axes.
    ord : {'fro', 'nuc', inf, -inf, 1, -1, 2, -2}
        'fro': root of the sum of squares; 'nuc': sum of the singular values; ±2: the largest, the smallest of
        them; ±1: the largest, the smallest column sum of absolute values; ±inf: row sum.
    axis : pair of int
        The axes of rows and columns.
    keepdims : bool
        Whether these axes are kept, with length 1.
    dtype : optional
        What to convert to before.

    Raises
    ------
    ArgumentError
        If there is no such norm.
    ShapeError
        If `axis` is not two axes of `A`, or a largest or smallest is asked for of none.
    """
    shape = np.shape(A)
    if len(shape) < 2:
        raise ShapeError(f"a matrix is needed, with rows and columns; this has {axes_in_words(len(shape))}")
    axes = counted_axes(axis, len(shape))
    if len(axes) != 2:
        raise ShapeError(f"axis={axis!r}: a matrix has two axes, of rows and of columns")
    if ord not in _ORDERS:
        raise ArgumentError(f"ord={ord!r}: a matrix norm is one of {', '.join(map(repr, _ORDERS))}")
    if ord == "fro":
        return vector_norm(A, 2, axes, keepdims, dtype=dtype)
    A = _floating(A, dtype)
    matrices = A if axes == (A.ndim - 2, A.ndim - 1) else moveaxis(A, axes, (-2, -1))
    if ord == "nuc":
        norm = sum(svdvals(matrices), axis=-1)
    else:
        sizes = svdvals(matrices) if ord in (2, -2) else sum(abs(matrices), axis=-2 if ord in (1, -1) else -1)
        norm = (amax if ord > 0 else amin)(sizes, axis=-1)
    return reshape(norm, _kept(A, axes)) if keepdims else norm


@composite(
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3))),
        Sample(rng.normal(size=(2, 3)), keepdims=True),
        Sample(rng.normal(size=4), ord=3),
        Sample(rng.normal(size=(2, 3)), ord=1),
        Sample(rng.normal(size=(2, 3)), ord=1, axis=1),
        Sample(rng.normal(size=(2, 3, 2)), axis=(0, 2)),
        Sample(rng.normal(size=(2, 3, 2)), ord=-math.inf, axis=(0, 2)),
    ],
    error_samples=lambda: [
        *_norm_errors(),
        ErrorSample(np.ones((2, 3, 4)), ord=2, error=ShapeError, match="over 3 axes: one axis is for"),
        ErrorSample(np.ones((2, 3, 4)), ord=2, axis=(0, 1, 2), error=ShapeError, match="over 3 axes"),
        ErrorSample(np.ones(3), ord="fro", error=ArgumentError, match="of a matrix"),
    ],
    numpy=[np.linalg.norm],
)
def linalg_norm(A: Any, ord: Any = None, axis: Any = None, keepdims: bool = False, *, dtype: Any = None) -> Any:
    """Norm of a vector or of a matrix, by the number of axes; ``tg.linalg.norm``.

    Parameters
    ----------
    A : array_like
        Numbers.
    ord : optional
        The order: for one axis as in `vector_norm`, for two as in `matrix_norm`. None is the root of the sum
        of squares over any number of axes.
    axis : int or sequence of int, optional
        One axis for norms of vectors, two for norms of matrices. None stands for all axes, which with an
        `ord` must be one or two.
    keepdims : bool
        Whether these axes are kept, with length 1.
    dtype : optional
        What to convert to before.

    Raises
    ------
    ArgumentError
        If there is no such norm.
    ShapeError
        If there is no such axis, or the number of axes does not say which kind of norm is meant.
    """
    axes = tuple(range(np.ndim(A))) if axis is None else counted_axes(axis, np.ndim(A))
    if ord is None:
        return vector_norm(A, 2, axes, keepdims, dtype=dtype)
    if len(axes) == 2:
        return matrix_norm(A, ord, axes, keepdims, dtype=dtype)
    if len(axes) != 1:
        raise ShapeError(
            f"ord={ord!r} over {axes_in_words(len(axes))}: one axis is for norms of vectors, as axis=1, two are for "
            "those of matrices, as axis=(1, 2)"
        )
    if isinstance(ord, str):
        raise ArgumentError(f"ord={ord!r} is a norm of a matrix, over two axes; of a vector it is a number, or inf")
    return vector_norm(A, ord, axes, keepdims, dtype=dtype)


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
        return matrix_norm(x, p, (-2, -1) if axis is None else axis, keepdims, dtype=dtype)
    return vector_norm(x, p, axis, keepdims, dtype=dtype)
