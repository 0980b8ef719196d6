"""Formulas keep their meaning in every format, with no more parentheses than they need."""

import ast
import re
import shutil
import subprocess
from fractions import Fraction
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_bc  # noqa: F401  declares the operations
from tinygrad_bc.derivation.notation import apply, derivative, equation, name, number, parse, prime, summed
from tinygrad_bc.derivation.printing import latex, mathml, text
from tinygrad_bc.derivation.writing import Piece, Writer
from tinygrad_bc.primitive import REGISTRY, Primitive

CORE = {"math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "msup", "msub", "munder"}
CORE |= {"mtable", "mtr", "mtd"}


def of(op, *inputs, **params):
    return apply(REGISTRY[op], [number(x) if isinstance(x, int | float) else x for x in inputs], params)


def declared(formula, arrays=1):
    forward = {1: lambda x: x, 2: lambda x, y: x}[arrays]
    return Primitive(
        forward, vjps=None, formula=formula, samples=lambda _: [], error_samples=tuple, broadcasts=False,
        diagnose=None, name="declared_elsewhere",
    )  # fmt: skip


a, b, c, A, B, C, W1, X = map(name, ["a", "b", "c", "A", "B", "C", "W1", "X"])
n, m = name("n", scalar=True), name("m", scalar=True)


def add(x, y):
    return of("add", x, y)


def sub(x, y):
    return of("subtract", x, y)


def mul(x, y):
    return of("multiply", x, y)


def div(x, y):
    return of("divide", x, y)


def neg(x):
    return of("negative", x)


def at(x, y):
    return of("matmul", x, y)


def power(x, y):
    return of("power", x, y)


def call(x):
    return of("sigmoid", x)


COMPOSED = [
    # sums
    (add(add(a, b), c), "a + b + c"),
    (add(a, add(b, c)), "a + b + c"),
    (sub(a, sub(b, c)), "a − (b − c)"),
    (sub(sub(a, b), c), "a − b − c"),
    (sub(a, add(b, c)), "a − (b + c)"),
    (sub(a, neg(b)), "a − (−b)"),
    (add(neg(a), b), "−a + b"),
    (add(a, add(neg(b), c)), "a + (−b + c)"),
    (add(a, number(-2)), "a + (−2)"),
    (add(a, mul(neg(b), c)), "a + (−b ∘ c)"),
    # signs
    (neg(add(a, b)), "−(a + b)"),
    (neg(neg(a)), "−(−a)"),
    (neg(mul(a, b)), "−a ∘ b"),
    (mul(neg(a), b), "−a ∘ b"),
    (mul(a, neg(b)), "a ∘ (−b)"),
    (neg(mul(neg(a), b)), "−(−a ∘ b)"),
    (at(neg(mul(a, b)), C), "(−a ∘ b) C"),
    (of("square", neg(a)), "(−a)²"),
    (neg(of("square", a)), "−a²"),
    (of("square", number(-2)), "(−2)²"),
    # products
    (mul(add(a, b), c), "(a + b) ∘ c"),
    (mul(mul(a, b), c), "a ∘ b ∘ c"),
    (mul(a, mul(b, c)), "a ∘ b ∘ c"),
    (mul(at(A, B), C), "(A B) ∘ C"),
    (at(A, mul(B, C)), "A (B ∘ C)"),
    (mul(A, at(B, C)), "A ∘ (B C)"),
    (at(mul(A, B), C), "(A ∘ B) C"),
    (at(at(A, B), C), "A B C"),
    (at(A, at(B, C)), "A B C"),
    (at(A, add(B, C)), "A (B + C)"),
    (at(A, call(X)), "A σ(X)"),
    (mul(a, 2), "2·a"),
    (mul(2, mul(a, b)), "2·a ∘ b"),
    (mul(2, at(A, B)), "2·A B"),
    (at(A, mul(2, B)), "A (2·B)"),
    (mul(2, add(a, b)), "2·(a + b)"),
    (mul(a, n), "n·a"),
    (mul(mul(2, n), a), "2·n·a"),
    (mul(n, 3), "3·n"),
    (mul(a, name("dLoss_s", scalar=True)), "dLoss_s·a"),
    (mul(add(n, m), a), "(n + m)·a"),
    (mul(a, number(-2)), "−2·a"),
    # quotients
    (div(a, div(b, c)), "a / (b / c)"),
    (div(div(a, b), c), "(a / b) / c"),
    (div(mul(a, b), c), "a ∘ b / c"),
    (div(a, mul(b, c)), "a / (b ∘ c)"),
    (mul(div(a, b), c), "(a / b) ∘ c"),
    (mul(a, div(b, c)), "a ∘ (b / c)"),
    (div(sub(name("Yh"), name("Y")), n), "(Yh − Y) / n"),
    (div(at(A, B), n), "A B / n"),
    (add(div(a, b), c), "a / b + c"),
    (of("reciprocal", add(a, b)), "1/(a + b)"),
    (of("rsqrt", a), "1/√a"),
    (of("remainder", add(a, b), mul(a, b)), "(a + b) mod (a ∘ b)"),
    # powers and roots
    (power(power(a, b), c), "(a^b)^c"),
    (power(a, power(b, c)), "a^(b^c)"),
    (power(a, -2), "a^(−2)"),
    (power(add(a, b), 2), "(a + b)²"),
    (of("square", of("square", a)), "(a²)²"),
    (of("square", call(a)), "σ(a)²"),
    (of("square", of("abs", a)), "|a|²"),
    (of("matrix_transpose", at(A, B)), "(A B)ᵀ"),
    (of("matrix_transpose", of("inv", A)), "(A⁻¹)ᵀ"),
    (of("sqrt", add(a, 1)), "√(a + 1)"),
    (of("sqrt", of("square", a)), "√(a²)"),
    (of("square", of("sqrt", a)), "(√a)²"),
    (of("sqrt", call(a)), "√σ(a)"),
    # functions, brackets, words
    (call(sub(a, b)), "σ(a − b)"),
    (of("logsigmoid", add(a, b)), "log σ(a + b)"),
    (mul(of("logsigmoid", a), b), "(log σ(a)) ∘ b"),
    (mul(a, of("logsigmoid", b)), "a ∘ log σ(b)"),
    (mul(mul(a, of("logsigmoid", b)), c), "(a ∘ log σ(b)) ∘ c"),
    (of("logabsdet", at(A, B)), "log|det(A B)|"),
    (of("abs", sub(a, b)), "|a − b|"),
    (of("floor_divide", add(a, b), c), "⌊(a + b) / c⌋"),
    (of("xlogy", add(a, b), c), "(a + b) ∘ log(c)"),
    (of("xlogy", 2, c), "2·log(c)"),
    (of("binary_cross_entropy", X, add(a, b)), "−[(a + b) log(X) + (1 − (a + b)) log(1 − X)]"),
    (of("where", of("greater", a, 0), b, neg(c)), "b if a > 0 else −c"),
    (mul(of("where", a, b, c), 2), "2·(b if a else c)"),
    (of("where", a, of("where", b, a, c), c), "(a if b else c) if a else c"),
    (of("where", a, b, of("where", b, a, c)), "b if a else a if b else c"),
    (of("logical_and", of("less", a, b), of("less", b, c)), "a < b ∧ b < c"),
    (of("logical_and", of("logical_or", a, b), c), "(a ∨ b) ∧ c"),
    (of("logical_not", of("logical_or", a, b)), "¬(a ∨ b)"),
    (of("equal", of("less", a, b), c), "(a < b) = c"),
    (add(of("cast", add(a, b), dtype="int64"), c), "((a + b) as int64) + c"),
    (call(of("cast", a, dtype="int64")), "σ(a as int64)"),
    (of("put_diagonal", sub(a, b), shape=(3, 4), offset=0), "put (a − b) on the diagonal of zeros(3, 4)"),
    (mul(neg(of("logsigmoid", a)), b), "(−log σ(a)) ∘ b"),
    (at(A, power(2, b)), "A (2^b)"),
    (of("remainder", neg(a), b), "(−a) mod b"),
    # metadata
    (of("sum", add(a, b), axis=1), "sum(a + b, axis=1)"),
    (of("reshape", a, shape=(3, 4)), "reshape(a, (3, 4))"),
    (mul(of("vector_norm", a, axis=1), b), "(‖a‖ (axis=1)) ∘ b"),
    (of("huber", sub(a, b), delta=1.0), "½(a − b)² if |a − b| ≤ 1.0 else 1.0(|a − b| − ½·1.0)"),
    (of("getitem", add(a, b), key="1:3, -1"), "(a + b)[1:3, -1]"),
    (of("nll", add(a, b), name("t")), "−(a + b)[t]"),
    (of("einsum", a, b, equation="ij,jk->ik"), "einsum(ij,jk->ik, a, b)"),
    (apply(REGISTRY["stack"], [], {}), "stack()"),
    # equations
    (equation(name("dLoss_W1"), at(name("dLoss_Z1"), of("matrix_transpose", X))), "dLoss_W1 = dLoss_Z1 Xᵀ"),
    (equation(a, of("equal", b, c)), "a = (b = c)"),
    (equation(a, of("where", a, b, c)), "a = b if a else c"),
]


@pytest.mark.parametrize(("e", "expected"), COMPOSED, ids=[expected for _, expected in COMPOSED])
def test_text_has_the_parentheses_it_needs_and_no_others(e, expected):
    assert text(e) == expected


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (add(a, W1), "a + W_{1}"),
        (div(add(a, b), div(b, c)), r"\frac{a + b}{\frac{b}{c}}"),
        (mul(div(a, b), c), r"\frac{a}{b} \circ c"),
        (of("square", div(a, b)), r"\left(\frac{a}{b}\right)^{2}"),
        (of("sqrt", add(a, 1)), r"\sqrt{a + 1}"),
        (of("standardize", X, axis=(0,), eps=1e-05),
         r"\frac{X - \operatorname{mean}}{\sqrt{\operatorname{var} + 10^{-5}}}\ (\text{axis=(0,)})"),
        (at(name("dLoss_Z1"), of("matrix_transpose", X)), r"\frac{\partial \mathit{Loss}}{\partial Z_{1}} \, X^{\top}"),
        (of("inv", A), "A^{-1}"),
        (power(a, add(b, 1)), "a^{b + 1}"),
        (power(a, -2), "a^{-2}"),
        (of("abs", a), r"\left\lvert a\right\rvert"),
        (of("vector_norm", a), r"\left\lVert a\right\rVert"),
        (of("floor", a), r"\left\lfloor a\right\rfloor"),
        (call(a), r"\sigma(a)"),
        (of("log", div(a, b)), r"\log\left(\frac{a}{b}\right)"),
        (of("log10", a), r"\log_{10}(a)"),
        (of("log_softmax", a, axis=1), r"\operatorname{log\_softmax}(a, \text{axis=1})"),
        (of("atan2", a, b), r"\operatorname{atan2}(a, b)"),
        (of("where", a, b, c), r"\begin{cases} b & \text{if } a \\ c & \text{otherwise} \end{cases}"),
        (of("less_equal", a, b), r"a \leq b"),
        (of("remainder", a, b), r"a \bmod b"),
        (of("put_diagonal", a, shape=(3,)), r"\text{put }a\text{ on the diagonal of }\operatorname{zeros}\text{(3,)}"),
        (prime(REGISTRY["sigmoid"], name("Z2")), r"\sigma'(Z_{2})"),
        (summed(name("dLoss_Z1"), (1,), 2, True),
         r"\sum_{j} \left(\frac{\partial \mathit{Loss}}{\partial Z_{1}}\right)[\text{:}, [j]]"),
        (mul(number(1.5e-7), a), r"1.5 \cdot 10^{-7} \cdot a"),
    ],
)  # fmt: skip
def test_latex(e, expected):
    assert latex(e) == expected


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (add(a, W1), "<mi>a</mi><mo>+</mo><msub><mi>W</mi><mn>1</mn></msub>"),
        (div(a, b), "<mfrac><mi>a</mi><mi>b</mi></mfrac>"),
        (at(A, B), '<mi>A</mi><mo rspace="0.17em">&#x2062;</mo><mi>B</mi>'),
        (of("matrix_transpose", A), '<msup><mi>A</mi><mi mathvariant="normal">T</mi></msup>'),
        (of("inv", A), "<msup><mi>A</mi><mrow><mo>−</mo><mn>1</mn></mrow></msup>"),
        (of("sqrt", add(a, b)), "<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>"),
        (of("less", a, b), "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
        (name("dLoss_b"), '<mfrac><mrow><mrow><mo form="prefix">∂</mo><mi style="font-style: italic">Loss</mi></mrow>'
         '</mrow><mrow><mrow><mo form="prefix">∂</mo><mi>b</mi></mrow></mrow></mfrac>'),
    ],
)  # fmt: skip
def test_mathml(e, expected):
    assert mathml(e, None) == f"<mrow>{expected}</mrow>"


