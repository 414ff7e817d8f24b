"""Networks whose task changes: what they still learn, as tables, figures and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import special

from lab.report.figures import INK, STYLE, line_styles
from lab.report.networks.dying_units import by_seed, interval, resolved
from lab.report.studies.reproduction import Verdict
from lab.statistics.stability import trained_t

LEVEL = 0.95
LINEAR = "linear"
"""Name of the linear model's rows."""
MARGIN = 0.05
"""Difference of the squared error that does not matter, 3 % of a constant's."""
END = 0.2
"""Share of the examples at the end over which the error is averaged."""


@dataclass(frozen=True)
class Published:
    """What a figure says of one curve."""

    activation: str
    learning_rate: float
    first: float
    """The error in the first bin."""
    last: float
    """The mean error in the bins of the last `END` of the examples."""


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per activation, learning rate and seed: first, the online error in the first bin, and last, that in the
    bins of the last `END` of the examples. `rows` are those of training: activation, learning_rate, seed, step, value;
    the steps are the ends of the bins."""
    final = rows["step"].max()
    keys = ["activation", "learning_rate", "seed"]
    first = rows[rows["step"] == rows["step"].min()].set_index(keys)["value"].rename("first")
    last = rows[rows["step"] > (1 - END) * final].groupby(keys)["value"].agg(lambda values: values.mean(skipna=False))
    return first.to_frame().join(last.rename("last")).reset_index()


def ends_table(
    found: pd.DataFrame, published: Sequence[Published], baseline: str, constant: pd.Series, units: pd.DataFrame
) -> pd.DataFrame:
    """One row per activation and rate: first and last, with intervals, what is published of them, the paired
    differences of `last` from the linear model, from `constant` and from the baseline at the same rate, and the mean
    shares of dead and off units at the end.

    `constant` is by seed what the best constant of every period would have as `last`; `units` have activation,
    learning_rate, dead and off.
    """
    units = units.assign(learning_rate=units["learning_rate"].astype(float).round(9))  # files hold f32
    shares = units.groupby(["activation", "learning_rate"])[["dead", "off"]].mean().reset_index()
    known: dict[Any, Published] = {(one.activation, one.learning_rate): one for one in published}
    arms = {arm: one.set_index("seed") for arm, one in found.groupby(["activation", "learning_rate"], sort=False)}
    (linear,) = (one["last"] for (name, _), one in arms.items() if name == LINEAR)
    table = []
    for (name, rate), own in arms.items():
        row: dict[str, Any] = {"activation": name, "learning_rate": rate}
        for when in ("first", "last"):
            row |= _interval(when, own[when]) | {f"published_{when}": getattr(known.get((name, rate)), when, np.nan)}
        if name != LINEAR:
            above = own["last"] - linear
            row |= _interval("minus_linear", above)
        row |= _interval("minus_constant", own["last"] - constant)
        if name not in (LINEAR, baseline) and (baseline, rate) in arms:
            row |= _interval(f"minus_{baseline}", own["last"] - arms[baseline, rate]["last"])
        table.append(row | {"n": int(own["last"].notna().sum()), "diverged": int(own["last"].isna().sum())})
    return pd.DataFrame(table).merge(shares, on=["activation", "learning_rate"], how="left")


def _interval(name: str, values: pd.Series) -> dict[str, float]:
    t, _ = trained_t(values.to_numpy()[None], LEVEL)
    return {name: float(t.mean[0]), f"{name}_low": float(t.low[0]), f"{name}_high": float(t.high[0])}


def reproduced(found: pd.DataFrame, published: Sequence[Published], seeds: int, reading: float) -> list[Verdict]:
    """Of each published curve, whether ours begins and ends where it does.

    "yes": both lie within the `reading` error; "within the noise": they lie within it and the interval of the
    difference between the means of our seeds and of as many as were published, which are other ones; "no": outside.
    """
    verdicts = []
    for one in published:
        own = found[(found["activation"] == one.activation) & np.isclose(found["learning_rate"], one.learning_rate)]
        outcomes, words = [], []
        for when in ("first", "last"):
            values = own[when].dropna().to_numpy()
            if len(values) < 2:
                continue
            apart = abs(values.mean() - getattr(one, when))
            noise = values.std(ddof=1) * np.sqrt(1 / len(values) + 1 / seeds)
            noise *= special.stdtrit(len(values) - 1, (1 + LEVEL) / 2)
            outcomes.append("yes" if apart <= reading else "within the noise" if apart <= reading + noise else "no")
            words.append(f"{when} {values.mean():.3f}, published {getattr(one, when):.2f}, noise ±{noise:.3f}")
        if outcomes:
            worst = max(outcomes, key=["yes", "within the noise", "no"].index)
            claim = f"{one.activation} at {one.learning_rate:g}: the error begins and ends where it was published"
            verdicts.append(Verdict(claim, worst, f"{'; '.join(words)}; reading error ±{reading:g}, n = {len(values)}"))
    return verdicts


def against_linear(found: pd.DataFrame, rate: float) -> Verdict:
    """Of which activations the error at a rate ends above that of the linear model; `found` is of `ends`."""
    last = by_seed(found[np.isclose(found["learning_rate"], rate)], "last")
    above = last.drop(columns=LINEAR).sub(last[LINEAR], axis=0)
    return resolved(f"At {rate:g} the error ends above that of a linear model", above, _worded(above))


def against_constant(table: pd.DataFrame, rate: float) -> Verdict:
    """Of which activations the error at a rate ends where that of the best constant does: the whole interval lies
    within `MARGIN` of it."""
    rows = table[np.isclose(table["learning_rate"], rate) & (table["activation"] != LINEAR)].to_dict("records")
    near, words = [], []
    for row in rows:
        apart, low, high = (row[f"minus_constant{end}"] for end in ("", "_low", "_high"))
        near.append(low >= -MARGIN and high <= MARGIN)
        units = f"{row['off']:.0%} of the units off, {row['dead']:.0%} dead"
        words.append(f"{row['activation']} {interval(apart, low, high)}, {units}{', as the constant' * near[-1]}")
    outcome = "yes" if all(near) else "in some" if any(near) else "no"
    reason = f"{'; '.join(words)}; within {MARGIN:g} counts, n = {min(row['n'] for row in rows)}"
    return Verdict(f"At {rate:g} the error ends where that of the best constant does", outcome, reason)


def error_figure(
    rows: pd.DataFrame, published: Sequence[Published], shown: str, rate: float, constant: float
) -> Figure:
    """Online error by example: left the rates of one activation, right all activations at one rate, both with the
    linear model and the error of the best constant. Bands are the standard error, bars what is published of the
    beginning and the end."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.6), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        own = rows[rows["activation"] == shown]
        rates = sorted(own["learning_rate"].unique(), reverse=True)
        for value, dashes in zip(rates, ("solid", (0, (5, 1.5)), (0, (1, 1.2))), strict=False):
            style = {**line_styles([shown])[shown], "linestyle": dashes}
            curve = own[own["learning_rate"] == value]
            _curve(left, curve, f"{shown}, {value:g}", style)
            _marks(left, published, shown, value, style["color"], rows["step"].max())
        at = rows[np.isclose(rows["learning_rate"], rate)]
        styles = line_styles([name for name in dict.fromkeys(at["activation"]) if name != LINEAR])
        for name, style in styles.items():
            _curve(right, at[at["activation"] == name], name, style)
            if name != shown:
                _marks(right, published, name, rate, style["color"], rows["step"].max())
        for axes in (left, right):
            style = {"color": INK, "linestyle": "solid", "linewidth": 1.0}
            _curve(axes, rows[rows["activation"] == LINEAR], LINEAR, style)
            axes.axhline(constant, color=INK, linewidth=1.0, linestyle="dotted", label="constant")
            axes.set_xlabel("example")
        left.set_ylabel("squared error")
        right.set_title(f"learning rate {rate:g}")
        left.set_title(shown)
        middle = rows.groupby(["activation", "learning_rate", "step"])["value"].mean()
        left.set_ylim(0.9 * middle.min(), min(1.1 * middle.max(), 2.0))
        left.legend()
        figure.legend(*right.get_legend_handles_labels(), loc="outside right center")
    return figure


