"""The chain rule of a recorded computation: step by step as one would write it on paper, then composed."""

from __future__ import annotations

import functools
import html
import os
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad
from tinygrad_bc.compiler.passes.simplify import agree, is_arithmetic, simplify
from tinygrad_bc.derivation.backward import BackwardPass, Contribution
from tinygrad_bc.derivation.formulas import Formulas
from tinygrad_bc.derivation.notation import Expression, apply, derivative, equation, name, number, prime
from tinygrad_bc.derivation.printing import latex, mathml, text
from tinygrad_bc.derivation.recognise import name_counts, with_relations
from tinygrad_bc.derivation.script import Script
from tinygrad_bc.errors import ArgumentError, GradientError
from tinygrad_bc.files import check_destination, write_atomically
from tinygrad_bc.primitive import REGISTRY, constant
from tinygrad_bc.record import Graph, Value, as_values, names_in_sight, recorded_order

__all__ = ["Derivation", "Line", "derive"]


class Line(NamedTuple):
    """One equation of a derivation.

    Attributes
    ----------
    equation : Expression
    value : Value
        What it computes.
    """

    equation: Expression
    value: Value

    def __str__(self) -> str:
        return text(self.equation)


class PrimedPass(BackwardPass):
    """A backward pass in which functions of one number have a derivative of their own, ``σ′(Z2)``.

    Where an operation that is written as a function works element by element on one array, its vector-Jacobian
    product is ``g ∘ f′(x)``, and f′(x) is that product for a g of ones. Whether it is so, is tried on the numbers.

    Attributes
    ----------
    slopes : dict of Value to Value
        The values f′(x), each with the result of the operation.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.slopes: dict[Value, Value] = {}
        super().__init__(*args, **kwargs)

    def _pulled_back(self, value: Value, vjp: Any, g: Value) -> Value:
        node = self.recipe(value)
        if len(node.inputs) > 1 or not prime(node.op, name("x"), node.params) or not _is_elementwise(value, vjp):
            return super()._pulled_back(value, vjp, g)
        slope: Any = vjp(_ones_like(value), value, *node.inputs, **node.params)
        inside = self.made_of(slope)
        if len(inside) < 2 or not any(x in self.graph for y in inside for x in _values(y)):  # as short as its name
            return super()._pulled_back(value, vjp, g)
        self.slopes[slope] = value
        return g * slope

    def made_of(self, slope: Value) -> list[Value]:
        """Return a slope and the values between it and the forward pass."""
        found = {slope: None}
        todo = [slope]
        for value in todo:  # which grows on the way
            todo += [x for x in _values(value) if x.node is not None and x not in self.graph and x not in found]
            found.update(dict.fromkeys(todo))
        return list(found)


def _ones_like(value: Value) -> Any:
    return constant(np.ones(value.shape, value.dtype))


def _is_elementwise(value: Value, vjp: Any) -> bool:
    """Return whether each element of a result depends on the same element of the one input alone."""
    node: Any = value.node
    (x,) = node.inputs
    if x.shape != value.shape or not value._data.size:
        return False
    rng = np.random.default_rng(0)
    g = rng.uniform(1, 2, size=value.shape).astype(value.dtype)
    with np.errstate(all="ignore"):
        slope = vjp(np.ones_like(g), value._array, x._array, **node.params)
        found = vjp(g, value._array, x._array, **node.params)
    return slope.shape == g.shape and agree(found, g * slope)


class Derivation:
    """The derivatives of one number as formulas in the names of the user's code, and as NumPy source. See `derive`.

    Attributes
    ----------
    forward : list of Line
        How the number is computed.
    steps : list of Line
        The chain rule, one line for each value that has a name, from the output to the inputs.
    slopes : list of Line
        The derivatives of functions that the steps write with a prime.
    composed : list of Line
        The derivatives asked for, simplified: a line of its own only for what is used more than once.
    counts : list of Count
        The numbers of elements that means were taken of, by the names they have in the formulas.
    """

    def __init__(self, output: Value, wrt: Any = None, names: Mapping[str, Any] | None = None) -> None:
        output = as_values(output, "derive")[0]
        self._output, self._wrt = output, wrt
        new = with_relations(output, names)
        self._recognised = {x: made for x, made in new.items() if x.node is None}
        names = {key: new.get(x, x) if isinstance(x, Value) else x for key, x in (names or {}).items()}
        asked = None if wrt is None else [new.get(x, x) for x in as_values(wrt, "derive: wrt")]
        self.backward = BackwardPass(new.get(output, output), asked, names)
        self._primed = PrimedPass(new.get(output, output), asked, names)
        self.counts = name_counts(self.backward)
        graph = self.backward.graph
        # What formulas are written in: all that has a name, and other leaves but plain numbers.
        leaves = [v for v in graph if graph.node(v) is None and (v._data.ndim or v._requires_grad)]
        self._named = list(dict.fromkeys([*(v for v in graph if not graph.label(v).startswith("%")), *leaves]))
        counts = {c.value: c.name for c in (*self.counts, *name_counts(self._primed))}
        self._titles = {value: graph.label(value) for value in self._named} | counts
        self._expressions = Formulas(graph)
        self.forward = [
            Line(equation(self._expressions.name(value), right), value)
            for value, right in self._expressions.lines.items()
        ]
        for passed in (self.backward, self._primed):
            self._check({value: passed.cotangents[value] for value in passed.wrt}, self._gradients, "the formula")

    # --- the chain rule, step by step

    @cached_property
    def steps(self) -> list[Line]:
        """The chain rule, one line for each value that has a name."""
        passed = self._primed
        shown = {*self._named} - {passed.output} | {*passed.wrt}
        ends = [value for value in passed.cotangents if value in shown]
        stand_ins = self._stand_ins(ends)
        inputs = [*self._named, *passed.slopes]
        new = simplify([passed.cotangents[value] for value in ends], inputs, stand_ins, combine=False)
        written = {stand_ins[passed.cotangents[value]]: self.derivative(value) for value in reversed(ends)}
        lines = _Lines(self, [*inputs, *written], self._titles, written | self._shown(passed.slopes))
        results = {value: new[passed.cotangents[value]] for value in ends}
        self._check(results, passed.cotangents, "the formula")
        return lines.of(results)

    def _stand_ins(self, values: Iterable[Value]) -> dict[Value, Value]:
        """Return leaves that stand for the cotangents of values."""
        stand_ins = {}
        for value in values:
            cotangent = self._primed.cotangents[value]
            if cotangent not in stand_ins:
                stand_ins[cotangent] = constant(cotangent._data)
                stand_ins[cotangent].name = self._primed.name(value)  # or one filled with 1 would be a number
        return stand_ins

    def derivative(self, value: Value) -> Expression:
        """Return what the derivative with respect to a value of the graph is called."""
        passed = self._primed
        return derivative(passed.title, passed.graph.label(value), scalar=value._data.ndim == 0)

    @cached_property
    def slopes(self) -> list[Line]:
        """The derivatives of functions that are written with a prime."""
        slopes = list(self._primed.slopes)
        new = simplify(slopes, self._named)
        formulas = Formulas(Graph([new[x] for x in slopes], self._named, labels=self._titles)) if slopes else None
        right = {x: formulas.lines.get(new[x]) or formulas.name(new[x]) for x in slopes} if formulas else {}
        return [Line(equation(self._primed_name(x), right[x]), x) for x in slopes]

    @cached_property
    def composed(self) -> list[Line]:
        """The derivatives asked for, composed and simplified."""
        passed = self._primed
        opaque = [slope for slope in passed.slopes if not self._is_arithmetic(slope)]
        inputs = [*self._named, *opaque]
        ends = [value for value in passed.cotangents if value in set(passed.wrt)]
        new = simplify([passed.cotangents[value] for value in ends], inputs, keep=passed.branching(self._named))
        results = {value: new.get(passed.cotangents[value], passed.cotangents[value]) for value in ends}
        self._check(results, passed.cotangents, "the formula")
        uses, titles = _uses(results.values(), inputs), dict(self._titles)
        candidates = [*results, *(x for x in self._named if x in passed.cotangents)]
        for value in candidates:
            found = new.get(passed.cotangents[value])
            if found is not None and found.node is not None and (value in results or uses[found] > 1):
                titles.setdefault(found, passed.name(value))
        return _Lines(self, inputs, titles, self._shown(opaque)).of(results)

    def _is_arithmetic(self, slope: Value) -> bool:
        return all(is_arithmetic(value) for value in self._primed.made_of(slope))

    def _shown(self, slopes: Iterable[Value]) -> dict[Value, Expression]:
        return {slope: self._primed_name(slope) for slope in slopes}

    def _primed_name(self, slope: Value) -> Expression:
        node = self._primed.recipe(self._primed.slopes[slope])
        (x,) = node.values
        primed = prime(node.op, self._expressions.name(x), node.params)
        assert primed is not None
        return primed

    # --- one use of a value at a time

    def uses(self, value: Value) -> list[Expression]:
        """Return, for each contribution to the cotangent of a value of the graph, its formula."""
        return self._uses.get(value, [])

    def line(self, value: Value) -> Expression:
        """Return the equation of the cotangent of any value: the sum of what its uses contribute."""
        parts = self.uses(value) or [number(1)]
        total = functools.reduce(lambda a, b: apply(REGISTRY["add"], [a, b], {}), parts)
        return equation(self.derivative(value), total)

    @cached_property
    def _uses(self) -> dict[Value, list[Expression]]:
        passed = self._primed
        parts = [part for several in passed.contributions.values() for part in several]
        if not parts:  # of a leaf
            return {}
        stand_ins = self._stand_ins(passed.cotangents)
        inputs = [*passed.graph, *passed.slopes]
        new = simplify([part.cotangent for part in parts], inputs, stand_ins, combine=False)
        titles = {x: passed.graph.label(x) for x in passed.graph}
        shown = {stand_ins[passed.cotangents[x]]: self.derivative(x) for x in reversed(passed.cotangents)}
        results = list(dict.fromkeys(new[part.cotangent] for part in parts))
        graph = Graph(results, [*inputs, *shown], labels=titles | self._titles)
        formulas = Formulas(graph, shown | self._shown(passed.slopes))

        def formula(part: Contribution) -> Expression:
            if part.cotangent is passed.cotangents[part.user]:  # handed on as it is
                return self.derivative(part.user)
            return formulas.lines.get(new[part.cotangent], formulas.name(new[part.cotangent]))

        return {value: [formula(part) for part in several] for value, several in passed.contributions.items()}

    # --- is it right

    @cached_property
    def _gradients(self) -> dict[Value, Value]:
        """The gradients that the engine computes, which everything here is compared with."""
        wrt = self.backward.wrt if self._wrt is None else self._wrt
        return dict(zip(self.backward.wrt, grad(self._output, wrt)))

    def _check(self, found: Mapping[Value, Value], expected: Mapping[Value, Value], what: str) -> None:
        for value, x in found.items():
            if not agree(x._array, expected[value]._array, self._size_of_terms(value)):
                raise GradientError(
                    f"{what} of {self.backward.name(value)} does not evaluate to what was recorded. A hook that "
                    "changes a gradient is not part of a formula; if there is none, please report this"
                )

    def _size_of_terms(self, value: Value) -> float:
        """Return how large the numbers are that add up to a cotangent. They may cancel, as before a batch norm."""
        sizes = [0.0]
        for part in self.backward.contributions.get(value, []):
            terms = np.abs(part.unreduced._array[np.isfinite(part.unreduced._array)])
            sizes.append(float(terms.max(initial=0.0)) * terms.size / max(part.cotangent._data.size, 1))
        return max(sizes)

    # --- written

    @property
    def sections(self) -> dict[str, list[Line]]:
        """All lines, under headings."""
        sections = {
            "forward": self.forward,
            "the chain rule, step by step": self.steps,
            "where": self.slopes,
            "composed and simplified": self.composed,
        }
        return {title: lines for title, lines in sections.items() if lines}

    @property
    def notes(self) -> list[str]:
        """What the formulas leave unsaid, in sentences."""
        notes = [f"{count.name} = {int(count.value._array)}, the number of elements averaged." for count in self.counts]
        recognised = [text(self._expressions.name(made)) for made in self._recognised.values()]
        return [
            *notes,
            *(f"{x} was not recorded: it is a constant that holds exactly these numbers." for x in recognised),
        ]

    @property
    def heading(self) -> str:
        """What this is a derivation of."""
        wrt = ", ".join(self.backward.graph.label(value) for value in self.backward.wrt)
        return f"{self.backward.title} and its derivatives with respect to {wrt}"

    def __str__(self) -> str:
        tables = [_table(title, lines) for title, lines in self.sections.items()]
        return "\n\n".join([self.heading, *tables, *self.notes])

    def latex(self) -> str:
        r"""Return the derivation in LaTeX, an ``align*`` for each section; it needs the package amsmath."""
        parts = []
        for title, lines in self.sections.items():
            rows = " \\\\\n".join(latex(line.equation).replace(" = ", " &= ", 1) for line in lines)
            parts.append(f"\\paragraph{{{title.capitalize()}}}\n\\begin{{align*}}\n{rows}\n\\end{{align*}}")
        return "\n\n".join(parts) + "\n"

    def mathml(self) -> str:
        """Return the derivation as HTML with the formulas in MathML, to be put into a page."""
        parts = [f"<p>{html.escape(self.heading)}</p>"]
        for title, lines in self.sections.items():
            rows = "\n".join(mathml(line.equation) for line in lines)
            parts.append(f"<h3>{title.capitalize()}</h3>\n{rows}")
        return "\n".join([*parts, *(f"<p>{html.escape(note)}</p>" for note in self.notes)]) + "\n"

    @cached_property
    def _script(self) -> Script:
        script = Script(self.backward, self.counts, self.heading)
        value, gradients = script.run()
        recorded = {self.backward.output: self._output, **self._gradients}
        found = {self.backward.output: value, **dict(zip(self.backward.wrt, gradients))}
        self._check({x: constant(np.asarray(array)) for x, array in found.items()}, recorded, "the source")
        return script

    def source(self) -> str:
        """Return a module of NumPy that computes the number and its derivatives, with no other import.

        It has the functions ``forward``, ``backward`` and ``value_and_grad``, in the names and shapes of the record.
        It has been run on the recorded data, and its results compared with the recorded gradients.

        Raises
        ------
        SourceError
            If the source of an operation cannot be had: one that was declared in an interactive session, for example.
        """
        return self._script.source

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the derivation to a file and return its path.

        Parameters
        ----------
        path
            Ending in ``.txt``, ``.tex`` (to be included in a document that uses amsmath), ``.html``, or ``.py`` for
            the `source`.

        Raises
        ------
        RenderError
            If the suffix is another one, or the folder does not exist.
        """
        path, suffix = check_destination(path, ("txt", "tex", "html", "py"))
        written = {"txt": lambda: f"{self}\n", "tex": self.latex, "html": self._page, "py": self.source}[suffix]()
        write_atomically(path, written.encode())
        return path

    def _page(self) -> str:
        return PAGE.format(title=html.escape(self.heading), body=self.mathml())

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/html": self.mathml(), "text/latex": self.latex(), "text/plain": str(self)}


PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{title}</title>
<style>
  :root {{ color-scheme: light dark }}
  body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
  math {{ margin: .4rem 0; text-align: left }}
</style>
{body}</html>
"""


class _Lines:
    """Writes results as equations, in the order in which they are asked for."""

    def __init__(
        self,
        derivation: Derivation,
        inputs: Sequence[Value],
        titles: Mapping[Value, str],
        shown: Mapping[Value, Expression],
    ) -> None:
        self.derivation, self.inputs, self.titles, self.shown = derivation, inputs, titles, shown

    def of(self, results: Mapping[Value, Value]) -> list[Line]:
        """Return a line for each result, under the name of the derivative, and before it those that it needs."""
        titles, shown, taken = dict(self.titles), dict(self.shown), set(self.inputs)
        for value, result in results.items():
            if result not in taken and result.node is not None:
                taken.add(result)
                titles.setdefault(result, self.derivation.backward.name(value))
                shown[result] = self.derivation.derivative(value)
        graph = Graph(list(dict.fromkeys(results.values())), self.inputs, labels=titles)
        formulas = Formulas(graph, shown)
        lines, written = [], set(self.inputs)
        for value, result in results.items():
            for x in recorded_order([result], stop=written):
                if x in formulas.lines:
                    lines.append(Line(equation(formulas.name(x), formulas.lines[x]), x))
                    written.add(x)
            if result not in written or text(formulas.name(result)) != self.derivation.backward.name(value):
                # the same as another derivative, or as a value of the forward pass
                lines.append(Line(equation(self.derivation.derivative(value), formulas.name(result)), result))
        return lines


def _uses(outputs: Iterable[Value], inputs: Iterable[Value]) -> Counter[Value]:
    """Return how often each value that is computed between is used."""
    return Counter(x for value in recorded_order(outputs, stop=inputs) for x in _values(value))


def _values(value: Value) -> Iterator[Value]:
    return value.node.values if value.node is not None else iter(())


def _table(title: str, lines: Sequence[Line]) -> str:
    if not lines:
        return ""
    rows = [(text(line.equation), "×".join(map(str, line.value.shape)) or "scalar") for line in lines]
    width = max(len(left) for left, _ in rows)
    return "\n".join([title, *(f"  {left:<{width}}  {right}" for left, right in rows)])


def derive(output: Value, wrt: Any = None, names: Mapping[str, Any] | None = None) -> Derivation:
    """Return the chain rule of a recorded computation, as formulas and as NumPy source.

    Parameters
    ----------
    output : Tensor
        What is differentiated, of one element.
    wrt : Tensor or sequence of Tensor, optional
        With respect to what: parameters, or values computed on the way. By default all leaves that require a gradient.
    names : mapping, optional
        Names for values that have none of their own. By default the variables that the calling code can see.
        Other values are called by the variables that the user's code assigned them to.

    Returns
    -------
    Derivation
        ``print`` shows it as text; `Derivation.latex`, `Derivation.mathml` and `Derivation.source` give other forms,
        `Derivation.save` writes a file, and a notebook shows the formulas.

    Raises
    ------
    GradientError
        If the output has more than one element, does not require a gradient or does not depend on one of `wrt`; or if
        a formula does not evaluate to the recorded gradient.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> w = tg.tensor([1.0, 2.0], requires_grad=True, name="w")
    >>> x, y = tg.tensor([[3.0, 4.0], [5.0, 6.0]], name="x"), tg.tensor([7.0, 8.0], name="y")
    >>> Loss = ((x @ w - y) ** 2).mean().named("Loss")
    >>> for line in derive(Loss).composed:
    ...     print(line)
    dLoss_w = xᵀ (2·(x w − y) / n)
    """
    output = as_values(output, "derive")[0]
    if names is not None and not isinstance(names, Mapping):
        raise ArgumentError(f"derive: names maps names to values, for example locals(); got {reprlib.repr(names)}")
    return Derivation(output, wrt, names_in_sight(output) if names is None else names)
