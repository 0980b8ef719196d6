import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_bc import nn, optim
from tinygrad_bc.data import DataLoader
from tinygrad_bc.errors import ArgumentError
from tinygrad_bc.train import (
    Callback,
    Checkpoint,
    CheckpointError,
    CheckpointWarning,
    EarlyStopping,
    GradientStatistics,
    Schedule,
    checkpoint,
    fit,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(45, 3))
Y = rng.integers(0, 2, size=45)
EPOCHS = 4


class Interrupt(Callback):
    """Raises after a number of batches, when they are saved, or at the end of an epoch before that is saved."""

    def __init__(self, batches=None, epoch=None):
        self.batches, self.epoch, self.seen = batches, epoch, 0
        self.last = epoch is None

    def on_batch_end(self, run):
        self.seen += 1
        if self.seen == self.batches:
            raise KeyboardInterrupt

    def on_epoch_end(self, run):
        if run.epoch == self.epoch:
            raise KeyboardInterrupt


class Training:
    def __init__(self, hidden=6, data=X, make=None, shared=False):
        layers = np.random.default_rng(1)
        self.model = nn.Sequential(
            nn.Linear(3, hidden, generator=layers),
            nn.BatchNorm1d(hidden),
            nn.Dropout(0.4, generator=layers),
            nn.Linear(hidden, 2, generator=layers),
        )
        self.loader = DataLoader(data, Y, batch_size=10, shuffle=True, generator=layers if shared else 3)
        self.optimizer = (make or optim.Adam)(self.model.parameters(), lr=0.01)
        self.losses = []

    def run(self, *callbacks, **options):
        schedule = Schedule(optim.lr_scheduler.CosineAnnealingLR(self.optimizer, T_max=20), per="batch")
        self.stopping, self.statistics = EarlyStopping(patience=2), GradientStatistics()
        self.history = fit(
            self.model,
            self.loader,
            nn.CrossEntropyLoss(),
            self.optimizer,
            epochs=EPOCHS,
            validation=(X, Y),
            callbacks=[*callbacks, schedule, self.stopping, self.statistics],
            **options,
        )
        return self

    def result(self):
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in self.history.rows]
        weights = {name: a.tobytes() for name, a in self.model.state_dict().items()}
        moments = [
            {k: np.asarray(v).tobytes() for k, v in state.items()}
            for state in self.optimizer.state_dict()["state"].values()
        ]
        return rows, weights, moments, self.statistics.rows, self.loader.generator.bit_generator.state


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("make", [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.LBFGS])
def test_a_training_that_was_interrupted_ends_as_one_that_was_not(tmp_path, make, shared):
    expected = Training(make=make, shared=shared).run().result()
    for interrupt in (Interrupt(batches=1), Interrupt(batches=3), Interrupt(batches=1), Interrupt(epoch=3)):  # 1, 4, 5
        with pytest.raises(KeyboardInterrupt):
            Training(make=make, shared=shared).run(
                Checkpoint(tmp_path, every_batches=1, resume=True), interrupt
            )  # fmt: skip
    resumed = Training(make=make, shared=shared).run(Checkpoint(tmp_path, resume=True))
    assert resumed.result() == expected


def test_batches_in_a_list_and_a_validation_loader_that_somebody_has_looked_into(tmp_path):
    def run(*callbacks):
        generator = np.random.default_rng(5)
        model = nn.Sequential(nn.Linear(3, 2, generator=generator), nn.Dropout(0.2, generator=generator))
        data = [(X[i : i + 9], Y[i : i + 9]) for i in range(0, 45, 9)]
        validation = DataLoader(X, Y, batch_size=20, shuffle=True, generator=generator)
        next(iter(validation))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        history = fit(
            model, data, nn.CrossEntropyLoss(), optimizer, epochs=2, validation=validation, callbacks=callbacks
        )  # fmt: skip
        return model.state_dict(), history["validation_loss"].tolist()

    for batches in (3, 2):  # once in the middle of the epoch, and once at its end
        with pytest.raises(KeyboardInterrupt):
            run(Checkpoint(tmp_path, every_batches=1, resume=True), Interrupt(batches=batches))
    (weights, losses), (expected, expected_losses) = run(Checkpoint(tmp_path, resume=True)), run()
    assert losses == expected_losses
    assert all(np.array_equal(weights[name], array) for name, array in expected.items())


def test_the_end_is_not_trained_past(tmp_path):
    done = Training().run(Checkpoint(tmp_path))
    again = Training().run(Checkpoint(tmp_path, resume=True))
    assert again.result() == done.result()


def test_it_is_written_after_what_other_callbacks_do_wherever_it_stands_in_the_list(tmp_path):
    Training().run(Checkpoint(tmp_path))
    state = checkpoint.read(tmp_path, checkpoint.names(tmp_path)[-1])
    assert state["parts"]["callback 0, Schedule"]["last_epoch"] == EPOCHS * 5


