"""Apertus: xIELU with parameters learned per layer, and normalized queries and keys."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import Tensor
from models.transformer import Transformer

NORMS = (("attention_layernorm", "attention_norm"), ("feedforward_layernorm", "feedforward_norm"))
ROPE = {
    **{"rope_type": "llama3", "rope_theta": 12e6, "factor": 8.0, "original_max_position_embeddings": 8192},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}


def model(config: Config) -> Transformer:
    """The model of a config; without a RoPE scaling, that of the published models is used."""
    fields = llama.common(config)
    return Transformer(
        **fields,
        **rope(config, fields["context"], default=ROPE),
        activation=config.activation("hidden_act"),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        qk_norm=True,
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **llama.common_keys(model),
        **rope_keys(model),
        "hidden_act": activation_name(model.activation),
        "rms_norm_eps": model.norm_epsilon,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    return llama.tensors(model, NORMS)


FORMAT = Format(
    *("apertus", "ApertusForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
