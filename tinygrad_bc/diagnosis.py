"""Turning a failed operation into an error that teaches: what was passed, where, and the likely fix."""

from __future__ import annotations

import ast
import itertools
import re
import reprlib
import sys
import warnings
from collections.abc import Collection, Iterable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.errors import (
    DTypeError,
    FailedOperation,
    GradientError,
    GradientWarning,
    IndexingError,
    LinAlgError,
    ShapeError,
    TinygradError,
)
from tinygrad_bc.record import Node, Value, user_frame
from tinygrad_bc.source import expression

if TYPE_CHECKING:
    from tinygrad_bc.primitive import Primitive

__all__ = [
    "call_error",
    "call_mistake",
    "changed_since",
    "depth_of_user",
    "describe",
    "forward_error",
    "gone_through_before",
    "kind_of",
    "no_array",
    "position_of",
    "shapes_disagree",
    "unused",
    "user_line",
    "warn_of_pairs",
]


def describe(thing: Any, position: int | str) -> str:
    """Return name and shape of an operand, for example ``W1 (15, 9)``; anything else as itself, shortened.

    `position` says what an operand without a name is called: its number, or a text.
    """
    if isinstance(thing, Value | np.ndarray) or hasattr(thing, "to_numpy"):
        title = position if isinstance(position, str) else f"operand {position + 1}"
        return f"{_called(thing) or title} {thing.shape}"
    if isinstance(thing, list | tuple) and any(isinstance(x, Value | np.ndarray) for x in thing):
        return f"[{', '.join(describe(x, i) for i, x in enumerate(thing))}]"
    return reprlib.repr(thing)


def _called(thing: Any) -> str:
    """Return the name of a tensor or an array, or of the user's variable that holds it; '' if there is neither."""
    name = getattr(thing, "name", None)
    if isinstance(name, str) and name:
        return name
    frame = user_frame(2)
    known = {id(thing), id(thing._data)} if isinstance(thing, Value) else {id(thing)}
    variables = itertools.chain(frame.f_locals.items(), frame.f_globals.items())
    return next((name for name, x in variables if id(x) in known and not name.startswith("_")), "")


LONGEST_EXPRESSION = 40


def _written(frame: FrameType) -> list[str]:
    """Return the two sides of the operator that `frame` is at, as the user wrote them; [] where it is at none."""
    found = expression(frame.f_code, frame.f_lasti)
    if found is None or not isinstance(found[1], ast.BinOp):
        return []
    return [ast.get_source_segment(found[0], side) or "" for side in (found[1].left, found[1].right)]


def _titles(inputs: Sequence[Any]) -> list[str]:
    """Return what each input is called in a message."""
    written = _written(user_frame(2)) if len(inputs) == 2 else []
    usable = len(written) == 2 and all(len(text) <= LONGEST_EXPRESSION for text in written)
    others = written if usable else [f"operand {i + 1}" for i in range(len(inputs))]
    return [_called(x) or other for x, other in zip(inputs, others)]


def _as_factor(title: str) -> str:
    """Return `title` in parentheses unless ``.T`` can be written behind it."""
    return title if title.replace(".", "").isidentifier() else f"({title})"


def user_line() -> str:
    """Return file, number and text of the user's line that is being executed."""
    import traceback

    frame = user_frame(2)
    summary = traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    return f"  {summary.filename}:{summary.lineno}: {summary.line}"


def forward_error(op: Primitive, inputs: Sequence[Any], params: dict[str, Any], error: Exception) -> Exception:
    """Return the error to raise when the inputs of `op` are refused, by NumPy or by the operation itself."""
    if len(inputs) < op.required:
        missing = ", ".join(op.arrays[len(inputs) : op.required])
        return TypeError(f"{op.name}({', '.join(op.arrays)}): {missing} is not given\n{user_line()}")
    titles = _titles(inputs)
    operands = [describe(x, title) for x, title in zip(inputs, titles)]
    shapes = [np.shape(x._data if isinstance(x, Value) else x) for x in inputs]
    reason = ""
    if isinstance(error, ValueError | IndexError) and not (isinstance(error, TinygradError) and str(error)):
        reason = op.diagnose(*shapes, **{**op.defaults, **params}) if op.diagnose else ""
        for letter, title in zip(op.arrays, titles):  # "did you mean {b}.T?", with the user's name
            reason = reason.replace(f"{{{letter}}}", _as_factor(title))
        if not reason and op.broadcasts:
            reason = shapes_disagree(shapes, [_as_factor(title) for title in titles])
    call = op.write(operands, {**op.defaults, **params})
    located = _located(call if call.startswith(f"{op.name}(") else f"{op.name}: {call}", reason, error)
    located.failed = FailedOperation(op.name, tuple(inputs), tuple(titles), op, {**op.defaults, **params})
    return located


