"""The AUC is the probability that a case exceeds a control; its interval respects strata and groups."""

import numpy as np
import pytest
from refusals import refused
from scipy import stats

from lab.statistics.auc import Pairs, above, auc


def test_it_is_u_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    for decimals in (8, 0):  # without and with ties
        cases, controls = rng.normal(1, 2, 17).round(decimals), rng.normal(0, 2, 23).round(decimals)
        u = stats.mannwhitneyu(cases, controls).statistic
        assert auc(cases, controls) == pytest.approx(u / (17 * 23))
        assert auc(controls, cases) == pytest.approx(1 - u / (17 * 23))
        assert auc(np.exp(cases), np.exp(controls)) == auc(cases, controls)


def test_closed_cases():
    assert auc(np.array([3.0, 4.0]), np.array([1.0, 2.0])) == 1
    assert auc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    assert auc(np.array([np.inf]), np.array([np.inf, 0.0])) == 0.75
    batch = auc(np.array([[1.0, 3.0], [3.0, 3.0]]), np.array([[2.0], [2.0]]))
    np.testing.assert_array_equal(batch, [0.5, 1.0])
    with refused("cases", 0):
        auc(np.ones(0), np.ones(2))
    assert np.isnan(above(np.array([np.nan, 1.0]), np.array([1.0, np.nan]))).all()


def scores(cases, controls):
    return above(cases[:, None], controls[None, :])


def test_the_interval_covers_the_auc_of_two_normal_distributions():
    rng = np.random.default_rng(1)
    true, covered = stats.norm.cdf(1 / np.sqrt(2)), []
    pairs = Pairs(np.arange(30), 30 + np.arange(40))
    for _ in range(150):
        found = pairs.estimate(scores(rng.normal(1, 1, 30), rng.normal(0, 1, 40)), 0.9)
        covered.append(found.low <= true <= found.high)
    assert 0.8 < np.mean(covered) < 0.98


def test_only_pairs_of_one_stratum_count():
    offset = np.repeat([0.0, 100.0, 200.0], 4)
    cases, controls = offset + 1, offset
    same = offset[:, None] == offset[None, :]
    found = Pairs(np.arange(12), np.arange(12)).estimate(np.where(same, scores(cases, controls), np.nan))
    assert tuple(found) == (1, 1, 1)
    assert auc(cases, controls) < 0.7


def test_copies_in_a_group_are_no_new_evidence():
    rng = np.random.default_rng(2)
    cases, controls = rng.normal(0.7, 1, 12), rng.normal(0, 1, 12)
    alone = Pairs(np.arange(12), np.arange(12)).estimate(scores(cases, controls))
    again = Pairs(np.repeat(np.arange(12), 5), np.repeat(np.arange(12), 5))
    assert again.estimate(scores(np.repeat(cases, 5), np.repeat(controls, 5))) == pytest.approx(alone)
    as_if = Pairs(np.arange(60), np.arange(60)).estimate(scores(np.repeat(cases, 5), np.repeat(controls, 5)))
    assert as_if.high - as_if.low < 0.7 * (alone.high - alone.low)


def test_without_a_pair_nothing_is_known():
    found = Pairs(np.arange(2), np.arange(2)).estimate(np.full((2, 2), np.nan))
    assert np.isnan(found).all()
    with refused("level", 95):
        Pairs(np.arange(2), np.arange(2)).estimate(np.ones((2, 2)), 95)


def test_the_p_of_no_difference_is_that_of_mann_and_whitney():
    rng = np.random.default_rng(3)
    pairs, few = Pairs(np.arange(20), 20 + np.arange(25)), Pairs(np.arange(3), 3 + np.arange(3))
    under_null = [pairs.p_value(scores(rng.normal(0, 1, 20), rng.normal(0, 1, 25))) for _ in range(200)]
    assert np.mean(np.array(under_null) < 0.1) < 0.16
    cases, controls = rng.normal(1, 1, 20), rng.normal(0, 1, 25)
    theirs = stats.mannwhitneyu(cases, controls, method="asymptotic", use_continuity=False).pvalue
    assert pairs.p_value(scores(cases, controls)) == pytest.approx(theirs, abs=0.01)
    assert 0.02 < few.p_value(np.ones((3, 3))) < 0.1  # exactly .1
    alone = np.where(np.eye(3, dtype=bool), 1.0, np.nan)
    assert few.p_value(alone) == pytest.approx(2 * stats.norm.cdf(-np.sqrt(3)))  # three flips of a coin
    assert np.isnan(pairs.p_value(np.full((20, 25), np.nan)))
