"""Language modelling: what a model of text is asked to predict."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Integer, UInt8

from tasks.data.corpora import check_corpus, corpus
from tasks.task import Dataset, Stream, stream_key


@dataclass(frozen=True)
class CausalLanguage:
    """Predict every byte of a text from the bytes before it.

    `data` names a corpus (see `tasks.data.corpora`), `context` is the number of bytes a model sees, and
    `evaluation_windows` is how many windows of a split are evaluated, spread evenly over it; 0 is all of them.
    Raises ValueError for an unknown corpus or a number out of range.
    """

    data: str = "stdlib"
    context: int = 128
    evaluation_windows: int = 64

    def __post_init__(self) -> None:
        check_corpus(self.data)
        if self.context < 1:
            raise ValueError(f"context must be at least 1 byte, not {self.context}")
        if self.evaluation_windows < 0:
            raise ValueError(f"evaluation_windows must be 0 (all) or more, not {self.evaluation_windows}")

    @property
    def name(self) -> str:
        """The task in tables."""
        return f"causal_language:{self.data}"

    @property
    def vocab_size(self) -> int:
        """The number of values of a token: a token is a byte."""
        return 256

    @property
    def tokens_per_example(self) -> int:
        """Predictions in one example."""
        return self.context

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The corpus, every split with the one field `tokens`, uint8 [n]. Raises what `corpus` raises."""
        return corpus(self.data, data_dir)

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError when a split is too short for one window, or too long for 32-bit positions."""
        sizes = {split: fields["tokens"].size for split, fields in dataset.arrays.items()}
        shortest = min(sizes, key=lambda split: sizes[split])
        if sizes[shortest] <= self.context:
            raise ValueError(
                f"context {self.context} does not fit {self.data}: its {shortest} split has {sizes[shortest]} bytes, "
                f"and a window takes context + 1 of them"
            )
        if max(sizes.values()) >= 2**31:
            raise ValueError(
                f"data {self.data!r} has a split of {max(sizes.values())} bytes; at most 2**31 - 1 are allowed"
            )

    def batch(
        self,
        arrays: Mapping[str, Array],
        seed: int | Integer[Array, ""],
        step: int | Integer[Array, ""],
        batch_size: int,
    ) -> dict[str, Array]:
        """Windows at uniformly random places of the training text: `tokens`, uint8 [batch_size, context + 1]."""
        tokens = arrays["tokens"]
        # The last start is size - context - 1, so that no index passes size - 1 and int32 suffices below 2**31 bytes.
        key = stream_key(seed, Stream.BATCH, step)
        starts = jax.random.randint(key, (batch_size, 1), 0, tokens.size - self.context)
        return {"tokens": tokens[starts + jnp.arange(self.context + 1)[None, :]]}

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Int[Array, "batch context"]]:
        """All bytes of a window but the last."""
        return (batch["tokens"][:, :-1].astype(jnp.int32),)

    def loss(self, outputs: Float[Array, "batch context vocab"], batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The mean cross-entropy of the next byte, in nats."""
        return _cross_entropy(outputs, batch["tokens"]).mean()

    def evaluation_batches(
        self, arrays: Mapping[str, UInt8[np.ndarray, " n"]], batch_size: int
    ) -> dict[str, np.ndarray]:
        """The windows that are evaluated: `tokens`, uint8 [n_batches, batch_size, context + 1], and `weight`, f32
        [n_batches, batch_size, context], 1 for a target and 0 for padding.

        Windows lie end to end, the last byte of one being the first of the next, and the last may be partly padding:
        all of them together predict every byte of the split but the first exactly once.
        """
        tokens = arrays["tokens"]
        last = tokens.size - 1
        available = math.ceil(last / self.context)
        count = min(self.evaluation_windows or available, available)
        starts = self.context * (np.arange(count) * available // count)
        positions = starts[:, None] + np.arange(self.context + 1)[None, :]
        fields = {
            "tokens": tokens[np.minimum(positions, last)],
            "weight": (positions[:, 1:] <= last).astype(np.float32),
        }
        padding = ((0, -count % batch_size), (0, 0))
        return {field: np.pad(rows, padding).reshape(-1, batch_size, rows.shape[1]) for field, rows in fields.items()}

    def metrics(
        self, outputs: Float[Array, "batch context vocab"], batch: Mapping[str, Array]
    ) -> dict[str, tuple[Float[Array, ""], Float[Array, ""]]]:
        """`loss`: the summed cross-entropy of the targets in nats, and their number."""
        weight = batch["weight"]
        return {"loss": (jnp.sum(weight * _cross_entropy(outputs, batch["tokens"])), jnp.sum(weight))}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The mean loss in nats, and `bits_per_byte`; a token is a byte, so only the unit differs."""
        return {**means, "bits_per_byte": means["loss"] / math.log(2)}


def _cross_entropy(
    logits: Float[Array, "batch context vocab"], windows: UInt8[Array, "batch window"]
) -> Float[Array, "batch context"]:
    """-log p(next byte) in nats, in f32 whatever the logits are."""
    targets = windows[:, 1:].astype(jnp.int32)
    return optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
