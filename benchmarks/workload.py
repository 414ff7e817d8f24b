"""What is timed where training is timed: language models on random tokens, by the program that `ablations run` uses."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import measure
from lab.comparison.time.speed import TRAINING_PASSES
from lab.data.dataset import Dataset
from lab.experiment.experiment import Cell, Experiment, grid
from lab.tasks.language import CausalLanguage
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Kind
from lab.training.runs import Program
from lab.training.settings import Hyperparameters, Settings
from models.layers.stack import ComputeType
from models.transformer import Transformer

CHARACTERS = 65  # of the small Shakespeare text


@dataclass(frozen=True)
class Size:
    """A model and its batches."""

    d_model: int
    n_layers: int
    n_heads: int
    context: int
    batch_size: int
    vocab_size: int = CHARACTERS
    dtype: ComputeType = "float32"

    @property
    def tokens(self) -> int:
        """Tokens of a batch."""
        return self.batch_size * self.context

    @property
    def peer(self) -> dict[str, Any]:
        """The model by nanoGPT's names."""
        sizes = {"n_layer": self.n_layers, "n_head": self.n_heads, "n_embd": self.d_model}
        return {"vocab_size": self.vocab_size, "block_size": self.context, "dropout": 0.0, "bias": False, **sizes}


def experiment(size: Size, seeds: int, data: str = "stdlib") -> Experiment:
    """The training that is timed: a causal decoder without biases, with the exact GELU, trained by AdamW."""
    return Experiment(
        name="benchmark",
        question="How fast?",
        task=CausalLanguage(data, size.context, tokenizer="characters", vocabulary=size.vocab_size),
        model=Transformer(
            vocab_size=size.vocab_size,
            context=size.context,
            d_model=size.d_model,
            n_layers=size.n_layers,
            n_heads=size.n_heads,
            bias=False,
            dtype=size.dtype,
        ),
        activations=("gelu",),
        seeds=tuple(range(seeds)),
        settings=Settings(batch_size=size.batch_size, schedule="constant", warmup_steps=0),
        hyperparameters=Hyperparameters(learning_rate=1e-3),
    )


def random_tokens(size: Size) -> Dataset:
    """A million random tokens to train on."""
    tokens = np.random.default_rng(0).integers(size.vocab_size, size=10**6, dtype=np.uint16)
    rest: dict[str, np.ndarray] = {"tokens": tokens[: 10 * size.context], "bytes": np.ones(10 * size.context, np.uint8)}
    return Dataset({"train": {"tokens": tokens}, "validation": rest, "test": rest}, {})


def trainer(size: Size, seeds: int) -> Callable[[int], float]:
    """A function that trains all seeds for n more steps, without evaluation, and returns the seconds."""
    return trainer_of(grid(experiment(size, seeds))[0], random_tokens(size))


def trainer_of(cell: Cell, dataset: Dataset, kind: Kind = "auto") -> Callable[[int], float]:
    """Such a function for the runs of a cell."""
    execution = Execution.choose(kind, len(cell.runs))
    execution = execution.with_parts(cell.model, cell.task, cell.settings, dataset.arrays["train"])
    program = Program(cell.model, cell.task, cell.settings, cell.runs, dataset, execution)
    state = program.init()

    def train(steps: int) -> float:
        nonlocal state
        begin = time.perf_counter()
        state, _ = program.train_interval(state, 0, steps)
        return time.perf_counter() - begin

    return train


def rate(train: Callable[[int], float], tokens: int, seconds: float, at_least: int = 4) -> Callable[[], float]:
    """A measurement of tokens per second, given the tokens of a step, that takes about `seconds` seconds.

    Four steps at least, since every call copies the state of all seeds once.
    """
    steps = measure.fitting(train, seconds, at_least)
    return lambda: tokens * steps / train(steps)


def flops_per_token(size: Size) -> float:
    """FLOPs of the matrix products of a training step, for each token and seed."""
    return TRAINING_PASSES * grid(experiment(size, 1))[0].cost(random_tokens(size))["flops_per_token"]
