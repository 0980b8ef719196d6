"""The largest eigenvalues of a loss's Hessian: how sharp a minimum is. The Hessian itself is never formed.

Lanczos' method needs products of the Hessian with vectors and nothing else. `tinygrad_bc.hvp` takes a function of
its inputs; a model reads its own parameters, so the same two reverse passes are made here with respect to these, and
the first of them is recorded once for all products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from tinygrad_bc.autograd import enable_grad, grad
from tinygrad_bc.errors import ArgumentError, GradientError, LinAlgError
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Array, Value, as_values

__all__ = ["lanczos", "largest_hessian_eigenvalues"]

BASIS = 80  # Lanczos vectors held at a time: this bounds the memory, by 80 times that of the parameters
MOST_PRODUCTS = 5000


def largest_hessian_eigenvalues(
    loss_fn: Callable[[], Any],
    parameters: Value | Iterable[Value],
    k: int = 1,
    *,
    generator: np.random.Generator | int,
    tolerance: float | None = None,
) -> Array:
    """Return the `k` largest eigenvalues of the Hessian of a loss, at the parameters as they are.

    The largest one is the sharpness of the minimum: gradient descent on the quadratic that the loss is nearby converges
    if its learning rate is below 2/λ, and diverges above. Computed by `lanczos` on products with the Hessian
    (Pearlmutter, "Fast exact multiplication by the Hessian", 1994). Nothing is changed, and ``grad`` not either.

    Parameters
    ----------
    loss_fn : callable
        Computes the loss, a single number, from the parameters: ``lambda: loss(model(X), Y)``. The same one at every
        call, so a model with dropout belongs into ``eval()`` first.
    parameters : iterable of Tensor
        With respect to which the second derivatives are taken.
    k : int
        How many eigenvalues, from 1 to the number of elements of the parameters.
    generator : Generator or int
        What the start vectors are drawn from, or a seed.
    tolerance : float, optional
        The residual ‖Hv − λv‖ to be reached, relative to the largest eigenvalue in size. An eigenvalue is at least as
        exact. By default ε^⅔ of the parameters' dtype: 4e-11 for float64.

    Returns
    -------
    ndarray of shape (k,)
        Largest first; one that is repeated in the Hessian is repeated here.

    Raises
    ------
    ArgumentError
        If `k` is not possible.
    GradientError
        If the loss is not a single number, or does not depend on the parameters.
    LinAlgError
        If a product is not finite, or the method does not converge.

    Examples
    --------
    >>> import tinygrad_bc as tg
    >>> x = tg.tensor([1.0, 1.0, 1.0], requires_grad=True)
    >>> curvatures = np.array([5.0, 2.0, -1.0])
    >>> largest_hessian_eigenvalues(lambda: (curvatures * x**2).sum() / 2, [x], k=2, generator=0).round(6)
    array([5., 2.])
    """
    tensors = as_values(parameters, "parameters")
    size = sum(x._array.size for x in tensors)
    if tolerance is None:
        tolerance = max(float(np.finfo(x.dtype).eps) for x in tensors) ** (2 / 3)
    return lanczos(_hessian_product(loss_fn, tensors), size, k, generator=generator, tolerance=tolerance)[0]


def lanczos(
    product: Callable[[Array], Array],
    size: int,
    k: int = 1,
    *,
    generator: np.random.Generator | int,
    tolerance: float = 1e-10,
) -> tuple[Array, Array]:
    """Return the `k` largest eigenvalues of a symmetric matrix, and their eigenvectors, from products with it.

    C. Lanczos, "An iteration method for the solution of the eigenvalue problem of linear differential and integral
    operators", 1950. In the basis that q, Aq, A²q … span, made orthonormal, A is tridiagonal, and the largest
    eigenvalue of that small matrix converges to that of A. In floating point the basis loses its orthogonality, and
    false copies of eigenvalues appear; so each vector is made orthogonal to all before it, twice (full
    reorthogonalisation: B. N. Parlett, "The Symmetric Eigenvalue Problem", 1980, §6.9 and §13.8). One basis finds an
    eigenvalue once, however often it is repeated; so each further one is sought among the vectors orthogonal to those
    found. A basis that is full begins again with its best vector.

    Parameters
    ----------
    product : callable
        From a vector of shape (size,) to its product with the matrix.
    size : int
        The number of rows of the matrix.
    k : int
        How many, from 1 to `size`.
    generator : Generator or int
        What the start vectors are drawn from, or a seed.
    tolerance : float
        The residual ‖Av − λv‖ to be reached, relative to the largest eigenvalue in size.

    Returns
    -------
    eigenvalues : ndarray of shape (k,)
        Largest first.
    eigenvectors : ndarray of shape (k, size)
        One a row, orthonormal.

    Raises
    ------
    ArgumentError
        If `k` is not possible.
    LinAlgError
        If a product is not finite, or the method does not converge.
    """
    if not 1 <= k <= size:
        raise ArgumentError(f"k = {k} eigenvalues of a matrix of {size} rows: expected a number from 1 to {size}")
    random = np.random.default_rng(generator)
    counted = _Counted(product)
    values, vectors = np.empty(k), np.empty((k, size))
    scale = 0.0
    for i in range(k):
        start = _unit(_orthogonal(random.standard_normal(size), vectors[:i]))
        converged = False
        while not converged:
            values[i], start, scale, converged = _one_basis(counted, start, vectors[:i], tolerance, scale)
            if (
                converged
            ):  # as the small matrix says, which is wrong if the products are not those of one symmetric matrix
                residual = _orthogonal(counted(start) - values[i] * start, vectors[:i])
                converged = bool(np.linalg.norm(residual) <= 10 * tolerance * scale)
        vectors[i] = start
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[order]


def _one_basis(
    product: _Counted, start: Array, found: Array, tolerance: float, scale: float
) -> tuple[float, Array, float, bool]:
    """Return the largest eigenpair in one basis orthogonal to `found`, the matrix's size, and whether it converged."""
    room = min(BASIS, len(start) - len(found))
    basis = np.empty((room, len(start)))
    tridiagonal = np.zeros((room, room))
    vector = start
    for j in range(room):
        basis[j] = vector
        image = product(vector)
        tridiagonal[j, j] = vector @ image
        rest = _orthogonal(image, basis[: j + 1], found)
        length = float(np.linalg.norm(rest))
        values, vectors = np.linalg.eigh(tridiagonal[: j + 1, : j + 1])
        scale = max(scale, float(np.abs(values).max()))
        converged = length * abs(vectors[-1, -1]) <= tolerance * scale  # which is the residual of the largest one
        if converged or j + 1 == room:
            break
        tridiagonal[j, j + 1] = tridiagonal[j + 1, j] = length
        vector = rest / length
    best = _unit(_orthogonal(vectors[:, -1] @ basis[: j + 1], found))
    return float(values[-1]), best, scale, bool(converged)


