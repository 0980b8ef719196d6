"""Turning a failed operation into an error that teaches: what was passed, where, and the likely fix."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc.errors import DTypeError, IndexingError, LinAlgError, ShapeError, TinygradError
from tinygrad_bc.record import Value, user_frame

if TYPE_CHECKING:
    from tinygrad_bc.primitive import Primitive

__all__ = ["call_error", "describe", "forward_error", "shapes_disagree", "user_line"]


def describe(thing: Any, position: int | str) -> str:
    """Return name and shape of an operand, for example ``W1 (15, 9)``; anything else as itself, shortened."""
    if isinstance(thing, Value | np.ndarray) or hasattr(thing, "to_numpy"):
        title = position if isinstance(position, str) else f"operand {position + 1}"
        name = getattr(thing, "name", None)
        return f"{name if isinstance(name, str) and name else title} {thing.shape}"
    if isinstance(thing, list | tuple) and any(isinstance(x, Value | np.ndarray) for x in thing):
        return f"[{', '.join(describe(x, i) for i, x in enumerate(thing))}]"
    return reprlib.repr(thing)


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
    operands = [describe(x, i) for i, x in enumerate(inputs)]
    shapes = [np.shape(x._data if isinstance(x, Value) else x) for x in inputs]
    reason = ""
    if isinstance(error, ValueError | IndexError) and not (isinstance(error, TinygradError) and str(error)):
        reason = op.diagnose(*shapes, **{**op.defaults, **params}) if op.diagnose else ""
        for i, (letter, x) in enumerate(zip(op.arrays, inputs)):  # "did you mean {b}.T?", with the user's name
            reason = reason.replace(f"{{{letter}}}", getattr(x, "name", None) or f"(operand {i + 1})")
        if not reason and op.broadcasts:
            reason = shapes_disagree(shapes)
    return _located(f"{op.name}: {op.write(operands, {**op.defaults, **params})}", reason, error)


def call_error(
    name: str, takes: Sequence[str], inputs: Sequence[Any], params: dict[str, Any], error: Exception
) -> TinygradError:
    """Return the error to raise when a function made of operations refuses its arguments."""
    if isinstance(error, TinygradError) and error.located:
        return error
    given = [describe(x, takes[i] if i < len(takes) else i) for i, x in enumerate(inputs)]
    given += [f"{key}={describe(x, key)}" for key, x in params.items()]
    return _located(f"{name}({', '.join(given)})", "", error)


def _located(call: str, reason: str, error: Exception) -> TinygradError:
    """Return `error` as one of ours, which says what was called, why it failed, and the user's line."""
    kind: type[TinygradError]
    if isinstance(error, TinygradError):
        kind = type(error)
    elif isinstance(error, np.linalg.LinAlgError):
        kind = LinAlgError
    elif isinstance(error, TypeError):
        kind = DTypeError
    else:  # NumPy's error for a wrong axis is of both kinds
        kind = ShapeError if isinstance(error, ValueError) else IndexingError
    located = kind(f"{call}: {reason or error}\n{user_line()}")
    located.located = True
    return located


def shapes_disagree(shapes: Sequence[tuple[int, ...]]) -> str:
    """Say which axis keeps `shapes` from broadcasting, and what may have been meant; '' if they do broadcast."""
    rank = max(map(len, shapes), default=0)
    for axis in range(-1, -rank - 1, -1):
        lengths = sorted({shape[axis] for shape in shapes if len(shape) >= -axis} - {1})
        if len(lengths) > 1:
            return (
                f"the shapes do not broadcast: counted from the right, axis {axis} has "
                f"{' against '.join(map(str, lengths))}; broadcasting needs equal lengths or a 1"
                + _broadcast_hint(shapes)
            )
    return ""


def _broadcast_hint(shapes: Sequence[tuple[int, ...]]) -> str:
    if len(shapes) != 2:
        return ""
    first, second = shapes
    if first == second[::-1]:
        return ". Did you mean to transpose one of them (`.T`)?"
    for one, other in ((first, second), (second, first)):
        if len(one) == 1 and len(other) == 2 and one[0] == other[0]:
            return f". Did you mean a column, `.reshape({one[0]}, 1)`?"
    return ""
