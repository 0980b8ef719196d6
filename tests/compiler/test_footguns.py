"""What surprises about capturing, each as a test: what is refused, with the user's line, and what is to be known."""

import copy
import importlib.util
import math
import pickle
import random
import re
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn
from tinygrad_bc.errors import CaptureError, GradientError

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)


def rng(seed=0):
    return np.random.default_rng(seed)


W = tg.tensor(rng().normal(size=3), requires_grad=True, name="W")
GENERATOR = rng(1)


class Holder:
    def __init__(self):
        self.generator, self.W, self.last = rng(2), tg.tensor([1.0, 2.0, 3.0]), None

    def noise(self, x):
        return x + self.generator.normal(size=3)

    def replace(self, x):
        self.W = self.W - x
        return self.W

    def keep(self, x):
        self.last = x * 2
        return x


def while_loop(x):
    while x.sum() < 100:
        x = x * 2
    return x


def freeze(x):
    y = (W * x).sum()
    W.requires_grad_(False)
    return y + (W * x).sum()


def written(x):
    with tg.no_grad():
        x[0] = 1.0
    return x


def reassigned(x):
    global W
    W = W * x
    return W


def view_of_updated(x):
    before = x.detach()
    with tg.no_grad():
        x -= 1
    return before


def row_of_updated(x):
    with tg.no_grad():
        row = x.reshape(1, 3)
        x *= 2
    return row + 1


# --- what is refused: name, function of a tensor, whether the message shows the line ---------------------------

REFUSED = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: x * float(x.sum()),
    "int": lambda x: x[: int(x.sum())],
    "index": lambda x: [1, 2, 3][x.argmax()],
    "format": lambda x: f"{x.sum():.3f}",
    "print": lambda x: f"{x}",
    "bool": lambda x: x if x.sum() > 0 else -x,
    "and": lambda x: x.sum() and x,
    "in": lambda x: x.sum() in [1.0, 2.0],
    "while": while_loop,
    "data": lambda x: x * x.data,
    "numpy": lambda x: x * x.numpy(),
    "asarray": lambda x: x * np.asarray(x),
    "tolist": lambda x: tg.tensor(x.tolist()),
    "tensor": lambda x: tg.tensor(x) * 2,
    "mask": lambda x: x[x > 0].sum(),
    "setitem": written,
    "numpy function": lambda x: x * np.median(x),
    "numpy question": lambda x: x if np.allclose(x, 0) else -x,
    "copy": lambda x: copy.deepcopy(x) * 2,
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "iteration": lambda x: [y for y in x if y > 0],
    "requires_grad": freeze,
    "global random": lambda x: x + np.random.normal(size=3),
    "python random": lambda x: x + random.random(),
    "generator": lambda x: x + GENERATOR.normal(size=3),
    "view of what is updated": view_of_updated,
    "part of what is updated": row_of_updated,
}
PLACELESS = ("copy", "pickle", "global random", "python random", "generator")


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_captured_is_refused_where_it_is_written(name):
    x = tg.tensor([1.0, 2.0, 3.0])
    before = twins.frozen([x, W, GENERATOR]), random.getstate(), repr(np.random.get_state())
    with pytest.raises(CaptureError) as error:
        tg.compile(REFUSED[name])(x)
    if name not in PLACELESS:
        assert "test_footguns.py:" in str(error.value)
    after = twins.frozen([x, W, GENERATOR]), random.getstate(), repr(np.random.get_state())
    twins.assert_same(after[0], before[0], exact=True)
    assert after[1:] == before[1:]


NUMBERS_REFUSED = {
    "math": lambda x, c: x * math.exp(c),
    "format": lambda x, c: (f"{c:.2f}", x),
    "str": lambda x, c: (str(c), x),
    "array": lambda x, c: x * np.array([c, c, 1.0]),
    "tensor": lambda x, c: x * tg.tensor(c),
    "list": lambda x, c: x * tg.tensor([c, 1.0, 2.0]),
    "round": lambda x, c: x * round(c),
    "slope": lambda x, c: tg.ops.leaky_relu(x, c),
    "range": lambda x, c: x * len(range(int(c))),
}


