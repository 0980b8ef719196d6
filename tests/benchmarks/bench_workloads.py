"""Every contender of every workload as a benchmark of pytest-benchmark.

    pytest tests/benchmarks --benchmark-only [-k "tutorial and tinygrad_bc"]

`compare.py` is fairer, since there the contenders take turns; this one has pytest-benchmark's statistics and its
comparison with earlier runs (``--benchmark-autosave``, ``--benchmark-compare``).
"""

import functools

import measure
import pytest
from workloads import WORKLOADS

CASES = [pytest.param(w, c, id=f"{w}: {c}") for w, workload in WORKLOADS.items() for c in workload.contenders()]

pytestmark = pytest.mark.filterwarnings(  # other packages warn of this and that; NumPy instead of C is no result
    "ignore", "error::tinygrad_bc.errors.CompilerWarning"
)


@functools.cache
def reference(name):
    """Return the numbers that all contenders must find: those of the first that takes part."""
    workload = WORKLOADS[name]
    for make in workload.contenders().values():
        try:
            return measure.numbers(make(), workload.checked)
        except ImportError:
            continue
    raise AssertionError(f"{name}: nobody takes part")


@pytest.mark.parametrize(("name", "contender"), CASES)
def test_step(benchmark, name, contender):
    workload = WORKLOADS[name]
    benchmark.group = workload.title
    try:
        step = workload.contenders()[contender]()
        found = measure.numbers(step, workload.checked)
    except (*measure.CANNOT_TAKE_PART, RecursionError) as error:  # micrograd walks its graphs by recursion
        pytest.skip(f"{type(error).__name__}: {error}")
    measure.check(workload, contender, found, reference(name))
    benchmark.extra_info |= {"steps": measure.steps_of(step), "per step": f"{workload.per} {workload.unit}"}
    benchmark(step)
