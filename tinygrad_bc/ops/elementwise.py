"""Operations that work element by element, with NumPy's broadcasting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.errors import ArgumentError, DTypeError, ShapeError
from tinygrad_bc.primitive import COUNTERPARTS, ErrorSample, Primitive, Sample, composite, primitive
from tinygrad_bc.samples import Samples, binary, draw, unary


def _ufunc(function: Callable[..., Any], meaning: str, **declaration: Any) -> Primitive:
    """Declare an operation that is a NumPy ufunc as it stands; it runs without a Python function around it."""
    op = primitive(**declaration)(function)
    op.__doc__ = meaning
    return op


def _floats(x: Any) -> Any:
    """Return integers and booleans as float64: NumPy alone makes float16 of those that have eight bits."""
    if isinstance(x, np.ndarray | np.generic):
        return x.astype(np.float64) if x.dtype.kind in "iub" else x
    return float(x)


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
        return ufunc(_floats(x))

    forward.__qualname__, forward.__doc__ = name, meaning
    return primitive(name=name, formula=formula, vjps=[vjp], samples=samples or unary(), numpy=[ufunc])(forward)


def _disagreeing() -> list[ErrorSample]:
    return [ErrorSample(np.ones((3, 4), int), np.ones((3, 5), int), error=ShapeError, match="axis -1 has 4 against 5")]


# --- arithmetic ----------------------------------------------------------------------------------
#
# What Python's operators record is a NumPy ufunc as it stands, and named with an underscore where
# the public function takes more: PyTorch's alpha and rounding_mode.

_add = _ufunc(
    np.add,
    "Add, elementwise.",
    formula="{a} + {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: g],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

_subtract = _ufunc(
    np.subtract,
    "Subtract, elementwise.",
    formula="{a} − {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

multiply = _ufunc(
    np.multiply,
    "Multiply, elementwise.",
    formula="{a} ∘ {b}",
    vjps=[lambda g, y, a, b: g * b, lambda g, y, a, b: g * a],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)
mul = multiply

_divide = _ufunc(
    np.divide,
    "Divide, elementwise.",
    formula="{a} / {b}",
    vjps=[lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b],
    samples=binary(away_from_zero=True),
    error_samples=_disagreeing,
    broadcasts=True,
)

negative = _ufunc(np.negative, "The negative.", formula="−{x}", vjps=[lambda g, y, x: -g], samples=unary())
neg = negative


def _scaled(x: Any, alpha: Any) -> Any:
    return x if alpha == 1 else multiply(x, alpha)


def _with_alpha(rng: np.random.Generator) -> list[Sample]:
    return [Sample(rng.normal(size=(3, 4)), rng.normal(size=4), alpha=alpha) for alpha in (1, -0.5)]


@composite(formula="a + alpha·b", samples=_with_alpha, error_samples=_disagreeing)
def add(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """Add `alpha` times `b` to `a`, elementwise."""
    return _add(a, _scaled(b, alpha))


@composite(formula="a − alpha·b", samples=_with_alpha, error_samples=_disagreeing)
def subtract(a: Any, b: Any, *, alpha: float = 1) -> Any:
    """Subtract `alpha` times `b` from `a`, elementwise."""
    return _subtract(a, _scaled(b, alpha))


sub = subtract


@composite(formula="b − alpha·a", samples=_with_alpha, error_samples=_disagreeing)
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


floor_divide = _ufunc(
    np.floor_divide,
    "The quotient rounded down, elementwise. Its derivative is 0 wherever it exists.",
    formula="⌊{a} / {b}⌋",
    vjps=None,
    samples=_between_multiples,
    error_samples=_disagreeing,
    broadcasts=True,
)


@primitive(
    name="trunc_divide",
    formula="trunc({a} / {b})",
    vjps=None,
    samples=_between_multiples,
    error_samples=_disagreeing,
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
        *_disagreeing(),
        ErrorSample(np.ones(3), np.ones(3), rounding_mode="ceil", error=ArgumentError, match="'floor' or 'trunc'"),
    ],
)
def divide(a: Any, b: Any, *, rounding_mode: str | None = None) -> Any:
    """Divide, elementwise.

    Parameters
    ----------
    a, b
        Dividend and divisor, which broadcast.
    rounding_mode
        None for the quotient itself, "floor" to round it down, "trunc" to round it towards zero. A rounded
        quotient has no derivative, and that of integers is an integer.

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
remainder = _ufunc(
    np.remainder,
    "The remainder of `floor_divide`, elementwise: it has the sign of the divisor, as Python's %.",
    formula="{a} mod {b}",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b)],
    samples=_between_multiples,
    error_samples=_disagreeing,
    broadcasts=True,
)

