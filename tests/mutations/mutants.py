"""Wrong backward rules, made from the right ones: by wrapping them, and by changing their source."""

from __future__ import annotations

import ast
import copy
import dis
import functools
import linecache
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType
from typing import Any, NamedTuple

import numpy as np

import tinygrad_bc as tg
from tinygrad_bc.primitive import EachInput, Primitive

Rule = Callable[..., Any]


class Reached:
    """A mark in a mutant: called with a value, it returns it and remembers that the wrong code ran."""

    def __init__(self) -> None:
        self.yes = False

    def __call__(self, value: Any) -> Any:
        self.yes = True
        return value


Maker = Callable[[Rule, Reached], Rule]


class Mutant(NamedTuple):
    """One wrong backward rule of an operation.

    Attributes
    ----------
    op
        Whose rule is wrong.
    position
        Of which input; None for a rule that serves all inputs.
    kind
        The sort of mistake, for the statistics.
    change
        What was done, for people to read.
    right
        The right rule.
    make
        From the right rule to the wrong one.
    reached
        Whether the wrong part has run: until then the rule is still the right one.
    from_source
        Whether its source was changed; otherwise it was wrapped.
    in_helper
        Whether the change is in a function that the rule calls, and that others may call too.
    """

    op: Primitive
    position: int | None
    kind: str
    change: str
    right: Rule
    make: Maker
    reached: Reached
    from_source: bool
    in_helper: bool

    def __str__(self) -> str:
        where = "" if self.position is None else f", input {self.position}"
        return f"{self.op.name}{where}: {self.change}"


