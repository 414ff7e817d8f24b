"""One number over several tasks or sizes: the interquartile mean, with an interval over seeds."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate, resampled


def interquartile_mean(
    values: Float[np.ndarray, "*arms strata n"], level: float = 0.95, rng: np.random.Generator | int = 0
) -> Estimate:
    """The mean of the middle half of all values, for each arm, with an interval over seeds.

    A stratum is a task or a size; all have the same arms and the same n seeds in the same order. As losses of different
    tasks have different scales, values should be log ratios of the arm's loss to the baseline's at the same seed, so
    that exp of the result is a ratio of losses. A quarter of the values, rounded down, is trimmed at either end.
    Seeds are resampled jointly in all strata, because their initializations are related: resampled separately,
    intervals cover .85 if differences correlate .5 between sizes. The interval is Student's, with the sd of the
    resampled values as standard error, its variance multiplied by n / (n - 1); percentile intervals cover .83 with 5
    seeds. One seed has the interval (-inf, inf).
    Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    Raises ValueError if there is no value, a value is not finite, or the level is not between 0 and 1.
    """
    check_probability("level", level)
    if not values.size or not np.isfinite(values).all():
        raise ValueError("an interquartile mean needs strata with at least one value each, all finite")
    n, value = values.shape[-1], _iqm(values)
    if n == 1:
        return Estimate(value, np.full_like(value, -np.inf), np.full_like(value, np.inf))
    drawn = np.moveaxis(values[..., resampled(rng, n)], -2, -3)  # resamples before strata and seeds
    error = _iqm(drawn).std(axis=-1) * np.sqrt(n / (n - 1))
    half_width = stats.t.ppf((1 + level) / 2, n - 1) * error
    return Estimate(value, value - half_width, value + half_width)


def _iqm(values: Float[np.ndarray, "*batch strata n"]) -> Float[np.ndarray, "*batch"]:
    return stats.trim_mean(values.reshape(*values.shape[:-2], -1), 0.25, axis=-1)
