"""From cells to rows: trains the cells of an experiment in this process, beside other runners on the same directory."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.experiment import Cell
from records.cells import CellDirectory
from records.locks import lock
from runner.plan import cell_directory
from runner.sources import beginning
from training import hosts
from training.execution import Placement
from training.train import Dataset, Row, train

Watch = Callable[[Cell, int, list[Row]], None]


@lru_cache(maxsize=2)  # cells mostly have one task, and a set can be large
def load(task: Any) -> Dataset:
    """The examples of a task."""
    return task.load()


def dispatch(
    cells: Sequence[Cell],
    directory: Path,
    placement: Placement,
    retrain: bool,
    watch: Watch,
    profile: bool = False,
) -> None:
    """Trains what is missing of every cell; a cell that another runner holds comes last, when it is free again.

    `profile` traces a few steps of each cell that is trained into DIRECTORY/profile/CELL.

    No run is trained twice: whoever waited finds it done. Raises what `training.train.train` and
    `runner.sources.beginning` raise.
    """
    for cell in cells:
        if cell.start:
            beginning(cell, cell.start, directory, load)  # one that does not fit is refused before anything is trained
    held = [cell for cell in cells if not _cell(cell, directory, placement, retrain, watch, profile, wait=False)]
    for cell in held:
        _cell(cell, directory, placement, False, watch, profile, wait=True)


def _cell(
    cell: Cell,
    directory: Path,
    placement: Placement,
    retrain: bool,
    watch: Watch,
    profile: bool,
    wait: bool,
) -> bool:
    """Trains one cell under its lock; False if another runner has it."""
    folder = cell_directory(directory, cell)
    with _held(folder, wait) as mine:
        if not mine:
            return False
        hosts.once(lambda: _prepare(folder, cell.description(load(cell.task)), retrain))
        train(
            cell.model,
            cell.task,
            cell.settings,
            cell.runs,
            folder.path,
            load(cell.task),
            placement,
            lambda step, rows: watch(cell, step, rows),
            directory / "profile" / cell.name if profile else None,
            beginning(cell, cell.start, directory, load) if cell.start else None,
        )
        return True


@contextmanager
def _held(folder: CellDirectory, wait: bool) -> Iterator[bool]:
    """The lock of a cell, which the first process holds for all; whether they have it."""
    with lock(folder.lock, wait) if hosts.first() else nullcontext(True) as mine:
        yield hosts.once(lambda: mine)


def _prepare(folder: CellDirectory, description: dict[str, Any], retrain: bool) -> None:
    folder.sweep()
    if retrain:
        folder.clear()
    folder.describe(description)
