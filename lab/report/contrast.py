"""Two results of one experiment side by side: differences in provenance, and in the numbers."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lab.comparison.comparison import compare
from lab.comparison.outcomes import axis_columns, label
from lab.comparison.time.speed import by_cell
from lab.files.damaged import DamagedFileError
from lab.report import page
from lab.report.table import number, times
from lab.statistics.paired import paired_difference

if TYPE_CHECKING:
    from lab.results.results import Results

MEASURES = (
    "step", "n", "mean_a", "mean_b", "difference", "low", "high", "largest", "largest_seed", "relative_time",
)  # fmt: skip
ACCOUNTS = (
    "created",
    "cells",
    "reference_predictors",
)  # keys of experiment.json that record the outcome, not the definition


def write(a: Results, b: Results, path: Path) -> Path:
    """Write the page of how B differs from A, two results of one experiment, with its tables; returns the page's path.

    Runs are paired by activation, axes and seed. Raises ValueError, in one sentence, if the results are not of one
    experiment or have no run in common, OSError if the page cannot be written.
    """
    name = a.experiment["name"]
    if b.experiment["name"] != name:
        raise ValueError(
            f"{a.directory} holds the experiment {name!r}, but {b.directory} holds {b.experiment['name']!r}: "
            "only results of one experiment can be compared"
        )
    arm = _arm_columns(a, b)
    both = _both(a, b, arm)
    ends, made = _ends(a, both, arm), _made(a, b)
    table = _by_arm(a, b, ends[_finite(ends)], arm)
    parts = [
        page.answer(
            page.listed([_sameness(both), *_largest(table), _changes(table), *_times(table), _provenance(made)])
        ),
        *page.notice("Not every run could be compared:", [*_alone(a, b, arm), *_diverged(ends[~_finite(ends)])]),
        *_numbers(a, table),
        *_making(made),
    ]
    return page.write(path, f"{name}: what differs from A to B", f"A: {a.directory}; B: {b.directory}", parts)


def _arm_columns(a: Results, b: Results) -> list[str]:
    """The columns that identify an arm in both."""
    axes = list(dict.fromkeys([*axis_columns(a.rows), *axis_columns(b.rows)]))
    for axis in axes:
        for one, other in ((a, b), (b, a)):
            if axis not in one.rows:
                raise ValueError(
                    f"{other.directory} varies {axis}, but {one.directory} does not: their runs do not pair"
                )
    return ["activation", *axes]


def _both(a: Results, b: Results, arm: list[str]) -> pd.DataFrame:
    """All values present in both: the arm's columns, label, seed, step, split, metric, cell, value_a and value_b."""
    number = [*arm, "seed", "step", "split", "metric"]
    both = a.rows[[*number, "cell", "value"]].merge(
        b.rows[[*number, "cell", "value"]], on=number, suffixes=("_a", "_b")
    )
    if both.empty:
        raise ValueError(f"{a.directory} and {b.directory} have no activation, setting and seed in common")
    return both.assign(label=[label(row) for row in both[arm].to_dict("records")])


def _ends(a: Results, both: pd.DataFrame, arm: list[str]) -> pd.DataFrame:
    """The primary metric of every run at the last step that all runs of its arm have in both."""
    metric, split = a.experiment.get("metric", "loss"), a.experiment.get("split", "validation")
    measured = both[(both["metric"] == metric) & (both["split"] == split)]
    if measured.empty:
        raise ValueError(f"{split} {metric} was not measured at one step in both")
    runs = measured.groupby([*arm, "seed"], dropna=False, sort=False)["step"].max()
    last = runs.groupby(arm, dropna=False, sort=False).min().rename("last").reset_index()
    ends = measured.merge(last, on=arm)
    return ends[ends["step"] == ends["last"]].drop(columns="last")


def _finite(ends: pd.DataFrame) -> pd.Series:
    """The runs with a finite value in both."""
    return np.isfinite(ends["value_a"]) & np.isfinite(ends["value_b"])


def _by_arm(a: Results, b: Results, ends: pd.DataFrame, arm: list[str]) -> pd.DataFrame:
    """One row per arm: its paired difference B - A at its last common step, the time ratio, and both verdicts."""
    level, speed_a, speed_b = a.experiment.get("level", 0.95), _speeds(a), _speeds(b)
    rows = []
    for _, runs in ends.groupby(arm, dropna=False, sort=False):
        found = paired_difference(runs["value_b"], runs["value_a"], level)
        differences, first = (runs["value_b"] - runs["value_a"]).to_numpy(), runs.iloc[0]
        largest = np.abs(differences).argmax()
        rows.append(
            {
                **first[["label", *arm, "step"]],
                "n": found.n,
                "mean_a": runs["value_a"].mean(),
                "mean_b": runs["value_b"].mean(),
                "difference": found.mean,
                "low": found.low,
                "high": found.high,
                "largest": differences[largest],
                "largest_seed": runs["seed"].iloc[largest],
                "relative_time": speed_a.get(first["cell_a"], np.nan) / speed_b.get(first["cell_b"], np.nan),
            }
        )
    table = pd.DataFrame(rows, columns=["label", *arm, *MEASURES])
    for name, results in (("verdict_a", a), ("verdict_b", b)):
        verdicts = _verdicts(results, name)
        table = table.merge(verdicts, how="left", on=[known for known in verdicts if known != name])
    return table.fillna({"verdict_a": "", "verdict_b": ""})


def _speeds(results: Results) -> dict[str, float]:
    return {row["cell"]: row["tokens_per_second"] for row in by_cell(results).to_dict("records")}


