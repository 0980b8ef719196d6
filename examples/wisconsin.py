"""The two-layer classifier of a well-known tutorial, built from tensor ops, to the tutorial's own figures.

    python examples/wisconsin.py                                  the tutorial's first run
    python examples/wisconsin.py --lr 0.07 --iterations 65000     its second run
    python examples/wisconsin.py --compile c                      the same, trained by compiled programs

Nobody derives a gradient by hand here; the ones that the tutorial derived are in `hand_derived.py`, and the
recorded graph is checked against them, and against finite differences, in the open.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import hand_derived
import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

import tinygrad_bc as tg
from tinygrad_bc import data, draw

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
THRESHOLDS = (0.5, 0.7, 0.8, 0.9)
REPORT_EVERY = 500
FOLDS, REPEATS = 5, 3

Array = npt.NDArray[Any]


# --- the network -----------------------------------------------------------------------------------


class Pass(NamedTuple):
    """Everything one forward pass computes, by the tutorial's names."""

    Z1: tg.Tensor
    A1: tg.Tensor
    Z2: tg.Tensor
    Yh: tg.Tensor
    Loss: tg.Tensor


class Classifier(tg.nn.Module):
    """9 features, 15 hidden units with relu, one output with sigmoid; the tutorial's seed and initialisation."""

    def __init__(self) -> None:
        for name, values in hand_derived.initial_parameters().items():
            setattr(self, name, tg.tensor(values, requires_grad=True, name=name))

    def forward(self, X: tg.Tensor, Y: tg.Tensor) -> Pass:
        """Run features X (9, n) and targets Y (1, n) through the network."""
        W1, b1, W2, b2 = self.parameters()
        Z1 = W1 @ X + b1
        A1 = tg.relu(Z1)
        Z2 = W2 @ A1 + b2
        Yh = tg.sigmoid(Z2)
        Loss = -(Y * tg.log(Yh) + (1 - Y) * tg.log(1 - Yh)).mean()
        return Pass(Z1, A1, Z2, Yh, Loss)


class Training(NamedTuple):
    """A trained network, the cost at iterations, and parameters as they were before some of them."""

    network: Classifier
    costs: pd.Series[float]
    snapshots: dict[int, dict[str, Array]]


def train(
    X: Array,
    Y: Array,
    lr: float,
    iterations: int,
    snapshots_at: tuple[int, ...] = (),
    target: str | None = None,
    **bar: Any,
) -> Training:
    """Run gradient descent over the whole batch: step by step, or many steps in a program compiled for `target`."""
    network = Classifier()
    inputs, targets = tg.tensor(X, name="X"), tg.tensor(Y, name="Y")
    W1, b1, W2, b2 = network.parameters()

    def step() -> tg.Tensor:
        nonlocal W1, b1, W2, b2
        Loss = network(inputs, targets).Loss
        dLoss_W1, dLoss_b1, dLoss_W2, dLoss_b2 = tg.grad(Loss, [W1, b1, W2, b2])
        with tg.no_grad():
            W1 -= lr * dLoss_W1
            b1 -= lr * dLoss_b1
            W2 -= lr * dLoss_W2
            b2 -= lr * dLoss_b2
        return Loss

    costs: dict[int, float] = {}
    snapshots = {}
    compiled = tg.compile(step, target=target) if target else None
    reported = range(0, iterations, REPORT_EVERY if target else 1)
    stops = sorted({*snapshots_at, *(i + 1 for i in reported), iterations})
    with tqdm(total=iterations, disable=bar.pop("disable", None), **bar) as progress:
        for start, stop in pairwise(sorted({0, *stops})):
            if start in snapshots_at:
                snapshots[start] = network.state_dict()
            costs[stop - 1] = (compiled.loop(stop - start) if compiled else step()).item()
            progress.update(stop - start)
    return Training(network, pd.Series(costs), snapshots)


def probabilities(network: Classifier, X: Array, Y: Array) -> Array:
    """Return the network's output for every sample, of shape (n,)."""
    with tg.no_grad():
        output: Array = network(tg.tensor(X), tg.tensor(Y)).Yh.data[0]
    return output


# --- gradients three ways --------------------------------------------------------------------------


