"""What an expert would object to in a derivation: names lost, factors spread, numbers that are data, digits lost."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, GradientError


def leaf(*shape, name, seed=0):
    return tg.tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True, name=name)


def composed(output, **kwargs):
    return [str(line) for line in tg.derive(output, **kwargs).composed]


def loaded(derivation):
    names = {}
    exec(derivation.source(), names)
    return names["value_and_grad"]


def test_cross_entropy_is_softmax_minus_one_hot():
    logits, t = leaf(4, 3, name="logits"), np.array([0, 2, 1, 1])
    loss = tg.nn.functional.cross_entropy(logits, t)
    assert composed(loss, names={"t": t}) == [
        "dloss_logits = (softmax(logits, axis=1) − (put 1 at [arange(4), t] of zeros(4, 3))) / n"
    ]
    derived = tg.derive(loss).composed[-1].value
    np.testing.assert_allclose(derived.data, (tg.softmax(logits, 1).data - np.eye(3)[t]) / 4, atol=1e-16)


def test_a_derivative_that_is_handed_on_twice_keeps_its_name():
    X, T, W = tg.tensor(np.ones((5, 3)), name="X"), tg.tensor(np.zeros((5, 3)), name="T"), leaf(3, 3, name="W")
    H1 = tg.tanh(X @ W)
    H2 = tg.tanh(H1 @ W) + H1
    loss = ((H2 - T) ** 2).mean()
    lines = composed(loss)
    assert lines[0] == "dloss_H2 = 2·(H2 − T) / n"
    assert lines[1] == "u1 = dloss_H2 ∘ (1 − tanh(H1 W)²)"
    assert not any("/ 2" in line for line in lines)


def test_a_mean_over_some_axes_needs_no_broadcasting():
    T, logits = tg.tensor(np.eye(3)[[0, 1, 2, 1]], name="T"), leaf(4, 3, name="logits")
    p = tg.softmax(logits, 1)
    loss = -(T * tg.log(p)).sum(dim=1).mean()
    derivation = tg.derive(loss)
    assert str(derivation.steps[0]) == "dloss_p = −T / (n·p)"
    assert "broadcast" not in derivation.source() + str(derivation)


def test_a_number_that_is_chosen_is_not_stretched():
    margin = leaf(5, name="margin")
    loss = tg.relu(1 - margin).mean()
    assert "broadcast" not in tg.derive(loss).source()


def test_n_follows_the_array_that_is_averaged_even_where_another_is_as_long():
    X, y = tg.tensor(np.random.default_rng(1).normal(size=(4, 4)), name="X"), tg.tensor(np.ones((1, 4)), name="y")
    W = leaf(1, 4, name="W")

    def loss():
        errors = (W @ X - y) ** 2
        return errors.sum(dim=0).mean()

    value_and_grad = loaded(tg.derive(loss()))
    X = tg.tensor(np.random.default_rng(2).normal(size=(4, 9)), name="X")  # more samples, not more features
    y = tg.tensor(np.ones((1, 9)), name="y")
    again = loss()
    value, gradients = value_and_grad(X.data, y.data, W.data)
    np.testing.assert_allclose(value, again.item())
    np.testing.assert_allclose(gradients["W"], tg.grad(again, W)[0].data)


def test_data_are_arguments_however_few():
    E, w = leaf(7, 3, name="E"), leaf(3, name="w")
    ids = np.array([1, 2])
    loss = ((E[ids] @ w) ** 2).sum()
    value_and_grad = loaded(tg.derive(loss))
    more = np.array([3, 3, 0, 6])
    expected = tg.grad(((E[more] @ w) ** 2).sum(), [E, w])
    _, gradients = value_and_grad(more, E.data, w.data)
    np.testing.assert_allclose(gradients["E"], expected[0].data)
    np.testing.assert_allclose(gradients["w"], expected[1].data)


def test_a_product_of_two_vectors_is_a_number():
    x, w = tg.tensor([1.0, 2.0, 3.0], name="x"), leaf(3, name="w")
    loss = (x @ w - 1) ** 2
    assert composed(loss) == ["dloss_w = 2·(xᵀ w − 1)·x"]
    assert "reshape" not in tg.derive(loss).source()


def test_a_constant_of_one_number_is_no_factor():
    x = leaf(3, name="x")
    (first,) = tg.grad((x**3).sum(), x, create_graph=True)
    assert "36 * x**3" in tg.derive((first**2).sum()).source()


def test_a_root_has_no_prime():
    x = tg.tensor([1.0, 4.0], requires_grad=True, name="x")
    assert "′" not in str(tg.derive(tg.sqrt(x + 1).sum() + tg.abs(x).sum()))


def test_a_division_stays_a_division():
    Q, K, V = leaf(3, 3, name="Q"), leaf(3, 3, name="K", seed=1), tg.tensor(np.eye(3) + 1, name="V")
    A = tg.softmax(Q @ K.T / np.sqrt(3), dim=-1)
    shown = str(tg.derive(((A @ V) ** 2).mean()))
    assert "/ 1.7320508075688772" in shown.partition("composed")[2]
    assert "0.577" not in shown


def test_one_minus_sigmoid_does_not_lose_the_digits_of_sigmoid_of_minus():
    z = tg.tensor([-800.0, 0.0, 40.0], requires_grad=True, name="z")
    loss = -tg.nn.functional.logsigmoid(z).sum()
    assert composed(loss) == ["dloss_z = −σ(−z)"]
    _, gradients = loaded(tg.derive(loss))(z.data)
    np.testing.assert_allclose(gradients["z"], tg.grad(loss, z)[0].data, rtol=1e-14)


def test_an_output_without_a_name_is_the_loss():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    derivation = tg.derive((x * x).sum())
    assert str(derivation.forward[0]) == "Loss = sum(x ∘ x)"
    assert "return Loss\n" in derivation.source()


def test_an_output_that_is_a_leaf():
    x = tg.tensor(3.0, requires_grad=True, name="x")
    assert composed(x) == ["dx_x = 1"]
    value, gradients = loaded(tg.derive(x))(np.array(5.0))
    assert (value, gradients["x"]) == (5.0, 1.0)
    assert "x" in tg.explain(x).html


def test_mistakes_are_explained():
    x = tg.tensor([1.0, 2.0], requires_grad=True, name="x")
    y = x * 2
    with pytest.raises(GradientError, match=r"y has shape \(2,\): only a single number has a gradient.*y\[0\]"):
        tg.derive(y)
    with pytest.raises(ArgumentError, match=r"names maps names to values.*\['x'\]"):
        tg.derive(y.sum(), names=["x"])
    with pytest.raises(tg.errors.DTypeError, match="derive: expected a tensor"):
        tg.derive(3.0)
