"""Where every element of a gradient comes from: the vector-Jacobian product of one use, taken apart into terms.

Nothing here is looked up in a table of operations. A vector-Jacobian product is linear in the cotangent, so it is
asked, on cotangents chosen for the purpose, what kind of linear map it is; the answer is checked on random numbers and
on the cotangent of the pass itself before it is believed. An operation declared outside this package is traced alike.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_bc.derivation.backward import Contribution
from tinygrad_bc.record import Array, Value

__all__ = ["LARGEST", "Trace", "Tracer", "pull_back", "rebuilt"]

LARGEST = 200_000
"""The most elements of an array whose gradient is traced, and of a Jacobian that is found element by element."""
MOST_CALLS = 20_000  # of VJPs for one page: each element of an operation's result takes one
MOST_TERMS = 500_000  # of Jacobians for one page

Pull = Callable[[Array], Array]


@dataclass(frozen=True, eq=False)
class Trace:
    """The terms of a vector-Jacobian product, before sums over broadcast axes.

    Attributes
    ----------
    kind
        ``elementwise``: product = g ∘ factor. ``matmul``: the product of g and the transposed other operand.
        ``spread``: product[i] = g[index[i]] · factor[i], where an index of −1 says that nothing arrives.
        ``sparse``: product[i] = Σ g[index[k]] · factor[k] for k from starts[i] to starts[i + 1].
        ``none``: not traced, for the `reason` given.
    factor, index, starts
        The arrays of these formulas. Indices count elements in C order.
    """

    kind: str
    factor: Array | None = None
    index: Array | None = None
    starts: Array | None = None
    reason: str = ""


def pull_back(contribution: Contribution, g: Array) -> Array:
    """Return the vector-Jacobian product of a use with another cotangent, not summed over broadcast axes."""
    node: Any = contribution.user.node
    inputs = [x._array if isinstance(x, Value) else x for x in node.inputs]
    vjp = next(itertools.islice(node.op.vjps, contribution.position, None))
    with np.errstate(all="ignore"):  # a derivative of 1/0 is shown as it is, and said to be infinite
        return np.asarray(vjp(g, contribution.user._array, *inputs, **node.params), dtype=np.float64)


class Tracer:
    """Traces the contributions of one backward pass, within limits for all of them together."""

    def __init__(self) -> None:
        self.calls = MOST_CALLS
        self.terms = MOST_TERMS

    def trace(self, contribution: Contribution, g: Array) -> Trace:
        """Return the terms of a contribution.

        Parameters
        ----------
        contribution
            One use of a value.
        g
            The cotangent of what was computed there.
        """
        product = contribution.unreduced._array
        if max(g.size, product.size) > LARGEST:
            return Trace("none", reason=f"arrays of more than {LARGEST:,} elements are not traced")
        if not product.size or not g.size:
            return Trace("none", reason="there are no elements")

        def pull(cotangent: Array) -> Array:
            return pull_back(contribution, cotangent)

        for trace in (_matmul(contribution), _elementwise(pull, g.shape), _spread(pull, g.shape)):
            if trace is not None and _agrees(rebuilt(trace, contribution, g), product, _size_of_terms(trace, g)):
                return trace
        return self._sparse(pull, contribution, g)

    def _sparse(self, pull: Pull, contribution: Contribution, g: Array) -> Trace:
        product = contribution.unreduced._array
        if g.size * product.size > LARGEST or g.size > self.calls:
            return Trace(
                "none",
                reason=f"every element may depend on each of {g.size:,} others: not traced for arrays of this size",
            )
        self.calls -= g.size
        jacobian = np.array([pull(unit.reshape(g.shape)).ravel() for unit in np.eye(g.size)])
        element, source = np.nonzero(jacobian.T)
        if element.size > self.terms:
            return Trace("none", reason="the page holds as many traced terms as it can")
        self.terms -= element.size
        starts = np.searchsorted(element, np.arange(product.size + 1))
        trace = Trace("sparse", factor=jacobian[source, element], index=source, starts=starts)
        if _agrees(rebuilt(trace, contribution, g), product, _size_of_terms(trace, g)):
            return trace
        return Trace("none", reason="no terms were found that add up to the numbers of the pass")


def rebuilt(trace: Trace, contribution: Contribution, g: Array) -> Array:
    """Return what the terms of a trace add up to: the product that they explain."""
    shape = contribution.unreduced.shape
    factor: Any = trace.factor
    index: Any = trace.index
    g = g.astype(np.float64)
    with np.errstate(all="ignore"):
        if trace.kind == "elementwise":
            return g * factor
        if trace.kind == "matmul":
            node: Any = contribution.user.node
            a, b = (x._array for x in node.inputs)
            return np.asarray(g @ b.T if contribution.position == 0 else a.T @ g)
        if trace.kind == "spread":
            return np.where(index < 0, 0.0, g.ravel()[index] * factor).reshape(shape)
        starts: Any = trace.starts
        element = np.repeat(np.arange(starts.size - 1), np.diff(starts))
        return np.bincount(element, weights=g.ravel()[index] * factor, minlength=int(np.prod(shape))).reshape(shape)


def _matmul(contribution: Contribution) -> Trace | None:
    node: Any = contribution.user.node
    matrices = all(isinstance(x, Value) and len(x.shape) == 2 for x in node.inputs)
    return Trace("matmul") if node.op.name == "matmul" and matrices else None


def _elementwise(pull: Pull, shape: tuple[int, ...]) -> Trace | None:
    factor = pull(np.ones(shape))
    if factor.shape != shape:
        return None
    probe = _random(shape)
    with np.errstate(all="ignore"):
        return Trace("elementwise", factor=factor) if _agrees(probe * factor, pull(probe)) else None


def _spread(pull: Pull, shape: tuple[int, ...]) -> Trace | None:
    """Look for a map that takes every element from one other: where from is read off a cotangent of numbers."""
    count = int(np.prod(shape))
    factor = pull(np.ones(shape))
    numbered = pull(np.arange(1.0, count + 1).reshape(shape))
    with np.errstate(all="ignore"):
        quotient = np.rint(numbered / factor) - 1
        arrives = (factor != 0) & (quotient >= 0) & (quotient < count)  # also refuses NaN
        index = np.where(arrives, quotient, -1).astype(np.intp)
        probe = _random(shape)
        expected = np.where(arrives, probe.ravel()[index] * factor, 0.0)
    return Trace("spread", factor=factor, index=index) if _agrees(expected, pull(probe)) else None


def _random(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).uniform(1, 2, shape)


def _size_of_terms(trace: Trace, g: Array) -> float:
    """Return how large a term can be: where terms cancel, it says what their rounding amounts to."""
    return _largest(g) * _largest(trace.factor) if trace.factor is not None else 0.0


def _largest(array: Array) -> float:
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0))


def _agrees(ours: Array, theirs: Array, scale: float = 0.0) -> bool:
    """Return whether two arrays are the same to the rounding of the second one's dtype, in numbers up to `scale`."""
    if ours.shape != theirs.shape:
        return False
    epsilon = np.finfo(theirs.dtype).eps if theirs.dtype.kind == "f" else np.finfo(np.float64).eps
    tolerance = min(1e4 * float(epsilon), 0.05)
    scale = max(scale, _largest(theirs))
    return bool(np.allclose(ours, theirs, rtol=tolerance, atol=tolerance * scale, equal_nan=True))
