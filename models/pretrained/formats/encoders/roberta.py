"""RoBERTa: BERT with other names, positions that skip padding, and another output layer.

In transformers a token is padding if it is the padding token; here only the mask decides. The two agree if the mask is
0 at the padding tokens and nowhere else.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from models.pretrained.config import Config
from models.pretrained.format import Format
from models.pretrained.formats.decoders.opt import POSITIONS
from models.pretrained.formats.encoders import bert
from models.pretrained.tensors import Layout, Tensor, dense, norm
from models.transformer import Transformer


def model(config: Config) -> Transformer:
    """The model of a config, with the head of masked language modelling."""
    config.expect("pad_token_id", 1)  # positions start at the next number
    fields = bert.fields(config)
    return Transformer(**{**fields, "context": fields["context"] - 2, "head_activation": "gelu"}, count_padding=False)


def config(model: Any) -> dict[str, Any]:
    """The config of a model."""
    return {**bert.config(model), "max_position_embeddings": model.context + 2, "pad_token_id": 1}


def tensors(model: Any) -> Iterator[Tensor]:
    """The tensors of a model."""
    yield from bert.body(model, "roberta", POSITIONS)
    yield from dense("lm_head.dense", "head_dense", True)
    yield from norm("lm_head.layer_norm", "head_norm", model)
    if model.tied:
        yield Tensor("lm_head.bias", ("head_bias",))
    else:
        yield Tensor("lm_head.decoder.bias", ("head/bias",))
        # Unused if the output layer has its own bias, but transformers requires it.
        yield Tensor("lm_head.bias", (), Layout(lambda x: (), lambda: jnp.zeros(model.vocab_size)))


FORMAT = Format(
    *("roberta", "RobertaForMaskedLM", "roberta.", model, config, tensors),
    causal=False,
    head="lm_head.decoder.weight",
    embedding="roberta.embeddings.word_embeddings.weight",
    ignored=(r"(roberta\.)?pooler\..*", r"(roberta\.)?embeddings\.(position|token_type)_ids", r"lm_head\.bias"),
    instead=(
        ("lm_head.bias", ("lm_head.decoder.bias",)),
        ("lm_head.decoder.bias", ("lm_head.decoder.bias", "lm_head.bias")),
    ),
)
