"""Gemma 1 and 2: scaled embeddings, norm scales stored minus 1; Gemma 2 adds sandwich norms and soft caps."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format, inverse_square
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import BEYOND_ONE, Tensor
from models.transformer import Transformer

SANDWICH = (
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "attention_output_norm"),
    ("pre_feedforward_layernorm", "feedforward_norm"),
    ("post_feedforward_layernorm", "feedforward_output_norm"),
)


def _common(config: Config) -> dict[str, Any]:
    # What True means in transformers depends on the attention kernel and on the padding.
    config.expect("use_bidirectional_attention", False)
    fields = llama.common(config)
    return {
        **fields,
        **rope(config, fields["context"]),
        "bias": False,
        "norm": "rmsnorm",
        "norm_epsilon": config.take("rms_norm_eps"),
        "scale_embeddings": True,
    }


def _common_keys(model: Any) -> dict[str, Any]:
    return {
        **llama.common_keys(model),
        **rope_keys(model),
        "rms_norm_eps": model.norm_epsilon,
    }


def model(config: Config) -> Transformer:
    """The model of a config of the first Gemma."""
    name = config.take("hidden_act")
    # The first configs say gelu but mean the tanh form.
    activation = config.known_activation("hidden_act", "gelu_pytorch_tanh" if name == "gelu" else name)
    return Transformer(activation=glu_of(activation), **_common(config))


def config(model: Any) -> dict[str, Any]:
    """The config of a model of the first Gemma."""
    return {**_common_keys(model), "hidden_act": activation_name(model.activation)}


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model of the first Gemma."""
    return llama.tensors(model, scale=BEYOND_ONE)


def model_2(config: Config) -> Transformer:
    """The model of a config of Gemma 2."""
    fields = _common(config)
    kinds = [("sliding_attention", "full_attention")[i % 2] for i in range(fields["n_layers"])]
    return Transformer(
        activation=glu_of(config.activation("hidden_activation")),
        placement="sandwich",
        attention_scale=config.take("query_pre_attn_scalar", positive=True) ** -0.5,
        attention_cap=config.take("attn_logit_softcapping"),
        logit_cap=config.take("final_logit_softcapping"),
        windows=config.windows(fields["n_layers"], config.take("sliding_window", positive=True), kinds),
        **fields,
    )


def config_2(model: Any) -> dict[str, Any]:
    """The config of a model of Gemma 2."""
    windows = in_turn(model.windows or (0,), model.n_layers)
    scale = model.width**-0.5 if model.attention_scale is None else model.attention_scale
    return {
        **_common_keys(model),
        "hidden_activation": activation_name(model.activation),
        "query_pre_attn_scalar": inverse_square(scale),
        "attn_logit_softcapping": model.attention_cap,
        "final_logit_softcapping": model.logit_cap,
        "sliding_window": max([*windows, 1]),
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


def tensors_2(model: Any) -> Iterator[Tensor]:
    """The tensors of a model of Gemma 2."""
    return llama.tensors(model, SANDWICH, BEYOND_ONE)


FORMAT = Format(
    *("gemma", "GemmaForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
FORMAT_2 = Format(
    *("gemma2", "Gemma2ForCausalLM", "model.", model_2, config_2, tensors_2),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
