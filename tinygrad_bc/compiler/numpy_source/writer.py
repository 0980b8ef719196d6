"""A recorded graph as plain NumPy source, which imports nothing of this package.

How an operation is written follows from its declaration: what `Specialiser` leaves of its forward computation stands
in the formula where it is short, and otherwise in a function of the operation's name.
"""

from __future__ import annotations

import ast
import builtins
import copy
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.names import without_leading_numbers
from tinygrad_bc.compiler.numpy_source import layout
from tinygrad_bc.compiler.numpy_source.bundle import Bundle
from tinygrad_bc.compiler.numpy_source.rewrite import Code, name
from tinygrad_bc.compiler.numpy_source.specialise import Specialiser, UnsupportedError, literal
from tinygrad_bc.compiler.numpy_source.statements import recipe, statements
from tinygrad_bc.errors import SourceError
from tinygrad_bc.primitive import Primitive
from tinygrad_bc.record import Graph, Node, Value

__all__ = ["Length", "Writer", "identifier", "leaves"]

MOST_INLINE = 2
"""How many operations the forward computation may have that is written inside a formula."""

LONGEST = 90
"""How many characters an expression may have before a part of it gets a line of its own."""


class Template(NamedTuple):
    """How an operation is written: an expression of its parameters, which may call a helper."""

    parameters: tuple[str, ...]
    expression: ast.expr
    repeated: frozenset[str]


class Length(NamedTuple):
    """A number that is the length of an axis of an array, or its size where no axis is given.

    Attributes
    ----------
    of : Value
    axis : int or None
    dtype : optional
        The type of NumPy that the number is to have, where it is not to be a plain one.
    """

    of: Value
    axis: int | None = None
    dtype: Any = None

    def expression(self, array: str) -> ast.expr:
        """Return the code that finds it: a Python number, or one of `dtype`."""
        text = f"{array}.size" if self.axis is None else f"{array}.shape[{self.axis}]"
        return ast.parse(text if self.dtype is None else f"np.{self.dtype}({text})", mode="eval").body