fmod = _ufunc(
    np.fmod,
    "The remainder of a quotient rounded towards zero, elementwise: it has the sign of the dividend, as in C.",
    formula="fmod({a}, {b})",
    vjps=[lambda g, y, a, b: g, lambda g, y, a, b: -g * _trunc_divide(a, b)],
    samples=_between_multiples,
    error_samples=_disagreeing,
    broadcasts=True,
)


# --- powers --------------------------------------------------------------------------------------


def _power_base_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    if isinstance(b, int | float):
        return g * (b * a ** (b - 1)) if b != 0 else g * 0.0
    # a⁰ is constant, also at a = 0, where b·a^(b − 1) would be 0 · ∞
    return g * where(b == 0, 0.0, b * where(b == 0, 1.0, a) ** where(b == 0, 1.0, b - 1))


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
    error_samples=lambda: [
        *_disagreeing(),
        ErrorSample(np.array([1, 2]), -1, error=DTypeError, match=r"-1\.0"),
    ],
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
    if not isinstance(a, np.ndarray | np.generic) and not isinstance(b, np.ndarray | np.generic):
        a = np.asarray(a)  # or Python would make a complex number of (-8) ** (1 / 3)
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
    "sqrt",
    np.sqrt,
    "The square root.",
    formula="√{x}",
    vjp=lambda g, y, x: 0.5 * g / y,
    samples=unary(positive=True),
)


@primitive(formula="1/√{x}", vjps=[lambda g, y, x: -0.5 * g * y / x], samples=unary(positive=True))
def rsqrt(x: Any) -> Any:
    """Return one divided by the square root."""
    return np.divide(1.0, np.sqrt(_floats(x)))


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
    "expm1",
    np.expm1,
    "exp(x) − 1, exact also for small x.",
    formula="exp({x}) − 1",
    vjp=lambda g, y, x: g * exp(x),
)

