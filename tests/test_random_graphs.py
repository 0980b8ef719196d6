"""Random graphs: gradients against finite differences and against a second implementation, and what else must hold.

The second implementation, `Dual` below, is forward mode over NumPy: every step of a graph carries a value and its
derivative along one direction. It is independent of what it is compared with because it goes the other way (tangents
are pushed from inputs to outputs, where the package pulls cotangents from outputs to inputs, so nothing is transposed,
accumulated or summed back), has its own formula for every step, and uses nothing of the package. The same graphs are
compared with PyTorch in ``oracles/test_random_graphs_pytorch.py``.
"""

import gc
import weakref
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc import autograd
from tinygrad_bc.errors import GradientError
from tinygrad_bc.primitive import REGISTRY, EachInput

# Here (N,) meets (N, 1) on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:.*computed for every pair:tinygrad_bc.errors.GradientWarning")


def repeatable(examples):
    """The same graphs in every run, and nothing stored between runs."""
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    )


# --- graphs --------------------------------------------------------------------------------------


class Step(NamedTuple):
    """One operation on values made before, given by their numbers."""

    name: str
    of: tuple
    params: dict


class Graph(NamedTuple):
    """The arrays at the leaves, the steps, and the weight of each value in the number that is differentiated."""

    leaves: list
    steps: list
    weights: dict


def evaluated(graph, leaves, functions):
    """Every value of the graph, computed with the functions of one implementation."""
    values = list(leaves)
    for step in graph.steps:
        values.append(functions[step.name](*(values[i] for i in step.of), **step.params))
    return values


def loss_of(graph, values, total):
    """The weighted sum of some values; `total` sums all elements."""
    terms = [total(values[i] * weight) for i, weight in graph.weights.items()]
    result = terms[0]
    for term in terms[1:]:
        result = result + term
    return result


# --- the package ---------------------------------------------------------------------------------


def chunk_of(x, count, part, axis):
    return tg.chunk(x, count, axis)[part]


OURS = {
    "tanh": tg.tanh,
    "sin": tg.sin,
    "sigmoid": tg.sigmoid,
    "atan": tg.atan,
    "log of square": lambda x: tg.log(x * x + 1.0),
    "root of square": lambda x: (x**2 + 1) ** 0.5,
    "softplus": tg.softplus,
    "relu": tg.relu,
    "abs": abs,
    "number": lambda x, number: number * x + number,
    "constant": lambda x, array: x * array,
    "constant first": lambda x, array: array - x,
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (b * b + 1.0),
    "maximum": tg.maximum,
    "logaddexp": tg.logaddexp,
    "where": lambda a, b, mask: tg.where(mask, a, b),
    "matmul": lambda a, b: a @ b,
    "gram": lambda x: x @ x.T,
    "einsum": lambda a, b: tg.einsum("ij,kj->ki", a, b),
    "sum": lambda x, axis, keepdims: x.sum(axis, keepdims),
    "mean": lambda x, axis, keepdims: x.mean(axis, keepdims),
    "max": lambda x, axis, keepdims: tg.amax(x, axis, keepdims),
    "logsumexp": lambda x, axis, keepdims: tg.logsumexp(x, axis, keepdims),
    "var": lambda x, axis, keepdims: tg.var(x, axis, correction=0, keepdims=keepdims),
    "prod": lambda x, axis: tg.prod(x, axis),
    "softmax": lambda x, axis: tg.softmax(x, axis),
    "cumsum": lambda x, axis: tg.cumsum(x, axis),
    "reshape": lambda x, shape: x.reshape(shape),
    "permute": lambda x, axes: x.permute(axes),
    "flip": lambda x, axis: tg.flip(x, [axis]),
    "roll": lambda x, shift, axis: tg.roll(x, shift, axis),
    "broadcast": lambda x, shape: x.broadcast_to(shape),
    "unsqueeze": lambda x, axis: tg.unsqueeze(x, axis),
    "getitem": lambda x, key: x[key],
    "take along axis": lambda x, index, axis: tg.take_along_axis(x, index, axis),
    "scatter": lambda x, index, length: tg.scatter_add(np.zeros((length, *x.shape[1:]), x.dtype), 0, index, x),
    "concatenate": lambda *xs, axis: tg.concatenate(list(xs), axis),
    "stack": lambda *xs, axis: tg.stack(list(xs), axis),
    "chunk": chunk_of,
    "tile": lambda x, repeats: tg.tile(x, repeats),
    "tril": lambda x: tg.tril(x),
}


def our_gradients(graph, **options):
    leaves = [tg.tensor(x, requires_grad=True) for x in graph.leaves]
    loss = loss_of(graph, evaluated(graph, leaves, OURS), lambda x: x.sum())
    gradients = tg.grad(loss, leaves, allow_unused=True, **options)
    return [np.zeros(x.shape) if g is None else g.data for x, g in zip(leaves, gradients)]


