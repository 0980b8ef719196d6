"""Programs in C: the numbers of the graph, for every operation, and text that a person would write."""

import importlib.util
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc import ops
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.c_target.functions import FUNCTIONS, definitions
from tinygrad_bc.compiler.c_target.native import find_compiler, load
from tinygrad_bc.compiler.c_target.source import CSource
from tinygrad_bc.compiler.c_target.target import build
from tinygrad_bc.compiler.pipeline import stages
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.errors import CompilerError, IndexingError
from tinygrad_bc.primitive import REGISTRY

HERE = Path(__file__).parent

pytest.importorskip("cffi")
try:
    COMPILER = find_compiler(None, None)
except CompilerError:
    pytest.skip("these tests need a C compiler", allow_module_level=True)


def loaded(name):
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = loaded("programs")


def lowered(program):
    return stages(program)["lowered"]


class Running:
    """A compiled program beside the graph it was made of, whose updates are fed back."""

    def __init__(self, program):
        self.program = program
        self.built = build(program)
        self.memory = [np.array(x._array, order="C") for x in program.memory]
        self.bound = self.built.bind(self.built.pack(self.memory))
        self.state = {x: np.array(x._array, order="C") for x in program.memory}

    def expected(self, arguments):
        given = dict(zip(self.program.arguments, arguments)) | self.state
        with np.errstate(all="ignore"):
            return self.program.graph.evaluate({x: a for x, a in given.items() if x in self.program.graph})

    def step(self, *arguments, prepare=True):
        expected = self.expected(arguments)
        if prepare:
            self.bound.prepare(*arguments)
        found = self.bound.step(*arguments)
        count = len(self.program.results)
        self.state |= dict(zip(self.program.updates, expected[count:]))
        assert len(found) == count
        for x, y in zip((*found, *self.memory), (*expected[:count], *self.state.values()), strict=True):
            self.compare(x, y)
        return found

    def compare(self, found, expected):
        assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(found, expected, err_msg=self.built.source)
            return
        rtol = {8: 1e-12, 4: 1e-5, 2: 1e-2}[expected.dtype.itemsize]
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)  # what is added up may cancel
        np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol * scale, err_msg=self.built.source)


def data_of(program):
    return [np.array(x._array, order="C") for x in program.arguments]


def leaf(*shape, seed=0, dtype=np.float64, name=None):
    return tg.tensor(np.random.default_rng(seed).uniform(0.5, 2, size=shape).astype(dtype), name=name)


def recorded(compute, *leaves, **options):
    with record_everything(), np.errstate(all="ignore"):
        return compute(*leaves, **options)


def run(*results, arguments=(), **options):
    """Run a program of some values once, compared with the graph; return what runs and the results."""
    running = Running(Program("f", list(arguments), [], list(results), **options))
    return running, running.step(*data_of(running.program))


# --- the operations ------------------------------------------------------------------------------

