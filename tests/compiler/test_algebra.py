"""The normal form of sums and products against exact arithmetic."""

import operator
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_bc.compiler.passes.algebra import Form, Sum, added, combined, multiplied, number, raised

ATOMS = [Fraction(7, 3), Fraction(-5, 2), Fraction(11, 13)]


def atom(i):
    return Form(Fraction(1), frozenset({(i, 1)}))


def value(form):
    total = form.coefficient
    for base, power in form.powers:
        number = sum(value(Form(c, p)) for p, c in base.terms) if isinstance(base, Sum) else ATOMS[base]
        total *= number**power
    return total


def expressions():
    """A form computed step by step, and the number it must be."""
    leaves = st.one_of(
        st.integers(0, len(ATOMS) - 1).map(lambda i: (atom(i), ATOMS[i])),
        st.sampled_from([1, -1, 2, 0.5]).map(lambda x: (number(x), Fraction(x))),
    )

    def grown(inner):
        def joined(parts):
            (a, x), (b, y), how, add = parts
            if how == "+":
                return add(a, b), x + y
            if how == "*":
                return multiplied(a, b), x * y
            return (multiplied(a, raised(b, -1)), x / y) if y else (a, x)

        return st.tuples(inner, inner, st.sampled_from("+*/"), st.sampled_from([added, combined])).map(joined)

    return st.recursive(leaves, grown, max_leaves=12)


@given(expressions())
def test_forms_are_worth_what_the_expression_is(pair):
    form, expected = pair
    assert value(form) == expected


def minus(add, a, b):
    return add(a, multiplied(number(-1), b))


def over(a, b):
    return multiplied(a, raised(b, -1))


def test_what_cancels_cancels():
    y, p, one = atom(0), atom(1), number(1)
    slope = minus(combined, over(minus(combined, one, y), minus(combined, one, p)), over(y, p))
    assert multiplied(slope, multiplied(p, minus(combined, one, p))) == minus(added, p, y)


def test_added_keeps_fractions_apart_and_takes_out_what_is_shared():
    a, b, n = map(atom, range(3))
    total = added(over(a, multiplied(n, b)), over(b, n))
    ((base, power),) = [pair for pair in total.powers if isinstance(pair[0], Sum)]
    assert power == 1
    assert (2, -1) in total.powers
    assert {powers for powers, _ in base.terms} == {frozenset({(0, 1), (1, -1)}), frozenset({(1, 1)})}


@pytest.mark.parametrize("add", [added, combined])
def test_like_terms_are_put_together(add):
    a, b = atom(0), atom(1)
    assert add(add(a, b), minus(add, a, b)) == multiplied(number(2), a)
    assert add(a, multiplied(number(-1), a)) == number(0)


def test_sums_that_differ_by_a_factor_have_one_base():
    a, b = atom(0), atom(1)
    one, other = minus(added, a, b), minus(added, multiplied(number(2), b), multiplied(number(2), a))
    assert one.powers == other.powers
    assert over(one, other) == number(Fraction(-1, 2))


def test_a_product_too_long_is_not_multiplied_out():
    a, b = atom(0), atom(1)
    power = raised(added(a, b), 9)
    assert value(combined(power, a)) == operator.add(value(power), ATOMS[0])


def test_zero_has_no_reciprocal():
    with pytest.raises(ZeroDivisionError):
        raised(number(0), -1)
