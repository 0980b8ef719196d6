"""The chain rule: values against closed forms, and the traps that catch engines of this kind."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

import tinygrad_bc as tg
from tinygrad_bc.errors import DTypeError, GradientError, GradientWarning, IndexingError, ShapeError
from tinygrad_bc.primitive import REGISTRY, Sample, primitive


def leaf(data, name=None, dtype=None):
    return tg.tensor(data, requires_grad=True, name=name, dtype=dtype)


def gradient_of(y, *inputs):
    return [g.data for g in tg.grad(y, inputs)]


# --- values ----------------------------------------------------------------------------------------


def test_the_derivative_of_x_squared_at_3_and_minus_2():
    for at, slope in ((3.0, 6.0), (-2.0, -4.0)):
        x = leaf(at)
        (x**2).backward()
        assert x.grad.item() == slope


def test_second_and_third_derivatives():
    x = leaf([0.5, -1.5, 2.0])
    (first,) = tg.grad((x**4).sum(), x, create_graph=True)
    (second,) = tg.grad(first.sum(), x, create_graph=True)
    (third,) = tg.grad(second.sum(), x, create_graph=True)
    (fourth,) = tg.grad(third.sum(), x)
    np.testing.assert_allclose(first.data, 4 * x.data**3)
    np.testing.assert_allclose(second.data, 12 * x.data**2)
    np.testing.assert_allclose(third.data, 24 * x.data)
    np.testing.assert_allclose(fourth.data, [24, 24, 24])


def test_third_derivative_of_tanh():
    x = leaf(0.3)
    (first,) = tg.grad(tg.tanh(x), x, create_graph=True)
    (second,) = tg.grad(first, x, create_graph=True)
    (third,) = tg.grad(second, x)
    t = np.tanh(0.3)
    assert second.item() == pytest.approx(-2 * t * (1 - t**2), rel=1e-14)
    assert third.item() == pytest.approx((1 - t**2) * (6 * t**2 - 2), rel=1e-14)


def test_diamond_that_shares_an_interior_node():
    x = leaf(1.5)
    w = x * x
    y = w + w
    z = y * w  # z = 2 x⁴
    z.backward()
    assert x.grad.item() == pytest.approx(8 * 1.5**3)


def test_same_tensor_twice_in_one_operation():
    x = leaf([2.0, 3.0])
    (x * x).backward(np.ones(2))
    np.testing.assert_array_equal(x.grad.data, [4.0, 6.0])
    a = leaf([[1.0, 2.0], [3.0, 4.0]])
    (a @ a).sum().backward()
    ones = np.ones((2, 2))
    np.testing.assert_array_equal(a.grad.data, ones @ a.data.T + a.data.T @ ones)


def test_repeated_indices_accumulate():
    x = leaf([1.0, 2.0, 3.0])
    x[[0, 0, 2]].sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 0.0, 1.0])


@pytest.mark.parametrize(
    ("function", "at", "expected"),
    [
        (tg.relu, [-1.0, 0.0, 2.0], [0, 0, 1]),
        (tg.abs, [-1.0, 0.0, 2.0], [-1, 0, 1]),
        (lambda x: tg.max(x), [3.0, 1.0, 3.0], [0.5, 0, 0.5]),
        (lambda x: tg.min(x), [3.0, 1.0, 1.0], [0, 0.5, 0.5]),
        (lambda x: tg.maximum(x, 2.0), [1.0, 2.0, 3.0], [0, 0.5, 1]),
        (lambda x: tg.minimum(x, 2.0), [1.0, 2.0, 3.0], [1, 0.5, 0]),
        (lambda x: x.clip(1.0, 2.0), [0.5, 1.0, 2.0, 2.5], [0, 1, 1, 0]),
        (lambda x: x**2, [0.0, 1.0], [0, 2]),
        (lambda x: x**0, [0.0, 1.0], [0, 0]),
        (lambda x: x ** np.array([0.0, 1.0, 2.0]), [0.0, 0.0, 0.0], [0, 1, 0]),
        (lambda x: np.array([0.0, 1.0]) ** x, [2.0, 2.0], [0, 0]),
    ],
)
def test_conventions_where_the_derivative_is_a_choice_or_a_trap(function, at, expected):
    x = leaf(at)
    function(x).sum().backward()
    np.testing.assert_array_equal(x.grad.data, expected)


def test_sigmoid_of_huge_numbers():
    x = leaf([-800.0, -40.0, 0.0, 40.0, 800.0])
    y = tg.sigmoid(x)
    y.sum().backward()
    np.testing.assert_allclose(y.data, [0.0, np.exp(-40.0), 0.5, 1.0, 1.0], rtol=1e-15)
    np.testing.assert_allclose(x.grad.data, [0.0, np.exp(-40.0), 0.25, 0.0, 0.0], rtol=1e-15)


def test_the_dead_branch_of_where_is_not_silent_and_has_a_safe_form():
    x = leaf([0.0, 2.0])
    safe = tg.where(x > 0, tg.log(tg.where(x > 0, x, 1.0)), 0.0)
    np.testing.assert_array_equal(gradient_of(safe.sum(), x)[0], [0.0, 0.5])
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        unsafe = tg.where(x > 0, tg.log(x), 0.0).sum()
    with pytest.warns(RuntimeWarning, match="invalid value"):
        tg.grad(unsafe, x)


def test_the_slope_of_sqrt_at_zero_is_infinite_and_not_silent():
    x = leaf(0.0)
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        assert gradient_of(tg.sqrt(x), x) == [np.inf]


@settings(deadline=None, max_examples=60)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3), seed=st.integers(0, 2**16))
def test_broadcasting_of_any_shapes_is_summed_back(shapes, seed):
    rng = np.random.default_rng(seed)
    a, b = (leaf(rng.normal(size=shape)) for shape in shapes.input_shapes)
    report = tg.gradcheck(lambda a, b: a * b + a - tg.tanh(b), [a, b])
    assert report, str(report)


# --- what backward leaves behind -------------------------------------------------------------------


def test_gradients_add_up_until_they_are_reset():
    x = leaf([1.0, 2.0])
    (x * 3).sum().backward()
    kept = x.grad.data
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [6.0, 6.0])
    np.testing.assert_array_equal(kept, [3.0, 3.0])  # whoever kept the first still has it
    x.grad = None
    (x * 3).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [3.0, 3.0])


def test_gradients_are_not_shared():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    seed = np.ones(2)
    (x + y).backward(seed)
    x.grad.data[0] = 99.0
    np.testing.assert_array_equal(y.grad.data, [1.0, 1.0])
    np.testing.assert_array_equal(seed, [1.0, 1.0])
    dx, dy = tg.grad((x + y).sum(), [x, y])
    dx.data[0] = 99.0
    np.testing.assert_array_equal(dy.data, [1.0, 1.0])


def test_only_leaves_keep_their_gradient_unless_asked():
    x = leaf([1.0, 2.0])
    kept, dropped = x * 2, x * 3
    kept.retain_grad()
    (kept + dropped).sum().backward()
    np.testing.assert_array_equal(kept.grad.data, [1.0, 1.0])
    with pytest.warns(GradientWarning, match="only leaves keep theirs") as caught:
        assert dropped.grad is None
    assert "kept, dropped = x * 2, x * 3" in str(caught[0].message)


def test_a_leaf_is_its_own_gradient():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1.0


def test_several_outputs_and_a_repeated_one():
    x = leaf(2.0)
    y, z = x * 3, x * 5
    assert gradient_of([y, z], x) == [8.0]
    assert gradient_of([y, y], x) == [6.0]
    assert [g.item() for g in tg.grad([y, z], x, [10.0, 1.0])] == [35.0]


def test_gradient_with_respect_to_an_interior_value():
    x = leaf(2.0)
    y = x * x
    z = y * y
    assert gradient_of(z, y, x) == [8.0, 32.0]


def test_nothing_is_computed_for_what_needs_no_gradient():
    calls = []

    def counting(g, y, a, b):
        calls.append("b")
        return g

    @primitive(
        vjps=[lambda g, y, a, b: g, counting],
        formula="{a}+{b}",
        samples=lambda rng: [Sample(1.0, 2.0)],
        name="test_add",
    )
    def add(a, b):
        return a + b

    del REGISTRY["test_add"]
    x, c, other = leaf([1.0]), tg.tensor([2.0]), leaf([3.0])
    add(x, c).sum().backward()
    assert calls == []
    tg.grad(add(x, other).sum(), x)
    assert calls == []
    add(x, other).sum().backward()
    assert calls == ["b"]


def test_mixed_dtypes_give_each_input_a_gradient_of_its_own_dtype():
    a, b = leaf([1.0, 2.0], dtype=np.float32), leaf([3.0, 4.0])
    y = a * b
    assert y.dtype == np.float64
    da, db = tg.grad(y.sum(), [a, b], create_graph=True)
    assert (da.dtype, db.dtype) == (np.float32, np.float64)
    (dda,) = tg.grad(da.sum(), b)
    assert dda.dtype == np.float64


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * np.float64(0.5),
        lambda x: np.float64(0.5) * x,
        lambda x: x * np.cos(0.1),
        lambda x: x.mean() * 2.0,
        lambda x: x * (x > 0),
        lambda x: tg.maximum(x, 0.5),
        lambda x: tg.where(x > 0, x, 0.0),
        lambda x: x**2 / 3,
        lambda x: x.max(axis=0),
        lambda x: tg.sigmoid(x) + tg.relu(x),
    ],
)
def test_float32_does_not_drift(function):
    x = leaf([[1.0, -2.0], [0.5, 3.0]], dtype=np.float32)
    y = function(x)
    assert y.dtype == np.float32
    (g,) = tg.grad(y.sum(), x, create_graph=True)
    assert g.dtype == np.float32


# --- what is refused -------------------------------------------------------------------------------


def test_backward_of_something_without_gradient():
    with pytest.raises(GradientError, match="does not require a gradient"):
        tg.tensor([1.0]).backward()


def test_backward_of_many_numbers_needs_a_cotangent():
    y = (leaf([1.0, 2.0]) * 2).named("y")
    with pytest.raises(GradientError, match=r"y has shape \(2,\): only a single number"):
        y.backward()
    with pytest.raises(ShapeError, match=r"has shape \(3,\), but y has shape \(2,\)"):
        y.backward(np.ones(3))


def test_grad_of_what_is_not_connected():
    x, y = leaf(1.0, "x"), leaf(2.0, "y")
    with pytest.raises(GradientError, match="no output was computed from input y"):
        tg.grad(x * 2, [x, y])
    assert tg.grad(x * 2, [x, y], allow_unused=True)[1] is None
    with pytest.raises(GradientError, match=r"input X \(2,\) does not require a gradient"):
        tg.grad(x * 2, tg.tensor([1.0, 2.0], name="X"))


def test_what_is_no_tensor_is_refused():
    x = leaf([1.0])
    with pytest.raises(DTypeError, match="grad: inputs: expected a tensor or a sequence of tensors, got array"):
        tg.grad(x * 2, np.ones(1))
    with pytest.raises(DTypeError, match="grad: outputs: expected"):
        tg.grad([], x)
    with pytest.raises(DTypeError, match="what fn returns: expected"):
        tg.gradcheck(lambda x: x.data, x)
    with pytest.raises(DTypeError, match="outputs: expected"):
        tg.graph(np.ones(1))


@pytest.mark.parametrize("how", ["in place", "through data", "data in place"])
def test_data_changed_between_forward_and_backward(how):
    W = leaf([1.0, 2.0], "W")
    loss = (W * W).sum()
    if how == "in place":
        with tg.no_grad():
            W -= 0.1
    elif how == "through data":
        W.data = W.data - 0.1
    else:
        W.data -= 0.1
    with pytest.raises(GradientError, match=r"W \(2,\) was changed after `multiply` had been recorded") as caught:
        loss.backward()
    assert "loss = (W * W).sum()" in str(caught.value)
    assert W.grad is None
    (W * W).sum().backward()  # computed again, all is well
    np.testing.assert_allclose(W.grad.data, [1.8, 3.8])


def test_a_vjp_of_the_wrong_shape_names_its_operation_and_the_line():
    @primitive(vjps=[lambda g, y, x: g.sum()], formula="bad({x})", samples=lambda rng: [], name="test_bad")
    def bad(x):
        return 2 * x

    del REGISTRY["test_bad"]
    y = bad(leaf([1.0, 2.0], "x")).sum()
    with pytest.raises(
        GradientError, match=r"VJP of `test_bad` for input 0 \(x \(2,\)\) returned shape \(\)"
    ) as caught:
        y.backward()
    assert 'y = bad(leaf([1.0, 2.0], "x")).sum()' in caught.value.__notes__[0]


def test_a_parameter_replaced_by_its_update_is_explained():
    W = leaf([1.0, 2.0], "W")
    with tg.no_grad():
        W = W - 0.1
    with pytest.raises(GradientError, match=r"write `W -= lr \* dLoss_W`"):
        (W * W).sum().backward()


# --- updating a parameter --------------------------------------------------------------------------


def test_the_update_of_a_parameter():
    W = leaf([1.0, 2.0], "W")
    same, memory = W, W.data
    for _ in range(3):
        (dLoss_W,) = tg.grad((W * W).sum(), [W])
        with tg.no_grad():
            W -= 0.1 * dLoss_W
    assert W is same
    assert W.is_leaf
    assert W.requires_grad
    assert W.data is memory
    np.testing.assert_allclose(W.data, np.array([1.0, 2.0]) * 0.8**3)


def test_an_update_outside_no_grad_is_refused_and_changes_nothing():
    W = leaf([1.0, 2.0], "W")
    with pytest.raises(GradientError, match=r"with tg\.no_grad"):
        W -= 0.1
    np.testing.assert_array_equal(W.data, [1.0, 2.0])


def test_an_update_that_does_not_fit_is_refused_and_changes_nothing():
    W, whole = leaf([1.0, 2.0], "W"), tg.tensor([1, 2], name="whole")
    with tg.no_grad():
        with pytest.raises(ShapeError, match=r"W \(2,\)"):
            W -= np.ones(3)
        with pytest.raises(ShapeError):
            W -= np.ones((2, 2))
        with pytest.raises(DTypeError, match="whole of dtype int64 cannot hold"):
            whole += 0.5
    np.testing.assert_array_equal(W.data, [1.0, 2.0])
    np.testing.assert_array_equal(whole.data, [1, 2])


def test_adding_in_place_to_a_computed_value_makes_a_new_one():
    x = leaf([1.0, 2.0])
    total = x * 2
    before = total
    total += x
    assert total is not before
    np.testing.assert_array_equal(before.data, [2.0, 4.0])
    np.testing.assert_array_equal(gradient_of(total.sum(), x)[0], [3.0, 3.0])


# --- no_grad ---------------------------------------------------------------------------------------


def test_no_grad_ends_with_its_block_also_after_an_error():
    x = leaf(1.0)
    with pytest.raises(ZeroDivisionError):
        _fail_inside_no_grad(x)
    assert (x * 2).requires_grad


def _fail_inside_no_grad(x):
    with tg.no_grad():
        assert (x * 2).node is None
        assert not (x * 2).requires_grad
        raise ZeroDivisionError


def test_no_grad_as_a_decorator_also_of_a_recursive_function():
    x = leaf(1.0)

    @tg.no_grad()
    def twice(n):
        if n:
            twice(n - 1)
        return x * 2

    assert not twice(3).requires_grad
    assert (x * 2).requires_grad


def test_no_grad_is_refused_where_it_would_end_too_early():
    with pytest.raises(TypeError, match="inside"):

        @tg.no_grad()
        async def later():
            pass

    with pytest.raises(TypeError, match="inside"):

        @tg.no_grad()
        def generate():
            yield


def test_no_grad_holds_for_its_own_thread_alone():
    x = leaf(1.0)
    seen = []
    with tg.no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


def test_no_grad_holds_for_its_own_task_alone():
    x = leaf(1.0)

    async def without():
        with tg.no_grad():
            await asyncio.sleep(0.01)
            return (x * 2).requires_grad

    async def with_gradient():
        await asyncio.sleep(0.005)
        return (x * 2).requires_grad

    async def both():
        return await asyncio.gather(without(), with_gradient())

    assert asyncio.run(both()) == [False, True]


def test_no_grad_as_a_decorator_without_parentheses():
    x = leaf(1.0)

    @tg.no_grad
    def plain():
        return x * 2

    assert not plain().requires_grad


# --- what only an expert tries ---------------------------------------------------------------------


def test_relu_before_a_slope_without_bound():
    x = leaf([-1.0, 4.0])
    with pytest.warns(RuntimeWarning, match="divide by zero"):
        (g,) = tg.grad(tg.sqrt(tg.relu(x)).sum(), x)
    np.testing.assert_array_equal(g.data, [0.0, 0.25])


def test_the_largest_of_numbers_with_nan_among_them():
    x = leaf([1.0, np.nan])
    np.testing.assert_array_equal(gradient_of(tg.max(x), x)[0], [0.0, 1.0])


def test_a_computed_value_changed_before_backward():
    x = leaf([1.0, 2.0])
    y = tg.exp(x).named("y")
    y.data = np.zeros(2)
    with pytest.raises(GradientError, match=r"y \(2,\) was changed after"):
        y.sum().backward()
    unnamed = tg.exp(x)
    unnamed.data = np.zeros(2)
    with pytest.raises(GradientError, match=r"its result \(2,\) was changed after `exp`"):
        unnamed.sum().backward()


def test_a_gradient_put_there_by_hand():
    x = leaf([1.0, 2.0], "x")
    x.grad = np.array([10.0, 10.0])
    (x * 2).sum().backward()
    np.testing.assert_array_equal(x.grad.data, [12.0, 12.0])
    with pytest.raises(ShapeError, match=r"x has shape \(2,\), the gradient given to it \(3,\)"):
        x.grad = np.ones(3)
    np.testing.assert_array_equal(x.grad.data, [12.0, 12.0])


@pytest.mark.parametrize(
    ("vjps", "match"),
    [
        ([lambda g, y, a, b: (g * b)[:2], lambda g, y, a, b: g], r"returned shape \(2, 4\)"),
        ([lambda g, y, a, b: np.ones((5, 3, 4)), lambda g, y, a, b: g], None),
    ],
)
def test_a_vjp_of_a_shape_that_cannot_be_summed_back(vjps, match):
    op = primitive(vjps=vjps, formula="{a}·{b}", samples=lambda rng: [], broadcasts=True, name="test_mul")(np.multiply)
    del REGISTRY["test_mul"]
    a, b = leaf(np.ones((3, 4)), "a"), leaf(np.ones(4), "b")
    if match is None:
        assert tg.grad(op(a, b).sum(), a)[0].shape == (3, 4)
    else:
        with pytest.raises(GradientError, match=match) as caught:
            tg.grad(op(a, b).sum(), a)
        assert "op(a, b).sum()" in caught.value.__notes__[0]


def test_a_vjp_that_fails_names_its_operation_and_the_line():
    op = primitive(vjps=[lambda g, y, x: None], formula="f({x})", samples=lambda rng: [], name="test_none")(np.exp)
    del REGISTRY["test_none"]
    with pytest.raises(GradientError, match=r"the VJP of `test_none` for input 0 .* returned NoneType") as caught:
        op(leaf([1.0])).sum().backward()
    assert "op(leaf([1.0])).sum().backward()" in str(caught.value)
    op.vjps = (lambda g, y, x: g / nonsense,)  # noqa: F821
    with pytest.raises(NameError) as broken:
        op(leaf([1.0])).sum().backward()
    assert "in the VJP of `test_none`" in broken.value.__notes__[0]
    assert "op(leaf([1.0])).sum().backward()" in broken.value.__notes__[0]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"vjps": [lambda g, y: g]}, r"the VJP of test_wrong for x is called as vjp\(g, y, x\)"),
        ({"vjps": lambda g, y, x: g}, "vjps is a sequence, one rule for each array"),
        ({"samples": []}, "samples is a function of a random generator"),
    ],
)
def test_a_declaration_that_could_only_fail_later_is_refused(changes, match):
    declaration = {"vjps": [lambda g, y, x: g], "samples": lambda rng: [], "formula": "f({x})", "name": "test_wrong"}
    with pytest.raises(ValueError, match=match):
        primitive(**{**declaration, **changes})(np.exp)
    assert "test_wrong" not in REGISTRY


def test_a_forward_computation_must_return_an_array():
    op = primitive(vjps=[lambda g, y, x: g], formula="f({x})", samples=lambda rng: [], name="test_list")(
        lambda x: [1.0]
    )
    del REGISTRY["test_list"]
    with pytest.raises(TypeError, match="forward computation of `test_list` returned list"):
        op(leaf([1.0]))


def test_a_declaration_with_a_vjp_forgotten_or_an_unknown_name_is_refused():
    declaration = {"samples": lambda rng: [], "name": "test_wrong"}
    with pytest.raises(ValueError, match=r"takes 2 arrays \(a, b\) but declares 1 VJPs"):
        primitive(vjps=[lambda g, y, a, b: g], formula="{a}{b}", **declaration)(np.multiply)
    with pytest.raises(ValueError, match=r"names 'z'; it may name \{x\}"):
        primitive(vjps=[lambda g, y, x: g], formula="f({z})", **declaration)(np.exp)
    assert "test_wrong" not in REGISTRY


def test_an_operation_may_be_declared_again_where_it_was_but_not_elsewhere():
    for _ in range(2):  # a cell of a notebook, run twice

        @primitive(vjps=[lambda g, y, x: g], formula="again({x})", samples=lambda rng: [])
        def again(x):
            return x + 1

    assert REGISTRY.pop("again") is again
    with pytest.raises(ValueError, match=r"'relu' is declared already, in tinygrad_bc\.ops\.elementwise"):

        @primitive(vjps=[lambda g, y, x: g], formula="relu({x})", samples=lambda rng: [])
        def relu(x):
            return x


def test_contributions_are_added_up_and_none_of_them_is_written_into():
    x = leaf([1.0, 2.0], "x")
    seen = []
    parts = [x * 1.0, x + 0.0, x.sin(), x.exp(), x * x]
    for part in parts:
        part.register_hook(lambda g: seen.append((g.data, g.data.copy())))
    sum(parts[1:], parts[0]).sum().backward()
    np.testing.assert_allclose(x.grad.data, 2 + np.cos([1.0, 2.0]) + np.exp([1.0, 2.0]) + [2.0, 4.0], rtol=1e-14)
    for now, then in seen:
        np.testing.assert_array_equal(now, then)


def test_a_number_is_handed_out_as_memory_of_the_tensor():
    x = leaf(2.0, "x")
    y = x * x
    x.data[...] = 3.0
    assert x.item() == 3.0
    with pytest.raises(GradientError, match=r"x \(\) was changed"):
        y.backward()
    with tg.no_grad():
        x -= 1.0
    assert x.item() == 2.0


# --- once is enough ------------------------------------------------------------------------------


def test_a_second_backward_is_refused_and_says_where():
    x = leaf([2.0], "x")
    y = (x * x).named("y")  # recorded here
    y.backward()
    with pytest.raises(GradientError, match="gone through y before") as caught:
        y.backward()  # and again
    assert "# recorded here" in str(caught.value)
    assert "# and again" in str(caught.value)
    np.testing.assert_array_equal(x.grad.data, [4.0])


def test_losses_that_share_a_part_add_up_if_the_first_retains_the_graph():
    x = leaf([2.0])
    shared = x * x
    (shared * 3).backward(retain_graph=True)
    (shared * 5).backward()
    np.testing.assert_array_equal(x.grad.data, [3 * 4.0 + 5 * 4.0])
    with pytest.raises(GradientError, match="retain_graph=True"):
        (shared * 7).backward()


def test_grad_uses_nothing_up():
    x = leaf([2.0])
    y = x * x
    y.backward()
    for _ in range(2):
        np.testing.assert_array_equal(tg.grad(y, x, retain_graph=False)[0].data, [4.0])


def test_an_error_on_the_way_uses_nothing_up():
    x = leaf([1.0, 2.0])
    y = x * x
    with pytest.raises(GradientError, match="only a single number"):
        y.backward()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 4.0])


def test_backward_can_be_recorded():
    x = leaf([2.0])
    (x**3).backward(create_graph=True)
    np.testing.assert_array_equal(x.grad.data, [12.0])
    (second,) = tg.grad(x.grad, x)
    np.testing.assert_array_equal(second.data, [12.0])


def test_backward_into_chosen_tensors_alone():
    x, w, unused = leaf([2.0], "x"), leaf([3.0], "w"), leaf([1.0], "unused")
    middle = x * w
    (middle * middle).backward(inputs=[w, middle])
    np.testing.assert_array_equal(w.grad.data, [2 * 6.0 * 2.0])
    middle.retain_grad()
    np.testing.assert_array_equal(middle.grad.data, [12.0])
    assert x.grad is None
    with pytest.raises(GradientError, match=r"no output was computed from input unused \(1,\)"):
        (x * x).backward(inputs=[unused])
    assert x.grad is None


# --- hooks ---------------------------------------------------------------------------------------


def test_hooks_see_the_whole_gradient_and_may_replace_it():
    x = leaf([1.0, 2.0], "x")
    y = x * 3
    seen = []
    y.register_hook(lambda g: seen.append(g.data.copy()))
    y.register_hook(lambda g: g * 10)
    y.retain_grad()
    (y.sum() + (y * y).sum()).backward()  # two uses: the hooks run once, on the sum
    np.testing.assert_array_equal(seen, [1 + 2 * y.data])
    np.testing.assert_array_equal(y.grad.data, 10 * (1 + 2 * y.data))
    np.testing.assert_array_equal(x.grad.data, 30 * (1 + 2 * y.data))


def test_hooks_on_leaves_and_their_removal():
    x = leaf([1.0], "x")
    handle = x.register_hook(lambda g: -g)
    with x.register_hook(lambda g: g * 2):
        (x * 1).backward()
    np.testing.assert_array_equal(x.grad.data, [-2.0])
    np.testing.assert_array_equal(tg.grad(x * 1, x)[0].data, [-1.0])
    handle.remove()
    handle.remove()
    x.grad = None
    (x * 1).backward()
    np.testing.assert_array_equal(x.grad.data, [1.0])


def test_hooks_are_recorded_with_the_pass():
    x = leaf([2.0])
    y = x * x
    y.register_hook(lambda g: g * x)
    (g,) = tg.grad(y, x, create_graph=True)  # x · 2x
    (second,) = tg.grad(g, x)
    np.testing.assert_array_equal(second.data, [8.0])


def test_a_hook_that_returns_another_shape_is_refused():
    x = leaf([1.0, 2.0], "x")
    x.register_hook(lambda g: g.sum())
    with pytest.raises(ShapeError, match=r"hook of x \(2,\) returned a gradient of shape \(\)"):
        (x * 2).sum().backward()
    with pytest.raises(GradientError, match="no"):
        tg.tensor([1.0]).register_hook(print)


# --- data changed behind the tensor's back -------------------------------------------------------


@pytest.mark.parametrize("which", ["leaf", "constant", "result", "operand", "detached", "numpy"])
def test_writing_into_an_array_between_forward_and_backward_is_noticed(which):
    x, c = leaf([1.0, 2.0], "x"), tg.tensor([3.0, 4.0], name="c")
    plain = np.array([5.0, 6.0])
    early = c.numpy()
    y = (x * c * plain).named("y")
    z = (y * y).sum()
    array = {
        "leaf": lambda: x.data,
        "constant": lambda: c.data,
        "result": lambda: y.data,
        "operand": lambda: plain,
        "detached": lambda: x.detach().data,
        "numpy": lambda: early,
    }[which]()
    array[0] = 100.0
    with pytest.raises(GradientError, match="was changed after `multiply` had been recorded") as caught:
        z.backward()
    assert "y = (x * c * plain)" in str(caught.value) or "z = (y * y)" in str(caught.value)
    assert x.grad is None


def test_reading_an_array_is_no_change():
    x = leaf([1.0, np.nan], "x")
    y = x * 2
    assert x.data[0] == 1.0
    y.data.copy()[0] = 7.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.data, [2.0, 2.0])


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x.reshape(4), lambda x: x[0], lambda x: x.T[1:].reshape(-1)])
@pytest.mark.parametrize("early", [True, False])
def test_writing_through_a_view_is_noticed(view, early):
    x = leaf([[1.0, 2.0], [3.0, 4.0]], "x")
    v = view(x)
    array = v.data if early else x.data
    loss = (v * v).sum()
    array[...] = 7.0
    with pytest.raises(GradientError, match="was changed after"):
        loss.backward()
    loss = (x * x).sum()
    if early:
        array[...] = 8.0
        with pytest.raises(GradientError, match="was changed after"):
            loss.backward()


def test_an_index_changed_between_forward_and_backward_is_noticed():
    x, index = leaf([1.0, 2.0, 3.0]), np.array([0, 1, 2])
    loss = x[index].sum()
    index[0] = 2
    with pytest.raises(GradientError, match="was changed after `getitem`"):
        loss.backward()


def test_a_hand_written_loss_of_every_pair_is_warned_of():
    p, y = leaf([0.2, 0.4, 0.6], "p"), tg.tensor([[1.0], [0.0], [1.0]], name="y")
    loss = ((p - y) ** 2).mean()
    with pytest.warns(GradientWarning, match=r"`subtract` of p \(3,\) and y \(3, 1\) .* every pair, 3×3") as caught:
        loss.backward()
    assert "loss = ((p - y) ** 2).mean()" in str(caught[0].message)
    assert caught[0].filename == __file__
    ((p.reshape(1, 3) - y) ** 2).mean().backward()  # said so


def test_recording_can_be_switched_on_again():
    x = leaf([2.0])
    with tg.no_grad():
        assert not tg.is_grad_enabled()
        with tg.enable_grad():
            assert tg.is_grad_enabled()
            y = x * x
        assert not (x * x).requires_grad
    np.testing.assert_array_equal(tg.grad(y, x)[0].data, [4.0])


# --- gradients that are not there ----------------------------------------------------------------


def test_a_parameter_that_the_loss_was_not_computed_from():
    W1, W2 = leaf([1.0], "W1"), leaf([2.0], "W2")
    assert W2.grad is None  # before any backward pass nobody expects one
    loss = (W1 * W1).named("loss")
    loss.backward()
    with pytest.warns(GradientWarning, match="W2 has no gradient: the last backward.. came from loss"):
        assert W2.grad is None
    W1.grad = None
    assert W1.grad is None  # cleared, which is no surprise
    later = leaf([3.0])
    assert later.grad is None


def test_requires_grad_in_place():
    x = tg.tensor([1.0]).requires_grad_()
    assert x.requires_grad
    assert not x.requires_grad_(False).requires_grad
    with pytest.raises(DTypeError, match="int64"):
        tg.tensor([1]).requires_grad_()


def test_elements_are_set_only_where_nothing_is_recorded():
    x = leaf([1.0, 2.0], "x")
    with pytest.raises(GradientError, match=r"x\[\.\.\.\] = \.\.\. would change numbers"):
        x[0] = 5.0
    with tg.no_grad():
        x[0] = 5.0
        with pytest.raises(IndexingError, match=r"x of shape \(2,\) cannot be set so"):
            x[7] = 1.0
    np.testing.assert_array_equal(x.data, [5.0, 2.0])
    with pytest.raises(AttributeError, match=r"no zero_\(\): working in place"):
        x.zero_()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        x.nonsense  # noqa: B018
