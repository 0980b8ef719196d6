"""Where C programs get the products of large matrices from: a BLAS library, reached by pointers to its functions.

Nothing is linked. Which library there is shows when a program is loaded, so that the text of a program is the same on
every machine: it begins with `header`, calls the functions defined there, and is given the pointers by `load` of
`library`.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import NamedTuple

import numpy as np

__all__ = ["DECLARATION", "ROUTINES", "Blas", "find", "header"]

ROUTINES = ("dgemm", "sgemm", "dgemv", "sgemv")
DECLARATION = "typedef void (*blas_routine)(void); void set_blas(const blas_routine *routines);"

# Symbols are spelt as in the wheels of NumPy, SciPy and OpenBLAS, which leave the plain names to other libraries.
_SPELLINGS = {"int64_t": "scipy_{}_64_", "int": "scipy_{}_"}

_START = """\
#include <stdint.h>

/* The products of large matrices come from a BLAS library, found when the program is loaded. Its interface is
   Fortran's, which takes a matrix stored row by row for its transpose: C = A B is asked for as C' = B' A'. */
#ifndef BLAS_INT
#define BLAS_INT int /* int64_t for a library that counts in long integers */
#endif
typedef void (*blas_routine)(void);
"""

_FUNCTIONS = {
    "gemm": Template("""
typedef void ${name}_routine(const char *, const char *, const BLAS_INT *, const BLAS_INT *, const BLAS_INT *,
                           const $real *, const $real *, const BLAS_INT *, const $real *, const BLAS_INT *,
                           const $real *, $real *, const BLAS_INT *);
static ${name}_routine *blas_$name;

/* C (m x n) = alpha op(A) op(B) + beta C, row by row; op(A) (m x k) is A for 'N', its transpose for 'T'. */
static inline void $name(char op_a, char op_b, BLAS_INT m, BLAS_INT n, BLAS_INT k, $real alpha, const $real *a,
                         BLAS_INT lda, const $real *b, BLAS_INT ldb, $real beta, $real *c, BLAS_INT ldc)
{
    blas_$name(&op_b, &op_a, &n, &m, &k, &alpha, b, &ldb, a, &lda, &beta, c, &ldc);
}
"""),
    "gemv": Template("""
typedef void ${name}_routine(const char *, const BLAS_INT *, const BLAS_INT *, const $real *, const $real *,
                           const BLAS_INT *, const $real *, const BLAS_INT *, const $real *, $real *,
                           const BLAS_INT *);
static ${name}_routine *blas_$name;

/* y = alpha op(A) x + beta y; A (m x n) row by row; op(A) is A for 'N', its transpose for 'T'. */
static inline void $name(char op_a, BLAS_INT m, BLAS_INT n, $real alpha, const $real *a, BLAS_INT lda,
                         const $real *x, BLAS_INT incx, $real beta, $real *y, BLAS_INT incy)
{
    const char op = op_a == 'N' ? 'T' : 'N';
    blas_$name(&op, &n, &m, &alpha, a, &lda, x, &incx, &beta, y, &incy);
}
"""),
}


class Blas(NamedTuple):
    """The functions of a BLAS library.

    Attributes
    ----------
    name : str
        Where they are from, for a person to read.
    integer : str
        The C type that it counts in, ``int`` or ``int64_t``.
    addresses : tuple of int
        Of the functions in `ROUTINES`, with their Fortran interface.
    """

    name: str
    integer: str
    addresses: tuple[int, ...]


def header(*routines: str) -> str:
    """Return the C text that a program begins with which calls BLAS.

    It defines a function ``dgemm`` (and so on) for matrices stored row by row, for each name given, and ``set_blas``.
    Leading dimensions are at least 1 in BLAS, also where a matrix has no elements.

    Parameters
    ----------
    routines : str
        Names in `ROUTINES`: what the program calls.
    """
    reals = {"d": "double", "s": "float"}
    functions = [_FUNCTIONS[name[1:]].substitute(name=name, real=reals[name[0]]) for name in routines]
    pointers = [f"    blas_{name} = ({name}_routine *)routines[{ROUTINES.index(name)}];\n" for name in routines]
    return f"{_START}{''.join(functions)}\nvoid set_blas(const blas_routine *routines)\n{{\n{''.join(pointers)}}}\n"


@functools.cache
def find() -> Blas | None:
    """Return the best BLAS library there is, or None.

    In this order: OpenBLAS from a wheel of its own (the extra ``blas``), which may be newer than the others; OpenBLAS
    from NumPy's wheel, which is loaded already; what SciPy offers to other packages in `scipy.linalg.cython_blas`,
    whatever it is linked to. The number of threads follows ``OPENBLAS_NUM_THREADS`` and the like by itself.
    """
    return next(_libraries(), None)


def _libraries() -> Iterator[Blas]:
    """Yield the libraries found, the best first."""
    for wheel in ("scipy_openblas64", "scipy_openblas32"):
        if (folder := _folder(wheel)) is not None:
            yield from _openblas(wheel, folder / "lib")
    numpy = Path(np.__file__).parent
    for folder in (numpy.with_name("numpy.libs"), numpy / ".dylibs"):  # where the tools that repair wheels put them
        yield from _openblas("NumPy's OpenBLAS", folder)
    if (scipy := _scipy()) is not None:
        yield scipy


def _folder(package: str) -> Path | None:
    """Return the directory of a package, without importing it; None if it is not installed."""
    spec = importlib.util.find_spec(package)
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _openblas(name: str, folder: Path) -> Iterator[Blas]:
    """Yield what the OpenBLAS libraries in a directory offer, if it can be loaded and has the functions."""
    for path in sorted(folder.glob("libscipy_openblas*")):
        if not {".so", ".dylib", ".dll"}.isdisjoint(path.suffixes):
            try:
                library = ctypes.CDLL(str(path))
            except OSError:  # for another machine, or damaged: there may be another
                continue
            for integer, spelling in _SPELLINGS.items():
                symbols = [spelling.format(routine) for routine in ROUTINES]
                if all(hasattr(library, symbol) for symbol in symbols):
                    pointers = [ctypes.cast(library[symbol], ctypes.c_void_p) for symbol in symbols]
                    yield Blas(name, integer, tuple(pointer.value or 0 for pointer in pointers))


def _scipy() -> Blas | None:
    """Return the functions that SciPy offers to other packages, as capsules."""
    try:
        capsules = importlib.import_module("scipy.linalg.cython_blas").__pyx_capi__
    except ImportError:
        return None
    name_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", ctypes.pythonapi))
    pointer_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    chosen = [capsules[routine] for routine in ROUTINES]
    # the name of a capsule is the signature in C: `void (char *, char *, int *, ...)`
    integer = "int" if b" int *" in name_of(chosen[0]) else "int64_t"
    return Blas("SciPy's BLAS", integer, tuple(pointer_of(capsule, name_of(capsule)) for capsule in chosen))
