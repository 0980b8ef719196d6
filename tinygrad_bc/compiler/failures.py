"""Why a program failed, in the user's terms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinygrad_bc.compiler.program import Program
from tinygrad_bc.diagnosis import kind_of
from tinygrad_bc.errors import TinygradError
from tinygrad_bc.record import Array, Value

__all__ = ["explained"]


def explained(program: Program, inputs: Sequence[Array], error: Exception) -> Exception:
    """Return the error to raise when a program fails on these inputs: it names the line that recorded the operation.

    To find that, the operations are computed as they were recorded, one by one. If none of them fails, `error` is
    returned as it is.
    """
    arrays = dict(zip(program.inputs, inputs))
    with np.errstate(all="ignore"):
        for value in program.graph:
            node = program.graph.node(value)
            if value in arrays:
                continue
            if node is None:
                arrays[value] = value._array
                continue
            try:
                operands = [arrays[x] if isinstance(x, Value) else x for x in node.inputs]
                arrays[value] = np.asarray(node.op.forward(*operands, **node.params))
            except Exception as failure:
                reason = error if isinstance(error, TinygradError) else failure
                return kind_of(reason)(f"{program.name}: {reason}\n  {node.place}")
    return error
