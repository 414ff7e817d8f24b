"""The final metric of each run: the table's rows at one step, with the worst value for diverged runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from lab.results.directions import OURS, Direction
from lab.results.examples import CURVE

# The columns of every table; any other column is an axis of the experiment.
COLUMNS = (
    "experiment", "cell", "task", "model", "activation", "seed", "learning_rate", "step", "split", "metric", "value",
)  # fmt: skip


def outcomes(
    rows: pd.DataFrame,
    metric: str,
    split: str,
    step: int | Mapping[str, int],
    axes: list[str] | None = None,
    direction: Direction | None = None,
) -> pd.DataFrame:
    """The table of `ends`, in which a diverged run has the worst value of all runs of its task, or its own value at
    step 0 if that is worse.

    `direction` of the metric defaults to that of this repository's own tasks. Raises ValueError if it is unknown, if a
    run has two values, or if all runs diverged and none has a finite value at step 0.
    """
    direction = OURS.get(metric) if direction is None else direction
    if direction is None:
        raise ValueError(f"the direction of {metric} is not declared: pass {metric}:max or {metric}:min")
    runs = ends(rows, metric, split, step, axes)
    worst = runs["value"].groupby(runs["task"]).transform("min" if direction == "max" else "max")
    penalty = np.fmin(worst, runs["first"]) if direction == "max" else np.fmax(worst, runs["first"])
    runs["value"] = runs["value"].mask(runs["diverged"], penalty)
    if not np.isfinite(runs["value"]).all():
        raise ValueError(f"every run diverged before step {step} and none has a finite value at step 0")
    return runs.drop(columns="first")


def ends(
    rows: pd.DataFrame, metric: str, split: str, step: int | Mapping[str, int], axes: list[str] | None = None
) -> pd.DataFrame:
    """One row per run: activation, axes, seed, cell, task, value, diverged, label, and first, its value at step 0.

    `step` is one step for all runs, or the step of each cell. The value of a diverged run is nan. Raises ValueError if
    a run has two values.
    """
    axes = axis_columns(rows) if axes is None else axes
    run = ["activation", *axes, "seed"]
    beside = [column for column in ("cell", "task") if column not in run]
    measured = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    values = measured.loc[measured["step"] == _step_of(measured, step), [*run, *beside, "value"]]
    _check_unique(values, run, step)
    diverged = rows[rows["metric"] == "diverged"]
    marked = diverged.loc[diverged["step"] <= _step_of(diverged, step), [*run, *beside]].drop_duplicates()
    first = measured.loc[measured["step"] == 0, [*run, "value"]].rename(columns={"value": "first"})
    runs = values.merge(marked, how="outer", on=[*run, *beside], indicator="source").merge(first, how="left", on=run)
    runs["diverged"] = (runs["source"] != "left_only") | ~np.isfinite(runs["value"])
    runs["value"] = runs["value"].mask(runs["diverged"])
    return runs.drop(columns="source").assign(label=_labels(runs, axes))


def axis_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that, with the activation, identify an arm.

    These are the experiment's axes and whichever of task, model and learning rate varies within one activation and
    setting. A rate tuned for each activation does not: it belongs to the arm, and arms with different rates pair.
    """
    axes = [column for column in rows.columns if column not in COLUMNS]
    for column in ("task", "model", "learning_rate"):
        if rows.groupby(["activation", *axes], dropna=False)[column].nunique(dropna=False).max() > 1:
            axes.append(column)
    return axes


def of_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of learning curves; if the last step was evaluated on more examples, its value on the examples of the
    other steps."""
    last = rows["split"] == CURVE
    at = pd.MultiIndex.from_frame(rows[["cell", "step"]])
    larger = (rows["split"] == "validation") & at.isin(at[last])
    return rows[~larger].assign(split=rows.loc[~larger, "split"].mask(last[~larger], "validation"))


def run_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that identify a run."""
    return [column for column in rows.columns if column not in ("step", "split", "metric", "value")]


def label(arm: Mapping[Any, Any]) -> str:
    """The label of an arm, given activation and axes by name: `gelu (norm=rms)`."""
    setting = ", ".join(f"{axis}={plain(value)}" for axis, value in arm.items() if axis != "activation")
    return f"{arm['activation']} ({setting})" if setting else str(arm["activation"])


def plain(value: Any) -> Any:
    """A NumPy scalar as a Python value, a missing value as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _step_of(rows: pd.DataFrame, step: int | Mapping[str, int]) -> pd.Series | int:
    """For each row, the step at which its run is compared."""
    return step if isinstance(step, int) else rows["cell"].map(step).astype(float)


def _labels(runs: pd.DataFrame, axes: list[str]) -> list[str]:
    """Each run's arm, with the axes that vary."""
    varying = [axis for axis in axes if len(runs[axis].unique()) > 1]
    return [label(arm) for arm in runs[["activation", *varying]].to_dict("records")]


def _check_unique(values: pd.DataFrame, run: list[str], step: int | Mapping[str, int]) -> None:
    twice = values[values.duplicated(run)]
    if len(twice):
        activation, seed = twice.iloc[0][["activation", "seed"]]
        when = f"step {step}" if isinstance(step, int) else "its last step"
        raise ValueError(
            f"{activation}, seed {seed} has two values at {when}: compare one experiment at a time, "
            "with every axis as a column"
        )
