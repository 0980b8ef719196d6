"""What `import tinygrad_bc` costs over `import numpy`: fresh interpreters in turn, the median difference.

python tests/benchmarks/import_time.py [--rounds 15]
"""

import argparse
import statistics
import subprocess
import sys
import time


def milliseconds(statement):
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return (time.perf_counter() - start) * 1e3


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    pairs = [(milliseconds("import numpy"), milliseconds("import tinygrad_bc")) for _ in range(rounds + 1)][1:]
    numpy, ours = (statistics.median(column) for column in zip(*pairs))
    extra = statistics.median(b - a for a, b in pairs)
    print(f"import numpy {numpy:.1f} ms, import tinygrad_bc {ours:.1f} ms, median difference {extra:.1f} ms")


if __name__ == "__main__":
    main()
