"""Every declared operation, on every sample it declares."""

import numpy as np
import pytest

import tinygrad_bc as tg
from tinygrad_bc.primitive import CAPTURE, REGISTRY, mode
from tinygrad_bc.record import Graph

OPS = list(REGISTRY.values())
DIFFERENTIABLE = [op for op in OPS if op.differentiable]


def samples(ops):
    return [
        pytest.param(op, sample, id=f"{op.name}-{i}")
        for op in ops
        for i, sample in enumerate(op.samples(np.random.default_rng(7)))
    ]


def is_float_array(x):
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def tensors_of(sample, transform=lambda x: x):
    """The sample's inputs, arrays as tensors; floating-point ones require a gradient."""
    return [
        tg.tensor(transform(x) if is_float_array(x) else x, requires_grad=is_float_array(x), name=f"x{i}")
        if isinstance(x, np.ndarray)
        else x
        for i, x in enumerate(sample.inputs)
    ]


def with_tensors(sample, tensors):
    """The sample's inputs with the given tensors in the place of its floating-point arrays."""
    remaining = iter(tensors)
    return [next(remaining) if is_float_array(x) else x for x in sample.inputs]


def leaves(inputs):
    return [x for x in inputs if isinstance(x, tg.Tensor) and x.requires_grad]


def weights_for(y):
    return np.random.default_rng(3).uniform(0.5, 1.5, size=y.shape)


@pytest.mark.parametrize(("op", "sample"), samples(OPS))
def test_result_is_a_recorded_tensor_with_the_values_of_numpy(op, sample):
    y = op(*tensors_of(sample), **sample.params)
    expected = op.forward(*sample.inputs, **sample.params)
    np.testing.assert_array_equal(y.data, expected, strict=isinstance(expected, np.ndarray))
    assert isinstance(y.data, np.ndarray)
    recordable = any(map(is_float_array, sample.inputs))
    assert (y.node is not None) == recordable
    assert y.requires_grad == (recordable and op.differentiable)


@pytest.mark.parametrize(("op", "sample"), samples(OPS))
def test_arrays_in_arrays_out(op, sample):
    assert not isinstance(op(*sample.inputs, **sample.params), tg.Tensor)


@pytest.mark.parametrize(("op", "sample"), samples(DIFFERENTIABLE))
def test_gradient_agrees_with_finite_differences(op, sample):
    report = tg.gradcheck(lambda *xs: op(*with_tensors(sample, xs), **sample.params), leaves(tensors_of(sample)))
    assert report, str(report)


@pytest.mark.parametrize(("op", "sample"), samples(DIFFERENTIABLE))
def test_second_derivative_agrees_with_finite_differences(op, sample):
    """The gradient, itself a function of inputs and cotangent, is differentiated again."""
    xs = leaves(tensors_of(sample))
    y = op(*with_tensors(sample, xs), **sample.params)
    g = tg.tensor(weights_for(y), requires_grad=True, name="g")

    def gradient(g, *xs):
        return tg.grad(op(*with_tensors(sample, xs), **sample.params), xs, g, create_graph=True)

    report = tg.gradcheck(gradient, [g, *xs])
    assert report, str(report)


@pytest.mark.parametrize(("op", "sample"), samples(OPS))
def test_replay_equals_eager(op, sample):
    inputs = tensors_of(sample)
    token = mode.set(CAPTURE)  # or an operation on masks alone would not be recorded
    y = op(*inputs, **sample.params)
    mode.reset(token)
    other = {x: x.data * 1.25 for x in leaves(inputs)}
    (replayed,) = Graph(y).evaluate(other)
    eager = op.forward(*with_tensors(sample, other.values()), **sample.params)
    np.testing.assert_array_equal(replayed, eager)


