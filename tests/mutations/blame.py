"""Whether the checker names the wrong operation, in a graph in which it is one among others."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from equivalence import is_float_array, where_different
from mutants import Installed, Mutant

import tinygrad_bc as tg
from tinygrad_bc.primitive import Primitive, Sample

NAMED = "named"

Array = np.ndarray[Any, np.dtype[Any]]


def verdict(mutant: Mutant, seed: int) -> str:
    """Return `NAMED` if the checker names the operation, and no other; else what it says instead.

    The graph is built around a sample on which the mutant's derivative is wrong, the second one if the first is right.
    """
    found = where_different(mutant)
    if found is None:
        return "the operation's own samples do not show it"
    described, order, sample = found
    fn, inputs = embedded(mutant.op, sample, np.random.default_rng(seed))
    with Installed(mutant), np.errstate(all="ignore"):
        try:
            report = tg.check.gradients(fn, inputs, second_order=order == "second")
        except Exception as error:
            notes = " ".join([str(error), *getattr(error, "__notes__", ())])
            return NAMED if f"`{mutant.op.name}`" in notes else f"{described}: raised {notes[:300]}"
    if order == "second" and isinstance(report.second, str):
        return NAMED if f"`{mutant.op.name}`" in report.second else f"{described}: {report.second[:300]}"
    if order == "second" and report.second is not None and not report.faults:
        report = report.second
    names = {fault.op for fault in report.faults} or set(re.findall(r"in the VJP of `(\w+)`", report.failure))
    if names == {mutant.op.name}:
        return NAMED
    said = report.failure or str(report).partition("\n")[0]
    what = f"blamed {', '.join(sorted(names))}" if names else f"blamed none: {' '.join(said.split())[:200]}"
    return f"{described}, {order} derivative: {what}; inputs from {', '.join(x.name or '' for x in inputs)}"


def embedded(
    op: Primitive, sample: Sample, rng: np.random.Generator
) -> tuple[Callable[..., tg.Tensor], Sequence[tg.Tensor]]:
    """Return a function with `op` in the middle, and its inputs.

    What goes into `op` comes out of other operations, which give the numbers of the sample exactly; its result is used
    twice, by further operations.
    """
    leaves: list[tg.Tensor] = []
    origins: list[Any] = []
    for x in sample.inputs:
        if not is_float_array(x):
            origins.append((None, x))
            continue
        possible = [found for origin in ORIGINS if (found := origin(x, rng)) is not None]
        parts, rebuild = possible[rng.integers(len(possible))]
        first = len(leaves)
        leaves += [
            tg.tensor(part, requires_grad=True, name=f"{rebuild.__name__}{first + i}") for i, part in enumerate(parts)
        ]
        origins.append((slice(first, len(leaves)), rebuild))

    def function(*tensors: tg.Tensor) -> tg.Tensor:
        inputs = [x if place is None else x(*tensors[place]) for place, x in origins]
        y = op(*inputs, **sample.params)
        weights = np.random.default_rng(11).uniform(0.5, 1.5, size=(2, *y.shape))
        z = tg.tanh(y * weights[0] * 0.5) + y * weights[1]
        return (z.sum() + (z * weights[0]).sum()) / (3.0 + z.data.size)

    return function, leaves


# --- where inputs come from ----------------------------------------------------------------------
#
# Each takes an array apart and returns the parts, and the function of tensors that puts them together again without
# any rounding: a sample may sit on a tie or a zero on purpose.

Origin = Callable[[Array, np.random.Generator], "tuple[list[Array], Callable[..., Any]] | None"]


def _halves(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]]:
    def added(a: Any, b: Any) -> Any:
        return a + b

    return [x / 2, x / 2], added


def _half(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]]:
    def doubled(a: Any) -> Any:
        return a * 2.0

    return [x / 2], doubled


def _permuted_rows(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]] | None:
    if x.ndim != 2 or not x.size or not np.isfinite(x).all():
        return None
    P = np.eye(len(x))[rng.permutation(len(x))]

    def linear(a: Any) -> Any:
        return P @ a

    return [P.T @ x], linear


def _turned(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]] | None:
    if x.ndim < 2:
        return None

    def transposed(a: Any) -> Any:
        return tg.permute(a, range(x.ndim)[::-1])

    return [x.transpose()], transposed


def _flat(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]]:
    def reshaped(a: Any) -> Any:
        return tg.reshape(a, x.shape)

    return [x.reshape(-1)], reshaped


def _parts(x: Array, rng: np.random.Generator) -> tuple[list[Array], Callable[..., Any]] | None:
    if not x.ndim or len(x) < 2:
        return None

    def joined(a: Any, b: Any) -> Any:
        return tg.concatenate([a, b])

    return [x[:1], x[1:]], joined


ORIGINS: list[Origin] = [_halves, _half, _permuted_rows, _turned, _flat, _parts]
