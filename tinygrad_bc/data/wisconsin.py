"""The Breast Cancer Wisconsin (Original) table: read it, scale it, split it, hand it to a network."""

from __future__ import annotations

import csv
import io
import os
from pathlib import Path
from reprlib import repr as short_repr
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from tinygrad_bc.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FEATURES", "as_columns", "load_wisconsin", "scale_min_max", "tutorial_split"]

# A list and not a tuple: pandas takes a tuple for the name of a single column.
FEATURES: Final = [
    "clump_thickness",
    "cell_size_uniformity",
    "cell_shape_uniformity",
    "marginal_adhesion",
    "epithelial_cell_size",
    "bare_nuclei",
    "bland_chromatin",
    "normal_nucleoli",
    "mitoses",
]

_FILE_COLUMNS: Final = ["id", *FEATURES, "class"]
_BENIGN, _MALIGNANT = 2, 4
_MISSING = "?"

_TRAIN, _VALIDATION = slice(0, 500), slice(501, 683)

_REQUIREMENT = {
    "id": "is not a sample id, a whole number of at most 18 digits; correct it or delete the line",
    "class": f"is not a class, {_BENIGN} (benign) or {_MALIGNANT} (malignant); correct it or delete the line",
} | dict.fromkeys(FEATURES, f"is not a finite number; correct it, or write {_MISSING} if the value is missing")


def load_wisconsin(path: str | os.PathLike[str]) -> pd.DataFrame:
    """Read the Wisconsin breast-cancer file and return its complete rows.

    The file is a CSV file without a header: sample id, the nine `FEATURES`, class (2 benign, 4 malignant).
    Rows with a missing value, written ``?``, are dropped. Blank lines are skipped.

    Parameters
    ----------
    path
        The file, in UTF-8.

    Returns
    -------
    DataFrame of shape (n, 11)
        Columns ``id`` (int64), the nine `FEATURES` (float64) and ``malignant`` (int64; 0 benign, 1 malignant);
        index 0 to n - 1, in the order of the file. The file of 699 rows gives n = 683: 444 benign and 239 malignant.

    Raises
    ------
    DataError
        If the file cannot be read, or does not hold such a table. The message names file, line, column and value.

    Notes
    -----
    Some patients have several rows, and some rows occur twice, so a random split of the rows puts some patients
    on both sides of it.
    """
    path = Path(path)
    cells = _read_cells(path)
    _check_no_header(path, cells)
    _check_cells(path, cells)
    return _encode(_drop_missing(path, cells))


def scale_min_max(table: pd.DataFrame, fit_on: pd.DataFrame | None = None) -> pd.DataFrame:
    """Return `table` with every feature scaled linearly, so that it runs from 0 to 1 on the rows of `fit_on`.

    Parameters
    ----------
    table
        Table of n rows with the nine `FEATURES`. It is not changed.
    fit_on
        Table from whose rows the minimum and maximum of each feature are taken, by default `table` itself. With the
        training rows here, nothing of the validation rows leaks into the scaling, and their values may leave [0, 1].

    Returns
    -------
    DataFrame of n rows
        A new table: features float64, all other columns as they were. A feature that is constant on `fit_on` is 0
        where it has that constant value.

    Raises
    ------
    DataError
        If a table is empty, lacks a feature, or holds a value that is not a finite number.
    MissingDependencyError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.preprocessing import MinMaxScaler
    except ImportError as error:
        raise MissingDependencyError(
            'scale_min_max needs scikit-learn; install it with: pip install "tinygrad_bc[data]"'
        ) from error

    values = _numbers(table, FEATURES, "table")
    reference = values if fit_on is None else _numbers(fit_on, FEATURES, "fit_on")
    scaled = MinMaxScaler().fit(reference).transform(values)
    return table.assign(**dict(zip(FEATURES, scaled.T)))


def tutorial_split(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split the rows as the well-known tutorial does: rows 0:500 for training, rows 501:683 for validation.

    These slices leave row 500 out of both parts, so validation has 182 rows and not the 183 that the tutorial
    claims. They are kept so that its results can be reproduced.

    Parameters
    ----------
    table
        Table of at least 683 rows, as `load_wisconsin` or `scale_min_max` returns it. It is not changed.

    Returns
    -------
    train : DataFrame of 500 rows
        A copy of the rows at positions 0 to 499; index, columns and dtypes as in `table`.
    validation : DataFrame of 182 rows
        A copy of the rows at positions 501 to 682; index, columns and dtypes as in `table`.

    Raises
    ------
    DataError
        If the table has fewer than 683 rows.
    """
    if len(table) < _VALIDATION.stop:
        raise DataError(
            f"the table has {len(table)} rows, but the tutorial's split needs {_VALIDATION.stop}; "
            "pass the whole table that load_wisconsin returns, before any other split"
        )
    # Before version 3, pandas gives views: without the copies, writing to a part would write to the table.
    return table.iloc[_TRAIN].copy(), table.iloc[_VALIDATION].copy()


