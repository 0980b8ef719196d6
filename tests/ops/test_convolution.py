"""Convolution and pooling against their definitions, written as loops."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, ShapeError
from tinygrad_bc.ops.convolution import Grid
from tinygrad_bc.primitive import REGISTRY


def pair(n):
    return (n, n) if isinstance(n, int) else n


def conv2d_by_definition(x, w, stride=1, padding=0, dilation=1, groups=1):
    """Every product of the sum on its own."""
    (sh, sw), (ph, pw), (dh, dw) = pair(stride), pair(padding), pair(dilation)
    x = np.pad(x, [(0, 0), (0, 0), (ph, ph), (pw, pw)])
    n_filters, per_group, kh, kw = w.shape
    height = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    width = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((len(x), n_filters, height, width))
    for n, o, i, j in np.ndindex(*y.shape):
        first = o // (n_filters // groups) * per_group
        for c, a, b in np.ndindex(per_group, kh, kw):
            y[n, o, i, j] += x[n, first + c, i * sh + a * dh, j * sw + b * dw] * w[o, c, a, b]
    return y


@pytest.mark.parametrize("stride", [1, (2, 3)])
@pytest.mark.parametrize("padding", [0, (2, 1)])
@pytest.mark.parametrize("dilation", [1, (1, 2)])
@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d_is_the_sum_it_is_defined_by(stride, padding, dilation, groups):
    rng = np.random.default_rng(0)
    x, w, b = rng.normal(size=(2, 4, 6, 7)), rng.normal(size=(6, 4 // groups, 2, 3)), rng.normal(size=6)
    expected = conv2d_by_definition(x, w, stride, padding, dilation, groups) + b[:, np.newaxis, np.newaxis]
    actual = tg.conv2d(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


def test_conv1d_of_one_channel_is_the_correlation_of_numpy():
    rng = np.random.default_rng(1)
    x, w = rng.normal(size=9), rng.normal(size=4)
    y = tg.conv1d(x.reshape(1, 1, 9), w.reshape(1, 1, 4))
    np.testing.assert_allclose(y[0, 0], np.correlate(x, w, "valid"), rtol=1e-13)


@pytest.mark.parametrize("kernel", [3, 4])
def test_padding_same_keeps_the_length_and_valid_adds_nothing(kernel):
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(1, 1, 9)), rng.normal(size=(1, 1, kernel))
    before = (kernel - 1) // 2  # of an odd number of zeros, the one more stands behind
    padded = np.pad(x[0, 0], (before, kernel - 1 - before))
    np.testing.assert_allclose(
        tg.conv1d(x, w, padding="same")[0, 0], np.correlate(padded, w[0, 0], "valid"), rtol=1e-13
    )
    np.testing.assert_array_equal(tg.conv1d(x, w, padding="valid"), tg.conv1d(x, w))


def test_a_single_sample_needs_no_axis_for_it():
    rng = np.random.default_rng(3)
    x, w, b = rng.normal(size=(2, 5, 5)), rng.normal(size=(3, 2, 2, 2)), rng.normal(size=3)
    np.testing.assert_array_equal(tg.conv2d(x, w, b), tg.conv2d(x[np.newaxis], w, b)[0])


def test_convolution_is_one_node():
    x = tg.tensor(np.ones((1, 2, 5)), requires_grad=True)
    y = tg.conv1d(x, np.ones((3, 2, 3)), np.ones(3), stride=2)
    assert y.node.op.name == "conv"
    assert y.node.inputs[0] is x


def test_the_derivatives_of_a_convolution_are_its_adjoints():
    """⟨conv(x, w), g⟩ = ⟨x, conv_input(g, w)⟩ = ⟨w, conv_weight(x, g)⟩."""
    rng = np.random.default_rng(4)
    grid = Grid(kernel=(2, 3), stride=(2, 1), dilation=(1, 2), before=(1, 0), count=(3, 2))
    x, w, g = rng.normal(size=(2, 6, 5, 6)), rng.normal(size=(4, 3, 2, 3)), rng.normal(size=(2, 4, 3, 2))
    conv, conv_input, conv_weight = (REGISTRY[name] for name in ("conv", "conv_input", "conv_weight"))
    inner = np.vdot(conv(x, w, grid=grid, groups=2), g)
    assert np.vdot(x, conv_input(g, w, grid=grid, groups=2, lengths=(5, 6))) == pytest.approx(inner, rel=1e-12)
    assert np.vdot(w, conv_weight(x, g, grid=grid, groups=2)) == pytest.approx(inner, rel=1e-12)


def test_windows_and_fold_are_adjoint():
    rng = np.random.default_rng(5)
    grid = Grid(kernel=(3,), stride=(2,), dilation=(2,), before=(1,), count=(4,))
    x, g = rng.normal(size=(2, 8)), rng.normal(size=(2, 4, 3))
    windows, fold = REGISTRY["windows"], REGISTRY["fold"]
    assert np.vdot(windows(x, grid=grid), g) == pytest.approx(np.vdot(x, fold(g, grid=grid, lengths=(8,))), rel=1e-13)
    np.testing.assert_array_equal(windows(np.arange(8.0), grid=grid)[0], [0.0, 1.0, 3.0])  # the first zero is padding


def test_third_derivative_of_a_convolution_squared():
    """y = (x ∗ w)² has d³y/dw³ = 0 and d²y/dw² = 2 x xᵀ for a kernel of the length of x."""
    x = np.array([1.0, -2.0, 3.0])
    w = tg.tensor([0.5, 1.0, -1.0], requires_grad=True)
    y = (tg.conv1d(x.reshape(1, 1, 3), w.reshape(1, 1, 3)) ** 2).sum()
    (first,) = tg.grad(y, w, create_graph=True)
    for i in range(3):
        (row,) = tg.grad(first[i], w, create_graph=True)
        np.testing.assert_allclose(row.data, 2 * x[i] * x, rtol=1e-14)
        (third,) = tg.grad(row.sum(), w, allow_unused=True)
        assert third is None or not third.data.any()


def test_second_derivative_where_input_and_output_have_one_shape():
    rng = np.random.default_rng(0)
    x, w = (tg.tensor(rng.normal(size=shape), requires_grad=True) for shape in ((2, 4), (2, 2, 3)))
    report = tg.check.gradients(lambda x, w: tg.conv1d(x, w, padding=1) ** 2, [x, w], second_order=True)
    assert report, str(report)


# --- pooling -------------------------------------------------------------------------------------


def pool1d_by_definition(x, reduction, kernel, stride, padding, ceil_mode):
    """`reduction` of the elements of x in each window; one that begins behind the input does not count."""
    start, results = -padding, []
    while start < len(x) and (ceil_mode or start + kernel <= len(x) + padding):
        results.append(reduction(x[max(0, start) : start + kernel]))
        start += stride
    return np.array(results)


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(3, 3, 0), (3, 2, 1), (2, 3, 1), (4, 3, 2)])
def test_pools_by_their_definition(kernel, stride, padding, ceil_mode):
    x = np.random.default_rng(6).normal(size=10)
    for pool, reduction in [(tg.max_pool1d, np.max), (tg.avg_pool1d, np.mean)]:
        options = {"count_include_pad": False} if pool is tg.avg_pool1d else {}
        y = pool(x[np.newaxis], kernel, stride=stride, padding=padding, ceil_mode=ceil_mode, **options)
        expected = pool1d_by_definition(x, reduction, kernel, stride, padding, ceil_mode)
        np.testing.assert_allclose(y[0], expected, rtol=1e-14)


def test_pool2d_of_touching_windows_is_a_reduction_of_blocks():
    x = np.random.default_rng(7).normal(size=(2, 3, 4, 6))
    blocks = x.reshape(2, 3, 2, 2, 2, 3)
    np.testing.assert_array_equal(tg.max_pool2d(x, (2, 3)), blocks.max(axis=(3, 5)))
    np.testing.assert_allclose(tg.avg_pool2d(x, (2, 3)), blocks.mean(axis=(3, 5)), rtol=1e-14)
    np.testing.assert_allclose(tg.avg_pool2d(x, (2, 3), divisor_override=3), blocks.sum(axis=(3, 5)) / 3, rtol=1e-14)


def test_average_counts_the_padding_unless_told_otherwise():
    x = np.ones((1, 3))
    np.testing.assert_allclose(tg.avg_pool1d(x, 3, stride=1, padding=1), [[2 / 3, 1, 2 / 3]])
    np.testing.assert_allclose(tg.avg_pool1d(x, 3, stride=1, padding=1, count_include_pad=False), [[1, 1, 1]])


def test_indices_say_where_the_largest_are():
    x = np.random.default_rng(8).normal(size=(2, 3, 5, 6))
    y, where = tg.max_pool2d(x, 3, stride=2, padding=1, return_indices=True)
    found = np.take_along_axis(x.reshape(2, 3, 30), where.reshape(2, 3, -1), axis=-1)
    np.testing.assert_array_equal(found.reshape(y.shape), y)


def test_the_first_of_several_largest_takes_the_gradient():
    x = tg.tensor([[1.0, 3.0, 3.0, 3.0, 0.0, 0.0]], requires_grad=True)
    tg.max_pool1d(x, 3).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [[0, 1, 0, 1, 0, 0]])


def test_an_element_in_overlapping_windows_takes_the_gradients_of_all():
    x = tg.tensor([[0.0, 5.0, 1.0]], requires_grad=True)
    tg.max_pool1d(x, 2, stride=1).backward(np.array([[2.0, 3.0]]))
    np.testing.assert_array_equal(x.grad.data, [[0, 5, 0]])


def test_padding_is_never_the_largest():
    x = tg.tensor([[-np.inf, -np.inf, -3.0]], requires_grad=True)
    y, where = tg.max_pool1d(x, 2, stride=1, padding=1, return_indices=True)
    np.testing.assert_array_equal(y.data, [[-np.inf, -np.inf, -3, -3]])
    np.testing.assert_array_equal(where.data, [[0, 0, 2, 2]])
    np.testing.assert_array_equal(tg.max_pool1d(-np.ones((1, 4)), 2, padding=1), [[-1, -1, -1]])


def test_integers_are_pooled_as_numbers():
    np.testing.assert_array_equal(tg.max_pool1d(np.array([[1, 4, 2, 3]]), 2), [[4.0, 3.0]])
    np.testing.assert_array_equal(tg.avg_pool1d([[1, 4, 2, 3]], 2), [[2.5, 2.5]])


# --- mistakes ------------------------------------------------------------------------------------


def test_an_image_with_its_channels_last_is_recognised():
    image = tg.tensor(np.ones((8, 28, 28, 3)), name="X")
    with pytest.raises(ShapeError, match=r"conv2d\(input=X \(8, 28, 28, 3\).*X\.permute\(0, 3, 1, 2\)") as e:
        tg.conv2d(image, np.ones((4, 3, 5, 5)))
    assert "28 channels (axis 1), but weight wants 3" in str(e.value)


def test_a_kernel_that_does_not_fit_is_refused():
    with pytest.raises(ShapeError, match=r"reaches over \(7,\) elements, more than the input has .*\(6,\)"):
        tg.conv1d(np.ones((1, 1, 4)), np.ones((1, 1, 4)), dilation=2, padding=1)


def test_windows_on_nothing_but_padding_are_refused():
    with pytest.raises(ArgumentError, match="nothing but padding"):
        tg.max_pool1d(np.ones((1, 2)), 2, stride=1, padding=2, dilation=4)
