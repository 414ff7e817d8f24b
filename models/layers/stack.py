"""A stack of attention and feed-forward layers on a residual stream, shared by all Transformers here."""

from dataclasses import field
from functools import partial
from typing import Any, Literal, get_args

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, Shaped

from lab.files.choices import check_choice
from models import activations
from models.layers import telemetry
from models.layers.attention import Attention, AttentionContext, allowed_pairs
from models.layers.block import Block, NormPlacement, Residual
from models.layers.dense import Initialization, deviation, initializer
from models.layers.feedforward import FeedForward, Match, matched_width, second_moment
from models.layers.normalization import WITH_BIAS, Norm, NormKind
from models.layers.positions import Positions, RopeScaling, alibi, relative_buckets, rotations, sinusoids
from models.layers.scanned import stacked

ComputeType = Literal["float32", "bfloat16"]
Given = Array | np.ndarray  # an array as users may pass it

CHOICES = {
    "match": Match,
    "norm": NormKind,
    "placement": NormPlacement,
    "residual": Residual,
    "positions": Positions,
    "initialization": Initialization,
    "dtype": ComputeType,
}
NEWER = {"since": "0.2.0"}
SIZES = ("d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "d_ff_multiple")
POSITIVE = (*SIZES, "norm_epsilon", "rope_theta", "rotary_fraction", "attention_cap", "init_std", "embedding_std")


class Stack(nn.Module):
    """A stack of blocks; subclasses define its inputs and outputs.

    Parameters, norms, softmax and outputs are in float32. For a given seed, parameters of the same name and shape have
    the same initial values with any activation, and with or without `scan`, which stacks the parameters of the separate
    layers under one name.
    """

    d_model: int = 64
    """Width of the residual stream."""
    n_layers: int = 2
    """Number of blocks."""
    n_heads: int = 4
    """Number of attention heads; must divide d_model unless head_dim is given."""
    n_kv_heads: int | None = None
    """Number of key and value heads, each shared by a group of heads; None: n_heads."""
    head_dim: int | None = None
    """Features of a head; None: d_model / n_heads."""
    d_ff: int | None = None
    """Hidden width of a plain feed-forward layer; that of a gated one is derived from it; None: 4 d_model."""
    activation: str | activations.Activation = "gelu"
    """Activation of the feed-forward layers, a name or an Activation; a gated one makes them gated."""
    match: Match = "parameters"
    """Quantity that a gated layer shares with the plain one of width d_ff."""
    d_ff_multiple: int = 1
    """The gated width is rounded to a multiple of this."""
    match_variance: bool = False
    """Scale the feed-forward layers' initial output kernels so that the output variance equals gelu's at width d_ff."""
    norm: NormKind = "layernorm"
    """Kind of normalization."""
    norm_epsilon: float = 1e-5
    """Added to the variance or mean square."""
    placement: NormPlacement = "pre"
    """Where a block normalizes: each layer's input, the sum, a layer's input and output, the input of both, or the
    output."""
    residual: Residual = "sequential"
    """Whether a block's layers run in sequence or read the same input, through separate norms or a shared one; none: in
    sequence, without adding their input."""
    final_norm: bool | None = None
    """Normalize the last layer's output; None: unless placement is post."""
    embedding_norm: bool = False
    """Normalize the embeddings."""
    qk_norm: bool = False
    """Normalize each head's queries and keys (Henry et al. 2020)."""
    joint_qk_norm: bool = field(default=False, metadata=NEWER)
    """Normalize the queries, and the keys, of all heads together (Team OLMo 2024)."""
    attention_scale: float | None = None
    """Factor of the attention scores; None: 1/sqrt(head_dim). The initialization of the queries compensates for it."""
    scale_by_layer: bool = False
    """Divide the attention scores of layer i, counted from 1, by i."""
    attention_cap: float | None = None
    """Soft cap of the attention scores, by tanh."""
    windows: tuple[int, ...] = ()
    """Attention window of each layer in turn, in tokens including the query's; (4096, 0) alternates; 0: unlimited."""
    positions: Positions = "learned"
    """Kind of position encoding."""
    rope_theta: float = 10_000.0
    """Base of the rotary frequencies."""
    rope_thetas: tuple[float, ...] = field(default=(), metadata=NEWER)
    """Rotary base of each layer in turn, instead of rope_theta; 0: not rotated. Only rope_theta is scaled."""
    rotary_fraction: float = 1.0
    """Fraction of a head's features that is rotated."""
    rope_scaling: RopeScaling | None = None
    """Scaling of the rotary frequencies for a longer context."""
    relative_buckets: int = 32
    """Number of learned relative positions (T5)."""
    relative_distance: int = 128
    """Distance from which all tokens share the last relative position."""
    bias: bool = True
    """Biases in dense layers and norms but RMSNorms, unless a field below says otherwise."""
    qkv_bias: bool | None = None
    """Biases of queries, keys and values."""
    output_bias: bool | None = None
    """Bias of attention's output."""
    feedforward_bias: bool | None = None
    """Biases of feed-forward layers."""
    norm_bias: bool | None = None
    """Biases of norms; RMSNorms have none unless this is True."""
    norm_scale: bool = True
    """Norms have learned parameters."""
    dropout: float = 0.0
    """Dropout rate on embeddings, attention weights and each layer's output, in training only."""
    initialization: Initialization = "gpt2"
    """Initialization of kernels; gpt2 is normal, with the layers' output kernels scaled by 1/sqrt(2 n_layers)."""
    init_std: float = 0.02
    """Standard deviation of the normal initializations."""
    embedding_std: float | None = None
    """Standard deviation of embeddings; None: init_std if kernels use it, else 1/sqrt(d_model)."""
    scan: bool = False
    """Run the layers as one compiled loop: compiles faster, runs slower on a CPU."""
    remat: bool = False
    """Recompute each block in the backward pass: less memory, a third more work."""
    dtype: ComputeType = "float32"
    """Type in which layers compute."""
    source: str = field(default="", compare=False)
    """Hugging Face folder from which the model was read; `models.pretrained.save` copies its tokenizer."""

    def __post_init__(self) -> None:
        self.activation = activations.activation(self.activation)
        super().__post_init__()

    @property
    def width(self) -> int:
        """Features of a head."""
        return self.head_dim or self.d_model // self.n_heads

    @property
    def hidden_width(self) -> int:
        """Hidden width of the feed-forward layers: d_ff, or the matched width of gated ones."""
        activation, bias = activations.activation(self.activation), self.has_bias("feedforward_bias")
        d_ff = self.d_ff or 4 * self.d_model
        return matched_width(d_ff, activation, self.match, self.d_ff_multiple, self.d_model, bias)

    @property
    def variance_ratio(self) -> float:
        """Factor of the variance of a feed-forward layer's initial outputs, for inputs of unit variance."""
        if not self.match_variance:
            return 1.0

        def variance(activation: activations.Activation, width: int) -> float:
            inner = deviation(self.initialization, self.init_std, self.d_model, width) * self.d_model**0.5
            outer = deviation(self.initialization, self.init_std, width, self.d_model)
            return width * outer**2 * second_moment(activation, inner)

        own = variance(activations.activation(self.activation), self.hidden_width)
        return variance(activations.activation("gelu"), self.d_ff or 4 * self.d_model) / own

    @property
    def has_final_norm(self) -> bool:
        """Whether the last layer's output is normalized."""
        return self.placement != "post" if self.final_norm is None else self.final_norm

    @nn.nowrap
    def has_bias(self, field: str) -> bool:
        """The value of a bias field, or `bias` if it is None."""
        return self.bias if getattr(self, field) is None else getattr(self, field)

    @property
    def has_norm_bias(self) -> bool:
        """Whether norms have biases: `norm_bias`, or, unless they are RMSNorms, `bias` if that is None."""
        return (self.bias and self.norm in WITH_BIAS) if self.norm_bias is None else self.norm_bias

    @nn.nowrap
    def check(self, length: int | None = None) -> None:
        """Raises ValueError, in one sentence, for invalid fields or an input length that does not fit."""
        check_choices(self, CHOICES)
        check_positive(self, POSITIVE)
        if self.head_dim is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads is {self.n_heads}: it must divide d_model, which is {self.d_model}")
        if self.n_kv_heads is not None and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads is {self.n_kv_heads}: it must divide n_heads, which is {self.n_heads}")
        if not self.rotary_fraction <= 1:
            raise ValueError(f"rotary_fraction is {self.rotary_fraction}: it must be at most 1")
        if self.positions == "rotary" and (self.rotary_features % 2 or not self.rotary_features):
            raise ValueError(
                f"positions 'rotary' need an even number of rotated features, which is {self.rotary_features}: "
                f"{self.rotary_fraction} of {self.width}"
            )
        if self.positions == "sinusoidal" and self.d_model % 2:
            raise ValueError(f"positions 'sinusoidal' need an even d_model, which is {self.d_model}")
        if self.positions == "relative" and not 4 <= self.relative_buckets < 4 * self.relative_distance:
            raise ValueError(
                f"relative_buckets is {self.relative_buckets}: it must be at least 4 and less than 4 relative_distance"
            )
        for name in ("windows", "rope_thetas"):
            if any(value < 0 for value in getattr(self, name)):
                raise ValueError(f"{name} are {getattr(self, name)}, which must not be negative")
        for name in ("qk_norm", "joint_qk_norm"):
            if getattr(self, name) and self.norm == "none":
                allowed = "layernorm, rmsnorm, centred_rmsnorm, dyt, derf"
                raise ValueError(f"{name} is True but norm is 'none': allowed values are {allowed}")
        if self.qk_norm and self.joint_qk_norm:
            raise ValueError("qk_norm and joint_qk_norm are both True, only one of them may be")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: it must be at least 0 and less than 1")

    @property
    def bases(self) -> tuple[float, ...]:
        """The distinct bases of the rotary frequencies."""
        return tuple(dict.fromkeys(self.rope_thetas)) or (self.rope_theta,)

    @property
    def rotary_features(self) -> int:
        """Number of rotated features per head."""
        return int(self.width * self.rotary_fraction)

    @nn.nowrap
    def init_with_output(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
        """Output and variables; scanned layers are initialized as separate layers, by name, and then stacked."""
        if not self.scan:
            return super().init_with_output(rngs, *args, **kwargs)
        output, variables = self.clone(scan=False).init_with_output(rngs, *args, **kwargs)
        return output, {**variables, "params": stacked(variables["params"])}

    @nn.nowrap
    def embedding(self, n: int, name: str, features: int | None = None) -> nn.Embed:
        """An embedding of n vectors."""
        drawn_with_std = self.initialization in ("gpt2", "normal", "truncated")
        std = self.embedding_std or (self.init_std if drawn_with_std else self.d_model**-0.5)
        draw = nn.initializers.normal(std)
        return nn.Embed(n, features or self.d_model, self.dtype, embedding_init=draw, name=name)

    @nn.nowrap
    def normalize(self, name: str) -> Norm:
        """One norm."""
        return self.norms(name=name)

    @property
    def norms(self) -> partial[Norm]:
        """The constructor of a norm, given its name."""
        return partial(Norm, self.norm, self.norm_epsilon, self.has_norm_bias, self.norm_scale)

    @property
    def kernel_init(self) -> Any:
        """The initializer of kernels."""
        return initializer(self.initialization, self.init_std)

    @nn.nowrap
    def place(
        self, x: Float[Array, "batch length d_model"], positions: Int[Array, "_ length"], n: int, prefix: str = ""
    ) -> Float[Array, "batch length d_model"]:
        """x plus the position embedding, sinusoidal or learned (n positions), if there is one."""
        if self.positions == "learned":
            x = x + jnp.broadcast_to(self.embedding(n, f"{prefix}position_embedding")(positions), x.shape)
        if self.positions == "sinusoidal":
            x = x + jnp.broadcast_to(sinusoids(positions, self.d_model), x.shape).astype(x.dtype)
        return x

    @nn.nowrap
    def attention_context(
        self,
        positions: Int[Array, "_ length"],
        causal: bool,
        mask: Shaped[Given, "batch keys"] | None,
        slot: Any = None,
        prefix: str = "",
    ) -> AttentionContext:
        """The context of self-attention among these tokens, or over a cache with a mask of its full length."""
        length = positions.shape[1]
        start, keys = 0, length
        if slot is not None:
            if mask is None:
                raise ValueError("mask is None: a cache needs a mask of its full length, 1 where a token is or will be")
            start, keys = slot, mask.shape[1]
        distance = (start + jnp.arange(length))[:, None] - jnp.arange(keys)[None]
        bias = rotation = None
        if self.positions == "alibi":
            bias = alibi(self.n_heads, distance)
        if self.positions == "relative":
            buckets = relative_buckets(distance, self.relative_buckets, self.relative_distance, causal)
            table = nn.Embed(self.relative_buckets, self.n_heads, name=f"{prefix}relative_bias")
            bias = table(buckets).transpose(2, 0, 1)[None]
        if self.positions == "rotary":
            rotation = rotations(positions, self.rotary_features, self.bases, self.rope_theta, self.rope_scaling)
        numbers = None if mask is None else jnp.asarray(mask)
        own = numbers if numbers is None or slot is None else lax.dynamic_slice_in_dim(numbers, slot, length, axis=1)
        allowed = allowed_pairs(distance, causal, numbers, own)
        return AttentionContext(distance, allowed, bias, rotation, slot, own)

    @nn.nowrap
    def block(self, name: str, crossed: bool) -> Block:
        """One block of the stack."""
        output_scale = (2 * self.n_layers) ** -0.5 if self.initialization == "gpt2" else 1.0
        query_scale = 1.0 if self.attention_scale is None else self.width**-0.5 / self.attention_scale
        common: dict[str, Any] = {
            "dropout": self.dropout,
            "dtype": self.dtype,
            "kernel_init": self.kernel_init,
            "output_init": initializer(self.initialization, self.init_std, output_scale),
            "parent": None,
        }
        attend = partial(
            Attention,
            self.n_heads,
            self.n_kv_heads or self.n_heads,
            self.width,
            self.attention_cap,
            self.norms if self.qk_norm or self.joint_qk_norm else None,
            self.joint_qk_norm,
            self.has_bias("qkv_bias"),
            self.has_bias("output_bias"),
            query_init=initializer(self.initialization, self.init_std, query_scale),
            **common,
        )
        activation, bias = activations.activation(self.activation), self.has_bias("feedforward_bias")
        common["output_init"] = initializer(self.initialization, self.init_std, output_scale * self.variance_ratio**0.5)
        feedforward = FeedForward(activation, self.hidden_width, bias, **common)
        cross_attention = attend() if crossed else None
        return Block(attend(), feedforward, self.norms, self.placement, self.residual, cross_attention, name=name)

    @nn.nowrap
    def layers(
        self,
        x: Float[Array, "batch length d_model"],
        context: AttentionContext,
        source: Float[Array, "batch keys d_model"] | None = None,
        source_context: AttentionContext | None = None,
        *,
        n: int | None = None,
        prefix: str = "",
        train: bool = False,
    ) -> Float[Array, "batch length d_model"]:
        """x after n blocks (None: n_layers) and the final norm; with a `source_context` they attend to it too."""
        n, crossed = n or self.n_layers, source_context is not None
        values = self.layer_values(n)

        def run(block: Block, x: Array, scale: Any, window: Any, rope_base: Any) -> Array:
            return block(
                x, context, source, source_context, scale=scale, window=window, rope_base=rope_base, train=train
            )

        if self.remat:
            run = nn.remat(run, prevent_cse=not self.scan)
        if self.scan:
            loop = nn.scan(
                lambda block, x, values: (run(block, x, *values), None),
                variable_axes=dict.fromkeys(("params", "intermediates", "cache", "taps", telemetry.COLLECTION), 0),
                split_rngs={"dropout": True},
                length=n,
            )
            stacks = [None if items is None else jnp.asarray(items) for items in values]
            x = loop(self.block(f"{prefix}layers", crossed), x, stacks)[0]
        else:
            for i in range(n):
                own = [None if items is None else items[i] for items in values]
                x = run(self.block(f"{prefix}layer_{i}", crossed), x, *own)
        return self.normalize(f"{prefix}final_norm")(x) if self.has_final_norm else x

    @nn.nowrap
    def layer_values(self, n: int) -> tuple[list[float] | None, list[int] | None, list[int] | None]:
        """Score scale, window and index in `bases` for each of n layers; None: the default in all layers."""
        scale = self.width**-0.5 if self.attention_scale is None else self.attention_scale
        scales = [scale / (i + 1) for i in range(n)] if self.scale_by_layer else [scale] * n
        windows, thetas = in_turn(self.windows, n), in_turn(self.rope_thetas, n)
        turns = [self.bases.index(theta) for theta in thetas] if len(self.bases) > 1 else None
        usual = self.attention_scale is None and not self.scale_by_layer
        return None if usual else scales, windows or None, turns


def in_turn(values: tuple[Any, ...], n: int) -> list[Any]:
    """The values repeated over n layers; empty if there are none."""
    return [values[i % len(values)] for i in range(n)] if values else []


def check_choices(model: Any, choices: dict[str, Any]) -> None:
    """Raises ValueError if a field's value is not one of its choices (Literal types)."""
    for name, kinds in choices.items():
        check_choice(name, getattr(model, name), get_args(kinds))


def check_positive(model: Any, fields: tuple[str, ...]) -> None:
    """Raises ValueError if one of these fields is neither None nor positive."""
    for name in fields:
        if (value := getattr(model, name)) is not None and not value > 0:
            raise ValueError(f"{name} is {value}: it must be positive")
