"""Convolutions, pooling, and what makes rows of images."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.nn._parameters import bias_or_none, check_count, new_parameter
from tinygrad_bc.nn.init import kaiming_uniform_
from tinygrad_bc.nn.module import Module

__all__ = ["AvgPool1d", "AvgPool2d", "Conv1d", "Conv2d", "Flatten", "MaxPool1d", "MaxPool2d"]


class Conv1d(Module):
    """Filters moved along one axis: each output is the product of a filter with what it sees, plus a bias.

    The formula is ``y[o, p] = Σ x[c, p · stride + k · dilation − padding] · weight[o, c, k] + bias[o]``, over c and k.
    Source: Y. LeCun and others, "Backpropagation applied to handwritten zip code recognition", 1989; strides, padding
    and dilation: V. Dumoulin, F. Visin, "A guide to convolution arithmetic for deep learning", 2016, ch. 2.

    Parameters
    ----------
    in_channels, out_channels : int
        How many channels go in and come out.
    kernel_size : int or sequence of int
        The length of a filter.
    stride, dilation : int or sequence of int
        How far apart the positions of a filter are, and the elements it looks at.
    padding : int, sequence of int, 'same' or 'valid'
        How many zeros are added at each end.
    groups : int
        Into how many blocks the channels are divided, each with its own filters.
    bias : bool
        Whether there is a bias.
    generator : numpy.random.Generator or int
        Where the initial values are drawn from; a whole number is the seed of a new one.
    dtype : optional
        The element type of the parameters.

    Attributes
    ----------
    weight : (out_channels, in_channels / groups, K)
        Drawn uniformly from ±1/√fan_in, with fan_in = in_channels / groups · K.
    bias : (out_channels,) or None
        Drawn uniformly from ±1/√fan_in.

    Raises
    ------
    ArgumentError
        If one of the numbers is not possible.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        generator: np.random.Generator | int,
        dtype: Any = np.float64,
    ) -> None:
        layer = type(self).__name__
        self.in_channels = check_count(layer, "in_channels", in_channels)
        self.out_channels = check_count(layer, "out_channels", out_channels)
        self.groups = check_count(layer, "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ArgumentError(
                f"{layer}: in_channels={in_channels} and out_channels={out_channels} must both divide into "
                f"groups={groups}"
            )
        sizes = tuple(kernel_size) if isinstance(kernel_size, tuple | list) else (kernel_size,) * self.axes
        if len(sizes) != self.axes:
            raise ArgumentError(f"{layer}: kernel_size={kernel_size!r}, but expected a number or {self.axes} of them")
        self.kernel_size = tuple(check_count(layer, "kernel_size", size) for size in sizes)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        rng = as_generator(generator, layer)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = kaiming_uniform_(new_parameter(shape, dtype), a=5**0.5, generator=rng)
        self.bias = bias_or_none(bias, out_channels, math.prod(shape[1:]), dtype, rng)

    def forward(self, x: Any) -> Any:
        """Return what the filters make of (N, C, L) or (C, L): (N, O, P) or (O, P)."""
        return ops.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        """Return the settings that differ from the defaults, as PyTorch does."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        others = {"padding": (self.padding, 0), "dilation": (self.dilation, 1), "groups": (self.groups, 1)}
        text += "".join(f", {name}={x!r}" for name, (x, usual) in others.items() if x != usual)
        return text if self.bias is not None else f"{text}, bias=False"


class Conv2d(Conv1d):
    """Filters moved over an image: as `Conv1d`, with numbers for both axes, or pairs.

    `weight` is (out_channels, in_channels / groups, KH, KW), and fan_in = in_channels / groups · KH · KW.
    """

    axes = 2

    def forward(self, x: Any) -> Any:
        """Return what the filters make of (N, C, H, W) or (C, H, W)."""
        return ops.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _Pool(Module):
    """What poolings have in common."""

    kernel_size: Any
    stride: Any
    padding: Any

    def extra_repr(self) -> str:
        """Return the settings."""
        stride = self.kernel_size if self.stride is None else self.stride
        return f"kernel_size={self.kernel_size}, stride={stride}, padding={self.padding}"


class MaxPool1d(_Pool):
    """The largest element of each window of (N, C, L) or (C, L), with the settings of `tg.max_pool1d`.

    Source: K. Yamaguchi and others, "A neural network for speaker-independent isolated word recognition", 1990.
    """

    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.dilation, self.ceil_mode = dilation, ceil_mode

    def forward(self, x: Any) -> Any:
        """Return (N, C, P) or (C, P)."""
        return ops.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class MaxPool2d(MaxPool1d):
    """The largest element of each window of an image: as `MaxPool1d`, with numbers for both axes, or pairs."""

    def forward(self, x: Any) -> Any:
        """Return what is left of (N, C, H, W) or (C, H, W)."""
        return ops.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool1d(_Pool):
    """The mean of each window of (N, C, L) or (C, L), with the settings of `tg.avg_pool1d`.

    Source: Y. LeCun and others, "Gradient-based learning applied to document recognition", 1998, sec. II.A.
    """

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        self.kernel_size, self.stride, self.padding = kernel_size, stride, padding
        self.ceil_mode, self.count_include_pad = ceil_mode, count_include_pad

    def forward(self, x: Any) -> Any:
        """Return (N, C, P) or (C, P)."""
        return ops.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(AvgPool1d):
    """The mean of each window of an image: as `AvgPool1d`, with numbers for both axes, or pairs."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode, count_include_pad)
        self.divisor_override = divisor_override

    def forward(self, x: Any) -> Any:
        """Return what is left of (N, C, H, W) or (C, H, W)."""
        settings = (self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)
        return ops.avg_pool2d(x, *settings, self.divisor_override)


class Flatten(Module):
    """Several axes made one, from `start_dim` to `end_dim`: by default all but that of the samples."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        """Return `x` with those axes in one."""
        return ops.flatten(x, self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return the axes."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
