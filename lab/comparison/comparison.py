"""The comparison rule: every arm against the baseline activation, paired by seed, at one step."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lab.comparison import cautions, choice, effects, family, looks
from lab.comparison.outcomes import axis_columns, ends, label, plain
from lab.comparison.question import Question, last_common_step, question, recorded_step
from lab.comparison.stability import StabilityVerdict, stability_verdicts
from lab.comparison.text_error import crossed_errors
from lab.comparison.verdict import Finding, Pairs, findings
from lab.results.directions import Direction
from lab.results.looks import number
from lab.results.results import Results
from lab.statistics.crossed import Crossed
from lab.statistics.improvement import probability_of_improvement
from lab.statistics.paired import minimum_detectable_effect, paired_difference, pairs_needed

JSON_KEYS = {"minimum_detectable_effect": "resolvable", "equivalence_p": "same_p"}
"""Fields that keep their original key in JSON, for scripts that read it."""


@dataclass(frozen=True)
class Group:
    """The runs of one activation at one value of every other axis.

    `mean` and `sd` are of the metric over n runs: those that trained and, for an arm, whose partners did too.
    """

    activation: str
    axes: dict[str, Any]
    cell: str
    label: str
    n: int
    mean: float
    sd: float
    n_diverged: int

    @property
    def key(self) -> str:
        """The activation and all axes that identify the group, including axes that do not vary."""
        return label({"activation": self.activation, **self.axes})


@dataclass(frozen=True)
class Arm(Group):
    """A group against the baseline at the same axes, over their common seeds.

    `differences` are arm minus baseline, one per entry of `seeds`, nan where either run diverged. The loss comparison
    uses the other `n`; `stability` says whether the divergence rates differ. `low` and `high` bound the mean difference
    at the comparison's level; `p` is from the t test, `p_adjusted` is corrected for all arms and looks.
    `minimum_detectable_effect` is the smallest true difference that this number of pairs detects with probability 0.8
    at the strictest level, (1 - level) / number of arms; `pairs_needed` is the number of pairs that would detect the
    observed difference. `equivalence_p` is the adjusted p value of the equivalence test, if the experiment has a
    margin; `improvement` is the probability that the arm wins a pair, with its interval. `looks` are the numbers of
    pairs at each look, the current one last. `se_seeds` is the standard error of the mean over seeds on this text,
    `se_seeds_and_text` over seeds and documents, with its degrees of freedom; None if per-example values are unknown.
    If arm and baseline are `tuned`, interval and p values include the uncertainty of the chosen rates (`se_choice`).
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
    improvement: tuple[float, float, float] | None
    looks: tuple[int, ...]
    se_seeds: float
    se_seeds_and_text: float | None
    df_seeds_and_text: float | None
    tuned: bool
    se_choice: float
    stability: StabilityVerdict
    verdict: str


