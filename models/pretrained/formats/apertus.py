"""Apertus: xIELU, whose parameters each layer learns, and normalized queries and keys."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config, activation_name, rope_keys
from models.pretrained.format import Format
from models.pretrained.formats import llama
from models.pretrained.tensors import Tensor
from models.transformer import Transformer

NORMS = (("attention_layernorm", "attention_norm"), ("feedforward_layernorm", "feedforward_norm"))
ROPE = {
    **{"rope_type": "llama3", "rope_theta": 12e6, "factor": 8.0, "original_max_position_embeddings": 8192},
    **{"low_freq_factor": 1.0, "high_freq_factor": 4.0},
}


def model(config: Config) -> Transformer:
    """The model of a config; one that says nothing of rotary positions means those of the published models."""
    if not {"rope_parameters", "rope_scaling", "rope_theta"} & config.values.keys():
        config.values["rope_parameters"] = ROPE
    for name in ("post_norm", "mlp_bias"):
        config.expect(name, False)
    config.expect("qk_norm", True)
    fields = llama.common(config, context=65536, tied=False)
    return Transformer(
        **fields,
        **config.rope(fields["context"], theta=12e6),
        activation=config.activation("hidden_act", default="xielu"),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps", default=1e-5),
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
