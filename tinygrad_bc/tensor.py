"""The tensor: what users hold in their hands. Every method is one line, and the work is done elsewhere."""

from __future__ import annotations

import itertools
import operator
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from tinygrad_bc import autograd, ops
from tinygrad_bc.dataframes import let_products_through
from tinygrad_bc.diagnosis import forward_error
from tinygrad_bc.errors import DTypeError, GradientError, GradientWarning, IndexingError, ShapeError
from tinygrad_bc.primitive import (
    CAPTURE_PLAIN,
    COUNTERPARTS,
    OFF,
    REGISTRY,
    Primitive,
    constant,
    mode,
    record,
    set_result_class,
)
from tinygrad_bc.record import (
    KEEP,
    Array,
    Value,
    as_array,
    captures,
    clock,
    note_change,
    refuse_while_capturing,
    tracer,
)

__all__ = ["HookHandle", "Tensor", "tensor"]

# The operations behind + - /; the functions of these names take PyTorch's options too.
_add, _subtract, _divide = REGISTRY["add"], REGISTRY["subtract"], REGISTRY["divide"]


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
    let_products_through()
    if isinstance(data, Value):
        refuse_while_capturing("tg.tensor(t)", "Use t as it is, t.clone() or t.detach()")
    source = data._data if isinstance(data, Value) else data
    if isinstance(source, list | tuple) and any(isinstance(x, Value) for x in source):
        raise DTypeError("a list of tensors would lose their history here: join them with tg.concatenate")
    array = np.array(as_array(source, dtype), order="C")
    result = Tensor(
        array if array.ndim else array[()], False, None, name
    )  # a scalar is faster than an array of no axes
    result.requires_grad = requires_grad
    result._changed = clock()
    return result


