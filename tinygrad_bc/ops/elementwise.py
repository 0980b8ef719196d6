"""Operations that work element by element, with NumPy's broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.errors import ShapeError
from tinygrad_bc.primitive import COUNTERPARTS, ErrorSample, Primitive, Sample, primitive
from tinygrad_bc.samples import binary, unary


def _ufunc(function: Callable[..., Any], **declaration: Any) -> Primitive:
    """Declare an operation that is a NumPy ufunc as it stands; it runs without a Python function around it."""
    return primitive(**declaration)(function)


def _disagreeing() -> list[ErrorSample]:
    return [ErrorSample(np.ones((3, 4)), np.ones((3, 5)), error=ShapeError, match="axis -1 has 4 against 5")]


# --- arithmetic ----------------------------------------------------------------------------------

add = _ufunc(
    np.add,
    formula="{a} + {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: g],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

subtract = _ufunc(
    np.subtract,
    formula="{a} − {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

multiply = _ufunc(
    np.multiply,
    formula="{a} ∘ {b}",
    vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

divide = _ufunc(
    np.divide,
    formula="{a} / {b}",
    vjps=[lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b],
    samples=binary(away_from_zero=True),
    error_samples=_disagreeing,
    broadcasts=True,
)

negative = _ufunc(np.negative, formula="−{x}", vjps=[lambda g, y, x: -g], samples=unary())


def _power_base_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b != 0 else g * 0.0
    # a⁰ is constant, also at a = 0, where b·a^(b − 1) would be 0 · ∞
    return g * where(b == 0, 0.0, b * where(b == 0, 1.0, a) ** where(b == 0, 1.0, b - 1))


def _power_exponent_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    # 0^b is 0 for every positive b, so its derivative is 0 and not 0 · log 0. At b = 0 this is a convention.
    return g * y * where(a == 0, 0.0, log(where(a == 0, 1.0, a)))


@primitive(
    formula="{a}^{b}",
    vjps=[_power_base_vjp, _power_exponent_vjp],
    samples=lambda rng: [
        *binary(positive=True)(rng),
        Sample(rng.normal(size=(3, 4)), 2),
        Sample(rng.normal(size=(3, 4)), 3.0),
        Sample(rng.uniform(0.5, 2, size=4), 0.5),
        Sample(rng.normal(size=3), 0),
        Sample(2.0, rng.normal(size=3)),
    ],
    error_samples=_disagreeing,
    broadcasts=True,
    numpy=[np.power],
)
def power(a: Any, b: Any) -> Any:
    """Raise `a` to the power of `b`, elementwise."""
    return a**b  # for squares more than twice as fast as np.power


# --- functions of one argument -------------------------------------------------------------------

exp = _ufunc(np.exp, formula="exp({x})", vjps=[lambda g, y, x: g * y], samples=unary())

log = _ufunc(np.log, formula="log({x})", vjps=[lambda g, y, x: g / x], samples=unary(positive=True))

sqrt = _ufunc(np.sqrt, formula="√{x}", vjps=[lambda g, y, x: 0.5 * g / y], samples=unary(positive=True))

tanh = _ufunc(np.tanh, formula="tanh({x})", vjps=[lambda g, y, x: g * (1 - y * y)], samples=unary())

sign = _ufunc(np.sign, formula="sign({x})", vjps=None, samples=unary(away_from_zero=True))

# |x|'(0) = 0, which is what sign(0) says.
abs = _ufunc(
    np.absolute,
    name="abs",
    formula="|{x}|",
    vjps=[lambda g, y, x: g * sign(x)],
    samples=unary(away_from_zero=True),
)


def _relu_vjp(g: Any, y: Any, x: Any) -> Any:
    return where(x > 0, g, 0.0)  # relu'(0) = 0, also for an infinite g, which a product would make NaN


@primitive(
    formula="relu({x})",
    vjps=[_relu_vjp],
    samples=unary(away_from_zero=True),
)
def relu(x: Any) -> Any:
    """Rectified linear unit, ``max(x, 0)``. Its derivative at 0 is 0."""
    # np.maximum is vectorised for two arrays, not for an array and a number: twice as fast this way.
    return np.maximum(x, np.zeros(x.shape, x.dtype) if isinstance(x, np.ndarray) else 0)


@primitive(
    formula="σ({x})",
    vjps=[lambda g, y, x: g * (y * (1 - y))],
    samples=lambda rng: [*unary()(rng), Sample(np.array([-30.0, -3.0, 0.0, 3.0, 12.0]))],
)
@np.errstate(over="ignore")
def sigmoid(x: Any) -> Any:
    """Logistic function, ``1 / (1 + exp(-x))``, exact to the last digits for any x."""
    # For very negative x, exp(-x) overflows to infinity and the quotient is 0, as it should be.
    return 1 / (1 + np.exp(x * -1.0))  # (and not -x, which wraps around for unsigned integers)


@primitive(
    formula="{x} as {dtype}",
    vjps=[lambda g, y, x, dtype: g],  # the backward pass gives every cotangent its primal's dtype
    samples=lambda rng: [Sample(rng.normal(size=(2, 3)), dtype=np.dtype(np.float64))],
)
def cast(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """Convert to another floating-point type."""
    return np.asarray(x).astype(dtype)


@primitive(
    formula="{x} as {dtype}",
    vjps=None,
    samples=lambda rng: [Sample(rng.normal(size=(2, 3)), dtype=np.dtype(np.int64))],
)
def truncate(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """Convert to an integer or boolean type, which has no derivative."""
    return np.asarray(x).astype(dtype)


def astype(x: Any, dtype: Any) -> Any:
    """Convert to `dtype`. The conversion is differentiable if `dtype` is a floating-point type."""
    dtype = np.dtype(dtype)
    return cast(x, dtype=dtype) if dtype.kind == "f" else truncate(x, dtype=dtype)


# --- choosing ------------------------------------------------------------------------------------


def _tie_shared(g: Any, wins: Any, ties: Any) -> Any:
    return where(wins, g, where(ties, 0.5 * g, 0.0))


maximum = _ufunc(
    np.maximum,
    formula="max({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a > b, a == b), lambda g, y, a, b: _tie_shared(g, b > a, a == b)],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

minimum = _ufunc(
    np.minimum,
    formula="min({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a < b, a == b), lambda g, y, a, b: _tie_shared(g, b < a, a == b)],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)


def _chosen_vjp(g: Any, y: Any, condition: Any, a: Any, b: Any) -> Any:
    return where(condition, g, 0.0)


def _not_chosen_vjp(g: Any, y: Any, condition: Any, a: Any, b: Any) -> Any:
    return where(condition, 0.0, g)


@primitive(
    formula="{a} if {condition} else {b}",
    vjps=[None, _chosen_vjp, _not_chosen_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)) > 0, rng.normal(size=(3, 4)), rng.normal(size=4)),
        Sample(rng.normal(size=(3, 1)) > 0, rng.normal(size=4), 0.0),
        Sample(np.array(True), rng.normal(size=()), rng.normal(size=2)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(3) > 0, np.ones(4), 0.0, error=ShapeError, match="axis -1 has 3 against 4")
    ],
    broadcasts=True,
    numpy=[np.where],
)
def where(condition: Any, a: Any, b: Any) -> Any:
    """Take from `a` where `condition` holds, otherwise from `b`."""
    return np.where(condition, a, b)


def _clip_vjp(g: Any, y: Any, x: Any, min: float | None, max: float | None) -> Any:
    if min is not None:
        g = where(x >= min, g, 0.0)
    if max is not None:
        g = where(x <= max, g, 0.0)
    return g


@primitive(
    name="clip",
    formula="clip({x}, {min}, {max})",
    vjps=[_clip_vjp],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), min=-0.5, max=0.5),
        Sample(rng.normal(size=5), min=0.1),
        Sample(rng.normal(size=()), max=0.1),
        Sample(rng.normal(size=(0, 2)), min=0, max=1),
    ],
)
def _clip(x: Any, *, min: float | None = None, max: float | None = None) -> Any:
    return np.clip(x, min, max)


def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """Limit the values to the interval from `min` to `max`, inside which the derivative is 1, ends included.

    Bounds may be numbers, or arrays and tensors, which then get a gradient too where they are reached.
    """
    if all(bound is None or isinstance(bound, int | float) for bound in (min, max)):
        # NumPy's float64 scalars are Python floats too; as such they do not widen float32.
        return _clip(x, min=min if min is None else float(min), max=max if max is None else float(max))
    if min is not None:
        x = maximum(x, min)
    return x if max is None else minimum(x, max)


def _numpy_clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


COUNTERPARTS[np.clip] = _numpy_clip


# --- comparisons and masks: recorded, with a derivative of zero ----------------------------------

equal = _ufunc(np.equal, formula="{a} = {b}", vjps=None, samples=binary(), broadcasts=True)
not_equal = _ufunc(np.not_equal, formula="{a} ≠ {b}", vjps=None, samples=binary(), broadcasts=True)
less = _ufunc(np.less, formula="{a} < {b}", vjps=None, samples=binary(), broadcasts=True)
less_equal = _ufunc(np.less_equal, formula="{a} ≤ {b}", vjps=None, samples=binary(), broadcasts=True)
greater = _ufunc(np.greater, formula="{a} > {b}", vjps=None, samples=binary(), broadcasts=True)
greater_equal = _ufunc(np.greater_equal, formula="{a} ≥ {b}", vjps=None, samples=binary(), broadcasts=True)


def _masks(rng: np.random.Generator) -> list[Sample]:
    return [Sample(rng.normal(size=(3, 4)) > 0, rng.normal(size=4) > 0), Sample(np.array(True), np.array(False))]


bitwise_and = _ufunc(np.bitwise_and, formula="{a} ∧ {b}", vjps=None, samples=_masks, broadcasts=True)
bitwise_or = _ufunc(np.bitwise_or, formula="{a} ∨ {b}", vjps=None, samples=_masks, broadcasts=True)
bitwise_xor = _ufunc(np.bitwise_xor, formula="{a} ⊕ {b}", vjps=None, samples=_masks, broadcasts=True)
bitwise_not = _ufunc(
    np.invert,
    name="bitwise_not",
    formula="¬{x}",
    vjps=None,
    samples=lambda rng: [Sample(rng.normal(size=(3, 4)) > 0), Sample(np.array([1, 2]))],
)
