"""The pytest plugin: the fixture `gradcheck`, and the option that reproduces a failure.

pytest loads it wherever the package is installed; ``-p no:tinygrad_bc`` switches it off. The seed is fixed, 0, unless
one is given: a test that failed must fail again, and one that passed must not fail on another day for
nothing that changed. A run with another seed looks at other elements and directions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that says from which seed gradient checks draw."""
    group = parser.getgroup("tinygrad_bc")
    group.addoption(
        "--gradcheck-seed",
        type=int,
        default=None,
        metavar="N",
        help="draw the elements, directions and cotangents that gradient checks try from this seed (default: 0)",
    )


def pytest_report_header(config: pytest.Config) -> str | None:
    """Name the seed at the top of the run, if one was given."""
    seed = config.getoption("gradcheck_seed")
    return None if seed is None else f"gradcheck seed: {seed}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Let gradient checks in a test draw from the seed given, also those that do not use the fixture."""
    seed = item.config.getoption("gradcheck_seed")
    if seed is None:
        return (yield)
    from tinygrad_bc.check.gradient import default_seed

    token = default_seed.set(seed)
    try:
        return (yield)
    finally:
        default_seed.reset(token)


@pytest.fixture
def gradcheck() -> Callable[..., None]:
    """Check the gradient of a function: ``gradcheck(fn, inputs, **options)``, as `tinygrad_bc.check.gradients` does.

    The test fails if it is wrong, with the report as its message.
    """
    from tinygrad_bc.check.gradient import assert_gradients

    def check(fn: Callable[..., Any], inputs: Any, **options: Any) -> None:
        __tracebackhide__ = True
        assert_gradients(fn, inputs, **options)

    return check
