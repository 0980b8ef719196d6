"""The base class of models."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
        if isinstance(value, Tensor) and value.requires_grad and value.name is None:
            value.name = name
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`."""
        return self.forward(*args, **kwargs)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Compute the output. Every model defines its own."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, ...)")

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """Iterate over names and parameters, those of modules inside as ``inner.W``; each parameter once."""
        seen: set[Tensor] = set()
        for name, value in vars(self).items():
            if isinstance(value, Module):
                found = list(value.named_parameters(f"{prefix}{name}."))
            elif isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
                found = [(prefix + name, value)]
            else:
                continue
            for full_name, parameter in found:
                if parameter not in seen:
                    seen.add(parameter)
                    yield full_name, parameter

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` becomes None, as if backward had not been called."""
        for parameter in self.parameters():
            parameter.grad = None
