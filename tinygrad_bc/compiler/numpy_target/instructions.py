"""What the operations of a graph become in NumPy code that allocates nothing: views, and calls that are told where to.

How an operation is written follows from its declaration, by way of `Writer.template`. Where that is one call of a
ufunc, the result is written into a given array; a few operations that are no ufuncs have rules here.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.compiler.numpy_source.rewrite import OPERATORS, REDUCTIONS, Code, name
from tinygrad_bc.compiler.numpy_source.statements import recipe
from tinygrad_bc.compiler.numpy_source.writer import Template, Writer
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Graph, Node, Value

__all__ = ["OUT", "Instruction", "Kind", "filled", "instruction", "parse", "run"]

OUT = "out"
"""The name that stands, in the code of an instruction, for the array that it writes to."""


class Kind(Enum):
    """What running an instruction does."""

    VIEW = "nothing: its result is a view of its first input"
    CALL = "writes into an array that was there before"
    ASSIGNMENT = "makes a new array, or a number"


class Instruction(NamedTuple):
    """How a value is computed.

    Attributes
    ----------
    value : Value
    inputs : tuple
        Values, and numbers.
    code : ast.expr
        With the names ``x0``, ``x1`` … in the places of the inputs, and `OUT`.
    kind : Kind
    elementwise : bool
        Whether it may write over one of its inputs.
    """

    value: Value
    inputs: tuple[Any, ...]
    code: ast.expr
    kind: Kind
    elementwise: bool = False

    @property
    def values(self) -> list[Value]:
        """The inputs that are values."""
        return [x for x in self.inputs if isinstance(x, Value)]


VIEWS = frozenset(["reshape", "matrix_transpose", "permute", "getitem", "flip"])
"""Operations whose forward computation returns a view, where NumPy can."""

UFUNCS = {type(operator): ufunc for ufunc, operator in OPERATORS.items()}
REDUCING = {title: ufunc for ufunc, title in REDUCTIONS.items()}
POWERS = {2: "square", 0.5: "sqrt", -1: "reciprocal"}
"""What ``**`` calls for these exponents."""

INTEGERS = {"float16": "int16", "float32": "int32", "float64": "int64"}
"""The integers that have as many bits."""


def instruction(graph: Graph, value: Value, writer: Writer, plain: bool = True) -> Instruction:
    """Return how the operation that made `value` is run.

    Parameters
    ----------
    graph : Graph
    value : Value
    writer : Writer
    plain : bool
        Whether to call the functions of NumPy that the operation calls itself, and no faster ones.
    """
    node = recipe(graph, value)
    if node.op.name == "matmul" and not plain and all(x._data.ndim < 3 for x in node.values):
        return _dot(value, node)
    if node.op.name in RULES and value.shape and (made := RULES[node.op.name](value, node)) is not None:
        return made
    template = writer.template(
        node.op, [Code(name("_"), like(x)) if isinstance(x, Value) else x for x in node.inputs], node.params
    )
    code = _numbered(template)
    if node.op.name in VIEWS and _is_view(code, node):
        return Instruction(value, node.inputs, code, Kind.VIEW)
    if (call := _call(code, node, value)) is not None:
        return call
    return Instruction(value, node.inputs, code, Kind.ASSIGNMENT)


def like(x: Any) -> Any:
    """Return an array of the shape and element type of a value, in which nothing needs to stand."""
    return x._array if isinstance(x, Value) else x


def parse(text: str) -> ast.expr:
    """Return the expression of this text."""
    return ast.parse(text, mode="eval").body


def _numbered(template: Template) -> ast.expr:
    """Return a template's expression with ``x0``, ``x1`` … for its parameters."""
    return filled(template.expression, {title: name(f"x{i}") for i, title in enumerate(template.parameters)})


class _Fill(ast.NodeTransformer):
    def __init__(self, operands: Mapping[str, ast.expr]) -> None:
        self.operands = operands

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self.operands.get(node.id, node)


def filled(code: ast.expr, operands: Mapping[str, ast.expr]) -> ast.expr:
    """Return code with expressions for the names of its inputs."""
    made: ast.expr = _Fill(operands).visit(ast.parse(ast.unparse(code), mode="eval").body)
    return made


