"""The uncertainty that choosing learning rates from few runs adds to a difference between tuned arms."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.paired import check_probability, paired_t

DRAWS = 2_000
COMPETING = 3  # rates per arm whose runs are used to estimate the noise


class TunedDifference(NamedTuple):
    """The difference of two arms at their chosen rates, with an interval and p value that include the choice.

    `se` is over the measured seeds, `se_choice` is added by the choice.
    """

    mean: Float[np.ndarray, "*batch"]
    se: Float[np.ndarray, "*batch"]
    se_choice: Float[np.ndarray, "*batch"]
    low: Float[np.ndarray, "*batch"]
    high: Float[np.ndarray, "*batch"]
    p_value: Float[np.ndarray, "*batch"]


def excess(
    losses: Float[np.ndarray, "*batch arms rates seeds"], draws: int = DRAWS, rng: np.random.Generator | int = 0
) -> Float[np.ndarray, "*batch draws arms"]:
    """How much worse the chosen rate of every arm is than its best rate, for repetitions of the tuning.

    `losses` are those of the tuning runs; lower is better. Each draw adds noise to the mean of each rate and chooses
    again; its excess is the mean at the chosen rate minus the lowest mean. The noise is estimated from the residuals of
    the runs at the three best rates, after removing the means of rates and of seeds, for all arms together: effects of
    a seed common to all rates do not influence the choice, and nearly unstable rates have noise of another kind. Its
    sd is drawn as well, given the few degrees of freedom. A rate with a diverged run is never chosen. This is a
    parametric bootstrap, since 2 tuning seeds have only three resamples.
    Raises ValueError for fewer than 2 seeds, or an arm without 2 rates at which all runs trained.
    """
    seeds = losses.shape[-1]
    if seeds < 2:
        raise ValueError(f"there is {seeds} tuning seed, but the noise of a choice needs at least 2")
    trained = np.isfinite(losses).all(axis=-1)
    if not (trained.sum(axis=-1) >= 2).all():
        raise ValueError("an arm has fewer than 2 rates at which every tuning run trained: nothing was chosen")
    rng = np.random.default_rng(rng)
    means = np.where(trained, np.where(trained[..., None], losses, 0).mean(axis=-1), np.inf)
    variance, df = _noise(losses, means)
    se = np.sqrt(variance / seeds * df / rng.chisquare(df, (draws, *df.shape)))  # draws first
    above = means - means.min(axis=-1, keepdims=True)
    noise = rng.standard_normal((draws, *above.shape))
    noise *= se[..., None, None]
    noise += above
    chosen = noise.argmin(axis=-1)
    return np.moveaxis(np.take_along_axis(above[None], chosen[..., None], axis=-1)[..., 0], 0, -2)


def tuned_difference(
    differences: Float[np.ndarray, "*batch n"],
    arm: Float[np.ndarray, "*batch rates seeds"],
    baseline: Float[np.ndarray, "*batch rates seeds"],
    level: float = 0.95,
    draws: int = DRAWS,
) -> TunedDifference:
    """The difference at each arm's best rate, measured on other seeds than those that chose the rates.

    `differences` are arm minus baseline in a loss at the chosen rates; `arm` and `baseline` are the losses of the
    tuning runs. The paired interval alone only covers the difference at the rates that happened to be chosen. Raises
    ValueError as `excess` and `paired_t` do.
    """
    t, n = paired_t(differences, level), differences.shape[-1]
    off = (excess(np.stack([arm, baseline], axis=-3), draws) ** 2).mean(axis=-2).sum(axis=-1)
    return with_choice(t.mean, t.sd / np.sqrt(n), n - 1, np.sqrt(off), level)


def best_rate_contrast(
    losses: Float[np.ndarray, "*batch arms rates n"],
    weights: Sequence[float] = (1.0, -1.0),
    level: float = 0.95,
    draws: int = DRAWS,
) -> TunedDifference:
    """A contrast of arms at their best rates if all n seeds ran at every rate and are used to choose and to measure.

    `weights` are those of the arms: 1 and -1 for a difference to a baseline, 1, -1, -1, 1 for an interaction. The
    lowest of several means is biased downwards by noise; the mean excess of the repeated choice is added, a third of
    the bias among five equal rates, and the spread of that excess widens the interval enough to cover the remainder.
    Leave-one-out choices have no such bias, but their values are dependent, so that a t test on them rejects too often;
    this method keeps its level, with a shorter interval than a corrected leave-one-out interval.
    Losses are paired by seed. One seed has the interval (-inf, inf) and p nan. Raises ValueError as `excess` does, or
    if there is not one weight per arm.
    """
    if losses.shape[-3] != len(weights):
        raise ValueError(f"weights has {len(weights)} numbers, but there are {losses.shape[-3]} arms")
    n, weight = losses.shape[-1], np.asarray(weights, dtype=np.float64)
    at_lowest = np.einsum("...an,a->...n", _at_lowest_mean(losses), weight)
    mean = at_lowest.mean(axis=-1)
    if n == 1:
        unknown, infinite = np.full_like(mean, np.nan), np.full_like(mean, np.inf)
        return TunedDifference(mean, unknown, unknown, -infinite, infinite, unknown)
    repeated = excess(losses, draws)
    optimism, se_choice = repeated.mean(axis=-2) @ weight, np.sqrt(repeated.var(axis=-2) @ weight**2)
    return with_choice(mean + optimism, at_lowest.std(axis=-1, ddof=1) / np.sqrt(n), n - 1, se_choice, level)


def with_choice(
    mean: Float[np.ndarray, "*batch"],
    se: Float[np.ndarray, "*batch"],
    df: float,
    se_choice: Float[np.ndarray, "*batch"],
    level: float = 0.95,
) -> TunedDifference:
    """An estimate whose variance se**2 has `df` degrees of freedom, plus an independent variance se_choice**2.

    The latter counts as known, so that Satterthwaite's degrees of freedom are df (1 + (se_choice / se)**2)**2.
    For a statistic that is not a difference of two arms, such as a gain by power laws, `se_choice` is the root mean
    square change when draws of `excess` are subtracted from its losses. Raises ValueError if the level is not between
    0 and 1.
    """
    check_probability("level", level)
    mean, se, se_choice = (np.asarray(part, dtype=np.float64) for part in (mean, se, se_choice))
    total = np.hypot(se, se_choice)
    share = np.divide(se, total, out=np.ones_like(total), where=total > 0)
    freedom = df / np.maximum(share, 1e-3) ** 4
    half_width = stats.t.ppf((1 + level) / 2, freedom) * total
    t = np.divide(np.abs(mean), total, out=np.where(mean == 0, 0.0, np.inf), where=total > 0)
    return TunedDifference(mean, se, se_choice, mean - half_width, mean + half_width, 2 * stats.t.sf(t, freedom))


def _at_lowest_mean(losses: Float[np.ndarray, "*batch rates n"]) -> Float[np.ndarray, "*batch n"]:
    trained = np.isfinite(losses).all(axis=-1)
    best = np.where(trained, losses.mean(axis=-1), np.inf).argmin(axis=-1)
    return np.take_along_axis(losses, best[..., None, None], axis=-2)[..., 0, :]


def _noise(
    losses: Float[np.ndarray, "*batch arms rates seeds"], means: Float[np.ndarray, "*batch arms rates"]
) -> tuple[Float[np.ndarray, "*batch"], Float[np.ndarray, "*batch"]]:
    """The residual variance of a run without the means of rates and of seeds, over all arms, and its df."""
    nearest = np.argsort(means, axis=-1)[..., :COMPETING]
    competes = np.isfinite(np.take_along_axis(means, nearest, axis=-1))
    known = np.where(competes[..., None], np.take_along_axis(losses, nearest[..., None], axis=-2), 0.0)
    rates = competes.sum(axis=-1)
    of_rate, of_seed = known.mean(axis=-1, keepdims=True), known.sum(axis=-2, keepdims=True) / rates[..., None, None]
    residuals = known - of_rate - of_seed + of_seed.mean(axis=-1, keepdims=True)
    squares = (np.where(competes[..., None], residuals, 0.0) ** 2).sum(axis=(-3, -2, -1))
    df = ((rates - 1) * (losses.shape[-1] - 1)).sum(axis=-1).astype(float)
    return squares / df, df
