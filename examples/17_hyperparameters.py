"""Hyper-parameters: scikit-learn's search for layers, units, learning rate and batch size.

    python examples/17_hyperparameters.py

Read `16_transformer.py` first, and `11_thresholds.py`. What is not trained has to be chosen: how many layers and units,
which learning rate, how many rows in a batch. `train.TrainedClassifier` makes a network one of scikit-learn's
estimators, so that its tools search for us. Choices are tried at random and not on a grid: where only some of them
matter, this tries more values of those (J. Bergstra and Y. Bengio, "Random search for hyper-parameter optimization",
2012). Each is judged by cross-validation on the training rows; the test rows, of other patients, are looked at once, in
the end.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import RandomizedSearchCV, StratifiedGroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from tinygrad_bc import data, draw, train

CSV = Path(__file__).parent.parent / "data" / "wisconsin-cancer-dataset.csv"
TRIES, FOLDS, EPOCHS = 24, 3, 12
CHOICES: dict[str, list[Any]] = {
    "network__hidden": [(4,), (16,), (64,), (16, 16), (64, 64), (16, 16, 16)],
    "network__lr": np.geomspace(1e-4, 0.3, 15).tolist(),
    "network__batch_size": [16, 32, 64, 128],
}


def search(rows: pd.DataFrame) -> RandomizedSearchCV:
    """Try some choices on folds that share no patient; the scaler is part of what is cross-validated."""
    pipeline = Pipeline([("scale", StandardScaler()), ("network", train.TrainedClassifier(epochs=EPOCHS))])
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    found = RandomizedSearchCV(pipeline, CHOICES, n_iter=TRIES, scoring="neg_log_loss", cv=folds, random_state=0)
    return found.fit(rows[data.FEATURES], rows["malignant"], groups=rows["id"])


def results(found: RandomizedSearchCV) -> pd.DataFrame:
    """Return what was tried, the best first."""
    scores = found.cv_results_
    columns = {name.removeprefix("network__"): list(scores[f"param_{name}"]) for name in CHOICES}
    table = pd.DataFrame({**columns, "loss": -scores["mean_test_score"], "spread": scores["std_test_score"]})
    return table.sort_values("loss", ignore_index=True)


def chart(table: pd.DataFrame) -> Figure:
    """Draw the loss over each choice."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    hidden = ["\n".join(map(str, units)) for units in CHOICES["network__hidden"]]
    places: list[list[Any]] = [
        table["lr"].tolist(),
        [CHOICES["network__hidden"].index(units) for units in table["hidden"]],
        [CHOICES["network__batch_size"].index(size) for size in table["batch_size"]],
    ]
    for axes, values in zip(panels, places, strict=True):
        axes.scatter(values, table["loss"], color=draw.plots.BLUE, alpha=0.7, edgecolor="none")
        axes.scatter(values[:1], table["loss"][:1], s=150, facecolor="none", edgecolor=draw.plots.ORANGE, linewidth=2.5)
        axes.grid(alpha=0.3)
    panels[0].set(xscale="log", yscale="log", xlabel="learning rate", ylabel="cross-validated log loss")
    panels[0].set_yticks([0.1, 0.2, 0.4, 0.8], ["0.1", "0.2", "0.4", "0.8"])
    panels[0].minorticks_off()
    panels[1].set_xticks(range(len(hidden)), hidden)
    panels[1].set_xlabel("units of each hidden layer")
    panels[2].set_xticks(range(len(CHOICES["network__batch_size"])), CHOICES["network__batch_size"])
    panels[2].set_xlabel("batch size")
    figure.suptitle(f"{len(table)} choices at random; the best one is circled")
    return figure


def main(argv: list[str] | None = None) -> int:
    """Search, look at the test rows once; return 0 if what was found is better than guessing."""
    parser = argparse.ArgumentParser(description="Search for hyper-parameters on the Wisconsin data.")
    parser.add_argument("--out", type=Path, default=Path("out/17_hyperparameters"), help="folder for pictures")
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    table = data.load_wisconsin(CSV)
    training, test = data.split(table, sizes=(0.7, 0.3), stratify="malignant", groups="id", generator=0)
    found = search(training)
    tried = results(found)
    combinations = np.prod([len(values) for values in CHOICES.values()])
    print(
        f"{TRIES} of {combinations} choices, each on {FOLDS} folds of {len(training)} rows; the best five, the worst:\n"
    )
    print(tried.iloc[[0, 1, 2, 3, 4, -1]].to_string(float_format="{:.4f}".format))

    thirds = pd.qcut(tried["lr"], 3, labels=["lowest", "middle", "highest"])
    by_rate = tried.groupby(thirds, observed=True)["loss"].median()
    by_units = tried.groupby(tried["hidden"].astype(str))["loss"].median()
    print(
        f"\nmedian loss by the third of the learning rates: {', '.join(f'{k} {x:.3f}' for k, x in by_rate.items())}: "
        f"a factor of {by_rate.max() / by_rate.min():.1f}\nmedian loss by the units: a factor of "
        f"{by_units.max() / by_units.min():.1f} between the best and the worst, by few tries each"
    )

    y, p = test["malignant"], found.predict_proba(test[data.FEATURES])[:, 1]
    guessing = log_loss(y, np.full(len(y), training["malignant"].mean()))
    print(
        f"\nThe best choice, trained on all training rows, on the {len(y)} test rows: accuracy "
        f"{accuracy_score(y, p > 0.5):.1%}, log loss {log_loss(y, p):.4f}\n(guessing: {guessing:.4f}). "
        f"Cross-validation gave it {tried['loss'][0]:.4f}, but it was chosen for that:\nwhat a search finds is to "
        "be measured on rows that it never saw. `18_honest_protocol.py` does that again and again."
    )
    path = draw.save_figure(chart(tried), out / "search.png")
    print(f"\nwritten: {path}")
    return 0 if log_loss(y, p) < guessing else 1


if __name__ == "__main__":
    sys.exit(main())
