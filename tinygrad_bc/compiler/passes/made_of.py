"""What the forward computation of an operation is made of, found by running it on symbols in the place of arrays.

A symbol has a shape and an element type but no numbers, so that code which looks at numbers, writes into arrays or
makes arrays of its own cannot be run on it. What can be run does the same whatever the numbers are.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_bc.ops import permute, reshape
from tinygrad_bc.primitive import COUNTERPARTS, Primitive
from tinygrad_bc.record import Value

__all__ = ["operations_in"]

REDUCTIONS: dict[np.ufunc, Callable[..., Any]] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_and: np.all,
    np.logical_or: np.any,
}

METHODS = frozenset(["all", "any", "clip", "max", "mean", "min", "prod", "squeeze", "sum", "swapaxes"])
"""Methods of arrays with the parameters of NumPy's function of that name."""


def operations_in(op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any]) -> Value | None:
    """Record what the forward computation of an operation does, in place of the operation.

    Parameters
    ----------
    op : Primitive
    inputs : tuple
        Values, or plain Python numbers.
    params : dict
        The metadata.

    Returns
    -------
    Value or None
        What is computed, recorded by other operations; None if that cannot be found out.
    """
    try:
        result = op.forward(*(_Symbol(x) if isinstance(x, Value) else x for x in inputs), **params)
    except Exception:  # anybody's code, which was written for arrays
        return None
    if not isinstance(result, _Symbol):
        return None
    value = result.value
    return None if value.node is not None and value.node.op is op else value


class _Symbol:
    """Stands for an array of which only shape and element type are known; its operations are recorded."""

    def __init__(self, value: Value) -> None:
        self.value = value
        self.shape, self.dtype, self.ndim, self.size = value.shape, value.dtype, value._data.ndim, value._data.size

    @property
    def T(self) -> _Symbol:
        return _Symbol(permute(self.value, range(self.ndim)[::-1]))

    @property
    def mT(self) -> _Symbol:
        return _Symbol(COUNTERPARTS[np.matrix_transpose](self.value))

    def __len__(self) -> int:
        return self.shape[0]

    def reshape(self, *shape: Any) -> _Symbol:
        return _Symbol(reshape(self.value, *shape))

    def astype(self, dtype: Any, copy: bool = True) -> _Symbol:  # noqa: ARG002
        return self if self.dtype == dtype else _call(_astype, self, dtype)

    def __getattr__(self, name: str) -> Any:
        if name not in METHODS:
            raise AttributeError(name)
        return functools.partial(_call, COUNTERPARTS[getattr(np, name)], self)

    def __getitem__(self, key: Any) -> _Symbol:
        return _call(operator.getitem, self, key)

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise TypeError("a symbol holds no numbers")

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "reduce" and ufunc in REDUCTIONS:
            return _call(COUNTERPARTS[REDUCTIONS[ufunc]], *inputs, **{"axis": 0, **options})
        if method != "__call__" or options:
            return NotImplemented
        return _call(COUNTERPARTS[ufunc], *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function is np.result_type:
            return np.result_type(*(x.dtype if isinstance(x, _Symbol) else x for x in args))
        return _call(COUNTERPARTS[function], *args, **kwargs)

    __hash__ = None  # type: ignore[assignment]
    __iter__ = None

    def __bool__(self) -> bool:
        raise TypeError("a symbol holds no numbers, and is neither true nor false")


def _astype(x: Any, dtype: Any) -> Any:
    return x.astype(dtype)


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function on the values that symbols stand for."""
    result = function(*map(_unwrapped, args), **{key: _unwrapped(x) for key, x in kwargs.items()})
    return _Symbol(result) if isinstance(result, Value) else result


def _unwrapped(x: Any) -> Any:
    if isinstance(x, _Symbol):
        return x.value
    if isinstance(x, np.ndarray):
        raise TypeError("an array that was made, or that may be another one later")
    return type(x)(map(_unwrapped, x)) if isinstance(x, list | tuple) else x


def _refuse(*_: Any) -> Any:
    raise TypeError("a symbol has no memory to be written into")


def _on_the_left(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *symbols: _call(function, *symbols)


def _on_the_right(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: _call(function, other, self)


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor"):
    setattr(_Symbol, f"__{_name}__", _on_the_left(getattr(operator, f"__{_name}__")))
    setattr(_Symbol, f"__r{_name}__", _on_the_right(getattr(operator, f"__{_name}__")))
    setattr(_Symbol, f"__i{_name}__", _refuse)  # another name for the same memory would see it
for _name in ("eq", "ne", "lt", "le", "gt", "ge", "neg", "abs", "invert"):
    setattr(_Symbol, f"__{_name}__", _on_the_left(getattr(operator, _name)))
