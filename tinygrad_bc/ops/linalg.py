"""Linear algebra: products, inverses, determinants and factorisations.

Where a formula is not derived beside it, it is one of these:

- M. B. Giles, "Collected matrix derivative results for forward and reverse mode algorithmic
  differentiation", 2008;
- K. B. Petersen and M. S. Pedersen, "The Matrix Cookbook", 2012;
- I. Murray, "Differentiation of the Cholesky decomposition", 2016, arXiv:1602.07527;
- J. Townsend, "Differentiating the singular value decomposition", 2016.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.diagnosis import shapes_disagree
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, LinAlgError, ShapeError
from tinygrad_bc.ops._arguments import Shape, axes_in_words, counted_axes, counterparts, integer, numbers_of
from tinygrad_bc.ops.elementwise import multiply
from tinygrad_bc.ops.reduce import sum
from tinygrad_bc.ops.shape import _inverse, concatenate, matrix_transpose, permute, reshape
from tinygrad_bc.primitive import ErrorSample, Sample, composite, primitive
from tinygrad_bc.samples import with_singular_values_apart

# --- products ------------------------------------------------------------------------------------


def _as_matrices(g: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Return cotangent and factors with every vector made the one-row or one-column matrix that it acts as."""
    if b.ndim == 1:
        b = reshape(b, (b.shape[0], 1))
        g = reshape(g, (*g.shape, 1))
    if a.ndim == 1:
        a = reshape(a, (1, a.shape[0]))
        g = reshape(g, (*g.shape[:-1], 1, g.shape[-1]))
    return g, a, b


# For Y = A B:  dA = dY Bᵀ  and  dB = Aᵀ dY  (Giles, sec. 2.2.2).
def _left_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == b.ndim == 2:
        return matmul(g, b.mT)
    g, _, matrix = _as_matrices(g, a, b)
    result = matmul(g, matrix.mT)
    return result if a.ndim > 1 else reshape(result, (*result.shape[:-2], result.shape[-1]))


def _right_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == b.ndim == 2:
        if _lies_transposed(b):  # as in x @ weight.T: the gradient of the weight is to lie in memory as the weight does
            return matmul(g.mT, a).mT
        return matmul(a.mT, g)
    g, matrix, _ = _as_matrices(g, a, b)
    result = matmul(matrix.mT, g)
    return result if b.ndim > 1 else reshape(result, result.shape[:-1])


def _lies_transposed(x: Any) -> bool:
    flags = numbers_of(x).flags
    return bool(flags.f_contiguous and not flags.c_contiguous)


def _matmul_hint(a: Shape, b: Shape) -> str:
    if not a or not b:
        return "a matrix product needs arrays of at least one axis; for a number use `*`"
    inner_a, inner_b = a[-1], b[-2] if len(b) > 1 else b[0]
    if inner_a == inner_b:
        return f"the leading (batch) axes {a[:-2]} and {b[:-2]} do not broadcast"
    hint = ""
    if b[-1] == inner_a and len(b) > 1:
        hint = f". Did you mean {{b}}.{'T' if len(b) == 2 else 'mT'}?"
    elif len(a) > 1 and a[-2] == inner_b:
        hint = f". Did you mean {{a}}.{'T' if len(a) == 2 else 'mT'}?"
    elif len(a) > 1 and a[-2] == b[-1]:
        hint = ". Did you mean {b} @ {a}?"
    return (
        f"the inner lengths differ: the first has {inner_a} {'columns' if len(a) > 1 else 'elements'}, "
        f"the second {inner_b} {'rows' if len(b) > 1 else 'elements'}{hint}"
    )


def _fast_matmul(a: Any, b: Any) -> Any:
    if type(a) is type(b) is np.ndarray and a.ndim == 2 == b.ndim:
        return a.dot(b)  # which saves np.dot's dispatch, a fifth of a microsecond
    return np.matmul(a, b)


@primitive(
    formula="{a} @ {b}",
    vjps=[_left_vjp, _right_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=a), rng.normal(size=b))
        for a, b in [
            ((3, 4), (4, 2)),
            ((1, 4), (4, 3)),
            ((4,), (4,)),
            ((4,), (4, 2)),
            ((3, 4), (4,)),
            ((2, 3, 4), (2, 4, 5)),
            ((2, 3, 4), (4, 5)),
            ((3, 4), (2, 4, 5)),
            ((2, 1, 3, 4), (5, 4, 2)),
            ((2, 3, 4), (4,)),
            ((4,), (2, 4, 3)),
            ((0, 4), (4, 2)),
            ((3, 0), (0, 2)),
            ((0,), (0,)),
            ((0, 3, 4), (4,)),
        ]
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((15, 9)), np.ones((500, 9)), error=ShapeError, match=r"Did you mean x1\.T\?"),
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=ShapeError, match=r"Did you mean x0\.T\?"),
        ErrorSample(np.ones((9, 15)), np.ones((500, 9)), error=ShapeError, match="Did you mean x1 @ x0?"),
        ErrorSample(np.ones((2, 3)), np.ones(4), error=ShapeError, match=r"has 3 columns, the second 4 elements"),
        ErrorSample(np.ones((2, 3)), np.ones(()), error=ShapeError, match=r"for a number use `\*`"),
        ErrorSample(np.ones((2, 3, 4)), np.ones((3, 4, 5)), error=ShapeError, match="do not broadcast"),
    ],
    broadcasts=True,
    numpy=[np.matmul, np.linalg.matmul],
    diagnose=_matmul_hint,
    fast=_fast_matmul,
)
def matmul(a: Any, b: Any) -> Any:
    """Matrix product, with vectors and batches as in `numpy.matmul`."""
    # np.dot is several times as fast as np.matmul where one of the lengths is 1.
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.ndim == 2 == b.ndim:
        return np.dot(a, b)
    return np.matmul(a, b)


