"""Multi-head attention, and what its queries may see."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from models.layers.dense import Dense, Initializer
from models.layers.positions import rotate


class AttentionContext(NamedTuple):
    """What the queries of a stack of layers see of the keys, the same in every layer.

    distance: query minus key, int [queries, keys]; None in cross-attention.
    allowed: which query may see which key, bool [batch or 1, 1, queries, keys]; None: all.
    bias: added to the scores, [1, heads, queries, keys]; None: nothing.
    rotation: cosines and sines for `rotate`, [kinds, _, 1, length, half], of which a layer has one; None: none.
    slot: the place of the first of these tokens in the cache of keys and values; None: there is no cache.
    """

    distance: Int[Array, "queries keys"] | None = None
    allowed: Bool[Array, "_ 1 _ keys"] | None = None
    bias: Float[Array, "1 heads queries keys"] | None = None
    rotation: tuple[Array, Array] | None = None
    slot: Any = None

    def turned(self, turn: Any) -> tuple[Array, Array] | None:
        """The cosines and sines of a kind, the only one if None."""
        if self.rotation is None:
            return None
        cos, sin = self.rotation
        kind = 0 if turn is None else turn
        return cos[kind], sin[kind]

    def within(self, window: Any) -> Bool[Array, "_ 1 _ keys"] | None:
        """`allowed`, and at most `window` tokens counted from the query's own; 0 or None: all."""
        if window is None or (isinstance(window, int) and window == 0):
            return self.allowed
        assert self.distance is not None
        near = ((jnp.abs(self.distance) < window) | jnp.equal(window, 0))[None, None]
        return near if self.allowed is None else self.allowed & near


def allowed_pairs(
    distance: Int[Array, "queries keys"],
    causal: bool,
    mask: Shaped[Array, "batch keys"] | None,
    own: Shaped[Array, "batch queries"] | None = None,
) -> Bool[Array, "_ 1 queries keys"] | None:
    """Which query may see which key, or None if each sees all: no later one if causal, no padding (mask 0) but itself.

    Where the mask has several numbers above 0, they tell documents apart, and a query sees those of its `own`. That a
    padding token sees itself leaves no query without a key, whose softmax would be of nothing.
    """
    allowed = (distance >= 0)[None, None] if causal else None
    if mask is None:
        return allowed
    seen = mask[:, None, None, :]
    real = (seen != 0) & (seen == (mask if own is None else own)[:, None, :, None])
    real = real | (distance == 0)[None, None]
    return real if allowed is None else real & allowed


