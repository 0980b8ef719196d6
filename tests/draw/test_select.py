"""A part of a picture: by a predicate, or around a value."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError


def picture(*args, **options):
    return json.loads(tg.graph(*args, **options).json)


def random_graph(seed, n=25):
    rng = np.random.default_rng(seed)
    values = [tg.tensor(rng.normal(size=2), requires_grad=True) for _ in range(3)]
    while len(values) < n:
        one, other = (values[i] for i in rng.integers(max(0, len(values) - 8), len(values), 2))
        values.append(tg.add(one, other) if rng.random() < 0.6 else tg.tanh(one))
    return tg.graph(values[-4:])


def reachable(graph, start, through):
    """The values from which one gets to `start` over values in `through` alone."""
    found, waiting = set(), [start]
    while waiting:
        node = graph.node(waiting.pop())
        for x in node.values if node else ():
            if x in through and x not in found:
                waiting.append(x)
            found.add(x)
    return found - through


@given(st.integers(0, 10_000), st.integers(1, 24))
@settings(max_examples=40, deadline=None)
def test_arrows_pass_over_what_is_hidden(seed, share):
    graph = random_graph(seed)
    rng = np.random.default_rng(seed + 1)
    shown = {value for value in graph if rng.integers(25) < share} | {graph.outputs[0]}
    found = picture(graph.outputs, where=shown.__contains__)
    names = {value: f"v{i}" for i, value in enumerate(graph)}
    hidden = set(graph) - shown
    assert {node["id"] for node in found["nodes"]} == {names[value] for value in shown}
    direct = {
        (names[x], names[value]) for value in shown if graph.node(value) for x in graph.node(value).values if x in shown
    }
    over = {
        (names[x], names[value])
        for value in shown
        for step in (graph.node(value).values if graph.node(value) else ())
        if step in hidden
        for x in reachable(graph, step, hidden)
    }
    assert {(edge["from"], edge["to"]) for edge in found["edges"] if not edge["bridge"]} == direct
    assert {(edge["from"], edge["to"]) for edge in found["edges"] if edge["bridge"]} == over


@given(st.integers(0, 10_000), st.integers(0, 24), st.integers(0, 4))
@settings(max_examples=40, deadline=None)
def test_around_keeps_what_is_near_and_marks_the_cuts(seed, centre, radius):
    graph = random_graph(seed)
    centre = graph.values[centre % len(graph)]
    number = {value: i for i, value in enumerate(graph)}
    linked = np.eye(len(graph), dtype=int)
    for value in graph:
        for x in graph.node(value).values if graph.node(value) else ():
            linked[number[x], number[value]] = linked[number[value], number[x]] = 1
    near = np.linalg.matrix_power(linked, radius)[number[centre]] > 0
    found = picture(graph.outputs, around=centre, radius=radius)
    shown = {node["id"] for node in found["nodes"] if node["kind"] != "cut"}
    assert shown == {f"v{i}" for i in np.flatnonzero(near)}
    expected = set()
    for value in graph:
        for x in graph.node(value).values if graph.node(value) else ():
            if near[number[value]] != near[number[x]]:
                inner = value if near[number[value]] else x
                expected.add((f"v{number[inner]}", inner is value))
    stubs = {node["id"] for node in found["nodes"] if node["kind"] == "cut"}
    cuts = {(edge["to"], True) for edge in found["edges"] if edge["from"] in stubs}
    cuts |= {(edge["from"], False) for edge in found["edges"] if edge["to"] in stubs}
    assert cuts == expected


def test_what_is_left_out_is_said():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = tg.exp(tg.tanh(tg.tanh(x)))
    assert tg.graph(y, where=lambda value: value.name or value is y).folded == (
        "2 values are not shown; dashed arrows pass over them"
    )
    assert tg.graph(y, around=x, radius=1).folded == "2 values further away are left out (…)"
    assert tg.graph(y, around=[x, y], radius=3).folded == ""


def test_the_surroundings_of_a_cotangent():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    h = tg.tanh(tg.tanh(x))
    Loss = (h * h).sum()
    labels = [node["label"] for node in picture(Loss, backward=True, around=h, radius=1)["nodes"]]
    assert labels == ["…", "dLoss_%3", "dLoss_h", "dLoss_%1", "…"]


def test_options_that_cannot_be():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x * 2
    for options, message in [
        ({"direction": "up"}, "direction is one of 'TB', 'LR', 'BT', 'RL'; got 'up'"),
        ({"theme": "sepia"}, "theme is one of 'light', 'dark'; got 'sepia'"),
        ({"depth": -1}, "depth is a number of levels, 0 or more; got -1"),
        ({"radius": 1.5, "around": x}, "radius is a number"),
        ({"where": lambda value: False}, "`where` is true of no value"),
        ({"around": tg.tensor([1.0], name="z")}, "around=z is not in the picture"),
        ({"around": tg.tensor([1.0])}, r"a value of shape \(1,\) is not in the picture"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            tg.graph(y, **options)
    with pytest.raises(DTypeError, match="around: expected a tensor"):
        tg.graph(y, around="x")


def test_a_predicate_has_to_be_a_function():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(ArgumentError, match=r"where is a function.*; got 3"):
        tg.graph(x * x, where=3)
