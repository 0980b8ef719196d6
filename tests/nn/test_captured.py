"""Layers inside compiled functions: random draws, statistics that are kept, modes, hooks; the same as without."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.errors import CaptureError

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parents[1] / "compiler" / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)


@pytest.fixture(params=list(twins.WAYS))
def way(request):
    return request.param


def rng(seed=0):
    return np.random.default_rng(seed)


def batches(n, *shape):
    return [lambda k=k: (tg.tensor(rng(k).normal(size=shape)),) for k in range(n)]


def training(make_model, **others):
    def make():
        model = make_model()
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
            return loss

        return twins.world(model=model, optimizer=optimizer, step=step, **others)

    return make


def perceptron(momentum=0.1, p=0.5):
    return nn.Sequential(
        nn.Linear(3, 5, generator=rng(1)),
        nn.BatchNorm1d(5, momentum=momentum),
        nn.ReLU(),
        nn.Dropout(p, generator=rng(2)),
        nn.Linear(5, 2, generator=rng(3)),
    )


class Residual(nn.Module):
    """A model of a user's own, with a number and a buffer that its forward pass reads."""

    def __init__(self):
        self.inner = nn.Linear(3, 3, generator=rng(1))
        self.norm = nn.LayerNorm(3)
        self.share = 0.5

    def forward(self, x):
        return x + self.share * self.norm(self.inner(x))


def pictures():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, generator=rng(1)),
        nn.BatchNorm2d(2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8, 2, generator=rng(2)),
    )


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("steps", [1, 3])
def test_a_model_with_dropout_and_batch_normalisation(momentum, steps, way):
    make = training(lambda: perceptron(momentum))
    twins.assert_twins_agree(make, way, batches(5, 6, 3), steps=steps)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_kept_in_a_loop(momentum, way):
    make = training(lambda: nn.Sequential(nn.Linear(3, 4, generator=rng(1)), nn.BatchNorm1d(4, momentum=momentum)))
    twins.assert_twins_agree(make, way, batches(3, 6, 3), steps=4)


def test_convolutions_and_pooling(way):
    twins.assert_twins_agree(training(pictures), way, batches(3, 4, 1, 6, 6))


def test_training_and_evaluation_by_turns_are_two_programs(way):
    between = {2: lambda w: w.model.eval(), 4: lambda w: w.model.train(), 5: lambda w: w.model.eval()}
    twins.assert_twins_agree(training(perceptron), way, batches(7, 6, 3), between=between)


def test_the_mode_switched_inside(way):
    def make():
        model = perceptron()

        def step(x):
            model.eval()
            y = model(x)
            model.train()
            return y, model(x)

        return twins.world(model=model, step=step)

    twins.assert_twins_agree(make, way, batches(4, 6, 3))


def test_every_draw_is_made_even_if_nobody_needs_it(way):
    def make():
        drop = nn.Dropout(0.5, generator=rng(4))

        def step(x):
            drop(x)
            return drop(x), x

        return twins.world(drop=drop, step=step)

    twins.assert_twins_agree(make, way, batches(4, 5), programs=1)


def test_classes_and_embeddings(way):
    def make():
        table, head = nn.Embedding(7, 4, generator=rng(1)), nn.Linear(4, 3, generator=rng(2))
        optimizer = optim.SGD([*table.parameters(), *head.parameters()], lr=0.1)
        loss_of = nn.CrossEntropyLoss()

        def step(words, classes):
            optimizer.zero_grad()
            loss = loss_of(head(table(words)), classes)
            loss.backward()
            optimizer.step()
            return loss

        return twins.world(table=table, head=head, optimizer=optimizer, step=step)

    calls = [lambda k=k: (rng(k).integers(0, 7, size=6), rng(k + 9).integers(0, 3, size=6)) for k in range(4)]
    twins.assert_twins_agree(make, way, calls, programs=1)


def test_classes_that_are_ignored_are_others_at_every_call(way):
    def make():
        return twins.world(step=lambda x, classes: tg.ops.cross_entropy(x, classes))

    classes = [[0, 1, 2], [-100, 1, 2], [0, -100, -100]]
    calls = [lambda c=c: (tg.tensor(rng(1).normal(size=(3, 3))), tg.tensor(np.array(c))) for c in classes]
    twins.assert_twins_agree(make, way, calls, programs=1)


