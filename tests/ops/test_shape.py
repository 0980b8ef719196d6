"""Reshaping, reordering, repeating, joining and cutting: against NumPy, and against what they must undo."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError


def leaf(*shape, name=None):
    x = np.random.default_rng(5).normal(size=shape)
    return tg.tensor(x, requires_grad=True, name=name)


def refused(call, error=ShapeError):
    """What the message of a refused call says, which must end with the user's line."""
    with pytest.raises(error) as caught:
        call()
    message, place = str(caught.value).split("\n")
    assert __file__ in place
    return message


# --- NumPy's functions, called on tensors ------------------------------------------------------------

SAME = {
    "reshape": lambda x: np.reshape(x, (4, -1)),
    "ravel": lambda x: np.ravel(x),
    "transpose": lambda x: np.transpose(x),
    "transpose axes": lambda x: np.transpose(x, (1, 0, 2)),
    "swapaxes": lambda x: np.swapaxes(x, 0, -1),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1),
    "moveaxis several": lambda x: np.moveaxis(x, [0, 1], [-1, 0]),
    "matrix_transpose": lambda x: np.matrix_transpose(x),
    "expand_dims": lambda x: np.expand_dims(x, 1),
    "expand_dims several": lambda x: np.expand_dims(x, (0, -1)),
    "squeeze": lambda x: np.squeeze(x[:1]),
    "squeeze axis": lambda x: np.squeeze(x[:1, :, :1], axis=(0, -1)),
    "broadcast_to": lambda x: np.broadcast_to(x, (5, 2, 3, 4)),
    "broadcast_arrays": lambda x: np.broadcast_arrays(x, x[0], x[..., :1])[2],
    "tile": lambda x: np.tile(x, (2, 3)),
    "tile longer": lambda x: np.tile(x, (2, 1, 2, 1)),
    "repeat": lambda x: np.repeat(x, 2),
    "repeat axis": lambda x: np.repeat(x, [2, 0, 1], axis=1),
    "flip": lambda x: np.flip(x),
    "flip axis": lambda x: np.flip(x, axis=(0, 2)),
    "fliplr": lambda x: np.fliplr(x),
    "flipud": lambda x: np.flipud(x),
    "roll": lambda x: np.roll(x, 5),
    "roll all": lambda x: np.roll(x, (1, 2)),
    "roll axis": lambda x: np.roll(x, (1, -2), axis=(0, 1)),
    "roll one shift": lambda x: np.roll(x, 1, axis=(0, 2)),
    "concatenate": lambda x: np.concatenate([x, x[:, :1]], axis=1),
    "concatenate flat": lambda x: np.concatenate([x, x[0]], axis=None),
    "concatenate parts": lambda x: np.concatenate(x),
    "stack": lambda x: np.stack([x, x + 1], axis=-1),
    "stack parts": lambda x: np.stack(x, axis=1),
    "hstack": lambda x: np.hstack([x, x]),
    "hstack vectors": lambda x: np.hstack([x[0, 0], x[0, 1]]),
    "vstack": lambda x: np.vstack([x[0], x[1, 0]]),
    "split": lambda x: np.split(x, 2, axis=2)[1],
    "split at": lambda x: np.split(x, [1, 2], axis=1)[1],
    "array_split": lambda x: np.array_split(x, 3, axis=2)[0],
    "diag": lambda x: np.diag(x[0], k=1),
    "diag vector": lambda x: np.diag(x[0, 0], k=-2),
    "diagonal": lambda x: np.diagonal(x, 1, axis1=2, axis2=0),
    "tril": lambda x: np.tril(x, k=-1),
    "triu": lambda x: np.triu(x, 1),
}


