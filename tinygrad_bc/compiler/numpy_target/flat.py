"""Parameters in one vector: the same update of many arrays is one operation on all of them.

What an optimiser does to each parameter is the same: the same operations, on arrays of other shapes. Such updates are
recorded once, on vectors that hold the elements of all parameters, of all gradients, of all that is remembered of them.
The arrays themselves are views of these vectors.
"""

from __future__ import annotations

import itertools
import math
import re
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.names import without_leading_numbers
from tinygrad_bc.compiler.numpy_source.statements import recipe
from tinygrad_bc.compiler.numpy_target.again import computed, is_op, labelled, recorded_again, sliced
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Graph, Value

__all__ = ["pack_parameters"]

LARGEST = 2**18
"""The largest number of elements of a vector: updates of larger arrays are done one by one, near to the processor."""

CONCATENATE, RESHAPE, GETITEM = REGISTRY["concatenate"], REGISTRY["reshape"], REGISTRY["getitem"]

ELEMENTWISE = frozenset(
    [
        "add",
        "subtract",
        "multiply",
        "divide",
        "negative",
        "power",
        "square",
        "sqrt",
        "reciprocal",
        "abs",
        "sign",
        "maximum",
        "minimum",
        "exp",
        "log",
        "where",
        "greater",
        "greater_equal",
        "less",
        "less_equal",
    ]
)
"""Operations that updates are made of."""

Several = tuple[Value, ...]


class Block(NamedTuple):
    """How some of the arrays stand side by side in a vector: as weights and bias do, or one alone.

    Attributes
    ----------
    shapes : tuple of tuple of int
        The shapes of the parts.
    axis : int
        Along which they are joined.
    whole : tuple of int
        The shape of them together.
    """

    shapes: tuple[tuple[int, ...], ...]
    axis: int
    whole: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.whole)


def pack_parameters(program: Program) -> Program:
    """Return the program with updates that are alike done at once, on vectors of all their elements."""
    groups = [_Group(program, olds) for olds in _alike(program)]
    groups = [group for group in groups if group.worth_it()]
    return _replaced(program, groups) if groups else program


def _alike(program: Program) -> list[list[Several]]:
    """Return the updated arrays whose updates are made of the same operations on the same numbers.

    Those of the same shapes belong together: parameters, and what an optimiser remembers of each.
    """
    found: dict[Any, list[Value]] = {}
    shapes = _Shapes(program)
    for old, new in program.updates.items():
        if old._data.ndim and old._data.size and old.dtype.kind == "f" and old in program.graph:
            found.setdefault((old.dtype, shapes.of(new)), []).append(old)
    together: dict[Any, list[Several]] = {}
    for several in found.values():
        if len(several) > 1:
            together.setdefault(tuple((x.shape, x.dtype) for x in several), []).append(tuple(several))
    return list(together.values())


class _Shapes:
    """What updates look like: their operations, with the arrays left out."""

    def __init__(self, program: Program) -> None:
        self.graph, self.memory = program.graph, set(program.memory)
        self.known: dict[Any, int] = {}
        self.numbers: dict[Value, int] = {}
        for value in computed(program.graph):
            if _is_elementwise(program.graph, value):
                node = recipe(program.graph, value)
                key = (node.op, *map(self.of, node.inputs))
                self.numbers[value] = self.known.setdefault(key, len(self.known))

    def of(self, x: Any) -> Any:
        if not isinstance(x, Value) or not x.shape:
            return ("number", x) if not isinstance(x, Value) else ("scalar", id(x))
        return self.numbers.get(x, "memory" if x in self.memory else "array")


def _is_elementwise(graph: Graph, value: Value) -> bool:
    """Return whether an operation goes element by element, over arrays of one shape and numbers."""
    if not is_op(graph, value, *ELEMENTWISE) or not value.shape:
        return False
    arrays = [x for x in recipe(graph, value).values if x.shape]
    return bool(arrays) and all(x.shape == value.shape for x in arrays)


