"""Warm restarts: how far the loss rises and how long that lasts, by arm, optimizer state and warmup."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.report.figures import BLUE, DASHES, ORANGE, STYLE
from lab.report.networks.stable_rates import LEVEL
from lab.report.studies.reproduction import Verdict
from lab.statistics.paired import holm, paired_t

ARM, HOW = ["norm", "activation"], ["optimizer", "warmup"]
EFFECTS = {"optimizer reset": ("optimizer", "reset", "kept"), "no warmup": ("warmup", "no", "yes")}
"""Name of a change -> column, value, and the value that it is compared with."""
OF_ARMS = {"rmsnorm": ("norm", "rmsnorm", "layernorm"), "swiglu": ("activation", "swiglu", "gelu")}
"""The same, of what tells the arms apart."""


def of_runs(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per restarted run: norm, activation, optimizer, warmup, seed, rise, back, returned.

    `rise` is the largest loss after the restart minus that before it, `back` the step at which the loss is as low again
    after its maximum; runs that never come back have `returned` False and all steps. A loss that is not finite is an
    infinite rise.
    """
    found = []
    for key, run in rows.groupby([*ARM, *HOW, "seed"], sort=False):
        run = run.sort_values("step")
        loss, steps = run["loss"].to_numpy(), run["step"].to_numpy()
        after = np.where(np.isfinite(loss), loss, np.inf)
        top = int(after.argmax())
        low = np.flatnonzero(after[top:] <= loss[0])
        back = steps[top + low[0]] if len(low) else steps[-1]
        about = dict(zip([*ARM, *HOW, "seed"], key, strict=True))
        found.append({**about, "rise": after[top] - loss[0], "back": float(back), "returned": bool(len(low))})
    return pd.DataFrame(found)


def summary(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and variant: norm, activation, optimizer, warmup, rise, low, high, back, returned, n."""
    found = []
    for key, part in runs.groupby([*ARM, *HOW], sort=False):
        t = paired_t(part["rise"].to_numpy(), LEVEL)
        back = part.loc[part["returned"], "back"].median()
        about = dict(zip([*ARM, *HOW], key, strict=True))
        ends = {"rise": float(t.mean), "low": float(t.low), "high": float(t.high)}
        found.append({**about, **ends, "back": back, "returned": int(part["returned"].sum()), "n": len(part)})
    return pd.DataFrame(found)


def effects(runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm and change of `EFFECTS`, and for all arms together per change of `OF_ARMS`: norm, activation,
    change, rise, low, high, p, steps, steps_low, steps_high, steps_p, n; differences paired by seed, means over all
    else."""
    found = []
    parts = [(key, part, EFFECTS) for key, part in runs.groupby(ARM, sort=False)]
    for key, part, changes in [*parts, (("all", "all"), runs, OF_ARMS)]:
        for change, (column, value, base) in changes.items():
            row = {**dict(zip(ARM, key, strict=True)), "change": change}
            for name, prefix in (("rise", ""), ("back", "steps_")):
                wide = part.pivot_table(name, "seed", column)  # the mean over all else
                t = paired_t((wide[value] - wide[base]).to_numpy(), LEVEL)
                row[prefix.rstrip("_") or "rise"] = float(t.mean)
                row |= {f"{prefix}low": float(t.low), f"{prefix}high": float(t.high), f"{prefix}p": float(t.p_value)}
            found.append({**row, "n": len(wide)})
    table = pd.DataFrame(found)
    return table.assign(**{name: holm(table[name]) for name in ("p", "steps_p")})


def verdicts(table: pd.DataFrame) -> list[Verdict]:
    """Of each change, whether it makes the loss rise further in all arms, in some, or in none that is resolved."""
    found = []
    for change, part in table[table["change"].isin(list(EFFECTS))].groupby("change", sort=False):
        rows = part.to_dict("records")
        worse = [row for row in rows if row["p"] < 1 - LEVEL and row["rise"] > 0]
        better = [row for row in rows if row["p"] < 1 - LEVEL and row["rise"] < 0]
        outcome = "no verdict" if rows[0]["n"] < 2 else "inconclusive"
        if worse or better:
            outcome = f"yes in {len(worse)} of {len(rows)} arms" + (f", less in {len(better)}" if better else "")
        reason = "; ".join(
            f"{row['norm']}, {row['activation']} {row['rise']:+.3f} nats ({row['low']:+.3f} to {row['high']:+.3f}), "
            f"{row['steps']:+.0f} steps"
            for row in rows
        )
        found.append(
            Verdict(f"Warm restart, {change}: the loss rises further", outcome, f"{reason}; n = {rows[0]['n']}")
        )
    return found


def draw(rows: pd.DataFrame) -> Figure:
    """The loss after a restart minus that before it, mean over seeds: a panel per arm, a line per variant."""
    arms = list(rows.groupby(ARM, sort=False))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 2.6), layout="constrained")
        panels = figure.subplots(1, len(arms), sharey=True, squeeze=False)[0]
        for axes, (arm, part) in zip(panels, arms, strict=True):
            for (optimizer, warmup), one in part.groupby(HOW, sort=False):
                wide = one.pivot_table("loss", "step", "seed")
                change = (wide - wide.iloc[0]).mean(axis=1)
                style = {
                    "color": BLUE if optimizer == "kept" else ORANGE,
                    "linestyle": DASHES[0 if warmup == "yes" else 1],
                }
                axes.plot(
                    change.index, change, label=f"{optimizer}, {'warmup' if warmup == 'yes' else 'no warmup'}", **style
                )
            axes.axhline(0, color="#888888", linewidth=0.8)
            axes.set(title=", ".join(map(str, arm)), xlabel="steps after the restart")
        panels[0].set_ylabel("change of validation loss (nats)")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure
