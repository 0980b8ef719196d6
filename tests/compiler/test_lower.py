"""Lowered programs: the same numbers, also at other data and at the extremes, by operations that every target knows."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given

import tinygrad_bc as tg
from tinygrad_bc.autograd import record_everything
from tinygrad_bc.compiler.passes import composites, made_of
from tinygrad_bc.compiler.passes.lower import CORE, lower
from tinygrad_bc.compiler.passes.simplify import simplify
from tinygrad_bc.compiler.program import Program
from tinygrad_bc.primitive import REGISTRY, Sample

HERE = Path(__file__).parent


def loaded(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


programs = loaded("programs_to_lower", HERE / "programs.py")
random_graphs = loaded("random_graphs_to_lower", HERE.parent / "test_random_graphs.py")

FLOATS = [np.float64, np.float32]
RELATIVE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


def program_of(function, *inputs, combine=lambda y: y):
    """Return the program that calls a function with arrays, which are arguments, and numbers."""
    inputs = [tg.tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
    with record_everything(), np.errstate(all="ignore"):
        y = combine(function(*inputs))
    return Program("f", [x for x in inputs if isinstance(x, tg.Tensor)], [], [y])


def cast(x, dtype):
    with np.errstate(over="ignore"):
        return x.astype(dtype)


def program_of_sample(op, sample, dtype=np.float64):
    inputs = [cast(x, dtype) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in sample.inputs]
    return program_of(lambda *inputs: op(*inputs, **sample.params), *inputs)


def operations(program):
    return [program.graph.node(x).op.name for x in program.graph if program.graph.node(x) is not None]


def whole(program):
    """Return the names of the operations that are not core ones."""
    return set(operations(program)) - CORE


def evaluated(program, arguments=None):
    arguments = arguments or {}
    with np.errstate(all="ignore"):
        return program.graph.evaluate({x: array for x, array in arguments.items() if x in program.graph})


def assert_same(found, expected, title=""):
    """Equal but for rounding; of sums, relative to the largest of their numbers."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(found, expected, title)
        return
    relative = RELATIVE[expected.dtype]
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=relative, atol=relative * scale / 100, err_msg=title)


# --- every operation -----------------------------------------------------------------------------


def samples_of(op):
    return list(op.samples(np.random.default_rng(5)))


every_operation = pytest.mark.parametrize("op", list(REGISTRY.values()), ids=list(REGISTRY))


@every_operation
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_operation_gives_the_same_numbers_at_other_data_too(op, dtype):
    for sample in samples_of(op):
        program = program_of_sample(op, sample, dtype)
        lowered = lower(program)
        assert_same(evaluated(lowered)[0], program.results[0].data, str(lowered.graph))
        other = {x: x.data * dtype(0.97) if x.dtype.kind == "f" else x.data for x in program.inputs}
        (expected,), (found,) = evaluated(program, other), evaluated(lowered, other)
        assert_same(found, expected, str(lowered.graph))


STAY_WHOLE = {
    *("cumsum", "cumprod", "recurrence", "argsort"),
    *("windows", "fold", "conv", "conv_input", "conv_weight", "max_pool", "max_pool_place"),
    *("inv", "solve", "det", "det_curvature", "cofactors", "logabsdet", "sign_of_det", "cholesky"),
    *("reciprocal_gaps", "svd", "svdvals"),
}

DEPENDS = {
    "gather": "the index has to be a constant, or that of a sorted array: others are refused if they are negative",
    "put": "no two elements may go to the same place, whatever the data",
    "scatter_add": "the same",
    "standardize": "with eps=0 it refuses a variance of 0",
}


def test_which_operations_stay_whole():
    for op in REGISTRY.values():
        samples = [s for s in samples_of(op) if not any(np.size(x) == 0 for x in s.inputs)]  # that is a constant
        rest = [whole(lower(program_of_sample(op, sample))) for sample in samples]
        if op.name in STAY_WHOLE:
            assert rest == [{op.name}] * len(samples)
        elif op.name in DEPENDS:
            assert {op.name} in rest
            assert all(names <= {op.name} for names in rest)
        else:
            assert rest == [set()] * len(samples), op.name