@dataclass(frozen=True)
class Comparison:
    """All arms against the baseline activation, with one verdict per arm.

    `step` is the step at which all runs are compared; if arms have different numbers of steps, each is compared at its
    last step, and `step` is the largest. `missing` lists requested items that are missing, `cautions` reasons to doubt
    the verdicts, one sentence each. `number` is the number of this comparison and the total number of comparisons.
    `family_size` is the number of arms for which the verdicts are corrected, including missing ones.
    """

    question: Question
    step: int
    own_steps: bool
    arms: tuple[Arm, ...]
    baselines: tuple[Group, ...]
    missing: tuple[str, ...]
    family_size: int
    number: tuple[int, int]
    effects: tuple[effects.Effect, ...] = ()
    cautions: tuple[str, ...] = ()

    @property
    def baseline(self) -> str:
        """The activation that the others are compared with."""
        return self.question.baseline

    @property
    def metric(self) -> str:
        """The compared metric."""
        return self.question.metric

    @property
    def split(self) -> str:
        """On which split."""
        return self.question.split

    @property
    def direction(self) -> Direction | None:
        """Whether a lower or higher metric is better; None if not declared."""
        return self.question.direction

    @property
    def level(self) -> float:
        """Confidence level of the intervals, and family-wise level of the verdicts."""
        return self.question.level

    @property
    def when(self) -> str:
        """The step of the comparison, in words."""
        return f"each arm's last step (at most {self.step})" if self.own_steps else f"step {self.step}"

    def __str__(self) -> str:
        """One line per arm: the difference to the baseline with its interval, and the verdict."""
        width = max(len(group.label) for group in (*self.arms, *self.baselines))
        lines = [f"{self.metric} ({self.split}) at {self.when}; differences with {self.level:.0%} intervals"]
        lines += [f"{one.label:{width}}  {one.mean:.4f}  baseline, n = {one.n}" for one in self.baselines]
        for arm in self.arms:
            interval = f"{arm.difference:+.4f} [{arm.low:+.4f}, {arm.high:+.4f}]"
            lines.append(f"{arm.label:{width}}  {arm.mean:.4f}  {interval}  {arm.verdict}")
        return "\n".join([*lines, *self.missing])

    def to_dict(self) -> dict[str, Any]:
        """The comparison as JSON; unknown or unbounded values (one pair has no interval) are None."""
        shown = ("n", "mean", "difference", "low", "high", "p", "p_adjusted", "verdict", "tuned")
        beside = (
            "se_seeds",
            "se_seeds_and_text",
            "sign_flip_p",
            "minimum_detectable_effect",
            "pairs_needed",
            "equivalence_p",
            "n_diverged",
        )
        arms = []
        for arm in self.arms:
            fields = {JSON_KEYS.get(name, name): _json(getattr(arm, name)) for name in (*shown, *beside)}
            fields |= {"looks": list(arm.looks), "stability": _json(asdict(arm.stability))}
            arms.append({"activation": arm.activation, **fields, **{k: _json(v) for k, v in arm.axes.items()}})
        asked = {name: getattr(self, name) for name in ("baseline", "metric", "direction", "split", "step", "level")}
        asked["over"] = self.question.over
        told = {"missing": list(self.missing), "cautions": list(self.cautions)}
        counted = {"family_size": self.family_size, "comparison": list(self.number)}
        about = {"effects": [_json(asdict(effect)) for effect in self.effects]} if self.effects else {}
        return {**asked, "arms": arms, **told, **counted, **about}


def compare(
    results: Results | pd.DataFrame,
    baseline: str | None = None,
    metric: str | None = None,
    split: str | None = None,
    step: int | None = None,
    level: float | None = None,
    axis: str | None = None,
    over: str | None = None,
) -> Comparison:
    """Compare every arm with the baseline activation at the same values of the other axes, paired by seed.

    Omitted arguments default to the experiment's (else validation loss at level 0.95); `step` defaults to the last step
    that all arms have reached, or to each arm's last step if arms have different numbers of steps. `metric` may include
    the direction, as in "auc:max", if the task does not declare it. `axis`, such as "norm", adds the main effect of
    that axis and its interactions with the activation (`lab.comparison.effects`). `over` "seeds_and_text" makes claims
    about other texts like this one as well, whose intervals are wider; "seeds" is about this text.

    The loss comparison uses the pairs in which both runs trained; whether an arm diverges more often is tested
    separately. All arms requested in experiment.json form one family, with a probability of at most 1 - level of any
    wrong verdict: "equivalent" if the experiment has a margin and the difference lies within it; otherwise "better",
    "worse" or "inconclusive". A metric without a declared direction has "no verdict". Earlier looks recorded in the
    folder count. Raises ValueError, in one sentence, for anything that the rows do not contain.
    """
    results = _of_rows(results) if isinstance(results, pd.DataFrame) else results
    asked = question(results, baseline, metric, split, level, over)
    axes = axis_columns(results.rows)
    measured = results.rows[(results.rows["metric"] == asked.metric) & (results.rows["split"] == asked.split)]
    step = _planned_step(results) if step is None else step
    own = {} if step is not None else _own_ends(results, measured)
    last = max(own.values()) if own else _step(step, measured, axes)
    runs = ends(results.rows, asked.metric, asked.split, own or last, axes)
    if runs["diverged"].all():
        raise ValueError(f"every run diverged before step {last}: there is nothing to compare")

    known = family.asked_for(results, asked.baseline)
    absent = family.missing(results, known, asked.metric, asked.split, runs)
    baselines, paired = [], []
    for arms in _settings(runs, axes):
        reference = arms.pop(asked.baseline, None)
        if reference is None:
            absent += [family.without_baseline(arm, asked.baseline) for arm in arms.values()]
            continue
        baselines.append(_group(reference, axes))
        for arm in arms.values():
            if not known:
                absent += family.unpaired(arm, reference) + family.unpaired(reference, arm)
            if len(common := arm.index.intersection(reference.index)):
                paired.append((arm.loc[common], reference.loc[common]))
    if not paired:
        why = absent[0] if absent else f"{asked.baseline} is the only activation"
        raise ValueError(f"nothing can be paired with {asked.baseline} at step {last}: {why}")
    size = family.size(known, len(paired))
    found, unknown = _arms(results, asked, paired, axes, size, None if own else last)
    if axis is not None and asked.over != "seeds":
        raise ValueError(
            f"over is '{asked.over}', but the effects of axis '{axis}' are over seeds: ask for one of them"
        )
    of_axis = effects.effects(runs, axis, axes, asked, results.looks) if axis is not None else ()
    compared = Comparison(
        asked, last, bool(own), found, tuple(baselines), tuple(absent), size, (1, 1), of_axis
    )  # fmt: skip
    compared = replace(compared, number=number(results.looks, looks.seen(compared)))
    return replace(compared, cautions=tuple(cautions.cautions(results, compared, unknown)))


