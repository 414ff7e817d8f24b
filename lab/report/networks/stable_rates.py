"""Largest stable learning rates of norms and activations: tables, a figure, and which change it was."""

import itertools
from collections.abc import Hashable, Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from lab.comparison.networks.instability import EVENTS, censored, log_middle, stable_arms
from lab.report.figures import STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.statistics.paired import holm, minimum_detectable_effect, paired_t

LEVEL = 0.95
"""Level of the intervals."""
OPTIMIZERS = {"adamw": "AdamW, clipped", "sgd": "SGD, not clipped"}
"""Settings in which all four arms are compared, and their names."""
ARM = ["setting", "norm", "activation"]
OLD, NEW = ("layernorm", "gelu"), ("rmsnorm", "swiglu")
"""The norm and the activation before and after the change."""
CHANGES = {
    "both": "both changes",
    "norm": "RMSNorm for LayerNorm",
    "activation": "SwiGLU for GELU",
    "interaction": "the interaction",
}
GUILT = {"norm": "the norm", "activation": "the activation", "interaction": "the two together"}
"""Names of effects: in sentences, and where one is to blame."""


def logs(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Logarithms of the largest stable rates: a row per seed, a column per setting, norm and activation."""
    return thresholds.assign(log=log_middle(thresholds)).pivot_table("log", "seed", ARM, sort=False)


def _lost(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Which of them are censored, 1 or 0."""
    return thresholds.assign(lost=censored(thresholds).astype(float)).pivot_table("lost", "seed", ARM, sort=False)


def summary(thresholds: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: setting, norm, activation, n, rate, low, high, at_share, ratio, ratio_low, ratio_high, censored,
    and of the runs their number, how many had each event, and all spikes together."""
    wide, lost, rows = logs(thresholds), _lost(thresholds), []
    at_share = stable_arms(thresholds[[*ARM, "seed", "low", "high"]]).set_index(ARM)["rate"]
    for arm in wide.columns:
        own = runs[(runs[ARM] == list(arm)).all(axis=1)]
        mean, base = paired_t(wide[arm].to_numpy(), LEVEL), (arm[0], *OLD)
        apart = paired_t((wide[arm] - wide[base]).to_numpy(), LEVEL) if base in wide and arm != base else None
        ratio = [float(np.exp(end)) for end in (apart.mean, apart.low, apart.high)] if apart else [np.nan] * 3
        rows.append(
            {
                **dict(zip(ARM, arm, strict=True)),
                **{"n": len(wide), "rate": float(np.exp(mean.mean))},
                **{"low": float(np.exp(mean.low)), "high": float(np.exp(mean.high))},
                "at_share": float(at_share[arm]),
                **dict(zip(("ratio", "ratio_low", "ratio_high"), ratio, strict=True)),
                **{"censored": int(lost[arm].sum()), "runs": len(own)},
                **{event: int((own["event"] == event).sum()) for event in EVENTS},
                "spikes": int(own["spikes"].sum()),
            }
        )
    return pd.DataFrame(rows)


def effects(thresholds: pd.DataFrame) -> pd.DataFrame:
    """`CHANGES` for each of `OPTIMIZERS` that was searched: setting, effect, ratio, low, high, p, detectable, censored,
    n."""
    wide, lost, rows = logs(thresholds), _lost(thresholds), []
    for setting in [name for name in OPTIMIZERS if name in set(thresholds["setting"])]:
        arms = [(setting, *arm) for arm in itertools.product(*zip(OLD, NEW, strict=True))]
        any_lost = lost[arms].any(axis=1)
        for effect, part in _factorial(wide, setting).items():
            rows.append({"setting": setting, "effect": effect, **_ratio(part, any_lost)})
    return _corrected(rows)


def _factorial(wide: pd.DataFrame, setting: str) -> dict[str, pd.Series]:
    """Per seed: the effect of both changes; of the new norm, mean over the activations; of the new activation, mean
    over the norms; and how much more the new norm does with the new activation than with the old one."""
    old, norm, activation, both = (wide[setting, *arm] for arm in (OLD, (NEW[0], OLD[1]), (OLD[0], NEW[1]), NEW))
    return {
        "both": both - old,
        "norm": (norm - old + both - activation) / 2,
        "activation": (activation - old + both - norm) / 2,
        "interaction": both - activation - norm + old,
    }


def controls(thresholds: pd.DataFrame) -> pd.DataFrame:
    """The other settings against AdamW with the old norm and the same activation: setting, activation, ratio, low,
    high, p, detectable, censored, n."""
    wide, lost, rows = logs(thresholds), _lost(thresholds), []
    others = thresholds[~thresholds["setting"].isin(list(OPTIMIZERS))]
    for arm in others[ARM].drop_duplicates().itertuples(index=False, name=None):
        base = ("adamw", OLD[0], arm[2])
        apart = _ratio(wide[arm] - wide[base], lost[[arm, base]].any(axis=1))
        rows.append({"setting": arm[0], "activation": arm[2], **apart})
    return _corrected(rows)


def _ratio(differences: pd.Series, lost: pd.Series) -> dict[str, float]:
    """The ratio of two rates from differences of their logarithms: ratio, low, high, p, detectable, censored, n.

    There is no p, nan, if more than half of the differences involve a censored rate, as these say little of it.
    """
    t, n, without = paired_t(differences.to_numpy(), LEVEL), len(differences), int(lost.sum())
    known = n > 1 and 2 * without <= n
    detectable = minimum_detectable_effect(float(t.sd), n, LEVEL) if known else np.inf
    return {
        **{"ratio": float(np.exp(t.mean)), "low": float(np.exp(t.low)), "high": float(np.exp(t.high))},
        **{"p": float(t.p_value) if known else np.nan, "detectable": float(np.exp(-detectable))},
        **{"censored": without, "n": n},
    }


def _corrected(rows: list[dict[str, Any]]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.assign(p=holm(table["p"]))


def which(table: pd.DataFrame) -> Verdict:
    """Which change lowers the largest stable rate, and with which optimizer: the resolved effects."""
    lowered = table[(table["p"] < 1 - LEVEL) & (table["ratio"] < 1) & (table["effect"] != "both")]
    words = [
        f"{GUILT[str(effect)]} ({' and '.join(OPTIMIZERS[name] for name in part['setting'])})"
        for effect, part in lowered.groupby("effect", sort=False)
    ]
    outcome = "; ".join(words) or "neither, as far as these seeds can tell"
    if table["p"].isna().all():
        outcome = "no verdict"
    reason = "; ".join(_told(str(setting), part) for setting, part in table.groupby("setting", sort=False))
    n = table["n"].iloc[0]
    return Verdict("Which of the two changes made training unstable", outcome, f"{reason}; n = {n} seeds")


def _told(setting: str, part: pd.DataFrame) -> str:
    """The effects of one optimizer on the largest stable rate: both changes, and those that are resolved."""
    rows = part.set_index("effect").to_dict("index")
    others = [name for name, row in rows.items() if name != "both" and row["p"] < 1 - LEVEL]
    words = [f"{CHANGES[str(name)]} by {times(rows[name])}" for name in others]
    rest = ", " + ", ".join(words) if words else ", no single effect is resolved"
    return f"{OPTIMIZERS[setting]}: both changes multiply the largest stable rate by {times(rows['both'])}{rest}"


def why(table: pd.DataFrame) -> Verdict:
    """Which of the controls changes the limit."""
    words = []
    for setting, part in table.groupby("setting", sort=False):
        for does, side in (("lowers", part["ratio"] < 1), ("raises", part["ratio"] > 1)):
            if names := list(part.loc[side & (part["p"] < 1 - LEVEL), "activation"]):
                words.append(f"{label(str(setting))} {does} it with {' and '.join(names)}")
    outcome = "; ".join(words) or ("no verdict" if table["p"].isna().all() else "inconclusive")
    rows = table.to_dict("records")
    reason = "; ".join(f"{label(row['setting'])}, {row['activation']}: by {times(row)}" for row in rows)
    return Verdict("What the limit depends on, with AdamW: controls against pre-norm", outcome, reason)


def times(row: Mapping[Hashable, Any]) -> str:
    """A ratio in words."""
    p = "too many censored" if np.isnan(row["p"]) else f"adjusted p {row['p']:.2g}"
    return f"{row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}, {p})"


def label(setting: str) -> str:
    """A setting in words."""
    return OPTIMIZERS.get(setting, setting.replace("_norm", "-norm").replace("no-norm", "no norm"))


def draw(thresholds: pd.DataFrame) -> Figure:
    """The largest stable rate of every seed, and the mean of each arm with its interval: a row per arm."""
    wide = logs(thresholds)
    arms = list(wide.columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 0.7 + 0.26 * len(arms)), layout="constrained")
        axes = figure.subplots()
        for place, arm in enumerate(arms):
            values, paint = np.exp(wide[arm].to_numpy()), colour(arm[2])
            axes.plot(values, np.full(len(values), place), "o", color=paint, markersize=3.5, alpha=0.45)
            axes.errorbar(*_bar(wide[arm].to_numpy(), place), fmt="D", color=paint, markersize=4.5, capsize=3)
        axes.set_yticks(range(len(arms)), [f"{label(arm[0])}: {arm[1]}, {arm[2]}" for arm in arms])
        axes.set(xscale="log", xlabel="largest stable peak learning rate")
        axes.invert_yaxis()
    return figure


def _bar(values: Float[np.ndarray, " n"], place: int) -> tuple[float, int, None, Float[np.ndarray, "2 1"]]:
    t = paired_t(values, LEVEL)
    low, high = (float(end) if np.isfinite(end) else float(t.mean) for end in (t.low, t.high))
    mean = float(np.exp(t.mean))
    return mean, place, None, np.array([[mean - np.exp(low)], [np.exp(high) - mean]])
