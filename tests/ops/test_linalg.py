"""Linear algebra against closed forms, and against definitions written out."""

import itertools

import numpy as np
import pytest

import tinygrad_bc as tg
import tinygrad_bc.linalg as linalg
from tinygrad_bc.errors import ArgumentError, DTypeError, GradientError, LinAlgError, ShapeError

RNG = np.random.default_rng(11)
SINGULAR = np.arange(9.0).reshape(3, 3)  # of rank 2


def leaf(x, name=None):
    return tg.tensor(x, requires_grad=True, name=name)


def gradient(f, x):
    x = leaf(x)
    (g,) = tg.grad(f(x), x)
    return g.data


def regular(*shape):
    return RNG.normal(size=shape) / 2 + 2 * np.eye(shape[-1])


# --- products ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b"),
    [((3, 4), (4, 2)), ((2, 3, 4), (4, 5)), ((2, 1, 3, 4), (5, 4, 2)), ((3, 0), (0, 2)), ((0, 3, 4), (0, 4, 2))],
)
def test_matmul_is_the_sum_of_products(a, b):
    A, B = RNG.normal(size=a), RNG.normal(size=b)
    expected = (A[..., :, :, None] * B[..., None, :, :]).sum(axis=-2)
    np.testing.assert_allclose((leaf(A) @ B).data, expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(np.matmul(A, leaf(B)).data, expected, rtol=1e-13, atol=1e-14)


def test_strict_products_agree_with_matmul():
    A, B, x, y = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 4)), RNG.normal(size=3), RNG.normal(size=3)
    np.testing.assert_array_equal(tg.mm(leaf(A), B).data, A @ B)
    np.testing.assert_array_equal(tg.mv(A, leaf(x)).data, A @ x)
    np.testing.assert_array_equal(tg.bmm(leaf(A[None]), mat2=B[None]).data, (A @ B)[None])
    assert tg.dot(leaf(x), y).item() == tg.vdot(x, y) == pytest.approx(sum(p * q for p, q in zip(x, y)))
    np.testing.assert_array_equal(tg.outer(leaf(x), y).data, x[:, None] * y)
    np.testing.assert_array_equal(tg.outer([1.0, 2.0], [3.0]), [[3.0], [6.0]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda W1, X: W1 @ X, ["W1 (15, 9)", "X (500, 9)", "9 columns", "500 rows", "Did you mean X.T?"]),
        (lambda W1, X: X.T @ W1.T, ["500 columns", "9 rows"]),
        (lambda W1, X: W1.T @ X, ["Did you mean X @ (operand 1)?"]),
        (lambda W1, X: W1 @ X[:, 0], ["9 columns", "500 elements"]),
        (lambda W1, X: W1 @ 2.0, ["for a number use `*`"]),
        (lambda W1, X: tg.mm(W1, X[0]), ["W1 (15, 9)", "2 and 1 axes", "`@` takes"]),
        (lambda W1, X: tg.mv(W1, X), ["2 and 2 axes"]),
        (lambda W1, X: tg.dot(W1, X), ["a vector (1 axis) and a vector (1 axis)"]),
        (lambda W1, X: tg.bmm(W1[None], tg.stack([X.T, X.T])), ["batch of 1", "of 2", "does not broadcast"]),
        (lambda W1, X: tg.outer(W1, X), ["2 and 2 axes"]),
        (lambda W1, X: tg.inner(W1, X.T), ["last axes", "9 and 500"]),
        (lambda W1, X: tg.tensordot(W1, X, 1), ["axis 1 of the first has length 9", "500"]),
        (lambda W1, X: tg.tensordot(W1, X, 3), ["at most 2"]),
        (lambda W1, X: tg.trace(W1[0]), ["2 axes", "np.trace"]),
    ],
)
def test_products_that_do_not_fit_are_explained(call, words):
    W1, X = leaf(np.ones((15, 9)), "W1"), leaf(np.ones((500, 9)), "X")
    with pytest.raises(ShapeError) as caught:
        call(W1, X)
    for word in [*words, __file__]:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("a", "b"),
    [((), (3,)), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((2, 2, 3), (4, 3, 2))],
)
def test_dot_on_tensors_is_that_of_numpy(a, b):
    A, B = RNG.normal(size=a), RNG.normal(size=b)
    np.testing.assert_allclose(np.dot(leaf(A), leaf(B)).data, np.dot(A, B), rtol=1e-13)


