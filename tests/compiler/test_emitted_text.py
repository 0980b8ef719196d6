"""What is emitted, as those see it who read it, and who use it without this package."""

import re
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.compiler.c_target.lines import WIDTH, wrapped

F = nn.functional


def numbers(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def trained(modules, loss, optimizer, *batch):
    """Return the program of a step of training."""

    def step(*batch):
        optimizer.zero_grad()
        total = loss(*batch)
        total.backward()
        optimizer.step()
        return total

    compiled = tg.compile(step, target="numpy")
    compiled(*batch)
    return compiled.program


def perceptron(optimizer=optim.Adam):
    model = nn.Sequential(nn.Linear(6, 4, generator=0), nn.Tanh(), nn.Linear(4, 3, generator=1))
    labels = np.random.default_rng(2).integers(0, 3, 20)
    return trained(
        model,
        lambda x, y: F.cross_entropy(model(x), y),
        optimizer(model.parameters(), lr=0.1),
        numbers(0, 20, 6),
        labels,
    )


def used_in_another_order():
    """Two layers with names of their own, the first of the optimiser's used last."""
    last, first = nn.Linear(5, 2, generator=0), nn.Linear(3, 5, generator=1)
    parameters = [*last.parameters(), *first.parameters()]
    return trained(
        [last, first],
        lambda x: (last(tg.tanh(first(x))) ** 2).mean(),
        optim.Adam(parameters, lr=0.1),
        numbers(0, 7, 3),
    )


def attention():
    project = nn.Linear(4, 12, generator=0)

    def loss(x):
        q, k, v = project(x).reshape(5, 3, 4).permute(1, 0, 2)
        return ((q @ k.T).softmax(dim=-1) @ v).square().mean()

    return trained(project, loss, optim.SGD(project.parameters(), lr=0.1), numbers(0, 5, 4))


def pooled():
    model = nn.Sequential(nn.Conv2d(1, 2, 3, generator=0), nn.GELU(), nn.MaxPool2d(2), nn.Flatten())
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return trained(model, lambda x: model(x).square().mean(), optimizer, numbers(0, 2, 1, 10, 10))


def judged():
    """A model that only reads its weights, on data that seldom change: what follows from these is prepared."""
    model = nn.Sequential(nn.Linear(4, 3, generator=0), nn.ReLU(), nn.Linear(3, 2, generator=1))
    data = tg.tensor(numbers(0, 6, 4), name="data")
    compiled = tg.compile(lambda scale: model(2 * data).exp() * scale, target="numpy")
    compiled(numbers(1, 2))
    return compiled.program


PROGRAMS = [perceptron, used_in_another_order, attention, pooled, judged]


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("make", PROGRAMS)
def test_no_line_is_too_long(make, target):
    assert max(map(len, make().source(target).splitlines())) <= 120


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_layers_that_are_numbers_have_names_that_say_so(target):
    source = perceptron().source(target)
    for name in ("layer0_weight", "dLoss_layer0_weight", "exp_avg_layer0_weight", "exp_avg_sq_layer2_bias"):
        assert re.search(rf"\b{name}\b", source), name
    assert not re.search(r"\b[vx]\d+_|_\d+_(weight|bias)", source)


def test_numbers_that_follow_from_a_learning_rate_have_names():
    source = perceptron().source("numpy")
    assert re.search(r"def step\(.*, corrected_eps, corrected_lr\):", source)
    assert not re.search(r"^number", source, re.MULTILINE)


def test_each_part_of_a_tensor_has_its_own_variable():
    source = attention().source("numpy")
    assert all(re.search(rf"^    {name} = ", source, re.MULTILINE) for name in "qv")


def test_what_an_optimiser_remembers_is_called_after_its_parameter_and_updated_once():
    source = used_in_another_order().source("numpy")
    parts = re.findall(r"its parts are\n((?:    .*\n)+)", source)
    weights, *remembered = [re.findall(r"(\w+) (\(.*?\))", part) for part in parts]
    assert [shape for _, shape in weights] == ["(2, 5)", "(2,)", "(5, 3)", "(5,)"]  # as they stand in memory
    assert remembered == [
        [(f"{prefix}_{name}", shape) for name, shape in weights] for prefix in ("exp_avg", "exp_avg_sq")
    ]
    assert source.count("np.sqrt(") == 1
    assert "np.concatenate" not in source


@pytest.mark.parametrize("make", PROGRAMS)
def test_nothing_is_called_by_a_number(make):
    names = set(re.findall(r"\b[a-zA-Z_]\w*", make().source("numpy")))
    assert not [name for name in names if re.fullmatch(r"[tv]\d+|c", name)]


def test_arrays_are_made_part_by_part():
    source = perceptron().source("numpy")
    bind = source[source.index("def bind") : source.index("    def prepare")]
    constants, buffers, views = re.split(r"    # (?:constants|buffers|views)\n", bind)[1:]
    assert not re.search(r"= empty\(.*\)$", views, re.MULTILINE)
    assert all(" = empty(" in line for line in buffers.strip().splitlines())
    assert re.search(r"c0_999 = np.array\(0.999\)", constants)


@pytest.mark.parametrize("make", PROGRAMS)
def test_the_module_runs_as_its_docstring_says(make, tmp_path):
    """In another interpreter, without this package; the numbers are those of the program's own run."""
    program = make()
    source = program.source("numpy")
    docstring = source.split('"""')[1]
    usage = "\n".join(
        line.removeprefix("    ") for line in docstring.partition("\n\n")[2].partition("\n\n")[0].split("\n")
    )
    described = re.findall(r"^(\w+): (\(.*?\)) (\w+), ", docstring, re.MULTILINE)
    rng = np.random.default_rng(0)
    arrays = {
        name: np.zeros(eval(shape), int) if kind.startswith("int") else rng.uniform(0.1, 1, eval(shape))
        for name, shape, kind in described
    }
    np.savez(tmp_path / "before.npz", **arrays)
    (tmp_path / "module.py").write_text(source)
    after = "np.savez('after.npz', *results)"
    script = f"import numpy as np\nfrom module import bind\nglobals().update(np.load('before.npz'))\n{usage}\n{after}"
    code = f"import sys; sys.path.insert(0, '.'); exec({script!r})"
    subprocess.run([sys.executable, "-I", "-c", code], check=True, cwd=tmp_path)
    namespace = {}
    exec(source, namespace)
    memory = [arrays[name].copy() for name in re.search(r"def bind\((.*?)\)", source, re.DOTALL)[1].split(", ")]
    prepare, step = namespace["bind"](*memory)
    passed = [arrays[name] for name in re.search(r"def step\((.*?)\)", source)[1].split(", ") if name]
    prepare(*passed)
    found = np.load(tmp_path / "after.npz")
    for key, expected in zip(found, step(*passed), strict=True):
        np.testing.assert_array_equal(found[key], expected)


def test_the_docstring_says_what_is_prepared_from_what():
    source = judged().source("numpy")
    prepared = source[source.index("    def prepare") : source.index("    def step")]
    assert "np.multiply(" in prepared
    assert "    prepare(scale)  # before the first step, and again when what it reads changed\n" in source
    factor = tg.tensor(numbers(2, 4), name="factor")
    compiled = tg.compile(lambda x: x * tg.exp(factor), target="numpy")
    compiled(numbers(0, 4))
    source = compiled.program.source("numpy")
    assert "    prepare(x)  # before the first step, and again when factor changed\n" in source


def test_many_arguments_go_over_several_lines():
    names = [f"argument_with_a_long_name_{i}" for i in range(8)]
    namespace = {"tg": tg}
    exec(f"def product({', '.join(names)}):\n    return {' * '.join(names)}", namespace)
    compiled = tg.compile(namespace["product"], target="numpy")
    compiled(*numbers(0, 8, 3))
    source = compiled.program.source("numpy")
    assert max(map(len, source.splitlines())) <= 120
    called = re.search(r"    results = step\((.*?)\)", source, re.DOTALL)[1]
    assert re.findall(r"\w+", called) == names


# --- C --------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("cc") is None, reason="the command needs a compiler called cc")
@pytest.mark.parametrize("make", PROGRAMS)
def test_the_file_compiles_without_warnings_by_the_command_it_names(make, tmp_path):
    source = make().source("c")
    command = re.search(r"^ +(cc .*?-lm)$", source, re.DOTALL | re.MULTILINE)[1].replace("\\\n", " ")
    (tmp_path / re.search(r"\w+\.c\b", command)[0]).write_text(source)
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    done = subprocess.run([*shlex.split(command), *strict], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / re.search(r"\w+\.so\b", command)[0]).exists()


@pytest.mark.parametrize("make", PROGRAMS)
def test_headers_are_included_once_and_functions_are_used(make):
    source = make().source("c")
    headers = re.findall(r"#include <(.*)>", source)
    assert len(headers) == len(set(headers))
    for name in re.findall(r"^static inline \w+ (\w+)\(", source, re.MULTILINE):
        assert len(re.findall(rf"\b{name}\(", source)) > 1, name


def test_lines_are_broken_at_the_loosest_operator():
    factors = " * ".join(f"factor{i}[k]" for i in range(5))
    line = f"    total[i] = maximum({factors}, other[k]) + square({factors});"
    assert wrapped(line) == f"    total[i] = maximum({factors}, other[k])\n            + square({factors});"
    line = f"    total[i] = maximum({factors}, {factors});"
    assert wrapped(line) == f"    total[i] = maximum({factors},\n            {factors});"
    line = f"    {'x' * 70}[i] = {'y' * 70}[i];"
    assert wrapped(line) == f"    {'x' * 70}[i] =\n            {'y' * 70}[i];"
    assert wrapped("y" * 2 * WIDTH) == "y" * 2 * WIDTH


def test_an_element_is_added_to():
    x, total = tg.tensor(numbers(0, 4)), tg.tensor(np.zeros(4))

    @tg.compile(target="numpy")
    def step():
        nonlocal total
        with tg.no_grad():
            total += 2 * x

    step()
    assert "total[i] += " in step.program.source("c")
