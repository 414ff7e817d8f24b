"""The probability of improvement: wins and ties, the bootstrap without resampling."""

import numpy as np
import pytest

from lab.statistics.improvement import probability_of_improvement


def test_lower_losses_win_and_ties_count_half():
    found = probability_of_improvement(np.array([[-1.0, -2, 0, 3], [0, 0, 0, 0]]))
    np.testing.assert_array_equal(found.value, [2.5 / 4, 0.5])
    assert (found.low[1], found.high[1]) == (0.5, 0.5)


@pytest.mark.parametrize("differences", [[-1, -1, -1, 1, 1, -1, 0, 0, -1], [-1, -1, -1, -1, 1]])
def test_interval_is_that_of_many_resamples(differences):
    differences = np.array(differences, dtype=float)
    points = (differences < 0) + (differences == 0) / 2
    index = np.random.default_rng(0).integers(len(points), size=(400_000, len(points)))
    shares = points[index].mean(axis=1)
    for level in (0.8, 0.95):
        found = probability_of_improvement(differences, level)
        ends = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        np.testing.assert_allclose([found.low, found.high], ends)


def test_every_row_is_counted_by_itself():
    rows = np.random.default_rng(0).integers(-1, 2, size=(3, 4, 7)).astype(float)
    batch = probability_of_improvement(rows)
    for index in np.ndindex(3, 4):
        assert tuple(one[index] for one in batch) == tuple(probability_of_improvement(rows[index]))


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="at least one pair"):
        probability_of_improvement(np.ones(0))
    with pytest.raises(ValueError, match="numbers"):
        probability_of_improvement(np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="level is 95"):
        probability_of_improvement(np.ones(3), 95)
