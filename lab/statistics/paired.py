"""Paired differences: interval, tests, correction for several arms, and minimum detectable effect."""

from bisect import bisect_left
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy import optimize, special

from lab.statistics.resampling import bca, sign_flip_p

# Below these counts the methods do not keep their level: the smallest p of 7 sign flips is 2/128, too large for a
# correction over several arms, and the BCa interval of the mean covers visibly less than its level.
SIGN_FLIP_PAIRS = 8
BCA_PAIRS = 20

FAR = 1e3  # standard errors
CERTAIN = 1e3  # squared standard errors: from here on SciPy's noncentral F is nan in places, where the power is 1


class PairedT(NamedTuple):
    """The paired t interval and two-sided t test of each row of differences."""

    mean: Float[np.ndarray, "*batch"]
    sd: Float[np.ndarray, "*batch"]
    low: Float[np.ndarray, "*batch"]
    high: Float[np.ndarray, "*batch"]
    p_value: Float[np.ndarray, "*batch"]


@dataclass(frozen=True)
class PairedDifference:
    """The difference arm minus baseline over n pairs, in the unit of the values.

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
    """Compare two arrays [n] that are paired by index (the same seed).

    Degenerate differences are treated as in `paired_t`. Raises ValueError if the arrays differ in length, are empty or
    not finite, or if the level is not between 0 and 1.
    """
    x, y = np.asarray(arm, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"pairs need two arrays [n] of equal length, not shapes {x.shape} and {y.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("pairs must be finite: give diverged runs a finite worst value first")
    differences = x - y
    t = paired_t(differences, level)
    n = len(differences)
    ends = bca(differences, level) if n >= BCA_PAIRS else None
    return PairedDifference(
        mean=float(t.mean),
        sd=float(t.sd),
        low=float(t.low),
        high=float(t.high),
        p_value=float(t.p_value),
        n=n,
        sign_flip_p=float(sign_flip_p(differences)) if n >= SIGN_FLIP_PAIRS else None,
        bca=(float(ends[0]), float(ends[1])) if ends else None,
    )


def paired_t(differences: Float[np.ndarray, "*batch n"], level: float = 0.95) -> PairedT:
    """Student's interval and test of zero mean, for every row of n paired differences at once.

    With one pair the interval is (-inf, inf), sd and p are nan. With equal differences the interval is that one value,
    and p is 0, or 1 if the value is 0.
    Raises ValueError if there are no differences or the level is not between 0 and 1.
    """
    check_probability("level", level)
    n = differences.shape[-1]
    if n == 0:
        raise ValueError("a comparison needs at least one pair, not 0")
    mean = differences.mean(axis=-1)
    if n == 1:
        unknown = np.full_like(mean, np.nan)
        return PairedT(mean, unknown, np.full_like(mean, -np.inf), np.full_like(mean, np.inf), unknown)
    sd = differences.std(axis=-1, ddof=1)
    error = sd / np.sqrt(n)
    half_width = special.stdtrit(n - 1, (1 + level) / 2) * error  # as scipy.stats, at a fortieth of the time
    # 0 / 0 (all differences are zero) is no evidence, t = 0; any other mean / 0 is t = inf.
    t = np.divide(np.abs(mean), error, out=np.where(mean == 0, 0.0, np.inf), where=error > 0)
    return PairedT(mean, sd, mean - half_width, mean + half_width, 2 * special.stdtr(n - 1, -t))


def holm(p_values: ArrayLike) -> Float[np.ndarray, "*batch m"]:
    """Adjust the p values of each family of m tests, so that rejecting below alpha has family-wise error <= alpha.

    nan marks a test that could not be performed: it stays nan and does not count in m.
    Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, axis=-1)  # nan last
    tested = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    factors = tested - np.arange(p.shape[-1])
    raised = np.maximum.accumulate(np.take_along_axis(p, order, axis=-1) * factors, axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(raised, 1), axis=-1)
    return adjusted


