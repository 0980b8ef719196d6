"""A program with composite operations written as core operations, which every target knows.

An operation is written by its rule, in `composites`, `places` or `contractions`, or, if it has none, as the operations
that its forward computation is made of, where `made_of` can find them. What is found is compared with what the
operation computes from the recorded data: where the two do not agree, or nothing is found, it stays whole.

The core operations say of an overflow or a logarithm of 0 what they always say, also inside an operation that does so
on purpose and in silence, as `sigmoid` does: whoever runs a lowered program may want `np.errstate` around it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.passes import composites, contractions, places
from tinygrad_bc.compiler.passes.made_of import operations_in
from tinygrad_bc.compiler.passes.simplify import agree
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, Primitive, constant
from tinygrad_bc.record import Array, Node, Value, clock

__all__ = ["CORE", "lower"]

_CORE = """
    add subtract multiply divide negative power square sqrt reciprocal abs sign floor ceil trunc round floor_divide
    remainder fmod maximum minimum exp expm1 log log1p log2 log10 sin cos tan asin acos atan sinh cosh tanh asinh acosh
    atanh atan2 erf erfc equal not_equal less less_equal greater greater_equal isnan isinf isfinite logical_and
    logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor bitwise_not where cast
    reshape permute matrix_transpose broadcast_to getitem concatenate stack pad flip
    sum prod max min all any argmax argmin matmul
