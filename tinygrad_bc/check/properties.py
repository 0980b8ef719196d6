"""What every operation must satisfy, tried on the samples that it declares."""

from __future__ import annotations

import re
import reprlib
import traceback
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tinygrad_bc.autograd import grad, record_everything
from tinygrad_bc.check.gradient import gradcheck
from tinygrad_bc.errors import DTypeError
from tinygrad_bc.primitive import Composite, Primitive, Sample
from tinygrad_bc.record import Array, Graph, Value
from tinygrad_bc.tensor import Tensor, tensor

__all__ = ["PROPERTIES", "PropertyReport", "PropertyRow", "operation"]

Operation = Primitive | Composite


class PropertyRow(NamedTuple):
    """One property: on how many samples it was tried, and the first on which it does not hold."""

    name: str
    samples: int
    failure: str

    def __str__(self) -> str:
        return f"{'WRONG' if self.failure else 'ok   '} {self.name} ({self.samples} samples){self.failure}"


class PropertyReport(NamedTuple):
    """What holds for an operation and what does not. True in a condition if everything does."""

    op: str
    rows: tuple[PropertyRow, ...]

    def __bool__(self) -> bool:
        return not any(row.failure for row in self.rows)

    def __str__(self) -> str:
        wrong = sum(bool(row.failure) for row in self.rows)
        verdict = f"{wrong} of {len(self.rows)} properties do NOT hold" if wrong else "every property holds"
        return "\n".join([f"{self.op}: {verdict}", *(f"  {row}" for row in self.rows)])

    def __repr__(self) -> str:
        return str(self)  # what pytest shows when `assert tg.check.operation(...)` fails


def operation(op: Operation, *, seed: int = 7, properties: Iterable[str] | None = None) -> PropertyReport:
    """Try an operation, one's own or the package's, on its samples: everything the package's tests ask of each.

    The derivative and the second derivative against finite differences; values, element type, layout in
    memory; that inputs are left alone and gradients share no memory; that the record of forward and backward
    pass can run again on other data; that the error samples are refused with a message that names operation,
    operands and line; and that the declaration is complete.

    Parameters
    ----------
    op : Primitive or Composite
        What ``@tg.primitive`` or ``@tg.composite`` made.
    seed : int
        Of the generator that the samples are drawn with.
    properties : iterable of str, optional
        Which of `PROPERTIES` to try; by default all that apply.

    Returns
    -------
    PropertyReport
        True in a condition if everything holds; printed, it names what does not and the sample.

    Examples
    --------
    >>> bool(operation(sigmoid))
    True
    """
    if not isinstance(op, Primitive | Composite):
        raise DTypeError(
            f"expected what @tg.primitive or @tg.composite made, as in check.operation(tg.exp); got {reprlib.repr(op)}"
        )
    names = [name for name in (properties or PROPERTIES) if applies(name, op)]
    return PropertyReport(op.name, tuple(_row(name, op, seed) for name in names))


def applies(name: str, op: Operation) -> bool:
    """Return whether a property can be asked of `op`: what was computed from parts has no recipe of its own."""
    differentiable = op.differentiable if isinstance(op, Primitive) else True
    return (name not in OF_PRIMITIVES or isinstance(op, Primitive)) and (
        name not in OF_DIFFERENTIABLE or differentiable
    )


def _row(name: str, op: Operation, seed: int) -> PropertyRow:
    samples: Sequence[Sample | None] = list(op.samples(np.random.default_rng(seed)))
    if name in OF_ERRORS:
        samples = list(op.error_samples())
    elif name in OF_DECLARATIONS:
        samples = [None]
    for sample in samples:
        try:
            PROPERTIES[name](op, sample)
        except Exception as error:
            what = str(error) or type(error).__name__
            if not isinstance(error, AssertionError):
                what = "".join(traceback.format_exception_only(error)).strip()
            return PropertyRow(
                name, len(samples), f"\n    {sample or 'the declaration'}: " + what.replace("\n", "\n    ")
            )
    return PropertyRow(name, len(samples), "")


# --- samples as tensors --------------------------------------------------------------------------


def _is_float_array(x: Any) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def _mapped(x: Any, change: Callable[[Any], Any]) -> Any:
    """Return an input with its arrays changed: it is an array, a number, or a list of arrays."""
    if isinstance(x, list | tuple) and any(isinstance(part, np.ndarray) for part in x):
        return [_mapped(part, change) for part in x]
    return change(x)


