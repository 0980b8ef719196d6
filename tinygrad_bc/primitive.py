"""How an operation is declared, found again, and run: with or without being recorded."""

from __future__ import annotations

import functools
import inspect
import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from enum import Enum
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_bc import anomaly
from tinygrad_bc.diagnosis import call_error, call_mistake, forward_error, user_line
from tinygrad_bc.errors import DTypeError, TinygradError
from tinygrad_bc.record import PACKAGE_FILES, Node, Value, as_array, captures, clock, note_exposure, tracer, user_frame
from tinygrad_bc.scope import current

if TYPE_CHECKING:
    from tinygrad_bc.tensor import Tensor

__all__ = [
    "COMPOSITES",
    "COUNTERPARTS",
    "REGISTRY",
    "Composite",
    "EachInput",
    "ErrorSample",
    "Mode",
    "Primitive",
    "Sample",
    "composite",
    "mode",
    "primitive",
    "record",
]


class Mode(Enum):
    """What gets recorded."""

    OFF = "nothing"
    GRADIENTS = "operations on values that require a gradient"
    CAPTURE = "every operation on a value"
    CAPTURE_PLAIN = "every operation on a value, and no result requires a gradient"


OFF, GRADIENTS, CAPTURE, CAPTURE_PLAIN = Mode  # a global is found sooner than a member of an Enum class

mode: ContextVar[Mode] = ContextVar("tinygrad_bc.mode", default=Mode.GRADIENTS)
"""The current mode. Being a context variable it is separate for every thread and every async task."""

REGISTRY: dict[str, Primitive] = {}
"""Every declared operation by name. The tests, the drawings and the tables of operations go through it."""

COMPOSITES: dict[str, Composite] = {}
"""Every function that is made of operations, by name."""

COUNTERPARTS: dict[Callable[..., Any], Callable[..., Any]] = {}
"""What runs, and is recorded, when a NumPy function is called on a tensor."""

Vjp = Callable[..., Any]

SPELLINGS = {"dim": "axis", "keepdim": "keepdims"}
"""PyTorch's names for what NumPy and the signatures here call by another; both are understood."""


class Sample:
    """Inputs an operation is tried on: arrays or numbers, and its parameters."""

    def __init__(self, *inputs: Any, **params: Any) -> None:
        self.inputs = inputs
        self.params = params

    def __repr__(self) -> str:
        inputs = [f"array{x.shape}" if isinstance(x, np.ndarray) else repr(x) for x in self.inputs]
        return f"Sample({', '.join(inputs + [f'{k}={v!r}' for k, v in self.params.items()])})"


class ErrorSample(Sample):
    """Inputs that an operation must refuse, with the error and a pattern its message must match."""

    def __init__(self, *inputs: Any, error: type[Exception], match: str, **params: Any) -> None:
        super().__init__(*inputs, **params)
        self.error = error
        self.match = match


class EachInput:
    """The VJPs of an operation of any number of inputs: ``rule(i, g, y, *inputs, **params)`` for the i-th."""

    def __init__(self, rule: Vjp) -> None:
        self.rule = rule

    def __iter__(self) -> Iterator[Vjp]:
        return (functools.partial(self.rule, i) for i in itertools.count())


class _Operation:
    """What primitives and composites have in common: as attributes of a class they are its methods."""

    __call__: Callable[..., Any]

    def __get__(self, instance: Any, owner: Any = None) -> Callable[..., Tensor]:
        return self if instance is None else MethodType(self, instance)


