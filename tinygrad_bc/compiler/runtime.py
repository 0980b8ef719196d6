"""A captured program, built for a target, with all it needs at a call: numbers, random draws, tensors' memory."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tinygrad_bc.compiler.calls import array_of
from tinygrad_bc.compiler.capture import Capture
from tinygrad_bc.record import Array, Value, clock

__all__ = ["Bound", "Built", "Runner"]


class Bound(Protocol):
    """A built program together with the arrays that it works on."""

    def prepare(self, *arguments: Array) -> None:
        """Compute what follows from steady inputs alone."""

    def step(self, *arguments: Array) -> Sequence[Array]:
        """Run the program; the results are buffers of its own."""

    def loop(self, steps: int, varying: Mapping[int, Array], *arguments: Array) -> Sequence[Array]:
        """Run the program so many times; `varying` holds, for some of the arguments, a row for each time."""


class Built(Protocol):
    """A program made ready for a target."""

    source: str

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
        self._updated = [x for x, leaf in zip(capture.tensors, program.memory) if leaf in updates]
        self._steady = [x for x, leaf in zip(capture.tensors, program.memory) if leaf in steady]
        self._steady_given = [i for i, leaf in zip(capture.given, program.arguments) if leaf in steady]
        self._first_number = len(capture.given)
        self._state: list[Any] | None = None  # what the steady inputs were when `prepare` ran
        self._bind()

    def run(self, call: list[Any], steps: int) -> tuple[int, Any]:
        """Run at most so many steps.

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
        capture = self.capture
        capture.call = call
        for x, had_none in capture.had_no_gradient:
            if (x._grad is None) is not had_none:
                return 0, None
        rows, undo = self._python(1 if capture.draws else steps)
        if not rows:
            return 0, None
        try:
            results = self._program(call, rows)
        except BaseException:
            for act in reversed(undo):
                act()
            raise
        return len(rows), capture.returned(results)

    def _python(self, steps: int) -> tuple[list[list[Any]], list[Callable[[], Any]]]:
        """Do Python's part of so many steps, until a fact does not hold; return the numbers of each step."""
        rows: list[list[Any]] = []
        undo: list[Callable[[], Any]] = []
        for _ in range(steps):
            before = len(undo)
            numbers: list[Any] = []
            for kind, function, other in self._schedule:
                if kind is FACT:
                    if function() != other:
                        for act in reversed(undo[before:]):
                            act()
                        return rows, undo[:before]
                elif kind is NUMBER:
                    numbers.append(function())
                else:
                    function()
                    undo.append(other)
            rows.append(numbers)
            if not undo:  # nothing was done that could make the next step another one
                return rows * steps, undo
        return rows, undo

    def _program(self, call: list[Any], rows: list[list[Any]]) -> list[Any]:
        """Run the program with the numbers of each step; return copies of the last results."""
        capture = self.capture
        if not self._is_bound():
            self._bind()
        for source, home, _ in self._mirrored:
            np.copyto(home, _array(source))
        draws = [find() for find in capture.draws]
        arguments = [*(_contiguous(call[i]) for i in capture.given), *rows[0], *(draws[i] for i in capture.draws_used)]
        if self._is_stale(call):
            self._bound.prepare(*arguments)
        if len(rows) == 1:
            results = self._bound.step(*arguments)
        else:
            varying = {self._first_number + i: np.array(column) for i, column in enumerate(zip(*rows))}
            results = self._bound.loop(len(rows), varying, *arguments)
        now = clock()
        for x in self._updated:
            x._changed = now
        for source, home, updated in self._mirrored:
            if updated:
                np.copyto(_array(source), home)
        return [x.copy() for x in results]

    def _is_stale(self, call: list[Any]) -> bool:
        """Return whether a steady input may have changed since the last time that this was asked."""
        steady = [*self._steady, *(call[i] for i in self._steady_given)]
        state = [x._changed for x in steady] + [id(x) for x in steady]
        if state == self._state:
            return any(x._exposed for x in steady)  # somebody may have written into it, unseen
        self._state = state
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
        self._homes = [(x, x._data, x._requires_grad) for x in capture.tensors]
        self._found = [(find, find()) for find in capture.arrays]
        self._bound = self.built.bind(homes)
        self._state = None

    def _is_bound(self) -> bool:
        """Return whether all memory is where it was."""
        for x, array, requires_grad in self._homes:
            if x._data is not array or x._requires_grad is not requires_grad:
                return False
        return all(find() is array for find, array in self._found)


FACT, NUMBER, ACT = "a fact", "b number", "c act"  # in this order, where they come at the same time


def _schedule(capture: Capture) -> list[tuple[int, Callable[[], Any], Any]]:
    """Return what Python does in a step, in its order: facts to check, numbers to find, acts to do."""
    entries = [(position, FACT, find, answer) for position, find, answer in capture.facts]
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
    """Let a tensor have its memory elsewhere, unless somebody has had it in hand; return whether that is so."""
    if not isinstance(source, Value) or source._exposed:
        return False
    source._data = home
    return True
