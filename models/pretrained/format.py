"""A model type of Hugging Face: how its config and tensors correspond to our model."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from models.layers.stack import Stack, in_turn
from models.pretrained.config import Config
from models.pretrained.tensors import Tensor


@dataclass(frozen=True)
class Format:
    """One model type.

    prefix: prefix of the base model in tensor names; files of the base model alone lack it.
    model: config -> model. config: the inverse, as close as the type gets to the model.
    tensors: all tensors of the model.
    causal: whether its decoder is causal.
    head, embedding: names of tensors; a file has both or, if tied, only the second.
    ignored: patterns of names of tensors that these outputs do not need.
    copies: tensors that repeat another one, if a file has them: name -> name.
    instead: tensors that are read instead of another, if a file has them: name -> names.
    """

    model_type: str
    architecture: str
    prefix: str
    model: Callable[[Config], Stack]
    config: Callable[[Any], dict[str, Any]]
    tensors: Callable[[Any], Iterator[Tensor]]
    causal: bool = True
    head: str = "lm_head.weight"
    embedding: str = ""
    ignored: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    instead: tuple[tuple[str, tuple[str, ...]], ...] = ()


# Fields that describe how a model is trained or run, or that are resolved into others here.
_NOT_THE_FUNCTION = {
    *("parent", "name", "dropout", "initialization", "init_std", "embedding_std", "scan", "remat", "dtype"),
    *(
        "d_ff",
        "match",
        "d_ff_multiple",
        "match_variance",
        "head_dim",
        "n_kv_heads",
        "final_norm",
        "windows",
        "rope_thetas",
        "source",
        "attention_scale",
    ),
    *("bias", "qkv_bias", "output_bias", "feedforward_bias", "norm_bias"),
}


def function(model: Any) -> dict[str, Any]:
    """What the model computes from given parameters: its fields, with equivalent settings made equal."""
    windows = in_turn(model.windows, model.n_layers)
    fields = {name: getattr(model, name) for name in model.__dataclass_fields__ if name not in _NOT_THE_FUNCTION}
    biases = ("qkv_bias", "output_bias", "feedforward_bias")
    if model.positions != "rotary":
        for name in ("rope_theta", "rotary_fraction", "rope_scaling"):
            del fields[name]
    else:
        fields["rope_theta"] = in_turn(model.rope_thetas or (model.rope_theta,), model.n_layers)
    fields |= {
        "type": type(model).__name__,
        "hidden_width": model.hidden_width,
        "width": model.width,
        "n_kv_heads": model.n_kv_heads or model.n_heads,
        "final_norm": model.has_final_norm,
        "windows": windows if any(windows) else [],
        "attention_scale": round_to_float32(model.attention_scale or model.width**-0.5),
        "norm_bias": model.norm_scale and model.has_norm_bias,
        **{name: model.has_bias(name) for name in biases},
    }
    if getattr(model, "head_activation", None) is not None:
        fields["head_dense_bias"] = model.bias
    if hasattr(model, "n_encoder_layers"):
        fields["n_encoder_layers"] = model.n_encoder_layers or model.n_layers
    if model.positions != "learned":
        fields.pop("count_padding", None)
    if model.positions != "relative":
        for name in ("relative_buckets", "relative_distance"):
            del fields[name]
    return fields


def round_to_float32(value: float) -> float:
    """Round to seven digits, which survive a power and its inverse."""
    return float(f"{value:.7g}")


def inverse_square(scale: float) -> float | int:
    """The number whose inverse square root is `scale`; an integer if it is one within rounding."""
    value = scale**-2
    return round(value) if math.isclose(value, round(value), rel_tol=1e-9) else value
