"""Convolution and pooling as views of windows, matrix products, and sums of what overlaps.

A window is a view: its elements are those of the array at other positions. So C programs need no array of windows
where these are only read, and the columns that a convolution is a matrix product with are copied once, for all its
derivatives.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.compiler.passes.lower import lower
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.ops import (
    astype,
    equal,
    expand_dims,
    isnan,
    logical_and,
    logical_or,
    matmul,
    matrix_transpose,
    maximum,
    permute,
    reshape,
    where,
)
from tinygrad_bc.ops._arguments import Shape
from tinygrad_bc.ops.convolution import Grid
from tinygrad_bc.ops.index import Key
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Value

__all__ = ["is_plain", "written_out"]

WINDOWS, FOLD, MAX_POOL, PAD = (REGISTRY[name] for name in ("windows", "fold", "max_pool", "pad"))

LARGEST_WINDOW = 16
"""Up to how many elements of a window are compared one by one, in the text, to find the largest."""


def written_out(program: Program) -> Program:
    """Return a program with convolution and pooling written by operations that the C target has."""
    graph = program.graph
    found = any((node := graph.node(value)) is not None and node.op.name in RULES for value in graph)
    return lower(program, RULES) if found else program


def is_plain(grid: Grid) -> bool:
    """Return whether all windows lie inside of the array: no zeros have to be thought in front of it."""
    return not any(grid.before)


def _whole(x: Any, grid: Grid, fill: float) -> Any:
    """Return an array with the padding that the windows reach into."""
    lengths = x.shape[x.ndim - grid.axes :]
    behind = [max(0, need - before - n) for need, before, n in zip(grid.needed, grid.before, lengths)]
    if not any(grid.before) and not any(behind):
        return x
    widths = [width for pair in zip(reversed(grid.before), reversed(behind)) for width in pair]
    return PAD(x, pad=tuple(widths), mode="constant", value=fill)


def _inside(grid: Grid) -> Grid:
    """Return the same windows of the array with its padding."""
    return replace(grid, before=(0,) * grid.axes)


def _windows(x: Any, *, grid: Grid) -> Any:
    whole = _whole(x, grid, 0.0)
    return None if whole is x else WINDOWS(whole, grid=_inside(grid))


def _fold(windows: Any, *, grid: Grid, lengths: Shape) -> Any:
    if grid.kernel == grid.stride and set(grid.dilation) == {1}:
        total = _side_by_side(windows, grid)
    elif grid.needed == lengths and is_plain(grid):
        return None
    else:
        total = FOLD(windows, grid=_inside(grid), lengths=grid.needed)
    missing = [max(0, before + n - need) for before, n, need in zip(grid.before, lengths, grid.needed)]
    if any(missing):
        total = PAD(total, pad=tuple(m for n in reversed(missing) for m in (0, n)), mode="constant", value=0.0)
    if total.shape[total.ndim - grid.axes :] == lengths:
        return total
    return total[(..., *(slice(before, before + n) for before, n in zip(grid.before, lengths)))]


def _side_by_side(windows: Any, grid: Grid) -> Any:
    """Return windows that touch as the array that they were taken from."""
    lead, n = windows.ndim - 2 * grid.axes, grid.axes
    pairs = [lead + d for i in range(n) for d in (i, n + i)]
    return reshape(permute(windows, (*range(lead), *pairs)), (*windows.shape[:lead], *grid.needed))


# --- convolution -----------------------------------------------------------------------------------


def _columns(x: Any, grid: Grid, groups: int) -> Any:
    """Return the windows of (..., C, *lengths) as columns: (samples, groups, C/groups · K, P)."""
    n = grid.axes
    lead, channels = math.prod(x.shape[: x.ndim - n - 1]), x.shape[x.ndim - n - 1]
    windows = reshape(WINDOWS(x, grid=grid), (lead, channels, *grid.count, *grid.kernel))
    windows = permute(windows, (0, 1, *range(2 + n, 2 + 2 * n), *range(2, 2 + n)))
    return reshape(windows, (lead, groups, channels // groups * math.prod(grid.kernel), math.prod(grid.count)))


def _rows(g: Any, grid: Grid, groups: int) -> Any:
    """Return (..., O, *P) as rows: (samples, groups, O/groups, P)."""
    channel = g.ndim - grid.axes - 1
    lead, filters = math.prod(g.shape[:channel]), g.shape[channel]
    return reshape(g, (lead, groups, filters // groups, math.prod(grid.count)))


def _filter_rows(weight: Any, groups: int) -> Any:
    """Return the filters, (O, C/groups, *K), as rows: (groups, O/groups, C/groups · K)."""
    return reshape(weight, (groups, weight.shape[0] // groups, math.prod(weight.shape[1:])))


def _conv(x: Any, weight: Any, bias: Any = None, *, grid: Grid, groups: int = 1) -> Any:
    lead = x.shape[: x.ndim - grid.axes - 1]
    y = matmul(_filter_rows(weight, groups), _columns(x, grid, groups))
    y = reshape(y, (*lead, weight.shape[0], *grid.count))
    return y if bias is None else y + reshape(bias, (-1, *(1,) * grid.axes))


def _conv_input(g: Any, weight: Any, *, grid: Grid, lengths: Shape, groups: int = 1) -> Any:
    n, lead = grid.axes, g.shape[: g.ndim - grid.axes - 1]
    columns = matmul(matrix_transpose(_filter_rows(weight, groups)), _rows(g, grid, groups))
    windows = reshape(columns, (*lead, groups * weight.shape[1], *grid.kernel, *grid.count))
    first = len(lead) + 1
    windows = permute(windows, (*range(first), *range(first + n, first + 2 * n), *range(first, first + n)))
    return FOLD(windows, grid=grid, lengths=lengths)


def _conv_weight(x: Any, g: Any, *, grid: Grid, groups: int = 1) -> Any:
    products = matmul(_rows(g, grid, groups), matrix_transpose(_columns(x, grid, groups)))
    filters, channels = g.shape[g.ndim - grid.axes - 1], x.shape[x.ndim - grid.axes - 1]
    return reshape(ops.sum(products, axis=0), (filters, channels // groups, *grid.kernel))


# --- the largest of each window --------------------------------------------------------------------


def _elements(x: Any, grid: Grid) -> list[Any]:
    """Return the first elements of all windows, the second ones, and so on: (..., *P) each."""
    whole = _whole(x, grid, -math.inf)
    found = []
    for place in np.ndindex(*grid.kernel):
        starts = [k * d for k, d in zip(place, grid.dilation)]
        ends = [start + (n - 1) * step + 1 for start, n, step in zip(starts, grid.count, grid.stride)]
        found.append(whole[(..., *map(slice, starts, ends, grid.stride))])
    return found


def _max_pool(x: Any, *, grid: Grid) -> Any:
    return functools.reduce(maximum, _elements(x, grid)) if math.prod(grid.kernel) <= LARGEST_WINDOW else None


def _put(g: Any, *indices: Any, key: Key, shape: Shape) -> Any:  # noqa: ARG001
    """Put the cotangent of a pooling where the largest elements were: what else is put somewhere is left as it is."""
    place = next((x for x in _operands_of_sum(indices) if _operation(x) == "max_pool_place"), None)
    if place is None or g.shape != place.shape:
        return None
    x, grid = place.node.inputs[0], place.node.params["grid"]
    if shape != (math.prod(x.shape),) or math.prod(grid.kernel) > LARGEST_WINDOW:
        return None
    chosen = expand_dims(_first_largest(x, grid), tuple(range(-grid.axes, 0)))
    places = np.arange(math.prod(grid.kernel), dtype=np.int8).reshape(grid.kernel)
    windows = where(equal(chosen, places), expand_dims(g, tuple(range(-grid.axes, 0))), 0.0)
    return reshape(FOLD(windows, grid=grid, lengths=x.shape[x.ndim - grid.axes :]), shape)


def _first_largest(x: Any, grid: Grid) -> Any:
    """Return which element of each window is the first that is the largest; NaN is larger than all numbers."""
    largest = MAX_POOL(x, grid=grid)
    found: Any = math.prod(grid.kernel) - 1
    is_there = WINDOWS.forward(np.ones(x.shape[x.ndim - grid.axes :], bool), grid=grid)
    elements = list(zip(_elements(x, grid), np.ndindex(*grid.kernel)))
    for k, (element, place) in reversed(list(enumerate(elements[:-1]))):
        hit = logical_or(equal(element, largest), isnan(element))
        there = is_there[(..., *place)]
        found = where(hit if there.all() else logical_and(hit, there), k, found)  # −∞ is also in the padding
    return astype(found, np.int8)


def _operands_of_sum(indices: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what an index is the sum of, if it is one."""
    return indices[0].node.inputs if len(indices) == 1 and _operation(indices[0]) == "add" else ()


def _operation(x: Any) -> str:
    return x.node.op.name if isinstance(x, Value) and x.node is not None else ""


RULES: dict[str, Callable[..., Any]] = {
    "windows": _windows,
    "fold": _fold,
    "conv": _conv,
    "conv_input": _conv_input,
    "conv_weight": _conv_weight,
    "max_pool": _max_pool,
    "put": _put,
}
