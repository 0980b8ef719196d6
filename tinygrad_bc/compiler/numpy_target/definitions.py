"""The arrays that a module works on: their names, and the lines of `bind` that make them."""

from __future__ import annotations

import ast
import re
from collections import Counter
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.names import NOUNS
from tinygrad_bc.compiler.numpy_source import layout
from tinygrad_bc.compiler.numpy_source.rewrite import name
from tinygrad_bc.compiler.numpy_source.specialise import UnsupportedError, literal
from tinygrad_bc.compiler.numpy_source.writer import Writer, identifier
from tinygrad_bc.compiler.numpy_target.again import is_op
from tinygrad_bc.compiler.numpy_target.buffers import Plan
from tinygrad_bc.compiler.numpy_target.instructions import Kind, filled, parse
from tinygrad_bc.compiler.numpy_target.storage import Place, Storage
from tinygrad_bc.compiler.passes.simplify import filled_with
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.record import Value

__all__ = ["Definitions", "Number"]

LARGEST_LITERAL = 32
"""How many elements a constant may have that is written out, if it follows no rule."""

HINTS = (("T", "_T"), ("view", "_bits"), ("reshape", "_reshaped"))
"""What the names of views end in."""

LETTERS = {".": "_", "-": "m", "+": ""}
"""How numbers are written in names: ``c0_01`` and ``cm2``."""

REMARKS = {
    r" +\w+ = \w+": "the same memory: they are not needed at the same time",
    r" +\w+ = np\.array\(\S+\)": "as an array: of a number NumPy makes one at every call",
    r" +\w+ = \w+\.view\(np\.int\d+\)": "bits: times 0 they are 0, those of an infinity too",
}
"""What is said, once, of lines in `bind`."""

SECTIONS = CONSTANTS, BUFFERS, VIEWS = "constants", "buffers", "views"
"""The parts of `bind`, and what stands above them."""


class Number(NamedTuple):
    """A number that an array is combined with."""

    number: float
    dtype: Any


