"""Saving: nothing stale is left, a save that stops mixes nothing, what goes with a network stays with it."""

import contextlib
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from folders import config, copied, set_config

from models import pretrained
from models.pretrained.format import function


def same(a, b):
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        jax.tree.leaves(jax.tree.map(lambda x, y: bool(np.array_equal(x, y)), a, b))
    )


def test_a_folder_with_an_index_and_shards_is_replaced_whole(tmp_path):
    folder = copied("gpt2_untied", tmp_path / "folder")
    old = {path.name for path in folder.glob("model*")}
    assert len(old) > 2
    model, params = pretrained.load(folder)
    changed = jax.tree.map(lambda leaf: leaf + 1, params)
    pretrained.save(folder, model, changed)
    assert same(pretrained.load(folder)[1], changed)
    assert {path.name for path in folder.glob("model*")} == {"model.safetensors"}
    assert not list(folder.glob(".*"))


def test_shards_of_any_name_that_the_index_tells_go_and_other_files_stay(tmp_path):
    folder = copied("gpt2_untied", tmp_path / "folder")
    path, index = folder / "model.safetensors.index.json", {}
    for name, file in json.loads(path.read_text())["weight_map"].items():
        index[name] = file.replace("model", "part")
        if (folder / file).exists():
            (folder / file).rename(folder / index[name])
    path.write_text(json.dumps({"weight_map": index}))
    (folder / "README.md").write_text("mine")
    model, params = pretrained.load(folder)
    pretrained.save(folder, model, params)
    assert not list(folder.glob("part*"))
    assert (folder / "README.md").read_text() == "mine"


@pytest.mark.parametrize("step", range(1, 6))
def test_a_save_that_stops_at_any_step_leaves_the_old_folder_the_new_one_or_none(step, tmp_path, monkeypatch):
    folder = copied("gpt2_older", tmp_path / "folder")
    (folder / "tokenizer.json").write_text("{}")
    model, params = pretrained.load(folder)
    new = model.clone(activation="relu"), jax.tree.map(lambda leaf: leaf + 1, params)
    calls, replace = [], Path.replace

    def stopping(path, target):
        calls.append(target)
        if len(calls) == step:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", stopping)
    with contextlib.suppress(KeyboardInterrupt):
        pretrained.save(folder, *new)
    monkeypatch.undo()
    assert len(calls) >= min(step, 4)
    if not (folder / "config.json").exists():
        return  # refused, and nothing is mixed
    found = pretrained.load(folder)
    old = found[0].activation == model.activation and same(found[1], params)
    assert old or (found[0].activation == new[0].activation and same(found[1], new[1]))


def test_what_a_killed_save_left_is_swept(tmp_path):
    folder = copied("gpt2_older", tmp_path / "folder")
    (folder / ".saving-abc").mkdir()
    (folder / ".saving-abc" / "model.safetensors").write_text("half")
    pretrained.save(folder, *pretrained.load(folder))
    assert not list(folder.glob(".saving-*"))


def test_special_tokens_labels_and_tokenizer_survive_loading_changing_and_saving(tmp_path):
    folder = copied("llama_grouped", tmp_path / "llama", eos_token_id=[1, 2], bos_token_id=7, pad_token_id=3)
    files = {"tokenizer.json": "{}", "tokenizer_config.json": '{"a": 1}', "generation_config.json": "[]"}
    for name, text in files.items():
        (folder / name).write_text(text)
    model, params = pretrained.load(folder)
    pretrained.save(tmp_path / "saved", model.clone(activation="geglu"), params)
    saved = config(tmp_path / "saved")
    assert (saved["eos_token_id"], saved["bos_token_id"], saved["pad_token_id"]) == ([1, 2], 7, 3)
    assert saved["hidden_act"] == "gelu"
    assert saved["model_type"] == "llama"
    for name, text in files.items():
        assert (tmp_path / "saved" / name).read_text() == text
    # And over a folder that has another tokenizer, of which nothing stays.
    (tmp_path / "saved" / "vocab.json").write_text("{}")
    pretrained.save(tmp_path / "saved", model, params)
    assert not (tmp_path / "saved" / "vocab.json").exists()


def test_names_of_labels_survive_where_there_are_as_many(tmp_path):
    names = {"0": "cat", "1": "dog", "2": "gnu"}
    folder = copied("vit_square", tmp_path / "vit", id2label=names, label2id={v: int(k) for k, v in names.items()})
    model, params = pretrained.load(folder)
    pretrained.save(tmp_path / "saved", model, params)
    assert config(tmp_path / "saved")["id2label"] == names
    assert config(tmp_path / "saved")["label2id"] == {"cat": 0, "dog": 1, "gnu": 2}
    fewer = {**params, "head": jax.tree.map(lambda leaf: leaf[..., :2], params["head"])}
    pretrained.save(tmp_path / "fewer", model.clone(classes=2), fewer)
    assert config(tmp_path / "fewer")["id2label"] == {"0": "LABEL_0", "1": "LABEL_1"}


def test_the_type_that_was_read_is_written_where_several_compute_the_same(tmp_path):
    folder = copied("mistral_no_window", tmp_path / "mistral")
    model, params = pretrained.load(folder)
    pretrained.save(tmp_path / "saved", model, params)
    assert config(tmp_path / "saved")["model_type"] == "mistral"
    pretrained.save(tmp_path / "made", model.clone(source=""), params)
    assert config(tmp_path / "made")["model_type"] == "llama"
    assert function(pretrained.load(tmp_path / "made")[0]) == function(model)


def test_a_source_that_is_gone_is_said_and_does_not_stop_the_save(tmp_path, caplog):
    folder = copied("gpt2_older", tmp_path / "folder")
    model, params = pretrained.load(folder)
    folder.rename(tmp_path / "moved")
    pretrained.save(tmp_path / "saved", model, params)
    assert str(folder) in caplog.text
    assert same(pretrained.load(tmp_path / "saved")[1], params)


def test_two_models_are_equal_wherever_they_were_read(tmp_path):
    first, second = (pretrained.load(copied("gpt2_older", tmp_path / name))[0] for name in "ab")
    assert first.source != second.source
    assert first == second
    assert hash(first) == hash(second)


def test_biases_that_transformers_asks_for_and_does_not_use_are_written(tmp_path):
    folder = copied("roberta_untied", tmp_path / "folder")
    set_config(folder, tie_word_embeddings=False)
    pretrained.save(tmp_path / "saved", *pretrained.load(folder))
    assert function(pretrained.load(tmp_path / "saved")[0]) == function(pretrained.load(folder)[0])


def test_a_scaled_rotation_without_windows_survives(tmp_path):
    folder = copied("gemma3_text_scaled", tmp_path / "folder")
    layers = json.loads((folder / "config.json").read_text())["num_hidden_layers"]
    set_config(folder, layer_types=["full_attention"] * layers)
    model, params = pretrained.load(folder)
    pretrained.save(tmp_path / "copy", model, params)
    assert function(pretrained.load(tmp_path / "copy")[0]) == function(model)
