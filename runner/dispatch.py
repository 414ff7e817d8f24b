"""From cells to rows: trains the cells of an experiment in this process, beside other runners on the same directory."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.experiment import Cell
from records.locks import lock
from runner.plan import cell_directory
from training.reading import Place
from training.runs import Kind
from training.train import Dataset, Row, train

Watch = Callable[[Cell, int, list[Row]], None]


@lru_cache(maxsize=2)  # cells mostly have one task, and a set can be large
def load(task: Any) -> Dataset:
    """The examples of a task."""
    return task.load()


def dispatch(
    cells: Sequence[Cell],
    directory: Path,
    kind: Kind,
    data_on: Place,
    retrain: bool,
    watch: Watch,
) -> None:
    """Trains what is missing of every cell; a cell that another runner holds comes last, when it is free again.

    No run is trained twice: whoever waited finds it done. Raises what `training.train.train` raises.
    """
    held = [cell for cell in cells if not _cell(cell, directory, kind, data_on, retrain, watch, wait=False)]
    for cell in held:
        _cell(cell, directory, kind, data_on, False, watch, wait=True)


def _cell(
    cell: Cell,
    directory: Path,
    kind: Kind,
    data_on: Place,
    retrain: bool,
    watch: Watch,
    wait: bool,
) -> bool:
    """Trains one cell under its lock; False if another runner has it."""
    folder = cell_directory(directory, cell)
    with lock(folder.lock, wait) as mine:
        if not mine:
            return False
        folder.sweep()
        if retrain:
            folder.clear()
        folder.describe(cell.description(load(cell.task)))
        train(
            cell.model,
            cell.task,
            cell.settings,
            cell.runs,
            folder.path,
            load(cell.task),
            kind,
            lambda step, rows: watch(cell, step, rows),
            data_on,
        )
        return True
