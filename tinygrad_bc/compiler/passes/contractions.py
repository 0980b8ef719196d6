"""Sums of products over indices, as `einsum` has them, written as products of matrices.

An array is carried with a letter for each of its axes. Two arrays are contracted at a time: axes that both have and
that remain are batches, those that both have and that do not are summed by the product of matrices.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc import ops
from tinygrad_bc.ops import astype, diagonal, matmul, multiply, permute, reshape
from tinygrad_bc.ops._arguments import Shape
from tinygrad_bc.ops.einsum import _sides
from tinygrad_bc.record import Value

__all__ = ["RULES"]


class Factor(NamedTuple):
    """An array, or a plain number, and a letter for each of its axes."""

    x: Any
    letters: str

    def length(self, letters: str) -> int:
        """Return how many places there are along some axes together."""
        return math.prod(self.x.shape[self.letters.index(letter)] for letter in letters)


def _einsum(*xs: Any, equation: str) -> Any:
    terms, output = _sides(equation)
    dtype = np.result_type(*(x._data if isinstance(x, Value) else x for x in xs))
    lengths: dict[str, int] = {}
    for x, term in zip(xs, terms):
        for letter, n in zip(term, np.shape(x._data if isinstance(x, Value) else x)):
            lengths[letter] = n if lengths.get(letter, 1) == 1 else lengths[letter]
    factors = [
        _tidied(astype(x, dtype) if isinstance(x, Value) and x.dtype != dtype else x, term, lengths)
        for x, term in zip(xs, terms)
    ]
    for group in _order(factors, output, lengths):
        chosen = [factors[i] for i in group]
        factors = [factor for i, factor in enumerate(factors) if i not in group]
        while len(chosen) > 1:
            a, b, *chosen = chosen
            needed = _ordered(output, *chosen, *factors)
            chosen = [_product(_summed(a, b.letters + needed), _summed(b, a.letters + needed), needed), *chosen]
        factors += chosen
    x, letters = _summed(factors[0], output)
    return permute(x, [letters.index(letter) for letter in output])


def _tidied(x: Any, term: str, lengths: dict[str, int]) -> Factor:
    """Take the diagonal for an index that occurs twice, and leave out axes of length 1 that broadcast."""
    if not isinstance(x, Value):
        return Factor(x, term)
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            x = diagonal(x, 0, first, second)
            term = term[:first] + term[first + 1 : second] + term[second + 1 :] + letter
    kept = [i for i, letter in enumerate(term) if x.shape[i] == lengths[letter]]
    return Factor(reshape(x, [x.shape[i] for i in kept]), "".join(term[i] for i in kept))


def _order(factors: list[Factor], output: str, lengths: dict[str, int]) -> list[tuple[int, ...]]:
    """Return which factors to multiply one after the other: NumPy's choice, results being put at the end."""
    if len(factors) < 3:
        return [tuple(range(len(factors)))]
    equation = ",".join(factor.letters for factor in factors) + "->" + output
    arrays = [np.broadcast_to(0.0, [lengths[letter] for letter in factor.letters]) for factor in factors]
    return np.einsum_path(equation, *arrays, optimize="greedy")[0][1:]


def _ordered(output: str, *others: Factor) -> str:
    """Return the letters that are needed later on, those of the output first."""
    return "".join(dict.fromkeys(output + "".join(factor.letters for factor in others)))


def _summed(factor: Factor, needed: str) -> Factor:
    """Sum over the axes that nothing else has."""
    axes = tuple(i for i, letter in enumerate(factor.letters) if letter not in needed)
    if not axes:
        return factor
    axis = None if len(axes) == len(factor.letters) else axes[0] if len(axes) == 1 else axes
    return Factor(ops.sum(factor.x, axis=axis), "".join(letter for letter in factor.letters if letter in needed))


def _product(a: Factor, b: Factor, needed: str) -> Factor:
    """Multiply two factors, and sum over the axes that both have and nothing else needs."""
    both = [letter for letter in a.letters if letter in b.letters]
    batch = "".join(letter for letter in both if letter in needed)
    summed = "".join(letter for letter in both if letter not in needed)
    rows, columns = ("".join(letter for letter in factor.letters if letter not in both) for factor in (a, b))
    if rows and columns and needed.index(columns[0]) < needed.index(rows[0]):
        return _product(b, a, needed)
    if not summed:
        return Factor(_elementwise(a, b, batch, rows, columns), batch + rows + columns)
    if batch and not rows and not columns:
        x = multiply(_arranged(a, batch + summed), _arranged(b, batch + summed))
        return _summed(Factor(x, batch + summed), batch)
    batches = _arranged(a, batch + rows + summed).shape[: len(batch)]
    # A vector has no axis of rows, or of columns; in a batch it has one, of length 1.
    height = (a.length(rows),) if rows or batch else ()
    width = (b.length(columns),) if columns or batch else ()
    left = reshape(_arranged(a, batch + rows + summed), (*batches, *height, a.length(summed)))
    right = reshape(_arranged(b, batch + summed + columns), (*batches, b.length(summed), *width))
    shape = (*(a.length(letter) for letter in batch + rows), *(b.length(letter) for letter in columns))
    return Factor(reshape(matmul(left, right), shape), batch + rows + columns)


def _elementwise(a: Factor, b: Factor, batch: str, rows: str, columns: str) -> Any:
    x, y = _arranged(a, batch + rows), _arranged(b, batch + columns)
    if a.letters and columns:
        x = reshape(x, (*x.shape, *(1,) * len(columns)))
    if batch and rows:
        y = reshape(y, (*y.shape[: len(batch)], *(1,) * len(rows), *y.shape[len(batch) :]))
    return multiply(x, y)


def _arranged(factor: Factor, letters: str) -> Any:
    """Return an array with its axes in the order of letters."""
    return permute(factor.x, [factor.letters.index(letter) for letter in letters]) if factor.letters else factor.x


def _tensordot(a: Any, b: Any, axes: tuple[Shape, Shape]) -> Any:
    letters = iter(string.ascii_letters)
    first, second = [next(letters) for _ in a.shape], [next(letters) for _ in b.shape]
    output = [letter for i, letter in enumerate(first) if i not in axes[0]]
    output += [letter for i, letter in enumerate(second) if i not in axes[1]]
    for i, j in zip(*axes):
        second[j] = first[i]
    return _einsum(a, b, equation=f"{''.join(first)},{''.join(second)}->{''.join(output)}")


RULES: dict[str, Callable[..., Any]] = {"einsum": _einsum, "tensordot": _tensordot}
