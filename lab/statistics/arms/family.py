"""Several arms with one baseline: verdicts as one family, intervals for all arms at once or for those reported."""

from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from lab.statistics.paired import PairedT, check_probability, holm
from lab.statistics.stability import trained_t

Hold = Literal["each", "all", "selected"]
DRAWS = 50_000
BLOCK = 4_000_000  # numbers drawn at once: 32 MB


def adjusted(
    p: Float[np.ndarray, "*batch arms"], equivalence_p: Float[np.ndarray, "*batch arms"] | None = None
) -> tuple[Float[np.ndarray, "*batch arms"], Float[np.ndarray, "*batch arms"] | None]:
    """p values of difference and of equivalence, adjusted for all verdicts on all arms together.

    Without equivalence, Holm's correction is used. With equivalence, a third verdict can be wrong, but not all three at
    once: without a difference "better" and "worse" are wrong, beyond the margin "equivalent" and one of the two, which
    the same one-sided test would have to reject. So each arm errs with probability alpha at most, and at alpha / m any
    of m arms does (Goeman, Solari and Stijnen 2010, "Three-sided hypothesis testing"). Unlike in Holm's procedure, an
    arm that is known to differ frees no alpha for others, as it may still lie beyond the margin. nan means no test.
    """
    if equivalence_p is None:
        return holm(p), None
    tested = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    return np.minimum(p * tested, 1), np.minimum(equivalence_p * tested, 1)


def verdicts(
    means: Float[np.ndarray, "*batch arms"],
    p: Float[np.ndarray, "*batch arms"],
    equivalence_p: Float[np.ndarray, "*batch arms"] | None = None,
    level: float = 0.95,
) -> np.ndarray:
    """The verdict on each arm: better, worse, equivalent or inconclusive; any is wrong with probability <= 1 - level.

    `means` are arm minus baseline in a loss; `p` (two-sided) and `equivalence_p` (if there is a margin) are unadjusted.
    If both are small enough, the difference lies within the margin: equivalent.
    Raises ValueError if the level is not between 0 and 1.
    """
    check_probability("level", level)
    differ, equal = adjusted(p, equivalence_p)
    alpha = 1 - level
    equivalent = np.zeros(np.shape(p), dtype=bool) if equal is None else equal < alpha
    found = [equivalent, (differ < alpha) & (means < 0), (differ < alpha) & (means > 0)]
    return np.select(found, ["equivalent", "better", "worse"], "inconclusive")


def verdicts_over_looks(
    means: Float[np.ndarray, "*batch arms looks"],
    p: Float[np.ndarray, "*batch arms looks"],
    equivalence_p: Float[np.ndarray, "*batch arms looks"] | None = None,
    level: float = 0.95,
) -> np.ndarray:
    """The verdict on each arm after all looks: the first one reached stays, whatever seeds are added.

    `p` and `equivalence_p` come from `sequential` or `looks` and never increase; the direction of a difference is the
    one at the look where p reached its value. Raises ValueError as `verdicts` does.
    """
    fell = np.diff(p, axis=-1, prepend=np.inf) < 0
    since = np.maximum.accumulate(np.where(fell, np.arange(p.shape[-1]), 0), axis=-1)
    direction = np.take_along_axis(means, since, axis=-1)
    kept = np.full(p.shape[:-1], "inconclusive")
    for look in range(p.shape[-1]):
        equal = None if equivalence_p is None else equivalence_p[..., look]
        kept = np.where(kept == "inconclusive", verdicts(direction[..., look], p[..., look], equal, level), kept)
    return kept


