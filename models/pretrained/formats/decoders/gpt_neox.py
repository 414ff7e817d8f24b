"""GPT-NeoX and Pythia: parallel residual, partial RoPE, fused queries, keys and values, interleaved by head."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import Tensor, by_group, dense, learned_activation, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    context, d_model, n_heads = (
        config.take(name, positive=True) for name in ("max_position_embeddings", "hidden_size", "num_attention_heads")
    )
    config.repeat("head_dim", d_model // n_heads)
    bias = config.take("attention_bias")
    config.ignore("is_decoder")
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=context,
        d_model=d_model,
        n_layers=config.take("num_hidden_layers"),
        n_heads=n_heads,
        d_ff=config.take("intermediate_size"),
        match="width",
        activation=config.activation("hidden_act"),
        norm_epsilon=config.take("layer_norm_eps"),
        residual="parallel" if config.take("use_parallel_residual") else "sequential",
        qkv_bias=bias,
        output_bias=bias,
        tied=config.take("tie_word_embeddings"),
        **rope(config, context, theta="rotary_emb_base", fraction="rotary_pct"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **rope_keys(model, partial=True),
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "intermediate_size": model.hidden_width,
        "hidden_act": activation_name(model.activation),
        "layer_norm_eps": model.norm_epsilon,
        "use_parallel_residual": model.residual == "parallel",
        "attention_bias": model.has_bias("qkv_bias"),
        "rotary_emb_base": model.rope_theta,
        "rotary_pct": model.rotary_fraction,
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield Tensor("gpt_neox.embed_in.weight", ("token_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"gpt_neox.layers.{i}", f"layer_{i}"
        yield from norm(f"{theirs}.input_layernorm", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.post_attention_layernorm", f"{ours}/feedforward_norm", model)
        kinds = [("weight", "kernel")] + ([("bias", "bias")] if model.has_bias("qkv_bias") else [])
        for kind, key in kinds:
            fused = tuple(f"{ours}/attention/{name}/{key}" for name in ("query", "key", "value"))
            yield Tensor(f"{theirs}.attention.query_key_value.{kind}", fused, by_group(model.n_heads, model.n_heads))
        yield from dense(f"{theirs}.attention.dense", f"{ours}/attention/output", model.has_bias("output_bias"))
        yield from dense(f"{theirs}.mlp.dense_h_to_4h", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.mlp.act", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.mlp.dense_4h_to_h", f"{ours}/feedforward/down", True)
    yield from norm("gpt_neox.final_layer_norm", "final_norm", model)


FORMAT = Format(
    *("gpt_neox", "GPTNeoXForCausalLM", "gpt_neox.", model, config, tensors),
    head="embed_out.weight",
    embedding="gpt_neox.embed_in.weight",
    ignored=(r".*\.attention\.(masked_)?bias", r".*\.rotary_emb\.inv_freq"),
)
