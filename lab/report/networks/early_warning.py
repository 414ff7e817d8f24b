"""What telemetry shows before a run spikes or diverges: growth, and how well each quantity warns."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lab.comparison.instability import CURVES, QUANTITIES, log_middle
from lab.report.figures import BLUE, CYAN, DASHES, GREY, MAGENTA, OLIVE, ORANGE, PURPLE, RED, STYLE, TEAL
from lab.report.networks.stable_rates import ARM, LEVEL, OPTIMIZERS
from lab.report.studies.reproduction import Verdict
from lab.statistics.auc import Pairs, above
from lab.statistics.paired import paired_t

NEAR = 2.0
"""The largest factor between the rate of a run and the largest stable rate of its seed."""
LEADS = (8, 16, 32, 64)
"""Steps before the event."""
RATE = "learning_rate"
SHOWN = (*QUANTITIES, *CURVES)
COLOURS = dict(zip((*SHOWN, RATE), (BLUE, ORANGE, TEAL, MAGENTA, CYAN, RED, PURPLE, OLIVE, GREY), strict=True))
MIN_CASES = 5
"""Unstable runs below which nothing is said of a lead time."""


def near_limit(runs: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """The runs of `OPTIMIZERS` within a factor of `NEAR` from the limit of their seed, each once, with `group`, the
    number of their arm and seed, and `arm`."""
    limits = thresholds.assign(limit=log_middle(thresholds))[[*ARM, "seed", "limit"]]
    known = runs[runs["setting"].isin(list(OPTIMIZERS))].drop_duplicates([*ARM, "seed", RATE]).merge(limits)
    near = known[(np.log(known[RATE]) - known["limit"]).abs() <= np.log(NEAR) + 1e-9]
    arm, group = near.groupby(ARM).ngroup(), near.groupby([*ARM, "seed"]).ngroup()
    return near.assign(arm=arm, group=group).reset_index(drop=True)


def table(near: pd.DataFrame, looks: pd.DataFrame) -> pd.DataFrame:
    """One row per optimizer, quantity and lead: setting, quantity, lead, auc, low, high, cases, stable; a last quantity
    is the learning rate. Cases are the unstable runs that were looked at so many steps before."""
    rows = []
    for setting, part in near.groupby("setting", sort=False):
        unstable, stable = part[part["event"] != ""], part[part["event"] == ""]
        if unstable.empty or stable.empty:
            continue
        pairs = Pairs(unstable["group"].to_numpy(), stable["group"].to_numpy())
        same = unstable["arm"].to_numpy()[:, None] == stable["arm"].to_numpy()[None, :]
        for quantity in (*SHOWN, RATE):
            for lead in LEADS:
                ours, theirs = _values(unstable, stable, looks, quantity, lead)
                scores = np.where(same, above(ours[:, None], theirs), np.nan)
                found = pairs.estimate(scores, LEVEL)
                rows.append(
                    {
                        **{"setting": setting, "quantity": quantity, "lead": lead, "auc": float(found.value)},
                        **{"low": float(found.low), "high": float(found.high)},
                        **{"cases": int(np.isfinite(scores).any(axis=1).sum()), "stable": len(stable)},
                    }
                )
    return pd.DataFrame(rows, columns=["setting", "quantity", "lead", "auc", "low", "high", "cases", "stable"])


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
    """One row per optimizer and quantity: setting, quantity, unstable, stable, ratio, low, high, cases, n; growth from
    the longest to the shortest lead as geometric means, n groups of runs (arm and seed)."""
    rows = []
    for setting, quantity, found in _growths(near, looks):
        last = found[["group", f"own_{LEADS[0]}", f"stable_{LEADS[0]}"]].set_axis(["group", "own", "stable"], axis=1)
        last = last.replace([np.inf, -np.inf], np.nan).dropna()
        means = last.groupby("group").mean()
        if len(means):
            t = paired_t((means["own"] - means["stable"]).to_numpy(), LEVEL)
            ends = {"ratio": float(np.exp(t.mean)), "low": float(np.exp(t.low)), "high": float(np.exp(t.high))}
            both = {"unstable": float(np.exp(means["own"].mean())), "stable": float(np.exp(means["stable"].mean()))}
            about = {"setting": setting, "quantity": quantity}
            rows.append({**about, **both, **ends, "cases": len(last), "n": len(means)})
    return pd.DataFrame(
        rows, columns=["setting", "quantity", "unstable", "stable", "ratio", "low", "high", "cases", "n"]
    )


def verdicts(warned: pd.DataFrame) -> list[Verdict]:
    """For each optimizer, the quantity that warns at the longest lead: with the largest AUC of those whose interval
    lies above chance."""
    found = []
    for setting, part in warned.groupby("setting", sort=False):
        claim = f"{OPTIMIZERS[str(setting)]}: the earliest warning"
        known: pd.DataFrame = part.loc[part["cases"] >= MIN_CASES]
        told = known[(known["quantity"] != RATE) & (known["low"] > 0.5)]
        if told.empty:
            outcome = "no verdict" if known.empty else "none: no quantity is better than chance at any lead"
            found.append(Verdict(claim, outcome, f"at least {MIN_CASES} unstable runs are needed"))
            continue
        lead = told["lead"].max()
        row = told[told["lead"] == lead].sort_values("auc").iloc[-1]
        rate = known[(known["quantity"] == RATE) & (known["lead"] == lead)].iloc[0]
        reason = (
            f"{lead} steps ahead AUC {row['auc']:.2f} ({row['low']:.2f} to {row['high']:.2f}), {row['cases']} unstable "
            f"and {row['stable']} stable runs; the largest of {len(SHOWN)}, not corrected; the learning rate alone "
            f"{rate['auc']:.2f} ({rate['low']:.2f} to {rate['high']:.2f})"
        )
        found.append(Verdict(claim, f"{row['quantity']}, {lead} steps", reason))
    return found


def draw(warned: pd.DataFrame) -> Figure:
    """AUC against the lead, a panel per optimizer and a line per quantity."""
    settings = list(dict.fromkeys(warned["setting"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        panels = figure.subplots(1, max(len(settings), 1), sharey=True, squeeze=False)[0]
        for axes, setting in zip(panels, settings, strict=False):
            for place, (quantity, part) in enumerate(
                warned[warned["setting"] == setting].groupby("quantity", sort=False)
            ):
                style = {"color": COLOURS[str(quantity)], "linestyle": DASHES[place % len(DASHES)]}
                axes.plot(
                    part["lead"], part["auc"], marker="o", markersize=3, label=str(quantity).replace("_", " "), **style
                )
            axes.axhline(0.5, color=GREY, linewidth=0.8)
            axes.set(title=OPTIMIZERS[setting], xlabel="steps before the event", ylim=(-0.02, 1.02))
            _leads(axes)
        panels[0].set_ylabel("AUC")
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
            axes.set(title=OPTIMIZERS[setting], xlabel="steps before the event", yscale="log")
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
