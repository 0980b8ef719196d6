"""The benchmarks still run: each once, without the packages that take their time, and the scripts beside them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.image import imread

pytest.importorskip("pytest_benchmark", reason="pytest-benchmark is installed with the extra `bench`")
TESTS = Path(__file__).parent
FOLDER = TESTS / "benchmarks"
ABSENT = ("torch", "jax", "autograd", "mygrad", "micrograd", "numba")


@pytest.fixture
def run(tmp_path):
    """Run Python where the other packages are not installed; return the exit status and what it printed."""
    for package in ABSENT:
        (tmp_path / f"{package}.py").write_text(f"raise ModuleNotFoundError('no {package}')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_ADDOPTS": "-p no:xdist -p no:cacheprovider"}

    def run_python(*command):
        command = [sys.executable, *map(str, command)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return run_python


def test_every_benchmark_once(run):
    status, printed = run("-m", "pytest", FOLDER, "--benchmark-disable", "-v")
    assert status == 0, printed
    outcomes = dict(re.findall(r"test_step\[(.+)\] (PASSED|SKIPPED)", printed))
    for workload in ("tutorial", "mlp-sgd", "mlp-adam", "ops", "convolution", "transformer"):
        assert outcomes[f"{workload}: tinygrad_bc compiled, numpy"] == "PASSED"
    assert outcomes["deep: tinygrad_bc, plain operations"] == "PASSED"
    assert outcomes["ops: PyTorch, eager"] == "SKIPPED"


def test_the_ordinary_run_passes_the_benchmarks_by(run):
    status, printed = run("-m", "pytest", TESTS, "--collect-only", "--ignore-glob=*/test_*.py")
    assert status == pytest.ExitCode.NO_TESTS_COLLECTED, printed


def test_tables_and_pictures(run, tmp_path):
    table, speeds, growth = (tmp_path / name for name in ("table.md", "speeds.png", "growth.png"))
    quick = ("--rounds", "2", "--seconds", "0.001")
    status, printed = run(FOLDER / "compare.py", "ops", *quick, "--markdown", table, "--picture", speeds)
    assert status == 0, printed
    lines = table.read_text(encoding="utf-8").splitlines()
    (ours,) = [line for line in lines if line.startswith("| tinygrad_bc compiled, numpy |")]
    assert "left out" not in ours
    assert any(re.match(r"\| PyTorch, eager \|.*left out: ModuleNotFoundError: no torch", line) for line in lines)
    quick = ("--points", "4", "--rounds", "1", "--patience", "0.1")
    status, printed = run(FOLDER / "growth.py", "operations", *quick, "--picture", growth)
    assert status == 0, printed
    assert re.search(r"tinygrad_bc, plain operations .*[mµ]s", printed)
    for picture in (speeds, growth):
        assert imread(picture)[..., :3].std() > 0.05


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured with Linux's /proc")
def test_memory(run):
    status, printed = run(FOLDER / "memory.py", "--operations", "3000", "--steps", "300")
    assert status == 0, printed
    assert re.search(r"tinygrad_bc +\d+ +\d+ +-?\d+\n", printed)
    assert re.search(r"tinygrad_bc compiled, numpy +-?[\d,]+ +-?[\d.]+ +\d+\n", printed)
    assert re.search(r"PyTorch +left out", printed)
