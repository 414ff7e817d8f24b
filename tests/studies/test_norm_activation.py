"""The study of norms and activations: planted effects are found, and none are made up."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest
import synthetic

from experiments.studies import norm_activation
from experiments.studies.norm_activation import NO_NORM, REFERENCE, study
from lab.experiment.experiment import grid

NAMES = ("gelu", "relu", "relu2")
RATES = (1e-3, 1e-2, 1e-1)
END = synthetic.STEPS[-1]


def made(rows):
    """Results with what training and validation also measure, the unigram's entropy at 4 nats."""
    losses = rows[rows["metric"] == "loss"]
    train, last = losses[losses["split"] == "train"], losses[(losses["split"] == "validation")]
    others = [
        train.assign(metric="largest_loss", value=train["value"] + 0.4),
        train.assign(metric="gradient_norm", value=1.0 + train["step"] / END),
        last.assign(metric="log_normalizer", value=2.0),
    ]
    found = synthetic.results(pd.concat([rows, *others], ignore_index=True))
    unigram = {"unigram": {"metric": "bits_per_byte", "split": "validation", "value": 4 * synthetic.BITS_PER_BYTE}}
    return replace(found, experiment={**found.experiment, "reference_predictors": {"tiny_text": unigram}})


def both(seeds=5, no_norm=MappingProxyType({}), post=MappingProxyType({})):
    """Results of the study, with offsets at the end by activation where there is no norm, and at post-norm."""
    axes = {"norm": ["layernorm"], "placement": ["pre", "post"]}
    normed = synthetic.rows(NAMES, range(seeds), RATES, axes)
    bare = synthetic.rows(NAMES, range(seeds), RATES)
    at_end = bare["step"] == END
    bare["value"] += at_end * bare["activation"].map(no_norm).fillna(0.0)
    at_end = (normed["step"] == END) & (normed["placement"] == "post")
    normed["value"] += at_end * normed["activation"].map(post).fillna(0.0)
    return {"with_norms": made(normed), "without_norms": made(bare)}


def verdicts(results):
    return [one.outcome for one in study.findings(results, {}).verdicts]


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_one_experiment_has_no_norms_and_the_seeds_of_the_other(budget):
    with_norms, without = study.experiments(budget)
    assert {cell.model.norm for cell in grid(without)} == {"none"}
    assert with_norms.seeds == without.seeds


@pytest.mark.parametrize(
    ("offset", "outcome"),
    [
        (np.log(norm_activation.CLAIMED) - 0.03, "yes"),  # relu is 0.03 nats behind in the synthetic curves
        (-0.5, "partly"),
        (-0.03, "no"),
        (0.1, "no"),
    ],
)
def test_the_claim_is_settled_by_its_interval(offset, outcome):
    assert verdicts(both(no_norm={"relu": offset}))[0] == outcome


def test_a_wide_interval_settles_nothing_and_one_seed_has_none():
    rows = both(seeds=2)
    bare = rows["without_norms"].rows
    bare.loc[(bare["activation"] == "relu") & (bare["seed"] == 0) & (bare["step"] == END), "value"] -= 0.2
    assert verdicts(rows)[0] == "inconclusive"
    assert verdicts(both(seeds=1)) == ["no verdict", "inconclusive", "no verdict"]
    assert verdicts(both(seeds=1, no_norm={"relu": 9.0}))[1] == "no verdict"


def test_a_planted_interaction_is_found_and_none_is_made_up():
    assert verdicts(both())[2] == "inconclusive"
    assert verdicts(both(no_norm={"gelu": 0.2, "relu": 0.2, "relu2": 0.2}))[2] == "inconclusive"
    found = study.findings(both(no_norm={"relu2": -0.3}, post={"relu": 0.2}), {})
    assert found.verdicts[2].outcome == "no"
    table = found.sections["together"].table.set_index(["activation", "setting"])
    assert table["verdict"].to_dict() == {
        ("relu", "layernorm post"): "worse than the sum",
        ("relu2", "layernorm post"): "inconclusive",
        ("relu", NO_NORM): "inconclusive",
        ("relu2", NO_NORM): "better than the sum",
    }
    row = table.loc[("relu2", NO_NORM)]
    assert row["interaction"] == pytest.approx(row["of_both"] - row["of_norm"] - row["of_activation"])
    assert row["interaction"] == pytest.approx(-0.3, abs=0.02)


def test_no_run_failed_at_the_largest_stable_rate_by_divergence_or_by_the_unigram():
    results = both()
    bare = results["without_norms"]
    high = bare.rows[bare.rows["learning_rate"] == 1e-1].copy()
    rest = bare.rows[bare.rows["learning_rate"] < 1e-1]
    high = synthetic.diverge(high, "relu2", 3, 1000)
    high.loc[(high["activation"] == "relu") & (high["step"] == END) & (high["seed"] == 1), "value"] = 4.5
    results["without_norms"] = replace(bare, rows=pd.concat([rest, high], ignore_index=True))
    found = study.findings(results, {})
    table = found.sections["loss"].table.set_index(["setting", "activation"])
    assert table.loc[(NO_NORM, "relu2"), "largest_stable"] == 1e-2
    assert table.loc[(NO_NORM, "relu"), "largest_stable"] == 1e-2
    assert table.loc[(NO_NORM, "gelu"), "largest_stable"] == 1e-1
    assert table.loc[(NO_NORM, "relu2"), "failed"] == 1
    assert found.verdicts[1].outcome == f"relu, {NO_NORM}; relu2, {NO_NORM}"
    assert verdicts(both())[1] == "inconclusive"


def test_a_run_is_shown_at_the_rate_that_is_best_for_the_other_seeds():
    values = {(0, 1e-3): 1.0, (0, 1e-2): 9.0, (1, 1e-3): 3.0, (1, 1e-2): 2.0, (2, 1e-3): 3.0, (2, 1e-2): 2.0}
    runs = pd.DataFrame(
        [
            {"setting": REFERENCE, "activation": "gelu", "seed": seed, "learning_rate": rate, "value": value}
            for (seed, rate), value in values.items()
        ]
    )
    best = norm_activation.at_best_rates(runs).set_index("seed")["learning_rate"]
    assert best.to_dict() == {0: 1e-2, 1: 1e-3, 2: 1e-3}


def test_spikes_gradient_growth_and_log_normalizer_are_those_of_each_run():
    results = both()
    rows = results["without_norms"].rows
    spike = (rows["activation"] == "relu") & (rows["seed"] == 2) & (rows["metric"] == "largest_loss")
    rows.loc[spike & (rows["step"] == 1000), "value"] += 1.0
    rows.loc[spike & (rows["step"] == 0), "value"] += 9.0
    gelu = (rows["activation"] == "gelu") & (rows["metric"] == "log_normalizer")
    rows.loc[gelu, "value"] = 7.0
    table = study.findings(results, {}).sections["loss"].table.set_index(["setting", "activation"])
    assert table.loc[(NO_NORM, "relu"), "spiking"] == len(RATES)
    assert table["spiking"].sum() == len(RATES)
    assert table.loc[(NO_NORM, "gelu"), "log_normalizer"] == 7.0
    np.testing.assert_allclose(table["gradient_growth"], 2 / (1 + 1 / 8))
