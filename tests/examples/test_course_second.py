"""The course, scripts 10 to 20: each runs, says what its numbers say, and leaves pictures that show something."""

import ast
import importlib
import itertools
import re
from pathlib import Path

import hand_derived
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

import tinygrad_bc as tg
from tinygrad_bc import data, nn, optim

EXAMPLES = Path(__file__).parents[2] / "examples"


def numbers(text):
    return [float(number) for number in re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]\d+)?", text)]


def line_of(printed, beginning):
    """Return what follows `beginning` in the one line that begins with it."""
    (line,) = [line for line in printed.splitlines() if line.startswith(beginning)]
    return line.removeprefix(beginning)


def wisconsin():
    table = data.load_wisconsin(EXAMPLES.parent / "data" / "wisconsin-cancer-dataset.csv")
    (X, Y), _ = map(data.as_columns, data.tutorial_split(data.scale_min_max(table)))
    return X.T, Y.T


def test_every_script_says_what_it_is_read_after():
    scripts = sorted(path.name for path in EXAMPLES.glob("[12][0-9]_*.py"))
    assert [name[:2] for name in scripts] == [str(number) for number in range(10, 21)]
    for before, name in itertools.pairwise(["09_optimisers.py", *scripts]):
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert f"Read `{before}` first" in text
        assert f"    python examples/{name}\n" in text


def test_schedules(run):
    script, printed, written = run("10_schedules")
    assert set(written) == {"schedules.png", "lr_find.png", "comparison.png"}
    table = {name: numbers(line_of(printed, f"{name:<20}")) for name in script.SCHEDULES}
    (small, large) = table[script.CONSTANT]
    better = [sum(row[i] < table[script.CONSTANT][i] for row in table.values()) for i in (0, 1)]
    assert f"Of 8 schedules, {better[0]} beat the constant rate at the small peak" in printed
    assert f"and {better[1]} at the large one" in printed
    assert better[1] > better[0]
    assert min(row[1] for row in table.values()) < min(small, large)


def test_schedules_have_the_rates_of_their_formulas():
    script = importlib.import_module("10_schedules")
    X, Y = wisconsin()
    steps = np.arange(script.STEPS)
    expected = {
        script.CONSTANT: np.ones(script.STEPS),
        "exponential": 0.01 ** (steps / script.STEPS),
        "1/t": 1 / (1 + 20 * steps / script.STEPS),
        "cosine": (1 + np.cos(np.pi * steps / script.STEPS)) / 2,
    }
    for name, rates in expected.items():
        np.testing.assert_allclose(script.run(name, 0.1, X, Y, 0).rates, 0.1 * rates, rtol=1e-12)
    plateau = script.run("plateau", 1.0, X, Y, 0).rates
    assert plateau[0] == 1
    assert np.all(np.diff(plateau) <= 0)
    assert plateau[-1] < 1


def test_thresholds(run):
    script, printed, written = run("11_thresholds")
    assert set(written) == {"confusion.png", "sweep.png", "roc.png", "precision_recall.png", "calibration.png"}
    assert "would be 0.091 if the probabilities were exact" in printed
    (chosen,) = re.findall(r"validation rows it is (\d\.\d+)", printed)
    assert f"p > {chosen}" in printed
    columns = {}
    for label in ("accuracy", "share of malignant found", "cost per sample"):
        figures = np.reshape(numbers(line_of(printed, label).replace("to", " ")), (3, 3))  # threshold; value, low, high
        assert (figures[:, 1] <= figures[:, 0]).all()
        assert (figures[:, 0] <= figures[:, 2]).all()
        columns[label] = figures[:, 0]
    at_half, exact, _ = columns["share of malignant found"]
    assert exact >= at_half  # a lower threshold overlooks no more
    cheapest = [0.5, 1 / 11, float(chosen)][int(np.argmin(columns["cost per sample"]))]
    assert f"On these, {cheapest:.3f} is the cheapest" in printed
    assert script.cost(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0])) == (10 + 1) / 4


def test_augmentation(run):
    script, printed, written = run("12_augmentation")
    assert set(written) == {"augmented.png", "accuracy.png"}
    rows = {name: numbers(line_of(printed, f"{name:<16} ").replace("%", " ")) for name in script.CHOICES}
    as_is, moved = ({name: row[i] for name, row in rows.items()} for i in (0, 1))
    assert max(moved, key=moved.get) == "shift and rotate"
    assert moved["shift and rotate"] > moved["none"] + 20
    assert min(as_is.values()) == as_is[re.findall("go through, '(.*)'", printed)[0]]
    images = load_digits().images[:2] / 16
    assert script.changed(images, [], None) is images


