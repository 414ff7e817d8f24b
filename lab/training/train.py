"""Trains the runs of a cell: restore -> intervals -> rows -> checkpoint -> done."""

import base64
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pandas as pd

from lab.data.dataset import Dataset
from lab.results.cells import CellDirectory, Identity, Wave
from lab.results.environment import environment
from lab.results.examples import CURVE, encoded
from lab.tasks.task import Task
from lab.training import checkpoints
from lab.training.clock import Clock
from lab.training.devices import distributed, memory
from lab.training.devices.execution import Execution
from lab.training.devices.placement import Placement
from lab.training.profile import trace
from lab.training.runs import Program
from lab.training.settings import Run, Settings
from lab.training.step import EACH, State
from lab.training.telemetry import Probe, Telemetry

Row = dict[str, Any]  # run (its index), step, split, metric, value
Watch = Callable[[int, list[Row]], None]
Initialize = Callable[[Run, State], State]  # a run, and the state drawn for it -> the state that it begins with

DEFAULT = Placement()


def train(
    model: Any,
    task: Task,
    settings: Settings,
    runs: Sequence[Run],
    directory: Path,
    dataset: Dataset,
    placement: Placement = DEFAULT,
    watch: Watch = lambda step, rows: None,
    profile: Path | None = None,
    initialize: Initialize | None = None,
    probe: Probe | None = None,
    compiled: Callable[..., Program] = Program,
) -> None:
    """Train the missing ones of `runs` in the cell's directory; returns at once if none is missing.

    After an interruption, the next call continues from the last checkpoint, with the same results as without
    interruption (bitwise on one CPU). Runs that do not fit on the devices at once are trained in waves.
    `watch` is called after every evaluation with its step and rows. `placement` describes the use of devices.
    A few steps of the first wave are traced into the folder `profile`, if given. `initialize` returns the state that
    a run begins with, in NumPy arrays, if it is not that drawn from its seed. With a `probe` every evaluation also
    looks inside the networks; runs that were begun without one go on without. `compiled` makes the program, such as
    `lab.training.runs.Reuse`, which compiles none twice for runs that are trained one call after another.
    Raises OSError (disk full, read-only folder) and ValueError (damaged checkpoint, too little memory for a single
    run), each naming the file or the number.
    """
    cell, most = CellDirectory(directory), len(runs)
    identities = [run.identity for run in runs]
    while pending := distributed.on_process_zero(lambda: _pending(cell, identities)):
        asked = [Run.of(identity) for identity in pending["runs"]]
        look = probe if pending["new"] or pending["telemetry"] else None
        make = partial(compiled, model, task, settings, dataset=dataset, data_on=placement.data_on, probe=look)
        if pending["new"]:
            execution = Execution.fitting(placement, len(asked[:most]), model, task, settings, dataset.arrays["train"])
            program = _largest(make, asked[:most], execution)
            most = program.n_runs
        else:
            program = make(asked, execution=_resumed(pending["execution"], len(asked), placement))
            memory.check(program.device_bytes, _available(program.execution))
        if profile:
            trace(program, profile)
            profile = None
        _train_wave(program, task, settings, cell.wave(pending["runs"][: program.n_runs]), dataset, watch, initialize)


def _pending(cell: CellDirectory, identities: list[Identity]) -> dict[str, Any] | None:
    """The next wave to train, and the execution it was started with; None if all is done."""
    for wave in cell.missing(identities):
        made = wave.environments
        begun = {"execution": made[0]["execution"], "telemetry": made[0].get("telemetry", False)} if made else {}
        return {"runs": list(wave.runs), "new": not wave.started, "execution": None, "telemetry": False, **begun}
    return None


def _largest(make: Callable[..., Program], runs: Sequence[Run], whole: Execution) -> Program:
    """The program for the largest number of runs that the devices can hold at once, all if possible."""
    share = math.ceil(len(runs) / whole.devices)  # runs per device
    available = _available(whole)

    @lru_cache
    def of(share: int) -> Program:
        return make(runs[: share * whole.devices], execution=whole)

    def needed(share: int) -> int:
        try:
            return of(share).device_bytes
        except jax.errors.JaxRuntimeError as error:  # a TPU's compiler rejects programs that do not fit
            if share == 1 or "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return 2 * available  # unknown: about half as many are tried next

    found = memory.most(share, needed, available)
    return of(math.ceil(share / math.ceil(share / found)))  # waves of equal size


