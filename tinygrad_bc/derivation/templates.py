"""Formulas as small trees, and the reader of the templates that operations declare: ``"σ({x})"``.

The reader knows the grammar of formulas and no operation: a template that a user declares is read like any other. A
tree holds no parentheses but those that the author of a template wrote.
"""

from __future__ import annotations

import functools
import itertools
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

__all__ = [
    "CLOSING",
    "FUNCTIONS",
    "OPERATORS",
    "SUBSCRIPTS",
    "SUPERSCRIPTS",
    "Expression",
    "from_leaves",
    "node",
    "parse",
]

Kind = Literal[
    "name",  # a variable: symbol
    "derivative",  # ∂A/∂B of the names A and B; symbol is its name in plain text
    "number",  # not negative: symbol is its shortest text
    "word",  # an identifier in a template: a function, or a variable of its own
    "text",  # metadata, or words of prose: symbol, verbatim
    "slot",  # what a template leaves open: symbol is the field between the braces
    "infix",  # left symbol right; spelled with its blanks
    "prefix",  # symbol operand: −x, √x, ¬x
    "power",  # base ^ exponent
    "super",  # base with a superscript symbol: x², Aᵀ, f′
    "sub",  # base with a subscript symbol: xⱼ
    "index",  # base[content]
    "call",  # function(arguments)
    "application",  # function spelled argument, without parentheses of its own: log σ(x), log|x|
    "group",  # between brackets: symbol is the opening one
    "choice",  # (value, condition, otherwise)
    "prose",  # parts one after the other, in words
    "sum",  # over the indices in symbol
    "note",  # part (remark)
    "equation",  # left = right
]

CLOSING = {"(": ")", "[": "]", "|": "|", "‖": "‖", "⌊": "⌋", "⌈": "⌉"}
SUPERSCRIPTS = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿⁱᵀᴴ′", "0123456789+−()niTH′"))
SUBSCRIPTS = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₕᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "0123456789+−aehijklmnoprstuvx"))
FUNCTIONS = frozenset(
    ["arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp", "inf", "ln"]
) | frozenset(["log", "max", "min", "sec", "sin", "sinh", "sup", "tan", "tanh"])
"""The functions that LaTeX knows by name; in a template they apply to what follows, ``log σ({x})``."""

# From loose to tight. Operators of one row are read from left to right.
OPERATORS: tuple[frozenset[str], ...] = (
    frozenset(["∨", "∧", "⊕"]),
    frozenset(["=", "==", "≠", "!=", "<", ">", "≤", "<=", "≥", ">=", "≈", "∈"]),
    frozenset(["+", "−", "-", "±"]),
    frozenset(["∘", "·", "×", "*", "⊙", "⊗", "/", "//", "@", "mod"]),
)
_ROW = {symbol: row for row, symbols in enumerate(OPERATORS) for symbol in symbols}
_SIGNS = ("−", "-")
_PREFIXES = ("√", "¬", "∂", "∇")
_ARITHMETIC = ("infix", "prefix", "power", "super", "group")


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """A formula, or a part of one; made by the functions of this module.

    Attributes
    ----------
    kind
        What it is; see `Kind`.
    parts
        What it is made of.
    symbol
        Its operator, bracket or text.
    spelled
        How the author of a template wrote that symbol, with the blanks around it.
    scalar
        Whether it is known to be a single number: a product with it is not taken element by element.
    """

    kind: Kind
    parts: tuple[Expression, ...] = ()
    symbol: str = ""
    spelled: str = ""
    scalar: bool = False

    def __repr__(self) -> str:
        return f"<{self.kind} {self.symbol}>" if self.symbol else f"<{self.kind}>"


def from_leaves(e: Expression) -> list[Expression]:
    """Return `e` and all its parts, each once and after its own parts. Not recursive, however deep the formula is."""
    found: dict[int, Expression] = {}
    todo = [(e, False)]
    while todo:
        current, complete = todo.pop()
        if complete:
            found.setdefault(id(current), current)
        elif id(current) not in found:
            todo.append((current, True))
            todo += [(part, False) for part in current.parts]
    return list(found.values())


