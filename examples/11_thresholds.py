"""From probabilities to decisions: thresholds, what mistakes cost, and how sure the figures are.

    python examples/11_thresholds.py

Read `10_schedules.py` first. The classifier gives a probability; a doctor needs a decision. Where to cut depends on
what the two kinds of mistake cost, and to overlook a malignant sample is worse than to examine a benign one once more.
The threshold is chosen by rows that the network was not trained on, and the result is measured on rows that nothing was
chosen by, of patients who are in no other part. There are few of these, so every figure comes with an interval.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, recall_score, roc_auc_score

import tinygrad_bc as tg
from tinygrad_bc import data, draw, nn, optim, train

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
OVERLOOKED, FALSE_ALARM = 10.0, 1.0  # what the two mistakes cost

Array = npt.NDArray[Any]


def arrays(rows: pd.DataFrame, fit_on: pd.DataFrame) -> tuple[Array, Array]:
    """Return features (n, 9), scaled as the training rows are, and targets (n, 1)."""
    X, Y = data.as_columns(data.scale_min_max(rows, fit_on=fit_on))
    return X.T, Y.T


def classifier(training: tuple[Array, Array], validation: tuple[Array, Array]) -> nn.Sequential:
    """Train the network of two layers, and go back to its best epoch on the validation rows."""
    generator = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(9, 15, generator=generator), nn.ReLU(), nn.Linear(15, 1, generator=generator))
    loader = data.DataLoader(*training, batch_size=32, shuffle=True, generator=generator)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    stopping = train.EarlyStopping(patience=10)
    loss = nn.BCEWithLogitsLoss()
    train.fit(model, loader, loss, optimizer, epochs=100, validation=[validation], callbacks=[stopping])
    return model


def probabilities(model: nn.Sequential, X: Array) -> Array:
    """Return the probability of malignant for each row, (n,)."""
    with tg.no_grad():
        return np.asarray(tg.sigmoid(model(X)).data[:, 0])


def cost(y: Array, called: Array) -> float:
    """Return what the mistakes cost, for each sample."""
    missed, alarms = (y > called).sum(), (y < called).sum()
    return float(OVERLOOKED * missed + FALSE_ALARM * alarms) / len(y)


def main(argv: list[str] | None = None) -> int:
    """Train, choose a threshold, measure; return 0 if the chosen one is no dearer than 0.5 where it was chosen."""
    parser = argparse.ArgumentParser(description="Thresholds, costs and intervals on the Wisconsin data.")
    parser.add_argument("--out", type=Path, default=Path("out/11_thresholds"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    table = data.load_wisconsin(CSV)
    parts = data.split(table, sizes=(0.4, 0.2, 0.4), stratify="malignant", groups="id", generator=0)
    (X, Y), (X_val, Y_val), (X_test, Y_test) = (arrays(part, fit_on=parts[0]) for part in parts)
    model = classifier((X, Y), (X_val, Y_val))
    y_val, y, patients = Y_val[:, 0].astype(int), Y_test[:, 0].astype(int), parts[2]["id"].to_numpy()
    p_val, p = probabilities(model, X_val), probabilities(model, X_test)
    print(
        f"{len(Y)} rows to train, {len(y_val)} to choose by, {len(y)} to measure: {y.sum()} of them malignant, from "
        f"{len(np.unique(patients))} patients"
    )

    sweep = data.threshold_costs(y_val, p_val, false_negative=OVERLOOKED, false_positive=FALSE_ALARM)
    cheapest = sweep[sweep["cost"] == sweep["cost"].min()]
    exact = FALSE_ALARM / (FALSE_ALARM + OVERLOOKED)
    chosen = float(cheapest["threshold"].min())  # of equally cheap ones the most careful
    thresholds = (0.5, exact, chosen)
    print(
        f"\nTo overlook a malignant sample costs {OVERLOOKED:g}, a false alarm {FALSE_ALARM:g}. The cheapest\n"
        f"threshold would be {exact:.3f} if the probabilities were exact; on the "
        f"validation rows it is {chosen:.3f}, where their mistakes cost {sweep['cost'].min():g}."
    )

    def interval(metric: Any, values: Array) -> data.Interval:
        return data.bootstrap_interval(
            metric, y, values, generator=0, groups=patients, method="percentile", resamples=1000
        )

    rows = {}
    for threshold in thresholds:
        called = (p > threshold).astype(int)
        scores = {"accuracy": accuracy_score, "share of malignant found": recall_score, "cost per sample": cost}
        rows[f"p > {threshold:.3f}"] = {name: str(interval(metric, called)) for name, metric in scores.items()}
    print("\nThe rows that nothing was chosen by, with intervals of 95 %, drawn by patient:")
    print(pd.DataFrame(rows).to_string())
    costs = {threshold: cost(y, p > threshold) for threshold in thresholds}
    print(
        f"On these, {min(costs, key=lambda threshold: costs[threshold]):.3f} is the cheapest of the three. Intervals "
        "say how far to trust that;\nand the threshold found above is no more than the probability of one of "
        f"{len(y_val)} rows: with others it would be another."
    )
    if max(recall_score(y, p > threshold) for threshold in thresholds) == 1:
        print(
            f"Where none of {y.sum()} is overlooked, no draw of them has one that is. That is not certainty: if "
            f"{3 / y.sum():.1%} were\noverlooked in the long run, none of {y.sum()} would happen in one case of twenty "
            "(the rule of three)."
        )
    print(f"\nwhatever the threshold: area under the ROC curve {interval(roc_auc_score, p)}")
    print(f"                        Brier score {interval(brier_score_loss, p)}")
    matrices = {f"p > {threshold:.3f}": confusion_matrix(y, p > threshold) for threshold in thresholds}
    outcomes = {"validation": (y_val, p_val), "test": (y, p)}
    charts = {
        "confusion.png": draw.confusion_matrices(matrices),
        "sweep.png": draw.threshold_sweep(y_val, p_val, false_negative=OVERLOOKED, false_positive=FALSE_ALARM),
        "roc.png": draw.roc_curves(outcomes),
        "precision_recall.png": draw.precision_recall_curves(outcomes),
        "calibration.png": draw.calibration_curves(outcomes),
    }
    written = [draw.save_figure(chart, out / name) for name, chart in charts.items()]
    print(f"\nwritten: {', '.join(map(str, written))}")
    return 0 if cost(y_val, p_val > chosen) <= cost(y_val, p_val > 0.5) else 1


if __name__ == "__main__":
    sys.exit(main())
