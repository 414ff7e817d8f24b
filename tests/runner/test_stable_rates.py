"""Stable rates and restarts: the brackets hold, one program is compiled, and nothing is trained twice."""

from dataclasses import replace

import chex
import numpy as np
import pandas as pd
import pytest
from bigram import Bigram
from refusals import refused

import ablations
from lab.experiment.experiment import grid
from lab.results import results
from lab.runner.asked import session_of
from lab.runner.mode import Mode
from lab.runner.stability.restarts import LATER, Restart, restarts
from lab.training import step
from lab.training.settings import Hyperparameters

SEARCH = {"low": 1e-2, "high": 1e12, "rounds": 4}
RUN = ["activation", "seed", "learning_rate"]


@pytest.fixture
def sharp(experiment, monkeypatch):
    """A model that explodes above some rate, and below it improves on its first loss."""
    monkeypatch.setattr("lab.data.catalogue.reference_predictors", lambda dataset, split: {})
    hyperparameters = Hyperparameters(learning_rate=1.0, weight_decay=0.0, clip_norm=np.inf)
    settings = replace(experiment.settings, optimizer="sgd", steps=8)
    return replace(
        experiment,
        model=Bigram(),
        activations=("gelu", "relu"),
        settings=settings,
        hyperparameters=hyperparameters,
        seeds=(0, 1),
    )


def waves(folder):
    return sorted(path.parent.name for path in folder.glob("**/runs.json"))


@pytest.mark.slow
def test_each_seed_has_a_bracket_whose_ends_were_trained(sharp, tmp_path, monkeypatch):
    for name in ("init", "train_interval", "evaluate", "telemetry"):
        monkeypatch.setattr(step, name, chex.assert_max_traces(getattr(step, name), n=2))  # arms, whatever the rounds
    found = ablations.stable_rates(sharp, **SEARCH, out=tmp_path / "out", quiet=True)
    assert found.thresholds[["activation", "seed"]].to_numpy().tolist() == [
        [name, seed] for name in ("gelu", "relu") for seed in (0, 1)
    ]
    np.testing.assert_allclose(
        found.thresholds["high"] / found.thresholds["low"],
        (SEARCH["high"] / SEARCH["low"]) ** (1 / 2 ** SEARCH["rounds"]),
    )
    assert found.programs["rounds"].tolist() == [SEARCH["rounds"] + 2] * 2
    assert found.programs["programs"].tolist() == [1, 1]
    for row in found.thresholds.to_dict("records"):
        own = found.runs[(found.runs[["activation", "seed"]] == [row["activation"], row["seed"]]).all(axis=1)]
        event = dict(zip(own["learning_rate"], own["event"], strict=True))
        nearest = {end: min(event, key=lambda rate, end=end: abs(np.log(rate / row[end]))) for end in ("low", "high")}
        assert event[nearest["low"]] == ""
        assert event[nearest["high"]] != ""
    lowest = found.thresholds.groupby("activation")["low"].min()
    assert found.of_arms(share=1.0).set_index("activation")["rate"].to_dict() == lowest.to_dict()
    assert len(found.looks) == len(found.runs) * (1 + 8 // 2)

    made = waves(tmp_path / "out")
    again = ablations.stable_rates(sharp, **SEARCH, out=tmp_path / "out", quiet=True)
    pd.testing.assert_frame_equal(again.thresholds, found.thresholds)
    assert waves(tmp_path / "out") == made
    assert len(results.read(tmp_path / "out").rows[RUN].drop_duplicates()) == len(found.runs)


def test_a_run_must_beat_single_tokens_where_their_entropy_is_known(sharp, tmp_path, monkeypatch):
    asked, once = replace(sharp, activations=("gelu",)), SEARCH | {"rounds": 0}
    found = ablations.stable_rates(asked, **once, out=tmp_path / "first", quiet=True)
    assert found.runs["event"].tolist()[:2] == ["", ""]
    floor = {"unigram": {"metric": "bits_per_byte", "split": "validation", "value": 1.0}}
    monkeypatch.setattr("lab.data.catalogue.reference_predictors", lambda dataset, split: floor)
    found = ablations.stable_rates(asked, **once, out=tmp_path / "floor", quiet=True)
    assert found.runs["event"].tolist()[:2] == ["loss", "loss"]
    assert (found.thresholds["low"] == 0).all()
    assert found.of_arms()["rate"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("search", "words"),
    [
        ({"low": 0.0}, ("low", "0.0")),
        ({"low": 2.0, "high": 1.0}, ("low", "2.0", "high", "1.0")),
        ({"rounds": -1}, ("rounds", -1)),
    ],
)
def test_a_search_that_is_none_is_refused_before_training(sharp, tmp_path, search, words):
    with refused(*words):
        ablations.stable_rates(sharp, **search, out=tmp_path / "out", quiet=True)
    assert not waves(tmp_path / "out")


def test_runs_that_a_table_would_mix_up_are_refused(sharp, tmp_path):
    decays = replace(sharp, axes=(("hyperparameters.weight_decay", (0.0, 0.1)),))
    with refused("axes", "hyperparameters.weight_decay"):
        ablations.stable_rates(decays, **SEARCH, out=tmp_path / "out", quiet=True)
    rates = session_of(replace(sharp, learning_rates=(0.1, 1.0)), tmp_path / "rates", Mode(quiet=True))
    with refused("seed", "learning rate"):
        restarts(rates, Restart(4, 2))


@pytest.mark.slow
def test_restarts_begin_with_the_trained_loss_and_share_a_program(experiment, tmp_path, monkeypatch):
    settings = replace(experiment.settings, final_evaluation=0.0)
    trained = replace(experiment, model=Bigram(), seeds=(0, 1), settings=settings)
    trained = replace(trained, learning_rates=(1e-2,), activations=("gelu",))
    ablations.run(trained, tmp_path / "out", quiet=True)
    rows = results.read(tmp_path / "out").rows
    last = rows[(rows["step"] == 6) & (rows["split"] == "validation") & (rows["metric"] == "loss")]
    monkeypatch.setattr(step, "train_interval", chex.assert_max_traces(step.train_interval, n=1))
    session = session_of(trained, tmp_path / "out", Mode(quiet=True))
    found = restarts(session, Restart(4, 2))
    assert len(found) == 4 * 2 * 3
    begin = found[found["step"] == 0].groupby("seed")["loss"]
    np.testing.assert_allclose(begin.min(), last.set_index("seed")["value"].sort_index(), rtol=1e-6)
    np.testing.assert_allclose(begin.max(), begin.min(), rtol=1e-6)
    after = found[found["step"] == 4].pivot_table("loss", ["optimizer", "warmup"], "seed")
    assert after.nunique().eq(4).all()
    assert {run.seed + LATER < 2**32 for run in grid(trained)[0].runs} == {True}
    made = waves(tmp_path / "out")
    pd.testing.assert_frame_equal(restarts(session, Restart(4, 2)), found)
    assert waves(tmp_path / "out") == made
    with refused("steps", 0):
        restarts(session, Restart(0, 1))
