"""The answer of a report: which arms are better, by how much, and the reasons for doubt, in one box."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import pandas as pd

from lab.comparison.comparison import Arm, Comparison
from lab.comparison.verdict import NO_VERDICT
from lab.report import page
from lab.report.table import MOST, best_first, decimals, number, times

SLOWER = 1.05  # timings on one machine vary by a few percent, so smaller ratios are not mentioned
VERDICTS = ("better", "worse", "equivalent", "inconclusive", NO_VERDICT)
STABILITY = ("less stable", "more stable")


def answer(comparison: Comparison, table: pd.DataFrame, unit_of_metric: str) -> str:
    """The box, as HTML: one line per verdict, the arms that take longer, and every caution."""
    arms, digits = best_first(comparison), decimals(comparison)
    lines = []
    for verdict in VERDICTS:
        found = [_difference(arm, digits) for arm in arms if arm.verdict == verdict]
        if found:
            lines.append(f"<li>{page.marked(verdict.capitalize())}: {_first(found)}.</li>")
    for verdict in STABILITY:
        found = [_stability(arm, comparison.baseline) for arm in arms if arm.stability.verdict == verdict]
        if found:
            lines.append(f"<li>{page.marked(verdict.capitalize())}: {_first(found)}.</li>")
    return page.answer(
        f"<p>Against <strong>{escape(comparison.baseline)}</strong>, by "
        f"{escape(comparison.split)} {escape(comparison.metric)} at {escape(comparison.when)}, over "
        f"{_pairs(comparison)}{_tuned(comparison)} "
        f"(difference{unit_of_metric and f' in {unit_of_metric}'}, {comparison.level:.0%} interval):</p>"
        f"<ul>{''.join(lines)}</ul>{_slower(table, comparison.baseline)}{_cautions(comparison)}"
    )


def _first(arms: Sequence[str]) -> str:
    more = len(arms) - MOST
    return "; ".join([*arms[:MOST], *([f"and {more} more (see the ranking)"] if more > 0 else [])])


def _pairs(comparison: Comparison) -> str:
    pairs = sorted({arm.n for arm in comparison.arms})
    if len(pairs) > 1:
        return f"{pairs[0]} to {pairs[-1]} paired seeds"
    return f"{pairs[0]} paired seed" if pairs[0] == 1 else f"{pairs[0]} paired seeds"


def _tuned(comparison: Comparison) -> str:
    """Tuned or untuned, if the same for all arms."""
    tuned = {arm.tuned for arm in comparison.arms}
    return {frozenset({True}): ", tuned", frozenset({False}): ", untuned"}.get(frozenset(tuned), "")


def _difference(arm: Arm, digits: int) -> str:
    size, low, high = (number(value, digits, sign=True) for value in (arm.difference, arm.low, arm.high))
    notes = [f"{low} to {high}"]
    if arm.n_diverged:
        notes.append(f"{arm.n_diverged} of {arm.stability.n} diverged")
    if arm.verdict == "inconclusive":
        notes.append(f"minimum detectable effect {number(arm.minimum_detectable_effect, digits)}")
    return f'<strong>{escape(arm.label)}</strong> {size} <span class="soft">({", ".join(notes)})</span>'


def _stability(arm: Arm, baseline: str) -> str:
    found = arm.stability
    return (
        f'<strong>{escape(arm.label)}</strong> <span class="soft">({found.diverged} of {found.n} runs diverged, of '
        f"{escape(baseline)} {found.baseline_diverged}; p {found.p_adjusted:.2g})</span>"
    )


def _slower(table: pd.DataFrame, baseline: str) -> str:
    """The arms whose whole range of time ratios lies above 1, each with its range."""
    known = table["relative_time_low"]
    slow = table[known >= SLOWER].sort_values("relative_time", ascending=False)
    if slow.empty:
        return ""
    arms = ", ".join(
        f"{escape(row['arm'])} {times(row['relative_time'])} "
        f"({times(row['relative_time_low'])} to {times(row['relative_time_high'])})"
        for _, row in slow.head(MOST).iterrows()
    )
    return f"<p>Training time, relative to {escape(baseline)}: {arms}.</p>"


def _cautions(comparison: Comparison) -> str:
    if not comparison.cautions:
        return ""
    return f"<p><strong>Reasons for doubt</strong></p>{page.listed(comparison.cautions)}"
