"""`ablations quantize`: paired with the same network in float, written beside the report, refused in one sentence."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from refusals import assert_names, refused
from test_swaps import TEXT, hugging_face

import ablations
from lab.comparison.networks import quantization as costs
from lab.experiment.experiment import Experiment, grid
from lab.probes.dense_inputs import Inputs
from lab.results.cells import CellDirectory
from lab.results.examples import Measured
from lab.runner import dispatch
from lab.runner.networks import quantization, sources, swaps, texts
from lab.runner.networks.networks import evaluated_by_cell
from lab.runner.networks.quantization import measured
from lab.runner.networks.sources import Source, opened
from lab.surgery.quantization import SITES
from lab.tasks.classification import TextClassification
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models.transformer import Transformer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Results with one arm of two seeds, and the name of its cell."""
    folder = tmp_path_factory.mktemp("trained")
    drawn = np.random.default_rng(0).choice(TEXT.split(), 3000)  # so that the splits differ
    (folder / "corpus.txt").write_text(" ".join(drawn))
    experiment = Experiment(
        name="trained",
        question="What is quantized?",
        task=CausalLanguage(data=f"text:{folder}/corpus.txt", context=8, evaluation_windows=8),
        model=Transformer(context=8, d_model=8, n_layers=1, n_heads=2),
        activations=("gelu",),
        seeds=(0, 1),
        settings=Settings(steps=3, batch_size=4),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
    ablations.run(experiment, folder / "out", quiet=True)
    return folder / "out", grid(experiment)[0].name


@pytest.fixture(scope="module")
def asked(trained):
    """What `measured` takes: the source and its text."""
    directory, cell = trained
    source = opened(directory / "cells" / cell, dispatch.load)
    return source, quantization._text(quantization.Quantize(directory / "cells" / cell), source, dispatch.load)


@pytest.fixture(scope="module")
def found(asked):
    source, text = asked
    return measured(source.model, source.parameters, text, ("w4", "w4a4"))


def test_off_is_exactly_the_recorded_loss(trained, found):
    off = found.rows[found.rows["recipe"] == "off"].set_index("seed")
    assert (off["difference"] == 0).all()
    rows = ablations.load(trained[0])
    last = rows[(rows["split"] == "test") & (rows["metric"] == "loss") & (rows["step"] == 3)].set_index("seed")
    np.testing.assert_allclose(off["loss"], last["value"][off.index], rtol=1e-6)


def test_networks_are_calibrated_on_their_training_text(asked):
    source, text = asked
    np.testing.assert_array_equal(text.train["tokens"], dispatch.load(source.task).arrays["train"]["tokens"])


def test_networks_together_are_as_each_alone(asked, found):
    source, text = asked
    alone = measured(source.model, {1: source.parameters[1]}, text, ("w4",)).rows
    assert set(alone["over"]) == {costs.OVER_TEXT}
    together = found.rows[(found.rows["recipe"] == "w4") & (found.rows["seed"] == 1)].set_index("kept")
    by_site = alone[alone["recipe"] == "w4"].groupby("kept")["difference"].mean()
    assert set(by_site.index) == {"", *SITES}
    np.testing.assert_allclose(by_site, together["difference"][by_site.index], atol=2e-6)


def test_a_single_network_has_an_interval_over_its_text():
    rng = np.random.default_rng(0)
    document, weight = np.repeat(np.arange(12), 2), rng.integers(1, 9, 24).astype("float32")
    before = Measured(rng.normal(2, 0.1, (1, 24)).astype("float32"), weight, document)
    after = Measured((before.values + rng.normal(0.5, 0.1, (1, 24))).astype("float32"), weight, document)
    rows = costs.differences(after, before, [-1]).assign(recipe="w8", kept="")
    assert len(rows) == 12
    whole = ((after.values - before.values) * weight).sum() / weight.sum()
    np.testing.assert_allclose(rows["difference"].mean(), whole, rtol=1e-5)
    (row,) = costs.recipes(rows, 0.01).to_dict("records")
    assert row["low"] < 0.5 < row["high"]
    assert (row["verdict"], row["n"]) == ("worse", 12)


def test_what_keeping_a_site_saves_is_paired_with_the_network_quantized_everywhere(found):
    table = costs.sites(found.rows).set_index(["recipe", "kept"])
    rows = found.rows.pivot_table(index="seed", columns=["recipe", "kept"], values="difference")
    for recipe, site in table.index:
        saved = rows[recipe, site] - rows[recipe, ""]
        np.testing.assert_allclose(table.loc[(recipe, site), "difference"], saved.mean(), atol=1e-12)
        np.testing.assert_allclose(table.loc[(recipe, site), "remaining"], rows[recipe, site].mean(), atol=1e-12)


def test_results_are_quantized_beside_their_report(trained, capsys):
    directory, _ = trained
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert ablations.main(["quantize", str(directory), "--recipe", "w8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((directory / "quantization" / "quantization.json").read_text())
    assert set(told) == {
        *("directory", "over", "margin", "level", "recipes", "sites", "inputs", "left_out", "page", "made")
    }
    off, w8 = told["recipes"]
    assert set(w8) == {
        *("activation", "recipe", "n", "over", "loss", "difference", "low", "high", "se_seeds_and_text"),
        *("p_adjusted", "equivalence_p", "verdict"),
    }
    assert (off["difference"], off["verdict"], off["over"]) == (0, "baseline", "seeds")
    assert w8["low"] <= w8["difference"] <= w8["high"]
    assert [row["kept"] for row in told["sites"]] == list(SITES)
    assert all(row["kurtosis"] > 0 and row["max_over_median"] >= 1 for row in told["inputs"])
    assert {path: path.read_bytes() for path in before} == before
    assert "w8" in (directory / "quantization" / "index.html").read_text()


@pytest.mark.slow
def test_a_hugging_face_network_is_told_to_be_one(tmp_path, capsys):
    folder = hugging_face(tmp_path / "gpt2", "gpt2")
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text(TEXT * 40)
    texts = [str(tmp_path / f"{name}.txt") for name in ("a", "b")]
    words = ["quantize", str(folder), "--recipe", "w8", "--text", *texts, "--out", str(tmp_path / "out")]
    assert ablations.main(words) == 0
    assert "one network" in capsys.readouterr().out
    assert "say nothing of other seeds" in (tmp_path / "out" / "index.html").read_text()
    assert not (folder / "quantization").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--recipe", "w8a9"], ("--recipe", "w8a9", "w8a8")),
        (["--margin", "0"], ("--margin", "0.0")),
        (["--text", "nowhere.txt"], ("nowhere.txt",)),
    ],
)
def test_what_is_not_known_is_refused_in_one_sentence(trained, tmp_path, capsys, words, named):
    assert ablations.main(["quantize", str(trained[0]), *words, "--out", str(tmp_path / "out")]) == 2
    assert_names(capsys.readouterr().err, *named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["quantize"], ["swap", "--activation", "relu"]])
