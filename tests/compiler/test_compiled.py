"""The compiled function as an object: how it is made, what it keeps, and how it behaves among others."""

import copy
import importlib.util
import pickle
import re
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc import nn, optim
from tinygrad_bc.errors import ArgumentError, CaptureError

spec = importlib.util.spec_from_file_location("twins", Path(__file__).parent / "twins.py")
twins = importlib.util.module_from_spec(spec)
spec.loader.exec_module(twins)


@pytest.fixture(params=list(twins.WAYS))
def way(request):
    return request.param


def parameter(*data):
    return tg.tensor(list(data), requires_grad=True)


def descent(W, rate=0.1):
    def step():
        loss = W.square().sum()
        (g,) = tg.grad(loss, [W])
        with tg.no_grad():
            W.__isub__(rate * g)
        return loss

    return step


def test_a_decorator_with_and_without_parentheses():
    @tg.compile
    def plain(x):
        """Double."""
        return 2 * x

    @tg.compile(target="numpy", simplify=False, steps=2)
    def called(x):
        return 3 * x

    x = tg.tensor([1.0])
    assert [plain(x).item(), plain(x).item(), called(x).item()] == [2, 2, 3]
    assert (plain.__name__, plain.__doc__) == ("plain", "Double.")
    assert repr(called) == "<compiled called for numpy, 1 program>"


def test_methods_are_compiled_for_each_object():
    class Scale:
        def __init__(self, factor):
            self.factor = tg.tensor([factor])

        @tg.compile
        def forward(self, x):
            return x * self.factor

    two, three, x = Scale(2.0), Scale(3.0), tg.tensor([5.0])
    assert [scale.forward(x).item() for scale in (two, three, two, three)] == [10, 15, 10, 15]
    two.factor = tg.tensor([4.0])
    assert [two.forward(x).item(), three.forward(x).item()] == [20, 15]


def test_bad_requests_are_refused():
    wrong = (
        ({"target": "fortran"}, "fortran"),
        ({"steps": 0}, "steps=0"),
        ({"steps": 1.5}, "1.5"),
        ({"steps": True}, "True"),
    )
    for options, message in wrong:
        with pytest.raises(ArgumentError, match=message):
            tg.compile(abs, **options)
    with pytest.raises(ArgumentError, match="function"):
        tg.compile(3)
    with pytest.raises(CaptureError, match="not called yet"):
        _ = tg.compile(lambda: None).program
    with pytest.raises(ArgumentError, match=r"tg\.compile\(target='c'\)"):
        tg.compile("c")
    with pytest.raises(ArgumentError, match="which is a result"):
        tg.compile(tg.tensor(1.0))
    double = tg.compile(lambda x, *, twice=True: 2 * x if twice else x)
    with pytest.raises(TypeError, match=r"<lambda>\(x, \*, twice=True\): missing a required argument: 'x'"):
        double()
    with pytest.raises(ArgumentError, match=r"how many steps first.*got tensor"):
        double.loop(tg.tensor(1.0))
    assert double.loop(np.int64(2), tg.tensor(1.0)).item() == 2


def test_what_does_its_work_after_the_call_is_refused():
    def one_by_one(x):
        yield x

    async def later(x):
        return x

    async def one_by_one_later(x):
        yield x

    for function in (one_by_one, later, one_by_one_later):
        with pytest.raises(ArgumentError, match=rf"{function.__name__} is an? (.|\n)*test_compiled\.py:\d+: "):
            tg.compile(function)


def test_functions_without_a_signature_are_compiled():
    assert tg.compile(dict)(a=tg.tensor(1.0))["a"].item() == 1


def doubled(x):
    return 2 * x


by_name = tg.compile(doubled)


@tg.compile
def decorated(x):
    return 2 * x


def test_copies_and_pickles_are_what_they_were_made_of():
    factor, x = tg.tensor(2.0), tg.tensor([3.0])
    scaled = tg.compile(lambda x: x * factor, steps=2)
    scaled(x)
    for other in (copy.copy(scaled), copy.deepcopy(scaled)):
        assert (other.programs, other(x).item()) == ([], 6)
        assert repr(other) == "<compiled <lambda> for numpy, 1 program>"
    for compiled in (by_name, decorated):
        compiled(x)
        assert pickle.loads(pickle.dumps(compiled))(x).item() == 6
    assert copy.deepcopy(decorated) is decorated  # which is found again by name, as functions are


def test_programs_introduce_themselves():
    step = tg.compile(lambda x, rate: x * rate + 1)
    step(tg.tensor([1.0]), 0.5)
    assert repr(step.program) == "<program <lambda>(x, rate), 2 operations>"


@pytest.mark.parametrize("steps", [1, 3])
def test_inside_detect_anomaly_the_function_itself_runs(steps):
    W = parameter(1.0, 1.0)

    @tg.compile(steps=steps)
    def step(x):
        (g,) = tg.grad(tg.log(W * x).sum(), [W])
        with tg.no_grad():
            W.__isub__(0.1 * g)
        return W.sum()

    step(np.array([1.0, 2.0]))
    before = W.tolist()
    with tg.detect_anomaly(), pytest.raises(tg.errors.AnomalyError, match=r"`log` made the first NaN.*(.|\n)*W \* x"):
        step(np.array([1.0, -2.0]))
    assert W.tolist() == before
    with tg.detect_anomaly():
        step(np.array([1.0, 2.0]))
    assert W.tolist() != before


def test_detect_anomaly_belongs_around_the_call():
    def step(x):
        with tg.detect_anomaly():
            return tg.log(x)

    with pytest.raises(CaptureError, match=r"around the call (.|\n)*test_compiled\.py:\d+: with tg\.detect_anomaly"):
        tg.compile(step)(tg.tensor(1.0))


