"""Averages of the parameters over the steps of a training run: often better than where the run ends."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygrad_bc.autograd import no_grad
from tinygrad_bc.errors import ArgumentError, DTypeError, ShapeError
from tinygrad_bc.optim.optimizer import checked_parameters, title
from tinygrad_bc.record import Array, note_change, refuse_while_capturing, tracer
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.tracing import Cell, Tracer

__all__ = ["AveragedParameters", "ema", "swa"]


class AveragedParameters:
    """A running average of parameters, beside them, that can take their place for a while.

    With n averaged so far, θ being a parameter and a its average, `update` computes::

        a ← a + (θ − a)/(n + 1)             (decay=None: the mean of all; SWA)
        a ← decay·a + (1 − decay)·θ         (the exponential moving average; EMA)

    The first `update` copies. Statistics that a model keeps beside its parameters, as batch normalisation does, are
    not averaged: compute them anew for the averaged model.

    Parameters
    ----------
    params : iterable of Tensor
        The parameters.
    decay : float, optional
        How much of the average is kept in an update; at least 0 and less than 1.

    Attributes
    ----------
    averages : list of ndarray
        The average of each parameter.
    n_averaged : int
        How many times `update` was called.

    Raises
    ------
    ArgumentError, GradientError
        If there are no parameters, one is given twice or cannot be updated, or `decay` is out of range.

    References
    ----------
    Polyak, Juditsky (1992), Acceleration of stochastic approximation by averaging. Izmailov, Podoprikhin,
    Garipov, Vetrov, Wilson (2018), Averaging weights leads to wider optima and better generalization, algorithm 1.

    Examples
    --------
    >>> from tinygrad_bc import tensor
    >>> W = tensor([1.0, 2.0], requires_grad=True)
    >>> average = AveragedParameters([W])
    >>> average.update()
    >>> W.data = [3.0, 4.0]
    >>> average.update()
    >>> with average.applied():
    ...     print(W)
    tensor([2., 3.], requires_grad=True)
    """

    def __init__(self, params: Iterable[Tensor], decay: float | None = None) -> None:
        if decay is not None and not 0 <= decay < 1:
            raise ArgumentError(f"decay must be at least 0 and less than 1, got {decay!r}")
        self.parameters = checked_parameters(params, type(self).__name__)
        self.decay = decay
        self.n_averaged = 0
        self.averages = [np.array(p._array) for p in self.parameters]
        self._set_aside: list[Array] | None = None

    def update(self) -> None:
        """Take the parameters, as they are now, into the average."""
        self._refuse_while_applied("update")
        if (tracing := tracer.get()) is not None:
            self._captured_update(tracing)
            return
        share = 1 / (self.n_averaged + 1) if self.decay is None or self.n_averaged == 0 else 1 - float(self.decay)
        for average, parameter in zip(self.averages, self.parameters, strict=True):
            if share == 1:
                np.copyto(average, parameter._array)
            else:
                average += share * (parameter._array - average)
        self.n_averaged += 1

    def _captured_update(self, tracing: Tracer) -> None:
        """Record the update while a function is captured."""
        n = tracing.live(lambda: self.n_averaged, "n_averaged")
        share = 1 / (n + 1) if self.decay is None or n == 0 else 1 - float(self.decay)
        whole = share == 1
        with no_grad():
            for i, parameter in enumerate(self.parameters):
                average = tracing.cell(functools.partial(self._average, i), f"average_{parameter.name or i}")
                now = Cell(tracing.now(parameter), tracing)
                if whole:
                    average.become(now.value)
                else:
                    average += share * (now - average)
        tracing.act(lambda: self._count(1), lambda: self._count(-1))

    def _average(self, i: int) -> Array:
        return self.averages[i]

    def _count(self, updates: int) -> None:
        self.n_averaged += updates

    def apply(self) -> None:
        """Put the averages into the parameters, whose own values are set aside until `restore`."""
        self._refuse_while_applied("apply")
        if self.n_averaged == 0:
            raise ArgumentError("there is no average yet: call update() after some of the steps")
        self._set_aside = [np.array(p._array) for p in self.parameters]
        _write(self.parameters, self.averages)

    def restore(self) -> None:
        """Give the parameters their own values back."""
        if self._set_aside is None:
            raise ArgumentError("nothing to restore: apply() was not called before")
        _write(self.parameters, self._set_aside)
        self._set_aside = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the averages be the parameters inside a ``with`` block, also when that ends with an error."""
        self.apply()
        try:
            yield
        finally:
            self.restore()

    def _refuse_while_applied(self, what: str) -> None:
        if self._set_aside is not None:
            raise ArgumentError(f"{what}(): the parameters are their averages at present; call restore() first")

    def state_dict(self) -> dict[str, Any]:
        """Return the averages, copied, and how many they are of."""
        return {"n_averaged": self.n_averaged, "averages": [np.array(average) for average in self.averages]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, for the same parameters; all of it is checked first."""
        saved = [np.array(average) for average in state_dict["averages"]]
        if len(saved) != len(self.parameters):
            raise ArgumentError(f"{len(self.parameters)} parameters, but {len(saved)} averages were saved")
        for average, parameter in zip(saved, self.parameters, strict=True):
            if average.shape != parameter.shape:
                raise ShapeError(f"{title(parameter)} has shape {parameter.shape}, its saved average {average.shape}")
            if average.dtype != parameter.dtype:
                raise DTypeError(f"{title(parameter)} has dtype {parameter.dtype}, its saved average {average.dtype}")
        self.averages, self.n_averaged = saved, int(state_dict["n_averaged"])


def swa(params: Iterable[Tensor]) -> AveragedParameters:
    """Return stochastic weight averaging: the mean of the parameters at each `update`."""
    return AveragedParameters(params)


def ema(params: Iterable[Tensor], decay: float = 0.999) -> AveragedParameters:
    """Return an exponential moving average: `decay` of it is kept in each `update`."""
    return AveragedParameters(params, decay)


def _write(parameters: list[Tensor], arrays: list[Array]) -> None:
    refuse_while_capturing("Putting averages into parameters", "Do so outside of the captured function")
    for parameter, array in zip(parameters, arrays, strict=True):
        data = parameter._own_memory()
        note_change(parameter)
        np.copyto(data, array)