log = _function(
    "log",
    np.log,
    "The natural logarithm.",
    formula="log({x})",
    vjp=lambda g, y, x: g / x,
    samples=unary(positive=True),
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
    return 1 / (1 + np.exp(x * -1.0))  # (and not -x, which wraps around for unsigned integers)


@primitive(
    formula="log(exp({a}) + exp({b}))",
    # The shares of the two, exp(a)/(exp(a) + exp(b)) and its complement, written so that nothing overflows.
    vjps=[lambda g, y, a, b: g * sigmoid(a - b), lambda g, y, a, b: g * sigmoid(b - a)],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
    numpy=[np.logaddexp],
)
def logaddexp(a: Any, b: Any) -> Any:
    """Return the logarithm of the sum of two exponentials, elementwise, without overflow."""
    return np.logaddexp(_floats(a), _floats(b))


def _xlogy_weight_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    dead = (a == 0) & (b <= 0)
    return g * where(dead, 0.0, log(where(dead, 1.0, b)))


def _xlogy_argument_vjp(g: Any, y: Any, a: Any, b: Any) -> Any:
    dead = (a == 0) & (b == 0)
    return g * where(dead, 0.0, a / where(dead, 1.0, b))


@primitive(
    formula="{a} ∘ log({b})",
    vjps=[_xlogy_weight_vjp, _xlogy_argument_vjp],
    samples=lambda rng: [
        *binary(positive=True)(rng),
        Sample(np.array([0.0, 2.0, -1.0]), np.array([3.0, 0.5, 2.0])),
    ],
    error_samples=_disagreeing,
    broadcasts=True,
)
def xlogy(a: Any, b: Any) -> Any:
    """Return ``a * log(b)``, elementwise, which is 0 where `a` is 0, whatever `b` is.

    There both derivatives are what ``a * log(b)`` has, and 0 where that would not be a number: at b = 0, and with
    respect to `a` at b < 0.
    """
    a, b = _floats(a), _floats(b)
    logarithm = np.log(np.where(np.equal(a, 0) & ~np.isnan(b), 1.0, b))
    return (a * logarithm).astype(np.result_type(a, b), copy=False)


# --- trigonometric and hyperbolic functions ------------------------------------------------------


def _sin_vjp(g: Any, y: Any, x: Any) -> Any:
    return g * cos(x)


sin = _function("sin", np.sin, "The sine of an angle in radians.", formula="sin({x})", vjp=_sin_vjp)
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
    error_samples=_disagreeing,
    broadcasts=True,
    numpy=[np.arctan2],
)
def atan2(a: Any, b: Any) -> Any:
    """Return the angle of the point with ordinate `a` and abscissa `b`, between −π and π, elementwise.

    At the origin both derivatives are taken to be 0.
    """
    return np.arctan2(_floats(a), _floats(b))


arctan2 = atan2


def _sinh_vjp(g: Any, y: Any, x: Any) -> Any:
    return g * cosh(x)


sinh = _function("sinh", np.sinh, "The hyperbolic sine.", formula="sinh({x})", vjp=_sinh_vjp)
cosh = _function("cosh", np.cosh, "The hyperbolic cosine.", formula="cosh({x})", vjp=lambda g, y, x: g * sinh(x))
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
#
# W. J. Cody, "Rational Chebyshev approximations for the error function", Math. Comp. 23 (1969) 631-637: for small,
# middle and large |x|, with the coefficients of his program CALERF (SPECFUN; ACM TOMS 19, 1993, algorithm 715), the
# highest power first. NumPy does not have the function.

_Rational = tuple[list[float], list[float]]

_SMALL: _Rational = (
    [
        1.85777706184603153e-1,
        3.16112374387056560e00,
        1.13864154151050156e02,
        3.77485237685302021e02,
        3.20937758913846947e03,
    ],
    [1.0, 2.36012909523441209e01, 2.44024637934444173e02, 1.28261652607737228e03, 2.84423683343917062e03],
)
_MIDDLE: _Rational = (
    [
        2.15311535474403846e-8,
        5.64188496988670089e-1,
        8.88314979438837594e00,
        6.61191906371416295e01,
        2.98635138197400131e02,
        8.81952221241769090e02,
        1.71204761263407058e03,
        2.05107837782607147e03,
        1.23033935479799725e03,
    ],
    [
        1.0,
        1.57449261107098347e01,
        1.17693950891312499e02,
        5.37181101862009858e02,
        1.62138957456669019e03,
        3.29079923573345963e03,
        4.36261909014324716e03,
        3.43936767414372164e03,
        1.23033935480374942e03,
    ],
)
_LARGE: _Rational = (
    [
        1.63153871373020978e-2,
        3.05326634961232344e-1,
        3.60344899949804439e-1,
        1.25781726111229246e-1,
        1.60837851487422766e-2,
        6.58749161529837803e-4,
    ],
    [
        1.0,
        2.56852019228982242e00,
        1.87295284992346047e00,
        5.27905102951428412e-1,
        6.05183413124413191e-2,
        2.33520497626869185e-3,
    ],
)


def _rational(coefficients: _Rational, x: Any) -> Any:
    numerator, denominator = coefficients
    return np.polyval(numerator, x) / np.polyval(denominator, x)


def _erf_small(x: Any) -> Any:
    return x * _rational(_SMALL, x * x)


