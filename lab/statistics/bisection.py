"""Bisection: up to which position something holds, for many searches at once."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

Holds = Callable[[Float[np.ndarray, "*searches"]], Bool[np.ndarray, "*searches"]]


class Brackets(NamedTuple):
    """Between which positions each search found its threshold.

    `low` is the largest position at which it held, `high` the smallest at which it did not. A search that held at the
    highest position of all is (highest, inf), one that did not at the lowest (-inf, lowest): these are censored.
    """

    low: Float[np.ndarray, "*searches"]
    high: Float[np.ndarray, "*searches"]

    @property
    def censored(self) -> Bool[np.ndarray, "*searches"]:
        """Which thresholds are outside of the positions that were tried."""
        return ~np.isfinite(self.low) | ~np.isfinite(self.high)

    @property
    def middle(self) -> Float[np.ndarray, "*searches"]:
        """The middle of each bracket; of a censored one its finite end, which the threshold lies beyond."""
        return np.where(np.isinf(self.low), self.high, np.where(np.isinf(self.high), self.low, sum(self) / 2))


def bisected(holds: Holds, low: float, high: float, rounds: int, shape: tuple[int, ...] = ()) -> Brackets:
    """Halve the bracket [low, high] of every search `rounds` times; it is (high - low) / 2**rounds wide afterwards.

    `holds` gets one position of every search, an array of this shape, and says at which of them it holds; it is called
    first at `low`, then at `high`, then `rounds` times. Searches are independent, and none asks for a position twice.
    If it holds at positions above ones at which it does not, the threshold found is one of several. For positive
    positions with a wide range, search their logarithms. Raises ValueError unless low < high and rounds >= 0.
    """
    if not low < high:
        raise ValueError(f"low is {low}: it must be less than high, {high}")
    if rounds < 0:
        raise ValueError(f"rounds is {rounds}: it must be zero or positive")
    lower, upper = np.full(shape, float(low)), np.full(shape, float(high))
    at_low, at_high = holds(lower), holds(upper)
    for _ in range(rounds):  # censored searches go on, as a caller may compute for a fixed number of positions
        middle = (lower + upper) / 2
        held = holds(middle)
        lower, upper = np.where(held, middle, lower), np.where(held, upper, middle)
    lowest, highest = ~at_low, at_low & at_high
    return Brackets(
        np.where(lowest, -np.inf, np.where(highest, high, lower)),
        np.where(lowest, low, np.where(highest, np.inf, upper)),
    )


def largest_with_share(thresholds: Float[np.ndarray, "*batch n"], share: float) -> Float[np.ndarray, "*batch"]:
    """The largest position up to which at least `share` of n thresholds reach: with a share of 1 the smallest of them.

    Raises ValueError unless 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}: it must lie above 0 and be at most 1")
    n = thresholds.shape[-1]
    needed = int(np.ceil(share * n - 1e-9))  # .7 * 10 is above 7
    return np.sort(thresholds, axis=-1)[..., n - needed]
