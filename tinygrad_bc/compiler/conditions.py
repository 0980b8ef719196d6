"""What must be as it was when a function was captured, asked in the quickest way there is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import Cells
from tinygrad_bc.record import Value

__all__ = ["Conditions", "Variables", "is_same", "kept"]

PLAIN = int | float | str | bool | np.generic | None


class Conditions:
    """Many comparisons of objects as one compiled expression: a loop over them would take three times as long."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self._objects: dict[str, Any] = {}

    def add(self, condition: str, *objects: Any) -> None:
        """Add a condition, an expression with ``{0}``, ``{1}`` ... in the place of objects."""
        names = [f"x{len(self._objects) + i}" for i in range(len(objects))]
        self._objects.update(zip(names, objects))
        self._terms.append(condition.format(*names))

    def compiled(self) -> Callable[[], bool]:
        """Return the question whether all conditions hold."""
        ask: Callable[[], bool] = eval(f"lambda: {' and '.join(self._terms) or 'True'}", self._objects)
        return ask


class Variables:
    """The variables outside a function that it read: numbers, tensors and arrays, and what they were.

    Parameters
    ----------
    found : iterable of (mapping, str)
        Where each is looked up, and its name.
    """

    def __init__(self, found: list[tuple[Mapping[str, Any], str]]) -> None:
        self._found = [(where, name, kept(where[name])) for where, name in found if _matters(where[name])]

    def same(self) -> bool:
        """Return whether they are the same objects, or equal numbers."""
        return all(is_same(where.get(name), before) for where, name, before in self._found)

    def add_to(self, conditions: Conditions) -> None:
        """Add that they are the objects that they are now."""
        for where, name, before in self._found:
            if isinstance(before, dict | list):
                conditions.add(f"{{0}}({{1}}.get({name!r}), {{2}})", is_same, where, before)
            elif isinstance(where, Cells):
                conditions.add("{0}.cell_contents is {1}", where.cell(name), where[name])
            else:
                conditions.add(f"{{0}}.get({name!r}) is {{1}}", where, where.get(name))


def _matters(x: Any) -> bool:
    return isinstance(x, PLAIN | Value | np.ndarray) or _is_small(x)


def _is_small(x: Any) -> bool:
    """Return whether it holds some plain things: settings, a shape."""
    if not isinstance(x, dict | list | tuple) or len(x) > 16:
        return False
    return all(isinstance(part, PLAIN) for part in (x.values() if isinstance(x, dict) else x))


def kept(x: Any) -> Any:
    """Return a thing to be compared with later."""
    return x.copy() if isinstance(x, dict | list) else x  # which may be written into


def is_same(now: Any, before: Any) -> bool:
    """Return whether a thing is the object that it was, or equal plain things."""
    if now is before:
        return True
    return type(now) is type(before) and not isinstance(now, Value | np.ndarray) and _matters(now) and now == before
