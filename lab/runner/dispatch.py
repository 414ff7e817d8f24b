"""From cells to rows: trains the cells of an experiment in this process, beside other runners on the same directory."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lab.experiment.experiment import Cell
from lab.experiment.serialization import code_of
from lab.files.locks import lock
from lab.results.cells import CellDirectory
from lab.runner.networks.inside import PROBE
from lab.runner.networks.sources import initializers
from lab.runner.plan import cell_directory
from lab.training.devices import distributed
from lab.training.devices.placement import Placement
from lab.training.train import Dataset, Initialize, Row, train

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
    telemetry: bool = False,
) -> None:
    """Trains what is missing of every cell; a cell that another runner holds comes last, when it is free again.

    `profile` traces a few steps of each cell that is trained into DIRECTORY/profile/CELL; `telemetry` looks inside the
    networks at every evaluation.

    No run is trained twice: a runner that waited finds it done. Raises what `lab.training.train.train` and
    `lab.runner.networks.sources.initializers` raise.
    """
    lacking = distributed.on_process_zero(
        lambda: [cell.name for cell in cells if retrain or _lacks_runs(cell, directory)]
    )
    code = code_of(*((cell.task, cell.model) for cell in cells))
    begins = initializers([cell for cell in cells if cell.name in lacking], directory, load, code)
    train_one = partial(
        _cell,
        directory=directory,
        placement=placement,
        watch=watch,
        profile=profile,
        telemetry=telemetry,
        begins=begins,
    )
    held = [cell for cell in cells if not train_one(cell, retrain=retrain, wait=False)]
    for cell in held:
        train_one(cell, retrain=False, wait=True)


def _lacks_runs(cell: Cell, directory: Path) -> bool:
    """Whether there is anything to train: else what the cell began with is not needed any more."""
    return bool(cell_directory(directory, cell).missing([run.identity for run in cell.runs]))


def _cell(
    cell: Cell,
    directory: Path,
    placement: Placement,
    watch: Watch,
    profile: bool,
    telemetry: bool,
    begins: Mapping[str, Initialize],
    retrain: bool,
    wait: bool,
) -> bool:
    """Trains one cell under its lock; False if another runner has it."""
    folder = cell_directory(directory, cell)
    with held(folder, wait) as mine:
        if not mine:
            return False
        distributed.on_process_zero(lambda: prepare(folder, cell, load(cell.task), retrain))
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
            begins.get(cell.name),
            PROBE if telemetry or _begun_with_telemetry(folder) else None,
        )
        return True


def _begun_with_telemetry(folder: CellDirectory) -> bool:
    """Whether runs are unfinished that were begun with telemetry: they go on with it."""
    return any(made.get("telemetry", False) for wave in folder.waves() if not wave.done for made in wave.environments)


@contextmanager
def held(folder: CellDirectory, wait: bool) -> Iterator[bool]:
    """The lock of a cell, which the first process holds for all; whether they have it."""
    with lock(folder.lock, wait) if distributed.first() else nullcontext(True) as mine:
        yield distributed.on_process_zero(lambda: mine)


def prepare(folder: CellDirectory, cell: Cell, dataset: Dataset, retrain: bool) -> None:
    """Describes a cell in its folder, or with `retrain` empties the folder first; the caller holds its lock. Raises
    what `lab.results.cells.CellDirectory.describe` raises."""
    folder.sweep()
    if retrain:
        folder.clear()
    folder.describe(cell.description(dataset), cell.own_code(dataset))