def _check_axes(*wanted: tuple[Any, int]) -> None:
    """Refuse arrays that do not have the number of axes that this product is for."""
    kinds = {1: "a vector (1 axis)", 2: "a matrix (2 axes)", 3: "a batch of matrices (3 axes)"}
    if any(np.ndim(x) != n for x, n in wanted):
        raise ShapeError(
            f"this product is of {' and '.join(kinds[n] for _, n in wanted)}; given were arrays of "
            f"{' and '.join(str(np.ndim(x)) for x, _ in wanted)} axes. `@` takes vectors, matrices and batches alike"
        )


@composite(
    formula="x @ mat2",
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match="2 and 1 axes"),
        ErrorSample(np.ones((2, 3)), np.ones((4, 3)), error=ShapeError, match=r"Did you mean .*\.T\?"),
    ],
)
def mm(x: Any, mat2: Any) -> Any:
    """Product of two matrices, and of nothing else."""
    _check_axes((x, 2), (mat2, 2))
    return matmul(x, mat2)


@composite(
    formula="x @ mat2",
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones((3, 2)), error=ShapeError, match="2 and 2 axes"),
        ErrorSample(np.ones((1, 2, 3)), np.ones((4, 3, 2)), error=ShapeError, match="does not broadcast"),
    ],
)
def bmm(x: Any, mat2: Any) -> Any:
    """Products of two batches of matrices, of shapes ``(b, n, m)`` and ``(b, m, p)``; batches do not broadcast."""
    _check_axes((x, 3), (mat2, 3))
    if np.shape(x)[0] != np.shape(mat2)[0]:
        raise ShapeError(
            f"the first is a batch of {np.shape(x)[0]} matrices, the second of {np.shape(mat2)[0]}, and bmm does not "
            "broadcast; `@` does"
        )
    return matmul(x, mat2)


@composite(
    formula="x @ vec",
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones((3, 1)), error=ShapeError, match="2 and 2 axes"),
        ErrorSample(np.ones((2, 3)), np.ones(2), error=ShapeError, match=r"Did you mean .*\.T\?"),
    ],
)
def mv(x: Any, vec: Any) -> Any:
    """Product of a matrix and a vector."""
    _check_axes((x, 2), (vec, 1))
    return matmul(x, vec)


@composite(
    formula="x · tensor",
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match="2 and 1 axes"),
        ErrorSample(np.ones(2), np.ones(3), error=ShapeError, match="2 elements, the second 3"),
    ],
)
def dot(x: Any, tensor: Any) -> Any:
    """Sum of the products of two vectors' elements.

    `numpy.dot`, called on tensors, has NumPy's meaning for arrays of any number of axes.
    """
    _check_axes((x, 1), (tensor, 1))
    return matmul(x, tensor)


vdot = dot  # of real numbers


@composite(
    formula="x vec2ᵀ",
    samples=lambda rng: [
        Sample(rng.normal(size=3), rng.normal(size=2)),
        Sample(rng.normal(size=0), rng.normal(size=2)),
    ],
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match="2 and 1 axes")],
    numpy=[np.linalg.outer],
)
def outer(x: Any, vec2: Any) -> Any:
    """Products of every element of one vector with every element of another, as a matrix."""
    _check_axes((x, 1), (vec2, 1))
    return multiply(reshape(x, -1, 1), vec2)


ger = outer


# For Y = Σ A B over the axes a_axes of A and b_axes of B, the cotangent is summed with the other factor over the axes
# of Y that came from it. What remains is in the order of the axes of G and of that factor, and is put back.
def _tensordot_left_vjp(g: Any, y: Any, a: Any, b: Any, axes: tuple[Shape, Shape]) -> Any:
    summed_a, summed_b = axes
    free_a, free_b = _remaining(a.ndim, summed_a), _remaining(b.ndim, summed_b)
    result = _tensordot(g, b, axes=(tuple(range(len(free_a), g.ndim)), free_b))
    return permute(result, _inverse((*free_a, *(summed_a[summed_b.index(j)] for j in sorted(summed_b)))))


def _tensordot_right_vjp(g: Any, y: Any, a: Any, b: Any, axes: tuple[Shape, Shape]) -> Any:
    summed_a, summed_b = axes
    free_a, free_b = _remaining(a.ndim, summed_a), _remaining(b.ndim, summed_b)
    result = _tensordot(a, g, axes=(free_a, tuple(range(len(free_a)))))
    return permute(result, _inverse((*(summed_b[summed_a.index(i)] for i in sorted(summed_a)), *free_b)))


def _remaining(ndim: int, axes: Shape) -> Shape:
    return tuple(i for i in range(ndim) if i not in axes)


