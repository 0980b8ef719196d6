"""The backward pass of a graph as a record of its own: every cotangent, and which use of a value contributed what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tinygrad_bc.autograd import computed_from, record_everything, starting_cotangent
from tinygrad_bc.diagnosis import user_line
from tinygrad_bc.errors import GradientError
from tinygrad_bc.ops import astype, sum_to
from tinygrad_bc.record import Graph, Node, Value, as_values

__all__ = ["BackwardPass", "Contribution"]


class Contribution(NamedTuple):
    """What one use of a value adds to its cotangent.

    Attributes
    ----------
    user : Value
        What was computed from the value.
    position : int
        Which input of that operation the value is.
    cotangent : Value
        The vector-Jacobian product, recorded: of the shape and dtype of the value.
    unreduced : Value
        The same before it is summed over the axes along which the value was broadcast.
    """

    user: Value
    position: int
    cotangent: Value
    unreduced: Value


class BackwardPass:
    """The backward pass from one number to the values it was computed from, recorded operation by operation.

    The cotangents are those of `tinygrad_bc.grad`, bit for bit (hooks are not called), each by the
    same rule applied to values in place of arrays. So a `Graph` of them can be drawn, written as formulas, simplified
    and run.

    Parameters
    ----------
    output : Value
        What is differentiated, of one element.
    wrt : Value or sequence of Value, optional
        With respect to what: leaves or values on the way. By default all leaves that require a gradient.
    names : mapping, optional
        Names for values without one, as for `Graph`.

    Attributes
    ----------
    graph : Graph
        The forward pass.
    wrt : list of Value
    cotangents : dict of Value to Value
        The cotangent of each value between `wrt` and the output, in the order in which the pass completes them.
        The same object may be the cotangent of two values: a sum hands it on.
    contributions : dict of Value to list of Contribution
        What each cotangent is the sum of, in the order of addition; empty for the output.

    Raises
    ------
    GradientError
        If the output has more than one element or requires no gradient, or does not depend on one of `wrt`.
    """

    def __init__(self, output: Value, wrt: Any = None, names: Mapping[str, Any] | None = None) -> None:
        self.output = as_values(output, "output")[0]
        self.graph = Graph(output, names=names)
        if self.graph.label(self.output).startswith("%"):
            self.graph = Graph(output, names={**(names or {}), "Loss": self.output})
        if self.output._data.size != 1:
            raise GradientError(
                f"{self.title} has shape {self.output.shape}: only a single number has a gradient. Reduce it first, "
                f"for example with .sum() or .mean(), or pick an element: {self.title}[0]\n{user_line()}"
            )
        start = starting_cotangent(self.output, None, symbolic=True)
        leaves = [value for value in self.graph if self.graph.node(value) is None and value._requires_grad]
        self.wrt = leaves if wrt is None else as_values(wrt, "wrt")
        self.cotangents: dict[Value, Value] = {self.output: start}
        self.contributions: dict[Value, list[Contribution]] = {self.output: []}
        order = [value for value in self.graph if self.graph.node(value) is not None]
        with record_everything():
            self._walk(order, computed_from(self.wrt, order))
        self._check_that_all_are_reached(self.wrt)

    def _walk(self, order: list[Value], needed: set[Value]) -> None:
        partial: dict[Value, Any] = dict(self.cotangents)
        self.cotangents = {}
        for value in reversed(order):
            if value not in partial:
                continue
            self.cotangents[value] = g = partial.pop(value)
            node: Any = value.node
            for i, (x, vjp) in enumerate(zip(node.inputs, node.op.vjps)):
                if vjp is None or not isinstance(x, Value) or not x._requires_grad or x not in needed:
                    continue
                unreduced = self._pulled_back(value, vjp, g)
                c = sum_to(unreduced, shape=x.shape) if unreduced.shape != x.shape else unreduced
                c = astype(c, x.dtype) if c.dtype != x.dtype else c
                self.contributions.setdefault(x, []).append(Contribution(value, i, c, unreduced))
                partial[x] = partial[x] + c if x in partial else c
        self.cotangents.update(partial)  # of the leaves

    def _pulled_back(self, value: Value, vjp: Any, g: Value) -> Value:
        """Return the vector-Jacobian product of the operation that made `value`: `vjp` is its rule for one input."""
        node = self.recipe(value)
        return vjp(g, value, *node.inputs, **node.params)

    def recipe(self, value: Value) -> Node:
        """Return the node of a value that was computed in the forward pass."""
        node = self.graph.node(value)
        assert node is not None
        return node

    def _check_that_all_are_reached(self, wrt: Iterable[Value]) -> None:
        for value in wrt:
            if value not in self.cotangents:
                name = self.graph.label(value) if value in self.graph else value.name or "one of wrt"
                raise GradientError(f"{self.title} does not depend on {name}, or {name} requires no gradient")

    def branching(self, values: Iterable[Value]) -> list[Value]:
        """Return the cotangents, of `values`, that are handed on in more than one way: what a person would name."""
        ways = Counter(part.user for parts in self.contributions.values() for part in parts)
        return [self.cotangents[value] for value in values if ways[value] > 1 and value is not self.output]

    @property
    def title(self) -> str:
        """The name of the output, as it stands in the names of the derivatives."""
        return self.graph.label(self.output)

    def name(self, value: Value) -> str:
        """Return the name of the derivative with respect to `value`: ``dLoss_W1``."""
        return f"d{self.title}_{self.graph.label(value)}"
