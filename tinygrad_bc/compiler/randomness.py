"""The random generators at hand while a function is captured: who drew from them, and their states before."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.variables import Reached, held_by, is_model

__all__ = ["Randomness", "generators_of"]

Generator = np.random.Generator | np.random.RandomState | random.Random


class Randomness:
    """The states of all random generators that a function can be seen to have at hand, when this was made.

    Those are Python's and NumPy's global ones, arguments, variables, and attributes of both, also of the object that
    a method belongs to and of the layers in a model.

    Parameters
    ----------
    reached : Reached
        What the function can reach.
    arguments : iterable
        What it is called with.
    """

    def __init__(self, reached: Reached, arguments: Iterable[Any]) -> None:
        generators = [x for thing in (*arguments, *reached.things) for x in generators_of(thing)]
        self._states = {x: _state(x) for x in generators}
        self._globals = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002

    def is_disturbed(self, drawn: Mapping[np.random.Generator, tuple[Any, Any]]) -> bool:
        """Return whether somebody else drew random numbers than a draw that is repeated at every call.

        Parameters
        ----------
        drawn : mapping of Generator to (state, state)
            Before the first of those draws, and after the last.
        """
        if repr(self._globals) != repr((np.random.get_state(legacy=False), random.getstate())):  # noqa: NPY002
            return True
        expected = {x: (state, state) for x, state in self._states.items()} | dict(drawn)
        return any(
            repr(self._states.get(x, first)) != repr(first) or repr(_state(x)) != repr(last)
            for x, (first, last) in expected.items()
        )

    def restore(self, drawn: Mapping[np.random.Generator, tuple[Any, Any]]) -> None:
        """Put all generators back to where they were."""
        for x, state in ({x: first for x, (first, _) in drawn.items()} | self._states).items():
            if isinstance(x, np.random.Generator):
                x.bit_generator.state = state
            elif isinstance(x, np.random.RandomState):
                x.set_state(state)
            else:
                x.setstate(state)
        np.random.set_state(self._globals[0])  # noqa: NPY002
        random.setstate(self._globals[1])


def _state(x: Generator) -> Any:
    if isinstance(x, np.random.Generator):
        return x.bit_generator.state
    return x.get_state(legacy=False) if isinstance(x, np.random.RandomState) else x.getstate()


def generators_of(thing: Any) -> Iterator[Generator]:
    """Iterate over the generators that a thing is, or holds."""
    owner = getattr(thing, "__self__", None)
    for x in (thing, owner, *_attributes(thing), *_attributes(owner)):
        for part in held_by(x):
            if isinstance(part, Generator):
                yield part
            elif is_model(part):
                yield from (generator for _, generator in part.named_generators())


def _attributes(thing: Any) -> list[Any]:
    """Return what an object holds; not a module or a class, whose names are variables of their own."""
    if thing is None or isinstance(thing, type) or hasattr(thing, "__spec__"):
        return []
    return list(getattr(thing, "__dict__", {}).values())