def run(code: ast.expr, **arrays: Any) -> Any:
    """Return what an expression of NumPy's functions is for these arrays."""
    return eval(compile(ast.fix_missing_locations(ast.Expression(code)), "<view>", "eval"), {"np": np, **arrays})


def _is_view(code: ast.expr, node: Node) -> bool:
    """Return whether an expression is a view of its input: whole, and not of one element."""
    base, *others = node.inputs
    if others or any(isinstance(part, ast.Name) and part.id not in ("x0", "np") for part in ast.walk(code)):
        return False
    empty = np.empty(base.shape, base.dtype)
    found = run(code, x0=empty)
    return isinstance(found, np.ndarray) and (np.may_share_memory(found, empty) or not found.size)


# --- calls with out= -----------------------------------------------------------------------------


def _call(code: ast.expr, node: Node, value: Value) -> Instruction | None:
    """Return a code that is one call of a ufunc, or one of its reductions, as a call that writes to `OUT`."""
    found = _ufunc(code)
    if found is None:
        return _reduction(code, node, value)
    if not value.shape:
        return None
    ufunc, operands = found
    inputs = [_operand(x, node) for x in operands]
    if any(x is None for x in inputs) or not _makes(ufunc, inputs, value):
        return None
    return elementwise(value, ufunc.__name__, inputs)


def elementwise(value: Value, title: str, inputs: Sequence[Any]) -> Instruction:
    """Return the call of a ufunc."""
    if any(x.dtype.kind == "f" for x in (value, *inputs) if isinstance(x, Value)):
        inputs = [float(x) if type(x) is int else x for x in inputs]  # NumPy need not convert it each time
    operands = ", ".join(f"x{i}" for i in range(len(inputs)))
    return Instruction(value, tuple(inputs), parse(f"np.{title}({operands}, out={OUT})"), Kind.CALL, elementwise=True)


def _ufunc(code: ast.expr) -> tuple[np.ufunc, list[ast.expr]] | None:
    if isinstance(code, ast.BinOp) and isinstance(code.op, ast.Pow):
        return _power(code)
    if isinstance(code, ast.BinOp):
        return UFUNCS[type(code.op)], [code.left, code.right]
    if isinstance(code, ast.UnaryOp) and type(code.op) in UFUNCS:
        return UFUNCS[type(code.op)], [code.operand]
    if isinstance(code, ast.Compare):
        return UFUNCS[type(code.ops[0])], [code.left, code.comparators[0]]
    if isinstance(code, ast.Call) and not code.keywords and isinstance(code.func, ast.Attribute):
        function = getattr(np, code.func.attr, None) if ast.unparse(code.func.value) == "np" else None
        return (function, code.args) if isinstance(function, np.ufunc) and function.nout == 1 else None
    return None


def _power(code: ast.BinOp) -> tuple[np.ufunc, list[ast.expr]]:
    exponent = ast.literal_eval(code.right) if not isinstance(code.right, ast.Name | ast.Attribute) else None
    if exponent in POWERS:
        return getattr(np, POWERS[exponent]), [code.left]
    return np.power, [code.left, code.right]


def _operand(code: ast.expr, node: Node) -> Any:
    """Return an input of a node, or a number, that an expression is; None for other expressions."""
    if isinstance(code, ast.Name):
        return node.inputs[int(code.id[1:])] if code.id[1:].isdigit() else None
    try:
        number = ast.literal_eval(code)
    except ValueError:
        return None
    return number if type(number) in (int, float) else None


def _makes(ufunc: np.ufunc, inputs: Sequence[Any], value: Value) -> bool:
    """Return whether a ufunc makes just this shape and element type, element by element."""
    if ufunc.signature is not None:  # `@`
        return False
    kinds = [x.dtype if isinstance(x, Value) else type(x) for x in inputs]
    shapes = [x.shape for x in inputs if isinstance(x, Value)]
    try:
        made = ufunc.resolve_dtypes((*kinds, None))[-1]
    except TypeError:
        return False
    return made == value.dtype and np.broadcast_shapes(*shapes) == value.shape


