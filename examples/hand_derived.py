"""The tutorial's network with its backward pass derived by hand: NumPy alone, nothing of tinygrad_bc.

The recorded graph is checked against these formulas, so they must not come from it.

    Z1 = W1 X + b1     A1 = relu(Z1)     Z2 = W2 A1 + b2     Yh = σ(Z2)
    Loss = mean over the n samples of  -(Y log Yh + (1 - Y) log(1 - Yh))

Shapes: X (9, n), Y and Yh (1, n), W1 (15, 9), b1 (15, 1), W2 (1, 15), b2 (1, 1); all float64.
"""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Arrays = dict[str, Array]


def initial_parameters(seed: int = 1, inputs: int = 9, hidden: int = 15) -> Arrays:
    """Return the tutorial's initial W1, b1, W2, b2, from NumPy's legacy generator in its order of drawing."""
    random = np.random.RandomState(seed)
    W1 = random.randn(hidden, inputs) / np.sqrt(inputs)
    W2 = random.randn(1, hidden) / np.sqrt(hidden)
    return {"W1": W1, "b1": np.zeros((hidden, 1)), "W2": W2, "b2": np.zeros((1, 1))}


def forward(X: Array, W1: Array, b1: Array, W2: Array, b2: Array) -> tuple[Array, Array, Array, Array]:
    """Return Z1, A1, Z2, Yh."""
    Z1 = np.dot(W1, X) + b1
    A1 = np.maximum(0, Z1)
    Z2 = np.dot(W2, A1) + b2
    Yh = 1 / (1 + np.exp(-Z2))
    return Z1, A1, Z2, Yh


def cost(Y: Array, Yh: Array) -> Array:
    """Return the mean cross-entropy, of shape (1, 1)."""
    mean: Array = (-np.dot(Y, np.log(Yh).T) - np.dot(1 - Y, np.log(1 - Yh).T)) / Y.shape[1]
    return mean


def sigmoid_slope(Z: Array) -> Array:
    """Return σ'(Z) = σ(Z) (1 - σ(Z))."""
    s: Array = 1 / (1 + np.exp(-Z))
    return s * (1 - s)


def relu_slope(Z: Array) -> Array:
    """Return relu'(Z): 1 where Z > 0, else 0, also at 0. Written into Z itself, as the tutorial does."""
    Z[Z <= 0] = 0
    Z[Z > 0] = 1
    return Z


def derivatives(X: Array, Y: Array, W1: Array, W2: Array, Z1: Array, A1: Array, Z2: Array, Yh: Array) -> Arrays:
    """Return every dLoss_… of the tutorial, in its order and its convention. Z1 is overwritten.

    Up to dLoss_Z1 these belong to the *sum* of the samples' losses; the 1/n of the mean comes in at the
    parameters alone. `of_the_mean` puts it everywhere.
    """
    n = Y.shape[1]
    ones = np.ones((n, 1))
    dLoss_Yh = -(np.divide(Y, Yh) - np.divide(1 - Y, 1 - Yh))
    dLoss_Z2 = dLoss_Yh * sigmoid_slope(Z2)
    dLoss_A1 = np.dot(W2.T, dLoss_Z2)
    dLoss_W2 = np.dot(dLoss_Z2, A1.T) / n
    dLoss_b2 = np.dot(dLoss_Z2, ones) / n
    dLoss_Z1 = dLoss_A1 * relu_slope(Z1)
    dLoss_A0 = np.dot(W1.T, dLoss_Z1)
    dLoss_W1 = np.dot(dLoss_Z1, X.T) / n
    dLoss_b1 = np.dot(dLoss_Z1, ones) / n
    return {
        "dLoss_Yh": dLoss_Yh,
        "dLoss_Z2": dLoss_Z2,
        "dLoss_A1": dLoss_A1,
        "dLoss_W2": dLoss_W2,
        "dLoss_b2": dLoss_b2,
        "dLoss_Z1": dLoss_Z1,
        "dLoss_A0": dLoss_A0,
        "dLoss_W1": dLoss_W1,
        "dLoss_b1": dLoss_b1,
    }


def of_the_mean(by_hand: Arrays, n: int) -> Arrays:
    """Return the derivatives of the mean over n samples: the tutorial's, with 1/n where it leaves it out."""
    parameters = ("dLoss_W1", "dLoss_b1", "dLoss_W2", "dLoss_b2")
    return {name: d if name in parameters else d / n for name, d in by_hand.items()}


def step(X: Array, Y: Array, parameters: Arrays, lr: float) -> Array:
    """Do one iteration of gradient descent, replacing the arrays in `parameters`, and return the cost before it."""
    Z1, A1, Z2, Yh = forward(X, **parameters)
    before = cost(Y, Yh)
    slopes = derivatives(X, Y, parameters["W1"], parameters["W2"], Z1, A1, Z2, Yh)
    for name in parameters:
        parameters[name] = parameters[name] - lr * slopes[f"dLoss_{name}"]
    return before
