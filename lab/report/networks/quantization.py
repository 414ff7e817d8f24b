"""What quantization costs trained networks, as tables, figures and verdicts."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.comparison.networks.quantization import FLOAT, OVER_TEXT, arms, recipes, sites
from lab.comparison.outcomes import plain
from lab.report.figures import BLUE, CYAN, GREY, INK, MAGENTA, ORANGE, PURPLE, RED, STYLE, TEAL
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section

HUES = (BLUE, ORANGE, TEAL, MAGENTA, CYAN, PURPLE, RED, GREY)
ORDER = ("attention_input", "attention_values", "feedforward_input", "feedforward_hidden")
NOWHERE = "none"
"""The label of a network that is quantized everywhere, among the sites kept in float."""


def sections(rows: pd.DataFrame, inputs: pd.DataFrame, margin: float) -> dict[str, Section]:
    """What each recipe costs, what keeping a site in float saves, and what the layers read.

    `rows` and `inputs` are those of `lab.runner.networks.quantization.Quantization`, with columns for the fields of the
    arm.
    """
    of_recipes, of_sites = recipes(rows, margin), sites(rows, margin)
    quantized = rows["recipe"].ne(FLOAT).any()
    text = ("There is one network: intervals are over documents of the text and say nothing of other seeds",)
    return {
        "recipes": Section(
            "Loss by recipe",
            of_recipes_drawn(rows, of_recipes, margin) if quantized else None,
            of_recipes,
            notes=(
                "Fake quantization in float32: weights and inputs have the values of the short format, and sums are "
                "exact to float32. Embeddings, the output layer, norms and the products of attention stay in float",
                "difference: to the same network in float on the same text, in nats per token, paired by seed, with "
                "its 95 % interval from low to high; verdicts are corrected for all arms and recipes of the table, and "
                f"equivalent means within {margin:g} nats",
                *(text if (rows["over"] == OVER_TEXT).any() else ()),
            ),
            verdicts=tuple(verdict(row, arms(rows)) for row in of_recipes.to_dict("records") if row["recipe"] != FLOAT),
        ),
        "sites": Section(
            "Loss with one site kept in float",
            of_sites_drawn(rows) if quantized else None,
            of_sites,
            notes=(
                "remaining: the difference to the network in float if the layers that read this site are not "
                "quantized; difference: to the network that is quantized everywhere; better: keeping the site helps",
                "residual: attention_input and feedforward_input together, all layers that read the residual stream; "
                "feedforward_hidden: the input of the down projection",
            ),
        ),
        "inputs": Section(
            "What the quantized layers read",
            table=of_inputs(inputs),
            notes=(
                "In float, on training text, means over networks: kurtosis (3 for a normal distribution), and the "
                "largest absolute value over the median one",
            ),
        ),
    }


def of_inputs(inputs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm, site and layer: the means over networks of kurtosis and max_over_median."""
    by = [name for name in inputs.columns if name not in ("seed", "kurtosis", "max_over_median")]
    table = inputs.groupby(by, sort=False, dropna=False)[["kurtosis", "max_over_median"]].mean().reset_index()
    return table.sort_values("site", key=lambda names: names.map(ORDER.index), kind="stable", ignore_index=True)


def verdict(row: Any, fields: list[str]) -> Verdict:
    """What a recipe does to an arm."""
    arm = ", ".join(str(plain(row[name])) for name in fields)
    claim = f"{arm}: {row['recipe']}" if arm else row["recipe"]
    if row["n"] < 2:
        return Verdict(claim, "no verdict", f"{row['difference']:+.2g} nats, n = {row['n']}")
    over = "documents of text, one network" if row["over"] == OVER_TEXT else "seeds"
    between = f"95 % interval {row['low']:+.2g} to {row['high']:+.2g}, n = {row['n']} {over}"
    return Verdict(claim, row["verdict"], f"{row['difference']:+.2g} nats ({between})")


