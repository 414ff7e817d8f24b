"""Pretrained folders: what transformers computed from them, and what is wrong with one in one sentence."""

import json
import re
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from make_parity import TOLERANCE, differences, expected, ours
from marks import slow_but
from safetensors.numpy import load_file, save_file

from models import pretrained
from models.families import family
from models.pretrained.format import function
from models.pretrained.registry import FORMATS
from models.transformer import Transformer

FAST = ("gpt2", "bert", "llama")
"""Model types that differ the most: a decoder and an encoder with biases, and rotary positions."""
CASES = sorted(path for path in (Path(__file__).parents[2] / "parity").iterdir() if path.is_dir())


def of(kind: str) -> Path:
    """The first case of a model type in one file of float32."""
    cases = [path for path in CASES if json.loads((path / "config.json").read_text())["model_type"] == kind]
    return next(path for path in cases if (path / "model.safetensors").exists() and "16" not in path.name)


@pytest.mark.parametrize("case", slow_but([of(kind) for kind in FAST], CASES))
def test_outputs_are_those_of_transformers(case):
    found = differences(expected(case), ours(case))
    assert found.keys() == {"logits", "hidden"}
    assert max(found.values()) <= TOLERANCE


@pytest.mark.parametrize("kind", slow_but(("gpt2", "bert"), FORMATS))
def test_what_is_saved_is_loaded_again(kind, tmp_path):
    for case in (path for path in CASES if path.name.startswith(f"{kind}_")):
        model, params = pretrained.load(case)
        pretrained.save(tmp_path / case.name, model, params)
        again, same = pretrained.load(tmp_path / case.name)
        assert function(again) == function(model)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), same, params)
        assert {path.name for path in (tmp_path / case.name).iterdir()} == {"config.json", "model.safetensors"}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gpt2", "gemma2", "t5"])
def test_scanned_layers_are_loaded_stacked_and_saved_apart(kind, tmp_path):
    model, params = pretrained.load(of(kind))
    scanned, stacked = pretrained.load(of(kind), scan=True)
    assert scanned == model.clone(scan=True)
    assert stacked["layers"]["feedforward"]["down"]["kernel"].shape[0] == model.n_layers
    inputs = (jnp.array([[1, 2, 3]]),) * (2 if kind == "t5" else 1)
    apart, together = (m.apply({"params": p}, *inputs) for m, p in ((model, params), (scanned, stacked)))
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-5)
    pretrained.save(tmp_path, scanned, stacked)
    again = pretrained.load(tmp_path)[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), again, params)


def test_another_activation_is_put_in_and_not_written_where_the_type_has_none(tmp_path):
    model, params = pretrained.load(of("gpt2"), activation="relu")
    assert model.activation.name == "relu"
    pretrained.save(tmp_path, model, params)
    assert pretrained.load(tmp_path)[0].activation.name == "relu"
    elu = model.clone(activation="elu")
    with pytest.raises(ValueError, match=r"the nearest, .*, has activation .*not Activation\('elu'\)"):
        pretrained.save(tmp_path / "elu", elu, params)
    assert not (tmp_path / "elu").exists()


@pytest.mark.parametrize(
    "fields",
    [
        *({"placement": "sandwich"}, {"activation": "swiglu"}, {"windows": (4, 0)}, {"residual": "none"}),
        *({"norm": kind} for kind in ("dyt", "derf", "centred_rmsnorm")),
        *({"activation": name} for name in ("soi", "leaky_relu2")),
    ],
    ids=str,
)
def test_a_model_of_no_type_is_refused_by_what_differs(fields, tmp_path):
    model = family("gpt2", "small", d_model=8, n_heads=2, n_layers=2, vocab_size=11, **fields)
    with pytest.raises(ValueError, match=f"has {next(iter(fields))}"):
        pretrained.save(tmp_path / "folder", model, {})


FAMILIES = ["gpt2", "bert", "bloom", "llama3", "pythia", "t5_v1_1", "gemma2", "nemotron", "vit"]


@pytest.mark.parametrize("name", slow_but(("gpt2", "t5_v1_1", "vit"), FAMILIES))
def test_a_family_is_written_as_its_type(name, tmp_path):
    size = {"gpt2": "small", "bert": "base", "bloom": "560m", "llama3": "3.2-1b", "pythia": "70m", "vit": "s16"}
    small = {"d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": 24, "n_kv_heads": None, "head_dim": 8}
    small |= {"image_size": (32, 32)} if name == "vit" else {"vocab_size": 11}
    small |= {"d_ff": 64} if name == "bloom" else {}
    default = {"t5_v1_1": "small", "gemma2": "2b", "nemotron": "15b"}
    model = family(name, (size | default)[name], **small)
    inputs = pretrained.parameters.example(model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), *inputs)
    params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), shapes["params"])
    pretrained.save(tmp_path, model, params)
    kind = {"llama3": "llama", "pythia": "gpt_neox", "t5_v1_1": "t5"}.get(name, name)
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == kind