class _Group:
    """Updates that are alike: of each of several arrays, and perhaps of what is remembered of each."""

    def __init__(self, program: Program, olds: list[Several]) -> None:
        self.program, self.graph = program, program.graph
        self.wholes, self.blocks, order = _blocks(program, olds)
        self.olds = [tuple(several[i] for i in order) for several in olds]
        self.news = [tuple(program.updates[x] for x in several) for several in self.olds]
        self.order: list[Several] = []  # what is recorded on vectors
        self.found: set[Several] = set()
        self._walk()

    def _walk(self) -> None:
        """Find the operations that can be done on vectors, each after those it needs."""
        waiting = [(several, False) for several in self.news]
        while waiting:
            several, done = waiting.pop()
            if done:
                if several not in self.found:
                    self.found.add(several)
                    self.order.append(several)
                continue
            if several in self.found or not self.alike(several):
                continue
            waiting.append((several, True))
            waiting += [(x, False) for x in self.inputs(several) if isinstance(x, tuple)]

    def alike(self, several: Several) -> bool:
        """Return whether values were made by the same operation, of which they share the numbers."""
        if not all(_is_elementwise(self.graph, x) for x in several):
            return False
        if any(x.shape != old.shape or x.dtype != several[0].dtype for x, old in zip(several, self.olds[0])):
            return False
        first, *others = (recipe(self.graph, x) for x in several)
        same = all(node.op is first.op and len(node.inputs) == len(first.inputs) for node in others)
        return same and None not in self.inputs(several)

    def inputs(self, several: Several) -> list[Any]:
        """Return the inputs of operations: a number or scalar that all share, or an array for each; None for others."""
        found: list[Any] = []
        for inputs in zip(*(recipe(self.graph, x).inputs for x in several)):
            arrays = [isinstance(x, Value) and bool(x.shape) for x in inputs]
            same = all(x is inputs[0] or (not isinstance(x, Value) and _same(x, inputs[0])) for x in inputs)
            found.append(tuple(inputs) if all(arrays) else inputs[0] if same and not any(arrays) else None)
        return found

    def members(self) -> set[Value]:
        """Return the values that are parts of vectors."""
        return {x for several in self.found for x in several}

    def worth_it(self) -> bool:
        """Return whether all updates can be done at once, and are small enough for that."""
        size = sum(block.size for block in self.blocks)
        return all(several in self.found for several in self.news) and size <= LARGEST


def _same(a: Any, b: Any) -> bool:
    return type(a) is type(b) and a == b


def _blocks(program: Program, olds: list[Several]) -> tuple[dict[Several, Value], list[Block], list[int]]:
    """Return concatenations of the arrays that the program has, what stands side by side, and the arrays' order."""
    graph = program.graph
    place = {x: i for several in olds for i, x in enumerate(several)}
    wholes: dict[Several, Value] = {}
    joined: dict[int, tuple[list[int], Block]] = {}
    left = set(range(len(olds[0])))
    for value in computed(graph):
        if is_op(graph, value, "concatenate"):
            parts = list(recipe(graph, value).values)
            members = tuple(_behind(graph, x) for x in parts)
            if all(x in place and place[x] in left for x in members) and len(set(members)) == len(members):
                axis = recipe(graph, value).params["axis"] % value._data.ndim
                indices = [place[x] for x in members]
                wholes[members] = value
                joined[indices[0]] = indices, Block(tuple(x.shape for x in parts), axis, value.shape)
                left -= set(indices)
    shapes = [x.shape for x in olds[0]]
    joined |= {i: ([i], Block((shapes[i],), 0, shapes[i])) for i in left}
    ordered = [joined[i] for i in sorted(joined)]
    return wholes, [block for _, block in ordered], [i for indices, _ in ordered for i in indices]


def _behind(graph: Graph, x: Value) -> Value:
    """Return what was reshaped to get a value."""
    return next(recipe(graph, x).values) if is_op(graph, x, "reshape") else x


# --- recording -----------------------------------------------------------------------------------


def _replaced(program: Program, groups: list[_Group]) -> Program:
    """Record the vectors, after all that they are computed from and before all that is computed from them."""
    graph = program.graph
    groups = _independent(graph, groups)
    members = set().union(*(group.members() for group in groups))
    late = _descendants(graph, members)
    new: dict[Value, Value] = {}
    labels: dict[Value, str] = {}
    with record_everything(), np.errstate(all="ignore"):
        for value in computed(graph):
            if value not in late and value not in members:
                new[value] = recorded_again(graph, value, new)
        for group in groups:
            _record(group, new, labels)
        for value in computed(graph):
            if value in late and value not in members:
                new[value] = recorded_again(graph, value, new)
    return labelled(program.replaced(new), labels)


def _independent(graph: Graph, groups: list[_Group]) -> list[_Group]:
    """Return the groups that need nothing which is computed from what they update."""
    found = list(groups)
    while True:
        members = set().union(*(group.members() for group in found)) if found else set()
        late = _descendants(graph, members) - members
        wrong = [group for group in found if any(x in late for y in group.members() for x in recipe(graph, y).values)]
        if not wrong:
            return found
        found = [group for group in found if group not in wrong]


