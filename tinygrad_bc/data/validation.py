"""Checks of data, made before anything is computed from it: each error names the row, the column and the likely fix."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from reprlib import repr as short_repr
from typing import Any

import numpy as np

from tinygrad_bc.diagnosis import describe
from tinygrad_bc.errors import DataError, DTypeError
from tinygrad_bc.record import Array, Value

__all__ = [
    "as_array",
    "check_finite",
    "check_labels",
    "check_lengths",
    "is_mapped",
    "number_groups",
]


def as_array(data: Any, name: str = "data") -> Array:
    """Return rows of numbers as an array, without copying them where that is possible.

    Parameters
    ----------
    data : array_like, DataFrame, Series or Tensor
        Rows along the first axis. A memory-mapped array is not read; a table's columns become one dtype, the one
        that NumPy promotes theirs to.
    name : str
        What the data is called in a message, if it is not a variable of the caller.

    Returns
    -------
    ndarray of shape (n, ...)
        Of bool, integers or floating-point numbers.

    Raises
    ------
    DTypeError
        If the data, or a column of it, holds anything but numbers.
    DataError
        If the rows differ in length, a cell of a table or masked array is missing, or there are no rows at all: a
        single number, or several arrays in a tuple.
    """
    if hasattr(data, "to_numpy") and hasattr(data, "index"):
        return _as_array_from_table(data, describe(data, name))
    if isinstance(data, tuple) and any(isinstance(part, np.ndarray | Value) or hasattr(part, "index") for part in data):
        raise DataError(f"{name} is a tuple of {len(data)} arrays; pass them one by one, with a * before the tuple")
    if isinstance(data, np.ma.MaskedArray) and np.ma.is_masked(data):
        raise DataError(f"{describe(data, name)} has masked cells, and they would be used; fill them in: .filled(...)")
    try:
        array = np.asarray(data)
    except ValueError:
        raise DataError(f"{name}: the rows of {short_repr(data)} differ in length; every row needs as many") from None
    if array.dtype.kind not in "biuf":
        raise DTypeError(
            f"{describe(data, name)} has dtype {array.dtype}; expected numbers. "
            "Convert it, e.g. .astype(float), or number the classes with np.unique(labels, return_inverse=True)[1]"
        )
    if not array.ndim:
        raise DataError(f"{name} is the single number {array}; expected an array with a row for each sample")
    return array


def _as_array_from_table(data: Any, title: str) -> Array:
    table = data.to_frame() if data.ndim == 1 else data
    for column, dtype in table.dtypes.items():
        if dtype.kind not in "biuf":
            raise DTypeError(
                f"{title}, column {column}: its dtype is {dtype}; expected numbers. Convert it with pd.to_numeric, "
                "number its classes with pd.factorize, or leave it out"
            )
    if table.empty:
        return np.empty(data.shape)
    missing = table.isna().to_numpy()
    if missing.any():
        raise _bad_cell(title, missing, list(table.index), list(table.columns), "is missing")
    # A dtype of pandas' own, Int64, says which of NumPy's it stands for.
    array = data.to_numpy(dtype=np.result_type(*(getattr(dtype, "numpy_dtype", dtype) for dtype in table.dtypes)))
    return np.asarray(array)


def is_mapped(array: Array) -> bool:
    """Return whether the values lie in a file: whether `array` is a memory-mapped array, or a view of one."""
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return isinstance(base, mmap.mmap)


def check_finite(data: Any, name: str = "data", rows: Sequence[Any] | Array | None = None) -> None:
    """Refuse NaN and infinity.

    Parameters
    ----------
    data : array_like, DataFrame or Series, of shape (n, ...)
        What is checked. Integers and booleans always pass.
    name : str
        What the data is called in a message, if it is not a variable of the caller.
    rows : sequence or array of length n, optional
        What the rows are called in a message; by default a table's index, or their numbers from 0.

    Raises
    ------
    DataError
        The message names the first such cell, and says how many there are.
    """
    values = as_array(data, name)
    if values.dtype.kind != "f" or np.isfinite(values).all():
        return
    wrong = ~np.isfinite(values)
    labels = list(getattr(data, "index", range(len(values)))) if rows is None else rows
    columns = list(getattr(data, "columns", ()))
    found = values[tuple(np.argwhere(wrong)[0])]
    raise _bad_cell(describe(data, name), wrong, labels, columns, f"is {found}, not a finite number")


def _bad_cell(title: str, wrong: Array, rows: Sequence[Any] | Array, columns: Sequence[Any], what: str) -> DataError:
    row, *others = np.argwhere(wrong)[0].tolist()
    place = f"row {rows[row]}"
    if len(others) == 1:
        place += f", column {columns[others[0]] if columns else others[0]}"
    elif others:
        place += f", at {tuple(others)}"
    count = int(wrong.sum())
    total = f" ({count} cells are such)" if count > 1 else ""
    return DataError(
        f"{title}, {place}: the cell {what}{total}; drop the row, or fill the cell in, "
        "with a median of the training rows for example"
    )


def check_lengths(*arrays: Any, names: Sequence[str] = ()) -> int:
    """Return how many rows the arrays have; refuse arrays without rows, or with different numbers of them.

    Parameters
    ----------
    *arrays : array_like or DataFrame
        At least one.
    names : sequence of str, optional
        What each is called in a message, if it is not a variable of the caller.

    Raises
    ------
    DataError
        The message lists all shapes.
    """
    if not arrays:
        raise DataError("there is no array; pass at least one, with a row for each sample")
    lengths = [len(array) for array in arrays]
    titles = [describe(x, names[i] if names else f"array {i + 1}") for i, x in enumerate(arrays)]
    if len(set(lengths)) > 1:
        in_columns = any(np.ndim(x) > 1 and np.shape(x)[1] in {*lengths} - {len(x)} for x in arrays)
        hint = "; a sample is a row here, so did you mean to transpose, .T?" if in_columns else ""
        raise DataError(f"the numbers of rows differ: {', '.join(titles)}; expected a row for each sample in all{hint}")
    if not lengths[0]:
        raise DataError(f"there are no rows: {', '.join(titles)}; check how they were read and selected")
    return lengths[0]


def check_labels(labels: Any, classes: int, name: str = "labels") -> None:
    """Refuse labels that are not whole numbers from 0 to `classes` - 1.

    Parameters
    ----------
    labels : array_like or Series, of any shape
        The class of each sample.
    classes : int
        How many classes there are.
    name : str
        What the labels are called in a message, if they are not a variable of the caller.

    Raises
    ------
    DataError
        The message names the first wrong label and, for labels counted from 1, the fix.
    """
    values = as_array(labels, name)
    wrong = ~((values >= 0) & (values < classes) & (values == np.floor(values)))  # True for NaN too
    if not wrong.any():
        return
    place = np.argwhere(wrong)[0]
    where = ", ".join(map(str, place))
    counted_from_1 = values.min() == 1 and values.max() == classes and (values == np.floor(values)).all()
    fix = "they are counted from 1, so subtract 1" if counted_from_1 else "correct it, or pass the right number of them"
    raise DataError(
        f"{describe(labels, name)}, at {where}: {values[tuple(place)]} is no label of {classes} classes; "
        f"expected whole numbers from 0 to {classes - 1}: {fix}"
    )


def number_groups(values: Any, n: int, name: str) -> Array:
    """Return the group, or class, of each of `n` rows as a number from 0, whatever the groups are called.

    Raises
    ------
    DataError
        If there is not one value for each row, or one is missing.
    """
    import pandas as pd

    column = np.asarray(values)
    if column.shape != (n,):
        raise DataError(f"{name} has the shape {column.shape}; expected one value for each of the {n} rows, ({n},)")
    numbers = np.asarray(pd.factorize(column)[0])
    if (numbers < 0).any():
        raise DataError(f"{name}, row {np.argmax(numbers < 0)}: the value is missing; drop the row, or fill it in")
    return numbers
