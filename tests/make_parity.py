"""Parity with transformers: makes tiny random networks of every model type with PyTorch, and compares ours with them.

    python tests/make_parity.py                                        the fixtures in tests/parity (needs torch)
    python tests/make_parity.py --fresh 7 --cases 3 --out DIR          settings drawn at random (needs torch)
    python tests/make_parity.py --compare DIR                          the table of differences (needs JAX)
    python tests/make_parity.py --round-trip DIR                       the same, of what we save (needs both)

A case is a folder: `config.json` and the weights as transformers writes them, and `expected.safetensors` with the
inputs (tokens, decoder_tokens, token_types, images, mask_<padding>) and the outputs (logits_<padding>,
hidden_<padding>) of `model(input_ids, attention_mask)` in float32 with eager attention. Padding is none, right or left.
No value counts where the mask is 0.
"""

import argparse
import copy
import importlib.metadata
import json
import os
import random
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TOLERANCE = 5e-5  # of the largest logit, or of the largest hidden value
LENGTH, DECODER_LENGTH = 12, 11
PADDED = (0, 4)  # tokens of padding in each row of the batch
SPREAD, SHIFT = 0.4, 0.3  # deviation of the kernels, and by how much norms and biases leave their first values
T5_SPREAD = 0.25  # its scores are not divided by the root of the width: at 0.4 float32 itself is off by up to 4e-5

ARCHITECTURES = {
    "gpt2": "GPT2LMHeadModel",
    "bert": "BertForMaskedLM",
    "bloom": "BloomForCausalLM",
    "opt": "OPTForCausalLM",
    "llama": "LlamaForCausalLM",
    "gpt_neox": "GPTNeoXForCausalLM",
    "t5": "T5ForConditionalGeneration",
    "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM",
    "nemotron": "NemotronForCausalLM",
    "apertus": "ApertusForCausalLM",
    "vit": "ViTForImageClassification",
}
BASES = {"opt": "model.decoder", "t5": "decoder"}  # whose output is the last hidden state; elsewhere the base model

