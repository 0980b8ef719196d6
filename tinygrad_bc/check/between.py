"""What is wrong with a total, though every operation is right by itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import numbers, signed
from tinygrad_bc.check.end_to_end import check_end_to_end
from tinygrad_bc.check.leaks import leaks
from tinygrad_bc.check.pullback import added_up, pull_back, uses
from tinygrad_bc.check.run import Run, Settings
from tinygrad_bc.check.totals import Total
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import Array
from tinygrad_bc.tensor import tensor

__all__ = ["excused_by_kinks", "lost_graph", "wrong_between_operations"]


def excused_by_kinks(run: Run, totals: list[Total], settings: Settings) -> tuple[list[Total], str]:
    """Accept a wrong total that is right beside the point, where no operation is at a kink any more.

    relu(x) - relu(-x) is x; but relu'(0) = 0 twice does not add up to its derivative of 1 at 0.
    """
    rng = settings.rng()
    beside = [
        tensor(numbers(x) + (1e-3 * signed(x.shape, rng) if x.requires_grad else 0), requires_grad=x.requires_grad)
        for x in run.tensors
    ]
    try:
        others, failure = check_end_to_end(Run(run.fn, beside, {}), settings)
    except GradientError:  # fn has no values there
        return totals, ""
    if failure or not all(total.ok for total in others):
        return totals, ""
    accepted = [
        total._replace(
            judgement=total.judgement._replace(
                wrong=np.zeros_like(total.judgement.wrong), kinked=total.judgement.kinked | total.judgement.wrong
            )
        )
        for total in totals
    ]
    return accepted, (
        "the total at this point: operations are at kinks, where their derivatives are conventions that need not add "
        "up; beside the point it is right"
    )


def lost_graph(run: Run) -> str:
    """Say where data was taken behind the graph's back; '' if nowhere."""
    lost = leaks(run.fn, run.tensors)
    return "each operation is right, but the graph was lost on the way:\n  " + "\n  ".join(lost[:3]) if lost else ""


def wrong_between_operations(run: Run, settings: Settings) -> str:
    """Explain a wrong total of right operations: data taken behind the graph's back, or a wrong engine."""
    if lost := lost_graph(run):
        return lost
    graph, twins = run.double.graph, run.double.twins
    rng = settings.rng()
    seeds = {y: signed(y.shape, rng) for y in graph.outputs if y._requires_grad}
    checked = [twins[x] for x in run.checked if x in twins]
    engine = grad(list(seeds), checked, list(seeds.values()), allow_unused=True)

    def equal(combine: Callable[[list[Array]], Array]) -> bool:
        found = pull_back(graph, seeds, combine=combine)
        return all(
            np.allclose(0 if g is None else numbers(g), found.get(x, 0), rtol=1e-9, atol=1e-12)
            for x, g in zip(checked, engine)
        )

    if equal(added_up):
        return (
            "each operation is right where it was checked; the total is not, and none of the usual mistakes explains it"
        )
    names = run.names()
    often = [
        f"{names(run.double.original[x]) or 'a tensor'} {x.shape} ({n} uses)"
        for x, n in uses(graph).items()
        if n > 1 and x._requires_grad
    ]
    if equal(lambda parts: parts[-1]) or equal(lambda parts: parts[0]):
        return (
            "each operation is right, but gradients are not accumulated: of a tensor used several times only one "
            f"contribution counts: {', '.join(often[:5])}. The mistake is in the backward pass"
        )
    return "each operation is right, but the backward pass does not put the VJPs together as the chain rule says" + (
        f"; it matters where a tensor is used several times: {', '.join(often[:5])}" if often else ""
    )