def check_gradients(X: Array, Y: Array, parameters: dict[str, Array]) -> tg.check.FormulaReport:
    """Compare the recorded graph with the hand-derived formulas and with finite differences."""
    network = Classifier()
    for name, parameter in network.named_parameters():
        parameter.data = parameters[name]
    passed = network(tg.tensor(X), tg.tensor(Y))
    Z1, A1, Z2, Yh = hand_derived.forward(X, **parameters)
    by_hand = hand_derived.derivatives(X, Y, parameters["W1"], parameters["W2"], Z1, A1, Z2, Yh)
    del by_hand["dLoss_A0"]  # with respect to the input, which nobody trains
    tensors = passed._asdict() | dict(network.named_parameters())
    return tg.check.formulas(passed.Loss, hand_derived.of_the_mean(by_hand, Y.shape[1]), tensors)


def report_gradients(X: Array, Y: Array, snapshots: dict[int, dict[str, Array]]) -> dict[int, tg.check.FormulaReport]:
    """Check the gradients at every snapshot and print one table each."""
    heading("Gradients three ways")
    print(
        "The recorded graph against the formulas derived by hand and against central finite differences: the\n"
        "largest difference, relative to the largest entry of that derivative. The tutorial takes the derivatives\n"
        "up to dLoss_Z1 of the summed loss and puts the 1/n of the mean at the parameters; the recorded loss is\n"
        "the mean from the start. So the tutorial's dLoss_Yh, dLoss_Z2, dLoss_A1 and dLoss_Z1 are divided by n\n"
        "here, and then the two agree everywhere."
    )
    reports = {}
    for i, parameters in snapshots.items():
        reports[i] = check_gradients(X, Y, parameters)
        print(f"\niteration {i}\n{reports[i]}")
    if any(row.kinks for report in reports.values() for row in report.rows):
        print(
            "\nKinks: where a relu's input is 0 (at the start b1 = 0, and in some samples every feature is 0) the\n"
            "loss has two slopes, and a central difference is neither. Such an element is compared with the\n"
            "nearer one, the slope from below, as relu'(0) = 0."
        )
    summary = as_json(reports)
    print(
        f"\nlargest difference from the formulas {summary['formulas']:.1e}, from finite differences "
        f"{summary['finite_differences']:.1e}: {'ok' if summary['passed'] else 'WRONG'}"
    )
    return reports


# --- how good is it --------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Targets and the network's outputs, of shape (n,), for the two sets."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array]

    def at(self, threshold: float, score: Callable[[Array, Array], Any]) -> dict[str, Any]:
        """Score both sets, calling malignant what lies above the threshold."""
        return {part: score(y, (p > threshold).astype(int)) for part, (y, p) in self._asdict().items()}


def mistakes(targets: Array, predictions: Array) -> int:
    """Return how many predictions are wrong."""
    return int((targets != predictions).sum())


def report_scores(scores: Scores, threshold: float) -> dict[str, Any]:
    """Print accuracies, targets beside predictions, confusion matrices and the table of thresholds."""
    heading(f"Accuracy, calling malignant what lies above {threshold:g}")
    for part, accuracy in scores.at(threshold, accuracy_score).items():
        print(f"{part:<11} {accuracy}   ({scores.at(threshold, mistakes)[part]} mistakes)")

    heading("The first 50 validation targets, and the predictions")
    targets, outputs = scores.validation
    print("y ", *targets[:50].astype(int))
    print("yh", *(outputs[:50] > threshold).astype(int))

    heading("Confusion matrices")
    matrices = scores.at(threshold, confusion_matrix)
    for part, matrix in matrices.items():
        labels = ["benign", "malignant"]
        table = pd.DataFrame(matrix, index=[f"actual {x}" for x in labels], columns=[f"predicted {x}" for x in labels])
        print(f"{part}\n{table}\n")

    thresholds = sorted({*THRESHOLDS, threshold})
    accuracy = {f"{t:g}": scores.at(t, accuracy_score) for t in thresholds}
    wrong = {f"{t:g}": scores.at(t, mistakes) for t in thresholds}
    heading("Thresholds")
    rows = {t: {f"{part} accuracy": repr(float(a)) for part, a in accuracy[t].items()} for t in accuracy}
    for t, counts in wrong.items():
        rows[t] |= {f"{part} mistakes": str(n) for part, n in counts.items()}
    print(pd.DataFrame.from_dict(rows, orient="index").rename_axis("threshold").reset_index().to_string(index=False))
    return {"accuracy": accuracy, "mistakes": wrong, "matrices": matrices}


# --- what the tutorial does not say ----------------------------------------------------------------


