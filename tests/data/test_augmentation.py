import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

import tinygrad_bc as tg
from tinygrad_bc.data import DataLoader, GaussianNoise, MixUp, RandomCrop, RandomRotation, RandomShift
from tinygrad_bc.data.augmentation import rotate, shift
from tinygrad_bc.errors import ArgumentError, DataError, DTypeError, ShapeError

IMAGES = np.random.default_rng(0).normal(size=(6, 3, 7, 5))
LABELS = np.array([0, 2, 1, 2, 0, 1])
EACH = [GaussianNoise(0.5), MixUp(0.4, classes=3), RandomShift(2), RandomRotation(30), RandomCrop((4, 3), padding=1)]

seeds = st.integers(0, 2**32)


def rng(seed=0):
    return np.random.default_rng(seed)


# --- all of them ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("augmentation", EACH, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_keep_the_dtype_change_nothing_and_repeat(augmentation, dtype):
    images, labels = IMAGES.astype(dtype), LABELS.copy()
    one, target = augmentation((images, labels), rng(1))
    assert one.dtype == dtype
    assert len(one) == len(target) == 6
    np.testing.assert_array_equal(images, IMAGES.astype(dtype))
    np.testing.assert_array_equal(labels, LABELS)
    assert not np.array_equal(one[..., :4, :3], images[..., :4, :3])
    np.testing.assert_array_equal(one, augmentation((images, labels), rng(1))[0])
    assert not np.array_equal(one, augmentation((images, labels), rng(2))[0])


@pytest.mark.parametrize("augmentation", [RandomShift(2), RandomRotation(30), RandomCrop(4)])
def test_images_without_channels_are_treated_alike(augmentation):
    (with_channel,), (without,) = (augmentation((x,), rng(3)) for x in (IMAGES[:, :1], IMAGES[:, 0]))
    np.testing.assert_array_equal(with_channel[:, 0], without)


def test_a_loader_applies_a_list_in_turn():
    augment = [RandomShift(1), GaussianNoise(0.1)]
    loader = DataLoader(IMAGES, LABELS, batch_size=4, generator=0, augment=augment)
    generator = rng(0)
    for (images, labels), rows in zip(loader, (slice(0, 4), slice(4, 6)), strict=True):
        expected = augment[1](augment[0]((IMAGES[rows], LABELS[rows]), generator), generator)
        np.testing.assert_array_equal(images, expected[0])
        np.testing.assert_array_equal(labels, LABELS[rows])


# --- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_normal_and_independent():
    (noise,) = GaussianNoise(0.5)((np.zeros((200, 100)),), rng())
    assert abs(noise.mean()) < 5 * 0.5 / 141
    assert abs(noise.std() - 0.5) < 5 * 0.5 / 200
    assert abs((np.abs(noise) < 0.5).mean() - 0.6827) < 5 * 0.47 / 141
    correlation = np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(200)


# --- mixup ------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.05, 5), seeds)
def test_mixup_blends_samples_and_labels_by_the_same_shares(alpha, seed):
    X = np.eye(6)  # a blend of rows tells its parts and their shares
    blended, target = MixUp(alpha, classes=3)((X, LABELS), rng(seed))
    assert (blended >= 0).all()
    np.testing.assert_allclose(blended.sum(axis=1), 1, rtol=0, atol=1e-15)
    assert ((blended > 0).sum(axis=1) <= 2).all()
    np.testing.assert_allclose(target, blended @ np.eye(3)[LABELS], rtol=0, atol=1e-15)
    # each row keeps its own share λ, or all of it where it was its own partner, and is the partner of one row
    shares = rng(seed).beta(alpha, alpha, 6)
    own = np.diag(blended)
    np.testing.assert_array_equal(own[own < 1], shares[own < 1])
    assert ((blended - np.diag(shares) > 1e-15).sum(axis=0) <= 1).all()


def test_labels_that_are_floats_become_one_hot_too():
    X = np.eye(6)
    np.testing.assert_array_equal(MixUp(1.0, 3)((X, LABELS * 1.0), rng())[1], MixUp(1.0, 3)((X, LABELS), rng())[1])


def test_mixup_of_soft_targets():
    X, y, weights = np.arange(8.0)[:, None], np.arange(8.0), np.arange(16.0).reshape(8, 2)
    x_mixed, y_mixed, weights_mixed = MixUp(1.0)((X, y, weights), rng())
    np.testing.assert_allclose(x_mixed[:, 0], y_mixed)
    np.testing.assert_allclose(weights_mixed, 2 * x_mixed + [0, 1])


def test_shares_of_mixup_follow_the_beta_distribution():
    from scipy import stats

    blended, _ = MixUp(0.3)((np.eye(2000), np.zeros(2000)), rng())
    assert stats.kstest(np.diag(blended)[np.diag(blended) < 1], stats.beta(0.3, 0.3).cdf).pvalue > 0.001


