"""Checking a gradient: every operation by itself, and the whole end to end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import signed
from tinygrad_bc.check.between import excused_by_kinks, lost_graph, wrong_between_operations
from tinygrad_bc.check.differences import Tolerance
from tinygrad_bc.check.end_to_end import check_end_to_end
from tinygrad_bc.check.operations import Derivative, derivatives
from tinygrad_bc.check.report import GradientReport, faults_in
from tinygrad_bc.check.run import Run, Settings, described
from tinygrad_bc.record import Value, as_values, user_frame
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["assert_gradients", "default_seed", "gradcheck", "gradients"]

Function = Callable[..., Any]

default_seed: ContextVar[int] = ContextVar("tinygrad_bc.check.seed", default=0)
"""What is drawn at random is drawn from this seed, if none is given. Fixed, so that a check that fails fails again."""


def gradients(
    fn: Function,
    inputs: Any,
    *,
    seed: int | None = None,
    rtol: float | None = None,
    atol: float | None = None,
    second_order: bool = False,
) -> GradientReport:
    """Check the gradient of `fn`: every operation in it by itself, and the whole end to end.

    Each vector-Jacobian product is compared, at the recorded values and for a random cotangent, with finite differences
    of its own operation. So what is wrong is laid on one operation, and the usual mistakes are tried to explain it. The
    gradient of the whole is compared with finite differences of `fn`, for random cotangents, and for
    all of them where the Jacobian is small. Of large inputs a sample of elements is checked, and random directions in
    which all move.

    Parameters
    ----------
    fn : callable
        From tensors to a tensor or a sequence of tensors.
    inputs : Tensor or sequence of Tensor
        Where to check. Those that do not require a gradient are passed on as they are. In lower precision than
        float64 the formulas are judged on a copy of the computation in float64, and the gradient's own
        rounding errors beside that.
    seed : int, optional
        What is drawn at random is drawn from it. By default 0, or what ``pytest --gradcheck-seed`` says.
    rtol, atol : float, optional
        A difference of up to ``atol + rtol * |derivative|`` is accepted, and the error of the finite differences
        on top. By default 1e-6, and 1e-9 times the largest derivative.
    second_order : bool
        Whether the gradient of the gradient is checked in the same way.

    Returns
    -------
    GradientReport
        True in a condition if nothing was found wrong. Printed, it says what is wrong, where and why, and what
        was not checked.

    Raises
    ------
    GradientError
        If no input requires a gradient, or `fn` gives different results for the same inputs, no numbers, or nothing
        that depends on the inputs.
    DTypeError
        If `fn` returns something other than tensors.

    Examples
    --------
    >>> x = tensor([0.5, 2.0], requires_grad=True, name="x")
    >>> bool(gradients(lambda x: x.log() * x, x))
    True
    """
    settings = Settings(default_seed.get() if seed is None else seed, Tolerance(rtol, atol), thorough=True)
    local = user_frame(1).f_locals.items()
    variables = {id(x): name for name, x in local if isinstance(x, Value) and not name.startswith("_")}
    return _check(fn, as_values(inputs, "gradients: inputs"), settings, variables, second_order)


def gradcheck(fn: Function, inputs: Any, *, rtol: float = 1e-5, atol: float = 1e-7) -> GradientReport:
    """Say whether the gradient of `fn` is right, end to end; the operations in it are looked at only if it is not.

    Parameters and errors are those of `gradients`, which checks more.

    Examples
    --------
    >>> x = tensor([0.5, 2.0], requires_grad=True, name="x")
    >>> bool(gradcheck(lambda x: x.log() * x, x))
    True
    """
    settings = Settings(default_seed.get(), Tolerance(rtol, atol), thorough=False)
    return _check(fn, as_values(inputs, "gradcheck: inputs"), settings, {})


def assert_gradients(fn: Function, inputs: Any, **options: Any) -> None:
    """Raise an AssertionError, whose message is the report, if the gradient of `fn` is wrong.

    Parameters are those of `gradients`.
    """
    __tracebackhide__ = True
    seed = options.pop("seed", None)
    seed = default_seed.get() if seed is None else seed
    report = gradients(fn, inputs, seed=seed, **options)
    if not report:
        raise AssertionError(f"{report}\nreproduce with pytest --gradcheck-seed={seed}")


def _check(
    fn: Function, inputs: Sequence[Tensor], settings: Settings, variables: Mapping[int, str], second_order: bool = False
) -> GradientReport:
    run = Run(fn, inputs, variables)
    with np.errstate(all="ignore"):  # there are steps out of the domain of fn
        return _report(run, settings, second_order)


def _report(run: Run, settings: Settings, second_order: bool) -> GradientReport:
    found: list[Derivative] = []
    if settings.thorough:
        found = list(derivatives(run.double, settings.rng(), settings.tolerance))
    totals, failure = check_end_to_end(run, settings)
    wrong = bool(failure) or not all(total.ok for total in totals)
    if wrong and not settings.thorough:
        found = list(derivatives(run.double, settings.rng(), Tolerance()))
    faults = faults_in(found, run)
    not_checked = _not_checked(run)
    if wrong and not faults and not failure and any(d.judgement.kinked.any() for d in found):
        totals, conventions = excused_by_kinks(run, totals, settings)
        not_checked = [conventions, *not_checked] if conventions else not_checked
        wrong = not all(total.ok for total in totals)
    if not run.is_double and not faults:  # what was recorded says nothing of what was not
        failure = failure or lost_graph(run)
    if wrong and not faults:
        failure = failure or wrong_between_operations(run, settings)
    return GradientReport(
        totals=tuple(totals),
        faults=faults,
        derivatives=tuple(found),
        failure="" if faults else failure,
        seed=settings.seed,
        not_checked=tuple(not_checked),
        second=_second_order(run, settings) if second_order else None,
        looked_inside=settings.thorough or wrong,
    )


def _not_checked(run: Run) -> list[str]:
    """Say what the check left out."""
    found = []
    others = [x for x in run.tensors if not x.requires_grad]
    if others:
        found.append(", ".join(f"{x.name or 'an input'} ({x.dtype}, requires no gradient)" for x in others))
    flat = {node.op.name for value in run.graph if (node := run.graph.node(value)) and not node.op.differentiable}
    if flat:
        found.append(f"jumps of {', '.join(sorted(flat))}, whose derivative is taken to be 0")
    unused = [name for name, x in zip(run.titles, run.checked) if x not in run.graph]
    if unused:
        found.append(f"{', '.join(unused)}: no output depends on it by way of the graph")
    return found


def _second_order(run: Run, settings: Settings) -> GradientReport | str:
    outputs = [y for y in run.outputs if y._requires_grad]
    rng = settings.rng()
    seeds = [
        tensor(signed(y.shape, rng).astype(y.dtype), requires_grad=True, name=f"g{i}" if i else "g")
        for i, y in enumerate(outputs)
    ]
    positions = [i for i, x in enumerate(run.tensors) if x.requires_grad]

    def gradient(*arguments: Tensor) -> list[Tensor]:
        cotangent, xs = arguments[: len(seeds)], arguments[len(seeds) :]
        results = [y for y in as_values(run.fn(*xs), "fn") if y._requires_grad]
        found = grad(results, [xs[i] for i in positions], list(cotangent), create_graph=True, allow_unused=True)
        return [g for g in found if g is not None]

    names = {id(x): name for x, name in zip(run.checked, run.titles) if not name.startswith("input ")}
    try:
        return _check(gradient, [*seeds, *run.tensors], settings, names)
    except Exception as error:  # a VJP that only works on arrays raises whatever NumPy does
        return f"the gradient cannot be differentiated again: {described(error)}"
