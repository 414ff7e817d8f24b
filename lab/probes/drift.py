"""How far networks of one shape are apart on the same examples: layer by layer, and in what they say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from models.layers.feedforward import FeedForward
from models.layers.stack import Block, Stack, unstacked

SHAPE = ("vocab_size", "classes", "d_model", "n_layers", "n_encoder_layers", "architecture")


class Mean(NamedTuple):
    """A mean that is added up over batches."""

    total: Array
    weight: Array


@dataclass(frozen=True)
class Drift:
    """Another network held against a reference; means are over the places that the task asks for.

    layers: a row a layer: its `stack`, encoder or decoder, its number `layer` from 0 on, and of the feed-forward
    layer's `hidden` values, of its `output` and of the `residual` stream behind it `<site>_error`, the mean of
    ||other - reference|| / ||reference||, and `<site>_cosine`, the mean cosine, over all places of an example but its
    padding. Hidden values of different widths have neither (nan); a place where the reference alone is zero, as where
    all units of a ReLU are silent, has no relative error, and is left out of its mean.
    kl: mean KL divergence of the other's distribution from the reference's, KL(reference || other), in nats.
    agreement: share of the places at which both find the same class or token likeliest.
    loss, other_loss: the task's loss, in nats.
    """

    layers: tuple[dict[str, Any], ...]
    kl: float
    agreement: float
    loss: float
    other_loss: float


def drift(
    task: Any,
    model: Any,
    params: Mapping[str, Any],
    others: Sequence[tuple[Any, Mapping[str, Any]]],
    batches: Mapping[str, Shaped[Any, "batches batch_size *_"]],
) -> list[Drift]:
    """How far other networks, models with their parameters, are from (model, params) on a task's evaluation batches.

    `task` is a `lab.tasks.task.Task` that tells classes or tokens, and `batches` are as its `evaluation_batches` gives
    them. The networks compute in their own dtypes, float32 in full precision, and are compared in float32, batch by
    batch: in memory are all values of the reference for one batch, and those of one other network. Only the layers of a
    Transformer are looked at; of another model there are none.

    Raises ValueError, naming the field, for networks of different shapes and for batches without weights.
    """
    for other, _ in others:
        _check(model, other)
    if "weight" not in batches:
        raise ValueError(f"the drift of networks needs a field 'weight' in the evaluation batches of task {task.name}")
    with jax.default_matmul_precision("float32"):
        found = [_compared(task, model, params, others, batch) for batch in _each(batches)]
    sums = reduce(partial(jax.tree.map, jnp.add), found)
    return [_told(model, one) for one in jax.tree.map(_divided, sums, is_leaf=lambda node: isinstance(node, Mean))]


def _check(model: Any, other: Any) -> None:
    if not (isinstance(model, Stack) and isinstance(other, Stack)) and type(model) is not type(other):
        raise ValueError(f"one network is a {type(model).__name__} and the other a {type(other).__name__}: no drift")
    for field in SHAPE:
        if (own := getattr(model, field, None)) != (its := getattr(other, field, None)):
            raise ValueError(f"{field} is {own!r} in one network and {its!r} in the other, it must be the same")


def _each(batches: Mapping[str, Shaped[Any, "batches batch_size *_"]]) -> Iterator[dict[str, Any]]:
    n_batches = len(next(iter(batches.values())))
    return ({name: jnp.asarray(field[index]) for name, field in batches.items()} for index in range(n_batches))


def _divided(mean: Mean) -> float:
    return float(mean.total / mean.weight)


def _told(model: Any, found: list[dict[str, float]]) -> Drift:
    said, *layers = found
    places = [{"stack": stack, "layer": layer} for stack, layer, _ in _layers(model)]
    return Drift(tuple({**place, **row} for place, row in zip(places, layers, strict=True)), **said)


def _layers(model: Any) -> list[tuple[str, int, str]]:
    """Stack, number and name of every layer of a Transformer."""
    if not isinstance(model, Stack):
        return []
    if hasattr(model, "n_encoder_layers"):
        encoder = range(model.n_encoder_layers or model.n_layers)
        first = [("encoder", i, f"encoder_layer_{i}") for i in encoder]
        return first + [("decoder", i, f"layer_{i}") for i in range(model.n_layers)]
    return [(getattr(model, "architecture", "encoder"), i, f"layer_{i}") for i in range(model.n_layers)]


def _compared(
    task: Any, model: Any, params: Any, others: Sequence[tuple[Any, Any]], batch: dict[str, Array]
) -> list[list[dict[str, Mean]]]:
    """Of one batch and each other network what both say, and of every layer how far apart its sites are."""
    loss, *reference = _seen(task, model, params, batch)
    found = []
    for other, other_params in others:
        other_loss, *seen = _seen(task, other, other_params, batch)
        said, *layers = _held_together(batch, reference, seen)
        found.append([{**said, "loss": loss, "other_loss": other_loss}, *layers])
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _seen(task: Any, model: Any, params: Any, batch: dict[str, Array]) -> tuple[Mean, Array, list[dict[str, Array]]]:
    """Loss, outputs, and of every layer hidden values, output and residual stream, in float32."""
    outputs, sown = model.apply({"params": params}, *task.inputs(batch), capture_intermediates=_is_site)
    kept = jax.tree.map(lambda x: x.astype(jnp.float32), sown.get("intermediates", {}))
    named = unstacked(kept) if getattr(model, "scan", False) else kept
    sites = [
        {
            "hidden": named[name]["feedforward"]["hidden"][0],
            "output": named[name]["feedforward"]["__call__"][0],
            "residual": named[name]["__call__"][0],
        }
        for _, _, name in _layers(model)
    ]
    return Mean(*task.metrics(outputs, batch)["loss"]), jnp.asarray(outputs), sites


@jax.jit
def _held_together(batch: dict[str, Array], reference: Any, other: Any) -> list[dict[str, Mean]]:
    """What is said, and every layer."""
    (outputs, sites), (other_outputs, other_sites) = reference, other
    pairs = zip(sites, other_sites, strict=True)
    return [
        _said(outputs, other_outputs, batch["weight"]),
        *(_apart(x, y, _real(batch, x["output"].shape[1])) for x, y in pairs),
    ]


def _is_site(module: Any, method: str) -> bool:
    return method == "__call__" and isinstance(module, Block | FeedForward)


def _real(batch: dict[str, Array], length: int) -> Float[Array, "batch_size length"]:
    """1 at the places of examples that are looked at; 0 at their padding, and in examples that fill the last batch."""
    weight = batch["weight"]
    example = (weight.reshape(len(weight), -1) > 0).any(axis=1, keepdims=True)
    places = batch["mask"] != 0 if "mask" in batch else jnp.ones((1, length), bool)
    return (example & places).astype(jnp.float32)


def _apart(
    reference: dict[str, Array], other: dict[str, Array], real: Float[Array, "batch_size length"]
) -> dict[str, Mean]:
    """Relative error and cosine of every site; nan where the widths differ."""
    row: dict[str, Mean] = {}
    for site, x in reference.items():
        y = other[site]
        error, cosine = _distance(x, y) if x.shape == y.shape else jnp.full((2, *real.shape), jnp.nan)
        has_error = real * ((jnp.linalg.norm(x, axis=-1) != 0) | (error == 0))
        row |= {f"{site}_error": _mean(error, has_error), f"{site}_cosine": _mean(cosine, real)}
    return row


def _distance(
    x: Float[Array, "batch_size length features"], y: Float[Array, "batch_size length features"]
) -> tuple[Float[Array, "batch_size length"], Float[Array, "batch_size length"]]:
    """||y - x|| / ||x|| and the cosine of each two vectors: 0 and 1 of equal ones, also of zeros; infinite and 0 where
    x alone is zero."""
    norm = partial(jnp.linalg.norm, axis=-1)
    equal, product = (x == y).all(axis=-1), norm(x) * norm(y)
    cosine = jnp.where(product > 0, (x * y).sum(axis=-1) / product, 0.0)
    return jnp.where(equal, 0.0, norm(y - x) / norm(x)), jnp.where(equal, 1.0, cosine)


def _said(
    reference: Float[Array, "*places classes"], other: Float[Array, "*places classes"], weight: Float[Array, "*places"]
) -> dict[str, Mean]:
    """KL divergence and agreement of two networks' outputs."""
    p, q = jax.nn.log_softmax(reference), jax.nn.log_softmax(other)
    same = (p.argmax(axis=-1) == q.argmax(axis=-1)).astype(jnp.float32)
    return {"kl": _mean(_divergence(p, q), weight), "agreement": _mean(same, weight)}


def _divergence(p: Float[Array, "*places classes"], q: Float[Array, "*places classes"]) -> Float[Array, "*places"]:
    """KL divergence of the distribution with logarithms q from that with logarithms p.

    The terms e^p (p - q) are summed as e^p (e^d - 1 - d), d = q - p, which adds up to the same and is never negative:
    where the two are close the former cancel, to 1e-7 in float32, when their sum may be 1e-10.
    """
    d = q - p
    far = jnp.exp(q) - jnp.exp(p) * (1 + d)  # where e^d might overflow
    return jnp.where(d < 1, jnp.exp(p) * (jnp.expm1(d) - d), far).sum(axis=-1)


def _mean(values: Float[Array, "*places"], weight: Float[Array, "*places"]) -> Mean:
    """Where the weight is 0 the value may be anything."""
    return Mean(jnp.where(weight > 0, weight * values, 0.0).sum(), weight.sum())
