"""The gradient of the whole function, for all inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress
from typing import Any

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.check.run import Run, Settings, described
from tinygrad_bc.check.totals import SMALL_JACOBIAN, Total, check_total, cotangents
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import Array
from tinygrad_bc.tensor import Tensor

__all__ = ["check_end_to_end"]


def check_end_to_end(run: Run, settings: Settings) -> tuple[list[Total], str]:
    """Check the whole, input by input; return also what kept the backward pass from coming to its end, or ''."""
    rng = settings.rng()
    outputs = [y for y in run.outputs if y.dtype.kind == "f"]
    sizes = [numbers(y).size for y in outputs]
    largest = max(numbers(x).size for x in run.checked)
    jacobian = settings.thorough and sum(sizes) > 1 and sum(sizes) * largest <= SMALL_JACOBIAN
    weights = cotangents(sizes, jacobian, 2 if settings.thorough else 1, rng)
    for y in outputs:  # cotangents that every output can hold exactly
        weights = weights.astype(y.dtype).astype(float)
    try:
        analytic = _gradients(outputs, run.checked, weights)
    except Exception as error:  # whatever a VJP may raise
        return [], f"the backward pass stops: {described(error)}"
    exact = analytic
    if not run.is_double:
        twins = run.double.twins
        exact = _gradients([twins[y] for y in outputs], [twins.get(x, x) for x in run.checked], weights)
    totals = []
    for i, (name, x) in enumerate(zip(run.titles, run.checked)):
        total = check_total(
            name,
            partial(run.outputs_of if run.is_double else run.replayed, x),
            numbers(x).astype(float),
            weights,
            exact[i],
            rng=rng,
            tolerance=settings.tolerance,
            thorough=settings.thorough,
            jacobian=jacobian,
        )
        totals.append(total if run.is_double else total._replace(rounding=_rounding(analytic[i], exact[i], x)))
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


def _rounding(analytic: Array, exact: Array, x: Tensor) -> float:
    largest = np.abs(exact).max(initial=0.0) or 1.0
    return float(np.abs(analytic - exact).max(initial=0.0) / largest / np.finfo(x.dtype).eps)


def _refuse_independence(run: Run, totals: Sequence[Total]) -> None:
    nothing = all(not (t.judgement.analytic.any() or t.judgement.numeric.any()) for t in totals)
    if nothing and any(numbers(x).size for x in run.checked) and not any(x in run.graph for x in run.checked):
        raise GradientError(
            "gradcheck: what fn returns was not computed from the inputs it is given, but from other tensors or none"
        )
