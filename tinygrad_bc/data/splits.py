"""Splitting rows into those to learn from, those to choose by, and those to report.

What is fitted, a scaler included, is fitted on the training rows alone; the other rows are only transformed::

    (X, y), (X_val, y_val), (X_test, y_test) = split(X, y, stratify=y, groups=patients, generator=0)
    scaler = sklearn.preprocessing.StandardScaler().fit(X)
    X, X_val, X_test = map(scaler.transform, (X, X_val, X_test))
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from tinygrad_bc.data.validation import check_lengths, number_groups
from tinygrad_bc.errors import ArgumentError, DataError, MissingDependencyError
from tinygrad_bc.generators import as_generator
from tinygrad_bc.record import Array

__all__ = ["split"]

FINEST = 100  # sizes are understood as fractions with at most this denominator where whole groups are dealt out


def split(
    *data: Any,
    sizes: Sequence[float] = (0.6, 0.2, 0.2),
    stratify: Any = None,
    groups: Any = None,
    generator: np.random.Generator | int,
) -> tuple[Any, ...]:
    """Split the rows at random into parts that share no row, and no group.

    Parameters
    ----------
    *data : array_like or DataFrame, each of n rows
        What is split, all in the same way. ``split(np.arange(n), …)`` gives the numbers of the rows, for arrays too
        large to be copied.
    sizes : sequence of float
        The share of the rows in each part; they add up to 1.
    stratify : array_like of shape (n,), or the name of a column, optional
        Classes whose shares are to be the same in all parts.
    groups : array_like of shape (n,), or the name of a column, optional
        Rows of one group, those of a patient for example, go to the same part: a network that has seen a patient is
        not tested on the same one (Kaufman, Rosset, Perlich and Stitelman, "Leakage in data mining", 2012). The
        sizes and the classes are then met as closely as whole groups allow.
    generator : numpy.random.Generator or int
        Where the random numbers come from; the same seed gives the same parts.

    Returns
    -------
    tuple
        For each size one part, a copy with its rows in their old order: of the same kind as `data` (tables stay
        tables, anything else becomes an array); a tuple of them if there is more than one.

    Raises
    ------
    ArgumentError
        If there are fewer than two sizes, or they are not positive or do not add up to 1.
    DataError
        If numbers of rows differ, a part would be empty, or there are too few groups, or rows of a class.
    MissingDependencyError
        If scikit-learn is not installed: its ``train_test_split`` and ``StratifiedGroupKFold`` do the work.
    """
    n = check_lengths(*data)
    if len(sizes) < 2 or min(sizes) <= 0 or not math.isclose(sum(sizes), 1, abs_tol=1e-9):
        raise ArgumentError(
            f"sizes={tuple(sizes)}: expected shares of the rows, at least two, that are positive and add up to 1"
        )
    classes = _column(stratify, data, "stratify")
    owners = _column(groups, data, "groups")
    generator = as_generator(generator, "split")
    if owners is None:
        parts = _deal_rows(n, sizes, classes, generator)
    else:
        parts = _deal_groups(np.zeros(n) if classes is None else classes, owners, sizes, generator)
    return tuple(_pick(data, np.sort(rows)) for rows in parts)


def _column(values: Any, data: Sequence[Any], name: str) -> Array | None:
    """Return the class, or the group, of each row as a number."""
    if values is None:
        return None
    if isinstance(values, str):
        table = data[0]
        if values not in getattr(table, "columns", ()):
            raise ArgumentError(f"{name}={values!r}: the first thing to split is no table with such a column")
        values = table[values]
    return number_groups(values, len(data[0]), name)


def _deal_rows(n: int, sizes: Sequence[float], classes: Array | None, generator: np.random.Generator) -> list[Array]:
    """Split off one part after the other, the last first, each with its share of what is left."""
    train_test_split = _sklearn("train_test_split")
    parts: list[Array] = []
    rows = np.arange(n)
    bounds = np.rint(np.cumsum([0, *sizes]) * n).astype(int)
    if (np.diff(bounds) == 0).any():
        raise DataError(f"{n} rows are too few for sizes {tuple(sizes)}: a part would be empty")
    for size in np.diff(bounds)[:0:-1].tolist():
        try:
            rows, part = train_test_split(
                rows,
                test_size=size,
                stratify=None if classes is None else classes[rows],
                random_state=_seed(generator),
            )
        except ValueError as error:
            raise DataError(
                f"the rows cannot be stratified: {error} Merge rare classes, or make larger parts"
            ) from None
        parts.insert(0, part)
    return [rows, *parts]


def _deal_groups(classes: Array, owners: Array, sizes: Sequence[float], generator: np.random.Generator) -> list[Array]:
    """Make as many folds as the sizes have a common denominator, and give each part its number of them."""
    shares = [Fraction(size).limit_denominator(FINEST) for size in sizes]
    folds = math.lcm(*(share.denominator for share in shares))
    count = owners.max() + 1
    if sum(shares) != 1 or folds > count:
        raise DataError(
            f"{count} groups cannot be dealt out in shares of {tuple(sizes)}, which takes {folds} folds of at least a "
            "group each; choose rounder sizes, (0.6, 0.2, 0.2) takes 5"
        )
    splitter = _sklearn("StratifiedGroupKFold")(folds, shuffle=True, random_state=_seed(generator))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer rows than folds: a part has several folds
        try:
            dealt = [rows for _, rows in splitter.split(owners, classes, owners)]
        except ValueError as error:
            raise DataError(f"the groups cannot be stratified: {error} Choose rounder sizes") from None
    bounds = np.cumsum([0, *(int(share * folds) for share in shares)])
    parts = [np.concatenate(dealt[start:stop]) for start, stop in itertools.pairwise(bounds)]
    if any(not len(part) for part in parts):
        raise DataError(f"a part would be empty: {count} groups are too few, or one is too large, for {tuple(sizes)}")
    return parts


def _pick(data: Sequence[Any], rows: Array) -> Any:
    picked = tuple(x.iloc[rows].copy() if hasattr(x, "iloc") else np.asarray(x)[rows] for x in data)
    return picked[0] if len(picked) == 1 else picked


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**32))


def _sklearn(name: str) -> Any:
    try:
        from sklearn import model_selection
    except ImportError as error:
        raise MissingDependencyError('split needs scikit-learn: pip install "tinygrad_bc[data]"') from error
    return getattr(model_selection, name)
