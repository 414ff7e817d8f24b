"""BLOOM: ALiBi, a norm after the embeddings, and fused queries, keys and values, interleaved by head."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.tensors import Tensor, by_group, dense, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    d_model = config.take("n_embed") or config.take("hidden_size")
    config.ignore("hidden_size")
    config.repeat("n_inner", 4 * d_model)
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=config.beside("seq_length", "int", 2048),
        d_model=d_model,
        n_layers=config.take("n_layer"),
        n_heads=config.take("n_head"),
        match="width",
        activation="gelu_tanh",
        norm_epsilon=config.take("layer_norm_epsilon"),
        placement="input" if config.take("apply_residual_connection_post_layernorm") else "pre",
        embedding_norm=True,
        positions="alibi",
        tied=config.take("tie_word_embeddings"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "seq_length": model.context,
        "hidden_size": model.d_model,
        "n_layer": model.n_layers,
        "n_head": model.n_heads,
        "layer_norm_epsilon": model.norm_epsilon,
        "apply_residual_connection_post_layernorm": model.placement == "input",
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield Tensor("transformer.word_embeddings.weight", ("token_embedding/embedding",))
    yield from norm("transformer.word_embeddings_layernorm", "embedding_norm", model)
    for i in range(model.n_layers):
        theirs, ours = f"transformer.h.{i}", f"layer_{i}"
        yield from norm(f"{theirs}.input_layernorm", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.post_attention_layernorm", f"{ours}/feedforward_norm", model)
        layout = by_group(model.n_heads, model.n_heads)
        for kind, key in (("weight", "kernel"), ("bias", "bias")):
            fused = tuple(f"{ours}/attention/{name}/{key}" for name in ("query", "key", "value"))
            yield Tensor(f"{theirs}.self_attention.query_key_value.{kind}", fused, layout)
        yield from dense(f"{theirs}.self_attention.dense", f"{ours}/attention/output", True)
        yield from dense(f"{theirs}.mlp.dense_h_to_4h", f"{ours}/feedforward/up", True)
        yield from dense(f"{theirs}.mlp.dense_4h_to_h", f"{ours}/feedforward/down", True)
    yield from norm("transformer.ln_f", "final_norm", model)


FORMAT = Format(
    *("bloom", "BloomForCausalLM", "transformer.", model, config, tensors),
    embedding="transformer.word_embeddings.weight",
)
