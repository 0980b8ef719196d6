"""One run of the function to be checked, and what it recorded."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.check.double import Double, is_double
from tinygrad_bc.check.faults import Names
from tinygrad_bc.check.judgement import Tolerance
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import Array, Graph, as_values
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["Run", "Settings", "described"]


class Settings:
    """How to check.

    Attributes
    ----------
    seed : int
        What is drawn at random is drawn from this.
    tolerance : Tolerance
    thorough : bool
        Whether every operation is checked by itself and everything is extrapolated, or only what looks wrong.
    """

    def __init__(self, seed: int, tolerance: Tolerance, thorough: bool) -> None:
        self.seed = seed
        self.tolerance = tolerance
        self.thorough = thorough

    def rng(self) -> np.random.Generator:
        """Return a fresh generator: what one check draws does not depend on another."""
        return np.random.default_rng(self.seed)


class Run:
    """One run of `fn` on copies of the inputs, and what was recorded.

    Attributes
    ----------
    tensors, checked : list of Tensor
        Copies of the inputs, and those among them that require a gradient.
    titles : list of str
        What the latter are called.
    outputs : list of Tensor
    graph : Graph
        From the outputs back to the inputs.
    double : Double
        The same in double precision.
    is_double : bool
        Whether that is the same thing.

    Raises
    ------
    GradientError, DTypeError
        If there is nothing that can be checked.
    """

    def __init__(self, fn: Callable[..., Any], inputs: Sequence[Tensor], variables: Mapping[int, str]) -> None:
        self.fn = fn
        self.tensors = [fresh_copy(x) for x in inputs]
        self.checked = [x for x in self.tensors if x.requires_grad]
        if not self.checked:
            raise GradientError(
                "gradcheck: no input requires a gradient, so there is nothing to check: create it with "
                "tensor(..., requires_grad=True)"
            )
        parameters = _parameters(fn)
        called = {
            fresh: x.name or parameters.get(i) or variables.get(id(x)) or f"input {i}"
            for i, (x, fresh) in enumerate(zip(inputs, self.tensors))
        }
        self.titles = [called[x] for x in self.checked]
        self.outputs = as_values(fn(*self.tensors), "gradcheck: what fn returns")
        self._refuse_what_cannot_be_checked()
        self.graph = Graph(self.outputs, self.checked)
        self.double = Double(self.graph)
        self.is_double = all(map(is_double, self.graph.values))
        self._known = {x: name for x, name in called.items() if not name.startswith("input ")}

    def names(self) -> Names:
        """Return what the values of the graph are called."""
        return Names(self.graph, self._known)

    def _refuse_what_cannot_be_checked(self) -> None:
        if not any(numbers(x).size for x in self.checked):
            return
        again = as_values(self.fn(*self.tensors), "gradcheck: what fn returns")
        for i, (y, other) in enumerate(zip(self.outputs, again)):
            if y.dtype.kind == "f" and not np.isfinite(numbers(y)).all():
                bad = numbers(y)[~np.isfinite(numbers(y))].flat[0]
                raise GradientError(
                    f"gradcheck: fn gives {bad} at these inputs (output {i}), where it has no derivative; move them"
                )
            if not np.array_equal(numbers(y), numbers(other)):
                raise GradientError(
                    "gradcheck: fn gives different results for the same inputs; seed what is random in it, or switch "
                    "dropout and the like off"
                )

    def outputs_of(self, x: Tensor, data: Array) -> Array:
        """Return all outputs, in one array of one axis, with other data for one of the inputs."""
        moved = tensor(data, requires_grad=True, name=x.name)  # fn may itself ask for a gradient
        outputs = as_values(self.fn(*[moved if t is x else t for t in self.tensors]), "fn")
        return _joined([numbers(y) for y in outputs if y.dtype.kind == "f"])

    def replayed(self, x: Tensor, data: Array) -> Array:
        """Return the same, in double precision, of what was recorded alone."""
        graph = self.double.graph
        values = graph.evaluate({self.double.twins[x]: data} if x in self.graph else {})
        return _joined([y for y in values if y.dtype.kind == "f"])


def _joined(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.ravel(a) for a in arrays]) if arrays else np.zeros(0)


def _parameters(fn: Callable[..., Any]) -> dict[int, str]:
    """Return what `fn` calls its arguments, by position."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # it does not say
        return {}
    named = itertools.takewhile(lambda p: p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD), parameters)
    return {i: p.name for i, p in enumerate(named)}


def fresh_copy(x: Tensor) -> Tensor:
    return tensor(x, requires_grad=x.requires_grad, name=x.name)


def described(error: Exception) -> str:
    """Return an error with its notes."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
