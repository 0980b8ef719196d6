"""Three answers to one question: the recorded graph, formulas derived by hand, and finite differences."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import element, numbers, sample
from tinygrad_bc.check.between import pull_back
from tinygrad_bc.check.causes import Evidence, constants_of, explanation
from tinygrad_bc.check.differences import Kind, Lines, Tolerance, quick_slopes
from tinygrad_bc.check.report import UNEXPLAINED
from tinygrad_bc.errors import DTypeError, GradientError
from tinygrad_bc.record import Array, Graph, Value, as_array, user_frame
from tinygrad_bc.tensor import Tensor

__all__ = ["FormulaReport", "FormulaRow", "formulas"]

MOST_ELEMENTS = 10_000


class FormulaRow(NamedTuple):
    """How far one derivative is from the formula and from finite differences, relative to its largest entry.

    Attributes
    ----------
    name, shape
        Of the derivative, and of the tensor it belongs to.
    formula, finite_differences : float
        The differences; `formula` is infinite if the formula gives another shape.
    kinks : int
        How many elements sit on a kink. There the nearer slope is compared.
    verdict : str
        ``""`` if the formula is right, ``"WRONG"`` if it is not, ``"follows"`` if it is wrong only because of the wrong
        derivatives that it is computed from.
    """

    name: str
    shape: tuple[int, ...]
    formula: float
    finite_differences: float
    kinks: int
    verdict: str = ""


class FormulaReport(NamedTuple):
    """One row per derivative. True in a condition if every difference is within its tolerance.

    Attributes
    ----------
    rows : tuple of FormulaRow
    formula_tolerance, finite_difference_tolerance : float
    first_wrong : str
        The first wrong derivative along the chain, from the loss backward; '' if none is.
    details : str
        Where it is off most.
    cause : str
        What explains it; '' if nothing that was tried does.
    also_wrong : dict of str to str
        Other derivatives that are wrong by themselves, with what explains them.
    """

    rows: tuple[FormulaRow, ...]
    formula_tolerance: float
    finite_difference_tolerance: float
    first_wrong: str = ""
    details: str = ""
    cause: str = ""
    also_wrong: Mapping[str, str] = MappingProxyType({})

    @property
    def worst_formula(self) -> float:
        """The largest relative difference from the formulas."""
        return float(np.max([row.formula for row in self.rows], initial=0.0))

    @property
    def worst_finite_difference(self) -> float:
        """The largest relative difference from finite differences."""
        return float(np.max([row.finite_differences for row in self.rows], initial=0.0))

    def __bool__(self) -> bool:
        return (
            self.worst_formula <= self.formula_tolerance
            and self.worst_finite_difference <= self.finite_difference_tolerance
        )

    def __str__(self) -> str:
        width = max([12, *(len(row.name) + 2 for row in self.rows)])
        lines = [f"{'derivative':<{width}}{'shape':<12}{'vs formula':>12}{'vs finite diff.':>17}  kinks"]
        lines += [
            f"{row.name:<{width}}{'×'.join(map(str, row.shape)):<12}{row.formula:>12.1e}"
            f"{row.finite_differences:>17.1e}  {row.kinks or '':<5}  {row.verdict}".rstrip()
            for row in self.rows
        ]
        if self.first_wrong:
            lines += ["", f"first wrong factor along the chain: {self.first_wrong}", *self.details.splitlines()]
            lines.append(f"  likely cause  {self.cause or UNEXPLAINED}")
            lines += [f"  also wrong    {name}: {why or 'no usual mistake'}" for name, why in self.also_wrong.items()]
            follow = [row.name for row in self.rows if row.verdict == "follows"]
            if follow:
                lines.append(f"  {', '.join(follow)}: wrong only because of what they are computed from")
        if not self.worst_finite_difference <= self.finite_difference_tolerance:
            lines += ["", "the recorded graph disagrees with finite differences: see tg.check.gradients"]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)


def formulas(
    loss: Tensor,
    derivatives: Mapping[str, Any],
    tensors: Mapping[str, Any] | None = None,
    *,
    formula_tolerance: float = 1e-12,
    finite_difference_tolerance: float = 1e-6,
) -> FormulaReport:
    """Compare derivatives of `loss` from the recorded graph with formulas and with finite differences.

    For finite differences the rest of the graph is run again from the tensor in question with one
    element moved, also where that tensor was computed on the way.

    Where formulas are wrong, the report names the first wrong one along the chain, from the loss backward: the one that
    is wrong though what it is computed from is right, or would be wrong even if it were.

    Parameters
    ----------
    loss : Tensor
        A recorded number, float64.
    derivatives : mapping of str to array or callable
        The hand-derived derivatives: ``"dLoss_W1"`` or ``"W1"``; the longest part behind a ``_`` that is the name
        of a tensor says which tensor is meant. A callable is called with what its parameters name: tensors, as
        arrays, or other derivatives, as in ``lambda dLoss_Yh, Yh: dLoss_Yh * Yh * (1 - Yh)``.
    tensors : mapping of str to Tensor, optional
        Tensors by name, for example ``locals()``, for those that have no name of their own. By default the
        caller's variables.
    formula_tolerance, finite_difference_tolerance : float
        The largest differences, relative to the largest entry of the derivative, that still count as equal.

    Raises
    ------
    GradientError
        If a name belongs to no tensor, or to one that the loss was not computed from; or a formula takes something that
        is neither a tensor nor a derivative.
    DTypeError
        If the loss is not float64, there are no formulas, or one gives no numbers.

    Examples
    --------
    >>> z = tensor([0.5, -1.0], requires_grad=True, name="z")
    >>> Yh = z.sigmoid().named("Yh")
    >>> loss = (Yh * Yh).sum()
    >>> report = formulas(loss, {"dLoss_Yh": lambda Yh: 2 * Yh, "dLoss_z": lambda dLoss_Yh, Yh: dLoss_Yh * Yh})
    >>> report.first_wrong, report.cause
    ('dLoss_z', 'the factor (1 - Yh) is missing: multiplied by it, it is right')
    """
    if not isinstance(loss, Tensor):
        raise DTypeError(f"formulas: the loss is to be a recorded tensor, got {type(loss).__name__}")
    if loss.dtype != np.float64:
        raise DTypeError(f"formulas: the loss is {loss.dtype}; finite differences need float64")
    if not isinstance(derivatives, Mapping) or not derivatives:
        raise DTypeError("formulas: expected derivatives by name, {'dLoss_W1': ...}, at least one")
    named = _named(Graph(loss), user_frame(1).f_locals if tensors is None else tensors)
    chosen = {name: _tensor(name, named) for name in derivatives}
    hand = _ByHand(loss, derivatives, chosen, named)
    rows = tuple(_row(hand, name, formula_tolerance, finite_difference_tolerance) for name in derivatives)
    report = FormulaReport(rows, formula_tolerance, finite_difference_tolerance)
    wrong = [row.name for row in rows if row.verdict == "WRONG"]
    if not wrong:
        return report
    order = {value: i for i, value in enumerate(hand.graph)}
    first = max(wrong, key=lambda name: order[chosen[name]])
    causes = {name: hand.cause(name) for name in wrong}
    return report._replace(first_wrong=first, details=hand.details(first), cause=causes.pop(first), also_wrong=causes)


def _numbers_of(name: str, formula: Any) -> Array:
    """Return what a formula gives as an array; refused by the formula's name if it is none."""
    try:
        return as_array(formula._data if isinstance(formula, Tensor) else formula)
    except DTypeError as error:
        raise DTypeError(f"formulas: {name}: {error}") from None


