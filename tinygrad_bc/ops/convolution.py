"""Convolution and pooling over windows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.ops._arguments import Shape, shaped
from tinygrad_bc.ops.elementwise import _floating
from tinygrad_bc.ops.index import HERE, Key, _put
from tinygrad_bc.ops.reduce import sum
from tinygrad_bc.ops.shape import reshape
from tinygrad_bc.primitive import ErrorSample, Sample, composite, primitive
from tinygrad_bc.samples import untied

# In this module an array is (..., channels, *lengths): `lengths` are its axes of space. P stands for the axes that
# count windows, K for those within a window.


@dataclass(frozen=True)
class Grid:
    """Where the windows lie that are moved over the axes of space; one number for each axis.

    Attributes
    ----------
    kernel
        How many elements a window has.
    stride
        How far apart windows are.
    dilation
        How far apart the elements of a window are.
    before
        How many zeros are thought to stand before the first element.
    count
        How many windows there are. As many zeros as they need are thought to stand behind the last element.
    """

    kernel: Shape
    stride: Shape
    dilation: Shape
    before: Shape
    count: Shape

    @property
    def axes(self) -> int:
        """The number of axes of space."""
        return len(self.kernel)

    @property
    def extent(self) -> Shape:
        """How far a window reaches: its elements and the gaps between them."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation))

    @property
    def needed(self) -> Shape:
        """How long the axes are from the beginning of the first window to the end of the last one."""
        return tuple((n - 1) * s + e for n, s, e in zip(self.count, self.stride, self.extent))

    def __str__(self) -> str:
        text = "×".join(map(str, self.kernel))
        for name, numbers, usual in (
            ("stride", self.stride, 1),
            ("pad", self.before, 0),
            ("dilation", self.dilation, 1),
        ):
            if any(n != usual for n in numbers):
                text += f" {name} {'×'.join(map(str, numbers))}"
        return text


def _numbers(name: str, given: Any, axes: int, least: int) -> Shape:
    """Return one whole number per axis, from one number for all axes or from a sequence."""
    numbers = tuple(given) if isinstance(given, Sequence | np.ndarray) else (given,) * axes
    if len(numbers) == 1:
        numbers *= axes
    if len(numbers) != axes or not all(isinstance(n, int | np.integer) and n >= least for n in numbers):
        raise ArgumentError(
            f"{name}={given!r}, but expected a whole number of at least {least}"
            + (f", or {axes} of them, one for each axis of space" if axes > 1 else "")
        )
    return tuple(map(int, numbers))


_SPACE, _WITHIN = {1: "L", 2: "H, W"}, {1: "K", 2: "KH, KW"}


def _wanted(axes: int) -> str:
    return f"input must be (N, C, {_SPACE[axes]}), or (C, {_SPACE[axes]}) for a single sample"


# --- windows, and their adjoint ------------------------------------------------------------------


def _fitted(x: Any, grid: Grid, fill: Any = 0) -> Any:
    """Return `x` padded, or cut off, to what the windows need."""
    behind = [need - before - n for need, before, n in zip(grid.needed, grid.before, x.shape[-grid.axes :])]
    if any(grid.before) or any(n > 0 for n in behind):
        lead = [(0, 0)] * (x.ndim - grid.axes)
        pads = [(before, max(0, n)) for before, n in zip(grid.before, behind)]
        x = np.pad(x, lead + pads, constant_values=fill)
    return x[(..., *(slice(0, need) for need in grid.needed))]


def _seen_through(x: Any, grid: Grid) -> Any:
    """Return the windows of a fitted array, (..., *P, *K): a view."""
    axes = tuple(range(-grid.axes, 0))
    windows: Any = np.lib.stride_tricks.sliding_window_view(x, grid.extent, axis=axes)
    steps = [slice(None, None, step) for step in grid.stride + grid.dilation]
    return windows[(..., *steps)]


