"""The bias folded into the product: W X + b = [W b] [X; 1].

With g the cotangent of that, the gradients of W and b are one product too: g [X; 1]ᵀ = [g Xᵀ, g 1]. Samples may also
be rows: X Wᵀ + bᵀ = [X 1] [W b]ᵀ, and X W + b = [X 1] [W; b]. The rows of ones are constants, beside which X is
written; W and b stand side by side in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.numpy_target.again import again, computed, inputs_of, is_op, sliced, uses
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, constant
from tinygrad_bc.record import Value

__all__ = ["fold_biases"]

LARGEST = 2**16
"""The largest result for which a bias is folded into the product: in others adding it takes next to no time."""

LARGEST_WEIGHTS = 2**15
"""The largest weights for which it is: rows of larger ones had better begin at even addresses."""

MATMUL, TRANSPOSE, RESHAPE, CONCATENATE, GETITEM = (
    REGISTRY[name] for name in ("matmul", "matrix_transpose", "reshape", "concatenate", "getitem")
)

Now = Callable[[Any], Any]


class Layer(NamedTuple):
    """A product and the bias that is added to it.

    Attributes
    ----------
    x, w, b : Value
        The data, and the weights and the bias in memory.
    batch : int
        The axis of the data, and of the result, along which samples are counted.
    transposed : bool
        Whether the weights are transposed in the product.
    """

    x: Value
    w: Value
    b: Value
    batch: int
    transposed: bool

    @property
    def weights_axis(self) -> int:
        """The axis of the weights along which features of the data are counted."""
        return int(self.batch == 1 or self.transposed)

    def bias(self) -> Value:
        """Return the bias as a column or row of the weights."""
        m = self.b._data.size
        shape = (m, 1) if self.weights_axis else (1, m)
        made: Value = self.b if self.b.shape == shape else RESHAPE(self.b, shape=shape)
        return made


def fold_biases(program: Program) -> Program:
    """Return the program with biases folded into products, where that pays."""
    layers = _layers(program)
    graph = program.graph
    extended: dict[Value, Value] = {}  # data, with ones beside them
    gradients = _gradients(program, {layer.x: layer for layer in layers.values()})
    labels: dict[Value, str] = {}
    both: dict[Any, Value] = {}  # the gradients of weights and bias side by side

    def data(layer: Layer, now: Now) -> Value:
        x = layer.x
        if x not in extended:
            axis = 1 - layer.batch
            shape = tuple(1 if i == axis else n for i, n in enumerate(x.shape))
            extended[x] = CONCATENATE(now(x), constant(np.ones(shape, x.dtype)), axis=axis)
            name(extended[x], x, "1")
        return extended[x]

    def rule(value: Value, now: Now) -> Value | None:
        if value in layers:
            layer = layers[value]
            weights = CONCATENATE(layer.w, layer.bias(), axis=layer.weights_axis)
            name(weights, layer.w, bias_name(layer))
            weights = TRANSPOSE(weights) if layer.transposed else weights
            factors = (data(layer, now), weights) if layer.batch == 0 else (weights, data(layer, now))
            made: Value = MATMUL(*factors)
            return made
        if value in gradients:
            return gradient(value, *gradients[value], now)
        return None

    def gradient(value: Value, g: Value, layer: Layer, left: bool, weights: Value, now: Now) -> Value:
        """Return a gradient of the weights or the bias as a part of both."""
        key = (g, layer.x, left)
        if key not in both:
            x, cotangent = data(layer, now), now(g)
            x_t = TRANSPOSE(x) if layer.batch == 1 or left else x
            g_t = cotangent if layer.batch == 1 or left else TRANSPOSE(cotangent)
            both[key] = MATMUL(x_t, g_t) if left else MATMUL(g_t, x_t)
            name(both[key], weights, bias_name(layer))
        axis, n = int(not left), both[key].shape[int(not left)] - 1
        of_bias = is_op(graph, value, "sum")
        start, stop = (n, n + 1) if of_bias else (0, n)
        made: Value = GETITEM(both[key], key=sliced(axis, start, stop, n + 1))
        return made if made.shape == value.shape else RESHAPE(made, shape=value.shape)

    def bias_name(layer: Layer) -> str:
        """Return the bias's name, without the path of its layer where that is the weights' too."""
        path, _, last = graph.label(layer.b).rpartition(".")
        return last if graph.label(layer.w).rpartition(".")[0] == path else graph.label(layer.b)

    def name(made: Value, first: Value, second: str) -> None:
        if not graph.label(first).startswith("%"):
            labels[made] = f"{graph.label(first)}_{second}"

    return again(program, rule, labels)


def _layers(program: Program) -> dict[Value, Layer]:
    """Return the sums of a product and a bias, whose weights and bias are in memory of their own."""
    graph, used, memory = program.graph, uses(program.graph), set(program.memory)
    ready = set(program.steady)
    found: dict[Value, Layer] = {}
    taken: set[Value] = set()
    for value in computed(graph):
        if not is_op(graph, value, "add") or value._data.ndim != 2 or value._data.size > LARGEST:
            continue
        for product, b in (inputs_of(graph, value), inputs_of(graph, value)[::-1]):
            if not is_op(graph, product, "matmul") or used[product] != 1 or b not in memory or b.dtype != value.dtype:
                continue
            layer = _layer(program, product, b, memory)
            if (
                layer is None
                or layer.w._data.size > LARGEST_WEIGHTS
                or value.dtype.kind != "f"
                or {layer.w, layer.b} & taken
                or layer.w is layer.b
            ):
                continue
            if layer.x.dtype == value.dtype and (graph.node(layer.x) is not None or layer.x in ready):
                found[value] = layer
                taken |= {layer.w, layer.b}
    return found


def _layer(program: Program, product: Value, b: Value, memory: set[Value]) -> Layer | None:
    graph = program.graph
    first, second = inputs_of(graph, product)
    if first._data.ndim != 2 or second._data.ndim != 2:
        return None
    m, n = product.shape
    if first in memory and b.shape == (m, 1) and n > 1 and second not in memory:
        return Layer(second, first, b, 1, False)
    if b.shape in ((n,), (1, n)) and m > 1 and first not in memory:
        if second in memory:
            return Layer(first, second, b, 0, False)
        if is_op(graph, second, "matrix_transpose") and (w := inputs_of(graph, second)[0]) in memory:
            return Layer(first, w, b, 0, True)
    return None


def _gradients(program: Program, layers: dict[Value, Layer]) -> dict[Value, tuple[Value, Layer, bool, Value]]:
    """Return the products of a cotangent and the data, and the sums of that cotangent, where there are both."""
    graph = program.graph
    products: dict[Value, list[tuple[Value, Value, bool]]] = {}
    sums: dict[Value, list[Value]] = {}
    for value in computed(graph):
        if is_op(graph, value, "matmul"):
            for g, x, left in _factors(program, value, layers):
                products.setdefault(g, []).append((value, x, left))
        elif is_op(graph, value, "sum"):
            sums.setdefault(inputs_of(graph, value)[0], []).append(value)
    found: dict[Value, tuple[Value, Layer, bool, Value]] = {}
    for g, several in products.items():
        for value, x, left in several[:1]:
            layer = layers[x]
            of_bias = [y for y in sums.get(g, []) if _sums_over(graph, y, layer.batch)]
            if of_bias:
                found.update((y, (g, layer, left, value)) for y in (value, *of_bias))
    return found


def _factors(program: Program, value: Value, layers: dict[Value, Layer]) -> list[tuple[Value, Value, bool]]:
    """Return cotangent and data of a product that is the gradient of weights, and whether the data are on the left."""
    graph = program.graph
    a, b = inputs_of(graph, value)
    if a._data.ndim != 2 or b._data.ndim != 2:
        return []
    a_t = inputs_of(graph, a)[0] if is_op(graph, a, "matrix_transpose") else None
    b_t = inputs_of(graph, b)[0] if is_op(graph, b, "matrix_transpose") else None
    found = []
    if b_t in layers and layers[b_t].batch == 1:  # g Xᵀ
        found.append((a, b_t, False))
    if b in layers and layers[b].batch == 0 and a_t is not None:  # gᵀ X
        found.append((a_t, b, False))
    if a_t in layers and layers[a_t].batch == 0:  # Xᵀ g
        found.append((b, a_t, True))
    return found


def _sums_over(graph: Any, value: Value, axis: int) -> bool:
    """Return whether a sum of a matrix is over that axis alone."""
    axes = graph.node(value).params["axis"]
    axes = axes if isinstance(axes, tuple | list) else (axes,)
    return len(axes) == 1 and axes[0] is not None and axes[0] % 2 == axis
