"""The report: one HTML file that gives the answer first, and then everything a reviewer would ask for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from analysis import baselines
from analysis.comparison import Arm, Comparison, axis_columns, compare, higher_is_better, run_columns
from analysis.figures import colour, curves, differences, is_gated, svg, unit
from analysis.speed import by_cell
from analysis.table import compact, decimals, number, ranked, times
from records.files import write_text

if TYPE_CHECKING:
    from records.results import Results

SLOWER = 1.05  # timings of one machine repeat to a few percent: less is no cost worth a sentence
VERDICTS = {"better": "better", "worse": "worse", "not resolved": "unresolved"}  # and their style
MEANINGS = {
    "unigram": "how often each byte stands in the training text",
    "bigram": "how often each byte follows the one before it in the training text",
    "gzip": "the measured text alone, compressed",
    "xz": "the measured text alone, compressed",
    "nearest_mean": "the class whose mean training image is nearest",
    "ridge": "least squares from pixels to classes, with a penalty on the weights",
    "most_frequent": "the most frequent tag of the training words",
    "most_frequent_of_word": "the most frequent tag of the word in training",
}
SORT = """
document.querySelectorAll(".ranking button").forEach((button, column) => {
  let up = false;
  button.onclick = () => {
    up = !up;
    const body = document.querySelector(".ranking tbody");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b);
    body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b)) * (up ? 1 : -1)));
  };
});
"""


def write(results: Results, path: Path | None = None, peak: float | None = None) -> Path:
    """Writes the report, and its table and figures beside it; gives the report's path, DIR/report.html unless given.

    Speeds are held against `peak`, the FLOP/s of matrix products that this machine can do, where it is known.
    The file needs nothing else, neither network nor other files. While there is nothing to compare yet, the curves so
    far are worth a page all the same, and it says why. Raises OSError if it cannot be written.
    """
    path = results.directory / "report.html" if path is None else path
    try:
        comparison = compare(results)
    except ValueError as error:
        early = f'<section class="answer"><p>No comparison yet: {escape(str(error))}.</p></section>'
        write_text(path, _page(results, [early, _notice(_unfinished(results))], peak))
        return path
    table = ranked(results, comparison)
    findings = [
        _answer(comparison, table, unit(results.rows, comparison.metric)),
        _notice([*_unfinished(results), *_behind(results, comparison)]),
        _ranking(comparison, table),
        _differences(comparison),
        _rule(comparison),
    ]
    page = _page(results, findings, peak)
    write_text(path, page)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    for number_of_figure, figure in enumerate(re.findall(r"<svg.*?</svg>", page, re.DOTALL), start=1):
        write_text(path.with_name(f"figure-{number_of_figure}.svg"), figure)
    return path


def _page(results: Results, findings: list[str], peak: float | None) -> str:
    name = escape(results.experiment["name"])
    title = escape(results.experiment.get("question", "")) or name
    css = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    header = f'<header><h1>{title}</h1><p class="soft">{name}: {_extent(results)}</p></header>'
    sections = [
        header,
        *findings,
        _baselines(results),
        _curves(results),
        _diverged(results.rows),
        _speed(results, peak),
        _made_of(results),
        _again(results),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{title}</title>\n'
        f"<style>\n{css}</style>\n</head>\n<body>\n{chr(10).join(filter(None, sections))}\n"
        f"<script>{SORT}</script>\n</body>\n</html>\n"
    )


def _extent(results: Results) -> str:
    rows = results.rows
    seeds, steps = rows["seed"].nunique(), rows["step"].max()
    return f"{_count(rows['activation'].nunique(), 'activation')}, {_count(seeds, 'seed')}, {steps} steps"


def _answer(comparison: Comparison, table: pd.DataFrame, unit_of_metric: str) -> str:
    """Which arms are better, worse and not resolved, by how much; and which take longer."""
    arms = sorted(comparison.arms, key=lambda arm: arm.difference, reverse=higher_is_better(comparison.metric))
    lines = []
    for verdict, style in VERDICTS.items():
        found = "; ".join(_difference(arm, decimals(comparison)) for arm in arms if arm.verdict == verdict)
        if found:
            lines.append(f'<li><span class="{style}">{verdict.capitalize()}</span>: {found}.</li>')
    pairs = sorted({arm.n for arm in arms})
    seeds = _count(pairs[0], "paired seed") if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]} paired seeds"
    return (
        f'<section class="answer"><p>Against <strong>{escape(comparison.baseline)}</strong>, by '
        f"{escape(comparison.split)} {escape(comparison.metric)} at step {comparison.step}, over {seeds} "
        f"(difference{unit_of_metric and f' in {unit_of_metric}'}, {comparison.level:.0%} interval):</p>"
        f"<ul>{''.join(lines)}</ul>{_slower(table, comparison.baseline)}</section>"
    )


def _difference(arm: Arm, digits: int) -> str:
    size, low, high = (number(value, digits, sign=True) for value in (arm.difference, arm.low, arm.high))
    diverged = f", {arm.n_diverged} of {arm.n} diverged" if arm.n_diverged else ""
    limit = f", resolvable from {number(arm.resolvable, digits)}" if arm.verdict == "not resolved" else ""
    return f'<strong>{escape(arm.label)}</strong> {size} <span class="soft">({low} to {high}{diverged}{limit})</span>'


def _slower(table: pd.DataFrame, baseline: str) -> str:
    slow = table[table["relative_time"] >= SLOWER].sort_values("relative_time", ascending=False)
    if slow.empty:
        known = table["relative_time"].notna().all()
        return f"<p>No arm takes {SLOWER - 1:.0%} more time to train than {escape(baseline)}.</p>" if known else ""
    arms = ", ".join(f"{escape(row['arm'])} {times(row['relative_time'])}" for _, row in slow.iterrows())
    return f"<p>Training time, relative to {escape(baseline)}: {arms}.</p>"


def _unfinished(results: Results) -> list[str]:
    """The cells that are not done, in sentences."""
    planned = results.experiment.get("cells", {})
    present = {cell["cell"]: cell for cell in results.cells}
    missing = [f"{name} has not started" for name in planned if name not in present]
    for name, cell in present.items():
        runs, done = planned.get(name, cell.get("runs", 0)), cell.get("done", cell.get("runs", 0))
        if done < runs:
            missing.append(f"{name} has finished {done} of {_count(runs, 'run')}")
    return missing


def _behind(results: Results, comparison: Comparison) -> list[str]:
    """What the comparison had to leave out, in sentences."""
    steps = results.experiment.get("steps", comparison.step)
    early = [f"all arms have reached step {comparison.step} of {steps}: they are compared there"]
    return [*(early if comparison.step < steps else []), *comparison.missing]


def _notice(sentences: Sequence[str]) -> str:
    if not sentences:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f'<aside class="notice"><strong>These results are not complete.</strong><ul>{items}</ul></aside>'


def _ranking(comparison: Comparison, table: pd.DataFrame) -> str:
    digits = decimals(comparison)
    headings = (
        "activation", "verdict", f"{escape(comparison.split)}<br>{escape(comparison.metric)}", "n",
        "difference", f"{comparison.level:.0%}<br>interval", "p<br>(Holm)", "resolvable<br>difference",
        "para-<br>meters", "FLOPs<br>a token", "seconds<br>a run", "relative<br>time",
    )  # fmt: skip
    head = "".join(f"<th><button>{heading}</button></th>" for heading in headings)
    body = "".join(_ranking_row(row, digits) for _, row in table.iterrows())
    return (
        '<section><h2>Ranking</h2><div class="wide"><table class="ranking">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
        '<p class="soft">FLOPs are those of the forward matrix products. Time is training time a token, relative to '
        "the baseline. n counts runs; † of them diverged and took the worst value. The resolvable difference is the "
        "smallest true one that so many pairs find with probability 0.8 after the correction.</p></section>"
    )


def _ranking_row(row: pd.Series, digits: int) -> str:
    baseline = row["verdict"] == "baseline"
    kind = "swatch gated" if is_gated(row["activation"]) else "swatch"
    swatch = f'<span class="{kind}" style="--hue: {colour(row["activation"])}"></span>'
    low, high = number(row["low"], digits, sign=True), number(row["high"], digits, sign=True)
    cells = (
        (row["arm"], swatch + escape(row["arm"])),
        (row["verdict"], f'<span class="{VERDICTS.get(row["verdict"], "")}">{row["verdict"]}</span>'),
        (row["mean"], number(row["mean"], digits)),
        (row["n"], f"{row['n']}" + (f" ({row['n_diverged']}†)" if row["n_diverged"] else "")),
        (0 if baseline else row["difference"], number(row["difference"], digits, sign=True)),
        (row["low"], "" if baseline else f"{low} to {high}"),
        (row["p_adjusted"], "" if pd.isna(row["p_adjusted"]) else f"{row['p_adjusted']:.2g}"),
        (row["resolvable"], number(row["resolvable"], digits)),
        (row["parameters"], compact(row["parameters"])),
        (row["flops_per_token"], compact(row["flops_per_token"])),
        (row["seconds"], number(row["seconds"], 1)),
        (row["relative_time"], times(row["relative_time"])),
    )
    tags = "".join(f'<td data-value="{escape(str(value))}">{text}</td>' for value, text in cells)
    return f'<tr class="baseline">{tags}</tr>' if baseline else f"<tr>{tags}</tr>"


def _differences(comparison: Comparison) -> str:
    title = f"Paired differences to {comparison.baseline} in {comparison.split} {comparison.metric}"
    caption = (
        f"A dot is a seed, the diamond their mean, the bar its {comparison.level:.0%} paired t interval before "
        "correction; an arrow points to what lies beyond the axis."
    )
    return f"<section><h2>Paired differences</h2>{_figure(svg(differences(comparison), title), caption)}</section>"


def _baselines(results: Results) -> str:
    """A table a task; nothing where no baselines were recorded."""
    activation = results.experiment["baseline"]
    table = baselines.beside(results, activation)
    if table.empty:
        return ""
    tasks = dict(iter(table.groupby("task", sort=False)))
    drawn = "".join(
        (f"<h3>{escape(str(task))}</h3>" if len(tasks) > 1 else "") + _baselines_of_task(rows, activation)
        for task, rows in tasks.items()
    )
    caption = (
        f"{escape(activation)}: the mean over its seeds at the last step that all of them have, the best of several "
        "settings. The learning curves show a baseline as a dashed line where they come near it."
    )
    return f'<section><h2>What a network must beat</h2>{drawn}<p class="soft">{caption}</p></section>'


def _baselines_of_task(rows: pd.DataFrame, activation: str) -> str:
    measure = " ".join(rows[["split", "metric"]].iloc[0]).replace("_", " ")
    head = "".join(f"<th>{escape(text)}</th>" for text in ("baseline", "what it is", measure, activation, ""))
    body = "".join(_baseline_row(row) for _, row in rows.iterrows())
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _baseline_row(row: pd.Series) -> str:
    verdict, style = ("beaten", "better") if row["beaten"] else ("not beaten", "worse")
    cells = (
        escape(row["baseline"].replace("_", " ")),
        escape(MEANINGS.get(row["baseline"], "")),
        number(row["value"], 4),
        number(row["reached"], 4),
        "" if pd.isna(row["reached"]) else f'<span class="{style}">{verdict}</span>',
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _curves(results: Results) -> str:
    metric, split = results.experiment.get("metric", "loss"), results.experiment.get("split", "validation")
    drawn = []
    for setting, rows in _settings(results.rows):
        heading = f"<h3>{escape(setting)}</h3>" if setting else ""
        title = f"Learning curves: {metric} by step, an activation a line {setting}".strip()
        levels = {**baselines.levels(results, rows, metric, split), **results.experiment.get("published", {})}
        drawn.append(heading + _figure(svg(curves(rows, metric, split, levels), title), ""))
    caption = (
        f"Mean over the seeds: {escape(split)} solid (dashed if gated), training dotted. The band reaches from the "
        "lowest seed to the highest; a cross is the last value of a run that diverged. Dashed lines are "
        "values to compare with: baselines, and what others published."
    )
    return f'<section><h2>Learning curves</h2>{"".join(drawn)}<p class="soft">{caption}</p></section>'


def _settings(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows at each value of the axes other than the activation, and that value in words."""
    axes = [axis for axis in axis_columns(rows) if len(rows[axis].unique()) > 1]
    if not axes:
        yield "", rows
        return
    for values, setting in rows.groupby(axes, dropna=False, sort=False):
        yield ", ".join(f"{axis}={value}" for axis, value in zip(axes, values, strict=True)), setting


