"""Modules made of modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Self

from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.nn.module import Module

__all__ = ["ModuleList", "Sequential"]


class ModuleList(Module):
    """A list of modules, which are called ``0``, ``1`` …; a plain Python list of modules does as well.

    Parameters
    ----------
    modules : iterable of Module

    Raises
    ------
    ArgumentError
        If one of them is no module.
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        for module in modules:
            self.append(module)

    def append(self, module: Module) -> Self:
        """Add a module at the end and return the list."""
        return self._put(str(len(self)), module)

    def _put(self, name: str, module: Module) -> Self:
        if not isinstance(module, Module):
            hint = f": did you mean {module.__name__}(...)?" if isinstance(module, type) else ""
            raise ArgumentError(
                f"{type(self).__name__}: number {len(self)} is no module but {module!r}{hint}. A function is made "
                "part of a model by a Module whose forward calls it"
            )
        setattr(self, name, module)
        return self

    def __len__(self) -> int:
        return len(self._modules())

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules())

    def _modules(self) -> list[Module]:
        return [thing for thing in vars(self).values() if isinstance(thing, Module)]

    def __getitem__(self, index: int | slice) -> Any:
        """Return one module; for a slice, a container of the same kind with those modules."""
        found = list(self)[index]
        return found if isinstance(found, Module) else type(self)._of(found)

    @classmethod
    def _of(cls, modules: list[Module]) -> Self:
        return cls(modules)


class Sequential(ModuleList):
    """Modules one after the other: the output of each is the input of the next.

    Parameters
    ----------
    *modules : Module, or one dictionary of names and modules
        Without names they are called ``0``, ``1`` …

    Raises
    ------
    ArgumentError
        If one of them is no module.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_bc import nn
    >>> rng = np.random.default_rng(0)
    >>> model = nn.Sequential(nn.Linear(9, 15, generator=rng), nn.ReLU(), nn.Linear(15, 1, generator=rng))
    >>> model(np.ones((500, 9))).shape
    (500, 1)
    """

    def __init__(self, *modules: Module | dict[str, Module]) -> None:
        if len(modules) == 1 and isinstance(modules[0], dict):
            for name, module in modules[0].items():
                self._put(name, module)
        else:
            super().__init__(modules)  # type: ignore[arg-type]  # a dictionary among several is refused there

    def forward(self, x: Any) -> Any:
        """Apply every module in turn."""
        for module in self._modules():
            x = module(x)
        return x

    @classmethod
    def _of(cls, modules: list[Module]) -> Self:
        return cls(*modules)
