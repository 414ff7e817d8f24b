"""A session: one experiment, the folder of its results, and the training of what is missing there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from lab.comparison.comparison import Comparison, compare
from lab.experiment.experiment import Cell, Experiment, grid
from lab.files.damaged import DamagedFileError
from lab.files.locks import lock
from lab.probes.machine import matmul_rate
from lab.report import report
from lab.results import results
from lab.results.directions import split_metric
from lab.results.results import Results
from lab.runner import dispatch, plan, tracking
from lab.runner.mode import Mode
from lab.runner.progress import Progress
from lab.runner.record import PlanFile
from lab.training.devices import distributed
from lab.training.runs import use_all_cores, use_compilation_cache

Predictors = Callable[[Any, str], Any]  # the reference predictors of a data set on a split


@dataclass(frozen=True)
class Session:
    """An experiment that has been checked. What is trained may differ from it in its seeds, its arms and their own
    fields, and lie in another folder: that of the tuning runs, say."""

    experiment: Experiment
    directory: Path
    mode: Mode
    command: str
    """What makes the results again."""
    predictors: dict[str, Any]
    """Reference predictors: name of the task -> predictor -> its metric, split and value."""
    plan_file: PlanFile | None = None
    """What somebody planned beforehand."""

    def train(self, experiment: Experiment, directory: Path, looks: Sequence[int] = ()) -> Results:
        """Trains what is missing of an experiment in a directory and writes the report; gives the results.

        For `looks` see `lab.runner.plan.prepare`. Raises what that raises, and `check_data` and `check_code` of it.
        """
        cells, mode, console = grid(experiment), self.mode, _console(self.mode)
        distributed.on_process_zero(lambda: plan.check_data(cells, directory, dispatch.load, mode.retrain))
        x64 = jax.config.jax_enable_x64  # type: ignore[attr-defined]
        distributed.on_process_zero(lambda: plan.check_x64(cells, directory, x64, mode.retrain))
        distributed.on_process_zero(lambda: plan.check_code(cells, directory, dispatch.load))
        file = self.plan_file if directory == self.directory else None  # tuning runs answer nothing
        prepare = partial(plan.prepare, experiment, directory, self.command, self.predictors, looks, file)
        distributed.on_process_zero(prepare)
        if not mode.retrain:
            for sentence in plan.made_otherwise(directory, cells):
                console.print(f"{sentence}; --retrain makes it again")
        peak = matmul_rate() if console.is_terminal else None
        with Progress(cells, console, directory if distributed.first() else None, peak) as progress:
            watch = tracking.tracked(progress, directory) if mode.track and distributed.first() else progress
            dispatch.dispatch(cells, directory, mode, mode.retrain, watch, mode.profile, experiment.telemetry)
        if experiment.telemetry:
            _tell_of_missing_telemetry(cells, directory, console)
        if mode.profile:
            console.print(traces(directory))
        distributed.on_process_zero(lambda: _finish(experiment, directory, mode.track))
        return results.read(directory)


def start(
    experiment: Experiment,
    directory: Path,
    mode: Mode,
    command: str,
    predictors: Predictors,
    plan_file: PlanFile | None = None,
) -> Session:
    """Joins the other processes, if there are any, and checks everything that can be before anything is compiled.

    Raises ValueError for bad input, OSError where the data or the folder are not to be had.
    """
    distributed.join()
    use_all_cores()
    use_compilation_cache()
    experiment.check(dispatch.load)
    if mode.track:
        tracking.check()
    for cell in grid(experiment):
        mode.check(cell.settings)
    plan.check_folder(directory)
    known = predictors_of(experiment, predictors, _console(mode))
    return Session(experiment, directory, mode, command, known, plan_file)


def predictors_of(experiment: Experiment, predictors: Predictors, console: Console) -> dict[str, Any]:
    """The reference predictors of each task; where that cannot be known, a run is worth as much without it."""
    found = {}
    for task in {cell.task.name: cell.task for cell in grid(experiment)}.values():
        try:
            found[task.name] = predictors(dispatch.load(task), experiment.split)
        except (OSError, ValueError) as error:
            console.print(f"{task.name}: no reference predictors ({error})")
    return found


def traces(directory: Path) -> str:
    """Where the profile is, and what opens it."""
    folder = directory / "profile"
    if not folder.exists():
        return "no profile: nothing was left to train (--retrain trains again)"
    return (
        f"profile: open {folder}/*/plugins/profile/*/perfetto_trace.json.gz at https://ui.perfetto.dev, "
        f"or tensorboard --logdir {folder} (pip install xprof)"
    )


def _console(mode: Mode) -> Console:
    """Where progress is shown: by the first process alone."""
    return Console(quiet=mode.quiet or not distributed.first(), stderr=True)


def _tell_of_missing_telemetry(cells: list[Cell], directory: Path, console: Console) -> None:
    if lacking := plan.without_telemetry(directory, cells):
        console.print(f"no telemetry for {', '.join(lacking)}, trained without it: --retrain adds it")


def asked_comparison(experiment: Experiment, found: Results) -> Comparison | None:
    """The comparison that an experiment asks for, if it is another than that of the folder's report."""
    metric, _ = split_metric(experiment.metric)
    asked = {"baseline": experiment.reference, "metric": metric, "split": experiment.split}
    if asked == {name: found.experiment[name] for name in asked}:
        return None
    return compare(found, experiment.reference, experiment.metric, experiment.split)


def _finish(experiment: Experiment, directory: Path, track: bool) -> None:
    """Writes what is made of all cells together; of another comparison than the report's, a report beside it."""
    with lock(plan.results_lock(directory), wait=True):
        found = results.read(directory)
        if track:
            tracking.write(found)
        peak = matmul_rate()
        try:
            other = asked_comparison(experiment, found)
        except DamagedFileError:
            raise
        except ValueError:  # nothing to compare yet
            return
        if other is None:
            report.write(found, peak=peak)
        else:
            report.write_beside(found, other, peak)
