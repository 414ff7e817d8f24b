"""How gradients pass through the layers of networks, as tables, figures and verdicts."""

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.report.figures import BLUE, GREY, INK, ORANGE, PURPLE, STYLE, TEAL, colour
from lab.report.studies.reproduction import Verdict
from lab.results.results import Results
from lab.statistics.curves.depth_laws import SHAPES, fit
from lab.statistics.paired import paired_t

LEVEL, MARGIN = 0.95, 0.03
"""Level of the intervals; relative difference from the closed form that does not matter."""
ARMS = {"pre": BLUE, "post": ORANGE, "none": GREY, "dyt": TEAL, "derf": PURPLE}
"""Name -> colour: where a LayerNorm is placed, or what replaces it."""
PREDICTED = {"pre": "power", "dyt": "stretched", "derf": "stretched"}
WORDS = {"power": "a power law", "stretched": "exp(sqrt(l / lambda))"}
STATES = ("init", "trained")
TOP = 1e4
"""Of the axes of J with a residual."""
NORMAL_BELOW = 3.17e-5
"""P(z < -4) of a standard normal distribution."""


def with_arm(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with arm (a key of `ARMS`) and residual (yes, no) as columns."""
    arm = rows["placement"] if "placement" in rows else rows["norm"]
    return rows.assign(arm=arm, residual=np.where(rows["residual"] == "none", "no", "yes"))


def agreement(table: pd.DataFrame) -> Verdict:
    """Whether all measured gains are those of the closed form: "no" if an interval excludes it, "yes" if all intervals
    also lie within the margin."""
    apart = (table["measured"] / table["expected"] - 1).abs()
    outside = (table["low"] > table["expected"]) | (table["high"] < table["expected"])
    far = np.maximum((table["high"] / table["expected"] - 1).abs(), (table["low"] / table["expected"] - 1).abs())
    outcome = "no" if outside.any() else "yes" if (far < MARGIN).all() else "inconclusive"
    row = table.iloc[int(apart.argmax())]
    reason = (
        f"the largest of {len(table)} differences is {row['activation']}'s, {row['measured']:.3f} "
        f"({row['low']:.3f} to {row['high']:.3f}, n = {row['n']}) against {row['expected']:.3f}; {int(outside.sum())} "
        f"simultaneous intervals exclude the closed form, {int((far < MARGIN).sum())} lie within {MARGIN:.0%} of it"
    )
    return Verdict("At initialization the gain per layer is E f'(z)^2 / E f(z)^2", outcome, reason)


def deepest(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the deepest networks."""
    return rows[rows["n_layers"] == rows["n_layers"].max()]


def fits(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per residual, arm and state of the deepest networks: the fits of their Jacobians, over the seeds in which
    these are finite and positive."""
    found = []
    for (residual, arm, state), group in deepest(rows).groupby(["residual", "arm", "state"], sort=False):
        seeds = [_fitted(one) for _, one in group.groupby("seed") if _usable(one)]
        about = {"residual": residual, "arm": arm, "state": state, "n": len(seeds)}
        if len(seeds) < 2:
            found.append(about)
            continue
        table = pd.DataFrame(seeds)
        t = paired_t(np.log10((table["power"] / table["stretched"]).to_numpy()), LEVEL)
        r2 = {f"r2_{shape}": float((1 - table[shape] / table["total"]).mean()) for shape in SHAPES}
        parts = {"ratio": float(t.mean), "low": float(t.low), "high": float(t.high)}
        means = {name: float(table[name].mean()) for name in ("exponent", "lambda")}
        found.append({**about, **parts, **r2, **means})
    order = list(ARMS)
    return pd.DataFrame(found).sort_values(
        ["state", "residual", "arm"], key=lambda c: c.map(order.index) if c.name == "arm" else c, ignore_index=True
    )


def _usable(one: pd.DataFrame) -> bool:
    values = one["jacobian"].to_numpy()
    return bool(np.isfinite(values).all() and (values > 0).all())


def _inner(one: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Layers 1 to L - 1 of one network, and the logarithms of their Jacobians."""
    inner = one[(one["layer"] > 0) & (one["layer"] < one["n_layers"])].sort_values("layer")
    return inner["layer"].to_numpy(float), np.log(inner["jacobian"].to_numpy())


def _fitted(one: pd.DataFrame) -> dict[str, float]:
    layers, logs = _inner(one)
    whole = {shape: fit(layers, logs, shape) for shape in SHAPES}
    residuals = {shape: max(left, 1e-12) for shape, (_, left) in whole.items()}
    total = max(float(np.square(logs - logs.mean()).sum()), 1e-12)
    return {**residuals, "total": total, "exponent": whole["power"][0][1], "lambda": whole["stretched"][0][1] ** -2}


def shapes(table: pd.DataFrame) -> list[Verdict]:
    """Whether the predicted shape fits better than the other one, with a residual, in either state."""
    found = []
    for state in STATES:
        for arm, shape in PREDICTED.items():
            row = table[(table["residual"] == "yes") & (table["arm"] == arm) & (table["state"] == state)].iloc[0]
            claim = f"{arm}, {state}: {WORDS[shape]} fits the partial Jacobians better"
            if row["n"] < 2:
                found.append(Verdict(claim, "no verdict", f"{row['n']} seeds have finite Jacobians"))
                continue
            sign = 1 if shape == "power" else -1
            low, high = sorted((sign * row["low"], sign * row["high"]))
            outcome = "yes" if high < 0 else "no" if low > 0 else "inconclusive"
            reason = (
                f"log10 of the ratio of residuals, power law to stretched exponential, {row['ratio']:+.2f} "
                f"({row['low']:+.2f} to {row['high']:+.2f}, n = {row['n']}); R2 {row['r2_power']:.3f} and "
                f"{row['r2_stretched']:.3f}, of an exponential {row['r2_exponential']:.3f}"
            )
            found.append(Verdict(claim, outcome, reason))
    return found


def reached(rows: pd.DataFrame, results: Mapping[str, Results]) -> pd.DataFrame:
    """One row per residual, arm and depth: J of the whole network before and after training, and the final loss."""
    whole = rows[rows["layer"] == 0].assign(log=lambda part: np.log(part["jacobian"]))
    keys = ["residual", "arm", "n_layers"]
    across = whole.pivot_table("log", keys, "state", sort=False).apply(np.exp).add_prefix("across_")
    curves = [one.rows for name, one in results.items() if name != "negative_inputs"]
    ends = pd.concat([_final(one) for one in curves])
    return across.join(ends.groupby(keys)["value"].mean().rename("loss")).reset_index()


def _final(rows: pd.DataFrame) -> pd.DataFrame:
    ends = rows[(rows["split"] == "validation") & (rows["metric"] == "loss") & (rows["step"] == rows["step"].max())]
    return with_arm(ends)


def negative_table(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per activation and state: std, share_below, arriving, lost, low, high, largest, n."""
    found = []
    for (name, state), group in rows.groupby(["activation", "state"], sort=False):
        by_seed = group.groupby("seed")[["std", "share_below", "arriving", "lost"]].mean()
        means = {column: float(by_seed[column].mean()) for column in ("std", "share_below", "arriving", "lost")}
        t = paired_t(by_seed["lost"].to_numpy(), LEVEL)
        interval = {"low": float(t.low), "high": float(t.high), "largest": float(group["lost"].max())}
        found.append({"activation": name, "state": state, **means, **interval, "n": len(by_seed)})
    return pd.DataFrame(found)


def losses(table: pd.DataFrame) -> list[Verdict]:
    """Of GELU, trained: whether very negative inputs are as rare as normal ones, and whether they lose under 1 %."""
    row = table[(table["activation"] == "gelu") & (table["state"] == "trained")].iloc[0]
    rare = row["share_below"] <= NORMAL_BELOW
    return [
        Verdict(
            "gelu, trained: pre-activations below -4 are no more frequent than in a standard normal distribution",
            "yes" if rare else "no",
            f"{row['share_below']:.2g} of them, against {NORMAL_BELOW:.2g}; their standard deviation is "
            f"{row['std']:.2f} (means over layers, n = {row['n']})",
        ),
        Verdict(
            "gelu, trained: less than 1 % of the squared gradient is lost below -4",
            "yes" if row["high"] < 0.01 else "no" if row["low"] > 0.01 else "inconclusive",
            f"{row['lost']:.2g} ({row['low']:.2g} to {row['high']:.2g}, n = {row['n']}), at most {row['largest']:.2g} "
            f"in a layer",
        ),
    ]


def closed_figure(table: pd.DataFrame) -> Figure:
    """Measured gains, with intervals, relative to the closed form at the measured width."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 0.26 * len(table)), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(table.to_dict("records")):
            low, middle, high = (row[name] / row["expected"] for name in ("low", "measured", "high"))
            axes.plot([low, high], [place, place], color=colour(row["activation"]), linewidth=2)
            axes.plot(middle, place, "o", color=colour(row["activation"]), markersize=4)
        wide = table["chi"] / table["expected"]
        axes.plot(wide, range(len(table)), "|", color=INK, markersize=13, label="closed form of infinite width")
        axes.axvline(1, color=INK, linewidth=0.8)
        labels = [f"{name} {value:.3f}" for name, value in zip(table["activation"], table["expected"], strict=True)]
        axes.set_yticks(range(len(table)), labels)
        axes.set(xlabel="measured gain / closed form of this width, which is beside the name")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper right")
    return figure


def jacobian_figure(rows: pd.DataFrame) -> Figure:
    """J by layer: with and without a residual, before and after training."""
    deep = deepest(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 6.0), layout="constrained")
        panels = figure.subplots(2, 2, sharex=True)
        for line, residual in zip(panels, ("yes", "no"), strict=True):
            for axes, state in zip(line, STATES, strict=True):
                part = deep[(deep["residual"] == residual) & (deep["state"] == state)]
                for arm, one in part.groupby("arm", sort=False):
                    _curve(axes, one, str(arm))
                words = "with" if residual == "yes" else "without"
                axes.set(title=f"{words} a residual, {state}", yscale="log")
                if residual == "yes":
                    axes.set_ylim(top=TOP)
        for axes in panels[1]:
            axes.set_xlabel("layer l")
        for axes in panels[:, 0]:
            axes.set_ylabel("$J^{L,l}$")
        panels[0, 0].legend()
    return figure


def _curve(axes: Any, one: pd.DataFrame, arm: str) -> None:
    wide = one.pivot_table("jacobian", "layer", "seed")
    wide = wide.where(wide > 0)
    axes.fill_between(wide.index, wide.min(axis=1), wide.max(axis=1), color=ARMS[arm], alpha=0.2, linewidth=0)
    axes.plot(wide.index, np.exp(np.log(wide).mean(axis=1)), color=ARMS[arm], label=arm)


def fit_figure(rows: pd.DataFrame) -> Figure:
    """J of the arms with a prediction, with a residual, over log l: a power law is a line; both fits beside it."""
    deep = deepest(rows)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.6), layout="constrained")
        panels = figure.subplots(2, len(PREDICTED), sharex=True, squeeze=False)
        for line, state in zip(panels, STATES, strict=True):
            for axes, arm in zip(line, PREDICTED, strict=True):
                one = deep[(deep["residual"] == "yes") & (deep["state"] == state) & (deep["arm"] == arm)]
                mean = one.groupby(["n_layers", "layer"])["jacobian"].agg(lambda values: np.exp(np.log(values).mean()))
                layers, logs = _inner(mean.reset_index())
                axes.plot(layers, np.exp(logs), "o", color=ARMS[arm], markersize=3, label=f"{arm}, {state}")
                for shape, dashes in (("power", "solid"), ("stretched", "dashed")):
                    (start, slope), _ = fit(layers, logs, shape)
                    line_of = np.exp(start + slope * SHAPES[shape](layers))
                    axes.plot(layers, line_of, color=INK, linestyle=dashes, linewidth=0.9, label=WORDS[shape])
                axes.set(xscale="log", yscale="log")
                axes.legend(fontsize=7)
        for axes in panels[1]:
            axes.set_xlabel("layer l")
        for axes in panels[:, 0]:
            axes.set_ylabel("$J^{L,l}$")
    return figure


def negative_figure(rows: pd.DataFrame) -> Figure:
    """Shares below -4, and shares of the gradient lost, of every layer and seed, before and after training."""
    names = list(dict.fromkeys(rows["activation"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.0, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, sharex=True)
        for axes, column in ((left, "share_below"), (right, "lost")):
            for state, marker, shift in (("init", "o", -0.15), ("trained", "^", 0.15)):
                part = rows[rows["state"] == state]
                places = [names.index(name) + shift for name in part["activation"]]
                colours = [colour(name) for name in part["activation"]]
                axes.scatter(places, part[column], c=colours, marker=marker, s=18, alpha=0.7, label=state)
            axes.set_yscale("symlog", linthresh=1e-6)
            axes.set_xticks(range(len(names)), names)
        left.axhline(NORMAL_BELOW, color=INK, linewidth=0.8, linestyle="dotted")
        left.set(title="share of pre-activations below -4")
        right.set(title="share of the squared gradient lost there")
        figure.legend(*left.get_legend_handles_labels(), loc="outside right upper")
    return figure
