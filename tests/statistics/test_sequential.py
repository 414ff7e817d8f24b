"""Repeated p values and intervals keep their level at whichever look one stops."""

import numpy as np
import pytest

from lab.statistics.equivalence import equivalence
from lab.statistics.paired import holm, paired_t
from lab.statistics.sequential import repeated_equivalence, repeated_interval, repeated_p

EXPERIMENTS = 20_000
FIRST, LAST = 3, 8


def at_most(rate: float) -> float:
    """Three Monte Carlo standard errors above a true rate; the simulated null distribution has its own, a third."""
    return rate + 3 * np.sqrt(rate * (1 - rate) / EXPERIMENTS)


@pytest.fixture(scope="module")
def null():
    """Differences [experiment, arm, pair] to a shared baseline, without any effect and of any spread."""
    rng = np.random.default_rng(0)
    runs = rng.normal(size=(EXPERIMENTS, 6, LAST))
    return 7.0 * (runs[:, 1:] - runs[:, :1])


@pytest.mark.parametrize("alpha", [0.05, 0.05 / 30])
def test_looking_after_every_pair_keeps_the_level(null, alpha):
    p = repeated_p(null[:, 0], FIRST, LAST)
    assert (p <= alpha).any(axis=-1).mean() <= at_most(alpha)
    if alpha == 0.05:
        assert (p <= alpha).any(axis=-1).mean() >= 0.049 - (at_most(0.05) - 0.05)  # nor does it give power away
        naive = [paired_t(null[:, 0, :n]).p_value for n in range(FIRST, LAST + 1)]
        assert (np.min(naive, axis=0) <= alpha).mean() > 0.1  # what is corrected


def test_holm_over_arms_keeps_the_family(null):
    assert (holm(repeated_p(null, FIRST, LAST)[..., -1]) <= 0.05).any(axis=-1).mean() <= at_most(0.05)


def test_more_pairs_never_raise_the_p_and_do_not_change_what_was_said(null):
    p = repeated_p(null[:50], FIRST, LAST)
    assert p.shape == (50, 5, LAST - FIRST + 1)
    assert (np.diff(p, axis=-1) <= 0).all()
    np.testing.assert_array_equal(repeated_p(null[:50, :, :5], FIRST, LAST), p[..., :3])


def test_a_single_look_is_the_t_test(null):
    p = repeated_p(null[:2000, 0], LAST, LAST)[:, 0]
    np.testing.assert_allclose(p, paired_t(null[:2000, 0]).p_value, atol=0.006)


def test_intervals_of_all_looks_cover_at_once(null):
    missed = np.zeros(EXPERIMENTS, dtype=bool)
    for n in range(FIRST, LAST + 1):
        t = repeated_interval(null[:, 0, :n], FIRST, LAST)
        missed |= (t.low > 0) | (t.high < 0)
    # The interval of some look misses where the repeated p of that look is below alpha, the very same experiments.
    np.testing.assert_array_equal(missed, repeated_p(null[:, 0], FIRST, LAST)[:, -1] <= 0.05)


@pytest.mark.parametrize("margin", [7.0, 30.0])
def test_equivalence_at_the_margin_keeps_the_level_though_it_is_looked_for_after_every_pair(null, margin):
    rows = null[:, 0] + margin
    p = repeated_equivalence(rows, margin, FIRST, LAST)
    assert (np.diff(p, axis=-1) <= 0).all()
    assert (p[:, -1] <= 0.05).mean() <= at_most(0.05)
    naive = [equivalence(rows[:, :n], margin).p_value for n in range(FIRST, LAST + 1)]
    assert (np.min(naive, axis=0) <= 0.05).mean() > 0.07


@pytest.mark.parametrize(("n", "first", "last"), [(5, 1, 8), (2, 3, 8), (9, 3, 8)])
def test_impossible_looks_are_refused(n, first, last):
    for function in (repeated_p, repeated_interval):
        with pytest.raises(ValueError, match=f"there are {n} pairs"):
            function(np.ones(n), first, last)


def test_a_level_is_a_probability():
    with pytest.raises(ValueError, match="level is 95"):
        repeated_interval(np.ones(3), 3, 8, 95)
    with pytest.raises(ValueError, match=r"at most 0\.99998"):
        repeated_interval(np.ones(3), 3, 8, 0.99999)
