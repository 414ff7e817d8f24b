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
    """p values of a difference and of equivalence, adjusted for all verdicts on all arms together.

    Without equivalence they are Holm's. With it there is a third wrong verdict, but one arm cannot be open to all: at
    no difference "better" and "worse" are wrong, beyond the margin "equivalent" and one of the two, which the same
    one-sided test would have to reject. Each arm errs with alpha at most, and of m arms with alpha / m any (Goeman,
    Solari and Stijnen 2010, "Three-sided hypothesis testing"). An arm that is known to differ may still lie beyond the
    margin, so that it frees no alpha for others, as it does in Holm's rule. A nan counts as no test.
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
    """Of each arm better, worse, equivalent or inconclusive: that any is wrong has probability 1 - level at most.

    `means` are those of arm minus baseline in a loss; `p` two-sided and `equivalence_p`, where there is a margin, are
    unadjusted. Where both are small enough, the difference lies within the margin: equivalent.
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
    """The verdict on each arm after all looks: the first that was reached stays, whatever seeds are added.

    `p` and `equivalence_p` are those of `sequential` or `looks`, which never rise; the direction of a difference is
    that at the look where p fell to what it is. Raises ValueError as `verdicts` does.
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

    An interval for each arm covers with its level if the arm was named before; of the arms that a test picked out it
    covers less (with 30 arms of small effects, one in five). Those for "all" hold together with probability `level`:
    their critical value is that of the largest t of so many arms (max-t), which the common baseline correlates; a
    normal factor with the mean correlation observed, rounded down to a tenth, stands for it. Those for the `selected` R
    of m arms have level 1 - R (1 - level) / m: the share of them that miss is 1 - level on the average (false coverage
    rate; Benjamini and Yekutieli 2005), where the selection is by Holm's or a similar rule; arms not selected have the
    interval (-inf, inf). p values are single tests'. A nan is a pair in which a run diverged, and is left out.
    Raises ValueError for another `hold`, for "selected" without a selection, or a level not between 0 and 1.
    """
    check_probability("level", level)
    if hold == "each":
        return trained_t(differences, level)[0]
    if hold == "all":
        return _by_row(differences, simultaneous_alpha(differences, level))
    if hold != "selected":
        raise ValueError(f"hold is {hold!r}, but must be 'each', 'all' or 'selected'")
    if selected is None:
        raise ValueError("hold is 'selected', but no arm is said to be")
    share = selected.mean(axis=-1)
    t = _by_row(differences, np.where(share > 0, share * (1 - level), 1 - level))
    return t._replace(low=np.where(selected, t.low, -np.inf), high=np.where(selected, t.high, np.inf))


def simultaneous_alpha(
    differences: Float[np.ndarray, "*batch arms n"], level: float = 0.95
) -> Float[np.ndarray, "*batch"]:
    """The alpha of each arm's t interval with which those of all arms hold at once.

    The arm with the fewest pairs counts for all; with fewer than 2 it is Bonferroni's.
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
    """The `1 - level` quantile of the smallest p of so many correlated t tests."""
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
    """Over all pairs of arms, among the seeds that both have; 0 of one arm."""
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