@pytest.mark.parametrize(("op", "sample"), samples(DIFFERENTIABLE))
def test_replay_of_the_backward_pass_equals_eager(op, sample):
    def gradients(xs, cotangent):
        y = op(*with_tensors(sample, xs), **sample.params)
        return tg.grad(y, xs, cotangent, create_graph=True)

    xs = leaves(tensors_of(sample))
    g = tg.tensor(weights_for(op(*with_tensors(sample, xs), **sample.params)), requires_grad=True)
    recorded = Graph(gradients(xs, g))
    other = [tg.tensor(x.data * 1.25, requires_grad=True) for x in xs]
    other_g = tg.tensor(g.data * 0.75, requires_grad=True)
    replacements = dict(zip([*xs, g], [x.data for x in [*other, other_g]]))
    replacements = {x: data for x, data in replacements.items() if x in recorded}
    for replayed, eager in zip(recorded.evaluate(replacements), gradients(other, other_g)):
        np.testing.assert_array_equal(replayed, eager.data)


@pytest.mark.parametrize(("op", "sample"), samples(op for op in DIFFERENTIABLE if op is not REGISTRY["cast"]))
def test_float32_stays_float32(op, sample):
    inputs = tensors_of(sample, lambda x: x.astype(np.float32))
    y = op(*inputs, **sample.params)
    assert y.dtype == np.float32
    for g in tg.grad(y, leaves(inputs), np.ones(y.shape)):
        assert g.dtype == np.float32


@pytest.mark.parametrize(("op", "sample"), samples(OPS))
def test_layout_in_memory_does_not_matter(op, sample):
    def strided(x):
        if not is_float_array(x):
            return x
        padded = np.full([2 * n for n in x.shape], np.nan)
        view = padded[(*(slice(None, None, -2) for _ in x.shape), ...)]
        view[...] = x
        return view

    expected = op.forward(*sample.inputs, **sample.params)
    actual = op.forward(*map(strided, sample.inputs), **sample.params)
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


@pytest.mark.parametrize(("op", "sample"), samples(DIFFERENTIABLE))
def test_inputs_are_not_changed_and_gradients_share_no_memory(op, sample):
    inputs = tensors_of(sample)
    y = op(*inputs, **sample.params)
    before = [x.data.copy() for x in leaves(inputs)]
    cotangent = weights_for(y)
    cotangent_before = cotangent.copy()
    y.backward(cotangent)
    gradients = [x.grad.data for x in leaves(inputs)]
    arrays = [x.data for x in leaves(inputs)] + [y.data, cotangent]
    for i, g in enumerate(gradients):
        assert g.flags.writeable
        assert not any(np.shares_memory(g, other) for other in arrays + gradients[:i])
    for x, unchanged in zip(leaves(inputs), before):
        np.testing.assert_array_equal(x.data, unchanged)
        assert x.grad.shape == x.shape
    np.testing.assert_array_equal(cotangent, cotangent_before)


@pytest.mark.parametrize(
    ("op", "sample"),
    [pytest.param(op, s, id=f"{op.name}-{i}") for op in OPS for i, s in enumerate(op.error_samples())],
)
def test_bad_inputs_are_refused_with_a_message_that_names_them(op, sample):
    inputs = [tg.tensor(x, name=f"x{i}") if isinstance(x, np.ndarray) else x for i, x in enumerate(sample.inputs)]
    with pytest.raises(sample.error, match=sample.match) as caught:
        op(*inputs, **sample.params)
    message = str(caught.value)
    assert op.name in message
    assert f"x0 {inputs[0].shape}" in message
    assert f"{__file__}:" in message
    assert "op(*inputs, **sample.params)" in message  # the user's own line


@pytest.mark.parametrize("op", OPS)
def test_formula_mentions_every_input(op):
    sample = next(iter(op.samples(np.random.default_rng(0))))
    names = [f"<{i}>" for i in range(len(sample.inputs))]
    text = op.write(names, {**op.defaults, **sample.params})
    assert all(name in text for name in names)


@pytest.mark.parametrize("op", OPS)
def test_samples_cover_the_shapes_that_break_things(op):
    found = [s.inputs for s in op.samples(np.random.default_rng(0))]
    assert found
    if op.broadcasts and op.differentiable:
        assert any(len({np.shape(x) for x in inputs}) > 1 for inputs in found), "no sample broadcasts"


def test_there_are_operations_to_test():
    assert len(DIFFERENTIABLE) >= 25