def test_a_tokenizer_trained_on_the_text_reads_no_other(trained, tmp_path, capsys, monkeypatch, words):
    def characters(*arguments):
        source = opened(*arguments)
        return replace(source, task=replace(source.task, tokenizer="characters", vocabulary=32))

    monkeypatch.setattr(sources if words == ["quantize"] else swaps, "opened", characters)
    (tmp_path / "a.txt").write_text(TEXT * 40)
    command, *options = words
    cell = trained[0] / "cells" / trained[1]
    given = [command, str(cell), *options, "--text", str(tmp_path / "a.txt"), "--out", str(tmp_path / "out")]
    assert ablations.main(given) == 2
    assert_names(capsys.readouterr().err, "--text", "a.txt", "characters")
    assert not (tmp_path / "out").exists()


def test_a_task_without_windows_of_text_reads_no_other():
    source = Source(Transformer(), {}, TextClassification())
    assert texts.task_of(source, Path()) is source.task
    with refused("--text", "a.txt", "text_classification"):
        texts.task_of(source, Path(), "a.txt")


@pytest.fixture
def copied(trained, tmp_path):
    """Results of which a copy was made, and the folder of their cell."""
    shutil.copytree(trained[0], tmp_path / "out", ignore=shutil.ignore_patterns("quantization"))
    return tmp_path / "out", tmp_path / "out" / "cells" / trained[1]


