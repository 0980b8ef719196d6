"""The user's face: making tensors, operators with everything, and the ways out of the graph."""

import copy
import enum
import pickle

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError


def leaf(data, name=None):
    return tg.tensor(data, requires_grad=True, name=name)


# --- making one ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.0, np.float64),
        ([1, 2], np.int64),
        ([True, False], np.bool_),
        (np.ones(2, np.float32), np.float32),
        (pd.Series([1.0, 2.0]), np.float64),
        (pd.DataFrame({"a": [1, 2], "b": [3.0, 4.0]}), np.float64),
    ],
)
def test_dtype_is_what_numpy_would_choose(data, dtype):
    assert tg.tensor(data).dtype == dtype


def test_numbers_are_copied():
    source = np.array([1.0, 2.0])
    t = tg.tensor(source)
    source[0] = 99.0
    np.testing.assert_array_equal(t.data, [1.0, 2.0])
    again = tg.tensor(t)
    again.data[0] = 7.0
    np.testing.assert_array_equal(t.data, [1.0, 2.0])


@pytest.mark.parametrize("data", ["text", [1 + 2j], [object()], pd.DataFrame({"a": ["x"]}), None])
def test_what_is_not_numbers_is_refused(data):
    with pytest.raises(DTypeError, match="expected numbers"):
        tg.tensor(data)


def test_integers_have_no_gradient():
    with pytest.raises(DTypeError, match="W has dtype int64, and only floating-point"):
        tg.tensor([1, 2], requires_grad=True, name="W")
    t = tg.tensor([1, 2])
    with pytest.raises(DTypeError):
        t.requires_grad = True


def test_requires_grad_of_a_computed_tensor_cannot_be_set():
    with pytest.raises(GradientError, match="computed by `multiply`"):
        (leaf(1.0) * 2).requires_grad = False


def test_a_list_of_tensors_is_refused():
    with pytest.raises(DTypeError, match=r"tg\.concatenate"):
        tg.tensor([leaf(1.0), leaf(2.0)])


def test_a_tensor_is_named_and_returned():
    t = tg.tensor([1.0])
    assert t.named("Z1") is t
    assert t.name == "Z1"


def test_is_leaf():
    x, c = leaf(1.0), tg.tensor(1.0)
    assert x.is_leaf
    assert c.is_leaf
    assert (c * 2).is_leaf
    assert not (x * 2).is_leaf


# --- operators -------------------------------------------------------------------------------------

OTHERS = {
    "number": 2.0,
    "integer": 3,
    "numpy scalar": np.float64(2.5),
    "numpy integer": np.int64(3),
    "array": np.array([[1.5, 2.0], [2.5, 3.0]]),
    "list": [[1.5, 2.0], [2.5, 3.0]],
    "tensor": tg.tensor([[1.5, 2.0], [2.5, 3.0]]),
    "DataFrame": pd.DataFrame([[1.5, 2.0], [2.5, 3.0]]),
    "Series": pd.Series([1.5, 2.0]),
}
OPERATORS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "**": lambda a, b: a**b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
}


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("other", OTHERS)
def test_operators_on_either_side_of_anything(operator, other):
    apply, b = OPERATORS[operator], OTHERS[other]
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    plain = b.data if isinstance(b, tg.Tensor) else np.asarray(b)
    for result, expected in ((apply(x, b), apply(x.data, plain)), (apply(b, x), apply(plain, x.data))):
        assert isinstance(result, tg.Tensor)
        assert result.node is not None
        np.testing.assert_array_equal(result.data, expected)
        assert result.dtype == expected.dtype


@pytest.mark.parametrize("other", ["array", "tensor", "list"])
def test_matmul_on_either_side(other):
    b = OTHERS[other]
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    plain = b.data if isinstance(b, tg.Tensor) else np.asarray(b)
    np.testing.assert_array_equal((x @ b).data, x.data @ plain)
    np.testing.assert_array_equal((b @ x).data, plain @ x.data)
    assert (b @ x).requires_grad