def test_other_products_of_numpy_on_tensors():
    A, B = RNG.normal(size=(2, 3)), RNG.normal(size=(4, 3))
    for function in (np.inner, np.outer, np.kron):
        np.testing.assert_allclose(function(leaf(A), B).data, function(A, B), rtol=1e-13)
        np.testing.assert_allclose(function(A, leaf(B)).data, function(A, B), rtol=1e-13)
    np.testing.assert_allclose(np.vdot(leaf(A), A).data, (A * A).sum(), rtol=1e-13)
    np.testing.assert_allclose(np.tensordot(leaf(A), B, axes=(1, 1)).data, A @ B.T, rtol=1e-13)
    np.testing.assert_allclose(np.linalg.outer(leaf(A[0]), B[0]).data, np.outer(A[0], B[0]), rtol=1e-13)
    with pytest.raises(GradientError, match="out"):
        np.dot(leaf(A), A.T, out=np.zeros((2, 2)))


def test_tensordot_sums_the_axes_in_pairs():
    A, B = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(4, 5, 2))
    expected = sum(A[i, :, j][:, None] * B[j, :, i] for i in range(2) for j in range(4))
    np.testing.assert_allclose(tg.tensordot(leaf(A), B, dims=([0, 2], [2, 0])).data, expected, rtol=1e-12)
    np.testing.assert_allclose(tg.tensordot(A, leaf(B), dims=([-3, -1], [-1, 0])).data, expected, rtol=1e-12)
    np.testing.assert_allclose(tg.tensordot(A[0], leaf(B[:, :, 0]), 1).data, A[0] @ B[:, :, 0], rtol=1e-12)


def test_tensordot_broadcasts_a_length_of_1():
    A, B = leaf(RNG.normal(size=(2, 1))), leaf(RNG.normal(size=(3, 4)))
    np.testing.assert_allclose(tg.tensordot(A, B, 1).data, A.data * B.data.sum(axis=0), rtol=1e-13)
    assert tg.gradcheck(lambda A, B: tg.tensordot(A, B, 1), [A, B])


def test_trace():
    x = RNG.normal(size=(3, 4, 5))
    assert tg.trace(leaf(x[0])).item() == pytest.approx(sum(x[0, i, i] for i in range(4)))
    for arguments in [(), (1,), (-1, 2, 0), (0, -1, -2)]:
        np.testing.assert_allclose(np.trace(leaf(x), *arguments).data, np.trace(x, *arguments), rtol=1e-13)
    np.testing.assert_allclose(np.linalg.trace(leaf(x)).data, np.trace(x, 0, 1, 2), rtol=1e-13)
    np.testing.assert_array_equal(gradient(tg.trace, x[0]), np.eye(4, 5))


# --- einsum --------------------------------------------------------------------------------------


def summed(equation, *operands):
    """Einstein's convention word by word: a loop over all values of all indices. Lengths of 1 broadcast."""
    left, output = equation.split("->")
    terms = left.split(",")
    lengths = {}
    for term, x in zip(terms, operands):
        for label, n in zip(term, x.shape):
            lengths[label] = n if lengths.get(label, 1) == 1 else lengths[label]
    result = np.zeros([lengths[label] for label in output])
    for values in itertools.product(*map(range, lengths.values())):
        at = dict(zip(lengths, values))
        factors = [
            x[tuple(0 if n == 1 else at[label] for label, n in zip(term, x.shape))] for term, x in zip(terms, operands)
        ]
        result[tuple(at[label] for label in output)] += np.prod(factors)
    return result


EQUATIONS = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,kj->ki", (2, 3), (4, 3)),
    ("ij->", (2, 3)),
    ("iij->ji", (2, 2, 3)),
    ("iji->", (2, 3, 2)),
    ("ii,i,jj->j", (2, 2), (2,), (3, 3)),
    ("ab,bc,cd,d->a", (2, 3), (3, 2), (2, 4), (4,)),
    ("ij,ij->i", (1, 3), (2, 1)),
    ("ij,jk->k", (2, 1), (3, 2)),
    ("bij,bjk->bik", (2, 2, 3), (2, 3, 2)),
    (",ij->ji", (), (2, 3)),
    ("ij,jk->ik", (0, 3), (3, 2)),
    ("ij,jk->ik", (2, 0), (0, 2)),
]


