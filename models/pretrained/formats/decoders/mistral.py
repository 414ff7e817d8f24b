"""Mistral: LLaMA with sliding-window attention."""

from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields, window = llama.common(config), config.take("sliding_window", positive=True)
    return Transformer(
        **fields,
        **rope(config, fields["context"]),
        activation=glu_of(config.activation("hidden_act")),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        windows=() if window is None else (window,),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **llama.common_keys(model, bias=False),
        **rope_keys(model),
        "hidden_act": activation_name(model.activation),
        "rms_norm_eps": model.norm_epsilon,
        "sliding_window": in_turn(model.windows or (0,), 1)[0] or None,
    }


FORMAT = Format(
    *("mistral", "MistralForCausalLM", "model.", model, config, llama.tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
