"""The report: one HTML file that gives the answer first, and then everything a reviewer would ask for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab.comparison import reference_predictors, tuning
from lab.comparison.comparison import Arm, Comparison, compare
from lab.comparison.outcomes import axis_columns, higher_is_better, run_columns
from lab.comparison.speed import by_cell
from lab.comparison.speed_up import speed_ups
from lab.report import page, tuning_figure
from lab.report.figures import curves, differences, svg, unit
from lab.report.table import compact, decimals, number, ranked, times

if TYPE_CHECKING:
    from lab.results.results import Results

SLOWER = 1.05  # timings of one machine repeat to a few percent: less is no cost worth a sentence
VERDICTS = ("better", "worse", "equivalent", "inconclusive")
BUDGET = (
    "The mean of the best of k points, drawn without repetition from the grid: what a smaller search would have found "
    "(Dodge et al. 2019). A curve that still falls at its end says that a larger search would find more."
)
MEANINGS = {
    "unigram": "how often each byte stands in the training text",
    "bigram": "how often each byte follows the one before it in the training text",
    "gzip": "the measured text alone, compressed",
    "xz": "the measured text alone, compressed",
    "nearest_mean": "the class whose mean training image is nearest",
    "ridge": "least squares from pixels to classes, with a penalty on the weights",
    "most_frequent": "the most frequent class in training",
    "most_frequent_of_word": "the most frequent tag of the word in training",
    "naive_bayes": "a multinomial classifier of the tokens' counts",
}


def write(results: Results, path: Path | None = None, peak: float | None = None) -> Path:
    """Writes the report, and its tables and figures beside it; gives the report's path, DIR/report.html unless given.

    Speeds are held against `peak`, the FLOP/s of matrix products that this machine can do, where it is known.
    The file needs nothing else, neither network nor other files. While there is nothing to compare yet, the curves so
    far are worth a page all the same, and it says why. Raises OSError if it cannot be written.
    """
    path = results.directory / "report.html" if path is None else path
    name = results.experiment["name"]
    title = results.experiment.get("question") or name
    return page.write(path, title, f"{name}: {_extent(results)}", parts(results, peak))


def parts(results: Results, peak: float | None = None) -> list[page.Part]:
    """What a report is made of, the answer first."""
    return [
        *_findings(results),
        *_reference_predictors(results),
        *_curves(results),
        *_tuning(results),
        *_overrides(results),
        *_diverged(results.rows),
        *_speed(results, peak),
        *_made_of(results),
        *_again(results),
    ]


def _findings(results: Results) -> list[page.Part]:
    """The answer and what it stands on, as far as there is one."""
    try:
        comparison = compare(results)
    except ValueError as error:
        return [page.answer(f"<p>No comparison yet: {escape(str(error))}.</p>"), *_incomplete(_unfinished(results))]
    table = ranked(results, comparison)
    return [
        _answer(comparison, table, unit(results.rows, comparison.metric)),
        *_incomplete([*_unfinished(results), *_behind(results, comparison)]),
        *_ranking(comparison, table),
        *_differences(comparison),
        *_speed_ups(results, comparison),
        *_rule(results, comparison),
    ]


def _incomplete(sentences: list[str]) -> list[page.Part]:
    return page.notice("These results are not complete.", sentences)


def _extent(results: Results) -> str:
    rows = results.rows
    seeds, steps = rows["seed"].nunique(), rows["step"].max()
    return f"{_count(rows['activation'].nunique(), 'activation')}, {_count(seeds, 'seed')}, {steps} steps"


def _answer(comparison: Comparison, table: pd.DataFrame, unit_of_metric: str) -> str:
    """Which arms are better, worse and inconclusive, by how much; and which take longer."""
    arms = sorted(comparison.arms, key=lambda arm: arm.difference, reverse=higher_is_better(comparison.metric))
    lines = []
    for verdict in VERDICTS:
        found = "; ".join(_difference(arm, decimals(comparison)) for arm in arms if arm.verdict == verdict)
        if found:
            lines.append(f"<li>{page.marked(verdict.capitalize())}: {found}.</li>")
    pairs = sorted({arm.n for arm in arms})
    seeds = _count(pairs[0], "paired seed") if len(pairs) == 1 else f"{pairs[0]} to {pairs[-1]} paired seeds"
    return page.answer(
        f"<p>Against <strong>{escape(comparison.baseline)}</strong>, by "
        f"{escape(comparison.split)} {escape(comparison.metric)} at {escape(comparison.when)}, over {seeds} "
        f"(difference{unit_of_metric and f' in {unit_of_metric}'}, {comparison.level:.0%} interval):</p>"
        f"<ul>{''.join(lines)}</ul>{_slower(table, comparison.baseline)}"
    )


def _difference(arm: Arm, digits: int) -> str:
    size, low, high = (number(value, digits, sign=True) for value in (arm.difference, arm.low, arm.high))
    diverged = f", {arm.n_diverged} of {arm.n} diverged" if arm.n_diverged else ""
    limit = (
        f", minimum detectable effect {number(arm.minimum_detectable_effect, digits)}"
        if arm.verdict == "inconclusive"
        else ""
    )
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


def _ranking(comparison: Comparison, table: pd.DataFrame) -> list[page.Part]:
    digits = decimals(comparison)
    measure = f"{comparison.split} {comparison.metric}"

    def bca(row: Mapping[Any, Any]) -> str:
        return page.interval(row["bca_low"], row["bca_high"], digits)

    shown = [
        page.column("arm", head="activation"),
        page.column("verdict"),
        page.column("mean", lambda value: number(value, digits), head=measure),
        page.Column("n", "n", lambda row: f"{row['n']}" + (f" ({row['n_diverged']}†)" if row["n_diverged"] else "")),
        page.column("difference", lambda value: number(value, digits, sign=True)),
        page.Column(
            f"{comparison.level:.0%} interval", "low", lambda row: page.interval(row["low"], row["high"], digits)
        ),
        page.column("p_adjusted", _p, head="p (Holm)"),
        *([] if table["sign_flip_p"].isna().all() else [page.column("sign_flip_p", _p, head="p of sign flips")]),
        *([] if table["bca_low"].isna().all() else [page.Column("BCa interval", "bca_low", bca)]),
        page.column("minimum_detectable_effect", lambda value: number(value, digits), head="minimum detectable effect"),
        page.column("pairs_needed", lambda value: "" if pd.isna(value) else f"{value:,.0f}"),
        page.Column("pairs won", "wins", _wins),
        page.column("wins_verdict", head="by pairs won"),
        *(
            []
            if table["equivalence_p"].isna().all()
            else [page.column("equivalence_p", _p, head="p of equivalence (Holm)")]
        ),
        page.column("parameters", compact),
        page.column("flops_per_token", compact, head="FLOPs a token"),
        page.column("seconds", lambda value: number(value, 1), head="seconds a run"),
        page.column("relative_time", times),
    ]
    caption = (
        "FLOPs are those of the forward matrix products. Time is training time a token, relative to the baseline. n "
        "counts runs; † of them diverged and took the worst value. The minimum detectable effect is the smallest true "
        "difference that this many pairs find with probability 0.8 after the correction; pairs needed is the number "
        "that would find the observed difference, were it the true one. Pairs won is the probability of improvement "
        "with its bootstrap interval, which covers less than its level where pairs are few; the verdict by it is that "
        "of Bouthillier et al. (2021), significant above 1/2 and meaningful where it reaches beyond 0.75. Sign flips, "
        "from 8 pairs on, and BCa, from 20 on, stand beside the t test, uncorrected."
    )
    return [page.heading("Ranking"), page.Table("ranking", table, shown, caption)]


def _p(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.2g}"


def _wins(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["wins"]) else f"{row['wins']:.2f} ({row['wins_low']:.2f} to {row['wins_high']:.2f})"


def _differences(comparison: Comparison) -> list[page.Part]:
    title = f"Paired differences to {comparison.baseline} in {comparison.split} {comparison.metric}"
    caption = (
        f"A dot is a seed, the diamond their mean, the bar its {comparison.level:.0%} paired t interval before "
        "correction; an arrow points to what lies beyond the axis."
    )
    return [
        page.heading("Paired differences"),
        page.Drawing("differences", svg(differences(comparison), title), caption),
    ]


def _speed_ups(results: Results, comparison: Comparison) -> list[page.Part]:
    """How much sooner each arm reaches what the baseline reaches."""
    table = speed_ups(results, comparison)
    if table.empty:
        return []
    shown = [
        page.column("arm", head="activation"),
        page.column("target", lambda value: number(value, decimals(comparison))),
        page.column("baseline_steps", _steps, head=f"steps of {comparison.baseline}"),
        page.column("steps", _steps),
        page.Column("speed-up", "speed_up", lambda row: times(row["speed_up"])),
        page.Column(
            f"{comparison.level:.0%} interval", "low", lambda row: f"{times(row['low'])} to {times(row['high'])}"
        ),
        page.Column("missed", "missed", lambda row: f"{row['missed']} of {row['n']}"),
    ]
    caption = (
        f"Steps until the {comparison.split} {comparison.metric}, of three evaluations the middle one, is as good as "
        f"the median {comparison.baseline} at a half, three quarters and all of its training, or as the experiment's "
        "target: the median over the seeds, where a run that missed is later than all others. The speed-up is a ratio "
        "of medians with a bootstrap interval over paired seeds, as coarse as the evaluations are far apart."
    )
    return [page.heading("Time to target"), page.Table("targets", table, shown, caption)]


def _steps(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:,.0f}"


def _tuning(results: Results) -> list[page.Part]:
    """What was searched for every arm, and what it got; nothing where nothing was tuned."""
    if (found := results.tuning) is None:
        return []
    metric = found.experiment["metric"]
    table = tuning.tuned(found)
    measure, caption = f"{found.experiment['split']} {metric}", "The same grid for every arm, on seeds not reported. "
    shown = [
        page.column("activation"),
        *(page.column(name) for name in (*tuning.static_axes(table), *tuning.SEARCHED) if name in table),
        *(page.column(name, head=f"{name} {measure}" if name == "mean" else None) for name in ("mean", "low", "high")),
        *(page.column(name) for name in ("n", "n_diverged", "chosen")),
    ]
    expected = tuning.budget(table, higher_is_better(metric))
    return [
        page.heading("Tuning"),
        *page.notice("The grid may be too small.", tuning.warnings(table)),
        page.Drawing(
            "tuning", svg(tuning_figure.draw(table, metric), f"{metric} by learning rate, an activation a line")
        ),
        page.Table("tuning", table, shown, caption + "Low and high are the best and worst seed.", "Values"),
        page.Table("budget", expected, page.columns(expected), BUDGET, "Expected best of so many points"),
    ]


def _overrides(results: Results) -> list[page.Part]:
    """What is set for single arms: tuned rates, steps that take the baseline's time."""
    overrides = results.experiment.get("overrides", [])
    if not overrides:
        return []
    named = [{**one["arm"], **{_leaf(path): value for path, value in one["fields"].items()}} for one in overrides]
    arms = list(dict.fromkeys(name for one in overrides for name in one["arm"]))
    table = pd.DataFrame(named).groupby(arms, sort=False, dropna=False).first().reset_index()
    caption = (
        "Chosen before the reported runs: learning rates by tuning, steps so that each arm takes the baseline's time."
    )
    return [page.heading("Arm overrides"), page.Table("overrides", table, page.columns(table), caption)]


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _rule(results: Results, comparison: Comparison) -> list[page.Part]:
    level = f"{1 - comparison.level:.2g}"
    rule = (
        f"Each arm meets {escape(comparison.baseline)} at the same step and setting, seed by seed (the same initial "
        "weights and batches), and a diverged run counts as the worst. "
        "A difference is resolved if its paired t test, corrected by Holm's method over "
        f"{_count(len(comparison.arms), 'arm')}, has p below {level}."
    )
    if (margin := results.experiment.get("margin")) is not None:
        rule += (
            f" Arms are called the same if two one-sided tests, corrected likewise, place the difference within "
            f"{margin:g} with p below {level}: so much was said before the run not to matter."
        )
    if looks := results.experiment.get("looks"):
        rule += (
            f" The results decided how many seeds were trained, between {looks[0]} and {looks[1]}: intervals and p "
            "values hold for all looks together."
        )
    return [page.heading("The rule of comparison"), f"<p>{rule}</p>"]


