"""The random generators at hand while a function is captured: who drew from them, and their states before."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygrad_bc.compiler.calls import names_read

__all__ = ["Randomness"]


class Randomness:
    """The states of all random generators that a function can be seen to have at hand, when this was made.

    Those are Python's and NumPy's global ones, arguments, variables, and attributes of both, also of the object that
    a method belongs to and of the layers in a model.

    Parameters
    ----------
    function : callable
    arguments : iterable
        What it is called with.
    """

    def __init__(self, function: Callable[..., Any], arguments: Iterable[Any]) -> None:
        arguments = list(arguments)
        things = [function, *arguments, *(where[name] for where, name in names_read(function, arguments))]
        generators = [x for thing in things for x in _generators_of(thing)]
        self._states = {x: x.bit_generator.state for x in generators}
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
            repr(self._states.get(x, first)) != repr(first) or repr(x.bit_generator.state) != repr(last)
            for x, (first, last) in expected.items()
        )

    def restore(self, drawn: Mapping[np.random.Generator, tuple[Any, Any]]) -> None:
        """Put all generators back to where they were."""
        for x, state in ({x: first for x, (first, _) in drawn.items()} | self._states).items():
            x.bit_generator.state = state
        np.random.set_state(self._globals[0])  # noqa: NPY002
        random.setstate(self._globals[1])


def _generators_of(thing: Any) -> Iterator[np.random.Generator]:
    owner = getattr(thing, "__self__", None)
    for x in (thing, owner, *_attributes(thing), *_attributes(owner)):
        if isinstance(x, np.random.Generator):
            yield x
        elif hasattr(x, "named_generators"):
            yield from (generator for _, generator in x.named_generators())


def _attributes(thing: Any) -> list[Any]:
    """Return what an object holds; not a module or a class, whose names are variables of their own."""
    if thing is None or isinstance(thing, type) or hasattr(thing, "__spec__"):
        return []
    return list(getattr(thing, "__dict__", {}).values())