BY_NUMPY = {
    *("argsort", "cholesky", "cumprod", "cumsum", "det", "inv", "solve", "max_pool_place", "recurrence"),
    *("scatter_add", "svd", "svdvals"),
}
"""Operations that are left to NumPy, after lowering too; there are others."""


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_every_operation_runs(name, dtype):
    op = REGISTRY[name]
    leaves, results = [], []
    for sample in op.samples(np.random.default_rng(0)):
        inputs = [
            tg.tensor(x.astype(dtype) if x.dtype == np.float64 else x) if isinstance(x, np.ndarray) else x
            for x in sample.inputs
        ]
        given = [x for x in inputs if isinstance(x, tg.Tensor)]
        if given:
            leaves += given
            results.append(recorded(op, *inputs, **sample.params))
    if results:
        running, _ = run(*results, arguments=dict.fromkeys(leaves))
        calls = {node.op.name for node in running.built.written.plan.calls.values()}
        assert calls <= {name}
        assert name not in BY_NUMPY or calls == {name}


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-310, 1e300, -1e300, np.inf, -np.inf, np.nan]
UNARY = (
    *("negative", "square", "sqrt", "reciprocal", "abs", "sign", "floor", "ceil", "trunc", "round", "exp", "expm1"),
    *("log", "log1p", "log2", "log10", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh"),
    *("acosh", "atanh", "erf", "erfc", "isnan", "isinf", "isfinite", "logical_not"),
)
BINARY = (
    *("add", "subtract", "multiply", "divide", "power", "floor_divide", "remainder", "fmod", "maximum", "minimum"),
    *("atan2", "equal", "not_equal", "less", "less_equal", "greater", "greater_equal", "logical_and", "logical_or"),
    "logical_xor",
)
ON_INTEGERS = (
    *("add", "subtract", "multiply", "divide", "floor_divide", "remainder", "fmod", "maximum", "minimum", "equal"),
    *("less", "greater_equal", "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_xor"),
)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_special_numbers(dtype):
    with np.errstate(all="ignore"):
        numbers = np.array(SPECIAL).astype(dtype)
    x, y = tg.tensor(numbers, name="x"), tg.tensor(numbers.reshape(-1, 1), name="y")
    results = [recorded(REGISTRY[name], x) for name in UNARY] + [recorded(REGISTRY[name], x, y) for name in BINARY]
    results += [recorded(REGISTRY["power"], x, p) for p in (0, 1, 2, 3, 4, -1, -2, 0.5, 1.5)]
    results += [recorded(REGISTRY[name], y, axis=0) for name in ("sum", "prod", "max", "min", "all", "any", "argmax")]
    running, _ = run(*results, arguments=[x, y])
    assert not running.built.written.plan.calls


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.int8, np.uint8, np.bool_])
def test_integers_and_truths(dtype):
    numbers = np.array([0, 1, 2, 3, 7, 100, 127] if dtype != np.bool_ else [0, 1, 1, 0]).astype(dtype)
    if np.issubdtype(dtype, np.signedinteger):
        numbers = np.concatenate([numbers, -numbers]).astype(dtype)
    x, y = tg.tensor(numbers, name="x"), tg.tensor(numbers[::-1].reshape(-1, 1).copy(), name="y")
    names = [n for n in ON_INTEGERS if dtype != np.bool_ or n not in ("subtract", "floor_divide", "remainder", "fmod")]
    results = [recorded(REGISTRY[name], x, y) for name in names]
    results += [recorded(REGISTRY[name], x) for name in ("sum", "max", "argmin", "any")]
    results += [recorded(REGISTRY[name], x) for name in ("logical_not", "bitwise_not")]
    results += [recorded(tg.where, x, 1.5, y), recorded(lambda: x.astype(np.float32) * 2)]
    run(*results, arguments=[x, y])


@pytest.mark.parametrize("real", ["double", "float"])
def test_our_functions_are_accurate(real):
    """Against the longer numbers of NumPy: at most two units in the last place, two and a half for tanh."""
    dtype = np.dtype({"double": np.float64, "float": np.float32}[real])
    f = "f" if real == "float" else ""
    names = {"vexp": np.exp, "vexpm1": np.expm1, "vlog": np.log, "vlog1p": np.log1p, "vtanh": np.tanh}
    source = "#include <math.h>\n#include <stdbool.h>\n#include <stdint.h>\n"
    source += definitions([name + f for name in names])
    cdef = ""
    for name in names:
        cdef += f"void run_{name}(const void *x, void *y, long n);\n"
        source += f"void run_{name}(const {real} *x, {real} *y, long n)\n"
        source += f"{{ for (long i = 0; i < n; i++) y[i] = {name}{f}(x[i]); }}\n"
    library = load(source, cdef)
    rng = np.random.default_rng(0)
    limits = np.finfo(dtype)
    largest = np.log(float(limits.max))
    small = 10.0 ** rng.uniform(-30, 0, 5000)
    near = np.concatenate([rng.normal(size=20_000), 1e-3 * rng.normal(size=5000), small, -small])
    ends = np.concatenate(
        [np.linspace(x - 1, x + 1, 2000) for x in (largest, -largest, np.log(float(limits.tiny)) - 15)]
    )
    wide = np.concatenate([near, rng.uniform(-1.1, 1.1, 20_000) * largest, ends, SPECIAL])
    exponents = np.log10(float(limits.max))
    positive = np.concatenate([10.0 ** rng.uniform(-exponents, exponents, 20_000), rng.uniform(0.5, 2, 20_000)])
    positive = np.concatenate(
        [positive, [limits.smallest_subnormal, limits.tiny, limits.tiny / 8, limits.max], SPECIAL]
    )
    for name, function in names.items():
        with np.errstate(all="ignore"):
            x = {"vlog": positive, "vlog1p": np.concatenate([positive, near])}.get(name, wide).astype(dtype)
            y = np.empty_like(x)
            from_buffer = library.ffi.from_buffer
            getattr(library.lib, f"run_{name}")(from_buffer(x), from_buffer(y), x.size)
            exact = function(x.astype(np.longdouble))
            rounded = exact.astype(dtype)
            finite = np.isfinite(rounded) & np.isfinite(y)
            units = np.abs(y - exact)[finite] / np.spacing(np.abs(rounded[finite])).astype(np.longdouble)
        np.testing.assert_array_equal(y[~finite], rounded[~finite], err_msg=name)
        assert units.max() < (2.5 if name == "vtanh" else 2), (name, x[finite][units.argmax()])
        np.testing.assert_array_equal(np.signbit(y[x == 0]), np.signbit(rounded[x == 0]), err_msg=name)


