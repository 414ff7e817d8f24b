"""Folders as people have them: stray and missing keys, wrong types, stale files, wrapped names, no head."""

import json
import re

import jax
import numpy as np
import pytest
from folders import PARITY, change, copied, set_config

from models import pretrained
from models.layers.positions import RopeScaling
from models.pretrained.folder import described
from models.pretrained.registry import FORMATS, REASONS

# Fixture, keys that are added to its config, and those of them that are told to be ignored.
STRAY = {
    "gpt2 logs": ("gpt2_older", {"n_special": 0, "predict_special_tokens": True}, ["n_special", "predict_special"]),
    "mirror": ("llama_older_llama3", {"unsloth_fixed": True}, ["unsloth_fixed"]),
    "nemotron": ("nemotron_older", {"kv_channels": 4}, []),
    "galactica": ("opt_no_bias", {"learned_embeddings": True, "scale_embeddings": False}, ["learned_embeddings"]),
    "older yarn": (
        "llama_older_linear",
        {"rope_scaling": {"type": "linear", "factor": 4.0, "finetuned": True}},
        ["rope_scaling.finetuned"],
    ),
    "private": ("bert_older", {"_name_or_path": "x", "_num_labels": 3, "eos_token_id": 5}, ["_num_labels"]),
}


@pytest.mark.parametrize("name", STRAY)
def test_keys_that_transformers_does_not_read_are_ignored_and_named_in_one_line(name, tmp_path, caplog):
    case, values, named = STRAY[name]
    plain = described(PARITY / case)[1]
    caplog.clear()
    assert described(copied(case, tmp_path / "folder", **values))[1] == plain
    assert len(caplog.messages) == bool(named)
    for key in named:
        assert key in caplog.text
    assert "_name_or_path" not in caplog.text
    assert "eos_token_id" not in caplog.text