def test_the_math_element_says_how_it_is_displayed():
    shown = ElementTree.fromstring(mathml(a))
    assert (shown.tag, shown.get("display")) == ("{http://www.w3.org/1998/Math/MathML}math", "block")
    assert ElementTree.fromstring(mathml(a, display="inline")).get("display") == "inline"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("W1", "W_{1}"),
        ("W_1", "W_{1}"),
        ("x_t", "x_{t}"),
        ("Yh", r"\mathit{Yh}"),
        ("x", "x"),
        ("alpha", r"\alpha"),
        ("theta12", r"\theta_{12}"),
        ("Sigma", r"\Sigma"),
        ("σ", r"\sigma"),
        ("conv1", r"\mathit{conv}_{1}"),
        ("hidden_state", r"\mathit{hidden\_state}"),
        ("layers.0.weight", r"\mathit{layers.0.weight}"),
        ("%3", r"\text{\%3}"),
        ("a<b>|&~^\\", r"\text{a$<$b$>$$|$\&\textasciitilde{}\textasciicircum{}\textbackslash{}}"),
        ("größe", r"\text{grö\ss{}e}"),
        ("数", r"\text{U+6570}"),
        ("dLoss_W1", r"\frac{\partial \mathit{Loss}}{\partial W_{1}}"),
        ("dLoss_hidden_state", r"\frac{\partial \mathit{Loss}}{\partial \mathit{hidden\_state}}"),
        ("data_x", r"\mathit{data\_x}"),
    ],
)
def test_names(given, expected):
    assert text(name(given)) == given
    assert latex(name(given)) == expected
    ElementTree.fromstring(mathml(name(given)))