class Installed:
    """A ``with`` block in which an operation has a wrong rule."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def __enter__(self) -> None:
        op, position = self._mutant.op, self._mutant.position
        rule = self._mutant.make(self._mutant.right, self._mutant.reached)
        self._right = op.vjps
        op.vjps = EachInput(rule) if position is None else (*op.vjps[:position], rule, *op.vjps[position + 1 :])

    def __exit__(self, *exception: object) -> None:
        self._mutant.op.vjps = self._right


def rules(op: Primitive) -> list[tuple[int | None, Rule]]:
    """Return the backward rules of an operation, each with the position of its input."""
    if isinstance(op.vjps, EachInput):
        return [(None, op.vjps.rule)]
    return [(i, rule) for i, rule in enumerate(op.vjps or ()) if rule is not None]


def mutants(op: Primitive) -> Iterator[Mutant]:
    """Iterate over the wrong rules of an operation."""
    for position, rule in rules(op):
        for kind, change, make in wrappers(op, position, rule):
            yield Mutant(op, position, kind, change, rule, make, Reached(), from_source=False, in_helper=False)
        for function in [rule, *_helpers(rule)]:
            for kind, change, make in source_changes(op, function):
                helper = function is not rule
                yield Mutant(op, position, kind, change, rule, make, Reached(), from_source=True, in_helper=helper)


# --- by wrapping ---------------------------------------------------------------------------------
#
# What comes out keeps its shape: a wrong shape is refused by the backward pass, and would prove nothing about the
# tests. Where a mistake cannot be made at some shape, the right result is handed on.


def _size(x: Any) -> int:
    return int(np.prod(x.shape))


def _transposed(c: Any) -> Any:
    if len(c.shape) < 2 or 1 in c.shape[-2:]:
        return None
    return tg.reshape(tg.matrix_transpose(c), c.shape)


def _axes_reversed(c: Any) -> Any:
    if sum(n > 1 for n in c.shape) < 2:
        return None
    return tg.reshape(tg.permute(c, range(len(c.shape))[::-1]), c.shape)


def _rolled(c: Any) -> Any:
    return tg.roll(c, 1) if _size(c) > 1 else None


def _flipped(c: Any) -> Any:
    return tg.flip(c, [len(c.shape) - 1]) if c.shape and c.shape[-1] > 1 else None


def _one_lost(c: Any) -> Any:
    """Return `c` with its last element 0: a gradient that was not accumulated."""
    if not _size(c):
        return None
    mask = np.ones(c.shape, c.dtype)
    mask.flat[-1] = 0
    return c * mask


# From the right cotangent to a wrong one; None where the mistake cannot be made.
OF_THE_RESULT: dict[str, Callable[[Any], Any]] = {
    "sign flipped": lambda c: -c,
    "doubled": lambda c: c * 2.0,
    "halved": lambda c: c * 0.5,
    "one percent too large": lambda c: c * 1.01,
    "divided by the number of elements": lambda c: c / _size(c) if _size(c) > 1 else None,
    "multiplied by the length of the first axis": lambda c: c * c.shape[0] if c.shape and c.shape[0] > 1 else None,
    "zero": lambda c: c * 0.0,
    "last two axes transposed": _transposed,
    "axes reversed": _axes_reversed,
    "shifted by one element": _rolled,
    "last axis flipped": _flipped,
    "last element lost": _one_lost,
    "constant added": lambda c: c + 0.01,
    "not recorded": lambda c: c.detach() if isinstance(c, tg.Tensor) else c,
}

# From the right cotangent of the output to a wrong one.
OF_THE_UPSTREAM: dict[str, Callable[[Any], Any]] = {
    "upstream gradient ignored": lambda g: g * 0.0 + 1.0,
    "upstream gradient averaged": lambda g: g * 0.0 + tg.mean(g) if _size(g) > 1 else None,
    "upstream gradient squared": lambda g: g * g,
    "upstream gradient shifted by one element": _rolled,
    "upstream gradient transposed": _transposed,
}


def _not_summed(average: bool) -> Callable[[Any, Any], Any]:
    """Return the mistake of not summing over broadcast axes, but taking one element, or the mean."""

    def wrong(c: Any, x: Any) -> Any:
        if c.shape == x.shape or not _size(c):
            return None
        leading = len(c.shape) - len(x.shape)
        shape = (1,) * leading + x.shape
        axes = tuple(i for i, n in enumerate(shape) if n == 1 and c.shape[i] > 1)
        if not axes:
            return None
        if average:
            return tg.mean(c, axis=axes, keepdims=True).reshape(x.shape)
        return c[tuple(slice(0, 1) if i in axes else slice(None) for i in range(len(shape)))].reshape(x.shape)

    return wrong


def _parameters_used(rule: FunctionType) -> set[int]:
    """Return the positions of the parameters that a function reads."""
    code = rule.__code__
    read = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_FAST", "LOAD_CLOSURE", "LOAD_DEREF")}
    return {i for i, name in enumerate(code.co_varnames) if name in read}


def wrappers(op: Primitive, position: int | None, rule: FunctionType) -> Iterator[tuple[str, str, Maker]]:
    """Iterate over what may be done to any rule: the kind, a description, and a function from right to wrong."""
    for name, of_result in OF_THE_RESULT.items():
        yield name, name, _on_result(of_result)
    for name, of_upstream in OF_THE_UPSTREAM.items():
        yield name, name, _on_upstream(of_upstream, position)
    if op.broadcasts and position is not None:
        for name, average in (("not summed over the broadcast axes", False), ("averaged over them", True)):
            yield name, name, _on_broadcast(_not_summed(average), position)
    if op.variadic or len(op.arrays) > 1:
        yield "rule of another input", "rule of another input", _of_another_input(op, position)
    first = 3 if position is None else 2  # i, g, y, inputs ...
    names = ["y", "input 0", "input 1"] if op.variadic else ["y", *op.arrays]
    used = _parameters_used(rule)
    for i, right in enumerate(names):
        for j, wrong in enumerate(names):
            if i != j and (first - 1 + i in used or op.variadic):
                what = f"values of {wrong} in the place of {right}"
                yield "values of another operand", what, _operand_replaced(first - 1 + i, first - 1 + j)
    for name in op.metadata:
        names_of_parameters = rule.__code__.co_varnames
        if name not in names_of_parameters or names_of_parameters.index(name) in used:
            yield "another parameter", f"another {name}", _parameter_changed(name)


def _instead(right: Any, wrong: Any, reached: Reached) -> Any:
    return right if wrong is None else reached(wrong)


def _on_result(wrong: Callable[[Any], Any]) -> Maker:
    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            c = rule(*args, **params)
            return _instead(c, wrong(c), reached)

        return mutant

    return make


def _on_upstream(wrong: Callable[[Any], Any], position: int | None) -> Maker:
    place = 1 if position is None else 0

    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            g = _instead(args[place], wrong(args[place]), reached)
            return rule(*args[:place], g, *args[place + 1 :], **params)

        return mutant

    return make


def _on_broadcast(wrong: Callable[[Any, Any], Any], position: int) -> Maker:
    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            c = rule(*args, **params)
            return _instead(c, wrong(c, args[2 + position]), reached)

        return mutant

    return make


def _of_another_input(op: Primitive, position: int | None) -> Maker:
    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            c = rule(*args, **params)
            if position is None:
                others = [rule] if len(args) > 4 else []
                args = ((args[0] + 1) % (len(args) - 3), *args[1:])
            else:
                others = [r for i, r in rules(op) if i != position and 2 + i < len(args)]  # those not given have none
            for other in others:
                with_other = other(*args, **params)
                if with_other.shape == c.shape:
                    return reached(with_other)
            return c

        return mutant

    return make


def _operand_replaced(i: int, j: int) -> Maker:
    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            # A plain number has no shape, and an array of integers is an index: neither can be mixed up unnoticed.
            kinds = [
                (x.shape, x.dtype.kind) if isinstance(x, tg.Tensor | np.ndarray | np.generic) else None for x in args
            ]
            if max(i, j) < len(args) and kinds[i] is not None and kinds[i] == kinds[j]:
                args = (*args[:i], reached(args[j]), *args[i + 1 :])
            return rule(*args, **params)

        return mutant

    return make


def _parameter_changed(name: str) -> Maker:
    def make(rule: Rule, reached: Reached) -> Rule:
        def mutant(*args: Any, **params: Any) -> Any:
            c = rule(*args, **params)
            for value in other_values(params[name]):
                try:
                    wrong = rule(*args, **{**params, name: value})
                except Exception:
                    continue
                if wrong.shape == c.shape:
                    return reached(wrong)
            return c

        return mutant

    return make


def other_values(value: Any) -> list[Any]:
    """Return values that somebody might have mistaken for a parameter's."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value - 1, value + 1]
    if isinstance(value, float):
        return [value * 1.5 + 0.1]
    if isinstance(value, tuple) and len(value) > 1:
        return [value[::-1], value[1:] + value[:1]]
    if isinstance(value, tuple) and value and isinstance(value[0], int):
        return [(value[0] - 1,), (value[0] + 1,)]
    return [0] if value is None else []


