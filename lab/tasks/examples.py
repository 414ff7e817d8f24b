"""Examples that are the rows of a split's arrays: the batch of a step, the batches of a split, and their means."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer

from lab.data.order import batch_indices


class Examples:
    """What tasks have in common whose examples are the rows of a split's arrays."""

    @property
    def tokens_per_example(self) -> int:
        """Predictions in one example."""
        return 1

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """The rows of a step, [batch_size, ...] a field: each of the split once an epoch, in an order of its own."""
        size = next(iter(arrays.values())).shape[0]
        chosen = batch_indices(step, batch_size, size, seed)
        return {field: rows[chosen] for field, rows in arrays.items()}

    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """All rows of a split in order, [n_batches, batch_size, ...] a field, with `weight`, f32 [n_batches,
        batch_size]: 1 for a row and 0 for the zeros that fill the last batch."""
        weight = np.ones(len(next(iter(arrays.values()))), np.float32)
        return in_batches({**arrays, "weight": weight}, batch_size)

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means as they are."""
        return dict(means)


def cross_entropy(
    logits: Float[Array, "*examples classes"], labels: Integer[Array, "*examples"]
) -> Float[Array, "*examples"]:
    """-log p(label) in nats, in f32 whatever the logits are."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def weighted(values: Float[Array, "*examples"], weight: Float[Array, "*examples"]) -> tuple[Array, Array]:
    """The weighted sum and the sum of the weights, to be added over batches and divided."""
    return jnp.sum(weight * values), jnp.sum(weight)


def classified(
    outputs: Float[Array, "batch classes"], batch: Mapping[str, Array], classes: int
) -> dict[str, tuple[Array, Array]]:
    """Of an evaluation batch with a `label` an example: `loss`, the cross-entropy in nats, and `accuracy`, the share
    whose class is the likeliest one. Raises ValueError when the model tells of another number of classes."""
    labels, weight = batch["label"], batch["weight"]
    check_outputs(outputs, (*labels.shape, classes))
    right = (outputs.argmax(axis=-1) == labels).astype(jnp.float32)
    return {"loss": weighted(cross_entropy(outputs, labels), weight), "accuracy": weighted(right, weight)}


def check_outputs(outputs: Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError when a model's outputs have not this shape, that of what the task compares them with."""
    if outputs.shape != shape:
        raise ValueError(f"the model's outputs have the shape {outputs.shape}, the task needs {shape}")


def in_batches(fields: dict[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
    """Rows [n, ...] of each field as [n_batches, batch_size, ...], the last batch filled up with zeros."""

    def filled(rows: np.ndarray) -> np.ndarray:
        padded = np.pad(rows, ((0, -len(rows) % batch_size), *((0, 0),) * (rows.ndim - 1)))
        return padded.reshape(-1, batch_size, *rows.shape[1:])

    return {field: filled(rows) for field, rows in fields.items()}