class Tensor(Value):
    """An array that remembers how it was computed. Make one with `tensor`.

    Attributes
    ----------
    data : ndarray
        The values; the tensor's own memory.
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
        ndim: int = self._data.ndim
        return ndim

    @property
    def requires_grad(self) -> bool:
        """Whether operations on this tensor are recorded. May be set on leaves."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, required: bool) -> None:
        if bool(required) == self._requires_grad and self.node is not None:
            return
        if required and self.dtype.kind != "f":
            raise DTypeError(
                f"{self._title()} has dtype {self.dtype}, and only floating-point numbers have gradients: "
                "make it with dtype=float, or from numbers with a decimal point"
            )
        if self.node is not None:
            tracing = tracer.get()
            if self._requires_grad or tracing is None:  # in a captured function leaves, too, may have been computed
                raise GradientError(
                    f"{self._title()} was computed by `{self.node.op.name}`, so whether it requires a gradient "
                    "follows from what it was computed from. For one without history take .detach()"
                )
            tracing.begin_at(self)
        self._requires_grad = bool(required)
        clock()

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
        text = np.array2string(self._array, separator=", ", prefix="tensor(", threshold=200, edgeitems=3)
        extras = [f"name={self.name!r}"] if self.name else []
        if self.dtype not in (np.float64, np.int64, np.bool_):
            extras.append(f"dtype={self.dtype}")
        if self.node is not None:
            extras.append(f"op={self.node.op.name}")
        elif self._requires_grad:
            extras.append("requires_grad=True")
        return f"tensor({', '.join([text, *extras])})"

    def __format__(self, spec: str) -> str:
        refuse_while_capturing("Printing a tensor", "Return it from the captured function")
        if not spec:
            return str(self)
        if self._data.size != 1:
            raise TypeError(
                f"{self._title()} has shape {self.shape}: only a single number can be formatted as {spec!r}"
            )
        return format(self._data.item(), spec)

    def dim(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    def numel(self) -> int:
        """Return the number of elements."""
        return self._data.size

    def size(self, dim: int | None = None) -> Any:
        """Return the shape, or the length of one axis."""
        return self.shape if dim is None else self.shape[dim]

    def clone(self) -> Tensor:
        """Return a copy with a memory of its own, recorded."""
        return ops.cast(self, dtype=self.dtype)

    # --- out of the graph --------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """Return a tensor on the same memory, without history and without gradient."""
        if tracer.get() is not None:  # where even that is recorded
            return REGISTRY["without_gradient"](self)
        return Tensor(self.data[...], False, None, self.name)

    def numpy(self) -> Array:
        """Return the values as a NumPy array on the same memory. Refused where that would lose a gradient."""
        return self.__array__()

    def item(self) -> Any:
        """Return the only element as a Python number."""
        refuse_while_capturing("item()", "Return the tensor, and call item() on what the captured function returns")
        if self._data.size != 1:
            raise ShapeError(f"item() needs a tensor of one element; {self._title()} has shape {self.shape}")
        return self._data.item()

    def tolist(self) -> Any:
        """Return the values as nested lists of Python numbers."""
        refuse_while_capturing("tolist()", "Return the tensor from the captured function")
        return self._data.tolist()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        refuse_while_capturing(
            "A NumPy array made of a tensor, by numpy() or np.asarray(),",
            "Compute with the tensor itself, by tg's functions or NumPy's: they are recorded. Or return it",
        )
        if self._requires_grad:
            raise GradientError(
                f"{self._title()} requires a gradient, and turning it into a NumPy array would lose its history. If "
                "that is meant, write .detach().numpy(). To join tensors, use tg.concatenate"
            )
        return np.array(self.data, dtype=dtype, copy=copy)

    def __bool__(self) -> bool:
        refuse_while_capturing(
            "The truth of a tensor (`if`, `while`, `and`, `assert`)",
            "Choose between elements with tg.where, or return the tensor, and decide outside",
        )
        if self._data.size != 1:
            raise ShapeError(
                f"{self._title()} has shape {self.shape}: the truth of several elements is ambiguous. "
                "Compare a single number, or ask .data.any() or .data.all()"
            )
        return bool(self._data.item())

    def __float__(self) -> float:
        refuse_while_capturing("float()", _NO_NUMBER)
        return float(self.item())

    def __int__(self) -> int:
        refuse_while_capturing("int()", _NO_NUMBER)
        return int(self.item())

    def __index__(self) -> int:
        refuse_while_capturing(
            "A tensor in the place of a whole number", "x[i] with a tensor i is recorded, if x is one"
        )
        return operator.index(self.item())

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a tensor without axes has no length")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if not self.shape:
            raise TypeError(f"{self._title()} cannot be iterated over: it is a single number")
        return (self[i] for i in range(len(self)))

    def __reduce__(self) -> tuple[Any, ...]:
        refuse_while_capturing("Copying or pickling a tensor", "Write t.clone() or t.detach()")
        if self.node is not None:
            raise GradientError(
                f"{self._title()} was computed, and its history cannot be copied or pickled: take .detach() first"
            )
        return _restored, (self._array, self._requires_grad, self.name, self._grad)

    # --- gradients ---------------------------------------------------------------------------------

    @property
    def grad(self) -> Any:
        """The gradient that `backward` added up here, a tensor; None as long as there was none."""
        if captures and (tracing := tracer.get()) is not None:
            return tracing.gradient_of(self)
        if self._grad is None and self._requires_grad:
            self._warn_of_no_gradient()
        return self._grad

    @grad.setter
    def grad(self, gradient: Any) -> None:
        if captures and (tracing := tracer.get()) is not None:
            tracing.note_gradient(self)
        if gradient is not None:
            array = as_array(gradient._data if isinstance(gradient, Value) else gradient)
            if array.shape != self.shape:
                raise ShapeError(f"{self._title()} has shape {self.shape}, the gradient given to it {array.shape}")
            gradient = gradient if isinstance(gradient, Value) else constant(array)
        self._grad = gradient
        clock()

    def _warn_of_no_gradient(self) -> None:
        """Say why there is no gradient, if a reader would expect one."""
        text = ""
        if self.node is None:
            output = autograd.missed_by(self)
            if output:
                text = (
                    f"{self._title()} has no gradient: the last backward() came from {output}, which was not computed "
                    "from it. Is it used on the way, and not only its .data or .detach()? loss.backward(inputs=[...]) "
                    "makes this an error; a tensor that is to have none is made with requires_grad=False"
                )
        elif not self.retains_grad:
            text = (
                f"the gradient of {self._title()} is not kept: it was computed, by\n  {self.node.place}\nand only "
                "leaves keep theirs. Call retain_grad() before backward(). If it was a parameter once, an update "
                "(`W = W - lr * W.grad`) has put a new tensor in its place: inside tg.no_grad(), write "
                "`W -= lr * W.grad`"
            )
        if text:
            warnings.warn(text, GradientWarning, stacklevel=3)

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Value | Sequence[Value] | None = None,
    ) -> None:
        """Compute the gradient of this tensor and add it to ``.grad`` of every leaf that requires one.

        Parameters
        ----------
        gradient : array_like, optional
            The cotangent of this tensor, of its shape. May be left out for a single number: then it is 1.
        retain_graph : bool, optional
            Whether another backward pass through the same operations is meant to come, to be added to
            the gradients of this one. By default it is refused, unless this pass is recorded itself.
        create_graph : bool
            Whether to record the pass, so that the gradients can be differentiated again.
        inputs : Tensor or sequence of Tensor, optional
            Which tensors get a gradient, in place of all leaves: each of them must.

        Raises
        ------
        GradientError
            If this tensor does not require a gradient, is not a single number and no cotangent was given,
            if the data of a tensor was changed after the forward pass had used it, if a backward pass has
            gone this way before, or if one of `inputs` is not reached.
        """
        autograd.backward(self, gradient, retain_graph, create_graph, inputs)

    def retain_grad(self) -> None:
        """Let `backward` keep the gradient of this tensor too, though it is not a leaf."""
        self._require_gradient("retain")
        self.hooks = {**(self.hooks or {}), KEEP: _leave_alone}
        clock()

    def register_hook(self, hook: Callable[[Tensor], Any]) -> HookHandle:
        """Call `hook` with the gradient of this tensor whenever one is computed.

        What it returns, unless it is None, takes the place of the gradient, for this tensor and for
        those it was computed from. Hooks run in the order in which they were registered.

        Returns
        -------
        HookHandle
            ``handle.remove()`` takes the hook off again. Also a context manager: off at the end of the block.
        """
        self._require_gradient("pass to the hook")
        handle = HookHandle(self)
        self.hooks = {**(self.hooks or {}), handle.key: hook}
        clock()
        return handle

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Set `requires_grad` and return the tensor itself."""
        self.requires_grad = requires_grad
        return self

    def _require_gradient(self, what: str) -> None:
        if not self._requires_grad:
            raise GradientError(f"{self._title()} does not require a gradient, so there will be none to {what}")

    # --- operators ---------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Tensor:
        return record(_add, (self, other))

    def __radd__(self, other: Any) -> Tensor:
        return record(_add, (other, self))

    def __sub__(self, other: Any) -> Tensor:
        return record(_subtract, (self, other))

    def __rsub__(self, other: Any) -> Tensor:
        return record(_subtract, (other, self))

    def __mul__(self, other: Any) -> Tensor:
        return record(ops.multiply, (self, other))

    def __rmul__(self, other: Any) -> Tensor:
        return record(ops.multiply, (other, self))

    def __truediv__(self, other: Any) -> Tensor:
        return record(_divide, (self, other))

    def __rtruediv__(self, other: Any) -> Tensor:
        return record(_divide, (other, self))

    def __mod__(self, other: Any) -> Tensor:
        return record(ops.remainder, (self, other))

    def __rmod__(self, other: Any) -> Tensor:
        return record(ops.remainder, (other, self))

    def __floordiv__(self, other: Any) -> Tensor:
        return record(ops.floor_divide, (self, other))

    def __rfloordiv__(self, other: Any) -> Tensor:
        return record(ops.floor_divide, (other, self))

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
        return self._update(_add, np.add, other)

    def __isub__(self, other: Any) -> Tensor:
        return self._update(_subtract, np.subtract, other)

    def __imul__(self, other: Any) -> Tensor:
        return self._update(ops.multiply, np.multiply, other)

    def __itruediv__(self, other: Any) -> Tensor:
        return self._update(_divide, np.divide, other)

    def __ipow__(self, other: Any) -> Tensor:
        return self._update(ops.power, np.power, other)

    def __setitem__(self, key: Any, value: Any) -> None:
        refuse_while_capturing("x[...] = ...", "Use tg.where, tg.scatter_add or tg.concatenate")
        if self.node is not None or mode.get() is not OFF:
            raise GradientError(
                f"{self._title()}[...] = ... would change numbers that recorded operations may need. Make a new "
                "tensor, by tg.where(mask, value, x), tg.concatenate or tg.scatter_add; a parameter's elements can be "
                "set inside tg.no_grad()"
            )
        data = self._own_memory()
        try:
            data[key] = value._data if isinstance(value, Value) else value
        except (ValueError, IndexError, TypeError) as error:
            raise IndexingError(f"{self._title()} of shape {self.shape} cannot be set so: {error}") from None
        note_change(self)

    def __getattr__(self, name: str) -> Any:
        if name == "_data":
            return super().__getattr__(name)
        if name.endswith("_") and not name.startswith("_"):
            raise AttributeError(
                f"a tensor has no {name}(): working in place would change numbers that recorded operations may need. "
                "Inside tg.no_grad(), write `W -= ...`, `W[...] = ...` or `W.data = ...`; a gradient is cleared by "
                "`W.grad = None` or model.zero_grad()",
                name=name,
                obj=self,
            )
        raise AttributeError(f"'Tensor' object has no attribute {name!r}", name=name, obj=self)

    def _own_memory(self) -> Array:
        """Return the data to be updated in place; refused where it is another tensor's too."""
        data = self._array
        if data.base is not None and isinstance(data.base, np.ndarray):
            raise GradientError(
                f"{self._title()} is a view of another tensor's memory (a part of it, or detached from it), which "
                "would be changed unnoticed. Update that tensor, or a copy: tg.tensor(t)"
            )
        return data

    def _update(self, op: Primitive, ufunc: np.ufunc, other: Any) -> Tensor:
        """Update a leaf in place inside ``no_grad()``; elsewhere, `y += x` means `y = y + x`."""
        if mode.get() is CAPTURE_PLAIN and self.is_leaf:
            return self._captured_update(op, other)
        if self.node is not None or mode.get() is not OFF:
            if self.is_leaf and self._requires_grad:
                raise GradientError(
                    f"{self._title()} requires a gradient and cannot be updated while operations are recorded. "
                    f"Update it inside no_grad():\n    with tg.no_grad():\n        {self.name or 'W'} -= lr * gradient"
                )
            return record(op, (self, other))
        change = other._data if isinstance(other, Value) else as_array(other)
        data = self._own_memory()
        try:
            ufunc(data, change, data)
        except ValueError as error:
            if np.ndim(change) and change.shape[-self.ndim :] == self.shape:
                raise ShapeError(
                    f"{self._title()} of shape {self.shape} cannot be updated in place by numbers of shape "
                    f"{change.shape}: an update keeps the shape. Is a .sum(axis=0) missing?"
                ) from None
            raise forward_error(op, (self, constant(change)), {}, error) from None
        except TypeError:
            raise DTypeError(f"{self._title()} of dtype {self.dtype} cannot hold a result of {change.dtype}") from None
        note_change(self)
        return self

    def _captured_update(self, op: Primitive, other: Any) -> Tensor:
        """Note that this tensor is another value from now on, while a function is captured."""
        new = record(op, (self, other))
        if new.shape != self.shape:
            raise ShapeError(f"{self._title()} of shape {self.shape} cannot be updated in place to shape {new.shape}")
        tracer.get().update(self, new if new.dtype == self.dtype else ops.cast(new, dtype=self.dtype))  # type: ignore[union-attr]
        return self

    # --- operations: the functions of the same name, this tensor being their first argument -------------

    add = ops.add
    sub = ops.sub
    subtract = ops.subtract
    rsub = ops.rsub
    mul = ops.mul
    multiply = ops.multiply
    div = ops.div
    divide = ops.divide
    true_divide = ops.true_divide
    floor_divide = ops.floor_divide
    remainder = ops.remainder
    fmod = ops.fmod
    neg = ops.neg
    negative = ops.negative
    pow = ops.pow

    eq = ops.eq
    equal = ops.equal
    ne = ops.ne
    not_equal = ops.not_equal
    lt = ops.lt
    less = ops.less
    le = ops.le
    less_equal = ops.less_equal
    gt = ops.gt
    greater = ops.greater
    ge = ops.ge
    greater_equal = ops.greater_equal
    logical_and = ops.logical_and
    logical_or = ops.logical_or
    logical_xor = ops.logical_xor
    logical_not = ops.logical_not
    bitwise_and = ops.bitwise_and
    bitwise_or = ops.bitwise_or
    bitwise_xor = ops.bitwise_xor
    bitwise_not = ops.bitwise_not
    isnan = ops.isnan
    isinf = ops.isinf
    isfinite = ops.isfinite

    exp = ops.exp
    expm1 = ops.expm1
    log = ops.log
    log1p = ops.log1p
    log2 = ops.log2
    log10 = ops.log10
    sqrt = ops.sqrt
    rsqrt = ops.rsqrt
    square = ops.square
    reciprocal = ops.reciprocal
    sin = ops.sin
    cos = ops.cos
    tan = ops.tan
    asin = ops.asin
    arcsin = ops.arcsin
    acos = ops.acos
    arccos = ops.arccos
    atan = ops.atan
    arctan = ops.arctan
    sinh = ops.sinh
    cosh = ops.cosh
    tanh = ops.tanh
    asinh = ops.asinh
    arcsinh = ops.arcsinh
    acosh = ops.acosh
    arccosh = ops.arccosh
    atanh = ops.atanh
    arctanh = ops.arctanh
    erf = ops.erf
    erfc = ops.erfc
    abs = ops.abs
    absolute = ops.absolute
    sign = ops.sign
    floor = ops.floor
    ceil = ops.ceil
    round = ops.round
    trunc = ops.trunc
    nan_to_num = ops.nan_to_num
    astype = ops.astype

    maximum = ops.maximum
    minimum = ops.minimum
    logaddexp = ops.logaddexp
    atan2 = ops.atan2
    arctan2 = ops.arctan2
    xlogy = ops.xlogy
    clamp = ops.clamp
    clip = ops.clip
    masked_fill = ops.masked_fill

    sigmoid = ops.sigmoid
    logsigmoid = ops.logsigmoid
    softplus = ops.softplus
    relu = ops.relu
    leaky_relu = ops.leaky_relu
    elu = ops.elu
    gelu = ops.gelu
    silu = ops.silu
    softmax = ops.softmax
    log_softmax = ops.log_softmax

    sum = ops.sum
    mean = ops.mean
    var = ops.var
    std = ops.std
    prod = ops.prod
    amax = ops.amax
    amin = ops.amin
    argmax = ops.argmax
    argmin = ops.argmin
    logsumexp = ops.logsumexp
    norm = ops.norm
    cumsum = ops.cumsum
    cumprod = ops.cumprod
    all = ops.all
    any = ops.any

    reshape = ops.reshape
    view = ops.view
    flatten = ops.flatten
    ravel = ops.ravel
    transpose = ops.transpose
    swapaxes = ops.swapaxes
    swapdims = ops.swapdims
    permute = ops.permute
    moveaxis = ops.moveaxis
    movedim = ops.movedim
    squeeze = ops.squeeze
    unsqueeze = ops.unsqueeze
    expand = ops.expand
    expand_as = ops.expand_as
    broadcast_to = ops.broadcast_to
    tile = ops.tile
    repeat = ops.repeat
    repeat_interleave = ops.repeat_interleave
    flip = ops.flip
    fliplr = ops.fliplr
    flipud = ops.flipud
    roll = ops.roll
    diag = ops.diag
    diag_embed = ops.diag_embed
    diagonal = ops.diagonal
    tril = ops.tril
    triu = ops.triu

    index_select = ops.index_select
    gather = ops.gather
    scatter_add = ops.scatter_add
    take = ops.take
    take_along_dim = ops.take_along_dim
    argsort = ops.argsort

    matmul = ops.matmul
    mm = ops.mm
    mv = ops.mv
    bmm = ops.bmm
    dot = ops.dot
    vdot = ops.vdot
    inner = ops.inner
    outer = ops.outer
    ger = ops.ger
    kron = ops.kron
    trace = ops.trace
    inverse = ops.inverse
    det = ops.det
    cholesky = ops.cholesky

    # These return several tensors.
    max: ClassVar[Callable[..., Any]] = ops.max
    min: ClassVar[Callable[..., Any]] = ops.min
    sort: ClassVar[Callable[..., Any]] = ops.sort
    topk: ClassVar[Callable[..., Any]] = ops.topk
    split: ClassVar[Callable[..., Any]] = ops.split
    split_with_sizes: ClassVar[Callable[..., Any]] = ops.split_with_sizes
    chunk: ClassVar[Callable[..., Any]] = ops.chunk
    tensor_split: ClassVar[Callable[..., Any]] = ops.tensor_split
    unbind: ClassVar[Callable[..., Any]] = ops.unbind
    slogdet: ClassVar[Callable[..., Any]] = ops.slogdet
    svd: ClassVar[Callable[..., Any]] = ops.svd

    def where(self, condition: Any, other: Any) -> Tensor:
        """Keep the elements where `condition` holds, and take those of `other` elsewhere."""
        return ops.where(condition, self, other)

    @property
    def T(self) -> Tensor:
        """The axes in reverse order; of a matrix, its transpose."""
        return record(ops.matrix_transpose, (self,)) if self.ndim == 2 else ops.permute(self, range(self.ndim)[::-1])

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped."""
        return record(ops.matrix_transpose, (self,))

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


_NO_NUMBER = "Compute with the tensor itself; to log it, return it, and take the number outside"

# They ask about values, and have no derivative that could be lost.
_QUESTIONS = {
    *(np.allclose, np.isclose, np.array_equal, np.count_nonzero, np.nonzero, np.argwhere, np.searchsorted, np.size),
    *(np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.array_repr, np.array_str, np.array2string),
}


def _without_history(function: Callable[..., Any], arguments: Any) -> Any:
    """Return the arguments of a NumPy function that we do not record, with arrays in the place of tensors.

    Refused where a tensor requires a gradient, which would be lost.
    """
    if isinstance(arguments, Value):
        refuse_while_capturing(f"np.{function.__name__}", "dir(tg.ops) lists what is recorded")
        if arguments._requires_grad and function not in _QUESTIONS:
            raise GradientError(
                f"np.{function.__name__}, called like this, is not recorded, and the gradient of a tensor given to it "
                "would be lost. dir(tg.ops) lists what is recorded; where no gradient is wanted, pass t.detach()"
            )
        return arguments._array
    if isinstance(arguments, dict):
        return {key: _without_history(function, x) for key, x in arguments.items()}
    if isinstance(arguments, list | tuple):
        return type(arguments)(_without_history(function, x) for x in arguments)
    return arguments


_hook_numbers = itertools.count()


class HookHandle:
    """What takes a hook off a tensor again."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = weakref.ref(tensor)
        self.key = next(_hook_numbers)

    def remove(self) -> None:
        """Take the hook off; nothing happens if it is off already."""
        tensor = self._tensor()
        if tensor is not None and tensor.hooks is not None:
            tensor.hooks = {key: hook for key, hook in tensor.hooks.items() if key != self.key} or None
            clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def _leave_alone(gradient: Tensor) -> None:
    """Be the hook of a tensor that only retains its gradient."""


def _restored(data: Array, requires_grad: bool, name: str | None, grad: Tensor | None) -> Tensor:
    """Return a tensor that was pickled."""
    result = tensor(data, requires_grad=requires_grad, name=name)
    result.grad = grad
    return result


set_result_class(Tensor)
