"""Whole graphs as NumPy source: it reads as if written by hand, runs alone, and gives the same numbers bit for bit."""

import ast
import importlib.util
import linecache
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import tinygrad_bc as tg
from tinygrad_bc.compiler.numpy_source.writer import Writer, leaves
from tinygrad_bc.errors import SourceError
from tinygrad_bc.primitive import CAPTURE, REGISTRY, mode
from tinygrad_bc.record import Graph

HERE = Path(__file__).parent


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def userops():
    before = dict(REGISTRY)
    yield loaded("userops_of_these_tests", HERE / "userops.py")
    for name in REGISTRY.keys() - before.keys():
        del REGISTRY[name]


@pytest.fixture(autouse=True)
def captured():
    token = mode.set(CAPTURE)
    yield
    mode.reset(token)


def namespace_of(source):
    assert "tinygrad_bc" not in source
    names = {}
    exec(compile(source, "<generated>", "exec"), names)
    return names


def written(y, names=None, **options):
    """Return the source of the function `compute` for the graph of y, and its arguments."""
    graph = Graph(y, names=names)
    arguments = leaves(graph)
    writer = Writer()
    return writer.module(writer.function(graph, "compute", arguments, graph.outputs, **options)), arguments


def assert_same(y, names=None):
    """Assert that the source computes what was recorded, to the last bit."""
    source, arguments = written(y, names)
    result = namespace_of(source)["compute"](*(x.data for x in arguments))
    np.testing.assert_array_equal(result, y.data, err_msg=source)
    assert np.asarray(result).dtype == y.dtype, source
    return source


# --- the classifier ------------------------------------------------------------------------------


def classifier(dtype=np.float64):
    rng = np.random.default_rng(1)
    X = tg.tensor(rng.normal(size=(30, 50)).astype(dtype))
    Y = tg.tensor((rng.normal(size=(1, 50)) > 0).astype(dtype))
    W1 = tg.tensor((rng.normal(size=(15, 30)) / 5).astype(dtype), requires_grad=True)
    b1 = tg.tensor(np.zeros((15, 1), dtype), requires_grad=True)
    W2 = tg.tensor((rng.normal(size=(1, 15)) / 5).astype(dtype), requires_grad=True)
    b2 = tg.tensor(np.zeros((1, 1), dtype), requires_grad=True)
    Z1 = W1 @ X + b1
    A1 = tg.relu(Z1)
    Z2 = W2 @ A1 + b2
    Yh = tg.sigmoid(Z2)
    Loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
    names = ("X", "Y", "W1", "b1", "W2", "b2", "Z1", "A1", "Z2", "Yh", "Loss")
    return dict(zip(names, (X, Y, W1, b1, W2, b2, Z1, A1, Z2, Yh, Loss), strict=True))


def module_of(values):
    """Return the classifier as a module of two functions, what they take, and the gradients."""
    parameters = [values[name] for name in ("W1", "b1", "W2", "b2")]
    forward = Graph(values["Loss"], names=values)
    gradients = tg.grad(values["Loss"], parameters, create_graph=True)
    names = {f"dLoss_{name}": g for name, g in zip(("W1", "b1", "W2", "b2"), gradients)}
    steps = [values[name] for name in ("Z1", "A1", "Yh")]
    backward = Graph(gradients, inputs=steps, names={**values, **names})
    takes = [values[name] for name in ("X", "W1", "b1", "W2", "b2", "Y")]
    passed = [values[name] for name in ("X", "Y", "W2")] + steps
    writer = Writer()
    source = writer.module(
        writer.function(forward, "forward", takes, [values["Loss"], *steps], "Return the loss, and steps to it."),
        writer.function(backward, "backward", passed, gradients, "Return the gradients of the loss."),
        docstring="A classifier of two layers.",
    )
    return source, takes, gradients


def test_the_classifier_reads_as_written_by_hand():
    source, _, _ = module_of(classifier())
    assert source == (HERE / "classifier.txt").read_text()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_classifier_runs_alone(dtype):
    values = classifier(dtype)
    source, takes, gradients = module_of(values)
    run = namespace_of(source)
    loss, *steps = run["forward"](*(x.data for x in takes))
    found = run["backward"](values["X"].data, values["Y"].data, values["W2"].data, *steps)
    # Products of matrices are recorded as np.dot and written as @, which may differ in the last digits.
    tolerance = 1e-13 if dtype is np.float64 else 1e-5
    np.testing.assert_allclose(loss, values["Loss"].data, rtol=tolerance)
    for g, expected in zip(found, gradients, strict=True):
        assert g.dtype == expected.dtype == dtype
        np.testing.assert_allclose(g, expected.data, rtol=tolerance, atol=tolerance)


