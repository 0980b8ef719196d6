"""Which array holds which value: sharing, writing over, parts of concatenations, orders of axes."""

import itertools

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.numpy_source.writer import Writer
from tinygrad_bc.compiler.numpy_target.buffers import WORTH_SHARING, Plan
from tinygrad_bc.compiler.numpy_target.instructions import Kind, instruction
from tinygrad_bc.compiler.numpy_target.orders import shortest_steps, without_false_views
from tinygrad_bc.record import Graph


def leaf(*shape, name=None, seed=0):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape), name=name)


def planned(outputs, arguments=(), memory=(), updates=None, first=0, orders=None):
    updates = updates or {}
    graph = Graph([*outputs, *updates.values()], [*arguments, *memory])
    instructions = [instruction(graph, x, Writer(), plain=False) for x in graph if graph.node(x) is not None]
    instructions = without_false_views(instructions, orders := dict(orders or {}))
    made = {i.value for i in instructions}
    inputs = (x for i in instructions for x in i.values)
    constants = [x for x in dict.fromkeys(inputs) if x not in made and x not in set(memory)]
    leaves = list(dict.fromkeys([*arguments, *constants]))
    return Plan(instructions, first, leaves, list(memory), outputs, updates, orders)


def recorded(compute):
    with record_everything():
        return compute()


def test_a_chain_of_elementwise_operations_takes_one_buffer():
    x = leaf(3, 4)
    a, b, c = recorded(lambda: (a := x + 1, b := tg.exp(a), tg.tanh(b)))
    plan = planned([c], [x])
    assert plan.places[a].key == plan.places[b].key == plan.places[c].key
    assert not plan.places[a].overlaps(plan.places[x])


def test_what_is_read_again_is_not_written_over():
    x = leaf(3, 4)
    a, b, c = recorded(lambda: (a := x + 1, b := tg.exp(a), a * b))
    plan = planned([c], [x])
    assert not plan.places[a].overlaps(plan.places[b])
    assert plan.places[c].key in (plan.places[a].key, plan.places[b].key)


def test_what_a_view_looks_at_is_not_written_over():
    x = leaf(3, 3)
    a = recorded(lambda: x + 1)
    t, b = recorded(lambda: (a.T, tg.exp(a)))
    c = recorded(lambda: b @ t)
    plan = planned([c], [x])
    assert plan.places[t].overlaps(plan.places[a])
    assert not plan.places[b].overlaps(plan.places[a])
    assert not any(plan.places[c].overlaps(plan.places[y]) for y in (a, b))


def test_an_operation_that_reads_the_transpose_of_what_it_would_write_over_gets_another_buffer():
    x = leaf(3, 3)
    a, b = recorded(lambda: (a := x + 1, a + a.T))
    plan = planned([b], [x])
    assert not plan.places[b].overlaps(plan.places[a])


def test_values_that_are_not_needed_at_the_same_time_share_a_buffer():
    x, y = leaf(3, 4), leaf(4, 3)
    values = recorded(lambda: (a := x @ y, s := a.sum(), b := x @ (y * s), t := b.sum(), x @ (y * t)))
    plan = planned([values[-1]], [x, y])
    first, second, last = (plan.places[value] for value in (values[0], values[2], values[4]))
    assert first.key == second.key == last.key


@pytest.mark.parametrize("n", [4, int((WORTH_SHARING / 8) ** 0.5)])
def test_only_large_values_of_different_shapes_share(n):
    x = leaf(n, n)
    a, b = recorded(lambda: (a := x + 1, (x * a.sum())[: n - 1] @ x))
    plan = planned([b], [x])
    assert plan.places[a].overlaps(plan.places[b]) == (b._data.nbytes >= WORTH_SHARING)


def test_results_and_what_is_prepared_are_kept():
    x, y = leaf(3), leaf(3)
    a, b, c = recorded(lambda: (a := tg.exp(x), b := a * y, tg.tanh(b)))
    plan = planned([b, c], [x, y], first=1)
    places = [plan.places[v] for v in (a, b, c)]
    assert not any(p.overlaps(q) for p, q in itertools.combinations(places, 2))


