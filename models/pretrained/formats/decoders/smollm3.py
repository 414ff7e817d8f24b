"""SmolLM3: LLaMA with some layers without RoPE."""

from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.rope import rope
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields = llama.common(config)
    turning = rope(config, fields["context"])
    n_layers, every = fields["n_layers"], config.take("no_rope_layer_interval", positive=True)
    rotated = config.take("no_rope_layers")
    if rotated is None:
        rotated = [int((i + 1) % every != 0) for i in range(n_layers)]
    if len(rotated) != n_layers or not set(rotated) <= {0, 1}:
        config.problems.append(f"no_rope_layers is {rotated}: it must be 0 or 1 for each of {n_layers} layers")
        rotated = [1] * n_layers
    window = config.take("sliding_window", positive=True)
    window = window if config.take("use_sliding_window") else None
    kinds = ["full_attention" if window is None or one else "sliding_attention" for one in rotated]
    return Transformer(
        **fields,
        **turning,
        rope_thetas=() if all(rotated) else tuple(turning.get("rope_theta", 1.0) * one for one in rotated),
        activation=glu_of(config.activation("hidden_act")),
        feedforward_bias=config.take("mlp_bias"),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        windows=config.windows(n_layers, window, kinds),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    windows = in_turn(model.windows or (0,), model.n_layers)
    thetas = in_turn(model.rope_thetas or (model.rope_theta,), model.n_layers)
    return {
        **llama.config(model),
        "no_rope_layers": [int(theta > 0) for theta in thetas],
        "use_sliding_window": any(windows),
        "sliding_window": max(windows) or None,
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
    }


FORMAT = Format(
    *("smollm3", "SmolLM3ForCausalLM", "model.", model, config, llama.tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
