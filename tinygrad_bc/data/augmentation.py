"""Augmentation: changing samples at random as they are handed out, in ways that leave their meaning.

Each is a callable ``augmentation(batch, generator) -> batch``. A loader applies a list of them, and draws their random
numbers from its own generator, so that they are saved and restored with it::

    DataLoader(images, labels, batch_size=32, shuffle=True, generator=0, augment=[RandomShift(2), RandomRotation(10)])

Those for images take a batch whose first array has the shape (N, H, W) or (N, C, H, W), and pass the others on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tinygrad_bc.data.loader import Batch
from tinygrad_bc.data.validation import check_labels
from tinygrad_bc.errors import ArgumentError, DataError, DTypeError, ShapeError
from tinygrad_bc.record import Array

__all__ = ["GaussianNoise", "MixUp", "RandomCrop", "RandomRotation", "RandomShift", "rotate", "shift"]


# --- for tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GaussianNoise:
    """Add independent normal noise to the first array: X + N(0, std²).

    For small noise that is a penalty on the network's slope (Bishop, "Training with noise is equivalent to Tikhonov
    regularization", Neural Computation 7, 1995).

    Parameters
    ----------
    std : float
        The standard deviation; features of different scales are scaled first.

    Raises
    ------
    ArgumentError
        If `std` is negative or not finite.
    DTypeError
        If the features are not floating-point numbers.
    """

    std: float

    def __post_init__(self) -> None:
        if not 0 <= self.std < np.inf:
            raise ArgumentError(f"GaussianNoise({self.std!r}): expected a standard deviation, not negative and finite")

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Return the batch with noise in its first array."""
        X = _floating(batch[0], "GaussianNoise")
        noise = np.asarray(generator.normal(0, self.std, X.shape), X.dtype)
        return (X + noise, *batch[1:])


@dataclass(frozen=True)
class MixUp:
    """Blend each sample, and its target, with another one of the batch: x̃ = λ xᵢ + (1 − λ) xⱼ, ỹ = λ yᵢ + (1 − λ) yⱼ.

    λ ~ Beta(alpha, alpha), drawn anew for each sample; j by shuffling the batch. (Zhang, Cissé, Dauphin and Lopez-Paz,
    "mixup: Beyond empirical risk minimization", ICLR 2018, eq. 1.) All arrays of the batch are blended alike; targets
    become probabilities, as ``cross_entropy`` and ``binary_cross_entropy`` take them.

    Parameters
    ----------
    alpha : float
        Strength: near 0 samples stay nearly themselves, at 1 every blend is equally likely.
    classes : int, optional
        How many there are, if the targets are labels: those of shape (n,) become one-hot rows, (n, classes).

    Raises
    ------
    ArgumentError
        If `alpha` is not positive.
    DTypeError
        If an array is of integers, and is not turned into one-hot rows.
    DataError
        If a label is out of range.
    """

    alpha: float = 1.0
    classes: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < np.inf:
            raise ArgumentError(f"MixUp({self.alpha!r}): expected alpha positive and finite, e.g. 0.2")
        if self.classes is not None and self.classes < 2:
            raise ArgumentError(f"MixUp(classes={self.classes!r}): expected at least 2 classes")

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Return the blended batch."""
        arrays = [_floating(batch[0], "MixUp"), *(self._soft(target, batch[0].dtype) for target in batch[1:])]
        n = len(arrays[0])
        shares, partners = generator.beta(self.alpha, self.alpha, n), generator.permutation(n)
        return tuple(_blend(array, array[partners], shares) for array in arrays)

    def _soft(self, target: Array, dtype: np.dtype[np.floating]) -> Array:
        if self.classes is not None and target.ndim == 1:
            check_labels(target, self.classes)
            return np.eye(self.classes, dtype=dtype)[target.astype(int)]
        if target.dtype.kind != "f":
            raise DTypeError(
                f"MixUp cannot blend {target.dtype} targets of shape {target.shape}: for labels of shape (n,) pass "
                "MixUp(classes=...), for anything else turn them into floats, .astype(float)"
            )
        return target


def _blend(one: Array, other: Array, shares: Array) -> Array:
    weights = shares.reshape(-1, *[1] * (one.ndim - 1)).astype(one.dtype)
    return weights * one + (1 - weights) * other


# --- for images ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RandomShift:
    """Move each image by whole pixels, from -pixels to pixels along either axis, every shift being equally likely.

    (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998, sec. III-C
    trains on translated digits.) What comes in at the edge is `fill`.

    Raises
    ------
    ArgumentError
        If `pixels` is negative or not whole.
    ShapeError
        If the first array is not one of images.
    """

    pixels: int
    fill: float = 0

    def __post_init__(self) -> None:
        if not isinstance(self.pixels, int) or self.pixels < 0:
            raise ArgumentError(f"RandomShift({self.pixels!r}): expected a whole number of pixels, not negative")

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Return the batch with its images moved."""
        down, right = generator.integers(-self.pixels, self.pixels + 1, (2, len(batch[0])))
        return (shift(batch[0], down, right, self.fill), *batch[1:])