def test_a_conversion_there_and_back_is_not_left_out():
    """As GCC 12 does when it makes vectors of four conversions and of a sum."""
    b = leaf(4, 4, seed=1, name="b")
    run(recorded(lambda: b.astype(np.float32).astype(np.float64) @ b.T), arguments=[b])


# --- the arrangement of elements -----------------------------------------------------------------


def test_views_are_read_where_they_are():
    x, y = leaf(4, 6, name="x"), leaf(2, 3, 4, seed=1, name="y")
    results = recorded(
        lambda: [
            (x.T[::-1, 1:] * 2),
            ops.reshape(y, (6, 4)) + x[:, :4].T.reshape(4, 4)[:1],
            ops.reshape(ops.permute(y, (2, 0, 1)), (4, 6)) * x,
            ops.reshape(x, (4, 2, 3)).sum(axis=1),
            ops.flip(x, (0, 1)) - x,
            ops.broadcast_to(x[:, None, ::2], (4, 5, 3)).sum(axis=(0, 2)),
            x[1:3, -1] @ x[1:3, 0],
            x.T @ x,
            ops.permute(y, (0, 2, 1)) @ y,
            ops.concatenate([x * 2, x.T[:4, :2].T[:, :0].T.reshape(0, 6), x[::2]], 0),
            ops.stack([x, -x, x * x], 1),
            tg.exp(ops.reshape(x, (24,)))[::5],
        ]
    )
    run(*results, arguments=[x, y])


def test_indices_of_integers():
    x, labels = leaf(5, 3, 4, name="x"), tg.tensor(np.array([2, 0, -1, 1, -3]), name="labels")
    rows, words = tg.tensor(np.arange(5), name="rows"), tg.tensor(np.array([[4, 0], [0, -5]]), name="words")
    z = recorded(lambda: tg.tanh(x))
    results = recorded(
        lambda: [
            z[rows, labels],
            x[labels],
            x[:, labels[:2]],
            z[words],
            z[words][:, 1, :, 2],
            z[labels, :, 1],
            z[:, 0, rows[:4]],
        ]
    )
    run(*results, arguments=[x, labels, words])


@pytest.mark.parametrize("given", [[3], [-4]])
def test_an_index_outside_is_refused_before_anything_is_updated(given):
    x, W, labels = leaf(3, name="x"), leaf(3, seed=1, name="W"), tg.tensor(np.array([0]), name="labels")
    new = recorded(lambda: W - x[labels])
    running = Running(Program("f", [x, labels], [W], [], {W: new}))
    running.step(x.data, np.array([-1]))
    before = running.memory[0].copy()
    with pytest.raises(IndexingError, match=rf"labels: index {given[0]} is out of bounds for 3 elements: use -3 to 2"):
        running.bound.step(x.data, np.array(given))
    np.testing.assert_array_equal(running.memory[0], before)


