"""What the statistics promise is simulated, and a method that breaks its promise is shown."""

import numpy as np
import pytest

from lab.report.studies import promises as table
from lab.report.studies.promises import promises
from lab.statistics.calibration import arms, divergence, looks, power, ranks, text, tuning
from lab.statistics.calibration.audit import SUBJECTS, audit
from lab.statistics.calibration.check import Check
from lab.statistics.paired import effect_with_power, paired_t

EXPERIMENTS = 400


def rng():
    return np.random.default_rng(0)


def check(now=0.05, least=0.0, most=0.05, experiments=100):
    return Check("looks", "two", "false", "-", np.nan, now, least, most, experiments)


def test_a_promise_is_kept_within_two_standard_errors():
    assert check(now=0.05 + 1.9 * np.sqrt(0.05 * 0.95 / 400), experiments=400).kept
    assert not check(now=0.09, experiments=400).kept
    assert not check(now=0.9, least=0.94, most=1.0, experiments=400).kept
    assert check(least=None, most=None).kept is None
    assert check(now=0.0).standard_error > 0  # nothing seen is not certainty


@pytest.mark.parametrize("subject", [text, divergence, power])
def test_quick_subjects_keep_what_they_promise_but_worst_ranks(subject):
    for found in subject.checks(rng(), EXPERIMENTS):
        if found.least is None:
            continue
        reach = 4 * found.standard_error  # dozens of rates are looked at
        kept = found.least - reach <= found.now <= found.most + reach
        assert kept or found.quantity == "resolved, worst ranks", found


def test_what_came_before_breaks_the_same_promises():
    by_hand = next(looks._by_hand(rng(), 2000, (5, 8, 12, 16, 20), "-"))
    assert by_hand.before == pytest.approx(0.146, abs=0.025)
    assert by_hand.kept
    resolved = list(arms._intervals(rng(), 2000, 5, "-"))[2]
    assert resolved.before == pytest.approx(0.54, abs=0.1)
    tuned = tuning._same_seeds(rng(), 2000, 0.005, "-")
    assert tuned.before == pytest.approx(0.129, abs=0.025)
    assert tuned.kept
    assert [found.before for found in power.checks(rng(), 4000)][:2] == pytest.approx([0.68, 0.73], abs=0.03)


def test_each_seed_is_measured_at_the_rate_that_the_others_choose():
    losses = np.array([[0.0, 0, 0, 9], [1, 1, 1, 1]])  # without the last seed the first rate is the best one
    np.testing.assert_array_equal(tuning.leave_one_out(losses), [1, 1, 1, 9])


def test_worst_ranks_do_not_see_the_size_of_a_penalty(monkeypatch):
    differences = rng().normal(size=(20, 8))
    arm, baseline = rng().random((2, 20, 8)) < 0.2
    p = divergence.worst_rank_p(differences, arm, baseline)
    monkeypatch.setattr(divergence, "PENALTY", 1e6)
    np.testing.assert_array_equal(divergence.worst_rank_p(differences, arm, baseline), p)


def test_a_broken_method_is_shown(monkeypatch):
    def overconfident(differences, level=0.95):
        return paired_t(differences / 2 + differences.mean(axis=-1, keepdims=True) / 2, level)

    monkeypatch.setattr(divergence, "trained_t", lambda rows: (overconfident(np.nan_to_num(rows)), None))
    assert any(found.kept is False and "loss" in found.quantity for found in divergence.checks(rng(), EXPERIMENTS))
    monkeypatch.setattr(power, "minimum_detectable_effect", effect_with_power)
    assert not next(power.checks(rng(), 4000)).kept


@pytest.mark.slow
def test_every_subject_has_its_checks_and_all_are_kept_but_worst_ranks():
    found = promises(500)
    assert set(found["subject"]) == {
        subject.__name__.rsplit(".", 1)[1].replace("tuning", "tuned") for subject in SUBJECTS
    }
    broken = found[~found["kept"].fillna(True).astype(bool) & (found["quantity"] != "resolved, worst ranks")]
    assert len(broken) <= 3  # of some 70, two standard errors each


def test_the_table_says_what_is_promised(monkeypatch):
    given = [check(), check(least=0.94, most=0.96), check(now=0.9, least=0.93, most=1), check(least=None, most=None)]
    monkeypatch.setattr(table, "audit", lambda experiments, seed: iter(given))
    found = promises(10)
    assert list(found["promised"]) == ["at most 0.05", "0.94 to 0.96", "at least 0.93", "-"]
    assert list(found["kept"].astype(object).fillna("none")) == [True, False, True, "none"]


def test_the_seed_decides():
    one, again, other = (next(audit(100, seed)) for seed in (0, 0, 1))
    assert one == again != other


def test_ranks_of_few_arms_are_covered():
    assert all(found.kept for found in ranks.checks(rng(), 100))


def test_no_experiment_is_no_audit():
    with pytest.raises(ValueError, match="experiments is 0"):
        next(audit(0))
