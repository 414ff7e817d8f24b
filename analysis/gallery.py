"""The page of a paper's figures made again: each with its verdicts, its table and what made it."""

from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.excerpts import Excerpt
from analysis.figures import svg
from analysis.reproduction import Reproduction, Verdict
from records.files import write_text

STYLES = {"reproduced": "better", "yes": "better", "not reproduced": "worse", "no": "worse", "no, higher": "worse"}
TITLES = {"difference": "relative difference"}


def write(
    folder: Path,
    title: str,
    made: Mapping[str, Reproduction],
    excerpts: Mapping[str, Excerpt],
    left_out: Mapping[str, str],
) -> Path:
    """Writes FOLDER/index.html, which needs no other file, and of every figure NAME.svg and NAME.csv; gives the page.

    `left_out` says of figures that are not there why.
    """
    sections = []
    for name, one in made.items():
        drawn = svg(one.figure, one.title)
        write_text(folder / f"{name}.svg", drawn)
        write_text(folder / f"{name}.csv", one.table.to_csv(index=False))
        sections.append(_section(name, one, drawn))
    style = (Path(__file__).parent / "report.css").read_text(encoding="utf-8")
    answers = "".join(_answer(one) for one in made.values())
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body><h1>{escape(title)}</h1>"
        f'<section class="answer">{answers}</section>{_notice(left_out)}{"".join(sections)}{_made_with(excerpts)}'
        "</body></html>"
    )
    write_text(folder / "index.html", page)
    return folder / "index.html"


def _notice(left_out: Mapping[str, str]) -> str:
    lines = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in left_out.items())
    return f'<section class="notice"><p>Not made:</p><ul>{lines}</ul></section>' if lines else ""


def _answer(one: Reproduction) -> str:
    outcomes = "".join(f"<li>{_verdict(verdict)}</li>" for verdict in one.verdicts)
    return f"<p><strong>{escape(one.title)}</strong></p><ul>{outcomes}</ul>"


def _verdict(verdict: Verdict) -> str:
    style = STYLES.get(verdict.outcome, "unresolved")
    return (
        f'{escape(verdict.claim)}: <span class="{style}">{escape(verdict.outcome)}</span> '
        f'<span class="soft">{escape(verdict.reason)}</span>'
    )


def _section(name: str, one: Reproduction, drawn: str) -> str:
    notes = "".join(f"<li>{escape(note)}</li>" for note in one.notes)
    return (
        f'<section id="{escape(name)}"><h2>{escape(one.title)}</h2><figure class="wide">{drawn}</figure>'
        f'<ul class="soft">{notes}</ul><details><summary>Values</summary>{_table(one.table)}</details></section>'
    )


def _table(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(TITLES.get(str(column), str(column)))}</th>" for column in table)
    body = "".join(
        f"<tr>{''.join(_cell(name, value) for name, value in row.items())}</tr>" for _, row in table.iterrows()
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(column: Any, value: Any) -> str:
    return f"<td>{escape(shown(str(column), value))}</td>"


def shown(column: str, value: Any) -> str:
    """A value of a table of reproductions in words: what was above the published axes, and what was not published."""
    if isinstance(value, str):
        return value
    if np.isposinf(value):
        return "above the axes"
    if np.isnan(value):
        return "-"
    return f"{value:+.1%}" if column == "difference" else f"{value:.4g}"


def _made_with(excerpts: Mapping[str, Excerpt]) -> str:
    blocks = [
        f"<h3>{escape(name)}</h3><pre>{escape(excerpt.made['command'])}</pre><dl>{_facts(excerpt.made)}</dl>"
        for name, excerpt in excerpts.items()
    ]
    return f"<section><h2>What made it</h2>{''.join(blocks)}</section>" if blocks else ""


def _facts(made: Mapping[str, Any]) -> str:
    facts = {"seconds": made["seconds"]}
    for environment in made["environments"]:
        for name, value in environment.items():
            words = ", ".join(f"{key} {one}" for key, one in value.items()) if isinstance(value, dict) else value
            facts[name] = words if facts.get(name, words) == words else f"{facts[name]}; {words}"
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>" for name, value in facts.items())