def test_arrays_without_elements_and_without_axes():
    x, y, z = (
        tg.tensor(np.zeros((0, 3)), name="x"),
        tg.tensor(np.array(2.5), name="y"),
        tg.tensor(np.ones((1, 1)), name="z"),
    )
    results = recorded(
        lambda: [
            x * 2,
            x.sum(),
            x.sum(axis=0),
            x.T @ x,
            x @ x.T,
            y * y + z,
            (x + y).sum(axis=1),
            tg.exp(y),
            y.sum(),
            z.T @ z,
        ]
    )
    run(*results, arguments=[x, y, z])


STEPS = {
    "add": lambda a, b: a + b,
    "descend": lambda a, b: a - 0.5 * b,
    "difference": lambda a, b: a - b + a,
    "put": lambda a, b: (
        REGISTRY["put"](a, key=ops.index.Key([slice(1, None, 2)]), shape=(2 * len(a), *a.shape[1:])) if a.ndim else a
    ),
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / (1 + b * b),
    "tanh": lambda a, b: tg.tanh(a),
    "relu": lambda a, b: tg.maximum(a, 0),
    "positive": lambda a, b: tg.where(a > 0, b, 0.0),
    "choice": lambda a, b: tg.where(a > b, a, 0.0),
    "transpose": lambda a, b: a.T,
    "flat": lambda a, b: tg.reshape(a, (-1,)),
    "split": lambda a, b: tg.reshape(a, (2, 2, -1)) if a.shape[:1] == (4,) else a,
    "rows": lambda a, b: a[:2] if a.ndim else a,
    "backwards": lambda a, b: a[::-1] if a.ndim else a,
    "sum": lambda a, b: tg.sum(a, axis=0, keepdims=True) if a.ndim else a,
    "sums": lambda a, b: tg.sum(a, axis=-1) if a.ndim else a,
    "total": lambda a, b: tg.sum(a * b),
    "stretch": lambda a, b: tg.broadcast_to(a, (3, *a.shape)),
    "join": lambda a, b: tg.concatenate([a, a * 2], -1) if a.ndim else a,
    "gram": lambda a, b: a @ a.T if a.ndim == 2 else a,
    "product": lambda a, b: a @ b.T if a.ndim == b.ndim == 2 and a.shape[-1] == b.shape[-1] else a,
    "largest": lambda a, b: tg.amax(a, 0) if a.ndim else a,
    "place": lambda a, b: a[tg.argmax(a, 0)] if a.ndim == 1 else a,
    "cast": lambda a, b: a.astype(np.float32).astype(np.float64),
    "running": lambda a, b: tg.cumsum(a, 0) if a.ndim else a,
}


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(STEPS)), st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=14
    ),
    st.sampled_from([4, 40]),
    st.data(),
)
def test_random_programs(steps, length, data):
    """With 40 samples their axis is long enough to be cut into tiles."""
    arguments = [leaf(4, name="a"), leaf(length, 4, seed=1, name="b")]
    memory = [leaf(length, 4, seed=2, name="M"), leaf(4, length, seed=3, name="N"), leaf(length, 4, seed=4, name="K")]
    values = [*arguments, *memory]
    with record_everything(), np.errstate(all="ignore"):
        for step, i, j in steps:
            a, b = values[i % len(values)], values[j % len(values)]
            try:
                np.broadcast_shapes(a.shape, b.shape)
            except ValueError:
                b = a
            made = STEPS[step](a, b)
            if made._data.size < 5000 and np.abs(made._array).max(initial=0) < 1e6:
                values.append(made)
    results = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=3), label="results")
    updates = {}
    for M in memory:
        fitting = [x for x in values if x.shape == M.shape and x.dtype == M.dtype]
        if data.draw(st.booleans()):
            updates[M] = data.draw(st.sampled_from(fitting))
    steady = data.draw(st.sampled_from([(), arguments[:1], arguments]))
    running = Running(Program("f", arguments, memory, results, updates, steady))
    for _ in range(2):
        running.step(*data_of(running.program))


# --- steps of training ---------------------------------------------------------------------------