@pytest.mark.parametrize("name", ["sigmoid", "logsigmoid", "softplus", "silu", "elu", "leaky_relu", "rsqrt", "relu"])
@pytest.mark.parametrize("dtype", [np.int64, np.uint8, np.int8])
def test_functions_of_integers(name, dtype):
    program = program_of(REGISTRY[name], np.array([1, 2, 5], dtype))
    assert_same(evaluated(lower(program))[0], evaluated(program)[0])
    assert not whole(lower(program))


@pytest.mark.parametrize("dtype", [np.int64, np.bool_, np.float16])
@pytest.mark.parametrize(
    ("name", "params"),
    [
        *((name, {"axis": 1}) for name in ("mean", "std", "logsumexp", "softmax", "log_softmax")),
        ("tril", {}),
        ("trace", {}),
        ("diagonal", {"offset": 1}),
        ("put_diagonal", {"dim1": 1, "dim2": 2, "shape": (2, 3, 3)}),
        ("roll", {"shifts": (2,)}),
        ("sum", {"dtype": np.float32}),
    ],
)
def test_arrays_of_other_types_keep_theirs(name, params, dtype):
    program = program_of(lambda x: REGISTRY[name](x, **params), np.array([[0, 1, 1], [1, 1, 0]]).astype(dtype))
    (found,), (expected,) = evaluated(lower(program)), evaluated(program)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-2 if dtype is np.float16 else 1e-12)


# --- extremes ------------------------------------------------------------------------------------

NUMBERS = [0, 1e-300, 1e-30, 0.5, 1, 2.5, 19.9, 20.1, 40, 88.8, 800, 1e10, 1e300, np.inf]
EXTREME = np.array([*NUMBERS, *(-x for x in NUMBERS), np.nan])
PAIRS = [x.ravel() for x in np.meshgrid(EXTREME, EXTREME)]
TARGETS = [x.ravel() for x in np.meshgrid(EXTREME, [0, 0.3, 1])]
PROBABILITIES = [x.ravel() for x in np.meshgrid([0, 5e-324, 1e-300, 1e-50, 1e-17, 0.5, 1 - 1e-16, 1], [0, 0.3, 1])]
ROWS = np.array(
    [
        [1, 2, 3],
        [-np.inf, -np.inf, -np.inf],
        [np.inf, 1, 2],
        [np.inf, np.inf, np.inf],
        [np.inf, -np.inf, 800],
        [-np.inf, 1, 2],
        [np.nan, 1, 2],
        [800, -800, 0],
        [1e300, 1e300, -1e300],
        [1e-300, 2e-300, 0],
        [5e-324, 0, 0],
        [0, 0, 0],
        [1e4, 1e4 + 1, -1e4],
    ]
)

AT_EXTREMES = [
    *((name, Sample(EXTREME)) for name in ("sigmoid", "logsigmoid", "softplus", "silu", "elu", "relu", "leaky_relu")),
    *((name, Sample(EXTREME)) for name in ("gelu", "rsqrt", "nan_to_num")),
    ("softplus", Sample(EXTREME, beta=2.0, threshold=np.inf)),
    ("softplus", Sample(EXTREME, beta=-0.5)),
    ("elu", Sample(EXTREME, alpha=0.7)),
    ("gelu", Sample(EXTREME, approximate="tanh")),
    ("huber", Sample(EXTREME, delta=1.0)),
    ("nan_to_num", Sample(EXTREME, nan=1.0, posinf=2.0, neginf=-2.0)),
    *((name, Sample(*PAIRS)) for name in ("logaddexp", "xlogy", "trunc_divide")),
    ("logaddexp", Sample(EXTREME, -800.0)),
    ("clip", Sample(*PAIRS, 0.3)),
    ("clip", Sample(EXTREME, -0.5, 0.5)),
    ("clip", Sample(PAIRS[0], -np.inf, PAIRS[1])),
    ("binary_cross_entropy", Sample(*PROBABILITIES)),
    ("binary_cross_entropy_with_logits", Sample(*TARGETS)),
    ("binary_cross_entropy_with_logits", Sample(EXTREME, 1.0)),
    *((name, Sample(ROWS, axis=1)) for name in ("logsumexp", "softmax", "log_softmax", "mean", "var", "std", "max")),
    ("standardize", Sample(ROWS, axis=(1,), eps=1e-5)),
    *(("vector_norm", Sample(ROWS, axis=1, ord=order)) for order in (1.0, 2.0, 3.0, 0.5, 1.5, -1.0, -2.5)),
    *((name, Sample(ROWS[1:4])) for name in ("tril", "triu", "diagonal", "trace")),
]

