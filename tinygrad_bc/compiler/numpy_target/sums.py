"""Sums as products: NumPy adds up faster by BLAS.

A sum over an axis is a product with ones, and the sum of a product of elements is the product of two vectors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source.statements import recipe
from tinygrad_bc.compiler.numpy_target.again import again, inputs_of, is_op, uses
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, constant
from tinygrad_bc.record import Value

__all__ = ["sums_as_products"]

MOST_ADDED = 2**16
"""Up to how many numbers are added up to one this way, which is not as exact as NumPy's pairwise summation."""

OTHERWISE_LAID_OUT = ("permute", "matrix_transpose", "flip", "getitem", "broadcast_to")
"""Operations whose results need not be contiguous: to reshape them would take a copy."""

MATMUL, RESHAPE = REGISTRY["matmul"], REGISTRY["reshape"]

Now = Callable[[Any], Any]


def sums_as_products(program: Program) -> Program:
    """Return the program with sums of floating-point numbers as products of matrices and vectors."""
    graph, used = program.graph, uses(program.graph)

    def factors(x: Any) -> list[Value] | None:
        """Return two arrays whose product of elements `x` is, if it is needed for nothing else."""
        if not is_op(graph, x, "multiply", "square") or used[x] != 1:
            return None
        found = inputs_of(graph, x) * (2 if is_op(graph, x, "square") else 1)
        alike = all(isinstance(y, Value) and y.shape == x.shape and y.dtype == x.dtype for y in found)
        return list(found) if alike else None

    def total(x: Value, now: Now) -> Value:
        """Return the sum of all elements."""
        if pair := factors(x):
            return _product(*map(now, pair))
        if is_op(graph, x, "add", "subtract") and used[x] == 1:
            first, second = map(factors, inputs_of(graph, x))
            if first and second:
                both: Value = recipe(graph, x).op(_product(*map(now, first)), _product(*map(now, second)))
                return both
        return _product(now(x), constant(np.ones(x._data.size, x.dtype)))

    def rule(value: Value, now: Now) -> Value | None:
        if not is_op(graph, value, "sum"):
            return None
        (x,), params = inputs_of(graph, value), recipe(graph, value).params
        if value.dtype != x.dtype or x.dtype.name not in ("float32", "float64") or not value._data.size:
            return None
        if not 0 < x._data.size <= MOST_ADDED * value._data.size:
            return None
        axes = _axes(params["axis"], x._data.ndim)
        axes = tuple(axis for axis in axes if x.shape[axis] > 1) if params["keepdims"] else axes
        if x._data.ndim == 2 and len(axes) == 1:
            return _along(now(x), axes[0], params["keepdims"])
        if not axes or (len(axes) < x._data.ndim and is_op(graph, x, *OTHERWISE_LAID_OUT)):
            return None
        return _shaped(total(x, now) if len(axes) == x._data.ndim else _along_several(now(x), axes), value.shape)

    return again(program, rule)


def _product(a: Value, b: Value) -> Value:
    """Return the sum of the products of elements."""
    size = (a._data.size,)
    made: Value = MATMUL(_shaped(a, size), _shaped(b, size))
    return made


def _along(x: Value, axis: int, keepdims: bool) -> Value:
    """Return the sum of a matrix over one of its axes."""
    n = x.shape[axis]
    ones = constant(np.ones(((1, n), (n, 1))[axis] if keepdims else n, x.dtype))
    made: Value = MATMUL(x, ones) if axis else MATMUL(ones, x)
    return made


def _along_several(x: Value, axes: Iterable[int]) -> Value:
    """Return the sum of an array over some of its axes, those side by side at once, the last first."""
    runs: list[tuple[int, int]] = []
    for axis in sorted(axes, reverse=True):
        if runs and runs[-1][0] == axis + 1:
            runs[-1] = (axis, runs[-1][1])
        else:
            runs.append((axis, axis + 1))
    for start, stop in runs:
        before, after = x.shape[:start], x.shape[stop:]
        outer, n, inner = math.prod(before), math.prod(x.shape[start:stop]), math.prod(after)
        ones = constant(np.ones(n, x.dtype))
        if inner == 1:
            product = MATMUL(_shaped(x, (outer, n)), ones)
        elif outer == 1:
            product = MATMUL(ones, _shaped(x, (n, inner)))
        else:
            product = MATMUL(_shaped(ones, (1, n)), _shaped(x, (outer, n, inner)))
        x = _shaped(product, before + after)
    return x


def _shaped(x: Value, shape: tuple[int, ...]) -> Value:
    made: Value = x if x.shape == shape else RESHAPE(x, shape=shape)
    return made


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the axes that are summed over, counted from the front."""
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    return tuple(int(i) % ndim for i in axes) if ndim else ()
