"""Error messages, read as one who has just made the mistake: what was passed, what was expected, where, and the fix."""

import linecache

import numpy as np
import pandas as pd
import pytest

import tinygrad_bc as tg
from tinygrad_bc.errors import (
    ArgumentError,
    DTypeError,
    GradientError,
    IndexingError,
    LinAlgError,
    LossWarning,
    ShapeError,
)

# What a script would hold. None of it is given a name: a message has to find the names of these variables.
rng = np.random.default_rng(0)
W1 = tg.tensor(rng.normal(size=(15, 9)), requires_grad=True)
b1 = tg.tensor(rng.normal(size=15), requires_grad=True)
X = rng.normal(size=(500, 9))
image = tg.tensor(rng.normal(size=(2, 3, 8, 8)), requires_grad=True)
kernel = tg.tensor(rng.normal(size=(4, 2, 3, 3)), requires_grad=True)
scores = tg.tensor(rng.normal(size=(4, 3)), requires_grad=True)
classes = np.array([0, 2, 1, 3])
probabilities = tg.tensor(rng.uniform(0.1, 0.9, size=4), requires_grad=True)
labels = np.array([2.0, 4.0, 2.0, 4.0])
column = np.ones((4, 1))
singular = tg.tensor([[1.0, 2.0], [2.0, 4.0]], requires_grad=True)


def said(mistake, kind):
    """Return the message of the error that `mistake` leads to, without the line, which is checked here."""
    with pytest.raises(kind) as caught:
        mistake()
    text, _, place = str(caught.value).rpartition("\n")
    number = mistake.__code__.co_firstlineno
    assert place == f"  {__file__}:{number}: {linecache.getline(__file__, number).strip()}"
    return text


