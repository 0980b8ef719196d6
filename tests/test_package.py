"""What the package looks like from outside."""

import doctest
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import tinygrad_bc as tg

MODULES = [m.name for m in pkgutil.walk_packages(tg.__path__, "tinygrad_bc.")]


@pytest.mark.parametrize("name", ["tinygrad_bc", *MODULES])
def test_docstring_examples(name):
    module = importlib.import_module(name)
    names = {n: getattr(tg, n) for n in dir(tg)} | {"Module": tg.nn.Module, **vars(module)}
    result = doctest.testmod(module, extraglobs=names, optionflags=doctest.ELLIPSIS)
    assert result.failed == 0
    for op in list(tg.primitive.__globals__["REGISTRY"]):
        if op == "cube":  # declared by the example of `primitive`
            del tg.primitive.__globals__["REGISTRY"][op]


def test_functions_are_not_hidden_by_modules_of_the_same_name():
    assert callable(tg.tensor)
    assert callable(tg.graph)
    assert callable(tg.primitive)
    assert callable(tg.check.gradcheck)


def test_public_names_exist_and_are_documented():
    assert {"relu", "transpose", "tensor", "graph", "check"} <= set(dir(tg))
    assert not {"np", "Any", "Callable", "unary", "REGISTRY", "_reshape"} & set(dir(tg))
    for name in dir(tg):
        assert getattr(tg, name).__doc__, name


def test_a_type_checker_sees_the_operations(tmp_path):
    user = tmp_path / "user.py"
    user.write_text(
        "import tinygrad_bc as tg\n"
        "x = tg.tensor([1.0])\n"
        "y: tg.Tensor = tg.relu(x) + 1\n"
        "tg.nonsense(x)\n"
        "print(tg.graph(y).dot, tg.gradcheck(tg.relu, x).rows, tg.check.formulas(y, {}, {}), tg.nn.Module())\n"
    )
    mypy = pytest.importorskip("mypy.api", reason="mypy is installed with the extra `dev`")
    out, _, status = mypy.run(["--strict", "--cache-dir", str(tmp_path / "cache"), str(user)])
    assert status == 1
    assert out.splitlines()[0].endswith('user.py:4: error: Module has no attribute "nonsense"  [attr-defined]')
    assert "Found 1 error" in out


def test_importing_loads_nothing_but_numpy():
    code = (
        "import sys, tinygrad_bc; heavy = {'pandas', 'graphviz', 'pygraphviz', 'matplotlib', 'sklearn', 'scipy', "
        "'numpy.random'} & set(sys.modules); print(sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_hand_derived_formulas_know_nothing_of_the_engine():
    source = (Path(__file__).parent.parent / "examples" / "hand_derived.py").read_text(encoding="utf-8")
    assert [line for line in source.splitlines() if "import" in line.split()] == [
        "import numpy as np",
        "import numpy.typing as npt",
    ]
