"""Trains the runs of a cell: restore -> intervals -> rows -> checkpoint -> done."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from records.cells import CellDirectory, Wave
from records.environment import environment
from tasks.task import Dataset, Task
from training import checkpoints
from training.clock import Clock
from training.reading import Place
from training.runs import Execution, Kind, Program
from training.settings import Run, Settings

Row = dict[str, Any]  # run (its index), step, split, metric, value
Watch = Callable[[int, list[Row]], None]


def train(
    model: Any,
    task: Task,
    settings: Settings,
    runs: Sequence[Run],
    directory: Path,
    dataset: Dataset,
    kind: Kind = "auto",
    watch: Watch = lambda step, rows: None,
    data_on: Place = "auto",
) -> None:
    """Trains what is missing of `runs` in the cell's directory; returns at once if nothing is.

    A killed call is continued by the next one, from its last checkpoint, and gives the same numbers as one that was
    never interrupted (on one CPU bit for bit). `watch` is called after every evaluation with its step and its rows.
    `data_on` says where the training data lies: on the device, or on the host, which reads ahead; auto is by its size.
    Raises OSError (disk full, read-only folder) and ValueError (damaged checkpoint), each naming the file.
    """
    cell = CellDirectory(directory)
    for wave in cell.missing([run.identity for run in runs]):
        _train_wave(model, task, settings, wave, dataset, kind, watch, data_on)


def _train_wave(
    model: Any,
    task: Task,
    settings: Settings,
    wave: Wave,
    dataset: Dataset,
    kind: Kind,
    watch: Watch,
    data_on: Place,
) -> None:
    runs = [Run.of(identity) for identity in wave.runs]
    program = Program(model, task, settings, runs, dataset, _execution(wave, kind), data_on)
    precision = {"matmul_precision": settings.matmul_precision}
    wave.begin(environment({**program.description, **precision}, dataset.provenance))
    clock = Clock(len(runs), settings.batch_size * task.tokens_per_example)
    clock.add("compile", 0, 0, program.compile_seconds)
    state, rows, start = _restored(program, wave, clock)
    if state is None:
        state = program.init()
        rows = _evaluated(program, state, "validation", 0, clock)
        watch(0, rows)
    for begin, end in intervals(settings, start):
        state, fresh = _interval(program, task, state, begin, end, clock)
        if end == settings.steps:
            fresh += _evaluated(program, state, "test", end, clock)
        watch(end, fresh)
        rows = rows + fresh
        if _due(settings, end):
            with clock.measure("checkpoint", begin, end):
                checkpoints.save(wave.checkpoints, end, program.host(state), {"rows": rows, "timing": clock.rows})
            wave.write(_table(rows, wave), clock.table())
    wave.write(_table(rows, wave), clock.table())
    wave.finish()


def _execution(wave: Wave, kind: Kind) -> Execution:
    """What a wave was begun with, as far as the devices still suffice, whatever is asked now: other sums round
    differently, and a resumed wave is to equal an uninterrupted one.
    """
    if not wave.environments:
        return Execution.choose(kind, len(wave.runs))
    begun = Execution(**wave.environments[0]["execution"])
    return replace(begun, devices=min(begun.devices, jax.device_count()))


def intervals(settings: Settings, start: int = 0) -> Iterator[tuple[int, int]]:
    """The (first, last) steps between evaluations from step `start` on; the last interval may be shorter."""
    for begin in range(start, settings.steps, settings.interval):
        yield begin, min(begin + settings.interval, settings.steps)


def _due(settings: Settings, step: int) -> bool:
    return step == settings.steps or step % (settings.interval * settings.checkpoint_every) == 0


def _restored(program: Program, wave: Wave, clock: Clock) -> tuple[Any, list[Row], int]:
    """State, rows and step of the newest checkpoint; (None, [], 0) if there is none."""
    saved = checkpoints.steps(wave.checkpoints)
    if not saved:
        return None, [], 0
    state, record = checkpoints.restore(wave.checkpoints, saved[-1], program.abstract)
    clock.resume(record["timing"])
    return program.restore(state), record["rows"], saved[-1]


def _interval(program: Program, task: Task, state: Any, begin: int, end: int, clock: Clock) -> tuple[Any, list[Row]]:
    with clock.measure("train", begin, end):
        state, metrics = program.train_interval(state, begin, end - begin)
    diverged = metrics.pop("not_finite") > 0
    rows = _rows(end, "train", {**task.summary({"loss": metrics["loss"]}), "gradient_norm": metrics["gradient_norm"]})
    rows += _evaluated(program, state, "validation", end, clock)
    bad = {row["run"] for row in rows if not np.isfinite(row["value"])} | set(np.flatnonzero(diverged).tolist())
    marks = [{"run": run, "step": end, "split": "train", "metric": "diverged", "value": 1.0} for run in sorted(bad)]
    return state, rows + marks


def _evaluated(program: Program, state: Any, split: str, step: int, clock: Clock) -> list[Row]:
    with clock.measure("evaluate", step, step):
        metrics = program.evaluate(state, split)
    return _rows(step, split, metrics)


def _rows(step: int, split: str, metrics: dict[str, Any]) -> list[Row]:
    return [
        {"run": run, "step": step, "split": split, "metric": metric, "value": float(value)}
        for metric, values in metrics.items()
        for run, value in enumerate(np.asarray(values))
    ]


def _table(rows: list[Row], wave: Wave) -> pd.DataFrame:
    """Rows with each run's seed and hyperparameters in place of its index."""
    measured = pd.DataFrame(rows)
    identities = pd.DataFrame(list(wave.runs)).astype(float).astype({"seed": int})
    return measured.join(identities, on="run").drop(columns="run")[[*identities, *measured.columns.drop("run")]]
