"""Products of matrices."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc.errors import ShapeError
from tinygrad_bc.ops.shape import reshape
from tinygrad_bc.primitive import ErrorSample, Sample, primitive

Shape = tuple[int, ...]


def _as_matrices(g: Any, a: Any, b: Any) -> tuple[Any, Any, Any]:
    """Return cotangent and factors with every vector made the one-row or one-column matrix that it acts as."""
    if b.ndim == 1:
        b = reshape(b, (b.shape[0], 1))
        g = reshape(g, (*g.shape, 1))
    if a.ndim == 1:
        a = reshape(a, (1, a.shape[0]))
        g = reshape(g, (*g.shape[:-1], 1, g.shape[-1]))
    return g, a, b


# For Y = A B:  dA = dY Bᵀ  and  dB = Aᵀ dY  (Giles, "Collected matrix derivative results", 2008, sec. 2.2.2).
def _left_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == b.ndim == 2:
        return matmul(g, b.mT)
    g, _, matrix = _as_matrices(g, a, b)
    result = matmul(g, matrix.mT)
    return result if a.ndim > 1 else reshape(result, (*result.shape[:-2], result.shape[-1]))


def _right_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if a.ndim == b.ndim == 2:
        return matmul(a.mT, g)
    g, matrix, _ = _as_matrices(g, a, b)
    result = matmul(matrix.mT, g)
    return result if b.ndim > 1 else reshape(result, result.shape[:-1])


def _diagnose(a: Shape, b: Shape) -> str:
    if not a or not b:
        return "a matrix product needs arrays of at least one axis; for a number use `*`"
    inner_a, inner_b = a[-1], b[-2] if len(b) > 1 else b[0]
    if inner_a == inner_b:
        return f"the leading (batch) axes {a[:-2]} and {b[:-2]} do not broadcast"
    hint = ""
    if b[-1] == inner_a and len(b) > 1:
        hint = f". Did you mean to transpose the second, `.{'T' if len(b) == 2 else 'mT'}`?"
    elif len(a) > 1 and a[-2] == inner_b:
        hint = f". Did you mean to transpose the first, `.{'T' if len(a) == 2 else 'mT'}`?"
    return f"the inner lengths differ: the first has {inner_a} columns, the second {inner_b} rows{hint}"


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
        ]
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((15, 9)), np.ones((500, 9)), error=ShapeError, match=r"transpose the second"),
        ErrorSample(np.ones((2, 3)), np.ones((2, 4)), error=ShapeError, match=r"transpose the first"),
        ErrorSample(np.ones((2, 3)), np.ones(()), error=ShapeError, match=r"for a number use `\*`"),
        ErrorSample(np.ones((2, 3, 4)), np.ones((3, 4, 5)), error=ShapeError, match="do not broadcast"),
    ],
    broadcasts=True,
    numpy=[np.matmul],
    diagnose=_diagnose,
)
def matmul(a: Any, b: Any) -> Any:
    """Matrix product, with vectors and batches as in `numpy.matmul`."""
    # np.dot is several times as fast as np.matmul where one of the lengths is 1.
    matrices = isinstance(a, np.ndarray) and isinstance(b, np.ndarray) and a.ndim == b.ndim == 2
    return np.dot(a, b) if matrices else np.matmul(a, b)
