"""Where does the NaN come from? The first operation that made one, forward or backward, and the way around it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.diagnosis import describe, user_line
from tinygrad_bc.errors import AnomalyError, CaptureError, FailedOperation
from tinygrad_bc.record import Node, Value, recorded_order, tracer

if TYPE_CHECKING:
    from tinygrad_bc.primitive import Primitive

__all__ = ["detect_anomaly", "inspect_result", "inspector", "watching"]

watching: ContextVar[bool] = ContextVar("tinygrad_bc.watching", default=False)
"""Whether results and cotangents are looked at. Separate for every thread and every async task."""

blocks: list[object] = []
"""The blocks of `detect_anomaly` there are in any thread: as long as it is empty nobody need ask for `watching`."""


def detect_anomaly() -> AbstractContextManager[None]:
    """Raise an `AnomalyError` at the first operation that makes a NaN or an infinity, forward or backward.

    The error names the operation and not those that passed the NaN on, the element, what went in, the
    user's line and, where there is one, the stable way to write it. Infinities written by hand
    (``where(mask, x, -inf)``) are left alone. Every array is looked at, so it is for finding a fault, not for
    training. Put around a call of a function from ``tg.compile``, it runs that as it was written.

    Raises
    ------
    AnomalyError
    CaptureError
        In a function that is being compiled.

    Examples
    --------
    >>> x = tensor([800.0, -800.0], requires_grad=True)
    >>> with detect_anomaly():  # doctest: +ELLIPSIS
    ...     loss = -sigmoid(x).log().mean()
    Traceback (most recent call last):
        ...
    tinygrad_bc.errors.AnomalyError: `log` made the first infinity: element [1] of its result (2,) is -inf. ...
    """
    if tracer.get() is not None:
        raise CaptureError(
            "detect_anomaly() in a function that is being captured: it would look at this first run alone. Put it "
            f"around the call of the compiled function, which then runs as it was written\n{user_line()}"
        )
    return _watching()


@contextmanager
def _watching() -> Iterator[None]:
    token = watching.set(True)
    blocks.append(token)
    try:
        with np.errstate(all="ignore"):  # NumPy's warnings say less than the error to come
            yield
    finally:
        blocks.remove(token)
        watching.reset(token)


# --- forward -------------------------------------------------------------------------------------


def inspect_result(op: Primitive, inputs: Sequence[Any], result: Any) -> None:
    """Raise an error if `result` is not finite and `op` is the one that made it so."""
    at = _first(result)
    if at is None:
        return
    infinities_put_in = False
    for i, x in enumerate(inputs):
        data = x._data if isinstance(x, Value) else x
        if _first(data) is None:
            continue
        culprit = _first_made(x) if isinstance(x, Value) else None
        if culprit is not None:
            node: Any = culprit.node
            raise _forward(node.op, node.inputs, culprit._data, _first(culprit._data), node.place)
        if _is_nan(data):
            if not isinstance(x, Value):
                return  # written by hand
            raise AnomalyError(
                f"{describe(x, i)} holds NaN before any operation, at {_index(_first_nan(data))}: it came in "
                f"with the data and reaches `{op.name}` at\n{user_line()}"
            )
        infinities_put_in = True
    if not infinities_put_in:
        raise _forward(op, inputs, result, at, user_line().strip())
    if _is_nan(result):
        raise _forward(op, inputs, result, _first_nan(result), user_line().strip())


_IN_A_BRANCH = " If the `where` is to leave this element out: both of its branches are computed first. "


def _first_made(value: Value) -> Value | None:
    """Return the first value in the record of `value` that is not finite though all it was made of is."""
    for made in recorded_order([value]):
        node: Any = made.node
        numbers = [x._data if isinstance(x, Value) else x for x in node.inputs]
        if _first(made._data) is not None and all(_first(x) is None for x in numbers):
            return made
    return None


def _forward(op: Primitive, inputs: Sequence[Any], result: Any, at: Any, place: str) -> AnomalyError:
    name = "NaN" if np.isnan(np.asarray(result)[at]) else "infinity"
    count = int(np.sum(~np.isfinite(result)))
    error = AnomalyError(
        f"`{op.name}` made the first {name}: element {_index(at)} of its result {np.shape(result)} is "
        f"{np.asarray(result)[at]}" + (f", and {count} elements in all are not finite" if count > 1 else "") + ". "
        f"What went in: {_operands(inputs, np.shape(result), at)}. {_stable_forward(op, inputs, result, at)}"
        f"{_IN_A_BRANCH + _choose_before(op) if 'where(' in place else ''}\n  {place}"
    )
    error.failed = FailedOperation(op.name, tuple(inputs), tuple(op.arrays))
    return error


# --- backward ------------------------------------------------------------------------------------


def inspector(outputs: Iterable[Value]) -> Callable[[Value, Value, Any, Any], None] | None:
    """Return what looks at the cotangents of a backward pass from `outputs`; None outside `detect_anomaly`."""
    if not watching.get():
        return None

    def inspect(value: Value, x: Value, g: Any, c: Any) -> None:
        """Raise an error if `c`, the cotangent of `x`, is not finite, but `g`, from which it was made, is."""
        cotangent = c._data if isinstance(c, Value) else c
        if _first(cotangent) is not None and _first(g._data if isinstance(g, Value) else g) is None:
            raise _backward(value, x, cotangent, recorded_order(outputs))

    return inspect


def _backward(value: Value, x: Value, cotangent: Any, order: Sequence[Value]) -> AnomalyError:
    node: Any = value.node
    at = _first(cotangent)
    name = "NaN" if np.isnan(np.asarray(cotangent)[at]) else "infinity"
    position = next(i for i, other in enumerate(node.inputs) if other is x)
    return AnomalyError(
        f"the derivative of `{node.op.name}` made the first {name} of the backward pass: the gradient of "
        f"{describe(x, position)} is {np.asarray(cotangent)[at]} at {_index(at)}. What had gone in: "
        f"{_operands(node.inputs, np.shape(cotangent), at)}. {_stable_backward(value, node, order)}\n  {node.place}"
    )


# --- ways around ---------------------------------------------------------------------------------


def _maker(x: Any) -> str:
    """Return the name of the operation that made `x`, or ''."""
    return x.node.op.name if isinstance(x, Value) and x.node is not None else ""


def _made_from(x: Any) -> list[Any]:
    return list(x.node.inputs) if isinstance(x, Value) and x.node is not None else []


DOMAINS = {
    "log1p": "log(1 + x) needs numbers above −1.",
    "sqrt": "Numbers below 0 have no root: tg.clamp(x, min=0) before, or x + eps if they are rounding errors.",
    "rsqrt": "1 / sqrt(x) needs numbers above 0: write tg.rsqrt(x + eps), with an eps such as 1e-12.",
    "reciprocal": "0 has no reciprocal: keep x away from 0, or choose first: 1 / tg.where(x == 0, 1.0, x).",
    "acos": "acos is defined from −1 to 1: tg.clamp(x, -1, 1) before, if only rounding errors lie beyond.",
    "asin": "asin is defined from −1 to 1: tg.clamp(x, -1, 1) before, if only rounding errors lie beyond.",
    "acosh": "acosh is defined from 1: tg.clamp(x, min=1) before, if only rounding errors lie below.",
    "atanh": "atanh is defined between −1 and 1, and infinite there: tg.clamp(x, -1 + 1e-7, 1 - 1e-7) before.",
    "xlogy": "It is 0 where x is 0, but log(y) of y = 0, or of y below 0, stays what it is: keep y above 0.",
    "logabsdet": "The matrix is singular, its determinant 0: add a small multiple of np.eye(n) to it.",
}
"""What an operation is defined for."""


def _stable_forward(op: Primitive, inputs: Sequence[Any], result: Any, at: tuple[int, ...]) -> str:
    """Return the stable way to write what failed, as a sentence."""
    numbers = [np.asarray(x._data if isinstance(x, Value) else x) for x in inputs]
    if not all(_first(x) is None for x in numbers):
        return (
            "Infinities went in, and ∞ − ∞, 0 · ∞ and ∞ / ∞ are no numbers: use a large finite number in their place."
        )
    there = [
        x if at is None or not _broadcasts(x.shape, np.shape(result)) else _there(x, np.shape(result), at)
        for x in numbers
    ]
    if op.name in ("log", "log2", "log10"):
        return _stable_log(inputs[0])
    if op.name == "divide" and there[1] == 0:
        return _stable_quotient(*inputs)
    if op.name == "power" and there[0] == 0:
        return "0 has no negative power: keep the base above 0."
    if op.name == "power" and np.isnan(np.asarray(result)[at]):
        return "A negative number has no fractional power: keep the base above 0."
    if op.name in DOMAINS:
        return DOMAINS[op.name]
    return _overflow(op, inputs, np.asarray(result).dtype) if np.isinf(np.asarray(result)[at]) else ""


def _overflow(op: Primitive, inputs: Sequence[Any], dtype: np.dtype[Any]) -> str:
    largest = np.finfo(dtype).max
    if op.name in ("exp", "expm1") or (op.name == "sum" and _maker(inputs[0]) == "exp"):
        return (
            f"exp overflows beyond {int(np.log(largest))} in {dtype}. Written as one function it does not: tg.softmax "
            "for exp(x) / exp(x).sum(), tg.logsumexp for log(exp(x).sum()), tg.softplus for log(1 + exp(x)), "
            "and tg.sigmoid for 1 / (1 + exp(-x))."
        )
    return (
        f"The largest {dtype} is {float(largest):.1e}: make the numbers smaller"
        + ("" if dtype == np.float64 else ", or use float64")
        + ". If it comes after some steps of training, the steps are too large: try a smaller learning rate."
    )


def _stable_quotient(dividend: Any, divisor: Any) -> str:
    if _maker(dividend) == "exp":
        return "For exp(x) / exp(x).sum() write tg.softmax(x, dim): it does not underflow."
    length = _of_a_root(divisor) == "sum"
    if "norm" in _maker(divisor) or length:
        return (
            f"A vector of length 0 has no direction: divide by {'tg.norm(x)' if length else 'norm'} + 1e-12, or by "
            "tg.clamp(norm, min=1e-12)."
        )
    if _maker(divisor) in ("std", "var") or _of_a_root(divisor) in ("mean", "var"):
        return (
            "Numbers that are all equal have the standard deviation 0: divide by std + 1e-8, or write tg.layer_norm or "
            "tg.batch_norm, which do so."
        )
    return "The divisor is 0 there: keep it away from 0, or choose first: x / tg.where(d == 0, 1.0, d)."


def _of_a_root(x: Any) -> str:
    """Return the name of the operation whose result `x` is the square root of, or ''."""
    node: Any = x.node if isinstance(x, Value) else None
    if node is None or not (node.op.name == "sqrt" or (node.op.name == "power" and node.inputs[1] == 0.5)):
        return ""
    return _maker(node.inputs[0])


def _choose_before(op: Primitive) -> str:
    number = "tg.where(c, x, 1.0)"
    return "Choose before: " + (
        f"tg.where(c, {op.name}({number}), ...)." if len(op.arrays) == 1 else f"{number}, in the place of x."
    )


def _stable_log(x: Any) -> str:
    maker, parts = _maker(x), _made_from(x)
    cross_entropy = (
        " A loss −(y log p + (1 − y) log(1 − p)) of logits x is tg.binary_cross_entropy_with_logits(x, y), which is "
        "finite for any x."
    )
    if maker == "sigmoid":
        return "For log(sigmoid(x)) write tg.logsigmoid(x), or `logsigmoid(-x)` for the other class." + cross_entropy
    if maker == "subtract" and _maker(parts[1]) == "sigmoid":
        return "For log(1 − sigmoid(x)) write tg.logsigmoid(-x)." + cross_entropy
    if maker == "softmax":
        return "For log(softmax(x)) write tg.log_softmax(x, dim), or tg.cross_entropy for the loss."
    if maker == "sum" and _maker(parts[0]) == "exp":
        return "For log(sum(exp(x))) write tg.logsumexp(x, dim)."
    if "det" in maker:
        return "For log(det(A)) write tg.slogdet(A), which does not underflow; of a singular matrix it is −∞ too."
    return (
        "The logarithm needs numbers above 0: tg.xlogy for x log y, tg.log1p for log(1 + x), and for probabilities "
        "tg.binary_cross_entropy(p, y), which is finite at 0 and 1."
    )


def _stable_backward(value: Value, node: Node, order: Sequence[Value]) -> str:
    """Return the stable way to write what failed in the backward pass, as a sentence."""
    chosen = [v.node for v in order if v.node is not None and v.node.op.name == "where" and _reaches(v, value)]
    if chosen:
        return (
            f"Its result goes into a `where` ({chosen[0].place}) which does not choose this element. But its "
            f"derivative is computed all the same, and 0 · ∞ is NaN. {_choose_before(node.op)}"
        )
    if node.op.name == "sqrt" or (node.op.name == "power" and node.inputs[1] == 0.5):
        return "The root has an infinite slope at 0: " + {
            "sum": "for the length of a vector write tg.norm(x, dim=...), whose gradient at 0 is 0.",
            "mean": "for a standard deviation write tg.std(x, dim=..., correction=0), whose gradient at 0 is 0.",
        }.get(_maker(node.inputs[0]), "write tg.sqrt(x + eps), with eps as small as the numbers allow, 1e-12.")
    if node.op.name == "power":
        return "A power below 1 has an infinite slope at 0: keep the base above 0, (x + eps) ** p."
    if node.op.name in ("acos", "asin"):
        return "Its slope is infinite at −1 and 1: tg.clamp(x, -1 + 1e-7, 1 - 1e-7) before."
    if node.op.name in ("divide", "log", "log1p", "reciprocal", "rsqrt"):
        return "It has no derivative there: keep what it is given away from 0."
    return ""


def _reaches(choice: Value, value: Value) -> bool:
    """Return whether `value` is one of the branches of `choice`, directly or by a few steps."""
    node: Any = choice.node
    branches = list(node.inputs[1:])
    for _ in range(4):
        if any(branch is value for branch in branches):
            return True
        branches = [x for branch in branches for x in _made_from(branch)]
    return False


# --- elements ------------------------------------------------------------------------------------


def _first(data: Any) -> tuple[int, ...] | None:
    """Return the index of the first element that is not finite, or None."""
    array = np.asarray(data)
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return None
    return tuple(int(i) for i in np.unravel_index(np.argmin(np.isfinite(array)), array.shape))


def _is_nan(data: Any) -> bool:
    return bool(np.isnan(data).any())


def _first_nan(data: Any) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(np.argmax(np.isnan(data)), np.shape(data)))


def _index(at: tuple[int, ...] | None) -> str:
    return f"[{', '.join(map(str, at))}]" if at else "()"


def _operands(inputs: Sequence[Any], shape: tuple[int, ...], at: tuple[int, ...] | None) -> str:
    """Return the operands with the numbers that went into the element `at` of a result of `shape`."""
    described = []
    for i, x in enumerate(inputs):
        title = describe(x, i)
        data = np.asarray(x._data) if isinstance(x, Value) else np.asarray(x)
        if not isinstance(x, Value):
            described.append(title)
        elif at is not None and _broadcasts(data.shape, shape):
            described.append(f"{title}, there {_there(data, shape, at)}")
        else:
            finite = data.size and data.dtype.kind in "fiu"
            described.append(f"{title}, from {data.min()} to {data.max()}" if finite else title)
    return "; ".join(described)


def _there(data: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> Any:
    """Return the number that went into the element `at` of a result of `shape`."""
    return np.broadcast_to(data, shape)[at]


def _broadcasts(shape: tuple[int, ...], larger: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, larger) == larger
    except ValueError:
        return False
