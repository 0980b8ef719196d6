import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tinygrad_bc.data import FEATURES, as_columns, load_wisconsin, scale_min_max, tutorial_split
from tinygrad_bc.errors import DataError, MissingDependencyError

REAL_FILE = Path(__file__).parents[2] / "data" / "wisconsin-cancer-dataset.csv"

GOOD = "1000025,5,1,1,1,2,1,3,1,1,2"
MALIGNANT = "1017122,8,10,10,8,7,10,9,7,1,4"
MISSING = "1057013,8,4,5,1,2,?,7,3,1,4"


@pytest.fixture(scope="module")
def real_table():
    return load_wisconsin(REAL_FILE)


@pytest.fixture
def write(tmp_path):
    def _write(content):
        path = tmp_path / "cells.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return _write


def small_table(*first_feature, **others):
    """Return a table whose first feature is given and whose other features are 1 unless given."""
    n = len(first_feature)
    values = dict.fromkeys(FEATURES, [1.0] * n) | {FEATURES[0]: list(first_feature)} | others
    return pd.DataFrame({"id": range(100, 100 + n), **values, "malignant": [i % 2 for i in range(n)]})


def numbered_table(n):
    return small_table(*map(float, range(n)))


# --- load_wisconsin -------------------------------------------------------------------------------------------------


def test_feature_names():
    assert FEATURES == [
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


def test_real_file_has_the_known_counts(real_table):
    raw_lines = REAL_FILE.read_text().splitlines()
    assert len(raw_lines) == 699
    assert len(raw_lines) - len(real_table) == 16
    assert real_table["malignant"].value_counts().to_dict() == {0: 444, 1: 239}


def test_real_file_columns_dtypes_and_index(real_table):
    assert list(real_table.columns) == ["id", *FEATURES, "malignant"]
    assert real_table["id"].dtype == np.int64
    assert real_table["malignant"].dtype == np.int64
    assert set(real_table[FEATURES].dtypes) == {np.dtype(np.float64)}
    assert real_table.index.equals(pd.RangeIndex(683))


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        (0, [1000025, 5, 1, 1, 1, 2, 1, 3, 1, 1, 0]),
        (5, [1017122, 8, 10, 10, 8, 7, 10, 9, 7, 1, 1]),
        (22, [1056784, 3, 1, 1, 1, 2, 1, 2, 1, 1, 0]),
        (23, [1059552, 1, 1, 1, 1, 2, 1, 3, 1, 1, 0]),  # line 25: line 24 has no bare nuclei
        (682, [897471, 4, 8, 8, 5, 4, 5, 10, 4, 1, 1]),
    ],
)
def test_real_file_cells(real_table, row, cells):
    assert real_table.loc[row].tolist() == cells


def test_real_file_drops_exactly_the_rows_with_a_question_mark(real_table):
    kept = [line.split(",") for line in REAL_FILE.read_text().splitlines() if "?" not in line]
    assert real_table["id"].tolist() == [int(cells[0]) for cells in kept]
    assert real_table["bare_nuclei"].tolist() == [float(cells[6]) for cells in kept]


@pytest.mark.parametrize("as_path", [str, Path])
def test_any_path_type(write, as_path):
    assert load_wisconsin(as_path(write(GOOD)))["id"].tolist() == [1000025]


@pytest.mark.parametrize(
    "content",
    [
        f"{GOOD}\n{MALIGNANT}\n",
        f"{GOOD}\n{MALIGNANT}",
        f"{GOOD}\r\n{MALIGNANT}\r\n",
        f"{GOOD}\r{MALIGNANT}\r",
        f"\ufeff{GOOD}\n{MALIGNANT}\n",
        f"\n{GOOD}\n  \n{MALIGNANT}\n\n",
        f"{GOOD}\n{MALIGNANT}\n".replace(",", " , "),
        '"1000025","5",1,1,1,2,1,3,1,1,"2"\n' + MALIGNANT,
        f"{GOOD}.0\n{MALIGNANT}.0\n",
        f"{GOOD}\n{MISSING}\n{MALIGNANT}\n",
        f"{GOOD}\n9,?,1,1,1,2, ? ,7,3,1,4\n{MALIGNANT}\n",
    ],
    ids=["lf", "no last newline", "crlf", "cr", "bom", "blank lines", "spaces", "quotes", "2.0", "?", "? twice"],
)
def test_harmless_variations_give_the_same_table(write, content):
    expected = pd.DataFrame(
        [[1000025, 5, 1, 1, 1, 2, 1, 3, 1, 1, 0], [1017122, 8, 10, 10, 8, 7, 10, 9, 7, 1, 1]],
        columns=["id", *FEATURES, "malignant"],
    ).astype(dict.fromkeys(FEATURES, "float64"))
    pd.testing.assert_frame_equal(load_wisconsin(write(content)), expected)


