"""The report: one HTML file with the answer first, followed by all the evidence."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lab.comparison import looks, reference_predictors, tuning
from lab.comparison.comparison import Comparison, compare, missing
from lab.comparison.outcomes import axis_columns, run_columns
from lab.comparison.time.speed import by_cell
from lab.comparison.time.speed_up import speed_ups
from lab.files.damaged import DamagedFileError
from lab.report import learning_curves, page, tuning_figure
from lab.report.answer import answer
from lab.report.figures import differences, svg, unit
from lab.report.networks import telemetry
from lab.report.ranking import ranking
from lab.report.rule import rule
from lab.report.table import decimals, leaders, left_out, number, ranked, times
from lab.results.directions import direction_of

if TYPE_CHECKING:
    from lab.results.results import Results

BUDGET = (
    "The mean of the best of k points, drawn without replacement from the grid: the expected result of a smaller "
    "search (Dodge et al. 2019). A curve that still improves at its end suggests that a larger search would find "
    "better points."
)
MEANINGS = {
    "unigram": "byte frequencies in the training text",
    "bigram": "frequencies of byte pairs in the training text",
    "gzip": "the measured text alone, compressed",
    "xz": "the measured text alone, compressed",
    "nearest_mean": "the class whose mean training image is nearest",
    "ridge": "least squares from pixels to classes, with a penalty on the weights",
    "most_frequent": "the most frequent class in training",
    "most_frequent_of_word": "the most frequent tag of the word in training",
    "naive_bayes": "a multinomial classifier on token counts",
}


def write(
    results: Results, path: Path | None = None, peak: float | None = None, comparison: Comparison | None = None
) -> Path:
    """Write the report with its tables and figures; returns its path, by default DIR/report.html.

    `comparison` may be another one than the experiment's own question. The comparison is recorded as a look
    (`lab.results.looks`). Speeds are compared with `peak`, this machine's measured FLOP/s of matrix products, if known.
    The file is self-contained. If there is nothing to compare yet, it shows the curves so far and says why. Raises
    OSError if it cannot be written.
    """
    path = results.directory / "report.html" if path is None else path
    name = results.experiment["name"]
    title = results.experiment.get("question") or name
    found = _compared(results) if comparison is None else comparison
    page.write(path, title, f"{name}: {_extent(results)}", parts(results, peak, found))
    if isinstance(found, Comparison):
        looks.record(results, found)
    return path


def write_beside(results: Results, comparison: Comparison, peak: float | None = None) -> Path:
    """Write the report of another comparison in a separate folder next to the experiment's report; returns its
    path."""
    return write(results, _beside(results, comparison), peak, comparison)


def place(results: Results, comparison: Comparison) -> Path:
    """The path of a comparison's report; for the experiment's own it is DIR/report.html."""
    own = {name: results.experiment[name] for name in ("baseline", "metric", "split")}
    asked = {name: getattr(comparison, name) for name in own}
    own["over"], asked["over"] = results.experiment.get("over", "seeds"), comparison.question.over
    return results.directory / "report.html" if asked == own else _beside(results, comparison)


def _beside(results: Results, comparison: Comparison) -> Path:
    """DIR/comparisons/BASELINE-SPLIT-METRIC-STEP-AXIS/report.html."""
    words = [comparison.baseline, comparison.split, comparison.metric, f"step{comparison.step}"]
    words += [comparison.effects[0].axis] if comparison.effects else []
    words += [comparison.question.over] if comparison.question.over != results.experiment.get("over", "seeds") else []
    folder = "-".join(re.sub(r"[^A-Za-z0-9.+_]+", "_", word) for word in words)
    return results.directory / "comparisons" / folder / "report.html"


def parts(
    results: Results, peak: float | None = None, comparison: Comparison | ValueError | None = None
) -> list[page.Part]:
    """The parts of a report, the answer first; if there is no answer, the error says why."""
    found = _compared(results) if comparison is None else comparison
    asked = vars(found.question) if isinstance(found, Comparison) else results.experiment
    step = found.step if isinstance(found, Comparison) and not found.own_steps else None
    return [
        *_findings(results, found),
        *_reference_predictors(results),
        *learning_curves.section(results, asked.get("metric", "loss"), asked.get("split", "validation"), found),
        *_tuning(results),
        *_overrides(results),
        *_diverged(results.rows),
        *telemetry.section(results, asked["baseline"], asked["level"], step),
        *_speed(results, peak),
        *_made_of(results),
        *_again(results),
    ]


def _compared(results: Results) -> Comparison | ValueError:
    try:
        return compare(results)
    except DamagedFileError:
        raise
    except ValueError as error:
        return error


def _findings(results: Results, found: Comparison | ValueError) -> list[page.Part]:
    """The answer and its evidence, as far as available."""
    if isinstance(found, ValueError):
        return [page.answer(f"<p>No comparison yet: {escape(str(found))}.</p>"), *_incomplete(missing(results))]
    table = ranked(results, found)
    return [
        answer(found, table, unit(results.rows, found.metric)),
        *_incomplete(found.missing),
        *ranking(found, table),
        *_differences(found),
        *_effects(found),
        *_speed_ups(results, found),
        *rule(results, found),
    ]


def _incomplete(sentences: Sequence[str]) -> list[page.Part]:
    return page.notice("These results are not complete.", sentences)


def _extent(results: Results) -> str:
    rows = results.rows
    seeds, steps = rows["seed"].nunique(), rows["step"].max()
    return f"{_count(rows['activation'].nunique(), 'activation')}, {_count(seeds, 'seed')}, {steps} steps"


def _differences(comparison: Comparison) -> list[page.Part]:
    title = f"Paired differences to {comparison.baseline} in {comparison.split} {comparison.metric}"
    caption = (
        f"Each dot is a seed, the diamond is their mean, the bar its {comparison.level:.0%} interval. Pairs in which a "
        "run diverged have no dot."
    )
    return [
        page.heading("Paired differences"),
        page.Drawing("differences", svg(differences(leaders(comparison)), title), caption + left_out(comparison)),
    ]


def _effects(comparison: Comparison) -> list[page.Part]:
    """The effect of the requested axis."""
    if not comparison.effects:
        return []
    table = pd.DataFrame([{"effect": effect.label, **vars(effect)} for effect in comparison.effects])
    table = table.drop(columns=["setting"])
    digits = decimals(comparison)
    shown = [
        page.column("effect"),
        page.column("verdict"),
        page.column("n"),
        page.column("difference", lambda value: number(value, digits, sign=True)),
        page.Column(
            f"{comparison.level:.0%} interval", "low", lambda row: page.interval(row["low"], row["high"], digits)
        ),
        page.column("p_adjusted", lambda value: "" if pd.isna(value) else f"{value:.2g}", head="p (adjusted)"),
    ]
    caption = (
        'A main effect is the mean over all activations, paired by seed. An interaction, "more for" an activation, is '
        f"the effect on it minus that on {comparison.baseline}. All of them are one family."
    )
    return [page.heading(f"Effects of {comparison.effects[0].axis}"), page.Table("effects", table, shown, caption)]


def _speed_ups(results: Results, comparison: Comparison) -> list[page.Part]:
    """How much sooner each arm reaches the baseline's values."""
    table = speed_ups(results, leaders(comparison))
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
        f"Steps until the {comparison.split} {comparison.metric}, as a running median of three evaluations, reaches "
        f"that of the median {comparison.baseline} at a half, three quarters and all of its training, or the "
        "experiment's target. Times are medians over the seeds; a run that missed counts as later than all others. The "
        "speed-up is a ratio of medians with a bootstrap interval over paired seeds; its resolution is the evaluation "
        "interval."
    )
    return [page.heading("Time to target"), page.Table("targets", table, shown, caption + left_out(comparison))]