@pytest.mark.parametrize(
    ("case", "values", "words"),
    [
        ("nemotron_older", {"kv_channels": 5}, ("kv_channels is 5", "4")),
        ("gpt_neox_older", {"head_dim": 3}, ("head_dim is 3",)),
        ("gpt2_older", {"hidden_size": 12}, ("n_embd is 16", "hidden_size is 12")),
        ("llama_linear", {"hidden_size": "16"}, ("hidden_size is '16'", "an integer")),
        ("llama_linear", {"rms_norm_eps": "1e-5"}, ("rms_norm_eps is '1e-5'", "a number")),
        ("llama_linear", {"rms_norm_eps": float("nan")}, ("rms_norm_eps is nan", "a number")),
        ("llama_linear", {"hidden_act": {"name": "silu"}}, ("hidden_act is {'name': 'silu'}", "a string")),
        ("llama_linear", {"hidden_act": None}, ("hidden_act is None", "a string")),
        ("llama_linear", {"mlp_bias": 1}, ("mlp_bias is 1", "true or false")),
        ("llama_linear", {"num_hidden_layers": True}, ("num_hidden_layers is True", "an integer")),
        ("llama_linear", {"num_attention_heads": 0}, ("n_heads is 0", "positive")),
        ("llama_linear", {"rope_scaling": "linear"}, ("rope_scaling is 'linear'", "an object")),
        ("llama_linear", {"rope_scaling": {"type": "linear"}}, ("rope_scaling", "lacks factor")),
        ("llama_linear", {"rope_scaling": {"type": "linear", "factor": "2.0"}}, ("factor is '2.0'", "a number")),
        ("llama_linear", {"rope_scaling": {"type": "linear", "factor": -1}}, ("rope_scaling", "-1", "positive")),
        ("llama_llama3", {"rope_parameters": {"rope_type": "llama3", "factor": 8, "high_freq_factor": 4}},
         ("rope_parameters", "lacks low_freq_factor")),
        ("llama_linear", {"rope_scaling": {"type": "yarn", "factor": 2, "truncate": 1}}, ("truncate is 1",)),
        ("phi3_partial", {"rope_scaling": {"type": "yarn", "factor": 2}}, ("rope_type is 'yarn'", "default")),
        ("llama_linear", {"partial_rotary_factor": 0.5}, ("partial_rotary_factor is 0.5",)),
        ("gemma2_capped", {"layer_types": ["full_attention"]}, ("layer_types", "1", "2 layers")),
        ("gemma2_capped", {"query_pre_attn_scalar": 0}, ("query_pre_attn_scalar is 0", "positive")),
        ("falcon_one_key", {"alibi": True}, ("alibi is True",)),
        ("roberta_untied", {"pad_token_id": 0}, ("pad_token_id is 0", "1")),
        ("smollm3_every_second", {"no_rope_layers": [1]}, ("no_rope_layers is [1]",)),
        ("gemma3_text_scaled", {"rope_parameters": {"rope_type": "default"}}, ("rope_parameters.rope_type",)),
        ("llama_linear", {"is_causal": False, "quantization_config": {"bits": 4}, "per_layer_config": {"0": {}},
                          "hidden_act": "silo", "vocab_size": None},
         ("is_causal is False", "quantization_config", "per_layer_config", "mean 'silu'", "vocab_size is None")),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_config_is_refused_at_once_in_one_sentence(case, values, words, tmp_path):
    folder = copied(case, tmp_path / "folder", **values)
    with pytest.raises(ValueError, match=r"config\.json: ") as refused:
        pretrained.load(folder)
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


@pytest.mark.parametrize("kind", ["gpt5", None, 3, ["llama"], *REASONS])
def test_a_model_type_that_is_not_read_is_refused_by_name_with_the_reason(kind, tmp_path):
    folder = copied("gpt2_older", tmp_path / "folder", model_type=kind)
    with pytest.raises(ValueError, match="model_type is") as refused:
        pretrained.load(folder)
    assert repr(kind) in str(refused.value)
    assert not isinstance(kind, str) or REASONS.get(kind, "") in str(refused.value)
    assert kind not in FORMATS if isinstance(kind, str) else True


def model_of(folder, **values):
    set_config(folder, **values)
    return described(folder)[1]


def test_gemma_2_has_its_caps_where_a_key_is_absent_and_none_where_it_is_null(tmp_path):
    folder = copied("gemma2_capped", tmp_path / "folder")
    model = model_of(folder, attn_logit_softcapping=..., final_logit_softcapping=...)
    assert (model.attention_cap, model.logit_cap) == (50.0, 30.0)
    model = model_of(folder, attn_logit_softcapping=None, final_logit_softcapping=None)
    assert (model.attention_cap, model.logit_cap) == (None, None)


def test_apertus_has_its_own_scaling_where_none_is_said_whatever_theta_says(tmp_path):
    folder = copied("apertus_own_rope", tmp_path / "folder", rope_parameters=..., rope_theta=500.0)
    model = model_of(folder)
    assert (model.rope_theta, model.rope_scaling) == (12e6, RopeScaling("llama3", 8.0))
    # What transformers reads where both are there.
    model = model_of(folder, rope_scaling={"type": "linear", "factor": 2.0}, rope_parameters={"rope_type": "default"})
    assert (model.rope_theta, model.rope_scaling.kind) == (500.0, "linear")


def test_t5_takes_its_activation_from_the_key_that_transformers_takes_it_from(tmp_path):
    folder = copied("t5_exact_gelu", tmp_path / "folder")
    assert model_of(folder).activation.name == "geglu"
    assert model_of(folder, dense_act_fn=...).activation.name == "gelu_tanh_glu"
    assert model_of(folder, is_gated_act=False).activation.name == "gelu_tanh"


def test_mistral_has_its_window_where_the_key_is_absent_and_none_where_it_is_null(tmp_path):
    folder = copied("mistral_window", tmp_path / "folder")
    assert model_of(folder, sliding_window=...).windows == (4096,)
    assert model_of(folder, sliding_window=None).windows == ()


def test_a_whole_file_beside_a_stale_index_is_read(tmp_path):
    folder = copied("llama_grouped", tmp_path / "folder")
    index = {"weight_map": {"model.norm.weight": "model-00001-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    params = pretrained.load(PARITY / "llama_grouped")[1]
    jax.tree.map(np.testing.assert_array_equal, pretrained.load(folder)[1], params)


def test_an_index_does_not_lead_out_of_its_folder(tmp_path):
    folder = copied("gpt2_untied", tmp_path / "folder")
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    index["weight_map"] |= {"transformer.ln_f.bias": "../elsewhere.safetensors"}
    path.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"'\.\./elsewhere\.safetensors'"):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("case", "own", "needed", "head"),
    [
        ("bert_untied", "BertModel", "BertForMaskedLM", "cls."),
        ("vit_square", "ViTModel", "ViTForImageClassification", "classifier."),
        ("llama_grouped", "LlamaForSequenceClassification", "LlamaForCausalLM", "lm_head."),
    ],
)
def test_a_body_without_its_head_is_refused_by_the_name_of_its_class(case, own, needed, head, tmp_path):
    folder = copied(case, tmp_path / "folder", architectures=[own])
    change(folder, lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith(head)])
    with pytest.raises(ValueError, match=rf"lacks the tensor {head}.*{own}.*{needed}"):
        pretrained.load(folder)


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod.", "_fsdp_wrapped_module."])
def test_names_that_wrappers_put_before_tensors_are_taken_off(prefix, tmp_path):
    folder = copied("llama_grouped", tmp_path / "folder")
    change(folder, lambda tensors: [tensors.update({prefix + name: tensors.pop(name)}) for name in list(tensors)])
    model, params = pretrained.load(PARITY / "llama_grouped")
    again, same = pretrained.load(folder)
    assert again == model
    jax.tree.map(np.testing.assert_array_equal, same, params)


def test_a_wrapper_that_is_not_known_is_named_and_one_around_a_layer_is_taken_off(tmp_path):
    folder = copied("llama_grouped", tmp_path / "folder")
    old, new = "model.layers.0.mlp.up_proj.weight", "model.layers.0._orig_mod.mlp.up_proj.weight"
    change(folder, lambda tensors: tensors.update({new: tensors.pop(old)}))
    pretrained.load(folder)
    change(folder, lambda tensors: [tensors.update({f"wrapped.{name}": tensors.pop(name)}) for name in list(tensors)])
    with pytest.raises(ValueError, match=r"lacks the tensor .* it has wrapped\.model\."):
        pretrained.load(folder)


@pytest.mark.parametrize(
    ("case", "fields", "words"),
    [
        ("gpt2_older", {"activation": "swiglu"}, ("activation='swiglu'", "gate")),
        ("gpt2_older", {"activation": "xielu"}, ("activation='xielu'", "activation_alpha")),
        ("gpt2_older", {"context": 8, "scan": True}, ("context=8", "[8, 16]", "[16, 16]")),
        ("gpt2_older", {"n_layers": 1}, ("n_layers=1", "layer_1")),
        ("gpt2_older", {"norm": "rmsnorm"}, ("norm='rmsnorm'", "bias")),
        ("gpt2_older", {"activaton": "relu"}, ("activaton", "did you mean 'activation'")),
        ("vit_square", {"classes": 4}, ("classes=4", "head")),
    ],
)
def test_fields_that_the_weights_do_not_fit_are_refused_by_name(case, fields, words, tmp_path):
    folder = copied(case, tmp_path / "folder")
    with pytest.raises(ValueError, match=re.escape(words[0])) as refused:
        pretrained.load(folder, **fields)
    for word in words:
        assert word in str(refused.value)


def test_fields_that_change_no_parameter_are_given(tmp_path):
    model = pretrained.load(copied("gpt2_older", tmp_path / "folder"), activation="relu", scan=True, dropout=0.1)[0]
    assert (model.activation.name, model.scan, model.dropout) == ("relu", True, 0.1)
