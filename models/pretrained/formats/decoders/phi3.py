"""Phi-3: LLaMA with fused queries, keys and values, and fused gate and up projections."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.layers.stack import in_turn
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders import llama
from models.pretrained.names import activation_name
from models.pretrained.rope import rope, rope_keys
from models.pretrained.tensors import Tensor, dense, learned_activation, norm, stacked_rows
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config."""
    fields, window = llama.common(config), config.take("sliding_window", positive=True)
    config.ignore("original_max_position_embeddings")  # of RoPE scaling, which is not supported
    return Transformer(
        **fields,
        **rope(config, fields["context"], fraction="partial_rotary_factor", kinds=("default",)),
        activation=glu_of(config.activation("hidden_act")),
        bias=False,
        norm="rmsnorm",
        norm_epsilon=config.take("rms_norm_eps"),
        windows=() if window is None else (window,),
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        **llama.common_keys(model, bias=False),
        **rope_keys(model, partial=True),
        "hidden_act": activation_name(model.activation),
        "rms_norm_eps": model.norm_epsilon,
        "sliding_window": in_turn(model.windows or (0,), 1)[0] or None,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    width, d_ff = model.width, model.hidden_width
    heads = tuple(n * width for n in (model.n_heads, *(model.n_kv_heads or model.n_heads,) * 2))
    yield Tensor("model.embed_tokens.weight", ("token_embedding/embedding",))
    for i in range(model.n_layers):
        theirs, ours = f"model.layers.{i}", f"layer_{i}"
        fused = tuple(f"{ours}/attention/{name}/kernel" for name in ("query", "key", "value"))
        yield Tensor(f"{theirs}.self_attn.qkv_proj.weight", fused, stacked_rows(*heads))
        yield from dense(f"{theirs}.self_attn.o_proj", f"{ours}/attention/output", False)
        fused = tuple(f"{ours}/feedforward/{name}/kernel" for name in ("gate", "up"))
        yield Tensor(f"{theirs}.mlp.gate_up_proj.weight", fused, stacked_rows(d_ff, d_ff))
        yield from dense(f"{theirs}.mlp.down_proj", f"{ours}/feedforward/down", False)
        yield from learned_activation(f"{theirs}.mlp.activation_fn", f"{ours}/feedforward", model)
        for their_name, name in llama.NORMS:
            yield from norm(f"{theirs}.{their_name}", f"{ours}/{name}", model)
    yield from norm("model.norm", "final_norm", model)


FORMAT = Format(
    *("phi3", "Phi3ForCausalLM", "model.", model, config, tensors),
    embedding="model.embed_tokens.weight",
    ignored=llama.FORMAT.ignored,
)
