"""Compiling C, keeping what was compiled, and loading it: also when something is missing, damaged or in the way."""

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
import types
from pathlib import Path

import pytest

from tinygrad_bc.compiler.c_target import blas, native
from tinygrad_bc.compiler.c_target import cache as stored
from tinygrad_bc.errors import CompilerError, MissingDependencyError

SYSTEM = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
ZIG = shlex.join([sys.executable, "-m", "ziglang", "cc"])
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="permissions, signals and shell scripts are POSIX's")
NEEDS_SYSTEM = pytest.mark.skipif(SYSTEM is None, reason="needs a system compiler")

TWICE = "double twice(double x) { return 2 * x; }\n"
TWICE_DECLARED = "double twice(double x);"


@pytest.fixture(scope="session")
def zig_cache(tmp_path_factory):
    """Zig compiles parts of the C library once, which takes seconds."""
    return tmp_path_factory.mktemp("zig")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch, zig_cache):
    """An empty cache, and a choice of compiler that is not remembered; the directory of compiled programs."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(zig_cache))
    monkeypatch.delenv("CC", raising=False)
    native.find_compiler.cache_clear()
    native._thread_flags.cache_clear()
    return tmp_path / "tinygrad_bc" / "c"


@pytest.fixture(params=[pytest.param(SYSTEM, marks=NEEDS_SYSTEM, id="system"), pytest.param(ZIG, id="zig")])
def compiler(request, monkeypatch):
    monkeypatch.setenv("CC", request.param)
    return request.param


@pytest.fixture
def script(tmp_path, monkeypatch):
    """A function that makes CC a shell script, which does something before it goes on as the system's compiler."""

    def make(body):
        path = tmp_path / "script"
        path.write_text(f'#!/bin/sh\n{textwrap.dedent(body)}\nexec {SYSTEM} "$@"\n')
        path.chmod(0o700)
        monkeypatch.setenv("CC", str(path))

    return make


def libraries(folder):
    return sorted(path for path in folder.iterdir() if path.suffix in {".so", ".dylib", ".dll"})


def twice(**options):
    library = native.load(TWICE, TWICE_DECLARED, **options)
    assert library.lib.twice(21.0) == 42.0
    return library


# compiling and loading


def test_functions_of_arrays(compiler):
    library = native.load(
        """
        #include <math.h>
        struct memory { const double *restrict x; double *restrict y; float *restrict z; };
        void step(const struct memory *m)  /* σ: text may hold any character */
        {
            for (long i = 0; i < 5; i++) {
                m->y[i] += exp(m->x[i]);
                m->z[i] = sqrtf(m->z[i]);
            }
        }
        void loop(const struct memory *m, long steps) { for (long s = 0; s < steps; s++) step(m); }
        """,
        "struct memory { const double *x; double *y; float *z; };"
        "void step(const struct memory *m); void loop(const struct memory *m, long steps);",
    )
    ffi = library.ffi
    arrays = ffi.new("double[]", [0.0] * 5), ffi.new("double[]", [1.0] * 5), ffi.new("float[]", [256.0] * 5)
    memory = ffi.new("struct memory *", arrays)
    library.lib.step(memory)
    library.lib.loop(memory, 2)  # the C library has a function `step` too, which is not meant
    assert list(arrays[1]) == [4.0] * 5
    assert list(arrays[2]) == [2.0] * 5


def test_arithmetic_keeps_to_the_standard(compiler):
    library = native.load(
        """
        #include <math.h>
        double lost(double a, double b) { return (a + b) - a; }
        int unequal(double x) { return x != x; }
        double zero(double x) { return x + 0.0; }
        double quotient(double a, double b) { return 1.0 / (a * b); }
        double rounded_twice(double a, double b) { return a * a - b; }
        """,
        "double lost(double a, double b); int unequal(double x); double zero(double x);"
        "double quotient(double a, double b); double rounded_twice(double a, double b);",
    ).lib
    assert library.lost(1e16, 1.0) == (1e16 + 1.0) - 1e16
    assert library.unequal(float("nan")) == 1
    assert str(library.zero(-0.0)) == "0.0"
    assert library.rounded_twice(1.1, 1.1 * 1.1) == 0.0
    assert library.quotient(-1e-200, 1e-200) == float("-inf")