def node(kind: Kind, *parts: Expression, symbol: str = "", spelled: str = "") -> Expression:
    """Return an expression made of others; it is a scalar if it is arithmetic of scalars."""
    scalar = kind in _ARITHMETIC and symbol not in (",", ";") and all(x.scalar for x in parts)
    return Expression(kind, parts, symbol, spelled or symbol, scalar)


class _Token(NamedTuple):
    kind: str  # keyword, number, super, sub, word, slot, mark or end
    text: str
    gap: str  # the blank before it


class _UnreadableError(Exception):
    """A template that is not a formula as this grammar knows them."""


_TOKEN = re.compile(
    rf"(?P<gap>\s*)(?:(?P<keyword>(?:if|else|mod)\b(?!\())|(?P<number>\d+(?:\.\d+)?(?:e[-+]?\d+)?|[½⅓⅔¼¾⅛])|(?P<super>[{''.join(SUPERSCRIPTS)}]+)"
    rf"|(?P<sub>[{''.join(SUBSCRIPTS)}]+)|(?P<word>[^\W\d][^\W{''.join(SUPERSCRIPTS)}]*)"
    r"|(?P<mark>\*\*|<=|>=|==|!=|//|\S)|$)"
)


@functools.cache
def parse(template: str) -> Expression:
    """Read the template of a formula; its arguments stay open, as slots.

    It knows operators with their precedence, functions, brackets, roots, sub- and superscripts, and
    ``… if … else …``. What is not a formula is kept as prose, word by word.

    Parameters
    ----------
    template
        A format string: ``"σ({x})"``, ``"{a} ∘ {b}"``, ``"put {x} on the diagonal of zeros{shape}"``.
    """
    try:
        return _Parser(template).whole()
    except _UnreadableError:
        return _as_prose(template)


def _pieces(template: str) -> Iterator[tuple[str, str | None]]:
    """Yield the literal texts of a format string, each with the field that follows it."""
    unnamed = itertools.count()
    for literal, field, spec, conversion in string.Formatter().parse(template):
        if field is None:
            yield literal, None
        else:
            named = field or str(next(unnamed))
            yield literal, named + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")


def _tokens(template: str) -> Iterator[_Token]:
    gap = ""
    for literal, field in _pieces(template):
        for match in _TOKEN.finditer(literal):
            gap += match["gap"]
            if match.lastgroup not in (None, "gap"):
                yield _Token(str(match.lastgroup), match[str(match.lastgroup)], gap)
                gap = ""
        if field is not None:
            yield _Token("slot", field, gap)
            gap = ""
    yield _Token("end", "", gap)


def _as_prose(template: str) -> Expression:
    parts = []
    for literal, field in _pieces(template):
        parts += [Expression("text", symbol=literal)] if literal else []
        parts += [Expression("slot", symbol=field)] if field is not None else []
    return node("prose", *parts)


