"""Largest stable learning rates of norms and activations, as tables, a figure and the verdict on which change it was."""

import matplotlib as mpl
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from lab.comparison.instability import EVENTS, censored, log_middle
from lab.report.figures import STYLE, colour
from lab.report.studies.reproduction import Verdict
from lab.statistics.bisection import largest_with_share
from lab.statistics.paired import holm, minimum_detectable_effect, paired_t

LEVEL, SHARE = 0.95, 0.75
"""Level of the intervals; the share of seeds that must be stable at a rate at which an arm counts as stable."""
OPTIMIZERS = {"adamw": "AdamW, clipped", "sgd": "SGD, not clipped"}
"""Settings in which all four arms are compared, and their names."""
ARM = ["setting", "norm", "activation"]
OLD, NEW = ("layernorm", "gelu"), ("rmsnorm", "swiglu")
"""The norm and the activation before and after the change."""
WORDS = {"norm": "RMSNorm for LayerNorm", "activation": "SwiGLU for GELU", "interaction": "the two together"}


def logs(thresholds: pd.DataFrame) -> pd.DataFrame:
    """Logarithms of the largest stable rates: a row per seed, a column per setting, norm and activation."""
    return thresholds.assign(log=log_middle(thresholds)).pivot_table("log", "seed", ARM, sort=False)


