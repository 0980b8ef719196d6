"""``tg.compile``: a function that is captured at its first call and run as a program from then on."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import warnings
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from tinygrad_bc.anomaly import blocks, watching
from tinygrad_bc.compiler.calls import array_of, is_numbers, is_tree, parts, rebuilt, structure
from tinygrad_bc.compiler.capture import Capture
from tinygrad_bc.compiler.pipeline import TARGETS, build
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.compiler.runtime import MISSED, Built, Runner
from tinygrad_bc.compiler.variables import Reached, title
from tinygrad_bc.diagnosis import depth_of_user
from tinygrad_bc.errors import ArgumentError, CaptureError, CompilerError, CompilerWarning, MissingDependencyError
from tinygrad_bc.primitive import GRADIENTS, OFF, constant, mode
from tinygrad_bc.record import Value, captures, tracer

__all__ = ["Compiled", "compile"]

ANY = inspect.Signature(
    [
        inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL),
        inspect.Parameter("kwargs", inspect.Parameter.VAR_KEYWORD),
    ]
)

MOST_PROGRAMS = 16
"""How many programs a compiled function keeps: one for each structure, shapes and element types of its arguments."""


@overload
def compile(fn: Callable[..., Any], *, target: str = ..., simplify: bool = ..., steps: int = ...) -> Compiled: ...


@overload
def compile(
    fn: None = None, *, target: str = ..., simplify: bool = ..., steps: int = ...
) -> Callable[[Callable[..., Any]], Compiled]: ...


def compile(
    fn: Callable[..., Any] | None = None, *, target: str = "numpy", simplify: bool = True, steps: int = 1
) -> Any:
    """Return a function that does what `fn` does, and runs as a program from its second call on.

    The first call runs `fn` as it is and records all it does: operations, the backward pass, an optimiser's update, a
    schedule's step. Later calls with arguments of the same structure, shapes and element types run the program that
    was made of that. Others are captured anew. Tensors that `fn` refers to are read, and updated, where they are.

    Parameters
    ----------
    fn : callable
        A function of tensors, arrays, numbers, or lists, tuples, dictionaries and dataclasses of them. Arrays and
        tables arrive as tensors. It may return the same. Any other arguments (a model, a flag, a whole number) belong
        to the structure: each has a program of its own.
    target : str
        ``"numpy"``, NumPy with preallocated buffers, or ``"c"``, compiled by the system's C compiler. Where there is
        none, a warning says so, and NumPy is used.
    simplify : bool
        Whether the program may be simplified. If not, it does NumPy's calls of `fn` in the same order, and its results
        are those of `fn` bit for bit; otherwise they are the same up to rounding.
    steps : int
        How often a call runs `fn`, with the same arguments, in a loop inside the program. The last results are
        returned.

    Returns
    -------
    Compiled
        To be called as `fn` is; ``.loop(n, ...)`` runs a loop inside, ``.program`` is what was captured last.
        ``@tg.compile`` and ``@tg.compile(target="c")`` work above a function, too.

    Raises
    ------
    ArgumentError
        If `target` is unknown, `steps` is less than 1, or `fn` is a generator or asynchronous.
    CaptureError
        At the first call, if `fn` does what cannot be recorded: a decision by numbers in a tensor, ``item()``, random
        numbers of its own, a counter outside. Nothing is changed then.

    Warns
    -----
    CompilerWarning
        At the first call, if there is no C compiler for ``target="c"``, or it fails: NumPy runs then.

    Notes
    -----
    Only what is done with tensors, by optimisers, schedules and layers is done again at every call. Python itself runs
    at the first call alone: what it prints, or reads from a clock, a file or a random generator that it makes, and what
    it computes with NumPy from arrays of more than 4096 numbers, is as it was then. Variables, attributes and what
    containers hold are looked at anew, as far as `fn` and the functions that it calls mention their names: with other
    ones, it is captured again.

    What a compiled function returns has no history. The backward pass belongs inside it.

    To look for a NaN, call it inside `detect_anomaly`, which runs `fn` itself.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> W = tg.tensor([1.0, 2.0], requires_grad=True, name="W")
    >>> @tg.compile
    ... def step(x):
    ...     loss = (W * x).sum() ** 2
    ...     (dloss_W,) = tg.grad(loss, [W])
    ...     with tg.no_grad():
    ...         W -= 0.01 * dloss_W
    ...     return loss
    """
    if target not in TARGETS:
        raise ArgumentError(f"compile: target={target!r}, but expected one of {', '.join(map(repr, TARGETS))}")
    if not _is_count(steps):
        raise ArgumentError(f"compile: steps={steps!r}, but expected a whole number of at least 1")
    if fn is None:
        return functools.partial(compile, target=target, simplify=simplify, steps=steps)
    _refuse_other_than_functions(fn)
    return Compiled(fn, target, simplify, steps)


def _refuse_other_than_functions(fn: Any) -> None:
    """Raise an error if this cannot be called, or runs only after the call has returned."""
    if not callable(fn):
        hint = ""
        if isinstance(fn, Value):
            hint = ", which is a result: pass the function itself, tg.compile(f), and call what that returns"
        elif fn in TARGETS:
            hint = f": a target is given by its keyword, tg.compile(target={fn!r})"
        raise ArgumentError(f"compile: expected a function, got {fn!r}{hint}")
    for kind, is_one in (
        ("a generator function, which has a `yield`", inspect.isgeneratorfunction),
        ("an asynchronous function", inspect.iscoroutinefunction),
        ("an asynchronous generator", inspect.isasyncgenfunction),
    ):
        if is_one(fn):
            raise ArgumentError(
                f"compile: {title(fn)} is {kind}, and does its work only after the call: compile a function that "
                f"returns its results{Reached(fn, ()).first_line}"
            )


def _is_count(steps: Any) -> bool:
    return isinstance(steps, int | np.integer) and not isinstance(steps, bool) and bool(steps >= 1)


class Compiled:
    """A function that is captured and run as a program. Made by `compile`, which says what can be captured.

    Threads take turns. A copy, also a pickled one, begins without programs.
    """

    def __init__(self, fn: Callable[..., Any], target: str, simplify: bool, steps: int) -> None:
        functools.update_wrapper(self, fn)
        self._fn, self._target, self._simplify, self._steps = fn, target, simplify, steps
        self.__name__ = title(fn)
        try:
            self._signature = inspect.signature(fn)
        except ValueError:  # some functions written in C have none
            self._signature = ANY
        self._last: Runner | None = None  # which may be asked to repeat its step
        self._runners: OrderedDict[Any, list[Runner]] = OrderedDict()
        self._lock = threading.RLock()

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or the program made of it, as often as `steps` said."""
        if self._last is not None and not (kwargs or captures or blocks) and mode.get() is GRADIENTS:
            with self._lock:
                result = self._last.repeat(args)
            if result is not MISSED:
                return result
        return self.loop(self._steps, *args, **kwargs)

    def loop(self, steps: int, /, *args: Any, **kwargs: Any) -> Any:
        """Run the function, or the program made of it, so many times in a loop inside; return the last result.

        Ctrl-C ends it between two steps, within about a tenth of a second or a step.

        Parameters
        ----------
        steps : int
        *args, **kwargs
            What the function is called with, every time.
        """
        if not _is_count(steps):
            raise ArgumentError(
                f"{self.__name__}.loop: expected how many steps first, a whole number of at least 1, and then the "
                f"arguments of {self.__name__}; got {steps!r}"
            )
        if captures and tracer.get() is not None:  # part of a function that is being captured itself
            return [self._fn(*args, **kwargs) for _ in range(steps)][-1]
        if blocks and watching.get():
            args, kwargs = rebuilt((args, kwargs), _as_tensor)
            return [self._fn(*args, **kwargs) for _ in range(steps)][-1]
        call: list[Any] = [*args, *kwargs.values()]
        form: Any = (len(args), *kwargs)
        if any(map(is_tree, call)):
            call, form = list(parts((args, kwargs))), structure((args, kwargs))
        call = list(map(_without_table, call))
        key = (form, mode.get() is OFF, *map(_kind, call))
        if len(set(map(id, call))) < len(call):
            key = (*key, *_repeated(call))
        result = None
        with self._lock:
            while steps:
                done, result = self._run(key, call, steps)
                if not done:
                    done, result = 1, self._capture(key, *rebuilt((args, kwargs), _without_table))
                steps -= done
        return result

    def _run(self, key: Any, call: list[Any], steps: int) -> tuple[int, Any]:
        """Run one of the programs that were captured for such a call; see `Runner.run`."""
        runners = self._runners.get(key, [])
        for i, runner in enumerate(runners):
            done, result = runner.run(call, steps)
            if done:
                if i:
                    runners.insert(0, runners.pop(i))  # to be tried first the next time
                self._last = runner if self._steps == 1 and mode.get() is GRADIENTS else None
                return done, result
        return 0, None

    def _capture(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function itself, and keep the program that is made of what it did."""
        try:
            names = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise TypeError(f"{self.__name__}{self._signature}: {error}") from None
        capture = Capture(self._fn, args, kwargs, names)
        try:
            built = self._built(capture.program)
        except BaseException:
            capture.take_back()
            raise
        result = capture.apply()
        if capture.initialises:  # what it found, it will not find again
            return result
        self._runners.setdefault(key, []).insert(0, Runner(capture, built))
        self._runners.move_to_end(key)
        while sum(map(len, self._runners.values())) > MOST_PROGRAMS:
            oldest = next(iter(self._runners.values()))
            oldest.pop()
            if not oldest:
                self._runners.popitem(last=False)
        return result

    def _built(self, program: Program) -> Built:
        """Return a program made ready for the target; NumPy takes the place of a compiler that is not there."""
        try:
            return build(program, self._target, self._simplify)
        except (CompilerError, MissingDependencyError) as error:
            if self._target == "numpy":
                raise
            warnings.warn(
                f"{error}\n{self.__name__} runs as NumPy instead", CompilerWarning, stacklevel=depth_of_user()
            )
            self._target = "numpy"
            return build(program, self._target, self._simplify)

    @property
    def programs(self) -> list[Program]:
        """The programs that were captured and are kept, at most 16: the one captured last at the end."""
        return [runner.capture.program for runners in self._runners.values() for runner in reversed(runners)]

    @property
    def program(self) -> Program:
        """The program that was captured last.

        Raises
        ------
        CaptureError
            If there is none yet.
        """
        if not self._runners:
            raise CaptureError(
                f"{self.__name__} was not called yet, or initialised something when it was: its next call captures the "
                "program"
            )
        return self.programs[-1]

    def __reduce__(self) -> Any:
        """Say how it is copied and pickled: as what it was made of, for programs belong to the memory of tensors.

        One that stands above its function, as a decorator, is found again by name, as functions are.
        """
        if getattr(sys.modules.get(self.__module__), self.__name__, None) is self:
            return self.__name__
        return Compiled, (self._fn, self._target, self._simplify, self._steps)

    def __repr__(self) -> str:
        count = len(self.programs)
        return f"<compiled {self.__name__} for {self._target}, {count} program{'s' * (count != 1)}>"


def _repeated(call: list[Any]) -> list[int]:
    """Return where each tensor is passed first: one in two places is recorded once, two are two leaves."""
    first: dict[int, int] = {}
    return [first.setdefault(id(x), i) for i, x in enumerate(call) if isinstance(x, Value)]


def _without_table(x: Any) -> Any:
    """Return a table as an array, which takes pandas long enough not to be done twice; anything else as it is."""
    return array_of(x) if not isinstance(x, Value | np.ndarray) and hasattr(x, "to_numpy") else x


def _as_tensor(x: Any) -> Any:
    """Return an argument as it arrives in a captured function; a number as it is."""
    return constant(array_of(x)) if is_numbers(x) and not isinstance(x, Value | float) else x


def _kind(x: Any) -> Any:
    """Return what two arguments have in common that one program is made for."""
    if isinstance(x, Value):
        return x.shape, x.dtype, x._requires_grad
    if is_numbers(x):
        return float if isinstance(x, float) else (np.shape(x), getattr(x, "dtype", None) or array_of(x).dtype)
    try:
        hash(x)
    except TypeError:
        return id(x)
    return type(x), x