def of_recipes_drawn(rows: pd.DataFrame, table: pd.DataFrame, margin: float) -> Figure:
    """Differences to the network in float by recipe: dots are seeds (or documents), diamonds means, bars intervals.

    The axis is linear within the margin, which is shaded, and logarithmic beyond.
    """
    tested, labels = table[table["recipe"] != FLOAT], _labels(table, arms(rows))
    names = list(dict.fromkeys(tested["recipe"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 1.0 + (0.25 + 0.1 * len(labels)) * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(-margin, margin, color=GREY, alpha=0.15, linewidth=0)
        axes.axvline(0, color=INK, linewidth=1)
        for label, hue, shift in _styles(labels):
            for height, recipe in enumerate(names):
                one = tested[(tested["recipe"] == recipe) & (labels_of(tested, arms(rows)) == label)]
                dots = rows[(rows["recipe"] == recipe) & (rows["kept"] == "") & (labels_of(rows, arms(rows)) == label)]
                for row in one.to_dict("records"):
                    _interval(axes, row, dots["difference"], height + shift, hue, label if not height else None)
        axes.set_xscale("symlog", linthresh=margin, linscale=1.0)
        axes.set(yticks=range(len(names)), yticklabels=names, xlabel="difference in loss to float (nats)")
        axes.invert_yaxis()
        if len(labels) > 1:
            figure.legend(loc="outside right center")
    return figure


def _interval(axes: Any, row: Any, dots: pd.Series, height: float, hue: str, label: str | None) -> None:
    axes.plot(dots, np.full(len(dots), height), "o", markersize=3, alpha=0.4, markeredgewidth=0, color=hue)
    if np.isfinite([row["low"], row["high"]]).all():
        axes.plot([row["low"], row["high"]], [height] * 2, linewidth=2.2, solid_capstyle="butt", color=hue)
    axes.plot(row["difference"], height, "D", markersize=5, color=hue, label=label)


def of_sites_drawn(rows: pd.DataFrame) -> Figure:
    """The difference that remains if a site is kept in float, a panel per recipe: means over seeds or documents."""
    quantized = rows[rows["recipe"] != FLOAT]
    names, kept = list(dict.fromkeys(quantized["recipe"])), list(dict.fromkeys(quantized["kept"]))
    labels = _labels(rows, arms(rows))
    columns = min(4, len(names))
    lines = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.6 + 2.0 * lines), layout="constrained")
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for axes, recipe in zip(grid.flat, names, strict=False):
            axes.axvline(0, color=INK, linewidth=1)
            for label, hue, shift in _styles(labels):
                one = quantized[(quantized["recipe"] == recipe) & (labels_of(quantized, arms(rows)) == label)]
                means = one.groupby("kept", sort=False)["difference"].mean().reindex(kept)
                heights = np.arange(len(kept)) + shift
                axes.plot(means, heights, "D", markersize=4, color=hue, label=label)
            axes.set(title=recipe, yticks=range(len(kept)), yticklabels=[site or NOWHERE for site in kept])
            axes.locator_params(axis="x", nbins=3)
            axes.ticklabel_format(axis="x", style="sci", scilimits=(-2, 2))
        for axes in grid.flat[len(names) :]:
            axes.set_axis_off()
        grid[0][0].invert_yaxis()
        figure.supxlabel("difference in loss to float (nats), by the site that is kept in float", fontsize=9)
        if len(labels) > 1:
            figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(labels))
    return figure


def labels_of(rows: pd.DataFrame, fields: list[str]) -> pd.Series:
    """The arm of each row in words."""
    words = [" ".join(str(plain(row[name])) for name in fields) for row in rows.to_dict("records")]
    return pd.Series(words, rows.index, dtype=object)


def _labels(rows: pd.DataFrame, fields: list[str]) -> list[str]:
    return list(dict.fromkeys(labels_of(rows, fields)))


def _styles(labels: list[str]) -> list[tuple[str, str, float]]:
    """Each arm with its colour and its place within a row of the figure."""
    shifts = np.linspace(-0.3, 0.3, len(labels)) if len(labels) > 1 else [0.0]
    return [(label, HUES[index % len(HUES)], float(shifts[index])) for index, label in enumerate(labels)]
