"""GPT-J: parallel layers with a shared norm, RoPE on adjacent pairs, an output bias."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import Tensor, dense, interleaved, learned_activation, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    d_model, n_heads = config.take("n_embd", positive=True), config.take("n_head", positive=True)
    return Transformer(
        vocab_size=config.take("vocab_size"),
        context=config.take("n_positions"),
        d_model=d_model,
        n_layers=config.take("n_layer"),
        n_heads=n_heads,
        d_ff=config.take("n_inner", positive=True) or 4 * d_model,
        match="width",
        activation=config.activation("activation_function"),
        norm_epsilon=config.take("layer_norm_epsilon"),
        residual="parallel_shared",
        positions="rotary",
        rotary_fraction=config.take("rotary_dim") * n_heads / d_model,
        qkv_bias=False,
        output_bias=False,
        head_bias=True,
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
        "rotary_dim": model.rotary_features,
        "activation_function": activation_name(model.activation),
        "layer_norm_epsilon": model.norm_epsilon,
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    interleaved_pairs = interleaved(model.n_heads, model.rotary_features)
    yield Tensor("transformer.wte.weight", ("token_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"transformer.h.{i}", f"layer_{i}"
        yield from norm(f"{theirs}.ln_1", f"{ours}/attention_norm", model)
        yield from dense(f"{theirs}.attn.q_proj", f"{ours}/attention/query", False, interleaved_pairs)
        yield from dense(f"{theirs}.attn.k_proj", f"{ours}/attention/key", False, interleaved_pairs)
        yield from dense(f"{theirs}.attn.v_proj", f"{ours}/attention/value", False)
        yield from dense(f"{theirs}.attn.out_proj", f"{ours}/attention/output", False)
        yield from dense(f"{theirs}.mlp.fc_in", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.mlp.act", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.mlp.fc_out", f"{ours}/feedforward/down", True)
    yield from norm("transformer.ln_f", "final_norm", model)
    yield Tensor("lm_head.bias", ("head_bias" if model.tied else "head/bias",))


FORMAT = Format(
    *("gptj", "GPTJForCausalLM", "transformer.", model, config, tensors),
    embedding="transformer.wte.weight",
    ignored=(r".*\.attn\.(masked_)?bias", r".*\.attn\.embed_positions"),
)
