import math
import subprocess
import sys

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.data import DataLoader
from tinygrad_bc.errors import ArgumentError, DataError, GradientError, ShapeError
from tinygrad_bc.train import Callback, ClipGradients, Schedule, evaluate, fit

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 4))
Y = (X[:, 0] > X[:, 1]).astype(int)
LOSS = nn.CrossEntropyLoss()


def network(dropout=0.0, seed=1):
    layers = np.random.default_rng(seed)
    return nn.Sequential(
        nn.Linear(4, 8, generator=layers),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(dropout, generator=layers),
        nn.Linear(8, 2, generator=layers),
    )


def loader(**options):
    return DataLoader(X, Y, **({"batch_size": 8, "shuffle": True, "generator": 2} | options))


def bits(model):
    return {name: array.tobytes() for name, array in model.state_dict().items()}


class Spy(Callback):
    def __init__(self):
        self.events, self.losses = [], []

    def on_train_begin(self, run):
        self.events.append("train begin")

    def on_epoch_begin(self, run):
        self.events.append(f"epoch {run.epoch} begin")

    def on_backward_end(self, run):
        self.events.append("backward end")

    def on_batch_end(self, run):
        self.events.append("batch end")
        self.losses.append(run.batch_loss)

    def on_epoch_end(self, run):
        self.events.append(f"epoch {run.epoch} end")

    def on_train_end(self, run):
        self.events.append("train end")


@pytest.mark.parametrize(
    "make",
    [
        lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
        lambda p: optim.Adam(p, lr=0.01),
        lambda p: optim.LBFGS(p, lr=0.5, max_iter=3),
    ],
)
def test_fit_is_the_loop_written_by_hand_bit_for_bit(make):
    by_hand, batches, optimizer = network(0.3), loader(), None
    optimizer = make(by_hand.parameters())
    losses, expected = [], []
    for _ in range(3):
        by_hand.train()
        total = 0.0
        for x, y in batches:

            def closure(x=x, y=y):
                optimizer.zero_grad()
                value = LOSS(by_hand(x), y)
                value.backward()
                return value

            losses.append(float(optimizer.step(closure)))
            total += losses[-1] * len(y)
        by_hand.eval()
        with tg.no_grad():
            expected.append((total / 50, float(LOSS(by_hand(X), Y))))

    model, spy = network(0.3), Spy()
    history = fit(
        model, loader(), LOSS, make(model.parameters()), epochs=3, validation=(X, Y), callbacks=[spy]
    )  # fmt: skip
    assert bits(model) == bits(by_hand)
    assert spy.losses == losses
    assert list(zip(history["loss"], history["validation_loss"])) == expected


def test_the_loop_of_the_docstring():
    by_hand, model = network(), network()
    optimizer = optim.SGD(by_hand.parameters(), lr=0.1)
    for _ in range(2):
        by_hand.train()
        for x, y in loader():
            optimizer.zero_grad()
            LOSS(by_hand(x), y).backward()
            optimizer.step()
    fit(model, list(loader()), LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=2)
    assert bits(model) == bits(by_hand)
    assert not any(module.training for module in model.modules())


def test_callbacks_are_called_in_order():
    model, spy = network(), Spy()
    fit(model, loader(batch_size=25), LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=2, callbacks=[spy])
    steps = ["backward end", "batch end"] * 2
    assert spy.events == [
        "train begin", "epoch 0 begin", *steps, "epoch 1 end", "epoch 1 begin", *steps, "epoch 2 end", "train end"
    ]  # fmt: skip


def test_history_is_a_table_that_says_where_it_comes_from():
    model = network()
    groups = [{"params": model[0].parameters(), "lr": 0.5}, {"params": model[4].parameters()}]
    optimizer = optim.SGD(groups, lr=0.25)
    schedule = Schedule(optim.lr_scheduler.ExponentialLR(optimizer, 0.5))
    accuracy = {"accuracy": lambda p, t: np.mean(p.argmax(1) == t)}
    history = fit(
        model, loader(), LOSS, optimizer, epochs=3, validation=[(X, Y)], metrics=accuracy, callbacks=[schedule]
    )  # fmt: skip
    table = history.table
    assert list(table.columns) == ["loss", "validation_loss", "validation_accuracy", "lr_0", "lr_1", "seconds"]
    assert table.index.tolist() == [0, 1, 2]
    assert table["lr_0"].tolist() == [0.5, 0.25, 0.125]  # the rates that the epoch's last step was taken with
    assert table["lr_1"].tolist() == [0.25, 0.125, 0.0625]
    assert table["validation_accuracy"].iloc[-1] == np.mean(model(X).data.argmax(1) == Y)
    assert table.attrs["numpy"] == np.__version__
    assert table.attrs["tinygrad_bc"] == tg.__version__
    assert table.attrs["seeds"] == {"model.3.generator": 1, "data.generator": 2}
    assert "validation_accuracy" in repr(history)


