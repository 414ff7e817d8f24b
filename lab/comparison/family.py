"""The requests of experiment.json: how many arms share the error rate, and which arms or seeds are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab.comparison.outcomes import label, plain, run_columns

if TYPE_CHECKING:
    from lab.results.results import Results


@dataclass(frozen=True)
class Asked:
    """A requested cell: its label, whether it is the baseline, its numbers of runs and arms, and its seeds."""

    label: str
    is_baseline: bool
    runs: int
    arms: int
    """More than one if a traced field such as the learning rate varies within the cell."""
    seeds: tuple[int, ...] | None
    """None if an older version recorded only the number of runs."""


def asked_for(results: Results, baseline: str) -> dict[str, Asked]:
    """Every requested cell by name; empty if nothing was recorded, as for rows alone."""
    record = results.experiment
    known = record.get("arms", {})
    return {
        cell: _described(known[cell], runs, baseline) if cell in known else _guessed(results, cell, runs, baseline)
        for cell, runs in record.get("cells", {}).items()
    }


def size(asked: Mapping[str, Asked], found: int) -> int:
    """The number of arms for which verdicts are corrected: all requested ones, or those found if there are more."""
    return max(found, sum(one.arms for one in asked.values() if not one.is_baseline))


def missing(
    results: Results, asked: Mapping[str, Asked], metric: str, split: str, runs: pd.DataFrame | None
) -> list[str]:
    """One sentence per requested arm, metric or seed that is missing at the step of the comparison.

    `runs` is the table of `lab.comparison.outcomes.ends`; without it, every run with any measurement counts.
    """
    rows = results.rows
    runs = rows.drop_duplicates(run_columns(rows)) if runs is None else runs
    reached = rows.groupby("cell")["step"].max()
    of_metric = set(rows.loc[(rows["metric"] == metric) & (rows["split"] == split), "cell"])
    seeds = {str(cell): set(frame["seed"]) for cell, frame in runs.groupby("cell")}
    counts = runs.groupby("cell").size()
    found = []
    for cell, one in asked.items():
        if cell not in reached.index:
            found.append(f"{one.label} is missing: {_count(one.runs, 'run')} requested, none found")
        elif cell not in of_metric:
            found.append(f"{one.label} has no {split} {metric}")
        else:
            found += _lacking(one, seeds.get(cell, set()), int(counts.get(cell, 0)))
            if (end := results.ends.get(cell)) is not None and reached[cell] < end:
                found.append(f"{one.label} has only reached step {reached[cell]} of {end}")
    return found


def unpaired(arm: pd.DataFrame, partner: pd.DataFrame) -> list[str]:
    """The seeds of its partner that an arm lacks, for rows without a record of the request."""
    lacked = partner.index.difference(arm.index)
    return [f"{_label(arm)} lacks {_seeds(lacked)} of {_label(partner)}"] if len(lacked) else []


def without_baseline(arm: pd.DataFrame, baseline: str) -> str:
    """An arm at a setting of the axes that the baseline lacks."""
    return f"{_label(arm)} has no run of {baseline} at the same setting"


def _lacking(one: Asked, seeds: set[int], runs: int) -> list[str]:
    if one.seeds is None:
        return [f"{one.label} has {runs} of {_count(one.runs, 'run')}"] if runs < one.runs else []
    lacked = [seed for seed in one.seeds if seed not in seeds]
    if lacked:
        return [f"{one.label} lacks {_seeds(lacked)}"]
    whole = len(one.seeds) * one.arms
    return [f"{one.label} has {runs} of {_count(whole, 'run')}"] if runs < whole else []


def _described(arm: Mapping[str, Any], runs: int, baseline: str) -> Asked:
    seeds = tuple(arm["seeds"])
    words = label({"activation": arm["activation"], **arm["axes"]})
    return Asked(words, arm["activation"] == baseline, max(runs, len(seeds) * arm["points"]), arm["points"], seeds)


def _guessed(results: Results, cell: str, runs: int, baseline: str) -> Asked:
    """The label of a cell requested by an older version, whose name has activation and axes before the hash."""
    seeds = len(results.experiment.get("seeds", [])) or 1
    name = re.sub(r"-[0-9a-f]{8}$", "", cell)
    present = {one["cell"]: one["activation"] for one in results.cells}
    is_baseline = present.get(cell, name if name == baseline else name.split("-")[0]) == baseline
    return Asked(name, is_baseline, runs, max(1, runs // seeds), None)


def _label(arm: pd.DataFrame) -> str:
    return str(arm["label"].iloc[0])


def _seeds(seeds: Iterable[Any]) -> str:
    told = [str(plain(seed)) for seed in seeds]
    return f"{'seed' if len(told) == 1 else 'seeds'} {', '.join(told)}"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
