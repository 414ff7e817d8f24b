"""The rule of comparison: every arm against the baseline activation, seed by seed, at one step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lab.comparison.outcomes import axis_columns, higher_is_better, outcomes, plain
from lab.files.choices import nearest
from lab.statistics.equivalence import equivalence
from lab.statistics.improvement import probability_of_improvement
from lab.statistics.paired import PairedDifference, holm, minimum_detectable_effect, paired_difference, pairs_needed
from lab.statistics.sequential import repeated_interval, repeated_p

if TYPE_CHECKING:
    from lab.results.results import Results


JSON_KEYS = {"minimum_detectable_effect": "resolvable", "equivalence_p": "same_p"}
"""Fields that keep the key of the first version in JSON, for the scripts that read it."""


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
    level, uncorrected; `p_adjusted` is Holm's over all arms. `minimum_detectable_effect` is the smallest true
    difference that these pairs find with probability 0.8 at Holm's first and strictest level, (1 - level) / number of
    arms; `pairs_needed` is the number of pairs that would find the observed one there. `equivalence_p` is Holm's p of
    equivalence, where the experiment gives a margin; `improvement` is how often the arm wins a pair, with its
    interval. Where the results decided how many seeds were trained, interval and p hold at all looks together.
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
    minimum_detectable_effect: float
    pairs_needed: int | None
    equivalence_p: float | None
    improvement: tuple[float, float, float]
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline activation; `missing` says in words which seeds could not be paired.

    `step` is where all runs are compared; of arms that have steps of their own, each at its last, the largest.
    """

    baseline: str
    metric: str
    split: str
    step: int
    own_steps: bool
    level: float
    arms: tuple[Arm, ...]
    baselines: tuple[Group, ...]
    missing: tuple[str, ...]

    @property
    def when(self) -> str:
        """At which step the arms are compared, in words."""
        return f"each arm's last step (at most {self.step})" if self.own_steps else f"step {self.step}"

    def __str__(self) -> str:
        """A line an arm: the difference to the baseline with its interval, and the verdict."""
        width = max(len(group.label) for group in (*self.arms, *self.baselines))
        lines = [f"{self.metric} ({self.split}) at {self.when}; differences with {self.level:.0%} intervals"]
        lines += [f"{one.label:{width}}  {one.mean:.4f}  baseline, n = {one.n}" for one in self.baselines]
        for arm in self.arms:
            interval = f"{arm.difference:+.4f} [{arm.low:+.4f}, {arm.high:+.4f}]"
            lines.append(f"{arm.label:{width}}  {arm.mean:.4f}  {interval}  {arm.verdict}")
        return "\n".join([*lines, *self.missing])

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON: what is unknown or unbounded (one pair has no interval) is None."""
        shown = ("n", "mean", "difference", "low", "high", "p", "p_adjusted", "verdict")
        beside = ("sign_flip_p", "minimum_detectable_effect", "pairs_needed", "equivalence_p", "n_diverged")
        arms = []
        for arm in self.arms:
            fields = {JSON_KEYS.get(name, name): _json(getattr(arm, name)) for name in (*shown, *beside)}
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
    last one that all arms have reached; where arms were given different numbers of steps, each one's last. A diverged
    run takes the worst value that any run of its task has there, or its own at step 0 if that is worse. The verdict is
    "equivalent" if the experiment has a margin and Holm's adjusted p of equivalence is below 1 - level; else "better"
    or "worse" if that of a difference is; else "inconclusive". Raises ValueError, in one sentence, for anything that
    the rows do not hold.
    """
    rows = results if isinstance(results, pd.DataFrame) else results.rows
    rule = {} if isinstance(results, pd.DataFrame) else results.experiment
    metric = _known("metric", metric or rule.get("metric", "loss"), rows["metric"])
    split = _known("split", split or rule.get("split", "validation"), rows.loc[rows["metric"] == metric, "split"])
    baseline = _known("baseline", baseline or rule.get("baseline"), rows["activation"])
    level = rule.get("level", 0.95) if level is None else level

    margin = rule.get("margin") if metric == rule.get("metric") else None  # it is in the unit of that metric
    axes = axis_columns(rows)
    measured = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    ends = {} if isinstance(results, pd.DataFrame) or step is not None else _own_ends(results, measured)
    last = max(ends.values()) if ends else _step(step, measured, axes)
    runs = outcomes(rows, metric, split, ends or last, axes)

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
        raise ValueError(f"nothing can be paired with {baseline} at step {last}: {why}")
    looks = tuple(rule.get("looks") or ())
    found = _arms(pairs, level, higher_is_better(metric), margin, looks)
    return Comparison(baseline, metric, split, last, bool(ends), level, found, tuple(baselines), tuple(missing))


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
        axes={axis: plain(first[axis]) for axis in axes},
        cell=first["cell"],
        label=first["label"],
        n=len(arm),
        mean=float(arm["value"].mean()),
        sd=float(arm["value"].std()),
        n_diverged=int(arm["diverged"].sum()),
    )


