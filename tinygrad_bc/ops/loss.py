"""Loss functions.

An `input` and a `target` of different shapes are refused: broadcast, N predictions and a column of N targets would
make N × N numbers, whose mean looks like a loss.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NoReturn

import numpy as np

from tinygrad_bc.diagnosis import user_line
from tinygrad_bc.errors import ArgumentError, DTypeError, IndexingError, LossWarning, ShapeError
from tinygrad_bc.ops._arguments import Shape, first_of, numbers_of, of_shape, shaped
from tinygrad_bc.ops.elementwise import _floating, abs, astype, clip, maximum, sigmoid, where
from tinygrad_bc.ops.index import HERE, Key, _put, getitem
from tinygrad_bc.ops.reduce import log_softmax, mean, sum
from tinygrad_bc.ops.shape import reshape
from tinygrad_bc.primitive import ErrorSample, Sample, composite, primitive
from tinygrad_bc.record import Value, tracer

# --- what losses have in common ------------------------------------------------------------------


def _reduced(loss: Any, reduction: str) -> Any:
    if reduction == "none":
        return loss
    if reduction == "mean":
        return mean(loss)
    if reduction == "sum":
        return sum(loss)
    raise ArgumentError(f"reduction={reduction!r}, but expected 'mean', 'sum' or 'none'")


def _weighted_mean(loss: Any, weight: Any) -> Any:
    """Return the sum of losses, weighted already, by that of their weights."""
    total = sum(weight)
    if numbers_of(total) == 0:
        raise ArgumentError(
            "the mean is divided by the sum of the weights, which is 0: every target is ignored, or has no weight. "
            "With reduction='sum' the loss is 0"
        )
    return sum(loss) / total


def _written(method: str, shape: Shape) -> str:
    return f"{method}({', '.join(map(str, shape))})"


def _refuse_shapes(x: Shape, y: Shape, target: str) -> NoReturn:
    """Refuse targets that are not there for each prediction, and say what NumPy would have made of them."""
    reason = f"input {x} and target {y} must have the same shape, one target for each prediction."
    if math.prod(x) == math.prod(y):
        reason += f" Did you mean {target}.{_written('reshape', x)}, or input.{_written('reshape', y)}?"
    try:
        shape = np.broadcast_shapes(x, y)
    except ValueError:
        raise ShapeError(reason) from None
    size = math.prod(shape)
    pairs = f"{'×'.join(map(str, shape))} = {size}" if len(shape) > 1 else size
    wanted = [f"tg.broadcast_to({name}, {shape})" for name, s in (("input", x), ("target", y)) if s != shape]
    raise ShapeError(
        f"{reason} Broadcasting would compare {pairs} pairs. If that is meant, say so: {' and '.join(wanted)}"
    )


def _prediction(x: Any) -> Any:
    x = shaped(x)
    if x.dtype.kind != "f":
        raise DTypeError(
            f"input holds predictions, which are floating-point numbers, and it is {x.dtype}. The order is (input, "
            "target): are they swapped? If not, convert it with .astype(float)"
        )
    return x


def _pair(input: Any, target: Any) -> tuple[Any, Any]:
    """Return predictions, and targets that are floating-point numbers of the same shape."""
    y = shaped(target)
    if input.shape != y.shape:
        _refuse_shapes(input.shape, y.shape, "target.to_numpy()" if hasattr(target, "to_numpy") else "target")
    return input, y if y.dtype.kind == "f" else astype(y, input.dtype)


def _warn(text: str) -> None:
    warnings.warn(f"{text}. If it is meant, ignore tg.errors.LossWarning\n{user_line()}", LossWarning, stacklevel=5)


def _warn_if_made_by(op: str, input: Any, expected: str, instead: str) -> None:
    """Warn if the record says that `input` is not what this loss expects."""
    node = input.node if isinstance(input, Value) else None
    if node is not None and node.op.name == op:
        _warn(
            f"input was made by {op}, at\n  {node.place}\nbut this loss takes {expected}: {instead}, or what comes out "
            "is a number that looks like a loss"
        )


def _warn_if_swapped(input: Any, target: Any) -> None:
    if isinstance(target, Value) and target._requires_grad and not getattr(input, "requires_grad", False):
        _warn("target requires a gradient, and input does not; the order is (input, target): are they swapped")


def _mismatches() -> list[ErrorSample]:
    p = np.full(4, 0.5)
    return [
        ErrorSample(p, np.ones((4, 1)), error=ShapeError, match=r"Did you mean \w+\.reshape\(4\).*4×4 = 16 pairs"),
        ErrorSample(
            p, np.ones(()), error=ShapeError, match=r"If that is meant, say so: tg\.broadcast_to\(\w+, \(4,\)\)"
        ),
        ErrorSample(p, np.ones(3), error=ShapeError, match=r"input \(4,\) and target \(3,\) must have the same shape"),
        ErrorSample(p, np.ones(4), reduction="average", error=ArgumentError, match="reduction='average'"),
    ]


# --- regression ----------------------------------------------------------------------------------


def _of_errors(errors: Any, x: Any, reduction: str, weight: Any = None, over_weights: bool = True) -> Any:
    """Return losses weighted and reduced."""
    weight = of_shape("weight", weight, x.shape, "a number for each prediction")
    if weight is None:
        return _reduced(errors, reduction)
    errors = errors * weight
    return _weighted_mean(errors, weight) if reduction == "mean" and over_weights else _reduced(errors, reduction)


def _pairs(rng: np.random.Generator) -> list[Sample]:
    """Return predictions and targets that are not near each other, nor 1 apart."""
    y = rng.normal(size=(3, 4))
    apart = rng.choice([-1.6, -0.4, 0.5, 1.8], size=(3, 4))
    return [
        Sample(y + apart, y),
        Sample(y + apart, y, reduction="sum"),
        Sample((y + apart)[0], y[0], reduction="none"),
        Sample(np.array(0.3), np.array(0.7)),
    ]


def _weighted_pairs(rng: np.random.Generator) -> list[Sample]:
    pairs = _pairs(rng)
    return [*pairs, *(Sample(*s.inputs, **s.params, weight=rng.uniform(1, 2, s.inputs[0].shape)) for s in pairs[:3])]


def _regression_errors() -> list[ErrorSample]:
    p, y = np.ones(3), np.zeros(3)
    return [
        *_mismatches(),
        ErrorSample(p, y, weight=np.ones((3, 1)), error=ShapeError, match=r"weight must be of shape \(3,\)"),
    ]


@composite(formula="mean((input − target)²)", samples=_weighted_pairs, error_samples=_regression_errors)
def mse_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """Squared error, ``(input - target)²``.

    Parameters
    ----------
    input, target : (...)
        Predictions, and what they should be; of the same shape.
    reduction : {'mean', 'sum', 'none'}
        What becomes of the losses of the elements.
    weight : (...), optional
        A factor for each element. The mean is then divided by the sum of the weights.

    Raises
    ------
    ShapeError
        If the shapes differ.
    ArgumentError
        If there is no such reduction.
    """
    x, y = _pair(_floating(input), target)
    return _of_errors((x - y) ** 2, x, reduction, weight)


@composite(formula="mean(|input − target|)", samples=_weighted_pairs, error_samples=_regression_errors)
def l1_loss(input: Any, target: Any, reduction: str = "mean", weight: Any = None) -> Any:
    """Absolute error, ``|input - target|``, with the derivative 0 where there is none. As `mse_loss` otherwise."""
    x, y = _pair(_floating(input), target)
    return _of_errors(abs(x - y), x, reduction, weight)


@primitive(
    name="huber",
    formula="½{x}² if |{x}| ≤ {delta} else {delta}(|{x}| − ½{delta})",
    vjps=[lambda g, y, x, delta: g * clip(x, -delta, delta)],
    samples=lambda rng: [
        Sample(np.array([[-2.0, -0.8, 0.0], [0.3, 1.2, 700.0]]), delta=1.0),
        Sample(np.array(0.2), delta=0.1),
        Sample(np.ones((0, 3)), delta=2.0),
    ],
)
def _huber(x: Any, *, delta: float) -> Any:
    size = np.abs(x)
    inside = np.minimum(size, delta)
    return inside * (size - 0.5 * inside)  # both branches at once, and no square that could overflow


@composite(
    formula="mean(huber(input − target))",
    samples=_weighted_pairs,
    error_samples=lambda: [
        *_regression_errors(),
        ErrorSample(np.ones(3), np.zeros(3), delta=0, error=ArgumentError, match="delta=0, but expected a positive"),
    ],
)
def huber_loss(input: Any, target: Any, reduction: str = "mean", delta: float = 1.0, weight: Any = None) -> Any:
    """Squared error near 0 and absolute error beyond `delta`: ``½e²``, or ``delta·(|e| - ½delta)``.

    As `mse_loss`, but the mean is that of the weighted losses: it is not divided by the weights (as in PyTorch).
    Source: Huber, "Robust estimation of a location parameter", 1964.
    """
    if not delta > 0:
        raise ArgumentError(f"delta={delta}, but expected a positive number")
    x, y = _pair(_floating(input), target)
    return _of_errors(_huber(x - y, delta=float(delta)), x, reduction, weight, over_weights=False)


@composite(
    formula="mean(huber(input − target) / beta)",
    samples=_pairs,
    error_samples=lambda: [
        *_mismatches(),
        ErrorSample(np.ones(3), np.zeros(3), beta=-1, error=ArgumentError, match="beta=-1"),
    ],
)
def smooth_l1_loss(input: Any, target: Any, reduction: str = "mean", beta: float = 1.0) -> Any:
    """Huber's loss by `beta`: ``½e² / beta`` near 0, and ``|e| - ½beta`` beyond. With ``beta=0``, `l1_loss`."""
    if not beta >= 0:
        raise ArgumentError(f"beta={beta}, but expected a number of at least 0")
    x, y = _pair(_floating(input), target)
    return _of_errors(abs(x - y) if beta == 0 else _huber(x - y, delta=float(beta)) / beta, x, reduction)


