"""Every arm is tuned on the same grid and given its best point; what differs between arms is recorded and kept."""

import itertools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
from bigram import Bigram

import ablations
from lab.comparison import tuning
from lab.comparison.comparison import compare
from lab.experiment.experiment import Experiment, Tuning, grid, tuning_of, with_overrides
from lab.report import tuning_figure
from lab.results import results
from lab.runner import matching, sequential

RATES = (1e-4, 1e-3, 1e-2)  # the losses of synthetic.py are lowest at 1e-3


@pytest.fixture
def searched():
    return synthetic.results(synthetic.rows(["gelu", "relu"], seeds=range(3), learning_rates=RATES))


@pytest.mark.parametrize("higher", [False, True])
def test_expected_best_is_the_mean_over_all_choices_of_so_many_points(higher):
    values = np.random.default_rng(0).normal(size=6)
    best = max if higher else min
    expected = [np.mean([best(chosen) for chosen in itertools.combinations(values, k)]) for k in range(1, 7)]
    np.testing.assert_allclose(tuning.expected_best(values, higher), expected)


def test_every_arm_gets_its_best_rate(searched):
    table = tuning.tuned(searched)
    assert len(table) == 6
    assert (table["n"] == 3).all()
    assert table.loc[table["chosen"], ["activation", "learning_rate"]].to_numpy().tolist() == [
        ["gelu", 1e-3],
        ["relu", 1e-3],
    ]
    assert tuning.warnings(table) == []


def test_a_best_rate_on_the_edge_is_warned_of():
    table = tuning.tuned(synthetic.results(synthetic.rows(["gelu"], learning_rates=RATES[1:])))
    (warning,) = tuning.warnings(table)
    assert warning.startswith("gelu: the best learning rate, 0.001, lies on the edge")


def test_a_rate_at_which_a_run_diverged_is_not_chosen_for_the_others_luck(searched):
    rows = searched.rows
    at_best = (rows["activation"] == "gelu") & (rows["learning_rate"] == 1e-3)
    diverged = synthetic.diverge(rows[at_best], "gelu", 0, 500)
    table = tuning.tuned(synthetic.results(pd.concat([rows[~at_best], diverged], ignore_index=True)))
    gelu = table[table["activation"] == "gelu"].set_index("learning_rate")
    assert gelu.loc[1e-3, "n_diverged"] == 1
    assert not gelu.loc[1e-3, "chosen"]


def test_expected_best_of_every_arm_ends_at_what_was_chosen(searched):
    table = tuning.tuned(searched)
    budget = tuning.budget(table).set_index("activation")
    for _, row in table[table["chosen"]].iterrows():
        assert budget.loc[row["activation"], "3"] == pytest.approx(row["mean"])
        assert budget.loc[row["activation"], "1"] > row["mean"]


def test_figure_has_a_ring_at_what_was_chosen(searched):
    table = tuning.tuned(searched)
    (axes,) = tuning_figure.draw(table).axes
    rings = [line for line in axes.lines if line.get_marker() == "o"]
    assert [line.get_xdata()[0] for line in rings] == [1e-3, 1e-3]


def test_an_arm_has_its_own_rate_and_steps(experiment):
    search["value"] += np.random.default_rng(0).normal(0, 0.02, len(search))
    own = {"fields": {"hyperparameters.learning_rate": 1e-3}}
    found.experiment["overrides"] = [{"arm": {"activation": name}, **own} for name in ("gelu", "relu")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(found), "tuning", property(lambda results: synthetic.results(search)))
        yield found


def test_intervals_of_tuned_arms_include_that_the_rate_was_chosen(tuned_results):
    (arm,) = compare(tuned_results).arms
    (at_the_rate,) = compare(tuned_results.rows, "gelu").arms
    assert arm.tuned
    assert not at_the_rate.tuned
    assert arm.se_choice > 0
    assert arm.low < at_the_rate.low
    assert arm.high > at_the_rate.high
    assert arm.p > at_the_rate.p
    assert arm.difference == at_the_rate.difference
    assert not any("untuned" in sentence for sentence in compare(tuned_results).cautions)
    assert compare(tuned_results).to_dict()["arms"][0]["tuned"] is True


def test_what_was_chosen_by_another_metric_is_told(tuned_results):
    found = compare(tuned_results, metric="bits_per_byte")
    assert found.arms[0].tuned
    assert found.arms[0].se_choice == 0
    assert any("validation loss" in sentence for sentence in found.cautions)


def test_results_at_one_rate_are_untuned_and_go_on_so(experiment, tmp_path, capsys):
    asked = replace(experiment, model=Bigram(), activations=("gelu", "relu"))
    found = ablations.run(asked, tmp_path / "out", quiet=True)
    assert compare(found).to_dict()["arms"][0]["tuned"] is False
    assert any("untuned" in sentence for sentence in compare(found).cautions)
    again = replace(asked, tuning=Tuning((1e-3, 1e-2), seeds=(7, 8)))
    assert ablations.run(again, tmp_path / "out").rows.equals(found.rows)
    assert "begun at one learning rate" in capsys.readouterr().err
    with pytest.raises(ValueError, match="begun at one learning rate"):
        ablations.tune(again, tmp_path / "out", quiet=True)


@pytest.mark.parametrize(("hold", "wider"), [("all", True), ("selected", True), ("each", False)])
def test_intervals_may_hold_for_all_arms_at_once_or_for_those_selected(hold, wider):
    found = synthetic.results(synthetic.rows(seeds=range(8)))
    each = {arm.activation: arm for arm in compare(found).arms}
    found.experiment["intervals"] = hold
    for arm in compare(found).arms:
        one = each[arm.activation]
        assert arm.verdict == one.verdict
        if arm.verdict == "inconclusive" and hold == "selected":
            assert (arm.low, arm.high) == (-np.inf, np.inf)
        else:
            assert (arm.high - arm.low > one.high - one.low) == wider


def _with_margin(found: results.Results, margin: float | None) -> results.Results:
    return replace(found, experiment={**found.experiment, "margin": margin})