MODELS = {
    "classifier": programs.classifier,
    "wider": lambda dtype: programs.classifier(samples=90, hidden=20, features=30, dtype=dtype),
    "small batch": lambda dtype: programs.classifier(samples=5, dtype=dtype),
    "one over": lambda dtype: programs.classifier(samples=129, dtype=dtype),
    "perceptron": lambda dtype: programs.perceptron((20, 12, 8, 5), 40, dtype),
    "by BLAS": lambda dtype: programs.perceptron((100, 80, 5), 90, dtype),
}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("model", MODELS)
def test_steps_are_those_of_the_graph(model, dtype):
    captured = MODELS[model](dtype=dtype)
    for program in (captured, lowered(captured)):
        running = Running(program)
        for i in range(3):
            running.step(*data_of(program), prepare=i == 0)
    assert len(running.built.written.step) == 1
    assert running.built.written.uses_blas == (model == "by BLAS")


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradients_are_those_of_the_graph(dtype):
    """The gradients themselves, which a small learning rate would hide among the weights."""
    for make in (MODELS["wider"], MODELS["perceptron"], MODELS["by BLAS"]):
        program = make(dtype=dtype)
        gradients = [x for x in program.graph if program.graph.label(x).startswith("dLoss_")]
        labels = {x: program.graph.label(x) for x in program.graph}
        only = Program("f", program.arguments, program.memory, gradients, labels=labels)
        Running(lowered(only)).step(*data_of(only))


def test_without_blas_all_products_are_loops(monkeypatch):
    from tinygrad_bc.compiler.c_target import blas

    monkeypatch.setattr(blas, "find", lambda: None)
    program = lowered(MODELS["by BLAS"](dtype=np.float64))
    running = Running(program)
    assert "gemm" not in running.built.source
    running.step(*data_of(program))


def test_products_in_batches_and_transposed_go_to_blas():
    a, b = leaf(2, 70, 80, name="a"), leaf(3, 1, 90, 80, seed=1, name="b")
    c = leaf(80, 70, 2, seed=2, name="c")
    results = recorded(
        lambda: [
            a @ ops.permute(b, (0, 1, 3, 2)),
            tg.exp(a).mT @ a[:, :, 1:],
            ops.permute(c, (2, 1, 0)) @ c[:, :, 0],
        ]
    )
    running, _ = run(*results, arguments=[a, b, c])
    assert running.built.source.count("dgemm(") >= 3 + 1


def test_a_loop_is_as_many_steps_bit_for_bit():
    program = lowered(programs.classifier(samples=100))
    arguments = data_of(program)
    once, often = Running(program), Running(program)
    for running in (once, often):
        running.bound.prepare(*arguments)
    for _ in range(50):
        found = once.bound.step(*arguments)
    looped = often.bound.loop(50, {}, *arguments)
    for x, y in zip((*found, *once.memory), (*looped, *often.memory)):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("with_numpy", [False, True])
def test_a_loop_takes_numbers_that_vary(with_numpy):
    A, rate, x = leaf(3, name="A"), tg.tensor(0.1, name="rate"), leaf(3, seed=1, name="x")
    new = recorded(lambda: A - rate * (tg.cumsum(x, 0) if with_numpy else x))
    total = recorded(lambda: new.sum())
    memory = [A.data.copy()]
    bound = build(Program("f", [rate, x], [A], [total], {A: new})).bind(memory)
    rates, slope = np.array([0.1, 0.2, 0.4]), x.data.cumsum() if with_numpy else x.data
    bound.prepare(rates[0], x.data)
    (found,) = bound.loop(3, {0: rates}, np.array(0.1), x.data)
    np.testing.assert_allclose(memory[0], A.data - 0.7 * slope)
    np.testing.assert_allclose(found, memory[0].sum())
    (found,) = bound.loop(2, {}, np.array(1.0), x.data)
    np.testing.assert_allclose(memory[0], A.data - 2.7 * slope)


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


