"""The gradient of a function, checked against central differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.differences import central_differences
from tinygrad_bc.errors import DTypeError, GradientError
from tinygrad_bc.record import Array, as_values
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["GradcheckReport", "GradcheckRow", "gradcheck"]


class GradcheckRow(NamedTuple):
    """What was found for one input: the element where the two gradients differ most beyond the tolerance."""

    name: str
    shape: tuple[int, ...]
    ok: bool
    worst: tuple[int, ...]
    analytic: float
    numeric: float

    def __str__(self) -> str:
        verdict = "ok   " if self.ok else "WRONG"
        place = f"[{', '.join(map(str, self.worst))}]" if self.worst else ""
        return (
            f"{verdict} {self.name} {self.shape}: largest difference {abs(self.analytic - self.numeric):.2e} at "
            f"{self.name}{place}: analytic {self.analytic:+.9e}, finite differences {self.numeric:+.9e}"
        )


class GradcheckReport(NamedTuple):
    """The verdict on every input. True in a condition if all of them are right."""

    rows: tuple[GradcheckRow, ...]
    rtol: float
    atol: float

    def __bool__(self) -> bool:
        return all(row.ok for row in self.rows)

    def __str__(self) -> str:
        wrong = sum(not row.ok for row in self.rows)
        verdict = f"{wrong} of {len(self.rows)} gradients are WRONG" if wrong else "the gradients are right"
        head = f"gradcheck: {verdict} (tolerance {self.atol:.0e} + {self.rtol:.0e} · |finite difference|)"
        return "\n".join([head, *(f"  {row}" for row in self.rows)])

    def __repr__(self) -> str:
        return str(self)  # what pytest shows when `assert gradcheck(...)` fails


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
) -> GradcheckReport:
    """Compare the gradient of `fn` with central differences, element by element.

    The outputs are weighted with random numbers and added up, so that no two errors cancel.

    Parameters
    ----------
    fn : callable
        From tensors to a tensor or a sequence of tensors.
    inputs : Tensor or sequence of Tensor
        Where to check; float64. Those that do not require a gradient are passed on as they are.
    eps : float
        The step, for elements of size up to 1; for larger ones in proportion.
    rtol, atol : float
        A difference of up to ``atol + rtol * |finite difference|`` is accepted.

    Returns
    -------
    GradcheckReport
        True in a condition if the gradient is right; printed, it shows the worst element of each input.

    Raises
    ------
    DTypeError
        If an input to be checked is not float64: in less precision, differences say little.
    GradientError
        If no input requires a gradient, or `fn` gives different results for the same inputs.

    Examples
    --------
    >>> x = tensor([0.5, 2.0], requires_grad=True, name="x")
    >>> bool(gradcheck(lambda x: x.log() * x, x))
    True
    """
    tensors = [_fresh(x) for x in as_values(inputs, "gradcheck: inputs")]
    checked = [x for x in tensors if x.requires_grad]
    if not checked:
        raise GradientError("gradcheck: no input requires a gradient, so there is nothing to check")
    for i, x in enumerate(checked):
        if x.dtype != np.float64:
            raise DTypeError(f"gradcheck: {_title(x, i)} is {x.dtype}; finite differences need float64")
    outputs = as_values(fn(*tensors), "gradcheck: what fn returns")
    rng = np.random.default_rng(0)
    weights = [np.asarray(rng.uniform(0.5, 1.5, size=y.shape)) for y in outputs]
    analytic = grad(outputs, checked, weights, allow_unused=True)
    if all(g is None for g in analytic):
        raise GradientError("gradcheck: what fn returns was not computed from the inputs it is given")
    once, again = (_weighted(fn, tensors, weights) for _ in range(2))
    if not np.isfinite(once):
        raise GradientError(f"gradcheck: fn gives {once} at these inputs, where it has no derivative; move them")
    if once != again:
        raise GradientError("gradcheck: fn gives different results for the same inputs; seed what is random in it")
    rows = [
        _row(
            _title(x, i),
            x,
            np.zeros(x.shape) if g is None else g.data,
            _numeric(fn, tensors, x, weights, eps),
            rtol,
            atol,
        )
        for i, (x, g) in enumerate(zip(checked, analytic))
    ]
    return GradcheckReport(tuple(rows), rtol, atol)


def _fresh(x: Tensor) -> Tensor:
    return tensor(x, requires_grad=x.requires_grad, name=x.name)


def _title(x: Tensor, i: int) -> str:
    return x.name or f"input {i}"


def _weighted(fn: Callable[..., Any], tensors: Sequence[Tensor], weights: Sequence[Array]) -> float:
    return float(sum((y.data * w).sum() for y, w in zip(as_values(fn(*tensors), "fn"), weights)))


def _numeric(
    fn: Callable[..., Any], tensors: Sequence[Tensor], x: Tensor, weights: Sequence[Array], eps: float
) -> Array:
    def function(data: Array) -> float:
        moved = tensor(data, requires_grad=True, name=x.name)  # fn may itself ask for a gradient
        return _weighted(fn, [moved if t is x else t for t in tensors], weights)

    return central_differences(function, x.data, eps)


def _row(name: str, x: Tensor, analytic: Array, numeric: Array, rtol: float, atol: float) -> GradcheckRow:
    if not x.data.size:
        return GradcheckRow(name, x.shape, True, (), 0.0, 0.0)
    excess = np.abs(analytic - numeric) - (atol + rtol * np.abs(numeric))
    excess = np.where(np.isnan(excess), np.inf, excess)
    worst = tuple(int(i) for i in np.unravel_index(np.argmax(excess), x.shape))
    return GradcheckRow(name, x.shape, bool(excess[worst] <= 0), worst, float(analytic[worst]), float(numeric[worst]))
