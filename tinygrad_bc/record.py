"""The record of a computation: recipes, the values they made, and a numbered view of them.

A `Value` holds an array and, if it was computed, the `Node` that says how. A node is data, not a
closure: an operation, its inputs and its parameters. It never points at its output, so there are no
reference cycles and a graph is freed, by reference counting alone, when its last value is dropped.

Everything else in the package *reads* this record: the backward pass, the checker, the drawings.
"""

from __future__ import annotations

import itertools
import linecache
import math
import operator
import os
import reprlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc import source
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError, TinygradError
from tinygrad_bc.scope import Scope

if TYPE_CHECKING:
    from tinygrad_bc.tracing import Tracer

__all__ = [
    "Graph",
    "Node",
    "Value",
    "as_array",
    "as_values",
    "captures",
    "clock",
    "names_in_sight",
    "note_change",
    "note_exposure",
    "recorded_order",
    "refuse_while_capturing",
    "tracer",
    "user_frame",
]

Array = np.ndarray[Any, np.dtype[Any]]

_ticks = itertools.count(1)

clock = _ticks.__next__
"""The next tick of a clock that only goes forward: it dates nodes and changes of data.

Whatever else may matter to a captured function that is run again takes a tick, too: that a tensor's gradient is set,
its hooks change, it begins to require a gradient, or its array is handed out.
"""

tracer: ContextVar[Tracer | None] = ContextVar("tinygrad_bc.tracer", default=None)
"""What keeps the books while a function is captured to be run again; None at any other time."""

last_change: float = 0
"""The tick at which the data of any value changed last; infinity once somebody has had an array in hand.

What was recorded later needs no look at each of its values.
"""

captures: list[Tracer] = []
"""The captures that are going on, in any thread: to look whether the list is empty is quicker than to ask `tracer`."""


PACKAGE_FILES = {
    os.path.join(folder, file) for folder, _, files in os.walk(os.path.dirname(__file__)) for file in files
}


def user_frame(depth: int) -> FrameType:
    """Return the innermost frame outside this package, at least `depth` calls up."""
    frame = sys._getframe(depth)
    while frame.f_code.co_filename in PACKAGE_FILES and frame.f_back is not None:
        frame = frame.f_back
    return frame


def as_array(x: Any, dtype: Any = None) -> Array:
    """Return `x`, array_like or a pandas object, as an array of numbers or booleans, not copied if possible."""
    if x is None:
        raise DTypeError("expected numbers, got None: if that is a gradient, call backward() first")
    try:
        array = np.asarray(x, dtype=dtype)
    except (ValueError, TypeError) as error:
        if isinstance(error, TinygradError):
            raise
        raise DTypeError(f"expected numbers, got {reprlib.repr(x)}: {error}") from None
    if array.dtype.kind not in "fiub":
        raise DTypeError(
            f"expected numbers, got {type(x).__name__} of dtype {array.dtype}"
            + (": convert the columns first, e.g. df.astype(float)" if hasattr(x, "to_numpy") else "")
        )
    return array


class Node:
    """The recipe of one recorded operation, ``op.forward(*inputs, **params)``; `primitive.record` makes it.

    Attributes
    ----------
    op : Primitive
        The operation.
    inputs : tuple
        What it was applied to: values, or plain Python numbers.
    params : dict
        Its metadata (axes, shapes ...), every default filled in.
    tick : int
        When it was recorded. A value exists before it is used, so sorting by tick sorts
        topologically.
    spent : bool
        Whether a backward pass has gone through it that was not asked to retain the graph.
    scope : Scope or None
        The innermost ``with scope(name)`` block that it was recorded in.
    """

    __slots__ = ("_code", "_instruction", "inputs", "op", "params", "scope", "spent", "tick")

    op: Any  # a Primitive; said so here, type checkers would take it for a method, which a primitive can be
    inputs: tuple[Any, ...]
    params: dict[str, Any]
    tick: int
    spent: bool
    scope: Scope | None
    # Where the user's code was. What is written there is looked up when somebody asks for it: doing that at every
    # operation would cost more than all the rest.
    _code: CodeType
    _instruction: int

    @property
    def values(self) -> Iterator[Value]:
        """Iterate over the inputs that are values, leaving out plain numbers."""
        return (x for x in self.inputs if isinstance(x, Value))

    @property
    def filename(self) -> str:
        """The file of the line that recorded this node."""
        return self._code.co_filename

    @property
    def lineno(self) -> int:
        """The number of the line that recorded this node."""
        return source.line_number(self._code, self._instruction)

    @property
    def source(self) -> str:
        """The text of the line that recorded this node, or '' where it cannot be read."""
        return linecache.getline(self.filename, self.lineno).strip()

    @property
    def place(self) -> str:
        """File, line number and text of the line that recorded this node."""
        return f"{self.filename}:{self.lineno}: {self.source}"

    @property
    def variable(self) -> str:
        """The user's variable, or attribute, that the result was assigned to at once; '' if it was not."""
        part = next(iter(self.params["key"]), 0) if self.op.name == "getitem" else 0
        return source.assigned_to(self._code, self._instruction, part if isinstance(part, int) else 0)

    @property
    def operands(self) -> list[str]:
        """The user's variables that the operation was applied to, '' for others; empty where that is not written."""
        return source.operands(self._code, self._instruction, self.op.name, len(self.inputs))

    def take_place_of(self, other: Node) -> None:
        """Say that the user's code recorded this where it recorded `other`, which it stands for."""
        self._code, self._instruction, self.scope = other._code, other._instruction, other.scope

    def shares_expression(self, other: Node) -> bool:
        """Return whether both were recorded by one call or operator of the user's code."""
        return self._code is other._code and self._instruction == other._instruction

    def __repr__(self) -> str:
        return f"Node({self.op.name}, {len(self.inputs)} inputs, {self.params})"


