"""The Transformer: a stack of attention and feed-forward layers, whose families differ by fields."""

import difflib
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from models import activations
from models.attention import Attention, Positions, sinusoids
from models.dense import Dense, Initialization, initializer, project
from models.feedforward import FeedForward, Match, matched_width
from models.normalization import Norm, NormKind

Placement = Literal["pre", "post", "sandwich"]
ComputeType = Literal["float32", "bfloat16"]

CHOICES = {
    "match": Match,
    "norm": NormKind,
    "placement": Placement,
    "positions": Positions,
    "initialization": Initialization,
    "dtype": ComputeType,
}
SIZES = ("vocab_size", "context", "d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff", "d_ff_multiple")
POSITIVE = (*SIZES, "norm_epsilon", "rope_theta", "init_std")


class Block(nn.Module):
    """Attention, then feed-forward, each added to its input; `norm` makes the norms that `placement` asks for.

    "pre" normalizes a layer's input (Xiong et al. 2020), "post" the sum (Vaswani et al. 2017), "sandwich" the layer's
    input and its output (Ding et al. 2021).
    """

    attention: Attention
    feedforward: FeedForward
    norm: partial[Norm]
    placement: Placement

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length d_model"], mask: Shaped[Array, "batch length"] | None, *, train: bool
    ) -> Float[Array, "batch length d_model"]:
        """The residual stream after both layers."""
        x = self.add("attention", lambda y: self.attention(y, mask, train=train), x)
        return self.add("feedforward", lambda y: self.feedforward(y, train=train), x)

    @nn.nowrap
    def add(self, name: str, layer: Any, x: Array) -> Array:
        """The input x plus the layer's output."""
        match self.placement:
            case "pre":
                return x + layer(self.norm(name=f"{name}_norm")(x))
            case "post":
                return self.norm(name=f"{name}_norm")(x + layer(x))
            case "sandwich":
                return x + self.norm(name=f"{name}_output_norm")(layer(self.norm(name=f"{name}_norm")(x)))


