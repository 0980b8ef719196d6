"""Names, read from the user's own code."""

import numpy as np

import tinygrad_bc as tg

X = np.ones((2, 5))


class Model:
    def __init__(self):
        self.b = tg.tensor(np.zeros((3, 1)), requires_grad=True)
        self.weights = {"W": tg.tensor(np.ones((3, 2)), requires_grad=True)}


def labels(output, **names):
    graph = tg.graph(output, names=names)
    return [graph.label(value) for value in graph]


def test_values_are_called_by_the_variables_they_were_assigned_to_and_passed_in():
    model = Model()
    Z = model.weights["W"] @ X + model.b
    model.A = tg.relu(Z)
    total = (model.A * 2).sum()
    assert labels(total) == ["W", "X", "%2", "b", "Z", "A", "%6", "total"]


def test_given_names_come_first():
    model = Model()
    Z = (model.b * 2).named("mine")
    end = Z.sum()
    assert labels(end, other=end) == ["b", "mine", "other"]


def test_a_variable_of_a_loop():
    x = tg.tensor([1.0], requires_grad=True)
    for _ in range(3):
        x = x * 0.5
    assert labels(x) == ["x", "x(2)", "x(3)", "x(4)"]


def test_each_part_of_what_is_taken_apart_has_the_name_of_its_own_variable():
    x = tg.tensor(np.ones((3, 2)), requires_grad=True)
    q, k, v = x * 2
    last = x[2]
    assert labels([q, k, v, last]) == ["x", "%1", "q", "k", "v", "last"]
    q, (k, v) = x[:2]
    assert labels([q, k, v])[2:] == ["q", "%3", "k", "v"]


def test_only_the_result_of_a_call_is_what_was_assigned():
    x = tg.tensor(np.eye(3), requires_grad=True)
    normed = tg.nn.functional.mse_loss(x, np.zeros((3, 3)))
    names = labels(normed)
    assert names[-1] == "normed"
    assert names.count("normed") == 1
    (slope,) = tg.grad(normed, x, create_graph=True)
    assert not any("slope" in name for name in labels(slope)[:-1])


def test_other_targets_and_walrus():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    a = b = x * 2
    c, d = a + 1, (e := b * 3)
    assert labels(a) == ["x", "a"]
    assert labels(c) == ["x", "a", "%2"]
    assert labels(d) == ["x", "a", "e"]
    assert d is e


def test_leaves_are_called_by_variables_in_sight():
    rows = [tg.tensor([1.0, 2.0], requires_grad=True)]
    second = tg.tensor([1.0, 2.0], requires_grad=True)
    total = tg.nn.functional.mse_loss(rows[0], second)
    graph = tg.graph(total)
    assert [graph.label(value) for value in graph] == ["%0", "second", "%2", "%3", "total"]


def test_what_is_made_of_a_variable_is_not_called_by_its_name():
    W = tg.tensor(np.ones((3, 5)), requires_grad=True)
    total = (W @ X.T).sum() + (W @ X.T.data).sum()
    assert labels(total) == ["W", "%1", "%2", "%3", "%4", "%5", "%6", "total"]


def test_code_that_cannot_be_read_gives_no_names_and_no_error():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    space = {"x": x, "tg": tg}
    exec(compile("y = tg.exp(x)\nz = (\n  y + q\n)", "<nowhere>", "exec"), space | {"q": 3.0}, space)
    assert labels(space["z"]) == ["%0", "y", "z"]
    assert space["y"].node.operands == []
