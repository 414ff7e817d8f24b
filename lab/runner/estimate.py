"""What the cells of an experiment take, known before anything is compiled."""

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from lab.comparison.time.speed import TRAINING_PASSES
from lab.experiment.experiment import Cell, Experiment, grid, tuning_of
from lab.runner import dispatch

UTILIZATION = 0.5  # of the rate of matrix products that training reaches


def estimate(experiment: Experiment, rate: float) -> pd.DataFrame:
    """A row each cell of an experiment, and of its tuning: cell, runs, parameters, flops_per_token (forward), memory_mb
    and the minutes of training on a machine that makes matrix products at `rate` (FLOP/s).

    Networks that differ only in the activation have the same parameters and FLOPs if all of theirs are gated or none,
    with the same learned parameters; their memory is estimated with the first of them.
    """
    cells = {cell.name: cell for cell in grid(experiment)}
    if experiment.tuning_rates:
        cells |= {f"tuning/{cell.name}": cell for cell in grid(tuning_of(experiment))}
    costs: dict[str, dict[str, Any]] = {}  # of every network, which is traced once: 0.1 s for a small one
    rows = []
    for name, cell in cells.items():
        network = _network(cell)
        if network not in costs:
            costs[network] = cell.cost(dispatch.load(cell.task))
        rows.append({"cell": name, **_of_cell(cell, costs[network], rate)})
    return pd.DataFrame(rows)


def _network(cell: Cell) -> str:
    """What decides the shapes in a network, and with them its cost."""
    parts, arm = cell.canonical, cell.activation
    return json.dumps([parts["task"], {**parts["model"], "activation": [arm.gated, dict(arm.parameters)]}], default=str)


def _of_cell(cell: Cell, cost: Mapping[str, Any], rate: float) -> dict[str, Any]:
    settings, runs = cell.settings, len(cell.runs)
    tokens = settings.steps * settings.batch_size * cell.task.tokens_per_example
    kept = cost["state_bytes"] * runs + cost["activation_bytes"] * settings.batch_size
    return {
        "runs": runs,
        "parameters": cost["parameters"],
        "flops_per_token": cost["flops_per_token"],
        "memory_mb": kept / 1e6,
        "minutes": TRAINING_PASSES * cost["flops_per_token"] * tokens * runs / (UTILIZATION * rate) / 60,
    }