# --- two classes ---------------------------------------------------------------------------------


def _bce_vjp(g: Any, y: Any, x: Any, target: Any) -> Any:
    # Where the loss is cut off, at probabilities 0 and 1, this is not its derivative (0 or infinite) but very large:
    # a wrong certainty is still corrected. The bound is PyTorch's.
    return g * (x - target) / maximum(x * (1 - x), 1e-12)


def _bce_target_vjp(g: Any, y: Any, x: Any, target: Any) -> Any:
    return g * (_bce(x, 1.0) - _bce(x, 0.0))  # it is linear in the target


def _probabilities(rng: np.random.Generator) -> list[Sample]:
    return [
        *(Sample(rng.uniform(0.1, 0.7, s), rng.uniform(size=s)) for s in [(3, 4), (5,), (), (0, 3)]),
        Sample(rng.uniform(0.1, 0.7, 4), 1.0),
    ]


def _are_shares(x: Any) -> bool:
    """Return whether all numbers lie between 0 and 1; NaN does not."""
    lowest, highest = np.minimum.reduce(x, axis=None, initial=1), np.maximum.reduce(x, axis=None, initial=0)
    return bool(lowest >= 0 and highest <= 1)


def _no_share(x: Any) -> str:
    """Return the first number that does not lie between 0 and 1, and where it is."""
    return first_of(~((x >= 0) & (x <= 1)), x)


