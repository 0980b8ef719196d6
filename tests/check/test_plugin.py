"""The pytest plugin, in a pytest of its own."""

import pytest

pytest_plugins = ["pytester"]

FAILING = """
    import pytest
    import tinygrad_bc as tg
    from tinygrad_bc.primitive import REGISTRY

    @pytest.fixture
    def x(monkeypatch):
        monkeypatch.setattr(REGISTRY["tanh"], "vjps", (lambda g, y, x: g * (1 - y),))
        return tg.tensor([0.5, 1.0], requires_grad=True, name="x")

    def hidden(x):
        h = tg.tanh(x)
        return h * 2

    def test_fixture(gradcheck, x):
        gradcheck(hidden, x)

    def test_helper(x):
        tg.check.assert_gradients(hidden, x)
"""

PASSING = """
    import tinygrad_bc as tg

    def test_right(gradcheck):
        gradcheck(lambda x: tg.tanh(x), tg.tensor([0.5, 1.0], requires_grad=True), second_order=True)

    def test_seed():
        print("drawn from", tg.check.gradients(tg.tanh, tg.tensor([0.5], requires_grad=True)).seed)
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest as a user does, in a new process, where every warning is an error."""
    for name in ("CI", "BUILD_NUMBER"):  # there pytest's summary repeats every failure in full
        monkeypatch.delenv(name, raising=False)

    def run(source, *arguments):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-W", "error", "--import-mode=importlib", "--strict-config", *arguments)

    return run


def test_what_is_right_passes(run):
    result = run(PASSING, "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*drawn from 0*"])
    result.stdout.no_fnmatch_line("gradcheck seed*")


def test_a_failure_is_the_report_and_the_line_of_the_test(run):
    result = run(FAILING)
    result.assert_outcomes(failed=2)
    text = result.stdout.str()
    for line in (">       gradcheck(hidden, x)", ">       tg.check.assert_gradients(hidden, x)"):
        assert line in text
    assert text.count("E       AssertionError: gradient WRONG: the VJP of `tanh` for its input x") == 2
    assert text.count("h = tg.tanh(x)\n") >= 2
    assert text.count("the factor (1 + y) is missing: multiplied by it, it is right") == 2
    assert text.count("reproduce with pytest --gradcheck-seed=0") == 2
    assert "check/gradient.py" not in text  # nothing of our own between the test and the report
    assert "check/plugin.py" not in text


def test_the_seed_is_shown_and_used(run):
    result = run(PASSING, "-s", "--gradcheck-seed=7")
    result.stdout.fnmatch_lines(["gradcheck seed: 7", "*drawn from 7*"])
    failed = run(FAILING, "--gradcheck-seed=7")
    assert failed.stdout.str().count("reproduce with pytest --gradcheck-seed=7") == 2


def test_it_can_be_switched_off(run):
    result = run(PASSING, "-p", "no:tinygrad_bc")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*fixture 'gradcheck' not found*"])


def test_the_fixture_and_the_option_explain_themselves(pytester):
    result = pytester.runpytest_subprocess("--help")
    result.stdout.fnmatch_lines(["*--gradcheck-seed=N*"])
    result = pytester.runpytest_subprocess("--fixtures")
    result.stdout.fnmatch_lines(["gradcheck*", "*Check the gradient of a function*"])
