"""Sequential testing: p values and intervals that remain valid whenever training of further seeds stops."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from lab.statistics.equivalence import equivalence
from lab.statistics.paired import PairedT, check_probability, paired_t

# Draws of the null distribution: 333 of them lie below 0.05 / 30, the strictest level of a family of 30 arms.
DRAWS = 200_000
BLOCK = 20_000


def repeated_p(differences: Float[np.ndarray, "*batch n"], first: int, last: int) -> Float[np.ndarray, "*batch looks"]:
    """The p value after each look at paired differences in the order of their seeds: after `first` pairs, ..., after n.

    If there is no difference, looking after every new pair, from `first` to at most `last`, and stopping at any time
    finds p <= alpha with probability alpha at most. Each p is the smallest t test's p so far, compared with the null
    distribution of the smallest over all looks; it is simulated, as t does not depend on the spread of normal
    differences. It never increases from look to look, and Holm's correction over arms keeps its level.
    Looks cost power: an effect that a fixed 5, 8 or 20 pairs find with probability 0.8 is found with 0.66, 0.62 or
    0.61, after 4.4, 6.6 or 15.1 pairs on average (`ablations calibrate`).
    Jennison and Turnbull (1989), "Interim analyses: the repeated confidence interval approach".
    Raises ValueError unless 2 <= first <= n <= last.
    """
    _check_looks(differences.shape[-1], first, last)
    smallest = np.minimum.accumulate(_p_after_each(differences, first), axis=-1)
    return _tail(np.searchsorted(_null_minima(first, last), smallest, side="right"))


def repeated_interval(
    differences: Float[np.ndarray, "*batch n"], first: int, last: int, level: float = 0.95
) -> PairedT:
    """The paired t interval after n pairs, widened so that those of all looks hold at once with probability `level`.

    It is therefore valid at whichever look training stops. Its p value is that of the t test for a single look.
    Raises ValueError as `repeated_p` does, or if the level is not between 0 and 1.
    """
    check_probability("level", level)
    _check_looks(differences.shape[-1], first, last)
    rejecting = np.searchsorted(_tail(np.arange(DRAWS)), 1 - level, side="right")
    if not rejecting:
        raise ValueError(f"level is {level}, but {DRAWS} draws allow at most {1 - _tail(np.zeros(1))[0]:.6f}")
    return paired_t(differences, 1 - _null_minima(first, last)[rejecting - 1])


def repeated_equivalence(
    differences: Float[np.ndarray, "*batch n"], margin: float, first: int, last: int
) -> Float[np.ndarray, "*batch looks"]:
    """The p value of equivalence within the margin after each look, of `first` pairs, ..., n; it never increases.

    It is below alpha if and only if the repeated interval of level 1 - 2 alpha lay within the margin at some look so
    far. Uncorrected, the two one-sided tests err two to four times too often.
    Jennison and Turnbull (1989), section 4. Raises ValueError as `repeated_p` and `equivalence` do.
    """
    _check_looks(differences.shape[-1], first, last)
    looks = range(first, differences.shape[-1] + 1)
    one_sided = np.stack([equivalence(differences[..., :n], margin).p_value for n in looks], axis=-1)
    smallest = np.minimum.accumulate(2 * one_sided, axis=-1)
    return np.minimum(_tail(np.searchsorted(_null_minima(first, last), smallest, side="right")) / 2, 1)


def _p_after_each(differences: Float[np.ndarray, "*batch n"], first: int) -> Float[np.ndarray, "*batch looks"]:
    looks = range(first, differences.shape[-1] + 1)
    return np.stack([paired_t(differences[..., :n]).p_value for n in looks], axis=-1)


@lru_cache(maxsize=16)
def _null_minima(first: int, last: int) -> Float[np.ndarray, " draws"]:
    """The smallest p of all looks under no difference, sorted; simulated with a fixed seed."""
    rng = np.random.default_rng([first, last])
    blocks = (rng.standard_normal((BLOCK, last)) for _ in range(DRAWS // BLOCK))
    return np.sort(np.concatenate([_p_after_each(block, first).min(axis=-1) for block in blocks]))


def _tail(counts: Int[np.ndarray, "*batch"]) -> Float[np.ndarray, "*batch"]:
    """The p value if `counts` of the draws are as extreme: two standard errors above (k + 1) / (draws + 1).

    That estimate keeps the level only on average over simulations, but this simulation is fixed.
    """
    k = counts + 1
    return np.minimum((k + 2 * np.sqrt(k)) / (DRAWS + 1), 1)


def _check_looks(n: int, first: int, last: int) -> None:
    if not 2 <= first <= n <= last:
        raise ValueError(f"there are {n} pairs, first is {first} and last {last}, but 2 <= first <= pairs <= last")
