"""Text classifiers: an encoder of tokens, followed by a layer that predicts the class of the text."""

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
    """An encoder that classifies a text, as BERT is fine-tuned (Devlin et al. 2018, section 4.1).

    It shares its fields and the paths of its parameters with the encoder of `Transformer`. The pooled vector is
    followed by one dense layer. BERT has another one before it, with tanh, trained to predict whether a sentence
    follows another (section 3.1); checkpoints of masked language models lack it, so it is omitted here.
    """

    classes: int = 2
    """Number of classes."""
    pooling: Pooling = "first"
    """Input of the last layer: the hidden state of the first token, or the mean over all tokens but padding."""

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
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
        """Class logits, in float32; the last hidden state is sown as `last_hidden_state`.

        `mask` is 1 at real tokens and 0 at padding, which is then ignored. Token types default to 0. Dropout is active
        only if `train`, and draws from `rngs={"dropout": key}`. Raises ValueError as `check` does.
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
    """The mean over the tokens with a nonzero mask, in float32; 0 if there are none."""
    real = jnp.ones(x.shape[:2]) if mask is None else (jnp.asarray(mask) != 0).astype(jnp.float32)
    total = jnp.einsum("blf,bl->bf", x.astype(jnp.float32), real)
    return total / jnp.maximum(real.sum(axis=1, keepdims=True), 1.0)


def classifier(model: Any, classes: int, pooling: Pooling = "first") -> Classifier:
    """The classifier with the encoder of a `Transformer`, without its output layer.

    Raises ValueError for a model that is not an encoder.
    """
    if not isinstance(model, Transformer):
        raise ValueError(f"model is a {type(model).__name__}: a classifier needs a Transformer that is an encoder")
    if model.architecture != "encoder":
        raise ValueError(f"architecture is '{model.architecture}': a classifier needs an encoder")
    names = {field.name for field in dataclasses.fields(Classifier)} & {
        field.name for field in dataclasses.fields(model)
    }
    shared = {name: getattr(model, name) for name in names - {"parent", "name"}}
    return Classifier(**shared, classes=classes, pooling=pooling)
