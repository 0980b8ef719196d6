"""Which axes of a program's values run together, so that one loop can go along all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tinygrad_bc.compiler.c_target.index import VIEWS, Affine, Axis, Index, behind, indexed, operand_indices, windowed
from tinygrad_bc.ops._arguments import counted_axes
from tinygrad_bc.record import Graph, Node, Value

__all__ = ["Axes", "reduced_dims"]


def reduced_dims(node: Node) -> tuple[int, ...]:
    """Return the dimensions that a reduction is taken over, counted from the front."""
    axis, ndim = node.params["axis"], len(node.inputs[0].shape)
    return tuple(range(ndim)) if axis is None else tuple(sorted(counted_axes(axis, ndim))) if ndim else ()


class Axes:
    """The axis along each dimension of each value: None along a length of 1, which needs no loop.

    Two dimensions get the same axis if the elements at the same position along them meet in some operation. Those of
    one value never do: where they would, as in ``A @ A.T``, they are left apart.

    Parameters
    ----------
    graph : Graph
    apart : iterable of Value
        Computed values whose axes are their own.
    """

    def __init__(self, graph: Graph, apart: Iterable[Value] = ()) -> None:
        self._same: dict[Axis, Axis] = {}
        self._apart: dict[Axis, set[Axis]] = {}
        self._of: dict[Value, tuple[Axis | None, ...]] = {}
        separate = set(apart)
        for value in graph:
            self._of[value] = tuple(None if n == 1 else Axis(n) for n in value.shape)
            self._set_apart(self._of[value])
        for value in graph:
            node = graph.node(value)
            if node is not None and value not in separate:
                self._meet(value, node)

    def __getitem__(self, value: Value) -> tuple[Axis | None, ...]:
        return tuple(None if axis is None else self._find(axis) for axis in self._of[value])

    def index(self, value: Value) -> Index:
        """Return the index that runs over all elements of a value."""
        return tuple(map(Affine.along, self[value]))

    def _find(self, axis: Axis) -> Axis:
        while axis in self._same:
            axis = self._same[axis]
        return axis

    def _set_apart(self, axes: Iterable[Axis | None]) -> None:
        distinct = {self._find(axis) for axis in axes if axis is not None}
        for axis in distinct:
            self._apart.setdefault(axis, set()).update(distinct - {axis})

    def _unite(self, a: Axis, b: Axis) -> None:
        a, b = self._find(a), self._find(b)
        if a is b or a.length != b.length or b in self._apart.get(a, ()):
            return
        others = self._apart.pop(b, set())
        self._same[b] = a
        self._apart.setdefault(a, set()).update(others)
        for other in others:
            self._apart[other].discard(b)
            self._apart[other].add(a)

    def _meet(self, value: Value, node: Node) -> None:
        if node.op.name == "matmul":
            self._set_apart_in_product(value, node)
        for x, index in self._reads(value, node):
            for axis, i in zip(self._of[x], index):
                if axis is not None and i.axis is not None:
                    self._unite(i.axis, axis)

    def _set_apart_in_product(self, value: Value, node: Node) -> None:
        """Keep the axis that a product is summed over apart from those of the result: all three are loops."""
        contracted = self._of[node.inputs[0]][-1]
        self._set_apart([*self._of[value], contracted])

    def _reads(self, value: Value, node: Node) -> Iterator[tuple[Value, Index]]:
        """Yield the inputs that a value is computed from position by position, with the index into each."""
        index = tuple(map(Affine.along, self._of[value]))
        name = node.op.name
        if name == "matmul":
            contracted = Affine.along(self._of[node.inputs[0]][-1])
            yield from zip(node.inputs, operand_indices(node, index, contracted))
        elif "axis" in node.params and "keepdims" in node.params:
            yield node.inputs[0], self._before_reduction(value, node)
        elif name == "put":
            x, *arrays = node.inputs
            found = indexed(value.shape, arrays, node.params["key"], tuple(map(Affine.along, self._of[x])))
            yield value, found
            yield from ((lookup.array, lookup.index) for i in found for lookup in i.lookups)
        elif name == "fold":
            yield value, windowed(node.params["grid"], tuple(map(Affine.along, self._of[node.inputs[0]])))
        elif name in ("concatenate", "stack", "pad"):
            yield from self._parts(node, index)
        elif name in VIEWS:
            found = behind(value, node, index) or ()
            yield node.inputs[0], found
            yield from ((lookup.array, lookup.index) for i in found for lookup in i.lookups)
        elif node.op.broadcasts or all(x.shape == value.shape for x in node.values):
            yield from ((x, i) for x, i in zip(node.inputs, operand_indices(node, index)) if isinstance(x, Value))

    def _before_reduction(self, value: Value, node: Node) -> Index:
        """Return the index into what is reduced, with the axes of that where it is reduced."""
        x = node.inputs[0]
        reduced = reduced_dims(node)
        own = map(Affine.along, self._of[value])
        kept = [i for d, i in enumerate(own) if not (node.params["keepdims"] and d in reduced)]
        remaining = iter(kept)
        return tuple(Affine.along(axis) if d in reduced else next(remaining) for d, axis in enumerate(self._of[x]))

    def _parts(self, node: Node, index: Index) -> Iterator[tuple[Value, Index]]:
        """Yield the parts of what is put together: along that axis each has positions of its own."""
        for x in node.values:
            if node.op.name == "stack":
                axis = node.params["axis"] % len(index)
                yield x, (*index[:axis], *index[axis + 1 :])
            else:
                yield x, tuple(i if n == m else Affine(constant=1) for i, n, m in zip(index, x.shape, _lengths(index)))


def _lengths(index: Index) -> Iterator[int]:
    return (1 if i.axis is None else i.axis.length for i in index)
