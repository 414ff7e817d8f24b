"""The interquartile mean over strata, its interval over seeds, and what the random numbers decide."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.arms.aggregate import interquartile_mean


def test_value_is_the_mean_of_the_middle_half_of_all_strata_together():
    values = np.array([[100.0, 1, 2, 3], [-50.0, 4, 5, 6]])
    assert interquartile_mean(values).value == np.mean([2, 3, 4, 5])
    assert interquartile_mean(np.array([[1.0, 2, 6]])).value == 3  # too few to leave any out


def test_seeds_are_resampled_and_strata_are_not():
    # Seeds do not differ within a task: nothing is uncertain, however far apart the tasks are.
    found = interquartile_mean(np.outer([1.0, 4.0], np.ones(3)))
    assert found.low == found.value == found.high


def test_a_seed_is_drawn_in_all_strata_at_once():
    # What one stratum gains the other loses: seeds leave no doubt of the mean of both, though of either.
    seed = np.random.default_rng(0).normal(size=3)
    found = interquartile_mean(np.stack([seed, -seed]))
    assert found.value == pytest.approx(0)
    alone = interquartile_mean(seed[None])
    assert found.high - found.low < 0.5 * (alone.high - alone.low)


def test_arms_are_resampled_with_the_same_seeds():
    values = np.random.default_rng(0).normal(size=(1, 3, 5)) + np.array([0.0, 2.0])[:, None, None]
    for ends in interquartile_mean(values):
        assert ends[1] - ends[0] == pytest.approx(2)  # an arm that is worse by 2 everywhere


def test_interval_of_values_of_which_none_is_left_out_is_student_s():
    values = np.random.default_rng(0).normal(size=(1, 3))
    found = interquartile_mean(values, level=0.9)
    theirs = stats.t.interval(0.9, 2, loc=values.mean(), scale=stats.sem(values[0]))
    np.testing.assert_allclose([found.low, found.high], theirs, rtol=0.03)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_intervals_cover_where_sizes_share_their_seeds(correlation):
    rng, covered = np.random.default_rng(0), 0
    for _ in range(400):
        shared = np.sqrt(correlation) * rng.normal(size=(1, 5))
        found = interquartile_mean(shared + np.sqrt(1 - correlation) * rng.normal(size=(3, 5)), rng=rng)
        covered += found.low <= 0 <= found.high
    assert covered / 400 >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 400)


def test_one_seed_leaves_everything_open():
    found = interquartile_mean(np.array([[1.0], [2.0]]))
    assert (found.value, found.low, found.high) == (1.5, -np.inf, np.inf)


def test_the_seed_decides_and_nothing_else_does():
    values = np.random.default_rng(0).normal(size=(2, 6))
    np.random.default_rng(5).normal()
    first, again, other = (interquartile_mean(values, rng=rng) for rng in (1, np.random.default_rng(1), 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)


@pytest.mark.parametrize("values", [np.ones((0, 3)), np.ones((2, 0)), np.array([[1.0, np.nan]]), np.array([[np.inf]])])
def test_strata_without_finite_values_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        interquartile_mean(values)


def test_a_level_is_a_probability():
    with pytest.raises(ValueError, match="level is 95"):
        interquartile_mean(np.ones((1, 3)), level=95)