SILENT = {"sigmoid", "silu", "binary_cross_entropy", "logsumexp"}
"""What warns of nothing though it computes exp(800) or log(0): as core operations these say so."""


def mild(sample):
    rng = np.random.default_rng(1)
    return Sample(*(rng.uniform(0.1, 0.9, x.shape) if np.ndim(x) else x for x in sample.inputs), **sample.params)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("name", "sample"), AT_EXTREMES, ids=[f"{name}-{s.params}" for name, s in AT_EXTREMES])
def test_extremes(name, sample, dtype):
    op = REGISTRY[name]
    extremes = [cast(x, dtype) for x in sample.inputs if np.ndim(x)]
    program = program_of_sample(op, mild(sample), dtype)
    lowered = lower(program)
    assert not whole(lowered)
    arguments = dict(zip(program.inputs, extremes))
    (expected,), (found,) = evaluated(program, arguments), evaluated(lowered, arguments)
    assert found.dtype == expected.dtype == dtype
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(found, expected, rtol=RELATIVE[expected.dtype], atol=tiny, err_msg=str(lowered.graph))
    if name not in SILENT:
        assert not warned(lowered, arguments) - warned(program, arguments)
    recorded_there = program_of_sample(op, Sample(*sample.inputs, **sample.params), dtype)
    assert not whole(lower(recorded_there))  # the comparison is not misled by NaN and infinities


def warned(program, arguments):
    """Return the kinds of floating-point errors that running a program gives."""
    kinds = set()
    with np.errstate(all="call", under="ignore", call=lambda kind, _: kinds.add(kind)):
        program.graph.evaluate(arguments)
    return kinds


# --- programs ------------------------------------------------------------------------------------


def simplified(program):
    graph = program.graph
    named = [x for x in graph if not graph.label(x).startswith("%")]
    return program.replaced(simplify(graph.outputs, program.inputs, keep=named))


@pytest.mark.parametrize("change", [lambda program: program, simplified], ids=["as recorded", "simplified"])
@pytest.mark.parametrize("make", [programs.classifier, programs.perceptron])
def test_training_steps_become_core_operations_alone(make, change):
    program = change(make())
    lowered = lower(program)
    assert not whole(lowered)
    for found, value, expected in zip(evaluated(lowered), lowered.graph.outputs, evaluated(program)):
        assert_same(found, expected)
        assert_same(value.data, expected)
    before, after = ([p.graph.label(x) for x in p.graph if p.graph.label(x)[0] != "%"] for p in (program, lowered))
    assert set(after) == set(before)
    assert [x.name for x in lowered.inputs] == [x.name for x in program.inputs]
    assert set(map(len, (lowered.graph, lower(lowered).graph))) == {len(lowered.graph)}


def test_the_tutorials_step_reads_as_before():
    lines = str(lower(programs.classifier(samples=5))).splitlines()
    text = "\n".join(" ".join(line.split()) for line in lines)
    assert "A1 = max(Z1, 0) 15×5 float64" in text
    assert "dLoss_b1 = sum(" in text
    assert "sum_to" not in text
    assert "σ" not in text


