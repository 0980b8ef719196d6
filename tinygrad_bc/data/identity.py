"""Telling whether two runs had the same data."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from tinygrad_bc.data.validation import as_array
from tinygrad_bc.record import Array

__all__ = ["fingerprint"]

CHUNK = 1 << 20  # numbers hashed at once, so that a memory-mapped array is never in memory as a whole


def fingerprint(*arrays: Any) -> str:
    """Return a hash of the data: the same in every run and on every machine, another one if a bit differs.

    Parameters
    ----------
    *arrays : array_like, DataFrame, Series or Tensor
        Of numbers. Their order, shapes, dtypes and values count, and the names of a table's columns; where the values
        lie in memory, the byte order and a table's index do not.

    Returns
    -------
    str
        SHA-256 (NIST, FIPS 180-4, 2015), 64 hexadecimal digits.

    Raises
    ------
    DTypeError, DataError
        As `as_array` does.
    """
    digest = hashlib.sha256()
    for i, data in enumerate(arrays):
        name = f"array {i + 1}"
        if hasattr(data, "columns"):
            digest.update(f"table {len(data.columns)}\0".encode())
            for column in data.columns:
                digest.update(f"{column!r}\0".encode())
                _add(digest, as_array(data[column], name))
        else:
            _add(digest, as_array(data, name))
    return digest.hexdigest()


def _add(digest: Any, array: Array) -> None:
    dtype = array.dtype.newbyteorder("<")
    digest.update(f"{dtype.str} {array.shape}\0".encode())
    rows = max(1, CHUNK * len(array) // max(array.size, 1))
    for start in range(0, len(array), rows):
        digest.update(np.ascontiguousarray(array[start : start + rows], dtype=dtype).tobytes())
