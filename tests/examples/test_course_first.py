"""The course, scripts 01 to 09: each runs, says what its numbers say, and leaves pictures that show something."""

import cmath
import importlib
import itertools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from tinygrad_bc import nn, train

FIGURES = json.loads((Path(__file__).parent / "tutorial_figures.json").read_text())
EXAMPLES = Path(__file__).parents[2] / "examples"


def numbers(line):
    """Return the numbers in a line."""
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?", line)]


def row(printed, label):
    """Return the numbers after `label`, in the line that begins with it."""
    (line,) = [line for line in printed.splitlines() if line.startswith(label)]
    return numbers(line.removeprefix(label))


def test_every_script_says_what_it_is_read_after():
    scripts = sorted(path.name for path in EXAMPLES.glob("0[1-9]_*.py"))
    assert [name[:2] for name in scripts] == [f"0{number}" for number in range(1, 10)]
    for before, name in itertools.pairwise(scripts):
        assert f"Read after `{before}`" in (EXAMPLES / name).read_text(encoding="utf-8")


def test_the_derivative(run):
    _, printed, written = run("01_derivative")
    assert "x = 3: the slope of x² is 6 by hand and 6 by the record" in printed
    assert "x = -2: the slope of x² is -4 by hand and -4 by the record" in printed
    steps = [numbers(line) for line in printed.splitlines() if re.match(r" +1e[+-]\d\d  ", line)]
    assert len(steps) == 16
    for h, one_sided, central in steps:
        rounding = 4 * np.finfo(float).eps * 9 / h  # of the squares, divided by the step
        assert abs(one_sided - (6 + h)) <= rounding
        assert abs(central - 6) <= rounding
    assert set(written) == {"tangents.png", "errors.png"}


def test_the_chain_rule(run):
    script, printed, written = run("02_chain_rule")
    step = 1e-30  # of a complex number: the derivative without a difference
    slope = (cmath.sin((script.X + 1j * step) ** 2) * cmath.exp(-(script.X + 1j * step))).imag / step
    assert f"From the record:    x.grad = {slope:.6f}" in printed
    recorded, derived = printed.split("The chain rule, derived from that record")
    for name in ("square = x^2", "wave = sin(square)", "fall = exp(%3)", "y = wave ∘ fall"):
        assert name in recorded
    for name in ("wave = sin(square)", "fall = exp(−x)", "dy_square = dy_wave·sin′(square)"):
        assert name in derived
    assert set(written) == {"graph.png", "backward.png", "function.png", "explain.html"}


def test_one_neuron_comes_near_the_best_that_one_neuron_can_be(run):
    script, printed, _ = run("03_one_neuron")
    X, y, X_val, y_val = script.load()
    best = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(X, y)
    least = log_loss(y, best.predict_proba(X))
    (last,) = row(printed, f"step {script.STEPS - 1:>5}: loss")
    assert least - 5e-5 <= last < 1.001 * least
    assert row(printed, "training")[0] == pytest.approx(100 * best.score(X, y), abs=0.5)
    assert row(printed, "validation")[0] == pytest.approx(100 * best.score(X_val, y_val), abs=1)


def test_the_classifier_has_the_tutorials_figures(run):
    _, printed, _ = run("04_classifier")
    costs = FIGURES["runs"][0]["cost"]
    for iteration in ("0", "500", "1000", "1500", "2000"):
        assert f"iteration {iteration:>5}: loss {costs[iteration]}" in printed
    assert "the same 2001 losses and the same weights, bit for bit" in printed


def test_initialisation(run):
    script, printed, _ = run("05_initialisation")
    steps = script.LAYERS - 1
    for rule, factor in {  # by theory: std of the weights, times √(units / 2), for each layer passed
        script.TOO_SMALL: script.SMALL * np.sqrt(script.UNITS / 2),
        script.TOO_LARGE: script.LARGE * np.sqrt(script.UNITS / 2),
        script.XAVIER: np.sqrt(1 / 2),
        script.KAIMING: 1.0,
    }.items():
        forward, backward, _ = row(printed, rule)
        assert forward == pytest.approx(factor**steps, rel=0.5)
        assert backward == pytest.approx(factor**steps, rel=0.5)
    final = {
        rule: row(printed, rule)[-1] for rule in (script.TOO_SMALL, script.TOO_LARGE, script.XAVIER, script.KAIMING)
    }
    assert min(final, key=final.get) == script.KAIMING
    assert final[script.TOO_SMALL] > 1
    assert final[script.TOO_LARGE] > 1


