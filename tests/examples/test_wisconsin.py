"""The main job: the tutorial's printed figures, and what the command leaves behind."""

import json
from pathlib import Path

import hand_derived
import numpy as np
import pytest
import wisconsin
from sklearn.metrics import accuracy_score

from tinygrad_bc import data

RUNS = json.loads((Path(__file__).parent / "tutorial_figures.json").read_text())["runs"]


@pytest.fixture(scope="module")
def sets():
    scaled = data.scale_min_max(data.load_wisconsin(wisconsin.CSV))
    (X, Y), (X_val, Y_val) = map(data.as_columns, data.tutorial_split(scaled))
    return X, Y, X_val, Y_val


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"lr {run['lr']}")
def test_every_figure_that_the_tutorial_printed(run, sets):
    assert_figures(run, wisconsin.train(*sets[:2], run["lr"], run["iterations"]), sets)


def assert_figures(run, training, sets):
    X, Y, X_val, Y_val = sets
    assert {i: f"{training.costs[int(i)]:.6f}" for i in run["cost"]} == run["cost"]
    network = training.network
    scores = wisconsin.Scores(
        (Y[0], wisconsin.probabilities(network, X, Y)), (Y_val[0], wisconsin.probabilities(network, X_val, Y_val))
    )
    for threshold, expected in run["accuracy"].items():
        assert scores.at(float(threshold), accuracy_score) == expected
    for threshold, expected in run["mistakes"].items():
        assert expected.items() <= scores.at(float(threshold), wisconsin.mistakes).items()


@pytest.mark.parametrize("target", ["numpy", "c"])
@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"lr {run['lr']}")
def test_compiled_training_comes_to_every_figure_too(run, target, sets):
    assert_figures(run, wisconsin.train(*sets[:2], run["lr"], run["iterations"], target=target), sets)


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_compiled_training_is_the_eager_one(target, sets):
    X, Y, *_ = sets
    eager, compiled = (wisconsin.train(X, Y, 0.01, 1500, (0, 50, 1499), target=t) for t in (None, target))
    assert set(compiled.costs.index) == {0, 500, 1000, *(49, 1498), 1499}  # reported, before snapshots, the last
    np.testing.assert_allclose(compiled.costs, eager.costs[compiled.costs.index], rtol=1e-12)
    states = [[training.network.state_dict(), *training.snapshots.values()] for training in (eager, compiled)]
    assert list(compiled.snapshots) == [0, 50, 1499]
    for expected, found in zip(*states, strict=True):
        for name in expected:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-11, atol=1e-14)


def test_training_follows_the_hand_written_backward_pass(sets):
    X, Y, *_ = sets
    parameters = hand_derived.initial_parameters()
    by_hand = [hand_derived.step(X, Y, parameters, 0.01).item() for _ in range(2000)]
    training = wisconsin.train(X, Y, 0.01, 2000)
    np.testing.assert_allclose(training.costs, by_hand, rtol=1e-12)
    for name, parameter in training.network.named_parameters():
        np.testing.assert_allclose(parameter.data, parameters[name], rtol=1e-9, atol=1e-13)


def test_the_command_prints_and_writes_everything(tmp_path, capsys):
    assert wisconsin.main(["--iterations", "600", "--threshold", "0.6", "--out", str(tmp_path / "results")]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""  # no progress bar where nobody looks
    for expected in (
        "683 complete rows: 500 for training, 182 for validation",
        "iteration      0: 0.673967",
        "iteration    500: 0.388928",
        "Accuracy, calling malignant what lies above 0.6",
        "predicted malignant",
        "dLoss_W1",
        "row 500 is in neither set",
        "8 patients have rows in both sets",
        "standard deviation over 15 folds",
    ):
        assert expected in printed.out
    written = {path.name: path for path in (tmp_path / "results").iterdir()}
    assert set(written) == {
        "results.json",
        "graph.svg",
        "backward.svg",
        "derivation.html",
        "derivation.tex",
        "classifier_in_numpy.py",
        "explain.html",
        "loss.png",
        "confusion.png",
        "feature_bars.png",
        "feature_histograms.png",
    }
    results = json.loads(written["results.json"].read_text())
    assert (results["lr"], results["iterations"]) == (0.01, 600)
    assert results["cost"]["500"] == pytest.approx(0.388928, abs=5e-7)
    assert set(results["accuracy"]) == set(results["mistakes"]) == {"0.5", "0.6", "0.7", "0.8", "0.9"}
    check = results["gradient_check"]
    assert check["passed"]
    assert 0 < check["formulas"] < 1e-12
    assert 0 < check["finite_differences"] < 1e-6
    assert set(check["iterations"]) == {"0", "20", "200", "599"}
    assert len(check["iterations"]["0"]) == 8
    assert "  dLoss_Z2 = (Yh − Y) / n                1×500\n" in printed.out
    assert written["explain.html"].stat().st_size < 1_000_000
    svg = written["graph.svg"].read_text(encoding="utf-8")
    assert all(name in svg for name in ("W1", "b1", "Z1", "A1", "W2", "b2", "Z2", "Yh", "Loss", "15×500"))


def test_the_derived_numpy_trains_to_the_tutorials_figures(tmp_path, sets, capsys):
    X, Y, *_ = sets
    (path,) = [path for path in wisconsin.explain(tmp_path, X, Y) if path.suffix == ".py"]
    space = {}
    exec(compile(path.read_text(encoding="utf-8"), path.name, "exec"), space)
    parameters = hand_derived.initial_parameters()
    costs = []
    for _ in range(1001):
        cost, gradients = space["value_and_grad"](X, Y, **parameters)
        costs.append(cost)
        parameters = {name: p - 0.01 * gradients[name] for name, p in parameters.items()}
    expected = RUNS[0]["cost"]
    assert {i: f"{costs[int(i)]:.6f}" for i in ("0", "500", "1000")} == {i: expected[i] for i in ("0", "500", "1000")}


def test_a_wrong_formula_makes_the_run_fail(tmp_path, capsys, monkeypatch):
    right = hand_derived.sigmoid_slope
    monkeypatch.setattr(hand_derived, "sigmoid_slope", lambda Z: right(Z) * (1 + 1e-11))
    assert wisconsin.main(["--iterations", "30", "--out", str(tmp_path)]) == 1
    assert "WRONG" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")
@pytest.mark.parametrize("compiled", [[], ["--compile", "numpy"], ["--compile", "c"]], ids=" ".join)
def test_training_that_diverges_says_so(compiled, tmp_path, capsys):
    assert wisconsin.main(["--lr", "1e9", "--iterations", "30", "--out", str(tmp_path), *compiled]) == 1
    assert "training diverged: the cost is no number any more at iteration" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "-0.1"], "'-0.1' is not a positive float"),
        (["--lr", "nan"], "'nan' is not a positive float"),
        (["--iterations", "0"], "'0' is not a positive int"),
        (["--iterations", "many"], "'many' is not a positive int"),
        (["--compile", "fortran"], "argument --compile: invalid choice: 'fortran'"),
        (["--threshold", "1.5"], "'1.5' does not lie between 0 and 1"),
        (["--out", __file__], "cannot be a folder: File exists"),
    ],
)
def test_bad_arguments_are_explained(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        wisconsin.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
