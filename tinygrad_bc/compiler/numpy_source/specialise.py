"""What remains of a Python function once the kinds, shapes and element types of its array arguments are known.

A forward computation is written for any input: it looks at dimensions, counts axes, sorts out metadata. In a graph
all of that is known. `Specialiser` runs the function's own source: what depends on shapes, element types and metadata
only is computed, as Python would, and what depends on the numbers in the arrays is written down. So
``np.add.reduce(x, axis=counted_axes(axis, x.ndim), ...)`` becomes ``np.sum(x, axis=1)``. (The technique is called
partial evaluation: N. D. Jones, C. K. Gomard, P. Sestoft, "Partial Evaluation and Automatic Program Generation", 1993.)
"""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import sys
import textwrap
import types
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source.rewrite import Code, call, name, numpy_name
from tinygrad_bc.errors import SourceError
from tinygrad_bc.primitive import Composite, Primitive

__all__ = ["SourceError", "Specialiser", "UnsupportedError", "function_source", "literal", "reference"]


Spelled = Mapping[int | str | None, ast.expr]


class UnsupportedError(Exception):
    """A construct that is not specialised; the function is then taken as it is."""


FACTS = {"shape", "ndim", "dtype", "size", "itemsize"}
"""The attributes of an array that its numbers have no part in."""

QUESTIONS: list[Any] = [isinstance, len, hasattr, type, np.ndim, np.shape, np.size, np.result_type, np.iscomplexobj]
"""The functions of an array whose answer its numbers have no part in."""

CONTAINERS: list[Any] = [tuple, list, zip, enumerate, iter, next, reversed, dict]
"""What only passes things on, whatever they are."""

MISTAKES = {TypeError, ValueError, IndexError, KeyError, AttributeError}
"""The errors that are taken to be about kinds and shapes, and so to be the same in every run."""

LONGEST_MESSAGE = 88
"""How many characters of an error's message are kept."""

MOST_ROUNDS = 16
"""How often the body of a loop is written out."""


def function_source(function: Callable[..., Any]) -> ast.FunctionDef | ast.Lambda:
    """Return the parsed source of a Python function.

    Raises
    ------
    SourceError
        If there is none: it was compiled, or typed where nothing keeps the text.
    """
    try:
        text = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        raise SourceError(
            f"the source of {getattr(function, '__qualname__', function)!r} cannot be read: it is compiled, or made by "
            "exec(). Write it in a file or a notebook cell, or compute with NumPy's functions"
        ) from None
    return _found(text, function)


def _found(text: str, function: Any) -> ast.FunctionDef | ast.Lambda:
    for source in (text, f"({text.strip().rstrip(',')})", text.strip().rstrip(",")):
        try:
            tree = ast.parse(source)
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name == function.__name__:
                return node
        lambdas = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and _compiles_to(node, function)]
        if len({ast.dump(node) for node in lambdas}) == 1:
            return lambdas[0]
    raise SourceError(
        f"the source of {function.__qualname__!r} cannot be made out from {text.strip()!r}: give the function a `def`"
    )


def _compiles_to(node: ast.Lambda, function: Any) -> bool:
    """Return whether a lambda has the arguments, constants and names of a function: a line may hold several."""
    made = compile(ast.Expression(node), "<lambda>", "eval").co_consts[0]
    wanted = function.__code__

    def known(code: types.CodeType) -> list[Any]:
        constants = [x for x in code.co_consts if not isinstance(x, types.CodeType)]
        return [code.co_varnames, repr(constants), sorted((*code.co_names, *code.co_freevars))]

    return function.__name__ == "<lambda>" and isinstance(made, types.CodeType) and known(made) == known(wanted)


def python_error(error: type) -> str:
    """Return the name of the class of Python's own that a class of errors is derived from."""
    found = (c for c in error.__mro__ if c.__module__ == "builtins" and c not in (Exception, BaseException, object))
    return next(found, ValueError).__name__


# --- from values to expressions ------------------------------------------------------------------