def _curve(axes: Any, rows: pd.DataFrame, label: str, style: Mapping[str, Any]) -> None:
    by_step = rows.groupby("step")["value"]
    mean, error = by_step.mean(), by_step.sem()
    axes.plot(mean.index, mean, label=label, **style)
    axes.fill_between(mean.index, mean - error, mean + error, color=style["color"], alpha=0.15, linewidth=0)


def _marks(axes: Any, published: Sequence[Published], name: str, rate: float, color: str, final: int) -> None:
    for one in published:
        if one.activation == name and np.isclose(one.learning_rate, rate):
            axes.plot([0, 0.02 * final], [one.first] * 2, color=color, linewidth=4, alpha=0.6)
            axes.plot([(1 - END) * final, final], [one.last] * 2, color=color, linewidth=4, alpha=0.6)


def gaps(through: pd.DataFrame, fresh: pd.DataFrame) -> pd.DataFrame:
    """activation, turn (from 1), seed, through, fresh and gap: the loss at the end of each turn of a network that has
    been through all turns before, that of one that begins with this turn, and the difference.

    `through` and `fresh` have activation, turn, seed and value.
    """
    keys = ["activation", "turn", "seed"]
    both = through.rename(columns={"value": "through"}).merge(fresh.rename(columns={"value": "fresh"}), on=keys)
    return both.assign(gap=both["through"] - both["fresh"])