def test_the_newest_are_kept(tmp_path):
    Training().run(Checkpoint(tmp_path, every_batches=2, keep=3))
    assert checkpoint.names(tmp_path) == ["000003-000002", "000003-000004", "000004-000000"]
    assert len(list(tmp_path.iterdir())) == 6


# --- damage ------------------------------------------------------------------------------------------


def damaged(tmp_path, suffix, change):
    Training().run(Checkpoint(tmp_path, keep=2))
    file = tmp_path / f"000004-000000{suffix}"
    content = file.read_bytes()
    file.write_bytes(change(content))


DAMAGE = {
    "truncated": lambda c: c[: len(c) // 2],
    "cut by a byte": lambda c: c[:-3],
    "empty": lambda c: b"",
    "a bit flipped": lambda c: c[: len(c) // 2] + bytes([c[len(c) // 2] ^ 1]) + c[len(c) // 2 + 1 :],
    "zeros": lambda c: bytes(len(c)),
}


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_one_is_refused_and_the_one_before_is_used(tmp_path, suffix, change):
    expected = Training().run().result()
    damaged(tmp_path, suffix, change)
    with pytest.raises(CheckpointError, match="000004-000000"):
        checkpoint.read(tmp_path, "000004-000000")
    with pytest.warns(CheckpointWarning, match="Going on from 000003-000000"):
        resumed = Training().run(Checkpoint(tmp_path, resume=True))
    assert resumed.result() == expected


def test_every_bit_of_a_pair_is_guarded(tmp_path):
    checkpoint.save(tmp_path, "000001-000000", {"w": np.arange(3.0), "n": 7}, 1)
    pick = np.random.default_rng(0)
    for file in tmp_path.iterdir():
        good = file.read_bytes()
        for _ in range(150):
            bad = bytearray(good)
            bad[pick.integers(len(bad))] ^= 1 << int(pick.integers(8))
            file.write_bytes(bad)
            try:
                state = checkpoint.read(tmp_path, "000001-000000")
            except CheckpointError:
                continue
            assert state["n"] == 7  # white space between the parts of the JSON file means nothing
            assert state["w"].tolist() == [0.0, 1.0, 2.0]
        file.write_bytes(good)


def test_an_edited_number_is_refused(tmp_path):
    damaged(tmp_path, ".json", lambda c: c.replace(b'"epoch": 4', b'"epoch": 3'))
    with pytest.raises(CheckpointError, match="not what was written"):
        checkpoint.read(tmp_path, "000004-000000")


def test_halves_of_two_checkpoints_are_no_checkpoint(tmp_path):
    damaged(tmp_path, ".safetensors", lambda c: (tmp_path / "000003-000000.safetensors").read_bytes())
    with pytest.raises(CheckpointError, match="of another checkpoint"):
        checkpoint.read(tmp_path, "000004-000000")


def test_no_sound_one_is_an_error(tmp_path):
    Training().run(Checkpoint(tmp_path, keep=2))
    for file in tmp_path.glob("*.safetensors"):
        file.unlink()
    with pytest.raises(CheckpointError, match=r"(?s)no checkpoint in .* is sound; to begin.*000004.*missing.*000003"):
        Training().run(Checkpoint(tmp_path, resume=True))


def test_abandoned_later_ones_are_removed(tmp_path):
    damaged(tmp_path, ".json", lambda c: c[:99])
    with pytest.warns(CheckpointWarning), pytest.raises(KeyboardInterrupt):
        Training().run(Checkpoint(tmp_path, every_batches=1, keep=1, resume=True), Interrupt(batches=2))
    assert checkpoint.names(tmp_path) == ["000003-000002"]


class Crash(BaseException):
    pass


def test_a_crash_at_every_instant_of_writing_leaves_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    """The calls that touch files are counted; the writing is cut off before each of them in turn."""
    calls = ["fsync", "replace"]
    counts = []
    for crash_at in range(12):
        directory = tmp_path / str(crash_at)
        checkpoint.save(directory, "000001-000000", {"n": 1}, 1)
        left = [crash_at]

        def counted(function, left=left):
            def call(*arguments, **options):
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patched:
            for name in calls:
                patched.setattr(os, name, counted(getattr(os, name)))
            patched.setattr(Path, "unlink", counted(Path.unlink))
            try:
                checkpoint.save(directory, "000002-000000", {"n": 2}, 1)
                crashed = False
            except Crash:
                crashed = True
        name, state = checkpoint.load(directory)
        counts.append((crashed, state["n"]))
        for complete in checkpoint.names(directory):  # what has a name is whole, the old ones too
            checkpoint.read(directory, complete)
        checkpoint.save(directory, "000003-000000", {"n": 3}, 1)
        assert sorted(file.name for file in directory.iterdir()) == ["000003-000000.json", "000003-000000.safetensors"]
    assert counts[0] == (True, 1)
    assert counts[-1] == (False, 2)
    assert [n for _, n in counts] == sorted(n for _, n in counts)
    assert (True, 2) in counts  # a crash while the old one is removed


# --- another training ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"hidden": 7}, r"0.weight: shape \(6, 3\) in the state, \(7, 3\) in the model"),
        ({"data": X + 1}, "numbers in data are not those"),
        ({"make": optim.SGD}, "another optimiser|lacks"),
    ],
)
def test_one_of_another_training_is_refused_and_nothing_changed(tmp_path, other, message):
    Training().run(Checkpoint(tmp_path))
    training = Training(**other)
    before = training.model.state_dict()
    lr = training.optimizer.param_groups[0]["lr"]
    position = training.loader.state_dict()
    with pytest.raises(CheckpointError, match=message):
        training.run(Checkpoint(tmp_path, resume=True))
    assert all(np.array_equal(a, before[name]) for name, a in training.model.state_dict().items())
    assert training.optimizer.param_groups[0]["lr"] == lr
    assert training.loader.state_dict() == position


