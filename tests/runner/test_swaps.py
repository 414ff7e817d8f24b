"""A swap of a trained network is told of as it is, refused where there is none, and recovers if it is trained on."""

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from refusals import refused
from tokenizers import Tokenizer, models, pre_tokenizers

import ablations
from lab.experiment.experiment import Experiment, grid
from lab.report.networks import drift, recovery
from lab.runner.networks import swaps
from lab.tasks.language import CausalLanguage
from lab.training.settings import Hyperparameters, Settings
from models import pretrained
from models.activations import Activation
from models.families import family
from models.transformer import Transformer

SIZES = {"d_model": 8, "n_layers": 1, "n_heads": 2}
TEXT = "the quick brown fox jumps over the lazy dog. "


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A cell of ours with networks of two seeds."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "corpus.txt").write_text(TEXT * 300)
    experiment = Experiment(
        name="trained",
        question="What is swapped?",
        task=CausalLanguage(data=f"text:{folder}/corpus.txt", context=8, evaluation_windows=8),
        model=Transformer(context=8, norm="layernorm", bias=True, **SIZES),
        activations=("gelu",),
        seeds=(0, 1),
        settings=Settings(steps=3, batch_size=4),
        hyperparameters=Hyperparameters(learning_rate=1e-2),
    )
    ablations.run(experiment, folder / "out", quiet=True)
    return folder / "out" / "cells" / grid(experiment)[0].name


def words(folder, special=()):
    """A tokenizer.json of a few words."""
    known = {word: index for index, word in enumerate(dict.fromkeys(["[UNK]", *special, *TEXT.split()]))}
    tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    return len(known)


def hugging_face(folder, kind, special=(), **fields):
    """A folder of a small network that nobody trained."""
    folder.mkdir()
    size = {"gpt2": "small", "bert": "base", "t5": "base"}[kind]
    model = family(kind, size, vocab_size=words(folder, special), context=12, **SIZES, **fields)
    params = model.init(jax.random.key(1), *[np.zeros((1, 4), np.int32)] * (2 if kind == "t5" else 1))["params"]
    pretrained.save(folder, model, params)
    return folder


def test_each_change_is_measured_on_every_network_and_written(cell, tmp_path):
    rows = ablations.swap(cell, "geglu", "rmsnorm", out=tmp_path)
    table = drift.attributed(rows).set_index("change")
    assert set(rows["seed"]) == {0, 1}
    assert table.loc["activation", "kl"] < 1e-6 < table.loc["norm", "kl"]
    assert table.loc["norm, centring folded", "kl"] < 1e-6
    np.testing.assert_allclose(table.loc["interaction", "loss_difference"], 0, atol=1e-5)
    before = (table["loss"] - table["loss_difference"]).dropna()
    np.testing.assert_allclose(before, before["activation"], rtol=1e-6)  # the same network's, whatever the change
    record = json.loads((tmp_path / "drift.json").read_text())
    assert record["from"] == {"activation": "gelu", "norm": "layernorm"}
    assert [row["change"] for row in record["attribution"]] == list(table.index)
    page = (tmp_path / "index.html").read_text()
    assert "the two changes add up" in page
    assert "activation gelu to geglu, norm layernorm to rmsnorm" in page


@pytest.mark.slow
def test_training_on_is_paired_with_the_unchanged_network(cell, tmp_path):
    rows = ablations.swap(cell, "relu", "rmsnorm", steps=2, out=tmp_path, quiet=True)
    record = json.loads((tmp_path / "drift.json").read_text())
    changes = [row["change"] for row in record["recovery"]]
    assert changes == ["norm", "activation", "both", "norm, centring folded", "both, centring folded"]
    # What the drift says of the test text, the start of training on says of the validation text.
    begins = {row["change"]: row["at the start"] for row in record["recovery"]}
    measured = drift.attributed(rows).set_index("change")["loss_difference"]
    assert abs(begins["norm, centring folded"]) < 1e-5
    assert np.sign(begins["activation"]) == np.sign(measured["activation"])
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"recovery", "folded"}


@pytest.mark.parametrize(
    ("kind", "special", "activation"),
    [
        ("gpt2", (), "gelu"),
        pytest.param("bert", ("[MASK]",), "relu", marks=pytest.mark.slow),
        pytest.param("t5", ("<pad>", "</s>", "<extra_id_1>", "<extra_id_0>"), "silu", marks=pytest.mark.slow),
    ],
)
def test_a_hugging_face_folder_is_read_with_its_own_tokens(tmp_path, kind, special, activation):
    folder = hugging_face(tmp_path / kind, kind, special)
    (tmp_path / "text.txt").write_text(TEXT * 20)
    rows = ablations.swap(folder, activation, text=tmp_path / "text.txt", out=tmp_path / "out")
    values = rows[rows["layer"].isna()].set_index("measure")["value"]
    assert set(rows["seed"]) == {-1}
    assert 0 < values["kl"] < 1
    assert 0 < values["loss"] < 20
    assert np.isfinite(rows["value"]).all()


