"""The page of a study or of reproduced figures: verdicts first, then the evidence and its provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.report import page
from lab.report.figures import svg
from lab.report.studies.reproduction import Reproduction, Verdict
from lab.results.excerpts import Excerpt

UNFOLDED = 12  # maximum rows of a table that is not collapsed
TITLES = {"difference": "relative difference"}


@dataclass(frozen=True)
class Section:
    """A part of a study: a figure and a table of measurements, their verdicts, and notes."""

    title: str
    figure: Figure | None = None
    table: pd.DataFrame | None = None
    notes: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()


def write(
    folder: Path,
    title: str,
    sections: Mapping[str, Section | Reproduction],
    excerpts: Mapping[str, Excerpt],
    left_out: Mapping[str, str],
    question: str = "",
    verdicts: Sequence[Verdict] = (),
    reports: Mapping[str, Sequence[page.Part]] | None = None,
) -> Path:
    """Write FOLDER/index.html, which is self-contained, and NAME.svg, NAME.csv and NAME.tex for each section NAME;
    returns the page's path.

    `verdicts` are those of all sections together. `excerpts` give the provenance, `reports` the parts of the
    experiments' reports by name, and `left_out` the reasons for omissions.
    """
    parts = [
        page.answer("".join([_verdicts(verdicts), *map(_answer, sections.values())])),
        *page.notice("Not made:", [f"{name}: {why}" for name, why in left_out.items()]),
        *(part for name, one in sections.items() for part in _section(name, one)),
        *(part for name, report in (reports or {}).items() for part in _report(name, report)),
        *_made_with(excerpts),
    ]
    return page.write(folder / "index.html", title, question, parts)


def _answer(one: Section | Reproduction) -> str:
    return f"<p><strong>{escape(one.title)}</strong></p>{_verdicts(one.verdicts)}" if one.verdicts else ""


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    lines = "".join(
        f'<li>{escape(one.claim)}: {page.marked(one.outcome)} <span class="soft">{escape(one.reason)}</span></li>'
        for one in verdicts
    )
    return f"<ul>{lines}</ul>" if lines else ""


def _section(name: str, one: Section | Reproduction) -> list[page.Part]:
    parts: list[page.Part] = [page.heading(one.title)]
    if one.figure is not None:
        parts.append(page.Drawing(name, svg(one.figure, one.title)))
    if one.notes:
        parts.append(f'<div class="soft">{page.listed(one.notes)}</div>')
    if one.table is not None:
        columns = _reproduced(one.table) if "published" in one.table else page.columns(one.table)
        parts.append(page.Table(name, one.table, columns, "", "Values" if len(one.table) > UNFOLDED else ""))
    return parts


def _reproduced(table: pd.DataFrame) -> list[page.Column]:
    """The columns of a table of reproductions, whose differences are relative."""
    return [page.column(name, partial(shown, name), TITLES.get(name)) for name in map(str, table)]


def shown(name: str, value: Any) -> str:
    """A value of a table of reproductions as text, including values above the published axes and unpublished ones."""
    if isinstance(value, str):
        return value
    if np.isposinf(value):
        return "above the axes"
    if np.isnan(value):
        return "-"
    return (f"{value:+.1%}" if name == "difference" else f"{value:.4g}").replace("-", "−")


def _report(name: str, report: Sequence[page.Part]) -> list[page.Part]:
    """The whole report of an experiment, collapsed; its files are named after it."""
    named = [part if isinstance(part, str) else replace(part, name=f"{name}-{part.name}") for part in report]
    return [f"<details><summary>Experiment {escape(name)}</summary>", *named, "</details>"]


def _made_with(excerpts: Mapping[str, Excerpt]) -> list[page.Part]:
    if not excerpts:
        return []
    made = [
        {"experiment": name, "seconds": one.made["seconds"], "command": one.made["command"]}
        for name, one in excerpts.items()
    ]
    environments = [environment for one in excerpts.values() for environment in one.made["environments"]]
    table = pd.DataFrame(made)
    return [
        page.heading("Provenance"),
        page.Table("made", table, page.columns(table)),
        f'<div class="facts">{page.facts("Environment", environments)}</div>',
    ]
