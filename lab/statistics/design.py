"""Designs of a comparison: how many seeds, on how many evaluated examples, and how likely they find an effect."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from lab.statistics.noise import Noise
from lab.statistics.paired import check_probability, power_of_t

ASSURANCE = 0.8
"""How probable it is that a design has at least its assured power."""
ENOUGH = 0.99  # of power: seeds beyond it buy nothing
MAX_SEEDS = 10_000

_CHANCES = (np.arange(50) + 0.5) / 50  # of the quantiles of the true variance, over which power is averaged


@dataclass(frozen=True)
class Cost:
    """Seconds of all arms together: once, for each seed, and for each seed and example of the last evaluation."""

    once: float
    seed: float
    example: float

    def seconds(self, seeds: int, examples: int) -> float:
        """What so many seeds take, each evaluated on so many examples."""
        return self.once + seeds * (self.seed + examples * self.example)

    def seeds(self, seconds: float, examples: int) -> int:
        """How many seeds fit into a time."""
        return max(int((seconds - self.once) / (self.seed + examples * self.example)), 0)


@dataclass(frozen=True)
class Design:
    """A number of seeds and of evaluated examples, the seconds they take, and how likely they find an effect.

    `powers` are the arms' probabilities that the paired t test over seeds resolves the effect, each the mean over what
    its variance may be, given so few pilot pairs; `power` is their mean. `assured` is the power that the design has at
    least with probability `ASSURANCE`, also the mean over arms. `power_over_text` is that of the same test with the
    standard error over seeds and text.
    """

    seeds: int
    examples: int
    seconds: float
    power: float
    assured: float
    power_over_text: float
    powers: tuple[float, ...]


def designs(
    arms: Sequence[Noise], cost: Cost, examples: Iterable[int], budget: float, effect: float, level: float
) -> list[Design]:
    """For each number of examples, the design of as many seeds as fit into `budget` seconds, at least 2; but of no more
    than find the effect with probability `ENOUGH`. `level` is that of one arm's test.

    Raises ValueError unless budget and effect are positive and level is between 0 and 1.
    """
    _check("budget", budget)
    _check("effect", effect)
    found = []
    for number in examples:
        most = min(cost.seeds(budget, number), MAX_SEEDS)
        if most >= 2:
            found.append(design(arms, cost, _enough(arms, most, number, effect, level), number, effect, level))
    return found


def design(arms: Sequence[Noise], cost: Cost, seeds: int, examples: int, effect: float, level: float) -> Design:
    """One design, with its cost and its power for a true difference `effect` of each arm."""
    powers = tuple(power(arm, seeds, examples, effect, level) for arm in arms)
    return Design(
        seeds=seeds,
        examples=examples,
        seconds=cost.seconds(seeds, examples),
        power=float(np.mean(powers)),
        assured=float(np.mean([assured_power(arm, seeds, examples, effect, level) for arm in arms])),
        power_over_text=float(np.mean([power_over_text(arm, seeds, examples, effect, level) for arm in arms])),
        powers=powers,
    )


def best(found: Sequence[Design]) -> Design | None:
    """The design with the highest power; of those with as good as the same, the one that takes the least time."""
    if not found:
        return None
    highest = max(min(one.power, ENOUGH) for one in found)
    return min((one for one in found if min(one.power, ENOUGH) >= highest - 1e-3), key=lambda one: one.seconds)


def power(arm: Noise, seeds: int, examples: int, effect: float, level: float) -> float:
    """The probability that so many pairs resolve a true difference, averaged over what the variance between seeds may
    be: pilot pairs tell it with a chi-squared error (O'Hagan, Stevens and Campbell 2005, "Assurance in clinical trial
    design")."""
    return float(_power_at(arm, _scales(arm.pairs, _CHANCES), seeds, examples, effect, level).mean())


def assured_power(
    arm: Noise, seeds: int, examples: int, effect: float, level: float, assurance: float = ASSURANCE
) -> float:
    """The power that they have at least with probability `assurance`: that at the upper bound of the variance (Browne
    1995, "On the use of a pilot sample for sample size determination").

    Raises ValueError if assurance is not between 0 and 1.
    """
    check_probability("assurance", assurance)
    scale = _scales(arm.pairs, np.array([1 - assurance]))
    return float(_power_at(arm, scale, seeds, examples, effect, level)[0])


def power_over_text(arm: Noise, seeds: int, examples: int, effect: float, level: float) -> float:
    """The same for the claim about the text's population; degrees of freedom are Satterthwaite's, the text's variance
    is as estimated."""
    over_seeds = _variances(arm, _scales(arm.pairs, _CHANCES), examples) / seeds
    text = arm.text_variance(examples)
    total = over_seeds + text
    spread = over_seeds**2 / (seeds - 1) + text**2 / max(arm.equal_documents - 1, 1)
    freedom = np.divide(total**2, spread, out=np.full_like(total, seeds - 1), where=spread > 0)
    return float(power_of_t(_standard_errors(effect, total), freedom, level).mean())


def seconds_needed(
    arms: Sequence[Noise], cost: Cost, examples: Iterable[int], effect: float, level: float, wanted: float = 0.8
) -> float | None:
    """The least time in which a design has this power; None where more than `MAX_SEEDS` seeds are needed."""
    times = []
    for number in examples:
        seeds = _enough(arms, MAX_SEEDS, number, effect, level, wanted)
        if seeds < MAX_SEEDS:
            times.append(cost.seconds(seeds, number))
    return min(times, default=None)


def _enough(
    arms: Sequence[Noise], most: int, examples: int, effect: float, level: float, wanted: float = ENOUGH
) -> int:
    """The fewest seeds with this mean power, or `most`, by bisection: power grows with the number of seeds."""
    low, high = 2, most
    while low < high:
        middle = (low + high) // 2
        if np.mean([power(arm, middle, examples, effect, level) for arm in arms]) >= wanted:
            high = middle
        else:
            low = middle + 1
    return low


def _scales(pairs: int, chances: Float[np.ndarray, " chances"]) -> Float[np.ndarray, " chances"]:
    """How many times the estimated variance the true one is, at quantiles of chi squared."""
    return (pairs - 1) / stats.chi2.ppf(chances, pairs - 1)


def _power_at(
    arm: Noise, scales: Float[np.ndarray, " scales"], seeds: int, examples: int, effect: float, level: float
) -> Float[np.ndarray, " scales"]:
    return power_of_t(_standard_errors(effect, _variances(arm, scales, examples) / seeds), seeds - 1, level)


def _variances(arm: Noise, scales: Float[np.ndarray, " scales"], examples: int) -> Float[np.ndarray, " scales"]:
    return np.array([arm.seed_variance(examples, float(scale)) for scale in scales])


def _standard_errors(effect: float, variance: Float[np.ndarray, " scales"]) -> Float[np.ndarray, " scales"]:
    return np.divide(effect, np.sqrt(variance), out=np.full_like(variance, np.inf), where=variance > 0)


def _check(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"{name} is {value}, but it must be a positive number")
