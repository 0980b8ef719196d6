"""Sums and products of elements in a normal form, in which what cancels cancels.

A `Form` is a number times a product of powers: ``−1/2 · Yh · (1 − Yh) · n⁻¹``. A base is an atom (anything that the
arithmetic does not look into, given by its number) or a `Sum`, a sum of forms. There are two ways to add: `added`
keeps fractions apart and takes out what all terms share; `combined` brings them over one denominator and
multiplies out, so that ``(1 − Y)/(1 − Yh) − Y/Yh`` becomes ``(Yh − Y) / (Yh (1 − Yh))``.

Numbers are exact (`fractions.Fraction`), so this changes a result by rounding alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple, Union

__all__ = ["Form", "Sum", "added", "combined", "multiplied", "number", "raised"]

LARGEST_WHOLE = 1000
"""Up to where a coefficient is a fraction of whole numbers, and not the bits of a number like 0.1."""

LONGEST = 12
"""How many terms a sum may have for it to be multiplied out."""

Base = Union[int, "Sum"]
Powers = frozenset[tuple[Base, int]]


class Form(NamedTuple):
    """A coefficient times bases to integer powers, none of them 0."""

    coefficient: Fraction
    powers: Powers


class Sum(NamedTuple):
    """Two or more terms with different powers: ``{powers: coefficient}``.

    The first coefficient, in order, is positive. They are whole numbers without a common factor, or, where these would
    be long, as for 0.1, the first is 1.
    """

    terms: frozenset[tuple[Powers, Fraction]]


ONE: Powers = frozenset()


def number(x: float | Fraction) -> Form:
    """Return a number as a form."""
    return Form(Fraction(x), ONE)


def multiplied(a: Form, b: Form) -> Form:
    """Return the product of two forms."""
    coefficient = a.coefficient * b.coefficient
    return Form(coefficient, _product(a.powers, b.powers) if coefficient else ONE)


def raised(a: Form, exponent: int) -> Form:
    """Return a form to an integer power; zero to a negative one raises ZeroDivisionError."""
    powers = frozenset((base, power * exponent) for base, power in a.powers) if exponent else ONE
    return Form(a.coefficient**exponent, powers)


def added(a: Form, b: Form) -> Form:
    """Return the sum of two forms: like terms put together, and what all terms share taken out."""
    return _normal(_collected([*_terms_of(a), *_terms_of(b)]))


def combined(a: Form, b: Form) -> Form:
    """Return the sum of two forms over a common denominator, multiplied out where that is not too long."""
    shared = _shared([a.powers, b.powers], denominators=True)
    rest = [Form(form.coefficient, _product(form.powers, _inverse(shared))) for form in (a, b)]
    terms: list[Form] = []
    for form in rest:
        expanded = _expanded(form)
        if expanded is None:
            return added(a, b)
        terms += expanded
    return multiplied(_normal(_collected(terms)), Form(Fraction(1), shared))


def _product(a: Powers, b: Powers) -> Powers:
    powers = dict(a)
    for base, power in b:
        powers[base] = powers.get(base, 0) + power
    return frozenset((base, power) for base, power in powers.items() if power)


def _inverse(powers: Powers) -> Powers:
    return frozenset((base, -power) for base, power in powers)


def _shared(several: list[Powers], denominators: bool) -> Powers:
    """Return the powers that can be taken out of all terms; `denominators` too that only some of them have."""
    tables = [dict(powers) for powers in several]
    shared = {}
    for base in dict.fromkeys(base for table in tables for base in table):
        powers = [table.get(base, 0) for table in tables]
        if min(powers) > 0 or (denominators and min(powers) < 0):
            shared[base] = min(powers)
        elif max(powers) < 0:
            shared[base] = max(powers)
    return frozenset(shared.items())


def _terms_of(a: Form) -> list[Form]:
    """Return a form as terms: of a sum those of the sum, of anything else itself."""
    if len(a.powers) == 1:
        ((base, power),) = a.powers
        if isinstance(base, Sum) and power == 1:
            return [Form(a.coefficient * coefficient, powers) for powers, coefficient in base.terms]
    return [a]


def _expanded(a: Form) -> list[Form] | None:
    """Return a form without denominators as terms that hold no sum, or None if there would be too many."""
    terms = [Form(a.coefficient, ONE)]
    for base, power in a.powers:
        factors = [Form(c, p) for p, c in base.terms] if isinstance(base, Sum) else [Form(Fraction(1), _power(base))]
        if power < 0 or len(terms) * len(factors) ** power > LONGEST:
            return None
        for _ in range(power):
            terms = [multiplied(term, factor) for term in terms for factor in factors]
    if any(isinstance(base, Sum) for term in terms for base, _ in term.powers):
        nested = [_expanded(term) for term in terms]
        return None if any(part is None for part in nested) else [term for part in nested for term in part or ()]
    return terms


def _power(base: Base) -> Powers:
    return frozenset({(base, 1)})


def _collected(terms: Iterable[Form]) -> dict[Powers, Fraction]:
    total: dict[Powers, Fraction] = {}
    for term in terms:
        total[term.powers] = total.get(term.powers, Fraction(0)) + term.coefficient
    return {powers: coefficient for powers, coefficient in total.items() if coefficient}


def _normal(terms: dict[Powers, Fraction]) -> Form:
    """Return a sum of terms as a form: shared powers and a coefficient outside, so that equal sums look equal."""
    if len(terms) < 2:
        return next((Form(c, p) for p, c in terms.items()), number(0))
    shared = _shared(list(terms), denominators=False)
    inside = {_product(powers, _inverse(shared)): coefficient for powers, coefficient in terms.items()}
    leading = inside[min(inside, key=order_of)]
    size = _size(inside.values()) or abs(leading)
    size = size if leading > 0 else -size
    base = Sum(frozenset((powers, coefficient / size) for powers, coefficient in inside.items()))
    return multiplied(Form(size, shared), Form(Fraction(1), _power(base)))


def _size(coefficients: Iterable[Fraction]) -> Fraction | None:
    """Return what to divide coefficients by to make them whole numbers without a common factor, if they are short."""
    parts = [(abs(x.numerator), x.denominator) for x in coefficients]
    if any(part > LARGEST_WHOLE for pair in parts for part in pair):
        return None
    return Fraction(math.gcd(*(above for above, _ in parts)), math.lcm(*(below for _, below in parts)))


def order_of(powers: Powers) -> tuple[object, ...]:
    """Return a key that sorts terms and factors in the order in which their atoms were numbered."""
    return tuple(sorted((_order_of_base(base), power) for base, power in powers))


def _order_of_base(base: Base) -> tuple[object, ...]:
    if isinstance(base, int):
        return (0, base)
    return (1, *sorted((order_of(powers), coefficient) for powers, coefficient in base.terms))