def _erfc_not_small(size: Any) -> Any:
    """Return erfc of positive numbers that are not small."""
    size = np.minimum(size, 28.0)  # erfc(28) is 0 already, and the infinity would meet itself below
    # exp(−x²), of a part whose square is exact and the rest: the rounding error of x² would be magnified by x².
    part = np.trunc(16 * size) / 16
    bell = np.exp(-part * part) * np.exp((part - size) * (part + size))
    return bell * np.piecewise(size, [size <= 4.0], [lambda x: _rational(_MIDDLE, x), _scaled_tail])


def _scaled_tail(x: Any) -> Any:
    z = 1 / (x * x)
    return (1 / math.sqrt(math.pi) - z * _rational(_LARGE, z)) / x


def _small_or_not(x: Any, small: Callable[[Any], Any], other: Callable[[Any], Any]) -> Any:
    x = np.asarray(_floats(x))
    exact = x.astype(np.float64, copy=False)
    return np.piecewise(exact, [np.abs(exact) <= 0.46875], [small, other]).astype(x.dtype, copy=False)


def _with_tails(rng: np.random.Generator) -> list[Sample]:
    return [*unary()(rng), Sample(np.array([-5.0, -2.0, -0.2, 0.0, 0.3, 1.0, 4.5]))]


@primitive(
    formula="erf({x})",
    vjps=[lambda g, y, x: g * (2 / math.sqrt(math.pi) * exp(-x * x))],
    samples=_with_tails,
)
def erf(x: Any) -> Any:
    """Error function, ``2/√π ∫₀ˣ exp(−t²) dt``, exact to the last digits (W. J. Cody's approximations)."""
    return _small_or_not(x, _erf_small, lambda x: np.copysign(1 - _erfc_not_small(np.abs(x)), x))


def _erfc_either_side(x: Any) -> Any:
    tail = _erfc_not_small(np.abs(x))
    return np.where(x < 0, 2 - tail, tail)


@primitive(
    formula="erfc({x})",
    vjps=[lambda g, y, x: g * (-2 / math.sqrt(math.pi) * exp(-x * x))],
    samples=_with_tails,
)
def erfc(x: Any) -> Any:
    """Complement of the error function, ``1 − erf(x)``, exact also where it is very small."""
    return _small_or_not(x, lambda x: 1 - _erf_small(x), _erfc_either_side)


# --- sign and rounding ---------------------------------------------------------------------------

