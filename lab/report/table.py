"""The ranked table: cost, final metric and certainty of each arm."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from lab.comparison.comparison import Arm, Comparison, Group
from lab.comparison.effects import Effect
from lab.comparison.outcomes import run_columns
from lab.comparison.time.relative_time import relative_time, seconds_per_token
from lab.comparison.verdict import NO_VERDICT

if TYPE_CHECKING:
    from lab.results.results import Results

VERDICT_STYLES = {
    "better": "green",
    "worse": "red",
    "equivalent": "cyan",
    "inconclusive": "dim",
    "baseline": "bold",
    NO_VERDICT: "dim",
}
MOST = 40
"""Maximum number of arms in a figure or a list of sentences: more cannot be told apart."""
LARGE = 1e6
"""From this loss on, only the order of magnitude is shown."""


def ranked(results: Results, comparison: Comparison) -> pd.DataFrame:
    """One row per arm and baseline, best mean first; every cell is a plain number or string, ready for `to_csv`.

    `parameters`, `flops_per_token` (forward matmuls) and `seconds` of training per run are costs; `relative_time` is
    training time per token over the baseline's at the same axes, with its spread. `mean` is that of the metric over n
    seeds.
    """
    costs = {cell["cell"]: cell.get("cost", {}) for cell in results.cells}
    seconds, rates = _seconds_per_run(results), seconds_per_token(results)
    baselines = {tuple(group.axes.items()): group.cell for group in comparison.baselines}
    rows = []
    for group in [*comparison.baselines, *comparison.arms]:
        cost, baseline = costs.get(group.cell, {}), baselines[tuple(group.axes.items())]
        time = relative_time(rates.get(group.cell), rates.get(baseline))
        rows.append(
            {
                "arm": group.label,
                "activation": group.activation,
                **group.axes,
                "parameters": cost.get("parameters"),
                "flops_per_token": cost.get("flops_per_token"),
                "seconds": seconds.get(group.cell, math.nan),
                "relative_time": time.ratio,
                "relative_time_low": time.low,
                "relative_time_high": time.high,
                "mean": group.mean,
                "sd": group.sd,
                "n": group.n,
                "n_diverged": group.n_diverged,
                **_finding(group),
            }
        )
    table = pd.DataFrame(rows).sort_values("mean", ascending=comparison.direction != "max", kind="stable")
    return table.reset_index(drop=True)


def of_effect(effect: Effect, comparison: Comparison) -> str:
    """One line on the effect of an axis."""
    digits = decimals(comparison)
    size, low, high = (number(value, digits, sign=True) for value in (effect.difference, effect.low, effect.high))
    return f"{effect.label}: {size} ({low} to {high}), {effect.verdict}"


def best_first(comparison: Comparison) -> list[Arm]:
    """The arms by their differences, best first; those without a difference last."""
    sign = comparison.question.sign
    return sorted(comparison.arms, key=lambda arm: math.inf if math.isnan(arm.difference) else sign * arm.difference)


def leaders(comparison: Comparison) -> Comparison:
    """The comparison restricted to the arms that a figure can show: the best, at most MOST."""
    return replace(comparison, arms=tuple(best_first(comparison)[:MOST])) if len(comparison.arms) > MOST else comparison


def left_out(comparison: Comparison) -> str:
    """A sentence on the arms omitted from figures; empty if there are none."""
    more = len(comparison.arms) - MOST
    shown = f" Of {len(comparison.arms)} arms only the best {MOST} are shown; see the ranking for all."
    return shown if more > 0 else ""


def terminal(table: pd.DataFrame, comparison: Comparison) -> Table:
    """The ranked table for a terminal of 80 columns or more."""
    caption = _caption(table, comparison)
    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=0, caption=caption, caption_justify="left")
    drawn.add_column("activation", overflow="fold", min_width=10)
    for heading in ("para-\nmeters", "FLOPs\n/token", "time", f"mean\n{comparison.metric}", "n"):
        drawn.add_column(heading, justify="right", no_wrap=True)
    drawn.add_column(f"difference\n± {comparison.level:.0%}", justify="right", no_wrap=True)
    tuned = {arm.tuned for arm in comparison.arms}
    drawn.add_column(
        "verdict" + ("" if len(tuned) > 1 else "\n(tuned)" if tuned == {True} else "\n(untuned)"), no_wrap=True
    )
    drawn.add_column("MDE", justify="right", no_wrap=True)
    digits = decimals(comparison)
    for _, row in table.iterrows():
        style = VERDICT_STYLES[row["verdict"]]
        drawn.add_row(
            Text(row["arm"], style=style),
            compact(row["parameters"]),
            compact(row["flops_per_token"]),
            times(row["relative_time"]),
            number(row["mean"], digits),
            str(row["n"]) + (f" ({row['n_diverged']}†)" if row["n_diverged"] else ""),
            plus_minus(row, digits),
            Text(row["verdict"] + (f"\n({row['rate']})" if len(tuned) > 1 and row["rate"] else ""), style=style),
            number(row["minimum_detectable_effect"], digits),
        )
    return drawn


def decimals(comparison: Comparison) -> int:
    """The number of decimals that show two digits of the narrowest interval, between 2 and 6."""
    widths = [(arm.high - arm.low) / 2 for arm in comparison.arms]
    widths = [width for width in widths if 0 < width < math.inf]
    return int(np.clip(1 - math.floor(math.log10(min(widths))), 2, 6)) if widths else 4


def number(value: float | None, digits: int, sign: bool = False) -> str:
    """A number with a true minus sign; empty if missing (the baseline's difference to itself). Large losses of diverged
    networks are shown with three digits."""
    if value is None or math.isnan(value):
        return ""
    size = abs(value)
    text = "∞" if math.isinf(size) else f"{size:.3g}" if size >= LARGE else f"{size:.{digits}f}"
    return ("−" if value < 0 else "+" if sign else "") + text


def compact(value: float | None) -> str:
    """A count with three digits: 817152 is 817k."""
    if value is None or math.isnan(value):
        return ""
    for size, suffix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:#.3g}".rstrip(".") + suffix
    return f"{value:.3g}"


def times(ratio: float) -> str:
    """A factor: ×1.10."""
    if math.isnan(ratio):
        return ""
    return "×∞" if math.isinf(ratio) else f"×{ratio:.2f}"


def plus_minus(row: pd.Series, digits: int) -> str:
    """A mean difference with half the width of its interval, which is symmetric about it."""
    if row["verdict"] == "baseline" or math.isnan(row["difference"]):
        return ""
    return f"{number(row['difference'], digits, sign=True)} ±{number(row['high'] - row['difference'], digits)}"


def _finding(group: Group) -> dict[str, Any]:
    names = (
        "difference",
        "low",
        "high",
        "p",
        "p_adjusted",
        "equivalence_p",
        "sign_flip_p",
        "minimum_detectable_effect",
        "pairs_needed",
    )
    bca, wins = ("bca_low", "bca_high"), ("wins", "wins_low", "wins_high")
    if not isinstance(group, Arm):
        numbers = dict.fromkeys((*names, *bca, *wins, "baseline_diverged", "diverged_p"), math.nan)
        return numbers | {"stability": "", "rate": "", "verdict": "baseline"}
    found = {name: getattr(group, name) for name in names}
    found |= dict(zip(bca, group.bca or [math.nan] * 2, strict=True))
    found |= dict(zip(wins, group.improvement or [math.nan] * 3, strict=True))
    found |= {"baseline_diverged": group.stability.baseline_diverged, "diverged_p": group.stability.p_adjusted}
    rate = "tuned" if group.tuned else "untuned"
    return found | {"stability": group.stability.verdict, "rate": rate, "verdict": group.verdict}


def _caption(table: pd.DataFrame, comparison: Comparison) -> str:
    seconds = table.loc[table["verdict"] == "baseline", "seconds"].dropna()
    cost = f" (one run of {comparison.baseline} takes {seconds.iloc[0]:.3g} s)" if len(seconds) else ""
    diverged = "; † diverged, excluded from the loss" if table["n_diverged"].any() else ""
    return (
        f"{comparison.split} {comparison.metric} at {comparison.when}, paired by seed with {comparison.baseline}; "
        f"verdicts corrected for {comparison.family_size} arms; time relative to the baseline{cost}; "
        f"MDE: minimum detectable effect, at 80 % power{diverged}"
    )


def _seconds_per_run(results: Results) -> pd.Series:
    """Training seconds of each cell, divided by its runs: the cost of one run when trained together with the others."""
    runs = results.rows.drop_duplicates(run_columns(results.rows)).groupby("cell").size()
    return _training(results.timing)["seconds"] / runs


def _training(timing: pd.DataFrame) -> pd.DataFrame:
    timing = timing.reindex(columns=["cell", "kind", "seconds", "tokens"])  # an empty one has no columns
    return timing[timing["kind"] == "train"].groupby("cell")[["seconds", "tokens"]].sum()
