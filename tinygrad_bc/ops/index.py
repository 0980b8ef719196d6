"""Taking elements out, and its derivative: putting them back, repeats added up."""

from __future__ import annotations

import operator
import reprlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_bc.diagnosis import shapes_disagree
from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, ShapeError
from tinygrad_bc.ops._arguments import Shape, as_tuple, axes_in_words, counted_axis, counterparts, integer, shaped, skip
from tinygrad_bc.ops.elementwise import astype, where
from tinygrad_bc.ops.reduce import ValuesAndIndices
from tinygrad_bc.ops.shape import _or_flat, flatten, reshape
from tinygrad_bc.primitive import ErrorSample, Sample, composite, primitive
from tinygrad_bc.record import Value, refuse_while_capturing

# --- x[key] --------------------------------------------------------------------------------------


class _Here:
    """Stands in a key for an index array, which is an input of the operation and not metadata."""

    def __str__(self) -> str:
        return "array"


HERE = _Here()


class Key(tuple[Any, ...]):
    """The parts of an index. Prints as it would be written between brackets: ``1:3, ..., array``."""

    __slots__ = ()

    def __str__(self) -> str:
        return ", ".join(map(_written, self))

    def with_arrays(self, names: Iterable[str]) -> str:
        """Return the key with names for the arrays in it."""
        remaining = iter(names)
        return ", ".join(next(remaining) if part is HERE else _written(part) for part in self)


def _written(part: Any) -> str:
    if part is Ellipsis:
        return "..."
    if isinstance(part, slice):
        ends = f"{'' if part.start is None else part.start}:{'' if part.stop is None else part.stop}"
        return ends if part.step is None else f"{ends}:{part.step}"
    return str(part)


