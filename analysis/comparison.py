"""The rule of comparison: every arm against the baseline activation, seed by seed, at one step."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from analysis.statistics import holm, paired_difference, smallest_resolvable

if TYPE_CHECKING:
    from records.results import Results

# What every row has; any further column is an axis of the experiment.
COLUMNS = (
    "experiment", "cell", "task", "model", "activation", "seed", "learning_rate", "step", "split", "metric", "value",
)  # fmt: skip
HIGHER_IS_BETTER = ("accuracy", "bleu", "exact_match", "f1", "return", "reward")  # as the last word of a metric's name


@dataclass(frozen=True)
class Group:
    """The runs of one activation at one value of every other axis: n seeds, their mean and sd of the metric."""

    activation: str
    axes: dict[str, Any]
    cell: str
    label: str
    n: int
    mean: float
    sd: float
    n_diverged: int


@dataclass(frozen=True)
class Arm(Group):
    """A group against the baseline with the same axes, over the seeds that both have.

    `differences` are arm minus baseline, one for each of `seeds`; `low` and `high` bound their mean at the comparison's
    level, uncorrected; `p_adjusted` is Holm's over all arms. `resolvable` is the smallest true difference that these
    pairs find with probability 0.8 at Holm's first and strictest level, (1 - level) / number of arms.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    difference: float
    low: float
    high: float
    p: float
    p_adjusted: float
    sign_flip_p: float | None
    bca: tuple[float, float] | None
    resolvable: float
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline activation; `missing` says in words which seeds could not be paired."""

    baseline: str
    metric: str
    split: str
    step: int
    level: float
    arms: tuple[Arm, ...]
    baselines: tuple[Group, ...]
    missing: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON: what is unknown or unbounded (one pair has no interval) is None."""
        shown = ("n", "mean", "difference", "low", "high", "p", "p_adjusted", "verdict")
        beside = ("sign_flip_p", "resolvable", "n_diverged")
        arms = []
        for arm in self.arms:
            fields = {name: _json(getattr(arm, name)) for name in (*shown, *beside)}
            arms.append({"activation": arm.activation, **fields, **{k: _json(v) for k, v in arm.axes.items()}})
        return {
            "baseline": self.baseline,
            "metric": self.metric,
            "split": self.split,
            "step": self.step,
            "level": self.level,
            "arms": arms,
        }


def compare(
    results: Results | pd.DataFrame,
    baseline: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    step: int | None = None,
    level: float | None = None,
) -> Comparison:
    """Compares every arm with the baseline activation at the same values of the other axes, paired by seed.

    What is not given comes from the experiment's own rule (else validation loss at level 0.95) and, for `step`, is the
    last one that all arms have reached. A diverged run takes the worst value that any run of its task has there, or
    its own at step 0 if that is worse. The verdict is "better" or "worse" if Holm's adjusted p is below 1 - level, else
    "not resolved". Raises ValueError, in one sentence, for anything that the rows do not hold.
    """
    rows = results if isinstance(results, pd.DataFrame) else results.rows
    rule = {} if isinstance(results, pd.DataFrame) else results.experiment
    metric = _known("metric", metric or rule.get("metric", "loss"), rows["metric"])
    split = _known("split", split or rule.get("split", "validation"), rows.loc[rows["metric"] == metric, "split"])
    baseline = _known("baseline", baseline or rule.get("baseline"), rows["activation"])
    level = rule.get("level", 0.95) if level is None else level

    axes = axis_columns(rows)
    measured = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    step = _last_common_step(measured, axes) if step is None else _recorded_step(step, measured)
    runs = _runs_at(step, measured, rows[rows["metric"] == "diverged"], axes, higher_is_better(metric))

    baselines, pairs, missing = [], [], []
    for arms in _settings(runs, axes):
        reference = arms.pop(baseline, None)
        if reference is None:
            missing += [f"{_label(arm)} has no run of {baseline} beside it" for arm in arms.values()]
            continue
        baselines.append(_group(reference, axes))
        for arm in arms.values():
            missing += _lacking(arm, reference) + _lacking(reference, arm)
            differences = (arm["value"] - reference["value"]).dropna()
            if len(differences):
                pairs.append((_group(arm.loc[differences.index], axes), differences))
    if not pairs:
        why = missing[0] if missing else f"there is no activation but {baseline}"
        raise ValueError(f"nothing can be paired with {baseline} at step {step}: {why}")
    arms_compared = _arms(pairs, level, higher_is_better(metric))
    return Comparison(baseline, metric, split, step, level, arms_compared, tuple(baselines), tuple(missing))


