"""The decision rule: from the paired differences of all arms to intervals, p values, and one verdict per arm."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from lab.comparison.question import Over, Question
from lab.statistics.arms import family
from lab.statistics.choice import with_choice
from lab.statistics.looks import equivalence_after, first_of_several, interval_after, p_after
from lab.statistics.paired import paired_t
from lab.statistics.sequential import repeated_equivalence, repeated_interval, repeated_p

NO_VERDICT = "no verdict"


@dataclass(frozen=True)
class Pairs:
    """The differences of an arm to its baseline, nan where a run diverged, in the order in which they were seen."""

    seeds: tuple[int, ...]
    differences: Float[np.ndarray, " n"]
    looks: tuple[int, ...]
    """The number of trained pairs at each look, the current one last."""
    se_choice: float = 0.0
    """The standard error that the choice of the rates adds to the mean."""
    se_seeds_and_text: float | None = None
    """The standard error of the mean over seeds and text, if known."""
    df_seeds_and_text: float | None = None
    """Its degrees of freedom."""
    over: Over = "seeds"
    """Which of the two standard errors, over seeds or over seeds and text, tests and intervals are made of."""

    @property
    def trained(self) -> Float[np.ndarray, " trained"]:
        """The differences of the pairs in which both runs trained."""
        return self.differences[~np.isnan(self.differences)]

    @property
    def spread(self) -> Float[np.ndarray, " trained"]:
        """The differences, widened about their mean so that their standard error includes the choice, and the text if
        the claim does."""
        trained = self.trained
        variance = trained.var(ddof=1) if len(trained) > 1 else 0.0
        if not variance > 0:
            return trained
        whole = len(trained) * (self.standard_error[0] ** 2 + self.se_choice**2)
        return trained.mean() + (trained - trained.mean()) * np.sqrt(whole / variance)

    @property
    def standard_error(self) -> tuple[float, float]:
        """The standard error of the mean that the claim asks for, without the choice, and its degrees of freedom."""
        if self.over == "seeds_and_text" and self.se_seeds_and_text is not None and self.df_seeds_and_text is not None:
            return self.se_seeds_and_text, self.df_seeds_and_text
        n = len(self.trained)
        return float(self.trained.std(ddof=1)) / np.sqrt(n), n - 1


class Evidence(NamedTuple):
    """The test results of one arm: mean and p values at each look, and the current interval."""

    means: Float[np.ndarray, " looks"]
    p: Float[np.ndarray, " looks"]
    equivalence_p: Float[np.ndarray, " looks"] | None
    low: float
    high: float
    mean: float
    sd: float
    single_p: float
    """The current p value, ignoring earlier looks."""


class Finding(NamedTuple):
    """The reported values of an arm: p values adjusted for all arms and looks, and the verdict."""

    evidence: Evidence
    low: float
    high: float
    p_adjusted: float
    equivalence_p: float | None
    verdict: str


def findings(pairs: Sequence[Pairs], question: Question, size: int) -> list[Finding]:
    """The finding of every arm, as a family of `size` arms; missing ones count as inconclusive."""
    found = [evidence(one, question, question.level) for one in pairs]
    shape = (size, max((len(one.p) for one in found), default=1))
    means, p = np.zeros(shape), np.ones(shape)
    equal = np.ones(shape) if question.margin is not None else None
    for row, one in enumerate(found):
        means[row] = question.sign * _as_long(one.means, shape[1])
        p[row] = np.nan_to_num(_as_long(one.p, shape[1]), nan=1.0)
        if equal is not None and one.equivalence_p is not None:
            equal[row] = np.nan_to_num(_as_long(one.equivalence_p, shape[1]), nan=1.0)
    verdicts = family.verdicts_over_looks(means, p, equal, question.level)
    if question.direction is None:
        verdicts = np.full(size, NO_VERDICT)
    adjusted, equal_adjusted = family.adjusted(p[:, -1], None if equal is None else equal[:, -1])
    ends = _held(pairs, found, verdicts, question, size)
    return [
        Finding(
            one,
            *end,
            float("nan") if np.isnan(one.p[-1]) else float(adjusted[row]),
            None if equal_adjusted is None else float(equal_adjusted[row]),
            str(verdicts[row]),
        )
        for row, (one, end) in enumerate(zip(found, ends, strict=True))
    ]


def evidence(pairs: Pairs, question: Question, level: float) -> Evidence:
    """The test of one arm by itself: the paired t test, or, with earlier looks or a sequential number of seeds, the p
    values and interval that account for all looks."""
    trained = pairs.trained
    n = len(trained)
    if n < 2:
        nothing, mean = np.full(1, np.nan), trained.mean() if n else np.nan
        return Evidence(np.full(1, mean), nothing, nothing, -np.inf, np.inf, float(mean), np.nan, np.nan)
    t, margin, (se, df) = paired_t(trained, level), question.margin, pairs.standard_error
    one = with_choice(t.mean, np.asarray(se), df, np.asarray(pairs.se_choice), level)
    now, single = (float(t.mean), float(t.sd), float(one.p_value)), float(one.p_value)
    if question.planned_looks is not None:
        return _sequential(pairs.spread, question.planned_looks, level, margin, now)
    if len(pairs.looks) > 1:
        means = np.array([trained[:count].mean() for count in pairs.looks])
        p, interval = p_after(pairs.spread, pairs.looks), interval_after(pairs.spread, pairs.looks, level)
        if question.fixed_seeds:  # the first look spent all of alpha, and what it said stays
            p = np.minimum(p, paired_t(pairs.spread[: pairs.looks[0]]).p_value)
        equal = None if margin is None else equivalence_after(pairs.spread, pairs.looks, margin)
        return Evidence(means, p, equal, float(interval.low), float(interval.high), *now)
    equal = None if margin is None else _equivalence(t.mean, np.asarray(se), df, pairs.se_choice, margin)
    p = np.full(1, single)
    if not question.fixed_seeds:
        p, equal = first_of_several(p), None if equal is None else first_of_several(equal)
    return Evidence(t.mean[None], p, equal, float(one.low), float(one.high), *now)


def _sequential(
    spread: Float[np.ndarray, " n"],
    planned: tuple[int, int],
    level: float,
    margin: float | None,
    now: tuple[float, float, float],
) -> Evidence:
    """Seeds were trained until arms were resolved; seeds added later are further looks."""
    n, (first, last) = len(spread), (planned[0], max(planned[1], len(spread)))
    if n < first:  # some of the first pairs diverged: no test until this many have trained
        nothing = np.full(1, np.nan)
        return Evidence(spread.mean(keepdims=True), nothing, nothing, -np.inf, np.inf, *now)
    means = np.array([spread[:count].mean() for count in range(first, n + 1)])
    interval = repeated_interval(spread, first, last, level)
    equal = None if margin is None else repeated_equivalence(spread, margin, first, last)
    p = repeated_p(spread, first, last)
    return Evidence(means, p, equal, float(interval.low), float(interval.high), *now)


def _equivalence(
    mean: Float[np.ndarray, ""], se: Float[np.ndarray, ""], df: float, se_choice: float, margin: float
) -> Float[np.ndarray, " 1"]:
    """The larger p of the two one-sided tests, the choice included."""
    within = margin - np.abs(mean)
    two_sided = with_choice(within, se, df, np.asarray(se_choice)).p_value
    return np.reshape(np.where(within > 0, two_sided / 2, 1 - two_sided / 2), 1)


def _held(
    pairs: Sequence[Pairs], found: Sequence[Evidence], verdicts: np.ndarray, question: Question, size: int
) -> list[tuple[float, float]]:
    """The interval of each arm: separate, simultaneous, or selected for arms with a verdict."""
    if question.hold == "each" or not pairs:
        return [(one.low, one.high) for one in found]
    resolved = np.isin(verdicts[: len(pairs)], ["better", "worse", "equivalent"])
    looked = question.planned_looks is not None or any(len(one.looks) > 1 for one in pairs)
    if not looked and size == len(pairs):
        seeds = sorted({seed for one in pairs for seed in one.seeds})
        matrix = np.full((len(pairs), len(seeds)), np.nan)
        for row, one in enumerate(pairs):
            trained = np.flatnonzero(~np.isnan(one.differences))
            matrix[row, np.searchsorted(seeds, np.array(one.seeds)[trained])] = one.spread
        t = family.intervals(matrix, question.level, question.hold, resolved)
        return [(float(low), float(high)) for low, high in zip(t.low, t.high, strict=True)]
    # With several looks or missing arms, use Bonferroni, which makes no assumption about them.
    share = 1 / size if question.hold == "all" else max(resolved.sum(), 1) / size
    wider = [evidence(one, question, 1 - share * (1 - question.level)) for one in pairs]
    ends = [(one.low, one.high) for one in wider]
    if question.hold == "all":
        return ends
    return [end if told else (-np.inf, np.inf) for end, told in zip(ends, resolved, strict=True)]


def _as_long(values: Float[np.ndarray, " looks"], length: int) -> Float[np.ndarray, " length"]:
    """The p values known after each look; an arm that needed no further looks keeps its last."""
    return np.pad(values, (0, length - len(values)), mode="edge")
