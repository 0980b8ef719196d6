"""Layers that shift and scale to a mean of 0 and a variance of 1."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.errors import ShapeError
from tinygrad_bc.nn._parameters import check_count, new_parameter
from tinygrad_bc.nn.module import Module
from tinygrad_bc.ops._arguments import shaped
from tinygrad_bc.record import Array, tracer
from tinygrad_bc.tracing import Tracer

__all__ = ["BatchNorm1d", "BatchNorm2d", "LayerNorm"]


class BatchNorm1d(Module):
    """Each channel shifted and scaled to a mean of 0 and a variance of 1, then scaled and shifted as learned.

    ``y = (x − mean) / √(var + eps) · weight + bias``. Source: S. Ioffe, C. Szegedy, "Batch normalization: accelerating
    deep network training by reducing internal covariate shift", 2015, algorithms 1 and 2.

    In training, mean and (biased) variance are those of the batch, and move the running ones:
    ``running = (1 − momentum) · running + momentum · of the batch``, with the unbiased variance. After `eval`, the
    running ones are used. Without them (``track_running_stats=False``), always those of the batch.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps : float
        What is added to the variance.
    momentum : float or None
        The share of a batch in the running statistics; None: they are the mean over all batches.
    affine : bool
        Whether there are weight and bias.
    track_running_stats : bool
        Whether there are running statistics.
    dtype : optional
        The element type of parameters and statistics.

    Attributes
    ----------
    weight, bias : (num_features,) or None
        At first 1 and 0.
    running_mean, running_var : ndarray (num_features,) or None
        At first 0 and 1.
    num_batches_tracked : ndarray () or None
        How many batches went into them.

    Raises
    ------
    ArgumentError
        If `num_features` is not a whole number of at least 1.
    """

    input_axes: tuple[int, ...] = (2, 3)
    input_shape = "(N, C) or (N, C, L)"
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        dtype: Any = np.float64,
    ) -> None:
        self.num_features = check_count(type(self).__name__, "num_features", num_features)
        self.eps, self.momentum = eps, momentum
        self.weight = new_parameter((num_features,), dtype, 1.0) if affine else None
        self.bias = new_parameter((num_features,), dtype) if affine else None
        self.track_running_stats = track_running_stats
        if track_running_stats:
            self.register_buffer("running_mean", np.zeros(num_features, dtype))
            self.register_buffer("running_var", np.ones(num_features, dtype))
            self.register_buffer("num_batches_tracked", np.array(0))
        else:
            self.running_mean = self.running_var = self.num_batches_tracked = None

    def forward(self, x: Any) -> Any:
        """Return `x`, shaped as the class says, normalised for each channel on axis 1.

        Raises
        ------
        ShapeError
            If the shape does not fit, or a batch in training has only one number for each channel.
        """
        x = shaped(x)
        if x.ndim not in self.input_axes or x.shape[1] != self.num_features:
            raise ShapeError(
                f"{self}: the input is {self.input_shape} with C = {self.num_features} channels, and it is {x.shape}"
            )
        tracing = tracer.get()
        if tracing is not None:
            return self._captured(x, tracing)
        if not (self.training and self.track_running_stats):
            return self._normalised(x, self.momentum or 0.0)
        batches = int(self.num_batches_tracked) + 1  # type: ignore[arg-type]
        y = self._normalised(x, 1 / batches if self.momentum is None else self.momentum)
        self.num_batches_tracked[...] = batches  # type: ignore[index]  # now that nothing was refused
        return y

    def _captured(self, x: Any, tracing: Tracer) -> Any:
        """Do the same while a function is captured: the statistics are read, and the batches counted, at every call."""
        if self.running_mean is None:
            return self._normalised(x, 0.0)
        if not self.training:
            mean, var = (
                tracing.cell(partial(getattr, self, name), name).value for name in ("running_mean", "running_var")
            )
            return ops.batch_norm(x, mean, var, self.weight, self.bias, False, 0.0, self.eps)
        tracing.ask(lambda: (id(self.running_mean), id(self.running_var)))
        tracing.act(lambda: self._count(1), lambda: self._count(-1))
        share = tracing.live(lambda: 1 / int(self.num_batches_tracked), "share")  # type: ignore[arg-type]
        return self._normalised(x, share if self.momentum is None else self.momentum)

    def _count(self, batches: int) -> None:
        self.num_batches_tracked[...] += batches  # type: ignore[index]

    def _normalised(self, x: Any, momentum: Any) -> Any:
        of_batch = self.training or self.running_mean is None
        settings = (self.weight, self.bias, of_batch, momentum, self.eps)
        return ops.batch_norm(x, self.running_mean, self.running_var, *settings)

    def extra_repr(self) -> str:
        """Return the settings."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.weight is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm2d(BatchNorm1d):
    """`BatchNorm1d` for images: mean and variance are those of all pixels of a channel in all samples."""

    input_axes = (4,)
    input_shape = "(N, C, H, W)"


class LayerNorm(Module):
    """Each sample shifted and scaled to a mean of 0 and a variance of 1, then scaled and shifted as learned.

    ``y = (x − mean) / √(var + eps) · weight + bias``, with mean and (biased) variance over the last axes. Source:
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer normalization", 2016, eq. 3 and 4.

    Parameters
    ----------
    normalized_shape : int or sequence of int
        The lengths of the last axes, over which mean and variance are taken.
    eps : float
        What is added to the variance.
    elementwise_affine : bool
        Whether there is a weight.
    bias : bool
        Whether there is a bias; none without a weight.
    dtype : optional
        The element type of the parameters.

    Attributes
    ----------
    weight, bias : (*normalized_shape,) or None
        At first 1 and 0.

    Raises
    ------
    ArgumentError
        If a length is not a whole number of at least 1.
    """

    def __init__(
        self,
        normalized_shape: Any,
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        *,
        dtype: Any = np.float64,
    ) -> None:
        lengths = normalized_shape if isinstance(normalized_shape, tuple | list) else (normalized_shape,)
        self.normalized_shape = tuple(check_count("LayerNorm", "normalized_shape", length) for length in lengths)
        self.eps = eps
        self.weight = new_parameter(self.normalized_shape, dtype, 1.0) if elementwise_affine else None
        self.bias = new_parameter(self.normalized_shape, dtype) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        """Return `x`, (..., *normalized_shape), normalised."""
        return ops.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return the settings."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"
