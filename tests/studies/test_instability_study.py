"""The study of instability: what is planted in its measurements is what it says."""

import itertools

import numpy as np
import pandas as pd
import pytest

from experiments.studies.instability import study
from lab.experiment.experiment import grid
from lab.report.networks import early_warning, restarts, stable_rates
from lab.report.networks.early_warning import LEADS, SHOWN

SEEDS, ARMS = range(6), list(itertools.product(("layernorm", "rmsnorm"), ("gelu", "swiglu")))


def thresholds(effect, settings=("adamw", "sgd"), noise=0.05):
    """Brackets around exp(effect(setting, norm, activation)), a little apart for every seed and arm."""
    rng = np.random.default_rng(0)
    rows = []
    for setting, (norm, name), seed in itertools.product(settings, ARMS, SEEDS):
        rate = 0.3 * np.exp(effect(setting, norm, name) + 0.2 * seed + noise * rng.normal())
        rows.append({"setting": setting, "norm": norm, "activation": name, "seed": seed})
        rows[-1] |= {"low": rate / 1.05, "high": rate * 1.05}
    return pd.DataFrame(rows)


def swiglu_with_adamw(setting, norm, name):
    return -0.7 * (setting == "adamw" and name == "swiglu")


def test_the_guilty_change_is_named_with_its_optimizer():
    table = stable_rates.effects(thresholds(swiglu_with_adamw)).set_index(["setting", "effect"])
    assert table.loc[("adamw", "activation"), "ratio"] == pytest.approx(np.exp(-0.7), rel=0.1)
    outcome = stable_rates.which(table.reset_index()).outcome
    assert "activation" in outcome
    assert "AdamW" in outcome
    assert "norm" not in outcome
    assert "SGD" not in outcome
    norm = stable_rates.which(stable_rates.effects(thresholds(lambda s, norm, name: -(norm == "rmsnorm")))).outcome
    assert "norm" in norm
    assert "activation" not in norm


def test_only_both_together_is_an_interaction():
    planted = {
        ("layernorm", "gelu"): 0.0,
        ("rmsnorm", "gelu"): 0.3,
        ("layernorm", "swiglu"): 0.2,
        ("rmsnorm", "swiglu"): -0.3,
    }
    table = stable_rates.effects(thresholds(lambda setting, *arm: planted[arm])).set_index(["setting", "effect"])
    ratios = np.log(table.loc["sgd", "ratio"]).to_dict()
    assert ratios == pytest.approx({"both": -0.3, "norm": -0.1, "activation": -0.2, "interaction": -0.8}, abs=0.1)
    assert "together" in stable_rates.which(table.reset_index()).outcome


def test_no_effect_is_made_up_and_a_higher_limit_is_no_guilt():
    for effect in (0.0, 0.7):
        found = stable_rates.which(stable_rates.effects(thresholds(lambda *arm, e=effect: e * (arm[2] == "swiglu"))))
        assert found.outcome.startswith("neither")


def test_censored_rates_are_counted_and_most_of_them_are_no_verdict():
    table = thresholds(swiglu_with_adamw, ("adamw",))
    lost = table.assign(
        low=table["low"].where(table["seed"] > 1, 0.0), high=table["high"].where(table["seed"] > 1, 0.01)
    )
    found = stable_rates.effects(lost)
    assert found["censored"].tolist() == [2] * 4
    assert found["p"].notna().all()
    everything = stable_rates.effects(table.assign(low=0.0, high=0.01))
    assert everything["p"].isna().all()
    assert stable_rates.which(everything).outcome == "no verdict"


def test_the_controls_are_compared_with_adamw_and_the_same_activation():
    control = thresholds(lambda *arm: 1.0, ("qk_norm",)).query("norm == 'layernorm'")
    table = stable_rates.controls(pd.concat([thresholds(swiglu_with_adamw), control]))
    np.testing.assert_allclose(table["ratio"], np.exp([1.0, 1.7]), rtol=0.1)
    assert table["activation"].tolist() == ["gelu", "swiglu"]
    assert "raises" in stable_rates.why(table).outcome


