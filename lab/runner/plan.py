"""What a results directory still needs: it belongs to one experiment, whose grid may grow but not change."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lab.experiment.experiment import Cell, Experiment, grid
from lab.experiment.serialization import ours
from lab.files.atomic import LEFTOVERS, read_json, sweep, write_json
from lab.files.links import check_links
from lab.files.locks import lock
from lab.results.cells import CellDirectory, cell_directories, changed_code, first_difference
from lab.results.environment import commit, versions
from lab.results.looks import read as looks_of
from lab.results.record import FILE, read_record
from lab.results.results import DEEP
from lab.runner.record import PlanFile, as_json, overrides, record
from lab.training.train import Dataset
from models.activations import ACTIVATIONS, Activation, activation

NOT_FILES = ("lock", ".DS_Store", "Thumbs.db", "desktop.ini")  # a runner's lock, and what file managers leave
RESULT_FILES = ("experiment.json", "cells", "tuning", "matched.json")  # any of them tells a folder of results


def prepare(
    experiment: Experiment,
    directory: Path,
    command: str,
    predictors: dict[str, Any] | None = None,
    looks: Sequence[int] = (),
    file: PlanFile | None = None,
) -> None:
    """Writes `experiment.json`, or adds to it the seeds and axes that are new; before anything is trained.

    `predictors` are the reference predictors: name of the task -> predictor -> its metric, split and value.
    `looks` are the first and the last number of seeds at which arms are compared, if that decides how many are trained,
    `file` a plan that was written beforehand.
    Raises ValueError if the directory holds an experiment with another task, model or settings, or an arm with other
    fields of its own, OSError if it cannot be written.
    """
    check_folder(directory)
    path = directory / FILE
    with lock(results_lock(directory), wait=True):
        sweep(directory.glob(LEFTOVERS))
        known = read_record(directory) if path.exists() else {}
        if known and (difference := first_difference(known["definition"], experiment.definition)) is not None:
            raise ValueError(
                f"{directory} holds '{known['name']}' with {difference} as asked now: "
                f"choose another --out, or delete it"
            )
        _check_overrides(experiment, known.get("overrides", []), directory)
        looked = bool(looks_of(directory))
        write_json(path, record(experiment, known, command, predictors or {}, looks, looked, file))


def check_data(cells: Sequence[Cell], directory: Path, load: Callable[[Any], Dataset], retrain: bool) -> None:
    """Raises ValueError where a directory holds runs of the same tasks that were trained on other data than is there
    now, such as files that were edited since: arms and seeds are compared in pairs. With `retrain` those of the cells
    asked for do not count, since they are made again."""
    again = {cell.name for cell in cells} if retrain else set()
    tasks = {_key(cell.canonical["task"]): cell.task for cell in cells}
    for path in sorted(directory.glob("cells/*/cell.json")):
        key = _key({name: value for name, value in read_json(path)["task"].items() if name != "name"})
        if path.parent.name in again or key not in tasks:
            continue
        now = _content(load(tasks[key]).provenance)
        made = [_content(one["data"]) for wave in CellDirectory(path.parent).waves() for one in wave.environments]
        if difference := next(filter(None, (first_difference(before, now) for before in made)), None):
            raise ValueError(
                f"{path.parent} was trained on other data than is there now ({difference}): choose another --out, or "
                f"delete it"
            )


def check_x64(cells: Sequence[Cell], directory: Path, x64: bool, retrain: bool) -> None:
    """Raises ValueError where a directory holds runs in the other of JAX's two precisions: with `JAX_ENABLE_X64` what
    has no type of its own is computed in 64 bits, which makes other numbers. With `retrain` the cells asked for do not
    count, since they are made again."""
    again = {cell.name for cell in cells} if retrain else set()
    for folder in cell_directories(directory)[0]:
        made = {one.get("x64", False) for wave in folder.waves() for one in wave.environments}
        if folder.path.name not in again and made - {x64}:
            was, now = ("on", "off") if not x64 else ("off", "on")
            raise ValueError(
                f"{folder.path} was made with JAX_ENABLE_X64 {was}, and it is {now}: set it as it was, choose another "
                f"--out, or delete it"
            )


def check_code(cells: Sequence[Cell], directory: Path, load: Callable[[Any], Dataset]) -> None:
    """Raises ValueError where a directory holds runs whose activation, model or task, a user's own, computed something
    else than that of the same name does now: see `lab.experiment.own_code`."""
    made = {path.parent: read_json(path) for path in sorted(directory.glob("cells/*/cell.json"))}
    arms = {cell.activation.name: cell.activation for cell in cells}
    for folder, known in made.items():
        if (arm := arms.get(known["activation"])) is not None:
            code = {} if arm.built_in else {"activation": arm.identity}
            _refuse(folder, changed_code(known, code, ("activation",)))
    # What is there may be arms that are not asked for now: they are made again, to see if their code is the same.
    names = {known["activation"] for known in made.values()}
    arms = {name: activation(name) for name in names & set(ACTIVATIONS)} | arms
    own = {_with_arm(cell, activation("gelu")).name: cell for cell in cells if not ours((cell.model, cell.task))}
    again = {cell.name: cell for one in own.values() for cell in (_with_arm(one, arm) for arm in arms.values())}
    for folder, known in made.items():
        if (cell := again.get(folder.name)) is not None:
            _refuse(folder, changed_code(known, cell.own_code(load(cell.task))))


def _refuse(folder: Path, difference: str | None) -> None:
    if difference is not None:
        raise ValueError(f"{folder} was made with {difference}: rename the new one, choose another --out, or delete it")


def _with_arm(cell: Cell, arm: Activation) -> Cell:
    return replace(cell, model=replace(cell.model, activation=arm))


def _key(value: dict[str, Any]) -> str:
    return json.dumps(value, sort_keys=True)


def _content(provenance: dict[str, Any]) -> dict[str, Any]:
    """What tells the content of a data set."""
    return {name: provenance[name] for name in ("splits", "tokenizer") if name in provenance}


def results_lock(directory: Path) -> Path:
    """The file to hold while writing what all cells have in common: experiment.json and the report."""
    return directory / "lock"


def cell_directory(directory: Path, cell: Cell) -> CellDirectory:
    """Where a cell's results are."""
    return CellDirectory(directory / "cells" / cell.name)


