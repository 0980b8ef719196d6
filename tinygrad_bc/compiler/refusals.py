"""What a function did, while it was captured, that a program would not do again: refused, with the line that did it."""

from __future__ import annotations

import linecache
import types
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import functions_of, parts, place_of, put_back
from tinygrad_bc.errors import CaptureError
from tinygrad_bc.record import Value

__all__ = ["line_of", "put_all_back", "refuse_changes", "refuse_result", "title"]

ONLY_ONCE = "and would do so only while it is captured: later calls run the program, not the function"


def title(function: Callable[..., Any]) -> str:
    """Return what a function is called in messages."""
    return getattr(function, "__name__", type(function).__name__)


def refuse_changes(
    function: Callable[..., Any],
    variables: Iterable[tuple[Mapping[str, Any], str]],
    before: Mapping[Any, Any],
    is_computed: Callable[[Value], bool],
) -> None:
    """Raise an error if a variable from outside was changed, in a way that a later call would not repeat.

    That is: it, or a list or dictionary that it is, was given a computed tensor, or another number.

    Parameters
    ----------
    function : callable
        What was captured.
    variables : iterable of (mapping, str)
        Where each is looked up, and its name.
    before : mapping
        What they were, by `place_of`; lists and dictionaries as copies.
    is_computed : callable
        Whether a value was computed during the capture.
    """
    variables = list(variables)
    for where, name in variables:
        now, old = where[name], before.get(place_of(where, name), ...)
        if type(now) is type(old) and isinstance(now, dict | list):
            problem = _what_was_put_into(now, old, name, is_computed)
        else:
            problem = _what_was_assigned(now, old, name)
        if problem:
            raise CaptureError(f"{title(function)} {problem}\n{line_of(function, name, variables)}")


def put_all_back(variables: Iterable[tuple[Mapping[str, Any], str]], before: Mapping[Any, Any]) -> None:
    """Let variables from outside be what they were before; see `refuse_changes`."""
    for where, name in list(variables):
        now, old = where[name], before.get(place_of(where, name), ...)
        same = list(map(id, parts(now))) == list(map(id, parts(old)))
        if now is not old and not (same and isinstance(now, dict | list)):
            put_back(where, name, old)


def _what_was_assigned(now: Any, old: Any, name: str) -> str:
    """Say what is wrong with an assignment to a variable; '' if nothing is."""
    if now is old:
        return ""
    if (isinstance(now, Value) and now.node is not None) or isinstance(old, Value | np.ndarray):
        return (
            f"assigns something new to {name}, a variable or an attribute from outside, {ONLY_ONCE}. Return it; or, "
            f"inside tg.no_grad(), update what is there: `{name} -= ...`"
        )
    return _counted(now, old, name)


def _what_was_put_into(now: Any, old: Any, name: str, is_computed: Callable[[Value], bool]) -> str:
    """Say what is wrong with what a list or dictionary holds now; '' if nothing is."""
    known = {id(x) for x in parts(old)}
    if any(isinstance(x, Value) and id(x) not in known and is_computed(x) for x in parts(now)):
        return (
            f"puts a tensor that it computed into {name}, a {type(now).__name__} from outside, {ONLY_ONCE}. Return "
            "the tensor, and put it there outside"
        )
    keys = now.keys() & old.keys() if isinstance(now, dict) else range(min(len(now), len(old)))
    return next(filter(None, (_counted(now[key], old[key], f"{name}[{key!r}]") for key in keys)), "")


def _counted(now: Any, old: Any, name: str) -> str:
    if not (_is_number(now) and _is_number(old)) or now == old or (now != now and old != old):
        return ""
    return (
        f"changes {name}, a number from outside, from {old} to {now}, {ONLY_ONCE}. Do so "
        "outside of the function, and pass in what it needs of it; or let it be a tensor, updated inside tg.no_grad()"
    )


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float | np.number) and not isinstance(x, bool)


def refuse_result(function: Callable[..., Any], x: Any, is_computed: Callable[[Value], bool]) -> None:
    """Raise an error if a part of a result, which is no tensor, would be out of date at a later call."""
    if isinstance(x, Iterator | Coroutine):
        what = "can be gone through only once"
    elif any(isinstance(y, Value) and is_computed(y) for y in _inside(x)):
        what = "holds tensors that it computed, which would be the same at every later call"
    else:
        return
    raise CaptureError(
        f"{title(function)} returns an object of type {type(x).__name__}, which {what}. Return tensors, or lists, "
        f"tuples (named ones too) and dictionaries of them\n{line_of(function)}"
    )


def _inside(x: Any) -> Iterator[Any]:
    """Iterate over what an object holds: a set its elements, any other its attributes."""
    if isinstance(x, type | types.ModuleType):
        return
    slots = [name for kind in type(x).__mro__ for name in getattr(kind, "__slots__", ())]
    held = [*x] if isinstance(x, Collection) and not isinstance(x, str | bytes | np.ndarray) else []
    for thing in (*held, *getattr(x, "__dict__", {}).values(), *(getattr(x, name, None) for name in slots)):
        yield from parts(thing)


# --- where


_WRITERS = {"append", "extend", "insert", "update", "setdefault", "appendleft", "add"}


def line_of(
    function: Callable[..., Any], name: str = "", variables: Iterable[tuple[Mapping[str, Any], str]] = ()
) -> str:
    """Return the line of a function that assigns to a name, or else writes into it, mentions it, or is the first.

    Functions and objects among the variables that it reads are searched, too.
    """
    import dis

    best = (-1, "")
    things = [function, getattr(function, "__self__", None), *(where[name] for where, name in variables)]
    for code in _codes(things):
        lines: dict[int, list[Any]] = {}
        for instruction in dis.get_instructions(code):
            if instruction.positions is not None and instruction.positions.lineno:
                lines.setdefault(instruction.positions.lineno, []).append(instruction)
        found = [(_score(instructions, name), code.co_filename, line) for line, instructions in lines.items()]
        found.append((0, code.co_filename, code.co_firstlineno))
        for score, file, line in found:
            if score > best[0]:
                best = score, f"  {file}:{line}: {linecache.getline(file, line).strip()}"
    return best[1]


def _score(instructions: list[Any], name: str) -> int:
    """Return how much a line, given its instructions, seems to change what has that name."""
    mentions = [x for x in instructions if x.argval == name]
    if any(x.opname.startswith("STORE") for x in mentions):
        return 3
    writes = any(x.opname == "STORE_SUBSCR" or x.argval in _WRITERS for x in instructions)
    return (2 if writes else 1) if mentions else 0


def _codes(things: Iterable[Any]) -> Iterator[types.CodeType]:
    """Iterate over the code of functions, and of the methods that run when an object is called, outermost first."""
    for thing in (x for each in things for x in (each, *functions_of(each))):
        code = getattr(getattr(thing, "__func__", thing), "__code__", None)
        pending = [code] if isinstance(code, types.CodeType) else []
        for inner in pending:  # which grows on the way
            yield inner
            pending += [x for x in inner.co_consts if isinstance(x, types.CodeType)]
