"""Units that say nothing, at initialization and after training, as tables, a figure and verdicts."""

import itertools
from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lab.report.figures import STYLE, line_styles
from lab.report.studies.reproduction import Verdict
from lab.report.table import number
from lab.statistics.paired import holm
from lab.statistics.stability import rate_interval, trained_t

LEVEL = 0.95
BASELINE = "relu"
ZERO_BELOW = ("relu", "relu2", "reglu")
"""Activations that are 0 for all negative inputs: only with these can a network be born dead."""
SHARES = ("dead", "dormant", "off")
FACTORS = {"learning_rate": "learning rate", "weight_decay": "weight decay", "n_layers": "depth"}
Setting = Mapping[str, float]
"""The value of every factor that the others are varied at."""


def born_table(rows: pd.DataFrame, simulated: Mapping[tuple[int, int], float]) -> pd.DataFrame:
    """One row per activation, width and depth: one_sign, with its interval, and its closed form; both, with its
    interval, and what was `simulated` by others for (width, depth) with ReLU.

    `rows` have activation, width, depth, draws, closed, and the numbers one_sign (of the input 1) and both. The
    intervals hold together (Bonferroni over all rows and both shares).
    """
    level, found = 1 - (1 - LEVEL) / (2 * len(rows)), []
    for row in rows.to_dict("records"):
        expected = simulated.get((row["width"], row["depth"]), np.nan) if row["activation"] == "relu" else np.nan
        known = {"closed": row["closed"], "simulated": expected, "n": row["draws"]}
        about = {name: row[name] for name in ("activation", "width", "depth")}
        for name in ("one_sign", "both"):
            low, high = rate_interval(np.array(row[name]), row["draws"], level)
            about |= {name: row[name] / row["draws"], f"{name}_low": float(low), f"{name}_high": float(high)}
        found.append(about | known)
    return pd.DataFrame(found)


def born_verdicts(table: pd.DataFrame) -> list[Verdict]:
    """Whether the shares are those of the closed form and of the simulation, and 0 where no unit can be dead."""
    may = table[table["activation"].isin(ZERO_BELOW)]
    apart = (may["one_sign_low"] > may["closed"]) | (may["one_sign_high"] < may["closed"])
    beyond = may["both_low"] > may["closed"]
    known = table[table["simulated"].notna()]
    other = (known["both_low"] > known["simulated"]) | (known["both_high"] < known["simulated"])
    never = table[~table["activation"].isin(ZERO_BELOW)]
    some = ", ".join(dict.fromkeys(may["activation"]))
    pairs = "; ".join(f"{row['both']:.3f} for {row['simulated']:.3f}" for row in known.to_dict("records"))
    names = ", ".join(dict.fromkeys(never["activation"]))
    return [
        Verdict(
            f"{some}: at an input of one sign the last layer is 0 in 1 - (1 - 2^-N)^(L-1) of networks",
            "no" if apart.any() else "yes",
            f"largest difference {(may['one_sign'] - may['closed']).abs().max():.3f} of {len(may)} shares; "
            f"{int(apart.sum())} simultaneous intervals exclude it (n = {int(may['n'].min())} each)",
        ),
        Verdict(
            "That is an upper bound of the share that is born dead",
            "no" if beyond.any() else "yes",
            f"{int((~beyond).sum())} of {len(may)} intervals reach below it",
        ),
        Verdict(
            "relu: as many networks are born dead as were in an earlier simulation",
            "no" if other.any() else "yes",
            pairs,
        ),
        Verdict(
            f"{names}: no network is born dead",
            "yes" if never["both"].max() == 0 else "no",
            f"at most {never['both'].max():.3f}",
        ),
    ]


def levels(rows: pd.DataFrame, base: Setting) -> dict[str, list[float]]:
    """The values of every factor that has several where the others are as in `base`."""
    found = {factor: sorted(_at(rows, base, factor)[factor].unique().tolist()) for factor in FACTORS}
    return {factor: values for factor, values in found.items() if len(values) > 1}


def _at(rows: pd.DataFrame, base: Setting, *free: str) -> pd.DataFrame:
    """The rows at the base of all factors but the free ones."""
    for factor, value in base.items():
        if factor not in free:
            rows = rows[np.isclose(rows[factor], value)]
    return rows


def by_seed(rows: pd.DataFrame, value: str) -> pd.DataFrame:
    """Means, over layers for example: a row per seed, a column per activation."""
    names = list(dict.fromkeys(rows["activation"]))
    return rows.pivot_table(value, "seed", "activation", dropna=False)[names]


