"""Denoising: tokens of a text are taken away, and a model is asked for them."""

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

NOISE = 2**32 - 1  # keeps the noise apart from the order of windows: an epoch that no run comes to
EVALUATION = 0  # the seed of the noise that every model is evaluated under


@dataclass(frozen=True)
class Denoising(Windows, ABC):
    """What tasks have in common that take a share of every window's tokens away and ask for them.

    A batch has the `tokens` that a model reads, the `labels` that it is asked for and `weight`, f32, 1 where it is
    asked and 0 elsewhere. Raises what `Windows` raises, and ValueError for a rate out of range.
    """

    directions: ClassVar[Mapping[str, str]] = {"accuracy": "max"}

    rate: float = 0.15
    """Share of the tokens that are taken away."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise ValueError(f"rate must lie between 0 and 1, not {self.rate}")

    @abstractmethod
    def noised(self, windows: Int[Any, "*rows context"], seeds: Integer[Any, "*rows"]) -> dict[str, Any]:
        """`tokens`, `labels` and `weight` of windows, with a seed for each; in NumPy the same as in JAX."""

    def batch(
        self,
        arrays: Mapping[str, Array | np.ndarray],
        seed: int | Integer[Any, "..."],
        step: int | Integer[Any, ""],
        batch_size: int,
    ) -> dict[str, Any]:
        """Windows of the training text, in the order of `Windows.training_starts`, each with noise of its own that is
        another when it comes up again: `tokens`, `labels` and `weight`, [batch_size, ...] each."""
        tokens = arrays["tokens"]
        starts = self.training_starts(tokens.size, seed, step, batch_size)
        seeds = derived(seed, NOISE, step, np.arange(batch_size))
        return self.noised(tokens[self.positions(starts)].astype(np.int32), seeds)

    def evaluation_batches(
        self, arrays: Mapping[str, Integer[np.ndarray, " n"]], batch_size: int
    ) -> dict[str, np.ndarray]:
        """The windows that are evaluated, with fields as in a batch, [n_batches, batch_size, ...] each, and the
        `document` of each (see `Windows.documents_of`); padding weighs 0.

        Windows lie end to end; the last is moved back into the split. The noise of a window depends on its place alone.
        """
        tokens = arrays["tokens"]
        starts = self.evaluation_starts(tokens.size)
        windows = tokens[self.positions(starts.clip(max=tokens.size - self.window))]
        fields = self.noised(windows.astype(np.int32), derived(EVALUATION, NOISE, starts))
        return in_batches({**fields, "document": self.documents_of(arrays, starts)}, batch_size)

    def loss(self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the tokens that are asked for, in nats; 0 if there are none."""
        nats, count = weighted(of_each_token(cross_entropy, outputs, batch["labels"]), batch["weight"])
        return nats / jnp.maximum(count, 1.0)

    def metrics(
        self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, ""], Float[Array, ""]]]:
        """`loss` and `accuracy` of the tokens that are asked for: the cross-entropy in nats and how many are the most
        likely one, both summed, and their number."""
        return totals(self.example_metrics(outputs, batch))

    def example_metrics(
        self, outputs: Float[Array, "batch length vocab"] | Any, batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, " batch"], Float[Array, " batch"]]]:
        """`metrics` of each window."""
        nats, hits = of_each_token(_nats_and_hits, outputs, batch["labels"])
        weight, count = batch["weight"], jnp.sum(batch["weight"], axis=-1)
        return {"loss": (jnp.sum(weight * nats, axis=-1), count), "accuracy": (jnp.sum(weight * hits, axis=-1), count)}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means as they are."""
        return dict(means)


def derived(seed: int | Integer[Any, "..."], *numbers: int | Integer[Any, "..."]) -> Integer[Any, "..."]:
    """A seed of its own for a seed and numbers, one after another: in NumPy what `jax.random.fold_in` is to keys."""
    return reduce(partial(drawn, 2**31), numbers, seed)


def _nats_and_hits(
    logits: Float[Array, "*tokens vocab"], labels: Integer[Array, "*tokens"]
) -> tuple[Float[Array, "*tokens"], Float[Array, "*tokens"]]:
    """-log p(label), and 1 where it is the most likely token."""
    return cross_entropy(logits, labels), (logits.argmax(axis=-1) == labels).astype(jnp.float32)