def test_matmul_with_a_data_frame():
    df = OTHERS["DataFrame"]
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "x")
    np.testing.assert_array_equal((x @ df).data, x.data @ df.to_numpy())
    # DataFrame.__matmul__ would turn any operand into an array before Python asks us.
    y = df @ x
    assert y.requires_grad
    np.testing.assert_array_equal(y.data, df.to_numpy() @ x.data)
    np.testing.assert_array_equal((df.iloc[0] @ x).data, df.iloc[0].to_numpy() @ x.data)
    assert isinstance(df @ df.T, pd.DataFrame)


def test_subclasses_of_numbers_are_numbers():
    class Count(enum.IntEnum):
        TWO = 2

    assert (leaf(3.0) * Count.TWO).item() == 6.0
    assert (leaf(3.0) * True).item() == 3.0


def test_unary_operators():
    x = leaf([-1.0, 2.0])
    np.testing.assert_array_equal((-x).data, [1.0, -2.0])
    np.testing.assert_array_equal(abs(x).data, [1.0, 2.0])
    assert +x is x
    mask = (x > 0) & ~(x > 1) | (x < -0.5)
    np.testing.assert_array_equal(mask.data, [True, False])


def test_comparisons_are_recorded_and_have_no_gradient():
    x = leaf([-1.0, 2.0])
    mask = x > 0
    assert mask.node.op.name == "greater"
    assert not mask.requires_grad
    (x * mask).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0.0, 1.0])


def test_numpy_functions_keep_the_graph():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    results = [
        np.exp(x),
        np.add(np.ones(2), x),
        np.sum(x, axis=0),
        np.mean(x, axis=1, keepdims=True),
        np.max(x),
        np.where(x > 1.5, x, 0.0),
        np.concatenate([x, np.ones((1, 2))]),
        np.reshape(x, (4,)),
        np.transpose(x),
        np.broadcast_to(x, (3, 2, 2)),
        np.clip(x, 1.5, 2.5),
        np.matmul(np.ones((2, 2)), x),
    ]
    plain = [
        np.exp(x.data),
        np.add(np.ones(2), x.data),
        np.sum(x.data, axis=0),
        np.mean(x.data, axis=1, keepdims=True),
        np.max(x.data),
        np.where(x.data > 1.5, x.data, 0.0),
        np.concatenate([x.data, np.ones((1, 2))]),
        np.reshape(x.data, (4,)),
        np.transpose(x.data),
        np.broadcast_to(x.data, (3, 2, 2)),
        np.clip(x.data, 1.5, 2.5),
        np.matmul(np.ones((2, 2)), x.data),
    ]
    for result, expected in zip(results, plain):
        assert isinstance(result, tg.Tensor)
        assert result.requires_grad
        np.testing.assert_array_equal(result.data, expected)


@pytest.mark.parametrize(
    "call",
    [
        lambda x: np.cbrt(x),
        lambda x: np.add.reduce(x),
        lambda x: np.exp(x, out=np.zeros(2)),
        lambda x: np.median(x),
        lambda x: np.asarray(x),
        lambda x: x.numpy(),
        lambda x: np.array([1.0, 2.0]).__iadd__(x),
    ],
)
def test_ways_of_losing_a_gradient_are_refused(call):
    with pytest.raises(GradientError, match=r"lose|lost"):
        call(leaf([1.0, 2.0]))


def test_without_gradient_numpy_may_have_the_values():
    x = tg.tensor([1.0, 2.0])
    np.testing.assert_array_equal(np.asarray(x), [1.0, 2.0])
    np.testing.assert_array_equal(leaf([1.0, 2.0]).detach().numpy(), [1.0, 2.0])


# --- shape and elements ----------------------------------------------------------------------------


def test_zero_dimensional_results_are_arrays():
    total = leaf([1.0, 2.0]).sum()
    assert isinstance(total.data, np.ndarray)
    assert total.data is total.data
    assert (total.shape, total.ndim, total.dtype) == ((), 0, np.float64)
    assert isinstance((total * total).data, np.ndarray)


