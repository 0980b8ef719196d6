"""A captured program, built for a target, with all it needs at a call: numbers, random draws, tensors' memory."""

from __future__ import annotations

import operator
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from tinygrad_bc.compiler.calls import Result, array_of
from tinygrad_bc.compiler.capture import Capture
from tinygrad_bc.compiler.conditions import Conditions
from tinygrad_bc.compiler.failures import explained
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Array, Value, clock, note_change
from tinygrad_bc.tracing import Item

__all__ = ["MISSED", "Bound", "Built", "Runner"]


class Bound(Protocol):
    """A built program together with the arrays that it works on."""

    def prepare(self, *arguments: Array) -> None:
        """Compute what follows from steady inputs alone."""

    def step(self, *arguments: Array) -> Sequence[Array]:
        """Run the program; the results are buffers of its own."""

    def loop(self, steps: int, varying: Mapping[int, Array], *arguments: Array) -> Sequence[Array]:
        """Run the program so many times; `varying` holds, for some of the arguments, a row for each time."""


class Built(Protocol):
    """A program made ready for a target.

    Attributes
    ----------
    source : str
    any_layout : bool
        Whether arguments are given as they lie in memory, and not C-contiguous.
    """

    source: str
    any_layout: bool

    def pack(self, memory: Sequence[Array]) -> list[Array]:
        """Return arrays that hold the same numbers as `memory`, laid out as the program wants them."""

    def bind(self, memory: Sequence[Array]) -> Bound:
        """Return the program bound to memory, which it updates in place."""