MISTAKES = [
    # products
    (
        lambda: W1 @ X,
        ShapeError,
        ["W1 (15, 9) @ X (500, 9)", "the first has 9 columns, the second 500 rows", "Did you mean X.T?"],
    ),
    (lambda: tg.matmul(W1, X), ShapeError, ["W1 (15, 9) @ X (500, 9)", "Did you mean X.T?"]),
    (lambda: X @ W1, ShapeError, ["X (500, 9) @ W1 (15, 9)", "Did you mean W1.T?"]),
    (lambda: W1.T @ X, ShapeError, ["W1.T (9, 15) @ X (500, 9)", "Did you mean X @ W1.T?"]),
    (lambda: W1 @ (X * 2), ShapeError, ["W1 (15, 9) @ X * 2 (500, 9)", "Did you mean (X * 2).T?"]),
    (lambda: W1 @ 3.0, ShapeError, ["W1 (15, 9) @ 3.0", "for a number use `*`"]),
    (lambda: image @ kernel, ShapeError, ["image (2, 3, 8, 8)", "kernel (4, 2, 3, 3)", "8 columns, the second 3 rows"]),
    (lambda: W1.dot(b1), ShapeError, ["W1 (15, 9)", "b1 (15,)", "2 and 1 axes", "`@` takes"]),
    (
        lambda: tg.einsum("ij,jk->ik", W1, X),
        ShapeError,
        ["the index 'j' has length 9 in W1 (15, 9) and 500 in X (500, 9)", "Did you mean 'ij,kj->ik'?"],
    ),
    (lambda: tg.einsum("ijk->kji", W1), ShapeError, ["'ijk' has 3 indices", "W1 (15, 9) has 2 axes"]),
    (lambda: tg.inv(W1), ShapeError, ["W1 (15, 9)", "square", "15 rows and 9 columns"]),
    (lambda: tg.inv(singular), LinAlgError, ["singular (2, 2)", "only 1 are independent", "np.eye(2)"]),
    # broadcasting
    (
        lambda: W1 @ X.T + b1,
        ShapeError,
        ["W1 @ X.T (15, 500) + b1 (15,)", "500 against 15", "Did you mean a column, b1.reshape(15, 1)?"],
    ),
    (
        lambda: W1 + W1.T,
        ShapeError,
        ["W1 (15, 9) + W1.T (9, 15)", "9 against 15", "transpose one of them, W1.T or W1.T.T?"],
    ),
    (lambda: W1 - X, ShapeError, ["W1 (15, 9) − X (500, 9)", "axis -2 has 15 against 500"]),
    (lambda: tg.where(W1 > 0, W1, b1), ShapeError, ["W1 (15, 9)", "b1 (15,)", "9 against 15"]),
    (lambda: tg.maximum(W1, X), ShapeError, ["W1 (15, 9)", "X (500, 9)", "15 against 500"]),
    # shapes
    (lambda: W1.reshape(10, 10), ShapeError, ["reshape(W1 (15, 9), (10, 10))", "135 elements cannot become 100"]),
    (lambda: W1.view(-1, 7), ShapeError, ["W1 (15, 9)", "135 elements do not divide into (-1, 7)"]),
    (lambda: tg.concatenate([W1, b1]), ShapeError, ["W1 (15, 9), b1 (15,)", "`.unsqueeze(0)`"]),
    (lambda: tg.concatenate([W1, X], axis=1), ShapeError, ["length 500, operand 1 has 15", "Did you mean axis=0?"]),
    (lambda: tg.concatenate(W1, X), DTypeError, ["W1 (15, 9), X (500, 9)", "for example [a, b]"]),
    (lambda: tg.stack([W1, X]), ShapeError, ["W1 (15, 9), X (500, 9)", "all shapes must be equal", "use concatenate"]),
    (lambda: W1.expand(15, 3), ShapeError, ["W1 (15, 9), (15, 3)", "axis -1 has length 9 and cannot become 3"]),
    (lambda: W1.permute(0, 0), ShapeError, ["W1 (15, 9), (0, 0)", "names axis 0 twice"]),
    (lambda: W1.transpose(0, 2), ShapeError, ["W1 (15, 9), 0, 2", "axis 2 is out of bounds", "use -2 to 1"]),
    (lambda: W1.sum(axis=2), ShapeError, ["W1 (15, 9), axis=2", "axis 2 is out of bounds"]),
    (lambda: W1.split([4, 4], dim=1), ShapeError, ["add up to 8, but axis 1 has length 9"]),
    (lambda: W1.repeat(2), ShapeError, ["W1 (15, 9), 2", "1 given for 2 axes", "repeat_interleave"]),
    # indices
    (lambda: W1[20], IndexingError, ["W1 (15, 9)[20]", "index 20 is out of bounds for axis 0 of length 15"]),
    (lambda: W1[0, 0, 0], IndexingError, ["W1 (15, 9)", "2 axes, and there are indices for 3"]),
    (lambda: W1[1.5], IndexingError, ["W1 (15, 9), 1.5", "must be integers or booleans", "without a decimal point"]),
    (lambda: W1[X > 0], IndexingError, ["W1 (15, 9)", "mask of shape (500, 9)", "axes of shape (15, 9)"]),
    (lambda: W1[[0, 1], [0, 1, 2]], IndexingError, ["(2,), (3,)", "x[rows][:, columns]"]),
    (lambda: W1.gather(1, np.array([[9]])), IndexingError, ["W1 (15, 9)", "index 9 is out of bounds for axis 1"]),
    (lambda: tg.embedding(classes, scores[:3]), IndexingError, ["holds 3 at [3]", "3 rows, numbered 0 to 2"]),
    # networks
    (
        lambda: tg.conv2d(image, kernel),
        ShapeError,
        ["input=image (2, 3, 8, 8), weight=kernel (4, 2, 3, 3)", "input has 3 channels (axis 1), but weight wants 2"],
    ),
    (lambda: tg.max_pool2d(image, 9), ShapeError, ["image (2, 3, 8, 8), 9", "(9, 9) elements", "(8, 8)"]),
    (lambda: tg.conv2d(image[:, :2], kernel, stride=0), ArgumentError, ["stride=0", "at least 1"]),
    (
        lambda: tg.layer_norm(scores, 4),
        ShapeError,
        ["scores (4, 3)", "normalized_shape=(4,)", "(3,) for the last alone"],
    ),
    (
        lambda: tg.linear(X, W1.T),
        ShapeError,
        ["input=X (500, 9)", "9 features (axis 1), but weight wants 15", "did you mean weight.T?"],
    ),
    # losses
    (
        lambda: tg.cross_entropy(scores, classes),
        IndexingError,
        ["input=scores (4, 3), target=classes (4,)", "target holds class 3 at [3], but input has 3 classes, 0 to 2"],
    ),
    (lambda: tg.cross_entropy(scores, column), ShapeError, ["target=column (4, 1)", "Did you mean column.reshape(4)?"]),
    (lambda: tg.cross_entropy(scores, labels), DTypeError, ["target=labels (4,)", "float64", ".astype(int)"]),
    (
        lambda: tg.binary_cross_entropy(scores, scores),
        ArgumentError,
        ["input=scores", "between 0 and 1", "_with_logits"],
    ),
    (
        lambda: tg.binary_cross_entropy(probabilities, labels),  # the classes of the Wisconsin table are 2 and 4
        ArgumentError,
        ["target=labels (4,)", "target holds 2.0 at [0]", "(target == 4) for class 4"],
    ),
    (
        lambda: tg.binary_cross_entropy_with_logits(probabilities * 1, labels),
        ArgumentError,
        ["target holds 2.0 at [0]", "the probability of class 1"],
    ),
    (lambda: tg.mse_loss(probabilities, labels, reduction="average"), ArgumentError, ["'mean', 'sum' or 'none'"]),
    # types
    (lambda: ~probabilities, DTypeError, ["probabilities (4,)", "(x > 0) & (x < 1)"]),
    (lambda: probabilities & 1, DTypeError, ["probabilities (4,)", "only masks and integers have bits"]),
    (lambda: tg.tensor(classes) ** -1, DTypeError, ["tg.tensor(classes) (4,)", "x ** -1.0"]),
    # gradients
    (lambda: W1.backward(), GradientError, ["shape (15, 9)", ".sum() or .mean()", "backward(gradient)"]),
    (lambda: tg.tensor(3.0).backward(), GradientError, ["does not require a gradient", "requires_grad=True"]),
    (lambda: tg.grad((scores * 2).sum(), W1), GradientError, ["no output was computed from input W1", "allow_unused"]),
]