def axis_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that, with the activation, tell one arm from another.

    These are the experiment's own axes and whichever of task, model and learning rate varies within one activation
    and setting. A rate tuned for each activation does not: it belongs to the arm, and arms at different rates pair.
    """
    axes = [column for column in rows.columns if column not in COLUMNS]
    for column in ("task", "model", "learning_rate"):
        if rows.groupby(["activation", *axes], dropna=False)[column].nunique(dropna=False).max() > 1:
            axes.append(column)
    return axes


def run_columns(rows: pd.DataFrame) -> list[str]:
    """The columns that tell one run from another."""
    return [column for column in rows.columns if column not in ("step", "split", "metric", "value")]


def higher_is_better(metric: str) -> bool:
    """Whether more of the metric is better, as for accuracies and returns; losses, errors and bits are the rest."""
    return metric.endswith(HIGHER_IS_BETTER)


def _runs_at(step: int, measured: pd.DataFrame, diverged: pd.DataFrame, axes: list[str], higher: bool) -> pd.DataFrame:
    """One row a run: its axes, label, seed and value at the step; a diverged run has the worst value there is."""
    run = ["activation", *axes, "seed"]
    beside = [column for column in ("cell", "task") if column not in run]
    values = measured.loc[measured["step"] == step, [*run, *beside, "value"]]
    _check_unique(values, run, step)
    marked = diverged.loc[diverged["step"] <= step, [*run, *beside]].drop_duplicates()
    first = measured.loc[measured["step"] == 0, [*run, "value"]].rename(columns={"value": "first"})
    runs = values.merge(marked, how="outer", on=[*run, *beside], indicator="source").merge(first, how="left", on=run)

    finite = runs["value"].where(np.isfinite(runs["value"]))
    worst = finite.groupby(runs["task"]).transform("min" if higher else "max")
    penalty = np.fmin(worst, runs["first"]) if higher else np.fmax(worst, runs["first"])
    runs["diverged"] = (runs["source"] != "left_only") | finite.isna()
    runs["value"] = finite.mask(runs["diverged"], penalty)
    if not np.isfinite(runs["value"]).all():
        raise ValueError(f"every run diverged before step {step} and none has a finite value at step 0")

    return runs.assign(label=_labels(runs, axes))


def _labels(runs: pd.DataFrame, axes: list[str]) -> list[str]:
    """Each run's activation, with the axes that vary: `gelu (norm=rms)`."""
    varying = [axis for axis in axes if len(runs[axis].unique()) > 1]
    labels = []
    for activation, *values in runs[["activation", *varying]].itertuples(index=False):
        setting = ", ".join(f"{axis}={_plain(value)}" for axis, value in zip(varying, values, strict=True))
        labels.append(f"{activation} ({setting})" if setting else activation)
    return labels


def _check_unique(values: pd.DataFrame, run: list[str], step: int) -> None:
    twice = values[values.duplicated(run)]
    if len(twice):
        activation, seed = twice.iloc[0][["activation", "seed"]]
        raise ValueError(
            f"{activation}, seed {seed} has two values at step {step}: compare one experiment at a time, "
            "with every axis as a column"
        )


def _settings(runs: pd.DataFrame, axes: list[str]) -> Iterator[dict[str, pd.DataFrame]]:
    """For each combination of the axes, the runs of each activation, indexed by seed."""
    for _, frame in runs.groupby(axes, dropna=False, sort=False) if axes else [((), runs)]:
        yield {str(name): arm.set_index("seed") for name, arm in frame.groupby("activation", sort=False)}


def _label(arm: pd.DataFrame) -> str:
    return str(arm["label"].iloc[0])


def _lacking(arm: pd.DataFrame, partner: pd.DataFrame) -> list[str]:
    seeds = partner.index.difference(arm.index)
    if seeds.empty:
        return []
    noun = "seed" if len(seeds) == 1 else "seeds"
    return [f"{_label(arm)} lacks {noun} {', '.join(map(str, seeds))} of {_label(partner)}"]


def _group(arm: pd.DataFrame, axes: list[str]) -> Group:
    first = arm.iloc[0]
    return Group(
        activation=first["activation"],
        axes={axis: _plain(first[axis]) for axis in axes},
        cell=first["cell"],
        label=first["label"],
        n=len(arm),
        mean=float(arm["value"].mean()),
        sd=float(arm["value"].std()),
        n_diverged=int(arm["diverged"].sum()),
    )


def _arms(pairs: list[tuple[Group, pd.Series]], level: float, higher: bool) -> tuple[Arm, ...]:
    tests = [paired_difference(differences, np.zeros(len(differences)), level) for _, differences in pairs]
    adjusted = holm([test.p_value for test in tests])
    strictest = 1 - (1 - level) / len(pairs)
    return tuple(
        Arm(
            **vars(group),
            seeds=tuple(int(seed) for seed in differences.index),
            differences=tuple(float(difference) for difference in differences),
            difference=test.mean,
            low=test.low,
            high=test.high,
            p=test.p_value,
            p_adjusted=float(p),
            sign_flip_p=test.sign_flip_p,
            bca=test.bca,
            resolvable=smallest_resolvable(test.sd, test.n, strictest),
            verdict=_verdict(-test.mean if higher else test.mean, float(p), level),
        )
        for (group, differences), test, p in zip(pairs, tests, adjusted, strict=True)
    )


def _verdict(loss_difference: float, p_adjusted: float, level: float) -> str:
    if not p_adjusted < 1 - level:  # also nan: one pair
        return "not resolved"
    return "better" if loss_difference < 0 else "worse"


def _last_common_step(measured: pd.DataFrame, axes: list[str]) -> int:
    steps = [set(frame["step"]) for _, frame in measured.groupby(["activation", *axes], dropna=False)]
    common = set.intersection(*steps)
    if not common:
        raise ValueError("step is not given, and there is none that all arms have reached")
    return int(max(common))


def _recorded_step(step: int, measured: pd.DataFrame) -> int:
    recorded = np.sort(measured["step"].unique())
    if step not in recorded:
        nearest = recorded[np.abs(recorded - step).argmin()]
        raise ValueError(f"step is {step}, but the nearest one recorded is {nearest}")
    return int(step)


def _known(field: str, value: str | None, column: pd.Series) -> str:
    allowed = sorted(column.unique())
    if value not in allowed:
        nearest = difflib.get_close_matches(str(value), allowed, n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"{field} is {value!r}, but the rows have {', '.join(allowed) or 'none'}{hint}")
    return str(value)


def _plain(value: Any) -> Any:
    """A NumPy scalar as Python's own, a missing value as None."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if value is None or (isinstance(value, float) and math.isnan(value)) else value


def _json(value: Any) -> Any:
    value = _plain(value)
    return None if isinstance(value, float) and math.isinf(value) else value
