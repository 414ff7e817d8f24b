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
    own = [
        {"arm": {"activation": "swiglu"}, "fields": {"settings.steps": 3, "hyperparameters.learning_rate": 0.5}},
        {"arm": {"activation": "gelu", "norm": "rmsnorm"}, "fields": {"hyperparameters.learning_rate": 0.25}},
    ]
    asked = with_overrides(replace(experiment, axes=(("model.norm", ("layernorm", "rmsnorm")),)), own)
    rates = {(cell.activation.name, dict(cell.axes)["norm"]): cell.runs[0].hyperparameters for cell in grid(asked)}
    steps = {cell.activation.name: cell.settings.steps for cell in grid(asked)}
    assert steps == {"gelu": experiment.settings.steps, "swiglu": 3}
    assert rates["swiglu", "layernorm"].learning_rate == rates["swiglu", "rmsnorm"].learning_rate == 0.5
    assert rates["gelu", "rmsnorm"].learning_rate == 0.25
    assert rates["gelu", "layernorm"].learning_rate == experiment.hyperparameters.learning_rate


def test_tuning_trains_the_whole_grid_on_its_own_seeds(experiment):
    asked = tuning_of(replace(experiment, tuning=Tuning(RATES, weight_decays=(0.0, 0.1), seeds=(7, 8))))
    runs = grid(asked)[0].runs
    assert len(runs) == 3 * 2 * 2
    assert {run.seed for run in runs} == {7, 8}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"tuning": Tuning(RATES, seeds=(0, 9))}, "tuning.seeds has 0, which are reported too"),
        ({"tuning": Tuning(RATES), "learning_rates": RATES}, "both given"),
        ({"tuning": Tuning((1e-3, 1e-3))}, "tuning.learning_rates repeats 0.001"),
        ({"tuning": Tuning(weight_decays=(0.1,)), "learning_rates": RATES}, "tuning.weight_decays"),
        ({"tuning": Tuning((-1.0,))}, "learning_rate is -1.0"),
        ({"axes": (("tuning.seeds", ((1,), (2,))),)}, "axis tuning.seeds is no field"),
        ({"tuning": Tuning(RATES), "axes": (("hyperparameters.b1", (0.8, 0.9)),)}, "hyperparameters.b1 is an axis"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"intervals": "al"}, "did you mean 'all'"),
    ],
)
def test_what_cannot_be_tuned_is_refused(experiment, fields, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(experiment, **fields).check()


def test_rates_are_tuned_unless_the_experiment_names_them(experiment, monkeypatch):
    monkeypatch.setattr("lab.experiment.experiment.FACTORS", (0.5, 1.0, 2.0, 4.0))
    rate = experiment.hyperparameters.learning_rate
    assert experiment.tuning_rates == (rate / 2, rate, 2 * rate, 4 * rate)
    assert replace(experiment, tuning=Tuning(RATES)).tuning_rates == RATES
    chosen = with_overrides(experiment, [{"arm": {}, "fields": {"hyperparameters.learning_rate": 0.1}}])
    own_axis = replace(experiment, axes=(("hyperparameters.weight_decay", (0.0, 0.1)),))
    unknown = replace(experiment, metric="perplexing")  # nobody has said which way it is better
    for one in (replace(experiment, learning_rates=(rate,)), chosen, own_axis, unknown):
        assert one.tuning_rates == ()


@pytest.mark.slow
def test_an_experiment_tunes_first_and_is_then_run_at_what_was_chosen(experiment, tmp_path):
    arms, grid_of_rates = ("gelu", "relu"), Tuning((1e-3, 0.1), seeds=(7, 8))
    asked = replace(experiment, model=Bigram(), activations=arms, tuning=grid_of_rates)
    found = ablations.run(asked, tmp_path / "out", quiet=True)
    table = tuning.tuned(found.tuning)
    chosen = table[table["chosen"]].set_index("activation")["learning_rate"]
    rates = found.rows.groupby("activation")["learning_rate"].unique()
    for name in arms:
        assert rates[name] == [chosen[name]]
    assert sorted(found.rows["seed"].unique()) == [0, 1, 2]
    own = found.experiment["overrides"]
    assert [one["fields"]["hyperparameters.learning_rate"] for one in own] == [chosen[name] for name in arms]
    seen = ablations.evaluate(asked, lambda cell, run, variables, test: [{"size": len(variables)}], tmp_path / "out")
    assert seen.groupby("activation")["learning_rate"].unique().to_dict() == rates.to_dict()
    assert len(seen) == 2 * 3
    for other in (Tuning((1e-3, 1.0), seeds=(9,)), Tuning()):  # another choice, and none
        with pytest.raises(ValueError, match="holds gelu with hyperparameters"):
            ablations.run(replace(asked, tuning=other), tmp_path / "out", quiet=True)


def test_steps_fill_the_baselines_time(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(matching, "_seconds_per_step", lambda cells, placement: [0.01, 0.02])
    arms = matching.match(experiment, tmp_path, None)
    assert [arm["fields"]["settings.steps"] for arm in arms] == [
        experiment.settings.steps,
        experiment.settings.steps // 2,
    ]
    steps = [cell.settings.steps for cell in grid(matching.matched(experiment, tmp_path))]
    assert steps == [experiment.settings.steps, experiment.settings.steps // 2]


def test_arms_with_steps_of_their_own_are_compared_at_their_last():
    found = synthetic.results(synthetic.rows(["gelu", "swiglu"]))
    short = found.rows[(found.rows["activation"] == "gelu") | (found.rows["step"] <= 1000)]
    cells = tuple(
        {**cell, "settings": {"steps": 1000 if cell["activation"] == "swiglu" else 2000}} for cell in found.cells
    )
    (arm,) = compare(replace(found, rows=short, cells=cells)).arms
    at = short[(short["split"] == "validation") & (short["metric"] == "loss")]
    means = at[at["step"] == at["activation"].map({"gelu": 2000, "swiglu": 1000})].groupby("activation")["value"].mean()
    assert arm.difference == pytest.approx(means["swiglu"] - means["gelu"])


def trainer(asked):
    """What training would give, without any: synthetic rows; it notes the seeds and arms that were asked for."""
    trained: dict[str, set[int]] = {}

    def train(experiment, directory, looks):
        asked.append((experiment.activations, experiment.seeds))
        for name in experiment.activations:
            trained.setdefault(name, set()).update(experiment.seeds)
        rows = pd.concat([synthetic.rows([name], sorted(seeds)) for name, seeds in trained.items()])
        found = synthetic.results(rows.reset_index(drop=True))
        return replace(found, experiment={**found.experiment, "looks": list(looks)})

    return train


def test_arms_stop_as_soon_as_they_are_resolved():
    asked = []
    arms = ("gelu", "relu", "silu")
    experiment = Experiment("synthetic", "", None, None, arms, seeds=tuple(range(12)))
    found = sequential.run_sequentially(experiment, None, trainer(asked))
    assert [len(seeds) for _, seeds in asked][:2] == [4, 6]
    last = asked[-1][0]
    assert "relu" not in last
    assert "gelu" in last
    verdicts = {arm.activation: arm.verdict for arm in compare(found).arms}
    assert verdicts["relu"] == "worse"
    seeds = found.rows.groupby("activation")["seed"].nunique()
    assert seeds["relu"] < seeds["gelu"]


def test_looking_costs_certainty():
    fixed = synthetic.results(synthetic.rows(["gelu", "silu"], seeds=range(8)))
    looked = replace(fixed, experiment={**fixed.experiment, "looks": [4, 12]})
    (before,), (after,) = compare(fixed).arms, compare(looked).arms
    assert after.p >= before.p
    assert after.low < before.low
    assert after.high > before.high


def test_to_stop_when_resolved_takes_seeds(experiment):
    with pytest.raises(ValueError, match="seeds are 3"):
        ablations.run(experiment, sequential=True)


def test_a_margin_makes_arms_the_same():
    found = synthetic.results(synthetic.rows(["gelu", "silu", "relu"], seeds=range(20)))
    verdicts = {
        margin: {arm.activation: arm.verdict for arm in compare(_with_margin(found, margin)).arms}
        for margin in (None, 0.01)
    }
    assert verdicts[0.01] == {"silu": "equivalent", "relu": "worse"}
    assert verdicts[None]["silu"] != "equivalent"
    other = compare(_with_margin(found, 0.01), metric="bits_per_byte")  # a margin is in the unit of its own metric
    assert all(arm.equivalence_p is None for arm in other.arms)


@pytest.fixture
def tuned_results(tmp_path):
    """Two arms at tuned rates, whose tuning runs hardly tell the rates apart."""
    found = synthetic.results(synthetic.rows(["gelu", "relu"], seeds=range(8)), tmp_path)
    search = synthetic.rows(["gelu", "relu"], seeds=[100, 101], learning_rates=(1e-3, 1.5e-3, 2e-3))
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
