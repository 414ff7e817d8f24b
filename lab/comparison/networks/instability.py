"""When training becomes unstable: the first spike or divergence of each run, and what telemetry showed before it."""

import numpy as np
import pandas as pd
from jaxtyping import Float

from lab.statistics.bisection import largest_with_share

SHARE = 0.75
"""The share of seeds that must be stable at a rate at which an arm counts as stable."""
RUN = ["seed", "learning_rate"]
EVENTS = ("not finite", "spike", "loss")
"""What can happen to a run: a loss or gradient that is not finite, a spike of the training loss, or a final loss that
is not below the ceiling."""
QUANTITIES = {
    "attention logit": ("attention/scores", "max", "max"),
    "residual RMS": ("residual", "rms", "last"),
    "hidden std": ("feedforward/hidden", "std", "max"),
    "hidden max / median": ("feedforward/hidden", "max_over_median", "max"),
    "gradient norm": ("parameters", "gradient_norm", "norm"),
    "update norm": ("parameters", "update_norm", "norm"),
}
"""Name -> site, metric and how layers are combined: their largest value, that of the last layer, or for norms the root
of the sum of squares."""
CURVES = {"validation loss": "loss", "log normalizer": "log_normalizer"}
"""Name -> metric of validation."""


def measured(site: str, metric: str) -> bool:
    """Whether `looks` shows what telemetry measures at a site; of norms, at every site."""
    return any(metric == wanted and (how == "norm" or site == place) for place, wanted, how in QUANTITIES.values())


def events(rows: pd.DataFrame, telemetry: pd.DataFrame, ceiling: float | pd.Series) -> pd.DataFrame:
    """One row per run: seed, learning_rate, event, step, spikes, final.

    `rows` are the curves of the runs of one cell, `telemetry` has the spike scores of their training losses, and
    `ceiling` is one number or has one for each seed and rate. `event` is the first of `EVENTS` that happened, "" if
    none did: the run was stable. `step` is that of the first evaluation after it, nan without one. A run that has a
    final validation loss of `ceiling` or more, though nothing else happened before, has `loss` as its event, at the
    first evaluation from which on its loss stayed there; one that never was below it, only if nothing else happened at
    all, as every run begins above. `spikes` is their number, up to the first value that is not finite.
    """
    losses = rows[(rows["split"] == "validation") & (rows["metric"] == "loss")]
    runs = pd.MultiIndex.from_frame(losses[RUN].drop_duplicates())
    curves = losses.pivot_table("value", RUN, "step", dropna=False).loc[runs]  # the table has all seeds at all rates
    scores = telemetry[(telemetry["site"] == "loss") & (telemetry["metric"] == "spike_score")]
    counts = scores.assign(value=scores["value"] * scores["step"]).groupby(RUN)["value"].max().round()
    limit = ceiling.reindex(curves.index).to_numpy()[:, None] if isinstance(ceiling, pd.Series) else ceiling
    at = {
        "not finite": _first(rows[rows["metric"] == "diverged"]),
        "spike": _first(scores[scores["value"] > 0]),
        "loss": _stays_above(curves, limit),
    }
    steps = pd.DataFrame({name: found.reindex(curves.index) for name, found in at.items()}).astype(float)
    other = steps[["not finite", "spike"]].notna().any(axis=1)
    steps.loc[other & (steps["loss"] == curves.columns[0]), "loss"] = np.nan
    first = steps.min(axis=1)
    names = steps.eq(first, axis=0).idxmax(axis=1).where(first.notna(), "")
    spikes = counts.reindex(curves.index)
    table = {"event": names, "step": first, "spikes": spikes, "final": curves.iloc[:, -1]}
    return pd.DataFrame(table).reset_index()


def _first(rows: pd.DataFrame) -> pd.Series:
    return rows.groupby(RUN)["step"].min()


def _stays_above(curves: pd.DataFrame, ceiling: float | Float[np.ndarray, "runs 1"]) -> pd.Series:
    """The first step from which on the loss was never below the ceiling; nan where the last one is."""
    above = ~(curves.to_numpy() < ceiling)  # also nan
    stays = np.logical_and.accumulate(above[:, ::-1], axis=1)[:, ::-1]
    steps = curves.columns.to_numpy(float)[np.argmax(stays, axis=1)]
    return pd.Series(np.where(stays[:, -1], steps, np.nan), curves.index)


def looks(rows: pd.DataFrame, telemetry: pd.DataFrame) -> pd.DataFrame:
    """One row per run and evaluation: seed, learning_rate, step, and `QUANTITIES` and `CURVES` of one cell's runs; nan
    where one was not measured or was not finite."""
    keys = [*RUN, "step"]
    found = {name: _over_layers(telemetry, *place, keys) for name, place in QUANTITIES.items()}
    validation = rows[rows["split"] == "validation"]
    found |= {
        name: validation[validation["metric"] == metric].set_index(keys)["value"] for name, metric in CURVES.items()
    }
    table = pd.DataFrame(found)
    return table.where(np.isfinite(table)).reset_index()


def _over_layers(telemetry: pd.DataFrame, site: str, metric: str, how: str, keys: list[str]) -> pd.Series:
    one = telemetry[telemetry["metric"] == metric]
    if how == "norm":  # also of modules outside of layers, whose site is their name
        return one.assign(value=one["value"] ** 2).groupby(keys)["value"].sum(min_count=1) ** 0.5
    return one[one["site"] == site].groupby(keys)["value"].agg(how)


def log_middle(thresholds: pd.DataFrame) -> pd.Series:
    """The logarithm of the middle of each bracket [low, high] of rates; of a censored one, [0, high] or [low, inf], of
    the end that is known."""
    low, high = thresholds["low"], thresholds["high"]
    known_low, known_high = low.where(low > 0, high), high.where(np.isfinite(high), low)
    return (np.log(known_low) + np.log(known_high)) / 2


def censored(thresholds: pd.DataFrame) -> pd.Series:
    """Which thresholds lie outside of the rates that were searched."""
    return (thresholds["low"] == 0) | np.isinf(thresholds["high"])


def stable_arms(thresholds: pd.DataFrame, share: float = SHARE) -> pd.DataFrame:
    """One row per arm, all columns but seed, low and high: `rate`, up to which at least this share of its seeds were
    stable, by the lower ends of their brackets; 0 if not even at the lowest rate of the search. Raises ValueError
    unless 0 < share <= 1."""
    arm = [name for name in thresholds if name not in ("seed", "low", "high")]
    rates = thresholds.groupby(arm, sort=False)["low"].agg(lambda low: float(largest_with_share(low.to_numpy(), share)))
    return rates.rename("rate").reset_index()
