"""The noise of every arm's difference to the baseline, from the per-example values of the last evaluation."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from lab.comparison.outcomes import axis_columns, ends, plain
from lab.comparison.text_error import differences
from lab.results.results import Results
from lab.statistics.noise import Noise, noise


@dataclass(frozen=True)
class ArmNoise:
    """The noise of an arm's difference. `pairing` is the correlation between its seeds and the baseline's; `unpaired`
    is the factor by which an unpaired comparison would need more seeds."""

    activation: str
    label: str
    cell: str
    noise: Noise
    pairing: float
    unpaired: float


@dataclass(frozen=True)
class Setting:
    """All arms at one value of every other axis. `between_arms` is the variance of the true values of the arms,
    baseline included, estimated over the seeds."""

    axes: dict[str, Any]
    baseline: str
    cell: str
    arms: tuple[ArmNoise, ...]
    between_arms: float

    def to_dict(self) -> dict[str, Any]:
        """The setting as JSON; variances, in squared units of the metric."""
        return {**asdict(self), "arms": [_as_dict(arm) for arm in self.arms]}


def measure(results: Results) -> tuple[Setting, ...]:
    """The noise of all arms on the experiment's metric and split, each arm at its last step.

    Raises ValueError, naming the arm, if per-example values were not kept or fewer than two pairs trained, and if there
    is no arm besides the baseline.
    """
    asked, rows = results.experiment, results.rows
    metric, split = asked["metric"], asked["split"]
    measured = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    last = {str(cell): int(step) for cell, step in measured.groupby("cell")["step"].max().items()}
    axes = axis_columns(rows)
    runs = ends(rows, metric, split, last, axes)
    found = []
    for _, frame in runs.groupby(axes, dropna=False, sort=False) if axes else [((), runs)]:
        arms = {str(name): arm.set_index("seed") for name, arm in frame.groupby("activation", sort=False)}
        if (reference := arms.pop(asked["baseline"], None)) is not None and arms:
            found.append(_setting(results, arms, reference, axes))
    if not found:
        raise ValueError(f"{results.directory} has no arm besides the baseline {asked['baseline']}: nothing to compare")
    return tuple(found)


def between(values: Float[np.ndarray, "arms seeds"]) -> float:
    """The variance between arms, at least 0: two-way analysis of variance without replication, arms x seeds.

    Searle, Casella and McCulloch (1992), "Variance components", section 4.3.
    """
    arms, seeds = values.shape
    left = values - values.mean(axis=0) - values.mean(axis=1, keepdims=True) + values.mean()
    rest = (left**2).sum() / ((arms - 1) * (seeds - 1))
    return float(max(values.mean(axis=1).var(ddof=1) - rest / seeds, 0.0))


def _setting(results: Results, arms: dict[str, pd.DataFrame], reference: pd.DataFrame, axes: list[str]) -> Setting:
    first = reference.iloc[0]
    complete = pd.concat([_trained(arm) for arm in (reference, *arms.values())], axis=1, join="inner").to_numpy(float)
    return Setting(
        axes={axis: plain(first[axis]) for axis in axes},
        baseline=str(first["activation"]),
        cell=str(first["cell"]),
        arms=tuple(_arm(results, arm, reference) for arm in arms.values()),
        between_arms=between(complete.T) if len(complete) > 1 else float("nan"),
    )


def _arm(results: Results, arm: pd.DataFrame, reference: pd.DataFrame) -> ArmNoise:
    label, cell = str(arm["label"].iloc[0]), str(arm["cell"].iloc[0])
    metric, split = results.experiment["metric"], results.experiment["split"]
    found = differences(results, arm, reference, split, metric, None)
    if found is None:
        raise ValueError(
            f"{label} has fewer than two pairs with the baseline with per-example values of {split} {metric}: "
            f"retrain both, or choose a metric that is measured per example, such as loss"
        )
    pairs = pd.concat([_trained(arm), _trained(reference)], axis=1, join="inner").to_numpy(float)
    alone = pairs.var(axis=0, ddof=1).sum()
    paired = np.diff(pairs).var(ddof=1)
    return ArmNoise(
        activation=str(arm["activation"].iloc[0]),
        label=label,
        cell=cell,
        noise=noise(*found),
        pairing=float(np.corrcoef(pairs.T)[0, 1]),
        unpaired=float(alone / paired) if paired > 0 else float("inf"),
    )


def _trained(arm: pd.DataFrame) -> pd.Series:
    """The values of the runs that did not diverge, by seed."""
    return arm.loc[~arm["diverged"], "value"]


def _as_dict(arm: ArmNoise) -> dict[str, Any]:
    """An arm as JSON; non-finite numbers are None."""
    found = arm.noise._asdict()
    components = found.pop("components")
    variances = {
        "seed": float(components.seed),
        "text": float(components.text),
        "seed_text": float(components.residual),
        "seed_example": arm.noise.of_seed_by_example * arm.noise.examples,
    }
    flat = {"activation": arm.activation, "label": arm.label, "cell": arm.cell, **found, "variances": variances}
    flat |= {"pairing_correlation": arm.pairing, "unpaired_seeds": arm.unpaired}
    return {
        name: None if isinstance(value, float) and not np.isfinite(value) else value for name, value in flat.items()
    }
