"""What functions say of the trained networks of an experiment."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab.experiment.experiment import Cell, Experiment, grid, with_overrides
from lab.results.record import FILE, read_record
from lab.runner import dispatch, plan
from lab.training.settings import Run
from lab.training.trained import networks

Function = Callable[[Cell, Run, Any, Mapping[str, np.ndarray]], list[dict[str, Any]]]


def evaluated(
    experiment: Experiment, directory: Path, function: Function, where: Callable[[Cell, Run], bool]
) -> pd.DataFrame:
    """The rows of `function(cell, run, variables, test)` for every network that `where(cell, run)` chooses.

    Each row is preceded by the network's activation, axes, seed and learning rate; `test` are the arrays of the test
    split. Arms have what was chosen for them when they were trained. Raises ValueError for a network not trained yet.
    """
    recorded = read_record(directory) if (directory / FILE).exists() else {}
    rows = []
    for cell in grid(with_overrides(experiment, recorded.get("overrides", []))):
        folder, data = plan.cell_directory(directory, cell).path, dispatch.load(cell.task)
        runs = [run for run in cell.runs if where(cell, run)]
        for run, variables in networks(cell.model, cell.task, cell.settings, runs, folder, data) if runs else ():
            about = {"activation": cell.activation.name, **dict(cell.axes), "seed": run.seed}
            about["learning_rate"] = float(run.hyperparameters.learning_rate)
            rows += [{**about, **row} for row in function(cell, run, variables, data.arrays["test"])]
    return pd.DataFrame(rows)
