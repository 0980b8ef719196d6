"""Compares tinygrad_bc with PyTorch on the samples PyTorch tests itself with.

PyTorch describes each of its operations by an `OpInfo`, which generates valid inputs and inputs that must be
refused. Here they are given to the operation of the same name in tinygrad_bc: values and gradients must agree in
float64, and what PyTorch refuses must be refused. `OpInfo` is private to PyTorch and changes between its versions.

Usage::

    python tests/oracles/opinfo.py                     # every operation, values and gradients
    python tests/oracles/opinfo.py conv2d 'nn.*loss'   # by name; * and ? as in a shell
    python tests/oracles/opinfo.py --errors            # also the inputs that must be refused
    python tests/oracles/opinfo.py --second            # also second derivatives
    python tests/oracles/opinfo.py -v cumprod          # every failure, skip reason and warning, not only the first ones

Names are PyTorch's (``nn.functional.conv2d`` or ``conv2d``) or ours. The exit status is 1 if a sample failed.

Every sample is tried in three ways: as arrays in C order; as arrays whose memory has gaps, runs backwards and has its
axes in reverse order; and as a method, where PyTorch has one. Some are tried in float32 as well, where only the types
of the results are compared.
"""

from __future__ import annotations

import argparse
import fnmatch
import itertools
import random
import sys
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.testing import make_tensor
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.common_utils import torch_to_numpy_dtype_dict
from torch.testing._internal.opinfo.core import ErrorInput, OpInfo, SampleInput, UnaryUfuncInfo

import tinygrad_bc as tg
from tinygrad_bc.errors import TinygradError

RELATIVE = 1e-10
"""How far a value may be from PyTorch's, relative to it."""

ABSOLUTE = 1e-12
"""What is added to that, relative to the largest element or to 1: where terms cancel, zero is a rounding error.

For one, PyTorch's gradient of layer_norm over a single element is 2e-13 instead of 0."""

COVERED = """
    add sub mul div neg pow rsub eq ne lt le gt ge exp expm1 log log1p log2 log10 sqrt rsqrt square reciprocal
    sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh erf sigmoid nn.functional.logsigmoid
    nn.functional.softplus nn.functional.relu nn.functional.leaky_relu nn.functional.elu nn.functional.gelu
    nn.functional.silu abs sign floor ceil round clamp where maximum minimum logaddexp atan2 xlogy nan_to_num
    sum mean var std prod max min amax amin argmax argmin logsumexp softmax log_softmax norm linalg.norm
    linalg.vector_norm cumsum cumprod all any
    reshape view flatten transpose permute movedim squeeze unsqueeze expand broadcast_to cat stack split
    split_with_sizes chunk tile repeat flip roll nn.functional.pad diag diagonal tril triu __getitem__ index_select
    gather scatter_add take_along_dim sort topk
    matmul mm mv bmm dot inner outer tensordot einsum trace linalg.inv linalg.solve linalg.det linalg.slogdet
    linalg.cholesky
    nn.functional.linear nn.functional.conv1d nn.functional.conv2d nn.functional.max_pool1d nn.functional.max_pool2d
    nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.batch_norm nn.functional.layer_norm
    nn.functional.embedding nn.functional.mse_loss nn.functional.l1_loss nn.functional.huber_loss
    nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits nn.functional.cross_entropy
    nn.functional.nll_loss
"""
"""The operations compared, by PyTorch's names."""

OUR_NAMES = {
    "cat": ["cat", "concatenate"],
    "clamp": ["clamp", "clip"],
    "div": ["div", "true_divide"],
    "linalg.norm": ["linalg.norm"],
    "movedim": ["moveaxis"],
    "split_with_sizes": ["split"],
    "transpose": ["transpose", "swapaxes"],
}
"""Where our name, or names, are not the last part of PyTorch's."""