_BY_HAND = object()


class Value:
    """An array and the recipe that made it. `Tensor` adds the methods that users call."""

    __slots__ = ("__weakref__", "_changed", "_data", "_exposed", "_grad", "_requires_grad", "hooks", "name", "node")

    _data: Any  # an ndarray, or the NumPy scalar that stands for a 0-d result until `data` is read
    _requires_grad: bool
    _changed: int  # the tick at which `data` was last replaced or updated in place; 0 if never
    _exposed: bool  # whether somebody has been handed the array, and may have written into it
    _grad: Any
    node: Node | None
    name: str | None
    hooks: dict[int, Any] | None  # what is called with the gradient of this value

    def __init__(self, data: Any, requires_grad: bool = False, node: Any = _BY_HAND, name: str | None = None) -> None:
        if node is _BY_HAND:
            raise TypeError("a tensor is made from numbers by tg.tensor(numbers), which checks and copies them")
        self._data = data
        self._requires_grad = requires_grad
        self._changed = 0
        self._exposed = False
        self._grad = None
        self.node = node
        self.name = name
        self.hooks = None

    def __getattr__(self, name: str) -> Any:
        if name == "_data":  # which a backward pass has let go of
            computed_again(self)
            return self._data
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    @property
    def _array(self) -> Array:
        """The values, for those who only read them."""
        if not isinstance(self._data, np.ndarray):
            # NumPy turns 0-d results into scalars. That is undone here, once, and not at every operation.
            self._data = np.asarray(self._data)
        array: Array = self._data
        return array

    @property
    def data(self) -> Array:
        """The values, a NumPy array. It is the tensor's own memory, not a copy."""
        refuse_while_capturing(".data", "What is computed with tensors is recorded")
        if not self._exposed:
            note_exposure(self)
            clock()
        array = self._array
        value: Value = self
        while value.node is not None and value._data.base is not None:  # a view: of whose memory?
            value = next(value.node.values)
            note_exposure(value)
        return array

    @data.setter
    def data(self, new: Any) -> None:
        refuse_while_capturing("x.data = ...", "Inside tg.no_grad(), write `x -= ...`")
        array = as_array(new, self.dtype)
        if array.shape != self.shape:
            raise ShapeError(f"{self.name or 'this tensor'} has shape {self.shape}, the new data {array.shape}")
        self._data = array if array is self._data else np.array(array)
        note_change(self)

    @property
    def retains_grad(self) -> bool:
        """Whether the gradient of this value is kept, though it is not a leaf."""
        return self.hooks is not None and KEEP in self.hooks

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = self._data.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        dtype: np.dtype[Any] = self._data.dtype
        return dtype


def note_change(*values: Value) -> int:
    """Date a change of some values' numbers, and return the tick: graphs that were recorded before are refused now."""
    global last_change
    now = clock()
    for value in values:
        value._changed = now
    if values and last_change < now:
        last_change = now
    return now


def note_exposure(value: Value) -> None:
    """Note that somebody has been handed the array of a value, and may write into it at any time."""
    global last_change
    value._exposed = True
    last_change = math.inf


def refuse_while_capturing(what: str, instead: str) -> None:
    """Raise an error where numbers would leave the record, or enter it, while a function is captured."""
    if captures and (tracing := tracer.get()) is not None:
        tracing.refuse(what, instead)


def is_released(value: Value) -> bool:
    """Return whether a backward pass has let go of the numbers of a value."""
    try:
        _slot(value)
    except AttributeError:
        return True
    return False


