"""The text of a module that runs a program: buffers that are allocated once, and a line for each operation."""

from __future__ import annotations

import ast
import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.compiler.numpy_source import layout
from tinygrad_bc.compiler.numpy_source.rewrite import name
from tinygrad_bc.compiler.numpy_source.specialise import literal
from tinygrad_bc.compiler.numpy_source.writer import Writer
from tinygrad_bc.compiler.numpy_target.buffers import Plan, parts
from tinygrad_bc.compiler.numpy_target.definitions import VIEWS, Definitions, Number, assignment
from tinygrad_bc.compiler.numpy_target.instructions import OUT, Instruction, Kind, filled, parse
from tinygrad_bc.compiler.numpy_target.storage import Place
from tinygrad_bc.compiler.passes.simplify import filled_with
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.record import Value

__all__ = ["ModuleText"]

EMPTY = '''\
def empty(shape, dtype=np.float64):
    """Return an array whose memory begins at a multiple of 64 bytes, where vector instructions are fastest."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(count + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count].view(dtype).reshape(shape)
'''

LONGEST_INLINE = 60
"""How long the expression of a number or a view may be that stands inside another one."""

MOST_VIEWS = 8
"""How many views of views have no names."""


GLUE = "\u00a0"
"""A space at which no line is broken."""


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _example(code: str, comment: str = "") -> list[str]:
    return layout.lines(ast.parse(code).body[0], layout.INDENT, comment)


def _as_array(x: Any, instruction: Instruction) -> Any:
    """Return a number that arrays are combined with as one that is to be an array."""
    dtype = next(y.dtype for y in instruction.values)
    return Number(x, dtype) if type(x) is float and dtype.kind == "f" and np.isfinite(x) and repr(x) != "-0.0" else x


