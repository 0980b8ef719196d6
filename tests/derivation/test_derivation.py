"""Derivations: what they say, that it is right, and that nothing wrong is shown."""

import importlib.util
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given

import tinygrad_bc as tg
from tinygrad_bc.derivation.derivation import Derivation, derive
from tinygrad_bc.derivation.printing import latex, mathml, text
from tinygrad_bc.errors import GradientError, RenderError
from tinygrad_bc.primitive import REGISTRY
from tinygrad_bc.record import Graph

_spec = importlib.util.spec_from_file_location("random_graphs", Path(__file__).parents[1] / "test_random_graphs.py")
random_graphs = sys.modules["random_graphs"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(random_graphs)


def leaf(*shape, seed=0, name=None):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True, name=name)


def classifier():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(2, 5)), np.array([[0.0, 1.0, 1.0, 0.0, 1.0]])
    W1, b1, W2, b2 = leaf(3, 2), leaf(3, 1, seed=1), leaf(1, 3, seed=2), leaf(1, 1, seed=3)
    Z1 = W1 @ X + b1
    A1 = tg.relu(Z1)
    Z2 = W2 @ A1 + b2
    Yh = tg.sigmoid(Z2)
    Loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
    return Loss, W1


def lines(equations):
    return [text(line.equation) for line in equations]


def composed(output, wrt=None):
    return lines((output if isinstance(output, Derivation) else derive(output, wrt)).composed)


# --- what they say -------------------------------------------------------------------------------


def test_the_classifier_is_derived_as_one_would_on_paper():
    Loss, _ = classifier()
    assert str(derive(Loss)) == (
        "Loss and its derivatives with respect to W1, b1, W2, b2\n"
        "\n"
        "forward\n"
        "  Z1 = W1 X + b1                                     3×5\n"
        "  A1 = relu(Z1)                                      3×5\n"
        "  Z2 = W2 A1 + b2                                    1×5\n"
        "  Yh = σ(Z2)                                         1×5\n"
        "  Loss = −mean(Y ∘ log(Yh) + (1 − Y) ∘ log(1 − Yh))  scalar\n"
        "\n"
        "the chain rule, step by step\n"
        "  dLoss_Yh = ((1 − Y) / (1 − Yh) − Y / Yh) / n  1×5\n"
        "  dLoss_Z2 = dLoss_Yh ∘ σ′(Z2)                  1×5\n"
        "  dLoss_A1 = W2ᵀ dLoss_Z2                       3×5\n"
        "  dLoss_Z1 = dLoss_A1 ∘ relu′(Z1)               3×5\n"
        "  dLoss_b2 = Σⱼ dLoss_Z2[:, [j]]                1×1\n"
        "  dLoss_W2 = dLoss_Z2 A1ᵀ                       1×3\n"
        "  dLoss_b1 = Σⱼ dLoss_Z1[:, [j]]                3×1\n"
        "  dLoss_W1 = dLoss_Z1 Xᵀ                        3×2\n"
        "\n"
        "where\n"
        "  σ′(Z2) = Yh ∘ (1 − Yh)          1×5\n"
        "  relu′(Z1) = 1 if Z1 > 0 else 0  3×5\n"
        "\n"
        "composed and simplified\n"
        "  dLoss_Z2 = (Yh − Y) / n                1×5\n"
        "  dLoss_b2 = Σⱼ dLoss_Z2[:, [j]]         1×1\n"
        "  dLoss_W2 = dLoss_Z2 A1ᵀ                1×3\n"
        "  dLoss_Z1 = (W2ᵀ dLoss_Z2) ∘ relu′(Z1)  3×5\n"
        "  dLoss_b1 = Σⱼ dLoss_Z1[:, [j]]         3×1\n"
        "  dLoss_W1 = dLoss_Z1 Xᵀ                 3×2\n"
        "\n"
        "n = 5, the number of elements averaged.\n"
        "\n"
        "1 − Y was not recorded: it is a constant that holds exactly these numbers."
    )


def test_one_derivative_is_one_formula():
    Loss, W1 = classifier()
    assert composed(Loss, W1) == ["dLoss_W1 = ((W2ᵀ ((Yh − Y) / n)) ∘ relu′(Z1)) Xᵀ"]


def test_a_skip_connection_and_a_shared_weight():
    W, x = leaf(3, 3, name="W"), leaf(3, 1, seed=1, name="x")
    H = tg.tanh(W @ x)
    total = (W @ H + x).sum()  # W is used twice, and x
    assert lines(derive(total).steps) == [
        "u1 = broadcast(1, (3, 1))",
        "dtotal_H = Wᵀ u1",
        "u2 = dtotal_H ∘ tanh′(W x)",
        "dtotal_x = 1 + Wᵀ u2",
        "dtotal_W = u1 Hᵀ + u2 xᵀ",
    ]


