"""Spreads: the chi-square interval of a sd, the range of equal arms, pseudo-values and rank correlations."""

import numpy as np
import pytest

from lab.statistics.jackknife import pseudo_values
from lab.statistics.paired import paired_t
from lab.statistics.spread import median_interval, range_of_equals, sd_interval

RNG = np.random.default_rng(7)


def test_the_interval_of_a_sd_is_the_textbook_s():
    found = sd_interval(np.array([10.0, 12.0, 9.0, 11.0, 13.0]))
    assert found.value == pytest.approx(np.sqrt(2.5))
    assert [found.low**2, found.high**2] == pytest.approx([4 * 2.5 / 11.1433, 4 * 2.5 / 0.484419], rel=1e-4)


def test_the_interval_of_a_sd_covers_as_often_as_it_says():
    found = sd_interval(RNG.normal(size=(4000, 6)))
    assert np.mean((found.low < 1) & (found.high > 1)) == pytest.approx(0.95, abs=0.012)


def test_the_interval_of_a_median_covers_at_least_as_often_as_it_says_whatever_the_distribution():
    draws = np.exp(RNG.normal(size=(2000, 15)))
    found = [median_interval(row) for row in draws]
    covers = np.mean([one.low <= 1 <= one.high for one in found])
    assert 0.95 - 0.01 < covers < 0.975  # of 15 values the exact level is 0.965
    assert all(one.low < one.value < one.high for one in found)


def test_too_few_values_leave_a_median_open():
    assert median_interval(np.arange(5.0)) == (2, -np.inf, np.inf)
    assert median_interval(np.arange(6.0)) == (2.5, 0, 5)
    with pytest.raises(ValueError, match="at least one value"):
        median_interval(np.array([]))


def test_one_run_has_no_spread_and_equal_runs_have_none_but_0():
    one, equal = sd_interval(np.ones((2, 1))), sd_interval(np.ones(3))
    assert np.isnan(one.value).all()
    assert (one.low == 0).all()
    assert np.isposinf(one.high).all()
    assert equal == (0, 0, 0)
    with pytest.raises(ValueError, match="at least one run"):
        sd_interval(np.ones(0))


def test_equal_arms_span_less_than_their_range_in_95_of_100_tables():
    spans = np.ptp(RNG.normal(size=(4000, 30)), axis=1)
    assert np.mean(spans < range_of_equals(30)) == pytest.approx(0.95, abs=0.012)
    with pytest.raises(ValueError, match="arms is 1"):
        range_of_equals(1)


def test_pseudo_values_of_a_mean_are_the_values():
    values = RNG.normal(size=7)
    assert pseudo_values(lambda kept: values[kept].mean(), 7) == pytest.approx(values)
    with pytest.raises(ValueError, match="n is 2"):
        pseudo_values(lambda kept: 0.0, 2)


def test_pseudo_values_of_a_variance_take_its_bias_away():
    values = RNG.normal(size=9)
    assert pseudo_values(lambda kept: values[kept].var(), 9).mean() == pytest.approx(values.var(ddof=1))


def test_the_jackknife_of_a_ratio_of_variances_covers_as_often_as_it_says():
    pairs = RNG.normal(size=(500, 2, 8))
    pairs[:, 1] += pairs[:, 0]  # paired by seed, and of twice the variance
    ratios = [
        pseudo_values(lambda kept, pair=pair: np.log(pair[1, kept].var() / pair[0, kept].var()), 8) for pair in pairs
    ]
    found = paired_t(np.array(ratios))
    assert np.mean((found.low < np.log(2)) & (found.high > np.log(2))) == pytest.approx(0.95, abs=0.035)
