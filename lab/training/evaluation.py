"""What is evaluated, when: batches of the host in portions of one shape, and what a portion of them gives together."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from lab.data.dataset import Dataset
from lab.results.examples import Measured
from lab.tasks.task import Task, final_batches
from lab.training.settings import EVALUATED, Settings

Fields = dict[str, np.ndarray]
Sums = dict[str, tuple[np.ndarray, np.ndarray]]

PORTION_BYTES = 2**26  # of batches on a device at once
TELEMETRY_TOKENS = 128  # that telemetry looks at: a look then costs less than a step of 512


@dataclass(frozen=True, eq=False)
class Batches:
    """The evaluated examples of a split: fields [n_batches, batch_size, ...], and the document of each example."""

    fields: Fields
    document: Int[np.ndarray, "n_batches batch_size"]

    @classmethod
    def of(cls, fields: Mapping[str, np.ndarray]) -> "Batches":
        """Batches as a task gives them; without documents each example is its own."""
        shape = next(iter(fields.values())).shape[:2]
        document = fields.get("document", np.arange(np.prod(shape)).reshape(shape))
        return cls({name: field for name, field in fields.items() if name != "document"}, document)

    def __len__(self) -> int:
        return len(self.document)

    @property
    def nbytes(self) -> int:
        """The size of the fields."""
        return sum(field.nbytes for field in self.fields.values())

    def first(self, examples: int) -> Fields:
        """So many examples of the first batch, fields [examples, ...], without those that only fill it up."""
        batch = {name: field[0] for name, field in self.fields.items()}
        if (weight := batch.get("weight")) is not None:
            counted = (weight.reshape(len(weight), -1) > 0).any(axis=1)
            batch = {name: field[counted] for name, field in batch.items()}
        return {name: field[:examples] for name, field in batch.items()}

    def portions(self, length: int) -> Iterator[Fields]:
        """The fields of so many batches at a time, the last filled up with zeros, which weigh nothing."""
        for begin in range(0, len(self), length):
            parts = {name: field[begin : begin + length] for name, field in self.fields.items()}
            yield {name: _filled(part, length) for name, part in parts.items()}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """`curve`: the batches of validation that curves are of; `final`: those of validation and of test at the last step.

    All are evaluated in portions of `length` batches, so that one program does it, which has no more of them on the
    device than the curve, or than `PORTION_BYTES`. `inside` are the first examples of the curve, the batch of
    telemetry.
    """

    curve: Batches
    final: dict[str, Batches]
    length: int
    inside: Fields

    @classmethod
    def of(cls, task: Task, settings: Settings, dataset: Dataset) -> "Evaluation":
        """What a task evaluates of a data set."""
        size, examples = settings.batch_size, settings.final_examples
        curve = Batches.of(task.evaluation_batches(dataset.arrays["validation"], size))
        final = {split: final_batches(task, dataset.arrays[split], size, examples) for split in EVALUATED}
        portions = -(-curve.nbytes // PORTION_BYTES)
        length = -(-len(curve) // min(portions, len(curve)))
        inside = curve.first(min(size, max(1, TELEMETRY_TOKENS // task.tokens_per_example)))
        return cls(curve, {split: Batches.of(fields) for split, fields in final.items()}, length, inside)

    @property
    def final_is_larger(self) -> bool:
        """Whether the evaluation at the last step is on other examples than the curve."""
        curve, final = self.curve.fields, self.final["validation"].fields
        return any(not np.array_equal(curve[name], final[name]) for name in curve)


def total(parts: Iterable[Sums]) -> Sums:
    """The sums and weights of portions, added."""
    first, *others = parts
    for other in others:
        first = {name: (first[name][0] + other[name][0], first[name][1] + other[name][1]) for name in first}
    return first


def by_example(parts: list[Sums], batches: Batches) -> dict[str, Measured]:
    """Metric -> its values of the examples, of portions that have them in order; padding is left out."""
    document = batches.document.reshape(-1)
    found = {}
    for name in parts[0]:
        sums, weights = (np.concatenate([part[name][index] for part in parts], axis=1) for index in (0, 1))
        flat = sums.reshape(len(sums), -1)[:, : len(document)]
        weight = weights[0].reshape(-1)[: len(document)]  # the task's, and so that of every run
        counted = weight > 0
        found[name] = Measured(_means(flat[:, counted], weight[counted]), weight[counted], document[counted])
    return found


def _means(
    sums: Float[np.ndarray, "runs examples"], weight: Float[np.ndarray, " examples"]
) -> Float[np.ndarray, "runs examples"]:
    return (sums / weight[None, :]).astype(np.float32)


def _filled(part: np.ndarray, length: int) -> np.ndarray:
    """The batches with as many of zeros behind them as are missing."""
    return np.pad(part, ((0, length - len(part)), *((0, 0),) * (part.ndim - 1))) if len(part) < length else part
