"""The figures of a comparison: learning curves and paired differences, as small SVG."""

import io
import math
import re
import zlib
from collections.abc import Mapping
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.comparison.comparison import Comparison
from lab.comparison.outcomes import of_curves
from lab.comparison.reference_predictors import bits_per_loss
from lab.report.table import best_first, decimals, number
from lab.results.directions import Direction

# Hues that colour-blind readers can distinguish (Paul Tol, "Colour schemes", 2021, vibrant and muted), legible on
# white and on black. A gated unit has the hue of its gate's function and is dashed.
BLUE, ORANGE, TEAL, MAGENTA, CYAN, RED, PURPLE, OLIVE, GREY, ROSE = (
    "#0077BB", "#EE7733", "#009988", "#EE3377", "#33BBEE", "#CC3311", "#AA4499", "#999933", "#888888", "#CC6677",
)  # fmt: skip
HUES = {
    "gelu": BLUE, "geglu": BLUE, "gelu_tanh": CYAN, "gelu_quick": PURPLE,
    "relu": ORANGE, "reglu": ORANGE, "relu2": RED, "leaky_relu": ROSE, "prelu": OLIVE,
    "silu": TEAL, "swiglu": TEAL, "swish_beta": CYAN, "hard_swish": OLIVE,
    "sigmoid": MAGENTA, "glu": MAGENTA, "tanh": PURPLE, "identity": GREY, "bilinear": GREY,
    "elu": OLIVE, "selu": RED, "softplus": ROSE, "mish": PURPLE,
    "xielu": RED, "polyrelu": CYAN, "polynorm": ROSE,
    "abs": ORANGE, "maxtanh": ORANGE, "tanhshrink": ORANGE, "seagull": ORANGE,
    "tanhexp": TEAL, "lisht": TEAL, "elish": TEAL, "elish_gpt_neo": TEAL,
    "snake": BLUE, "cosid": BLUE, "minsin": BLUE, "triangle_relax": BLUE, "square_relax": CYAN,
    "bipolar_sigmoid": MAGENTA, "maxsig": MAGENTA, "softmax": MAGENTA, "softsign": PURPLE,
    "log_softmax": GREY, "spike": GREY, "spike2": GREY, "roottanh": RED, "softplusmone": ROSE,
    "golu": CYAN, "gelu_sine": CYAN, "gelu_monotone": PURPLE, "soi": GREY, "leaky_relu2": ROSE, "smooth_relu2": RED,
}  # fmt: skip
DASHES = (
    "solid", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)),
    (0, (10, 2.5)), (0, (5, 1.2, 1, 1.2, 1, 1.2)),
)  # fmt: skip
ON_ITS_OWN = (
    "<style>svg{color-scheme:light dark;color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#d1d7e0}}</style>"
)
INK = "#010203"  # replaced by the page's text colour, so one figure works on light and dark pages
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # keep text as text: half the bytes, searchable and copyable
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
} | dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color"], INK)


def colour(name: str) -> str:
    """The colour of an activation, the same in every figure; for user-defined ones it is derived from the name."""
    if name in HUES:
        return HUES[name]
    if name.endswith("_glu"):
        return colour(name.removesuffix("_glu"))
    hues = list(dict.fromkeys(HUES.values()))
    return hues[zlib.crc32(name.encode()) % len(hues)]


def is_gated(name: str) -> bool:
    """Whether an activation is a gated linear unit, by its name."""
    return name.endswith("glu") or name == "bilinear"


