"""The largest eigenvalues of Hessians, against NumPy's of the whole matrix."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ArgumentError, GradientError, LinAlgError
from tinygrad_bc.spectrum import BASIS, lanczos, largest_hessian_eigenvalues


def symmetric(eigenvalues, seed=0):
    """Return a matrix that has exactly these eigenvalues, but for rounding."""
    turned = np.linalg.qr(np.random.default_rng(seed).normal(size=(len(eigenvalues),) * 2))[0]
    return turned @ np.diag(eigenvalues) @ turned.T


def quadratic(matrix):
    x = tg.tensor(np.random.default_rng(1).normal(size=len(matrix)), requires_grad=True)
    return (lambda: x @ (matrix @ x) / 2), [x]


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [3.0],
        [-1.0, -2.0, -5.0],  # the largest is not the largest in size
        [7.0, 7.0, 7.0, 1.0, -9.0],  # one basis would find 7 once
        [0.0, 0.0, 0.0],
        [1e6, 1.0, 1e-6, -1e3],
        np.linspace(-3, 5, 200),  # more than a basis holds, and close together
    ],
)
def test_quadratics(eigenvalues):
    loss_fn, parameters = quadratic(symmetric(eigenvalues))
    k = min(4, len(eigenvalues))
    found = largest_hessian_eigenvalues(loss_fn, parameters, k, generator=0)
    expected = np.sort(eigenvalues)[::-1][:k]
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-10 * np.abs(eigenvalues).max())
    assert (np.diff(found) <= 0).all()


@pytest.fixture
def network():
    rng = np.random.default_rng(3)
    X, Y = rng.normal(size=(3, 40)), rng.integers(0, 2, (1, 40))
    shapes = {"W1": (5, 3), "b1": (5, 1), "W2": (1, 5), "b2": ()}
    parameters = [tg.tensor(rng.normal(size=s), requires_grad=True, name=n) for n, s in shapes.items()]

    def loss(W1, b1, W2, b2):
        return tg.binary_cross_entropy_with_logits(W2 @ tg.tanh(W1 @ X + b1) + b2, Y.astype(float))

    return loss, parameters


def whole_hessian(loss, parameters):
    blocks = tg.hessian(loss, tuple(parameters))
    sizes = [p.data.size for p in parameters]
    return np.block([[b.data.reshape(n, m) for b, m in zip(row, sizes)] for row, n in zip(blocks, sizes)])


def test_a_network_against_the_whole_hessian(network):
    loss, parameters = network
    expected = np.linalg.eigvalsh(whole_hessian(loss, parameters))[::-1]
    assert expected[-1] < 0 < expected[0]
    for k in (1, 3, len(expected)):
        found = largest_hessian_eigenvalues(lambda: loss(*parameters), parameters, k, generator=0)
        np.testing.assert_allclose(found, expected[:k], rtol=0, atol=1e-8)


def test_lanczos_on_hvp(network):
    loss, parameters = network
    sizes = np.cumsum([p.data.size for p in parameters])

    def product(v):
        pieces = [piece.reshape(p.shape) for piece, p in zip(np.split(v, sizes[:-1]), parameters)]
        products = tg.hvp(loss, tuple(parameters), tuple(pieces))[1]
        return np.concatenate([p.data.ravel() for p in products])

    values, vectors = lanczos(product, sizes[-1], 3, generator=5)
    hessian = whole_hessian(loss, parameters)
    np.testing.assert_allclose(vectors @ hessian, values[:, None] * vectors, atol=1e-9)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(3), atol=1e-12)
    same = largest_hessian_eigenvalues(lambda: loss(*parameters), parameters, 3, generator=6)
    np.testing.assert_allclose(same, values, atol=1e-9)


def test_nothing_is_left_behind_and_no_grad_does_not_matter(network):
    loss, parameters = network
    before = [p.data.tobytes() for p in parameters]
    with tg.no_grad():
        found = largest_hessian_eigenvalues(lambda: loss(*parameters), parameters, generator=0)
    assert found[0] > 0
    assert [p.data.tobytes() for p in parameters] == before
    assert all(p._grad is None for p in parameters)


def test_single_precision(network):
    loss, parameters = network
    exact = largest_hessian_eigenvalues(lambda: loss(*parameters), parameters, 2, generator=0)
    single = [tg.tensor(p.data, dtype=np.float32, requires_grad=True) for p in parameters]
    found = largest_hessian_eigenvalues(lambda: loss(*single), single, 2, generator=0)
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def test_parameters_that_a_loss_is_linear_in_or_does_not_reach():
    x, y, z = (tg.tensor(np.ones(2), requires_grad=True) for _ in range(3))
    found = largest_hessian_eigenvalues(lambda: (3 * x**2).sum() + y.sum(), [x, y, z], 6, generator=0)
    np.testing.assert_allclose(found, [6, 6, 0, 0, 0, 0], atol=1e-12)
    assert largest_hessian_eigenvalues(y.sum, [y], 2, generator=0).tolist() == [0, 0]


def test_the_memory_is_bounded():
    size = 20_000
    diagonal = np.linspace(0, 1, size) ** 8
    values, _ = lanczos(lambda v: diagonal * v, size, 1, generator=0, tolerance=1e-6)
    assert size > 100 * BASIS
    assert values[0] == pytest.approx(1, abs=1e-6)


def test_the_same_seed_gives_the_same_bits(network):
    loss, parameters = network
    runs = [
        largest_hessian_eigenvalues(lambda: loss(*parameters), parameters, 3, generator=g).tobytes()
        for g in (4, np.random.default_rng(4))
    ]
    assert runs[0] == runs[1]


def test_mistakes():
    x = tg.tensor(np.ones(3), requires_grad=True)
    for k in (0, 4):
        with pytest.raises(ArgumentError, match="from 1 to 3"):
            largest_hessian_eigenvalues(lambda: (x**2).sum(), [x], k, generator=0)
    with pytest.raises(GradientError, match=r"single number; it returned a tensor of shape \(3,\)"):
        largest_hessian_eigenvalues(lambda: x**2, [x], generator=0)
    with pytest.raises(GradientError, match="it returned float"):
        largest_hessian_eigenvalues(lambda: 1.0, [x], generator=0)
    y = tg.tensor(1.0, requires_grad=True)
    with pytest.raises(GradientError, match="does not depend on any"):
        largest_hessian_eigenvalues(lambda: y * y, [x], generator=0)
    with pytest.raises(LinAlgError, match="not finite"):
        lanczos(lambda v: v * np.nan, 3, generator=0)
    noise = np.random.default_rng(0)
    with pytest.raises(LinAlgError, match="no convergence after"):
        lanczos(lambda v: noise.normal(size=200), 200, generator=0, tolerance=1e-14)