ENCODER = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
DECODER = {**ENCODER, "vocab_size": 23, "max_position_embeddings": 16, "bos_token_id": 1, "eos_token_id": 2}
SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {
        **{"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 23, "n_positions": 16},
        **{"bos_token_id": 1, "eos_token_id": 2},
    },
    "bert": {**ENCODER, "vocab_size": 23, "max_position_embeddings": 16},
    "bloom": {"hidden_size": 12, "n_layer": 2, "n_head": 3, "vocab_size": 23},
    "opt": {key: value for key, value in DECODER.items() if key != "intermediate_size"} | {"ffn_dim": 24},
    "llama": DECODER,
    "gpt_neox": DECODER,
    "t5": {
        **{"d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 4, "vocab_size": 23},
        **{"relative_attention_num_buckets": 8, "relative_attention_max_distance": 10},
    },
    "gemma": {**DECODER, "num_key_value_heads": 4, "head_dim": 4},
    "gemma2": {**DECODER, "num_key_value_heads": 2, "head_dim": 4},
    "nemotron": {**DECODER, "num_key_value_heads": 4},
    "apertus": {**DECODER, "pad_token_id": None},
    "vit": {**ENCODER, "image_size": [8, 12], "patch_size": 4, "num_channels": 1, "num_labels": 5},
}


def rope(kind: str = "default", theta: float = 100.0, **fields: Any) -> dict[str, Any]:
    """Rotary positions whose wavelengths, with theta 100, lie on both sides of the short lengths here."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **fields}}


LINEAR = rope("linear", factor=4.0)
LLAMA3 = {
    **rope("llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64),
    "max_position_embeddings": 512,
}
YARN = {**rope("yarn", factor=4.0, original_max_position_embeddings=16), "max_position_embeddings": 64}
OWN_YARN = {
    "rope_parameters": {**YARN["rope_parameters"], "beta_fast": 2.0, "beta_slow": 0.1}
    | {"truncate": False, "attention_factor": 1.3},
    "max_position_embeddings": 64,
}


@dataclass(frozen=True)
class Case:
    """A network: its model type, a name, what its config says beside the sizes, and how its folder is written.

    form: `plain`, `sharded`, `float16`, `bfloat16`, or `older`: as transformers 4 and the Hub have it.
    """

    kind: str
    name: str
    settings: dict[str, Any]
    form: str = "plain"


CASES = (
    Case(
        *("gpt2", "inverse_layer"),
        {"scale_attn_by_inverse_layer_idx": True, "activation_function": "gelu", "layer_norm_epsilon": 1e-3},
    ),
    Case("gpt2", "unscaled", {"scale_attn_weights": False, "n_inner": 20, "activation_function": "relu", "n_head": 2}),
    Case("gpt2", "untied", {"tie_word_embeddings": False, "activation_function": "silu", "n_inner": 24}, "sharded"),
    Case("gpt2", "older", {"activation_function": "quick_gelu", "n_head": 1, "n_inner": 24}, "older"),
    Case("bert", "three_types", {"type_vocab_size": 3, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}),
    Case("bert", "untied", {"tie_word_embeddings": False, "hidden_act": "relu", "intermediate_size": 20}),
    Case("bert", "older", {"num_attention_heads": 2}, "older"),
    Case("bert", "float16", {}, "float16"),
    Case("bloom", "residual_of_norm", {"apply_residual_connection_post_layernorm": True}),
    Case("bloom", "six_heads", {"n_head": 6, "layer_norm_epsilon": 1e-3, "tie_word_embeddings": False}),
    Case("bloom", "older", {"n_head": 2}, "older"),
    Case("opt", "post_norm", {"do_layer_norm_before": False, "word_embed_proj_dim": 12, "activation_function": "gelu"}),
    Case("opt", "no_bias", {"enable_bias": False, "layer_norm_elementwise_affine": False, "num_attention_heads": 2}),
    Case("opt", "no_final_norm", {"_remove_final_layer_norm": True, "word_embed_proj_dim": 10}),
    Case("opt", "older", {"tie_word_embeddings": False}, "older"),
    Case(
        *("llama", "grouped"),
        {"num_key_value_heads": 2, "head_dim": 6, "attention_bias": True, "rms_norm_eps": 1e-3, **rope(theta=50.0)},
    ),
    Case(
        *("llama", "linear"),
        {"mlp_bias": True, "hidden_act": "gelu", "tie_word_embeddings": True, "num_attention_heads": 2, **LINEAR},
        "sharded",
    ),
    Case("llama", "llama3", {"num_attention_heads": 2, "num_key_value_heads": 1, **LLAMA3}),
    Case("llama", "yarn", {"num_attention_heads": 2, **YARN}),
    Case("llama", "own_yarn", {"num_attention_heads": 2, "hidden_act": "relu", **OWN_YARN}),
    Case("llama", "older_linear", {"num_attention_heads": 2, **LINEAR}, "older"),
    Case("llama", "older_llama3", {"num_key_value_heads": 2, "head_dim": 8, **LLAMA3}, "older"),
    Case("llama", "bfloat16", {"tie_word_embeddings": True}, "bfloat16"),
    Case(
        *("gpt_neox", "sequential"),
        {"use_parallel_residual": False, "attention_bias": False, "hidden_act": "gelu_new"}
        | rope(partial_rotary_factor=1.0),
    ),
    Case(
        *("gpt_neox", "tied"),
        {"tie_word_embeddings": True, "num_attention_heads": 2, "layer_norm_eps": 1e-3, "hidden_act": "relu"}
        | rope("linear", factor=4.0, partial_rotary_factor=0.5),
    ),
    Case("gpt_neox", "older", {"num_attention_heads": 2, **rope(theta=50.0, partial_rotary_factor=0.25)}, "older"),
    Case("t5", "relu", {"num_layers": 1, "num_decoder_layers": 2, "d_kv": 6}),
    Case("t5", "gated_gelu", {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 1}),
    Case(
        *("t5", "gated_silu"),
        {"feed_forward_proj": "gated-silu", "num_decoder_layers": 1, "layer_norm_epsilon": 1e-2, "num_heads": 2},
    ),
    Case(
        *("t5", "older"),
        {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "num_layers": 1, "d_kv": 3},
        "older",
    ),
    Case("gemma", "one_key", {"num_key_value_heads": 1, "head_dim": 6, "hidden_act": "relu", "rms_norm_eps": 1e-2}),
    Case("gemma", "biases", {"attention_bias": True, "hidden_act": "silu", **rope(theta=50.0)}),
    Case("gemma", "older", {"num_key_value_heads": 2}, "older"),
    Case(
        *("gemma2", "capped"),
        {"sliding_window": 3, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "head_dim": 6}
        | {"query_pre_attn_scalar": 3, "hidden_activation": "silu"},
    ),
    Case(
        *("gemma2", "uncapped"),
        {"sliding_window": 5, "attn_logit_softcapping": None, "final_logit_softcapping": None, "attention_bias": True}
        | {"layer_types": ["full_attention", "sliding_attention"], "num_key_value_heads": 1}
        | {"query_pre_attn_scalar": 1},  # scores that the cap of 50, the default, would change
    ),
    Case("gemma2", "older", {"sliding_window": 4, "rms_norm_eps": 1e-3, "query_pre_attn_scalar": 8}, "older"),
    Case(
        *("nemotron", "biases"),
        {"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 2, "hidden_act": "gelu"}
        | rope(partial_rotary_factor=1.0),
    ),
    Case(
        *("nemotron", "quarter"),
        {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "norm_eps": 1e-3}
        | rope(partial_rotary_factor=0.25),
    ),
    Case("nemotron", "older", {"tie_word_embeddings": True, **rope(theta=50.0, partial_rotary_factor=0.5)}, "older"),
    Case("apertus", "llama3", {"num_attention_heads": 2, "num_key_value_heads": 1, **LLAMA3}),
    Case("apertus", "biases", {"attention_bias": True, "hidden_act": "relu2", "tie_word_embeddings": True, **rope()}),
    Case("apertus", "bfloat16", {"rms_norm_eps": 1e-3, **rope(theta=50.0)}, "bfloat16"),
    Case("vit", "no_qkv_bias", {"qkv_bias": False, "hidden_act": "gelu_new", "num_attention_heads": 2}),
    Case("vit", "oblong_patches", {"patch_size": [2, 4], "num_channels": 3, "layer_norm_eps": 1e-3}),
    Case("vit", "square", {"image_size": 8, "hidden_act": "relu", "num_labels": 3, "intermediate_size": 20}, "sharded"),
)


# Fresh settings: of every aspect one alternative is drawn.


def one_of(name: str, *values: Any) -> list[dict[str, Any]]:
    """The alternatives of a single field."""
    return [{name: value} for value in values]


def heads(*shapes: tuple[int, int, int]) -> list[dict[str, Any]]:
    """Heads, heads of keys and values, and their width."""
    names = ("num_attention_heads", "num_key_value_heads", "head_dim")
    return [dict(zip(names, shape, strict=True)) for shape in shapes]


POINTWISE = ("gelu", "gelu_new", "gelu_pytorch_tanh", "quick_gelu", "relu", "relu2", "silu", "mish", "tanh")
EPSILONS = (1e-12, 1e-6, 1e-3)
ROPES = [{}, rope(theta=50.0), rope(theta=1e6), LINEAR, LLAMA3, YARN, OWN_YARN]
TIED = one_of("tie_word_embeddings", True, False)
GROUPED = heads((4, 4, 4), (4, 2, 4), (4, 1, 4), (2, 1, 8), (2, 2, 8), (4, 2, 6), (2, 1, 10))


def partial(*fractions: float) -> list[dict[str, Any]]:
    """Rotary positions of a part of every head."""
    return [
        alternative
        for fraction in fractions
        for alternative in (
            rope(theta=50.0, partial_rotary_factor=fraction),
            rope(theta=1e5, partial_rotary_factor=fraction),
            rope("linear", factor=3.0, partial_rotary_factor=fraction),
        )
    ]


ASPECTS: dict[str, list[list[dict[str, Any]]]] = {
    "gpt2": [
        *(TIED, one_of("activation_function", *POINTWISE), one_of("layer_norm_epsilon", *EPSILONS)),
        *(one_of("n_head", 1, 2, 4, 8), one_of("n_layer", 1, 3), one_of("n_inner", None, 20)),
        *(one_of("scale_attn_weights", True, False), one_of("scale_attn_by_inverse_layer_idx", True, False)),
    ],
    "bert": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("layer_norm_eps", *EPSILONS)),
        *(one_of("type_vocab_size", 1, 2, 4), one_of("num_attention_heads", 1, 2, 8), one_of("intermediate_size", 40)),
    ],
    "bloom": [
        *(TIED, one_of("layer_norm_epsilon", *EPSILONS), one_of("n_head", 1, 2, 3, 4, 6)),
        *(one_of("apply_residual_connection_post_layernorm", True, False), one_of("n_layer", 1, 3)),
    ],
    "opt": [
        *(TIED, one_of("activation_function", *POINTWISE), one_of("word_embed_proj_dim", 10, 16, 20)),
        *(one_of("enable_bias", True, False), one_of("layer_norm_elementwise_affine", True, False)),
        *([{}, {"do_layer_norm_before": False}, {"_remove_final_layer_norm": True}], one_of("ffn_dim", 12, 40)),
    ],
    "llama": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        *(one_of("attention_bias", True, False), one_of("mlp_bias", True, False), one_of("num_hidden_layers", 1, 3)),
    ],
    "gpt_neox": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("layer_norm_eps", *EPSILONS), partial(0.25, 0.5, 0.75, 1.0)),
        *(one_of("use_parallel_residual", True, False), one_of("attention_bias", True, False)),
        one_of("num_attention_heads", 1, 2),
    ],
    "t5": [
        *(TIED, one_of("feed_forward_proj", "relu", "gelu", "gated-gelu", "gated-silu", "gated-relu")),
        *(one_of("num_decoder_layers", 1, 2, 3), one_of("d_kv", 3, 4, 7), one_of("num_heads", 2, 3)),
        *(one_of("relative_attention_num_buckets", 4, 8, 32), one_of("relative_attention_max_distance", 9, 20)),
        one_of("layer_norm_epsilon", *EPSILONS),
    ],
    "gemma": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        one_of("attention_bias", True, False),
    ],
    "gemma2": [
        *(TIED, one_of("hidden_activation", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        *(one_of("attention_bias", True, False), one_of("sliding_window", 1, 3, 7), one_of("num_hidden_layers", 3)),
        *(one_of("attn_logit_softcapping", None, 2.0), one_of("final_logit_softcapping", None, 3.0)),
        *(one_of("query_pre_attn_scalar", 1, 5, 16), one_of("layer_types", None, ["full_attention"] * 3)),
    ],
    "nemotron": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("norm_eps", *EPSILONS), partial(0.25, 0.5, 1.0)),
        *(one_of("attention_bias", True, False), one_of("mlp_bias", True, False)),
        heads((2, 1, 8), (2, 2, 8), (4, 2, 8), (2, 1, 16)),
    ],
    "apertus": [
        *(TIED, one_of("hidden_act", "xielu", "xielu", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), ROPES[1:]),
        *(one_of("attention_bias", True, False), GROUPED),
    ],
    "vit": [
        *(one_of("hidden_act", *POINTWISE), one_of("layer_norm_eps", *EPSILONS), one_of("num_attention_heads", 1, 2)),
        *(one_of("image_size", 8, [8, 12], [12, 4]), one_of("patch_size", 4, [2, 4]), one_of("num_channels", 1, 3)),
        *(one_of("qkv_bias", True, False), one_of("num_labels", 1, 2, 7)),
    ],
}
FORMS = ("plain", "plain", "sharded", "float16", "bfloat16", "older")


def fresh(seed: int, count: int) -> list[Case]:
    """`count` cases of every model type with settings drawn at random."""
    draw = random.Random(seed)
    return [
        Case(kind, f"{seed}_{i}", {k: v for a in aspects for k, v in draw.choice(a).items()}, draw.choice(FORMS))
        for kind, aspects in ASPECTS.items()
        for i in range(count)
    ]


# Networks and their folders, by transformers.


def write(case: Case, out: Path) -> None:
    """The folder of a case. What is expected comes from the network that transformers reads from that folder."""
    directory = out / f"{case.kind}_{case.name}"
    shutil.rmtree(directory, ignore_errors=True)
    rng = np.random.default_rng(zlib.crc32(directory.name.encode()))
    model = network(case, rng)
    model.save_pretrained(directory, max_shard_size="8KB" if case.form == "sharded" else "1GB")
    (directory / "generation_config.json").unlink(missing_ok=True)
    if case.form == "older":
        as_in_transformers_4(directory)
    given = inputs(model.config, rng)
    save_arrays(directory / "expected.safetensors", {**given, **theirs(read(directory), given)})


def network(case: Case, rng: np.random.Generator) -> Any:
    """A network with weights at which every tensor and every setting matters."""
    import torch
    import transformers

    settings = copy.deepcopy({**SIZES[case.kind], **case.settings})  # transformers fills in what a dictionary lacks
    config = transformers.AutoConfig.for_model(case.kind, **settings)
    model = getattr(transformers, ARCHITECTURES[case.kind])(config)
    if case.kind == "t5" and not config.scale_decoder_outputs:
        # T5 1.1 has an output layer of its own, which transformers ties unless a file holds another.
        model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    spread = T5_SPREAD if case.kind == "t5" else SPREAD
    for parameter in model.parameters():
        noise = torch.from_numpy(rng.normal(size=tuple(parameter.shape)).astype(np.float32))
        parameter.data = parameter.data + SHIFT * noise if parameter.ndim < 2 else spread * noise
    return model.to(getattr(torch, case.form)) if case.form.endswith("16") else model


def inputs(config: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A batch of two, and the masks with which it is padded."""
    rows = len(PADDED)
    if config.model_type == "vit":
        size = config.image_size if isinstance(config.image_size, list | tuple) else [config.image_size] * 2
        return {"images": rng.normal(size=(rows, *size, config.num_channels)).astype(np.float32)}
    given = {"tokens": rng.integers(config.vocab_size, size=(rows, LENGTH), dtype=np.int32)}
    if config.model_type == "t5":
        given["decoder_tokens"] = rng.integers(config.vocab_size, size=(rows, DECODER_LENGTH), dtype=np.int32)
    if config.model_type == "bert":
        given["token_types"] = rng.integers(config.type_vocab_size, size=(rows, LENGTH), dtype=np.int32)
    right = np.arange(LENGTH) < LENGTH - np.array(PADDED)[:, None]
    return given | {"mask_right": right.astype(np.int32), "mask_left": right[:, ::-1].astype(np.int32)}


def read(directory: Path) -> Any:
    """The network that transformers finds in a folder. Raises ValueError if it finds too little or too much."""
    import torch
    import transformers

    architecture = ARCHITECTURES[json.loads((directory / "config.json").read_text())["model_type"]]
    options = {"dtype": torch.float32, "attn_implementation": "eager", "output_loading_info": True}
    model, found = getattr(transformers, architecture).from_pretrained(directory, **options)
    if any(found.values()):
        raise ValueError(f"transformers reads {directory} with {found}")
    return model.eval()


def theirs(model: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The outputs of a network of transformers, for each padding."""
    import torch

    names = {"tokens": "input_ids", "decoder_tokens": "decoder_input_ids", "token_types": "token_type_ids"}
    tensors = {names[key]: torch.from_numpy(given[key]).long() for key in names if key in given}
    if "images" in given:
        tensors["pixel_values"] = torch.from_numpy(given["images"]).permute(0, 3, 1, 2)
    base = model.get_submodule(BASES.get(model.config.model_type, model.base_model_prefix))
    hidden: list[Any] = []
    hook = base.register_forward_hook(lambda module, args, output: hidden.append(output.last_hidden_state))
    outputs = {}
    for padding, mask in masks(given).items():
        with torch.no_grad():
            given_mask = {} if mask is None else {"attention_mask": torch.from_numpy(mask).long()}
            outputs[f"logits_{padding}"] = model(**tensors, **given_mask).logits.numpy()
        outputs[f"hidden_{padding}"] = hidden.pop().numpy()
    hook.remove()
    return outputs


def masks(given: dict[str, np.ndarray]) -> dict[str, np.ndarray | None]:
    """Padding -> mask."""
    return {"none": None} | {p: given[f"mask_{p}"] for p in ("right", "left") if f"mask_{p}" in given}


# Names of tensors as the Hub has them: without the prefix of the base model, norms in the words of 2018.
OLD_NAMES = {
    "gpt2": ((r"^transformer\.", ""),),
    "bloom": ((r"^transformer\.", ""),),
    "opt": ((r"^model\.", ""),),
    "bert": ((r"LayerNorm\.weight$", "LayerNorm.gamma"), (r"LayerNorm\.bias$", "LayerNorm.beta")),
}


def as_in_transformers_4(directory: Path) -> None:
    """Rewrites a folder in the words of transformers 4 and of the files on the Hub."""
    from safetensors.numpy import load_file

    path = directory / "config.json"
    config = json.loads(path.read_text())
    kind = config["model_type"]
    path.write_text(json.dumps(old_config(config), indent=2) + "\n")
    tensors = load_file(directory / "model.safetensors")
    for pattern, new in OLD_NAMES.get(kind, ()):
        tensors = {re.sub(pattern, new, name): tensor for name, tensor in tensors.items()}
    save_arrays(directory / "model.safetensors", tensors)


def old_config(config: dict[str, Any]) -> dict[str, Any]:
    """A config of transformers 5 in the keys of transformers 4."""
    config = config | {"torch_dtype": config.pop("dtype"), "transformers_version": "4.40.0"}
    if "scale_decoder_outputs" in config:  # T5 1.1 said it by not tying its output layer
        config["tie_word_embeddings"] = config.pop("scale_decoder_outputs")
    if config["model_type"] == "gemma":
        config["hidden_act"] = "gelu"  # the first files said so and meant the tanh approximation
    if "rope_parameters" not in config:
        return config
    if config["model_type"] == "apertus" and config["rope_parameters"]["rope_type"] == "default":
        return config  # transformers 5 reads rope_scaling null as Apertus's own scaling, 4 wrote it for none
    parameters = config.pop("rope_parameters")
    theta, kind = parameters.pop("rope_theta"), parameters.pop("rope_type")
    fraction = parameters.pop("partial_rotary_factor", None)
    named = {"linear": "type"}.get(kind, "rope_type")  # `type` until 4.43
    config["rope_scaling"] = None if kind == "default" else {named: kind, **parameters}
    if config["model_type"] == "gpt_neox":
        return config | {"rotary_emb_base": theta, "rotary_pct": fraction}
    return config | {"rope_theta": theta} | ({} if fraction is None else {"partial_rotary_factor": fraction})


def save_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    save_file({name: np.array(array, order="C") for name, array in arrays.items()}, path, {"format": "pt"})


# The comparison.


def folders(directory: Path) -> list[Path]:
    """The cases in a directory. Raises FileNotFoundError if there are none."""
    found = sorted(path.parent for path in directory.glob("*/expected.safetensors"))
    if not found:
        raise FileNotFoundError(f"{directory} holds no folder with expected.safetensors")
    return found


def expected(directory: Path) -> dict[str, np.ndarray]:
    """Inputs and expected outputs of a case."""
    from safetensors.numpy import load_file

    return load_file(directory / "expected.safetensors")


def ours(directory: Path) -> dict[str, np.ndarray]:
    """The outputs of our network for the inputs of a case, for each padding."""
    import jax.numpy as jnp

    from models import pretrained

    given = expected(directory)
    model, params = pretrained.load(directory)
    batch: list[Any] = [jnp.asarray(given[name]) for name in ("images", "tokens", "decoder_tokens") if name in given]
    types: dict[str, Any] = {name: jnp.asarray(given[name]) for name in ("token_types",) if name in given}
    outputs = {}
    for padding, mask in masks(given).items():
        masked: dict[str, Any] = {} if mask is None else {"mask": jnp.asarray(mask)}
        logits, state = model.apply({"params": params}, *batch, **types, **masked, mutable=["intermediates"])
        outputs[f"logits_{padding}"] = np.asarray(logits)
        outputs[f"hidden_{padding}"] = np.asarray(state["intermediates"]["last_hidden_state"][0])
    return outputs


def saved_by_us(directory: Path) -> dict[str, np.ndarray]:
    """The outputs of transformers for the inputs of a case, from the network as we save it."""
    from models import pretrained

    with tempfile.TemporaryDirectory() as copy:
        pretrained.save(copy, *pretrained.load(directory))
        return theirs(read(Path(copy)), expected(directory))


def differences(wanted: dict[str, np.ndarray], found: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest difference of logits and of last hidden states, each over the largest value that is expected.

    Rows of padding do not count; a decoder that reads an encoder has none.
    """
    largest = dict.fromkeys(("logits", "hidden"), 0.0)
    for output in largest:
        for padding, mask in masks(wanted).items():
            a, b = wanted[f"{output}_{padding}"], found[f"{output}_{padding}"]
            real = ... if mask is None or "decoder_tokens" in wanted else mask.astype(bool)
            relative = np.abs(a - b)[real].max() / np.abs(a[real]).max()
            largest[output] = float(np.maximum(largest[output], relative))  # keeps NaN
    return largest


def table(directory: Path, outputs: Callable[[Path], dict[str, np.ndarray]]) -> tuple[str, bool]:
    """Markdown of the largest differences of every model type, and whether all are within TOLERANCE."""
    found: dict[str, list[tuple[float, float]]] = {}
    for case in folders(directory):
        kind = json.loads((case / "config.json").read_text())["model_type"]
        logits, hidden = differences(expected(case), outputs(case)).values()
        found.setdefault(kind, []).append((logits, hidden))
        if not (logits <= TOLERANCE and hidden <= TOLERANCE):  # so that NaN is told as well
            print(f"{case}: logits {logits:.1e}, last hidden state {hidden:.1e}", file=sys.stderr)
    largest = {kind: np.max(found[kind], axis=0) for kind in ARCHITECTURES if kind in found}
    lines = ["| model type | cases | logits | last hidden state |", "|---|---:|---:|---:|"]
    lines += [f"| {kind} | {len(found[kind])} | {each[0]:.1e} | {each[1]:.1e} |" for kind, each in largest.items()]
    versions = ", ".join(installed("transformers", "torch", "jax", "flax"))
    lines.append(f"\nLargest difference over the largest value, float32; {versions}.")
    return "\n".join(lines), all((values <= TOLERANCE).all() for values in largest.values())


def installed(*packages: str) -> Iterator[str]:
    """The versions of those packages that are there."""
    for package in packages:
        try:
            yield f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="where cases are written; tests/parity for those of the fixtures")
    parser.add_argument("--fresh", type=int, metavar="SEED", help="settings drawn at random, not those of the fixtures")
    parser.add_argument("--cases", type=int, default=3, help="fresh ones of every model type")
    parser.add_argument("--compare", type=Path, metavar="DIR", help="compare our networks with the cases in DIR")
    parser.add_argument("--round-trip", type=Path, metavar="DIR", help="compare what transformers reads from our files")
    options = parser.parse_args()
    if options.fresh is not None and options.out is None:
        parser.error("--fresh needs --out: tests/parity is for the fixtures")
    # transformers tells of ties that T5 breaks and of vocabularies that are tiny on purpose.
    os.environ |= {"TRANSFORMERS_VERBOSITY": "error", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "1"}
    if directory := options.compare or options.round_trip:
        text, within = table(directory, ours if options.compare else saved_by_us)
        print(text)
        return 0 if within else 1
    for case in CASES if options.fresh is None else fresh(options.fresh, options.cases):
        write(case, options.out or Path(__file__).parent / "parity")
    return 0


if __name__ == "__main__":
    sys.exit(main())
