"""What every format of a formula has in common: precedence, and where parentheses are needed.

A formula is written from its leaves up without recursion; a part that occurs twice is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from tinygrad_bc.derivation.templates import OPERATORS, Expression, from_leaves

__all__ = ["Level", "Piece", "Writer"]


class Level(IntEnum):
    """How tightly a formula holds together, from loose to tight."""

    LIST = 0
    PROSE = 1
    CHOICE = 2
    LOGIC = 3
    COMPARISON = 4
    SUM = 5
    BIG_SUM = 6
    PRODUCT = 7
    APPLICATION = 8  # log σ(x)
    SIDE_BY_SIDE = 9  # 2x
    PREFIX = 10  # and a fraction with a bar
    POWER = 11
    ATOM = 12


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a formula as it has been written.

    Attributes
    ----------
    body
        The text, LaTeX or MathML.
    level, symbol
        How tightly it holds together, and the operator that it is made with.
    start
        ``"sign"`` or ``"digit"`` where it begins with one.
    is_open
        Whether it ends in a function that would take what follows for a part of its argument: ``log σ(x)``.
    inside
        Of a negative, and of what its author put in parentheses: the formula without that.
    """

    body: str
    level: Level = Level.ATOM
    symbol: str = ""
    start: str = ""
    is_open: bool = False
    inside: Piece | None = None


_LEVELS = dict(zip(OPERATORS, (Level.LOGIC, Level.COMPARISON, Level.SUM, Level.PRODUCT)))
_LEVEL = {",": Level.LIST, ";": Level.LIST, "": Level.SIDE_BY_SIDE} | {
    symbol: level for symbols, level in _LEVELS.items() for symbol in symbols
}
_ASSOCIATIVE = frozenset([",", "+", "∘", "·", "@", "∧", "∨", "⊕", "⊙", "⊗", "*"])

# The loosest that may stand at the left and at the right of an operator without parentheses.
_SIDES = {
    Level.LIST: (Level.LIST, Level.PROSE),
    Level.LOGIC: (Level.COMPARISON, Level.COMPARISON),
    Level.COMPARISON: (Level.SUM, Level.SUM),
    Level.SUM: (Level.SUM, Level.BIG_SUM),
    Level.PRODUCT: (Level.APPLICATION, Level.APPLICATION),
    Level.SIDE_BY_SIDE: (Level.SIDE_BY_SIDE, Level.APPLICATION),
}
_TIGHTER_SIDES = {
    "/": (Level.APPLICATION, Level.PREFIX),
    "//": (Level.APPLICATION, Level.PREFIX),
    "@": (Level.PREFIX, Level.PREFIX),
    "mod": (Level.SIDE_BY_SIDE, Level.SIDE_BY_SIDE),
}
# Products that may be the left factor of another one, or the numerator in a line of text.
_LEFT_FACTORS = {"∘": "·", "@": "·", "/": "∘·@", "//": "∘·@"}


