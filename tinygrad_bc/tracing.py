"""What is known while a function is captured, so that what it records can be run again on other numbers.

The function runs as it always does. Beside that, leaves that stand for the tensors it uses take their places in the
record, so that the record stays true when a tensor is updated; and what Python computes anew at every call (a
learning rate, the number of a step, random draws) is kept as a recipe of its own.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np

from tinygrad_bc.diagnosis import user_line
from tinygrad_bc.errors import CaptureError
from tinygrad_bc.primitive import COUNTERPARTS, constant
from tinygrad_bc.record import Array, Value, clock, tracer

__all__ = ["Cell", "Item", "Live", "Tracer", "called", "draw"]


class Tracer:
    """The bookkeeping of one capture.

    Attributes
    ----------
    leaves : dict of Value to Value
        For each tensor that was used: the leaf of the record that stands for it, with the numbers at the beginning.
    current : dict of Value to Value
        What each tensor is by now: its leaf, or what it was updated to.
    renewed : dict of Value to Value
        What parameters were updated to, which is where later backward passes end, and the parameters; and computed
        values that were told to require a gradient, as their own.
    memory : list of (find, Value)
        The arrays that are not a tensor's (an optimiser's, a layer's), each found by a function, and their leaves.
    changed : dict of Value to Value
        For leaves that stand for memory: what it is by now.
    remembered : dict of Value to (str, Value)
        For leaves that stand for what an optimiser remembers of a parameter: what that is, and the parameter.
    acts : list of (do, undo)
        What Python does at every call, in this order, and how it is taken back.
    undo : list of callable
        What is done besides, the last first, if the function cannot be captured after all.
    objects : list
        What tensors and numbers were taken from by name: layers.
    numbers : dict of Value to (int, callable)
        Leaves for numbers, or arrays, that are found anew at every call: after how many of the acts, and by which
        function.
    draws : dict of Value to callable
        Leaves for random numbers, and what draws them.
    drawn : dict of Generator to (state, state)
        The generators that they are drawn from: their states before the first draw, and after the last.
    passed : dict of Value to callable
        The tensors that the function was called with, and what finds those that another call has in their places.
    facts : list of (int, callable, value)
        After how many of the acts something was asked, by which function, and the answer: where that is another one,
        the record does not hold.
    had_no_gradient : dict of Value to bool
        The tensors of which it was asked whether their ``.grad`` was None at the beginning, and the answers.
    cotangents : list of (Value, Value, Value)
        What was differentiated, with respect to which value of the record, and the derivative.
    gradients : dict of Value to Value
        The tensors whose ``.grad`` was set, and what it was before, if anything.
    asked : set of Value
        The tensors whose ``.grad`` from before was asked for.
    """

    def __init__(self) -> None:
        self.started = clock()
        self.leaves: dict[Value, Value] = {}
        self.current: dict[Value, Value] = {}
        self.renewed: dict[Value, Value] = {}
        self.memory: list[tuple[Callable[[], Array], Value]] = []
        self.changed: dict[Value, Value] = {}
        self.remembered: dict[Value, tuple[str, Value]] = {}
        self.acts: list[tuple[Callable[[], Any], Callable[[], Any]]] = []
        self.objects: list[Any] = []
        self.undo: list[Callable[[], Any]] = []
        self.numbers: dict[Value, tuple[int, Callable[[], Array]]] = {}
        self.draws: dict[Value, Callable[[], Array]] = {}
        self.drawn: dict[np.random.Generator, tuple[Any, Any]] = {}
        self.passed: dict[Value, Callable[[], Value]] = {}
        self.facts: list[tuple[int, Callable[[], Any], Any]] = []
        self.gradients: dict[Value, Any] = {}
        self.asked: set[Value] = set()
        self.had_no_gradient: dict[Value, bool] = {}
        self.cotangents: list[tuple[Value, Value, Value]] = []
        self._own: set[Value] = set()
        self._overwritten: dict[int, Array] = {}
        self._leaf_of: dict[tuple[int, Any], tuple[Live, Value]] = {}

    # --- tensors

    def operands(self, inputs: tuple[Any, ...], params: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return what takes the place of an operation's operands in the record.

        Numbers that are found anew at every call take the element type of the tensors that they meet, as plain numbers
        do. They cannot be among the operation's metadata, which is fixed.
        """
        for x in params.values():
            if isinstance(x, Live):
                float(x)  # which is refused
        if any(isinstance(x, Live) for x in inputs):
            dtype = np.result_type(*(x.dtype for x in inputs if isinstance(x, Value)))
            dtype = dtype if dtype.kind == "f" else np.dtype(np.float64)
            inputs = tuple(self.number(x, dtype) if isinstance(x, Live) else x for x in inputs)
        for x in inputs:
            if isinstance(x, Value) and x.node is not None:
                self.refuse_overwritten(x)
        return tuple(self.now(x) if isinstance(x, Value) else x for x in inputs)

    def now(self, x: Value) -> Value:
        """Return what a tensor is by now."""
        if x in self.current:
            if x in self.leaves:
                self.refuse_other_requirement(x)
            return self.current[x]
        if self.is_own(x):
            return x
        if x.node is None:
            for find, leaf in self.memory:
                if find() is x._data:
                    return self.changed.get(leaf, leaf)
        return self.leaf(x)

    def is_own(self, x: Value) -> bool:
        """Return whether a value is part of the record, and lives no longer."""
        return x in self._own or (x.node is not None and x.node.tick > self.started)

    def leaf(self, x: Value) -> Value:
        """Return the leaf that stands for a tensor as it was at the beginning."""
        if x not in self.leaves:
            leaf = type(x)(np.array(x._data), x._requires_grad, None, x.name)
            leaf.hooks = x.hooks
            self.leaves[x] = self.current[x] = leaf
            self._own.add(leaf)
        return self.leaves[x]

    def refuse_overwritten(self, x: Value) -> None:
        """Raise an error if a computed value would share memory with a tensor that was updated since."""
        node: Any = x.node
        shared: Any = node.inputs[0]._data if node.op.name == "without_gradient" else getattr(x._data, "base", None)
        if id(shared) in self._overwritten:
            raise CaptureError(
                f"{x.name or 'a tensor'} shares its memory with one that was updated in place since then, and a record "
                f"cannot say so. It was taken from it by\n  {node.place}\nTake it after the update, or a copy before "
                f"it, by clone()\n{user_line()}"
            )

    def refuse_other_requirement(self, x: Value) -> None:
        """Raise an error if it was changed during the call whether a tensor requires a gradient."""
        leaf = self.leaves[x]
        if x._requires_grad is not leaf._requires_grad:
            raise CaptureError(
                f"{x.name or f'a tensor of shape {x.shape}'}.requires_grad was changed in a function that is being "
                "captured, after the tensor was used. Change it outside, or use x.detach() where no gradient is "
                f"wanted\n{user_line()}"
            )

    def begin_at(self, x: Value) -> None:
        """Let a value that was computed without a gradient be a leaf that requires one: backward passes end there."""
        self.renewed[x] = x

    def update(self, x: Value, new: Value) -> None:
        """Note that a tensor is another value from now on."""
        memory = self.now(x)._array  # which makes a leaf of what is none, and was not computed here
        self._overwritten[id(memory)] = memory
        self.current.pop(x)  # so that updates are in the order in which they were done, as an optimiser's are
        self.current[x] = new
        if x._requires_grad:  # a leaf it stays, for the backward passes to come, though it was computed
            new._requires_grad = True
            self.renewed[new] = x

    def owners_of(self, gradients: dict[Value, Value]) -> dict[Value, Value]:
        """Return gradients by the tensors that the leaves among their keys stand for, which are about to get them."""
        tensors = {leaf: x for x, leaf in self.leaves.items()} | self.renewed
        owners = {tensors.get(leaf, leaf): g for leaf, g in gradients.items()}
        for x in owners:
            if x in self.leaves and x.node is not None:
                raise CaptureError(
                    f"{x.name or 'a tensor'} was computed before the captured function was called, by\n"
                    f"  {x.node.place}\n"
                    "and the backward pass would have to go on there. Compute it inside, or pass x.detach()"
                )
            if x not in self.gradients:
                self.gradient_of(x)
                self.note_gradient(x)
        return owners

    def note_cotangent(self, outputs: Iterable[Value], value: Value, g: Value) -> None:
        """Note the derivative of an output with respect to a value of the record, for its name."""
        if g.node is not None:
            self.cotangents.append((next(iter(outputs)), value, g))

    def gradient_of(self, x: Value) -> Value | None:
        """Return the gradient that a tensor has by now. If it is from before the call, the next call has its own."""
        if x not in self.gradients:
            find = self.passed.get(x, lambda: x)
            if x not in self.asked and not self.is_own(x):
                self.asked.add(x)
                if x in self.passed:
                    self.ask(lambda: find()._grad is None)
                else:
                    self.had_no_gradient[x] = x._grad is None
            if x._grad is not None:
                leaf = self.leaf_found(lambda: find()._grad._array, "gradient")
                self.note_gradient(x)
                x._grad = leaf
        gradient: Value | None = x._grad
        return gradient

    def note_gradient(self, x: Value) -> None:
        """Note that the gradient of a tensor is about to be set."""
        self.gradients.setdefault(x, x._grad)

    def add_probe(self) -> Value:
        """Return a tensor that nobody refers to but this object: what others refer to has more references."""
        probe: Value = constant(np.zeros(1))
        self.leaf(probe)
        return probe

    # --- other memory

    def cell(self, find: Callable[[], Array], name: str = "", of: Value | None = None) -> Cell:
        """Return a stand-in for an array that lives on between calls, which `find` returns.

        It has a name of its own, or is what an optimiser remembers `of` a parameter, whose name it then has too.
        """
        array = find()
        for known, leaf in self.memory:
            if known() is array:
                return Cell(self.changed.get(leaf, leaf), self, leaf)
        leaf = self._new_leaf(np.array(array), name)
        self.memory.append((find, leaf))
        if of is not None:
            self.remembered[leaf] = (name, of)
        return Cell(leaf, self, leaf)

    def move(self, x: Any, rule: Callable[[Value], Value], name: str = "") -> None:
        """Update a tensor, or an array that lives on between calls, by a rule that gives its new value."""
        if isinstance(x, Value):
            self.update(x, rule(self.now(x)))
        else:
            cell = self.cell(lambda: x, name)
            cell.become(rule(cell.value))

    def _new_leaf(self, array: Array, name: str) -> Value:
        leaf: Value = constant(array)
        leaf.name = name or None
        self._own.add(leaf)
        return leaf

    # --- Python's part

    def live(self, find: Callable[[], Any], name: str = "") -> Live:
        """Return a number that is found anew, by calling `find`, at every call."""
        return Live(find, find(), self, name)

    def number(self, live: Live, dtype: np.dtype[Any]) -> Value:
        """Return the leaf, without axes, for a number that is found anew at every call."""
        key = (id(live), dtype)
        if key not in self._leaf_of:
            leaf = self._new_leaf(np.array(live.value, dtype), live.name or "number")
            self.numbers[leaf] = (len(self.acts), lambda: np.array(live.find(), dtype))
            self._leaf_of[key] = (live, leaf)  # which keeps the number alive, and its id its own
        return self._leaf_of[key][1]

    def act(self, do: Callable[[], Any], undo: Callable[[], Any]) -> None:
        """Let Python do something now, and at every call."""
        do()
        self.acts.append((do, undo))

    def leaf_found(self, find: Callable[[], Array], name: str = "") -> Value:
        """Return the leaf for an array that is found anew, by calling `find`, at every call."""
        leaf = self._new_leaf(np.array(find()), name)
        self.numbers[leaf] = (len(self.acts), find)
        return leaf

    def draw(self, find: Callable[[], Array], generator: np.random.Generator) -> Value:
        """Return the leaf for random numbers, which `find` draws from a generator, at every call new ones."""
        state = generator.bit_generator.state
        first, last = self.drawn.get(generator, (state, state))
        if repr(last) != repr(state):
            self.refuse("Random numbers from a generator that a layer draws from too", "Pass them in as an argument.")
        leaf = self._new_leaf(find(), "draw")
        self.drawn[generator] = first, generator.bit_generator.state
        self.draws[leaf] = find
        return leaf

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise an error where numbers would leave the record: at a later call they are others."""
        raise CaptureError(
            f"{what} in a function that is being captured: later calls have other numbers, and what Python does with "
            f"these would stay as it is now. {instead}\n{user_line()}"
        )

    def ask(self, find: Callable[[], Any]) -> Any:
        """Return what `find` says now; where it says something else later, the function is captured again."""
        answer = find()
        if any(known is find for _, known, _ in self.facts):
            return answer
        self.facts.append((len(self.acts), find, answer))
        return answer


def called(number: Any, name: str) -> Any:
    """Return a number that is computed at every step, in a captured function by that name."""
    if isinstance(number, Live):
        number.name = name
    return number


def draw(find: Callable[[], Array], generator: np.random.Generator) -> Any:
    """Return random numbers, which `find` draws from a generator; in a captured function, new ones at every call."""
    tracing = tracer.get()
    return find() if tracing is None else tracing.draw(find, generator)


class Item:
    """Where an array lives on between calls: under a name, in a dictionary that a function returns."""

    def __init__(self, where: Callable[[], dict[str, Any]], name: str) -> None:
        self._where = where
        self._name = name

    def __call__(self) -> Any:
        """Return the array; None if it is no longer there."""
        return self._where().get(self._name)

    def put(self, array: Array) -> None:
        """Let another array take its place."""
        self._where()[self._name] = array


class Live:
    """A Python number that is found anew at every call of a captured function: a learning rate, the count of steps.

    Arithmetic with it gives numbers of the same kind. A comparison is answered for now, and asked again at every
    call: where the answer is another one, the function is captured again.
    """

    def __init__(self, find: Callable[[], Any], value: Any, tracing: Tracer, name: str = "") -> None:
        self.find = find
        self.value = value
        self.tracing = tracing
        self.name = name
        self._derived: dict[Any, Any] = {}

    def _with(self, function: Callable[..., Any], *others: Any, swapped: bool = False) -> Any:
        if any(isinstance(x, Value | Cell | np.ndarray) for x in others):
            return NotImplemented
        key = (function, swapped, *(id(x) if isinstance(x, Live) else x for x in others))
        if key not in self._derived:  # or every parameter would get numbers of its own, which are the same
            self._derived[key] = (self._computed(function, *((*others, self) if swapped else (self, *others))), others)
        return self._derived[key][0]

    def _computed(self, function: Callable[..., Any], *parts: Any) -> Live:
        known = [x.value if isinstance(x, Live) else x for x in parts]
        return Live(_finder(function, *parts), function(*known), self.tracing)

    def _asked(self, function: Callable[..., Any], *others: Any) -> Any:
        answer = self._with(function, *others)
        return answer if answer is NotImplemented else self.tracing.ask(answer.find)

    def __add__(self, other: Any) -> Any:
        return self._with(operator.add, other)

    def __radd__(self, other: Any) -> Any:
        return self._with(operator.add, other, swapped=True)

    def __sub__(self, other: Any) -> Any:
        return self._with(operator.sub, other)

    def __rsub__(self, other: Any) -> Any:
        return self._with(operator.sub, other, swapped=True)

    def __mul__(self, other: Any) -> Any:
        return self._with(operator.mul, other)

    def __rmul__(self, other: Any) -> Any:
        return self._with(operator.mul, other, swapped=True)

    def __truediv__(self, other: Any) -> Any:
        return self._with(operator.truediv, other)

    def __rtruediv__(self, other: Any) -> Any:
        return self._with(operator.truediv, other, swapped=True)

    def __floordiv__(self, other: Any) -> Any:
        return self._with(operator.floordiv, other)

    def __rfloordiv__(self, other: Any) -> Any:
        return self._with(operator.floordiv, other, swapped=True)

    def __mod__(self, other: Any) -> Any:
        return self._with(operator.mod, other)

    def __rmod__(self, other: Any) -> Any:
        return self._with(operator.mod, other, swapped=True)

    def __pow__(self, other: Any) -> Any:
        return self._with(operator.pow, other)

    def __rpow__(self, other: Any) -> Any:
        return self._with(operator.pow, other, swapped=True)

    def __neg__(self) -> Any:
        return self._with(operator.neg)

    def __abs__(self) -> Any:
        return self._with(operator.abs)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **others: Any) -> Any:
        if any(isinstance(x, Value | Cell) for x in inputs) or method != "__call__" or others:
            return NotImplemented
        if any(isinstance(x, np.ndarray) for x in inputs):
            operands = [self.tracing.number(x, np.dtype(np.float64)) if isinstance(x, Live) else x for x in inputs]
            return COUNTERPARTS[ufunc](*operands)
        first, *rest = inputs
        return first._with(ufunc, *rest) if isinstance(first, Live) else self._with(ufunc, first, swapped=True)

    __hash__ = None  # type: ignore[assignment]  # equal today, and not tomorrow

    def __eq__(self, other: object) -> Any:
        return self._asked(operator.eq, other)

    def __ne__(self, other: object) -> Any:
        return self._asked(operator.ne, other)

    def __lt__(self, other: Any) -> Any:
        return self._asked(operator.lt, other)

    def __le__(self, other: Any) -> Any:
        return self._asked(operator.le, other)

    def __gt__(self, other: Any) -> Any:
        return self._asked(operator.gt, other)

    def __ge__(self, other: Any) -> Any:
        return self._asked(operator.ge, other)

    def __bool__(self) -> bool:
        return bool(self._asked(bool))

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise CaptureError(
            f"{self.name or 'a number'} = {self.value!r} in a function that is being captured: every call has its own, "
            "and a plain number made of it (by float(), math, formatting) would be the same at every later call. "
            "Compute with it by + - * / ** and NumPy's functions, compare it, or compute outside and pass in the "
            f"result\n{user_line()}"
        )

    __float__ = __int__ = __index__ = __round__ = __floor__ = __ceil__ = __trunc__ = _refuse
    __array__ = __format__ = __str__ = _refuse

    def __repr__(self) -> str:
        return f"Live({self.value!r})"


def _finder(function: Callable[..., Any], *parts: Any) -> Callable[[], Any]:
    """Return a function that finds the parts, and applies another one to them; it is called at every step."""
    first, *others = [x.find if isinstance(x, Live) else None for x in parts]
    if not others:
        return lambda: function(first())  # type: ignore[misc]
    a, b = parts
    (second,) = others
    if second is None:
        return lambda: function(first(), b)  # type: ignore[misc]
    return (lambda: function(a, second())) if first is None else (lambda: function(first(), second()))


class Cell(np.lib.mixins.NDArrayOperatorsMixin):
    """What stands for an array, in code that updates arrays in place, while a function is captured.

    ``x -= lr * g`` and ``np.sqrt(v, out=v)`` record what is computed, and the cell is that value from then on.
    """

    def __init__(self, value: Any, tracing: Tracer, leaf: Value | None = None) -> None:
        self.value = value
        self._tracing = tracing
        self._leaf = leaf  # of the memory that it stands for; a result in between has none

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        shape: tuple[int, ...] = self.value.shape
        return shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The element type."""
        dtype: np.dtype[Any] = self.value.dtype
        return dtype

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **others: Any) -> Cell:
        op = COUNTERPARTS.get(ufunc)
        if op is None or method != "__call__" or others:
            raise CaptureError(f"np.{ufunc.__name__} with {others or method} in an update cannot be captured")
        values = [x.value if isinstance(x, Cell) else self._as_operand(x) for x in inputs]
        if not out:
            return Cell(op(*values), self._tracing)
        out[0].become(op(*values))
        target: Cell = out[0]
        return target

    def _as_operand(self, x: Any) -> Any:
        return self._tracing.number(x, self.dtype) if isinstance(x, Live) else x

    def become(self, value: Any) -> None:
        """Be another value from now on."""
        if value.dtype != self.dtype or value.shape != self.shape:
            raise CaptureError(
                f"an update gives numbers of shape {value.shape} and dtype {value.dtype} for an array of shape "
                f"{self.shape} and dtype {self.dtype}"
            )
        self.value = value
        if self._leaf is not None:
            self._tracing.changed[self._leaf] = value
