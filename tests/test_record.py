"""The record: what it holds, what it costs, that it can be run again, and that it goes away."""

import gc
import threading
import weakref

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ShapeError
from tinygrad_bc.record import Graph, recorded_order


def leaf(data, name=None):
    return tg.tensor(data, requires_grad=True, name=name)


@pytest.fixture
def without_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def network():
    rng = np.random.default_rng(0)
    W, X, b = (
        leaf(rng.normal(size=(3, 2)), "W"),
        tg.tensor(rng.normal(size=(2, 5)), name="X"),
        leaf(np.ones((3, 1)), "b"),
    )
    Z = (W @ X + b).named("Z")
    loss = (tg.sigmoid(Z) ** 2).mean().named("loss")
    return W, X, b, Z, loss


def test_a_node_is_a_recipe():
    W, X, *_ = network()
    product = W @ X
    node = product.node
    assert node.op is tg.matmul
    assert node.inputs[0] is W
    assert node.inputs[1] is X
    assert node.params == {}
    assert node.source == "product = W @ X"
    assert node.filename == __file__
    np.testing.assert_array_equal(node.op.forward(W.data, X.data), product.data)
    total = product.sum(axis=0)
    assert total.node.params == {"axis": 0, "keepdims": False, "dtype": None}


def test_a_node_belongs_to_the_line_of_the_user_also_through_composed_operations():
    x = leaf([[1.0, 2.0]])
    y = tg.transpose(x, 0, 1)
    assert y.node.source == "y = tg.transpose(x, 0, 1)"
    z = np.exp(x)
    assert z.node.source == "z = np.exp(x)"
    part = x[0]
    assert part.node.source == "part = x[0]"


def test_values_stand_after_what_they_were_computed_from():
    *_, loss = network()
    graph = Graph(loss)
    position = {value: i for i, value in enumerate(graph)}
    for value in graph:
        if value.node is not None:
            assert all(position[x] < position[value] for x in value.node.values)
    assert graph.values[-1] is loss
    assert [graph.label(v) for v in graph if v.node is None] == ["W", "X", "b"]


def test_text_of_a_graph():
    *_, loss = network()
    assert str(Graph(loss)).splitlines() == [
        "W = parameter    3×2 float64",
        "X = constant     2×5 float64",
        "%2 = W @ X       3×5 float64",
        "b = parameter    3×1 float64",
        "Z = %2 + b       3×5 float64",
        "%5 = σ(Z)        3×5 float64",
        "%6 = %5^2        3×5 float64",
        "loss = mean(%6)  scalar float64",
    ]


def test_names_from_variables_also_of_plain_arrays():
    X = np.ones((2, 2))
    weights = leaf(np.ones((2, 2)))
    out = weights @ X
    graph = Graph(out, names=locals())
    assert [graph.label(v) for v in graph] == ["weights", "X", "out"]
    assert graph.formula(out) == "weights @ X"


def test_an_order_of_no_operations():
    assert recorded_order([leaf(1.0)]) == []
    x = leaf(1.0)
    assert list(Graph(x)) == [x]


# --- running it again ------------------------------------------------------------------------------


def test_evaluate_on_other_data():
    W, X, b, Z, loss = network()
    graph = Graph([loss, Z])
    other = np.full((2, 5), 0.3)
    again = 1 / (1 + np.exp(-(W.data @ other + b.data)))
    new_loss, new_Z = graph.evaluate({X: other})
    np.testing.assert_allclose(new_loss, (again**2).mean(), rtol=1e-15)
    np.testing.assert_allclose(new_Z, W.data @ other + b.data)
    np.testing.assert_array_equal(graph.evaluate()[0], loss.data)
    assert loss.node is not None


def test_evaluate_with_a_computed_value_replaced():
    *_, Z, loss = network()
    graph = Graph(loss, inputs=[Z])
    assert graph.values[0] is Z
    assert graph.node(Z) is None
    (value,) = graph.evaluate({Z: np.zeros((3, 5))})
    assert value == 0.25


def test_evaluate_refuses_other_shapes_and_strangers():
    W, *_, loss = network()
    with pytest.raises(ShapeError, match=r"W was recorded with shape \(3, 2\)"):
        Graph(loss).evaluate({W: np.ones((3, 3))})
    with pytest.raises(KeyError, match="not in this graph"):
        Graph(loss).evaluate({leaf(1.0): 2.0})


