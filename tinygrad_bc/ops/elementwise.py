"""Operations that work element by element, with NumPy's broadcasting."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, DTypeError, ShapeError
from tinygrad_bc.ops._arguments import counterparts, floats, shaped
from tinygrad_bc.ops._error_function import erf_of, erfc_of
from tinygrad_bc.primitive import ErrorSample, Primitive, Sample, composite, primitive
from tinygrad_bc.samples import Samples, binary, disagreeing, draw, unary


def _ufunc(function: Callable[..., Any], meaning: str, **declaration: Any) -> Primitive:
    """Declare an operation that is a NumPy ufunc as it stands; it runs without a Python function around it."""
    op = primitive(**declaration)(function)
    op.__doc__ = meaning
    return op


def _of_two(
    ufunc: np.ufunc,
    meaning: str,
    *,
    formula: str,
    vjps: Sequence[Callable[..., Any]] | None = None,
    samples: Samples | None = None,
    fast: Callable[..., Any] | None = None,
) -> Primitive:
    """Declare an operation of two arrays, which broadcast, that is a NumPy ufunc as it stands."""
    return _ufunc(
        ufunc,
        meaning,
        formula=formula,
        vjps=vjps,
        samples=samples or binary(),
        error_samples=disagreeing,
        broadcasts=True,
        fast=fast,
    )


def _function(
    name: str,
    ufunc: np.ufunc,
    meaning: str,
    *,
    formula: str,
    vjp: Callable[[Any, Any, Any], Any],
    samples: Samples | None = None,
) -> Primitive:
    """Declare a function of one real number that NumPy has."""

    def forward(x: Any) -> Any:
        return ufunc(floats(x))

    forward.__qualname__, forward.__doc__ = name, meaning
    return primitive(name=name, formula=formula, vjps=[vjp], samples=samples or unary(), numpy=[ufunc])(forward)


# --- arithmetic ----------------------------------------------------------------------------------
#
# What Python's operators record is a NumPy ufunc as it stands, and named with an underscore where
# the public function takes more: PyTorch's alpha and rounding_mode. A result without axes is one of NumPy's
# scalars, and for these Python's operators take a tenth of the ufunc's time.

_add = _of_two(
    np.add,
    "Add, elementwise.",
    formula="{a} + {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: g],
    fast=operator.add,
)

_subtract = _of_two(
    np.subtract,
    "Subtract, elementwise.",
    formula="{a} − {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g],
    fast=operator.sub,
)

multiply = _of_two(
    np.multiply,
    "Multiply, elementwise.",
    formula="{a} ∘ {b}",
    vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a],
    fast=operator.mul,
)
mul = multiply

_divide = _of_two(
    np.divide,
    "Divide, elementwise.",
    formula="{a} / {b}",
    vjps=[lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b],
    samples=binary(away_from_zero=True),
    fast=operator.truediv,
)

negative = _ufunc(
    np.negative, "The negative.", formula="−{x}", vjps=[lambda g, y, x: -g], samples=unary(), fast=operator.neg
)
neg = negative


def _scaled(x: Any, alpha: Any) -> Any:
    return x if alpha == 1 else multiply(x, alpha)


def _with_alpha(rng: np.random.Generator) -> list[Sample]:
    return [Sample(rng.normal(size=(3, 4)), rng.normal(size=4), alpha=alpha) for alpha in (1, -0.5)]


@composite(formula="a + alpha·b", samples=_with_alpha, error_samples=disagreeing)
def add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """Add `alpha` times `b` to `a`, elementwise."""
    return _add(a, _scaled(b, alpha))


@composite(formula="a − alpha·b", samples=_with_alpha, error_samples=disagreeing)
def subtract(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """Subtract `alpha` times `b` from `a`, elementwise."""
    return _subtract(a, _scaled(b, alpha))


sub = subtract


@composite(formula="b − alpha·a", samples=_with_alpha, error_samples=disagreeing)
def rsub(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """Subtract `alpha` times `a` from `b`, elementwise: `subtract` the other way round."""
    return _subtract(b, _scaled(a, alpha))


def _between_multiples(rng: np.random.Generator) -> list[Sample]:
    """Return dividends and divisors whose quotients keep away from the integers, where they jump."""

    def dividend(b: Any, shape: tuple[int, ...]) -> Any:
        return np.asarray(b * (rng.integers(-3, 3, size=shape) + rng.uniform(0.2, 0.8, size=shape)))

    shapes: list[tuple[tuple[int, ...], tuple[int, ...]]] = [((3, 4), (4,)), ((2, 1), ()), ((), ()), ((0, 3), (3,))]
    divisors = [(first, draw(rng, second, away_from_zero=True)) for first, second in shapes]
    return [*(Sample(dividend(b, shape), b) for shape, b in divisors), Sample(dividend(-1.5, (5,)), -1.5)]


def _flat(g: Any, y: Any, *operands: Any, **params: Any) -> Any:
    """Be the derivative of steps: 0 between them."""
    return _where(True, 0.0, g)  # and not g · 0, which is NaN for an infinite g


floor_divide = _of_two(
    np.floor_divide,
    "The quotient rounded down, elementwise. Its derivative is 0 wherever it exists.",
    formula="⌊{a} / {b}⌋",
    vjps=[_flat, _flat],
    samples=_between_multiples,
)


@primitive(
    name="trunc_divide",
    formula="trunc({a} / {b})",
    vjps=[_flat, _flat],
    samples=_between_multiples,
    error_samples=disagreeing,
    broadcasts=True,
)
def _trunc_divide(a: Any, b: Any) -> Any:
    """Round the quotient towards zero, elementwise."""
    if np.result_type(a, b).kind == "f":
        return np.trunc(np.divide(a, b))
    return (a - np.fmod(a, b)) // b  # exact for integers that a float cannot hold


@composite(
    formula="a / b",
    error_samples=lambda: [
        *disagreeing(),
        ErrorSample(np.ones(3), np.ones(3), rounding_mode="ceil", error=ArgumentError, match="'floor' or 'trunc'"),
    ],
)
def divide(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    """Divide, elementwise.

    Parameters
    ----------
    a, b : array_like
        Dividend and divisor, which broadcast.
    rounding_mode : {None, "floor", "trunc"}
        None for the quotient itself, "floor" to round it down, "trunc" to round it towards zero. The
        derivative of a rounded quotient is 0, and that of integers is an integer.

    Raises
    ------
    ArgumentError
        For any other `rounding_mode`.
    """
    if rounding_mode is None:
        return _divide(a, b)
    if rounding_mode == "floor":
        return floor_divide(a, b)
    if rounding_mode == "trunc":
        return _trunc_divide(a, b)
    raise ArgumentError(f"rounding_mode is None, 'floor' or 'trunc', not {rounding_mode!r}")


div = true_divide = divide

# a = b·⌊a / b⌋ + remainder, and ⌊a / b⌋ is constant wherever it has a derivative; for fmod likewise.
remainder = _of_two(
    np.remainder,
    "The remainder of `floor_divide`, elementwise: it has the sign of the divisor, as Python's %.",
    formula="{a} mod {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b)],
    samples=_between_multiples,
)

fmod = _of_two(
    np.fmod,
    "The remainder of a quotient rounded towards zero, elementwise: it has the sign of the dividend, as in C.",
    formula="fmod({a}, {b})",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g * _trunc_divide(a, b)],
    samples=_between_multiples,
)


# --- powers --------------------------------------------------------------------------------------


def _power_base_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b != 0 else g * 0.0
    origin = (a == 0) & (b == 0)  # where b·a^(b − 1) would be 0 · ∞, but a⁰ is constant
    return g * where(origin, 0.0, b * where(origin, 1.0, a) ** where(origin, 1.0, b - 1))


def _power_exponent_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    # 0^b is 0 for every positive b, so its derivative is 0 and not 0 · log 0. At b = 0 this is a convention.
    constant = (a == 0) & (b >= 0)
    return g * y * where(constant, 0.0, log(where(constant, 1.0, a)))


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
    error_samples=lambda: [*disagreeing(), ErrorSample(np.array([1, 2]), -1, error=DTypeError, match=r"-1\.0")],
    broadcasts=True,
    numpy=[np.power],
)
def power(a: Any, b: Any) -> Any:
    """Raise `a` to the power of `b`, elementwise.

    With respect to `b` the derivative of 0^b is 0 for b ≥ 0, and a negative `a` has none: it is NaN.

    Raises
    ------
    DTypeError
        For integers to a negative integer power, which are not integers.
    """
    if not isinstance(a, np.ndarray) and not isinstance(b, np.ndarray):
        a = np.asarray(a)  # scalars have other rounding errors than arrays, and Python makes (-8) ** (1 / 3) complex
    try:
        return a**b  # for squares more than twice as fast as np.power
    except ValueError:
        np.broadcast_shapes(np.shape(a), np.shape(b))  # raises if it was about shapes
        raise DTypeError(
            "integers to a negative integer power are not integers. For the reciprocal use a float: x ** -1.0, or "
            "x.astype(float) ** -1"
        ) from None


pow = power

square = _ufunc(np.square, "The square.", formula="{x}²", vjps=[lambda g, y, x: g * (2 * x)], samples=unary())

# At 0 the derivative of the root is infinite, and NumPy says that it divides by zero.
sqrt = _function(
    "sqrt", np.sqrt, "The square root.", formula="√{x}", vjp=lambda g, y, x: 0.5 * g / y, samples=unary(positive=True)
)


@primitive(formula="1/√{x}", vjps=[lambda g, y, x: -0.5 * g * y / x], samples=unary(positive=True))
def rsqrt(x: Any) -> Any:
    """Return one divided by the square root."""
    return np.divide(1.0, np.sqrt(floats(x)))


@primitive(
    formula="1/{x}", vjps=[lambda g, y, x: -g * y * y], samples=unary(away_from_zero=True), numpy=[np.reciprocal]
)
def reciprocal(x: Any) -> Any:
    """Return one divided by `x`: for integers too, for which NumPy's own function returns 0."""
    return np.divide(1.0, x)