def test_landscape(run):
    script, printed, written = run("13_landscape")
    assert set(written) == {"contours.png", "surface.png", "landscape.gif", "landscape.html"}
    assert printed.startswith("166 parameters")
    assert "below that" not in printed
    ends = {name: numbers(line_of(printed, f"{name:<18}"))[1] for name in script.WAYS}
    assert ends["SGD with momentum"] < ends["plain SGD"]
    uphill = {name: numbers(line_of(printed, f"{name:<18}").replace("%", " "))[2] for name in script.WAYS}
    assert uphill["large rate"] > uphill["annealed rate"] > uphill["plain SGD"]
    assert written["landscape.gif"].read_bytes().startswith(b"GIF89a")
    html = written["landscape.html"].read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/)", html)  # but for names of XML, which nobody fetches


def test_the_sharpness_in_the_landscape_is_that_of_the_hessian(monkeypatch):
    script = importlib.import_module("13_landscape")
    monkeypatch.setattr(script, "EPOCHS", 3)
    X, Y = wisconsin()
    model, recorder = script.travel(script.WAYS["SGD with momentum"], X, Y)
    assert recorder.steps == list(range(0, 31, script.EVERY))
    landscape = tg.draw.Landscape(lambda: script.loss_of(model, X, Y), model.parameters(), generator=0)
    shapes = [p.shape for p in model.parameters()]
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])

    def loss(flat):
        parts = [flat[end - int(np.prod(shape)) : end].reshape(shape) for end, shape in zip(ends, shapes, strict=True)]
        return tg.binary_cross_entropy_with_logits(tg.relu(X @ parts[0].T + parts[1]) @ parts[2].T + parts[3], Y)

    here = np.concatenate([p.data.ravel() for p in model.parameters()])
    largest = np.linalg.eigvalsh(tg.hessian(loss, here).data)[-1]
    np.testing.assert_allclose(landscape.sharpness(generator=0), [largest], rtol=1e-8)


def test_skip_connections(run):
    script, printed, written = run("14_skip_connections")
    assert set(written) == {"training.png", "landscapes.png", "graph.svg"}
    assert f"Layer × {script.DEPTH}" in written["graph.svg"].read_text(encoding="utf-8")
    plain, skipping = printed.split("with skip connections\n")
    hills = [int(re.findall(r"hills on (\d+) of 66 lines", part)[0]) for part in (plain, skipping)]
    assert hills[0] > 3 * hills[1]
    lowest = [float(re.findall(r"mean norm of a layer (\S+) to", part)[0]) for part in (plain, skipping)]
    assert lowest[1] > 10 * lowest[0]  # with skip connections no gradient vanishes, whatever the first weights
    bowl = np.add.outer(np.linspace(-1, 1, 9) ** 2, np.linspace(-1, 1, 9) ** 2)
    assert script.hilly(bowl) == 0
    assert script.hilly(np.array([[0, 1, 0], [0, 1, 2], [3, 2, 3]])) == 1


def test_plain_and_skipping_networks_start_with_the_same_weights():
    script = importlib.import_module("14_skip_connections")
    states = [script.DeepNet(skip, np.random.default_rng(5)).state_dict() for skip in (False, True)]
    assert states[0].keys() == states[1].keys()
    assert all((states[0][name] == states[1][name]).all() for name in states[0])


def test_convolution(run):
    _, printed, written = run("15_convolution")
    assert set(written) == {"filters.png", "hardest.png"}
    (accuracy,) = re.findall(r"of \d+ held-out digits, (\S+)% are read correctly", printed)
    assert float(accuracy) > 95
    assert "1,946 parameters" in printed  # 8·9 + 8, 2·8, 16·8·9 + 16, 2·16, 64·10 + 10


def test_transformer(run):
    _, printed, written = run("16_transformer")
    assert set(written) == {"attention.png"}
    sorted_rightly, places = re.findall(
        r"(\S+)% are sorted without a mistake; of their places, (\S+)% are right", printed
    )[0]
    assert float(sorted_rightly) > 90
    assert float(places) > 98
    shares = [numbers(line_of(printed, f"block {number}:").replace("%", " ")) for number in (1, 2)]
    assert shares[1][0] > 2 * shares[1][1]


