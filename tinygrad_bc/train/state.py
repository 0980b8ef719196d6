"""The state of everything that training changes: found, read, and put back."""

from __future__ import annotations

import contextlib
import copy
import functools
import itertools
from collections.abc import Iterator
from types import CellType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.data import as_array
from tinygrad_bc.record import Value

if TYPE_CHECKING:
    from tinygrad_bc.nn import Module

__all__ = ["a_copy", "arrays_of", "batches_of", "generators", "preserved", "restore_generators"]


def batches_of(data: Any, skip: int = 0) -> Iterator[Any]:
    """Iterate over the batches of an epoch, without the first `skip`.

    A loader that keeps its own position knows what it has to leave out.
    """
    if isinstance(data, tuple):  # one batch
        data = [tuple(as_array(array) for array in data)]
    return iter(data) if hasattr(data, "load_state_dict") else itertools.islice(data, skip, None)


def arrays_of(data: Any) -> list[Any] | None:
    """Return the arrays behind a loader or a sequence of batches; None if they cannot be told without running it."""
    arrays = getattr(getattr(data, "dataset", None), "arrays", None)
    if arrays is not None:
        return list(arrays)
    if isinstance(data, tuple):
        return list(data)
    return [array for batch in data for array in batch] if isinstance(data, list) else None


def a_copy(data: Any) -> Any:
    """Return a loader on the same data with the same generator, so that the position of `data` stays what it is."""
    return copy.copy(data)


def generators(**roots: Any) -> dict[str, np.random.Generator]:
    """Return the random generators that can be reached from `roots`, by the path to each.

    Looked into are attributes, lists, tuples, dictionaries, and what functions were made with; a generator in a global
    variable is found where a function uses it, but not where a method does.
    """
    found: dict[str, np.random.Generator] = {}
    seen: set[int] = set()
    pending = list(reversed(roots.items()))
    while pending:
        path, thing = pending.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.random.Generator):
            found[path] = thing
        else:
            pending += [(f"{path}.{name}", part) for name, part in reversed(_parts(thing))]
    return found


def _parts(thing: Any) -> list[tuple[Any, Any]]:
    """Return names and parts of what may hold a generator."""
    if isinstance(thing, dict):
        return list(thing.items())
    if isinstance(thing, list | tuple | set):
        return list(enumerate(thing))
    if isinstance(thing, FunctionType):
        return _seen_by(thing)
    if isinstance(thing, CellType):
        with contextlib.suppress(ValueError):  # a variable that has no value yet
            return [("value", thing.cell_contents)]
    if isinstance(thing, MethodType):
        return [("__self__", thing.__self__), ("__func__", thing.__func__)]
    if isinstance(thing, functools.partial):
        return [("func", thing.func), ("args", thing.args), ("keywords", thing.keywords)]
    if isinstance(thing, type | ModuleType | Value | np.ndarray):
        return []
    slots = [name for cls in type(thing).__mro__ for name in getattr(cls, "__slots__", ())]
    in_slots = [(name, getattr(thing, name)) for name in slots if hasattr(thing, name)]
    return in_slots + list(getattr(thing, "__dict__", {}).items())


def _seen_by(function: FunctionType) -> list[tuple[Any, Any]]:
    """Return what a function was made with: variables of the function around it, defaults, and global generators."""
    seen = list(zip(function.__code__.co_freevars, function.__closure__ or ()))
    defaults = [*enumerate(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).items()]
    global_ones = [(name, function.__globals__.get(name)) for name in function.__code__.co_names]
    return seen + defaults + [(name, part) for name, part in global_ones if isinstance(part, np.random.Generator)]


def restore_generators(found: dict[str, np.random.Generator], states: dict[str, Any]) -> None:
    """Put generators back into the states they had; both by their paths."""
    for path, generator in found.items():
        generator.bit_generator.state = states[path]


@contextlib.contextmanager
def preserved(model: Module, *others: Any) -> Iterator[None]:
    """Put everything back at the end of the block, to the last bit: also if that is an error.

    Parameters
    ----------
    model
        Its weights, buffers, gradients, and whether its modules are in training mode, are put back.
    *others
        What else may change: optimiser, loss ... Those with a ``state_dict``, which copies, are put back by it. Of
        loaders, in a list here, only the random generators are, as of all: go through `a_copy` of them.
    """
    stateful = [thing for thing in (model, *others) if hasattr(thing, "load_state_dict")]
    states = [thing.state_dict() for thing in stateful]
    random = generators(model=model, others=others)
    random_states = {path: generator.bit_generator.state for path, generator in random.items()}
    gradients = [(parameter, parameter._grad) for parameter in model.parameters()]
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for thing, state in zip(stateful, states):
            thing.load_state_dict(state)
        restore_generators(random, random_states)
        for parameter, gradient in gradients:
            parameter.grad = gradient
        for module, training in modes:
            module.training = training
