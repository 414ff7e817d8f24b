"""Looks that nobody planned: p values and intervals hold at each, and earlier ones stand."""

import numpy as np
import pytest

from lab.statistics.equivalence import equivalence
from lab.statistics.looks import bound, equivalence_after, interval_after, p_after, spent
from lab.statistics.paired import paired_t

EXPERIMENTS = 20_000
BY_HAND = (5, 8, 12, 16, 20)


def at_most(rate):
    return rate + 3 * np.sqrt(rate * (1 - rate) / EXPERIMENTS)


@pytest.fixture(scope="module")
def null():
    return 7.0 * np.random.default_rng(0).normal(size=(EXPERIMENTS, 20))


def test_alpha_is_never_all_spent():
    assert [spent(looks) for looks in range(4)] == pytest.approx([0, 0.8, 0.9, 1 - 0.2 / 3])
    assert spent(10**6) < 1


@pytest.mark.parametrize("looks", [BY_HAND, tuple(range(4, 21, 2))])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_looking_again_keeps_the_level_and_t_tests_do_not(null, looks, alpha):
    rate = (p_after(null, looks) <= alpha).any(axis=-1).mean()
    assert rate <= at_most(alpha)
    if alpha == 0.05:
        assert rate >= 0.04  # nor is power given away
        naive = [paired_t(null[:, :n]).p_value for n in looks]
        assert (np.min(naive, axis=0) <= alpha).mean() > 0.14


def test_a_look_to_come_changes_nothing_that_was_said(null):
    p = p_after(null[:50], BY_HAND)
    assert (np.diff(p, axis=-1) <= 0).all()
    np.testing.assert_array_equal(p_after(null[:50, :12], BY_HAND[:3]), p[:, :3])


def test_the_first_look_costs_a_quarter_and_bonferroni_is_never_beaten_below(null):
    first = p_after(null[:200, :8], (8,))[:, 0]
    np.testing.assert_allclose(first, np.minimum(paired_t(null[:200, :8]).p_value / 0.8, 1), rtol=0.02)
    for k in range(1, 6):
        for alpha in (0.05, 0.01, 1e-5):
            assert bound(BY_HAND[:k], alpha) >= alpha * (spent(k) - spent(k - 1)) * (1 - 1e-9)
    assert bound(BY_HAND[:2], 0.05) > 1.5 * 0.05 * 0.1  # what correlated looks save


def test_intervals_of_all_looks_cover_at_once(null):
    rows, missed = null[:4000], np.zeros(4000, dtype=bool)
    for k, n in enumerate(BY_HAND):
        t = interval_after(rows[:, :n], BY_HAND[: k + 1])
        missed |= (t.low > 0) | (t.high < 0)
    reached = p_after(rows, BY_HAND)[:, -1] <= 0.05
    assert np.mean(missed != reached) < 0.001
    assert missed.mean() <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)


@pytest.mark.parametrize("margin", [7.0, 30.0])
def test_equivalence_at_the_margin_keeps_the_level(null, margin):
    rate = (equivalence_after(null + margin, BY_HAND, margin)[:, -1] <= 0.05).mean()
    assert rate <= at_most(0.05)
    naive = [equivalence(null[:, :n] + margin, margin).p_value for n in BY_HAND]
    assert (np.min(naive, axis=0) <= 0.05).mean() > 0.08


def test_equivalence_is_an_interval_of_twice_alpha_within_the_margin(null):
    rows, looks, margin = null[:2000, :8] + 2, (5, 8), 9.0
    t = [interval_after(rows[:, :n], looks[: k + 1], 0.9) for k, n in enumerate(looks)]
    within = (t[0].low > -margin) & (t[0].high < margin) | (t[1].low > -margin) & (t[1].high < margin)
    assert 0.05 < within.mean() < 0.95
    assert np.mean(within != (equivalence_after(rows, looks, margin)[:, -1] < 0.05)) < 0.002


@pytest.mark.parametrize("looks", [(), (1, 8), (8, 5, 8), (5, 7), (5, 5, 8)])
def test_impossible_looks_are_refused(looks):
    for call in (p_after, interval_after, lambda rows, looks: equivalence_after(rows, looks, 1.0)):
        with pytest.raises(ValueError, match=r"looks is \["):
            call(np.arange(8.0), looks)


def test_margin_and_level_are_checked():
    with pytest.raises(ValueError, match="margin is 0"):
        equivalence_after(np.arange(8.0), (8,), 0.0)
    with pytest.raises(ValueError, match="level is 95"):
        interval_after(np.arange(8.0), (8,), 95)
