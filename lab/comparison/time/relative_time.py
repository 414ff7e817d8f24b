"""The training time of an arm relative to its baseline, with its spread."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from lab.results.results import Results

SHARE = 0.1  # of the timed intervals, trimmed at either end as disturbed by other programs


class RelativeTime(NamedTuple):
    """The ratio of the times per token, and the range of the middle 80 % of the timings.

    The low end divides the arm's fast intervals by the baseline's slow ones, the high end the reverse: cells are
    trained one after another, so other programs may have slowed only one of them. The ends are nan if either has fewer
    than 2 timed intervals.
    """

    ratio: float
    low: float
    high: float


NOT_TIMED = RelativeTime(float("nan"), float("nan"), float("nan"))


def seconds_per_token(results: Results) -> dict[str, pd.Series]:
    """For each cell, the seconds per token of every training interval: processor time on a CPU if recorded, since other
    programs hardly affect it; otherwise wall time."""
    timing = results.timing.reindex(columns=["cell", "kind", "seconds", "processor_seconds", "tokens"])
    train = timing[(timing["kind"] == "train") & (timing["tokens"] > 0)]
    on_cpu = all(cell.get("environment", {}).get("device") == "cpu" for cell in results.cells)
    known = on_cpu and (train["processor_seconds"] > 0).all()
    column = "processor_seconds" if known else "seconds"
    return {str(cell): rows[column] / rows["tokens"] for cell, rows in train.groupby("cell")}


def relative_time(arm: pd.Series | None, baseline: pd.Series | None) -> RelativeTime:
    """The ratio of two cells, given their seconds per token of every interval."""
    if arm is None or baseline is None:
        return NOT_TIMED
    ratio = float(np.median(arm) / np.median(baseline))
    if min(len(arm), len(baseline)) < 2:
        return RelativeTime(ratio, float("nan"), float("nan"))
    fast, slow = np.quantile(arm, [SHARE, 1 - SHARE])
    baseline_fast, baseline_slow = np.quantile(baseline, [SHARE, 1 - SHARE])
    return RelativeTime(ratio, float(fast / baseline_slow), float(slow / baseline_fast))
