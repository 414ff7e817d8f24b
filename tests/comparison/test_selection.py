"""The choice of an arm: the lowest loss within the limits, with what cannot be ruled out."""

import numpy as np
import pytest
from refusals import refused

from lab.comparison.networks.selection import Candidate, _draws, select


def arm(name, loss, latency=1.0, n=8, noise=0.001, **values):
    """An arm whose runs share the noise of their seeds with the others."""
    of_seed = np.random.default_rng(1).normal(0, 0.05, n)
    own = np.random.default_rng(sum(map(ord, name))).normal(0, noise, n)
    rounds = latency * (1 + 0.01 * np.random.default_rng(2).normal(size=15))
    others = {key: np.array([value], dtype=float) for key, value in values.items()}
    return Candidate({"activation": name}, {"loss": loss + of_seed + own - own.mean(), "latency_ms": rounds, **others})


def test_the_lowest_loss_is_chosen_and_its_equals_are_named():
    found = select([arm("gelu", 2.0), arm("silu", 1.9), arm("relu", 1.9001)], {})
    assert (found.chosen, found.also) == ("silu", ("relu",))
    assert 0.3 < found.best < 0.9
    alone = select([arm("gelu", 2.0), arm("silu", 1.9)], {})
    assert (alone.chosen, alone.also, alone.best) == ("silu", (), 1.0)


def test_an_arm_beyond_a_limit_is_not_chosen():
    arms = [arm("gelu", 2.0), arm("silu", 1.9, latency=3.0), arm("relu", 1.95, latency=2.0)]
    found = select(arms, {"latency_ms": 2.0})
    assert found.table.set_index("arm")["meets"].to_dict() == {"gelu": "yes", "silu": "no", "relu": "uncertain"}
    assert found.chosen == "gelu"
    nothing = select(arms, {"latency_ms": 0.5})
    assert nothing.chosen is None
    assert "gelu" in nothing.sentence


def test_more_is_better_where_it_is():
    arms = [arm("gelu", 2.0, stable_rate=0.1), arm("silu", 1.9, stable_rate=0.01)]
    assert select(arms, {"stable_rate": 0.05}).chosen == "gelu"
    front = select(arms, {}, ("stable_rate",)).table.set_index("arm")
    assert front["pareto"].to_dict() == {"gelu": True, "silu": False}


def test_the_interval_of_a_loss_is_without_what_seeds_do_to_all():
    row = select([arm("gelu", 2.0), arm("silu", 1.9)], {}).table.iloc[0]
    assert row["loss_high"] - row["loss_low"] < 0.01  # the seeds' own noise is .05
    assert row["loss_low"] < row["loss"] < row["loss_high"]


def test_probabilities_are_those_of_paired_means():
    rng = np.random.default_rng(3)
    values = rng.normal(0, 1.0, (2, 40))
    values[1] += 0.3
    arms = [Candidate({"activation": name}, {"loss": one}) for name, one in zip("ab", values, strict=True)]
    found = select(arms, {})
    apart = values[1] - values[0]
    from scipy import stats

    expected = stats.norm.cdf(abs(apart.mean()) / stats.sem(apart))
    assert found.best == pytest.approx(expected, abs=0.03)


def test_a_diverged_seed_is_left_out_of_every_arm():
    broken = arm("silu", 1.9)
    broken.values["loss"][3] = np.nan
    whole, without = select([arm("gelu", 2.0), arm("silu", 1.9)], {}), select([arm("gelu", 2.0), broken], {})
    assert without.table["loss"].notna().all()
    assert without.table["loss"][0] != whole.table["loss"][0]


def test_what_cannot_be_asked_is_refused():
    arms = [arm("gelu", 2.0), arm("silu", 1.9)]
    with refused("limit", "latency", "latency_ms"):
        select(arms, {"latency": 1.0})
    with refused("memory_mb", "gelu"):
        select(arms, {"memory_mb": 1.0})
    with refused("--objective", "speed"):
        select(arms, {}, ("speed",))
    with refused(1, 2):
        select(arms[:1], {})


def test_draws_of_means_have_the_standard_error_of_few_seeds():
    values = np.random.default_rng(0).normal(0, 1.0, (1, 4))
    drawn = _draws({"loss": values})["loss"][:, 0]
    assert drawn.mean() == pytest.approx(values.mean(), abs=0.02)
    assert drawn.std() == pytest.approx(values.std(ddof=1) / 2, rel=0.03)
