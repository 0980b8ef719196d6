"""The layout of generated source: what the formatters `ruff format` and `black` would leave as it is."""

from __future__ import annotations

import ast
import json
from typing import Any

__all__ = ["WIDTH", "definition", "expression", "lines"]

WIDTH = 120
INDENT = "    "


class _Style(ast.NodeTransformer):
    """Puts text in the place of what `ast.unparse` spaces and quotes in another way."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        return ast.Name(json.dumps(node.value, ensure_ascii=False)) if isinstance(node.value, str) else node

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            node.value = ast.Name("\n".join(quoted(node.value.value, "")))
            return node
        return self.generic_visit(node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        text = ast.unparse(node)
        if text.startswith("f'") and not text.startswith("f'''") and '"' not in text:
            text = f'f"{text[2:-1]}"'
        return ast.Name(text)

    def visit_If(self, node: ast.If) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node.test, ast.NamedExpr):
            node.test = ast.Name(ast.unparse(node.test)[1:-1])
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        hugs = isinstance(node.op, ast.Pow) and _simple(node.left) and _simple(node.right, signed=True)
        self.generic_visit(node)
        return ast.Name(f"{ast.unparse(node.left)}**{ast.unparse(node.right)}") if hugs else node

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        power = isinstance(node.operand, ast.BinOp) and isinstance(node.operand.op, ast.Pow)
        self.generic_visit(node)
        if power:
            node.operand = ast.Name(f"({ast.unparse(node.operand)})")
        return node

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("value", "left", "func"):
            part = getattr(node, field, None)
            tight = isinstance(node, ast.Attribute | ast.Subscript | ast.Call) and field != "left"
            if (
                isinstance(part, ast.Name)
                and "**" in part.id
                and (tight or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)))
            ):
                setattr(node, field, ast.Name(f"({part.id})"))
        return node

    def visit_Slice(self, node: ast.Slice) -> ast.AST:
        bounds = [part for part in (node.lower, node.upper, node.step) if part is not None]
        self.generic_visit(node)
        if all(isinstance(part, ast.Name | ast.Constant | ast.UnaryOp) for part in bounds):
            return node
        texts = ["" if part is None else ast.unparse(part) for part in (node.lower, node.upper)]
        text = f"{texts[0]} : {texts[1]}" + (f" : {ast.unparse(node.step)}" if node.step else "")
        return ast.Name(text.strip())


def _simple(node: ast.expr, signed: bool = False) -> bool:
    """Return whether ``**`` stands without spaces beside it."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return signed and _simple(node.operand)
    if isinstance(node, ast.Attribute):
        return _simple(node.value)
    return isinstance(node, ast.Name) or (isinstance(node, ast.Constant) and type(node.value) in (int, float))


def styled(node: Any) -> str:
    """Return a node as text, on one line if it is an expression or a simple statement."""
    copy = ast.parse(ast.unparse(ast.fix_missing_locations(node)))
    return ast.unparse(_Style().visit(copy))


def expression(node: ast.expr) -> str:
    """Return an expression as text, on one line."""
    return styled(ast.Expr(node))


def lines(statement: ast.stmt, indent: str, comment: str = "") -> list[str]:
    """Return the lines of a statement, none of them longer than `WIDTH` where that can be helped."""
    text = styled(statement)
    found = [indent + line for line in text.split("\n")]
    if isinstance(statement, ast.Assign | ast.Return | ast.Expr | ast.AugAssign | ast.Raise):
        if len(found[0]) + len(comment) > WIDTH:
            found = _broken(statement, indent)
        found[-1] += comment
        return found
    if max(map(len, found)) <= WIDTH and not any(
        isinstance(s, ast.FunctionDef | ast.ClassDef) for s in ast.walk(statement)
    ):
        return found
    return _compound(statement, indent)