@random_graphs.repeatable(100)
@given(random_graphs.graphs())
@pytest.mark.filterwarnings("ignore:.*computed for every pair:tinygrad_bc.errors.GradientWarning")
def test_random_graphs_and_their_gradients(graph):
    xs = [tg.tensor(x, requires_grad=True) for x in graph.leaves]
    with record_everything():
        values = random_graphs.evaluated(graph, xs, random_graphs.OURS)
        loss = random_graphs.loss_of(graph, values, lambda x: x.sum())
        gradients = tg.grad(loss, xs, create_graph=True, allow_unused=True)
    program = Program("f", xs, [], [loss, *(g for g in gradients if g is not None)])
    lowered = lower(program)
    assert whole(lowered) <= whole(program) & (STAY_WHOLE | DEPENDS.keys())
    other = {x: x.data * 0.97 for x in xs}
    for found, expected in zip(evaluated(lowered, other), evaluated(program, other)):
        assert_same(found, expected, str(lowered.graph))


def test_dropout_and_constants_that_are_named_stay():
    layer = tg.nn.Dropout(0.5, generator=1)
    lowered = lower(program_of(layer, np.ones((3, 4))))
    assert "mask" in str(lowered)


def test_what_is_new_says_that_the_users_line_recorded_it():
    with tg.scope("block"):
        program = program_of(lambda x: tg.softmax(x, 1), np.ones((2, 3)))
    (expected,) = program.results
    graph = lower(program).graph
    nodes = [graph.node(x) for x in graph if graph.node(x) is not None]
    assert {(node.place, node.scope) for node in nodes} == {(expected.node.place, expected.node.scope)}
    assert len(nodes) > 1


# --- what is written once, and what is known -----------------------------------------------------


def test_common_parts_of_operations_are_recorded_once():
    lowered = lower(
        program_of(
            lambda x: tg.softmax(x, 1) + tg.log_softmax(x, 1) + tg.logsumexp(x, axis=1, keepdims=True), np.ones((2, 3))
        )
    )
    assert operations(lowered).count("max") == 1
    lowered = lower(program_of(lambda x: tg.silu(x) + tg.sigmoid(x) * tg.sigmoid(x) + tg.sigmoid(-x), np.ones(3)))
    assert operations(lowered).count("exp") == 2
    lowered = lower(program_of(lambda x: x[1:] + x[1:] + 2 * x[:-1], np.ones(3)))
    assert operations(lowered).count("getitem") == 2


def test_zeros_of_two_signs_are_two_numbers():
    with np.errstate(divide="ignore"):
        program = program_of(lambda x: tg.atan2(x, 0.0) - tg.atan2(x, -0.0), np.zeros(3))
    np.testing.assert_array_equal(evaluated(lower(program))[0], -np.pi)


def test_what_follows_from_constants_is_a_constant():
    program = program_of(lambda x: x * tg.exp(tg.tensor([1.0, 2.0])).cumsum(0), np.ones(2))
    lowered = lower(program)
    assert operations(lowered) == ["multiply"]
    assert_same(evaluated(lowered)[0], np.cumsum(np.exp([1.0, 2.0])))


def test_an_input_is_no_constant():
    x = tg.tensor([1.0, 2.0])
    with record_everything():
        y = tg.exp(x)
    assert operations(lower(Program("f", [], [x], [y]))) == ["exp"]
    assert operations(lower(Program("f", [], [], [y]))) == []


def test_a_large_constant_of_equal_numbers_is_a_number_that_is_broadcast():
    def filled(shape):
        return lower(program_of(lambda x: x * tg.broadcast_to(tg.tensor(0.5) * 3, shape), np.ones(shape)))

    assert operations(filled((3,))) == ["multiply"]
    large = filled((30, 30))
    assert operations(large) == ["broadcast_to", "multiply"]
    assert [x.data.size for x in large.graph if large.graph.node(x) is None] == [1, 900]


def test_an_operation_without_effect_is_left_out_but_a_result_has_a_name_of_its_own():
    program = program_of(lambda x: tg.exp(x.reshape(3).sum(0, keepdims=False).reshape(()).clone()), np.ones(3))
    assert operations(lower(program)) == ["sum", "exp"]
    x = tg.tensor(np.ones(3)).named("x")
    with record_everything():
        y = x.reshape(3).named("y")
    lowered = lower(Program("f", [x], [], [y]))
    assert [lowered.graph.label(value) for value in (*lowered.arguments, *lowered.results)] == ["x", "y"]
    assert set(operations(lowered)) <= CORE


