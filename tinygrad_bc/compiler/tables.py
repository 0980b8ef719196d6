"""Which operation runs how on which target, as a table."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.c_target.convolution import written_out
from tinygrad_bc.compiler.c_target.source import CSource
from tinygrad_bc.compiler.numpy_source.writer import Writer
from tinygrad_bc.compiler.numpy_target.again import computed
from tinygrad_bc.compiler.numpy_target.instructions import Kind, instruction
from tinygrad_bc.compiler.pipeline import stages
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, Primitive
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["coverage"]


def coverage() -> pd.DataFrame:
    """Return what becomes of each operation in a program, as found with the samples of its declaration.

    Returns
    -------
    DataFrame
        A row for each operation. ``made of``: the operations that it is written as, its own name if it stays whole.
        ``numpy``: "buffers", if results are written into arrays that are there before, or "new arrays". ``c``:
        "loops", or "NumPy" if its own forward computation is called between C functions. "both": as its arguments are.
    """
    rows = {name: _row(op) for name, op in sorted(REGISTRY.items())}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["made of", "numpy", "c"]).rename_axis("operation")


def _row(op: Primitive) -> tuple[str, str, str]:
    made_of: dict[str, None] = {}
    in_numpy: set[str] = set()
    in_c: set[str] = set()
    for program in _programs(op):
        graph = program.graph
        made_of.update({node.op.name: None for x in graph if (node := graph.node(x)) is not None})
        writer = Writer()
        kinds = {instruction(graph, x, writer, plain=False).kind for x in computed(graph) if x._data.ndim}
        in_numpy.add("new arrays" if Kind.ASSIGNMENT in kinds else "buffers")
        in_c.add("NumPy" if CSource(written_out(program)).plan.calls else "loops")
    return ", ".join(made_of) or op.name, _one(in_numpy), _one(in_c)


def _one(found: set[str]) -> str:
    return found.pop() if len(found) == 1 else "both"


def _programs(op: Primitive) -> Iterator[Program]:
    """Iterate over programs of that one operation, as they are before a target's own passes."""
    for sample in op.samples(np.random.default_rng(0)):
        inputs = [tensor(x) if isinstance(x, np.ndarray) else x for x in sample.inputs]
        with record_everything(), np.errstate(all="ignore"):
            y = op(*inputs, **sample.params)
        if isinstance(y, Tensor) and y.numel():
            program = Program(op.name, [x for x in inputs if isinstance(x, Tensor)], [], [y])
            yield list(stages(program).values())[-1]
