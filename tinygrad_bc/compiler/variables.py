"""What a function reads besides its arguments: variables, attributes of objects, and what these hold.

Python does not say what a function reads. So whatever it can reach by the names that it mentions counts as read: its
own variables, those of the functions, methods and properties that it can call, and attributes of all objects on the
way, also in lists and dictionaries.
"""

from __future__ import annotations

import dis
import functools
import gc
import linecache
import operator
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any

import numpy as np

from tinygrad_bc.record import Value

__all__ = [
    "MISSING",
    "Contents",
    "Numbers",
    "Place",
    "Reached",
    "held_by",
    "is_model",
    "is_same",
    "kept",
    "matters",
    "reachable",
    "restore",
    "settings",
    "title",
]

PLAIN = int | float | complex | str | bytes | bool | np.generic | None

CONTAINERS = (dict, list, tuple, set, frozenset, deque)

MOST_NUMBERS = 1 << 12
"""Up to how many elements the numbers in an array are compared, which NumPy may have computed with unseen."""

MISSING: Any = ...
"""What stands in a place where nothing is."""

LIBRARIES = frozenset({"tinygrad_bc", "numpy", *sys.stdlib_module_names})

BY_ANY_NAME = frozenset({"getattr", "setattr", "delattr", "vars", "__dict__"})
"""Who mentions one of these may read attributes whose names are not in the code."""

NOT_CALLED = frozenset({"__init__", "__new__", "__repr__", "__str__", "__reduce__", "__init_subclass__"})


def title(function: Callable[..., Any]) -> str:
    """Return what a function is called in messages."""
    return getattr(function, "__name__", type(function).__name__)


class Place:
    """Where a variable, or an attribute, is looked up.

    Parameters
    ----------
    where : cell, dict or object
        A variable of an enclosing function; a dictionary of variables or of attributes; what has an attribute.
    name : str
    is_ours : bool
        Whether it is an attribute of an object of this package: of an optimiser's options, those mentioned matter.
    """

    __slots__ = ("is_ours", "key", "name", "where")

    def __init__(self, where: Any, name: str, is_ours: bool = False) -> None:
        self.where, self.name, self.is_ours = where, name, is_ours
        self.key = (id(where), name)

    def get(self) -> Any:
        """Return what is there now."""
        where = self.where
        if isinstance(where, types.CellType):
            try:
                return where.cell_contents
            except ValueError:  # not assigned yet
                return MISSING
        return where.get(self.name, MISSING) if isinstance(where, dict) else getattr(where, self.name, MISSING)

    def put(self, thing: Any) -> None:
        """Assign something to it, or delete it."""
        where = self.where
        if isinstance(where, types.CellType):
            where.cell_contents = thing
        elif isinstance(where, dict):
            where[self.name] = thing
            if thing is MISSING:
                del where[self.name]
        elif thing is MISSING:
            delattr(where, self.name)
        else:
            setattr(where, self.name, thing)

    def question(self) -> str:
        """Return the code that looks it up in ``{0}``."""
        if isinstance(self.where, types.CellType):
            return "{0}.cell_contents"
        if isinstance(self.where, dict):
            return f"{{0}}.get({self.name!r}, ...)"
        return f"getattr({{0}}, {self.name!r}, ...)"


class Contents:
    """What a container held.

    Attributes
    ----------
    of : container
    parts : dict of object to object
        Its parts, by key or position, each `kept`.
    is_whole : bool
        Whether that is all of it.
    """

    __slots__ = ("is_whole", "of", "parts")

    def __init__(self, of: Any, parts: dict[Any, Any], is_whole: bool) -> None:
        self.of, self.parts, self.is_whole = of, parts, is_whole


class Numbers:
    """What a small array held, which may be written into."""

    __slots__ = ("numbers", "of")

    def __init__(self, of: Any) -> None:
        self.of, self.numbers = of, of.tobytes()


