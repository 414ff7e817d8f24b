"""Time to target: when a curve first reaches the reference value, and how much sooner than the reference did."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate, percentile_interval, resampled

WINDOW = 3  # evaluations: the median of three ignores a single lucky one
BUDGETS = (0.5, 0.75, 1.0)


def smoothed(curves: Float[np.ndarray, "*batch evaluations"]) -> Float[np.ndarray, "*batch evaluations"]:
    """The median of each evaluation and its two neighbours; the first and the last are unchanged.

    Non-finite values, as after divergence, count as the worst loss: inf.
    """
    size = (1,) * (curves.ndim - 1) + (WINDOW,)
    return ndimage.median_filter(np.where(np.isfinite(curves), curves, np.inf), size, mode="nearest")


def targets(
    steps: Int[np.ndarray, " evaluations"],
    reference: Float[np.ndarray, "seeds evaluations"],
    budgets: Sequence[float] = BUDGETS,
) -> Float[np.ndarray, " budgets"]:
    """The reference arm's median loss over its seeds, smoothed, at fractions of its budget (its last step).

    Uses the last evaluation at or before the fraction. A median is no lucky outlier, unlike the best seed; AlgoPerf
    (Dahl et al., 2023) sets its targets this way. Raises ValueError if a fraction is not in (0, 1].
    """
    if not all(0 < budget <= 1 for budget in budgets):
        raise ValueError(f"budgets are {tuple(budgets)}, but fractions of the steps must lie in (0, 1]")
    at = np.searchsorted(steps, np.asarray(budgets) * steps[-1], side="right") - 1
    return np.median(smoothed(reference), axis=0)[at]


def time_to_target(
    steps: Int[np.ndarray, " evaluations"], curves: Float[np.ndarray, "*batch evaluations"], target: float
) -> Float[np.ndarray, "*batch"]:
    """The first evaluated step at which the smoothed loss is at or below the target, inf if it never is.

    A run that missed is censored: use medians or quantiles of times, never means. If more of a metric is better, negate
    both the curves and the target.
    """
    reached = smoothed(curves) <= target
    return np.where(reached.any(axis=-1), steps[reached.argmax(axis=-1)], np.inf)


def speed_up(
    reference: Float[np.ndarray, " seeds"],
    arm: Float[np.ndarray, " seeds"],
    budget: float,
    level: float = 0.95,
    rng: np.random.Generator | int = 0,
) -> Estimate:
    """Median time of the reference over that of the arm, with a percentile bootstrap interval over paired seeds.

    The value is inf if only the reference missed, 0 if only the arm did, nan if both did. A run that missed within its
    `budget` (steps) is only known to need more: the low end counts the reference's misses at the budget and the arm's
    at inf, the high end the reverse, so if all missed the interval is [0, inf]. Raises ValueError if the times differ
    in length, are empty, nan, or not in (0, budget] or inf, or the level is not between 0 and 1.
    """
    check_probability("level", level)
    if reference.ndim != 1 or reference.shape != arm.shape or not len(arm):
        raise ValueError(f"pairs need two arrays [seeds] of equal length, not shapes {reference.shape} and {arm.shape}")
    times = np.stack([reference, arm])
    if not ((times > 0) & ((times <= budget) | np.isposinf(times))).all():
        raise ValueError(f"times must lie above 0 and within the budget of {budget:g} steps, or be inf for a miss")
    index = resampled(rng, len(arm))
    missed_late, missed_early = np.median(times[:, index], axis=-1), np.median(np.minimum(times, budget)[:, index], -1)
    low, _ = percentile_interval(missed_early[0] / missed_late[1], level)
    _, high = percentile_interval(missed_late[0] / missed_early[1], level)
    both_missed = np.isposinf(np.median(times, axis=-1)).all()
    value = np.nan if both_missed else np.divide(*np.median(times, axis=-1))
    return Estimate(np.asarray(value), low, high)