class Writer:
    """Writes functions of NumPy source, and one module of them.

    The helper functions that they call are collected, each once.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> a, b = tg.tensor([1.0, 2.0], requires_grad=True, name="a"), tg.tensor(3.0, requires_grad=True, name="b")
    >>> total = (tg.exp(a) * b).sum().named("total")
    >>> writer = Writer()
    >>> print(writer.module(writer.function(Graph(total), "forward", [a, b], [total])))
    import numpy as np
    <BLANKLINE>
    <BLANKLINE>
    def forward(a, b):
        total = np.sum(np.exp(a) * b)  # ()
        return total
    <BLANKLINE>
    """

    def __init__(self) -> None:
        self.helpers: dict[str, str] = {}
        self.names: dict[Value, str] = {}  # what has a name or is an argument is called the same in all functions
        self.modules: set[str] = set()
        self.titles: set[str] = set()
        self._templates: dict[Any, Template] = {}
        self._bundle = Bundle(self._define_statement, self.modules)

    # --- operations

    def template(self, op: Primitive, args: Sequence[Any], params: Mapping[str, Any]) -> Template:
        """Return how `op` is written for arguments like these: code, or plain numbers."""
        likes = [x.like if isinstance(x, Code) else x for x in args]
        key = (op, tuple(map(_kind, likes)), repr(sorted(params.items())))
        if key not in self._templates:
            with np.errstate(all="ignore"):
                self._templates[key] = self._specialised(op, likes, params)
        return self._templates[key]

    def _specialised(self, op: Primitive, likes: list[Any], params: Mapping[str, Any]) -> Template:
        titles = [identifier(title) for title in op.arrays[: len(likes)]]
        titles += [f"x{i}" for i in range(len(titles), len(likes))]
        args = [Code(name(title), like) for title, like in zip(titles, likes)]
        try:
            body = self._body(op, args, params)
        except UnsupportedError:
            return self._as_it_is(op, titles, params)
        except SourceError as error:
            raise SourceError(f"no source can be written for the operation {op.name!r}: {error}") from None
        if (inline := _inlined(body)) is not None:
            return Template(tuple(titles), inline, _repeated(inline, titles))
        body, general = self._general(op, args, params, body)
        optional = {key: op.defaults[key] for key in general if key in op.defaults}
        keywords = {key: params[key] for key in general if key not in optional or params[key] != optional[key]}
        defaults = [f"{identifier(key)}={layout.expression(literal(x, self.modules))}" for key, x in optional.items()]
        required = [identifier(key) for key in general if key not in optional]
        helper = self._helper(op, [*titles, *required, *defaults], body)
        return self._call(helper, titles, {identifier(key): x for key, x in keywords.items()})

    def _call(self, helper: str, titles: Sequence[str], keywords: Mapping[str, Any]) -> Template:
        """Return the call of a helper."""
        nodes: list[ast.expr] = [name(title) for title in titles]
        named = [ast.keyword(key, literal(x, self.modules)) for key, x in keywords.items()]
        return Template(tuple(titles), ast.Call(name(helper), nodes, named), frozenset())

    def _as_it_is(self, op: Primitive, titles: list[str], params: Mapping[str, Any]) -> Template:
        """Return the call of the forward computation as it was written, where it cannot be specialised."""
        changed = {key: x for key, x in params.items() if key not in op.defaults or op.defaults[key] is not x}
        try:
            return self._call(self._bundle.function(op.forward, identifier(op.name)), titles, changed)
        except UnsupportedError as reason:
            raise SourceError(
                f"no source can be written for the operation {op.name!r}: it uses {reason}. Write its forward "
                "computation with functions, constants and NumPy"
            ) from None

    def _general(
        self, op: Primitive, args: list[Code], params: Mapping[str, Any], body: list[ast.stmt]
    ) -> tuple[list[ast.stmt], list[str]]:
        """Return a body with the names of metadata instead of their values where nothing else depends on them."""
        codes = {key: Code(name(identifier(key)), x) for key, x in params.items() if _is_number_or_several(x)}
        try:
            wider = self._body(op, args, {**params, **codes})
        except Exception:  # what is computed from metadata does not work with a name in the place of a number
            return body, []
        if sum(map(_length, wider)) > sum(map(_length, body)):
            return body, []
        uses = sum(map(_uses, wider), Counter())
        return wider, [key for key, code in codes.items() if uses[_name_of(code)]]

    def _body(self, op: Primitive, args: Sequence[Any], params: Mapping[str, Any]) -> list[ast.stmt]:
        """Return the statements of the operation's forward computation."""
        taken = [_name_of(x) for x in (*args, *params.values()) if isinstance(x, Code)]
        specialiser = Specialiser(self._apply, [*taken, op.name])
        value = literal(specialiser.call(op.forward, list(args), dict(params)), specialiser.modules)
        self.modules |= specialiser.modules
        return _tidied(_without_unused([*specialiser.body, ast.Return(value)]), specialiser.made)

    def _apply(self, specialiser: Specialiser, op: Primitive, args: list[Any], params: dict[str, Any]) -> Any:
        if any(isinstance(x, Code) for x in params.values()):
            raise UnsupportedError("metadata that are not known")
        template = self.template(op, args, {**op.defaults, **params})
        called = set(_uses(template.expression)) - set(template.parameters)
        if called & specialiser.parameters:
            raise UnsupportedError("a parameter with the name of another operation")
        specialiser.taken |= called  # a variable must not hide the helper that it is made by
        codes = [Code(literal(x, self.modules), None) if not isinstance(x, Code) else x for x in args]
        named = [
            specialiser.assign(title, code) if title in template.repeated and not _is_plain(code.node) else code
            for title, code in zip(template.parameters, codes)
        ]
        value = op.forward(*(x.like if isinstance(x, Code) else x for x in args), **{**op.defaults, **params})
        return Code(_filled(template, [code.node for code in named]), value)

    def _helper(self, op: Primitive, parameters: list[str], body: list[ast.stmt]) -> str:
        """Return the name of the function of this body, which is written if it is not there yet."""
        docstring = (op.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
        docstring = re.sub(r"\s+", " ", docstring)
        docstring = docstring if len(docstring) < layout.WIDTH - 12 else ""
        decorators, body = _decorated(body)
        text = [line for statement in body for line in layout.lines(statement, layout.INDENT)]

        def source(title: str) -> str:
            return "\n".join([*decorators, *layout.definition(title, parameters, docstring), *text]) + "\n"

        return self._define(identifier(op.name), source)

    def _define(self, title: str, source: Callable[[str], str]) -> str:
        """Add a definition, unless it is there already, and return the name that it got."""
        chosen, number = title, 2
        while chosen in self.titles or self.helpers.setdefault(chosen, source(chosen)) != source(chosen):
            chosen, number = f"{title}_{number}", number + 1
        return chosen

    def _define_statement(self, title: str, statement: Callable[[str], ast.stmt]) -> str:
        return self._define(identifier(title), lambda final: "\n".join(layout.lines(statement(final), "")) + "\n")

    # --- functions

    def function(
        self,
        graph: Graph,
        title: str,
        arguments: Sequence[Value],
        returns: Sequence[Value],
        docstring: str = "",
        lengths: Mapping[Value, Length] | None = None,
    ) -> str:
        """Return the source of a function that computes values of `graph`.

        Parameters
        ----------
        graph : Graph
        title : str
            The name of the function.
        arguments : sequence of Value
            What it takes: every leaf and input of the graph but unnamed constants of one element; see `leaves`.
        returns : sequence of Value
            What it returns, in this order. A single one is returned as it is.
        docstring : str
        lengths : mapping of Value to Length, optional
            Constants of the graph that are the length or the size of an argument, and are computed from it.

        Raises
        ------
        SourceError
            If an argument is missing, an operation has no source, or the name is that of a helper.
        """
        if title in self.titles or title in self.helpers or identifier(title) != title:
            raise SourceError(f"a function cannot be called {title!r} here: the name is taken, or none of Python's")
        self.titles.add(title)
        return _Function(self, graph, arguments, returns).source(title, docstring, lengths or {})

    def module(self, *functions: str, docstring: str = "") -> str:
        """Return the source of a module of these functions and their helpers."""
        needed: dict[str, str] = {}
        found = list(functions)
        for source in found:  # which grows on the way
            for title in _uses(ast.parse(source)):
                if title in self.helpers and title not in needed:
                    needed[title] = self.helpers[title]
                    found.append(self.helpers[title])
        helpers = [source for title, source in self.helpers.items() if title in needed]
        used = set().union(*(_uses(ast.parse(source)) for source in found))
        standard = "\n".join(f"import {module}" for module in sorted(self.modules & used))
        imports = [standard] if standard else []
        imports += ["import numpy as np"] if "np" in used else []
        top = "\n\n".join([*(["\n".join(layout.quoted(docstring, ""))] if docstring else []), *imports])
        return "\n\n\n".join([top, *(source.rstrip() for source in (*helpers, *functions))]).lstrip() + "\n"


def leaves(graph: Graph) -> list[Value]:
    """Return the leaves and inputs of a graph that must be arguments of its function: all but unnamed numbers."""
    given = set(graph.inputs)
    found = [value for value in graph if graph.node(value) is None]
    numbers = {v for v in found if v._data.size == 1 and graph.label(v).startswith("%") and not v._requires_grad}
    return [v for v in found if v in given or v not in numbers]


class _Function:
    """One function while it is being written."""

    def __init__(self, writer: Writer, graph: Graph, arguments: Sequence[Value], returns: Sequence[Value]) -> None:
        self.writer, self.graph, self.arguments, self.returns = writer, graph, arguments, returns
        self.names, self.given = dict(writer.names), set(arguments)
        self.lines: list[str] = []
        self.expressions: dict[Value, ast.expr] = {}

    def source(self, title: str, docstring: str, lengths: Mapping[Value, Length]) -> str:
        graph, known = self.graph, self.given
        groups = statements(graph, [v for v in self.returns if v in graph])
        work = [(value, value is group.target) for group in groups for value in (*group.inlined, group.target)]
        work = [(value, named) for value, named in work if value not in known]
        # The helpers' names are known once every operation has been looked at.
        for value, _ in work:
            node = recipe(graph, value)
            self.writer.template(node.op, self._codes(node.inputs), node.params)
        self._choose_names([*self.arguments, *(v for v in graph if v not in known)], {title})
        for value in self.arguments:
            self.expressions[value] = name(self.names[value])
        for value, length in lengths.items():
            self.expressions[value] = length.expression(self.names[length.of])
            self._assign(value, "" if length.dtype is None else value.shape)
        for value, named in work:
            self._write(value, named)
        results = [self._operand(value) for value in self.returns]
        result = ast.Return(results[0] if len(results) == 1 else ast.Tuple(results, ast.Load()))
        head = layout.definition(title, [self.names[v] for v in self.arguments], docstring)
        return "\n".join([*head, *self.lines, *layout.return_lines(result)]) + "\n"

    def _choose_names(self, values: Iterable[Value], taken: set[str]) -> None:
        taken = taken | set(self.writer.helpers) | self.writer.modules | {"np"}
        taken |= set(self.names.values())
        for value in values:
            if value in self.names:
                continue
            label = self.graph.label(value) if value in self.graph else value.name or "x"
            base = identifier(label)
            text, number = base, 2
            while text in taken:
                text, number = f"{base}_{number}", number + 1
            taken.add(text)
            self.names[value] = text
            if not label.startswith("%") or value in self.given:
                self.writer.names[value] = text

    def _codes(self, inputs: Iterable[Any]) -> list[Any]:
        return [Code(name("_"), x._array) if isinstance(x, Value) else x for x in inputs]

    def _operand(self, x: Any) -> ast.expr:
        """Return the expression for an input of an operation."""
        if not isinstance(x, Value):
            return literal(x, self.writer.modules)
        if x in self.expressions:
            return self.expressions[x]
        label = self.graph.label(x)
        try:
            if (label.startswith("%") or x._data.ndim == 0) and not x._requires_grad:
                return literal(x._array, self.writer.modules)
        except UnsupportedError:
            pass
        raise SourceError(
            f"{label} of shape {x.shape} is neither computed nor an argument, and not a small constant: pass it in "
            "`arguments`; leaves(graph) lists what is needed"
        )

    def _write(self, value: Value, named: bool) -> None:
        node = recipe(self.graph, value)
        template = self.writer.template(node.op, self._codes(node.inputs), _any_length(node))
        for title, x in zip(template.parameters, node.inputs):
            if title in template.repeated and isinstance(x, Value) and not _is_plain(self._operand(x)):
                self._assign(x)
        made = _filled(template, [self._operand(x) for x in node.inputs])
        while len(ast.unparse(made)) > LONGEST:
            inner = [x for x in node.values if not _is_plain(self._operand(x)) and self.graph.node(x) is not None]
            if not inner:
                break
            self._assign(max(inner, key=lambda x: len(ast.unparse(self._operand(x)))))
            made = _filled(template, [self._operand(x) for x in node.inputs])
        self.expressions[value] = made
        if named:
            self._assign(value)

    def _assign(self, value: Value, comment: object = None) -> None:
        """Give a value a line of its own, and say what shape it has, unless there is another comment."""
        if value not in self.names:
            self._choose_names([value], set())
        target = ast.Name(self.names[value], ast.Store())
        statement = ast.Assign([target], self.expressions[value], lineno=0)
        comment = value.shape if comment is None else comment
        self.lines += layout.lines(statement, layout.INDENT, f"  # {comment}" if comment != "" else "")
        self.expressions[value] = name(self.names[value])


# --- small things --------------------------------------------------------------------------------


def _any_length(node: Node) -> Mapping[str, Any]:
    """Return the metadata of an operation; of a vector made a column or a row, of any length."""
    shape = node.params.get("shape", ())
    if node.op.name != "reshape" or next(node.values)._data.ndim != 1 or sum(n != 1 for n in shape) != 1:
        return node.params
    return {**node.params, "shape": tuple(n if n == 1 else -1 for n in shape)}


def _is_plain(node: ast.expr) -> bool:
    return isinstance(node, ast.Name | ast.Constant)


def _kind(like: Any) -> Any:
    """Return what the source of an operation may depend on."""
    return (like.shape, like.dtype) if isinstance(like, np.ndarray) else type(like)


def identifier(label: str) -> str:
    """Return a label as a Python identifier that hides nothing."""
    label = f"v{label[1:]}" if re.fullmatch(r"%\d+", label) else without_leading_numbers(label)
    text = re.sub(r"\W+", "_", label).rstrip("_") or "v"
    text = text if not text[0].isdigit() else f"v{text}"
    hides = keyword.iskeyword(text) or keyword.issoftkeyword(text) or hasattr(builtins, text) or text == "np"
    return f"{text}_" if hides else text


def _name_of(code: Code) -> str:
    """Return the variable that stands for an argument."""
    assert isinstance(code.node, ast.Name)
    return code.node.id


def _is_number_or_several(x: Any) -> bool:
    """Return whether metadata are numbers, which an argument can be."""
    return type(x) in (int, float) or (type(x) is tuple and all(type(part) is int for part in x))


def _length(node: ast.AST) -> int:
    return sum(1 for part in ast.walk(node) if isinstance(part, ast.expr))


def _size(node: ast.AST) -> int:
    """Return how many operations an expression has."""
    kinds = ast.Call | ast.BinOp | ast.UnaryOp | ast.Compare | ast.BoolOp | ast.IfExp
    return sum(isinstance(part, kinds) and not _is_number(part) for part in ast.walk(node))


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.UnaryOp) and isinstance(node.operand, ast.Constant | ast.Attribute)


