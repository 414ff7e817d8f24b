"""Time to target: first crossings of smoothed curves, targets of the reference, speed-ups with misses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.comparison.time.targets import smoothed, speed_up, targets, time_to_target

INF = np.inf
STEPS = np.array([0, 10, 20, 30, 40])


def test_a_median_of_three_ignores_one_lucky_evaluation():
    curve = np.array([9.0, 5, 1, 5, 4])
    np.testing.assert_array_equal(smoothed(curve), [9, 5, 5, 4, 4])
    np.testing.assert_array_equal(smoothed(np.array([3.0, np.nan, np.nan, np.nan, 1])), [3, INF, INF, INF, 1])


def test_curves_are_smoothed_each_by_itself():
    curves = np.random.default_rng(0).normal(size=(2, 3, 5))
    np.testing.assert_array_equal(smoothed(curves)[1, 2], smoothed(curves[1, 2]))


def test_time_is_the_first_step_at_or_below_the_target():
    curves = np.array([[9.0, 7, 5, 3, 3], [9, 5, 7, 7, 7], [1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(time_to_target(STEPS, curves, 5), [20, INF, 0])


@given(st.lists(st.floats(-5, 5), min_size=5, max_size=5), st.floats(-5, 5), st.floats(0, 3))
def test_harder_targets_take_longer(curve, target, easier):
    assert time_to_target(STEPS, np.array(curve), target) >= time_to_target(STEPS, np.array(curve), target + easier)


def test_targets_are_the_references_median_at_shares_of_its_budget():
    reference = np.array([[9.0, 8, 6, 4, 2], [9, 8, 7, 5, 3], [9, 9, 9, 9, 9]])
    np.testing.assert_array_equal(targets(STEPS, reference), [7, 5, 3])
    np.testing.assert_array_equal(targets(STEPS, reference, [0.74]), [7])  # no evaluation there: the one before


def test_half_of_the_reference_reaches_its_own_targets_in_time():
    reference = np.cumsum(np.random.default_rng(0).normal(-1, 1, size=(9, 5)), axis=1)
    for budget, target in zip([20, 30, 40], targets(STEPS, reference), strict=True):
        assert np.median(time_to_target(STEPS, reference, target)) <= budget


def test_speed_up_is_the_ratio_of_medians():
    reference, arm = np.array([100.0, 200, 400]), np.array([50.0, 100, 200])
    assert speed_up(reference, arm, 400) == (2, 2, 2)  # the same pairs are drawn for both
    found = speed_up(reference, arm[::-1], 400)
    assert (found.low, found.value, found.high) == (0.5, 2, 8)


def test_misses_are_censored():
    some = np.array([100.0, 100, 100, 100, INF])
    found = speed_up(some, np.full(5, 50.0), 400)
    assert (found.value, found.low, found.high) == (2, 2, INF)
    # A reference that never got there would have needed more than its 400 steps: how many more is not known.
    assert speed_up(np.full(5, INF), np.full(5, 50.0), 400) == (INF, 8, INF)
    assert speed_up(np.full(5, 50.0), np.full(5, INF), 400) == (0, 0, 1 / 8)
    neither = speed_up(np.full(5, INF), np.full(5, INF), 400)
    assert np.isnan(neither.value)
    assert (neither.low, neither.high) == (0, INF)


def test_the_seed_decides_the_interval():
    times = np.random.default_rng(0).uniform(1, 100, size=(2, 30))
    assert speed_up(*times, 100, rng=1) == speed_up(*times, 100, rng=np.random.default_rng(1))
    assert speed_up(*times, 100, rng=1) != speed_up(*times, 100, rng=2)


@pytest.mark.parametrize(
    ("reference", "arm", "level", "message"),
    [([1.0], [1.0, 2.0], 0.95, "equal length"), ([], [], 0.95, "equal length"), ([0.0], [1.0], 0.95, "above 0"),
     ([1.0], [11.0], 0.95, "budget of 10"), ([np.nan], [1.0], 0.95, "times"), ([1.0], [1.0], 95, "level is 95")],
)  # fmt: skip
def test_bad_times_are_refused_in_one_sentence(reference, arm, level, message):
    with pytest.raises(ValueError, match=message):
        speed_up(np.array(reference), np.array(arm), 10, level)


@pytest.mark.parametrize("budget", [0, 1.5, np.nan])
def test_budgets_are_shares(budget):
    with pytest.raises(ValueError, match="budgets"):
        targets(STEPS, np.ones((2, 5)), [budget])