def missing(results: Results) -> list[str]:
    """The requested items that are missing, by the experiment's question; also if nothing can be compared yet."""
    record = results.experiment
    known = family.asked_for(results, record.get("baseline", ""))
    return family.missing(results, known, record.get("metric", "loss"), record.get("split", "validation"), None)


def _of_rows(rows: pd.DataFrame) -> Results:
    """Rows without a record of the request or of looks."""
    return Results(Path(os.devnull), {}, (), rows, pd.DataFrame())


def _settings(runs: pd.DataFrame, axes: list[str]) -> Iterator[dict[str, pd.DataFrame]]:
    """For each combination of the axes, the runs of each activation, indexed by seed."""
    for _, frame in runs.groupby(axes, dropna=False, sort=False) if axes else [((), runs)]:
        yield {str(name): arm.set_index("seed") for name, arm in frame.groupby("activation", sort=False)}


def _group(arm: pd.DataFrame, axes: list[str]) -> Group:
    first, values = arm.iloc[0], arm["value"].to_numpy()
    trained = values[~np.isnan(values)]
    return Group(
        activation=first["activation"],
        axes={axis: plain(first[axis]) for axis in axes},
        cell=first["cell"],
        label=first["label"],
        n=len(trained),
        mean=float(np.mean(trained)) if len(trained) else math.nan,
        sd=float(np.std(trained, ddof=1)) if len(trained) > 1 else math.nan,
        n_diverged=int(arm["diverged"].sum()),
    )


def _arms(
    results: Results,
    asked: Question,
    paired: list[tuple[pd.DataFrame, pd.DataFrame]],
    axes: list[str],
    size: int,
    step: int | None,
) -> tuple[tuple[Arm, ...], list[str]]:
    """The arms, and, if the uncertainty of their tuning is unknown, the reason."""
    earlier, search = results.looks, choice.searched(results, asked)
    groups, pairs, tuned, why = [], [], [], []
    for arm, reference in paired:
        differences = arm["value"] - reference["value"]
        both = arm.assign(value=arm["value"].mask(differences.isna()))
        group = _group(both, axes)
        diverged = set(differences.index[differences.isna()])
        order, counts = looks.ordered(earlier, [group.key], list(map(int, differences.index)), diverged)
        is_tuned, se, unknown = choice.uncertainty(
            search, group.activation, asked.baseline, group.axes, differences.dropna().to_numpy()
        )
        groups.append(group)
        error = crossed_errors(results, arm, reference, asked.split, asked.metric, step)
        if error is None and asked.over == "seeds_and_text" and group.n > 1:
            raise ValueError(
                f"over is 'seeds_and_text', but {group.label} has no {asked.metric} per example that matches "
                f"{asked.baseline}'s: only 'seeds' is possible"
            )
        pairs.append(_pairs(order, differences, counts, se, error, asked))
        tuned.append(is_tuned)
        why += [unknown] if unknown is not None else []
    of_stability = stability_verdicts(
        [(arm["diverged"].to_numpy(), reference["diverged"].to_numpy()) for arm, reference in paired], size, asked.level
    )
    found = findings(pairs, asked, size)
    rows = zip(groups, pairs, found, tuned, of_stability, strict=True)
    return tuple(_arm(*row, asked, size) for row in rows), list(dict.fromkeys(why))


