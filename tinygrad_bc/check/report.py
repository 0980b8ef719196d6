"""What a check found, in words short enough to be read: one wrong derivative of an operation, and the whole."""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import element
from tinygrad_bc.check.end_to_end import Total
from tinygrad_bc.check.operations import Derivative, argument, cause
from tinygrad_bc.check.run import Run
from tinygrad_bc.record import Value

__all__ = ["UNEXPLAINED", "Fault", "GradientReport", "faults_in"]

UNEXPLAINED = "none of the usual mistakes explains the numbers"
MOST_FAULTS = 4
MOST_ROUNDING = 2.0**10
"""A gradient in low precision may lose that many units of its last place before it counts as wrong."""


class Fault(NamedTuple):
    """What is wrong with the derivative of an operation for one of its inputs.

    Attributes
    ----------
    op, argument : str
        The operation, and what it calls the input.
    formula : str
        What was computed, written with the names of the tensors.
    operands : str
        The names and shapes of the result and of the input.
    place : str
        The user's line.
    worst : str
        The element that is off most, with the analytic and the numeric value.
    problem : str
        What keeps the VJP from returning a derivative at all; '' if it does return one.
    wrong, checked : int
        How many elements are wrong, of how many checked.
    cause : str
        What explains it; '' if nothing that was tried does.
    places : int
        At how many places of the graph the same was found.
    at : tuple of int
        The worst element.
    analytic, numeric : float
        The derivative there.
    """

    op: str
    argument: str
    formula: str
    operands: str
    place: str
    worst: str
    problem: str
    wrong: int
    checked: int
    cause: str
    places: int
    at: tuple[int, ...]
    analytic: float
    numeric: float

    def __str__(self) -> str:
        lines = [
            f"{self.op}: {self.formula}",
            f"  recorded at   {self.place}",
            f"  derivative    {self.operands}",
        ]
        if self.problem:
            lines.append(f"  problem       {self.problem}")
        else:
            lines.append(f"  worst element {self.worst}")
            lines.append(f"  wrong at      {self.wrong} of {self.checked} elements checked")
        if self.cause or not self.problem:
            lines.append(f"  likely cause  {self.cause or UNEXPLAINED}")
        if self.places > 1:
            lines.append(f"  and the same at {self.places - 1} more place{'s' * (self.places > 2)} of the graph")
        return "\n".join(lines)


def faults_in(found: Iterable[Derivative], run: Run) -> tuple[Fault, ...]:
    """Return the wrong ones among derivatives, in their order; the same fault at several places once."""
    faults: dict[tuple[str, str, str], Fault] = {}
    for derivative in found:
        if not derivative.right:
            fault = _fault(derivative, run)
            key = fault.op, fault.argument, fault.cause
            faults[key] = faults[key]._replace(places=faults[key].places + 1) if key in faults else fault
    return tuple(faults.values())


def _fault(d: Derivative, run: Run) -> Fault:
    recorded: Any = run.originals[d.value].node
    called = [run.name(x) if isinstance(x, Value) else repr(x) for x in recorded.inputs]
    x, y = called[d.position], run.name(d.value)
    formula = d.node.op.write([name or argument(d.node.op, i) for i, name in enumerate(called)], d.node.params)
    k = d.judgement.worst()[1]
    analytic, numeric, error = (float(a[0, k]) for a in (d.judgement.analytic, d.judgement.numeric, d.judgement.error))
    place, index = element(x or d.argument, d.where[k], d.x.shape)
    return Fault(
        op=d.node.op.name,
        argument=d.argument,
        formula=f"{y} = {formula}" if y else formula,
        operands=f"of the result {_titled('y', y)} {d.g.shape} with respect to {_titled(d.argument, x)} {d.x.shape}",
        place=recorded.place,
        worst=f"{place}: analytic {analytic:+.9g}, finite differences {numeric:+.9g} (± {error:.0e})",
        problem=d.problem,
        wrong=int(d.judgement.wrong.sum()),
        checked=len(d.where),
        cause=cause(d),
        places=1,
        at=index,
        analytic=analytic,
        numeric=numeric,
    )


def _titled(argument: str, name: str) -> str:
    return f"{argument} = {name}" if name and name != argument else argument