ARRANGED: dict[str, Callable[..., Any]] = {
    "einsum": lambda function, operands, equation: function(equation, *operands),
    "nn.functional.embedding": lambda function, weight, index, **options: function(index, weight, **options),
    "where": lambda function, x, condition, other: function(condition, x, other),
}
"""Where the sample does not have the arguments in the order of the function, because PyTorch wants ``input`` first."""


def _has_nan(info: OpInfo, sample: SampleInput) -> bool:
    return any(t.isnan().any() for t in _tensors((sample.input, sample.args)) if t.is_floating_point())


def _mixes_float32_with_integers(info: OpInfo, sample: SampleInput) -> bool:
    dtypes = {t.dtype for t in _tensors((sample.input, sample.args))}
    return torch.float32 in dtypes and any(not d.is_floating_point and d is not torch.bool for d in dtypes)


def _has_no_tensor_of_floats(info: OpInfo, sample: SampleInput) -> bool:
    return not any(t.is_floating_point() for t in _tensors((sample.input, sample.args)))


def _has_zeros_in_both(info: OpInfo, sample: SampleInput) -> bool:
    return all((t == 0).any() for t in _tensors((sample.input, sample.args)))


def _has_negative_bases(info: OpInfo, sample: SampleInput) -> bool:
    return isinstance(sample.input, torch.Tensor) and bool((sample.input < 0).any())


def _any(info: OpInfo, sample: SampleInput) -> bool:
    return True


CONVENTIONS: list[tuple[str, Callable[[OpInfo, SampleInput], bool], str]] = [
    ("sign", _has_nan, "convention: the sign of NaN is NaN, as in NumPy; in PyTorch it is 0"),
    ("clamp", _mixes_float32_with_integers, "convention: float32 and integers make float64, as in NumPy"),
    ("where", _has_no_tensor_of_floats, "convention: numbers make float64, as in NumPy; in PyTorch float32"),
]
"""Where we differ from PyTorch on purpose: in which operation, at which samples, and how."""


NAN_IN_PYTORCH = {
    "xlogy": "PyTorch's derivative of x log(y) by y, x/y, is NaN at x = y = 0; ours is 0, for x log(y) is 0 for x = 0",
}
"""Operations whose gradient is not compared where PyTorch's is NaN, and why. No second derivative is."""

FIRST_ORDER_ONLY: list[tuple[str, Callable[[OpInfo, SampleInput], bool], str]] = [
    ("linalg.norm.subgradients_at_zero", _any, "singular values that are equal have no second derivative: ours raises"),
    ("nn.functional.binary_cross_entropy", _any, "PyTorch adds 1e-12 to the denominator of the second derivative"),
    ("pow", _has_negative_bases, "a negative base has no derivative by the exponent, so none by both: ours is NaN"),
    ("xlogy", _has_zeros_in_both, "there is no second derivative at x = y = 0; PyTorch's is infinite, ours 0"),
]
"""Where second derivatives are not compared: in which operation, at which samples, and why."""


def _full_name(info: OpInfo) -> str:
    return f"{info.name}.{info.variant_test_name}".rstrip(".")


class Skipped(Exception):
    """The sample is about something tinygrad_bc does not have. The message names it."""


@dataclass(frozen=True)
class Subject:
    """One function of ours and what PyTorch knows about its counterpart."""

    info: OpInfo
    name: str

    @property
    def label(self) -> str:
        """PyTorch's name, the variant, and our name where it differs."""
        title = _full_name(self.info).removeprefix("nn.functional.")
        return title if self.info.name.endswith(self.name) else f"{title} as {self.name}"

    @property
    def function(self) -> Callable[..., Any] | None:
        """Our function, or our method where PyTorch has only that, or None."""
        namespaces = [tg] if hasattr(torch, self.name) else [tg, getattr(tg, "linalg", None), tg.Tensor]
        for namespace in namespaces:
            found: Any = namespace
            for part in self.name.split("."):
                found = getattr(found, part, None)
            if callable(found):
                return found
        return None

    @property
    def methods(self) -> tuple[Callable[..., Any] | None, Callable[..., Any] | None]:
        """PyTorch's method of our name, and ours; None where there is none."""
        if self.info.name == "linalg.solve":
            return None, None  # PyTorch's method of that name is another, and only raises
        return getattr(torch.Tensor, self.name, None), getattr(tg.Tensor, self.name, None)

    def call(self, arguments: tuple[Any, ...], options: dict[str, Any], as_method: bool = False) -> Any:
        """Call ours with the arguments of a sample."""
        function = self.methods[1] if as_method else self.function
        assert function is not None
        arranged = ARRANGED.get(self.info.name)
        if arranged and not as_method:
            return arranged(function, *arguments, **options)
        return function(*arguments, **options)