# --- what the source looks like ------------------------------------------------------------------


def body_of(y, **names):
    source, _ = written(y, {**names, "y": y})
    return [line.strip() for line in source.splitlines() if "  # (" in line]


def test_values_used_once_stand_inside_others():
    a, b = tg.tensor(np.arange(6.0).reshape(2, 3) + 1), tg.tensor(np.ones(3) * 2)
    once = body_of((a + b) * (a - b) / 2, a=a, b=b)
    assert once == ["y = (a + b) * (a - b) / 2  # (2, 3)"]
    twice = body_of((lambda x: x * x)(a + b), a=a, b=b)
    assert twice == ["v2 = a + b  # (2, 3)", "y = v2 * v2  # (2, 3)"]
    c = a + b
    named = body_of(c * 3, a=a, b=b, c=c)
    assert named == ["c = a + b  # (2, 3)", "y = c * 3  # (2, 3)"]


@pytest.mark.parametrize(
    ("expected", "compute"),
    [
        ("x.T", lambda x: x.T),
        ("x**2", lambda x: x**2),
        ("x**-1.5", lambda x: x**-1.5),
        ("(-x) ** 2", lambda x: (-x) ** 2),
        ("(x**2) ** 3", lambda x: (x**2) ** 3),
        ("-(x**2)", lambda x: -(x**2)),
        ("np.sum(x)", lambda x: x.sum()),
        ("np.sum(x, axis=1, keepdims=True)", lambda x: x.sum(axis=1, keepdims=True)),
        ("np.mean(x, axis=0)", lambda x: x.mean(axis=0)),
        ("np.max(x, axis=1)", lambda x: tg.amax(x, -1)),
        ("x.reshape(2, 6)", lambda x: x.reshape(2, 6)),
        ("x[1:]", lambda x: x[1:]),
        ("x[:, 0]", lambda x: x[:, 0]),
        ("x[..., None, ::-1]", lambda x: x[..., None, ::-1]),
        ("np.where(x > 0, x, 0.0)", lambda x: tg.where(x > 0, x, 0.0)),
        ("np.maximum(x, 0)", tg.relu),
        ("np.tanh(x)", tg.tanh),
        ("1 - x", lambda x: 1 - x),
        ("x @ x.T", lambda x: x @ x.T),
        ("np.concatenate((x, x), axis=1)", lambda x: tg.concatenate([x, x], 1)),
        ("np.clip(x, -np.inf, 3)", lambda x: tg.clip(x, max=3)),
        ("x.astype(np.float32)", lambda x: x.astype(np.float32)),
    ],
)
def test_how_operations_are_written(expected, compute):
    x = tg.tensor(np.arange(12.0).reshape(3, 4) + 1, name="x")
    y = compute(x)
    found = body_of(y)
    assert found == [f"y = {expected}  # {y.shape}"]
    if "@" not in expected:
        assert_same(y)


def test_metadata_are_arguments_of_a_helper_where_nothing_else_depends_on_them():
    x = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4), name="x")
    y = tg.elu(x) + tg.elu(x, alpha=0.5) + tg.elu(x[0], alpha=0.25)
    source = assert_same(y, {"y": y})
    assert source.count("def elu") == 1
    assert "y = elu(x) + elu(x, alpha=0.5) + elu(x[0], alpha=0.25)" in source


def test_helpers_that_differ_have_different_names():
    x = tg.tensor(np.linspace(-1, 1, 12).reshape(3, 4), name="x")
    source = assert_same(tg.softmax(x, 0) * tg.softmax(x, 1))
    assert "softmax(x) * softmax_2(x)" in source


def test_an_operation_that_reads_an_argument_twice_gets_it_by_name():
    x = tg.tensor(np.linspace(-1, 1, 12), name="x")
    y = tg.silu(x * 3 + 1)
    found = body_of(y)
    assert found == ["v2 = x * 3 + 1  # (12,)", "y = v2 * sigmoid(v2)  # (12,)"]


