"""The functions that a C program brings along: what C's library lacks, or has only in a form that cannot be vectorised.

Each is short, has no branches that depend on the numbers, and is inlined into the loop it stands in, so that a compiler
makes vector instructions of it. Only those that a program calls are written into its file.

The exponential function follows W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980): the
argument is brought near 0 by subtracting a multiple of log 2 in two parts, and the rest is a polynomial. The logarithm
is that of 2^e (1+s)/(1-s), with an odd polynomial in s. The coefficients are those of Taylor for exp; for log those of
the polynomial through as many Chebyshev nodes, computed in exact fractions.
"""

from __future__ import annotations

from collections.abc import Iterable
from string import Template

__all__ = ["FUNCTIONS", "definitions"]

_DOUBLE = {
    "real": "double",
    "f": "",
    "int": "int64_t",
    "rounder": "0x1.8p52",  # added to a number it leaves the nearest integer in the lowest bits
    "lowest": "-746.0",  # exp is 0 below, and infinite above `highest`
    "highest": "710.0",
    "log2_high": "0x1.62e42fefa3800p-1",  # ends in zeros: a multiple of it is exact
    "log2_low": "0x1.ef35793c76730p-45",
    "bias": "1023",
    "mantissa": "52",
    "smallest": "0x1p-1022",  # numbers below have fewer digits: they are scaled first
    "scale": "0x1p54",
    "scaled": "54",
    "half_root": "0x1.6a09e667f3bcdp-1",
    "log2_e": "0x1.71547652b82fep0",
    "unsigned": "uint64_t",
}
_FLOAT = {
    "real": "float",
    "f": "f",
    "int": "int32_t",
    "rounder": "0x1.8p23f",
    "lowest": "-104.0f",
    "highest": "89.0f",
    "log2_high": "0x1.62e4p-1f",
    "log2_low": "0x1.7f7d1cp-20f",
    "bias": "127",
    "mantissa": "23",
    "smallest": "0x1p-126f",
    "scale": "0x1p25f",
    "scaled": "25",
    "half_root": "0x1.6a09e6p-1f",
    "log2_e": "0x1.715476p0f",
    "unsigned": "uint32_t",
}

_HIGHEST_POWER = {"double": 13, "float": 7}
_LOG = {
    "double": (
        "0x1.5555555555558p-1",
        "0x1.99999999952e2p-2",
        "0x1.2492492df148dp-2",
        "0x1.c71c62e5800a1p-3",
        "0x1.7462b4ab2ef6bp-3",
        "0x1.39fe606542ddep-3",
        "0x1.2b584aae78a57p-3",
    ),
    "float": ("0x1.555556p-1f", "0x1.9999ecp-2f", "0x1.245c44p-2f", "0x1.ddced8p-3f"),
}


_REDUCED = """\
    const $real near = x < $lowest ? $lowest : x > $highest ? $highest : x; /* NaN stays NaN */
    const $real shifted = multiply_add$f(near, $log2_e, $rounder);
    const $real n = shifted - $rounder; /* the integer nearest to x / log 2 */
    const $real r = multiply_add$f(-n, $log2_low, multiply_add$f(-n, $log2_high, near));
$taylor
    const $real q = multiply_add$f(r * r, p, r); /* exp(r) - 1 */
    const $int whole = integer$f(shifted), half = integer$f(n / 2 + $rounder); /* 2^n itself may be out of range */"""