@dataclass
class Report:
    """What the samples of one subject have shown."""

    subject: Subject
    missing: bool = False
    method_missing: bool = False
    passed: int = 0
    failures: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    warned: list[str] = field(default_factory=list)
    refused: int = 0
    raised_bare: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    errors_skipped: Counter[str] = field(default_factory=Counter)


def subjects(patterns: list[str] | None = None) -> list[Subject]:
    """Return what is covered, or the part whose name matches one of the patterns."""
    everything = [
        Subject(info, ours)
        for name in COVERED.split()
        for info in op_db
        if info.name == name and info.variant_test_name not in ("triton_optimized", "complex")
        for ours in OUR_NAMES.get(name, [name.rpartition(".")[2]])
    ]
    if not patterns:
        return everything
    return [
        subject
        for subject in everything
        if any(
            fnmatch.fnmatch(name, pattern)
            for pattern in patterns
            for name in (subject.info.name, subject.info.name.rpartition(".")[2], subject.name, subject.label)
        )
    ]


# --- from PyTorch to tinygrad_bc -----------------------------------------------------------------


def _strided(array: np.ndarray) -> tg.Tensor:
    """Return a tensor whose memory has gaps, runs backwards, and has its axes in the reverse order."""
    if array.ndim == 0:
        return tg.tensor(array)
    with_gaps = tg.tensor(np.repeat(array.T[::-1], 2, axis=0))
    return with_gaps[::-2].T if array.ndim > 1 else with_gaps[::-2]


class Translator:
    """Turns the arguments of a sample into ours, each tensor into the same tensor wherever it stands."""

    def __init__(self, strided: bool) -> None:
        self.strided = strided
        self.tensors: dict[int, tuple[torch.Tensor, tg.Tensor]] = {}

    def __call__(self, x: Any) -> Any:
        """Return `x` with every tensor, dtype and size in it translated."""
        if isinstance(x, torch.Tensor):
            if id(x) not in self.tensors:
                self.tensors[id(x)] = x, self._tensor(x)
            return self.tensors[id(x)][1]
        if isinstance(x, torch.dtype):
            return _dtype(x)
        if isinstance(x, complex):
            raise Skipped("complex numbers")
        if isinstance(x, torch.device | torch.layout | torch.memory_format | torch.Generator):
            raise Skipped(f"torch.{type(x).__name__}")
        if isinstance(x, slice):
            return slice(self(x.start), self(x.stop), self(x.step))
        if isinstance(x, dict):
            return {key: self(value) for key, value in x.items()}
        if isinstance(x, list):
            return [self(value) for value in x]
        if isinstance(x, tuple):
            return tuple(self(value) for value in x)
        return x

    def _tensor(self, x: torch.Tensor) -> tg.Tensor:
        _dtype(x.dtype)
        if x.layout is not torch.strided:
            raise Skipped("sparse tensors")
        if x.device.type != "cpu":
            raise Skipped(f"device {x.device.type}")
        array = x.detach().numpy()
        result = _strided(array) if self.strided else tg.tensor(array)
        result.requires_grad = x.requires_grad
        return result


def _dtype(dtype: torch.dtype) -> Any:
    if dtype.is_complex:
        raise Skipped("complex numbers")
    if dtype not in torch_to_numpy_dtype_dict or dtype is torch.bfloat16:
        raise Skipped(f"{dtype}")
    return np.dtype(torch_to_numpy_dtype_dict[dtype])


