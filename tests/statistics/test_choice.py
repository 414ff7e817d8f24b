"""What a choice of the learning rate adds: nothing where it is clear, enough where it is not."""

import numpy as np
import pytest

from lab.statistics.choice import best_rate_contrast, excess, tuned_difference, with_choice
from lab.statistics.paired import paired_t

RATES, SD = 5, 0.02


def parabolas(experiments, coefficient, rng):
    """Mean losses [experiments, arms, rates] of two arms, each with its own best rate."""
    best = rng.uniform(0.5, RATES - 1.5, (experiments, 2, 1))
    return coefficient * (np.arange(RATES) - best) ** 2


def noisy(means, seeds, rng):
    return means[..., None] + SD * rng.normal(size=(*means.shape, seeds))


def test_a_clear_choice_has_no_excess_and_leaves_the_paired_interval():
    rng = np.random.default_rng(0)
    losses = noisy(np.array([[9.0, 1, 5], [4, 6, 1]]), 2, rng)
    assert (excess(losses) == 0).all()
    differences = rng.normal(size=8)
    found, t = tuned_difference(differences, *losses), paired_t(differences)
    assert found.se_choice == 0
    np.testing.assert_allclose((found.mean, found.low, found.high, found.p_value), (t.mean, t.low, t.high, t.p_value))


def test_the_excess_is_what_another_choice_would_cost():
    # Two rates .01 apart, noise of a mean .01 or so: chosen about one time in four, at a cost of .01 each time.
    losses = np.array([[[0.0, 0.02], [0.03, 0.01], [5.0, 5.0]]])
    found = excess(losses, draws=20_000)[:, 0]
    assert set(np.round(np.unique(found), 12)) == {0, 0.01}
    assert 0.1 < (found > 0).mean() < 0.4


def test_what_a_seed_has_in_common_at_all_rates_chooses_none():
    rng = np.random.default_rng(0)
    losses = noisy(parabolas(1, 0.01, rng)[0], 3, rng)
    np.testing.assert_allclose(excess(losses), excess(losses + 10 * rng.normal(size=(2, 1, 3))))


def test_a_rate_at_which_a_run_diverged_is_never_chosen():
    losses = np.array([[[0.0, np.nan], [1.0, 1.1], [1.0, 1.2]]])
    assert excess(losses).max() == pytest.approx(0.05)
    with pytest.raises(ValueError, match="fewer than 2 rates"):
        excess(np.array([[[0.0, np.nan], [1.0, 1.1]]]))


def test_one_tuning_seed_shows_no_noise():
    with pytest.raises(ValueError, match="1 tuning seed"):
        excess(np.ones((2, 5, 1)))


@pytest.mark.parametrize("coefficient", [0.005, 0.02, 0.05])
def test_the_difference_at_the_best_rates_is_covered_and_the_paired_interval_covers_less(coefficient):
    rng, n, experiments = np.random.default_rng(1), 8, 2000
    means = parabolas(experiments, coefficient, rng)
    tuning = noisy(means, 2, rng)
    chosen = np.take_along_axis(means, tuning.mean(axis=-1).argmin(axis=-1)[..., None], axis=-1)[..., 0]
    differences = (chosen[:, 0] - chosen[:, 1])[:, None] + SD * np.sqrt(2) * rng.normal(size=(experiments, n))
    truth = means[:, 0].min(axis=-1) - means[:, 1].min(axis=-1)
    found, alone = tuned_difference(differences, tuning[:, 0], tuning[:, 1], draws=200), paired_t(differences)
    assert np.mean((found.low <= truth) & (truth <= found.high)) >= 0.93 - 2 * np.sqrt(0.93 * 0.07 / experiments)
    assert np.mean((alone.low <= truth) & (truth <= alone.high)) < 0.93
    assert np.mean(found.high - found.low) < 2 * np.mean(alone.high - alone.low)


@pytest.mark.parametrize("coefficients", [(0.005, 0.005), (0.05, 0.05), (0, 0.1)])
def test_seeds_that_choose_and_measure_keep_the_level(coefficients):
    rng, experiments = np.random.default_rng(2), 2000
    means = np.concatenate([parabolas(experiments, one, rng)[:, :1] for one in coefficients], axis=1)
    losses = noisy(means - means.min(axis=-1, keepdims=True), 5, rng)
    found = best_rate_contrast(losses, draws=200)
    assert np.mean(found.p_value < 0.05) <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / experiments)
    np.testing.assert_array_equal(found.p_value < 0.05, (found.low > 0) | (found.high < 0))


def test_some_of_what_noise_gains_among_equal_rates_is_given_back_and_the_interval_holds_the_rest():
    rng = np.random.default_rng(4)
    means = np.stack([np.zeros(RATES), np.where(np.arange(RATES) == 2, 0, 1.0)])
    losses = noisy(np.broadcast_to(means, (1000, 2, RATES)), 5, rng)
    lowest = losses.mean(axis=-1).min(axis=-1)
    bias = np.mean(lowest[:, 0] - lowest[:, 1])
    assert bias < -0.008  # five equal rates, of which noise makes one the lowest
    found = best_rate_contrast(losses, draws=200)
    assert bias * 0.8 < found.mean.mean() < 0
    assert np.mean(found.p_value < 0.05) <= 0.06


def test_an_interaction_is_what_both_changes_have_beyond_the_sum():
    rng = np.random.default_rng(3)
    losses = noisy(parabolas(2, 0.5, rng).reshape(4, RATES), 6, rng)
    whole, *parts = (
        best_rate_contrast(losses, weights) for weights in ((1, -1, -1, 1), (1, 0, 0, -1), (0, 1, 0, -1), (0, 0, 1, -1))
    )
    assert whole.mean == pytest.approx(parts[0].mean - parts[1].mean - parts[2].mean)
    at_best = losses[np.arange(4), losses.mean(axis=-1).argmin(axis=-1)]
    t = paired_t(at_best[0] - at_best[1] - at_best[2] + at_best[3])  # so steep that nothing else is ever chosen
    assert (whole.mean, whole.low, whole.high) == pytest.approx((t.mean, t.low, t.high))
    with pytest.raises(ValueError, match="weights has 2 numbers"):
        best_rate_contrast(losses)


def test_one_seed_leaves_everything_open():
    found = best_rate_contrast(np.array([[[1.0], [2.0]], [[5.0], [3.0]]]))
    assert (found.mean, found.low, found.high) == (-2, -np.inf, np.inf)
    assert np.isnan(found.p_value)


def test_a_choice_that_is_known_exactly_is_a_normal_error():
    found = with_choice(np.array(1.0), np.array(0.0), 4, np.array(2.0))
    assert (found.low, found.high) == pytest.approx((1 - 2 * 1.95996, 1 + 2 * 1.95996), rel=1e-4)


def test_a_level_is_a_probability():
    with pytest.raises(ValueError, match="level is 95"):
        with_choice(np.zeros(1), np.ones(1), 3, np.ones(1), 95)
