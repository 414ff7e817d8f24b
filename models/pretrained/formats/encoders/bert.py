"""BERT: an encoder with a norm after each sum, token types, and a dense layer before the output."""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.names import activation_name
from models.pretrained.tensors import PLAIN, Layout, Tensor, dense, learned_activation, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config, with the head of masked language modelling."""
    return Transformer(**fields(config))


def fields(config: Config) -> dict[str, Any]:
    """The fields of BERT, and of types that use its names."""
    config.expect("is_decoder", False)
    config.expect("add_cross_attention", False)
    activation = config.activation("hidden_act")
    return {
        "architecture": "encoder",
        "vocab_size": config.take("vocab_size"),
        "context": config.take("max_position_embeddings"),
        "token_types": config.take("type_vocab_size"),
        "d_model": config.take("hidden_size"),
        "n_layers": config.take("num_hidden_layers"),
        "n_heads": config.take("num_attention_heads"),
        "d_ff": config.take("intermediate_size"),
        "match": "width",
        "activation": activation,
        "head_activation": activation,
        "head_bias": True,
        "norm_epsilon": config.take("layer_norm_eps"),
        "placement": "post",
        "embedding_norm": True,
        "tied": config.take("tie_word_embeddings"),
        "initialization": "truncated",
    }


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {
        "vocab_size": model.vocab_size,
        "max_position_embeddings": model.context,
        "type_vocab_size": model.token_types,
        "hidden_size": model.d_model,
        "num_hidden_layers": model.n_layers,
        "num_attention_heads": model.n_heads,
        "intermediate_size": model.hidden_width,
        "hidden_act": activation_name(model.activation),
        "layer_norm_eps": model.norm_epsilon,
        "tie_word_embeddings": model.tied,
    }


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield from body(model, "bert")
    yield from dense("cls.predictions.transform.dense", "head_dense", True)
    yield from norm("cls.predictions.transform.LayerNorm", "head_norm", model)
    if model.tied:
        yield Tensor("cls.predictions.bias", ("head_bias",))
    else:
        yield Tensor("cls.predictions.decoder.bias", ("head/bias",))
        # Unused if the output layer has its own bias, but transformers requires it.
        yield Tensor("cls.predictions.bias", (), Layout(lambda x: (), lambda: jnp.zeros(model.vocab_size)))


def body(model: Any, base: str, positions: Layout = PLAIN) -> Iterator[Tensor]:
    """The tensors of a model without its head, named by the base model; `positions` is their layout."""
    for theirs, ours, layout in (("word", "token", PLAIN), ("position", "position", positions)):
        yield Tensor(f"{base}.embeddings.{theirs}_embeddings.weight", (f"{ours}_embedding/embedding",), layout)
    yield Tensor(f"{base}.embeddings.token_type_embeddings.weight", ("type_embedding/embedding",))
    yield from norm(f"{base}.embeddings.LayerNorm", "embedding_norm", model)
    for i in range(model.n_layers):
        theirs, ours = f"{base}.encoder.layer.{i}", f"layer_{i}"
        for name in ("query", "key", "value"):
            yield from dense(f"{theirs}.attention.self.{name}", f"{ours}/attention/{name}", True)
        yield from dense(f"{theirs}.attention.output.dense", f"{ours}/attention/output", True)
        yield from norm(f"{theirs}.attention.output.LayerNorm", f"{ours}/attention_norm", model)
        yield from dense(f"{theirs}.intermediate.dense", f"{ours}/feedforward/up", True)
        yield from learned_activation(f"{theirs}.intermediate.intermediate_act_fn", f"{ours}/feedforward", model)
        yield from dense(f"{theirs}.output.dense", f"{ours}/feedforward/down", True)
        yield from norm(f"{theirs}.output.LayerNorm", f"{ours}/feedforward_norm", model)


FORMAT = Format(
    *("bert", "BertForMaskedLM", "bert.", model, config, tensors),
    causal=False,
    head="cls.predictions.decoder.weight",
    embedding="bert.embeddings.word_embeddings.weight",
    ignored=(
        *(r"(bert\.)?pooler\..*", r"cls\.seq_relationship\..*", r"(bert\.)?embeddings\.(position|token_type)_ids"),
        r"cls\.predictions\.bias",  # if the output layer has its own bias
    ),
    instead=(
        ("cls.predictions.bias", ("cls.predictions.decoder.bias",)),
        ("cls.predictions.decoder.bias", ("cls.predictions.decoder.bias", "cls.predictions.bias")),
    ),
)