def test_a_text_is_compiled_once(compiler, cache, monkeypatch):
    first = twice()
    assert first.path.parent == cache
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700 or sys.platform == "win32"
    monkeypatch.setattr(native, "_compile", None)  # it would fail
    assert twice().path == first.path
    assert [path.read_text() for path in cache.glob("*.c")] == [TWICE]  # for a debugger to show
    assert not list(cache.glob("workshop-*"))


@NEEDS_SYSTEM
def test_other_flags_make_another_library(cache, monkeypatch):
    for value in (1, 2):
        monkeypatch.setenv("CC", f"{SYSTEM} -DVALUE={value}")
        assert native.load("int value(void) { return VALUE; }", "int value(void);").lib.value() == value
    assert len(libraries(cache)) == 2


@NEEDS_SYSTEM
def test_another_compiler_makes_another_library(cache, monkeypatch):
    for command in (SYSTEM, ZIG):
        monkeypatch.setenv("CC", command)
        twice()
    assert len(libraries(cache)) == 2


def test_another_processor_makes_another_library(cache, monkeypatch):
    """In a home directory that machines share, none loads what was compiled for the other."""
    twice()
    real = native.find_compiler(None, os.environ["PATH"])
    monkeypatch.setattr(native, "find_compiler", lambda *_: real._replace(identity="of another machine"))
    twice()
    assert len(libraries(cache)) == 2


def test_the_identity_of_a_compiler_tells_processors_apart():
    """The instructions that code may use are among the macros that a compiler predefines."""
    with_less = {"x86_64": "-mno-sse3", "AMD64": "-mno-sse3", "aarch64": "-mgeneral-regs-only"}
    flag = with_less.get(os.uname().machine if hasattr(os, "uname") else "AMD64")
    if SYSTEM is None or flag is None:
        pytest.skip("no flag known that takes instructions from this processor")
    identities = {native.find_compiler(command, None).identity for command in (SYSTEM, f"{SYSTEM} {flag}")}
    assert len(identities) == 2


# threads


PRAGMAS = """
#ifdef _OPENMP
int parallel(void) { return 1; }
#else
int parallel(void) { return 0; }
#endif
"""


@NEEDS_SYSTEM
def test_threads_only_where_asked_for():
    with_pragmas = native.load(PRAGMAS, "int parallel(void);", threads=True).lib.parallel()
    assert native.load(PRAGMAS, "int parallel(void);").lib.parallel() == 0
    if "gcc version" in subprocess.run([SYSTEM, "-v"], capture_output=True, text=True).stderr:
        assert with_pragmas == 1


@POSIX
@NEEDS_SYSTEM
def test_without_openmp_a_program_runs_in_one_thread(script):
    script('case "$*" in *"-fopenmp "*) echo "no OpenMP here" >&2; exit 1;; esac')
    assert native.load(PRAGMAS, "int parallel(void);", threads=True).lib.parallel() == 0


# finding the compiler


def test_without_a_system_compiler_the_one_in_the_wheel_is_used(monkeypatch):
    monkeypatch.setenv("PATH", "")
    twice()
    assert "ziglang" in str(native.find_compiler(None, ""))


def test_no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(CompilerError, match=r"tried: cc \(not found\), gcc .*apt install gcc.*tinygrad_bc\[zig\]"):
        twice()


@POSIX
def test_a_compiler_that_does_not_work_is_passed_over(monkeypatch, tmp_path):
    """As `cc` on a Mac without the command line tools."""
    (tmp_path / "cc").write_text("#!/bin/sh\necho 'xcode-select: note: no developer tools' >&2; exit 1\n")
    (tmp_path / "cc").chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "ziglang" in str(native.find_compiler(None, str(tmp_path)))


def test_a_chosen_compiler_that_is_not_there(monkeypatch):
    monkeypatch.setenv("CC", "mycc --fast")
    with pytest.raises(
        CompilerError, match=r"tried: mycc --fast \(not found\)\. .*what the environment variable CC says"
    ):
        twice()


def test_a_choice_that_is_no_command(monkeypatch):
    monkeypatch.setenv("CC", "gcc 'unclosed")
    with pytest.raises(CompilerError, match=r"CC, \"gcc 'unclosed\", is no command: No closing quotation"):
        twice()


@NEEDS_SYSTEM
def test_no_choice_at_all(monkeypatch):
    monkeypatch.setenv("CC", " ")
    twice()


