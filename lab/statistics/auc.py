"""How well a number tells cases from controls: the area under the ROC curve, and its interval over groups of runs."""

import numpy as np
from jaxtyping import Float, Int
from scipy import special

from lab.statistics.paired import check_probability
from lab.statistics.resampling import Estimate

RESAMPLES = 2_000


def auc(cases: Float[np.ndarray, "*batch m"], controls: Float[np.ndarray, "*batch n"]) -> Float[np.ndarray, "*batch"]:
    """The probability that a case has a larger value than a control, ties counted half: U / (m n) of Mann and Whitney
    (1947). 0.5 is chance. Raises ValueError if there are no cases or no controls."""
    if not cases.shape[-1] or not controls.shape[-1]:
        raise ValueError(f"cases are {cases.shape[-1]} and controls {controls.shape[-1]}: each must be at least 1")
    return above(cases[..., :, None], controls[..., None, :]).mean(axis=(-2, -1))


def above(one: Float[np.ndarray, "*shape"], other: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """1 where one value is larger than the other, 0.5 where they are equal, 0 where it is smaller, nan if either is."""
    score = (one > other) + 0.5 * (one == other)
    return np.where(np.isnan(one) | np.isnan(other), np.nan, score)


class Pairs:
    """Which controls each case may be compared with, and bootstrap weights of these pairs by groups of runs.

    Cases may have controls of their own, such as those of the same arm at the same step: `scores` of the other pairs
    are nan. Members of a group, such as all runs of a seed, are drawn together, as they are not independent. The same
    object gives all quantities the same resamples, so that differences of their replicates are paired.
    """

    def __init__(self, case_group: Int[np.ndarray, " m"], control_group: Int[np.ndarray, " n"], seed: int = 0) -> None:
        self._groups = case_group, control_group
        groups, index = np.unique(np.concatenate([case_group, control_group]), return_inverse=True)
        drawn = np.random.default_rng(seed).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), RESAMPLES)
        self._cases, self._controls = (drawn[:, part].astype(float) for part in np.split(index, [len(case_group)]))

    def replicates(self, scores: Float[np.ndarray, "m n"]) -> Float[np.ndarray, " resamples"]:
        """The mean score of all pairs that are not nan in every resample; nan in one without any."""
        total, count = (
            np.einsum("ri,ij,rj->r", self._cases, part, self._controls, optimize=True)
            for part in (np.nan_to_num(scores), np.isfinite(scores).astype(float))
        )
        return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

    def estimate(self, scores: Float[np.ndarray, "m n"], level: float = 0.95) -> Estimate:
        """The AUC of the pairs that are not nan, by their `above`, and its percentile interval; nan without pairs.

        Raises ValueError if the level is not between 0 and 1.
        """
        check_probability("level", level)
        if not np.isfinite(scores).any():
            return Estimate(*np.full(3, np.nan))
        drawn = self.replicates(scores)
        return Estimate(np.nanmean(scores), *np.nanquantile(drawn, [(1 - level) / 2, (1 + level) / 2]))

    def p_value(self, scores: Float[np.ndarray, "m n"]) -> float:
        """Two-sided p of an AUC of 0.5, by a normal approximation; nan without pairs.

        The standard error is that of the resamples, or if it is larger that without a difference: a score has the
        variance 1/4, and two scores with a member in common the covariance 1/12, which for all pairs of m cases and n
        controls is Mann and Whitney's (m + n + 1) / (12 m n). Few pairs that agree have equal resamples.
        """
        used = np.isfinite(scores)
        count = used.sum()
        if not count:
            return float("nan")
        members = np.concatenate(
            [np.repeat(group, used.sum(axis=axis)) for group, axis in zip(self._groups, (1, 0), strict=True)]
        )
        shared = np.unique(members, return_counts=True)[1]  # scores in which each group takes part
        variance = (count / 4 + (shared * (shared - 1)).sum() / 12) / count**2
        error = max(np.nanstd(self.replicates(scores)), np.sqrt(variance))
        return float(2 * special.ndtr(-abs(np.nanmean(scores) - 0.5) / error))