def _orthogonal(vector: Array, *bases: Array) -> Array:
    """Return what of `vector` is orthogonal to orthonormal rows. The second time removes the first one's rounding."""
    for _ in range(2):
        for basis in bases:
            vector = vector - (basis @ vector) @ basis
    return vector


def _unit(vector: Array) -> Array:
    return vector / np.linalg.norm(vector)


class _Counted:
    """A product with a matrix that checks its results, and gives up after too many."""

    def __init__(self, product: Callable[[Array], Array]) -> None:
        self._product = product
        self._count = 0

    def __call__(self, vector: Array) -> Array:
        if self._count == MOST_PRODUCTS:
            raise LinAlgError(
                f"no convergence after {MOST_PRODUCTS} products: a larger tolerance= is reached sooner. Are they all "
                "products with the same symmetric matrix?"
            )
        self._count += 1
        image = np.asarray(self._product(vector), dtype=np.float64)
        if not np.isfinite(image).all():
            raise LinAlgError(
                "a product with the Hessian is not finite: tg.detect_anomaly() says where that comes from"
            )
        return image


def _hessian_product(loss_fn: Callable[[], Any], parameters: list[Any]) -> Callable[[Array], Array]:
    """Return the function that multiplies the Hessian with a vector, that of all parameters one after the other."""
    with enable_grad():
        loss = loss_fn()
        if not isinstance(loss, Value) or loss._array.size != 1:
            what = f"a tensor of shape {loss.shape}" if isinstance(loss, Value) else type(loss).__name__
            raise GradientError(f"loss_fn must return the loss, a tensor of a single number; it returned {what}")
        gradients = grad(loss, parameters, create_graph=True, allow_unused=True)
    if all(g is None for g in gradients):
        raise GradientError("the loss does not depend on any of the parameters, so there is no Hessian to speak of")
    ends = np.cumsum([x._array.size for x in parameters])
    curved = [i for i, g in enumerate(gradients) if g is not None and g.requires_grad]  # others: linear, or not reached

    def product(vector: Array) -> Array:
        if not curved:
            return np.zeros_like(vector)
        pieces = [piece.reshape(x.shape) for piece, x in zip(np.split(vector, ends[:-1]), parameters)]
        cotangents = [constant(pieces[i].astype(parameters[i].dtype)) for i in curved]
        products = grad([gradients[i] for i in curved], parameters, cotangents, allow_unused=True)
        rows = [np.zeros(x._array.size) if p is None else p._array.ravel() for x, p in zip(parameters, products)]
        return np.concatenate(rows)

    return product
