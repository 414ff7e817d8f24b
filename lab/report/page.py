"""A page of results: one HTML file that needs no other, and beside it its figures and tables for use elsewhere."""

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
    "holds": "better", "does not hold": "worse",
}  # fmt: skip


class Column(NamedTuple):
    """A column as it is read: its head, the values that it is sorted by, and the words for a row of values."""

    head: str
    by: str
    words: Callable[[Mapping[Any, Any]], str]


@dataclass(frozen=True)
class Table:
    """Values, written to NAME.csv, and how they are read, on the page and in NAME.tex.

    In a column called "activation" a name has its colour, in one whose head begins with "verdict" an outcome its style.
    """

    name: str
    values: pd.DataFrame
    columns: Sequence[Column]
    caption: str = ""
    summary: str = ""
    """A summary line under which the page folds the table, if given."""


@dataclass(frozen=True)
class Drawing:
    """A figure as an <svg> element, also written to NAME.svg."""

    name: str
    svg: str
    caption: str = ""


Part = str | Table | Drawing
"""What a page is made of, top down; a str is HTML."""


def write(path: Path, title: str, subtitle: str, parts: Sequence[Part]) -> Path:
    """Writes the page, after the files of its tables and figures in the same folder; gives its path.

    Raises OSError if it cannot be written.
    """
    beside = {name: text for part in parts for name, text in _files(part)}
    for name, text in beside.items():
        write_text(path.with_name(name), text)
    if beside:
        parts = [*parts, f'<footer class="soft">Beside this page: {escape(", ".join(beside))}.</footer>']
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
    """The title of what follows."""
    return f"<h2>{escape(text)}</h2>"


def answer(html: str) -> str:
    """What the page says in short, set apart."""
    return f'<section class="answer">{html}</section>'


def notice(title: str, sentences: Sequence[str]) -> list[Part]:
    """What a reader must know before believing the page; nothing where there are no sentences."""
    if not sentences:
        return []
    return [f'<aside class="notice"><strong>{escape(title)}</strong>{listed(sentences)}</aside>']


def listed(sentences: Sequence[str]) -> str:
    """A list of texts; nothing where there are none."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>" if sentences else ""


def soft(text: str) -> str:
    """A text that explains, smaller; nothing where there is none."""
    return f'<p class="soft">{escape(text)}</p>' if text else ""


def facts(title: str, values: Sequence[Mapping[Any, Any]]) -> str:
    """What several descriptions say: of each field its value, or the different ones; nothing where there is none."""
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in gathered(values).items())
    return f"<div><h3>{escape(title)}</h3><dl>{pairs}</dl></div>" if pairs else ""


def gathered(values: Sequence[Mapping[Any, Any]]) -> dict[str, str]:
    """Of each field of several descriptions (a nested one is `outer.inner`) its different values, in their order."""
    texts: dict[str, dict[str, None]] = {}
    for value in values:
        for name, text in _flat(value):
            texts.setdefault(name, {})[text] = None
    return {name: ", ".join(found) for name, found in texts.items()}


def marked(outcome: str) -> str:
    """An outcome in the style of its kind; what stands in parentheses after it has no style of its own."""
    style = STYLES.get(outcome.partition(" (")[0].lower())
    return f'<span class="{style}">{escape(outcome)}</span>' if style else escape(outcome)


def column(by: str, words: Callable[[Any], str] | None = None, head: str | None = None) -> Column:
    """A column that shows one column of the values, under its own name unless given."""
    tell = words or plain
    return Column(by.replace("_", " ") if head is None else head, by, lambda row: tell(row[by]))


def columns(values: pd.DataFrame) -> list[Column]:
    """A column for every one of the values."""
    return [column(str(name)) for name in values]


def plain(value: Any) -> str:
    """A value in words: a number in four digits, a count in all of them, nothing where there is none."""
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
    """The ends of an interval of differences; nothing where there is none."""
    return "" if pd.isna(low) else f"{number(low, digits, sign=True)} to {number(high, digits, sign=True)}"


def _flat(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(inner)


def _files(part: Part) -> Iterator[tuple[str, str]]:
    """Names and contents of the files written beside the page."""
    if isinstance(part, Table):
        yield f"{part.name}.csv", escaped(part.values).to_csv(index=False)
        yield f"{part.name}.tex", _latex(part)
    elif isinstance(part, Drawing):
        yield f"{part.name}.svg", standalone(part.svg)


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose texts no spreadsheet takes for a formula (OWASP, "CSV injection"): an apostrophe comes before those
    that begin as one. Numbers stay numbers."""
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
    # A word, and a number in plain digits, is sorted as it reads.
    if not style and not re.fullmatch(r"-?\d+(\.\d+)?", text):
        value = row[one.by]
        key = f' data-value="{"" if pd.isna(value) else _sorted_by(float(value))}"'
    return f"<td{style}{key}>{inner}</td>"


def _sorted_by(value: float) -> str:
    """A number by which a row is sorted: six digits tell rows apart that differ in what is read."""
    return json.dumps(float(f"{value:.6g}"))


def _swatch(activation: str) -> str:
    kind = "swatch gated" if is_gated(activation) else "swatch"
    return f'<span class="{kind}" style="--hue: {colour(activation)}"></span>'


def _records(table: Table) -> list[dict[Any, Any]]:
    return table.values.to_dict("records")  # unlike rows of a frame, integers stay integers beside floats


def _is_numeric(table: Table, one: Column) -> bool:
    return pd.api.types.is_numeric_dtype(table.values[one.by])
