"""The chain rule, applied to a record from its end to its beginning."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import ContextDecorator
from contextvars import ContextVar, Token
from heapq import heapify, heappop, heappush
from typing import Any, TypeVar

import numpy as np

from tinygrad_bc import anomaly, record
from tinygrad_bc.diagnosis import (
    changed_since,
    describe,
    gone_through_before,
    no_array,
    position_of,
    unused,
    user_line,
    warn_of_pairs,
)
from tinygrad_bc.errors import GradientError, ShapeError
from tinygrad_bc.ops import astype, sum_to
from tinygrad_bc.primitive import CAPTURE, CAPTURE_PLAIN, GRADIENTS, OFF, Mode, constant, mode
from tinygrad_bc.record import Array, Node, Value, as_array, as_values, clock, recorded_order, tracer

__all__ = [
    "backward",
    "computed_from",
    "enable_grad",
    "grad",
    "is_grad_enabled",
    "no_grad",
    "record_everything",
    "starting_cotangent",
]


_Function = TypeVar("_Function", bound=Callable[..., Any])


class _SwitchMode(ContextDecorator):
    def __init__(self, new: Mode) -> None:
        self._new = new

    def _recreate_cm(self) -> _SwitchMode:
        return type(self)(self._new)  # as a decorator: a fresh one for every call, also for recursive ones

    def __call__(self, function: _Function) -> _Function:
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise TypeError(
                f"{function.__name__} does its work after it has returned, when a decorator's block has ended: "
                "use `with` inside it"
            )
        return super().__call__(function)

    def __enter__(self) -> None:
        new = self._new
        if tracer.get() is not None:  # whatever a captured function does is recorded
            new = CAPTURE_PLAIN if new is OFF or new is CAPTURE_PLAIN else CAPTURE
        self._token: Token[Mode] = mode.set(new)

    def __exit__(self, *exception: object) -> None:
        mode.reset(self._token)


def no_grad(function: Any = None) -> Any:
    """Record nothing inside a ``with`` block or, as a decorator ``@no_grad()`` or ``@no_grad``, inside a function.

    Results computed there do not require a gradient. It holds for the current thread or async task
    alone and ends with the block, also when that ends with an error.

    Examples
    --------
    A step of gradient descent on a parameter, in place:

    >>> W = tensor([1.0, 2.0], requires_grad=True)
    >>> (dLoss_W,) = grad((W * W).sum(), [W])
    >>> with no_grad():
    ...     W -= 0.1 * dLoss_W
    """
    return _SwitchMode(OFF) if function is None else _SwitchMode(OFF)(function)


def enable_grad(function: Any = None) -> Any:
    """Record again, inside a block or a function that is itself inside ``no_grad()``. Used like `no_grad`."""
    return _SwitchMode(GRADIENTS) if function is None else _SwitchMode(GRADIENTS)(function)


def record_everything() -> _SwitchMode:
    """Record every operation on a tensor inside the block, constants too: for those who read the record."""
    return _SwitchMode(CAPTURE)


def is_grad_enabled() -> bool:
    """Return whether operations on tensors that require a gradient are being recorded."""
    return mode.get() in (GRADIENTS, CAPTURE)


def backward(
    output: Value,
    gradient: Any = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Value | Sequence[Value] | None = None,
) -> None:
    """Compute the gradient of `output` and add it to ``.grad`` of the leaves it was computed from.

    Tensors asked to with ``retain_grad()`` get theirs too. `Tensor.backward` describes the parameters.
    """
    tracing = tracer.get()
    symbolic = create_graph or tracing is not None
    wanted = None if inputs is None else dict.fromkeys(as_values(inputs, "backward: inputs"))
    if tracing is not None:
        output, wanted = tracing.now(output), wanted and dict.fromkeys(map(tracing.now, wanted))
    seeds = {output: starting_cotangent(output, gradient, symbolic=symbolic)}
    passed: list[Node] = []
    retained = create_graph if retain_graph is None else retain_graph
    results = _backward_pass(seeds, wanted, create_graph, passed, release=not retained)
    for i, value in enumerate(wanted or ()):
        if value not in results:
            raise GradientError(f"backward: {unused(value, i)}")
    if tracing is not None:
        results = tracing.owners_of(results)
    # New arrays and not `+=`: whoever kept a previous gradient keeps what was computed then. All sums before any
    # of them is stored: an error leaves every gradient as it was.
    sums = [g if value._grad is None else _previous(value, symbolic) + g for value, g in results.items()]
    for value, total in zip(results, sums):
        value._grad = total if symbolic else constant(total)
    now = clock()
    if wanted is None:
        _last_pass.set((now, frozenset(map(id, results)), output.name or "the output"))
    if not retained:
        for node in passed:
            node.spent = True


# When the last backward pass was, which leaves it reached, and where it began.
_last_pass: ContextVar[tuple[int, frozenset[int], str]] = ContextVar(
    "tinygrad_bc.last_pass", default=(0, frozenset(), "")
)


def missed_by(leaf: Value) -> str:
    """Return from where the last ``backward()`` came if it did not reach `leaf`, which was there already; or ''."""
    tick, reached, output = _last_pass.get()
    return output if leaf._changed < tick and id(leaf) not in reached else ""


def _previous(value: Value, symbolic: bool) -> Any:
    """Return the gradient that a value has so far; it may have been put there by hand."""
    array = as_array(value._grad._data if isinstance(value._grad, Value) else value._grad)
    if array.shape != value.shape:
        raise ShapeError(
            f"the .grad that {value.name or 'a tensor'} of shape {value.shape} has so far is of shape {array.shape}; "
            "a new gradient cannot be added to it. Set it to None first"
        )
    return value._grad if symbolic else array


def grad(
    outputs: Value | Sequence[Value],
    inputs: Value | Sequence[Value],
    grad_outputs: Any = None,
    retain_graph: bool | None = None,  # noqa: ARG001
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """Return the gradients of the outputs' sum with respect to each input; nothing is stored in ``.grad``.

    So it can be called again and again, also after ``backward()``: nothing is used up.

    Parameters
    ----------
    outputs : Tensor or sequence of Tensor
        What to differentiate. More than one: the gradients are summed.
    inputs : Tensor or sequence of Tensor
        With respect to what: leaves, or values computed on the way.
    grad_outputs : array, Tensor, or sequence of them, optional
        The cotangent of each output, of its shape. May be left out for outputs of one element: then it is 1.
    retain_graph : bool, optional
        Understood for PyTorch's sake; the graph is always retained here.
    create_graph : bool
        Whether to record the backward pass itself, so that the result can be differentiated again, drawn
        or run again. If True, everything in it is recorded, constants included.
    allow_unused : bool
        Whether an input that no output depends on gets None in place of a gradient, and is no error.

    Returns
    -------
    tuple of Tensor
        One gradient per input, of its shape and dtype; a tuple also for a single input.

    Raises
    ------
    GradientError
        If an output or input does not require a gradient, or no output depends on an input.

    Examples
    --------
    >>> x = tensor(3.0, requires_grad=True)
    >>> (dy,) = grad(x**3, x, create_graph=True)
    >>> (d2y,) = grad(dy, x)
    >>> dy.item(), d2y.item()
    (27.0, 18.0)
    """
    outputs, inputs = as_values(outputs, "grad: outputs"), as_values(inputs, "grad: inputs")
    if grad_outputs is None or (len(outputs) == 1 and not isinstance(grad_outputs, tuple | list)):
        grad_outputs = [grad_outputs] * len(outputs)
    if len(grad_outputs) != len(outputs):
        raise GradientError(f"grad: {len(outputs)} outputs, but {len(grad_outputs)} grad_outputs")
    for i, value in enumerate(inputs):
        if not value._requires_grad:
            raise GradientError(
                f"grad: input {describe(value, i)} does not require a gradient; {_HOW_TO_REQUIRE}\n{user_line()}"
            )
    tracing = tracer.get()
    symbolic = create_graph or tracing is not None
    if tracing is not None:
        outputs, inputs = [tracing.now(x) for x in outputs], [tracing.now(x) for x in inputs]
    seeds: dict[Value, Any] = {}
    for output, gradient in zip(outputs, grad_outputs, strict=True):
        seed = starting_cotangent(output, gradient, symbolic=symbolic)
        seeds[output] = seeds[output] + seed if output in seeds else seed
    results = _backward_pass(seeds, dict.fromkeys(inputs), create_graph)
    if not symbolic:
        results = {value: constant(g) for value, g in results.items()}
    for i, value in enumerate(inputs):
        if value not in results and not allow_unused:
            raise GradientError(f"grad: {unused(value, i)}")
    return tuple(results.get(value) for value in inputs)


_HOW_TO_REQUIRE = "create it with tensor(..., requires_grad=True)"


def starting_cotangent(output: Value, gradient: Any, *, symbolic: bool = False) -> Any:
    """Return the cotangent that a backward pass starts from."""
    if not output._requires_grad:
        raise GradientError(
            f"{output.name or 'the output'} does not require a gradient: nothing that it was computed from does, "
            "or only by way of operations without a derivative (a comparison, a conversion to integers), or it was "
            "computed inside no_grad(), or returned by a function from tg.compile, inside which backward() belongs. "
            f"For a parameter, {_HOW_TO_REQUIRE}; if `W = W - lr * dLoss_W` inside "
            f"no_grad() replaced a parameter by a plain tensor, write `W -= lr * dLoss_W`\n{user_line()}"
        )
    if gradient is None:
        if output._data.size != 1:
            raise GradientError(
                f"{output.name or 'the output'} has shape {output.shape}: only a single number has a gradient. "
                "Reduce it first, for example with .sum() or .mean(), or pass the cotangent of each element: "
                f"backward(gradient), an array of that shape\n{user_line()}"
            )
        # Without axes it is one of NumPy's scalars, as results are: much faster than an array.
        one = np.ones(output.shape, output.dtype) if output.shape else output.dtype.type(1)
        return constant(one) if symbolic else one
    shape = np.shape(gradient._data if isinstance(gradient, Value) else gradient)
    if shape != output.shape:
        raise ShapeError(
            f"the gradient passed in has shape {shape}, but {output.name or 'the output'} has shape {output.shape}"
            f"\n{user_line()}"
        )
    if symbolic:
        return gradient if isinstance(gradient, Value) else constant(as_array(gradient, output.dtype))
    return as_array(gradient._data if isinstance(gradient, Value) else gradient, output.dtype)


def _backward_pass(
    seeds: dict[Value, Any],
    wanted: dict[Value, None] | None,
    create_graph: bool,
    passed: list[Node] | None = None,
    release: bool = False,
) -> dict[Value, Any]:
    """Return the cotangents at the end of a backward pass, which is recorded if `create_graph` is true."""
    if not create_graph and tracer.get() is None:
        return _owned(_pull_back(seeds, wanted, False, passed, release), seeds)
    with _SwitchMode(CAPTURE if create_graph else CAPTURE_PLAIN):
        return _pull_back(seeds, wanted, True, passed)


def _pull_back(
    seeds: dict[Value, Any],
    wanted: dict[Value, None] | None,
    symbolic: bool,
    passed: list[Node] | None,
    release: bool = False,
) -> dict[Value, Any]:
    """Carry the cotangents of the outputs back to the values they were computed from.

    Parameters
    ----------
    seeds
        The cotangents of the outputs.
    wanted
        The values whose cotangents are returned, if they are reached. None: every leaf that requires a
        gradient, and every value that retains its own.
    symbolic
        Whether cotangents are tensors, and the pass is recorded; or else arrays, and nothing is.
    passed
        Is given the nodes on the way, none of which a pass may have gone through before. None: any may.
    release
        Whether to let go, on the way, of larger arrays that nobody but the record refers to. They are computed again
        if somebody asks for them.
    """
    tracing = tracer.get() if symbolic else None
    ends = () if tracing is None else tracing.renewed  # where a parameter was updated in a captured function
    needed = None if wanted is None else computed_from(wanted, recorded_order(seeds, stop=ends))
    inspect_cotangent = anomaly.inspector(seeds)
    results: dict[Value, Any] = {}

    def arrived(value: Value, g: Any) -> Any:
        """Return the complete cotangent of `value` as its hooks leave it, kept if it is asked for."""
        if value.hooks is not None:
            g = _hooked(value, g, symbolic)
        by_itself = value.node is None or value in ends or value.retains_grad
        if by_itself if wanted is None else value in wanted:
            results[value] = g
        if tracing is not None:
            tracing.note_cotangent(seeds, value, g)
        return g

    cotangents = dict(seeds)
    summed: set[Value] = set()  # whose cotangent is an array made here, which may be added to in place
    uses: dict[Value, int] = {}  # how many inputs of nodes behind us a value is, if its array is a larger one
    # From the value recorded last to the first: what used a value was recorded after it, so the cotangent of
    # the value is complete when its turn comes.
    pending = [(-value.node.tick, value) for value in seeds if value.node is not None and value not in ends]
    heapify(pending)
    while pending:
        value = heappop(pending)[1]
        g = cotangents.pop(value)
        if value.hooks is not None or wanted is not None or tracing is not None:
            g = arrived(value, g)
        node: Any = value.node
        if passed is not None:
            if node.spent:
                raise gone_through_before(value)
            passed.append(node)
        if node.tick < record.last_change:
            _refuse_changes(value, node)
        inputs, params = node.inputs, node.params
        arguments = []
        for x in inputs:
            if isinstance(x, Value):
                data = x._data
                if release and x.node is not None and data.nbytes > SMALL:
                    uses[x] = uses.get(x, 0) + 1
                arguments.append(x if symbolic else data)
            else:
                arguments.append(x)
        y = value if symbolic else value._data
        for x, like, vjp in zip(inputs, arguments, node.op.vjps):  # indices, at the end, have no VJP
            if vjp is None or not isinstance(x, Value) or not x._requires_grad:
                continue
            if needed is not None and x not in needed:
                continue
            c = g
            try:
                if params or len(arguments) > 2:
                    c = vjp(g, y, *arguments, **params)
                elif len(arguments) == 2:  # most are like this or the next, and without * a call is quicker
                    c = vjp(g, y, arguments[0], arguments[1])
                else:
                    c = vjp(g, y, arguments[0])
                if c.shape != like.shape:
                    c = _summed_back(c, x, node, seeds)
            except Exception as error:
                if isinstance(error, AttributeError) and not isinstance(c, np.ndarray | np.generic | Value):
                    raise no_array(c, x, node) from None
                error.add_note(f"in the VJP of `{node.op.name}`, recorded at\n  {node.place}")
                raise
            if c.dtype is not like.dtype and c.dtype != like.dtype:
                c = astype(c, like.dtype)
            if inspect_cotangent is not None:
                inspect_cotangent(value, x, g, c)
            if x not in cotangents:
                cotangents[x] = c
                if x.node is not None and not (ends and x in ends):
                    heappush(pending, (-x.node.tick, x))
            elif x in summed:
                cotangents[x] += c
            else:
                cotangents[x] = cotangents[x] + c
                if not symbolic:
                    summed.add(x)
        if uses and (n := uses.pop(value, 0)) and not value._exposed and sys.getrefcount(value) == n + 2:
            del value._data  # the inputs of those nodes, `value`, and the argument just now are all that refer to it
    for leaf, g in cotangents.items():
        arrived(leaf, g)
    return results


SMALL = 4096
"""Arrays of no more bytes than that are not worth being let go of."""


def _hooked(value: Value, g: Any, symbolic: bool) -> Any:
    """Return the cotangent of `value` after its hooks, each of which may replace it."""
    for hook in list((value.hooks or {}).values()):
        with _SwitchMode(CAPTURE if symbolic else OFF):
            new = hook(g if symbolic else constant(g))
        if new is None:
            continue
        shape = np.shape(new._data if isinstance(new, Value) else new)
        if shape != value.shape:
            raise ShapeError(
                f"a hook of {describe(value, 0)} returned a gradient of shape {shape}; it must have the shape of the "
                "tensor. To leave the gradient as it is, return None"
            )
        array = as_array(new._data if isinstance(new, Value) else new, value.dtype)
        g = (new if isinstance(new, Value) else constant(array)) if symbolic else array
    return g


def _owner(x: Value) -> Value:
    """Return the value whose memory `x` is a view of."""
    while x.node is not None and x._data.base is not None:
        x = next(x.node.values)
    return x


def _refuse_changes(value: Value, node: Node) -> None:
    """Raise an error if `value`, or what it was computed from, is not what it was when `node` was recorded.

    Some arrays somebody has had in hand, by ``.data``, and NumPy does not tell who writes into an array. Then the
    operation is run again: what comes out must be what came out before.
    """
    values = [value, *node.values]
    for x in values:
        if x._changed > node.tick:
            raise changed_since([x], node)
    exposed = [x for x in values if x._exposed or _owner(x)._exposed]
    if not exposed:
        return
    arrays = [x._data if isinstance(x, Value) else x for x in node.inputs]
    with np.errstate(all="ignore"):
        again = node.op.forward(*arrays, **node.params)
    if not np.array_equal(again, value._data, equal_nan=value.dtype.kind == "f"):
        raise changed_since(exposed, node)


def computed_from(wanted: Iterable[Value], order: list[Value]) -> set[Value]:
    """Return `wanted` and the values in `order` that were computed from them."""
    path = set(wanted)
    for value in order:
        node: Any = value.node
        for x in node.inputs:
            if isinstance(x, Value) and x in path:
                path.add(value)
                break
    return path


def _owned(results: dict[Value, Any], seeds: dict[Value, Any]) -> dict[Value, Array]:
    """Return the results as arrays that nothing else refers to.

    A VJP may hand on its cotangent itself, or a view of it: both inputs of a sum get one array.
    """
    taken = set(map(id, seeds.values()))
    for value, g in results.items():
        if g.base is not None or id(g) in taken:
            results[value] = np.array(g)
        taken.add(id(g))
    return results


def _summed_back(c: Any, x: Value, node: Node, outputs: Iterable[Value]) -> Any:
    """Return a cotangent of the broadcast shape summed to the shape of the input that was broadcast."""
    try:
        if node.op.broadcasts:
            total = sum_to(c, shape=x.shape) if isinstance(c, Value) else sum_to.forward(c, shape=x.shape)
            if len(x.shape) == 1 and all(y._data.size == 1 for y in outputs):
                warn_of_pairs(x, c.shape, node)
            return total
    except ValueError:
        pass  # which the error below explains
    i = position_of(x, node)
    raise GradientError(
        f"the VJP of `{node.op.name}` for input {i} ({describe(x, i)}) returned shape {c.shape}; it must return the "
        f"shape of that input, {x.shape}, or the shape of the output if the operation is declared with broadcasts=True"
    )