@pytest.mark.parametrize("call", SAME.values(), ids=SAME)
def test_numpy_functions_keep_their_meaning_and_the_graph(call):
    x = leaf(2, 3, 4)
    result = call(x)
    np.testing.assert_array_equal(result.data, call(x.data), strict=True)
    assert result.requires_grad
    report = tg.gradcheck(call, x)
    assert report, str(report)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda x: np.reshape(x, (3, 2), order="F"), GradientError, "only np.reshape(a, shape) is recorded"),
        (lambda x: np.ravel(x, order="F"), GradientError, "np.ravel(x (2, 3), order='F')"),
        (lambda x: np.concatenate([x, x], dtype=np.float32), GradientError, "only np.concatenate(arrays, axis)"),
        (lambda x: np.squeeze(x, 0), ShapeError, "axis 0 has length 2 and not 1"),
        (lambda x: np.split(x, 2, axis=1), ShapeError, "3 elements do not divide equally; np.array_split allows it"),
    ],
)
def test_what_numpy_functions_do_not_take_for_tensors_is_refused(call, error, said):
    assert said in refused(lambda: call(leaf(2, 3, name="x")), error)


# --- PyTorch's meanings, where they are not NumPy's ----------------------------------------------------


def test_squeeze_leaves_axes_of_another_length():
    x = leaf(2, 1, 3, 1)
    assert tg.squeeze(x).shape == (2, 3)
    assert tg.squeeze(x, 0).shape == (2, 1, 3, 1)
    assert tg.squeeze(x, dim=(0, 1)).shape == tg.squeeze(x, [0, -3]).shape == (2, 3, 1)
    assert tg.squeeze(x, ()).shape == x.shape
    assert tg.squeeze(leaf(), 0).shape == ()


def test_flatten_some_axes():
    x = leaf(2, 3, 4, 5)
    assert tg.flatten(x, 1).shape == (2, 60)
    assert tg.flatten(x, start_dim=1, end_dim=2).shape == (2, 12, 5)
    assert tg.flatten(x, -2, -2).shape == x.shape
    assert tg.flatten(leaf()).shape == tg.ravel(3.0).shape == (1,)


def test_every_way_of_giving_several_numbers():
    x = leaf(2, 3)
    for result in (tg.reshape(x, 3, 2), tg.view(x, (3, 2)), tg.reshape(x, [3, -1]), tg.reshape(x, shape=(3, 2))):
        np.testing.assert_array_equal(result.data, x.data.reshape(3, 2))
    for result in (tg.permute(x, 1, 0), tg.permute(x, dims=[1, 0]), tg.permute(x, np.array([-1, 0]))):
        np.testing.assert_array_equal(result.data, x.data.T)
    for result in (tg.flip(x, 0, 1), tg.flip(x, dims=(0, 1)), tg.flip(x, [0, -1])):
        np.testing.assert_array_equal(result.data, x.data[::-1, ::-1])


def test_expand_keeps_lengths_given_as_minus_one():
    x = leaf(2, 1, 3)
    np.testing.assert_array_equal(tg.expand(x, 4, -1, 5, -1).data, np.broadcast_to(x.data, (4, 2, 5, 3)), strict=True)
    assert tg.expand_as(x, np.ones((2, 7, 3))).shape == (2, 7, 3)
    assert [t.shape for t in tg.broadcast_tensors(x, leaf(4, 1), 1.0)] == [(2, 4, 3)] * 3


def test_repeat_needs_a_number_for_every_axis_and_tile_does_not():
    x = leaf(2, 3)
    np.testing.assert_array_equal(tg.repeat(x, 2, 1).data, np.tile(x.data, (2, 1)))
    np.testing.assert_array_equal(tg.repeat(x, (4, 1, 2)).data, np.tile(x.data, (4, 1, 2)))
    np.testing.assert_array_equal(tg.tile(x, 2).data, np.tile(x.data, 2))
    assert "1 given for 2 axes" in refused(lambda: tg.repeat(x, 2))
    np.testing.assert_array_equal(tg.repeat_interleave(x, tg.tensor([0, 2]), dim=0).data, x.data[[1, 1]])


def lengths(pieces):
    return [piece.shape[0] for piece in pieces]