@pytest.mark.parametrize(("equation", "shapes"), [(equation, shapes) for equation, *shapes in EQUATIONS])
def test_einsum_is_the_sum_over_all_indices(equation, shapes):
    operands = [leaf(RNG.normal(size=shape)) for shape in shapes]
    expected = summed(equation, *(x.data for x in operands))
    np.testing.assert_allclose(tg.einsum(equation, *operands).data, expected, rtol=1e-12, atol=1e-13)
    report = tg.gradcheck(lambda *xs: tg.einsum(equation, *xs), operands)
    assert report, str(report)


@pytest.mark.parametrize(
    ("short", "shapes", "explicit"),
    [
        ("ij,jk", [(2, 3), (3, 4)], "ij,jk->ik"),
        ("ji", [(2, 3)], "ji->ij"),
        ("bA", [(2, 3)], "bA->Ab"),
        ("ii", [(3, 3)], "ii->"),
        (" i j , j k -> k i ", [(2, 3), (3, 4)], "ij,jk->ki"),
        ("...ij,...jk->...ik", [(5, 2, 3), (5, 3, 4)], "xij,xjk->xik"),
        ("...ij,jk", [(5, 2, 3), (3, 4)], "xij,jk->xik"),
        ("i...,...j->ij...", [(2, 5, 3), (3, 4)], "ixy,yj->ijxy"),
        ("...i,...i", [(2, 1, 3), (4, 3)], "xyi,yi->xy"),
        ("...,...->...", [(2, 1), (3,)], "xy,y->xy"),
        ("i...->...i", [(2, 3, 4)], "ixy->xyi"),
        ("...i->i", [(2, 3)], "xi->i"),
    ],
)
def test_short_forms_of_einsum(short, shapes, explicit):
    operands = [RNG.normal(size=shape) for shape in shapes]
    expected = summed(explicit, *operands)
    np.testing.assert_allclose(tg.einsum(short, *map(leaf, operands)).data, expected, rtol=1e-12)
    np.testing.assert_allclose(tg.einsum(short, list(map(leaf, operands))).data, expected, rtol=1e-12)
    np.testing.assert_allclose(np.einsum(short, *map(leaf, operands), optimize="greedy").data, expected, rtol=1e-12)


def test_einsum_with_lists_of_indices():
    A, B = RNG.normal(size=(2, 3)), RNG.normal(size=(3, 4))
    np.testing.assert_allclose(tg.einsum(leaf(A), [0, 1], B, [1, 2], [2, 0]).data, (A @ B).T, rtol=1e-13)
    np.testing.assert_allclose(tg.einsum(leaf(A), [30, 1], B, [1, 27]).data, (A @ B).T, rtol=1e-13)
    np.testing.assert_allclose(tg.einsum(leaf(A), [..., 0], [0, ...]).data, A.T, rtol=1e-13)
    np.testing.assert_allclose(np.einsum(leaf(A), [0, 1], []).data, A.sum(), rtol=1e-13)


def test_a_python_number_in_einsum_does_not_widen():
    assert tg.einsum(",i", 2.0, leaf(np.ones(3, np.float32))).dtype == np.float32


def test_einsum_differentiates_to_any_order():
    x = leaf(RNG.normal(size=(3, 3)))
    y = tg.einsum("ij,jk,ki->", x, x, x)  # tr(x³)
    (first,) = tg.grad(y, x, create_graph=True)
    np.testing.assert_allclose(first.data, 3 * (x.data @ x.data).T, rtol=1e-12)
    (second,) = tg.grad(first[0, 0], x, create_graph=True)  # 3 ∂(x²)₀₀
    expected = np.zeros((3, 3))
    expected[0] += 3 * x.data[:, 0]
    expected[:, 0] += 3 * x.data[0]
    np.testing.assert_allclose(second.data, expected, rtol=1e-12)
    (third,) = tg.grad(second[0, 0], x)
    np.testing.assert_allclose(third.data, 6 * np.outer([1, 0, 0], [1, 0, 0]), atol=1e-15)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ("ij,jk->ik", ShapeError, ["index 'j'", "9 in A (15, 9)", "500 in B (500, 9)", "Did you mean 'ij,kj->ik'?"]),
        ("ij->ij", ShapeError, ["1 term,", "given are 2"]),
        ("ij,jk,k", ShapeError, ["3 terms", "given are 2"]),
        ("ij,kj->ikl", ShapeError, ["no operand has the index 'l'", "they have i, j, k"]),
        ("ij,kj->iki", ShapeError, ["'i' stands more than once"]),
        ("ij,kjl", ShapeError, ["'kjl' has 3 indices", "B (500, 9) has 2 axes"]),
        ("ij,k", ShapeError, ["'k' has 1 index", "write '...'"]),
        ("ii,kj", ShapeError, ["'i', repeated in 'ii'", "15 and 9"]),
        ("ij,k1", ArgumentError, ["'1' is no letter"]),
        ("ij,k..", ArgumentError, ["three dots"]),
        ("ij->kj->i", ArgumentError, ["cannot be read"]),
        ([0, 99], ArgumentError, ["from 0 to 51", "99"]),
        ([0, 1, 2], ShapeError, ["3 indices", "2 axes"]),
    ],
)
def test_mistakes_in_einsum_are_explained(arguments, error, words):
    A, B = leaf(np.ones((15, 9)), "A"), leaf(np.ones((500, 9)), "B")
    with pytest.raises(error) as caught:
        tg.einsum(arguments, A, B) if isinstance(arguments, str) else tg.einsum(A, arguments)
    for word in ["einsum(", "A (15, 9)", *words, __file__]:
        assert word in str(caught.value)