def test_attention_is_the_formula_of_the_paper():
    script = importlib.import_module("16_transformer")
    attention = script.Attention(4, np.random.default_rng(0))
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    result = attention(tg.tensor(x))
    for sample, found, looks in zip(x, result.data, attention.looks, strict=True):
        Q, K, V = (
            sample @ part.weight.data.T + part.bias.data for part in (attention.query, attention.key, attention.value)
        )
        weights = np.exp(Q @ K.T / 2)
        weights /= weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(looks, weights, rtol=1e-12)
        np.testing.assert_allclose(found, weights @ V, rtol=1e-12)


def test_hyperparameters(run):
    script, printed, written = run("17_hyperparameters")
    assert set(written) == {"search.png"}
    assert f"{script.TRIES} of {6 * 15 * 4} choices" in printed
    rates = numbers(line_of(printed, "median loss by the third of the learning rates:"))
    assert rates[1] < min(rates[0], rates[2])
    loss, guessing = (
        float(re.findall(pattern, printed)[0]) for pattern in (r"log loss (\d\.\d+)", r"guessing: (\d\.\d+)")
    )
    assert loss < guessing / 2


def test_honest_protocol(run, monkeypatch):
    script = importlib.import_module("18_honest_protocol")
    monkeypatch.setattr(script, "ITERATIONS", 1500)  # of the tutorial's 15,000: test_wisconsin.py has them all
    _, printed, written = run("18_honest_protocol")
    assert set(written) == {"accuracy.png"}
    assert "683 rows of 630 patients; 2 × 5 folds, 3 inside each" in printed
    for name in script.methods():
        accuracy, low, high, *_ = numbers(printed.split("with intervals")[1].split(name)[1].replace("to", " "))
        assert low < accuracy < high
        assert accuracy > 0.94


def test_no_fold_of_the_honest_protocol_has_seen_its_patients(monkeypatch):
    script = importlib.import_module("18_honest_protocol")
    seen = []

    class Spy(script.Tutorial):
        def fit(self, X, y):
            self.classes_ = np.unique(y)
            seen.append({tuple(row) for row in X})
            return self

        def predict(self, X):
            seen[-1] = (seen[-1], {tuple(row) for row in X})
            return np.zeros(len(X), dtype=int)

    # Each patient has features that no other has, the same in all rows: to have seen a row is to have seen the patient.
    patients = np.random.default_rng(0).integers(0, 80, size=200)
    features = {name: patients + 1000.0 * i for i, name in enumerate(data.FEATURES)}
    table = pd.DataFrame({"id": patients, **features, "malignant": (patients % 3 == 0).astype(int)})
    called = script.predictions(table, "passthrough", Spy(), {})
    assert (called == 0).all()
    assert len(seen) == script.REPEATS * script.FOLDS
    for trained, tested in seen:
        assert not trained & tested
    assert set.union(*(tested for _, tested in seen)) == set.union(*(trained for trained, _ in seen))


