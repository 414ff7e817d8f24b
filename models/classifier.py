"""Classifiers of texts: an encoder of tokens, and a layer that tells the class of all of them."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from models.layers.dense import Dense
from models.layers.stack import Given, check_choices, check_positive
from models.transformer import SequenceReader, Transformer

Pooling = Literal["first", "mean"]


class Classifier(SequenceReader):
    """An encoder that tells the class of a text, as BERT is fine-tuned (Devlin et al. 2018, section 4.1).

    What it has in common with the encoder of `Transformer` has the same fields, and parameters of the same paths. One
    dense layer stands behind the pooled vector. BERT has another one before it, with tanh, which was trained to tell
    whether a sentence follows another (section 3.1): files of masked language models have none, so there is none here.
    """

    classes: int = 2
    """Number of classes."""
    pooling: Pooling = "first"
    """What the class is told from: the last hidden state of the first token, or the mean over those that are real."""

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, if fields are not allowed or an input of this length does not fit."""
        check_choices(self, {"pooling": Pooling})
        check_positive(self, ("classes",))
        super().check(length)

    @nn.compact
    def __call__(
        self,
        tokens: Integer[Given, "batch length"],
        mask: Shaped[Given, "batch length"] | None = None,
        token_types: Integer[Given, "batch length"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch classes"]:
        """Logits of the classes, in float32; the last hidden state is sown as `last_hidden_state`.

        `mask` is 1 at real tokens and 0 at padding, which then has no influence. Token types are 0 unless given.
        Dropout draws from `rngs={"dropout": key}`, and only if `train`. Raises ValueError as `check` does.
        """
        self.check(tokens.shape[1])
        x = self.hidden(self.token_embedding, tokens, mask, token_types, train=train)
        self.sow("intermediates", "last_hidden_state", x)
        pooled = x[:, 0] if self.pooling == "first" else mean(x, mask)
        pooled = nn.Dropout(self.dropout, deterministic=not train, name="head_dropout")(pooled)
        return Dense(self.classes, True, self.dtype, "float32", self.kernel_init, name="head")(pooled)


def mean(
    x: Float[Array, "batch length features"], mask: Shaped[Given, "batch length"] | None
) -> Float[Array, "batch features"]:
    """The mean over the tokens whose mask is not 0, in float32; 0 where there are none."""
    real = jnp.ones(x.shape[:2]) if mask is None else (jnp.asarray(mask) != 0).astype(jnp.float32)
    total = jnp.einsum("blf,bl->bf", x.astype(jnp.float32), real)
    return total / jnp.maximum(real.sum(axis=1, keepdims=True), 1.0)


def classifier(model: Any, classes: int, pooling: Pooling = "first") -> Classifier:
    """The classifier of as many classes that reads as a `Transformer` does; what only tells of tokens is left out.

    Raises ValueError for a model that is no encoder.
    """
    if not isinstance(model, Transformer):
        raise ValueError(f"model is a {type(model).__name__}, a classifier is made of a Transformer that is an encoder")
    if model.architecture != "encoder":
        raise ValueError(f"architecture is '{model.architecture}', a classifier is made of an encoder")
    names = {field.name for field in dataclasses.fields(Classifier)} & {
        field.name for field in dataclasses.fields(model)
    }
    shared = {name: getattr(model, name) for name in names - {"parent", "name"}}
    return Classifier(**shared, classes=classes, pooling=pooling)