def test_the_gradient_of_any_value_is_a_fraction():
    gradient = derivative("loss", "theta1")
    assert text(gradient) == "dloss_theta1"
    assert latex(gradient) == r"\frac{\partial \mathit{loss}}{\partial \theta_{1}}"


@pytest.mark.parametrize(
    ("x", "plain", "typeset"),
    [
        (3, "3", "3"),
        (-3, "−3", "-3"),
        (0.1, "0.1", "0.1"),
        (1e-05, "1e-05", "10^{-5}"),
        (-2.5e-07, "−2.5e-07", r"-2.5 \cdot 10^{-7}"),
        (1e300, "1e+300", "10^{300}"),
        (float("inf"), "inf", r"\infty"),
        (float("nan"), "nan", r"\mathrm{nan}"),
        (np.float32(0.5), "0.5", "0.5"),
    ],
)
def test_numbers(x, plain, typeset):
    assert text(number(x)) == plain
    assert latex(number(x)) == typeset
    ElementTree.fromstring(mathml(number(x)))


@pytest.mark.parametrize(
    ("formula", "inputs", "expected"),
    [
        ("bell({x})", [add(a, b)], "bell(a + b)"),
        ("{x}³", [add(a, b)], "(a + b)³"),
        ("exp(−{x}²) + {y}", [neg(a), neg(b)], "exp(−(−a)²) + (−b)"),
        ("({x} + {y})", [a, b], "(a + b)"),
        ("{x}**2 * {y}", [add(a, b), add(a, b)], "(a + b)**2 * (a + b)"),
        ("the mean of {x} − {y}", [a, add(b, c)], "the mean of a − (b + c)"),
        ("{x} →", [add(a, b)], "(a + b) →"),
        ("({x}", [a], "(a"),
        ("2π√({x})", [add(a, b)], "2π√(a + b)"),
        ("mod({x}, {y})", [a, b], "mod(a, b)"),
        ("{{{x}}}", [a], "{a}"),
        ("{} if {} else 0", [a, of("less", a, b)], "a if a < b else 0"),
        ("{x}!", [a], "a!"),
    ],
)
def test_templates_of_users(formula, inputs, expected):
    op = declared(formula, len(inputs))
    e = apply(op, inputs, {})
    assert text(e) == expected
    names = [name(x) for x in "pq"[: len(inputs)]]
    assert text(apply(op, names, {})) == op.write([text(x) for x in names], {})
    assert_well_formed(e)