def _verdicts(results: Results, name: str) -> pd.DataFrame:
    """The verdict by activation and axes, in a column `name`; no rows if nothing can be compared yet."""
    try:
        found = compare(results)
    except DamagedFileError:
        raise
    except ValueError:
        return pd.DataFrame(columns=["activation", name], dtype=str)
    groups = [*((one, "baseline") for one in found.baselines), *((one, one.verdict) for one in found.arms)]
    return pd.DataFrame([{"activation": one.activation, **one.axes, name: verdict} for one, verdict in groups])


def _made(a: Results, b: Results) -> pd.DataFrame:
    """The recorded differences in provenance: field, A, B."""
    of_a, of_b = _recorded(a), _recorded(b)
    fields = [field for field in {**of_a, **of_b} if of_a.get(field) != of_b.get(field)]
    rows = [(field, of_a.get(field, "not recorded"), of_b.get(field, "not recorded")) for field in fields]
    return pd.DataFrame(rows, columns=["field", "A", "B"])


def _recorded(results: Results) -> dict[str, str]:
    """Definition, command and environments, flattened; differing values of cells are joined."""
    defined = {name: value for name, value in results.experiment.items() if name not in ACCOUNTS}
    return page.gathered([defined, *results.environments])


def _sameness(both: pd.DataFrame) -> str:
    same = (both["value_a"] == both["value_b"]) | (both["value_a"].isna() & both["value_b"].isna())
    if same.all():
        return f"All {len(both):,} values present in both are identical."
    return f"Of {len(both):,} values present in both, {(~same).sum():,} differ."


def _largest(table: pd.DataFrame) -> list[str]:
    """The run with the largest final difference to its partner."""
    if table.empty:
        return []
    row = table.iloc[table["largest"].abs().argmax()]
    if row["largest"] == 0:
        return ["The final values of all runs are identical."]
    size = number(row["largest"], _decimals(table), sign=True)
    return [f"The largest difference of a run is {size}, of {row['label']}, seed {row['largest_seed']}."]


def _changes(table: pd.DataFrame) -> str:
    changed = table[table["verdict_a"] != table["verdict_b"]].replace({"verdict_a": "", "verdict_b": ""}, "none")
    if changed.empty:
        return "No verdict changed."
    changes = [f"{row['label']} from {row['verdict_a']} to {row['verdict_b']}" for row in changed.to_dict("records")]
    return f"Verdicts changed from A to B: {'; '.join(changes)}."


def _times(table: pd.DataFrame) -> list[str]:
    ratios = table["relative_time"].dropna()
    return [f"Training in B took {times(ratios.min())} to {times(ratios.max())} the time of A."] if len(ratios) else []


def _provenance(made: pd.DataFrame) -> str:
    if made.empty:
        return "Their recorded provenance is identical."
    parts = made["field"].str.split(".").str[0].value_counts(sort=False)
    named = [f"{part} ({n} fields)" if n > 1 else str(part) for part, n in parts.items()]
    return f"Their provenance differs in {', '.join(named)}."


def _alone(a: Results, b: Results, arm: list[str]) -> list[str]:
    """The runs that only one of them has, one sentence each."""
    runs = [one.rows[[*arm, "seed"]].drop_duplicates() for one in (a, b)]
    every = runs[0].merge(runs[1], how="outer", on=[*arm, "seed"], indicator="where")
    places = {"left_only": "A", "right_only": "B"}
    return [
        f"{label({name: row[name] for name in arm})}, seed {row['seed']}: only in {places[row['where']]}"
        for row in every[every["where"] != "both"].to_dict("records")
    ]


def _diverged(ends: pd.DataFrame) -> list[str]:
    """The runs without a finite final value, one sentence each."""
    found = []
    for row in ends.to_dict("records"):
        where = " and ".join(name for name in "AB" if not np.isfinite(row[f"value_{name.lower()}"]))
        found.append(f"{row['label']}, seed {row['seed']}: diverged in {where}")
    return found


def _numbers(a: Results, table: pd.DataFrame) -> list[page.Part]:
    measure = f"{a.experiment.get('split', 'validation')} {a.experiment.get('metric', 'loss')}"
    digits, level = _decimals(table), a.experiment.get("level", 0.95)
    shown = [
        page.column("label", head="activation"),
        page.column("step"),
        page.column("n"),
        page.column("mean_a", lambda value: number(value, digits), head=f"{measure}, A"),
        page.column("mean_b", lambda value: number(value, digits), head=f"{measure}, B"),
        page.column("difference", lambda value: number(value, digits, sign=True), head="B − A"),
        page.Column(f"{level:.0%} interval", "low", lambda row: page.interval(row["low"], row["high"], digits)),
        page.column(
            "largest", lambda value: number(value, digits, sign=True) if value else "identical", "largest of a run"
        ),
        page.column("verdict_a", head="verdict in A"),
        page.column("verdict_b", head="verdict in B"),
        page.column("relative_time", times, head="time, B / A"),
    ]
    caption = (
        "Differences are paired by seed, at the last step that all runs of the arm have in both. Verdicts are those of "
        "each report. Time is training time per token."
    )
    return [page.heading("Numbers"), page.Table("contrast", table, shown, caption)]


def _decimals(table: pd.DataFrame) -> int:
    """The number of decimals that show three digits of the largest difference, between 2 and 9."""
    largest = table["largest"].abs().max()
    return int(np.clip(2 - math.floor(math.log10(largest)), 2, 9)) if largest > 0 else 4


def _making(made: pd.DataFrame) -> list[page.Part]:
    if made.empty:
        return []
    return [page.heading("Differences in provenance"), page.Table("making", made, page.columns(made))]