def _complete(key: Key, arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    remaining = iter(arrays)
    return tuple(next(remaining) if part is HERE else part for part in key)


def _axes_taken(part: Any) -> int:
    """Return how many axes a part of an index stands for; None stands for none, and so does a single boolean."""
    if part is None or part is Ellipsis:
        return 0
    if isinstance(part, slice):
        return 1
    array = np.asarray(part)
    return array.ndim if array.dtype == bool else 1


def _why_refused(shape: Shape, key: tuple[Any, ...]) -> str:
    """Say what is wrong with an index that NumPy refuses; '' if that is something else than the usual."""
    taken = sum(map(_axes_taken, key))
    if taken > len(shape):
        return f"too many indices: the array has {axes_in_words(len(shape))}, and there are indices for {taken}"
    axis = 0
    for part in key:
        if part is Ellipsis:
            axis += len(shape) - taken
        elif part is not None:
            if not isinstance(part, slice) and (reason := _misfit(np.asarray(part), shape, axis)):
                return reason
            axis += _axes_taken(part)
    arrays = [np.asarray(part) for part in key if not (part is None or part is Ellipsis or isinstance(part, slice))]
    return (
        f"index arrays of the shapes {', '.join(str(array.shape) for array in arrays)} do not broadcast against each "
        "other: they are read together, element by element. To choose rows and columns apart, write x[rows][:, columns]"
    )


def _misfit(index: Any, shape: Shape, axis: int) -> str:
    """Say why an index does not fit the axes from `axis` on; '' if it does."""
    if index.dtype == bool:
        selected = shape[axis : axis + index.ndim]
        if index.shape == selected:
            return ""
        return f"a boolean mask of shape {index.shape} cannot select from axes of shape {selected}: they must be equal"
    length = shape[axis]
    outside = index[(index < -length) | (index >= length)]
    return _out_of_bounds(outside.flat[0], axis, length) if outside.size else ""


def _out_of_bounds(index: Any, axis: int, length: int) -> str:
    allowed = f"use {-length} to {length - 1}" if length else "it has no elements"
    return f"index {index} is out of bounds for axis {axis} of length {length}: {allowed}"


def _indexed(rng: np.random.Generator) -> list[Sample]:
    x = rng.normal(size=(4, 3))
    return [
        Sample(x, key=Key([1])),
        Sample(x, key=Key([slice(1, 3), -1])),
        Sample(x, key=Key([slice(None, None, -2)])),
        Sample(x, key=Key([..., None, slice(0, 2)])),
        Sample(x, key=Key([slice(0, 0)])),
        Sample(x, np.array([0, 2, 2, -1]), key=Key([HERE])),
        Sample(x, np.array([[0, 1], [3, 3]]), np.array([2, 0]), key=Key([HERE, HERE])),
        Sample(x, np.array([0, 0, 1]), key=Key([slice(None), HERE])),
        Sample(x, x > 0, key=Key([HERE])),
        Sample(x[0], np.array([True, False, True]), key=Key([HERE])),
        Sample(x, np.array([False, True, False, False]), np.array([1, 1]), key=Key([HERE, HERE])),
        Sample(x, np.array([0, 0]), key=Key([HERE, None, 1])),
        Sample(x, np.array(True), key=Key([HERE])),
        Sample(x, np.array(-1), key=Key([HERE])),
        Sample(x, np.array([], int), key=Key([HERE])),
        Sample(np.array(2.0), key=Key([None])),
        Sample(np.array(2.0), np.array(False), key=Key([HERE])),
    ]


@primitive(
    name="getitem",
    formula="{0}[{key}]",
    vjps=[lambda g, y, x, *indices, key: _put(g, *indices, key=key, shape=x.shape)],  # the other inputs are indices
    samples=_indexed,
    error_samples=lambda: [
        ErrorSample(np.ones(3), key=Key([3]), error=IndexingError, match=r"\[3\]: index 3 is out of bounds for axis 0"),
        ErrorSample(np.ones((2, 0)), key=Key([..., 0]), error=IndexingError, match="axis 1 .* has no elements"),
        ErrorSample(np.ones(3), key=Key([0, 0]), error=IndexingError, match="too many indices.* 1 axis.* for 2"),
        ErrorSample(
            np.ones((2, 3)),
            np.array([0, -4]),
            key=Key([slice(None), HERE]),
            error=IndexingError,
            match="index -4 is out of bounds for axis 1 of length 3: use -3 to 2",
        ),
        ErrorSample(
            np.ones((2, 3)),
            np.array([True] * 3),
            key=Key([HERE]),
            error=IndexingError,
            match=r"mask of shape \(3,\) cannot select from axes of shape \(2,\)",
        ),
        ErrorSample(
            np.ones((2, 3)),
            np.array([0, 1]),
            np.array([0, 1, 2]),
            key=Key([HERE, HERE]),
            error=IndexingError,
            match=r"shapes \(2,\), \(3,\) do not broadcast .* write x\[rows\]\[:, columns\]",
        ),
        ErrorSample(np.ones(3), key=Key([slice(0, 3, 0)]), error=ShapeError, match="step cannot be zero"),
    ],
)
def _getitem(x: Any, *indices: Any, key: Key) -> Any:
    complete = _complete(key, indices) if indices else tuple(key)
    try:
        return x[complete]
    except IndexError as error:
        if sum(part is Ellipsis for part in key) > 1:
            raise IndexingError("an index may have only one `...`") from None
        raise IndexingError(_why_refused(np.shape(x), complete) or str(error)) from None


@primitive(
    name="put",
    formula="put {0} at [{key}] of zeros{shape}",
    vjps=[lambda g, y, x, *indices, key, shape: _getitem(g, *indices, key=key)],
    samples=lambda rng: [
        Sample(
            np.asarray(_getitem(*sample.inputs, **sample.params)),
            *sample.inputs[1:],
            shape=sample.inputs[0].shape,
            **sample.params,
        )
        for sample in _indexed(rng)
    ],
)
def _put(x: Any, *indices: Any, key: Key, shape: Shape) -> Any:
    result = np.zeros(shape, dtype=x.dtype)
    complete = _complete(key, indices)
    if all(index.dtype == bool for index in indices):  # which select nothing twice
        result[complete] = x
    else:
        np.add.at(result, complete, x)  # plain assignment would lose repeated indices
    return result


def _as_index(part: Any) -> Any:
    """Return an array or tensor of integers or booleans to index with."""
    try:
        index = part if isinstance(part, Value) else np.asarray(part)
    except ValueError:
        raise IndexingError(f"an index array must have rows of one length, got {reprlib.repr(part)}") from None
    if isinstance(index, Value) and index.dtype == bool:
        refuse_while_capturing(
            "x[mask]", "How many elements there are would be fixed as well: keep the shape, with tg.where"
        )
    if index.dtype.kind in "iub":
        return index
    if index.dtype.kind != "f":
        raise IndexingError(f"an index must be integers or booleans, got {type(part).__name__} {reprlib.repr(part)}")
    if 0 in index.shape:
        return astype(index, int)  # NumPy makes [] float
    hint = "x.astype(int)" if isinstance(part, Value | np.ndarray) else "integers, without a decimal point"
    raise IndexingError(f"an index must be integers or booleans, got {index.dtype}: did you mean {hint}?")


def _as_slice(part: slice) -> slice:
    try:
        start, stop, step = (end if end is None else operator.index(end) for end in (part.start, part.stop, part.step))
    except TypeError:
        raise IndexingError(f"the ends and the step of a slice must be integers, got {_written(part)}") from None
    return slice(start, stop, step)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(3), np.ones(2), error=IndexingError, match=r"got float64: did you mean x.astype\(int\)\?"),
        ErrorSample(np.ones(3), 1.0, error=IndexingError, match="got float64: did you mean integers"),
        ErrorSample(np.ones(3), "a", error=IndexingError, match="integers or booleans, got str 'a'"),
        ErrorSample(np.ones(3), [0, [1, 2]], error=IndexingError, match="rows of one length"),
        ErrorSample(np.ones(3), slice(0.5, 2), error=IndexingError, match="ends .* must be integers, got 0.5:2"),
    ]
)
def getitem(x: Any, key: Any) -> Any:
    """Index like NumPy: integers, slices, ``...``, None, boolean and integer arrays or tensors, lists.

    Parameters
    ----------
    x : array_like
    key : one of those, or a tuple of them

    Raises
    ------
    IndexingError
        If an index is out of bounds, there are more of them than axes, a mask has another shape than what it
        selects from, or an index is neither integer nor boolean.
    """
    x = shaped(x)
    parts: list[Any] = []
    indices: list[Any] = []
    for part in key if isinstance(key, tuple) else (key,):
        if part is None or part is Ellipsis or isinstance(part, int | np.integer):
            parts.append(part)
        elif isinstance(part, slice):
            parts.append(_as_slice(part))
        else:
            indices.append(_as_index(part))
            parts.append(HERE)
    return _getitem(x, *indices, key=Key(parts))