def test_einsum_without_an_equation_says_what_is_missing():
    A = leaf(np.ones((15, 9)), "A")
    with pytest.raises(ArgumentError, match="list of its indices"):
        tg.einsum(A, A)
    with pytest.raises(ArgumentError, match="no operand"):
        tg.einsum(A)
    with pytest.raises(GradientError, match="dtype"):
        np.einsum("ij->i", A, dtype=float)


# --- inverse, solutions, determinants ------------------------------------------------------------


def test_inv_and_its_derivative():
    A, direction = regular(2, 3, 3), RNG.normal(size=(2, 3, 3))
    inverse = linalg.inv(leaf(A)).data
    np.testing.assert_allclose(A @ inverse, np.broadcast_to(np.eye(3), A.shape), atol=1e-14)
    np.testing.assert_allclose(np.linalg.inv(leaf(A)).data, inverse)
    change = -inverse @ direction @ inverse  # d(A⁻¹) = −A⁻¹ dA A⁻¹
    weights = RNG.normal(size=A.shape)
    g = gradient(lambda A: (linalg.inv(A) * weights).sum(), A)
    assert (g * direction).sum() == pytest.approx((change * weights).sum())


@pytest.mark.parametrize(
    ("a", "b", "columns"),
    [
        ((3, 3), (3,), False),
        ((3, 3), (3, 2), True),
        ((4, 3, 3), (3,), False),
        ((2, 3, 3), (2, 3), False),  # the shape of A without its last axis: a batch of vectors
        ((3, 3, 3), (3, 3), False),
        ((2, 3, 3), (3, 5), True),
        ((3, 3), (2, 3, 4), True),
        ((0, 3, 3), (0, 3), False),
    ],
)
def test_what_solve_takes_for_a_vector(a, b, columns):
    A, B = regular(*a), RNG.normal(size=b)
    x = linalg.solve(leaf(A), B).data
    residual = A @ x - B if columns else (A @ x[..., None])[..., 0] - B
    np.testing.assert_allclose(residual, np.zeros(residual.shape), atol=1e-13)
    report = tg.gradcheck(linalg.solve, [leaf(A), leaf(B)])
    assert report, str(report)


def test_solve_of_numpy_takes_only_one_axis_for_a_vector():
    A, B = regular(3, 3, 3), RNG.normal(size=(3, 3))
    np.testing.assert_allclose(np.linalg.solve(leaf(A), B).data, np.linalg.solve(A, B), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.solve(A, leaf(B[0])).data, np.linalg.solve(A, B[0]), rtol=1e-12)