_REAL: dict[str, tuple[tuple[str, ...], str]] = {
    "multiply_add": (
        (),
        """
/* a * b + c, rounded only once where the processor has an instruction for that. */
static inline $real multiply_add$f($real a, $real b, $real c)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA) || defined(FP_FAST_FMA)
    return fma$f(a, b, c);
#else
    return a * b + c;
#endif
}
""",
    ),
    "integer": (
        (),
        """
/* The integer in a number to which $rounder was added. */
static inline $int integer$f($real shifted)
{
    const union { $real number; $int bits; } sum = {shifted}, zero = {$rounder};
    return sum.bits - zero.bits;
}
""",
    ),
    "shifted": (
        (),
        """
/* An integer as a number to which $rounder was added. */
static inline $real shifted$f($int n)
{
    const union { $real number; $int bits; } zero = {$rounder};
    const union { $int bits; $real number; } sum = {n + zero.bits};
    return sum.number;
}
""",
    ),
    "power_of_two": (
        (),
        """
/* 2 to the power of n, made of its bits. */
static inline $real power_of_two$f($int n)
{
    const union { $unsigned bits; $real number; } power = {($unsigned)(n + $bias) << $mantissa};
    return power.number;
}
""",
    ),
    "vexp": (
        ("multiply_add", "integer", "power_of_two"),
        """
/* exp(x), in a form that compilers vectorise. */
static inline $real vexp$f($real x)
{
$reduced
    return (1 + q) * power_of_two$f(half) * power_of_two$f(whole - half);
}
""",
    ),
    "vexpm1": (
        ("multiply_add", "integer", "power_of_two"),
        """
/* exp(x) - 1, exact also near 0, in a form that compilers vectorise. */
static inline $real vexpm1$f($real x)
{
$reduced
    const $real power = power_of_two$f(half), inverse = power_of_two$f(half - whole);
    const $real y = multiply_add$f(q, power, power - inverse) * power_of_two$f(whole - half);
    return x == 0 ? x : y;
}
""",
    ),
    "vlog": (
        ("multiply_add", "shifted"),
        """
/* log(x), in a form that compilers vectorise. */
static inline $real vlog$f($real x)
{
    const bool small = x < $smallest;
    const union { $real number; $unsigned bits; } whole = {small ? x * $scale : x}, root = {$half_root};
    /* x = 2^e m, with m between the roots of 1/2 and 2 */
    const $unsigned biased = (whole.bits - root.bits + (($unsigned)$bias << $mantissa)) >> $mantissa;
    const $int e = ($int)biased - $bias;
    const union { $unsigned bits; $real number; } m = {whole.bits - (($unsigned)e << $mantissa)};
    const $real n = shifted$f(e) - $rounder - (small ? $scaled : 0);
    const $real h = m.number - 1, s = h / (2 + h), z = s * s, square = h * h / 2;
$odd
    const $real y = n * $log2_high - ((square - (s * (square + p) + n * $log2_low)) - h);
    const $real high = x < INFINITY ? y : x, low = x == 0 ? -INFINITY : NAN;
    return x > 0 ? high : low;
}
""",
    ),
    "vlog1p": (
        ("vlog",),
        """
/* log(1 + x), exact also near 0, in a form that compilers vectorise. */
static inline $real vlog1p$f($real x)
{
    const $real u = 1 + x, lost = (x - (u - 1)) / u, y = vlog$f(u); /* lost in rounding */
    const $real near = x == 0 ? x : y + lost, far = u < INFINITY ? near : y;
    return u > 0 ? far : y;
}
""",
    ),
    "vtanh": (
        ("vexpm1",),
        """
/* tanh(x), in a form that compilers vectorise. */
static inline $real vtanh$f($real x)
{
    const $real e = vexpm1$f(-2 * fabs$f(x));
    return copysign$f(-e / (e + 2), x);
}
""",
    ),
    "maximum": (
        (),
        """
/* The larger; NaN if one is. */
static inline $real maximum$f($real a, $real b)
{
    return a > b || a != a ? a : b;
}
""",
    ),
    "minimum": (
        (),
        """
/* The smaller; NaN if one is. */
static inline $real minimum$f($real a, $real b)
{
    return a < b || a != a ? a : b;
}
""",
    ),
    "sign": (
        (),
        """
static inline $real sign$f($real x)
{
    return x > 0 ? 1 : x < 0 ? -1 : x; /* 0 and NaN as they are */
}
""",
    ),
    "square": (
        (),
        """
static inline $real square$f($real x)
{
    return x * x;
}
""",
    ),
    "remainder_of_floor": (
        (),
        """
/* What remains after division and rounding down: of the sign of b, as in Python. */
static inline $real remainder_of_floor$f($real a, $real b)
{
    const $real rest = fmod$f(a, b);
    return rest == 0 ? copysign$f(0, b) : (rest < 0) != (b < 0) ? rest + b : rest;
}
""",
    ),
    "floor_divide": (
        (),
        """
/* a / b rounded down, as Python does it. */
static inline $real floor_divide$f($real a, $real b)
{
    const $real rest = fmod$f(a, b), quotient = (a - rest) / b - (rest != 0 && (rest < 0) != (b < 0));
    const $real whole = floor$f(quotient);
    return b == 0 ? a / b : quotient == 0 ? copysign$f(0, a / b) : whole + (quotient - whole > 0.5$f);
}
""",
    ),
}
"""Of floating-point numbers: for double, and with an ``f`` after the name for float. With each, what it calls."""