def kept(x: Any, names: Set[str] | None = None, live: Set[int] = frozenset(), inside: tuple[Any, ...] = ()) -> Any:
    """Return a thing to be compared with later, which may be written into until then.

    Parameters
    ----------
    x : object
    names : set of str, optional
        The keys of dictionaries that matter. By default all do.
    live : set of int
        The ids of arrays that may hold other numbers later.
    inside : tuple
        The containers around it.
    """
    if isinstance(x, np.ndarray) and x.size <= MOST_NUMBERS and x.dtype.kind != "O" and id(x) not in live:
        return Numbers(x)
    if not isinstance(x, CONTAINERS) or any(x is y for y in inside):
        return x
    if isinstance(x, set | frozenset):
        return Contents(x, dict.fromkeys(x), True)
    items = x.items() if isinstance(x, dict) else enumerate(x)
    chosen = {key: part for key, part in items if names is None or not isinstance(x, dict) or key in names}
    return Contents(x, {key: kept(y, names, live, (*inside, x)) for key, y in chosen.items()}, len(chosen) == len(x))


def is_same(now: Any, before: Any) -> bool:
    """Return whether a thing is the object that it was, or equal plain things, and so is all that it holds."""
    if isinstance(before, Numbers):
        return now is before.of and now.tobytes() == before.numbers
    if isinstance(before, Contents):
        return type(now) is type(before.of) and _holds(now, before)
    return now is before or (type(now) is type(before) and isinstance(now, PLAIN) and bool(now == before))


def _holds(now: Any, before: Contents) -> bool:
    if before.is_whole and len(now) != len(before.parts):
        return False
    if isinstance(now, set | frozenset):
        return now == before.parts.keys()
    if isinstance(now, dict):
        return all(is_same(now.get(key, MISSING), part) for key, part in before.parts.items())
    return all(map(is_same, now, before.parts.values()))


def restore(before: Any) -> Any:
    """Return a thing that was `kept` with what it held then."""
    if isinstance(before, Numbers):
        if before.of.flags.writeable:
            before.of[...] = np.frombuffer(before.numbers, before.of.dtype).reshape(before.of.shape)
        return before.of
    if not isinstance(before, Contents):
        return before
    x, parts = before.of, {key: restore(part) for key, part in before.parts.items()}
    if isinstance(x, dict):
        for key in set(x) - set(parts) if before.is_whole else ():
            del x[key]
        x.update(parts)
    elif isinstance(x, list):
        x[:] = parts.values()
    elif isinstance(x, set | deque):
        x.clear()
        (x.update if isinstance(x, set) else x.extend)(parts.values() if isinstance(x, deque) else parts)
    return x


