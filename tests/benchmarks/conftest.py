"""Makes the benchmarks known to pytest where it is asked for them, and lets them find what they share."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))


def pytest_collect_file(file_path, parent):
    """Collect ``bench_*.py``, which the ordinary run of the tests passes by."""
    asked_for = any(Path(arg.split("::")[0]).resolve() == HERE for arg in parent.config.args)
    if asked_for and file_path.match("bench_*.py"):
        return pytest.Module.from_parent(parent, path=file_path)
    return None