def _refuse_improbable(x: Any) -> None:
    if not _are_shares(x):
        raise ArgumentError(
            f"input holds {_no_share(x)}, and probabilities lie between 0 and 1. For scores that are not "
            "probabilities yet, use binary_cross_entropy_with_logits"
        )


@primitive(
    name="binary_cross_entropy",
    formula="−[{target} log({x}) + (1 − {target}) log(1 − {x})]",
    vjps=[_bce_vjp, _bce_target_vjp],
    samples=_probabilities,
    error_samples=lambda: [
        ErrorSample(np.array([0.5, 1.5]), np.ones(2), error=ArgumentError, match=r"1\.5.*between 0 and 1")
    ],
    broadcasts=True,
)
def _bce(x: Any, target: Any) -> Any:
    _refuse_improbable(x)
    with np.errstate(divide="ignore"):
        return -(target * np.maximum(np.log(x), -100) + (1 - target) * np.maximum(np.log1p(-x), -100))


def _binary_target(y: Any) -> Any:
    """Return targets of two classes, refused if they are not 0, 1 or between."""
    numbers = numbers_of(y)
    if not _are_shares(numbers) and not getattr(y, "requires_grad", False):  # finite differences may go beyond
        raise ArgumentError(
            f"target holds {_no_share(numbers)}, and must be 0 or 1 or between, the probability of class 1. "
            "Classes with other numbers are made so by a comparison, (target == 4) for class 4"
        )
    return y