def cross_validate(
    table: pd.DataFrame, lr: float, iterations: int, threshold: float, target: str | None = None
) -> pd.DataFrame:
    """Train and score on repeated folds that share no patient; the scaler sees training rows alone."""
    results = []
    folds = list(_folds(table))
    for repeat, rows, held_out in tqdm(folds, desc="cross-validation", disable=None):
        train_rows, test_rows = table.iloc[rows], table.iloc[held_out]
        X, Y = data.as_columns(data.scale_min_max(train_rows))
        X_test, Y_test = data.as_columns(data.scale_min_max(test_rows, fit_on=train_rows))
        network = train(X, Y, lr, iterations, target=target, disable=True).network
        predictions = (probabilities(network, X_test, Y_test) > threshold).astype(int)
        results.append({"repeat": repeat, "accuracy": accuracy_score(Y_test[0], predictions)})
    return pd.DataFrame(results)


def _folds(table: pd.DataFrame) -> Iterator[tuple[int, Array, Array]]:
    for repeat in range(REPEATS):
        splitter = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        for rows, held_out in splitter.split(table, table["malignant"], groups=table["id"]):
            yield repeat, rows, held_out


def report_what_the_tutorial_leaves_out(table: pd.DataFrame, args: argparse.Namespace) -> dict[str, float]:
    """Print what weakens the tutorial's validation figures, and what a sound protocol gives instead."""
    heading("What the tutorial does not say")
    train_rows, validation_rows = data.tutorial_split(table)
    shared = set(train_rows["id"]) & set(validation_rows["id"])
    print(
        f"- Its validation slice starts at 501: row 500 is in neither set, and validation has {len(validation_rows)} "
        "rows, not 183.\n"
        "- Its scaler was fitted on all 683 rows, so it had seen the validation rows.\n"
        f"- {len(shared)} patients have rows in both sets ({validation_rows['id'].isin(shared).sum()} of the "
        "validation rows are theirs).\n"
        "- The rows are in the order of the file. Validation comes out better than training, which says that the\n"
        "  later rows are easier, not that the network does better on what it has not seen."
    )
    results = cross_validate(table, args.lr, args.iterations, args.threshold, args.compile)
    accuracy = results["accuracy"]
    by_repeat = results.groupby("repeat")["accuracy"].mean()
    summary = {
        "mean": float(accuracy.mean()),
        "std": float(accuracy.std()),
        "lowest": float(accuracy.min()),
        "highest": float(accuracy.max()),
        "folds": FOLDS,
        "repeats": REPEATS,
    }
    print(
        f"\nThe same network and training, {FOLDS} folds by patient, stratified, repeated {REPEATS} times, "
        "scaler fitted on training rows:\n"
        f"accuracy {summary['mean']:.4f} ± {summary['std']:.4f} (standard deviation over {len(results)} folds), "
        f"from {summary['lowest']:.4f} to {summary['highest']:.4f};\n"
        f"means of the repeats: {', '.join(f'{mean:.4f}' for mean in by_repeat)}"
    )
    return summary


# --- the chain rule, derived -----------------------------------------------------------------------


def explain(out: Path, X: Array, Y: Array) -> list[Path]:
    """Print the derivation of the first step's gradients; write it, its NumPy code and a page to step through."""
    passed = Classifier()(tg.tensor(X, name="X"), tg.tensor(Y, name="Y"))
    derivation = tg.derive(passed.Loss)
    heading("The chain rule, derived from the recorded graph")
    print(derivation)
    return [
        derivation.save(out / "derivation.html"),
        derivation.save(out / "derivation.tex"),
        derivation.save(out / "classifier_in_numpy.py"),
        tg.explain(passed.Loss).save(out / "explain.html"),
    ]


# --- pictures and numbers on disk ------------------------------------------------------------------


def draw_pictures(
    out: Path, X: Array, Y: Array, training: Training, matrices: dict[str, Array], scaled: pd.DataFrame
) -> list[Path]:
    """Write the recorded graph and the charts; return their paths."""
    passed = training.network(tg.tensor(X, name="X"), tg.tensor(Y, name="Y"))
    for value in tg.graph(passed.Loss):
        if isinstance(value, tg.Tensor) and value.requires_grad:
            value.retain_grad()
        if value.node is None and value.name is None:
            value.name = "(1 − Y)"  # computed from a constant alone, it was not recorded
    passed.Loss.backward()
    picture = tg.graph(passed.Loss)
    charts = {
        "loss.png": draw.loss_curve(training.costs.index.to_numpy(), training.costs.to_numpy()),
        "confusion.png": draw.confusion_matrices(matrices),
        "feature_bars.png": draw.feature_bars(scaled),
        "feature_histograms.png": draw.feature_histograms(scaled),
    }
    return [
        picture.render(out / "graph.svg"),
        tg.graph(passed.Loss, backward=True).render(out / "backward.svg"),
        *(draw.save_figure(chart, out / name) for name, chart in charts.items()),
    ]