def test_methods_are_the_functions_of_the_same_name():
    x = leaf(np.linspace(0.5, 2.0, 6).reshape(2, 3))
    for name in ("exp", "log", "sqrt", "relu", "sigmoid", "tanh", "abs", "sum", "mean", "max", "min"):
        np.testing.assert_array_equal(getattr(x, name)().data, getattr(tg, name)(x).data)
    np.testing.assert_allclose(x.pow(2).data, x.data**2, rtol=1e-15)
    np.testing.assert_array_equal(x.maximum(1.0).data, np.maximum(x.data, 1.0))
    np.testing.assert_array_equal(x.minimum(1.0).data, np.minimum(x.data, 1.0))
    np.testing.assert_array_equal(x.reshape(3, -1).data, x.reshape((3, 2)).data)
    np.testing.assert_array_equal(x.permute(1, 0).data, x.T.data)
    np.testing.assert_array_equal(x.transpose(0, 1).data, x.mT.data)
    np.testing.assert_array_equal(x.broadcast_to(2, 2, 3).data, np.broadcast_to(x.data, (2, 2, 3)))
    assert tg.sum(x, 0).shape == tg.sum(x, axis=0).shape == (3,)


def test_T_reverses_all_axes():
    x = leaf(np.zeros((2, 3, 4)))
    assert x.T.shape == (4, 3, 2)
    assert x.mT.shape == (2, 4, 3)
    assert leaf([1.0, 2.0]).T.shape == (2,)
    with pytest.raises(ShapeError, match="axis 5 is out of bounds: the array has 3 axes"):
        x.transpose(0, 5)


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        slice(1, None),
        (slice(None), 1),
        (..., 0),
        None,
        [0, 2],
        (np.array([0, 1]), [1, 2]),
        np.array([1, 0, 1]) > 0,
    ],
)
def test_indexing_is_that_of_numpy(key):
    x = leaf(np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(x[key].data, x.data[key])


def test_indexing_with_tensors():
    x, i = leaf([1.0, 2.0, 3.0]), tg.tensor([2, 2])
    x[i].sum().backward()
    np.testing.assert_array_equal(x.grad.data, [0.0, 0.0, 2.0])
    np.testing.assert_array_equal(x[x > 1.5].data, [2.0, 3.0])


def test_an_index_out_of_range_is_an_index_error_that_names_the_tensor():
    with pytest.raises(IndexError, match=r"x \(2,\)\[2\]: index 2 is out of bounds"):
        leaf([1.0, 2.0], "x")[2]


def test_an_index_is_written_as_between_brackets():
    x = leaf(np.zeros((4, 3, 2)), "x")
    graph = tg.graph([x[0], x[1:3, ..., None], x[::-1, [0, 1]]])
    assert [graph.formula(y) for y in graph.outputs] == ["x[0]", "x[1:3, ..., None]", "x[::-1, array]"]


def test_iteration():
    rows = list(leaf([[1.0, 2.0], [3.0, 4.0]]))
    assert [r.shape for r in rows] == [(2,), (2,)]
    assert len(leaf([1.0, 2.0])) == 2
    with pytest.raises(TypeError):
        iter(leaf(1.0))


def test_numbers_out():
    x = leaf([[2.5]], "x")
    assert (x.item(), float(x), int(x), bool(x), f"{x:.2f}") == (2.5, 2.5, 2, True, "2.50")
    assert leaf([1.0, 2.0]).tolist() == [1.0, 2.0]
    many = leaf([1.0, 2.0], "many")
    with pytest.raises(ShapeError, match="many has shape"):
        many.item()
    with pytest.raises(ShapeError, match="ambiguous"):
        bool(many > 1)


def test_astype():
    x = leaf([1.5, 2.5])
    y = x.astype(np.float32)
    assert y.dtype == np.float32
    assert gradient_dtype(y.sum(), x) == np.float64
    whole = x.astype(int)
    assert not whole.requires_grad
    np.testing.assert_array_equal(whole.data, [1, 2])


def gradient_dtype(y, x):
    return tg.grad(y, x)[0].dtype


# --- data ------------------------------------------------------------------------------------------


def test_new_data_must_fit():
    x = leaf([1.0, 2.0], "x")
    with pytest.raises(ShapeError, match=r"x has shape \(2,\), the new data \(3,\)"):
        x.data = np.ones(3)
    np.testing.assert_array_equal(x.data, [1.0, 2.0])
    new = np.array([5, 6])
    x.data = new
    assert x.dtype == np.float64
    new[0] = 99
    np.testing.assert_array_equal(x.data, [5.0, 6.0])


# --- identity, printing, copying -------------------------------------------------------------------


def test_tensors_are_keys_by_identity():
    a, b = leaf([1.0]), leaf([1.0])
    assert len({a, b, a}) == 2
    assert a in [b, a]


@pytest.mark.parametrize(
    ("t", "text"),
    [
        (tg.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (tg.tensor([1.0], requires_grad=True, name="W"), "tensor([1.], name='W', requires_grad=True)"),
        (tg.tensor([1.0], dtype=np.float32), "tensor([1.], dtype=float32)"),
        (tg.tensor(1.0, requires_grad=True) * 2, "tensor(2., op=multiply)"),
    ],
)
def test_repr(t, text):
    assert repr(t) == text


def test_repr_of_a_deep_graph_is_shallow():
    y = leaf([1.0])
    for _ in range(10_000):
        y = y + 1
    assert len(repr(y)) < 100
    assert len(repr(y.node)) < 100


def test_leaves_can_be_copied_and_pickled():
    W = leaf([1.0, 2.0], "W")
    for other in (copy.deepcopy(W), pickle.loads(pickle.dumps(W))):
        assert other.requires_grad
        assert other.name == "W"
        other.data[0] = 9.0
    np.testing.assert_array_equal(W.data, [1.0, 2.0])


# --- errors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (lambda W1, X: W1 @ X.T, ["W1 (15, 9) @ ", "(500, 9)", "9 columns", "500 rows", "the second, `.T`"]),
        (lambda W1, X: W1 + X, ["W1 (15, 9) + X (9, 500)", "500", "against"]),
        (lambda W1, X: W1 * X, ["W1 (15, 9) ∘ X (9, 500)"]),
        (lambda W1, X: W1.reshape(4, 4), ["135 elements cannot become 16"]),
        (lambda W1, X: W1.sum(axis=3), ["axis 3 is out of bounds"]),
        (lambda W1, X: W1 @ 3.0, ["for a number use `*`"]),
        (lambda W1, X: W1 + np.ones(15), [".reshape(15, 1)"]),
        (lambda W1, X: tg.concatenate([W1, X]), ["W1 (15, 9)", "X (9, 500)"]),
    ],
)
def test_shape_errors_teach(call, parts):
    W1, X = leaf(np.zeros((15, 9)), "W1"), tg.tensor(np.zeros((9, 500)), name="X")
    with pytest.raises(ShapeError) as caught:
        call(W1, X)
    message = str(caught.value)
    assert all(part in message for part in [*parts, f"{__file__}:"]), message
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("key", [(slice(None), (0, 0)), ((0, 0, 1),), (range(2),)])
def test_any_sequence_is_an_index_array_and_its_repeats_accumulate(key):
    x = leaf(np.arange(6.0).reshape(2, 3))
    key = tuple(part if isinstance(part, slice) else tuple(i % 2 for i in part) for part in key)
    report = tg.gradcheck(lambda x: x[key], x)
    assert report, str(report)
    assert x[[]].shape == (0, 3)


