"""One run of the function to be checked: what it recorded, the same in double precision, and what values are called."""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.check.differences import Tolerance
from tinygrad_bc.errors import DTypeError, GradientError
from tinygrad_bc.record import Array, Graph, Value, as_values
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["Run", "Settings", "described"]


class Settings(NamedTuple):
    """How to check: from which seed to draw, what to accept, and how much to look at.

    `thorough`: every operation is checked by itself and everything is extrapolated; else only what looks wrong.
    """

    seed: int
    tolerance: Tolerance
    thorough: bool

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
    double : Graph
        The same in double precision, where finite differences mean something.
    is_double : bool
        Whether that is the same thing.
    twins : dict
        The value in `double` for each in `graph`.

    Raises
    ------
    GradientError, DTypeError
        If there is nothing that can be checked.
    """

    def __init__(self, fn: Callable[..., Any], inputs: Sequence[Tensor], variables: Mapping[int, str]) -> None:
        if not callable(fn):
            raise DTypeError(
                f"gradcheck: expected a function of the inputs, got its result, {type(fn).__name__}: write it as "
                "lambda x: ..., so that it can be computed at other points too"
            )
        self.fn = fn
        self.tensors = [tensor(x, requires_grad=x.requires_grad, name=x.name) for x in inputs]
        self.checked = [x for x in self.tensors if x.requires_grad]
        if not self.checked:
            raise GradientError(
                "gradcheck: no input requires a gradient, so there is nothing to check: create it with "
                "tensor(..., requires_grad=True)"
            )
        parameters = _parameters(fn)
        named = ((x.name or parameters.get(i) or variables.get(id(x)) or "") for i, x in enumerate(inputs))
        self._known: dict[Value, str] = dict(zip(self.tensors, named))
        self.titles = [self._known[x] or f"input {i}" for i, x in enumerate(self.tensors) if x.requires_grad]
        self.outputs = as_values(fn(*self.tensors), "gradcheck: what fn returns")
        self._refuse_what_cannot_be_checked()
        self.graph = self.double = Graph(self.outputs, self.checked)
        self.is_double = all(x.dtype.kind != "f" or x.dtype.itemsize >= 8 for x in self.graph)
        self.twins = {value: value for value in self.graph} if self.is_double else _recomputed(self.graph)
        if not self.is_double:
            self.double = Graph(
                [self.twins[y] for y in self.outputs], [self.twins[x] for x in self.checked if x in self.twins]
            )

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

    def outputs_at(self, x: Tensor, data: Array) -> Array:
        """Return all outputs, in one array of one axis, with other data for the input `x`.

        In low precision it is the record that is run again, in double precision; or else `fn`, whatever it recorded.
        """
        arrays: Sequence[Array]
        if self.is_double:
            moved = tensor(data, requires_grad=True, name=x.name)  # fn may itself ask for a gradient
            arrays = [numbers(y) for y in as_values(self.fn(*[moved if t is x else t for t in self.tensors]), "fn")]
        else:
            arrays = self.double.evaluate({self.twins[x]: data} if x in self.graph else {})
        arrays = [y.ravel() for y in arrays if y.dtype.kind == "f"]
        return np.concatenate(arrays) if arrays else np.zeros(0)

    @cached_property
    def originals(self) -> dict[Value, Value]:
        """The recorded value for each in `double`."""
        return {twin: value for value, twin in self.twins.items()}

    def name(self, value: Value) -> str:
        """Return the name of a value in `double`: its own, the caller's, or what its line assigns to; '' if none."""
        value = self.originals.get(value, value)
        return value.name or self._known.get(value) or self._assigned.get(value, "")

    @cached_property
    def _assigned(self) -> dict[Value, str]:
        """The variables that the lines assign to which recorded the values; of several on a line, the last is meant."""
        last = {(node.filename, node.lineno): value for value in self.graph if (node := self.graph.node(value))}
        found = {value: re.match(r"(\w+) = ", node.source) for value in last.values() if (node := value.node)}
        return {value: match[1] for value, match in found.items() if match}


def _parameters(fn: Callable[..., Any]) -> dict[int, str]:
    """Return what `fn` calls its arguments, by position."""
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (TypeError, ValueError):  # it does not say
        return {}
    named = itertools.takewhile(lambda p: p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD), parameters)
    return {i: p.name for i, p in enumerate(named)}


def _recomputed(graph: Graph) -> dict[Value, Value]:
    """Return each value of `graph` computed again in double precision."""
    twins: dict[Value, Value] = {}
    for value in graph:
        node = graph.node(value)
        if node is None:
            dtype = np.float64 if value.dtype.kind == "f" else None
            twins[value] = tensor(numbers(value), dtype=dtype, requires_grad=value._requires_grad, name=value.name)
        else:
            inputs = [twins[x] if isinstance(x, Value) else x for x in node.inputs]
            twins[value] = node.op(*inputs, **{name: _widened(x) for name, x in node.params.items()})
    return twins


def _widened(x: Any) -> Any:
    """Return a parameter of an operation; in the place of a shorter floating-point type, float64."""
    return np.dtype(np.float64) if isinstance(x, np.dtype) and x.kind == "f" else x


def described(error: Exception) -> str:
    """Return an error with its notes."""
    return "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
