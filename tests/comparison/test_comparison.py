"""The rule of comparison pairs what belongs together, counts divergence as worst, and refuses what it cannot know."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import synthetic
from refusals import refused
from scipy import stats

from lab.comparison.cautions import cautions
from lab.comparison.comparison import compare
from lab.comparison.outcomes import axis_columns, outcomes
from lab.statistics.paired import holm, minimum_detectable_effect


def by_label(comparison):
    return {arm.label: arm for arm in comparison.arms}


def losses(table, activation, step=2000):
    chosen = table[(table["activation"] == activation) & (table["split"] == "validation") & (table["metric"] == "loss")]
    return chosen[chosen["step"] == step].sort_values("seed")["value"].to_numpy()


def test_arms_are_paired_by_seed_against_the_baseline():
    results = synthetic.results()
    shuffled = results.rows.sample(frac=1, random_state=0)
    comparison = compare(shuffled, baseline="gelu")
    planned = replace(results, experiment={**results.experiment, "plan": {"file": "plan.json"}})
    assert comparison.arms == compare(planned).arms
    assert (comparison.metric, comparison.split, comparison.step, comparison.level) == (
        "loss",
        "validation",
        2000,
        0.95,
    )
    assert {arm.activation for arm in comparison.arms} == {"relu", "swiglu", "silu", "geglu"}
    for name, arm in by_label(comparison).items():
        test = stats.ttest_rel(losses(shuffled, name), losses(shuffled, "gelu"))
        interval = test.confidence_interval()
        np.testing.assert_allclose([arm.p, arm.low, arm.high], [test.pvalue, interval.low, interval.high], rtol=1e-9)
        np.testing.assert_allclose(arm.difference, arm.mean - comparison.baselines[0].mean)
        np.testing.assert_allclose(arm.differences, losses(shuffled, name) - losses(shuffled, "gelu"))
        sd = np.std(arm.differences, ddof=1)
        assert arm.minimum_detectable_effect == pytest.approx(minimum_detectable_effect(sd, 5, level=1 - 0.05 / 4))
    np.testing.assert_allclose([arm.p_adjusted for arm in comparison.arms], holm([arm.p for arm in comparison.arms]))


def test_verdicts_follow_the_adjusted_p_and_the_direction_of_the_metric():
    table = synthetic.rows()
    verdicts = {arm.activation: arm.verdict for arm in compare(table, "gelu").arms}
    assert verdicts == {"relu": "worse", "swiglu": "better", "geglu": "better", "silu": "inconclusive"}
    auc = table.assign(metric=table["metric"].replace("loss", "auc"))
    flipped = {arm.activation: arm.verdict for arm in compare(auc, "gelu", metric="auc:max").arms}
    assert flipped == {"relu": "better", "swiglu": "worse", "geglu": "worse", "silu": "inconclusive"}


def test_verdict_uses_the_corrected_p():
    rng = np.random.default_rng(0)
    table = synthetic.rows(activations=["gelu", *(f"arm{i:02}" for i in range(12))])
    noise = {(a, s): rng.normal(0, 1) for a in table["activation"].unique() for s in range(5)}
    table["value"] = [noise[a, s] for a, s in zip(table["activation"], table["seed"], strict=True)]
    arms = compare(table, "gelu").arms
    assert any(arm.p < 0.05 for arm in arms)
    assert all(arm.verdict == "inconclusive" for arm in arms)


def test_arms_at_other_axes_meet_the_baseline_at_the_same_axes():
    table = synthetic.rows(["gelu", "relu"], learning_rates=(1e-3, 1e-2), axes={"norm": ["rms", None], "d_ff": [64]})
    assert axis_columns(table) == ["norm", "d_ff", "learning_rate"]
    comparison = compare(table, "gelu")
    assert len(comparison.arms) == len(comparison.baselines) == 4
    assert {arm.label for arm in comparison.arms} == {
        f"relu (norm={norm}, learning_rate={rate})" for norm in ("rms", None) for rate in (0.001, 0.01)
    }
    assert all(arm.axes["d_ff"] == 64 for arm in comparison.arms)
    same = compare(table[(table["norm"] == "rms") & (table["learning_rate"] == 1e-2)], "gelu")
    assert by_label(comparison)["relu (norm=rms, learning_rate=0.01)"].differences == same.arms[0].differences
    np.testing.assert_allclose([arm.p_adjusted for arm in comparison.arms], holm([arm.p for arm in comparison.arms]))


def test_learning_rates_tuned_for_each_activation_still_pair():
    table = pd.concat([synthetic.rows(["gelu"]), synthetic.rows(["relu"], learning_rates=[3e-3])])
    assert axis_columns(table) == []
    assert compare(table, "gelu").arms[0].n == 5


def test_only_common_seeds_are_paired_and_the_rest_is_named():
    table = synthetic.rows(["gelu", "relu", "silu"])
    table = table[~((table["activation"] == "relu") & (table["seed"] > 2))]
    table = table[~((table["activation"] == "gelu") & (table["seed"] == 0))]
    comparison = compare(table, "gelu")
    arms = by_label(comparison)
    assert (arms["relu"].n, arms["relu"].seeds) == (2, (1, 2))
    assert arms["relu"].mean == pytest.approx(losses(table, "relu")[1:].mean())
    assert set(comparison.missing) == {
        "relu lacks seeds 3, 4 of gelu",
        "gelu lacks seed 0 of relu",
        "gelu lacks seed 0 of silu",
    }


def test_step_is_the_last_one_all_arms_have_reached():
    table = synthetic.rows(["gelu", "relu", "silu"])
    table = table[~((table["activation"] == "silu") & (table["step"] > 750))]
    assert compare(table, "gelu").step == 750
    late = compare(table, "gelu", step=2000)
    assert {arm.activation for arm in late.arms} == {"relu"}


def test_loss_is_compared_among_the_pairs_in_which_both_trained():
    table = synthetic.rows(["gelu", "relu", "silu"])
    broken = by_label(compare(synthetic.diverge(table, "relu", seed=3, step=500), "gelu"))
    whole = by_label(compare(table[~((table["activation"] == "relu") & (table["seed"] == 3))], "gelu"))
    relu = broken["relu"]
    assert (relu.n, relu.n_diverged, relu.stability.diverged, relu.stability.n) == (4, 1, 1, 5)
    assert np.isnan(relu.differences[3])
    assert (relu.difference, relu.p, relu.verdict) == (whole["relu"].difference, whole["relu"].p, "worse")
    assert broken["silu"].p == whole["silu"].p
    assert by_label(compare(synthetic.diverge(table, "relu", 3, 500), "gelu", step=250))["relu"].n_diverged == 0


def test_the_size_of_a_catastrophe_and_a_seed_of_another_arm_change_no_verdict():
    table = synthetic.rows(["gelu", "relu", "silu"])
    broken = synthetic.diverge(table, "silu", seed=3, step=500)
    start = (table["activation"] == "silu") & (table["step"] == 0)
    worse = broken.assign(value=broken["value"].mask(start & (broken["seed"] == 3), 1e9))
    assert repr(compare(broken, "gelu").arms) == repr(compare(worse, "gelu").arms)  # nan is not nan
    assert by_label(compare(broken, "gelu"))["relu"] == by_label(compare(table, "gelu"))["relu"]


def test_an_arm_that_always_diverges_is_less_stable_and_has_no_loss():
    table = synthetic.rows(["gelu", "relu", "silu"], seeds=range(8))
    for seed in range(8):
        table = synthetic.diverge(table, "silu", seed, step=500)
    arm = by_label(compare(table, "gelu"))["silu"]
    assert (arm.n, arm.verdict, arm.stability.verdict) == (0, "inconclusive", "less stable")
    assert arm.stability.p == pytest.approx(2 / 2**8)
    assert compare(table, "gelu").to_dict()["arms"][1]["difference"] is None
    both = synthetic.results(table[table["activation"] != "relu"])
    both.experiment["margin"] = 10.0  # arms that diverge together are not equivalent for it
    for seed in range(8):
        both = synthetic.results(synthetic.diverge(both.rows, "gelu", seed, step=500))
    with pytest.raises(ValueError, match="diverged"):
        compare(both)


def test_a_run_whose_rows_end_at_its_divergence_counts_too():
    broken = synthetic.diverge(synthetic.rows(["gelu", "relu"]), "relu", seed=3, step=500)
    cut = broken[~((broken["activation"] == "relu") & (broken["seed"] == 3) & (broken["step"] > 500))]
    assert repr(compare(cut, "gelu").arms) == repr(compare(broken, "gelu").arms)  # nan is not nan


def test_where_one_value_a_run_is_needed_a_diverged_one_has_the_worst():
    table = synthetic.rows(["gelu", "relu"])
    final = (table["activation"] == "relu") & (table["seed"] == 0) & (table["step"] == 2000)
    table["value"] = table["value"].mask(final, 99.0)
    ends = outcomes(synthetic.diverge(table, "relu", seed=1, step=500), "loss", "validation", 2000)
    assert ends.loc[ends["diverged"], "value"].tolist() == [99.0]
    lower = synthetic.diverge(table.assign(value=1 / table["value"]), "relu", seed=1, step=500)
    ends = outcomes(lower, "loss", "validation", 2000, direction="max")
    assert ends.loc[ends["diverged"], "value"].tolist() == [pytest.approx(1 / 99.0)]
    with pytest.raises(ValueError, match="auc"):
        outcomes(lower.assign(metric=lower["metric"].replace("loss", "auc")), "auc", "validation", 2000)


def test_one_seed_resolves_nothing():
    arm = compare(synthetic.rows(seeds=[0]), "gelu").arms[0]
    assert (arm.n, arm.low, arm.high, arm.verdict, arm.minimum_detectable_effect) == (
        1,
        -np.inf,
        np.inf,
        "inconclusive",
        np.inf,
    )


def test_dictionary_is_json_with_exactly_these_fields():
    table = synthetic.rows(seeds=[0], axes={"norm": ["rms", "layer"]})
    dictionary = compare(synthetic.results(table)).to_dict()
    assert json.loads(json.dumps(dictionary, allow_nan=False)) == dictionary
    assert list(dictionary) == [
        "baseline", "metric", "direction", "split", "step", "level", "over", "arms", "missing", "cautions",
        "family_size", "comparison",
    ]  # fmt: skip
    assert {arm["activation"] for arm in dictionary["arms"]} == {"relu", "swiglu", "silu", "geglu"}
    assert set(dictionary["arms"][0]) == {
        "activation", "norm", "n", "mean", "difference", "low", "high", "p", "p_adjusted", "verdict",
        "se_seeds", "se_seeds_and_text", "sign_flip_p", "resolvable", "pairs_needed", "same_p", "n_diverged", "tuned",
        "looks", "stability",
    }  # fmt: skip
    assert dictionary["arms"][0]["p"] is None
    assert dictionary["arms"][0]["low"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"baseline": "geluu"}, "baseline is 'geluu', .*did you mean 'gelu'"),
        ({}, "baseline is None, but the rows have geglu, gelu"),
        ({"baseline": "gelu", "metric": "los"}, "metric is 'los', .*did you mean 'loss'"),
        ({"baseline": "gelu", "split": "test"}, "split is 'test', but the rows have train, validation"),
        ({"baseline": "gelu", "step": 1999}, "step is 1999, but the nearest one recorded is 2000"),
        ({"baseline": "gelu", "level": 95}, "level is 95"),
    ],
)
def test_what_the_rows_do_not_hold_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        compare(synthetic.rows(), **arguments)


def test_nothing_to_pair_is_refused():
    apart = pd.concat([synthetic.rows(["gelu"], seeds=[0, 1]), synthetic.rows(["relu"], seeds=[2, 3])])
    with refused("gelu", "relu", "2000", "0, 1"):
        compare(apart, "gelu")
    with pytest.raises(ValueError, match=r"only.*gelu|gelu.*only"):
        compare(synthetic.rows(["gelu"]), "gelu")
    with pytest.raises(ValueError, match="two values at step 2000"):
        compare(pd.concat([synthetic.rows(), synthetic.rows()]), "gelu")


def test_an_arm_whose_losses_per_example_are_missing_is_named():
    results = synthetic.results()
    compared = compare(results)
    first, *rest = compared.arms
    measured = [replace(arm, se_seeds_and_text=0.01) for arm in rest]
    for known, named in (((first, *measured), True), ((replace(first, se_seeds_and_text=0.01), *measured), False)):
        found = cautions(results, replace(compared, arms=known), ())
        assert any("over text" in sentence and first.label in sentence for sentence in found) == named