def shares_table(rows: pd.DataFrame, base: Setting) -> pd.DataFrame:
    """One row per factor, value, activation and share: mean (over layers and seeds) with low and high, the paired
    difference from relu with its interval, and n. Networks that are not finite are left out."""
    found = []
    for factor, values in levels(rows, base).items():
        for value, share in itertools.product(values, SHARES):
            at = _at(rows, {**base, factor: value})
            wide = by_seed(at, share)
            for name in wide:
                t, n = trained_t(wide[name].to_numpy()[None], LEVEL)
                d, _ = trained_t((wide[name] - wide[BASELINE]).to_numpy()[None], LEVEL)
                ends = {"share": float(t.mean[0]), "low": float(t.low[0]), "high": float(t.high[0])}
                if name != BASELINE:
                    ends |= {"difference": float(d.mean[0]), "d_low": float(d.low[0]), "d_high": float(d.high[0])}
                about = {"factor": FACTORS[factor], "value": value, "of": share, "activation": name}
                found.append({**about, **ends, "n": int(n[0])})
    return pd.DataFrame(found)


def shares_verdicts(rows: pd.DataFrame, base: Setting) -> list[Verdict]:
    """Whether shares grow with every factor, and whether they differ from relu's at the base."""
    found = [
        _growth(rows, base, factor, values, share)
        for factor, values in levels(rows, base).items()
        for share in ("dormant", "off")
    ]
    return [*found, *(_others(by_seed(_at(rows, base), share), share) for share in ("dormant", "off"))]


def _growth(rows: pd.DataFrame, base: Setting, factor: str, values: list[float], share: str) -> Verdict:
    """Of each activation, whether its share is larger at the largest value of a factor than at the smallest."""
    low, high = (by_seed(_at(rows, {**base, factor: value}), share) for value in (values[0], values[-1]))
    claim = f"More units are {share} at {FACTORS[factor]} {values[-1]:g} than at {values[0]:g}"
    return resolved(claim, high - low, [f"{name} {low[name].mean():.3f} to {high[name].mean():.3f}" for name in low])


def _others(wide: pd.DataFrame, share: str) -> Verdict:
    """Of each other activation, whether more of its units are like that than of relu's."""
    others = wide.drop(columns=BASELINE)
    words = [f"{name} {wide[name].mean():.3f}" for name in others]
    claim = f"More units are {share} than with {BASELINE} ({wide[BASELINE].mean():.3f}), at the base"
    return resolved(claim, others.sub(wide[BASELINE], axis=0), words)


def resolved(claim: str, differences: pd.DataFrame, words: list[str]) -> Verdict:
    """The names whose mean difference is positive, and those for which it is negative, corrected by Holm's method."""
    t, n = trained_t(differences.to_numpy().T, LEVEL)
    sure = holm(t.p_value) < 1 - LEVEL
    names = np.array(list(differences))
    more, fewer = (names[sure & (sign * t.mean > 0)].tolist() for sign in (1, -1))
    parts = [f"{word}{_mark(name, more, fewer)}" for word, name in zip(words, names, strict=True)]
    outcome = "yes" if len(more) == len(names) else "in some" if more else "no, less" if fewer else "inconclusive"
    return Verdict(claim, outcome, f"{'; '.join(parts)}; n = {int(n.min())}")


def _mark(name: str, more: list[str], fewer: list[str]) -> str:
    """What the words of a verdict say of one activation."""
    return " (more)" if name in more else " (less)" if name in fewer else ""


def shares_figure(rows: pd.DataFrame, base: Setting) -> Figure:
    """A row of panels per share, a column per factor: means over layers and seeds, and the range of the seeds."""
    shown = levels(rows, base)
    styles = line_styles(list(dict.fromkeys(rows["activation"])))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(shown) + 0.4, 2.1 * len(SHARES) + 0.6), layout="constrained")
        panels = figure.subplots(len(SHARES), len(shown), squeeze=False, sharey="row", sharex="col")
        for line, share in zip(panels, SHARES, strict=True):
            for axes, (factor, values) in zip(line, shown.items(), strict=True):
                _lines(axes, {v: by_seed(_at(rows, {**base, factor: v}), share) for v in values}, styles)
                axes.set_xticks(range(len(values)), [f"{value:g}" for value in values])
            line[0].set_ylabel(f"share {share}")
        for axes, factor in zip(panels[-1], shown, strict=True):
            axes.set_xlabel(FACTORS[factor])
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=len(styles))
    return figure


def _lines(axes: Any, at: Mapping[float, pd.DataFrame], styles: Mapping[str, Any]) -> None:
    for place, (name, style) in enumerate(styles.items()):
        shift = 0.04 * (place - len(styles) / 2)
        own = [wide[name].dropna() for wide in at.values()]
        x = [index + shift for index in range(len(own))]
        axes.plot(x, [one.mean() for one in own], label=name, **style)
        axes.vlines(x, [one.min() for one in own], [one.max() for one in own], color=style["color"], linewidth=0.8)


def interval(mean: float, low: float, high: float, digits: int = 3, sign: bool = True) -> str:
    """A mean with its interval, in words."""
    return f"{number(mean, digits, sign)} ({number(low, digits, sign)} to {number(high, digits, sign)})"