class Writer:
    """The rules that all formats follow. A method is named after the kind of expression that it writes."""

    def write(self, e: Expression) -> Piece:
        """Return `e` as it is written in this format."""
        parts = from_leaves(e)
        uses = Counter(id(part) for x in parts for part in x.parts)
        done: dict[int, Piece] = {}
        for x in parts:
            done[id(x)] = getattr(self, f"_{x.kind}")(x, *(done[id(part)] for part in x.parts))
            uses.subtract(id(part) for part in x.parts)
            for part in x.parts:
                if not uses[id(part)]:
                    done.pop(id(part), None)  # every sum of a long chain at once would fill the memory
        return done[id(e)]

    def fitted(self, piece: Piece, level: Level) -> Piece:
        """Return `piece`, in parentheses where it is looser than `level`."""
        return piece if piece.level >= level else self.parenthesised(piece)

    def parenthesised(self, piece: Piece) -> Piece:
        """Return `piece` in parentheses."""
        return Piece(self.fence("(", piece.body), inside=piece)

    def factor(self, symbol: str, piece: Piece, side: int) -> Piece:
        """Return an operand at the left (`side` 0) or right (1) of the operator `symbol`."""
        if side and piece.start == "sign" and _LEVEL[symbol] >= Level.SUM:
            return self.parenthesised(piece)
        return piece if self.stands_bare(symbol, piece, side) else self.parenthesised(piece)

    def stands_bare(self, symbol: str, piece: Piece, side: int) -> bool:
        """Say whether an operand of the operator `symbol` needs no parentheses."""
        if piece.is_open and side == 0 and _LEVEL[symbol] >= Level.PRODUCT:
            return False
        if piece.level >= _TIGHTER_SIDES.get(symbol, _SIDES[_LEVEL[symbol]])[side]:
            return not (symbol == "@" and side and piece.start == "digit")
        if piece.symbol == symbol:
            return symbol in _ASSOCIATIVE
        if symbol == "·" and side:  # a number of times a product
            return piece.level is Level.BIG_SUM or piece.symbol in ("∘", "@")
        if side == 0 and piece.symbol == "negative" and _LEVEL[symbol] is Level.PRODUCT and symbol != "mod":
            # −a ∘ b is (−a) ∘ b as well as −(a ∘ b)
            return piece.inside is not None and self.stands_bare(symbol, piece.inside, side)
        return side == 0 and piece.level is Level.PRODUCT and piece.symbol in _LEFT_FACTORS.get(symbol, ())

    def _infix(self, e: Expression, left: Piece, right: Piece) -> Piece:
        symbol, level = e.symbol, _LEVEL[e.symbol]
        left, right = self.factor(symbol, left, 0), self.factor(symbol, right, 1)
        dotted = symbol == "" and right.start == "digit"  # ½·3, not ½3
        if right.level is Level.BIG_SUM and symbol == "·":  # 2·Σⱼ x[j] reaches as far as the sum does
            level = Level.BIG_SUM
        body = self.joined(left.body, "·" if dotted else symbol, "·" if dotted else e.spelled, right.body)
        return Piece(body, level, symbol, left.start, right.is_open)

    def _prefix(self, e: Expression, x: Piece) -> Piece:
        if e.symbol == "√":
            return self.root(x)
        if e.symbol != "−":
            return Piece(self.prefixed(e.symbol, self.fitted(x, Level.PREFIX).body), Level.PREFIX)
        operand = self.parenthesised(x) if x.start == "sign" else self.fitted(x, Level.BIG_SUM)
        return Piece(self.prefixed("−", operand.body), Level.SUM, "negative", "sign", operand.is_open, operand)

    def _super(self, e: Expression, base: Piece) -> Piece:
        base = self.fitted(base, Level.ATOM)
        level = Level.ATOM if e.symbol == "′" else Level.POWER
        return Piece(self.superscript(base.body, e.symbol), level, start=base.start)

    def _sub(self, e: Expression, base: Piece) -> Piece:
        return Piece(self.subscript(self.fitted(base, Level.ATOM).body, e.symbol), Level.POWER)

    def _power(self, e: Expression, base: Piece, exponent: Piece) -> Piece:
        base = self.fitted(base, Level.ATOM)
        return Piece(self.power(base.body, e.spelled, exponent), Level.POWER, start=base.start)

    def _index(self, _: Expression, base: Piece, content: Piece) -> Piece:
        return Piece(self.fitted(base, Level.ATOM).body + self.fence("[", content.body))

    def _call(self, _: Expression, function: Piece, arguments: Piece) -> Piece:
        return Piece(self.applied(function.body, "", self.fence("(", arguments.body)))

    def _application(self, e: Expression, function: Piece, x: Piece) -> Piece:
        x = self.fitted(x, Level.APPLICATION)
        closed = not e.spelled and e.parts[1].kind in ("group", "slot", "text")  # log|x|, zeros(3, 4)
        level = Level.PREFIX if closed else Level.APPLICATION
        return Piece(self.applied(function.body, e.spelled, x.body), level, is_open=not closed)

    def _group(self, e: Expression, body: Piece) -> Piece:
        return Piece(self.fence(e.symbol, body.body), inside=body if e.symbol == "(" else None)

    def _prose(self, _: Expression, *parts: Piece) -> Piece:
        """Write words; formulas among them hold together visibly."""
        fitted = [self.fitted(piece, Level.PREFIX) for piece in parts]
        return Piece(self.side_by_side([piece.body for piece in fitted]), Level.PROSE)

    def _note(self, _: Expression, x: Piece, remark: Piece) -> Piece:
        x = self.fitted(x, Level.PROSE)
        return Piece(self.side_by_side([x.body, self.blank, self.fence("(", remark.body)]), Level.PROSE)

    def _sum(self, e: Expression, x: Piece) -> Piece:
        return Piece(self.big_sum(e.symbol.split(), x.body), Level.BIG_SUM)

    def _equation(self, _: Expression, left: Piece, right: Piece) -> Piece:
        right = self.parenthesised(right) if right.symbol == "=" else right
        return Piece(self.joined(left.body, "=", " = ", right.body), Level.LIST)

    # What the formats differ in.
    blank: str
    fence: Callable[[str, str], str]
    joined: Callable[[str, str, str, str], str]
    prefixed: Callable[[str, str], str]
    root: Callable[[Piece], Piece]
    superscript: Callable[[str, str], str]
    subscript: Callable[[str, str], str]
    power: Callable[[str, str, Piece], str]
    applied: Callable[[str, str, str], str]
    side_by_side: Callable[[list[str]], str]
    big_sum: Callable[[list[str], str], str]
