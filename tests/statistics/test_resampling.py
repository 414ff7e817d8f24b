"""Resampling of many rows at once is that of each row, and keeps infinite replicates."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.resampling import bca, percentile_interval, resampled, sign_flip_p


@pytest.mark.parametrize("n", [1, 2, 9])
def test_sign_flips_count_every_pattern(n):
    rows = np.random.default_rng(n).normal(0.3, 1, size=(2, 5, n))
    signs = np.array(np.meshgrid(*[[-1, 1]] * n)).reshape(n, -1)
    enumerated = np.mean(np.abs(rows @ signs) >= np.abs(rows.sum(axis=-1, keepdims=True)) - 1e-12, axis=-1)
    np.testing.assert_allclose(sign_flip_p(rows), enumerated, rtol=1e-12)


def test_drawn_sign_flips_agree_with_enumerated_ones(monkeypatch):
    rows = np.random.default_rng(0).normal(0.3, 1, size=(6, 12))
    exact = sign_flip_p(rows)
    monkeypatch.setattr("lab.statistics.resampling.ENUMERATED_PAIRS", 0)
    np.testing.assert_allclose(sign_flip_p(rows), exact, atol=0.02)


def test_drawn_sign_flips_count_what_was_observed():
    assert sign_flip_p(np.ones(40)) == 1 / 10_000


def test_bootstrap_interval_of_each_row_is_scipys():
    rows = np.random.default_rng(0).exponential(size=(2, 2, 20))
    rows[1, 0] = 3.0  # no spread: scipy would warn and answer nan
    low, high = bca(rows, 0.9)
    assert (low[1, 0], high[1, 0]) == (3, 3)
    for index in [(0, 0), (0, 1), (1, 1)]:
        theirs = stats.bootstrap((rows[index],), np.mean, confidence_level=0.9, rng=np.random.default_rng(1))
        np.testing.assert_allclose([low[index], high[index]], theirs.confidence_interval, rtol=0.03)


def test_resamples_depend_on_their_seed_alone():
    np.testing.assert_array_equal(resampled(3, 5), resampled(np.random.default_rng(3), 5))
    assert (resampled(3, 5) != resampled(4, 5)).any()
    np.testing.assert_array_equal(np.unique(resampled(3, 5)), np.arange(5))


def test_percentiles_are_replicates_even_beside_infinity():
    replicates = np.array([np.arange(1.0, 101), np.r_[np.arange(1.0, 97), np.full(4, np.inf)]])
    low, high = percentile_interval(replicates, 0.9)
    np.testing.assert_array_equal(low, [5, 5])
    np.testing.assert_array_equal(high, [95, 95])
    assert percentile_interval(replicates, 0.94)[1].tolist() == [97, np.inf]


def test_differences_that_are_equal_but_for_rounding_have_one_value_as_their_interval():
    low, high = bca(0.3 + 1e-17 * np.arange(20) + np.array([0.0, 6e-17] * 10), 0.95)
    assert low == high == pytest.approx(0.3)
