"""The products that C programs ask a BLAS library for, with each library there is."""

import itertools
import re
import shutil
import sys

import numpy as np
import pytest

from tinygrad_bc.compiler.c_target import blas, native

LIBRARIES = list(blas._libraries())
REALS = {"d": ("double", np.float64), "s": ("float", np.float32)}


PRODUCT = """
void product(char ta, char tb, int m, int n, int k, real alpha, const real *a, int lda, const real *b, int ldb,
             real beta, real *c, int ldc)"""
TIMES_VECTOR = """
void times_vector(char ta, int m, int n, real alpha, const real *a, int lda, const real *x, int incx,
                  real beta, real *y, int incy)"""


def program(kind):
    """Return a text and its declarations: functions that hand on what they are given to BLAS."""
    real = REALS[kind][0]
    product = PRODUCT.replace("real", real)
    times_vector = TIMES_VECTOR.replace("real", real)
    text = (
        blas.header(f"{kind}gemm", f"{kind}gemv")
        + f"{product}\n{{\n    {kind}gemm(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);\n}}\n"
        + f"{times_vector}\n{{\n    {kind}gemv(ta, m, n, alpha, a, lda, x, incx, beta, y, incy);\n}}\n"
    )
    return text, f"{product}; {times_vector};"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.name)
def library(request, monkeypatch):
    monkeypatch.setattr(blas, "find", lambda: request.param)
    return request.param


@pytest.fixture(params=REALS)
def loaded(request, library):
    """A loaded program, its element type, and what makes a pointer of an array."""
    made = native.load(*program(request.param), blas=True)
    real, dtype = REALS[request.param]
    return made.lib, dtype, lambda array: made.ffi.cast(f"{real} *", array.ctypes.data)


def draw(shape, dtype, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(result, expected, dtype):
    scale = np.abs(expected).max()
    np.testing.assert_allclose(result, expected, rtol=0, atol=64 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize(("m", "n", "k"), [(3, 4, 5), (1, 7, 2), (6, 1, 3), (4, 3, 1), (97, 130, 64)])
@pytest.mark.parametrize(("ta", "tb"), list(itertools.product("NT", "NT")))
def test_products_of_matrices(loaded, m, n, k, ta, tb):
    lib, dtype, pointer = loaded
    a = draw((k, m) if ta == "T" else (m, k), dtype, 1)
    b = draw((n, k) if tb == "T" else (k, n), dtype, 2)
    c = np.full((m, n), np.nan, dtype)  # with beta = 0 what was there is not read
    sides = ta.encode(), tb.encode()
    lib.product(*sides, m, n, k, 1, pointer(a), a.shape[1], pointer(b), b.shape[1], 0, pointer(c), n)
    exact = (a.T if ta == "T" else a).astype(np.longdouble) @ (b.T if tb == "T" else b).astype(np.longdouble)
    close(c, exact, dtype)
    lib.product(*sides, m, n, k, 2, pointer(a), a.shape[1], pointer(b), b.shape[1], 1, pointer(c), n)
    close(c, 3 * exact, dtype)


def test_parts_of_larger_matrices(loaded):
    lib, dtype, pointer = loaded
    a, b, c = draw((5, 9), dtype, 1), draw((6, 8), dtype, 2), np.zeros((5, 7), dtype)
    lib.product(b"N", b"N", 5, 3, 6, 1, pointer(a[:, 2:]), 9, pointer(b[:, 4:]), 8, 0, pointer(c[:, 1:]), 7)
    expected = np.zeros((5, 7))
    expected[:, 1:4] = a[:, 2:8].astype(float) @ b[:, 4:7].astype(float)
    close(c, expected, dtype)


@pytest.mark.parametrize("op", "NT")
@pytest.mark.parametrize(("m", "n"), [(3, 5), (1, 4), (6, 1), (120, 70)])
def test_products_with_a_vector(loaded, m, n, op):
    lib, dtype, pointer = loaded
    a = draw((m, n), dtype, 1)
    x = draw((n if op == "N" else m, 2), dtype, 2)
    y = np.ones(m if op == "N" else n, dtype)
    lib.times_vector(op.encode(), m, n, 2, pointer(a), n, pointer(x), 2, 1, pointer(y), 1)
    close(y, 2 * (a if op == "N" else a.T).astype(float) @ x[:, 0] + 1, dtype)


def test_matrices_beyond_the_first_32_bits_of_an_integer_type(library):
    """The upper half of an integer that is passed as a shorter one would be whatever lies beside it."""
    text = blas.header("dgemm") + "int width(void) { return 8 * (int)sizeof(BLAS_INT); }\n"
    width = native.load(text, "int width(void);", blas=True).lib.width()
    assert width == {"int": 32, "int64_t": 64}[library.integer]


def test_numpys_library_counts_in_long_integers():
    """As NumPy itself says how its library was made."""
    mine = [library for library in LIBRARIES if library.name == "NumPy's OpenBLAS"]
    made = np.__config__.CONFIG["Build Dependencies"]["blas"]
    if made["name"] != "scipy-openblas" or sys.platform not in ("linux", "win32"):
        pytest.skip("this NumPy brings no OpenBLAS with it")
    long = "USE64BITINT" in made["openblas configuration"]
    assert [library.integer for library in mine] == ["int64_t" if long else "int"]


def test_there_is_a_library_and_the_best_comes_first():
    names = [library.name for library in LIBRARIES]
    order = ["scipy_openblas64", "scipy_openblas32", "NumPy's OpenBLAS", "SciPy's BLAS"]
    assert names == [name for name in order if name in names]
    assert blas.find() == LIBRARIES[0]


def test_without_scipy_and_wheels_nothing_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(blas, "_folder", lambda package: None)
    monkeypatch.setattr(blas.np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setitem(sys.modules, "scipy.linalg.cython_blas", None)
    assert list(blas._libraries()) == []


def test_a_library_that_cannot_be_loaded_is_passed_over(tmp_path):
    (tmp_path / "libscipy_openblas.so").write_bytes(b"for another machine")
    assert list(blas._openblas("damaged", tmp_path)) == []


@pytest.mark.parametrize("names", [("sgemm",), ("dgemv",), ("dgemm", "sgemm", "dgemv", "sgemv")])
def test_the_header_holds_only_what_is_asked_for_and_is_clean(names, monkeypatch):
    text = blas.header(*names)
    assert set(re.findall(r"static inline void (\w+)", text)) == set(names)
    assert max(map(len, text.splitlines())) <= 120
    if (compiler := shutil.which("cc")) is None:
        pytest.skip("needs a system compiler")
    monkeypatch.setenv("CC", f"{compiler} -Wall -Wextra -Wpedantic -Wstrict-prototypes -Werror")
    native.load(text, "", blas=True)