def test_lengths_of_pieces():
    x = leaf(7)
    assert lengths(tg.split(x, 3)) == [3, 3, 1]
    assert lengths(tg.split(x, [2, 0, 5])) == lengths(tg.split_with_sizes(x, (2, 0, 5))) == [2, 0, 5]
    assert lengths(tg.chunk(x, 3)) == [3, 3, 1]
    assert lengths(tg.chunk(x[:6], 4)) == [2, 2, 2]
    assert lengths(tg.tensor_split(x, 3)) == [3, 2, 2]
    assert lengths(tg.tensor_split(x, [2, 3])) == [2, 1, 4]
    assert lengths(tg.tensor_split(x[:1], 3)) == [1, 0, 0]
    assert lengths(tg.split(x[:0], 2)) == lengths(tg.split(x[:0], 0)) == [0]
    assert lengths(tg.chunk(x[:0], 2)) == [0, 0]
    assert lengths(tg.unbind(leaf(2, 7), 1)) == [2] * 7


@pytest.mark.parametrize(
    ("cut", "join"),
    [
        (lambda x: tg.split(x, 2, 1), lambda parts: tg.cat(parts, 1)),
        (lambda x: tg.chunk(x, 2, dim=-1), lambda parts: tg.concat(parts, dim=-1)),
        (lambda x: tg.tensor_split(x, 2), lambda parts: tg.concatenate(parts)),
        (lambda x: tg.unbind(x, 1), lambda parts: tg.stack(parts, 1)),
        (lambda x: tg.unbind(x, -1), lambda parts: tg.stack(parts, dim=-1)),
        (lambda x: tg.split(x, [1, 2], 1), tg.hstack),
        (lambda x: tg.unbind(x), lambda parts: tg.reshape(tg.vstack(parts), 2, 3, 4)),
    ],
)
def test_joining_undoes_cutting(cut, join):
    x = leaf(2, 3, 4)
    again = join(cut(x))
    np.testing.assert_array_equal(again.data, x.data)
    weights = np.random.default_rng(0).normal(size=x.shape)
    (g,) = tg.grad(again, x, weights)
    np.testing.assert_array_equal(g.data, weights)


def test_an_array_without_elements_joins_anything():
    x, empty = leaf(2, 3), leaf(0)
    np.testing.assert_array_equal(tg.cat([empty, x], 1).data, x.data)
    assert tg.cat([empty, empty]).shape == (0,)
    (g,) = tg.grad(tg.cat([empty, x[0]]), empty, np.ones(3))
    assert g.shape == (0,)


# --- each rearrangement and its inverse --------------------------------------------------------------


@pytest.mark.parametrize(
    ("there", "back"),
    [
        (lambda x: tg.permute(x, 2, 0, 1), lambda y: tg.permute(y, 1, 2, 0)),
        (lambda x: tg.transpose(x, 0, -1), lambda y: tg.swapdims(y, 2, 0)),
        (lambda x: tg.movedim(x, (0, 1), (2, 0)), lambda y: tg.movedim(y, (2, 0), (0, 1))),
        (lambda x: tg.flip(x, (0, 2)), lambda y: tg.flip(y, (2, 0))),
        (lambda x: tg.roll(x, (1, 5), (0, 2)), lambda y: tg.roll(y, (-1, -5), (0, 2))),
        (lambda x: tg.roll(x, 5), lambda y: tg.roll(y, 19)),
        (lambda x: tg.unsqueeze(x, (1, -1)), lambda y: tg.squeeze(y, (1, -1))),
        (lambda x: tg.flatten(x), lambda y: tg.reshape(y, 2, 3, 4)),
        (lambda x: tg.diag_embed(x), lambda y: tg.diagonal(y, dim1=-2, dim2=-1)),
        (
            lambda x: tg.diag_embed(x, offset=-2, dim1=0, dim2=2),
            lambda y: tg.diagonal(y, offset=-2, dim1=0, dim2=2),
        ),
    ],
)
def test_there_and_back(there, back):
    x = leaf(2, 3, 4)
    np.testing.assert_array_equal(back(there(x)).data, x.data, strict=True)


