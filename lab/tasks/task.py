"""The contract between what is learned and how: the Task protocol, and the keys of a run."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import jax
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from lab.data.dataset import Dataset


class Stream(IntEnum):
    """What a run draws at random, each from keys of its own. The numbers are part of every result: never renumber."""

    INIT = 0
    BATCH = 1
    DROPOUT = 2


Values = TypeVar("Values")


@runtime_checkable
class Task(Protocol):
    """What is learned: examples, the order they come in, the objective, the metrics.

    Implementations are frozen, hashable dataclasses of plain values, so that a task can be a static argument of a
    jitted function and its fields can be an experiment's axes. `batch`, `inputs`, `loss` and `metrics` are pure and run
    inside jit.
    """

    directions: ClassVar[Mapping[str, str]]
    """Metric -> "min" or "max", what is better; a metric that is not named gets no verdict, the loss is minimized."""

    @property
    def name(self) -> str:
        """The task in tables."""
        ...

    @property
    def tokens_per_example(self) -> int:
        """What throughput counts in one example: the tokens that are read, or where an example is one thing, itself."""
        ...

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The examples, read on the host. `data_dir` None: the environment's `TFDS_DATA_DIR`, else TFDS's default."""
        ...

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError when the task's fields do not fit the dataset."""
        ...

    def batch(self, arrays: Mapping[str, Array | np.ndarray], seed: Any, step: Any, batch_size: int) -> dict[str, Any]:
        """The training batch of a step, a function of (seed, step) alone: the same for every model.

        Of NumPy's arrays and numbers it is the same batch in NumPy, and of seeds [n, 1] the n batches of all: so the
        host reads what the device cannot hold.
        """
        ...

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Array, ...]:
        """The model's positional inputs."""
        ...

    def loss(self, outputs: Array, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The training objective: a mean over the batch, f32."""
        ...

    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """A split's fixed evaluation batches: fields with leading axes [n_batches, batch_size]; padding weighs 0."""
        ...

    def metrics(self, outputs: Array, batch: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """Of an evaluation batch: metric -> (sum, weight), to be added over batches and divided."""
        ...

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means over a split together with the metrics derived from them."""
        ...


def of_each_token(function: Callable[..., Values], outputs: Any, *fields: Array) -> Values:
    """`function(logits [*tokens, vocab], *fields [*tokens]) -> [*tokens]`, or a tree of such arrays; a model whose
    logits are too many to be formed at once has it mapped over portions of them, each formed once."""
    return outputs.map_tokens(function, *fields) if hasattr(outputs, "map_tokens") else function(outputs, *fields)


def stream_key(seed: int | Integer[Array, ""], stream: Stream, step: int | Integer[Array, ""] = 0) -> Key[Array, ""]:
    """The PRNG key of a stream at a step. Nothing of the model enters, so that arms with the same seed are paired."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(stream)), step)
