"""Every declared operation, on every sample it declares; and that what checks them notices when something is wrong."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.check.properties import PROPERTIES, applies
from tinygrad_bc.errors import DTypeError, ShapeError
from tinygrad_bc.primitive import COMPOSITES, REGISTRY, Primitive

OPERATIONS = [*REGISTRY.values(), *(op for op in COMPOSITES.values() if list(op.samples(np.random.default_rng(0))))]


@pytest.mark.parametrize(
    ("op", "name"),
    [
        pytest.param(op, name, id=f"{'' if isinstance(op, Primitive) else 'composite '}{op.name}: {name}")
        for op in OPERATIONS
        for name in PROPERTIES
        if applies(name, op)
    ],
)
def test_operation(op, name):
    report = tg.check.operation(op, properties=[name])
    assert report, str(report)


def test_there_are_operations_to_test():
    assert sum(op.differentiable for op in REGISTRY.values()) >= 80
    assert set(tg.ops.__all__) >= {"exp", "erf", "softmax", "einsum", "conv2d", "cross_entropy", "sort", "cholesky"}


def test_every_public_function_is_a_primitive_or_made_of_them_and_documented():
    for name in tg.ops.__all__:
        op = getattr(tg, name)
        assert op in REGISTRY.values() or op in COMPOSITES.values(), name
        assert op.__doc__, name


# --- what checks them can fail -------------------------------------------------------------------


def plain(rng):
    return [tg.Sample(rng.normal(size=(2, 3)))]


def declared(forward=lambda x: np.asarray(x * x * x), vjp=lambda g, y, x: 3 * x**2 * g, **changes):
    """A right operation, x³, but for the changes; taken off the registry again."""
    keywords = {"formula": "{x}³", "samples": plain, "vjps": [vjp], "name": "a_cube", **changes}
    op = tg.primitive(**keywords)(forward)
    del REGISTRY["a_cube"]
    return op


def frozen(x):
    return np.asarray(x.data if isinstance(x, tg.Tensor) else x)


def in_place(x):
    x += 1.0
    return x * 1.0


MISTAKES = {
    "results are recorded": {"forward": lambda x: tg.tensor(x**3)},
    "gradient": {"vjp": lambda g, y, x: 3 * x * g},
    "second derivative": {"vjp": lambda g, y, x: 3 * frozen(x) ** 2 * g},
    "replay of the backward pass": {"vjp": lambda g, y, x: 3 * frozen(x) ** 2 * g},
    "float32 stays float32": {"forward": lambda x: np.asarray(x, dtype=np.float64) ** 3},
    "layout in memory does not matter": {
        "forward": lambda x: np.asarray(x * x * x) if x.flags.c_contiguous else np.asarray(x * 0.0)
    },
    "nothing is shared or changed": {"forward": in_place, "vjp": lambda g, y, x: g},
    "bad inputs are refused": {"error_samples": lambda: [tg.ErrorSample(np.ones(2), error=ShapeError, match="never")]},
    "formula is complete": {"formula": "cube"},
    "samples cover": {"broadcasts": True},
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name):
    assert tg.check.operation(declared())
    report = tg.check.operation(declared(**MISTAKES[name]))
    failed = [row.name for row in report.rows if row.failure]
    assert name in failed
    assert not report
    assert f"WRONG {name}" in str(report)


def test_the_report_shows_the_sample_and_what_is_wrong_with_it():
    text = str(tg.check.operation(declared(vjp=lambda g, y, x: -3 * x**2 * g)))
    assert "a_cube: 1 of 11 properties do NOT hold" in text
    assert "Sample(array(2, 3))" in text
    assert "analytic" in text


@pytest.mark.parametrize("thing", ["exp", np.exp, lambda x: x])
def test_what_is_no_operation_is_refused(thing):
    with pytest.raises(DTypeError, match=r"expected what @tg.primitive or @tg.composite made"):
        tg.check.operation(thing)
