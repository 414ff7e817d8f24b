"""The intervals and tests keep their level, agree with scipy, and say so when there is nothing to say."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lab.statistics.paired import (
    effect_with_power,
    holm,
    minimum_detectable_effect,
    paired_difference,
    paired_t,
    pairs_needed,
    power_of_t,
)

DATA_SETS = 20_000
ARMS = 5


def at_most(rate: float) -> float:
    """Two Monte Carlo standard errors above a true rate."""
    return rate + 2 * np.sqrt(rate * (1 - rate) / DATA_SETS)


@pytest.fixture(scope="module", params=[5, 8, 20])
def null_losses(request):
    """Losses [data set, arm, seed] without any effect: what a seed shares, plus what is each run's own."""
    rng, n = np.random.default_rng(request.param), request.param
    return rng.normal(size=(DATA_SETS, 1, n)) + 0.5 * rng.normal(size=(DATA_SETS, ARMS + 1, n))


def test_intervals_cover_and_null_arms_are_rejected_at_the_stated_rate(null_losses):
    t = paired_t(null_losses[:, 1:] - null_losses[:, :1])
    missed = (t.low > 0) | (t.high < 0)
    assert (missed.mean(axis=0) <= at_most(0.05)).all()
    assert (missed.mean(axis=0) >= 0.05 - (at_most(0.05) - 0.05) * 1.5).all()  # neither too wide
    np.testing.assert_array_equal(missed, t.p_value < 0.05)


def test_holm_keeps_the_family_wise_error_of_arms_that_share_a_baseline(null_losses):
    p = paired_t(null_losses[:, 1:] - null_losses[:, :1]).p_value
    rejected = holm(p).min(axis=1) < 0.05
    assert rejected.mean() <= at_most(0.05)


def test_interval_covers_a_true_difference():
    rng = np.random.default_rng(1)
    t = paired_t(0.3 + rng.normal(size=(DATA_SETS, 5)), level=0.8)
    assert np.mean((t.low > 0.3) | (t.high < 0.3)) <= at_most(0.2)


@pytest.mark.parametrize("n", [2, 5, 30])
def test_paired_difference_is_scipys_paired_t_test(n):
    rng = np.random.default_rng(n)
    arm, baseline = rng.normal(size=n), rng.normal(size=n)
    ours, theirs = paired_difference(arm, baseline, level=0.9), stats.ttest_rel(arm, baseline)
    interval = theirs.confidence_interval(0.9)
    np.testing.assert_allclose(
        [ours.p_value, ours.low, ours.high], [theirs.pvalue, interval.low, interval.high], rtol=1e-9
    )
    assert ours.n == n


def test_single_comparison_is_a_row_of_the_batch():
    rng = np.random.default_rng(0)
    arms, baselines = rng.normal(size=(2, 50, 6))
    batch = paired_t(arms - baselines)
    for row in range(50):
        one = paired_difference(arms[row], baselines[row])
        np.testing.assert_allclose([one.mean, one.sd, one.low, one.high, one.p_value], [x[row] for x in batch])


@pytest.mark.parametrize("n", [8, 11])
def test_sign_flips_are_exact(n):
    differences = np.random.default_rng(n).normal(0.4, 1, n)
    theirs = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", vectorized=True, n_resamples=np.inf
    )
    assert paired_difference(differences, np.zeros(n)).sign_flip_p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_sign_flips_count_ties_with_the_observed_sum():
    assert paired_difference(np.full(8, 0.1), np.zeros(8)).sign_flip_p == 2 / 2**8
    assert paired_difference([0.1, 0.2, 0.3, -0.1, -0.2, -0.3, 0.7, -0.7], np.zeros(8)).sign_flip_p == 1


def test_drawn_sign_flips_agree_with_the_t_test_on_normal_differences():
    differences = np.random.default_rng(0).normal(0.3, 1, 40)
    result = paired_difference(differences, np.zeros(40))
    assert result.sign_flip_p == pytest.approx(result.p_value, abs=0.02)
    assert result == paired_difference(differences, np.zeros(40))  # drawn, yet the same every time