def intervals(
    differences: Float[np.ndarray, "*batch arms n"],
    level: float = 0.95,
    hold: Hold = "all",
    selected: Bool[np.ndarray, "*batch arms"] | None = None,
) -> PairedT:
    """The paired t interval of every arm, for a claim about "each" arm, "all" at once, or those "selected".

    An interval for "each" arm has its nominal coverage if the arm was named in advance, and less if the arm was
    selected by a test (one in five with 30 arms of small effects). Intervals for "all" hold simultaneously with
    probability `level`: their critical value is that of the largest t over all arms (max-t), which are correlated
    through the baseline; this is modelled by a common normal factor with the observed mean correlation, rounded down to
    a tenth. Intervals for the `selected` R of m arms have level 1 - R (1 - level) / m, so that on average a fraction 1
    - level of them misses (false coverage rate; Benjamini and Yekutieli 2005), if the selection uses Holm's or a
    similar rule; arms not selected have the interval (-inf, inf). p values are those of single tests. nan marks a pair
    with a diverged run, which is left out. Raises ValueError for another `hold`, for "selected" without a selection, or
    a level not between 0 and 1.
    """
    check_probability("level", level)
    if hold == "each":
        return trained_t(differences, level)[0]
    if hold == "all":
        return _by_row(differences, simultaneous_alpha(differences, level))
    if hold != "selected":
        raise ValueError(f"hold is {hold!r}: it must be 'each', 'all' or 'selected'")
    if selected is None:
        raise ValueError("hold is 'selected', but selected is not given")
    share = selected.mean(axis=-1)
    t = _by_row(differences, np.where(share > 0, share * (1 - level), 1 - level))
    return t._replace(low=np.where(selected, t.low, -np.inf), high=np.where(selected, t.high, np.inf))


def simultaneous_alpha(
    differences: Float[np.ndarray, "*batch arms n"], level: float = 0.95
) -> Float[np.ndarray, "*batch"]:
    """The alpha of each arm's t interval at which the intervals of all arms hold simultaneously.

    The arm with the fewest pairs decides for all; with fewer than 2 pairs it is Bonferroni's.
    """
    arms, n = differences.shape[-2:]
    fewest = np.count_nonzero(~np.isnan(differences), axis=-1).min(axis=-1)
    tenths = np.floor(10 * np.clip(_mean_correlation(differences), 0, 0.9)).astype(int)
    alphas = np.full(fewest.shape, (1 - level) / arms)
    for count in range(2, n + 1):
        for tenth in np.unique(tenths[fewest == count]):
            alphas[(fewest == count) & (tenths == tenth)] = _max_t_alpha(arms, count, int(tenth), level)
    return alphas


@lru_cache(maxsize=256)
def _max_t_alpha(arms: int, n: int, tenths: int, level: float) -> float:
    """The `1 - level` quantile of the smallest p of this number of correlated t tests."""
    if arms == 1:
        return 1 - level
    rng = np.random.default_rng([arms, n, tenths])
    shared, own = np.sqrt(tenths / 10), np.sqrt(1 - tenths / 10)
    size = max(1, min(DRAWS, BLOCK // (arms * n)))
    largest = []
    for start in range(0, DRAWS, size):
        count = min(size, DRAWS - start)
        x = own * rng.standard_normal((count, arms, n)) + shared * rng.standard_normal((count, 1, n))
        t = x.mean(axis=-1) / x.std(axis=-1, ddof=1) * np.sqrt(n)
        largest.append(np.abs(t).max(axis=-1))
    return float(2 * special.stdtr(n - 1, -np.quantile(np.concatenate(largest), level)))


def _mean_correlation(differences: Float[np.ndarray, "*batch arms n"]) -> Float[np.ndarray, "*batch"]:
    """Over all pairs of arms, among the seeds that both have; 0 for one arm."""
    known = ~np.isnan(differences)
    counts = np.maximum(known.sum(axis=-1, keepdims=True), 1)
    filled = np.where(known, differences, 0)
    centred = np.where(known, filled - filled.sum(axis=-1, keepdims=True) / counts, 0)
    scale = np.sqrt((centred**2).sum(axis=-1, keepdims=True) / counts)
    z = np.divide(centred, scale, out=np.zeros_like(centred), where=scale > 0)
    products = (z.sum(axis=-2) ** 2 - (z**2).sum(axis=-2)).sum(axis=-1)
    pairs = (known.sum(axis=-2) ** 2 - known.sum(axis=-2)).sum(axis=-1)
    return np.divide(products, pairs, out=np.zeros_like(products), where=pairs > 0)


def _by_row(differences: Float[np.ndarray, "*batch arms n"], alphas: Float[np.ndarray, "*batch"]) -> PairedT:
    """t intervals of all arms, each row of the batch with its own alpha."""
    arms, n = differences.shape[-2:]
    rows, alpha = differences.reshape(-1, arms, n), np.reshape(alphas, -1)
    fields = np.empty((5, len(rows), arms))
    for value in np.unique(alpha):
        fields[:, alpha == value] = trained_t(rows[alpha == value], 1 - value)[0]
    return PairedT(*(field.reshape(differences.shape[:-1]) for field in fields))
