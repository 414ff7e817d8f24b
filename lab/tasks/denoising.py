"""Denoising: a model predicts tokens that are removed from a text."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer

from lab.data.order import drawn
from lab.tasks.examples import cross_entropy, in_batches, weighted
from lab.tasks.task import of_each_token, totals
from lab.tasks.windows import Windows

NOISE = 2**32 - 1  # an epoch that no run reaches, so that the noise is independent of the order of windows
EVALUATION = 0  # the seed of the evaluation noise, the same for every model


@dataclass(frozen=True)
class Denoising(Windows, ABC):
    """Base class of tasks that remove a fraction of each window's tokens and predict them.

    A batch has the input `tokens`, the target `labels` and `weight`, f32, 1 at predicted tokens and 0 elsewhere. Raises
    what `Windows` raises, and ValueError for a rate out of range.
    """

    directions: ClassVar[Mapping[str, str]] = {"accuracy": "max"}

    rate: float = 0.15
    """Fraction of the tokens that are removed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {self.rate}")

    @abstractmethod
    def noised(self, windows: Int[Any, "*rows context"], seeds: Integer[Any, "*rows"]) -> dict[str, Any]:
        """`tokens`, `labels` and `weight` of windows, given a seed for each; the same in NumPy and JAX."""

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """Windows of the training text, in the order of `Windows.training_starts`, with new noise for every window and
        epoch: `tokens`, `labels` and `weight`, [batch_size, ...] each."""
        tokens = arrays["tokens"]
        starts = self.training_starts(tokens.size, seed, step, batch_size)
        seeds = derived(seed, NOISE, step, np.arange(batch_size))
        return self.noised(tokens[self.positions(starts)].astype(np.int32), seeds)

    def evaluation_batches(
        self, arrays: Mapping[str, Integer[np.ndarray, " n"]], batch_size: int
    ) -> dict[str, np.ndarray]:
        """The windows that are evaluated, with fields as in a batch, [n_batches, batch_size, ...] each, and the
        `document` of each (see `Windows.documents_of`); padding weighs 0.

        Windows are contiguous; the last one is moved back into the split. The noise of a window depends only on its
        position.
        """
        tokens = arrays["tokens"]
        starts = self.evaluation_starts(tokens.size)
        windows = tokens[self.positions(starts.clip(max=tokens.size - self.window))]
        fields = self.noised(windows.astype(np.int32), derived(EVALUATION, NOISE, starts))
        return in_batches({**fields, "document": self.documents_of(arrays, starts)}, batch_size)

    def loss(self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the predicted tokens, in nats; 0 if there are none."""
        nats, count = weighted(of_each_token(cross_entropy, outputs, batch["labels"]), batch["weight"])
        return nats / jnp.maximum(count, 1.0)

    def metrics(
        self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, ""], Float[Array, ""]]]:
        """`loss` and `accuracy` of the predicted tokens: the summed cross-entropy in nats and the number of correct
        predictions, with the number of tokens."""
        return totals(self.example_metrics(outputs, batch))

    def example_metrics(
        self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
        """`metrics` of each window."""
        nats, hits = of_each_token(_nats_and_hits, outputs, batch["labels"])
        weight, count = batch["weight"], jnp.sum(batch["weight"], axis=-1)
        return {"loss": (jnp.sum(weight * nats, axis=-1), count), "accuracy": (jnp.sum(weight * hits, axis=-1), count)}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means, unchanged."""
        return dict(means)


def derived(seed: int | Integer[Any, "..."], *numbers: int | Integer[Any, "..."]) -> Integer[Any, "..."]:
    """Fold numbers into a seed one after another, as `jax.random.fold_in` does with keys; also works in NumPy."""
    return reduce(partial(drawn, 2**31), numbers, seed)


def _nats_and_hits(
    logits: Float[Array, "*tokens vocab"], labels: Integer[Array, "*tokens"]
) -> tuple[Float[Array, "*tokens"], Float[Array, "*tokens"]]:
    """-log p(label), and 1 where the label is the most likely token."""
    return cross_entropy(logits, labels), (logits.argmax(axis=-1) == labels).astype(jnp.float32)