class Reached:
    """What a function can reach by the names that it mentions.

    Parameters
    ----------
    function : callable
    arguments : iterable
        What it is called with.

    Attributes
    ----------
    places : dict of object to Place
        By what tells a place from all others.
    things : list
        What stands in them, and in the containers there.
    names : set of str
        All names that the function, and those that it can call, mention.
    """

    def __init__(self, function: Callable[..., Any], arguments: Iterable[Any]) -> None:
        self._roots = [function, *arguments]
        self.names: frozenset[str] = frozenset()
        self._walk()
        while self.names != (found := frozenset().union(*map(_mentioned, self._codes))):
            self.names = found
            self._walk()

    def _walk(self) -> None:
        self.places: dict[Any, Place] = {}
        self.things: list[Any] = []
        self._codes: dict[types.CodeType, None] = {}
        self._owned: set[Any] = set()
        self._seen: set[int] = set()
        self._alive: list[Any] = []  # so that no other object gets the id of one that was seen
        self._pending = list(self._roots)
        for thing in self._pending:  # which grows on the way
            self._visit(thing)

    def _visit(self, thing: Any) -> None:
        if isinstance(thing, types.FunctionType | types.MethodType):
            self._visit_function(thing)
        elif isinstance(thing, Value):
            self._pending += (thing.hooks or {}).values()
        elif id(thing) not in self._seen and not isinstance(thing, PLAIN | np.ndarray):
            self._seen.add(id(thing))
            self._alive.append(thing)
            if isinstance(thing, CONTAINERS):
                parts = list(thing.values() if isinstance(thing, dict) else thing)
                self.things += parts
                self._pending += parts
            elif isinstance(thing, functools.partial):
                self._add(thing, ["args", "keywords"])
                self._pending.append(thing.func)
            elif not (isinstance(thing, type | types.ModuleType) and _is_library(thing)):
                self._visit_object(thing)

    def _visit_function(self, function: Any) -> None:
        owner = getattr(function, "__self__", None)
        function = getattr(function, "__func__", function)
        code, closure = getattr(function, "__code__", None), getattr(function, "__closure__", None) or ()
        key = (code, id(owner), *map(id, closure))
        if code is None or key in self._owned or _is_library(function):
            return
        self._owned.add(key)
        self._codes[code] = None
        self._alive.append(function)
        for cell, name in zip(closure, code.co_freevars):
            self._note(Place(cell, name))
        self._add(function.__globals__, _loaded(code))
        self._add(function, [name for name in ("__defaults__", "__kwdefaults__") if getattr(function, name)])
        if owner is not None:
            self._pending.append(owner)
        self._pending += [x for x in (getattr(function, "__wrapped__", None),) if x is not None]

    def _visit_object(self, thing: Any) -> None:
        attributes = getattr(thing, "__dict__", None)
        if isinstance(attributes, dict):
            names = [name for name in attributes if self._matters(thing, name, attributes[name])]
            self._add(attributes, names, is_ours=_is_library(type(thing)))
        if isinstance(thing, types.ModuleType):
            return
        cls = thing if isinstance(thing, type) else type(thing)
        for base in cls.__mro__:
            if not _is_library(base):
                self._visit_class(thing, base)
        if isinstance(thing, type):
            return
        called = [getattr(thing, name, None) for name in ("__call__", "__wrapped__")]
        if is_model(thing):
            modules = list(thing.modules())
            self._pending += [*modules, *thing.parameters()]
            called += [module.forward for module in modules]
        self._pending += [x for x in called if isinstance(x, types.MethodType | types.FunctionType)]

    def _visit_class(self, thing: Any, cls: type) -> None:
        """Note what an object has from its class: methods that may be called, properties, variables."""
        for name, found in vars(cls).items():
            is_special = name.startswith("__") and name not in NOT_CALLED
            if not (is_special or name in self.names or self._has_any(thing)):
                continue
            function = _behind(found)
            if isinstance(function, types.FunctionType):
                self._pending.append(function if isinstance(thing, type) else types.MethodType(function, thing))
            elif isinstance(found, types.MemberDescriptorType) or self._is_data(thing, name, found):
                self._add(thing, [name])

    @staticmethod
    def _is_data(thing: Any, name: str, found: Any) -> bool:
        """Return whether what a class has under a name is a variable that the object has no other of."""
        own = () if isinstance(thing, type) else getattr(thing, "__dict__", ())
        return not (name.startswith("__") or hasattr(type(found), "__get__") or name in own)

    def _matters(self, thing: Any, name: str, value: Any) -> bool:
        """Return whether an attribute is to be looked at; layers notice themselves which mode they are called in."""
        if is_model(thing) and (name == "training" or is_model(value)):
            return name != "training"
        return name in self.names or self._has_any(thing)

    def _has_any(self, thing: Any) -> bool:
        """Return whether any of an object's attributes may be read."""
        is_users = not (isinstance(thing, types.ModuleType) or _is_library(type(thing)))
        return is_users and not self.names.isdisjoint(BY_ANY_NAME)

    def _add(self, where: Any, names: Iterable[str], is_ours: bool = False) -> None:
        for name in names:
            self._note(Place(where, name, is_ours))

    def _note(self, place: Place) -> None:
        thing = place.get()
        if place.key not in self.places and thing is not MISSING:
            self._alive.append(place.where)
            self.places[place.key] = place
            self.things.append(thing)
            self._pending.append(thing)

    def snapshot(self) -> dict[Any, tuple[Place, Any]]:
        """Return the places, and what is there, `kept`."""
        return {key: (place, self.kept(place)) for key, place in self.places.items()}

    def kept(self, place: Place) -> Any:
        """Return what is in a place, as far as it matters, to be compared with later."""
        return kept(place.get(), self.names if place.is_ours else None)

    def line(self, name: str) -> str:
        """Return where the function, or one that it calls, assigns to a name or else mentions it; '' if nowhere."""
        found = [mention for whole in self._codes for code in _inner(whole) for mention in _mentions(code, name)]
        if not found:
            return ""
        return _located(*min(found, key=operator.itemgetter(0))[1:])

    @property
    def first_line(self) -> str:
        """Where the function is written."""
        return next((_located(code.co_filename, code.co_firstlineno) for code in self._codes), "")