def test_the_fingerprint_of_the_data_is_of_their_numbers():
    def info(x):
        model = network()
        data = DataLoader(x, Y, batch_size=10)
        return fit(model, data, LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=1).info

    changed = X.copy()
    changed[3, 2] = np.nextafter(changed[3, 2], 9)
    assert info(X)["data"] == info(X.copy())["data"] != info(changed)["data"]
    assert info(X)["weights"] == info(changed)["weights"]


def test_the_mean_loss_counts_rows_and_not_batches():
    model = network().eval()
    whole = evaluate(model, (X, Y), LOSS)["loss"]
    assert evaluate(model, DataLoader(X, Y, batch_size=33), LOSS)["loss"] == pytest.approx(whole, rel=1e-14)


def test_metrics_get_all_rows_at_once_in_order():
    model, seen = network(), {}
    evaluate(model, DataLoader(X, Y, batch_size=33), LOSS, {"m": lambda p, t: seen.update(p=p, t=t) or 0.0})
    assert seen["p"].shape == (50, 2)
    assert seen["t"].tolist() == Y.tolist()


def test_gradients_are_clipped_before_the_step():
    model = network()
    before = np.concatenate([p.data.ravel().copy() for p in model.parameters()])
    fit(model, (X, Y), LOSS, optim.SGD(model.parameters(), lr=1.0), epochs=1, callbacks=[ClipGradients(1e-3)])
    after = np.concatenate([p.data.ravel() for p in model.parameters()])
    assert np.linalg.norm(after - before) == pytest.approx(1e-3, rel=1e-3)


def test_the_same_seed_gives_the_same_bits_in_two_processes():
    program = """
import hashlib, numpy as np
from tinygrad_bc import nn, optim
from tinygrad_bc.data import DataLoader
from tinygrad_bc.train import fit
rng = np.random.default_rng(5)
X, Y = rng.normal(size=(60, 3)), rng.integers(0, 2, size=60)
model = nn.Sequential(nn.Linear(3, 9, generator=rng), nn.Dropout(0.5, generator=rng), nn.Linear(9, 2, generator=rng))
data = DataLoader(X, Y, batch_size=7, shuffle=True, generator=rng)
history = fit(model, data, nn.CrossEntropyLoss(), optim.Adam(model.parameters()), epochs=3)
weights = b"".join(array.tobytes() for array in model.state_dict().values())
print(hashlib.sha256(weights).hexdigest(), [loss.hex() for loss in history["loss"].tolist()])
"""
    outputs = {subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout for _ in "12"}
    assert len(outputs) == 1
    assert len(outputs.pop()) > 64


def test_a_loader_that_somebody_has_looked_into_begins_anew():
    models = network(), network()
    for model, look in zip(models, (False, True)):
        data = loader(shuffle=False, generator=None)
        if look:
            next(iter(data))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        fit(model, data, LOSS, optimizer, epochs=1, validation=data)
    assert bits(models[0]) == bits(models[1])


# --- what is wrong is said before anything is changed -------------------------------------------------


class Unused(nn.Module):
    def __init__(self):
        self.used = network()
        self.head = tg.tensor(np.ones((2, 3)), requires_grad=True)

    def forward(self, x):
        return self.used(x)


class Detached(nn.Module):
    def __init__(self):
        self.inner = network()

    def forward(self, x):
        return self.inner(x).detach()


def mismatched():
    return [(X, Y[:-1])]


def with_nan():
    broken = X.copy()
    broken[7, 2] = np.nan
    return [(X, Y), (broken, Y)]