sign = _ufunc(
    np.sign, "−1, 0 or 1: the sign of each element.", formula="sign({x})", vjps=None, samples=unary(away_from_zero=True)
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

floor = _ufunc(np.floor, "The next integer below.", formula="⌊{x}⌋", vjps=None, samples=unary())
ceil = _ufunc(np.ceil, "The next integer above.", formula="⌈{x}⌉", vjps=None, samples=unary())
trunc = _ufunc(np.trunc, "The next integer towards zero.", formula="trunc({x})", vjps=None, samples=unary())


@primitive(
    formula="round({x})",
    vjps=None,
    samples=lambda rng: [*unary()(rng), Sample(rng.normal(size=5), decimals=1)],
    numpy=[np.round, np.around],
)
def round(x: Any, *, decimals: int = 0) -> Any:
    """Round to so many decimals, halves to the even neighbour. Negative `decimals` count to the left of the point."""
    return np.round(x, decimals)


# --- choosing ------------------------------------------------------------------------------------


def _tie_shared(g: Any, wins: Any, ties: Any) -> Any:
    return where(wins, g, where(ties, 0.5 * g, 0.0))


maximum = _ufunc(
    np.maximum,
    "The larger of two, elementwise; NaN if one of them is. A tie shares the gradient equally.",
    formula="max({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a > b, a == b), lambda g, y, a, b: _tie_shared(g, b > a, a == b)],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
)

minimum = _ufunc(
    np.minimum,
    "The smaller of two, elementwise; NaN if one of them is. A tie shares the gradient equally.",
    formula="min({a}, {b})",
    vjps=[lambda g, y, a, b: _tie_shared(g, a < b, a == b), lambda g, y, a, b: _tie_shared(g, b < a, a == b)],
    samples=binary(),
    error_samples=_disagreeing,
    broadcasts=True,
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


def _chosen_vjp(g: Any, y: Any, condition: Any, a: Any, b: Any) -> Any:
    return _where(condition, g, 0.0)


def _not_chosen_vjp(g: Any, y: Any, condition: Any, a: Any, b: Any) -> Any:
    return _where(condition, 0.0, g)


@primitive(
    name="where",
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


def _numpy_clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Any:
    return clip(a, min if a_min is None else a_min, max if a_max is None else a_max)


COUNTERPARTS[np.clip] = _numpy_clip


def _nan_to_num_vjp(g: Any, y: Any, x: Any, **replacements: Any) -> Any:
    return where(isfinite(x), g, 0.0)


@primitive(
    formula="nan_to_num({x})",
    vjps=[_nan_to_num_vjp],
    samples=lambda rng: [*unary()(rng), Sample(rng.normal(size=3), nan=1.0, posinf=2.0, neginf=-2.0)],
)
def nan_to_num(x: Any, *, nan: float | None = 0.0, posinf: float | None = None, neginf: float | None = None) -> Any:
    """Replace NaN and the infinities, where the derivative is 0.

    Parameters
    ----------
    x
        The numbers.
    nan
        What NaN becomes; None means 0.
    posinf, neginf
        What ∞ and −∞ become; None means the largest and the lowest number of the dtype.
    """
    return np.nan_to_num(x, nan=0.0 if nan is None else nan, posinf=posinf, neginf=neginf)


def _numpy_nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if not copy:
        raise ArgumentError("np.nan_to_num(copy=False) would change a tensor behind its record: leave copy=False out")
    return nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


COUNTERPARTS[np.nan_to_num] = _numpy_nan_to_num


# --- comparisons and masks: recorded, with a derivative of zero ----------------------------------


def _comparison(ufunc: np.ufunc, meaning: str, formula: str) -> Primitive:
    return _ufunc(
        ufunc,
        meaning,
        formula=formula,
        vjps=None,
        samples=binary(),
        error_samples=_disagreeing,
        broadcasts=True,
    )


equal = _comparison(np.equal, "Whether two are equal, elementwise.", "{a} = {b}")
not_equal = _comparison(np.not_equal, "Whether two differ, elementwise.", "{a} ≠ {b}")
less = _comparison(np.less, "Whether the first is smaller, elementwise.", "{a} < {b}")
less_equal = _comparison(np.less_equal, "Whether the first is not larger, elementwise.", "{a} ≤ {b}")
greater = _comparison(np.greater, "Whether the first is larger, elementwise.", "{a} > {b}")
greater_equal = _comparison(np.greater_equal, "Whether the first is not smaller, elementwise.", "{a} ≥ {b}")
eq, ne, lt, le, gt, ge = equal, not_equal, less, less_equal, greater, greater_equal

isnan = _ufunc(np.isnan, "Whether an element is NaN.", formula="isnan({x})", vjps=None, samples=unary())
isinf = _ufunc(np.isinf, "Whether an element is infinite.", formula="isinf({x})", vjps=None, samples=unary())
isfinite = _ufunc(
    np.isfinite, "Whether an element is neither infinite nor NaN.", formula="isfinite({x})", vjps=None, samples=unary()
)

logical_and = _comparison(np.logical_and, "Whether both are true (not 0), elementwise.", "{a} ∧ {b}")
logical_or = _comparison(np.logical_or, "Whether at least one is true (not 0), elementwise.", "{a} ∨ {b}")
logical_xor = _comparison(np.logical_xor, "Whether one and only one is true (not 0), elementwise.", "{a} ⊕ {b}")
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
        error_samples=lambda: [*_disagreeing(), ErrorSample(np.ones(3), np.ones(3), error=DTypeError, match="> 0")],
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
