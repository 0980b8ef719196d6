import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import confusion_matrix

from tinygrad_bc.data import binary_outcomes, bootstrap_interval, threshold_costs
from tinygrad_bc.errors import ArgumentError, DataError, ShapeError


def mean(y, p):
    return p.mean()


def accuracy(y, p):
    return ((p > 0.5) == y).mean()


def area_under_roc(y, p):
    return (p[y == 1][:, None] > p[y == 0]).mean()


def outcomes(n, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return y, 1 / (1 + np.exp(-(2 * y - 1 + rng.normal(size=n))))


# --- bootstrap --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "level"), [("percentile", 0.95), ("bca", 0.95), ("bca", 0.8)])
@pytest.mark.parametrize(("metric", "n"), [(mean, 30), (accuracy, 60), (area_under_roc, 60), (np.corrcoef, 25)])
def test_intervals_are_those_of_scipy(metric, n, method, level):
    def number(y, p):
        return metric(y, p)[0, 1] if metric is np.corrcoef else metric(y, p)

    y, p = outcomes(n)
    ours = bootstrap_interval(number, y, p, 5, level, method=method, resamples=400)
    theirs = stats.bootstrap(
        (y, p),
        number,
        paired=True,
        vectorized=False,
        n_resamples=400,
        confidence_level=level,
        method=method,
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert ours.value == number(y, p)
    np.testing.assert_allclose(ours[1:], theirs, rtol=1e-12)


@pytest.mark.parametrize("method", ["bca", "percentile"])
@pytest.mark.parametrize("draw", ["normal", "exponential"])
def test_intervals_hold_the_true_value_as_often_as_they_say(method, draw):
    rng, trials, truth = np.random.default_rng(0), 400, {"normal": 0, "exponential": 1}[draw]
    held = 0
    for _ in range(trials):
        x = getattr(rng, draw)(size=40)
        _, low, high = bootstrap_interval(mean, x, x, rng, 0.9, method=method, resamples=300)
        held += low <= truth <= high
    # 4 standard errors of 0.015 around 0.9; and for 40 skew values the interval is known to be a little short
    assert 0.83 < held / trials < 0.96


def test_groups_that_repeat_a_row_count_once():
    y, p = outcomes(40)
    alone = bootstrap_interval(accuracy, y, p, 3, resamples=300)
    repeated = np.repeat(np.arange(40), 5)
    together = bootstrap_interval(accuracy, y[repeated], p[repeated], 3, resamples=300, groups=repeated)
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    taken_for_rows = bootstrap_interval(accuracy, y[repeated], p[repeated], 3, resamples=300)
    assert taken_for_rows.high - taken_for_rows.low < 0.6 * (alone.high - alone.low)


def test_groups_hold_the_true_value_where_rows_do_not():
    rng, trials = np.random.default_rng(1), 200
    held = {"rows": 0, "groups": 0}
    for _ in range(trials):
        owners = rng.permutation(np.repeat(np.arange(30), 6))
        x = rng.normal(size=30)[owners] + 0.3 * rng.normal(size=180)
        for name, groups in (("rows", None), ("groups", owners)):
            _, low, high = bootstrap_interval(mean, x, x, rng, 0.9, method="percentile", resamples=200, groups=groups)
            held[name] += low <= 0 <= high
    assert held["rows"] / trials < 0.7
    assert 0.8 < held["groups"] / trials < 0.97


def test_groups_of_one_row_are_rows():
    y, p = outcomes(30)
    assert bootstrap_interval(accuracy, y, p, 0, groups=np.arange(30)) == bootstrap_interval(accuracy, y, p, 0)


def test_the_same_seed_gives_the_same_interval():
    y, p = outcomes(30)
    one, other = (bootstrap_interval(mean, y, p, g, resamples=200) for g in (4, np.random.default_rng(4)))
    assert one == other
    assert str(one) == f"{one.value:.4f} ({one.low:.4f} to {one.high:.4f})"
    assert one != bootstrap_interval(mean, y, p, 5, resamples=200)


def test_a_metric_that_does_not_vary():
    y = np.arange(20) % 2
    assert bootstrap_interval(accuracy, y, y.astype(float), 0, resamples=100) == (1, 1, 1)


def test_tables_are_taken_and_nothing_is_changed():
    y, p = outcomes(30)
    table = pd.DataFrame({"y": y, "p": p}, index=range(100, 130))
    before = table.copy(deep=True)
    assert bootstrap_interval(mean, table["y"], table["p"], 0) == bootstrap_interval(mean, y, p, 0)
    pd.testing.assert_frame_equal(table, before)


Y, P = outcomes(20)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: bootstrap_interval(mean, Y, P, 0, 95), ArgumentError, "level=95"),
        (lambda: bootstrap_interval(mean, Y, P, 0, method="bc"), ArgumentError, "method='bc'"),
        (lambda: bootstrap_interval(mean, Y, P, 0, resamples=5), ArgumentError, "resamples=5"),
        (lambda: bootstrap_interval(mean, Y, P, None), ArgumentError, "needs a generator"),
        (lambda: bootstrap_interval(mean, Y, P[:3], 0), DataError, "numbers of rows differ"),
        (lambda: bootstrap_interval(mean, Y[:1], P[:1], 0), DataError, "at least 2"),
        (lambda: bootstrap_interval(mean, Y, P, 0, groups=np.zeros(20)), DataError, "at least 2"),
        (lambda: bootstrap_interval(mean, Y, P, 0, groups=[1, 2]), DataError, r"groups has the shape \(2,\)"),
        (lambda: bootstrap_interval(lambda y, p: np.nan, Y, P, 0), DataError, "returned nan.*single class"),
        (lambda: bootstrap_interval(lambda y, p: p, Y, P, 0), DataError, "finite number"),
        (lambda: bootstrap_interval(lambda y, p: len(set(p)), Y, P, 0), DataError, "below that.*'percentile'"),
    ],
)
def test_what_has_no_interval_is_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()