def _named(graph: Graph, variables: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of the graph by their own names, and others by the names that `variables` has for them."""
    named: dict[str, Any] = {name: x for name, x in variables.items() if isinstance(x, Tensor)}
    return named | {value.name: value for value in graph if value.name}


def _tensor(name: str, named: Mapping[str, Tensor]) -> Tensor:
    parts = name.split("_")
    for i in range(len(parts)):  # the longest first
        if (key := "_".join(parts[i:])) in named:
            return named[key]
    raise GradientError(
        f"{name}: there is no tensor named {parts[-1]!r}; there are {', '.join(named) or 'none'}. Name it, as in "
        f"(...).named({parts[-1]!r}), or pass tensors=locals()"
    )


class _ByHand:
    """The formulas and all that they are compared with.

    Attributes
    ----------
    right : dict
        The derivatives from the recorded graph, by name.
    own : dict
        What the formulas give, each computed from what the others give.
    expected : dict
        What each should give, computed from what the others give.
    """

    def __init__(
        self,
        loss: Tensor,
        derivatives: Mapping[str, Any],
        chosen: Mapping[str, Tensor],
        named: Mapping[str, Tensor],
    ) -> None:
        self.derivatives, self.chosen = derivatives, chosen
        self.graph = Graph(loss)
        strangers = [name for name, x in chosen.items() if x not in self.graph]
        if strangers:
            raise GradientError(f"{', '.join(strangers)}: the loss was not computed from that tensor")
        self.arrays = {name: numbers(x) for name, x in named.items() if x in self.graph}
        recorded = grad(loss, list(chosen.values())) if chosen else ()
        self.right = {name: numbers(g) for name, g in zip(chosen, recorded)}
        self.own: dict[str, Array] = {}
        for name in derivatives:
            self._compute(name, ())
        own: dict[Value, Array] = {x: self.own[name] for name, x in chosen.items()}
        replaced = {x: g for x, g in own.items() if g.shape == x.shape}
        found = pull_back(self.graph, {loss: np.ones(loss.shape)}, replaced=replaced)
        self.expected = {name: found[x] for name, x in chosen.items()}

    def _compute(self, name: str, asked_by: tuple[str, ...]) -> Array:
        """Return what a formula gives, computed from what the others give."""
        if name in asked_by:
            raise GradientError(f"formulas: {' needs '.join((*asked_by, name))}: they go round in a circle")
        if name not in self.own:
            self.own[name] = self._called(name, lambda other: self._compute(other, (*asked_by, name)))
        return self.own[name]

    def _called(self, name: str, derivative: Callable[[str], Array], turned: str = "") -> Array:
        """Return what a formula gives for the given derivatives, one argument transposed if asked for."""
        formula = self.derivatives[name]
        if not callable(formula):
            return _numbers_of(name, formula)
        arguments: dict[str, Array] = {}
        for key, parameter in self._parameters(name).items():
            if key in self.derivatives:
                arguments[key] = derivative(key)
            elif key in self.arrays:
                arguments[key] = self.arrays[key]
            elif parameter.default is parameter.empty:
                known = ", ".join([*self.arrays, *self.derivatives])
                raise GradientError(f"{name}: its parameter {key!r} is neither a tensor nor a derivative: {known}")
        if turned:
            arguments[turned] = arguments[turned].mT
        try:
            return _numbers_of(name, formula(**arguments))
        except ValueError as error:
            shapes = ", ".join(f"{k} {v.shape}" for k, v in arguments.items())
            raise GradientError(f"{name}: the formula cannot be computed from {shapes}: {error}") from None

    def by_itself(self, name: str) -> tuple[Array, Array]:
        """Return what a formula gives, and what it should give, if what it is computed from is not to blame."""
        if any(parameter in self.derivatives for parameter in self._parameters(name)):
            return self._called(name, self.right.__getitem__), self.right[name]
        return self.own[name], self.expected[name]

    def _parameters(self, name: str) -> Mapping[str, inspect.Parameter]:
        formula = self.derivatives[name]
        return inspect.signature(formula).parameters if callable(formula) else {}

    def cause(self, name: str) -> str:
        """Return what explains a wrong formula, or ''."""
        given, right = self.by_itself(name)
        constants = constants_of(right, np.ones(()), name)
        for other, array in self.arrays.items():
            for axis, n in enumerate(array.shape):
                if n > 2 and n not in constants.values():
                    constants[f"the length of axis {axis} of {other}"] = n
        evidence = Evidence(
            given=given,
            shape=right.shape,
            where=np.arange(right.size),
            right=right.ravel(),
            doubt=np.zeros(right.size),
            g=None,
            ingredients=self.arrays | {other: d for other, d in self.right.items() if other != name},
            constants=constants,
            again={
                f"it takes {key} where its transpose is meant: with that it is right": partial(
                    self._called, name, self.right.__getitem__, turned=key
                )
                for key in self._parameters(name)
            },
        )
        return explanation(evidence)

    def details(self, name: str) -> str:
        """Say where a formula is off most."""
        given, right = self.by_itself(name)
        x = self.chosen[name]
        called = next((key for key, array in self.arrays.items() if array is numbers(x)), "its tensor")
        lines = [f"  derivative    of the loss with respect to {called} {x.shape}"]
        if (node := self.graph.node(x)) is not None:
            lines.append(f"  recorded at   {node.place}")
        if given.shape != right.shape:
            lines.append(f"  problem       the formula gives shape {given.shape}, and the tensor has shape {x.shape}")
        else:
            misses = np.abs(given - right)
            place, index = element(name, int(np.argmax(np.where(np.isnan(misses), np.inf, misses))), right.shape)
            lines.append(f"  worst element {place}: formula {given[index]:+.9g}, right {right[index]:+.9g}")
        return "\n".join(lines)


def _row(hand: _ByHand, name: str, tolerance: float, finite_difference_tolerance: float) -> FormulaRow:
    x, computed, own = hand.chosen[name], hand.right[name], hand.own[name]
    miss = _relative(own, computed)
    verdict = ""
    if not miss <= tolerance:
        verdict = "follows" if _relative(*hand.by_itself(name)) <= 10 * tolerance else "WRONG"
    numeric, kinks = _finite_differences(hand.graph.outputs[0], x, computed, finite_difference_tolerance)
    return FormulaRow(name, x.shape, miss, numeric, kinks, verdict)


def _relative(given: Array, right: Array) -> float:
    if given.shape != right.shape:
        return np.inf
    scale = np.abs(right).max(initial=0.0) or 1.0
    return float(np.abs(given - right).max(initial=0.0) / scale)


def _finite_differences(loss: Value, x: Tensor, computed: Array, tolerance: float) -> tuple[float, int]:
    """Return how far a derivative is from finite differences, and how many elements sit on a kink."""
    graph = Graph(loss, inputs=[x])
    where, _ = sample(computed, np.random.default_rng(0), MOST_ELEMENTS)
    expected = computed.reshape(1, -1)[:, where]
    scale = np.abs(computed).max(initial=0.0) or 1.0
    lines = Lines(lambda data: graph.evaluate({x: data})[0], numbers(x), np.ones((1, 1)), list(map(int, where)))
    found = quick_slopes(lines, expected, Tolerance(0.0, tolerance * scale / 10))
    kink = found.kind == Kind.KINK
    low, high = np.fmin(found.below, found.above), np.fmax(found.below, found.above)
    numeric = np.where(kink, np.clip(expected, low, high), found.value)
    miss = np.maximum(np.abs(numeric - expected) - found.error, 0.0)  # what rounding may account for is no difference
    miss = np.where((found.kind == Kind.SINGULAR) & ~np.isnan(expected), 0.0, miss)
    return float(miss.max(initial=0.0) / scale), int(kink.sum())