@primitive(
    name="tensordot",
    formula="tensordot({a}, {b}, {axes})",
    vjps=[_tensordot_left_vjp, _tensordot_right_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 4, 2)), axes=((1, 2), (0, 1))),
        Sample(rng.normal(size=(2, 3, 4)), rng.normal(size=(4, 3, 2)), axes=((1, 2), (1, 0))),
        Sample(rng.normal(size=(4, 2, 3)), rng.normal(size=(2, 3, 4)), axes=((2, 0), (1, 2))),
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2,)), axes=((0,), (0,))),
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), axes=((1, 0), (1, 0))),
        Sample(rng.normal(size=2), rng.normal(size=3), axes=((), ())),
        Sample(rng.normal(size=()), rng.normal(size=3), axes=((), ())),
        Sample(rng.normal(size=(2, 0)), rng.normal(size=(0, 3)), axes=((1,), (0,))),
    ],
)
def _tensordot(a: Any, b: Any, *, axes: tuple[Shape, Shape]) -> Any:
    return np.tensordot(a, b, axes)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.ones((2, 3)), dims=1, error=ShapeError, match="axis 1 of the first .* 3"),
        ErrorSample(np.ones((2, 3)), np.ones(3), error=ShapeError, match="at most 1"),
        ErrorSample(np.ones((2, 3)), np.ones(3), dims=-1, error=ShapeError, match="negative"),
        ErrorSample(np.ones((2, 3)), np.ones(3), dims=([0, 1], [0]), error=ShapeError, match="2 axes .* and 1"),
        ErrorSample(np.ones((2, 3)), np.ones(3), dims=([2], [0]), error=ShapeError, match="axis 2 is out of bounds"),
        ErrorSample(np.ones((2, 2)), np.ones((2, 2)), dims=([0, 0], [0, 1]), error=ShapeError, match="twice"),
    ]
)
def tensordot(a: Any, b: Any, dims: Any = 2) -> Any:
    """Multiply two arrays and sum over axes of both.

    Parameters
    ----------
    a, b : array_like
        The factors. The result has their remaining axes, those of `a` first.
    dims : int or pair of sequences of int
        How many axes are summed, the last of `a` with the first of `b`; or the axes of `a`, and the axes
        of `b` that they are summed with, in the same order. One of length 1 broadcasts, as in PyTorch.

    Raises
    ------
    ShapeError
        If there are no such axes, or their lengths differ.
    """
    shape_a, shape_b = np.shape(a), np.shape(b)
    axes = _summed_axes(shape_a, shape_b, dims)
    # What is multiplied by an axis of length 1 may as well be summed before.
    alone_a = tuple(i for i, j in zip(*axes) if shape_b[j] == 1 != shape_a[i])
    alone_b = tuple(j for i, j in zip(*axes) if shape_a[i] == 1 != shape_b[j])
    a = sum(a, axis=alone_a, keepdims=True) if alone_a else a
    b = sum(b, axis=alone_b, keepdims=True) if alone_b else b
    return _tensordot(a, b, axes=axes)


def _summed_axes(a: Shape, b: Shape, dims: Any) -> tuple[Shape, Shape]:
    if hasattr(dims, "__index__"):
        n = integer(dims)
        if n < 0:
            raise ShapeError(f"dims={n} is negative; it is how many axes are summed, or which: ([...], [...])")
        if n > min(len(a), len(b)):
            raise ShapeError(
                f"dims={n} asks for the last {n} axes of the first and the first {n} of the second; with "
                f"{len(a)} and {len(b)} axes there are at most {min(len(a), len(b))}"
            )
        dims = range(len(a) - n, len(a)), range(n)
    if len(dims) != 2:
        raise ArgumentError(f"dims is a number of axes or a pair of sequences of axes, ([...], [...]); got {dims!r}")
    axes_a, axes_b = counted_axes(dims[0], len(a)), counted_axes(dims[1], len(b))
    if len(axes_a) != len(axes_b):
        raise ShapeError(f"{len(axes_a)} axes of the first and {len(axes_b)} of the second cannot be summed in pairs")
    for i, j in zip(axes_a, axes_b):
        if a[i] != b[j] and 1 not in (a[i], b[j]):
            raise ShapeError(
                f"axis {i} of the first has length {a[i]}, axis {j} of the second, with which it is summed, {b[j]}"
            )
    return axes_a, axes_b


@composite(
    samples=lambda rng: [
        Sample(rng.normal(size=3), rng.normal(size=3)),
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(4, 3))),
        Sample(rng.normal(size=()), rng.normal(size=(4, 3))),
    ],
    error_samples=lambda: [ErrorSample(np.ones((2, 3)), np.ones((3, 2)), error=ShapeError, match="last axes")],
    numpy=[np.inner],
)
def inner(x: Any, other: Any) -> Any:
    """Sums of products over the last axis of both; of a number and an array, their product."""
    a, b = np.shape(x), np.shape(other)
    if not a or not b:
        return multiply(x, other)
    if a[-1] != b[-1]:
        raise ShapeError(f"the last axes are summed over, and have the lengths {a[-1]} and {b[-1]}")
    return _tensordot(x, other, axes=((len(a) - 1,), (len(b) - 1,)))


@composite(
    formula="x ⊗ other",
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), rng.normal(size=(3, 1))),
        Sample(rng.normal(size=2), rng.normal(size=(2, 2))),
        Sample(rng.normal(size=()), rng.normal(size=2)),
    ],
    numpy=[np.kron],
)
def kron(x: Any, other: Any) -> Any:
    """Kronecker product: every element of `x` times all of `other`, as blocks of one array."""
    a, b = np.shape(x), np.shape(other)
    rank = max(len(a), len(b))
    a, b = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    blocks = multiply(reshape(x, [k for n in a for k in (n, 1)]), reshape(other, [k for m in b for k in (1, m)]))
    return reshape(blocks, [n * m for n, m in zip(a, b)])