def test_arguments_too_many_or_unknown_are_refused():
    x = leaf([1.0, 2.0], "x")
    for call in (lambda: tg.relu(x, 0.1), lambda: tg.maximum(x, 2.0, 5.0), lambda: tg.logsumexp(x, 0, False, 99)):
        with pytest.raises(TypeError, match="was given"):
            call()
    with pytest.raises(TypeError, match="axes by name") as caught:
        tg.sum(x, axes=0)
    assert "tg.sum(x, axes=0)" in str(caught.value)


def test_arrays_by_name_and_the_names_of_pytorch():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    np.testing.assert_array_equal(tg.sum(input=x, dim=0, keepdim=True).data, [[4.0, 6.0]])
    np.testing.assert_array_equal(tg.subtract(x, other=1.0).data, x.data - 1)
    np.testing.assert_array_equal(tg.subtract(b=1.0, a=x).data, x.data - 1)
    np.testing.assert_array_equal(tg.sigmoid([0.0, 0.0]), [0.5, 0.5])
    with pytest.raises(TypeError, match=r"matmul\(a, b\): b is not given") as caught:
        tg.matmul(x)
    assert "tg.matmul(x)" in str(caught.value)
    for call in (lambda: tg.multiply(x, 1.0, other=2.0), lambda: tg.sum(x, 0, dim=1)):
        with pytest.raises(TypeError, match="was given"):
            call()