def test_a_mini_batch_is_taken_out_of_the_data():
    X, W = np.random.default_rng(0).normal(size=(8, 3)), leaf(3, 1, name="W")
    X = tg.tensor(X, name="X", requires_grad=True)
    Loss = (X[2:5] @ W).mean()
    assert composed(Loss, X) == ["dLoss_X = put (broadcast(1 / n, (3, 1)) Wᵀ) at [2:5] of zeros(8, 3)"]


def test_a_second_derivative():
    x = tg.tensor(2.0, requires_grad=True, name="x")
    (slope,) = tg.grad(x**3, x, create_graph=True)
    slope.name = "slope"
    assert composed(slope) == ["dslope_x = 6·x"]


def test_softmax_and_cross_entropy_meet():
    scores = leaf(4, 3, name="scores")
    targets = np.eye(3)[[0, 2, 1, 1]]
    Loss = -(targets * tg.log_softmax(scores, 1)).sum() / 4
    assert composed(Loss) == [
        "dLoss_scores = (sum(targets, axis=1, keepdims=True) ∘ softmax(scores, axis=1) − targets) / 4",
    ]
    derived = derive(Loss).composed[-1].value
    np.testing.assert_allclose(derived.data, (tg.softmax(scores, 1).data - targets) / 4, atol=1e-15)


def test_a_loss_whose_name_begins_with_a_small_letter_and_one_without_a_name():
    w = leaf(3, name="w")
    loss = (w * w).sum()
    assert composed(loss) == ["dloss_w = 2·w"]
    assert composed((w * w).sum()) == ["dLoss_w = 2·w"]
    assert r"\frac{\partial \mathit{loss}}{\partial w}" in derive(loss).latex()


def test_n_is_the_number_of_elements_that_a_mean_is_taken_of_and_no_other_number():
    x, n = leaf(2, 3, name="x"), leaf(3, seed=1, name="n")
    Loss = (x**3 * n).mean() + (2 * x[0] * 6).mean()
    derivation = derive(Loss, x)
    assert [(count.name, count.value.item()) for count in derivation.counts] == [("n2", 3), ("n3", 6)]
    assert "12" in composed(Loss, x)[-1]
    assert "3" in composed(Loss, x)[-1]


def test_what_a_constant_was_made_of_is_recognised_only_where_the_numbers_say_so():
    Y = tg.tensor([[0.0, 1.0, 1.0]], name="Y")
    p = tg.tensor([[0.2, 0.3, 0.4]], requires_grad=True, name="p")
    total = ((1 - Y) * p * Y).sum()
    assert composed(total) == ["dtotal_p = Y ∘ (1 − Y)"]
    other = tg.tensor([[1.0, 0.0, 0.5]])
    assert composed((other * p + Y).sum()) == ["dLoss_p = other"]
    assert composed(((1 - Y) * p).sum()) == ["dLoss_p = %0"]
    assert composed(derive(((1 - Y) * p).sum(), names={"Y": Y})) == ["dLoss_p = 1 − Y"]
    halves = tg.tensor([[0.5, 0.5, 0.5]], name="halves")
    assert "1 − halves" not in str(derive(((1 - halves) * p + halves).sum()))


def test_names_given():
    a, b = leaf(3), leaf(3, seed=1)
    values = [a * b]
    assert lines(derive(values[0].sum(), names={"left": a, "right": b, "both": values[0]}).steps) == [
        "dLoss_both = broadcast(1, (3))".replace("(3)", "(3,)"),
        "dLoss_left = dLoss_both ∘ right",
        "dLoss_right = dLoss_both ∘ left",
    ]


# --- in all formats ------------------------------------------------------------------------------


def test_formats(tmp_path):
    derivation = derive(classifier()[0])
    assert r"\frac{\partial \mathit{Loss}}{\partial Z_{2}} &= \frac{\mathit{Yh} - Y}{n} \\" in derivation.latex()
    assert derivation.latex().count(r"\begin{align*}") == 4
    ElementTree.fromstring(f"<div>{derivation.mathml()}</div>")
    for suffix in ("txt", "tex", "html"):
        written = derivation.save(tmp_path / f"loss.{suffix}").read_text(encoding="utf-8")
        assert "Loss" in written
    assert set(derivation._repr_mimebundle_()) == {"text/html", "text/latex", "text/plain"}
    with pytest.raises(RenderError, match="cannot tell the format"):
        derivation.save(tmp_path / "loss.doc")


