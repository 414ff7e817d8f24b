"""Noise of a difference recovered from known components, and designs whose power is what they promise."""

import numpy as np
import pytest
from scipy import optimize

from lab.statistics.design import Cost, assured_power, best, design, designs, power, seconds_needed
from lab.statistics.noise import noise
from lab.statistics.paired import effect_with_power, paired_t, power_of_t

SEED, SEED_TEXT, TEXT, EXAMPLE, REST = 4e-4, 6e-4, 2e-4, 0.004, 0.01  # variances
DOCUMENTS, WINDOWS = 20, 16


def pool(pairs, rng, windows=WINDOWS):
    """Differences [pairs, documents * windows], and the document of each example."""
    of_documents = np.sqrt(SEED_TEXT) * rng.normal(size=(pairs, DOCUMENTS)) + np.sqrt(TEXT) * rng.normal(size=DOCUMENTS)
    document = np.repeat(np.arange(DOCUMENTS), windows)
    left = np.sqrt(REST) * rng.normal(size=(pairs, len(document))) + np.sqrt(EXAMPLE) * rng.normal(size=len(document))
    return np.sqrt(SEED) * rng.normal(size=(pairs, 1)) + of_documents[:, document] + left, document


def measured(pairs, seed=0, windows=WINDOWS):
    differences, document = pool(pairs, np.random.default_rng(seed), windows)
    return noise(differences, document, np.full(len(document), 64.0))


def mean_of(what, n=200, pairs=12):
    return np.mean([what(measured(pairs, seed)) for seed in range(n)])


def test_components_are_recovered():
    assert mean_of(lambda found: found.of_seed) == pytest.approx(
        SEED + SEED_TEXT / DOCUMENTS + REST / (DOCUMENTS * WINDOWS), rel=0.1
    )
    assert mean_of(lambda found: found.of_seed_by_example * found.examples) == pytest.approx(REST, rel=0.02)
    assert mean_of(lambda found: found.of_text_by_example * found.examples) == pytest.approx(EXAMPLE, rel=0.1)
    assert mean_of(lambda found: found.components.residual) == pytest.approx(SEED_TEXT + REST / WINDOWS, rel=0.05)


@pytest.mark.parametrize("windows", [4, 64])
def test_variance_on_other_numbers_of_examples_is_that_of_measuring_them(windows):
    examples = DOCUMENTS * windows
    assert mean_of(lambda found: found.seed_variance(examples)) == pytest.approx(
        SEED + SEED_TEXT / DOCUMENTS + REST / examples, rel=0.1
    )
    assert mean_of(lambda found: found.text_variance(examples)) == pytest.approx(
        TEXT / DOCUMENTS + EXAMPLE / examples, rel=0.25
    )


def test_examples_that_are_documents_of_their_own_all_reduce_the_noise():
    rng = np.random.default_rng(0)
    found = noise(0.1 * rng.normal(size=(30, 400)), np.arange(400), np.ones(400))
    assert found.seed_variance(1600) == pytest.approx(0.01 / 1600, rel=0.5)
    assert found.of_seed_by_example * 400 == pytest.approx(0.01, rel=0.02)


def test_power_of_t_is_that_of_simulated_tests():
    rng = np.random.default_rng(0)
    found = (paired_t(rng.normal(0.9, 1, (20_000, 8)), 0.98).p_value < 0.02).mean()
    assert power_of_t(0.9 * 8**0.5, 7, 0.98) == pytest.approx(found, abs=0.01)
    assert power_of_t(effect_with_power(1.0, 8) * 8**0.5, 7) == pytest.approx(0.8)
    far = np.append(np.geomspace(30, 1e4, 300), np.inf)[:, None]
    assert (power_of_t(far, np.array([7, 50, 300, 9999])) > 0.999).all()


