"""The interface between tasks and training: the Task protocol with its defaults, and the random streams of a run."""

import dataclasses
from collections.abc import Callable, Mapping
from enum import IntEnum
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Key

from lab.data.dataset import SPLITS, Dataset
from lab.tasks.examples import Examples


class Stream(IntEnum):
    """The random streams of a run, each with its own keys. The numbers are part of every result: never renumber."""

    INIT = 0
    BATCH = 1
    DROPOUT = 2


Values = TypeVar("Values")
TaskT = TypeVar("TaskT")


@runtime_checkable
class Task(Protocol):
    """What is learned: examples, their order, the objective and the metrics.

    Implementations are frozen, hashable dataclasses of plain values, so that a task can be a static argument of a
    jitted function and its fields can be an experiment's axes. They need `load`, `inputs` and `loss`, and nothing of
    this project to inherit: the rest, where it is missing, is as here (see `completed`). `batch`, `inputs`, `loss` and
    `metrics` are pure and run inside jit.

    Two methods more a task may have: see `measured` for `example_metrics`, `final_batches` for
    `final_evaluation_batches`.
    """

    @property
    def directions(self) -> Mapping[str, str]:
        """Metric -> "min" or "max", what is better; one that is not named gets no verdict. The loss is minimized.

        A class attribute, `directions = {"auc": "max"}`, will do.
        """
        return {}

    @property
    def name(self) -> str:
        """The task in tables; its type's name unless given."""
        return type(self).__name__

    @property
    def tokens_per_example(self) -> int:
        """Unit of throughput per example: the tokens that are read, or 1 if an example is a single item."""
        return 1

    def load(self, data_dir: Path | None = None) -> Dataset:
        """The examples, read on the host. `data_dir` None: the environment's `TFDS_DATA_DIR`, else TFDS's default."""
        ...

    def check(self, dataset: Dataset) -> None:
        """Raises ValueError if the task's fields do not fit the dataset."""

    def batch(self, arrays: Mapping[str, Array | np.ndarray], seed: Any, step: Any, batch_size: int) -> dict[str, Any]:
        """The training batch of a step, a function of (seed, step) alone: the same for every model.

        Of NumPy's arrays and numbers it is the same batch in NumPy, and of seeds [n, 1] the n batches of all: so the
        host reads what the device cannot hold. Unless given, examples are the rows of the arrays, each once an epoch.
        """
        return Examples.batch(self, arrays, seed, step, batch_size)  # type: ignore[arg-type]

    def inputs(self, batch: Mapping[str, Array]) -> tuple[Array, ...]:
        """The model's positional inputs."""
        ...

    def loss(self, outputs: Array, batch: Mapping[str, Array]) -> Float[Array, ""]:
        """The training objective: a mean over the batch, f32."""
        ...

    def evaluation_batches(self, arrays: Mapping[str, np.ndarray], batch_size: int) -> dict[str, np.ndarray]:
        """A split's fixed evaluation batches: fields with leading axes [n_batches, batch_size]; padding weighs 0.

        A field `document`, whole numbers [n_batches, batch_size], says which examples were drawn together, as windows
        of one text are: the unit over which a standard error over the text is taken. Without it each is its own. Unless
        given, the batches are all rows in order, with the weight of each in `weight`.
        """
        return Examples.evaluation_batches(self, arrays, batch_size)  # type: ignore[arg-type]

    def metrics(self, outputs: Array, batch: Mapping[str, Array]) -> dict[str, tuple[Array, Array]]:
        """Metrics of an evaluation batch, as (sum, weight), to be summed over batches and divided.

        Unless given, `loss` alone: the objective of every example by itself.
        """

        def one(*example: Any) -> Array:
            return self.loss(*jax.tree.map(lambda leaf: leaf[None], example))

        weight, losses = batch["weight"], jax.vmap(one)(outputs, dict(batch))
        return {"loss": (jnp.sum(jnp.where(weight > 0, weight * losses, 0.0)), jnp.sum(weight))}

    def summary(self, means: Mapping[str, Any]) -> dict[str, Any]:
        """The means over a split, together with metrics derived from them; none unless given."""
        return dict(means)


REQUIRED = ("load", "inputs", "loss")
"""What every task says for itself."""


def check_task(task: Any) -> None:
    """Raises ValueError, in one sentence, for what is no task: see `Task`."""
    kind = type(task).__name__
    if isinstance(task, type) or not dataclasses.is_dataclass(task):
        hint = f"; did you mean {task.__name__}()?" if isinstance(task, type) else ""
        raise ValueError(f"task is {task!r}: it must be a frozen dataclass{hint}")
    if missing := [name for name in REQUIRED if getattr(task, name, None) is None or _is_stub(type(task), name)]:
        raise ValueError(f"task {kind} lacks {', '.join(missing)}: a task has the methods {', '.join(REQUIRED)}")
    if type(task).__hash__ is None:
        raise ValueError(f"task {kind} has no hash: write @dataclass(frozen=True) above it")


def _is_stub(kind: type, name: str) -> bool:
    """Whether a type has the protocol's own method, which says nothing: it inherits from `Task`."""
    return getattr(kind, name, None) is getattr(Task, name)


def check_splits(task: Task, dataset: Dataset) -> None:
    """Raises ValueError where a data set lacks a split, or has one without examples."""
    for split in SPLITS:
        arrays = dataset.arrays.get(split)
        if not arrays or not all(len(array) for array in arrays.values()):
            raise ValueError(f"the data of task {task.name} has no examples in split '{split}': every split needs some")


def completed(task: TaskT) -> TaskT:
    """The task with all of `Task`, by its own type's name: what it does not define itself is as there."""
    if not dataclasses.is_dataclass(task) or isinstance(task, type):
        return task  # `check_task` refuses it
    missing = tuple(name for name in DEFAULTS if not hasattr(task, name))
    return recast(task, _completed(type(task), missing)) if missing else task


@cache
def _completed(kind: type, missing: tuple[str, ...]) -> type:
    """A kind of task with defaults for what is missing; one type a kind, so that equal tasks stay equal."""
    names = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    return type(kind.__name__, (kind,), names | {name: DEFAULTS[name] for name in missing})


def recast(task: Any, kind: type) -> Any:
    """The task as another type with the same fields."""
    return kind(**{field.name: getattr(task, field.name) for field in dataclasses.fields(task) if field.init})


DEFAULTS = {name: member for name, member in vars(Task).items() if not name.startswith("_") and name not in REQUIRED}


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