# --- along one axis ------------------------------------------------------------------------------


def _integers(index: Any) -> Any:
    """Return an index of integers as an array or tensor."""
    index = _as_index(index)
    if index.dtype == bool:
        raise IndexingError("an index along an axis must be integers, got booleans: for a mask write x[mask]")
    return index


def _refuse_outside(index: Any, axis: int, length: int) -> None:
    """Refuse what is not counted from the front: -1 among labels is a label that is missing, and not the last."""
    outside = index[(index < 0) | (index >= length)]
    if outside.size:
        raise IndexingError(
            f"index {outside.flat[0]} is out of bounds for axis {axis} of length {length}: here indices count from "
            f"0 to {length - 1}. To count from the end, index with [ ] or take_along_axis"
        )


def _check_places(index: Any, shape: Shape, axis: int) -> None:
    if reason := _misfit(np.asarray(index), shape, axis):
        raise IndexingError(reason)


def _grid(lengths: Shape, index: Any, axis: int) -> tuple[Any, ...]:
    """Return the index arrays that have `index` along one axis, and every place along the others."""
    places = np.ogrid[tuple(map(slice, lengths))]
    return (*places[:axis], index, *places[axis + 1 :])


def _check_same_rank(what: str, ndim: int, other: str, wanted: int) -> None:
    if ndim != wanted:
        raise IndexingError(f"{what} has {axes_in_words(ndim)} and {other} {wanted}: they must have the same number")


def _check_index(index: Any, shape: Shape, axis: int) -> None:
    """Refuse an index of another number of axes than `shape`, or longer along the axes that it does not index."""
    _check_same_rank("the index", index.ndim, "the array", len(shape))
    for i, (m, n) in enumerate(zip(index.shape, shape)):
        if m > n and i != axis:
            raise IndexingError(
                f"along axis {i} the index has length {m}, and the array only {n}: it may be longer only along axis "
                f"{axis}, where it chooses"
            )
    _refuse_outside(index, axis, shape[axis])


def _gather_vjp(g: Any, y: Any, x: Any, index: Any, axis: int) -> Any:
    return _put(g, *_grid(index.shape, index, axis), key=Key([HERE] * len(x.shape)), shape=x.shape)


