"""Whether a wrong rule is wrong at all: whether it gives other numbers than the right one anywhere."""

from __future__ import annotations

import contextlib
import functools
import warnings
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from mutants import Installed, Mutant, other_values

import tinygrad_bc as tg
from tinygrad_bc.primitive import Primitive, Sample

SEEDS = range(6)

Array = np.ndarray[Any, np.dtype[Any]]


def where_different(mutant: Mutant) -> tuple[str, str, Sample] | None:
    """Return an input on which the mutant differs from the right rule, described, and in which derivative.

    Compared are first and second derivatives, wherever the first is finite: on the operation's samples drawn anew, and
    then on inputs made from them: other numbers, shapes and parameters. A difference of first derivatives is preferred
    to one of second derivatives, and one of numbers to an error; None if there is no difference anywhere.
    """
    for inputs in (_drawn(mutant.op), _changed(mutant.op)):
        found = _differences(mutant, inputs)
        for kind in ("first", "error in first", "second", "error in second"):
            if kind in found:
                return found[kind]
    return None


def _differences(mutant: Mutant, inputs: Iterable[tuple[str, Sample]]) -> dict[str, tuple[str, str, Sample]]:
    """Return the first input for each kind of difference; the search ends when the first derivative is another."""
    found: dict[str, tuple[str, str, Sample]] = {}
    for described, sample in inputs:
        right = _known(mutant.op, described, sample)
        if right is None:
            continue
        for order, derivative, expected in zip(("first", "second"), (_first, _second), right, strict=True):
            try:
                with Installed(mutant):
                    kind = "" if _all_same(expected, derivative(mutant.op, sample)) else order
            except Exception:
                kind = f"error in {order}"
            if kind:
                found.setdefault(kind, (described, order, sample))
                break
        if "first" in found:
            break
    return found


REASONS = {
    "comparison": "both sides of the comparison give the same where it is decided otherwise",
    "condition": "the other case gives the same",
    "branches swapped": "both branches give the same",
    "branch always taken": "the other branch gives the same",
    "another parameter": "the rule does not depend on the parameter",
    "values of another operand": "only shape and dtype of the operand are used",
    "other operand": "only shape and dtype of the operand are used, and they are the same",
    "argument left out": "the default does the same",
    "axis": "there is one axis, or the result is the same along each",
    "call dropped": "the call does nothing here, or the backward pass does it",
    "arguments swapped": "the order does not matter",
    "constant": "the number does not matter",
    "operator": "both operators give the same here",
    "operand dropped": "the operand does nothing here",
    "rule of another input": "the rules are the same",
    "sign or negation dropped": "what is negated does not matter here",
    "transpose dropped": "the matrix is symmetric",
}

SYMMETRIC = {("cholesky", "last two axes transposed")}
"""Gradients of symmetric matrices."""


def reason(mutant: Mutant) -> str:
    """Return the class of reason for which a mutant that is nowhere different is no mistake; '' if there is none.

    Another sign or a lost element is one: if no input shows it, samples are missing.
    """
    if mutant.kind in REASONS:
        return REASONS[mutant.kind]
    if _is_always_zero(mutant.op):
        return "the gradient is 0 everywhere"
    return "the gradient is symmetric" if (mutant.op.name, mutant.kind) in SYMMETRIC else ""


@functools.cache
def _is_always_zero(op: Primitive) -> bool:
    known = [_known(op, *described) for described in _drawn(op)]
    return not any(np.any(x) for derivatives in known if derivatives is not None for x in derivatives[0])


def is_float_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _drawn(op: Primitive) -> Iterator[tuple[str, Sample]]:
    for seed in SEEDS:
        for i, sample in enumerate(op.samples(np.random.default_rng(seed))):
            yield f"sample {i}, seed {seed}", sample


def _changed(op: Primitive) -> Iterator[tuple[str, Sample]]:
    """Iterate over inputs that the operation's author did not think of; it may refuse them."""
    rng = np.random.default_rng(100)
    samples = list(op.samples(rng))
    for i, sample in enumerate(samples):
        for name, change in CHANGES.items():
            inputs = [change(x, rng) if is_float_array(x) else x for x in sample.inputs]
            yield f"sample {i} {name}", Sample(*inputs, **sample.params)
        if op.broadcasts:
            yield f"sample {i}, all of one shape", _of_one_shape(sample)
        for params in _other_parameters(sample, samples):
            yield f"sample {i} with {params}", Sample(*sample.inputs, **params)


def _of_one_shape(sample: Sample) -> Sample:
    try:
        shape = np.broadcast_shapes(*map(np.shape, sample.inputs))
    except ValueError:  # a matrix product broadcasts its batches alone
        return sample
    inputs = [x if isinstance(x, int | float) else np.array(np.broadcast_to(x, shape)) for x in sample.inputs]
    rng = np.random.default_rng(101)
    mixed = [rng.permutation(x.reshape(-1)).reshape(shape) if is_float_array(x) else x for x in inputs]
    return Sample(*mixed, **sample.params)