@pytest.mark.parametrize("name", NUMBERS_REFUSED)
def test_a_number_that_is_passed_in_stays_no_constant(name):
    with pytest.raises(CaptureError, match=r"test_footguns\.py:"):
        tg.compile(NUMBERS_REFUSED[name])(tg.tensor([1.0, 2.0, 3.0]), 1.5)


@pytest.mark.parametrize("where", ["attribute", "method", "beside a layer that draws", "of a layer that draws"])
def test_random_numbers_of_ones_own_are_found_in_objects_too(where):
    holder, drop = Holder(), nn.Dropout(0.5, generator=rng(3))
    functions = {
        "attribute": lambda x: x + holder.generator.normal(size=3),
        "method": holder.noise,
        "beside a layer that draws": lambda x: drop(x) + np.random.normal(size=3),
        "of a layer that draws": lambda x: drop(x) + drop.generator.normal(size=3),
    }
    before = twins.frozen([holder.generator, drop.generator])
    with pytest.raises(CaptureError, match=r"(?i)random numbers"):
        tg.compile(functions[where])(tg.tensor([1.0, 2.0, 3.0]))
    assert twins.frozen([holder.generator, drop.generator]) == before


def test_variables_and_attributes_are_not_given_new_tensors():
    holder = Holder()
    held, before = holder.W, W
    for function in (reassigned, holder.replace, holder.keep):
        with pytest.raises(CaptureError, match="assigns something new to"):
            tg.compile(function)(tg.tensor([1.0, 2.0, 3.0]))
    assert holder.W is held
    assert holder.last is None
    assert W is before


CALLS = 0


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls, self.state, self.seen = 0, {"calls": 0}, []

    def forward(self, x):
        self.calls += 1
        return x * self.calls

    def attribute_of_a_variable(self, x):
        return self(x)

    def in_a_dictionary(self, x):
        self.state["calls"] += 1
        return x * self.state["calls"]

    def kept_in_a_dictionary(self, x):
        self.state["last"] = x * 2
        return x

    def kept_in_a_list(self, x):
        self.seen.append(x * 2)
        return x


def counted_globally(x):
    global CALLS
    CALLS += 1
    return x * CALLS


SCHEDULE = tg.optim.lr_scheduler.StepLR(tg.optim.SGD([W], lr=0.5), 1)


def counted_by_a_schedule(x):
    rate = SCHEDULE.last_epoch
    SCHEDULE.step()
    return x * rate


def carried_in_a_list():
    state = [tg.tensor(0.0)]

    def step(x):
        state[0] = state[0] + x.sum()
        return state[0]

    return step


