"""Whether an arm diverges more often than its baseline: a separate test with its own verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool

from lab.statistics.paired import holm
from lab.statistics.stability import rate_interval, stability


@dataclass(frozen=True)
class StabilityVerdict:
    """How many of n pairs diverged, for the arm and for the baseline, with the intervals of both rates.

    `p` is from McNemar's exact test, `p_adjusted` is Holm's over all arms; the verdict is "less stable", "more stable"
    or "inconclusive", and "stable" if no run of either diverged.
    """

    n: int
    diverged: int
    baseline_diverged: int
    rate: tuple[float, float]
    baseline_rate: tuple[float, float]
    p: float
    p_adjusted: float
    verdict: str


def stability_verdicts(
    pairs: Sequence[tuple[Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]], size: int, level: float
) -> list[StabilityVerdict]:
    """From the diverged runs of each arm and its partners; missing arms in the family of `size` count as inconclusive.

    Stability and loss are two families, each with its own level.
    """
    found = [stability(arm, baseline) for arm, baseline in pairs]
    adjusted = holm([*(float(one.p_value) for one in found), *[1.0] * (size - len(found))])
    verdicts = []
    for one, p in zip(found, adjusted, strict=False):
        arm, baseline = int(one.arm), int(one.baseline)
        resolved = "less stable" if one.arm_alone > one.baseline_alone else "more stable"
        unresolved = "inconclusive" if arm or baseline else "stable"
        verdicts.append(
            StabilityVerdict(
                one.n,
                arm,
                baseline,
                _rate(arm, one.n, level),
                _rate(baseline, one.n, level),
                float(one.p_value),
                float(p),
                resolved if p < 1 - level else unresolved,
            )
        )
    return verdicts


@cache
def _rate(diverged: int, n: int, level: float) -> tuple[float, float]:
    low, high = rate_interval(np.asarray(diverged), n, level)
    return float(low), float(high)
