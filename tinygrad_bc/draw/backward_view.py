"""The backward pass as boxes: one per cotangent, and an arrow for everything that is added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tinygrad_bc.derivation import notation
from tinygrad_bc.derivation.backward import BackwardPass, Contribution
from tinygrad_bc.derivation.printing import text
from tinygrad_bc.draw.diagram import Arrow, Box, Diagram, Kind, Said, View, scopes_of
from tinygrad_bc.draw.words import describe_constant
from tinygrad_bc.record import Value

__all__ = ["BackwardView", "local_formula"]


class BackwardView(View):
    """How the cotangents of a backward pass are computed from each other.

    A box stands for the cotangent of a value of the forward graph and has that value's number: ``g3`` belongs to
    ``v3``. An arrow is one use of that value: what is written beside it is the vector-Jacobian product,
    with the forward values that it needs. A box to which several arrows point is their sum.
    """

    name = "backward"

    def __init__(self, output: Value, wrt: Any, names: Mapping[str, Any] | None) -> None:
        self.backward = BackwardPass(output, wrt, names)
        self.graph = self.backward.graph
        self.names = {value: self.graph.label(value) for value in self.graph}

    def diagram(self) -> Diagram:
        """Return a box for every cotangent, in the order of the backward pass."""
        scopes, ids = scopes_of(self.graph)
        wanted = set(self.backward.wrt)
        boxes: dict[Value, Box] = {}
        for number, value in reversed(list(enumerate(self.graph))):
            if value in self.backward.cotangents:
                kind: Kind = "gradient" if value in wanted else "cotangent"
                kind = "seed" if value is self.backward.output else kind
                leaf = self.graph.node(value) is None
                boxes[value] = Box(f"g{number}", kind, self.title(value), value, scopes.get(value), leaf)
        arrows = [
            Arrow(boxes[use.user], box, [use.user], use)
            for value, box in boxes.items()
            for use in self.backward.contributions[value]
        ]
        return Diagram(list(boxes.values()), arrows, ids)

    def say(self, box: Box) -> Said:
        """Return what stands in a box: of a cotangent, its numbers, and of how many uses it is the sum."""
        if box.value is None:
            return Said("")
        uses = len(self.backward.contributions[box.value])
        formula = "1" if box.kind == "seed" else f"sum of {uses}" if uses > 1 else ""
        return Said(formula, self.backward.cotangents[box.value]._array)

    def title(self, value: Value) -> str:
        """Return the name of the cotangent of a value."""
        return self.backward.name(value)

    def along(self, arrow: Arrow) -> list[str]:
        """Return the vector-Jacobian product that an arrow stands for, and over which axes it is summed."""
        summed = _summed_over(arrow.use)
        return [local_formula(self.backward, arrow.use, self.names), *([f"summed over {summed}"] if summed else [])]


def _summed_over(use: Contribution) -> str:
    """Name the axes along which the value had been broadcast."""
    shape, large = use.cotangent.shape, use.unreduced.shape
    if shape == large:
        return ""
    new = len(large) - len(shape)
    axes = [*range(new), *(new + axis for axis, length in enumerate(shape) if length != large[new + axis])]
    return "all elements" if len(axes) == len(large) else f"axis {' and '.join(map(str, axes))}"


def local_formula(backward: BackwardPass, use: Contribution, names: Mapping[Value, str]) -> str:
    """Return what one use contributes, written with the cotangent it starts from and the values of the forward pass.

    Parameters
    ----------
    backward : BackwardPass
    use : Contribution
    names : mapping of Value to str
        What the values of the forward pass are called.
    """
    incoming = backward.cotangents[use.user]
    done = {incoming: notation.derivative(backward.title, names[use.user], scalar=incoming.shape == ())}
    waiting = [use.unreduced]
    while waiting:
        value = waiting[-1]
        node = None if value in names else value.node
        missing = [x for x in node.values if x not in done] if node and value not in done else []
        if missing:
            waiting += missing
            continue
        waiting.pop()
        if value in done:
            continue
        if node is None:
            title = names.get(value) or describe_constant(value._array)
            done[value] = notation.name(title, scalar=value.shape == ())
        else:
            inputs = [done[x] if isinstance(x, Value) else _number(x) for x in node.inputs]
            done[value] = notation.apply(node.op, inputs, notation.with_names(node.params, inputs))
    return text(done[use.unreduced])


def _number(x: Any) -> notation.Expression:
    return notation.number(int(x) if float(x).is_integer() else x)
