"""What a check found, in words short enough to be read."""

from __future__ import annotations

import re
import textwrap
from typing import NamedTuple

import numpy as np

from tinygrad_bc.check.faults import Fault
from tinygrad_bc.check.operations import Derivative
from tinygrad_bc.check.totals import Total

__all__ = ["GradientReport"]

MOST_FAULTS = 4
MOST_ROUNDING = 2.0**10
"""A gradient in low precision may lose that many units of its last place before it counts as wrong."""


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
            self.second is None or bool(not isinstance(self.second, str) and self.second)
        )

    def _first_order_right(self) -> bool:
        rounding_fine = all(total.rounding <= MOST_ROUNDING for total in self.totals)
        return not self.faults and not self.failure and all(total.ok for total in self.totals) and rounding_fine

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
            elements = sum(len(d.where) for d in self.derivatives)
            all_elements = sum(d.x.size for d in self.derivatives)
            checked.append(f"operations: VJPs {len(self.derivatives)}, elements {elements} of {all_elements}")
        if self.totals:
            elements = sum(len(t.where) for t in self.totals)
            all_elements = sum(int(np.prod(t.shape)) for t in self.totals)
            how = "the full Jacobian" if self.totals[0].jacobian else f"elements {elements} of {all_elements}"
            lines = sum(t.directions for t in self.totals)
            checked.append(f"end to end: {how}" + (f", random directions {lines}" if lines else ""))
        near = self._nearest_kink()
        return [
            f"checked: {'; '.join(checked) or 'nothing'}; seed {self.seed}",
            *([near] if near else []),
            f"not proved: {'; '.join(self._not_proved())}",
        ]

    def _nearest_kink(self) -> str:
        found = [
            (float(np.nanmin(distance)), d)
            for d in self.derivatives
            if not np.isnan(distance := np.where(d.judgement.distance > 0, d.judgement.distance, np.nan)).all()
        ]
        if not found:
            return ""
        nearest, derivative = min(found, key=lambda pair: pair[0])
        return f"nearest kink that is not at the point itself: {nearest:.1e} away, of {derivative.node.op.name}"

    def _not_proved(self) -> list[str]:
        found = ["other points than this one"]
        for what, text in (
            ("kinked", "at a kink, where any slope between the two sides is accepted"),
            ("singular", "where the slope is infinite or there is none"),
            ("undecided", "where differences are too inexact to say"),
        ):
            counts: dict[str, int] = {}
            for d in self.derivatives:
                if number := int(getattr(d.judgement, what).sum()):
                    counts[d.node.op.name] = counts.get(d.node.op.name, 0) + number
            if counts:
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