def test_solve_from_the_right():
    A, B = regular(2, 3, 3), RNG.normal(size=(4, 3))
    x = linalg.solve(leaf(A), B, left=False)
    np.testing.assert_allclose(x.data @ A, np.broadcast_to(B, (2, 4, 3)), atol=1e-13)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda A: linalg.inv(A), LinAlgError, ["A (3, 3)", "singular: of its 3 columns only 2"]),
        (lambda A: linalg.solve(A, np.ones((3, 1))), LinAlgError, ["A (3, 3)", "singular"]),
        (lambda A: linalg.solve(A, np.ones((3, 2))), LinAlgError, ["A (3, 3)", "singular"]),
        (lambda A: linalg.solve(A, np.ones(4)), ShapeError, ["A (3, 3)", "4 elements"]),
        (lambda A: linalg.solve(A, np.ones((2, 3))), ShapeError, ["it has 2", "transpose"]),
        (lambda A: linalg.solve(A, np.ones(3), left=False), ShapeError, ["left=False"]),
        (lambda A: linalg.inv(A[:2]), ShapeError, ["2 rows and 3 columns"]),
        (lambda A: linalg.det(A[0]), ShapeError, ["this has 1 axes"]),
        (lambda A: linalg.slogdet(A[:2]), ShapeError, ["square"]),
        (lambda A: linalg.inv(A.astype(np.float16)), DTypeError, ["float16", ".astype(np.float32)"]),
        (lambda A: linalg.cholesky(A - 9 * np.eye(3)), LinAlgError, ["not positive definite", "eigenvalue is -10"]),
        (lambda A: linalg.cholesky(tg.stack([A * np.nan, -A])), LinAlgError, ["NaN"]),
        (lambda A: linalg.svdvals(A * np.inf), LinAlgError, ["NaN or infinite"]),
        (lambda A: linalg.svd(A[:2]), ArgumentError, ["full_matrices=False"]),
        (lambda A: linalg.norm(A, "max"), ArgumentError, ["'max'", "'fro', 'nuc'"]),
        (lambda A: linalg.norm(A[0], "nuc"), ArgumentError, ["of a matrix"]),
        (lambda A: linalg.norm(A[None], 2), ShapeError, ["3 axes", "say over which"]),
        (lambda A: linalg.norm(A[None], 2, dim=(0, 1, 2)), ShapeError, ["one axis", "or two"]),
        (lambda A: linalg.matrix_norm(A, dim=(0, -2)), ShapeError, ["names axis 0 twice"]),
        (lambda A: linalg.matrix_norm(A[:0], 2), ShapeError, ["nothing to choose from"]),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of NaN and infinities on the way
def test_what_cannot_be_done_is_explained(call, error, words):
    with pytest.raises(error) as caught:
        call(leaf(SINGULAR, "A"))
    for word in [*words, __file__]:
        assert word in str(caught.value)


def cofactors(A):
    """Determinants of what is left without a row and a column, with alternating signs."""
    n = len(A)
    return np.array(
        [[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(A, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    )


@pytest.mark.parametrize(
    "A",
    [
        np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0], [2.0, 1.0, 1.0]]),
        SINGULAR,
        np.ones((3, 3)),
        np.zeros((3, 3)),
        np.diag([2.0, 0.0, -3.0, 0.5]),
        np.diag([2.0, 0.0, 0.0, 0.5]),
        np.eye(3)[[1, 0, 2]],
        np.zeros((1, 1)),
        np.zeros((2, 2)),
    ],
)
def test_gradient_of_det_is_the_matrix_of_cofactors_at_singular_matrices_too(A):
    np.testing.assert_allclose(gradient(linalg.det, A), cofactors(A), atol=1e-13)


def test_second_derivative_of_det_at_the_identity():
    """All singular values are equal there: ∂²det / ∂Aᵢᵢ∂Aⱼⱼ = 1 and ∂²det / ∂Aᵢⱼ∂Aⱼᵢ = −1."""
    A = leaf(np.eye(3))
    (first,) = tg.grad(linalg.det(A), A, create_graph=True)
    for i, j in itertools.product(range(3), repeat=2):
        (second,) = tg.grad(first[i, j], A)
        expected = np.eye(3) * (i == j)
        expected[i, i] = 0
        if i != j:
            expected[j, i] = -1
        np.testing.assert_allclose(second.data, expected, atol=1e-15)


@pytest.mark.parametrize("A", [SINGULAR, SINGULAR + 1, np.ones((3, 3)), np.zeros((3, 3)), np.diag([2.0, 0.0, 0.0])])
def test_second_derivative_of_det_at_singular_matrices(A):
    """Of 3×3 matrices the cofactors are quadratic functions, so a difference gives their change exactly."""
    H = RNG.normal(size=(3, 3))
    x = leaf(A)
    (first,) = tg.grad(linalg.det(x), x, create_graph=True)
    (second,) = tg.grad(first, x, H)
    np.testing.assert_allclose(second.data, (cofactors(A + H) - cofactors(A - H)) / 2, atol=1e-12)


