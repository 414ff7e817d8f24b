"""The section of a report on what happened inside the networks: the baseline by layer, and the differences to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lab.comparison.outcomes import axis_columns
from lab.report import page
from lab.statistics.paired import paired_t

if TYPE_CHECKING:
    from lab.results.results import Results

SHOWN = (
    *("mean_over_rms", "rms", "growth", "mean", "std", "share_positive", "share_negative", "kurtosis"),
    *("max_over_median", "dead_share", "dormant_share", "sparsity_at_cett", "max"),
    *("participation_ratio_before", "participation_ratio_after", "jensen_shannon"),
    *("gradient_norm", "update_norm", "spike_score"),
)
"""Metrics of the table; telemetry.parquet has all."""
PLACE = ["layer", "site", "metric"]
CAPTION = (
    "For {baseline}: means over the seeds at the first step and at the step of the comparison. For the others: the "
    "difference from it at that step, paired by seed, and its {level:.0%} interval, not corrected for the many "
    "comparisons. "
    "Values that are not numbers, as of diverged runs, are left out. "
    "telemetry.parquet in each cell's folders has all quantities at every evaluation; Results.telemetry reads them."
)


def section(results: Results, baseline: str, level: float, step: int | None) -> list[page.Part]:
    """The folded tables, one per setting of the axes; empty if nothing was recorded or the baseline has no rows. Arms
    are compared at `step`, or if it is None each at its last one."""
    rows = results.telemetry
    rows = rows[rows["metric"].isin(SHOWN)]
    rows = rows if step is None else rows[rows["step"] <= step]
    if rows.empty:
        return []
    axes = [name for name in axis_columns(rows) if name not in PLACE]
    parts: list[page.Part] = []
    for number, (setting, some) in enumerate(rows.groupby(axes, sort=False) if axes else [((), rows)]):
        words = ", ".join(f"{name} {value}" for name, value in zip(axes, setting, strict=True))
        values = table(some, baseline, level)
        if len(values):
            name = f"telemetry-{number + 1}" if axes else "telemetry"
            summary = f"{baseline} by layer, and the differences of the others" + (words and f": {words}")
            columns = [page.column(str(head)) for head in values if not str(head).endswith((" low", " high"))]
            columns = [_with_interval(one, values) for one in columns]
            parts.append(page.Table(name, values, columns, CAPTION.format(baseline=baseline, level=level), summary))
    return [page.heading("Inside the networks"), *parts] if parts else []


def table(rows: pd.DataFrame, baseline: str, level: float) -> pd.DataFrame:
    """Layer, site, metric, the baseline's `first` and `last` mean over its seeds, and for each other arm NAME the mean
    paired difference at its last step with `NAME low` and `NAME high`."""
    places = rows[PLACE].drop_duplicates()
    own = rows[rows["activation"] == baseline]
    wide = {
        str(name): one[one["step"] == one["step"].max()].pivot_table("value", PLACE, "seed", sort=False)
        for name, one in rows.groupby("activation", sort=False)
    }
    if baseline not in wide:
        return pd.DataFrame()
    first = own[own["step"] == own["step"].min()].groupby(PLACE, sort=False)["value"].mean()
    found = {"first": first, "last": wide[baseline].mean(axis=1)}
    for name, values in wide.items():
        if name != baseline:
            differences = (values - wide[baseline]).dropna(axis="columns", how="all")
            differences = differences[np.isfinite(differences).all(axis=1)]
            if differences.size:
                t = paired_t(differences.to_numpy(), level)
                ends = {name: t.mean, f"{name} low": t.low, f"{name} high": t.high}
                found |= {head: pd.Series(column, differences.index) for head, column in ends.items()}
    return places.merge(pd.DataFrame(found).reset_index(), on=PLACE, how="left")


def _with_interval(one: page.Column, values: pd.DataFrame) -> page.Column:
    """The column of a difference, with its interval in parentheses."""
    low, high = f"{one.by} low", f"{one.by} high"
    if low not in values:
        return one._replace(words=lambda row: page.plain(_blank(row[one.by])))
    return page.Column(f"{one.head} − baseline", one.by, lambda row: _words(row[one.by], row[low], row[high]))


def _blank(value: object) -> object:
    return None if isinstance(value, float) and np.isnan(value) else value


def _words(difference: float, low: float, high: float) -> str:
    if np.isnan(difference):
        return ""
    return f"{difference:+.3g} ({low:+.3g} to {high:+.3g})".replace("-", "−")
