"""A sample of the mutants of the backward rules, and that the tool that makes and tries them can be trusted."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import ShapeError
from tinygrad_bc.primitive import REGISTRY

HERE = Path(__file__).parent


@pytest.fixture
def mutate(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))
    import mutate

    return mutate


def of(mutate, op, text):
    """The mutants of an operation whose description contains a text."""
    found = [m for m in mutate.mutants(REGISTRY[op]) if text in str(m)]
    assert found, f"no mutant of {op} is described by {text!r}"
    return found


def test_the_tests_kill_a_sample_of_mutants_and_the_checker_names_the_operation():
    """The command, as it is run by hand; ``--sample`` left out tries all of them."""
    command = [sys.executable, str(HERE / "mutate.py"), "--sample", "60", "--seed", "1"]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=HERE.parents[1], timeout=300, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "no mutant survived" in ran.stdout


def test_every_rule_is_broken_in_many_ways(mutate):
    for op in mutate.differentiable():
        changes = mutate._mutants(op.name)
        broken = {m.position for m in changes}
        assert broken == ({None} if op.variadic and None in broken else {i for i, r in enumerate(op.vjps) if r})
        for position in broken:
            assert len({m.kind for m in changes if m.position == position}) >= 19, (op.name, position)


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("sigmoid", ["1 - y → 1 + y", "y * (1 - y) → y ", "1 → 2", "y → x", "g * (y * (1 - y)) → y * (1 - y)"]),
        ("matmul", ["b.mT → b", "matmul(g, b.mT) → matmul(b.mT, g)", "a.ndim == b.ndim == 2 → a.ndim != b.ndim == 2"]),
        ("relu", ["x > 0 → x >= 0", "x > 0 → x < 0", "where(x > 0, 0.0, g)"]),
        ("subtract", ["-g → g", "rule of another input", "not summed over the broadcast axes"]),
        ("standardize", ["axis → 0"]),
        ("sum", ["another axis"]),
        ("prod", ["_shifted", "-1 → 0"]),  # in a function that the rule calls
        ("concatenate", ["rule of another input", "sign flipped", "another axis"]),
    ],
)
def test_mistakes_that_a_person_would_make_are_among_them(mutate, op, expected):
    texts = [str(m) for m in mutate._mutants(op)]
    for text in expected:
        assert any(text in described for described in texts), text


def test_a_mutant_is_installed_for_a_block_only(mutate):
    x = tg.tensor([0.5], requires_grad=True)
    right = tg.grad(tg.tanh(x), x)[0].item()
    (mutant,) = of(mutate, "tanh", "sign flipped")

    def fail_inside():
        with mutate.Installed(mutant):
            assert tg.grad(tg.tanh(x), x)[0].item() == -right
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_inside()
    assert tg.grad(tg.tanh(x), x)[0].item() == right


def test_a_changed_helper_is_seen_by_the_mutated_rule_alone(mutate):
    x = tg.tensor(np.arange(6.0).reshape(2, 3) + 1, requires_grad=True)
    before = [tg.grad(f(x, axis=1).sum(), x)[0].data for f in (tg.sum, tg.mean)]
    (mutant,) = of(mutate, "mean", "1 if i in reduced else n → n if i in reduced else 1")
    with mutate.Installed(mutant):
        np.testing.assert_array_equal(tg.grad(tg.sum(x, axis=1).sum(), x)[0].data, before[0])
        np.testing.assert_array_equal(tg.mean(x, axis=1).data, [2.0, 5.0])
        with pytest.raises(ShapeError):
            tg.grad(tg.mean(x, axis=1).sum(), x)
    assert mutant.reached.yes


def number_of(mutate, op, text):
    return next((op, i) for i, m in enumerate(mutate._mutants(op)) if text in str(m))


def test_verdicts_on_a_mistake_and_on_none(mutate):
    assert mutate.examine(number_of(mutate, "tanh", "doubled")).verdict == mutate.KILLED
    assert mutate.examine(number_of(mutate, "relu", "x → y")).verdict == mutate.EQUIVALENT


def test_a_mutant_that_the_tests_do_not_notice_is_reported(mutate, monkeypatch):
    """With the tests that notice it taken away, a mutant survives, and the report says where it differs."""
    job = number_of(mutate, "tanh", "doubled")
    monkeypatch.setattr(mutate.suite, "own_cases", lambda op: [])
    monkeypatch.setattr(mutate.suite, "first_failure_elsewhere", lambda op: None)
    assert mutate.examine(job).verdict == mutate.PENDING
    result = mutate.examine_further(job)
    assert result.verdict == mutate.SURVIVED
    assert "first derivative on sample 0" in result.why
    assert not mutate.passed([result], complete=False)
    assert "tanh, input 0: doubled" in mutate.summary([result], verbose=False)


def test_code_that_no_test_reaches_is_reported(mutate, monkeypatch):
    job = number_of(mutate, "softplus", "scaled > threshold → scaled < threshold")
    monkeypatch.setattr(mutate.suite, "first_failure_elsewhere", lambda op: None)
    monkeypatch.setattr(mutate.equivalence, "where_different", lambda mutant: None)
    assert mutate.examine_further(job)[3:5] == (mutate.SURVIVED, "not reached by any test")


def test_blame_must_be_right_often_enough(mutate):
    def results(wrong):
        blamed = [*["blamed another"] * wrong, *[mutate.blame.NAMED] * (100 - wrong)]
        return [mutate.Result("exp", "zero", "exp, input 0: zero", mutate.KILLED, "", said) for said in blamed]

    assert mutate.passed(results(5), complete=True)
    assert not mutate.passed(results(6), complete=True)
    assert mutate.passed(results(9), complete=False)
    assert not mutate.passed(results(10), complete=False)


def test_a_change_in_a_helper_must_be_reached_by_some_rule(mutate):
    def result(op, verdict):
        return mutate.Result(op, "operator", f"{op}, input 0: reduce.py, line 9: a → b", verdict, "")

    unreached, killed = result("sum", mutate.UNREACHED), result("mean", mutate.KILLED)
    assert mutate.passed(mutate.settled([unreached, killed]), complete=True)
    assert not mutate.passed(mutate.settled([unreached, unreached]), complete=True)


def test_blame_can_be_wrong(mutate, monkeypatch):
    (mutant,) = of(mutate, "sigmoid", "1 - y → 1 + y")
    assert mutate.blame.verdict(mutant, seed=0) == mutate.blame.NAMED
    tanh = of(mutate, "tanh", "sign flipped")[0]
    monkeypatch.setattr(mutate.blame, "Installed", lambda _: mutate.Installed(tanh))  # another operation is wrong
    assert "blamed tanh" in mutate.blame.verdict(mutant, seed=0)


def test_the_same_seed_draws_the_same_mutants(mutate):
    ops = [REGISTRY[name] for name in ("exp", "log", "tanh")]
    drawn = mutate.drawn(ops, 10, seed=3)
    assert drawn == mutate.drawn(ops, 10, seed=3) != mutate.drawn(ops, 10, seed=4)
    assert len(set(drawn)) == 10
