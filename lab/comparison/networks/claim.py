"""What an interval says of a claim: the rule, which is fixed before the runs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from lab.statistics.paired import paired_t
from lab.statistics.spread import median_interval

Says = Literal["more", "not more", "same"]
"""What a claim says of a quantity: that it is above 0, that it is not, or that it is 0; each up to the margin."""
Outcome = Literal["holds", "does not hold", "inconclusive"]
HOLDS: Final = "holds"
FAILS: Final = "does not hold"
OPEN: Final = "inconclusive"
DEPENDS = "depends on"


@dataclass(frozen=True)
class Part:
    """One measured quantity that a claim speaks of, and what it says of it."""

    condition: str
    """What was measured, and where: unique within the claim."""
    values: np.ndarray
    """One value a seed, draw or round; a single one if it is exact. Of a ratio, its logarithm."""
    margin: float
    """The smallest value that matters; 0 < margin."""
    says: Says = "more"
    unit: str = "nats"
    """Of the values; "x" if they are logarithms of ratios, which are shown as ratios."""
    centre: Literal["mean", "median", "exact"] = "mean"
    """What of the values is meant."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is said, and how it is tested, in words."""

    name: str
    statement: str
    """What is claimed, one sentence."""
    made: str
    """Where it is commonly made."""
    control: str
    """What the subject of the claim is compared with."""
    measured: str
    """How the numbers are measured."""
    varies: str
    """What the verdict depends on if some parts hold and others do not."""
    every: bool = True
    """Whether the claim is about every part, or says that there is one."""


@dataclass(frozen=True)
class Reading:
    """A part with its interval, and what the rule says."""

    part: Part
    value: float
    low: float
    high: float
    outcome: Outcome

    @property
    def n(self) -> int:
        """Number of values; 0 for an exact one."""
        return 0 if self.part.centre == "exact" else len(self.part.values)


def outcome(low: float, high: float, margin: float, says: Says = "more") -> Outcome:
    """What an interval from low to high says of a claim about its quantity.

    A claim that it is "more" (than 0) holds if the whole interval is above 0 and does not end below the margin, and
    does not hold if it ends below the margin, so that whatever there is does not matter. "not more" is the opposite.
    A claim that it is the "same" holds if the interval lies within the margin on both sides of 0, and does not hold if
    it lies outside. All else is inconclusive, as is an interval with nan. Raises ValueError if the margin is not a
    positive number.
    """
    if not 0 < margin < np.inf:
        raise ValueError(f"margin is {margin}, but it must be a positive number in the unit of the quantity")
    if says == "same":
        inside, outside = -margin < low and high < margin, low >= margin or high <= -margin
        return HOLDS if inside else FAILS if outside else OPEN
    small, above = high < margin, low > 0 and high >= margin
    holds, fails = (above, small) if says == "more" else (small, above)
    return HOLDS if holds else FAILS if fails else OPEN


def verdict(outcomes: Mapping[str, Outcome], every: bool = True) -> str:
    """The verdict on a claim with parts: name -> outcome.

    A claim about `every` part holds if all do, does not hold if none does, depends on the part if some hold and others
    do not, and is inconclusive otherwise. A claim that there is a part holds if one does, and does not hold if none
    does. Raises ValueError without parts.
    """
    found = list(outcomes.values())
    if not found:
        raise ValueError("a claim needs at least one part")
    if all(one == FAILS for one in found):
        return FAILS
    if not every:
        return HOLDS if HOLDS in found else OPEN
    if all(one == HOLDS for one in found):
        return HOLDS
    return DEPENDS if {HOLDS, FAILS} <= set(found) else OPEN


def read(parts: list[Part], level: float = 0.95) -> list[Reading]:
    """All parts of a claim with their intervals, which hold together at the level (Bonferroni's correction).

    Means have t intervals, medians those of their order statistics, exact values themselves. A part with values that
    are not finite has an interval of nan. Raises ValueError for two parts with one condition.
    """
    names = [part.condition for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"condition '{twice[0]}' is that of two parts: each needs its own")
    measured = [part for part in parts if part.centre != "exact"]
    own = 1 - (1 - level) / max(len(measured), 1)
    return [_read(part, own) for part in parts]


def _read(part: Part, level: float) -> Reading:
    value, low, high = _interval(part, level) if np.isfinite(part.values).all() else (np.nan,) * 3
    return Reading(part, value, low, high, outcome(low, high, part.margin, part.says))


def _interval(part: Part, level: float) -> tuple[float, float, float]:
    if part.centre == "exact":
        (value,) = part.values
        return float(value), float(value), float(value)
    if part.centre == "median":
        found = median_interval(part.values, level)
        return float(found.value), float(found.low), float(found.high)
    t = paired_t(part.values, level)
    return float(t.mean), float(t.low), float(t.high)
