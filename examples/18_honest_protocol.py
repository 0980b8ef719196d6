"""How good are the classifiers really? The Wisconsin data, measured as honestly as they allow.

    python examples/18_honest_protocol.py

Read `17_hyperparameters.py` first. What can flatter a figure is kept out of it:

- all rows of a patient are in the same fold, so nobody is tested on who was trained with;
- scalers and hyper-parameters are chosen inside the training rows of each fold, by cross-validation again (nested: G.
  C. Cawley and N. L. C. Talbot, "On over-fitting in model selection and subsequent selection bias", 2010);
- it is repeated with other folds, and every figure has an interval by drawing patients with replacement;
- methods are compared on the same folds, and the difference has an interval of its own.

The tutorial's network is that of `wisconsin.py`, here in NumPy (`hand_derived.py`, to the same figures) for speed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import hand_derived
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from tinygrad_bc import data, draw, nn, train

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
FOLDS, INNER_FOLDS, REPEATS, RESAMPLES = 5, 3, 2, 1000
RATE, ITERATIONS = 0.01, 15_000  # the tutorial's
OURS = "ours"

Array = npt.NDArray[Any]


class Tutorial(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """The tutorial's network and training: 15 hidden units, all rows at once, a constant rate."""

    def fit(self, X: Array, y: Array) -> Self:
        """Train on rows X and classes y."""
        self.classes_ = np.array([0, 1])
        self.parameters_ = hand_derived.initial_parameters()
        columns, targets = np.ascontiguousarray(X.T), np.asarray(y, dtype=float)[None]
        for _ in range(ITERATIONS):
            hand_derived.step(columns, targets, self.parameters_, RATE)
        return self

    def predict(self, X: Array) -> Array:
        """Return the classes of rows X."""
        return (hand_derived.forward(X.T, **self.parameters_)[-1][0] > 0.5).astype(int)


def with_dropout(inputs: int, classes: int, hidden: Sequence[int], generator: np.random.Generator) -> nn.Module:
    """Return a network of relu layers with dropout after each."""
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units, generator=generator), nn.ReLU(), nn.Dropout(0.2, generator=generator)]
        inputs = units
    return nn.Sequential(*layers, nn.Linear(inputs, classes, generator=generator))


def methods() -> dict[str, tuple[Any, Any, dict[str, list[Any]]]]:
    """Return for each method its scaler, its estimator, and what is to be chosen inside the training rows."""
    network = train.TrainedClassifier(build=with_dropout, epochs=30, batch_size=128, weight_decay=1e-3)
    forest = RandomForestClassifier(60, random_state=0)
    return {
        "the tutorial's network": (MinMaxScaler(), Tutorial(), {}),
        OURS: (StandardScaler(), network, {"hidden": [(16,), (32,), (32, 32)]}),
        "logistic regression": (StandardScaler(), LogisticRegression(), {"C": [0.01, 0.1, 1.0, 10.0]}),
        "support vector machine": (StandardScaler(), SVC(), {"C": [0.1, 1.0, 10.0], "gamma": [0.01, 0.1]}),
        "random forest": (StandardScaler(), forest, {"min_samples_leaf": [1, 4]}),
    }


def predictions(table: pd.DataFrame, scaler: Any, estimator: Any, choices: dict[str, list[Any]]) -> Array:
    """Return for every repeat what each row is called by a model that never saw its patient, (REPEATS, n)."""
    X, y, patients = table[data.FEATURES].to_numpy(), table["malignant"].to_numpy(), table["id"].to_numpy()
    called = np.empty((REPEATS, len(y)), dtype=int)
    for repeat in range(REPEATS):
        outer = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=repeat)
        for rows, held_out in outer.split(X, y, patients):
            model = Pipeline([("scaler", scaler), ("model", estimator)])
            if choices:
                inner = StratifiedGroupKFold(INNER_FOLDS, shuffle=True, random_state=repeat)
                grid = {f"model__{name}": values for name, values in choices.items()}
                model = GridSearchCV(model, grid, cv=inner).fit(X[rows], y[rows], groups=patients[rows])
            else:
                model.fit(X[rows], y[rows])
            called[repeat, held_out] = model.predict(X[held_out])
    return called


