"""Finite differences: right, with an honest error, also where functions are not smooth."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from tinygrad_bc.check.differences import (
    Kind,
    Lines,
    SeparableLines,
    Tolerance,
    central_differences,
    complex_step,
    quick_slopes,
    slopes,
)


def along(function, x):
    x = np.array(x, dtype=float)
    return SeparableLines(function, x, np.ones(x.shape))


KNOWN = {
    "exp": (np.exp, np.exp, [-30.0, -3.0, 0.0, 1.0, 20.0]),
    "sin": (np.sin, np.cos, [0.0, 1e-9, 1.0, 100.0, 1e6]),
    "log": (np.log, lambda x: 1 / x, [1e-9, 1e-3, 1.0, 1e5]),
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x), [1e-12, 1e-5, 1.0, 1e8]),
    "tanh": (np.tanh, lambda x: 1 - np.tanh(x) ** 2, [0.0, 0.5, 3.0, -7.0]),
    "cube": (lambda x: x**3, lambda x: 3 * x**2, [0.0, 1.0, -1e4, 1e-5]),
    "small on large": (lambda x: np.sin(x) + 5e3, np.cos, [0.0, 1.0, 1e-9]),
    "fast": (lambda x: np.sin(300 * x), lambda x: 300 * np.cos(300 * x), [0.1, 1.0, 2.0]),
    "fractional": (np.cbrt, lambda x: 1 / (3 * np.cbrt(x) ** 2), [1e-8, 1.0, -8.0]),
    "near the edge": (lambda x: np.log(x - 1), lambda x: 1 / (x - 1), [1 + 1e-6, 1.001, 3.0]),
}


@pytest.mark.parametrize("name", KNOWN)
def test_error_estimates_are_honest_and_small(name):
    function, derivative, x = KNOWN[name]
    found = slopes(along(function, x))
    exact = derivative(np.array(x))
    assert (found.kind == Kind.SMOOTH).all()
    assert (np.abs(found.value[0] - exact) <= found.error[0]).all()
    assert (found.error[0] <= 1e-4 * np.abs(exact).max()).all()


@hypothesis.settings(max_examples=200, deadline=None)
@hypothesis.given(
    st.floats(-5, 5), st.floats(0.1, 5), st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.floats(-3, 3)
)
def test_error_estimates_are_honest_for_any_smooth_function(x, frequency, coefficients, amplitude):
    polynomial = np.polynomial.Polynomial(coefficients)

    def function(x):
        return polynomial(x) + amplitude * np.sin(frequency * x)

    exact = polynomial.deriv()(x) + amplitude * frequency * np.cos(frequency * x)
    found = slopes(along(function, [x]))
    assert found.kind[0, 0] == Kind.SMOOTH
    assert abs(found.value[0, 0] - exact) <= found.error[0, 0] + 1e-12  # sin rounds frequency * x too
    assert found.error[0, 0] <= 1e-6 * (1 + abs(exact))


@pytest.mark.parametrize("distance", [1e-2, 1e-4, 1e-6, -1e-6, 3e-9])
def test_a_kink_near_the_point_is_stepped_over_and_its_distance_known(distance):
    found = slopes(along(lambda x: np.abs(x - 1), [1 + distance]))
    assert found.kind[0, 0] == Kind.SMOOTH
    assert found.value[0, 0] == pytest.approx(np.sign(distance), rel=1e-6)
    assert found.distance[0, 0] == pytest.approx(abs(distance), rel=0.01)


def test_a_kink_at_the_point_has_two_slopes():
    found = slopes(along(lambda x: np.maximum(x, 0) + x**2, [0.0]))
    assert found.kind[0, 0] == Kind.KINK
    assert found.distance[0, 0] == 0
    assert found.below[0, 0] == pytest.approx(0, abs=1e-9)
    assert found.above[0, 0] == pytest.approx(1, abs=1e-9)


def test_smooth_points_have_no_kink_near_them():
    assert np.isnan(slopes(along(np.sin, [0.0, 0.3, 1.0, 3.0])).distance).all()


def test_what_is_not_differentiable_is_told_apart():
    def kind(function, x):
        return slopes(along(function, [x])).kind[0, 0]

    with np.errstate(all="ignore"):
        assert kind(np.sqrt, 0.0) == Kind.SINGULAR  # a vertical tangent on one side
        assert kind(np.cbrt, 0.0) == Kind.SINGULAR
        assert kind(np.floor, 1.0) == Kind.SINGULAR  # a jump
        assert kind(np.floor, 1.5) == Kind.SMOOTH
        assert kind(lambda x: np.where(x == 0.5, 1.0, np.nan), 0.5) == Kind.UNDEFINED
        edge = slopes(along(lambda x: x**2 + 0 * np.sqrt(1 - x), [1.0]))
    assert edge.kind[0, 0] == Kind.EDGE
    assert edge.value[0, 0] == pytest.approx(2, rel=1e-6)


def test_the_complex_step_is_taken_where_it_agrees_and_is_exact():
    x = np.array([0.5, -2.0, 3.0])
    lines = along(np.tanh, x)
    found = complex_step(lines, slopes(lines))
    np.testing.assert_allclose(found.value[0], 1 - np.tanh(x) ** 2, rtol=1e-13)
    assert (found.error <= 1e-13).all()


@pytest.mark.parametrize("function", [np.abs, lambda x: np.asarray(x, dtype=float) ** 2, lambda x: np.hypot(x, 1)])
def test_the_complex_step_is_left_alone_where_the_function_is_not_made_for_it(function):
    lines = along(function, [0.5, -2.0])
    plain = slopes(lines)
    np.testing.assert_array_equal(complex_step(lines, plain).value, plain.value)


def test_a_function_that_refuses_what_lies_beyond_its_domain_is_followed_inside():
    def function(x):
        if (x < 0).any() or (x > 1).any():
            raise ValueError("probabilities lie between 0 and 1")
        return np.log(x)

    x = np.array([0.01, 0.5, 0.999])
    for lines in (along(function, x), Lines(function, x, np.ones((1, 3)), [0, 1, 2])):
        np.testing.assert_allclose(slopes(lines).value[0], 1 / x, rtol=1e-8)


def test_lines_along_elements_and_directions_agree():
    rng = np.random.default_rng(0)
    A, x = rng.normal(size=(4, 6)), rng.normal(size=(2, 3))
    weights = rng.normal(size=(3, 4))
    direction = rng.normal(size=(2, 3))
    lines = Lines(lambda x: np.tanh(A @ x.ravel()), x, weights, [*range(6), direction])
    jacobian = weights @ ((1 - np.tanh(A @ x.ravel()) ** 2)[:, None] * A)
    expected = np.column_stack([jacobian, jacobian @ direction.ravel()])
    np.testing.assert_allclose(slopes(lines).value, expected, rtol=1e-9)
    np.testing.assert_allclose(central_differences(lines), expected, rtol=1e-7)


def test_what_is_computed_does_not_change_the_point():
    x = np.array([[0.5, 2.0]])
    slopes(Lines(lambda x: x**2, x, np.ones((1, 2)), [0, 1]))
    np.testing.assert_array_equal(x, [[0.5, 2.0]])


@pytest.mark.parametrize("curve", ["straight", "bent"])
@pytest.mark.parametrize("slope", [1.0, 1e-3, 1e-5])
@pytest.mark.parametrize("offset", [0.0, 0.1])
def test_a_kink_beside_the_point_at_any_distance_is_not_taken_for_the_slope(curve, slope, offset):
    """As in a trained network: some relu's input is always almost 0, and the loss is large against the slope there."""
    for z in [side * 10.0**power for power in np.arange(-9, 0, 0.25) for side in (-1, 1)]:

        def function(x):
            y = np.maximum(x[0], 0.0)
            return np.array([offset + slope * (y if curve == "straight" else np.sin(3 * y + 1))])

        right = slope * (z > 0) * (1.0 if curve == "straight" else 3 * np.cos(3 * z + 1))
        lines = Lines(function, np.array([z]), np.ones((1, 1)), [0])
        found = quick_slopes(lines, np.array([[right]]), Tolerance(0.0, 1e-7 * slope))
        low, high = np.fmin(found.below, found.above)[0, 0], np.fmax(found.below, found.above)[0, 0]
        value = np.clip(right, low, high) if found.kind[0, 0] == Kind.KINK else found.value[0, 0]
        assert abs(value - right) <= found.error[0, 0] + 1e-6 * slope, f"at {z}"