def minimum_detectable_effect(
    sd: float, n: int, level: float = 0.95, power: float = 0.8, assurance: float = 0.8
) -> float:
    """The smallest true mean difference that n such pairs detect with probability `power`, by their observed sd.

    The sd of few pairs is often far too small: if it is used directly, the power of 5 pairs is .68, not .8. Therefore
    the upper end of its one-sided interval of level `assurance` is used, 1.56 times the sd for 5 pairs and 1.35 times
    for 8: the true power is at least `power` with that probability, and higher on average.
    Browne (1995), "On the use of a pilot sample for sample size determination". One pair detects nothing: inf.
    Raises ValueError as `effect_with_power` does, and if assurance is not between 0 and 1.
    """
    check_probability("assurance", assurance)
    if n == 1:
        return effect_with_power(sd, n, level, power)
    upper = np.sqrt((n - 1) / special.chdtri(n - 1, assurance)) if n > 1 else 1.0
    return effect_with_power(sd * upper, n, level, power)


def effect_with_power(sd: float, n: int, level: float = 0.95, power: float = 0.8) -> float:
    """The true mean difference that n pairs detect with probability `power` if the true sd of differences is `sd`.

    Exact for the two-sided t test: its squared statistic has a noncentral F distribution with (1, n - 1) degrees of
    freedom and noncentrality n (difference / sd)^2. One pair detects nothing: inf.
    Raises ValueError if sd is negative, n < 1, level not in (0, 1) or power not in (1 - level, 1).
    """
    check_probability("level", level)
    if not 1 - level < power < 1:
        raise ValueError(f"power is {power}, but it must lie between 1 - level = {1 - level:g} and 1")
    if n < 1:
        raise ValueError(f"n is {n}, but a comparison needs at least one pair")
    if n == 1:
        return np.inf
    if not sd >= 0:  # also nan
        raise ValueError(f"sd is {sd}, but a standard deviation must be at least 0")
    return float(sd / np.sqrt(n) * _standard_errors(n, level, power))


@lru_cache(maxsize=1024)  # the arms of an experiment mostly have as many pairs each
def _standard_errors(n: int, level: float, power: float) -> float:
    """The difference that n pairs find with probability `power`, in standard errors of their mean."""
    enough = 1.0
    while power_of_t(enough, n - 1, level) < power:
        enough *= 2
    return optimize.brentq(lambda errors: power - float(power_of_t(errors, n - 1, level)), 0, enough)


def power_of_t(standard_errors: ArrayLike, df: ArrayLike, level: float = 0.95) -> Float[np.ndarray, "*batch"]:
    """The probability that the two-sided t test resolves a true difference of so many standard errors.

    The squared statistic has a noncentral F distribution with (1, df) degrees of freedom. Raises ValueError if the
    level is not between 0 and 1.
    """
    check_probability("level", level)
    df = np.asarray(df, dtype=np.float64)
    critical = special.stdtrit(df, (1 + level) / 2) ** 2
    effect = np.clip(np.abs(np.asarray(standard_errors, dtype=np.float64)), 0, 1e100)  # its square is finite
    near = np.minimum(effect, FAR)
    power = 1 - special.ncfdtr(1, df, near**2, critical)
    power = np.where((near**2 > CERTAIN) & np.isnan(power), 1.0, power)
    # Further out the mean's own noise, of 1, is nothing beside it: what is left is that of the estimated sd.
    return np.where(effect > FAR, special.chdtr(df, df * effect**2 / critical), power)


def pairs_needed(difference: float, sd: float, level: float = 0.95, power: float = 0.8) -> int | None:
    """The number of pairs that detect a true mean difference with probability `power`, given the sd of differences.

    The inverse of `effect_with_power`, at least 2. For an observed difference and sd, the result is as uncertain as
    they are. A difference of 0 cannot be detected: None.
    Raises ValueError if the difference is not finite, and as `effect_with_power` does.
    """
    if not np.isfinite(difference):
        raise ValueError(f"difference is {difference}, but it must be a finite number")
    if difference == 0:
        return None

    effect_with_power(sd, 2, level, power)  # refuses what is not allowed
    if sd == 0:
        return 2

    def resolved_by(n: int) -> bool:
        return float(power_of_t(abs(difference) / sd * np.sqrt(n), n - 1, level)) >= power

    enough = 2
    while not resolved_by(enough):
        enough *= 2
    return 2 + bisect_left(range(2, enough), True, key=resolved_by)


def check_probability(name: str, value: float) -> None:
    """Raises ValueError unless the value lies between 0 and 1."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, but it must lie between 0 and 1, such as 0.95")
