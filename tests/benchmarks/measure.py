"""Contenders, checked and then timed: interleaved rounds in one process, on one thread.

A *workload* names its contenders, each with a function that sets it up and returns its *step*: a function of no
arguments that does the work once and returns a number (the loss before the step, say), so that nothing can be left
undone and all can be checked against each other.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import environment
import numpy as np

from tinygrad_bc.errors import CompilerError, CompilerWarning

Step = Callable[[], float]
Contenders = dict[str, Callable[[], Step]]

CANNOT_TAKE_PART = (ImportError, CompilerError, CompilerWarning)
"""What setting up a contender raises if a package or a compiler is missing; anything else is a mistake."""


class Loop(NamedTuple):
    """A step that does several at once, and returns the number of the last."""

    call: Step
    steps: int

    def __call__(self) -> float:
        return self.call()


class Workload(NamedTuple):
    """Something to be done, by several contenders. The first of them is what the others are compared with.

    `checked` steps of each must give the same numbers, to `rtol`. Of figures that were known before, `known` holds
    some, by the number of the step. `per` says how many `unit`s a step is made of.
    """

    title: str
    contenders: Callable[[], Contenders]
    checked: int = 5
    rtol: float = 1e-4
    known: Mapping[int, float] = MappingProxyType({})
    per: int = 1
    unit: str = "step"


class Result(NamedTuple):
    """The times of a contender in seconds, one per round, and that of its set-up; or why there are none.

    The set-up includes the steps that are checked, in the first of which a compiler works.
    """

    name: str
    seconds: np.ndarray
    setup: float
    note: str = ""


def steps_of(step: Step) -> int:
    """Return how many steps one call does."""
    return getattr(step, "steps", 1)


def numbers(step: Step, count: int) -> dict[int, float]:
    """Run `count` steps; return the numbers, by the number of the step."""
    by = steps_of(step)
    return {end - 1: float(step()) for end in range(by, count + 1, by)}


def check(workload: Workload, name: str, found: dict[int, float], reference: dict[int, float]) -> None:
    """Raise AssertionError unless the numbers of a contender are those of the reference, and those known before."""
    for step, number in found.items():
        wanted = reference[step]
        assert np.isclose(number, wanted, rtol=workload.rtol), f"{name}: {number:.7g} at {step}, expected {wanted:.7g}"
        if step in workload.known:
            wanted = workload.known[step]
            assert round(number, 6) == wanted, f"{name}: {number:.7f} at {step}, expected {wanted}"


def ready(workload: Workload) -> tuple[dict[str, Step], dict[str, float], dict[str, str]]:
    """Set up the contenders and check them; return their steps, how long that took, and why others do not take part."""
    environment.keep_to_one_thread()
    steps: dict[str, Step] = {}
    setup: dict[str, float] = {}
    reasons: dict[str, str] = {}
    reference: dict[int, float] = {}
    for name, make in workload.contenders().items():
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                warnings.simplefilter("error", CompilerWarning)  # or NumPy would run under the name of C
                step = make()
                found = numbers(step, workload.checked)
            reference = reference or found
            check(workload, name, found, reference)
            steps[name], setup[name] = step, time.perf_counter() - start
        except Exception as error:  # a peer that fails, in whatever way, is a line of the table
            reasons[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return steps, setup, reasons


def measure(workload: Workload, rounds: int, seconds: float) -> list[Result]:
    """Time the contenders in `rounds` rounds, in each of which every one runs for about so many `seconds`."""
    steps, setup, reasons = ready(workload)
    calls = {name: max(1, round(seconds / _timed(step, 1)[0])) for name, step in steps.items()}
    times = {name: np.empty((rounds, 2)) for name in steps}
    order = np.random.default_rng(0)
    gc.collect()
    gc.freeze()  # what the set-up made would make every later collection longer
    for turn in range(rounds):
        for name in order.permutation(list(steps)):
            gc.collect()  # nobody pays for what another left
            times[name][turn] = np.array(_timed(steps[name], calls[name])) / workload.per
    gc.unfreeze()
    results = [Result(name, times[name][:, 0], setup[name], _cores(times[name])) for name in steps]
    return results + [Result(name, np.empty(0), 0.0, reason) for name, reason in reasons.items()]


def _timed(step: Step, calls: int) -> tuple[float, float]:
    """Return the time for a step in seconds, on the wall and on all processors, over so many calls."""
    wall, processors = time.perf_counter(), time.process_time()
    for _ in range(calls):
        step()
    count = calls * steps_of(step)
    return (time.perf_counter() - wall) / count, (time.process_time() - processors) / count


def _cores(times: np.ndarray) -> str:
    """Return a remark if more than one processor was at work."""
    wall, processors = np.median(times, axis=0)
    return f"on {processors / wall:.1f} processors" if processors > 1.15 * wall else ""


def speeds(results: Sequence[Result]) -> dict[str, tuple[float, float, float]]:
    """Return the speed of each contender relative to the first: the ratio of the medians, between the quartiles."""
    measured = [result for result in results if len(result.seconds)]
    return {r.name: tuple(np.median(measured[0].seconds) / np.percentile(r.seconds, [75, 50, 25])) for r in measured}