WRONG = {
    "loss not scalar": ({"loss": lambda p, t: tg.log_softmax(p, 1)}, ShapeError, r"shape \(8, 2\).*\.mean\(\)"),
    "loss a number": ({"loss": lambda p, t: 0.5}, GradientError, r"0\.5, of type float"),
    "loss detached": ({"model": Detached()}, GradientError, "does not depend on anything that requires a gradient"),
    "loss infinite": ({"loss": lambda p, t: LOSS(p, t) * np.inf}, GradientError, "epoch 0, batch 0: the loss is inf"),
    "parameter unused": ({"model": Unused()}, GradientError, r"does not depend on head, .*allow_unused=True"),
    "NaN in data": ({"data": with_nan()}, DataError, r"data, batch 1, array 0.*row 7, column 2"),
    "NaN in validation": ({"validation": with_nan()}, DataError, r"validation, batch 1, array 0.*row 7"),
    "lengths": ({"data": mismatched()}, DataError, r"numbers of rows differ.*\(50, 4\).*\(49,\)"),
    "no batch": ({"data": []}, DataError, "data yields no batch"),
    "no validation batch": ({"validation": []}, DataError, "validation yields no batch"),
    "no target": ({"data": (X,)}, DataError, "got 1 array"),
    "validation of other width": ({"validation": (X[:, :3], Y)}, ShapeError, "4"),
    "iterator": ({"data": iter([(X, Y)])}, ArgumentError, "used up after one epoch"),
    "array": ({"data": X}, ArgumentError, "the tuple"),
    "labels out of range": ({"data": (X, Y + 1)}, (DataError, ArgumentError, IndexError), "2"),
    "epochs": ({"epochs": 0}, ArgumentError, "1 or more; got 0"),
    "optimizer": ({"optimizer": optim.SGD}, ArgumentError, "expected an optimizer"),
    "callback": ({"callbacks": [Spy]}, ArgumentError, r"write Spy\(\.\.\.\)"),
}


@pytest.mark.parametrize(("change", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_before_anything_is_changed(change, error, message):
    model = change.get("model", network(0.3))
    data = change.get("data", loader())
    optimizer = change.get("optimizer", optim.Adam(model.parameters()))
    options = {"epochs": 2, "validation": (X, Y)} | {
        key: value for key, value in change.items() if key in ("epochs", "validation", "callbacks")
    }
    before = bits(model)
    random = [g.bit_generator.state for _, g in model.named_generators()]
    position = data.state_dict() if isinstance(data, DataLoader) else None
    with pytest.raises(error, match=message):
        fit(model, data, change.get("loss", LOSS), optimizer, **options)
    assert bits(model) == before
    assert [g.bit_generator.state for _, g in model.named_generators()] == random
    assert all(p._grad is None for p in model.parameters())
    if isinstance(data, DataLoader):
        assert data.state_dict() == position
    if isinstance(optimizer, optim.Adam):
        assert optimizer.state_dict()["state"] == {}


def test_a_batch_that_only_its_loader_knows_is_checked_when_it_comes():
    class Stream:
        def __iter__(self):
            for i in range(4):
                yield (X / (0.0 if i == 2 else 1.0), Y)

    model, spy = network(), Spy()
    with np.errstate(divide="ignore"), pytest.raises(DataError, match=r"epoch 0, batch 2, array 0.*row 0, column 0"):
        fit(model, Stream(), LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=1, callbacks=[spy])
    assert len(spy.losses) == 2


def test_unused_parameters_may_be_allowed():
    model = Unused()
    head = model.head.data.copy()
    fit(model, (X, Y), LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=1, allow_unused=True)
    assert np.array_equal(model.head.data, head)


def test_an_optimizer_of_another_model():
    with pytest.raises(GradientError, match="not in the model"):
        fit(network(), (X, Y), LOSS, optim.SGD(network(seed=9).parameters(), lr=0.1), epochs=1)


def test_a_loss_that_becomes_infinite_ends_the_training_before_its_step():
    model, spy, weights = network(), Spy(), []

    def loss(prediction, target):
        weights.append(model[0].weight.data.copy())
        return LOSS(prediction, target) * (math.inf if len(spy.losses) == 3 else 1.0)

    with pytest.raises(GradientError, match=r"epoch 1, batch 1: the loss is inf; no step"):
        fit(model, loader(batch_size=25), loss, optim.SGD(model.parameters(), lr=0.1), epochs=3, callbacks=[spy])
    assert len(spy.losses) == 3
    assert np.array_equal(model[0].weight.data, weights[-1])
    assert not np.array_equal(weights[-1], weights[-2])
    assert spy.events[-1] == "train end"


def test_the_trial_batch_leaves_no_trace():
    """Training with it is training without it: the very first loss is that of the untouched generators."""
    model, spy = network(0.5), Spy()
    expected = network(0.5)
    x, y = next(iter(loader()))
    first = float(LOSS(expected(x), y))
    fit(model, loader(), LOSS, optim.SGD(model.parameters(), lr=0.1), epochs=1, callbacks=[spy])
    assert spy.losses[0] == first