def test_the_summary_has_the_rate_at_which_the_share_is_stable():
    table = thresholds(swiglu_with_adamw, ("adamw",), noise=0)
    runs = table.assign(event="spike", spikes=2)[[*stable_rates.ARM, "seed", "event", "spikes"]]
    row = stable_rates.summary(table, runs).iloc[0]
    assert row["at_share"] == pytest.approx(0.3 * np.exp(0.2) / 1.05)  # that of 5 of 6 seeds, as 4 are too few
    assert row["rate"] == pytest.approx(0.3 * np.exp(0.5))
    assert (row["runs"], row["spike"], row["loss"], row["spikes"]) == (6, 6, 0, 12)


STEPS = range(0, 121, 8)


def near_and_looks(warns, at=96, rates=(0.3, 0.3)):
    """Runs of two arms, half of which spike at a step; `warns(quantity, lead)` says how many deviations a quantity of
    theirs is larger so many steps before. `rates` are those of stable and of unstable runs."""
    rng = np.random.default_rng(1)
    runs, looks = [], []
    for (norm, name), seed in itertools.product(ARMS[:2], range(12)):
        unstable = seed % 2 == 1
        about = {"setting": "adamw", "norm": norm, "activation": name, "seed": seed, "learning_rate": rates[unstable]}
        runs.append(about | {"event": "spike" if unstable else "", "step": at if unstable else np.nan})
        for step in STEPS:
            shift = 5 * (name == "swiglu")  # arms have other scales
            values = {
                quantity: np.exp(shift + step / 100 + rng.normal() * 0.1 + 0.1 * unstable * warns(quantity, at - step))
                for quantity in SHOWN
            }
            looks.append(about | {"step": step} | values)
    limits = pd.DataFrame(runs).assign(low=0.29, high=0.31)[[*stable_rates.ARM, "seed", "low", "high"]]
    return early_warning.near_limit(pd.DataFrame(runs), limits), pd.DataFrame(looks), limits


def attention_then_residual(quantity, lead):
    return 8 * (lead <= {"attention logit": 32, "residual RMS": 16}.get(quantity, 0))


def test_the_quantity_that_warns_earliest_is_named():
    near, looks, _ = near_and_looks(attention_then_residual)
    table = early_warning.table(near, looks).set_index(["quantity", "lead"])
    assert table.loc[("attention logit", 32), "beyond"] == 1
    assert table.loc[("residual RMS", 16), "beyond"] == 1
    assert 0.2 < table.loc[("residual RMS", 32), "beyond"] < 0.8
    assert (table["cases"] == 12).all()
    assert table.loc[("learning_rate", 8), "auc"] == 0.5
    (verdict,) = early_warning.verdicts(table.reset_index())
    assert verdict.outcome.startswith("attention logit, 32")


def test_what_only_follows_the_rate_is_no_warning():
    near, looks, _ = near_and_looks(attention_then_residual, rates=(0.29, 0.31))
    table = early_warning.table(near, looks).set_index(["quantity", "lead"])
    assert table.loc[("attention logit", 32), "auc"] == 1
    assert table.loc[("learning_rate", 32), "auc"] == 1
    assert table["beyond"].isna().all()
    (verdict,) = early_warning.verdicts(table.reset_index())
    assert verdict.outcome == "no verdict"


def test_events_too_early_for_the_longest_lead_have_a_verdict_at_a_shorter_one():
    near, looks, _ = near_and_looks(attention_then_residual, at=40)
    (verdict,) = early_warning.verdicts(early_warning.table(near, looks))
    assert verdict.outcome.startswith("attention logit, 32")
    assert "of all runs near the limit, attention logit 32 steps ahead" in verdict.reason


def test_no_warning_is_made_up():
    near, looks, _ = near_and_looks(lambda *_: 0)
    (verdict,) = early_warning.verdicts(early_warning.table(near, looks))
    assert verdict.outcome == "none is resolved"
    (verdict,) = early_warning.grows(early_warning.growth(near, looks))
    assert verdict.outcome == "none is resolved"


