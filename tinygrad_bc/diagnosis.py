"""Turning a failed operation into an error that teaches: what was passed, where, and the likely fix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tinygrad_bc.errors import IndexingError, ShapeError
from tinygrad_bc.record import Value, user_frame

if TYPE_CHECKING:
    from tinygrad_bc.primitive import Primitive

__all__ = ["describe", "forward_error", "shapes_disagree", "user_line"]


def describe(thing: Any, position: int) -> str:
    """Return name and shape of an operand, for example ``W1 (15, 9)``; a plain number as itself."""
    if isinstance(thing, Value):
        return f"{thing.name or f'operand {position + 1}'} {thing.shape}"
    return repr(thing)


def user_line() -> str:
    """Return file, number and text of the user's line that is being executed."""
    import traceback

    frame = user_frame(2)
    summary = traceback.FrameSummary(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
    return f"  {summary.filename}:{summary.lineno}: {summary.line}"


def forward_error(
    op: Primitive, inputs: Sequence[Any], params: dict[str, Any], error: ValueError | IndexError
) -> ShapeError | IndexingError:
    """Return the error to raise when NumPy refuses the inputs of `op`."""
    operands = [describe(x, i) for i, x in enumerate(inputs)]
    shapes = [x.shape if isinstance(x, Value) else () for x in inputs]
    reason = op.diagnose(*shapes, **params) if op.diagnose else ""
    if not reason and op.broadcasts:
        reason = shapes_disagree(shapes)
    kind = ShapeError if isinstance(error, ValueError) else IndexingError
    return kind(f"{op.name}: {op.write(operands, params)}: {reason or error}\n{user_line()}")


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
