"""Folding: scopes, repetitions, chains, and graphs too large to be drawn box by box."""

import itertools
import json
import re
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.draw.engine import draw
from tinygrad_bc.draw.fold import MOST_ARROWS, MOST_BOXES


def picture(*args, **options):
    return json.loads(tg.graph(*args, **options).json)


def labels(found, kind=None):
    return [node["label"] for node in found["nodes"] if kind in (None, node["kind"])]


def remarks(found, label):
    (node,) = [node for node in found["nodes"] if node["label"] == label]
    return node["remarks"]


def parameter(*shape):
    return tg.tensor(np.full(shape, 0.1), requires_grad=True)


def residual(blocks, name="block"):
    h = tg.tensor(np.ones((4, 2)))
    with tg.scope("encoder"):
        for i in range(blocks):
            with tg.scope(name.format(i)):
                W, b = parameter(4, 4), parameter(4, 1)
                h = h + tg.relu(W @ h + b)
    with tg.scope("head"):
        V = parameter(1, 4)
        Y = V @ h
    return Y.sum()


# --- scopes ----------------------------------------------------------------------------------------


def test_open_scopes_hold_their_operations_and_parameters():
    found = picture(residual(2))
    assert {scope["name"]: scope["parent"] for scope in found["scopes"]} == {
        "encoder": None,
        "block": "s0",
        "head": None,
    }
    paths = {node["label"]: node["path"] for node in found["nodes"]}
    assert paths["W"] == paths["b"] == paths["h(2)"] == "encoder/block"
    assert paths["V"] == "head"
    assert paths["h"] == ""  # the data comes from outside, though it is used inside alone
    assert paths[labels(found)[-1]] == ""


@pytest.mark.parametrize("backward", [False, True])
def test_open_scopes_that_follow_each_other_stand_below_each_other(backward):
    root = ElementTree.fromstring(draw(tg.graph(residual(3), backward=backward).dot, "svg"))
    groups = {group.get("id"): group for group in root.iter("{http://www.w3.org/2000/svg}g")}
    spans = []
    for scope in ("s1", "s2", "s3", "s4"):  # three blocks and the head
        outline = groups[scope].find(".//{http://www.w3.org/2000/svg}path").get("d")
        heights = [float(pair.split(",")[1]) for pair in re.findall(r"-?[\d.]+,-?[\d.]+", outline)]
        spans.append((min(heights), max(heights)))
    for (_, bottom), (top, _) in itertools.pairwise(spans[::-1] if backward else spans):
        assert bottom < top


def test_depth_0_leaves_one_box_of_each_outermost_scope():
    found = picture(residual(3), depth=0)
    assert labels(found, "folded") == ["encoder", "head"]
    assert remarks(found, "encoder") == [
        "add × 6, matmul × 3, relu × 3",
        "6 parameters (60 numbers)",
        "h (4×2) → h(4) (4×2)",
    ]
    assert remarks(found, "head") == ["matmul", "1 parameter (4 numbers)", "h(4) (4×2) → Y (1×2)"]
    assert [(edge["from"], edge["to"]) for edge in found["edges"]] == [("v1", "s0"), ("s0", "s4"), ("s4", "v21")]


def test_equal_scopes_that_follow_each_other_become_one():
    found = picture(residual(3), depth=1)
    assert labels(found, "folded") == ["block × 3"]
    assert remarks(found, "block × 3")[1] == "6 parameters (60 numbers)"
    assert labels(picture(residual(3, "block{}"), depth=1), "folded") == ["block0 … block2 × 3"]


def test_of_equal_scopes_that_are_open_the_first_stays_open():
    found = picture(residual(5), depth=2)
    assert labels(found, "folded") == ["block × 4"]
    assert [node["path"] for node in found["nodes"]].count("encoder/block") == 6
    assert labels(picture(residual(5)), "folded") == []


def test_scopes_that_differ_or_do_not_follow_each_other_are_not_merged():
    x = parameter(3)
    with tg.scope("a"):
        one = tg.exp(x)
    with tg.scope("a"):
        other = tg.exp(x)  # which does not read the one before
    assert labels(picture([one, other], depth=0), "folded") == ["a", "a"]
    with tg.scope("a"):
        third = tg.tanh(other)
    assert labels(picture(third, depth=0), "folded") == ["a", "a"]
    with tg.scope("a"):
        fourth = tg.tanh(third.sum())  # other shapes
    assert labels(picture(fourth, depth=0), "folded") == ["a", "a", "a"]