def _trace_vjp(g: Any, y: Any, x: Any, offset: int, axis1: int, axis2: int) -> Any:
    shape = [1] * x.ndim
    n, m = shape[axis1], shape[axis2] = x.shape[axis1], x.shape[axis2]
    diagonal = np.eye(n, m, offset, dtype=g.dtype)
    diagonal = (diagonal if axis1 % x.ndim < axis2 % x.ndim else diagonal.T).reshape(shape)
    kept = list(x.shape)
    kept[axis1] = kept[axis2] = 1
    return reshape(g, kept) * diagonal


@primitive(
    name="trace",
    formula="tr({x})",
    vjps=[_trace_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 3))),
        Sample(rng.normal(size=(2, 4)), offset=1),
        Sample(rng.normal(size=(3, 2, 4)), axis1=2, axis2=0, offset=-1),
        Sample(rng.normal(size=(2, 3, 3)), axis1=-2, axis2=-1),
        Sample(rng.normal(size=(3, 3, 3)), axis1=1, axis2=2),
        Sample(rng.normal(size=(3, 3, 3)), axis1=0, axis2=2),
        Sample(rng.normal(size=(3, 2, 4)), axis1=-2, axis2=0, offset=1),
        Sample(rng.normal(size=(3, 2, 4)), axis1=0, axis2=-2, offset=-1),
        Sample(rng.normal(size=(0, 3))),
    ],
    error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="at least two axes")],
    diagnose=lambda x, **_: "a diagonal needs at least two axes" if len(x) < 2 else "",
)
def _trace(x: Any, *, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    return np.trace(x, offset, axis1, axis2)


@composite(error_samples=lambda: [ErrorSample(np.ones((2, 3, 3)), error=ShapeError, match="offset=0, axis1, axis2")])
def trace(x: Any) -> Any:
    """Sum of a matrix's diagonal. `numpy.trace`, called on tensors, takes batches too."""
    if np.ndim(x) != 2:
        raise ShapeError(
            f"the trace is of a matrix (2 axes); this array has {np.ndim(x)}. For others there is "
            "np.trace(x, offset=0, axis1, axis2), which works on tensors too"
        )
    return _trace(x)


# --- inverse, solutions, determinants ------------------------------------------------------------


def _checked(A: Any, square: bool = True) -> Any:
    """Return a matrix, or a batch of them; refused where LAPACK cannot take it."""
    A = np.asarray(A)
    if A.ndim < 2:
        raise ShapeError(f"a matrix is needed, with rows and columns; this has {axes_in_words(A.ndim)}")
    if square and A.shape[-1] != A.shape[-2]:
        raise ShapeError(f"a square matrix is needed; this has {A.shape[-2]} rows and {A.shape[-1]} columns")
    if A.dtype == np.float16:
        raise DTypeError("there is no linear algebra in float16: convert with .astype(np.float32)")
    return A


def _singular(A: Any) -> LinAlgError:
    """Return the error for matrices of which at least one has no inverse."""
    _check_finite(A)
    ranks = np.linalg.matrix_rank(A)
    where = _place_of_least(ranks)
    n = A.shape[-1]
    return LinAlgError(
        f"{_matrix_at(where)} is singular: of its {n} columns only {ranks[where]} are independent of each other, so it "
        f"has no inverse. Leave out what depends on the rest, or add a small multiple of np.eye({n})"
    )


def _check_finite(A: Any) -> None:
    """Say what keeps LAPACK from an answer, where it is this."""
    if not np.isfinite(A).all():
        raise LinAlgError("there are NaN or infinite elements in the matrix")


def _place_of_least(numbers: Any) -> Shape:
    return tuple(map(int, np.unravel_index(np.argmin(numbers), numbers.shape)))


def _matrix_at(where: Shape) -> str:
    return f"the matrix at {list(where)} of the batch" if where else "the matrix"


def _regular(rng: np.random.Generator, *shape: int) -> Any:
    """Return matrices that are far from singular."""
    return rng.normal(size=shape) / 2 + 2 * np.eye(shape[-1])


def _squares(rng: np.random.Generator) -> list[Sample]:
    return [
        *(Sample(_regular(rng, *shape)) for shape in [(3, 3), (2, 2, 2), (1, 1)]),
        *(Sample(np.ones(shape)) for shape in [(0, 0), (0, 2, 2)]),
    ]


def _not_square() -> list[ErrorSample]:
    return [
        ErrorSample(np.ones((3, 4)), error=ShapeError, match="3 rows and 4 columns"),
        ErrorSample(np.ones(3), error=ShapeError, match="a matrix is needed"),
    ]


_SINGULAR = np.arange(9.0).reshape(3, 3)


# For Y = A⁻¹:  Ā = −Yᵀ Ȳ Yᵀ  (Giles, sec. 2.2.3).
@primitive(
    formula="{A}⁻¹",
    vjps=[lambda g, y, A: -matmul(matmul(y.mT, g), y.mT)],
    samples=_squares,
    error_samples=lambda: [
        *_not_square(),
        ErrorSample(np.zeros((2, 2)), error=LinAlgError, match="singular: of its 2 columns only 0"),
        ErrorSample(np.stack([np.eye(2), np.ones((2, 2))]), error=LinAlgError, match=r"matrix at \[1\] of the batch"),
    ],
    numpy=[np.linalg.inv],
)
def inv(A: Any) -> Any:
    """Inverse of a square matrix, or of each in a batch."""
    A = _checked(A)
    try:
        return np.linalg.inv(A)
    except np.linalg.LinAlgError:
        raise _singular(A) from None


inverse = inv


# For Y = A⁻¹ B:  B̄ = A⁻ᵀ Ȳ  and  Ā = −B̄ Yᵀ  (Giles, sec. 2.3.1).
@primitive(
    name="solve",
    formula="solve({A}, {B})",
    vjps=[
        lambda g, y, A, B: -matmul(_solve(matrix_transpose(A), g), y.mT),
        lambda g, y, A, B: _solve(matrix_transpose(A), g),
    ],
    samples=lambda rng: [
        Sample(_regular(rng, 3, 3), rng.normal(size=(3, 2))),
        Sample(_regular(rng, 3, 3), rng.normal(size=(3, 3))),
        Sample(_regular(rng, 2, 2, 2), rng.normal(size=(2, 3))),
        Sample(_regular(rng, 2, 2), rng.normal(size=(3, 2, 1))),
        Sample(_regular(rng, 3, 3), rng.normal(size=(3, 0))),
        Sample(np.ones((0, 0)), np.ones((0, 2))),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((3, 4)), np.ones((3, 1)), error=ShapeError, match="3 rows and 4 columns"),
        ErrorSample(np.eye(3), np.ones((4, 3)), error=ShapeError, match="as many rows as .* 3; it has 4"),
        ErrorSample(_SINGULAR, np.ones((3, 1)), error=LinAlgError, match="singular: of its 3 columns only 2"),
        ErrorSample(
            _regular(np.random.default_rng(0), 2, 3, 3), np.ones((5, 3, 1)), error=ShapeError, match=r"\(batch\) axes"
        ),
    ],
    broadcasts=True,
)
def _solve(A: Any, B: Any) -> Any:
    A, B = _checked(A), _checked(B, square=False)
    if A.shape[-1] != B.shape[-2]:
        raise ShapeError(
            f"the right-hand side has as many rows as the matrix, {A.shape[-1]}; it has {B.shape[-2]}"
            + (". Did you mean to transpose it?" if B.shape[-1] == A.shape[-1] else "")
        )
    if shapes_disagree([A.shape[:-2], B.shape[:-2]]):
        raise ShapeError(f"the leading (batch) axes {A.shape[:-2]} and {B.shape[:-2]} do not broadcast")
    try:
        return np.linalg.solve(A, B)
    except np.linalg.LinAlgError:
        raise _singular(A) from None


