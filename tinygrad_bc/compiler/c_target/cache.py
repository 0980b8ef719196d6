"""Where compiled programs are kept: a private directory among the user's caches.

A library is code that will run with the user's rights, so a directory that others can write to is not used. A file
appears in one step, whole, also where two processes make the same at once. The name of a library holds a digest of its
bytes, so that a damaged one is seen.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import os
import shutil
import stat
import sys
import tempfile
import time
import warnings
from pathlib import Path

from tinygrad_bc.diagnosis import depth_of_user

__all__ = ["directory", "find", "keep", "workshop"]

_DAY = 24 * 3600.0
_KEPT = 90 * _DAY  # without being used
_WORKSHOP = "workshop-"

_temporary: dict[int, Path] = {}  # by process: one that is forked off must not remove its parent's when it ends


def directory() -> Path:
    """Return the directory of compiled programs, made if needed: a temporary one where there can be none that lasts.

    It is ``tinygrad_bc/c`` in ``$XDG_CACHE_HOME``, or else where this system keeps caches.

    Warns
    -----
    RuntimeWarning
        If that directory belongs to another user, or others can write to it, and is not used therefore.
    """
    fault = None
    with contextlib.suppress(OSError, RuntimeError):  # no home, or a read-only one: nothing the user needs to know
        path = _caches() / "tinygrad_bc" / "c"
        for folder in (path.parent, path):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fault = fault or _fault(folder)
        if fault is None and os.access(path, os.W_OK | os.X_OK):
            _tidy(path)
            return path
    if fault is not None:
        warnings.warn(
            f"compiled programs are not kept: {fault}, and what lies there would run with your rights. "
            "Remove that directory, or make it yours alone (chmod 700).",
            RuntimeWarning,
            stacklevel=depth_of_user(),
        )
    return _temporary_directory()


def find(folder: Path, key: str, suffix: str) -> Path | None:
    """Return the library kept for a key, or None; a damaged one is removed."""
    for path in folder.glob(f"{key}-*{suffix}"):
        with contextlib.suppress(OSError):  # another process may have removed it by now
            if path.name == _name(key, path):
                for used in folder.glob(f"{key}*"):
                    os.utime(used)
                return path
            path.unlink()
    return None


def keep(folder: Path, key: str, library: Path, source: Path) -> Path:
    """Move a library and its source from a workshop to the folder, for `find`; return where the library is now."""
    final = folder / _name(key, library)
    os.replace(source, folder / f"{key}{source.suffix}")
    os.replace(library, final)
    return final


def workshop(folder: Path) -> tempfile.TemporaryDirectory[str]:
    """Return a directory to work in, to be entered: on the folder's file system, and gone when it is left."""
    return tempfile.TemporaryDirectory(prefix=_WORKSHOP, dir=folder, ignore_cleanup_errors=True)


def _caches() -> Path:
    """Return the directory where programs keep what they can make again."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(chosen):  # the standard says to ignore others
        return Path(chosen)
    if sys.platform == "win32" and "LOCALAPPDATA" in os.environ:
        return Path(os.environ["LOCALAPPDATA"])
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")


def _fault(folder: Path) -> str | None:
    """Say what makes a directory unsafe to load code from; None if nothing does."""
    if sys.platform == "win32":  # where the user's part of the disk is private, and permissions are not these
        return None
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a directory but a link or a file"
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to another user"
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"others can write to {folder}"
    return None


def _temporary_directory() -> Path:
    """Return a private directory that lasts as long as this process."""
    process = os.getpid()
    if process not in _temporary:
        _temporary[process] = Path(tempfile.mkdtemp(prefix="tinygrad_bc-"))
        atexit.register(_remove_temporary, process)
    return _temporary[process]


def _remove_temporary(process: int) -> None:
    if process == os.getpid():
        shutil.rmtree(_temporary.pop(process), ignore_errors=True)


def _name(key: str, library: Path) -> str:
    """Return the name under which a library is kept: it depends on every byte of it."""
    return f"{key}-{hashlib.sha256(library.read_bytes()).hexdigest()[:32]}{library.suffix}"


def _tidy(folder: Path) -> None:
    """Remove, at most once a day, what has not been used for long, and what compilers that were killed have left."""
    now = time.time()
    mark = folder / "tidied"
    if mark.exists() and now - mark.stat().st_mtime < _DAY:
        return
    mark.touch()
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process may be tidying too
            unused = now - path.stat().st_mtime
            if path.is_dir():
                if path.name.startswith(_WORKSHOP) and unused > _DAY:
                    shutil.rmtree(path)
            elif unused > _KEPT:
                path.unlink()
