"""From C text to functions that can be called: finding a compiler, compiling once, and loading.

A compiled library is kept (see `cache`) under a digest of everything that it depends on: the text, the compiler, its
flags, and the instructions of this machine's processor, for a home directory may be shared by several.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tinygrad_bc.compiler.c_target import blas as blas_library
from tinygrad_bc.compiler.c_target import cache
from tinygrad_bc.errors import CompilerError, MissingDependencyError

__all__ = ["ELF_FLAGS", "FLAGS", "Compiler", "Library", "find_compiler", "load"]

# Every operation rounds as it is written: no product and sum become one instruction unless the text says `fma`. What is
# given up changes no number: nobody looks at errno or at the flags of floating-point exceptions. Protected functions
# are those of the library itself when one calls the other; otherwise the C library's own `step` would be called.
FLAGS = ("-std=c11", "-O3", "-g1", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp-simd")
ELF_FLAGS = ("-fPIC", "-fvisibility=protected")
_QUICKLY = ("-O2", "-ftree-vectorize")  # in a third of the time; what comes out is slower by a tenth at most
_NATIVE = (("-march=native",), ("-mcpu=native",), ())  # the second for ARM, where older compilers lack the first
_SUFFIX = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")

_ADVICE = (
    "Install one: `apt install gcc` on Debian and Ubuntu, `xcode-select --install` on macOS, or, on any system, "
    '`pip install "tinygrad_bc[zig]"`. The environment variable CC can name another.'
)

_OWN_ADVICE = (
    "That is what the environment variable CC says. Without it, cc, gcc, clang and the one in the package ziglang are "
    "tried."
)

_LONG_TEXT = 2500
"""From how many lines on a text is compiled quickly: an unrolled loop over time would take minutes otherwise."""

_PATIENCE, _MOST_PATIENCE = 60, 1200
"""How many seconds a compiler has for an empty file, and for a text."""

_LONGEST_MESSAGE = 4000  # characters of a compiler's

_THREADS = """\
#include <omp.h>
int threads(void) { return omp_get_max_threads(); }
"""


class Compiler(NamedTuple):
    """A C compiler that works on this machine.

    Attributes
    ----------
    command : tuple of str
        How it is called, before any flag.
    flags : tuple of str
        What it is always given.
    identity : str
        Digest of all that it predefines: its version, and the instructions it may use.
    """

    command: tuple[str, ...]
    flags: tuple[str, ...]
    identity: str

    def __str__(self) -> str:
        return shlex.join(self.command)


class Library(NamedTuple):
    """A loaded library.

    Attributes
    ----------
    lib : Any
        The functions and variables declared, by name: what `cffi.FFI.dlopen` returns.
    ffi : Any
        The `cffi.FFI` that knows the declared types.
    path : Path
        The file. Its source is beside it.
    """

    lib: Any
    ffi: Any
    path: Path


def load(source: str, cdef: str, *, blas: bool = False, threads: bool = False) -> Library:
    """Compile C text, unless that was done before, and load it.

    In one process, a text is loaded once, however often this is called: what it keeps in static variables is shared.

    Parameters
    ----------
    source : str
        The text, C11. With `blas` it begins with ``blas.header(...)``.
    cdef : str
        The declarations of what is to be called from Python, as `cffi.FFI.cdef` reads them.
    blas : bool, optional
        Whether to hand the functions of the BLAS library to it. See `tinygrad_bc.compiler.blas.find`.
    threads : bool, optional
        Whether OpenMP's pragmas take effect, if the compiler knows them.

    Returns
    -------
    Library

    Raises
    ------
    CompilerError
        If there is no compiler, or no BLAS library where one is asked for, if the text cannot be compiled, or if the
        result cannot be loaded.
    MissingDependencyError
        If cffi is not installed.
    """
    try:
        import cffi
    except ImportError as error:
        raise MissingDependencyError(
            "target='c' needs cffi, which loads what was compiled: pip install \"tinygrad_bc[c]\""
        ) from error
    found = blas_library.find() if blas else None
    if blas and found is None:
        raise CompilerError('no BLAS library was found; one that is used is in: pip install "tinygrad_bc[blas]"')
    ffi = cffi.FFI()
    ffi.cdef(cdef + (blas_library.DECLARATION if found else ""))
    try:
        compiler = find_compiler(os.environ.get("CC"), os.environ.get("PATH"))
        flags = list(_QUICKLY) if source.count("\n") >= _LONG_TEXT else []
        flags += [f"-DBLAS_INT={found.integer}"] if found else []
        path = _library(compiler, source, (*flags, *(_thread_flags(compiler) if threads else ())))
        lib = ffi.dlopen(str(path))
    except OSError as error:  # a full disk, a directory that programs may not be loaded from
        reason = str(error).partition("  Additionally, ctypes")[0].rstrip(".")  # where else cffi looked
        raise CompilerError(
            f"a compiled program could not be stored or loaded: {reason}. Make room there, or let the environment "
            "variable XDG_CACHE_HOME name a directory that is yours and that programs can be loaded from"
        ) from error
    if found:
        lib.set_blas([ffi.cast("blas_routine", address) for address in found.addresses])
    return Library(lib, ffi, path)


@functools.cache
def find_compiler(chosen: str | None, search: str | None) -> Compiler:
    """Return the compiler to use: the chosen one, or else cc, gcc, clang, or the one in the package ziglang.

    The answer is remembered; what it depends on is therefore passed.

    Parameters
    ----------
    chosen : str or None
        The value of the environment variable CC: a command, possibly with flags.
    search : str or None
        The value of PATH: where to look.

    Raises
    ------
    CompilerError
        If none works: the message says what to install.
    """
    try:
        own = shlex.split(chosen or "")
    except ValueError as error:
        raise CompilerError(f"the environment variable CC, {chosen!r}, is no command: {error}") from None
    usual = [["cc"], ["gcc"], ["clang"], [sys.executable, "-m", "ziglang", "cc"]]
    reasons = {}
    for command in [own] if own else usual:
        name, *flags = command
        program = shutil.which(name, path=search)
        compiler = "not found" if program is None else _tried((os.path.abspath(program), *flags))
        if isinstance(compiler, Compiler):
            return compiler
        reasons[shlex.join(command)] = compiler
    tried = ", ".join(f"{command} ({reason})" for command, reason in reasons.items())
    advice = _OWN_ADVICE if own else _ADVICE
    raise CompilerError(f"no C compiler that works was found; tried: {tried}. {advice}")


def _tried(command: tuple[str, ...]) -> Compiler | str:
    """Return a compiler if it works, with the flags for this machine's processor that it accepts; else why not."""
    general = FLAGS if sys.platform in ("win32", "darwin") else (*FLAGS, *ELF_FLAGS)
    folder = cache.directory()
    with cache.workshop(folder) as place:
        for native in _NATIVE:
            flags = (*general, *native)
            try:
                done = _run((*command, *flags, "-E", "-dM", "-x", "c", "-"), Path(place), folder, _PATIENCE)
            except OSError as error:
                return f"cannot be run: {error.strerror}"
            except subprocess.TimeoutExpired:
                return f"did not answer within {_PATIENCE} seconds"
            if done.returncode == 0 and done.stdout:
                return Compiler(command, flags, hashlib.sha256(done.stdout).hexdigest())
    return "fails on an empty file"