def attend(
    query: Float[Array, "batch heads queries head_dim"],
    key: Float[Array, "batch kv_heads keys head_dim"],
    value: Float[Array, "batch kv_heads keys head_dim"],
    bias: Float[Array, "1 heads queries keys"] | None = None,
    allowed: Bool[Array, "_ 1 _ keys"] | None = None,
    scale: Any = None,
    cap: float | None = None,
    drop: Callable[[Array], Array] = lambda weights: weights,
) -> Float[Array, "batch heads queries head_dim"]:
    """Dot-product attention; the softmax is in float32.

    Scores are multiplied by `scale` (None: 1/sqrt(head_dim)), then bounded to `cap` by tanh, if given (Gemma Team 2024,
    arXiv:2408.00118, section 2). Fewer key and value heads than query heads are each shared by a group of neighbours
    (Ainslie et al. 2023). `drop` is applied to the attention weights. Two products after the heads have become a batch
    axis: forward and backward took 1.8 ms against 3.1 ms of `jax.nn.dot_product_attention` at batch 16, length 64,
    4 heads of 16 on a 2-core CPU.
    """
    batch, heads, queries, head_dim = query.shape
    scale = head_dim**-0.5 if scale is None else scale
    grouped = (query * jnp.asarray(scale, query.dtype)).reshape(batch, key.shape[1], -1, head_dim)
    scores = jnp.einsum("bhqd,bhkd->bhqk", grouped, key, preferred_element_type=jnp.float32)
    scores = scores.reshape(batch, heads, queries, -1)
    if cap is not None:
        scores = cap * jnp.tanh(scores / cap)
    if bias is not None:
        scores = scores + jnp.broadcast_to(bias, scores.shape)
    if allowed is not None:
        scores = jnp.where(allowed, scores, jnp.finfo(jnp.float32).min)
    weights = drop(jax.nn.softmax(scores).astype(value.dtype)).reshape(*grouped.shape[:-1], -1)
    return jnp.einsum("bhqk,bhkd->bhqd", weights, value).reshape(query.shape)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) of a sequence to itself, or to a `source`.

    `norm` makes the norms of each head's queries and keys, if given, or with `joint_norm` of all heads'; dropout falls
    on the attention weights and on the output. Where the sight has a slot, keys and values are kept in the collection
    "cache": of the sequence itself [batch, kv_heads, keys, head_dim], written from the slot on; of a source all, with
    the call that brings it.
    """

    n_heads: int
    n_kv_heads: int
    head_dim: int
    cap: float | None = None
    norm: Callable[..., nn.Module] | None = None
    joint_norm: bool = False
    qkv_bias: bool = True
    output_bias: bool = True
    dropout: float = 0.0
    dtype: str = "float32"
    kernel_init: Initializer = nn.initializers.lecun_normal()
    query_init: Initializer = nn.initializers.lecun_normal()
    output_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch queries d_model"],
        sight: AttentionContext,
        source: Float[Array, "batch keys d_model"] | None = None,
        *,
        crossed: bool = False,
        scale: Any = None,
        window: Any = None,
        turn: Any = None,
        train: bool = False,
    ) -> Float[Array, "batch queries d_model"]:
        """What each position of x gathers from the others, or from the source if `crossed`.

        <<<<<<< HEAD
                `scale`, `window` and `turn` are this layer's, numbers or traced: see `attend`, `Sight.within` and
                `Sight.turned`.
        =======
                `scale` and `window` are this layer's, numbers or traced: see `attend` and `AttentionContext.within`.
        >>>>>>> main
        """
        rotation = sight.turned(turn)
        query = self.heads(x, self.n_heads, "query", self.query_init, rotation)

        def keys_and_values(y: Array) -> tuple[Array, Array]:
            key = self.heads(y, self.n_kv_heads, "key", self.kernel_init, rotation)
            return key, self.heads(y, self.n_kv_heads, "value", self.kernel_init, None)

        if crossed:
            key, value = self.kept(keys_and_values, source, sight.slot is not None)
        else:
            key, value = keys_and_values(x)
            if sight.slot is not None:
                assert sight.distance is not None
                key, value = (
                    self.appended(name, y, sight.slot, sight.distance.shape[1])
                    for name, y in (("key", key), ("value", value))
                )
        drop = nn.Dropout(self.dropout, deterministic=not train, name="weights_dropout")
        y = attend(query, key, value, sight.bias, sight.within(window), scale, self.cap, drop)
        y = y.swapaxes(1, 2).reshape(*x.shape[:-1], -1)
        y = Dense(x.shape[-1], self.output_bias, self.dtype, kernel_init=self.output_init, name="output")(y)
        return nn.Dropout(self.dropout, deterministic=not train, name="dropout")(y)

    @nn.nowrap
    def heads(self, x: Array, n: int, name: str, kernel_init: Initializer, rotation: Any) -> Array:
        """Queries, keys or values [batch, n, length, head_dim], the first two normalized and rotated if set so."""
        y = Dense(n * self.head_dim, self.qkv_bias, self.dtype, kernel_init=kernel_init, name=name)(x)
        norm = self.norm(name=f"{name}_norm") if self.norm is not None and name != "value" else None
        if norm is not None and self.joint_norm:
            y = norm(y)
        y = y.reshape(*x.shape[:-1], n, self.head_dim).swapaxes(1, 2)
        if norm is not None and not self.joint_norm:
            y = norm(y)
        return y if rotation is None else rotate(y, rotation)

    @nn.nowrap
    def appended(self, name: str, y: Array, slot: Any, capacity: int) -> Array:
        """All keys or values of the cache, those of this call written from `slot` on."""
        shape = (*y.shape[:2], capacity, y.shape[3])
        cache = self.variable("cache", f"cached_{name}", jnp.zeros, shape, y.dtype)
        cache.value = jax.lax.dynamic_update_slice_in_dim(cache.value, y, slot, axis=2)
        return cache.value

    @nn.nowrap
    def kept(self, make: Callable[[Array], Any], source: Array | None, cached: bool) -> tuple[Array, Array]:
        """Keys and values of the source; those of the cache if there is no source in this call."""
        if source is None:
            return self.get_variable("cache", "cached_key"), self.get_variable("cache", "cached_value")
        key, value = make(source)
        if cached:
            self.put_variable("cache", "cached_key", key)
            self.put_variable("cache", "cached_value", value)
        return key, value