def _pairs(
    order: list[int],
    differences: pd.Series,
    counts: tuple[int, ...],
    se_choice: float,
    error: Crossed | None,
    asked: Question,
) -> Pairs:
    known = Pairs(tuple(order), differences.loc[order].to_numpy(), counts, se_choice, over=asked.over)
    if error is None:
        return known
    return replace(
        known,
        se_seeds_and_text=float(error.se_seeds_and_text),
        df_seeds_and_text=float(error.df_seeds_and_text),
    )


def _arm(
    group: Group,
    pairs: Pairs,
    found: Finding,
    tuned: bool,
    stability: StabilityVerdict,
    asked: Question,
    size: int,
) -> Arm:
    trained, evidence = pairs.trained, found.evidence
    n, strictest = len(trained), 1 - asked.alpha / size
    sd = float(pairs.spread.std(ddof=1)) if n > 1 else math.nan
    beside = paired_difference(trained, np.zeros(n), asked.level) if n else None
    return Arm(
        **vars(group),
        seeds=pairs.seeds,
        differences=tuple(map(float, pairs.differences)),
        difference=evidence.mean,
        low=found.low,
        high=found.high,
        p=evidence.single_p,
        p_adjusted=found.p_adjusted,
        sign_flip_p=beside.sign_flip_p if beside else None,
        bca=beside.bca if beside else None,
        minimum_detectable_effect=minimum_detectable_effect(sd, n, strictest) if n else math.inf,
        # More seeds do not make the text longer, so that no number of pairs is known to suffice for other texts.
        pairs_needed=pairs_needed(evidence.mean, sd, strictest) if n > 1 and asked.over == "seeds" else None,
        equivalence_p=found.equivalence_p,
        improvement=_improvement(asked.sign * trained, asked.level) if n and asked.direction else None,
        looks=pairs.looks,
        se_seeds=evidence.sd / math.sqrt(n) if n > 1 else math.nan,
        se_seeds_and_text=pairs.se_seeds_and_text,
        df_seeds_and_text=pairs.df_seeds_and_text,
        tuned=tuned,
        se_choice=pairs.se_choice,
        stability=stability,
        verdict=found.verdict,
    )


def _improvement(losses: np.ndarray, level: float) -> tuple[float, float, float]:
    estimate = probability_of_improvement(losses, level)
    return float(estimate.value), float(estimate.low), float(estimate.high)


def _planned_step(results: Results) -> int | None:
    """The planned step, if it is before the last one."""
    planned = (results.experiment.get("plan") or {}).get("fields", {})
    return planned["step"] if planned.get("step", 0) < planned.get("steps", 0) else None


def _own_ends(results: Results, measured: pd.DataFrame) -> dict[str, int]:
    """The last step of each cell, if they differ and every cell has reached its own; otherwise empty."""
    found = results.ends
    reached = measured.groupby("cell")["step"].max()
    if len(set(found.values())) < 2 or any(reached.get(cell, -1) < end for cell, end in found.items()):
        return {}
    return found


def _step(step: int | None, measured: pd.DataFrame, axes: list[str]) -> int:
    return last_common_step(measured, axes) if step is None else recorded_step(step, measured)


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _json(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_json(inner) for inner in value]
    value = plain(value)
    return None if isinstance(value, float) and math.isinf(value) else value
