"""Several arms: no verdict of the family is wrong too often, and intervals hold for what they are said to."""

import numpy as np
import pytest

from lab.statistics.arms.family import adjusted, intervals, simultaneous_alpha, verdicts, verdicts_over_looks
from lab.statistics.equivalence import equivalence
from lab.statistics.paired import holm, paired_t
from lab.statistics.sequential import repeated_equivalence, repeated_p

EXPERIMENTS = 4000


def error(rate, n=EXPERIMENTS):
    return 3 * np.sqrt(rate * (1 - rate) / n)


def to_baseline(arms, n, rng=0, experiments=EXPERIMENTS):
    """Differences of mean 0 and variance 1 to a shared baseline."""
    runs = np.random.default_rng(rng).normal(size=(experiments, arms + 1, n))
    return (runs[:, 1:] - runs[:, :1]) / np.sqrt(2)


def test_without_a_margin_verdicts_are_holm_s():
    p = np.array([0.01, 0.02, 0.04, 0.3])
    assert list(verdicts(np.array([-1, 1, 1, 1]), p)) == ["better", "inconclusive", "inconclusive", "inconclusive"]
    assert list(verdicts(np.array([-1, 1, 1]), p[:3] / 2)) == ["better", "worse", "worse"]
    np.testing.assert_array_equal(adjusted(p)[0], holm(p))


def test_with_a_margin_every_arm_keeps_its_share_of_alpha():
    means, p, equal = np.array([1.0, 1, 1, 1]), np.array([0.02, 1e-9, 0.01, np.nan]), np.array([0.9, 0.9, 0.01, np.nan])
    # Three tests can be made: .02 is above .05 / 3 although two others are far below.
    assert list(verdicts(means, p, equal)) == ["inconclusive", "worse", "equivalent", "inconclusive"]


@pytest.mark.parametrize("arms", [1, 5])
@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("width", [2.0, 4.0])
def test_any_wrong_verdict_is_rare_on_mixed_truths(arms, n, width):
    margin = width / np.sqrt(n)
    truth = np.resize([0, margin, -margin], arms)
    differences = to_baseline(arms, n, arms) + truth[:, None]
    t = paired_t(differences)
    found = verdicts(t.mean, t.p_value, equivalence(differences, margin).p_value)
    wrong = (found == "better") & (truth >= 0) | (found == "worse") & (truth <= 0)
    wrong |= (found == "equivalent") & (np.abs(truth) >= margin)
    assert wrong.any(axis=-1).mean() <= 0.05 + error(0.05)


def test_what_was_decided_stays_decided():
    p = np.array([[0.5, 0.01, 0.01], [0.5, 0.5, 0.5]])
    equal = np.array([[0.9, 0.9, 1e-6], [1e-6, 1e-6, 1e-6]])
    means = np.array([[1.0, 1.0, -1.0], [1, 1, 1]])
    assert list(verdicts_over_looks(means, p, equal)) == ["worse", "equivalent"]
    # The first arm's p is enough by Holm's rule only when the second is resolved; its direction is that of its look.
    p, means = np.array([[0.04, 0.04], [0.5, 0.001]]), np.array([[-1.0, 1.0], [1, 1]])
    assert list(verdicts_over_looks(means, p)) == ["better", "worse"]


def test_no_look_makes_a_wrong_verdict_too_often():
    first, last, margin = 3, 8, 1.5
    truth = np.array([0, margin, -margin])
    differences = to_baseline(3, last, 3) + truth[:, None]
    p, equal = repeated_p(differences, first, last), repeated_equivalence(differences, margin, first, last)
    means = np.stack([differences[..., :n].mean(axis=-1) for n in range(first, last + 1)], axis=-1)
    found = verdicts_over_looks(means, p, equal)
    wrong = (found == "better") & (truth >= 0) | (found == "worse") & (truth <= 0)
    wrong |= (found == "equivalent") & (np.abs(truth) >= margin)
    assert wrong.any(axis=-1).mean() <= 0.05 + error(0.05)


@pytest.mark.parametrize("arms", [1, 5, 30])
def test_intervals_for_all_hold_at_once_and_are_shorter_than_bonferroni_s(arms):
    differences = to_baseline(arms, 8, arms, 2000)
    t = intervals(differences, hold="all")
    assert np.mean(((t.low <= 0) & (t.high >= 0)).all(axis=-1)) == pytest.approx(0.95, abs=0.005 + error(0.05, 2000))
    alpha = simultaneous_alpha(differences)
    assert (alpha >= 0.05 / arms * 0.97).all()
    if arms > 1:
        assert alpha.mean() > 1.05 * 0.05 / arms


def test_arms_that_move_together_need_no_correction():
    one = np.random.default_rng(0).normal(size=(1, 8))
    together = one + 1e-6 * np.random.default_rng(1).normal(size=(4, 8))
    assert simultaneous_alpha(together) > 1.5 * 0.05 / 4


def test_intervals_of_the_selected_miss_a_twentieth_on_the_average_and_those_of_each_far_more():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=(EXPERIMENTS, 10)) / np.sqrt(8)  # one standard error
    differences = to_baseline(10, 8, 1) + effects[..., None]
    selected = holm(paired_t(differences).p_value) < 0.05

    def false_coverage(t):
        missed = ((t.low > effects) | (t.high < effects)) & selected
        return np.mean(missed.sum(axis=-1) / np.maximum(selected.sum(axis=-1), 1))

    found = intervals(differences, hold="selected", selected=selected)
    assert false_coverage(found) <= 0.05 + error(0.05)
    assert false_coverage(intervals(differences, hold="each")) > 2 * false_coverage(found)
    assert np.isinf(found.low[~selected]).all()
    assert np.isfinite(found.low[selected]).all()


def test_the_level_of_selected_intervals_is_benjamini_s_and_yekutieli_s():
    differences = to_baseline(5, 8, experiments=1)
    found = intervals(differences, hold="selected", selected=np.array([[True, False, True, False, False]]))
    expected = paired_t(differences, 1 - 2 / 5 * 0.05)
    np.testing.assert_allclose(found.low[0, [0, 2]], expected.low[0, [0, 2]])


def test_diverged_pairs_are_left_out():
    differences = to_baseline(3, 8, experiments=1)[0]
    differences[1, 4] = np.nan
    t = intervals(differences, hold="each")
    np.testing.assert_allclose(t.high[1], paired_t(np.delete(differences[1], 4)).high)
    assert np.isfinite(intervals(differences, hold="all").high).all()


def test_what_an_interval_is_to_hold_for_is_said():
    with pytest.raises(ValueError, match="hold is 'both'"):
        intervals(np.ones((2, 3)), hold="both")
    with pytest.raises(ValueError, match="hold is 'selected'"):
        intervals(np.ones((2, 3)), hold="selected")
    with pytest.raises(ValueError, match="level is 95"):
        intervals(np.ones((2, 3)), 95)
    with pytest.raises(ValueError, match="level is 95"):
        verdicts(np.ones(2), np.ones(2), level=95)
