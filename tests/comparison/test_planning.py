"""The commands noise and plan, on a small experiment that is trained once: components, cost, designs, refusals."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lab.cli.main import main
from lab.comparison.noise import between, measure
from lab.comparison.time.run_time import of_cell
from lab.experiment.duration import Duration
from lab.experiment.experiment import Experiment, Tuning
from lab.results import results
from lab.runner import interface, planning
from lab.runner.planning import final_evaluation, pilot_of
from lab.tasks.language import CausalLanguage
from lab.training.settings import Settings
from models.transformer import Transformer

EXPERIMENT = Experiment(
    name="small",
    question="?",
    task=CausalLanguage(data="stdlib", context=16, evaluation_windows=8),
    model=Transformer(context=16, d_model=16, n_layers=1, n_heads=2),
    activations=("gelu", "relu", "silu"),
    seeds=(0, 1, 2),
    settings=Settings(steps=30, batch_size=4, final_evaluation=0.5),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Results whose runs took a second a step and a tenth an example, whatever the machine did."""
    found = interface.run(EXPERIMENT, tmp_path_factory.mktemp("small"), quiet=True)
    examples = found.examples(found.cells[0]["cell"]).values.shape[1]
    seconds = {"compile": 20.0, "train": 1.0 * 30 * 3 / 10, "evaluate": 0.0, "checkpoint": 0.0}
    timing = found.timing.assign(seconds=found.timing["kind"].map(seconds).fillna(0.1 * examples * 3 / 2))
    return replace(found, timing=timing)


def test_noise_is_that_of_the_differences_and_pairs(made):
    (setting,) = measure(made)
    relu = setting.arms[0]
    ends = made.rows.query("split == 'validation' and metric == 'loss' and step == 30")
    wide = ends.pivot(index="seed", columns="activation", values="value")
    difference = wide["relu"] - wide["gelu"]
    assert (relu.activation, relu.noise.pairs) == ("relu", 3)
    assert relu.noise.mean == pytest.approx(difference.mean(), abs=1e-5)
    assert relu.noise.of_seed == pytest.approx(difference.var(), rel=1e-3)
    assert relu.pairing == pytest.approx(wide["relu"].corr(wide["gelu"]), abs=1e-3)
    assert relu.unpaired == pytest.approx((wide["relu"].var() + wide["gelu"].var()) / difference.var(), rel=1e-2)


def test_variance_between_arms_is_recovered():
    rng = np.random.default_rng(0)
    draws = [
        between(0.3 * rng.normal(size=(5, 1)) + rng.normal(size=(1, 8)) + 0.2 * rng.normal(size=(5, 8)))
        for _ in range(500)
    ]
    assert np.mean(draws) == pytest.approx(0.09, rel=0.1)


def test_cost_is_that_of_the_timing(made):
    cell = made.cells[0]["cell"]
    time = of_cell(made, cell, made.examples(cell))
    assert (time.compile, time.run, time.step) == pytest.approx((20, 30, 1))
    assert time.example == pytest.approx(0.1)


def test_designs_cost_what_they_say_and_fit_the_time(made):
    found = planning.plan(EXPERIMENT, Duration(1200), 0.05, made)
    assert len(found.designs) > 2
    for _, one in found.designs:
        assert one.seconds == pytest.approx(3 * (20 + one.seeds * (30 + 0.1 * one.examples)))
        assert one.seconds <= 1200
    option, chosen = found.recommended
    assert chosen.power >= max(one.power for _, one in found.designs) - 1e-3 or chosen.power >= 0.99
    assert option.level == pytest.approx(1 - 0.05 / 2)
    assert str(chosen.seeds) in found.sentence
    assert str(chosen.examples) in found.sentence


def test_the_setting_of_the_command_evaluates_so_many_examples(made):
    option = planning.plan(EXPERIMENT, Duration(1200), 0.05, made).options[0]
    for examples in option.examples:
        asked = replace(EXPERIMENT.settings, final_evaluation=final_evaluation(option, examples))
        assert asked.final_examples == examples


