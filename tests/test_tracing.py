"""The bookkeeping of a capture: numbers that are found anew, and stand-ins for arrays that code updates in place."""

import operator

import numpy as np
import pytest

from tinygrad_bc.errors import CaptureError
from tinygrad_bc.primitive import CAPTURE_PLAIN, constant, mode
from tinygrad_bc.record import Graph, captures, tracer
from tinygrad_bc.tracing import Tracer, draw


@pytest.fixture
def tracing():
    tracing = Tracer()
    tokens = tracer.set(tracing), mode.set(CAPTURE_PLAIN)
    captures.append(tracing)
    yield tracing
    captures.remove(tracing)
    mode.reset(tokens[1])
    tracer.reset(tokens[0])


BINARY = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]


@pytest.mark.parametrize("function", BINARY, ids=lambda f: f.__name__)
def test_arithmetic_with_numbers_is_done_again_with_others(function, tracing):
    where = {"x": 3.0}
    live = tracing.live(lambda: where["x"])
    results = [function(live, 2.0), function(2.0, live), function(live, live), -live, abs(-live), np.sqrt(live)]
    for x in (3.0, 1.5):
        where["x"] = x
        expected = [function(x, 2.0), function(2.0, x), function(x, x), -x, x, x**0.5]
        assert [result.find() for result in results] == expected


def test_the_same_arithmetic_is_one_number(tracing):
    live = tracing.live(lambda: 3.0)
    assert live * 2.0 is live * 2.0
    assert 2.0 / live is not live / 2.0


def test_a_comparison_is_a_fact(tracing):
    where = {"x": 3.0}
    live = tracing.live(lambda: where["x"])
    assert live > 2
    assert live != 1
    assert live
    answers = [(ask(), answer) for _, ask, answer in tracing.facts]
    assert answers == [(True, True), (True, True), (True, True)]
    where["x"] = 0.0
    assert [ask() for _, ask, _ in tracing.facts] == [False, True, False]


@pytest.mark.parametrize("function", [float, int, round, str, np.array, "{:.2f}".format, operator.index])
def test_a_number_does_not_leave_the_record(function, tracing):
    with pytest.raises(CaptureError, match="plain number"):
        function(tracing.live(lambda: 3.0, "rate"))


def test_a_number_takes_the_element_type_that_it_meets(tracing):
    live = tracing.live(lambda: 0.1)
    y = constant(np.ones(2, np.float32)) * live
    assert y.dtype == np.float32
    assert (constant(np.ones(2)) * live).dtype == np.float64
    assert {leaf.dtype for leaf in tracing.numbers} == {np.dtype(np.float32), np.dtype(np.float64)}


def test_updates_of_a_stand_in_are_recorded_and_the_array_stays(tracing):
    array, g = np.array([4.0, 9.0]), constant(np.array([1.0, 2.0]))
    cell = tracing.cell(lambda: array, "m")
    cell *= 0.5
    cell += g
    np.sqrt(cell, out=cell)
    np.testing.assert_array_equal(array, [4.0, 9.0])
    ((leaf, new),) = tracing.changed.items()
    np.testing.assert_array_equal(new._array, np.sqrt(array * 0.5 + [1.0, 2.0]))
    (again,) = Graph(new).evaluate({leaf: np.array([0.0, 2.0])})
    np.testing.assert_array_equal(again, np.sqrt([1.0, 3.0]))
    assert tracing.cell(lambda: array).value is new  # which the next to ask goes on with


def test_a_stand_in_keeps_its_shape_and_type(tracing):
    cell = tracing.cell(lambda: np.ones(2))
    with pytest.raises(CaptureError, match="shape"):
        cell += constant(np.ones((3, 2)))
    with pytest.raises(CaptureError, match=r"np\.add"):
        np.add.reduce(cell)


def test_a_tensor_is_what_it_was_updated_to(tracing):
    x = constant(np.array([1.0, 2.0]))
    x += 1.0
    np.testing.assert_array_equal(x._array, [1.0, 2.0])
    np.testing.assert_array_equal((x * 1)._array, [2.0, 3.0])
    (y,) = Graph(x * 2).evaluate({tracing.leaves[x]: np.array([5.0, 6.0])})
    np.testing.assert_array_equal(y, [12.0, 14.0])


def test_draws_are_noted_with_their_generators(tracing):
    generator, other = np.random.default_rng(0), np.random.default_rng(0)
    first = draw(lambda: generator.random(2), generator)
    np.testing.assert_array_equal(first._array, other.random(2))
    start, last = tracing.drawn[generator]
    assert start == np.random.default_rng(0).bit_generator.state
    assert last == generator.bit_generator.state
    generator.random()
    with pytest.raises(CaptureError, match="Random numbers"):
        draw(lambda: generator.random(2), generator)


def test_nothing_is_noted_where_nothing_is_captured():
    generator = np.random.default_rng(0)
    assert isinstance(draw(lambda: generator.random(2), generator), np.ndarray)
    assert captures == []
