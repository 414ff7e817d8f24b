"""Rates of divergence of two arms, and their difference over the pairs in which both trained: two verdicts."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import stats

from lab.statistics.paired import PairedT, check_probability, paired_t


class Stability(NamedTuple):
    """How many of n pairs diverged in each arm and in only one arm, and the exact p of equal rates."""

    n: int
    arm: Int[np.ndarray, "*batch"]
    baseline: Int[np.ndarray, "*batch"]
    arm_alone: Int[np.ndarray, "*batch"]
    baseline_alone: Int[np.ndarray, "*batch"]
    p_value: Float[np.ndarray, "*batch"]


def stability(arm: Bool[np.ndarray, "*batch n"], baseline: Bool[np.ndarray, "*batch n"]) -> Stability:
    """McNemar's exact test of which of n paired runs diverged.

    If the arms are equally stable, pairs with exactly one diverged run are split evenly between them: the two-sided p
    is binomial. Without such pairs it is 1. Five pairs of an arm that always diverges have p .0625, eight .0078.
    McNemar (1947), "Note on the sampling error of the difference between correlated proportions". Raises ValueError
    unless both arrays have the same pairs, at least one.
    """
    if arm.shape != baseline.shape or not arm.shape[-1]:
        raise ValueError(f"pairs need two arrays [n] of equal length, not shapes {arm.shape} and {baseline.shape}")
    arm_alone = np.count_nonzero(arm & ~baseline, axis=-1)
    baseline_alone = np.count_nonzero(baseline & ~arm, axis=-1)
    fewer, one_alone = np.minimum(arm_alone, baseline_alone), arm_alone + baseline_alone
    p = np.minimum(2 * stats.binom.cdf(fewer, one_alone, 0.5), 1.0)
    diverged, of_baseline = np.count_nonzero(arm, axis=-1), np.count_nonzero(baseline, axis=-1)
    return Stability(arm.shape[-1], diverged, of_baseline, arm_alone, baseline_alone, p)


def rate_interval(
    diverged: Int[np.ndarray, "*batch"], n: int, level: float = 0.95
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """The exact interval of the rate of divergence, given the number of diverged runs; Clopper and Pearson (1934).

    Raises ValueError if the level is not between 0 and 1, or the number is not between 0 and n.
    """
    check_probability("level", level)
    count = np.asarray(diverged)
    if n < 1 or (count < 0).any() or (count > n).any():
        raise ValueError(
            f"diverged is {diverged} of n = {n} runs: it must lie between 0 and n, and n must be at least 1"
        )
    tail = (1 - level) / 2
    low = np.where(count > 0, stats.beta.ppf(tail, np.maximum(count, 1), n - count + 1), 0.0)
    high = np.where(count < n, stats.beta.isf(tail, count + 1, np.maximum(n - count, 1)), 1.0)
    return low, high


def trained_t(
    differences: Float[np.ndarray, "*batch n"], level: float = 0.95
) -> tuple[PairedT, Int[np.ndarray, "*batch"]]:
    """The paired t test over the pairs in which both runs trained, and their number.

    The difference of a pair with a diverged run is nan. It is not replaced by a penalty: its size would determine the
    result, one of 8 pairs would hide any effect, and two arms that diverge at the same seeds would be equal. The result
    holds only for such pairs: an arm that loses its worst runs to divergence looks better among the others, so the
    rates must be reported with it. Fewer than 2 pairs have p nan and the interval (-inf, inf). Raises ValueError if the
    level is not between 0 and 1.
    """
    check_probability("level", level)
    rows = np.sort(differences.reshape(-1, differences.shape[-1]), axis=-1)  # nan last
    counts = np.count_nonzero(~np.isnan(rows), axis=-1)
    fields = np.full((5, len(rows)), np.nan)
    fields[2], fields[3] = -np.inf, np.inf
    for n in np.unique(counts[counts > 0]):
        fields[:, counts == n] = paired_t(rows[counts == n, :n], level)
    shape = differences.shape[:-1]
    return PairedT(*(field.reshape(shape) for field in fields)), counts.reshape(shape)
