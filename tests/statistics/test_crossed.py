"""Two standard errors: closed forms in small cases, components recovered, intervals that cover."""

import numpy as np
import pytest
from scipy import stats

from lab.statistics.crossed import by_document, crossed
from lab.statistics.paired import paired_t


def experiments(n, seeds, documents, seed, text, residual, rng=0):
    """Differences of mean 0, and the mean of each experiment's own documents."""
    rng = np.random.default_rng(rng)
    of_text = np.sqrt(text) * rng.normal(size=(n, 1, documents))
    of_seed = np.sqrt(seed) * rng.normal(size=(n, seeds, 1))
    return of_seed + of_text + np.sqrt(residual) * rng.normal(size=(n, seeds, documents)), of_text.mean(axis=(1, 2))


def test_over_seeds_it_is_the_paired_t_interval_of_the_means():
    differences, _ = experiments(7, 6, 20, 1, 1, 1)
    weights = np.arange(1.0, 21)
    found, t = crossed(differences, weights), paired_t(differences @ weights / weights.sum())
    np.testing.assert_allclose(found.mean, t.mean)
    np.testing.assert_allclose(found.interval_over_seeds(), (t.low, t.high))


def test_without_noise_of_seeds_it_is_the_clustered_standard_error_of_the_text():
    # Seeds agree: what is left is a ratio of sums over documents (Cochran 1977, equation 6.13).
    rng = np.random.default_rng(0)
    losses, tokens = rng.normal(size=12), rng.uniform(1, 5, 12)
    found = crossed(np.tile(losses, (4, 1)), tokens)
    mean = losses @ tokens / tokens.sum()
    expected = np.sqrt((tokens**2 * (losses - mean) ** 2).sum() / 11 * 12) / tokens.sum()
    assert found.mean == pytest.approx(mean)
    assert found.se_seeds == pytest.approx(0)
    assert found.se_seeds_and_text == pytest.approx(expected)


def test_components_of_a_small_table_are_those_of_its_mean_squares():
    table = np.array([[1.0, 2, 6], [2, 4, 9]])
    rows, columns = 3 * np.var(table.mean(1), ddof=1), 2 * np.var(table.mean(0), ddof=1)
    rest = ((table - table.mean(1)[:, None] - table.mean(0) + table.mean()) ** 2).sum() / 2
    found = crossed(table)
    assert found.components == pytest.approx(((rows - rest) / 3, (columns - rest) / 2, rest))
    total = rows + columns - rest
    assert found.se_seeds_and_text == pytest.approx(np.sqrt(total / 6))
    assert found.df_seeds_and_text == pytest.approx(total**2 / (rows**2 / 1 + columns**2 / 2 + rest**2 / 2))


@pytest.mark.parametrize("weights", [None, np.repeat([1.0, 3.0], 30)])
def test_known_components_are_recovered(weights):
    differences, _ = experiments(300, 8, 60, 0.5, 2, 4)
    seed, text, residual = (part.mean() for part in crossed(differences, weights).components)
    # With unequal weights a document of average length counts: 1 / D of a sum of squares that is 1.25 times as large.
    inflated = 1 if weights is None else 60 * (weights**2).sum() / weights.sum() ** 2
    assert (seed, text, residual) == pytest.approx((0.5, 2 * inflated, 4 * inflated), rel=0.08)


@pytest.mark.parametrize("seeds", [8, 20])
@pytest.mark.parametrize("text", [0.0, 1.0])
def test_both_intervals_cover_their_own_truth(seeds, text):
    differences, of_this_text = experiments(2000, seeds, 64, 0.05, text, 4, seeds)
    found = crossed(differences)
    for (low, high), truth in (
        (found.interval_over_seeds(), of_this_text),
        (found.interval_over_seeds_and_text(), 0),
    ):
        covered = np.mean((low <= truth) & (truth <= high))
        assert covered == pytest.approx(0.95, abs=0.01 + 2 * np.sqrt(0.05 * 0.95 / 2000))
    low, high = found.interval_over_seeds()
    if text:
        assert np.mean((low <= 0) & (high >= 0)) < 0.9  # what the seeds cannot see


def test_text_never_makes_a_standard_error_smaller():
    found = crossed(experiments(500, 5, 10, 1, 0, 1)[0])
    assert (found.se_seeds_and_text >= found.se_seeds).all()
    assert (found.se_seeds_and_text == found.se_seeds).any()


def test_windows_of_one_document_are_one_document():
    losses = np.array([[1.0, 5, 3, 2], [0, 1, 1, 1]])
    means, tokens = by_document(losses, np.array([7, 3, 7, 3]), np.array([1.0, 2, 3, 2]))
    np.testing.assert_array_equal(tokens, [4, 4])
    np.testing.assert_allclose(means, [[3.5, 2.5], [1, 0.75]])


def test_equal_differences_leave_no_doubt():
    found = crossed(np.full((3, 4), 2.0))
    assert found.interval_over_seeds_and_text() == (2, 2)
    assert found.components == (0, 0, 0)


@pytest.mark.parametrize(
    ("differences", "weights", "message"),
    [
        (np.ones((1, 5)), None, "1 seeds"),
        (np.ones((5, 1)), None, "1 documents"),
        (np.array([[1.0, np.nan], [1, 1]]), None, "finite"),
        (np.ones((2, 3)), np.ones(2), "weights"),
        (np.ones((2, 3)), np.array([1.0, 0, 1]), "weights"),
    ],
)
def test_what_cannot_be_crossed_is_refused(differences, weights, message):
    with pytest.raises(ValueError, match=message):
        crossed(differences, weights)


def test_windows_need_a_document_and_tokens_each():
    with pytest.raises(ValueError, match="3, 2 and 3 windows"):
        by_document(np.ones(3), np.zeros(2, dtype=int), np.ones(3))
    with pytest.raises(ValueError, match="lengths"):
        by_document(np.ones(3), np.zeros(3, dtype=int), np.array([1.0, 0, 1]))


def test_a_level_is_a_probability():
    found = crossed(np.arange(6.0).reshape(2, 3))
    with pytest.raises(ValueError, match="level is 95"):
        found.interval_over_seeds(95)
    assert np.diff(found.interval_over_seeds(0.5))[0] == pytest.approx(2 * stats.t.ppf(0.75, 1) * found.se_seeds)
