"""The metric of every arm by learning rate, with the chosen rates, and the difference to the baseline."""

import math
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.figure import Figure

from lab.comparison.comparison import Arm, Comparison
from lab.comparison.outcomes import label
from lab.comparison.tuning import static_axes
from lab.report.figures import INK, STYLE, colour, line_styles
from lab.results.directions import Direction


def draw(table: pd.DataFrame, metric: str = "loss", direction: Direction | None = "min") -> Figure:
    """Metric by learning rate, one line per activation and one panel per setting; a ring marks the chosen rate.

    The band reaches from the lowest seed to the highest; of several weight decays the best is shown. The axis is
    limited so that the chosen points remain distinguishable.
    """
    settings = [axis for axis in static_axes(table) if len(set(table[axis].astype(str))) > 1]
    panels = list(table.groupby(settings, sort=False, dropna=False)) if settings else [((), table)]
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.6 + 2.9 * rows), layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        styles = line_styles(list(dict.fromkeys(table["activation"])))
        for axes, (values, panel) in zip(grid.flat, panels, strict=False):
            for name, style in styles.items():
                _draw_arm(axes, panel[panel["activation"] == name], name, style, direction == "max")
            words = ", ".join(f"{axis}={value}" for axis, value in zip(settings, values, strict=True))
            axes.set(xscale="log", xlabel="learning rate", ylabel=metric, title=words)
            _fit(axes, panel, direction == "max")
        figure.legend(*grid.flat[0].get_legend_handles_labels(), loc="outside right center", handlelength=2.8)
    return figure


def draw_differences(comparison: Comparison) -> Figure:
    """The difference to the baseline at the same rate by learning rate, one line per arm, with a band over the
    seeds."""
    lines: dict[str, list[Arm]] = {}
    for arm in sorted(comparison.arms, key=lambda arm: arm.axes["learning_rate"]):
        about = {"activation": arm.activation, **{k: v for k, v in arm.axes.items() if k != "learning_rate"}}
        lines.setdefault(label(about), []).append(arm)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        styles = line_styles(list(dict.fromkeys(arm.activation for arm in comparison.arms)))
        for name, arms in lines.items():
            style = styles[arms[0].activation]
            rates = [arm.axes["learning_rate"] for arm in arms]
            axes.plot(rates, [arm.difference for arm in arms], marker=".", label=name, **style)
            low, high = ([end(arm.differences) for arm in arms] for end in (min, max))
            axes.fill_between(rates, low, high, color=style["color"], alpha=0.1, linewidth=0)
        axes.set(xscale="log", xlabel="learning rate", ylabel=f"{comparison.metric} − {comparison.baseline}'s")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", handlelength=2.8)
    return figure


def _draw_arm(axes: Any, arm: pd.DataFrame, name: str, style: dict[str, Any], higher: bool) -> None:
    by_rate = arm.groupby("learning_rate")["mean"]
    best = arm.loc[by_rate.idxmax() if higher else by_rate.idxmin()].sort_values("learning_rate")
    axes.plot(best["learning_rate"], best["mean"], marker=".", label=name, **style)
    axes.fill_between(best["learning_rate"], best["low"], best["high"], color=colour(name), alpha=0.1, linewidth=0)
    chosen = arm[arm["chosen"]]
    axes.plot(chosen["learning_rate"], chosen["mean"], "o", markersize=8, fillstyle="none", color=colour(name))


def _fit(axes: Any, panel: pd.DataFrame, higher: bool) -> None:
    """Limits that keep the chosen points distinguishable, even if a distant rate diverged."""
    chosen, every = panel.loc[panel["chosen"], "mean"], panel["mean"]
    best, worst = (chosen.max(), chosen.min()) if higher else (chosen.min(), chosen.max())
    reach = max(6 * abs(worst - best), 0.25 * abs(best))
    if higher:
        axes.set_ylim(max(every.min(), best - reach) - 0.03 * reach, best + 0.06 * reach)
    else:
        axes.set_ylim(best - 0.06 * reach, min(every.max(), best + reach) + 0.03 * reach)
