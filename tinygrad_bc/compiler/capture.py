"""A function, run once and recorded, as a program that can be run again on other numbers."""

from __future__ import annotations

import functools
import itertools
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import array_of, is_numbers, names_of, names_read, parts, place_of, rebuilt
from tinygrad_bc.compiler.conditions import Variables, is_same, kept
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.compiler.randomness import Randomness
from tinygrad_bc.compiler.refusals import line_of, put_all_back, refuse_changes, refuse_result, title
from tinygrad_bc.errors import CaptureError
from tinygrad_bc.primitive import CAPTURE, CAPTURE_PLAIN, OFF, constant, mode
from tinygrad_bc.record import Array, Graph, Value, captures, note_change, tracer
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.tracing import Live, Tracer

__all__ = ["Capture", "Result"]


@dataclass(frozen=True, slots=True)
class Result:
    """Where a part of what a function returns comes from.

    Attributes
    ----------
    kind : str
        "result" of the program, "argument" of the call, "number" found anew, "constant" of which every call gets a
        copy, or "same" object at every call.
    what : object
        Its position among these, the function that finds it, the array, or the object.
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
    variables : Variables
        What the function read outside of it.
    had_no_gradient : list of (Tensor, bool)
        Of which tensors the gradient must be None, or must not, at the beginning.
    tensors : list of Tensor
        Whose memory is the first part of the program's.
    arrays : list of callable
        What finds the rest of it.
    gradients : list of (Tensor or int, int or None)
        Whose gradient is set, a tensor's or that of a part of a call, to which of the results or to None.
    carries_gradients : bool
        Whether a call goes on with gradients that the call before it left.
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
        self._names = list(names_of(args, kwargs, names))
        self._function = function
        self._tracing = Tracer()
        self._probe = weakref.ref(self._tracing.add_probe())
        self._stand_ins = [self._stand_in(i, x) for i, x in enumerate(self.call)]
        self._tracing.passed = {x: _part(self, i) for i, x in enumerate(self._stand_ins) if isinstance(x, Value)}
        self._randomness = Randomness(function, self.call)
        try:
            self._capture(args, kwargs, names, self._randomness)
        except BaseException:
            self.take_back()
            raise

    def take_back(self) -> None:
        """Let everything be as it was before the function ran."""
        for undo in [*self._tracing.undo, *(undo for _, undo in self._tracing.acts)][::-1]:
            undo()
        self._randomness.restore(self._tracing.drawn)
        for x, leaf in self._tracing.leaves.items():
            x._requires_grad = leaf._requires_grad

    def _capture(self, args: Any, kwargs: Any, names: Mapping[str, Any], randomness: Randomness) -> None:
        tracing, taken = self._tracing, iter(self._stand_ins)
        before = {place_of(where, name): kept(where[name]) for where, name in names_read(self._function, self.call)}
        try:
            result = self._run(*rebuilt((args, kwargs), lambda _: next(taken)))
            refuse_changes(self._function, names_read(self._function, self.call), before, tracing.is_own)
        except BaseException:  # put back when all else is taken back: an act may have changed variables, too
            tracing.undo.insert(0, functools.partial(self._put_back, before))
            raise
        # What is returned is taken apart, so that its containers refer to nothing any more: see `_held`.
        self._returned, positions = list(parts(result)), itertools.count()
        result = rebuilt(result, lambda _: next(positions))
        for x in list(tracing.leaves):
            tracing.refuse_other_requirement(x)
        self._refuse_other_draws(randomness)
        written = {place for place, now in self._containers() if not is_same(now, before.get(place))}
        del x, before  # or what they refer to would count as referred to, in `_held`
        self.acts, self.facts = tracing.acts, tracing.facts
        self.had_no_gradient = list(tracing.had_no_gradient.items())
        self._sort_out(result)
        variables = [*names_read(self._function, self.call), *_settings(tracing.objects)]
        self._refuse_passed(variables)
        self.program = self._program(names, variables)
        self.variables = Variables([found for found in variables if place_of(*found) not in written])

    def _put_back(self, before: Mapping[Any, Any]) -> None:
        put_all_back(names_read(self._function, self.call), before)

    def _containers(self) -> Iterator[tuple[Any, Any]]:
        """Iterate over the variables that hold several things, and these. What is written into tells of the writing."""
        for where, name in names_read(self._function, self.call):
            if isinstance(where[name], dict | list):
                yield place_of(where, name), where[name]

    def _stand_in(self, i: int, x: Any) -> Any:
        if isinstance(x, Value):
            return x
        if isinstance(x, float):
            return self._tracing.live(lambda: self.call[i], self._names[i] or "number")
        return constant(array_of(x)) if is_numbers(x) else x

    def _run(self, args: Any, kwargs: Any) -> Any:
        tracing = self._tracing
        tokens = tracer.set(tracing), mode.set(CAPTURE_PLAIN if mode.get() is OFF else CAPTURE)
        captures.append(tracing)
        try:
            return self._function(*args, **kwargs)
        finally:
            captures.remove(tracing)
            tracer.reset(tokens[0])
            mode.reset(tokens[1])
            self._left = {x: x._grad for x in tracing.gradients}
            for x, gradient in tracing.gradients.items():
                x._grad = gradient

    def _refuse_other_draws(self, randomness: Randomness) -> None:
        """Raise an error if random numbers were drawn that would not be drawn again at every call."""
        if randomness.is_disturbed(self._tracing.drawn):
            raise CaptureError(
                f"{title(self._function)} draws random numbers on its own, and a captured function would use the "
                "same at every call: pass them in as an argument (the batches of a DataLoader, too), or use a layer "
                f"that draws, as nn.Dropout\n{line_of(self._function)}"
            )

    # --- what was what

    def _sort_out(self, result: Any) -> None:
        """Say of everything that the record begins with, or that was changed, what it is."""
        tracing = self._tracing
        passed = {id(x): i for i, x in reversed(list(enumerate(self._stand_ins))) if isinstance(x, Value)}
        for x in self._returned:
            if isinstance(x, Value) and x.node is None:
                tracing.now(x)  # which makes a leaf of what was not used otherwise
        x = None  # or it would count as a reference in `_held`
        leaves = {x: leaf for x, leaf in tracing.leaves.items() if id(x) in passed}
        held, arrays = self._held(leaves)
        updated = {x: new for x, new in tracing.current.items() if x in tracing.leaves and new is not tracing.leaves[x]}
        self._positions: dict[Value, int] = {}
        self.result = rebuilt(result, lambda i: self._result(self._returned[i], passed, held))
        self.gradients = [
            (passed.get(id(x), x), None if g is None else self._add(tracing.now(g)))
            for x, g in self._left.items()
            if g not in tracing.numbers  # and is not the one from before
            and not tracing.is_own(x)
        ]
        self.carries_gradients = any(
            x in tracing.asked and (g is not None or self._left[x] is not None) for x, g in tracing.gradients.items()
        )
        self.changed_arguments = [(passed[id(x)], self._add(new)) for x, new in updated.items() if x in leaves]
        updates = {tracing.leaves[x]: new for x, new in updated.items() if x in held}
        self._updates = {**updates, **tracing.changed}
        if not self._positions and not self._updates:
            self._add(constant(np.zeros(())))  # a program has at least one result
        self.results = list(self._positions)
        uses = [i for _, i in self.gradients] + [part.what for part in parts(self.result) if part.kind == "result"]
        self._shared = [uses.count(i) > 1 for i in range(len(self.results))]
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
        self.draws_used = [i for i, leaf in enumerate(tracing.draws) if leaf in self._drawn]

    def _held(self, passed: Mapping[Value, Value]) -> tuple[set[Value], dict[Value, Callable[[], Array]]]:
        """Return the tensors that live on after the call, and the arrays: others may change what they hold.

        What was made during the call and is referred to by nobody else cannot change: it is a constant.
        """
        references: dict[Value, tuple[int, int]] = {}
        for x in self._tracing.leaves:
            data, base = x._data, getattr(x._data, "base", None)
            of_memory = sys.getrefcount(base) if isinstance(base, np.ndarray) else 0 if base is None else sys.maxsize
            of_data = max(sys.getrefcount(data), of_memory)
            references[x] = sys.getrefcount(x) - sum(x is y for y in self._returned), of_data
            del data, base
        probe = self._probe()
        assert probe is not None
        of_tensor, of_array = references.pop(probe)
        held = {x for x, (n, _) in references.items() if x not in passed and n > of_tensor}
        arrays = {
            self._tracing.leaves[x]: _same(x._data)
            for x, (_, n) in references.items()
            if x not in passed and x not in held and isinstance(x._data, np.ndarray)
            if n > of_array
        }
        return held, arrays

    def _result(self, x: Any, passed: Mapping[int, int], held: set[Value]) -> Result:
        if isinstance(x, Live):
            return Result("number", x.find)
        if not isinstance(x, Value):
            refuse_result(self._function, x, self._tracing.is_own)
            return Result("same", x)
        if x.node is not None:
            self._tracing.refuse_overwritten(x)
        now = self._tracing.now(x)
        if id(x) in passed and (isinstance(self.call[passed[id(x)]], Value) or now is self._tracing.leaves.get(x)):
            return Result("argument", passed[id(x)])
        if x in held:
            return Result("same", x)
        if now.node is None and now not in self._tracing.numbers and now not in self._tracing.draws:
            return Result("constant", now._array)
        return Result("result", self._add(now))

    def _add(self, value: Value) -> int:
        return self._positions.setdefault(value, len(self._positions))

    # --- the program

    def _program(self, names: Mapping[str, Any], variables: list[tuple[Mapping[str, Any], str]]) -> Program:
        arguments = [*self._given, *self._found, *self._drawn]
        memory = [*self._tensors, *self._arrays]
        steady = [leaf for leaf, i in self._given.items() if isinstance(self.call[i], Value)]
        steady += [leaf for leaf, x in self._tensors.items() if not x._exposed]
        steady += [leaf for leaf, find in self._arrays.items() if not find().flags.writeable]
        labels = self._labels([*arguments, *memory], names, [(name, where[name]) for where, name in variables])
        return Program(title(self._function), arguments, memory, self.results, self._updates, steady, labels)

    def _labels(
        self, inputs: list[Value], names: Mapping[str, Any], variables: list[tuple[str, Any]]
    ) -> dict[Value, str]:
        """Return what values are called: by the user's variables, and derivatives by what they are derivatives of."""
        if not self.results and not self._updates:
            return {}
        known: dict[str, Any] = {}
        by_array = {id(x._data): leaf for x, leaf in self._tracing.leaves.items()}
        for name, thing in (*names.items(), *variables):
            leaf = self._tracing.leaves.get(thing) if isinstance(thing, Value) else by_array.get(id(thing))
            if leaf is not None:
                known.setdefault(name, leaf)
        for leaf, i in self._given.items():
            known.setdefault(self._names[i] or f"argument_{i}", leaf)
        graph = Graph([*self.results, *self._updates.values()], inputs, known)
        labels = {value: graph.label(value) for value in graph if not graph.label(value).startswith("%")}
        for leaf, (name, parameter) in self._tracing.remembered.items():
            if leaf in labels and (of := labels.get(self._tracing.leaves[parameter])):
                labels[leaf] = f"{name}_{of}"
        derivatives: dict[Value, str] = {}
        for output, value, g in self._tracing.cotangents:
            if value in labels and g in graph and not g.name and g not in derivatives:
                derivatives[g] = f"d{labels.get(output, 'Loss')}_{labels[value]}"
        labels |= derivatives
        for old, new in self._updates.items():
            if old in labels and new.node is not None:
                labels[new] = f"new_{labels[old]}"
        return labels

    def _refuse_passed(self, variables: list[tuple[Mapping[str, Any], str]]) -> None:
        """Raise an error if an argument is also read as a variable: at the next call these may be different things."""
        for where, name in variables:
            thing = where[name]
            if isinstance(thing, Value | np.ndarray) and any(thing is x for x in self.call):
                raise CaptureError(f"{name} is passed to {title(self._function)}, which reads it as a variable too")

    # --- its first run

    def apply(self) -> Any:
        """Do what the first run did, and return what it returned."""
        for leaf, new in self._updates.items():
            if leaf in self._tensors:
                x = self._tensors[leaf]
                np.copyto(x._own_memory(), new._data)
                note_change(x)
            else:
                np.copyto(self._arrays[leaf](), new._data)
        return self.returned([np.array(x._data) for x in self.results])

    def returned(self, results: list[Array]) -> Any:
        """Return what the function returns, given the program's results, which from now on belong to the receiver."""
        for owner, i in self.gradients:
            x = self.call[owner] if isinstance(owner, int) else owner
            x._grad = None if i is None else constant(self._own(i, results))
        if isinstance(self.result, Result) and self.result.kind == "result" and not self.changed_arguments:
            return constant(self._own(self.result.what, results))
        for i, j in self.changed_arguments:
            x = self.call[i]
            if isinstance(x, Tensor):
                np.copyto(x._own_memory(), results[j])
                note_change(x)
        return rebuilt(self.result, lambda x: self._found_part(x, results))

    def _own(self, i: int, results: list[Any]) -> Any:
        """Return a result that belongs to the receiver alone."""
        return results[i].copy() if self._shared[i] else results[i]

    def _found_part(self, part: Result, results: list[Array]) -> Any:
        if part.kind == "result":
            return constant(self._own(part.what, results))
        if part.kind == "constant":
            return constant(part.what.copy())
        if part.kind == "argument":
            return self.call[part.what]
        return part.what() if part.kind == "number" else part.what


def _part(capture: Capture, i: int) -> Callable[[], Any]:
    return lambda: capture.call[i]


def _settings(objects: list[Any]) -> list[tuple[Mapping[str, Any], str]]:
    """Return where the tensors and numbers are that objects hold, and their names."""
    return [
        (vars(x), name) for x in dict.fromkeys(objects) for name, y in vars(x).items() if isinstance(y, Value | float)
    ]


def _same(array: Array) -> Callable[[], Array]:
    return lambda: array