def test_the_first_of_two_names_of_one_value_remains():
    program = program_of(lambda x: tg.exp(x).named("first") * 2 + tg.exp(x).named("second"), np.ones(3))
    assert "first = exp(" in str(lower(program).graph)
    x = tg.tensor(np.ones(3)).named("x")
    with record_everything():
        a, b = tg.exp(x).named("a"), tg.exp(x).named("b")
    lowered = lower(Program("f", [x], [], [a, b]))
    assert lowered.results[0] is lowered.results[1]


def test_operations_stay_in_their_order():
    program = program_of(lambda x: (tg.relu(x), tg.cos(x), tg.rsqrt(x), tg.exp(x)), np.ones(3), combine=tg.stack)
    assert operations(lower(program)) == ["maximum", "cos", "sqrt", "divide", "exp", "stack"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: tg.sigmoid(-x), ["exp", "add", "divide"]),
        (lambda x: tg.clip(x, 0.5), ["maximum"]),
        (lambda x: tg.clip(x, max=0.5), ["minimum"]),
        (lambda x: tg.max(x, 0).values + tg.amax(x, 0), ["max", "add"]),
        (lambda x: tg.ops.sum_to(x, shape=(1,)), ["sum"]),
        (lambda x: tg.permute(x, 0), ["cast"]),
        (lambda x: tg.ops.einsum("i->i", x) * 2, ["multiply"]),
    ],
)
def test_nothing_is_done_for_nothing(function, expected):
    assert operations(lower(program_of(function, np.ones(3)))) == expected


def test_float16_is_added_up_in_float32():
    program = program_of(tg.mean, np.ones(5000, np.float16))
    assert whole(lower(program)) == {"mean"}


def test_a_long_chain():
    def chain(x):
        for _ in range(5_000):
            x = tg.sigmoid(x + 0.1)
        return x

    program = program_of(chain, np.ones(2))
    assert_same(evaluated(lower(program))[0], evaluated(program)[0])


# --- indices -------------------------------------------------------------------------------------

X = np.random.default_rng(2).normal(size=(4, 3))


def gradient_of_chosen(x, *index):
    (g,) = tg.grad((x[index] ** 2).sum(), x, create_graph=True)
    return g


def chosen_program(*index, numbers=X):
    x = tg.tensor(numbers, requires_grad=True)
    with record_everything():
        g = gradient_of_chosen(x, *index)
    return Program("f", [x, *(i for i in index if isinstance(i, tg.Tensor))], [], [g])


def test_one_element_of_each_row_is_put_by_a_comparison():
    columns = tg.tensor([0, 2, 2, 1])
    program = chosen_program(np.arange(4), columns)
    lowered = lower(program)
    assert not whole(lowered)
    assert "equal" in operations(lowered)
    for others in ([0, 2, 2, 1], [-1, -3, 0, 1]):  # counted from the end too
        arguments = {columns: np.array(others)}
        assert_same(evaluated(lowered, arguments)[0], evaluated(program, arguments)[0])


@pytest.mark.parametrize("rows", [[0, 1, 2, 2], [3, 2, 1, 0], [0, 1]])
def test_rows_that_are_not_all_rows_in_order_stay(rows):
    program = chosen_program(np.array(rows), tg.tensor([0, 2, 2, 1][: len(rows)]), numbers=np.zeros((4, 3)))
    lowered = lower(program)  # the numbers it was recorded with say nothing
    assert whole(lowered) == {"put"}
    other = {program.inputs[0]: X}
    assert_same(evaluated(lowered, other)[0], evaluated(program, other)[0])