@pytest.fixture
def folder(tmp_path):
    """A copy of a small GPT-2, to be damaged."""
    shutil.copytree(of("gpt2"), tmp_path / "folder")
    return tmp_path / "folder"


def set_config(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize("kind", [ml_dtypes.bfloat16, np.float16])
def test_half_precision_is_read_as_it_is_kept(folder, kind):
    tensors = {name: array.astype(kind) for name, array in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    _, params = pretrained.load(folder)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    name = next(name for name in tensors if name.endswith("wte.weight"))
    np.testing.assert_array_equal(params["token_embedding"]["embedding"], tensors[name].astype(np.float32))


def test_the_file_decides_whether_the_output_layer_is_tied(folder):
    set_config(folder, tie_word_embeddings=True)
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("lm_head.weight", None)
    table = next(array for name, array in tensors.items() if name.endswith("wte.weight"))
    for head, tied in ((table, True), (table + 1, False)):
        save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors")
        assert pretrained.load(folder)[0].tied is tied


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])


NAME = "transformer.ln_f.bias"
DAMAGES = {
    "unknown type": (lambda f: set_config(f, model_type="gpt5"), "model_type is 'gpt5'"),
    "unknown activation": (
        lambda f: set_config(f, activation_function="gelu_nwe"),
        "activation_function is 'gelu_nwe': supported values are .*; did you mean 'gelu_new'?",
    ),
    "clipped activation": (lambda f: set_config(f, activation_function="gelu_10"), "activation_function is 'gelu_10'"),
    "key read there": (lambda f: set_config(f, per_layer_config={"0": {}}), "per_layer_config is .*not supported"),
    "cross attention": (lambda f: set_config(f, add_cross_attention=True), "add_cross_attention is True"),
    "quantized": (lambda f: set_config(f, quantization_config={"bits": 4}), "quantization_config is {'bits': 4}"),
    "missing": (lambda f: change(f, lambda t: t.pop(NAME)), f"lacks the tensor {NAME}"),
    "extra": (lambda f: change(f, lambda t: t.update(spare=t[NAME])), "the tensor spare"),
    "shape": (
        lambda f: change(f, lambda t: t.update({NAME: t[NAME][:-1]})),
        rf"the tensor {NAME} has shape \[15\], but its config requires \[16\]",
    ),
    "truncated": (truncate, "model.safetensors is damaged"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json is not JSON"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    "pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "pytorch_model.bin is a pickle, which is never read",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_refused_in_one_sentence(folder, damage):
    make, sentence = DAMAGES[damage]
    make(folder)
    with pytest.raises((ValueError, FileNotFoundError), match=sentence) as refused:
        pretrained.load(folder)
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_a_key_may_be_ignored(folder):
    set_config(folder, per_layer_config={"0": {}})
    assert pretrained.load(folder, ignore=("per_layer_config",))[0] == pretrained.load(of("gpt2"))[0]


@pytest.mark.parametrize(
    ("kind", "values", "sentence"),
    [
        (
            "llama",
            {"rope_parameters": {"rope_type": "longrope"}},
            "rope_parameters.rope_type is 'longrope': supported values are default,",
        ),
        ("gemma", {"use_bidirectional_attention": True}, "use_bidirectional_attention is True"),
        ("t5", {"feed_forward_proj": "glued-gelu"}, "feed_forward_proj is 'glued-gelu'"),
        ("gemma2", {"layer_types": ["chunked_attention"]}, "layer_types is 'chunked_attention'"),
    ],
)
def test_what_a_config_asks_for_in_vain_is_named(kind, values, sentence, tmp_path):
    shutil.copytree(of(kind), tmp_path / "folder")
    set_config(tmp_path / "folder", **values)
    with pytest.raises(ValueError, match=re.escape(sentence)):
        pretrained.load(tmp_path / "folder")


def test_a_missing_shard_and_a_wrong_index_are_named(folder):
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    save_file(tensors, folder / "first.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "first.safetensors")}))
    assert isinstance(pretrained.load(folder)[0], Transformer)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "second.safetensors")}))
    with pytest.raises(FileNotFoundError, match=r"second.safetensors is missing"):
        pretrained.load(folder)
    index.write_text(json.dumps({"weight_map": dict.fromkeys([*tensors, "ghost"], "first.safetensors")}))
    with pytest.raises(ValueError, match=r"first.safetensors lacks ghost"):
        pretrained.load(folder)


def test_a_save_that_fails_leaves_what_was_there(folder, monkeypatch):
    model, params = pretrained.load(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained.folder, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        pretrained.save(folder, model, params)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
