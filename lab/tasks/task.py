"""The interface between tasks and training: the Task protocol, and the random streams of a run."""

from collections.abc import Callable, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from lab.data.dataset import Dataset


class Stream(IntEnum):
    """The random streams of a run, each with its own keys. The numbers are part of every result: never renumber."""

    INIT = 0
    BATCH = 1
    DROPOUT = 2


Values = TypeVar("Values")


@runtime_checkable
class Task(Protocol):
    """What is learned: examples, their order, the objective and the metrics.

    Implementations are frozen, hashable dataclasses of plain values, so that a task can be a static argument of a
    jitted function and its fields can be an experiment's axes. `batch`, `inputs`, `loss` and `metrics` are pure and run
    inside jit.

    Two methods a task may have and need not: see `measured` for `example_metrics`, `final_batches` for
    `final_evaluation_batches`.
    """

    @property
    def directions(self) -> Mapping[str, str]:
        """Metric -> "min" or "max", what is better; one that is not named gets no verdict. The loss is minimized.

        A class attribute, `directions = {"auc": "max"}`, will do.
        """
        ...

    @property
    def name(self) -> str:
        """The task in tables."""
        ...

    @property
    def tokens_per_example(self) -> int:
        """Unit of throughput per example: the tokens that are read, or 1 if an example is a single item."""
        ...

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The examples, read on the host. `data_dir` None: the environment's `TFDS_DATA_DIR`, else TFDS's default."""
        ...

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if the task's fields do not fit the dataset."""
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
        """A split's fixed evaluation batches: fields with leading axes [n_batches, batch_size]; padding weighs 0.

        A field `document`, whole numbers [n_batches, batch_size], says which examples were drawn together, as windows
        of one text are: the unit over which a standard error over the text is taken. Without it each is its own.
        """
        ...

    def metrics(self, outputs: Array, batch: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """Metrics of an evaluation batch, as (sum, weight), to be summed over batches and divided."""
        ...

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means over a split, together with metrics derived from them."""
        ...


Sums = dict[str, tuple[Array, Array]]
"""Metric -> its sum and its weight, arrays of equal shape."""


def measured(task: Task, outputs: Any, batch: Mapping[str, Array]) -> tuple[Sums, Sums]:
    """The metrics of an evaluation batch, and those of each of its examples, [batch_size] each.

    A task with a method `example_metrics(outputs, batch)` gives the latter itself, and the former are their sums. Of
    any other each example is measured as a batch of one; where outputs are no array, whose first axis is the batch's,
    nothing is known of single examples.
    """
    if (of_examples := getattr(task, "example_metrics", None)) is not None:
        examples = of_examples(outputs, batch)
        return totals(examples), examples
    if not isinstance(outputs, jax.Array):
        return task.metrics(outputs, batch), {}

    def alone(output: Array, example: Mapping[str, Array]) -> Sums:
        return task.metrics(output[None], jax.tree.map(lambda field: field[None], example))

    return task.metrics(outputs, batch), jax.vmap(alone)(outputs, dict(batch))


def totals(examples: Sums) -> Sums:
    """Sums and weights of examples, added."""
    return {metric: (jnp.sum(value), jnp.sum(weight)) for metric, (value, weight) in examples.items()}


def final_batches(
    task: Task, arrays: Mapping[str, np.ndarray], batch_size: int, examples: int
) -> dict[str, np.ndarray]:
    """The batches of the evaluation at the last step: about so many examples of a split, but at least those of
    `Task.evaluation_batches`, and at most all.

    A task with a method `final_evaluation_batches(arrays, batch_size, examples)` chooses them; any other is evaluated
    on the same ones at every step.
    """
    choose = getattr(task, "final_evaluation_batches", None)
    return task.evaluation_batches(arrays, batch_size) if choose is None else choose(arrays, batch_size, examples)


def of_each_token(function: Callable[..., Values], outputs: Any, *fields: Array) -> Values:
    """Apply `function(logits [*tokens, vocab], *fields [*tokens]) -> [*tokens]`, or a tree of such arrays; chunked
    logits (`Logits`) are mapped over, each chunk computed once."""
    return outputs.map_tokens(function, *fields) if hasattr(outputs, "map_tokens") else function(outputs, *fields)


def stream_key(seed: int | Integer[Array, ""], stream: Stream, step: int | Integer[Array, ""] = 0) -> Key[Array, ""]:
    """The PRNG key of a stream at a step. It does not depend on the model, so arms with the same seed are paired."""
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), int(stream)), step)
