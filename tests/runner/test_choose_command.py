"""`ablations choose`: arms of trained networks measured, and one recommended."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from markup import words_of
from refusals import assert_names, refused

import ablations
from lab.experiment.experiment import Experiment
from lab.runner import dispatch
from lab.runner.networks import selection
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer


def experiment(folder, name, activations, **fields):
    return Experiment(
        name=name,
        question="What is chosen?",
        task=CausalLanguage(data=f"text:{folder}/corpus.txt", context=8, evaluation_windows=8),
        model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2),
        activations=activations,
        baseline=activations[0],
        seeds=(0, 1, 2),
        settings=Settings(steps=3, batch_size=4),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
        **fields,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two results directories of one task, each with other arms."""
    place = tmp_path_factory.mktemp("choose")
    words = np.random.default_rng(0).choice(["a", "tiny", "text", "of", "few", "words"], 3000)
    (place / "corpus.txt").write_text(" ".join(words))
    ablations.run(experiment(place, "plain", ("gelu", "relu")), place / "plain", quiet=True)
    norms = (("model.norm", ("layernorm",)),)
    ablations.run(experiment(place, "gated", ("swiglu",), axes=norms), place / "gated", quiet=True)
    return place


@pytest.fixture(scope="module", autouse=True)
def few_rounds():
    with pytest.MonkeyPatch.context() as patch:
        original = selection.latency.seconds
        patch.setattr(selection.latency, "seconds", lambda programs: original(programs, rounds=5))
        yield


@pytest.fixture(scope="module")
def found(folder):
    limits = {"int8_loss": 1.0, "parameters": 1e6}
    return ablations.choose(folder / "plain", folder / "gated", limits=limits, batch=4, out=folder / "page")


@pytest.mark.slow
def test_all_arms_of_all_folders_are_measured(folder, found):
    assert [row["arm"] for row in found["arms"]] == ["gelu, layernorm", "relu, layernorm", "swiglu, layernorm"]
    losses = ablations.load(folder / "plain")
    last = losses[(losses["split"] == "validation") & (losses["metric"] == "loss") & (losses["step"] == 3)]
    mean = last[last["activation"] == "gelu"]["value"].mean()
    assert found["arms"][0]["loss"] == pytest.approx(mean)
    assert all(row["latency_ms"] > 0 and row["memory_mb"] > 0 for row in found["arms"])
    assert [row["stable_rate"] for row in found["arms"]] == pytest.approx([1e-2] * 3)
    assert all(row["stable_rate_at_least"] for row in found["arms"])
    assert found["chosen"] in [row["arm"] for row in found["arms"]]
    assert (folder / "page" / "index.html").exists()
    assert json.loads((folder / "page" / "choice.json").read_text()) == found
    assert any("untuned" in caution for caution in found["cautions"])
    assert all(caution in words_of(folder / "page" / "index.html") for caution in found["cautions"])


@pytest.mark.slow
def test_the_loss_of_quantization_is_that_of_quantize(folder, found):
    rows = ablations.quantize(folder / "plain", recipes=("w8a8",), out=folder / "quantized")["recipes"]
    told = {row["activation"]: row["difference"] for row in rows if row["recipe"] == "w8a8"}
    for row in found["arms"][:2]:
        assert row["int8_loss"] == pytest.approx(told[row["activation"]], abs=1e-7)


def test_rates_at_which_a_run_diverged_are_not_stable(folder):
    read = selection.results.read(folder / "plain")
    rows = read.rows.copy()
    more = rows.assign(learning_rate=0.1)
    burst = more[(more["seed"] == 1) & (more["activation"] == "relu")].head(1).assign(metric="diverged", split="train")
    read = replace(read, rows=pd.concat([rows, more, burst]))
    assert selection._rates(read, {"activation": "gelu"}) == (pytest.approx(0.1), pytest.approx(0.1))
    assert selection._rates(read, {"activation": "relu"}) == (pytest.approx(1e-2), pytest.approx(0.1))


def test_rates_found_by_bisection_take_their_place():
    found = pd.DataFrame({"activation": ["gelu", "relu"], "norm": ["rmsnorm"] * 2, "rate": [0.3, 0.2]})
    assert selection._rates(None, {"activation": "relu", "norm": "rmsnorm"}, found) == (0.2, np.inf)
    with refused("stable_rates", "silu", 0, "rmsnorm"):
        selection._rates(None, {"activation": "silu", "norm": "rmsnorm"}, found)


def test_folders_that_were_trained_otherwise_are_refused(folder, tmp_path):
    shutil.copytree(folder / "gated", tmp_path / "longer")
    record = json.loads((tmp_path / "longer" / "experiment.json").read_text())
    record["definition"]["settings"]["steps"] = 6
    (tmp_path / "longer" / "experiment.json").write_text(json.dumps(record))
    with refused(str(tmp_path / "longer"), "settings.steps", 6, 3):
        ablations.choose(folder / "plain", tmp_path / "longer")


def test_seeds_that_are_left_out_are_said(folder):
    read = selection.results.read(folder / "plain")
    rows = read.rows.copy()
    last = (rows["activation"] == "relu") & (rows["seed"] == 1) & (rows["step"] == 3)
    rows.loc[last & (rows["metric"] == "loss"), "value"] = np.nan
    left_out: dict[str, str] = {}
    arms = selection._arms(
        selection.Select((folder / "plain",)),
        [(folder / "plain", replace(read, rows=rows))],
        dispatch.load,
        left_out,
    )
    assert [list(one.losses.index) for one in arms] == [[0, 2], [0, 2]]
    assert set(left_out) == {"gelu, seeds 1", "relu, seeds 1"}


def test_what_cannot_be_compared_is_refused_before_anything_is_computed(folder, tmp_path, capsys):
    with refused("--recipe", "w9", "w8"):
        ablations.choose(folder / "plain", recipe="w9")
    with refused("--batch", 0):
        ablations.choose(folder / "plain", batch=0)
    with refused("limit", "speed"):
        ablations.choose(folder / "plain", limits={"speed": 1.0})
    with refused(str(folder / "plain"), "gelu"):
        ablations.choose(folder / "plain", folder / "plain")
    assert not (folder / "plain" / "choice").exists()
    assert ablations.main(["choose", str(folder / "plain"), "--latency", "nan"]) == 2
    assert_names(capsys.readouterr().err.strip(), "latency_ms", "nan")
