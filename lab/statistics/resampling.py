"""Resampling of paired differences: sign flips, the BCa interval, percentile intervals of replicates."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

ENUMERATED_PAIRS = 20  # above this, sign flips are drawn at random
RESAMPLES = 9_999  # (k + 1) / (RESAMPLES + 1) is the smallest p of drawn flips: 0.0001
BLOCK = 8_000_000  # resampled numbers at once: 64 MB


class Estimate(NamedTuple):
    """An estimate with its interval."""

    value: Float[np.ndarray, "*batch"]
    low: Float[np.ndarray, "*batch"]
    high: Float[np.ndarray, "*batch"]


def sign_flip_p(differences: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    """Two-sided p of the mean under random signs of the differences: exact up to 20 pairs, then by random draws."""
    n = differences.shape[-1]
    rows = differences.reshape(-1, n)
    # The observed sum must count itself among the flipped sums, although they are added in another order.
    reach = np.abs(rows.sum(axis=1)) - 1e-12 * np.abs(rows).sum(axis=1)
    p_value = _exact_p if n <= ENUMERATED_PAIRS else _drawn_p
    return np.array([p_value(*row) for row in zip(rows, reach, strict=True)]).reshape(differences.shape[:-1])


def bca(
    differences: Float[np.ndarray, "*batch n"], level: float
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """Bias-corrected and accelerated bootstrap interval of each row's mean, with a fixed seed; Efron (1987).

    If all differences are equal up to rounding, the interval is that one value.
    """
    low, high = differences[..., 0].copy(), differences[..., 0].copy()
    # Otherwise every resample has the same mean, and BCa divides by their spread.
    spread = np.ptp(differences, axis=-1) > 1e-12 * np.abs(differences).max(axis=-1)
    rows = differences[spread]
    if len(rows):
        blocks = np.array_split(rows, -(-rows.size * RESAMPLES // BLOCK))
        low[spread], high[spread] = np.concatenate([_bca(block, level) for block in blocks], axis=1)
    return low, high


def resampled(rng: np.random.Generator | int, n: int) -> Int[np.ndarray, "resamples n"]:
    """Indices of bootstrap resamples of n pairs; the same integer seed gives the same ones."""
    return np.random.default_rng(rng).integers(n, size=(RESAMPLES, n))


def percentile_interval(
    replicates: Float[np.ndarray, "*batch resamples"], level: float
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """The central `level` of bootstrap replicates; its ends are replicates themselves, so that inf stays inf."""
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=-1, method="inverted_cdf")
    return low, high


def _exact_p(row: Float[np.ndarray, " n"], reach: float) -> float:
    """The fraction of the 2**n sums at least `reach` from 0, counted from the 2**(n/2) sums of each half."""
    left, right = (_flipped_sums(half) for half in np.array_split(row, 2))
    above = len(right) - np.searchsorted(np.sort(right), reach - left)  # for each sum of the left half
    return min(2 * above.sum() / 2 ** len(row), 1.0)  # the same number lies below, by symmetry


def _flipped_sums(row: Float[np.ndarray, " n"]) -> Float[np.ndarray, " sums"]:
    sums = np.zeros(1)
    for difference in row:
        sums = np.concatenate([sums + difference, sums - difference])
    return sums


def _drawn_p(row: Float[np.ndarray, " n"], reach: float) -> float:
    sums = row @ _drawn_signs(len(row))
    return (np.count_nonzero(np.abs(sums) >= reach) + 1) / (RESAMPLES + 1)


@lru_cache(maxsize=1)
def _drawn_signs(n: int) -> Float[np.ndarray, "n resamples"]:
    return np.random.default_rng(0).choice([-1.0, 1.0], size=(n, RESAMPLES))


def _bca(rows: Float[np.ndarray, "rows n"], level: float) -> Float[np.ndarray, "2 rows"]:
    interval = stats.bootstrap(
        (rows,),
        np.mean,
        axis=-1,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return np.stack([interval.low, interval.high])
