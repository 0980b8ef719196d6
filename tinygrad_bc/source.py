"""What the user wrote: the line, the expression and the names at an instruction of a code object.

An operation notes only where the user's code was, which costs next to nothing. What was written there is read
when somebody asks: for an error, a picture or a formula.
"""

from __future__ import annotations

import ast
import dis
import functools
import itertools
import linecache
from types import CodeType

__all__ = ["assigned_to", "expression", "line_number", "operands"]

STORES = ("STORE_FAST", "STORE_NAME", "STORE_GLOBAL", "STORE_DEREF", "STORE_FAST_LOAD_FAST", "STORE_FAST_MAYBE_NULL")
TWO_STORES = "STORE_FAST_STORE_FAST"
BINARY = {
    "add": ast.Add,
    "subtract": ast.Sub,
    "multiply": ast.Mult,
    "divide": ast.Div,
    "matmul": ast.MatMult,
    "power": ast.Pow,
    "remainder": ast.Mod,
    "floor_divide": ast.FloorDiv,
}


def line_number(code: CodeType, instruction: int) -> int:
    """Return the number of the line at an instruction, given as its offset in bytes."""
    return _position(code, instruction)[0] or code.co_firstlineno


def _position(code: CodeType, instruction: int) -> tuple[int | None, int | None, int | None, int | None]:
    return next(itertools.islice(code.co_positions(), instruction // 2, None))


def expression(code: CodeType, instruction: int) -> tuple[str, ast.expr] | None:
    """Return the expression that an instruction evaluates, as text and parsed; None where it cannot be read."""
    first, last, start, end = _position(code, instruction)
    if first is None or last is None:
        return None
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]  # before the first is cut: they may be the same
    lines[0] = lines[0][start:]
    text = f"({b''.join(lines).decode(errors='replace')})"  # which may go over several lines
    try:
        return text, ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return None


def assigned_to(code: CodeType, instruction: int, part: int = 0) -> str:
    """Return the variable or attribute that the result of an instruction is assigned to at once, or ''.

    Of an instruction that takes a sequence apart, as in ``q, k, v = x``: the variable that gets that part.
    """
    names = _assignments(code).get(instruction, ("",))
    return names[part if len(names) > 1 else 0]


@functools.lru_cache(maxsize=256)
def _assignments(code: CodeType) -> dict[int, tuple[str, ...]]:
    names: dict[int, tuple[str, ...]] = {}
    instructions = [i for i in dis.get_instructions(code) if i.opname not in ("COPY", "NOP", "EXTENDED_ARG", "CACHE")]
    for position, (made, stored, then) in enumerate(
        itertools.zip_longest(instructions, instructions[1:], instructions[2:])
    ):
        if stored is None:
            break
        if made.opname == "UNPACK_SEQUENCE":
            names[made.offset] = _targets(instructions[position + 1 :], made.arg or 0)
            continue
        if stored.opname.startswith("LOAD_") and then is not None and then.opname == "STORE_ATTR":  # self.hidden = ...
            stored = then
        elif stored.opname not in STORES:
            continue
        name = str(_first(stored.argval))
        if not name.isidentifier():  # made up by what compiled it
            continue
        # An operator may be noted at any of the code units that belong to its instruction.
        for offset in range(made.offset, stored.offset, 2):
            names.setdefault(offset, (name,))
    return names


def _targets(stores: list[dis.Instruction], count: int) -> tuple[str, ...]:
    """Return the variables that so many values are stored in, one after the other, '' from where one is not."""
    found: list[str] = []
    for store in itertools.takewhile(lambda store: store.opname in (*STORES, TWO_STORES), stores):
        found += map(str, store.argval if store.opname == TWO_STORES else [_first(store.argval)])
    return (*found[:count], *[""] * (count - len(found)))


def _first(argval: object) -> object:
    return argval[0] if isinstance(argval, tuple) else argval


@functools.lru_cache(maxsize=4096)
def operands(code: CodeType, instruction: int, op: str, count: int) -> list[str]:
    """Return the names of the variables that the operation `op` was applied to, '' for what is not a variable.

    Empty where the expression at the instruction is not that operation on `count` operands.
    """
    found = expression(code, instruction)
    if found is None:
        return []
    match found[1]:
        case ast.BinOp(left, operator, right) if isinstance(operator, BINARY.get(op, ())):
            sides = [left, right]
        case ast.Call(ast.Name(name), arguments) if name == op:
            sides = arguments
        case ast.Call(ast.Attribute(of, name), arguments) if name == op:
            sides = arguments if len(arguments) == count else [of, *arguments]
        case _:
            return []
    return [_variable(side) for side in sides] if len(sides) == count else []


def _variable(side: ast.expr) -> str:
    """Return the name in ``W``, ``W.data``, ``self.W`` or ``parameters["W"]``, or ''."""
    match side:
        case ast.Attribute(of, "data" | "values"):
            return _variable(of)
        case ast.Attribute(_, "T" | "mT"):  # it is not what the variable holds
            return ""
        case ast.Name(name) | ast.Attribute(_, name) | ast.Subscript(_, ast.Constant(str(name))):
            return name
    return ""