def test_mixed_labels_go_into_the_loss():
    X, target = MixUp(1.0, classes=3)((IMAGES[:, 0, 0, :3], LABELS), rng())
    loss = tg.nn.functional.cross_entropy(tg.tensor(X), tg.tensor(target))
    log_p = X - np.log(np.exp(X).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(loss.item(), -(target * log_p).sum(axis=1).mean())


# --- images -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(-8, 8), st.integers(-6, 6))
def test_a_shift_is_exact(down, right):
    moved = shift(IMAGES, np.full(6, down), np.full(6, right), fill=9.0)
    expected = ndimage.shift(IMAGES, (0, 0, down, right), order=0, cval=9.0)
    np.testing.assert_array_equal(moved, expected)


def test_each_image_has_a_shift_of_its_own():
    down, right = np.arange(6) - 3, np.arange(6) % 4
    moved = shift(IMAGES, down, right)
    for i in range(6):
        np.testing.assert_array_equal(moved[i], shift(IMAGES[i : i + 1], down[i : i + 1], right[i : i + 1])[0])


def test_random_shifts_are_all_that_are_allowed():
    dots = np.zeros((2000, 7, 7))
    dots[:, 3, 3] = 1
    (moved,) = RandomShift(2)((dots,), rng())
    counts = moved.sum(axis=0)
    assert counts.sum() == 2000  # none left the picture
    assert (counts[1:6, 1:6] > 40).all()
    assert counts[1:6, 1:6].sum() == 2000


@pytest.mark.parametrize("quarters", [-2, -1, 0, 1, 2, 3, 5])
@pytest.mark.parametrize("side", [1, 4, 7])
def test_quarter_turns_are_those_of_numpy(side, quarters):
    images = rng(1).normal(size=(3, 2, side, side))
    turned = rotate(images, np.full(3, 90.0 * quarters))
    np.testing.assert_array_equal(turned, np.rot90(images, quarters, axes=(2, 3)))


@settings(deadline=None)
@given(st.floats(-180, 180), st.sampled_from([(7, 5), (4, 4), (5, 9)]))
def test_any_turn_is_that_of_scipy(angle, shape):
    images = rng(2).normal(size=(2, *shape))
    padded = np.pad(images, ((0, 0), (9, 9), (9, 9)))  # scipy treats the edge in another way
    expected = ndimage.rotate(padded, angle, axes=(2, 1), order=1, reshape=False)[:, 9:-9, 9:-9]
    np.testing.assert_allclose(rotate(images, np.full(2, angle)), expected, rtol=0, atol=1e-12)


def test_what_turns_in_is_the_fill():
    turned = rotate(np.ones((1, 9, 9)), np.array([45.0]), fill=5.0)
    assert turned[0, 0, 0] == 5
    assert turned[0, 4, 4] == 1


def test_random_angles_are_uniform():
    assert np.array_equal(RandomRotation(0)((IMAGES,), rng())[0], IMAGES)
    expected = rotate(IMAGES, rng(4).uniform(-20, 20, 6))
    np.testing.assert_array_equal(RandomRotation(20)((IMAGES,), rng(4))[0], expected)


@settings(deadline=None)
@given(st.integers(1, 7), st.integers(1, 5), st.integers(0, 2), seeds)
def test_a_crop_is_a_window_of_the_padded_image(height, width, padding, seed):
    (cropped,) = RandomCrop((height, width), padding, fill=7.0)((IMAGES,), rng(seed))
    padded = np.pad(IMAGES, ((0, 0), (0, 0), (padding, padding), (padding, padding)), constant_values=7.0)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(2, 3))
    for image, choices in zip(cropped, windows, strict=True):
        assert image.shape == (3, height, width)
        assert (choices == image[:, None, None]).all(axis=(0, 3, 4)).any()


def test_every_crop_is_equally_likely():
    ramp = np.tile(np.arange(16.0).reshape(4, 4), (3600, 1, 1))
    (cropped,) = RandomCrop(2)((ramp,), rng())
    counts = np.unique(cropped[:, 0, 0], return_counts=True)[1]
    assert len(counts) == 9
    assert ((counts - 400) ** 2 / 400).sum() < 26.1  # the 0.999 quantile of chi² with 8 degrees of freedom


# --- wrong use --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(-1), "not negative"),
        (lambda: GaussianNoise(np.nan), "finite"),
        (lambda: MixUp(0), "alpha positive"),
        (lambda: MixUp(1, classes=1), "at least 2"),
        (lambda: RandomShift(-1), "not negative"),
        (lambda: RandomShift(1.5), "whole number"),
        (lambda: RandomCrop((3, 3, 3)), "or two"),
        (lambda: RandomRotation(200), "0 to 180"),
        (lambda: RandomCrop(0), "positive size"),
        (lambda: RandomCrop(3, padding=-1), "not negative"),
    ],
)
def test_wrong_settings_are_refused_at_once(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: GaussianNoise(1)((LABELS,), rng()), DTypeError, "floating-point numbers, got int"),
        (lambda: RandomRotation(9)((IMAGES.astype(np.uint8),), rng()), DTypeError, "got uint8"),
        (lambda: RandomShift(1)((IMAGES.reshape(6, -1),), rng()), ShapeError, r"reshape\(len\(images\), H, W\)"),
        (lambda: RandomCrop(8)((IMAGES,), rng()), ShapeError, "8 x 8 out of 7 x 5"),
        (lambda: MixUp()((IMAGES, LABELS), rng()), DTypeError, r"MixUp\(classes=\.\.\.\)"),
        (lambda: MixUp(classes=2)((IMAGES, LABELS), rng()), DataError, "2 is no label of 2 classes"),
    ],
)
def test_batches_that_do_not_fit_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()
