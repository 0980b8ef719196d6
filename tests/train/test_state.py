import functools
import sys

import numpy as np
import pytest

from tinygrad_bc import nn
from tinygrad_bc.errors import MissingDependencyError
from tinygrad_bc.train import Checkpoint, Progress
from tinygrad_bc.train.state import generators, preserved

of_the_module = np.random.default_rng(8)


class Slotted:
    __slots__ = ("empty", "rng")

    def __init__(self, rng):
        self.rng = rng

    def draw(self):
        return self.rng.random()


def test_generators_are_found_where_they_hide():
    a, b, c, d, e, f = (np.random.default_rng(i) for i in range(6))
    held = {
        "list": [1.0, (a, "text")],
        "slots": Slotted(b),
        "method": Slotted(c).draw,
        "partial": functools.partial(max, d),
    }
    held["itself"] = held

    def augment(batch, rng=e):
        return batch + rng.normal() + f.normal() + of_the_module.normal()

    found = generators(held=held, augment=augment, again=a, model=nn.Dropout(0.5, generator=7))
    assert found["held.list.1.0"] is a
    assert set(found.values()) >= {a, b, c, d, e, f, of_the_module}
    assert len(found) == 8  # each once
    assert found["model.generator"].random() == np.random.default_rng(7).random()


def test_a_variable_without_a_value_is_passed_over():
    def uses():
        return later

    assert generators(uses=uses) == {}
    later = 1


def test_paths_are_the_same_in_every_run():
    make = lambda: nn.Sequential(nn.Dropout(generator=1), nn.Sequential(nn.Dropout(generator=2)))  # noqa: E731
    assert (
        list(generators(model=make())) == list(generators(model=make())) == ["model.0.generator", "model.1.0.generator"]
    )


def test_what_a_block_changes_is_put_back():
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(generator=3))
    model[1].eval()
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(5, 2))
    with preserved(model):
        model.train()
        model(x).sum().backward()
        model[0].weight.data[...] = 9
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
    assert [module.training for module in model.modules()] == [True, True, False]
    assert all(parameter._grad is None for parameter in model.parameters())
    assert model[1].generator.random() == np.random.default_rng(3).random()


@pytest.mark.parametrize(
    ("package", "use", "extra"),
    [("rich", Progress, "train"), ("safetensors", lambda: Checkpoint("nowhere"), "train")],
)
def test_a_missing_package_is_named_with_what_installs_it(monkeypatch, package, use, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=rf'pip install "tinygrad_bc\[{extra}\]"'):
        use()


def test_scikit_learn_is_needed_for_the_estimator_alone(monkeypatch):
    import tinygrad_bc.train

    monkeypatch.delitem(sys.modules, "tinygrad_bc.train.estimator", raising=False)
    monkeypatch.delattr(tinygrad_bc.train, "estimator", raising=False)
    monkeypatch.setitem(sys.modules, "sklearn.base", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_bc\[data\]"):
        tinygrad_bc.train.TrainedClassifier  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        tinygrad_bc.train.Nothing  # noqa: B018