_WHOLE: dict[str, tuple[tuple[str, ...], str]] = {
    "imaximum": ((), "\nstatic inline int64_t imaximum(int64_t a, int64_t b)\n{\n    return a > b ? a : b;\n}\n"),
    "iminimum": ((), "\nstatic inline int64_t iminimum(int64_t a, int64_t b)\n{\n    return a < b ? a : b;\n}\n"),
    "isign": ((), "\nstatic inline int64_t isign(int64_t x)\n{\n    return (x > 0) - (x < 0);\n}\n"),
    "isquare": ((), "\nstatic inline int64_t isquare(int64_t x)\n{\n    return x * x;\n}\n"),
    "ifmod": (
        (),
        """
/* a - b trunc(a / b); 0 if b is 0, as in NumPy. */
static inline int64_t ifmod(int64_t a, int64_t b)
{
    return b == 0 || b == -1 ? 0 : a % b;
}
""",
    ),
    "iremainder_of_floor": (
        ("ifmod",),
        """
/* a - b floor(a / b), of the sign of b; 0 if b is 0, as in NumPy. */
static inline int64_t iremainder_of_floor(int64_t a, int64_t b)
{
    const int64_t rest = ifmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
""",
    ),
    "ifloor_divide": (
        ("ifmod",),
        """
/* a / b rounded down; 0 if b is 0, as in NumPy. */
static inline int64_t ifloor_divide(int64_t a, int64_t b)
{
    const int64_t rest = ifmod(a, b);
    return b == 0 ? 0 : b == -1 ? -a : (a - rest) / b - (rest != 0 && (rest < 0) != (b < 0));
}
""",
    ),
    "ipower": (
        (),
        """
/* a to the power of b, not negative. */
static inline int64_t ipower(int64_t a, int64_t b)
{
    int64_t result = 1;
    for (; b > 0; b /= 2, a *= a)
        if (b % 2)
            result *= a;
    return result;
}
""",
    ),
    "narrowed": (
        (),
        """
/* x with the digits of a float. GCC 12 may leave out a conversion there and back if it makes vectors of it, so that
   it must not see through this one. */
static inline float narrowed(double x)
{
    const volatile float y = (float)x;
    return y;
}
""",
    ),
    "place": (
        (),
        """
/* The place that an index means among n elements: negative ones count from the end. */
static inline int64_t place(int64_t index, int64_t n)
{
    return index < 0 ? index + n : index;
}
""",
    ),
}


def _horner(last: str, others: Iterable[str], variable: str) -> list[str]:
    return [f"    $real p = {last};", *(f"    p = multiply_add$f(p, {variable}, {c});" for c in others)]


def _constants(real: dict[str, str]) -> dict[str, str]:
    """Return what is put into the texts, for one of the floating-point types."""
    f, name = real["f"], real["real"]
    factorials, product = [], 1
    for n in range(1, _HIGHEST_POWER[name] + 1):
        product *= n
        factorials.append(f"1.0{f} / {product}.0{f}")
    *rest, last = factorials[1:]
    taylor = Template("\n".join(_horner(last, reversed(rest), "r"))).substitute(real)  # (exp(r) - 1 - r) / r²
    *rest, last = _LOG[name]
    odd = "\n".join([*_horner(last, reversed(rest), "z"), "    p *= z;"])  # (log((1+s)/(1-s)) - 2s) / s
    reduced = Template(_REDUCED.replace("$taylor", taylor)).substitute(real)
    return {**real, "reduced": reduced, "odd": Template(odd).substitute(real)}


def _all() -> dict[str, tuple[tuple[str, ...], str]]:
    functions = dict(_WHOLE)
    for real in (_DOUBLE, _FLOAT):
        constants = _constants(real)
        for name, (needs, text) in _REAL.items():
            calls = tuple(need + real["f"] for need in needs)
            functions[name + real["f"]] = calls, Template(text).substitute(constants)
    return functions


FUNCTIONS = _all()
"""For each name, the names of those it calls, and its definition."""


def definitions(names: Iterable[str]) -> str:
    """Return the definitions of functions, each after those it calls."""
    ordered: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        missing = [need for need in FUNCTIONS[name][0] if need not in ordered]
        if missing:
            waiting += [name, *missing]
        else:
            ordered[name] = None
    return "".join(FUNCTIONS[name][1] for name in ordered)
