"""T5: an encoder-decoder with relative positions, RMS norms, and scores that are not scaled."""

from collections.abc import Iterator
from typing import Any

from models.activations import glu_of
from models.pretrained.config import Config, activation_name
from models.pretrained.format import Format
from models.pretrained.tensors import Tensor, dense, learned_activation, norm
from models.transformer import EncoderDecoder


def model(config: Config) -> EncoderDecoder:
    """The model of a config, of T5 1.0 and 1.1 alike."""
    config.expect("is_decoder", False)
    config.ignore("dense_act_fn", "is_gated_act")  # they follow from feed_forward_proj
    gate, _, name = config.take("feed_forward_proj", default="relu").rpartition("-")
    if gate not in ("", "gated"):
        raise config.unsupported("feed_forward_proj", f"{gate}-{name}", ("ACTIVATION", "gated-ACTIVATION"))
    # Published as gated-gelu, T5 1.1 was trained with the tanh form.
    pointwise = config.known_activation("feed_forward_proj", "gelu_new" if (gate, name) == ("gated", "gelu") else name)
    layers = config.take("num_layers", "num_hidden_layers", default=6)
    tied = config.take("tie_word_embeddings", default=True)
    return EncoderDecoder(
        vocab_size=config.take("vocab_size", default=32128),
        context=config.take("n_positions", default=512),
        d_model=config.take("d_model", "hidden_size", default=512),
        n_layers=config.take("num_decoder_layers", default=layers),
        n_encoder_layers=layers,
        n_heads=config.take("num_heads", "num_attention_heads", default=8),
        head_dim=config.take("d_kv", "head_dim", default=64),
        d_ff=config.take("d_ff", default=2048),
        match="width",
        activation=glu_of(pointwise) if gate else pointwise,
        norm="rmsnorm",
        norm_epsilon=config.take("layer_norm_epsilon", default=1e-6),
        bias=False,
        positions="relative",
        relative_buckets=config.take("relative_attention_num_buckets", default=32),
        relative_distance=config.take("relative_attention_max_distance", default=128),
        attention_scale=1.0,
        scale_output=config.take("scale_decoder_outputs", default=tied),
        tied=tied,
        initialization="lecun",
        embedding_std=1.0,
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    name = activation_name(model.activation)
    return {
        "vocab_size": model.vocab_size,
        "n_positions": model.context,
        "d_model": model.d_model,
        "num_layers": getattr(model, "n_encoder_layers", None) or model.n_layers,
        "num_decoder_layers": model.n_layers,
        "num_heads": model.n_heads,
        "d_kv": model.width,
        "d_ff": model.hidden_width,
        # The tanh form when gated: see above.
        "feed_forward_proj": f"gated-{name}".replace("gelu_pytorch_tanh", "gelu") if model.activation.gated else name,
        "layer_norm_epsilon": model.norm_epsilon,
        "relative_attention_num_buckets": model.relative_buckets,
        "relative_attention_max_distance": model.relative_distance,
        "scale_decoder_outputs": model.scale_output,
        "tie_word_embeddings": model.tied,
        "is_encoder_decoder": True,
        "pad_token_id": 0,
        "decoder_start_token_id": 0,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield Tensor("shared.weight", ("token_embedding/embedding",))
    yield from _side("encoder", "encoder_", model.n_encoder_layers or model.n_layers, model)
    yield from _side("decoder", "", model.n_layers, model)


def _side(side: str, prefix: str, layers: int, model: Any) -> Iterator[Tensor]:
    table = f"{side}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    yield Tensor(table, (f"{prefix}relative_bias/embedding",))
    parts = [("SelfAttention", "attention"), ("EncDecAttention", "cross_attention")][: 1 if prefix else 2]
    inputs = [("wi_0", "gate"), ("wi_1", "up")] if model.activation.gated else [("wi", "up")]
    for i in range(layers):
        theirs, ours = f"{side}.block.{i}.layer", f"{prefix}layer_{i}"
        for j, (their_part, part) in enumerate(parts):
            for their_name, name in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "output")):
                yield from dense(f"{theirs}.{j}.{their_part}.{their_name}", f"{ours}/{part}/{name}", False)
            yield from norm(f"{theirs}.{j}.layer_norm", f"{ours}/{part}_norm", model)
        last = f"{theirs}.{len(parts)}"
        for their_name, name in (*inputs, ("wo", "down")):
            yield from dense(f"{last}.DenseReluDense.{their_name}", f"{ours}/feedforward/{name}", False)
        yield from learned_activation(f"{last}.DenseReluDense.act", f"{ours}/feedforward", model)
        yield from norm(f"{last}.layer_norm", f"{ours}/feedforward_norm", model)
    yield from norm(f"{side}.final_layer_norm", f"{prefix}final_norm", model)


FORMAT = Format(
    *("t5", "T5ForConditionalGeneration", "", model, config, tensors),
    embedding="shared.weight",
    ignored=(r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",),
    copies=(("encoder.embed_tokens.weight", "shared.weight"), ("decoder.embed_tokens.weight", "shared.weight")),
)