# --- by changing the source ----------------------------------------------------------------------


def source_changes(op: Primitive, function: FunctionType) -> Iterator[tuple[str, str, Maker]]:
    """Iterate over what may be changed in the source of a rule, or of a helper that it calls, as in `wrappers`.

    Functions of `tinygrad_bc.ops` that are not operations themselves are helpers. The change is seen by this rule
    alone: forward computations and other rules keep the right function.
    """
    tree = _syntax(function)
    file = f"{function.__module__.rpartition('.')[2]}.py"
    for k, site in enumerate(_sites(tree)):
        for kind, new in _variants(site, _array_names(tree, op)):
            if ast.dump(new) != ast.dump(site.node):
                change = f"line {site.node.lineno}: {ast.unparse(site.node)} → {ast.unparse(new)}"
                yield kind, f"{file}, {change}   in   {_context(tree, site)}", _with_source(function, tree, k, new)


def _with_source(function: FunctionType, tree: Function, k: int, new: ast.expr) -> Maker:
    """Return the mistake of having `new` at the k-th place of a function's syntax tree."""

    def make(rule: Rule, reached: Reached) -> Rule:
        wrong = copy.deepcopy(tree)
        place = list(_sites(wrong))[k]
        marked = ast.Call(ast.Name("__reached__", ast.Load()), [copy.deepcopy(new)], [])
        place.replace(ast.copy_location(marked, place.node))
        replacement = _compiled(ast.fix_missing_locations(wrong), function, {"__reached__": reached})
        return _with_replaced(rule, function, replacement)

    return make


# What reads and checks arguments: it refuses, and a rule only gets what has passed.
NOT_OF_RULES = "tinygrad_bc.ops._arguments"


def _is_helper(thing: Any) -> bool:
    return (
        isinstance(thing, FunctionType)
        and thing.__module__.startswith("tinygrad_bc.ops")
        and thing.__module__ != NOT_OF_RULES
    )


def _used_names(code: CodeType) -> set[str]:
    nested = [c for c in code.co_consts if isinstance(c, CodeType)]
    return set(code.co_names).union(*map(_used_names, nested))


def _called(function: FunctionType) -> dict[str, FunctionType]:
    """Return the helpers that a function refers to, by name."""
    found = {name: function.__globals__.get(name) for name in sorted(_used_names(function.__code__))}
    return {name: thing for name, thing in found.items() if _is_helper(thing)}


