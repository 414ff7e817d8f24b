"""Settings of the networks with which ours are compared: those of the fixtures, and how fresh ones are drawn."""

import random
from dataclasses import dataclass
from typing import Any

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
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "phi3": "Phi3ForCausalLM",
    "gptj": "GPTJForCausalLM",
    "falcon": "FalconForCausalLM",
    "roberta": "RobertaForMaskedLM",
    "distilbert": "DistilBertForMaskedLM",
    "clip_text_model": "CLIPTextModel",
    "gemma3_text": "Gemma3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "olmo2": "Olmo2ForCausalLM",
}
# Whose output is the last hidden state; elsewhere the base model.
BASES = {"opt": "model.decoder", "t5": "decoder", "clip_text_model": ""}

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
    "mistral": {**DECODER, "num_key_value_heads": 2, "sliding_window": 5},
    "qwen2": {**DECODER, "num_key_value_heads": 2},
    "qwen3": {**DECODER, "num_key_value_heads": 2, "head_dim": 4},
    "phi3": {**DECODER, "num_key_value_heads": 2, "pad_token_id": 0},
    "gptj": {
        **{"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 23, "n_positions": 16, "rotary_dim": 4},
        **{"bos_token_id": 1, "eos_token_id": 2},
    },
    "falcon": {key: value for key, value in DECODER.items() if key != "intermediate_size"},
    "roberta": {**ENCODER, "vocab_size": 23, "max_position_embeddings": 18, "type_vocab_size": 1},
    "distilbert": {
        **{"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24, "vocab_size": 23},
        "max_position_embeddings": 16,
    },
    "clip_text_model": {**DECODER, "pad_token_id": 0},
    "gemma3_text": {
        **{**DECODER, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 4, "sliding_window": 4},
        **{"query_pre_attn_scalar": 4, "sliding_window_pattern": 3, "pad_token_id": 0},
    },
    "smollm3": {**DECODER, "num_key_value_heads": 2, "no_rope_layer_interval": 2, "pad_token_id": 0},
    "olmo2": {**DECODER, "num_key_value_heads": 2, "pad_token_id": 0},
}


def rope(kind: str = "default", theta: float = 100.0, **fields: Any) -> dict[str, Any]:
    """Rotary positions whose wavelengths, with theta 100, lie on both sides of the short lengths here."""
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **fields}}