def test_parentheses_of_an_author_around_a_whole_formula_do_not_pile_up():
    wrapped = apply(declared("({x} + {y})", 2), [a, b], {})
    assert text(call(wrapped)) == "σ(a + b)"
    assert text(mul(wrapped, c)) == "(a + b) ∘ c"
    assert latex(div(wrapped, c)) == r"\frac{a + b}{c}"


def test_templates_are_read_once():
    assert parse("{a} + {b}") is parse("{a} + {b}")
    assert text(parse("{a} + {b}²")) == "{a} + {b}²"


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("sigmoid", "σ′(a + b)"),
        ("relu", "relu′(a + b)"),
        ("log", "log′(a + b)"),
    ],
)
def test_primes(op, expected):
    e = prime(REGISTRY[op], add(a, b))
    assert text(e) == expected
    assert text(mul(c, e)) == f"c ∘ {expected}"
    assert_well_formed(e)


@pytest.mark.parametrize("op", ["square", "abs", "sqrt", "log1p"])
def test_only_what_is_written_as_a_function_has_a_prime(op):
    assert prime(REGISTRY[op], a) is None


def test_a_prime_keeps_the_metadata():
    assert text(prime(REGISTRY["elu"], a, {"alpha": 0.5})) == "elu′(a, alpha=0.5)"


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axes", [(0,), (1,), (-1,), (0, 2), (0, 1, 2)])
def test_a_sum_is_what_its_indices_say_in_numpy(axes, keepdims):
    x = np.arange(24.0).reshape(2, 3, 4)
    shown = text(summed(name("x"), axes, 3, keepdims))
    letters, indexed = re.fullmatch(r"Σ(\w+) (x\[.+\])", shown).groups()
    loops = {letter: "ᵢⱼₖ".index(small) for small, letter in zip("ᵢⱼₖ", "ijk") if small in letters}
    source = "sum(" + indexed + "".join(f" for {i} in range({x.shape[axis]})" for i, axis in loops.items()) + ")"
    result = eval(source, {"x": x, "sum": sum})
    np.testing.assert_array_equal(result, x.sum(axis=axes, keepdims=keepdims), strict=True)