def write_results(path: Path, results: dict[str, Any]) -> Path:
    """Write everything measured, at full precision, and return the path."""
    path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return path


def as_json(reports: dict[int, tg.check.FormulaReport]) -> dict[str, Any]:
    """Return the gradient checks as plain numbers."""
    return {
        "passed": all(reports.values()),
        "formulas": float(np.max([report.worst_formula for report in reports.values()])),
        "finite_differences": float(np.max([report.worst_finite_difference for report in reports.values()])),
        "iterations": {
            str(i): {
                row.name: {"formulas": row.formula, "finite_differences": row.finite_differences, "kinks": row.kinks}
                for row in report.rows
            }
            for i, report in reports.items()
        },
    }


# --- the run ---------------------------------------------------------------------------------------


def heading(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'-' * len(text)}")


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Train the tutorial's classifier on the Wisconsin data.")
    parser.add_argument("--lr", type=_positive(float), default=0.01, help="learning rate (default 0.01)")
    parser.add_argument("--iterations", type=_positive(int), default=15_000, help="steps of descent (default 15000)")
    parser.add_argument("--threshold", type=_share, default=0.5, help="call malignant what lies above (default 0.5)")
    parser.add_argument("--compile", choices=["numpy", "c"], help="train by programs compiled for this target")
    parser.add_argument("--out", type=_folder, default="out", help="folder for results and pictures (default out)")
    return parser.parse_args(argv)


def _positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text!r} is not a positive {kind.__name__}")
        return value

    return parse


def _folder(text: str) -> Path:
    path = Path(text)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be a folder: {error.strerror}") from None
    return path


def _share(text: str) -> float:
    value = _positive(float)(text)
    if value >= 1:
        raise argparse.ArgumentTypeError(f"{text!r} does not lie between 0 and 1")
    return float(value)


def main(argv: list[str] | None = None) -> int:
    """Train, report, check, draw; return 0 if the gradients are right."""
    args = arguments(argv)
    table = data.load_wisconsin(CSV)
    scaled = data.scale_min_max(table)
    (X, Y), (X_val, Y_val) = map(data.as_columns, data.tutorial_split(scaled))

    print(f"{len(table)} complete rows: {X.shape[1]} for training, {X_val.shape[1]} for validation")
    snapshots_at = tuple(sorted({0, args.iterations // 30, args.iterations // 3, args.iterations - 1}))
    started = time.perf_counter()
    training = train(X, Y, args.lr, args.iterations, snapshots_at, args.compile, desc="training")
    print(f"trained for {args.iterations} iterations in {time.perf_counter() - started:.2f} s")
    if not np.isfinite(training.costs).all():
        diverged = training.costs.index[~np.isfinite(training.costs)][0]
        print(f"training diverged: the cost is no number any more at iteration {diverged}. Try a smaller --lr")
        return 1
    heading(f"Cost, learning rate {args.lr:g}")
    costs = {str(i): float(training.costs[i]) for i in range(0, args.iterations, REPORT_EVERY)}
    for i, cost in costs.items():
        print(f"iteration {i:>6}: {cost:.6f}")

    network = training.network
    scores = Scores((Y[0], probabilities(network, X, Y)), (Y_val[0], probabilities(network, X_val, Y_val)))
    scored = report_scores(scores, args.threshold)
    reports = report_gradients(X, Y, training.snapshots)
    cross_validation = report_what_the_tutorial_leaves_out(table, args)

    written = explain(args.out, X, Y)
    written += draw_pictures(args.out, X, Y, training, scored["matrices"], scaled)
    results = {"lr": args.lr, "iterations": args.iterations, "cost": costs}
    results |= {key: scored[key] for key in ("accuracy", "mistakes")}
    results |= {"gradient_check": as_json(reports), "cross_validation": cross_validation}
    written.append(write_results(args.out / "results.json", results))
    print(f"\nwritten to {args.out}: {', '.join(path.name for path in written)}")
    return 0 if all(reports.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