_slot = vars(Value)["_data"].__get__  # which does not compute what is not there


def computed_again(value: Value) -> None:
    """Compute the numbers of a value again, and of those it needs, after a backward pass has let go of them.

    Raises
    ------
    GradientError
        If a tensor that they were computed from has changed since.
    """
    pending = dict.fromkeys([value])
    for x in (found := list(pending)):  # which grows on the way
        node: Any = x.node
        new = [y for y in node.values if y not in pending and is_released(y)]
        pending.update(dict.fromkeys(new))
        found += new
    for x in sorted(found, key=_tick):
        node = x.node
        for y in node.values:
            if y._changed > node.tick:
                raise GradientError(
                    f"{x.name or f'the result of `{node.op.name}`'}, which nobody held, was let go of by backward(), "
                    f"and cannot be computed again: {y.name or 'a tensor it was computed from'} has changed since. "
                    f"Keep a reference, or call backward(retain_graph=True). It was recorded at\n  {node.place}"
                )
        with np.errstate(all="ignore"):
            x._data = node.op.forward(*(y._data if isinstance(y, Value) else y for y in node.inputs), **node.params)


KEEP = -1
"""The key among a value's hooks that says: keep the gradient."""


def recorded_order(outputs: Iterable[Value], stop: Iterable[Value] = ()) -> list[Value]:
    """Return the recorded values that `outputs` were computed from, each after its inputs.

    Leaves are left out, and the walk does not go behind the values in `stop`. No recursion: a chain
    of a million operations is as good as one of ten.
    """
    seen = set(stop)
    found = [value for value in dict.fromkeys(outputs) if value.node is not None and value not in seen]
    seen.update(found)
    for value in found:  # which grows on the way
        node: Any = value.node
        for x in node.inputs:
            if isinstance(x, Value) and x.node is not None and x not in seen:
                seen.add(x)
                found.append(x)
    found.sort(key=_tick)
    return found


_tick = operator.attrgetter("node.tick")


def as_values(things: Any, what: str) -> list[Any]:
    """Return one tensor, or several of them, as a list.

    Raises
    ------
    DTypeError
        If there is nothing, or something else among them; `what` says what they were to be.
    """
    values = [things] if isinstance(things, Value) else list(things) if isinstance(things, Iterable) else []
    if not values or not all(isinstance(value, Value) for value in values):
        raise DTypeError(f"{what}: expected a tensor or a sequence of tensors, got {reprlib.repr(things)}")
    return values


def names_in_sight(outputs: Value | Sequence[Value]) -> dict[str, Any]:
    """Return the variables of the calling code that hold leaves of a record for which there is no other name."""
    graph = Graph(outputs)
    unnamed = [value for value in graph if graph.node(value) is None and graph.label(value).startswith("%")]
    if not unnamed:
        return {}
    frame = user_frame(2)
    wanted = {id(x) for value in unnamed for x in (value, value._data)}
    variables = itertools.chain(frame.f_locals.items(), frame.f_globals.items())
    return {name: thing for name, thing in variables if id(thing) in wanted and not name.startswith("_")}


