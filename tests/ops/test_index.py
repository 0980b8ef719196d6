"""Taking elements out, putting them back, choosing along an axis, sorting, padding: against NumPy and loops."""

import itertools

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, IndexingError, ShapeError


def leaf(*shape, name=None):
    x = np.random.default_rng(5).normal(size=shape)
    return tg.tensor(x, requires_grad=True, name=name)


def refused(call, error=IndexingError):
    """What the message of a refused call says, which must end with the user's line."""
    with pytest.raises(error) as caught:
        call()
    message, place = str(caught.value).split("\n")
    assert __file__ in place
    return message


# --- x[key] ------------------------------------------------------------------------------------------

MASK = np.array([True, False, True])
KEYS = [
    1,
    -1,
    np.int64(2),
    (1, -1),
    slice(None, None, -2),
    slice(5, 1),
    (..., 0),
    (slice(1, None), ..., None),
    None,
    (),
    ...,
    True,
    False,
    np.array(True),
    [2, 0, 2],
    [],
    np.array([[0, -1], [1, 1]]),
    np.array(1),
    MASK,
    (MASK, 1),
    (slice(None), [0, 0, 3]),
    (MASK, slice(None), [1, 1]),
    (MASK, [0, 3]),
    (~MASK, [3, 3]),
    (None, MASK, ..., [0]),
    ([0, 2], slice(None), [1, 1]),
    ([[0], [2]], [1, 3]),
    (..., [4, 4]),
    (0, slice(None), [1, 1, 0]),
    np.add.outer(np.arange(3), np.arange(4)) % 2 == 0,
    np.zeros((3, 4, 5), bool),
    (range(2), (0, 1)),
]


@pytest.mark.parametrize("key", KEYS, ids=map(repr, KEYS))
def test_getitem_is_numpys_and_its_gradient_counts_every_use(key):
    x = leaf(3, 4, 5)
    y = x[key]
    np.testing.assert_array_equal(y.data, x.data[key], strict=True)
    weights = np.random.default_rng(1).normal(size=y.shape)
    (g,) = tg.grad(y, x, weights)
    places = np.arange(x.data.size).reshape(x.shape)[key]
    expected = np.bincount(places.ravel(), weights.ravel(), minlength=x.data.size).reshape(x.shape)
    np.testing.assert_allclose(g.data, expected, rtol=1e-15)


def test_tensors_as_index_are_recorded_and_read_like_arrays():
    x = leaf(3, 4)
    rows = tg.tensor([2, 0, 2])
    np.testing.assert_array_equal(x[rows].data, x.data[[2, 0, 2]])
    np.testing.assert_array_equal(x[x > 0].data, x.data[x.data > 0])
    np.testing.assert_array_equal(x[tg.tensor(1) : tg.tensor(3)].data, x.data[1:3])
    np.testing.assert_array_equal(x[tg.tensor(1)].data, x.data[1])
    np.testing.assert_array_equal(x[tg.tensor([])].data, x.data[:0])
    assert x[rows].node.inputs[1] is rows


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda W, i: W[2], "getitem: W (2, 3)[2]: index 2 is out of bounds for axis 0 of length 2: use -2 to 1"),
        (lambda W, i: W[:, i + 2], "index 3 is out of bounds for axis 1 of length 3: use -3 to 2"),
        (lambda W, i: W[..., [0, -4]], "index -4 is out of bounds for axis 1 of length 3"),
        (lambda W, i: W[0, 0, 0], "too many indices: the array has 2 axes, and there are indices for 3"),
        (lambda W, i: W[np.ones((2, 3)) > 0, 0], "too many indices: the array has 2 axes, and there are indices for 3"),
        (lambda W, i: W[:, [True, False]], "mask of shape (2,) cannot select from axes of shape (3,)"),
        (lambda W, i: W[np.ones((2, 4)) > 0], "mask of shape (2, 4) cannot select from axes of shape (2, 3)"),
        (lambda W, i: W[[0, 1], [0, 1, 2]], "shapes (2,), (3,) do not broadcast"),
        (lambda W, i: W[..., ...], "only one `...`"),
        (lambda W, i: W[W], "an index must be integers or booleans, got float64: did you mean x.astype(int)?"),
        (lambda W, i: W[i / 1], "got float64: did you mean x.astype(int)?"),
        (lambda W, i: W[0.0], "got float64: did you mean integers, without a decimal point?"),
        (lambda W, i: W["a"], "got str 'a'"),
        (lambda W, i: W[[0, [1, 2]]], "rows of one length, got [0, [1, 2]]"),
        (lambda W, i: W[0.5:], "must be integers, got 0.5:"),
    ],
)
def test_index_errors_teach(call, said):
    message = refused(lambda: call(leaf(2, 3, name="W"), tg.tensor([0, 1], name="i")))
    assert said in message, message
    assert "W (2, 3)" in message