@dataclass(frozen=True)
class RandomRotation:
    """Turn each image about its centre by an angle from -degrees to degrees, bilinear; see `rotate`.

    Raises
    ------
    ArgumentError
        If `degrees` is not from 0 to 180.
    ShapeError, DTypeError
        If the first array is not one of images in floating-point numbers.
    """

    degrees: float
    fill: float = 0

    def __post_init__(self) -> None:
        if not 0 <= self.degrees <= 180:
            raise ArgumentError(f"RandomRotation({self.degrees!r}): expected degrees from 0 to 180")

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Return the batch with its images turned."""
        angles = generator.uniform(-self.degrees, self.degrees, len(batch[0]))
        return (rotate(batch[0], angles, self.fill), *batch[1:])


@dataclass(frozen=True)
class RandomCrop:
    """Cut a square, or `size` = (height, width), out of each image, every position being equally likely.

    With `padding`, the image first gets an edge of that many pixels of `fill` on each side: 28 + 2 · 4 pixels cut back
    to 28 is the usual one (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016, sec. 4.2).

    Raises
    ------
    ArgumentError
        If `size` is not positive, or `padding` negative.
    ShapeError
        If the first array is not one of images, or they are smaller than `size`.
    """

    size: int | tuple[int, int]
    padding: int = 0
    fill: float = 0

    def __post_init__(self) -> None:
        window = self._window()
        if len(window) != 2 or min(window) < 1 or self.padding < 0:
            raise ArgumentError(f"{self}: expected a positive size, or two, and a padding that is not negative")

    def _window(self) -> tuple[int, ...]:
        return (self.size, self.size) if isinstance(self.size, int) else tuple(self.size)

    def __call__(self, batch: Batch, generator: np.random.Generator) -> Batch:
        """Return the batch with its images cropped."""
        images, p = _images(batch[0]), self.padding
        n, _, H, W = images.shape
        height, width = self._window()
        if height > H + 2 * p or width > W + 2 * p:
            raise ShapeError(f"RandomCrop: cannot cut {height} x {width} out of {H} x {W} pixels with padding {p}")
        padded = np.pad(images, ((0, 0), (0, 0), (p, p), (p, p)), constant_values=self.fill)
        tops = generator.integers(0, H + 2 * p - height + 1, n)
        lefts = generator.integers(0, W + 2 * p - width + 1, n)
        rows, columns = tops[:, None] + np.arange(height), lefts[:, None] + np.arange(width)
        cropped = padded[np.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # (n, h, w, C)
        return (_like(np.moveaxis(cropped, -1, 1), batch[0]), *batch[1:])


def shift(images: Array, down: Array, right: Array, fill: float = 0) -> Array:
    """Return images moved by whole pixels, `down` and `right`, a number for each image (n,); up and left are negative.

    Raises
    ------
    ShapeError
        If `images` is not of shape (n, H, W) or (n, C, H, W).
    """
    stack = _images(images)
    H, W = stack.shape[2:]
    rows = np.arange(H)[:, None] - np.reshape(down, (-1, 1, 1))
    columns = np.arange(W) - np.reshape(right, (-1, 1, 1))
    return _like(_look_up(stack, rows, columns, fill), images)


def rotate(images: Array, degrees: Array, fill: float = 0) -> Array:
    """Return images turned counter-clockwise about their centres, in their old frames.

    Parameters
    ----------
    images : floating-point array of shape (n, H, W) or (n, C, H, W)
    degrees : array of shape (n,)
        An angle for each image. A quarter turn of a square is `numpy.rot90`, bit for bit.
    fill : float
        The value outside of the image.

    Returns
    -------
    array of the same shape
        A pixel is the bilinear mean, (1 − a)(1 − b) p₀₀ + (1 − a) b p₀₁ + a (1 − b) p₁₀ + a b p₁₁, of the four around
        the place it comes from (Simard, Steinkraus and Platt, "Best practices for convolutional neural networks
        applied to visual document analysis", 2003, sec. 2).

    Raises
    ------
    ShapeError, DTypeError
        If `images` is of another shape, or not of floating-point numbers.
    """
    stack = _images(_floating(images, "rotate"))
    H, W = stack.shape[2:]
    y, x = np.arange(H)[:, None] - (H - 1) / 2, np.arange(W) - (W - 1) / 2
    angles = np.radians(np.reshape(degrees, (-1, 1, 1)))
    cos, sin = np.round(np.cos(angles), 15), np.round(np.sin(angles), 15)  # a quarter turn is exact: cos 90° is 0
    from_y = cos * y + sin * x + (H - 1) / 2
    from_x = cos * x - sin * y + (W - 1) / 2
    top, left = np.floor(from_y), np.floor(from_x)
    a, b = ((from_y - top)[:, None], (from_x - left)[:, None])
    corners = [
        ((1 - a) * (1 - b), 0, 0),
        ((1 - a) * b, 0, 1),
        (a * (1 - b), 1, 0),
        (a * b, 1, 1),
    ]
    top, left = top.astype(int), left.astype(int)
    turned = np.zeros(stack.shape, stack.dtype)
    for weight, below, beside in corners:
        turned += weight.astype(stack.dtype) * _look_up(stack, top + below, left + beside, fill)
    return _like(turned, images)


def _look_up(stack: Array, rows: Array, columns: Array, fill: float) -> Array:
    """Return the pixels of (n, C, H, W) at `rows` and `columns`, which broadcast to (n, H, W); `fill` outside."""
    n, _, H, W = stack.shape
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    pixels = stack[np.arange(n)[:, None, None], :, np.clip(rows, 0, H - 1), np.clip(columns, 0, W - 1)]
    return np.where(inside[:, None], np.moveaxis(pixels, -1, 1), np.asarray(fill, stack.dtype))


def _images(images: Array) -> Array:
    """Return images as (n, C, H, W)."""
    if images.ndim not in (3, 4):
        raise ShapeError(
            f"expected images of shape (n, H, W) or (n, channels, H, W), got {images.shape}"
            + ("; if rows are flattened images, images.reshape(len(images), H, W)" if images.ndim == 2 else "")
        )
    return images[:, None] if images.ndim == 3 else images


def _like(stack: Array, images: Array) -> Array:
    """Return (n, C, H, W) with as many axes as `images` has, contiguous."""
    return np.ascontiguousarray(stack[:, 0] if images.ndim == 3 else stack)


def _floating(array: Array, user: str) -> Array:
    if array.dtype.kind != "f":
        raise DTypeError(f"{user} needs floating-point numbers, got {array.dtype}; convert them, .astype(float)")
    if not len(array):
        raise DataError(f"{user} was given no rows, shape {array.shape}")
    return array
