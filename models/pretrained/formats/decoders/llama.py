"""LLaMA 1, 2 and 3, and what it shares with types that use its names."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import PLAIN, Layout, Tensor, dense, learned_activation, norm
from models.transformer import Transformer

NORMS = (("input_layernorm", "attention_norm"), ("post_attention_layernorm", "feedforward_norm"))


def common(config: Config) -> dict[str, Any]:
    """Fields whose keys have the same names in all of these types."""
    bias = config.take("attention_bias") if "attention_bias" in config.keys else False
    return {
        "vocab_size": config.take("vocab_size"),
        "context": config.take("max_position_embeddings"),
        "d_model": config.take("hidden_size"),
        "n_layers": config.take("num_hidden_layers"),
        "n_heads": config.take("num_attention_heads"),
        "n_kv_heads": config.take("num_key_value_heads"),
        "head_dim": config.take("head_dim"),
        "d_ff": config.take("intermediate_size"),
        "match": "width",
        "qkv_bias": bias,
        "output_bias": bias,
        "tied": config.take("tie_word_embeddings"),
    }


def common_keys(model: Any, bias: bool = True) -> dict[str, Any]:
    """The inverse of `common`; `bias` is False for types without a key for attention biases."""
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "num_key_value_heads": model.n_kv_heads or model.n_heads,
        "head_dim": model.width,
        "intermediate_size": model.hidden_width,
        **({"attention_bias": model.has_bias("qkv_bias")} if bias else {}),
        "tie_word_embeddings": model.tied,
    }


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields = common(config)
    return Transformer(
        **fields,
        activation=glu_of(config.activation("hidden_act")),
        feedforward_bias=config.take("mlp_bias"),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        **rope(config, fields["context"]),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **common_keys(model),
        **rope_keys(model),
        "hidden_act": activation_name(model.activation),
        "mlp_bias": model.has_bias("feedforward_bias"),
        "rms_norm_eps": model.norm_epsilon,
    }


def tensors(model: Any, norms: tuple[tuple[str, str], ...] = NORMS, scale: Layout = PLAIN) -> Iterator[Tensor]:
    """The tensors of a model, whose norms may have other names and another layout of the scale."""
    yield Tensor("model.embed_tokens.weight", ("token_embedding/embedding",))
    qkv, output, bias = (model.has_bias(name) for name in ("qkv_bias", "output_bias", "feedforward_bias"))
    inputs = [("gate_proj", "gate"), ("up_proj", "up")] if model.activation.gated else [("up_proj", "up")]
    for i in range(model.n_layers):
        theirs, ours = f"model.layers.{i}", f"layer_{i}"
        for name, short in (("query", "q"), ("key", "k"), ("value", "v")):
            yield from dense(f"{theirs}.self_attn.{short}_proj", f"{ours}/attention/{name}", qkv)
            if (model.qk_norm or model.joint_qk_norm) and name != "value":
                yield from norm(f"{theirs}.self_attn.{short}_norm", f"{ours}/attention/{name}_norm", model, scale)
        yield from dense(f"{theirs}.self_attn.o_proj", f"{ours}/attention/output", output)
        for their_name, name in (*inputs, ("down_proj", "down")):
            yield from dense(f"{theirs}.mlp.{their_name}", f"{ours}/feedforward/{name}", bias)
        yield from learned_activation(f"{theirs}.mlp.act_fn", f"{ours}/feedforward", model)
        for their_name, name in norms:
            yield from norm(f"{theirs}.{their_name}", f"{ours}/{name}", model, scale)
    yield from norm("model.norm", "final_norm", model, scale)


FORMAT = Format(
    *("llama", "LlamaForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=(r".*\.rotary_emb\.inv_freq",),
)