class _Case:
    """An operation at a sample: a function of those tensors `xs` that stand for the floating-point arrays."""

    def __init__(self, op: Operation, sample: Sample, change: Callable[[Any], Any] = lambda x: x) -> None:
        self.op, self.sample = op, sample
        self.params = {name: change(x) for name, x in sample.params.items()}
        self.xs: list[Tensor] = []
        self.inputs = [_mapped(x, lambda part: self._as_tensor(change(part))) for x in sample.inputs]
        for i, x in enumerate(self.inputs):
            if isinstance(x, Tensor):
                x.name = f"x{i}"

    def _as_tensor(self, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        made = tensor(x, requires_grad=_is_float_array(x))
        self.xs += [made] if made.requires_grad else []
        return made

    def __call__(self, xs: Iterable[Any]) -> list[Any]:
        """Return all outputs."""
        rest = iter(xs)
        inputs = [_mapped(x, lambda part: next(rest) if _is_float_array(part) else part) for x in self.sample.inputs]
        return self.called(inputs)

    def called(self, inputs: Iterable[Any]) -> list[Any]:
        """Return all outputs for other inputs."""
        returned = self.op(*inputs, **self.params)
        return list(returned) if isinstance(returned, tuple | list) else [returned]

    def differentiable(self, xs: Iterable[Any]) -> list[Any]:
        """Return the outputs that have a gradient."""
        return [y for y in self(xs) if isinstance(y, Value) and y._requires_grad]

    def cotangents(self) -> list[Array]:
        """Return cotangents for these, drawn at random."""
        rng = np.random.default_rng(3)
        outputs = self.differentiable(self.xs)
        return [np.asarray(rng.uniform(0.5, 1.5, size=y.shape)).astype(y.dtype) for y in outputs]

    def gradients(self, xs: Sequence[Any], cotangents: Sequence[Any], **options: bool) -> list[Any]:
        """Return the gradients, without those of inputs that do not matter."""
        if not cotangents:
            return []
        found = grad(self.differentiable(xs), list(xs), list(cotangents), allow_unused=True, **options)
        return [g for g in found if g is not None]


# --- properties ----------------------------------------------------------------------------------


def _results_are_recorded(op: Operation, sample: Any) -> None:
    """Given tensors, the result is a tensor of the values that arrays give, recorded where a gradient may be asked."""
    case = _Case(op, sample)
    outputs = case.called(case.inputs)
    for y, expected in zip(outputs, case.called(sample.inputs), strict=True):
        assert isinstance(y, Tensor), f"returned {type(y).__name__} for tensors"
        assert not isinstance(expected, Value), "returned a tensor for arrays"
        assert isinstance(y.data, np.ndarray), f"the result holds {type(y.data).__name__}, not an array"
        np.testing.assert_array_equal(y.data, expected, strict=isinstance(expected, np.ndarray))
    if isinstance(op, Primitive):
        recordable = bool(case.xs)
        right = (outputs[0].node is not None) == recordable
        assert right, "recorded where nothing requires a gradient, or not recorded"
        assert outputs[0].requires_grad == (recordable and op.differentiable)


def _gradient(op: Operation, sample: Any) -> None:
    """The gradient agrees with finite differences."""
    case = _Case(op, sample)
    if case.differentiable(case.xs):
        report = gradcheck(lambda *xs: case.differentiable(xs), case.xs)
        assert report, str(report)


def _second_derivative(op: Operation, sample: Any) -> None:
    """The gradient, itself a function of inputs and cotangents, has the gradient that finite differences give."""
    case = _Case(op, sample)
    gs = [tensor(g, requires_grad=True, name=f"g{i}") for i, g in enumerate(case.cotangents())]
    if gs:
        report = gradcheck(
            lambda *both: case.gradients(both[len(gs) :], both[: len(gs)], create_graph=True), [*gs, *case.xs]
        )
        assert report, str(report)


def _replay(op: Operation, sample: Any) -> None:
    """The record, run again on other data, gives what the operation gives on them."""
    case = _Case(op, sample)
    with record_everything():  # or an operation on masks alone would not be recorded
        recorded = Graph(case.called(case.inputs))
    other = [x.data * 0.97 for x in case.xs]
    replayed = recorded.evaluate({x: data for x, data in zip(case.xs, other) if x in recorded})
    for again, eager in zip(replayed, case(other), strict=True):
        np.testing.assert_array_equal(again, eager)


def _replay_of_the_backward_pass(op: Operation, sample: Any) -> None:
    """The record of the backward pass, run again on other data, gives the gradients at them."""
    case = _Case(op, sample)
    gs = [tensor(g, requires_grad=True) for g in case.cotangents()]
    if not gs:
        return
    recorded = Graph(case.gradients(case.xs, gs, create_graph=True))
    other_xs = [tensor(x.data * 0.97, requires_grad=True) for x in case.xs]
    other_gs = [tensor(g.data * 0.75, requires_grad=True) for g in gs]
    pairs = zip([*case.xs, *gs], [*other_xs, *other_gs], strict=True)
    replayed = recorded.evaluate({x: new.data for x, new in pairs if x in recorded})
    for again, eager in zip(replayed, case.gradients(other_xs, other_gs, create_graph=True), strict=True):
        np.testing.assert_array_equal(again, eager.data)


def _float32_stays(op: Operation, sample: Any) -> None:
    """float32 inputs give float32 results and gradients."""
    case = _Case(op, sample, lambda x: x.astype(np.float32) if _is_float_array(x) else x)
    if sample.params.get("dtype") is not None:
        return  # another type was asked for
    for thing in [*case.differentiable(case.xs), *case.gradients(case.xs, case.cotangents())]:
        assert thing.dtype == np.float32, f"float32 became {thing.dtype}"


def _layout_does_not_matter(op: Operation, sample: Any) -> None:
    """Inputs with gaps and negative strides give the same."""

    def strided(x: Any) -> Any:
        if not _is_float_array(x):
            return x
        padded = np.full([2 * n for n in x.shape], np.nan)
        reversed_with_gaps: Any = (*(slice(None, None, -2) for _ in x.shape), ...)
        view = padded[reversed_with_gaps]
        view[...] = x
        return view

    case = _Case(op, sample)
    inputs = [_mapped(x, strided) for x in sample.inputs]
    for actual, expected in zip(case.called(inputs), case.called(sample.inputs), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-13, atol=1e-15)


def _nothing_is_shared(op: Operation, sample: Any) -> None:
    """Inputs and cotangents are left as they were, and gradients are arrays of their own."""
    case = _Case(op, sample)
    cotangents = case.cotangents()
    given = [*(x.data for x in case.xs), *cotangents]
    before = [array.copy() for array in given]
    ys = case.differentiable(case.xs)
    found = [g.data for g in grad(ys, case.xs, cotangents, allow_unused=True) if g is not None] if ys else []
    arrays = given + [y.data for y in ys]
    for i, g in enumerate(found):
        assert g.flags.writeable, "a gradient cannot be written to"
        assert not any(np.shares_memory(g, other) for other in arrays + found[:i]), "a gradient shares memory"
    for array, unchanged in zip(given, before):
        np.testing.assert_array_equal(array, unchanged, err_msg="an input or a cotangent was changed")


def _bad_inputs_are_refused(op: Operation, sample: Any) -> None:
    """An error sample is refused with a message that names the operation, the operands and the user's line."""
    case = _Case(op, sample)
    wanted = sample.error.__name__
    try:
        case.called(case.inputs)
    except sample.error as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} was raised in place of {wanted}: {error}") from error
    else:
        raise AssertionError(f"{wanted} was not raised")
    named = next((f"{x.name} {x.shape}" for x in case.inputs if isinstance(x, Tensor)), "")
    assert re.search(sample.match, message), f"the message does not match {sample.match!r}: {message}"
    # Of a composite, the part that refused it may be named.
    assert isinstance(op, Composite) or op.name in message, f"the message does not name the operation: {message}"
    assert named in message, f"the message does not name an operand: {message}"
    assert re.search(r"\n  .+:\d+: ", message), f"the message does not show the user's line: {message}"