def summary(thresholds: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """One row per arm: setting, norm, activation, n, rate, low, high, at_share, ratio, ratio_low, ratio_high, censored,
    and of the runs their number, how many had each event, and all spikes together."""
    wide, rows = logs(thresholds), []
    lost = thresholds.assign(censored=censored(thresholds)).groupby(ARM)["censored"].sum()
    for arm in wide.columns:
        own = runs[(runs[ARM] == arm).all(axis=1)]
        mean = paired_t(wide[arm].to_numpy(), LEVEL)
        base = (arm[0], *OLD)
        apart = _ratio(wide[arm] - wide[base]) if base in wide and arm != base else dict.fromkeys(RATIO, np.nan)
        rows.append(
            {
                **dict(zip(ARM, arm, strict=True)),
                "n": len(wide),
                **{name: float(np.exp(getattr(mean, field))) for name, field in MEAN.items()},
                "at_share": float(np.exp(largest_with_share(wide[arm].to_numpy(), SHARE))),
                **{{"low": "ratio_low", "high": "ratio_high"}.get(name, name): apart[name] for name in RATIO},
                "censored": int(lost[arm]),
                "runs": len(own),
                **{event: int((own["event"] == event).sum()) for event in EVENTS},
                "spikes": int(own["spikes"].sum()),
            }
        )
    return pd.DataFrame(rows)


MEAN = {"rate": "mean", "low": "low", "high": "high"}
RATIO = ("ratio", "low", "high")


def _ratio(differences: pd.Series) -> dict[str, float]:
    """The ratio of two rates from differences of their logarithms: ratio, low, high, p, detectable, n."""
    t = paired_t(differences.to_numpy(), LEVEL)
    n = len(differences)
    sd = float(t.sd) if n > 1 else 0.0
    return {
        **{"ratio": float(np.exp(t.mean)), "low": float(np.exp(t.low)), "high": float(np.exp(t.high))},
        **{"p": float(t.p_value), "detectable": float(np.exp(minimum_detectable_effect(sd, n, LEVEL))), "n": n},
    }


def effects(thresholds: pd.DataFrame) -> pd.DataFrame:
    """The main effects of norm and activation, and their interaction, for each of `OPTIMIZERS` that was searched:
    setting, effect, ratio, low, high, p, detectable, n."""
    wide, rows = logs(thresholds), []
    for setting in [name for name in OPTIMIZERS if name in wide.columns.get_level_values("setting")]:
        rows += [
            {"setting": setting, "effect": effect, **_ratio(part)} for effect, part in _factorial(wide[setting]).items()
        ]
    return _corrected(rows)


def _factorial(wide: pd.DataFrame) -> dict[str, pd.Series]:
    """Per seed: the effect of the new norm, mean over the activations; of the new activation, mean over the norms; and
    how much more the new norm does with the new activation than with the old one."""
    (old_norm, old), (new_norm, new) = OLD, NEW
    with_old, with_new = (wide[new_norm, one] - wide[old_norm, one] for one in (old, new))
    activation = (wide[old_norm, new] - wide[old_norm, old] + wide[new_norm, new] - wide[new_norm, old]) / 2
    return {"norm": (with_old + with_new) / 2, "activation": activation, "interaction": with_new - with_old}


def controls(thresholds: pd.DataFrame) -> pd.DataFrame:
    """The other settings against AdamW with the old norm and the same activation: setting, activation, ratio, low,
    high, p, detectable, n."""
    wide, rows = logs(thresholds), []
    for setting, norm, activation in [arm for arm in wide.columns if arm[0] not in OPTIMIZERS]:
        apart = wide[setting, norm, activation] - wide["adamw", OLD[0], activation]
        rows.append({"setting": setting, "activation": activation, **_ratio(apart)})
    return _corrected(rows)


def _corrected(rows: list[dict]) -> pd.DataFrame:
    table = pd.DataFrame(rows)
    return table.assign(p=holm(table["p"]))


def which(table: pd.DataFrame) -> list[Verdict]:
    """For each optimizer, which change lowers the largest stable rate: the resolved ones."""
    found = []
    for setting, part in table.groupby("setting", sort=False):
        rows = {row["effect"]: row for row in part.to_dict("records")}
        guilty = [name for name in rows if rows[name]["p"] < 1 - LEVEL and rows[name]["ratio"] < 1]
        helpful = [name for name in rows if rows[name]["p"] < 1 - LEVEL and rows[name]["ratio"] > 1]
        words = [f"{WORDS[name]} lowers it" for name in guilty] + [f"{WORDS[name]} raises it" for name in helpful]
        outcome = "; ".join(words) or "neither: no effect is resolved"
        if len(rows) and next(iter(rows.values()))["n"] < 2:
            outcome = "no verdict"
        reason = "; ".join(
            f"{WORDS[name]} {_times(row)}, detectable {max(row['detectable'], 1 / row['detectable']):.2f}"
            for name, row in rows.items()
        )
        name = OPTIMIZERS[str(setting)]
        found.append(
            Verdict(f"{name}: what changed the largest stable learning rate", outcome, f"{reason}; n = {row_n(rows)}")
        )
    return found


def row_n(rows: dict[str, dict]) -> int:
    """Number of seeds of a table's rows."""
    return next(iter(rows.values()))["n"]


def why(table: pd.DataFrame) -> Verdict:
    """Which of the controls changes the limit: what it takes to be stable."""
    rows = table.to_dict("records")
    resolved = [row for row in rows if row["p"] < 1 - LEVEL]
    words = [
        f"{row['setting'].replace('_', ' ')} {'raises' if row['ratio'] > 1 else 'lowers'} it with {row['activation']}"
        for row in resolved
    ]
    reason = "; ".join(f"{row['setting'].replace('_', ' ')}, {row['activation']} {_times(row)}" for row in rows)
    outcome = "; ".join(words) or ("no verdict" if rows[0]["n"] < 2 else "inconclusive")
    return Verdict("What the limit depends on: controls against pre-norm", outcome, reason)


def _times(row: dict) -> str:
    return f"× {row['ratio']:.2f} ({row['low']:.2f} to {row['high']:.2f}, adjusted p {row['p']:.2g})"


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
        axes.set_yticks(range(len(arms)), [f"{OPTIMIZERS.get(arm[0], arm[0])}: {arm[1]}, {arm[2]}" for arm in arms])
        axes.set(xscale="log", xlabel="largest stable peak learning rate")
        axes.invert_yaxis()
    return figure


def _bar(values: Float[np.ndarray, " n"], place: int) -> tuple[float, int, None, Float[np.ndarray, "2 1"]]:
    t = paired_t(values, LEVEL)
    low, high = (float(end) if np.isfinite(end) else float(t.mean) for end in (t.low, t.high))
    mean = float(np.exp(t.mean))
    return mean, place, None, np.array([[mean - np.exp(low)], [np.exp(high) - mean]])
