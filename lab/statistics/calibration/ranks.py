"""Rankings of arms, and one number over several sizes."""

from collections.abc import Iterator

import numpy as np
from scipy import stats

from lab.statistics.arms.aggregate import interquartile_mean
from lab.statistics.arms.ranking import rank_sets
from lab.statistics.calibration.check import Check, blocks, covered, rate
from lab.statistics.resampling import percentile_interval

N = 8
SEEDS = 5
ARMS = {8: ".71 to .88", 30: ".33 to .83"}
SIZES = 3
CORRELATIONS = {0.0: ".925", 0.5: ".85"}
FEWER = 10  # factor by which experiments are reduced, as they are resampled one by one
RESAMPLES = 400  # of the earlier method


def checks(rng: np.random.Generator, experiments: int) -> Iterator[Check]:
    """Simultaneous coverage of all ranks, and coverage of the interquartile mean over correlated sizes."""
    for arms, then in ARMS.items():
        for spread in (0.5, 4.0):
            yield _ranks(rng, max(experiments * 8 // (arms * 4), 1), arms, spread, then)
    for correlation, then in CORRELATIONS.items():
        yield _aggregate(rng, max(experiments // FEWER, 1), correlation, then)


def _ranks(rng: np.random.Generator, experiments: int, arms: int, spread: float, then: str) -> Check:
    """Means are normal with `spread` times the sd of a run's noise."""
    hits, width = [], []
    for count in blocks(experiments, 20_000 // arms):
        means = spread * rng.standard_normal((count, arms))
        runs = means[..., None] + rng.standard_normal((count, arms, N)) + rng.standard_normal((count, 1, N))
        low, high = rank_sets(runs)
        ranks = stats.rankdata(means, axis=-1)
        hits.append(((low <= ranks) & (ranks <= high)).all(axis=-1))
        width.append((high - low + 1).mean())
    setting = f"{arms} arms, {N} pairs, means spread by {spread:g} sd; sets of {np.mean(width):.1f} ranks"
    return Check("ranks", setting, "coverage", then, np.nan, rate(hits), 0.95, 1.0, experiments)


def _aggregate(rng: np.random.Generator, experiments: int, correlation: float, then: str) -> Check:
    before, now = [], []
    for _ in range(experiments):
        shared = np.sqrt(correlation) * rng.standard_normal((1, SEEDS))
        values = shared + np.sqrt(1 - correlation) * rng.standard_normal((SIZES, SEEDS))
        found = interquartile_mean(values, rng=rng)
        now.append(covered((found.low, found.high), 0.0))
        apart = np.take_along_axis(values[None], rng.integers(SEEDS, size=(RESAMPLES, SIZES, SEEDS)), axis=-1)
        replicates = stats.trim_mean(apart.reshape(RESAMPLES, -1), 0.25, axis=-1)
        before.append(covered(percentile_interval(replicates, 0.95), 0.0))
    setting = f"mean over {SIZES} sizes, {SEEDS} seeds, correlation {correlation:g}"
    return Check("ranks", setting, "coverage", then, rate(before), rate(now), 0.93, 0.97, experiments)
