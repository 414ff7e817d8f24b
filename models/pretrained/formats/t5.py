"""T5: an encoder-decoder with relative positions, RMS norms and unscaled attention scores."""

from collections.abc import Iterator
from typing import Any

from models.activations import Activation, glu_of
from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import Tensor, dense, learned_activation, norm
from models.transformer import EncoderDecoder


def model(config: Config) -> EncoderDecoder:
    """The model of a config of T5 1.0 or 1.1."""
    config.expect("is_decoder", False)
    pointwise, gated = _activation(config)
    layers, tied = config.take("num_layers"), config.take("tie_word_embeddings") is not False
    scaled = config.take("scale_decoder_outputs")
    return EncoderDecoder(
        vocab_size=config.take("vocab_size"),
        context=config.beside("n_positions", "int", 512),
        d_model=config.take("d_model"),
        n_layers=config.take("num_decoder_layers") or layers,
        n_encoder_layers=layers,
        n_heads=config.take("num_heads"),
        head_dim=config.take("d_kv"),
        d_ff=config.take("d_ff"),
        match="width",
        activation=glu_of(pointwise) if gated else pointwise,
        norm="rmsnorm",
        norm_epsilon=config.take("layer_norm_epsilon"),
        bias=False,
        positions="relative",
        relative_buckets=config.take("relative_attention_num_buckets"),
        relative_distance=config.take("relative_attention_max_distance"),
        attention_scale=1.0,
        scale_output=tied if scaled is None else scaled,
        tied=tied,
        initialization="lecun",
        embedding_std=1.0,
    )


def _activation(config: Config) -> tuple[Activation, bool]:
    """The pointwise activation, and whether it is gated; two other keys take precedence over feed_forward_proj."""
    name = config.take("feed_forward_proj")
    gate, _, own = name.rpartition("-")
    if gate not in ("", "gated"):
        config.unsupported("feed_forward_proj", name, ("ACTIVATION", "gated-ACTIVATION"))
    gated, given = config.take("is_gated_act"), config.take("dense_act_fn")
    # T5 1.1 is published as gated-gelu, but was trained with the tanh form.
    own = "gelu_new" if name == "gated-gelu" else own
    found = config.known_activation("dense_act_fn" if given else "feed_forward_proj", given or own)
    return found, gate == "gated" if gated is None else gated


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
        "feed_forward_proj": f"gated-{name}" if model.activation.gated else name,
        "dense_act_fn": name,  # only "gated-gelu" means the tanh form
        "is_gated_act": model.activation.gated,
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
