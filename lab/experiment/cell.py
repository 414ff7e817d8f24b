"""Cell: all runs of an experiment that are one compiled program, as a frozen value with a canonical form and a name."""

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

import jax

from lab.data.dataset import Dataset
from lab.experiment.fields import field_names
from lab.experiment.init_from import InitFrom
from lab.experiment.own_code import OwnCode, own_code
from lab.experiment.serialization import canonical
from lab.probes.cost import cost
from lab.tasks.task import completed
from lab.training.settings import Run, Settings
from models.activations import ACTIVATIONS, Activation, activation
from models.model import check_fields

INIT_FROM = "start"
"""The key of init_from in JSON: with another, earlier results would not be found."""


@dataclass(frozen=True)
class Cell:
    """All runs that one compiled program trains: task, model and settings are theirs in common.

    The task has all of `lab.tasks.task.Task`, whatever of it was left out.
    """

    task: Any
    model: Any
    settings: Settings
    axes: tuple[tuple[str, Any], ...]  # name and value of each static axis
    runs: tuple[Run, ...]
    init_from: InitFrom | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "task", completed(self.task))

    @property
    def activation(self) -> Activation:
        """The activation of the cell's model."""
        return self.model.activation

    @property
    def name(self) -> str:
        """A readable, unique name: the values of the axes and the hash of the canonical form without the runs."""
        words = [self.activation.name, *(re.sub(r"[^A-Za-z0-9.+-]+", "_", str(value))[:40] for _, value in self.axes)]
        return "-".join([*words, self.digest])

    @property
    def digest(self) -> str:
        """8 hex digits of the SHA-256 of the canonical form."""
        text = json.dumps(self.canonical, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    @property
    def canonical(self) -> dict[str, Any]:
        """Task, model, settings, and the network to start from if there is one, as JSON."""
        parts = {part: canonical(getattr(self, part)) for part in ("task", "model", "settings")}
        return parts | ({} if self.init_from is None else {INIT_FROM: canonical(self.init_from)})

    def cost(self, dataset: Dataset) -> dict[str, Any]:
        """What one run costs, before anything is compiled: see `lab.probes.cost.cost`."""
        shapes = jax.eval_shape(
            lambda arrays: self.task.inputs(self.task.batch(arrays, 0, 0, 1)), dataset.arrays["train"]
        )
        return cost(self.model, shapes, self.task.tokens_per_example)

    def own_code(self, dataset: Dataset) -> OwnCode:
        """What the user's own code in it computes: see `lab.experiment.own_code.own_code`."""
        return own_code(self.model, self.task, self.settings.batch_size, dataset)

    def description(self, dataset: Dataset) -> dict[str, Any]:
        """The cell as JSON, as results keep it: its canonical form with names, axes and cost."""
        parts = self.canonical
        return {
            "cell": self.name,
            "activation": self.activation.name,
            "axes": {name: canonical(value) for name, value in self.axes},
            "task": {"name": self.task.name, **parts["task"]},
            "model": {"name": type(self.model).__name__.lower(), **parts["model"]},
            "settings": parts["settings"],
            **({INIT_FROM: parts[INIT_FROM]} if self.init_from else {}),
            "cost": self.cost(dataset),
        }

    def check(self) -> None:
        """Raises ValueError where a field is not allowed, or the activation is not what it was when it was made."""
        self.settings.check()
        self.activation.check()
        for run in self.runs:
            run.hyperparameters.check()
            self._check_constant(run.hyperparameters.activation_constant)
        check_fields(self.model, getattr(self.task, "context", None))
        for part in ("task", "model"):
            _check_form(part, getattr(self, part))
        needed = getattr(self.task, "vocab_size", 0)
        if (vocabulary := getattr(self.model, "vocab_size", needed)) < needed:
            raise ValueError(f"model.vocab_size is {vocabulary}: it must be at least {needed}, the task's")

    def _check_constant(self, constant: float | None) -> None:
        """Raises ValueError for a constant of an activation that has none."""
        if constant is not None and "constant" not in dict(self.activation.parameters):
            having = [name for name in ACTIVATIONS if "constant" in dict(activation(name).parameters)]
            raise ValueError(
                f"hyperparameters.activation_constant is {constant}, but activation '{self.activation.name}' has no "
                f"constant: allowed are {', '.join(having)}"
            )

    def metrics(self, dataset: Dataset, split: str) -> list[str]:
        """Names of the metrics on a split, found without measuring."""
        if split == "train":
            return [*self.task.summary({"loss": 0.0}), "gradient_norm", "largest_loss", "largest_gradient_norm"]
        batches = self.task.evaluation_batches(dataset.arrays[split], 1)

        def measure(batch):
            outputs, _ = self.model.init_with_output(jax.random.key(0), *self.task.inputs(batch))
            sums = self.task.metrics(outputs, batch)
            return self.task.summary({name: total / weight for name, (total, weight) in sums.items()})

        return list(jax.eval_shape(measure, jax.tree.map(lambda array: array[0], batches)))

    def check_code(self, dataset: Dataset) -> None:
        """Raises ValueError where a user's own model or task does not go with the other, or with the activation; it is
        traced, and nothing computed. What the user's code raises passes through, unless the activation may be why."""
        kind, arm = type(self.model).__name__, self.activation

        def loss(arrays):
            batch = self.task.batch(arrays, 0, 0, 1)
            outputs, variables = self.model.init_with_output(jax.random.key(0), *self.task.inputs(batch))
            return self.task.loss(outputs, batch), variables

        try:
            found, variables = jax.eval_shape(loss, dataset.arrays["train"])
        except TypeError as error:
            if not (arm.gated or arm.parameters):
                raise
            raise ValueError(
                f"model {kind} does not compute with activation '{arm.name}', which is gated or has learned parameters "
                f"({error}): use models.layers.feedforward.FeedForward, which takes any"
            ) from error
        if "params" not in variables:
            raise ValueError(f"model {kind} has no parameters: there is nothing to train")
        if getattr(found, "shape", None) != ():
            raise ValueError(
                f"the loss of task {type(self.task).__name__} is {found}: it must be one number, a mean over the batch"
            )


def _check_form(part: str, value: Any) -> None:
    """Raises ValueError where a task or a model has no form in JSON, by which its results are found again."""
    for name in field_names(value):
        try:
            canonical(getattr(value, name))
        except TypeError as error:
            raise ValueError(f"{part}.{name} of {type(value).__name__}: {error}") from None