def _broadcast_weight(name: str, x: Any, weight: Any) -> Any:
    weight = shaped(weight)
    try:
        fits = np.broadcast_shapes(weight.shape, x.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"{name} {weight.shape} does not broadcast to the shape of input, {x.shape}")
    return weight


def _binary_errors() -> list[ErrorSample]:
    p, y = np.full(4, 0.5), np.ones(4)
    return [
        *_mismatches(),
        ErrorSample(p, y, np.ones(3), error=ShapeError, match=r"weight \(3,\) does not broadcast"),
        ErrorSample(p, y, np.ones((4, 1)), error=ShapeError, match=r"weight \(4, 1\) does not broadcast"),
        ErrorSample(np.ones(4, int), p, error=DTypeError, match="are they swapped"),
    ]


@composite(
    formula="mean(−[target log(input) + (1 − target) log(1 − input)])",
    samples=lambda rng: [
        Sample(rng.uniform(0.1, 0.9, (3, 4)), rng.uniform(size=(3, 4)), rng.uniform(1, 2, size=4)),
        Sample(rng.uniform(0.1, 0.9, 3), rng.uniform(size=3), reduction="sum"),
    ],
    error_samples=lambda: [
        *_binary_errors(),
        ErrorSample(np.array([-0.1]), np.ones(1), error=ArgumentError, match="use binary_cross_entropy_with_logits"),
    ],
)
def binary_cross_entropy(input: Any, target: Any, weight: Any = None, *, reduction: str = "mean") -> Any:
    """Cross-entropy of two classes, for probabilities.

    The logarithms are cut off at −100, so that the loss is finite at 0 and 1. For scores before the sigmoid,
    `binary_cross_entropy_with_logits` is exact everywhere.

    Parameters
    ----------
    input : (...)
        Probabilities of class 1.
    target : (...)
        0 or 1, or a probability; of the same shape.
    weight : broadcasting to (...), optional
        A factor for each element.
    reduction : {'mean', 'sum', 'none'}
        What becomes of the losses of the elements. The mean is not divided by the weights.

    Raises
    ------
    ShapeError
        If the shapes differ, or the weight's does not fit.
    ArgumentError
        If an input or target is not between 0 and 1, or there is no such reduction.
    DTypeError
        If the inputs are integers.
    """
    x, y = _pair(_prediction(input), target)
    _refuse_improbable(numbers_of(x))  # here too, for an error in the user's terms
    _warn_if_swapped(input, target)
    loss = _bce(x, _binary_target(y))
    return _reduced(loss if weight is None else loss * _broadcast_weight("weight", x, weight), reduction)


def _bce_with_logits_vjp(g: Any, y: Any, x: Any, target: Any) -> Any:
    # σ(x) − target, written so that no digits are lost where the two are nearly equal.
    return g * ((1 - target) * sigmoid(x) - target * sigmoid(-x))


@primitive(
    name="binary_cross_entropy_with_logits",
    formula="−[{target} log σ({x}) + (1 − {target}) log(1 − σ({x}))]",
    vjps=[_bce_with_logits_vjp, lambda g, y, x, target: -g * x],
    samples=lambda rng: [
        *(Sample(rng.normal(size=s), rng.uniform(size=s)) for s in [(3, 4), (5,), (), (0, 3)]),
        Sample(np.array([-800.0, -30.0, 30.0, 800.0]), np.array([0.0, 0.25, 1.0, 1.0])),
        Sample(rng.normal(size=4), 1.0),
    ],
    broadcasts=True,
)
def _bce_with_logits(x: Any, target: Any) -> Any:
    # −log σ(x) = log(1 + e⁻ˣ) and −log(1 − σ(x)) = x + log(1 + e⁻ˣ), with the larger part of the logarithm taken out,
    # so that nothing overflows, and for targets 0 and 1 nothing cancels.
    return np.maximum(x, 0) - target * x + np.log1p(np.exp(-np.abs(x)))