class Runner:
    """Runs a captured program, built for a target.

    The memory of a tensor that nobody has had in hand moves to where the program wants it. Other memory stays where it
    is, and is copied there and back.

    Parameters
    ----------
    capture : Capture
    built : Built
    """

    def __init__(self, capture: Capture, built: Built) -> None:
        self.capture, self.built = capture, built
        program, steady, updates = capture.program, capture.program.steady, capture.program.updates
        self._schedule = _schedule(capture)
        self._one_by_one = capture.carries_gradients or bool(capture.draws)
        self._varies = bool(capture.acts)  # or every step of a loop is the same to Python
        self._updated = [x for x, leaf in zip(capture.tensors, program.memory) if leaf in updates]
        self._steady = [x for x, leaf in zip(capture.tensors, program.memory) if leaf in steady]
        self._steady_given = [i for i, leaf in zip(capture.given, program.arguments) if leaf in steady]
        self._required = [(x, x._requires_grad, x.hooks) for x in capture.tensors]
        self._seen: list[tuple[Value, int]] | None = None  # steady tensors, and when they had changed last
        self._tick = 0  # the clock's, when a step was run last
        self._repeated: list[Any] | None = None  # the call that may be repeated as it was
        self._at_once = 1  # how many steps of a loop, as the last ones took
        self._given: list[Array] = []
        alone = isinstance(capture.result, Result) and capture.result.kind == "result"
        self._plain = capture.result.what if alone and not any(i is not None for _, i in capture.gradients) else None
        self._bind()

    def repeat(self, args: tuple[Any, ...]) -> Any:
        """Run a step on the same arguments as the last, if nothing has happened in between.

        No tick of the clock means that no tensor has changed in any way, so nothing has to be looked at again but
        variables, and what Python does in a step.

        Returns
        -------
        object
            What the function returned, or `MISSED`: then `run` is to be called.
        """
        now, call = clock(), self._repeated
        if now - self._tick != 1 or call is None or not self._same_variables():
            return MISSED
        if (args or call) and not (len(args) == len(call) and all(map(operator.is_, args, call))):
            return MISSED
        if self._schedule:
            rows, undo = self._python(1)
            if not rows:
                return MISSED
            try:
                results = self._steps([*self._given, *rows[0]], rows)
            except BaseException:
                for act in reversed(undo):
                    act()
                raise
        else:
            try:
                results = self._bound.step(*self._given)
            except Exception as error:
                raise self._explained(self._given, error) from error
        self._tick = note_change(*self._updated)
        if self._plain is None:
            return self.capture.returned([x.copy() if x.ndim else x[()] for x in results])
        result = results[self._plain]
        return constant(result.copy() if result.ndim else result[()])

    def run(self, call: list[Any], steps: int) -> tuple[int, Any]:
        """Run at most so many steps, but no more than take a tenth of a second: Ctrl-C waits for them.

        Parameters
        ----------
        call : list
            The `parts` of the call.
        steps : int

        Returns
        -------
        (int, object)
            How many steps were run, and what the function returned in the last. No step at all means that something
            is not as it was when the function was captured.
        """
        if steps == 1:
            return self._run(call, 1)
        started = time.perf_counter()
        with _uninterrupted():
            done, result = self._run(call, min(steps, self._at_once))
        self._at_once = max(1, int(LONGEST * done / (time.perf_counter() - started)))
        return done, result

    def _run(self, call: list[Any], steps: int) -> tuple[int, Any]:
        capture = self.capture
        capture.call = call
        if not (self._same_variables() and self._same()):
            if not self._holds():
                return 0, None
            self._bind()
        rows, undo = self._python(1 if self._one_by_one else steps)
        if not rows:
            return 0, None
        try:
            results = self._program(call, rows)
        except BaseException:
            for act in reversed(undo):
                act()
            raise
        result = capture.returned(results)
        self._repeated = call if self._may_repeat(call) else None
        self._tick = clock()
        return len(rows), result

    def _may_repeat(self, call: list[Any]) -> bool:
        """Return whether a call like the last need not look at what it is given, and at the memory, again."""
        capture = self.capture
        self._given = [array_of(call[i]) for i in capture.given]
        return (
            not (self._one_by_one or self._mirrored or capture.changed_arguments)
            and not any(x._exposed for x in (*self._steady, *(call[i] for i in self._steady_given)))
            and (self.built.any_layout or all(x.flags.c_contiguous for x in self._given))
            and all(isinstance(call[i], Value | np.ndarray) for i in capture.given)
        )

    def _holds(self) -> bool:
        """Return whether what was captured is still true, wherever the memory is now."""
        capture = self.capture
        return (
            capture.variables.same()
            and all((x._grad is None) is none for x, none in capture.had_no_gradient)
            and all(x._requires_grad is required and x.hooks is hooks for x, required, hooks in self._required)
            and all(find() is not None for find in capture.arrays)
        )

    def _python(self, steps: int) -> tuple[list[list[Any]], list[Callable[[], Any]]]:
        """Do Python's part of so many steps, until a fact does not hold; return the numbers of each step."""
        rows: list[list[Any]] = []
        undo: list[Callable[[], Any]] = []
        for _ in range(steps if self._varies else 1):
            numbers: list[Any] = []
            before, holds = len(undo), False
            try:
                holds = self._step_of_python(numbers, undo)
            except Exception:
                if not rows:  # or it is raised again after those steps
                    raise
            finally:
                if not holds:
                    for act in reversed(undo[before:]):
                        act()
            if not holds:
                return rows, undo[:before]
            rows.append(numbers)
        return (rows, undo) if self._varies else (rows * steps, undo)

    def _step_of_python(self, numbers: list[Any], undo: list[Callable[[], Any]]) -> bool:
        """Add the numbers of one step, and what takes its acts back; return whether the facts hold."""
        for kind, function, other in self._schedule:
            if kind == FACT:
                if function() != other:
                    return False
            elif kind == NUMBER:
                numbers.append(function())
            else:
                function()
                undo.append(other)
        return True

    def _program(self, call: list[Any], rows: list[list[Any]]) -> list[Any]:
        """Run the program with the numbers of each step; return copies of the last results."""
        capture = self.capture
        for source, home, _ in self._mirrored:
            np.copyto(home, _array(source))
        given = array_of if self.built.any_layout else _contiguous
        arguments = [given(call[i]) for i in capture.given] + rows[0]
        if capture.draws:
            draws = [find() for find in capture.draws]
            arguments += [draws[i] for i in capture.draws_used]
        results = self._steps(arguments, rows, self._is_stale(call))
        note_change(*self._updated)
        for source, home, updated in self._mirrored:
            if updated:
                np.copyto(_array(source), home)
        return [x.copy() if x.ndim else x[()] for x in results]

    def _steps(self, arguments: list[Array], rows: list[list[Any]], is_stale: bool = False) -> Sequence[Array]:
        """Run the program with the numbers of each step."""
        try:
            if is_stale:
                self._bound.prepare(*arguments)
            if len(rows) == 1:
                return self._bound.step(*arguments)
            varying = {len(self.capture.given) + i: np.array(column) for i, column in enumerate(zip(*rows))}
            return self._bound.loop(len(rows), varying, *arguments)
        except Exception as error:
            raise self._explained(arguments, error) from error

    def _explained(self, arguments: list[Array], error: Exception) -> Exception:
        """Return the error to raise when the program has failed."""
        memory = [np.asarray(_array(source)) for source in (*self.capture.tensors, *self.capture.arrays)]
        return explained(self.capture.program, [*arguments, *memory], error)

    def _is_stale(self, call: list[Any]) -> bool:
        """Return whether a steady input may have changed since the last time that this was asked."""
        steady = [*self._steady, *(call[i] for i in self._steady_given)] if self._steady_given else self._steady
        if self._seen is not None:
            for x, (before, changed) in zip(steady, self._seen):
                if x is not before or x._changed != changed or x._exposed:  # then it may be written into unseen
                    break
            else:
                return False
        self._seen = [(x, x._changed) for x in steady]
        return True

    # --- memory

    def _bind(self) -> None:
        """Let the program have the memory as it is now."""
        capture, updates = self.capture, self.capture.program.updates
        sources = [*capture.tensors, *capture.arrays]
        now = [np.asarray(_array(source)) for source in sources]
        homes = self.built.pack(now)
        self._mirrored = [
            (source, new, leaf in updates)
            for source, old, new, leaf in zip(sources, now, homes, capture.program.memory, strict=True)
            if new is not old and not _moved(source, new)
        ]
        self._bound = self.built.bind(homes)
        self._seen = None
        variables = Conditions()
        capture.variables.add_to(variables)
        for find in capture.arrays:
            variables.add("{0}() is {1}", find, find())
        self._same_variables = variables.compiled()
        self._same = self._conditions().compiled()
        self._repeated = None

    def _conditions(self) -> Conditions:
        """Return what must hold for this binding to be used again as it is."""
        conditions = Conditions()
        for x, required, hooks in self._required:
            conditions.add(f"{{0}}._data is {{1}} and {{0}}._requires_grad is {required}", x, x._data)
            if required:
                conditions.add("{0}.hooks is {1}", x, hooks)
        for x, none in self.capture.had_no_gradient:
            conditions.add("{0}._grad is None" if none else "{0}._grad is not None", x)
        return conditions


