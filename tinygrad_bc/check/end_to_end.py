"""The gradient of the whole function, end to end, input by input."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import element, numbers, sample, signed
from tinygrad_bc.check.differences import Judgement, Kind, Lines, judge, quick_slopes, slopes
from tinygrad_bc.check.run import Run, Settings, described
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import Array
from tinygrad_bc.tensor import Tensor

__all__ = ["Total", "check_end_to_end"]

DIRECTIONS = 3
SMALL_JACOBIAN = 400


class Total(NamedTuple):
    """The gradient with respect to one input, checked.

    Attributes
    ----------
    name, shape
        Of the input.
    where : ndarray
        The flat indices of the elements that were checked.
    judgement : Judgement
        In arrays of shape (number of cotangents, number of elements and then directions).
    jacobian : bool
        Whether the cotangents were random ones and then every unit vector: the full Jacobian.
    rounding : float
        For an input of lower precision than float64: how far the gradient is from the one computed in float64, relative
        to the largest element, in units of the precision; else 0.
    """

    name: str
    shape: tuple[int, ...]
    where: Array
    judgement: Judgement
    jacobian: bool = False
    rounding: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether nothing was found wrong."""
        return not self.judgement.wrong.any()

    @property
    def directions(self) -> int:
        """How many random directions were checked."""
        return self.judgement.analytic.shape[1] - len(self.where)

    @property
    def worst(self) -> tuple[int, ...]:
        """The index of the element that is off most; () if only a direction is, or there is none."""
        return self._place[1]

    @property
    def analytic(self) -> float:
        """The derivative at the worst element."""
        return float(self.judgement.analytic[self._worst]) if self.judgement.analytic.size else 0.0

    @property
    def numeric(self) -> float:
        """The finite difference at the worst element."""
        return float(self.judgement.numeric[self._worst]) if self.judgement.numeric.size else 0.0

    @property
    def _worst(self) -> tuple[int, ...]:
        misses = self._misses()
        if not misses.size or not self.ok:
            return self.judgement.worst() if misses.size else (0, 0)
        return tuple(map(int, np.unravel_index(np.argmax(misses), misses.shape)))

    @property
    def _place(self) -> tuple[str, tuple[int, ...]]:
        column = self._worst[1]
        if column >= len(self.where):
            return "in a random direction", ()
        return element(self.name, self.where[column], self.shape)

    def _misses(self) -> Array:
        """Return the differences; -1 where they say nothing."""
        j = self.judgement
        with np.errstate(invalid="ignore"):
            return np.where(j.kinked | j.singular.any(axis=0), -1.0, np.abs(j.analytic - j.numeric))

    def __str__(self) -> str:
        if self.ok:
            unsmooth = (self.judgement.kinked | self.judgement.singular)[:, : len(self.where)].any(axis=0).sum()
            beside = f", kinks {unsmooth}" if unsmooth else ""
            largest = max(0.0, self._misses().max(initial=0.0))
            return f"ok    {self.name} {self.shape}: largest difference {largest:.1e}{beside}"
        return (
            f"WRONG {self.name} {self.shape}: {self._place[0]}: analytic {self.analytic:+.9g}, finite differences "
            f"{self.numeric:+.9g}"
        )


def check_end_to_end(run: Run, settings: Settings) -> tuple[list[Total], str]:
    """Check the whole, input by input; return also what kept the backward pass from coming to its end, or ''."""
    rng = settings.rng()
    outputs = [y for y in run.outputs if y.dtype.kind == "f"]
    size = sum(numbers(y).size for y in outputs)
    largest = max(numbers(x).size for x in run.checked)
    jacobian = settings.thorough and size > 1 and size * largest <= SMALL_JACOBIAN
    weights = signed((2 if settings.thorough else 1, size), rng)
    if jacobian:
        weights = np.concatenate([weights, np.eye(size)])
    for y in outputs:  # cotangents that every output can hold exactly
        weights = weights.astype(y.dtype).astype(float)
    try:
        analytic = _gradients(outputs, run.checked, weights)
    except Exception as error:  # whatever a VJP may raise
        return [], f"the backward pass stops: {described(error)}"
    exact = analytic
    if not run.is_double:
        exact = _gradients([run.twins[y] for y in outputs], [run.twins.get(x, x) for x in run.checked], weights)
    totals = []
    for name, x, given, precise in zip(run.titles, run.checked, analytic, exact):
        total = _total(run, settings, rng, name, x, weights, precise)
        rounding = 0.0 if run.is_double else _rounding(given, precise, x)
        totals.append(total._replace(jacobian=jacobian, rounding=rounding))
    _refuse_independence(run, totals)
    return totals, ""


def _gradients(outputs: Sequence[Any], inputs: Sequence[Any], weights: Array) -> list[Array]:
    """Return for every input the gradients for all cotangents, of shape (p, *shape of the input)."""
    results = [np.zeros((len(weights), *x.shape)) for x in inputs]
    recorded = [y._requires_grad for y in outputs]
    if not any(recorded):
        return results
    ends = np.cumsum([numbers(y).size for y in outputs])[:-1]
    for row, cotangent in enumerate(weights):
        parts = [g.reshape(y.shape) for g, y in zip(np.split(cotangent, ends), outputs)]
        found = grad(list(compress(outputs, recorded)), inputs, list(compress(parts, recorded)), allow_unused=True)
        for result, g in zip(results, found):
            if g is not None:
                result[row] = numbers(g)
    return results


def _total(
    run: Run, settings: Settings, rng: np.random.Generator, name: str, x: Tensor, weights: Array, analytic: Array
) -> Total:
    """Check the gradients `analytic` with respect to `x`, one for each cotangent in the rows of `weights`."""
    data = numbers(x).astype(float)
    where, tried = sample(data, rng, directions=DIRECTIONS)
    flat = analytic.reshape(len(weights), -1)
    expected = np.concatenate([flat[:, where], *(flat @ direction.reshape(-1, 1) for direction in tried)], axis=1)
    lines = Lines(partial(run.outputs_at, x), data, weights, [*map(int, where), *tried])
    found = slopes(lines) if settings.thorough else quick_slopes(lines, expected, settings.tolerance)
    judgement = judge(expected, found, settings.tolerance)
    # A direction in which there is a kink, or the edge of the domain, says nothing: many elements move at once.
    unclear = (found.kind != Kind.SMOOTH) & (np.arange(expected.shape[1]) >= len(where))
    unclear |= judgement.singular.any(axis=0)  # for other cotangents, the derivative there is 0 · ∞
    return Total(name, x.shape, where, judgement._replace(wrong=judgement.wrong & ~unclear))


def _rounding(analytic: Array, exact: Array, x: Tensor) -> float:
    largest = np.abs(exact).max(initial=0.0) or 1.0
    return float(np.abs(analytic - exact).max(initial=0.0) / largest / np.finfo(x.dtype).eps)


def _refuse_independence(run: Run, totals: Sequence[Total]) -> None:
    nothing = all(not (t.judgement.analytic.any() or t.judgement.numeric.any()) for t in totals)
    if nothing and any(numbers(x).size for x in run.checked) and not any(x in run.graph for x in run.checked):
        raise GradientError(
            "gradcheck: what fn returns was not computed from the inputs it is given, but from other tensors or none"
        )