@composite(
    formula="mean(−[pos_weight target log σ(input) + (1 − target) log(1 − σ(input))])",
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), rng.uniform(size=(3, 4)), rng.uniform(1, 2, size=4)),
        Sample(rng.normal(size=(3, 4)), rng.uniform(size=(3, 4)), pos_weight=rng.uniform(1, 2, size=4)),
        Sample(rng.normal(size=3), rng.uniform(size=3), reduction="sum"),
    ],
    error_samples=lambda: [
        *_binary_errors(),
        ErrorSample(np.ones((2, 3)), np.ones((2, 3)), pos_weight=np.ones(2), error=ShapeError, match="pos_weight"),
    ],
)
def binary_cross_entropy_with_logits(
    input: Any, target: Any, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None
) -> Any:
    """Cross-entropy of two classes, for scores before the sigmoid; without overflow and without loss of digits.

    Parameters
    ----------
    input : (...)
        Scores: the logarithm of the odds of class 1.
    target : (...)
        0 or 1, or a probability; of the same shape.
    weight : broadcasting to (...), optional
        A factor for each element.
    reduction : {'mean', 'sum', 'none'}
        What becomes of the losses of the elements. The mean is not divided by the weights.
    pos_weight : broadcasting to (...), optional
        A factor for the losses of class 1: above 1 for fewer false negatives.

    Raises
    ------
    ShapeError
        If the shapes differ, or that of a weight does not fit.
    ArgumentError
        If a target is not between 0 and 1, or there is no such reduction.
    DTypeError
        If the inputs are integers.

    Warns
    -----
    LossWarning
        If the inputs were made by the sigmoid, or only the targets require a gradient.
    """
    _warn_if_made_by("sigmoid", input, "scores before the sigmoid", "pass these, or use binary_cross_entropy")
    x, y = _pair(_prediction(input), target)
    _warn_if_swapped(input, target)
    y = _binary_target(y)
    if pos_weight is None:
        loss = _bce_with_logits(x, y)
    else:
        positive = _broadcast_weight("pos_weight", x, pos_weight)
        loss = positive * y * _bce_with_logits(x, 1.0) + (1 - y) * _bce_with_logits(x, 0.0)
    return _reduced(loss if weight is None else loss * _broadcast_weight("weight", x, weight), reduction)


# --- many classes --------------------------------------------------------------------------------


def _class_axis(x: Any) -> int:
    """Return which axis counts the classes: (C,), (N, C), (N, C, ...)."""
    return 0 if x.ndim == 1 else 1


def _picked(target: Any, axis: int) -> tuple[Any, ...]:
    """Return the indices, one per axis, of the element of each target's class."""
    grid = np.ogrid[tuple(slice(n) for n in target.shape)]
    return (*grid[:axis], target, *grid[axis:])


@primitive(
    name="nll",
    formula="−{x}[{target}]",
    vjps=[
        lambda g, y, x, target: _put(-g, *_picked(target, _class_axis(x)), key=Key([HERE] * x.ndim), shape=x.shape),
        None,
    ],
    samples=lambda rng: [
        Sample(rng.normal(size=(4, 3)), np.array([0, 2, 2, 1])),
        Sample(rng.normal(size=3), np.array(1)),
        Sample(rng.normal(size=(2, 3, 2)), np.array([[0, 1], [2, 2]])),
        Sample(np.ones((0, 3)), np.zeros(0, int)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((2, 3)), np.array([0, 3]), error=IndexingError, match="holds class 3 at")
    ],
)
def _nll(x: Any, target: Any) -> Any:
    """Return minus the element of each target's class."""
    axis = _class_axis(x)
    _refuse_other_classes(target, x.shape[axis])
    return -x[_picked(target, axis)]


def _refuse_other_classes(target: Any, classes: int) -> None:
    wrong = (target < 0) | (target >= classes)
    if np.any(wrong):
        from_one = np.min(target) == 1 and np.max(target) == classes
        raise IndexingError(
            f"target holds class {first_of(wrong, target)}, but input has {classes} classes, 0 to {classes - 1}"
            + (". Classes are counted from 0: did you mean target - 1?" if from_one else "")
        )


