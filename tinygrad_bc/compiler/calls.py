"""What a function is called with, taken apart and put together again."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygrad_bc.record import Array, Value, as_array

__all__ = [
    "Result",
    "array_of",
    "fields",
    "is_numbers",
    "is_tree",
    "names_of",
    "parts",
    "rebuilt",
    "records",
    "structure",
]


@dataclass(frozen=True, slots=True)
class Result:
    """Where a part of what a function returns comes from.

    Attributes
    ----------
    kind : str
        "result" of the program, "argument" of the call, "number" found anew, "constant" of which every call gets a
        copy, or "same" object at every call; "part", while nothing more is known.
    what : object
        Its position among these, the function that finds it, the array, or the object.
    """

    kind: str
    what: Any


def is_numbers(x: Any) -> bool:
    """Return whether an argument holds numbers that every call may give anew: a tensor, an array, a table, a float."""
    return isinstance(x, Value | np.ndarray | float) or hasattr(x, "to_numpy")


def array_of(x: Any) -> Array:
    """Return the numbers of an argument as an array."""
    return x._array if isinstance(x, Value) else as_array(x)


def is_tree(x: Any) -> bool:
    """Return whether this is taken apart: lists, tuples, dictionaries, and records of data."""
    return isinstance(x, dict | list | tuple) or (hasattr(type(x), "__dataclass_fields__") and _is_data(x))


def _is_data(x: Any) -> bool:
    """Return whether an object of a dataclass holds tensors or arrays, and nothing but data beside them."""
    if isinstance(x, type | Result):
        return False
    found = [part for field in fields(x).values() for part in parts(field)]
    others = [part for part in found if not _is_array(part)]
    return len(others) < len(found) and all(isinstance(part, int | float | str | np.generic | None) for part in others)


def _is_array(x: Any) -> bool:
    return isinstance(x, Value | np.ndarray | Result) or hasattr(x, "to_numpy")


def fields(record: Any) -> dict[str, Any]:
    """Return what an object of a dataclass holds, by name."""
    return {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}


def parts(tree: Any) -> Iterator[Any]:
    """Iterate over what lists, tuples, dictionaries and records hold, and what those inside them hold."""
    if not is_tree(tree):
        yield tree
        return
    for x in _inside(tree):
        yield from parts(x)


def records(tree: Any) -> Iterator[Any]:
    """Iterate over the objects of dataclasses that are taken apart."""
    if is_tree(tree):
        if not isinstance(tree, dict | list | tuple):
            yield tree
        for x in _inside(tree):
            yield from records(x)


def _inside(tree: Any) -> Iterable[Any]:
    if isinstance(tree, list | tuple):
        return tree
    found: dict[Any, Any] = tree if isinstance(tree, dict) else fields(tree)
    return found.values()


def rebuilt(tree: Any, replace: Callable[[Any], Any]) -> Any:
    """Return the same with other things in it, in the order of `parts`."""
    if not is_tree(tree):
        return replace(tree)
    if type(tree) is dict:
        return {key: rebuilt(x, replace) for key, x in tree.items()}
    if isinstance(tree, dict):
        new = copy.copy(tree)
        new.update({key: rebuilt(x, replace) for key, x in tree.items()})
        return new
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(rebuilt(x, replace) for x in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(rebuilt(x, replace) for x in tree)
    new = copy.copy(tree)
    for name, x in fields(tree).items():
        object.__setattr__(new, name, rebuilt(x, replace))  # which may be frozen
    return new


def structure(tree: Any) -> Any:
    """Return what two of them have in common that hold other things: types, keys, lengths."""
    if not is_tree(tree):
        return None
    if isinstance(tree, dict):
        return (type(tree), *((key, structure(x)) for key, x in tree.items()))
    return (type(tree), *map(structure, _inside(tree)))


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
        if is_tree(x):
            yield from ("" for _ in parts(x))
        else:
            yield name if is_parameter else ""
