"""One wrong derivative of one operation, in words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.check.arrays import numbers
from tinygrad_bc.check.causes import Evidence, constants_of, explanation
from tinygrad_bc.check.double import Double
from tinygrad_bc.check.operations import Derivative, argument
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["Fault", "Names", "element", "faults_in"]


class Names:
    """What values are called: their own names, the caller's variables, or what the user's line assigns to.

    Parameters
    ----------
    graph
        As it was recorded.
    variables
        The names of values that the caller has names for.
    """

    def __init__(self, graph: Graph, variables: Mapping[Any, str] | None = None) -> None:
        last_of_line: dict[tuple[str, int], Value] = {}
        for value in graph:
            node = graph.node(value)
            if node is not None:
                last_of_line[node.filename, node.lineno] = value
        self._names = {value: name for value in last_of_line.values() if (name := _assigned(value))}
        self._names.update(variables or {})

    def __call__(self, value: Value) -> str:
        """Return the name of a value, or '' if it has none."""
        return value.name or self._names.get(value, "")


def _assigned(value: Value) -> str:
    """Return the variable that the line that recorded `value` assigns to, or ''."""
    node: Any = value.node
    match = re.match(r"(\w+) = ", node.source)
    return match[1] if match else ""


class Fault(NamedTuple):
    """What is wrong with the derivative of an operation for one of its inputs.

    Attributes
    ----------
    op, argument : str
        The operation, and what it calls the input.
    formula : str
        What was computed, written with the names of the tensors.
    operands : str
        The names and shapes of the input and of the result.
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
            f"  derivative    by {self.operands}",
        ]
        if self.problem:
            lines.append(f"  problem       {self.problem}")
        else:
            lines += [
                f"  worst element {self.worst}",
                f"  wrong at      {self.wrong} of {self.checked} elements checked",
            ]
        if self.cause or not self.problem:
            lines.append(f"  likely cause  {self.cause or 'none of the usual mistakes explains the numbers'}")
        if self.places > 1:
            lines.append(f"  and the same at {self.places - 1} more places of the graph")
        return "\n".join(lines)


def faults_in(found: Iterable[Derivative], double: Double, names: Names) -> list[Fault]:
    """Return the wrong ones among derivatives, in their order; the same fault at several places once."""
    faults: dict[tuple[str, str, str], Fault] = {}
    for derivative in found:
        if not derivative.right:
            fault = _fault(derivative, double, names)
            key = fault.op, fault.argument, fault.cause
            faults[key] = faults[key]._replace(places=faults[key].places + 1) if key in faults else fault
    return list(faults.values())


def _fault(derivative: Derivative, double: Double, names: Names) -> Fault:
    node = derivative.node
    original = double.original[derivative.value]
    original_node: Any = original.node
    called = [names(x) if isinstance(x, Value) else repr(x) for x in original_node.inputs]
    arguments = [argument(node.op, i) for i in range(len(called))]
    x = called[derivative.position]
    y = names(original)
    judgement = derivative.judgement
    k = judgement.worst()[1]
    index = tuple(map(int, np.unravel_index(derivative.where[k], derivative.x.shape)))
    analytic, numeric, error = (float(a[0, k]) for a in (judgement.analytic, judgement.numeric, judgement.error))
    formula = node.op.write([name or like for name, like in zip(called, arguments)], node.params)
    return Fault(
        op=node.op.name,
        argument=derivative.argument,
        formula=f"{y} = {formula}" if y else formula,
        operands=f"{_titled(derivative.argument, x)} {derivative.x.shape}; the result is {_titled('y', y)} "
        f"{derivative.g.shape}",
        place=original_node.place,
        worst=f"{element(x or derivative.argument, index)}: analytic {analytic:+.9g}, finite differences "
        f"{numeric:+.9g} (± {error:.0e})",
        problem=derivative.problem,
        wrong=int(judgement.wrong.sum()),
        checked=len(derivative.where),
        cause=_cause(derivative),
        places=1,
        at=index,
        analytic=analytic,
        numeric=numeric,
    )


