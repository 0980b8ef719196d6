import numpy as np
import pandas as pd
import pytest

from tinygrad_bc.data import as_array, check_finite, check_labels, check_lengths
from tinygrad_bc.data.validation import is_mapped
from tinygrad_bc.errors import DataError, DTypeError


def test_an_array_is_not_copied():
    x = np.ones((3, 2), np.float32)
    assert as_array(x) is x
    table = pd.DataFrame(np.ones((3, 2)))
    assert np.shares_memory(as_array(table), table.to_numpy())


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (pd.DataFrame({"a": [1.0], "b": ["x"]}), DTypeError, "column b: its dtype is .*pd.factorize"),
        (pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}), DTypeError, "column when: its dtype is datetime"),
        (pd.Series(["x", "y"], name="class"), DTypeError, "column class"),
        (pd.DataFrame({"a": pd.array([1, None], "Int64")}, index=["p", "q"]), DataError, "row q, column a.*missing"),
        (pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}, index=["p", "q"]), DataError, "row q, column b.*missing"),
        (np.array([1, "x"], object), DTypeError, "dtype object"),
        (np.array([1j]), DTypeError, "dtype complex128"),
        ([[1, 2], [3]], DataError, "differ in length"),
        (3.0, DataError, r"the single number 3\.0"),
        (np.ma.masked_array([1.0, 2.0], [False, True]), DataError, r"masked.*\.filled"),
    ],
)
def test_what_is_no_array_of_numbers_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        as_array(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (np.array([0.0, np.inf]), "row 1: the cell is inf"),
        (np.array([[0.0, -np.inf], [np.nan, 0.0]]), r"row 0, column 1: the cell is -inf.*\(2 cells"),
        (np.where(np.arange(24).reshape(2, 3, 4) == 18, np.nan, 0), r"row 1, at \(1, 2\)"),
        (pd.DataFrame({"a": [1.0, np.inf]}, index=[7, 9]), "row 9, column a: the cell is inf"),
    ],
)
def test_cells_that_are_no_numbers_are_named(data, message):
    with pytest.raises(DataError, match=message):
        check_finite(data, "X")


def test_finite_numbers_pass():
    for data in (np.ones(3), np.array([1, 2]), np.array([True]), pd.DataFrame({"a": [1.0]}), np.ones((0, 2))):
        check_finite(data)


def test_the_variable_is_named():
    patients = np.array([[np.nan]])
    with pytest.raises(DataError, match=r"^patients \(1, 1\), row 0, column 0: .*fill the cell in"):
        check_finite(patients)


def test_lengths():
    assert check_lengths(np.ones((3, 2)), [1, 2, 3], pd.DataFrame({"a": [1, 2, 3]})) == 3
    with pytest.raises(DataError, match=r"numbers of rows differ: a \(3, 2\), b \(4,\); expected a row for each") as e:
        check_lengths(np.ones((3, 2)), np.ones(4), names=("a", "b"))
    assert "transpose" not in str(e.value)


@pytest.mark.parametrize("labels", [[0, 1, 2], np.array([2.0, 0.0]), pd.Series([1]), np.zeros((2, 2), int)])
def test_labels_in_range_pass(labels):
    check_labels(labels, 3)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 3], "at 2: 3 is no label of 3 classes; expected whole numbers from 0 to 2"),
        ([0, -1], "at 1: -1 is no label"),
        ([0.5], r"at 0: 0\.5 is no label"),
        ([np.nan], "at 0: nan is no label"),
        ([3, 2, 1], "at 0: 3 .*counted from 1, so subtract 1"),
        ([[0, 1], [5, 0]], "at 1, 0: 5"),
    ],
)
def test_labels_out_of_range_are_refused(labels, message):
    with pytest.raises(DataError, match=message):
        check_labels(labels, 3)


def test_views_of_a_mapped_array_are_mapped(tmp_path):
    mapped = np.memmap(tmp_path / "x", float, "w+", shape=(4, 2))
    for view in (mapped, mapped[1:], mapped.T, np.asarray(mapped)[::2]):
        assert is_mapped(view)
    for copy in (np.ones(3), np.ones((3, 3))[1:], np.array(mapped), np.asarray(mapped)[[0, 1]]):
        assert not is_mapped(copy)
