"""Arrays as small tables of coloured cells, which every Graphviz can draw in every format."""

from __future__ import annotations

import numpy as np

from tinygrad_bc.draw.themes import Theme
from tinygrad_bc.record import Array

__all__ = ["cells", "heat_map", "scale"]

MOST_ROWS, MOST_COLUMNS = 16, 24
SHADES = 16  # on either side of zero: more could not be told apart, and would differ between machines


def cells(array: Array) -> Array:
    """Return a matrix of at most 16×24 numbers from −1 to 1 that stands for `array`, its largest magnitude being 1.

    A larger array is cut into blocks, and each is represented by its mean; by NaN if it holds what is no finite
    number. An array of more than two axes is taken as a matrix whose columns are its last axis.
    """
    matrix = array.reshape(-1, array.shape[-1] if array.ndim else 1).astype(np.longdouble)
    matrix = _scaled(np.where(np.isfinite(matrix), matrix, np.nan))
    for axis, most in enumerate((MOST_ROWS, MOST_COLUMNS)):
        length = matrix.shape[axis]
        if length > most:
            bounds = np.arange(most + 1) * length // most
            counts = np.expand_dims(np.diff(bounds), 1 - axis)
            matrix = np.add.reduceat(matrix, bounds[:-1], axis) / counts
    return _scaled(matrix).astype(float)


def _scaled(matrix: Array) -> Array:
    largest = np.abs(matrix[np.isfinite(matrix)]).max(initial=0.0)
    return matrix / largest if largest else matrix


def heat_map(array: Array, theme: Theme) -> str:
    """Return a table, for an HTML-like label, of the `cells` of an array: white is 0, blue below, orange above."""
    matrix = cells(array)
    rows, columns = matrix.shape
    width = max(6, min(14, 132 // max(rows, columns)))
    height = width if rows > 2 else 12
    known = np.isfinite(matrix)
    levels = np.rint(np.where(known, matrix, 0.0) * SHADES).astype(int)
    palette = _palette(theme)
    colours = [
        [palette[level] if finite else theme.broken for level, finite in zip(*row)]
        for row in zip(levels.tolist(), known.tolist())
    ]
    return _table(colours, width, height, theme)


def scale(theme: Theme) -> str:
    """Return the colours in their order, for the key of a picture."""
    palette = _palette(theme)
    return _table([[palette[level] for level in range(-SHADES, SHADES + 1, 4)]], 8, 9, theme)


def _table(colours: list[list[str]], width: int, height: int, theme: Theme) -> str:
    size = f'width="{width}" height="{height}" fixedsize="true"'
    rows = ["".join(f'<td {size} bgcolor="{colour}"></td>' for colour in row) for row in colours]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    whole = f'width="{width * len(colours[0]) + 2}" height="{height * len(colours) + 2}" fixedsize="true"'
    return (
        f'<table {whole} border="1" color="{theme.frame}" cellborder="0" cellspacing="0" cellpadding="0">{body}</table>'
    )


def _palette(theme: Theme) -> dict[int, str]:
    ends = {1: _channels(theme.positive), -1: _channels(theme.negative)}
    zero = _channels(theme.zero)
    shades = {}
    for level in range(-SHADES, SHADES + 1):
        end, share = ends[1 if level > 0 else -1], abs(level) / SHADES
        shades[level] = "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(zero, end))
    return shades


def _channels(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