def _check_classes(x: Any, target: Any) -> None:
    """Refuse a target that does not hold one class for each sample."""
    axis = _class_axis(x)
    expected = (*x.shape[:axis], *x.shape[axis + 1 :])
    if target.shape == x.shape and target.dtype.kind != "f":
        raise DTypeError(
            f"target has the shape of input, so it should hold a probability for each class, and it is {target.dtype}: "
            "convert it with .astype(float), or pass one class for each sample, target.argmax(axis)"
        )
    if target.shape != expected:
        hint = ""
        if math.prod(target.shape) == math.prod(expected):
            hint = f". Did you mean target.{_written('reshape', expected)}?"
        elif x.ndim > 2 and target.shape == x.shape[:-1]:
            hint = ". Classes are on axis 1: did you mean input.moveaxis(-1, 1)?"
        raise ShapeError(
            f"input {x.shape} has its {x.shape[axis]} classes on axis {axis}, so target should be {expected}, a class "
            f"for each sample, and it is {target.shape}{hint}"
        )
    if target.dtype.kind not in "iu":
        raise DTypeError(
            f"target should hold the numbers of classes, which are integers, and it is {target.dtype}: "
            "convert it with .astype(int)"
        )


def _scores(input: Any) -> Any:
    x = _prediction(input)
    if x.ndim == 0 or x.shape[_class_axis(x)] == 0:
        raise ShapeError(f"input must be (C,), (N, C) or (N, C, ...) with at least one class, and it is {x.shape}")
    return x


def _class_weight(x: Any, weight: Any) -> Any:
    shape = (x.shape[_class_axis(x)],)
    return of_shape("weight", weight if weight is None else _floating(weight), shape, "a factor for each class")


def _over_classes(x: Any, weight: Any) -> Any:
    """Return minus the sum over all classes, weighted."""
    if weight is not None:
        x = x * reshape(weight, (-1, *(1,) * (x.ndim - 1 - _class_axis(x))))
    return -sum(x, axis=_class_axis(x))


def _loss_of_classes(
    x: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float = 0.0
) -> Any:
    """Return the loss of log-probabilities for the numbers of classes."""
    _check_classes(x, target)
    ignored = target == ignore_index
    some = tracer.get() is not None or bool(np.any(numbers_of(ignored)))  # others at a later call, if captured
    if some:
        target = where(ignored, 0, target)
    _refuse_other_classes(numbers_of(target), x.shape[_class_axis(x)])  # here too, for an error in the user's terms
    loss = _nll(x, target)
    share = None if weight is None else getitem(weight, target)
    if share is not None:
        loss = loss * share
    if label_smoothing:
        uniform = _over_classes(x, weight) / x.shape[_class_axis(x)]
        loss = (1 - label_smoothing) * loss + label_smoothing * uniform
    if some:
        loss = where(ignored, 0.0, loss)
        counts = astype(~ignored, x.dtype)
        share = counts if share is None else share * counts
    return _weighted_mean(loss, share) if reduction == "mean" and share is not None else _reduced(loss, reduction)


def _class_errors() -> list[ErrorSample]:
    x, t = np.ones((4, 3)), np.array([0, 1, 2, 0])
    return [
        ErrorSample(x, t + 1, error=IndexingError, match="holds class 3 at .*did you mean target - 1"),
        ErrorSample(x, t - 1, error=IndexingError, match=r"holds class -1 at \[0\]"),
        ErrorSample(x, t.astype(float), error=DTypeError, match=r"convert it with \.astype\(int\)"),
        ErrorSample(x, t[:, np.newaxis], error=ShapeError, match=r"Did you mean \w+\.reshape\(4\)"),
        ErrorSample(x, t[:3], error=ShapeError, match=r"target should be \(4,\)"),
        ErrorSample(np.ones((4, 5, 3)), np.zeros((4, 5), int), error=ShapeError, match=r"\w+\.moveaxis\(-1, 1\)"),
        ErrorSample(x, x.astype(int), error=DTypeError, match="a probability for each class"),
        ErrorSample(x.astype(int), t, error=DTypeError, match="are they swapped"),
        ErrorSample(np.ones(()), t, error=ShapeError, match="at least one class"),
        ErrorSample(x, t, np.ones(4), error=ShapeError, match=r"weight must be of shape \(3,\)"),
        ErrorSample(x, t, reduction="average", error=ArgumentError, match="reduction='average'"),
        ErrorSample(x, t * 0, ignore_index=0, error=ArgumentError, match="every target is ignored"),
    ]


