"""The base class of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tinygrad_bc.errors import GradientError
from tinygrad_bc.tensor import Tensor

__all__ = ["Module"]


class Module:
    """A model: an object whose tensors that require a gradient are its parameters.

    Assign parameters, and other modules, to attributes; write `forward`; call the object. A parameter
    without a name gets the name of its attribute.

    Examples
    --------
    >>> class Neuron(Module):
    ...     def __init__(self):
    ...         self.w = tensor([0.5, -1.0], requires_grad=True)
    ...
    ...     def forward(self, x):
    ...         return (self.w * x).sum().sigmoid()
    >>> neuron = Neuron()
    >>> neuron([1.0, 2.0]).backward()
    >>> [name for name, _ in neuron.named_parameters()]
    ['w']
    >>> neuron.zero_grad()
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, Tensor) and value.requires_grad:
            current = vars(self).get(name)
            if not value.is_leaf and isinstance(current, Tensor) and current.requires_grad and current.is_leaf:
                raise GradientError(
                    f"{name} is a parameter and would be replaced by a tensor computed from it. Update it in place:\n"
                    f"    with tg.no_grad():\n        model.{name} -= lr * gradient"
                )
            if value.name is None:
                value.name = name
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Compute the output. Every model defines its own."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, ...)")

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over names and parameters, each parameter once.

        Those of modules, lists, tuples and dictionaries inside are called ``inner.W`` or ``layers.0``.
        """
        seen: set[int] = set()
        pending: list[tuple[str, Any]] = [("", self)]
        while pending:
            name, thing = pending.pop()
            if id(thing) in seen:
                continue
            if isinstance(thing, Tensor) and thing.requires_grad and thing.is_leaf:
                yield name, thing
            inside = _inside(thing)
            if inside or isinstance(thing, Tensor):
                seen.add(id(thing))
            pending += [(f"{name}.{key}".removeprefix("."), part) for key, part in reversed(inside)]

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` becomes None, as if backward had not been called."""
        for parameter in self.parameters():
            parameter.grad = None


def _inside(thing: Any) -> list[tuple[Any, Any]]:
    """Return names and parts of what may hold parameters."""
    if isinstance(thing, Module):
        return list(vars(thing).items())
    if isinstance(thing, dict):
        return list(thing.items())
    return list(enumerate(thing)) if isinstance(thing, list | tuple) else []
