"""What must be as it was when a function was captured, asked in the quickest way there is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from typing import Any

from tinygrad_bc.compiler.variables import Contents, Numbers, Place, Reached, is_same, kept, matters

__all__ = ["Conditions", "Variables"]

MOST_TERMS = 64
"""A container of more parts is compared by a function, and not by an expression of as many terms."""


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

    def add_same(self, question: str, where: Any, before: Any) -> None:
        """Add that what the question about ``{0}`` finds is the object it was, and holds those that it held."""
        if isinstance(before, Numbers):
            self.add(f"{question} is {{1}}", where, before.of)
            self.add("{0}.tobytes() == {1}", before.of, before.numbers)
        elif not isinstance(before, Contents):
            self.add(f"{question} is {{1}}", where, before)
        elif len(before.parts) > MOST_TERMS or isinstance(before.of, set):
            self.add(f"{{1}}({question}, {{2}})", where, is_same, before)
        else:
            self.add(f"{question} is {{1}}", where, before.of)
            self._add_parts(before)

    def _add_parts(self, before: Contents) -> None:
        unchanging = isinstance(before.of, tuple | frozenset)
        if before.is_whole and not unchanging:
            self.add(f"len({{0}}) == {len(before.parts)}", before.of)
        for key, part in before.parts.items():
            if isinstance(before.of, dict):
                self.add_same("{0}[0].get({0}[1], ...)", (before.of, key), part)
            elif not unchanging or isinstance(part, Contents | Numbers):
                self.add_same(f"{{0}}[{key!r}]", before.of, part)

    def compiled(self) -> Callable[[], bool]:
        """Return the question whether all conditions hold."""
        ask: Callable[[], bool] = eval(f"lambda: {' and '.join(self._terms) or 'True'}", self._objects)
        return ask


class Variables:
    """The variables outside a function that it read, and what they were.

    Parameters
    ----------
    reached : Reached
    places : iterable of Place
        Those of it, and others.
    live : set of int
        The ids of arrays that may hold other numbers later.
    """

    def __init__(self, reached: Reached, places: Iterable[Place], live: Set[int]) -> None:
        self._names, self._live = reached.names, live
        self._found = [(place, self._kept(place)) for place in places if matters(place.get())]

    def _kept(self, place: Place) -> Any:
        return kept(place.get(), self._names if place.is_ours else None, self._live)

    def same(self) -> bool:
        """Return whether they are the same objects, or equal numbers."""
        return all(is_same(place.get(), before) for place, before in self._found)

    def add_to(self, conditions: Conditions) -> None:
        """Add that they are the objects that they are now."""
        for place, _ in self._found:
            conditions.add_same(place.question(), place.where, self._kept(place))