def two_ropes(theta: float, local: float, **fields: Any) -> dict[str, Any]:
    """Rotary positions of layers that see all, and of those with a window."""
    full = {"rope_type": "default", "rope_theta": theta, **fields}
    sliding = {"rope_type": "default", "rope_theta": local}
    return {"rope_parameters": {"full_attention": full, "sliding_attention": sliding}}


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
    Case("t5", "exact_gelu", {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu", "num_layers": 1}),
    Case("t5", "no_gate", {"feed_forward_proj": "gated-relu", "is_gated_act": False, "num_layers": 1}),
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
    Case("apertus", "own_rope", {"num_attention_heads": 2, "max_position_embeddings": 65536}),
    Case("apertus", "bfloat16", {"rms_norm_eps": 1e-3, **rope(theta=50.0)}, "bfloat16"),
    Case("mistral", "window", {"sliding_window": 3, "head_dim": 6, **rope(theta=50.0)}),
    Case("mistral", "no_window", {"sliding_window": None, "tie_word_embeddings": True, **LLAMA3}),
    Case("mistral", "older", {"rms_norm_eps": 1e-3, "hidden_act": "gelu", **rope(theta=50.0)}, "older"),
    Case("qwen2", "window", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1, **rope()}),
    Case("qwen2", "yarn", {"num_attention_heads": 2, "tie_word_embeddings": True, "hidden_act": "relu", **YARN}),
    Case("qwen2", "older", {"rms_norm_eps": 1e-3, **rope(theta=50.0)}, "older"),
    Case("qwen3", "wide_heads", {"head_dim": 10, "attention_bias": True, **rope(theta=50.0)}),
    Case(
        "qwen3",
        "window",
        {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": True}
        | {"sliding_window": 4, "rms_norm_eps": 1e-2, **LINEAR},
    ),
    Case("qwen3", "bfloat16", {"tie_word_embeddings": True, "num_key_value_heads": 1}, "bfloat16"),
    Case("phi3", "partial", {"num_attention_heads": 2, **rope(theta=50.0, partial_rotary_factor=0.5)}),
    Case("phi3", "window", {"sliding_window": 4, "hidden_act": "gelu_new", "tie_word_embeddings": True}, "sharded"),
    Case("phi3", "older", {"rms_norm_eps": 1e-3, **rope(theta=50.0, partial_rotary_factor=1.0)}, "older"),
    Case("gptj", "tied", {"tie_word_embeddings": True, "rotary_dim": 8, "activation_function": "gelu"}),
    Case("gptj", "narrow", {"rotary_dim": 2, "n_head": 4, "n_inner": 20, "layer_norm_epsilon": 1e-3}),
    Case("gptj", "older", {"activation_function": "relu"}, "older"),
    Case("falcon", "one_key", {"layer_norm_epsilon": 1e-3, **rope(theta=50.0)}),
    Case("falcon", "two_norms", {"new_decoder_architecture": True, "num_kv_heads": 2, "bias": True}),
    Case("falcon", "one_norm", {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1}),
    Case("falcon", "sequential", {"parallel_attn": False, "multi_query": False, "bias": True, "ffn_hidden_size": 20}),
    Case("falcon", "older", {"tie_word_embeddings": False, "activation": "gelu_new", **rope(theta=50.0)}, "older"),
    Case("roberta", "two_types", {"type_vocab_size": 2, "hidden_act": "relu", "layer_norm_eps": 1e-3}),
    Case("roberta", "untied", {"tie_word_embeddings": False, "num_attention_heads": 2}),
    Case("roberta", "older", {"layer_norm_eps": 1e-5}, "older"),
    Case("distilbert", "untied", {"tie_word_embeddings": False, "n_heads": 2, "hidden_dim": 20}),
    Case("distilbert", "relu", {"activation": "relu", "sinusoidal_pos_embds": True}),
    Case("clip_text_model", "quick", {}),
    Case("clip_text_model", "exact", {"hidden_act": "gelu", "layer_norm_eps": 1e-3, "num_attention_heads": 2}, "older"),
    Case(
        *("gemma3_text", "scaled"),
        two_ropes(500.0, 50.0, rope_type="linear", factor=4.0) | {"query_pre_attn_scalar": 1, "head_dim": 6},
    ),
    Case(
        *("gemma3_text", "capped"),
        {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "attention_bias": True, "sliding_window": 3}
        | {"layer_types": ["full_attention", "sliding_attention", "full_attention"], "rms_norm_eps": 1e-3},
    ),
    Case(
        *("gemma3_text", "older"),
        two_ropes(1000.0, 20.0, rope_type="linear", factor=8.0),
        "older",
    ),
    Case("smollm3", "every_second", rope(theta=50.0)),
    Case("smollm3", "window", {"no_rope_layers": [0, 1], "use_sliding_window": True, "sliding_window": 4, **YARN}),
    Case("smollm3", "older", {"no_rope_layers": [1, 1], "mlp_bias": True, "attention_bias": True, **rope()}, "older"),
    Case("olmo2", "biases", {"attention_bias": True, "hidden_act": "gelu", "rms_norm_eps": 1e-2, **rope(theta=50.0)}),
    Case("olmo2", "tied", {"tie_word_embeddings": True, "num_key_value_heads": 1, **LLAMA3}),
    Case("olmo2", "older", {"num_attention_heads": 2, **LINEAR}, "older"),
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
    "mistral": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        one_of("sliding_window", None, 1, 3, 7),
    ],
    "qwen2": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        *(one_of("use_sliding_window", True, False), one_of("sliding_window", 2, 5), one_of("max_window_layers", 0, 1)),
    ],
    "qwen3": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        *(one_of("use_sliding_window", True, False), one_of("sliding_window", 2, 5), one_of("max_window_layers", 0, 1)),
        one_of("attention_bias", True, False),
    ],
    "phi3": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS)),
        *(one_of("num_attention_heads", 2, 4), one_of("num_key_value_heads", 1, 2), one_of("sliding_window", None, 3)),
        [rope(theta=50.0, partial_rotary_factor=fraction) for fraction in (0.5, 1.0)],
    ],
    "gptj": [
        *(TIED, one_of("activation_function", *POINTWISE), one_of("layer_norm_epsilon", *EPSILONS)),
        *(one_of("n_head", 1, 2, 4), one_of("rotary_dim", 2, 4), one_of("n_inner", None, 20)),
    ],
    "falcon": [
        *(TIED, one_of("activation", *POINTWISE), one_of("layer_norm_epsilon", *EPSILONS), ROPES),
        *(one_of("bias", True, False), one_of("ffn_hidden_size", None, 20)),
        [
            *({"multi_query": True}, {"multi_query": False}, {"multi_query": False, "parallel_attn": False}),
            *({"new_decoder_architecture": True, "num_kv_heads": kv} for kv in (1, 2, 4)),
            {"new_decoder_architecture": True, "num_kv_heads": 2, "num_ln_in_parallel_attn": 1},
        ],
    ],
    "roberta": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("layer_norm_eps", *EPSILONS)),
        *(one_of("type_vocab_size", 1, 2), one_of("num_attention_heads", 1, 2, 8), one_of("intermediate_size", 40)),
    ],
    "distilbert": [
        *(TIED, one_of("activation", *POINTWISE), one_of("n_heads", 1, 2, 8), one_of("hidden_dim", 20, 40)),
        one_of("n_layers", 1, 3),
    ],
    "clip_text_model": [
        *(one_of("hidden_act", *POINTWISE), one_of("layer_norm_eps", *EPSILONS), one_of("num_attention_heads", 1, 2)),
        one_of("num_hidden_layers", 1, 3),
    ],
    "gemma3_text": [
        *(TIED, one_of("hidden_activation", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED),
        *(one_of("attention_bias", True, False), one_of("sliding_window", 1, 3, 7)),
        *(one_of("attn_logit_softcapping", None, 2.0), one_of("final_logit_softcapping", None, 3.0)),
        *(one_of("query_pre_attn_scalar", 1, 5, 16), one_of("sliding_window_pattern", 1, 2, 3)),
        [{}, two_ropes(100.0, 20.0), two_ropes(1e3, 50.0, rope_type="linear", factor=8.0)],
    ],
    "smollm3": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), GROUPED, ROPES),
        *(one_of("no_rope_layer_interval", 1, 2, 4), one_of("use_sliding_window", True, False)),
        *(one_of("sliding_window", 3, 6), one_of("attention_bias", True, False), one_of("mlp_bias", True, False)),
    ],
    "olmo2": [
        *(TIED, one_of("hidden_act", *POINTWISE), one_of("rms_norm_eps", *EPSILONS), ROPES),
        *(one_of("attention_bias", True, False), one_of("num_key_value_heads", 1, 2, 4)),
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
