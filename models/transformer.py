"""Transformers for tokens: decoder, encoder and encoder-decoder; families differ by their fields."""

import math
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Integer, Shaped

from models import activations
from models.layers.attention import AttentionContext
from models.layers.dense import Dense
from models.layers.logits import Logits
from models.layers.stack import Given, Stack, check_choices, check_positive

Architecture = Literal["decoder", "encoder"]


class Reader(Stack):
    """A stack that reads tokens."""

    vocab_size: int = 256
    """Vocabulary size."""
    context: int = 1024
    """Longest input, in tokens; enforced if positions are learned."""
    embedding_dim: int | None = None
    """Width of the token embedding, if not d_model; it is projected to d_model, and back before the output layer."""
    scale_embeddings: bool = False
    """Multiply token embeddings by sqrt(d_model)."""

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_positive(self, ("vocab_size", "context", "embedding_dim"))
        super().check(length)
        if length is not None and length > self.context and self.positions == "learned":
            raise ValueError(f"the input is {length} tokens long, but positions are learned for {self.context}")

    @property
    def token_embedding(self) -> nn.Embed:
        """The token embedding."""
        return self.embedding(self.vocab_size, "token_embedding", self.embedding_dim)

    @nn.nowrap
    def vectors(self, embed: nn.Embed, tokens: Given, prefix: str = "") -> Float[Array, "batch length d_model"]:
        """The tokens as vectors of width d_model."""
        x = embed(tokens)
        if self.embedding_dim is not None:
            x = Dense(self.d_model, False, self.dtype, kernel_init=self.kernel_init, name=f"{prefix}embedding_in")(x)
        return x * jnp.asarray(math.sqrt(self.d_model), x.dtype) if self.scale_embeddings else x

    @nn.nowrap
    def placed(self, x: Array, positions: Array, train: bool, prefix: str = "") -> Float[Array, "batch length d_model"]:
        """The input of the first layer."""
        x = self.place(x, positions, self.context, prefix)
        if self.embedding_norm:
            x = self.normalize(f"{prefix}embedding_norm")(x)
        return nn.Dropout(self.dropout, deterministic=not train, name=f"{prefix}dropout")(x)


class LanguageModel(Reader):
    """A stack that reads tokens and returns logits over the vocabulary."""

    scale_output: bool = False
    """Multiply the last hidden state by 1/sqrt(d_model)."""
    tied: bool = True
    """The output layer is the transposed token embedding."""
    head_activation: str | activations.Activation | None = None
    """Activation of a dense layer, with a norm, before the output layer (BERT); None: no such layer."""
    head_bias: bool = False
    """Bias of the output layer."""
    logit_cap: float | None = None
    """Soft cap of the logits, by tanh."""
    logit_chunk: int = 0
    """Number of tokens whose logits are computed at once, as `Logits`; 0: all, as an array."""

    def __post_init__(self) -> None:
        if self.head_activation is not None:
            self.head_activation = activations.activation(self.head_activation)
        super().__post_init__()

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_positive(self, ("logit_cap",))
        if self.logit_chunk < 0:
            raise ValueError(f"logit_chunk is {self.logit_chunk}: it must be positive, or 0 for all")
        super().check(length)
        head = None if self.head_activation is None else activations.activation(self.head_activation)
        if head is not None and head.gated:
            raise ValueError(f"head_activation is {head!r}, which is gated: it must be pointwise")
        if head is not None and head.sampled is not None:
            raise ValueError(f"head_activation is {head!r}, which is stochastic: only feed-forward layers draw")

    @nn.nowrap
    def logits(
        self, x: Float[Array, "batch length d_model"], embed: nn.Embed
    ) -> Float[Array, "batch length vocab"] | Logits:
        """Logits of the last hidden state, in float32; the state is sown as `last_hidden_state`."""
        width = self.embedding_dim or self.d_model
        if self.embedding_dim is not None:
            x = Dense(width, False, self.dtype, kernel_init=self.kernel_init, name="embedding_out")(x)
        self.sow("intermediates", "last_hidden_state", x)
        if self.head_activation is not None:
            x = Dense(width, self.bias, self.dtype, kernel_init=self.kernel_init, name="head_dense")(x)
            x = self.normalize("head_norm")(activations.activation(self.head_activation)(x))
        if self.scale_output:
            x = x * jnp.asarray(self.d_model**-0.5, x.dtype)
        kernel, bias = self.output_weights(width, embed)
        logits = Logits(x.astype(self.dtype), kernel.astype(self.dtype), bias, self.logit_cap, self.logit_chunk)
        return logits if self.logit_chunk else jnp.asarray(logits)

    @nn.nowrap
    def output_weights(self, width: int, embed: nn.Embed) -> tuple[Array, Array | None]:
        """Kernel [width, vocab_size] and bias of the output layer."""
        if not self.tied:
            head = Dense(self.vocab_size, self.head_bias, kernel_init=self.kernel_init, name="head")
            return head.weights(width)
        bias = self.param("head_bias", nn.initializers.zeros, (self.vocab_size,)) if self.head_bias else None
        return embed.embedding.T, bias


