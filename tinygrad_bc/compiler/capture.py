"""A function, run once and recorded, as a program that can be run again on other numbers."""

from __future__ import annotations

import operator
import random
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import Cells, array_of, is_numbers, names_read, parts, rebuilt
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.errors import CaptureError
from tinygrad_bc.primitive import CAPTURE, CAPTURE_PLAIN, OFF, constant, mode
from tinygrad_bc.record import Array, Graph, Value, captures, clock, tracer
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.tracing import Live, Tracer

__all__ = ["Capture", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """Where a part of what a function returns comes from.

    Attributes
    ----------
    kind : str
        "result" of the program, "argument" of the call, "number" found anew, or "same" object at every call.
    what : object
        Its position among these, the function that finds it, or the object.
    """

    kind: str
    what: Any


class Capture:
    """What one run of a function recorded, and how to find everything again that it used.

    Parameters
    ----------
    function : callable
    args, kwargs
        What it is called with.
    names : mapping of str to object
        Its arguments by name.

    Attributes
    ----------
    program : Program
        Its results are those of the function, then the gradients that it left in ``.grad``, then the new values of
        arguments that it updated in place.
    given : list of int
        Which of the `parts` of a call are the program's first arguments. The others are numbers and draws.
    numbers : list of (int, callable)
        The numbers that are found anew at every call: after how many acts of Python, and how.
    draws : list of callable
    acts : list of (do, undo)
        What Python does at every call.
    facts : list of (int, callable, value)
        What must hold, after how many of the acts, for the record to be true.
    had_no_gradient : list of (Tensor, bool)
        Of which tensors the gradient must be None, or must not, at the beginning.
    tensors : list of Tensor
        Whose memory is the first part of the program's.
    arrays : list of callable
        What finds the rest of it.
    gradients : list of (Tensor, int or None)
        Whose gradient is set, to which of the results or to None.
    changed_arguments : list of (int, int)
        Which parts of a call are updated in place, and to which results.
    result : object
        What the function returned, with a `Result` in the place of each part.
    call : list
        The parts of the call that is going on.

    Raises
    ------
    CaptureError
        If the function did what cannot be repeated from the record. Nothing is changed then.
    """

    def __init__(self, function: Callable[..., Any], args: Any, kwargs: Any, names: Mapping[str, Any]) -> None:
        self.call = list(parts((args, kwargs)))
        self._function = function
        self._tracing = Tracer()
        self._probe = weakref.ref(self._tracing.add_probe())
        self._stand_ins = [self._stand_in(i, x) for i, x in enumerate(self.call)]
        taken = iter(self._stand_ins)
        result = self._run(*rebuilt((args, kwargs), lambda _: next(taken)))
        self.acts, self.facts = self._tracing.acts, self._tracing.facts
        self.had_no_gradient = list(self._tracing.had_no_gradient.items())
        self._sort_out(result)
        self.program = self._program(names)
        self.facts += self._variables()

    def _stand_in(self, i: int, x: Any) -> Any:
        if isinstance(x, Value):
            return x
        if isinstance(x, float):
            return self._tracing.live(lambda: self.call[i], "number")
        return constant(array_of(x)) if is_numbers(x) else x

    def _run(self, args: Any, kwargs: Any) -> Any:
        tracing, before = self._tracing, _randomness(self._function, self.call)
        tokens = tracer.set(tracing), mode.set(CAPTURE_PLAIN if mode.get() is OFF else CAPTURE)
        captures.append(tracing)
        try:
            result = self._function(*args, **kwargs)
            if not tracing.draws and before != _randomness(self._function, self.call):
                raise CaptureError(
                    f"{_title(self._function)} draws random numbers on its own, and a captured function would use the "
                    "same at every call: pass them in as an argument, or use a layer that draws, as nn.Dropout"
                )
        except BaseException:
            for _, undo in reversed(tracing.acts):
                undo()
            raise
        finally:
            captures.remove(tracing)
            tracer.reset(tokens[0])
            mode.reset(tokens[1])
            self._left = {x: x._grad for x in tracing.gradients}
            for x, gradient in tracing.gradients.items():
                x._grad = gradient
        return result

    # --- what was what

    def _sort_out(self, result: Any) -> None:
        """Say of everything that the record begins with, or that was changed, what it is."""
        tracing = self._tracing
        passed = {id(x): i for i, x in reversed(list(enumerate(self._stand_ins))) if isinstance(x, Value)}
        leaves = {x: leaf for x, leaf in tracing.leaves.items() if id(x) in passed}
        held, arrays = self._held(leaves)
        updated = {x: new for x, new in tracing.current.items() if x in tracing.leaves and new is not tracing.leaves[x]}
        self._positions: dict[Value, int] = {}
        self.result = rebuilt(result, lambda x: self._result(x, passed, held))
        self.gradients = [
            (x, None if g is None else self._add(tracing.now(g)))
            for x, g in self._left.items()
            if g not in tracing.numbers  # and is not the one from before
        ]
        self.changed_arguments = [(passed[id(x)], self._add(new)) for x, new in updated.items() if x in leaves]
        updates = {tracing.leaves[x]: new for x, new in updated.items() if x in held}
        self._updates = {**updates, **tracing.changed}
        self.results = list(self._positions)
        used = set(Graph([*self.results, *self._updates.values()]).values) if self.results or self._updates else set()
        self._given = {leaf: passed[id(x)] for x, leaf in leaves.items() if leaf in used}
        self._tensors = {leaf: x for x, leaf in tracing.leaves.items() if x in held and (leaf in used or x in updated)}
        self._arrays = {leaf: find for leaf, find in arrays.items() if leaf in used}
        self._arrays |= {leaf: find for find, leaf in tracing.memory if leaf in used or leaf in tracing.changed}
        self._found = {leaf: found for leaf, found in tracing.numbers.items() if leaf in used}
        self._drawn = {leaf: find for leaf, find in tracing.draws.items() if leaf in used}
        self.given, self.tensors = list(self._given.values()), list(self._tensors.values())
        self.arrays, self.numbers = list(self._arrays.values()), list(self._found.values())
        self.draws = list(tracing.draws.values())  # all of them: those nobody needs are drawn too
        self.draws_used = [list(tracing.draws).index(leaf) for leaf in self._drawn]

    def _held(self, passed: Mapping[Value, Value]) -> tuple[set[Value], dict[Value, Callable[[], Array]]]:
        """Return the tensors that live on after the call, and the arrays: others may change what they hold.

        What was made during the call and is referred to by nobody else cannot change: it is a constant.
        """
        references: dict[Value, tuple[int, int]] = {}
        for x in self._tracing.leaves:
            data = x._data
            references[x] = sys.getrefcount(x), sys.getrefcount(data)
            del data
        probe = self._probe()
        assert probe is not None
        of_tensor, of_array = references.pop(probe)
        held = {x for x, (n, _) in references.items() if x not in passed and n > of_tensor}
        arrays = {
            self._tracing.leaves[x]: _same(x._data)
            for x, (_, n) in references.items()
            if x not in passed and x not in held and isinstance(x._data, np.ndarray)
            if n > of_array or x._data.base is not None
        }
        return held, arrays

    def _result(self, x: Any, passed: Mapping[int, int], held: set[Value]) -> Result:
        if isinstance(x, Live):
            return Result("number", x.find)
        if not isinstance(x, Value):
            return Result("same", x)
        if id(x) in passed:
            return Result("argument", passed[id(x)])
        now = self._tracing.now(x)
        if x.node is None and (x in held or now.node is None):
            return Result("same", x)
        return Result("result", self._add(now))

    def _add(self, value: Value) -> int:
        return self._positions.setdefault(value, len(self._positions))

    # --- the program

    def _program(self, names: Mapping[str, Any]) -> Program:
        arguments = [*self._given, *self._found, *self._drawn]
        memory = [*self._tensors, *self._arrays]
        steady = [leaf for leaf, i in self._given.items() if isinstance(self.call[i], Value)]
        steady += [leaf for leaf, x in self._tensors.items() if not x._exposed]
        steady += [leaf for leaf, find in self._arrays.items() if not find().flags.writeable]
        labels = self._labels([*arguments, *memory], names)
        return Program(_title(self._function), arguments, memory, self.results, self._updates, steady, labels)

    def _labels(self, inputs: list[Value], names: Mapping[str, Any]) -> dict[Value, str]:
        """Return what values are called: by the user's variables, and derivatives by what they are derivatives of."""
        if not self.results and not self._updates:
            return {}
        known: dict[str, Any] = {}
        by_array = {id(x._data): leaf for x, leaf in self._tracing.leaves.items()}
        variables = [(name, where[name]) for where, name in names_read(self._function)]
        for name, thing in (*names.items(), *variables):
            leaf = self._tracing.leaves.get(thing) if isinstance(thing, Value) else by_array.get(id(thing))
            if leaf is not None:
                known.setdefault(name, leaf)
        for leaf, i in self._given.items():
            name = next((name for name, x in names.items() if x is self.call[i]), "")
            known.setdefault(name or f"argument_{i}", leaf)
        graph = Graph([*self.results, *self._updates.values()], inputs, known)
        labels = {value: graph.label(value) for value in graph if not graph.label(value).startswith("%")}
        for output, cotangents in self._tracing.cotangents:
            for value, g in cotangents.items():
                if value in labels and g in graph:
                    labels.setdefault(g, f"d{labels.get(output, 'Loss')}_{labels[value]}")
        for old, new in self._updates.items():
            if old in labels and new.node is not None:
                labels[new] = f"new_{labels[old]}"
        return labels

    def _variables(self) -> list[tuple[int, Callable[[], Any], Any]]:
        """Return what must hold of the variables that the function reads: that they are what they were."""
        known: dict[int, tuple[Mapping[str, Any], list[str]]] = {}
        for where, name in names_read(self._function):
            thing = where[name]
            if isinstance(thing, Value | np.ndarray) and any(thing is x for x in self.call):
                raise CaptureError(f"{name} is passed to {_title(self._function)}, which reads it as a variable too")
            if isinstance(thing, int | float | str | bool | None | Value | np.ndarray):
                known.setdefault(id(where), (where, []))[1].append(name)
        return [(0, _unchanged(where, names), True) for where, names in known.values()]

    # --- its first run

    def apply(self) -> Any:
        """Do what the first run did, and return what it returned."""
        now = clock()
        for leaf, new in self._updates.items():
            if leaf in self._tensors:
                x = self._tensors[leaf]
                np.copyto(x._own_memory(), new._data)  # type: ignore[attr-defined]
                x._changed = now
            else:
                np.copyto(self._arrays[leaf](), new._data)
        return self.returned([np.array(x._data) for x in self.results])

    def returned(self, results: list[Array]) -> Any:
        """Return what the function returns, given the program's results, which from now on belong to the receiver."""
        for x, i in self.gradients:
            x._grad = None if i is None else constant(results[i])
        for i, j in self.changed_arguments:
            x = self.call[i]
            if isinstance(x, Tensor):
                np.copyto(x._own_memory(), results[j])
                x._changed = clock()
        return rebuilt(self.result, lambda x: self._found_part(x, results))

    def _found_part(self, part: Result, results: list[Array]) -> Any:
        if part.kind == "result":
            return constant(results[part.what])
        if part.kind == "argument":
            return self.call[part.what]
        return part.what() if part.kind == "number" else part.what


def _title(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _same(array: Array) -> Callable[[], Array]:
    return lambda: array


def _unchanged(where: Mapping[str, Any], names: list[str]) -> Callable[[], bool]:
    """Return the question whether variables are what they are now: the same objects, or equal numbers."""
    before = [where[name] for name in names]
    find, keys = where.lookup(names) if isinstance(where, Cells) else (where.get, names)

    def ask() -> bool:
        now = list(map(find, keys))
        return all(map(operator.is_, now, before)) or all(map(_is_same, now, before))

    return ask


def _is_same(now: Any, before: Any) -> bool:
    return now is before or (type(now) is type(before) and not isinstance(now, Value | np.ndarray) and now == before)


def _randomness(function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    """Return the state of all random generators that a function can be seen to have at hand."""
    things = [*arguments, *(where[name] for where, name in names_read(function))]
    things += [x for thing in things if hasattr(thing, "named_generators") for _, x in thing.named_generators()]
    states = [repr(x.bit_generator.state) for x in things if isinstance(x, np.random.Generator)]
    return [*states, repr(np.random.get_state(legacy=False)), random.getstate()]  # noqa: NPY002