def test_a_step_of_zero_is_refused():
    assert "step cannot be zero" in refused(lambda: leaf(3)[::0], ShapeError)


# --- along one axis ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "index_shape", "axis"),
    [((3, 4), (2, 4), 0), ((3, 4), (5, 2), 0), ((3, 4), (3, 6), -1), ((2, 3, 4), (1, 5, 3), 1), ((4,), (0,), 0)],
)
def test_gather_and_scatter_add_do_what_their_loops_do(shape, index_shape, axis):
    x, rng = leaf(*shape), np.random.default_rng(2)
    index = rng.integers(0, shape[axis], size=index_shape)
    src = tg.tensor(rng.normal(size=[n + 1 for n in index_shape]), requires_grad=True)
    gathered = np.empty(index_shape)
    scattered, used = x.data.copy(), np.zeros(src.shape)
    for place in itertools.product(*map(range, index_shape)):
        chosen = list(place)
        chosen[axis] = index[place]
        gathered[place] = x.data[tuple(chosen)]
        scattered[tuple(chosen)] += src.data[place]
        used[place] = 1
    np.testing.assert_array_equal(tg.gather(x, axis, index).data, gathered)
    np.testing.assert_allclose(tg.scatter_add(x, axis, tg.tensor(index), src).data, scattered, rtol=1e-14)
    (g,) = tg.grad(tg.scatter_add(x, axis, index, src).sum(), src)
    np.testing.assert_array_equal(g.data, used)
    report = tg.gradcheck(lambda x, src: (tg.gather(x, axis, index), tg.scatter_add(x, axis, index, src)), [x, src])
    assert report, str(report)


def test_a_number_is_indexed_as_an_array_of_one():
    x = leaf()
    assert tg.gather(x, 0, 0).shape == ()
    assert tg.gather(x, -1, [0, 0]).shape == (2,)
    assert tg.scatter_add(x, 0, 0, leaf()).data == 2 * x.data
    assert tg.index_select(x, 0, [0]).shape == ()
    assert tg.sort(x).values.data == x.data
    assert tg.topk(x, 1).indices.data == 0
    assert tg.argsort(x).shape == ()


def test_slices_along_an_axis():
    x = leaf(3, 4)
    np.testing.assert_array_equal(tg.index_select(x, 1, tg.tensor([3, 0, 3])).data, x.data[:, [3, 0, 3]])
    np.testing.assert_array_equal(tg.index_select(x, dim=0, index=2).data, x.data[[2]])
    np.testing.assert_array_equal(tg.take(x, [[0, -1]]).data, np.take(x.data, [[0, -1]]))
    np.testing.assert_array_equal(tg.take(x, [0, -1], axis=1).data, np.take(x.data, [0, -1], axis=1))


def test_what_counts_from_the_end_and_what_does_not():
    x = leaf(2, 3)
    last = np.array([[-1], [-1]])
    np.testing.assert_array_equal(tg.take_along_dim(x, last, dim=1).data, x.data[:, -1:])
    for call in (
        lambda: tg.gather(x, 1, last),
        lambda: tg.scatter_add(x, 1, last, np.ones((2, 1))),
        lambda: tg.index_select(x, 1, [-1]),
    ):
        assert "index -1 is out of bounds for axis 1 of length 3: here indices count from 0 to 2" in refused(call)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: tg.gather(x, 1, np.zeros((2, 2))), "got float64: did you mean x.astype(int)?"),
        (lambda x: tg.gather(x, 1, x > 0), "must be integers, got booleans"),
        (lambda x: tg.gather(x, 1, [0]), "the index has 1 axis and the array 2"),
        (lambda x: tg.gather(x, 1, [[0]] * 3), "along axis 0 the index has length 3, and the array only 2"),
        (lambda x: tg.gather(x, 0, [[2]]), "index 2 is out of bounds for axis 0 of length 2"),
        (lambda x: tg.scatter_add(x, 0, [[0]], [1.0]), "src has 1 axis and the index 2"),
        (lambda x: tg.scatter_add(x, 0, [[0, 1]], [[1.0]]), "along axis 1 the index has length 2, and src has only 1"),
        (lambda x: tg.index_select(x, 0, [[0]]), "the index has 2 axes, and it must have one"),
        (lambda x: tg.take(x, [6]), "take(x (2, 3), [6]): index 6 is out of bounds for axis 0 of length 6"),
        (lambda x: tg.take_along_axis(x, [[3]], 1), "index 3 is out of bounds for axis 1 of length 3"),
        (lambda x: tg.take_along_axis(x, [0], 1), "the index has 1 axis and the array 2"),
    ],
)
def test_wrong_choices_are_refused(call, said):
    assert said in refused(lambda: call(leaf(2, 3, name="x")))


