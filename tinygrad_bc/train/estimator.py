"""A network as scikit-learn's tools know classifiers: for pipelines, cross-validation and searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np

from tinygrad_bc.autograd import no_grad
from tinygrad_bc.data import DataLoader
from tinygrad_bc.errors import MissingDependencyError
from tinygrad_bc.nn import Linear, Module, ReLU, Sequential
from tinygrad_bc.ops import cross_entropy, softmax
from tinygrad_bc.optim import Adam
from tinygrad_bc.train.loop import fit

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise MissingDependencyError('TrainedClassifier needs scikit-learn: pip install "tinygrad_bc[data]"') from error

__all__ = ["TrainedClassifier"]


def layers(inputs: int, classes: int, hidden: Sequence[int], generator: np.random.Generator) -> Module:
    """Return a network of linear layers with relu between them."""
    sizes = [inputs, *hidden]
    modules: list[Module] = []
    for before, after in pairwise(sizes):
        modules += [Linear(before, after, generator=generator), ReLU()]
    return Sequential(*modules, Linear(sizes[-1], classes, generator=generator))


class TrainedClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A network that is trained on the cross-entropy of its scores by Adam, in mini-batches.

    Parameters
    ----------
    hidden : sequence of int
        The units of the hidden layers.
    lr, weight_decay : float
        Of the optimiser, `tinygrad_bc.optim.Adam`.
    epochs, batch_size : int
        How often to go through the rows, and how many of them to take at a time.
    random_state : int
        The seed of the initial weights and of the order of the rows.
    build : callable, optional
        ``build(inputs, classes, hidden, generator)`` returns the network, which gets rows of shape (n, inputs) and
        returns scores (logits) of shape (n, classes). By default, linear layers with relu.

    Attributes
    ----------
    classes_ : ndarray of shape (classes,)
    model_ : Module
    history_ : History

    Examples
    --------
    ::

        pipeline = make_pipeline(StandardScaler(), TrainedClassifier(epochs=30))
        search = GridSearchCV(pipeline, {"trainedclassifier__hidden": [(8,), (16, 16)]}, cv=3)
    """

    def __init__(
        self,
        hidden: Sequence[int] = (16,),
        *,
        lr: float = 0.01,
        weight_decay: float = 0.0,
        epochs: int = 50,
        batch_size: int = 32,
        random_state: int = 0,
        build: Callable[..., Module] = layers,
    ) -> None:
        self.hidden = hidden
        self.lr = lr
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.random_state = random_state
        self.build = build

    def fit(self, X: Any, y: Any) -> Self:
        """Train on rows `X` of shape (n, features) and their classes `y` of shape (n,)."""
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        generator = np.random.default_rng(self.random_state)
        self.model_ = self.build(X.shape[1], len(self.classes_), self.hidden, generator)
        loader = DataLoader(X, labels, batch_size=self.batch_size, shuffle=True, generator=generator)
        optimizer = Adam(self.model_.parameters(), lr=self.lr, weight_decay=self.weight_decay)
        self.history_ = fit(self.model_, loader, cross_entropy, optimizer, epochs=self.epochs)
        return self

    def predict_proba(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the probability of each class for each row, of shape (n, classes)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        with no_grad():
            probabilities: np.ndarray[Any, Any] = softmax(self.model_(X), 1).numpy()
        return probabilities

    def predict(self, X: Any) -> np.ndarray[Any, Any]:
        """Return the most probable class for each row, of shape (n,)."""
        probabilities = self.predict_proba(X)
        classes: np.ndarray[Any, Any] = self.classes_[probabilities.argmax(axis=1)]
        return classes
