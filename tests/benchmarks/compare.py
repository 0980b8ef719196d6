"""Compare the speed of tinygrad_bc, eager and compiled, with code written by hand and with other packages.

    python tests/benchmarks/compare.py [workload ...] [--rounds 11] [--seconds 0.05] [--markdown FILE] [--picture FILE]

`pip install -e ".[bench,oracles]"` installs the other packages but Numba, which holds NumPy back. What is not
installed is left out, and the table says so. All run in one process, on one thread, in rounds in which everyone
has a turn; the times are medians, the speeds ratios of them to the first line's. The set-up
includes compiling, and the first steps. Everybody's losses are compared first;
the exit status is 1 if ours are wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

import measure
import numpy as np
import table
from workloads import WORKLOADS

LOAD_IS_KNOWN = hasattr(os, "getloadavg")  # not on Windows. Where others are at work, times mean little


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare the speed of tinygrad_bc with others.")
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"of {', '.join(WORKLOADS)}; all if none")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.05, help="how long a contender's turn is, about")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there, too")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the speeds there")
    args = parser.parse_args(argv)
    if unknown := set(args.workloads) - set(WORKLOADS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")

    about = f"Python {platform.python_version()}, NumPy {np.__version__}, {args.rounds} interleaved rounds, one thread"
    about += f"; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors at the start" if LOAD_IS_KNOWN else ""
    print(about, flush=True)
    measured = {}
    for name in args.workloads or WORKLOADS:
        workload = WORKLOADS[name]
        measured[name] = workload, measure.measure(workload, args.rounds, args.seconds)
        print(f"\n{table.text(*measured[name])}", flush=True)
    if args.markdown:
        tables = [table.markdown(*pair) for pair in measured.values()]
        args.markdown.write_text("\n\n".join([about, *tables]) + "\n", encoding="utf-8")
    if args.picture:
        table.picture(measured, args.picture)
    results = [result for _, found in measured.values() for result in found]
    return int(any(r.note.startswith("AssertionError") and table.is_ours(r.name) for r in results))


if __name__ == "__main__":
    sys.exit(main())
