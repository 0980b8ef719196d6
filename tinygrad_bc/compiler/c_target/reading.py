"""How a C program reads its values: through views, from arrays, or inside the expression of who uses them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_bc.compiler.c_target.axes import Axes
from tinygrad_bc.compiler.c_target.convolution import is_plain
from tinygrad_bc.compiler.c_target.index import (
    VIEWS,
    ZERO,
    Affine,
    Axis,
    Index,
    Lookup,
    behind,
    linear,
    operand_indices,
)
from tinygrad_bc.compiler.c_target.operations import C_TYPES, supports
from tinygrad_bc.compiler.c_target.statements import Apply, Load, operand
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.ops.index import HERE
from tinygrad_bc.record import Node, Value

__all__ = ["PUT_TOGETHER", "REDUCTIONS", "Reading"]

LARGE_PRODUCT = 64**3
"""From how many multiplications on BLAS computes a matrix product, and not a loop."""

SHORT_SIDE, LONG_SIDE = 16, 4
"""BLAS computes smaller ones too that have no side shorter than this, and none that many times as long as another.

One with a long side goes in tiles along that, together with what comes before and after it: that is as fast.
"""

MOST_OPERATIONS, DEEPEST = 10, 6  # of one expression, as in `statements`

REDUCTIONS = frozenset(["sum", "prod", "max", "min", "all", "any", "argmax", "argmin"])
PUT_TOGETHER = frozenset(["concatenate", "stack", "pad"])
CHEAP = frozenset(["add", "subtract", "multiply", "negative", "equal", "not_equal", "less", "greater", "where", "cast"])
"""What is sooner computed again than read from an array."""


class Reading:
    """Which values of a program have elements of their own, and how those of the others are found.

    Parameters
    ----------
    program : Program
    blas : bool
        Whether there is BLAS for large products.

    Attributes
    ----------
    calls : dict of Value to Node
        What NumPy computes.
    axes : Axes
    whole : set of Value
        Values that need an array of all their elements, in the order of NumPy's.
    needed : set of Value
        Values that are not only indices, which are computed where they are used.
    inlined : set of Value
        Values that stand inside the expressions of their users.
    steady : set of Value
        Computed values that follow from steady inputs and constants alone.
    labels : dict of Value to str
        What copies are called, which are not in the graph.
    checks : dict
        Arrays of indices, with the number of elements that they point into, as keys.
    """

    def __init__(self, program: Program, blas: bool) -> None:
        self.program, self.graph = program, program.graph
        self._blas = blas
        self._inputs = frozenset(program.inputs)
        self.labels: dict[Value, str] = {}
        self.calls = {v: n for v in self.graph if (n := self.graph.node(v)) and not self._is_core(v, n)}
        self._views = {v for v, _ in self.computed() if self._is_view(v)}
        self._copies: set[Value] = set()
        self._same_sign = self._find_same_sign()
        self.steady = self._follow_from_steady()
        large = [v for v, n in self.computed() if self.is_large_product(v, n)]
        self.axes = Axes(self.graph, apart=[*large, *self.calls])
        self.whole: set[Value] = set()
        self.checks: dict[tuple[Value, int], None] = {}
        self._find_copies()
        self.needed = self._find_needed()
        self.inlined = self._find_inlined()

    # --- kinds of values

    def computed(self) -> Iterator[tuple[Value, Node]]:
        """Iterate over the computed values, in the order of the record, with their recipes."""
        for value in self.graph:
            node = self.graph.node(value)
            if node is not None:
                yield value, node

    def _is_core(self, value: Value, node: Node) -> bool:
        name = node.op.name
        if value.dtype not in C_TYPES or any(x.dtype not in C_TYPES for x in node.values):
            return False
        if name in ("getitem", "put"):
            return self._can_look_up(node)
        if name in ("windows", "fold"):
            return is_plain(node.params["grid"])
        if name in REDUCTIONS:
            return node.params.get("dtype") is None and (value.dtype.kind == "f" or value.dtype.itemsize in (1, 8))
        if name == "pad":
            return node.params["mode"] == "constant" and value.dtype == node.inputs[0].dtype
        if name in PUT_TOGETHER or name == "matmul":
            return all(x.dtype == value.dtype for x in node.values)
        return name in VIEWS or supports(value, node)

    def _can_look_up(self, node: Node) -> bool:
        """Return whether an index consists of integers, and its arrays are there before the step begins."""
        key = node.params["key"]
        plain = all(p is None or p is Ellipsis or p is HERE or isinstance(p, slice | int | np.integer) for p in key)
        return plain and all(x.dtype.kind in "iu" and x._data.size > 0 and self._is_known(x) for x in node.inputs[1:])

    def _is_known(self, index: Value) -> bool:
        """Return whether an index follows from leaves element by element: then it is known before the step begins."""
        waiting = [index]
        for count, value in enumerate(waiting):
            node = self.graph.node(value)
            if node is None:
                continue
            if count > MOST_OPERATIONS or not (
                supports(value, node) or (node.op.name in VIEWS and len(node.inputs) == 1)
            ):
                return False
            if node.op.name == "reshape" and behind(value, node, (ZERO,) * len(value.shape)) is None:
                return self.graph.node(node.inputs[0]) is None
            waiting.extend(node.values)
        return True

    def _is_view(self, value: Value) -> bool:
        node = self.graph.node(value)
        return node is not None and node.op.name in VIEWS and value not in self.calls and len(node.inputs) == 1

    def is_seen_through(self, value: Value) -> bool:
        """Return whether who reads a value reads what is behind it."""
        return value in self._views and value not in self._copies

    def node(self, value: Value) -> Node | None:
        """Return the recipe of a value; None for leaves."""
        return self.graph.node(value)

    def label(self, value: Value) -> str:
        """Return what a value is called."""
        return self.labels.get(value) or self.program.label(value)

    def is_read_by_calls(self, leaf: Value) -> bool:
        """Return whether NumPy computes something from a leaf."""
        return any(x is leaf for node in self.calls.values() for x in node.values)

    def is_constant(self, value: Value) -> bool:
        """Return whether a value is the same in every step."""
        return self.graph.node(value) is None and value not in self._inputs and value not in self.labels

    def is_large_product(self, value: Value, node: Node) -> bool:
        """Return whether BLAS computes a value."""
        if node.op.name != "matmul" or not self._blas or value.dtype.kind != "f" or value in self.calls:
            return False
        a, b = node.inputs
        if len(a.shape) < 2 or len(b.shape) < 2:
            return False
        sides = a.shape[-2], a.shape[-1], b.shape[-1]
        is_square = min(sides) >= SHORT_SIDE and max(sides) <= LONG_SIDE * min(sides)
        return is_square or math.prod(sides) > LARGE_PRODUCT

    def factors(self, value: Value, node: Node) -> list[tuple[Value, Index]]:
        """Return the factors of a product that BLAS computes, with an index into each.

        Rows, columns and what is summed over are axes of this product alone: where one matrix takes part in several
        products, those that they share may be one and the same, as those of a layer's input and output.
        """
        a, b = node.inputs
        sides = a.shape[-2], b.shape[-1], a.shape[-1]
        row, column, contracted = (Affine.along(None if n == 1 else Axis(n)) for n in sides)
        index = (*self.axes.index(value)[:-2], row, column)
        return list(zip(node.inputs, operand_indices(node, index, contracted)))

    def _follow_from_steady(self) -> set[Value]:
        """Return the computed values that follow from steady inputs and constants alone."""
        varies = set(self._inputs) - self.program.steady
        steady = set()
        for value, node in self.computed():
            if varies.isdisjoint(node.values) and any(True for _ in node.values):
                steady.add(value)
            else:
                varies.add(value)
        return steady

    def is_prepared(self, value: Value) -> bool:
        """Return whether a value is computed before the first step."""
        return value in self.steady

    def inputs(self, node: Node) -> tuple[Any, ...]:
        """Return what an operation is applied to: whether x > 0 is as well seen in max(x, 0), which is kept anyway."""
        if node in self._same_sign:
            return self._same_sign[node], node.inputs[1]
        return node.inputs

    def _find_same_sign(self) -> dict[Node, Value]:
        """Return, for the nodes that ask whether x > 0, a max(x, 0) that is there before."""
        relus: dict[Value, Value] = {}
        found = {}
        for value, node in self.computed():
            if _is_relu(node):
                relus[node.inputs[0]] = value
            elif node.op.name == "greater" and node.inputs[0] in relus and _is_zero(node.inputs[1]):
                found[node] = relus[node.inputs[0]]
        return found

    def _values(self, node: Node) -> list[Value]:
        return [x for x in self.inputs(node) if isinstance(x, Value)]

    # --- what is read

    def resolved(self, value: Value, index: Index) -> Load:
        """Return the reading of an element of a value, as that of what stands behind it."""
        flat = False
        while self.is_seen_through(value):
            node: Any = self.graph.node(value)
            if not flat:
                found = behind(value, node, index)
                flat, index = found is None, (linear(index, value.shape),) if found is None else found
            value = node.inputs[0]
        return Load(value, tuple(map(self.without_ranges, index)), flat)

    def without_ranges(self, i: Affine) -> Affine:
        """Return a position with what is looked up in 0, 1, 2 ... replaced by where it is looked up."""
        for lookup in i.lookups:
            array = lookup.array
            if self._is_range(array):
                factor = i.terms[lookup]
                rest = Affine({x: n for x, n in i.terms.items() if x is not lookup}, i.constant)
                i = rest + lookup.index[0] * factor
        return i

    def _is_range(self, array: Value) -> bool:
        """Return whether a value is the constant 0, 1, 2 ..."""
        vector = self.is_constant(array) and array._data.ndim == 1
        return vector and np.array_equal(array._array, np.arange(array._data.size))

    def _find_copies(self) -> None:
        """Find the views that need an array: outputs, operands of calls, and those that are not seen through.

        An array reshaped so that axes are joined is read by the position in memory: it has to be whole. A view that is
        reshaped so has to be copied first, and a factor that BLAS cannot take as it is.
        """
        program = self.program
        needed = [*program.results, *program.updates.values(), *(x for n in self.calls.values() for x in n.values)]
        self._copies.update(x for x in needed if x in self._views)
        for value, node in self.computed():
            if value in self._views and node.op.name == "reshape":
                self._find_copies_behind(value)
        for value, node in self.computed():
            if self.is_large_product(value, node):
                for x, i in self.factors(value, node):
                    if operand(self.resolved(x, i), i[-2], i[-1]) is None:
                        self._copies.add(x)
                    self.whole.add(self.resolved(x, i).value)
        self.whole.update(x for node in self.calls.values() for x in node.values)

    def _find_copies_behind(self, value: Value) -> None:
        node: Any = self.graph.node(value)
        x = node.inputs[0]
        if behind(value, node, self.axes.index(value)) is not None:
            return
        while x in self._views and x not in self._copies:
            node = self.graph.node(x)
            if node.op.name != "reshape":
                self._copies.add(x)
                break
            x = node.inputs[0]
        self.whole.add(x)

    def operand_trees(self, node: Node, index: Index) -> list[Any]:
        """Return the expressions for what an elementwise operation is applied to."""
        indices = operand_indices(node, index)
        return [self.tree(x, i) if isinstance(x, Value) else x for x, i in zip(self.inputs(node), indices)]

    def tree(self, value: Value, index: Index) -> Any:
        """Return the expression for an element: an operation, if it stands inside others, or a reading."""
        load = self.resolved(value, index)
        if load.value not in self.inlined:
            return self.noted(load)
        node: Any = self.graph.node(load.value)
        if node.op.name == "getitem":
            found = behind(load.value, node, load.index)
            assert found is not None
            return self.tree(node.inputs[0], found)
        return Apply(load.value, node, self.operand_trees(node, load.index))

    def noted(self, load: Load) -> Load:
        """Return a reading, after a note of what has to be checked."""
        for i in load.index:
            for lookup in i.lookups:
                lookup.tree = self._index_tree(lookup.array, lookup.index)
                if not self.is_constant(lookup.array):
                    self.checks[lookup.array, lookup.length] = None
        return load

    def _index_tree(self, value: Value, index: Index) -> Any:
        """Return the expression for an index: all of it, from the leaves on."""
        load = self.resolved(value, index)
        node = self.graph.node(load.value)
        if node is None:
            return load
        if load.value in self._views and (found := behind(load.value, node, load.index)) is not None:
            return self._index_tree(node.inputs[0], found)  # the copy that others need is made too late
        indices = operand_indices(node, load.index)
        operands = [self._index_tree(x, i) if isinstance(x, Value) else x for x, i in zip(node.inputs, indices)]
        return Apply(load.value, node, operands)

    def check(self, array: Value, length: int) -> Lookup:
        """Return what is to be checked of an array of indices: all its elements."""
        index = tuple(Affine.along(None if n == 1 else Axis(n)) for n in array.shape)
        return Lookup(array, index, length, self._index_tree(array, index))

    # --- what stands inside the expression of its user

    def _find_needed(self) -> set[Value]:
        """Return the values that are computed as such: others serve as indices only."""
        needed = set(self.graph.outputs)
        for value in reversed(self.graph.values):
            node = self.graph.node(value)
            if node is not None and value in needed:
                looks_up = node.op.name in ("getitem", "put") and value not in self.calls
                needed.update(self._values(node)[: 1 if looks_up else None])
        return needed

    def _find_inlined(self) -> set[Value]:
        uses: Counter[Value] = Counter()
        users: dict[Value, Value] = {}
        for value, node in self.computed():
            if self.is_seen_through(value) or value not in self.needed:
                continue
            for x in self._values(node):
                root = self.resolved(x, self.axes.index(x)).value
                uses[root] += 1
                users[root] = value
        outputs = set(self.graph.outputs)
        size: dict[Value, int] = {}
        depth: dict[Value, int] = {}
        inlined: set[Value] = set()
        for value, node in self.computed():
            parts = [r for x in self._values(node) if (r := self.resolved(x, self.axes.index(x)).value) in inlined]
            size[value] = 1 + sum(size[x] for x in parts)
            depth[value] = 1 + max((depth[x] for x in parts), default=0)
            if value in outputs or value in self.whole or not self._is_map(value, node):
                continue
            if size[value] > MOST_OPERATIONS or depth[value] > DEEPEST:
                continue
            if self._is_cheap_steady(value, node, parts) or (
                uses[value] == 1 and self._may_stand_inside(value, users[value])
            ):
                inlined.add(value)
        return inlined

    def _is_map(self, value: Value, node: Node) -> bool:
        name = node.op.name
        if value in self.calls or self.is_seen_through(value) or name in REDUCTIONS or name in PUT_TOGETHER:
            return False
        return name not in ("matmul", "put", "fold")

    def _is_cheap_steady(self, value: Value, node: Node, parts: list[Value]) -> bool:
        if value not in self.steady or parts or node.op.name not in CHEAP or value.shape == ():
            return False
        return all(self.graph.node(self.resolved(x, self.axes.index(x)).value) is None for x in node.values)

    def _may_stand_inside(self, value: Value, user: Value) -> bool:
        """Return whether the user reads each element once, and does not want an array."""
        node: Any = self.graph.node(user)
        name = node.op.name
        if user in self.calls or (value in self.steady) != (user in self.steady) or not self._is_unnamed(value):
            return False
        if name == "matmul" or name in ("argmax", "argmin") or name in PUT_TOGETHER or user in self._copies:
            return False
        if name in ("getitem", "put"):
            return False
        read = node.inputs[0].shape if name in REDUCTIONS or name == "fold" else user.shape
        return math.prod(read) == math.prod(value.shape)

    def _is_unnamed(self, value: Value) -> bool:
        return self.graph.label(value).startswith("%")


def _is_zero(x: Any) -> bool:
    return isinstance(x, int | float) and x == 0


def _is_relu(node: Node) -> bool:
    return node.op.name == "maximum" and isinstance(node.inputs[0], Value) and _is_zero(node.inputs[1])
