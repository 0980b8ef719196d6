"""Programs as NumPy modules with preallocated buffers: the numbers of the graph, and text that a person would write."""

import ast
import importlib.util
import shutil
import subprocess
import sys
import tracemalloc
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.numpy_target.target import build
from tinygrad_bc.compiler.pipeline import stages
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY

HERE = Path(__file__).parent


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = loaded("programs")


def built(program, plain=False):
    return build(program if plain else stages(program)["lowered"], plain=plain)


class Running:
    """A built program beside the graph it was made of, whose updates are fed back."""

    def __init__(self, program, plain=False):
        self.program, self.plain = program, plain
        self.built = built(program, plain)
        self.memory = self.built.pack([np.array(x._array, order="C") for x in program.memory])
        self.bound = self.built.bind(self.memory)
        self.state = {x: np.array(x._array, order="C") for x in program.memory}

    def step(self, *arguments, prepare=True):
        program = self.program
        given = dict(zip(program.arguments, arguments)) | self.state
        with np.errstate(all="ignore"):
            expected = program.graph.evaluate({x: a for x, a in given.items() if x in program.graph})
        if prepare:
            self.bound.prepare(*arguments)
        found = self.bound.step(*arguments)
        self.state |= dict(zip(program.updates, expected[len(program.results) :]))
        assert len(found) == len(program.results)
        for x, y in zip((*found, *self.memory), (*expected[: len(found)], *self.state.values())):
            self.compare(x, y)
        return found

    def compare(self, found, expected):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if self.plain or expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected, err_msg=self.built.source)
            return
        rtol = {8: 1e-12, 4: 2e-5, 2: 1e-2}[expected.dtype.itemsize]
        finite = np.abs(expected[np.isfinite(expected)])
        scale = finite.max(initial=0)  # what is added up may cancel
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale, err_msg=self.built.source)


def data_of(program):
    return [np.array(x._array, order="C") for x in program.arguments]


def leaf(*shape, seed=0, dtype=np.float64, name=None):
    return tg.tensor(np.random.default_rng(seed).uniform(0.5, 2, size=shape).astype(dtype), name=name)


def recorded(compute, *leaves, **options):
    with record_everything(), np.errstate(all="ignore"):
        return compute(*leaves, **options)


# --- the numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("make", [programs.classifier, lambda dtype: programs.perceptron((20, 12, 8, 5), 16, dtype)])
def test_steps_are_those_of_the_graph(make, dtype, plain):
    program = make(dtype=dtype)
    running = Running(program, plain)
    for i in range(20):
        running.step(*data_of(program), prepare=i == 0)


SAMPLES = [(op.name, i) for op in REGISTRY.values() for i in range(len(list(op.samples(np.random.default_rng(0)))))]


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_operation_runs(name, plain):
    op = REGISTRY[name]
    for sample in op.samples(np.random.default_rng(0)):
        leaves = [tg.tensor(x) if isinstance(x, np.ndarray) else x for x in sample.inputs]
        given = [x for x in leaves if isinstance(x, tg.Tensor)]
        if not given:
            continue
        result = recorded(op, *leaves, **sample.params)
        remembered = tg.tensor(np.zeros(result.shape, result.dtype))
        program = Program("f", given[1:], [remembered, given[0]], [result], {remembered: result})
        with np.errstate(all="ignore"):
            running = Running(program, plain)
            running.step(*data_of(program))
            running.step(*data_of(program))


STEPS = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1 + b * b),
    "tanh": lambda a, b: tg.tanh(a),
    "sigmoid": lambda a, b: tg.sigmoid(a),
    "relu": lambda a, b: tg.relu(a),
    "choice": lambda a, b: tg.where(a > b, a, 0.0),
    "transpose": lambda a, b: a.T,
    "reshape": lambda a, b: tg.reshape(a, (-1,)),
    "rows": lambda a, b: a[:2] if a.ndim else a,
    "sum": lambda a, b: tg.sum(a, axis=0, keepdims=True) if a.ndim else a,
    "total": lambda a, b: tg.sum(a * b),
    "mean": lambda a, b: tg.mean(a),
    "stretch": lambda a, b: tg.broadcast_to(a, (3, *a.shape)),
    "join": lambda a, b: tg.concatenate([a, a], -1) if a.ndim else a,
    "product": lambda a, b: a @ a.T if a.ndim == 2 else a,
    "largest": lambda a, b: tg.amax(a, 0) if a.ndim else a,
    "cast": lambda a, b: a.astype(np.float32).astype(np.float64),
}