def _chosen(rng: np.random.Generator) -> list[tuple[Any, Any, int]]:
    """Return arrays with an index and its axis: with repeats, and shorter or longer than the array."""
    x = rng.normal(size=(3, 4))
    return [
        (x, np.array([[0, 2, 2, 1]]), 0),
        (x, np.array([[0, 3], [1, 1], [2, 0]]), 1),
        (x, np.array([[3, 3, 3, 0, 1]]), 1),
        (x, np.array([[0, 3], [1, 1], [2, 3]]), 1),
        (x[0], np.array([1]), 0),
        (x[0], np.array([], int), 0),
        (x[:0], np.zeros((0, 2), int), 1),
    ]


@primitive(
    name="gather",
    formula="gather({x}, {index})",
    vjps=[_gather_vjp, None],
    samples=lambda rng: [Sample(x, index, axis=axis) for x, index, axis in _chosen(rng)],
    error_samples=lambda: [
        ErrorSample(
            np.ones((1, 1)), np.zeros((2, 2), int), axis=1, error=IndexingError, match="along axis 0 the index"
        ),
        ErrorSample(np.ones((2, 2)), np.zeros(2, int), axis=1, error=IndexingError, match="has 1 axis and the array 2"),
        ErrorSample(np.ones((1, 3)), np.array([[3]]), axis=1, error=IndexingError, match="index 3 is out of bounds"),
        ErrorSample(np.ones((1, 3)), np.array([[-1]]), axis=1, error=IndexingError, match="count from 0 to 2"),
    ],
)
def _gather(x: Any, index: Any, *, axis: int) -> Any:
    _check_index(index, x.shape, axis)
    return x[_grid(index.shape, index, axis)]


def _with_axis(x: Any) -> Any:
    """Return a number as an array of one, which is how PyTorch indexes it."""
    return x if x.ndim else reshape(x, 1)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones(3), 0, np.ones(2), error=IndexingError, match=r"got float64: did you mean x.astype"),
        ErrorSample(np.ones(3), 1, np.zeros(2, int), error=ShapeError, match="axis 1 is out of bounds"),
    ]
)
def gather(x: Any, axis: int, index: Any) -> Any:
    """Choose elements along an axis, for each place its own: ``y[i, j] = x[index[i, j], j]`` for axis 0.

    Parameters
    ----------
    x : array_like
    axis : int
        Along which axis to choose.
    index : array_like of int
        With as many axes as `x`, and along the others of them not longer than `x`. Counted from 0; negative
        numbers are refused, as in PyTorch.

    Returns
    -------
    array or tensor
        Of the shape of `index`.

    Raises
    ------
    IndexingError
        If an index is out of bounds or no integer, or the shapes do not fit.
    """
    x, index = shaped(x), _integers(index)
    place = counted_axis(axis, x.ndim)
    if 0 in index.shape and index.ndim != x.ndim:  # PyTorch lets an empty index have any shape
        return reshape(flatten(x)[:0], index.shape)
    chosen = _gather(_with_axis(x), _with_axis(index), axis=place)
    return chosen if index.ndim else reshape(chosen, ())


@primitive(
    name="scatter_add",
    formula="scatter_add({x}, {index}, {src})",
    vjps=[lambda g, y, x, index, src, axis: g, None, lambda g, y, x, index, src, axis: _gather(g, index, axis=axis)],
    samples=lambda rng: [Sample(x, index, rng.normal(size=index.shape), axis=axis) for x, index, axis in _chosen(rng)],
    error_samples=lambda: [
        ErrorSample(
            np.ones((3, 5)), np.array([[34]]), np.ones((1, 1)), axis=0, error=IndexingError, match="index 34 is out of"
        ),
        ErrorSample(
            np.ones((3, 5)), np.zeros((4, 6), int), np.ones((4, 6)), axis=0, error=IndexingError, match="along axis 1"
        ),
    ],
)
def _scatter_add(x: Any, index: Any, src: Any, *, axis: int) -> Any:
    _check_index(index, x.shape, axis)
    result = np.array(x, dtype=np.result_type(x, src))
    np.add.at(result, _grid(index.shape, index, axis), src)
    return result


