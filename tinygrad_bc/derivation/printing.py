"""Prints formulas as text, as LaTeX (with amsmath) and as presentation MathML (the part called MathML Core).

The three formats share the rules of `tinygrad_bc.derivation.writing`, and differ in what needs no parentheses: a
fraction with a bar, a root or an exponent shows by itself how far it reaches.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from xml.sax.saxutils import escape

from tinygrad_bc.derivation.templates import CLOSING, FUNCTIONS, SUBSCRIPTS, SUPERSCRIPTS, Expression
from tinygrad_bc.derivation.writing import Level, Piece, Writer

__all__ = ["latex", "mathml", "text"]


def text(e: Expression) -> str:
    """Return `e` as one line of Unicode text: ``dLoss_Z1 Xᵀ``, ``σ′(Z2)``, ``(a + b) ∘ c``."""
    return _Text().write(e).body


def latex(e: Expression) -> str:
    r"""Return `e` in LaTeX, without dollar signs. It compiles with the package amsmath: ``\sigma'(Z_{2})``."""
    return _Latex().write(e).body


def mathml(e: Expression, display: str | None = "block") -> str:
    """Return `e` in presentation MathML.

    Parameters
    ----------
    e
        Any formula.
    display
        ``"block"`` or ``"inline"``: how the ``<math>`` element is displayed. None returns only what stands in it.
    """
    row = f"<mrow>{_Mathml().write(e).body}</mrow>"
    return (
        row if display is None else f'<math xmlns="http://www.w3.org/1998/Math/MathML" display="{display}">{row}</math>'
    )


RAISED = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Text(Writer):
    blank = " "

    def _name(self, e: Expression, *_: Piece) -> Piece:
        return Piece(e.symbol)

    _word = _derivative = _text = _name

    def _number(self, e: Expression) -> Piece:
        return Piece(e.symbol, start="digit")

    def _slot(self, e: Expression) -> Piece:
        return Piece(f"{{{e.symbol}}}")

    def _choice(self, _: Expression, value: Piece, condition: Piece, otherwise: Piece) -> Piece:
        value, condition = self.fitted(value, Level.LOGIC), self.fitted(condition, Level.LOGIC)
        return Piece(f"{value.body} if {condition.body} else {self.fitted(otherwise, Level.CHOICE).body}", Level.CHOICE)

    def fence(self, opening: str, body: str) -> str:
        return opening + body + CLOSING[opening]

    def joined(self, left: str, symbol: str, spelled: str, right: str) -> str:
        return f"{left} {right}" if symbol == "@" else left + spelled + right

    def prefixed(self, symbol: str, x: str) -> str:
        return symbol + x

    def root(self, x: Piece) -> Piece:
        return Piece("√" + self.fitted(x, Level.ATOM).body, Level.PREFIX)

    def superscript(self, base: str, symbol: str) -> str:
        return base + symbol

    subscript = superscript

    def power(self, base: str, spelled: str, exponent: Piece) -> str:
        text = self.fitted(exponent, Level.ATOM).body
        return base + (
            text.translate(RAISED) if spelled == "^" and text.isdecimal() and len(text) == 1 else spelled + text
        )

    def applied(self, function: str, gap: str, x: str) -> str:
        return function + gap + x

    def side_by_side(self, parts: list[str]) -> str:
        return "".join(parts)

    def big_sum(self, indices: list[str], x: str) -> str:
        below = {plain: small for small, plain in SUBSCRIPTS.items()}
        return f"Σ{''.join(below[c] for c in ''.join(indices))} {x}"