def _decorated(body: list[ast.stmt]) -> tuple[list[str], list[ast.stmt]]:
    """Return a body that ends under ``with np.errstate(...)`` as a person would write it.

    That is with ``return`` under it, and where all of the body stands under it, with a decorator instead.
    """
    under, last = body[-2] if len(body) > 1 else None, body[-1]
    if not (isinstance(under, ast.With) and isinstance(last, ast.Return) and len(under.items) == 1):
        return [], body
    *before, result = under.body
    if not (isinstance(result, ast.Assign) and _is_named(last.value, _variable(result))):
        return [], body
    inside = [*before, ast.Return(result.value)]
    if len(body) == 2:
        return [f"@{layout.expression(under.items[0].context_expr)}"], inside
    return [], [*body[:-2], ast.With(under.items, inside, lineno=0)]


def _uses(node: ast.AST) -> Counter[str]:
    return Counter(part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Load))


def _repeated(node: ast.expr, titles: Iterable[str]) -> frozenset[str]:
    uses = _uses(node)
    return frozenset(title for title in titles if uses[title] > 1)


class _Substitute(ast.NodeTransformer):
    def __init__(self, expressions: Mapping[str, ast.expr]) -> None:
        self.expressions = expressions

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.expressions.get(node.id, node)


def _filled(template: Template, nodes: Sequence[ast.expr]) -> ast.expr:
    """Return the expression with the arguments in it."""
    made: ast.expr = _Substitute(dict(zip(template.parameters, nodes))).visit(copy.deepcopy(template.expression))
    return made