@pytest.mark.parametrize("offset", [-4, -1, 0, 2, 5])
def test_triangles_and_diagonals_make_up_the_matrix(offset):
    x = leaf(3, 4)
    below, above = tg.tril(x, offset), tg.triu(x, diagonal=offset + 1)
    np.testing.assert_array_equal((below + above).data, x.data)
    np.testing.assert_array_equal(tg.diagonal(x, offset).data, np.diagonal(x.data, offset))
    square = leaf(4, 4)
    off = tg.tril(square, -1) + tg.triu(square, 1)
    np.testing.assert_array_equal((off + tg.diag(tg.diag(square))).data, square.data)


def test_triangles_do_not_touch_what_is_not_finite():
    x = np.array([[1.0, np.inf], [np.nan, 2.0]])
    np.testing.assert_array_equal(tg.tril(x, 5), x)
    np.testing.assert_array_equal(tg.triu(tg.tril(x)), np.diag([1.0, 2.0]))


def test_results_can_be_updated():
    for y in (tg.diagonal(leaf(3, 3)), tg.broadcast_to(leaf(1), 3), tg.tile(leaf(1), 3)):
        assert y.data.flags.writeable


def test_numbers_and_lists_are_arrays_too():
    assert tg.unsqueeze(2.0, 0).shape == (1,)
    assert tg.transpose([[1, 2]], 0, 1).shape == (2, 1)
    assert [part.tolist() for part in tg.split([1.0, 2.0, 3.0], 2)] == [[1.0, 2.0], [3.0]]
    np.testing.assert_array_equal(tg.diag([1, 2]), [[1, 0], [0, 2]])
    np.testing.assert_array_equal(tg.cat([[1, 2], [3]]), [1, 2, 3])
    np.testing.assert_array_equal(tg.stack([1.0, leaf()]).data[0], 1.0)


# --- mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda W, b: tg.cat([W, b]), ["W (2, 3)", "b (3,)", "operand 2 has 1 axis", "Did you mean `.unsqueeze(0)`?"]),
        (lambda W, b: tg.cat([W, tg.transpose(W, 0, 1)]), ["W (2, 3)", "along axis 1 operand 2 has length 2"]),
        (lambda W, b: tg.cat([W, W[:, :2]], dim=0), ["operand 1 has 3", "Did you mean axis=1?"]),
        (lambda W, b: tg.cat([W, W], 2), ["axis 2 is out of bounds: the array has 2 axes, so use -2 to 1"]),
        (lambda W, b: tg.cat([b.sum(), b.sum()]), ["operand 1 is a number", "use stack"]),
        (lambda W, b: tg.cat([]), ["concatenate([])", "nothing to join"]),
        (lambda W, b: tg.stack([W, b]), ["operand 2 has shape (3,), operand 1 has (2, 3)", "use concatenate"]),
        (lambda W, b: tg.stack([W, W], 3), ["axis 3 is out of bounds: the array has 3 axes, so use -3 to 2"]),
        (lambda W, b: tg.expand(W, 4, 3), ["axis -2 has length 2 and cannot become 4", "tile", "unsqueeze"]),
        (lambda W, b: tg.broadcast_tensors(W, np.ones(4)), ["axis -1 has 3 against 4"]),
        (lambda W, b: tg.flip(W), ["name the axes to reverse"]),
        (lambda W, b: tg.permute(W, 0), ["W (2, 3)", "(0,) names 1 axis of an array of 2"]),
        (lambda W, b: tg.tensor_split(W, -1), ["at least 1, got -1"]),
    ],
)
def test_shape_errors_teach(call, said):
    message = refused(lambda: call(leaf(2, 3, name="W"), leaf(3, name="b")))
    assert all(part in message for part in said), message


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda x: tg.cat(x), "a sequence of arrays or tensors to join, for example [a, b]"),
        (lambda x: tg.stack(3), "a sequence of arrays or tensors to join"),
        (lambda x: tg.cat([x, None]), "got None"),
        (lambda x: tg.reshape(x, 2.0, 3), "must be integers, got 2.0"),
        (lambda x: tg.split(x, 1.5), "must be integers, got 1.5"),
        (lambda x: tg.squeeze(x, "0"), "must be integers, got '0'"),
    ],
)
def test_arguments_of_the_wrong_kind_are_refused(call, said):
    assert said in refused(lambda: call(leaf(2, 3)), DTypeError)