def _descendants(graph: Graph, values: set[Value]) -> set[Value]:
    """Return all that is computed from some values, and they themselves."""
    found = set(values)
    for value in computed(graph):
        if any(x in found for x in recipe(graph, value).values):
            found.add(value)
    return found


def _record(group: _Group, new: dict[Value, Value], labels: dict[Value, str]) -> None:
    """Record a group's operations on vectors, and what is updated as views of them."""
    done: dict[Several, Value] = {}

    def vector(several: Several) -> Value:
        if several not in done:
            done[several] = made = _vector(group, several, new)
            remembered = any(several[0] is olds[0] for olds in group.olds)
            shared = _common([without_leading_numbers(group.graph.label(x)) for x in several])
            labels[made] = shared or ("parameters" if remembered else "gradients")
        return done[several]

    for several in group.order:
        op = recipe(group.graph, several[0]).op
        inputs = [
            vector(x) if isinstance(x, tuple) else new.get(x, x) if isinstance(x, Value) else x
            for x in group.inputs(several)
        ]
        done[several] = op(*inputs)
        start, size = 0, sum(block.size for block in group.blocks)
        for block, values in _by_block(group.blocks, several):
            stop = start + block.size
            part = RESHAPE(GETITEM(done[several], key=sliced(0, start, stop, size)), shape=block.whole)
            new.update(zip(values, _members(block, part, [x.shape for x in values])))
            start = stop


def _common(labels: list[str]) -> str:
    """Return what names begin with, or end in, up to an underscore or a dot: ``m`` of ``m_W1`` and ``m_b1``."""
    for texts, way in ((labels, 1), ([text[::-1] for text in labels], -1)):
        together = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts))
        if kept := re.match(r"(.*\w)[_.]", "".join(letters[0] for letters in together)):
            return kept[1][::way]
    return ""


def _by_block(blocks: list[Block], several: Several) -> list[tuple[Block, Several]]:
    """Return the values that belong to each block."""
    found, start = [], 0
    for block in blocks:
        found.append((block, several[start : start + len(block.shapes)]))
        start += len(block.shapes)
    return found


def _members(block: Block, whole: Value, shapes: list[tuple[int, ...]]) -> list[Value]:
    """Return the parts of an array that is laid out as a block."""
    if len(block.shapes) == 1:
        return [whole]
    start, found = 0, []
    for part, shape in zip(block.shapes, shapes):
        stop = start + part[block.axis]
        view = GETITEM(whole, key=sliced(block.axis, start, stop, whole.shape[block.axis]))
        found.append(view if view.shape == shape else RESHAPE(view, shape=shape))
        start = stop
    return found


def _vector(group: _Group, several: Several, new: dict[Value, Value]) -> Value:
    """Return the vector of the elements of arrays, one for each parameter."""
    parts = []
    for block, values in _by_block(group.blocks, several):
        if values in group.wholes:
            whole = new.get(group.wholes[values], group.wholes[values])
        else:
            whole = _whole(block, tuple(new.get(x, x) for x in values))
        parts.append(whole if whole._data.ndim == 1 else RESHAPE(whole, shape=(block.size,)))
    made: Value = CONCATENATE(*parts, axis=0)
    return made


def _whole(block: Block, values: Several) -> Value:
    """Return arrays joined as a block; what they are the parts of, if there is that."""
    if len(values) == 1:
        return values[0]
    sources = {_sliced(x) for x in values}
    source = sources.pop()
    if not sources and source is not None and source.shape == block.whole:
        members = _members(block, source, [x.shape for x in values])
        if all(map(_same_memory, values, members)):
            return source
    parts = [x if x.shape == shape else RESHAPE(x, shape=shape) for x, shape in zip(values, block.shapes)]
    made: Value = CONCATENATE(*parts, axis=block.axis)
    return made


def _sliced(x: Value) -> Value | None:
    """Return what a value is a slice of."""
    while x.node is not None and x.node.op.name == "reshape":
        x = next(x.node.values)
    return next(x.node.values) if x.node is not None and x.node.op.name == "getitem" else None


def _same_memory(a: Value, b: Value) -> bool:
    return bool(a._array.__array_interface__["data"] == b._array.__array_interface__["data"] and a.shape == b.shape)
