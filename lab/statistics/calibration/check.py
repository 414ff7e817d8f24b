"""One promise of a method, and how often simulated experiments found it kept."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 2_000  # experiments simulated at once


class Check(NamedTuple):
    """A rate that `experiments` simulated ones found, beside what is promised and what was found before.

    `then` is the number of an audit of the methods that came before, in its words; `before` is what those methods give
    in the very same experiments (nan: not simulated), by which one sees whether the experiments are comparable.
    `least` and `most` bound the rate that is promised; None where nothing is.
    """

    subject: str
    setting: str
    quantity: str
    then: str
    before: float
    now: float
    least: float | None
    most: float | None
    experiments: int

    @property
    def standard_error(self) -> float:
        """Monte Carlo standard error of `now`, taken as a rate."""
        rate = min(max(self.now, 1 / self.experiments), 1 - 1 / self.experiments)
        return math.sqrt(rate * (1 - rate) / self.experiments)

    @property
    def kept(self) -> bool | None:
        """Whether the rate is within what is promised, give or take two standard errors; None without a promise."""
        if self.least is None or self.most is None:
            return None
        return self.least - 2 * self.standard_error <= self.now <= self.most + 2 * self.standard_error


def blocks(experiments: int, largest: int = BLOCK) -> Iterator[int]:
    """How many experiments to simulate at once, until there are so many."""
    for start in range(0, experiments, largest):
        yield min(largest, experiments - start)


def covered(ends: tuple[np.ndarray, np.ndarray], truth: np.ndarray | float) -> np.ndarray:
    """Which intervals (low, high) hold the truth."""
    return (ends[0] <= truth) & (truth <= ends[1])


def rate(hits: Sequence[ArrayLike]) -> float:
    """The share of experiments of all blocks that are hits."""
    return float(np.concatenate([np.atleast_1d(block) for block in hits]).mean())