# --- names ---------------------------------------------------------------------------------------


def test_names_hide_nothing():
    labels = [
        "lambda",
        "sum",
        "np",
        "layers.0.weight",
        "σ",
        "sigmoid",
        "compute",
        "match",
        "2nd",
        "a b",
        "a_b",
        "%",
        "",
    ]
    values = [tg.tensor(np.arange(6.0) + i, name=label) for i, label in enumerate(labels)]
    total = tg.sigmoid(values[0])
    for value in values[1:]:
        total = total + value
    source = assert_same(total)
    (function,) = [d for d in ast.parse(source).body if isinstance(d, ast.FunctionDef) and d.name == "compute"]
    names = [a.arg for a in function.args.args]
    assert len(set(names)) == len(labels)
    assert {"σ", "layers_0_weight", "lambda_", "np_", "sum_", "v2nd"} <= set(names)
    assert not {"sigmoid", "compute", "np", "sum"} & set(names)


# --- constants -----------------------------------------------------------------------------------


def test_single_numbers_are_written_out_and_keep_their_type():
    x = tg.tensor(np.ones((5, 2), np.float32), name="x")
    y = x * np.array([np.inf], np.float32) + np.array(0.1, np.float32)
    source = assert_same(y)
    assert "x * np.array([np.inf], dtype=np.float32)" in source
    assert "+ np.array(0.1, dtype=np.float32)" in source
    assert_same(x * np.float32(0.1) + 0.1)
    assert_same(tg.tensor(np.ones(5), name="x") * np.array([-0.0]))


def test_a_larger_constant_must_be_an_argument():
    x = tg.tensor(np.ones(2_000), name="x")
    graph = Graph(x * np.random.default_rng(0).normal(size=2_000))
    with pytest.raises(SourceError, match="leaves"):
        Writer().function(graph, "f", [x], graph.outputs)


# --- random graphs -------------------------------------------------------------------------------

random_graphs = loaded("random_graphs_for_source", HERE.parent / "test_random_graphs.py")


@pytest.mark.filterwarnings("ignore:.*computed for every pair:tinygrad_bc.errors.GradientWarning")
@random_graphs.repeatable(60)
@given(random_graphs.graphs())
def test_random_graphs_and_their_gradients(graph):
    token = mode.set(CAPTURE)
    try:
        xs = [tg.tensor(x, requires_grad=True) for x in graph.leaves]
        loss = random_graphs.loss_of(graph, random_graphs.evaluated(graph, xs, random_graphs.OURS), lambda x: x.sum())
        gradients = [g for g in tg.grad(loss, xs, allow_unused=True, create_graph=True) if g is not None]
    finally:
        mode.reset(token)
    recorded = Graph([loss, *gradients])
    arguments = leaves(recorded)
    writer = Writer()
    source = writer.module(writer.function(recorded, "compute", arguments, recorded.outputs))
    results = namespace_of(source)["compute"](*(x.data for x in arguments))
    products = "@" in source or "matmul" in source  # recorded as np.dot, which may differ in the last digits
    for result, y in zip(results, recorded.outputs, strict=True):
        assert np.asarray(result).dtype == y.dtype
        assert np.shape(result) == y.shape
        if products:
            np.testing.assert_allclose(result, y.data, rtol=1e-9, atol=1e-11, err_msg=source)
        else:
            np.testing.assert_array_equal(result, y.data, err_msg=source)


# --- a user's operations -------------------------------------------------------------------------


def test_operations_from_outside_the_package(userops):
    x = tg.tensor(np.linspace(-1, 2, 12).reshape(3, 4), name="x")
    y = userops.curious(x) + userops.bell(x) * userops.series(x) + userops.series(x * 2, order=3)
    source = assert_same(y, {"y": y})
    assert "y = curious(x) + bell(x) * series(x) + series(x * 2, order=3)" in source
    other = np.linspace(-1, 0.5, 12).reshape(3, 4)  # the other branch
    np.testing.assert_array_equal(namespace_of(source)["curious"](other), userops.curious(other))
    with pytest.raises(ValueError, match="too low: -6"):
        namespace_of(source)["curious"](other - 5)
    assert_formatted(source)


