"""Falcon: parallel layers with a shared norm or separate norms, or sequential layers; grouped heads."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import Tensor, by_group, dense, learned_activation, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config. ALiBi is not supported: transformers scales its scores together with the bias."""
    config.expect("alibi", False)
    d_model, n_heads = config.take("n_embed") or config.take("hidden_size"), config.take("num_attention_heads")
    config.ignore("hidden_size")
    config.repeat("head_dim", d_model // max(n_heads, 1))
    new, parallel = config.take("new_decoder_architecture"), config.take("parallel_attn")
    one_key = config.take("multi_query")
    if new and not parallel:
        config.unsupported("parallel_attn", parallel, (True,))
    norms, kv_heads = config.take("num_ln_in_parallel_attn"), config.take("num_kv_heads") or n_heads
    if not new:
        config.expect("num_ln_in_parallel_attn", 1)
    context, bias = config.take("max_position_embeddings"), bool(config.take("bias"))
    one_norm = not new or norms == 1
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=context,
        d_model=d_model,
        n_layers=config.take("num_hidden_layers"),
        n_heads=n_heads,
        n_kv_heads=kv_heads if new else 1 if one_key else n_heads,
        d_ff=config.take("ffn_hidden_size", positive=True) or 4 * d_model,
        match="width",
        activation=config.activation("activation"),
        norm_epsilon=config.take("layer_norm_epsilon"),
        residual=("parallel_shared" if one_norm else "parallel") if parallel else "sequential",
        bias=bias,
        norm_bias=True,
        tied=config.take("tie_word_embeddings"),
        **rope(config, context),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    kv_heads, parallel = model.n_kv_heads or model.n_heads, model.residual != "sequential"
    new = parallel and (model.residual == "parallel" or kv_heads not in (1, model.n_heads))
    return {
        **rope_keys(model),
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_kv_heads": kv_heads,
        "multi_query": kv_heads == 1,
        "new_decoder_architecture": new,
        "num_ln_in_parallel_attn": (2 if model.residual == "parallel" else 1) if new else None,
        "parallel_attn": parallel,
        "ffn_hidden_size": model.hidden_width,
        "activation": activation_name(model.activation),
        "layer_norm_epsilon": model.norm_epsilon,
        "bias": model.has_bias("qkv_bias"),
        "alibi": False,
        "tie_word_embeddings": model.tied,
    }


NORMS = {
    "parallel": (("ln_attn", "attention_norm"), ("ln_mlp", "feedforward_norm")),
    "parallel_shared": (("input_layernorm", "attention_norm"),),
    "sequential": (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "feedforward_norm")),
}


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    bias, layout = model.has_bias("qkv_bias"), by_group(model.n_heads, model.n_kv_heads or model.n_heads)
    yield Tensor("transformer.word_embeddings.weight", ("token_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"transformer.h.{i}", f"layer_{i}"
        for their_name, name in NORMS[model.residual]:
            yield from norm(f"{theirs}.{their_name}", f"{ours}/{name}", model)
        for kind, key in [("weight", "kernel")] + ([("bias", "bias")] if bias else []):
            fused = tuple(f"{ours}/attention/{name}/{key}" for name in ("query", "key", "value"))
            yield Tensor(f"{theirs}.self_attention.query_key_value.{kind}", fused, layout)
        yield from dense(f"{theirs}.self_attention.dense", f"{ours}/attention/output", bias)
        yield from dense(f"{theirs}.mlp.dense_h_to_4h", f"{ours}/feedforward/up", bias)
        yield from learned_activation(f"{theirs}.mlp.act", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.mlp.dense_4h_to_h", f"{ours}/feedforward/down", bias)
    yield from norm("transformer.ln_f", "final_norm", model)


FORMAT = Format(
    *("falcon", "FalconForCausalLM", "transformer.", model, config, tensors),
    embedding="transformer.word_embeddings.weight",
    ignored=(r".*\.rotary_emb\.inv_freq", r".*\.self_attention\.maybe_rotary\.inv_freq"),
)