def _helpers(rule: FunctionType) -> list[FunctionType]:
    """Return the helpers that a rule calls, directly and by way of others."""
    found = [rule]
    for function in found:  # which grows on the way
        found += [f for f in _called(function).values() if f not in found]
    return found[1:]


def _with_replaced(rule: FunctionType, target: FunctionType, replacement: FunctionType) -> FunctionType:
    """Return a copy of `rule` that sees `replacement` wherever `target` was."""
    copies: dict[FunctionType, FunctionType] = {target: replacement}
    for function in [rule, *_helpers(rule)]:
        if function not in copies:
            copies[function] = FunctionType(
                function.__code__,
                dict(function.__globals__),
                function.__name__,
                function.__defaults__,
                function.__closure__,
            )
            copies[function].__kwdefaults__ = function.__kwdefaults__
    for function, copied in copies.items():
        copied.__globals__.update({name: copies[f] for name, f in _called(function).items()})
    return copies[rule]


Function = ast.FunctionDef | ast.Lambda


def _syntax(function: FunctionType) -> Function:
    """Return the syntax tree of a function or lambda, found in its file by its position."""
    code = function.__code__
    tree, codes = _file(code.co_filename)
    if code not in codes:
        raise LookupError(f"{code.co_filename} has changed since {function.__name__} was imported from it")
    places = [(line, column) for line, _, column, end in code.co_positions() if end]  # the prologue has no columns
    around = [
        node
        for node in ast.walk(tree)
        if isinstance(node, Function)
        and getattr(node, "name", "<lambda>") == code.co_name
        and all((node.lineno, node.col_offset) <= place < (node.end_lineno, node.end_col_offset) for place in places)
    ]
    return max(around, key=lambda node: (node.lineno, node.col_offset))  # the innermost


@functools.cache
def _file(name: str) -> tuple[ast.Module, set[CodeType]]:
    """Return the syntax tree of a file, and all code in it."""
    source = "".join(linecache.getlines(name))
    codes = [compile(source, name, "exec", dont_inherit=True)]
    for code in codes:  # which grows on the way
        codes += [c for c in code.co_consts if isinstance(c, CodeType)]
    return ast.parse(source), set(codes)


def _compiled(node: Function, like: FunctionType, extra: dict[str, Any]) -> FunctionType:
    """Return the function that a syntax tree defines, in the surroundings of another one."""
    free = like.__code__.co_freevars
    if isinstance(node, ast.Lambda):
        statement: ast.stmt = ast.Return(node)
    else:
        node = copy.deepcopy(node)
        node.decorator_list = []
        statement = node
    body = [statement] if isinstance(node, ast.Lambda) else [statement, ast.Return(ast.Name(node.name, ast.Load()))]
    outer = ast.FunctionDef(
        name="__outer__",
        args=ast.arguments(
            posonlyargs=[], args=[ast.arg(name) for name in free], kwonlyargs=[], kw_defaults=[], defaults=[]
        ),
        body=body,
        decorator_list=[],
    )
    module = ast.fix_missing_locations(ast.Module([outer], []))
    namespace = {**like.__globals__, **extra}
    exec(compile(module, like.__code__.co_filename, "exec", flags=_ANNOTATIONS, dont_inherit=True), namespace)
    return namespace["__outer__"](*(cell.cell_contents for cell in like.__closure__ or ()))


_ANNOTATIONS = __import__("__future__").annotations.compiler_flag


def _array_names(tree: Function, op: Primitive) -> list[str]:
    """Return the parameters of a rule that are arrays, apart from the cotangent."""
    names = [p.arg for p in tree.args.args]
    return [name for name in names if name not in (*op.metadata, "axis", "i", "g", "h")]


class Site(NamedTuple):
    """An expression, and where it hangs in the tree."""

    node: ast.expr
    parent: ast.AST
    field: str
    index: int | None

    def replace(self, new: ast.expr) -> None:
        if self.index is None:
            setattr(self.parent, self.field, new)
        else:
            getattr(self.parent, self.field)[self.index] = new


def _sites(node: ast.AST) -> Iterator[Site]:
    """Iterate over the expressions in a function's body; error messages and annotations are left out."""
    for field, value in ast.iter_fields(node):
        if field in ("args", "returns", "annotation", "decorator_list") and isinstance(node, Function | ast.AnnAssign):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr):
                continue
            if isinstance(child, ast.expr) and not isinstance(getattr(child, "ctx", None), ast.Store):
                yield Site(child, node, field, index)
            yield from _sites(child)


