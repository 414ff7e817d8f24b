"""What the cells of an experiment take, known before anything is compiled."""

from typing import Any

import pandas as pd

from lab.comparison.speed import TRAINING_PASSES
from lab.experiment.experiment import Cell, Experiment, grid, tuning_of
from lab.runner import dispatch

UTILIZATION = 0.5  # of the rate of matrix products that training reaches


def estimate(experiment: Experiment, rate: float) -> pd.DataFrame:
    """A row each cell of an experiment, and of its tuning: cell, runs, parameters, flops_per_token (forward), memory_mb
    and the minutes of training on a machine that makes matrix products at `rate` (FLOP/s)."""
    cells = {cell.name: cell for cell in grid(experiment)}
    if experiment.tuning_rates:
        cells |= {f"tuning/{cell.name}": cell for cell in grid(tuning_of(experiment))}
    return pd.DataFrame([{"cell": name, **_of_cell(cell, rate)} for name, cell in cells.items()])


def _of_cell(cell: Cell, rate: float) -> dict[str, Any]:
    cost, settings, runs = cell.cost(dispatch.load(cell.task)), cell.settings, len(cell.runs)
    tokens = settings.steps * settings.batch_size * cell.task.tokens_per_example
    kept = cost["state_bytes"] * runs + cost["activation_bytes"] * settings.batch_size
    return {
        "runs": runs,
        "parameters": cost["parameters"],
        "flops_per_token": cost["flops_per_token"],
        "memory_mb": kept / 1e6,
        "minutes": TRAINING_PASSES * cost["flops_per_token"] * tokens * runs / (UTILIZATION * rate) / 60,
    }