@pytest.mark.parametrize(
    ("e", "expected"),
    [
        (summed(name("dLoss_Z1"), (1,), 2, True), "Σⱼ dLoss_Z1[:, [j]]"),
        (summed(a, (0, 1), 2, True), "Σᵢⱼ a[i:i+1, j:j+1]"),
        (summed(mul(a, b), (0, 1), 2, False), "Σᵢⱼ (a ∘ b)[i, j]"),
        (summed(name("i"), (0,), 1, False), "Σⱼ i[j]"),
        (summed(a, (8,), 10, False), "Σᵢ₁ a[:, :, :, :, :, :, :, :, i1, :]"),
        (summed(summed(a, (1,), 2, True), (1,), 2, True), "Σₖ (Σⱼ a[:, [j]])[:, [k]]"),
        (summed(a, (), 2, True), "a"),
        (mul(2, summed(a, (0,), 1, False)), "2·Σᵢ a[i]"),
        (mul(summed(a, (0,), 1, False), b), "(Σᵢ a[i]) ∘ b"),
        (neg(summed(a, (0,), 1, False)), "−Σᵢ a[i]"),
    ],
)
def test_sums(e, expected):
    assert text(e) == expected
    assert_well_formed(e)


def test_a_sum_over_an_axis_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="numbered 0 to 1"):
        summed(a, (2,), 2, True)