class SequenceReader(Reader):
    """A stack that reads one sequence of tokens, some of which may be padding."""

    token_types: int = 0
    """Number of token types, each with a learned vector; 0: none."""
    count_padding: bool = True
    """Padding counts when positions are numbered."""

    @nn.nowrap
    def hidden(
        self,
        embed: nn.Embed,
        tokens: Integer[Given, "batch length"],
        mask: Shaped[Given, "batch keys"] | None,
        token_types: Integer[Given, "batch length"] | None,
        *,
        causal: bool = False,
        positions: Int[Given, "batch length"] | None = None,
        slot: Any = None,
        train: bool,
    ) -> Float[Array, "batch length d_model"]:
        """The last hidden state of every token; see `Transformer` for the arguments."""
        places = self.counted(tokens.shape[1], mask, slot) if positions is None else jnp.asarray(positions)
        x = self.vectors(embed, tokens)
        if self.token_types:
            types = jnp.zeros_like(tokens) if token_types is None else token_types
            x = x + self.embedding(self.token_types, "type_embedding")(types)
        x = self.placed(x, places, train)
        return self.layers(x, self.attention_context(places, causal, mask, slot), train=train)

    @nn.nowrap
    def counted(self, length: int, mask: Given | None, slot: Any) -> Int[Array, "_ length"]:
        """The positions of the tokens, counted from 0."""
        start = 0 if slot is None else slot
        if self.count_padding or mask is None:
            return (start + jnp.arange(length))[None]
        real = jnp.maximum(jnp.cumsum((mask != 0).astype(jnp.int32), axis=1) - 1, 0)
        return real if slot is None else jax.lax.dynamic_slice_in_dim(real, start, length, axis=1)


class Transformer(SequenceReader, LanguageModel):
    """A causal decoder (Radford et al. 2019), or a bidirectional encoder (Devlin et al. 2018)."""

    architecture: Architecture = "decoder"
    """Tokens of a decoder attend to earlier ones, those of an encoder to all."""

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_choices(self, {"architecture": Architecture})
        super().check(length)

    @nn.compact
    def __call__(
        self,
        tokens: Integer[Given, "batch length"],
        mask: Shaped[Given, "batch keys"] | None = None,
        token_types: Integer[Given, "batch length"] | None = None,
        *,
        positions: Int[Given, "batch length"] | None = None,
        slot: Any = None,
        train: bool = False,
    ) -> Float[Array, "batch length vocab_size"] | Logits:
        """Logits of the next token at each position of a decoder, of the token itself with an encoder.

        `mask` is 1 at real tokens and 0 at padding, which is then ignored; other values are document numbers, and a
        token attends only within its document. Token types default to 0, and positions count from 0. With `slot`, a
        number that may be traced, keys and values are kept in the collection "cache": the tokens are written from
        `slot` on to a cache as long as the mask, and attend to those of earlier calls. Dropout is active only if
        `train`, and draws from `rngs={"dropout": key}`. Raises ValueError as `check` does.
        """
        self.check(tokens.shape[1])
        embed, causal = self.token_embedding, self.architecture == "decoder"
        x = self.hidden(embed, tokens, mask, token_types, causal=causal, positions=positions, slot=slot, train=train)
        return self.logits(x, embed)


class EncoderDecoder(LanguageModel):
    """A decoder that attends to the output of an encoder with the same fields (Raffel et al. 2020)."""

    n_encoder_layers: int | None = None
    """Number of blocks of the encoder; None: n_layers, the number of the decoder."""

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_positive(self, ("n_encoder_layers",))
        super().check(length)

    @nn.compact
    def __call__(
        self,
        encoder_tokens: Integer[Given, "batch keys"] | None,
        decoder_tokens: Integer[Given, "batch length"],
        mask: Shaped[Given, "batch keys"] | None = None,
        *,
        decoder_mask: Shaped[Given, "batch cached"] | None = None,
        slot: Any = None,
        train: bool = False,
    ) -> Float[Array, "batch length vocab_size"] | Logits:
        """Logits of the next decoder token; `mask` and `decoder_mask` are 1 at real tokens and 0 at padding.

        With `slot`, keys and values are kept in the collection "cache" (see `Transformer`); after the call that passes
        the encoder's tokens they may be None. Raises ValueError as `check` does.
        """
        embed = self.token_embedding
        encoded = None
        if encoder_tokens is not None:
            self.check(encoder_tokens.shape[1])
            places = jnp.arange(encoder_tokens.shape[1])[None]
            x = self.placed(self.vectors(embed, encoder_tokens, "encoder_"), places, train, "encoder_")
            context = self.attention_context(places, False, mask, prefix="encoder_")
            n = self.n_encoder_layers or self.n_layers
            encoded = self.layers(x, context, n=n, prefix="encoder_", train=train)
        self.check(decoder_tokens.shape[1])
        places = ((0 if slot is None else slot) + jnp.arange(decoder_tokens.shape[1]))[None]
        x = self.placed(self.vectors(embed, decoder_tokens), places, train)
        seen = None if mask is None else (mask != 0)[:, None, None, :]
        context = self.attention_context(places, True, decoder_mask, slot)
        x = self.layers(x, context, encoded, AttentionContext(allowed=seen, slot=slot, real=context.real), train=train)
        return self.logits(x, embed)