def test_a_copy_of_a_cell_does_not_count_twice(copied):
    directory, cell = copied
    shutil.copytree(cell, cell.with_name("copy"))
    told = ablations.quantize(directory, ["w8"])
    assert [row["n"] for row in told["recipes"]] == [2, 2]


def test_two_cells_of_one_arm_are_not_taken_together(copied):
    directory, cell = copied
    other = cell.with_name("gelu-other")
    shutil.copytree(cell, other)
    description = json.loads((other / "cell.json").read_text())
    (other / "cell.json").write_text(json.dumps(description | {"cell": other.name}))
    with refused("out", "gelu"):
        ablations.quantize(directory, ["w8"])


def test_networks_of_several_learning_rates_are_not_taken_together(trained, monkeypatch):
    waves = CellDirectory.waves

    def retuned(self):
        (wave,) = waves(self)
        return [replace(wave, runs=(wave.runs[0], wave.runs[1] | {"learning_rate": 0.5}))]

    monkeypatch.setattr(CellDirectory, "waves", retuned)
    with refused("learning_rate", "0.5", "0.01", "1"):
        opened(trained[0] / "cells" / trained[1], dispatch.load)


def test_networks_by_seed_are_refused_where_a_seed_has_several(tmp_path):
    experiment = Experiment(
        name="rates",
        question="Which?",
        task=CausalLanguage(context=8),
        model=Transformer(context=8),
        activations=("gelu",),
        seeds=(0, 1),
        learning_rates=(1e-3, 3e-3),
        settings=Settings(steps=3),
    )
    with refused("several networks of seed 0"):
        evaluated_by_cell(experiment, tmp_path, lambda *arguments: {})


def test_what_the_layers_of_cross_attention_read_is_told_apart():
    names = ("attention/query", "attention/key", "cross_attention/query", "cross_attention/key")
    paths = [f"layer_0/{name}" for name in (*names, "cross_attention/value", "feedforward/gate", "feedforward/up")]
    read = {path: Inputs(np.ones((1, 4)), np.full(1, 3.0 + at), np.ones(1)) for at, path in enumerate(paths)}
    table = quantization._read(read, [0]).set_index(["site", "layer"])["kurtosis"]
    assert dict(table) == {
        ("attention_input", "layer_0"): 3,
        ("attention_input", "layer_0/cross_attention/query"): 5,
        ("attention_input", "layer_0/cross_attention/key"): 6,
        ("feedforward_input", "layer_0"): 9,
    }


def test_a_loss_that_is_not_finite_is_told_and_leaves_the_baseline(trained, tmp_path, monkeypatch):
    losses = quantization.losses

    def burst(model, text, params):
        found = losses(model, text, params)
        calls.append(model)
        lost = len(calls) == 3  # after the network itself and "off": w8 with no site kept
        return replace(found, values=np.where([[False], [lost]], np.nan, found.values))

    calls = []
    monkeypatch.setattr(quantization, "losses", burst)
    told = ablations.quantize(trained[0], ["w8"], out=tmp_path / "out")
    assert told["left_out"] == {"gelu, w8": "a loss is not finite for seeds 1"}
    assert [row["n"] for row in told["recipes"]] == [2, 1]


def test_networks_that_diverged_are_left_out(trained, tmp_path, monkeypatch):
    def broken(*arguments):
        source = opened(*arguments)
        source.parameters[1] = jax.tree.map(lambda x: x * np.inf, source.parameters[1])
        return source

    monkeypatch.setattr(sources, "opened", broken)
    told = ablations.quantize(trained[0], ["w8"], out=tmp_path / "out")
    assert told["left_out"] == {"gelu, seed 1": "its network diverged in training"}
    assert told["over"] == costs.OVER_TEXT


def test_off_alone_is_written(trained, tmp_path, capsys):
    assert ablations.main(["quantize", str(trained[0]), "--recipe", "off", "--out", str(tmp_path / "out")]) == 0
    assert "baseline" in capsys.readouterr().out