def test_numpy_arguments_mean_what_they_mean_in_numpy():
    x = leaf([[1.0, 2.0], [3.0, 4.0]])
    assert np.sum(x, 0, None, None, True).shape == (1, 2)
    assert np.max(x, 0, None, True).shape == (1, 2)
    assert np.mean(x, axis=1, dtype=None).shape == (2,)
    np.testing.assert_array_equal(np.clip(x, a_min=1.5, a_max=2.5).data, np.clip(x.data, 1.5, 2.5))
    assert np.sum(x, 0, np.float32).dtype == np.float32
    with pytest.raises(GradientError, match=r"np\.sum\(out=\.\.\.\)"):
        np.sum(x, 0, out=np.empty(2))
    assert np.std(x).item() == np.std(x.data)  # of the population, while tg.std is that of a sample


def test_numpy_functions_without_a_counterpart_run_where_no_gradient_can_be_lost():
    plain = leaf([1.0, 2.0]).detach()
    assert np.allclose(plain, [1.0, 2.0])
    assert np.linalg.norm(plain) == np.sqrt(5.0)
    assert not np.isnan(plain).any()
    np.testing.assert_array_equal(np.stack([plain, plain]), [[1.0, 2.0], [1.0, 2.0]])


def test_bits_and_masks():
    whole = tg.tensor([6, 4])
    np.testing.assert_array_equal((whole & 3).data, [2, 0])
    np.testing.assert_array_equal((np.array([1, 2]) | whole).data, [7, 6])
    np.testing.assert_array_equal((True ^ (whole > 5)).data, [False, True])
    np.testing.assert_array_equal((~whole).data, [-7, -5])


def test_integers_of_one_element_are_indices():
    assert list(range(tg.tensor(2))) == [0, 1]
    assert leaf([1.0, 2.0, 3.0])[: tg.tensor(2)].shape == (2,)
    with pytest.raises(TypeError):
        range(tg.tensor(2.0))


def test_axes_as_numpy_integers_and_of_a_single_number():
    x = leaf(np.ones((2, 3)))
    assert tg.gradcheck(lambda x: x.sum(axis=np.int64(0)) + x.mean(axis=np.int64(0)) + x.max(axis=np.int64(-2)), x)
    single = leaf(2.0)
    (single.sum(axis=0) + single.mean(axis=-1) + single.max(axis=0)).backward()
    assert single.grad.item() == 3.0


def test_mean_of_half_precision_and_sigmoid_of_unsigned_integers():
    assert tg.tensor(np.full(100_000, 0.5, np.float16)).mean().item() == 0.5
    np.testing.assert_allclose(tg.sigmoid(tg.tensor(np.array([1, 2], np.uint8))).data, 1 / (1 + np.exp([-1.0, -2.0])))


def test_clip_with_arrays_and_numpy_scalars():
    x, low = leaf([1.0, 2.0, 3.0]), leaf([1.5, 1.5, 1.5])
    y = x.clip(low, 2.5)
    np.testing.assert_array_equal(y.data, [1.5, 2.0, 2.5])
    np.testing.assert_array_equal(tg.grad(y.sum(), low)[0].data, [1.0, 0.0, 0.0])
    assert tg.tensor([1.0], dtype=np.float32).clip(np.float64(0), 1).dtype == np.float32


def test_a_view_is_not_updated_in_place():
    x = leaf([1.0, 2.0], "x")
    with tg.no_grad():
        for view in (x.detach(), x[:1]):
            with pytest.raises(GradientError, match="view of another tensor's memory"):
                view += 10
    np.testing.assert_array_equal(x.data, [1.0, 2.0])


def test_power_in_place():
    W = leaf([2.0, 3.0])
    with tg.no_grad():
        W **= 2
    assert W.requires_grad
    np.testing.assert_array_equal(W.data, [4.0, 9.0])


def test_a_parameter_pickled_after_updates_works_and_a_computed_tensor_is_refused():
    W = leaf([1.0, 2.0], "W")
    for _ in range(50):
        with tg.no_grad():
            W -= 0.01
    copied = pickle.loads(pickle.dumps(W))
    (copied * copied).sum().backward()
    np.testing.assert_allclose(copied.grad.data, 2 * W.data)
    with pytest.raises(GradientError, match="cannot be copied or pickled"):
        copy.deepcopy(W * 2)