# The operations ------------------------------------------------------------------------------------------------------


def assert_well_formed(e):
    shown = ElementTree.fromstring(mathml(e))
    assert {x.tag.rpartition("}")[2] for x in shown.iter()} <= CORE
    counts = {"mfrac": 2, "msup": 2, "msub": 2, "munder": 2}
    assert all(len(x) == counts.get(x.tag.rpartition("}")[2], len(x)) for x in shown.iter())
    source = re.sub(r"\\[{}\\]", "", latex(e))
    depth = 0
    for character in source:
        depth += (character == "{") - (character == "}")
        assert depth >= 0, source
    assert depth == 0, source
    assert source.count(r"\left") == source.count(r"\right")
    assert all(character <= "ÿ" for character in source)


def tried(op):
    """Yield the metadata and the number of inputs of every sample."""
    for sample in op.samples(np.random.default_rng(0)):
        yield len(sample.inputs), {**op.defaults, **sample.params}


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
def test_names_in_a_formula_make_what_the_operation_writes(op):
    for count, params in tried(op):
        names = ["X", "W1", "Yh", *(f"v{i}" for i in range(count))][:count]
        written = (
            op.write(names, params).replace(" @ ", " ").replace("½1", "½·1").replace("½2", "½·2").replace("½0", "½·0")
        )
        if op.name in ("standardize", "put_diagonal"):  # whose last parenthesis is not that of a list of arguments
            written = re.sub(r", ((axis|offset)=.*)\)$", r") (\1)", written)
        assert text(apply(op, [name(x) for x in names], params)) == written


def nested(op):
    for count, params in tried(op):
        inputs = [sub(X, W1), div(a, b), neg(c), *(name(f"v{i}") for i in range(count))][:count]
        yield apply(op, inputs, params)


@pytest.mark.parametrize("op", REGISTRY.values(), ids=REGISTRY)
def test_every_operation_prints_with_formulas_as_inputs(op):
    for e in nested(op):
        assert "X − W1" in text(e) or op.name in ("stack", "where")
        assert_well_formed(e)
        assert_well_formed(mul(e, of("square", e)))


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no LaTeX")
def test_latex_compiles(tmp_path):
    formulas = [e for op in REGISTRY.values() for e in nested(op)] + [e for e, _ in COMPOSED]
    formulas += [name(x) for x in ["%3", "hidden_state", "größe", "数", "a<b>|&~^\\_$#", "θ1", "dLoss_W1"]]
    lines = [rf"$\displaystyle {latex(e)}$" for e in formulas]
    body = "\n\n".join(lines)
    (tmp_path / "all.tex").write_text(
        rf"\documentclass{{article}}\usepackage{{amsmath}}\begin{{document}}{body}\end{{document}}", encoding="utf-8"
    )
    run = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "all.tex"],
        cwd=tmp_path, capture_output=True, encoding="latin-1", timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout[-2000:]


# Meaning -------------------------------------------------------------------------------------------------------------

VALUES = {"x": Fraction(3, 7), "y": Fraction(-5, 2), "z": Fraction(11)}


class Tree:
    """A formula and its value."""

    def __init__(self, e, value):
        self.e = e
        self.value = value

    def __repr__(self):
        return text(self.e)