def _context(tree: Function, site: Site) -> str:
    """Return the line that a place stands in, shortened."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.Return | ast.AugAssign) and any(n is site.node for n in ast.walk(node)):
            return ast.unparse(node)[:110]
    return ast.unparse(tree)[:110] if isinstance(tree, ast.Lambda) else "a condition"


OPPOSITE: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub],
    ast.Sub: [ast.Add],
    ast.Mult: [ast.Div],
    ast.Div: [ast.Mult],
    ast.Pow: [ast.Mult],
    ast.FloorDiv: [ast.Mult],
    ast.BitAnd: [ast.BitOr],
    ast.BitOr: [ast.BitAnd],
    ast.And: [ast.Or],
    ast.Or: [ast.And],
    ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.Lt],
    ast.Lt: [ast.LtE, ast.Gt],
    ast.LtE: [ast.Lt, ast.Gt],
    ast.Eq: [ast.NotEq],
    ast.NotEq: [ast.Eq],
    ast.In: [ast.NotIn],
    ast.NotIn: [ast.In],
    ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is],
}

KEYWORDS_OF_AXES = ("axis", "dim", "dims", "axes", "axis1", "axis2", "dim1", "dim2", "offset", "keepdims", "reverse")


def _variants(site: Site, names: list[str]) -> Iterator[tuple[str, ast.expr]]:
    """Iterate over what may be written in the place of an expression: the kind of mistake, and the text."""
    node = site.node
    match node:
        case ast.BinOp(left, operator, right):
            for other in OPPOSITE.get(type(operator), []):
                yield "operator", ast.BinOp(left, other(), right)
            yield "operand dropped", left
            if isinstance(operator, ast.Mult | ast.Add | ast.BitAnd | ast.BitOr):
                yield "operand dropped", right
        case ast.UnaryOp(ast.USub() | ast.Invert() | ast.Not(), operand):
            yield "sign or negation dropped", operand
        case ast.Compare(left, operators, others):
            for i, operator in enumerate(operators):  # more than one: a == b == 2
                for other in OPPOSITE[type(operator)]:
                    yield "comparison", ast.Compare(left, [*operators[:i], other(), *operators[i + 1 :]], others)
        case ast.BoolOp(operator, values):
            yield "condition", ast.BoolOp(OPPOSITE[type(operator)][0](), values)
            yield from (("condition", value) for value in values)
        case ast.IfExp(test, body, orelse):
            yield "branches swapped", ast.IfExp(test, orelse, body)
            yield from (("branch always taken", branch) for branch in (body, orelse))
        case ast.Constant(bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(int(value) | float(value)):
            yield "constant", ast.Constant(value + 1)
            if value not in (0, 1) and isinstance(value, float):
                yield "constant", ast.Constant(value * 1.01)
        case ast.Name(name, ast.Load()) if name in names:
            yield from (("other operand", ast.Name(other, ast.Load())) for other in names if other != name)
        case ast.Attribute(value, "T" | "mT", ast.Load()):
            yield "transpose dropped", value
        case ast.Call(function, args):
            yield from _variants_of_call(node, function, args)
    if isinstance(site.parent, ast.If | ast.While) and site.field == "test" and not isinstance(node, ast.BoolOp):
        yield "branches swapped", ast.UnaryOp(ast.Not(), node)
    names_axis = isinstance(site.parent, ast.keyword) and site.parent.arg in KEYWORDS_OF_AXES
    if names_axis and not isinstance(node, ast.Constant):
        yield "axis", ast.Constant(0)
        yield "axis", ast.Constant(-1)


def _variants_of_call(node: ast.Call, function: ast.expr, args: list[ast.expr]) -> Iterator[tuple[str, ast.expr]]:
    if isinstance(function, ast.Name) and function.id in ("where", "_where") and len(args) == 3:
        yield "branches swapped", ast.Call(function, [args[0], args[2], args[1]], node.keywords)
        yield from (("branch always taken", branch) for branch in args[1:])
    elif args and not isinstance(args[0], ast.Starred | ast.GeneratorExp):
        yield "call dropped", args[0]
        if len(args) == 2 and not isinstance(args[1], ast.Starred):
            yield "arguments swapped", ast.Call(function, [args[1], args[0]], node.keywords)
    for keyword in node.keywords:
        if keyword.arg is not None:
            others = [k for k in node.keywords if k is not keyword]
            yield "argument left out", ast.Call(function, args, others)
