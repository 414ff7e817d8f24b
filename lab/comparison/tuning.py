"""Tuning: the metric of each arm at every grid point, the chosen point, and the value of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import special

from lab.comparison.outcomes import axis_columns, label, outcomes, plain
from lab.results.directions import direction_of

if TYPE_CHECKING:
    from lab.results.results import Results

SEARCHED = ("learning_rate", "weight_decay")


def tuned(results: Results) -> pd.DataFrame:
    """One row per arm and grid point: activation, axes, learning_rate (and weight_decay), mean, low, high, n,
    n_diverged, chosen, edge.

    `results` are those of the tuning runs; mean, low and high are over their seeds, at the last step. `chosen` marks
    the best mean of each arm (the smallest rate on ties); `edge` marks points at the end of a grid of rates, beyond
    which a better rate may lie. A diverged run counts as the worst value reached by any run.
    """
    rule = results.experiment
    rows, direction = results.rows, direction_of(rule["metric"], rule)
    axes = list(dict.fromkeys([*axis_columns(rows), "learning_rate"]))
    last = {cell["cell"]: cell["settings"]["steps"] for cell in results.cells}
    runs = outcomes(rows, rule["metric"], rule["split"], last, axes, direction)
    point = runs.groupby(["activation", *axes], sort=False, dropna=False)
    table = point["value"].agg(mean="mean", low="min", high="max", n="size")
    table = table.assign(n_diverged=point["diverged"].sum()).reset_index()
    arms = table.groupby(["activation", *static_axes(table)], sort=False, dropna=False)
    marked = [_marked(arm.sort_values("learning_rate"), direction == "max") for _, arm in arms]
    return pd.concat(marked, ignore_index=True)


def static_axes(table: pd.DataFrame) -> list[str]:
    """The columns of a tuning table that, with the activation, identify the arms."""
    own = ("activation", *SEARCHED, "mean", "low", "high", "n", "n_diverged", "chosen", "edge")
    return [column for column in table.columns if column not in own]


def choices(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The fields set for each arm, as JSON: `arm` and `fields`, by name."""
    searched = [name for name in SEARCHED if name in table]
    return [
        {
            "arm": {name: plain(row[name]) for name in ("activation", *static_axes(table))},
            "fields": {f"hyperparameters.{name}": float(row[name]) for name in searched},
        }
        for _, row in table[table["chosen"]].iterrows()
    ]


def warnings(table: pd.DataFrame) -> list[str]:
    """A sentence for every arm whose best rate lies on the edge of the grid."""
    edges = table[table["chosen"] & table["edge"]]
    return [
        f"{label(arm)}: the best learning rate, {rate:g}, lies on the edge of the grid; a better one may lie beyond"
        for arm, rate in zip(
            edges[["activation", *static_axes(table)]].to_dict("records"), edges["learning_rate"], strict=True
        )
    ]


def expected_best(values: ArrayLike, higher: bool = False) -> Float[np.ndarray, " n"]:
    """The expected best of k points drawn without replacement from a grid, for k = 1 to all points.

    Dodge et al. 2019 (arXiv:1909.03004) draw with replacement, which is too optimistic for few points; the weights here
    are C(i - 1, k - 1) / C(n, k) for the i-th worst (Dodge et al. 2021, arXiv:2110.00613).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    ordered = ordered if higher else ordered[::-1]  # worst first
    n, below = len(ordered), np.arange(len(ordered))
    return np.array([special.comb(below, k - 1) @ ordered / special.comb(n, k) for k in range(1, n + 1)])


def budget(table: pd.DataFrame, higher: bool = False) -> pd.DataFrame:
    """Expected best mean of an arm by the number of points tried: activation, axes, and columns 1, 2, ..."""
    rows = []
    for _, arm in table.groupby(["activation", *static_axes(table)], sort=False, dropna=False):
        about = {name: plain(arm.iloc[0][name]) for name in ("activation", *static_axes(table))}
        expected = expected_best(arm["mean"].to_numpy(), higher)
        rows.append({**about, **{str(k): value for k, value in enumerate(expected, start=1)}})
    return pd.DataFrame(rows)


def _marked(arm: pd.DataFrame, higher: bool) -> pd.DataFrame:
    best = arm["mean"].idxmax() if higher else arm["mean"].idxmin()
    rates = arm["learning_rate"]
    return arm.assign(chosen=arm.index == best, edge=(rates == rates.min()) | (rates == rates.max()))
