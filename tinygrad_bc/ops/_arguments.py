"""How the operations read their arguments: arrays, integers, axes, and NumPy's way of passing them."""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.diagnosis import call_error
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError, TinygradError
from tinygrad_bc.primitive import COUNTERPARTS
from tinygrad_bc.record import Value, as_array

Shape = tuple[int, ...]

_ARRAYS = (np.ndarray, np.generic)  # a tuple, made once: `np.ndarray | np.generic` would be made at every call
_SHAPED = (Value, *_ARRAYS)


# --- arrays --------------------------------------------------------------------------------------


def shaped(x: Any) -> Any:
    """Return `x` if it has a shape, otherwise (a number, a list) as an array."""
    return x if isinstance(x, _SHAPED) else as_array(x)


def numbers_of(x: Any) -> Any:
    """Return what a tensor or an array holds, to be looked at and not to be differentiated."""
    return x._data if isinstance(x, Value) else x


def first_of(wrong: Any, numbers: Any) -> str:
    """Return the first of the wrong numbers and where it is: ``7 at [2, 0]``."""
    place = tuple(map(int, np.argwhere(wrong)[0]))
    return f"{np.asarray(numbers)[place]}" + (f" at {list(place)}" if place else "")


def of_shape(name: str, x: Any, shape: Shape, what: str) -> Any:
    """Return an optional argument as something that has a shape, which must be `shape`."""
    if x is None:
        return None
    x = shaped(x)
    if x.shape != shape:
        raise ShapeError(f"{name} must be of shape {shape}, {what}, and it is {x.shape}")
    return x


def floats(x: Any) -> Any:
    """Return integers and booleans as float64: NumPy alone makes float16 of those that have eight bits."""
    if isinstance(x, _ARRAYS):
        return x if x.dtype.kind == "f" else x.astype(np.float64)
    return float(x)


# --- integers and axes ---------------------------------------------------------------------------


def integer(x: Any) -> int:
    """Return a whole number."""
    try:
        return operator.index(x)
    except TypeError:
        raise DTypeError(f"axes, lengths and counts must be integers, got {x!r}") from None


def as_tuple(several: Any, named: Any = None) -> Shape:
    """Return ``(3, 4)`` for each way of writing it: ``f(3, 4)``, ``f((3, 4))`` and, as `named`, ``f(shape=(3, 4))``."""
    if named is not None:
        several = (*several, named)
    if len(several) == 1 and isinstance(several[0], tuple | list | range | np.ndarray):
        several = several[0]
    return tuple(map(integer, several))


def axes_in_words(count: int) -> str:
    """Return ``1 axis``, ``2 axes`` ..."""
    return "1 axis" if count == 1 else f"{count} axes"


def axes_mistake(axes: Shape, ndim: int) -> str:
    """Say which axis does not exist or is named twice; '' if none."""
    count = max(ndim, 1)  # a number without axes counts as having one, as in PyTorch
    for axis in axes:
        if not -count <= axis < count:
            return f"axis {axis} is out of bounds: the array has {axes_in_words(ndim)}, so use {-count} to {count - 1}"
    counted = [axis % count for axis in axes]
    twice = [axis for axis in counted if counted.count(axis) > 1]
    return f"{axes} names axis {twice[0]} twice" if twice else ""


def counted_axes(axes: Any, ndim: int) -> Shape:
    """Return one axis or several, each counted from the front, none of them twice."""
    if type(axes) is int and -ndim <= axes < ndim:  # the usual case, in a tenth of the time
        return (axes % ndim,)
    given = as_tuple((axes,))
    if mistake := axes_mistake(given, ndim):
        raise ShapeError(mistake)
    return tuple(axis % max(ndim, 1) for axis in given)


def counted_axis(axis: Any, ndim: int) -> int:
    """Return an axis counted from the front."""
    if axis is None:
        raise ShapeError("axis=None: say along which axis (PyTorch's dim); the last one is axis=-1")
    if isinstance(axis, tuple | list):
        raise ShapeError(f"axis={axis}: one axis is expected here, not several")
    return counted_axes(axis, ndim)[0]


def skip(axes: int) -> tuple[slice, ...]:
    """Return the part of an index that takes all of the first `axes` axes."""
    return (slice(None),) * axes


# --- NumPy's functions ---------------------------------------------------------------------------


def counterparts(adapters: dict[Callable[..., Any], Callable[..., Any]]) -> None:
    """Declare what runs when NumPy's functions are called on a tensor.

    An adapter has the parameters of NumPy's function that are recorded. Others are refused, and so is `out`, which
    stands among them where arguments behind it are given by position.
    """
    COUNTERPARTS.update({function: _recorded(function, adapter) for function, adapter in adapters.items()})


def _recorded(function: Callable[..., Any], adapter: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(adapter)
    names = list(signature.parameters)
    takes = [name for name in names if name != "out"]
    by_position = [name for name, p in signature.parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    place_of_out = by_position.index("out") if "out" in by_position else sys.maxsize
    title = f"np.{function.__name__}"

    def others(kwargs: dict[str, Any]) -> GradientError:
        other = next((f", and not {title}({name}=...)" for name in kwargs if name not in takes), "")
        return GradientError(
            f"of a tensor only {title}({', '.join(takes)}) is recorded{other}; where no gradient is wanted, pass "
            "t.detach().data"
        )

    def call(*args: Any, **kwargs: Any) -> Any:
        refused: Exception
        try:
            if (args[place_of_out] if len(args) > place_of_out else kwargs.get("out")) is not None:
                raise others(kwargs)
            return adapter(*args, **kwargs)
        except (TinygradError, ValueError, IndexError) as error:
            refused = error
        except TypeError:
            if _fits(signature, args, kwargs):  # it is about something else
                raise
            refused = others(kwargs)
        raise call_error(title, names, args, kwargs, refused) from None

    return call


def _fits(signature: inspect.Signature, args: Any, kwargs: Any) -> bool:
    try:
        signature.bind(*args, **kwargs)
    except TypeError:
        return False
    return True