def test_other_callbacks_are_another_training(tmp_path):
    Training().run(Checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=r"parts are others.*EarlyStopping"):
        Training().run(EarlyStopping(), Checkpoint(tmp_path, resume=True))


def test_an_old_training_is_not_written_over(tmp_path):
    Training().run(Checkpoint(tmp_path))
    with pytest.raises(CheckpointError, match=r"already.*resume=True"):
        Training().run(Checkpoint(tmp_path))


def test_other_versions_are_said(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        Training().run(Checkpoint(tmp_path), Interrupt(epoch=3))
    monkeypatch.setattr(np, "__version__", "9.9")
    with pytest.warns(CheckpointWarning, match=r"begun with numpy .* goes on with 9\.9"):
        Training().run(Checkpoint(tmp_path, resume=True))


# --- what can be saved -----------------------------------------------------------------------------------


def test_all_kinds_of_state_come_back(tmp_path):
    fortran = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    state = {
        "a": [1, 2.5, None, True, "text ∂", (1, (2, "x"))],
        "numbers": {0: {"step": 3}, 1: {}, (1, 2): "tuple"},
        "$array": "not one",
        "big": 2**127 + 1,
        "odd": [float("inf"), -0.0, 5e-324, float("nan")],
        "arrays": {"f": fortran, "view": np.arange(10)[::-3], "empty": np.empty((0, 4)), "scalar": np.array(2.5)},
        "b.c": np.arange(2),
        "b": {"c": np.arange(3, dtype=np.float32)},
        "number": np.float32(0.1),
        "flags": np.array([True, False]),
        "generator": np.random.Generator(np.random.MT19937(3)).bit_generator.state,
    }
    checkpoint.save(tmp_path, "000000-000001", state, 1)
    back = checkpoint.read(tmp_path, "000000-000001")
    assert list(back) == list(state)
    assert back["a"] == state["a"]
    assert back["numbers"] == state["numbers"]
    assert back["big"] == state["big"]
    assert repr(back["odd"]) == repr(state["odd"])
    for one, other in [*zip(back["arrays"].values(), state["arrays"].values()), (back["b.c"], state["b.c"])]:
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert np.array_equal(one, other)
    assert back["b"]["c"].dtype == np.float32
    assert type(back["number"]) is np.float32
    assert back["number"] == state["number"]
    assert back["flags"].tolist() == [True, False]
    generator = np.random.Generator(np.random.MT19937(0))
    generator.bit_generator.state = back["generator"]
    assert generator.random() == np.random.Generator(np.random.MT19937(3)).random()


def test_the_files_are_safetensors_and_json_that_others_can_read(tmp_path):
    from safetensors.numpy import load_file

    trained = Training().run(Checkpoint(tmp_path))
    tensors = load_file(tmp_path / "000004-000000.safetensors")
    assert np.array_equal(tensors["parts.model.3.weight"].shape, trained.model[3].weight.shape)
    assert json.loads((tmp_path / "000004-000000.json").read_text())["content"]["state"]["progress"]["epoch"] == 4


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"a\.1: a state .* got \{1\} of type set"):
        checkpoint.save(tmp_path, "000000-000001", {"a": [0, {1}]}, 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("options", [{"keep": 0}, {"every_batches": 0}])
def test_values_that_are_not_possible(tmp_path, options):
    with pytest.raises(ArgumentError):
        Checkpoint(tmp_path, **options)


def test_trainings_that_are_really_killed():
    script = Path(__file__).with_name("kill.py")
    done = subprocess.run([sys.executable, script, "--kills", "5"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^5 kills", done.stdout, re.MULTILINE)
    assert "each bit-identical to the one never killed" in done.stdout
