"""Seeds added after a report was seen: p values and intervals that hold for unplanned looks."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy import special

from lab.statistics.equivalence import equivalence
from lab.statistics.paired import PairedT, check_probability, paired_t

RESERVED = 0.2  # of alpha, for all looks after the first
DRAWS = 200_000
# Where bounds are simulated; below 0.0001 they are Bonferroni's, a straight line on logarithmic axes.
ALPHAS = np.array([1e-300, *np.geomspace(1e-4, 1, 60)])


def spent(looks: int) -> float:
    """The fraction of alpha spent after this number of looks: 0.8 by the first, then 0.9, 0.933, ..., never all of it.

    The right to add seeds later costs a quarter of the p value; the number of looks need not be known in advance.
    """
    return 1 - RESERVED / looks if looks else 0.0


def first_of_several(p: Float[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """The p value of a first look that others may follow: the alpha at which it equals its bound."""
    return np.minimum(p / spent(1), 1)


def p_after(differences: Float[np.ndarray, "*batch n"], looks: Sequence[int]) -> Float[np.ndarray, "*batch looks"]:
    """The two-sided p value after each look at paired differences in the order of their seeds.

    `looks` are the numbers of pairs at the looks so far, including the current one, such as 5, 8, 12. If there is no
    difference, p <= alpha is found with probability alpha at most, however the looks and the stopping are chosen. Each
    look may spend the alpha that `spent` allows: its t test is compared with the bound that normal differences cross at
    this look, and at no earlier one, with that probability. p never increases from look to look.
    Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials".
    Raises ValueError unless looks rise from at least 2 to the number of pairs.
    """
    _check(differences.shape[-1], looks)
    p = np.stack([paired_t(differences[..., :n]).p_value for n in looks], axis=-1)
    return np.minimum.accumulate(_adjusted(p, tuple(looks)), axis=-1)


def interval_after(differences: Float[np.ndarray, "*batch n"], looks: Sequence[int], level: float = 0.95) -> PairedT:
    """The current paired t interval, widened so that the intervals of all looks, including later ones, hold at once.

    Its p value is that of the t test for a single look. Raises ValueError as `p_after` does, or if the level is not
    between 0 and 1.
    """
    check_probability("level", level)
    _check(differences.shape[-1], looks)
    return paired_t(differences, 1 - bound(looks, 1 - level))


def equivalence_after(
    differences: Float[np.ndarray, "*batch n"], looks: Sequence[int], margin: float
) -> Float[np.ndarray, "*batch looks"]:
    """The p value of equivalence within the margin after each look; it never increases.

    It is below alpha if and only if the interval of level 1 - 2 alpha of some look so far lies within the margin.
    Jennison and Turnbull (1989), "Interim analyses: the repeated confidence interval approach", section 4.
    Raises ValueError as `p_after` and `equivalence` do.
    """
    _check(differences.shape[-1], looks)
    one_sided = np.stack([equivalence(differences[..., :n], margin).p_value for n in looks], axis=-1)
    return np.minimum.accumulate(_adjusted(np.minimum(2 * one_sided, 1), tuple(looks)) / 2, axis=-1)


def bound(looks: Sequence[int], alpha: float) -> float:
    """The bound on the t test's p at the last of these looks, for alpha over all looks."""
    return float(np.exp(np.interp(np.log(alpha), np.log(ALPHAS), np.log(_bounds(tuple(looks))[-1]))))


def _adjusted(p: Float[np.ndarray, "*batch looks"], looks: tuple[int, ...]) -> Float[np.ndarray, "*batch looks"]:
    """The alpha at which each look's p equals its bound."""
    logarithm = np.log(np.maximum(p, ALPHAS[0]))
    found = [np.interp(logarithm[..., k], np.log(bounds), np.log(ALPHAS)) for k, bounds in enumerate(_bounds(looks))]
    return np.where(p > 0, np.exp(np.stack(found, axis=-1)), p)  # also nan


@lru_cache(maxsize=64)
def _bounds(looks: tuple[int, ...]) -> Float[np.ndarray, "looks alphas"]:
    """For each look and alpha, the t test's p that spends the look's alpha, given that no earlier bound was reached.

    Bounds are simulated with a fixed seed and lowered by two standard errors; Bonferroni's bounds, which need no
    simulation, are their minimum.
    """
    null = _null_p(looks)
    order = np.argsort(null, axis=1)
    bounds = np.empty((len(looks), len(ALPHAS)))
    for column, alpha in enumerate(ALPHAS):
        going = np.ones(null.shape[1], dtype=bool)
        for k in range(len(looks)):
            share = alpha * (spent(k + 1) - spent(k))
            crossing = share * DRAWS - 2 * np.sqrt(share * DRAWS) if k else 0  # the first bound is known
            still = order[k][going[order[k]]]
            reached = null[k, still[min(int(crossing), len(still)) - 1]] if crossing >= 1 and len(still) else 0.0
            bounds[k, column] = max(share, reached)
            going &= null[k] > bounds[k, column]
    return np.minimum.accumulate(bounds[:, ::-1], axis=1)[:, ::-1]  # increasing with alpha


def _null_p(looks: tuple[int, ...]) -> Float[np.ndarray, "looks draws"]:
    """The t test's p at each look of normal differences without an effect, which does not depend on later looks.

    Of the pairs between two looks only their sum and the squares about their mean matter, a normal and a chi-square
    number.
    """
    total, squares, p = np.zeros(DRAWS), np.zeros(DRAWS), []
    for k, n in enumerate(looks):
        rng, added = np.random.default_rng(looks[: k + 1]), n - (looks[k - 1] if k else 0)
        share = np.sqrt(added) * rng.standard_normal(DRAWS)
        total += share
        squares += share**2 / added + (rng.chisquare(added - 1, DRAWS) if added > 1 else 0)
        t = total / np.sqrt(n) / np.sqrt((squares - total**2 / n) / (n - 1))
        p.append(2 * special.stdtr(n - 1, -np.abs(t)))
    return np.stack(p)


def _check(n: int, looks: Sequence[int]) -> None:
    rising = all(earlier < later for earlier, later in pairwise(looks))
    if not looks or looks[0] < 2 or not rising or looks[-1] != n:
        raise ValueError(f"looks is {list(looks)}: it must increase from at least 2 to the number of pairs, {n}")