def test_state_changed_from_outside(way):
    def save(w):
        w.saved = w.model.state_dict()

    def another_weight(w):
        w.model[0].weight = tg.tensor(rng(8).normal(size=(5, 3)), requires_grad=True)
        w.optimizer = None  # it still has the old one

    between = {
        1: save,
        2: lambda w: w.model.load_state_dict(w.saved),
        3: lambda w: w.model[0].weight.__setattr__("data", np.ones((5, 3))),
        4: lambda w: w.model[1].running_mean.__setitem__(0, 5.0),
        5: lambda w: setattr(w.model[3], "p", 0.25),
        6: lambda w: setattr(w.model[1], "momentum", 0.3),
    }
    twins.assert_twins_agree(training(perceptron), way, batches(8, 6, 3), between=between)


def test_a_weight_replaced_from_outside(way):
    def make():
        model = perceptron()
        return twins.world(model=model, step=lambda x: model(x).sum())

    def replace(w):
        w.model[0].weight = tg.tensor(rng(8).normal(size=(5, 3)), requires_grad=True)

    twins.assert_twins_agree(make, way, batches(5, 6, 3), between={2: replace}, programs=2)


def test_a_number_of_a_users_model_changed_from_outside(way):
    between = {2: lambda w: setattr(w.model, "share", 0.25)}
    twins.assert_twins_agree(training(Residual), way, batches(4, 6, 3), between=between)


def test_a_frozen_layer(way):
    def freeze(frozen):
        return lambda w: w.model[0].weight.requires_grad_(not frozen)

    between = {2: freeze(frozen=True), 4: freeze(frozen=False)}
    twins.assert_twins_agree(training(perceptron), way, batches(6, 6, 3), between=between)


def test_hooks(way):
    def make():
        model = nn.Linear(3, 2, generator=rng(1))
        model.weight.register_hook(lambda g: 2 * g)

        def step(x):
            model.zero_grad()
            hidden = model(x)
            hidden.retain_grad()
            hidden.register_hook(lambda g: g + 1)
            hidden.square().sum().backward()
            return hidden.grad

        return twins.world(model=model, step=step)

    another = {2: lambda w: w.model.bias.register_hook(lambda g: 0 * g)}
    twins.assert_twins_agree(make, way, batches(4, 5, 3), between=another, programs=2)


def test_a_model_itself_can_be_compiled(way):
    def make():
        model = perceptron()
        return twins.world(model=model, step=model)

    twins.assert_twins_agree(make, way, batches(4, 6, 3), between={2: lambda w: w.model.eval()}, programs=2)


@pytest.mark.parametrize("error", ["own", "capture"])
def test_a_failure_inside_leaves_everything_as_it_was(error, way):
    model = perceptron()
    model.eval()
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(x):
        loss = model(x).sum()
        loss.backward()
        optimizer.step()
        return loss.item() if error == "capture" else 1 / 0

    with twins.compiled_for(way):
        for mode in (model.train, model.eval):
            mode()
            before = twins.frozen([model, optimizer])
            with pytest.raises(CaptureError if error == "capture" else ZeroDivisionError):
                tg.compile(step, **twins.WAYS[way])(rng(1).normal(size=(6, 3)))
            twins.assert_same(twins.frozen([model, optimizer]), before, exact=True)


@pytest.mark.parametrize("what", ["init", "load_state_dict", "vector_to_parameters"])
def test_writing_numbers_into_parameters_is_refused(what):
    model = nn.Linear(3, 2, generator=rng(1))
    saved, vector = model.state_dict(), rng(2).normal(size=8)
    writing = {
        "init": lambda: nn.init.zeros_(model.weight),
        "load_state_dict": lambda: model.load_state_dict(saved),
        "vector_to_parameters": lambda: nn.utils.vector_to_parameters(vector, model.parameters()),
    }
    before = twins.frozen(model)
    with pytest.raises(CaptureError):
        tg.compile(writing[what])()
    twins.assert_same(twins.frozen(model), before, exact=True)