def test_bootstrap_interval_is_near_the_t_interval_and_leans_with_the_skew():
    differences = np.random.default_rng(0).exponential(size=200)
    result = paired_difference(differences, np.zeros(200))
    low, high = result.bca
    np.testing.assert_allclose([low, high], [result.low, result.high], atol=0.1)
    assert high - result.mean > result.mean - low


def test_few_pairs_get_no_sign_flips_and_no_bootstrap():
    few, more = (paired_difference(np.arange(n) / 7, np.zeros(n)) for n in (7, 19))
    assert few.sign_flip_p is None
    assert more.sign_flip_p is not None
    assert more.bca is None


def test_degenerate_differences():
    one = paired_difference([1.0], [0.5])
    assert (one.mean, one.low, one.high) == (0.5, -np.inf, np.inf)
    assert np.isnan(one.p_value)
    same = paired_difference(np.ones(20), np.ones(20))
    assert (same.mean, same.low, same.high, same.p_value, same.sign_flip_p, same.bca) == (0, 0, 0, 1, 1, (0, 0))
    constant = paired_difference(np.full(20, 2.0), np.full(20, 1.5))
    assert (constant.mean, constant.low, constant.high, constant.p_value, constant.bca) == (
        0.5,
        0.5,
        0.5,
        0,
        (0.5, 0.5),
    )


@pytest.mark.parametrize(
    ("arm", "baseline", "level", "message"),
    [
        ([1.0, 2.0], [1.0], 0.95, "equal length"),
        ([[1.0]], [[1.0]], 0.95, "equal length"),
        ([], [], 0.95, "at least one pair"),
        ([1.0, np.nan], [1.0, 2.0], 0.95, "finite"),
        ([1.0], [np.inf], 0.95, "finite"),
        ([1.0], [1.0], 95, "level is 95"),
        ([1.0], [1.0], 0, "level is 0"),
    ],
)
def test_bad_pairs_are_refused_in_one_sentence(arm, baseline, level, message):
    with pytest.raises(ValueError, match=message):
        paired_difference(arm, baseline, level)


def test_holm_by_hand():
    # Sorted: 0.01 * 4 = 0.04, 0.02 * 3 = 0.06, 0.03 * 2 = 0.06, 0.5 * 1 = 0.5.
    np.testing.assert_allclose(holm([0.5, 0.01, 0.03, 0.02]), [0.5, 0.04, 0.06, 0.06])
    # 0.03 * 2 = 0.06 pulls the larger 0.04 * 1 up to itself; the test that was not made does not count.
    np.testing.assert_allclose(holm([0.04, np.nan, 0.03]), [0.06, np.nan, 0.06])
    assert holm([]).shape == (0,)


def test_holm_adjusts_every_family_by_itself():
    p = np.random.default_rng(0).uniform(size=(2, 3, 5))
    p[0, 1, 2] = p[1, 0, :4] = np.nan
    alone = [[holm(family) for family in families] for families in p]
    np.testing.assert_array_equal(holm(p), alone)


@given(st.lists(st.floats(0, 1) | st.just(np.nan), max_size=12), st.randoms())
def test_holm_properties(p_values, random):
    p = np.array(p_values, dtype=float)
    adjusted = holm(p)
    tested = ~np.isnan(p)
    np.testing.assert_array_equal(np.isnan(adjusted), ~tested)
    m = tested.sum()
    assert (adjusted[tested] >= p[tested]).all()
    assert (adjusted[tested] <= np.minimum(m * p[tested], 1)).all()  # never harsher than Bonferroni
    assert (np.diff(adjusted[tested][np.argsort(p[tested])]) >= 0).all()
    order = np.array(random.sample(range(len(p)), len(p)), dtype=int)
    np.testing.assert_array_equal(holm(p[order]), adjusted[order])