def made_otherwise(directory: Path, cells: list[Cell]) -> list[str]:
    """A sentence for every cell that has finished runs made by another commit, or with another jax, than there is
    now."""
    now, jax = commit(), versions().get("jax")
    found = []
    for cell in cells:
        made = [one for wave in cell_directory(directory, cell).waves() if wave.done for one in wave.environments]
        if commits := {one["commit"] for one in made} - {now}:
            found.append(f"{cell.name}: made by commit {', '.join(sorted(commits))}, this is {now}")
        if others := {one.get("versions", {}).get("jax") for one in made} - {jax, None}:
            found.append(f"{cell.name}: made with jax {', '.join(sorted(others))}, this is {jax}")
    return found


def without_telemetry(directory: Path, cells: Sequence[Cell]) -> list[str]:
    """The cells that have runs without telemetry, which were trained before it was asked for."""
    waves = {cell.name: cell_directory(directory, cell).waves() for cell in cells}
    return [name for name, made in waves.items() if not all(wave.has_telemetry for wave in made)]


def check_folder(directory: Path, ours: Sequence[str] = RESULT_FILES) -> None:
    """Raises ValueError for a folder that holds something else than results, of which any of `ours` tells, or out of
    which a symbolic link leads."""
    check_links(directory, DEEP)
    if _foreign(directory, ours):
        raise ValueError(f"{directory} is not empty and holds no results: choose another --out")


def _foreign(directory: Path, ours: Sequence[str]) -> bool:
    """Whether a folder has files, but none of a runner's; one killed at the very start leaves a lock and leftovers."""
    if not directory.exists() or any((directory / name).exists() for name in ours):
        return False
    return any(path.name not in NOT_FILES and not path.match(LEFTOVERS) for path in directory.iterdir())


def _check_overrides(experiment: Experiment, known: list[dict[str, Any]], directory: Path) -> None:
    """Raises ValueError where an arm that is there already was trained with other overrides than it has now, such as
    another tuned learning rate, or none."""
    asked = [as_json([("activation", cell.activation), *cell.axes]) for cell in grid(experiment)]
    for path in sorted(directory.glob("cells/*/cell.json")):
        made = read_json(path)
        arm = {"activation": made["model"]["activation"], **made["axes"]}
        before, now = (
            _fields_of(made["activation"], arm, known),
            _fields_of(made["activation"], arm, overrides(experiment)),
        )
        if arm in asked and (difference := first_difference(before, now)) is not None:
            raise ValueError(
                f"{directory} holds {made['activation']} with {difference} as its override: choose another --out, or "
                f"delete it"
            )


def _fields_of(name: str, arm: dict[str, Any], overrides: list[dict[str, Any]]) -> dict[str, Any]:
    """The fields that are overridden for an arm."""
    named = {**arm, "activation": name}
    return {path: value for one in overrides if one["arm"] == named for path, value in one["fields"].items()}