@pytest.mark.parametrize(
    ("mistake", "error", "message"),
    [
        (lambda x: x + None, DTypeError, "got None: if that is a gradient, call backward"),
        (lambda x: tg.tensor([[1, 2], [3]]), DTypeError, "inhomogeneous"),
        (lambda x: tg.tensor(pd.DataFrame({"a": ["p"]}), dtype=float), DTypeError, "could not convert"),
        (lambda x: tg.concatenate([]), ShapeError, "nothing to join"),
        (lambda x: f"{x:.3f}", TypeError, "only a single number can be formatted"),
        (lambda x: x.reshape(2.5, 3), TypeError, "integer"),
        (lambda x: (x > 0).mean().backward(), GradientError, "without a derivative"),
        (lambda x: tg.gradcheck(tg.log, leaf([-1.0])), GradientError, "fn gives nan"),
        (lambda x: tg.gradcheck(lambda _: (x * x).sum(), x), GradientError, "not computed from the inputs"),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_mistakes_are_explained(mistake, error, message):
    with pytest.raises(error, match=message):
        mistake(leaf([1.0, 2.0], "x"))


SEVERAL_ALIKE = """
    cat concat concatenate stack hstack vstack broadcast_tensors einsum tensordot
"""
IN_NN_FUNCTIONAL = """
    linear conv1d conv2d embedding batch_norm layer_norm pad max_pool1d max_pool2d avg_pool1d avg_pool2d mse_loss
    l1_loss smooth_l1_loss huber_loss nll_loss cross_entropy binary_cross_entropy binary_cross_entropy_with_logits
"""
IN_LINALG = "inv solve linalg_norm matrix_norm vector_norm svdvals matrix_transpose"
OTHER_NAMES = "cast power getitem sum_to expand_dims take_along_axis"  # of methods and operators
FUNCTIONS_ALONE = {*SEVERAL_ALIKE.split(), *IN_NN_FUNCTIONAL.split(), *IN_LINALG.split(), *OTHER_NAMES.split()}


@pytest.mark.parametrize("name", tg.ops.__all__)
def test_every_operation_is_a_method_but_for_those_listed(name):
    if name in FUNCTIONS_ALONE:
        assert not hasattr(tg.Tensor, name)
    elif name != "where":  # whose first argument is the condition
        assert vars(tg.Tensor)[name] is getattr(tg, name)


def test_where_as_a_method_keeps_this_tensor_where_the_condition_holds():
    x = leaf([1.0, -2.0])
    np.testing.assert_array_equal(x.where(x > 0, 0.0).data, [1.0, 0.0])


def test_numpy_questions_about_a_tensor_that_requires_a_gradient_are_answered():
    x = leaf([1.0, 2.0])
    assert np.allclose(x, [1.0, 2.0])
    assert np.size(x) == 2
    np.testing.assert_array_equal(np.zeros_like(x), [0.0, 0.0])
    np.testing.assert_array_equal(np.argwhere(x > 1.5), [[1]])


def test_remainder_and_quotient_by_their_operators():
    x = leaf([5.0, -3.0])
    np.testing.assert_array_equal((x % 2).data, [1.0, 1.0])
    np.testing.assert_array_equal((7 % x).data, [2.0, -2.0])
    np.testing.assert_array_equal((x // 2).data, [2.0, -2.0])
    np.testing.assert_array_equal((7 // x).data, [1.0, -3.0])
    (x % 2).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [1.0, 1.0])


def test_what_a_tensor_is_by_pytorchs_names():
    x = leaf(np.ones((2, 3)))
    assert (x.dim(), x.numel(), x.size(), x.size(-1)) == (2, 6, (2, 3), 3)
    copy = x.clone()
    assert not np.shares_memory(copy.data, x.data)
    (copy * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.data, np.full((2, 3), 2.0))


def test_steps_have_a_derivative_of_zero():
    for op in (tg.floor, tg.ceil, tg.round, tg.trunc, tg.sign):
        x = leaf([0.3, -1.7])
        np.testing.assert_array_equal(tg.grad(op(x), x, np.array([np.inf, 1.0]))[0].data, [0.0, 0.0])