def _figure(drawing: str, caption: str) -> str:
    described = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="wide">{drawing}</div>{described}</figure>'


def _diverged(rows: pd.DataFrame) -> str:
    marked = rows[rows["metric"] == "diverged"].drop_duplicates(run_columns(rows))
    if marked.empty:
        return "<section><h2>Diverged runs</h2><p>None.</p></section>"
    axes, items = axis_columns(rows), ""
    for _, run in marked.iterrows():
        words = [run["activation"], *(f"{axis}={run[axis]}" for axis in axes), f"seed {run['seed']}"]
        items += f"<li>{escape(', '.join(words))}: at step {run['step']}</li>"
    return f"<section><h2>Diverged runs</h2><ul>{items}</ul></section>"


def _rule(comparison: Comparison) -> str:
    return (
        "<section><h2>The rule of comparison</h2><p>"
        f"Each arm meets {escape(comparison.baseline)} at the same step and setting, seed by seed (the same initial "
        "weights and batches), and a diverged run counts as the worst. "
        "A difference is resolved if its paired t test, corrected by Holm's method over "
        f"{_count(len(comparison.arms), 'arm')}, has p below {1 - comparison.level:.2g}.</p></section>"
    )


def _speed(results: Results, peak: float | None) -> str:
    """A table of the cells that have been trained, with what they need of a device's memory."""
    table = by_cell(results)
    if table.empty:
        return ""
    headings = ("cell", "tokens/s", "GFLOP/s", "share of peak", "memory of a device, MB")
    rows = "".join(_speed_row(row, peak) for _, row in table.iterrows())
    head = "".join(f"<th>{text}</th>" for text in headings)
    limit = "" if peak is None else f" The peak is {peak / 1e9:,.0f} GFLOP/s, measured when this page was written."
    caption = f"All runs of a cell together, training alone, counting the matrix products of three passes.{limit}"
    return (
        f'<section><h2>Speed and memory</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="soft">{caption}</p></section>'
    )


