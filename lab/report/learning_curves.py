"""The section of a report with the learning curves: a figure for each setting of the axes."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING

import pandas as pd

from lab.comparison import reference_predictors
from lab.comparison.comparison import Comparison
from lab.comparison.outcomes import axis_columns
from lab.report import page
from lab.report.figures import curves, svg
from lab.report.table import MOST, best_first, leaders, left_out
from lab.results.directions import direction_of

if TYPE_CHECKING:
    from lab.results.results import Results

FIGURES = 8
"""Figures of learning curves at most: one for each setting of the axes, those of the best arms first."""


def section(results: Results, metric: str, split: str, found: Comparison | ValueError) -> list[page.Part]:
    """The heading, a figure for each setting of the axes, and the caption, which says what is left out."""
    parts: list[page.Part] = [page.heading("Learning curves")]
    drawn, more = _drawn(results.rows, found)
    axes = [axis for axis in axis_columns(results.rows) if len(results.rows[axis].unique()) > 1]
    every = list(_settings(drawn, axes))
    settings = every[:FIGURES]
    more += f" {FIGURES} of {len(every)} settings are shown." if len(every) > FIGURES else ""
    for index, (setting, rows) in enumerate(settings, start=1):
        parts += [f"<h3>{escape(setting)}</h3>"] if setting else []
        title = f"Learning curves: {metric} by step, one line per activation {setting}".strip()
        levels = {
            **reference_predictors.levels(results, rows, metric, split),
            **results.experiment.get("published", {}),
        }
        name = f"curves-{index}" if len(settings) > 1 else "curves"
        parts.append(
            page.Drawing(
                name, svg(curves(rows, metric, split, levels, direction_of(metric, results.experiment)), title)
            )
        )
    caption = (
        f"Mean over the seeds: {split} solid (dashed if gated), training dotted. The band reaches from the "
        "lowest seed to the highest; a cross is the last value of a run that diverged. Dashed lines are "
        "reference values: reference predictors and published results." + more
    )
    return [*parts, page.soft(caption)]


def _drawn(rows: pd.DataFrame, found: Comparison | ValueError) -> tuple[pd.DataFrame, str]:
    """The rows of the arms whose curves are drawn, and the omissions, in words."""
    if isinstance(found, Comparison):
        best = leaders(found)
        settings = list(dict.fromkeys(tuple(arm.axes.items()) for arm in best_first(best)))
        more = left_out(found)
        if len(settings) > FIGURES:
            more += f" Of {len(settings)} settings those of the best arms are shown, {FIGURES}."
        groups = (*best.arms, *found.baselines)
        shown = {group.cell for group in groups if tuple(group.axes.items()) in settings[:FIGURES]}
        return (rows[rows["cell"].isin(shown)], more) if more else (rows, "")
    cells = list(dict.fromkeys(rows["cell"]))
    if len(cells) <= MOST:
        return rows, ""
    return rows[rows["cell"].isin(cells[:MOST])], f" Only the first {MOST} of {len(cells)} cells are shown."


def _settings(rows: pd.DataFrame, axes: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows at each value of the axes, and that value in words."""
    if not axes:
        yield "", rows
        return
    for values, setting in rows.groupby(axes, dropna=False, sort=False):
        yield ", ".join(f"{axis}={value}" for axis, value in zip(axes, values, strict=True)), setting