def _formula_is_complete(op: Any, _: Any) -> None:
    """The formula mentions every input."""
    sample = next(iter(op.samples(np.random.default_rng(0))))
    names = [f"<{i}>" for i in range(len(sample.inputs))]
    text = op.write(names, {**op.defaults, **sample.params})
    missing = [name for name in names if name not in text]
    assert not missing, f"{text!r} leaves out {', '.join(missing)}"


def _samples_cover(op: Any, _: Any) -> None:
    """There are samples; and if the operation broadcasts, some that do."""
    found = [sample.inputs for sample in op.samples(np.random.default_rng(0))]
    assert found, "it declares no samples"
    if op.broadcasts and op.differentiable:
        assert any(len({np.shape(x) for x in inputs}) > 1 for inputs in found), "no sample broadcasts"


PROPERTIES: dict[str, Callable[[Any, Any], None]] = {
    "results are recorded": _results_are_recorded,
    "gradient": _gradient,
    "second derivative": _second_derivative,
    "replay": _replay,
    "replay of the backward pass": _replay_of_the_backward_pass,
    "float32 stays float32": _float32_stays,
    "layout in memory does not matter": _layout_does_not_matter,
    "nothing is shared or changed": _nothing_is_shared,
    "bad inputs are refused": _bad_inputs_are_refused,
    "formula is complete": _formula_is_complete,
    "samples cover": _samples_cover,
}
"""Every property by name."""

OF_PRIMITIVES = {"formula is complete", "samples cover"}
OF_DIFFERENTIABLE = {"gradient", "second derivative", "replay of the backward pass"}
OF_ERRORS = {"bad inputs are refused"}
OF_DECLARATIONS = {"formula is complete", "samples cover"}
