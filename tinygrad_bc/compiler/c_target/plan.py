"""What a C program computes, statement by statement: which values get an array, or a scalar, and by what expression.

Views cost nothing: who reads one reads the array behind it. An elementwise operation that is used once stands inside
the expression of its user. Everything else is a `Statement`, over an iteration space; `c_schedule` arranges the loops.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from tinygrad_bc.compiler.c_target.axes import reduced_dims
from tinygrad_bc.compiler.c_target.index import (
    VIEWS,
    Affine,
    Axis,
    Index,
    behind,
    indexed,
    linear,
    operand_indices,
    windowed,
)
from tinygrad_bc.compiler.c_target.reading import PUT_TOGETHER, REDUCTIONS, Reading
from tinygrad_bc.compiler.c_target.statements import Apply, Load, Statement, operand
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.record import Node, Value

__all__ = ["Plan"]


class Plan(Reading):
    """The statements of a program.

    Attributes
    ----------
    prepare, step : list of Statement
        In the order of the record: what is computed only when a steady input changed, and at every step.
    """

    def __init__(self, program: Program, blas: bool) -> None:
        super().__init__(program, blas)
        self.prepare: list[Statement] = []
        self.step: list[Statement] = []
        for value, node in self.computed():
            if value in self.needed - self.inlined - self.calls.keys() and not self.is_seen_through(value):
                self._part(value).extend(self._statements(value, node))
        self._add_products_to_memory()
        self._update_last()
        outputs = [*program.results, *program.updates.values()]
        self.whole.update(v for v in outputs if self.graph.node(v) is not None)
        self.whole.update(self.calls)

    def _add_products_to_memory(self) -> None:
        """Let BLAS compute W - c A B at once, where that is new memory and A B is used for nothing else."""
        new_values = set(self.program.updates.values()) - set(self.program.results)
        reads = Counter(load.value for s in (*self.prepare, *self.step) for load in s.loads)
        products = {s.value: s for s in self.step if s.combine == "gemm"}
        outputs = {*self.graph.outputs, *(x for node in self.calls.values() for x in node.values)}
        for statement in [s for s in self.step if s.value in new_values]:
            found = _multiple_added(statement)
            product = None if found is None else products.get(found[-1].value)
            if found is None or product is None or reads[product.value] != 1 or product.value in outputs:
                continue
            to, scale, is_negative, _ = found
            self.step[self.step.index(statement)] = Statement(
                statement.value,
                statement.store,
                None,
                "gemm",
                product=product.product,
                added_to=to,
                scale=-scale if is_negative and not isinstance(scale, Load) else scale,
                is_negative=is_negative and isinstance(scale, Load),
            )
            self.step.remove(product)

    def _update_last(self) -> None:
        """Let new memory that nothing else reads come last: then more of it can be written where the old memory is."""
        read = {load.value for statement in self.step for load in statement.loads}
        last = set(self.program.updates.values()) - read
        self.step.sort(key=lambda statement: statement.value in last)

    def read_along(self, samples: Axis) -> None:
        """Let products of small matrices read their factors along the samples.

        A factor whose elements for one sample follow each other (a row for each sample) is copied the other way round,
        once for all the loops that read it; if it is steady, before the first step.
        """
        copies: dict[Any, Value] = {}
        for part in (self.prepare, self.step):
            for statement in [s for s in part if s.is_product]:
                for load in statement.loads:
                    is_there = self.graph.node(load.value) is None or load.value in self.steady
                    if is_there and load.is_across(samples):
                        self._turn(load, samples, copies)

    def _turn(self, load: Load, samples: Axis, copies: dict[Any, Value]) -> None:
        """Let a reading be that of a copy in which the samples come last."""
        order = sorted(range(len(load.index)), key=lambda d: load.index[d].axis is samples)
        key = load.value, tuple(i.axis for i in load.index)
        if key not in copies:
            found = copies[key] = Value(np.empty([load.value.shape[d] for d in order], load.value.dtype), False, None)
            self.labels[found] = f"{self.label(load.value)}_by_sample"
            steady = load.value in self.steady or load.value in self.program.steady or self.is_constant(load.value)
            statement = Statement(found, tuple(load.index[d] for d in order), Load(load.value, load.index))
            if steady:
                self.steady.add(found)
                self.whole.add(found)
            (self.prepare.append if steady else functools.partial(self.step.insert, 0))(statement)
        load.value, load.index = copies[key], tuple(load.index[d] for d in order)

    def _part(self, value: Value) -> list[Statement]:
        return self.prepare if value in self.steady else self.step

    # --- statements

    def _statements(self, value: Value, node: Node) -> Iterator[Statement]:
        index = self.axes.index(value)
        name = node.op.name
        if name == "matmul":
            yield self._product(value, node, index)
        elif name in REDUCTIONS:
            yield self._reduction(value, node, index)
        elif name == "put":
            yield from self._put(value, node, index)
        elif name == "fold":
            yield from self._fold(value, node, index)
        elif name in PUT_TOGETHER:
            yield from self._put_together(value, node, index)
        elif name in VIEWS:
            found = behind(value, node, index)
            if found is None:
                yield Statement(value, index, Load(self._flat_source(node), (linear(index, value.shape),), flat=True))
            else:
                yield Statement(value, index, self.tree(node.inputs[0], found))
        else:
            yield Statement(value, index, Apply(value, node, self.operand_trees(node, index)))

    def _flat_source(self, node: Node) -> Value:
        """Return the array behind what is reshaped, which has the same elements in the same order."""
        x: Value = node.inputs[0]
        while self.is_seen_through(x):
            found: Any = self.graph.node(x)
            x = found.inputs[0]
        return x

    def _product(self, value: Value, node: Node, index: Index) -> Statement:
        if self.is_large_product(value, node):
            self.whole.add(value)
            factors = [operand(self.resolved(x, i), i[-2], i[-1]) for x, i in self.factors(value, node)]
            return Statement(value, index, None, "gemm", (), [factor for factor in factors if factor is not None])
        a, b = node.inputs
        axis = self.axes[a][-1] or self.axes[b][-2 if len(b.shape) > 1 else -1]
        contracted = Affine.along(axis)
        ia, ib = operand_indices(node, index, contracted)
        factors_of = [self.tree(a, ia), self.tree(b, ib)]
        if axis is None and a.shape[-1] == 1:
            return Statement(value, index, Apply(value, None, factors_of))
        return Statement(value, index, Apply(value, None, factors_of), "matmul", [axis] if axis else [])

    def _reduction(self, value: Value, node: Node, index: Index) -> Statement:
        x = node.inputs[0]
        reduced = reduced_dims(node)
        own = [i for d, i in enumerate(index) if not (node.params["keepdims"] and d in reduced)]
        remaining = iter(own)
        axes = self.axes[x]
        read = tuple(Affine.along(axes[d]) if d in reduced else next(remaining) for d in range(len(axes)))
        over = [axes[d] for d in reduced if axes[d] is not None]
        return Statement(value, index, self.tree(x, read), node.op.name, [axis for axis in over if axis is not None])

    def _put(self, value: Value, node: Node, index: Index) -> Iterator[Statement]:
        x, *arrays = node.inputs
        zeros = Statement(value, index, 0)
        yield zeros
        read = self.axes.index(x)
        found = indexed(value.shape, arrays, node.params["key"], read)
        store = self.noted(Load(value, tuple(map(self.without_ranges, found)))).index
        yield Statement(value, store, self.tree(x, read), after=zeros, adds=bool(arrays))

    def _fold(self, value: Value, node: Node, index: Index) -> Iterator[Statement]:
        zeros = Statement(value, index, 0)
        yield zeros
        read = self.axes.index(node.inputs[0])
        store = windowed(node.params["grid"], read)
        yield Statement(value, store, self.tree(node.inputs[0], read), after=zeros, adds=True)

    def _put_together(self, value: Value, node: Node, index: Index) -> Iterator[Statement]:
        before = None
        if node.op.name == "pad":
            filling = node.params["value"] or 0
            before = Statement(value, index, value.dtype.type(filling).item())
            yield before
        start = 0
        for x in node.values:
            if node.op.name == "pad":
                store, read = _padded(node, x, self.axes[x], index)
                if store is None:
                    continue
            elif node.op.name == "stack":
                axis = node.params["axis"] % len(index)
                read = (*index[:axis], *index[axis + 1 :])
                store = (*index[:axis], Affine(constant=start), *index[axis + 1 :])
                start += 1
            else:
                axis = node.params["axis"] % len(index)
                along = Affine.along(self.axes[x][axis])
                read = (*index[:axis], along, *index[axis + 1 :])
                store = (*index[:axis], along + start, *index[axis + 1 :])
                start += x.shape[axis]
            yield Statement(value, store, self.tree(x, read), after=before)


def _multiple_added(statement: Statement) -> tuple[Load, Any, bool, Load] | None:
    """Return W, c, whether to subtract, and X of W + c X or W - c X, for matrices; None if it is something else."""
    tree = statement.tree
    matrices = len(statement.value.shape) == 2 and not statement.combine
    if not matrices or not isinstance(tree, Apply) or tree.node is None or tree.node.op.name not in ("add", "subtract"):
        return None
    to, term = tree.operands
    if not isinstance(term, Apply) or term.node is None or term.node.op.name != "multiply":
        return None
    scale, x = term.operands if not _is_whole(term.operands[0], statement) else term.operands[::-1]
    single = isinstance(scale, int | float) or (isinstance(scale, Load) and scale.value.shape == ())
    if not single or not _is_whole(to, statement) or not _is_whole(x, statement) or to.value.dtype != x.value.dtype:
        return None
    return to, scale, tree.node.op.name == "subtract", x


def _is_whole(x: Any, statement: Statement) -> bool:
    """Return whether the element read is the one that is written."""
    return (
        isinstance(x, Load)
        and not x.flat
        and x.value.shape == statement.value.shape
        and all(a.axis is b.axis for a, b in zip(x.index, statement.store))
    )


def _padded(node: Node, x: Value, axes: Any, index: Index) -> tuple[Index | None, Index]:
    """Return where the kept elements go, and where they come from."""
    pad = node.params["pad"]
    widths = [(0, 0)] * (len(index) - len(pad) // 2) + list(zip(pad[::2], pad[1::2]))[::-1]
    store, read = [], []
    for i, (left, right), n, axis in zip(index, widths, x.shape, axes):
        kept = n + min(left, 0) + min(right, 0)
        if kept <= 0:
            return None, ()
        along = i if left == right == 0 else Affine.along(axis if kept == n else None if kept == 1 else Axis(kept))
        store.append(along + max(left, 0))
        read.append(along + max(-left, 0))
    return tuple(store), tuple(read)