class GradientReport(NamedTuple):
    """The verdict on the gradient of a function. True in a condition if nothing was found wrong.

    Attributes
    ----------
    totals : tuple of Total
        The gradient end to end, one for each input.
    faults : tuple of Fault
        The wrong operations; the one nearest to the output, from which others may follow, first.
    derivatives : tuple of Derivative
        Every VJP that was checked.
    failure : str
        What is wrong though no operation is; '' if nothing is.
    seed : int
        What was drawn at random was drawn from this.
    not_checked : tuple of str
        What was left out.
    second : GradientReport or str or None
        The same for the gradient of the gradient; a sentence if it cannot be computed; None if it was not asked for.
    looked_inside : bool
        Whether the operations were checked, and not only the whole.
    """

    totals: tuple[Total, ...]
    faults: tuple[Fault, ...]
    derivatives: tuple[Derivative, ...]
    failure: str
    seed: int
    not_checked: tuple[str, ...]
    second: GradientReport | str | None
    looked_inside: bool

    @property
    def rows(self) -> tuple[Total, ...]:
        """The gradient end to end, one row for each input."""
        return self.totals

    def __bool__(self) -> bool:
        return self._first_order_right() and (
            self.second is None or (not isinstance(self.second, str) and bool(self.second))
        )

    def _first_order_right(self) -> bool:
        sound = all(total.ok and total.rounding <= MOST_ROUNDING for total in self.totals)
        return sound and not self.faults and not self.failure

    def __str__(self) -> str:
        lines = [self._headline()]
        for fault in self.faults[:MOST_FAULTS]:
            lines += ["", *_folded(str(fault))]
        if len(self.faults) > MOST_FAULTS:
            lines.append(f"... and {len(self.faults) - MOST_FAULTS} more")
        if self.failure:
            lines += ["", *_folded(self.failure)]
        if self.totals:
            lines += ["", "end to end" + (" (what follows from that)" if self.faults else "") + ":"]
            lines += [f"  {total}" for total in self.totals]
        lines += self._rounding()
        if self.second is not None:
            lines += ["", textwrap.indent(f"second order: {self.second}", "  ").strip()]
        lines += ["", *self._coverage()]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return str(self)  # what pytest shows when `assert gradcheck(...)` fails

    def _headline(self) -> str:
        if self.faults:
            first = self.faults[0]
            more = f", and {len(self.faults) - 1} more" if len(self.faults) > 1 else ""
            return f"gradient WRONG: the VJP of `{first.op}` for its input {first.argument}{more}"
        wrong = sum(not total.ok for total in self.totals)
        if wrong or self.failure:
            return f"gradient WRONG: {wrong} of {len(self.totals)} gradients, but no operation by itself"
        if not self._first_order_right():
            return "gradient IMPRECISE: the formulas are right, but rounding errors are large"
        if not self:
            return "the gradients are right, but the gradient of the gradient is WRONG"
        return "the gradients are right"

    def _rounding(self) -> list[str]:
        if not any(total.rounding for total in self.totals):
            return []
        each = ", ".join(f"{total.name} {total.rounding:.1f}" for total in self.totals)
        return [
            "judged in float64; rounding of the gradient as computed, relative to its largest element, in units of its "
            f"precision: {each}"
        ]

    def _coverage(self) -> list[str]:
        checked = []
        if self.derivatives:
            elements, size = sum(len(d.where) for d in self.derivatives), sum(d.x.size for d in self.derivatives)
            checked.append(f"operations: VJPs {len(self.derivatives)}, elements {elements} of {size}")
        if self.totals:
            elements, size = sum(len(t.where) for t in self.totals), sum(int(np.prod(t.shape)) for t in self.totals)
            how = "the full Jacobian" if self.totals[0].jacobian else f"elements {elements} of {size}"
            lines = sum(t.directions for t in self.totals)
            checked.append(f"end to end: {how}" + (f", random directions {lines}" if lines else ""))
        return [
            f"checked: {'; '.join(checked) or 'nothing'}; seed {self.seed}",
            *self._nearest_kink(),
            *_folded(f"not proved: {'; '.join(self._not_proved())}"),
        ]

    def _nearest_kink(self) -> list[str]:
        distances = [
            (float(distance[distance > 0].min()), d.node.op.name)
            for d in self.derivatives
            if ((distance := d.judgement.distance) > 0).any()
        ]
        if not distances:
            return []
        nearest, op = min(distances)
        return [f"nearest kink that is not at the point itself: {nearest:.1e} away, of {op}"]

    def _not_proved(self) -> list[str]:
        found = ["other points than this one"]
        for what, text in (
            ("kinked", "at a kink, where any slope between the two sides is accepted"),
            ("singular", "where the slope is infinite or there is none"),
            ("undecided", "where differences are too inexact to say"),
        ):
            counts: Counter[str] = Counter()
            for d in self.derivatives:
                counts[d.node.op.name] += int(getattr(d.judgement, what).sum())
            if counts := +counts:
                each = ", ".join(f"{name} ({number} element{'s' * (number > 1)})" for name, number in counts.items())
                found.append(f"{each} {text}")
        found += self.not_checked
        if not self.looked_inside:
            found.append("each operation by itself (tg.check.gradients does)")
        if self.second is None:
            found.append("second derivatives")
        return found


def _folded(text: str) -> list[str]:
    """Return lines, long ones continued below, except for those that quote the user's code."""
    lines = []
    for line in text.splitlines():
        indent = re.match(r" *(\S+ \S+  +)?", line)
        below = " " * (indent.end() if indent else 0)
        lines += [line] if re.search(r":\d+: ", line) else textwrap.wrap(line, 118, subsequent_indent=below) or [line]
    return lines
