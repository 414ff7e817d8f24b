"""Reads the results of an experiment: one tidy table of all curves, and descriptions of the cells."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from lab.files.links import check_links
from lab.results import looks
from lab.results.cells import CellDirectory, Wave, cell_directories
from lab.results.examples import Examples
from lab.results.looks import Look
from lab.results.record import FILE, read_record

DEEP = ("checkpoints", "profile")
"""Folders with many files, none of which is read here."""
MEASURED = ["step", "split", "metric", "value"]
INSIDE = ["step", "split", "layer", "site", "metric", "value"]
AT_HAND = 4
"""Cells whose per-example values stay in memory: among them the baseline's, which every arm is compared with."""


@dataclass(frozen=True)
class Results:
    """The contents of a results directory.

    `rows` is tidy: experiment, cell, task, model, activation, one column per axis, seed, learning_rate, step, split,
    metric, value. `timing` has cell, kind, runs, start_step, step, seconds, tokens. `experiment` is experiment.json,
    `cells` the cells' descriptions, each with its `environments`, the latest of them as `environment`, and the number
    of its runs that are `done`. `ignored` lists folders that are copies, one sentence each.
    """

    directory: Path
    experiment: dict[str, Any]
    cells: tuple[dict[str, Any], ...]
    rows: pd.DataFrame
    timing: pd.DataFrame
    ignored: tuple[str, ...] = ()

    @property
    def looks(self) -> tuple[Look, ...]:
        """The comparisons shown so far. Raises ValueError if the log is damaged."""
        return looks.read(self.directory)

    @cached_property
    def tuning(self) -> "Results | None":
        """The runs that selected the hyperparameters of every arm, in a subdirectory; None if there are none."""
        folder = self.directory / "tuning"
        return read(folder) if (folder / FILE).exists() else None

    @cached_property
    def ends(self) -> dict[str, int]:
        """The last step of every cell whose settings are known."""
        return {cell["cell"]: cell["settings"]["steps"] for cell in self.cells if "steps" in cell.get("settings", {})}

    @property
    def environments(self) -> list[dict[str, Any]]:
        """The environments in which the runs of all cells were made; a cell may have several."""
        return [one for cell in self.cells for one in cell.get("environments", [cell.get("environment", {})])]

    def examples(self, cell: str, split: str = "validation", metric: str = "loss") -> Examples | None:
        """Per-example values of the last evaluation (windows, images, recordings) for all runs of a cell: values
        [runs, examples], with the weight and the document of each example; None if not kept.

        Cells with the same task and settings have the same examples. Raises ValueError if a file is damaged.
        """
        return self._examples(cell, split, metric)

    @cached_property
    def _examples(self) -> Callable[[str, str, str], Examples | None]:
        cells = self.directory / "cells"
        return lru_cache(AT_HAND)(lambda cell, split, metric: CellDirectory(cells / cell).examples(split, metric))

    @property
    def telemetry(self) -> pd.DataFrame:
        """What happened inside the networks, as `rows` with the columns layer and site; empty if it was not asked for.

        Raises ValueError if a file is damaged.
        """
        found = [
            (cell, wave.telemetry())
            for cell in self.cells
            for wave in CellDirectory(self.directory / "cells" / cell["cell"]).waves()
            if wave.has_telemetry
        ]
        return _rows(self.experiment, found, INSIDE) if found else pd.DataFrame(columns=INSIDE)

    @property
    def reference_predictors(self) -> pd.DataFrame:
        """Reference predictors: task, predictor, metric, split, value; empty if none is recorded."""
        recorded = [
            {"task": task, "predictor": name, **score}
            for task, scores in self.experiment.get("reference_predictors", {}).items()
            for name, score in scores.items()
        ]
        return pd.DataFrame(recorded, columns=["task", "predictor", "metric", "split", "value"])


def read(directory: Path) -> Results:
    """Read a results directory, finished or not.

    Raises FileNotFoundError if it is not one, ValueError if a file is damaged, a symbolic link leads out of it or
    nothing has been measured yet.
    """
    check_links(directory, DEEP)
    experiment = read_record(directory)
    folders, ignored = cell_directories(directory)
    read = [(folder.description(), folder.waves()) for folder in folders]
    cells = tuple(_cell(description, waves) for description, waves in read)
    measured = [(cell, wave) for cell, waves in read for wave in waves if wave.has_metrics]
    if not measured:
        raise ValueError(f"{directory} has no measurements yet: run the experiment first")
    rows = _rows(experiment, [(cell, wave.curves()) for cell, wave in measured])
    timing = _together([({"cell": cell["cell"]}, wave.timing()) for cell, wave in measured])
    ignored += [sentence for folder in folders for sentence in folder.ignored()]
    return Results(directory, experiment, cells, rows, timing, ignored=tuple(ignored))


def _cell(description: dict[str, Any], waves: Sequence[Wave]) -> dict[str, Any]:
    environments = [environment for wave in waves for environment in wave.environments]
    return {
        **description,
        "environment": environments[-1] if environments else {},
        "environments": environments,
        "commits": sorted({environment["commit"] for environment in environments}),
        "runs": sum(len(wave.runs) for wave in waves),
        "done": sum(len(wave.runs) for wave in waves if wave.done),
    }


def _rows(
    experiment: dict[str, Any], tables: Sequence[tuple[dict[str, Any], pa.Table]], measured: Sequence[str] = MEASURED
) -> pd.DataFrame:
    """The tables of waves, each with its cell, as one with the columns that identify the rows."""
    constants = [
        {
            "experiment": experiment["name"],
            "cell": cell["cell"],
            "task": cell["task"]["name"],
            "model": cell["model"]["name"],
            "activation": cell["activation"],
            **cell["axes"],
        }
        for cell, _ in tables
    ]
    names = list(dict.fromkeys(name for constant in constants for name in constant))
    table = _together([(constant, one) for constant, (_, one) in zip(constants, tables, strict=True)])
    traced = [axis for axis in experiment["axes"] if axis in table.columns and axis not in names]
    return table[list(dict.fromkeys([*names, *traced, "seed", "learning_rate", *measured]))]


def _together(tables: Sequence[tuple[dict[str, Any], pa.Table]]) -> pd.DataFrame:
    """Tables below each other, each with constants in further columns."""
    lengths = [len(table) for _, table in tables]
    rows = pa.concat_tables([table for _, table in tables], promote_options="permissive").to_pandas()
    names = dict.fromkeys(name for constants, _ in tables for name in constants)
    return rows.assign(**{name: _column([one.get(name, math.nan) for one, _ in tables], lengths) for name in names})


def _column(values: Sequence[Any], lengths: list[int]) -> pd.Series:
    """Values repeated; those of several types, or None among them, stay what they are."""
    repeated = [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
    alike = len({type(value) for value in values}) == 1 and values[0] is not None
    return pd.Series(repeated, dtype=None if alike else object)