@pytest.mark.parametrize(("n", "level", "power"), [(2, 0.95, 0.5), (3, 0.99, 0.8), (5, 0.95, 0.8), (20, 0.95, 0.9)])
def test_an_effect_with_power_is_found_with_the_stated_power(n, level, power):
    effect = effect_with_power(2.0, n, level, power)
    samples = effect + 2.0 * np.random.default_rng(n).normal(size=(DATA_SETS, n))
    found = np.mean(paired_t(samples).p_value < 1 - level)
    assert abs(found - power) <= 3 * np.sqrt(power * (1 - power) / DATA_SETS)


@pytest.mark.parametrize("n", [5, 8, 20])
def test_the_minimum_detectable_effect_has_its_power_though_the_sd_is_estimated(n):
    sds = np.sqrt(np.random.default_rng(0).chisquare(n - 1, 400) / (n - 1))

    def realised(effect):
        critical = stats.f.ppf(0.95, 1, n - 1)
        return np.array([stats.ncf.sf(critical, 1, n - 1, n * one**2) for one in effect])

    power = realised([minimum_detectable_effect(sd, n) for sd in sds])
    assert power.mean() >= 0.8
    assert np.mean(power >= 0.8) == pytest.approx(0.8, abs=0.06)
    assert realised([effect_with_power(sd, n) for sd in sds]).mean() < 0.79  # the sd as it is
    assert minimum_detectable_effect(1.0, 1) == np.inf
    with pytest.raises(ValueError, match="assurance is 80"):
        minimum_detectable_effect(1.0, 5, assurance=80)


def test_effect_with_power_limits():
    assert effect_with_power(1.0, 1) == np.inf
    assert effect_with_power(np.nan, 1) == np.inf
    assert effect_with_power(0.0, 5) == 0
    assert effect_with_power(1.0, 2, level=0.999) > 100  # far out in the tail, still solved
    assert effect_with_power(3.0, 100_000) == pytest.approx(3 * (1.95996 + 0.84162) / np.sqrt(100_000), rel=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((-1.0, 5), "sd is -1"), ((np.nan, 5), "sd is nan"), ((1.0, 0), "n is 0"), ((1.0, 5, 1.0), "level is 1.0"),
     ((1.0, 5, 0.95, 0.01), "power is 0.01"), ((1.0, 5, 0.95, 1.0), "power is 1.0")],
)  # fmt: skip
def test_impossible_designs_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        effect_with_power(*arguments)


@pytest.mark.parametrize(("difference", "sd"), [(1.0, 1.0), (-0.2, 1.0), (0.05, 3.0)])
def test_pairs_needed_is_the_first_number_that_resolves(difference, sd):
    n = pairs_needed(difference, sd, level=0.99)
    assert effect_with_power(sd, n, level=0.99) <= abs(difference) < effect_with_power(sd, n - 1, level=0.99)


def test_pairs_needed_limits():
    assert pairs_needed(0.0, 1.0) is None
    assert pairs_needed(0.0, 0.0) is None
    assert pairs_needed(0.1, 0.0) == 2
    assert pairs_needed(1e9, 1.0) == 2
    assert pairs_needed(1e-4, 1.0) == pytest.approx(((1.95996 + 0.84162) / 1e-4) ** 2, rel=1e-4)
    with pytest.raises(ValueError, match="difference is nan"):
        pairs_needed(np.nan, 1.0)
    with pytest.raises(ValueError, match="sd is -1"):
        pairs_needed(0.5, -1.0)


def test_two_pairs_among_a_thousand_arms_have_a_detectable_effect():
    effect = minimum_detectable_effect(1.0, 2, level=1 - 0.05 / 1000)
    assert 1e4 < effect < 1e5


def test_power_is_continuous_and_at_most_one_far_out():
    near, far, beyond = power_of_t(np.array([999.0, 1001.0, 1e200]), 1, 0.999)
    assert near < far < near + 0.01
    assert beyond == 1