@composite(
    error_samples=lambda: [
        ErrorSample(
            np.ones((3, 5)), 0, np.zeros((2, 2), int), np.ones((2, 5, 2)), error=IndexingError, match="src has 3 axes"
        ),
        ErrorSample(
            np.ones((3, 5)), 0, np.zeros((2, 2), int), np.ones((2, 1)), error=IndexingError, match="src has only 1"
        ),
    ]
)
def scatter_add(x: Any, axis: int, index: Any, src: Any) -> Any:
    """Add elements of `src` to `x` at chosen places along an axis: ``x[index[i, j], j] += src[i, j]`` for axis 0.

    Returns a new array or tensor; repeated places add up.

    Parameters
    ----------
    x : array_like
    axis : int
        Along which axis the places are chosen.
    index : array_like of int
        With as many axes as `x`, and along the others of them not longer than `x`. Counted from 0.
    src : array_like
        With as many axes, and nowhere shorter than `index`; what is beyond the index is not used.

    Raises
    ------
    IndexingError
        If an index is out of bounds or no integer, or the shapes do not fit.
    """
    x, index, src = shaped(x), _integers(index), shaped(src)
    place = counted_axis(axis, x.ndim)
    _check_same_rank("src", src.ndim, "the index", index.ndim)
    for i, (m, n) in enumerate(zip(index.shape, src.shape)):
        if m > n:
            raise IndexingError(f"along axis {i} the index has length {m}, and src has only {n}")
    if src.shape != index.shape:
        src = src[tuple(map(slice, index.shape))]
    return reshape(_scatter_add(_with_axis(x), _with_axis(index), _with_axis(src), axis=place), x.shape)


@composite(
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), axis=1, index=[0, 0, 3]),
        Sample(rng.normal(size=(3, 4)), axis=-2, index=[]),
        Sample(rng.normal(size=()), axis=0, index=[0]),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), 1, [0, 3], error=IndexingError, match="index 3 is out of bounds for axis 1"),
        ErrorSample(np.ones((2, 3)), 0, [[0, 1]], error=IndexingError, match="the index has 2 axes"),
    ],
)
def index_select(x: Any, axis: int, index: Any) -> Any:
    """Take whole slices along an axis: ``x[:, index]`` for axis 1. The index has one axis and counts from 0."""
    x, index = shaped(x), _integers(index)
    place = counted_axis(axis, x.ndim)
    if index.ndim > 1:
        raise IndexingError(f"the index has {index.ndim} axes, and it must have one; x[:, index] allows any number")
    _refuse_outside(np.asarray(index), place, x.shape[place] if x.ndim else 1)
    chosen = _with_axis(x)[(*skip(place), _with_axis(index))]
    return chosen if x.ndim else reshape(chosen, ())


@composite(
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), index=[[0, -1], [5, 5]]),
        Sample(rng.normal(size=(3, 4)), index=2, axis=1),
        Sample(rng.normal(size=(3, 4)), index=[[0, -1], [2, 2]], axis=0),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), [6], error=IndexingError, match="index 6 is out of bounds for axis 0 of length 6")
    ],
)
def take(x: Any, index: Any, axis: int | None = None) -> Any:
    """Take the elements at the given places: among all of them, or slices along an axis."""
    (x, axis), index = _or_flat(x, axis), _integers(index)
    place = counted_axis(axis, x.ndim)
    _check_places(index, x.shape, place)
    return x[(*skip(place), index)]


@composite(
    numpy=[np.take_along_axis],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), np.array([[0, -1, 2, 2]]), axis=0),
        Sample(rng.normal(size=(3, 4)), np.array([[0, 0]]), axis=1),
        Sample(rng.normal(size=(1, 4)), np.array([[0], [3]]), axis=-1),
        Sample(rng.normal(size=(3, 4)), np.array([[0], [11]])),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.array([0]), axis=1, error=IndexingError, match="has 1 axis and the array 2"),
        ErrorSample(np.ones((2, 3)), np.array([[3]]), axis=1, error=IndexingError, match="index 3 is out of bounds"),
    ],
)
def take_along_axis(x: Any, indices: Any, axis: int | None = None) -> Any:
    """Choose elements along an axis, for each place its own, as what `argsort` returns says.

    Parameters
    ----------
    x : array_like
    indices : array_like of int
        With as many axes as `x`; along the others of them both broadcast. Negative ones count from the end.
    axis : int, optional
        Along which axis. By default along one axis of all elements.

    Raises
    ------
    IndexingError
        If an index is out of bounds or no integer, or the numbers of axes differ.
    """
    x, indices = shaped(x), _integers(indices)
    if axis is None:
        return take(x, flatten(indices))
    place = counted_axis(axis, x.ndim)
    _check_same_rank("the index", indices.ndim, "the array", x.ndim)
    _check_places(indices, x.shape, place)
    return x[_grid(x.shape, indices, place)]


