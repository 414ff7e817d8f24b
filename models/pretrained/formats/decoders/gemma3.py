"""The text model of Gemma 3: Gemma 2 with normalized queries and keys, and another RoPE base in windowed layers."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format, inverse_square
from models.pretrained.formats.decoders import gemma, llama
from models.pretrained.names import activation_name
from models.pretrained.rope import parsed, scaling_keys
from models.pretrained.tensors import BEYOND_ONE, Tensor
from models.transformer import Transformer

FULL, SLIDING = "full_attention", "sliding_attention"
THETAS = {FULL: 1e6, SLIDING: 1e4}


def model(config: Config) -> Transformer:
    """The model of a config."""
    config.expect("use_bidirectional_attention", False)
    config.ignore("attn_logit_softcapping", "_sliding_window_pattern")  # read by transformers, but unused
    fields = llama.common(config)
    n_layers, window = fields["n_layers"], config.take("sliding_window", positive=True)
    every = config.take("sliding_window_pattern", positive=True) or 6
    windows = config.windows(n_layers, window, [SLIDING if (i + 1) % every else FULL for i in range(n_layers)])
    return Transformer(
        **fields,
        **_rope(config, fields["context"], in_turn(windows or (0,), n_layers)),
        activation=glu_of(config.activation("hidden_activation")),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        scale_embeddings=True,
        placement="sandwich",
        qk_norm=True,
        attention_scale=config.take("query_pre_attn_scalar", positive=True) ** -0.5,
        logit_cap=config.take("final_logit_softcapping"),
        windows=windows,
    )


def _rope(config: Config, context: int, windows: list[int]) -> dict[str, Any]:
    """RoPE fields: those of layers with full attention, and the bases of the windowed ones."""
    given, scaling = config.take("rope_parameters") or {}, config.take("rope_scaling") or {}
    for name in given.keys() - {FULL, SLIDING}:
        config.problems.append(f"rope_parameters.{name} is {given[name]!r}: supported values are {FULL}, {SLIDING}")
    own = {kind: dict(given.get(kind) or {}) for kind in (FULL, SLIDING)}
    own[FULL] |= scaling
    beside = {FULL: config.take("rope_theta"), SLIDING: config.take("rope_local_base_freq")}
    full, sliding = (
        parsed(config, f"rope_parameters.{kind}", own[kind], context, beside[kind] or THETAS[kind], 1.0)
        for kind in (FULL, SLIDING)
    )
    bases = (full.get("rope_theta"), sliding.get("rope_theta"))
    one_base = full.get("rope_scaling") and bases[0] == bases[1]  # which layers are scaled is told by their base
    if any(windows) and (sliding.get("rope_scaling") or one_base):
        config.problems.append(f"rope_parameters scale {SLIDING}, which is not supported")
    return {**full, "rope_thetas": tuple(bases[1] if window else bases[0] for window in windows)}


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    windows = in_turn(model.windows or (0,), model.n_layers)
    thetas = in_turn(model.rope_thetas or (model.rope_theta,), model.n_layers)
    local = next((theta for theta, window in zip(thetas, windows, strict=True) if window), model.rope_theta)
    scale = model.width**-0.5 if model.attention_scale is None else model.attention_scale
    return {
        **llama.common_keys(model),
        "rope_parameters": {
            FULL: {**scaling_keys(model.rope_scaling), "rope_theta": model.rope_theta},
            SLIDING: {"rope_type": "default", "rope_theta": local},
        },
        "rms_norm_eps": model.norm_epsilon,
        "hidden_activation": activation_name(model.activation),
        "query_pre_attn_scalar": inverse_square(scale),
        "final_logit_softcapping": model.logit_cap,
        "sliding_window": max([*windows, 1]),
        "layer_types": [SLIDING if window else FULL for window in windows],
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    return llama.tensors(model, gemma.SANDWICH, BEYOND_ONE)


FORMAT = Format(
    *("gemma3_text", "Gemma3ForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
