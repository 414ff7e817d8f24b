"""DistilBERT: BERT without token types, with other names."""

from collections.abc import Iterator
from typing import Any

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import Tensor, dense, learned_activation, norm
from models.transformer import Transformer

LINEAR = (("q_lin", "query"), ("k_lin", "key"), ("v_lin", "value"), ("out_lin", "output"))


def model(config: Config) -> Transformer:
    """The model of a config, with the head of masked language modelling."""
    config.ignore("sinusoidal_pos_embds")  # how the position table was initialized
    activation = config.activation("activation")
    return Transformer(
        architecture="encoder",
        vocab_size=config.take("vocab_size"),
        context=config.take("max_position_embeddings"),
        d_model=config.take("dim"),
        n_layers=config.take("n_layers"),
        n_heads=config.take("n_heads"),
        d_ff=config.take("hidden_dim"),
        match="width",
        activation=activation,
        head_activation=activation,
        head_bias=True,
        norm_epsilon=1e-12,
        placement="post",
        embedding_norm=True,
        tied=config.take("tie_word_embeddings"),
        initialization="truncated",
    )


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "dim": model.d_model,
        "n_layers": model.n_layers,
        "n_heads": model.n_heads,
        "hidden_dim": model.hidden_width,
        "activation": activation_name(model.activation),
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    for name, ours in (("word", "token"), ("position", "position")):
        yield Tensor(f"distilbert.embeddings.{name}_embeddings.weight", (f"{ours}_embedding/embedding",))
    yield from norm("distilbert.embeddings.LayerNorm", "embedding_norm", model)
    for i in range(model.n_layers):
        theirs, ours = f"distilbert.transformer.layer.{i}", f"layer_{i}"
        for their_name, name in LINEAR:
            yield from dense(f"{theirs}.attention.{their_name}", f"{ours}/attention/{name}", True)
        yield from norm(f"{theirs}.sa_layer_norm", f"{ours}/attention_norm", model)
        yield from dense(f"{theirs}.ffn.lin1", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.ffn.activation", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.ffn.lin2", f"{ours}/feedforward/down", True)
        yield from norm(f"{theirs}.output_layer_norm", f"{ours}/feedforward_norm", model)
    yield from dense("vocab_transform", "head_dense", True)
    yield from norm("vocab_layer_norm", "head_norm", model)
    yield Tensor("vocab_projector.bias", ("head_bias" if model.tied else "head/bias",))


FORMAT = Format(
    *("distilbert", "DistilBertForMaskedLM", "distilbert.", model, config, tensors),
    causal=False,
    head="vocab_projector.weight",
    embedding="distilbert.embeddings.word_embeddings.weight",
    ignored=(r"(distilbert\.)?embeddings\.position_ids",),
)