def test_zeros_do_not_learn():
    script = importlib.import_module("05_initialisation")
    X, y = script.load()
    model = script.network(script.ZEROS)
    nn.CrossEntropyLoss()(model(X), y).backward()
    *hidden, (_, last_bias) = model.named_parameters()
    assert all(not parameter.grad.numpy().any() for _, parameter in hidden)
    np.testing.assert_allclose(last_bias.grad.numpy(), 0.1 - np.bincount(y) / len(y), atol=1e-15)


def test_activations(run):
    script, printed, _ = run("06_activations")
    label = f"gradient of layer 1 ÷ layer {script.LAYERS}:"
    ratio = {name: row(printed, f"{name:<10}  {label}")[0] for name in script.ACTIVATIONS}
    assert ratio["sigmoid"] < 1e-3
    assert all(0.3 < ratio[name] < 3 for name in ("tanh", "relu", "leaky_relu"))
    assert row(printed, "leaky_relu: after")[0] == 0
    assert row(printed, "relu: after")[0] > 100
    assert "vanishing" in printed


def test_units_that_are_0_for_every_sample_have_no_gradient():
    script = importlib.import_module("06_activations")
    X, y = script.load()
    model = script.network("relu")
    x, dead = X, []
    weights = model.state_dict()
    for layer in range(0, 2 * script.LAYERS, 2):
        x = np.maximum(x @ weights[f"{layer}.weight"].T + weights[f"{layer}.bias"], 0)
        dead.append((x == 0).all(axis=0).sum())
    assert sum(dead) > 0
    assert script.units_without_gradient(model, X, y).tolist() == dead


def test_regularisation(run):
    script, printed, _ = run("07_regularisation")
    rows = {name: row(printed, name) for name in script.RECIPES}  # training loss, test loss, right, weights at 0
    small, large, *remedies = rows
    assert rows[large][0] < 0.05 < 1 < rows[large][1]
    for remedy in remedies:
        assert rows[large][0] < rows[remedy][0] < rows[small][0]
        assert rows[remedy][1] < rows[large][1] / 2
    assert rows[remedies[0]][3] > 20


def test_early_stopping_goes_back_to_the_best_weights():
    script = importlib.import_module("07_regularisation")
    recipe = script.RECIPES["early stopping"]
    validation = script.samples(200, 1)
    model, curves = script.train_by(recipe, script.samples(60, 0), validation)
    loss = train.evaluate(model, [validation], nn.BCEWithLogitsLoss())["loss"]
    assert loss == recipe.callbacks[0].best
    assert loss <= curves[:, 1].min()


def test_batches(run):
    script, printed, _ = run("08_batches")
    (power,) = [float(found) for found in re.findall(r"to the power of (-[\d.]+)", printed)]
    assert power == pytest.approx(-0.5, abs=0.05)
    taken = {name: row(printed, name) for name in script.WAYS}
    steps, samples, _, _, rises = taken["full batch"]
    assert (samples, rises) == (script.ROWS * steps, 0)
    steps, samples, _, _, rises = taken["single samples"]
    assert samples == steps
    assert rises > 0


def test_the_error_of_the_whole_as_a_batch_is_that_of_drawing_with_replacement():
    script = importlib.import_module("08_batches")
    X, y = script.load()
    model = script.network()
    each = np.stack([script.gradient(model, X[i : i + 1], y[i : i + 1]) for i in range(len(X))])
    exact = each.mean(axis=0)
    spread = np.sqrt(((each - exact) ** 2).sum(axis=1).mean()) / np.linalg.norm(exact)
    errors = script.errors_of_batches(X, y, np.random.default_rng(3), draws=400)
    np.testing.assert_allclose(errors, spread / np.sqrt(script.SIZES), rtol=0.15)


def test_optimisers(run):
    script, printed, _ = run("09_optimisers")
    final = {name: row(printed, f"{name:<10}  ") for name in script.WAYS}
    for name, momentum in (("SGD", 0.0), ("momentum", 0.9)):  # once more, with the gradient derived on paper
        (x, y), velocity = script.START, np.zeros(2)
        for _ in range(script.EVALUATIONS):
            slope = np.array([-2 * (1 - x) - 40 * x * (y - x**2), 20 * (y - x**2)])
            velocity = momentum * velocity + slope
            x, y = np.array([x, y]) - script.WAYS[name].valley * velocity
        assert final[name][0] == pytest.approx(script.valley(x, y), rel=0.05)
    assert final["L-BFGS"][0] < 1e-8
    assert final["Adam"][1] < final["momentum"][1] < final["SGD"][1]
    assert f"x has come from 1 to {(1 - 0.019) ** 50:.2f}" in printed