def _added_up(windows: Any, grid: Grid, lengths: Shape) -> Any:
    """Return (..., *lengths) with every element of every window added where it was taken from: the adjoint."""
    lead = windows.shape[: windows.ndim - 2 * grid.axes]
    ends = [max(need, before + n) for need, before, n in zip(grid.needed, grid.before, lengths)]
    total: Any = np.zeros((*lead, *ends), windows.dtype)
    for place in np.ndindex(*grid.kernel):  # few places, and all windows at once
        starts = [k * d for k, d in zip(place, grid.dilation)]
        there = [
            slice(start, start + (n - 1) * step + 1, step) for start, n, step in zip(starts, grid.count, grid.stride)
        ]
        total[(..., *there)] += windows[(..., *place)]
    return total[(..., *(slice(before, before + n) for before, n in zip(grid.before, lengths)))]


_GRIDS = [
    ((5,), Grid((3,), (1,), (1,), (0,), (3,))),
    ((4,), Grid((3,), (1,), (1,), (1,), (4,))),
    ((7,), Grid((3,), (2,), (2,), (2,), (4,))),
    ((4, 5), Grid((2, 3), (2, 1), (1, 2), (1, 0), (3, 1))),
    ((6, 3), Grid((2, 2), (3, 2), (1, 1), (0, 1), (2, 2))),
]
"""Lengths of the axes of space, and windows over them, for the samples: strides that skip elements, gaps, padding."""


@primitive(
    name="windows",
    formula="windows({x}; {grid})",
    vjps=[lambda g, y, x, grid: _fold(g, grid=grid, lengths=x.shape[-grid.axes :])],
    samples=lambda rng: [
        *(Sample(rng.normal(size=(2, *lengths)), grid=grid) for lengths, grid in _GRIDS),
        Sample(np.ones((0, 5)), grid=_GRIDS[0][1]),
    ],
)
def _windows(x: Any, *, grid: Grid) -> Any:
    """Return the windows of `x`, (..., *lengths), as (..., *P, *K)."""
    return _seen_through(_fitted(x, grid), grid)


@primitive(
    name="fold",
    formula="fold({windows}; {grid})",
    vjps=[lambda g, y, windows, grid, lengths: _windows(g, grid=grid)],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, *grid.count, *grid.kernel)), grid=grid, lengths=lengths) for lengths, grid in _GRIDS
    ],
)
def _fold(windows: Any, *, grid: Grid, lengths: Shape) -> Any:
    """Add up windows, (..., *P, *K), where they overlap: the adjoint of `_windows`."""
    return _added_up(windows, grid, lengths)


# --- convolution ---------------------------------------------------------------------------------

# A convolution and its two derivatives are three faces of one form that is linear in each of its three arguments,
#
#     T(x, W, g) = Σ x[c, p·stride + k·dilation − before] · W[o, c, k] · g[o, p]      (over samples, o, c, p and k)
#
# Y = conv(X, W) is the derivative of T with respect to g; dX is that with respect to x, and dW that with respect to W.
# So the derivative of each of the three is made of the other two, and every higher order is there as well
# (Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", 2016, ch. 4, for the first).
# With groups the channels fall into as many blocks, each of which has its own filters. All three are one product
# of matrices for each sample and group, with the windows as columns.


def _window_columns(x: Any, grid: Grid, groups: int) -> Any:
    """Return the windows of (..., C, *lengths) as columns: (samples, groups, C/groups · K, P)."""
    n = grid.axes
    samples, channels = math.prod(x.shape[: -n - 1]), x.shape[-n - 1] // groups
    windows = _windows.forward(x, grid=grid).reshape(samples, groups, channels, *grid.count, *grid.kernel)
    windows = windows.transpose(0, 1, 2, *range(3 + n, 3 + 2 * n), *range(3, 3 + n))
    return windows.reshape(samples, groups, channels * math.prod(grid.kernel), math.prod(grid.count))


def _channel_rows(g: Any, grid: Grid, groups: int) -> Any:
    """Return (..., O, *P), what is there for each window, as rows: (samples, groups, O/groups, P)."""
    samples, channels = math.prod(g.shape[: -grid.axes - 1]), g.shape[-grid.axes - 1] // groups
    return g.reshape(samples, groups, channels, math.prod(grid.count))


def _filter_rows(weight: Any, groups: int) -> Any:
    """Return the filters, (O, C/groups, *K), as rows: (groups, O/groups, C/groups · K)."""
    return weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:]))


