"""Divergence is counted exactly and apart from the loss, which pairs that trained decide."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lab.statistics.paired import paired_t
from lab.statistics.stability import rate_interval, stability, trained_t


def test_the_p_is_that_of_all_ways_to_share_out_the_pairs_of_which_one_diverged():
    arm = np.array([1, 1, 1, 1, 0, 1, 0, 0], dtype=bool)
    baseline = np.array([0, 0, 0, 0, 1, 1, 0, 0], dtype=bool)
    found = stability(arm, baseline)
    assert (found.n, found.arm, found.baseline, found.arm_alone, found.baseline_alone) == (8, 5, 2, 4, 1)
    shares = [sum(flips) for flips in itertools.product([0, 1], repeat=5)]
    assert found.p_value == pytest.approx(np.mean([share <= 1 or share >= 4 for share in shares]))
    assert stability(baseline, arm).p_value == found.p_value


def test_pairs_that_agree_say_nothing():
    both = np.array([True, True, False])
    assert stability(both, both).p_value == 1
    assert stability(np.ones(8, bool), np.zeros(8, bool)).p_value == pytest.approx(2 / 256)


def test_equal_rates_are_told_apart_less_often_than_alpha():
    rng = np.random.default_rng(0)
    arm, baseline = rng.random((2, 5000, 20)) < 0.2
    assert stability(arm, baseline).p_value.shape == (5000,)
    assert (stability(arm, baseline).p_value < 0.05).mean() <= 0.05
    assert (stability(arm, rng.random((5000, 20)) < 0.8).p_value < 0.05).mean() > 0.8


@pytest.mark.parametrize(("diverged", "n"), [(0, 5), (3, 8), (8, 8)])
def test_a_rate_has_its_exact_interval(diverged, n):
    theirs = stats.binomtest(diverged, n).proportion_ci(0.9, "exact")
    assert rate_interval(np.array(diverged), n, 0.9) == pytest.approx((theirs.low, theirs.high))


def test_pairs_that_trained_have_their_t_test_whatever_the_others_are():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(4, 6))
    rows[1, 2], rows[2, :5], rows[3] = np.nan, np.nan, np.nan
    t, n = trained_t(rows)
    np.testing.assert_array_equal(n, [6, 5, 1, 0])
    for row in (0, 1):
        alone = paired_t(rows[row][~np.isnan(rows[row])])
        np.testing.assert_allclose([field[row] for field in t], alone)
    assert (t.low[2], t.high[2]) == (t.low[3], t.high[3]) == (-np.inf, np.inf)
    assert np.isnan(t.p_value[2:]).all()


def test_one_diverged_seed_of_eight_leaves_a_large_effect_resolved():
    rng = np.random.default_rng(0)
    differences = rng.normal(-2.8, 1, size=(2000, 8))
    differences[:, 0] = np.nan
    assert (trained_t(differences)[0].p_value < 0.05).mean() > 0.99


def test_what_does_not_pair_is_refused():
    with pytest.raises(ValueError, match="shapes"):
        stability(np.ones(3, bool), np.ones(4, bool))
    with pytest.raises(ValueError, match="shapes"):
        stability(np.ones(0, bool), np.ones(0, bool))
    with pytest.raises(ValueError, match="diverged is 9 of n = 8"):
        rate_interval(np.array(9), 8)
    with pytest.raises(ValueError, match="level is 95"):
        rate_interval(np.array(1), 8, 95)