def as_columns(table: pd.DataFrame) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the arrays for a network that takes one sample per column.

    Parameters
    ----------
    table
        Table of n rows with the nine `FEATURES` and ``malignant``.

    Returns
    -------
    X : float64 array of shape (9, n), C-contiguous
        The features, in the order of `FEATURES`. A copy.
    Y : float64 array of shape (1, n), C-contiguous
        The column ``malignant``. A copy.

    Raises
    ------
    DataError
        If the table is empty, lacks one of these columns, or holds a value that is not a finite number.
    """
    X = _numbers(table, FEATURES, "table").T
    Y = _numbers(table, ["malignant"], "table").T
    # Copies in any case: pandas may hand out its own memory, write-protected.
    return np.array(X, order="C"), np.array(Y, order="C")


def _read_cells(path: Path) -> pd.DataFrame:
    """Return the cells as text; the index holds the line numbers, counted from 1."""
    import pandas as pd

    # Split line by line and not by read_csv: an unclosed quote cannot swallow the lines after it, and a line that
    # is too short is not filled up.
    lines = enumerate(io.StringIO(_read_text(path), newline=None), start=1)
    rows = {number: _split_line(path, number, line) for number, line in lines if line.strip()}
    if not rows:
        raise DataError(f"{path}: the file is empty; expected rows of {len(_FILE_COLUMNS)} values, check the download")
    return pd.DataFrame(list(rows.values()), index=list(rows), columns=_FILE_COLUMNS)


def _read_text(path: Path) -> str:
    data = _read_bytes(path)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _not_text(path, data, error.start) from None
    if "\0" in text:
        raise _not_text(path, data, data.index(b"\0"))
    return text.removeprefix("\ufeff")  # the byte order mark of spreadsheet programs


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise DataError(f"{path} is a directory; pass the path of the CSV file in it")
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no such file; check the spelling, and that a relative path starts at {Path.cwd()}"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}); check path and permissions") from None


def _not_text(path: Path, data: bytes, position: int) -> DataError:
    line = len(data[: position + 1].splitlines())
    return DataError(
        f"{path}, line {line}: byte 0x{data[position]:02x} at offset {position} is not UTF-8 text; "
        "pass a plain CSV file, unpacked and saved as UTF-8"
    )


def _split_line(path: Path, number: int, line: str) -> list[str]:
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise DataError(
            f"{path}, line {number}: the line cannot be split ({error}): {short_repr(line)}; "
            f"expected {len(_FILE_COLUMNS)} plain values separated by commas, so check its quotes"
        ) from None
    if len(cells) != len(_FILE_COLUMNS):
        raise DataError(
            f"{path}, line {number}: the number of columns is {len(cells)} instead of {len(_FILE_COLUMNS)}: "
            f"{short_repr(line)}; correct the line to id, nine features and class, separated by commas"
        )
    return [cell.strip() for cell in cells]


def _check_no_header(path: Path, cells: pd.DataFrame) -> None:
    first = list(cells.iloc[0])
    if all(cell[:1].isalpha() for cell in first):
        raise DataError(
            f"{path}, line {cells.index[0]}: looks like a header, as column 1 ({_FILE_COLUMNS[0]}) holds "
            f"{short_repr(first[0])}; expected numbers from the first line on, so delete this line"
        )


def _check_cells(path: Path, cells: pd.DataFrame) -> None:
    valid = _as_numbers(cells).abs() < np.inf  # False for NaN too
    valid |= cells == _MISSING
    valid["id"] = cells["id"].str.fullmatch("[0-9]{1,18}")  # 18 digits always fit int64
    valid["class"] = _as_numbers(cells[["class"]]).isin([_BENIGN, _MALIGNANT])["class"]
    wrong = np.argwhere(~valid.to_numpy(dtype=bool))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(f"{_place(path, cells, row, column)} {_REQUIREMENT[_FILE_COLUMNS[column]]}")


def _place(path: Path, cells: pd.DataFrame, row: int, column: int) -> str:
    line, value = cells.index[row], short_repr(cells.iat[row, column])
    return f"{path}, line {line}, column {column + 1} ({_FILE_COLUMNS[column]}): {value}"


def _drop_missing(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    missing = cells == _MISSING
    complete = cells.loc[~missing.any(axis=1)]
    if complete.empty:
        row, column = np.argwhere(missing.to_numpy())[0]
        raise DataError(
            f"{_place(path, cells, row, column)} is a missing value, and so has every row; "
            "expected at least one complete row, check that this is the right file"
        )
    return complete.reset_index(drop=True)


def _encode(cells: pd.DataFrame) -> pd.DataFrame:
    malignant = _as_numbers(cells[["class"]])["class"] == _MALIGNANT
    table = cells.drop(columns="class").astype({"id": "int64"} | dict.fromkeys(FEATURES, "float64"))
    return table.assign(malignant=malignant.astype("int64"))


def _numbers(table: pd.DataFrame, columns: list[str], name: str) -> npt.NDArray[np.float64]:
    """Return the columns as an array of shape (n, number of columns), after checking them."""
    if table.empty:
        raise DataError(f"{name} has no rows; expected at least one, check how the rows were selected")
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise DataError(f"{name} lacks the column {absent[0]!r}; pass a table with the columns of load_wisconsin")
    numbers = _as_numbers(table[columns]).to_numpy(dtype=np.float64)
    wrong = np.argwhere(~np.isfinite(numbers))
    if len(wrong):
        row, column = wrong[0]
        raise DataError(
            f"{name}, row {table.index[row]}, column {columns[column]}: "
            f"{short_repr(str(table[columns].iat[row, column]))} is not a finite number; correct it or drop the row"
        )
    return numbers


def _as_numbers(cells: pd.DataFrame) -> pd.DataFrame:
    """Return the cells as numbers, NaN where a cell is none."""
    import pandas as pd

    numbers: pd.DataFrame = cells.apply(pd.to_numeric, errors="coerce")
    return numbers
