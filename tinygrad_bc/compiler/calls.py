"""What a function is called with, and what it reads besides."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.record import Array, Value, as_array

__all__ = ["Cells", "array_of", "is_numbers", "names_read", "parts", "rebuilt"]


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


def names_read(function: Callable[..., Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Iterate over the variables outside a function that it reads, and those that functions called by it read.

    Yields
    ------
    (mapping, str)
        Where the variable is looked up, and its name.
    """
    pending: list[Any] = [function]
    seen: set[int] = set()
    for thing in pending:  # which grows on the way
        code = getattr(getattr(thing, "__func__", thing), "__code__", None)
        if not isinstance(code, types.CodeType) or id(code) in seen or _is_library(thing):
            continue
        seen.add(id(code))
        cells = Cells(getattr(thing, "__closure__", None) or (), code.co_freevars)
        for where, names in ((cells, code.co_freevars), (thing.__globals__, _names(code))):
            for name in names:
                if name in where:
                    pending.append(where[name])
                    yield where, name


def _names(code: types.CodeType) -> list[str]:
    inner = [name for x in code.co_consts if isinstance(x, types.CodeType) for name in _names(x)]
    return list(dict.fromkeys([*code.co_names, *inner]))


def _is_library(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] in ("tinygrad_bc", "numpy")


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

    def lookup(self, names: Sequence[str]) -> tuple[Callable[[Any], Any], list[Any]]:
        """Return a function, and what it is to be called with to get the variables: the quickest way."""
        return operator.attrgetter("cell_contents"), [self._cells[name] for name in names]

    def __len__(self) -> int:
        return len(self._cells)