def test_a_promise_of_a_small_pilot_is_kept_on_average():
    # The effect is what the pilot promises to find with probability 0.8: the promise averages over the true variance.
    rng, real = np.random.default_rng(1), []
    for _ in range(300):
        found = noise(rng.normal(size=(5, 1)) + 1e-3 * rng.normal(size=(5, 40)), np.arange(40) % 20, np.ones(40))
        effect = optimize.brentq(lambda effect, found=found: power(found, 12, 40, effect, 0.95) - 0.8, 1e-3, 50)
        real.append(float(power_of_t(effect * 12**0.5, 11)))
    assert np.mean(real) == pytest.approx(0.8, abs=0.04)


def test_the_assured_power_is_had_in_its_share_of_pilots():
    true = SEED + SEED_TEXT / DOCUMENTS + REST / (DOCUMENTS * WINDOWS)
    real = power_of_t(0.02 / (true / 10) ** 0.5, 9)
    kept = [assured_power(measured(6, seed), 10, DOCUMENTS * WINDOWS, 0.02, 0.95) <= real for seed in range(300)]
    assert np.mean(kept) == pytest.approx(0.8, abs=0.06)


def test_the_chosen_design_has_the_power_it_promises():
    known, cost = measured(200), Cost(10, 1, 0.002)
    chosen = best(designs([known], cost, (20, 80, 320, 1280), 60, 0.008, 0.95))
    true = SEED + SEED_TEXT / DOCUMENTS + REST / chosen.examples
    assert chosen.seconds <= 60
    assert 0.3 < chosen.power < 0.95
    assert chosen.power == pytest.approx(power_of_t(0.008 / (true / chosen.seeds) ** 0.5, chosen.seeds - 1), abs=0.05)


def test_more_evaluation_is_chosen_where_it_is_cheap_and_more_seeds_where_it_is_dear():
    arm = measured(100)
    found = [best(designs([arm], Cost(0, 1, price), (20, 80, 320), 40, 0.01, 0.95)) for price in (1e-4, 1e-1)]
    assert found[0].examples == 320
    assert found[1].examples == 20
    assert found[0].power > found[1].power


def test_no_seeds_are_bought_that_add_nothing():
    arm, cost = measured(30), Cost(0, 1, 0)
    chosen = best(designs([arm], cost, (320,), 5000, 0.05, 0.95))
    assert chosen.power >= 0.99
    assert chosen.seeds < 30
    assert design([arm], cost, chosen.seeds - 1, 320, 0.05, 0.95).power < 0.99


def test_the_time_that_is_needed_is_the_least_with_that_power():
    arm, cost = measured(30), Cost(5, 2, 0)
    seconds = seconds_needed([arm], cost, (320,), 0.01, 0.95)
    seeds = cost.seeds(seconds, 320)
    assert power(arm, seeds, 320, 0.01, 0.95) >= 0.8 > power(arm, seeds - 1, 320, 0.01, 0.95)


def test_power_falls_for_the_claim_about_all_text_and_is_a_mean_over_arms():
    quiet, loud = measured(100), measured(100)._replace(of_seed=4 * measured(100).of_seed)
    found = design([quiet, loud], Cost(0, 1, 0), 30, 320, 0.012, 0.95)
    assert found.powers[0] > found.powers[1]
    assert found.power == pytest.approx(np.mean(found.powers))
    assert found.power_over_text < found.power
    other_text = design([quiet._replace(of_text=1.0)], Cost(0, 1, 0), 30, 320, 0.012, 0.95)
    assert other_text.power == found.powers[0]
    assert other_text.power_over_text == pytest.approx(0.05, abs=0.01)


def test_a_time_too_short_for_two_seeds_has_no_design():
    assert designs([measured(5)], Cost(10, 1, 0), (320,), 11, 0.01, 0.95) == []
    assert best([]) is None


@pytest.mark.parametrize(("field", "budget", "effect"), [("budget", 0, 0.01), ("effect", 60, -0.5)])
def test_what_is_not_positive_is_refused(field, budget, effect):
    with pytest.raises(ValueError, match=field):
        designs([measured(5)], Cost(0, 1, 0), (320,), budget, effect, 0.95)
