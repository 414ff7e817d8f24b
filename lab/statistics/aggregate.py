"""One number over several tasks or sizes: the interquartile mean with a stratified bootstrap interval."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate, percentile_interval, resampled


def interquartile_mean(
    strata: Sequence[Float[np.ndarray, "*arms n"]], level: float = 0.95, rng: np.random.Generator | int = 0
) -> Estimate:
    """The mean of the middle half of all values together, for each arm, with a percentile bootstrap interval.

    A stratum is a task or a size with its own number of seeds n; all have the same arms. Each resample draws seeds anew
    within every stratum, the same for all arms. Losses of different tasks have different scales: the natural value is
    the logarithm of the ratio of the arm's loss to the baseline's at the same seed, so that exp of the result is a
    ratio of losses. A quarter of the values, rounded down, is left out at either end: of fewer than 4 none.
    Agarwal et al. (2021), "Deep reinforcement learning at the edge of the statistical precipice".
    Raises ValueError if there is no stratum, one is empty or not finite, or the level is not between 0 and 1.
    """
    check_probability("level", level)
    if not strata or not all(values.shape[-1] and np.isfinite(values).all() for values in strata):
        raise ValueError("an interquartile mean needs strata with at least one value each, and finite ones")
    rng = np.random.default_rng(rng)
    drawn = [values[..., resampled(rng, values.shape[-1])] for values in strata]
    low, high = percentile_interval(_iqm(np.concatenate(drawn, axis=-1)), level)
    return Estimate(_iqm(np.concatenate(strata, axis=-1)), low, high)


def _iqm(values: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    return stats.trim_mean(values, 0.25, axis=-1)