def test_without_cffi(monkeypatch):
    monkeypatch.setitem(sys.modules, "cffi", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_bc\[c\]"):
        twice()


# failures


def test_text_that_cannot_be_compiled(compiler, cache):
    with pytest.raises(CompilerError, match=r"(?s)failed with status 1:.*return undeclared_name;"):
        native.load("int f(void)\n{\n    return undeclared_name;\n}\n", "int f(void);")
    assert [path.name for path in cache.iterdir()] == ["tidied"]


@POSIX
@NEEDS_SYSTEM
def test_a_compiler_that_is_killed(script, cache):
    script('case "$*" in *-shared*) kill -9 $$;; esac')
    with pytest.raises(CompilerError, match="was ended by signal 9, as happens when memory runs out"):
        twice()
    assert not libraries(cache)


@POSIX
@NEEDS_SYSTEM
@pytest.mark.parametrize(
    ("when", "message"), [("-E", "did not answer within 1 seconds"), ("-shared", "was stopped after")]
)
def test_a_compiler_that_hangs(script, cache, monkeypatch, when, message):
    script(f'case "$*" in *{when}*) exec sleep 60;; esac')
    monkeypatch.setattr(native, "_PATIENCE" if when == "-E" else "_MOST_PATIENCE", 1)
    with pytest.raises(CompilerError, match=message):
        twice()
    assert not libraries(cache)


@POSIX
@NEEDS_SYSTEM
def test_a_compiler_that_does_nothing(script):
    script('case "$*" in *-shared*) exit 0;; esac')
    with pytest.raises(CompilerError, match="made no library, and does not call that an error"):
        twice()


@pytest.mark.parametrize("nth", [1, 2])
def test_a_disk_that_is_full(cache, monkeypatch, nth):
    calls = []

    def replace(source, target):
        calls.append(target)
        if len(calls) == nth:
            raise OSError(28, "No space left on device")
        os.rename(source, target)

    native.find_compiler(None, os.environ["PATH"])
    monkeypatch.setattr(stored.os, "replace", replace)
    with pytest.raises(CompilerError, match=r"could not be stored or loaded: .*No space left.*XDG_CACHE_HOME"):
        twice()
    assert not libraries(cache)
    assert not list(cache.glob("workshop-*"))
    twice()


def test_a_library_that_cannot_be_loaded(monkeypatch, cache):
    def link_to_nothing(compiler, source, flags, folder, key):
        path = folder / "nothing.so"
        path.write_bytes(b"nothing")
        return path

    monkeypatch.setattr(native, "_compile", link_to_nothing)
    with pytest.raises(CompilerError, match="could not be stored or loaded") as error:
        twice()
    assert "Additionally" not in str(error.value)


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[:-1], lambda data: data[:-1] + b"!"])
def test_a_damaged_library_is_compiled_again(cache, damage):
    path = twice().path
    data = path.read_bytes()
    path.unlink()  # not written over: it is in use
    path.write_bytes(damage(data))
    assert stored.find(cache, path.name.split("-")[0], path.suffix) is None
    assert not path.exists()
    twice()
    (again,) = libraries(cache)
    assert again.name == stored._name(path.name.split("-")[0], again)


# processes


CHILD = f"""
from tinygrad_bc.compiler.c_target import native
library = native.load({TWICE!r}, {TWICE_DECLARED!r})
print(library.lib.twice(21.0), library.path)
"""


def start(**options):
    return subprocess.Popen([sys.executable, "-c", CHILD], stdout=subprocess.PIPE, text=True, **options)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@POSIX
