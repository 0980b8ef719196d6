"""The picture of a graph: what is asked for with `graph`, and what can be done with the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tinygrad_bc.draw.backward_view import BackwardView
from tinygrad_bc.draw.diagram import Diagram, View
from tinygrad_bc.draw.dot import dot_text
from tinygrad_bc.draw.engine import draw
from tinygrad_bc.draw.fold import folded
from tinygrad_bc.draw.forward_view import Failure, ForwardView
from tinygrad_bc.draw.schema import json_text
from tinygrad_bc.draw.select import around as only_around
from tinygrad_bc.draw.select import where as only_where
from tinygrad_bc.draw.themes import THEMES
from tinygrad_bc.errors import ArgumentError, MissingDependencyError, RenderError, TinygradError
from tinygrad_bc.files import check_destination, write_atomically
from tinygrad_bc.record import Graph, Value, as_values, names_in_sight

if TYPE_CHECKING:
    from tinygrad_bc.compiler.program import Program

__all__ = ["Drawing", "graph"]

FORMATS = ("svg", "png", "pdf", "dot", "json")
DIRECTIONS = ("TB", "LR", "BT", "RL")


def graph(
    outputs: Value | Sequence[Value] | Program | TinygradError,
    names: Mapping[str, Any] | None = None,
    *,
    backward: bool = False,
    wrt: Value | Sequence[Value] | None = None,
    depth: int | None = None,
    fold: str | Sequence[str] | Literal[False] | None = None,
    where: Callable[[Any], bool] | None = None,
    around: Value | Sequence[Value] | None = None,
    radius: int = 2,
    direction: str = "TB",
    theme: str = "light",
) -> Drawing:
    """Return the picture of how `outputs` were computed.

    Parameters
    ----------
    outputs : Tensor, sequence of Tensor, Program, or an error that an operation raised
        The results whose history is drawn. Of a captured program it is what a call computes, with the numbers of the
        call that was captured. Of an error it is what had been computed, ending at the operation that failed.
    names : mapping, optional
        Names for values that have none of their own. By default the variables that the calling code can see.
        Other values are called by the variables that the user's code assigned them to.
    backward : bool
        Draw the backward pass instead: a box for each cotangent, and beside each arrow the vector-Jacobian product
        that it stands for.
    wrt : Tensor or sequence of Tensor, optional
        With `backward`, what the output is differentiated by; all parameters by default.
    depth : int, optional
        How many levels of scopes stay open: 0 folds each outermost scope into one box. Of equal scopes that follow
        each other, those that are folded become ``name × N``, and of open ones only the first stays open.
    fold : str or sequence of str, or False, optional
        Patterns (``"encoder"``, ``"block*"``, ``"model/*"``) of the scopes to fold. A graph of more than 250 boxes is
        folded until it has no more, and says so: scopes first, then chains of values without a name.
        False draws every box, however many.
    where : callable, optional
        Called with each value; those that it is not true of are left out, and dashed arrows pass over them.
    around : Tensor or sequence of Tensor, optional
        Draw only what is at most `radius` arrows away from here.
    radius : int
    direction : {"TB", "LR", "BT", "RL"}
        Where the arrows lead: to the bottom, the right, the top, or the left.
    theme : {"light", "dark"}

    Returns
    -------
    Drawing
        A notebook shows it as a picture, `Drawing.render` writes it to a file, and ``print`` lists the formulas.

    Raises
    ------
    ArgumentError
        If an option has a value that it cannot have, or nothing is left to draw.
    GradientError
        If the backward pass is asked for and there is none.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> W = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> Loss = (W * W).sum()
    >>> print(graph(Loss, names=locals()))
    W = parameter   2 float64
    %1 = W ∘ W      2 float64
    Loss = sum(%1)  scalar float64
    """
    _check(direction, DIRECTIONS, "direction")
    _check(theme, THEMES, "theme")
    for title, number in (("depth", depth), ("radius", radius)):
        if number is not None and (not isinstance(number, int) or number < 0):
            raise ArgumentError(f"graph: {title} is a number of levels, 0 or more; got {number!r}")
    if where is not None and not callable(where):
        raise ArgumentError(f"graph: where is a function that is called with each value; got {where!r}")
    if wrt is not None and not backward:
        raise ArgumentError("graph: wrt says what the backward pass is drawn for; add backward=True")
    patterns = [fold] if isinstance(fold, str) else fold or []

    def arranged(diagram: Diagram) -> Diagram:
        if where is not None:
            diagram = only_where(diagram, where)
        if around is not None:
            diagram = only_around(diagram, as_values(around, "around"), radius)
        return folded(diagram, depth, patterns, automatic=fold is not False)

    if names is None and isinstance(outputs, Value | list | tuple):
        names = names_in_sight(outputs)
    return Drawing(outputs, names, arranged, backward=backward, wrt=wrt, direction=direction, theme=theme)


def _check(given: str, possible: Sequence[str] | Mapping[str, Any], title: str) -> None:
    if given not in possible:
        raise ArgumentError(f"graph: {title} is one of {', '.join(map(repr, possible))}; got {given!r}")


class Drawing(Graph):
    """A graph that can be drawn. Made by `graph`.

    Each box is a value: its name and formula, its shape, its numbers and, where it requires one, its gradient as it
    is now. Up to six numbers are written out. More are a heat map with their range: white is 0, blue below and
    orange above, the darker the larger, and black where a number is not finite (on a dark page, black and white change
    places). Of an array larger than 16×24 each cell is the mean of a block. In a picture of more than a hundred
    boxes, range and mean stand in the place of heat maps.
    """

    def __init__(
        self,
        outputs: Any,
        names: Mapping[str, Any] | None,
        arranged: Callable[[Diagram], Diagram],
        *,
        backward: bool,
        wrt: Any,
        direction: str,
        theme: str,
    ) -> None:
        failure = Failure(outputs) if isinstance(outputs, BaseException) else None
        if failure:
            outputs, names = failure.values, {**failure.names, **(names or {})}
        captured: Any = getattr(outputs, "graph", None)
        is_program = isinstance(captured, Graph)
        if is_program:
            super().__init__(captured.outputs, captured.inputs, labels={x: captured.label(x) for x in captured})
        else:
            super().__init__(outputs, names=names)
        if backward and (failure or is_program or len(self.outputs) > 1):
            raise ArgumentError("graph: a backward pass starts at one number; pass the loss alone")
        self._view: View = (
            BackwardView(self.outputs[0], wrt, names) if backward else ForwardView(self, failure, is_program)
        )
        self._diagram = arranged(self._view.diagram())
        self._direction = direction
        self._theme = THEMES[theme]

    @property
    def folded(self) -> str:
        """What the picture does not show box by box, in words; '' if it shows everything."""
        return "\n".join(self._diagram.notes)

    @property
    def dot(self) -> str:
        """The picture in the DOT language of Graphviz; the same graph gives the same text.

        In an SVG made from it every box is a group whose id is ``v`` and the number of the value in `values`, ``g``
        and that number if it is its cotangent, ``s0`` for a scope, folded or not, ``c0`` for a folded chain. Its
        class is its kind, and pointing at it shows the line of the user's code.
        """
        return dot_text(self._diagram, self._view, self._direction, self._theme)

    @property
    def json(self) -> str:
        """The picture as JSON; the same graph gives the same text.

        An object with ``schema`` ("tinygrad_bc.graph"), ``version`` (1; it grows when a field changes its meaning),
        ``view`` ("forward" or "backward"), ``direction``, ``notes`` (what is folded or left out), and

        - ``scopes``: ``id``, ``name``, ``parent`` (an id, or null);
        - ``nodes``, each after those it depends on: ``id`` as in `dot`, ``label``, ``kind``, ``op``, ``formula``,
          ``shape``, ``dtype``, ``numbers`` and ``gradient`` (in words), ``scope`` (an id, or null), ``path`` (the
          names of its scopes), ``source`` (``file``, ``line``, ``text``, or null for a leaf), ``holds``
          (the ids that are folded into it) and ``remarks`` (what else the box says);
        - ``edges``: ``from``, ``to``, ``label``, and ``bridge``, whether it passes over values that are not shown.
        """
        return json_text(self._diagram, self._view, self._direction)

    def render(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to a file and return its path.

        Parameters
        ----------
        path
            Where to, ending in ``.svg``, ``.png``, ``.pdf``, ``.json`` or, for the text that Graphviz reads, ``.dot``.

        Raises
        ------
        RenderError
            If the suffix is another one, the folder does not exist, or Graphviz fails.
        MissingDependencyError
            If there is no Graphviz.
        """
        path, file_format = check_destination(path, FORMATS)
        if file_format in ("dot", "json"):
            write_atomically(path, (self.dot if file_format == "dot" else self.json).encode())
        else:
            write_atomically(path, draw(self.dot, file_format))
        return path

    def __str__(self) -> str:
        return f"{super().__str__()}\n\nThe picture: {self.folded}" if self.folded else super().__str__()

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        try:
            return {"image/svg+xml": draw(self.dot, "svg").decode(), "text/plain": str(self)}
        except (MissingDependencyError, RenderError) as error:
            return {"text/plain": f"{self}\n\nNo picture: {error}"}