@composite(
    error_samples=lambda: [
        ErrorSample(np.eye(3), np.ones(4), error=ShapeError, match="has 4 elements"),
        ErrorSample(np.eye(3), np.ones(3), left=False, error=ShapeError, match="left=False"),
        ErrorSample(np.ones((2, 2)), np.ones(2), error=LinAlgError, match="singular"),
    ]
)
def solve(A: Any, B: Any, left: bool = True) -> Any:
    """Return the solution X of ``A X = B``, or of ``X A = B`` with ``left=False``.

    Parameters
    ----------
    A : array_like
        A square matrix, or a batch ``(..., n, n)``.
    B : array_like
        The right-hand side: a vector if it has one axis, or the shape of `A` without its last axis; otherwise a
        matrix ``(..., n, k)``, whose batch axes broadcast against those of `A`. This is PyTorch's rule; for
        `numpy.linalg.solve` on tensors, only one axis is a vector.
    left : bool
        On which side of X the matrix stands.

    Raises
    ------
    LinAlgError
        If a matrix is singular.
    ShapeError
        If `A` is not square, or `B` does not fit.
    """
    shape_a, shape_b = np.shape(A), np.shape(B)
    if len(shape_b) != 1 and not (len(shape_b) == len(shape_a) - 1 and shape_b == shape_a[:-1]):
        return _solve(A, B) if left else matrix_transpose(_solve(matrix_transpose(A), matrix_transpose(B)))
    if not left:
        raise ShapeError("left=False needs a matrix on the right-hand side; for a vector, pass A.mT instead")
    return _solve_vector(A, B)


def _solve_vector(A: Any, B: Any) -> Any:
    if np.shape(A)[-1:] != np.shape(B)[-1:]:
        raise ShapeError(f"the right-hand side has {np.shape(B)[-1]} elements, the matrix the shape {np.shape(A)}")
    solution = _solve(A, reshape(B, (*np.shape(B), 1)))
    return reshape(solution, solution.shape[:-1])


def _inverse_for(what: str, A: Any) -> Any:
    """Return the inverse that a derivative needs."""
    try:
        return inv(A)
    except LinAlgError:
        raise GradientError(
            f"{what} is computed from the inverse of the matrix, and at a singular matrix, as here, there is none"
        ) from None


def _as_factor(g: Any) -> Any:
    """Return a number per matrix so that it multiplies the matrices."""
    return reshape(g, (*g.shape, 1, 1))


def _factored(A: Any) -> tuple[Any, Any, Any, Any]:
    """Return U, the singular values and Vᵀ of square matrices, and det(U) det(V), which is 1 or −1."""
    _check_finite(A)
    U, S, Vh = np.linalg.svd(A)
    return U, S, Vh, np.sign(np.linalg.det(U) * np.linalg.det(Vh))[..., None, None]


