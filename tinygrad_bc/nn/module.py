"""The base class of models."""

from __future__ import annotations

import reprlib
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from tinygrad_bc.errors import ArgumentError, GradientError
from tinygrad_bc.record import PACKAGE_FILES, Array, as_array, captures, refuse_while_capturing, tracer
from tinygrad_bc.scope import Scope, current
from tinygrad_bc.tensor import Tensor

__all__ = ["LoadedKeys", "Module"]


_getframe = sys._getframe
_current_scope, _enter, _leave = current.get, current.set, current.reset


class LoadedKeys(NamedTuple):
    """What `Module.load_state_dict` with ``strict=False`` did not find, and what it had no use for."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A model: an object whose tensors that require a gradient are its parameters.

    Assign parameters, and other modules, to attributes; write `forward`; call the object. Parameters and modules may
    also stand in lists, tuples and dictionaries. There is no ``super().__init__()`` to be called.

    A parameter without a name gets that of its attribute, and becomes ``encoder.weight`` when its module is assigned
    to the attribute `encoder` of another. It stays a parameter when ``requires_grad = False`` freezes it.

    Attributes
    ----------
    training : bool
        Whether layers that differ (dropout, batch normalisation) behave as in training; see `train` and `eval`.

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

    training: bool = True
    _parameter_names: frozenset[str] = frozenset()  # to know those that are frozen from constants
    _buffer_names: frozenset[str] = frozenset()
    _scope_name: str = ""
    _forward_is_ours: bool = False  # and not the user's code

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        code = getattr(cls.forward, "__code__", None)
        cls._forward_is_ours = code is not None and code.co_filename in PACKAGE_FILES

    def __setattr__(self, name: str, value: Any) -> None:
        current = vars(self).get(name)
        if isinstance(value, Tensor) and value.requires_grad and not value.is_leaf and _is_parameter(current):
            raise GradientError(
                f"{name} is a parameter and would be replaced by a tensor computed from it. Update it in place:\n"
                f"    with tg.no_grad():\n        model.{name} -= lr * gradient"
            )
        if name in self._buffer_names and value is not None:
            value = np.asarray(as_array(value))  # `model.steps = model.steps + 1` of a number makes no array
        super().__setattr__(name, value)
        if value is not current:
            self._adopt(name, value)

    def _adopt(self, name: str, value: Any) -> None:
        """Give what was assigned to the attribute `name` its names, and remember which of it are parameters."""
        known = {path for path in self._parameter_names if path.partition(".")[0] != name}
        for path, thing in _parts({name: value}):
            if _is_parameter(thing):
                known.add(path)
                thing.name = thing.name or path
            elif isinstance(thing, Module) and thing is not self:
                # A module in a list is called by its class: repetitions of one name fold in pictures.
                thing._scope_name = "" if path != name or name.isdigit() else name
                for inner, parameter in thing.named_parameters():
                    if parameter.name == inner:  # and not one that the user gave it
                        parameter.name = f"{path}.{inner}"
        if known != self._parameter_names:
            super().__setattr__("_parameter_names", frozenset(known))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run `forward`. Pictures draw what it records as one box, with the name of the attribute or class."""
        if captures and (tracing := tracer.get()) is not None:
            tracing.ask(lambda: self.training)
            tracing.objects.append(self)
        parent, called_at = _current_scope(), None
        if self._forward_is_ours:
            frame = _getframe(1)
            if frame.f_code.co_filename not in PACKAGE_FILES:
                called_at = frame.f_code, frame.f_lasti
            elif parent is not None:
                called_at = parent.called_at
        token = _enter(Scope(self._scope_name or type(self).__name__, parent, called_at))
        try:
            return self.forward(*args, **kwargs) if kwargs else self.forward(*args)
        finally:
            _leave(token)

    def forward(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG002
        """Compute the output. Every model defines its own."""
        raise TypeError(f"{type(self).__name__} defines no forward(self, ...)")

    # --- what it is made of ------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Iterate over names and modules directly inside this one."""
        return ((name, thing) for name, thing in _parts(vars(self)) if isinstance(thing, Module))

    def children(self) -> Iterator[Module]:
        """Iterate over the modules directly inside this one."""
        return (module for _, module in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over names and modules: this one, called '', and all inside, each once and before those inside it."""
        return _each_once(self._all_modules())

    def modules(self) -> Iterator[Module]:
        """Iterate over this module and all inside."""
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Iterate over names and parameters, each parameter once; a module's own before those of modules inside it.

        Those of modules, lists, tuples and dictionaries inside are called ``inner.W`` or ``layers.0``.
        """
        return _each_once(self._all(Module._own_parameters))

    def parameters(self) -> Iterator[Tensor]:
        """Iterate over the parameters."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Array]]:
        """Iterate over names and buffers, each buffer once."""
        return _each_once(self._all(Module._own_buffers))

    def buffers(self) -> Iterator[Array]:
        """Iterate over the buffers."""
        return (buffer for _, buffer in self.named_buffers())

    def named_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        """Iterate over names and random generators that layers draw from, each generator once."""
        return _each_once(self._all(Module._own_generators))

    def _all_modules(self) -> Iterator[tuple[str, Module]]:
        """Iterate over names and modules, those in several places by each of their names."""
        pending: list[tuple[str, Module, tuple[Module, ...]]] = [("", self, (self,))]
        while pending:
            name, module, around = pending.pop()
            yield name, module
            children = [(_joined(name, key), child, (*around, child)) for key, child in module.named_children()]
            pending += [entry for entry in reversed(children) if entry[1] not in around]

    def _all(self, own: Callable[[Module], Iterator[tuple[str, Any]]]) -> Iterator[tuple[str, Any]]:
        return ((_joined(name, key), thing) for name, module in self._all_modules() for key, thing in own(module))

    def _own_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, thing in _parts(vars(self)):
            if _is_parameter(thing) or (isinstance(thing, Tensor) and name in self._parameter_names):
                yield name, thing

    def _own_buffers(self) -> Iterator[tuple[str, Array]]:
        return ((name, x) for name, x in vars(self).items() if name in self._buffer_names and x is not None)

    def _own_generators(self) -> Iterator[tuple[str, np.random.Generator]]:
        return ((name, thing) for name, thing in _parts(vars(self)) if isinstance(thing, np.random.Generator))

    def register_buffer(self, name: str, array: Any) -> None:
        """Make an array an attribute that is part of `state_dict`, but no parameter: a running mean, for example.

        Raises
        ------
        ArgumentError
            If the name is no name of an attribute, or there is another attribute of that name.
        DTypeError
            If it does not hold numbers.
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentError(f"register_buffer: expected the name of an attribute, got {name!r}")
        if hasattr(self, name) and name not in self._buffer_names:
            raise ArgumentError(f"register_buffer: {type(self).__name__} has an attribute {name!r} already")
        setattr(self, name, np.array(as_array(array)))
        self._buffer_names |= {name}

    # --- state -------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters and buffers by name, in PyTorch's order and with its names."""
        refuse_while_capturing("state_dict()", "Use the parameters themselves, or call it outside")
        return {name: np.array(_numbers(thing)) for name, thing in self._state()}

    def _state(self) -> Iterator[tuple[str, Any]]:
        for name, module in self._all_modules():
            for own in (module._own_parameters(), module._own_buffers()):
                yield from ((_joined(name, key), thing) for key, thing in own)

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Take over parameters and buffers. Everything is checked before anything is changed.

        Parameters
        ----------
        state : mapping of str to array_like
            As `state_dict` returns it: arrays, or PyTorch's tensors. float32 is widened to float64, but nothing is
            rounded in passing.
        strict : bool
            Whether the names must be the same. If False, those on one side only are returned and otherwise ignored.

        Returns
        -------
        LoadedKeys
            The names ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        ArgumentError
            If names, shapes or element types do not fit: all that is wrong is listed.
        """
        own = dict(self._state())
        arrays = {name: as_array(new) for name, new in state.items()}
        keys = LoadedKeys([name for name in own if name not in arrays], [name for name in arrays if name not in own])
        problems = [f"{name}: missing in the state" for name in keys.missing_keys if strict]
        problems += [f"{name}: unexpected, the model has none of that name" for name in keys.unexpected_keys if strict]
        found = [name for name in own if name in arrays]
        problems += [f"{name}: {text}" for name in found if (text := _misfit(own[name], arrays[name]))]
        if problems:
            raise ArgumentError(
                f"the state does not fit {type(self).__name__}, and nothing was loaded:\n  " + "\n  ".join(problems)
            )
        for name in found:
            if isinstance(own[name], Tensor):
                own[name].data = arrays[name]
            else:
                own[name][...] = arrays[name]
        return keys

    # --- changing all of it ------------------------------------------------------------------------

    def train(self, mode: bool = True) -> Self:
        """Let this module and all inside behave as in training (or, if `mode` is False, as in use); return it."""
        modules = list(self.modules())
        before: list[bool] = []

        def switch() -> None:
            before[:] = [module.training for module in modules]
            for module in modules:
                module.training = bool(mode)

        def switch_back() -> None:
            for module, training in zip(modules, before):
                module.training = training

        if captures and (tracing := tracer.get()) is not None:
            tracing.act(switch, switch_back)
        else:
            switch()
        return self

    def eval(self) -> Self:
        """Let this module and all inside behave as in use, ``train(False)``; return it."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze (False) or release all parameters; return the module."""
        for module in self.modules():
            own = dict(module._own_parameters())
            module._parameter_names |= own.keys()
            for parameter in own.values():
                parameter.requires_grad = requires_grad
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Call `fn` with every module inside, in turn, and then with this one; return it."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` becomes None, as if backward had not been called."""
        for parameter in self.parameters():
            parameter.grad = None

    # --- in words ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return what `repr` shows between the parentheses: a layer's settings."""
        return ""

    @reprlib.recursive_repr("(this module again)")
    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}" for name, child in self.named_children()]
        inside = textwrap.indent("\n".join([*filter(None, [self.extra_repr()]), *lines]), "  ")
        body = f"\n{inside}\n" if lines else self.extra_repr()
        return f"{type(self).__name__}({body}){self._counted()}"

    def _counted(self) -> str:
        """Return a comment with the shapes of its own parameters, and how many numbers they and those inside hold."""
        sizes = [(parameter.numel(), parameter.requires_grad) for parameter in self.parameters()]
        if not sizes:
            return ""
        total, trained = sum(n for n, _ in sizes), sum(n for n, required in sizes if required)
        own = [f"{name} {_times(parameter.shape)}" for name, parameter in self._own_parameters()]
        text = f"{', '.join(own)}: " if own else ""
        return f"  # {text}{total:,} parameters" + ("" if trained == total else f", {total - trained:,} frozen")


def _is_parameter(thing: Any) -> bool:
    return isinstance(thing, Tensor) and thing.requires_grad and thing.is_leaf


def _parts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Iterate over names and things in attributes, and in the lists, tuples and dictionaries among these."""
    pending = list(reversed(list(attributes.items())))
    seen: set[int] = set()
    while pending:
        name, thing = pending.pop()
        if not isinstance(thing, dict | list | tuple):
            yield name, thing
        elif id(thing) not in seen:  # it may hold itself
            seen.add(id(thing))
            inside = thing.items() if isinstance(thing, dict) else enumerate(thing)
            pending += [(f"{name}.{key}", part) for key, part in reversed(list(inside))]


def _each_once(named: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    seen: set[int] = set()
    for name, thing in named:
        if id(thing) not in seen:
            seen.add(id(thing))
            yield name, thing


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"


def _numbers(thing: Any) -> Array:
    return thing._array if isinstance(thing, Tensor) else thing


def _misfit(own: Any, new: Array) -> str:
    """Say why `new` cannot be loaded into a parameter or buffer; '' if it can."""
    if new.shape != own.shape:
        return f"shape {new.shape} in the state, {own.shape} in the model"
    if new.dtype.kind != own.dtype.kind or not np.can_cast(new.dtype, own.dtype, "safe"):
        return f"{new.dtype} in the state, {own.dtype} in the model: convert it with .astype({own.dtype.name!r})"
    return ""
