"""The exceptions a user can catch. Each says what was passed, what was expected, and the likely fix."""

from typing import Any, NamedTuple

from numpy.linalg import LinAlgError as _LinAlgError

__all__ = [
    "AnomalyError",
    "ArgumentError",
    "CaptureError",
    "CompilerError",
    "CompilerWarning",
    "DTypeError",
    "DataError",
    "FailedOperation",
    "GradientError",
    "GradientWarning",
    "IndexingError",
    "LinAlgError",
    "LossWarning",
    "MissingDependencyError",
    "RenderError",
    "ShapeError",
    "SourceError",
    "TinygradError",
]


class FailedOperation(NamedTuple):
    """What failed, for who wants to look at it: ``tg.graph(error)`` draws how the computation got there.

    Attributes
    ----------
    name : str
        The operation, or function.
    inputs : tuple
        What it was given: tensors, arrays, numbers.
    titles : tuple of str
        What each of them is called in the user's code.
    op : Primitive or None
        The declaration of the operation; None if it is a function made of operations.
    params : dict
        Its metadata, defaults filled in.
    """

    name: str
    inputs: tuple[Any, ...]
    titles: tuple[str, ...]
    op: Any = None
    params: Any = None


class TinygradError(Exception):
    """Base class of every error that this package raises on purpose.

    Attributes
    ----------
    failed : FailedOperation or None
        The operation that raised it.
    """

    located = False  # whether the message names the user's line already
    failed: FailedOperation | None = None


class ArgumentError(TinygradError, ValueError):
    """An argument that is neither an array nor an axis has a value that is not among the possible ones."""


class ShapeError(TinygradError, ValueError):
    """The shapes given to an operation do not fit together."""


class IndexingError(TinygradError, IndexError):
    """An index points outside the array, or cannot index it."""


class LinAlgError(TinygradError, _LinAlgError):
    """A matrix does not have what is asked for: an inverse, a Cholesky factor."""


class DTypeError(TinygradError, TypeError):
    """The element type given cannot be used here, for example an integer asked for a gradient."""


class GradientError(TinygradError, RuntimeError):
    """A gradient cannot be computed, or would be wrong if it were."""


class CaptureError(TinygradError, RuntimeError):
    """A function cannot be captured: run again on other numbers, the record would not do what the function does."""

    located = True


class CompilerError(TinygradError, RuntimeError):
    """C text cannot be turned into a program that runs here: no compiler, or one that fails; the message says why."""


class AnomalyError(TinygradError, FloatingPointError):
    """An operation made a NaN or an infinity, inside ``detect_anomaly()``."""

    located = True


class DataError(TinygradError, ValueError):
    """A table or file does not hold what it should; the message names file, row, column and value."""


class RenderError(TinygradError, RuntimeError):
    """A picture could not be drawn."""


class SourceError(TinygradError, RuntimeError):
    """No source code can be written for an operation."""


class MissingDependencyError(TinygradError, ImportError):
    """An optional package is needed; the message names the extra that installs it."""


class GradientWarning(UserWarning):
    """A gradient is asked for where there is none, and nothing says so."""


class CompilerWarning(UserWarning):
    """A program runs on another target than the one that was asked for."""


class LossWarning(UserWarning):
    """A loss is given what it can be computed from, but what is hardly meant: probabilities in the place of scores."""
