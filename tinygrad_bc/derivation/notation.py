"""Formulas composed: the templates of operations with names, numbers and other formulas put in.

`apply` puts expressions into the formula that an operation declares. `tinygrad_bc.derivation.printing` then prints the
tree, with the parentheses that precedence asks for, which differ between a line of text and a fraction with a bar.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tinygrad_bc.derivation.printing import text
from tinygrad_bc.derivation.templates import Expression, from_leaves, node, parse
from tinygrad_bc.primitive import Primitive

__all__ = ["Expression", "apply", "derivative", "equation", "name", "number", "parse", "prime", "summed", "with_names"]


def name(title: str, *, scalar: bool = False) -> Expression:
    """Return a variable. As text it is exactly its name.

    Parameters
    ----------
    title
        ``W1`` is printed with a subscript, ``theta`` as a Greek letter, ``dLoss_W1`` as the derivative of ``Loss`` by
        ``W1``: a ``d``, a name that begins with a capital, an underscore, a name. Any text is safe.
    scalar
        Whether it is a single number, so that its products are written with a dot.
    """
    split = re.fullmatch(r"d([A-Z][^\W_]*)_(.+)", title)
    return derivative(split[1], split[2], scalar=scalar) if split else Expression("name", symbol=title, scalar=scalar)


def derivative(of: str, by: str, *, scalar: bool = False) -> Expression:
    """Return the gradient of the value named `of` with respect to `by`: ``d<of>_<by>`` as text, else a fraction."""
    parts = Expression("name", symbol=of), Expression("name", symbol=by)
    return Expression("derivative", parts, f"d{of}_{by}", scalar=scalar)


def number(x: float) -> Expression:
    """Return a number, written with as few digits as identify it."""
    shown = repr(x.item() if hasattr(x, "item") else x)
    if shown.startswith("-"):
        return node("prefix", Expression("number", symbol=shown[1:], scalar=True), symbol="−")
    return Expression("number", symbol=shown, scalar=True)


def equation(left: Expression, right: Expression) -> Expression:
    """Return ``left = right``."""
    return Expression("equation", (left, right), "=")


def apply(op: Primitive, inputs: Sequence[Expression], params: Mapping[str, Any]) -> Expression:
    """Return the formula of `op` with expressions put in.

    Metadata that the formula does not mention, and that differs from its default, is appended, as
    `Primitive.write` does: ``sum(x, axis=1)``, ``‖x‖ (axis=1)``.

    Parameters
    ----------
    op
        Any declared operation.
    inputs
        One expression for each array. Those that may be left out are written ``…`` where they are.
    params
        The metadata of the call.
    """
    arrays = {**dict.fromkeys(op.arrays, Expression("text", symbol="…")), **dict(zip(op.arrays, inputs))}
    arrays |= {str(i): x for i, x in enumerate(inputs)}
    arrays["all"] = _listed(inputs)
    formula = _fill(parse(op.formula), arrays, {**op.defaults, **params})
    extra = [
        Expression("text", symbol=f"{key}={params[key]}")
        for key in op.metadata
        if f"{{{key}}}" not in op.formula and params.get(key, "") not in ("", op.defaults.get(key))
    ]
    if not extra:
        return formula
    if formula.kind == "call":
        function, arguments = formula.parts
        return node("call", function, _listed([arguments, *extra]))
    return node("note", formula, _listed(extra))


def with_names(params: Mapping[str, Any], inputs: Sequence[Expression]) -> dict[str, Any]:
    """Return the metadata of a call with the names of the arrays that it indexes with: ``x[ids]``, not ``x[array]``."""
    names = [text(x) for x in inputs[1:]]
    return {key: x.with_arrays(names) if hasattr(x, "with_arrays") else x for key, x in params.items()}


def prime(op: Primitive, argument: Expression, params: Mapping[str, Any] | None = None) -> Expression | None:
    """Return the derivative of an operation on one array, at `argument`, with a prime: ``σ′(Z2)``.

    None if the operation is not written as a function of its array in parentheses: ``x²``, ``|x|``.
    """
    template = parse(op.formula)
    if template.kind != "call" or template.parts[1].kind != "slot" or template.parts[1].symbol not in (*op.arrays, "0"):
        return None
    function, arguments = apply(op, [argument], params or {}).parts
    return node("call", node("super", function, symbol="′"), arguments)


def summed(x: Expression, axes: tuple[int, ...], ndim: int, keepdims: bool) -> Expression:
    """Return the sum of `x` over some of its axes, with an index for each that is summed over.

    What stands after the sign is read as in NumPy: ``Σⱼ x[:, j]`` adds up the columns of a matrix and gives a vector;
    ``Σⱼ x[:, [j]]``, where the axis is kept, gives a matrix of one column. Over all axes it is ``Σᵢⱼ x[i, j]``; with
    several axes kept, ``Σᵢⱼ x[i:i+1, j:j+1]``.

    Parameters
    ----------
    x
        What is summed.
    axes
        The axes to sum over; negative ones count from the end. None of them: the result is `x`.
    ndim
        How many axes `x` has.
    keepdims
        Whether the axes stay, with length 1.

    Raises
    ------
    ValueError
        If `x` has no such axis.
    """
    if any(not -ndim <= axis < ndim for axis in axes):
        raise ValueError(f"axes {axes} of a value with {ndim} axes: they are numbered 0 to {ndim - 1}")
    if not axes:
        return x
    used = {part.symbol for part in from_leaves(x)}
    numbered = (f"i{k}" for k in range(1, ndim + len(used) + 1))
    letters = [letter for letter in (*"ijklmpst", *numbered) if letter not in used]
    over = sorted({axis % ndim for axis in axes})
    places = [Expression("text", symbol=":")] * ndim
    for axis in over:
        places[axis] = _kept(letters[axis], len(over)) if keepdims else Expression("name", symbol=letters[axis])
    indices = " ".join(letters[axis] for axis in over)
    return node("sum", node("index", x, _listed(places)), symbol=indices)


def _kept(letter: str, count: int) -> Expression:
    """Return an index that keeps its axis; of several lists NumPy would take the elements in pairs."""
    index = Expression("name", symbol=letter)
    if count == 1:
        return node("group", index, symbol="[")
    return node("prose", index, Expression("text", symbol=":"), index, Expression("text", symbol="+1"))


def _bare(x: Expression) -> Expression:
    """Return `x` without parentheses around it as a whole: where it is put, precedence decides about them."""
    return x.parts[0] if x.kind == "group" and x.symbol == "(" and x.parts[0].symbol not in (",", ";") else x


def _listed(items: Sequence[Expression]) -> Expression:
    if not items:
        return Expression("text")
    return functools.reduce(lambda left, right: node("infix", left, right, symbol=",", spelled=", "), items)


def _fill(template: Expression, arrays: Mapping[str, Expression], params: Mapping[str, Any]) -> Expression:
    """Return `template` with its slots filled. Only the template is walked, so this may be recursive."""
    if template.kind == "slot":
        array = arrays.get(re.split(r"\W", template.symbol)[0])
        if array:
            return _bare(array)
        if type(params.get(template.symbol)) in (int, float):
            return number(params[template.symbol])
        return Expression("text", symbol=f"{{{template.symbol}}}".format(**params))
    if not template.parts:
        return template
    parts = [_fill(part, arrays, params) for part in template.parts]
    if template.symbol == "∘" and any(x.scalar for x in parts):
        parts.sort(key=_rank)  # the factors of an elementwise product commute exactly
        return node("infix", *parts, symbol="·")
    return node(template.kind, *parts, symbol=template.symbol, spelled=template.spelled)


def _rank(factor: Expression) -> int:
    """Return the place of a factor: numbers stand before scalars, and those before arrays."""
    plain = factor.parts[0] if factor.kind == "prefix" else factor
    return 0 if plain.kind == "number" else 1 if factor.scalar else 2
