"""Power at the minimum detectable effect, with the sd estimated from the same number of pairs."""

from collections.abc import Iterator

import numpy as np

from lab.statistics.calibration.check import Check, rate
from lab.statistics.paired import effect_with_power, minimum_detectable_effect, paired_t

PAIRS = {5: ".68", 8: ".73", 20: "-"}


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """How often a second set of pairs finds the effect that a first set calls detectable with probability .8."""
    for n, then in PAIRS.items():
        sds = rng.standard_normal((experiments, n)).std(axis=-1, ddof=1)
        noise = rng.standard_normal((experiments, n))
        before, now = (
            paired_t(noise + (effect(1.0, n) * sds)[:, None]).p_value < 0.05  # both effects are proportional to the sd
            for effect in (effect_with_power, minimum_detectable_effect)
        )
        yield Check("power", f"{n} pairs", "realised power", then, rate([before]), rate([now]), 0.8, 1.0, experiments)