class _Typeset(Writer):
    """The rules of formats that have fractions with a bar, and rows of cases."""

    fraction: Callable[[str, str], str]
    cases: Callable[[str, str, str], str]
    identifier: Callable[[str], str]
    function: Callable[[str], str]
    words: Callable[[str], str]
    plain_number: Callable[[str], str]

    def _infix(self, e: Expression, left: Piece, right: Piece) -> Piece:
        if e.symbol == "/":
            return Piece(self.fraction(_bare(left), _bare(right)), Level.PREFIX)
        return super()._infix(e, left, right)

    def _name(self, e: Expression) -> Piece:
        return Piece(self.identifier(e.symbol))

    def _derivative(self, _: Expression, of: Piece, by: Piece) -> Piece:
        return Piece(self.fraction(self.prefixed("∂", of.body), self.prefixed("∂", by.body)), Level.PREFIX)

    def _word(self, e: Expression) -> Piece:
        return Piece(self.function(e.symbol))

    def _text(self, e: Expression) -> Piece:
        return Piece(self.words(e.symbol) if e.symbol else "")

    def _slot(self, e: Expression) -> Piece:
        return Piece(self.words(f"{{{e.symbol}}}"))

    def _number(self, e: Expression) -> Piece:
        mantissa, _, exponent = e.symbol.partition("e")
        if e.symbol in _FRACTIONS:
            return Piece(self.fraction(*map(self.plain_number, _FRACTIONS[e.symbol].split("/"))), Level.PREFIX)
        if not exponent:
            return Piece(self.plain_number(e.symbol), start="digit")
        power = self.superscript(self.plain_number("10"), str(int(exponent)).replace("-", "−"))
        if mantissa == "1":
            return Piece(power, Level.POWER, start="digit")
        return Piece(self.joined(self.plain_number(mantissa), "·", "", power), Level.PRODUCT, "·", "digit")

    def _choice(self, _: Expression, value: Piece, condition: Piece, otherwise: Piece) -> Piece:
        return Piece(self.cases(value.body, condition.body, otherwise.body), Level.CHOICE)


def _bare(piece: Piece) -> str:
    """Return what its author put in parentheses without them, where a bar or a root does their work."""
    grouped = piece.symbol != "negative" and piece.inside
    return grouped.body if grouped else piece.body


_FRACTIONS = {"½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅛": "1/8"}
_GREEK = {
    unicodedata.name(letter).split()[-1].lower().replace("lamda", "lambda"): letter
    for letter in "αβγδεζηθικλμνξπρστυφχψω"
}
_CAPITALS = {
    unicodedata.name(letter).split()[-1].title().replace("Lamda", "Lambda"): letter for letter in "ΓΔΘΛΞΠΣΥΦΨΩ"
}
_LETTERS = _GREEK | _CAPITALS
_LATEX = {letter: f"\\{spelled}" for spelled, letter in _LETTERS.items()} | {
    "∘": r"\circ", "·": r"\cdot", "*": r"\cdot", "×": r"\times", "⊙": r"\odot", "⊗": r"\otimes", "−": "-", "±": r"\pm",
    "∧": r"\land", "∨": r"\lor", "⊕": r"\oplus", "¬": r"\lnot", "∂": r"\partial", "∇": r"\nabla", "√": r"\surd",
    "≤": r"\leq", "<=": r"\leq", "≥": r"\geq", ">=": r"\geq", "≠": r"\neq", "!=": r"\neq", "==": "=", "≈": r"\approx",
    "∈": r"\in", "mod": r"\bmod", "@": r"\,", "": r"\,", "//": r"\mathbin{/\!/}", "∞": r"\infty", "…": r"\ldots",
    "→": r"\to", "←": r"\gets", "′": r"\prime", "°": r"^{\circ}", "‖": r"\Vert", "∑": r"\sum", "∫": r"\int",
    "∀": r"\forall", "∃": r"\exists", "∪": r"\cup", "∩": r"\cap", "⊂": r"\subset", "∅": r"\emptyset", "⋆": r"\star",
    "⟨": r"\langle", "⟩": r"\rangle", "⌊": r"\lfloor", "⌋": r"\rfloor", "⌈": r"\lceil", "⌉": r"\rceil",
    "<": "<", ">": ">", "|": "|",
    "ϵ": r"\epsilon", "∗": "*", "≪": r"\ll", "≫": r"\gg", "∼": r"\sim", "⊤": r"\top", "⊥": r"\bot", "↦": r"\mapsto",
}  # fmt: skip
_ESCAPES = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "ß": r"\ss{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
}


def _subscripted(text: str) -> tuple[str, str]:
    """Split the name of a variable into what it is and what its index is: ``W1``, ``x_t``, ``theta12``."""
    stem, index = _written_subscript(text)
    if index:
        return stem, index
    split = re.fullmatch(r"([^\W\d_]+)_?(\d+)|([^\W\d_]|" + "|".join(_LETTERS) + r")_(\w)", text)
    return (split[1] or split[3], split[2] or split[4]) if split else (text, "")


def _written_subscript(text: str) -> tuple[str, str]:
    """Split off the small characters at the end: ``log₁₀``."""
    stem = text.rstrip("".join(SUBSCRIPTS))
    return stem, "".join(SUBSCRIPTS[c] for c in text[len(stem) :])


