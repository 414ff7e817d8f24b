"""What telemetry shows before a run spikes or diverges: growth, and how well each quantity warns."""

from collections.abc import Iterator
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison.networks.instability import CURVES, QUANTITIES, log_middle
from lab.report.figures import BLUE, CYAN, DASHES, GREY, MAGENTA, OLIVE, ORANGE, PURPLE, RED, STYLE, TEAL
from lab.report.networks.stable_rates import ARM, LEVEL, OPTIMIZERS
from lab.report.studies.reproduction import Verdict
from lab.statistics.auc import Pairs, above
from lab.statistics.paired import holm, paired_t

NEAR = 2.0
"""The largest factor between the rate of a run and the largest stable rate of its seed."""
LEADS = (8, 16, 32, 64)
"""Steps before the event."""
RATE = "learning_rate"
SHOWN = (*QUANTITIES, *CURVES)
COLOURS = dict(zip((*SHOWN, RATE), (BLUE, ORANGE, TEAL, MAGENTA, CYAN, RED, PURPLE, OLIVE, GREY), strict=True))
MIN_CASES = 5
"""Unstable runs below which nothing is said of a lead time."""
COLUMNS = [
    "setting",
    "quantity",
    "lead",
    "auc",
    "low",
    "high",
    "beyond",
    "beyond_low",
    "beyond_high",
    "p",
    "cases",
    "stable",
]


