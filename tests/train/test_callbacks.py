import math

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.data import DataLoader
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.train import (
    Callback,
    ClipGradients,
    EarlyStopping,
    GradientStatistics,
    Progress,
    Schedule,
    fit,
    l1_penalty,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = rng.integers(0, 2, size=40)
LOSS = nn.CrossEntropyLoss()


def network():
    return nn.Sequential(nn.Linear(3, 5, generator=1), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 2, generator=2))


def run(model, *callbacks, epochs=5, lr=0.1, **options):
    optimizer = options.pop("optimizer", None) or optim.SGD(model.parameters(), lr=lr)
    return fit(model, DataLoader(X, Y, batch_size=10), LOSS, optimizer, epochs=epochs, callbacks=callbacks, **options)


class Script(Callback):
    """Writes given validation losses into the history and keeps the weights of every epoch."""

    def __init__(self, *losses):
        self.losses, self.weights = losses, []

    def on_epoch_end(self, run):
        run.history.rows[-1]["validation_loss"] = self.losses[run.epoch - 1]
        self.weights.append(run.model.state_dict())


@pytest.mark.parametrize(
    ("losses", "options", "epochs", "best"),
    [
        ([5, 4, 3, 4, 4, 2], {"patience": 2}, 5, 2),
        ([5, 4, 3, 4, 2, 2], {"patience": 2}, 6, 4),
        ([5, 4.6, 4.3, 4.1, 4.0, 4.0], {"patience": 2, "min_delta": 0.5}, 5, 2),
        ([1, 2, 3, 2, 2, 2], {"patience": 3, "mode": "max"}, 6, 2),
        ([math.nan, 3, math.nan, 2, 4, 4], {"patience": 2}, 6, 3),
        ([math.nan] * 6, {"patience": 2}, 2, None),
        ([3, 3, 3, 3, 3, 3], {"patience": 1}, 2, 0),
    ],
)
def test_early_stopping(losses, options, epochs, best):
    model, script, stopping = network(), Script(*losses), EarlyStopping(**options)
    history = run(model, script, stopping, epochs=6, validation=(X, Y))
    assert len(history) == epochs
    assert stopping.best_epoch == best
    expected = script.weights[epochs - 1 if best is None else best]
    now = model.state_dict()
    assert {name: a.tobytes() for name, a in now.items()} == {name: a.tobytes() for name, a in expected.items()}
    assert "1.running_mean" in now


def test_early_stopping_says_what_it_cannot_watch_before_training():
    model = network()
    before = model.state_dict()
    with pytest.raises(ArgumentError, match=r"'validation_loss' to watch; choose among loss, lr, seconds.*validation="):
        run(model, EarlyStopping())
    assert all(np.array_equal(before[name], a) for name, a in model.state_dict().items())


@pytest.mark.parametrize(
    "make",
    [
        lambda: EarlyStopping(patience=0),
        lambda: EarlyStopping(min_delta=-1),
        lambda: EarlyStopping(min_delta=math.nan),
        lambda: EarlyStopping(mode="best"),
        lambda: ClipGradients(0),
        lambda: Schedule(None, per="week"),
        lambda: Schedule(None, per="batch", monitor="loss"),
        lambda: l1_penalty([], 1.0),
        lambda: l1_penalty([tg.tensor(1.0)], -1.0),
    ],
)
def test_values_that_are_not_possible(make):
    with pytest.raises(ArgumentError):
        make()


def test_schedules_per_epoch_and_per_batch():
    for per, steps in (("epoch", 3), ("batch", 12)):
        model = network()
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        scheduler = optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        history = run(model, Schedule(scheduler, per=per), optimizer=optimizer, epochs=3)
        assert scheduler.last_epoch == steps
        last = [2, 11][per == "batch"]
        assert history["lr"][-1] == scheduler.lr_at(last)[0]


def test_a_plateau_is_told_what_it_watches():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    plateau = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=0)
    script = Script(3.0, 3.0, 3.0, 3.0)
    history = run(
        model, script, Schedule(plateau, monitor="validation_loss"), optimizer=optimizer, epochs=4, validation=(X, Y)
    )  # fmt: skip
    assert history["lr"].tolist() == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_gradient_statistics_are_the_norms_of_the_gradients():
    model, statistics, norms = network(), GradientStatistics(), []

    class Norms(Callback):
        def on_batch_end(self, run):
            norms.append(np.sqrt(np.sum(model[0].weight.grad.data ** 2)))

    run(model, statistics, Norms(), epochs=2)
    table = statistics.table
    assert table.index.names == ["epoch", "parameter"]
    assert len(table) == 2 * len(list(model.parameters()))
    row = table.loc[(1, "0.weight")]
    assert row.tolist() == pytest.approx([np.mean(norms[4:]), min(norms[4:]), max(norms[4:])], rel=1e-12)


def test_progress_shows_epochs_and_losses(capsys):
    model = network()
    run(model, Progress(), EarlyStopping("loss", min_delta=10.0, patience=1), validation=(X, Y))
    shown = capsys.readouterr().out
    assert "epoch 2/5" in shown
    assert "validation_loss" in shown
    assert "stopped after epoch 1: loss has not improved" in " ".join(shown.split())


def test_progress_is_closed_when_the_training_fails():
    class Fail(Callback):
        def on_batch_end(self, run):
            raise RuntimeError("on purpose")

    progress = Progress()
    with pytest.raises(RuntimeError, match="on purpose"):
        run(network(), progress, Fail())
    assert progress._bar.finished or not progress._bar.live.is_started


def test_l1_draws_weights_to_zero():
    w = tg.tensor([3.0, -0.2, 0.0], requires_grad=True)
    penalty = l1_penalty([w, w * 2], 0.5)
    assert penalty.item() == pytest.approx(0.5 * 3 * 3.2)
    penalty.backward()
    assert w.grad.tolist() == [1.5, -1.5, 0.0]