# --- thresholds -------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.5, 0.7, 1.0])), min_size=2, max_size=12),
    st.floats(0, 9),
    st.floats(0, 9),
)
def test_costs_at_every_threshold_against_the_confusion_matrix(rows, false_negative, false_positive):
    y, p = np.array([(0, 0.3), (1, 0.6), *rows]).T
    table = threshold_costs(y, p, false_negative=false_negative, false_positive=false_positive)
    assert table["threshold"].tolist() == sorted({0, 1, *p})
    for threshold, missed, alarms, cost in table.itertuples(index=False):
        (_, false_positives), (false_negatives, _) = confusion_matrix(y, p > threshold)
        assert (missed, alarms) == (false_negatives, false_positives)
        np.testing.assert_allclose(cost, false_negative * false_negatives + false_positive * false_positives)


def test_the_cheapest_threshold_of_true_probabilities_is_elkans():
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200_000)
    y = rng.uniform(size=p.size) < p
    table = threshold_costs(y, p, false_negative=4)
    assert abs(table.loc[table["cost"].idxmin(), "threshold"] - 1 / 5) < 0.02


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: threshold_costs(Y, P, false_negative=-1), ArgumentError, "not negative"),
        (lambda: threshold_costs(Y, P, false_negative=np.inf), ArgumentError, "finite"),
        (lambda: binary_outcomes(Y[None], P[None]), ShapeError, r"y has the shape \(1, 20\).*y\.ravel\(\)"),
        (lambda: binary_outcomes(Y, P[:, None]), ShapeError, r"p\.ravel\(\)"),
        (lambda: binary_outcomes(Y + 1, P), DataError, "no label of 2 classes.*subtract 1"),
        (lambda: binary_outcomes(Y, 9 * P - 4), DataError, "expected probabilities.*sigmoid"),
        (lambda: binary_outcomes(Y * 0, P), DataError, "the class 0 alone"),
        (lambda: binary_outcomes(Y, P * np.nan), DataError, "the cell is nan"),
        (lambda: binary_outcomes(Y, P[:4]), DataError, "numbers of rows differ"),
    ],
)
def test_outcomes_that_are_none_are_explained(call, error, message):
    with pytest.raises(error, match=message):
        call()