def test_the_backward_pass_is_a_graph_that_can_be_run_again_and_differentiated():
    W, X, b, _, loss = network()
    (dW,) = tg.grad(loss, W, create_graph=True)
    graph = Graph(dW)
    assert X in graph  # constants are recorded too, and may be replaced
    other = np.full((2, 5), 0.3)
    (replayed,) = graph.evaluate({X: other})
    W2 = leaf(W.data)
    loss2 = (tg.sigmoid(W2 @ other + b.data) ** 2).mean()
    np.testing.assert_allclose(replayed, tg.grad(loss2, W2)[0].data, rtol=1e-14)


# --- a million operations --------------------------------------------------------------------------


def test_a_chain_of_a_million_operations(without_collector):
    x = leaf(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1e-6
    middle = weakref.ref(recorded_order([y])[500_000])
    y.backward()
    assert x.grad.item() == 1.0
    assert y.item() == pytest.approx(2.0)
    (again,) = Graph(y).evaluate({x: 2.0})
    assert again == pytest.approx(3.0)
    del y
    assert middle() is None


def test_a_graph_dies_by_reference_counting_alone(without_collector):
    W, X, b, Z, loss = network()
    loss.backward()
    refs = [weakref.ref(value) for value in Graph(loss)]
    assert len(refs) == 8
    del W, X, b, Z, loss
    assert [ref() for ref in refs] == [None] * 8


def test_a_recorded_backward_pass_dies_too(without_collector):
    W, *_, loss = network()
    (dW,) = tg.grad(loss, W, create_graph=True)
    refs = [weakref.ref(value) for value in Graph(dW)]
    del W, _, loss, dW
    assert all(ref() is None for ref in refs)


def test_steps_leave_nothing_behind(without_collector):
    W = leaf(np.ones((3, 2)))

    def step():
        loss = ((W @ np.ones((2, 4))) ** 2).mean()
        (dW,) = tg.grad(loss, W)
        with tg.no_grad():
            W.__isub__(0.01 * dW)

    step()
    before = len(gc.get_objects())
    for _ in range(100):
        step()
    assert len(gc.get_objects()) - before < 10


def test_an_error_in_backward_leaves_no_graph_behind(without_collector):
    def fail():
        x = leaf([1.0, 2.0])
        y = (x * x).sum()
        x.data = np.zeros(2)
        with pytest.raises(tg.errors.GradientError):
            y.backward()
        return weakref.ref(y)

    ref = fail()
    gc.collect()  # the traceback of the error held the frames
    assert ref() is None


def test_threads_build_and_differentiate_their_own_graphs():
    results = {}

    def work(k):
        x = leaf(float(k))
        for _ in range(200):
            (d,) = tg.grad(x**3, x)
        results[k] = d.item()

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == {k: 3.0 * k**2 for k in range(4)}


def test_what_evaluate_returns_is_no_view_of_the_record():
    x = leaf([1.0, 2.0])
    (out,) = Graph(x.reshape(2, 1)).evaluate()
    out[:] = 7
    np.testing.assert_array_equal(x.data, [1.0, 2.0])


def test_whole_numbers_are_not_replaced_by_fractions():
    x, i = leaf([1.0, 2.0]), tg.tensor([0, 1], name="i")
    graph = Graph(x * i)
    with pytest.raises(tg.errors.DTypeError, match="i is int64 and cannot be replaced by float64"):
        graph.evaluate({i: [0.7, 1.9]})


def test_formulas_show_metadata_that_is_not_the_default():
    x = leaf(np.ones((2, 3)), "x")
    graph = Graph([x.sum(), x.sum(axis=0, keepdims=True), tg.concatenate([x, x], axis=1)])
    assert [graph.formula(y) for y in graph.outputs] == [
        "sum(x)",
        "sum(x, axis=0, keepdims=True)",
        "concatenate(x, x, axis=1)",
    ]


def test_a_name_given_more_than_once_is_numbered():
    h = leaf([1.0], "h")
    for _ in range(2):
        h = tg.tanh(h).named("h")
    assert [line.split("  ")[0] for line in str(Graph(h)).splitlines()] == [
        "h = parameter",
        "h(2) = tanh(h)",
        "h(3) = tanh(h(2))",
    ]