@functools.cache
def _thread_flags(compiler: Compiler) -> tuple[str, ...]:
    """Return the flags for OpenMP: none if the compiler, or its library of threads, is without it."""
    import cffi

    flags = ("-fopenmp",)
    try:
        cffi.FFI().dlopen(str(_library(compiler, _THREADS, flags)))
    except (CompilerError, OSError):
        return ()
    return flags


def _library(compiler: Compiler, source: str, flags: tuple[str, ...]) -> Path:
    """Return the library made from a text: the one that is kept, or a new one."""
    parts = (source, str(compiler), compiler.identity, *compiler.flags, *flags)
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    folder = cache.directory()
    return cache.find(folder, key, _SUFFIX) or _compile(compiler, source, flags, folder, key)


def _compile(compiler: Compiler, source: str, flags: tuple[str, ...], folder: Path, key: str) -> Path:
    """Compile a text and keep the library; nothing is kept if that fails."""
    with cache.workshop(folder) as name:
        place = Path(name)
        text, library = place / f"{key}.c", place / f"{key}{_SUFFIX}"
        text.write_text(source, encoding="utf-8")
        moved = f"-fdebug-prefix-map={place}={folder}"  # a debugger looks for the text where it will be
        files = ("-shared", text.name, "-o", library.name, "-lm")
        try:
            done = _run((*compiler.command, *compiler.flags, *flags, moved, *files), place, folder, _MOST_PATIENCE)
        except subprocess.TimeoutExpired:
            raise CompilerError(
                f"the C compiler {compiler} was stopped after {_MOST_PATIENCE // 60} minutes, on a text of "
                f"{source.count(chr(10))} lines. What is unrolled makes a text long: a loop over time, many layers"
            ) from None
        if done.returncode != 0 or not library.exists():
            raise CompilerError(_failure(compiler, done))
        return cache.keep(folder, key, library, text)


def _failure(compiler: Compiler, done: subprocess.CompletedProcess[bytes]) -> str:
    """Say how a compiler failed, in its own words as far as it has any."""
    if done.returncode < 0:
        return f"the C compiler {compiler} was ended by signal {-done.returncode}, as happens when memory runs out"
    message = done.stderr.decode(errors="replace").strip() or "it says nothing more"
    if done.returncode == 0:
        return (
            f"the C compiler {compiler} made no library, and does not call that an error:\n{message[:_LONGEST_MESSAGE]}"
        )
    return f"the C compiler {compiler} failed with status {done.returncode}:\n{message[:_LONGEST_MESSAGE]}"


def _run(command: tuple[str, ...], place: Path, folder: Path, seconds: int) -> subprocess.CompletedProcess[bytes]:
    """Run a compiler in a directory of its own, where also its temporary files are."""
    environment = {**os.environ, "TMPDIR": str(place), "ZIG_LOCAL_CACHE_DIR": str(place)}
    environment.setdefault("ZIG_GLOBAL_CACHE_DIR", str(folder / "zig"))  # the home directory may be read-only
    return subprocess.run(
        command, input=b"", capture_output=True, cwd=place, env=environment, check=False, timeout=seconds
    )
