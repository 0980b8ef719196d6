"""What `import tinygrad_bc` costs over `import numpy`: fresh interpreters in turn, the median difference.

    python tests/benchmarks/import_time.py [--rounds 15]

Both are read from bytecode, as anything is from its second import on. Where PYTHONDONTWRITEBYTECODE keeps Python from
writing it, every import compiles the package anew, which takes longer than all the rest; the last figure says how long.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time


def milliseconds(statement, environment):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, env=environment)
    return (time.perf_counter() - start) * 1e3


def medians(rounds, environment):
    """Return the medians of both imports and of their difference, without the first round, which may write bytecode."""
    pairs = [
        [milliseconds(f"import {package}", environment) for package in ("numpy", "tinygrad_bc")]
        for _ in range(rounds + 1)
    ][1:]
    return *(statistics.median(column) for column in zip(*pairs)), statistics.median(b - a for a, b in pairs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as bytecode:
        environment = os.environ | {"PYTHONPYCACHEPREFIX": bytecode}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        numpy, ours, extra = medians(rounds, environment)
        print(f"import numpy {numpy:.1f} ms, import tinygrad_bc {ours:.1f} ms, median difference {extra:.1f} ms")
    with tempfile.TemporaryDirectory() as empty:
        uncached = os.environ | {"PYTHONPYCACHEPREFIX": empty, "PYTHONDONTWRITEBYTECODE": "1"}
        print(f"without bytecode of either, the difference is {medians(rounds, uncached)[-1]:.1f} ms")


if __name__ == "__main__":
    main()