class Primitive(_Operation):
    """One operation: everything the package knows about it.

    Calling it with arrays runs NumPy and returns an array; with a tensor among the inputs it returns
    a tensor, recorded where a gradient may be asked for. That is why a vector-Jacobian product can be
    written once, over the same operations, for every order of derivative.

    Created by `primitive`, which describes the attributes.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        *,
        vjps: Sequence[Vjp | None] | EachInput | None,
        formula: str,
        samples: Callable[[np.random.Generator], Iterable[Sample]],
        error_samples: Callable[[], Iterable[ErrorSample]],
        broadcasts: bool,
        diagnose: Callable[..., str] | None,
        name: str | None,
        fast: Callable[..., Any] | None = None,
    ) -> None:
        self.name = self.__name__ = name or forward.__name__
        self.__doc__ = forward.__doc__
        self.__module__ = getattr(forward, "__module__", "numpy")  # ufuncs have none before NumPy 2.1
        self.__wrapped__ = forward
        self.forward = forward
        self.compute = fast or forward  # what runs; `forward` is what it means
        self.vjps: Any = tuple(vjps) if isinstance(vjps, Sequence) else vjps
        self.differentiable = vjps is not None
        self.formula = formula
        self.samples = samples
        self.error_samples = error_samples
        self.broadcasts = broadcasts
        self.diagnose = diagnose
        if isinstance(forward, np.ufunc):
            self.arrays = ["x"] if forward.nin == 1 else ["a", "b"]
            self.required = forward.nin
            self.metadata: list[str] = []
            self.defaults: dict[str, Any] = {}
            self.variadic = False
            self.__signature__ = inspect.Signature(
                [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in self.arrays]
            )
        else:
            parameters = inspect.signature(forward).parameters.values()
            self.arrays = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
            self.required = sum(p.kind is p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters)
            self.metadata = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
            self.defaults = {
                p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty
            }
            self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self._metadata_names = frozenset(self.metadata)
        self.arity = sys.maxsize if self.variadic else len(self.arrays)
        self._check_declaration()

    def _check_declaration(self) -> None:
        """Refuse what would go wrong only later, when a gradient or a formula is asked for."""
        if not isinstance(self.vjps, tuple | EachInput | None):
            raise ValueError(f"{self.name}: vjps is a sequence, one rule for each array, [rule]; got {self.vjps!r}")
        if not callable(self.samples):
            raise ValueError(f"{self.name}: samples is a function of a random generator, lambda rng: [Sample(...)]")
        if isinstance(self.vjps, tuple) and not self.variadic and len(self.vjps) != len(self.arrays):
            raise ValueError(
                f"{self.name} takes {len(self.arrays)} arrays ({', '.join(self.arrays)}) but declares {len(self.vjps)} "
                "VJPs: declare one for each, None where there is no derivative"
            )
        if not str(self.__module__).startswith("tinygrad_bc."):  # ours are tested; asking takes time at import
            self._check_signatures_of_vjps()
        try:
            self.write(self.arrays or ["x"], dict.fromkeys(self.metadata, ""))
        except (KeyError, IndexError) as error:
            known = ", ".join(f"{{{name}}}" for name in self.arrays + self.metadata)
            raise ValueError(
                f"the formula of {self.name}, {self.formula!r}, names {error}; it may name {known}"
            ) from None

    def _check_signatures_of_vjps(self) -> None:
        for name, vjp in zip(self.arrays, self.vjps or ()):
            try:
                if vjp is not None:
                    inspect.signature(vjp).bind("g", "y", *self.arrays, **dict.fromkeys(self.metadata))
            except TypeError as error:
                called = ", ".join(["g", "y", *self.arrays, *(f"{key}=..." for key in self.metadata)])
                raise ValueError(f"the VJP of {self.name} for {name} is called as vjp({called}): {error}") from None

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Run the operation on arrays, or on tensors and record it."""
        if params or len(inputs) > self.required:
            inputs, params = self._arguments(inputs, params)
        for x in inputs:
            if type(x) is _ndarray:
                continue
            if isinstance(x, Value):
                return record(self, inputs, params)
            if not isinstance(x, _NUMBERS):
                return self(*map(as_array, inputs), **params)  # a list of numbers is as good as an array
        try:
            return self.compute(*inputs, **params) if params else self.compute(*inputs)
        except (ValueError, IndexError, TypeError) as error:
            raise forward_error(self, inputs, params, error) from None

    def _arguments(self, inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arrays and the metadata of a call that is more than required arrays by position."""
        if len(inputs) > self.arity or not self._metadata_names.issuperset(params):
            inputs, params = self._bound(inputs, params)
        while inputs and inputs[-1] is None:  # an optional array that is not given
            inputs = inputs[:-1]
        for x in params.values():
            if type(x) is list:  # which its owner could change before the backward pass
                return inputs, {name: tuple(x) if type(x) is list else x for name, x in params.items()}
        return inputs, params

    def _bound(self, inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort out a call that gives metadata by position, arrays by name, or anything by PyTorch's name."""
        takes = self.arrays + self.metadata
        given = _respelled(params, takes)
        if self.variadic:
            bound, arrays = given, inputs
        else:
            bound = {**dict(zip(takes, inputs)), **given}
            arrays = tuple(bound.pop(name) for name in self.arrays if name in bound)
        if len(bound) + len(arrays) != len(inputs) + len(params) or not bound.keys() <= self._metadata_names:
            raise call_mistake(self.name, takes, len(inputs), given)
        if len(inputs) > self.arity and type(bound.get("keepdims", False)) is int:
            raise TypeError(f"{self.name}: several axes are given as a tuple, axis=(0, 1)\n{user_line()}")
        return arrays, bound

    def write(self, inputs: Sequence[str], params: dict[str, Any]) -> str:
        """Return the formula with the names of the inputs put in, and with metadata it does not mention."""
        operands = {**dict.fromkeys(self.arrays, "…"), **dict(zip(self.arrays, inputs))}  # some may be left out
        text = self.formula.format(*inputs, all=", ".join(inputs), **operands, **params)
        extra = [
            f", {name}={params[name]}"
            for name in self.metadata
            if f"{{{name}}}" not in self.formula and params.get(name, "") not in ("", self.defaults.get(name))
        ]
        if not extra:
            return text
        return f"{text[:-1]}{''.join(extra)})" if text.endswith(")") else f"{text} ({''.join(extra)[2:]})"

    def __repr__(self) -> str:
        return f"<primitive {self.name}>"


def _respelled(given: dict[str, Any], takes: Sequence[str]) -> dict[str, Any]:
    """Return named arguments with PyTorch's names replaced by those of the parameters `takes`."""
    spelled = {"input": takes[0], "other": takes[1] if len(takes) > 1 else "other", **SPELLINGS} if takes else SPELLINGS
    return {name if name in takes else spelled.get(name, name): x for name, x in given.items()}


_ndarray, _generic = np.ndarray, np.generic
_NUMBERS = (float, int, np.generic, np.ndarray)  # bool is an int


def primitive(
    *,
    vjps: Sequence[Vjp | None] | EachInput | None,
    formula: str,
    samples: Callable[[np.random.Generator], Iterable[Sample]],
    error_samples: Callable[[], Iterable[ErrorSample]] = tuple,
    broadcasts: bool = False,
    numpy: Sequence[Callable[..., Any]] = (),
    diagnose: Callable[..., str] | None = None,
    name: str | None = None,
    fast: Callable[..., Any] | None = None,
) -> Callable[[Callable[..., Any]], Primitive]:
    """Declare an operation: ``@primitive(...)`` above its forward computation on NumPy arrays.

    Positional arguments of that function are arrays, its keyword-only arguments are metadata (axes,
    shapes ...).

    Parameters
    ----------
    vjps
        One vector-Jacobian product per array argument: ``vjp(g, y, *inputs, **params)``, where `g` is
        the cotangent of the output, `y` the output, and the result the cotangent of that input. Write it
        with operators and other operations, never with NumPy functions on ``.data``: then it works on
        arrays and on tensors, and derivatives of any order follow. None stands for an argument without
        a derivative (a condition, an index); None instead of the sequence says that the derivative of
        the operation is zero wherever it exists.
    formula
        How a picture or a derivation writes it, with the argument names in braces: ``"{a} + {b}"``.
    samples
        Called with a random generator; yields inputs on which the tests try the operation. If it broadcasts,
        some of them must.
    error_samples
        Yields inputs that must be refused.
    broadcasts
        Whether array arguments broadcast against each other. Then a VJP may return the broadcast
        shape, and the backward pass sums it back to the shape of the input. Any other operation's VJP
        must return exactly the shape of its input.
    numpy
        NumPy functions of the same meaning: calling one of them on a tensor gets here.
    diagnose
        Called with the shapes of the inputs and the metadata when NumPy refuses them; returns what is
        wrong and what may have been meant. ``{b}`` in it becomes the name of that input.
    name
        The name in the registry, where it differs from the function's.
    fast
        A function that gives the same numbers, to the last bit, in less time: it runs in the place of the forward
        computation, which remains what the operation means and how it is written.

    Examples
    --------
    >>> @primitive(
    ...     vjps=[lambda g, y, x: 3 * x**2 * g],
    ...     formula="{x}³",
    ...     samples=lambda rng: [Sample(rng.normal(size=(2, 3)))],
    ... )
    ... def cube(x):
    ...     return x * x * x
    """

    def declare(forward: Callable[..., Any]) -> Primitive:
        op = Primitive(
            forward,
            vjps=vjps,
            formula=formula,
            samples=samples,
            error_samples=error_samples,
            broadcasts=broadcasts,
            diagnose=diagnose,
            name=name,
            fast=fast,
        )
        # The same module may declare it again: a cell of a notebook is run more than once.
        if op.name in REGISTRY and REGISTRY[op.name].__module__ != op.__module__:
            raise ValueError(f"an operation named {op.name!r} is declared already, in {REGISTRY[op.name].__module__}")
        REGISTRY[op.name] = op
        if isinstance(forward, np.ufunc):
            COUNTERPARTS.setdefault(forward, op)
        COUNTERPARTS.update(dict.fromkeys(numpy, op))
        return op

    return declare


class Composite(_Operation):
    """A function made of operations: it is recorded as what it is made of. Created by `composite`."""

    def __init__(
        self,
        function: Callable[..., Any],
        formula: str,
        samples: Callable[[np.random.Generator], Iterable[Sample]],
        error_samples: Callable[[], Iterable[ErrorSample]],
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self.function = function
        self.formula = formula
        self.samples = samples
        self.error_samples = error_samples
        self.__signature__ = inspect.signature(function)
        parameters = self.__signature__.parameters.values()
        self._takes = [p.name for p in parameters]
        self._names = frozenset(self._takes)
        self._titles = [p.name for p in itertools.takewhile(lambda p: p.kind is p.POSITIONAL_OR_KEYWORD, parameters)]

    def __call__(self, *inputs: Any, **params: Any) -> Any:
        """Run the function on arrays, or on tensors."""
        try:
            if params and not params.keys() <= self._names:
                params = _respelled(params, self._takes)
            return self.function(*inputs, **params)
        except (TinygradError, ValueError, IndexError) as error:
            raise call_error(self.name, self._titles, inputs, params, error) from None
        except TypeError:
            try:
                self.__signature__.bind(*inputs, **params)
            except TypeError as mistake:
                raise call_mistake(self.name, self._takes, len(inputs), params, str(mistake)) from None
            raise

    def __repr__(self) -> str:
        return f"<function {self.name} of operations>"


def composite(
    *,
    formula: str = "",
    samples: Callable[[np.random.Generator], Iterable[Sample]] = lambda _: (),
    error_samples: Callable[[], Iterable[ErrorSample]] = tuple,
    numpy: Sequence[Callable[..., Any]] = (),
) -> Callable[[Callable[..., Any]], Composite]:
    """Declare a public function that is made of operations: ``@composite(...)`` above it.

    Like a primitive it is found by the tests, understands PyTorch's names of arguments, can be a
    method, and its errors name the function, its arguments and the user's line: inside it, raise
    ``ShapeError("what is wrong and what to do")`` and leave the rest to the decorator.

    Parameters
    ----------
    formula
        What it computes, in terms of its parameters: ``"mean((input − target)²)"``.
    samples
        As for a primitive; positional inputs that are floating-point arrays are differentiated. A function
        that only sorts out the arguments of one primitive needs none: that has its own.
    error_samples, numpy
        As for a primitive.
    """

    def declare(function: Callable[..., Any]) -> Composite:
        result = Composite(function, formula, samples, error_samples)
        COMPOSITES[result.name] = result
        COUNTERPARTS.update(dict.fromkeys(numpy, result))
        return result

    return declare


# The class of recorded results. Set once by the module that defines Tensor, which stands above this one.
_result_class: type[Value] = Value


def set_result_class(cls: type[Value]) -> None:
    """Make `cls` the class of every result."""
    global _result_class
    _result_class = cls


def constant(data: Any) -> Any:
    """Return an array as a tensor that was not computed from anything and requires no gradient."""
    return _result_class(data, False, None)


_new, _getframe = object.__new__, sys._getframe
_current_mode, _current_scope, _watching, _blocks = mode.get, current.get, anomaly.watching.get, anomaly.blocks
_NO_PARAMS: dict[str, Any] = {}


def record(op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any] = _NO_PARAMS) -> Any:
    """Run `op` on tensors and wrap the result, with its recipe where the current mode asks for it.

    This is the one function that every operation of every forward pass goes through.
    """
    if captures:
        inputs = _captured(inputs, params)
    requires_grad = False
    arrays = []
    for x in inputs:
        if isinstance(x, Value):
            arrays.append(x._data)
            if x._requires_grad:
                requires_grad = True
        elif type(x) is float or type(x) is int:
            arrays.append(x)
        else:
            return record(op, _as_inputs(op, inputs, params), params)
    try:
        if params:
            params = {**op.defaults, **params}
            data = op.compute(*arrays, **params)
        else:
            params = op.defaults  # one dict for all nodes
            data = op.compute(*arrays)
    except (ValueError, IndexError, TypeError) as error:
        raise forward_error(op, inputs, params, error) from None
    if type(data) is not _ndarray and not isinstance(data, _generic):
        raise TypeError(
            f"the forward computation of `{op.name}` returned {type(data).__name__}; it must return an array or a "
            f"NumPy scalar\n{user_line()}"
        )
    recording = _current_mode()
    if _blocks and _watching() and recording in (OFF, GRADIENTS):  # a backward pass being recorded is watched as such
        anomaly.inspect_result(op, inputs, data)
    if recording is OFF or not (requires_grad or recording is not GRADIENTS):
        return _result_class(data, False, None)
    scope = _current_scope()
    # The user's line is two calls up, unless the operation was called from inside this package.
    frame = _getframe(2)
    code = frame.f_code
    if code.co_filename not in PACKAGE_FILES:
        instruction = frame.f_lasti
    elif scope is not None and scope.called_at is not None:
        code, instruction = scope.called_at
    else:
        frame = user_frame(3)
        code, instruction = frame.f_code, frame.f_lasti
    # Both are filled in here: two calls of constructors would take as long as all of the above.
    node = _new(Node)
    node.op = op
    node.inputs = inputs
    node.params = params
    node.tick = clock()
    node.spent = False
    node.scope = scope
    node._code = code
    node._instruction = instruction
    result = _new(_result_class)
    result._data = data
    result._requires_grad = requires_grad and op.differentiable and recording is not CAPTURE_PLAIN
    result._changed = 0
    result._exposed = False
    result._grad = None
    result.node = node
    result.name = None
    result.hooks = None
    return result


def _captured(inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
    """Return the inputs as they stand in the record of a function that is being captured, or as they are."""
    tracing = tracer.get()
    return inputs if tracing is None else tracing.operands(inputs, params)


def _as_inputs(op: Primitive, inputs: tuple[Any, ...], params: dict[str, Any]) -> tuple[Any, ...]:
    try:
        return tuple(map(as_input, inputs))
    except DTypeError as error:
        raise forward_error(op, inputs, params, error) from None


def as_input(x: Any) -> Any:
    """Return an operand as it is recorded: a value, or a plain Python number.

    NumPy's float64 scalars are Python floats too and count as such: a learning rate computed by
    ``np.cos`` must not turn float32 weights into float64.
    """
    if isinstance(x, Value):
        return x
    if isinstance(x, float):
        return float(x)
    if isinstance(x, int) and not isinstance(x, bool):
        return int(x)
    array = as_array(x)
    result = constant(array)
    if array is x or array.base is not None:  # the user's own memory, not a copy
        note_exposure(result)
    return result
