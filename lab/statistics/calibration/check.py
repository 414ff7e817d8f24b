"""A nominal rate of a method, and the rate in simulated experiments."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

BLOCK = 2_000  # experiments simulated at once


class Check(NamedTuple):
    """A rate found in `experiments` simulations, with its nominal bounds and the rate of earlier methods.

    `then` is the rate that an audit found for the earlier methods, as text; `before` is the rate of these methods in
    the same simulations (nan: not simulated), which shows whether the simulations are comparable. `least` and `most`
    are the nominal bounds; None: no bound.
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
        """Whether the rate is within its nominal bounds, plus or minus two standard errors; None without bounds."""
        if self.least is None or self.most is None:
            return None
        return self.least - 2 * self.standard_error <= self.now <= self.most + 2 * self.standard_error


def blocks(experiments: int, largest: int = BLOCK) -> Iterator[int]:
    """Sizes of blocks of experiments that are simulated at once."""
    for start in range(0, experiments, largest):
        yield min(largest, experiments - start)


def covered(ends: tuple[np.ndarray, np.ndarray], truth: np.ndarray | float) -> np.ndarray:
    """Which intervals (low, high) contain the truth."""
    return (ends[0] <= truth) & (truth <= ends[1])


def rate(hits: Sequence[ArrayLike]) -> float:
    """The fraction of hits among the experiments of all blocks."""
    return float(np.concatenate([np.atleast_1d(block) for block in hits]).mean())
