"""The way from a captured program to one that runs: the passes, in their order, and the targets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from tinygrad_bc.compiler.passes.lower import lower
from tinygrad_bc.compiler.passes.simplify import simplify
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.compiler.runtime import Built
from tinygrad_bc.errors import ArgumentError

__all__ = ["PASSES", "TARGETS", "build", "source", "stages"]


def simplified(program: Program) -> Program:
    """Return the program with its arithmetic simplified, and without what nobody needs.

    What several operations use is computed once, where multiplying it out into each of them saves nothing.
    """
    graph = program.graph
    used = Counter(x for value in graph if (node := graph.node(value)) is not None for x in set(node.values))
    return program.replaced(simplify(graph.outputs, program.inputs, keep=[x for x, n in used.items() if n > 1]))


PASSES: dict[str, Callable[[Program], Program]] = {"simplified": simplified, "lowered": lower}
"""The passes that every target begins with; it may have others of its own."""


def stages(program: Program) -> dict[str, Program]:
    """Return a program as it was captured and after each pass."""
    found = {"captured": program}
    for name, change in PASSES.items():
        program = found[name] = change(program)
    return found


def _numpy(program: Program, simplify: bool) -> Built:
    from tinygrad_bc.compiler import numpy_target

    return numpy_target.build(list(stages(program).values())[-1] if simplify else program, plain=not simplify)


def _c(program: Program, simplify: bool) -> Built:
    from tinygrad_bc.compiler import c_target

    return c_target.build(list(stages(program).values())[-1] if simplify else program)


def source(program: Program, target: str, simplify: bool = True) -> str:
    """Return the file that a target makes of a program; C is not compiled for that."""
    if target != "c":
        return build(program, target, simplify).source
    from tinygrad_bc.compiler import c_target

    return c_target.written(list(stages(program).values())[-1] if simplify else program)


TARGETS: dict[str, Callable[[Program, bool], Built]] = {"numpy": _numpy, "c": _c}


def build(program: Program, target: str, simplify: bool = True) -> Built:
    """Return a program made ready for a target: ``"numpy"`` or ``"c"``.

    Raises
    ------
    ArgumentError
        If there is no such target.
    CompilerError
        If the C compiler is missing, or fails.
    """
    if target not in TARGETS:
        raise ArgumentError(f"target={target!r}, but expected one of {', '.join(map(repr, TARGETS))}")
    return TARGETS[target](program, simplify)