def test_dropout_network_of_the_honest_protocol_learns():
    script = importlib.import_module("18_honest_protocol")
    model = script.with_dropout(9, 2, (4, 3), np.random.default_rng(0))
    assert [type(layer).__name__ for layer in model] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    X = np.random.default_rng(1).normal(size=(50, 9))
    labels = (X[:, 0] > 0).astype(int)
    optimizer = optim.Adam(model.parameters(), lr=0.05)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.CrossEntropyLoss()(model(X), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


# --- 19 ------------------------------------------------------------------------------------------


def test_long_runs(run):
    script, printed, written = run("19_long_runs")
    assert "the weights at the end are the same to the last bit" in printed
    weights, average = numbers(line_of(printed, "error in the second half of the training: "))
    assert average < 0.8 * weights
    table = np.load(written["table.npy"], mmap_mode="r")
    X, noise = table[:, :-1], table[:, -1] - script.truth(table[:, :-1])
    assert np.abs(X.mean(axis=0)).max() < 0.1
    assert noise.std() == pytest.approx(script.NOISE, rel=0.05)


# --- 20 ------------------------------------------------------------------------------------------


@pytest.fixture
def compiled(monkeypatch):
    """Return the script, in a hurry: nothing here depends on how long a step takes."""
    script = importlib.import_module("20_compiled")
    monkeypatch.setattr(script, "ROUNDS", 2)
    monkeypatch.setattr(script, "STEPS_IN_A_ROUND", 2)
    return script


def momentum_by_hand(X, Y, steps):
    """Return the losses of the formulas derived on paper, with momentum and the cosine schedule; and the weights."""
    parameters, losses = hand_derived.initial_parameters(), []
    buffers = {name: np.zeros_like(p) for name, p in parameters.items()}
    for i in range(steps):
        Z1, A1, Z2, Yh = hand_derived.forward(X, **parameters)
        losses.append(hand_derived.cost(Y, Yh).item())
        slopes = hand_derived.derivatives(X, Y, parameters["W1"], parameters["W2"], Z1, A1, Z2, Yh)
        buffers = {name: 0.9 * b + slopes[f"dLoss_{name}"] for name, b in buffers.items()}
        rate = 0.1 * (1 + np.cos(np.pi * i / steps)) / 2
        parameters = {name: p - rate * buffers[name] for name, p in parameters.items()}
    return losses, parameters


def test_compiled(compiled, run):
    _, printed, written = run("20_compiled")
    assert set(written) == {"program.svg", "step.py", "step.c", "times.png"}
    _, captured, rest = printed.split("\nstep(lr, W1, X, b1, W2, b2, Y")
    simplified, rest = rest.split("\n\n", 1)
    assert "dLoss_Yh =" in captured
    assert "dLoss_Yh =" not in simplified
    difference, quotient = re.findall(r"(%\d+) = Yh − Y|dLoss_Z2 = (%\d+) / 500", simplified)
    assert difference[0] == quotient[1]

    X, Y = (x.T for x in wisconsin())
    losses, _ = momentum_by_hand(X, Y, compiled.STEPS)
    assert f"After {compiled.STEPS} eager steps the loss is {losses[-1]:.6f}." in rest
    ways = ["numpy", "numpy, loop inside", "c", "c, loop inside"]
    for name in ways:
        assert max(numbers(re.findall(rf"^  {name} +(\d\S+  \d\S+)$", rest, re.MULTILINE)[0])) < 1e-12
    assert "  numpy, not simplified  0e+00  0e+00\n" in rest
    timed = re.findall(r"^  (\S.*?) +\d+\.\d µs \(\d+\.\d to \d+\.\d\)  \d+\.\d ×$", rest, re.MULTILINE)
    assert timed == ["eager", "numpy, not simplified", *ways]
    assert "item() in a function that is being captured" in rest
    assert "20_compiled.py:" in rest
    assert "tensor([0.6, 0.8])" in rest


def test_the_written_step_trains_on_numpy_alone(compiled, run):
    *_, written = run("20_compiled")
    text = written["step.py"].read_text(encoding="utf-8")
    imports = [ast.unparse(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imports == ["import numpy as np"]
    space = {}
    exec(compile(text, "step.py", "exec"), space)
    X, Y = (np.ascontiguousarray(x.T) for x in wisconsin())
    parameters = np.concatenate([p.ravel() for p in hand_derived.initial_parameters().values()])
    prepare, step = space["bind"](X, Y, parameters, np.zeros(166))
    rates = 0.05 * (1 + np.cos(np.pi * np.arange(compiled.STEPS) / compiled.STEPS))
    prepare(rates[0])
    losses = [float(*step(rate)) for rate in rates]
    by_hand, expected = momentum_by_hand(X, Y, compiled.STEPS)
    np.testing.assert_allclose(losses, by_hand, rtol=1e-11)
    np.testing.assert_allclose(
        parameters, np.concatenate([p.ravel() for p in expected.values()]), rtol=1e-9, atol=1e-12
    )


def test_without_a_compiler_the_lesson_does_without_c(compiled, run, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    _, printed, written = run("20_compiled")
    assert set(written) == {"program.svg", "step.py", "step.c", "times.png"}
    assert "The target 'c' is left out: no C compiler that works was found; tried: no-such-compiler" in printed
    assert "numpy, loop inside" in printed
    assert "c, loop inside" not in printed


def test_both_ways_to_clip_do_the_same(compiled):
    for gradient in ([3.0, 4.0], [0.3, 0.4], [0.6, 0.8]):
        expected = np.array(gradient) / max(1, np.hypot(*gradient))
        for clip in (compiled.clip_by_if, compiled.clip_by_maximum, tg.compile(compiled.clip_by_maximum)):
            np.testing.assert_allclose(clip(tg.tensor(gradient)).data, expected, rtol=1e-12)