class _Parser:
    """Reads one template by recursive descent; each method reads what its name says and moves on."""

    def __init__(self, template: str) -> None:
        self.tokens = list(_tokens(template))
        self.position = 0
        self.closing = [""]  # what closes the brackets that are open, the innermost last

    @property
    def next(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        self.position += 1
        return self.tokens[self.position - 1]

    def expect(self, text: str) -> None:
        if self.next.text != text:
            raise _UnreadableError
        self.take()

    def at_operand(self) -> bool:
        kind, text, _ = self.next
        if kind == "mark":
            return text in _PREFIXES or (text in CLOSING and text != self.closing[-1])
        return kind in ("number", "slot", "word")

    def whole(self) -> Expression:
        result = self.sequence()
        if self.next.kind != "end":
            raise _UnreadableError
        return result

    def sequence(self) -> Expression:
        result = self.choice()
        while self.next.text in (",", ";"):
            result = self.infix(result, self.choice)
        return result

    def infix(self, left: Expression, right: Callable[[], Expression]) -> Expression:
        """Read an operator, and what stands to the right of it with the reader `right`."""
        operator = self.take()
        symbol = {"-": "−"}.get(operator.text, operator.text)
        spelled = operator.gap + operator.text + self.next.gap
        parts = (left, right())
        if symbol not in (",", ";") and any(part.kind == "prose" for part in parts):
            raise _UnreadableError  # where the words of a sentence end is not for a grammar to say
        return node("infix", *parts, symbol=symbol, spelled=spelled)

    def choice(self) -> Expression:
        value = self.operation(0)
        if self.next.text != "if":
            return value
        self.take()
        condition = self.operation(0)
        self.expect("else")
        return node("choice", value, condition, self.choice())

    def operation(self, row: int) -> Expression:
        """Read operators of this row of the table, and of the rows below it."""
        if row == len(OPERATORS):
            return self.run()
        left = self.operation(row + 1)
        while _ROW.get(self.next.text) == row:
            left = self.infix(left, functools.partial(self.operation, row + 1))
        return left

    def run(self) -> Expression:
        """Read what stands side by side: a product, a function before its argument, or words."""
        if self.next.text in _SIGNS:
            self.take()
            return node("prefix", self.operation(len(OPERATORS) - 1), symbol="−")
        if not self.at_operand():
            raise _UnreadableError
        items, gaps = [self.operand()], [""]
        while self.at_operand():
            gaps.append(self.next.gap)
            items.append(self.operand())
        for i in reversed(range(len(items) - 1)):
            if _is_word(items[i]) and (
                not gaps[i + 1] or items[i].symbol in FUNCTIONS or (len(items) == 2 and items[1].kind == "call")
            ):
                items[i : i + 2] = [node("application", *items[i : i + 2], spelled=gaps.pop(i + 1))]
        if len(items) > 1 and any(map(_is_word, items)):
            return _sentence(items, gaps)
        result = items[0]
        for gap, item in zip(gaps[1:], items[1:]):
            result = Expression("infix", (result, item), "", gap)
        return result

    def operand(self) -> Expression:
        """Read one thing, with the superscripts, subscripts and indices behind it."""
        result = self.atom()
        while True:
            kind, text, gap = self.next
            if kind in ("super", "sub"):
                result = node("super" if kind == "super" else "sub", result, symbol=self.take().text)
            elif text in ("^", "**"):
                self.take()
                result = node("power", result, self.exponent(), symbol="^", spelled=text)
            elif text == "[" and not gap:
                result = node("index", result, self.bracketed())
            elif text == "(" and not gap and (result.parts or (result,))[0].kind == "word" and result.kind != "call":
                result = node("call", result, self.bracketed())
            else:
                return result

    def exponent(self) -> Expression:
        if self.next.text in _SIGNS:
            self.take()
            return node("prefix", self.atom(), symbol="−")
        return self.atom()

    def atom(self) -> Expression:
        if not self.at_operand():
            raise _UnreadableError
        kind, text, _ = self.next
        if kind == "mark" and text in CLOSING:
            return node("group", self.bracketed(), symbol=text)
        self.take()
        if kind == "mark":
            return node("prefix", self.operand(), symbol=text)
        if kind == "slot":
            return Expression("slot", symbol=text)
        return Expression("number", symbol=text, scalar=True) if kind == "number" else Expression("word", symbol=text)

    def bracketed(self) -> Expression:
        closing = CLOSING[self.take().text]
        if self.next.text == closing:
            content = Expression("text")
        else:
            self.closing.append(closing)
            content = self.sequence()
            self.closing.pop()
        self.expect(closing)
        return content


def _is_word(e: Expression) -> bool:
    """Say whether `e` is a word of a language, or a function, rather than a variable of one letter."""
    return e.kind == "word" and len(e.symbol.rstrip("".join(SUBSCRIPTS))) > 1


def _sentence(items: Sequence[Expression], gaps: Sequence[str]) -> Expression:
    parts: list[Expression] = []
    for item, gap in zip(items, gaps):
        words = gap + item.symbol if item.kind == "word" else gap
        if words and parts and parts[-1].kind == "text":
            parts[-1] = Expression("text", symbol=parts[-1].symbol + words)
        elif words:
            parts.append(Expression("text", symbol=words))
        if item.kind != "word":
            parts.append(item)
    return node("prose", *parts)