def test_third_derivative_of_det_is_refused_at_singular_matrices():
    A = leaf(SINGULAR)
    (first,) = tg.grad(linalg.det(A), A, create_graph=True)
    (second,) = tg.grad(first.sum(), A, create_graph=True)
    with pytest.raises(GradientError, match=r"third derivative of det .* inverse"):
        tg.grad(second.sum(), A)


def test_slogdet_does_not_overflow():
    A = leaf(1e200 * np.diag([1.0, -2.0, 3.0]))
    sign, logabsdet = linalg.slogdet(A)
    assert sign.item() == -1
    assert logabsdet.item() == pytest.approx(3 * np.log(1e200) + np.log(6))
    np.testing.assert_allclose(tg.grad(logabsdet, A)[0].data, 1e-200 * np.diag([1, -1 / 2, 1 / 3]), atol=0)
    assert np.linalg.slogdet(A).sign.item() == -1


def test_slogdet_of_a_singular_matrix_has_no_gradient():
    A = leaf(np.ones((2, 2)))
    result = linalg.slogdet(A)
    assert (result.sign.item(), result.logabsdet.item()) == (0, -np.inf)
    with pytest.raises(GradientError, match=r"log\|det\|"):
        result.logabsdet.backward()


# --- factorisations ------------------------------------------------------------------------------


def positive_definite(n):
    x = RNG.normal(size=(n, n))
    return x @ x.T + np.eye(n)


def test_cholesky_both_ways():
    A = positive_definite(4)
    L, U = linalg.cholesky(leaf(A)).data, np.linalg.cholesky(leaf(A), upper=True).data
    np.testing.assert_allclose(L @ L.T, A, rtol=1e-12)
    np.testing.assert_array_equal(L, np.tril(L))
    np.testing.assert_array_equal(U, L.T)


def test_gradient_of_the_log_determinant_through_cholesky_is_the_inverse():
    A = positive_definite(4)
    for upper in (False, True):
        g = gradient(lambda A, upper=upper: 2 * tg.log(tg.einsum("ii->i", linalg.cholesky(A, upper))).sum(), A)
        np.testing.assert_allclose(g, np.linalg.inv(A), rtol=1e-10)
        np.testing.assert_array_equal(g, g.T)


def test_only_the_symmetric_part_counts_in_cholesky():
    A, skew = positive_definite(3), np.array([[0, 1, 2], [-1, 0, 3], [-2, -3, 0]])
    np.testing.assert_allclose(linalg.cholesky(A + skew), linalg.cholesky(A), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3), (4, 2), (2, 4), (2, 3, 2)])
def test_svd_gives_back_the_matrix_and_its_gradient(shape):
    A = RNG.normal(size=shape)
    U, S, Vh = linalg.svd(leaf(A), full_matrices=False)
    np.testing.assert_allclose((U * S[..., None, :] @ Vh).data, A, atol=1e-13)
    np.testing.assert_allclose(linalg.svdvals(A), S.data, rtol=1e-13)
    weights = RNG.normal(size=shape)

    def rebuilt(A):
        U, S, Vh = np.linalg.svd(A, full_matrices=False)
        return ((U * S[..., None, :]) @ Vh * weights).sum()

    np.testing.assert_allclose(gradient(rebuilt, A), weights, atol=1e-11)


def test_vectors_that_are_not_determined_have_no_derivative():
    for A in (np.eye(3), np.diag([3.0, 0.0])[:, [0, 1, 1]] * [1, 1, 0]):
        with pytest.raises(GradientError, match="singular values are equal"):
            gradient(lambda A: linalg.svd(A, full_matrices=False).U.sum(), A)


# --- names ---------------------------------------------------------------------------------------


def test_names_of_the_namespace():
    assert all(callable(getattr(linalg, name)) for name in linalg.__all__)
    assert tg.inverse is linalg.inv


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_gradient_of_a_transposed_weight_lies_in_memory_as_the_weight(dtype):
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(6, 3)).astype(dtype), rng.normal(size=(2, 6, 4)).astype(dtype)
    W = tg.tensor(rng.normal(size=(4, 3)).astype(dtype), requires_grad=True)
    V = tg.tensor(rng.normal(size=(3, 4)).astype(dtype), requires_grad=True)
    ((x @ W.T) * weights[0] + (x @ V) * weights[1]).sum().backward()
    for parameter, expected in ((W, weights[0].T @ x), (V, x.T @ weights[1])):
        assert parameter.grad.data.flags.c_contiguous
        np.testing.assert_allclose(parameter.grad.data, expected, rtol=1e-12 if dtype is np.float64 else 1e-5)
