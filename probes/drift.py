"""How far two networks of one shape are apart on the same tokens: layer by layer, and in what they say."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from models.feedforward import FeedForward
from models.stack import Block, Given, unstacked
from models.transformer import Transformer

SHAPE = ("vocab_size", "d_model", "n_layers", "architecture")
Sites = list[dict[str, Array]]


@dataclass(frozen=True)
class Drift:
    """Another network held against a reference; all means are over the tokens that are not padding.

    layers: a row a layer: `layer`, counted from 0, and of the feed-forward layer's `hidden` values, of its `output` and
    of the `residual` stream behind it `<site>_error`, the mean of ||other - reference|| / ||reference||, and
    `<site>_cosine`, the mean cosine. Those of hidden values of different widths are nan.
    kl: mean KL divergence of the other's distribution of the token from the reference's, KL(reference || other), nats.
    agreement: share of the tokens of which both find the same one likeliest.
    loss, other_loss: mean cross-entropy of the targets, in nats.
    """

    layers: tuple[dict[str, int | float], ...]
    kl: float
    agreement: float
    loss: float
    other_loss: float


def drift(
    model: Any,
    params: dict[str, Any],
    other: Any,
    other_params: dict[str, Any],
    tokens: Integer[Given, "batch length"],
    mask: Shaped[Given, "batch length"] | None = None,
    targets: Integer[Given, "batch length"] | None = None,
) -> Drift:
    """How far the network (other, other_params) is from (model, params) on `tokens`, with a mask as the model takes it.

    `targets` are the tokens to be told at each place, negative where there is none; if not given, a decoder's are the
    next tokens of the same document and an encoder's the tokens themselves. The networks compute in their own dtypes,
    float32 in full precision, and are compared in float32. All values of both are in memory at once.

    Raises ValueError, naming the field, for networks of different shapes.
    """
    _check(model, other)
    tokens = jnp.asarray(tokens)
    documents = jnp.ones_like(tokens) if mask is None else jnp.asarray(mask)
    if targets is None:
        targets = _next(tokens, documents) if model.architecture == "decoder" else tokens
    with jax.default_matmul_precision("float32"):
        logits, sites = _seen(model, params, tokens, mask)
        other_logits, other_sites = _seen(other, other_params, tokens, mask)
    real = documents != 0
    layers = [_compared(*pair, real) for pair in zip(sites, other_sites, strict=True)]
    rows = tuple({"layer": i, **jax.tree.map(float, row)} for i, row in enumerate(layers))
    return Drift(rows, **jax.tree.map(float, _told(logits, other_logits, jnp.asarray(targets), real)))


def _check(model: Any, other: Any) -> None:
    for network in (model, other):
        if not isinstance(network, Transformer):
            raise ValueError(f"the drift of a {type(network).__name__} cannot be measured, only that of a Transformer")
    for field in SHAPE:
        if (own := getattr(model, field)) != (its := getattr(other, field)):
            raise ValueError(f"{field} is {own!r} in one network and {its!r} in the other, it must be the same")


def _next(tokens: Int[Array, "batch length"], documents: Shaped[Array, "batch length"]) -> Int[Array, "batch length"]:
    """The next token of the same document, -1 where there is none."""
    within = documents[:, 1:] == documents[:, :-1]
    return jnp.pad(jnp.where(within, tokens[:, 1:], -1), ((0, 0), (0, 1)), constant_values=-1)


@partial(jax.jit, static_argnums=0)
def _seen(model: Transformer, params: dict[str, Any], tokens: Array, mask: Array | None) -> tuple[Array, Sites]:
    """Logits [batch, length, vocab_size] and of every layer hidden values, output and residual stream, in float32."""
    logits, sown = model.apply({"params": params}, tokens, mask, capture_intermediates=_is_site)
    kept = jax.tree.map(lambda x: x.astype(jnp.float32), sown["intermediates"])
    layers = unstacked(kept) if model.scan else kept
    return jnp.asarray(logits), [
        {
            "hidden": layer["feedforward"]["hidden"][0],
            "output": layer["feedforward"]["__call__"][0],
            "residual": layer["__call__"][0],
        }
        for layer in (layers[f"layer_{i}"] for i in range(model.n_layers))
    ]


def _is_site(module: Any, method: str) -> bool:
    return method == "__call__" and isinstance(module, Block | FeedForward)


@jax.jit
def _compared(
    reference: dict[str, Array], other: dict[str, Array], real: Bool[Array, "batch length"]
) -> dict[str, Float[Array, ""]]:
    """Mean relative error and cosine of every site; nan where the widths differ."""
    row: dict[str, Array] = {}
    for site, x in reference.items():
        y = other[site]
        error, cosine = _apart(x, y) if x.shape == y.shape else jnp.full((2, *real.shape), jnp.nan)
        row |= {f"{site}_error": _mean(error, real), f"{site}_cosine": _mean(cosine, real)}
    return row


def _apart(
    x: Float[Array, "batch length features"], y: Float[Array, "batch length features"]
) -> tuple[Float[Array, "batch length"], Float[Array, "batch length"]]:
    """||y - x|| / ||x|| and the cosine of each two vectors: 0 and 1 of equal ones, also of zeros."""
    norm = partial(jnp.linalg.norm, axis=-1)
    equal, product = (x == y).all(axis=-1), norm(x) * norm(y)
    cosine = jnp.where(product > 0, (x * y).sum(axis=-1) / product, 0.0)
    return jnp.where(equal, 0.0, norm(y - x) / norm(x)), jnp.where(equal, 1.0, cosine)


@jax.jit
def _told(reference: Array, other: Array, targets: Int[Array, "batch length"], real: Array) -> dict[str, Array]:
    """What two networks' logits say of the tokens, and of the targets."""
    p, q = jax.nn.log_softmax(reference), jax.nn.log_softmax(other)
    losses = [-jnp.take_along_axis(x, jnp.maximum(targets, 0)[..., None], axis=-1)[..., 0] for x in (p, q)]
    loss, other_loss = (_mean(x, real & (targets >= 0)) for x in losses)
    return {
        "kl": _mean(_divergence(p, q), real),
        "agreement": _mean(p.argmax(axis=-1) == q.argmax(axis=-1), real),
        "loss": loss,
        "other_loss": other_loss,
    }


def _divergence(p: Float[Array, "*tokens vocab"], q: Float[Array, "*tokens vocab"]) -> Float[Array, "*tokens"]:
    """KL divergence of the distribution with logarithms q from that with logarithms p.

    The terms e^p (p - q) are summed as e^p (e^d - 1 - d), d = q - p, which adds up to the same and is never negative:
    where the two are close the former cancel, to 1e-7 in float32, when their sum may be 1e-10.
    """
    d = q - p
    far = jnp.exp(q) - jnp.exp(p) * (1 + d)  # where e^d might overflow
    return jnp.where(d < 1, jnp.exp(p) * (jnp.expm1(d) - d), far).sum(axis=-1)


def _mean(values: Shaped[Array, "batch length"], chosen: Bool[Array, "batch length"]) -> Float[Array, ""]:
    return jnp.where(chosen, values, 0).sum() / chosen.sum()