def _located(file: str, number: int) -> str:
    return f"\n  {file}:{number}: {linecache.getline(file, number).strip()}"


def is_model(thing: Any) -> bool:
    """Return whether an object is a layer or a model; `nn` is not imported for that."""
    return hasattr(type(thing), "named_generators")


def _behind(found: Any) -> Any:
    """Return the function behind a property, a class method or a compiled one; anything else as it is."""
    inside = (getattr(found, name, None) for name in ("fget", "func", "__func__", "__wrapped__"))
    return next((x for x in inside if x is not None), found)


def _inner(code: types.CodeType) -> Iterator[types.CodeType]:
    """Iterate over the code of a function, and of those that are written in it."""
    yield code
    for x in code.co_consts:
        if isinstance(x, types.CodeType):
            yield from _inner(x)


def _mentions(code: types.CodeType, name: str) -> Iterator[tuple[int, str, int]]:
    """Iterate over the lines of a function that mention a name: those that assign to it are 0, to a part of it 1."""
    by_line: dict[int, list[dis.Instruction]] = {}
    for x in dis.get_instructions(code):
        if x.positions is not None and x.positions.lineno is not None:
            by_line.setdefault(x.positions.lineno, []).append(x)
    for number, line in by_line.items():
        mentions = [x.opname for x in line if x.argval == name]
        if mentions:
            assigned = any(opname.startswith("STORE") for opname in mentions)
            rank = 0 if assigned else 1 if any(x.opname == "STORE_SUBSCR" for x in line) else 2
            yield rank, code.co_filename, number


def _loaded(code: types.CodeType) -> list[str]:
    names = (name for part in _inner(code) for name in part.co_names)
    return list(dict.fromkeys(name for name in names if name.isidentifier()))  # pytest adds others


def _mentioned(code: types.CodeType) -> set[str]:
    """Return all names in a function's code, also those that are written as strings: keys, and names of attributes."""
    return {*_loaded(code), *(x for part in _inner(code) for x in part.co_consts if isinstance(x, str))}


def _is_library(thing: Any) -> bool:
    name = thing.__name__ if isinstance(thing, types.ModuleType) else getattr(thing, "__module__", "")
    return str(name).partition(".")[0] in LIBRARIES


def matters(thing: Any) -> bool:
    """Return whether another thing in a place means that the function does something else."""
    return not (
        isinstance(thing, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType)
        and _is_library(thing)
    )


def settings(layers: Iterable[Any]) -> Iterator[Place]:
    """Iterate over the attributes of layers that these may read; all there are, of a layer of this package."""
    for layer in dict.fromkeys(layers):
        kinds = PLAIN | Value | tuple if layer._forward_is_ours else float | Value
        for name, x in vars(layer).items():
            if name != "training" and not name.startswith("_") and isinstance(x, kinds):
                yield Place(vars(layer), name)


def held_by(thing: Any, inside: tuple[Any, ...] = ()) -> Iterator[Any]:
    """Iterate over a thing, or over what containers hold."""
    if not isinstance(thing, CONTAINERS) or any(thing is x for x in inside):
        yield thing
        return
    for x in thing.values() if isinstance(thing, dict) else thing:
        yield from held_by(x, (*inside, thing))


def reachable(thing: Any) -> Iterator[Any]:
    """Iterate over what an object holds, in any way: also what a function refers to, or an iterator."""
    pending, seen = [thing], set()
    for x in pending:  # which grows on the way
        if id(x) in seen or isinstance(x, type | types.ModuleType):
            continue
        seen.add(id(x))
        yield x
        if isinstance(x, types.FunctionType):
            pending += [x.__closure__, x.__defaults__, x.__kwdefaults__]
        elif not isinstance(x, Value | np.ndarray):
            pending += gc.get_referents(x)