def _reduction(code: ast.expr, node: Node, value: Value) -> Instruction | None:
    if not (isinstance(code, ast.Call) and isinstance(code.func, ast.Attribute) and len(code.args) == 1):
        return None
    ufunc = REDUCING.get(code.func.attr) if ast.unparse(code.func.value) == "np" else None
    x = _operand(code.args[0], node)
    if ufunc is None or not isinstance(x, Value) or x.dtype != value.dtype:
        return None
    keywords = {k.arg: ast.unparse(k.value) for k in code.keywords}
    keywords.setdefault("axis", "None")  # which is 0 for a ufunc
    written = ", ".join(f"{key}={text}" for key, text in keywords.items())
    if not value.shape:
        return Instruction(value, (x,), parse(f"np.{ufunc.__name__}.reduce(x0, {written})"), Kind.ASSIGNMENT)
    call = parse(f"np.{ufunc.__name__}.reduce(x0, {written}, out={OUT})")
    return Instruction(value, (x,), call, Kind.CALL)


# --- operations that are no ufuncs ---------------------------------------------------------------


def _product(value: Value, node: Node) -> Instruction:
    """Return a product as the operation makes it."""
    return _multiplied(value, node, "dot" if all(x._data.ndim == 2 for x in node.values) else "matmul")


def _dot(value: Value, node: Node) -> Instruction:
    """Return a product of matrices and vectors by `numpy.dot`, which takes less time to get to it."""
    return _multiplied(value, node, "dot")


def _multiplied(value: Value, node: Node, function: str) -> Instruction:
    if value.shape and all(x.dtype == value.dtype for x in node.values):
        return Instruction(value, node.inputs, parse(f"np.{function}(x0, x1, out={OUT})"), Kind.CALL)
    return Instruction(value, node.inputs, parse(f"np.{function}(x0, x1)"), Kind.ASSIGNMENT)


def _choice(value: Value, node: Node) -> Instruction | None:
    """Return ``where(condition, a, 0)`` as a product of the bits of `a` with 1 or 0.

    As fast as a product of floating-point numbers, and right for infinities and NaN.
    """
    condition, a, b = node.inputs
    if isinstance(b, Value) or b != 0 or np.signbit(b) or not isinstance(a, Value) or a.dtype != value.dtype:
        return None
    if value.dtype.name not in INTEGERS or condition.dtype != bool:
        return None
    bits = f"view(np.{INTEGERS[value.dtype.name]})"
    call = parse(f"np.multiply(x0.{bits}, x1, out={OUT}.{bits})")
    return Instruction(value, (a, condition), call, Kind.CALL, elementwise=True)


def _copy(value: Value, node: Node) -> Instruction | None:
    casting = "" if np.can_cast(node.inputs[0].dtype, value.dtype, "same_kind") else ', casting="unsafe"'
    return Instruction(value, node.inputs, parse(f"np.copyto({OUT}, x0{casting})"), Kind.CALL)


def _joined(value: Value, node: Node) -> Instruction | None:
    if any(x.dtype != value.dtype for x in node.inputs):
        return None
    parts = ", ".join(f"x{i}" for i in range(len(node.inputs)))
    comma = "," if len(node.inputs) == 1 else ""
    code = parse(f"np.{node.op.name}(({parts}{comma}), axis={node.params['axis']}, out={OUT})")
    return Instruction(value, node.inputs, code, Kind.CALL)


def _limited(value: Value, node: Node) -> Instruction | None:
    """Return the larger or smaller of an array and a number with an array of that number, which is thrice as fast."""
    a, b = node.inputs
    number = b if isinstance(a, Value) else a
    return None if isinstance(number, Value) else with_filled(value, node.op.name, a, b)


def _relu(value: Value, node: Node) -> Instruction | None:
    return with_filled(value, "maximum", node.inputs[0], 0)


def with_filled(value: Value, title: str, a: Any, b: Any) -> Instruction:
    """Return the call of a ufunc with an array of the shape of the result for each number."""
    inputs = [x if isinstance(x, Value) else constant(np.full(value.shape, x, value.dtype)) for x in (a, b)]
    return elementwise(value, title, inputs)


RULES: dict[str, Callable[[Value, Node], Instruction | None]] = {
    "matmul": _product,
    "where": _choice,
    "cast": _copy,
    "truncate": _copy,
    "broadcast_to": _copy,
    "concatenate": _joined,
    "stack": _joined,
    "maximum": _limited,
    "minimum": _limited,
    "relu": _relu,
}
