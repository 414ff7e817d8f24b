"""A page of results: one self-contained HTML file, and its figures and tables as separate files next to it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lab.files.atomic import write_text
from lab.report.figures import colour, is_gated, standalone
from lab.report.latex import tabular
from lab.report.table import number

STYLES = {
    "better": "better", "worse": "worse", "equivalent": "unresolved", "inconclusive": "unresolved",
    "beaten": "better", "not beaten": "worse",
    "reproduced": "better", "partly": "unresolved", "not reproduced": "worse", "no verdict": "unresolved",
    "yes": "better", "no": "worse", "no, higher": "worse",
}  # fmt: skip


class Column(NamedTuple):
    """A column as displayed: its header, the values that it is sorted by, and the text for a row of values."""

    head: str
    by: str
    words: Callable[[Mapping[Any, Any]], str]


@dataclass(frozen=True)
class Table:
    """Values, written to NAME.csv, and how they are displayed, on the page and in NAME.tex.

    In a column called "activation" names have their colour; in one whose header begins with "verdict", outcomes a style.
    """

    name: str
    values: pd.DataFrame
    columns: Sequence[Column]
    caption: str = ""
    summary: str = ""
    """The summary line of a collapsed table, if given."""


@dataclass(frozen=True)
class Drawing:
    """A figure as an <svg> element, also written to NAME.svg."""

    name: str
    svg: str
    caption: str = ""


Part = str | Table | Drawing
"""A part of a page; a str is HTML."""


def write(path: Path, title: str, subtitle: str, parts: Sequence[Part]) -> Path:
    """Write the page and, before it, the files of its tables and figures in the same folder; returns its path.

    Raises OSError if it cannot be written.
    """
    beside = {name: text for part in parts for name, text in _files(part)}
    for name, text in beside.items():
        write_text(path.with_name(name), text)
    if beside:
        parts = [*parts, f'<footer class="soft">Files next to this page: {escape(", ".join(beside))}.</footer>']
    css, script = (Path(__file__).with_suffix(kind).read_text(encoding="utf-8") for kind in (".css", ".js"))
    under = f'<p class="soft">{escape(subtitle)}</p>' if subtitle else ""
    body = "\n".join([f"<header><h1>{escape(title)}</h1>{under}</header>", *map(_html, parts)])
    text = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{escape(title)}</title>\n'
        f"<style>\n{css}</style>\n</head>\n<body>\n{body}\n<script>\n{script}</script>\n</body>\n</html>\n"
    )
    write_text(path, text)
    return path


def heading(text: str) -> str:
    """A section heading."""
    return f"<h2>{escape(text)}</h2>"


def answer(html: str) -> str:
    """The highlighted summary of the page."""
    return f'<section class="answer">{html}</section>'


def notice(title: str, sentences: Sequence[str]) -> list[Part]:
    """A warning box at the top; empty if there are no sentences."""
    if not sentences:
        return []
    return [f'<aside class="notice"><strong>{escape(title)}</strong>{listed(sentences)}</aside>']


def listed(sentences: Sequence[str]) -> str:
    """A list of texts; empty if there are none."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def soft(text: str) -> str:
    """A caption in small type; empty if there is none."""
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def facts(title: str, values: Sequence[Mapping[Any, Any]]) -> str:
    """A table of several descriptions, with the value or the differing values of each field; empty if there are none."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in gathered(values).items())
    return f"<div><h3>{escape(title)}</h3><dl>{pairs}</dl></div>" if pairs else ""


def gathered(values: Sequence[Mapping[Any, Any]]) -> dict[str, str]:
    """The distinct values of each field over several descriptions, in order; a nested field is `outer.inner`."""
    texts: dict[str, dict[str, None]] = {}
    for value in values:
        for name, text in _flat(value):
            texts.setdefault(name, {})[text] = None
    return {name: ", ".join(found) for name, found in texts.items()}


def marked(outcome: str) -> str:
    """An outcome with its style."""
    style = STYLES.get(outcome.lower())
    return f'<span class="{style}">{escape(outcome)}</span>' if style else escape(outcome)


def column(by: str, words: Callable[[Any], str] | None = None, head: str | None = None) -> Column:
    """A column that shows one column of the values; the header defaults to its name."""
    tell = words or plain
    return Column(by.replace("_", " ") if head is None else head, by, lambda row: tell(row[by]))


def columns(values: pd.DataFrame) -> list[Column]:
    """One column for each column of the values."""
    return [column(str(name)) for name in values]


def plain(value: Any) -> str:
    """A value as text: a float with four digits, a count in full, empty if missing."""
    if value is None or value is pd.NA:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float | np.floating):
        return f"{value:.4g}".replace("-", "−") if np.isfinite(value) else number(float(value), 0)
    return str(value)


def interval(low: float, high: float, digits: int) -> str:
    """The ends of an interval of differences; empty if there is none."""
    return "" if pd.isna(low) else f"{number(low, digits, sign=True)} to {number(high, digits, sign=True)}"


def _flat(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(inner)


def _files(part: Part) -> Iterator[tuple[str, str]]:
    """Names and contents of the files written next to the page."""
    if isinstance(part, Table):
        yield f"{part.name}.csv", escaped(part.values).to_csv(index=False)
        yield f"{part.name}.tex", _latex(part)
    elif isinstance(part, Drawing):
        yield f"{part.name}.svg", standalone(part.svg)


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """Protect a table against formulas in spreadsheets (OWASP, "CSV injection"): an apostrophe is put before texts that
    begin like one. Numbers are unchanged."""
    return table.map(_escaped).rename(columns=_escaped)


def _escaped(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _latex(table: Table) -> str:
    rows = [[one.words(row) for one in table.columns] for row in _records(table)]
    alignment = "".join("r" if _is_numeric(table, one) else "l" for one in table.columns)
    return tabular([one.head for one in table.columns], rows, alignment)


def _html(part: Part) -> str:
    if isinstance(part, Drawing):
        described = f"<figcaption>{escape(part.caption)}</figcaption>" if part.caption else ""
        return f'<figure><div class="wide">{part.svg}</div>{described}</figure>'
    if isinstance(part, Table):
        drawn = _table(part) + soft(part.caption)
        return f"<details><summary>{escape(part.summary)}</summary>{drawn}</details>" if part.summary else drawn
    return part


def _table(table: Table) -> str:
    styles = ["" if _is_numeric(table, one) else ' class="words"' for one in table.columns]
    heads = "".join(
        f'<th scope="col"{style}><button type="button">{escape(one.head)}</button></th>'
        for one, style in zip(table.columns, styles, strict=True)
    )
    body = []
    for row in _records(table):
        cells = [_cell(one, row, style) for one, style in zip(table.columns, styles, strict=True)]
        kind = ' class="baseline"' if row.get("verdict") == "baseline" else ""
        body.append(f"<tr{kind}>{''.join(cells)}</tr>")
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _cell(one: Column, row: Mapping[Any, Any], style: str) -> str:
    text, key = one.words(row), ""
    inner = marked(text) if one.head.startswith("verdict") else escape(text)
    if one.head == "activation":
        inner = _swatch(text.split(" (")[0]) + inner
    # Strings, and numbers in plain digits, are sorted by their text.
    if not style and not re.fullmatch(r"-?\d+(\.\d+)?", text):
        value = row[one.by]
        key = f' data-value="{"" if pd.isna(value) else _sorted_by(float(value))}"'
    return f"<td{style}{key}>{inner}</td>"


def _sorted_by(value: float) -> str:
    """The sort key of a number: six digits distinguish rows that differ in the displayed text."""
    return json.dumps(float(f"{value:.6g}"))


def _swatch(activation: str) -> str:
    kind = "swatch gated" if is_gated(activation) else "swatch"
    return f'<span class="{kind}" style="--hue: {colour(activation)}"></span>'


def _records(table: Table) -> list[dict[Any, Any]]:
    return table.values.to_dict("records")  # unlike DataFrame rows, this keeps integers next to floats


def _is_numeric(table: Table, one: Column) -> bool:
    return pd.api.types.is_numeric_dtype(table.values[one.by])