def reference(thing: Any, modules: set[str]) -> ast.expr | None:
    """Return how NumPy's, Python's and the standard library's functions and classes are referred to; None for others.

    Modules that have to be imported for that are added to `modules`.
    """
    title = getattr(thing, "__name__", "")
    home = getattr(thing, "__module__", None) or ""
    bound = getattr(thing, "__self__", None)
    if isinstance(bound, np.ufunc):
        return ast.Attribute(numpy_name(bound.__name__), title, ast.Load())
    for path in ("np", "np.linalg", "np.lib.stride_tricks", "np.fft"):
        place = functools.reduce(getattr, path.split(".")[1:], np)
        if title and vars(place).get(title) is thing:
            return ast.parse(f"{path}.{title}", mode="eval").body
    if title and vars(builtins).get(title) is thing:
        return name(title)
    if home.partition(".")[0] in sys.stdlib_module_names and getattr(sys.modules.get(home), title, None) is thing:
        home = (
            home.removeprefix("_") if getattr(sys.modules.get(home.removeprefix("_")), title, None) is thing else home
        )
        modules.add(home)
        return ast.parse(f"{home}.{title}", mode="eval").body
    return None


def _number(x: float) -> ast.expr:
    if x != x or x in (np.inf, -np.inf):
        special = numpy_name("nan" if x != x else "inf")
        return ast.UnaryOp(ast.USub(), special) if x < 0 else special
    return ast.UnaryOp(ast.USub(), ast.Constant(-x)) if np.signbit(x) else ast.Constant(x)


def literal(x: Any, modules: set[str]) -> ast.expr:
    """Return the expression for something that is known; code in it is left as it is."""
    if isinstance(x, Code):
        return x.node
    if x is None or x is Ellipsis or isinstance(x, bool | str):
        return ast.Constant(x)
    if isinstance(x, np.dtype):
        return numpy_name("bool" if x.kind == "b" else x.name)
    if isinstance(x, np.generic):
        return ast.Call(literal(x.dtype, modules), [literal(_shortest(x), modules)], [])
    if isinstance(x, int | float):
        return _number(x)
    if isinstance(x, np.ndarray):
        return _array(x, modules)
    if isinstance(x, tuple):
        return ast.Tuple([literal(part, modules) for part in x], ast.Load())
    if isinstance(x, list):
        return ast.List([literal(part, modules) for part in x], ast.Load())
    if isinstance(x, range) and x.step == 1:
        return ast.Call(name("range"), [literal(n, modules) for n in (x.start, x.stop)][not x.start :], [])
    if isinstance(x, slice | range):
        parts = [literal(part, modules) for part in (x.start, x.stop, x.step)]
        return ast.Call(name(type(x).__name__), parts, [])
    if (known := reference(x, modules)) is not None:
        return known
    raise UnsupportedError(f"{type(x).__name__} is not written as a literal")


def _shortest(x: Any) -> Any:
    """Return a scalar as the Python number with the fewest digits that becomes it again."""
    return float(str(x)) if x.dtype.kind == "f" else x.item()


def _regular(x: Any) -> str:
    """Return how NumPy makes an array that follows a rule, '' for others."""
    if x.size < 5:
        return ""
    dtype = "bool" if x.dtype.kind == "b" else x.dtype.name
    if (x == 1).all() and x.dtype == np.float64:
        return f"np.ones({x.shape if x.ndim > 1 else x.size})"
    if (x == x.flat[0]).all():
        return f"np.full({x.shape}, {ast.unparse(_number(_shortest(x.flat[0])))}, np.{dtype})"
    if x.ndim == 2 and x.shape[0] == x.shape[1] and np.array_equal(x, np.eye(len(x))):
        return f"np.eye({len(x)}, dtype=np.{dtype})"
    if x.dtype.kind == "i" and np.array_equal(x.ravel(), np.arange(x.size) + x.flat[0]):
        first, end = x.flat[0], x.flat[0] + x.size
        counted = f"np.arange({first}, {end}, dtype=np.{dtype})" if first or dtype != "int64" else f"np.arange({end})"
        return counted if x.ndim == 1 else f"{counted}.reshape({x.shape})"
    return ""


def _array(x: Any, modules: set[str]) -> ast.expr:
    if rule := _regular(x):
        return ast.parse(rule, mode="eval").body
    if x.size > 1000:
        raise UnsupportedError(f"a constant array of {x.size} numbers")
    if not x.size:
        return ast.Call(numpy_name("zeros"), [literal(x.shape, modules), literal(x.dtype, modules)], [])
    usual = np.asarray(x.tolist()).dtype == x.dtype
    numbers = np.frompyfunc(lambda i: _shortest(x.flat[i]), 1, 1)(np.arange(x.size).reshape(x.shape))
    numbers = numbers.tolist() if x.ndim else numbers
    keywords = [] if usual else [ast.keyword("dtype", literal(x.dtype, modules))]
    return ast.Call(numpy_name("array"), [literal(numbers, modules)], keywords)


