"""How much sooner, or later, each arm reaches the baseline's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lab.comparison.comparison import Comparison, Group
from lab.comparison.outcomes import of_curves
from lab.comparison.time.targets import BUDGETS, speed_up, targets, time_to_target

if TYPE_CHECKING:
    from lab.results.results import Results


def speed_ups(results: Results, comparison: Comparison) -> pd.DataFrame:
    """One row per arm and target: arm, activation, axes, target, baseline_steps, steps, speed_up, low, high, missed, n.

    Targets are the median baseline's values at fractions of its training, or the experiment's own target. `steps` are
    medians over the n paired seeds, inf if half of the runs missed; the speed-up has a bootstrap interval over the
    pairs. There is no target if half of the baseline's runs diverged, or if the metric has no declared direction.
    Arms evaluated at other steps than the baseline can still be compared.
    """
    if comparison.direction is None:  # no direction declared
        return pd.DataFrame()
    sign = comparison.question.sign
    measured = of_curves(results.rows)
    measured = measured[(measured["metric"] == comparison.metric) & (measured["split"] == comparison.split)]
    shown = {group.cell for group in (*comparison.baselines, *comparison.arms)}
    measured = measured[measured["cell"].isin(shown)]
    references = {tuple(group.axes.items()): group for group in comparison.baselines}
    rows: list[dict[str, Any]] = []
    for arm in comparison.arms:
        reference = _curves(measured, references[tuple(arm.axes.items())], arm.seeds)
        own = _curves(measured, arm, arm.seeds)
        steps, losses = reference.columns.to_numpy(), sign * reference.to_numpy()
        asked = results.experiment.get("target")
        aims = targets(steps, losses, BUDGETS) if asked is None else np.array([sign * asked])
        for aim in aims[np.isfinite(aims)]:
            theirs = time_to_target(steps, losses, aim)
            ours = time_to_target(own.columns.to_numpy(), sign * own.to_numpy(), aim)
            rows.append({**_about(arm), "target": sign * aim, **_times(theirs, ours, max(steps[-1], own.columns[-1]))})
    return pd.DataFrame(rows)


def _about(arm: Group) -> dict[str, Any]:
    return {"arm": arm.label, "activation": arm.activation, **arm.axes}


def _times(theirs: np.ndarray, ours: np.ndarray, budget: float) -> dict[str, Any]:
    # An untrained network that meets the target counts from the first evaluated step, since step 0 has no ratio.
    found = speed_up(np.maximum(theirs, 1), np.maximum(ours, 1), budget)
    medians = {"baseline_steps": float(np.median(theirs)), "steps": float(np.median(ours))}
    missed = {"missed": int(np.isinf(ours).sum()), "n": len(ours)}
    return {**medians, "speed_up": float(found.value), "low": float(found.low), "high": float(found.high), **missed}


def _curves(measured: pd.DataFrame, group: Group, seeds: tuple[int, ...]) -> pd.DataFrame:
    """Values [seed, step] of the group's runs."""
    chosen = measured[(measured["cell"] == group.cell) & measured["seed"].isin(seeds)]
    for axis, value in group.axes.items():
        chosen = chosen[chosen[axis].isna() if value is None else chosen[axis] == value]
    return chosen.pivot_table(index="seed", columns="step", values="value", dropna=False).loc[list(seeds)]
