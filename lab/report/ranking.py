"""The ranked table of a report: one verdict per row, with the other tests folded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from lab.comparison.comparison import Comparison
from lab.report import page
from lab.report.table import compact, decimals, number, times

CAPTION = (
    "n counts the pairs in which both runs trained; † of the arm's runs diverged and are left out, as stability is a "
    "question of its own."
)
OTHERS = (
    "The verdict follows from the rule below alone. The minimum detectable effect is the smallest true difference that "
    "this many pairs find with probability 0.8 after the correction. Sign flips (from 8 pairs) and BCa (from 20) are "
    "uncorrected and for a number of pairs fixed beforehand. Pairs needed is the number that would find the observed "
    "difference if it were the true one. Pairs won is the probability of improvement with its bootstrap interval, "
    "which covers less than its level where pairs are few (Bouthillier et al. 2021)."
)
COST = (
    "FLOPs are those of the forward matrix products. Time is training time per token relative to the baseline, with "
    "the range of the middle four fifths of the timings."
)
HOLDS = {"each": "", "all": ", all at once", "selected": ", of arms with a verdict"}


def ranking(comparison: Comparison, table: pd.DataFrame) -> list[page.Part]:
    """The parts, from the table of `lab.report.table.ranked`."""
    digits = decimals(comparison)
    interval = f"{comparison.level:.0%} interval{HOLDS[comparison.question.hold]}"
    shown = [
        page.column("arm", head="activation"),
        page.Column("verdict", "verdict", _verdict),
        page.column("mean", lambda value: number(value, digits), head=f"{comparison.split} {comparison.metric}"),
        page.Column("n", "n", lambda row: f"{row['n']}" + (f" ({row['n_diverged']}†)" if row["n_diverged"] else "")),
        page.column("difference", lambda value: number(value, digits, sign=True)),
        page.Column(interval, "low", lambda row: page.interval(row["low"], row["high"], digits)),
        *([] if _stable(table) else [page.column("stability", head="verdict on stability")]),
    ]
    others = [
        page.column("arm", head="activation"),
        page.column("p_adjusted", _p, head="p (adjusted)"),
        *([] if _empty(table, "equivalence_p") else [page.column("equivalence_p", _p, head="p of equivalence")]),
        page.column("p", _p, head="p (t test, unadjusted)"),
        page.column("minimum_detectable_effect", lambda value: number(value, digits), head="minimum detectable effect"),
        *([] if _empty(table, "sign_flip_p") else [page.column("sign_flip_p", _p, head="p of sign flips")]),
        *([] if _empty(table, "bca_low") else [page.Column("BCa interval", "bca_low", lambda row: _bca(row, digits))]),
        page.column("pairs_needed", lambda value: "" if pd.isna(value) else f"{value:,.0f}"),
        page.Column("pairs won", "wins", _wins),
        page.Column("diverged", "diverged_p", _diverged),
    ]
    cost = [
        page.column("arm", head="activation"),
        page.column("parameters", compact),
        page.column("flops_per_token", compact, head="FLOPs per token"),
        page.column("seconds", lambda value: number(value, 1), head="seconds per run"),
        page.Column("relative time", "relative_time", _time),
    ]
    return [
        page.heading("Ranking"),
        page.Table("ranking", table, shown, CAPTION),
        page.Table("other_tests", table[table["verdict"] != "baseline"], others, OTHERS, "Tests"),
        page.Table("cost", table, cost, COST, "Cost"),
    ]


def _verdict(row: Mapping[Any, Any]) -> str:
    return f"{row['verdict']} ({row['rate']})" if row["rate"] else str(row["verdict"])


def _empty(table: pd.DataFrame, column: str) -> bool:
    return bool(table[column].isna().all())


def _stable(table: pd.DataFrame) -> bool:
    return set(table["stability"]) <= {"", "stable"}


def _p(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"


def _time(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["relative_time_low"]):
        return times(row["relative_time"])
    spread = f"{times(row['relative_time_low'])} to {times(row['relative_time_high'])}"
    return f"{times(row['relative_time'])} ({spread})"


def _bca(row: Mapping[Any, Any], digits: int) -> str:
    return page.interval(row["bca_low"], row["bca_high"], digits)


def _wins(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["wins"]) else f"{row['wins']:.2f} ({row['wins_low']:.2f} to {row['wins_high']:.2f})"


def _diverged(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["diverged_p"]):
        return ""
    return f"{row['n_diverged']} against {row['baseline_diverged']:.0f}, p {row['diverged_p']:.2g}"
