"""The Pareto front of arms by several costs, and how certain each arm's place on it is."""

import numpy as np
from jaxtyping import Bool, Float


def front(costs: Float[np.ndarray, "*batch arms objectives"]) -> Bool[np.ndarray, "*batch arms"]:
    """Which arms no other arm dominates: is at least as good by every objective, and better by one.

    Lower is better. Arms with equal costs do not dominate each other. Raises ValueError for costs that are nan.
    """
    if np.isnan(costs).any():
        raise ValueError("costs has nan: an arm without a value cannot be placed")
    mine, other = costs[..., :, None, :], costs[..., None, :, :]
    dominated = (other <= mine).all(axis=-1) & (other < mine).any(axis=-1)
    return np.asarray(~dominated.any(axis=-1))


def probability_of_front(draws: Float[np.ndarray, "draws arms objectives"]) -> Float[np.ndarray, " arms"]:
    """The share of joint draws of all costs in which each arm is on the front."""
    return front(draws).mean(axis=0)
