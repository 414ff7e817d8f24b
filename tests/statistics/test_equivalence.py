"""Equivalence is two one-sided t tests, and is not found at the margin's edge."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.equivalence import equivalence

EXPERIMENTS = 20_000


def test_p_value_is_the_larger_of_two_one_sided_tests():
    rows = np.random.default_rng(0).normal(0.2, 1, size=(50, 6))
    above = stats.ttest_1samp(rows, -1.3, axis=1, alternative="greater")
    below = stats.ttest_1samp(rows, 1.3, axis=1, alternative="less")
    np.testing.assert_allclose(equivalence(rows, 1.3).p_value, np.maximum(above.pvalue, below.pvalue), rtol=1e-9)


def test_interval_within_the_margin_is_a_small_p():
    found = equivalence(np.random.default_rng(0).normal(0.2, 1, size=(500, 6)), 1.3, level=0.9)
    within = (found.low > -1.3) & (found.high < 1.3)
    assert 0 < within.mean() < 1
    np.testing.assert_array_equal(within, found.p_value < 0.1)


@pytest.mark.parametrize("edge", [-3.0, 3.0])
def test_at_either_edge_the_rate_is_alpha_and_beyond_it_less(edge):
    noise = np.random.default_rng(0).normal(size=(EXPERIMENTS, 8))
    error = np.sqrt(0.05 * 0.95 / EXPERIMENTS)
    assert abs(np.mean(equivalence(noise + edge, 3.0).p_value < 0.05) - 0.05) <= 3 * error
    assert np.mean(equivalence(noise + 1.1 * edge, 3.0).p_value < 0.05) < 0.03


def test_degenerate_differences():
    one = equivalence(np.ones(1), 2.0)
    assert (one.low, one.high) == (-np.inf, np.inf)
    assert np.isnan(one.p_value)
    constant = equivalence(np.array([[0.5, 0.5], [1, 1], [-2, -2]]), 1.0)
    np.testing.assert_array_equal(constant.p_value, [0, 1, 1])  # the edge itself is not within


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0,), "margin is 0"), ((np.nan,), "margin is nan"), ((np.inf,), "margin is inf"), ((1.0, 0.5), "level is 0.5"),
     ((1.0, 95), "level is 95")],
)  # fmt: skip
def test_impossible_designs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        equivalence(np.arange(3.0), *arguments)
    with pytest.raises(ValueError, match="at least one pair"):
        equivalence(np.ones((2, 0)), 1.0)
