"""All checks, each subject with random numbers of its own."""

from collections.abc import Iterator

import numpy as np

from lab.statistics.calibration import arms, divergence, looks, power, ranks, text, tuning
from lab.statistics.calibration.check import Check

SUBJECTS = (text, tuning, divergence, looks, arms, ranks, power)


def audit(experiments: int = 20_000, seed: int = 0) -> Iterator[Check]:
    """Simulates so many experiments of every kind (power laws, ranks and resampling: fewer) and counts.

    Raises ValueError if there is no experiment.
    """
    if experiments < 1:
        raise ValueError(f"experiments is {experiments}, but there must be at least one")
    for number, subject in enumerate(SUBJECTS):
        yield from subject.checks(np.random.default_rng([seed, number]), experiments)
