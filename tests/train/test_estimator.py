import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tinygrad_bc import nn
from tinygrad_bc.train import TrainedClassifier


@parametrize_with_checks([TrainedClassifier(hidden=(8,), epochs=30, lr=0.05)])
def test_it_is_a_classifier_as_scikit_learn_wants_them(estimator, check):
    check(estimator)


def test_it_works_in_a_pipeline_in_cross_validation_and_in_a_search():
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline = make_pipeline(StandardScaler(), TrainedClassifier(epochs=20, batch_size=16))
    assert cross_val_score(pipeline, X, names, cv=3).mean() > 0.9
    grid = {"trainedclassifier__hidden": [(), (8, 8)], "trainedclassifier__lr": [1e-5, 0.02]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, names)
    assert search.best_params_["trainedclassifier__lr"] == 0.02
    assert search.score(X, names) > 0.93
    assert set(search.predict(X)) == set(names)


def test_the_same_seed_gives_the_same_bits_and_another_gives_others():
    X, y = load_iris(return_X_y=True)
    model = TrainedClassifier(epochs=3)
    first, second = (clone(model).fit(X, y).predict_proba(X) for _ in range(2))
    assert first.tobytes() == second.tobytes()
    assert not np.array_equal(first, TrainedClassifier(epochs=3, random_state=1).fit(X, y).predict_proba(X))
    assert first.sum(axis=1) == pytest.approx(np.ones(len(X)), abs=1e-14)


def test_a_network_of_ones_own():
    X, y = load_iris(return_X_y=True)

    def build(inputs, classes, hidden, generator):
        return nn.Sequential(nn.Linear(inputs, classes, generator=generator), nn.Dropout(0.1, generator=generator))

    model = TrainedClassifier(build=build, epochs=5).fit(X, y)
    assert isinstance(model.model_[1], nn.Dropout)
    assert len(model.history_) == 5
    assert np.array_equal(model.predict(X), model.predict(X))  # evaluation mode


def test_a_fitted_one_can_be_pickled():
    X, y = load_iris(return_X_y=True)
    model = TrainedClassifier(epochs=2).fit(X, y)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))
