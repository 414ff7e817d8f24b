"""Ranks: sets that hold the true ones, and the correlation of two rankings."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.arms.ranking import rank_correlation, rank_sets

RNG = np.random.default_rng(0)


def test_a_rank_correlation_is_spearman_s_of_the_means():
    ours, theirs = RNG.normal(size=(12, 5)), RNG.normal(size=(12, 1))
    found = rank_correlation(ours, theirs)
    expected = stats.spearmanr(ours.mean(axis=1), theirs[:, 0])
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)


def test_three_arms_are_in_one_order_by_chance_in_a_third_of_all_cases():
    arms = np.arange(3.0)[:, None]
    assert rank_correlation(arms, arms).p_value == pytest.approx(1 / 3)


def test_two_arms_have_no_correlation():
    with pytest.raises(ValueError, match="2 arms"):
        rank_correlation(np.ones((2, 3)), np.ones((2, 3)))


def test_what_seeds_tell_apart_has_one_rank_and_what_they_do_not_any():
    noise = 0.01 * RNG.normal(size=(4, 6))
    apart = rank_sets(np.array([3.0, 1.0, 4.0, 2.0])[:, None] + noise)
    np.testing.assert_array_equal(apart, [[3, 1, 4, 2]] * 2)
    two_groups = rank_sets(np.array([5.0, 0.0, 0.0, 5.0])[:, None] + np.array([[0.1], [0], [0], [0]]) * noise + noise)
    np.testing.assert_array_equal(two_groups.low, [3, 1, 1, 3])
    np.testing.assert_array_equal(two_groups.high, [4, 2, 2, 4])


def test_a_single_run_tells_no_rank():
    found = rank_sets(np.arange(3.0)[:, None])
    np.testing.assert_array_equal(found, [[1, 1, 1], [3, 3, 3]])


@pytest.mark.parametrize("spread", [0.0, 0.5, 2.0])
def test_sets_hold_all_true_ranks_at_once(spread):
    means = spread * np.arange(6.0)
    values = means[:, None] + RNG.normal(size=(2000, 6, 8)) + RNG.normal(size=(2000, 1, 8))
    found = rank_sets(values)
    # Of equal arms any rank between the first and the last of them is true.
    lowest, highest = (1, 6) if spread == 0 else (np.arange(1, 7), np.arange(1, 7))
    if spread == 0:
        covered = (found.low == lowest) & (found.high == highest)
    else:
        covered = (found.low <= lowest) & (found.high >= highest)
    assert covered.all(axis=-1).mean() >= 0.95 - 3 * np.sqrt(0.05 * 0.95 / 2000)
    assert (found.high - found.low).mean() < 5 or spread < 1


def test_one_arm_has_no_ranking():
    with pytest.raises(ValueError, match="1 arm"):
        rank_sets(np.ones((1, 4)))