def index(x: Any, modules: set[str]) -> ast.expr:
    """Return the expression for what stands between the brackets of ``x[...]``."""
    if isinstance(x, slice):
        step = None if type(x.step) is int and x.step == 1 else x.step
        return ast.Slice(*(None if part is None else literal(part, modules) for part in (x.start, x.stop, step)))
    if isinstance(x, tuple) and len(x) == 1 and not isinstance(x[0], tuple | list):
        return index(x[0], modules)
    if isinstance(x, tuple) and x:
        return ast.Tuple([index(part, modules) for part in x], ast.Load())
    return literal(x, modules)


def likeness(x: Any) -> Any:
    """Return what something was in the recorded run, for code and for containers that hold some."""
    if isinstance(x, Code):
        return x.like
    if type(x) in (tuple, list):
        return type(x)(map(likeness, x))
    if isinstance(x, slice):
        return slice(likeness(x.start), likeness(x.stop), likeness(x.step))
    return x


def holds_code(x: Any) -> bool:
    """Return whether something is code, or a container that holds some."""
    if isinstance(x, Code):
        return True
    if isinstance(x, slice):
        return holds_code((x.start, x.stop, x.step))
    return isinstance(x, tuple | list) and any(map(holds_code, x))


# --- running the source --------------------------------------------------------------------------


class Scope:
    """The names that a function sees."""

    def __init__(self, function: Callable[..., Any], local: dict[str, Any]) -> None:
        self.local = local
        captured = inspect.getclosurevars(function) if isinstance(function, types.FunctionType) else None
        self.outer: list[Mapping[str, Any]] = []
        if captured is not None:
            self.outer = [captured.nonlocals, function.__globals__, vars(builtins)]

    def __getitem__(self, key: str) -> Any:
        for names in (self.local, *self.outer):
            if key in names:
                return names[key]
        raise UnsupportedError(f"the name {key} is not known")


