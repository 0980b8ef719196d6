"""Einstein summation: products of arrays, summed over the indices that the result does not have."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygrad_bc.diagnosis import describe
from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.ops._arguments import axes_in_words, counterparts
from tinygrad_bc.primitive import EachInput, ErrorSample, Sample, composite, primitive
from tinygrad_bc.record import Value

_LETTERS = string.ascii_uppercase + string.ascii_lowercase  # in the order in which NumPy sorts and numbers them
_DOTS = "..."


def _einsum_vjp(i: int, g: Any, y: Any, *xs: Any, equation: str) -> Any:
    """Put the cotangent in the place of the i-th factor, and that factor's indices in the place of the result's."""
    terms, output = _sides(equation)
    factors = [(output, g)] + [(term, x) for j, (term, x) in enumerate(zip(terms, xs)) if j != i]
    unused = (letter for letter in _LETTERS if letter not in equation)
    target = ""
    for label, n in zip(terms[i], xs[i].shape):
        if label in target:  # a repeated index: only the diagonal took part
            copy = next(unused)
            factors.append((label + copy, np.eye(n, dtype=g.dtype)))
            target += copy
            continue
        lengths = {np.shape(x)[term.index(label)] for term, x in factors if label in term}
        if not lengths or (n != 1 and n not in lengths):  # an index that was summed in this factor alone
            factors.append((label, np.ones(n, dtype=g.dtype)))
        target += label
    equation = ",".join(term for term, _ in factors) + "->" + target
    return _einsum(*(x for _, x in factors), equation=equation)


def _einsum_samples(rng: np.random.Generator) -> list[Sample]:
    cases: list[tuple[Any, ...]] = [
        ("ij,jk->ik", (2, 3), (3, 4)),
        ("i,i->", (3,), (3,)),
        ("i,j->ji", (3,), (2,)),
        ("ij->j", (2, 3)),
        ("ij->", (2, 3)),
        ("ij->ji", (2, 3)),
        ("ii->", (3, 3)),
        ("ii->i", (3, 3)),
        ("iij,jj->i", (2, 2, 3), (3, 3)),
        ("iii,i->i", (2, 2, 2), (2,)),
        ("ij,ik,i->jk", (2, 3), (2, 2), (2,)),
        ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
        ("ij,jk,kl->il", (2, 3), (3, 2), (2, 3)),
        ("ij,ij->i", (2, 1), (1, 3)),  # axes of length 1 broadcast
        ("ij,i->j", (1, 3), (2,)),
        ("ij,jk->ik", (0, 3), (3, 2)),
        ("ij,jk->ik", (2, 0), (0, 3)),
        (",i->i", (), (3,)),
    ]
    return [
        *(Sample(*(rng.normal(size=shape) for shape in shapes), equation=equation) for equation, *shapes in cases),
        Sample(2.0, rng.normal(size=3), equation=",i->i"),
    ]


@primitive(
    name="einsum",
    formula="einsum({equation}, {all})",
    vjps=EachInput(_einsum_vjp),
    samples=_einsum_samples,
    broadcasts=True,
)
def _einsum(*xs: Any, equation: str) -> Any:
    dtype = np.result_type(*xs)  # in which a Python number does not widen an array
    return np.einsum(equation, *(np.asarray(x, dtype) for x in xs), optimize=True)


@composite(
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), [0, 1], np.ones((4, 3)), [1, 2], error=ShapeError, match="index 'B' has length 3"),
        ErrorSample(np.ones((2, 3)), [0, 1], [2], error=ShapeError, match="no operand has the index 'C'"),
        ErrorSample(np.ones((2, 3)), [0], error=ShapeError, match="has 1 index"),
    ]
)
def einsum(equation: Any, *operands: Any, optimize: Any = True) -> Any:
    """Multiply arrays and sum over indices, as in `numpy.einsum`.

    The derivative with respect to each operand is another such sum, so derivatives of any order are.

    Parameters
    ----------
    equation, *operands : str and array_like
        In one of three forms: ``einsum("ij,jk->ik", A, B)``, the operands also as one list, as PyTorch allows;
        or ``einsum(A, [0, 1], B, [1, 2], [0, 2])``, indices as numbers from 0 to 51 behind each operand.
        Without ``->`` (or the last list), the result has the indices that occur once, in alphabetical order.
        ``...`` (in a list, Ellipsis) stands for all other axes, which broadcast and come first in an implicit
        result; where an explicit result leaves them out, they are summed, as in PyTorch. An index that occurs
        twice in one term takes the diagonal. Axes of length 1 broadcast.
    optimize : optional
        Accepted as in NumPy. The order of the products is always the one NumPy finds (``optimize=True``).

    Raises
    ------
    ShapeError
        If operands, indices and lengths do not fit together.
    ArgumentError
        If the equation cannot be read.

    Examples
    --------
    >>> einsum("ij,ij->i", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [2.0, 2.0]])
    array([ 3., 14.])
    """
    if not isinstance(equation, str):
        equation, operands = _from_sublists([equation, *operands])
    elif len(operands) == 1 and _is_list_of_operands(operands[0]):
        operands = tuple(operands[0])
    return _einsum(*operands, equation=_explicit(equation, operands))


def _is_list_of_operands(x: Any) -> bool:
    return isinstance(x, list | tuple) and any(isinstance(part, Value | np.ndarray) for part in x)


def _sides(equation: str) -> tuple[list[str], str]:
    """Return the terms of an explicit equation, and its result."""
    left, _, right = equation.partition("->")
    return left.split(","), right


def _from_sublists(arguments: list[Any]) -> tuple[str, tuple[Any, ...]]:
    """Return ``A, [0, 1], B, [1, 2], [0, 2]`` as an equation and its operands."""
    operands, sublists = tuple(arguments[:-1:2]), arguments[1::2]
    output = arguments[-1:] if len(arguments) % 2 and len(arguments) > 1 else []
    for sublist in [*sublists, *output]:
        if not isinstance(sublist, list | tuple):
            raise ArgumentError(
                f"the first argument is no equation, so each operand is followed by the list of its indices; expected "
                f"a list, got {describe(sublist, 'an array')}. Write einsum('ij,jk->ik', A, B) or "
                "einsum(A, [0, 1], B, [1, 2], [0, 2])"
            )
    if not operands:
        raise ArgumentError("there is no operand. Write einsum('ij,jk->ik', A, B)")
    equation = ",".join(map(_term, sublists))
    return equation + "".join(f"->{_term(sublist)}" for sublist in output), operands


def _term(sublist: Sequence[Any]) -> str:
    """Return a list of indices as letters."""
    for label in sublist:
        if label is not Ellipsis and not (isinstance(label, int | np.integer) and 0 <= label < len(_LETTERS)):
            raise ArgumentError(f"an index is a number from 0 to {len(_LETTERS) - 1} or an Ellipsis; got {label!r}")
    return "".join(_DOTS if label is Ellipsis else _LETTERS[label] for label in sublist)


def _explicit(equation: str, operands: Sequence[Any]) -> str:
    """Return the equation with its result, and with letters in the place of every ellipsis."""
    left, arrow, output = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    for term in [*terms, output]:
        _check_readable(term)
    if len(terms) != len(operands):
        raise ShapeError(
            f"the equation has {len(terms)} term{'s' * (len(terms) != 1)}, for as many operands; given are "
            f"{len(operands)}. Terms are separated by commas"
        )
    shapes = [np.shape(x) for x in operands]
    others = [_axes_without_letter(term, len(shape)) for term, shape in zip(terms, shapes)]
    for i, (term, other) in enumerate(zip(terms, others)):
        if other < 0 or (other and _DOTS not in term):
            raise ShapeError(_miscounted(term, describe(operands[i], i), len(shapes[i])))
    rank = max(others)
    unused = [letter for letter in _LETTERS if letter not in equation]
    if rank > len(unused):
        raise ShapeError(f"more than {len(_LETTERS)} different indices are needed, and there are no more letters")
    dots = "".join(unused[:rank])
    if not arrow:
        output = _DOTS + "".join(sorted(x for x in set(left) - {",", "."} if left.count(x) == 1))
    terms = [term.replace(_DOTS, dots[rank - other :]) for term, other in zip(terms, others)]
    output = output.replace(_DOTS, dots)
    _check_output(output, terms)
    _check_lengths(terms, output, operands, shapes)
    return f"{','.join(terms)}->{output}"


def _check_readable(term: str) -> None:
    letters = term.replace(_DOTS, "", 1)
    for letter in letters:
        if letter not in _LETTERS:
            reason = "an ellipsis is three dots, once in a term" if letter == "." else f"{letter!r} is no letter"
            raise ArgumentError(f"the term {term!r} cannot be read: {reason}. An equation looks like 'ij,jk->ik'")


def _axes_without_letter(term: str, ndim: int) -> int:
    return ndim - len(term.replace(_DOTS, ""))


def _miscounted(term: str, title: str, ndim: int) -> str:
    count = len(term.replace(_DOTS, ""))
    hint = "" if count > ndim else ". For axes without a letter write '...'"
    return (
        f"the term {term!r} has {count} {'index' if count == 1 else 'indices'}, but its operand {title} has "
        f"{axes_in_words(ndim)}{hint}"
    )


def _check_output(output: str, terms: Sequence[str]) -> None:
    for label in output:
        if not any(label in term for term in terms):
            known = ", ".join(sorted(set("".join(terms)))) or "none"
            raise ShapeError(f"no operand has the index {label!r} of the result {output!r}; they have {known}")
        if output.count(label) > 1:
            raise ShapeError(
                f"the index {label!r} stands more than once in the result {output!r}; an index of the result stands "
                "there once. To put numbers on a diagonal, multiply by np.eye(n)"
            )


def _check_lengths(
    terms: Sequence[str], output: str, operands: Sequence[Any], shapes: Sequence[tuple[int, ...]]
) -> None:
    clash = _clash(terms, shapes)
    if not clash:
        return
    label, (first, n), (second, m) = clash
    title = describe(operands[first], first)
    if first == second:
        raise ShapeError(
            f"the index {label!r}, repeated in {terms[first]!r}, takes a diagonal, whose axes have one length; in "
            f"{title} they have {n} and {m}"
        )
    hint = ""
    for i, term in enumerate(terms):
        turned = [*terms[:i], term[::-1], *terms[i + 1 :]]
        if len(term) == 2 and not _clash(turned, shapes):
            hint = f". Did you mean '{','.join(turned)}->{output}'?"
    raise ShapeError(
        f"the index {label!r} has length {n} in {title} and {m} in {describe(operands[second], second)}; an index "
        f"stands for one length (axes of length 1 broadcast){hint}"
    )


def _clash(
    terms: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[str, tuple[int, int], tuple[int, int]] | None:
    """Return an index that stands for two lengths, and each of these with the number of its operand; or None."""
    found: dict[str, tuple[int, int]] = {}
    for i, (term, shape) in enumerate(zip(terms, shapes)):
        own: dict[str, int] = {}
        for label, n in zip(term, shape):
            if own.setdefault(label, n) != n:
                return label, (i, own[label]), (i, n)
            known = found.get(label, (i, 1))
            if n != known[1] and 1 not in (n, known[1]):
                return label, known, (i, n)
            if known[1] == 1:
                found[label] = (i, n)
    return None


counterparts({np.einsum: lambda *operands, out=None, optimize=False: einsum(*operands)})