@NEEDS_SYSTEM
def test_processes_that_compile_the_same_at_once(script, cache, tmp_path):
    script(f"""
        case "$*" in
        *-shared*) echo x >>{tmp_path}/waiting; while [ ! -e {tmp_path}/go ]; do sleep 0.01; done;;
        esac
    """)
    children = [start() for _ in range(3)]
    waiting = tmp_path / "waiting"
    wait_for(lambda: waiting.exists() and len(waiting.read_text().split()) == 3)
    (tmp_path / "go").touch()
    results = [child.communicate()[0].split() for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert {number for number, _ in results} == {"42.0"}
    assert {path for _, path in results} <= {str(path) for path in libraries(cache)}
    assert not list(cache.glob("workshop-*"))


@POSIX
@NEEDS_SYSTEM
def test_a_process_killed_while_it_compiles(script, cache, tmp_path):
    script(f'case "$*" in *-shared*) [ -e {tmp_path}/killed ] || {{ touch {tmp_path}/ready; sleep 60; }};; esac')
    child = start(start_new_session=True)
    wait_for((tmp_path / "ready").exists)
    os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
    (tmp_path / "killed").touch()
    assert not libraries(cache)
    twice()
    assert len(libraries(cache)) == 1
    (left,) = cache.glob("workshop-*")
    yesterday = time.time() - 2 * 24 * 3600
    for path in (left, cache / "tidied"):
        os.utime(path, (yesterday, yesterday))
    twice()
    assert not left.exists()


# where it is kept


@POSIX
@pytest.mark.parametrize("mode", [0o770, 0o707])
@pytest.mark.parametrize("level", ["c", "."])
def test_a_directory_that_others_can_write_to_is_not_used(cache, mode, level):
    twice()
    (cache.parent / level).chmod(mode)
    with pytest.warns(RuntimeWarning, match="others can write to .*chmod 700") as warned:
        path = twice().path
    assert {warning.filename for warning in warned} == {__file__}  # the user's line, and not one of ours
    assert cache not in path.parents
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@POSIX
def test_a_directory_of_another_user_is_not_used(cache, monkeypatch):
    cache.mkdir(parents=True, mode=0o700)
    cache.parent.chmod(0o700)
    monkeypatch.setattr(stored.os, "geteuid", lambda: os.getuid() + 1)
    with pytest.warns(RuntimeWarning, match="belongs to another user"):
        assert cache not in twice().path.parents


@POSIX
def test_a_link_in_the_place_of_the_directory_is_not_followed(cache, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.parent.mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(RuntimeWarning, match="not a directory but a link"):
        twice()
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_home_where_nothing_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "cache"))
    first = twice()
    assert tmp_path not in first.path.parents
    assert twice().path == first.path


def test_a_read_only_home(tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    if os.access(home, os.W_OK):
        pytest.skip("this user may write everywhere")
    monkeypatch.setenv("XDG_CACHE_HOME", str(home))
    assert tmp_path not in twice().path.parents


def test_no_home_at_all(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("Could not determine home")))
    assert stored.directory() == stored._temporary[os.getpid()]


def test_a_temporary_directory_is_gone_when_its_process_ends(tmp_path):
    (tmp_path / "file").touch()
    child = start(env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "file" / "cache")})
    number, path = child.communicate()[0].split()
    assert number == "42.0"
    assert not Path(path).parent.exists() or sys.platform == "win32"


@POSIX
def test_a_forked_process_leaves_the_temporary_directory_of_its_parent(monkeypatch):
    folder = stored._temporary_directory()
    process = os.getpid()
    monkeypatch.setattr(stored.os, "getpid", lambda: process + 1)
    stored._remove_temporary(process)
    assert folder.exists()


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache"),
        ("linux", {}, "/home/me/.cache"),
        ("darwin", {}, "/home/me/Library/Caches"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local"),
    ],
)
def test_where_systems_keep_caches(monkeypatch, platform, variables, expected):
    monkeypatch.setattr(stored, "sys", types.SimpleNamespace(platform=platform))
    monkeypatch.setattr(stored.os, "environ", variables)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert stored._caches() == Path(expected)


def test_what_is_not_used_for_long_is_removed_at_most_once_a_day(cache):
    path = twice().path
    long_ago = time.time() - 100 * 24 * 3600
    os.utime(path, (long_ago, long_ago))
    stored.directory()
    assert path.exists()  # tidied today already
    os.utime(cache / "tidied", (long_ago, long_ago))
    stored.directory()
    assert not path.exists()
    used = twice().path
    for file in cache.iterdir():
        os.utime(file, (long_ago, long_ago))
    (cache / "tidied").touch()
    assert twice().path == used  # and so in use again
    os.utime(cache / "tidied", (long_ago, long_ago))
    stored.directory()
    assert used.exists()
    assert list(cache.glob("*.c"))


def test_a_program_with_products_needs_a_blas_library(monkeypatch):
    monkeypatch.setattr(blas, "find", lambda: None)
    with pytest.raises(CompilerError, match=r"no BLAS library was found.*tinygrad_bc\[blas\]"):
        native.load(blas.header("dgemm"), "", blas=True)