# --- exponentials and logarithms -----------------------------------------------------------------

exp = _function("exp", np.exp, "The exponential function.", formula="exp({x})", vjp=lambda g, y, x: g * y)

# Not g·(y + 1): for very negative x that is 0 to the last digit, and exp(x) is not.
expm1 = _function(
    "expm1", np.expm1, "exp(x) − 1, exact also for small x.", formula="exp({x}) − 1", vjp=lambda g, y, x: g * exp(x)
)

log = _function(
    "log", np.log, "The natural logarithm.", formula="log({x})", vjp=lambda g, y, x: g / x, samples=unary(positive=True)
)

log1p = _function(
    "log1p",
    np.log1p,
    "log(1 + x), exact also for small x.",
    formula="log(1 + {x})",
    vjp=lambda g, y, x: g / (1 + x),
    samples=unary(positive=True),
)

log2 = _function(
    "log2",
    np.log2,
    "The logarithm to base 2.",
    formula="log₂({x})",
    vjp=lambda g, y, x: g / (x * math.log(2)),
    samples=unary(positive=True),
)

log10 = _function(
    "log10",
    np.log10,
    "The logarithm to base 10.",
    formula="log₁₀({x})",
    vjp=lambda g, y, x: g / (x * math.log(10)),
    samples=unary(positive=True),
)


