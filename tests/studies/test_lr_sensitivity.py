"""The study of learning-rate sensitivity: S by its definition, planted effects, and none made up."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic

from experiments.studies.lr_sensitivity import RATES, bounded, compared, effects, sensitivities, study
from lab.experiment.experiment import grid

NAMES = ("gelu", "relu", "swiglu")
AT_INIT = 4.2
SETTINGS = {"qk_norm": [False, True], "z_loss": [0.0, 1e-4]}


def slope(row):
    """Nats that a decade of the rate costs in the planted truth."""
    return 0.2 - 0.06 * row["qk_norm"] + 0.04 * (row["activation"] == "relu") + 0.02 * (row["width"] > 32)


def of_width(width, seeds=5, slope=slope, noise=0.002):
    """Results of one width whose loss rises from the rate 1e-2 on either side, by `slope` a decade."""
    arms = pd.MultiIndex.from_product(
        [NAMES, *SETTINGS.values(), RATES, range(seeds)], names=["activation", *SETTINGS, "learning_rate", "seed"]
    ).to_frame(index=False)
    arms = arms.assign(width=width)
    rise = arms.apply(slope, axis=1) * np.abs(np.log10(arms["learning_rate"] / 1e-2))
    shared = np.random.default_rng(width).normal(0, 0.02, seeds)[arms["seed"]]
    own = np.random.default_rng(width + 1).normal(0, noise, len(arms))
    end = arms.assign(step=synthetic.STEPS[-1], value=1.5 + shared + rise + own)
    rows = pd.concat([arms.assign(step=0, value=AT_INIT), end], ignore_index=True)
    where = {"experiment": "synthetic", "task": "tiny_text", "model": "transformer"}
    measured = {"split": "validation", "metric": "loss"}
    cell = rows["activation"] + rows["qk_norm"].map("-{}".format) + rows["z_loss"].map("-{}".format)
    found = synthetic.results(rows.drop(columns="width").assign(cell=cell, **where, **measured))
    cells = tuple({**one, "model": {**one["model"], "d_model": width}} for one in found.cells)
    return replace(found, cells=cells)


def verdicts(**fields):
    found = study.findings({str(width): of_width(width, **fields) for width in (32, 64)}, {})
    return {one.claim: one.outcome for one in found.verdicts}


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_every_cell_has_all_the_rates(budget):
    for experiment in study.experiments(budget):
        assert all(len(cell.runs) == len(RATES) * len(experiment.seeds) for cell in grid(experiment))


def test_sensitivity_is_the_mean_loss_over_the_rates_less_the_lowest():
    results = of_width(32, noise=0.0)
    row = (
        sensitivities(bounded(results))
        .set_index(["activation", "qk_norm", "z_loss", "seed"])
        .loc[("gelu", False, 0.0, 3)]
    )
    decades = np.abs(np.log10(np.array(RATES) / 1e-2))
    assert row["sensitivity"] == pytest.approx(0.2 * decades.mean())
    assert row["width"] == 32


def test_no_run_counts_as_worse_than_the_network_at_init():
    results = of_width(32, noise=0.0)
    gelu = results.rows["activation"] == "gelu"
    worst = gelu & (results.rows["learning_rate"] == RATES[-1]) & (results.rows["step"] > 0)
    results.rows.loc[worst, "value"] = 50.0
    lost = gelu & (results.rows["learning_rate"] == RATES[-2]) & (results.rows["step"] > 0)
    mark = results.rows[lost].assign(metric="diverged", split="train", value=1.0)
    results.rows.loc[lost, "value"] = np.nan
    results = replace(results, rows=pd.concat([results.rows, mark], ignore_index=True))
    runs = bounded(results)
    high = runs[(runs["activation"] == "gelu") & runs["learning_rate"].isin(RATES[-2:])]
    assert (high["loss"] == AT_INIT).all()
    assert (high["diverged"] == (high["learning_rate"] == RATES[-2])).all()
    assert not runs["diverged"][runs["activation"] != "gelu"].any()


def test_planted_effects_are_found_and_others_are_not_made_up():
    assert verdicts() == {
        "relu is less sensitive than gelu": "no, higher",
        "swiglu is less sensitive than gelu": "inconclusive",
        "with qk-norm is less sensitive than without qk-norm": "yes",
        "with z-loss is less sensitive than without z-loss": "inconclusive",
        "width 32 is less sensitive than width 64": "yes",
    }


def test_one_seed_has_no_verdict():
    assert set(verdicts(seeds=1).values()) == {"no verdict"}


def test_the_table_has_every_arm_against_gelu_with_the_same_setting():
    found = sensitivities(bounded(of_width(32)))
    table = compared(found).set_index(["activation", "qk_norm", "z_loss"])
    assert len(table) == len(found) / 5
    assert set(table.loc["gelu", "verdict"]) == {"baseline"}
    assert set(table.loc["relu", "verdict"]) == {"worse"}
    assert set(table.loc["swiglu", "verdict"]) == {"inconclusive"}
    decades = np.abs(np.log10(np.array(RATES) / 1e-2))
    np.testing.assert_allclose(table.loc["relu", "difference"], 0.04 * decades.mean(), atol=0.005)


def test_what_was_not_varied_has_no_verdict_of_its_own():
    found = sensitivities(bounded(of_width(32)))
    one = found[~found["qk_norm"] & (found["z_loss"] == 0)]
    assert [verdict.claim for verdict in effects(one)] == [
        f"{name} is less sensitive than gelu" for name in ("relu", "swiglu")
    ]