def _steps(value: float) -> str:
    return "not reached" if math.isinf(value) else f"{value:,.0f}"


def _tuning(results: Results) -> list[page.Part]:
    """The search of every arm and the chosen points; empty if nothing was tuned."""
    if (found := results.tuning) is None:
        return []
    metric = found.experiment["metric"]
    table = tuning.tuned(found)
    measure = f"{found.experiment['split']} {metric}"
    caption = "The same grid for every arm, on seeds that are not reported. "
    shown = [
        page.column("activation"),
        *(page.column(name) for name in (*tuning.static_axes(table), *tuning.SEARCHED) if name in table),
        *(page.column(name, head=f"{name} {measure}" if name == "mean" else None) for name in ("mean", "low", "high")),
        *(page.column(name) for name in ("n", "n_diverged", "chosen")),
    ]
    direction = direction_of(metric, results.experiment)
    expected = tuning.budget(table, direction == "max")
    return [
        page.heading("Tuning"),
        *page.notice("The grid may be too small.", tuning.warnings(table)),
        page.Drawing(
            "tuning",
            svg(tuning_figure.draw(table, metric, direction), f"{metric} by learning rate, one line per activation"),
        ),
        *_by_rate(found),
        page.Table("tuning", table, shown, caption + "Low and high are the best and worst seed.", "Values"),
        page.Table("budget", expected, page.columns(expected), BUDGET, "Expected best of N points"),
    ]


