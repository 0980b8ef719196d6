"""Simplified records: the same numbers, at other data too, by fewer operations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.passes.simplify import simplify
from tinygrad_bc.record import Graph


def leaf(*shape, seed=0, dtype=np.float64):
    numbers = np.random.default_rng(seed).uniform(0.5, 2, size=shape).astype(dtype)
    return tg.tensor(numbers, requires_grad=True, name="abcdefg"[seed])


def simplified(build, *leaves, **options):
    with record_everything():
        value = build(*leaves)
    new = simplify([value], **options)[value]
    return value, new, Graph(new)


def operations(graph):
    return [graph.node(value).op.name for value in graph if graph.node(value) is not None]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda a, b: a * b / b, []),
        (lambda a, b: (a + b) - b, []),
        (lambda a, b: tg.neg(-(a * 1)), []),
        (lambda a, b: a * a / a + 0 * b, None),
        (lambda a, b: (1 - a) / b - (1 - a) / b + a, []),
        (lambda a, b: a / b * 2 - a / b, ["divide"]),
        (lambda a, b: ((1 - a) / (1 - b) - a / b) * (b * (1 - b)), ["subtract"]),
        (lambda a, b: (a**2 - b**2 + b * b) / a, []),
        (lambda a, b: tg.exp(a) * tg.exp(a), ["exp", "multiply"]),
        (lambda a, b: -(b - a), ["subtract"]),
        (lambda a, b: a / 4 * 2, ["divide"]),
        (lambda a, b: a * 0.1, ["multiply"]),
        (lambda a, b: a.mT.mT @ b.mT.mT.mT, ["matrix_transpose", "matmul"]),
        (lambda a, b: tg.ops.sum_to(tg.broadcast_to(a[0], (3, 4)), shape=(4,)), ["getitem", "multiply"]),
        (lambda a, b: a.reshape(3, 4) + b.astype(np.float64), ["add"]),
    ],
)
def test_rewritings(build, expected):
    a, b = leaf(3, 4), leaf(3, 4, seed=1)
    value, new, graph = simplified(build, a, b)
    np.testing.assert_allclose(new.data, value.data, rtol=1e-12, atol=1e-15)
    if expected is not None:
        assert operations(graph) == expected, str(graph)


def test_what_is_computed_twice_is_recorded_once():
    a = leaf(3)
    *_, graph = simplified(lambda a: tg.exp(a) @ tg.log(a) + tg.log(a) @ tg.exp(a), a)
    assert sorted(operations(graph)) == ["add", "exp", "log", "matmul", "matmul"]


def test_shapes_and_dtypes_stay():
    a, b = leaf(3, 1), leaf(1, 4, seed=1, dtype=np.float32)
    value, new, _ = simplified(lambda a, b: a * b / b, a, b)
    assert (new.shape, new.dtype) == (value.shape, value.dtype) == ((3, 4), np.float64)
    value, new, _ = simplified(lambda b: b * 2.5 / 2.5 + b, b)
    assert new.dtype == np.float32


def test_nothing_is_simplified_across_a_stand_in():
    a = leaf(3)
    with record_everything():
        half = a / 2
        whole = half * 2
    other = tg.tensor(half.data, name="half")
    new = simplify([whole, half], stand_ins={half: other})
    assert operations(Graph(new[whole])) == ["multiply"]
    assert other in Graph(new[whole])
    assert simplify([whole])[whole] is a


def test_inputs_are_not_looked_behind():
    a = leaf(3)
    with record_everything():
        b = a * 2
        c = b / 2
    assert simplify([c])[c] is a
    assert operations(Graph(simplify([c], inputs=[b])[c], inputs=[b])) == ["divide"]


def test_a_nan_or_an_infinity_that_cancels_is_no_reason_to_keep_an_operation():
    a = tg.tensor([0.0, 2.0], requires_grad=True, name="a")
    with np.errstate(all="ignore"):
        _, new, graph = simplified(lambda a: a / a * 3, a)
    assert operations(graph) in ([], ["broadcast_to"])
    np.testing.assert_array_equal(new.data, [3, 3])


def test_integers_that_wrap_around_and_booleans_are_left_alone():
    a = tg.tensor(np.array([1, 2], np.uint8), name="a")
    value, new, _ = simplified(lambda a: (1 - a) + a, a)
    np.testing.assert_array_equal(new.data, value.data)
    c = tg.tensor([True, False], name="c")
    value, new, _ = simplified(lambda c: (c + c) * 1.0, c)
    np.testing.assert_array_equal(new.data, value.data)


STEPS = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "negative",
    "square",
    "reciprocal",
    "broadcast",
    "exp",
    "sum",
    "scale",
]


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=25))
def test_random_records_hold_the_same_numbers_at_other_data_too(steps):
    leaves = [leaf(3, 4), leaf(4, seed=1), leaf(3, 1, seed=2)]
    values = list(leaves)
    with record_everything(), np.errstate(all="ignore"):
        for step, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            values.append(
                {
                    "add": lambda a, b: a + b,
                    "subtract": lambda a, b: a - b,
                    "multiply": lambda a, b: a * b,
                    "divide": lambda a, b: a / b,
                    "negative": lambda a, b: -a,
                    "square": lambda a, b: tg.square(a),
                    "reciprocal": lambda a, b: tg.reciprocal(a),
                    "broadcast": lambda a, b: tg.broadcast_to(a, (3, 4)),
                    "exp": lambda a, b: tg.exp(-tg.abs(a)),
                    "sum": lambda a, b: tg.sum(a, axis=0, keepdims=True) if a.ndim else a,
                    "scale": lambda a, b: 0.3 * a,
                }[step](a, b)
            )
    result = values[-1]
    new = simplify([result])[result]
    assert (new.shape, new.dtype) == (result.shape, result.dtype)
    assert len(operations(Graph(new))) <= len(operations(Graph(result)))
    other = {x: np.random.default_rng(9).uniform(0.6, 1.9, size=x.shape) for x in leaves}
    with np.errstate(all="ignore"):
        (expected,) = Graph(result).evaluate({x: other[x] for x in leaves if x in Graph(result)})
        (found,) = Graph(new).evaluate({x: other[x] for x in leaves if x in Graph(new)})
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=1e-6, atol=1e-6 * scale)


def test_a_long_chain():
    a = leaf()
    with record_everything():
        b = a
        for _ in range(20_000):
            b = tg.sin(b * 0.5 + 0.1) * 1
    new = simplify([b])[b]
    assert new.item() == pytest.approx(b.item(), rel=1e-9)
    assert len(Graph(new)) < len(Graph(b))