def test_masked_fill():
    x = leaf(2, 3)
    y = tg.masked_fill(x, mask=tg.tensor(MASK), value=7)
    np.testing.assert_array_equal(y.data, np.where(MASK, 7, x.data), strict=True)
    np.testing.assert_array_equal(tg.grad(y.sum(), x)[0].data, [[0.0, 1.0, 0.0]] * 2)
    assert tg.masked_fill(x.astype(np.float32), MASK, 7.0).dtype == np.float32
    assert "must be booleans, got int64" in refused(lambda: tg.masked_fill(x, [1, 0, 1], 0.0), DTypeError)


# --- sorting -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_and_topk(axis, descending):
    x = leaf(4, 5)
    result = tg.sort(x, axis, descending)
    expected = np.sort(x.data, axis)
    expected = np.flip(expected, axis) if descending else expected
    np.testing.assert_array_equal(result.values.data, expected, strict=True)
    np.testing.assert_array_equal(np.take_along_axis(x.data, result.indices.data, axis), expected)
    np.testing.assert_array_equal(tg.argsort(x, dim=axis, descending=descending).data, result.indices.data)
    values, indices = tg.topk(x, 2, axis, largest=descending)
    np.testing.assert_array_equal(values.data, np.take(expected, [0, 1], axis))
    np.testing.assert_array_equal(indices.data, np.take(result.indices.data, [0, 1], axis))
    report = tg.gradcheck(lambda x: (tg.sort(x, axis, descending).values, tg.topk(x, 3, axis).values), x)
    assert report, str(report)


def test_equal_elements_keep_their_order_and_nan_is_largest():
    x = np.array([2, 1, 2, 1, 3])
    np.testing.assert_array_equal(tg.argsort(x), [1, 3, 0, 2, 4])
    np.testing.assert_array_equal(tg.argsort(x, descending=True), [4, 0, 2, 1, 3])
    np.testing.assert_array_equal(tg.sort(np.array([1.0, np.nan, np.inf])).indices, [0, 2, 1])
    np.testing.assert_array_equal(tg.topk(np.array([1.0, np.nan, np.inf]), 2).indices, [1, 2])
    np.testing.assert_array_equal(tg.sort(np.array([True, False]), descending=True).indices, [0, 1])
    np.testing.assert_array_equal(tg.sort(np.array([0, 255], np.uint8), descending=True).values, [255, 0])


def test_the_gradient_of_sorted_values_goes_where_they_were():
    x = tg.tensor([3.0, 1.0, 2.0], requires_grad=True)
    (g,) = tg.grad(tg.sort(x).values, x, np.array([10.0, 20.0, 30.0]))
    np.testing.assert_array_equal(g.data, [30.0, 10.0, 20.0])
    (g,) = tg.grad(tg.topk(x, 1).values, x, np.array([10.0]))
    np.testing.assert_array_equal(g.data, [10.0, 0.0, 0.0])


@pytest.mark.parametrize(("k", "most"), [(4, 3), (-1, 3)])
def test_topk_of_too_many_is_refused(k, most):
    x = leaf(2, 3)
    assert f"from 0 to {most}, the length of axis -1, got {k}" in refused(lambda: tg.topk(x, k), ShapeError)


SAME = {
    "sort": lambda x: np.sort(x, axis=0),
    "sort flat": lambda x: np.sort(x, axis=None),
    "sort kind": lambda x: np.sort(x, kind="stable"),
    "take": lambda x: np.take(x, [[0, -1]]),
    "take axis": lambda x: np.take(x, [2, 0, 0], axis=1),
    "take_along_axis": lambda x: np.take_along_axis(x, np.array([[0, -1]]), axis=1),
    "take_along_axis flat": lambda x: np.take_along_axis(x, np.array([0, 5, 5]), axis=None),
    "pad": lambda x: np.pad(x, ((1, 0), (2, 3))),
    "pad one width": lambda x: np.pad(x, 2, constant_values=1.5),
    "pad edge": lambda x: np.pad(x, (1, 2), mode="edge"),
    "pad reflect": lambda x: np.pad(x, ((1, 1), (0, 2)), mode="reflect"),
    "pad wrap": lambda x: np.pad(x, ((2, 1), (3, 0)), mode="wrap"),
}