class ModuleText:
    """Writes the module.

    Parameters
    ----------
    program : Program
    plan : Plan
    writer : Writer
        That wrote the instructions' code, and has the helpers that they call.
    quiet : mapping of str to str
        The arguments of `numpy.errstate` under which the steps are to run.

    Attributes
    ----------
    source : str
    arrays : Definitions
    """

    def __init__(self, program: Program, plan: Plan, writer: Writer, quiet: Mapping[str, str]) -> None:
        self.program, self.graph, self.plan, self.writer, self.quiet = program, program.graph, plan, writer, quiet
        self.arrays = Definitions(program, plan, writer)
        self.results = frozenset(program.results)
        self.lines: dict[str, list[str]] = {"prepare": [], "step": []}
        self.numbers: dict[Value, ast.expr] = {}  # what stands inside other expressions
        self.local: dict[tuple[Value, str], str] = {}  # the names of views of arguments, in one of the functions
        self.depths: Counter[Value] = Counter()  # of views of views
        self.source = self._source()

    def given(self, memory: Sequence[Any], vectors: Mapping[Value, Any]) -> list[Any]:
        """Return what `bind` is called with: the memory, or what it is packed in, and the constants."""
        alone = [array for value, array in zip(self.program.memory, memory) if self.arrays.owner(value) not in vectors]
        return [*alone, *vectors.values(), *(x._array for x in self.arrays.constants)]

    def parts_of(self, whole: Value) -> dict[int, Place]:
        """Return the places, by their positions, of the memory that is part of something larger."""
        memory = enumerate(self.program.memory)
        return {i: self.plan.places[value] for i, value in memory if self.arrays.owner(value) is whole}

    def _source(self) -> str:
        program = self.program
        arguments = [self.arrays.parameter(x) for x in program.arguments]
        bound = self.arrays.memory_parameters()
        for instruction in self.plan.instructions[: self.plan.first]:
            self._write(instruction, "prepare")
        for instruction in self.plan.instructions[self.plan.first :]:
            self._write(instruction, "step")
        for old, new in self.plan.pending:
            self._line("step", parse(f"np.copyto({self.arrays.bound(old)}, _)"), {"_": self._operand(new, "step")})
        results = [layout.expression(self._operand(x, "step")) for x in program.results]
        bound += [self.arrays.parameter(x) for x in self.arrays.constants]
        bind = self._bind(bound, arguments, results)
        helpers = EMPTY if "empty(" in bind else ""
        return self.writer.module(*([helpers] if helpers else []), bind, docstring=self._docstring())

    def _bind(self, bound: list[str], arguments: list[str], results: list[str]) -> str:
        """Return the text of the function `bind`, of those that it defines, and of what they share."""
        ahead, step = self.lines["prepare"], self.lines["step"]
        about = (
            "Compute what follows from arguments that seldom change." if ahead else "There is nothing to compute ahead."
        )
        prepare = [*self._decorator(ahead), *layout.definition("prepare", arguments, about), *ahead]
        about = self._about(results)
        step = [*self._decorator(step), *layout.definition("step", arguments, about), *step, *self._returned(results)]
        about = "Return (prepare, step), which work on these arrays" if bound else "Return (prepare, step)"
        about += "; step changes them in place." if self.program.updates else "."
        text = layout.definition("bind", bound, about)
        text += self.arrays.definitions("\n".join([*prepare, *step]))
        for function in (prepare, step):
            text += ["", *(layout.INDENT + line if line else "" for line in function)]
        return "\n".join([*text, "", f"{layout.INDENT}return prepare, step"]) + "\n"

    def _about(self, results: list[str]) -> str:
        """Return the docstring of the function `step`."""
        if not all(map(str.isidentifier, results)):
            return "Do one step."  # what is returned stands at its end
        about = f"Do one step; return {', '.join(results)}." if results else "Do one step."
        width = layout.WIDTH - 2 * len(layout.INDENT)
        return (
            about
            if len(about) + 10 <= width
            else "\n".join(["Do one step.", "", *_wrapped(f"Returns {', '.join(results)}.", width, "")])
        )

    def _decorator(self, lines: list[str]) -> list[str]:
        """Return the decorator of a function of such lines that keeps NumPy from warning of infinities."""
        quiet = ", ".join(f'{key}="{how}"' for key, how in self.quiet.items())
        loud = re.search(r"np\.(exp|log|divide|power|reciprocal|sinh|cosh)", "".join(lines))
        return [f"@np.errstate({quiet})"] if quiet and loud else []

    def _returned(self, results: list[str]) -> list[str]:
        comma = "," if len(results) == 1 else ""
        return layout.lines(ast.parse(f"return ({', '.join(results)}{comma})").body[0], layout.INDENT)

    def _docstring(self) -> str:
        program, arrays = self.program, self.arrays
        lines = [f"One step of `{program.name}`, with all arrays allocated beforehand.", "", *self._usage(), ""]
        lines += [f"{arrays.names[x]}: {x.shape} {x.dtype}, passed to every step" for x in program.arguments]
        alone = [x for x in program.memory if arrays.owner(x) is x]
        lines += [f"{arrays.names[x]}: {x.shape} {x.dtype}, {self._fate(x)}" for x in alone]
        for whole in arrays.packed:
            inside = sorted((x for x in program.memory if arrays.owner(x) is whole), key=self._start)
            title = arrays.storages[self.plan.places[whole].storage]
            lines.append(f"{title}: ({whole._data.size},) {whole.dtype}, {self._fate(inside[0])}; its parts are")
            text = ", ".join(f"{arrays.label(x) or 'x'} {x.shape}".replace(" ", GLUE) for x in inside)
            lines += [line.replace(GLUE, " ") for line in _wrapped(text, layout.WIDTH - 8, "    ")]
        lines += [f"{arrays.names[x]}: {x.shape} {x.dtype}, constant" for x in arrays.constants]
        return "\n".join(lines).rstrip()

    def _usage(self) -> list[str]:
        """Return how the module is used."""
        bound = [self.arrays.names[x] for x in self.program.memory if self.arrays.owner(x) is x]
        bound += [self.arrays.storages[self.plan.places[whole].storage] for whole in self.arrays.packed]
        bound += [self.arrays.names[x] for x in self.arrays.constants]
        passed = ", ".join(self.arrays.names[x] for x in self.program.arguments)
        lines = _example(f"functions = bind({', '.join(bound)})")
        lines[0] = lines[0].replace("functions", "prepare, step", 1)
        if self.lines["prepare"]:
            lines += _example(f"prepare({passed})", f"  # before the first step{self._again()}")
        return lines + _example(f"results = step({passed})")

    def _again(self) -> str:
        """Return when `prepare` is to be called again."""
        ahead = [i for i in self.plan.instructions[: self.plan.first] if i.kind is not Kind.VIEW]
        read = {self.plan.root(x) for i in ahead for x in i.values}
        titles = [self.arrays.label(x) for x in self.program.inputs if x in read]
        if not titles:
            return ""
        several = " or ".join(titles)
        return f", and again when {several if len(several) < LONGEST_INLINE else 'what it reads'} changed"

    def _start(self, x: Value) -> int:
        """Return at which address a value's place begins: its parts are told in their order."""
        address: int = self.plan.places[x].array.__array_interface__["data"][0]
        return address

    def _fate(self, x: Value) -> str:
        return "changed in place" if x in self.program.updates else "read where it is"

    def _line(self, where: str, code: ast.expr, operands: Mapping[str, ast.expr], comment: str = "") -> None:
        statement = ast.Expr(filled(code, operands))
        self.lines[where] += layout.lines(statement, layout.INDENT, comment)

    def _write(self, instruction: Instruction, where: str) -> None:
        value = instruction.value
        if instruction.kind is Kind.VIEW:
            depth = self.depths[value] = self.depths[instruction.values[0]] + 1
            if depth % MOST_VIEWS == 0 and self.arrays.is_bound(value):
                self.arrays.bound(value)
            return
        comment = f"  # {value.shape}"
        if value in self.plan.joined:
            self._write_parts(instruction, where)
        elif instruction.kind is Kind.CALL:
            self._write_call(instruction, where, comment)
        elif where == "prepare":
            made = layout.expression(filled(instruction.code, self._operands(instruction, where)))
            statement = ast.parse(f"{self.arrays.bound(value)}[...] = {made}").body[0]
            self.lines[where] += layout.lines(statement, layout.INDENT, comment)
        else:
            self._assign(instruction, where, comment)

    def _assign(self, instruction: Instruction, where: str, comment: str) -> None:
        value = instruction.value
        made = filled(instruction.code, self._operands(instruction, where))
        if self._stands_inside(value, instruction, made):
            self.numbers[value] = made
            return
        label = self.arrays.label(value)
        self.arrays.names[value] = title = self.arrays.new_name(label) if label else self.arrays.temporary(value)
        statement = ast.Assign([ast.Name(title, ast.Store())], made, lineno=0)
        self.lines[where] += layout.lines(statement, layout.INDENT, comment)

    def _stands_inside(self, value: Value, instruction: Instruction, made: ast.expr) -> bool:
        """Return whether a number need not have a name: it is computed from numbers, short, and used once."""
        if value.shape or self.arrays.uses[value] != 1 or self.arrays.label(value) or value in self.results:
            return False
        from_numbers = all(
            not x.shape and self.plan.places[x].storage.owner not in self.arrays.memory for x in instruction.values
        )
        return from_numbers and len(ast.unparse(made)) < LONGEST_INLINE

    def _write_call(self, instruction: Instruction, where: str, comment: str) -> None:
        place = self.plan.places[instruction.value]
        code = instruction.code
        if "np.dot(" in ast.unparse(code) and not place.array.flags.c_contiguous:
            code = parse(f"np.dot(x1.T, x0.T, out={OUT}.T)")  # which only writes row by row: (A B)ᵀ = Bᵀ Aᵀ
        self.arrays.bound(instruction.value)
        self._line(where, self._with_views(code, instruction), self._operands(instruction, where), comment)

    def _write_parts(self, instruction: Instruction, where: str) -> None:
        """Write the parts of a concatenation that are not there yet."""
        place = self.plan.places[instruction.value]
        if place.storage.owner is not None:
            return
        self.arrays.bound(instruction.value)
        for x, inside in zip(instruction.values, parts(instruction, place)):
            if self.plan.places[x].key == inside.key:
                continue
            target = layout.expression(self.arrays.expression(inside))
            if self.arrays.is_constant(x):
                number = filled_with(x)
                made = repr(number) if number is not None else layout.expression(self._operand(x, where))
                self.arrays.made.append((VIEWS, "", [f"{layout.INDENT}{target} = {made}"]))
            elif where == "prepare":
                made = layout.expression(self._operand(x, where))
                self.lines[where] += layout.lines(ast.parse(f"{target} = {made}").body[0], layout.INDENT)
            else:
                self.arrays.define(inside, "")
                self._line(where, parse(f"np.copyto({self.arrays.at[inside.key]}, _)"), {"_": self._operand(x, where)})

    def _operands(self, instruction: Instruction, where: str) -> dict[str, ast.expr]:
        inputs = instruction.inputs
        if instruction.elementwise:
            inputs = tuple(x if isinstance(x, Value) else _as_array(x, instruction) for x in inputs)
        found = {f"x{i}": self._operand(x, where) for i, x in enumerate(inputs)}
        if instruction.kind is Kind.CALL:
            found[OUT] = name(self.arrays.bound(instruction.value))
        return found

    def _with_views(self, code: ast.expr, instruction: Instruction) -> ast.expr:
        """Return code with names in the place of views of buffers, which are made once."""
        if not re.search(r"\b(x\d+|out)\.", ast.unparse(code)):
            return code
        operands = {f"x{i}": x for i, x in enumerate(instruction.inputs)} | {OUT: instruction.value}
        text = self

        class Named(ast.NodeTransformer):
            def generic_visit(self, node: ast.AST) -> ast.AST:
                inner = node.func if isinstance(node, ast.Call) else node
                base = inner.value if isinstance(inner, ast.Attribute) else None
                x = operands.get(base.id) if isinstance(base, ast.Name) else None
                if isinstance(x, Value) and text.arrays.is_bound(x):
                    return name(text.arrays.view_of(x, node))
                return super().generic_visit(node)

        changed: ast.expr = Named().visit(ast.parse(ast.unparse(code), mode="eval").body)
        return changed

    def _operand(self, x: Any, where: str) -> ast.expr:
        if isinstance(x, Number):
            return name(self.arrays.number(x))
        if not isinstance(x, Value):
            return literal(x, self.writer.modules)
        if x in self.numbers:
            return self.numbers[x]
        if self.arrays.is_constant(x) and not x.shape:
            return literal(x._array, self.writer.modules)
        if self.arrays.is_bound(x):
            return name(self.arrays.bound(x))
        if x in self.arrays.names:
            return name(self.arrays.names[x])
        return self._view(x, where)

    def _view(self, x: Value, where: str) -> ast.expr:
        """Return the code of a view of an argument, or of a new array."""
        chain: list[Instruction] = []
        while x not in self.numbers and x not in self.arrays.names and (x, where) not in self.local:
            chain.append(self.plan.by_value[x])
            x = chain[-1].values[0]
        made = self.numbers.get(x) or name(self.arrays.names.get(x) or self.local[x, where])
        for instruction in reversed(chain):
            made = filled(instruction.code, {"x0": made})
            if len(ast.unparse(made)) > LONGEST_INLINE:
                self.local[instruction.value, where] = title = self.arrays.temporary(instruction.value)
                self.lines[where] += assignment(title, made)
                made = name(title)
        return made
