"""The effect of changing the norm, the activation or both on trained networks: separately, jointly, and per layer."""

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.report.figures import DASHES, STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.statistics.paired import paired_t

WHOLE = ("kl", "loss", "loss_difference", "agreement")
SITES = {"hidden": "hidden values", "output": "feed-forward output", "residual": "residual stream"}
INTERACTION = "interaction"
HUES = {"norm": "#0072b2", "activation": "#d55e00", "both": "#009e73", INTERACTION: "#888888"}


def line_style(change: str) -> dict[str, Any]:
    """The colour of a change, dashed if centring is folded; for "gelu -> relu" the colour of relu, dashed as gelu
    is."""
    before, _, after = change.partition(" -> ")
    if after:
        return {"color": colour(after), "linestyle": DASHES[zlib.crc32(before.encode()) % len(DASHES)]}
    first, _, folded = change.partition(", ")
    return {"color": HUES[first], "linestyle": (0, (4, 1.6)) if folded else "solid"}


def attributed(rows: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """One row per change: n networks, KL, the loss with this change, its difference to the unchanged loss with a t
    interval over the networks, top-1 agreement.

    `rows` have `seed`, `change`, `measure` and `value`, as returned by `lab.surgery.attribution.attribution` for every
    network. The interaction is the joint effect minus the sum of the separate effects, per network: 0 if they add up.
    It has no loss and no agreement.
    """
    table = []
    for change, values in _by_change(rows):
        t = paired_t(values["loss_difference"].to_numpy(), level)
        spread = {"low": float(t.low), "high": float(t.high)} if len(values) > 1 else {"low": np.nan, "high": np.nan}
        means = values.mean()
        nats = {name: means[name] for name in ("kl", "loss", "loss_difference")}
        table.append({"change": change, "n": len(values), **nats, **spread, "agreement": means["agreement"]})
    return pd.DataFrame(table)


def _by_change(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Every change with the values of its networks, one column per measure of `WHOLE`; the interaction last."""
    whole = rows[rows["measure"].isin(WHOLE)]
    table = whole.pivot_table(index="seed", columns=["change", "measure"], values="value", dropna=False)
    changes = list(dict.fromkeys(rows["change"]))
    yield from ((change, table[change]) for change in changes)
    if {"norm", "activation", "both"} <= set(changes):
        beyond = table["both"] - table["norm"] - table["activation"]
        yield INTERACTION, beyond.assign(loss=np.nan, agreement=np.nan)


def verdicts(rows: pd.DataFrame) -> list[Verdict]:
    """For every change, whether it moves the loss, and whether the two changes add up."""
    return [_verdict(row) for row in attributed(rows).to_dict(orient="records")]


def _verdict(row: Mapping[Any, Any]) -> Verdict:
    claim, apart = f"{row['change']}: moves the loss", "yes"
    if row["change"] == INTERACTION:
        claim, apart = "the two changes add up", "no"
    if not np.isfinite(row["loss_difference"]):
        return Verdict(claim, "no verdict", "a loss is not finite")  # of the network, unchanged or changed
    if row["n"] < 2:
        return Verdict(claim, "no verdict", f"{row['loss_difference']:+.3g} nats, KL {row['kl']:.3g}, one network")
    resolved = row["low"] > 0 or row["high"] < 0
    reason = (
        f"{row['loss_difference']:+.3g} nats (95 % interval {row['low']:+.3g} to {row['high']:+.3g}, n = {row['n']})"
    )
    beside = "" if row["change"] == INTERACTION else f", KL {row['kl']:.3g}, agreement {row['agreement']:.4f}"
    return Verdict(claim, apart if resolved else "inconclusive", reason + beside)


def by_layer(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per change and layer: relative error and cosine of every site, averaged over networks; no rows for a
    model without recorded layers."""
    if "layer" not in rows:
        return pd.DataFrame()
    inside = rows[rows["layer"].notna()].astype({"layer": int})
    table = inside.pivot_table(
        index=["change", "stack", "layer"], columns="measure", values="value", sort=False, dropna=False, observed=True
    )
    names = [f"{site}_{measure}" for site in SITES for measure in ("error", "cosine")]
    return table.dropna(how="all")[names].reset_index().rename_axis(columns=None)


def drawn(rows: pd.DataFrame) -> Figure:
    """Relative error of every site by layer, one line per change; bands are the range over the networks."""
    inside = rows[rows["layer"].notna()].astype({"layer": int})
    stacks = list(dict.fromkeys(inside["stack"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.7 * len(stacks)), layout="constrained")
        grid = figure.subplots(len(stacks), len(SITES), squeeze=False, sharey="row")
        for line, stack in zip(grid, stacks, strict=True):
            for axes, (site, title) in zip(line, SITES.items(), strict=True):
                chosen = inside[(inside["stack"] == stack) & (inside["measure"] == f"{site}_error")]
                for change in dict.fromkeys(chosen["change"]):
                    _draw_change(axes, chosen[chosen["change"] == change], str(change))
                last = chosen["layer"].max()
                axes.set(xlabel=f"{stack} layer", title=title, xlim=(-0.5, last + 0.5))
                axes.xaxis.set_major_locator(MaxNLocator(nbins=min(last + 1, 8), integer=True))
            line[0].set_ylabel("relative error")
        figure.legend(*grid[0][1].get_legend_handles_labels(), loc="outside right center")
    return figure


def _draw_change(axes: Any, one: pd.DataFrame, change: str) -> None:
    table = one.pivot_table(index="layer", columns="seed", values="value", dropna=False)
    if table.isna().all(axis=None):
        return  # widths differ: nothing to compare
    style = line_style(change)
    axes.plot(table.index, table.mean(axis=1), marker="o", markersize=3, label=change, **style)
    axes.fill_between(table.index, table.min(axis=1), table.max(axis=1), alpha=0.15, color=style["color"])


def sections(rows: pd.DataFrame, title: str = "Effect of each change") -> dict[str, Section]:
    """The changes separately, and by layer."""
    table = attributed(rows)
    adds_up = ("interaction: the joint effect minus the sum of the separate effects; 0 if the changes add up",)
    without_mean = ("with folded centring the residual stream has no mean, which the norms after it ignore",)
    found = {
        "attribution": Section(
            title,
            table=table,
            notes=(
                "without training, in nats: kl, the loss with each change, and its difference to the unchanged loss, "
                "with the 95 % t interval over the networks from low to high; agreement: the fraction of positions "
                "with the same most likely token or class",
                *(adds_up if INTERACTION in table["change"].to_numpy() else ()),
            ),
            verdicts=tuple(verdicts(rows)),
        ),
    }
    if "layer" in rows:
        found["layers"] = Section(
            f"{title}, layer by layer",
            drawn(rows),
            by_layer(rows),
            notes=(
                "relative error ||changed - original|| / ||original|| and cosine: means over positions and networks; "
                "bands are the range over the networks; hidden values of different widths cannot be compared",
                *(without_mean if any("folded" in change for change in table["change"]) else ()),
            ),
        )
    return found
