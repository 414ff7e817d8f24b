"""What functions say of the trained networks of an experiment."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab.experiment.experiment import Cell, Experiment, grid, with_overrides
from lab.results.record import FILE, read_record
from lab.runner import dispatch, plan
from lab.runner.networks.sources import ALONE
from lab.training.settings import Run
from lab.training.trained import networks

OfCell = Callable[[Cell, Mapping[int, Any], Mapping[str, Mapping[str, np.ndarray]]], Mapping[str, pd.DataFrame]]
Function = Callable[[Cell, Run, Any, Mapping[str, np.ndarray]], list[dict[str, Any]]]


def evaluated(
    experiment: Experiment, directory: Path, function: Function, where: Callable[[Cell, Run], bool]
) -> pd.DataFrame:
    """The rows of `function(cell, run, variables, test)` for every network that `where(cell, run)` chooses.

    Each row is preceded by the network's activation, axes, seed and learning rate; `test` are the arrays of the test
    split. Arms have what was chosen for them when they were trained. Raises ValueError for a network not trained yet.
    """
    rows = []
    for cell in _cells(experiment, directory):
        folder, data = plan.cell_directory(directory, cell).path, dispatch.load(cell.task)
        runs = [run for run in cell.runs if where(cell, run)]
        for run, variables in networks(cell.model, cell.task, cell.settings, runs, folder, data) if runs else ():
            about = {"activation": cell.activation.name, **dict(cell.axes), "seed": run.seed}
            about["learning_rate"] = float(run.hyperparameters.learning_rate)
            rows += [{**about, **row} for row in function(cell, run, variables, data.arrays["test"])]
    return pd.DataFrame(rows)


def evaluated_by_cell(experiment: Experiment, directory: Path, function: OfCell) -> dict[str, pd.DataFrame]:
    """The tables of `function(cell, networks, arrays)` for every cell, one below another by name.

    `networks` are the variables of the cell's runs by seed, `arrays` those of every split. Rows are preceded by the
    activation and the axes. Raises ValueError for a network not trained yet, and for a cell with several networks of
    one seed, such as with several learning rates.
    """
    tables: dict[str, list[pd.DataFrame]] = {}
    for cell in _cells(experiment, directory):
        seeds = [run.seed for run in cell.runs]
        if twice := sorted({seed for seed in seeds if seeds.count(seed) > 1}):
            raise ValueError(f"cell {cell.name} has several networks of seed {twice[0]}: {ALONE}")
        folder, data = plan.cell_directory(directory, cell).path, dispatch.load(cell.task)
        found = networks(cell.model, cell.task, cell.settings, cell.runs, folder, data)
        about = {"activation": cell.activation.name, **dict(cell.axes)}
        by_seed = {run.seed: variables for run, variables in found}
        for name, rows in function(cell, by_seed, data.arrays).items():
            own = rows.assign(**about)
            tables.setdefault(name, []).append(own[[*about, *rows.columns]])
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}


def _cells(experiment: Experiment, directory: Path) -> Sequence[Cell]:
    """The cells as they were trained, with what was chosen for each arm."""
    recorded = read_record(directory) if (directory / FILE).exists() else {}
    return grid(with_overrides(experiment, recorded.get("overrides", [])))
