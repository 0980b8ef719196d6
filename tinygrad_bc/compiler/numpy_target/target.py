"""Programs as NumPy code that allocates nothing: one module, whose text is what runs.

Every value has a place in memory that is allocated once; values that are not needed at the same time share it, and new
values of what is updated are written straight over the old ones where nothing reads these afterwards.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import linecache
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.numpy_source.writer import Writer
from tinygrad_bc.compiler.numpy_target.affine import fold_biases
from tinygrad_bc.compiler.numpy_target.again import computed, is_op
from tinygrad_bc.compiler.numpy_target.buffers import Plan, roots
from tinygrad_bc.compiler.numpy_target.flat import pack_parameters
from tinygrad_bc.compiler.numpy_target.instructions import OUT, Instruction, Kind, instruction, parse
from tinygrad_bc.compiler.numpy_target.module_text import ModuleText
from tinygrad_bc.compiler.numpy_target.orders import recorded_orders, shortest_steps, without_false_views
from tinygrad_bc.compiler.numpy_target.side_by_side import padded_side_by_side
from tinygrad_bc.compiler.numpy_target.sums import sums_as_products
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Array, Value

__all__ = ["Bound", "Built", "build"]

MOST_COPIED = 2**16
"""How many elements an argument may have that is copied to spare each step making a view."""

_numbers = itertools.count(1)


class Bound:
    """A program together with the arrays it works on.

    Parameters
    ----------
    prepare, step : callable
        The functions that the module's `bind` returned.
    quiet : mapping of str to str
        The arguments of `numpy.errstate` that `step` is decorated with.
    """

    def __init__(self, prepare: Any, step: Any, quiet: Mapping[str, Any]) -> None:
        self.prepare = prepare
        self.step = step
        self.quiet = quiet

    def loop(self, steps: int, varying: Mapping[int, Array], *arguments: Array) -> tuple[Array, ...]:
        """Do several steps, and return the results of the last.

        Parameters
        ----------
        steps : int
            At least 1.
        varying : mapping of int to ndarray
            The position of an argument of no axes, and its value in each step, of shape ``(steps,)``.
        *arguments : ndarray
            As `step` takes them; those that vary are not read.
        """
        with np.errstate(**self.quiet):  # once, and not in each step
            step, passed = inspect.unwrap(self.step), list(arguments)
            if not varying:
                for _ in range(steps - 1):
                    step(*passed)
                results: tuple[Array, ...] = step(*passed)
                return results
            for numbers in zip(*varying.values()):
                for position, number in zip(varying, numbers):
                    passed[position] = number
                results = step(*passed)
            return results


class Built:
    """A program as a NumPy module.

    Attributes
    ----------
    source : str
        The text of the module.
    namespace : dict
        What it defines.
    any_layout : bool
        Whether arguments may lie in memory in any way; they have to, for products to be rounded as they were recorded.
    """

    def __init__(self, program: Program, text: ModuleText, any_layout: bool) -> None:
        self.source = text.source
        self.any_layout = any_layout
        self.namespace = _executed(program.name, text.source)
        self._text = text

    def pack(self, memory: Sequence[Array]) -> list[Array]:
        """Return arrays of the same numbers, in the order of the program's memory, laid out as `bind` wants them.

        Arrays that are best side by side are views of one new array; others are returned as they are.
        """
        memory = list(memory)
        for whole in self._text.arrays.packed:
            vector = self.namespace["empty"](whole._data.size, whole.dtype)
            for i, view in self._views(whole, vector).items():
                view[...] = memory[i]
                memory[i] = view
        return memory

    def bind(self, memory: Sequence[Array]) -> Bound:
        """Return the program bound to arrays, which it changes in place: those that `pack` returned.

        Raises
        ------
        ValueError
            If arrays that belong together do not come from `pack`.
        """
        vectors = {whole: self._vector(whole, memory) for whole in self._text.arrays.packed}
        prepare, step = self.namespace["bind"](*self._text.given(memory, vectors))
        return Bound(prepare, step, self._text.quiet)

    def _views(self, whole: Value, vector: Array) -> dict[int, Array]:
        """Return the views of a vector that are arrays of the memory, by their positions."""
        return {i: _same_view(place, vector) for i, place in self._text.parts_of(whole).items()}

    def _vector(self, whole: Value, memory: Sequence[Array]) -> Array:
        """Return the vector that arrays of the memory are views of."""
        places = self._text.parts_of(whole)
        i = min(places, key=lambda i: _offset(places[i]))
        if isinstance(owner := memory[i].base, np.ndarray):
            start = _address(memory[i]) - _address(owner) - _offset(places[i])
            if 0 <= start <= owner.nbytes - whole._data.nbytes:
                vector: Array = np.ndarray(whole._data.size, whole.dtype, buffer=owner, offset=start)
                views = self._views(whole, vector)
                if all(_address(v) == _address(memory[i]) and v.strides == memory[i].strides for i, v in views.items()):
                    return vector
        raise ValueError("these arrays are to stand side by side in one: bind the ones that pack(memory) returns")


def _address(array: Array) -> int:
    address: int = array.__array_interface__["data"][0]
    return address


def _offset(place: Any) -> int:
    """Return at which byte of its storage a place begins."""
    return _address(place.array) - _address(place.storage.array)


def _same_view(place: Any, vector: Array) -> Array:
    view: Array = np.ndarray(place.array.shape, vector.dtype, vector, _offset(place), place.array.strides)
    return view


def _executed(title: str, source: str) -> dict[str, Any]:
    """Return what a module defines; tracebacks show its lines."""
    file = f"<{title}.numpy {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"__name__": file}
    exec(compile(source, file, "exec"), namespace)
    return namespace


# --- building ------------------------------------------------------------------------------------


def build(program: Program, plain: bool = False) -> Built:
    """Return a program as a NumPy module.

    Parameters
    ----------
    program : Program
        Simplified and lowered, for the fastest code; any other runs, too.
    plain : bool
        Whether NumPy is to be called as it was by the recorded operations, so that the numbers are the same bit for
        bit. Otherwise they are the same up to rounding.

    Raises
    ------
    SourceError
        If no source can be written for an operation.
    """
    if not plain:
        for change in (padded_side_by_side, fold_biases, pack_parameters, sums_as_products):
            program = change(program)
    writer = Writer()
    program = owned(program, writer)
    instructions = [instruction(program.graph, x, writer, plain) for x in computed(program.graph)]
    if not plain:
        instructions = scheduled(program, _with_copies(program, instructions))
    instructions, first = ordered(program, instructions)
    if plain:
        orders = recorded_orders(i.value for i in instructions)
    else:
        orders = shortest_steps(instructions, [*program.inputs, *program.results])
    instructions = without_false_views(instructions, orders)
    memory = set(program.memory)
    leaves = [x for x in _leaves(program, instructions) if x not in memory]
    plan = Plan(instructions, first, leaves, program.memory, program.results, program.updates, orders, join=not plain)
    return Built(program, ModuleText(program, plan, writer, {} if plain else _quiet(instructions)), any_layout=plain)


def _leaves(program: Program, instructions: Iterable[Instruction]) -> list[Value]:
    """Return what is not computed: arguments, memory, and constants, also those that instructions brought in."""
    computed = {i.value for i in instructions}
    inputs = [x for i in instructions for x in i.values]
    return list(dict.fromkeys(x for x in (*program.inputs, *program.graph.outputs, *inputs) if x not in computed))


def _quiet(instructions: Iterable[Instruction]) -> dict[str, str]:
    """Return the arguments of `numpy.errstate` under which to run.

    Operations that are lowered now, such as `sigmoid`, have infinities between that are right. What is not a number is
    still reported.
    """
    called = " ".join(ast.unparse(i.code) for i in instructions)
    found = {"over": r"np\.(exp|expm1|sinh|cosh)\(", "divide": r"np\.(log\w*|power|reciprocal)\(|np\.divide\([^)]*x1"}
    return {key: "ignore" for key, functions in found.items() if re.search(functions, called)}


def owned(program: Program, writer: Writer) -> Program:
    """Return a program whose results are its own, and whose updates do not read what others of them change.

    A result that is an argument, or something remembered, or looks at one, is copied; and so is a new value of one
    array that is the old one of another.
    """
    seen_through = roots([instruction(program.graph, x, writer) for x in computed(program.graph)])
    prepared = set(program.prepared())
    changed = {seen_through.get(x, x) for x in program.updates.values()}

    def root(x: Value) -> Value:
        return seen_through.get(x, x)

    def given(x: Value) -> bool:
        return program.graph.node(root(x)) is None or root(x) in prepared

    returned = {x for x in program.results if given(x) or root(x) in changed}
    read = {x for x in program.updates.values() if root(x) in program.updates}
    with record_everything():
        copies = {x: _copied(x) for x in dict.fromkeys(program.graph.outputs) if x in returned | read}
    if not copies:
        return program
    labels = {x: program.graph.label(x) for x in program.graph if not program.graph.label(x).startswith("%")}
    return Program(
        program.name,
        program.arguments,
        program.memory,
        [copies[x] if x in returned else x for x in program.results],
        {old: copies[x] if x in read else x for old, x in program.updates.items()},
        program.steady,
        labels,
    )


def _copied(x: Value) -> Value:
    op = REGISTRY["cast" if x.dtype.kind == "f" else "truncate"]
    made: Value = op(x, dtype=x.dtype)
    return made


def _with_copies(program: Program, instructions: list[Instruction]) -> list[Instruction]:
    """Return the instructions with copies of small arguments that seldom change, where these are only reshaped.

    They are made once, and spare each step making views.
    """
    given = {x for x in program.arguments if x in program.steady and x._data.size <= MOST_COPIED}
    return [
        Instruction(i.value, i.inputs, parse(f"np.copyto({OUT}.reshape{i.values[0].shape}, x0)"), Kind.CALL)
        if i.kind is Kind.VIEW and i.values[0] in given and i.value.shape and is_op(program.graph, i.value, "reshape")
        else i
        for i in instructions
    ]


def scheduled(program: Program, instructions: list[Instruction]) -> list[Instruction]:
    """Return the instructions in an order in which each is soon followed by those that need it."""
    by_value = {i.value: i for i in instructions}
    found: dict[Value, Instruction] = {}
    waiting = [(x, False) for x in reversed(program.graph.outputs)]
    while waiting:
        x, ready = waiting.pop()
        if x in found or x not in by_value:
            continue
        if ready:
            found[x] = by_value[x]
        else:
            waiting.append((x, True))
            waiting += [(y, False) for y in reversed(by_value[x].values)]
    late = _to_be_late(program, list(found.values()))
    for x, i in found.items():
        if not late.isdisjoint(i.values):
            late.add(x)
    return [i for x, i in found.items() if x not in late] + [i for x, i in found.items() if x in late]


def _to_be_late(program: Program, instructions: list[Instruction]) -> set[Value]:
    """Return the new values of what is read after they are computed: to be computed last, and written in place."""
    parts = {x: {x} for x in program.memory}  # what is remembered that values look at
    read: dict[Value, int] = {}
    for n, i in enumerate(instructions):
        inside = [parts.get(x, set()) for x in i.values]
        if i.kind is Kind.VIEW or (all(inside) and is_op(program.graph, i.value, "concatenate")):
            parts[i.value] = set().union(*inside)
        else:
            read.update((x, n) for several in inside for x in several)
    position = {i.value: n for n, i in enumerate(instructions)}
    seen_through = roots(instructions)
    found = {old: seen_through.get(new, new) for old, new in program.updates.items()}
    return {new for old, new in found.items() if new in position and read.get(old, -1) > position[new]}


def ordered(program: Program, instructions: list[Instruction]) -> tuple[list[Instruction], int]:
    """Return the instructions with those that are prepared first, and their number.

    In each step, copies of what is remembered come first, so that it may be changed afterwards.
    """
    graph, ahead = program.graph, set(program.prepared())
    for i in reversed(instructions):
        if i.value in ahead:
            ahead.update(x for x in i.values if graph.node(x) is not None)
    leading: set[Value] = set()
    for i in instructions:
        copies = i.kind is Kind.VIEW or is_op(graph, i.value, "cast", "truncate")
        if i.value not in ahead and copies and all(graph.node(x) is None or x in leading for x in i.values):
            leading.add(i.value)
    found = sorted(instructions, key=lambda i: 0 if i.value in ahead else 1 if i.value in leading else 2)
    return found, len(ahead)