take_along_dim = take_along_axis


@composite(
    formula="value if mask else x",
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), rng.normal(size=4) > 0, value=1.5),
        Sample(rng.normal(size=3), rng.normal(size=(2, 3)) > 0, np.array(2.0)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(3), np.ones(3), 0.0, error=DTypeError, match="a mask must be booleans, got float64"),
        ErrorSample(np.ones(3), [True] * 2, 0.0, error=ShapeError, match="axis -1 has . against ."),
        ErrorSample(np.ones(3), [True] * 3, np.ones(3), error=ShapeError, match="the value must be a single number"),
    ],
)
def masked_fill(x: Any, mask: Any, value: Any) -> Any:
    """Put one number where `mask` holds, and `x` elsewhere."""
    mask = shaped(mask)
    if mask.dtype != bool:
        raise DTypeError(f"a mask must be booleans, got {mask.dtype}: compare, for example mask != 0")
    if not isinstance(value, int | float) and shaped(value).ndim:
        raise ShapeError(f"the value must be a single number, got shape {shaped(value).shape}: use where for others")
    if reason := shapes_disagree([np.shape(x), mask.shape]):
        raise ShapeError(reason)
    return where(mask, value, x)


# --- sorting -------------------------------------------------------------------------------------


@primitive(
    name="argsort",
    formula="argsort({x})",
    vjps=None,
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4))),
        Sample(rng.normal(size=(3, 4)), axis=0, descending=True),
        Sample(np.array([2, 1, 2, 1]), descending=True),
        Sample(rng.normal(size=(0, 3))),
    ],
)
def _argsort(x: Any, *, axis: int = -1, descending: bool = False) -> Any:
    if not descending:
        return np.argsort(x, axis=axis, kind="stable")
    # Read backwards, and the result turned round: so equal elements keep their order too.
    backwards = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return x.shape[axis] - 1 - np.flip(backwards, axis)


def _out_of_range() -> list[ErrorSample]:
    return [ErrorSample(np.ones((2, 3)), axis=2, error=ShapeError, match="axis 2 is out of bounds")]


