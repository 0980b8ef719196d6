import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tinygrad_bc.data import load_wisconsin, split
from tinygrad_bc.errors import ArgumentError, DataError, MissingDependencyError

REAL_FILE = Path(__file__).parents[2] / "data" / "wisconsin-cancer-dataset.csv"
SIZES = [(0.6, 0.2, 0.2), (0.8, 0.2), (0.7, 0.15, 0.15), (1 / 3, 1 / 3, 1 / 3), (0.5, 0.25, 0.125, 0.125)]

sizes = st.sampled_from(SIZES)
seeds = st.integers(0, 2**32)


@pytest.fixture(scope="module")
def real_table():
    return load_wisconsin(REAL_FILE)


@settings(deadline=None)
@given(st.integers(20, 300), sizes, seeds)
def test_parts_share_no_row_and_have_their_sizes(n, sizes, seed):
    parts = split(np.arange(n), sizes=sizes, generator=seed)
    assert sorted(np.concatenate(parts)) == list(range(n))
    for part, size in zip(parts, sizes, strict=True):
        assert abs(len(part) - size * n) <= 1
        assert (np.diff(part) > 0).all()


@settings(deadline=None)
@given(st.lists(st.integers(10, 60), min_size=2, max_size=4), sizes, seeds)
def test_stratified_parts_have_the_same_classes(counts, sizes, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    parts = split(np.arange(len(labels)), sizes=sizes, stratify=labels, generator=seed)
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))
    for part, size in zip(parts, sizes, strict=True):
        found = np.bincount(labels[part], minlength=len(counts))
        np.testing.assert_allclose(found, size * np.array(counts), atol=len(sizes))


@settings(deadline=None)
@given(st.integers(20, 60), sizes, seeds, st.booleans())
def test_no_group_is_in_two_parts(count, sizes, seed, stratified):
    rng = np.random.default_rng(seed)
    groups = np.concatenate([np.arange(count), rng.integers(0, count, 2 * count)])
    labels = rng.integers(0, 2, len(groups))
    assume(np.bincount(labels, minlength=2).min() >= 20)
    parts = split(
        np.arange(len(groups)), sizes=sizes, groups=groups, stratify=labels if stratified else None, generator=seed
    )
    assert sorted(np.concatenate(parts)) == list(range(len(groups)))
    owners = [set(groups[part]) for part in parts]
    assert sum(map(len, owners)) == len(set.union(*owners)) == count
    for part, size in zip(parts, sizes, strict=True):
        assert abs(len(part) / len(groups) - size) < 0.15


def test_the_real_table_by_patient(real_table):
    seen = set()
    for seed in range(8):
        parts = split(real_table, stratify="malignant", groups="id", generator=seed)
        assert sum(map(len, parts)) == 683
        for part, size in zip(parts, (0.6, 0.2, 0.2), strict=True):
            assert abs(len(part) / 683 - size) < 0.01
            assert abs(part["malignant"].mean() - real_table["malignant"].mean()) < 0.02
        owners = [set(part["id"]) for part in parts]
        assert sum(map(len, owners)) == real_table["id"].nunique()
        seen.add(tuple(parts[0].index))
    assert len(seen) == 8


def test_the_same_seed_gives_the_same_parts(real_table):
    for options in ({}, {"stratify": "malignant"}, {"groups": "id"}):
        one = split(real_table, generator=3, **options)
        other = split(real_table, generator=np.random.default_rng(3), **options)
        for part, same in zip(one, other, strict=True):
            pd.testing.assert_frame_equal(part, same)


def test_a_generator_goes_on():
    generator = np.random.default_rng(0)
    first, second = (split(np.arange(50), generator=generator)[0] for _ in range(2))
    assert set(first) != set(second)


def test_several_things_are_split_alike(real_table):
    X, y = real_table.drop(columns="malignant"), real_table["malignant"].to_numpy()
    parts = split(X, y, real_table["id"], stratify=y, sizes=(0.75, 0.25), generator=0)
    assert len(parts) == 2
    for rows, labels, ids in parts:
        assert isinstance(rows, pd.DataFrame)
        pd.testing.assert_frame_equal(rows, X.loc[rows.index])
        np.testing.assert_array_equal(labels, y[rows.index])
        pd.testing.assert_series_equal(ids, X["id"].loc[rows.index])


def test_parts_are_copies():
    X, table = np.zeros((10, 2)), pd.DataFrame({"a": np.zeros(10)})
    for rows, part in split(X, table, generator=0):
        rows += 1
        part.loc[:, "a"] = 1.0
    assert not X.any()
    assert not table.to_numpy().any()


def test_groups_and_classes_may_be_text():
    names = np.array(["anna", "bert", "cleo", "dora", "egon"] * 4)
    train, test = split(np.arange(20), sizes=(0.6, 0.4), groups=names, generator=0)
    assert len(set(names[train])) == 3
    assert not set(names[train]) & set(names[test])
    assert [
        (names[part] == "anna").sum() for part in split(np.arange(20), sizes=(0.5, 0.5), stratify=names, generator=0)
    ]


N = np.arange(20)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: split(N, sizes=(0.6, 0.6), generator=0), ArgumentError, "add up to 1"),
        (lambda: split(N, sizes=(1.2, -0.2), generator=0), ArgumentError, "positive"),
        (lambda: split(N, sizes=(1.0,), generator=0), ArgumentError, "at least two"),
        (lambda: split(N, generator=None), ArgumentError, "needs a generator"),
        (lambda: split(N, N[:5], generator=0), DataError, "numbers of rows differ"),
        (lambda: split(N, stratify=N[:5], generator=0), DataError, r"stratify has the shape \(5,\)"),
        (lambda: split(N, stratify="class", generator=0), ArgumentError, "no table with such a column"),
        (lambda: split(N, groups=np.full(20, np.nan), generator=0), DataError, "groups, row 0: the value is missing"),
        (lambda: split(N, groups=["a", None] * 10, generator=0), DataError, "groups, row 1: the value is missing"),
        (lambda: split(N, stratify=np.ones((20, 2)), generator=0), DataError, "one value for each of the 20 rows"),
        (lambda: split(N[:3], generator=0), DataError, "3 rows are too few"),
        (lambda: split(N, stratify=N > 18, generator=0), DataError, "stratified.*Merge rare classes"),
        (lambda: split(N, groups=N % 4, generator=0), DataError, "4 groups cannot.*takes 5 folds"),
        (lambda: split(N, groups=N, sizes=(0.7, 0.29, 0.01), generator=0), DataError, "20 groups.*rounder sizes"),
        (lambda: split(N[:0], generator=0), DataError, "no rows"),
        (lambda: split(generator=0), DataError, "at least one"),
    ],
)
def test_what_cannot_be_split_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[data\]"'):
        split(N, generator=0)
