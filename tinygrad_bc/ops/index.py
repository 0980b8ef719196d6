"""Taking elements out, and its derivative: putting them back, repeats added up."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinygrad_bc.errors import IndexingError
from tinygrad_bc.primitive import ErrorSample, Sample, primitive
from tinygrad_bc.record import Value


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


def _samples(rng: np.random.Generator) -> list[Sample]:
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
        Sample(np.array(2.0), key=Key([None])),
    ]


def _put_back(g: Any, y: Any, x: Any, *indices: Any, key: Key) -> Any:
    return _put(g, *indices, key=key, shape=x.shape)


@primitive(
    name="getitem",
    formula="{0}[{key}]",
    vjps=[_put_back],  # the other inputs are indices
    samples=_samples,
    error_samples=lambda: [
        ErrorSample(np.ones(3), key=Key([3]), error=IndexingError, match=r"\[3\]: index 3 is out of bounds"),
        ErrorSample(np.ones(3), key=Key([0, 0]), error=IndexingError, match="too many indices"),
    ],
)
def _getitem(x: Any, *indices: Any, key: Key) -> Any:
    return x[_complete(key, indices)]


@primitive(
    name="put",
    formula="put {0} at [{key}] of zeros{shape}",
    vjps=[lambda g, y, x, *indices, key, shape: _getitem(g, *indices, key=key)],
    samples=lambda rng: [
        Sample(
            _getitem(*sample.inputs, **sample.params), *sample.inputs[1:], shape=sample.inputs[0].shape, **sample.params
        )
        for sample in _samples(rng)
    ],
)
def _put(x: Any, *indices: Any, key: Key, shape: tuple[int, ...]) -> Any:
    result = np.zeros(shape, dtype=x.dtype)
    if indices:
        np.add.at(result, _complete(key, indices), x)  # plain assignment would lose repeated indices
    else:
        result[key] = x
    return result


def _as_index(part: Any) -> Any:
    array = np.asarray(part)
    return array.astype(int) if array.size == 0 and array.dtype != bool else array  # NumPy makes [] float


def getitem(x: Any, key: Any) -> Any:
    """Index like NumPy: integers, slices, ``...``, None, boolean and integer arrays or tensors, lists."""
    parts: list[Any] = []
    indices: list[Any] = []
    for part in key if isinstance(key, tuple) else (key,):
        if part is None or part is Ellipsis or isinstance(part, int | np.integer | slice):
            parts.append(part)
        else:
            indices.append(part if isinstance(part, Value) else _as_index(part))
            parts.append(HERE)
    return _getitem(x, *indices, key=Key(parts))