@pytest.mark.parametrize(("mistake", "kind", "words"), MISTAKES)
def test_a_mistake_is_explained(mistake, kind, words):
    message = said(mistake, kind)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    "loss", [tg.mse_loss, tg.l1_loss, tg.huber_loss, tg.binary_cross_entropy, tg.binary_cross_entropy_with_logits]
)
def test_a_row_against_a_column_names_the_variables(loss):
    yh, y = probabilities * 1, column
    with pytest.raises(ShapeError) as caught:
        loss(yh, y)
    message = str(caught.value)
    assert "(input=yh (4,), target=y (4, 1))" in message
    assert "Did you mean y.reshape(4), or yh.reshape(4, 1)?" in message
    assert "4×4 = 16 pairs" in message
    assert "tg.broadcast_to(yh, (4, 4)) and tg.broadcast_to(y, (4, 4))" in message


# --- names ---------------------------------------------------------------------------------------


def message_of(compute):
    with pytest.raises(ShapeError) as caught:
        compute()
    return str(caught.value)


def test_a_name_that_was_given_comes_before_that_of_a_variable():
    local = tg.tensor(np.ones((2, 3)), name="weights")
    assert "weights (2, 3) @ X (500, 9)" in message_of(lambda: local @ X)


def test_local_variables_come_before_global_ones_and_parameters_are_variables():
    def predict(table):
        return W1 @ table

    assert "W1 (15, 9) @ table (500, 9)" in message_of(lambda: predict(X))


