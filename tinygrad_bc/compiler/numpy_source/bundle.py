"""A function as it is, with all that it refers to: for what is not specialised."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import textwrap
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source.rewrite import name
from tinygrad_bc.compiler.numpy_source.specialise import Scope, UnsupportedError, function_source, literal, python_error
from tinygrad_bc.errors import SourceError, TinygradError
from tinygrad_bc.primitive import Composite, Primitive
from tinygrad_bc.record import Value

__all__ = ["Bundle"]


class Bundle:
    """Definitions, each after those that it needs.

    Parameters
    ----------
    define : callable
        ``define(title, make)`` adds a definition, whose statement is ``make(title)``, under a name like `title`, and
        returns the name that it got.
    modules : set of str
        Takes the modules of the standard library that have to be imported.
    """

    def __init__(self, define: Callable[[str, Callable[[str], ast.stmt]], str], modules: set[str]) -> None:
        self.define = define
        self.modules = modules
        self.titles: dict[int, str] = {}
        self._kept: list[Any] = []  # so that no other object gets the id of one that is known

    def function(self, function: Callable[..., Any], title: str) -> str:
        """Add a Python function, and return the name that it got."""
        function = inspect.unwrap(function)
        if id(function) in self.titles:
            return self.titles[id(function)]
        source = function_source(function)
        if isinstance(source, ast.Lambda):
            empty = ast.parse(f"def {title}(): pass").body[0]
            assert isinstance(empty, ast.FunctionDef)
            empty.args, empty.body = source.args, [ast.Return(source.body)]
            source = empty
        self._remember(function, title)  # it may call itself
        source = _Plain(self, Scope(function, {}), function.__code__.co_varnames + function.__code__.co_cellvars).visit(
            source
        )

        def made(final: str) -> ast.stmt:
            renamed = _Renamed({title: final}).visit(copy.deepcopy(source))
            renamed.name = final
            return ast.fix_missing_locations(renamed)

        return self._remember(function, self.define(title, made))

    def _remember(self, thing: Any, title: str) -> str:
        self._kept.append(thing)
        self.titles[id(thing)] = title
        return title

    def reference(self, thing: Any, title: str) -> ast.expr:
        """Return how something that a function refers to is written; it is added where it has to be."""
        if id(thing) in self.titles:
            return name(self.titles[id(thing)])
        if isinstance(thing, Primitive):
            thing = thing.forward
        if isinstance(thing, Composite):
            thing = thing.function
        if isinstance(thing, type) and issubclass(thing, TinygradError):
            return name(python_error(thing))
        if isinstance(thing, type) and issubclass(thing, Value):
            return ast.Attribute(name("np"), "ndarray", ast.Load())
        if isinstance(thing, functools.partial):
            raise UnsupportedError(f"{title}, a partial function")
        try:
            known = literal(thing, self.modules)
        except UnsupportedError:
            return name(self._defined(thing, title))
        if isinstance(known, ast.Constant | ast.Attribute | ast.Name):
            return known
        return name(self._remember(thing, self.define(title, lambda final: _assignment(final, known))))

    def _defined(self, thing: Any, title: str) -> str:
        if isinstance(thing, types.FunctionType):
            return self.function(thing, title)
        if not isinstance(thing, type):
            raise UnsupportedError(f"{title}, of type {type(thing).__name__}")
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
        except (OSError, TypeError):
            raise SourceError(f"the source of the class {thing.__name__} cannot be read") from None
        member = next((f for f in vars(thing).values() if isinstance(f, types.FunctionType)), None)
        if (
            member is not None
            and member.__module__ == thing.__module__
            and member.__qualname__.startswith(thing.__name__)
        ):
            tree = _Plain(
                self, Scope(member, {thing.__name__: thing}), (thing.__name__,), {"property", "staticmethod"}
            ).visit(tree)
        self._remember(thing, title)
        return self._remember(thing, self.define(thing.__name__, lambda final: _named(tree, final)))


def _named(tree: Any, title: str) -> ast.stmt:
    """Return a class with another name."""
    tree.name = title
    renamed: ast.stmt = ast.fix_missing_locations(tree)
    return renamed


def _assignment(title: str, value: ast.expr) -> ast.stmt:
    return ast.fix_missing_locations(ast.Assign([ast.Name(title, ast.Store())], value, lineno=0))


class _Plain(ast.NodeTransformer):
    """Takes annotations and decorators away, and puts in what the names outside the function stand for."""

    def __init__(
        self, bundle: Bundle, scope: Scope, local: tuple[str, ...], decorators: set[str] | None = None
    ) -> None:
        self.bundle = bundle
        self.scope = scope
        self.local = set(local)
        self.decorators = decorators or set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        decorators = [
            d for d in node.decorator_list if ast.unparse(d).partition("(")[0] in {"np.errstate", *self.decorators}
        ]
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg)
        for argument in arguments:
            if argument is not None:
                argument.annotation = None
        outer, self.local = self.local, self.local | {a.arg for a in arguments if a is not None} | _stored(node)
        node.returns, node.decorator_list, node.body = None, [], _first_line(node.body)
        self.generic_visit(node)
        self.local = outer
        node.decorator_list = decorators
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = _first_line(node.body)
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign):  # which makes a field of a dataclass, whatever the type
                statement.annotation = ast.Name("object", ast.Load())
        self.generic_visit(node)
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        outer, self.local = self.local, self.local | {a.arg for a in (*node.args.args, *node.args.kwonlyargs)}
        self.generic_visit(node)
        self.local = outer
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if isinstance(node.annotation, ast.Name) and node.annotation.id == "object":
            self.generic_visit(node)
            return node
        return None if node.value is None else self.visit(ast.Assign([node.target], node.value, lineno=0))

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id in self.local or not isinstance(node.ctx, ast.Load):
            return node
        return self._written(self.scope[node.id], node.id)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        base = self._module(node.value) if isinstance(node.ctx, ast.Load) else None
        if base is not None and base is not np:
            return self._written(getattr(base, node.attr), node.attr)
        if isinstance(node.value, ast.Name) and node.value.id not in self.local and node.attr == "forward":
            thing = self.scope[node.value.id]
            if isinstance(thing, Primitive):
                return self._written(thing, node.value.id)
        self.generic_visit(node)
        return node

    def _module(self, node: ast.expr) -> Any:
        """Return the module outside NumPy that an expression stands for, None if it is something else."""
        if isinstance(node, ast.Name):
            thing = None if node.id in self.local else self.scope[node.id]
        else:
            base = self._module(node.value) if isinstance(node, ast.Attribute) else None
            thing = None if base is None or base is np else getattr(base, node.attr)  # type: ignore[attr-defined]
        return thing if isinstance(thing, types.ModuleType) else None

    def _written(self, thing: Any, title: str) -> ast.expr:
        if thing is np:
            return name("np")
        if isinstance(thing, types.ModuleType):
            raise UnsupportedError(f"the module {thing.__name__} as a value")
        return self.bundle.reference(thing, title)


class _Renamed(ast.NodeTransformer):
    def __init__(self, titles: dict[str, str]) -> None:
        self.titles = titles

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(self.titles.get(node.id, node.id), node.ctx)


def _stored(node: ast.AST) -> set[str]:
    """Return the names that are bound inside a function."""
    names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    names |= {part.name for part in ast.walk(node) if isinstance(part, ast.FunctionDef) and part is not node}
    return names | {part.name for part in ast.walk(node) if isinstance(part, ast.ExceptHandler) and part.name}


def _first_line(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the body of a function with the first line of its docstring only."""
    first = body[0]
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        text = first.value.value.strip().partition("\n")[0]
        return [ast.Expr(ast.Constant(text)), *body[1:]]
    return body
