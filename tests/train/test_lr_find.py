import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.data import DataLoader
from tinygrad_bc.errors import ArgumentError, GradientError
from tinygrad_bc.train import RangeTest, fit, lr_find

rng = np.random.default_rng(0)
X = rng.normal(size=(64, 3))
Y = (X.sum(1) > 0).astype(int)
LOSS = nn.CrossEntropyLoss()


def parts(make=optim.Adam):
    layers = np.random.default_rng(1)
    model = nn.Sequential(
        nn.Linear(3, 8, generator=layers),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Dropout(0.2, generator=layers),
        nn.Linear(8, 2, generator=layers),
    )
    data = DataLoader(X, Y, batch_size=10, shuffle=True, generator=4)
    return model, data, LOSS, make(model.parameters(), lr=0.02)


def exact(state):
    """Return a state with the bytes of arrays in their place."""
    if isinstance(state, dict):
        return {name: exact(part) for name, part in state.items()}
    if isinstance(state, list):
        return [exact(part) for part in state]
    return state.tobytes() if isinstance(state, np.ndarray) else state


def everything(model, data, loss, optimizer):
    state = optimizer.state_dict()
    return (
        {name: a.tobytes() for name, a in model.state_dict().items()},
        exact(state["state"]),
        [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]],
        data.state_dict(),
        [(name, g.bit_generator.state) for name, g in model.named_generators()],
        [None if p._grad is None else p._grad.data.tobytes() for p in model.parameters()],
        [module.training for module in model.modules()],
    )


@pytest.mark.parametrize("trained_before", [False, True])
@pytest.mark.parametrize("make", [optim.Adam, optim.LBFGS])
def test_everything_is_as_it_was_to_the_last_bit(make, trained_before):
    used, untouched = parts(make), parts(make)
    if trained_before:
        for these in (used, untouched):
            fit(*these, epochs=2)
    before = everything(*used)
    found = lr_find(*used, end=100.0)
    assert len(np.unique(found.losses)) > 20  # it did train
    assert everything(*used) == before
    histories = [fit(*these, epochs=2) for these in (used, untouched)]
    assert everything(*used) == everything(*untouched)
    assert histories[0]["loss"].tolist() == histories[1]["loss"].tolist()


def test_everything_is_as_it_was_when_it_fails_on_the_way():
    model, data, _, optimizer = parts()
    calls = []

    def loss(prediction, target):
        calls.append(1)
        if len(calls) == 20:
            raise RuntimeError("on purpose")
        return LOSS(prediction, target)

    before = everything(model, data, loss, optimizer)
    with pytest.raises(RuntimeError, match="on purpose"):
        lr_find(model, data, loss, optimizer)
    assert everything(model, data, loss, optimizer) == before


class Parabola(nn.Module):
    """Its loss is a·w²/2: gradient descent shrinks w by 1 − lr·a in a step, and diverges above lr = 2/a."""

    def __init__(self):
        self.w = tg.tensor(3.0, requires_grad=True)

    def forward(self, x):
        return self.w


def test_the_sweep_is_that_of_the_closed_form():
    a, steps = 10.0, 40
    model = Parabola()
    found = lr_find(
        model, (X, Y), lambda w, _: a * w**2 / 2, optim.SGD([model.w], lr=0.5),
        start=1e-3, end=10.0, steps=steps, smoothing=0.5,
    )  # fmt: skip
    lrs = 1e-3 * 10 ** (4 * np.arange(steps) / (steps - 1))
    n = len(found.lrs)
    w = 3.0 * np.cumprod(np.concatenate([[1.0], 1 - lrs[: n - 1] * a]))
    losses = a * w**2 / 2
    k = np.arange(1, n + 1)
    average = np.array([sum(0.5 ** (i - j) * 0.5 * losses[j] for j in range(i + 1)) for i in range(n)])
    smoothed = average / (1 - 0.5**k)
    assert found.lrs == pytest.approx(lrs[:n], rel=1e-12)
    assert found.losses == pytest.approx(losses, rel=1e-9)
    assert found.smoothed == pytest.approx(smoothed, rel=1e-9)
    assert n < steps
    assert smoothed[-1] > 4 * smoothed.min() >= smoothed[-2]  # it stopped at the first that had diverged
    assert 0.01 < found.suggestion < 2 / a


def test_the_suggestion_is_where_the_loss_falls_most_steeply():
    lrs = np.geomspace(1e-5, 1.0, 101)
    losses = 1 / (1 + np.exp(4 * np.log(lrs / 1e-3)))
    assert RangeTest(lrs, losses, losses).suggestion == pytest.approx(1e-3)
    relapse = np.where(lrs > 0.1, 0.9, losses)  # above, and down again, but not as far
    relapse[-10:] = 0.2
    assert RangeTest(lrs, relapse, relapse).suggestion == pytest.approx(1e-3)
    rising = RangeTest(lrs, 2 - losses, 2 - losses)
    assert rising.suggestion is None
    assert RangeTest(lrs[:1], losses[:1], losses[:1]).suggestion is None


def test_groups_keep_their_ratio():
    model, data, loss, _ = parts()
    seen = []

    class Watched(optim.SGD):
        def step(self, closure=None):
            seen.append([group["lr"] for group in self.param_groups])
            return super().step(closure)

    optimizer = Watched([{"params": model[0].parameters(), "lr": 0.1}, {"params": model[4].parameters(), "lr": 0.4}])
    lr_find(model, data, loss, optimizer, start=1e-3, end=1.0, steps=5)
    assert [lrs[1] for lrs in seen] == pytest.approx(np.geomspace(1e-3, 1, 5))
    assert [lrs[0] / lrs[1] for lrs in seen] == pytest.approx([0.25] * 5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.4]


def test_a_loss_that_overflows_is_the_end_of_the_sweep():
    model = Parabola()
    with np.errstate(all="raise"):
        found = lr_find(
            model, (X, Y), lambda w, _: w**4, optim.SGD([model.w], lr=1.0), end=1e200, steps=50, divergence=1e300
        )  # fmt: skip
    assert np.isfinite(found.losses).all()
    assert len(found.lrs) < 50
    assert model.w.item() == 3.0


def test_the_chart():
    figure = lr_find(*parts()).plot()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert any("steepest" in text.get_text() for text in axes.get_legend().get_texts())


@pytest.mark.parametrize(
    "options",
    [{"start": 0}, {"start": 1, "end": 1}, {"end": np.inf}, {"steps": 1}, {"smoothing": 1}, {"divergence": 1}],
)
def test_values_that_are_not_possible(options):
    with pytest.raises(ArgumentError, match="lr_find"):
        lr_find(*parts(), **options)


def test_what_fit_refuses_is_refused():
    model, data, _, optimizer = parts()
    with pytest.raises(GradientError, match="inf"):
        lr_find(model, data, lambda p, t: LOSS(p, t) * np.inf, optimizer)