def _flat(outputs: Any) -> list[Any]:
    """Return the tensors of an output: one, or those of a tuple or list, nested or not."""
    if isinstance(outputs, tuple | list):
        return [tensor for output in outputs for tensor in _flat(output)]
    return [outputs]


# --- one sample ----------------------------------------------------------------------------------


def _difference(what: str, ours: Any, theirs: torch.Tensor, nan_is_unknown: bool = False) -> str | None:
    """Return how our tensor differs from PyTorch's, or None."""
    if not isinstance(ours, tg.Tensor):
        return f"{what}: {type(ours).__name__} instead of a tensor"
    a, b = ours.data, theirs.numpy(force=True)  # force: where all is zero, PyTorch has not stored it
    if a.shape != b.shape:
        return f"{what}: shape {a.shape}, PyTorch's {b.shape}"
    if a.dtype != b.dtype:
        return f"{what}: dtype {a.dtype}, PyTorch's {b.dtype}"
    if a.size == 0 or a.dtype == np.float32:
        return None
    if a.dtype.kind != "f":
        wrong = a != b
    else:
        with np.errstate(all="ignore"):
            finite = np.abs(b[np.isfinite(b)])
            allowed = RELATIVE * np.abs(b) + ABSOLUTE * max(1.0, finite.max(initial=0.0))
            wrong = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.isfinite(b) & (np.abs(a - b) <= allowed)))
        if nan_is_unknown:
            wrong &= ~np.isnan(b)
    if not wrong.any():
        return None
    first = tuple(int(i) for i in np.argwhere(wrong)[0])
    return (
        f"{what}: {wrong.sum()} of {wrong.size} elements differ, the first at {list(first)}: "
        f"{a[first]!r}, PyTorch's {b[first]!r}"
    )


def _written(x: Any) -> str:
    if isinstance(x, torch.Tensor):
        numbers = f"={x.tolist()}" if 0 < x.numel() <= 4 and x.ndim <= 2 else ""
        shape = list(x.shape) if x.ndim < 10 else f"[{x.ndim} axes]"
        return f"{str(x.dtype).removeprefix('torch.')}{shape}{numbers}"
    if isinstance(x, list | tuple):
        return f"[{', '.join(map(_written, x))}]"
    return repr(x)


def written(sample: SampleInput) -> str:
    """Return a sample in short: dtypes and shapes of its tensors, and the other arguments."""
    options = [f"{key}={_written(value)}" for key, value in sample.kwargs.items()]
    return f"({', '.join([*map(_written, (sample.input, *sample.args)), *options])})"


