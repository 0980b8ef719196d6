"""Three answers to one question: the recorded graph, formulas derived by hand, and finite differences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.differences import central_differences, one_sided_differences
from tinygrad_bc.errors import GradientError, ShapeError
from tinygrad_bc.record import Array, Graph
from tinygrad_bc.tensor import Tensor

__all__ = ["FormulaReport", "FormulaRow", "formulas"]


class FormulaRow(NamedTuple):
    """How far one derivative is from the formula and from finite differences, relative to its largest entry."""

    name: str
    shape: tuple[int, ...]
    formula: float
    finite_differences: float
    kinks: int


class FormulaReport(NamedTuple):
    """One row per derivative. True in a condition if every difference is within its tolerance."""

    rows: tuple[FormulaRow, ...]
    formula_tolerance: float
    finite_difference_tolerance: float

    @property
    def worst_formula(self) -> float:
        """The largest relative difference from the formulas."""
        return float(np.max([row.formula for row in self.rows]))

    @property
    def worst_finite_difference(self) -> float:
        """The largest relative difference from finite differences."""
        return float(np.max([row.finite_differences for row in self.rows]))

    def __bool__(self) -> bool:
        return (
            self.worst_formula <= self.formula_tolerance
            and self.worst_finite_difference <= self.finite_difference_tolerance
        )

    def __str__(self) -> str:
        lines = [f"{'derivative':<12}{'shape':<12}{'vs formula':>12}{'vs finite diff.':>17}  kinks"]
        lines += [
            f"{row.name:<12}{'×'.join(map(str, row.shape)):<12}{row.formula:>12.1e}"
            f"{row.finite_differences:>17.1e}  {row.kinks or ''}".rstrip()
            for row in self.rows
        ]
        return "\n".join(lines)


def formulas(
    loss: Tensor,
    derivatives: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    *,
    eps: float = 1e-5,
    formula_tolerance: float = 1e-12,
    finite_difference_tolerance: float = 1e-6,
) -> FormulaReport:
    """Compare derivatives of `loss` from the recorded graph with formulas and with finite differences.

    For finite differences the rest of the graph is run again from the tensor in question with one
    element moved, also where that tensor was computed on the way.

    Where central differences come near to disagreeing with the recorded graph, the slopes on the two
    sides are computed, with shorter steps. If these agree with each other, their mean is taken. Otherwise
    the element sits on a kink (a relu at exactly 0), where a central difference means nothing: then the
    nearer of the two slopes is taken, and the report counts it.

    Parameters
    ----------
    loss : Tensor
        A recorded number, float64.
    derivatives : mapping of str to array
        The hand-derived derivatives: ``"dLoss_W1"`` or ``"W1"``, the part behind the last ``_`` being the
        key of a tensor.
    tensors : mapping of str to Tensor
        The tensors by name, for example ``locals()``.
    eps : float
        The step of the finite differences.
    formula_tolerance, finite_difference_tolerance : float
        The largest differences, relative to the largest entry of the derivative, that still count as equal.

    Raises
    ------
    GradientError
        If a name belongs to no tensor.
    ShapeError
        If a formula has another shape than its tensor.
    """
    chosen = {name: _tensor(name, tensors) for name in derivatives}
    recorded = grad(loss, list(chosen.values()))
    rows = []
    for (name, x), computed, by_hand in zip(chosen.items(), recorded, derivatives.values()):
        formula = np.asarray(by_hand)
        if formula.shape != x.shape:
            raise ShapeError(f"{name} has shape {formula.shape}, but the tensor it belongs to has shape {x.shape}")
        numeric, kinks = _finite_differences(loss, x, computed.data, eps, finite_difference_tolerance)
        scale = np.abs(computed.data).max(initial=0.0) or 1.0
        rows.append(
            FormulaRow(
                name,
                x.shape,
                float(np.abs(computed.data - formula).max(initial=0.0) / scale),
                float(np.abs(computed.data - numeric).max(initial=0.0) / scale),
                kinks,
            )
        )
    return FormulaReport(tuple(rows), formula_tolerance, finite_difference_tolerance)


def _tensor(name: str, tensors: Mapping[str, Tensor]) -> Tensor:
    key = name.rpartition("_")[2]
    if not isinstance(tensors.get(key), Tensor):
        known = ", ".join(k for k, t in tensors.items() if isinstance(t, Tensor))
        raise GradientError(f"{name}: there is no tensor named {key!r}; there are {known}")
    return tensors[key]


def _finite_differences(loss: Tensor, x: Tensor, computed: Array, eps: float, tolerance: float) -> tuple[Array, int]:
    """Return the derivatives by finite differences, and how many elements sit on a kink."""
    graph = Graph(loss, inputs=[x])

    def function(data: Array) -> float:
        return graph.evaluate({x: data})[0].item()

    allowed = tolerance * np.abs(computed).max(initial=0.0)
    kinks = 0
    with np.errstate(all="ignore"):  # a step out of the domain of the loss gives NaN, and is then shortened
        numeric = central_differences(function, x.data, eps)
        for index in map(tuple, np.argwhere(~(np.abs(numeric - computed) <= allowed / 10))):
            below, above = one_sided_differences(function, x.data, index, eps)
            if np.isnan(below) or np.isnan(above):  # the element is at the edge of the domain
                below = above = np.fmax(below, above)
            if abs(above - below) <= allowed:
                numeric[index] = (above + below) / 2
            else:
                kinks += 1
                numeric[index] = min(below, above, key=lambda slope: abs(slope - computed[index]))
    return numeric, kinks
