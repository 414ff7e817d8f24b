"""The text tower of CLIP: a causal Transformer with QuickGELU.

It has no output layer: its output is the last hidden state. The logits here use its embedding, tied.
"""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import Tensor, dense, learned_activation, norm
from models.transformer import Transformer

ATTENTION = (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output"))


def model(config: Config) -> Transformer:
    """The model of a config."""
    config.ignore("projection_dim", "logit_scale_init_value")  # of layers after the tower
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=config.take("max_position_embeddings"),
        d_model=config.take("hidden_size"),
        n_layers=config.take("num_hidden_layers"),
        n_heads=config.take("num_attention_heads"),
        d_ff=config.take("intermediate_size"),
        match="width",
        activation=config.activation("hidden_act"),
        norm_epsilon=config.take("layer_norm_eps"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "intermediate_size": model.hidden_width,
        "hidden_act": activation_name(model.activation),
        "layer_norm_eps": model.norm_epsilon,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    for name in ("token", "position"):
        yield Tensor(f"text_model.embeddings.{name}_embedding.weight", (f"{name}_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"text_model.encoder.layers.{i}", f"layer_{i}"
        for their_name, name in ATTENTION:
            yield from dense(f"{theirs}.self_attn.{their_name}", f"{ours}/attention/{name}", True)
        yield from norm(f"{theirs}.layer_norm1", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.layer_norm2", f"{ours}/feedforward_norm", model)
        yield from dense(f"{theirs}.mlp.fc1", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.mlp.activation_fn", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.mlp.fc2", f"{ours}/feedforward/down", True)
    yield from norm("text_model.final_layer_norm", "final_norm", model)


FORMAT = Format(
    *("clip_text_model", "CLIPTextModel", "text_model.", model, config, tensors),
    head="",
    ignored=(r"(text_model\.)?embeddings\.position_ids", r"text_projection\.weight"),
)
