"""The study of scaling: a planted gain is found at every size, and that it grows; none is found where there is none."""

from dataclasses import replace

import numpy as np
import pytest
import synthetic

from experiments.studies import scaling
from experiments.studies.scaling import Grid, log_gains, measure, savings, study, table_of_gains, table_of_laws, trends

FLOPS = np.array([1e9, 4e9, 1e10, 5e10])


def law(flops):
    return 1.2 + 40 * flops**-0.18


def planted(gain=1.0, growth=0.0, seeds=5, noise=1e-3):
    """Losses of gelu by a law, and of swiglu those that gelu has at `gain` times the FLOPs, more at larger sizes."""
    flops = np.stack([FLOPS, 1.1 * FLOPS])  # what a gain is must not depend on what was spent
    reached = np.stack([FLOPS, gain * 1.1 * FLOPS * (FLOPS / FLOPS.mean()) ** growth])
    rng = np.random.default_rng(0)
    shared, own = rng.normal(0, 0.01, (1, 1, seeds)), rng.normal(0, noise, (2, 4, seeds))
    return Grid(
        ("gelu", "swiglu"),
        ("d8", "d16", "d32", "d64"),
        law(reached)[..., None] + shared + own,
        flops,
        flops,
        np.empty((0, 2, 4)),
    )


def test_a_gain_is_the_factor_of_the_compute_that_gelu_needs():
    gains = log_gains(planted(1.5, noise=0.0))
    np.testing.assert_allclose(gains[0], 0, atol=1e-12)
    np.testing.assert_allclose(gains[1], np.log(1.5), rtol=0.02)


@pytest.mark.parametrize(
    ("gain", "growth", "outcomes"),
    [
        (1.4, 0.0, ["yes", "inconclusive"]),
        (0.7, 0.0, ["no", "inconclusive"]),
        (1.0, 0.0, ["inconclusive", "inconclusive"]),
        (2.0, 0.15, ["yes", "yes, grows"]),
        (2.0, -0.15, ["yes", "yes, shrinks"]),
    ],
)
def test_verdicts_are_those_of_what_was_planted(gain, growth, outcomes):
    grid = planted(gain, growth)
    assert [verdict.outcome for verdict in (*savings(grid), *trends(grid))] == outcomes


def test_two_seeds_give_no_verdict_but_numbers():
    grid = planted(1.4, seeds=2)
    (saving,) = savings(grid)
    assert saving.outcome == "no verdict"
    assert saving.reason.startswith("gain ×1.4")
    assert table_of_gains(grid)[["low", "high"]].isna().all(axis=None)


def test_where_gelu_gets_no_better_with_size_nothing_is_said():
    grid = planted(1.4)
    grid = grid._replace(losses=grid.losses[:, ::-1])
    assert [verdict.outcome for verdict in (*savings(grid), *trends(grid))] == ["no verdict", "no verdict"]


@pytest.mark.parametrize("gain", [0.8, 1.4, 6.0])
def test_a_gain_is_extrapolated_where_gelu_would_need_more_than_its_largest_network(gain):
    table = table_of_gains(planted(gain, noise=0.0)).set_index("activation")
    assert not table.loc["gelu", "extrapolated"].any()
    needed = gain * table.loc["swiglu", "FLOPs"]
    assert list(table.loc["swiglu", "extrapolated"]) == list(needed > FLOPS[-1])


def test_the_intervals_of_the_gains_hold_the_planted_one():
    table = table_of_gains(planted(1.4)).query("activation == 'swiglu'")
    assert ((table["low"] < 1.4) & (table["high"] > 1.4)).sum() >= 3


def test_the_intervals_hold_what_the_choice_of_a_rate_may_have_cost():
    grid = planted(1.4)
    cost = np.zeros((40, 2, 4))
    cost[:20, 1] = 0.05  # swiglu's losses may be so much lower, at all sizes, with probability 1/2
    certain, chosen = (
        table_of_gains(one).query("activation == 'swiglu'") for one in (grid, grid._replace(excess=cost))
    )
    np.testing.assert_array_equal(certain["gain"], chosen["gain"])
    assert (chosen["high"] / chosen["low"] > 1.3 * certain["high"] / certain["low"]).all()


def test_what_a_choice_may_cost_is_read_from_the_tuning_runs():
    rates = (1e-3, 2e-3, 4e-3)
    table = synthetic.rows(("gelu", "swiglu"), seeds=range(2), learning_rates=rates)
    last = table["step"] == table["step"].max()
    table.loc[last, "value"] = 1 + 100 * (table["learning_rate"] - 2e-3).abs() + 0.01 * (table["seed"] == 1)
    assert (scaling._excess(synthetic.results(table), ["gelu", "swiglu"]) == 0).all()  # the middle rate, without doubt
    noise = (table["learning_rate"] == 1e-3) & (table["seed"] == 1) & (table["activation"] == "gelu")
    table.loc[last & noise, "value"] -= 0.3
    found = scaling._excess(synthetic.results(table), ["gelu", "swiglu"])
    assert found.shape == (scaling.CHOICES, 2)
    assert found[:, 0].max() > 0


def test_laws_have_one_limit_and_exponents_without_an_interval_that_would_not_cover():
    table = table_of_laws(planted(1.4, noise=0.0)).query("x == 'flops'")
    assert table["limit"].nunique() == 1
    assert table["exponent"].to_numpy() == pytest.approx(0.18, rel=0.02)
    assert "low" not in table


def sized():
    """Results of three sizes, each better than the one before."""
    found = {}
    for k, size in enumerate(("d8", "d16", "d32")):
        table = synthetic.rows(("gelu", "swiglu"))
        made = synthetic.results(table.assign(value=table["value"] + 0.5 * 2.0**-k))
        costs = {"parameters": 900 * 4**k + 100, "embedding_parameters": 100, "flops_per_token": 1800.0 * 4**k}
        found[f"scaling-{size}"] = replace(made, cells=tuple({**cell, "cost": costs} for cell in made.cells))
    return found


def test_the_grid_is_read_from_results():
    grid = measure(sized())
    assert grid.losses.shape == (2, 3, 5)
    np.testing.assert_allclose(grid.parameters[0], [900, 3600, 14400])
    np.testing.assert_allclose(grid.flops[1, 0], 3 * 1800 * 2000 * 8 * 256)


def test_findings_have_the_gains_and_the_laws():
    found = study.findings(sized(), {})
    assert len(found.verdicts) == 2
    assert found.sections["gains"].figure is not None
    assert list(found.sections["gains"].table["size"]) == ["d8", "d16", "d32"] * 2