def _tensors(x: Any) -> Iterator[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        yield x
    elif isinstance(x, list | tuple):
        for value in x:
            yield from _tensors(value)
    elif isinstance(x, dict):
        yield from _tensors(list(x.values()))


def _failed(what: str, error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{last.filename.rpartition('tinygrad_bc/')[2]}:{last.lineno}"
    return f"{what}: {type(error).__name__} at {place}: {str(error).splitlines()[0] if str(error) else ''}"


@dataclass
class Expected:
    """What PyTorch computes on a sample.

    `gradients` has one list for each order of derivative, with a gradient for each leaf, and `cotangents` what
    they were computed from.
    """

    outputs: list[torch.Tensor]
    leaves: list[torch.Tensor]
    gradients: list[list[torch.Tensor]]
    cotangents: list[list[torch.Tensor | None]]

    @classmethod
    def of(cls, info: OpInfo, sample: SampleInput, second: bool) -> Expected:
        """Run PyTorch."""
        tensors = {id(t): t for t in _tensors((sample.input, sample.args, sample.kwargs)) if t.requires_grad}
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")
            result = cls(_flat(info(sample.input, *sample.args, **sample.kwargs)), list(tensors.values()), [], [])
            functions = result.outputs
            first_only = any(name == _full_name(info) and here(info, sample) for name, here, _ in FIRST_ORDER_ONLY)
            twice = second and info.supports_gradgrad and not first_only
            for order in (1, 2) if twice else (1,):
                functions = result._differentiate(functions, create_graph=twice and order == 1)
        return result

    def _differentiate(self, functions: list[torch.Tensor], create_graph: bool) -> list[torch.Tensor]:
        seeds = [torch.randn_like(t.detach()) if t.requires_grad else None for t in functions]
        used = [(t, g) for t, g in zip(functions, seeds, strict=True) if g is not None]
        found: Any = [None] * len(self.leaves)
        if used and self.leaves:
            roots, cotangents = zip(*used, strict=True)
            found = torch.autograd.grad(
                roots, self.leaves, cotangents, create_graph=create_graph, retain_graph=True, allow_unused=True
            )
        gradients = [torch.zeros_like(t) if g is None else g for g, t in zip(found, self.leaves, strict=True)]
        self.cotangents.append(seeds)
        self.gradients.append(gradients)
        return gradients

    def is_finite(self) -> bool:
        """Return whether there is no infinity and no NaN among inputs, values and gradients."""
        return all(t.isfinite().all() for t in [*self.leaves, *self.outputs, *itertools.chain(*self.gradients)])


def _gradients(
    outputs: list[tg.Tensor], leaves: list[tg.Tensor], cotangents: list[torch.Tensor | None], second: bool
) -> list[tg.Tensor]:
    """Return our gradients, zero where nothing was computed from a leaf."""
    used = [(t, g.numpy()) for t, g in zip(outputs, cotangents, strict=True) if g is not None and t.requires_grad]
    found: Any = [None] * len(leaves)
    if used and leaves:
        found = tg.grad([t for t, _ in used], leaves, [g for _, g in used], create_graph=second, allow_unused=True)
    return [
        tg.tensor(np.zeros(leaf.shape, leaf.dtype)) if g is None else g for leaf, g in zip(leaves, found, strict=True)
    ]


@dataclass
class Trial:
    """One sample given to both."""

    subject: Subject
    sample: SampleInput
    strided: bool = False
    as_method: bool = False
    second: bool = False
    warned: bool = False

    def difference(self) -> str | None:
        """Return what differs, or None, and note in `warned` whether NumPy warned where all numbers are finite.

        Raises
        ------
        Skipped
            If the sample is about something else.
        """
        sample = self.sample
        if not list(_tensors((sample.input, sample.args, sample.kwargs))):
            raise Skipped("numbers alone, which remain NumPy's")
        for name, here, reason in CONVENTIONS:
            if name == self.subject.info.name and here(self.subject.info, sample):
                raise Skipped(reason)
        translate = Translator(self.strided)
        arguments, options = translate((sample.input, *sample.args)), translate(sample.kwargs)
        try:
            expected = Expected.of(self.subject.info, sample, self.second)
        except RuntimeError as error:
            raise Skipped(f"PyTorch fails on its own sample: {error}") from None
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            difference = self._difference(expected, translate, arguments, options)
        self.warned = bool(caught) and expected.is_finite()
        return difference

    def _difference(
        self, expected: Expected, translate: Translator, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> str | None:
        stage = "forward"
        try:
            outputs = _flat(self.subject.call(arguments, options, self.as_method))
            if len(outputs) != len(expected.outputs):
                return f"{len(outputs)} outputs, PyTorch's {len(expected.outputs)}"
            for i, (ours, theirs) in enumerate(zip(outputs, expected.outputs, strict=True)):
                if difference := _difference(f"output {i}" if len(outputs) > 1 else "output", ours, theirs):
                    return difference
            stage = "gradient"
            leaves = [translate(t) for t in expected.leaves]
            gradients = outputs
            for theirs, seeds in zip(expected.gradients, expected.cotangents, strict=True):
                gradients = _gradients(gradients, leaves, seeds, self.second)
                for i, (g, g_theirs) in enumerate(zip(gradients, theirs, strict=True)):
                    unknown = stage == "second derivative" or self.subject.info.name in NAN_IN_PYTORCH
                    if difference := _difference(f"{stage} of input {i}", g, g_theirs, nan_is_unknown=unknown):
                        return difference
                stage = "second derivative"
        except Exception as error:
            return _failed(stage, error)
        for theirs, ours in list(translate.tensors.values()):
            if difference := _difference("an input, afterwards", ours, theirs):
                return difference
        return None


# --- all samples of an operation -----------------------------------------------------------------


def samples(info: OpInfo) -> Iterator[SampleInput]:
    """Yield PyTorch's samples, and for elementwise functions those of no axis and of no element."""
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    for dtype, count in [(torch.float64, None), (torch.float32, 10)]:
        generated = info.sample_inputs("cpu", dtype, requires_grad=info.supports_autograd)
        for sample in itertools.islice(generated, count):
            yield sample.transform(_leaf)
    if isinstance(info, UnaryUfuncInfo):
        low, high = info.domain
        for shape in [(), (0,), (3, 0, 2)]:
            x = make_tensor(shape, dtype=torch.float64, device="cpu", low=low, high=high)
            options = next(iter(info.sample_inputs("cpu", torch.float64))).kwargs
            yield SampleInput(_to_differentiate(info)(x), kwargs=options)
    if info.reference_inputs_func is not None:
        yield from _references(info)


def _references(info: OpInfo) -> Iterator[SampleInput]:
    """Yield the samples that PyTorch compares with NumPy: many more, with extreme values."""
    for sample in info.reference_inputs("cpu", torch.float64):
        tensors = list(_tensors((sample.input, sample.args)))
        if any(t.numel() > 10_000 for t in tensors):
            continue
        if any(t.isnan().any() for t in tensors):
            # There is no derivative at NaN, and no agreement on what to return.
            yield sample
            sample = sample.transform(_without_nan)
        yield sample.transform(_to_differentiate(info))


def _without_nan(x: Any) -> Any:
    return x.where(~x.isnan(), 0.5) if isinstance(x, torch.Tensor) else x


def _to_differentiate(info: OpInfo) -> Callable[[Any], Any]:
    def transform(x: Any) -> Any:
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().requires_grad_(info.supports_autograd and x.is_floating_point())

    return transform


def _leaf(x: Any) -> Any:
    """Return a tensor of a sample without the history it may have; anything else as it is."""
    return x.detach().requires_grad_(x.requires_grad) if isinstance(x, torch.Tensor) else x


def examine(subject: Subject, second: bool = False, limit: int | None = None) -> Report:
    """Compare a function of ours with PyTorch on all samples, or on as many as `limit`, evenly drawn."""
    report = Report(subject)
    if subject.function is None:
        report.missing = True
        return report
    theirs, ours = subject.methods
    report.method_missing = theirs is not None and ours is None
    chosen = list(samples(subject.info))
    for number in range(0, len(chosen), 1 if limit is None else -(-len(chosen) // limit)):
        sample = chosen[number]
        torch.manual_seed(number)  # of the cotangents
        layouts = {"contiguous": Trial(subject, sample, second=second), "strided": Trial(subject, sample, strided=True)}
        if theirs and ours and isinstance(sample.input, torch.Tensor):
            layouts["method"] = Trial(subject, sample, as_method=True)
        for layout, trial in layouts.items():
            title = f"sample {number}, {layout}, {written(sample)}"
            try:
                difference = trial.difference()
            except Skipped as reason:
                report.skipped[str(reason)] += 1
                continue
            if difference:
                report.failures.append(f"{title}\n      {difference}")
            else:
                report.passed += 1
            if trial.warned:
                report.warned.append(title)
    return report


def error_inputs(info: OpInfo) -> list[ErrorInput]:
    """Return what PyTorch refuses."""
    torch.manual_seed(0)
    return [] if info.error_inputs_func is None else list(info.error_inputs("cpu"))


def _excuse(sample: SampleInput, pattern: str) -> str | None:
    """Return why an input that PyTorch refuses need not be refused here; None where it must."""
    if "out" in sample.kwargs:
        return "a tensor for the result"
    if not pattern:
        return "a number in the place of a tensor"
    for words in ("should be the same", "same dtype", "to be equal to src.dtype", "could not infer output dtype"):
        if words in pattern:
            return "element types that NumPy promotes"
    if "up to 64 dims" in pattern:
        return "more axes than an array can have"
    return None


def examine_errors(subject: Subject, report: Report) -> None:
    """Try the inputs that PyTorch refuses, and add to the report whether they are refused."""
    for error_input in error_inputs(subject.info) if subject.function else []:
        sample, pattern = error_input.sample_input, str(error_input.error_regex)
        title = f"{written(sample)}\n      PyTorch: {error_input.error_type.__name__}: {pattern}"
        if excuse := _excuse(sample, pattern):
            report.errors_skipped[excuse] += 1
            continue
        try:
            translate = Translator(strided=False)
            arguments, options = translate((sample.input, *sample.args)), translate(sample.kwargs)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                subject.call(arguments, options)
        except Skipped as reason:
            report.errors_skipped[str(reason)] += 1
        except TinygradError:
            report.refused += 1
        except Exception as error:
            report.raised_bare.append(f"{title}\n      {_failed('ours', error)}")
        else:
            report.accepted.append(title)


# --- the command ---------------------------------------------------------------------------------


def _row(report: Report, errors: bool) -> str:
    label = f"{report.subject.label:40}"
    if report.missing:
        return f"{label} missing"
    row = f"{label} {report.passed:6} {len(report.failures):6} {report.skipped.total():7} {len(report.warned):6}"
    if errors:
        row += (
            f"   | {report.refused:5} {len(report.raised_bare):5} {len(report.accepted):8}"
            f" {report.errors_skipped.total():7}"
        )
    return row + "   no such method" * report.method_missing


def _details(report: Report, verbose: bool) -> Iterator[str]:
    limit = sys.maxsize if verbose else 2
    for kind, found in [
        ("failed", report.failures),
        ("warns", report.warned),
        ("raises bare", report.raised_bare),
        ("does not raise", report.accepted),
    ]:
        yield from (f"    {kind}: {detail}" for detail in found[:limit])
        if len(found) > limit:
            yield f"    {kind}: and {len(found) - limit} more"
    if verbose:
        yield from (f"    skipped: {n} for {reason}" for reason, n in report.skipped.items())
        yield from (f"    error inputs skipped: {n} for {reason}" for reason, n in report.errors_skipped.items())


def main() -> int:
    """Print a table, one line for each operation, with the failures below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="names of operations, or patterns; all by default")
    parser.add_argument("--errors", action="store_true", help="also try the inputs that must be refused")
    parser.add_argument("--second", action="store_true", help="also compare second derivatives")
    parser.add_argument("--limit", type=int, help="at most so many samples for each operation")
    parser.add_argument("-q", action="store_true", help="the table alone")
    parser.add_argument("-v", action="store_true", help="every failure, with the reasons for skipping")
    options = parser.parse_args()
    chosen = subjects(options.patterns)
    if not chosen:
        parser.error(f"no operation is called {' or '.join(options.patterns)}")
    head = f"{'operation':40} {'passed':>6} {'failed':>6} {'skipped':>7} {'warned':>6}"
    print(head + "   |  ours  bare accepted skipped" * options.errors)
    total: Counter[str] = Counter()
    for subject in chosen:
        report = examine(subject, options.second, options.limit)
        if options.errors:
            examine_errors(subject, report)
        print(_row(report, options.errors), flush=True)
        if not options.q:
            for line in _details(report, options.v):
                print(line, flush=True)
        total.update(
            missing=report.missing,
            passed=report.passed,
            failed=len(report.failures),
            skipped=report.skipped.total(),
            warned=len(report.warned),
            ours=report.refused,
            bare=len(report.raised_bare),
            accepted=len(report.accepted),
        )
    print(f"{len(chosen)} operations: " + ", ".join(f"{name} {n}" for name, n in total.items()))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
