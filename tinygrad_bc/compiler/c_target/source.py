"""The text of a C program, for a captured program: one file that computes a step each time it is called.

What it works on is in ``struct memory``, pointers that are set from outside: arguments, the memory that stays and is
updated, results, and arrays for what is computed between. ``prepare`` computes what follows from steady inputs alone.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tinygrad_bc.compiler.c_target import blas as blas_library
from tinygrad_bc.compiler.c_target.expressions import times
from tinygrad_bc.compiler.c_target.functions import FUNCTIONS, definitions
from tinygrad_bc.compiler.c_target.index import Axis
from tinygrad_bc.compiler.c_target.lines import WIDTH, wrapped
from tinygrad_bc.compiler.c_target.loops import INDENT, Body
from tinygrad_bc.compiler.c_target.native import ELF_FLAGS, FLAGS
from tinygrad_bc.compiler.c_target.operations import C_TYPES
from tinygrad_bc.compiler.c_target.plan import Plan
from tinygrad_bc.compiler.c_target.schedule import Schedule, sample_axis
from tinygrad_bc.compiler.c_target.statements import Statement
from tinygrad_bc.compiler.c_target.storage import Names, Storage, is_inside, store_values
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.record import Value

__all__ = ["CSource", "Part"]

TILE = """\
/* What is done for n samples, from number `start` on: few enough for what is kept of them to stay in the cache. */"""
LOOP = """\
/* So many steps. A number that a call is given may stand in an array, in which `advance` leads to the next. */"""

_INCLUDES = {
    "math.h": "",  # for the functions that expressions call
    "stdbool.h": r"\b(bool|true|false)\b",
    "stdint.h": r"\bu?int\d+_t\b",
    "string.h": r"\bmem(cpy|set)\(",
}
"""The headers, and what they are included for."""


class Part:
    """A C function, and what NumPy computes after it.

    Attributes
    ----------
    name : str
    calls : list of Value
        What NumPy computes once the function has returned.
    """

    def __init__(self, name: str, schedule: Schedule, calls: Sequence[Value]) -> None:
        self.name, self.schedule, self.calls = name, schedule, list(calls)


class CSource:
    """A program written in C.

    Parameters
    ----------
    program : Program
        Of core operations, as far as possible: others are left to NumPy.
    blas : bool
        Whether there is a BLAS library for large products.

    Attributes
    ----------
    text : str
    fields : list of Storage
        What the pointers in ``struct memory`` point to, in their order.
    prepare, step : list of Part
        The functions, one after the other.
    checks : list of (Value, int)
        Arrays of indices that the functions check, and the length that they index.
    uses_blas : bool
    """

    def __init__(self, program: Program, blas: bool = True) -> None:
        self.program = program
        self.plan = plan = Plan(program, blas)
        samples = sample_axis(plan.step)
        if samples is not None:
            plan.read_along(samples)
        self.names = Names()
        self.arguments = [Storage(x, self.names.new(plan.label(x), "number")) for x in program.arguments]
        self.memory = [Storage(x, self.names.new(plan.label(x), "tensor")) for x in program.memory]
        self.prepare = self._parts("prepare", plan.prepare, samples)
        self.step = self._parts("step", plan.step, samples)
        schedules = [part.schedule for part in (*self.prepare, *self.step)]
        self._stored = store_values(plan, schedules, self.names)
        for value in plan.calls:
            self._stored[value] = Storage(value, self.names.new(plan.label(value), plan.calls[value].op.name))
        self.written_inside = self._write_updates_inside()
        self.checks = list(plan.checks)
        leaves = {storage.value: storage for storage in (*self.arguments, *self.memory)}
        copied = {*program.results, *program.updates.values()}  # which a number in the text cannot be
        self.constants = [
            Storage(value, self.names.new(plan.label(value), "constant"))
            for value in plan.graph
            if plan.is_constant(value) and (value._data.size != 1 or value in copied)
        ]
        self._stored = {**leaves, **{storage.value: storage for storage in self.constants}, **self._stored}
        self.copies = self._copied_leaves()
        own = {id(storage) for storage in (*self.arguments, *self.memory, *self.constants)}
        self.buffers = [x for x in dict.fromkeys(self._stored.values()) if x.kind == "whole" and id(x) not in own]
        updated = self.program.updates
        self._read_only = {*self.arguments, *self.constants, *(x for x in self.memory if x.value not in updated)}
        self.text = self._written()

    # --- parts

    def _parts(self, name: str, statements: Sequence[Statement], samples: Axis | None) -> list[Part]:
        """Cut statements where NumPy has to compute something between."""
        plan = self.plan
        level: dict[Value, int] = {}
        reads: dict[Value, list[Value]] = {}
        for statement in statements:
            reads.setdefault(statement.value, []).extend(load.value for load in statement.loads)
        for value in [*(v for v in reads if plan.node(v) is None), *plan.graph]:
            if value in reads:
                level[value] = max((level.get(x, 0) for x in reads[value]), default=0)
            elif value in plan.calls and plan.is_prepared(value) is (name == "prepare"):
                level[value] = 1 + max((level.get(self._behind(x), 0) for x in plan.calls[value].values), default=0)
        called = [value for value in plan.calls if value in level]
        last = max(level.values(), default=0)
        parts = []
        for n in range(last + 1):
            within = [s for s in statements if level[s.value] == n]
            numbered = name if last == 0 else f"{name}_{n + 1}"
            parts.append(Part(numbered, Schedule(within, samples), [v for v in called if level[v] == n + 1]))
        return parts

    def _behind(self, value: Value) -> Value:
        return self.plan.resolved(value, self.plan.axes.index(value)).value

    # --- updates and results

    def _write_updates_inside(self) -> set[Value]:
        """Let new values of memory be written where the old ones are, where nobody reads those any more."""
        program, plan = self.program, self.plan
        inside = set()
        targets = {storage.value: storage for storage in self.memory}
        uses = Counter([*program.results, *program.updates.values()])
        shared = {value for value, count in uses.items() if count > 1}
        for old, new in program.updates.items():
            made = [(p, s) for p in self.step for s in p.schedule.statements if s.value is new]
            if len(made) != 1 or new in shared or (made[0][1].combine and not made[0][1].added_to):
                continue
            part, statement = made[0]
            later = self.step[self.step.index(part) + 1 :]
            read_later = any(load.value is old for p in later for s in p.schedule.statements for load in s.loads)
            if not read_later and is_inside(part.schedule, plan, statement, old):
                self._stored[new] = targets[old]
                inside.add(old)
        return inside

    def _copied_leaves(self) -> dict[Value, Storage]:
        """Return arrays for inputs that are results, or another's new value: what they were before the step."""
        plan = self.plan
        wanted = [x for x in (*self.program.results, *self.program.updates.values()) if plan.node(x) is None]
        return {x: Storage(x, self.names.new(f"{plan.label(x)}_before", "")) for x in dict.fromkeys(wanted)}

    def result(self, value: Value) -> Storage:
        """Return the array of a result."""
        return self.copies.get(value) or self._stored[value]

    def storage(self, value: Value) -> Storage:
        """Return the array of a value that NumPy reads or computes."""
        return self._stored[value]

    @property
    def has_loop(self) -> bool:
        """Whether the loop over steps is in C: it is in Python where NumPy takes part."""
        return len(self.step) == 1 and not self.step[0].calls

    # --- text

    @property
    def fields(self) -> list[Storage]:
        """What ``struct memory`` points to."""
        return [*self.arguments, *self.memory, *self.constants, *self.buffers, *self.copies.values()]

    def _written(self) -> str:
        functions = [*self._functions(self.prepare), *self._functions(self.step, is_step=True)]
        text = "\n\n".join("\n".join(lines) for lines in functions)
        self.uses_blas = any(
            statement.product for p in (*self.prepare, *self.step) for statement in p.schedule.statements
        )
        parts = [self._head(text), self._struct(), definitions(self._called(text)).strip(), text, self._loop()]
        return wrapped("\n\n".join(part for part in parts if part)) + "\n"

    def _head(self, text: str) -> str:
        routines = [name for name in ("dgemm", "sgemm") if f"{name}(" in text]
        blas = blas_library.header(*routines).strip() if routines else ""
        blas = blas.removeprefix("#include <stdint.h>").strip()
        everything = "\n".join([text, blas, self._struct(), definitions(self._called(text))])
        includes = [f"#include <{name}>" for name, used in _INCLUDES.items() if re.search(used, everything)]
        return "\n\n".join(part for part in (self._about(bool(routines)), "\n".join(includes), blas) if part)

    def _called(self, text: str) -> list[str]:
        return [name for name in FUNCTIONS if re.search(rf"\b{name}\(", text)]

    def _about(self, uses_blas: bool) -> str:
        """Return the comment that the file begins with: what it is, and how it is used."""
        name = re.sub(r"\W+", "_", self.program.name).strip("_")
        order = [part.name for part in self.step]
        step = f"{', '.join(order)}" + (", with what NumPy computes in between," if len(order) > 1 else "")
        ahead = f"{', '.join(part.name for part in self.prepare)} once, and again when what is read there has changed"
        use = (
            f"Let the members of struct memory point to arrays of these shapes, stored row by row. Call {ahead}; then "
        )
        use += f"{step} for each step" + (", or loop for several." if self.has_loop else ".")
        use += " They return 0, or a number that tells which index was out of range." if self.checks else ""
        use += " Hand the addresses of the BLAS routines to set_blas before." if uses_blas else ""
        command = shlex.join(
            ["cc", *FLAGS, "-march=native", *ELF_FLAGS, "-shared", f"{name}.c", "-o", f"{name}.so", "-lm"]
        )
        broken = textwrap.wrap(command, WIDTH - 12, subsequent_indent="    ", break_on_hyphens=False)
        lines = [f"{self.program.name}: a step of a program captured by tinygrad_bc. To compile it alone:", ""]
        lines += [*("    " + line for line in " \\\n".join(broken).split("\n")), "", *textwrap.wrap(use, WIDTH - 6)]
        return "/* " + "\n".join(f"   {line}".rstrip() for line in lines).strip() + " */"

    def _struct(self) -> str:
        groups = [
            ("what a call is given", self.arguments),
            ("what stays", self.memory),
            ("constants", self.constants),
            ("results, and what is kept between", [*self.buffers, *self.copies.values()]),
        ]
        lines = ["struct memory {"]
        for title, storages in groups:
            if storages:
                lines.append(f"{INDENT}/* {title} */")
                lines += [f"{INDENT}{_declared(x, x.name, x in self._read_only)};{_shape(x)}" for x in storages]
        if not self.fields:
            lines.append(f"{INDENT}char none;")
        return "\n".join([*lines, "};"])

    def _functions(self, parts: Sequence[Part], is_step: bool = False) -> Iterator[list[str]]:
        for part in parts:
            body = Body(self.plan, part.schedule, self._stored, self.names)
            lines = list(body.lines(part.schedule.items, 0))
            first, last = is_step and part is parts[0], is_step and part is parts[-1]
            is_first = part is parts[0] and (is_step or _looks_up(part))
            before = [*(self._checks(body) if is_first else ()), *(self._copying() if first else ())]
            after = list(self._updating()) if last else []
            for name, inner, used in body.tiles:
                yield [
                    TILE,
                    f"static inline void {name}(const struct memory *m, const long start, const int n)",
                    "{",
                    *_indented([*self._pointers(used, inner), *inner]),
                    "}",
                ]
            inner = [*before, *lines, *after, "return 0;"]
            yield [
                f"int {part.name}(const struct memory *m)",
                "{",
                *_indented([*self._pointers(body.used, inner), *inner]),
                "}",
            ]

    def _pointers(self, used: Iterable[Storage], lines: Sequence[str]) -> Iterator[str]:
        """Yield the local names of the arrays that a function uses."""
        text = "\n".join(lines)
        order = {id(storage): i for i, storage in enumerate(self.fields)}
        for storage in sorted(used, key=lambda x: order[id(x)]):
            declared = _declared(storage, f"const restrict {storage.name}", storage in self._read_only)
            yield f"{declared} = m->{storage.name};"
        if "m->" not in text and not list(used) and "(m" not in text:
            yield "(void)m;"

    def _checks(self, body: Body) -> Iterator[str]:
        """Yield the refusal of indices that point outside of what they index."""
        for number, (array, length) in enumerate(self.checks, 1):
            yield from body.check(number, self.plan.check(array, length))

    def _copying(self) -> Iterator[str]:
        for value, storage in self.copies.items():
            yield _memcpy(storage.name, self._stored[value].name, value)

    def _updating(self) -> Iterator[str]:
        targets = {storage.value: storage for storage in self.memory}
        for old, new in self.program.updates.items():
            if old not in self.written_inside:
                yield _memcpy(targets[old].name, self.result(new).name, old)

    def _loop(self) -> str:
        if not self.has_loop:
            return ""
        numbers = [x for x in self.arguments if not x.value.shape]
        lines = [
            LOOP,
            "int loop(const struct memory *m, const long steps, const long *const advance)",
            "{",
            *([] if numbers else [f"{INDENT}(void)advance; /* there are none */"]),
            f"{INDENT}struct memory now = *m;",
            f"{INDENT}for (long count = 0; count < steps; count++) {{",
            f"{INDENT * 2}const int outside = step(&now);",
            f"{INDENT * 2}if (outside)",
            f"{INDENT * 3}return outside;",
            *(f"{INDENT * 2}now.{x.name} += advance[{i}];" for i, x in enumerate(numbers)),
            f"{INDENT}}}",
            f"{INDENT}return 0;",
            "}",
        ]
        return "\n".join(lines)


def _indented(lines: Iterable[str]) -> Iterator[str]:
    return (INDENT + line for line in lines)


def _looks_up(part: Part) -> bool:
    return any(i.lookups for s in part.schedule.statements for load in s.loads for i in load.index)


def _declared(storage: Storage, name: str, const: bool) -> str:
    """Return the declaration of a pointer to an array, with all lengths but the first in its type."""
    known = storage.value.dtype in C_TYPES  # others are NumPy's alone
    ctype = ("const " if const else "") + (C_TYPES[storage.value.dtype] if known else "void")
    lengths = "".join(f"[{max(n, 1)}]" for n in storage.value.shape[1:]) if known else ""
    return f"{ctype} (*{name}){lengths}" if lengths else f"{ctype} *{name}"


def _shape(storage: Storage) -> str:
    shape = storage.value.shape
    return (
        f" /* {shape[0]} */"
        if len(shape) == 1
        else f" /* {shape[0]} x {' x '.join(map(str, shape[1:]))} */"
        if shape
        else ""
    )


def _memcpy(target: str, source: str, value: Value) -> str:
    size = value._data.size
    return f"memcpy(m->{target}, m->{source}, {times(size, value.dtype)});"
