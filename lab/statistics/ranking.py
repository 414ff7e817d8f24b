"""Whether two rankings of the same arms agree: Spearman's correlation, with what the seeds leave open of it."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import check_probability
from lab.statistics.resampling import RESAMPLES, percentile_interval, resampled


class RankCorrelation(NamedTuple):
    """Spearman's correlation, its interval over seeds, and the p of as much where ranks have nothing in common."""

    value: float
    low: float
    high: float
    p_value: float


def rank_correlation(
    ours: Float[np.ndarray, "arms n"], theirs: Float[np.ndarray, "arms m"], level: float = 0.95, rng: int = 0
) -> RankCorrelation:
    """The correlation of the arms' ranks by their means over n and over m runs, as a percentile bootstrap over runs.

    Resampled means are noisier than the means themselves, so that the interval lies rather too low. Where neither has
    a second run it is (-1, 1). `p_value` is of the ranks alone, as if each were known: two-sided, of all permutations
    of up to 7 arms, of drawn ones of more.
    Raises ValueError for fewer than 3 arms, or if the level is not between 0 and 1.
    """
    check_probability("level", level)
    if len(ours) < 3:
        raise ValueError(f"{len(ours)} arms have no ranking to speak of: at least 3 are needed")
    permuted = stats.PermutationMethod(n_resamples=RESAMPLES, rng=np.random.default_rng(rng))
    ranks = (stats.rankdata(runs.mean(axis=1)) for runs in (ours, theirs))
    found = stats.pearsonr(*ranks, method=permuted)
    value, p_value = float(found.statistic), float(found.pvalue)
    if max(ours.shape[1], theirs.shape[1]) < 2:
        return RankCorrelation(value, -1.0, 1.0, p_value)
    generator = np.random.default_rng(rng)
    left, right = (
        stats.rankdata(runs[:, resampled(generator, runs.shape[1])].mean(axis=2), axis=0) for runs in (ours, theirs)
    )
    low, high = percentile_interval(_correlations(left, right), level)
    return RankCorrelation(value, float(low), float(high), p_value)


def _correlations(
    left: Float[np.ndarray, "arms resamples"], right: Float[np.ndarray, "arms resamples"]
) -> Float[np.ndarray, " resamples"]:
    x, y = left - left.mean(axis=0), right - right.mean(axis=0)
    scale = np.sqrt((x * x).sum(axis=0) * (y * y).sum(axis=0))
    return np.divide((x * y).sum(axis=0), scale, out=np.zeros_like(scale), where=scale > 0)