@pytest.mark.parametrize(
    "case", ["swap", "old", "new", "argument", "view", "rotated", "twice", "both", "none", "constant"]
)
def test_results_and_updates_that_are_other_values(case):
    x, A = leaf(3, 3, name="x"), leaf(3, 3, seed=1, name="A")
    B, C = leaf(3, 3, seed=2, name="B"), leaf(3, 3, seed=3, name="C")
    y, z, w = recorded(lambda: (A * 2 + x, A.T, A.T - x))
    results, updates = {
        "swap": ([y], {A: B, B: A}),
        "old": ([A, B], {A: y}),
        "new": ([y, y], {A: y}),
        "argument": ([x], {A: x, B: x}),
        "view": ([z], {A: y, C: z}),
        "rotated": ([], {A: B, B: C, C: A}),
        "twice": ([y], {A: y, B: y}),
        "both": ([], {A: w, B: y}),
        "none": ([y, z], {}),
        "constant": ([leaf(2, name="two"), y], {}),
    }[case]
    running = Running(Program("f", [x], [A, B, C], results, updates))
    kept = [running.step(*data_of(running.program)) for _ in range(2)][-1]
    for result in kept:
        assert not any(np.shares_memory(result, array) for array in running.memory)


def test_an_update_is_written_in_place_only_where_nothing_reads_the_old_value_afterwards():
    x, A = leaf(3, 3, name="x"), leaf(3, 3, seed=1, name="A")
    new = recorded(lambda: A - x)
    for early in (recorded(lambda: (A * x).sum()), recorded(lambda: A.sum(axis=1))):
        running = Running(Program("f", [x], [A], [early], {A: new}))
        running.step(*data_of(running.program))
        assert "A[i][j] -= x[i][j];" in running.built.source
    for late in (
        recorded(lambda: A.T @ x - new),
        recorded(lambda: new.sum() * A.sum()),
        recorded(lambda: tg.cumsum(new, 0) * A),
    ):
        running = Running(Program("f", [x], [A], [late], {A: new}))
        running.step(*data_of(running.program))
        assert "A[i][j] -=" not in running.built.source
    longer = Running(Program("f", [x], [A], [], {A: recorded(lambda: A - x + x * A)}))
    longer.step(*data_of(longer.program))
    assert "A[i][j] = A[i][j] - x[i][j] + " in longer.built.source
    turned = Running(Program("f", [x], [A], [], {A: recorded(lambda: A.T * 2)}))
    turned.step(*data_of(turned.program))


def test_what_numpy_computes_stands_between_two_functions():
    x, W = leaf(4, 5, name="x"), leaf(5, 5, seed=1, name="W")
    y = recorded(lambda: tg.exp(tg.cumsum(tg.exp(-x @ W), axis=0) * 0.1))
    running = Running(Program("f", [x], [W], [y], {W: recorded(lambda: W * 0.5 + tg.cumsum(W, 0))}))
    assert [part.name for part in running.built.written.step] == ["step_1", "step_2"]
    for _ in range(3):
        running.step(*data_of(running.program))


def test_no_step_leaves_memory_behind():
    import tracemalloc

    program = lowered(programs.classifier(samples=50))
    running = Running(program)
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


# --- the text ------------------------------------------------------------------------------------


def test_the_classifier_reads_as_written_by_hand():
    assert CSource(lowered(programs.classifier())).text == (HERE / "classifier.c").read_text()


@pytest.mark.parametrize("model", MODELS)
def test_compilers_have_nothing_to_say(model, tmp_path):
    file = tmp_path / "step.c"
    file.write_text(CSource(lowered(MODELS[model](dtype=np.float32))).text)
    flags = ["-std=c11", "-fopenmp-simd", "-Wall", "-Wextra", "-Werror", "-O2", "-c", "-o", str(tmp_path / "step.o")]
    done = subprocess.run([*COMPILER.command, *flags, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_names_are_those_of_the_program_as_far_as_c_allows():
    for_, unnamed, greek = leaf(3, name="for"), leaf(3, seed=1), leaf(3, seed=2, name="Δ weight")
    y = recorded(lambda: (for_ * unnamed + greek).named("y'"))
    running, _ = run(y, recorded(lambda: tg.exp(y).sum()), arguments=[for_, unnamed, greek])
    assert "y[i] = for2[i] *" in running.built.source


def test_only_the_functions_that_are_called_are_brought_along():
    x = leaf(3, name="x")
    running, _ = run(recorded(tg.log, x), arguments=[x])
    present = {name for name in FUNCTIONS if f" {name}(" in running.built.source}
    assert present == {"vlog", "shifted", "multiply_add"}
