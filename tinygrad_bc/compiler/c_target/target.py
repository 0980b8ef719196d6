"""The C target: a program compiled by the system's C compiler, one function call a step.

What the C target has no text for is computed by NumPy: then a step is several C functions, and NumPy's calls between.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.compiler.c_target import blas as blas_library
from tinygrad_bc.compiler.c_target.convolution import written_out
from tinygrad_bc.compiler.c_target.native import Library, load
from tinygrad_bc.compiler.c_target.source import CSource, Part
from tinygrad_bc.compiler.c_target.storage import Storage
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.errors import IndexingError, ShapeError
from tinygrad_bc.record import Array, Graph, Value

__all__ = ["Bound", "Built", "build"]

ALIGNMENT = 64
"""On which multiple of bytes buffers begin: those of a cache line and of the widest vector registers."""


def build(program: Program) -> Built:
    """Write a program in C and compile it.

    Parameters
    ----------
    program : Program
        Of core operations, as far as possible (see `lower`).

    Returns
    -------
    Built

    Raises
    ------
    CompilerError
        If there is no compiler, or it cannot compile the program.
    MissingDependencyError
        If cffi is not installed.
    """
    built = Built(written_out(program))
    built.compile()
    return built


def written(program: Program) -> str:
    """Return a program in C, for which no compiler is needed."""
    return Built(written_out(program)).source


class Built:
    """A program in C.

    Attributes
    ----------
    source : str
        The C file.
    """

    any_layout = False

    def __init__(self, program: Program) -> None:
        self.written = CSource(program, blas=blas_library.find() is not None)
        self.source = self.written.text

    def compile(self) -> None:
        """Compile and load the file, unless that was done before."""
        names = [part.name for part in (*self.written.prepare, *self.written.step)]
        cdef = "".join(f"int {name}(const void *m);\n" for name in names)
        if self.written.has_loop:
            cdef += "int loop(const void *m, long steps, const long *advance);\n"
        self.library: Library = load(self.source, cdef, blas=self.written.uses_blas)

    def pack(self, memory: Sequence[Array]) -> list[Array]:
        """Return the arrays row by row: as they are, or copies of those that are not."""
        return [x if x.flags.c_contiguous else x.copy() for x in memory]

    def bind(self, memory: Sequence[Array]) -> Bound:
        """Return the program with the arrays of its memory, which it updates in place.

        Parameters
        ----------
        memory : sequence of ndarray
            C-contiguous, of the recorded shapes and element types, in the order of `Program.memory`.
        """
        return Bound(self.written, self.library, memory)


class Bound:
    """A compiled program together with the arrays that it works on."""

    def __init__(self, written: CSource, library: Library, memory: Sequence[Array]) -> None:
        self._written, self._ffi, self._lib = written, library.ffi, library.lib
        self._arrays: dict[Storage, Array] = dict(zip(written.memory, memory))
        for storage in written.constants:
            self._arrays[storage] = np.ascontiguousarray(storage.value._array)
        for storage in (*written.buffers, *written.copies.values()):
            self._arrays[storage] = _empty(storage.value.shape, storage.value.dtype)
        self._fields = {storage: i for i, storage in enumerate(written.fields)}
        self._pointers = self._ffi.new("void *[]", max(len(self._fields), 1))
        for storage, array in self._arrays.items():
            self._pointers[self._fields[storage]] = self._ffi.from_buffer(array)
        self._given: list[Any] = [None] * len(written.arguments)
        self._memory = self._ffi.cast("void *", self._pointers)
        self._results = tuple(self._arrays[written.result(x)] for x in written.program.results)
        self._prepare = [self._calls(part) for part in written.prepare]
        self._steps = [self._calls(part) for part in written.step]
        (self._step, *others) = [run for runs in self._steps for run in runs]
        self._others = others

    def _calls(self, part: Part) -> list[Callable[[], Any]]:
        """Return what runs a part: its C function, then NumPy."""
        function = functools.partial(getattr(self._lib, part.name), self._memory)
        return [function, *(functools.partial(self._numpy, value) for value in part.calls)]

    def _numpy(self, value: Value) -> int:
        """Compute a value by its operation's own forward function."""
        node = self._written.plan.calls[value]
        inputs = [self._array(x) if isinstance(x, Value) else x for x in node.inputs]
        result = np.asarray(node.op.forward(*inputs, **node.params))
        target = self._array(value)
        if result.shape != target.shape:
            raise ShapeError(
                f"{node.op.name} returned shape {result.shape}, and {target.shape} when it was captured: shapes are "
                "part of a program"
            )
        target[...] = result
        return 0

    def _array(self, value: Value) -> Array:
        """Return the array of a value that NumPy reads or computes."""
        if self._written.plan.is_constant(value):
            return value._array
        storage = self._written.storage(value)
        return self._arrays[storage]

    def _take(self, arguments: Sequence[Array]) -> None:
        """Let the program read the arguments of this call."""
        for i, array in enumerate(arguments):
            if array is not self._given[i]:
                self._given[i] = array
                self._pointers[i] = self._ffi.from_buffer(array)  # which is faster than array.ctypes
                self._arrays[self._written.arguments[i]] = array

    def prepare(self, *arguments: Array) -> None:
        """Compute what follows from steady inputs alone."""
        self._take(arguments)
        for calls in self._prepare:
            for call in calls:
                self._refuse(call())

    def step(self, *arguments: Array) -> tuple[Array, ...]:
        """Run the program; return its results, in arrays that the next call writes again.

        Raises
        ------
        IndexingError
            If an array of indices points outside of what it indexes. Then nothing was updated.
        """
        for new, old in zip(arguments, self._given):
            if new is not old:
                self._take(arguments)
                break
        outside = self._step()
        if outside:
            self._refuse(outside)
        for call in self._others:
            self._refuse(call())
        return self._results

    def loop(self, steps: int, varying: Mapping[int, Array], *arguments: Array) -> tuple[Array, ...]:
        """Run the program `steps` times.

        Parameters
        ----------
        steps : int
        varying : mapping of int to ndarray
            For some of the arguments, by their positions, a row for each step.
        *arguments : ndarray
            The others; those that vary are not looked at.
        """
        rows = {i: np.ascontiguousarray(array, arguments[i].dtype) for i, array in varying.items()}
        if not self._written.has_loop or any(arguments[i].ndim for i in rows):
            for k in range(steps):
                self.step(*(rows[i][k : k + 1].reshape(x.shape) if i in rows else x for i, x in enumerate(arguments)))
            return self._results
        self._take([rows.get(i, x) for i, x in enumerate(arguments)])
        advance = [int(i in rows) for i, x in enumerate(arguments) if not x.ndim]
        self._refuse(self._lib.loop(self._memory, steps, self._ffi.new("long[]", advance or [0])))
        return self._results

    def _refuse(self, outside: int) -> None:
        """Raise the error for an index that points outside, by the number of the check that found it."""
        if outside:
            program = self._written.program
            array, length = self._written.checks[outside - 1]
            given = {x: self._array(x) for x in program.inputs}
            history = Graph(array, program.inputs)
            (indices,) = history.evaluate({x: numbers for x, numbers in given.items() if x in history})
            wrong = indices[(indices < -length) | (indices >= length)]
            name = program.label(array)
            if name.startswith("%"):  # which says nothing
                name = ", ".join(program.label(x) for x in given if x in history)
            raise IndexingError(
                f"{name}: index {wrong.flat[0]} is out of bounds for {length} elements: use {-length} to {length - 1}"
            )


def _empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array whose memory begins where vector registers and cache lines do."""
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size].view(dtype).reshape(shape)