def _conv_sample(rng: np.random.Generator, lead: Shape, groups: int, case: int) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return input, filters, a cotangent of the output, and metadata."""
    lengths, grid = _GRIDS[case]
    x = rng.normal(size=(*lead, 2 * groups, *lengths))
    weight = rng.normal(size=(groups * (1 + groups % 2), 2, *grid.kernel))
    return x, weight, rng.normal(size=(*lead, len(weight), *grid.count)), {"grid": grid, "groups": groups}


def _conv_samples(rng: np.random.Generator) -> list[tuple[Any, Any, Any, dict[str, Any]]]:
    cases = [((2,), 1, 0), ((), 2, 1), ((2,), 1, 2), ((1,), 3, 3), ((0,), 1, 0)]
    return [_conv_sample(rng, *case) for case in cases]


def _conv_input_vjp(g: Any, y: Any, x: Any, weight: Any, bias: Any = None, *, grid: Grid, groups: int) -> Any:
    return _conv_input(g, weight, grid=grid, groups=groups, lengths=x.shape[-grid.axes :])


def _conv_bias_vjp(g: Any, y: Any, x: Any, weight: Any, bias: Any, *, grid: Grid, groups: int) -> Any:
    channels = g.ndim - 1 - grid.axes
    return sum(g, axis=tuple(i for i in range(g.ndim) if i != channels))


@primitive(
    name="conv",
    formula="conv({all}; {grid})",
    vjps=[
        _conv_input_vjp,
        lambda g, y, x, weight, bias=None, *, grid, groups: _conv_weight(x, g, grid=grid, groups=groups),
        _conv_bias_vjp,
    ],
    samples=lambda rng: [
        *(Sample(x, weight, **params) for x, weight, _, params in _conv_samples(rng)),
        *(Sample(x, weight, rng.normal(size=len(weight)), **params) for x, weight, _, params in _conv_samples(rng)[:2]),
    ],
)
def _conv(x: Any, weight: Any, bias: Any = None, *, grid: Grid, groups: int = 1) -> Any:
    """Convolve (..., C, *lengths) with filters (O, C/groups, *K); returns (..., O, *P)."""
    y = _filter_rows(weight, groups) @ _window_columns(x, grid, groups)
    y = y.reshape(*x.shape[: -grid.axes - 1], len(weight), *grid.count)
    return y if bias is None else y + bias.reshape(-1, *(1,) * grid.axes)


@primitive(
    name="conv_input",
    formula="convᵀ({g}, {weight}; {grid})",
    vjps=[
        lambda h, y, g, weight, *, grid, lengths, groups: _conv(h, weight, grid=grid, groups=groups),
        lambda h, y, g, weight, *, grid, lengths, groups: _conv_weight(h, g, grid=grid, groups=groups),
    ],
    samples=lambda rng: [
        Sample(g, weight, lengths=x.shape[x.ndim - params["grid"].axes :], **params)
        for x, weight, g, params in _conv_samples(rng)
    ],
)
def _conv_input(g: Any, weight: Any, *, grid: Grid, lengths: Shape, groups: int = 1) -> Any:
    """Return the cotangent of the input of a convolution: the transposed convolution of that of its output."""
    lead, channels = g.shape[: -grid.axes - 1], groups * weight.shape[1]
    columns = _filter_rows(weight, groups).mT @ _channel_rows(g, grid, groups)
    windows = columns.reshape(math.prod(lead), channels, *grid.kernel, *grid.count)
    within, across = range(2, 2 + grid.axes), range(2 + grid.axes, 2 + 2 * grid.axes)
    windows = windows.transpose(0, 1, *across, *within)
    return _added_up(windows, grid, lengths).reshape(*lead, channels, *lengths)


def _conv_weight_x_vjp(h: Any, y: Any, x: Any, g: Any, *, grid: Grid, groups: int) -> Any:
    return _conv_input(g, h, grid=grid, groups=groups, lengths=x.shape[-grid.axes :])


@primitive(
    name="conv_weight",
    formula="conv_weight({x}, {g}; {grid})",
    vjps=[_conv_weight_x_vjp, lambda h, y, x, g, *, grid, groups: _conv(x, h, grid=grid, groups=groups)],
    samples=lambda rng: [Sample(x, g, **params) for x, _, g, params in _conv_samples(rng)],
)
def _conv_weight(x: Any, g: Any, *, grid: Grid, groups: int = 1) -> Any:
    """Return the cotangent of the filters of a convolution: input and cotangent of the output, correlated."""
    filters, channels = g.shape[-grid.axes - 1], x.shape[-grid.axes - 1] // groups
    total = np.zeros((groups, filters // groups, channels * math.prod(grid.kernel)), np.result_type(x, g))
    for rows, columns in zip(_channel_rows(g, grid, groups), _window_columns(x, grid, groups)):
        total += rows @ columns.mT  # sample by sample: all products at once would take much memory
    return total.reshape(filters, channels, *grid.kernel)


def _conv_grid(lengths: Shape, kernel: Shape, stride: Any, padding: Any, dilation: Any) -> Grid:
    """Return the windows of a convolution."""
    axes = len(kernel)
    stride, dilation = _numbers("stride", stride, axes, 1), _numbers("dilation", dilation, axes, 1)
    gaps = [d * (k - 1) for k, d in zip(kernel, dilation)]
    if padding == "same":
        if set(stride) != {1}:
            raise ArgumentError(f"padding='same' keeps the lengths, which needs stride=1, but stride={stride}")
        return Grid(kernel, stride, dilation, tuple(gap // 2 for gap in gaps), lengths)
    if isinstance(padding, str) and padding != "valid":
        raise ArgumentError(f"padding={padding!r}, but expected whole numbers, 'same' or 'valid'")
    before = _numbers("padding", 0 if padding == "valid" else padding, axes, 0)
    count = tuple((n + 2 * p - gap - 1) // s + 1 for n, p, gap, s in zip(lengths, before, gaps, stride))
    if min(count) < 1:
        padded, extent = tuple(n + 2 * p for n, p in zip(lengths, before)), tuple(gap + 1 for gap in gaps)
        raise ShapeError(
            f"the kernel reaches over {extent} elements, more than the input has with its padding, {padded}. "
            "Use a smaller kernel or dilation, or more padding"
        )
    return Grid(kernel, stride, dilation, before, count)


def _convolution(
    axes: int, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: Any
) -> Any:
    x, weight = shaped(x), shaped(weight)
    if weight.ndim != axes + 2:
        raise ShapeError(
            f"weight must be (out_channels, in_channels / groups, {_WITHIN[axes]}), "
            f"{axes + 2} axes, and it has {weight.ndim}"
        )
    if x.ndim not in (axes + 1, axes + 2):
        raise ShapeError(f"{_wanted(axes)}: {axes + 2} axes or {axes + 1}, and it has {x.ndim}")
    (groups,) = _numbers("groups", groups, 1, 1)
    filters, channels, *_ = weight.shape
    if filters % groups or not filters:
        raise ShapeError(f"weight has {filters} filters, which do not divide into groups={groups}")
    if x.shape[-axes - 1] != channels * groups:
        lead = x.ndim - axes - 1
        order = (*range(lead), x.ndim - 1, *range(lead, x.ndim - 1))
        last = x.shape[-1] == channels * groups
        hint = f". Did you mean channels first, input.permute{order}?" if last else ""
        raise ShapeError(
            f"input has {x.shape[-axes - 1]} channels (axis {lead}), but weight wants {channels * groups}"
            + (f" ({channels} for each of {groups} groups)" if groups > 1 else "")
            + hint
        )
    if bias is not None:
        bias = shaped(bias)
        if bias.shape != (filters,):
            raise ShapeError(f"bias must be of shape ({filters},), a number for each filter, and it is {bias.shape}")
    grid = _conv_grid(x.shape[-axes:], weight.shape[2:], stride, padding, dilation)
    return _conv(x, weight, bias, grid=grid, groups=groups)


def _conv_errors(axes: int) -> list[ErrorSample]:
    x, weight = np.ones((2, 4, *(5,) * axes)), np.ones((6, 4, *(3,) * axes))
    return [
        ErrorSample(x, weight[:, :3], error=ShapeError, match=r"input has 4 channels \(axis 1\), but weight wants 3"),
        ErrorSample(
            np.moveaxis(x, 1, -1), weight, error=ShapeError, match=r"Did you mean channels first, \w+\.permute"
        ),
        ErrorSample(x, weight[0], error=ShapeError, match="weight must be"),
        ErrorSample(x[0, 0], weight, error=ShapeError, match=r"input must be \(N, C, "),
        ErrorSample(x, weight, np.ones((6, 1)), error=ShapeError, match=r"bias must be of shape \(6,\)"),
        ErrorSample(x, weight[:, :1], groups=4, error=ShapeError, match="6 filters, which do not divide into groups=4"),
        ErrorSample(x, weight, groups=0, error=ArgumentError, match="groups=0"),
        ErrorSample(x, weight, stride=0, error=ArgumentError, match="stride=0, but expected a whole number"),
        ErrorSample(x, weight, padding=-1, error=ArgumentError, match="padding=-1"),
        ErrorSample(x, weight, padding="full", error=ArgumentError, match="'same' or 'valid'"),
        ErrorSample(x, weight, padding="same", stride=2, error=ArgumentError, match="needs stride=1"),
        ErrorSample(x, weight, dilation=1.5, error=ArgumentError, match="dilation=1.5"),
        ErrorSample(x, weight, dilation=3, error=ShapeError, match="the kernel reaches over"),
    ]


@composite(formula="conv(input, weight) + bias", error_samples=lambda: _conv_errors(1))
def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Move filters along one axis and take the product with what each sees (a cross-correlation).

    Parameters
    ----------
    input : (N, C, L) or (C, L)
        Samples, channels, positions.
    weight : (O, C / groups, K)
        The filters.
    bias : (O,), optional
        What is added to each filter's result.
    stride, dilation : int or sequence of int
        How far apart the positions of a filter are, and the elements it looks at.
    padding : int, sequence of int, 'same' or 'valid'
        How many zeros are added at each end; 'same': as many as keep the length; 'valid': none.
    groups : int
        Into how many blocks the channels are divided, each with its own filters.

    Returns
    -------
    (N, O, P) or (O, P)
        With P = ⌊(L + 2·padding − dilation·(K − 1) − 1) / stride⌋ + 1.

    Raises
    ------
    ShapeError
        If the shapes do not fit together, or the kernel does not fit into the input.
    ArgumentError
        If one of the numbers is not possible.
    """
    return _convolution(1, input, weight, bias, stride, padding, dilation, groups)