def _available(execution: Execution) -> int:
    """Bytes of a device on the first host, since programs are the same on all hosts."""
    return distributed.on_process_zero(lambda: memory.capacity(execution.local_devices))


def _train_wave(
    program: Program,
    task: Task,
    settings: Settings,
    wave: Wave,
    dataset: Dataset,
    watch: Watch,
    initialize: Initialize | None,
) -> None:
    precision = {"matmul_precision": settings.matmul_precision}
    distributed.on_process_zero(
        lambda: wave.start(environment({**program.description, **precision}, dataset.provenance))
    )
    clock = Clock(program.n_runs, settings.batch_size * task.tokens_per_example)
    clock.add("compile", 0, 0, program.compile_seconds)
    state, rows, start, examples, telemetry = _restored(program, wave, clock)
    if state is None:
        state = _initial_state(program, wave, initialize)
        rows = _curve(program, state, 0, clock)
        _look(program, state, 0, telemetry, clock)
        watch(0, rows)
    for first, end in intervals(settings, start):
        state, fresh, diverged = _interval(program, task, state, first, end, telemetry, clock)
        if end < settings.steps:
            fresh += _curve(program, state, end, clock)
        else:
            last, examples = _last(program, state, end, clock)
            fresh += last
        _look(program, state, end, telemetry, clock)
        fresh += _marks(fresh, diverged, end)
        watch(end, fresh)
        rows = rows + fresh
        if _due(settings, end):
            _save(program, wave, state, rows, examples, telemetry, first, end, clock)
    distributed.on_process_zero(lambda: _finish(wave, rows, examples, telemetry, clock))


def _initial_state(program: Program, wave: Wave, initialize: Initialize | None) -> Any:
    """The states at step 0, those that `initialize` makes of the drawn ones, if there is such a function."""
    state = program.init()
    if initialize is None:
        return state
    drawn = program.host(state)
    own = [
        initialize(Run.of(identity), jax.tree.map(lambda leaf, index=index: leaf[index], drawn))
        for index, identity in enumerate(wave.runs)
    ]
    return program.restore(jax.tree.map(lambda *leaves: np.stack(leaves), *own))


def _save(
    program: Program,
    wave: Wave,
    state: Any,
    rows: list[Row],
    examples: bytes | None,
    telemetry: Telemetry | None,
    begin: int,
    end: int,
    clock: Clock,
) -> None:
    """A checkpoint of the state, and the curves up to it, at the last step with the examples."""
    text = None if examples is None else base64.b64encode(examples).decode()
    with clock.measure("checkpoint", begin, end):
        record: dict[str, Any] = {"rows": rows, "timing": clock.rows, "examples": text}
        record |= {} if telemetry is None else {"telemetry": telemetry.to_json()}
        checkpoints.save(wave.checkpoints, end, program.host(state), record)
    distributed.on_process_zero(lambda: _write(wave, rows, examples, telemetry, clock))


def _write(wave: Wave, rows: list[Row], examples: bytes | None, telemetry: Telemetry | None, clock: Clock) -> None:
    inside = None if telemetry is None else _table(telemetry.table, wave)
    wave.write(_table(pd.DataFrame(rows), wave), clock.table(), examples, inside)


def _finish(wave: Wave, rows: list[Row], examples: bytes | None, telemetry: Telemetry | None, clock: Clock) -> None:
    _write(wave, rows, examples, telemetry, clock)
    wave.finish()


def _resumed(started: dict[str, Any] | None, runs: int, placement: Placement) -> Execution:
    """The execution with which a wave was started, if the devices still suffice, whatever is requested now: other sums
    round differently, and a resumed wave must equal an uninterrupted one.
    """
    if started is None:  # environment.json was deleted
        return Execution.choose(placement.execution, runs, shards=placement.shards)
    execution = Execution(**started)
    now = Execution.choose(execution.kind, min(runs, execution.devices), shards=execution.shards)
    return replace(execution, devices=now.devices)


