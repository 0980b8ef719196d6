"""What a captured function reads besides its arguments, and writes: seen wherever it is, or refused."""

import collections
import copy
import dataclasses
import functools
import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.compiler.variables import Reached, is_same, kept, restore
from tinygrad_bc.errors import CaptureError, IndexingError, LinAlgError

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)


@pytest.fixture(params=twins.WAYS)
def way(request):
    return request.param


def numbers(k, *shape):
    return np.random.default_rng(k).normal(size=shape)


def parameter(k, *shape):
    return tg.tensor(numbers(k, *shape), requires_grad=True)


CALLS = [lambda k=k: (tg.tensor(numbers(k, 4, 3)),) for k in range(7)]


class Thing:
    """Anything that has attributes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)


class Layer:
    """A layer as one writes it without a base class."""

    factor = 2.0

    def __init__(self, k):
        self.W, self.scale, self.is_on = parameter(k, 3, 3), 1.0, True

    @property
    def scaled(self):
        return self.W * self.scale

    def helper(self, x):
        return tg.tanh(x @ self.scaled)

    def __call__(self, x):
        return self.helper(x) * self.factor if self.is_on else x

    def by_name(self, x):
        return x @ getattr(self, "W") * vars(self)["scale"]  # noqa: B009

    def by_a_name_that_is_made(self, x):
        return x @ getattr(self, "".join("W")) * self.factor

    def by_class(self, x):
        return x @ self.W * type(self).factor * Layer.factor


class Slots:
    __slots__ = ("rate",)

    def __init__(self):
        self.rate = 0.5


# --- what is read: from where, and what changes it --------------------------------------------------------------


def layers_in_a_list():
    layers = [Layer(0), Layer(1)]

    def step(x):
        for layer in layers:
            x = layer(x)
        return x

    return twins.world(step=step, layers=lambda: layers)


def layers_in_attributes():
    net = Thing(parts={"a": Layer(0), "b": (Layer(1), [Layer(2)])})

    def step(x):
        return net.parts["b"][1][0](net.parts["a"](x))

    return twins.world(step=step, layers=lambda: [net.parts["a"], net.parts["b"][1][0]])


def a_method(name):
    def make():
        layer = Layer(0)
        return twins.world(step=getattr(layer, name), layers=lambda: [layer, layer])

    return make


def a_helper_that_is_given_an_object():
    layers = [Layer(0), Layer(1)]

    def apply(layer, x):
        return layer.helper(x) * layer.factor if layer.is_on else x

    def step(x):
        return apply(layers[1], apply(layers[0], x))

    return twins.world(step=step, layers=lambda: layers)


WORLDS = {
    "list": layers_in_a_list,
    "attributes": layers_in_attributes,
    "helper": a_helper_that_is_given_an_object,
    "method": a_method("helper"),
    "itself": a_method("__call__"),
    "by name": a_method("by_name"),
    "by a name that is made": a_method("by_a_name_that_is_made"),
    "class": a_method("by_class"),
}


@pytest.mark.parametrize("name", WORLDS)
def test_attributes_are_seen_wherever_the_object_is(name, way):
    between = {
        1: lambda w: setattr(w.layers()[0], "W", parameter(8, 3, 3)),
        2: lambda w: setattr(w.layers()[1], "scale", 2.0),
        3: lambda w: setattr(w.layers()[0], "is_on", False),
        4: lambda w: setattr(w.layers()[1], "factor", 3.0),
        5: lambda w: w.layers()[1].W.data.__imul__(2),
    }
    twins.assert_twins_agree(WORLDS[name], way, CALLS, between)


def test_variables_of_classes_and_slots_are_seen(way):
    def make():
        class Settings:
            rate = 2.0

        class Net(Layer):
            pass

        net, slots = Net(0), Slots()
        step = lambda x: net(x) * Settings.rate * slots.rate  # noqa: E731
        return twins.world(step=step, settings=lambda: Settings, cls=lambda: Net, slots=lambda: slots)

    between = {
        1: lambda w: setattr(w.settings(), "rate", 3.0),
        2: lambda w: setattr(w.cls(), "factor", 5.0),
        3: lambda w: setattr(w.slots(), "rate", 7.0),
    }
    twins.assert_twins_agree(make, way, CALLS, between)


def test_what_containers_hold_is_seen_to_the_bottom(way):
    def make():
        W, some = parameter(0, 3), {"parameters": [parameter(1, 3), {"b": parameter(2, 3)}]}
        options = {"rate": {"first": 0.1}, "powers": [1, (2, [3])]}

        def step(x):
            first, other = some["parameters"]
            y = (x @ W) * options["rate"]["first"] + (x @ first) ** options["powers"][1][1][0]
            return y + x @ other["b"]

        return twins.world(step=step, some=some, options=options)

    between = {
        1: lambda w: w.options["rate"].update(first=0.5),
        2: lambda w: w.options["powers"][1][1].__setitem__(0, 2),
        3: lambda w: w.some["parameters"].__setitem__(0, parameter(5, 3)),
        4: lambda w: w.some["parameters"][1].update(b=parameter(6, 3)),
        5: lambda w: w.some.update(parameters=list(w.some["parameters"])),  # which is the same
    }
    step = twins.assert_twins_agree(make, way, CALLS, between)
    assert len(step.programs) == 5


def test_defaults_and_what_is_bound_are_seen(way):
    def make():
        W, b, settings, more = parameter(0, 3), parameter(1, 3), {"rate": 2.0}, [1.0, 2.0]

        def function(W, x, b, settings, more=more, *, last=settings):
            return (W * x + b) * settings["rate"] * more[1] * last["rate"]

        step = functools.partial(function, W, b=b, settings=settings)
        return twins.world(step=step, settings=settings, more=more, b=b)

    between = {
        1: lambda w: w.settings.update(rate=3.0),
        2: lambda w: w.more.__setitem__(1, 5.0),
        3: lambda w: w.b.__setattr__("data", np.ones(3)),
    }
    twins.assert_twins_agree(make, way, CALLS, between)


def test_layers_that_are_replaced_or_set_otherwise_are_seen(way):
    class Net(nn.Module):
        def __init__(self):
            self.first, self.blocks = nn.Linear(3, 4, generator=0), nn.ModuleList([nn.Linear(4, 4, generator=1)])
            self.norm, self.drop = nn.BatchNorm1d(4, momentum=None), nn.Dropout(0.5, generator=2)
            self.activation = tg.tanh

        def forward(self, x):
            x = self.norm(self.first(x))
            for block in self.blocks:
                x = self.activation(block(x))
            return self.drop(x)

    def make():
        net = Net()

        def step(x):
            net.zero_grad()
            net(x).square().mean().backward()
            with tg.no_grad():
                for p in net.parameters():
                    p -= 0.1 * p.grad
            return net(x)

        return twins.world(step=step, net=net)

    between = {
        1: lambda w: setattr(w.net.norm, "momentum", 0.3),
        2: lambda w: setattr(w.net, "activation", tg.sigmoid),
        3: lambda w: setattr(w.net.blocks, "0", nn.Linear(4, 4, generator=7)),
        4: lambda w: setattr(w.net, "first", nn.Linear(3, 4, generator=8)),
        5: lambda w: (setattr(w.net.norm, "eps", 0.1), setattr(w.net.drop, "p", 0.2)),
    }
    twins.assert_twins_agree(make, way, CALLS, between)


def test_numpy_may_compute_with_arrays_from_outside(way):
    def make():
        array, table = numbers(5, 3), {"mean": numbers(6, 3)}
        return twins.world(step=lambda x: x * np.exp(array) - table["mean"] / 2, array=array, table=table)

    between = {1: lambda w: w.array.__imul__(2), 3: lambda w: w.table["mean"].__setitem__(0, 9.0)}
    twins.assert_twins_agree(make, way, CALLS, between, programs=3)


def test_an_array_that_is_used_as_it_is_may_change_all_the_time(way):
    def make():
        array = numbers(5, 3)
        return twins.world(step=lambda x: x * array, array=array)

    def make_view():
        array = numbers(5, 3, 4)
        return twins.world(step=lambda x: x * array.T, array=array)

    between = {k: lambda w: w.array.__imul__(2) for k in range(1, 7)}
    twins.assert_twins_agree(make, way, CALLS, between, programs=1)
    twins.assert_twins_agree(make_view, way, CALLS, between, programs=1)


def test_rates_read_by_hand_are_seen(way):
    def make():
        W = parameter(0, 3)
        optimizer = optim.SGD([W], lr=0.5)

        def step(x):
            for group in optimizer.param_groups:
                gradients = tg.grad((x @ W).square().sum(), group["params"])
                with tg.no_grad():
                    for p, g in zip(group["params"], gradients):
                        p -= group["lr"] * g

        return twins.world(step=step, W=W, optimizer=optimizer)

    between = {2: lambda w: w.optimizer.param_groups[0].update(lr=0.1)}
    twins.assert_twins_agree(make, way, CALLS, between, programs=2)


def test_a_schedule_inside_is_no_change_if_only_parameters_are_read(way):
    def make():
        W = parameter(0, 3)
        optimizer = optim.SGD([W], lr=0.5)
        schedule = optim.lr_scheduler.ExponentialLR(optimizer, 0.5)

        def step(x):
            optimizer.zero_grad()
            (x @ W).square().sum().backward()
            for group in optimizer.param_groups:
                for p in group["params"]:
                    p.grad = p.grad.clip(-1, 1)
            optimizer.step()
            schedule.step()

        return twins.world(step=step, W=W, optimizer=optimizer, schedule=schedule)

    twins.assert_twins_agree(make, way, CALLS, programs=1)


def test_modes_that_are_switched_inside_are_switched_at_every_call(way):
    def make():
        net = nn.Sequential(nn.Linear(3, 4, generator=0), nn.BatchNorm1d(4), nn.Dropout(0.5, generator=1))

        def step(x):
            first = net.train()(x)
            with tg.no_grad():
                return first, net.eval()(x)

        return twins.world(step=step, net=net)

    twins.assert_twins_agree(make, way, CALLS, {3: lambda w: w.net.train()}, programs=1)


# --- what is written --------------------------------------------------------------------------------------------

COUNT, LOSSES, TABLE, STATE = 0, [], {"n": 0}, [tg.tensor([1.0, 2.0, 3.0])]
ARRAY, ITERATOR, HOLDER = np.zeros(3), iter([1.0, 2.0, 3.0]), Thing(n=1, kept=[], inner=[Thing(last=None)])


def counted(x):
    global COUNT
    COUNT += 1
    return x / COUNT


def counted_in_an_attribute(x):
    HOLDER.n += 1
    return x * HOLDER.n


def counted_in_a_dictionary(x):
    TABLE["n"] += 1
    return x * TABLE["n"]


def collected(x):
    LOSSES.append(x.sum())
    return x


def collected_in_an_attribute(x):
    HOLDER.kept.append(1)
    return x


def carried_on(x):
    STATE[0] = STATE[0] * x
    return STATE[0]


def kept_in_an_object(x):
    for thing in HOLDER.inner:
        thing.last = x * 2
    return x


def written_with_numpy(x):
    ARRAY[0] += 1
    return x * ARRAY


def next_item(x):
    return x * next(ITERATOR)


WRITTEN = {
    "COUNT": counted,
    "n": counted_in_an_attribute,
    "TABLE": counted_in_a_dictionary,
    "LOSSES": collected,
    "kept": collected_in_an_attribute,
    "STATE": carried_on,
    "last": kept_in_an_object,
    "ARRAY": written_with_numpy,
    "ITERATOR": next_item,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_would_be_written_only_once_is_refused(name):
    def state():
        return twins.frozen([COUNT, LOSSES, TABLE, STATE, ARRAY, HOLDER.n, HOLDER.kept, HOLDER.inner[0].last])

    before = state()
    with pytest.raises(CaptureError, match=rf"(?s)\b{name}\b.*test_variables\.py:\d+: .*{name}"):
        tg.compile(WRITTEN[name])(tg.tensor([1.0, 2.0, 3.0]))
    twins.assert_same(state(), before, exact=True)


@dataclasses.dataclass
class Pair:
    first: object
    second: object = None


def written_field(pair):
    pair.first = 2 * pair.first
    return pair.first


def test_a_field_of_an_argument_is_not_written():
    with pytest.raises(CaptureError, match=r"(?s)first of Pair.*test_variables\.py:\d+: pair\.first = "):
        tg.compile(written_field)(Pair(np.ones(3)))


def test_hooks_do_not_collect():
    W, norms = parameter(0, 3), []
    W.register_hook(lambda g: norms.append(g.square().sum()))
    with pytest.raises(CaptureError, match=r"(?s)norms.*test_variables\.py"):
        tg.compile(lambda x: (x * W).sum().backward())(np.ones(3))
    assert norms == []
    assert W.grad is None


def test_a_failure_takes_back_what_python_did():
    log, fail = [], True

    def step(x):
        log.append("called")
        if fail:
            raise KeyError("missing")
        return x

    with pytest.raises(KeyError):
        tg.compile(step)(np.ones(3))
    assert log == []


@pytest.mark.parametrize("first", ["none", "flag", "cache", "attribute"])
def test_what_the_first_call_initialises_the_second_finds(first, way):
    def make():
        holder, cache = Thing(mask=None, is_ready=False), {}

        def step(x):
            if first == "none" and holder.mask is None:
                holder.mask = np.tril(np.ones((3, 3)))
                return x
            if first == "flag" and not holder.is_ready:
                holder.is_ready = True
                return x
            if first == "cache" and x.shape not in cache:
                cache[x.shape] = np.ones(3)
                return x
            if first == "attribute" and not hasattr(holder, "scale"):
                holder.scale = tg.tensor(2.0)
                return x
            return 3 * x

        return twins.world(step=step, holder=vars(holder), cache=list(cache))

    twins.assert_twins_agree(make, way, CALLS, programs=1)


@pytest.mark.parametrize("generator", [np.random.default_rng(0), np.random.RandomState(0), random.Random(0)])
@pytest.mark.parametrize("place", ["variable", "dictionary", "attribute"])
def test_random_numbers_of_ones_own_are_found_in_containers(generator, place):
    holder, generators = Thing(source=Thing(generator=generator)), {"noise": [generator]}
    draw = (lambda g: g.random()) if isinstance(generator, random.Random) else (lambda g: g.normal())
    functions = {
        "variable": lambda x: x * draw(generator),
        "dictionary": lambda x: x * draw(generators["noise"][0]),
        "attribute": lambda x: x * draw(holder.source.generator),
    }
    following = draw(copy.deepcopy(generator))
    with pytest.raises(CaptureError, match=r"(?s)random numbers.*test_variables\.py"):
        tg.compile(functions[place])(np.ones(3))
    assert draw(generator) == following


# --- what is passed and returned --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Batch:
    x: np.ndarray
    y: np.ndarray
    weights: dict
    name: str = "train"


@dataclasses.dataclass
class Output:
    loss: object
    others: list


def test_dataclasses_are_taken_apart(way):
    def make():
        W = parameter(0, 3)

        def step(batch):
            loss = ((batch.x @ W - batch.y) * batch.weights["w"]).square().mean()
            (g,) = tg.grad(loss, [W])
            with tg.no_grad():
                W.__isub__(0.1 * g)
            return Output(loss, [g, batch.name])

        return twins.world(step=step, W=W)

    with twins.compiled_for(way):
        eager, fast = make(), make()
        step = tg.compile(fast.step, **twins.WAYS[way])
        kept = []
        for k in range(5):
            batch = Batch(numbers(k, 4, 3), numbers(k + 9, 4), {"w": 0.5 + k}, "a" if k < 3 else "b")
            expected, found = eager.step(batch), step(batch)
            kept.append(found)
            assert type(found) is Output
            np.testing.assert_allclose(found.loss.data, expected.loss.data, rtol=1e-12)
            np.testing.assert_allclose(found.others[0].data, expected.others[0].data, rtol=1e-12)
            assert found.others[1] == batch.name
            np.testing.assert_allclose(fast.W.data, eager.W.data, rtol=1e-12)
    assert len({id(x) for x in kept}) == 5
    assert len(step.programs) == 2


def test_kinds_of_dictionaries_are_kept():
    def step(x):
        lists = collections.defaultdict(list)
        lists["a"].append(2 * x)
        return collections.OrderedDict(y=x + 1), lists

    fast = tg.compile(step)
    for k in range(3):
        first, lists = fast(numbers(k, 3))
        assert (type(first), type(lists), lists["none"]) == (collections.OrderedDict, collections.defaultdict, [])
        np.testing.assert_array_equal(lists["a"][0].data, 2 * numbers(k, 3))


@pytest.mark.parametrize(
    "returned",
    [
        lambda y: Thing(y=y),
        lambda y: collections.deque([y]),
        lambda y: lambda: y,
        lambda y: functools.partial(tg.exp, y),
        lambda y: iter([y]),
        lambda y: [1, {"a": Thing(inner=Thing(y=[y]))}],
    ],
)
def test_objects_that_hold_computed_tensors_are_not_returned(returned):
    with pytest.raises(CaptureError, match=r"(?s)would be the same object at every call.*test_variables\.py"):
        tg.compile(lambda x: returned(2 * x))(np.ones(3))


def test_other_objects_are_returned_as_they_are():
    model, things = nn.Linear(3, 1, generator=0), Thing(a=1)
    fast = tg.compile(lambda x: (model(x), model, things, range(3)))
    for _ in range(2):
        assert fast(np.ones(3))[1:] == (model, things, range(3))


# --- failures of later calls ------------------------------------------------------------------------------------


def test_a_failing_operation_is_told_with_its_line(way):
    W = parameter(0, 4, 3)
    with twins.compiled_for(way):
        looked_up = tg.compile(lambda i: W[i].sum(), **twins.WAYS[way])
        scored = tg.compile(lambda y: nn.functional.cross_entropy(W, y), **twins.WAYS[way])
        factored = tg.compile(lambda K: tg.cholesky(K).sum(), **twins.WAYS[way])
        looked_up(np.array([0, 1]))
        scored(np.array([0, 1, 2, 0]))
        factored(np.eye(2))
        for call, kind, words in [
            (lambda: looked_up(np.array([0, 7])), IndexingError, "index 7.*looked_up = "),
            (lambda: scored(np.array([0, 1, 5, 0])), IndexingError, "class 5.*scored = "),
            (lambda: factored(-np.eye(2)), LinAlgError, "not positive definite.*factored = "),
        ]:
            with pytest.raises(kind, match=rf"(?s){words}") as error:
                call()
            assert "test_variables.py:" in str(error.value)


# --- the parts --------------------------------------------------------------------------------------------------


def test_contents_are_compared_and_put_back():
    inner = [1, {"a": 2.0}]
    for thing, change in [
        ({"a": 1, "b": inner}, lambda x: x["b"][1].update(a=3.0)),
        ({"a": 1}, lambda x: x.update(b=2)),
        ([1, 2, 3], lambda x: x.pop()),
        ({1, 2}, lambda x: x.add(3)),
        (collections.deque([1, 2], maxlen=2), lambda x: x.append(3)),
        ((1, [2]), lambda x: x[1].append(3)),
        (np.array([1.0, np.nan]), lambda x: x.__setitem__(0, 2.0)),
    ]:
        before, copied = kept(thing), repr(thing)
        assert is_same(thing, before)
        change(thing)
        assert not is_same(thing, before)
        assert restore(before) is thing
        assert repr(thing) == copied
        assert is_same(thing, before)


def test_a_container_may_hold_itself():
    cycle = [1]
    cycle.append(cycle)
    assert is_same(cycle, kept(cycle))
    assert tg.compile(lambda x: x * cycle[0])(np.ones(2)).shape == (2,)


def test_kinds_of_numbers_are_told_apart():
    assert not is_same(True, 1)
    assert not is_same(1.0, 1)
    assert is_same([1.5, "a"], kept([1.5, "a"]))
    assert is_same(float("nan"), kept(float("nan"))) is False


def test_names_lead_to_places():
    holder = Thing(inner=Thing(rate=1.0, other=2.0), unused=3.0)

    def function():
        return holder.inner.rate

    assert {place.name for place in Reached(function, []).places.values()} == {"holder", "inner", "rate"}