def gaps_table(found: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """One row per activation and turn: through, fresh, gap with its interval, and its difference from the
    baseline's."""
    table = []
    for turn, at in found.groupby("turn"):
        wide = by_seed(at, "gap")
        for name in wide:
            own = at[at["activation"] == name]
            row = {"activation": name, "turn": turn, "through": own["through"].mean(), "fresh": own["fresh"].mean()}
            row |= _interval("gap", wide[name])
            if name != baseline:
                row |= _interval(f"minus_{baseline}", wide[name] - wide[baseline])
            table.append(row | {"n": int(wide[name].notna().sum())})
    return pd.DataFrame(table)


def gap_verdicts(found: pd.DataFrame, held_out: pd.DataFrame, baseline: str) -> list[Verdict]:
    """With which activations the last text is learned worse than by fresh networks, where the gap has grown since the
    first turn, and where it is larger than the baseline's. `held_out` has the gap of the last turn on text that was not
    trained on."""
    first, last = int(found["turn"].min()), int(found["turn"].max())
    wide, before = (by_seed(found[found["turn"] == turn], "gap") for turn in (last, first))
    unread = by_seed(held_out, "gap")
    others = wide.drop(columns=baseline).sub(wide[baseline], axis=0)
    words = [
        f"{word}, held-out text {unread[name].mean():+.3f}" for name, word in zip(wide, _worded(wide), strict=True)
    ]
    changes = [f"{name} {before[name].mean():+.3f} to {wide[name].mean():+.3f}" for name in wide]
    return [
        resolved("The last text is learned worse than by fresh networks", wide, words),
        resolved(f"That gap is larger in turn {last} than in turn {first}", wide - before[list(wide)], changes),
        resolved(f"That gap is larger than with {baseline}", others, _worded(others)),
    ]


def _worded(values: pd.DataFrame) -> list[str]:
    """The mean of each column with its interval."""
    return [f"{name} {_words(values[name])}" for name in values]


def _words(values: pd.Series) -> str:
    t, _ = trained_t(values.to_numpy()[None], LEVEL)
    return interval(float(t.mean[0]), float(t.low[0]), float(t.high[0]))


def gaps_figure(through: pd.DataFrame, found: pd.DataFrame) -> Figure:
    """Left: the loss at the end of every turn; right: the gap to fresh networks, with intervals."""
    styles = line_styles(list(dict.fromkeys(through["activation"])))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, (name, style) in enumerate(styles.items()):
            means = through[through["activation"] == name].groupby("turn")["value"].mean()
            left.plot(means.index, means, label=name, **style)
            own = found[found["activation"] == name].pivot_table("gap", "seed", "turn", dropna=False)
            t, _ = trained_t(own.to_numpy().T, LEVEL)
            x = own.columns.to_numpy() + 0.06 * (place - len(styles) / 2)
            right.plot(x, t.mean, **style)
            right.vlines(x, t.low, t.high, color=style["color"], linewidth=0.8)
        right.axhline(0, color=INK, linewidth=0.8)
        left.set(xlabel="turn", ylabel="loss at the end of the turn, nats", title="after all turns before")
        right.set(xlabel="turn", title="minus a fresh network, with 95 % intervals")
        figure.legend(*left.get_legend_handles_labels(), loc="outside right center")
    return figure
