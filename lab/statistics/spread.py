"""The spread of runs that differ only in their seed: the interval of a sd, and the range of equal arms."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate


def sd_interval(values: Float[np.ndarray, "*batch n"], level: float = 0.95) -> Estimate:
    """The sd of n runs with its chi-square interval, which assumes normal values.

    One run has sd nan and interval (0, inf). Raises ValueError if there are none or the level is not between 0 and 1.
    """
    check_probability("level", level)
    n = values.shape[-1]
    if n == 0:
        raise ValueError("a spread needs at least one run, not 0")
    if n == 1:
        shape = values.shape[:-1]
        return Estimate(np.full(shape, np.nan), np.zeros(shape), np.full(shape, np.inf))
    sd = values.std(axis=-1, ddof=1)
    low, high = np.sqrt((n - 1) / stats.chi2.ppf([(1 + level) / 2, (1 - level) / 2], n - 1))
    return Estimate(sd, sd * low, sd * high)


def range_of_equals(arms: int, level: float = 0.95) -> float:
    """The `level` quantile of the range (highest minus lowest) of normal values with one mean, in units of their sd.

    Tukey's studentized range: a table of single runs with a smaller range cannot distinguish the arms.
    Raises ValueError for fewer than two arms, or if the level is not between 0 and 1.
    """
    check_probability("level", level)
    if arms < 2:
        raise ValueError(f"arms is {arms}, but a range needs at least two")
    return float(stats.studentized_range.ppf(level, arms, np.inf))


def median_interval(values: Float[np.ndarray, " n"], level: float = 0.95) -> Estimate:
    """The median of n independent values with the interval between two of them that covers the true one at least so
    often, whatever their distribution (the inverted sign test; Conover 1999, section 3.2).

    With too few values for the level (at most 5 for 0.95) the interval is (-inf, inf). Raises ValueError if there are
    none or the level is not between 0 and 1.
    """
    check_probability("level", level)
    n = len(values)
    if n == 0:
        raise ValueError("a median needs at least one value, not 0")
    ordered = np.sort(values)
    outside = stats.binom.cdf(np.arange(n // 2 + 1), n, 0.5)  # one side: the median is below the k-th value
    k = int(np.count_nonzero(2 * outside <= 1 - level))
    low, high = (ordered[k - 1], ordered[n - k]) if k else (-np.inf, np.inf)
    return Estimate(np.median(ordered), np.asarray(low), np.asarray(high))