def _compound(statement: Any, indent: str) -> list[str]:
    """Return the lines of a statement that holds others."""
    text = styled(statement).split("\n")
    if isinstance(statement, ast.Try) or (getattr(statement, "orelse", None) and not isinstance(statement, ast.If)):
        return [indent + line for line in text]
    first = text.index(next(line for line in text if not line.startswith("@")))
    found = [indent + line for line in text[: first + 1]]
    if isinstance(statement, ast.ClassDef) and ast.get_docstring(statement) and len(statement.body) > 1:
        found += [*lines(statement.body[0], indent + INDENT), "", *_inside(statement.body[1:], indent + INDENT)]
    else:
        found += _inside(statement.body, indent + INDENT)
    if isinstance(statement, ast.If) and statement.orelse:
        other = statement.orelse[0]
        if len(statement.orelse) == 1 and isinstance(other, ast.If):
            below = _compound(other, indent)
            return [*found, f"{indent}el{below[0].removeprefix(indent)}", *below[1:]]
        found += [f"{indent}else:", *_inside(statement.orelse, indent + INDENT)]
    return found


def _inside(statements: list[ast.stmt], indent: str) -> list[str]:
    """Return the lines of a block, with empty ones around the functions that are defined in it."""
    found: list[str] = []
    for before, statement in zip([None, *statements], statements):
        if before is not None and any(isinstance(s, ast.FunctionDef | ast.ClassDef) for s in (before, statement)):
            found.append("")
        found += lines(statement, indent)
    return found


def _broken(statement: Any, indent: str) -> list[str]:
    """Break a statement inside the brackets of the call, the list or the tuple that it assigns or returns."""
    value: Any = statement.exc if isinstance(statement, ast.Raise) else statement.value
    text = indent + styled(statement)
    head = text[: len(text) - len(expression(value))]
    if isinstance(statement, ast.Return):
        head = f"{indent}return "  # a tuple that is returned has no brackets yet
    return _wrapped(value, head, "", indent)


def _wrapped(node: Any, head: str, tail: str, indent: str) -> list[str]:
    """Return ``head + node + tail`` as lines, with the arguments or elements of `node` on lines of their own."""
    if isinstance(node, ast.Call):
        parts: list[tuple[str, ast.expr]] = [("", part) for part in node.args]
        parts += [(f"{k.arg}=", k.value) for k in node.keywords]
        opening, closing = f"{expression(node.func)}(", ")"
        joined = ", ".join(prefix + expression(part) for prefix, part in parts)
        if len(indent + INDENT + joined) <= WIDTH:
            return [head + opening, indent + INDENT + joined, indent + closing + tail]
    elif isinstance(node, ast.List | ast.Tuple):
        parts = [("", part) for part in node.elts]
        opening, closing = ("[", "]") if isinstance(node, ast.List) else ("(", ")")
    else:
        return [head + "(", f"{indent}{INDENT}{expression(node)}", f"{indent}){tail}"]
    found = [head + opening]
    for prefix, part in parts:
        line = f"{indent}{INDENT}{prefix}{expression(part)},"
        fits = len(line) <= WIDTH or not isinstance(part, ast.Call | ast.List | ast.Tuple)
        found += [line] if fits else _wrapped(part, f"{indent}{INDENT}{prefix}", ",", indent + INDENT)
    return [*found, indent + closing + tail]


def return_lines(statement: ast.Return) -> list[str]:
    """Return the lines of the end of a function; several results stand without parentheses if there is room."""
    value = statement.value
    if isinstance(value, ast.Tuple):
        line = f"{INDENT}return {', '.join(map(expression, value.elts))}"
        if len(line) <= WIDTH:
            return [line]
    return lines(statement, INDENT)


def definition(title: str, parameters: list[str], docstring: str) -> list[str]:
    """Return the first lines of a function."""
    head = f"def {title}({', '.join(parameters)}):"
    found = [head]
    if len(head) > WIDTH:
        joined = INDENT + ", ".join(parameters)
        inside = [joined] if len(joined) <= WIDTH else [f"{INDENT}{p}," for p in parameters]
        found = [f"def {title}(", *inside, "):"]
    return [*found, *quoted(docstring, INDENT)]


def quoted(docstring: str, indent: str) -> list[str]:
    """Return a docstring in its quotes, as lines."""
    if not docstring:
        return []
    text = docstring.replace("\\", "\\\\").replace('"""', "'''").rstrip().split("\n")
    text = [text[0], *(indent + line if line.strip() else "" for line in text[1:])]
    text[0] = f'{indent}"""{text[0]}'
    if len(text) > 1:
        return [*text, f'{indent}"""']
    return [f'{text[0]}"""']
