"""OPT: learned positions that skip padding, and projected embeddings in one size."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import TRANSPOSED, Layout, Tensor, dense, learned_activation, norm
from models.transformer import Transformer

# The first two rows of its position table are for padding, whose embedding has no effect.
POSITIONS = Layout(lambda x: (x[2:],), lambda x: jnp.concatenate([jnp.zeros_like(x[:2]), x]))


def model(config: Config) -> Transformer:
    """The model of a config."""
    before = config.take("do_layer_norm_before")
    removed = config.take("_remove_final_layer_norm")
    d_model, embedding_dim = config.take("hidden_size"), config.take("word_embed_proj_dim")
    bias = config.take("enable_bias")
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=config.take("max_position_embeddings"),
        count_padding=False,
        d_model=d_model,
        embedding_dim=None if embedding_dim == d_model else embedding_dim,
        n_layers=config.take("num_hidden_layers"),
        n_heads=config.take("num_attention_heads"),
        d_ff=config.take("ffn_dim"),
        match="width",
        activation=config.activation("activation_function"),
        placement="pre" if before else "post",
        final_norm=before and not removed,
        bias=bias,
        norm_bias=True,
        norm_scale=config.take("layer_norm_elementwise_affine"),
        tied=config.take("tie_word_embeddings"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_size": model.d_model,
        "word_embed_proj_dim": model.embedding_dim or model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "ffn_dim": model.hidden_width,
        "activation_function": activation_name(model.activation),
        "do_layer_norm_before": model.placement == "pre",
        "_remove_final_layer_norm": model.placement == "pre" and not model.has_final_norm,
        "enable_bias": model.has_bias("feedforward_bias"),
        "layer_norm_elementwise_affine": model.norm_scale,
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    bias = model.has_bias("feedforward_bias")
    yield Tensor("model.decoder.embed_tokens.weight", ("token_embedding/embedding",))
    yield Tensor("model.decoder.embed_positions.weight", ("position_embedding/embedding",), POSITIONS)
    if model.embedding_dim is not None:
        yield Tensor("model.decoder.project_in.weight", ("embedding_in/kernel",), TRANSPOSED)
        yield Tensor("model.decoder.project_out.weight", ("embedding_out/kernel",), TRANSPOSED)
    for i in range(model.n_layers):
        theirs, ours = f"model.decoder.layers.{i}", f"layer_{i}"
        for their_name, name in (("q_proj", "query"), ("k_proj", "key"), ("v_proj", "value"), ("out_proj", "output")):
            yield from dense(f"{theirs}.self_attn.{their_name}", f"{ours}/attention/{name}", bias)
        yield from norm(f"{theirs}.self_attn_layer_norm", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.final_layer_norm", f"{ours}/feedforward_norm", model)
        yield from dense(f"{theirs}.fc1", f"{ours}/feedforward/up", bias)
        yield from learned_activation(f"{theirs}.activation_fn", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.fc2", f"{ours}/feedforward/down", bias)
    if model.has_final_norm:
        yield from norm("model.decoder.final_layer_norm", "final_norm", model)


FORMAT = Format(
    *("opt", "OPTForCausalLM", "model.", model, config, tensors),
    embedding="model.decoder.embed_tokens.weight",
)