def _products_without(S: Any, omitted: Any) -> Any:
    """Return the products of those numbers of S that are not omitted: one for each row of the mask."""
    return np.where(omitted, S.dtype.type(1), S[(..., *[None] * (omitted.ndim - 1), slice(None))]).prod(axis=-1)


# The third derivative of det in the directions G, H and K is, with X = A⁻¹ and t(G, H) = tr(X G X H),
# det(A) (t(G) t(H) t(K) − t(G) t(H, K) − t(H) t(G, K) − t(K) t(G, H) + t(G, H, K) + t(H, G, K)).
def _curvature_vjp(g: Any, y: Any, A: Any, H: Any) -> Any:
    X = _inverse_for("the third derivative of det", A)
    XG, XH = matmul(X, g), matmul(X, H)
    t, u, v = (_as_factor(_trace(m, axis1=-2, axis2=-1)) for m in (XG, XH, matmul(XG, XH)))
    products = matmul(XG, XH) + matmul(XH, XG) - u * XG - t * XH
    return _as_factor(det(A)) * (matmul(products, X) + (t * u - v) * X).mT


def _curvature_direction_vjp(g: Any, y: Any, A: Any, H: Any) -> Any:
    return _det_curvature(A, g)  # a second derivative is symmetric


@primitive(
    name="det_curvature",
    formula="∂cof({A})·{H}",
    vjps=[_curvature_vjp, _curvature_direction_vjp],
    samples=lambda rng: [
        Sample(_regular(rng, 3, 3), rng.normal(size=(3, 3))),
        Sample(_regular(rng, 3, 3)[[1, 0, 2]], rng.normal(size=(3, 3))),
        Sample(_regular(rng, 2, 2, 2), rng.normal(size=(2, 2, 2))),
        Sample(_regular(rng, 2, 3, 3), rng.normal(size=(2, 3, 3))),
        Sample(_regular(rng, 4, 4), rng.normal(size=(4, 4))),
        Sample(_regular(rng, 1, 1), rng.normal(size=(1, 1))),
        Sample(np.ones((0, 0)), np.ones((0, 0))),
    ],
)
def _det_curvature(A: Any, H: Any) -> Any:
    """The change of the cofactors of A in the direction H: det's second derivative, times H."""
    # In the basis of the singular vectors, where A is diagonal, cofactor (i, j) changes with element (j, i), and
    # those on the diagonal with each other; no division again.
    U, S, Vh, orientation = _factored(A)
    one = np.eye(S.shape[-1], dtype=bool)
    pairs = np.where(one, S.dtype.type(0), _products_without(S, one[:, None] | one))
    M = U.mT @ H @ Vh.mT
    diagonal = (pairs @ M.diagonal(0, -2, -1)[..., None]) * one
    return orientation * (U @ (diagonal - pairs * M.mT) @ Vh)


@primitive(
    name="cofactors",
    formula="cof({A})",
    vjps=[lambda g, y, A: _det_curvature(A, g)],
    samples=lambda rng: [*_squares(rng), Sample(np.eye(2))],
    error_samples=_not_square,
)
def _cofactors(A: Any) -> Any:
    # For A = U S Vᵀ it is det(U) det(V) U cof(S) Vᵀ, and cof(S) has the products of all other singular values:
    # no division, so it is right for singular matrices too.
    U, S, Vh, orientation = _factored(_checked(A))
    return orientation * ((U * _products_without(S, np.eye(S.shape[-1], dtype=bool))[..., None, :]) @ Vh)


# For y = det(A):  Ā = ȳ cof(A), which is ȳ det(A) A⁻ᵀ for invertible ones  (Giles, sec. 2.2.4; Cookbook, eq. 46–49).
@primitive(
    formula="det({A})",
    vjps=[lambda g, y, A: _as_factor(g) * _cofactors(A)],
    samples=lambda rng: [*_squares(rng), Sample(np.array([[0.0, 1.5], [-2.0, 0.0]]))],
    error_samples=_not_square,
    numpy=[np.linalg.det],
)
def det(A: Any) -> Any:
    """Determinant of a square matrix, or of each in a batch.

    The gradient, which is the matrix of cofactors, and the second derivative are right at singular matrices too.
    Derivatives of higher order are computed at invertible ones, and refused elsewhere (`GradientError`).
    """
    return np.linalg.det(_checked(A))


# For y = log|det(A)|:  Ā = ȳ A⁻ᵀ  (Cookbook, eq. 57).
@primitive(
    name="logabsdet",
    formula="log|det({A})|",
    vjps=[lambda g, y, A: _as_factor(g) * _inverse_for("the derivative of log|det|", A).mT],
    samples=lambda rng: [*_squares(rng), Sample(-_regular(rng, 1, 1))],
    error_samples=_not_square,
)
def _logabsdet(A: Any) -> Any:
    return np.linalg.slogdet(_checked(A)).logabsdet


@primitive(
    name="sign_of_det",
    formula="sign(det({A}))",
    vjps=None,
    samples=lambda rng: [Sample(_regular(rng, 3, 3)), Sample(-_regular(rng, 2, 3, 3)), Sample(_SINGULAR)],
    error_samples=_not_square,
)
def _sign_of_det(A: Any) -> Any:
    return np.linalg.slogdet(_checked(A)).sign


class Slogdet(NamedTuple):
    """Sign and logarithm of a determinant: ``det = sign * exp(logabsdet)``."""

    sign: Any
    logabsdet: Any


