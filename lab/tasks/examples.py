"""Tasks whose examples are rows of arrays: training batches, evaluation batches, and means."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Integer

from lab.data.order import batch_indices


class Examples:
    """Base class of tasks whose examples are the rows of a split's arrays."""

    @property
    def tokens_per_example(self) -> int:
        """Predictions per example."""
        return 1

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """The rows of a step, [batch_size, ...] per field; each row occurs once per epoch, in a new order."""
        size = next(iter(arrays.values())).shape[0]
        chosen = batch_indices(step, batch_size, size, seed)
        return {field: rows[chosen] for field, rows in arrays.items()}

    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """All rows of a split in order, [n_batches, batch_size, ...] per field, with `weight`, f32 [n_batches,
        batch_size]: 1 for a row and 0 for the padding of the last batch."""
        weight = np.ones(len(next(iter(arrays.values()))), np.float32)
        return in_batches({**arrays, "weight": weight}, batch_size)

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means, unchanged."""
        return dict(means)


def cross_entropy(
    logits: Float[Array, "*examples classes"], labels: Integer[Array, "*examples"]
) -> Float[Array, "*examples"]:
    """-log p(label) in nats, computed in f32."""
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), labels)


def weighted(values: Float[Array, "*examples"], weight: Float[Array, "*examples"]) -> tuple[Array, Array]:
    """The weighted sum and the sum of the weights, both to be summed over batches and divided."""
    return jnp.sum(weight * values), jnp.sum(weight)


def classified(
    outputs: Float[Array, "batch classes"], batch: Mapping[str, Array], classes: int
) -> dict[str, tuple[Array, Array]]:
    """For an evaluation batch with one `label` per example: `loss`, the cross-entropy in nats, and `accuracy`, the
    fraction classified correctly. Raises ValueError if the model has another number of classes."""
    labels, weight = batch["label"], batch["weight"]
    check_outputs(outputs, (*labels.shape, classes))
    right = (outputs.argmax(axis=-1) == labels).astype(jnp.float32)
    return {"loss": weighted(cross_entropy(outputs, labels), weight), "accuracy": weighted(right, weight)}


def check_outputs(outputs: Array, shape: tuple[int, ...]) -> None:
    """Raises ValueError if a model's outputs do not have the shape of the task's targets."""
    if outputs.shape != shape:
        raise ValueError(f"the model's outputs have the shape {outputs.shape}, but the task needs {shape}")


def in_batches(fields: dict[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
    """Rows [n, ...] of each field as [n_batches, batch_size, ...], the last batch filled up with zeros."""

    def filled(rows: np.ndarray) -> np.ndarray:
        padded = np.pad(rows, ((0, -len(rows) % batch_size), *((0, 0),) * (rows.ndim - 1)))
        return padded.reshape(-1, batch_size, *rows.shape[1:])

    return {field: filled(rows) for field, rows in fields.items()}
