"""How a call of a NumPy function is best written: as an operator, and by the name that people know it by."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Code", "call", "name", "numpy_name", "same"]


@dataclass(frozen=True, eq=False, slots=True)
class Code:
    """What is known only when the program runs: the expression for it.

    Attributes
    ----------
    node : ast.expr
    like : Any
        What it is in the recorded run. Only its kind, shape and element type may be relied on.
    summed : int
        Of a sum: how many numbers were added up for each element. 0 for anything else.
    """

    node: ast.expr
    like: Any
    summed: int = 0


OPERATORS: dict[Any, ast.operator | ast.cmpop | ast.unaryop] = {
    np.add: ast.Add(),
    np.subtract: ast.Sub(),
    np.multiply: ast.Mult(),
    np.divide: ast.Div(),
    np.floor_divide: ast.FloorDiv(),
    np.remainder: ast.Mod(),
    np.matmul: ast.MatMult(),
    np.bitwise_and: ast.BitAnd(),
    np.bitwise_or: ast.BitOr(),
    np.bitwise_xor: ast.BitXor(),
    np.negative: ast.USub(),
    np.invert: ast.Invert(),
    np.equal: ast.Eq(),
    np.not_equal: ast.NotEq(),
    np.less: ast.Lt(),
    np.less_equal: ast.LtE(),
    np.greater: ast.Gt(),
    np.greater_equal: ast.GtE(),
}
"""The ufuncs that Python's operators call on arrays. Not among them is ``**``, which takes short cuts for squares."""

REDUCTIONS: dict[Any, str] = {
    np.add: "sum",
    np.multiply: "prod",
    np.maximum: "max",
    np.minimum: "min",
    np.logical_and: "all",
    np.logical_or: "any",
}
"""What NumPy calls ``ufunc.reduce``: its function of that name does nothing else."""


def name(text: str) -> ast.Name:
    """Return an expression that is a name."""
    return ast.Name(text, ast.Load())


def numpy_name(text: str) -> ast.expr:
    """Return ``np.`` and a name."""
    return ast.Attribute(name("np"), text, ast.Load())


def same(a: ast.AST, b: ast.AST) -> bool:
    """Return whether two expressions are written alike."""
    return ast.dump(a) == ast.dump(b)


def _is_matrix(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.ndim == 2


def _is_zeros_like(node: ast.expr, other: ast.expr) -> bool:
    return same(node, ast.parse(f"np.zeros({ast.unparse(other)}.shape, {ast.unparse(other)}.dtype)", mode="eval").body)


def _operands(nodes: list[ast.expr]) -> list[ast.expr]:
    """Put 0 for the zeros of the shape and element type of the other operand."""
    if len(nodes) == 2 and isinstance(nodes[0], ast.Name) and _is_zeros_like(nodes[1], nodes[0]):
        return [nodes[0], ast.Constant(0)]
    return nodes


def _of_operator(operator: Any, nodes: list[ast.expr]) -> ast.expr:
    if isinstance(operator, ast.unaryop):
        return ast.UnaryOp(operator, nodes[0])
    if isinstance(operator, ast.cmpop):
        return ast.Compare(nodes[0], [operator], [nodes[1]])
    return ast.BinOp(nodes[0], operator, nodes[1])


def _reduction(ufunc: np.ufunc, nodes: list[ast.expr], keywords: dict[str, ast.expr], likes: list[Any]) -> ast.expr:
    kept = {"axis": ast.Constant(0), **keywords}  # the default of reduce, which is not that of np.sum
    return call(getattr(np, REDUCTIONS[ufunc]), numpy_name(REDUCTIONS[ufunc]), nodes, kept, likes)


def _without_defaults(
    function: Any, nodes: list[ast.expr], keywords: dict[str, ast.expr], ndim: int
) -> tuple[list[ast.expr], dict[str, ast.expr]]:
    """Leave out the arguments of a function of NumPy that say what it does anyway."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:
        return nodes, keywords
    kept = dict(keywords)
    axis = kept.get("axis")
    if isinstance(axis, ast.Tuple) and "axis" in parameters and parameters["axis"].default is None and ndim:
        every = same(axis, ast.Tuple([ast.Constant(i) for i in range(ndim)], ast.Load()))
        kept["axis"] = ast.Constant(None) if every else axis.elts[0] if len(axis.elts) == 1 else axis
    kept = {key: x for key, x in kept.items() if key not in parameters or not _is_default(x, parameters[key].default)}
    positions = list(parameters.values())[: len(nodes)]
    nodes = list(nodes)
    while len(nodes) > 1 and len(positions) == len(nodes) and _is_default(nodes[-1], positions.pop().default):
        nodes.pop()
    return nodes, kept


def _is_default(node: ast.expr, default: Any) -> bool:
    if default is np._NoValue:
        return same(node, ast.Constant(False))
    return same(node, ast.Constant(default))  # a default of -1 is newer than NumPy 2.0, here and there


def _plain(function: ast.expr, nodes: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.expr:
    return ast.Call(function, nodes, [ast.keyword(key, value) for key, value in keywords.items()])


def _transposed(nodes: list[ast.expr], likes: list[Any]) -> ast.expr | None:
    reverse = len(likes) == 2 and np.ndim(likes[0]) > 1 and tuple(likes[1]) == tuple(range(np.ndim(likes[0])))[::-1]
    return ast.Attribute(nodes[0], "T", ast.Load()) if reverse else None


def call(
    function: Any, written: ast.expr, nodes: list[ast.expr], keywords: dict[str, ast.expr], likes: list[Any]
) -> ast.expr:
    """Write the call of a function.

    Parameters
    ----------
    function
        What is called.
    written : ast.expr
        How it is referred to.
    nodes, keywords
        The arguments.
    likes : list
        What the arguments by position were in the recorded run.
    """
    if isinstance(function, np.ufunc):
        nodes = _operands(nodes)
        if function in OPERATORS and not keywords:
            return _of_operator(OPERATORS[function], nodes)
    bound = getattr(function, "__self__", None)
    if isinstance(bound, np.ufunc) and function.__name__ == "reduce" and len(nodes) == 1 and bound in REDUCTIONS:
        return _reduction(bound, nodes, keywords, likes)
    if function is np.dot and all(map(_is_matrix, likes)):
        return ast.BinOp(nodes[0], ast.MatMult(), nodes[1])
    if function is np.transpose and not keywords:
        return _transposed(nodes, likes) or _plain(written, nodes, keywords)
    if function is np.reshape and isinstance(likes[0], np.ndarray):
        function, written, nodes = likes[0].reshape, ast.Attribute(nodes[0], "reshape", ast.Load()), nodes[1:]
    if getattr(function, "__name__", "") == "reshape" and len(nodes) == 1 and isinstance(nodes[0], ast.Tuple):
        return _plain(written, nodes[0].elts or nodes, keywords)
    if str(getattr(function, "__module__", "")).partition(".")[0] == "numpy":
        nodes, keywords = _without_defaults(function, nodes, keywords, getattr(likes[0], "ndim", 0) if likes else 0)
    return _plain(written, nodes, keywords)
