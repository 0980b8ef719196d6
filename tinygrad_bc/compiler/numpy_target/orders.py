"""The order of axes in memory: a matrix is stored so that its longer axis is contiguous, if nothing speaks against it.

NumPy is fast along contiguous axes that are long. So a batch of 500 samples with 15 features each is stored as 15 rows
of 500 numbers, whichever of its two axes comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tinygrad_bc.compiler.numpy_target.instructions import OUT, Instruction, Kind, parse, run
from tinygrad_bc.compiler.passes.simplify import filled_with
from tinygrad_bc.record import Value

__all__ = ["recorded_orders", "shortest_steps", "without_false_views"]

Order = tuple[int, ...]


def recorded_orders(values: Iterable[Value]) -> dict[Value, Order]:
    """Return the orders of axes that the recorded arrays have: those of the operations as they ran."""
    return {x: tuple(sorted(range(x._data.ndim), key=lambda axis: -abs(x._array.strides[axis]))) for x in values}


def shortest_steps(instructions: Sequence[Instruction], fixed: Iterable[Value]) -> dict[Value, Order]:
    """Return the order in which to store each computed matrix.

    Matrices of one shape that meet element by element get the same order: if one of them is among `fixed`, or would
    have to be copied for being reshaped, or comes from or goes to a function that allocates what it returns, that in
    which it is given.
    """
    group: dict[Value, Value] = {}

    def first(x: Value) -> Value:
        while group.get(x, x) is not x:
            group[x] = x = group.get(group[x], group[x])
        return x

    for instruction in instructions:
        if instruction.elementwise:
            for x in instruction.values:
                if x.shape == instruction.value.shape:
                    group[first(x)] = first(instruction.value)
    pinned = {first(x) for x in fixed}
    for instruction in instructions:
        node = instruction.value.node
        allocated = instruction.kind is Kind.ASSIGNMENT and bool(instruction.value.shape)
        allocated = allocated and node is not None and node.op.name != "where"
        if allocated or (node is not None and node.op.name == "reshape"):
            pinned.update(map(first, (instruction.value, *instruction.values)))
    stored = [i.value for i in instructions if i.kind is Kind.CALL]
    stored += [x for i in instructions for x in i.values if filled_with(x) is not None]
    return {x: (1, 0) for x in stored if _is_tall(x.shape) and first(x) not in pinned}


def _is_tall(shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and shape[0] > shape[1] > 1


def without_false_views(instructions: Iterable[Instruction], orders: dict[Value, Order]) -> list[Instruction]:
    """Return the instructions with copies in the place of reshapings that are no views in these orders."""
    arrays: dict[Value, np.ndarray] = {}
    found = []
    for instruction in instructions:
        value = instruction.value
        if instruction.kind is Kind.VIEW:
            base = instruction.values[0]
            if base not in arrays:
                arrays[base] = _stored(base, orders.get(base))
            made = run(instruction.code, x0=arrays[base])
            if made.size and not np.may_share_memory(made, arrays[base]):
                lengths = ", ".join(map(str, base.shape))
                code = parse(f"np.copyto({OUT}.reshape({lengths}), x0)")
                instruction = Instruction(value, instruction.inputs, code, Kind.CALL)
                orders.pop(value, None)
            else:
                arrays[value] = made
        found.append(instruction)
    return found


def _stored(x: Value, order: Order | None) -> np.ndarray:
    order = order or tuple(range(x._data.ndim))
    empty = np.empty([x.shape[axis] for axis in order], x.dtype)
    return empty.transpose([order.index(axis) for axis in range(x._data.ndim)])
