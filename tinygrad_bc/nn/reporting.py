"""How a model is doing, layer by layer: sizes of gradients, dead units, saturated activations."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from tinygrad_bc.autograd import grad
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.nn.module import Module
from tinygrad_bc.record import Array, Value, recorded_order

__all__ = ["Report", "report"]

SLOPES: dict[str, Callable[[Array], Array]] = {
    "sigmoid": lambda y: 4 * y * (1 - y),
    "tanh": lambda y: 1 - y * y,
}
"""The derivative of an activation, as a share of its largest one, in terms of the result."""

SATURATED = 0.01  # of the largest derivative
WORTH_SAYING = 0.5  # share of elements that are saturated
VANISHING = 1e-3  # of the largest gradient of a layer

COLUMNS = ["kind", "shape", "parameters", "grad_rms", "grad_max", "dead", "saturated", "remark"]


class Report(pd.DataFrame):
    """A table that prints whole, with blanks where a column says nothing."""

    @property
    def _constructor(self) -> type[Report]:
        return Report

    def __repr__(self) -> str:
        formats = dict.fromkeys(("dead", "saturated"), "{:.0%}") | dict.fromkeys(("grad_rms", "grad_max"), "{:.2e}")
        formatters = {name: text.format for name, text in formats.items() if name in self}
        return self.to_string(na_rep="", formatters=formatters)


def report(model: Module, *inputs: Any, loss: Callable[[Any], Any] | None = None) -> Report:
    """Return a table of the layers and activations of a model, in the order in which it uses them.

    The model is run in the mode it is in, and left as it was: gradients, running statistics and generators.

    Parameters
    ----------
    model : Module
    *inputs
        What it is called with: a batch of samples along the first axis.
    loss : callable, optional
        Called with the output, returns the single number whose gradients are meant:
        ``lambda y: criterion(y, targets)``. By default the mean of the output.

    Returns
    -------
    DataFrame
        A row for each module with parameters of its own and for each relu, sigmoid and tanh, with the columns

        - ``kind``, ``shape``: class and shapes of the parameters; or activation and shape of the result.
        - ``parameters``: how many numbers.
        - ``grad_rms``, ``grad_max``: root mean square and largest magnitude of the gradient, with respect to the
          parameters or to the result.
        - ``dead``: of a relu, the share of units that are 0 for every sample (and, after a convolution, everywhere).
        - ``saturated``: of a sigmoid or tanh, the share of elements where its derivative is below 1% of its largest.
        - ``remark``: dead units; half or more saturated; a gradient that vanishes, its root mean square less than a
          thousandth of that of another layer (X. Glorot, Y. Bengio, "Understanding the difficulty of training deep
          feedforward neural networks", 2010, sec. 3 and 4); a gradient that is 0, not finite, or not there.

    Raises
    ------
    ArgumentError
        If `model` is no module.
    GradientError
        If the output or loss does not depend on a parameter that requires a gradient, or is not a single number.
    """
    if not isinstance(model, Module):
        raise ArgumentError(f"nn.report: expected a model, an nn.Module, got {type(model).__name__}")
    modules = dict(model.named_modules())
    with _left_as_it_was(model):
        for name, module in modules.items():
            module._scope_name = name or type(model).__name__  # so that the record says which module it was
        output = model(*inputs)
        result = output.mean() if loss is None else loss(output)
    order = recorded_order([result])
    activations = [x for x in order if x.node and (x.node.op.name in SLOPES or x.node.op.name == "relu")]
    owners = {name: [p for _, p in module._own_parameters()] for name, module in modules.items()}
    wanted = [x for x in itertools.chain(*owners.values(), activations) if x._requires_grad]
    gradients = {x: g._array for x, g in zip(wanted, grad(result, wanted, allow_unused=True)) if g is not None}
    position, first_use = {x: i for i, x in enumerate(order)}, _first_uses(order)

    rows = [
        (min(first_use.get(p, len(order)) for p in own), name or "(itself)", _layer_row(modules[name], own, gradients))
        for name, own in owners.items()
        if own
    ]
    rows += [(position[x], _place(x, modules), _activation_row(x, gradients)) for x in activations]
    rows.sort(key=lambda row: row[0])
    _remark_on_vanishing([row for _, _, row in rows if row["parameters"]])
    return Report([row for _, _, row in rows], index=[name for _, name, _ in rows], columns=COLUMNS)


@contextlib.contextmanager
def _left_as_it_was(model: Module) -> Iterator[None]:
    """Put back, afterwards, what running a model changes."""
    names = [(module, module._scope_name) for module in model.modules()]
    buffers = [(buffer, buffer.copy()) for buffer in model.buffers()]
    generators = [(rng, rng.bit_generator.state) for _, rng in model.named_generators()]
    try:
        yield
    finally:
        for module, name in names:
            module._scope_name = name
        for buffer, before in buffers:
            buffer[...] = before
        for rng, state in generators:
            rng.bit_generator.state = state


def _first_uses(order: list[Value]) -> dict[Value, int]:
    found: dict[Value, int] = {}
    for position, value in enumerate(order):
        for x in value.node.values if value.node else ():
            found.setdefault(x, position)
    return found


def _place(x: Value, modules: dict[str, Module]) -> str:
    """Return the name of the activation module that computed `x`, or of the module around and the activation."""
    node: Any = x.node
    name = node.scope.name if node.scope and node.scope.name in modules else ""
    if type(modules[name]).__name__.lower() == node.op.name:
        return name or "(itself)"
    return f"{name}.{node.variable or node.op.name}".removeprefix(".")


def _sizes(gradients: list[Array]) -> dict[str, Any]:
    """Return root mean square and largest magnitude of several gradients taken together."""
    numbers = np.concatenate([np.abs(g).ravel().astype(np.float64) for g in gradients] or [np.array([np.nan])])
    largest = float(numbers.max(initial=0.0))
    scale = largest if 0 < largest < math.inf else 1.0  # squares of tiny numbers are not to vanish
    return {"grad_rms": scale * float(np.sqrt(np.mean((numbers / scale) ** 2))), "grad_max": largest}


def _layer_row(module: Module, own: list[Any], gradients: dict[Value, Array]) -> dict[str, Any]:
    reached = [gradients[p] for p in own if p in gradients]
    row = {
        "kind": type(module).__name__,
        "shape": ", ".join("×".join(map(str, p.shape)) or "scalar" for p in own),
        "parameters": sum(p.numel() for p in own),
        **_sizes(reached),
        "remark": "",
    }
    if not any(p.requires_grad for p in own):
        row["remark"] = "frozen"
    elif not reached:
        row["remark"] = "no gradient: not used for the result"
    elif not math.isfinite(row["grad_max"]):
        row["remark"] = "gradient not finite"
    elif row["grad_max"] == 0:
        row["remark"] = "gradient is 0"
    return row


def _activation_row(x: Value, gradients: dict[Value, Array]) -> dict[str, Any]:
    node: Any = x.node
    row = {
        "kind": node.op.name,
        "shape": "×".join(map(str, x.shape)),
        "parameters": 0,
        **_sizes([gradients[x]] if x in gradients else []),
        "remark": "",
    }
    y = x._array
    if node.op.name == "relu":
        dead, units = _dead_units(x)
        row["dead"] = dead / max(units, 1)
        row["remark"] = f"{dead} of {units} units dead" if dead else ""
    elif y.size:
        row["saturated"] = float(np.mean(SLOPES[node.op.name](y) < SATURATED))
        row["remark"] = f"{row['saturated']:.0%} saturated" if row["saturated"] >= WORTH_SAYING else ""
    return row


def _dead_units(x: Value) -> tuple[int, int]:
    """Return how many units are 0 for every sample, and how many there are."""
    y = x._array
    if y.ndim < 2 or not y.size:
        return 0, 0  # a single sample says nothing about others
    axis = _unit_axis(x) % y.ndim
    dead = (y == 0).all(axis=tuple(i for i in range(y.ndim) if i != axis))
    return int(dead.sum()), dead.size


def _unit_axis(x: Value) -> int:
    """Return the axis that counts units: that of the channels of a convolution; of ``W @ X`` that of the rows of W."""
    found, seen = [x], {x}
    for value in found:  # which grows on the way: x, and what it was computed from as long as the shape stays
        node: Any = value.node
        if node is None:
            continue
        if node.op.name == "conv":
            return -1 - node.params["grid"].axes
        if node.op.name == "matmul":
            left, right = node.inputs
            of_rows = left.node is None and left._requires_grad and not (right.node is None and right._requires_grad)
            return -2 if of_rows else -1
        nearer = [v for v in node.values if v.shape == x.shape and v not in seen]
        seen.update(nearer)
        found += nearer
    return -1


def _remark_on_vanishing(layers: list[dict[str, Any]]) -> None:
    largest = max((row["grad_rms"] for row in layers if math.isfinite(row["grad_rms"])), default=0.0)
    for row in layers:
        if not row["remark"] and row["grad_rms"] < VANISHING * largest:
            row["remark"] = f"vanishing: {row['grad_rms'] / largest:.0e} of the largest"
