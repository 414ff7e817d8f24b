"""How often one arm beats another: the probability of improvement and its interval."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate


def probability_of_improvement(differences: Float[np.ndarray, "*batch n"], level: float = 0.95) -> Estimate:
    """The fraction of n pairs in which the arm is better, ties counting half, with a percentile bootstrap interval.

    `differences` are arm minus baseline in a loss; if a higher metric is better, pass baseline minus arm. The fraction
    in a resample is a sum of n draws from {0, 1/2, 1} with a known distribution, so the interval is that of infinitely
    many resamples. With few pairs it covers less than its level; if all pairs are won the interval is [1, 1], even for
    a single pair. Bouthillier et al. (2021), "Accounting for variance in machine learning benchmarks".
    Raises ValueError if there are no differences, one is nan, or the level is not between 0 and 1.
    """
    check_probability("level", level)
    n = differences.shape[-1]
    if n == 0 or np.isnan(differences).any():
        raise ValueError(f"a probability of improvement needs at least one pair and numbers, not {differences}")
    wins, ties = np.count_nonzero(differences < 0, axis=-1), np.count_nonzero(differences == 0, axis=-1)
    counts, row = np.unique(np.stack([np.ravel(wins), np.ravel(ties)]), axis=1, return_inverse=True)
    ends = np.array([_bootstrap_interval(int(won), int(tied), n, level) for won, tied in counts.T])
    low, high = ends[row].T.reshape(2, *np.shape(wins))
    return Estimate((wins + ties / 2) / n, low, high)


@lru_cache(maxsize=1024)
def _bootstrap_interval(wins: int, ties: int, n: int, level: float) -> tuple[float, float]:
    half_points = np.array([n - wins - ties, ties, wins]) / n
    distribution = np.ones(1)
    for _ in range(n):
        distribution = np.convolve(distribution, half_points)
    # A sum that equals a quantile up to rounding counts as reaching it.
    low, high = np.searchsorted(np.cumsum(distribution) + 1e-12, [(1 - level) / 2, (1 + level) / 2])
    return float(low / (2 * n)), float(high / (2 * n))