def test_a_new_value_is_written_over_the_old_one_if_that_is_read_no_more():
    W, x = leaf(3, name="W"), leaf(3)
    early, new = recorded(lambda: (tg.exp(W), W - x))
    plan = planned([early], [x], [W], {W: new})
    assert plan.places[new].key == plan.places[W].key
    assert plan.pending == []


def test_otherwise_it_is_copied_at_the_end():
    W, V, x = leaf(3, name="W"), leaf(3, name="V"), leaf(3)
    new, late = recorded(lambda: (W - x, tg.exp(W)))
    plan = planned([late], [x], [W], {W: new})
    assert not plan.places[new].overlaps(plan.places[W])
    assert [(old is W, value is new) for old, value in plan.pending] == [(True, True)]
    plan = planned([], [x], [W, V], {W: new, V: new})
    assert len(plan.pending) == 1 or not plan.places[new].overlaps(plan.places[V])


def test_a_matrix_product_is_not_written_over_its_factor():
    W = leaf(3, 3, name="W")
    new = recorded(lambda: W @ W)
    plan = planned([], [], [W], {W: new})
    assert not plan.places[new].overlaps(plan.places[W])


def test_parts_are_written_where_the_whole_is():
    x = leaf(3, 4)
    ones = tg.tensor(np.ones((1, 4)))
    a, whole = recorded(lambda: (a := tg.exp(x), tg.concatenate([a, ones])))
    y = recorded(lambda: tg.tanh(whole))
    plan = planned([y], [x])
    assert plan.joined == {whole}
    np.testing.assert_equal(plan.places[a].array.shape, (3, 4))
    assert plan.places[a].array.base is plan.places[whole].array.base
    assert plan.places[whole].array[:3].ctypes.data == plan.places[a].array.ctypes.data


def test_a_part_is_not_written_over_while_the_whole_is_needed():
    x, ones = leaf(3, 4), tg.tensor(np.ones((1, 4)))
    a, whole = recorded(lambda: (a := tg.exp(x), tg.concatenate([a, ones])))
    b, late = recorded(lambda: (tg.tanh(a), tg.exp(whole)))
    plan = planned([b, late], [x])
    assert plan.places[a].overlaps(plan.places[whole])
    assert not plan.places[b].overlaps(plan.places[whole])


def test_memory_that_is_joined_becomes_part_of_one_array():
    W, b = leaf(3, 4, name="W"), leaf(3, 1, name="b")
    whole = recorded(lambda: tg.concatenate([W, b], 1))
    plan = planned([recorded(lambda: whole * 2)], [], [W, b])
    assert plan.places[W].storage.owner is whole
    assert plan.places[W].array.strides == (40, 8)
    twice = recorded(lambda: tg.concatenate([W, W], 1) * 2)
    plan = planned([twice], [], [W])
    assert plan.places[W].storage.owner is W


def test_memory_that_is_reshaped_elsewhere_stays_contiguous():
    W, b = leaf(3, 4, name="W"), leaf(3, 1, name="b")
    results = recorded(lambda: [tg.concatenate([W, b], 1) * 2, tg.exp(W.reshape(12))])
    plan = planned(results, [], [W, b])
    assert plan.places[W].array.flags.c_contiguous


def test_long_axes_are_contiguous_unless_elements_meet_those_of_an_argument():
    x, w = leaf(50, 4), leaf(4, 3)
    product, result = recorded(lambda: (p := x @ w, tg.tanh(p)))
    graph = Graph(result)
    instructions = [instruction(graph, v, Writer()) for v in (product, result)]
    assert shortest_steps(instructions, [x, w]) == {product: (1, 0), result: (1, 0)}
    assert shortest_steps(instructions, [x, w, result]) == {}
    flat = recorded(lambda: result.reshape(150))
    graph = Graph(flat)
    instructions = [instruction(graph, v, Writer()) for v in (product, result, flat)]
    assert shortest_steps(instructions, [x, w]) == {}
    assert [i.kind for i in without_false_views(instructions, {result: (1, 0)})] == [Kind.CALL] * 3
    assert without_false_views(instructions, {})[-1].kind is Kind.VIEW