@primitive(
    formula="σ({x})",
    vjps=[lambda g, y, x: g * (y * (1 - y))],
    samples=lambda rng: [*unary()(rng), Sample(np.array([-30.0, -3.0, 0.0, 3.0, 12.0]))],
)
@np.errstate(over="ignore")
def sigmoid(x: Any) -> Any:
    """Logistic function, ``1 / (1 + exp(-x))``, exact to the last digits for any x."""
    # For very negative x, exp(-x) overflows to infinity and the quotient is 0, as it should be.
    return 1 / (1 + np.exp(-floats(x)))


@primitive(
    formula="log(exp({a}) + exp({b}))",
    # The shares of the two, exp(a)/(exp(a) + exp(b)) and its complement, written so that nothing overflows.
    vjps=[lambda g, y, a, b: g * sigmoid(a - b), lambda g, y, a, b: g * sigmoid(b - a)],
    samples=binary(),
    error_samples=disagreeing,
    broadcasts=True,
    numpy=[np.logaddexp],
)
def logaddexp(a: Any, b: Any) -> Any:
    """Return the logarithm of the sum of two exponentials, elementwise, without overflow."""
    return np.logaddexp(floats(a), floats(b))


def _xlogy_weight_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    dead = (a == 0) & (b <= 0)
    return g * where(dead, 0.0, log(where(dead, 1.0, b)))


def _xlogy_argument_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    dead = (a == 0) & (b == 0)
    return g * where(dead, 0.0, a / where(dead, 1.0, b))


@primitive(
    formula="{a} ∘ log({b})",
    vjps=[_xlogy_weight_vjp, _xlogy_argument_vjp],
    samples=lambda rng: [*binary(positive=True)(rng), Sample(np.array([0.0, 2.0, -1.0]), np.array([3.0, 0.5, 2.0]))],
    error_samples=disagreeing,
    broadcasts=True,
)
def xlogy(a: Any, b: Any) -> Any:
    """Return ``a * log(b)``, elementwise, which is 0 where `a` is 0, whatever `b` is.

    There both derivatives are what ``a * log(b)`` has, and 0 where that would not be a number: at b = 0, and with
    respect to `a` at b < 0.
    """
    a, b = floats(a), floats(b)
    logarithm = np.log(np.where(np.equal(a, 0) & ~np.isnan(b), 1.0, b))
    return (a * logarithm).astype(np.result_type(a, b), copy=False)