def test_long_ids_are_exact(write):
    assert load_wisconsin(write("900719925474099301" + GOOD[7:]))["id"].tolist() == [900719925474099301]


def row_with(column, value):
    """Return the good row with one cell, counted from 1, replaced."""
    cells = GOOD.split(",")
    cells[column - 1] = value
    return ",".join(cells)


HEADER = ",".join(["id", *FEATURES, "class"])
TOO_SHORT = "1,2,3,4,5,6,7,8,9,10"


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        pytest.param("", ["empty", "11"], id="empty"),
        pytest.param(b"\xef\xbb\xbf", ["empty"], id="only a byte order mark"),
        pytest.param("\n \n\r\n", ["empty"], id="only blank lines"),
        pytest.param(f"{GOOD}\n{TOO_SHORT}", ["line 2:", "columns is 10 instead of 11", TOO_SHORT], id="short line"),
        pytest.param(f"{GOOD}\n{GOOD},7", ["line 2:", "columns is 12 instead of 11"], id="long line"),
        pytest.param(f"{TOO_SHORT}\n{GOOD}", ["line 1:", "columns is 10 instead of 11"], id="short first line"),
        pytest.param(
            f"{GOOD}\n\n{GOOD},", ["line 3:", "columns is 12 instead of 11"], id="trailing comma after a blank line"
        ),
        pytest.param(
            GOOD.replace(",", ";"), ["line 1:", "columns is 1 instead of 11", "separated by commas"], id="semicolons"
        ),
        pytest.param(
            row_with(3, '"1,5"') + ",1", ["line 1:", "columns is 12 instead of 11"], id="a quoted comma is one cell"
        ),
        pytest.param(row_with(3, '"1,5"'), ["line 1, column 3 (cell_size_uniformity): '1,5'"], id="decimal comma"),
        pytest.param(f'{GOOD}\n"{GOOD}\n{GOOD}', ["line 2:", "quotes", "plain values"], id="unclosed quote"),
        pytest.param(row_with(4, '"1"x'), ["line 1:", "quotes"], id="text after a quote"),
        pytest.param(row_with(4, "1" * 200_000), ["line 1:", "field limit"], id="huge cell"),
        pytest.param(f"{HEADER}\n{GOOD}", ["line 1:", "header", "column 1 (id)", "'id'", "delete"], id="header"),
        pytest.param(f"\n{HEADER}\n{GOOD}", ["line 2:", "header"], id="header after a blank line"),
        pytest.param(f"{HEADER},\n{GOOD}", ["line 1:", "columns is 12 instead of 11"], id="header of wrong width"),
        pytest.param(
            f"{GOOD}\n{HEADER}", ["line 2, column 1 (id): 'id'", "whole number"], id="a second header is a wrong row"
        ),
        pytest.param(
            f"{GOOD}\n{GOOD}\n{row_with(10, 'x')}",
            ["line 3, column 10 (mitoses): 'x'", "finite number", "write ?"],
            id="text in a feature",
        ),
        pytest.param(
            f"{MISSING}\n\n{row_with(2, 'five')}", ["line 3, column 2 (clump_thickness): 'five'"], id="true line number"
        ),
        pytest.param(
            f"{row_with(9, 'late')}\n{row_with(2, 'next')}",
            ["line 1, column 9 (normal_nucleoli): 'late'"],
            id="first of two wrong cells",
        ),
        pytest.param(
            "?,x,1,1,1,2,1,3,1,1,3", ["line 1, column 1 (id): '?'", "delete the line"], id="first wrong cell of a line"
        ),
        pytest.param(
            row_with(7, "x" * 1000), ["column 7 (bare_nuclei): 'xxxxxxxxxxxx...xxxxxxxxxxxxx' "], id="long value"
        ),
        pytest.param(row_with(5, ""), ["line 1, column 5 (marginal_adhesion): ''"], id="empty cell"),
        pytest.param(row_with(5, "1_0"), ["column 5 (marginal_adhesion): '1_0'"], id="underscore"),
        pytest.param(row_with(6, "nan"), ["column 6 (epithelial_cell_size): 'nan'", "finite"], id="nan"),
        pytest.param(row_with(6, "inf"), ["column 6 (epithelial_cell_size): 'inf'", "finite"], id="inf"),
        pytest.param(row_with(6, "-inf"), ["column 6 (epithelial_cell_size): '-inf'", "finite"], id="-inf"),
        pytest.param(row_with(8, "1e999"), ["column 8 (bland_chromatin): '1e999'", "finite"], id="overflow"),
        pytest.param(row_with(1, "?"), ["line 1, column 1 (id): '?'", "whole number"], id="? as id"),
        pytest.param(row_with(1, "A17"), ["line 1, column 1 (id): 'A17'", "whole number"], id="text as id"),
        pytest.param(row_with(1, "1.5"), ["line 1, column 1 (id): '1.5'", "whole number"], id="fraction as id"),
        pytest.param(row_with(1, "9" * 19), ["column 1 (id): '9999", "18 digits"], id="id beyond int64"),
        pytest.param(row_with(1, "nan"), ["column 1 (id): 'nan'"], id="nan as id"),
        pytest.param(
            f"{GOOD}\n{row_with(11, '3')}", ["line 2, column 11 (class): '3'", "2 (benign) or 4 (malignant)"], id="3"
        ),
        pytest.param(row_with(11, "?"), ["line 1, column 11 (class): '?'", "2 (benign)"], id="? as class"),
        pytest.param(row_with(11, "benign"), ["column 11 (class): 'benign'", "2 (benign)"], id="text as class"),
        pytest.param(row_with(11, "nan"), ["column 11 (class): 'nan'", "2 (benign)"], id="nan as class"),
        pytest.param(row_with(11, "0"), ["column 11 (class): '0'", "2 (benign)"], id="0 as class"),
        pytest.param(
            f"\n{MISSING}\n{MISSING}",
            ["line 2, column 7 (bare_nuclei): '?'", "every row", "at least one complete row"],
            id="all rows missing",
        ),
        pytest.param(b"PK\x03\x04\xff\xfe", ["line 1:", "0xff", "offset 4", "UTF-8"], id="binary"),
        pytest.param(
            GOOD.encode() + b"\n" + GOOD.encode() + b"\xe4", ["line 2:", "0xe4", "offset 55", "UTF-8"], id="latin-1"
        ),
        pytest.param(GOOD.encode("utf-16"), ["line 1:", "0xff", "offset 0", "UTF-8"], id="utf-16"),
        pytest.param(GOOD.encode() + b"\n\xff", ["line 2:", "0xff", "UTF-8"], id="bad first byte of a line"),
        pytest.param(b"1\n\x00\x01", ["line 2:", "0x00", "offset 2", "UTF-8"], id="NUL byte"),
    ],
)
def test_a_wrong_file_is_explained(write, content, parts):
    path = write(content)
    with pytest.raises(DataError) as caught:
        load_wisconsin(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    for part in parts:
        assert part in message
    assert "\n" not in message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_missing_file_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^absent\.csv: there is no such file.*starts at ") as caught:
        load_wisconsin("absent.csv")
    assert str(Path.cwd()) in str(caught.value)
    assert caught.value.__suppress_context__


def test_directory_is_named(tmp_path):
    with pytest.raises(DataError, match="is a directory; pass the path of the CSV file") as caught:
        load_wisconsin(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


def test_other_failures_to_read_are_data_errors(write, monkeypatch):
    path = write(GOOD)

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"cannot be read \(Permission denied\)") as caught:
        load_wisconsin(path)
    assert str(caught.value).startswith(str(path))
    assert caught.value.__suppress_context__


# --- scale_min_max --------------------------------------------------------------------------------------------------


def test_scaling_against_a_hand_computation():
    scaled = scale_min_max(small_table(2.0, 4.0, 10.0, mitoses=[-3.0, 1.0, 0.0]))
    np.testing.assert_allclose(scaled["clump_thickness"], [0, 0.25, 1], rtol=0, atol=1e-15)
    np.testing.assert_allclose(scaled["mitoses"], [0, 1, 0.75], rtol=0, atol=1e-15)


def test_real_features_run_from_0_to_1(real_table):
    scaled = scale_min_max(real_table)
    assert (scaled[FEATURES].min() == 0).all()
    assert (scaled[FEATURES].max() == 1).all()
    # every feature of the file runs from 1 to 10
    np.testing.assert_allclose(scaled[FEATURES], (real_table[FEATURES] - 1) / 9, rtol=0, atol=1e-15)


def test_scaling_leaves_all_else_as_it_was():
    table = small_table(2.0, 4.0, 10.0).assign(note=["a", "b", "c"]).set_axis([7, 5, 7])
    scaled = scale_min_max(table)
    assert list(scaled.columns) == list(table.columns)
    pd.testing.assert_frame_equal(scaled.drop(columns=FEATURES), table.drop(columns=FEATURES))


def test_fit_on_other_rows():
    scaled = scale_min_max(small_table(0.0, 3.0, 12.0), fit_on=small_table(2.0, 4.0, 6.0, 3.0))
    np.testing.assert_allclose(scaled["clump_thickness"], [-0.5, 0.25, 2.5], rtol=0, atol=1e-15)


def test_fit_on_does_not_depend_on_the_order_of_columns():
    table = small_table(2.0, 4.0, mitoses=[0.0, 5.0])
    scaled = scale_min_max(table, fit_on=table[table.columns[::-1]])
    pd.testing.assert_frame_equal(scaled, scale_min_max(table))


def test_constant_feature_becomes_0():
    scaled = scale_min_max(small_table(2.0, 4.0))
    assert scaled["mitoses"].tolist() == [0, 0]


def test_integer_features_can_be_scaled():
    scaled = scale_min_max(small_table(1, 2, 5))
    assert scaled["clump_thickness"].dtype == np.float64
    assert scaled["clump_thickness"].tolist() == [0, 0.25, 1]


def test_scaling_changes_neither_input():
    table, fit_on = small_table(1.0, 2.0, 5.0), small_table(0.0, 8.0)
    table_before, fit_on_before = table.copy(deep=True), fit_on.copy(deep=True)
    scaled = scale_min_max(table, fit_on=fit_on)
    scaled.loc[:, :] = 0
    pd.testing.assert_frame_equal(table, table_before)
    pd.testing.assert_frame_equal(fit_on, fit_on_before)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.preprocessing", None)  # another test may have imported it
    with pytest.raises(MissingDependencyError, match=r'pip install "tinygrad_bc\[data\]"'):
        scale_min_max(small_table(1.0, 2.0))


# --- tutorial_split -------------------------------------------------------------------------------------------------


def test_split_of_the_real_table(real_table):
    before = real_table.copy(deep=True)
    train, validation = tutorial_split(real_table)
    assert (len(train), len(validation)) == (500, 182)
    pd.testing.assert_frame_equal(train, before.loc[0:499])
    pd.testing.assert_frame_equal(validation, before.loc[501:682])
    pd.testing.assert_frame_equal(real_table, before)


def test_row_500_is_in_neither_part():
    train, validation = tutorial_split(numbered_table(683))
    used = [*train["clump_thickness"], *validation["clump_thickness"]]
    assert set(range(683)) - set(used) == {500}


def test_split_counts_positions_not_labels_and_stops_at_683():
    table = numbered_table(700)[::-1]
    train, validation = tutorial_split(table)
    assert train["clump_thickness"].tolist() == list(range(699, 199, -1))
    assert validation["clump_thickness"].tolist() == list(range(198, 16, -1))


def test_writing_to_a_part_leaves_the_table():
    table = numbered_table(683)
    for part in tutorial_split(table):
        part.loc[:, "clump_thickness"] = -1.0
    pd.testing.assert_frame_equal(table, numbered_table(683))


@pytest.mark.parametrize("n", [0, 1, 682])
def test_too_few_rows_to_split(n):
    with pytest.raises(DataError, match=rf"has {n} rows.*needs 683.*load_wisconsin"):
        tutorial_split(numbered_table(n))


# --- as_columns -----------------------------------------------------------------------------------------------------


def test_columns_of_the_real_table(real_table):
    X, Y = as_columns(real_table)
    assert X.shape == (9, 683)
    assert Y.shape == (1, 683)
    assert X[:, 5].tolist() == [8, 10, 10, 8, 7, 10, 9, 7, 1]
    assert Y[0, :7].tolist() == [0, 0, 0, 0, 0, 1, 0]
    assert Y.sum() == 239


@pytest.mark.parametrize("n", [1, 3])
def test_columns_are_c_contiguous_float64_copies(n):
    table = small_table(*range(n))
    before = table.copy(deep=True)
    for array in as_columns(table):
        assert array.dtype == np.float64
        assert array.flags.c_contiguous
        array[...] = -1  # fails if pandas protects the memory
    pd.testing.assert_frame_equal(table, before)


def test_float_columns_are_copies():
    table = small_table(1.0, 2.0).astype({"malignant": "float64"})
    before = table.copy(deep=True)
    for array in as_columns(table):
        array[...] = -1
    pd.testing.assert_frame_equal(table, before)


def test_columns_follow_the_order_of_features():
    table = small_table(5.0, mitoses=[9.0])
    X, _ = as_columns(table[table.columns[::-1]])
    assert X[:, 0].tolist() == [5, 1, 1, 1, 1, 1, 1, 1, 9]


# --- wrong tables ---------------------------------------------------------------------------------------------------


def scale_on(table):
    return scale_min_max(small_table(1.0, 2.0), fit_on=table)


USERS = [pytest.param(scale_min_max, "table"), pytest.param(scale_on, "fit_on"), pytest.param(as_columns, "table")]


@pytest.mark.parametrize(("function", "name"), USERS)
@pytest.mark.parametrize("table", [small_table(), pd.DataFrame()], ids=["no rows", "no columns"])
def test_empty_table(function, name, table):
    with pytest.raises(DataError, match=rf"^{name} has no rows"):
        function(table)


@pytest.mark.parametrize(("function", "name"), USERS)
def test_absent_column(function, name):
    with pytest.raises(DataError, match=rf"^{name} lacks the column 'mitoses'"):
        function(small_table(1.0, 2.0).drop(columns="mitoses"))


@pytest.mark.parametrize(("function", "name"), USERS)
@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ([1.0, np.nan], "'nan'"),
        ([1.0, -np.inf], "'-inf'"),
        (["1", "?"], r"'\?'"),
        (pd.array([1, None], dtype="Int64"), "'<NA>'"),
    ],
)
def test_cell_that_is_no_finite_number(function, name, values, shown):
    table = small_table(1.0, 2.0, bare_nuclei=values).set_axis([40, 41])
    with pytest.raises(DataError, match=rf"^{name}, row 41, column bare_nuclei: {shown} is not a finite number"):
        function(table)


def test_columns_need_the_class():
    with pytest.raises(DataError, match="lacks the column 'malignant'"):
        as_columns(small_table(1.0).drop(columns="malignant"))
    with pytest.raises(DataError, match="row 1, column malignant: 'nan'"):
        as_columns(small_table(1.0, 2.0).assign(malignant=[0, np.nan]))


# --- import time ----------------------------------------------------------------------------------------------------


def test_importing_the_module_imports_neither_pandas_nor_scikit_learn():
    code = "import sys, tinygrad_bc.data; print({'pandas', 'sklearn'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
