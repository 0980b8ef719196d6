"""What all workloads need of tinygrad_bc: a step, eager and compiled, for a contender."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

from measure import Contenders, Loop, Step

import tinygrad_bc as tg

TARGETS = ("numpy", "c")


def no_arguments() -> Iterator[tuple[()]]:
    """Return what a step is called with that has its data in itself."""
    return itertools.repeat(())


def eager(step: Callable[..., tg.Tensor], batches: Iterator[tuple[Any, ...]]) -> Step:
    """Return a function that calls the step with the next batch."""
    return lambda: step(*next(batches)).item()


def in_programs(
    make: Callable[[], Callable[..., tg.Tensor]],
    batches: Callable[[], Iterator[tuple[Any, ...]]] = no_arguments,
    loop: int = 0,
) -> Contenders:
    """Return contenders: the step compiled for each target, and, if `loop` is given, with so many steps inside."""
    found: Contenders = {}
    for target in TARGETS:
        compiled = f"tinygrad_bc compiled, {target}"
        found[compiled] = lambda target=target: eager(tg.compile(make(), target=target), batches())
        if loop:
            found[f"{compiled}, loop inside"] = lambda target=target: Loop(
                eager(tg.compile(make(), target=target, steps=loop), batches()), loop
            )
    return found