@composite(error_samples=_not_square, numpy=[np.linalg.slogdet])
def slogdet(A: Any) -> Any:
    """Sign of the determinant, and logarithm of its absolute value, which do not overflow.

    At a singular matrix they are 0 and −∞, and there is no gradient (`GradientError`).
    """
    return Slogdet(_sign_of_det(A), _logabsdet(A))


# --- factorisations ------------------------------------------------------------------------------


# For A = L Lᵀ:  Ā = L⁻ᵀ Φ(Lᵀ L̄) L⁻¹, made symmetric, where Φ takes the lower triangle and halves the diagonal
# (Murray).
def _cholesky_vjp(g: Any, y: Any, A: Any) -> Any:
    n = A.shape[-1]
    phi = np.tri(n, dtype=g.dtype) - np.eye(n, dtype=g.dtype) / 2
    half = _solve(y.mT, matmul(y.mT, g) * phi)
    result = _solve(y.mT, half.mT)
    return (result + result.mT) * 0.5


def _positive_definite(rng: np.random.Generator, *shape: int) -> Any:
    x = rng.normal(size=shape) / 2
    return x @ x.mT + 2 * np.eye(shape[-1])


@primitive(
    name="cholesky",
    formula="cholesky({A})",
    vjps=[_cholesky_vjp],
    samples=lambda rng: [
        *(Sample(_positive_definite(rng, *shape)) for shape in [(3, 3), (2, 2, 2), (1, 1)]),
        *(Sample(np.ones(shape)) for shape in [(0, 0), (0, 2, 2)]),
    ],
    error_samples=lambda: [
        *_not_square(),
        ErrorSample(-np.eye(2), error=LinAlgError, match="not positive definite: its smallest eigenvalue is -1"),
    ],
)
def _cholesky(A: Any) -> Any:
    A = _checked(A)
    symmetric = (A + A.mT) / 2
    try:
        return np.linalg.cholesky(symmetric)
    except np.linalg.LinAlgError:
        raise _not_positive_definite(symmetric) from None


def _not_positive_definite(A: Any) -> LinAlgError:
    _check_finite(A)
    smallest = np.linalg.eigvalsh(A)[..., 0]
    where = _place_of_least(smallest)
    return LinAlgError(
        f"{_matrix_at(where)} is not positive definite: its smallest eigenvalue is {smallest[where]:.3g}, and must be "
        f"above 0. If it is a covariance that is singular up to rounding, add a small multiple of np.eye({A.shape[-1]})"
    )


@composite(
    samples=lambda rng: [Sample(_positive_definite(rng, 3, 3), upper=True)],
    error_samples=lambda: [ErrorSample(-np.eye(2), error=LinAlgError, match="not positive definite")],
    numpy=[np.linalg.cholesky],
)
def cholesky(A: Any, upper: bool = False) -> Any:
    """Return the lower triangular L with ``L Lᵀ = A``, or the upper triangular U with ``Uᵀ U = A``.

    Parameters
    ----------
    A : array_like
        A symmetric positive definite matrix, or a batch. Only the symmetric part ``(A + Aᵀ) / 2`` counts, so the
        gradient is symmetric.
    upper : bool
        Which of the two.

    Raises
    ------
    LinAlgError
        If a matrix is not positive definite.
    """
    factor = _cholesky(A)
    return matrix_transpose(factor) if upper else factor


def _gaps_vjp(g: Any, y: Any, x: Any) -> Any:
    slope = -g * y * y
    return sum(slope, axis=-2, keepdims=True) - matrix_transpose(sum(slope, axis=-1, keepdims=True))


@primitive(
    name="reciprocal_gaps",
    formula="1 / ({x}ⱼ − {x}ᵢ)",
    vjps=[_gaps_vjp],
    samples=lambda rng: [
        Sample(np.array([[3.0, 2.0, 0.5]])),
        Sample(np.array([[[3.0, 2.0]], [[1.0, 4.0]]])),
        Sample(np.array([[3.0]])),
    ],
)
def _reciprocal_gaps(x: Any) -> Any:
    """From a row of numbers, the matrix of the reciprocals of their differences, with 0 on its diagonal."""
    gaps = x - x.mT
    n = x.shape[-1]
    scale = np.abs(x).max(axis=-1, keepdims=True, initial=0)
    diagonal = np.eye(n, dtype=bool)
    if (~diagonal & (np.abs(gaps) <= n * np.finfo(x.dtype).eps * scale)).any():
        raise GradientError(
            "two singular values are equal, so their singular vectors are not determined, and have no derivative"
        )
    return np.where(diagonal, x.dtype.type(0), 1 / np.where(diagonal, x.dtype.type(1), gaps))


def _parts_of_svd(packed: Any, rows: int) -> tuple[Any, Any, Any]:
    """Return U, the singular values as a row, and V."""
    return packed[..., :rows, :], packed[..., rows : rows + 1, :], packed[..., rows + 1 :, :]


# Townsend, sec. 2, with the projections on what U and V do not span where A is not square.
def _svd_vjp(g: Any, y: Any, A: Any) -> Any:
    m, n = A.shape[-2:]
    k = min(m, n)
    U, S, V = _parts_of_svd(y, m)
    gU, gS, gV = _parts_of_svd(g, m)
    squares = S * S
    if m != n:  # what U or V does not span belongs to singular values of 0
        squares = concatenate([squares, np.zeros((*A.shape[:-2], 1, 1), g.dtype)], axis=-1)
    gaps = _reciprocal_gaps(squares)
    gaps, reciprocal = gaps[..., :k, :k], S * gaps[..., -1:, :k]
    left, right = matmul(U.mT, gU), matmul(V.mT, gV)
    middle = gaps * (left - left.mT) * S + S.mT * gaps * (right - right.mT) + np.eye(k, dtype=g.dtype) * gS
    result = matmul(matmul(U, middle), V.mT)
    if m > n:
        result = result + matmul((gU - matmul(U, left)) * reciprocal, V.mT)
    if n > m:
        result = result + matmul(U, ((gV - matmul(V, right)) * reciprocal).mT)
    return result