@pytest.mark.parametrize(
    ("key", "rest"),
    [
        ((slice(None, None, -2), slice(1, None)), set()),
        ((2, slice(0, 3, 2)), set()),
        ((..., None, -1), set()),
        ((np.array([0, 3, 1]),), set()),
        ((np.array([[0], [2]]), np.array([0, 2])), set()),
        ((X > 0,), set()),
        ((np.array([0, 3, 0]),), {"put"}),
    ],
)
def test_elements_are_put_at_known_places_if_each_has_its_own(key, rest):
    program = chosen_program(*key)
    lowered = lower(program)
    assert whole(lowered) == rest
    assert all(
        index.dtype != bool
        for x in lowered.graph
        if x.node
        for index in list(x.node.values)[1:]
        if x.node.op.name == "getitem"
    )
    other = {program.inputs[0]: X * 0.7}
    assert_same(evaluated(lowered, other)[0], evaluated(program, other)[0])


def test_sorting_takes_and_puts():
    program = program_of(lambda x: tg.sort(x, 1).values, X)
    assert whole(lower(program)) == {"argsort"}


def test_a_class_that_does_not_exist_gives_no_number():
    target = tg.tensor([0, 2, 2, 1])
    x = tg.tensor(X)
    with record_everything():
        y = tg.ops.cross_entropy(x, target)
    lowered = lower(Program("f", [x, target], [], [y]))
    assert np.isnan(evaluated(lowered, {target: np.array([0, -1, 2, 1])})[0])
    with pytest.raises(IndexError):
        evaluated(lowered, {target: np.array([0, 3, 2, 1])})


def test_classes_that_are_refused_if_negative_are_not_looked_at_again():
    lowered = lower(programs.perceptron(sizes=(3, 4, 5), batch=6))
    assert operations(lowered).count("less") == 1
    assert operations(lowered).count("where") == 3  # of the loss, of its derivative, and of relu's


def test_an_improbable_probability_gives_no_number():
    program = program_of(lambda x: REGISTRY["binary_cross_entropy"](x, 1.0), np.full(3, 0.5))
    (found,) = evaluated(lower(program), {program.inputs[0]: np.array([-0.1, 1.1, np.nan])})
    assert np.isnan(found).all()


# --- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("equation", "shapes", "expected"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)], ["matmul"]),
        ("ij,kj->ki", [(2, 3), (4, 3)], ["matrix_transpose", "matmul"]),
        ("ij,j->i", [(2, 3), (3,)], ["matmul"]),
        ("i,i->", [(3,), (3,)], ["matmul"]),
        ("bhqd,bhkd->bhqk", [(2, 3, 4, 5), (2, 3, 6, 5)], ["matrix_transpose", "matmul"]),
        ("bi,bi->b", [(2, 3), (2, 3)], ["multiply", "sum"]),
        ("i,j->ij", [(2,), (3,)], ["reshape", "multiply"]),
        ("bij,bkl->bijkl", [(2, 3, 2), (2, 2, 3)], ["reshape", "reshape", "multiply"]),
        ("ij->ji", [(2, 3)], ["matrix_transpose"]),
        ("ij->", [(2, 3)], ["sum"]),
    ],
)
def test_sums_of_products_become_products_of_matrices(equation, shapes, expected):
    rng = np.random.default_rng(3)
    arrays = [rng.normal(size=shape) for shape in shapes]
    lowered = lower(program_of(lambda *xs: tg.einsum(equation, *xs), *arrays))
    assert operations(lowered) == expected
    assert_same(evaluated(lowered)[0], np.einsum(equation, *arrays))


# --- what the forward computation is made of -----------------------------------------------------

COUNTER = {"scale": 2.0}


def drawn(x):
    return x * np.random.default_rng().normal(size=3)


def drawn_number(x):
    return x * float(np.random.default_rng().normal())


def written_with_out(x):
    total = np.exp(x)
    np.multiply(total, 2, out=total)
    return total


def written_in_place(x):
    total = same = np.exp(x)
    same += 1
    return total


def written_into(x):
    total = np.exp(x)
    total[0] = 1
    return total