class Graph:
    """A numbered, walkable view of a record, which can run it again on other data.

    Parameters
    ----------
    outputs
        The value or values whose history this is.
    inputs
        Where the history begins: the view does not look behind these values. By default it goes
        back to the leaves.
    names : mapping, optional
        Names for values that have none of their own, for example ``locals()``. A plain array
        that took part in the computation can be named too. Other values are called by the variable that
        the user's code assigned them to, or passed them in.
    labels : mapping of Value to str, optional
        What values are called, in the place of all that: those not among them get a number.

    Attributes
    ----------
    outputs, inputs : list of Value
    values : list of Value
        Every value, each after those it was computed from; leaves stand just before their first use.
    """

    def __init__(
        self,
        outputs: Value | Sequence[Value],
        inputs: Iterable[Value] = (),
        names: Mapping[str, Any] | None = None,
        labels: Mapping[Value, str] | None = None,
    ) -> None:
        self.outputs = as_values(outputs, "outputs")
        self.inputs = list(inputs)
        recorded = recorded_order(self.outputs, stop=self.inputs)
        self._recorded = set(recorded)
        self.values = self._with_leaves(recorded)
        self._labels = self._without_repetition(self._names_of_values(names or {}) if labels is None else labels)

    def _with_leaves(self, recorded: list[Value]) -> list[Value]:
        ordered: dict[Value, None] = {}
        for value in recorded:
            node: Any = value.node
            ordered.update(dict.fromkeys([*node.values, value]))  # which leaves what is there already in its place
        ordered.update(dict.fromkeys(self.outputs))
        return list(ordered)

    def _names_of_values(self, names: Mapping[str, Any]) -> dict[Value, str]:
        known: dict[int, str] = {}
        for name, thing in names.items():
            if isinstance(thing, Value | np.ndarray) and not name.startswith("_"):
                known.setdefault(id(thing), name)
        written = self._names_in_source()
        return {
            value: value.name or known.get(id(value)) or self._name_of_array(value, known) or written.get(value, "")
            for value in self.values
        }

    @staticmethod
    def _name_of_array(value: Value, known: Mapping[int, str]) -> str:
        return "" if is_released(value) else known.get(id(value._data), "")

    def _without_repetition(self, names: Mapping[Value, str]) -> dict[Value, str]:
        labels: dict[Value, str] = {}
        uses: dict[str, int] = {}
        taken = set(names.values())
        numbers = (f"%{number}" for number in itertools.count(len(self.values)) if f"%{number}" not in taken)
        for number, value in enumerate(self.values):
            label = names.get(value) or (f"%{number}" if f"%{number}" not in taken else next(numbers))
            uses[label] = uses.get(label, 0) + 1
            labels[value] = label if uses[label] == 1 else f"{label}({uses[label]})"  # a name given more than once
        return labels

    def _names_in_source(self) -> dict[Value, str]:
        """Return the variables that the user's code assigned the values to, or passed the leaves in."""
        names: dict[Value, str] = {}
        for value in self.values:
            node = self.node(value)
            if node is None:
                continue
            names[value] = node.variable
            for i, x in enumerate(node.inputs):
                if not isinstance(x, Value):
                    continue
                made_by = self.node(x)
                if made_by is None:
                    names[x] = names.get(x) or (node.operands[i] if node.operands else "")
                elif node.shares_expression(made_by) and not (made_by.operands and made_by.op is node.op):
                    names[x] = ""  # a step inside the call whose last result was assigned, and no turn of a loop
        return names

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __contains__(self, value: object) -> bool:
        return value in self._labels

    def node(self, value: Value) -> Node | None:
        """Return the recipe of `value` within this view: None for its leaves and its inputs."""
        return value.node if value in self._recorded else None

    def label(self, value: Value) -> str:
        """Return the name of `value`, or ``%`` and its number where it has none."""
        return self._labels[value]

    def formula(self, value: Value) -> str:
        """Return the operation that made `value`, written with the labels of its inputs."""
        node = self.node(value)
        if node is None:
            return ""
        inputs = [self._labels[x] if isinstance(x, Value) else repr(x) for x in node.inputs]
        return node.op.write(inputs, node.params)

    def __str__(self) -> str:
        lines = []
        for value in self.values:
            formula = self.formula(value)
            kind = "parameter" if value._requires_grad else "constant"
            shape = "×".join(map(str, value.shape)) or "scalar"
            lines.append((f"{self.label(value)} = {formula or kind}", f"{shape} {value.dtype}"))
        width = max(len(left) for left, _ in lines)
        return "\n".join(f"{left:<{width}}  {right}" for left, right in lines)

    def evaluate(self, replacements: Mapping[Value, Any] | None = None) -> tuple[Array, ...]:
        """Run the recipes again and return the outputs' arrays; the record itself is not touched.

        Parameters
        ----------
        replacements : mapping of Value to array, optional
            Other data for some of the values, of the recorded shape. A computed value may be
            replaced too; then it is not computed.

        Raises
        ------
        ShapeError, DTypeError
            If a replacement has another shape than the value, or numbers of another kind: both are part of a record.
        KeyError
            If a replaced value is not in the graph.
        """
        arrays = {value: self._replacement(value, new) for value, new in (replacements or {}).items()}
        for value in self.values:
            if value in arrays:
                continue
            node = self.node(value)
            if node is None:
                arrays[value] = value._array
            else:
                inputs = [arrays[x] if isinstance(x, Value) else x for x in node.inputs]
                arrays[value] = np.asarray(node.op.forward(*inputs, **node.params))
        return tuple(np.array(arrays[output]) for output in self.outputs)  # and no views of recorded data

    def _replacement(self, value: Value, new: Any) -> Array:
        if value not in self:
            raise KeyError(f"{value!r} is not in this graph")
        array = as_array(new)
        if not np.can_cast(array.dtype, value.dtype, "same_kind"):
            raise DTypeError(f"{self.label(value)} is {value.dtype} and cannot be replaced by {array.dtype} numbers")
        array = array.astype(value.dtype, copy=False)
        if array.shape != value.shape:
            raise ShapeError(
                f"{self.label(value)} was recorded with shape {value.shape} and cannot be replaced by an "
                f"array of shape {array.shape}: shapes are part of a record. Run the code again instead."
            )
        return array