def _reference_predictors(results: Results) -> list[page.Part]:
    """Nothing where none were recorded."""
    activation = results.experiment["baseline"]
    table = reference_predictors.beside(results, activation)
    if table.empty:
        return []
    shown = [
        *([page.column("task")] if len(set(table["task"])) > 1 else []),
        page.column("predictor", lambda name: name.replace("_", " ")),
        page.Column("what it is", "predictor", lambda row: MEANINGS.get(row["predictor"], "")),
        page.Column("measure", "metric", lambda row: f"{row['split']} {row['metric']}".replace("_", " ")),
        page.column("value", lambda value: number(value, 4)),
        page.column("reached", lambda value: number(value, 4), head=activation),
        page.Column("verdict", "predictor", _beaten),
    ]
    caption = (
        f"{activation}: the mean over its seeds at the last step that all of them have, the best of several settings. "
        "The learning curves show a predictor as a dashed line where they come near it."
    )
    return [page.heading("Reference predictors"), page.Table("reference_predictors", table, shown, caption)]


def _beaten(row: Mapping[Any, Any]) -> str:
    if pd.isna(row["reached"]):
        return ""
    return "beaten" if row["beaten"] else "not beaten"


def _curves(results: Results) -> list[page.Part]:
    metric, split = results.experiment.get("metric", "loss"), results.experiment.get("split", "validation")
    parts: list[page.Part] = [page.heading("Learning curves")]
    settings = list(_settings(results.rows))
    for index, (setting, rows) in enumerate(settings, start=1):
        parts += [f"<h3>{escape(setting)}</h3>"] if setting else []
        title = f"Learning curves: {metric} by step, an activation a line {setting}".strip()
        levels = {
            **reference_predictors.levels(results, rows, metric, split),
            **results.experiment.get("published", {}),
        }
        name = f"curves-{index}" if len(settings) > 1 else "curves"
        parts.append(page.Drawing(name, svg(curves(rows, metric, split, levels), title)))
    caption = (
        f"Mean over the seeds: {split} solid (dashed if gated), training dotted. The band reaches from the "
        "lowest seed to the highest; a cross is the last value of a run that diverged. Dashed lines are "
        "values to compare with: reference predictors, and what others published."
    )
    return [*parts, page.soft(caption)]