MADE_OF = [
    (lambda x: x * x * x, ["multiply", "multiply"]),
    (lambda x: np.exp(-x * x) * COUNTER["scale"], ["negative", "multiply", "exp", "multiply"]),
    (lambda x: 1 / (1 + np.abs(x)) ** 2, ["abs", "add", "power", "divide"]),
    (lambda x: np.add.reduce(x[1:], axis=0) - x.sum() + x, ["getitem", "sum", "sum", "subtract", "add"]),
    (lambda x: np.where(x > 0, x, len(x)), ["greater", "where"]),
    (lambda x: np.concatenate([x[1:], x[:1]]), ["getitem", "getitem", "concatenate"]),
    (lambda x: x.astype(np.float32).astype(x.dtype), ["cast", "cast"]),
    (
        lambda x: np.divide(1, np.tanh(x.reshape(3, 1).T)).reshape(3),
        ["reshape", "matrix_transpose", "tanh", "divide", "reshape"],
    ),
    (lambda x: x if x.max() < 100 else -x, None),
    (lambda x: x * float(x[0]), None),
    (lambda x: x * x.mean().item(), None),
    (lambda x: x * len([1 for number in x if number > 0]), None),
    (lambda x: x + np.ones(3), None),
    (lambda x: np.asarray(x) * 2, None),
    (lambda x: np.array(x) * 2, None),
    (lambda x: np.sort(x.copy()), None),
    (lambda x: np.add.reduce(x, keepdims=True, initial=1.0) + x, None),
    (lambda x: np.add.accumulate(x), None),
    (drawn, None),
    (drawn_number, None),
    (written_with_out, None),
    (written_in_place, None),
    (written_into, None),
]


@pytest.fixture
def declared():
    before = dict(REGISTRY)
    yield lambda forward: tg.primitive(name="declared_here", formula="f({x})", vjps=None, samples=lambda rng: [])(
        forward
    )
    for name in REGISTRY.keys() - before.keys():
        del REGISTRY[name]


@pytest.mark.parametrize(("forward", "expected"), MADE_OF)
def test_operations_of_a_users_own(declared, forward, expected):
    program = program_of(declared(forward), np.array([0.3, 0.6, 0.9]))
    lowered = lower(program)
    assert operations(lowered) == (["declared_here"] if expected is None else expected)
    if forward is not drawn_number:  # which its numbers alone betray
        with record_everything():
            found = made_of.operations_in(program.graph.node(program.results[0]).op, tuple(program.inputs), {})
        assert (found is None) == (expected is None)
    if forward not in (drawn, drawn_number):
        other = {program.inputs[0]: np.array([-0.7, 200.0, 3.0])}
        assert_same(evaluated(lowered, other)[0], evaluated(program, other)[0])


def test_an_operation_on_a_number_without_axes_is_not_taken_for_that_number(declared):
    program = program_of(declared(lambda x: np.asarray(np.exp(float(x)) * x)), np.array(0.5))
    assert operations(lower(program)) == ["declared_here"]


def test_code_that_does_not_look_at_numbers_is_found_where_there_is_no_rule():
    x = tg.tensor(X)
    with record_everything():
        found = made_of.operations_in(REGISTRY["huber"], (x,), {"delta": 1.0})
        assert made_of.operations_in(REGISTRY["cholesky"], (x,), {}) is None
        assert made_of.operations_in(REGISTRY["roll"], (x,), {"shifts": (1,), "dims": (0,)}) is None
    assert_same(found.data, REGISTRY["huber"](X, delta=1.0))


# --- the comparison ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: tg.maximum(x, 1e-3),
        lambda x: tg.where(x > 0, x, 0.0),  # NaN becomes 0
        lambda x: tg.maximum(x, 0).astype(np.float64),
        lambda x: tg.maximum(x, 0)[:2],
        lambda x: 0.0,
    ],
)
def test_a_wrong_rule_is_refused(monkeypatch, wrong):
    program = program_of(tg.relu, np.array([-1.0, 2.0, np.nan], np.float32))
    assert operations(lower(program)) == ["maximum"]
    monkeypatch.setitem(composites.RULES, "relu", wrong)
    assert operations(lower(program)) == ["relu"]
