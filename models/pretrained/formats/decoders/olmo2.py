"""OLMo 2: LLaMA with normalized layer outputs, and queries and keys normalized over all heads."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import Tensor
from models.transformer import Transformer

NORMS = (
    ("post_attention_layernorm", "attention_output_norm"),
    ("post_feedforward_layernorm", "feedforward_output_norm"),
)


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields = llama.common(config)
    return Transformer(
        **fields,
        **rope(config, fields["context"]),
        activation=glu_of(config.activation("hidden_act")),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        placement="output",
        joint_qk_norm=True,
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
    *("olmo2", "Olmo2ForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