def test_growth_is_that_beyond_the_stable_runs():
    near, looks, _ = near_and_looks(lambda quantity, lead: 10 * (quantity == "update norm") * (lead <= 8))
    found = early_warning.growth(near, looks).set_index("quantity")
    assert found.loc["update norm", "ratio"] == pytest.approx(np.e, rel=0.2)
    assert found.loc["residual RMS", "ratio"] == pytest.approx(1, rel=0.2)
    assert found.loc["residual RMS", "stable"] == pytest.approx(np.exp((LEADS[-1] - LEADS[0]) / 100), rel=0.2)
    assert found.loc["update norm", "n"] == 12
    (verdict,) = early_warning.grows(found.reset_index())
    assert verdict.outcome == "update norm"


def test_runs_far_from_the_limit_do_not_count():
    near, _, limits = near_and_looks(lambda *_: 0)
    far = near.assign(learning_rate=0.3 * np.where(near["event"] == "", 1.0, 2.1)).drop(
        columns=["limit", "arm", "group"]
    )
    assert (early_warning.near_limit(far, limits)["event"] == "").all()
    assert early_warning.table(early_warning.near_limit(far, limits), pd.DataFrame()).empty


def restarted(rise):
    """Losses that rise by `rise(optimizer, warmup)` at step 4 and are back at step 8, or never if it is above 1."""
    rng = np.random.default_rng(2)
    rows = []
    for (norm, name), optimizer, warmup, seed in itertools.product(ARMS, ("kept", "reset"), ("yes", "no"), SEEDS):
        up = rise(optimizer, warmup) + 0.01 * rng.random()
        for step, value in ((0, 2.0), (4, 2.0 + up), (8, 1.9 if up < 1 else 2.5)):
            about = {"norm": norm, "activation": name, "optimizer": optimizer, "warmup": warmup, "seed": seed}
            rows.append(about | {"step": step, "loss": value})
    return pd.DataFrame(rows)


def test_what_a_restart_costs():
    runs = restarts.of_runs(restarted(lambda optimizer, warmup: 0.1 + 0.5 * (optimizer == "reset")))
    table = restarts.summary(runs)
    kept = table["optimizer"] == "kept"
    np.testing.assert_allclose(table["rise"], np.where(kept, 0.105, 0.605), atol=0.01)
    assert (table["back"] == 8).all()
    assert (table["returned"] == 6).all()
    arms = restarts.effects(runs.assign(rise=runs["rise"] + 0.2 * (runs["norm"] == "rmsnorm"))).set_index("change")
    np.testing.assert_allclose(arms.loc[["rmsnorm", "swiglu"], "rise"], [0.2, 0.0], atol=0.01)
    reset, warmup = restarts.verdicts(restarts.effects(runs))
    assert reset.outcome == "yes in 4 of 4 arms"
    assert warmup.outcome == "inconclusive"


def test_a_loss_that_never_returns_counts_with_all_steps():
    runs = restarts.of_runs(restarted(lambda optimizer, warmup: 3.0 if warmup == "no" else 0.1))
    found = runs.set_index("warmup")
    assert not found.loc["no", "returned"].any()
    assert (found.loc["no", "back"] == 8).all()
    nan = restarted(lambda *_: 0.1)
    nan.loc[nan["step"] == 4, "loss"] = np.nan
    assert np.isinf(restarts.of_runs(nan)["rise"]).all()


@pytest.mark.parametrize("budget", ["smoke", "short", "full"])
def test_what_is_searched_can_be_trained(budget):
    searched = study.searched(budget)
    for one in searched:
        one.check()
        assert not any(lead % one.settings.interval for lead in LEADS)  # or nobody looked so long before an event
    assert len({one.name for one in searched}) == len(searched)
    if budget != "smoke":
        assert sum(len(grid(one)) for one in searched) == 14
        assert {"adamw", "sgd"} == {one.settings.optimizer for one in searched}
