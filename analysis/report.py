"""The report: one HTML file that gives the answer first, and then everything a reviewer would ask for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis.comparison import Arm, Comparison, axis_columns, compare
from analysis.figures import colour, curves, differences, svg, unit
from analysis.table import compact, decimals, number, ranked, times
from records.files import write_text

if TYPE_CHECKING:
    from records.results import Results

SORT = """
for (const [column, button] of document.querySelectorAll(".ranking button").entries())
  button.onclick = () => {
    const body = document.querySelector(".ranking tbody"), key = (row) => row.cells[column].dataset.value;
    const descending = (button.dataset.descending = button.dataset.descending === "no" ? "yes" : "no") === "yes";
    const order = (a, b) => key(a).localeCompare(key(b), undefined, { numeric: true }) || 0;
    const numeric = (a, b) => (isNaN(key(a)) || isNaN(key(b)) ? order(a, b) : key(a) - key(b));
    body.append(...[...body.rows].sort((a, b) => (descending ? -numeric(a, b) : numeric(a, b))));
  };
"""
SLOWER = 1.05  # timings of one machine repeat to a few percent; less is no cost worth a sentence


def write(results: Results, path: Path | None = None) -> Path:
    """Writes the report and, beside it, its table as CSV; gives the report's path, DIR/report.html unless given.

    The file needs nothing else: no network, no other file. Raises OSError if it cannot be written.
    """
    path = results.directory / "report.html" if path is None else path
    try:
        comparison, trouble = compare(results), ""
    except ValueError as error:  # too early to compare: the curves so far are worth a page all the same
        comparison, trouble = None, str(error)
    write_text(path, page(results, comparison, trouble))
    if comparison is not None:
        write_text(path.with_suffix(".csv"), ranked(results, comparison).to_csv(index=False))
    return path


def page(results: Results, comparison: Comparison | None, trouble: str = "") -> str:
    """The report as HTML; `trouble` says why there is no comparison."""
    title = escape(results.experiment.get("question") or results.experiment["name"])
    css = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    compared = [f"<p>No comparison yet: {escape(trouble)}.</p>"]
    if comparison is not None:
        compared = [_answer(results, comparison), _ranking(results, comparison), _differences(comparison)]
    answer, *findings = compared
    body = [
        f'<header><h1>{title}</h1><p class="soft">{escape(results.experiment["name"])}: {_size(results)}</p></header>',
        f'<section class="answer">{answer}</section>',
        _notice(_unfinished(results, comparison)),
        *findings[:1],
        _curves(results),
        *findings[1:],
        _diverged(results.rows),
        _made_of(results),
        _rule(results, comparison),
    ]
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{title}</title>'
        f"<style>\n{css}</style></head>\n<body>\n{chr(10).join(body)}\n<script>{SORT}</script></body></html>\n"
    )


def _answer(results: Results, comparison: Comparison) -> str:
    """Which arms are better, worse and not resolved, by how much, and which take longer."""
    measure = f"{comparison.split} {comparison.metric}"
    counts = _range([arm.n for arm in comparison.arms])
    best_first = sorted(comparison.arms, key=lambda arm: abs(arm.difference), reverse=True)
    lines = []
    for verdict, style in (("better", "better"), ("worse", "worse"), ("not resolved", "unresolved")):
        arms = [_in_words(arm, comparison, unit(results.rows, comparison.metric)) for arm in best_first if arm.verdict == verdict]
        if arms:
            lines.append(f'<li><span class="{style}">{verdict.capitalize()}</span>: {"; ".join(arms)}</li>')
    return (
        f"<p>Against <strong>{escape(comparison.baseline)}</strong>, by {escape(measure)} at step {comparison.step}, "
        f"over {counts} paired seeds:</p><ul>{''.join(lines)}</ul>{_slower(results, comparison)}"
    )