def _by_rate(tuning_runs: Results) -> list[page.Part]:
    """The difference to the baseline at every rate of the grid; empty if it has one rate, or other fields were searched
    too."""
    compared = _compared(tuning_runs)
    if not isinstance(compared, Comparison):
        return []
    if any([name for name in tuning.SEARCHED if name in arm.axes] != ["learning_rate"] for arm in compared.arms):
        return []
    caption = (
        f"The difference to {compared.baseline} at the same rate, on the tuning seeds: one line per arm, with a band "
        "from the lowest seed to the highest. Where lines cross, the verdict depends on the rate."
    )
    title = f"difference in {compared.split} {compared.metric} to {compared.baseline} by learning rate"
    return [page.Drawing("tuning_differences", svg(tuning_figure.draw_differences(compared), title), caption)]


def _overrides(results: Results) -> list[page.Part]:
    """Fields set per arm: tuned rates, steps matched to the baseline's time."""
    overrides = results.experiment.get("overrides", [])
    if not overrides:
        return []
    named = [{**one["arm"], **{_leaf(path): value for path, value in one["fields"].items()}} for one in overrides]
    arms = list(dict.fromkeys(name for one in overrides for name in one["arm"]))
    table = pd.DataFrame(named).groupby(arms, sort=False, dropna=False).first().reset_index()
    caption = (
        "Chosen before the reported runs: learning rates by tuning, steps by matching the baseline's training time."
    )
    return [page.heading("Arm overrides"), page.Table("overrides", table, page.columns(table), caption)]


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]


def _reference_predictors(results: Results) -> list[page.Part]:
    """Empty if none were recorded."""
    activation = results.experiment["baseline"]
    table = reference_predictors.beside(results, activation)
    if table.empty:
        return []
    shown = [
        *([page.column("task")] if len(set(table["task"])) > 1 else []),
        page.column("predictor", lambda name: name.replace("_", " ")),
        page.Column("description", "predictor", lambda row: MEANINGS.get(row["predictor"], "")),
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


def _diverged(rows: pd.DataFrame) -> list[page.Part]:
    found = rows[rows["metric"] == "diverged"].drop_duplicates(run_columns(rows))
    axes, runs = axis_columns(rows), []
    for run in found.to_dict("records"):
        words = [run["activation"], *(f"{axis}={run[axis]}" for axis in axes), f"seed {run['seed']}"]
        runs.append(f"{', '.join(words)}: at step {run['step']}")
    return [page.heading("Diverged runs"), page.listed(runs) or "<p>None.</p>"]


def _speed(results: Results, peak: float | None) -> list[page.Part]:
    """One row per trained cell, with its device memory."""
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
    caption = f"All runs of a cell together, training only; FLOPs are those of three forward passes.{limit}"
    return [page.heading("Speed and memory"), page.Table("speed", table, shown, caption)]


def _made_of(results: Results) -> list[page.Part]:
    """What was run, on which data and in which environment: one value if all cells agree, otherwise all."""
    parts = {"Task": "task", "Model": "model", "Settings": "settings"}
    tables = [page.facts(title, [cell.get(name, {}) for cell in results.cells]) for title, name in parts.items()]
    tables.append(page.facts("Hyperparameters", [results.experiment.get("definition", {}).get("hyperparameters", {})]))
    tables.append(page.facts("Runs", results.rows[["seed", "learning_rate"]].drop_duplicates().to_dict("records")))
    environments = results.environments
    tables.append(page.facts("Data", [environment.get("data", {}) for environment in environments]))
    machines = [{name: value for name, value in one.items() if name != "data"} for one in environments]
    tables.append(page.facts("Environment", machines))
    return [page.heading("What was run"), f'<div class="facts">{"".join(tables)}</div>']


def _again(results: Results) -> list[page.Part]:
    command = escape(results.experiment.get("command", ""))
    return [page.heading("To reproduce"), f"<pre>{command}</pre>"] if command else []


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