def call_mistake(name: str, takes: Sequence[str], positional: int, named: Collection[str], why: str = "") -> TypeError:
    """Return the error to raise when a call has too many or too few arguments, or unknown ones."""
    from difflib import get_close_matches

    known = {other: other for other in takes} | {"dim": "axis", "dims": "axis", "axes": "axis", "strides": "stride"}
    hints = []
    for unknown in (word for word in named if word not in takes):
        close = [known[word] for word in get_close_matches(unknown, known, n=1) if known[word] in takes]
        hints.append(f"there is no `{unknown}`" + (f", did you mean `{close[0]}`?" if close else ""))
    count = f"{positional} argument{'' if positional == 1 else 's'} by position"
    given = count + (f" and {', '.join(named)} by name" if named else "")
    reasons = "".join(f"; {reason}" for reason in hints or [why] if reason)
    return TypeError(f"{name}({', '.join(takes)}) was given {given}{reasons}\n{user_line()}")


def call_error(
    name: str, takes: Sequence[str], inputs: Sequence[Any], params: dict[str, Any], error: Exception
) -> TinygradError:
    """Return the error to raise when a function made of operations refuses its arguments."""
    if isinstance(error, TinygradError) and error.located:
        return error
    reason = str(error)
    titles = {key: _called(x) for key, x in [*zip(takes, inputs), *params.items()] if len(key) > 1}
    for key, title in titles.items():  # "did you mean target.reshape(4)?", with the user's name
        own = (title or key).replace("\\", r"\\")
        reason = re.sub(rf"\b{key}(?=\.[A-Za-z]|, \()", own, reason)
    given = []
    for i, x in enumerate(inputs):
        key = takes[i] if i < len(takes) else f"operand {i + 1 - len(takes)}"
        said = titles.get(key, key) not in ("", key) and re.search(rf"\b{key}\b(?!\.)", reason)
        given.append(f"{key}={describe(x, key)}" if said else describe(x, key))  # or what would `target` be?
    for key, x in params.items():
        text = describe(x, key)
        given.append(text if text.startswith(f"{key} ") else f"{key}={text}")
    located = _located(f"{name}({', '.join(given)})", reason, error)
    located.failed = FailedOperation(name, tuple(inputs), tuple(titles.get(key) or key for key in takes))
    return located


def _located(call: str, reason: str, error: Exception) -> TinygradError:
    """Return `error` as one of ours, which says what was called, why it failed, and the user's line."""
    located = kind_of(error)(f"{call}: {reason or error}\n{user_line()}")
    located.located = True
    return located


def kind_of(error: Exception) -> type[TinygradError]:
    """Return the class of ours that an error, NumPy's for example, belongs to."""
    if isinstance(error, TinygradError):
        return type(error)
    if isinstance(error, np.linalg.LinAlgError):
        return LinAlgError
    if isinstance(error, TypeError):
        return DTypeError
    return ShapeError if isinstance(error, ValueError) else IndexingError  # NumPy's for a wrong axis is of both kinds


def shapes_disagree(shapes: Sequence[tuple[int, ...]], titles: Sequence[str] = ()) -> str:
    """Say which axis keeps `shapes` from broadcasting, and what may have been meant; '' if they do broadcast."""
    rank = max(map(len, shapes), default=0)
    for axis in range(-1, -rank - 1, -1):
        lengths = [shape[axis] for shape in shapes if len(shape) >= -axis and shape[axis] != 1]
        if len(set(lengths)) > 1:
            return (
                f"the shapes do not broadcast: counted from the right, axis {axis} has "
                f"{' against '.join(map(str, dict.fromkeys(lengths)))}; broadcasting needs equal lengths or a 1"
                + _broadcast_hint(shapes, titles)
            )
    return ""