def _settings(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The rows at each value of the axes other than the activation, and that value in words."""
    axes = [axis for axis in axis_columns(rows) if len(rows[axis].unique()) > 1]
    if not axes:
        yield "", rows
        return
    for values, setting in rows.groupby(axes, dropna=False, sort=False):
        yield ", ".join(f"{axis}={value}" for axis, value in zip(axes, values, strict=True)), setting


def _diverged(rows: pd.DataFrame) -> list[page.Part]:
    found = rows[rows["metric"] == "diverged"].drop_duplicates(run_columns(rows))
    axes, runs = axis_columns(rows), []
    for run in found.to_dict("records"):
        words = [run["activation"], *(f"{axis}={run[axis]}" for axis in axes), f"seed {run['seed']}"]
        runs.append(f"{', '.join(words)}: at step {run['step']}")
    return [page.heading("Diverged runs"), page.listed(runs) or "<p>None.</p>"]


def _speed(results: Results, peak: float | None) -> list[page.Part]:
    """A row for each cell that has been trained, with what it needs of a device's memory."""
    table = by_cell(results)
    if table.empty:
        return []
    shown = [
        page.column("cell"),
        page.column("tokens_per_second", lambda rate: f"{rate:,.0f}", head="tokens/s"),
        page.column("flops_per_second", lambda rate: f"{rate / 1e9:,.1f}", head="GFLOP/s"),
        *(
            []
            if peak is None
            else [page.column("flops_per_second", lambda rate: f"{rate / peak:.2f}", "share of peak")]
        ),
        page.column(
            "device_bytes", lambda size: "" if pd.isna(size) else f"{size / 1e6:,.0f}", "memory of a device, MB"
        ),
    ]
    limit = "" if peak is None else f" The peak is {peak / 1e9:,.0f} GFLOP/s, measured when this page was written."
    caption = f"All runs of a cell together, training alone, counting the matrix products of three passes.{limit}"
    return [page.heading("Speed and memory"), page.Table("speed", table, shown, caption)]


def _made_of(results: Results) -> list[page.Part]:
    """What was run, on what data, with what: one value where all cells agree, else the different ones."""
    parts = {"Task": "task", "Model": "model", "Settings": "settings"}
    tables = [page.facts(title, [cell.get(name, {}) for cell in results.cells]) for title, name in parts.items()]
    tables.append(page.facts("Hyperparameters", [results.experiment.get("definition", {}).get("hyperparameters", {})]))
    tables.append(page.facts("Runs", results.rows[["seed", "learning_rate"]].drop_duplicates().to_dict("records")))
    environments = [cell.get("environment", {}) for cell in results.cells]
    tables.append(page.facts("Data", [environment.get("data", {}) for environment in environments]))
    machines = [{name: value for name, value in one.items() if name != "data"} for one in environments]
    tables.append(page.facts("Environment", machines))
    return [page.heading("What was run"), f'<div class="facts">{"".join(tables)}</div>']


def _again(results: Results) -> list[page.Part]:
    command = escape(results.experiment.get("command", ""))
    return [page.heading("To make it again"), f"<pre>{command}</pre>"] if command else []


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