def curves(
    rows: pd.DataFrame,
    metric: str = "loss",
    split: str = "validation",
    levels: Mapping[str, float] | None = None,
    direction: Direction | None = "min",
) -> Figure:
    """Learning curves, one line per activation: the mean over its seeds.

    Left: the whole training, with the training split dotted. Right: the last third, scaled to show the final order,
    with a band from the lowest seed to the highest. If bits per byte were recorded, the right axis shows them. A run
    that diverges leaves the mean at that step; a cross marks its last value. `levels` are values by name, drawn as
    horizontal lines where the curves come near them. `rows` belong to one setting of every axis but the activation.
    `direction` is that of the metric.
    """
    rows = of_curves(rows)
    measured = _before_divergence(rows)
    measured = measured[measured["metric"] == metric]
    evaluated = measured[measured["split"] == split]
    nats = unit(rows, metric)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.8), layout="constrained")
        whole, end = figure.subplots(1, 2)
        for name, style in line_styles(_ranked_names(evaluated, direction)).items():
            one = measured[measured["activation"] == name]
            if split != "train":
                _draw(
                    whole, one[one["split"] == "train"], color=style["color"], linestyle=":", linewidth=0.8, alpha=0.7
                )
            _draw(whole, one[one["split"] == split], **style)
            _draw(end, one[one["split"] == split], **style, label=name)
            _band(end, one[one["split"] == split], style["color"])
            _cross_last_values(whole, rows, one[one["split"] == split], style["color"])
        _zoom(end, evaluated)
        whole.set(xlabel="step", ylabel=f"{split} {metric}" + (nats and f" ({nats})"), title="whole training")
        end.set(xlabel="step", title="the last third")
        _bits_axis(end, rows, metric, split)
        for axes in (whole, end):
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            _lines_across(axes, levels or {}, above=direction != "max")
        figure.legend(*end.get_legend_handles_labels(), loc="outside right center", handlelength=2.8)
    return figure


def differences(comparison: Comparison) -> Figure:
    """Paired differences to the baseline, best arm first: dots are seeds, the diamond their mean, the bar its interval.

    Pairs in which a run diverged have no dot.
    """
    side = {"max": " (right is better)", "min": " (left is better)", None: ""}[comparison.direction]
    arms = best_first(comparison)
    low, high = _limits(comparison)
    digits = decimals(comparison)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 0.9 + 0.42 * len(arms)), layout="constrained")
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1)
        for height, arm in enumerate(arms):
            style: dict[str, Any] = {"color": colour(arm.activation)}
            seeds = len(arm.differences)
            spread = height + np.linspace(-0.18, 0.18, seeds) if seeds > 1 else [height]
            axes.plot(arm.differences, spread, "o", markersize=4, alpha=0.55, markeredgewidth=0, **style)
            if math.isfinite(arm.low):
                axes.plot([arm.low, arm.high], [height, height], linewidth=2.2, solid_capstyle="butt", **style)
            axes.plot(arm.difference, height, "D", markersize=6, **style)
            diverged = f", {arm.n_diverged} of {arm.stability.n} diverged" if arm.n_diverged else ""
            words = f"{arm.verdict}  {number(arm.difference, digits, sign=True)}{diverged}"
            axes.annotate(words, (1.01, height), xycoords=("axes fraction", "data"), va="center")
        axes.set(xlim=(low, high), ylim=(len(arms) - 0.5, -0.5), yticks=range(len(arms)))
        axes.set_yticklabels([arm.label for arm in arms])
        axes.set_xlabel(f"difference in {comparison.split} {comparison.metric} to {comparison.baseline}{side}")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.spines[["left", "right"]].set_visible(False)
        return figure


def svg(figure: Figure, title: str) -> str:
    """The figure as an <svg> element to embed in a page; deterministic.

    `title` is read aloud by screen readers. Text and axes take the colour and the fonts of the page.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(["Date", "Creator", "Format", "Type"])
    with mpl.rc_context(STYLE | {"svg.hashsalt": title}):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # a second layout would shift everything by thousandths of a point
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue().decode()
    text = text[text.index("<svg") :].replace(INK.lower(), "currentColor")
    used = set(re.findall(r"#([\w-]+)", text))
    text = re.sub(r'="[^"]*"', _shortened, text)
    text = re.sub(r' id="([\w-]+)"', lambda match: match[0] if match[1] in used else "", text)
    name = escape(title)
    return text.replace("<svg", f'<svg role="img" aria-label="{name}"', 1).replace(">", f"><title>{name}</title>", 1)


def standalone(element: str) -> str:
    """An <svg> element as a separate file, with text colours for light and for dark pages."""
    return element.replace(">", f">{ON_ITS_OWN}", 1)


def unit(rows: pd.DataFrame, metric: str) -> str:
    """Nats for the loss of a language model, recognized by its bits per byte; otherwise empty."""
    return "nats" if metric == "loss" and (rows["metric"] == "bits_per_byte").any() else ""


def _shortened(attribute: re.Match) -> str:
    """Round coordinates to a hundredth of a point, less than a pixel, and drop needless space: half the bytes."""
    return re.sub(r"(\.\d\d)\d+", r"\1", attribute[0]).replace(" \nL ", "L")


def _before_divergence(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each run before it diverged."""
    run = ["activation", "seed"]
    since = rows[rows["metric"] == "diverged"].groupby(run)["step"].min().rename("since")
    rows = rows.join(since, on=run)
    return rows[np.isfinite(rows["value"]) & ~(rows["step"] >= rows["since"])]


