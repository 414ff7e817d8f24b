"""Qwen 2 and 3: LLaMA with query, key and value biases (2) or with normalized queries and keys (3)."""

from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.transformer import Transformer


def _common(config: Config) -> dict[str, Any]:
    fields = llama.common(config)
    n_layers, window = fields["n_layers"], config.take("sliding_window", positive=True)
    window = window if config.take("use_sliding_window") else None
    first = config.take("max_window_layers")
    kinds = ["full_attention" if window is None or i < first else "sliding_attention" for i in range(n_layers)]
    return {
        **fields,
        **rope(config, fields["context"]),
        "activation": glu_of(config.activation("hidden_act")),
        "bias": False,
        "norm": "rmsnorm",
        "norm_epsilon": config.take("rms_norm_eps"),
        "windows": config.windows(n_layers, window, kinds),
    }


def _common_keys(model: Any) -> dict[str, Any]:
    windows = in_turn(model.windows or (0,), model.n_layers)
    return {
        **rope_keys(model),
        "hidden_act": activation_name(model.activation),
        "rms_norm_eps": model.norm_epsilon,
        "use_sliding_window": any(windows),
        "sliding_window": max(windows) or None,
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


def model_2(config: Config) -> Transformer:
    """The model of a config of Qwen 2 and 2.5."""
    return Transformer(**{**_common(config), "qkv_bias": True})


def config_2(model: Any) -> dict[str, Any]:
    """The config of a model of Qwen 2 and 2.5."""
    return {**llama.common_keys(model, bias=False), **_common_keys(model)}


def model_3(config: Config) -> Transformer:
    """The model of a config of Qwen 3."""
    return Transformer(**_common(config), qk_norm=True)


def config_3(model: Any) -> dict[str, Any]:
    """The config of a model of Qwen 3."""
    return {**llama.common_keys(model), **_common_keys(model)}


FORMAT_2 = Format(
    *("qwen2", "Qwen2ForCausalLM", "model.", model_2, config_2, llama.tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
FORMAT_3 = Format(
    *("qwen3", "Qwen3ForCausalLM", "model.", model_3, config_3, llama.tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