class Transformer(nn.Module):
    """A decoder-only language model (Vaswani et al. 2017; Radford et al. 2019).

    Parameters, norms, softmax and logits are in float32. A seed gives every parameter of the same name and shape the
    same initial values whatever the activation, and whether `scan` is set or not: with it the layers' parameters are
    those of the separate layers, stacked under one name.
    """

    vocab_size: int = 256
    """Number of different tokens."""
    context: int = 1024
    """Longest input, in tokens; binding where positions are learned."""
    d_model: int = 64
    """Width of the residual stream."""
    n_layers: int = 2
    """Number of blocks."""
    n_heads: int = 4
    """Number of attention heads; must divide d_model."""
    n_kv_heads: int | None = None
    """Number of key and value heads, each shared by a group of heads; None: n_heads."""
    d_ff: int | None = None
    """Hidden width of a plain feed-forward layer, from which a gated one's is derived; None: 4 d_model."""
    activation: str | activations.Activation = "gelu"
    """Activation of the feed-forward layers, kept as an Activation if given by name; a gated one makes them gated."""
    match: Match = "parameters"
    """What a gated layer has in common with the plain one of width d_ff."""
    d_ff_multiple: int = 1
    """The gated width is rounded to a multiple of this."""
    norm: NormKind = "layernorm"
    """Kind of normalization."""
    norm_epsilon: float = 1e-5
    """Added to the variance or mean square."""
    placement: Placement = "pre"
    """Where a block normalizes: each layer's input, the sum, or each layer's input and output."""
    qk_norm: bool = False
    """Normalize each head's queries and keys (Henry et al. 2020)."""
    positions: Positions = "learned"
    """How the model knows a token's place."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    bias: bool = True
    """Biases in dense layers and LayerNorms."""
    tied: bool = True
    """The output layer is the transposed token embedding."""
    dropout: float = 0.0
    """Rate on embeddings, attention weights and each layer's output, in training only."""
    initialization: Initialization = "gpt2"
    """How kernels are drawn; gpt2 is normal, with the layers' output kernels scaled by 1/sqrt(2 n_layers)."""
    init_std: float = 0.02
    """Standard deviation of the normal initializations; the others draw embeddings with 1/sqrt(d_model)."""
    scan: bool = False
    """Run the layers as one compiled loop: compiles faster, runs slower on a CPU."""
    remat: bool = False
    """Compute each block again in the backward pass: less memory, a third more work."""
    dtype: ComputeType = "float32"
    """Type that layers compute in."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, if fields are not allowed or an input of this length does not fit."""
        for field, choices in CHOICES.items():
            value, allowed = getattr(self, field), get_args(choices)
            if value not in allowed:
                near = difflib.get_close_matches(str(value), allowed, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"{field} is '{value}', allowed are {', '.join(allowed)}{hint}")
        for field in POSITIVE:
            if (value := getattr(self, field)) is not None and not value > 0:
                raise ValueError(f"{field} is {value}, it must be positive")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads is {self.n_heads}, it must divide d_model, which is {self.d_model}")
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads is {self.n_kv_heads}, it must divide n_heads, which is {self.n_heads}")
        if self.positions == "rotary" and self.d_model // self.n_heads % 2:
            raise ValueError(
                f"positions 'rotary' need an even d_model / n_heads, which is {self.d_model // self.n_heads}"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"positions 'sinusoidal' need an even d_model, which is {self.d_model}")
        if self.qk_norm and self.norm == "none":
            raise ValueError("qk_norm is True but norm is 'none', allowed are layernorm, rmsnorm")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}, it must be at least 0 and less than 1")
        if length is not None and length > self.context and self.positions == "learned":
            raise ValueError(f"the input is {length} tokens long, but positions are learned for {self.context}")

    @property
    def hidden_width(self) -> int:
        """Hidden width of the feed-forward layers: d_ff, or the gated width that matches it."""
        d_ff = self.d_ff or 4 * self.d_model
        activation = activations.activation(self.activation)
        return matched_width(d_ff, activation, self.match, self.d_ff_multiple, self.d_model, self.bias)

    @nn.nowrap
    def init_with_output(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Output and variables; scanned layers are drawn as separate ones, by their names, then stacked."""
        if not self.scan:
            return super().init_with_output(rngs, *args, **kwargs)
        output, variables = self.clone(scan=False).init_with_output(rngs, *args, **kwargs)
        params = dict(variables["params"])
        layers = [params.pop(f"layer_{i}") for i in range(self.n_layers)]
        params["layers"] = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
        return output, {**variables, "params": params}

    @nn.compact
    def __call__(
        self,
        tokens: Integer[Array, "batch length"],
        mask: Shaped[Array, "batch length"] | None = None,
        *,
        train: bool = False,
    ) -> Float[Array, "batch length vocab_size"]:
        """Logits of each next token; `mask` is 1 at real tokens and 0 at padding, which then has no influence.

        Dropout draws from `rngs={"dropout": key}`, and only if `train`. Raises ValueError as `check` does.
        """
        length = tokens.shape[1]
        self.check(length)
        norm = partial(Norm, self.norm, self.norm_epsilon, self.bias)
        embed = self.embedding(self.vocab_size, "token_embedding")
        x = embed(tokens)
        if self.positions == "learned":
            x = x + self.embedding(self.context, "position_embedding")(jnp.arange(length))[None]
        if self.positions == "sinusoidal":
            x = x + sinusoids(length, self.d_model)[None].astype(x.dtype)
        x = nn.Dropout(self.dropout, deterministic=not train, name="dropout")(x)
        x = self.stack(x, mask, norm, train)
        if self.placement != "post":
            x = norm(name="final_norm")(x)
        if self.tied:
            return project(x, embed.embedding.astype(self.dtype).T, "float32")
        kernel_init = initializer(self.initialization, self.init_std)
        return Dense(self.vocab_size, False, self.dtype, "float32", kernel_init, name="head")(x)

    @nn.nowrap
    def embedding(self, n: int, name: str) -> nn.Embed:
        """A table of n vectors."""
        std = self.init_std if self.initialization in ("gpt2", "normal") else self.d_model**-0.5
        return nn.Embed(n, self.d_model, self.dtype, embedding_init=nn.initializers.normal(std), name=name)

    @nn.nowrap
    def block(self, name: str, norm: partial[Norm]) -> Block:
        """One block of the stack."""
        scale = (2 * self.n_layers) ** -0.5 if self.initialization == "gpt2" else 1.0
        common: dict[str, Any] = {
            "bias": self.bias,
            "dropout": self.dropout,
            "dtype": self.dtype,
            "kernel_init": initializer(self.initialization, self.init_std),
            "output_init": initializer(self.initialization, self.init_std, scale),
            "parent": None,
        }
        attention = Attention(
            self.n_heads,
            self.n_kv_heads or self.n_heads,
            positions=self.positions,
            rope_theta=self.rope_theta,
            norm=norm if self.qk_norm else None,
            **common,
        )
        feedforward = FeedForward(activations.activation(self.activation), self.hidden_width, **common)
        return Block(attention, feedforward, norm, self.placement, name=name)

    @nn.nowrap
    def stack(self, x: Array, mask: Array | None, norm: partial[Norm], train: bool) -> Array:
        """All blocks, one after another."""

        def run(block: Block, x: Array) -> Array:
            return block(x, mask, train=train)

        if self.remat:
            run = nn.remat(run, prevent_cse=not self.scan)
        if not self.scan:
            for i in range(self.n_layers):
                x = run(self.block(f"layer_{i}", norm), x)
            return x
        loop = nn.scan(
            lambda block, x, _: (run(block, x), None),
            variable_axes={"params": 0, "intermediates": 0},
            split_rngs={"dropout": True},
            length=self.n_layers,
        )
        return loop(self.block("layers", norm), x, None)[0]
