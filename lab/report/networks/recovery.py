"""How far a network with a changed norm or activation recovers when it is trained further."""

from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lab.comparison.outcomes import of_curves, outcomes
from lab.report.figures import INK, STYLE
from lab.report.networks.drift import line_style
from lab.report.studies.reproduction import Verdict
from lab.report.studies.study_page import Section
from lab.results.results import Results
from lab.statistics.paired import holm, paired_t


def differences(results: Results, activation: str, norm: str | None = None, suffix: str = "") -> pd.DataFrame:
    """Rows of change, seed, step, difference and on_curve: the loss of every changed network minus that of the
    unchanged network with the same seed and the same further training.

    At the last step `difference` is on the text of the final evaluation; `on_curve` is on that of the curve throughout.

    The unchanged arm has this activation and, if norms vary, this norm; the others are called "norm", "activation" or
    "both" by their change, or "gelu -> relu" if there are several activations. `suffix` is appended if the norms are
    also modified; changes without a change of norm are then omitted. A diverged run counts as in
    `lab.comparison.outcomes.outcomes`.
    """
    rule, rows = results.experiment, results.rows
    measured = rows[(rows["metric"] == rule["metric"]) & (rows["split"] == rule["split"])]
    found = []
    for step in sorted(measured["step"].unique()):
        asked = (rule["metric"], rule["split"], int(step), activation, norm, bool(suffix))
        on_curve = _apart(of_curves(rows), *asked).rename(columns={"difference": "on_curve"})
        found.append(_apart(rows, *asked).merge(on_curve, on=["seed", "change"]).assign(step=int(step)))
    together = pd.concat(found, ignore_index=True)
    return together.assign(change=together["change"] + suffix)[["change", "seed", "step", "difference", "on_curve"]]


def _apart(
    rows: pd.DataFrame, metric: str, split: str, step: int, activation: str, norm: str | None, folded: bool
) -> pd.DataFrame:
    """Rows of seed, change and difference at one step."""
    ends = outcomes(rows, metric, split, step)
    ends["change"] = _named(ends, activation, norm)
    losses = ends.pivot_table(index="seed", columns="change", values="value")
    told = set(losses) - ({"", "activation"} if folded else {""})
    changed = sorted(told, key=lambda name: (name == "both", name != "norm", name))
    return losses[changed].sub(losses[""], axis=0).melt(ignore_index=False, value_name="difference").reset_index()


def _named(ends: pd.DataFrame, activation: str, norm: str | None) -> np.ndarray:
    """The change of each arm; the unchanged one is omitted."""
    other = ends["activation"] != activation
    normed = ends["norm"] != norm if "norm" in ends else pd.Series(False, ends.index)
    several = ends["activation"].nunique() > 2
    swapped = f"{activation} -> " + ends["activation"] if several else "activation"
    return np.select([other & normed, other, normed], ["both", swapped, "norm"], "")


def table(rows: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """One row per change: n seeds, the mean difference before and after further training, the latter with its paired t
    interval, Holm's p over the changes and a verdict; and the fraction of the difference that has vanished, on the text
    of the curve."""
    first, last = rows["step"].min(), rows["step"].max()
    found: list[dict[str, Any]] = []
    for change in dict.fromkeys(rows["change"]):
        one = rows[rows["change"] == change]
        start = one[one["step"] == first]["on_curve"].to_numpy()
        left = one[one["step"] == last]["on_curve"].mean()
        end = paired_t(one[one["step"] == last]["difference"].to_numpy(), level)
        row = {"change": change, "n": len(start), "at the start": start.mean(), "after": float(end.mean)}
        row |= {"low": float(end.low), "high": float(end.high), "p": float(end.p_value)}
        found.append({**row, "recovered": 1 - left / start.mean() if start.mean() > 0 else np.nan})
    together = pd.DataFrame(found)
    together["p_adjusted"] = holm(together["p"])
    together["verdict"] = [
        _verdict(row["after"], row["p_adjusted"], level) for row in together.to_dict(orient="records")
    ]
    return together


def _verdict(difference: float, p: float, level: float) -> str:
    if not p < 1 - level:
        return "inconclusive"
    return "worse" if difference > 0 else "better"


def verdicts(rows: pd.DataFrame) -> list[Verdict]:
    """For every change, whether further training repaired it: "yes" if the network is not significantly worse."""
    steps = int(rows["step"].max())
    return [
        Verdict(
            f"{row['change']}: repaired by {steps:,} steps",
            {"worse": "no", "better": "yes", "inconclusive": "inconclusive"}[row["verdict"]],
            f"difference to the unchanged network {row['at the start']:+.3g} at the start, {row['after']:+.3g} at the "
            f"end (95 % interval {row['low']:+.3g} to {row['high']:+.3g}, Holm's p {row['p_adjusted']:.2g}, "
            f"n = {row['n']})",
        )
        for row in table(rows).to_dict(orient="records")
    ]


def drawn(rows: pd.DataFrame) -> Figure:
    """Difference to the unchanged network by step of further training: mean and 95 % t interval over the seeds."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.0), layout="constrained")
        axes = figure.subplots()
        axes.axhline(0, color=INK, linewidth=1)
        for change in dict.fromkeys(rows["change"]):
            one = rows[rows["change"] == change].pivot_table(index="step", columns="seed", values="on_curve")
            t, style = paired_t(one.to_numpy()), line_style(str(change))
            axes.plot(one.index, t.mean, label=change, **style)
            if one.shape[1] > 1:
                axes.fill_between(one.index, t.low, t.high, alpha=0.18, color=style["color"])
        axes.set(xlabel="step of further training", ylabel="difference in loss (nats)")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend()
    return figure


def section(rows: pd.DataFrame, title: str = "Training on") -> Section:
    """The curve of recovery, its table and its verdicts."""
    return Section(
        title,
        drawn(rows),
        table(rows),
        notes=(
            "every changed network and the unchanged one are trained further from the same weights on the same "
            "batches; differences in loss to the unchanged network are paired by seed",
        ),
        verdicts=tuple(verdicts(rows)),
    )
