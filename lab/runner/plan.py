"""What a results directory still needs: it belongs to one experiment, whose grid may grow but not change."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lab.experiment.experiment import Cell, Experiment, grid
from lab.experiment.serialization import canonical
from lab.files.atomic import LEFTOVERS, read_json, sweep, write_json
from lab.files.locks import lock
from lab.results.cells import CellDirectory, first_difference
from lab.results.environment import commit
from lab.results.record import FILE, read_record
from lab.training.train import Dataset

RESULT_FILES = ("experiment.json", "cells", "tuning", "matched.json")  # any of them tells a folder of results


def prepare(
    experiment: Experiment,
    directory: Path,
    command: str,
    predictors: dict[str, Any] | None = None,
    looks: Sequence[int] = (),
) -> None:
    """Writes `experiment.json`, or adds to it the seeds and axes that are new; before anything is trained.

    `predictors` are the reference predictors: name of the task -> predictor -> its metric, split and value.
    `looks` are the first and the last number of seeds at which arms are compared, if that decides how many are trained.
    Raises ValueError if the directory holds an experiment with another task, model or settings, another activation of
    the same name or an arm with other fields of its own, OSError if it cannot be written.
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
        _check_activations(experiment, directory)
        _check_overrides(experiment, known.get("overrides", []), directory)
        write_json(path, _record(experiment, known, command, predictors or {}, list(looks)))


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


def other_commits(directory: Path, cells: list[Cell]) -> dict[str, set[str]]:
    """The cells that have finished runs made by a commit other than this one, with those commits."""
    now = commit()
    found = {}
    for cell in cells:
        waves = [wave for wave in cell_directory(directory, cell).waves() if wave.done]
        found[cell.name] = {made["commit"] for wave in waves for made in wave.environments} - {now}
    return {name: commits for name, commits in found.items() if commits}


def check_folder(directory: Path, ours: Sequence[str] = RESULT_FILES) -> None:
    """Raises ValueError for a folder that holds something else than results, of which any of `ours` tells."""
    if _foreign(directory, ours):
        raise ValueError(f"{directory} is not empty and holds no results: choose another --out")


def _foreign(directory: Path, ours: Sequence[str]) -> bool:
    """Whether a folder has files, but none of a runner's; one killed at the very start leaves a lock and leftovers."""
    if not directory.exists() or any((directory / name).exists() for name in ours):
        return False
    return any(path.name != "lock" and not path.match(LEFTOVERS) for path in directory.iterdir())


def _check_activations(experiment: Experiment, directory: Path) -> None:
    """Raises ValueError where results of an activation with the same name, but another source, are there already."""
    asked = {cell.activation.name: canonical(cell.activation) for cell in grid(experiment)}
    for path in sorted(directory.glob("cells/*/cell.json")):
        made = read_json(path)
        if asked.get(made["activation"], made["model"]["activation"]) != made["model"]["activation"]:
            raise ValueError(
                f"{path.parent} was made with another source of '{made['activation']}': give it another name, choose "
                f"another --out, or delete it"
            )


def _check_overrides(experiment: Experiment, known: list[dict[str, Any]], directory: Path) -> None:
    """Raises ValueError where an arm that is there already was trained with other overrides than it has now, such as
    another tuned learning rate, or none."""
    asked = [_as_json([("activation", cell.activation), *cell.axes]) for cell in grid(experiment)]
    for path in sorted(directory.glob("cells/*/cell.json")):
        made = read_json(path)
        arm = {"activation": made["model"]["activation"], **made["axes"]}
        before, now = (
            _fields_of(made["activation"], arm, known),
            _fields_of(made["activation"], arm, _overrides(experiment)),
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


def _overrides(experiment: Experiment) -> list[dict[str, Any]]:
    return [{"arm": _as_json(one.arm), "fields": _as_json(one.fields)} for one in experiment.overrides]


def _as_json(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Pairs of name and value as JSON."""
    return {name: canonical(value) for name, value in items}


def _record(
    experiment: Experiment, known: dict[str, Any], command: str, predictors: dict[str, Any], looks: list[int]
) -> dict[str, Any]:
    return {
        "name": experiment.name,
        "question": experiment.question,
        "baseline": experiment.reference,
        "metric": experiment.metric,
        "split": experiment.split,
        "level": experiment.level,
        "steps": experiment.settings.steps,
        "axes": _union(known.get("axes", []), experiment.axis_names),
        "seeds": _union(known.get("seeds", []), experiment.seeds),
        "cells": {**known.get("cells", {}), **{cell.name: len(cell.runs) for cell in grid(experiment)}},
        "overrides": _union(known.get("overrides", []), _overrides(experiment)),
        "margin": experiment.margin,
        "target": experiment.target,
        "looks": looks or known.get("looks", []),
        "published": dict(experiment.published),
        "reference_predictors": {**known.get("reference_predictors", {}), **predictors},
        "command": command,
        "created": known.get("created", datetime.now(UTC).isoformat(timespec="seconds")),
        "definition": experiment.definition,
    }


def _union(old: list[Any], new: Any) -> list[Any]:
    return [*old, *(value for value in new if value not in old)]