@composite(error_samples=_out_of_range)
def argsort(x: Any, axis: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Return the indices that sort along an axis. NaN counts as largest; equal elements keep their order always."""
    x = shaped(x)
    order = _argsort(_with_axis(x), axis=counted_axis(axis, x.ndim), descending=descending)
    return order if x.ndim else reshape(order, ())


@composite(error_samples=_out_of_range)
def sort(x: Any, axis: int = -1, descending: bool = False, stable: bool = False) -> ValuesAndIndices:
    """Sort along an axis.

    Parameters
    ----------
    x : array_like
    axis : int
        Along which axis, the last by default.
    descending : bool
        Whether the largest comes first.
    stable : bool
        For PyTorch's sake: equal elements keep their order in any case. NaN counts as largest.

    Returns
    -------
    ValuesAndIndices
        A named tuple (values, indices). The values are differentiable: each hands its gradient to the
        element that it was.
    """
    x = shaped(x)
    order = argsort(x, axis, descending)
    return ValuesAndIndices(gather(x, axis, order), order)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), k=4, error=ShapeError, match="k must be from 0 to 3, the length of axis -1"),
        ErrorSample(np.ones((2, 3)), k=1, axis=2, error=ShapeError, match="axis 2 is out of bounds"),
    ]
)
def topk(x: Any, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> ValuesAndIndices:
    """Return the `k` largest elements along an axis, or the smallest; always sorted, the most extreme first.

    Returns
    -------
    ValuesAndIndices
        A named tuple (values, indices). The values are differentiable.

    Raises
    ------
    ShapeError
        If there are fewer than `k` elements along the axis, or no such axis.
    """
    x, count = shaped(x), integer(k)
    place = counted_axis(axis, x.ndim)
    least, most = (0, x.shape[place]) if x.ndim else (1, 1)
    if not least <= count <= most:
        raise ShapeError(f"k must be from {least} to {most}, the length of axis {axis}, got {count}")
    ordered = sort(x, place, descending=largest)
    return ValuesAndIndices(*(part[(*skip(place), slice(count))] for part in ordered)) if x.ndim else ordered


# --- padding -------------------------------------------------------------------------------------

# Which elements of an axis of length n stand at `places` around it. Padding below zero leaves `kept`, from `first` on.
_SOURCES: dict[str, Callable[[Any, int, int, int], Any]] = {
    "reflect": lambda places, n, first, kept: n - 1 - abs(n - 1 - abs(places)),
    "replicate": lambda places, n, first, kept: places.clip(0, n - 1),
    "circular": lambda places, n, first, kept: first + (places - first) % max(kept, 1),
}


def _widths(pad: Shape) -> list[tuple[int, int]]:
    """Return how much to add before and after each of the last axes; `pad` begins with the last one."""
    return list(zip(pad[-2::-2], pad[::-2]))


def _kept(n: int, before: int, after: int) -> slice:
    """Return the part of an axis that remains where padding is negative."""
    return slice(max(-before, 0), n - max(-after, 0))


def _pad_sources(shape: Shape, pad: Shape, mode: str) -> tuple[Any, ...]:
    """Return the index arrays, for the axes that are padded, by which the result takes its elements."""
    rows = []
    for n, (before, after) in zip(shape[len(shape) - len(pad) // 2 :], _widths(pad)):
        kept = _kept(n, before, after)
        rows.append(_SOURCES[mode](np.arange(-before, n + after), n, kept.start, kept.stop - kept.start))
    return np.ix_(*rows)


def _pad_vjp(g: Any, y: Any, x: Any, pad: Shape, mode: str, value: float | None) -> Any:
    if mode == "constant":
        return _pad(g, pad=tuple(-width for width in pad))
    sources = _pad_sources(x.shape, pad, mode)
    return _put(g, *sources, key=Key([..., *[HERE] * len(sources)]), shape=x.shape)


@primitive(
    name="pad",
    formula="pad({x}, {pad})",
    vjps=[_pad_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(2, 3)), pad=(1, 2)),
        Sample(rng.normal(size=(2, 3)), pad=(1, -1, 0, 2), value=1.5),
        Sample(rng.normal(size=3), pad=(-1, -2)),
        Sample(rng.normal(size=()), pad=()),
        Sample(rng.normal(size=(0, 3)), pad=(1, 0, 1, 1)),
        Sample(rng.normal(size=(2, 3, 4)), pad=(3, 1, 0, 2), mode="reflect"),
        Sample(rng.normal(size=4), pad=(-1, 2), mode="reflect"),
        Sample(rng.normal(size=(2, 3)), pad=(4, 1, 0, 2), mode="replicate"),
        Sample(rng.normal(size=(2, 3)), pad=(3, 1, 2, 0), mode="circular"),
        Sample(rng.normal(size=(2, 4)), pad=(-1, 2), mode="circular"),
        Sample(rng.normal(size=(3, 4)), pad=(2, -1), mode="circular"),
        Sample(rng.normal(size=(3, 4)), pad=(-1, 1, 1, -1), mode="replicate"),
        Sample(rng.normal(size=(0, 3)), pad=(1, 1), mode="reflect"),
    ],
)
def _pad(x: Any, *, pad: Shape, mode: str = "constant", value: float | None = None) -> Any:
    if mode != "constant":
        return x[(..., *_pad_sources(x.shape, pad, mode))]
    widths = [(0, 0)] * (np.ndim(x) - len(pad) // 2) + _widths(pad)
    lengths = [n + before + after for n, (before, after) in zip(np.shape(x), widths)]
    result = np.full(lengths, value or 0, x.dtype if value is None else np.result_type(x, value))
    inside = tuple(_kept(n, -before, -after) for n, (before, after) in zip(lengths, widths))
    result[inside] = x[tuple(_kept(n, before, after) for n, (before, after) in zip(np.shape(x), widths))]
    return result


def _check_padding(shape: Shape, pad: Shape, mode: str) -> None:
    if len(pad) % 2 or len(pad) > 2 * len(shape):
        raise ShapeError(
            f"pad must have two numbers, before and after, for each axis to be padded, beginning with the last one; "
            f"got {len(pad)} numbers for {axes_in_words(len(shape))}"
        )
    for axis, (before, after) in zip(range(-len(pad) // 2, 0), _widths(pad)):
        n = shape[axis]
        kept = n + min(before, 0) + min(after, 0)
        if kept < 0:
            raise ShapeError(f"({before}, {after}) takes away more than the {n} elements that axis {axis} has")
        most = {"constant": None, "reflect": n - 1, "circular": kept, "replicate": None if n else 0}[mode]
        if most is not None and max(before, after) > max(most, 0):
            raise ShapeError(
                f"mode {mode!r} can add at most {max(most, 0)} elements at an end of axis {axis}, got "
                f"({before}, {after}): there are no more to take them from"
            )


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), (1, 1, 1), error=ShapeError, match="two numbers, .* got 3 numbers for 2 axes"),
        ErrorSample(np.ones(3), (1, 1, 1, 1), error=ShapeError, match="got 4 numbers for 1 axis"),
        ErrorSample(np.ones(3), (-2, -2), error=ShapeError, match=r"takes away more than the 3 elements"),
        ErrorSample(np.ones(3), (3, 0), mode="reflect", error=ShapeError, match="'reflect' can add at most 2"),
        ErrorSample(np.ones(3), (0, 4), mode="circular", error=ShapeError, match="'circular' can add at most 3"),
        ErrorSample(np.ones(0), (0, 1), mode="replicate", error=ShapeError, match="'replicate' can add at most 0"),
        ErrorSample(np.ones(3), (1, 1), mode="edge", error=ArgumentError, match="mode 'edge' is none of 'constant'"),
        ErrorSample(np.ones(3), (1, 1), mode="reflect", value=2.0, error=ArgumentError, match="value is for mode"),
        ErrorSample(np.ones(3), (1, 1), value=np.ones(2), error=ArgumentError, match="must be a number, got "),
    ]
)
def pad(x: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
    """Add elements at the ends of axes, or take some away.

    Parameters
    ----------
    x : array_like
    pad : sequence of int
        How many before and after each axis, beginning with the last axis: ``(left, right, top, bottom)`` for
        matrices. Negative numbers take away.
    mode : str
        What to add: ``"constant"``, one number; ``"reflect"``, what the end element mirrors; ``"replicate"``, the
        end element; ``"circular"``, what stands at the other end.
    value : float, optional
        The number for mode ``"constant"``; 0 by default.

    Raises
    ------
    ShapeError
        If more is taken away than there is, or there is not as much as would be mirrored or wrapped around.
    ArgumentError
        If there is no such mode, or a value is given for another one than ``"constant"``.
    """
    x, widths = shaped(x), as_tuple((pad,))
    modes = ["constant", *_SOURCES]
    if mode not in modes:
        raise ArgumentError(f"mode {mode!r} is none of {', '.join(map(repr, modes))}")
    if not (value is None or isinstance(value, int | float | np.number)):
        raise ArgumentError(f"the value must be a number, got {type(value).__name__}: use concatenate for others")
    if mode != "constant" and value not in (None, 0):
        raise ArgumentError(f"a value is for mode 'constant'; mode {mode!r} takes what is in the array")
    _check_padding(x.shape, widths, mode)
    constant = value.item() if isinstance(value, np.number) else value  # or a float64 would widen float32
    return _pad(x, pad=widths, mode=mode, value=constant if mode == "constant" else None)


# --- NumPy's functions where arguments or meaning differ --------------------------------------------

_NUMPY_MODES = {"constant": "constant", "edge": "replicate", "reflect": "reflect", "wrap": "circular"}


def _numpy_pad(array: Any, pad_width: Any, mode: str = "constant", *, constant_values: Any = 0) -> Any:
    if mode not in _NUMPY_MODES or np.ndim(constant_values):
        raise ArgumentError(
            f"of a tensor only the modes {', '.join(map(repr, _NUMPY_MODES))} are recorded, with one constant value"
        )
    widths = np.broadcast_to(pad_width, (array.ndim, 2))
    if (widths < 0).any():
        raise ShapeError("np.pad does not take elements away; tg.pad does, with its order of numbers")
    return pad(array, widths[::-1].ravel(), _NUMPY_MODES[mode], constant_values or None)


# Sorting is stable whatever is asked for.
counterparts(
    {
        np.take: lambda a, indices, axis=None: take(a, indices, axis),
        np.sort: lambda a, axis=-1, kind=None, *, stable=None: sort(*_or_flat(a, axis)).values,
        np.argsort: lambda a, axis=-1, kind=None, *, stable=None: argsort(*_or_flat(a, axis)),
        np.pad: _numpy_pad,
    }
)