# --- trigonometric and hyperbolic functions ------------------------------------------------------


sin = _function("sin", np.sin, "The sine of an angle in radians.", formula="sin({x})", vjp=lambda g, y, x: g * cos(x))
cos = _function(
    "cos", np.cos, "The cosine of an angle in radians.", formula="cos({x})", vjp=lambda g, y, x: -g * sin(x)
)
tan = _function(
    "tan", np.tan, "The tangent of an angle in radians.", formula="tan({x})", vjp=lambda g, y, x: g * (1 + y * y)
)


def _inside_one(x: Any) -> Any:
    return 0.7 * np.tanh(x)


# (1 − x)(1 + x) and not 1 − x², which loses digits near the ends.
asin = _function(
    "asin",
    np.arcsin,
    "The inverse of the sine, between −π/2 and π/2.",
    formula="asin({x})",
    vjp=lambda g, y, x: g / sqrt((1 - x) * (1 + x)),
    samples=unary(_inside_one),
)
arcsin = asin

acos = _function(
    "acos",
    np.arccos,
    "The inverse of the cosine, between 0 and π.",
    formula="acos({x})",
    vjp=lambda g, y, x: -g / sqrt((1 - x) * (1 + x)),
    samples=unary(_inside_one),
)
arccos = acos

atan = _function(
    "atan",
    np.arctan,
    "The inverse of the tangent, between −π/2 and π/2.",
    formula="atan({x})",
    vjp=lambda g, y, x: g / (1 + x * x),
)
arctan = atan


def _over_squared_distance(x: Any, a: Any, b: Any) -> Any:
    origin = (a == 0) & (b == 0)  # there is no derivative there, and 0 is taken
    return where(origin, 0.0, x / where(origin, 1.0, a * a + b * b))


@primitive(
    formula="atan2({a}, {b})",
    vjps=[
        lambda g, y, a, b: g * _over_squared_distance(b, a, b),
        lambda g, y, a, b: -g * _over_squared_distance(a, a, b),
    ],
    samples=binary(away_from_zero=True),
    error_samples=disagreeing,
    broadcasts=True,
    numpy=[np.arctan2],
)
def atan2(a: Any, b: Any) -> Any:
    """Return the angle of the point with ordinate `a` and abscissa `b`, between −π and π, elementwise.

    At the origin both derivatives are taken to be 0.
    """
    return np.arctan2(floats(a), floats(b))


arctan2 = atan2


sinh = _function("sinh", np.sinh, "The hyperbolic sine.", formula="sinh({x})", vjp=lambda g, y, x: g * cosh(x))
cosh = _function("cosh", np.cosh, "The hyperbolic cosine.", formula="cosh({x})", vjp=lambda g, y, x: g * sinh(x))
# 1 − y² has lost its digits where |x| is about 18, as in PyTorch. 4 σ(2x) σ(−2x) would keep them, at thrice the cost.
tanh = _function("tanh", np.tanh, "The hyperbolic tangent.", formula="tanh({x})", vjp=lambda g, y, x: g * (1 - y * y))

asinh = _function(
    "asinh",
    np.arcsinh,
    "The inverse of the hyperbolic sine.",
    formula="asinh({x})",
    vjp=lambda g, y, x: g / sqrt(x * x + 1),
)
arcsinh = asinh

acosh = _function(
    "acosh",
    np.arccosh,
    "The inverse of the hyperbolic cosine, of numbers from 1 on.",
    formula="acosh({x})",
    vjp=lambda g, y, x: g / sqrt((x - 1) * (x + 1)),
    samples=unary(lambda x: 1.5 + x * x),
)
arccosh = acosh

atanh = _function(
    "atanh",
    np.arctanh,
    "The inverse of the hyperbolic tangent, of numbers between −1 and 1.",
    formula="atanh({x})",
    vjp=lambda g, y, x: g / ((1 - x) * (1 + x)),
    samples=unary(_inside_one),
)
arctanh = atanh


# --- error function ------------------------------------------------------------------------------


def _with_tails(rng: np.random.Generator) -> list[Sample]:
    return [*unary()(rng), Sample(np.array([-5.0, -2.0, -0.2, 0.0, 0.3, 1.0, 4.5]))]