def _other_parameters(sample: Sample, samples: Iterable[Sample]) -> Iterator[dict[str, Any]]:
    """Iterate over the parameters of other samples, and over this one's with one of them changed."""
    yield from (other.params for other in samples if repr(other.params) != repr(sample.params))
    for name, value in sample.params.items():
        others: list[Any] = other_values(value)
        if isinstance(value, int) and not isinstance(value, bool):
            others = list(range(-3, 4))
        elif isinstance(value, tuple) and all(isinstance(n, int) for n in value):
            others.append(tuple(-n for n in value))
        yield from ({**sample.params, name: other} for other in others)


CHANGES: dict[str, Any] = {
    "with zeros": lambda x, rng: np.where(rng.random(x.shape) < 0.4, 0.0, x),
    "all zero": lambda x, rng: np.zeros(x.shape),
    "with ties": lambda x, rng: np.round(x * 0.7),
    "all one": lambda x, rng: np.ones(x.shape),
    "negated": lambda x, rng: -x,
    "times 40": lambda x, rng: 40 * x,
    "drawn anew": lambda x, rng: rng.normal(size=x.shape),
    "drawn anew, larger": lambda x, rng: 3 * rng.normal(size=x.shape),
    "in (0, 1)": lambda x, rng: rng.uniform(0.01, 0.99, size=x.shape),
    "with NaN and infinities": lambda x, rng: np.where(
        rng.random(x.shape) < 0.3, rng.choice([np.nan, np.inf, -np.inf], size=x.shape), x
    ),
    "all minus infinity": lambda x, rng: np.full(x.shape, -np.inf) if x.size > 1 else x,
}

Arrays = list[Array]


def _known(op: Primitive, described: str, sample: Sample) -> tuple[Arrays, Arrays] | None:
    """Return the right derivatives; None where the operation refuses such inputs, or they are not to be relied on."""
    key = (op.name, described)
    if key not in _right:
        try:
            first, second = _first(op, sample), _second(op, sample)
            finite = all(np.isfinite(x).all() for x in first)
            _right[key] = (first, second) if finite and _well_conditioned(op, sample, first, second) else None
        except Exception:
            _right[key] = None
    return _right[key]


def _well_conditioned(op: Primitive, sample: Sample, first: Arrays, second: Arrays) -> bool:
    """Whether derivatives hardly change when all inputs grow a little, or else when they shrink a little.

    Near a singular matrix both change them. At a threshold one of the two does; zeros and ties stay what they are.
    """

    def hardly_changes(factor: float) -> bool:
        nudged = Sample(*(x * factor if is_float_array(x) else x for x in sample.inputs), **sample.params)
        pairs = zip([*first, *second], [*_first(op, nudged), *_second(op, nudged)], strict=True)
        return all(_same(a, b, tolerance=1e-7) for a, b in pairs)

    return hardly_changes(1 + 2**-40) or hardly_changes(1 - 2**-40)


_right: dict[tuple[str, str], tuple[Arrays, Arrays] | None] = {}


def _applied(op: Primitive, sample: Sample) -> tuple[list[tg.Tensor], tg.Tensor, tg.Tensor]:
    """Return the inputs that a derivative is taken with respect to, the result, and a random cotangent for it."""
    inputs = [tg.tensor(x, requires_grad=True) if is_float_array(x) else x for x in sample.inputs]
    y = op(*inputs, **sample.params)
    g = np.random.default_rng(5).normal(size=y.shape)
    return [x for x in inputs if isinstance(x, tg.Tensor)], y, tg.tensor(g, requires_grad=True)


def _first(op: Primitive, sample: Sample) -> Arrays:
    """Return the gradient for a random cotangent."""
    with _quiet():
        xs, y, g = _applied(op, sample)
        return [x.data for x in tg.grad(y, xs, g)]


def _second(op: Primitive, sample: Sample) -> Arrays:
    """Return the gradient of a random product with the gradient."""
    with _quiet():
        xs, y, g = _applied(op, sample)
        rng = np.random.default_rng(6)
        pairs = [(d, rng.normal(size=d.shape)) for d in tg.grad(y, xs, g, create_graph=True)]
        pairs = [(d, v) for d, v in pairs if d.requires_grad]
        if not pairs:
            return []
        outputs, vs = zip(*pairs, strict=True)
        found = tg.grad(outputs, [g, *xs], list(vs), allow_unused=True)
        return [np.zeros(x.shape) if d is None else d.data for x, d in zip([g, *xs], found, strict=True)]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def _all_same(right: Arrays, wrong: Arrays) -> bool:
    return len(right) == len(wrong) and all(map(_same, right, wrong))


def _same(a: Array, b: Array, tolerance: float = 1e-6) -> bool:
    scale = np.abs(a[np.isfinite(a)]).max(initial=1.0)
    return a.shape == b.shape and np.allclose(a, b, rtol=tolerance, atol=1e-3 * tolerance * scale, equal_nan=True)