def _arms(
    pairs: list[tuple[Group, pd.Series]], level: float, higher: bool, margin: float | None, looks: tuple[int, ...]
) -> tuple[Arm, ...]:
    tests = [_test(differences.to_numpy(), level, looks) for _, differences in pairs]
    adjusted = holm([test.p_value for test in tests])
    same = _equivalent(pairs, level, margin)
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
            minimum_detectable_effect=minimum_detectable_effect(test.sd, test.n, strictest),
            pairs_needed=pairs_needed(test.mean, test.sd, strictest) if test.n > 1 else None,
            equivalence_p=equal_p,
            improvement=_improvement(-differences.to_numpy() if higher else differences.to_numpy(), level),
            verdict=_verdict(-test.mean if higher else test.mean, float(p), equal_p, level),
        )
        for (group, differences), test, p, equal_p in zip(pairs, tests, adjusted, same, strict=True)
    )


def _test(differences: np.ndarray, level: float, looks: tuple[int, ...]) -> PairedDifference:
    """The paired t test; of a number of pairs that was decided by looking, interval and p for all looks together."""
    test = paired_difference(differences, np.zeros(len(differences)), level)
    if not looks or len(differences) < looks[0]:
        return test
    first, last = looks[0], max(looks[1], len(differences))  # seeds that somebody added are further looks
    interval = repeated_interval(differences, first, last, level)
    p = float(repeated_p(differences, first, last)[-1])
    return replace(test, low=float(interval.low), high=float(interval.high), p_value=p)


def _equivalent(pairs: list[tuple[Group, pd.Series]], level: float, margin: float | None) -> list[float | None]:
    """Holm's p of equivalence within the margin, of each arm; None without a margin."""
    if margin is None:
        return [None] * len(pairs)
    found = [float(equivalence(differences.to_numpy(), margin, level).p_value) for _, differences in pairs]
    return [float(p) for p in holm(found)]


def _improvement(differences: np.ndarray, level: float) -> tuple[float, float, float]:
    estimate = probability_of_improvement(differences, level)
    return float(estimate.value), float(estimate.low), float(estimate.high)


def _verdict(loss_difference: float, p_adjusted: float, equivalence_p: float | None, level: float) -> str:
    if equivalence_p is not None and equivalence_p < 1 - level:
        return "equivalent"
    if not p_adjusted < 1 - level:  # also nan: one pair
        return "inconclusive"
    return "better" if loss_difference < 0 else "worse"


def _own_ends(results: Results, measured: pd.DataFrame) -> dict[str, int]:
    """The last step of each cell where not all have the same, if all have reached it; else nothing."""
    ends = {cell["cell"]: cell["settings"]["steps"] for cell in results.cells if "steps" in cell.get("settings", {})}
    reached = measured.groupby("cell")["step"].max()
    if len(set(ends.values())) < 2 or any(reached.get(cell, -1) < end for cell, end in ends.items()):
        return {}
    return ends


def _step(step: int | None, measured: pd.DataFrame, axes: list[str]) -> int:
    return _last_common_step(measured, axes) if step is None else _recorded_step(step, measured)


def _last_common_step(measured: pd.DataFrame, axes: list[str]) -> int:
    steps = [set(frame["step"]) for _, frame in measured.groupby(["activation", *axes], dropna=False)]
    common = set.intersection(*steps)
    if not common:
        raise ValueError("step is not given, and there is none that all arms have reached")
    return int(max(common))


def _recorded_step(step: int, measured: pd.DataFrame) -> int:
    recorded = np.sort(measured["step"].unique())
    if step not in recorded:
        near = recorded[np.abs(recorded - step).argmin()]
        raise ValueError(f"step is {step}, but the nearest one recorded is {near}")
    return int(step)


def _known(field: str, value: str | None, column: pd.Series) -> str:
    allowed = sorted(column.unique())
    if value not in allowed:
        has = ", ".join(allowed) or "none"
        raise ValueError(f"{field} is {value!r}, but the rows have {has}{nearest(value, allowed)}")
    return str(value)


def _json(value: Any) -> Any:
    value = plain(value)
    return None if isinstance(value, float) and math.isinf(value) else value