class Returned:
    """What a block of statements returned."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Specialiser:
    """Runs the source of functions on code, and collects the statements that remain.

    Parameters
    ----------
    apply : callable
        ``apply(op, args, params)`` returns the expression for an operation, called by the function that is specialised.
    taken : iterable of str
        Names that are not to be used for variables.

    Attributes
    ----------
    body : list of ast.stmt
        The statements so far.
    modules : set of str
        Modules of the standard library that they refer to.
    parameters : frozenset of str
        The names that were taken from the beginning.
    made : set of str
        Variables that stand for arguments and have no name in the source.
    """

    def __init__(self, apply: Callable[[Specialiser, Primitive, list[Any], dict[str, Any]], Any], taken: Iterable[str]):
        self.apply = apply
        self.parameters = frozenset(taken)
        self.taken = set(taken)
        self.body: list[ast.stmt] = []
        self.modules: set[str] = set()
        self.made: set[str] = set()
        self._arrays: set[str] = set()  # the variables that were assigned something new

    # --- calls

    def run(self, function: Callable[..., Any], args: Iterable[Any], kwargs: Mapping[str, Any]) -> Any:
        """Return what a Python function returns for these arguments, some of them code."""
        function = inspect.unwrap(function)
        source = function_source(function)
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        scope = Scope(function, {key: self._named(key, value) for key, value in bound.arguments.items()})
        if isinstance(source, ast.Lambda):
            return self.evaluate(source.body, scope)
        quiet = [ast.withitem(d) for d in source.decorator_list if ast.unparse(d).startswith("np.errstate(")]
        body = [ast.With(quiet, source.body, lineno=0)] if quiet else source.body
        returned = self._block(body, scope)
        return returned.value if returned else None

    def _named(self, title: str, value: Any) -> Any:
        """Return an argument, code as a variable, so that it may be used more than once."""
        if not isinstance(value, Code) or isinstance(value.node, ast.Name | ast.Constant):
            return value
        code = self.assign(title, value)
        self.made.add(code.node.id)  # type: ignore[attr-defined]
        return code

    def assign(self, title: str, value: Code) -> Code:
        """Add an assignment to a new variable."""
        variable, number = title, 2
        while variable in self.taken:
            variable, number = f"{title}_{number}", number + 1
        self.taken.add(variable)
        self._arrays.add(variable)
        self.body.append(ast.Assign([ast.Name(variable, ast.Store())], value.node, lineno=0))
        return Code(name(variable), value.like, value.summed)

    def call(
        self, function: Any, args: list[Any], kwargs: dict[str, Any], spelled: Spelled = MappingProxyType({})
    ) -> Any:
        """Return what a call returns: computed now if no number in an array matters, else written down."""
        if function in QUESTIONS:
            return function(*map(likeness, args), **{key: likeness(x) for key, x in kwargs.items()})
        if isinstance(function, Primitive):
            return self.apply(self, function, args, kwargs)
        if isinstance(function, Composite):
            function = function.function
        if isinstance(function, functools.partial):
            return self.call(function.func, [*function.args, *args], {**function.keywords, **kwargs})
        dynamic = holds_code((*args, *kwargs.values()))
        passes_on = function in CONTAINERS and not any(isinstance(x, Code) for x in args)
        if passes_on or isinstance(getattr(function, "__self__", None), list | dict):
            return function(*args, **kwargs)
        if not dynamic:
            value = function(*args, **kwargs)
            if not isinstance(value, np.ndarray):
                return value
        if isinstance(function, types.FunctionType) and reference(function, set()) is None:
            return self.run(function, args, kwargs)
        return self._written_call(function, args, kwargs, spelled)

    def _written_call(
        self,
        function: Any,
        args: list[Any],
        kwargs: dict[str, Any],
        spelled: Spelled,
        written: ast.expr | None = None,
    ) -> Any:
        likes = list(map(likeness, args))
        value = function(*likes, **{key: likeness(x) for key, x in kwargs.items()})
        if function in (np.asarray, np.array) and len(args) == 1 and not kwargs and self._is_array(args[0], function):
            return args[0]
        nodes = [spelled.get(place) or literal(x, self.modules) for place, x in enumerate(args)]
        keywords = {key: spelled.get(key) or literal(x, self.modules) for key, x in kwargs.items()}
        target = reference(function, self.modules) or written
        if target is None:
            raise UnsupportedError(f"a call of {function!r}")
        summed = 0
        if getattr(function, "__self__", None) is np.add and np.size(value):
            summed = np.size(likes[0]) // np.size(value) if np.ndim(likes[0]) else 0
        return Code(call(function, target, nodes, keywords, likes), value, summed)

    @staticmethod
    def _is_array(x: Any, function: Any) -> bool:
        """Return whether ``np.asarray(x)`` is x: 0-d results are scalars in NumPy, not arrays."""
        return function is np.asarray and isinstance(x, Code) and isinstance(x.like, np.ndarray) and x.like.ndim > 0

    # --- expressions

    def evaluate(self, node: ast.expr, scope: Scope) -> Any:
        """Return the value of an expression, or the code for it."""
        method = getattr(self, f"_{type(node).__name__.lower()}", None)
        if method is None:
            raise UnsupportedError(f"{type(node).__name__} in an expression")
        return method(node, scope)

    def _combined(self, parts: list[Any], build: Callable[[list[ast.expr]], ast.expr]) -> Any:
        """Return an expression made of parts: its value if they are all known, else code."""
        names = [f"_{i}" for i in range(len(parts))]
        tree = ast.fix_missing_locations(ast.Expression(build([name(text) for text in names])))
        value = eval(compile(tree, "<part>", "eval"), dict(zip(names, map(likeness, parts))))
        if holds_code(parts) or isinstance(value, np.ndarray):
            return Code(build([literal(part, self.modules) for part in parts]), value)
        return value

    def _constant(self, node: ast.Constant, _: Scope) -> Any:
        return node.value

    def _name(self, node: ast.Name, scope: Scope) -> Any:
        return scope[node.id]

    def _namedexpr(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        self._bind(node.target, value, scope)
        return scope[node.target.id]

    def _binop(self, node: ast.BinOp, scope: Scope) -> Any:
        parts = [self.evaluate(node.left, scope), self.evaluate(node.right, scope)]
        if isinstance(node.op, ast.Div) and isinstance(mean := self._mean(*parts), Code):
            return mean
        if isinstance(node.op, ast.Mult) and isinstance(parts[1], float) and parts[1] == -1.0:
            return self._combined(parts[:1], lambda nodes: ast.UnaryOp(ast.USub(), nodes[0]))
        return self._combined(parts, lambda nodes: ast.BinOp(nodes[0], node.op, nodes[1]))

    def _mean(self, total: Any, count: Any) -> Any:
        """Return ``np.mean(x)`` for the sum of x, divided by how many numbers were added up."""
        if not isinstance(total, Code) or not total.summed or isinstance(count, Code) or count != total.summed:
            return None
        made = total.node
        if isinstance(made, ast.Name):
            assignments = (part for part in self.body if isinstance(part, ast.Assign))
            made = next((part.value for part in assignments if same_target(part, made.id)), made)
        if not isinstance(made, ast.Call):
            return None
        return Code(ast.Call(numpy_name("mean"), made.args, made.keywords), total.like / count)

    def _unaryop(self, node: ast.UnaryOp, scope: Scope) -> Any:
        return self._combined([self.evaluate(node.operand, scope)], lambda nodes: ast.UnaryOp(node.op, nodes[0]))

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:
        parts = [self.evaluate(part, scope) for part in (node.left, *node.comparators)]
        if len(parts) == 2 and isinstance(node.ops[0], ast.Is | ast.IsNot) and not all(map(holds_code, parts)):
            return (parts[0] is parts[1]) == isinstance(node.ops[0], ast.Is)
        return self._combined(parts, lambda nodes: ast.Compare(nodes[0], node.ops, nodes[1:]))

    def _boolop(self, node: ast.BoolOp, scope: Scope) -> Any:
        decides = isinstance(node.op, ast.Or)
        parts: list[Any] = []
        for part in node.values:
            value = self.evaluate(part, scope)
            if not isinstance(value, Code) and bool(value) == decides and not parts:
                return value
            if isinstance(value, Code) or bool(value) == decides or part is node.values[-1]:
                parts.append(value)
        if len(parts) == 1:
            return parts[0]
        return self._combined(parts, lambda nodes: ast.BoolOp(node.op, nodes))

    def _ifexp(self, node: ast.IfExp, scope: Scope) -> Any:
        test = self.evaluate(node.test, scope)
        if not isinstance(test, Code):
            return self.evaluate(node.body if test else node.orelse, scope)
        parts = [test, self.evaluate(node.body, scope), self.evaluate(node.orelse, scope)]
        if any(isinstance(part, tuple | list) for part in parts):
            raise UnsupportedError("a choice of several that depends on the numbers in an array")
        return self._combined(parts, lambda nodes: ast.IfExp(*nodes))

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        base = self.evaluate(node.value, scope)
        if not isinstance(base, Code):
            return getattr(base, node.attr)
        value = getattr(base.like, node.attr)
        if node.attr in FACTS:
            return value
        attribute = "T" if node.attr == "mT" and base.like.ndim == 2 else node.attr
        return Code(ast.Attribute(base.node, attribute, ast.Load()), value)

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        base, key = self.evaluate(node.value, scope), self.evaluate(node.slice, scope)
        if not isinstance(base, Code) and not isinstance(key, Code):
            return base[key]
        value = likeness(base)[likeness(key)]
        return Code(ast.Subscript(literal(base, self.modules), index(key, self.modules), ast.Load()), value)

    def _slice(self, node: ast.Slice, scope: Scope) -> Any:
        return slice(*(part and self.evaluate(part, scope) for part in (node.lower, node.upper, node.step)))

    def _tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self._several(node.elts, scope))

    def _list(self, node: ast.List, scope: Scope) -> Any:
        return self._several(node.elts, scope)

    def _set(self, node: ast.Set, scope: Scope) -> Any:
        return set(self._several(node.elts, scope))

    def _several(self, nodes: Iterable[ast.expr], scope: Scope) -> list[Any]:
        values: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                values.extend(self._known(node.value, scope))
            else:
                values.append(self.evaluate(node, scope))
        return values

    def _known(self, node: ast.expr, scope: Scope) -> Any:
        """Return the value of an expression that is not code."""
        value = self.evaluate(node, scope)
        if isinstance(value, Code):
            raise UnsupportedError(f"{ast.unparse(node)} depends on the numbers in an array")
        return value

    def _call(self, node: ast.Call, scope: Scope) -> Any:
        args = self._several(node.args, scope)
        kwargs: dict[str, Any] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                kwargs.update(self._known(keyword.value, scope))
            else:
                kwargs[keyword.arg] = self.evaluate(keyword.value, scope)
        spelled = self._spelled(node, scope)
        if not isinstance(node.func, ast.Attribute):
            return self.call(self._known(node.func, scope), args, kwargs, spelled)
        base = self.evaluate(node.func.value, scope)
        if isinstance(base, Primitive) and node.func.attr == "forward":
            return self.call(base, args, kwargs)
        if isinstance(base, Code):
            method = getattr(base.like, node.func.attr)
            written = ast.Attribute(base.node, node.func.attr, ast.Load())
            return self._written_call(method, args, kwargs, spelled, written)
        return self.call(getattr(base, node.func.attr), args, kwargs, spelled)

    def _spelled(self, node: ast.Call, scope: Scope) -> dict[int | str | None, ast.expr]:
        """Return the arguments that are better written as ``x.shape`` than as the numbers that it is."""
        if any(isinstance(part, ast.Starred) for part in node.args):
            return {}
        parts = [*enumerate(node.args), *((k.arg, k.value) for k in node.keywords)]
        found = {place: self._fact(part, scope) for place, part in parts}
        return {place: fact for place, fact in found.items() if fact is not None}

    def _fact(self, node: ast.expr, scope: Scope) -> ast.expr | None:
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant | ast.UnaryOp):
            base = self._fact(node.value, scope)
            return base and ast.Subscript(base, node.slice, ast.Load())
        if isinstance(node, ast.Attribute) and node.attr in FACTS and isinstance(node.value, ast.Name):
            code = scope.local.get(node.value.id)
            return ast.Attribute(code.node, node.attr, ast.Load()) if isinstance(code, Code) else None
        return None

    def _joinedstr(self, node: ast.JoinedStr, scope: Scope) -> Any:
        values = [
            self.evaluate(part.value if isinstance(part, ast.FormattedValue) else part, scope) for part in node.values
        ]
        return "".join("…" if isinstance(value, Code) else str(value) for value in values)

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp, scope: Scope) -> Any:
        found: list[Any] = []
        inner = Scope.__new__(Scope)
        inner.local, inner.outer = {}, [scope.local, *scope.outer]

        def loop(generators: list[ast.comprehension]) -> None:
            if not generators:
                found.append(self.evaluate(node.elt, inner))
                return
            for item in self._known(generators[0].iter, inner):
                self._bind(generators[0].target, item, inner)
                if all(self._known(test, inner) for test in generators[0].ifs):
                    loop(generators[1:])

        loop(node.generators)
        return found

    _generatorexp = _listcomp

    # --- statements

    def _bind(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Give a value to a name, or to several."""
        if isinstance(target, ast.Name):
            if isinstance(value, Code) and not isinstance(value.node, ast.Name):
                value = self.assign(target.id, value)
            scope.local[target.id] = value
        elif isinstance(target, ast.Tuple | ast.List) and isinstance(value, Code):
            self._unpack(target, value, scope)
        elif isinstance(target, ast.Tuple | ast.List):
            count, values = len(target.elts), list(value)
            for place, element in enumerate(target.elts):
                if isinstance(element, ast.Starred):
                    end = len(values) - (count - place - 1)
                    values[place:end] = [values[place:end]]
                    element = element.value
                self._bind(element, values[place], scope)
        else:
            raise UnsupportedError(f"an assignment to {ast.unparse(target)}")

    def _unpack(self, target: ast.Tuple | ast.List, value: Code, scope: Scope) -> None:
        names: list[ast.expr] = []
        for element, like in zip(target.elts, value.like):
            if not isinstance(element, ast.Name):
                raise UnsupportedError(f"an assignment to {ast.unparse(target)}")
            scope.local[element.id] = self.assign(element.id, Code(name("_"), like))
            self.body.pop()
            names.append(ast.Name(scope.local[element.id].node.id, ast.Store()))
        self.body.append(ast.Assign([ast.Tuple(names, ast.Store())], value.node, lineno=0))

    def _block(self, statements: Iterable[ast.stmt], scope: Scope) -> Returned | None:
        for statement in statements:
            method = getattr(self, f"_do_{type(statement).__name__.lower()}", None)
            if method is None:
                raise UnsupportedError(f"{type(statement).__name__} as a statement")
            if (returned := method(statement, scope)) is not None:
                return returned
        return None

    def _do_pass(self, statement: ast.Pass, scope: Scope) -> None:
        pass

    def _do_return(self, statement: ast.Return, scope: Scope) -> Returned:
        return Returned(statement.value and self.evaluate(statement.value, scope))

    def _do_expr(self, statement: ast.Expr, scope: Scope) -> None:
        value = self.evaluate(statement.value, scope)
        if isinstance(value, Code) and isinstance(value.node, ast.Call):  # which changes an array
            self.body.append(ast.Expr(value.node))

    def _do_assign(self, statement: ast.Assign, scope: Scope) -> None:
        value = self.evaluate(statement.value, scope)
        for target in statement.targets:
            if isinstance(target, ast.Subscript):
                self._store(target, value, scope)
            else:
                self._bind(target, value, scope)

    def _do_annassign(self, statement: ast.AnnAssign, scope: Scope) -> None:
        if statement.value is not None:
            self._bind(statement.target, self.evaluate(statement.value, scope), scope)

    def _store(self, target: ast.Subscript, value: Any, scope: Scope, op: ast.operator | None = None) -> None:
        base, key = self.evaluate(target.value, scope), self.evaluate(target.slice, scope)
        if not isinstance(base, Code):
            if op is not None or isinstance(key, Code):
                raise UnsupportedError(f"an assignment to {ast.unparse(target)}")
            base[key] = value
            return
        if op is None:
            base.like[likeness(key)] = likeness(
                value
            )  # so that what is computed from it further down has no other kind
        place = ast.Subscript(base.node, index(key, self.modules), ast.Store())
        written = literal(value, self.modules)
        self.body.append(ast.AugAssign(place, op, written) if op else ast.Assign([place], written, lineno=0))

    def _do_augassign(self, statement: ast.AugAssign, scope: Scope) -> None:
        value = self.evaluate(statement.value, scope)
        if isinstance(statement.target, ast.Subscript):
            return self._store(statement.target, value, scope, statement.op)
        if not isinstance(statement.target, ast.Name):
            raise UnsupportedError(f"an assignment to {ast.unparse(statement.target)}")
        old = scope[statement.target.id]
        if isinstance(old, Code):
            if old.node.id not in self._arrays:  # type: ignore[attr-defined]
                raise UnsupportedError("an argument is changed in place")
            target = ast.Name(old.node.id, ast.Store())  # type: ignore[attr-defined]
            self.body.append(ast.AugAssign(target, statement.op, literal(value, self.modules)))
        else:
            both = [old, value]
            scope.local[statement.target.id] = self._combined(
                both, lambda nodes: ast.BinOp(nodes[0], statement.op, nodes[1])
            )
        return None

    def _do_if(self, statement: ast.If, scope: Scope) -> Returned | None:
        test = self.evaluate(statement.test, scope)
        if not isinstance(test, Code):
            return self._block(statement.body if test else statement.orelse, scope)
        if statement.orelse or not isinstance(statement.body[-1], ast.Raise):
            raise UnsupportedError("a branch that depends on the numbers in an array")
        self.body.append(ast.If(test.node, [self._refusal(statement.body[-1], scope)], []))
        return None

    def _refusal(self, statement: ast.Raise, scope: Scope) -> ast.Raise:
        """Return the statement that raises an error of Python's own, with what can be said without the numbers."""
        made = statement.exc
        called = made.func if isinstance(made, ast.Call) else made
        kind = self.evaluate(called, scope) if isinstance(called, ast.Name | ast.Attribute) else None
        title = python_error(kind) if isinstance(kind, type) else "ValueError"
        text = textwrap.shorten("".join(_words(made)) if made else "", LONGEST_MESSAGE, placeholder=" …")
        return ast.Raise(ast.Call(name(title), [ast.Constant(text or "these numbers are refused")], []), None)

    def _do_raise(self, statement: ast.Raise, scope: Scope) -> None:
        error = statement.exc and self._known(statement.exc, scope)
        if not (isinstance(error, BaseException) or (isinstance(error, type) and issubclass(error, BaseException))):
            raise UnsupportedError("raise without an error")
        raise error

    def _do_try(self, statement: ast.Try, scope: Scope) -> Returned | None:
        if statement.finalbody or statement.orelse:
            raise UnsupportedError("try with else or finally")
        for handler in statement.handlers:
            types = handler.type and self._known(handler.type, scope)
            if not isinstance(handler.body[-1], ast.Raise) and not MISTAKES.issuperset(
                types if isinstance(types, tuple) else [types]
            ):
                raise UnsupportedError("an exception that depends on the numbers in an array")
        before = list(self.body)
        try:
            return self._block(statement.body, scope)
        except (UnsupportedError, SourceError):
            raise
        except Exception as error:
            for handler in statement.handlers:
                if handler.type is None or isinstance(error, self._known(handler.type, scope)):
                    self.body = before
                    return self._block(handler.body, scope)
            raise

    def _do_with(self, statement: ast.With, scope: Scope) -> Returned | None:
        items = []
        for item in statement.items:
            if item.optional_vars or not isinstance(item.context_expr, ast.Call):
                raise UnsupportedError("with ... as")
            function = self._known(item.context_expr.func, scope)
            kwargs = [
                ast.keyword(k.arg, literal(self._known(k.value, scope), self.modules))
                for k in item.context_expr.keywords
            ]
            target = reference(function, self.modules)
            if target is None or item.context_expr.args:
                raise UnsupportedError(f"with {ast.unparse(item.context_expr)}")
            items.append(ast.withitem(ast.Call(target, [], kwargs)))
        outside, self.body = self.body, []
        try:
            returned = self._block(statement.body, scope)
            if returned and isinstance(returned.value, Code) and not isinstance(returned.value.node, ast.Name):
                returned = Returned(self.assign("result", returned.value))
            inside = self.body
        finally:
            self.body = outside
        self.body.append(ast.With(items, inside, lineno=0))
        return returned

    def _do_for(self, statement: ast.For, scope: Scope) -> Returned | None:
        if statement.orelse:
            raise UnsupportedError("for with else")
        over = self.evaluate(statement.iter, scope)
        if isinstance(over, Code) or (isinstance(over, range) and self._stores(statement, scope)):
            self._loop(statement, over, scope)
            return None
        before = len(self.body)
        for rounds, item in enumerate(over):
            self._bind(statement.target, item, scope)
            if (returned := self._block(statement.body, scope)) is not None:
                return returned
            if rounds >= MOST_ROUNDS and len(self.body) > before:
                raise UnsupportedError("a long loop")
        return None

    @staticmethod
    def _stores(statement: ast.For, scope: Scope) -> bool:
        """Return whether the body of a loop changes arrays."""
        targets: list[ast.expr] = [s.target for s in statement.body if isinstance(s, ast.AugAssign)]
        targets += [s.targets[0] for s in statement.body if isinstance(s, ast.Assign)]
        bases = [t.value.id for t in targets if isinstance(t, ast.Subscript) and isinstance(t.value, ast.Name)]
        return any(isinstance(scope.local.get(base), Code) for base in bases)

    def _loop(self, statement: ast.For, over: Any, scope: Scope) -> None:
        """Write a loop down."""
        before = dict(scope.local)
        first = next(iter(likeness(over) if not isinstance(over, Code) else over.like), None)
        if first is None:
            return
        outside, self.body = self.body, []
        try:
            self._bind(statement.target, Code(ast.Constant(None), first), scope)
            head = self.body.pop()
            returned = self._block(statement.body, scope)
            inside = self.body
        finally:
            self.body = outside
        changed = [key for key, value in before.items() if scope.local[key] is not value]
        if returned or any(key not in ast.unparse(statement.target) for key in changed):
            raise UnsupportedError("a loop that gives a variable a new value")
        assert isinstance(head, ast.Assign)
        self.body.append(ast.For(head.targets[0], literal(over, self.modules), inside, [], lineno=0))


def same_target(statement: ast.Assign, title: str) -> bool:
    """Return whether a statement assigns to a variable of this name."""
    return isinstance(statement.targets[0], ast.Name) and statement.targets[0].id == title


def _words(node: ast.expr) -> list[str]:
    """Return the text of a message, with dots for what is put into it."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) else []
    if isinstance(node, ast.JoinedStr):
        return [word for part in node.values for word in _words(part)]
    if isinstance(node, ast.FormattedValue):
        return ["…"]
    if isinstance(node, ast.BinOp):
        return _words(node.left) + _words(node.right)
    return [word for part in node.args for word in _words(part)] if isinstance(node, ast.Call) else []