# --- the second implementation: forward mode -----------------------------------------------------


class Dual:
    """A value and its derivative along one direction: ``x + ε·x'`` with ``ε² = 0``."""

    __array_priority__ = 1000

    def __init__(self, value, tangent):
        self.value = np.asarray(value)
        self.tangent = np.broadcast_to(tangent, self.value.shape)

    def __add__(self, other):
        a, b = both(self, other)
        return Dual(a.value + b.value, a.tangent + b.tangent)

    def __mul__(self, other):
        a, b = both(self, other)
        return Dual(a.value * b.value, a.tangent * b.value + a.value * b.tangent)

    __radd__, __rmul__ = __add__, __mul__


def both(*xs):
    return [x if isinstance(x, Dual) else Dual(x, 0.0) for x in xs]


kinks = []  # how far the arguments are from where a function has no derivative


def note(distances):
    if np.size(distances):
        kinks.append(np.abs(distances).min())


def linear(function):
    """A linear function has the same effect on a tangent."""
    return lambda x, **params: Dual(function(x.value, **params), function(x.tangent, **params))


def smooth(function, derivative):
    return lambda x: Dual(function(x.value), derivative(x.value) * x.tangent)


def bilinear(product):
    return lambda a, b: Dual(product(a.value, b.value), product(a.tangent, b.value) + product(a.value, b.tangent))


def quotient(a, b):
    below = b.value**2 + 1
    return Dual(a.value / below, a.tangent / below - a.value * 2 * b.value * b.tangent / below**2)


def larger(a, b):
    difference = a.value - b.value
    note(difference)
    return Dual(np.maximum(a.value, b.value), np.where(difference > 0, a.tangent + 0 * difference, b.tangent))


def absolute(x):
    note(x.value)
    return Dual(np.abs(x.value), np.sign(x.value) * x.tangent)


def rectified(x):
    note(x.value)
    return Dual(np.maximum(x.value, 0), (x.value > 0) * x.tangent)


def log_of_sum(a, b):
    share = 1 / (1 + np.exp(b.value - a.value))
    return Dual(np.logaddexp(a.value, b.value), share * a.tangent + (1 - share) * b.tangent)


def largest(x, axis, keepdims):
    """The tangent of the largest element; the second largest says how far the kink is, and a tie is one."""
    kept = x.value.max(axis, keepdims=True)
    chosen = x.value == kept
    note((kept - x.value)[~chosen])
    if (chosen.sum(axis) != 1).any():
        kinks.append(0.0)
    return Dual(x.value.max(axis, keepdims=keepdims), (x.tangent * chosen).sum(axis, keepdims=keepdims))