def _without_unused(body: list[ast.stmt]) -> list[ast.stmt]:
    """Leave out assignments to variables that nothing reads."""
    kept: list[ast.stmt] = []
    needed: Counter[str] = Counter()
    for statement in reversed(body):
        target = _variable(statement)
        if target is None or needed[target]:
            kept.append(statement)
            needed += _uses(statement)
            needed.update(part.id for part in ast.walk(statement) if isinstance(part, ast.Name) and target is None)
    return kept[::-1]


def _variable(statement: ast.stmt) -> str | None:
    """Return the variable that a statement assigns to, if that is all it does."""
    changes = any(isinstance(part, ast.keyword) and part.arg == "out" for part in ast.walk(statement))
    if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name) and not changes:
        return statement.targets[0].id
    return None


def _inlined(body: list[ast.stmt]) -> ast.expr | None:
    """Return a body as one short expression, None if it is none."""
    merged = _tidied(body, None)
    last = merged[-1]
    if len(merged) == 1 and isinstance(last, ast.Return) and last.value is not None:
        return last.value if _size(last.value) <= MOST_INLINE and len(ast.unparse(last)) <= LONGEST else None
    return None


def _tidied(body: list[ast.stmt], made: set[str] | None) -> list[ast.stmt]:
    """Put variables that are read once where they are read: all, or those in `made`; only in a body of assignments."""
    if not all(_variable(statement) or isinstance(statement, ast.Return) for statement in body):
        return body
    uses = sum((_uses(statement) for statement in body), Counter())
    waiting: dict[str, ast.stmt] = {}
    kept: list[ast.stmt] = []
    for statement in body:
        read = [title for title in _uses(statement) if title in waiting]
        parts = {title: waiting.pop(title) for title in read}
        changed = _with_parts(statement, parts)
        while parts and len(ast.unparse(changed)) > LONGEST:
            kept.append(parts.pop(max(parts, key=lambda title: len(ast.unparse(parts[title])))))
            changed = _with_parts(statement, parts)
        variable = _variable(changed)
        returned = isinstance(body[-1], ast.Return) and _is_named(body[-1].value, variable)
        if variable and uses[variable] == 1 and (made is None or variable in made or returned):
            waiting[variable] = changed
        else:
            kept.append(changed)
    return kept


def _is_named(node: ast.expr | None, title: str | None) -> bool:
    return isinstance(node, ast.Name) and node.id == title


def _with_parts(statement: ast.stmt, parts: Mapping[str, Any]) -> Any:
    """Return a statement with what some variables were assigned in the place of the variables."""
    expressions = {title: part.value for title, part in parts.items()}
    return ast.fix_missing_locations(_Substitute(expressions).visit(copy.deepcopy(statement)))
