"""Equivalence of two arms: two one-sided tests (TOST) against a margin."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import paired_t


class Equivalence(NamedTuple):
    """The mean of each row of differences, its interval of level 1 - 2 alpha, and the p value of equivalence."""

    mean: Float[np.ndarray, "*batch"]
    low: Float[np.ndarray, "*batch"]
    high: Float[np.ndarray, "*batch"]
    p_value: Float[np.ndarray, "*batch"]


def equivalence(differences: Float[np.ndarray, "*batch n"], margin: float, level: float = 0.95) -> Equivalence:
    """Test for every row of n paired differences whether their true mean lies within (-margin, margin).

    The margin, in the unit of the differences, is the largest difference that would not matter; choose it before the
    run. `p_value` is the larger one of the two one-sided t tests. It is below alpha = 1 - level if and only if the
    interval, of level 1 - 2 alpha, lies within the margin. One pair has p nan and the interval (-inf, inf); equal
    differences have p 0 or 1. Schuirmann (1987), "A comparison of the two one-sided tests procedure and the power
    approach". Raises ValueError if the margin is not positive, the level not in (0.5, 1), or there are no differences.
    """
    if not 0 < margin < np.inf:
        raise ValueError(f"margin is {margin}, but it must be a positive number in the unit of the differences")
    if not 0.5 < level < 1:
        raise ValueError(f"level is {level}, but for equivalence it must lie between 0.5 and 1, such as 0.95")
    t = paired_t(differences, 2 * level - 1)
    n = differences.shape[-1]
    within = margin - np.abs(t.mean)  # the nearer edge has the larger p
    error = t.sd / np.sqrt(n)
    statistic = np.divide(within, error, out=np.where(within > 0, np.inf, -np.inf), where=error != 0)
    return Equivalence(t.mean, t.low, t.high, stats.t.sf(statistic, n - 1))