def _broadcast_hint(shapes: Sequence[tuple[int, ...]], titles: Sequence[str]) -> str:
    if len(shapes) != 2:
        return ""
    first, second = titles or ("the first", "the second")
    if shapes[0] == shapes[1][::-1]:
        return f". Did you mean to transpose one of them, {first}.T or {second}.T?"
    for one, other, title in ((shapes[0], shapes[1], first), (shapes[1], shapes[0], second)):
        if len(one) == 1 and len(other) == 2 and one[0] == other[0]:
            return f". Did you mean a column, {title}.reshape({one[0]}, 1)?"
    return ""


# --- of the backward pass ------------------------------------------------------------------------


def gone_through_before(value: Value) -> GradientError:
    """Return the error of a second backward pass through the operation that made `value`."""
    node: Any = value.node
    return GradientError(
        f"a backward pass has gone through {value.name or f'the result of `{node.op.name}`'} before, and a second one "
        "would add the same gradients to .grad once more. Compute the loss again; or, if two losses share this "
        "part and their gradients are to be added up, say so in the first call: backward(retain_graph=True). "
        f"It was recorded at\n  {node.place}\nand backward() is called again in\n{user_line()}"
    )


def unused(value: Value, i: int) -> str:
    """Say that no output depends on the i-th input of a backward pass."""
    return (
        f"no output was computed from input {describe(value, i)}, so it has no gradient. If another tensor has taken "
        "its place on the way (W = W - ...), pass that one; if it may be unused, leave it out or, in tg.grad, pass "
        f"allow_unused=True\n{user_line()}"
    )


def changed_since(suspects: Iterable[Value], node: Node) -> GradientError:
    """Return the error of data that is not what it was when `node` was recorded."""
    suspects = list(dict.fromkeys(suspects))
    positions = [position_of(x, node) for x in suspects]
    titles = [describe(x, i) if x.name or i >= 0 else f"its result {x.shape}" for x, i in zip(suspects, positions)]
    return GradientError(
        f"{' or '.join(titles)} was changed after `{node.op.name}` had been recorded, so a gradient would "
        "be taken at values that are gone. Call backward() before updating, or compute the loss again; to try other "
        f"numbers, write into a copy, .data.copy(). It was used at\n  {node.place}"
    )


def no_array(c: Any, x: Value, node: Node) -> GradientError:
    """Return the error of a VJP that returned `c`, which is no array, for the input `x`."""
    i = position_of(x, node)
    return GradientError(
        f"the VJP of `{node.op.name}` for input {i} ({describe(x, i)}) returned {type(c).__name__}; it must return an "
        f"array of the shape {x.shape}. For an input without a derivative, declare None in the place of the VJP. It "
        f"was recorded at\n  {node.place}"
    )


def warn_of_pairs(x: Value, shape: tuple[int, ...], node: Node) -> None:
    """Warn where (N,) met (N, 1) and every pair was computed: hardly ever what a hand-written loss means."""
    n = shape[-1]
    column, row = (n, 1), (n,)
    if x.shape != row or shape != (n, n) or n == 1 or node.op.name not in ("subtract", "multiply"):
        return
    other = next((y for y in node.values if y.shape == column), None)
    if other is not None:
        names = [describe(y, position_of(y, node)) for y in (x, other)]
        warnings.warn(
            f"`{node.op.name}` of {names[0]} and {names[1]} was computed for every pair, {n}×{n} numbers. If one "
            f"number each was meant, bring them to one shape, by .reshape({n}) or .reshape({n}, 1); if every pair was "
            f"meant, say so by .reshape(1, {n}) for {names[0]}\n  {node.place}",
            GradientWarning,
            stacklevel=depth_of_user(),
        )


def depth_of_user() -> int:
    """Return the stacklevel at which a warning points at the user's line."""
    user, frame, depth = user_frame(2), sys._getframe(1), 1
    while frame is not user and frame.f_back is not None:
        frame, depth = frame.f_back, depth + 1
    return depth


def position_of(x: Value, node: Node) -> int:
    """Return which input of `node` is `x`, or -1 if `x` is its result."""
    return next((i for i, other in enumerate(node.inputs) if other is x), -1)
