"""What all optimisers share: parameters in groups, checks before anything is changed, state that can be saved.

An optimiser of the usual kind changes every element of a parameter by a rule that looks at that element alone. A
subclass says what it remembers per element (`_memory`) and how one step changes a block of elements (`_update`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_bc.autograd import enable_grad, no_grad
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, ShapeError
from tinygrad_bc.record import Array, note_change, tracer
from tinygrad_bc.tensor import Tensor
from tinygrad_bc.tracing import Cell, Item, Live, Tracer

__all__ = ["Optimizer", "checked_parameters", "title"]

Group = dict[str, Any]
State = dict[str, Any]

# A rule goes over its arrays several times. In blocks of so many elements all of them stay in the processor's cache.
BLOCK = 1 << 15

ANY = (0.0, math.inf)  # the range of most options


class Optimizer:
    """The base class of optimisers.

    Parameters
    ----------
    params : iterable of Tensor, or of dict
        What to optimise: ``model.parameters()``. Or groups with options of their own, ``{"params": [...], "lr":
        0.01}``: that is how layers get different learning rates. An option left out is the optimiser's.
    defaults : dict
        The options of groups that do not say otherwise.

    Attributes
    ----------
    param_groups : list of dict
        The groups: ``"params"`` and the options, which may be changed between steps.
    state : dict of Tensor to dict
        What is remembered of each parameter: the number of its steps, and arrays of its shape.

    Raises
    ------
    ArgumentError
        If there is no parameter, one is given twice, or an option is unknown or out of range.
    GradientError
        If a parameter is computed, requires no gradient or is a view of another tensor's memory.
    """

    _ranges: ClassVar[dict[str, tuple[float, float]]] = {}
    """The options that are numbers: from where, included, to where, excluded."""

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.param_groups: list[Group] = []
        self.state: dict[Tensor, State] = {}
        self._scheduled: set[str] = set()  # the options, besides lr, that a schedule sets at every step
        for group in self._as_groups(params):
            self.add_param_group(group)

    def _as_groups(self, params: Any) -> list[Any]:
        name = type(self).__name__
        if isinstance(params, Tensor | dict) or not isinstance(params, Iterable):
            hint = "[W]" if isinstance(params, Tensor) else "[{...}]" if isinstance(params, dict) else "m.parameters()"
            raise ArgumentError(
                f"{name} expects an iterable of parameters or of groups, got one {type(params).__name__}: write "
                f"{name}({hint}, ...)"
            )
        things = list(params)
        if not things:
            raise ArgumentError(
                f"{name} was given no parameters. Do the model's tensors require a gradient? Was a generator, as "
                "model.parameters() is one, used up before?"
            )
        return things if all(isinstance(thing, dict) for thing in things) else [{"params": things}]

    def add_param_group(self, group: Group) -> None:
        """Add parameters with options of their own; the ones left out are the optimiser's.

        Parameters
        ----------
        group : dict
            ``"params"``, an iterable of tensors, and options. A ``"name"`` is kept.
        """
        unknown = set(group) - {"params", "name", "initial_lr", *self.defaults}
        if unknown or "params" not in group:
            raise ArgumentError(
                f'a group of {type(self).__name__} has "params" and may have {", ".join(self.defaults)}; '
                + (f"unknown: {', '.join(sorted(unknown))}" if unknown else 'this one has no "params"')
            )
        new = {**self.defaults, **group}
        new["params"] = checked_parameters(
            group["params"], type(self).__name__, [p for known in self.param_groups for p in known["params"]]
        )
        self._check_options(new)
        self.param_groups.append(new)

    def _check_options(self, group: Group) -> None:
        """Refuse options out of range. Numbers become Python's, which never widen an array of float32."""
        for name, (low, high) in self._ranges.items():
            value = group[name]
            try:
                group[name] = float(value)
            except (TypeError, ValueError):
                raise ArgumentError(f"{type(self).__name__}: {name} must be a number, got {value!r}") from None
            if not (low <= group[name] < high):
                raise ArgumentError(
                    f"{type(self).__name__}: {name} must be at least {low:g} and "
                    f"{f'less than {high:g}' if high < math.inf else 'finite'}, got {value!r}"
                )

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters: ``grad`` becomes None."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Change the parameters, in place, by their gradients; those without one are left as they are.

        Parameters
        ----------
        closure : callable, optional
            Computes the gradients anew and returns the loss, and is called first.

        Returns
        -------
        object
            What `closure` returned.

        Raises
        ------
        GradientError
            Before any parameter is changed: if no parameter has a gradient, or a gradient is not finite.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        if (tracing := tracer.get()) is not None:
            self._captured_step(tracing)
            return loss
        ready = list(self._parameters_with_gradients())
        note_change(*(parameter for _, parameter, _, _ in ready))
        for group, parameter, data, gradient in ready:
            state = self._state_of(parameter, data, group)
            state["step"] += 1
            for block in _blocks(data, gradient, state):
                self._update_block(*block, group)
        return loss

    def _captured_step(self, tracing: Tracer) -> None:
        """Record the step while a function is captured: the same rules, applied to what stands for the arrays."""
        tracing.ask(lambda: [len(group["params"]) for group in self.param_groups])
        known = {parameter: set(state) for parameter, state in self.state.items()}
        tracing.undo.append(lambda: self._forget_all_but(known))
        stepping: list[Tensor] = []
        for number, group in enumerate(self.param_groups):
            gradients = {parameter: tracing.gradient_of(parameter) for parameter in group["params"]}
            found = {parameter: g for parameter, g in gradients.items() if g is not None}
            if not found:
                continue
            for parameter in found:
                self._state_of(parameter, parameter._own_memory(), group)
            options = self._live_options(number, tracing)
            counts = self._live_counts(list(found), tracing)
            for parameter, gradient in found.items():
                memory = {
                    name: tracing.cell(self._memory_finder(parameter, name), name, of=parameter)
                    for name in self._memory(group)
                }
                x, g = Cell(tracing.now(parameter), tracing), Cell(gradient, tracing)
                with no_grad():
                    self._update_block(x, g, {**memory, "step": counts[parameter]}, options)  # type: ignore[arg-type]
                tracing.update(parameter, x.value)
            stepping += found
        if not stepping:
            raise self._no_gradient()
        tracing.act(lambda: self._count(stepping, 1), lambda: self._count(stepping, -1))

    def _live_options(self, number: int, tracing: Tracer) -> Group:
        """Return a group's options, those that schedules set found anew at every call. If others change: anew."""
        options = {name: x for name, x in self.param_groups[number].items() if name not in ("params", "lr")}
        fixed = [name for name in options if name not in self._scheduled]
        tracing.ask(lambda: [self.param_groups[number].get(name) for name in fixed])
        for name in self._scheduled:
            options[name] = self._live_option(number, name, tracing)
        return {**options, "lr": tracing.live(lambda: self._rate(number), "lr")}

    def _live_option(self, number: int, name: str, tracing: Tracer) -> Any:
        def found(i: int) -> Live:
            return tracing.live(lambda: self.param_groups[number][name][i], name)

        option = self.param_groups[number][name]
        if isinstance(option, tuple):
            return tuple(map(found, range(len(option))))
        return tracing.live(lambda: self.param_groups[number][name], name)

    def _live_counts(self, parameters: list[Tensor], tracing: Tracer) -> dict[Tensor, Live]:
        """Return the number of each parameter's step; those that are as far as the first share theirs."""
        first = parameters[0]
        behind = tracing.ask(lambda: self._steps_behind(parameters))
        shared = {n: tracing.live(lambda n=n: self.state[first]["step"] + n + 1, "step") for n in set(behind)}  # type: ignore[misc]
        return {parameter: shared[n] for parameter, n in zip(parameters, behind)}

    def _steps_behind(self, parameters: list[Tensor]) -> list[int] | None:
        """Return by how many steps each parameter differs from the first; None if nothing is remembered of one."""
        states = [self.state.get(parameter) for parameter in parameters]
        if any(state is None for state in states):
            return None
        first = states[0]["step"]  # type: ignore[index]
        return [state["step"] - first for state in states]  # type: ignore[index]

    def _memory_finder(self, parameter: Tensor, name: str) -> Callable[[], Array]:
        return Item(lambda: self.state.get(parameter, {}), name)

    def _count(self, parameters: Iterable[Tensor], steps: int) -> None:
        for parameter in parameters:
            self.state[parameter]["step"] += steps

    def _forget_all_but(self, known: Mapping[Tensor, set[str]]) -> None:
        """Remember nothing but what is named."""
        for parameter, state in list(self.state.items()):
            for name in state.keys() - known.get(parameter, set()):
                del state[name]
            if parameter not in known:
                del self.state[parameter]

    def _rate(self, number: int) -> float:
        """Return the learning rate of a group, checked: options may be set by hand, and this is the one that is."""
        lr: float = self.param_groups[number]["lr"]
        if not 0 <= lr < math.inf:
            raise ArgumentError(f"the learning rate of group {number} must be finite and not negative: {lr}")
        return lr

    def _no_gradient(self) -> GradientError:
        return GradientError(
            f"{type(self).__name__}.step(): no parameter has a gradient. Call loss.backward() before, and "
            "zero_grad() not in between; tg.grad returns gradients and stores none"
        )

    def _parameters_with_gradients(self) -> Iterator[tuple[Group, Tensor, Array, Array]]:
        """Iterate over what is to be updated, checked: its group, the parameter, its memory, its gradient."""
        none = True
        for number, group in enumerate(self.param_groups):
            self._rate(number)
            for position, parameter in enumerate(group["params"]):
                if parameter._grad is None:
                    continue
                none = False
                data = parameter._own_memory()
                gradient = parameter._grad._array
                if gradient.dtype is not data.dtype:  # it may have been put there by hand
                    gradient = gradient.astype(data.dtype, copy=False)
                elements = gradient.ravel("K")
                if not math.isfinite(np.vdot(elements, elements)):  # which is quicker than to look at every element
                    _require_finite(gradient, parameter, position)
                yield group, parameter, data, gradient
        if none:
            raise self._no_gradient()

    def _state_of(self, parameter: Tensor, data: Array, group: Group) -> State:
        """Return what is remembered of a parameter; at its first step, what it starts with."""
        state = self.state.get(parameter)
        if state is None:
            state = self.state[parameter] = {"step": 0}
        for name, start in self._memory(group).items():
            if name not in state:
                state[name] = np.full(data.shape, start, data.dtype)
        return state

    def _update_block(self, x: Array, g: Array, state: State, group: Group) -> None:
        if group["maximize"]:
            g = -g
        g = self._with_weight_decay(x, g, group)
        self._update(x, g, state, group)

    def _with_weight_decay(self, x: Array, g: Array, group: Group) -> Array:
        """Return the gradient of the loss plus ½·weight_decay·|x|²: g + weight_decay·x."""
        if not group["weight_decay"]:
            return g
        regularised = np.multiply(x, group["weight_decay"])
        regularised += g
        return regularised

    def _memory(self, group: Group) -> dict[str, float]:
        """Return what is remembered of each element, and what it is at the start."""
        raise NotImplementedError

    def _update(self, x: Array, g: Array, state: State, group: Group) -> None:
        """Change elements `x` of a parameter, whose gradient is `g`, and what is remembered of them, in place."""
        raise NotImplementedError

    # --- saving --------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that a later run needs to continue: parameters are numbered, arrays are copies.

        Returns
        -------
        dict
            ``{"state": {0: {"step": 3, "exp_avg": array}}, "param_groups": [{"lr": 0.1, "params": [0]}]}``
        """
        numbers = {parameter: i for i, parameter in enumerate(self._all_parameters())}
        return {
            "state": {
                numbers[parameter]: {name: np.array(x) if isinstance(x, np.ndarray) else x for name, x in state.items()}
                for parameter, state in self.state.items()
            },
            "param_groups": [{**group, "params": [numbers[p] for p in group["params"]]} for group in self.param_groups],
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, of an optimiser with the same parameters in the same groups.

        Raises
        ------
        ArgumentError, ShapeError, DTypeError
            Before anything is changed, if it does not fit.
        """
        saved = state_dict["param_groups"]
        sizes, expected = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise ArgumentError(
                f"the saved groups have {sizes} parameters, those of this {type(self).__name__} have {expected}"
            )
        groups = [
            {**options, "params": group["params"]} for options, group in zip(saved, self.param_groups, strict=True)
        ]
        for group in groups:
            missing = self.defaults.keys() - group.keys()
            if missing:
                raise ArgumentError(
                    f"the saved state lacks {', '.join(sorted(missing))}: was another optimiser than "
                    f"{type(self).__name__} saved?"
                )
            self._check_options(group)
        parameters = self._all_parameters()
        state = {parameters[int(i)]: self._restored(parameters[int(i)], x) for i, x in state_dict["state"].items()}
        self.param_groups, self.state = groups, state

    def _restored(self, parameter: Tensor, saved: Mapping[str, Any]) -> State:
        """Return a copy of what was saved of a parameter, checked."""
        if "step" not in saved:
            raise ArgumentError(f"what was saved of {title(parameter)} lacks its number of steps")
        restored = {name: np.array(x, order="C") for name, x in saved.items() if name != "step"}
        for name, x in restored.items():
            if x.shape != parameter.shape:
                raise ShapeError(f"{title(parameter)} is of shape {parameter.shape}, its saved {name} of {x.shape}")
            if x.dtype != parameter.dtype:
                raise DTypeError(f"{title(parameter)} is of dtype {parameter.dtype}, its saved {name} of {x.dtype}")
        return {"step": int(saved["step"]), **restored}

    def _all_parameters(self) -> list[Tensor]:
        return [parameter for group in self.param_groups for parameter in group["params"]]

    def __repr__(self) -> str:
        lines = [f"{type(self).__name__} ("]
        for number, group in enumerate(self.param_groups):
            elements = sum(p.numel() for p in group["params"])
            options = ", ".join(f"{name}={value}" for name, value in group.items() if name != "params")
            lines.append(f"  group {number}: {len(group['params'])} parameters of {elements} elements, {options}")
        return "\n".join([*lines, ")"])