# --- they are right ------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in REGISTRY.values() if op.differentiable], ids=lambda op: op.name)
def test_every_operation(op, weighted):
    derived = 0
    for sample in op.samples(np.random.default_rng(0)):
        output = weighted(op, sample)
        if output is None:
            continue
        derivation = derive(output)
        derived += 1
        wrt = derivation.backward.wrt
        last = {text(line.equation).split(" = ")[0]: line.value for line in derivation.composed}
        for value, expected in zip(wrt, tg.grad(output, wrt)):
            found = last[derivation.backward.name(value)]
            scale = np.abs(expected.data).max(initial=0)
            np.testing.assert_allclose(found.data, expected.data, rtol=1e-9, atol=1e-11 * scale)
        for line in [line for several in derivation.sections.values() for line in several]:
            ElementTree.fromstring(mathml(line.equation))
            assert latex(line.equation).count("{") == latex(line.equation).count("}")
        for value in derivation.backward.cotangents:
            assert text(derivation.line(value)).startswith(f"{derivation.backward.name(value)} = ")
    assert derived


@given(random_graphs.graphs())
@random_graphs.repeatable(60)
def test_random_graphs_at_other_data(graph):
    """A formula is more than the numbers it was found with: put other data in."""

    def loss(arrays):
        leaves = [tg.tensor(x, requires_grad=True) for x in arrays]
        values = random_graphs.evaluated(graph, leaves, random_graphs.OURS)
        return leaves, random_graphs.loss_of(graph, values, lambda x: x.sum())

    leaves, output = loss(graph.leaves)
    derivation = derive(output)
    others, other = loss([0.999 * x + 1e-4 for x in graph.leaves])
    data = {old: new.data for old, new in zip(leaves, others)}
    expected = dict(zip(leaves, tg.grad(other, others, allow_unused=True)))
    results = {text(line.equation).split(" = ")[0]: line.value for line in derivation.composed}
    for value in derivation.backward.wrt:
        record = Graph(results[derivation.backward.name(value)])
        (found,) = record.evaluate({x: data[x] for x in leaves if x in record})
        scale = np.abs(expected[value].data).max(initial=0)
        # What is a constant in the record, a sign or a mask, may have been another one at the other data.
        np.testing.assert_allclose(found, expected[value].data, rtol=1e-7, atol=1e-8 * scale)


def test_an_operation_declared_elsewhere():
    @tg.primitive(
        formula="bell({x})",
        vjps=[lambda g, y, x: -2 * x * y * g],
        samples=lambda rng: [tg.Sample(rng.normal(size=3))],
    )
    def bell(x):
        """Gaussian bell, exp(-x²)."""
        return np.exp(-x * x)

    try:
        x = leaf(3, name="x")
        total = bell(x).sum()
        derivation = derive(total)
        assert lines(derivation.steps) == ["dtotal_x = bell′(x)"]
        assert lines(derivation.slopes) == ["bell′(x) = −2·x ∘ bell(x)"]
    finally:
        del REGISTRY["bell"]


# --- nothing wrong is shown ----------------------------------------------------------------------


def test_a_rule_that_says_something_else_for_tensors_is_refused(monkeypatch):
    def rule(g, y, x):
        return g * (y if isinstance(g, np.ndarray) else 2 * y)

    monkeypatch.setattr(REGISTRY["exp"], "vjps", (rule,))
    x = leaf(3, name="x")
    total = tg.exp(x).sum()
    with pytest.raises(GradientError, match="the formula of dtotal_x does not evaluate to what was recorded"):
        derive(total)


def test_a_hook_that_changes_a_gradient_is_not_part_of_a_formula():
    x = leaf(3, name="x")
    y = x * 2
    y.register_hook(lambda g: g * 10)
    with pytest.raises(GradientError, match="A hook"):
        derive(y.sum())


def test_terms_that_cancel_are_judged_by_their_size():
    layer, norm = tg.nn.Linear(4, 5, generator=0), tg.nn.BatchNorm1d(5)
    loss = (norm(layer(np.random.default_rng(0).normal(size=(10, 4)))) ** 3).sum()
    derivation = derive(loss)  # the bias has no effect: its gradient is 0, but for rounding
    assert "dloss_bias" in str(derivation)
    assert "dloss_bias" in derivation.source()


def test_the_users_record_is_left_as_it_was():
    x = leaf(3, name="x")
    wave = tg.sin(x * 2)
    fall = tg.exp(-(x * x))
    y = (wave * fall + tg.sin(x * 2)).sum()
    before = str(tg.graph(y))
    str(derive(y))
    derive(y).source()
    assert str(tg.graph(y)) == before


def test_what_has_no_derivative_is_refused():
    x = leaf(3, name="x")
    with pytest.raises(GradientError, match="single number"):
        derive(x * 2)
    with pytest.raises(GradientError, match="does not require a gradient"):
        derive(x.detach().sum())


def test_a_network_of_ten_thousand_operations():
    x = leaf(3, name="x")
    y = x
    for _ in range(2_500):
        y = tg.tanh(y * 0.9 + 0.1) + x
    derivation = Derivation(y.sum())
    assert len(derivation.composed) > 1