def test_tuning_costs_its_runs(made):
    tuned = replace(EXPERIMENT, tuning=Tuning(learning_rates=(1e-3, 3e-3)))
    plain, more = (planning.plan(one, Duration(2400), 0.05, made).options[0] for one in (EXPERIMENT, tuned))
    measured = plain.settings[0].arms[0].noise.examples
    runs = len(tuned.tuning.learning_rates) * len(tuned.tuning.seeds)
    assert more.cost.once - plain.cost.once == pytest.approx(3 * (20 + runs * (30 + 0.1 * measured)))


def test_a_pilot_trains_seeds_of_its_own():
    pilot = pilot_of(replace(EXPERIMENT, seeds=(2000, 2001), tuning=Tuning((1e-3,), seeds=(2002,))))
    assert not {2000, 2001, 2002} & set(pilot.seeds)
    assert not pilot.tuning.learning_rates


@pytest.mark.slow
def test_a_pilot_that_varies_steps_lets_designs_choose_them(tmp_path):
    axes = (("settings.steps", (10, 30)),)
    varied = interface.run(replace(EXPERIMENT, activations=("gelu", "relu"), axes=axes), tmp_path, quiet=True)
    asked = replace(EXPERIMENT, activations=("gelu", "relu"))
    found = planning.plan(asked, Duration(120), 0.05, varied)
    assert {option.axes["steps"] for option in found.options} == {10, 30}
    option, _ = found.recommended
    assert f"--settings.steps {option.axes['steps']}" in found.command
    assert "steps" not in found.notes[0].partition(":")[0]


def test_commands_answer_in_json(made, capsys):
    assert main(["noise", str(made.directory), "--json"]) == 0
    (setting,) = json.loads(capsys.readouterr().out)
    assert set(setting["arms"][0]["variances"]) == {"seed", "text", "seed_text", "seed_example"}
    assert main(["noise", str(made.directory)]) == 0
    assert "relu" in capsys.readouterr().out


def test_plan_reads_a_pilot_and_answers_in_json(made, capsys, monkeypatch):
    monkeypatch.setattr("lab.experiment.library.find", lambda name: EXPERIMENT)
    words = ["plan", "small", "--budget", "30m", "--effect", "0.05", "--pilot", str(made.directory)]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["budget_seconds"] == 1800
    assert found["recommended"] in found["designs"]
    assert main(words) == 0
    assert found["sentence"] in capsys.readouterr().out
    assert main([*words[:-2], "--pilot", str(made.directory), "--settings.steps", "60"]) == 2
    assert "settings.steps" in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_pilot_one_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    short = replace(EXPERIMENT, activations=("gelu", "relu"), settings=Settings(steps=4, batch_size=4))
    found = interface.plan(short, "10m", 0.05, quiet=True)
    assert results.read(tmp_path / "results" / "small-pilot").experiment["seeds"] == list(pilot_of(short).seeds)
    assert found.options[0].settings[0].arms[0].noise.pairs == planning.PILOT_SEEDS


@pytest.mark.parametrize(
    "change", [{"baseline": "relu"}, {"activations": ("gelu", "tanh")}, {"metric": "bits_per_byte"}]
)
def test_a_pilot_of_something_else_is_refused(made, change):
    (name,) = change
    word = "tanh" if name == "activations" else str(change[name])
    with pytest.raises(ValueError, match=word):
        planning.plan(replace(EXPERIMENT, **change), Duration(600), 0.05, made)


def test_an_effect_that_is_not_positive_is_refused(made):
    with pytest.raises(ValueError, match=r"--effect is -0\.1"):
        planning.plan(EXPERIMENT, Duration(600), -0.1, made)


def test_a_metric_without_examples_is_refused(made):
    derived = replace(made, experiment={**made.experiment, "metric": "bits_per_byte"})
    with pytest.raises(ValueError, match="bits_per_byte"):
        measure(derived)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1.5h", 5400)])
def test_durations_are_read(text, seconds):
    assert Duration.read(text) == seconds


@pytest.mark.parametrize("text", ["30", "m", "0m", "-2h", "2d", "1h30m"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(ValueError, match=text):
        Duration.read(text)