@composite(formula="conv(input, weight) + bias", error_samples=lambda: _conv_errors(2))
def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Any:
    """Move filters over an image and take the product with what each sees (a cross-correlation).

    As `conv1d`, with an `input` of (N, C, H, W) or (C, H, W) and a `weight` of (O, C / groups, KH, KW). Stride,
    padding and dilation are numbers for both axes, or pairs.
    """
    return _convolution(2, input, weight, bias, stride, padding, dilation, groups)


# --- pooling -------------------------------------------------------------------------------------


def _count(length: int, extent: int, stride: int, before: int, ceil_mode: bool) -> int:
    """Return how many windows of a pooling there are along an axis."""
    room = length + 2 * before - extent
    if not ceil_mode:
        return room // stride + 1
    count = -(-room // stride) + 1
    # A window that would begin behind the input does not count.
    return count - 1 if (count - 1) * stride >= length + before else count


def _pool_grid(axes: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool) -> Grid:
    """Return the windows of a pooling, whose last ones may stick out of the input where `ceil_mode` says so."""
    if x.ndim not in (axes + 1, axes + 2) or 0 in x.shape[-axes - 1 :]:
        raise ShapeError(f"{_wanted(axes)}, with no axis but N of length 0")
    kernel = _numbers("kernel_size", kernel_size, axes, 1)
    stride = kernel if stride is None or np.size(stride) == 0 else _numbers("stride", stride, axes, 1)
    before, dilation = _numbers("padding", padding, axes, 0), _numbers("dilation", dilation, axes, 1)
    extent = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation))
    lengths = x.shape[-axes:]
    if any(2 * p > e for p, e in zip(before, extent)):
        raise ArgumentError(
            f"padding={padding} is more than half of the window, which reaches over {extent} elements: "
            "some windows would see nothing else"
        )
    counts = [_count(*numbers, ceil_mode) for numbers in zip(lengths, extent, stride, before)]
    if min(counts) < 1:
        raise ShapeError(
            f"a window reaches over {extent} elements, more than the input has with its padding, "
            f"{tuple(n + 2 * p for n, p in zip(lengths, before))}. Use a smaller kernel_size or dilation"
        )
    grid = Grid(kernel, stride, dilation, before, tuple(counts))
    if not _windows.forward(np.ones(lengths), grid=grid).any(axis=tuple(range(-axes, 0))).all():
        raise ArgumentError(
            f"with dilation={dilation} and padding={padding} some windows would see nothing but padding"
        )
    return grid


