"""All checks, each subject with its own random numbers."""

from collections.abc import Iterator

import numpy as np

from lab.statistics.calibration import arms, divergence, looks, power, ranks, text, tuning
from lab.statistics.calibration.check import Check

SUBJECTS = (text, tuning, divergence, looks, arms, ranks, power)


def audit(experiments: int = 20_000, seed: int = 0) -> Iterator[Check]:
    """Simulate this number of experiments of every kind (fewer for power laws, ranks and resampling), and count errors.

    Raises ValueError if there is no experiment.
    """
    if experiments < 1:
        raise ValueError(f"experiments is {experiments}: it must be at least 1")
    for number, subject in enumerate(SUBJECTS):
        yield from subject.checks(np.random.default_rng([seed, number]), experiments)