@pytest.mark.parametrize("fold", ["head", ["he*"], ("nothing", "head"), "h?ad"])
def test_fold_takes_patterns(fold):
    found = picture(residual(2), fold=fold)
    assert labels(found, "folded") == ["head"]


def test_fold_takes_patterns_of_paths():
    assert labels(picture(residual(2), fold="encoder/*"), "folded") == ["block × 2"]


def test_an_output_inside_a_folded_scope_is_named():
    with tg.scope("all"):
        Loss = parameter(3).sum()
    assert remarks(picture(Loss, depth=0), "all")[-1] == "holds Loss"


def test_parameters_that_scopes_share_stay_outside():
    W, h = parameter(2, 2), tg.tensor(np.ones((2, 2)))
    for _ in range(2):
        with tg.scope("cell"):
            h = tg.tanh(W @ h)
    found = picture(h, depth=0)
    assert labels(found, "parameter") == ["W"]
    assert labels(found, "folded") == ["cell × 2"]


# --- large graphs ----------------------------------------------------------------------------------


def chain(n):
    y = tg.tensor(0.5, requires_grad=True, name="x")
    for _ in range(n // 2):
        y = tg.tanh(y + 0.1)
    return (y * y).named("Loss")


def wide(n):
    x = total = tg.tensor(0.5, requires_grad=True, name="x")
    for i in range(n // 2):
        total = total + x * tg.tensor(float(i), requires_grad=True)
    return total


def test_a_chain_is_folded_and_the_picture_says_so():
    Loss = chain(1000)
    drawing = tg.graph(Loss)
    found = json.loads(drawing.json)
    assert labels(found) == ["x", "… 1,000 operations", "Loss"]
    assert remarks(found, "… 1,000 operations")[0] == "add × 500, tanh × 500"
    assert drawing.folded == "1,002 boxes are folded into 3; fold=False draws them all"
    assert drawing.folded in drawing.dot
    assert str(drawing).endswith(f"\n\nThe picture: {drawing.folded}")
    assert len(json.loads(tg.graph(Loss, fold=False).json)["nodes"]) == 1002


def test_a_small_graph_is_not_folded():
    drawing = tg.graph(chain(MOST_BOXES - 4))
    assert drawing.folded == ""
    assert len(json.loads(drawing.json)["nodes"]) == MOST_BOXES - 2


def test_values_with_a_name_of_their_own_stay():
    y = tg.tensor(0.5, requires_grad=True, name="x")
    for i in range(400):
        y = tg.tanh(y)
        if i in (100, 300):
            y.name = f"state{i}"
    assert labels(picture(y)) == [
        "x",
        "… 100 operations",
        "state100",
        "… 199 operations",
        "state300",
        "… 98 operations",
        "y(398)",
    ]


def test_scopes_fold_before_chains_and_the_innermost_first():
    h = tg.tensor(np.ones(3), requires_grad=True, name="x")
    for _ in range(30):
        with tg.scope("layer"):
            for name in ("left", "right"):
                with tg.scope(name):
                    for _ in range(6):
                        h = tg.tanh(h)
            h = h.reshape(-1)
        h = h + 1.0
    found = picture(h)
    assert len(found["nodes"]) == 30 * 4  # x is inside the first
    assert set(labels(found, "folded")) == {"left", "right"}


def test_repetitions_fold_before_scopes():
    found = picture(residual(60))
    assert labels(found, "folded") == ["block × 59"]
    assert "relu" in {node["op"] for node in found["nodes"]}


def test_what_nothing_else_helps_against_is_cut_into_slices():
    parts = [tg.tensor(float(i), requires_grad=True, name=f"p{i}") for i in range(2000)]
    total = parts[0]
    for i, part in enumerate(parts[1:]):
        total = (total + part).named(f"t{i}")
    found = picture(total)
    assert len(found["nodes"]) <= MOST_BOXES
    assert len(found["edges"]) <= MOST_ARROWS
    assert sum(len(node["holds"]) for node in found["nodes"]) == 3999
    assert found["nodes"][-1]["remarks"][-1] == "holds t1998"


@pytest.mark.parametrize("make", [chain, wide])
@pytest.mark.parametrize("backward", [False, True])
def test_a_hundred_thousand_operations(make, backward):
    Loss = make(100_000)
    start = time.perf_counter()
    dot = tg.graph(Loss, backward=backward).dot
    draw(dot, "svg")
    assert time.perf_counter() - start < 60  # 2 to 7 seconds; what recurses or is quadratic does not come back
    assert len(dot) < 10_000


def test_a_hundred_thousand_operations_in_scopes_and_with_selections():
    y = tg.tensor(0.5, requires_grad=True, name="x")
    for _ in range(25_000):
        with tg.scope("step"):
            y = tg.tanh(tg.sin(y + 0.1) * 2.0)
    assert "step × 24,999" in labels(picture(y))
    assert labels(picture(y, where=lambda value: value.node is None or value is y)) == ["x", "y(25000)"]
    assert len(labels(picture(y, around=y, radius=3))) == 5


def test_scopes_nested_a_thousand_deep():
    def nested(level, x):
        with tg.scope("deeper"):
            return nested(level - 1, tg.tanh(x)) if level else x

    x = tg.tensor(0.5, requires_grad=True, name="x")
    drawing = tg.graph(nested(200, x))
    assert drawing.dot.count("subgraph") > 200
    drawing = tg.graph(nested(300, x))
    assert len(json.loads(drawing.json)["nodes"]) <= MOST_BOXES
    draw(drawing.dot, "svg")


# --- any graph ---------------------------------------------------------------------------------------


@st.composite
def computations(draw):
    values = [tg.tensor([0.5, -1.0], requires_grad=True), tg.tensor([2.0, 3.0])]
    names = st.sampled_from(["a", "b", 'odd "<&\\N>', "ü"])

    def grow(depth):
        for _ in range(draw(st.integers(1, 5))):
            if depth < 3 and draw(st.booleans()):
                with tg.scope(draw(names)):
                    grow(depth + 1)
            else:
                one, other = draw(st.sampled_from(values)), draw(st.sampled_from(values))
                made = draw(st.sampled_from([tg.add, tg.multiply, lambda a, _: tg.tanh(a)]))(one, other)
                if draw(st.integers(0, 3)) == 0:
                    made = made.named(draw(names))
                values.append(made)

    grow(0)
    return sum(values[2:], values[0]).sum(), draw(st.sampled_from([value for value in values if value.node] or values))


@given(
    computations(),
    st.fixed_dictionaries(
        {},
        optional={
            "backward": st.just(True),
            "depth": st.integers(0, 3),
            "fold": st.sampled_from(["a", "*", ["b", "ü"], False]),
            "theme": st.sampled_from(["light", "dark"]),
            "direction": st.sampled_from(["TB", "LR", "BT", "RL"]),
        },
    ),
    st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_any_graph_gives_valid_dot_twice_the_same(made, options, whole):
    import pygraphviz

    Loss, _ = made
    if not whole:
        options = options | {"where": lambda value: value is Loss or value.node is None or value.requires_grad}
    drawing = tg.graph(Loss, **options)
    assert drawing.dot == tg.graph(Loss, **options).dot
    parsed = pygraphviz.AGraph(string=drawing.dot)
    found = json.loads(drawing.json)
    boxes = [node for node in parsed.nodes() if not str(node).startswith("key-")]
    assert set(boxes) == {node["id"] for node in found["nodes"]}
    assert parsed.number_of_edges() == len(found["edges"]) + drawing.dot.count("[style=invis]")
    places = {node["id"]: i for i, node in enumerate(found["nodes"])}
    assert all(places[edge["from"]] < places[edge["to"]] for edge in found["edges"])  # so there is no cycle
    shown = [name for node in found["nodes"] for name in node["holds"] or [node["id"]]]
    assert len(shown) == len(set(shown))


@given(computations(), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_folding_loses_no_box_and_no_connection(made, depth):
    Loss, _ = made
    whole, less = picture(Loss, fold=False), picture(Loss, depth=depth)
    inside = {name: node["id"] for node in less["nodes"] for name in node["holds"] or [node["id"]]}
    assert set(inside) == {node["id"] for node in whole["nodes"]}
    expected = {(inside[edge["from"]], inside[edge["to"]]) for edge in whole["edges"]}
    assert {(edge["from"], edge["to"]) for edge in less["edges"]} == {(a, b) for a, b in expected if a != b}