def test_what_is_not_in_a_variable_is_quoted():
    class Model:
        def __init__(self):
            self.W = W1

        def __call__(self, h):
            del self.__class__.unused
            return self.W.relu() @ h[1:]

        unused = None

    message = message_of(lambda: Model()(X))
    assert "self.W.relu() (15, 9) @ h[1:] (499, 9)" in message
    assert "Did you mean (h[1:]).T?" in message


def test_long_expressions_are_not_quoted():
    long = "operand 2 (499, 9)"
    assert long in message_of(lambda: W1 @ ((((X + 1.0) * 2.0 - 3.0) / 4.0 + 5.0) * 6.0 - 7.0)[1:])


def test_without_source_operands_are_numbered():
    code = compile("(W1 * 1) @ (X * 1)", "<typed>", "eval")
    message = message_of(lambda: eval(code, {"W1": W1, "X": X}))
    assert "operand 1 (15, 9) @ operand 2 (500, 9)" in message
    assert "Did you mean (operand 2).T?" in message
    assert "<typed>:1" in message


def test_a_name_may_hold_any_character():
    odd = tg.tensor(np.ones((4, 1)), name=r"y\1 {b} ŷ")
    assert r"Did you mean y\1 {b} ŷ.reshape(4)" in message_of(lambda: tg.mse_loss(probabilities, odd))
    assert r"y\1 {b} ŷ (4, 1)" in message_of(lambda: scores[:3] @ odd.reshape(4, 1))


def test_a_column_of_a_table_is_called_by_its_name():
    table = pd.DataFrame({"age": [1.0, 2.0, 3.0]})
    message = message_of(lambda: tg.mse_loss(probabilities, table["age"]))
    assert "target=age (3,)" in message


def test_letters_in_a_text_that_are_no_parameter_are_left_alone():
    x = tg.tensor(rng.normal(size=(2, 3)))
    with pytest.raises(IndexingError, match=r"did you mean x\.astype\(int\)"):
        W1[x]


# --- values changed after they were used ---------------------------------------------------------


def test_an_array_changed_before_backward_is_called_by_its_variable():
    mask = np.ones((4, 3))
    loss = (scores * mask).sum()  # used here
    mask[0] = 0
    with pytest.raises(GradientError, match=r"mask \(4, 3\) was changed after `multiply`") as caught:
        loss.backward()
    assert "# used here" in str(caught.value)


# --- losses of what is no score ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compute", "words"),
    [
        (lambda: tg.cross_entropy(tg.softmax(scores, 1), classes % 3), ["made by softmax", "before the softmax"]),
        (lambda: tg.nll_loss(tg.softmax(scores, 1), classes % 3), ["made by softmax", "use log_softmax"]),
        (
            lambda: tg.binary_cross_entropy_with_logits(tg.sigmoid(probabilities), classes % 2),
            ["made by sigmoid", "use binary_cross_entropy"],
        ),
        (lambda: tg.binary_cross_entropy(classes % 2 * 1.0, probabilities), ["are they swapped"]),
    ],
)
def test_probabilities_in_the_place_of_scores_are_noticed(compute, words):
    with pytest.warns(LossWarning) as caught:
        compute()
    (warning,) = caught
    assert warning.filename == __file__
    for word in [*words, "ignore tg.errors.LossWarning", f"{__file__}:"]:
        assert word in str(warning.message)


def test_losses_of_scores_do_not_warn():
    tg.cross_entropy(scores * 1, classes % 3)
    tg.nll_loss(tg.log_softmax(scores, 1), classes % 3)
    tg.binary_cross_entropy_with_logits(probabilities * 1, classes % 2)
    tg.binary_cross_entropy(tg.sigmoid(probabilities), probabilities)


def test_targets_that_are_differentiated_may_be_moved_beyond_their_ends():
    target = tg.tensor([0.0, 1.0, 1.0, 0.0], requires_grad=True, name="target")
    assert tg.gradcheck(lambda p, t: tg.binary_cross_entropy(p, t), [probabilities, target])
