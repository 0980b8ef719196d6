"""What is wrong with a total, though every operation is right by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.check.arrays import numbers, signed, unbroadcast
from tinygrad_bc.check.end_to_end import Total, check_end_to_end
from tinygrad_bc.check.run import Run, Settings
from tinygrad_bc.errors import GradientError
from tinygrad_bc.record import Array, Graph, Node, Value, as_values
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["excused_by_kinks", "lost_graph", "pull_back", "wrong_between_operations"]

RELATIVE_MOVE = 1e-3


# --- conventions that do not add up ----------------------------------------------------------------------


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
    judgements = [total.judgement for total in totals]
    accepted = [j._replace(wrong=np.zeros_like(j.wrong), kinked=j.kinked | j.wrong) for j in judgements]
    return [total._replace(judgement=j) for total, j in zip(totals, accepted)], (
        "the total at this point: operations are at kinks, where their derivatives are conventions that need not add "
        "up; beside the point it is right"
    )


# --- data taken behind the graph's back ------------------------------------------------------------------


def lost_graph(run: Run) -> str:
    """Say where constants enter the graph that change when the inputs do; '' if nowhere.

    The function is run twice, the second time on inputs moved by a thousandth, and the records are compared.
    """
    first = [_moved(x, 0.0) for x in run.tensors]
    second = [_moved(x, RELATIVE_MOVE if x.requires_grad else 0.0) for x in run.tensors]
    inputs = {*first, *second}
    before, after = (as_values(run.fn(*xs), "what fn returns") for xs in (first, second))
    lost = [
        f"output {i} has no history: it was computed with NumPy, from .data or .detach(), or inside no_grad()"
        for i, (y, moved) in enumerate(zip(before, after))
        if y.node is None and y not in inputs and not _same(y, moved)
    ]
    nodes, moved_nodes = (
        [value.node for value in Graph(*ends) if value.node] for ends in ((before, first), (after, second))
    )
    if [node.op for node in nodes] == [node.op for node in moved_nodes]:  # or fn took another way through its code
        lost += [sentence for pair in zip(nodes, moved_nodes) for sentence in _frozen(*pair, inputs)]
    return "each operation is right, but the graph was lost on the way:\n  " + "\n  ".join(lost[:3]) if lost else ""


def _moved(x: Tensor, move: float) -> Tensor:
    data = numbers(x) * (1 + move) + np.where(numbers(x) == 0, move, 0.0).astype(x.dtype) if move else numbers(x)
    return tensor(data, dtype=x.dtype, requires_grad=x.requires_grad, name=x.name)


def _frozen(node: Node, moved_node: Node, inputs: set[Tensor]) -> list[str]:
    """Return a sentence for each constant that a node was given which is another one in the second record."""
    constants = {
        f"input {i}" if len(node.inputs) > 1 else "its input": (x, moved_node.inputs[i])
        for i, x in enumerate(node.inputs)
        if not (isinstance(x, Value) and (x.node is not None or x in inputs))
    } | {f"its parameter {name}": (x, moved_node.params.get(name)) for name, x in node.params.items()}
    return [
        f"`{node.op.name}` was given a constant ({which}{f' of shape {x.shape}' if isinstance(x, Value) else ''}) that "
        "depends on the inputs of fn: the graph was lost on the way there, by .detach(), .data, tg.tensor(...), "
        f"float(...), NumPy or no_grad()\n    {node.place}"
        for which, (x, moved) in constants.items()
        if not _same(x, moved)
    ]


def _same(x: Any, y: Any) -> bool:
    """Whether a constant is the same in both records. Masks and counts may differ, which only jump."""
    x, y = (numbers(a) if isinstance(a, Value) else a for a in (x, y))
    if isinstance(x, np.ndarray | float) and isinstance(y, np.ndarray | float) and np.asarray(x).dtype.kind == "f":
        return np.array_equal(x, y, equal_nan=True)
    return True


# --- the engine ------------------------------------------------------------------------------------------


def pull_back(
    graph: Graph,
    cotangents: Mapping[Value, Array],
    *,
    replaced: Mapping[Value, Array] | None = None,
    combine: Callable[[list[Array]], Any] = sum,
) -> dict[Value, Array]:
    """Return the cotangents of all values of `graph`, given those of its outputs.

    A second backward pass, short enough to be seen to be right, which the engine's is compared with.

    Parameters
    ----------
    graph
        In double precision.
    cotangents
        Of the outputs.
    replaced : optional
        Cotangents to go on with in the place of those computed on the way.
    combine
        What makes one cotangent of several contributions. Others than the sum are tried to explain a wrong engine.
    """
    contributions: dict[Value, list[Array]] = {value: [g] for value, g in cotangents.items()}
    found: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for value in reversed(graph.values):
            if value not in contributions:
                continue
            found[value] = np.asarray(combine(contributions[value]))
            g = (replaced or {}).get(value, found[value])
            node = graph.node(value)
            if node is None or node.op.vjps is None:
                continue
            arguments = [numbers(x) if isinstance(x, Value) else x for x in node.inputs]
            for x, vjp in zip(node.inputs, node.op.vjps):
                if isinstance(x, Value) and x._requires_grad and vjp is not None:
                    c: Any = vjp(g, numbers(value), *arguments, **node.params)
                    contributions.setdefault(x, []).append(unbroadcast(np.asarray(c), x.shape))
    return found


def wrong_between_operations(run: Run, settings: Settings) -> str:
    """Explain a wrong total of right operations: data taken behind the graph's back, or a wrong engine."""
    if lost := lost_graph(run):
        return lost
    graph, rng = run.double, settings.rng()
    seeds = {y: signed(y.shape, rng) for y in graph.outputs if y._requires_grad}
    checked = [run.twins[x] for x in run.checked if x in run.twins]
    engine = grad(list(seeds), checked, list(seeds.values()), allow_unused=True)

    def equal(combine: Callable[[list[Array]], Any]) -> bool:
        found = pull_back(graph, seeds, combine=combine)
        return all(
            np.allclose(0 if g is None else numbers(g), found.get(x, 0), rtol=1e-9, atol=1e-12)
            for x, g in zip(checked, engine)
        )

    if equal(sum):
        return (
            "each operation is right where it was checked; the total is not, and none of the usual mistakes explains it"
        )
    if not equal(lambda parts: parts[-1]) and not equal(lambda parts: parts[0]):
        return (
            "each operation is right, but the backward pass does not put the VJPs together as the chain rule says: "
            "multiplied along each path, and added up where paths meet"
        )
    uses = Counter(x for value in graph if (node := graph.node(value)) for x in node.values if x._requires_grad)
    often = [f"{run.name(x) or 'a tensor'} {x.shape} ({n} uses)" for x, n in uses.items() if n > 1]
    return (
        "each operation is right, but gradients are not accumulated: of a tensor used several times only one "
        f"contribution counts: {', '.join(often[:5])}. The mistake is in the backward pass"
    )
