"""Nemotron: squared ReLU, partial RoPE, LayerNorms whose scale is stored minus 1."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import BEYOND_ONE, Tensor
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields = llama.common(config)
    return Transformer(
        **fields,
        **rope(config, fields["context"], fraction="partial_rotary_factor"),
        activation=config.activation("hidden_act"),
        feedforward_bias=config.take("mlp_bias"),
        bias=False,
        norm_bias=True,
        norm_epsilon=config.take("norm_eps"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **llama.common_keys(model),
        **rope_keys(model, partial=True),
        "hidden_act": activation_name(model.activation),
        "mlp_bias": model.has_bias("feedforward_bias"),
        "norm_eps": model.norm_epsilon,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    return llama.tensors(model, scale=BEYOND_ONE)


FORMAT = Format(
    *("nemotron", "NemotronForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