"""
CORE = frozenset(_CORE.split())
"""The names of the operations that every target knows: `pad` with constants, `getitem` without masks."""

WITHOUT_EFFECT = frozenset(["reshape", "broadcast_to", "cast", "concatenate", "sum", "prod", "max", "min"])
"""Operations on one array that do nothing to it where neither shape nor element type changes."""

LARGE = 64
"""From how many elements on a constant whose elements are all the same is kept as a number that is broadcast."""

MOST_COMPARED = 100_000
"""Up to how many elements constants are compared to find equal ones."""


def lower(program: Program, rules: Mapping[str, Callable[..., Any]] = MappingProxyType({})) -> Program:
    """Return a program that computes the same by core operations, as far as that can be done.

    Parameters
    ----------
    program : Program
    rules : mapping of str to callable, optional
        Rules that a target adds for operations that it has something of its own for, by their names.

    Returns
    -------
    Program
        Its values have the shapes, the element types and the labels that they had. The same operation on the same
        values is recorded once, and what follows from constants alone is a constant.

    Notes
    -----
    Some operations refuse numbers that make no sense: a class that does not exist, a probability above 1. What they are
    made of cannot, and gives NaN for these; a class above the highest is an index out of bounds.
    """
    with record_everything(), np.errstate(all="ignore"):
        return _Lowering(program, rules).run()


class _Lowering:
    """The values of the new program; also the `places.Facts` about them."""

    def __init__(self, program: Program, rules: Mapping[str, Callable[..., Any]]) -> None:
        self.program, self.rules = program, rules
        self.inputs = frozenset(program.inputs)
        self.started = clock()
        self.new: dict[Value, Value] = {}
        self.known: dict[Any, Value] = {}
        self.numbers: dict[Value, Array] = {}  # of what follows from constants alone
        self.classes: set[Value] = set()  # what an operation has refused to be negative

    def run(self) -> Program:
        graph = self.program.graph
        outputs = set(graph.outputs)
        for value in graph:
            node = graph.node(value)
            if node is None:
                self.new[value] = self._leaf(value, named=not graph.label(value).startswith("%"))
                continue
            inputs = tuple(self.new[x] if isinstance(x, Value) else x for x in node.inputs)
            new = self._operation(node.op, inputs, node.params, value, node)
            if value in outputs and new in self.inputs:  # an output has a label of its own
                new = self._recorded(REGISTRY["cast"], (new,), {"dtype": new.dtype}, value, node)
            self.new[value] = new
        return self.program.replaced(self._replacements(outputs))

    def _replacements(self, outputs: set[Value]) -> dict[Value, Value]:
        """Return what takes the place of values: of all outputs, and of others whose label it is to get."""
        found = {value: self.new[value] for value in outputs}
        taken = {*found.values(), *self.inputs, *(old for old, new in self.new.items() if old is new)}
        for value, new in self.new.items():
            if value not in found and new not in taken and not self.program.graph.label(value).startswith("%"):
                found[value] = new
                taken.add(new)
        return found

    # --- what is known about values --------------------------------------------------------------

    def constant(self, x: Value) -> Array | None:
        """Return the numbers of a constant; None for other values."""
        if x in self.numbers:
            return self.numbers[x]
        return x._array if x._data.size == 0 or (x.node is None and x not in self.inputs) else None

    def counts_from_0(self, x: Value) -> bool:
        """Return whether an array of indices holds no negative ones, whatever the data."""
        node = self.node(x)
        found = node is not None and node.op.name in ("argsort", "argmax", "argmin")
        return found or x.dtype.kind == "u" or x in self.classes

    def node(self, x: Value) -> Node | None:
        """Return the recipe of a value; None for inputs, which may be other numbers."""
        return None if x in self.inputs else x.node

    # --- constants -------------------------------------------------------------------------------

    def _leaf(self, value: Value, named: bool) -> Value:
        """Return an input as it is, and for a constant the one that has the same elements."""
        if value in self.inputs or named:
            return value
        return self.known.setdefault(_elements(value._array), value)

    def _folded(self, value: Value, node: Node) -> Value:
        """Return something that follows from constants as a constant."""
        array = value._array
        first = array.reshape(-1)[:1]
        if array.size < LARGE or array.tobytes() != first.tobytes() * array.size:
            return self._leaf(constant(array), named=False)
        number = self._leaf(constant(first.reshape(())), named=False)
        op, params = REGISTRY["broadcast_to"], {"shape": array.shape}
        key = _key(op, (number,), params)
        if key not in self.known:
            self.known[key] = self._recorded(op, (number,), params, value, node)
            self.numbers[self.known[key]] = array
        return self.known[key]

    # --- operations ------------------------------------------------------------------------------

    def _operation(self, op: Primitive, inputs: tuple[Any, ...], params: Any, made: Value, node: Node) -> Value:
        """Return the value of an operation on new values, lowered.

        `made` was recorded as that operation, on these values or others of the same meaning; `node` is the operation of
        the program which it belongs to.
        """
        values = [x for x in inputs if isinstance(x, Value)]
        if not values:
            return made  # random numbers
        key = _key(op, inputs, params)
        if key in self.known:
            return self.known[key]
        if (same := self._without_effect(op, inputs, made)) is not None:
            return same
        whole = self._recorded(op, inputs, params, made, node)
        if whole._data.size == 0 or all(self.constant(x) is not None for x in values):
            new = self._folded(whole, node)
        else:
            expanded = self._expanded(op, inputs, params, whole, node)
            new = whole if expanded is None else expanded
        if key is not None:
            self.known[key] = new
        return new

    def _without_effect(self, op: Primitive, inputs: tuple[Any, ...], made: Value) -> Value | None:
        """Return the input of an operation that would return it as it is."""
        x = inputs[0]
        if len(inputs) != 1 or not isinstance(x, Value):
            return None
        if op.name in WITHOUT_EFFECT and x.shape == made.shape and x.dtype == made.dtype:
            return x
        before = self.node(x)
        return next(before.values) if op.name == "negative" and before is not None and before.op is op else None

    def _recorded(self, op: Primitive, inputs: tuple[Any, ...], params: Any, made: Value, node: Node) -> Value:
        """Return an operation as it is, recorded now; its numbers are those of `made`, if that was made of the same."""
        before = made.node
        if before is None or before.op is not op or not _are_same(before.inputs, inputs):
            made = op(*inputs, **params)
        elif before.tick < self.started:  # recorded now, it stands where its turn is
            again = copy.copy(before)
            again.inputs, again.params, again.tick = inputs, params, clock()
            made = type(made)(made._data, made._requires_grad, again, made.name)
        new: Any = made.node
        new.take_place_of(node)
        return made

    def _expanded(self, op: Primitive, inputs: tuple[Any, ...], params: Any, whole: Value, node: Node) -> Value | None:
        """Return an operation written by others; None if nothing is known, or does not agree."""
        if op.name == "nll":
            self.classes.add(inputs[1])
        started = clock()
        found = self._written(op, inputs, params)
        if found is None or not _is_same(found, whole):
            return None
        new: dict[Value, Value] = {}
        for value in _recorded_since(found, started):
            part: Any = value.node
            operands = tuple(self._operand(x, new) if isinstance(x, Value) else x for x in part.inputs)
            new[value] = self._operation(part.op, operands, part.params, value, node)
        return self._operand(found, new)

    def _operand(self, x: Value, new: dict[Value, Value]) -> Value:
        return new[x] if x in new else self._leaf(x, named=False) if x.node is None else x

    def _written(self, op: Primitive, inputs: tuple[Any, ...], params: Any) -> Value | None:
        found: Value | None
        if op.name in self.rules:
            found = self.rules[op.name](*inputs, **params)
        elif op.name in places.RULES:
            found = places.RULES[op.name](self, *inputs, **params)
        elif op.name in composites.RULES:
            found = composites.RULES[op.name](*inputs, **params)
        elif op.name in contractions.RULES:
            found = contractions.RULES[op.name](*inputs, **params)
        else:
            found = None if op.name in CORE else operations_in(op, inputs, params)
        return found


def _recorded_since(found: Value, started: int) -> list[Value]:
    """Return the values that were recorded after a moment, for `found` and with it, each after its inputs."""
    parts: dict[Value, None] = {}
    waiting = [found]
    while waiting:
        value = waiting.pop()
        if value not in parts and value.node is not None and value.node.tick > started:
            parts[value] = None
            waiting += value.node.values
    return sorted(parts, key=lambda value: value.node.tick)  # type: ignore[union-attr]


def _is_same(new: Any, old: Value) -> bool:
    """Return whether two values hold the same numbers but for rounding, and the same infinities and NaNs."""
    if not isinstance(new, Value) or new.shape != old.shape or new.dtype != old.dtype:
        return False
    a, b = new._array, old._array
    if b.dtype.kind != "f":
        return np.array_equal(a, b)
    finite = np.isfinite(b)
    return np.array_equal(a[~finite], b[~finite], equal_nan=True) and agree(a, b)


def _are_same(a: Iterable[Any], b: Iterable[Any]) -> bool:
    return all(x is y for x, y in zip(a, b))


def _key(op: Primitive, inputs: Iterable[Any], params: Mapping[str, Any]) -> Any:
    """Return what tells an operation on values from others; None if it cannot be told."""
    key = (op, *map(_hashable, inputs), *((name, _hashable(x)) for name, x in sorted(params.items())))
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _hashable(x: Any) -> Any:
    if isinstance(x, float):
        return float, x.hex()  # 0.0 and -0.0 are two, and NaN is one
    if isinstance(x, slice):
        return slice, x.start, x.stop, x.step
    return tuple(map(_hashable, x)) if isinstance(x, tuple) else (type(x), x)


def _elements(array: Array) -> Any:
    """Return what tells a constant from others: its elements, unless there are very many."""
    return (array.dtype, array.shape, array.tobytes() if array.size <= MOST_COMPARED else id(array))
