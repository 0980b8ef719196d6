"""Files that a reader writes: the format follows from the suffix, and a file is either complete or not there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from tinygrad_bc.errors import RenderError

__all__ = ["check_destination", "write_atomically"]


def check_destination(path: str | os.PathLike[str], formats: Sequence[str]) -> tuple[Path, str]:
    """Return `path` and the format its suffix stands for.

    Asked before any work is done, so that a misspelled name is not reported after a long wait.

    Raises
    ------
    RenderError
        If the suffix stands for none of `formats`, or the folder does not exist.
    """
    path = Path(path)
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in formats:
        known = ", ".join(f".{name}" for name in formats)
        raise RenderError(f"cannot tell the format of {str(path)!r}: expected a name that ends in one of {known}")
    if not path.parent.is_dir():
        raise RenderError(f"cannot write {str(path)!r}: there is no folder {str(path.parent)!r}. Create it first")
    return path, suffix


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file, or leave what was there untouched if that fails."""
    # Not from tempfile: its files can be read by their owner alone, and `replace` would keep it that way.
    temporary = path.with_name(f".{path.name}.{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
