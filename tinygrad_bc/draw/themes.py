"""Colours: for light and dark pages, for colour-blind readers, and for print in grey."""

from __future__ import annotations

from dataclasses import dataclass

from tinygrad_bc.draw.diagram import Kind

__all__ = ["SHAPES", "THEMES", "Theme"]

# The kind of a box is told by its shape and again by its colour: shapes are for print in grey.
SHAPES: dict[Kind, dict[str, str]] = {
    "parameter": {"shape": "box3d", "style": "filled", "margin": "0.14,0.09"},
    "constant": {"shape": "note", "style": "filled"},
    "computed": {"shape": "box", "style": "rounded,filled"},
    "output": {"shape": "box", "style": "filled", "peripheries": "2"},
    "seed": {"shape": "box", "style": "filled", "peripheries": "2"},
    "cotangent": {"shape": "box", "style": "rounded,filled"},
    "gradient": {"shape": "box3d", "style": "filled", "margin": "0.14,0.09"},
    "folded": {"shape": "folder", "style": "filled", "margin": "0.14,0.09"},
    "failed": {"shape": "octagon", "style": "filled", "penwidth": "2.5", "margin": "0.02"},
    "cut": {"shape": "plaintext", "margin": "0.02"},
}


@dataclass(frozen=True)
class Theme:
    """The colours of a picture.

    Attributes
    ----------
    page, text, faint, line, frame : str
        The background, text, text that matters less, arrows and outlines, and what surrounds scopes.
    scope : str
        What a scope is filled with.
    fills : dict of kind to str
    failure : str
        The outline of the operation that failed.
    negative, zero, positive, broken : str
        Of a heat map. `broken` is for what is no finite number.
    """

    page: str
    text: str
    faint: str
    line: str
    frame: str
    scope: str
    fills: dict[Kind, str]
    failure: str
    negative: str
    zero: str
    positive: str
    broken: str


# Tints of the palette of Okabe and Ito, which stay apart for colour-blind readers. Heat maps run between its blue and
# its vermilion; the two differ for every common form of colour blindness.
THEMES = {
    "light": Theme(
        page="#ffffff",
        text="#000000",
        faint="#505050",
        line="#444444",
        frame="#9a9a9a",
        scope="#f6f6f3",
        fills={
            "parameter": "#9fd3f2",
            "constant": "#ececec",
            "computed": "#ffffff",
            "output": "#fae0a3",
            "seed": "#fae0a3",
            "cotangent": "#ffffff",
            "gradient": "#9fd3f2",
            "folded": "#d5eee4",
            "failed": "#fbd9cc",
        },
        failure="#b22222",
        negative="#0060a8",
        zero="#ffffff",
        positive="#d55e00",
        broken="#000000",
    ),
    "dark": Theme(
        page="#14171c",
        text="#f0f0f0",
        faint="#c6ccd3",
        line="#a9b0b8",
        frame="#6b737d",
        scope="#1b2027",
        fills={
            "parameter": "#0d4a70",
            "constant": "#3b4048",
            "computed": "#242a32",
            "output": "#644a08",
            "seed": "#644a08",
            "cotangent": "#242a32",
            "gradient": "#0d4a70",
            "folded": "#14503e",
            "failed": "#6d2015",
        },
        failure="#ff7b6b",
        negative="#56b4ff",
        zero="#15181d",
        positive="#ff9a3c",
        broken="#ffffff",
    ),
}
