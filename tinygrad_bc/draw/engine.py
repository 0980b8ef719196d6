"""From DOT text to a picture, with whichever Graphviz there is."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from tinygrad_bc.errors import MissingDependencyError, RenderError

__all__ = ["draw"]


def draw(dot: str, file_format: str) -> bytes:
    """Return the picture of a graph in the DOT language as the content of an SVG, PNG or PDF file.

    An installed ``dot`` program is preferred; otherwise the Graphviz inside the wheels of pygraphviz is used.

    Raises
    ------
    MissingDependencyError
        If there is neither.
    RenderError
        If Graphviz fails.
    """
    import shutil

    return _with_program(dot, file_format) if shutil.which("dot") else _with_wheel(dot, file_format)


def _with_program(dot: str, file_format: str) -> bytes:
    import graphviz

    try:
        return bytes(graphviz.pipe("dot", file_format, dot.encode(), quiet=True))
    except graphviz.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip() or f"exit status {error.returncode}"
        raise RenderError(f"the `dot` program could not draw this graph as {file_format}: {said}") from error
    except OSError as error:
        raise RenderError(f"the `dot` program could not be run: {error}") from error


def _with_wheel(dot: str, file_format: str) -> bytes:
    try:
        import pygraphviz
    except ImportError as error:
        raise MissingDependencyError(
            'drawing a graph needs Graphviz: pip install "tinygrad_bc[draw]" brings it along, or install the '
            "`dot` program. Without it, print(graph) lists the formulas, and .dot holds the text Graphviz reads"
        ) from error
    try:
        with _without_font_warnings():
            return bytes(pygraphviz.AGraph(string=dot).draw(format=file_format, prog="dot"))
    except (ValueError, OSError) as error:
        raise RenderError(f"Graphviz could not draw this graph as {file_format}: {error}") from error


@contextlib.contextmanager
def _without_font_warnings() -> Iterator[None]:
    """Keep what the wheel's fontconfig says of the system's font settings, which concerns nobody here, off stderr.

    It is written by a C library, so the file descriptor has to be turned aside; everything else is passed on.
    """
    import tempfile

    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            aside.seek(0)
            sys.stderr.write(
                "".join(line for line in aside.read().decode().splitlines(True) if "Fontconfig" not in line)
            )