def _speed_row(row: pd.Series, peak: float | None) -> str:
    memory = row["device_bytes"]
    cells = (
        escape(row["cell"]),
        f"{row['tokens_per_second']:,.0f}",
        f"{row['flops_per_second'] / 1e9:,.1f}",
        "" if peak is None else f"{row['flops_per_second'] / peak:.2f}",
        "" if pd.isna(memory) else f"{memory / 1e6:,.0f}",
    )
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _made_of(results: Results) -> str:
    """What was run, on what data, with what: one value where all cells agree, else the different ones."""
    parts = {"Task": "task", "Model": "model", "Settings": "settings"}
    tables = [_facts(title, [cell.get(name, {}) for cell in results.cells]) for title, name in parts.items()]
    tables.append(_facts("Hyperparameters", [results.experiment.get("definition", {}).get("hyperparameters", {})]))
    tables.append(_facts("Runs", results.rows[["seed", "learning_rate"]].drop_duplicates().to_dict("records")))
    environments = [cell.get("environment", {}) for cell in results.cells]
    tables.append(_facts("Data", [environment.get("data", {}) for environment in environments]))
    machines = [{name: value for name, value in one.items() if name != "data"} for one in environments]
    tables.append(_facts("Environment", machines))
    return f'<section><h2>What was run</h2><div class="facts">{"".join(tables)}</div></section>'


def _facts(title: str, values: Sequence[Mapping[Any, Any]]) -> str:
    texts: dict[str, dict[str, None]] = {}  # of each field, its different values in their order
    for value in values:
        for name, text in _flat(value):
            texts.setdefault(name, {})[text] = None
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(', '.join(found))}</dd>" for name, found in texts.items())
    return f"<div><h3>{title}</h3><dl>{pairs}</dl></div>" if pairs else ""


def _flat(value: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield prefix + name, str(inner)


def _again(results: Results) -> str:
    command = escape(results.experiment.get("command", ""))
    return f"<section><h2>To make it again</h2><pre>{command}</pre></section>" if command else ""


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