@composite(
    formula="mean(−weight[target] input[target])",
    samples=lambda rng: [
        Sample(rng.normal(size=(4, 3)), np.array([0, 2, 2, 1]), rng.uniform(1, 2, size=3)),
        Sample(rng.normal(size=(4, 3)), np.array([0, 2, 2, 1]), ignore_index=2),
        Sample(rng.normal(size=3), np.array(1)),
    ],
    error_samples=_class_errors,
)
def nll_loss(input: Any, target: Any, weight: Any = None, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """Negative log-likelihood, for log-probabilities: those of the targets' classes, with a minus sign.

    Parameters
    ----------
    input : (C,), (N, C) or (N, C, ...)
        Log-probabilities of the classes.
    target : (), (N,) or (N, ...) of integers
        The class of each sample, from 0.
    weight : (C,), optional
        A factor for each class. The mean is then divided by the sum of the targets' factors.
    ignore_index : int
        A number that stands for no class: such samples do not count.
    reduction : {'mean', 'sum', 'none'}
        What becomes of the losses of the samples.

    Raises
    ------
    IndexingError
        If there is no such class.
    ShapeError
        If the shapes do not fit together.
    DTypeError
        If targets are not integers, or inputs are.
    ArgumentError
        If there is no such reduction, or nothing to take the mean of.
    """
    _warn_if_made_by("softmax", input, "log-probabilities", "use log_softmax")
    x = _scores(input)
    return _loss_of_classes(x, shaped(target), _class_weight(x, weight), ignore_index, reduction)


@composite(
    formula="mean(−log softmax(input)[target])",
    samples=lambda rng: [
        Sample(rng.normal(size=(4, 3)), np.array([0, 2, 2, 1])),
        Sample(rng.normal(size=(2, 3, 2)), np.array([[0, 1], [2, 2]]), rng.uniform(1, 2, size=3), label_smoothing=0.2),
        Sample(rng.normal(size=(4, 3)), np.array([0, -1, 2, 1]), ignore_index=-1, label_smoothing=0.1),
        Sample(rng.normal(size=(4, 3)), rng.dirichlet([1.0, 2.0, 3.0], size=4), rng.uniform(1, 2, size=3)),
        Sample(rng.normal(size=3), rng.dirichlet([1.0, 2.0, 3.0]), label_smoothing=0.3, reduction="sum"),
    ],
    error_samples=lambda: [
        *_class_errors(),
        ErrorSample(np.ones(3), np.array(0), label_smoothing=1.5, error=ArgumentError, match="label_smoothing=1.5"),
        ErrorSample(np.ones(3), np.ones(3) / 3, ignore_index=0, error=ArgumentError, match="ignore_index=0"),
    ],
)
def cross_entropy(
    input: Any,
    target: Any,
    weight: Any = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of many classes, for scores before the softmax.

    Parameters
    ----------
    input : (C,), (N, C) or (N, C, ...)
        Scores of the classes: log-probabilities up to a constant.
    target : (), (N,) or (N, ...) of integers; or of the shape of `input`, and floating-point
        The class of each sample, from 0; or the probabilities of its classes.
    weight : (C,), optional
        A factor for each class. For numbers of classes the mean is then divided by the sum of the targets' factors.
    ignore_index : int
        A number that stands for no class: such samples do not count.
    reduction : {'mean', 'sum', 'none'}
        What becomes of the losses of the samples.
    label_smoothing : float
        The share, from 0 to 1, of a target that is taken from its class and given to all classes equally
        (Szegedy and others, "Rethinking the Inception architecture", 2016, sec. 7).

    Raises
    ------
    IndexingError
        If there is no such class.
    ShapeError
        If the shapes do not fit together.
    DTypeError
        If numbers of classes are not integers, or inputs are.
    ArgumentError
        If another argument is not possible, or there is nothing to take the mean of.
    """
    if not 0 <= label_smoothing <= 1:
        raise ArgumentError(f"label_smoothing={label_smoothing}, but expected a share from 0 to 1")
    _warn_if_made_by("softmax", input, "scores before the softmax", "pass these")
    x, target = _scores(input), shaped(target)
    weight = _class_weight(x, weight)
    log_probabilities = log_softmax(x, axis=_class_axis(x))
    if target.shape != x.shape or target.dtype.kind != "f":
        return _loss_of_classes(log_probabilities, target, weight, ignore_index, reduction, label_smoothing)
    if ignore_index >= 0:
        raise ArgumentError(f"ignore_index={ignore_index} names a class, but target holds probabilities")
    if label_smoothing:
        target = (1 - label_smoothing) * target + label_smoothing / x.shape[_class_axis(x)]
    return _reduced(_over_classes(log_probabilities * target, weight), reduction)