def combined(op, x, y=None):
    inputs = [x] if y is None else [x, y]
    compute = {
        "add": lambda p, q: p + q,
        "subtract": lambda p, q: p - q,
        "multiply": lambda p, q: p * q,
        "divide": lambda p, q: p / q if q else None,
        "power": lambda p, q: p**q if q.denominator == 1 and abs(q) < 4 and (p or q > 0) else None,
        "negative": lambda p: -p,
    }[op]
    numbers = [t.value for t in inputs]
    value = None if None in numbers else compute(*numbers)
    small = value is not None and max(abs(value.numerator), value.denominator) < 10**60
    return Tree(of(op, *(t.e for t in inputs)), value if small else None)


leaves = st.integers(-9, 9).map(lambda i: Tree(number(i), Fraction(i))) | st.sampled_from("xyz").map(
    lambda s: Tree(name(s, scalar=s == "z"), VALUES[s])
)
trees = st.recursive(
    leaves,
    lambda t: (
        st.builds(combined, st.sampled_from(["add", "subtract", "multiply", "divide", "power"]), t, t)
        | st.builds(combined, st.just("negative"), t)
    ),
    max_leaves=12,
).filter(lambda tree: tree.value is not None)


RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹"


def as_python(source):
    for written, python in (("∘", "*"), ("·", "*"), ("−", "-"), ("^", "**")):
        source = source.replace(written, python)
    return re.sub(f"[{RAISED}]", lambda digit: f"**{RAISED.index(digit[0])}", source).strip()


def evaluated(source):
    return eval(re.sub(r"\d+", r"F(\g<0>)", as_python(source)), {"F": Fraction, **VALUES})


def from_mathml(element):
    inner = [from_mathml(x) for x in element]
    match element.tag.rpartition("}")[2]:
        case "mfrac":
            return f"({inner[0]})/({inner[1]})"
        case "msup":
            return f"{inner[0]}**({inner[1]})"
        case _:
            return (element.text or "") + "".join(inner)


@given(trees)
def test_text_read_as_python_has_the_value_of_the_formula(tree):
    assert evaluated(text(tree.e)) == tree.value


@given(trees)
def test_latex_read_as_python_has_the_value_of_the_formula(tree):
    source = latex(tree.e)
    for written, python in ((r"\left", ""), (r"\right", ""), (r"\circ", "*"), (r"\cdot", "*"), (r"\frac", "")):
        source = source.replace(written, python)
    source = source.replace("}{", ")/(").replace("{", "(").replace("}", ")")
    assert evaluated(source) == tree.value


@given(trees)
def test_mathml_read_as_python_has_the_value_of_the_formula(tree):
    assert evaluated(from_mathml(ElementTree.fromstring(mathml(tree.e)))) == tree.value


@given(trees)
def test_parentheses_that_change_nothing_are_there_for_the_eye(tree):
    """Where Python would read the same without them, they keep signs, quotients or powers from being misread."""
    source = text(tree.e)
    for start, end in pairs(source):
        without = f"{source[:start]} {source[start + 1 : end]} {source[end + 1 :]}"
        content = source[start + 1 : end]
        if read(without) == read(source):
            assert content.startswith("−") or any(sign in content for sign in f"/^{RAISED}")


def pairs(source):
    """Return where parentheses open and close."""
    opened, found = [], []
    for i, character in enumerate(source):
        if character == "(":
            opened.append(i)
        elif character == ")":
            found.append((opened.pop(), i))
    return found


def read(source):
    return ast.dump(ast.parse(as_python(source), mode="eval"))


def test_a_long_chain_prints():
    e = right = name("x0")
    for i in range(1, 5001):
        e = add(e, name(f"x{i}"))
        right = mul(name(f"x{i}"), right)
    assert text(e) == " + ".join(f"x{i}" for i in range(5001))
    assert text(right) == " ∘ ".join(f"x{i}" for i in reversed(range(5001)))
    assert latex(e).count(" + ") == 5000
    assert len(ElementTree.fromstring(mathml(e))[0]) == 10001


def test_a_shared_part_is_written_once(monkeypatch):
    written = []
    monkeypatch.setattr(Writer, "_infix", lambda self, e, left, right: written.append(e) or Piece("…"))
    e = name("x")
    for _ in range(60):  # as a tree it has 2⁶⁰ leaves
        e = add(e, e)
    text(e)
    assert len(written) == 60