@pytest.mark.parametrize("call", SAME.values(), ids=SAME)
def test_numpy_functions_keep_their_meaning_and_the_graph(call):
    x = leaf(2, 3)
    result = call(x)
    np.testing.assert_array_equal(result.data, call(x.data), strict=True)
    assert result.requires_grad
    report = tg.gradcheck(call, x)
    assert report, str(report)


def test_numpys_argsort_has_no_gradient():
    x = leaf(2, 3)
    np.testing.assert_array_equal(np.argsort(x, axis=0).data, np.argsort(x.data, axis=0))
    np.testing.assert_array_equal(np.argsort(x, axis=None).data, np.argsort(x.data, axis=None))
    assert not np.argsort(x).requires_grad


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: np.sort(x, order="a"), GradientError, "only np.sort(a, axis, kind, stable) is recorded"),
        (lambda x: np.take(x, [0], mode="clip"), GradientError, "only np.take(a, indices, axis) is recorded"),
        (lambda x: np.pad(x, 1, mode="mean"), ArgumentError, "only the modes 'constant', 'edge', 'reflect', 'wrap'"),
        (lambda x: np.pad(x, 1, constant_values=(1, 2)), ArgumentError, "with one constant value"),
        (lambda x: np.pad(x, 1, "reflect", reflect_type="odd"), GradientError, "np.pad(array, pad_width, mode, const"),
        (lambda x: np.pad(x, -1), ShapeError, "np.pad does not take elements away"),
    ],
)
def test_what_numpy_functions_do_not_take_for_tensors_is_refused(call, error, said):
    assert said in refused(lambda: call(leaf(2, 3, name="x")), error)


# --- padding -----------------------------------------------------------------------------------------


def test_pad_begins_with_the_last_axis_and_takes_away_where_negative():
    x = leaf(2, 3)
    np.testing.assert_array_equal(tg.pad(x, (1, 2)).data, np.pad(x.data, ((0, 0), (1, 2))), strict=True)
    np.testing.assert_array_equal(
        tg.pad(x, [1, 0, 0, 2], value=3.0).data, np.pad(x.data, ((0, 2), (1, 0)), constant_values=3.0)
    )
    np.testing.assert_array_equal(tg.pad(x, (-1, 1)).data, np.pad(x.data[:, 1:], ((0, 0), (0, 1))))
    np.testing.assert_array_equal(tg.pad(x, (1, -3)).data, np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("mode", "pad", "expected"),
    [
        ("reflect", (3, 2), [4, 3, 2, 1, 2, 3, 4, 3, 2]),
        ("reflect", (-1, 3), [2, 3, 4, 3, 2, 1]),
        ("replicate", (2, 5), [1, 1, 1, 2, 3, 4, 4, 4, 4, 4, 4]),
        ("replicate", (-4, 2), [4, 4]),
        ("circular", (4, 3), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3]),
        ("circular", (-1, 2), [2, 3, 4, 2, 3]),
        ("constant", (1, -2), [0, 1, 2]),
    ],
)
def test_modes_of_padding(mode, pad, expected):
    x = np.array([1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(tg.pad(x, pad, mode), expected)
    np.testing.assert_array_equal(tg.pad(x.reshape(1, 4, 1), (0, 0, *pad), mode=mode)[0, :, 0], expected)


def test_padding_keeps_the_element_type():
    for dtype in (np.float32, np.int64, np.bool_):
        assert tg.pad(np.ones(2, dtype), (1, 1)).dtype == dtype
    assert tg.pad(np.ones(2, np.float32), (1, 1), value=np.float64(0.5)).dtype == np.float32
    np.testing.assert_array_equal(tg.pad(np.ones(2, int), (0, 1), value=0.5), [1, 1, 0.5])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: tg.pad(x, (1, 1, 1)), "got 3 numbers for 2 axes"),
        (lambda x: tg.pad(x, (-2, -2)), "(-2, -2) takes away more than the 3 elements that axis -1 has"),
        (lambda x: tg.pad(x, (0, 0, -3, 5)), "takes away more than the 2 elements that axis -2 has"),
        (lambda x: tg.pad(x, (3, 0), "reflect"), "'reflect' can add at most 2 elements at an end of axis -1"),
        (lambda x: tg.pad(x, (-2, 2), "circular"), "'circular' can add at most 1 elements"),
        (lambda x: tg.pad(x[:, :0], (0, 1), "replicate"), "'replicate' can add at most 0 elements"),
    ],
)
def test_padding_beyond_what_there_is_is_refused(call, said):
    assert said in refused(lambda: call(leaf(2, 3)), ShapeError)