@pytest.mark.parametrize("plain", [False, True])
@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=14
    ),
    st.data(),
)
def test_random_programs(plain, steps, data):
    arguments = [leaf(4, name="a"), leaf(3, 4, seed=1, name="b")]
    memory = [leaf(3, 4, seed=2, name="M"), leaf(4, 3, seed=3, name="N"), leaf(3, 4, seed=4, name="K")]
    values = [*arguments, *memory]
    with record_everything(), np.errstate(all="ignore"):
        for step, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            try:
                np.broadcast_shapes(a.shape, b.shape)
            except ValueError:
                b = a
            made = STEPS[step](a, b)
            if made._data.size < 500:
                values.append(made)
    results = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=3), label="results")
    updates = {}
    for M in memory:
        fitting = [x for x in values if x.shape == M.shape and x.dtype == M.dtype]
        if data.draw(st.booleans()):
            updates[M] = data.draw(st.sampled_from(fitting))
    steady = data.draw(st.sampled_from([(), arguments[:1], arguments]))
    running = Running(Program("f", arguments, memory, results, updates, steady), plain)
    with np.errstate(all="ignore"):
        for _ in range(2):
            running.step(*data_of(running.program))


# --- what stands where ---------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("case", ["swap", "old", "new", "argument", "view", "rotated", "twice", "none"])
def test_results_and_updates_that_are_other_values(case, plain):
    x, A, B, C = (
        leaf(3, 3, name="x"),
        leaf(3, 3, seed=1, name="A"),
        leaf(3, 3, seed=2, name="B"),
        leaf(3, 3, seed=3, name="C"),
    )
    y, z = recorded(lambda: (A * 2 + x, A.T))
    results, updates = {
        "swap": ([y], {A: B, B: A}),
        "old": ([A, B], {A: y}),
        "new": ([y, y], {A: y}),
        "argument": ([x], {A: x, B: x}),
        "view": ([z], {A: y, C: z}),
        "rotated": ([], {A: B, B: C, C: A}),
        "twice": ([y], {A: y, B: y}),
        "none": ([y, z], {}),
    }[case]
    running = Running(Program("f", [x], [A, B, C], results, updates), plain)
    kept = [running.step(*data_of(running.program)) for _ in range(2)][-1]
    for result in kept:
        assert not any(np.shares_memory(result, array) for array in running.memory)


def test_an_update_is_written_in_place_where_nothing_reads_the_old_value_afterwards():
    x, A = leaf(3, name="x"), leaf(3, seed=1, name="A")
    early, late = recorded(lambda: ((A * x).sum(), None))
    new = recorded(lambda: A - x)
    source = built(Program("f", [x], [A], [early], {A: new})).source
    assert "np.subtract(A, x, out=A)" in source
    late = recorded(lambda: new.sum() * A.sum())
    running = Running(Program("f", [x], [A], [late], {A: new}))
    running.step(*data_of(running.program))


def test_prepared_values_follow_steady_arguments():
    X, y, W = leaf(3, 4, name="X"), leaf(3, name="y"), leaf(4, seed=2, name="W")
    result = recorded(lambda: (tg.exp(X) @ W + y).named("result"))
    running = Running(Program("f", [X, y], [W], [result], {W: recorded(lambda: W * 0.5)}, steady=[X]))
    first = data_of(running.program)
    other = [np.full(x.shape, 0.3) for x in first]
    running.step(*first)
    with pytest.raises(AssertionError):
        running.step(*other, prepare=False)
    running = Running(running.program)
    running.step(*first)
    running.step(first[0], other[1], prepare=False)
    running.step(*other)


def test_a_loop_takes_numbers_that_vary():
    A, rate, x = leaf(3, name="A"), tg.tensor(0.1, name="rate"), leaf(3, seed=1, name="x")
    new = recorded(lambda: A - rate * x)
    program = Program("f", [rate, x], [A], [recorded(lambda: new.sum())], {A: new})
    memory = [A.data.copy()]
    bound = built(program).bind(memory)
    rates = np.array([0.1, 0.2, 0.4])
    bound.prepare(rates[0], x.data)
    (total,) = bound.loop(3, {0: rates}, rates[0], x.data)
    np.testing.assert_allclose(memory[0], A.data - 0.7 * x.data)
    np.testing.assert_allclose(total, memory[0].sum())
    (total,) = bound.loop(2, {}, np.array(1.0), x.data)
    np.testing.assert_allclose(memory[0], A.data - 2.7 * x.data)


