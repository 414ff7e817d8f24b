"""Matching by time: how long a step of each arm takes here, and how many steps fill the baseline's time."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from lab.experiment.experiment import Cell, Experiment, grid, with_overrides
from lab.files.atomic import write_json
from lab.results.environment import environment
from lab.results.shape import MATCHED, read_shaped
from lab.runner import dispatch
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.runs import Program

ROUNDS = 7
SECONDS = 0.5  # of a round, about: shorter ones are lost in the noise of a shared machine


def match(experiment: Experiment, directory: Path, placement: Placement) -> list[dict[str, Any]]:
    """Measures a step of every cell and writes DIRECTORY/matched.json, which runs of the experiment there go by.

    All runs of a cell are measured together, as they will be trained; cells in turn, ROUNDS times, so that all see the
    same machine; a step's time is the median. Gives for each cell `arm`, `fields` (its whole number of steps) and
    `seconds_per_step`. Raises ValueError where a cell has no baseline beside it.
    """
    cells = grid(experiment)
    seconds = _seconds_per_step(cells, placement)
    found = []
    for cell, own in zip(cells, seconds, strict=True):
        baseline = [one for one, other in zip(seconds, cells, strict=True) if _is_baseline(other, cell, experiment)]
        if not baseline:
            raise ValueError(f"{cell.name} has no {experiment.reference} beside it to be matched with")
        steps = max(1, round(cell.settings.steps * baseline[0] / own))
        arm = {"activation": cell.activation.name, **dict(cell.axes)}
        found.append({"arm": arm, "fields": {"settings.steps": steps}, "seconds_per_step": own})
    made = {"device": jax.devices()[0].device_kind, "device_count": jax.device_count()}
    write_json(directory / "matched.json", {"arms": found, "environment": environment(made, {})})
    return found


def matched(experiment: Experiment, directory: Path) -> Experiment:
    """The experiment with the steps of DIRECTORY/matched.json, if it is there. Raises ValueError if it is damaged."""
    path = directory / "matched.json"
    if not path.exists():
        return experiment
    return with_overrides(
        experiment, [{key: arm[key] for key in ("arm", "fields")} for arm in read_shaped(path, MATCHED)["arms"]]
    )


def _is_baseline(other: Cell, cell: Cell, experiment: Experiment) -> bool:
    return other.activation.name == experiment.reference and other.axes == cell.axes


def _seconds_per_step(cells: list[Cell], placement: Placement) -> list[float]:
    """The median over the rounds, of each cell."""
    ready = [_started(cell, placement) for cell in cells]
    measured: list[list[float]] = [[] for _ in cells]
    for _ in range(ROUNDS):
        for times, (program, steps) in zip(measured, ready, strict=True):
            times.append(_time(program, steps) / steps)
    return [float(np.median(times)) for times in measured]


def _started(cell: Cell, placement: Placement) -> tuple[Program, int]:
    """The compiled program of a cell, and its number of steps per round."""
    dataset = dispatch.load(cell.task)
    model, task, settings = cell.model, cell.task, cell.settings
    execution = Execution.fitting(placement, len(cell.runs), model, task, settings, dataset.arrays["train"])
    program = Program(model, task, settings, cell.runs, dataset, execution, placement.data_on)
    _time(program, 1)  # the first call also places the data
    return program, max(1, round(SECONDS / _time(program, 1)))


def _time(program: Program, steps: int) -> float:
    """Seconds of this number of steps, without what comes before and after."""
    state = jax.block_until_ready(program.init())
    begin = time.perf_counter()
    program.train_interval(state, 0, steps)  # its metrics are on the host when it returns
    return time.perf_counter() - begin
