"""The tensor: what users hold in their hands. Every method is one line, and the work is done elsewhere."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np

from tinygrad_bc import autograd, ops
from tinygrad_bc.diagnosis import forward_error
from tinygrad_bc.errors import DTypeError, GradientError, ShapeError
from tinygrad_bc.primitive import COUNTERPARTS, OFF, Primitive, constant, mode, record, set_result_class
from tinygrad_bc.record import Array, Value, as_array, clock

__all__ = ["Tensor", "tensor"]


def tensor(data: Any, *, dtype: Any = None, requires_grad: bool = False, name: str | None = None) -> Tensor:
    """Make a tensor from numbers; they are copied.

    Parameters
    ----------
    data : array_like
        Numbers, nested sequences, an array, a pandas object or another tensor (whose history is left behind).
    dtype : optional
        The element type. By default what NumPy would choose: float64 for Python floats, and an array
        keeps its own.
    requires_grad : bool
        Whether gradients with respect to this tensor will be asked for.
    name : str, optional
        How messages, pictures and formulas call it.

    Raises
    ------
    DTypeError
        If `data` does not hold numbers, or a gradient is asked for and they are not floating-point.

    Examples
    --------
    >>> W = tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True, name="W")
    >>> W.shape
    (2, 2)
    """
    source = data._data if isinstance(data, Value) else data
    if isinstance(source, list | tuple) and any(isinstance(x, Value) for x in source):
        raise DTypeError("a list of tensors would lose their history here: join them with tg.concatenate")
    result = Tensor(np.array(as_array(source, dtype), order="C"), False, None, name)
    result.requires_grad = requires_grad
    return result


class Tensor(Value):
    """An array that remembers how it was computed. Make one with `tensor`.

    Attributes
    ----------
    data : ndarray
        The values; the tensor's own memory.
    grad : Tensor or None
        The gradient that `backward` added up here; None as long as there was none.
    requires_grad : bool
        Whether operations on it are recorded.
    name : str or None
        Its name in messages, pictures and formulas.
    node : Node or None
        The recipe it was computed by; None for a leaf.
    """

    __slots__ = ()

    # NumPy and pandas leave the operators to us: `array @ tensor` gets to `__rmatmul__`, or to a ufunc.
    __array_priority__ = 1000
    __pandas_priority__ = 10_000

    # --- what it is --------------------------------------------------------------------------------

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded. May be set on leaves."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, required: bool) -> None:
        if self.node is not None:
            raise GradientError(
                f"{self._title()} was computed by `{self.node.op.name}`, so whether it requires a gradient "
                "follows from what it was computed from. For one without history take .detach()"
            )
        if required and self.dtype.kind != "f":
            raise DTypeError(
                f"{self._title()} has dtype {self.dtype}, and only floating-point numbers have gradients: "
                "make it with dtype=float, or from numbers with a decimal point"
            )
        self._requires_grad = bool(required)

    @property
    def is_leaf(self) -> bool:
        """Whether it was made by the user: nothing that requires a gradient went into it."""
        return self.node is None or not self._requires_grad

    def named(self, name: str) -> Self:
        """Give this tensor a name and return it: ``Z1 = (W1 @ X + b1).named("Z1")``."""
        self.name = name
        return self

    def _title(self) -> str:
        return self.name or f"this tensor of shape {self.shape}"

    def __repr__(self) -> str:
        text = np.array2string(self.data, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
        extras = [f"name={self.name!r}"] if self.name else []
        if self.dtype not in (np.float64, np.int64, np.bool_):
            extras.append(f"dtype={self.dtype}")
        if self.node is not None:
            extras.append(f"op={self.node.op.name}")
        elif self._requires_grad:
            extras.append("requires_grad=True")
        return f"tensor({', '.join([text, *extras])})"

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.data.size != 1:
            raise TypeError(
                f"{self._title()} has shape {self.shape}: only a single number can be formatted as {spec!r}"
            )
        return format(self.data.item(), spec)

    # --- out of the graph --------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """Return a tensor on the same memory, without history and without gradient."""
        return Tensor(self.data[...], False, None, self.name)

    def numpy(self) -> Array:
        """Return the values as a NumPy array on the same memory. Refused where that would lose a gradient."""
        return self.__array__()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        if self.data.size != 1:
            raise ShapeError(f"item() needs a tensor of one element; {self._title()} has shape {self.shape}")
        return self.data.item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        return self.data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if self._requires_grad:
            raise GradientError(
                f"{self._title()} requires a gradient, and turning it into a NumPy array would lose its history. If "
                "that is meant, write .detach().numpy(). To join tensors, use tg.concatenate. If pandas asked for it "
                "(DataFrame @ tensor), write tg.tensor(df) @ t"
            )
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        if self.data.size != 1:
            raise ShapeError(
                f"{self._title()} has shape {self.shape}: the truth of several elements is ambiguous. "
                "Compare a single number, or ask .data.any() or .data.all()"
            )
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        if self.node is not None:
            raise GradientError(
                f"{self._title()} was computed, and its history cannot be copied or pickled: take .detach() first"
            )
        return _restored, (self.data, self._requires_grad, self.name, self.grad)

    # --- gradients ---------------------------------------------------------------------------------

    def backward(self, gradient: Any = None) -> None:
        """Compute the gradient of this tensor and add it to ``.grad`` of every leaf that requires one.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent of this tensor, of its shape. May be left out for a single number: then it is 1.

        Raises
        ------
        GradientError
            If this tensor does not require a gradient, is not a single number and no cotangent was given, or
            if the data of a tensor was changed after the forward pass had used it.
        """
        autograd.backward(self, gradient)

    def retain_grad(self) -> None:
        """Let `backward` keep the gradient of this tensor too, though it is not a leaf."""
        if not self._requires_grad:
            raise GradientError(f"{self._title()} does not require a gradient, so there will be none to retain")
        self.retains_grad = True

    # --- operators ---------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return record(ops.add, (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return record(ops.add, (other, self))

    def __sub__(self, other: Any) -> Tensor:
        return record(ops.subtract, (self, other))

    def __rsub__(self, other: Any) -> Tensor:
        return record(ops.subtract, (other, self))

    def __mul__(self, other: Any) -> Tensor:
        return record(ops.multiply, (self, other))

    def __rmul__(self, other: Any) -> Tensor:
        return record(ops.multiply, (other, self))

    def __truediv__(self, other: Any) -> Tensor:
        return record(ops.divide, (self, other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return record(ops.divide, (other, self))

    def __pow__(self, other: Any) -> Tensor:
        return record(ops.power, (self, other))

    def __rpow__(self, other: Any) -> Tensor:
        return record(ops.power, (other, self))

    def __matmul__(self, other: Any) -> Tensor:
        return record(ops.matmul, (self, other))

    def __rmatmul__(self, other: Any) -> Tensor:
        return record(ops.matmul, (other, self))

    def __neg__(self) -> Tensor:
        return record(ops.negative, (self,))

    def __pos__(self) -> Tensor:
        return self

    def __abs__(self) -> Tensor:
        return record(ops.abs, (self,))

    def __getitem__(self, key: Any) -> Tensor:
        return ops.getitem(self, key)

    def __eq__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else record(ops.equal, (self, other))

    def __ne__(self, other: object) -> Tensor:  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else record(ops.not_equal, (self, other))

    def __lt__(self, other: Any) -> Tensor:
        return record(ops.less, (self, other))

    def __le__(self, other: Any) -> Tensor:
        return record(ops.less_equal, (self, other))

    def __gt__(self, other: Any) -> Tensor:
        return record(ops.greater, (self, other))

    def __ge__(self, other: Any) -> Tensor:
        return record(ops.greater_equal, (self, other))

    def __and__(self, other: Any) -> Tensor:
        return record(ops.bitwise_and, (self, other))

    def __or__(self, other: Any) -> Tensor:
        return record(ops.bitwise_or, (self, other))

    def __rand__(self, other: Any) -> Tensor:
        return record(ops.bitwise_and, (other, self))

    def __ror__(self, other: Any) -> Tensor:
        return record(ops.bitwise_or, (other, self))

    def __xor__(self, other: Any) -> Tensor:
        return record(ops.bitwise_xor, (self, other))

    def __rxor__(self, other: Any) -> Tensor:
        return record(ops.bitwise_xor, (other, self))

    def __invert__(self) -> Tensor:
        return record(ops.bitwise_not, (self,))

    # Elements are compared by ==, tensors are told apart by identity: they can be keys of a dict.
    __hash__ = object.__hash__

    # --- updates in place --------------------------------------------------------------------------

    def __iadd__(self, other: Any) -> Tensor:
        return self._update(ops.add, np.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._update(ops.subtract, np.subtract, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._update(ops.multiply, np.multiply, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._update(ops.divide, np.divide, other)

    def __ipow__(self, other: Any) -> Tensor:
        return self._update(ops.power, np.power, other)

    def _update(self, op: Primitive, ufunc: np.ufunc, other: Any) -> Tensor:
        """Update a leaf in place inside ``no_grad()``; elsewhere, `y += x` means `y = y + x`."""
        if self.node is not None or mode.get() is not OFF:
            if self.is_leaf and self._requires_grad:
                raise GradientError(
                    f"{self._title()} requires a gradient and cannot be updated while operations are recorded. "
                    f"Update it inside no_grad():\n    with tg.no_grad():\n        {self.name or 'W'} -= lr * gradient"
                )
            return record(op, (self, other))
        change = other._data if isinstance(other, Value) else as_array(other)
        data = self.data
        if isinstance(data.base, np.ndarray):
            raise GradientError(
                f"{self._title()} is a view of another tensor's memory (a part of it, or detached from it), which "
                "would be changed unnoticed. Update that tensor, or a copy: tg.tensor(t)"
            )
        try:
            ufunc(data, change, data)
        except ValueError as error:
            raise forward_error(op, (self, constant(change)), {}, error) from None
        except TypeError:
            raise DTypeError(f"{self._title()} of dtype {self.dtype} cannot hold a result of {change.dtype}") from None
        self._changed = clock()
        return self

    # --- operations --------------------------------------------------------------------------------

    @property
    def T(self) -> Tensor:
        """The axes in reverse order; of a matrix, its transpose."""
        return record(ops.matrix_transpose, (self,)) if self.ndim == 2 else ops.permute(self, range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return record(ops.matrix_transpose, (self,))

    def exp(self) -> Tensor:
        """Exponential, elementwise."""
        return record(ops.exp, (self,))

    def log(self) -> Tensor:
        """Natural logarithm, elementwise."""
        return record(ops.log, (self,))

    def sqrt(self) -> Tensor:
        """Square root, elementwise."""
        return record(ops.sqrt, (self,))

    def relu(self) -> Tensor:
        """``max(x, 0)``, elementwise; its derivative at 0 is 0."""
        return record(ops.relu, (self,))

    def sigmoid(self) -> Tensor:
        """``1 / (1 + exp(-x))``, elementwise, without overflow."""
        return record(ops.sigmoid, (self,))

    def tanh(self) -> Tensor:
        """Hyperbolic tangent, elementwise."""
        return record(ops.tanh, (self,))

    def abs(self) -> Tensor:
        """Absolute value, elementwise; its derivative at 0 is 0."""
        return record(ops.abs, (self,))

    def pow(self, exponent: Any) -> Tensor:
        """``x ** exponent``, elementwise."""
        return record(ops.power, (self, exponent))

    def maximum(self, other: Any) -> Tensor:
        """The larger of two, elementwise; ties share the gradient equally."""
        return record(ops.maximum, (self, other))

    def minimum(self, other: Any) -> Tensor:
        """The smaller of two, elementwise; ties share the gradient equally."""
        return record(ops.minimum, (self, other))

    def clip(self, min: Any = None, max: Any = None) -> Tensor:
        """Limit to the interval from `min` to `max`."""
        return ops.clip(self, min, max)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Sum over the given axes, all by default."""
        return record(ops.sum, (self,), {"axis": axis, "keepdims": keepdims})

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Arithmetic mean over the given axes, all by default."""
        return record(ops.mean, (self,), {"axis": axis, "keepdims": keepdims})

    def max(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Largest element over the given axes; ties share the gradient equally."""
        return record(ops.max, (self,), {"axis": axis, "keepdims": keepdims})

    def min(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        """Smallest element over the given axes; ties share the gradient equally."""
        return record(ops.min, (self,), {"axis": axis, "keepdims": keepdims})

    def reshape(self, *shape: int | Sequence[int]) -> Tensor:
        """Return the elements in another shape, given as ``(3, -1)`` or ``3, -1``."""
        return ops.reshape(self, *shape)

    def permute(self, *dims: int | Sequence[int]) -> Tensor:
        """Return the axes in another order, given as ``(2, 0, 1)`` or ``2, 0, 1``."""
        return ops.permute(self, *dims)

    def transpose(self, dim0: int, dim1: int) -> Tensor:
        """Swap two axes."""
        return ops.transpose(self, dim0, dim1)

    def broadcast_to(self, *shape: int | Sequence[int]) -> Tensor:
        """Repeat to fill a shape."""
        return ops.broadcast_to(self, *shape)

    def astype(self, dtype: Any) -> Tensor:
        """Convert to another element type; differentiable between floating-point types."""
        return ops.astype(self, dtype)

    # --- NumPy's functions, called on tensors ------------------------------------------------------

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Tensor:
        op = COUNTERPARTS.get(ufunc)
        if op is not None and method == "__call__" and not kwargs:
            return op(*inputs)
        return getattr(ufunc, method)(*_without_history(ufunc, inputs), **_without_history(ufunc, kwargs))

    def __array_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        op = COUNTERPARTS.get(function)
        if op is not None:
            return op(*args, **kwargs)
        return function(*_without_history(function, args), **_without_history(function, kwargs))


def _without_history(function: Callable[..., Any], arguments: Any) -> Any:
    """Return the arguments of a NumPy function that we do not record, with arrays in the place of tensors.

    Refused where a tensor requires a gradient, which would be lost.
    """
    if isinstance(arguments, Value):
        if arguments._requires_grad:
            raise GradientError(
                f"np.{function.__name__}, called like this, is not recorded, and the gradient of a tensor given to it "
                "would be lost. dir(tg.ops) lists what is recorded; where no gradient is wanted, pass t.detach()"
            )
        return arguments.data
    if isinstance(arguments, dict):
        return {key: _without_history(function, x) for key, x in arguments.items()}
    if isinstance(arguments, list | tuple):
        return type(arguments)(_without_history(function, x) for x in arguments)
    return arguments


def _restored(data: Array, requires_grad: bool, name: str | None, grad: Tensor | None) -> Tensor:
    """Return a tensor that was pickled."""
    result = tensor(data, requires_grad=requires_grad, name=name)
    result.grad = grad
    return result


set_result_class(Tensor)
