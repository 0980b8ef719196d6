"""Derivatives of functions: products with the Jacobian and the Hessian, and these matrices themselves.

The names and arguments are those of ``torch.autograd.functional``: a function, its inputs, a vector.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from tinygrad_bc.autograd import enable_grad, grad
from tinygrad_bc.diagnosis import depth_of_user, describe, user_line
from tinygrad_bc.errors import DTypeError, GradientError, GradientWarning, ShapeError
from tinygrad_bc.primitive import constant
from tinygrad_bc.record import Value, as_array, tracer
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

Function = Callable[..., Any]


def vjp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return ``func(*inputs)`` and the product of `v` with its Jacobian, vᵀJ: one backward pass.

    Parameters
    ----------
    func : callable
        From tensors to a tensor or a tuple of tensors.
    inputs : Tensor, array, or tuple of them
        Where to differentiate; floating-point.
    v : array_like or tuple, optional
        One vector per output, of its shape. May be left out for a single number.
    create_graph : bool
        Whether the result can be differentiated again.

    Returns
    -------
    outputs : Tensor or tuple of Tensor
    products : Tensor or tuple of Tensor
        As `inputs` are, and of their shapes; zeros where no output depends on an input.

    Raises
    ------
    ShapeError, DTypeError, GradientError

    Examples
    --------
    >>> outputs, product = vjp(lambda x: x**2, [1.0, 2.0], v=[1.0, 10.0])
    >>> product
    tensor([ 2., 40.])
    """
    xs, ys = _called(func, inputs, create_graph)
    vs = _vectors("v", v, ys) if v is not None else _one(ys, "vjp")
    products = _gradients(ys, xs, vs, create_graph)
    return _like(ys, _returned(ys, create_graph)), _packed(products, inputs)


def jvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return ``func(*inputs)`` and the product of its Jacobian with `v`, Jv: the derivative in the direction `v`.

    Computed with reverse passes alone, and exact: vᵀJ is linear in v, and its derivative with respect to
    v, pulled back, is the product from the other side (J. Townsend, "A new trick for calculating Jacobian vector
    products", 2017). Parameters are those of `vjp`, but `v` has one vector per *input*.

    Examples
    --------
    >>> outputs, product = jvp(lambda x: x**2, [1.0, 2.0], v=[1.0, 10.0])
    >>> product
    tensor([ 2., 40.])
    """
    xs, ys = _called(func, inputs, create_graph)
    vs = _vectors("v", v, xs) if v is not None else _one(xs, "jvp")
    products = _pushed_forward(ys, xs, create_graph)(vs)
    return _like(ys, _returned(ys, create_graph)), _like(ys, products)


def jacobian(func: Function, inputs: Any, create_graph: bool = False) -> Any:
    """Return the Jacobian of `func`: of every output element with respect to every input element.

    Row by row with one reverse pass for each output element, or column by column where there are fewer
    input elements.

    Parameters
    ----------
    func, inputs, create_graph
        As for `vjp`.

    Returns
    -------
    Tensor, or tuple of them
        Of shape ``output.shape + input.shape``. For several outputs, inputs or both a tuple, or a tuple for
        each output of a tuple for each input.

    Examples
    --------
    >>> jacobian(lambda x: x**2, [1.0, 2.0])
    tensor([[2., 0.],
            [0., 4.]])
    """
    xs, ys = _called(func, inputs, create_graph)
    by_columns = sum(x._data.size for x in xs) < sum(y._data.size for y in ys)
    blocks = (_by_columns if by_columns else _by_rows)(ys, xs, create_graph)
    return _like(ys, [_packed(row, inputs) for row in blocks])


def hessian(func: Function, inputs: Any, create_graph: bool = False) -> Any:
    """Return the Hessian of `func`, whose output is a single number: the Jacobian of its gradient.

    Returns
    -------
    Tensor, or tuple of tuples of Tensor
        Of shape ``input.shape + input.shape``; for several inputs one for each pair of them.

    Examples
    --------
    >>> hessian(lambda x: (x**3).sum(), [1.0, 2.0])
    tensor([[ 6.,  0.],
            [ 0., 12.]])
    """

    def gradient(*xs: Tensor) -> Any:
        y = _outputs(func, xs)
        return _packed(_gradients(y, xs, _one(y, "hessian"), create_graph=True), inputs)

    return jacobian(gradient, inputs, create_graph)


def hvp(func: Function, inputs: Any, v: Any = None, create_graph: bool = False) -> tuple[Any, Any]:
    """Return ``func(*inputs)``, a single number, and the product of its Hessian with `v`, without the Hessian.

    The gradient of the gradient's product with `v` (Pearlmutter, "Fast exact multiplication by the Hessian",
    1994, computes the same): two reverse passes. `v` has one vector per input.

    Examples
    --------
    >>> output, product = hvp(lambda x: (x**3).sum(), [1.0, 2.0], v=[1.0, 1.0])
    >>> product
    tensor([ 6., 12.])
    """
    xs, ys = _called(func, inputs, create_graph)
    gradients = _gradients(ys, xs, _one(ys, "hvp"), create_graph=True)
    vs = _vectors("v", v, xs) if v is not None else _one(xs, "hvp")
    products = _gradients(gradients, xs, vs, create_graph)
    return _like(ys, _returned(ys, create_graph)), _packed(products, inputs)


def value_and_grad(func: Function, argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the value of `func` and its gradient.

    Parameters
    ----------
    func : callable
        Returns a single number.
    argnums : int or sequence of int
        With respect to which positional arguments. A sequence: the gradient is a tuple.

    Examples
    --------
    >>> value, gradient = value_and_grad(lambda x, y: (x * y).sum())([1.0, 2.0], 3.0)
    >>> gradient
    tensor([3., 3.])
    """
    positions = [argnums] if isinstance(argnums, int) else list(argnums)

    def both(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        try:
            chosen = [args[i] for i in positions]
        except IndexError:
            raise GradientError(
                f"value_and_grad: argnums={argnums}, but {len(args)} arguments were given\n{user_line()}"
            ) from None
        xs = _differentiated(tuple(chosen), create_graph=False)
        arguments = list(args)
        for i, x in zip(positions, xs):
            arguments[i] = x
        ys = _outputs(lambda: func(*arguments, **kwargs), ())
        _warn_if_unrelated(ys)
        gradients = _gradients(ys, xs, _one(ys, "value_and_grad"), create_graph=False)
        return _like(ys, _returned(ys, False)), gradients[0] if isinstance(argnums, int) else tuple(gradients)

    return both


# --- inputs and outputs --------------------------------------------------------------------------


def _called(func: Function, inputs: Any, create_graph: bool) -> tuple[list[Tensor], _Outputs]:
    if isinstance(inputs, list) and any(isinstance(x, Value) for x in inputs):
        raise DTypeError(f"several inputs are given as a tuple, (a, b), and not as a list\n{user_line()}")
    xs = _differentiated(inputs if isinstance(inputs, tuple) else (inputs,), create_graph)
    ys = _outputs(func, xs)
    _warn_if_unrelated(ys)
    return xs, ys


def _warn_if_unrelated(ys: _Outputs) -> None:
    if not any(y.requires_grad or y.node for y in ys):
        warnings.warn(
            "what the function returned was not computed from its inputs by recorded operations, so its derivative is "
            "0: was NumPy, .data, .detach() or tg.tensor(...) used on the way? What a function from tg.compile returns "
            "has no history: compile the whole, with the derivative inside",
            GradientWarning,
            stacklevel=depth_of_user(),
        )


def _differentiated(inputs: tuple[Any, ...], create_graph: bool) -> list[Tensor]:
    """Return the inputs as tensors that the derivative is taken at.

    Fresh ones, so that nothing reaches the caller's; unless their history is to be differentiated too.
    """
    xs = []
    for i, x in enumerate(inputs):
        array = x._data if isinstance(x, Value) else as_array(x)
        if array.dtype.kind != "f":
            raise DTypeError(
                f"{describe(x, i)} is {array.dtype}, and only floating-point numbers have derivatives: write them "
                f"with a decimal point, or x.astype(float)\n{user_line()}"
            )
        if create_graph and isinstance(x, Tensor) and x.requires_grad:
            with enable_grad():
                xs.append(x.reshape(x.shape))  # another tensor of the same history: one given twice is two inputs
        elif isinstance(x, Tensor) and tracer.get() is not None:  # its numbers are others at a later call
            xs.append(x.detach().requires_grad_())
        else:
            xs.append(tensor(array, requires_grad=True, name=getattr(x, "name", None)))
    return xs


class _Outputs(list[Tensor]):
    """What a function returned: a list of tensors that knows whether it was a single one."""

    single = False


def _outputs(func: Function, xs: Sequence[Tensor]) -> _Outputs:
    if not callable(func):
        raise DTypeError(
            f"expected a function of the inputs, got its result, {type(func).__name__}: write lambda x: ...\n"
            f"{user_line()}"
        )
    with enable_grad():  # also inside no_grad(): a derivative is asked for
        returned = func(*xs)
    single = isinstance(returned, Value)
    ys = _Outputs([returned] if single else returned if isinstance(returned, tuple | list) else [])
    ys.single = single
    if not ys or not all(isinstance(y, Value) for y in ys):
        raise DTypeError(
            f"the function must return a tensor or a tuple of tensors, it returned {type(returned).__name__}\n"
            f"{user_line()}"
        )
    return ys


def _like(ys: _Outputs, results: Sequence[Any]) -> Any:
    """Return one result per output in the form in which the function returned them."""
    return results[0] if ys.single else tuple(results)


def _packed(results: Sequence[Any], inputs: Any) -> Any:
    """Return one result per input in the form in which the inputs were given."""
    return tuple(results) if isinstance(inputs, tuple) else results[0]


def _returned(ys: _Outputs, create_graph: bool) -> list[Tensor]:
    return list(ys) if create_graph else [y.detach() for y in ys]


def _vectors(name: str, v: Any, tensors: Sequence[Tensor]) -> list[Any]:
    """Return the vector for each of `tensors`, checked."""
    vs = list(v) if isinstance(v, tuple) else [v]
    shapes = [np.shape(x._data if isinstance(x, Value) else x) for x in vs]
    expected = [x.shape for x in tensors]
    if shapes != expected:
        raise ShapeError(f"{name} has the shapes {shapes}; the tensors it belongs to have {expected}\n{user_line()}")
    return [x if isinstance(x, Value) else constant(as_array(x, t.dtype)) for x, t in zip(vs, tensors)]


def _one(tensors: Sequence[Tensor], who: str) -> list[Any]:
    """Return the vector that may be left out: 1 for a single number."""
    if len(tensors) != 1 or tensors[0]._data.size != 1:
        shapes = ", ".join(str(x.shape) for x in tensors)
        raise GradientError(
            f"{who}: a single number was expected, there is {shapes}: reduce it, with .sum() or .mean(); or, where a "
            f"vector v can be given, one of that shape\n{user_line()}"
        )
    return [constant(np.ones(tensors[0].shape, tensors[0].dtype))]


# --- passes --------------------------------------------------------------------------------------


def _gradients(ys: Sequence[Tensor], xs: Sequence[Tensor], vs: Sequence[Any], create_graph: bool) -> list[Any]:
    """Return one gradient per input: zeros where nothing depends on it."""
    pairs = [(y, v) for y, v in zip(ys, vs) if y.requires_grad]
    if not pairs:
        return [_zeros(x) for x in xs]
    outputs, cotangents = zip(*pairs)
    gradients = grad(outputs, list(xs), list(cotangents), create_graph=create_graph, allow_unused=True)
    return [_zeros(x) if g is None else g for x, g in zip(xs, gradients)]


def _zeros(x: Tensor) -> Any:
    return constant(np.zeros(x.shape, x.dtype))


def _pushed_forward(
    ys: Sequence[Tensor], xs: Sequence[Tensor], create_graph: bool
) -> Callable[[Sequence[Any]], list[Any]]:
    """Return the function that takes a direction at the inputs to the change of the outputs."""
    us = [tensor(np.zeros(y.shape), dtype=y.dtype, requires_grad=True) for y in ys]
    with np.errstate(all="ignore"):  # what this pass computes from zeros is of no interest, only its record is
        pulled = _gradients(ys, xs, us, create_graph=True)
    return lambda vs: _gradients(pulled, us, vs, create_graph)


def _basis(x: Tensor) -> Iterator[Any]:
    """Iterate over the unit vectors of the shape of `x`."""
    for i in range(x._data.size):
        unit = np.zeros(x.shape, x.dtype)
        unit.flat[i] = 1
        yield constant(unit)


def _by_rows(ys: Sequence[Tensor], xs: Sequence[Tensor], create_graph: bool) -> list[list[Any]]:
    def block(y: Tensor) -> list[Any]:
        rows = [_gradients([y], xs, [unit], create_graph) for unit in _basis(y)]
        return [_stacked([row[j] for row in rows], y.shape + x.shape, x) for j, x in enumerate(xs)]

    return [block(y) for y in ys]


def _by_columns(ys: Sequence[Tensor], xs: Sequence[Tensor], create_graph: bool) -> list[list[Any]]:
    push = _pushed_forward(ys, xs, create_graph)

    def columns(j: int) -> list[list[Any]]:
        return [push([unit if i == j else _zeros(x) for i, x in enumerate(xs)]) for unit in _basis(xs[j])]

    found = [columns(j) for j in range(len(xs))]
    return [
        [_turned(_stacked([c[i] for c in found[j]], x.shape + y.shape, y), x.ndim) for j, x in enumerate(xs)]
        for i, y in enumerate(ys)
    ]


def _stacked(parts: Sequence[Tensor], shape: tuple[int, ...], like: Tensor) -> Any:
    """Return the parts as one tensor of `shape`, the parts' own axes last."""
    from tinygrad_bc.ops import stack

    if not parts:
        return constant(np.zeros(shape, like.dtype))
    return stack(parts).reshape(shape)


def _turned(block: Tensor, ndim: int) -> Tensor:
    """Return `block` with its first `ndim` axes last."""
    return block.permute(*range(ndim, block.ndim), *range(ndim)) if block.ndim else block