@pytest.mark.parametrize("target", ["numpy", "c"])
def test_an_interrupted_loop_has_done_whole_steps(target):
    """The counts of the optimiser and the schedule, which Python keeps, agree with what the program has done."""
    W = parameter(0.0)
    optimizer = optim.SGD([W], lr=1.0)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)

    @tg.compile(target=target)
    def step():
        optimizer.zero_grad()
        loss = W.sum()
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss

    step()
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        step.loop(10**9)
    timer.join()
    assert schedule.last_epoch == -W.item() > 2
    step()
    assert schedule.last_epoch == -W.item()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_several_steps_in_a_call_are_as_many_calls(steps, way):
    def make():
        W = parameter(1.0, 2.0)
        return twins.world(W=W, step=descent(W))

    twins.assert_twins_agree(make, way, calls=3, steps=steps, programs=1)


def test_a_bounded_number_of_programs_is_kept(way):
    with twins.compiled_for(way):
        total = tg.compile(lambda x: (2 * x).sum(), **twins.WAYS[way])
        for n in (*range(1, 18), 1, 17, 2):
            assert total(np.ones(n)).item() == 2 * n
        assert len(total.programs) == 16


def test_states_that_come_again_do_not_capture_again(way):
    with twins.compiled_for(way):
        factor = 1.0

        @tg.compile(**twins.WAYS[way])
        def scaled(x):
            return x * factor

        for k in range(12):
            factor = float(k % 3)
            assert scaled(tg.tensor([2.0])).item() == 2 * factor
        assert len(scaled.programs) == 3


@pytest.mark.parametrize("steps", [1, 3])
def test_compiled_functions_inside_others(steps, way):
    def make():
        W = parameter(1.0, 2.0)
        inner = tg.compile(descent(W), simplify=False, steps=steps)
        return twins.world(W=W, step=lambda: (inner(), inner(), W.sum()))

    twins.assert_twins_agree(make, way, calls=3, programs=1)


def test_a_variable_of_a_compiled_function_inside_another_is_looked_at(way):
    with twins.compiled_for(way):
        factor = 2.0
        inner = tg.compile(lambda x: x * factor)
        outer = tg.compile(lambda x: inner(x) + 1, **twins.WAYS[way])
        x = tg.tensor([1.0])
        assert [outer(x).item(), outer(x).item()] == [3, 3]
        factor = 5.0
        assert outer(x).item() == 6


def test_a_failure_while_capturing_is_followed_by_a_success(way):
    with twins.compiled_for(way):
        W, fail = parameter(1.0, 2.0), True

        @tg.compile(**twins.WAYS[way])
        def step():
            W.grad = None
            W.square().sum().backward()
            with tg.no_grad():
                W.__isub__(0.1 * W.grad)
            if fail:
                raise KeyError("missing")

        with pytest.raises(KeyError, match="missing"):
            step()
        assert W.grad is None
        np.testing.assert_array_equal(W.data, [1.0, 2.0])
        assert step.programs == []
        fail = False
        step(), step()
        np.testing.assert_allclose(W.data, [0.64, 1.28], rtol=1e-12)


def test_a_capture_in_one_thread_leaves_others_alone(way):
    W, V = parameter(1.0, 2.0), parameter(3.0)
    inside, done = threading.Event(), threading.Event()
    seen = []

    def slow():
        inside.set()
        assert done.wait(10)
        return W.sum()

    def meanwhile():
        assert inside.wait(10)
        y = (V * 2).sum()
        y.backward()
        seen.extend([y.item(), V.grad.item(), float(V.data[0])])
        done.set()

    with twins.compiled_for(way):
        other = threading.Thread(target=meanwhile)
        other.start()
        try:
            assert tg.compile(slow, **twins.WAYS[way])().item() == 3
        finally:
            done.set()
            other.join()
    assert seen == [6, 2, 3]


def test_calls_from_two_threads_take_turns(way):
    with twins.compiled_for(way):
        total = parameter(0.0)

        @tg.compile(**twins.WAYS[way])
        def add(x):
            with tg.no_grad():
                total.__iadd__(x)

        errors = []

        def work():
            try:
                for _ in range(50):
                    add(tg.tensor([1.0]))
            except Exception as error:
                errors.append(error)

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert errors == []
    assert total.item() == 100


def test_the_program_can_be_read():
    W = tg.tensor([1.0, 2.0], requires_grad=True, name="W")
    optimizer = optim.SGD([W], lr=0.5)

    @tg.compile
    def step(x):
        optimizer.zero_grad()
        loss = (W * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    step(tg.tensor([1.0, 1.0]))
    text = str(step.program)
    assert text.splitlines()[0].startswith("step(x, lr, W)")
    assert "loss = " in text
    assert "W ← new_W" in text


def test_constants_are_shown_where_they_are_used():
    step = tg.compile(lambda x: (x * tg.tensor([1.0, 0.0]) + tg.tensor(0.5)).sum())
    step(tg.tensor([1.0, 1.0]))
    text = str(step.program)
    assert re.search(r"%\d+ = constant +2 float64", text)
    assert re.search(r"%\d+ = 0\.5 +scalar float64", text)


def test_compiling_twice_shares_parameters(way):
    with twins.compiled_for(way):
        model = nn.Linear(2, 1, generator=np.random.default_rng(0))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        x = tg.tensor([[1.0, 2.0]])

        @tg.compile(**twins.WAYS[way])
        def train():
            optimizer.zero_grad()
            model(x).sum().backward()
            optimizer.step()

        predict = tg.compile(lambda x: model(x), **twins.WAYS[way])
        for _ in range(4):
            train()
            np.testing.assert_allclose(predict(x).data, model(x).data, rtol=1e-12)
            assert predict(x).data.shape == (1, 1)
