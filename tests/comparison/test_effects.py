"""An axis is compared too: what it does by itself, and what it does to one activation more than to the baseline."""

import numpy as np
import pytest
import synthetic
from scipy import stats

import ablations
from lab.comparison.comparison import compare
from lab.comparison.effects import effects
from lab.comparison.outcomes import ends
from lab.comparison.question import Question
from lab.results.looks import Look

ASKED = Question("gelu", "loss", "min", "validation", fixed_seeds=True)


@pytest.fixture
def rows():
    """The other norm costs .1, and relu .05 more, with a little noise of every run."""
    table = synthetic.rows(["gelu", "relu", "silu"], seeds=range(6), axes={"norm": ["layernorm", "rmsnorm"]})
    other = table["norm"] == "rmsnorm"
    noise = {key: np.random.default_rng(list(map(ord, repr(key)))).normal(0, 0.003) for key in table["seed"].unique()}
    shift = 0.1 + 0.05 * (table["activation"] == "relu") + table["seed"].map(noise)
    return table.assign(value=table["value"] + shift.where(other, 0))


def of(found):
    return {effect.activation: effect for effect in found.effects}


def losses(rows, activation, norm):
    at_end = rows[(rows["step"] == 2000) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
    chosen = at_end[(at_end["activation"] == activation) & (at_end["norm"] == norm)]
    return chosen.sort_values("seed")["value"].to_numpy()


def test_main_effects_and_interactions_are_paired_contrasts(rows):
    found = of(compare(rows, "gelu", axis="model.norm"))
    assert set(found) == {None, "relu", "silu"}
    change = {
        name: losses(rows, name, "rmsnorm") - losses(rows, name, "layernorm") for name in ("gelu", "relu", "silu")
    }
    main, relu = np.mean(list(change.values()), axis=0), change["relu"] - change["gelu"]
    assert found[None].difference == pytest.approx(main.mean())
    assert found[None].p == pytest.approx(stats.ttest_1samp(main, 0).pvalue)
    assert found["relu"].difference == pytest.approx(relu.mean())
    assert (found[None].verdict, found["relu"].verdict, found["silu"].verdict) == ("worse", "worse", "inconclusive")
    assert found["silu"].p_adjusted >= found["silu"].p


def test_a_seed_that_lacks_a_run_is_in_no_mean(rows):
    broken = synthetic.diverge(rows, "silu", seed=2, step=500)
    found = of(compare(broken, "gelu", axis="norm"))
    assert (found[None].n, found["relu"].n, found["silu"].n) == (5, 6, 5)


def test_effects_stand_in_json_and_an_unknown_axis_is_refused(rows):
    effects = compare(rows, "gelu", axis="norm").to_dict()["effects"]
    assert effects[0]["value"] == "rmsnorm"
    assert "effects" not in compare(rows, "gelu").to_dict()
    with pytest.raises(ValueError, match=r"norn.*did you mean 'norm'"):
        compare(rows, "gelu", axis="norn")


def test_the_command_writes_the_effects_beside_the_report(rows, tmp_path, monkeypatch, capsys):
    found = synthetic.results(rows, tmp_path)
    (tmp_path / "experiment.json").write_text("{}")
    monkeypatch.setattr("lab.results.results.read", lambda directory: found)
    assert ablations.main(["compare", str(tmp_path), "--axis", "norm", "--step", "1000", "--split", "train"]) == 0
    said = capsys.readouterr().out
    assert "layernorm → rmsnorm, more for relu" in said
    assert not (tmp_path / "report.html").exists()
    (beside,) = tmp_path.glob("comparisons/*/report.html")
    assert beside.parent.name == "gelu-train-loss-step1000-norm"
    assert (beside.parent / "effects.csv").exists()


def test_earlier_looks_at_the_arms_of_an_effect_count(rows):
    arms = [f"{name} (norm={norm})" for name in ("relu", "silu") for norm in ("layernorm", "rmsnorm")]
    look = Look("gelu", "loss", "validation", 2000, {arm: (0, 1, 2) for arm in arms if arm != "silu (norm=rmsnorm)"})
    noise = np.random.default_rng(0).normal(0, 0.02, len(rows))
    runs = ends(rows.assign(value=rows["value"] + noise), "loss", "validation", 2000, ["norm"])
    once, twice = (
        {one.activation: one for one in effects(runs, "norm", ["norm"], ASKED, earlier)} for earlier in ([], [look])
    )
    assert twice["relu"].high - twice["relu"].low > once["relu"].high - once["relu"].low  # all its arms were seen
    assert twice["silu"].high - twice["silu"].low == once["silu"].high - once["silu"].low