# One array holds all three, below each other: U, the singular values as a row, and V.
@primitive(
    name="svd",
    formula="svd({A})",
    vjps=[_svd_vjp],
    samples=lambda rng: [
        *(Sample(with_singular_values_apart(rng, *shape)) for shape in [(3, 3), (4, 2), (2, 3), (2, 3, 2)]),
        Sample(np.array([[-2.0]])),
    ],
    error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="a matrix is needed")],
)
def _svd(A: Any) -> Any:
    A = _checked(A, square=False)
    _check_finite(A)
    U, S, Vh = np.linalg.svd(A, full_matrices=False)
    return np.concatenate([U, S[..., None, :], Vh.mT], axis=-2)


class SVD(NamedTuple):
    """The factors of ``A = U diag(S) Vh``."""

    U: Any
    S: Any
    Vh: Any


@composite(
    samples=lambda rng: [Sample(with_singular_values_apart(rng, 3, 2), full_matrices=False)],
    error_samples=lambda: [
        ErrorSample(np.ones((3, 2)), error=ArgumentError, match="full_matrices=False"),
        ErrorSample(np.ones(3), error=ShapeError, match="a matrix is needed"),
    ],
)
def svd(A: Any, full_matrices: bool = True) -> Any:
    """Singular value decomposition, ``A = U diag(S) Vh``.

    Parameters
    ----------
    A : array_like
        A matrix, or a batch.
    full_matrices : bool
        Must be False unless `A` is square: the vectors that it would add are not determined, and have no derivative.

    Raises
    ------
    GradientError
        If the gradient of U or Vh is asked for where singular values are equal, or 0 and `A` is not square.

    Notes
    -----
    The signs of a pair of singular vectors are arbitrary, so a function of them has a meaningful
    gradient only if it does not depend on these.
    """
    shape = np.shape(A)
    if full_matrices and len(shape) > 1 and shape[-2] != shape[-1]:
        raise ArgumentError("pass full_matrices=False: what a full U or Vh would have more is not determined by A")
    U, S, V = _parts_of_svd(_svd(A), shape[-2] if len(shape) > 1 else 0)
    return SVD(U, reshape(S, (*S.shape[:-2], S.shape[-1])), matrix_transpose(V))


# Ā = U diag(ȳ) Vᵀ  (Giles, on the singular value decomposition). At a singular value of 0
# this is one of several subgradients, and PyTorch's.
def _svdvals_vjp(g: Any, y: Any, A: Any) -> Any:
    U, S, V = _parts_of_svd(_svd(A), A.shape[-2])
    return matmul(U * reshape(g, S.shape), V.mT)


@primitive(
    formula="svdvals({A})",
    vjps=[_svdvals_vjp],
    samples=lambda rng: [
        *(Sample(with_singular_values_apart(rng, *shape)) for shape in [(3, 3), (4, 2), (2, 2, 3)]),
        Sample(np.array([[-2.0]])),
        Sample(np.ones((0, 2, 3))),
    ],
    error_samples=lambda: [ErrorSample(np.ones(3), error=ShapeError, match="a matrix is needed")],
    numpy=[np.linalg.svdvals],
)
def svdvals(A: Any) -> Any:
    """Singular values of a matrix, largest first, or of each in a batch.

    A second derivative is refused where two of them are equal (`GradientError`).
    """
    A = _checked(A, square=False)
    _check_finite(A)
    return np.linalg.svd(A, compute_uv=False)


# --- NumPy's functions, called on tensors --------------------------------------------------------


def _numpy_dot(a: Any, b: Any) -> Any:
    if not np.ndim(a) or not np.ndim(b):
        return multiply(a, b)
    return matmul(a, b) if np.ndim(b) <= 2 else _tensordot(a, b, axes=((np.ndim(a) - 1,), (np.ndim(b) - 2,)))


counterparts(
    {
        np.dot: lambda a, b, out=None: _numpy_dot(a, b),
        np.vdot: lambda a, b: dot(reshape(a, -1), reshape(b, -1)),
        np.outer: lambda a, b, out=None: outer(reshape(a, -1), reshape(b, -1)),
        np.tensordot: lambda a, b, axes=2: tensordot(a, b, axes),
        np.linalg.tensordot: lambda x1, x2, *, axes=2: tensordot(x1, x2, axes),
        np.trace: lambda a, offset=0, axis1=0, axis2=1: _trace(a, offset=offset, axis1=axis1, axis2=axis2),
        np.linalg.trace: lambda x, *, offset=0: _trace(x, offset=offset, axis1=-2, axis2=-1),
        np.linalg.matrix_transpose: lambda x: matrix_transpose(x),
        np.linalg.solve: lambda a, b: _solve_vector(a, b) if np.ndim(b) == 1 else _solve(a, b),
        np.linalg.svd: lambda a, full_matrices=True, compute_uv=True, hermitian=False: (
            svd(a, full_matrices) if compute_uv else svdvals(a)
        ),
    }
)
