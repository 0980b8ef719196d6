"""The table of operations and targets: complete, and true of what is emitted."""

import numpy as np

import tinygrad_bc as tg
from tinygrad_bc.compiler.tables import coverage
from tinygrad_bc.primitive import REGISTRY

LEFT_TO_NUMPY = [
    "argsort",
    "cholesky",
    "cofactors",
    "cumprod",
    "cumsum",
    "det_curvature",
    "gather",
    "inv",
    "max_pool_place",
    "reciprocal_gaps",
    "recurrence",
    "sign_of_det",
    "solve",
    "svd",
    "svdvals",
]


def test_every_operation_has_a_row():
    table = coverage()
    assert list(table.index) == sorted(REGISTRY)
    assert set(table["c"]) == {"loops", "NumPy", "both"}
    assert set(table["numpy"]) == {"buffers", "new arrays", "both"}
    assert table.loc["sigmoid", "made of"] == "negative, exp, add, divide"
    assert sorted(table.index[table["c"] == "NumPy"]) == LEFT_TO_NUMPY


def test_the_table_is_true_of_emitted_c():
    step = tg.compile(lambda x: (tg.sigmoid(x), tg.cumsum(x, 0)))
    step(np.ones((3, 4)))
    source = step.program.source("c")
    assert "exp(" in source
    assert "cumsum" in source
    assert "step_2" in source or source.count("int step") > 1  # cut in two where NumPy comes between
