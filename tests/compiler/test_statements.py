"""Which values of a graph get an assignment of their own."""

import numpy as np

import tinygrad_bc as tg
from tinygrad_bc.compiler.numpy_source.statements import MOST_OPERATIONS, statements
from tinygrad_bc.record import Graph


def leaf(name):
    return tg.tensor(np.ones(3), requires_grad=True, name=name)


def groups(graph):
    """Return for each assignment the number of its target among the values, and those of what stands inside it."""
    number = {value: i for i, value in enumerate(graph)}
    return [(number[s.target], [number[x] for x in s.inlined]) for s in statements(graph)]


def test_what_is_used_once_is_inlined_into_its_user():
    a, b = leaf("a"), leaf("b")
    graph = Graph(tg.exp(a * b) + tg.log(a))
    found = groups(graph)
    assert [(target, sorted(inside)) for target, inside in found] == [(5, [2, 3, 4])]


def test_what_is_named_used_twice_or_an_output_is_not():
    a = leaf("a")
    twice = tg.exp(a)
    named = tg.log(a)
    named.name = "named"
    output = tg.sqrt(a)
    total = twice * twice + named + output
    found = statements(Graph([total, output]))
    assert {s.target for s in found} == {twice, named, output, total}


def test_the_same_value_twice_in_one_operation_is_used_twice():
    a = leaf("a")
    graph = Graph((lambda x: x * x)(tg.exp(a)))
    found = groups(graph)
    assert found == [(1, []), (2, [])]


def test_cut_asks_for_an_assignment():
    a = leaf("a")
    inner = (lambda: tg.exp(a))()
    graph = Graph(inner + 1)
    assert len(statements(graph)) == 2 - graph.label(inner).startswith("%")
    assert len(statements(graph, cut=[inner])) == 2


def test_no_assignment_is_long_and_none_is_lost():
    a = leaf("a")
    y = a
    for i in range(100):
        y = tg.tanh(y) * 0.5 + (tg.log(a) if i % 2 else tg.sin(a) * tg.cos(a))
    graph = Graph(y)
    found = statements(graph)
    assert max(len(s.inlined) for s in found) < MOST_OPERATIONS
    order = [value for s in found for value in (*s.inlined, s.target)]
    assert len(order) == len(set(order))
    assert set(order) == {value for value in graph if graph.node(value) is not None}
    before = set()
    for value in order:  # each after what it is computed from
        assert all(x in before for x in graph.node(value).values if graph.node(x) is not None)
        before.add(value)