MISSED = object()

LONGEST = 0.1
"""For how many seconds a loop runs before Ctrl-C is heard."""


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until the end: what Python and what the program do in the steps of a loop belong together."""
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    heard: list[Any] = []
    signal.signal(signal.SIGINT, lambda *call: heard.append(call))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if heard:
            handler(*heard[-1])


FACT, NUMBER, ACT = range(3)  # in this order, where they come at the same time


def _schedule(capture: Capture) -> list[tuple[int, Callable[[], Any], Any]]:
    """Return what Python does in a step, in its order: facts to check, numbers to find, acts to do."""
    entries: list[tuple[int, int, Callable[[], Any], Any]] = []
    entries += [(position, FACT, find, answer) for position, find, answer in capture.facts]
    entries += [(position, NUMBER, find, None) for position, find in capture.numbers]
    entries += [(position, ACT, do, undo) for position, (do, undo) in enumerate(capture.acts)]
    return [(kind, function, other) for _, kind, function, other in sorted(entries, key=operator.itemgetter(0, 1))]


def _array(source: Any) -> Array:
    """Return the array of a tensor, or the one that a function finds."""
    array: Array = source._data if isinstance(source, Value) else source()
    return array


def _contiguous(x: Any) -> Array:
    array = array_of(x)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array).reshape(array.shape)


def _moved(source: Any, home: Array) -> bool:
    """Let a tensor have its memory elsewhere, unless somebody has had it in hand; return whether that is so.

    What an optimiser remembers is in a dictionary, where another array can take its place.
    """
    if isinstance(source, Item):
        source.put(home)
        return True
    if not isinstance(source, Value) or source._exposed:
        return False
    source._data = np.asarray(_Part(home))
    return True


class _Part:
    """A part of an array that NumPy does not take for a view of it.

    A tensor that has a part of an array to itself shares it with no other tensor, and may be updated in place.
    """

    def __init__(self, part: Array) -> None:
        self.__array_interface__ = part.__array_interface__
        self.part = part  # whose memory must live as long
