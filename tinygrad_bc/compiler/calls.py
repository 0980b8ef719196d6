"""What a function is called with, and what it reads besides."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.record import Array, Value, as_array

__all__ = [
    "Cells",
    "array_of",
    "functions_of",
    "is_numbers",
    "names_of",
    "names_read",
    "parts",
    "place_of",
    "put_back",
    "rebuilt",
]


def is_numbers(x: Any) -> bool:
    """Return whether an argument holds numbers that every call may give anew: a tensor, an array, a table, a float."""
    return isinstance(x, Value | np.ndarray | float) or hasattr(x, "to_numpy")


def array_of(x: Any) -> Array:
    """Return the numbers of an argument as an array."""
    return x._array if isinstance(x, Value) else as_array(x)


def parts(tree: Any) -> Iterator[Any]:
    """Iterate over what lists, tuples and dictionaries hold, and what those inside them hold."""
    if isinstance(tree, dict):
        for x in tree.values():
            yield from parts(x)
    elif isinstance(tree, list | tuple):
        for x in tree:
            yield from parts(x)
    else:
        yield tree


def rebuilt(tree: Any, replace: Callable[[Any], Any]) -> Any:
    """Return lists, tuples and dictionaries with other things in them, in the order of `parts`."""
    if isinstance(tree, dict):
        return {key: rebuilt(x, replace) for key, x in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(x, replace) for x in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(rebuilt(x, replace) for x in tree)
    return replace(tree)


def names_of(args: Sequence[Any], kwargs: Mapping[str, Any], names: Mapping[str, Any]) -> Iterator[str]:
    """Iterate over the names of the parameters that the `parts` of a call are; '' for a part of a container.

    Parameters
    ----------
    args, kwargs
        What a function is called with.
    names : mapping of str to object
        The same, by the names of its parameters.
    """
    unnamed = [""] * len(args)
    for name, x in [*zip([*names, *unnamed], args), *kwargs.items()]:
        is_parameter = name in kwargs or names.get(name) is x
        if isinstance(x, dict | list | tuple):
            yield from ("" for _ in parts(x))
        else:
            yield name if is_parameter else ""


def names_read(function: Callable[..., Any], arguments: Iterable[Any] = ()) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Iterate over the variables outside a function that it reads, and those that functions called by it read.

    Attributes of objects among these, and among the arguments, are variables too, if the function mentions their names.

    Yields
    ------
    (mapping, str)
        Where the variable is looked up, and its name.
    """
    pending: list[tuple[Any, list[str]]] = [(function, [])]
    seen: set[Any] = set()
    for thing, mentioned in pending:  # which grows on the way
        code = getattr(getattr(thing, "__func__", thing), "__code__", None)
        if isinstance(code, types.CodeType):
            owner = getattr(thing, "__self__", None)
            closure = getattr(thing, "__closure__", None)
            if (code, id(owner), id(closure)) in seen or _is_library(thing):
                continue
            seen.add((code, id(owner), id(closure)))
            cells = Cells(closure or (), code.co_freevars)
            mentioned = _names(code)
            places = [(cells, code.co_freevars), (thing.__globals__, mentioned)]
            pending += [(x, mentioned) for x in (owner, *arguments)]
            arguments = ()
        else:
            places = [(_attributes(thing), mentioned)]
            pending += [(method, []) for method in functions_of(thing)]
        for where, names in places:
            for name in names:
                place = place_of(where, name)
                if name in where and place not in seen:
                    seen.add(place)
                    pending.append((where[name], mentioned))
                    yield where, name


def place_of(where: Mapping[str, Any], name: str) -> Any:
    """Return what tells a variable from all others, also from those of the same name."""
    return id(where.cell(name)) if isinstance(where, Cells) else (id(where), name)


def put_back(where: Mapping[str, Any], name: str, thing: Any) -> None:
    """Let a variable from `names_read` be what it was before; `...` if it was not there.

    Lists and dictionaries are copies of what they were, and it is written into those that are there.
    """
    now = where[name]
    if isinstance(thing, dict) and isinstance(now, dict):
        now.clear()
        now.update(thing)
    elif isinstance(thing, list) and isinstance(now, list):
        now[:] = thing
    elif isinstance(where, Cells):
        where.cell(name).cell_contents = thing
    elif isinstance(where, dict):
        where[name] = thing
        if thing is ...:
            del where[name]


def _attributes(thing: Any) -> Mapping[str, Any]:
    """Return what an object holds by name; nothing for classes, and for modules of this package and of NumPy."""
    if isinstance(thing, type) or (isinstance(thing, types.ModuleType) and _is_library(thing)):
        return {}
    found: Mapping[str, Any] = getattr(thing, "__dict__", {})
    return found


def functions_of(thing: Any) -> list[Any]:
    """Return the functions that run when an object is called: of a model, the methods of all its parts."""
    if isinstance(thing, type | types.ModuleType) or not hasattr(thing, "__dict__"):
        return []
    found = [getattr(thing, name, None) for name in ("__call__", "__wrapped__")]
    found += [module.forward for module in thing.modules()] if hasattr(thing, "named_generators") else []
    return [x for x in found if isinstance(x, types.MethodType | types.FunctionType)]


def _names(code: types.CodeType) -> list[str]:
    inner = [name for x in code.co_consts if isinstance(x, types.CodeType) for name in _names(x)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _is_library(function: Any) -> bool:
    name = function.__name__ if isinstance(function, types.ModuleType) else getattr(function, "__module__", "")
    return str(name).partition(".")[0] in ("tinygrad_bc", "numpy")


class Cells(Mapping[str, Any]):
    """The variables of enclosing functions, by name."""

    def __init__(self, cells: Sequence[Any], names: Sequence[str]) -> None:
        self._cells = dict(zip(names, cells))

    def __getitem__(self, name: str) -> Any:
        try:
            return self._cells[name].cell_contents
        except ValueError:  # not assigned yet
            raise KeyError(name) from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def cell(self, name: str) -> Any:
        """Return what holds a variable."""
        return self._cells[name]

    def __len__(self) -> int:
        return len(self._cells)