CHANGES = {
    "attribute": (Counter(), "changes calls, a number from outside, from 0 to 1", "self.calls += 1"),
    "of a variable": (Counter().attribute_of_a_variable, "changes calls", "self.calls += 1"),
    "in a dictionary": (Counter().in_a_dictionary, "writes into state", 'self.state["calls"] += 1'),
    "kept in a dictionary": (Counter().kept_in_a_dictionary, "writes into state", 'self.state["last"] = x * 2'),
    "kept in a list": (Counter().kept_in_a_list, "writes into seen", "self.seen.append(x * 2)"),
    "carried in a list": (carried_in_a_list(), "writes into state", "state[0] = state[0] + x.sum()"),
    "global": (counted_globally, "changes CALLS", "CALLS += 1"),
    "by a schedule": (counted_by_a_schedule, "changes last_epoch", "rate = SCHEDULE.last_epoch"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_that_no_later_call_would_make_are_refused_and_taken_back(name):
    function, message, line = CHANGES[name]
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    before = copy.deepcopy(vars(owner)) if owner else CALLS
    with pytest.raises(CaptureError, match=message) as error:
        tg.compile(function)(tg.tensor([1.0, 2.0, 3.0]))
    assert re.search(rf"test_footguns\.py:\d+: {re.escape(line)}", str(error.value))
    assert (vars(owner) if owner else CALLS) == before
    assert (SCHEDULE.last_epoch, SCHEDULE.optimizer.param_groups[0]["lr"]) == (0, 0.5)


class Slotted:
    __slots__ = ("loss",)

    def __init__(self, loss):
        self.loss = loss


def one_by_one(x):
    yield x * 2


RETURNED = {
    "slots": lambda x: [1, Slotted((W * x).sum())],
    "set": lambda x: {(W * x).sum()},
    "generator": lambda x: (y * 2 for y in x),
    "generator function": lambda x: one_by_one(x),
    "map": lambda x: map(tg.exp, x),
}


@pytest.mark.parametrize("name", RETURNED)
def test_results_that_would_be_out_of_date_are_refused(name):
    with pytest.raises(CaptureError, match=r"returns an object of type (.|\n)*test_footguns\.py:\d+: \"") as error:
        tg.compile(RETURNED[name])(tg.tensor([1.0, 2.0, 3.0]))
    assert f'"{name}": lambda' in str(error.value)


def test_an_argument_that_is_a_variable_too_is_refused():
    with pytest.raises(CaptureError, match="W is passed to"):
        tg.compile(lambda x: x * W)(W)


def test_a_tensor_computed_before_cannot_be_differentiated_through():
    V = tg.tensor([1.0, 2.0], requires_grad=True)
    y = V * 2
    with pytest.raises(CaptureError, match="computed before the captured function was called"):
        tg.compile(lambda: (y * y).sum().backward())()
    assert V.grad is None


# --- what is to be known --------------------------------------------------------------------------------------


def test_results_have_no_history():
    loss = tg.compile(lambda x: (W * x).sum())(tg.tensor([1.0, 2.0, 3.0]))
    assert loss.is_leaf
    assert not loss.requires_grad
    with pytest.raises(GradientError):
        loss.backward()


def test_what_python_prints_is_printed_only_while_capturing(capsys):
    @tg.compile
    def step(x):
        print("called")
        return 2 * x

    for _ in range(3):
        step(tg.tensor([1.0]))
    assert capsys.readouterr().out == "called\n"


def test_a_generator_made_inside_draws_only_while_capturing():
    step = tg.compile(lambda x: x + np.random.default_rng().normal())
    x = tg.tensor([0.0])
    assert step(x).item() == step(x).item()  # nobody else can see it


def test_arrays_arrive_as_tensors_and_are_not_updated():
    @tg.compile
    def step(x):
        with tg.no_grad():
            x -= 1
        return x

    array = np.ones(2)
    for _ in range(2):
        np.testing.assert_array_equal(step(array).data, [0, 0])
    np.testing.assert_array_equal(array, [1, 1])  # [0, 0] without compiling


def test_containers_that_are_passed_in_are_others_inside():
    @tg.compile
    def step(batch):
        batch["y"] = batch["x"] * 2
        return batch["y"]

    batch = {"x": tg.tensor([1.0])}
    assert step(batch).item() == 2
    assert list(batch) == ["x"]  # with "y" without compiling


def test_a_number_that_is_passed_in_is_no_float_inside():
    def step(x, c):
        return x * c if isinstance(c, float) else x

    assert step(tg.tensor([1.0]), 2.0).item() == 2
    assert tg.compile(step)(tg.tensor([1.0]), 2.0).item() == 1


def test_whole_numbers_belong_to_the_structure():
    power = tg.compile(lambda x, n: x**n)
    assert [power(tg.tensor([2.0]), n).item() for n in (1, 2, 3, 2)] == [2, 4, 8, 4]
    assert len(power.programs) == 3


def test_numbers_are_checked_only_while_capturing():
    V = tg.tensor([1.0, 1.0], requires_grad=True)
    optimizer = tg.optim.SGD([V], lr=0.5)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        (V * x).sum().backward()
        optimizer.step()

    step(tg.tensor([1.0, 1.0]))
    step(tg.tensor([1.0, np.nan]))  # a GradientError without compiling
    np.testing.assert_array_equal(V.data, [0.0, np.nan] if V.data[0] == 0 else [V.data[0], np.nan])