def test_inspect_says_what_happens_inside_on_a_text(tmp_path, capsys):
    folder = hugging_face(tmp_path / "gpt2", "gpt2")
    (tmp_path / "text.txt").write_text(TEXT * 20)
    rows = ablations.telemetry(folder, tmp_path / "text.txt")
    layers = [f"layer_{index}" for index in range(SIZES["n_layers"])]
    assert list(rows.loc[rows["layer"] != "", "layer"].unique()) == layers
    values = rows.set_index(["site", "metric"])["value"]
    np.testing.assert_allclose(values.loc["feedforward/input", "rms"], 1, atol=1e-2)
    assert ablations.main(["inspect", str(folder), "--text", str(tmp_path / "text.txt"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["telemetry"] == json.loads(rows.to_json(orient="records"))


def test_a_folder_that_holds_something_else_is_left_alone(cell, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with refused("--out"):
        ablations.swap(cell, "relu", out=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_text_that_is_too_short_and_tokens_that_the_model_lacks_are_refused(tmp_path):
    folder = hugging_face(tmp_path / "gpt2", "gpt2")
    (tmp_path / "text.txt").write_text("the quick")
    with refused("--text", "3 tokens", "13"):
        ablations.swap(folder, "gelu", text=tmp_path / "text.txt", out=tmp_path / "out")
    words(folder, [f"more{index}" for index in range(9)])
    with pytest.raises(ValueError, match=r"model.vocab_size is \d+: it must be at least"):
        ablations.swap(folder, "gelu", text=tmp_path / "text.txt", out=tmp_path / "out")


@pytest.mark.slow
def test_a_fold_that_would_not_be_exact_is_left_out_and_said_so(tmp_path):
    folder = hugging_face(tmp_path / "bert", "bert", ("[MASK]",))
    (tmp_path / "text.txt").write_text(TEXT * 20)
    rows = ablations.swap(folder, norm="rmsnorm", text=tmp_path / "text.txt", out=tmp_path / "out")
    assert list(dict.fromkeys(rows["change"])) == ["norm"]
    assert "placement is &#x27;post&#x27;" in (tmp_path / "out" / "index.html").read_text()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "neither --activation nor --norm is given"),
        (["--activation", "gelo"], "gelu"),
        (["--norm", "layrnorm"], "norm is 'layrnorm'"),
        (["--norm", "none"], "'none' has no parameters"),
        (["--norm", "layernorm", "--activation", "relu"], "--norm is 'layernorm', as the network's is already"),
        (["--activation", "gelu"], "--activation is 'gelu', as the network's is already"),
        (["--activation", "swiglu_clamped"], "no constant value"),
        (["--activation", "relu", "--text", "nowhere.txt"], "nowhere.txt"),
        (["--activation", "relu", "--steps", "-1"], "steps is -1"),
        (["--activation", "relu", "--steps", "2", "--seeds", "7"], "no network of seed 7"),
    ],
)
def test_what_is_not_defined_is_refused_by_name_and_leaves_nothing(cell, tmp_path, capsys, asked, message):
    assert ablations.main(["swap", str(cell), *asked, "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out" / "index.html").exists()


@pytest.mark.parametrize("diverged", [{1}, {0, 1}])
def test_networks_that_diverged_are_left_out_and_said_so(cell, tmp_path, capsys, monkeypatch, diverged):
    def broken(*arguments):
        source = opened(*arguments)
        own = source.parameters
        return replace(source, parameters=own | {seed: jax.tree.map(lambda x: x * np.inf, own[0]) for seed in diverged})

    opened = swaps.opened
    monkeypatch.setattr(swaps, "opened", broken)
    code = ablations.main(["swap", str(cell), "--activation", "relu", "--out", str(tmp_path / "out")])
    if len(diverged) == 2:
        assert code == 2
        assert "holds no network whose parameters are all finite" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
        return
    assert "seed 1: its network diverged in training" in (tmp_path / "out" / "index.html").read_text()
    (row,) = json.loads((tmp_path / "out" / "drift.json").read_text())["attribution"]
    assert row["n"] == 1
    assert np.isfinite(row["kl"])


def test_a_change_that_bursts_a_network_is_written_and_said_so(cell, tmp_path):
    burst = Activation("burst", lambda x: x * jnp.inf)
    table = drift.attributed(ablations.swap(cell, burst, out=tmp_path))
    assert not np.isfinite(table["loss_difference"]).any()
    (row,) = json.loads((tmp_path / "drift.json").read_text())["attribution"]
    assert row["loss_difference"] is None
    assert "a loss is not finite" in (tmp_path / "index.html").read_text()


def apart(changes, steps=(0, 10), seeds=range(4)):
    """Rows of differences, given by (change, step)."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"change": change, "seed": seed, "step": step, "difference": changes[change][i] + rng.normal(0, 0.001)}
            for change in changes
            for seed in seeds
            for i, step in enumerate(steps)
        ]
    )


def test_a_difference_that_is_gone_has_recovered():
    rows = apart({"norm": (0.1, 0.0), "activation": (0.2, 0.1)}).eval("on_curve = difference")
    rows.loc[(rows["step"] == 10) & (rows["change"] == "activation"), "difference"] += 0.05  # on another text
    table = recovery.table(rows).set_index("change")
    np.testing.assert_allclose(table["recovered"], [1.0, 0.5], atol=0.02)
    assert list(table["verdict"]) == ["inconclusive", "worse"]
    assert [verdict.outcome for verdict in recovery.verdicts(rows)] == ["inconclusive", "no"]


def test_the_interaction_is_what_both_do_beyond_each_network_by_network():
    values = {"norm": (0.1, 0.3), "activation": (0.2, 0.1), "both": (0.35, 0.5)}
    rows = pd.DataFrame(
        [
            {"seed": seed, "change": change, "measure": measure, "value": value[seed]}
            for change, value in values.items()
            for seed in (0, 1)
            for measure in drift.WHOLE
        ]
    )
    last = drift.attributed(rows).iloc[-1]
    assert (last["change"], last["n"]) == ("interaction", 2)
    np.testing.assert_allclose(last["loss_difference"], (0.05 + 0.1) / 2)
    assert np.isnan(last[["loss", "agreement"]].astype(float)).all()
    outcomes = [verdict.outcome for verdict in drift.verdicts(rows)]
    assert outcomes[-1] == "inconclusive"