class _Latex(_Typeset):
    blank = r"\ "

    def fence(self, opening: str, body: str) -> str:
        if opening in "([" and not re.search(r"[\^]|\\(frac|sum|left|sqrt|begin|tfrac)", body):
            return opening + body + CLOSING[opening]
        left, right = {"|": (r"\lvert", r"\rvert"), "‖": (r"\lVert", r"\rVert")}.get(
            opening, (_LATEX.get(opening, opening), _LATEX.get(CLOSING[opening], CLOSING[opening]))
        )
        blank = " " if left.startswith("\\") else ""
        return rf"\left{left}{blank}{body}\right{right}"

    def joined(self, left: str, symbol: str, spelled: str, right: str) -> str:
        blank = "" if symbol in (",", ";") else " "
        between = " " if symbol == spelled == "" else f"{blank}{_LATEX.get(symbol, symbol)} "
        return left + between + right

    def prefixed(self, symbol: str, x: str) -> str:
        return f"{_LATEX[symbol]}{' ' if symbol != '−' else ''}{x}"

    def root(self, x: Piece) -> Piece:
        return Piece(rf"\sqrt{{{_bare(x)}}}", Level.PREFIX)

    def fraction(self, above: str, below: str) -> str:
        return rf"\frac{{{above}}}{{{below}}}"

    def superscript(self, base: str, symbol: str) -> str:
        shown = "".join(SUPERSCRIPTS.get(c, c) for c in symbol)
        if shown == "′":
            return f"{base}'"
        for plain, command in (("T", r"\top"), ("H", r"\mathsf{H}"), ("−", "-")):
            shown = shown.replace(plain, command)
        return f"{base}^{{{shown}}}"

    def subscript(self, base: str, symbol: str) -> str:
        return f"{{{base}}}_{{{''.join(SUBSCRIPTS.get(c, c) for c in symbol)}}}"

    def power(self, base: str, _: str, exponent: Piece) -> str:
        return f"{base}^{{{_bare(exponent)}}}"

    def applied(self, function: str, gap: str, x: str) -> str:
        return f"{function} {x}" if function.startswith("\\") and x[0].isalnum() else f"{function}{gap}{x}"

    def side_by_side(self, parts: list[str]) -> str:
        return "".join(parts)

    def big_sum(self, indices: list[str], x: str) -> str:
        return rf"\sum_{{{' '.join(map(self.identifier, indices))}}} {x}"

    def cases(self, value: str, condition: str, otherwise: str) -> str:
        rows = rf"{value} & \text{{if }} {condition} \\ {otherwise} & \text{{otherwise}}"
        return rf"\begin{{cases}} {rows} \end{{cases}}"

    def words(self, text: str) -> str:
        return rf"\text{{{''.join(map(_escaped, text))}}}"

    def plain_number(self, text: str) -> str:
        return {"inf": r"\infty", "nan": r"\mathrm{nan}"}.get(text, text)

    def letters(self, text: str, font: str) -> str:
        if text in _LETTERS:
            return f"\\{text}"
        if text in _LATEX:
            return _LATEX[text]
        if re.fullmatch(r"[A-Za-z]", text):
            return text
        if re.fullmatch(r"[\w.]+", text, re.ASCII):
            return rf"\{font}{{" + text.replace("_", r"\_") + "}"
        return self.words(text)

    def identifier(self, text: str) -> str:
        stem, index = _subscripted(text)
        return self.letters(stem, "mathit") + (f"_{{{index}}}" if index else "")

    def function(self, text: str) -> str:
        stem, index = _written_subscript(text)
        shown = f"\\{stem}" if stem in FUNCTIONS else self.letters(stem, "operatorname")
        return shown + (f"_{{{index}}}" if index else "")


def _escaped(character: str) -> str:
    r"""Return a character inside \text, where LaTeX takes only ASCII for granted, and not all of that."""
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character in _LATEX:
        return f"${_LATEX[character]}$"
    if character.isspace():
        return " "
    if "À" <= character <= "ÿ" and unicodedata.decomposition(character):
        return character  # an accent that every font has
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if " " <= c <= "~")
    return "".join(_ESCAPES.get(c, c) for c in plain) or f"U+{ord(character):04X}"


