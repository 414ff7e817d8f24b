"""The distance between networks of the same shape on the same examples: by layer, and of their outputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from models.layers.block import Block
from models.layers.feedforward import FeedForward
from models.layers.scanned import unstacked
from models.layers.stack import Stack

SHAPE = ("vocab_size", "classes", "d_model", "n_layers", "n_encoder_layers", "architecture")


class Mean(NamedTuple):
    """A mean that is accumulated over batches."""

    total: Array
    weight: Array


@dataclass(frozen=True)
class Drift:
    """A network compared with a reference; means are over the positions that the task predicts.

    layers: one row per layer: its `stack` (encoder or decoder), its index `layer`, and for the feed-forward layer's
    `hidden` values, its `output` and the `residual` stream after it `<site>_error`, the mean of
    ||other - reference|| / ||reference||, and `<site>_cosine`, the mean cosine, over all positions but padding. Hidden
    values of different widths have neither (nan); positions where only the reference is zero, for example if all units
    of a ReLU are inactive, have no relative error and are left out of its mean.
    kl: mean KL divergence, KL(reference || other), in nats.
    agreement: fraction of positions at which both predict the same class or token.
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
    """Compare other networks (models with parameters) with (model, params) on a task's evaluation batches.

    `task` is a `lab.tasks.task.Task` that predicts classes or tokens, and `batches` come from its `evaluation_batches`.
    The networks compute in their own dtypes (float32 in full precision) and are compared in float32, batch by batch;
    memory holds the values of the reference and of one other network for one batch. Only the layers of a
    Transformer are compared; other models have none.

    Raises ValueError, naming the field, for networks of different shapes and for batches without weights.
    """
    for other, _ in others:
        _check(model, other)
    if "weight" not in batches:
        raise ValueError(f"the drift of networks needs a field 'weight' in the evaluation batches of task {task.name}")
    with jax.default_matmul_precision("float32"):
        found = [_compared(task, model, params, others, batch) for batch in _each(batches)]
    sums = reduce(partial(jax.tree.map, jnp.add), found)
    return [_to_drift(model, one) for one in jax.tree.map(_divided, sums, is_leaf=lambda node: isinstance(node, Mean))]


def _check(model: Any, other: Any) -> None:
    if not (isinstance(model, Stack) and isinstance(other, Stack)) and type(model) is not type(other):
        raise ValueError(f"one network is a {type(model).__name__} and the other a {type(other).__name__}: no drift")
    for field in SHAPE:
        if (own := getattr(model, field, None)) != (its := getattr(other, field, None)):
            raise ValueError(f"{field} is {own!r} in one network and {its!r} in the other: it must be the same")


def _each(batches: Mapping[str, Shaped[Any, "batches batch_size *_"]]) -> Iterator[dict[str, Any]]:
    n_batches = len(next(iter(batches.values())))
    return ({name: jnp.asarray(field[index]) for name, field in batches.items()} for index in range(n_batches))


def _divided(mean: Mean) -> float:
    return float(mean.total / mean.weight)


def _to_drift(model: Any, found: list[dict[str, float]]) -> Drift:
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
    """Compare outputs and all sites of every layer with each other network, on one batch."""
    loss, *reference = _seen(task, model, params, batch)
    found = []
    for other, other_params in others:
        other_loss, *seen = _seen(task, other, other_params, batch)
        said, *layers = _compare(batch, reference, seen)
        found.append([{**said, "loss": loss, "other_loss": other_loss}, *layers])
    return found


@partial(jax.jit, static_argnums=(0, 1))
def _seen(task: Any, model: Any, params: Any, batch: dict[str, Array]) -> tuple[Mean, Array, list[dict[str, Array]]]:
    """Loss, outputs, and the hidden values, output and residual stream of every layer, in float32."""
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
def _compare(batch: dict[str, Array], reference: Any, other: Any) -> list[dict[str, Mean]]:
    """Compare outputs and every layer."""
    (outputs, sites), (other_outputs, other_sites) = reference, other
    pairs = zip(sites, other_sites, strict=True)
    return [
        _outputs_compared(outputs, other_outputs, batch["weight"]),
        *(_apart(x, y, _real(batch, x["output"].shape[1])) for x, y in pairs),
    ]


def _is_site(module: Any, method: str) -> bool:
    return method == "__call__" and isinstance(module, Block | FeedForward)


def _real(batch: dict[str, Array], length: int) -> Float[Array, "batch_size length"]:
    """1 at real positions of real examples; 0 at padding, and in examples that pad the last batch."""
    weight = batch["weight"]
    example = (weight.reshape(len(weight), -1) > 0).any(axis=1, keepdims=True)
    places = batch["mask"] != 0 if "mask" in batch else jnp.ones((1, length), bool)
    return (example & places).astype(jnp.float32)


def _apart(
    reference: dict[str, Array], other: dict[str, Array], real: Float[Array, "batch_size length"]
) -> dict[str, Mean]:
    """Relative error and cosine of every site; nan if the widths differ."""
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
    """||y - x|| / ||x|| and the cosine for pairs of vectors: 0 and 1 if equal (also for zeros); infinite and 0 if only
    x is zero."""
    norm = partial(jnp.linalg.norm, axis=-1)
    equal, product = (x == y).all(axis=-1), norm(x) * norm(y)
    cosine = jnp.where(product > 0, (x * y).sum(axis=-1) / product, 0.0)
    return jnp.where(equal, 0.0, norm(y - x) / norm(x)), jnp.where(equal, 1.0, cosine)


def _outputs_compared(
    reference: Float[Array, "*places classes"], other: Float[Array, "*places classes"], weight: Float[Array, "*places"]
) -> dict[str, Mean]:
    """KL divergence and agreement of two networks' outputs."""
    p, q = jax.nn.log_softmax(reference), jax.nn.log_softmax(other)
    same = (p.argmax(axis=-1) == q.argmax(axis=-1)).astype(jnp.float32)
    return {"kl": _mean(_divergence(p, q), weight), "agreement": _mean(same, weight)}


def _divergence(p: Float[Array, "*places classes"], q: Float[Array, "*places classes"]) -> Float[Array, "*places"]:
    """KL divergence KL(p || q), from log probabilities.

    The terms e^p (p - q) are summed as e^p (e^d - 1 - d), d = q - p, which has the same sum and is never negative: if p
    and q are close, the former cancel, with errors of 1e-7 in float32 for a sum of 1e-10.
    """
    d = q - p
    far = jnp.exp(q) - jnp.exp(p) * (1 + d)  # where e^d might overflow
    return jnp.where(d < 1, jnp.exp(p) * (jnp.expm1(d) - d), far).sum(axis=-1)


def _mean(values: Float[Array, "*places"], weight: Float[Array, "*places"]) -> Mean:
    """The weighted mean; values of weight 0 may be anything, even nan."""
    return Mean(jnp.where(weight > 0, weight * values, 0.0).sum(), weight.sum())