def test_memory_that_belongs_together_must_have_been_packed():
    program = programs.classifier(samples=30)
    module = built(program)
    memory = [np.array(x._array) for x in program.memory]
    with pytest.raises(ValueError, match="pack"):
        module.bind(memory)
    packed = module.pack(memory)
    assert all(np.array_equal(a, b) and not np.shares_memory(a, b) for a, b in zip(memory, packed))
    assert len({x.base.__array_interface__["data"][0] for x in packed}) == 1
    module.bind(packed)
    assert all(a is b for a, b in zip(memory, built(program, plain=True).pack(memory)))


@pytest.mark.parametrize("plain", [False, True])
def test_no_step_leaves_memory_behind(plain):
    program = programs.classifier(samples=50)
    running = Running(program, plain)
    arguments = data_of(program)
    running.step(*arguments)
    tracemalloc.start()
    for _ in range(50):
        running.bound.step(*arguments)
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(500):
        running.bound.step(*arguments)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1000


def test_a_zero_times_infinity_is_zero_where_relu_is_flat():
    x, g = tg.tensor([-1.0, 0.0, 2.0, np.nan], name="x"), tg.tensor([np.inf, np.nan, np.inf, 1.0], name="g")
    program = Program("f", [x, g], [], [recorded(lambda: tg.where(x > 0, g, 0.0))])
    (found,) = Running(program).step(x.data, g.data)
    np.testing.assert_array_equal(found, [0.0, 0.0, np.inf, 0.0])


def test_constants_are_written_out_or_passed_to_bind():
    x = leaf(3, 20, name="x")
    table = tg.tensor(np.random.default_rng(7).normal(size=(3, 20)))
    small, half = tg.tensor([1.0, 2.5, 4.0]), tg.tensor(0.5)
    result = recorded(lambda: (x * table).sum(1) * small + small * half)
    running = Running(Program("f", [x], [], [result]), plain=True)
    assert "np.array([1.0, 2.5, 4.0])" in running.built.source
    assert "def bind(table):" in running.built.source
    running.step(x.data)
    negative = recorded(lambda: x * -0.0 + x * 0.0 * -0.0)
    running = Running(Program("f", [x], [], [recorded(lambda: x * -0.0), negative]), plain=True)
    found, _ = running.step(x.data)
    assert np.signbit(found).all()


def test_infinities_inside_sigmoid_are_silent_and_what_is_not_a_number_is_not():
    x = tg.tensor(np.linspace(-800, 800, 5), name="x")
    running = Running(Program("f", [x], [], [recorded(lambda: tg.sigmoid(x) * 2)]))
    running.step(x.data)
    bound = built(Program("f", [x], [], [recorded(lambda: tg.log(x))])).bind([])
    with pytest.warns(RuntimeWarning, match="invalid"):
        bound.step(x.data)


# --- the text ------------------------------------------------------------------------------------


def test_the_classifier_reads_as_written_by_hand():
    source = built(programs.classifier()).source
    assert source == (HERE / "classifier_step.txt").read_text()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("make", [programs.classifier, lambda: programs.perceptron((20, 12, 8, 5), 16)])
def test_the_text_is_formatted_and_stands_alone(make, plain, tmp_path):
    source = built(make(), plain).source
    file = tmp_path / "module.py"
    file.write_text(source)
    subprocess.run([sys.executable, "-I", str(file)], check=True)
    imported = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [ast.unparse(node) for node in imported] == ["import numpy as np"]
    assigned = [
        node.targets[0].id
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    ]
    assert max(Counter(assigned).values()) == 1
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if Path(ruff).exists():
        options = ["--isolated", "--line-length", "120", str(file)]
        subprocess.run([ruff, "check", "--select", "F", *options], check=True)
        subprocess.run([ruff, "format", "--check", "--diff", *options], check=True)
    assert max(map(len, source.splitlines())) <= 120


def test_tracebacks_show_the_line():
    program = programs.classifier(samples=5)
    module = built(program)
    bound = module.bind(module.pack([np.array(x._array) for x in program.memory]))
    with pytest.raises(ValueError, match="broadcast") as error:
        bound.step(np.ones(3), np.ones(2))
    assert "np.subtract(Yh, Y, out=" in str(error.traceback[-1])