class _Mathml(_Typeset):
    blank = '<mspace width="0.5em"></mspace>'

    def fence(self, opening: str, body: str) -> str:
        stretchy = "true" if _TALL.search(body) else "false"  # browsers set even the smallest stretched ones wide
        return (
            f'<mrow><mo form="prefix" stretchy="{stretchy}">{opening}</mo>{_row(body)}'
            f'<mo form="postfix" stretchy="{stretchy}">{CLOSING[opening]}</mo></mrow>'
        )

    def joined(self, left: str, symbol: str, spelled: str, right: str) -> str:
        if symbol == "" or symbol == "@":
            space = ' rspace="0.17em"' if spelled else ""
            return f"{left}<mo{space}>&#x2062;</mo>{right}"
        if symbol == "mod":
            return f'{left}<mo lspace="0.3em" rspace="0.3em">mod</mo>{right}'
        return f"{left}<mo>{escape(_MATHML.get(symbol, symbol))}</mo>{right}"

    def prefixed(self, symbol: str, x: str) -> str:
        return f'<mrow><mo form="prefix">{symbol}</mo>{x}</mrow>'

    def root(self, x: Piece) -> Piece:
        return Piece(f"<msqrt>{_bare(x)}</msqrt>", Level.PREFIX)

    def fraction(self, above: str, below: str) -> str:
        return f"<mfrac>{_row(above)}{_row(below)}</mfrac>"

    def superscript(self, base: str, symbol: str) -> str:
        shown = "".join(SUPERSCRIPTS.get(c, c) for c in symbol)
        if shown == "′":
            return f'{base}<mo lspace="0" rspace="0">′</mo>'  # raised by its shape already
        sign, shown = ("<mo>−</mo>", shown[1:]) if shown.startswith("−") else ("", shown)
        exponent = f'<mi mathvariant="normal">{shown}</mi>' if shown in ("T", "H") else _index(shown)
        return f"<msup>{_row(base)}{_row(sign + exponent)}</msup>"

    def subscript(self, base: str, symbol: str) -> str:
        return f"<msub>{_row(base)}{_index(''.join(SUBSCRIPTS.get(c, c) for c in symbol))}</msub>"

    def power(self, base: str, _: str, exponent: Piece) -> str:
        return f"<msup>{_row(base)}{_row(_bare(exponent))}</msup>"

    def applied(self, function: str, gap: str, x: str) -> str:
        space = ' rspace="0.17em"' if gap else ""
        return f"{function}<mo{space}>&#x2061;</mo>{x}"

    def side_by_side(self, parts: list[str]) -> str:
        return "".join(parts)

    def big_sum(self, indices: list[str], x: str) -> str:
        below = "".join(map(self.identifier, indices))
        return f'<munder><mo movablelimits="false">∑</mo>{_row(below)}</munder>{x}'

    def cases(self, value: str, condition: str, otherwise: str) -> str:
        rows = (value, f"{self.words('if ')}{condition}"), (otherwise, self.words("otherwise"))
        cell = '<mtd style="text-align: left">'
        table = "".join(f"<mtr>{cell}{_row(a)}</mtd>{cell}{_row(b)}</mtd></mtr>" for a, b in rows)
        return f'<mrow><mo form="prefix" stretchy="true">{{</mo><mtable>{table}</mtable></mrow>'

    def words(self, text: str) -> str:
        unbroken = _printable(text).replace(" ", "\N{NO-BREAK SPACE}")  # other blanks are dropped at the ends
        return f"<mtext>{escape(unbroken)}</mtext>"

    def plain_number(self, text: str) -> str:
        return {"inf": "<mn>∞</mn>"}.get(text, f"<mn>{text}</mn>")

    def identifier(self, text: str) -> str:
        stem, index = _subscripted(text)
        slanted = ' style="font-style: italic"' if len(stem) > 1 and stem not in _LETTERS else ""
        shown = f"<mi{slanted}>{escape(_printable(_LETTERS.get(stem, stem)))}</mi>"
        return f"<msub>{shown}{_index(index)}</msub>" if index else shown

    def function(self, text: str) -> str:
        stem, index = _written_subscript(text)
        shown = f'<mi mathvariant="normal">{_LETTERS.get(stem, stem)}</mi>' if len(stem) == 1 else f"<mi>{stem}</mi>"
        return f"<msub>{shown}{_index(index)}</msub>" if index else shown


_TALL = re.compile("<(mfrac|msqrt|mtable|munder)")
_MATHML = {"*": "·", "<=": "≤", ">=": "≥", "!=": "≠", "==": "="}


def _printable(text: str) -> str:
    """Return `text` without the control characters that XML has no way to write."""
    return "".join(c if c.isprintable() else " " for c in text)


def _index(text: str) -> str:
    return f"<mn>{text}</mn>" if text.isdigit() else f"<mi>{text}</mi>"


def _row(body: str) -> str:
    """Return several elements as one."""
    return body if re.fullmatch(r"<(m\w+)[^>]*>[^<]*</\1>", body) else f"<mrow>{body}</mrow>"
