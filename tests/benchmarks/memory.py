"""What a recorded operation costs in memory, and whether steps leave anything behind, without the garbage collector.

    python tests/benchmarks/memory.py [--operations 100000] [--steps 100000]

Every figure is that of a fresh process, from what Linux says of its memory: so all that is allocated counts, whether
Python or C++ did it. The garbage collector is off. The exit status is 1 if a step of ours leaves anything behind.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import warnings
from pathlib import Path

from workloads import chain, tutorial

GRAPHS = ("tinygrad_bc", "PyTorch")
STEPS = (
    "tinygrad_bc, plain operations",
    "tinygrad_bc, nn + optim",
    "tinygrad_bc compiled, numpy",
    "tinygrad_bc compiled, c",
    "PyTorch, eager",
)
AGAIN = 4
NOISE = 1 << 20
"""Bytes by which a process may grow that leaves nothing behind: buffers of the system, for example."""


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak() -> int:
    """Return the most bytes that it had since `forget_peak`."""
    (line,) = [x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def forget_peak() -> None:
    """Let `peak` begin anew."""
    Path("/proc/self/clear_refs").write_text("5")


def graph(package: str, operations: int) -> dict[str, float]:
    """Return bytes an operation: of a live graph, at the peak of going backward, and left by doing it all again."""
    turns = operations // chain.PER_TURN
    record = chain.recorder(package)
    record(100).backward()
    gc.disable()
    forget_peak()
    before = resident()
    result = record(turns)
    found = {"live": resident() - before}
    result.backward()
    found["peak"] = peak() - before
    del result
    record(turns).backward()  # from here on, memory that was given back is used again
    settled = resident()
    for _ in range(AGAIN):
        record(turns).backward()
    found["left"] = (resident() - settled) / AGAIN
    return {key: value / (turns * chain.PER_TURN) for key, value in found.items()}


def steps(name: str, count: int) -> dict[str, float]:
    """Return by how many bytes the process grew in so many of the tutorial's steps, and the unreachable objects."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        step = tutorial.contenders()[name]()
        step()
    gc.collect()
    gc.disable()
    for _ in range(1_000):
        step()
    before = resident()
    for _ in range(count):
        step()
    return {"grown": resident() - before, "unreachable": gc.collect()}


def elsewhere(what: str, name: str, count: int) -> dict[str, float] | str:
    """Return the figures from a fresh process, or its last line if it fails."""
    command = [sys.executable, __file__, "--in-process", what, name, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure memory.")
    parser.add_argument("--operations", type=int, default=100_000)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--in-process", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if not Path("/proc/self/clear_refs").exists():
        parser.error("memory is measured with Linux's /proc, which is not here")
    if args.in_process:
        what, name, count = args.in_process
        print(json.dumps({"graph": graph, "steps": steps}[what](name, int(count))))
        return 0

    print(f"bytes an operation, in a chain of {args.operations:,}")
    print(f"{'':<32}{'live':>10}{'peak':>10}{'left':>10}")
    for name in GRAPHS:
        found = elsewhere("graph", name, args.operations)
        shown = (
            f"  left out: {found}" if isinstance(found, str) else "".join(f"{value:>10.0f}" for value in found.values())
        )
        print(f"{name:<32}{shown}", flush=True)

    print(f"\n{args.steps:,} of the tutorial's steps, the garbage collector off")
    print(f"{'':<32}{'bytes grown':>14}{'a step':>10}{'unreachable objects':>22}")
    bad = False
    for name in STEPS:
        found = elsewhere("steps", name, args.steps)
        if isinstance(found, str):
            print(f"{name:<32}  left out: {found}")
            continue
        grown, unreachable = found["grown"], found["unreachable"]
        bad |= name.startswith("tinygrad_bc") and (grown > NOISE or unreachable >= args.steps)
        print(f"{name:<32}{grown:>14,}{grown / args.steps:>10.1f}{unreachable:>22,}", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
