"""GPT-2: fused queries, keys and values; kernels stored as [inner, outer]."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import PLAIN, THREE, Tensor, learned_activation, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    config.expect("add_cross_attention", False)
    config.ignore("reorder_and_upcast_attn")  # changes the order of operations, not the function
    d_model = config.take("n_embd")
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=config.take("n_positions"),
        d_model=d_model,
        n_layers=config.take("n_layer"),
        n_heads=config.take("n_head"),
        d_ff=config.take("n_inner", positive=True) or 4 * d_model,
        match="width",
        activation=config.activation("activation_function"),
        norm_epsilon=config.take("layer_norm_epsilon"),
        attention_scale=None if config.take("scale_attn_weights") else 1.0,
        scale_by_layer=config.take("scale_attn_by_inverse_layer_idx"),
        tied=config.take("tie_word_embeddings"),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "n_positions": model.context,
        "n_embd": model.d_model,
        "n_layer": model.n_layers,
        "n_head": model.n_heads,
        "n_inner": model.hidden_width,
        "activation_function": activation_name(model.activation),
        "layer_norm_epsilon": model.norm_epsilon,
        "scale_attn_weights": model.attention_scale is None,
        "scale_attn_by_inverse_layer_idx": model.scale_by_layer,
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield Tensor("transformer.wte.weight", ("token_embedding/embedding",))
    yield Tensor("transformer.wpe.weight", ("position_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"transformer.h.{i}", f"layer_{i}"
        yield from norm(f"{theirs}.ln_1", f"{ours}/attention_norm", model)
        yield from norm(f"{theirs}.ln_2", f"{ours}/feedforward_norm", model)
        for kind, key in (("weight", "kernel"), ("bias", "bias")):
            fused = tuple(f"{ours}/attention/{name}/{key}" for name in ("query", "key", "value"))
            yield Tensor(f"{theirs}.attn.c_attn.{kind}", fused, THREE)
            yield Tensor(f"{theirs}.attn.c_proj.{kind}", (f"{ours}/attention/output/{key}",), PLAIN)
            yield Tensor(f"{theirs}.mlp.c_fc.{kind}", (f"{ours}/feedforward/up/{key}",), PLAIN)
            yield Tensor(f"{theirs}.mlp.c_proj.{kind}", (f"{ours}/feedforward/down/{key}",), PLAIN)
        yield from learned_activation(f"{theirs}.mlp.act", f"{ours}/feedforward", model)
    yield from norm("transformer.ln_f", "final_norm", model)


FORMAT = Format(
    *("gpt2", "GPT2LMHeadModel", "transformer.", model, config, tensors),
    embedding="transformer.wte.weight",
    ignored=(r".*\.attn\.(masked_)?bias",),
)
