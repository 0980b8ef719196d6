"""Products with the Jacobian and the Hessian, checked against each other and against finite differences."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_bc as tg
from tinygrad_bc.errors import DTypeError, GradientError, GradientWarning, ShapeError


def mixed(a, b):
    """Two outputs of two inputs, with products, powers, a reduction, broadcasting and reuse."""
    c = tg.tanh(a @ b) * a.sum(axis=1, keepdims=True)
    return c, (c**2).sum(axis=0) + tg.exp(-b[0] * a[0, 0])


def scalar(a, b):
    first, second = mixed(a, b)
    return first.sum() + (second * second).mean()


A = np.random.default_rng(0).normal(size=(3, 2))
B = np.random.default_rng(1).normal(size=(2, 4))


def numeric_jacobian(func, xs, step=1e-6):
    """Central differences, with NumPy alone."""
    blocks = []
    for j, x in enumerate(xs):
        columns = []
        for i in range(x.size):
            shift = np.zeros(x.shape)
            shift.flat[i] = step

            def at(sign, j=j, shift=shift):
                return func(*[tg.tensor(z + sign * shift if k == j else z) for k, z in enumerate(xs)]).data

            columns.append((at(1) - at(-1)) / (2 * step))
        blocks.append(np.stack(columns, axis=-1).reshape(*columns[0].shape, *x.shape))
    return blocks


def test_jacobian_agrees_with_finite_differences():
    computed = tg.jacobian(mixed, (A, B))
    for i in range(2):
        expected = numeric_jacobian(lambda a, b, i=i: mixed(a, b)[i], [A, B])
        for j in range(2):
            assert computed[i][j].shape == expected[j].shape
            np.testing.assert_allclose(computed[i][j].data, expected[j], rtol=1e-6, atol=1e-8)


def test_rows_and_columns_are_the_same_matrix():
    def wide(x):
        return tg.concatenate([x**k for k in (1, 2, 3)])

    x = np.array([0.5, -1.5])  # 6 outputs of 2 inputs: by columns
    by_columns = tg.jacobian(wide, x).data
    by_rows = np.stack([tg.vjp(wide, x, unit)[1].data for unit in np.eye(6)])
    np.testing.assert_allclose(by_columns, by_rows, rtol=1e-14)
    np.testing.assert_allclose(by_columns, np.concatenate([np.diag(k * x ** (k - 1)) for k in (1, 2, 3)]), rtol=1e-14)


def test_products_are_products_with_the_jacobian():
    rng = np.random.default_rng(2)
    J = tg.jacobian(mixed, (A, B))
    outputs, _ = tg.vjp(mixed, (A, B), tuple(rng.normal(size=y.shape) for y in mixed(tg.tensor(A), tg.tensor(B))))
    us = tuple(rng.normal(size=y.shape) for y in outputs)
    vs = (rng.normal(size=A.shape), rng.normal(size=B.shape))
    _, pulled = tg.vjp(mixed, (A, B), us)
    again, pushed = tg.jvp(mixed, (A, B), vs)
    for j, v in enumerate(vs):
        expected = sum(np.tensordot(us[i], J[i][j].data, us[i].ndim) for i in range(2))
        np.testing.assert_allclose(pulled[j].data, expected, rtol=1e-12)
        assert pulled[j].shape == v.shape
    for i, u in enumerate(us):
        expected = sum(np.tensordot(J[i][j].data, vs[j], 2) for j in range(2))
        np.testing.assert_allclose(pushed[i].data, expected, rtol=1e-12)
        assert pushed[i].shape == u.shape
        np.testing.assert_array_equal(again[i].data, outputs[i].data)
    # ⟨u, Jv⟩ = ⟨Jᵀu, v⟩
    assert sum((u * p.data).sum() for u, p in zip(us, pushed)) == pytest.approx(
        sum((p.data * v).sum() for p, v in zip(pulled, vs)), rel=1e-12
    )


def test_hessian_is_symmetric_and_agrees_with_its_product_and_with_finite_differences():
    H = tg.hessian(scalar, (A, B))
    np.testing.assert_allclose(H[0][1].data, np.moveaxis(H[1][0].data, (0, 1), (2, 3)), rtol=1e-11, atol=1e-12)
    rng = np.random.default_rng(3)
    vs = (rng.normal(size=A.shape), rng.normal(size=B.shape))
    value, product = tg.hvp(scalar, (A, B), vs)
    assert value.item() == scalar(tg.tensor(A), tg.tensor(B)).item()
    for i in range(2):
        expected = sum(np.tensordot(H[i][j].data, vs[j], 2) for j in range(2))
        np.testing.assert_allclose(product[i].data, expected, rtol=1e-11)
    for i in range(2):
        numeric = numeric_jacobian(lambda a, b, i=i: tg.value_and_grad(scalar, (0, 1))(a, b)[1][i], [A, B])
        for j in range(2):
            np.testing.assert_allclose(H[i][j].data, numeric[j], rtol=1e-5, atol=1e-6)


def test_closed_forms():
    x = np.array([1.0, 2.0, 3.0])
    M = np.random.default_rng(4).normal(size=(3, 3))
    np.testing.assert_allclose(tg.jacobian(lambda x: M @ x, x).data, M)
    np.testing.assert_allclose(tg.hessian(lambda x: x @ M @ x, x).data, M + M.T, rtol=1e-14)
    np.testing.assert_allclose(tg.hessian(lambda x: tg.log(x).sum(), x).data, np.diag(-1 / x**2), rtol=1e-14)
    value, gradient = tg.value_and_grad(lambda x, k: (x**k).sum())(x, 3)
    assert value.item() == 36.0
    np.testing.assert_allclose(gradient.data, 3 * x**2)
    third = tg.jacobian(lambda x: tg.hessian(lambda y: (y**4).sum(), x, create_graph=True).sum(), x)
    np.testing.assert_allclose(third.data, 24 * x, rtol=1e-14)


def test_derivatives_of_derivatives_reach_the_tensors_they_were_taken_at():
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    _, product = tg.jvp(lambda x: x**3, x, [1.0, 1.0], create_graph=True)
    product.sum().backward()
    np.testing.assert_allclose(x.grad.data, 6 * x.data)
    weight = tg.tensor([3.0], requires_grad=True)
    (gradient,) = tg.grad(tg.jacobian(lambda x: weight * x**2, x, create_graph=True).sum(), weight)
    np.testing.assert_allclose(gradient.data, [2 * 3.0])


def test_one_tensor_given_twice_is_two_inputs():
    x = tg.tensor([2.0], requires_grad=True)
    for create_graph in (False, True):
        first, second = tg.jacobian(lambda a, b: a * b * b, (x, x), create_graph=create_graph)
        assert (first.item(), second.item()) == (4.0, 8.0)


def test_forms_of_inputs_and_outputs():
    assert isinstance(tg.jacobian(tg.exp, [1.0]), tg.Tensor)
    assert isinstance(tg.jacobian(tg.exp, ([1.0],)), tuple)
    assert tg.jacobian(lambda x: (x, x.sum()), [1.0, 2.0])[1].shape == (2,)
    assert tg.jacobian(lambda x: x.sum(), 3.0).shape == ()
    assert tg.jacobian(lambda x: x, np.zeros((0, 2))).shape == (0, 2, 0, 2)
    assert tg.jacobian(lambda x: x * 2, np.ones(2, np.float32)).dtype == np.float32
    np.testing.assert_array_equal(tg.jacobian(lambda x, y: x, ([1.0], [2.0]))[1].data, [[0.0]])  # y is not used
    with pytest.warns(GradientWarning, match="not computed from its inputs") as caught:
        np.testing.assert_array_equal(tg.jacobian(lambda x: tg.tensor(x.data**2), [2.0]).data, [[0.0]])
    assert caught[0].filename == __file__
    for derivative in (tg.value_and_grad(tg.compile(tg.square)), lambda x: tg.hvp(tg.compile(tg.square), x)):
        with pytest.warns(GradientWarning, match=r"tg\.compile returns has no history") as caught:
            np.testing.assert_array_equal(derivative([3.0])[1].data, [0.0])  # 6 and 2 without compiling
        assert caught[0].filename == __file__
    np.testing.assert_array_equal(tg.hessian(lambda x: x.sum(), [2.0, 1.0]).data, np.zeros((2, 2)))
    with tg.no_grad():  # a derivative is asked for all the same
        np.testing.assert_array_equal(tg.jacobian(lambda x: x * x, [2.0]).data, [[4.0]])
        at = tg.tensor([2.0], requires_grad=True)
        assert tg.vjp(lambda x: x * x, at, create_graph=True)[1].requires_grad
    _, gradients = tg.value_and_grad(lambda x, y: (x * y).sum(), argnums=(1, 0))([2.0], [3.0])
    assert [g.item() for g in gradients] == [2.0, 3.0]
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    tg.jacobian(tg.exp, x), tg.hessian(lambda x: x.sum(), x), tg.jvp(tg.exp, x, [1.0, 1.0])
    assert x.grad is None
    outputs, _ = tg.vjp(tg.exp, x, [1.0, 1.0])
    assert not outputs.requires_grad


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: tg.jacobian(tg.exp, [1, 2]), DTypeError, "operand 1 .* int64.* decimal point|is int64"),
        (lambda: tg.vjp(tg.exp, [1.0, 2.0], [1.0]), ShapeError, r"v has the shapes \[\(1,\)\].*\[\(2,\)\]"),
        (lambda: tg.vjp(tg.exp, [1.0, 2.0]), GradientError, r"vjp: a single number was expected, there is \(2,\)"),
        (lambda: tg.jvp(lambda x: x.sum(), [1.0, 2.0]), GradientError, "jvp: a single number"),
        (lambda: tg.hessian(tg.exp, [1.0, 2.0]), GradientError, "hessian: a single number"),
        (lambda: tg.hvp(tg.exp, [1.0, 2.0], [1.0, 1.0]), GradientError, "hvp: a single number"),
        (lambda: tg.value_and_grad(tg.exp)([1.0, 2.0]), GradientError, "value_and_grad: a single number"),
        (lambda: tg.value_and_grad(tg.exp, 1)([1.0]), GradientError, "argnums=1, but 1 arguments"),
        (lambda: tg.jacobian(tg.tensor([1.0]), [1.0]), DTypeError, "a function of the inputs, got its result"),
        (lambda: tg.vjp(tg.add, [tg.tensor([1.0]), tg.tensor([1.0])]), DTypeError, "given as a tuple"),
        (lambda: tg.jacobian(lambda x: 3.0, [1.0]), DTypeError, "must return a tensor .* it returned float"),
    ],
)
def test_misuse_is_explained_with_the_users_line(call, error, match):
    with pytest.raises(error, match=match) as caught:
        call()
    assert f"{__file__}:" in str(caught.value)


UNARY = [tg.tanh, tg.exp, tg.sigmoid, lambda x: x * x, lambda x: 0.5 * x + 1.0, lambda x: tg.log(x * x + 1.0)]
BINARY = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b,
    lambda a, b: a / (b * b + 1.0),
    lambda a, b: a * b.sum(),
    lambda a, b: tg.maximum(a, b),
    lambda a, b: a * tg.relu(b - 0.1),
]


@st.composite
def random_graphs(draw):
    """A list of steps, each an operation on values made before: diamonds and reuse come by themselves."""
    steps = []
    for count in range(1, draw(st.integers(2, 7)) + 1):
        if draw(st.booleans()):
            steps.append((draw(st.integers(0, len(UNARY) - 1)), draw(st.integers(0, count - 1)), None))
        else:
            steps.append(
                (
                    draw(st.integers(0, len(BINARY) - 1)),
                    draw(st.integers(0, count - 1)),
                    draw(st.integers(0, count - 1)),
                )
            )
    return steps, draw(st.integers(0, 2**16))


@settings(max_examples=60, deadline=None)
@given(random_graphs())
def test_every_kind_of_derivative_agrees_on_random_graphs(graph):
    steps, seed = graph
    rng = np.random.default_rng(seed)
    x, u, v = rng.normal(size=3), rng.normal(size=3), rng.normal(size=3)

    def function(x):
        values = [x]
        for op, i, j in steps:
            new = UNARY[op](values[i]) if j is None else BINARY[op](values[i], values[j])
            values.append(tg.tanh(new))  # so that nothing explodes
        return values[-1] + values[len(values) // 2]

    def total(x):
        return (function(x) * u).sum()

    J = tg.jacobian(function, x).data
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(tg.vjp(function, x, u)[1].data, u @ J, **close)
    np.testing.assert_allclose(tg.jvp(function, x, v)[1].data, J @ v, **close)
    np.testing.assert_allclose(tg.value_and_grad(total)(x)[1].data, u @ J, **close)
    H = tg.hessian(total, x).data
    np.testing.assert_allclose(H, H.T, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(tg.hvp(total, x, v)[1].data, H @ v, rtol=1e-8, atol=1e-11)
    _, through = tg.jvp(lambda x: tg.grad(total(x), x, create_graph=True)[0], x, v)
    np.testing.assert_allclose(through.data, H @ v, rtol=1e-8, atol=1e-11)
