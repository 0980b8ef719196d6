"""The tests of the operations as functions that can be called for one operation, in this process."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import io
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import _pytest.outcomes
import pytest
from mutants import Rule, rules

from tinygrad_bc.primitive import REGISTRY, Composite, EachInput, Primitive

TESTS = Path(__file__).parents[1]

# What is run where the tests of every operation on its samples notice nothing.
FURTHER = [TESTS / "ops", TESTS / "test_tensor.py", TESTS / "test_autograd.py", TESTS / "test_derivatives.py"]

SECONDS = 30
"""A test that takes longer has noticed something."""


class Case(NamedTuple):
    """One test function with one set of arguments."""

    name: str
    function: Callable[..., Any]
    subject: Any
    arguments: dict[str, Any]

    def failure(self) -> str | None:
        """Run it; return the error's type and first line, None if it passes."""
        try:
            with warnings.catch_warnings(), _limited_time():
                warnings.simplefilter("error")
                self.function(**self.arguments)
        except _pytest.outcomes.Skipped:
            return None
        except (Exception, _pytest.outcomes.OutcomeException) as error:
            return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"
        return None


@contextlib.contextmanager
def _limited_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"took more than {SECONDS} seconds")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@functools.cache
def module() -> ModuleType:
    """Return the module that tests every declared operation on its samples."""
    spec = importlib.util.spec_from_file_location("tests_of_every_operation", TESTS / "test_ops.py")
    assert spec is not None
    assert spec.loader is not None
    result = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(result)
    return result


@functools.cache
def _cases() -> list[Case]:
    """Return every test that is parametrised by an operation, with each set of its arguments."""
    found = []
    for name, function in vars(module()).items():
        marks = [m for m in getattr(function, "pytestmark", []) if m.name == "parametrize"]
        if not name.startswith("test_") or len(marks) != 1:
            continue
        names, sets = marks[0].args
        names = [names] if isinstance(names, str) else list(names)
        for i, given in enumerate(sets):
            values = list(given.values) if isinstance(given, type(pytest.param())) else [given]
            if len(values) == len(names) and isinstance(values[0], Primitive | Composite):
                label = getattr(given, "id", None) or f"{values[0].name}-{i}"
                found.append(Case(f"{name}[{label}]", function, values[0], dict(zip(names, values, strict=True))))
    return found


@contextlib.contextmanager
def _spied() -> Iterator[set[str]]:
    """Collect the names of the operations whose backward rules run inside the block."""
    ran: set[str] = set()

    def watched(op: Primitive, rule: Rule) -> Rule:
        def spy(*args: Any, **params: Any) -> Any:
            ran.add(op.name)
            return rule(*args, **params)

        return spy

    right = {op: op.vjps for op in REGISTRY.values() if op.differentiable}
    try:
        for op, vjps in right.items():
            wrapped = {position: watched(op, rule) for position, rule in rules(op)}
            op.vjps = (
                EachInput(wrapped[None])
                if isinstance(vjps, EachInput)
                else tuple(wrapped.get(i) for i in range(len(vjps or ())))
            )
        yield ran
    finally:
        for op, vjps in right.items():
            op.vjps = vjps


class Failing(Exception):
    """A test fails without any mutant, so it proves nothing about one."""


def _running(op: Primitive, cases: list[Case]) -> list[Case]:
    """Return those of the cases in which a backward rule of `op` runs."""
    result = []
    for case in cases:
        with _spied() as ran:
            failure = case.failure()
        if op.name not in ran:
            continue
        if failure is not None:
            raise Failing(f"{case.name} fails without a mutant: {failure}")
        result.append(case)
    return result


@functools.cache
def own_cases(op: Primitive) -> list[Case]:
    """Return the tests of an operation on its own samples that reach its backward rules."""
    return _running(op, [case for case in _cases() if case.subject is op])


@functools.cache
def composite_cases() -> dict[str, list[Case]]:
    """Return the tests of functions made of operations, by the name of the operations whose rules they reach."""
    found: dict[str, list[Case]] = {}
    for case in _cases():
        if isinstance(case.subject, Composite):
            with _spied() as ran:
                failure = case.failure()
            if failure is None:
                for name in ran:
                    found.setdefault(name, []).append(case)
    return found


class _Further:
    """A pytest plugin: runs chosen tests only, and remembers the failures and which rules each test reaches."""

    def __init__(self, chosen: set[str] | None = None) -> None:
        self.chosen = chosen
        self.failed: dict[str, str] = {}
        self.reached: dict[str, set[str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.chosen is not None:
            items[:] = [item for item in items if item.nodeid in self.chosen]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Any:
        if self.chosen is not None:
            return (yield)
        with _spied() as ran:
            try:
                return (yield)
            finally:
                for name in ran:
                    self.reached.setdefault(name, set()).add(item.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = str(report.longrepr).strip().splitlines()[-1]


def _run_pytest(plugin: _Further, files: list[str], *options: str) -> None:
    arguments = [
        *files,
        "-q",
        "--assert=plain",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-p",
        "no:randomly",
        *options,
    ]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([f"--rootdir={TESTS.parent}", *arguments], plugins=[plugin])


@functools.cache
def _further_tests() -> dict[str, set[str]]:
    """Return the tests in the other modules, by the operation whose backward rules they reach.

    Those that fail without any mutant are left out.
    """
    plugin = _Further()
    _run_pytest(plugin, [str(path) for path in FURTHER if path.exists()])
    return {name: tests - plugin.failed.keys() for name, tests in plugin.reached.items()}


def prepare_further_tests() -> None:
    """Find out, once and before processes are forked, which of the further tests reach which rules."""
    _further_tests()
    composite_cases()


def first_failure(cases: list[Case]) -> tuple[str, str] | None:
    """Run tests: the first that fails and how, or None if all pass."""
    for case in cases:
        failure = case.failure()
        if failure is not None:
            return case.name, failure
    return None


def first_failure_elsewhere(op: Primitive) -> tuple[str, str] | None:
    """Run what else is tested of an operation: the first test that fails and how, or None if all pass.

    Functions that are made of it are tried first, then the other test modules.
    """
    failed = first_failure(composite_cases().get(op.name, []))
    if failed is not None:
        return failed
    chosen = _further_tests().get(op.name, set())
    if not chosen:
        return None
    plugin = _Further(chosen)
    _run_pytest(plugin, sorted({str(TESTS.parent / name.partition("::")[0]) for name in chosen}), "-x")
    return next(iter(plugin.failed.items()), None)
