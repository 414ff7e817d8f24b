"""Nemotron: squared ReLU, partly rotated heads, LayerNorms whose scale is kept as what it is more than 1."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config, activation_name, rope_keys
from models.pretrained.format import Format
from models.pretrained.formats import llama
from models.pretrained.tensors import BEYOND_ONE, Tensor
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields = llama.common(config, context=4096, tied=False)
    return Transformer(
        **fields,
        **config.rope(fields["context"], fraction=0.5),
        activation=config.activation("hidden_act", default="relu2"),
        feedforward_bias=config.take("mlp_bias", default=False),
        bias=False,
        norm_bias=True,
        norm_epsilon=config.take("norm_eps", default=1e-5),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **llama.common_keys(model),
        **rope_keys(model),
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