def _titled(argument: str, name: str) -> str:
    return f"{argument} = {name}" if name and name != argument else argument


def element(name: str, index: tuple[int, ...]) -> str:
    """Return ``name[0, 3]``; of a single number, the name alone."""
    return f"{name}[{', '.join(map(str, index))}]" if index else name


def _cause(derivative: Derivative) -> str:
    judgement, op = derivative.judgement, derivative.node.op
    known = ~(judgement.singular | judgement.kinked | judgement.undecided)[0]
    ingredients = {argument(op, i): np.asarray(x) for i, x in enumerate(derivative.arguments)}
    ingredients["y"] = numbers(derivative.value)
    evidence = Evidence(
        given=derivative.given,
        shape=derivative.x.shape,
        where=derivative.where[known],
        right=judgement.numeric[0, known],
        doubt=judgement.error[0, known],
        g=derivative.g,
        ingredients=ingredients,
        constants=_constants(derivative),
        again=_again(derivative),
    )
    return explanation(evidence) or ("the upstream gradient g is ignored" if _ignores_cotangent(derivative) else "")


def _constants(derivative: Derivative) -> dict[str, float]:
    parameters = {
        f"the parameter {name}": float(x)
        for name, x in derivative.node.params.items()
        if isinstance(x, float | int) and not isinstance(x, bool) and abs(x) not in (0, 1)
    }
    return parameters | constants_of(derivative.x, derivative.g, derivative.argument)


def _again(derivative: Derivative) -> dict[str, Callable[[], Any]]:
    """Return the VJP called otherwise, by what that says if it turns out right."""
    node, i, g, y = derivative.node, derivative.position, derivative.g, numbers(derivative.value)
    xs = derivative.arguments
    vjps = list(zip(xs, node.op.vjps or ()))
    name = partial(argument, node.op)

    def call(k: int, g: Array, y: Any, arguments: list[Any]) -> Any:
        vjp: Any = vjps[k][1]
        return vjp(g, y, *arguments, **node.params)

    tried: dict[str, Callable[[], Any]] = {}
    if not vjps:
        return tried
    for k, (_, vjp) in enumerate(vjps):
        if k != i and vjp is not None:
            tried[f"it is the VJP of another input: the one of {name(k)} is right here"] = partial(call, k, g, y, xs)
    for k, x in enumerate(xs):
        if np.ndim(x) > 1:
            turned = [*xs[:k], np.asarray(x).mT, *xs[k + 1 :]]
            tried[f"it takes {name(k)} where its transpose is meant: with that it is right"] = partial(
                call, i, g, y, turned
            )
        if k != i:
            swapped = list(xs)
            swapped[i], swapped[k] = swapped[k], swapped[i]
            tried[f"it mixes up {name(i)} and {name(k)}: with them exchanged it is right"] = partial(
                call, i, g, y, swapped
            )
        if np.shape(x) == np.shape(y):
            with_y = [*xs[:k], y, *xs[k + 1 :]]
            tried[f"it takes the input {name(k)} where the result y is meant"] = partial(call, i, g, y, with_y)
            tried[f"it takes the result y where the input {name(k)} is meant"] = partial(call, i, g, x, xs)
    if g.ndim > 1:
        tried["it takes g where its transpose is meant: with that it is right"] = partial(call, i, g.mT, y, xs)
        for k, x in enumerate(xs):
            if np.ndim(x) > 1:
                turned = [*xs[:k], np.asarray(x).mT, *xs[k + 1 :]]
                tried[f"it takes g and {name(k)} where their transposes are meant"] = partial(call, i, g.mT, y, turned)
    return tried


def _ignores_cotangent(derivative: Derivative) -> bool:
    """Whether twice the cotangent makes no difference."""
    if derivative.vjp is None or derivative.given is None:
        return False
    g, y = 2 * derivative.g, numbers(derivative.value)
    return np.array_equal(derivative.vjp(g, y, *derivative.arguments, **derivative.node.params), derivative.given)
