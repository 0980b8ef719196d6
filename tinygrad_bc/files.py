"""Files that a reader writes: the format follows from the suffix, and a file is either complete or not there."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tinygrad_bc.errors import RenderError

__all__ = ["check_destination", "html_page", "write_atomically"]


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


def html_page(folder: Path, template: str, style: str, scripts: Sequence[str], title: str, data: Any) -> str:
    """Return one HTML text made of the files in `folder`, which asks for nothing else: its policy would not let it.

    Parameters
    ----------
    folder
        Where the files are.
    template
        The name of the page, with ``{{TITLE}}``, ``{{POLICY}}``, ``{{STYLE}}``, ``{{DATA}}`` and ``{{SCRIPT}}`` in it.
    style, scripts
        The names of the style sheet, and of the scripts in the order in which they need each other.
    title
        What the page is called.
    data
        What the page shows, for JSON.
    """

    def read(*names: str) -> str:
        return "\n".join((folder / name).read_text(encoding="utf-8") for name in names)

    sources = f"script-src {_hash(read(*scripts))}; style-src {_hash(read(style))}; img-src data:"
    parts = {
        "TITLE": html.escape(title),
        "POLICY": f"default-src 'none'; {sources}",
        "STYLE": read(style),
        # No text of the user's can end the element that it stands in.
        "DATA": json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        "SCRIPT": read(*scripts),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda slot: parts[slot[1]], read(template))


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
