"""A function, run once and recorded, as a program that can be run again on other numbers."""

from __future__ import annotations

import io
import itertools
import sys
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import Result, array_of, fields, is_numbers, names_of, parts, rebuilt, records
from tinygrad_bc.compiler.conditions import Variables
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.compiler.randomness import Randomness, generators_of
from tinygrad_bc.compiler.variables import (
    MISSING,
    Contents,
    Numbers,
    Place,
    Reached,
    held_by,
    is_same,
    reachable,
    restore,
    settings,
    title,
)
from tinygrad_bc.errors import CaptureError
from tinygrad_bc.primitive import CAPTURE, CAPTURE_PLAIN, OFF, constant, mode
from tinygrad_bc.record import Array, Graph, Value, captures, note_change, tracer
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.tracing import Live, Tracer

__all__ = ["Capture"]


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
    initialises : bool
        Whether it put something where nothing was: then a later call finds something else, and does something else.

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
        reached = Reached(function, self.call)
        self._randomness = Randomness(reached, self.call)
        self._before = reached.snapshot()
        self.initialises = False
        try:
            self._refuse_iterators(reached)
            self._capture(args, kwargs, names)
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
        after = Reached(self._function, self.call).places
        for place, before in self._before.values():
            if not is_same(place.get(), before):
                place.put(restore(before))
        for key, place in after.items():
            if key not in self._before and place.get() is not MISSING:
                place.put(MISSING)

    def _capture(self, args: Any, kwargs: Any, names: Mapping[str, Any]) -> None:
        tracing, taken = self._tracing, iter(self._stand_ins)
        args, kwargs = rebuilt((args, kwargs), lambda _: next(taken))
        passed = [(x, fields(x)) for x in records((args, kwargs))]
        result = self._run(args, kwargs)
        self._refuse_written(passed)
        del args, kwargs, passed
        # What is returned is taken apart, so that its containers refer to nothing any more: see `_held`.
        self._returned, positions = list(parts(result)), itertools.count()
        result = rebuilt(result, lambda _: Result("part", next(positions)))
        for x in list(tracing.leaves):
            tracing.refuse_other_requirement(x)
        del x  # or it would count as referred to, in `_held`
        reached = Reached(self._function, self.call)
        self._refuse_hidden(reached)
        self._refuse_changes(reached)
        self._refuse_other_draws(reached)
        self.acts, self.facts = tracing.acts, tracing.facts
        self.had_no_gradient = list(tracing.had_no_gradient.items())
        self._sort_out(result)
        places = [*reached.places.values(), *settings(tracing.objects)]
        self._refuse_passed(places)
        self.program = self._program(names, places)
        live = {id(x) for find in self.arrays for x in (find(), find().base)}  # which are read where they are
        self.variables = Variables(reached, places, live)

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

    def _refuse_other_draws(self, reached: Reached) -> None:
        """Raise an error if random numbers were drawn that would not be drawn again at every call."""
        if self._randomness.is_disturbed(self._tracing.drawn):
            name = next((p.name for p in reached.places.values() if any(generators_of(p.get()))), "random")
            raise CaptureError(
                f"{title(self._function)} draws random numbers on its own, and a captured function would use the "
                "same at every call: pass them in as an argument (the batches of a DataLoader, too), or use a layer "
                "that draws, as nn.Dropout" + reached.line(name)
            )

    def _refuse_iterators(self, reached: Reached) -> None:
        """Raise an error if an iterator is at hand: at the next call it would be at another item."""
        for place in reached.places.values():
            if any(isinstance(x, Iterator) and not isinstance(x, io.IOBase) for x in held_by(place.get())):
                raise CaptureError(
                    f"{title(self._function)} reads from {place.name}, an iterator, and a captured function would use "
                    f"the same item at every call: take it outside, and pass it in as an argument"
                    + reached.line(place.name)
                )

    def _refuse_written(self, passed: list[tuple[Any, dict[str, Any]]]) -> None:
        """Raise an error if something was assigned to a field of an argument: inside, this is a copy."""
        for record, before in passed:
            for name, x in fields(record).items():
                if x is not before[name]:
                    raise CaptureError(
                        f"{title(self._function)} assigns something new to {name} of {type(record).__name__}, an "
                        "argument, and would do so only while it is captured. Return it"
                        + Reached(self._function, self.call).line(name)
                    )

    def _refuse_hidden(self, reached: Reached) -> None:
        """Raise an error if a returned object holds a computed tensor: it would hold the same at every call."""
        for x in self._returned:
            what = ""
            if not isinstance(x, Value | np.ndarray | Live) and any(map(self._is_computed, reachable(x))):
                what = "holds a tensor that was computed, and would be the same object at every call"
            elif isinstance(x, Iterator | Coroutine):
                what = "can be gone through only once"
            if what:
                raise CaptureError(
                    f"{title(self._function)} returns an object of type {type(x).__name__}, which {what}. Return "
                    "tensors, or lists, tuples, dictionaries or dataclasses of them" + reached.first_line
                )

    def _is_computed(self, x: Any) -> bool:
        return isinstance(x, Value) and x.node is not None and self._tracing.is_own(x)

    def _refuse_changes(self, reached: Reached) -> None:
        """Raise an error if something outside was changed, other than by this package: a later call would not do so."""
        before = {key: entry for key, entry in self._before.items() if key not in reached.places}
        for key, place in reached.places.items():
            before[key] = place, self._before.get(key, (place, MISSING))[1]
        for place, old in before.values():
            now = place.get()
            computed = any(map(self._is_computed, held_by(now)))
            if not computed and is_same(now, old):
                continue
            if not computed and _is_initialisation(now, old):
                self.initialises = True
                continue
            raise CaptureError(self._written(place, now, old) + reached.line(place.name))

    def _written(self, place: Place, now: Any, old: Any) -> str:
        """Say what is wrong with another thing in a place."""
        function, name = title(self._function), place.name
        if isinstance(old, Contents | Numbers) and now is old.of:
            return (
                f"{function} writes into {name}, which is outside of it, and would do so only while it is captured. "
                "Return what is to be kept, and put it there outside"
            )
        if isinstance(old, int | float) and isinstance(now, int | float):
            return (
                f"{function} changes {name}, a number from outside, from {old} to {now}, and would do so only while it "
                "is captured. Do so outside, and pass in the number; or let it be a tensor, updated inside tg.no_grad()"
            )
        advice = "Do so outside, and pass it in"
        if isinstance(now, Value | np.ndarray):
            advice = f"Return it; or, inside tg.no_grad(), update what is there: `{name} -= ...`"
        return (
            f"{function} assigns something new to {name}, a variable or an attribute from outside, and would do so "
            f"only while it is captured. {advice}"
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
        self.result = rebuilt(result, lambda part: self._result(self._returned[part.what], passed, held))
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

    def _program(self, names: Mapping[str, Any], places: list[Place]) -> Program:
        arguments = [*self._given, *self._found, *self._drawn]
        memory = [*self._tensors, *self._arrays]
        steady = [leaf for leaf, i in self._given.items() if isinstance(self.call[i], Value)]
        steady += [leaf for leaf, x in self._tensors.items() if not x._exposed]
        steady += [leaf for leaf, find in self._arrays.items() if not find().flags.writeable]
        labels = self._labels([*arguments, *memory], names, [(place.name, place.get()) for place in places])
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

    def _refuse_passed(self, places: list[Place]) -> None:
        """Raise an error if an argument is also read as a variable: at the next call these may be different things."""
        passed = {id(x) for x in self.call if isinstance(x, Value | np.ndarray)}
        for place in places:
            if any(id(x) in passed for x in held_by(place.get())):
                raise CaptureError(
                    f"{place.name} is passed to {title(self._function)}, which reads it as a variable too"
                )

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


def _is_initialisation(now: Any, old: Any) -> bool:
    """Return whether something was put where nothing was, or a flag was set: the next call may find that done."""
    if isinstance(old, Contents) and isinstance(now, dict):
        return old.is_whole and all(is_same(now.get(key, MISSING), part) for key, part in old.parts.items())
    return old is None or old is MISSING or (isinstance(old, bool) and isinstance(now, bool))


def _same(array: Array) -> Callable[[], Array]:
    return lambda: array