def _largest_vjp(g: Any, y: Any, x: Any, grid: Grid) -> Any:
    """Give the cotangent to the element that was the largest: to the first of them, if there are several."""
    plane = math.prod(x.shape[-grid.axes :])
    first = np.arange(math.prod(x.shape) // plane) * plane  # where each channel begins, in the order of memory
    place = _largest_place(x, grid=grid) + first.reshape(*x.shape[: x.ndim - grid.axes], *(1,) * grid.axes)
    return reshape(_put(g, place, key=Key([HERE]), shape=(math.prod(x.shape),)), x.shape)


def _pool_samples(rng: np.random.Generator) -> list[Sample]:
    planes = [Sample(untied(rng, 2, *lengths) - 2, grid=grid) for lengths, grid in _GRIDS]
    return [*planes, Sample(untied(rng, 3, *_GRIDS[0][0]) - 2, grid=_GRIDS[0][1])]


@primitive(name="max_pool", formula="max_pool({x}; {grid})", vjps=[_largest_vjp], samples=_pool_samples)
def _max_pool(x: Any, *, grid: Grid) -> Any:
    windows = _seen_through(_fitted(x, grid, -np.inf), grid)
    # Few places within a window, and all windows at once: several times as fast as a maximum over short axes.
    return functools.reduce(np.maximum, (windows[(..., *place)] for place in np.ndindex(*grid.kernel)))


@primitive(name="max_pool_place", formula="argmax_pool({x}; {grid})", vjps=None, samples=_pool_samples)
def _largest_place(x: Any, *, grid: Grid) -> Any:
    """Return where the largest element of each window is in its channel, counted in the order of memory."""
    lengths = x.shape[-grid.axes :]
    numbers = np.arange(1, math.prod(lengths) + 1).reshape(lengths)
    candidates = _windows.forward(numbers, grid=grid).reshape(*grid.count, -1)  # 0: padding
    windows = _seen_through(_fitted(x, grid, -np.inf), grid).reshape(*x.shape[: -grid.axes], *candidates.shape)
    best = windows.argmax(axis=-1, keepdims=True)
    found = np.take_along_axis(np.broadcast_to(candidates, windows.shape), best, axis=-1)[..., 0]
    # Where all are −∞, as the padding is, the first is the first that is not padding.
    first = np.where(candidates > 0, candidates, numbers.size + 1).min(axis=-1)
    return np.where(found > 0, found, first) - 1


def _pooled_max(
    axes: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, return_indices: bool
) -> Any:
    x = _floating(x)
    grid = _pool_grid(axes, x, kernel_size, stride, padding, dilation, ceil_mode)
    y = _max_pool(x, grid=grid)
    return (y, _largest_place(x, grid=grid)) if return_indices else y


def _pool_errors(axes: int) -> list[ErrorSample]:
    x = np.ones((1, 2, *(5,) * axes))
    return [
        ErrorSample(x[0, 0], 2, error=ShapeError, match=r"input must be \(N, C, "),
        ErrorSample(x[:, :0], 2, error=ShapeError, match="no axis but N of length 0"),
        ErrorSample(x, 0, error=ArgumentError, match="kernel_size=0, but expected a whole number of at least 1"),
        ErrorSample(x, (2, 2, 2), error=ArgumentError, match=r"kernel_size=\(2, 2, 2\)"),
        ErrorSample(x, 2, stride=0, error=ArgumentError, match="stride=0"),
        ErrorSample(x, 2, padding=-1, error=ArgumentError, match="padding=-1"),
        ErrorSample(x, 2, padding=2, error=ArgumentError, match="padding=2 is more than half of the window"),
        ErrorSample(x, 6, error=ShapeError, match="more than the input has"),
    ]


@composite(formula="max over windows(input)", error_samples=lambda: _pool_errors(1))
def max_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element in each window. Where several are, the first takes the gradient.

    Parameters
    ----------
    input : (N, C, L) or (C, L)
        Samples, channels, positions.
    kernel_size : int or sequence of int
        The length of a window.
    stride : int or sequence of int, optional
        How far apart windows are; by default `kernel_size`, so that they touch.
    padding : int or sequence of int
        How far windows reach beyond each end, at most half a window. What is there is never the largest.
    dilation : int or sequence of int
        How far apart the elements of a window are.
    ceil_mode : bool
        Whether a last window counts that begins inside and ends outside.
    return_indices : bool
        Whether to return also where the largest elements are, counted within a channel.

    Returns
    -------
    (N, C, P) or (C, P)
        Or a pair of those, if `return_indices`.

    Raises
    ------
    ShapeError
        If the input has other axes, or no window fits into it.
    ArgumentError
        If one of the numbers is not possible.
    """
    return _pooled_max(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@composite(formula="max over windows(input)", error_samples=lambda: _pool_errors(2))
def max_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Return the largest element in each window of an image. Where several are, the first takes the gradient.

    As `max_pool1d`, with an `input` of (N, C, H, W) or (C, H, W), and numbers for both axes, or pairs. Indices are
    counted row by row.
    """
    return _pooled_max(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _window_sizes(grid: Grid, lengths: Shape, count_include_pad: bool) -> Any:
    """Return how many elements each window has: those of the input, and those of the padding if they count."""
    sizes = []
    for n, k, s, p, count in zip(lengths, grid.kernel, grid.stride, grid.before, grid.count):
        begin = np.arange(count) * s - p
        # Behind the padding, where windows may reach in ceil_mode, is nothing that could count.
        end = np.minimum(begin + k, n + p)
        sizes.append(end - begin if count_include_pad else np.minimum(end, n) - np.maximum(begin, 0))
    return functools.reduce(np.multiply.outer, sizes)


def _pooled_mean(
    axes: int,
    x: Any,
    kernel_size: Any,
    stride: Any,
    padding: Any,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None = None,
) -> Any:
    x = _floating(x)
    grid = _pool_grid(axes, x, kernel_size, stride, padding, 1, ceil_mode)
    if divisor_override == 0:
        raise ArgumentError("divisor_override=0: the sums would be divided by zero")
    total = sum(_windows(x, grid=grid), axis=tuple(range(-axes, 0)))
    if divisor_override is not None:
        return total / divisor_override
    sizes = _window_sizes(grid, x.shape[-axes:], count_include_pad)
    if (sizes == sizes.flat[0]).all():
        return total / int(sizes.flat[0])
    return total / sizes.astype(x.dtype)


@composite(
    formula="mean over windows(input)",
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 7)), kernel_size=3, padding=1, ceil_mode=True),
        Sample(rng.normal(size=(1, 2, 6)), kernel_size=2, stride=1, padding=1, count_include_pad=False),
    ],
    error_samples=lambda: _pool_errors(1),
)
def avg_pool1d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """Return the mean of the elements in each window.

    Parameters
    ----------
    input, kernel_size, stride, ceil_mode
        As in `max_pool1d`.
    padding : int or sequence of int
        How many zeros are added at each end, at most half a window.
    count_include_pad : bool
        Whether those zeros count as elements.

    Returns
    -------
    (N, C, P) or (C, P)
        The means.

    Raises
    ------
    ShapeError, ArgumentError
        As `max_pool1d`.
    """
    return _pooled_mean(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


@composite(
    formula="mean over windows(input)",
    samples=lambda rng: [
        Sample(rng.normal(size=(1, 2, 4, 5)), kernel_size=2),
        Sample(rng.normal(size=(2, 4, 5)), kernel_size=(2, 3), stride=(1, 2), padding=1, ceil_mode=True),
        Sample(rng.normal(size=(1, 3, 3)), kernel_size=2, stride=1, divisor_override=3),
    ],
    error_samples=lambda: [
        *_pool_errors(2),
        ErrorSample(np.ones((1, 4, 4)), 2, divisor_override=0, error=ArgumentError, match="divided by zero"),
    ],
)
def avg_pool2d(
    input: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Any:
    """Return the mean of the elements in each window of an image.

    As `avg_pool1d`, with an `input` of (N, C, H, W) or (C, H, W), and numbers for both axes, or pairs. Sums are
    divided by `divisor_override` where it is given, and not by the number of elements.
    """
    return _pooled_mean(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
