"""The trained networks of a cell, read from its last checkpoints."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lab.data.dataset import Dataset
from lab.results.cells import CellDirectory
from lab.tasks.task import Task
from lab.training import checkpoints, step
from lab.training.settings import Hyperparameters, Run, Settings


def networks(
    model: Any, task: Task, settings: Settings, runs: Sequence[Run], directory: Path, dataset: Dataset
) -> Iterator[tuple[Run, dict[str, Any]]]:
    """Each of `runs` with the variables of its network at the last step, as NumPy arrays for `model.apply`.

    Raises ValueError for a run that has not finished training, and for a damaged checkpoint.
    """
    for run, state in states(model, task, settings, runs, directory, dataset):
        yield run, {"params": state.parameters, **state.collections}


def states(
    model: Any, task: Task, settings: Settings, runs: Sequence[Run], directory: Path, dataset: Dataset
) -> Iterator[tuple[Run, step.State]]:
    """Each of `runs` with its state at the last step, the optimizer's included, in NumPy arrays; raises what `networks`
    does."""
    waves = [wave for wave in CellDirectory(directory).waves() if wave.done]
    asked, found = [run.identity for run in runs], [identity for wave in waves for identity in wave.runs]
    if lacking := [identity for identity in asked if identity not in found]:
        raise ValueError(f"{directory} lacks seed {lacking[0]['seed']}: run the experiment first")
    one = shapes(model, task, settings, dataset)
    for wave in waves:
        wanted = [index for index, identity in enumerate(wave.runs) if identity in asked]
        if not wanted:
            continue
        abstract = jax.tree.map(partial(_many, len(wave.runs)), one)
        state, _ = checkpoints.restore(wave.checkpoints, settings.steps, abstract)
        for index in wanted:
            yield Run.of(wave.runs[index]), jax.tree.map(lambda leaf, index=index: leaf[index], state)


def shapes(model: Any, task: Task, settings: Settings, dataset: Dataset) -> step.State:
    """Shapes and types of the state of one run."""
    init = partial(step.init, model, task, settings)
    return jax.eval_shape(init, np.uint32(0), Hyperparameters(), {"train": dataset.arrays["train"]})


def _many(runs: int, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((runs, *leaf.shape), leaf.dtype)