BLOCK = 8192
"""So many elements are computed at a time where that takes many steps: they stay in the processor's cache."""


def _in_blocks(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return an elementwise function that does one part of a large array after the other."""

    def fast(x: Any) -> Any:
        x = np.asarray(floats(x))
        if x.size <= BLOCK:
            return function(x)
        flat = x.reshape(-1)
        parts = [function(flat[start : start + BLOCK]) for start in range(0, flat.size, BLOCK)]
        return np.concatenate(parts).reshape(x.shape)

    return fast


@primitive(
    formula="erf({x})",
    vjps=[lambda g, y, x: g * (2 / math.sqrt(math.pi) * exp(-x * x))],
    samples=_with_tails,
    fast=_in_blocks(erf_of),
)
def erf(x: Any) -> Any:
    """Error function, ``2/√π ∫₀ˣ exp(−t²) dt``."""
    return erf_of(np.asarray(floats(x)))


@primitive(
    formula="erfc({x})",
    vjps=[lambda g, y, x: g * (-2 / math.sqrt(math.pi) * exp(-x * x))],
    samples=_with_tails,
    fast=_in_blocks(erfc_of),
)
def erfc(x: Any) -> Any:
    """Complement of the error function, ``1 − erf(x)``, exact also where it is very small."""
    return erfc_of(np.asarray(floats(x)))


# --- sign and rounding: steps, flat between them -------------------------------------------------


sign = _ufunc(
    np.sign,
    "−1, 0 or 1: the sign of each element.",
    formula="sign({x})",
    vjps=[_flat],
    samples=unary(away_from_zero=True),
)

# |x|'(0) = 0, which is what sign(0) says.
abs = _ufunc(
    np.absolute,
    "The absolute value. Its derivative at 0 is 0.",
    name="abs",
    formula="|{x}|",
    vjps=[lambda g, y, x: g * sign(x)],
    samples=unary(away_from_zero=True),
)
absolute = abs

floor = _ufunc(np.floor, "The next integer below.", formula="⌊{x}⌋", vjps=[_flat], samples=unary())
ceil = _ufunc(np.ceil, "The next integer above.", formula="⌈{x}⌉", vjps=[_flat], samples=unary())
trunc = _ufunc(np.trunc, "The next integer towards zero.", formula="trunc({x})", vjps=[_flat], samples=unary())


@primitive(
    formula="round({x})",
    vjps=[_flat],
    samples=lambda rng: [*unary()(rng), Sample(rng.normal(size=5), decimals=1)],
    numpy=[np.round, np.around],
)
def round(x: Any, *, decimals: int = 0) -> Any:
    """Round to so many decimals, halves to the even neighbour. Negative `decimals` count to the left of the point."""
    return np.round(x, decimals)


# --- choosing ------------------------------------------------------------------------------------


def _tie_shared(g: Any, wins: Any, ties: Any) -> Any:
    return where(wins, g, where(ties, 0.5 * g, 0.0))


maximum = _of_two(
    np.maximum,
    "The larger of two, elementwise; NaN if one of them is. A tie shares the gradient equally.",
    formula="max({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a > b, a == b), lambda g, y, a, b: _tie_shared(g, b > a, a == b)],
)

minimum = _of_two(
    np.minimum,
    "The smaller of two, elementwise; NaN if one of them is. A tie shares the gradient equally.",
    formula="min({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a < b, a == b), lambda g, y, a, b: _tie_shared(g, b < a, a == b)],
)


def _relu_vjp(g: Any, y: Any, x: Any) -> Any:
    return _where(x > 0, g, 0.0)  # relu'(0) = 0, also for an infinite g, which a product would make NaN


@primitive(formula="relu({x})", vjps=[_relu_vjp], samples=unary(away_from_zero=True))
def relu(x: Any) -> Any:
    """Rectified linear unit, ``max(x, 0)``. Its derivative at 0 is 0."""
    # np.maximum is vectorised for two arrays, not for an array and a number: twice as fast this way.
    return np.maximum(x, np.zeros(x.shape, x.dtype) if isinstance(x, np.ndarray) else 0)


def _fast_where(condition: Any, a: Any, b: Any) -> Any:
    x = a if isinstance(a, np.ndarray) else b
    if (
        isinstance(x, np.ndarray)
        and x.size > 256
        and x.dtype.char in "fd"
        and isinstance(condition, np.ndarray)
        and condition.shape == x.shape
        and condition.dtype.char == "?"
        and all(
            type(y) is float or (isinstance(y, np.ndarray) and (y.shape, y.dtype) == (x.shape, x.dtype)) for y in (a, b)
        )
    ):
        return _chosen(condition, np.asarray(a, x.dtype), np.asarray(b, x.dtype))
    return np.where(condition, a, b)


def _chosen(mask: Any, a: Any, b: Any) -> Any:
    """Return `a` where `mask` holds and `b` elsewhere, in a fifth of the time of `np.where`, if there are many.

    That branches at every element, and the processor cannot foresee where. Here the bits, as integers, are multiplied
    by 0 or 1 for b = 0, or else combined with no or all ones, which are -1: b ^ ((a ^ b) & ones).
    """
    integer = np.int64 if a.itemsize == 8 else np.int32
    bits_of_a, bits_of_b, chosen = a.view(integer), b.view(integer), mask.view(np.int8)
    result = np.empty(mask.shape, a.dtype)
    bits: Any = result.view(integer)
    if not b.ndim and not bits_of_b:
        np.multiply(bits_of_a, chosen, bits)
    else:
        np.bitwise_xor(bits_of_a, bits_of_b, bits)
        bits &= -chosen
        bits ^= bits_of_b
    return result


@primitive(
    name="where",
    formula="{a} if {condition} else {b}",
    vjps=[
        None,
        lambda g, y, condition, a, b: _where(condition, g, 0.0),
        lambda g, y, condition, a, b: _where(condition, 0.0, g),
    ],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)) > 0, rng.normal(size=(3, 4)), rng.normal(size=4)),
        Sample(rng.normal(size=(3, 1)) > 0, rng.normal(size=4), 0.0),
        Sample(np.array(True), rng.normal(size=()), rng.normal(size=2)),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones(3) > 0, np.ones(4), 0.0, error=ShapeError, match="axis -1 has 3 against 4")
    ],
    broadcasts=True,
    fast=_fast_where,
)
def _where(condition: Any, a: Any, b: Any) -> Any:
    """Take from `a` where `condition` holds, otherwise from `b`."""
    return np.where(condition, a, b)


@composite(
    formula="input if condition else other",
    error_samples=lambda: [
        ErrorSample(np.ones(3) > 0, error=ArgumentError, match="np.nonzero"),
        ErrorSample(np.ones(3) > 0, np.ones(4), 0.0, error=ShapeError, match="axis -1 has 3 against 4"),
    ],
    numpy=[np.where],
)
def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """Take from `input` where `condition` holds, otherwise from `other`, elementwise.

    The gradient goes to what was taken; what was not gets 0. That 0 does not make a finite gradient of what is
    infinite further up: both branches are computed everywhere, and in ``where(x > 0, log(x), 0)`` the derivative of
    ``log`` at x = 0 is ∞, so that x gets 0 · ∞, which is NaN. Keep the dead branch in its domain instead::

        positive = x > 0
        y = where(positive, log(where(positive, x, 1)), 0)

    Raises
    ------
    ArgumentError
        If `input` or `other` is missing: the indices at which a condition holds have no derivative.
    ShapeError
        If the three do not broadcast.
    """
    if input is None or other is None:
        raise ArgumentError(
            "both of the values to choose from are needed: where(condition, input, other). For the indices at which "
            "the condition holds, which have no derivative, use np.nonzero(condition.data)"
        )
    return _where(condition, input, other)


@primitive(
    name="clip",
    formula="clip({x}, {low}, {high})",
    vjps=[
        lambda g, y, x, low, high: where((x >= low) & (x <= high), g, 0.0),
        lambda g, y, x, low, high: where((x < low) & (low <= high), g, 0.0),
        lambda g, y, x, low, high: where((x > high) | (low > high), g, 0.0),
    ],
    samples=lambda rng: [
        Sample(rng.normal(size=(3, 4)), -0.5, 0.5),
        Sample(rng.normal(size=5), 0.1, math.inf),
        Sample(rng.normal(size=()), -math.inf, 0.1),
        Sample(rng.normal(size=(0, 2)), 0, 1),
        Sample(rng.normal(size=(3, 4)), rng.normal(size=4), rng.normal(size=(3, 1))),
        Sample(rng.normal(size=(2, 3)), -0.3, rng.normal(size=())),
        Sample(np.array([0.3, 2.5, -2.0]), np.array([-1.0, -1.5, -1.2]), np.array([1.1, 1.4, 0.9])),
        Sample(np.array([-2.0, 0.3, 2.5]), np.array([-1.0, -1.5, -1.2]), np.array([1.1, 1.4, 0.9])),
    ],
    error_samples=lambda: [
        ErrorSample(np.ones((3, 4)), np.ones(5), 1.0, error=ShapeError, match="axis -1 has 4 against 5")
    ],
    broadcasts=True,
)
def _clip(x: Any, low: Any, high: Any) -> Any:
    """Limit the values to the interval from `low` to `high`, elementwise."""
    return np.clip(x, low, high)


@composite(
    formula="min(max(x, min), max)",
    error_samples=lambda: [
        ErrorSample(np.ones(3), error=ArgumentError, match="at least one"),
        ErrorSample(np.ones((3, 4)), np.ones(5), error=ShapeError, match="axis -1 has 4 against 5"),
    ],
)
def clip(x: Any, min: Any = None, max: Any = None) -> Any:
    """Limit the values to the interval from `min` to `max`, inside which the derivative is 1, ends included.

    Bounds may be numbers, or arrays and tensors, which get the gradient of the elements that they limit. Where
    `min` is larger than `max`, the result is `max`.

    Raises
    ------
    ArgumentError
        If neither bound is given.
    """
    if min is None and max is None:
        raise ArgumentError("at least one of min and max is needed")
    return _clip(x, _bound(x, min, lowest=True), _bound(x, max, lowest=False))


clamp = clip


def _bound(x: Any, bound: Any, lowest: bool) -> Any:
    """Return `bound` or, if it is None, the lowest or highest number that elements of `x` can be."""
    if bound is not None:
        return float(bound) if isinstance(bound, np.float64) else bound  # a plain number does not widen float32
    dtype = x.dtype if hasattr(x, "dtype") else np.asarray(x).dtype
    if dtype.kind in "iu":
        return int(np.iinfo(dtype).min if lowest else np.iinfo(dtype).max)
    return -math.inf if lowest else math.inf


@primitive(
    formula="nan_to_num({x})",
    vjps=[lambda g, y, x, **replacements: where(isfinite(x), g, 0.0)],
    samples=lambda rng: [*unary()(rng), Sample(rng.normal(size=3), nan=1.0, posinf=2.0, neginf=-2.0)],
)
def nan_to_num(x: Any, *, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """Replace NaN and the infinities, where the derivative is 0.

    Parameters
    ----------
    x : array_like
    nan : float, optional
        What NaN becomes; None means 0.
    posinf, neginf : float, optional
        What ∞ and −∞ become; None means the largest and the lowest number of the dtype.
    """
    return np.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


def _numpy_nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not copy:
        raise ArgumentError("np.nan_to_num(copy=False) would change a tensor behind its record: leave copy=False out")
    return nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


def _numpy_clip(
    a: Any, a_min: Any = None, a_max: Any = None, out: None = None, *, min: Any = None, max: Any = None
) -> Any:
    return clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


counterparts({np.nan_to_num: _numpy_nan_to_num, np.clip: _numpy_clip})


# --- comparisons and masks: recorded, with a derivative of zero ----------------------------------


equal = _of_two(np.equal, "Whether two are equal, elementwise.", formula="{a} = {b}")
not_equal = _of_two(np.not_equal, "Whether two differ, elementwise.", formula="{a} ≠ {b}")
less = _of_two(np.less, "Whether the first is smaller, elementwise.", formula="{a} < {b}")
less_equal = _of_two(np.less_equal, "Whether the first is not larger, elementwise.", formula="{a} ≤ {b}")
greater = _of_two(np.greater, "Whether the first is larger, elementwise.", formula="{a} > {b}")
greater_equal = _of_two(np.greater_equal, "Whether the first is not smaller, elementwise.", formula="{a} ≥ {b}")
eq, ne, lt, le, gt, ge = equal, not_equal, less, less_equal, greater, greater_equal

isnan = _ufunc(np.isnan, "Whether an element is NaN.", formula="isnan({x})", vjps=None, samples=unary())
isinf = _ufunc(np.isinf, "Whether an element is infinite.", formula="isinf({x})", vjps=None, samples=unary())
isfinite = _ufunc(
    np.isfinite, "Whether an element is neither infinite nor NaN.", formula="isfinite({x})", vjps=None, samples=unary()
)

logical_and = _of_two(np.logical_and, "Whether both are true (not 0), elementwise.", formula="{a} ∧ {b}")
logical_or = _of_two(np.logical_or, "Whether at least one is true (not 0), elementwise.", formula="{a} ∨ {b}")
logical_xor = _of_two(np.logical_xor, "Whether one and only one is true (not 0), elementwise.", formula="{a} ⊕ {b}")
logical_not = _ufunc(np.logical_not, "Whether an element is false (0).", formula="¬{x}", vjps=None, samples=unary())


def _masks(rng: np.random.Generator) -> list[Sample]:
    return [
        Sample(rng.normal(size=(3, 4)) > 0, rng.normal(size=4) > 0),
        Sample(np.array(True), np.array(False)),
        Sample(np.array([1, 2, 3]), 2),
    ]


def _not_masks() -> DTypeError:
    return DTypeError(
        "only masks and integers have bits to combine. Compare numbers first, in parentheses, because & and | bind "
        "tighter than comparisons: (x > 0) & (x < 1)"
    )


def _bitwise(name: str, ufunc: np.ufunc, meaning: str, formula: str) -> Primitive:
    def forward(a: Any, b: Any) -> Any:
        try:
            return ufunc(a, b)
        except TypeError:
            raise _not_masks() from None

    forward.__qualname__, forward.__doc__ = name, meaning
    return primitive(
        name=name,
        formula=formula,
        vjps=None,
        samples=_masks,
        error_samples=lambda: [*disagreeing(), ErrorSample(np.ones(3), np.ones(3), error=DTypeError, match="> 0")],
        broadcasts=True,
        numpy=[ufunc],
    )(forward)


bitwise_and = _bitwise("bitwise_and", np.bitwise_and, "The bits set in both; of masks, `and`.", "{a} ∧ {b}")
bitwise_or = _bitwise("bitwise_or", np.bitwise_or, "The bits set in at least one; of masks, `or`.", "{a} ∨ {b}")
bitwise_xor = _bitwise("bitwise_xor", np.bitwise_xor, "The bits set in only one; of masks, `xor`.", "{a} ⊕ {b}")


@primitive(
    formula="¬{x}",
    vjps=None,
    samples=lambda rng: [Sample(rng.normal(size=(3, 4)) > 0), Sample(np.array([1, 2]))],
    error_samples=lambda: [ErrorSample(np.ones(3), error=DTypeError, match="> 0")],
    numpy=[np.invert],
)
def bitwise_not(x: Any) -> Any:
    """Return the bits inverted; of masks, `not`."""
    try:
        return np.invert(x)
    except TypeError:
        raise _not_masks() from None


# --- conversion ----------------------------------------------------------------------------------


@primitive(
    name="cast",
    formula="{x} as {dtype}",
    vjps=[lambda g, y, x, dtype: g],  # the backward pass gives every cotangent its primal's dtype
    samples=lambda rng: [Sample(rng.normal(size=(2, 3)), dtype=np.dtype(np.float64))],
)
def _cast(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """Convert to another floating-point type."""
    return np.asarray(x).astype(dtype)


@primitive(
    name="truncate",
    formula="{x} as {dtype}",
    vjps=None,
    samples=lambda rng: [Sample(rng.normal(size=(2, 3)), dtype=np.dtype(np.int64))],
)
def _truncate(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """Convert to an integer or boolean type, which has no derivative."""
    return np.asarray(x).astype(dtype)


@composite(
    formula="x as dtype",
    error_samples=lambda: [
        ErrorSample(np.ones(3), "flaot", error=DTypeError, match="'flaot'"),
        ErrorSample(np.ones(3), complex, error=DTypeError, match="complex128"),
    ],
)
def astype(x: Any, dtype: Any) -> Any:
    """Convert to `dtype`. The conversion is differentiable if `dtype` is a floating-point type.

    Raises
    ------
    DTypeError
        If `dtype` is not a type of floating-point numbers, integers or booleans.
    """
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise DTypeError(f"expected an element type such as float, int, bool or 'float32', got {dtype!r}") from None
    if wanted.kind not in "fiub":
        raise DTypeError(f"{wanted} is not supported: elements are floating-point numbers, integers or booleans")
    return _cast(x, dtype=wanted) if wanted.kind == "f" else _truncate(x, dtype=wanted)


cast = astype


def _floating(x: Any, dtype: Any = None) -> Any:
    """Return `x`, a tensor or anything array_like, with `dtype` or at least some floating-point type."""
    x = _converted(x, dtype)
    return x if x.dtype.kind == "f" else astype(x, np.float64)


def _converted(x: Any, dtype: Any) -> Any:
    """Return `x`, a tensor or anything array_like, with `dtype` if one is given."""
    x = shaped(x)
    return x if dtype is None else astype(x, dtype)