class Definitions:
    """Names for arrays, each made where it is needed first.

    Parameters
    ----------
    program : Program
    plan : Plan
    writer : Writer
        That has the helpers whose names are taken.

    Attributes
    ----------
    names : dict of Value to str
    at : dict
        The names of places.
    constants : list of Value
        Large constant arrays, which the module's `bind` takes after the memory.
    packed : list of Value
        What `bind` takes in the place of the memory that is views of it.
    made : list of (str, str, list of str)
        The lines of `bind`: in which of the `SECTIONS`, the name that they define, and they themselves.
    """

    def __init__(self, program: Program, plan: Plan, writer: Writer) -> None:
        self.program, self.graph, self.plan, self.writer = program, program.graph, plan, writer
        self.memory, self.inputs = frozenset(program.memory), frozenset(program.inputs)
        self.made: list[tuple[str, str, list[str]]] = []
        self.names: dict[Value, str] = {}
        self.at: dict[Any, str] = {}
        self.shared: dict[Any, str] = {}  # other names, of values that stand there at other times
        self.storages: dict[Storage, str] = {}
        self.constants: list[Value] = []
        self.packed: list[Value] = []
        self.taken = {"np", "empty", "bind", "prepare", "step", "math", *writer.helpers, *writer.modules}
        self.wholes = self._wholes()
        self.joined = {plan.places[x].key: x for x in (*plan.joined, *program.memory)}
        self.under = {x: value for value, x in plan.over.items()}
        self.labels = self._labels()
        self.uses = Counter(x for i in plan.instructions for x in i.values)
        self.uses.update(self.graph.outputs)
        self.chains = Counter(plan.places[x].key for x in self.graph if self._begins_chain(x))

    def new_name(self, base: str) -> str:
        """Return a name that nothing has yet."""
        text, number = base, 2
        while text in self.taken:
            text, number = f"{base}_{number}", number + 1
        self.taken.add(text)
        return text

    def temporary(self, value: Value) -> str:
        """Return a name for a value that has none: after its operation, or that of a buffer for several."""
        return self.new_name("scratch" if self.chains[self.plan.places[value].key] > 1 else self._noun(value))

    def _begins_chain(self, x: Value) -> bool:
        """Return whether a nameless value is written into a buffer, and not over one of its own inputs."""
        instruction = self.plan.by_value.get(x)
        return (
            instruction is not None and instruction.kind is Kind.CALL and x not in self.plan.over and not self.labels[x]
        )

    def _noun(self, value: Value) -> str:
        """Return what a value is called after its operation: the last of those that are written over one another."""
        while value in self.under and self.uses[value] == 1:
            value = self.under[value]
        op = self.plan.by_value[value].value.node.op.name  # type: ignore[union-attr]
        return identifier(NOUNS.get(op, op))

    def label(self, value: Value) -> str:
        """Return what a value is to be called, '' if that does not matter."""
        if value not in self.graph:
            return identifier(value.name or "x")
        return self.labels[value]

    def _labels(self) -> dict[Value, str]:
        """Return what values are called: one without a name as what is written over it."""
        found: dict[Value, str] = {}
        results = frozenset(self.program.results)
        for value in reversed(self.graph.values):
            label = self.graph.label(value)
            if not label.startswith("%"):
                found[value] = identifier(label)
            elif value in self.under:
                found[value] = found[self.under[value]]
            else:
                found[value] = self._label_of_copy(value) or ("result" if value in results else "")
        return found

    def _label_of_copy(self, value: Value) -> str:
        """Return what a reshaped copy of an argument is called, '' for other values."""
        instruction = self.plan.by_value.get(value)
        if instruction is None or instruction.kind is Kind.VIEW or not is_op(self.graph, value, "reshape"):
            return ""
        label = self.graph.label(instruction.values[0])
        return "" if label.startswith("%") else identifier(f"{label}_{'flat' if value._data.ndim == 1 else 'reshaped'}")

    def _wholes(self) -> dict[Storage, set[Any]]:
        """Return the different places of values that begin a storage."""
        found: dict[Storage, set[Any]] = {}
        for place in self.plan.places.values():
            while place.base is not None and place.base.base is not None:
                place = place.base
            found.setdefault(place.storage, set()).add(place.key)
        return found

    def parameter(self, value: Value) -> str:
        """Return the name of a parameter of one of the functions."""
        if value not in self.names:
            self.names[value] = self.new_name(self.label(value) or "x")
            self.at[self.plan.places[value].key] = self.names[value]
        return self.names[value]

    def memory_parameters(self) -> list[str]:
        """Return what `bind` takes for the memory: an array for each, or one that several are parts of."""
        found: dict[str, None] = {}
        for value in self.program.memory:
            if self.owner(value) is value:
                found[self.parameter(value)] = None
        for value in self.program.memory:
            storage = self.plan.places[value].storage
            if storage.owner is not value and storage not in self.storages:
                assert storage.owner is not None
                self.packed.append(storage.owner)
                whole = self.label(storage.owner) or "parameters"
                flat = storage.owner._data.ndim == 1
                self.storages[storage] = title = self.new_name(whole if flat else f"{whole}_flat")
                if flat:
                    self.names[storage.owner] = self.at[self.plan.places[storage.owner].key] = title
                found[title] = None
        return list(found)

    def definitions(self, text: str) -> list[str]:
        """Return the lines of `bind` that define what is used."""
        used = set(re.findall(r"\w+", text))
        kept: dict[str, list[list[str]]] = {section: [] for section in SECTIONS}
        for section, title, lines in reversed(self.made):
            if not title or title in used:
                kept[section].append(lines)
                used.update(re.findall(r"\w+", "\n".join(lines)))
        found: list[str] = []
        for section, several in kept.items():
            if several:
                found += [*([""] if found else []), f"{layout.INDENT}# {section}"]
                found += [line for lines in reversed(several) for line in lines]
        return _remarked(found)

    def number(self, x: Number) -> str:
        """Return the name of a number as an array, which NumPy need not make of it at every call."""
        if x not in self.at:
            spelled = "".join(LETTERS.get(letter, letter) for letter in f"{x.number:.4g}")
            self.at[x] = title = self.new_name(f"c{spelled}")
            made = literal(np.array(x.number, x.dtype), self.writer.modules)
            self.made.append((CONSTANTS, title, assignment(title, made)))
        return self.at[x]

    def is_bound(self, x: Value) -> bool:
        """Return whether a value stands in an array that is there from the beginning."""
        owner = self.plan.places[x].storage.owner
        return owner is None or owner in self.memory or owner in self.plan.joined or self.is_constant(owner)

    def is_constant(self, x: Value) -> bool:
        """Return whether a value is neither passed, nor remembered, nor computed."""
        return x not in self.inputs and x not in self.plan.by_value

    def view_of(self, x: Value, code: Any) -> str:
        """Return the name of a view, given by an expression, of an array that is there from the beginning."""
        base = self.bound(x)
        inputs = {part.id for part in ast.walk(code) if isinstance(part, ast.Name)} - {"np"}
        renamed = filled(code, dict.fromkeys(inputs, name("x0")))
        place = self.plan.places[x].view(renamed)
        self.define(place, base)
        return self.at[place.key]

    def bound(self, value: Value) -> str:
        """Return the name of the array that a value stands in; it is made in `bind`."""
        if value in self.names:
            return self.names[value]
        place = self.plan.places[value]
        if self.is_constant(value):
            self._define_constant(value, place)
            return self.names[value]
        same = self.joined.get(place.key, value)
        of_memory = place.storage.owner is not None and (place.key in self.at or same is not value)
        label = "" if of_memory else self.label(value)
        if of_memory:
            self.names[value] = self.at[place.key] if place.key in self.at else self.bound(same)
        elif (place.key, label) in self.shared:
            self.names[value] = self.shared[place.key, label]
        elif place.key in self.at and not (self.plan.by_value[value].kind is Kind.VIEW and not label):
            self.names[value] = self._same_memory(value, label)
        else:
            self.define(place, "", label, value)
            self.names[value] = self.at[place.key]
        self.shared[place.key, label] = self.names[value]
        return self.names[value]

    def _same_memory(self, value: Value, label: str) -> str:
        """Return another name for a buffer, for a value that stands there at another time."""
        title = self.new_name(label) if label else self.temporary(value)
        self.made.append((VIEWS, title, [f"{layout.INDENT}{title} = {self.at[self.plan.places[value].key]}"]))
        return title

    def define(self, place: Place, base: str, title: str = "", value: Value | None = None) -> None:
        """Give a place a name: `title`, or one that follows from what it is a view of, or from the value there."""
        if place.key in self.at:
            return
        made = self.expression(place, first=True)
        if not title and place.base is not None and (place.base.base is not None or place.storage.owner is not None):
            text = ast.unparse(place.code or parse("x0"))
            suffix = next((suffix for part, suffix in HINTS if f".{part}" in text), "_part")
            suffix = "_flat" if suffix == "_reshaped" and place.array.ndim == 1 else suffix
            title = (base or self._base_name(place)) + suffix
        if not title and value is not None:
            self.at[place.key] = title = self.temporary(value)
        else:
            self.at[place.key] = title = self.new_name(title or "buffer")
        section = BUFFERS if ast.unparse(made).startswith("empty(") else VIEWS
        self.made.append((section, title, assignment(title, made)))

    def _base_name(self, place: Place) -> str:
        seen: Place | None = place
        while seen is not None and seen.key not in self.at:
            seen = seen.base
        return self.at[seen.key] if seen is not None else "buffer"

    def expression(self, place: Place, first: bool = False) -> ast.expr:
        """Return the code that makes a view, or allocates a buffer that nothing else stands in."""
        if not first and place.key in self.at:
            return name(self.at[place.key])
        owner = place.storage.owner
        if owner is not None and self.is_constant(owner) and place.key == self.plan.places[owner].key:
            return name(self.bound(owner))
        if place.base is None or place.code is None:
            return name(self._storage(place.storage))
        if not first and place.key in self.joined:
            return name(self.bound(self.joined[place.key]))
        alone = place.base.base is None and place.storage.owner is None
        if alone and place.storage not in self.storages and len(self.wholes[place.storage]) == 1:
            return self._allocation(place)
        return filled(place.code, {"x0": self.expression(place.base)})

    def _allocation(self, place: Place) -> ast.expr:
        axes = sorted(range(place.array.ndim), key=lambda axis: -place.array.strides[axis])
        if place.array.flags.c_contiguous:
            return self._new_array(place.array.shape, place.array.dtype)
        made = layout.expression(self._new_array(tuple(place.array.shape[axis] for axis in axes), place.array.dtype))
        if len(axes) == 2:
            return parse(f"{made}.T")
        return parse(f"{made}.transpose({', '.join(str(axes.index(axis)) for axis in range(len(axes)))})")

    def _new_array(self, shape: Any, dtype: Any) -> ast.expr:
        kind = "" if dtype == np.float64 else f", {ast.unparse(literal(dtype, self.writer.modules))}"
        return parse(f"empty({shape}{kind})")

    def _storage(self, storage: Storage) -> str:
        if storage not in self.storages:
            self.storages[storage] = title = self.new_name("memory")
            made = layout.expression(self._new_array(storage.array.size, storage.array.dtype))
            self.made.append((BUFFERS, title, [f"{layout.INDENT}{title} = {made}"]))
        return self.storages[storage]

    def _define_constant(self, value: Value, place: Place) -> None:
        try:
            code = literal(value._array, self.writer.modules)
            listed = isinstance(code, ast.Call) and ast.unparse(code.func) == "np.array"
            if listed and value._data.size > LARGEST_LITERAL:
                raise UnsupportedError("too long to be read")
        except UnsupportedError:
            self.constants.append(value)
            self.parameter(value)
            return
        text = (ast.unparse(code), place.key[3])
        if text not in self.at:
            self.at[text] = title = self.new_name(self._name_of_constant(value))
            self.made.append((CONSTANTS, title, self._filled_array(title, value, place) or assignment(title, code)))
        self.at[place.key] = self.names[value] = self.at[text]

    def _name_of_constant(self, value: Value) -> str:
        label = self.graph.label(value) if value in self.graph else "%"
        if not label.startswith("%"):
            return identifier(label)
        first = value._array.flat[0] if value._data.size else 0
        same = (value._array == first).all() and value._data.size > 1
        return {0.0: "zeros", 1.0: "ones"}.get(float(first), "constant") if same else "constant"

    def _filled_array(self, title: str, value: Value, place: Place) -> list[str]:
        """Return the lines that make an array of equal numbers, none for others."""
        number = filled_with(value)
        if value._data.size < 5 or value.dtype.kind != "f" or number is None:
            return []
        made = layout.expression(self._allocation(place))
        return [f"{layout.INDENT}{title} = {made}", f"{layout.INDENT}{title}[...] = {number!r}"]

    def owner(self, value: Value) -> Value | None:
        """Return the leaf, or the leaves together, that a value is part of; None for what stands in a buffer."""
        return self.plan.places[value].storage.owner


def _remarked(lines: list[str]) -> list[str]:
    """Return the lines of `bind` with a remark at the first of each kind that asks for one."""
    for kind, remark in REMARKS.items():
        for i, line in enumerate(lines):
            if re.fullmatch(kind, line):
                lines[i] = f"{line}  # {remark}"
                break
    return lines


def assignment(title: str, made: ast.expr) -> list[str]:
    return layout.lines(ast.Assign([ast.Name(title, ast.Store())], made, lineno=0), layout.INDENT)
