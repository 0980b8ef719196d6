"""The layout of C text: lines that are too long are broken where a person would break them."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["WIDTH", "wrapped"]

WIDTH = 120
INDENT = "    "

_BREAKS = (r", ", r" \? | : ", r" \|\| ", r" && ", r" (?:[=!<>]=|[<>]) ", r" [-+] ", r" [*/%] ", r" [-+*/]?= ")
"""Where a line may be broken, the loosest first; at the sign of an assignment only where there is nothing else."""


def wrapped(text: str) -> str:
    """Return C text without lines longer than `WIDTH`, as far as there are places to break them."""
    return "\n".join(part for line in text.split("\n") for part in _parts(line))


def _parts(line: str) -> Iterator[str]:
    indent = line[: len(line) - len(line.lstrip())] + 2 * INDENT
    while len(line) > WIDTH and (end := _break(line, len(indent))):
        yield line[:end].rstrip()
        line = indent + line[end:].lstrip()
    yield line


def _break(line: str, start: int) -> int:
    """Return where a line is broken: in as few brackets as possible, at the loosest operator, as late as possible.

    An operator stands at the beginning of the next line, a comma or the sign of an assignment at the end of this one.
    """
    best, found = (WIDTH + 1, 0, 0), 0
    depths = _depths(line)
    for looseness, pattern in enumerate(_BREAKS):
        for match in re.finditer(pattern, line):
            stays = match[0] == ", " or re.fullmatch(_BREAKS[-1], match[0])
            end = match.end() if stays else match.start() + 1
            last = looseness == len(_BREAKS) - 1
            if start < end <= WIDTH and (key := (WIDTH if last else depths[match.start()], looseness, -end)) < best:
                best, found = key, end
    return found


def _depths(line: str) -> list[int]:
    """Return in how many brackets each character stands."""
    depth, found = 0, []
    for letter in line:
        depth += (letter in "([{") - (letter in ")]}")
        found.append(depth)
    return found