def interval(values: Array, chosen: Array, patients: Array) -> data.Interval:
    """Return the mean of some rows' values with its interval, patients being drawn with all of their rows."""
    return data.bootstrap_interval(
        lambda _, found: found.mean(),
        chosen[chosen],
        values[chosen],
        generator=0,
        groups=patients[chosen],
        method="percentile",
        resamples=RESAMPLES,
    )


def chart(accuracy: dict[str, data.Interval], repeats: dict[str, Array]) -> Figure:
    """Draw the accuracies with their intervals, and those of the single repeats."""
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    axes = figure.subplots()
    for place, (name, found) in enumerate(accuracy.items()):
        colour = draw.plots.ORANGE if name == OURS else draw.plots.BLUE
        axes.plot([found.low, found.high], [place, place], color=colour, linewidth=5, alpha=0.4, solid_capstyle="butt")
        axes.plot(found.value, place, "D" if name == OURS else "o", color=colour, markersize=9)
        axes.plot(repeats[name], [place] * REPEATS, "|", color="black", markersize=12)
    axes.set_yticks(range(len(accuracy)), list(accuracy))
    axes.invert_yaxis()
    axes.grid(axis="x", alpha=0.3)
    axes.set(
        xlabel="accuracy", title=f"{REPEATS} × {FOLDS} folds by patient: mean, 95 % interval, each repeat a stroke"
    )
    return figure


def main(argv: list[str] | None = None) -> int:
    """Measure all methods on the same folds; return 0 if every one of them is better than calling all benign."""
    parser = argparse.ArgumentParser(description="An honest comparison of classifiers on the Wisconsin data.")
    parser.add_argument("--out", type=Path, default=Path("out/18_honest_protocol"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    table = data.load_wisconsin(CSV)
    y, patients = table["malignant"].to_numpy(), table["id"].to_numpy()
    everyone = np.ones(len(y), dtype=bool)
    print(
        f"{len(y)} rows of {len(np.unique(patients))} patients; {REPEATS} × {FOLDS} folds, {INNER_FOLDS} inside each\n"
    )
    right = {}
    for name, method in methods().items():
        started = time.perf_counter()
        with threadpool_limits(1):  # on matrices as small as these, threads mostly wait for each other
            right[name] = predictions(table, *method) == y
        print(f"{name:<24} {time.perf_counter() - started:5.1f} s", flush=True)

    share = {name: hits.mean(0) for name, hits in right.items()}  # of the repeats in which a row was called rightly
    accuracy = {name: interval(values, everyone, patients) for name, values in share.items()}
    less_ours = {
        name: interval(values - share[OURS], everyone, patients) for name, values in share.items() if name != OURS
    }
    rows = {
        name: {
            "accuracy": str(accuracy[name]),
            "malignant found": str(interval(values, y == 1, patients)),
            "benign recognised": str(interval(values, y == 0, patients)),
            "accuracy less ours": str(less_ours.get(name, "")),
        }
        for name, values in share.items()
    }
    print(f"\nwith intervals of 95 %:\n{pd.DataFrame(rows).T.to_string()}")
    apart = [name for name, found in less_ours.items() if found.low > 0 or found.high < 0]
    print(
        "\nDiffering from ours by more than chance (0 outside of the interval): "
        f"{', '.join(apart) or 'none of them: these data cannot tell them apart'}.\nThe intervals hold for other "
        "patients, not for other training rows; that part shows in the repeats, which differ by up to "
        f"{max(np.ptp(hits.mean(1)) for hits in right.values()):.4f}."
    )
    path = draw.save_figure(chart(accuracy, {name: hits.mean(1) for name, hits in right.items()}), out / "accuracy.png")
    print(f"\nwritten: {path}")
    return 0 if all(found.low > (y == 0).mean() for found in accuracy.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