def softmax_of(value, axis):
    e = np.exp(value - value.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_sum_exp(x, axis, keepdims):
    p = softmax_of(x.value, axis)
    value = np.log(np.exp(x.value).sum(axis, keepdims=keepdims))
    return Dual(value, (p * x.tangent).sum(axis, keepdims=keepdims))


def soft_max(x, axis):
    p = softmax_of(x.value, axis)
    return Dual(p, p * (x.tangent - (p * x.tangent).sum(axis, keepdims=True)))


def variance(x, axis, keepdims):
    deviation = x.value - x.value.mean(axis, keepdims=True)
    return Dual((deviation**2).mean(axis, keepdims=keepdims), (2 * deviation * x.tangent).mean(axis, keepdims=keepdims))


def product(x, axis):
    """By the product rule, one factor at a time."""
    result = Dual(np.ones(np.delete(x.value.shape, axis)), 0.0)
    for k in range(x.value.shape[axis]):
        result = result * Dual(x.value.take(k, axis), x.tangent.take(k, axis))
    return result


def scattered(x, index, length):
    """Added up one element at a time."""
    result = np.zeros((length, *x.shape[1:]), x.dtype)
    for place in np.ndindex(x.shape):
        result[(index[place], *place[1:])] += x[place]
    return result


def several(function):
    return lambda *xs, axis: Dual(function([x.value for x in xs], axis), function([x.tangent for x in xs], axis))


FORWARD = {
    "tanh": smooth(np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "sin": smooth(np.sin, np.cos),
    "sigmoid": smooth(lambda x: 1 / (1 + np.exp(-x)), lambda x: 1 / (4 * np.cosh(x / 2) ** 2)),
    "atan": smooth(np.arctan, lambda x: 1 / (1 + x**2)),
    "log of square": smooth(lambda x: np.log(x**2 + 1), lambda x: 2 * x / (x**2 + 1)),
    "root of square": smooth(lambda x: np.hypot(x, 1), lambda x: x / np.hypot(x, 1)),
    "softplus": smooth(lambda x: np.log(1 + np.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
    "relu": rectified,
    "abs": absolute,
    "number": lambda x, number: Dual(number * x.value + number, number * x.tangent),
    "constant": lambda x, array: Dual(x.value * array, x.tangent * array),
    "constant first": lambda x, array: Dual(array - x.value, -x.tangent + 0 * array),
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a + b * -1.0,
    "multiply": lambda a, b: a * b,
    "divide": quotient,
    "maximum": larger,
    "logaddexp": log_of_sum,
    "where": lambda a, b, mask: Dual(np.where(mask, a.value, b.value), np.where(mask, a.tangent, b.tangent)),
    "matmul": bilinear(np.matmul),
    "gram": lambda x: bilinear(lambda a, b: a @ b.T)(x, x),
    "einsum": bilinear(lambda a, b: (a[None, :, :] * b[:, None, :]).sum(2)),
    "sum": linear(lambda x, axis, keepdims: x.sum(axis, keepdims=keepdims)),
    "mean": linear(lambda x, axis, keepdims: x.mean(axis, keepdims=keepdims)),
    "max": largest,
    "logsumexp": log_sum_exp,
    "var": variance,
    "prod": product,
    "softmax": soft_max,
    "cumsum": linear(lambda x, axis: np.cumsum(x, axis)),
    "reshape": linear(lambda x, shape: x.reshape(shape)),
    "permute": linear(lambda x, axes: np.transpose(x, axes)),
    "flip": linear(lambda x, axis: np.flip(x, axis)),
    "roll": linear(lambda x, shift, axis: np.roll(x, shift, axis)),
    "broadcast": linear(lambda x, shape: np.broadcast_to(x, shape)),
    "unsqueeze": linear(lambda x, axis: np.expand_dims(x, axis)),
    "getitem": linear(lambda x, key: x[key]),
    "take along axis": linear(lambda x, index, axis: np.take_along_axis(x, index, axis)),
    "scatter": linear(scattered),
    "concatenate": several(np.concatenate),
    "stack": several(np.stack),
    "chunk": linear(lambda x, count, part, axis: np.array_split(x, count, axis)[part]),
    "tile": linear(lambda x, repeats: np.tile(x, repeats)),
    "tril": linear(lambda x: np.tril(x)),
}


def forward_mode(graph, leaves, directions):
    """The loss and its derivative along one direction, without the package."""
    values = evaluated(graph, [Dual(x, v) for x, v in zip(leaves, directions)], FORWARD)
    loss = loss_of(graph, values, lambda x: Dual(x.value.sum(), x.tangent.sum()))
    return float(loss.value), float(loss.tangent)


def units(leaves):
    """For each leaf, the directions in which one of its elements moves alone."""
    for i, x in enumerate(leaves):
        for index in np.ndindex(x.shape):
            directions = [np.zeros(other.shape) for other in leaves]
            directions[i][index] = 1.0
            yield i, index, directions


def forward_gradients(graph, leaves=None):
    leaves = graph.leaves if leaves is None else leaves
    gradients = [np.zeros(x.shape) for x in leaves]
    for i, index, directions in units(leaves):
        gradients[i][index] = forward_mode(graph, leaves, directions)[1]
    return gradients


# --- drawing graphs ------------------------------------------------------------------------------

SHAPES = [(3,), (2, 3), (), (3, 1), (1, 3), (2, 1, 3), (3, 3), (1,), (0,), (0, 3), (2, 0)]
MOST_ELEMENTS = 40


def axis_of(draw, x):
    return draw(st.integers(-x.ndim, x.ndim - 1))


def axes_of(draw, x):
    """No axis, one or two; for a reduction."""
    if not x.ndim:
        return None
    options = [st.none(), st.integers(-x.ndim, x.ndim - 1)]
    if x.ndim > 1:
        options.append(st.permutations(range(x.ndim)).map(lambda order: tuple(order[:2])))
    return draw(st.one_of(options))


def reduction(draw, x):
    return {"axis": axes_of(draw, x), "keepdims": draw(st.booleans())}


def key_of(draw, x):
    """A basic index, a mask, or integers with repeats; None and Ellipsis among them."""
    if not x.ndim:
        return draw(st.sampled_from([(), None, ...]))
    n = len(x)
    keys = [
        slice(None, None, -1),
        slice(1, None, 2),
        slice(0, 0),
        (..., slice(0, 2)),
        (None, slice(None, -1)),
        np.arange(n) % 2 == 0,
    ]
    if n:
        keys += [-1, np.array([0, n - 1, 0, 0]), [n - 1, n - 1], (np.array([[0], [n - 1]]), ...)]
    if n and x.ndim > 1 and x.shape[1]:
        keys += [(np.array([0, 0, n - 1]), np.array([0, 0, -1])), (slice(None), np.array([0, 0])), (0, -1)]
    return keys[draw(st.integers(0, len(keys) - 1))]


def broadcastable(a, b):
    try:
        return np.prod(np.broadcast_shapes(a.shape, b.shape), dtype=int) <= MOST_ELEMENTS
    except ValueError:
        return False


def nonempty(x):
    return x.size > 0


def with_axis(x):
    return x.ndim > 0 and x.size > 0


def always(x):
    return True


SMOOTH = ["tanh", "sin", "sigmoid", "atan", "log of square", "root of square", "softplus"]
BINARY = ["add", "subtract", "multiply", "divide", "maximum", "logaddexp"]

# What a step of one value needs of it, and how its parameters are drawn.
OF_ONE = {
    **dict.fromkeys([*SMOOTH, "relu", "abs"], (always, lambda draw, rng, x: {})),
    "number": (always, lambda draw, rng, x: {"number": draw(st.sampled_from([2, -0.5, 3, 0.25]))}),
    "constant": (always, lambda draw, rng, x: {"array": constant(draw, rng, x)}),
    "constant first": (always, lambda draw, rng, x: {"array": constant(draw, rng, x)}),
    "gram": (lambda x: x.ndim == 2, lambda draw, rng, x: {}),
    "sum": (always, lambda draw, rng, x: reduction(draw, x)),
    "mean": (nonempty, lambda draw, rng, x: reduction(draw, x)),
    "max": (nonempty, lambda draw, rng, x: reduction(draw, x)),
    "logsumexp": (nonempty, lambda draw, rng, x: reduction(draw, x)),
    "var": (nonempty, lambda draw, rng, x: reduction(draw, x)),
    "prod": (lambda x: x.ndim > 0, lambda draw, rng, x: {"axis": axis_of(draw, x)}),
    "softmax": (with_axis, lambda draw, rng, x: {"axis": axis_of(draw, x)}),
    "cumsum": (lambda x: x.ndim > 0, lambda draw, rng, x: {"axis": axis_of(draw, x)}),
    "reshape": (
        always,
        lambda draw, rng, x: {"shape": draw(st.sampled_from([(x.size,), x.shape[::-1], (1, *x.shape)]))},
    ),
    "permute": (lambda x: x.ndim > 1, lambda draw, rng, x: {"axes": tuple(draw(st.permutations(range(x.ndim))))}),
    "flip": (lambda x: x.ndim > 0, lambda draw, rng, x: {"axis": axis_of(draw, x)}),
    "roll": (
        lambda x: x.ndim > 0,
        lambda draw, rng, x: {"shift": draw(st.integers(-2, 2)), "axis": axis_of(draw, x)},
    ),
    "broadcast": (lambda x: x.size <= 12, lambda draw, rng, x: {"shape": (draw(st.integers(0, 3)), *x.shape)}),
    "unsqueeze": (lambda x: x.ndim < 3, lambda draw, rng, x: {"axis": draw(st.integers(-x.ndim - 1, x.ndim))}),
    "getitem": (always, lambda draw, rng, x: {"key": key_of(draw, x)}),
    "take along axis": (
        with_axis,
        lambda draw, rng, x: {"index": rng.integers(x.shape[0], size=(4, *x.shape[1:])), "axis": 0},
    ),
    "scatter": (lambda x: x.ndim > 0, lambda draw, rng, x: {"index": rng.integers(3, size=x.shape), "length": 3}),
    "chunk": (
        lambda x: x.ndim > 0 and x.shape[0] >= 2 and x.shape[0] % 2 == 0,
        lambda draw, rng, x: {"count": 2, "part": draw(st.integers(0, 1)), "axis": 0},
    ),
    "tile": (lambda x: x.size <= 12, lambda draw, rng, x: {"repeats": draw(st.sampled_from([(2,), (2, 1), (1, 2)]))}),
    "tril": (lambda x: x.ndim > 1, lambda draw, rng, x: {}),
}

# What a step of two values needs of them.
OF_TWO = {
    **dict.fromkeys([*BINARY, "where"], broadcastable),
    "matmul": lambda a, b: (
        a.ndim > 0 < b.ndim and a.shape[-1] == b.shape[-2 if b.ndim > 1 else 0] and a.ndim + b.ndim < 5
    ),
    "einsum": lambda a, b: a.ndim == b.ndim == 2 and a.shape[1] == b.shape[1],
    "concatenate": lambda a, b: a.ndim == b.ndim > 0 and a.shape[1:] == b.shape[1:],
    "stack": lambda a, b: a.shape == b.shape,
}


def constant(draw, rng, x):
    """An array of another element type, of the same shape or one that broadcasts to it."""
    shape = x.shape[1:] if x.ndim and draw(st.booleans()) else x.shape
    kind = draw(st.sampled_from(["int", "bool", "float"]))
    if kind == "float":
        return rng.normal(size=shape)
    return rng.integers(1, 4, size=shape) if kind == "int" else rng.random(shape) < 0.5


def drawn_step(draw, rng, values):
    """A step that is possible with these values; values made later are preferred when an example is shrunk."""
    name = draw(st.sampled_from(sorted([*OF_ONE, *OF_TWO])))
    places = range(len(values) - 1, -1, -1)
    if name in OF_ONE:
        needs, params = OF_ONE[name]
        possible = [i for i in places if needs(values[i])]
        if not possible:
            return None
        i = draw(st.sampled_from(possible))
        return Step(name, (i,), params(draw, rng, values[i]))
    pairs = [(i, j) for i in places for j in places if OF_TWO[name](values[i], values[j])]
    if not pairs:
        return None
    i, j = draw(st.sampled_from(pairs))
    params = {}
    if name == "where":
        params = {"mask": rng.random(np.broadcast_shapes(values[i].shape, values[j].shape)) < 0.5}
    elif name in ("concatenate", "stack"):
        params = {"axis": 0}
        if draw(st.booleans()):
            return Step(name, (i, j, i), params)
    return Step(name, (i, j), params)


@st.composite
def graphs(draw, most_steps=9):
    """A random graph, far enough from kinks that finite differences mean something."""
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    shapes = draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
    leaves = [np.asarray(rng.normal(size=shape)) for shape in shapes]
    values = list(leaves)
    steps = []
    kinks.clear()
    for _ in range(draw(st.integers(2, most_steps))):
        step = drawn_step(draw, rng, values)
        if step is None:
            continue
        add_step(steps, values, step)
        if np.abs(values[-1]).max(initial=0) > 4:
            add_step(steps, values, Step("tanh", (len(values) - 1,), {}))  # so that nothing explodes
    assume(steps)
    assume(all(distance > 1e-3 for distance in kinks))
    assume(all(x.size <= MOST_ELEMENTS for x in values))
    last = len(values) - 1
    weights = {
        i: rng.uniform(0.5, 1.5, size=values[i].shape) for i in {last, len(values) // 2, len(leaves)} if i <= last
    }
    return Graph(leaves, steps, weights)


def add_step(steps, values, step):
    steps.append(step)
    duals = [Dual(values[i], 0.0) for i in step.of]
    values.append(FORWARD[step.name](*duals, **step.params).value)


def fixed(leaves, *steps):
    """A graph written down; the weighted sum is of the last value."""
    rng = np.random.default_rng(0)
    leaves = [np.asarray(rng.normal(size=shape)) for shape in leaves]
    values, done = list(leaves), []
    for name, of, *params in steps:
        add_step(done, values, Step(name, of, dict(*params)))
    return Graph(leaves, done, {len(values) - 1: rng.uniform(0.5, 1.5, size=values[-1].shape)})


# Traps, each of which has caught some implementation.
TRAPS = {
    "diamond that shares an interior node": fixed([(3,)], ("multiply", (0, 0)), ("add", (1, 1)), ("multiply", (2, 1))),
    "same tensor three times in one operation": fixed(
        [(2, 3)], ("concatenate", (0, 0, 0), {"axis": 1}), ("tanh", (1,))
    ),
    "matrix times itself transposed": fixed([(2, 3)], ("gram", (0,)), ("tanh", (1,))),
    "one cotangent handed to both inputs": fixed([(3,), (3,)], ("add", (0, 1)), ("add", (2, 0)), ("add", (3, 1))),
    "broadcasting on both sides": fixed([(3, 1), (1, 2)], ("multiply", (0, 1)), ("divide", (2, 0))),
    "broadcast cotangent, then accumulated": fixed(
        [(3,)], ("sum", (0,), {"axis": None, "keepdims": False}), ("multiply", (1, 0)), ("add", (2, 1))
    ),
    "repeated indices": fixed([(3, 2)], ("getitem", (0,), {"key": np.array([0, 2, 0, 0])}), ("multiply", (1, 1))),
    "a view of a view of a view": fixed(
        [(3, 4)],
        ("getitem", (0,), {"key": (slice(None, None, -2), slice(1, None))}),
        ("permute", (1,), {"axes": (1, 0)}),
        ("getitem", (2,), {"key": (..., 0)}),
        ("multiply", (3, 3)),
    ),
    "split and joined in another order": fixed(
        [(4, 2)],
        ("chunk", (0,), {"count": 2, "part": 0, "axis": 0}),
        ("chunk", (0,), {"count": 2, "part": 1, "axis": 0}),
        ("concatenate", (2, 1, 2), {"axis": 0}),
        ("sin", (3,)),
    ),
    "numbers without axes": fixed([(), ()], ("multiply", (0, 1)), ("sin", (2,)), ("stack", (3, 2), {"axis": 0})),
    "nothing at all among something": fixed(
        [(0, 3), (2, 3)],
        ("concatenate", (0, 1), {"axis": 0}),
        ("sum", (2,), {"axis": 0, "keepdims": False}),
        ("sin", (3,)),
    ),
    "a sum of nothing": fixed([(0, 3)], ("sum", (0,), {"axis": None, "keepdims": True}), ("sin", (1,))),
    "product with a zero": fixed(
        [(3,)], ("constant", (0,), {"array": np.array([1, 0, 2])}), ("prod", (1,), {"axis": 0})
    ),
    "a difference": fixed([(3,), (2, 1)], ("subtract", (0, 1)), ("sin", (2,))),
    "integers and booleans": fixed(
        [(2, 3)],
        ("constant", (0,), {"array": np.array([1, 2, 3])}),
        ("constant", (1,), {"array": np.array([True, False, True])}),
        ("constant first", (2,), {"array": np.arange(6).reshape(2, 3)}),
        ("multiply", (3, 0)),
    ),
    "scattered back to one place": fixed(
        [(4,)], ("scatter", (0,), {"index": np.array([1, 1, 1, 0]), "length": 3}), ("multiply", (1, 1))
    ),
}

on_traps = pytest.mark.parametrize("graph", TRAPS.values(), ids=TRAPS.keys())


# --- comparisons ---------------------------------------------------------------------------------


def scale_of(arrays):
    return max([1.0, *(np.abs(x).max(initial=0.0) for x in arrays)])


def assert_forward_mode_agrees(graph):
    ours, other = our_gradients(graph), forward_gradients(graph)
    for a, b in zip(ours, other):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12 * scale_of(other))


def assert_finite_differences_agree(graph):
    ours = our_gradients(graph)
    h = 1e-3
    for i, index, directions in units(graph.leaves):

        def loss(step, directions=directions):
            moved = [x + step * v for x, v in zip(graph.leaves, directions)]
            values = evaluated(graph, [tg.tensor(x) for x in moved], OURS)
            return loss_of(graph, values, lambda x: x.sum()).item()

        # Five points: the error is of the order h⁴.
        slope = (8 * (loss(h / 4) - loss(-h / 4)) - (loss(h / 2) - loss(-h / 2))) / (3 * h)
        assert ours[i][index] == pytest.approx(slope, rel=1e-7, abs=1e-8 * scale_of(ours))


def assert_second_order_agrees(graph):
    """The Hessian is symmetric, and its product with a direction is the change of the forward-mode gradient."""

    def loss(*leaves):
        return loss_of(graph, evaluated(graph, leaves, OURS), lambda x: x.sum())

    leaves = tuple(graph.leaves)
    H = tg.hessian(loss, leaves)
    sizes = [x.size for x in leaves]
    matrix = np.block(
        [[H[i][j].data.reshape(sizes[i], sizes[j]) for j in range(len(leaves))] for i in range(len(leaves))]
    )
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-9, atol=1e-11 * scale_of([matrix]))
    rng = np.random.default_rng(1)
    v = [rng.normal(size=x.shape) for x in leaves]
    h = 1e-4
    above, below = (forward_gradients(graph, [x + step * d for x, d in zip(leaves, v)]) for step in (h, -h))
    expected = np.concatenate([np.ravel((a - b) / (2 * h)) for a, b in zip(above, below)])
    product = matrix @ np.concatenate([np.ravel(d) for d in v])
    np.testing.assert_allclose(product, expected, rtol=1e-5, atol=1e-6 * scale_of([matrix]))


def assert_nothing_is_shared_or_changed(graph):
    leaves = [tg.tensor(x, requires_grad=True) for x in graph.leaves]
    values = evaluated(graph, leaves, OURS)
    kept = [np.array(x.data) for x in values]
    loss = loss_of(graph, values, lambda x: x.sum())
    reached = [x for x, g in zip(leaves, tg.grad(loss, leaves, allow_unused=True)) if g is not None]
    loss.backward(inputs=reached)
    for x, before in zip(values, kept):
        np.testing.assert_array_equal(x.data, before)
    gradients = [x.grad.data for x in reached]
    assert gradients
    for i, g in enumerate(gradients):
        assert g.flags.writeable
        for other in [*gradients[:i], *(x.data for x in values), *graph.weights.values()]:
            assert not np.shares_memory(g, other)


def assert_graph_dies(graph):
    """With the garbage collector off, nothing of the graph is alive once the last name for it is gone."""
    leaves = [tg.tensor(x, requires_grad=True) for x in graph.leaves]
    gc.disable()
    try:
        values = evaluated(graph, leaves, OURS)
        loss = loss_of(graph, values, lambda x: x.sum())
        gradients = tg.grad(loss, leaves, allow_unused=True, create_graph=True)
        alive = [weakref.ref(x) for x in [*values[len(leaves) :], loss, *gradients] if x is not None]
        assert alive
        assert all(ref() is not None for ref in alive)
        del values, loss, gradients
        assert all(ref() is None for ref in alive)
    finally:
        gc.enable()


def in_float32(graph):
    """The same graph in float32; constants are float32, booleans or Python numbers, which do not widen it."""

    def narrowed(x):
        return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype.kind in "fi" else x

    steps = [
        step._replace(params={name: narrowed(x) if name == "array" else x for name, x in step.params.items()})
        for step in graph.steps
    ]
    return Graph(
        [x.astype(np.float32) for x in graph.leaves], steps, {i: narrowed(w) for i, w in graph.weights.items()}
    )


def assert_float32_stays(graph):
    narrow = in_float32(graph)
    leaves = [tg.tensor(x, requires_grad=True) for x in narrow.leaves]
    values = evaluated(narrow, leaves, OURS)
    assert {x.dtype for x in values} == {np.dtype(np.float32)}
    loss = loss_of(narrow, values, lambda x: x.sum())
    expected = forward_gradients(graph)
    for g, e in zip(tg.grad(loss, leaves, allow_unused=True), expected):
        if g is not None:
            assert g.dtype == np.float32
            np.testing.assert_allclose(g.data, e, rtol=2e-3, atol=2e-4 * scale_of(expected))


def assert_mixed_precision_agrees(graph):
    """Some leaves are float32: each gradient has the element type of its leaf, and is right to that precision."""
    leaves = [
        tg.tensor(x.astype(np.float32 if i % 2 == 0 else np.float64), requires_grad=True)
        for i, x in enumerate(graph.leaves)
    ]
    loss = loss_of(graph, evaluated(graph, leaves, OURS), lambda x: x.sum())
    expected = forward_gradients(graph)
    for x, g, e in zip(leaves, tg.grad(loss, leaves, allow_unused=True), expected):
        if g is not None:
            assert g.dtype == x.dtype
            np.testing.assert_allclose(g.data, e, rtol=2e-3, atol=2e-4 * scale_of(expected))


COMPARISONS = [
    assert_forward_mode_agrees,
    assert_finite_differences_agree,
    assert_second_order_agrees,
    assert_nothing_is_shared_or_changed,
    assert_graph_dies,
    assert_float32_stays,
    assert_mixed_precision_agrees,
]


@on_traps
@pytest.mark.parametrize("comparison", COMPARISONS)
def test_traps(comparison, graph):
    comparison(graph)


@repeatable(600)
@given(graphs())
def test_gradients_agree_with_forward_mode(graph):
    assert_forward_mode_agrees(graph)


@repeatable(250)
@given(graphs())
def test_gradients_agree_with_finite_differences(graph):
    assert_finite_differences_agree(graph)


@repeatable(250)
@given(graphs(most_steps=6))
def test_second_order_is_symmetric_and_agrees_with_forward_mode(graph):
    assert_second_order_agrees(graph)


@repeatable(300)
@given(graphs())
def test_nothing_is_shared_changed_or_kept_alive(graph):
    assert_nothing_is_shared_or_changed(graph)
    assert_graph_dies(graph)


@repeatable(300)
@given(graphs())
def test_precision(graph):
    assert_float32_stays(graph)
    assert_mixed_precision_agrees(graph)


def test_drawn_graphs_contain_what_they_are_drawn_for():
    """Diamonds, reuse, broadcasting, repeats, empty arrays and all steps do come up."""
    seen = set()

    @repeatable(400)
    @given(graphs())
    def look(graph):
        values = evaluated(graph, [tg.tensor(x) for x in graph.leaves], OURS)
        uses = [i for step in graph.steps for i in set(step.of)]
        seen.update(step.name for step in graph.steps)
        seen.update("an interior value used twice" for i in uses if i >= len(graph.leaves) and uses.count(i) > 1)
        seen.update("one value twice in an operation" for step in graph.steps if len(set(step.of)) < len(step.of))
        seen.update("a number without axes" for x in values if x.shape == ())
        seen.update("an empty array" for x in values if 0 in x.shape)
        shapes = [{values[i].shape for i in step.of} for step in graph.steps if step.name in BINARY]
        seen.update("broadcasting" for s in shapes if len(s) > 1)
        constants = [step.params["array"].dtype.kind for step in graph.steps if "array" in step.params]
        seen.update(f"a constant of kind {kind}" for kind in constants)

    look()
    wanted = {
        *OURS,
        "an interior value used twice",
        "one value twice in an operation",
        "a number without axes",
        "an empty array",
        "broadcasting",
        *(f"a constant of kind {kind}" for kind in "fib"),
    }
    assert wanted <= seen, wanted - seen


# --- each comparison can fail --------------------------------------------------------------------


@contextmanager
def wrong_rule(name, position, rule):
    op = REGISTRY[name]
    right = op.vjps
    op.vjps = EachInput(rule) if position is None else (*right[:position], rule, *right[position + 1 :])
    try:
        yield
    finally:
        op.vjps = right


def _only_the_last_repeat(g, y, x, *indices, key):
    result = np.zeros(x.shape)
    result[key if not indices else indices[0]] = g
    return result


WRONG = {
    "operands swapped": ("multiply", 1, lambda g, y, a, b: g * b, "broadcasting on both sides"),
    "repeats not accumulated": ("getitem", 0, _only_the_last_repeat, "repeated indices"),
    "sign": ("subtract", 1, lambda g, y, a, b: g, "a difference"),
    "joined parts mixed up": (
        "concatenate",
        None,
        lambda i, g, y, *xs, axis: g[len(xs[0]) :][: len(xs[i])],
        "split and joined in another order",
    ),
    "the sum's cotangent divided by n": (
        "sum",
        0,
        lambda g, y, x, axis, keepdims, dtype: tg.broadcast_to(g, x.shape) / x.size,
        "broadcast cotangent, then accumulated",
    ),
}


@pytest.mark.parametrize("comparison", [assert_forward_mode_agrees, assert_finite_differences_agree])
@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_rule_is_noticed(comparison, mistake):
    name, position, rule, trap = WRONG[mistake]
    graph = TRAPS[trap]
    comparison(graph)
    with wrong_rule(name, position, rule), pytest.raises(AssertionError):
        comparison(graph)


def test_a_wrong_rule_is_noticed_on_drawn_graphs():
    @repeatable(200)
    @given(graphs())
    def compare(graph):
        assert_forward_mode_agrees(graph)

    with wrong_rule("tanh", 0, lambda g, y, x: g * (1 - y)), pytest.raises(AssertionError):
        compare()


def test_a_rule_that_is_wrong_in_second_order_is_noticed():
    graph = fixed([(3,)], ("tanh", (0,)))

    def frozen(g, y, x):
        y = y.detach() if isinstance(y, tg.Tensor) else y
        return g * (1 - y * y)

    assert_second_order_agrees(graph)
    with wrong_rule("tanh", 0, frozen):
        assert_forward_mode_agrees(graph)
        with pytest.raises(AssertionError):
            assert_second_order_agrees(graph)


def test_shared_gradients_are_noticed(monkeypatch):
    graph = fixed([(3,), (3,)], ("add", (0, 1)))
    graph = graph._replace(weights={2: np.ones(3)})
    monkeypatch.setattr(autograd, "_owned", lambda results, seeds: results)
    with pytest.raises(AssertionError):
        assert_nothing_is_shared_or_changed(graph)


def test_changed_values_are_noticed():
    def in_place(g, y, x):
        y *= 0.5
        return g * y

    # The backward pass itself refuses values that somebody has looked at and that have changed since.
    with wrong_rule("tanh", 0, in_place), pytest.raises((AssertionError, GradientError)):
        assert_nothing_is_shared_or_changed(fixed([(3,)], ("tanh", (0,))))


def test_a_graph_that_is_kept_alive_is_noticed(monkeypatch):
    kept = []
    original = autograd._pull_back

    def leaking(seeds, *args, **kwargs):
        kept.append(seeds)
        return original(seeds, *args, **kwargs)

    monkeypatch.setattr(autograd, "_pull_back", leaking)
    with pytest.raises(AssertionError):
        assert_graph_dies(fixed([(3,)], ("tanh", (0,)), ("sin", (1,))))


def test_widening_is_noticed(monkeypatch):
    graph = fixed([(3,)], ("tanh", (0,)))
    assert_float32_stays(graph)
    monkeypatch.setattr(REGISTRY["tanh"], "compute", lambda x: np.tanh(x).astype(np.float64))
    with pytest.raises(AssertionError):
        assert_float32_stays(graph)


def test_a_gradient_that_is_wrong_in_mixed_precision_is_noticed():
    graph = fixed([(3,), (3,)], ("multiply", (0, 1)))
    assert_mixed_precision_agrees(graph)
    with wrong_rule("multiply", 0, lambda g, y, a, b: g * 1.01 * b), pytest.raises(AssertionError):
        assert_mixed_precision_agrees(graph)