def near_limit(runs: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """The runs of `OPTIMIZERS` within a factor of `NEAR` from the limit of their seed, each once, with `group`, the
    number of their arm and seed, and `arm`."""
    limits = thresholds.assign(limit=log_middle(thresholds))[[*ARM, "seed", "limit"]]
    known = runs[runs["setting"].isin(list(OPTIMIZERS))].drop_duplicates([*ARM, "seed", RATE]).merge(limits)
    near = known[(np.log(known[RATE]) - known["limit"]).abs() <= np.log(NEAR) + 1e-9]
    arm, group = near.groupby(ARM).ngroup(), near.groupby([*ARM, "seed"]).ngroup()
    return near.assign(arm=arm, group=group).reset_index(drop=True)


def table(near: pd.DataFrame, looks: pd.DataFrame) -> pd.DataFrame:
    """One row per optimizer, quantity and lead: setting, quantity, lead, auc, low, high, beyond, beyond_low,
    beyond_high, p, cases, stable; a last quantity is the learning rate.

    `auc` is over all pairs of an unstable and a stable run of an arm, `beyond` over those of the same learning rate,
    runs of two seeds: what the quantity says beyond the rate, which itself has 0.5 there. `p`, that `beyond` is 0.5, is
    corrected by Holm's method over the quantities and leads of an optimizer. Cases are unstable runs in such pairs.
    """
    rows = []
    for setting, part in near.groupby("setting", sort=False):
        unstable, stable = part[part["event"] != ""], part[part["event"] == ""]
        if unstable.empty or stable.empty:
            continue
        pairs = Pairs(unstable["group"].to_numpy(), stable["group"].to_numpy())
        same = unstable["arm"].to_numpy()[:, None] == stable["arm"].to_numpy()[None, :]
        same_rate = stable[RATE].to_numpy()[None, :] == unstable[RATE].to_numpy()[:, None]
        for quantity in (*SHOWN, RATE):
            for lead in LEADS:
                ours, theirs = _values(unstable, stable, looks, quantity, lead)
                scores = np.where(same, above(ours[:, None], theirs), np.nan)
                beyond = np.where(same_rate, scores, np.nan)
                every, matched = (pairs.estimate(one, LEVEL) for one in (scores, beyond))
                rows.append(
                    {
                        **{"setting": setting, "quantity": quantity, "lead": lead, "auc": float(every.value)},
                        **{"low": float(every.low), "high": float(every.high), "beyond": float(matched.value)},
                        **{"beyond_low": float(matched.low), "beyond_high": float(matched.high)},
                        "p": np.nan if quantity == RATE else pairs.p_value(beyond),
                        **{"cases": int(np.isfinite(beyond).any(axis=1).sum()), "stable": len(stable)},
                    }
                )
    found = pd.DataFrame(rows, columns=COLUMNS)
    for _, part in found.groupby("setting"):
        found.loc[part.index, "p"] = holm(part["p"])
    return found


def _values(
    unstable: pd.DataFrame, stable: pd.DataFrame, looks: pd.DataFrame, quantity: str, lead: int
) -> tuple[Float[np.ndarray, " cases"], Float[np.ndarray, "cases controls"]]:
    """A quantity so many steps before the event of every unstable run, and of all stable runs at the same steps; nan
    where nobody looked. Of the learning rate, that of the run, if there was a look."""
    steps = unstable["step"].to_numpy() - lead
    seen = _courses(looks, quantity)
    ours = np.array([_at(seen, row, step) for row, step in zip(_keys(unstable), steps, strict=True)])
    theirs = np.array([[_at(seen, row, step) for row in _keys(stable)] for step in steps])
    return ours, theirs.reshape(len(ours), len(stable))


def _courses(looks: pd.DataFrame, quantity: str) -> dict[tuple, float]:
    """The value of a quantity by run and step."""
    values = looks[RATE] if quantity == RATE else looks[quantity]
    keys = zip(*(looks[name] for name in (*ARM, "seed", RATE, "step")), strict=True)
    return dict(zip(keys, values.astype(float), strict=True))


def _keys(runs: pd.DataFrame) -> list[tuple]:
    return list(runs[[*ARM, "seed", RATE]].itertuples(index=False, name=None))


def _at(seen: dict[tuple, float], run: tuple, step: float) -> float:
    return seen.get((*run, step), np.nan)


def _growths(near: pd.DataFrame, looks: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Setting, quantity and a table of unstable runs: group, and the logarithm of their growth between the longest lead
    and each one, `own_LEAD`, and that of the stable runs of their arm at the same steps, `stable_LEAD`."""
    for setting, part in near.groupby("setting", sort=False):
        unstable, stable = part[part["event"] != ""], part[part["event"] == ""]
        if unstable.empty or stable.empty:
            continue
        same = unstable["arm"].to_numpy()[:, None] == stable["arm"].to_numpy()[None, :]
        for quantity in SHOWN:
            begin = [np.log(one) for one in _values(unstable, stable, looks, quantity, LEADS[-1])]
            columns = {"group": unstable["group"].to_numpy()}
            for lead in LEADS:
                ours, theirs = (np.log(one) for one in _values(unstable, stable, looks, quantity, lead))
                others = np.where(same, theirs - begin[1], np.nan)
                counted = np.isfinite(others)
                total = np.where(counted, others, 0.0).sum(axis=1)
                columns[f"own_{lead}"] = ours - begin[0]
                columns[f"stable_{lead}"] = np.where(
                    counted.any(axis=1), total / np.maximum(counted.sum(axis=1), 1), np.nan
                )
            yield str(setting), quantity, pd.DataFrame(columns)


def growth(near: pd.DataFrame, looks: pd.DataFrame) -> pd.DataFrame:
    """One row per optimizer and quantity: setting, quantity, unstable, stable, ratio, low, high, p, cases, n; growth
    from the longest to the shortest lead as geometric means, n groups of runs (arm and seed), p by Holm's method."""
    rows = []
    for setting, quantity, found in _growths(near, looks):
        last = found[["group", f"own_{LEADS[0]}", f"stable_{LEADS[0]}"]].set_axis(["group", "own", "stable"], axis=1)
        last = last.replace([np.inf, -np.inf], np.nan).dropna()
        means = last.groupby("group").mean()
        if len(means):
            t = paired_t((means["own"] - means["stable"]).to_numpy(), LEVEL)
            ends = {"ratio": float(np.exp(t.mean)), "low": float(np.exp(t.low)), "high": float(np.exp(t.high))}
            both = {"unstable": float(np.exp(means["own"].mean())), "stable": float(np.exp(means["stable"].mean()))}
            about: dict[str, Any] = {"setting": setting, "quantity": quantity}
            rows.append({**about, **both, **ends, "p": float(t.p_value), "cases": len(last), "n": len(means)})
    found = pd.DataFrame(
        rows, columns=["setting", "quantity", "unstable", "stable", "ratio", "low", "high", "p", "cases", "n"]
    )
    for _, part in found.groupby("setting"):
        found.loc[part.index, "p"] = holm(part["p"])
    return found


def grows(found: pd.DataFrame) -> list[Verdict]:
    """For each optimizer, which quantity grows most beyond that of stable runs before the event, if one is resolved."""
    verdicts = []
    for setting, part in found.groupby("setting", sort=False):
        told = part[(part["p"] < 1 - LEVEL) & (part["ratio"] > 1)].sort_values("ratio", ascending=False)
        reason = "; ".join(
            f"{row['quantity']} {row['unstable']:.2f} times, in stable runs {row['stable']:.2f} times (ratio "
            f"{row['ratio']:.2f}, {row['low']:.2f} to {row['high']:.2f}, adjusted p {row['p']:.2g})"
            for row in told.to_dict("records")[:3]
        )
        reason = reason or f"of none of {len(part)} quantities is the growth resolvably larger than in stable runs"
        claim = f"What grows most in the last {LEADS[-1]} steps before the event, {OPTIMIZERS[str(setting)]}"
        outcome = told["quantity"].iloc[0] if len(told) else "none is resolved"
        verdicts.append(Verdict(claim, outcome, reason))
    return verdicts


def verdicts(warned: pd.DataFrame) -> list[Verdict]:
    """For each optimizer, the quantity that warns at the longest lead: with the largest `beyond` of those that are
    resolved."""
    found = []
    for setting, part in warned.groupby("setting", sort=False):
        claim = f"Telemetry that warns beyond the learning rate, {OPTIMIZERS[str(setting)]}"
        known: pd.DataFrame = part.loc[(part["cases"] >= MIN_CASES) & (part["quantity"] != RATE)]
        if known.empty:
            found.append(Verdict(claim, "no verdict", f"at least {MIN_CASES} unstable runs are needed"))
            continue
        told = known[(known["p"] < 1 - LEVEL) & (known["beyond"] > 0.5)].sort_values(["lead", "beyond"])
        best = (told if len(told) else known.sort_values("beyond")).iloc[-1]
        outcome = f"{best['quantity']}, {best['lead']} steps ahead" if len(told) else "none is resolved"
        lead = known["lead"].max()
        first = known[known["lead"] == lead].sort_values("auc").iloc[-1]
        rate = part[(part["quantity"] == RATE) & (part["lead"] == lead)].iloc[0]
        reason = (
            f"of runs at the same rate, {best['quantity']} {best['lead']} steps ahead has an AUC of "
            f"{best['beyond']:.2f} ({best['beyond_low']:.2f} to {best['beyond_high']:.2f}, adjusted p {best['p']:.2g}, "
            f"{best['cases']} unstable runs); of all runs near the limit, {first['quantity']} {lead} steps ahead has "
            f"{first['auc']:.2f} ({first['low']:.2f} to {first['high']:.2f}), the learning rate itself "
            f"{rate['auc']:.2f}"
        )
        found.append(Verdict(claim, outcome, reason))
    return found


def draw(warned: pd.DataFrame) -> Figure:
    """`beyond` against the lead, a panel per optimizer and a line per quantity."""
    settings, shown = list(dict.fromkeys(warned["setting"])), warned[warned["quantity"] != RATE]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        panels = figure.subplots(1, max(len(settings), 1), sharey=True, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=False):
            for place, (quantity, part) in enumerate(
                shown[shown["setting"] == setting].groupby("quantity", sort=False)
            ):
                style = {"color": COLOURS[str(quantity)], "linestyle": DASHES[place % len(DASHES)]}
                axes.plot(
                    part["lead"],
                    part["beyond"],
                    marker="o",
                    markersize=3,
                    label=str(quantity).replace("_", " "),
                    **style,
                )
            axes.axhline(0.5, color=GREY, linewidth=0.8)
            axes.set(title=OPTIMIZERS[setting], xlabel="steps before the event", ylim=(-0.02, 1.02))
            _leads(axes)
        panels[0].set_ylabel("AUC beyond the learning rate")
        if settings:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_growth(near: pd.DataFrame, looks: pd.DataFrame) -> Figure:
    """Growth relative to the stable runs against the lead, a panel per optimizer and a line per quantity."""
    parts = list(_growths(near, looks))
    settings = list(dict.fromkeys(setting for setting, *_ in parts))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        panels = figure.subplots(1, max(len(settings), 1), squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=False):
            for place, (_, quantity, found) in enumerate(part for part in parts if part[0] == setting):
                apart = [_mean(found[f"own_{lead}"] - found[f"stable_{lead}"]) for lead in LEADS]
                style = {"color": COLOURS[quantity], "linestyle": DASHES[place % len(DASHES)]}
                axes.plot(LEADS, np.exp(apart), marker="o", markersize=3, label=quantity, **style)
            axes.set(title=OPTIMIZERS[setting], xlabel="steps before the event")
            axes.set_yscale("log", base=2)
            axes.yaxis.set_major_formatter("{x:g}")
            _leads(axes)
        panels[0].set_ylabel("growth, relative to stable runs")
        if settings:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def _mean(values: pd.Series) -> float:
    return float(values[np.isfinite(values)].mean())


def _leads(axes: Axes) -> None:
    """The event lies to the right."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(LEADS, list(map(str, LEADS)))
    axes.minorticks_off()
    axes.invert_xaxis()