def intervals(settings: Settings, start: int = 0) -> Iterator[tuple[int, int]]:
    """The (first, last) steps between evaluations from step `start` on; the last interval may be shorter."""
    for begin in range(start, settings.steps, settings.interval):
        yield begin, min(begin + settings.interval, settings.steps)


def _due(settings: Settings, step: int) -> bool:
    return step == settings.steps or step % (settings.interval * settings.checkpoint_every) == 0


def _restored(program: Program, wave: Wave, clock: Clock) -> tuple[Any, list[Row], int, bytes | None, Telemetry | None]:
    """State, rows, step, examples and telemetry of the newest checkpoint; (None, [], 0, None, ...) if there is none.
    Telemetry is None if the program has none."""
    fresh = None if program.probe is None else Telemetry(program.probe)
    newest = distributed.on_process_zero(lambda: max(checkpoints.steps(wave.checkpoints), default=None))
    if newest is None:
        return None, [], 0, None, fresh
    state, record = checkpoints.restore(wave.checkpoints, newest, program.abstract)
    clock.resume(record["timing"])
    text = record.get("examples")
    examples = None if text is None else base64.b64decode(text)
    telemetry = None if program.probe is None else Telemetry.of(program.probe, record["telemetry"])
    return program.restore(state), record["rows"], newest, examples, telemetry


def _interval(
    program: Program, task: Task, state: Any, begin: int, end: int, telemetry: Telemetry | None, clock: Clock
) -> tuple[Any, list[Row], np.ndarray]:
    """The new state, the rows of training, and which runs had a step that was not finite."""
    with clock.measure("train", begin, end):
        state, metrics = program.train_interval(state, begin, end - begin)
    diverged = metrics.pop("not_finite") > 0
    each = {name.removeprefix(EACH): metrics.pop(name) for name in list(metrics) if name.startswith(EACH)}
    if telemetry is not None:
        telemetry.follow(end, each)
    return state, _rows(end, "train", {**metrics, **task.summary({"loss": metrics["loss"]})}), diverged


def _look(program: Program, state: Any, step: int, telemetry: Telemetry | None, clock: Clock) -> None:
    """Add what happens inside the networks at a step, if anybody wants to know."""
    if telemetry is not None:
        with clock.measure("telemetry", step, step):
            telemetry.add(step, "validation", program.telemetry(state))


def _curve(program: Program, state: Any, step: int, clock: Clock, split: str = "validation") -> list[Row]:
    with clock.measure("evaluate", step, step):
        metrics = program.evaluate(state)
    return _rows(step, split, metrics)


def _last(program: Program, state: Any, step: int, clock: Clock) -> tuple[list[Row], bytes]:
    """The rows of the last evaluation, and what it measured of single examples; where it is on more of them than the
    curve, the curve has its last point as a split of its own."""
    rows = _curve(program, state, step, clock, CURVE) if program.evaluation.final_is_larger else []
    examples = {}
    for split in program.evaluation.final:
        with clock.measure("final_evaluation", step, step):
            metrics, examples[split] = program.evaluate_last(state, split)
        rows += _rows(step, split, metrics)
    return rows, encoded(examples)


def _marks(rows: list[Row], diverged: np.ndarray, step: int) -> list[Row]:
    """A row for each run that has a value that is not finite, or had a step that was not."""
    bad = {row["run"] for row in rows if not np.isfinite(row["value"])} | set(np.flatnonzero(diverged).tolist())
    return [{"run": run, "step": step, "split": "train", "metric": "diverged", "value": 1.0} for run in sorted(bad)]


def _rows(step: int, split: str, metrics: dict[str, Any]) -> list[Row]:
    return [
        {"run": run, "step": step, "split": split, "metric": metric, "value": float(value)}
        for metric, values in metrics.items()
        for run, value in enumerate(np.asarray(values))
    ]


def _table(measured: pd.DataFrame, wave: Wave) -> pd.DataFrame:
    """Rows with each run's seed and hyperparameters in place of its index."""
    identities = pd.DataFrame(list(wave.runs)).astype(float).astype({"seed": int})
    return measured.join(identities, on="run").drop(columns="run")[[*identities, *measured.columns.drop("run")]]
