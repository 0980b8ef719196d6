"""How an elementwise operation is written in C."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.record import Node, Value

__all__ = ["C_TYPES", "ELEMENTWISE", "Text", "converted", "number", "product", "supports", "written"]

C_TYPES = {
    np.dtype(np.float64): "double",
    np.dtype(np.float32): "float",
    np.dtype(np.bool_): "bool",
    np.dtype(np.int8): "int8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.int64): "int64_t",
    np.dtype(np.uint8): "uint8_t",
}
"""The element types that C programs compute with."""

BOOL, FLOAT, DOUBLE = np.dtype(np.bool_), np.dtype(np.float32), np.dtype(np.float64)

# How strongly C's operators bind: an operand that binds less is put into parentheses.
CHOICE, TRUTH, RELATION, SUM, PRODUCT, UNARY, ATOM = range(7)


class Text(NamedTuple):
    """An expression in C.

    Attributes
    ----------
    text : str
    level : int
        How strongly its outermost operator binds.
    dtype : numpy.dtype
    """

    text: str
    level: int
    dtype: np.dtype[Any]

    def within(self, level: int) -> str:
        """Return it as an operand of something that binds as strongly as `level`."""
        return self.text if self.level >= level else f"({self.text})"


def number(x: float | bool, dtype: np.dtype[Any]) -> Text:
    """Return a number as it is written in C."""
    if dtype == BOOL:
        return Text("true" if x else "false", ATOM, dtype)
    if dtype.kind != "f":
        n = int(x)
        text = str(n) if abs(n) < 2**31 else f"INT64_C({n})" if n > -(2**63) else "INT64_MIN"
        return Text(text, ATOM if n >= 0 else UNARY, dtype)
    with np.errstate(over="ignore"):  # what is too large for a float32 is infinite there
        x = float(dtype.type(x))
    if math.isnan(x):
        return Text("NAN", ATOM, dtype)
    sign = "-" if math.copysign(1, x) < 0 else ""
    text = "INFINITY" if math.isinf(x) else repr(abs(dtype.type(x))).partition("(")[2].rstrip(")") or repr(abs(x))
    return Text(sign + text + ("f" if dtype == FLOAT and not math.isinf(x) else ""), UNARY if sign else ATOM, dtype)


def converted(x: Text, dtype: np.dtype[Any]) -> Text:
    """Return an expression as one of another element type."""
    if x.dtype == dtype:
        return x
    if dtype == BOOL:
        return Text(f"{x.within(SUM)} != 0", RELATION, dtype)
    return Text(f"({C_TYPES[dtype]}){x.within(UNARY)}", UNARY, dtype)


def _suffix(dtype: np.dtype[Any]) -> str:
    return "f" if dtype == FLOAT else ""


def _call(name: str, *xs: Text) -> Text:
    return Text(f"{name}({', '.join(x.text for x in xs)})", ATOM, xs[0].dtype)


def _infix(operator: str, level: int) -> Callable[[Text, Text], Text]:
    """Return the writer of a sum or product; the right operand of another of its kind keeps its parentheses."""
    return lambda a, b: Text(f"{a.within(level)} {operator} {b.within(level + 1)}", level, a.dtype)


def _relation(operator: str) -> Callable[[Text, Text], Text]:
    return lambda a, b: Text(f"{a.within(SUM)} {operator} {b.within(SUM)}", RELATION, BOOL)


def _library(name: str) -> Callable[..., Text]:
    """Return the writer of a call of C's library, or of a function of ours, in the form for the operands' type."""
    return lambda *xs: _call(name + _suffix(xs[0].dtype), *xs)


def _either(whole: str, real: str) -> Callable[..., Text]:
    """Return the writer of a call of our function for integers, or of that for floating-point numbers."""
    return lambda *xs: _library(real)(*xs) if xs[0].dtype.kind == "f" else _call(whole, *xs)


def _of_reals(name: str) -> Callable[[Text], Text]:
    """Return the writer of a rounding, which leaves integers as they are."""
    return lambda x: _library(name)(x) if x.dtype.kind == "f" else x


def _negative(x: Text) -> Text:
    return Text(f"-{x.within(ATOM)}", UNARY, x.dtype)


def _square(x: Text) -> Text:
    if x.text.isidentifier():
        return Text(f"{x.text} * {x.text}", PRODUCT, x.dtype)
    return _either("isquare", "square")(x)


def _abs(x: Text) -> Text:
    return _library("fabs")(x) if x.dtype.kind == "f" else x if x.dtype.kind in "bu" else _call("llabs", x)


def _reciprocal(x: Text) -> Text:
    return Text(f"1 / {x.within(UNARY)}", PRODUCT, x.dtype)


_POWERS: dict[float | None, Callable[[Text], Text]] = {
    0: lambda x: number(1, x.dtype),
    1: lambda x: x,
    2: _square,
    4: lambda x: _square(_square(x)),
    -1: _reciprocal,
    0.5: _library("sqrt"),
}
"""The powers that are written in another way."""


def _test(real: str, others: str) -> Callable[[Text], Text]:
    """Return the writer of a question about floating-point numbers, with the answer for all others."""
    return lambda x: Text(f"{real}({x.text}) != 0" if x.dtype.kind == "f" else others, RELATION, BOOL)


def _not(x: Text) -> Text:
    return Text(f"!{x.within(UNARY)}", UNARY, BOOL)


def _xor(a: Text, b: Text) -> Text:
    return Text(f"{a.within(SUM)} != {b.within(SUM)}", RELATION, BOOL)


def _truths(operator: str) -> Callable[[Text, Text], Text]:
    return lambda a, b: Text(f"{a.within(SUM)} {operator} {b.within(SUM)}", TRUTH, BOOL)


def _bits(operator: str, truth: Callable[[Text, Text], Text]) -> Callable[[Text, Text], Text]:
    plain = _relation(operator)
    return lambda a, b: truth(a, b) if a.dtype == BOOL else plain(a, b)._replace(level=CHOICE, dtype=a.dtype)


WRITERS: dict[str, Callable[..., Text]] = {
    "add": _infix("+", SUM),
    "subtract": _infix("-", SUM),
    "multiply": _infix("*", PRODUCT),
    "divide": _infix("/", PRODUCT),
    "negative": _negative,
    "square": _square,
    "reciprocal": _reciprocal,
    "abs": _abs,
    "sign": _either("isign", "sign"),
    "floor": _of_reals("floor"),
    "ceil": _of_reals("ceil"),
    "trunc": _of_reals("trunc"),
    "round": _of_reals("rint"),
    "floor_divide": _either("ifloor_divide", "floor_divide"),
    "remainder": _either("iremainder_of_floor", "remainder_of_floor"),
    "fmod": _either("ifmod", "fmod"),
    "maximum": _either("imaximum", "maximum"),
    "minimum": _either("iminimum", "minimum"),
    "power": _either("ipower", "pow"),
    "exp": _library("vexp"),
    "expm1": _library("vexpm1"),
    "log": _library("vlog"),
    "log1p": _library("vlog1p"),
    "tanh": _library("vtanh"),
    "equal": _relation("=="),
    "not_equal": _relation("!="),
    "less": _relation("<"),
    "less_equal": _relation("<="),
    "greater": _relation(">"),
    "greater_equal": _relation(">="),
    "isnan": _test("isnan", "false"),
    "isinf": _test("isinf", "false"),
    "isfinite": _test("isfinite", "true"),
    "logical_and": _truths("&&"),
    "logical_or": _truths("||"),
    "logical_xor": _xor,
    "logical_not": _not,
    "bitwise_and": _bits("&", _truths("&&")),
    "bitwise_or": _bits("|", _truths("||")),
    "bitwise_xor": _bits("^", _xor),
    "bitwise_not": lambda x: _not(x) if x.dtype == BOOL else Text(f"~{x.within(UNARY)}", UNARY, x.dtype),
}
_LIBRARY = (
    *("sqrt", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh"),
    *("atan2", "erf", "erfc"),
)
WRITERS.update({name: _library(name) for name in _LIBRARY})

ELEMENTWISE = frozenset([*WRITERS, "where", "cast"])
"""The names of the elementwise operations that can be written."""

_COMPARING = frozenset(
    ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "isnan", "isinf", "isfinite"]
)
_LOGICAL = frozenset(["logical_and", "logical_or", "logical_xor", "logical_not"])
_REAL_ONLY = frozenset(["reciprocal"])


def supports(value: Value, node: Node) -> bool:
    """Return whether a recorded elementwise operation can be written: in C it has to mean what it means in NumPy."""
    name = node.op.name
    if name not in ELEMENTWISE or value.dtype not in C_TYPES or any(x.dtype not in C_TYPES for x in node.values):
        return False
    if name in _REAL_ONLY or (name == "round" and node.params["decimals"] != 0):
        return value.dtype.kind == "f" and name != "round"
    if name == "power" and value.dtype.kind != "f":
        return _exponent(node) is not None or value.dtype.kind == "i"
    return True


def _exponent(node: Node) -> float | None:
    """Return the exponent of a power, if it is a plain number."""
    b = node.inputs[1]
    return None if isinstance(b, Value) else b


def _common(node: Node) -> np.dtype[Any]:
    """Return the element type in which operands are compared."""
    return np.result_type(*(x.dtype if isinstance(x, Value) else x for x in node.inputs))


def written(value: Value, node: Node, operands: Sequence[Text | float]) -> Text:
    """Return the expression for an elementwise operation.

    Parameters
    ----------
    value : Value
        What it computed in the record.
    node : Node
    operands : sequence of Text or number
    """
    name = node.op.name
    if name == "where":
        condition, a, b = operands
        test = _typed(condition, BOOL)
        chosen = [_typed(x, value.dtype).within(TRUTH) for x in (a, b)]
        return Text(f"{test.within(TRUTH)} ? {chosen[0]} : {chosen[1]}", CHOICE, value.dtype)
    dtype = BOOL if name in _LOGICAL else _common(node) if name in _COMPARING else value.dtype
    typed = [_typed(x, dtype) for x in operands]
    if name == "cast":
        x = operands[0]
        if isinstance(x, Text) and x.dtype == DOUBLE and dtype == FLOAT:
            return Text(f"narrowed({x.text})", ATOM, FLOAT)
        return typed[0]
    exponent = _exponent(node) if name == "power" else None
    result = _POWERS[exponent](typed[0]) if exponent in _POWERS else WRITERS[name](*typed)
    narrow = value.dtype == BOOL != result.dtype or (value.dtype.kind in "iu" and value.dtype.itemsize < 8)
    if narrow or (value.dtype == BOOL and name in ("add", "multiply")):
        return Text(f"({C_TYPES[value.dtype]}){result.within(UNARY)}", UNARY, value.dtype)
    return result._replace(dtype=value.dtype)


def product(dtype: np.dtype[Any], a: Text | float, b: Text | float) -> Text:
    """Return the expression for the product of two elements of matrices."""
    return WRITERS["multiply"](_typed(a, dtype), _typed(b, dtype))


def _typed(x: Text | float, dtype: np.dtype[Any]) -> Text:
    return converted(x, dtype) if isinstance(x, Text) else number(x, dtype)