def test_what_depends_on_the_numbers_remains(userops):
    x = tg.tensor(np.array([[2.0, 1.0], [1.0, 2.0]]), name="x")
    run = namespace_of(assert_same(userops.positive(x)))
    with pytest.raises(TypeError, match="take abs"):
        run["compute"](-x.data)
    run = namespace_of(assert_same(userops.inverse(x)))
    singular = np.ones((2, 2))
    np.testing.assert_array_equal(run["compute"](singular), np.linalg.pinv(singular))


def test_an_operation_declared_in_a_notebook_cell(userops):
    cell = "def forward(x):\n    return np.sin(x) * 2\n\n\nforwards = [lambda x: x + 1, lambda x: x + 2]\n"
    linecache.cache["<cell 1>"] = (len(cell), None, cell.splitlines(keepends=True), "<cell 1>")
    names = {"np": np}
    exec(compile(cell, "<cell 1>", "exec"), names)
    x = tg.tensor(np.linspace(-1, 2, 6), name="x")
    y = userops.declared("wave", names["forward"])(x)
    for i, forward in enumerate(names["forwards"]):  # of two on one line the right one
        y = y * userops.declared(f"shifted{i}", forward)(x)
    source = assert_same(y)
    assert all(text in source for text in ("np.sin(x) * 2", "(x + 1)", "(x + 2)"))


def test_arrays_that_are_changed_in_place(userops):
    x = tg.tensor(np.linspace(-1, 2, 6), name="x")
    assert_formatted(assert_same(userops.in_place(x)))


def test_lists_loops_and_names_of_other_operations(userops):
    x = tg.tensor(np.linspace(-1, 0.5, 6), name="bell")
    y = userops.squashed(x, exponents=(1, 2, 3)) + userops.squashed(userops.bell(x), exponents=(2,), sharp=True)
    source = assert_same(y)
    assert "weight" not in source  # the loop is written out, and the numbers are computed
    assert_formatted(source)


def test_a_function_does_not_get_the_name_of_a_helper():
    x = tg.tensor(np.linspace(-1, 0.5, 6), name="x")
    graph, writer = Graph(tg.sigmoid(x)), Writer()
    source = writer.module(writer.function(graph, "sigmoid", [x], graph.outputs))
    np.testing.assert_array_equal(namespace_of(source)["sigmoid"](x.data), graph.outputs[0].data)
    with pytest.raises(SourceError, match="sigmoid_2"):
        writer.function(graph, "sigmoid_2", [x], graph.outputs)


def test_an_operation_without_source_is_named(userops):
    names = {"np": np}
    exec("def forward(x):\n    return np.sin(x)", names)
    op = userops.declared("nameless", names["forward"])
    with pytest.raises(SourceError, match=r"nameless.*cannot be read.*file or a notebook cell"):
        written(op(tg.tensor(np.ones(3), name="x")))


# --- size ----------------------------------------------------------------------------------------


def test_a_chain_of_10_000_operations():
    x = tg.tensor(np.linspace(0, 1, 3), name="x")
    y = x
    for i in range(10_000):
        y = tg.tanh(y) if i % 3 == 0 else y * 1.01 + 0.001
    begin = time.perf_counter()
    assert_same(y)
    assert time.perf_counter() - begin < 30


def test_many_inputs_and_outputs():
    xs = [tg.tensor(np.arange(3.0) + i, name=f"an_input_of_{i}") for i in range(40)]
    y = tg.concatenate(xs)
    assert_formatted(assert_same(y))
    graph = Graph([x * 2 for x in xs])
    writer = Writer()
    source = writer.module(writer.function(graph, "compute", xs, graph.outputs))
    assert_formatted(source)
    for doubled, x in zip(namespace_of(source)["compute"](*(x.data for x in xs)), xs, strict=True):
        np.testing.assert_array_equal(doubled, 2 * x.data)


def assert_formatted(source):
    """Assert that a formatter would leave the source as it is; where there is none, that no line is too long."""
    assert max(map(len, source.splitlines())) <= 120
    ruff = shutil.which("ruff", path=f"{Path(sys.executable).parent}:/usr/bin")
    if ruff:
        for command in (["format", "--diff"], ["check", "--select", "E,F,W,I"]):
            options = ["--isolated", "--line-length", "120", "--stdin-filename", "generated.py", "-"]
            done = subprocess.run([ruff, *command, *options], input=source, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_classifier_is_formatted():
    assert_formatted(module_of(classifier())[0])
