"""The choice of an arm, as a table, a figure and a recommendation."""

import itertools
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison.networks.selection import Selection
from lab.report.figures import GREY, STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section

AGAINST = {
    "latency_ms": "forward pass of one example (ms)",
    "int8_loss": "loss added by quantization (nats)",
    "memory_mb": "memory of the forward pass (MB)",
}
HIDDEN = ("activation", "latency_batch_ms", "gradient_ms", "pareto", "meets_probability", "stable_rate_at_least")


def sections(
    found: Selection, table: pd.DataFrame, seeds: int, recipe: str, batch: int, cautions: Sequence[str]
) -> dict[str, Section]:
    """The recommendation with all measures; `table` may have more columns than that of `found`."""
    verdicts = (
        Verdict("recommendation", "none" if found.chosen is None else found.chosen, found.sentence),
        *(Verdict("reason for doubt", "", caution) for caution in cautions),
    )
    notes = (
        f"loss: mean over {seeds} seeds with its interval, at the rates that each arm was trained with; int8_loss: "
        f"what {recipe} adds to the loss on the test text; latency: a forward pass of one example, or of {batch}; "
        "gradient: forward and backward; memory: arguments, outputs and temporary arrays of the batch's forward pass",
        "stable_rate: the largest learning rate tried at which every run trained; stable_rate_at_least: no larger one "
        "was tried, so that it is a lower bound",
        f"pareto_probability: the share of bootstrap draws in which no other arm is at least as good by "
        f"{', '.join(found.objectives)} and better by one; pareto: so by the means",
        "times are medians over rounds on this machine, in which all arms were timed side by side",
    )
    short = [name for name in table if not str(name).endswith(("_low", "_high")) and name not in HIDDEN]
    return {
        "choice": Section("Arms", drawn(found), table[short], notes, verdicts),
        "measures": Section("All measures, with intervals", table=table),
    }


def drawn(found: Selection) -> Figure:
    """Loss against every other cost, arms with their intervals; filled if they meet the limits, the fainter the less
    probably on the Pareto front."""
    shown = [name for name in AGAINST if name in found.table]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        grid = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
        for axes, name in zip(grid, shown, strict=True):
            for row, style in zip(found.table.to_dict("records"), _styles(found), strict=True):
                _point(axes, row, name, style)
            if name in found.limits:
                axes.axvline(found.limits[name], color=GREY, linewidth=1, linestyle=(0, (6, 4)))
            axes.set_xlabel(AGAINST[name])
        grid[0].set_ylabel("loss")
        figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def _styles(found: Selection) -> list[Any]:
    """Colour by activation, marker by everything else that tells the arms apart."""
    rows = found.table.to_dict("records")
    names = list(found.table.columns)[1 : list(found.table.columns).index("loss")]
    others = [tuple(str(row[name]) for name in names if name != "activation") for row in rows]
    marks = dict(zip(dict.fromkeys(others), itertools.cycle("osD^vP*X"), strict=False))
    return [
        {
            "color": colour(row["activation"]),
            "marker": marks[other],
            "alpha": 0.3 + 0.7 * row["pareto_probability"],
            "markerfacecolor": colour(row["activation"]) if row["meets"] == "yes" else "none",
        }
        for row, other in zip(rows, others, strict=True)
    ]


def _point(axes: Axes, row: dict[Any, Any], name: str, style: Any) -> None:
    bar: Any = {"color": style["color"], "alpha": style["alpha"], "linewidth": 1.5}
    axes.plot([row[name]] * 2, [row["loss_low"], row["loss_high"]], **bar)
    if f"{name}_low" in row:
        axes.plot([row[f"{name}_low"], row[f"{name}_high"]], [row["loss"]] * 2, **bar)
    axes.plot(row[name], row["loss"], markersize=6, linestyle="none", label=row["arm"], **style)