def title(parameter: Tensor, position: int | None = None) -> str:
    """Return what messages call a parameter."""
    number = "a parameter" if position is None else f"parameter {position}"
    return parameter.name or f"{number} of shape {parameter.shape}"


def checked_parameters(params: Any, owner: str, known: Iterable[Tensor] = ()) -> list[Tensor]:
    """Return `params` as a list; refused if it is empty or one cannot be updated, or is there or `known` already."""
    parameters: list[Tensor] = [params] if isinstance(params, Tensor) else list(params)
    if not parameters:
        raise ArgumentError(f"{owner} was given no parameters, or a group without: was a generator used up before?")
    seen = set(map(id, known))
    for position, parameter in enumerate(parameters):
        if not isinstance(parameter, Tensor):
            raise DTypeError(
                f"{owner}: parameter {position} is a {type(parameter).__name__}, and should be a tensor, as "
                "model.parameters() gives them, or made with tg.tensor(..., requires_grad=True)"
            )
        called = title(parameter, position)
        if not parameter.is_leaf:
            raise GradientError(
                f"{owner}: {called} was computed, by\n  {parameter.node.place}\n"  # type: ignore[union-attr]
                "and changing it would change nothing that it was computed from. Pass the tensors you made yourself"
            )
        if not parameter.requires_grad:
            raise GradientError(
                f"{owner}: {called} requires no gradient: make it with requires_grad=True, or leave it out"
            )
        if id(parameter) in seen:
            raise ArgumentError(f"{owner}: {called} is there twice, and would be updated twice in a step")
        seen.add(id(parameter))
        parameter._own_memory()
    return parameters


def _require_finite(gradient: Array, parameter: Tensor, position: int) -> None:
    finite = np.isfinite(gradient)
    if not finite.all():
        raise GradientError(
            f"the gradient of {title(parameter, position)} is NaN or infinite in {np.count_nonzero(~finite)} of its "
            f"{finite.size} elements, and no parameter was changed. tg.detect_anomaly() finds the operation they come "
            "from; too large a learning rate is a frequent cause"
        )


def _blocks(data: Array, gradient: Array, state: State) -> Iterable[tuple[Array, Array, State]]:
    """Return a parameter's elements, a block of them at a time, with their gradients and what is remembered."""
    if data.ndim and (data.size <= BLOCK or not data.flags.c_contiguous):
        return [(data, gradient, state)]
    # Flat, which also makes a vector of a single number: NumPy's operators would return no array of that.
    flat, flat_gradient = data.reshape(-1), gradient.reshape(-1)
    memory = {name: x.reshape(-1) for name, x in state.items() if isinstance(x, np.ndarray)}
    parts = [slice(start, start + BLOCK) for start in range(0, data.size, BLOCK)]
    return (
        (flat[part], flat_gradient[part], {**state, **{name: x[part] for name, x in memory.items()}}) for part in parts
    )