def _ranked_names(evaluated: pd.DataFrame, direction: Direction | None) -> list[str]:
    """Activations by their mean at the last step they reached, best first: the order of the legend."""
    last = evaluated[evaluated["step"] == evaluated.groupby("activation")["step"].transform("max")]
    means = last.groupby("activation")["value"].mean()
    return list(means.sort_values(ascending=direction != "max").index)


def line_styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Colour and dashes for each name; of two with one colour, the later gets different dashes."""
    styles: dict[str, dict[str, Any]] = {}
    for name in names:
        dashes = DASHES[1:] if is_gated(name) else DASHES
        taken = [style["linestyle"] for style in styles.values() if style["color"] == colour(name)]
        free = [dash for dash in dashes if dash not in taken]
        styles[name] = {"color": colour(name), "linestyle": (free or dashes)[0], "linewidth": 1.5}
    return styles


def _draw(axes: Axes, one: pd.DataFrame, **style: Any) -> None:
    mean = one.groupby("step")["value"].mean()
    axes.plot(mean.index, mean, **style)


def _band(axes: Axes, one: pd.DataFrame, color: str) -> None:
    seeds = one.groupby("step")["value"]
    axes.fill_between(seeds.min().index, seeds.min(), seeds.max(), color=color, alpha=0.1, linewidth=0)


def _cross_last_values(axes: Axes, rows: pd.DataFrame, one: pd.DataFrame, color: str) -> None:
    diverged = rows.loc[(rows["metric"] == "diverged"), ["activation", "seed"]].drop_duplicates()
    last = one.merge(diverged, on=["activation", "seed"]).sort_values("step").groupby("seed").last()
    axes.plot(last["step"], last["value"], "x", color=color, markersize=7, markeredgewidth=2, zorder=5)


def _zoom(axes: Axes, evaluated: pd.DataFrame) -> None:
    """Limit the axes to the last third of the steps and the range of the seeds there, if there are any."""
    end = evaluated["step"].max()
    if not end > 0:  # nothing is finite, or no run got past its first value
        return
    values = evaluated.loc[evaluated["step"] >= 2 / 3 * end, "value"]
    margin = 0.06 * np.ptp(values) or 1.0
    axes.set(xlim=(2 / 3 * end, end), ylim=(values.min() - margin, values.max() + margin))


def _bits_axis(axes: Axes, rows: pd.DataFrame, metric: str, split: str) -> None:
    """The same curves in bits per byte, a constant multiple of the loss."""
    factor: Any = bits_per_loss(rows, split)
    if metric == "loss" and np.isfinite(factor):
        right = axes.secondary_yaxis("right", functions=(lambda nats: nats * factor, lambda bits: bits / factor))
        right.set_ylabel("bits per byte")


def _lines_across(axes: Axes, levels: Mapping[str, float], above: bool) -> None:
    """A dashed line with its name for each level within the axes, whose limits are unchanged.

    Names are placed on the side of the line that the curves have left; those of neighbouring lines side by side.
    """
    low, high = axes.get_ylim()
    within = sorted((level, name) for name, level in levels.items() if low < level < high)
    style: dict[str, Any] = {"ha": "right", "va": "bottom" if above else "top", "fontsize": 7.5, "alpha": 0.8}
    for index, (level, name) in enumerate(within):
        axes.axhline(level, color=INK, linewidth=0.8, linestyle=(0, (6, 4)), alpha=0.45, zorder=1)
        axes.annotate(
            name.replace("_", " "),
            (0.99 - 0.2 * (index % 2), level),
            xytext=(0, 1.5 if above else -1.5),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            **style,
        )


def _limits(comparison: Comparison) -> tuple[float, float]:
    """The range of seeds and intervals, including zero."""
    ends = [
        0.0,
        *(end for arm in comparison.arms for end in (*arm.differences, arm.low, arm.high) if math.isfinite(end)),
    ]
    margin = 0.05 * np.ptp(ends) or 1.0
    return min(ends) - margin, max(ends) + margin
