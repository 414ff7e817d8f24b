"""What a folder holds, told without reading its weights."""

import json

import jax
import pytest
from folders import PARITY, copied
from marks import slow_but

from models import pretrained

FAST = ("gpt2_untied", "t5_no_gate", "vit_square", "gemma3_text_older")


@pytest.mark.parametrize("case", slow_but(FAST, sorted(path.name for path in PARITY.iterdir() if path.is_dir())))
def test_a_folder_is_told_with_as_many_parameters_as_are_loaded(case):
    path = PARITY / case
    found = pretrained.inspect(path).to_dict()
    model, params = pretrained.load(path)
    assert found["family"] == json.loads((path / "config.json").read_text())["model_type"]
    assert found["parameters"] == sum(leaf.size for leaf in jax.tree.leaves(params))
    assert (found["activation"], found["norm"], found["positions"]) == (
        *(model.activation.name, model.norm, model.positions),
    )
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("case", "values", "activation", "gelu"),
    [
        ("bert_older", {"hidden_act": "gelu"}, "gelu", "erf"),
        ("bert_older", {"hidden_act": "gelu_new"}, "gelu_tanh", "tanh"),
        ("bert_older", {"hidden_act": "gelu_fast"}, "gelu_tanh", "tanh"),
        ("clip_text_model_quick", {}, "gelu_quick", "quick"),
        ("t5_exact_gelu", {}, "geglu", "erf"),
        ("t5_gated_gelu", {}, "gelu_tanh_glu", "tanh"),
        ("llama_linear", {"hidden_act": "quick_gelu"}, "gelu_quick_glu", "quick"),
        ("llama_linear", {"hidden_act": "silu"}, "swiglu", None),
        ("apertus_llama3", {}, "xielu", None),
    ],
)
def test_which_gelu_it_is(case, values, activation, gelu, tmp_path):
    found = pretrained.inspect(copied(case, tmp_path / "folder", **values))
    assert (found.activation, found.gelu) == (activation, gelu)


def test_sizes_are_those_of_the_config_and_an_output_layer_of_its_own_is_seen(tmp_path):
    found = pretrained.inspect(copied("llama_grouped", tmp_path / "folder"))
    assert found.sizes == {
        **{"d_model": 16, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 6, "d_ff": 24},
        **{"vocab_size": 23, "context": 16},
    }
    assert (found.rope_theta, found.norm_epsilon, found.placement, found.tied) == (50.0, 1e-3, "pre", False)
    assert pretrained.inspect(copied("gpt2_untied", tmp_path / "gpt2", tie_word_embeddings=True)).tied is False


def test_a_config_alone_is_enough_and_weights_that_do_not_fit_it_are_refused(tmp_path):
    folder = copied("gpt2_older", tmp_path / "folder")
    whole = pretrained.inspect(folder)
    (folder / "model.safetensors").rename(folder / "other")
    assert pretrained.inspect(folder) == whole
    (folder / "other").rename(folder / "model.safetensors")
    path = folder / "config.json"
    path.write_text(path.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    with pytest.raises(ValueError, match="lacks the tensor"):
        pretrained.inspect(folder)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        pretrained.inspect(tmp_path / "nowhere")
