"""Paired differences: interval, tests, correction for several arms, and what so few pairs can resolve."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

# Below these counts the methods cannot keep their level: 7 sign flips have a smallest p of 2/128 (no room for a
# correction over several arms), and the BCa interval of the mean covers visibly less than its level.
SIGN_FLIP_PAIRS = 8
BCA_PAIRS = 20
ENUMERATED_PAIRS = 20  # 2**20 sums are 8 MB; beyond, sign flips are drawn at random
RESAMPLES = 9_999  # (k + 1) / (RESAMPLES + 1) is the smallest p of drawn flips: 0.0001


class PairedT(NamedTuple):
    """The paired t interval and two-sided t test of each row of differences."""

    mean: Float[np.ndarray, "*batch"]
    sd: Float[np.ndarray, "*batch"]
    low: Float[np.ndarray, "*batch"]
    high: Float[np.ndarray, "*batch"]
    p_value: Float[np.ndarray, "*batch"]


@dataclass(frozen=True)
class PairedDifference:
    """What n pairs say about arm minus baseline, in the unit of the values.

    `sign_flip_p` is None below 8 pairs and `bca` (low, high) is None below 20.
    """

    mean: float
    sd: float
    low: float
    high: float
    p_value: float
    n: int
    sign_flip_p: float | None
    bca: tuple[float, float] | None


def paired_difference(arm: ArrayLike, baseline: ArrayLike, level: float = 0.95) -> PairedDifference:
    """Compares two arrays [n] that belong together pair by pair (the same seed).

    The rules for degenerate differences are those of `paired_t`. Raises ValueError if the arrays are not of one equal
    length, empty or not finite, or if the level is not between 0 and 1.
    """
    x, y = np.asarray(arm, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"pairs need two arrays [n] of equal length, not shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("pairs must be finite numbers: give diverged runs a finite worst value first")
    differences = x - y
    t = paired_t(differences, level)
    n = len(differences)
    return PairedDifference(
        mean=float(t.mean),
        sd=float(t.sd),
        low=float(t.low),
        high=float(t.high),
        p_value=float(t.p_value),
        n=n,
        sign_flip_p=_sign_flip_p(differences) if n >= SIGN_FLIP_PAIRS else None,
        bca=_bca(differences, level) if n >= BCA_PAIRS else None,
    )


def paired_t(differences: Float[np.ndarray, "*batch n"], level: float = 0.95) -> PairedT:
    """Student's interval and test of zero mean, for every row of n paired differences at once.

    One pair has no spread: the interval is (-inf, inf), sd and p are nan. Equal differences leave no doubt: the
    interval is that one value, p is 0, or 1 if the value is 0.
    Raises ValueError if there are no differences or the level is not between 0 and 1.
    """
    _check_probability("level", level)
    n = differences.shape[-1]
    if n == 0:
        raise ValueError("a comparison needs at least one pair, not 0")
    mean = differences.mean(axis=-1)
    if n == 1:
        unknown = np.full_like(mean, np.nan)
        return PairedT(mean, unknown, np.full_like(mean, -np.inf), np.full_like(mean, np.inf), unknown)
    sd = differences.std(axis=-1, ddof=1)
    error = sd / np.sqrt(n)
    half_width = stats.t.ppf((1 + level) / 2, n - 1) * error
    # 0 / 0, all differences zero, is no evidence: t = 0; anything else / 0 is t = inf.
    t = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return PairedT(mean, sd, mean - half_width, mean + half_width, 2 * stats.t.sf(t, n - 1))


def holm(p_values: ArrayLike) -> Float[np.ndarray, " m"]:
    """Adjusts the p values of a family of m tests: rejecting those below alpha keeps the family's error below alpha.

    A nan is a test that could not be made: it stays nan and does not count in m.
    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full_like(p, np.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # argsort puts nan last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1)
    return adjusted


def smallest_resolvable(sd: float, n: int, level: float = 0.95, power: float = 0.8) -> float:
    """The smallest true mean difference that n pairs whose differences spread by `sd` find with probability `power`.

    Exact for the two-sided t test: its squared statistic has a noncentral F distribution with (1, n - 1) degrees of
    freedom and noncentrality n (difference / sd)^2. One pair resolves nothing: inf.
    Raises ValueError if sd is negative, n < 1, level not in (0, 1) or power not in (1 - level, 1).
    """
    _check_probability("level", level)
    if not 1 - level < power < 1:
        raise ValueError(f"power is {power}, but it must lie between 1 - level = {1 - level:g} and 1")
    if n < 1:
        raise ValueError(f"n is {n}, but a comparison needs at least one pair")
    if n == 1:
        return np.inf
    if not sd >= 0:  # also nan
        raise ValueError(f"sd is {sd}, but a standard deviation is a number of at least 0")
    critical = special.stdtrit(n - 1, (1 + level) / 2) ** 2

    def missing_power(standard_errors: float) -> float:
        return power - 1 + special.ncfdtr(1, n - 1, standard_errors**2, critical)

    enough = 1.0
    while missing_power(enough) > 0:
        enough *= 2
    return float(sd / np.sqrt(n) * optimize.brentq(missing_power, 0, enough))


def _sign_flip_p(differences: Float[np.ndarray, " n"]) -> float:
    """Two-sided p of the mean when the sign of each difference is a coin toss: exact up to 20 pairs, then drawn."""
    if len(differences) > ENUMERATED_PAIRS:
        drawn = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            vectorized=True,
            n_resamples=RESAMPLES,
            rng=np.random.default_rng(0),
        )
        return float(drawn.pvalue)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    # The observed sum is one of the 2**n and must count itself, though it was added up in another order.
    return float(np.mean(np.abs(sums) >= abs(differences.sum()) - 1e-12 * np.abs(differences).sum()))


def _bca(differences: Float[np.ndarray, " n"], level: float) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of the mean; Efron (1987)."""
    if np.ptp(differences) == 0:  # every resample has the same mean, and BCa would divide by their spread
        return float(differences[0]), float(differences[0])
    interval = stats.bootstrap(
        (differences,),
        np.mean,
        confidence_level=level,
        n_resamples=RESAMPLES,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _check_probability(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, but it must lie between 0 and 1, such as 0.95")
