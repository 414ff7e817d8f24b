"""The interquartile mean over strata of unequal size, its interval, and what the seed decides."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.aggregate import interquartile_mean


def test_value_is_the_mean_of_the_middle_half_of_all_strata_together():
    strata = [np.array([100.0, 1, 2]), np.array([-50.0, 3, 4, 5, 6])]
    assert interquartile_mean(strata).value == np.mean([2, 3, 4, 5])
    assert interquartile_mean([np.array([1.0, 2, 6])]).value == 3  # too few to leave any out


def test_strata_are_resampled_each_by_itself():
    # Seeds do not differ within a task: nothing is uncertain, however far apart the tasks are.
    found = interquartile_mean([np.full(3, 1.0), np.full(5, 4.0)])
    assert found.low == found.value == found.high


def test_arms_are_resampled_with_the_same_seeds():
    rng = np.random.default_rng(0)
    strata = [rng.normal(size=(1, n)) + np.array([[0.0], [2.0]]) for n in (4, 6)]
    found = interquartile_mean(strata)
    for ends in found:
        assert ends[1] - ends[0] == pytest.approx(2)  # an arm that is worse by 2 everywhere


def test_interval_of_one_stratum_is_scipys():
    values = np.random.default_rng(0).exponential(size=30)
    found = interquartile_mean([values], level=0.9)
    theirs = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        confidence_level=0.9,
        method="percentile",
        rng=np.random.default_rng(1),
    )
    np.testing.assert_allclose([found.low, found.high], theirs.confidence_interval, rtol=0.03)


def test_the_seed_decides_and_nothing_else_does():
    values = [np.random.default_rng(0).normal(size=12)]
    np.random.default_rng(5).normal()
    first, again, other = (interquartile_mean(values, rng=rng) for rng in (1, np.random.default_rng(1), 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("strata", [[], [np.ones(0)], [np.ones(3), np.array([1.0, np.nan])], [np.array([np.inf])]])
def test_strata_without_finite_values_are_refused(strata):
    with pytest.raises(ValueError, match="finite"):
        interquartile_mean(strata)


def test_a_level_is_a_probability():
    with pytest.raises(ValueError, match="level is 95"):
        interquartile_mean([np.ones(3)], level=95)
